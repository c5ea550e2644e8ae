"""What a step returns: expected failures are values, bugs raise."""

from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

S = TypeVar("S")


class Emit(Struct, frozen=True):
    """A record to write. `value` None is a tombstone."""

    topic: str
    key: str
    value: Struct | None


class Wake(Struct, frozen=True, array_like=True):
    """When the row wants a `timer`: at `at` (ms) by the wall clock, or by the log's (`log`)."""

    at: int
    log: bool = False


class Ok(Struct, Generic[S], frozen=True):
    """The row's new state (None: nothing to keep), the records that follow, and when time alone
    will next change the state."""

    state: S | None
    emits: tuple[Emit, ...] = ()
    wake: Wake | None = None


class Drop(Struct, frozen=True):
    """Nothing to do, for a counted reason."""

    reason: str


class DeadLetter(Struct, frozen=True):
    """The record cannot be processed; `reason` is a short code, `detail` says it in words."""

    reason: str
    detail: str


class Redirect(Struct, frozen=True):
    """The record belongs under another key of the same topic; it is published there, once."""

    emit: Emit


class Forward(Struct, frozen=True):
    """Records to write that follow from no state and leave none; writing them twice is harmless."""

    emits: tuple[Emit, ...]


Outcome: TypeAlias = Ok[S] | Drop | DeadLetter | Redirect | Forward
