"""Writer for commands: blocks until Kafka has acknowledged every record."""

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters.kafka import WRITER_SETTINGS, Outgoing, Property


class AcknowledgedWriter:
    """Idempotent producer that is flushed after each `write`."""

    def __init__(self, client: Mapping[str, Property], timeout_s: float) -> None:
        self._producer = Producer({**client, **WRITER_SETTINGS})
        self._timeout_s = timeout_s

    def write(self, records: Iterable[Outgoing]) -> None:
        """Return once Kafka has all records. Raises KafkaException if it does not take one."""
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for record in records:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=on_delivery,
                headers=list(record.headers),
            )
        if self._producer.flush(self._timeout_s) or failures:
            timed_out = KafkaError(KafkaError._TIMED_OUT, "no acknowledgement in time")
            raise KafkaException(*failures or (timed_out,))
