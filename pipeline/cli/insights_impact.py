"""`kairos insights impact`: value of each factor of arbitration, by impact tests."""

from typing import Final

from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.cli.insights_campaigns import difference_words
from pipeline.cli.insights_options import (
    AsOfOption,
    EngineOption,
    MemoryOption,
    SinceOption,
    open_engine,
)
from pipeline.cli.insights_topics import ConfigOption, TopicsOption, campaigns_of, topic_folder
from pipeline.cli.times import optional_ms
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.goals import CampaignGoal, campaign_goals
from pipeline.insights.impact_effects import ImpactEffects, impact_effects
from pipeline.insights.topic_files import DECISIONS, SEGMENTED

_OMISSIONS: Final = {
    "chance": "all of arbitration",
    "propensity": "value, cost, levers and context",
    "no-levers": "levers and context weights",
    "eligibility": "applicability and suitability",
}


def impact(  # noqa: PLR0913 - a command's options
    topics: TopicsOption = None,
    config: ConfigOption = None,
    since: SinceOption = None,
    until: AsOfOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show the value of each factor of arbitration: compare customers with the usual decisions with
    those in the arms of `impact_tests` in policies.yaml.

    Intervals are valid at every look (95 % for each factor), so that they may be read every day.
    """
    period = Period(optional_ms(since), optional_ms(until))
    goals = campaign_goals(campaigns_of(config, topics))
    measurable_goals = [goal for goal in goals if isinstance(goal, CampaignGoal)]
    if not measurable_goals:
        fail("no campaign's goal is known: give one in the configuration (--config DIR)")
    with (
        topic_folder(topics, (DECISIONS, SEGMENTED)) as folder,
        open_engine(engine, memory) as queries,
    ):
        support = load_facts(queries, folder, period)
        load_goals(queries, measurable_goals)
        effects = impact_effects(queries, support.until_ms or 0)
    if json:
        print_json(effects)
    else:
        _print(effects)


def _print(effects: ImpactEffects) -> None:
    print_table(
        "As usual, beside customers for whom a factor is left out",
        ["arm", "leaves out", "customers", "converted", "more as usual", "value", "verdict"],
        [
            (
                factor.arm,
                _OMISSIONS.get(factor.arm, ""),
                factor.customers.customers,
                factor.customers.converted,
                difference_words(factor.conversion),
                "" if factor.value is None else f"{factor.value.value:+,.2f}",
                factor.verdict,
            )
            for factor in effects.factors
        ],
    )
    out.print(
        f"As usual: {effects.usual.customers:,} customers, {effects.usual.converted:,} converted; "
        f"{effects.left_out:,} left out, whose window is not over or whose arm changed."
    )
    if not effects.factors:
        out.print("No customer is in an arm yet: does policies.yaml have impact_tests?")
