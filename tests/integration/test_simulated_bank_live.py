"""The synthetic bank played to a stack that runs deploy/bank: its customers are known, get actions
and react to them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.broker.ports import is_free
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from pipeline.simulate.live import CONFIGURATION
from pipeline.simulate.world import WorldSize, customer_life
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.long

_SIZE = WorldSize(40, 20, 6)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    port = next(number for number in range(18_795, 18_895) if is_free(number))
    variables = {
        "KAIROS_BANK_WEBHOOK": f"http://127.0.0.1:{port}",
        "KAIROS_PARTITIONS": "2",
        "KAIROS_DECIDE_BUDGET_MS": "30000",
    }
    home = tmp_path_factory.mktemp("bank")
    with running_stack(Stack(home, CONFIGURATION, variables)) as stack:
        yield stack


def test_live_customers_react_to_actions_and_have_profiles(bank: Stack) -> None:
    size = ("--customers", str(_SIZE.customers), "--days", str(_SIZE.days))
    options = (*size, "--seed", str(_SIZE.seed), "--live", "--rate", "60")
    play = bank.json("simulate", "bank", *options)
    lives = [customer_life(_SIZE, index, policy=False) for index in range(_SIZE.customers)]
    assert play["synthetic"] is True
    assert (play["finished"], play["failed"]) == (True, 0)
    assert play["sent"] == sum(len(life.events) for life in lives)
    channels = {action_name.partition("/")[2] for action_name in play["actions"]}
    assert channels >= {"web", "pos", "email"}

    arms = {arm["treatment"]: arm for arm in play["learned"]}
    assert sum(arm["tried"] for arm in arms.values()) > 0
    assert all(arm["reached"] <= arm["tried"] for arm in arms.values())

    bank.wait_until_idle()
    counts_by_outcome: Counter[str] = Counter()
    for counts in play["outcomes"].values():
        counts_by_outcome.update(counts)
    assert counts_by_outcome["impression"] > 20
    counts_by_name = Counter(
        interaction.name
        for _, interaction in bank.records.read_all(topics.INTERACTIONS, Interaction)
        if interaction.kind == "outcome" and interaction.source == "bank-web"
    )
    assert counts_by_name == counts_by_outcome
    life = max(lives, key=lambda candidate: len(candidate.identifiers))
    profile = bank.ask("profile", "show", life.identifiers[0].key)
    assert profile["profile_id"] == life.profile_id


def test_statistics_equal_a_count_of_the_topics(bank: Stack) -> None:
    counts_by_name = Counter(
        interaction.name
        for _, interaction in bank.records.read_all(topics.INTERACTIONS, Interaction)
        if interaction.kind == "outcome"
    )
    action_count = sum(
        1
        for channel in ("web", "pos", "email", "call")
        for _ in bank.records.read_all(topics.actions(channel), Action)
    )
    statistics = bank.ask("insights", "campaigns")
    total = statistics["total"]
    assert total["decided"] == action_count
    assert [total[name] for name in ("impressions", "clicks", "conversions", "sent")] == [
        counts_by_name[name] for name in ("impression", "click", "conversion", "sent")
    ]
    assert statistics["support"]["unmatched"] == 0
    page = bank.home / "report.html"
    bank.kairos("insights", "report", "--out", str(page), "--goal", "Card Requested")
    assert "Content-Security-Policy" in page.read_text("utf-8")


def test_stack_of_another_configuration_is_named(bank: Stack) -> None:
    other_configuration = Path(__file__).parents[2] / "deploy" / "demo"
    bank.kairos("up", "--config", str(other_configuration))
    refusal = bank.run("simulate", "bank", "--customers", "5", "--days", "5", "--live")
    assert refusal.returncode == 1
    assert "kairos up --config deploy/bank" in refusal.stderr
