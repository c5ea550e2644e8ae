"""When a sequence was last complete, against every choice of its steps; shards in any order."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.compiled import Sequence
from pipeline.enrichment.sequences import MAX_MARKS, Mark, completed_at, settle, union

_WITHIN = 4

marks = st.lists(
    st.builds(
        Mark, st.integers(0, 12), st.text("abcd", min_size=1, max_size=2), st.integers(1, 15)
    ),
    max_size=9,
    unique_by=lambda one: (one.at, one.event_id),
)


def sequence(steps: int, keep_ms: int = 100) -> Sequence:
    return Sequence("~s", steps, (), None, _WITHIN, keep_ms)


def brute_force(found: list[Mark], steps: int) -> int | None:
    ends = []
    ordered = sorted(found)
    for places in combinations(range(len(ordered)), steps):
        first, last = ordered[places[0]], ordered[places[-1]]
        taken = all(ordered[place].fits >> step & 1 for step, place in enumerate(places))
        broken = any(one.fits >> steps for one in ordered[places[0] + 1 : places[-1] + 1])
        if taken and not broken and last.at - first.at <= _WITHIN:
            ends.append(last.at)
    return max(ends, default=None)


@given(marks, st.integers(2, 4))
def test_the_latest_of_all_choices(found: list[Mark], steps: int) -> None:
    assert completed_at(union(found), sequence(steps)) == brute_force(found, steps)


@given(marks, marks, marks)
def test_shards_in_any_order(a: list[Mark], b: list[Mark], c: list[Mark]) -> None:
    assert union(union(a), union(union(b), union(c))) == union(union(c, a), b)


@given(marks, st.integers(0, 20), st.integers(0, 5))
def test_what_is_dropped_is_not_asked_for(found: list[Mark], now_ms: int, for_ms: int) -> None:
    """Whatever is still within its time is found from what is kept."""
    one = sequence(2, keep_ms=_WITHIN + for_ms)
    now_ms = max([now_ms, *(mark.at for mark in found)])
    before = completed_at(union(found), one)
    after = completed_at(settle(union(found), one, now_ms), one)
    if before is not None and before > now_ms - for_ms:
        assert after == before


def test_a_shard_keeps_the_latest_marks() -> None:
    many = [Mark(at, "e", 1) for at in range(3 * MAX_MARKS)]
    assert union(many) == tuple(many[-MAX_MARKS:])
