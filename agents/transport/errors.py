"""What ends a worker. All are bugs or losses that only a restart mends."""

from typing import Final

from confluent_kafka import KafkaError

#: A broker, a leader or a coordinator is away, busy, or new.
_TRANSIENT: Final = frozenset({
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._WAIT_COORD,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
})  # fmt: skip


def is_transient(error: KafkaError) -> bool:
    """Whether the same request may succeed a little later."""
    return error.code() in _TRANSIENT


class TransportError(Exception):
    """Base: `DeliveryError`, `SessionLostError`, `CommitStalledError`, `UnfinishedEventError`,
    `ClientFatalError`."""


class DeliveryError(TransportError):
    """A record could not be delivered."""


class SessionLostError(TransportError):
    """The group gave this member's partitions to another one."""


class CommitStalledError(TransportError):
    """Processed offsets could not be committed for too long."""


class UnfinishedEventError(TransportError):
    """An agent did not end with an event while its partition had to be given back."""


class ClientFatalError(TransportError):
    """librdkafka raised a fatal error, for example for a fenced instance id or an unknown user."""
