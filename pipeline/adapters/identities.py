"""Writer of changes from outside the identity stage to `identities`."""

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Outgoing, Property
from pipeline.model import topics
from pipeline.model.identity import IdentityChange

_TIMEOUT_S: Final = 30.0


class IdentityWriter:
    """Writer that keeps its producer."""

    def __init__(self, kafka: Mapping[str, Property], codec: Codec) -> None:
        self._codec = codec
        self._writer = AcknowledgedWriter(kafka, _TIMEOUT_S)

    def write(self, changes: Iterable[IdentityChange]) -> None:
        """Return once Kafka has the changes. Raises KafkaException if it does not take one."""
        self._writer.write(
            Outgoing(topics.IDENTITIES, one.identifier, self._codec.encode(topics.IDENTITIES, one))
            for one in changes
        )
