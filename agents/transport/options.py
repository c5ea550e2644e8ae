"""The transport's settings, and what they make of librdkafka's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.adapters import membership
from pipeline.model import sizes

#: Settings of any client that suit a local or a nearby cluster.
_CLIENT: Mapping[str, object] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,
    "socket.nagle.disable": True,
}

#: What every reader relies on.
_READER: Mapping[str, object] = {
    "allow.auto.create.topics": False,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
}

_PATIENCE_MS = 5


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How a worker talks to Kafka; `_ms` are milliseconds.

    `librdkafka` is passed to every client (SASL, TLS, tuning); it does not change what the protocol
    relies on.
    """

    bootstrap_servers: str
    group_id: str
    instance_id: str
    librdkafka: Mapping[str, str] = field(default_factory=dict)
    commit_interval_ms: int = 250
    #: A consumer that has received nothing for so long commits what it has.
    idle_commit_ms: int = 20
    #: Acknowledged offsets that wait so long for their commit, which waits for deliveries, end the
    #: process.
    commit_stall_ms: int = 90_000
    #: A record that is not delivered after so long is dropped, and ends the process. Longer than
    #: the above, so that none is: those that had come after it would be delivered, and who reads
    #: them would take it for a copy, as one that comes behind what its source had told later.
    delivery_timeout_ms: int = membership.DELIVERY_MS
    #: Longer than a killed broker takes to come back, with room for heartbeats on either side.
    session_timeout_ms: int = 10_000
    #: A member that does not poll for so long loses its partitions.
    max_poll_interval_ms: int = 300_000
    #: Outputs wait for their rows to be in the changelog.
    rows_first: bool = False
    #: Topics whose records nobody waits for.
    unhurried: frozenset[str] = frozenset()
    #: The header by which an output names its cause: what a killed worker sent is not sent again.
    cause_header: str | None = None
    #: The topics to look for that in; one that ends in a dot stands for all that begin so.
    outputs: tuple[str, ...] = ()
    fetch_batch: int = 256
    #: Batches, and their bytes, that may wait for the agents before polling stops.
    fetch_batches: int = 16
    fetch_batches_kib: int = 32_768
    fetch_buffer_kib: int = 16_384
    #: Undelivered records, and bytes of what is not known to be delivered, above which no further
    #: event is given to the agents. Half of what a queue holds: so much may follow all the same.
    producer_high_water: int = 10_000
    producer_high_water_kib: int = 32_768
    #: Hard limits of a producer's queue; above them `send_raw` blocks.
    producer_queue: int = 100_000
    producer_queue_kib: int = 65_536
    #: What an event that is being processed may take at a revocation or at shutdown.
    drain_ms: int = 5_000

    @property
    def patience_ms(self) -> int:
        """How long records wait for company that only the commit waits for."""
        return 0 if self.rows_first else _PATIENCE_MS

    @property
    def heartbeat_ms(self) -> int:
        """How often the group hears of this member."""
        return membership.heartbeat_ms(self.session_timeout_ms)

    @property
    def lease_ms(self) -> int:
        """How long after its last sign of life a member surely has its partitions."""
        return membership.lease_ms(self.session_timeout_ms)

    @property
    def request_timeout_s(self) -> float:
        """How long the poller waits for an answer: the lease must not end meanwhile."""
        return self.lease_ms / 2_000

    def consumer(self) -> dict[str, object]:
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
            # Same partition counts and one subscription: equal numbers go to one member.
            "partition.assignment.strategy": "range",
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": self.heartbeat_ms,
            "enable.partition.eof": False,
        }

    def changelog_reader(self) -> dict[str, object]:
        """Return the settings of a consumer outside of any group."""
        return {
            **_CLIENT,
            "client.id": f"{self.instance_id}-restore",
            # A fetch that finds nothing for so long tells that a partition ends there.
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 65_536,
            **self.librdkafka,
            **_READER,
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.group_id,
            "enable.partition.eof": True,
        }

    def producer(self, linger_ms: float) -> dict[str, object]:
        """Return the settings of a producer that nothing is lost by."""
        return {
            **_CLIENT,
            "client.id": self.instance_id,
            "linger.ms": linger_ms,
            "message.max.bytes": sizes.RECORD,
            "message.timeout.ms": self.delivery_timeout_ms,
            "queue.buffering.max.messages": self.producer_queue,
            "queue.buffering.max.kbytes": self.producer_queue_kib,
            **self.librdkafka,
            "allow.auto.create.topics": False,
            "bootstrap.servers": self.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "delivery.report.only.error": False,
            # What Java clients do, so that every client finds a key in the same partition.
            "partitioner": "murmur2_random",
        }

    def admin(self) -> dict[str, object]:
        """Return the settings of the admin client."""
        return {
            **_CLIENT,
            "client.id": f"{self.instance_id}-admin",
            **self.librdkafka,
            "bootstrap.servers": self.bootstrap_servers,
        }
