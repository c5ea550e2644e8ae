"""Transient errors of Kafka: a broker, leader or coordinator is away or new."""

from typing import Final

from confluent_kafka import KafkaError

_TRANSIENT: Final = frozenset({
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._DESTROY_BROKER,  # a connection that librdkafka replaced amid the request
    KafkaError._UNKNOWN_PARTITION,  # of a topic that was made just now
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


def is_transient(error: KafkaError) -> bool:
    """Return whether the same request may succeed a little later."""
    return error.code() in _TRANSIENT
