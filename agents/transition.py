"""Transition of a key's row by one input: pure, from the step's outcome to the bytes to write."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agents.admission import too_large_dead_letter
from agents.idempotence import Change, OutboxEntry, Output, Position, Row, advance
from agents.outputs import DecodedInput
from agents.ports import Message
from agents.timers import TimerChange, due_time_of, next_timer
from pipeline.model import sizes
from pipeline.model.budget import Purse
from pipeline.model.dead_letter import MAX_BYTES
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Forward, Ok, Outcome, Redirect, Wake
from pipeline.model.time import HOUR_MS

LARGE_OUTBOX: Final = 128 << 10
"""Outbox size (bytes) at which a key's inputs are committed early; every row write repeats the
outbox."""
MAX_ROW_BYTES: Final = sizes.RECORD - MAX_BYTES - LARGE_OUTBOX - (64 << 10)
"""Maximum size (bytes) of a row, which leaves room for a dead letter, a large outbox and Kafka's
overhead. Outputs are smaller than the row that contains them."""
EMPTY_ROW_MS: Final = HOUR_MS
"""Default retention of a row without state, in which duplicates of its inputs are recognised."""

StatelessOutcome: TypeAlias = DeadLetter | Drop | Redirect | Forward
"""Outcomes that change no state."""


class KeyedInput(Struct, frozen=True):
    """Input with its position and its key's row."""

    input: DecodedInput
    position: Position
    row: Row[Any] | None

    @property
    def interaction(self) -> Interaction | None:
        """Input, if it is an interaction from an upstream app; otherwise None."""
        record = self.input.record
        return record if isinstance(record, Interaction) else None


class StepResult(Struct, frozen=True):
    """Outcome of a step, and the outputs that follow from it."""

    outcome: Outcome[Any]
    outputs: tuple[Output, ...]


class Effect(Struct, frozen=True):
    """Effect of an input.

    `row`: bytes to write, None: the row is unchanged; `interaction`: its id is stored; `outcome`:
    counted in the metrics; `purses`: changed purses of the partition, by budget.
    """

    row: bytes | None
    outputs: tuple[Output, ...]
    interaction: Interaction | None
    timer: TimerChange
    outcome: StatelessOutcome | None = None
    purses: Mapping[str, Purse] = {}


class FullOutbox(Struct, frozen=True):
    """Lack of room in a row for further outputs; a commit of its inputs makes room."""


class Transition:
    """Transitions of one stage's rows.

    `committed_offset(topic, partition)`: next offset to be read after a kill; `empty_row_ms`:
    retention of a row without state.
    """

    def __init__(
        self,
        committed_offset: Callable[[str, int], int],
        encode_dead_letter: Callable[[Message, DeadLetter], Output],
        empty_row_ms: int,
    ) -> None:
        self._committed_offset = committed_offset
        self._empty_row_ms = empty_row_ms
        self._encode_dead_letter = encode_dead_letter
        self._encode = msgspec.msgpack.Encoder().encode

    def apply(
        self, keyed_input: KeyedInput, result: StepResult
    ) -> Effect | StatelessOutcome | FullOutbox:
        """Return the effect of a step's result, or its outcome if that changes no row."""
        if isinstance(result.outcome, Ok):
            return self._change_state(keyed_input, result.outcome, result.outputs)
        return self.record_stateless_outcome(keyed_input, result.outcome, result.outputs)

    def repeat(self, keyed_input: KeyedInput, entry: OutboxEntry) -> Effect:
        """Return the effect of a redelivered input: the outputs of its outbox entry."""
        timer = None if keyed_input.row is None else keyed_input.row.wake
        interaction = keyed_input.interaction if entry.applied else None
        return Effect(None, entry.outputs, interaction, TimerChange(None, timer))

    def record_stateless_outcome(
        self, keyed_input: KeyedInput, outcome: StatelessOutcome, outputs: tuple[Output, ...] = ()
    ) -> Effect | StatelessOutcome | FullOutbox:
        """Record an outcome that changes no state in the row's outbox; return its effect.

        A `Drop`, and a `Forward` of a key without a row, are returned unrecorded. Without an entry
        in the outbox, an input that is redelivered after a later input has advanced the row would
        count as processed, and its outputs would be lost.
        """
        row, position = keyed_input.row, keyed_input.position
        if isinstance(outcome, Drop) or (isinstance(outcome, Forward) and row is None):
            return outcome
        if isinstance(outcome, DeadLetter):
            outputs = (self._encode_dead_letter(keyed_input.input.message, outcome),)
            # Without the cause, the record is not a duplicate when it is corrected and sent again.
            position = replace(position, cause=None)
        if row is None:
            state, former_timer = None, None
            wake: Wake | None = self._expiry_timer(keyed_input)
        else:
            state, former_timer, wake = row.state, row.wake, row.wake
        new_row = self._advance(row, position, Change(state, wake, applied=False), outputs)
        row_bytes = self._encode(new_row)
        if len(row_bytes) > MAX_ROW_BYTES and not isinstance(outcome, DeadLetter):
            return self._refuse_size(keyed_input, new_row, row_bytes)
        return Effect(row_bytes, outputs, None, TimerChange(former_timer, wake), outcome)

    def _change_state(
        self, keyed_input: KeyedInput, outcome: Ok[Any], outputs: tuple[Output, ...]
    ) -> Effect | StatelessOutcome | FullOutbox:
        row = keyed_input.row
        former_timer = None if row is None else row.wake
        if outcome.state is None:
            wake: Wake | None = self._expiry_timer(keyed_input)
        elif row is None or row.state is None:
            wake = outcome.wake
        else:
            wake = next_timer(former_timer, outcome.wake, due_time_of(keyed_input.input.record))
        new_row = self._advance(row, keyed_input.position, Change(outcome.state, wake), outputs)
        row_bytes = self._encode(new_row)
        if len(row_bytes) > MAX_ROW_BYTES:
            return self._refuse_size(keyed_input, new_row, row_bytes)
        timer = TimerChange(former_timer, wake)
        return Effect(row_bytes, outputs, keyed_input.interaction, timer, purses=outcome.purses)

    def _expiry_timer(self, keyed_input: KeyedInput) -> Wake:
        """Return the timer at which a row without state is deleted."""
        return Wake(keyed_input.input.message.timestamp_ms + self._empty_row_ms)

    def _advance(
        self,
        row: Row[Any] | None,
        position: Position,
        change: Change[Any],
        outputs: tuple[Output, ...],
    ) -> Row[Any]:
        partition = position.partition
        return advance(
            row, position, change, outputs, lambda topic: self._committed_offset(topic, partition)
        )

    def _refuse_size(
        self, keyed_input: KeyedInput, new_row: Row[Any], row_bytes: bytes
    ) -> Effect | StatelessOutcome | FullOutbox:
        if len(new_row.outbox) > 1:
            return FullOutbox()
        subject = "the state and its outputs would have"
        dead_letter = too_large_dead_letter(subject, len(row_bytes), MAX_ROW_BYTES)
        return self.record_stateless_outcome(keyed_input, dead_letter)
