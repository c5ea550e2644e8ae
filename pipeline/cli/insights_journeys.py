"""`kairos insights journeys`: actual paths, and how they compare with a defined journey."""

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import typer

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.insights_options import (
    EngineOption,
    MemoryOption,
    SpillOption,
    TimezoneOption,
    UntilOption,
    duration,
    load_plan,
    open_engine,
)
from pipeline.cli.plain import plain
from pipeline.cli.times import optional_ms
from pipeline.insights.associations import Association
from pipeline.insights.conformance import Conformance, conformance
from pipeline.insights.defined import follow_cases
from pipeline.insights.discovery import Discovery, DiscoveryOptions, discover
from pipeline.insights.events import EventLog, EventOptions, read_events
from pipeline.insights.journey_details import Comparison, JourneyDetails, journey_details
from pipeline.insights.survival import BoundedEstimate, ConversionCurve

_MAX_ROWS: Final = 20
_ARROW: Final = " > "
_NO_STEP: Final = "(no step)"
_DAY_MS: Final = 86_400_000


_EventsOption: TypeAlias = Annotated[
    Path,
    typer.Option(help="Events (CSV, Parquet, NDJSON): case_id, occurred_at, name, channel."),
]
_DefinedOption: TypeAlias = Annotated[
    Path | None, typer.Option("--defined", help="YAML file of the planned journey.")
]
_DetailsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--details",
        help="With --defined: also deviations, flows, time to convert, plan against actual, "
        "and the steps associated with conversion and drop-off.",
    ),
]
_EarlyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--early",
        help="Time from the beginning of a case whose steps are tested for association with "
        "conversion. Default: a tenth of the goal's window.",
    ),
]
_GoalOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Name of the goal event, without --defined.")
]
_WindowOption: TypeAlias = Annotated[
    str, typer.Option(help="Time for which a journey is followed, without --defined.")
]
_GapOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Pause that ends a journey, without --defined.")
]
_StepsOption: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Maximum number of events in a path, without --defined.")
]


def journeys(  # noqa: PLR0913 - a command's options
    events: _EventsOption,
    plan_file: _DefinedOption = None,
    details: _DetailsOption = False,
    early_time: _EarlyOption = None,
    goal: _GoalOption = None,
    window: _WindowOption = "30d",
    gap: _GapOption = None,
    steps: _StepsOption = 5,
    until: UntilOption = None,
    timezone: TimezoneOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    spill: SpillOption = None,
    json: JsonOption = False,
) -> None:
    """Show the paths of cases, or their fit to a defined journey.

    Unfinished journeys, whose window is not over when the table ends, are censored, not failed.
    """
    journey = None if plan_file is None else load_plan(plan_file)
    if journey is None and (details or early_time):
        raise typer.BadParameter("--details and --early are about a journey: give --defined FILE")
    table = EventOptions(optional_ms(until), timezone)
    options = DiscoveryOptions(goal, duration(window), duration(gap) if gap else 0, steps)
    early_ms = duration(early_time) if early_time else None
    with open_engine(engine, memory, spill) as queries:
        log = read_events(queries, events, table)
        if journey is None or plan_file is None:
            _show_discovery(discover(log, options), log, options, json)
            return
        comparison = follow_cases(log, journey, plan_file)
        result = conformance(comparison)
        journey_parts = journey_details(comparison, early_ms) if details else None
    for words in comparison.unseen:
        err.print(plain(f"{plan_file}: {words}"), soft_wrap=True)
    if json:
        print_json(_result_fields(result, journey_parts))
        return
    _print_conformance(journey.journey, result)
    if journey_parts is not None:
        _print_details(journey_parts)


def _result_fields(result: Conformance, details: JourneyDetails | None) -> dict[str, Any]:
    """Return the result for JSON, with the details where they were asked for."""
    fields: dict[str, Any] = msgspec.to_builtins(result)
    return fields if details is None else {**fields, "details": details}


def _print_conformance(name: str, result: Conformance) -> None:
    print_table(
        f"{name}: paths of {result.cases:,} cases",
        ["path", "cases", "fitness", "as planned"],
        [
            (
                _ARROW.join(variant.path) or _NO_STEP,
                variant.cases,
                f"{variant.fitness:.2f}",
                "yes" if variant.fits else "no",
            )
            for variant in result.variants[:_MAX_ROWS]
        ],
    )
    if rest := result.variants[_MAX_ROWS:]:
        cases = sum(variant.cases for variant in rest)
        out.print(f"... and {len(rest):,} more paths of {cases:,} cases: --json has them all")
    if result.fits_share is not None and result.mean_fitness is not None:
        out.print(
            f"{result.fits_share:.1%} went as planned, mean fitness {result.mean_fitness:.2f}"
        )
    print_table(
        "Reached in the planned order",
        ["step", "cases", "share"],
        [
            (step.step, step.cases, f"{step.cases / result.cases:.1%}" if result.cases else "")
            for step in result.funnel
        ],
    )
    print_table(
        "Dropped after",
        ["step", "cases", "share of all"],
        [
            (drop_off.after or _NO_STEP, drop_off.cases, f"{drop_off.share:.1%}")
            for drop_off in result.drop_offs
        ],
    )


def _print_details(details: JourneyDetails) -> None:
    print_table("Outcomes", ["outcome", "cases"], list(details.outcomes.items()))
    _print_steps(details)
    _print_flows(details)
    print_table(
        "Converted, and after how many days",
        ["began in", "cases", "converted", "95 %", "median days"],
        [
            _curve_row(name, curve)
            for name, curve in (
                ("all", details.time_to_convert),
                *((entry.channel, entry.curve) for entry in details.by_channel),
            )
        ],
    )
    if details.followed_plan is not None:
        _print_comparison("the plan was kept", details.followed_plan, "yes", "no")
        out.print("Observed only: customers who keep to a plan may differ in other ways.")
    for arm in details.arms:
        _print_comparison("assigned", arm.compared, arm.arm, arm.reference)
    _print_associations(details.associations)


def _print_steps(details: JourneyDetails) -> None:
    print_table(
        "Steps",
        ["step", "cases", "late", "median days", "skipped", "repeated", "swapped"],
        [
            (
                step.step,
                step.cases,
                step.late,
                _days(step.median_ms),
                step.skipped,
                step.repeated,
                step.swapped,
            )
            for step in details.steps
        ],
    )


def _print_flows(details: JourneyDetails) -> None:
    print_table(
        "Transitions between steps",
        ["from", "to", "cases"],
        [
            (flow.after or "(beginning)", flow.to or f"({flow.end})", flow.cases)
            for flow in details.flows[:_MAX_ROWS]
        ],
    )
    if rest := details.flows[_MAX_ROWS:]:
        cases = sum(flow.cases for flow in rest)
        out.print(f"... and {len(rest):,} more transitions of {cases:,} cases: --json has them all")


def _curve_row(name: str, curve: ConversionCurve) -> tuple[str, int, str, str, str]:
    return (
        name,
        curve.cases,
        "" if curve.converted is None else f"{curve.converted.share:.1%}",
        _range(curve.converted),
        _days(curve.quartiles_ms[1]),
    )


def _print_comparison(title: str, comparison: Comparison, with_it: str, without_it: str) -> None:
    print_table(
        f"{title.capitalize()}, from when {comparison.landmark}",
        [title, "cases", "converted", "95 %", "median days"],
        [_curve_row(with_it, comparison.with_it), _curve_row(without_it, comparison.without_it)],
    )
    if comparison.more is not None:
        out.print(
            f"Difference {comparison.more.share:+.1%} ({_range(comparison.more) or 'no interval'})"
        )


def _print_associations(associations: tuple[Association, ...]) -> None:
    print_table(
        "Associated with conversion and drop-off (odds ratios; q: corrected for all of them)",
        ["outcome", "property", "cases", "odds ratio", "95 %", "q"],
        [
            (
                f"{association.outcome} after {association.after}"
                if association.after
                else association.outcome,
                f"{association.kind} {association.name}",
                association.odds.table.exposed,
                f"{association.odds.odds_ratio:.2f}",
                f"{association.odds.low:.2f} to {association.odds.high:.2f}",
                f"{association.odds.q:.2g}",
            )
            for association in associations[:_MAX_ROWS]
        ],
    )
    if len(associations) > _MAX_ROWS:
        out.print(f"... and {len(associations) - _MAX_ROWS:,} more: --json has them all")


def _show_discovery(
    discovery: Discovery, log: EventLog, options: DiscoveryOptions, json: bool
) -> None:
    if json:
        print_json(discovery)
        return
    print_table(
        f"The first {options.steps} events of {discovery.journeys:,} journeys "
        f"of {discovery.cases:,} cases",
        ["path", "journeys", "share", "converted"],
        [
            (
                _ARROW.join(path.path) + ("" if path.complete else f"{_ARROW}..."),
                path.journeys,
                f"{path.share:.1%}",
                path.converted,
            )
            for path in discovery.paths[:_MAX_ROWS]
        ],
    )
    if rest := discovery.paths[_MAX_ROWS:]:
        path_count = len(rest) + discovery.cut_paths
        journey_count = sum(path.journeys for path in rest) + discovery.cut_journeys
        out.print(f"... and {path_count:,} more paths of {journey_count:,} journeys")
    out.print(
        f"{discovery.converted:,} converted, {discovery.dropped:,} did not, "
        f"{discovery.unfinished:,} are unfinished."
    )
    if options.goal is None:
        err.print("Without --goal NAME nothing converts.")
    elif not discovery.converted:
        err.print(plain(f"{log.file}: no event {options.goal!r} within its window"), soft_wrap=True)


def _days(ms: float | None) -> str:
    return "" if ms is None else f"{ms / _DAY_MS:,.2f}"


def _range(share: BoundedEstimate | None) -> str:
    if share is None or share.low is None or share.high is None:
        return ""
    return f"{share.low:.1%} to {share.high:.1%}"
