"""`kairos insights campaigns`: figures of campaigns, and their effects by holdouts."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.adapters.budget_log import read_budgets
from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.insights_options import (
    AsOfOption,
    EngineOption,
    MemoryOption,
    SinceOption,
    open_engine,
)
from pipeline.cli.insights_topics import (
    ConfigOption,
    TopicsOption,
    campaigns_of,
    topic_folder,
)
from pipeline.cli.plain import plain
from pipeline.cli.status import print_budgets
from pipeline.cli.times import iso, optional_ms
from pipeline.config.model import Campaign
from pipeline.home.codec import open_codec
from pipeline.insights.campaign_facts import FactsSupport, Period, load_facts, load_goals
from pipeline.insights.campaigns import (
    CampaignFigures,
    CampaignStatistics,
    Lift,
    campaign_statistics,
)
from pipeline.insights.engines import Queries
from pipeline.insights.goals import CampaignGoal, campaign_goals
from pipeline.insights.intervals import Difference, RateInterval
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.budget import BudgetStatus
from pipeline.settings import Settings
from pipeline.stack.budgets import campaign_budgets

_MAX_ROWS: Final = 30
_GRADES: Final = {"works": 0, "not known yet": 1, "too few customers": 2, "harms": 3}


def campaigns(  # noqa: PLR0913 - a command's options
    topics: TopicsOption = None,
    config: ConfigOption = None,
    since: SinceOption = None,
    until: AsOfOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show messages and their outcomes by campaign, offer, channel, segment and day, and the lift
    over holdouts.

    Rates have 95 % intervals by customers. Lift compares customers by the arm that was drawn for
    them; its intervals are valid at every look, so that they may be read every day.
    """
    period = Period(optional_ms(since), optional_ms(until))
    definitions = campaigns_of(config, topics)
    with (
        topic_folder(topics, (DECISIONS, SEGMENTED)) as folder,
        open_engine(engine, memory) as queries,
    ):
        statistics = load_statistics(queries, folder, period, definitions)
    if topics is None:
        statistics = replace(statistics, budgets=_read_budget_statuses(Settings()))
    if json:
        print_json(statistics)
    else:
        _print(statistics)


def _read_budget_statuses(settings: Settings) -> tuple[BudgetStatus, ...]:
    return campaign_budgets(read_budgets(settings.kafka(), open_codec(settings)).values())


def load_statistics(
    queries: Queries,
    folder: Path,
    period: Period,
    campaigns: Iterable[Campaign],
) -> CampaignStatistics:
    """Load the facts and goals into the engine, and return the statistics of the campaigns."""
    support = load_facts(queries, folder, period)
    goals = campaign_goals(campaigns)
    load_goals(queries, [goal for goal in goals if isinstance(goal, CampaignGoal)])
    return campaign_statistics(queries, support, goals)


def _print(statistics: CampaignStatistics) -> None:
    for title, rows in (
        ("Campaigns", statistics.campaigns),
        ("Offers", statistics.offers),
        ("Channels", statistics.channels),
        ("Segments (a customer counts in each of theirs)", statistics.segments),
        ("By campaign, offer and channel", statistics.items),
    ):
        _print_figures(title, rows)
    if statistics.budgets:
        print_budgets(statistics.budgets)
    print_lifts("Lift over holdouts, the best proven first", statistics.lifts)
    for name, reason in statistics.without_lift.items():
        out.print(plain(f"{name}: no lift, for {reason}"), soft_wrap=True)
    _print_support(statistics.support)


def _print_figures(title: str, rows: tuple[CampaignFigures, ...]) -> None:
    print_table(
        title,
        ["", "decided", "seen", "clicked", "of seen", "converted", "of all", "revenue", "cost"],
        [
            (
                _name(row),
                row.decided,
                row.seen_rate.events,
                row.clicks,
                _rate(row.click_rate),
                row.conversions,
                _rate(row.conversion_rate),
                f"{row.revenue:,.2f}",
                f"{row.cost:,.2f}",
            )
            for row in rows[:_MAX_ROWS]
        ],
    )
    if len(rows) > _MAX_ROWS:
        out.print(f"... and {len(rows) - _MAX_ROWS:,} more: --json has them all")


def _name(figures: CampaignFigures) -> str:
    names = (figures.campaign, figures.offer, figures.channel, figures.segment, figures.day)
    return " / ".join(name for name in names if name is not None)


def _rate(interval: RateInterval) -> str:
    if interval.share is None:
        return ""
    return f"{interval.share:.1%} ({interval.low:.1%}–{interval.high:.1%})"


def print_lifts(title: str, lifts: tuple[Lift, ...]) -> None:
    """Print lifts over holdouts, the best proven first."""
    ordered_lifts = sorted(lifts, key=lambda lift: (_GRADES.get(lift.verdict, 4), _downside(lift)))
    print_table(
        title,
        ["what", "against", "customers", "held out", "more converted", "extra", "verdict"],
        [
            (
                _scope(lift),
                lift.against,
                lift.treated.customers,
                lift.held.customers,
                difference_words(lift.conversion),
                "" if lift.extra_conversions is None else f"{lift.extra_conversions.value:,.0f}",
                lift.verdict,
            )
            for lift in ordered_lifts[:_MAX_ROWS]
        ],
    )
    if len(lifts) > _MAX_ROWS:
        out.print(f"... and {len(lifts) - _MAX_ROWS:,} more: --json has them all")


def _downside(lift: Lift) -> float:
    difference = lift.conversion
    return 0.0 if difference is None or difference.low is None else -difference.low


def _scope(lift: Lift) -> str:
    names = [name for name in (lift.campaign, lift.offer, lift.channel) if name is not None]
    return " / ".join(names) if names else f"all that {lift.holdout} covers"


def difference_words(difference: Difference | None) -> str:
    """Return a difference of shares as text, with its interval if there is one; "" for None."""
    if difference is None:
        return ""
    if difference.low is None or difference.high is None:
        return f"{difference.value:+.1%}"
    return f"{difference.value:+.1%} ({difference.low:+.1%} to {difference.high:+.1%})"


def _print_support(support: FactsSupport) -> None:
    if support.until_ms is None or support.since_ms is None:
        out.print("There are no decisions.")
        return
    out.print(
        f"From {support.decisions:,} decisions about {support.customers:,} customers, "
        f"{iso(support.since_ms)} to {iso(support.until_ms)}.",
        soft_wrap=True,
    )
    if support.unmatched:
        err.print(f"{support.unmatched:,} outcomes belong to messages of other decisions.")
    if support.without_value:
        err.print(f"{support.without_value:,} conversions have no value, or an impossible one.")
    if support.without_price:
        err.print(f"{support.without_price:,} messages have an impossible value or cost.")
    if support.unreadable:
        err.print(f"{support.unreadable:,} records of the topics cannot be read.")
