"""Transition of a key's row by one input: pure, from the step's outcome to the bytes to write."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agents.admission import too_large_letter
from agents.idempotence import Change, Output, Position, Row, Sent, advance
from agents.outputs import DecodedInput
from agents.ports import Message
from agents.timers import TimerChange, fired_at, next_timer
from pipeline.model import sizes
from pipeline.model.budget import Purse
from pipeline.model.dead_letter import LARGEST
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Forward, Ok, Outcome, Redirect, Wake
from pipeline.model.time import HOUR_MS

LARGE_OUTBOX: Final = 128 << 10
"""Outbox size (bytes) at which a key's inputs are committed early; every row write repeats the
outbox."""
LARGEST_ROW: Final = sizes.RECORD - LARGEST - LARGE_OUTBOX - (64 << 10)
"""Maximum size (bytes) of a row, which leaves room for a dead letter and Kafka's overhead. Outputs
are smaller than the row that contains them."""
EMPTY_ROW_MS: Final = HOUR_MS
"""Default retention of a row without state, in which duplicates of its inputs are recognised."""

Stateless: TypeAlias = DeadLetter | Drop | Redirect | Forward
"""Outcomes that change no state."""


class KeyedInput(Struct, frozen=True):
    """Input with its position and its key's row."""

    input: DecodedInput
    position: Position
    row: Row[Any] | None

    @property
    def interaction(self) -> Interaction | None:
        """Input, where it is an interaction from outside."""
        record = self.input.record
        return record if isinstance(record, Interaction) else None


class StepResult(Struct, frozen=True):
    """Outcome of a step, and the outputs that follow from it."""

    outcome: Outcome[Any]
    outputs: tuple[Output, ...]


class Effect(Struct, frozen=True):
    """Effect of an input.

    `row`: bytes to write, None: unchanged; `interaction`: its id is stored; `outcome`: counted;
    `purses`: of the partition, to be written, by budget.
    """

    row: bytes | None
    outputs: tuple[Output, ...]
    interaction: Interaction | None
    timer: TimerChange
    outcome: Stateless | None = None
    purses: Mapping[str, Purse] = {}


class OutboxFull(Struct, frozen=True):
    """Lack of room in a row for more outputs: commit its uncommitted inputs, then try again."""


class Transition:
    """Transitions of one stage's rows.

    `committed(topic, partition)`: next offset to be read after a kill; `dead_letter`: encodes a
    dead letter; `empty_row_ms`: retention of a row without state.
    """

    def __init__(
        self,
        committed: Callable[[str, int], int],
        dead_letter: Callable[[Message, DeadLetter], Output],
        empty_row_ms: int,
    ) -> None:
        self._committed = committed
        self._empty_row_ms = empty_row_ms
        self._dead_letter = dead_letter
        self._encode = msgspec.msgpack.Encoder().encode

    def apply(self, keyed: KeyedInput, result: StepResult) -> Effect | Stateless | OutboxFull:
        """Return the effect of a step's result; a stateless outcome that needs no row is returned
        itself."""
        if isinstance(result.outcome, Ok):
            return self._change_state(keyed, result.outcome, result.outputs)
        return self.record_stateless(keyed, result.outcome, result.outputs)

    def repeat(self, keyed: KeyedInput, sent: Sent) -> Effect:
        """Return the effect of a redelivered input: its outputs again."""
        armed = None if keyed.row is None else keyed.row.wake
        applied = keyed.interaction if sent.applied else None
        return Effect(None, sent.outputs, applied, TimerChange(None, armed))

    def record_stateless(
        self, keyed: KeyedInput, outcome: Stateless, outputs: tuple[Output, ...] = ()
    ) -> Effect | Stateless | OutboxFull:
        """Record an outcome that changes no state in the row's outbox.

        Otherwise, once a later input of the key has advanced the row, a redelivered input would
        count as processed.
        """
        row, position = keyed.row, keyed.position
        if isinstance(outcome, Drop) or (isinstance(outcome, Forward) and row is None):
            return outcome
        if isinstance(outcome, DeadLetter):
            outputs = (self._dead_letter(keyed.input.message, outcome),)
            position = replace(
                position, cause=None
            )  # once mended and sent again, it is no duplicate
        state, before = (None, None) if row is None else (row.state, row.wake)
        wake = (
            Wake(keyed.input.message.timestamp_ms + self._empty_row_ms) if row is None else before
        )
        after = self._advance(row, position, Change(state, wake, applied=False), outputs)
        written = self._encode(after)
        if len(written) > LARGEST_ROW and not isinstance(outcome, DeadLetter):
            return self._refuse_size(keyed, after, written)
        return Effect(written, outputs, None, TimerChange(before, wake), outcome)

    def _change_state(
        self, keyed: KeyedInput, outcome: Ok[Any], outputs: tuple[Output, ...]
    ) -> Effect | Stateless | OutboxFull:
        row = keyed.row
        before = None if row is None else row.wake
        if outcome.state is None:
            wake: Wake | None = Wake(keyed.input.message.timestamp_ms + self._empty_row_ms)
        elif row is None or row.state is None:
            wake = outcome.wake
        else:
            wake = next_timer(before, outcome.wake, fired_at(keyed.input.record))
        after = self._advance(row, keyed.position, Change(outcome.state, wake), outputs)
        written = self._encode(after)
        if len(written) > LARGEST_ROW:
            return self._refuse_size(keyed, after, written)
        timer = TimerChange(before, wake)
        return Effect(written, outputs, keyed.interaction, timer, purses=outcome.purses)

    def _advance(
        self,
        row: Row[Any] | None,
        position: Position,
        change: Change[Any],
        outputs: tuple[Output, ...],
    ) -> Row[Any]:
        partition = position.partition
        return advance(
            row, position, change, outputs, lambda topic: self._committed(topic, partition)
        )

    def _refuse_size(
        self, keyed: KeyedInput, after: Row[Any], written: bytes
    ) -> Effect | Stateless | OutboxFull:
        if len(after.outbox) > 1:
            return OutboxFull()
        subject = "the state and its outputs would have"
        return self.record_stateless(keyed, too_large_letter(subject, len(written), LARGEST_ROW))
