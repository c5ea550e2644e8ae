"""`kairos bench replay`: a topic to Parquet by `kairos replay`, in one run, and in two after a
kill.

The time is that of the whole command, its start included. The topic has interactions of 30 days in
the order of time; 10,000 different records are repeated, since the cost is in reading, decoding and
writing them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import msgspec
from confluent_kafka import Producer

from pipeline.adapters.avro import Codec
from pipeline.home.codec import open_codec, register
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from tests.benchmarks.command_use import watch
from tests.benchmarks.latency import Say
from tests.benchmarks.rig import Rig

_BEGIN_MS: Final = 1_767_225_600_000
_DAYS: Final = 30
_DISTINCT_RECORDS: Final = 10_000
_FLUSH_S: Final = 60.0
_POLL_INTERVAL: Final = 1_000


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """Figures of a replay. `peak_bytes`: resident, of the command. `again_s`: seconds of the second
    run, after the first was killed at about half; `missing`, `repeated`: offsets that the two runs
    left out or wrote twice."""

    records: int
    seconds: float
    records_per_s: float
    cores: float
    peak_bytes: int
    written_bytes: int
    killed: bool
    kept_by_killed: int
    again_s: float
    missing: int
    repeated: int


def measure(rig: Rig, records: int, say: Say) -> ReplayCost:
    """Fill `interactions` with `records` records, and replay it."""
    ensure_topics(rig.settings, ())
    register(rig.settings, ())
    _fill(rig, records)
    say(f"{records:,} records are in the topic")
    full_folder, cut_folder = rig.home / "full", rig.home / "cut"
    full_run = watch(rig, _command(full_folder), rig.home / "replay.json")
    _check(rig.home / "replay.json", records)
    say(f"replayed in {full_run.seconds:.1f} s")
    killed_run = watch(rig, _command(cut_folder), rig.home / "killed.json", full_run.seconds / 2)
    killed_rows = _count(cut_folder)[0]
    second_run = watch(rig, _command(cut_folder), rig.home / "again.json")
    rows, offsets = _count(cut_folder)
    return ReplayCost(
        records=records,
        seconds=full_run.seconds,
        records_per_s=records / full_run.seconds,
        cores=full_run.cpu_s / full_run.seconds,
        peak_bytes=full_run.peak_bytes,
        written_bytes=sum(file.stat().st_size for file in full_folder.glob("day=*/*.parquet")),
        killed=killed_run.was_killed,
        kept_by_killed=killed_rows,
        again_s=second_run.seconds,
        missing=records - offsets,
        repeated=rows - offsets,
    )


def _command(folder: Path) -> tuple[str, ...]:
    return ("replay", "--topic", topics.INTERACTIONS, "--out", str(folder), "--json")


def _check(output: Path, records: int) -> None:
    report = msgspec.json.decode(output.read_bytes())
    assert report["records"] == records, report
    assert report["unreadable"] == 0, report


def _count(folder: Path) -> tuple[int, int]:
    """Return the numbers of rows and of different offsets in the files of a replay."""
    if not any(folder.glob("day=*/*.parquet")):
        return 0, 0
    with duckdb.connect() as database:
        [counts] = database.execute(
            "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) "
            f"FROM '{folder}/day=*/*.parquet'"
        ).fetchall()
    return int(counts[0]), int(counts[1])


def _fill(rig: Rig, records: int) -> None:
    producer = Producer({**rig.settings.kafka(), "linger.ms": 50, "compression.type": "lz4"})
    codec = open_codec(rig.settings)
    for index, (key, value) in enumerate(_values(codec, records)):
        while True:
            try:
                producer.produce(topics.INTERACTIONS, value, key)
                break
            except BufferError:
                producer.poll(1.0)
        if index % _POLL_INTERVAL == 0:
            producer.poll(0)
    assert producer.flush(_FLUSH_S) == 0


def _values(codec: Codec, records: int) -> Iterator[tuple[bytes, bytes]]:
    total = 0
    for number in range(_DISTINCT_RECORDS):
        key, value = _record(codec, number)
        repeats = records * (number + 1) // _DISTINCT_RECORDS - total
        total += repeats
        for _ in range(repeats):
            yield key, value


def _record(codec: Codec, number: int) -> tuple[bytes, bytes]:
    occurred_at = _BEGIN_MS + number * _DAYS * DAY_MS // _DISTINCT_RECORDS
    identifier = Identifier("customer_id", f"c{number}")
    interaction = Interaction(
        event_id=f"event-{number}",
        kind="track",
        name="Product Viewed",
        channel="web",
        source="shop",
        occurred_at=occurred_at,
        received_at=occurred_at + 40,
        identifiers=(identifier, Identifier("anonymous_id", f"cookie-{number}")),
        properties={
            "product_id": f"sku-{number % 500}",
            "category": "shoes",
            "price": number % 90 + 0.5,
            "currency": "EUR",
            "position": number % 20,
            "in_stock": True,
        },
    )
    return identifier.key.encode(), codec.encode(topics.INTERACTIONS, interaction)
