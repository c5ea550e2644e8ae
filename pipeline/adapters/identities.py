"""Writer to `identities` for processes other than the identity stage."""

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import OutgoingRecord, Property
from pipeline.model import topics
from pipeline.model.identity import IdentityChange

_TIMEOUT_S: Final = 30.0


class IdentityWriter:
    """Writer of changes to identities, with one producer."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec) -> None:
        self._codec = codec
        self._writer = AcknowledgedWriter(kafka, _TIMEOUT_S)

    def write(self, changes: Iterable[IdentityChange]) -> None:
        """Write the changes; return once Kafka has acknowledged them. Raises KafkaException."""
        self._writer.write(
            OutgoingRecord(
                topics.IDENTITIES, change.identifier, self._codec.encode(topics.IDENTITIES, change)
            )
            for change in changes
        )
