"""Figures as tables for people, 80 characters wide."""

from collections.abc import Sequence

from pipeline.cli.console import out, print_table
from tests.benchmarks.apply import Applied
from tests.benchmarks.catalog import CatalogCost
from tests.benchmarks.decide import Answers
from tests.benchmarks.figures import Latency, Throughput, ratio
from tests.benchmarks.flow import Cost
from tests.benchmarks.ingest import Ingested
from tests.benchmarks.insights import AttributionCost
from tests.benchmarks.recovery import Recovery
from tests.benchmarks.replay import ReplayCost
from tests.benchmarks.snapshots import SnapshotAge
from tests.benchmarks.stages import Breakdown
from tests.benchmarks.state import State
from tests.benchmarks.timers import Lateness


def print_latency(figures: Sequence[Latency]) -> None:
    """Print a table per rate: a row per system, with its ratios to the floor at that rate, and how
    many repeats fell behind at it or earlier."""
    for rate in dict.fromkeys(one.rate for one in figures):
        at_rate = [one for one in figures if one.rate == rate]
        floor = next((one for one in at_rate if one.system == "floor"), None)
        print_table(
            f"{rate:,} events/s: intended sending to arrival, ms",
            (
                *("system", "p50", "p95", "p99", "max", "×p50", "×p99"),
                *("out/s", "cores", "×cores", "broker", ""),
            ),
            [_latency_row(one, floor) for one in at_rate],
        )


def _latency_row(one: Latency, floor: Latency | None) -> tuple[object, ...]:
    return (
        one.system,
        *(_ms(value) for value in (one.p50, one.p95, one.p99, one.max)),
        _times(ratio(one.p50, floor.p50 if floor else None)),
        _times(ratio(one.p99, floor.p99 if floor else None)),
        f"{one.out_per_s:,.0f}",
        f"{one.cores:.2f}",
        _times(ratio(one.cores, floor.cores if floor else None)),
        f"{one.cpu['broker']:.2f}",
        _note(one),
    )


def _note(one: Latency) -> str:
    if one.missing:
        return f"{one.missing:,} missing"
    return f"behind {one.behind}/{one.repeats}" if one.behind else ""


def print_catalog(figures: Sequence[CatalogCost]) -> None:
    """Print a row per size, without and with a model."""
    rows = [
        (
            f"{one.items:,}",
            f"{one.eligible:,}",
            "LightGBM" if one.model else "declared p",
            f"{one.p50:.3f}",
            f"{one.p99:.3f}",
            f"{one.predict_p50:.3f}",
            f"{one.recorded}",
        )
        for one in figures
    ]
    columns = ("items", "eligible", "p by", "p50", "p99", "of it p", "recorded")
    print_table("processor time of a decision, ms", columns, rows)


def print_snapshots(found: SnapshotAge) -> None:
    """Print a row per kind of age."""
    columns = ("age of a decision's snapshot, ms", "p50", "p99", "max")
    rows = [
        (name, *(_ms(value) for value in (age.p50, age.p99, age.max)))
        for name, age in (
            ("since it was published", found.since_published),
            ("since the newest evidence in it", found.since_evidence),
        )
    ]
    title = f"{found.rate:,} events/s, {found.decisions:,} decisions, {found.snapshots} snapshots"
    print_table(title, columns, rows)
    out.print(
        f"interaction to decision p50 {_ms(found.latency.p50)}, p99 {_ms(found.latency.p99)} ms; "
        f"learner on {found.learner_cores:.2f} cores; {found.missing:,} missing, "
        f"{found.early:,} before the first snapshot"
    )


def print_throughput(figures: Sequence[Throughput]) -> None:
    """Print a row per system, with its ratios to the floor and to stock Faust."""
    known = {one.system: one.per_s for one in figures}
    rows = [
        (
            one.system,
            f"{one.per_s:,.0f}",
            _times(ratio(one.per_s, known.get("floor"))),
            _times(ratio(one.per_s, known.get("faust"))),
            f"{one.cores:.2f}",
            f"{one.cpu['broker']:.2f}",
            f"{one.missing:,} missing" if one.missing else "",
        )
        for one in figures
    ]
    columns = ("system", "events/s", "×floor", "×Faust", "cores", "broker", "")
    print_table("Throughput: a backlog drained", columns, rows)


def print_stages(figures: Sequence[Breakdown]) -> None:
    """Print a table per system; time neither queued for a stage nor spent in it is the rest."""
    for one in figures:
        rows = [
            (
                share.stage,
                *(
                    f"{value:.2f}"
                    for value in (
                        share.queued_p50,
                        share.queued_p99,
                        share.spent_p50,
                        share.spent_p99,
                    )
                ),
            )
            for share in one.shares
        ]
        title = f"{one.system}, {one.rate:,} events/s: p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms"
        columns = ("stage", "queued p50", "queued p99", "spent p50", "spent p99")
        print_table(title, columns, rows)


def print_decide(figures: Sequence[Answers]) -> None:
    """Print a row per site."""
    rows = [
        (
            one.site if one.processes == 1 else f"{one.site}:{one.processes}",
            one.rate,
            *(_ms(value) for value in (one.p50, one.p95, one.p99, one.max)),
            _ms(one.empty_p50),
            _ms(one.empty_p99),
            f"{100 * one.defaulted / one.sent:.2f} %",
            one.failed,
        )
        for one in figures
    ]
    columns = (
        *("site", "requests/s", "p50", "p95", "p99", "max"),
        *("empty p50", "empty p99", "defaults", "failed"),
    )
    print_table("POST /v1/decide: intended sending to answer, ms", columns, rows)


def print_flow(figures: Sequence[Cost]) -> None:
    """Print a row per size of configuration."""
    rows = [
        (
            f"{one.size.segments}/{one.size.metrics}/{one.size.offers}",
            *(f"{value:.0f}" for value in one.steps.values()),
            f"{one.total:.0f}",
            f"{one.decode:.0f}",
            f"{one.encode:.0f}",
            f"{one.rows:.0f}",
        )
        for one in figures
    ]
    stages = tuple(figures[0].steps) if figures else ()
    columns = ("segments/metrics/offers", *stages, "steps", "decode", "encode", "rows")
    print_table("Pure flow: µs per interaction", columns, rows)


def print_ingest(one: Ingested) -> None:
    """Print one row."""
    mib = (one.file_bytes, one.peak_bytes, one.helpers_peak_bytes)
    row = (
        f"{one.rows:,}",
        f"{one.seconds:.1f}",
        f"{one.rows_per_s:,.0f}",
        f"{one.cores:.2f}",
        *(f"{size / 2**20:,.0f}" for size in mib),
        f"{one.missing:,}",
    )
    columns = ("rows", "s", "rows/s", "cores", "file MiB", "peak MiB", "helpers MiB", "missing")
    print_table("kairos ingest --once, from a folder to Kafka", columns, [row])


def print_replay(one: ReplayCost) -> None:
    """Print a row for the whole run, and one for the run that was killed."""
    whole = (
        f"{one.records:,}",
        f"{one.seconds:.1f}",
        f"{one.records_per_s:,.0f}",
        f"{one.cores:.2f}",
        f"{one.peak_bytes / 2**20:,.0f}",
        f"{one.written_bytes / 2**20:,.0f}",
    )
    columns = ("records", "s", "records/s", "cores", "peak MiB", "written MiB")
    print_table("kairos replay, from Kafka to Parquet", columns, [whole])
    killed = (one.kept_by_killed, f"{one.again_s:.1f}", one.missing, one.repeated)
    heads = ("records of the first run", "s of the second", "missing", "repeated")
    title = "Killed and run again" if one.killed else "Run again (it was done before the kill)"
    print_table(title, heads, [killed])


def print_insights(figures: AttributionCost) -> None:
    """Print one row, with the seconds of each part."""
    columns = ("touches", "journeys", "path counts", *figures.models, "total")
    parts = (figures.paths, *figures.models.values(), figures.total)
    row = (f"{figures.touches:,}", f"{figures.journeys:,}", *(f"{part:.2f}" for part in parts))
    print_table("From Parquet to credits: seconds", columns, [row])
    if (peer := figures.peer) is not None:
        print_table(
            "ChannelAttribution on the same paths: seconds",
            ("paths", *peer.seconds, "total", "difference of credit"),
            [
                (
                    f"{peer.paths:,}",
                    *(f"{part:.2f}" for part in peer.seconds.values()),
                    f"{sum(peer.seconds.values()):.2f}",
                    f"{peer.difference:.2%}",
                )
            ],
        )


def print_recovery(figures: Sequence[Recovery]) -> None:
    """Print a row per kind of loss."""
    rows = [
        (
            one.what,
            f"{one.ready_s:.1f}",
            f"{one.first_s:.1f}",
            ", ".join(f"{first:.1f}" for first in one.firsts),
            f"{one.late_s:.1f}",
            one.missing,
        )
        for one in figures
    ]
    columns = ("what", "there again", "first output", "each", "late until", "missing")
    print_table("Recovery: seconds after the kill; output by the last partition", columns, rows)


def print_state(one: State) -> None:
    """Print a row per stage, with its size."""
    rows = [
        (
            stage.stage,
            stage.rows,
            f"{stage.rows / one.profiles:.1f}",
            f"{stage.changelog_bytes / one.profiles:,.0f}",
            f"{stage.disk_bytes / 2**20:,.0f}",
        )
        for stage in one.stages
    ]
    columns = ("stage", "rows", "rows/profile", "bytes/profile", "MiB on disk")
    print_table(f"{one.profiles:,} profiles", columns, rows)
    total = sum(stage.rows for stage in one.stages)
    out.print(
        f"rebuilt in {one.rebuild_s:.1f} s ({total / one.rebuild_s:,.0f} rows/s, start included), "
        f"started with its state in {one.start_s:.1f} s; worker {one.resident_bytes / 2**20:,.0f} "
        f"MiB, at most {one.peak_bytes / 2**20:,.0f} MiB; interaction to action at 100/s: "
        f"p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms"
    )


def print_timers(figures: Sequence[Lateness]) -> None:
    """Print a row per part of the run and kind of record."""
    rows = [
        (
            one.part,
            one.what,
            one.people,
            *(_ms(value) for value in (one.p50, one.p99, one.max)),
            one.missing,
        )
        for one in figures
    ]
    columns = ("due while", "what", "people", "p50", "p99", "max", "missing")
    print_table("What time alone causes: ms from when it fell due", columns, rows)
    out.print("what was due while the worker was dead: from when it was there again")


def print_apply(one: Applied) -> None:
    """Print a row per phase, and the effect of the change."""
    rows = [
        (phase.phase, phase.events, *(_ms(value) for value in (phase.p50, phase.p99, phase.max)))
        for phase in one.phases
    ]
    title = f"A configuration applied to {one.profiles:,} profiles: interaction to action, ms"
    print_table(title, ("", "events", "p50", "p99", "max"), rows)
    out.print(
        f"applied in {one.apply_s:.1f} s: {one.filled:,} parts of profiles filled, "
        f"{one.evaluated:,} profiles evaluated ({one.profiles_per_s:,.0f}/s); "
        f"{one.missing} without their action"
    )


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.1f}"


def _times(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
