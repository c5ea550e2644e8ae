"""Pending replies by request, and the thread that reads this gateway's replies from Kafka."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.adapters import bounded
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property, partition_for_key
from pipeline.model import topics
from pipeline.model.decision import Reply

_log = logging.getLogger(__name__)

_MAX_ABANDONED_IDS: Final = 100_000
_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.5
_MAX_BATCH_SIZE: Final = 500

OnLateReply: TypeAlias = Callable[[Reply], None]
OnReply: TypeAlias = Callable[[str], None]
"""Callback with the request id of every reply, in time or late."""


class PendingReplies:
    """Requests without a reply yet; a reply to an abandoned request goes to `on_late_reply`.

    `on_reply` is called for every reply.
    """

    def __init__(self, on_late_reply: OnLateReply, on_reply: OnReply) -> None:
        self._on_late_reply = on_late_reply
        self._on_reply = on_reply
        self._open_requests: dict[str, asyncio.Future[Reply]] = {}
        self._abandoned_ids: dict[str, None] = {}

    def register(self, request_id: str) -> "asyncio.Future[Reply]":
        """Register a request, and return a future of its reply.

        Call `give_up` when the reply does not arrive in time.
        """
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open_requests[request_id] = answer
        return answer

    def give_up(self, request_id: str) -> None:
        """Stop waiting for a reply, which goes to `on_late_reply` if it still comes.

        Above a limit the oldest abandoned requests are dropped, and replies to them ignored.
        """
        self._open_requests.pop(request_id, None)
        bounded.put(self._abandoned_ids, request_id, None, _MAX_ABANDONED_IDS)

    def forget(self, request_id: str) -> None:
        """Stop waiting, and ignore a late reply."""
        self._open_requests.pop(request_id, None)

    def expire(self, reply: Reply) -> None:
        """Treat a reply that could not be used in time as a late one."""
        self._on_late_reply(reply)

    def deliver(self, replies: Sequence[Reply]) -> None:
        """Resolve the waiting requests; ignore replies to other processes and repeated ones."""
        for reply in replies:
            self._on_reply(reply.request_id)
            answer = self._open_requests.pop(reply.request_id, None)
            if answer is not None and not answer.done():
                answer.set_result(reply)
            elif reply.request_id in self._abandoned_ids:
                del self._abandoned_ids[reply.request_id]
                self._on_late_reply(reply)


class ReplyReader:
    """Reader of the partition of `replies` with the key `instance`, from its present end."""

    def __init__(
        self,
        client: Mapping[str, Property],
        instance: str,
        codec: Codec,
        pending_replies: PendingReplies,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._key = instance.encode()
        self._codec = codec
        self._pending_replies = pending_replies
        self._closing = False
        self._consumer = Consumer(
            {
                **client,
                "group.id": f"kairos.gateway.{instance}",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 500,
            }
        )
        self._thread = Thread(target=self._read, name="replies", daemon=True)

    def start(self) -> None:
        """Start reading all later replies. Raises KafkaException if Kafka does not answer."""
        partition = partition_for_key(self._key.decode(), self.partition_count(topics.REPLIES))
        topic_partition = TopicPartition(topics.REPLIES, partition)
        _, end = self._consumer.get_watermark_offsets(topic_partition, timeout=_TIMEOUT_S)
        self._consumer.assign([TopicPartition(topics.REPLIES, partition, end)])
        self._thread.start()

    def partition_count(self, topic: str) -> int:
        """Return a topic's partition count. Raises KafkaException."""
        metadata = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return len(metadata.partitions)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._closing:
            message = self._consumer.poll(_POLL_S)
            if message is not None:
                self._deliver([message, *self._consumer.consume(_MAX_BATCH_SIZE, 0)])

    def _deliver(self, messages: Sequence[Message]) -> None:
        replies = [reply for reply in map(self._decode, messages) if reply is not None]
        if replies:
            self._loop.call_soon_threadsafe(self._pending_replies.deliver, replies)

    def _decode(self, message: Message) -> Reply | None:
        if message.error() is not None or message.key() != self._key:
            return None
        value = message.value()
        reply = self._codec.decode(topics.REPLIES, value) if isinstance(value, bytes) else None
        if isinstance(reply, Reply):
            return reply
        _log.warning("unreadable record in replies: %s", reply)
        return None
