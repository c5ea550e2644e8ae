"""Reader of changelog partitions from a store's offset to their end, in large batches."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from faust.types import TP

from agents.transport.records import Record
from pipeline.adapters.transient import is_transient

_log = logging.getLogger(__name__)

_MAX_BATCH_RECORDS = 5_000
_POLL_S = 0.1
_METADATA_TIMEOUT_S = 10.0
_RETRY_S = 0.05
_BROKER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets that a changelog partition holds: `first` inclusive, `end` exclusive."""

    first: int
    end: int


class ChangelogReader:
    """Consumer outside of any group; used for one restoration, then closed."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._consumer = Consumer(dict(settings))

    def request_range(self, tp: TP, keep_going: Callable[[], bool]) -> OffsetRange:
        """Return the offsets that `tp` holds now, waiting for a broker. Raises KafkaException."""
        part = TopicPartition(tp.topic, tp.partition)
        deadline = time.monotonic() + _BROKER_TIMEOUT_S
        while True:
            try:
                first, end = self._consumer.get_watermark_offsets(part, timeout=_METADATA_TIMEOUT_S)
            except KafkaException as error:
                is_final = not is_transient(error.args[0]) or time.monotonic() > deadline
                if is_final or not keep_going():
                    raise
                _log.info(
                    "waiting for the broker", extra={"partition": str(tp), "error": str(error)}
                )
                time.sleep(_RETRY_S)
            else:
                return OffsetRange(first, end)

    def read(
        self, starts: Mapping[TP, int], keep_going: Callable[[], bool]
    ) -> Iterator[tuple[TP, list[Record]]]:
        """Yield batches of one partition each, until every partition is read to its end.

        Ends early when `keep_going` returns False. Raises KafkaException.
        """
        parts = [TopicPartition(tp.topic, tp.partition, o) for tp, o in starts.items()]
        self._consumer.assign(parts)
        unread_tps = set(starts)
        while unread_tps and keep_going():
            batches: dict[TP, list[Record]] = defaultdict(list)
            for message in cast(list[Record], self._consumer.consume(_MAX_BATCH_RECORDS, _POLL_S)):
                tp = TP(message.topic(), message.partition())
                error = message.error()
                if error is None:
                    batches[tp].append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread_tps.discard(tp)
                elif is_transient(error):
                    _log.warning(
                        "error while reading the changelog",
                        extra={"partition": str(tp), "error": str(error)},
                    )
                else:
                    raise KafkaException(error)
            yield from batches.items()

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()
