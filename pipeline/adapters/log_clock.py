"""Clock of a replayed log: ticks that pass through every stage and partition."""

from collections.abc import Mapping

from pipeline.adapters.avro import Codec
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.kafka import Property, key_per_partition
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id


class LogClock:
    """Clock that fires timers by a log's time, for sources with `clock: log`."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec, partitions: int) -> None:
        self._keys = key_per_partition("clock", partitions)
        self._writer = IdentityWriter(kafka, codec)

    def tick(self, at: int) -> None:
        """Advance the log's time to `at` (epoch ms); return once Kafka has acknowledged it.

        Raises KafkaException.
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
