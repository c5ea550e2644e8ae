"""Faults of rows whose cells do not make a record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Reason why the cells of a row do not make a record; `column`: the one at fault."""

    code: str
    column: str | None
    message: str
