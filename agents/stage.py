"""The shell around a stage's pure step: gather, decide, apply.

One input at a time: read its row, ask the protocol (`delivery.py`) whether it is new, run the
step, write row and records. The transport commits the input's offset after all of them are
delivered. An input that cannot be processed, or from which something would follow that is too large
to be written, becomes a dead letter and the stage goes on, unless exceptions pile up: then the
process ends, so that somebody looks.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agents.dead_letters import LARGEST, dead_letter, key_of
from agents.decoded_cache import DecodedCache
from agents.event_ids import EventIds
from agents.headers import CAUSE, TIMING, TRACEPARENT, cause_of, onward_timing, onward_trace
from agents.idempotence import (
    Cause,
    Change,
    Duplicate,
    New,
    Output,
    Position,
    Repeat,
    Row,
    advance,
    has_uncommitted,
    judge,
    outbox_bytes,
)
from agents.metrics import StageMetrics
from agents.ports import Message, Ports
from agents.rulebook import Rulebook
from agents.timers import Due, TimerChange, Timers, fired_at, standing
from pipeline.adapters.avro import Malformed
from pipeline.flow import Stage, config_of, control_of, timer
from pipeline.identity.naming import REUSED_ID
from pipeline.model import sizes, topics
from pipeline.model.control import Control
from pipeline.model.ids import content_digest, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import (
    DeadLetter,
    Drop,
    Emit,
    Forward,
    Ok,
    Outcome,
    Redirect,
    Wake,
)
from pipeline.model.time import HOUR_MS, MAX_AHEAD_MS
from pipeline.rules import Rules

_ROW = b"r"
_MUCH = 128 << 10
"""Bytes that uncommitted inputs of a key may have caused before they are committed out of turn:
each write of its row contains them."""
_LARGEST_ROW = sizes.RECORD - LARGEST - _MUCH - (64 << 10)
"""Bytes: beside a row, whatever it holds, there is room for a dead letter, and for what Kafka adds.
Outputs are smaller than the row that keeps them."""
_MAX_EXCEPTIONS = 50
_EXCEPTION_WINDOW_S = 60.0
_CONGESTED = 50
"""So many inputs of a partition wait at most for timers to be told by the dozen beside them."""
_ALWAYS_TOLD = 2
"""So many are at each look however much waits: a backlog may last, and they would wait for its end
before they were even behind it."""
_EMPTY_KEPT_MS = HOUR_MS
"""So long a row without state stays: what was sent twice must find that it came before."""


class TooManyExceptionsError(Exception):
    """Raised when steps keep failing in ways nobody foresaw; the process ends."""


class OutboxFullError(Exception):
    """Raised when no more fits beside what inputs caused that are not committed; where they cannot
    be committed first, the process ends."""


class _Effect(Struct, frozen=True):
    """What an input changes. `row`: as it is written, None: nothing (anew); `interaction`: its id
    is remembered; `outcome`: what it is counted as."""

    row: bytes | None
    outputs: tuple[Output, ...]
    interaction: Interaction | None
    timer: TimerChange
    outcome: "_Stateless | None" = None


_Stateless: TypeAlias = DeadLetter | Drop | Redirect | Forward
_Decided: TypeAlias = _Effect | _Stateless | Duplicate
_Given: TypeAlias = tuple[msgspec.Struct, bytes | None]
"""An input, decoded and as it came."""


class StageShell:
    """Processes the inputs of one stage."""

    def __init__(
        self,
        stage: Stage,
        ports: Ports,
        codec: DecodedCache,
        rulebook: Rulebook,
        metrics: StageMetrics,
    ) -> None:
        self._stage = stage
        self._ports = ports
        self._codec = codec
        self._rulebook = rulebook
        self._metrics = metrics
        self._ids = EventIds(ports.table)
        self._timers = Timers(ports.table)
        self._exceptions: deque[float] = deque(maxlen=_MAX_EXCEPTIONS)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes], Row[Any]] = msgspec.msgpack.Decoder(
            Row[stage.state]  # type: ignore[name-defined]
        ).decode

    async def handle(self, message: Message) -> None:
        """Process one input completely, up to handing its records to the producer."""
        began = time.perf_counter()
        queued_ms = max(time.time() * 1000 - message.timestamp_ms, 0.0)
        record = self._record(message)
        decided = await self._decide(message, record)
        spent_ms = (time.perf_counter() - began) * 1000
        timing = onward_timing(message.headers, self._stage.name, queued_ms, spent_ms)
        headers = [(TRACEPARENT, onward_trace(message.headers)), (TIMING, timing)]
        self._apply(message, decided, headers)
        self._silence(message, record)
        self._metrics.observe(queued_ms / 1000, time.perf_counter() - began)

    def tell_due(self, now_ms: int) -> None:
        """Have the rows woken whose time has come by the wall clock, by records like any other;
        a few at a time where much waits already, since they would hold it up."""
        digest = self._rulebook.newest_digest
        if digest is None:
            return
        for partition in self._ports.partitions:
            waiting = self._ports.backlog(partition)
            if waiting == 0:
                self._timers.give_up(partition, now_ms)
            if waiting is not None:
                most = max(_CONGESTED - waiting, _ALWAYS_TOLD)
                self._tell_due(partition, (now_ms, digest), most)

    def own_anew(self) -> None:
        """Partitions were given to this worker, the same as before or others."""
        self._timers.forget()

    def _tell_due(self, partition: int, now: tuple[int, str], most: int) -> None:
        for due in self._timers.due(partition, now[0]):
            row = self._row_in(partition, due.key)
            if row is None or row.state is None:
                self._clear(partition, due, row)
            elif most and self._timers.tell(partition, due, now[0]):
                self._wake(due, now, partition)
                most -= 1
            else:
                return

    def _clear(self, partition: int, due: Due, row: Row[Any] | None) -> None:
        """A row that keeps nothing has remembered its last inputs for long enough, unless one of
        them may come again as it is, or a kill has left this timer, and a later one stands for the
        row."""
        if row is not None and row.wake == Wake(due.at):
            if has_uncommitted(row, self._committed(partition)):
                return
            self._ports.table.delete_in(partition, _ROW + due.key)
        self._timers.fired(partition, due.key, due.at)

    def _wake(self, due: Due, now: tuple[int, str], partition: int) -> None:
        now_ms, digest = now
        emit = timer(self._stage, due.key.decode(), (due.at, now_ms), digest)
        output = self._output(emit)
        trace = [(TRACEPARENT, onward_trace(()))]
        self._ports.send(output.topic, output.key, output.value, trace, partition)
        self._metrics.timers.inc()

    async def _decide(self, message: Message, record: msgspec.Struct | DeadLetter) -> _Decided:
        if isinstance(record, DeadLetter):
            return record
        if isinstance(record, Interaction):
            if fault := self._misplaced(record, message):
                return fault
            record = _heard(record, message)
            self._metrics.heard(record)
        digest = config_of(record)
        rules = await self._rulebook.find(digest)
        if rules is None:
            return DeadLetter("unknown-configuration", f"{digest} was never applied")
        control = control_of(record)
        if control is not None and control.kind == "clock":
            overdue = self._overdue(message, control)
            if overdue:
                return Forward((*overdue, Emit(message.topic, message.key.decode(), record)))
        return await self._judged(message, record, rules)

    def _record(self, message: Message) -> msgspec.Struct | DeadLetter:
        if message.value is None:
            return DeadLetter("empty-value", "the record has no value")
        if message.topic == topics.INTERACTIONS and (fault := _beyond_limits(message)):
            return fault
        if not _is_text(message.key):
            return DeadLetter("malformed-key", "the key is not UTF-8")
        decoded = self._codec.decode(message.topic, message.value)
        if isinstance(decoded, Malformed):
            return DeadLetter(decoded.reason, decoded.detail)
        return decoded

    def _overdue(self, message: Message, clock: Control) -> list[Emit]:
        """What a log's clock must wake before it passes on: it is put behind them once more."""
        due = self._timers.due_in_log(message.partition, clock.at)
        self._metrics.timers.inc(len(due))
        return [
            timer(self._stage, one.key.decode(), (one.at, clock.at), clock.config) for one in due
        ]

    def _misplaced(
        self, interaction: Interaction, message: Message
    ) -> DeadLetter | Redirect | None:
        """An interaction from an upstream app may claim any time and stand in any partition."""
        if interaction.received_at > message.timestamp_ms + MAX_AHEAD_MS:
            return DeadLetter(
                "time-in-future", "received_at: more than 1 h after the record's time"
            )
        if interaction.received_at < 0:
            return DeadLetter("time-before-1970", "received_at: milliseconds since 1970 are meant")
        if self._ports.partition_of(message.topic, message.key) == message.partition:
            return None
        return Redirect(Emit(message.topic, message.key.decode(errors="replace"), interaction))

    async def _judged(self, message: Message, record: msgspec.Struct, rules: Rules) -> _Decided:
        # An upstream app's record has no cause of ours; its event id says whether it is a copy.
        cause = None if message.topic == topics.INTERACTIONS else cause_of(message.headers)
        position = Position(message.topic, message.partition, message.offset, cause)
        interaction = record if isinstance(record, Interaction) else None
        stored = self._ports.table.get_in(message.partition, _ROW + message.key)
        row = None if stored is None else self._decode(stored)
        match judge(row, position):
            case Duplicate() as duplicate:
                return duplicate
            case Repeat(sent):
                stands = None if row is None else row.wake
                applied = interaction if sent.applied else None
                return _Effect(None, sent.outputs, applied, TimerChange(None, stands))
            case New():
                pass
        if interaction is not None and (known := self._known(interaction, message)):
            if known == content_digest(interaction):
                return Duplicate("event_id")
            return self._traced(message, position, row, (REUSED_ID, ()))
        large = stored is not None and len(stored) > _MUCH
        if (
            large
            and row is not None
            and outbox_bytes(row, self._committed(message.partition)) > _MUCH
        ):
            await self._ports.flush_and_commit()
            row = self._row_in(message.partition, message.key)
        try:
            return self._stepped(message, position, (record, row), rules)
        except OutboxFullError:
            await self._ports.flush_and_commit()
        row = self._row_in(message.partition, message.key)
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
            outputs = self._outputs(message, outcome, record)
            if isinstance(outcome, Ok):
                return self._moved_on(message, position, given, (outcome, outputs))
        except OutboxFullError:
            raise
        except Exception as error:
            outcome, outputs = self._unforeseen(error), ()
        return self._traced(message, position, row, (outcome, outputs))

    def _moved_on(
        self,
        message: Message,
        position: Position,
        given: tuple[msgspec.Struct, Row[Any] | None],
        came_of_it: tuple[Ok[Any], tuple[Output, ...]],
    ) -> _Decided:
        (record, row), (outcome, outputs) = given, came_of_it
        before = None if row is None else row.wake
        if outcome.state is None:
            wake: Wake | None = Wake(message.timestamp_ms + _EMPTY_KEPT_MS)
        elif row is None or row.state is None:
            wake = outcome.wake
        else:
            wake = standing(before, outcome.wake, fired_at(record))
        change = Change(outcome.state, wake)
        after = advance(row, position, change, outputs, self._committed(message.partition))
        written = self._encode(after)
        if len(written) > _LARGEST_ROW:
            return self._traced(message, position, row, (_oversized(after, written), ()))
        interaction = record if isinstance(record, Interaction) else None
        return _Effect(written, outputs, interaction, TimerChange(before, wake))

    def _traced(
        self,
        message: Message,
        position: Position,
        row: Row[Any] | None,
        outcome: tuple[_Stateless, tuple[Output, ...]],
    ) -> _Decided:
        """What changes no state stands in the row's outbox all the same: once a later input of
        the key has moved the row on, a kill must not make this one look as if it were done."""
        why, outputs = outcome
        if isinstance(why, Drop) or (isinstance(why, Forward) and row is None):
            return why
        if isinstance(why, DeadLetter):
            outputs = self._outputs(message, why)
            position = replace(position, cause=None)  # mended and sent again it is no copy
        state, before = (None, None) if row is None else (row.state, row.wake)
        wake = Wake(message.timestamp_ms + _EMPTY_KEPT_MS) if row is None else before
        change = Change(state, wake, applied=False)
        after = advance(row, position, change, outputs, self._committed(message.partition))
        written = self._encode(after)
        if len(written) > _LARGEST_ROW and not isinstance(why, DeadLetter):
            return self._traced(message, position, row, (_oversized(after, written), ()))
        return _Effect(written, outputs, None, TimerChange(before, wake), why)

    def _outputs(
        self,
        message: Message,
        outcome: Outcome[Any] | Duplicate,
        record: msgspec.Struct | None = None,
    ) -> tuple[Output, ...]:
        """What is sent of an `outcome`; `record`: the message's own, where much of it goes on."""
        given = None if record is None else (record, message.value)
        match outcome:
            case Ok(_, emits) | Forward(emits):
                return tuple(self._output(emit, given) for emit in emits)
            case Redirect(emit):
                return (self._output(emit, given),)
            case DeadLetter():
                return (self._dead_letter(message, outcome),)
        return ()

    def _apply(self, message: Message, decided: _Decided, headers: list[tuple[str, bytes]]) -> None:
        if isinstance(decided, _Effect):
            self._write(message, decided)
            self._count(decided.outcome)
            self._send(message, decided.outputs, headers)
        else:
            self._count(decided)
            self._send(message, self._outputs(message, decided), headers)

    def _count(self, outcome: _Stateless | Duplicate | None) -> None:
        match outcome:
            case DeadLetter(reason):
                self._metrics.dead_letters.labels(self._stage.name, reason).inc()
            case Redirect():
                self._metrics.redirected.inc()
            case Duplicate(kind):
                self._metrics.duplicates.labels(self._stage.name, kind).inc()
            case Drop(reason):
                self._metrics.dropped.labels(self._stage.name, reason).inc()

    def _write(self, message: Message, effect: _Effect) -> None:
        """The row before the event id: while it is not in the changelog, the input is not known.
        Its timer before the row: one that stands for nothing is harmless, a missing one is not."""
        self._timers.begin(message.partition, message.key, effect.timer)
        if effect.row is None:
            self._metrics.repeats.inc()
        else:
            self._ports.table.put_in(message.partition, _ROW + message.key, effect.row)
        self._timers.end(message.partition, message.key, effect.timer)
        if effect.interaction is not None:
            event = event_key(message.key.decode(), effect.interaction)
            digest = content_digest(effect.interaction)
            self._ids.add(message.partition, event, message.timestamp_ms, digest)

    def _silence(self, message: Message, record: msgspec.Struct | DeadLetter) -> None:
        """A timer has rung, whatever came of it; one that cannot be processed does not again."""
        rang_at = fired_at(record)
        if rang_at is None:
            return
        self._timers.fired(message.partition, message.key, rang_at)
        row = self._row_in(message.partition, message.key)
        if row is not None and row.wake is not None and row.wake.at == rang_at:
            row = msgspec.structs.replace(row, wake=None)
            self._ports.table.put_in(message.partition, _ROW + message.key, self._encode(row))

    def _send(
        self, message: Message, outputs: tuple[Output, ...], headers: list[tuple[str, bytes]]
    ) -> None:
        source = f"{message.topic}/{message.partition}"
        for index, output in enumerate(outputs):
            cause = Cause(source, message.offset, index).header()
            self._ports.send(
                output.topic,
                output.key,
                output.value,
                [*headers, (CAUSE, cause)],
                message.partition,
            )
        self._metrics.sent(outputs)

    def _dead_letter(self, message: Message, fault: DeadLetter) -> Output:
        record = dead_letter(self._stage.name, message, fault)
        value = self._codec.encode(topics.DEAD_LETTERS, record)
        return Output(topics.DEAD_LETTERS, key_of(message), value)

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

    def _row_in(self, partition: int, key: bytes) -> Row[Any] | None:
        stored = self._ports.table.get_in(partition, _ROW + key)
        return None if stored is None else self._decode(stored)

    def _known(self, interaction: Interaction, message: Message) -> bytes | None:
        event = event_key(message.key.decode(), interaction)
        return self._ids.find(message.partition, event, message.timestamp_ms)

    def _committed(self, partition: int) -> Callable[[str], int]:
        return lambda topic: self._ports.committed(topic, partition)

    def _output(self, emit: Emit, given: _Given | None = None) -> Output:
        topic, value = emit.topic, emit.value
        if value is None or given is None or given[1] is None:
            data = self._codec.encode(topic, value)
        else:
            data = self._codec.extend(topic, value, given[0], given[1])
        return Output(topic, emit.key.encode(), data)


def _heard(interaction: Interaction, message: Message) -> Interaction:
    """A clock that is ahead does not hear of things before they are written."""
    if interaction.received_at <= message.timestamp_ms:
        return interaction
    return msgspec.structs.replace(interaction, received_at=message.timestamp_ms)


def _beyond_limits(message: Message) -> DeadLetter | None:
    if len(message.key) > sizes.KEY:
        return _too_large("the key has", len(message.key), sizes.KEY)
    if message.size > sizes.INPUT:
        return _too_large("key and value have", message.size, sizes.INPUT)
    return None


def _oversized(row: Row[Any], written: bytes) -> DeadLetter:
    if len(row.outbox) > 1:
        raise OutboxFullError("a row keeps too much of what inputs caused that are not committed")
    return _too_large("the state and what follows would have", len(written), _LARGEST_ROW)


def _too_large(what: str, size: int, most: int) -> DeadLetter:
    return DeadLetter("too-large", f"{what} {size} bytes, the most are {most}")


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
