"""Writer that blocks until Kafka has acknowledged every record."""

from collections.abc import Iterable, Mapping
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters.kafka import WRITER_SETTINGS, OutgoingRecord, Property, offset_of


class AcknowledgedWriter:
    """Idempotent producer that is flushed after each `write`."""

    def __init__(self, client: Mapping[str, Property], timeout_s: float) -> None:
        self._producer = Producer({**client, **WRITER_SETTINGS})
        self._timeout_s = timeout_s

    def write(self, records: Iterable[OutgoingRecord]) -> list[int]:
        """Write the records; return their offsets once Kafka has acknowledged all of them.

        Raises KafkaException if a record is not acknowledged.
        """
        offsets: dict[int, int] = {}
        failures: list[KafkaError] = []

        def on_delivery(number: int, error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets[number] = offset_of(message)
            else:
                failures.append(error)

        for number, record in enumerate(records):
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=partial(on_delivery, number),
                headers=list(record.headers),
            )
        if self._producer.flush(self._timeout_s) or failures:
            timeout_error = KafkaError(KafkaError._TIMED_OUT, "no acknowledgement in time")
            raise KafkaException(*failures or (timeout_error,))
        return [offsets[number] for number in range(len(offsets))]
