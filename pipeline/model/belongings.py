"""Which identifiers belong to a profile, as the identifiers' own rows said.

An identifier's row is the one place that knows whose it is. Of what it told a profile, the highest
version counts, whatever order it came in.
"""

from typing import Final

from msgspec import Struct

from pipeline.model.control import Control

_MAX_GONE: Final = 100
"""A profile remembers so many identifiers that were its customer's, the latest ones."""


class Belonging(Struct, frozen=True, array_like=True):
    """Whether an identifier is the customer's, as its own row said of its `version`-th top, having
    heard of all evidence of up to `as_of` (ms)."""

    version: int
    here: bool
    as_of: int


Belongings = dict[str, Belonging]


def told(known: Belongings, change: Control) -> Belongings:
    """Apply a `join` or `leave`. One with a negative version is not the identifier's own: it says
    that what was shown up to then is void."""
    if change.identifier is None or change.version < 0:
        return known
    one = Belonging(change.version, change.kind == "join", change.until or 0)
    return latest(known, change.identifier, one)


def latest(known: Belongings, name: str, one: Belonging) -> Belongings:
    """Keep of two belongings of an identifier the one of the higher version."""
    before = known.get(name)
    if before is not None and before.version >= one.version:
        return known
    after = {**known, name: one}
    gone = [name for name, belonging in after.items() if not belonging.here]
    if len(gone) > _MAX_GONE:
        del after[min(gone, key=lambda name: (after[name].as_of, name))]
    return after


def without(known: Belongings, name: str | None) -> Belongings:
    """Forget what is known of an identifier."""
    if name not in known:
        return known
    return {one: belonging for one, belonging in known.items() if one != name}
