"""Content of the report: small tables of campaigns, journeys and series.

The page filters the rows of `cells` and `steps` by date, segment, campaign and channel; all other
parts are of the whole period.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipeline.config.model import Campaign
from pipeline.config.model.journeys import Journey
from pipeline.insights.anomalies import scan
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.campaigns import CampaignStatistics, campaign_statistics
from pipeline.insights.conformance import Conformance, conformance
from pipeline.insights.daily import daily_series
from pipeline.insights.defined import follow_cases
from pipeline.insights.discovery import Discovery, DiscoveryOptions, discover
from pipeline.insights.engines import Queries
from pipeline.insights.events import EventLog
from pipeline.insights.goals import CampaignGoal, UnreadableGoal
from pipeline.insights.incident_words import Language, incident_words
from pipeline.insights.incidents import SeriesOverview, series_overview
from pipeline.insights.journey_details import JourneyDetails, journey_details
from pipeline.insights.message_credit import load_touches, message_journeys
from pipeline.insights.paths import NO_TOUCH
from pipeline.insights.questions import AttributionQuestion, BootstrapDraws, credit_journeys
from pipeline.insights.report.advice import (
    NO_ADVICE,
    Advice,
    OptionWorth,
    RecommendationCard,
    RecommendedStep,
)
from pipeline.insights.survival import ConversionCurve
from pipeline.insights.tables import TableError, sql_text
from pipeline.insights.topic_events import load_topic_events
from pipeline.insights.topic_files import DECISIONS
from pipeline.insights.touches import Journeys, TouchOptions

_MODELS: Final = ("first", "last", "linear", "position", "time-decay", "markov", "shapley")
_REPLICATES: Final = 100
_MAX_CELLS: Final = 60_000
_MAX_NAMES: Final = 1_000
_TREE_STEPS: Final = 5
_TREE_NODES: Final = 60
_GAP_MS: Final = 30 * 60_000
_WINDOW_MS: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class PlannedJourney:
    """Journey with the file that defines it."""

    journey: Journey
    file: Path


@dataclass(frozen=True, slots=True)
class ReportQuestion:
    """Question of a report. `campaigns`: of the configuration, with their goals; `goal`: the event
    of journeys and forecasts; `by`: the property with the channel of events; `journey`: a plan;
    `worth`: the value of one goal; `advice`: the output of `kairos insights recommend`."""

    folder: Path
    period: Period
    campaigns: Sequence[Campaign]
    goals: Sequence[CampaignGoal | UnreadableGoal]
    goal: str | None
    by: str | None
    journey: PlannedJourney | None
    worth: float | None
    language: Language
    advice: Advice = NO_ADVICE
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CellTable:
    """Messages by day (since 1970), campaign, offer, channel and segment (`""`: all customers);
    `segments`: whether there are rows by segment."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    segments: bool


@dataclass(frozen=True, slots=True)
class StepTable:
    """Numbers of events, of visits, and of visits that reached the goal, by day, step and
    channel."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class ModelCredits:
    """Credits of one attribution model: channel, conversions, share, low, high."""

    model: str
    rows: tuple[tuple[str, float, float, float | None, float | None], ...]


@dataclass(frozen=True, slots=True)
class JourneyReport:
    """Defined journey compared with actual paths."""

    name: str
    conformance: Conformance
    details: JourneyDetails


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Content of a report; None for parts without enough data. `no_touch`: name in place of a
    channel for conversions without a touch."""

    language: Language
    goal: str | None
    worth: float | None
    statistics: CampaignStatistics
    hypotheses: dict[str, str]
    cells: CellTable
    steps: StepTable
    attribution: tuple[ModelCredits, ...]
    journey: JourneyReport | None
    paths: Discovery
    time_to_goal: ConversionCurve
    course: SeriesOverview | None
    incidents: tuple[str, ...]
    recommendations: tuple[RecommendationCard, ...]
    recommended_journey: tuple[RecommendedStep, ...]
    recommended_shape: str | None
    compared_options: tuple[OptionWorth, ...]
    no_touch: str = NO_TOUCH


def report_content(queries: Queries, question: ReportQuestion) -> ReportContent:
    """Return the content of the report that answers a question. Raises TableError."""
    support = load_facts(queries, question.folder, question.period)
    load_goals(queries, [goal for goal in question.goals if isinstance(goal, CampaignGoal)])
    _check_names(queries, question.folder)
    statistics = campaign_statistics(queries, support, question.goals)
    cells = _cells(queries)
    attribution = _attribution(queries, question)
    log = load_topic_events(queries, question.folder, question.by, question.period.until_ms)
    series = daily_series(log, question.goal)
    overview = series_overview(series, scan(series, question.seed), question.goal)
    steps = _steps(queries, question.goal, series[0].first_day) if series else _empty_step_table()
    words = tuple(
        incident_words(incident, question.goal, question.worth, question.language)
        for incident in (overview.incidents if overview else ())
    )
    return ReportContent(
        language=question.language,
        goal=question.goal,
        worth=question.worth,
        statistics=statistics,
        hypotheses={campaign.campaign: campaign.hypothesis for campaign in question.campaigns},
        cells=cells,
        steps=steps,
        attribution=attribution,
        journey=_journey(log, question),
        paths=_paths(log, question.goal),
        time_to_goal=discover(log, DiscoveryOptions(question.goal, _WINDOW_MS)).time_to_convert,
        course=overview,
        incidents=words,
        recommendations=question.advice.cards,
        recommended_journey=question.advice.journey,
        recommended_shape=question.advice.shape,
        compared_options=question.advice.compared_options,
    )


def _check_names(queries: Queries, folder: Path) -> None:
    """Raise TableError where there are more names of a kind than a page can have."""
    kinds = ("campaign", "offer", "channel")
    counts = ", ".join(f"count(DISTINCT {kind})" for kind in kinds)
    [row] = queries.rows(f"SELECT {counts} FROM facts")
    for kind, count in zip(kinds, row, strict=True):
        if count > _MAX_NAMES:
            raise TableError(
                f"{folder / DECISIONS}: {kind}: {count:,} different ones, at most {_MAX_NAMES:,} "
                "fit a page: `kairos insights campaigns` counts them all"
            )


def _cells(queries: Queries) -> CellTable:
    """Return the cells, without those of segments if a page cannot hold them."""
    sums = (
        "sum(decided), sum(held), sum(seen), sum(clicked), sum(conversion), sum(dismiss), "
        "sum(revenue), sum(worth), sum(cost)"
    )
    columns = (
        "day", "campaign", "offer", "channel", "segment", "decided", "held", "seen", "clicked",
        "converted", "dismissed", "revenue", "worth", "cost",
    )  # fmt: skip
    all_customers = f"SELECT day, campaign, offer, channel, '', {sums} FROM facts GROUP BY ALL"
    by_segment = (
        f"SELECT day, campaign, offer, channel, segment, {sums} FROM facts "
        "JOIN memberships USING (customer, event_id) GROUP BY ALL"
    )
    rows = queries.rows(f"{all_customers} ORDER BY ALL")
    segment_rows = queries.rows(f"{by_segment} ORDER BY ALL LIMIT {_MAX_CELLS + 1}")
    is_complete = len(rows) + len(segment_rows) <= _MAX_CELLS
    return CellTable(
        columns, tuple(map(tuple, [*rows, *segment_rows] if is_complete else rows)), is_complete
    )


def _empty_step_table() -> StepTable:
    return StepTable(("day", "step", "channel", "events", "visits", "reached"), ())


def _steps(queries: Queries, goal: str | None, first_day: int) -> StepTable:
    rows = queries.rows(
        f"""
        WITH reached AS (SELECT DISTINCT case_id, visit FROM steps WHERE name = {sql_text(goal)})
        SELECT s.day + {first_day}, s.name, s.channel, sum(s.events)::BIGINT, count(*),
            sum(CASE WHEN r.visit IS NULL THEN 0 ELSE 1 END)::BIGINT
        FROM steps AS s LEFT JOIN reached AS r ON s.case_id = r.case_id AND s.visit = r.visit
        GROUP BY ALL ORDER BY ALL
        """
    )
    return replace(_empty_step_table(), rows=tuple(map(tuple, rows)))


def _attribution(queries: Queries, question: ReportQuestion) -> tuple[ModelCredits, ...]:
    """Return the credits of channels by messages seen, for each model; none without a goal, a seen
    message or a reached goal."""
    counts = load_touches(queries, question.goal, "seen")
    if question.goal is None or not counts.touches or not counts.goals:
        return ()
    journeys = message_journeys(queries, question.folder, TouchOptions())
    return tuple(_credits(model, journeys) for model in _MODELS)


def _credits(model: str, journeys: Journeys) -> ModelCredits:
    draws = BootstrapDraws(_REPLICATES if model == "markov" else 0)
    question = AttributionQuestion(Path(), has_paths=False, model=model, draws=draws)
    attribution = credit_journeys(question, journeys).attribution
    total = sum(channel.conversions for channel in attribution.channels)
    return ModelCredits(
        model,
        tuple(
            (
                channel.channel,
                channel.conversions,
                channel.conversions / total if total else 0.0,
                channel.low,
                channel.high,
            )
            for channel in attribution.channels
        ),
    )


def _journey(log: EventLog, question: ReportQuestion) -> JourneyReport | None:
    if question.journey is None:
        return None
    journey = question.journey.journey
    cases = follow_cases(log, journey, question.journey.file)
    return JourneyReport(journey.journey, conformance(cases), journey_details(cases))


def _paths(log: EventLog, goal: str | None) -> Discovery:
    return discover(log, DiscoveryOptions(goal, _WINDOW_MS, _GAP_MS, _TREE_STEPS, _TREE_NODES))
