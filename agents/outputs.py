"""Encoding of a stage's outputs, and their hand-over to the producer with headers."""

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from agents.decoded_cache import DecodedCache
from agents.headers import CAUSE
from agents.idempotence import Cause, Output
from agents.ports import Message
from pipeline.model import topics
from pipeline.model.dead_letter import FailedInput, dead_letter
from pipeline.model.outcome import DeadLetter, Emit, Forward, Ok, Outcome, Redirect

HeaderList: TypeAlias = list[tuple[str, bytes]]


class DecodedInput(Struct, frozen=True):
    """Input record and its decoded form."""

    message: Message
    record: msgspec.Struct


class OutputEncoder:
    """Encoder of one stage's outputs."""

    def __init__(self, stage: str, codec: DecodedCache) -> None:
        self._stage = stage
        self._codec = codec

    def encode_outcome(
        self, outcome: Outcome[Any], decoded_input: DecodedInput
    ) -> tuple[Output, ...]:
        """Return a step's outputs, except dead letters, reusing parts of the input's bytes."""
        match outcome:
            case Ok(_, emits) | Forward(emits):
                return tuple(self._extend(emit, decoded_input) for emit in emits)
            case Redirect(emit):
                return (self._extend(emit, decoded_input),)
        return ()

    def encode_dead_letter(self, message: Message, fault: DeadLetter) -> Output:
        """Return the dead letter of an input."""
        failed_input = FailedInput(
            message.topic,
            message.timestamp_ms,
            message.value,
            message.raw_key,
            message.headers,
            message.partition,
            message.offset,
        )
        record = dead_letter(self._stage, failed_input, fault)
        value = self._codec.encode(topics.DEAD_LETTERS, record)
        return Output(topics.DEAD_LETTERS, record.key or b"", value)

    def encode_rowless_outcome(self, outcome: Outcome[Any], message: Message) -> tuple[Output, ...]:
        """Return the outputs of an outcome that no row records."""
        match outcome:
            case Forward(emits):
                return tuple(map(self.encode, emits))
            case Redirect(emit):
                return (self.encode(emit),)
            case DeadLetter():
                return (self.encode_dead_letter(message, outcome),)
        return ()

    def encode(self, emit: Emit) -> Output:
        """Encode a record that shares no bytes with its input."""
        return Output(emit.topic, emit.key.encode(), self._codec.encode(emit.topic, emit.value))

    def _extend(self, emit: Emit, decoded_input: DecodedInput) -> Output:
        data = decoded_input.message.value
        if emit.value is None or data is None:
            return self.encode(emit)
        value = self._codec.extend(emit.topic, emit.value, decoded_input.record, data)
        return Output(emit.topic, emit.key.encode(), value)


def with_cause(headers: HeaderList, message: Message, index: int) -> HeaderList:
    """Return `headers` plus the cause: the `index`th output of the input `message`."""
    source = f"{message.topic}/{message.partition}"
    return [*headers, (CAUSE, Cause(source, message.offset, index).header())]
