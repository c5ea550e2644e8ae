"""Identifiers that belong to a profile, as reported by the identifiers' own rows.

Only an identifier's row knows its owner. Of its reports to a profile the highest version counts, in
whatever order they arrive.
"""

from typing import Final

from msgspec import Struct

from pipeline.model.control import Control

_MAX_GONE: Final = 100
"""Former identifiers that a profile remembers, the latest ones."""


class Belonging(Struct, frozen=True, array_like=True):
    """Report of an identifier's row: whether it belongs to the customer.

    `version`: number of its top, counted by the row; `as_of` (ms): all evidence up to then is
    considered.
    """

    version: int
    here: bool
    as_of: int


Belongings = dict[str, Belonging]


def apply_report(known: Belongings, change: Control) -> Belongings:
    """Apply a `join` or `leave`; ignore those with a negative version.

    A negative version voids the evidence of interactions; it does not come from the identifier's
    own row.
    """
    if change.identifier is None or change.version < 0:
        return known
    report = Belonging(change.version, change.kind == "join", change.until or 0)
    return latest(known, change.identifier, report)


def latest(known: Belongings, name: str, report: Belonging) -> Belongings:
    """Return the belongings with `one`, unless a higher version of it is known."""
    before = known.get(name)
    if before is not None and before.version >= report.version:
        return known
    after = {**known, name: report}
    former = [name for name, belonging in after.items() if not belonging.here]
    if len(former) > _MAX_GONE:
        del after[min(former, key=lambda name: (after[name].as_of, name))]
    return after


def without(known: Belongings, name: str | None) -> Belongings:
    """Return the belongings without the identifier `name`."""
    if name not in known:
        return known
    return {key: belonging for key, belonging in known.items() if key != name}
