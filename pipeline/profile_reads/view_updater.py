"""Thread that updates a view from its topics."""

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.adapters.kafka import Partition, Property, offset_of, source_partition
from pipeline.profile_reads.view import TOPICS, View, ViewRecord

_log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.1
_BATCH: Final = 500
_FETCH: Final = {"fetch.min.bytes": 65_536, "fetch.wait.max.ms": 100}
"""Settings for large fetches: a view may lag for a moment, and many small fetches would burden the
broker."""


class ViewUpdater:
    """Updater of one view.

    `on_failure` is called in the updater's thread with the reason if the view cannot be updated any
    more, and the process must end.
    """

    def __init__(
        self, client: Mapping[str, Property], view: View, on_failure: Callable[[str], None]
    ) -> None:
        self._view = view
        self._on_failure = on_failure
        self._lagging_partitions: set[Partition] = set()
        self._is_closing = False
        self._consumer = Consumer(
            {
                **client,
                **_FETCH,
                "group.id": "kairos.view",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._thread = Thread(target=self._run, name="view", daemon=True)

    @property
    def is_current(self) -> bool:
        """Whether the view has all records that the topics held at the start, and its thread
        runs."""
        return self._thread.is_alive() and not self._lagging_partitions

    def start(self) -> None:
        """Start the thread. Raises KafkaException, or LookupError if a topic is missing."""
        metadata = self._consumer.list_topics(timeout=_TIMEOUT_S)
        missing_topics = [topic for topic in TOPICS if topic not in metadata.topics]
        if missing_topics:
            raise LookupError(f"no topic {', '.join(missing_topics)}: `kairos up` creates them")
        partitions = [
            (topic, number) for topic in TOPICS for number in metadata.topics[topic].partitions
        ]
        ends = {partition: self._end(partition) for partition in partitions}
        offsets = self._view.resume(metadata.cluster_id or "", ends)
        self._lagging_partitions = set(partitions)
        self._consumer.assign(
            [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        )
        self._thread.start()

    def close(self) -> None:
        self._is_closing = True
        self._thread.join()
        self._consumer.close()

    def _end(self, partition: Partition) -> int:
        topic_partition = TopicPartition(*partition)
        _, end = self._consumer.get_watermark_offsets(topic_partition, timeout=_TIMEOUT_S)
        return end

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._apply(self._consumer.consume(_BATCH, _POLL_S))
        except Exception as error:
            _log.exception("the view cannot be updated")
            self._on_failure(f"the view of profiles cannot be updated: {error}")

    def _apply(self, messages: Sequence[Message]) -> None:
        records = [_view_record(message) for message in messages if message.error() is None]
        if records:
            self._view.apply(records)
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                self._lagging_partitions.discard(source_partition(message))
            elif error.fatal():
                raise KafkaException(error)
            else:
                _log.warning(
                    "error while reading the topics of the view", extra={"error": str(error)}
                )


def _view_record(message: Message) -> ViewRecord:
    topic, partition = source_partition(message)
    key = (message.key() or b"").decode(errors="replace")
    return ViewRecord(topic, partition, offset_of(message), key, message.value())
