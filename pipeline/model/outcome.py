"""What a step returns: expected failures are values, bugs raise."""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Emit:
    """A record to write. `value` None is a tombstone."""

    topic: str
    key: str
    value: Struct | None


class Wake(Struct, frozen=True, array_like=True):
    """When the row wants a `timer`: at `at` (ms) by the wall clock, or by the log's (`log`)."""

    at: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Ok(Generic[S]):
    """The row's new state (None: nothing to keep), the records that follow, and when time alone
    will next change the state."""

    state: S | None
    emits: tuple[Emit, ...] = ()
    wake: Wake | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to do, for a counted reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record cannot be processed; `reason` is a short code, `detail` says it in words."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """The record belongs under another key of the same topic; it is published there, once."""

    emit: Emit


@dataclass(frozen=True, slots=True)
class Forward:
    """Records to write that follow from no state and leave none; writing them twice is harmless."""

    emits: tuple[Emit, ...]


Outcome: TypeAlias = Ok[S] | Drop | DeadLetter | Redirect | Forward
