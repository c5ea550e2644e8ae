"""Results of a step: expected failures are values, bugs raise."""

from collections.abc import Mapping
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct, field

from pipeline.model.budget import Purse

S = TypeVar("S")


class Emit(Struct, frozen=True):
    """Record to write; `value` None: a tombstone."""

    topic: str
    key: str
    value: Struct | None


class Wake(Struct, frozen=True, array_like=True):
    """Timer that the row needs: at `at` (ms) by the wall clock, or by the log's clock (`log`)."""

    at: int
    log: bool = False


class Ok(Struct, Generic[S], frozen=True):
    """New state of the row (None: delete it), the records that follow, its next timer, and the
    changed purses of the partition, by budget."""

    state: S | None
    emits: tuple[Emit, ...] = ()
    wake: Wake | None = None
    purses: Mapping[str, Purse] = field(default_factory=dict)


class RowTransition(Struct, Generic[S], frozen=True):
    """Next row, and the records to write with it: a part of a step's result."""

    row: S
    emits: tuple[Emit, ...] = ()

    def outcome(self) -> Ok[S]:
        """Return the outcome of a step that ends with this transition."""
        return Ok(self.row, self.emits)


class Drop(Struct, frozen=True):
    """Outcome of a record that changes nothing, for a counted reason."""

    reason: str


class DeadLetter(Struct, frozen=True):
    """Outcome of a record that cannot be processed; `reason`: a short code, `detail`: its
    description."""

    reason: str
    detail: str


class Redirect(Struct, frozen=True):
    """Outcome of a record that belongs under another key of the same topic; `emit` publishes it
    there, exactly once."""

    emit: Emit


class Forward(Struct, frozen=True):
    """Records to write that depend on no state and leave none; writing them twice is harmless."""

    emits: tuple[Emit, ...]


Outcome: TypeAlias = Ok[S] | Drop | DeadLetter | Redirect | Forward
