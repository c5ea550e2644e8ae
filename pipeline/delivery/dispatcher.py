"""Dispatch of Kafka's records to the courier, in the order of each profile."""

import logging
from collections.abc import Sequence
from typing import cast

from confluent_kafka import Message

from pipeline.adapters import traces
from pipeline.adapters.avro import Codec, MalformedRecord
from pipeline.adapters.clock import now_ms
from pipeline.adapters.headers import first_header
from pipeline.adapters.kafka import AsyncPublisher, OutgoingRecord, offset_of, source_partition
from pipeline.delivery.channel_adapter import Parcel
from pipeline.delivery.courier import Courier
from pipeline.delivery.lanes import Lanes
from pipeline.delivery.progress import OffsetProgress
from pipeline.model import topics
from pipeline.model.dead_letter import FailedInput, dead_letter
from pipeline.model.decision import Action
from pipeline.model.outcome import DeadLetter

_log = logging.getLogger(__name__)


class Dispatcher:
    """Dispatcher of one adapter's records; an invalid one becomes a dead letter."""

    def __init__(
        self, adapter: str, courier: Courier, codec: Codec, publisher: AsyncPublisher, lanes: Lanes
    ) -> None:
        self.progress = OffsetProgress()
        self.lanes = lanes
        self._adapter = adapter
        self._courier = courier
        self._codec = codec
        self._publisher = publisher

    def receive(self, messages: Sequence[Message]) -> None:
        """Start the delivery of the records, each after earlier ones of its profile."""
        for message in messages:
            key = message.key()
            lane = key.decode(errors="replace") if isinstance(key, bytes) else ""
            self.lanes.put(lane, self._process(message))

    async def _process(self, message: Message) -> None:
        topic, _ = source_partition(message)
        value = message.value()
        action = self._codec.decode(topic, value) if isinstance(value, bytes) else None
        if isinstance(action, Action):
            trace = traces.continue_trace(first_header(_headers(message), traces.HEADER))
            rejection = await self._courier.deliver(Parcel(action, message.timestamp()[1], trace))
            if rejection is not None:
                reason = f"status {rejection.status}: {rejection.answer}"
                await self._write_dead_letter(message, DeadLetter("outcome-refused", reason))
        else:
            await self._write_dead_letter(message, _fault(action))
        self.progress.mark_done(source_partition(message), offset_of(message))

    async def _write_dead_letter(self, message: Message, fault: DeadLetter) -> None:
        """Write a dead letter, with retries until Kafka has acknowledged it."""
        topic, partition = source_partition(message)
        key, value = message.key(), message.value()
        failed_input = FailedInput(
            topic=topic,
            at=now_ms(),
            value=value if isinstance(value, bytes) else None,
            key=key if isinstance(key, bytes) else None,
            headers=_headers(message),
            partition=partition,
            offset=offset_of(message),
        )
        letter = dead_letter(f"adapter.{self._adapter}", failed_input, fault)
        _log.error("%s/%s/%s is a dead letter: %s", topic, partition, letter.offset, fault.detail)
        record = OutgoingRecord(
            topics.DEAD_LETTERS, letter.key or b"", self._codec.encode(topics.DEAD_LETTERS, letter)
        )
        while (failure := await self._publisher.publish((record,))) is not None:
            _log.warning("the dead letter is not written yet: %s", failure.detail)


def _headers(message: Message) -> list[tuple[str, bytes]]:
    return cast(list[tuple[str, bytes]], message.headers() or [])


def _fault(content: object) -> DeadLetter:
    """Return the dead letter of a record whose content is not an action."""
    if isinstance(content, MalformedRecord):
        return DeadLetter(content.reason, content.detail)
    return DeadLetter("no-action", "no value")
