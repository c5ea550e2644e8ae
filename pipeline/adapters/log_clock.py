"""The clock of a log that is played: ticks that pass through every stage and partition."""

from collections.abc import Mapping
from itertools import count

from pipeline.adapters.avro import Codec
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.kafka import Property, partition_of
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id


class LogClock:
    """Wakes what is due by a log's time, for sources with `clock: log`."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec, partitions: int) -> None:
        self._keys = [_key_in(partition, partitions) for partition in range(partitions)]
        self._writer = IdentityWriter(kafka, codec)

    def tick(self, at: int) -> None:
        """The log's time has come to `at` (epoch ms): returns once Kafka has it.

        KafkaException when it does not take it.
        """
        self._writer.write(
            IdentityChange(
                change_id=control_id(str(at), "clock", key),
                kind="clock",
                identifier=key,
                at=at,
                config="",
            )
            for key in self._keys
        )


def _key_in(partition: int, partitions: int) -> str:
    """A key that belongs in `partition`, in every topic."""
    keys = (f"clock:{number}" for number in count())
    return next(key for key in keys if partition_of(key, partitions) == partition)
