"""Count of distinct values: exact up to 1,000, beyond that from a uniform sample of their hashes.

Above 1,000 hashes, the sample retains only those that begin with `level` zero bits, one in 2^level
for any values; so samples of several shards or times merge at the higher level. Once all sampled
values have left the window, the count is exact again.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, TypeAlias

from pipeline.enrichment.state import Sample
from pipeline.model.interaction import FactValue, Scalar

MAX_HASHES: Final = 1_000
"""Maximum of hashes in a sample; up to it, the count is exact."""

_BITS: Final = 63

_Levels: TypeAlias = tuple[tuple[int, int], ...]


def hash_of(value: Scalar) -> int:
    """Return a uniform hash of 63 bits; 1 and 1.0 are the same value, true and 1 are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    digest = blake2b(f"{type(value).__name__}:{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def of(value: FactValue, at: int) -> Sample:
    """Return the sample of one value, or of the elements of a list, at `at` (ms)."""
    values = value if isinstance(value, tuple) else (value,)
    return _thin({hash_of(element): at for element in values}, (), at)


def merge(a: Sample, b: Sample, clock: int) -> Sample:
    """Merge two samples into that of all values; `clock` (ms): the latest receipt."""
    levels = _merge_levels(a.levels, b.levels)
    ats = dict(a.ats) if levels == a.levels else _retained_hashes(a.ats, levels)
    for value_hash, at in _retained_hashes(b.ats, levels).items():
        ats[value_hash] = max(at, ats.get(value_hash, at))
    return _thin(ats, levels, clock)


def prune(sample: Sample, floor: int) -> Sample:
    """Return the sample without values up to `floor` (ms)."""
    if min(sample.ats.values(), default=floor + 1) > floor:
        return sample
    ats = {value_hash: at for value_hash, at in sample.ats.items() if at > floor}
    return Sample(ats, tuple(level for level in sample.levels if level[0] > floor))


def count(sample: Sample, floor: int) -> tuple[int, bool]:
    """Return the number of distinct values after `floor`, and whether it is exact."""
    level = max((level for until, level in sample.levels if until > floor), default=0)
    if level == 0:
        return sum(at > floor for at in sample.ats.values()), True
    sampled_count = sum(
        at > floor and _leading_zero_count(value_hash) >= level
        for value_hash, at in sample.ats.items()
    )
    return sampled_count << level, False


def next_departure(sample: Sample, floor: int) -> int | None:
    """Return the first moment after `floor` at which a value or a level leaves the sample; None:
    there is none."""
    moments = (*sample.ats.values(), *(until for until, _ in sample.levels))
    first_moment = min(moments, default=None)
    if first_moment is None or first_moment > floor:
        return first_moment
    return min((at for at in moments if at > floor), default=None)


def _leading_zero_count(value_hash: int) -> int:
    return _BITS - value_hash.bit_length()


def _retained_hashes(ats: Mapping[int, int], levels: _Levels) -> dict[int, int]:
    """Return the hashes that a sample of these levels retains."""
    return {
        value_hash: at
        for value_hash, at in ats.items()
        if _leading_zero_count(value_hash) >= _level_at(levels, at)
    }


def _level_at(levels: _Levels, at: int) -> int:
    return next((level for until, level in levels if until >= at), 0)


def _thin(ats: dict[int, int], levels: _Levels, clock: int) -> Sample:
    """Raise the sample's level until it fits; entries up to `clock` then have the new level."""
    if len(ats) <= MAX_HASHES:
        return Sample(ats, levels)
    level = 0
    while len(ats) > MAX_HASHES:
        level += 1
        ats = {
            value_hash: at
            for value_hash, at in ats.items()
            if _leading_zero_count(value_hash) >= level
        }
    return Sample(ats, (*(pair for pair in levels if pair[1] > level), (clock, level)))


def _merge_levels(a: _Levels, b: _Levels) -> _Levels:
    """Return the higher level of both at every time."""
    if not a or not b:
        return a or b
    bounds = sorted({until for until, _ in (*a, *b)})
    steps = [(until, max(_level_at(a, until), _level_at(b, until))) for until in bounds]
    next_levels = [level for _, level in steps[1:]] + [0]
    return tuple(
        step for step, next_level in zip(steps, next_levels, strict=True) if step[1] > next_level
    )
