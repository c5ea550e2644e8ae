"""Log of configurations for commands, which read it and apply new versions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.avro import Codec
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_follower import ConfigurationFollower, ConfigurationLogError
from pipeline.adapters.kafka import OutgoingRecord, Property
from pipeline.config import canonical
from pipeline.config.model import Bundle
from pipeline.model import topics
from pipeline.model.configuration import ConfigurationRecord

_START_S: Final = 30.0
_MAX_BYTES: Final = 10_000_000
"""Limit of a bundle before compression; the topic's own limit counts compressed bytes."""


@dataclass(frozen=True, slots=True)
class AppliedVersion:
    """Configuration in force after `apply`; `changed` False: it was in force before."""

    digest: str
    changed: bool


class ConfigurationLog(ConfigurationFollower):
    """Follower of the topic that can also append to it."""

    def apply(self, bundle: Bundle, applied_by: str, timeout_s: float = 10.0) -> AppliedVersion:
        """Put `bundle` into force, unless it is already; return once the follower has read it.

        Raises ConfigurationLogError if Kafka does not acknowledge it, or the follower does not read
        it, in time.
        """
        body = canonical.to_json(bundle)
        digest = canonical.digest_of(body)
        latest_configuration = self.configuration_in_force()
        if latest_configuration is not None and latest_configuration.digest == digest:
            return AppliedVersion(digest, changed=False)
        self._append(ConfigurationRecord(digest, now_ms(), applied_by, body), timeout_s)
        if not self.wait_until_in_force(digest, timeout_s):
            raise ConfigurationLogError(f"{digest} was written but not read back; try again")
        return AppliedVersion(digest, changed=True)

    def _append(self, record: ConfigurationRecord, timeout_s: float) -> None:
        settings: dict[str, Property] = {
            **self._client,
            "compression.type": "zstd",
            "message.max.bytes": _MAX_BYTES,
            "message.timeout.ms": round(timeout_s * 1000),
        }
        value = self._codec.encode(topics.CONFIGURATION, record)
        try:
            writer = AcknowledgedWriter(settings, timeout_s + 1.0)
            writer.write([OutgoingRecord(topics.CONFIGURATION, record.digest, value)])
        except KafkaException as error:
            raise ConfigurationLogError(f"not applied: {error.args[0].str()}") from error


@contextmanager
def open_configuration_log(
    client: Mapping[str, Property], codec: Codec
) -> Iterator[ConfigurationLog]:
    """Open the log, read to its end, for a command. Raises ConfigurationLogError."""
    log = ConfigurationLog(client, codec)
    log.start(_START_S)
    try:
        yield log
    finally:
        log.stop()
