"""Idempotence protocol: positions and outputs in a row, so that inputs are processed exactly once.

An input's offset is committed only after its row and its outputs are delivered, and all of these
are contained in one changelog record. So after a kill a redelivered input meets either a row that
does not contain its offset (process it), or one that does: then the outputs in the row's outbox
are sent again. Records resent by the previous stage carry the same cause, and are dropped.

A row must stay small enough to be written. So once the outbox of a key has grown large
(`outbox_bytes`), its inputs are committed before the next one is processed, which empties it.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct, field

from pipeline.model.outcome import Wake

S = TypeVar("S")


class Cause(Struct, frozen=True, order=True):
    """Input that caused a record, and the record's index among that input's outputs.

    Within one `source` (a topic's partition) causes only grow, except for resent records.
    """

    source: str
    offset: int
    index: int

    def header(self) -> bytes:
        """Return the header that `parse` reads."""
        return f"{self.source} {self.offset} {self.index}".encode()

    @classmethod
    def parse(cls, header: bytes) -> "Cause | None":
        """Parse a header; return None when another system wrote it."""
        try:
            source, offset, index = header.decode().split(" ")
            return cls(source, int(offset), int(index))
        except ValueError:
            return None


class Output(Struct, frozen=True, array_like=True):
    """Record that a stage sends."""

    topic: str
    key: bytes
    value: bytes | None


class OutboxEntry(Struct, frozen=True, array_like=True):
    """Outputs of one input; `applied`: whether it also changed the state."""

    topic: str
    offset: int
    outputs: tuple[Output, ...]
    applied: bool = True


class Row(Struct, Generic[S], frozen=True, array_like=True):
    """State of a key with its idempotence data, in one changelog record.

    `positions`: last processed offset by input topic (a key has one partition in each).
    `causes`: last (offset, index) of the inputs' causes, by source. `outbox`: outputs of
    uncommitted inputs. `wake`: the key's armed timer.
    """

    state: S | None = None
    positions: dict[str, int] = field(default_factory=dict)
    causes: dict[str, tuple[int, int]] = field(default_factory=dict)
    outbox: tuple[OutboxEntry, ...] = ()
    wake: Wake | None = None


class Position(Struct, frozen=True):
    """Position of an input, and its cause; None: an upstream app sent it."""

    topic: str
    partition: int
    offset: int
    cause: Cause | None

    @property
    def source(self) -> str:
        """Topic and partition, as in `Cause.source`."""
        return f"{self.topic}/{self.partition}"


class Change(Struct, Generic[S], frozen=True):
    """New state and timer of a row.

    `applied` False: the state is unchanged, since the input belongs elsewhere or cannot be
    processed.
    """

    state: S | None
    wake: Wake | None = None
    applied: bool = True


class NewInput(Struct, frozen=True):
    """Verdict: not processed yet."""


class Repeat(Struct, frozen=True):
    """Verdict: processed, but its outputs may not have been sent; send those of `entry` again."""

    entry: OutboxEntry


class Duplicate(Struct, frozen=True):
    """Verdict: processed and committed, or a copy of a processed input.

    `kind` labels the metric.
    """

    kind: str


def judge(row: Row[S] | None, position: Position) -> NewInput | Repeat | Duplicate:
    """Return whether the input at `position` is new, a repeat or a duplicate, by its key's row."""
    if row is None:
        return NewInput()
    if position.offset <= row.positions.get(position.topic, -1):
        for entry in row.outbox:
            if (entry.topic, entry.offset) == (position.topic, position.offset):
                return Repeat(entry)
        return Duplicate("offset")
    cause = position.cause
    if cause is not None and (cause.offset, cause.index) <= row.causes.get(cause.source, (-1, -1)):
        return Duplicate("cause")
    return NewInput()


def advance(
    row: Row[S] | None,
    position: Position,
    change: Change[S],
    outputs: tuple[Output, ...],
    committed_offset: Callable[[str], int],
) -> Row[S]:
    """Return the row after the input at `position`.

    `committed_offset(topic)`: next offset to be read after a kill.
    """
    former_row = row or Row[S]()
    cause = position.cause
    outbox = _uncommitted_entries(former_row, committed_offset)
    outbox.append(OutboxEntry(position.topic, position.offset, outputs, change.applied))
    return Row(
        state=change.state,
        positions={**former_row.positions, position.topic: position.offset},
        causes=former_row.causes
        if cause is None
        else {**former_row.causes, cause.source: (cause.offset, cause.index)},
        outbox=tuple(outbox),
        wake=change.wake,
    )


def outbox_bytes(row: Row[S], committed_offset: Callable[[str], int]) -> int:
    """Return the bytes of outputs that uncommitted inputs have caused.

    `committed_offset(topic)`: next offset to be read after a kill.
    """
    return sum(
        len(output.value or b"")
        for entry in _uncommitted_entries(row, committed_offset)
        for output in entry.outputs
    )


def has_uncommitted_inputs(row: Row[S], committed_offset: Callable[[str], int]) -> bool:
    """Return whether the row's inputs may still be redelivered.

    `committed_offset(topic)`: next offset to be read after a kill.
    """
    return bool(_uncommitted_entries(row, committed_offset))


def _uncommitted_entries(row: Row[S], committed_offset: Callable[[str], int]) -> list[OutboxEntry]:
    return [entry for entry in row.outbox if entry.offset >= committed_offset(entry.topic)]
