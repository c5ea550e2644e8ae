"""Errors that end a worker: bugs, or losses of connection or ownership."""

from confluent_kafka import KafkaError

_FATAL = frozenset({KafkaError._FATAL, KafkaError._AUTHENTICATION})
"""Errors after which a retry cannot succeed."""


class TransportError(Exception):
    """Base of `DeliveryError`, `SessionLostError`, `ChangelogTakenError`, `CommitStalledError`,
    `UnfinishedEventError`, `LogRecreatedError` and `ClientFatalError`."""


class DeliveryError(TransportError):
    """Raised when a record could not be delivered."""


class SessionLostError(TransportError):
    """Raised when another member has, or may have, this member's partitions."""


class ChangelogTakenError(TransportError):
    """Raised when another worker has written to a changelog partition that this one owned."""


class CommitStalledError(TransportError):
    """Raised when processed offsets were not committed in time, or their commit failed for good."""


class UnfinishedEventError(TransportError):
    """Raised when an event is still in progress although its partition is revoked, or a seek waits
    for it."""


class LogRecreatedError(TransportError):
    """Raised when a topic's offsets begin again below those read so far."""


class ClientFatalError(TransportError):
    """Raised when librdkafka has a fatal error, for example for a fenced instance id or an unknown
    user."""


def is_fatal(error: KafkaError) -> bool:
    """Return whether a client that reports this error is unusable from then on."""
    return error.fatal() or error.code() in _FATAL
