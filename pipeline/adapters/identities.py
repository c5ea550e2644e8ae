"""Writing to `identities` what did not come from the identity stage itself."""

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import WRITER, Property
from pipeline.model import topics
from pipeline.model.identity import IdentityChange

_TIMEOUT_S = 30.0


class IdentityWriter:
    """Keeps one producer."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec) -> None:
        self._codec = codec
        self._producer = Producer({**kafka, **WRITER})

    def write(self, changes: Iterable[IdentityChange]) -> None:
        """Returns once Kafka has them; KafkaException when it does not take one."""
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for change in changes:
            value = self._codec.encode(topics.IDENTITIES, change)
            self._producer.produce(
                topics.IDENTITIES, value, change.identifier, on_delivery=delivered
            )
        if self._producer.flush(_TIMEOUT_S) or failures:
            raise KafkaException(*failures or (KafkaError(KafkaError._TIMED_OUT),))
