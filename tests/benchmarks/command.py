"""The subcommands of `kairos bench`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pipeline.cli.console import JsonOption, err, out, print_json
from tests.benchmarks import apply as apply_costs
from tests.benchmarks import catalog as catalogs
from tests.benchmarks import decide as decisions
from tests.benchmarks import flow as flows
from tests.benchmarks import ingest as ingest_costs
from tests.benchmarks import insights as attribution_costs
from tests.benchmarks import latency as latencies
from tests.benchmarks import recovery as recoveries
from tests.benchmarks import replay as replay_costs
from tests.benchmarks import report
from tests.benchmarks import snapshots as snapshot_ages
from tests.benchmarks import stages as breakdowns
from tests.benchmarks import state as states
from tests.benchmarks import throughput as throughputs
from tests.benchmarks import timers as timer_delays
from tests.benchmarks.machine import this_machine
from tests.benchmarks.rig import open_rig
from tests.benchmarks.systems import DESCRIPTIONS, SystemChoice

T = TypeVar("T")

app = typer.Typer()

_ALL = "floor,faust,quix,trivial,trivial:4,demo,demo:4,large,large:4"

SystemsOption = Annotated[
    str,
    typer.Option(
        help="Systems, separated by commas; `:4` for four processes. "
        + "; ".join(f"{name}: {meaning}" for name, meaning in DESCRIPTIONS.items())
    ),
]
PartitionsOption = Annotated[int, typer.Option(min=1, help="Partitions of every topic.")]
RepeatsOption = Annotated[
    int, typer.Option(min=1, help="Number of measurements; their medians are reported.")
]
SecondsOption = Annotated[float, typer.Option(min=1, help="Seconds of each measurement.")]


@app.command()
def latency(
    systems: SystemsOption = _ALL,
    rates: Annotated[
        str, typer.Option(help="Events per second, ascending, separated by commas.")
    ] = "100,300,600,1000",
    seconds: SecondsOption = 10.0,
    repeats: RepeatsOption = 3,
    partitions: PartitionsOption = 1,
    json: JsonOption = False,
) -> None:
    """Measure open-loop latency of systems side by side; for Kairos, interaction to action."""
    plan = latencies.LatencyPlan(_choices(systems), _numbers(rates), seconds, repeats)
    with open_rig(partitions) as rig:
        figures = latencies.measure(rig, plan, _say)
    method = f"medians of {repeats} × {seconds:g} s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "seconds": seconds, "repeats": repeats}
    _show(json, ("latency", figures, report.print_latency), method, parameters)


@app.command()
def throughput(
    systems: SystemsOption = _ALL,
    records: Annotated[int, typer.Option(min=100, help="Records in the backlog.")] = 10_000,
    repeats: RepeatsOption = 3,
    partitions: PartitionsOption = 1,
    json: JsonOption = False,
) -> None:
    """Measure the records per second that each system processes from a backlog."""
    plan = throughputs.ThroughputPlan(_choices(systems), records, repeats)
    with open_rig(partitions) as rig:
        figures = throughputs.measure(rig, plan, _say)
    method = f"medians of {repeats} × {records:,} records, {partitions} partition(s)"
    parameters = {"partitions": partitions, "records": records, "repeats": repeats}
    _show(json, ("throughput", figures, report.print_throughput), method, parameters)


@app.command()
def stages(
    systems: SystemsOption = "demo,large",
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 300,
    seconds: SecondsOption = 10.0,
    partitions: PartitionsOption = 1,
    json: JsonOption = False,
) -> None:
    """Measure the time that an interaction waits for each stage, and the stage's own time."""
    with open_rig(partitions) as rig:
        figures = breakdowns.measure(rig, _choices(systems), (rate, seconds), _say)
    method = f"{seconds:g} s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "seconds": seconds}
    _show(json, ("stages", figures, report.print_stages), method, parameters)


@app.command()
def decide(
    systems: Annotated[
        str, typer.Option(help="System: demo or large; `:4` for four processes.")
    ] = "demo",
    rate: Annotated[int, typer.Option(min=1, help="Requests per second.")] = 100,
    seconds: SecondsOption = 20.0,
    repeats: RepeatsOption = 3,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure POST /v1/decide from request to answer, through gateway and all agents."""
    plans = [
        decisions.DecidePlan(choice.name, choice.processes, rate, seconds, repeats)
        for choice in _choices(systems)
    ]
    figures = []
    for plan in plans:
        with open_rig(partitions) as rig:
            figures.append(decisions.measure(rig, plan, _say))
    method = f"medians of {repeats} × {seconds:g} s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "seconds": seconds, "repeats": repeats}
    _show(json, ("decide", figures, report.print_decide), method, parameters)


@app.command()
def flow(
    sizes: Annotated[
        str,
        typer.Option(
            help="Sizes of configurations as segments/metrics/offers, separated by commas."
        ),
    ] = "50/20/50,100/20/50,500/20/50,50/200/50,100/200/50,500/200/50",
    rounds: Annotated[
        int, typer.Option(min=1, help="Number of rounds of 1,000 interactions.")
    ] = 15,
    json: JsonOption = False,
) -> None:
    """Measure the cost of an interaction in the pure flow, without Kafka and RocksDB."""
    figures = flows.measure(_sizes(sizes), rounds, _say)
    method = f"medians of {rounds} rounds"
    parameters = {"rounds": rounds}
    _show(json, ("flow", figures, report.print_flow), method, parameters)


@app.command()
def catalog(
    sizes: Annotated[
        str, typer.Option(help="Sizes of catalogues as items/eligible, separated by commas.")
    ] = "50/50,2500/200",
    count: Annotated[
        int, typer.Option("--decisions", min=100, help="Decisions of each size.")
    ] = 2_000,
    json: JsonOption = False,
) -> None:
    """Measure the processor time of a decision with a catalogue, without and with a LightGBM
    model."""
    catalog_sizes = [catalogs.CatalogSize(*size) for size in _pairs(sizes)]
    figures = catalogs.measure(catalog_sizes, count, _say)
    parameters = {"decisions": count}
    method = f"{count:,} decisions each"
    _show(json, ("catalog", figures, report.print_catalog), method, parameters)


@app.command()
def snapshots(
    rate: Annotated[
        int,
        typer.Option(
            min=1, help="Events per second; if the agents fall behind, lower rates follow."
        ),
    ] = 600,
    campaigns: Annotated[
        str,
        typer.Option(
            help="Campaigns of each configuration, 1 to 10, separated by commas; each event "
            "triggers all of them."
        ),
    ] = "2",
    seconds: SecondsOption = 15.0,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure the age of the learner's snapshots that decisions use; if the agents fall behind at
    the rate, report that and measure a lower one."""
    figures = []
    for size in _numbers(campaigns):
        for slower_rate in (rate, rate * 2 // 3, rate // 2, rate // 3):
            with open_rig(partitions) as rig:
                figures.append(
                    snapshot_ages.measure(rig, size, (max(slower_rate, 1), seconds), _say)
                )
            if not figures[-1].is_behind:
                break
    method = f"{seconds:g} s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "rate": rate, "seconds": seconds}
    _show(json, ("snapshots", figures, report.print_snapshots), method, parameters)


@app.command()
def recovery(
    rate: Annotated[int, typer.Option(min=1, help="Events per second during recovery.")] = 100,
    repeats: RepeatsOption = 3,
    profiles: Annotated[int, typer.Option(min=1, help="Profiles to rebuild.")] = 10_000,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure the time from a kill of worker or broker, or loss of state, to output by all
    partitions."""
    plan = recoveries.RecoveryPlan(rate, repeats, profiles)
    with open_rig(partitions) as rig:
        figures = recoveries.measure(rig, plan, _say)
    method = f"medians of {repeats}, {rate} events/s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "rate": rate, "repeats": repeats}
    _show(json, ("recovery", figures, report.print_recovery), method, parameters)


@app.command()
def state(
    system: Annotated[str, typer.Option(help="System: demo or large.")] = "demo",
    profiles: Annotated[int, typer.Option(min=100, help="Number of profiles.")] = 100_000,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure many profiles: size on disk, memory of the worker, time to rebuild the state."""
    [choice] = _choices(system)
    with open_rig(partitions) as rig:
        figures = states.measure(rig, choice, profiles, _say)
    method = f"{choice}, {partitions} partition(s)"
    parameters = {"partitions": partitions}
    _show(json, ("state", figures, report.print_state), method, parameters)


@app.command()
def timers(
    people: Annotated[int, typer.Option(min=10, help="People who fall due in each round.")] = 300,
    seconds: SecondsOption = 10.0,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure how late timers fire, also those that fell due while the worker was dead."""
    with open_rig(partitions) as rig:
        figures = timer_delays.measure(rig, people, seconds, _say)
    method = f"{people:,} people over {seconds:g} s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "people": people, "seconds": seconds}
    _show(json, ("timers", figures, report.print_timers), method, parameters)


@app.command()
def apply(
    profiles: Annotated[int, typer.Option(min=100, help="Number of profiles.")] = 20_000,
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 100,
    seconds: SecondsOption = 15.0,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure latency before, during and after a `config apply` that affects every profile."""
    plan = apply_costs.ApplyPlan(profiles, rate, seconds)
    with open_rig(partitions) as rig:
        figures = apply_costs.measure(rig, plan, _say)
    method = f"{rate} events/s, {partitions} partition(s)"
    parameters = {"partitions": partitions, "rate": rate}
    _show(json, ("apply", figures, report.print_apply), method, parameters)


@app.command()
def ingest(
    rows: Annotated[int, typer.Option(min=100, help="Rows of the file.")] = 1_000_000,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure `kairos ingest --once` of a CSV file: rows per second, memory."""
    with open_rig(partitions) as rig:
        figures = ingest_costs.measure(rig, rows, _say)
    method = f"{rows:,} rows, {partitions} partition(s)"
    parameters = {"partitions": partitions, "rows": rows}
    _show(json, ("ingest", figures, report.print_ingest), method, parameters)


@app.command()
def replay(
    records: Annotated[int, typer.Option(min=1_000, help="Records of the topic.")] = 1_000_000,
    partitions: PartitionsOption = 4,
    json: JsonOption = False,
) -> None:
    """Measure `kairos replay` of a topic to Parquet, also killed and run again: records per second,
    memory."""
    with open_rig(partitions) as rig:
        figures = replay_costs.measure(rig, records, _say)
    method = f"{records:,} records, {partitions} partition(s)"
    parameters = {"partitions": partitions, "records": records}
    _show(json, ("replay", figures, report.print_replay), method, parameters)


@app.command()
def insights(
    journeys: Annotated[
        int, typer.Option(min=100, help="Number of journeys of 4 touches.")
    ] = 1_800_000,
    threads: Annotated[int, typer.Option(min=1, help="Threads of DuckDB.")] = 2,
    repeats: RepeatsOption = 3,
    peer: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON",
            help="Python interpreter with the package ChannelAttribution, to measure it too.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure attribution from touches in Parquet to credits by Markov order 1 and four
    heuristics."""
    figures = attribution_costs.measure((journeys, threads), repeats, peer, _say)
    method = f"medians of {repeats}, {threads} thread(s)"
    parameters = {"journeys": journeys, "threads": threads, "repeats": repeats}
    _show(json, ("insights", figures, report.print_insights), method, parameters)


def _show(
    json: bool,
    measurement: tuple[str, T, Callable[[T], None]],
    method: str,
    parameters: Mapping[str, float],
) -> None:
    """Print the figures of `measurement` (name, figures, function that prints a table): as JSON
    with the `parameters`, or as a table with the `method` below."""
    name, figures, print_figures = measurement
    if json:
        print_json({"machine": this_machine(), "plan": parameters, name: figures})
    else:
        print_figures(figures)
        out.print(f"{method}; {this_machine()}")


def _choices(systems: str) -> list[SystemChoice]:
    try:
        return [SystemChoice.parse(name.strip()) for name in systems.split(",")]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _numbers(rates: str) -> list[int]:
    try:
        return sorted(int(rate) for rate in rates.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{rates!r}: give numbers, such as 100,300") from error


def _sizes(sizes: str) -> list[flows.Size]:
    try:
        return [flows.Size(*map(int, size.split("/"))) for size in sizes.split(",")]
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"{sizes!r}: give sizes, such as 100/20/50") from error


def _pairs(sizes: str) -> list[tuple[int, int]]:
    try:
        split = [part.split("/") for part in sizes.split(",")]
        return [(int(items), int(eligible)) for items, eligible in split]
    except ValueError as error:
        raise typer.BadParameter(f"{sizes!r}: give sizes, such as 2500/200") from error


def _say(line: str) -> None:
    err.print(f"  {line}", markup=False)
