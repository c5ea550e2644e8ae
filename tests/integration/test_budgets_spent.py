"""Budgets and stock over the running pipeline, while workers and the learner are killed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from pipeline.adapters.budget_log import read_budgets
from pipeline.model import topics
from pipeline.model.budget import BudgetRecord
from pipeline.model.decision import Action, Decision
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_CONFIGURATION = Path(__file__).parent / "budgets"
_KEY: Final = "budgets-web-key"
_GIFT_BUDGET: Final = 60


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stack of its own, of two workers, which spends budgets."""
    variables = {"KAIROS_PARTITIONS": "4", "KAIROS_DECIDE_BUDGET_MS": "30000"}
    home = tmp_path_factory.mktemp("budgets")
    with running_stack(Stack(home, _CONFIGURATION, variables), "--workers", "all=2") as stack:
        yield stack


def _send_visits(client: httpx.Client, names: Iterator[str], count: int) -> None:
    for _ in range(count):
        message = {"event": "Go", "userId": next(names)}
        client.post("/v1/track", json=message).raise_for_status()


def _ask(client: httpx.Client, customer_id: str) -> dict[str, Any]:
    message = {"type": "track", "event": "Look", "userId": customer_id}
    question = {"interaction": message, "placements": ["hero"]}
    answer: dict[str, Any] = client.post("/v1/decide", json=question).raise_for_status().json()
    return answer


def _decisions(shop: Stack) -> list[Decision]:
    return [decision for _, decision in shop.records.read_all(topics.DECISIONS, Decision)]


def _sum_spent(shop: Stack, budget: str) -> float:
    """Sum the spends of decisions, each action once."""
    parts = {
        spend.action_id: spend.amount
        for decision in _decisions(shop)
        for spend in decision.spends
        if spend.budget == budget and spend.what == "reserved"
    }
    return sum(parts.values())


def _record(shop: Stack, budget: str) -> BudgetRecord:
    return read_budgets(shop.settings.kafka(), shop.records.codec)[budget]


def test_budgets_are_spent_exactly_over_kills_under_traffic(shop: Stack) -> None:
    names = (f"customer-{number}" for number in range(10_000))
    with shop.client(_KEY) as client:
        for victims in (("worker-all-0", "learner"), ("worker-all-1",)):
            _send_visits(client, names, 12)
            for victim in victims:
                shop.process(victim).kill()
            _send_visits(client, names, 12)
        shop.wait_until_ready("worker-all-0", "worker-all-1", "learner")

        def spend_the_rest() -> bool:
            _send_visits(client, names, 6)
            return _sum_spent(shop, "gift") >= _GIFT_BUDGET

        eventually(spend_the_rest, 90)
        _send_visits(client, names, 8)
    shop.kairos("status", "--until-idle", "60")
    assert _sum_spent(shop, "gift") == _GIFT_BUDGET
    actions = [action for _, action in shop.records.read_all(topics.actions("email"), Action)]
    assert len(actions) == len({action.action_id for action in actions}) == _GIFT_BUDGET
    eventually(lambda: _record(shop, "gift").spent == _GIFT_BUDGET)
    record = _record(shop, "gift")
    assert (record.budget, record.leased) == (_GIFT_BUDGET, 0)
    assert sum(lease.spent for lease in record.leases) == _GIFT_BUDGET
    held_ids = [
        decision.decision_id
        for decision in _decisions(shop)
        for candidate in decision.candidates
        if "budget" in candidate.fate
    ]
    explanation = shop.json("explain", held_ids[-1], "--rerun")
    assert explanation["same"] is True
    [slot] = [slot for slot in explanation["slots"] if slot["candidates"]]
    assert [candidate["fate"] for candidate in slot["candidates"]] == ["budget gift"]
    [gift] = [budget for budget in shop.json("status")["budgets"] if budget["name"] == "gift"]
    assert (gift["spent"], gift["leased"], gift["free"]) == (_GIFT_BUDGET, 0, 0)
    assert "gift: 60.00 of 60.00 is spent" in shop.kairos("doctor")


def test_stock_of_each_item_is_not_exceeded(shop: Stack) -> None:
    with shop.client(_KEY) as client:
        first_preview = shop.json("preview", "customer_id:somebody", "--placement", "hero")
        assert first_preview["slots"][0]["chosen"]["treatment"].startswith("tile/")

        def give_the_rest() -> bool:
            answers = [_ask(client, f"looker-{number}") for number in range(6)]
            is_refused = all(answer["placements"]["hero"] is None for answer in answers)
            return is_refused and count_given_items() == {"tile/lamp": 3, "tile/chair": 4}

        def count_given_items() -> Counter[str]:
            actions = shop.records.read_all(topics.actions("web"), Action)
            return Counter(action.treatment for _, action in actions)

        eventually(give_the_rest, 180)
    shop.kairos("status", "--until-idle", "60")
    # The learner may publish its counts a moment after the decisions.
    eventually(lambda: _record(shop, "shelf/chair").spent == 4)
    last_preview = shop.json("preview", "customer_id:somebody", "--placement", "hero")
    assert last_preview["slots"][0]["chosen"] is None
    last_decision = [
        decision for decision in _decisions(shop) if "eligibility/out of stock" in decision.rejected
    ][-1]
    assert shop.json("explain", last_decision.decision_id, "--rerun")["same"] is True


def test_unchanged_configuration_replays_alike_where_budgets_ran_short(
    shop: Stack, tmp_path: Path
) -> None:
    report = shop.json("replay", "--what-if", str(_CONFIGURATION), "--out", str(tmp_path))
    assert report["identical"] is True
    assert report["before"]["decision_hash"] == report["after"]["decision_hash"]
    assert report["before"]["short"] > 0
    live_report = report["live"]
    assert live_report["decisions"] == report["before"]["decisions"]
    assert live_report["changed"] == live_report["by_budgets"]


def test_budget_of_a_day_is_leased_ahead(shop: Stack) -> None:
    record = _record(shop, "paced")
    assert record.period.startswith("day 20")
    assert record.ends_at is not None
    assert record.ends_at - record.begins_at in (82_800_000, 86_400_000, 90_000_000)
    assert record.leased > 0
    assert {lease.partition for lease in record.leases if lease.granted} == {0, 1, 2, 3}
