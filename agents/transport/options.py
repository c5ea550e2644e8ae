"""Settings of the transport, and the librdkafka settings that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.adapters import membership
from pipeline.model import sizes

_CLIENT: Mapping[str, object] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,
    "socket.nagle.disable": True,
}
"""Settings of every client, for a local or a nearby cluster."""

_READER: Mapping[str, object] = {
    "allow.auto.create.topics": False,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
}
"""Settings that every reader relies on."""

_LINGER_MS = 1


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Settings of a worker's Kafka clients; `_ms` are milliseconds.

    `librdkafka` is passed to every client (SASL, TLS, tuning), except for properties that the
    commit protocol relies on.
    """

    bootstrap_servers: str
    group_id: str
    instance_id: str
    librdkafka: Mapping[str, str] = field(default_factory=dict)
    commit_interval_ms: int = 250
    idle_commit_ms: int = 20
    """Idle time after which a consumer commits at once."""
    commit_stall_ms: int = 90_000
    """Longest time that processed offsets may wait for their commit before the process ends."""
    delivery_timeout_ms: int = membership.DELIVERY_MS
    """Time after which librdkafka drops an undelivered record, which ends the process. Must
    exceed `commit_stall_ms`: a dropped record, resent behind later ones, would look like a
    duplicate."""
    session_timeout_ms: int = 10_000
    """Session timeout; must exceed a killed broker's restart time plus two heartbeats."""
    max_poll_interval_ms: int = 300_000
    """Time without a poll after which a member loses its partitions."""
    rows_first: bool = False
    """Whether outputs are held until their rows are in the changelog."""
    lingering_topics: frozenset[str] = frozenset()
    """Topics whose records may linger, since no client waits for them."""
    cause_header: str | None = None
    """Header in which an output names its cause; used to suppress duplicates after a kill."""
    outputs: tuple[str, ...] = ()
    """Topics of the outputs with that header; a name that ends in a dot is a prefix."""
    changelog_properties: Mapping[str, str] = field(default_factory=dict)
    """Topic properties of changelogs."""
    max_batch_records: int = 256
    """Records of a batch that the poller hands over."""
    max_prefetched_batches: int = 16
    max_prefetched_kib: int = 32_768
    """Batches, and their bytes, that may be prefetched before reading stops."""
    fetch_buffer_kib: int = 16_384
    max_undelivered_records: int = 10_000
    max_undelivered_kib: int = 32_768
    """Undelivered records, and their bytes, above which agents get no further event. At most half
    of the queue's limits: outputs of events in progress still have to fit."""
    max_queued_records: int = 100_000
    max_queued_kib: int = 65_536
    """Limits of a producer's queue, above which handing it a record blocks."""
    drain_ms: int = 5_000
    """Time in which an event in progress must end at a revocation or shutdown."""

    @property
    def linger_ms(self) -> int:
        """Linger time of the lingering producer's client, in addition to that of its batches."""
        return 0 if self.rows_first else _LINGER_MS

    @property
    def heartbeat_ms(self) -> int:
        """Interval between two heartbeats."""
        return membership.heartbeat_ms(self.session_timeout_ms)

    @property
    def lease_ms(self) -> int:
        """Time after its last heartbeat for which a member certainly owns its partitions."""
        return membership.lease_ms(self.session_timeout_ms)

    @property
    def request_timeout_s(self) -> float:
        """Longest wait of the poller for an answer, within the lease."""
        return self.lease_ms / 2_000

    def consumer_settings(self) -> dict[str, object]:
        """Return the settings of the group's consumer."""
        return {
            **_CLIENT,
            "client.id": self.instance_id,
            "max.poll.interval.ms": max(self.max_poll_interval_ms, self.session_timeout_ms),
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 1,
            "fetch.error.backoff.ms": 50,
            "queued.max.messages.kbytes": self.fetch_buffer_kib,
            **self.librdkafka,
            **_READER,
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.group_id,
            "group.instance.id": self.instance_id,
            "group.protocol": "classic",
            # Co-partitions the inputs: they have equal partition counts.
            "partition.assignment.strategy": "range",
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": self.heartbeat_ms,
            "enable.partition.eof": False,
        }

    def changelog_reader_settings(self) -> dict[str, object]:
        """Return the settings of a consumer outside of any group."""
        return {
            **_CLIENT,
            "client.id": f"{self.instance_id}-restore",
            # After a wait of this length without records, the partition's end is reported.
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 65_536,
            **self.librdkafka,
            **_READER,
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.group_id,
            "enable.partition.eof": True,
        }

    def producer_settings(self, linger_ms: float) -> dict[str, object]:
        """Return the settings of an idempotent producer with acks=all."""
        return {
            **_CLIENT,
            "client.id": self.instance_id,
            "linger.ms": linger_ms,
            "message.max.bytes": sizes.RECORD,
            "message.timeout.ms": self.delivery_timeout_ms,
            "queue.buffering.max.messages": self.max_queued_records,
            "queue.buffering.max.kbytes": self.max_queued_kib,
            **self.librdkafka,
            "allow.auto.create.topics": False,
            "bootstrap.servers": self.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "delivery.report.only.error": False,
            # Java clients' partitioner: every client finds a key in the same partition.
            "partitioner": "murmur2_random",
        }

    def admin_settings(self) -> dict[str, object]:
        """Return the settings of the admin client."""
        return {
            **_CLIENT,
            "client.id": f"{self.instance_id}-admin",
            **self.librdkafka,
            "bootstrap.servers": self.bootstrap_servers,
        }
