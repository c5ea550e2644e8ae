"""Faults of rows whose cells are not a record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Reason why the cells of a row are not a record; `column`: the one at fault."""

    code: str
    column: str | None
    message: str
