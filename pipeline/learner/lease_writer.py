"""Writer of accounts and leases: records of `budgets`, and grants on the decisioning stage's input.

An account's record is written before its grants are sent to a partition, so an account restored
from the record has every grant.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import OutgoingRecord, Property, key_per_partition
from pipeline.decisioning.budgets.accounts import Account, record_of
from pipeline.flow import stage
from pipeline.learner.snapshots import AnotherLearnerError
from pipeline.model import topics
from pipeline.model.budget import Grant
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.stages import Segmented

_TIMEOUT_S: Final = 30.0
_MAX_GRANTS: Final = 500
"""Most grants in one record."""
_KEY: Final = "budgets"


class LeaseWriter:
    """Writer of a learner's accounts and grants, and reader of the workers' committed offsets.

    `partition_count`: number of partitions of `interactions.segmented` and of `decisions`.
    """

    def __init__(self, client: Mapping[str, Property], codec: Codec, partition_count: int) -> None:
        self._codec = codec
        self._keys = key_per_partition(_KEY, partition_count)
        self._encode = msgspec.msgpack.Encoder().encode
        linger: dict[str, Property] = {"linger.ms": 0, "message.timeout.ms": 30_000}
        self._writer = AcknowledgedWriter({**client, **linger}, _TIMEOUT_S + 1)
        group = stage("decisioning").group
        self._progress_reader = Consumer({**client, "group.id": group, "enable.auto.commit": False})
        self._budgets_end = self._end_of(topics.BUDGETS, 0)

    def publish(self, accounts: Iterable[Account], offsets: Mapping[str, int], now_ms: int) -> None:
        """Write the accounts' records. Raises KafkaException, AnotherLearnerError."""
        records = [
            OutgoingRecord(
                topics.BUDGETS,
                account.name,
                self._codec.encode(topics.BUDGETS, record_of(account, offsets, now_ms)),
                partition=0,
            )
            for account in accounts
        ]
        if not records:
            return
        if self._end_of(topics.BUDGETS, 0) > self._budgets_end:
            raise AnotherLearnerError("another learner leases budgets: stop one of the two")
        self._budgets_end = max(self._writer.write(records)) + 1

    def grant(
        self, grants: Sequence[tuple[int, Grant]], digest: str, now_ms: int
    ) -> dict[int, int]:
        """Send partitions their grants; return the offset of the last record of each. Raises
        KafkaException."""
        shares: defaultdict[int, list[Grant]] = defaultdict(list)
        for partition, grant in grants:
            shares[partition].append(grant)
        parts = [
            (partition, tuple(share[start : start + _MAX_GRANTS]))
            for partition, share in shares.items()
            for start in range(0, len(share), _MAX_GRANTS)
        ]
        offsets = self._writer.write(self._control(*part, digest, now_ms) for part in parts)
        ends: dict[int, int] = {}
        for (partition, _), offset in zip(parts, offsets, strict=True):
            ends[partition] = max(offset, ends.get(partition, 0))
        return ends

    def processed_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset before which workers have processed their input, by partition."""
        inputs = [TopicPartition(topics.SEGMENTED, partition) for partition in partitions]
        offsets = self._progress_reader.committed(inputs, timeout=_TIMEOUT_S) if inputs else []
        return {committed.partition: max(committed.offset, 0) for committed in offsets}

    def decisions_end(self, partition: int) -> int:
        """Return the high watermark of a partition of `decisions`."""
        return self._end_of(topics.DECISIONS, partition)

    def close(self) -> None:
        """Close the consumer that reads progress."""
        self._progress_reader.close()

    def _control(
        self, partition: int, grants: tuple[Grant, ...], digest: str, now_ms: int
    ) -> OutgoingRecord:
        state, key = self._encode(grants), self._keys[partition]
        control = Control(
            control_id=control_id(key, "lease", f"{now_ms}/{grants[0].budget}"),
            kind="lease",
            at=now_ms,
            cause=key,
            config=digest,
            state=state,
        )
        value = self._codec.encode(topics.SEGMENTED, Segmented(control=control))
        return OutgoingRecord(topics.SEGMENTED, key, value, partition=partition)

    def _end_of(self, topic: str, partition: int) -> int:
        topic_partition = TopicPartition(topic, partition)
        _, end = self._progress_reader.get_watermark_offsets(topic_partition, timeout=_TIMEOUT_S)
        return int(end)
