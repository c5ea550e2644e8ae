"""The floor: the simplest safe loop over confluent-kafka with RocksDB.

Idempotent producers with acks=all; one changelog record for each write, through a producer of its
own with a short linger, so that it does not hold up the outputs; offsets committed in the
background once all outputs of their records are delivered.
"""

import signal
import sys
import time

from arguments import READY_LINE, Arguments, parse
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from rocksdict import Options, Rdict

_COMMIT_S = 0.25
_BATCH = 256


class InputRound:
    """Inputs read together: offsets to continue at, and their records in flight."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, int], int] = {}
        self.in_flight = 0

    @property
    def offsets(self) -> list[TopicPartition]:
        return [TopicPartition(t, p, offset) for (t, p), offset in self.positions.items()]

    def count_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            raise SystemExit(f"not delivered: {error}")
        self.in_flight -= 1


class Loop:
    """Loop of one consumer over all hops of the process."""

    def __init__(self, arguments: Arguments) -> None:
        self._next_topics = {
            arguments.topic(hop): arguments.topic(hop + 1) for hop in arguments.hops
        }
        self._changelog_topics = {topic: f"{topic}.changelog" for topic in self._next_topics}
        self._stores = {
            topic: Rdict(str(arguments.folder / topic), Options(raw_mode=True))
            for topic in self._next_topics
        }
        self._output_producer = _producer(arguments, 0)
        self._changelog_producer = _producer(arguments, 10)
        self._consumer = Consumer(
            {
                "bootstrap.servers": arguments.bootstrap,
                "group.id": arguments.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 1,
            }
        )
        self._round = InputRound()
        self._previous_round: InputRound | None = None
        self._commit_at = time.monotonic() + _COMMIT_S

    def run(self, partition_count: int) -> None:
        """Run until SIGTERM; print READY_LINE once it has `partition_count` partitions."""
        self._consumer.subscribe(list(self._next_topics))
        while len(self._consumer.assignment()) < partition_count:
            self._poll_once()
        print(READY_LINE, flush=True)
        while True:
            self._poll_once()

    def _poll_once(self) -> None:
        first_message = self._consumer.poll(_COMMIT_S)
        if first_message is not None:
            for message in (first_message, *self._consumer.consume(_BATCH, 0)):
                self._process(message)
        self._output_producer.poll(0)
        self._changelog_producer.poll(0)
        self._commit()

    def _commit(self) -> None:
        """Commit rounds in order: everything before a round is delivered first."""
        if self._previous_round is not None and not self._previous_round.in_flight:
            self._consumer.commit(offsets=self._previous_round.offsets, asynchronous=True)
            self._previous_round = None
        if (
            self._previous_round is None
            and self._round.positions
            and time.monotonic() >= self._commit_at
        ):
            self._previous_round, self._round = self._round, InputRound()
            self._commit_at = time.monotonic() + _COMMIT_S

    def _process(self, message: Message) -> None:
        topic, key, value = message.topic(), message.key(), message.value()
        store = self._stores[topic]
        store.get(key)
        store[key] = value
        partition, count_delivery = message.partition(), self._round.count_delivery
        self._changelog_producer.produce(
            self._changelog_topics[topic], value, key, partition, on_delivery=count_delivery
        )
        self._output_producer.produce(
            self._next_topics[topic], value, key, on_delivery=count_delivery
        )
        self._round.in_flight += 2
        self._round.positions[topic, partition] = message.offset() + 1


def _producer(arguments: Arguments, linger_ms: float) -> Producer:
    return Producer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": linger_ms,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,  # large enough that no send waits
        }
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    arguments = parse()
    Loop(arguments).run(len(arguments.hops) * arguments.partitions)
