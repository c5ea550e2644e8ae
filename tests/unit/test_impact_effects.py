"""Effects of factors, estimated from decisions of the stage, are those that were planted."""

from math import sqrt
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.config.model import Campaign, Goal
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.engines import open_duckdb
from pipeline.insights.goals import CampaignGoal, campaign_goals
from pipeline.insights.impact_effects import ImpactEffects, impact_effects
from pipeline.insights.tables import Engine
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Decision
from pipeline.model.interaction import Identifier
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from tests.support.deciding import Life, campaign, hero, offer, world
from tests.support.replayed import as_segmented, event, write_topic

_START_MS = 1_704_067_200_000
_GOAL = {"when": {"name": "Bought"}, "window": "3d"}
_PLANTED_CONVERSIONS = {"raised": 0.5, "plain": 0.2, "poor": 0.05, "unfit": 0.0}
"""Shares of buyers by the offer shown; levers order the offers better than `p` and `value`."""

_EXPECTED = {"chance": 0.25, "propensity": 0.45, "no-levers": 0.3, "eligibility": 0.5}
_CUSTOMER_COUNT = 1_500


def _estimate_effects(folder: Path, until_ms: int | None = None) -> ImpactEffects:
    goals = campaign_goals([Campaign("sale", (), goal=Goal({"name": "Bought"}, "3d"))])
    with open_duckdb(Engine()) as queries:
        support = load_facts(queries, folder, Period(until_ms=until_ms))
        load_goals(queries, [goal for goal in goals if isinstance(goal, CampaignGoal)])
        return impact_effects(queries, support.until_ms or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of topics with decisions for customers of all arms, who buy at the planted rates."""
    no_customer = {"property": "open", "is": True}
    sale = campaign(
        "sale",
        offer("raised", 4, hero("raised", p=0.1), levers={"pushed": 20}),
        offer("plain", 10, hero("plain", p=0.2)),
        offer("poor", 0.1, hero("poor", p=0.9)),
        offer(
            "unfit", 99, hero("unfit", p=0.3), suitability=[{"rule": "fit", "when": no_customer}]
        ),
        goal=_GOAL,
        trigger={"name": "Never"},
    )
    rules = world(campaigns=[sale], policies={"impact_tests": {"share": 0.1}})
    random, decisions, segmented = Random(1), list[Decision](), list[Segmented]()
    for number in range(_CUSTOMER_COUNT):
        life = Life(rules, (Identifier("customer_id", f"c{number}"),))
        visit_ms = _START_MS + number * DAY_MS // 100
        decision = life.interact("Seen", visit_ms, ask=("hero",))
        decisions.append(decision)
        profile_id = decision.profile_id
        segmented.append(as_segmented(profile_id, event(decision.event_id, "Seen", visit_ms)))
        if random.random() < _PLANTED_CONVERSIONS[str(decision.choices[0].treatment)]:
            purchase = event(f"b{number}", "Bought", visit_ms + DAY_MS, value=10.0)
            segmented.append(as_segmented(profile_id, purchase))
    segmented.append(as_segmented("nobody", event("last", "Seen", _START_MS + 60 * DAY_MS)))
    folder = tmp_path_factory.mktemp("topics")
    write_topic(folder, DECISIONS, decisions)
    write_topic(folder, SEGMENTED, segmented)
    return folder


def test_effects_are_the_planted_ones(folder: Path) -> None:
    effects = _estimate_effects(folder)
    assert {factor.arm for factor in effects.factors} == set(_EXPECTED)
    for factor in effects.factors:
        assert factor.conversion is not None
        customers = factor.customers.customers
        assert abs(customers - 150) < 4.5 * sqrt(150)
        sigma = sqrt(0.25 / customers + 0.25 / effects.usual.customers)
        assert abs(factor.conversion.value - _EXPECTED[factor.arm]) < 4.5 * sigma, factor.arm
        if factor.arm != "eligibility":  # no conversions in that arm, hence no variance
            assert factor.conversion.low is not None
            assert factor.verdict == "works"
    assert effects.balance_p is not None
    assert effects.balance_p > 0.001
    assert effects.left_out == 0


def test_customers_whose_window_is_not_over_are_left_out(folder: Path) -> None:
    effects = _estimate_effects(folder, _START_MS + 8 * DAY_MS)
    customer_count = effects.usual.customers + sum(
        factor.customers.customers for factor in effects.factors
    )
    assert customer_count == 500
    assert effects.left_out == 300


def test_without_a_known_goal_nothing_is_measured(folder: Path) -> None:
    result = CliRunner().invoke(
        build_app("insights"), ["insights", "impact", "--topics", str(folder)]
    )
    assert result.exit_code == 1
    assert "--config DIR" in result.output
