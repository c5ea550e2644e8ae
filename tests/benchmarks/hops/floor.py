"""The floor: the simplest safe loop over confluent-kafka with RocksDB.

Idempotent producers with acks=all; one changelog record for each write, through a producer of its
own with a short linger, so that it does not hold up the outputs; offsets committed in the
background once all outputs of their records are delivered.
"""

import signal
import sys
import time

from arguments import READY, Arguments, parse
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from rocksdict import Options, Rdict

_COMMIT_S = 0.25
_BATCH = 256


class Round:
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
        self._next = {arguments.topic(hop): arguments.topic(hop + 1) for hop in arguments.hops}
        self._changelog = {topic: f"{topic}.changelog" for topic in self._next}
        self._stores = {
            topic: Rdict(str(arguments.folder / topic), Options(raw_mode=True))
            for topic in self._next
        }
        self._outputs = _producer(arguments, 0)
        self._changelogs = _producer(arguments, 10)
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
        self._round = Round()
        self._previous: Round | None = None
        self._commit_at = time.monotonic() + _COMMIT_S

    def run(self, partition_count: int) -> None:
        """Run until SIGTERM; print READY once it has `partition_count` partitions."""
        self._consumer.subscribe(list(self._next))
        while len(self._consumer.assignment()) < partition_count:
            self._poll_once()
        print(READY, flush=True)
        while True:
            self._poll_once()

    def _poll_once(self) -> None:
        first = self._consumer.poll(_COMMIT_S)
        if first is not None:
            for message in (first, *self._consumer.consume(_BATCH, 0)):
                self._process(message)
        self._outputs.poll(0)
        self._changelogs.poll(0)
        self._commit()

    def _commit(self) -> None:
        """Commit rounds in order: everything before a round is delivered first."""
        if self._previous is not None and not self._previous.in_flight:
            self._consumer.commit(offsets=self._previous.offsets, asynchronous=True)
            self._previous = None
        if self._previous is None and self._round.positions and time.monotonic() >= self._commit_at:
            self._previous, self._round = self._round, Round()
            self._commit_at = time.monotonic() + _COMMIT_S

    def _process(self, message: Message) -> None:
        topic, key, value = message.topic(), message.key(), message.value()
        store = self._stores[topic]
        store.get(key)
        store[key] = value
        partition, report = message.partition(), self._round.count_delivery
        self._changelogs.produce(self._changelog[topic], value, key, partition, on_delivery=report)
        self._outputs.produce(self._next[topic], value, key, on_delivery=report)
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
