"""The delivery protocol: what a stage's row remembers so that nothing is lost or done twice.

An input's offset is committed only after its row and its outputs are delivered, and all of them
follow from one changelog record. So after a kill an input comes either to a row that does not know
it (process it), or to one that does: then the outputs kept in the row's outbox are sent again.
Records that the stage before sent again carry the cause of the first time, and are dropped.

A row must be small enough to be written. So the inputs of a key that have caused much are committed
before its next one is processed (`held`), which takes what they caused out of the row.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct, field

from pipeline.model.outcome import Wake

S = TypeVar("S")


class Cause(Struct, frozen=True, order=True):
    """The input that a record follows from, and which of its records it is.

    Within one `source` (a topic's partition) causes only grow, except when something is sent
    again.
    """

    source: str
    offset: int
    index: int

    def header(self) -> bytes:
        return f"{self.source} {self.offset} {self.index}".encode()

    @classmethod
    def parse(cls, header: bytes) -> "Cause | None":
        """None when it is not one of ours."""
        try:
            source, offset, index = header.decode().split(" ")
            return cls(source, int(offset), int(index))
        except ValueError:
            return None


class Output(Struct, frozen=True, array_like=True):
    """A record as it was sent."""

    topic: str
    key: bytes
    value: bytes | None


class Sent(Struct, frozen=True, array_like=True):
    """Everything that followed from one input; `applied`: also a state."""

    topic: str
    offset: int
    outputs: tuple[Output, ...]
    applied: bool = True


class Row(Struct, Generic[S], frozen=True, array_like=True):
    """A key's state, and what makes changing it idempotent, in one changelog record.

    `positions`: the last offset applied, by input topic (a key has one partition in each).
    `seen`: the last (offset, index) by source. `outbox`: what uncommitted inputs caused.
    `wake`: the timer that stands for it.
    """

    state: S | None = None
    positions: dict[str, int] = field(default_factory=dict)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    outbox: tuple[Sent, ...] = ()
    wake: Wake | None = None


class Position(Struct, frozen=True):
    """Where an input stands, and what it follows from (None: it came from outside)."""

    topic: str
    partition: int
    offset: int
    cause: Cause | None

    @property
    def source(self) -> str:
        return f"{self.topic}/{self.partition}"


class Change(Struct, Generic[S], frozen=True):
    """What the step made of a row, and the timer that stands after it. `applied` False: nothing,
    the input belongs elsewhere or cannot be processed."""

    state: S | None
    wake: Wake | None = None
    applied: bool = True


class New(Struct, frozen=True):
    """Not processed yet."""


class Repeat(Struct, frozen=True):
    """Processed, and perhaps not sent: send this again."""

    sent: Sent


class Duplicate(Struct, frozen=True):
    """Processed and sent long since, or a copy of one that was; `kind` is counted."""

    kind: str


def judge(row: Row[S] | None, position: Position) -> New | Repeat | Duplicate:
    """What to do with the input at `position`, whose key has this row."""
    if row is None:
        return New()
    if position.offset <= row.positions.get(position.topic, -1):
        for sent in row.outbox:
            if (sent.topic, sent.offset) == (position.topic, position.offset):
                return Repeat(sent)
        return Duplicate("offset")
    cause = position.cause
    if cause is not None and (cause.offset, cause.index) <= row.seen.get(cause.source, (-1, -1)):
        return Duplicate("cause")
    return New()


def advance(
    row: Row[S] | None,
    position: Position,
    change: Change[S],
    outputs: tuple[Output, ...],
    committed: Callable[[str], int],
) -> Row[S]:
    """The row after the input; `committed(topic)` is the next offset to be read after a kill."""
    before = row or Row[S]()
    cause = position.cause
    kept = _uncommitted(before, committed)
    kept.append(Sent(position.topic, position.offset, outputs, change.applied))
    return Row(
        state=change.state,
        positions={**before.positions, position.topic: position.offset},
        seen=before.seen
        if cause is None
        else {**before.seen, cause.source: (cause.offset, cause.index)},
        outbox=tuple(kept),
        wake=change.wake,
    )


def held(row: Row[S], committed: Callable[[str], int]) -> int:
    """How many bytes uncommitted inputs have caused, which the row keeps; `committed` as above."""
    return sum(
        len(output.value or b"") for sent in _uncommitted(row, committed) for output in sent.outputs
    )


def has_uncommitted(row: Row[S], committed: Callable[[str], int]) -> bool:
    """Whether an input may come again that the row must know then; `committed` as above."""
    return bool(_uncommitted(row, committed))


def _uncommitted(row: Row[S], committed: Callable[[str], int]) -> list[Sent]:
    return [sent for sent in row.outbox if sent.offset >= committed(sent.topic)]
