"""`kairos bench insights`: from a table of touches in Parquet to credits, on this machine.

DuckDB makes the table from a seed: journeys of some 4 touches on 10 channels; one journey in eight
converts; customers have 1.2 journeys on average. If a Python with ChannelAttribution is given, that
package gets the distinct paths of the same table as CSV, in the same run.
"""

import csv
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from pipeline.insights.attribution import ModelOptions, attribute
from pipeline.insights.engines import open_duckdb
from pipeline.insights.paths import PathCounts
from pipeline.insights.tables import Engine
from pipeline.insights.touches import TouchOptions, read_touches

MODELS: Final = ("markov", "first", "last", "linear", "position")
_TOUCHES_PER_JOURNEY: Final = 4.17
_JOURNEYS_PER_CUSTOMER: Final = 1.2
_DAY_MS: Final = 86_400_000
_BEGIN_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class AttributionCost:
    """Cost in seconds, medians over repeats: `paths` from Parquet to path counts, `models` by
    name."""

    touches: int
    journeys: int
    paths: float
    models: dict[str, float]
    peer: "PeerCost | None" = None

    @property
    def total(self) -> float:
        return self.paths + sum(self.models.values())


@dataclass(frozen=True, slots=True)
class PeerCost:
    """Cost of ChannelAttribution on the distinct paths (s, medians over repeats): reading them, its
    three heuristics at once, its Markov model. `difference`: the greatest distance between a
    channel's conversions by its sampled Markov model and by the exact one, as a share of all."""

    paths: int
    seconds: dict[str, float]
    difference: float


def measure(
    size: tuple[int, int], repeats: int, peer: Path | None, say: Callable[[str], None]
) -> AttributionCost:
    """Make the table once, read and credit it `repeats` times. `size`: journeys and threads;
    `peer`: a Python that has ChannelAttribution."""
    journeys, threads = size
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as folder:
        file = Path(folder) / "touches.parquet"
        say(f"making {journeys:,} journeys")
        touches = _make_touches(file, journeys, threads)
        runs = []
        for repeat in range(repeats):
            runs.append(_run(file, threads))
            say(f"run {repeat + 1} of {repeats}: {sum(runs[-1].values()):.1f} s")
        peer_cost = _measure_peer(file, (threads, repeats), peer, say) if peer else None
    medians = {name: median(run[name] for run in runs) for name in runs[0]}
    paths = medians.pop("paths")
    return AttributionCost(touches, journeys, paths, medians, peer_cost)


def _measure_peer(
    file: Path, size: tuple[int, int], python: Path, say: Callable[[str], None]
) -> PeerCost:
    threads, repeats = size
    paths = _paths(file, threads)
    table = file.with_suffix(".csv")
    _write_paths(paths, table)
    script = Path(__file__).with_name("channel_attribution.py")
    runs = []
    for repeat in range(repeats):
        result = subprocess.run(
            [python, script, table, str(threads)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(result.stdout.splitlines()[-1]))
        say(f"ChannelAttribution, run {repeat + 1}: {sum(runs[-1]['seconds'].values()):.1f} s")
    seconds = {name: median(run["seconds"][name] for run in runs) for name in runs[0]["seconds"]}
    attribution = attribute("markov", ModelOptions(), paths)
    peer_conversions = runs[0]["conversions"]
    differences = [
        abs(channel.conversions - peer_conversions[channel.channel])
        for channel in attribution.channels
        if channel.channel in peer_conversions
    ]
    assert len(differences) == len(peer_conversions), peer_conversions.keys()
    return PeerCost(len(paths.conversions), seconds, max(differences) / attribution.conversions)


def _write_paths(paths: PathCounts, table: Path) -> None:
    """Write the paths that have a touch in the form that ChannelAttribution reads."""
    with table.open("w", newline="") as output:
        rows = csv.writer(output)
        rows.writerow(("path", "conversions", "value", "nulls"))
        for index in range(len(paths.conversions)):
            codes = paths.codes[paths.offsets[index] : paths.offsets[index + 1]]
            if len(codes):
                path = " > ".join(paths.channels[code] for code in codes)
                counts = (paths.conversions[index], paths.values[index], paths.nulls[index])
                rows.writerow((path, *counts))


def _run(file: Path, threads: int) -> dict[str, float]:
    seconds = {}
    begin_s = time.perf_counter()
    paths = _paths(file, threads)
    seconds["paths"] = time.perf_counter() - begin_s
    for model in MODELS:
        begin_s = time.perf_counter()
        attribute(model, ModelOptions(), paths)
        seconds[model] = time.perf_counter() - begin_s
    return seconds


def _paths(file: Path, threads: int) -> PathCounts:
    with open_duckdb(Engine(threads=threads)) as queries:
        return read_touches(queries, file, TouchOptions()).path_counts()


def _make_touches(file: Path, journeys: int, threads: int) -> int:
    """Write journeys of geometric lengths, made from row numbers; return the number of touches."""
    customers = round(journeys / _JOURNEYS_PER_CUSTOMER)
    with open_duckdb(Engine(threads=threads)) as queries:
        queries.connection.execute(
            f"""
            CREATE TEMP TABLE journeys AS
            SELECT i, md5((hash(i, 1) % {customers})::VARCHAR) AS profile_id,
                1 + floor(ln(1 - {_unit_interval_sql(2)}) / ln(1 - 1 / {_TOUCHES_PER_JOURNEY}))::INT
                    AS touches,
                {_BEGIN_MS} + (hash(i, 3) % {300 * _DAY_MS})::BIGINT AS begins,
                hash(i, 4) % 8 = 0 AS converts
            FROM range({journeys}) AS t(i)
            """
        )
        queries.connection.execute(
            f"""
            COPY (
                SELECT profile_id, make_timestamp(1000 * (begins + step * {_DAY_MS // 2}
                        + (hash(i, step) % {_DAY_MS // 2})::BIGINT))::TIMESTAMPTZ AS occurred_at,
                    CASE WHEN step < touches THEN 'touch' ELSE 'conversion' END AS kind,
                    'channel ' || (hash(i, step, 5) % 100)::INT // 10 AS channel,
                    CASE WHEN step < touches THEN 0.0 ELSE (hash(i, 6) % 10_000) / 100 END AS value
                FROM (
                    SELECT *, unnest(range(touches + converts::INT)) AS step FROM journeys
                )
            ) TO '{file}' (FORMAT parquet)
            """
        )
        return int(queries.rows("SELECT sum(touches)::BIGINT FROM journeys")[0][0])


def _unit_interval_sql(salt: int) -> str:
    """Return SQL for a number in [0, 1)."""
    return f"(hash(i, {salt}) % 1_000_000) / 1_000_000"
