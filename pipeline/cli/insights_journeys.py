"""`kairos insights journeys`: actual paths, and how they compare with a defined journey."""

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.adapters.journey_file import load_journey
from pipeline.cli.console import JsonOption, err, out, print_error, print_json, print_table
from pipeline.cli.plain import plain
from pipeline.cli.times import epoch_ms
from pipeline.config.journey import Journey
from pipeline.insights.conformance import Conformance, conformance
from pipeline.insights.defined import compare
from pipeline.insights.events import EventOptions, read_events
from pipeline.insights.tables import Engine

_MOST_SHOWN: Final = 20
ARROW: Final = " > "


def journeys(  # noqa: PLR0913 - a command's options
    events: Annotated[
        Path,
        typer.Option(help="Events (CSV, Parquet, NDJSON): case_id, occurred_at, name, channel."),
    ],
    defined: Annotated[Path, typer.Option(help="YAML of the journey that was planned.")],
    until: Annotated[
        str | None, typer.Option(help="When the table ends; default: with its last row.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times that name none, such as Europe/Madrid.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="Most memory of the queries, such as 2GB; the rest goes to disk."),
    ] = None,
    spill: Annotated[
        Path | None, typer.Option(help="Folder for what does not fit; default: the system's.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the paths that cases took, and how they fit a defined journey."""
    journey = _journey(defined)
    options = EventOptions(epoch_ms(until) if until else None, timezone)
    with Engine(memory, spill).open() as connection:
        log = read_events(connection, events, options)
        found = compare(log, journey, defined)
        for words in found.unseen:
            err.print(plain(f"{defined}: {words}"), soft_wrap=True)
        result = conformance(found)
    if json:
        print_json(result)
    else:
        _print_conformance(journey.journey, result)


def _journey(file: Path) -> Journey:
    journey = load_journey(file)
    if isinstance(journey, Journey):
        return journey
    for error in journey:
        err.print(plain(str(error)), soft_wrap=True)
    print_error(f"{file} has {len(journey)} error{'s' if len(journey) > 1 else ''}")
    raise typer.Exit(1)


def _print_conformance(name: str, result: Conformance) -> None:
    print_table(
        f"{name}: paths of {result.cases:,} cases",
        ["path", "cases", "fitness", "as planned"],
        [
            (
                ARROW.join(one.path) or "(no step)",
                one.cases,
                f"{one.fitness:.2f}",
                "yes" if one.fits else "no",
            )
            for one in result.variants[:_MOST_SHOWN]
        ],
    )
    if len(result.variants) > _MOST_SHOWN:
        rest = result.variants[_MOST_SHOWN:]
        out.print(
            f"... and {len(rest):,} more paths of {sum(one.cases for one in rest):,} cases: --json "
            "has them all"
        )
    if result.fits_share is not None and result.mean_fitness is not None:
        out.print(
            f"{result.fits_share:.1%} went as planned, mean fitness {result.mean_fitness:.2f}"
        )
    print_table(
        "Reached in the planned order",
        ["step", "cases", "share"],
        [
            (one.step, one.cases, f"{one.cases / result.cases:.1%}" if result.cases else "")
            for one in result.funnel
        ],
    )
    print_table(
        "Failed after",
        ["step", "cases", "share of all"],
        [(one.after or "(no step)", one.cases, f"{one.share:.1%}") for one in result.drop_offs],
    )
