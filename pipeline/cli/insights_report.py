"""`kairos insights report`: everything in one HTML file."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

import typer
from rich.progress import Progress

from pipeline.adapters.clock import now_ms
from pipeline.adapters.journey_file import load_journey
from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.cli.insights_options import (
    AsOfOption,
    EngineOption,
    GoalWorthOption,
    LanguageOption,
    MemoryOption,
    SinceOption,
    open_engine,
    require_choice,
)
from pipeline.cli.insights_topics import ConfigOption, TopicsOption, campaigns_of, topic_folder
from pipeline.cli.plain import plain
from pipeline.cli.times import optional_ms
from pipeline.config.model import Campaign
from pipeline.config.model.journeys import Journey
from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import Queries
from pipeline.insights.goals import campaign_goals
from pipeline.insights.incident_words import Language
from pipeline.insights.report.advice import NO_ADVICE, read_advice
from pipeline.insights.report.content import (
    PlannedJourney,
    ReportContent,
    ReportQuestion,
    report_content,
)
from pipeline.insights.report.page import report_page
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import DECISIONS, SEGMENTED

_OutOption: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="HTML file to write.")
]
_GoalOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Name of the goal event. Default: the goal of most campaigns."),
]
_ByOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Property that holds the channel of events, such as platform.")
]
_JourneyOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="YAML file of the planned journey.")
]
_RecommendationsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Output of `kairos insights recommend --json`, to be included."),
]


def report(  # noqa: PLR0913 - a command's options
    file: _OutOption,
    topics: TopicsOption = None,
    config: ConfigOption = None,
    goal: _GoalOption = None,
    by: _ByOption = None,
    journey: _JourneyOption = None,
    recommendations: _RecommendationsOption = None,
    worth: GoalWorthOption = None,
    since: SinceOption = None,
    until: AsOfOption = None,
    lang: LanguageOption = "en",
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Write one HTML file with the results of campaigns, journeys and series.

    The file contains its script and loads nothing from a network. With --json its content is
    printed too.
    """
    language = require_choice("--lang", lang, get_args(Language))
    _require_folder(file)
    campaigns = campaigns_of(config, topics)
    with (
        topic_folder(topics, (DECISIONS, SEGMENTED)) as folder,
        open_engine(engine, memory) as queries,
    ):
        question = ReportQuestion(
            folder=folder,
            period=Period(optional_ms(since), optional_ms(until)),
            campaigns=campaigns,
            goals=campaign_goals(campaigns),
            goal=goal or usual_goal(campaigns),
            by=by,
            journey=None if journey is None else PlannedJourney(read_plan(journey), journey),
            worth=worth,
            language=language,
            advice=NO_ADVICE if recommendations is None else read_advice(recommendations),
        )
        content = write_report(question, queries, file)
    if json:
        print_json(content)
    else:
        out.print(plain(f"The report is in {file}"), soft_wrap=True)


def _require_folder(file: Path) -> None:
    if not file.parent.is_dir():
        raise TableError(f"--out {file}: {file.parent} is not a folder")


def write_report(question: ReportQuestion, queries: Queries, file: Path) -> ReportContent:
    """Write the page to `file`, whole or not at all, and return its content."""
    with Progress(console=err, transient=True) as bar:
        bar.add_task("counting", total=None)
        content = report_content(queries, question)
    made_at = datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    part = file.with_name(f".{file.name}.part")
    part.write_text(report_page(content, made_at), encoding="utf-8")
    part.replace(file)
    return content


def usual_goal(campaigns: Sequence[Campaign]) -> str | None:
    """Return the event that is the goal of most campaigns; None: no goal is a single event."""
    conditions: list[Any] = [
        campaign.goal.when for campaign in campaigns if campaign.goal is not None
    ]
    names = Counter(
        condition["name"]
        for condition in conditions
        if isinstance(condition, dict)
        and set(condition) == {"name"}
        and isinstance(condition["name"], str)
    )
    return names.most_common(1)[0][0] if names else None


def read_plan(file: Path) -> Journey:
    """Return the journey in a file. Raises TableError with its errors."""
    journey = load_journey(file)
    if isinstance(journey, Journey):
        return journey
    raise TableError("; ".join(map(str, journey)))
