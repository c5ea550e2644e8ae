"""Shell around a stage's pure step: gather, decide, apply.

One input at a time: read its key's row, ask the idempotence protocol whether it is new, run the
step, write row and outputs. The transport commits the input's offset once all of these are
delivered. An input that cannot be processed, or whose outputs would be too large, becomes a dead
letter and the stage continues. The process ends after too many exceptions within a minute.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from agents.admission import Admission
from agents.decoded_cache import DecodedCache
from agents.event_ids import EventIds
from agents.headers import TIMING, TRACEPARENT, cause_of, onward_timing, onward_trace
from agents.idempotence import (
    Duplicate,
    NewInput,
    Output,
    Position,
    Repeat,
    Row,
    judge,
    outbox_bytes,
)
from agents.metrics import StageMetrics
from agents.outputs import DecodedInput, HeaderList, OutputEncoder, with_cause
from agents.ports import Message, Ports
from agents.rulebook import Rulebook
from agents.timer_service import ROW, TimerService
from agents.timers import due_time_of
from agents.transition import (
    EMPTY_ROW_MS,
    LARGE_OUTBOX,
    Effect,
    FullOutbox,
    KeyedInput,
    StatelessOutcome,
    StepResult,
    Transition,
)
from agents.wallets import Wallets
from pipeline.flow import Stage
from pipeline.identity.naming import REUSED_ID
from pipeline.model import topics
from pipeline.model.ids import content_digest, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Drop, Emit, Forward, Outcome, Redirect
from pipeline.model.records import config_of, control_of, is_lease
from pipeline.rules import Rules

_MAX_EXCEPTIONS = 50
_EXCEPTION_WINDOW_S = 60.0

_InputResult: TypeAlias = Effect | StatelessOutcome | Duplicate


class TooManyExceptionsError(Exception):
    """Raised when steps fail too often; the process ends."""


class OutboxFullError(Exception):
    """Raised when a row has no room, and its uncommitted inputs cannot be committed; the process
    ends."""


class StageShell:
    """Shell of one stage."""

    def __init__(
        self,
        stage: Stage,
        ports: Ports,
        codec: DecodedCache,
        rulebook: Rulebook,
        metrics: StageMetrics,
        empty_row_ms: int = EMPTY_ROW_MS,
    ) -> None:
        self._stage = stage
        self._ports = ports
        self._rulebook = rulebook
        self._metrics = metrics
        self._ids = EventIds(ports.table)
        self._admission = Admission(ports, codec)
        self._encoder = OutputEncoder(stage.name, codec)
        self._transition = Transition(
            ports.committed_offset, self._encoder.encode_dead_letter, empty_row_ms
        )
        self._timer_service = TimerService(stage, ports, self._encoder, metrics, self._load_row)
        self._timers = self._timer_service.timers
        self._wallets = Wallets(ports.table)
        self._exceptions: deque[float] = deque(maxlen=_MAX_EXCEPTIONS)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes], Row[Any]] = msgspec.msgpack.Decoder(
            Row[stage.state]  # type: ignore[name-defined]
        ).decode

    async def handle(self, message: Message) -> None:
        """Process one input, up to handing its outputs to the producer."""
        start_s = time.perf_counter()
        queued_ms = max(time.time() * 1000 - message.timestamp_ms, 0.0)
        record = self._admission.decode(message)
        result = await self._decide(message, record)
        spent_ms = (time.perf_counter() - start_s) * 1000
        timing = onward_timing(message.headers, self._stage.name, queued_ms, spent_ms)
        self._apply(
            message, result, [(TRACEPARENT, onward_trace(message.headers)), (TIMING, timing)]
        )
        self._clear_fired_timer(message, record)
        self._metrics.observe(queued_ms / 1000, time.perf_counter() - start_s)

    def may_have_due_timers(self, now_ms: int) -> bool:
        """Return whether a timer may be due by the wall clock (epoch ms)."""
        return self._timer_service.may_have_due_timers(now_ms)

    def fire_due_timers(self, now_ms: int) -> None:
        """Fire timers that are due by the wall clock (epoch ms)."""
        digest = self._rulebook.newest_digest
        if digest is not None:
            self._timer_service.fire_due_timers(now_ms, digest)

    def on_assignment(self) -> None:
        """Drop cached data of partitions, which another worker may have owned meanwhile."""
        self._timers.clear_cache()
        self._wallets.clear_cache()

    async def _decide(self, message: Message, record: msgspec.Struct | DeadLetter) -> _InputResult:
        if isinstance(record, DeadLetter):
            return record
        if isinstance(record, Interaction):
            checked_record = self._admission.check(record, message)
            if not isinstance(checked_record, Interaction):
                return checked_record
            record = checked_record
            self._metrics.count_unknown_zone(record)
        digest = config_of(record)
        rules = await self._rulebook.find(digest)
        if rules is None:
            detail = f"{digest} was never applied" if digest else "no configuration is applied yet"
            return DeadLetter("unknown-configuration", detail)
        control = control_of(record)
        if control is not None and control.kind == "clock":
            overdue_records = self._timer_service.take_overdue_records(message.partition, control)
            if overdue_records:
                return Forward(
                    (*overdue_records, Emit(message.topic, message.key.decode(), record))
                )
        return await self._process(DecodedInput(message, record), rules)

    async def _process(self, decoded_input: DecodedInput, rules: Rules) -> _InputResult:
        message = decoded_input.message
        row_bytes = self._ports.table.get_in(message.partition, ROW + message.key)
        row = None if row_bytes is None else self._decode(row_bytes)
        keyed_input = KeyedInput(decoded_input, _position(message), row)
        if (result_without_step := self._deduplicate(keyed_input)) is not None:
            return result_without_step
        may_be_large = row_bytes is not None and len(row_bytes) > LARGE_OUTBOX
        if may_be_large and self._is_outbox_large(keyed_input):
            keyed_input = await self._commit_and_reload(keyed_input)
        result = self._run_step(keyed_input, rules)
        if isinstance(result, FullOutbox):
            result = self._run_step(await self._commit_and_reload(keyed_input), rules)
        if isinstance(result, FullOutbox):
            raise OutboxFullError(
                f"{self._stage.name}: a row's outbox is full, and its inputs cannot be committed"
            )
        return result

    def _deduplicate(self, keyed_input: KeyedInput) -> _InputResult | None:
        """Return the result of an input that is processed already, or that reuses an event's id.

        None: the step is to be run.
        """
        match judge(keyed_input.row, keyed_input.position):
            case Duplicate() as duplicate:
                return duplicate
            case Repeat(entry):
                return self._transition.repeat(keyed_input, entry)
            case NewInput():
                pass
        interaction, message = keyed_input.interaction, keyed_input.input.message
        if interaction is None:
            return None
        event = event_key(message.key.decode(), interaction)
        former_digest = self._ids.find(message.partition, event, message.timestamp_ms)
        if former_digest is None:
            return None
        if former_digest == content_digest(interaction):
            return Duplicate("event_id")
        dead_letter = self._transition.record_stateless_outcome(keyed_input, REUSED_ID)
        assert not isinstance(dead_letter, FullOutbox)  # a dead letter always fits
        return dead_letter

    def _is_outbox_large(self, keyed_input: KeyedInput) -> bool:
        partition = keyed_input.position.partition
        size = keyed_input.row and outbox_bytes(
            keyed_input.row, lambda topic: self._ports.committed_offset(topic, partition)
        )
        return (size or 0) > LARGE_OUTBOX

    async def _commit_and_reload(self, keyed_input: KeyedInput) -> KeyedInput:
        """Commit the inputs so far, which empties outboxes, and read the row again."""
        await self._ports.flush_and_commit()
        message = keyed_input.input.message
        return replace(keyed_input, row=self._load_row(message.partition, message.key))

    def _run_step(
        self, keyed_input: KeyedInput, rules: Rules
    ) -> Effect | StatelessOutcome | FullOutbox:
        decoded_input, row = keyed_input.input, keyed_input.row
        try:
            state = None if row is None else row.state
            key = decoded_input.message.key.decode()
            if self._stage.spends and (rules.config.budgets or is_lease(decoded_input.record)):
                rules = self._wallets.equip(rules, keyed_input.position)
            outcome: Outcome[Any] = self._stage.step(key, decoded_input.record, state, rules)
            result = StepResult(outcome, self._encoder.encode_outcome(outcome, decoded_input))
            return self._transition.apply(keyed_input, result)
        except Exception as error:
            return self._transition.record_stateless_outcome(
                keyed_input, self._count_exception(error)
            )

    def _apply(self, message: Message, result: _InputResult, headers: HeaderList) -> None:
        if isinstance(result, Effect):
            self._write(message, result)
            self._count(result.outcome)
            self._send(message, result.outputs, headers)
            return
        self._count(result)
        if not isinstance(result, Duplicate):
            self._send(message, self._encoder.encode_rowless_outcome(result, message), headers)

    def _count(self, outcome: StatelessOutcome | Duplicate | None) -> None:
        match outcome:
            case DeadLetter(reason):
                self._metrics.dead_letters.labels(self._stage.name, reason).inc()
            case Redirect():
                self._metrics.redirects.inc()
            case Duplicate(kind):
                self._metrics.duplicates.labels(self._stage.name, kind).inc()
            case Drop(reason):
                self._metrics.drops.labels(self._stage.name, reason).inc()

    def _write(self, message: Message, effect: Effect) -> None:
        """Write purses, timer, row and event id, in this order.

        A kill in between leaves a timer without a row, which is harmless, and never a row without
        its timer, or an event id whose row is not in the changelog. Purses written without their
        row are restored when the input is redelivered.
        """
        self._wallets.write(_position(message), effect.purses)
        self._timers.arm(message.partition, message.key, effect.timer)
        if effect.row is None:
            self._metrics.repeats.inc()
        else:
            self._ports.table.put_in(message.partition, ROW + message.key, effect.row)
        self._timers.cancel_previous(message.partition, message.key, effect.timer)
        if effect.interaction is not None:
            event = event_key(message.key.decode(), effect.interaction)
            digest = content_digest(effect.interaction)
            self._ids.add(message.partition, event, message.timestamp_ms, digest)

    def _clear_fired_timer(self, message: Message, record: msgspec.Struct | DeadLetter) -> None:
        """Remove a timer that has fired, also after a failed step, so that it does not fire
        again."""
        due_at = due_time_of(record)
        if due_at is None:
            return
        self._timers.clear(message.partition, message.key, due_at)
        row = self._load_row(message.partition, message.key)
        if row is not None and row.wake is not None and row.wake.at == due_at:
            row = replace(row, wake=None)
            self._ports.table.put_in(message.partition, ROW + message.key, self._encode(row))

    def _send(self, message: Message, outputs: tuple[Output, ...], headers: HeaderList) -> None:
        for index, output in enumerate(outputs):
            self._ports.send(
                output.topic,
                output.key,
                output.value,
                with_cause(headers, message, index),
                message.partition,
            )
        self._metrics.count_outputs(outputs)

    def _count_exception(self, error: Exception) -> DeadLetter:
        """Count `error`, and return the dead letter of the input whose step raised it.

        Raises TooManyExceptionsError once there are more than 50 within a minute.
        """
        now_s = time.monotonic()
        is_full = len(self._exceptions) == _MAX_EXCEPTIONS
        if is_full and self._exceptions[0] > now_s - _EXCEPTION_WINDOW_S:
            raise TooManyExceptionsError(
                f"{self._stage.name}: over {_MAX_EXCEPTIONS} exceptions in {_EXCEPTION_WINDOW_S} s"
            ) from error
        self._exceptions.append(now_s)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return DeadLetter("exception", f"{error!r} in {frame.name}, line {frame.lineno}")

    def _load_row(self, partition: int, key: bytes) -> Row[Any] | None:
        row_bytes = self._ports.table.get_in(partition, ROW + key)
        return None if row_bytes is None else self._decode(row_bytes)


def _position(message: Message) -> Position:
    # Records of upstream apps carry no cause; their duplicates are recognised by the event id.
    cause = None if message.topic == topics.INTERACTIONS else cause_of(message.headers)
    return Position(message.topic, message.partition, message.offset, cause)
