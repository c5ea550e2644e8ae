"""Warm-up of a fresh broker, since the first minute of a JVM is slow."""

import uuid
from collections.abc import Mapping

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_RECORD = b"x" * 512
_ROUND_RECORD_COUNT = 5
_TIMEOUT_S = 30.0


def warm_up(kafka: Mapping[str, str | int | float | bool], rounds: int = 150) -> None:
    """Send `rounds` small batches through a scratch topic and back, then delete it.

    Many small requests, rather than a few large ones, let the JVM compile the request path.
    `kafka`: properties of a confluent-kafka client. Raises KafkaException or TimeoutError.
    """
    client = {**kafka, "log_level": 3}
    topic = f"kairos.warm-up.{uuid.uuid4().hex}"
    admin = AdminClient(client)
    admin.create_topics([NewTopic(topic, 1)], operation_timeout=_TIMEOUT_S)[topic].result()
    try:
        _send_and_read(client, topic, rounds)
    finally:
        admin.delete_topics([topic], operation_timeout=_TIMEOUT_S)[topic].result()


def _send_and_read(kafka: Mapping[str, str | int | float | bool], topic: str, rounds: int) -> None:
    producer = Producer({**kafka, "linger.ms": 0, "enable.idempotence": True})
    consumer = Consumer({**kafka, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        for _ in range(rounds):
            for _ in range(_ROUND_RECORD_COUNT):
                producer.produce(topic, _RECORD)
            producer.flush(_TIMEOUT_S)
            messages = consumer.consume(_ROUND_RECORD_COUNT, _TIMEOUT_S)
            if not messages:
                raise TimeoutError(f"the broker returned nothing for {_TIMEOUT_S:.0f} s")
            consumer.commit(message=messages[-1], asynchronous=True)
    finally:
        consumer.close()
