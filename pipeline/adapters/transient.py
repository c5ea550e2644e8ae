"""Transient errors of Kafka: a broker, leader or coordinator is away or new."""

import logging
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

_TRANSIENT_CODES: Final = frozenset({
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._DESTROY_BROKER,  # librdkafka replaced the connection during the request
    KafkaError._UNKNOWN_PARTITION,  # the topic was just created
    KafkaError._NOENT,  # no leader is known
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

_RETRIED_CODES: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._ALL_BROKERS_DOWN})
"""Errors that a consumer retries by itself, and that librdkafka does not call retriable."""

_log = logging.getLogger(__name__)


def is_transient(error: KafkaError) -> bool:
    """Return whether the same request may succeed a little later."""
    return error.code() in _TRANSIENT_CODES


def is_record(message: Message) -> bool:
    """Return whether a consumed message is a record, not a temporary error, which is logged.

    Raises KafkaException for a permanent error.
    """
    error = message.error()
    if error is None:
        return True
    if error.fatal() or not (error.retriable() or error.code() in _RETRIED_CODES):
        raise KafkaException(error)
    _log.warning("Kafka: %s", error)
    return False
