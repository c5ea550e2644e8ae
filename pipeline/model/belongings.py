"""Identifiers that belong to a profile, as reported by the identifiers' own rows.

Only an identifier's own row determines its owner. Of its reports to a profile the one with the
highest version counts, whatever the order of arrival.
"""

from typing import Final

from msgspec import Struct

from pipeline.model.control import Control

_MAX_FORMER: Final = 100
"""Maximum number of former identifiers stored with a profile, the latest ones."""


class Belonging(Struct, frozen=True, array_like=True):
    """Report of an identifier's row: whether the identifier belongs to the customer.

    `version`: number of its top, counted by the row; `as_of` (ms): the report considers all
    evidence up to then.
    """

    version: int
    here: bool
    as_of: int


Belongings = dict[str, Belonging]


def apply_report(belongings: Belongings, change: Control) -> Belongings:
    """Apply a `join` or `leave`; ignore reports with a negative version.

    A negative version voids the evidence of interactions; it does not come from the identifier's
    own row.
    """
    if change.identifier is None or change.version < 0:
        return belongings
    report = Belonging(change.version, change.kind == "join", change.until or 0)
    return add_report(belongings, change.identifier, report)


def add_report(belongings: Belongings, name: str, report: Belonging) -> Belongings:
    """Return the belongings with the report on `name`, unless they have one as new or newer."""
    old_report = belongings.get(name)
    if old_report is not None and old_report.version >= report.version:
        return belongings
    new_belongings = {**belongings, name: report}
    former_names = [name for name, belonging in new_belongings.items() if not belonging.here]
    if len(former_names) > _MAX_FORMER:
        oldest_name = min(former_names, key=lambda name: (new_belongings[name].as_of, name))
        del new_belongings[oldest_name]
    return new_belongings


def remove_identifier(belongings: Belongings, name: str | None) -> Belongings:
    """Return the belongings without the identifier `name`."""
    if name not in belongings:
        return belongings
    return {key: belonging for key, belonging in belongings.items() if key != name}
