"""Publication of snapshots: numbered, with a digest, under one compacted key."""

import logging
from collections.abc import Mapping
from typing import Final

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import OutgoingRecord, Property
from pipeline.adapters.snapshots import scan
from pipeline.decisioning.learning.counting import posterior
from pipeline.learner.ledger import EvidenceLedger
from pipeline.model import topics
from pipeline.model.learning import SNAPSHOT, LearningRecord, digest_of

_TIMEOUT_S: Final = 30.0

_log = logging.getLogger(__name__)


def newest_snapshot(client: Mapping[str, Property], codec: Codec) -> LearningRecord | None:
    """Return the newest snapshot in the topic; None before the first. Raises KafkaException."""
    snapshot = None
    for topic_record in scan(client, topics.LEARNING):
        if topic_record.key == SNAPSHOT and topic_record.value is not None:
            record = codec.decode(topics.LEARNING, topic_record.value)
            if isinstance(record, LearningRecord):
                snapshot = record
            else:
                _log.error(
                    "unreadable snapshot", extra={"reason": str(record), "at": topic_record.offset}
                )
    return snapshot


class AnotherLearnerError(Exception):
    """Raised when another process publishes snapshots or leases budgets: evidence and budgets would
    be split between the two."""


class SnapshotPublisher:
    """Publisher of the ledger's evidence; a cluster has only one."""

    def __init__(self, client: Mapping[str, Property], codec: Codec) -> None:
        self._client = dict(client)
        self._codec = codec
        settings: dict[str, Property] = {
            "compression.type": "zstd",
            "message.timeout.ms": round(_TIMEOUT_S * 1000),
        }
        self._writer = AcknowledgedWriter({**client, **settings}, _TIMEOUT_S + 1.0)

    def load_newest(self) -> LearningRecord | None:
        """Read the newest snapshot from the publisher's cluster; None before the first."""
        return newest_snapshot(self._client, self._codec)

    def publish(self, ledger: EvidenceLedger, half_life_ms: int, now_ms: int) -> LearningRecord:
        """Publish the evidence as the next snapshot. Raises KafkaException, AnotherLearnerError."""
        state = ledger.state
        snapshot = self.load_newest()
        if snapshot is not None and snapshot.number > state.number:
            raise AnotherLearnerError(
                f"snapshot {snapshot.number} is not this learner's: does another learner run?"
            )
        posteriors = tuple(
            posterior(arm, tally.fade(state.as_of, half_life_ms))
            for arm, tally in sorted(ledger.tallies.items())
        )
        record = LearningRecord(
            number=state.number + 1,
            digest=digest_of(posteriors),
            published_at=now_ms,
            as_of=state.as_of,
            posteriors=posteriors,
            offsets=state.offsets,
        )
        value = self._codec.encode(topics.LEARNING, record)
        self._writer.write([OutgoingRecord(topics.LEARNING, SNAPSHOT, value)])
        ledger.store_snapshot_number(record.number)
        return record
