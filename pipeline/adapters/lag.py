"""Lag of consumer groups: committed offsets against the ends of their input topics."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_fixed,
)

from pipeline.adapters.kafka import Partition, Property
from pipeline.adapters.transient import is_transient

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_TIMEOUT_S = 10.0
_POLL_S = 0.01
_RETRY_S = 0.2


def _is_transient_error(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and is_transient(error.args[0])


def _transient_retrier(admin: AdminClient) -> Retrying:
    """Return a caller that retries while a leader or coordinator is new or moves.

    After a restart of the broker, an admin client uses an outdated leader epoch for five minutes,
    unless its metadata is refreshed.
    """

    def refresh_metadata(_: RetryCallState) -> None:
        with suppress(KafkaException):
            admin.list_topics(timeout=_TIMEOUT_S)

    return Retrying(
        retry=retry_if_exception(_is_transient_error),
        stop=stop_after_delay(_TIMEOUT_S),
        wait=wait_fixed(_POLL_S),
        before_sleep=refresh_metadata,
        reraise=True,
    )


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """Consumer group and all topics that it consumes."""

    name: str
    topics: tuple[str, ...]


class LagReader:
    """Reader of lags that keeps its connections, so that a check takes a few milliseconds.

    Topics and partitions are read once, at construction. Raises KafkaException when the broker
    does not answer.

    Committed offsets are read by a consumer per group, which never joins the group. AdminClient's
    call for them ends the process by SIGSEGV when the coordinator is new or has moved (librdkafka
    2.16: `rd_kafka_handle_OffsetFetch` uses the client's group, and an admin client has none).
    """

    def __init__(self, kafka: Mapping[str, Property], groups: Sequence[ConsumerGroup]) -> None:
        self._admin = AdminClient(dict(kafka))
        self._observers = {group.name: _observer(kafka, group.name) for group in groups}
        counts = _partition_counts(self._admin)
        self._partitions_by_group = {
            group.name: [(t, p) for t in group.topics for p in range(counts.get(t, 0))]
            for group in groups
        }
        self._all_partitions = {
            partition
            for partitions in self._partitions_by_group.values()
            for partition in partitions
        }

    def partition_count(self, topic: str) -> int:
        """Return the number of partitions of `topic`, an input of one of the groups."""
        return sum(name == topic for name, _ in self._all_partitions)

    def lag(self) -> dict[str, int]:
        """Return the number of unprocessed records by group."""
        return self._backlogs(self._committed_offsets_by_group(), self._ends())

    def is_idle(self) -> bool:
        """Return whether the groups have processed every input so far.

        Inputs are committed after their outputs are delivered. So once all commits, read first,
        equal all ends, read afterwards, nothing is in flight; equal ends in a second reading show
        that nothing arrived meanwhile.
        """
        committed_offsets, ends = self._committed_offsets_by_group(), self._ends()
        return not any(self._backlogs(committed_offsets, ends).values()) and self._ends() == ends

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait for `is_idle`, also while a broker is away; return False after `timeout_s`.

        Raises KafkaException if the broker is still away then. Between two complete checks it
        follows one group at a time, which loads the broker less.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.is_idle():
                    return True
                if time.monotonic() > deadline or not self._wait_until_passed(deadline):
                    return False
            except KafkaException as error:
                if not _is_transient_error(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)

    def wait_until_passed(self, timeout_s: float) -> bool:
        """Wait until each group in turn has processed its inputs up to their present ends.

        More records may arrive meanwhile. Returns False after `timeout_s`.
        """
        return self._wait_until_passed(time.monotonic() + timeout_s)

    def _wait_until_passed(self, deadline: float) -> bool:
        for group, partitions in self._partitions_by_group.items():
            ends = _ends(self._admin, partitions)
            while self._backlog(self._committed_offsets(group), ends):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
        return True

    def _backlogs(
        self,
        committed_offsets: Mapping[str, Mapping[Partition, int]],
        ends: Mapping[Partition, int],
    ) -> dict[str, int]:
        return {
            group: self._backlog(
                committed_offsets[group], {partition: ends[partition] for partition in partitions}
            )
            for group, partitions in self._partitions_by_group.items()
        }

    def _backlog(
        self, committed_offsets: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> int:
        """Return the number of records between these offsets.

        Beginnings of logs are requested only for partitions with a backlog, so that a check of idle
        groups stays cheap.
        """
        offsets = {partition: committed_offsets.get(partition, 0) for partition in ends}
        offsets = {
            partition: offset for partition, offset in offsets.items() if offset < ends[partition]
        }
        beginnings = _offsets(self._admin, offsets, _EARLIEST)
        return sum(
            max(0, ends[partition] - max(offset, beginnings[partition]))
            for partition, offset in offsets.items()
        )

    def _committed_offsets_by_group(self) -> dict[str, dict[Partition, int]]:
        return {group: self._committed_offsets(group) for group in self._partitions_by_group}

    def _committed_offsets(self, group: str) -> dict[Partition, int]:
        """Return the next offsets to read; partitions without a commit are left out."""
        partitions = [TopicPartition(*partition) for partition in self._partitions_by_group[group]]
        if not partitions:
            return {}
        request = self._observers[group].committed
        offsets = _transient_retrier(self._admin)(request, partitions, timeout=_TIMEOUT_S)
        return {
            (partition.topic, partition.partition): partition.offset
            for partition in offsets
            if _has_commit(partition)
        }

    def _ends(self) -> dict[Partition, int]:
        return _ends(self._admin, self._all_partitions)


def record_counts(kafka: Mapping[str, Property], topics: Sequence[str]) -> dict[str, int]:
    """Return the number of records ever written to each topic: the sum of its end offsets.

    A missing topic has 0.
    """
    admin = AdminClient(dict(kafka))
    counts = _partition_counts(admin)
    ends = _ends(admin, {(t, p) for t in topics for p in range(counts.get(t, 0))})
    return {t: sum(end for (topic, _), end in ends.items() if topic == t) for t in topics}


def partition_ends(kafka: Mapping[str, Property], topic: str) -> dict[int, int]:
    """Return the offset after the last record of each partition. Raises KafkaException."""
    admin = AdminClient(dict(kafka))
    partitions = {(topic, p) for p in range(_partition_counts(admin).get(topic, 0))}
    return {partition: end for (_, partition), end in _ends(admin, partitions).items()}


def _observer(kafka: Mapping[str, Property], group: str) -> Consumer:
    return Consumer({**kafka, "group.id": group, "enable.auto.commit": False})


def _has_commit(partition: TopicPartition) -> bool:
    if partition.error is not None:
        raise KafkaException(partition.error)
    return partition.offset >= 0


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    topics = admin.list_topics(timeout=_TIMEOUT_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _ends(admin: AdminClient, partitions: Iterable[Partition]) -> dict[Partition, int]:
    return _offsets(admin, partitions, _LATEST)


def _offsets(
    admin: AdminClient, partitions: Iterable[Partition], spec: OffsetSpec
) -> dict[Partition, int]:
    specs = {TopicPartition(*partition): spec for partition in partitions}
    return _transient_retrier(admin)(_list_offsets, admin, specs) if specs else {}


def _list_offsets(
    admin: AdminClient, specs: dict[TopicPartition, OffsetSpec]
) -> dict[Partition, int]:
    futures = admin.list_offsets(specs, request_timeout=_TIMEOUT_S)
    return {
        (partition.topic, partition.partition): future.result().offset
        for partition, future in futures.items()
    }
