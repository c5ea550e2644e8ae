"""Clock of a replayed log: ticks that pass through every stage and partition."""

from collections.abc import Mapping

from pipeline.adapters.avro import Codec
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.kafka import Property, key_per_partition
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id


class LogClock:
    """Clock that fires timers by a log's time, for sources with `clock: log`."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec, partition_count: int) -> None:
        self._keys = key_per_partition("clock", partition_count)
        self._writer = IdentityWriter(kafka, codec)

    def tick(self, time_ms: int) -> None:
        """Advance the log's time to `time_ms` (epoch); return once Kafka has acknowledged it.

        Raises KafkaException.
        """
        self._writer.write(
            IdentityChange(
                change_id=control_id(str(time_ms), "clock", key),
                kind="clock",
                identifier=key,
                at=time_ms,
                config="",
            )
            for key in self._keys
        )
