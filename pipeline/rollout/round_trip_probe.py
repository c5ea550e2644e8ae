"""Probe of the time that a record takes through all stages, which an interaction would wait."""

import time
from collections.abc import Iterator
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import key_per_partition, partition_for_key
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Reply
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import DecideRequest
from pipeline.model.outcome import Emit

_POLL_S = 0.1
_TIMEOUT_S = 10.0


class RoundTripProbe:
    """Probe of every partition, which waits for the replies of the last stage."""

    def __init__(self, records: Records, partitions: int) -> None:
        self._name = f"echo-{uuid4()}"
        self._keys = key_per_partition("probe", partitions)
        self._codec = records.codec
        self._awaited: set[str] = set()
        self._consumer = Consumer(
            {**records.settings.kafka(), "group.id": "kairos.echo", "enable.auto.commit": False}
        )
        known = self._consumer.list_topics(topics.REPLIES, timeout=_TIMEOUT_S)
        partition = partition_for_key(self._name, len(known.topics[topics.REPLIES].partitions))
        where = TopicPartition(topics.REPLIES, partition)
        _, end = self._consumer.get_watermark_offsets(where, timeout=_TIMEOUT_S)
        self._consumer.assign([TopicPartition(topics.REPLIES, partition, end)])

    def probes(self) -> Iterator[Emit]:
        """Yield the probes of a new round trip; replies to earlier ones count no more."""
        at = now_ms()
        self._awaited.clear()
        for key in self._keys:
            request = DecideRequest(str(uuid4()), self._name, (), at)
            self._awaited.add(request.request_id)
            probe = IdentityChange(
                request.request_id, "probe", identifier=key, at=at, config="", request=request
            )
            yield Emit(topics.IDENTITIES, key, probe)

    def wait_for_replies(self, timeout_s: float) -> bool:
        """Return True once all probes are answered, False if that takes longer."""
        deadline = time.monotonic() + timeout_s
        while self._awaited:
            message = self._consumer.poll(_POLL_S)
            if message is not None and message.error() is None and message.value() is not None:
                reply = self._codec.decode(topics.REPLIES, message.value() or b"")
                if isinstance(reply, Reply):
                    self._awaited.discard(reply.request_id)
            if time.monotonic() > deadline:
                return False
        return True
