"""Printed tables of figures, 80 characters wide."""

from collections.abc import Sequence

from pipeline.cli.console import out, print_table
from tests.benchmarks.apply import ApplyCost
from tests.benchmarks.catalog import CatalogCost
from tests.benchmarks.decide import Answers
from tests.benchmarks.figures import RateLatency, Throughput, ratio
from tests.benchmarks.flow import Cost
from tests.benchmarks.ingest import IngestCost
from tests.benchmarks.insights import AttributionCost
from tests.benchmarks.recovery import Recovery
from tests.benchmarks.replay import ReplayCost
from tests.benchmarks.snapshots import SnapshotAge
from tests.benchmarks.stages import Breakdown
from tests.benchmarks.state import StateCost
from tests.benchmarks.timers import Lateness


def print_latency(figures: Sequence[RateLatency]) -> None:
    """Print a table per rate: a row per system, with its ratios to the floor at that rate, and
    the number of repeats that fell behind at it or earlier."""
    for rate in dict.fromkeys(figure.rate for figure in figures):
        rate_figures = [figure for figure in figures if figure.rate == rate]
        floor = next((latency for latency in rate_figures if latency.system == "floor"), None)
        print_table(
            f"{rate:,} events/s: intended sending to arrival, ms",
            (
                *("system", "p50", "p95", "p99", "max", "×p50", "×p99"),
                *("out/s", "cores", "×cores", "broker", ""),
            ),
            [_latency_row(latency, floor) for latency in rate_figures],
        )


def _latency_row(latency: RateLatency, floor: RateLatency | None) -> tuple[object, ...]:
    return (
        latency.system,
        *(_format_ms(value) for value in (latency.p50, latency.p95, latency.p99, latency.max)),
        _format_ratio(ratio(latency.p50, floor.p50 if floor else None)),
        _format_ratio(ratio(latency.p99, floor.p99 if floor else None)),
        f"{latency.out_per_s:,.0f}",
        f"{latency.cores:.2f}",
        _format_ratio(ratio(latency.cores, floor.cores if floor else None)),
        f"{latency.cpu['broker']:.2f}",
        _note(latency),
    )


def _note(latency: RateLatency) -> str:
    if latency.missing:
        return f"{latency.missing:,} missing"
    return f"behind {latency.behind_count}/{latency.repeats}" if latency.behind_count else ""


def print_catalog(figures: Sequence[CatalogCost]) -> None:
    """Print a row per size, without and with a model."""
    rows = [
        (
            f"{figure.items:,}",
            f"{figure.eligible:,}",
            "LightGBM" if figure.model else "declared p",
            f"{figure.p50:.3f}",
            f"{figure.p99:.3f}",
            f"{figure.predict_p50:.3f}",
            f"{figure.recorded}",
        )
        for figure in figures
    ]
    columns = ("items", "eligible", "p by", "p50", "p99", "model p50", "recorded")
    print_table("processor time of a decision, ms", columns, rows)


def print_snapshots(figures: Sequence[SnapshotAge]) -> None:
    """Print the ages by each configuration."""
    for age in figures:
        _print_snapshot_age(age)


def _print_snapshot_age(ages: SnapshotAge) -> None:
    """Print a row per kind of age, and whether the agents kept pace."""
    columns = ("age of a decision's snapshot, ms", "p50", "p99", "max")
    rows = [
        (name, *(_format_ms(value) for value in (age.p50, age.p99, age.max)))
        for name, age in (
            ("since it was published", ages.since_published),
            ("since the newest evidence in it", ages.since_evidence),
        )
    ]
    title = (
        f"{ages.campaigns} campaigns, {ages.rate:,} events/s, {ages.decisions:,} decisions, "
        f"{ages.snapshots} snapshots"
    )
    print_table(title, columns, rows)
    if ages.is_behind:
        out.print("This machine falls behind at this rate: the ages are those of a backlog.")
    else:
        out.print("The agents keep pace with this rate.")
    out.print(
        f"interaction to decision p50 {_format_ms(ages.latency.p50)}, "
        f"p99 {_format_ms(ages.latency.p99)} ms; "
        f"learner on {ages.learner_cores:.2f} cores; {ages.missing:,} missing, "
        f"{ages.early:,} before the first snapshot"
    )


def print_throughput(figures: Sequence[Throughput]) -> None:
    """Print a row per system, with its ratios to the floor and to stock Faust."""
    rates = {figure.system: figure.per_s for figure in figures}
    rows = [
        (
            figure.system,
            f"{figure.per_s:,.0f}",
            _format_ratio(ratio(figure.per_s, rates.get("floor"))),
            _format_ratio(ratio(figure.per_s, rates.get("faust"))),
            f"{figure.cores:.2f}",
            f"{figure.cpu['broker']:.2f}",
            f"{figure.missing:,} missing" if figure.missing else "",
        )
        for figure in figures
    ]
    columns = ("system", "events/s", "×floor", "×Faust", "cores", "broker", "")
    print_table("Throughput: a backlog drained", columns, rows)


def print_stages(figures: Sequence[Breakdown]) -> None:
    """Print a table per system; the remaining time is spent on the way between stages."""
    for figure in figures:
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
            for share in figure.shares
        ]
        title = (
            f"{figure.system}, {figure.rate:,} events/s: "
            f"p50 {figure.p50:.1f} ms, p99 {figure.p99:.1f} ms"
        )
        columns = ("stage", "queued p50", "queued p99", "spent p50", "spent p99")
        print_table(title, columns, rows)


def print_decide(figures: Sequence[Answers]) -> None:
    """Print a row per site."""
    rows = [
        (
            figure.site if figure.processes == 1 else f"{figure.site}:{figure.processes}",
            figure.rate,
            *(_format_ms(value) for value in (figure.p50, figure.p95, figure.p99, figure.max)),
            _format_ms(figure.empty_p50),
            _format_ms(figure.empty_p99),
            f"{100 * figure.defaulted / figure.sent:.2f} %",
            figure.failed,
        )
        for figure in figures
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
            f"{figure.size.segments}/{figure.size.metrics}/{figure.size.offers}",
            *(f"{value:.0f}" for value in figure.steps.values()),
            f"{figure.total:.0f}",
            f"{figure.decode:.0f}",
            f"{figure.encode:.0f}",
            f"{figure.rows:.0f}",
        )
        for figure in figures
    ]
    stages = tuple(figures[0].steps) if figures else ()
    columns = ("segments/metrics/offers", *stages, "steps", "decode", "encode", "rows")
    print_table("Pure flow: µs per interaction", columns, rows)


def print_ingest(cost: IngestCost) -> None:
    """Print one row."""
    sizes = (cost.file_bytes, cost.peak_bytes, cost.helpers_peak_bytes)
    row = (
        f"{cost.rows:,}",
        f"{cost.seconds:.1f}",
        f"{cost.rows_per_s:,.0f}",
        f"{cost.cores:.2f}",
        *(f"{size / 2**20:,.0f}" for size in sizes),
        f"{cost.missing:,}",
    )
    columns = ("rows", "s", "rows/s", "cores", "file MiB", "peak MiB", "helpers MiB", "missing")
    print_table("kairos ingest --once, from a folder to Kafka", columns, [row])


def print_replay(replay_cost: ReplayCost) -> None:
    """Print a row for the whole run, and one for the run that was killed."""
    first_row = (
        f"{replay_cost.records:,}",
        f"{replay_cost.seconds:.1f}",
        f"{replay_cost.records_per_s:,.0f}",
        f"{replay_cost.cores:.2f}",
        f"{replay_cost.peak_bytes / 2**20:,.0f}",
        f"{replay_cost.written_bytes / 2**20:,.0f}",
    )
    columns = ("records", "s", "records/s", "cores", "peak MiB", "written MiB")
    print_table("kairos replay, from Kafka to Parquet", columns, [first_row])
    second_row = (
        replay_cost.kept_by_killed,
        f"{replay_cost.again_s:.1f}",
        replay_cost.missing,
        replay_cost.repeated,
    )
    columns = ("records of the first run", "s of the second", "missing", "repeated")
    title = (
        "Killed and run again"
        if replay_cost.killed
        else "Run again (the first run ended before the kill)"
    )
    print_table(title, columns, [second_row])


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
            figure.loss,
            f"{figure.ready_s:.1f}",
            f"{figure.first_s:.1f}",
            ", ".join(f"{first:.1f}" for first in figure.firsts),
            f"{figure.late_s:.1f}",
            figure.missing,
        )
        for figure in figures
    ]
    columns = ("what", "ready", "first output", "each", "late until", "missing")
    print_table("Recovery: seconds after the kill; output by the last partition", columns, rows)


def print_state(state: StateCost) -> None:
    """Print a row per stage, with its size."""
    rows = [
        (
            stage.stage,
            stage.rows,
            f"{stage.rows / state.profiles:.1f}",
            f"{stage.changelog_bytes / state.profiles:,.0f}",
            f"{stage.disk_bytes / 2**20:,.0f}",
        )
        for stage in state.stages
    ]
    columns = ("stage", "rows", "rows/profile", "bytes/profile", "MiB on disk")
    print_table(f"{state.profiles:,} profiles", columns, rows)
    total = sum(stage.rows for stage in state.stages)
    out.print(
        f"rebuilt in {state.rebuild_s:.1f} s ({total / state.rebuild_s:,.0f} rows/s, start "
        f"included), started with its state in {state.start_s:.1f} s; "
        f"worker {state.resident_bytes / 2**20:,.0f} MiB, "
        f"at most {state.peak_bytes / 2**20:,.0f} MiB; interaction to action at 100/s: "
        f"p50 {state.p50:.1f} ms, p99 {state.p99:.1f} ms"
    )


def print_timers(figures: Sequence[Lateness]) -> None:
    """Print a row per part of the run and kind of record."""
    rows = [
        (
            figure.part,
            figure.record_kind,
            figure.people,
            *(_format_ms(value) for value in (figure.p50, figure.p99, figure.max)),
            figure.missing,
        )
        for figure in figures
    ]
    columns = ("due while", "what", "people", "p50", "p99", "max", "missing")
    print_table("Effects of time alone: ms from the due moment", columns, rows)
    out.print("timers due while the worker was dead count from its return")


def print_apply(cost: ApplyCost) -> None:
    """Print a row per phase, and the effect of the change."""
    rows = [
        (
            phase.phase,
            phase.events,
            *(_format_ms(value) for value in (phase.p50, phase.p99, phase.max)),
        )
        for phase in cost.phases
    ]
    title = f"A configuration applied to {cost.profiles:,} profiles: interaction to action, ms"
    print_table(title, ("", "events", "p50", "p99", "max"), rows)
    out.print(
        f"applied in {cost.apply_s:.1f} s: {cost.filled:,} parts of profiles filled, "
        f"{cost.evaluated:,} profiles evaluated ({cost.profiles_per_s:,.0f}/s); "
        f"{cost.missing} without their action"
    )


def _format_ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.1f}"


def _format_ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
