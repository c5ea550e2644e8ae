"""The clock of a log that is played: ticks that pass through every stage and partition."""

from collections.abc import Mapping
from itertools import count

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property, partition_of
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id

_TIMEOUT_S = 30.0


class LogClock:
    """Wakes what is due by a log's time, for sources with `clock: log`."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec, partitions: int) -> None:
        self._codec = codec
        self._keys = [_key_in(partition, partitions) for partition in range(partitions)]
        self._producer = Producer({**kafka, "partitioner": "murmur2", "enable.idempotence": True})

    def tick(self, at: int) -> None:
        """The log's time has come to `at` (epoch ms): returns once Kafka has it.

        KafkaException when it does not take it.
        """
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for key in self._keys:
            tick = IdentityChange(
                change_id=control_id(str(at), "clock", key),
                kind="clock",
                identifier=key,
                at=at,
                config="",
            )
            value = self._codec.encode(topics.IDENTITIES, tick)
            self._producer.produce(topics.IDENTITIES, value, key, on_delivery=delivered)
        if self._producer.flush(_TIMEOUT_S) or failures:
            raise KafkaException(*failures or (KafkaError(KafkaError._TIMED_OUT),))


def _key_in(partition: int, partitions: int) -> str:
    """A key that belongs in `partition`, in every topic."""
    keys = (f"clock:{number}" for number in count())
    return next(key for key in keys if partition_of(key, partitions) == partition)
