"""Sending of a file: valid rows go to Kafka, other rows are reported with their lines."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from confluent_kafka import KafkaError, Message, Producer
from msgspec import Struct

from pipeline.adapters import traces
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import WRITER_SETTINGS, Property
from pipeline.intake.refusal import Refusal
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.row_files.row import FileRow, ReadRow, UnreadableError, UnreadableRow

_POLL_INTERVAL: Final = 256
_MAX_FIRST_REFUSALS: Final = 20
_FULL_QUEUE_WAIT_S: Final = 0.1
_FLUSH_TIMEOUT_S: Final = 60.0


class RefusedRow(Struct, frozen=True):
    """Row that was not sent; `field`: the column or field at fault."""

    line: int
    code: str
    field: str | None
    message: str


class SendReport(Struct, frozen=True):
    """Numbers of rows passed on and refused, with the first refusals.

    `stopped`: the reason why the file could not be read to its end; None: it was.
    """

    sent: int
    refused: int
    first: tuple[RefusedRow, ...]
    stopped: str | None = None


class NotDeliveredError(Exception):
    """Raised for interactions that Kafka did not acknowledge; the message names the remedy."""


class Intake(Protocol):
    """Conversion of rows into interactions."""

    def take_in(self, row: FileRow) -> Interaction | Refusal:
        """Convert a row, or return the reason for refusing it."""


def send_rows(
    rows: Iterable[ReadRow],
    intake: Intake,
    take: Callable[[Interaction], None],
    progress: Callable[[int], None],
) -> SendReport:
    """Convert rows, pass valid ones to `take`, and report the bytes read so far to `progress`."""
    sent_count = refused_count = 0
    first_refusals: list[RefusedRow] = []
    stop_reason = None
    try:
        for number, row in enumerate(rows):
            result = row if isinstance(row, UnreadableRow) else intake.take_in(row)
            if isinstance(result, Interaction):
                take(result)
                sent_count += 1
            else:
                refused_count += row.rows if isinstance(row, UnreadableRow) else 1
                if len(first_refusals) < _MAX_FIRST_REFUSALS:
                    first_refusals.append(
                        RefusedRow(row.line, result.code, result.field, result.message)
                    )
            if number % _POLL_INTERVAL == 0:
                progress(row.progress)
    except UnreadableError as error:
        if not sent_count and not refused_count:
            raise
        stop_reason = str(error)
    return SendReport(sent_count, refused_count, tuple(first_refusals), stop_reason)


class FilePublisher:
    """Idempotent producer that waits while Kafka is slower than the file.

    `delivery_count`: number of interactions that Kafka has acknowledged.
    """

    def __init__(self, kafka: dict[str, Property], codec: Codec, linger_ms: int) -> None:
        self._codec = codec
        self.delivery_count = 0
        self._failure_count = 0
        self._last_error: KafkaError | None = None
        self._queued_count = 0
        self.producer = Producer({**kafka, **WRITER_SETTINGS, "linger.ms": linger_ms})

    def put(self, interaction: Interaction) -> None:
        """Queue an interaction."""
        value = self._codec.encode(topics.INTERACTIONS, interaction)
        while True:
            try:
                self.producer.produce(
                    topics.INTERACTIONS,
                    value,
                    interaction.identifiers[0].key,
                    on_delivery=self._on_delivery,
                    headers=[(traces.HEADER, traces.new_trace().hop_header())],
                )
                break
            except BufferError:
                self.producer.poll(_FULL_QUEUE_WAIT_S)
        self._queued_count += 1
        if self._queued_count % _POLL_INTERVAL == 0:
            self.producer.poll(0)

    def finish(self) -> None:
        """Wait until Kafka has acknowledged everything. Raises NotDeliveredError otherwise."""
        missing_count = self.producer.flush(_FLUSH_TIMEOUT_S) + self._failure_count
        if missing_count:
            reason = self._last_error.str() if self._last_error else "no answer"
            raise NotDeliveredError(
                f"Kafka did not acknowledge {missing_count} of the interactions ({reason}): send "
                "the file again, what arrived counts once"
            )

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivery_count += 1
        else:
            self._failure_count += 1
            self._last_error = error
