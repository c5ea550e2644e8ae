"""`kairos insights anomalies`: incidents in daily series, and the next two weeks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_args

import msgspec
import typer

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.insights_options import (
    EngineOption,
    GoalWorthOption,
    LanguageOption,
    MemoryOption,
    TimezoneOption,
    UntilOption,
    open_engine,
    require_choice,
)
from pipeline.cli.insights_topics import topic_folder
from pipeline.cli.plain import plain
from pipeline.cli.times import optional_ms
from pipeline.insights.anomalies import scan
from pipeline.insights.campaigns import iso_day
from pipeline.insights.daily import daily_series
from pipeline.insights.engines import Queries
from pipeline.insights.events import EventLog, EventOptions, read_events
from pipeline.insights.incident_words import Language, evidence_words, incident_words
from pipeline.insights.incidents import Incident, SeriesOverview, series_overview
from pipeline.insights.topic_events import load_topic_events
from pipeline.insights.topic_files import SEGMENTED

_MAX_ROWS: Final = 20
_NO_DAY: Final = (
    "There is no whole day in the table, or none after its last silence of more than eight weeks: "
    "--until TIME examines the time before."
)
_EMPTY_OVERVIEW: Final[dict[str, Any]] = {
    **dict.fromkeys(("first_day", "last_day", "goal")),
    **dict.fromkeys(("series", "quiet"), 0),
    **dict.fromkeys(("incidents", "trends", "forecasts"), ()),
}
"""Answer where there is no whole day."""


_EventsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Events (CSV, Parquet, NDJSON): case_id, occurred_at, name, channel."),
]
_TopicsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with DIR/interactions.segmented as `kairos replay` writes it. Default, "
        "without --events: the topic itself.",
    ),
]
_ByOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Property that holds the channel, such as platform; without --events."),
]
_GoalOption: TypeAlias = Annotated[str | None, typer.Option(help="Name of the goal event.")]
_SeedOption: TypeAlias = Annotated[int, typer.Option(min=0, help="Seed of the simulated series.")]


def anomalies(  # noqa: PLR0913 - a command's options
    events: _EventsOption = None,
    topics: _TopicsOption = None,
    by: _ByOption = None,
    goal: _GoalOption = None,
    worth: GoalWorthOption = None,
    until: UntilOption = None,
    timezone: TimezoneOption = None,
    seed: _SeedOption = 0,
    lang: LanguageOption = "en",
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Find deviations of daily series from their trend and weekdays, estimate their cost, and
    forecast the next two weeks.

    Examines every step and channel: its frequency, and the share of visits that go on to the next
    step and to the goal. At most 5 % of the findings are expected to be due to chance.
    """
    language = require_choice("--lang", lang, get_args(Language))
    if events is not None and (topics is not None or by is not None):
        raise typer.BadParameter("--events goes without --topics and --by")
    until_ms = optional_ms(until)
    with open_engine(engine, memory) as queries:
        if events is not None:
            log = read_events(queries, events, EventOptions(until_ms, timezone))
            overview = find_overview(log, goal, seed)
        else:
            with _topic_log(queries, topics, by, until_ms) as log:
                overview = find_overview(log, goal, seed)
    words = (
        [incident_words(incident, goal, worth, language) for incident in overview.incidents]
        if overview
        else []
    )
    if json:
        overview_fields = (
            dict(_EMPTY_OVERVIEW) if overview is None else msgspec.to_builtins(overview)
        )
        print_json({**overview_fields, "words": words})
    elif overview is None:
        out.print(_NO_DAY, soft_wrap=True)
    else:
        _print(overview, words, language)


def find_overview(log: EventLog, goal: str | None, seed: int) -> SeriesOverview | None:
    """Return incidents, trends and forecasts of the events; None without a whole day.

    Prints a note on stderr if the goal does not occur, or too rarely.
    """
    series = daily_series(log, goal)
    if goal is not None and series and not any(daily.step == goal for daily in series):
        err.print(plain(f"{log.file}: there is no event {goal!r}, or too few"), soft_wrap=True)
    return series_overview(series, scan(series, seed), goal)


@contextmanager
def _topic_log(
    queries: Queries, topics: Path | None, by: str | None, until_ms: int | None
) -> Iterator[EventLog]:
    with topic_folder(topics, (SEGMENTED,)) as folder:
        yield load_topic_events(queries, folder, by, until_ms)


def _print(overview: SeriesOverview, words: list[str], language: Language) -> None:
    out.print(
        f"{overview.series:,} series with enough data, {iso_day(overview.first_day)} to "
        f"{iso_day(overview.last_day)}; {overview.quiet:,} went as expected.\n"
    )
    for incident, text in zip(overview.incidents, words, strict=True):
        out.print(plain(text), soft_wrap=True)
        _print_evidence(incident, language)
    if not overview.incidents:
        out.print("No deviation was found.")
    out.print()
    print_table(
        "The next two weeks",
        ["what", "channel", "expected", "a day", "90 %", "error", "naive", "within"],
        [
            (
                forecast.what,
                forecast.channel or "all",
                f"{forecast.forecast.total:,.0f}",
                f"{forecast.forecast.days[0].expected:,.1f}",
                f"{forecast.forecast.days[0].low:,.1f} to {forecast.forecast.days[0].high:,.1f}",
                f"{forecast.forecast.back_test.error:,.1f}",
                f"{forecast.forecast.back_test.naive_error:,.1f}",
                f"{forecast.forecast.back_test.covered:.0%}",
            )
            for forecast in overview.forecasts
        ],
    )
    if not overview.forecasts:
        out.print("A forecast needs eleven weeks.")


def _print_evidence(incident: Incident, language: Language) -> None:
    for evidence in incident.evidence[:_MAX_ROWS]:
        out.print(
            plain(f"  - {evidence_words(evidence, language)} (q {evidence.q:.2g})"), soft_wrap=True
        )
    if rest := incident.evidence[_MAX_ROWS:]:
        out.print(f"  ... and {len(rest):,} more: --json has them all")
