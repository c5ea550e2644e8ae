"""Open-loop load: records are sent when they are due, whether or not earlier ones came out.

A latency is from the time at which the record was due to be sent to the time at which a reader
has its output, both by this process' monotonic clock, so that a late sender counts against the
system (no coordinated omission).
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.benchmarks.figures import DrainedBacklog, Passage, Passages, RateSample
from tests.benchmarks.processes import CpuMeter

_SWITCH_S: Final = 0.0002
_DRAIN_S: Final = 15.0
_TIMEOUT_S: Final = 60.0
_BATCH_RECORDS: Final = 500
_NS: Final = 1_000_000_000
_LEAD_S: Final = 0.2
_QUICK_RECONNECT: Final = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "log_level": 2,
}
"""Properties by which clients reconnect at once to a broker that is back, so that their backoff is
not measured."""


_NO_END: Final = threading.Event()
"""Event that is never set."""


class MeasuredTraffic(Protocol):
    """Records to send, and the rule that recognises their outputs."""

    @property
    def input(self) -> str: ...

    @property
    def outputs(self) -> Sequence[str]: ...

    def record(self, index: int, at_ms: int) -> tuple[bytes, bytes]:
        """Return key and value of the record with this number, to be sent at `at_ms` (epoch)."""

    def index_of(self, value: bytes) -> int | None:
        """Return the number of the record that `value` follows from; None for other records."""


class Client:
    """Sender of one system's traffic, and reader of its outputs."""

    def __init__(
        self,
        kafka: Mapping[str, str | int | float | bool],
        traffic: MeasuredTraffic,
        pids: Mapping[str, int],
    ) -> None:
        self._traffic = traffic
        self._pids = {**pids, "load": os.getpid()}
        self._next_index = 0
        self._producer = Producer(
            {
                **kafka,
                "linger.ms": 0,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
                **_QUICK_RECONNECT,
            }
        )
        self._consumer = Consumer(
            {
                **kafka,
                "group.id": f"load-{os.getpid()}",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 1,
                **_QUICK_RECONNECT,
            }
        )
        self._consumer.assign(list(self._ends()))

    def close(self) -> None:
        """Flush for a second, and drop the records that are still in flight."""
        self._producer.flush(1)
        self._producer.purge()
        self._producer.poll(0)
        self._consumer.close()

    def run_open_loop(self, rate: float, seconds: float, drain_s: float = _DRAIN_S) -> RateSample:
        """Send `rate` records a second, evenly, for `seconds`; wait for the last output at
        most `drain_s`."""
        count = int(rate * seconds)
        first_index, records = self._prepare(count, rate)
        with _time_precisely():
            meter = CpuMeter(self._pids)
            due_times_ns = _due_times_ns(count, rate)
            reader = _OutputReader(self._consumer, count, due_times_ns[-1] + int(drain_s * _NS))
            reader.start()
            self._send(records, due_times_ns)
            reader.join()
            cpu = meter.cores()
        matches = self._match(reader.arrivals, first_index, count)
        last_ns = max((at_ns for at_ns, _ in matches.values()), default=due_times_ns[-1])
        return RateSample(
            record_count=count,
            planned_seconds=seconds,
            seconds=(last_ns - due_times_ns[0]) / _NS,
            latencies_ms=[
                (at_ns - due_times_ns[index]) / 1e6 for index, (at_ns, _) in matches.items()
            ],
            headers=[message.headers() or () for _, message in matches.values()],
            cpu=cpu,
        )

    def drain_backlog(self, count: int, timeout_s: float) -> DrainedBacklog:
        """Send `count` records as fast as possible; wait for outputs, `timeout_s` in all."""
        first_index, records = self._prepare(count, count)
        with _time_precisely():
            meter = CpuMeter(self._pids)
            begin_ns = time.monotonic_ns()
            reader = _OutputReader(self._consumer, count, begin_ns + int(timeout_s * _NS))
            reader.start()
            for key, value in records:
                self._producer.produce(self._traffic.input, value, key)
            self._producer.flush()
            reader.join()
            cpu = meter.cores()
        matches = self._match(reader.arrivals, first_index, count)
        last_ns = max((at_ns for at_ns, _ in matches.values()), default=begin_ns + 1)
        return DrainedBacklog(count, len(matches), (last_ns - begin_ns) / _NS, cpu)

    def measure_passages(self, rate: float, seconds: float, work: Callable[[], None]) -> Passages:
        """Send `rate` records a second for `seconds` while `work` runs; wait for the last
        output for at most a minute."""
        return self._measure_passages(rate, seconds, work, threading.Event())

    def measure_passages_during(
        self, rate: float, limit_s: float, work: Callable[[], None]
    ) -> Passages:
        """Send as `measure_passages` does while `work` runs, at most `limit_s` seconds."""
        end = threading.Event()

        def work_then_end() -> None:
            try:
                work()
            finally:
                end.set()

        return self._measure_passages(rate, limit_s, work_then_end, end)

    def _measure_passages(
        self, rate: float, seconds: float, work: Callable[[], None], end: threading.Event
    ) -> Passages:
        count = int(rate * seconds)
        first_index, records = self._prepare(count, rate)
        due_times_ns = _due_times_ns(count, rate)
        reader = _OutputReader(self._consumer, count, due_times_ns[-1] + int(_TIMEOUT_S * _NS))
        sender = _Sender(lambda: self._send(records, due_times_ns, end))
        reader.start()
        sender.start()
        work()
        sender.join()
        reader.expect(sender.record_count)
        reader.join()
        matches = self._match(reader.arrivals, first_index, sender.record_count)
        passages = [
            Passage(due_times_ns[index] / _NS, at_ns / _NS, message.partition())
            for index, (at_ns, message) in matches.items()
        ]
        return Passages(sender.record_count, passages)

    def _ends(self) -> Iterator[TopicPartition]:
        """Yield the ends of the topics' partitions, so that nothing older is read."""
        for topic in self._traffic.outputs:
            for partition in self._consumer.list_topics(topic).topics[topic].partitions:
                topic_partition = TopicPartition(topic, partition)
                _, end = self._consumer.get_watermark_offsets(topic_partition)
                yield TopicPartition(topic, partition, end)

    def _prepare(self, count: int, rate: float) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the first index and all records, made in advance, since making them takes
        time."""
        first_index, self._next_index = self._next_index, self._next_index + count
        begin_ms = int((time.time() + _LEAD_S) * 1000)
        return first_index, [
            self._traffic.record(first_index + index, begin_ms + int(index * 1000 / rate))
            for index in range(count)
        ]

    def _send(
        self,
        records: Sequence[tuple[bytes, bytes]],
        due_times_ns: Sequence[int],
        end: threading.Event = _NO_END,
    ) -> int:
        """Send until `end` is set; return the number of records sent."""
        produce, topic = self._producer.produce, self._traffic.input
        for number, ((key, value), due_ns) in enumerate(zip(records, due_times_ns, strict=True)):
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / _NS)
            if end.is_set():
                return number
            produce(topic, value, key)
            self._producer.poll(0)
        return len(records)

    def _match(
        self, arrivals: Sequence[tuple[int, Message]], first_index: int, count: int
    ) -> dict[int, tuple[int, Message]]:
        """Return time and message of each record's first output, by its number from 0."""
        matches: dict[int, tuple[int, Message]] = {}
        for at_ns, message in arrivals:
            value = message.value()
            index = None if value is None else self._traffic.index_of(value)
            if index is not None and first_index <= index < first_index + count:
                matches.setdefault(index - first_index, (at_ns, message))
        return matches


def _due_times_ns(count: int, rate: float) -> list[int]:
    """Return the moments at which records are to be sent, at even intervals from `_LEAD_S` on."""
    begin_ns = time.monotonic_ns() + int(_LEAD_S * _NS)
    return [begin_ns + int(index * _NS / rate) for index in range(count)]


class _OutputReader(threading.Thread):
    """Reader that only records arrivals; they are matched with records afterwards."""

    def __init__(self, consumer: Consumer, count: int, deadline_ns: int) -> None:
        super().__init__(name="reader", daemon=True)
        self.arrivals: list[tuple[int, Message]] = []
        self._consumer = consumer
        self._count = count
        self._deadline_ns = deadline_ns

    def expect(self, count: int) -> None:
        """Expect at most `count` records, the last of them soon."""
        self._count = count
        self._deadline_ns = min(self._deadline_ns, time.monotonic_ns() + int(_TIMEOUT_S * _NS))

    def run(self) -> None:
        while len(self.arrivals) < self._count and time.monotonic_ns() < self._deadline_ns:
            first_message = self._consumer.poll(0.1)
            if first_message is None:
                continue
            now_ns = time.monotonic_ns()
            for message in (first_message, *self._consumer.consume(_BATCH_RECORDS, 0)):
                if message.error() is None:
                    self.arrivals.append((now_ns, message))


class _Sender(threading.Thread):
    """Sender in a thread; `record_count` is set when it ends."""

    def __init__(self, send: Callable[[], int]) -> None:
        super().__init__(name="sender")
        self.record_count = 0
        self._send = send

    def run(self) -> None:
        self.record_count = self._send()


@contextmanager
def _time_precisely() -> Iterator[None]:
    """Switch quickly between the two threads, without garbage collections, during the block."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval_s)
