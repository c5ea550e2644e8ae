"""`kairos bench ingest`: a file of many rows, from its folder to Kafka's acknowledgement.

The time is that of the whole command, its start included: copying, reading, checking, Avro, Kafka.
"""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import psutil
from confluent_kafka import Consumer, TopicPartition

from pipeline.home.codec import register
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.stack.configure import apply_folder
from tests.benchmarks.latency import Say
from tests.benchmarks.rig import Rig
from tests.support.ingest import written_configuration

_WATCH: Final = """watches:
  - watch: orders
    source: shop-files
    folder: {folder}
    ready: {{by: rename}}
    kind: track
    name: Order Placed
    columns:
      customer: identifiers.customer_id
      email: identifiers.email
      total: properties.total
      currency: properties.currency
      quantity: properties.quantity
      store: properties.store
      at: time
    time: {{zone: Europe/Madrid}}
"""
_CUSTOMERS: Final = 100_000
_LOOK_S: Final = 0.1
_ASK_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """Cost of one file; `cores` used by the command and its helpers, `peak_bytes` resident of all
    of them together."""

    rows: int
    file_bytes: int
    seconds: float
    rows_per_s: float
    cores: float
    peak_bytes: int
    helpers_peak_bytes: int
    missing: int


def measure(rig: Rig, rows: int, say: Say) -> Ingested:
    """Measure the ingest of one file of `rows` rows."""
    folder = rig.home / "inbox"
    folder.mkdir()
    ensure_topics(rig.settings, ())
    register(rig.settings, ())
    config = written_configuration(rig.home / "config", _WATCH.format(folder=folder))
    apply_folder(rig.settings, config, lambda _: None)
    file = folder / "orders.csv"
    _write(file, rows)
    size = file.stat().st_size
    say(f"{rows:,} rows, {size / 2**20:,.0f} MiB")
    watched = _watch(rig, folder.parent / "ingest.json")
    [report] = msgspec.json.decode((folder.parent / "ingest.json").read_bytes())
    assert report["state"] == "done", report
    return Ingested(
        rows=rows,
        file_bytes=size,
        seconds=watched.seconds,
        rows_per_s=rows / watched.seconds,
        cores=watched.cpu_s / watched.seconds,
        peak_bytes=watched.peak_bytes,
        helpers_peak_bytes=watched.helpers_peak_bytes,
        missing=rows - _count(rig),
    )


@dataclass(slots=True)
class _Watched:
    """Time and memory that a command was seen to use."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    helpers_peak_bytes: int = 0

    def look(self, command: psutil.Process) -> None:
        """Look at the command and its helpers."""
        own = _measure_use(command)
        helpers = [_measure_use(one) for one in command.children()]
        self.cpu_s = max(self.cpu_s, own[0] + sum(one[0] for one in helpers))
        self.peak_bytes = max(self.peak_bytes, own[1])
        self.helpers_peak_bytes = max(self.helpers_peak_bytes, sum(one[1] for one in helpers))


def _watch(rig: Rig, output: Path) -> _Watched:
    """Run the command, its output to a file."""
    found = _Watched()
    with output.open("wb") as file:
        began = time.monotonic()
        command = rig.kairos("ingest", "--once", "--json")
        child = subprocess.Popen(command, env=rig.environment, stdout=file)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                found.look(process)
            except psutil.Error:
                continue
            time.sleep(_LOOK_S)
        found.seconds = time.monotonic() - began
    return found


def _measure_use(process: psutil.Process) -> tuple[float, int]:
    """Return seconds on the processor, with those of children that ended, and resident bytes."""
    times = process.cpu_times()
    own = times.user + times.system
    return own + times.children_user + times.children_system, process.memory_info().rss


def _write(file: Path, rows: int) -> None:
    with file.open("w") as text:
        text.write("customer,email,total,currency,quantity,store,at\n")
        text.writelines(map(_row, range(rows)))


def _row(number: int) -> str:
    who = number % _CUSTOMERS
    total = f"{number % 500}.{number % 90 + 10}"
    at = f"2026-{number % 10 + 1:02d}-{number % 28 + 1:02d} {number % 24:02d}:{number % 60:02d}:00"
    store = f"Madrid {number % 40}"
    return f"{who},c{who}@example.com,{total},EUR,{number % 5 + 1},{store},{at}\n"


def _count(rig: Rig) -> int:
    """Return how many records `interactions` has."""
    consumer = Consumer({**rig.settings.kafka(), "group.id": "kairos.bench.count"})
    try:
        return sum(
            consumer.get_watermark_offsets(place, timeout=_ASK_S)[1] for place in _places(rig)
        )
    finally:
        consumer.close()


def _places(rig: Rig) -> Iterator[TopicPartition]:
    for number in range(rig.partitions):
        yield TopicPartition(topics.INTERACTIONS, number)
