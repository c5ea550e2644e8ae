"""Sending of a prepared file to Kafka, batch by batch, resumed after the last acknowledged batch.

A large file is sent at the pace of running stages, so that decisions with waiting customers stay in
time. After a kill the rows since the last acknowledged batch are sent again with the same ids, and
count once. Dead letters have no such protection downstream: those already sent are looked up in
their topic, from its ends before the first of them.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.adapters import traces
from pipeline.adapters.consumer_groups import are_stages_running
from pipeline.adapters.kafka import WRITER_SETTINGS, Property
from pipeline.adapters.snapshots import scan
from pipeline.home.pace import pace_beside_stages
from pipeline.home.records import Records
from pipeline.ingest.journal import Journal, SendProgress
from pipeline.ingest.preparing import PreparedFiles
from pipeline.ingest.spool import SpooledRecord, records
from pipeline.model import topics
from pipeline.row_files.sending import NotDeliveredError

_SETTINGS: Final[dict[str, Property]] = {"delivery.report.only.error": True}
"""Settings without reports of successful delivery, which take as long as sending."""

_LINGER_MS: Final = 20
_PACED_LINGER_MS: Final = 1
_PACED_BYTES: Final = 256 * 1024
"""Size from which a file is paced: for smaller ones, measuring takes longer than sending."""

_BATCH_SIZE: Final = 20_000
_POLL_INTERVAL: Final = 256
_FULL_S: Final = 0.1
_FLUSH_S: Final = 60.0
_QUERY_S: Final = 10.0


class Outbox:
    """Sender of one file to Kafka. `content`: the file's name in the journal."""

    def __init__(self, records: Records, journal: Journal, content: str) -> None:
        self._records = records
        self._kafka = records.settings.kafka()
        self._journal = journal
        self._content = content
        self._failure: KafkaError | None = None
        self._record_count = 0

    def send(self, files: PreparedFiles) -> None:
        """Send the prepared files; return once Kafka has acknowledged everything. Raises
        NotDeliveredError."""
        progress = self._journal.find_progress(self._content)
        if progress.is_sent:
            return
        self._connect(is_paced=self._is_worth_pacing(files.records))
        try:
            position = self._send_rows(files.records, progress)
            self._send_letters(files.letters, SendProgress(position, progress.letters))
        finally:
            if self._pace is not None:
                self._pace.close()
        self._journal.record_progress(self._content, SendProgress(position, is_sent=True))

    def _is_worth_pacing(self, path: Path) -> bool:
        return path.stat().st_size >= _PACED_BYTES and are_stages_running(self._kafka)

    def _connect(self, *, is_paced: bool) -> None:
        linger_ms = _PACED_LINGER_MS if is_paced else _LINGER_MS
        settings = {**self._kafka, **WRITER_SETTINGS, **_SETTINGS, "linger.ms": linger_ms}
        self._producer = Producer(settings)
        self._pace = pace_beside_stages(self._records, self._producer) if is_paced else None

    def _send_rows(self, path: Path, progress: SendProgress) -> int:
        """Send the records after the progress; return the position of their end."""
        position = progress.position
        for number, record in enumerate(records(path, position), start=1):
            self._put(topics.INTERACTIONS, record)
            if self._pace is not None:
                self._pace.step()
            position = record.end
            if number % _BATCH_SIZE == 0:
                self._flush()
                self._journal.record_progress(
                    self._content, SendProgress(position, progress.letters)
                )
        self._flush()
        self._journal.record_progress(self._content, SendProgress(position, progress.letters))
        return position

    def _send_letters(self, path: Path, progress: SendProgress) -> None:
        digests: frozenset[bytes] = frozenset()
        if path.stat().st_size == 0:
            return
        if progress.letters is None:
            ends = _end_offsets(self._kafka, topics.DEAD_LETTERS)
            self._journal.record_progress(self._content, SendProgress(progress.position, ends))
        else:
            digests = frozenset(self._letter_digests(progress.letters))
        for record in records(path):
            if _digest(record.value) not in digests:
                self._put(topics.DEAD_LETTERS, record)
        self._flush()

    def _letter_digests(self, start: dict[int, int]) -> Iterator[bytes]:
        for record in scan(self._kafka, topics.DEAD_LETTERS, start):
            if record.value is not None:
                yield _digest(record.value)

    def _put(self, topic: str, record: SpooledRecord) -> None:
        headers: list[tuple[str, str | bytes | None]] = []
        if topic == topics.INTERACTIONS:
            headers.append((traces.HEADER, traces.new_trace().hop_header()))
        while True:
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key or None,
                    on_delivery=self._on_delivery,
                    headers=headers,
                )
            except BufferError:
                self._producer.poll(_FULL_S)
            else:
                break
        self._record_count += 1
        if self._record_count % _POLL_INTERVAL == 0:
            self._producer.poll(0)

    def _flush(self) -> None:
        missing_count = self._producer.flush(_FLUSH_S)
        if missing_count or self._failure is not None:
            reason = self._failure.str() if self._failure else "no answer"
            raise NotDeliveredError(
                f"Kafka does not acknowledge the file ({reason}): it is tried again"
            )

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = error


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).digest()


def _end_offsets(kafka: dict[str, Property], topic: str) -> dict[int, int]:
    """Return the present end offset of each partition."""
    consumer = Consumer({**kafka, "group.id": "kairos.ingest.ends", "enable.auto.commit": False})
    try:
        metadata = AdminClient(dict(kafka)).list_topics(topic, timeout=_QUERY_S).topics[topic]
        partitions = [TopicPartition(topic, number) for number in metadata.partitions]
        return {
            partition.partition: consumer.get_watermark_offsets(partition, timeout=_QUERY_S)[1]
            for partition in partitions
        }
    finally:
        consumer.close()
