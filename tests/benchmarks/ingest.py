"""`kairos bench ingest`: a file of many rows, from its folder to Kafka's acknowledgement.

The time is that of the whole command, its start included: copying, reading, checking, Avro, Kafka.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from pipeline.home.codec import register
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.stack.configure import apply_folder
from tests.benchmarks.command_use import watch
from tests.benchmarks.latency import Say
from tests.benchmarks.rig import Rig
from tests.support.ingest import write_configuration

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
_QUERY_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class IngestCost:
    """Cost of one file; `cores`: used by the command and its helpers; `peak_bytes`: resident memory
    of the command itself, `helpers_peak_bytes`: of its helpers together."""

    rows: int
    file_bytes: int
    seconds: float
    rows_per_s: float
    cores: float
    peak_bytes: int
    helpers_peak_bytes: int
    missing: int


def measure(rig: Rig, rows: int, say: Say) -> IngestCost:
    """Measure the ingest of one file of `rows` rows."""
    folder = rig.home / "inbox"
    folder.mkdir()
    ensure_topics(rig.settings, ())
    register(rig.settings, ())
    config = write_configuration(rig.home / "config", _WATCH.format(folder=folder))
    apply_folder(rig.settings, config, lambda _: None)
    file = folder / "orders.csv"
    _write(file, rows)
    size = file.stat().st_size
    say(f"{rows:,} rows, {size / 2**20:,.0f} MiB")
    output = rig.home / "ingest.json"
    watch_result = watch(rig, ("ingest", "--once", "--json"), output)
    [report] = msgspec.json.decode(output.read_bytes())
    assert report["state"] == "done", report
    return IngestCost(
        rows=rows,
        file_bytes=size,
        seconds=watch_result.seconds,
        rows_per_s=rows / watch_result.seconds,
        cores=watch_result.cpu_s / watch_result.seconds,
        peak_bytes=watch_result.peak_bytes,
        helpers_peak_bytes=watch_result.helpers_peak_bytes,
        missing=rows - _count(rig),
    )


def _write(file: Path, rows: int) -> None:
    with file.open("w") as output:
        output.write("customer,email,total,currency,quantity,store,at\n")
        output.writelines(map(_row, range(rows)))


def _row(number: int) -> str:
    customer = number % _CUSTOMERS
    total = f"{number % 500}.{number % 90 + 10}"
    time_text = (
        f"2026-{number % 10 + 1:02d}-{number % 28 + 1:02d} {number % 24:02d}:{number % 60:02d}:00"
    )
    store = f"Madrid {number % 40}"
    return f"{customer},c{customer}@example.com,{total},EUR,{number % 5 + 1},{store},{time_text}\n"


def _count(rig: Rig) -> int:
    """Return the number of records in `interactions`."""
    consumer = Consumer({**rig.settings.kafka(), "group.id": "kairos.bench.count"})
    try:
        return sum(
            consumer.get_watermark_offsets(partition, timeout=_QUERY_TIMEOUT_S)[1]
            for partition in _partitions(rig)
        )
    finally:
        consumer.close()


def _partitions(rig: Rig) -> Iterator[TopicPartition]:
    for number in range(rig.partitions):
        yield TopicPartition(topics.INTERACTIONS, number)
