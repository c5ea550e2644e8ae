"""Options that the commands of `kairos insights` share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar, get_args

import typer

from pipeline.adapters.broker.java import find_java
from pipeline.adapters.journey_file import load_journey
from pipeline.cli.console import err, print_error
from pipeline.cli.plain import plain
from pipeline.conditions.duration import duration_ms
from pipeline.config.model.journeys import Journey
from pipeline.home.table_engine import table_engine
from pipeline.insights.engines import ENGINES, Queries, open_queries
from pipeline.insights.incident_words import Language
from pipeline.insights.tables import MAX_AMOUNT
from pipeline.settings import Settings

_T = TypeVar("_T")

UntilOption: TypeAlias = Annotated[
    str | None, typer.Option(help="End of the period that the table covers. Default: its last row.")
]
TimezoneOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Time zone of times that name none, such as Europe/Madrid.")
]
EngineOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help=f"Query engine, {' or '.join(ENGINES)}; Spark runs on the configured cluster."
    ),
]
MemoryOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Memory limit of DuckDB, such as 2GB; data beyond it go to disk. Default: "
        "KAIROS_INSIGHTS_MEMORY."
    ),
]
SpillOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder for data beyond the memory limit. Default: KAIROS_INSIGHTS_SPILL."),
]
AsOfOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="TIME", help="End of the log, exclusive; later records are ignored."
    ),
]
SinceOption: TypeAlias = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Only decisions at this time or later.")
]
GoalWorthOption: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0, max=MAX_AMOUNT, help="Value of reaching the goal once."),
]
LanguageOption: TypeAlias = Annotated[
    str, typer.Option(help=f"Language: {', '.join(get_args(Language))}.")
]


def require_choice(option: str, value: str, choices: tuple[_T, ...]) -> _T:
    """Return the value of an option if it is one of `choices`. Raises BadParameter."""
    for choice in choices:
        if choice == value:
            return choice
    raise typer.BadParameter(f"{option} {value}: is none of {', '.join(map(str, choices))}")


def load_plan(file: Path) -> Journey:
    """Return the journey in a file; print its errors and exit where it has some."""
    journey = load_journey(file)
    if isinstance(journey, Journey):
        return journey
    for error in journey:
        err.print(plain(str(error)), soft_wrap=True)
    print_error(f"{file} has {len(journey)} error{'s' if len(journey) > 1 else ''}")
    raise typer.Exit(1)


def duration(text: str) -> int:
    """Return a duration in ms. Raises BadParameter."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def range_words(low: float | None, high: float | None, digits: int = 0) -> str:
    """Return an interval, with `digits` significant digits or else one decimal; "" without one."""
    if low is None or high is None:
        return ""
    return f"{low:.{digits}g} to {high:.{digits}g}" if digits else f"{low:,.1f} to {high:,.1f}"


@contextmanager
def open_engine(
    engine: str, memory: str | None = None, spill: Path | None = None
) -> Iterator[Queries]:
    """Open an engine of queries by its name, within the limits of the command's options, or else of
    the settings; for Spark, set JAVA_HOME where it is not set. Raises BadParameter."""
    name = require_choice("--engine", engine, ENGINES)
    settings = Settings()
    if name == "spark" and "JAVA_HOME" not in os.environ:
        java = find_java(settings.java_home).executable
        os.environ["JAVA_HOME"] = str(java.parent.parent)
    with open_queries(name, table_engine(settings, memory, spill)) as queries:
        yield queries
