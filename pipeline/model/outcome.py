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


@dataclass(frozen=True, slots=True)
class Ok(Generic[S]):
    """The row's new state (None: nothing to keep) and the records that follow."""

    state: S | None
    emits: tuple[Emit, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing to do, for a counted reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record cannot be processed; `reason` is a short code, `detail` says it in words."""

    reason: str
    detail: str


Outcome: TypeAlias = Ok[S] | Drop | DeadLetter
