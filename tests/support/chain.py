"""Driver of chains of agents in worker processes, and reader of their results."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from rocksdict import AccessType, Options, Rdict

from agents.store.rocks import META
from tests.support.chain_worker import ASSIGNMENT, REVOCATION, Plan

_PATIENCE_S = 120.0


class Worker:
    """Worker process; its output is kept in a file."""

    def __init__(self, plan: Plan, log: Path, program: str = "tests.support.chain_worker") -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, msgspec.json.encode(plan).decode()],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._hops = plan.hops

    def wait_until_ready(self) -> None:
        """Wait until every hop has its partitions and its tables."""
        eventually(lambda: self._is_ready() or self.process.poll() is not None)
        assert self._is_ready(), self.output()

    def output(self) -> str:
        """Return the output of the worker."""
        return self.log.read_text()

    def last_line(self) -> str:
        """Return the last line of output that is not librdkafka's."""
        return [line for line in self.output().splitlines() if not line.startswith("%")][-1]

    def rebalances(self) -> list[str]:
        """Return the lines of partitions that were assigned to the worker or revoked, in order."""
        return [
            line for line in self.output().splitlines() if line.startswith((ASSIGNMENT, REVOCATION))
        ]

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE_S)

    def _is_ready(self) -> bool:
        return self.output().count("READY") == self._hops


@contextmanager
def workers(directory: Path) -> Iterator[Callable[[Plan], Worker]]:
    """Yield the function that starts workers; all are killed at the end."""
    all_workers: list[Worker] = []

    def start(plan: Plan) -> Worker:
        worker = Worker(plan, directory / f"worker-{len(all_workers)}.log")
        all_workers.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in all_workers:
            worker.kill()


def eventually(condition: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
    """Wait until `condition` returns true; fail the test if it never does."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {patience_s} s"
        time.sleep(0.05)


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> Counter[bytes]:
    """Write (key, value) records, and return the number of records of each key."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
    )
    counts: Counter[bytes] = Counter()
    for key, value in records:
        producer.produce(topic, value, key, headers=[("origin", b"test")])
        producer.poll(0)
        counts[key] += 1
    assert producer.flush(30) == 0
    return counts


def ends(bootstrap: str, topic: str, partitions: int) -> list[int]:
    """Return the offset after the last record of each partition."""
    consumer = _consumer(bootstrap)
    offsets = [
        consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
        for number in range(partitions)
    ]
    consumer.close()
    return offsets


def committed_offsets(bootstrap: str, group: str, topic: str, partitions: int) -> list[int]:
    """Return the committed offsets; 0 where there is none."""
    consumer = _consumer(bootstrap, group)
    topic_partitions = [TopicPartition(topic, number) for number in range(partitions)]
    positions = consumer.committed(topic_partitions, timeout=10)
    consumer.close()
    return [max(part.offset, 0) for part in positions]


def has_committed_all(plan: Plan) -> bool:
    """Return whether every hop has committed all of its input."""
    return all(
        committed_offsets(plan.bootstrap, f"{plan.prefix}.hop{hop}", topic, plan.partitions)
        == ends(plan.bootstrap, topic, plan.partitions)
        for hop in range(plan.hops)
        for topic in [f"{plan.prefix}.{hop}"]
    )


def read_all(bootstrap: str, topic: str, partitions: int) -> list[Message]:
    """Return every message of a topic."""
    consumer = _consumer(bootstrap)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    expected = sum(ends(bootstrap, topic, partitions))
    messages: list[Message] = []
    while len(messages) < expected:
        messages += consumer.consume(10_000, 1.0)
    consumer.close()
    return messages


def read_rows(state: Path) -> dict[bytes, bytes]:
    """Return the rows on disk of all partitions of a table, which no process may have open."""
    rows_by_key: dict[bytes, bytes] = {}
    for partition in sorted(state.iterdir()):
        database = open_for_reading(partition)
        rows_by_key |= dict(database.items())
        database.close()
    return rows_by_key


def open_for_reading(partition: Path) -> Rdict:
    """Open the database of a partition for reading only."""
    return Rdict(
        str(partition),
        options=Options(raw_mode=True),
        column_families={META: Options(raw_mode=True)},
        access_type=AccessType.read_only(),
    )


def _consumer(bootstrap: str, group: str = "") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group or f"look-{os.getpid()}",
            "enable.auto.commit": False,
        }
    )
