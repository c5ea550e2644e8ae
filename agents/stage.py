"""The shell around a stage's pure step: gather, decide, apply.

One input at a time: read its row, ask the protocol (`delivery.py`) whether it is new, run the
step, write row and records. The transport commits the input's offset after all of them are
delivered. An input that cannot be processed becomes a dead letter and the stage goes on, unless
exceptions pile up: then the process ends, so that somebody looks.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from agents.delivery import (
    Cause,
    Duplicate,
    New,
    Output,
    Position,
    Repeat,
    Row,
    advance,
    judge,
)
from agents.event_ids import EventIds
from agents.headers import CAUSE, TIMING, TRACEPARENT, cause_of, onward_timing, onward_trace
from agents.metrics import StageMetrics
from agents.ports import Message, Ports
from agents.rulebook import Rulebook
from pipeline.adapters.avro import Codec, Malformed
from pipeline.flow import Stage, config_of
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Ok, Outcome, Redirect
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.rules import Rules

_ROW = b"r"
_MAX_EXCEPTIONS = 50
_EXCEPTION_WINDOW_S = 60.0


class TooManyExceptionsError(Exception):
    """Raised when steps keep failing in ways nobody foresaw; the process ends."""


@dataclass(frozen=True, slots=True)
class _Effect:
    """What an input changes. `row` None: nothing (anew); `interaction`: its id is remembered."""

    row: Row[Any] | None
    outputs: tuple[Output, ...]
    interaction: Interaction | None


_Decided: TypeAlias = _Effect | DeadLetter | Drop | Redirect | Forward | Duplicate


class StageShell:
    """Processes the inputs of one stage."""

    def __init__(
        self, stage: Stage, ports: Ports, codec: Codec, rulebook: Rulebook, metrics: StageMetrics
    ) -> None:
        self._stage = stage
        self._ports = ports
        self._codec = codec
        self._rulebook = rulebook
        self._metrics = metrics
        self._ids = EventIds(ports.table)
        self._exceptions: deque[float] = deque(maxlen=_MAX_EXCEPTIONS)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes], Row[Any]] = msgspec.msgpack.Decoder(
            Row[stage.state]  # type: ignore[name-defined]
        ).decode

    async def handle(self, message: Message) -> None:
        """Process one input completely, up to handing its records to the producer."""
        began = time.perf_counter()
        queued_ms = max(time.time() * 1000 - message.timestamp_ms, 0.0)
        decided = await self._decide(message)
        spent_ms = (time.perf_counter() - began) * 1000
        timing = onward_timing(message.headers, self._stage.name, queued_ms, spent_ms)
        headers = [(TRACEPARENT, onward_trace(message.headers)), (TIMING, timing)]
        self._apply(message, decided, headers)
        self._metrics.observe(queued_ms / 1000, time.perf_counter() - began)

    async def _decide(self, message: Message) -> _Decided:
        record = self._record(message)
        if isinstance(record, DeadLetter):
            return record
        if isinstance(record, Interaction) and (fault := self._misplaced(record, message)):
            return fault
        digest = config_of(record)
        rules = await self._rulebook.find(digest)
        if rules is None:
            return DeadLetter("unknown-configuration", f"{digest} was never applied")
        return self._judged(message, record, rules)

    def _record(self, message: Message) -> msgspec.Struct | DeadLetter:
        if message.value is None:
            return DeadLetter("empty-value", "the record has no value")
        decoded = self._codec.decode(message.topic, message.value)
        if isinstance(decoded, Malformed):
            return DeadLetter(decoded.reason, decoded.detail)
        return decoded

    def _misplaced(
        self, interaction: Interaction, message: Message
    ) -> DeadLetter | Redirect | None:
        """An interaction from an upstream app may claim any time and stand in any partition."""
        if interaction.received_at > message.timestamp_ms + MAX_AHEAD_MS:
            return DeadLetter(
                "time-in-future", "received_at: more than 1 h after the record's time"
            )
        if self._ports.partition_of(message.topic, message.key) == message.partition:
            return None
        return Redirect(Emit(message.topic, message.key.decode(errors="replace"), interaction))

    def _judged(self, message: Message, record: msgspec.Struct, rules: Rules) -> _Decided:
        # An upstream app's record has no cause of ours; its event id says whether it is a copy.
        cause = None if message.topic == topics.INTERACTIONS else cause_of(message.headers)
        position = Position(message.topic, message.partition, message.offset, cause)
        interaction = record if isinstance(record, Interaction) else None
        row = self._row(message)
        match judge(row, position):
            case Duplicate() as duplicate:
                return duplicate
            case Repeat(sent):
                return _Effect(None, sent.outputs, interaction)
            case New():
                pass
        if interaction is not None and self._known(interaction, message.partition):
            return Duplicate("event_id")
        return self._stepped(message, position, (record, row), rules)

    def _stepped(
        self,
        message: Message,
        position: Position,
        given: tuple[msgspec.Struct, Row[Any] | None],
        rules: Rules,
    ) -> _Decided:
        record, row = given
        try:
            state = None if row is None else row.state
            outcome: Outcome[Any] = self._stage.step(message.key.decode(), record, state, rules)
            if not isinstance(outcome, Ok):
                return outcome
            outputs = tuple(self._output(emit) for emit in outcome.emits)
        except Exception as error:
            return self._unforeseen(error)
        after = advance(row, position, outcome.state, outputs, self._committed(message.partition))
        return _Effect(after, outputs, record if isinstance(record, Interaction) else None)

    def _apply(self, message: Message, decided: _Decided, headers: list[tuple[str, bytes]]) -> None:
        match decided:
            case _Effect(row, outputs, interaction):
                self._write(message, row, interaction)
                self._send(message, outputs, headers)
            case Redirect(emit):
                self._metrics.redirected.inc()
                self._send(message, (self._output(emit),), headers)
            case Forward(emits):
                self._send(message, tuple(self._output(emit) for emit in emits), headers)
            case DeadLetter():
                self._dead_letter(message, decided, headers)
            case Duplicate(kind):
                self._metrics.duplicates.labels(self._stage.name, kind).inc()
            case Drop(reason):
                self._metrics.dropped.labels(self._stage.name, reason).inc()

    def _write(
        self, message: Message, row: Row[Any] | None, interaction: Interaction | None
    ) -> None:
        """The row first: while it is not in the changelog, the input is not known."""
        if row is None:
            self._metrics.repeats.inc()
        else:
            self._ports.table.put_in(message.partition, _ROW + message.key, self._encode(row))
        if interaction is not None:
            self._ids.add(message.partition, interaction.event_id, interaction.received_at)

    def _send(
        self, message: Message, outputs: tuple[Output, ...], headers: list[tuple[str, bytes]]
    ) -> None:
        source = f"{message.topic}/{message.partition}"
        for index, output in enumerate(outputs):
            cause = Cause(source, message.offset, index).header()
            self._ports.send(output.topic, output.key, output.value, [*headers, (CAUSE, cause)])
        self._metrics.sent(outputs)

    def _dead_letter(
        self, message: Message, fault: DeadLetter, headers: list[tuple[str, bytes]]
    ) -> None:
        record = DeadLetterRecord(
            stage=self._stage.name,
            reason=fault.reason,
            detail=fault.detail,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            at=message.timestamp_ms,
            key=message.raw_key,
            value=message.value,
            headers=dict(message.headers),
        )
        self._metrics.dead_letters.labels(self._stage.name, fault.reason).inc()
        value = self._codec.encode(topics.DEAD_LETTERS, record)
        self._ports.send(topics.DEAD_LETTERS, message.raw_key, value, headers)

    def _unforeseen(self, error: Exception) -> DeadLetter:
        """An exception in a step is a dead letter that counts; too many of them are our fault."""
        now_s = time.monotonic()
        full = len(self._exceptions) == _MAX_EXCEPTIONS
        if full and self._exceptions[0] > now_s - _EXCEPTION_WINDOW_S:
            raise TooManyExceptionsError(
                f"{self._stage.name}: over {_MAX_EXCEPTIONS} exceptions in {_EXCEPTION_WINDOW_S} s"
            ) from error
        self._exceptions.append(now_s)
        where = traceback.extract_tb(error.__traceback__)[-1]
        return DeadLetter("exception", f"{error!r} in {where.name}, line {where.lineno}")

    def _row(self, message: Message) -> Row[Any] | None:
        stored = self._ports.table.get_in(message.partition, _ROW + message.key)
        return None if stored is None else self._decode(stored)

    def _known(self, interaction: Interaction, partition: int) -> bool:
        return self._ids.known(partition, interaction.event_id, interaction.received_at)

    def _committed(self, partition: int) -> Callable[[str], int]:
        return lambda topic: self._ports.committed(topic, partition)

    def _output(self, emit: Emit) -> Output:
        return Output(emit.topic, emit.key.encode(), self._codec.encode(emit.topic, emit.value))
