"""Budgets in decisions: withheld messages, effect of the shadow price, and their explanation."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace as with_fields

from pipeline.config.budgets import BudgetRule
from pipeline.decisioning.budgets.accounts import open_account, record_of
from pipeline.decisioning.explain import explain, run_again
from pipeline.model.budget import TOKENS, Grant, Purse, accept, tokens
from pipeline.model.decision import Decision
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.stack.budgets import early_exhaustions
from tests.support.deciding import Life, campaign, hero, offer, problems, world


def _purse(amount: float, price: float = 0.0) -> Purse:
    return Purse("campaign", 0, None, 1, tokens(amount), 0, price)


def _rules(**purses: Purse) -> Rules:
    compiled_rules = world(
        campaigns=[
            campaign("mail", offer("mail", 2), budget=10),
            campaign("page", offer("page", 5, hero("page-hero", cost=1)), budget=10),
        ]
    )
    return replace(compiled_rules, wallet=purses)


def _decide(rules: Rules) -> tuple[Decision, Segmented]:
    life = Life(rules)
    life.interact("Go", 1_000, ask=("hero",))
    records = [emit.value for emit in life.emits]
    [decision] = [record for record in records if isinstance(record, Decision)]
    [segmented] = [
        record for record in records if isinstance(record, Segmented) and record.interaction
    ]
    return decision, segmented


def test_offer_beyond_its_budget_is_held_back() -> None:
    decision, record = _decide(rules := _rules(mail=_purse(0.49), page=_purse(1)))
    assert {candidate.campaign: candidate.fate for candidate in decision.candidates} == {
        "mail": "budget mail",
        "page": "chosen",
    }
    assert [(spend.budget, spend.what, spend.amount) for spend in decision.spends] == [
        ("page", "reserved", 1.0)
    ]
    assert {budget.budget: budget.left for budget in decision.budgets} == {
        "mail": 0.49,
        "page": 1.0,
    }
    explanation = explain(decision, rules.config, "en")
    assert "nothing is left to spend of mail" in explanation.words
    assert "no queda nada por gastar de mail" in explain(decision, rules.config, "es").words
    assert run_again(decision, record, rules) == decision


@pytest.mark.parametrize("price", [2.9, 3.1])
def test_score_falls_by_the_shadow_price_times_the_cost(price: float) -> None:
    decision, record = _decide(rules := _rules(mail=_purse(5, price), page=_purse(5)))
    [mail] = [candidate for candidate in decision.candidates if candidate.campaign == "mail"]
    assert mail.score == pytest.approx(2 - 0.5 - price * 0.5)
    assert mail.fate == ("chosen" if price < 3 else "beaten by nothing")
    [slot] = [slot for slot in explain(decision, rules.config, "en").slots if slot.slot == "email"]
    assert f"(1 × 2 − 0.50) × 1 − {price:.2f} × 0.50" in slot.words
    assert slot.candidates[0].price == price
    assert run_again(decision, record, rules) == decision


@pytest.mark.parametrize("price", [0.0, 2.9])
def test_smallest_change_that_flips_the_choice_includes_the_shadow_price(price: float) -> None:
    decision, _ = _decide(rules := _rules(mail=_purse(5, price), page=_purse(5)))
    [slot] = [slot for slot in explain(decision, rules.config, "en").slots if slot.slot == "email"]
    assert slot.flip is not None
    [mail] = slot.candidates
    numbers = {"value": mail.value, "p": mail.p, "cost": mail.cost}
    numbers[slot.flip.what.split()[0]] = float(slot.flip.end)
    cost = numbers["cost"]
    assert numbers["p"] * numbers["value"] - cost - price * cost == pytest.approx(0, abs=1e-4)


def test_rules_without_a_wallet_read_no_purse() -> None:
    decision, record = _decide(rules := replace(_rules(), wallet=None))
    assert (decision.budgets, decision.spends) == ((), ())
    assert all(candidate.fate == "chosen" for candidate in decision.candidates)
    assert run_again(decision, record, rules) == decision


def test_transactional_and_unenforced_campaigns_have_no_budget() -> None:
    compiled_rules = world(
        campaigns=[campaign("note", offer("note", 1), purpose="transactional", budget=0)]
    )
    assert compiled_rules.config.budgets == {}
    assert not world(
        campaigns=[campaign("mail", offer("mail", 2), budget=10)],
        policies={"budgets": {"enforced": False}},
    ).config.budgets


def test_unknown_zone_is_named() -> None:
    campaign_in_unknown_zone = campaign(
        "mail", offer("mail", 2), budget={"amount": 1, "zone": "Europe/Atlantis"}
    )
    assert problems(campaigns=[campaign_in_unknown_zone]) == [
        (
            "campaigns/0/budget/zone",
            "no time zone 'Europe/Atlantis': use an IANA name such as Europe/Madrid",
        )
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Madrid", "2026-03-29", 23),
        ("Europe/Madrid", "2026-10-25", 25),
        ("Africa/Cairo", "2026-04-24", 23),  # has no midnight
        ("Africa/Cairo", "2026-10-29", 25),  # its last hour comes twice
        ("Asia/Kathmandu", "2026-04-24", 24),
    ],
)
def test_day_of_a_zone_is_as_long_as_its_clocks_make_it(zone: str, day: str, hours: int) -> None:
    rule = BudgetRule("a", TOKENS, TOKENS, "day", ZoneInfo(zone))
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    period = rule.period(round(noon.timestamp() * 1000))
    assert period.name == f"day {day}"
    assert period.ends is not None
    assert period.ends - period.begins == hours * 3_600_000
    previous_period, next_period = rule.period(period.begins - 1), rule.period(period.ends)
    assert (previous_period.ends, next_period.begins) == (period.begins, period.ends)


@pytest.mark.parametrize(
    ("per", "name"), [("week", "week 2026-11-30"), ("month", "month 2026-12-01")]
)
def test_weeks_begin_on_mondays_and_months_on_their_first(per: str, name: str) -> None:
    rule = BudgetRule("a", TOKENS, TOKENS, per)  # type: ignore[arg-type]
    at = round(datetime(2026, 12, 6, 23, 59, tzinfo=UTC).timestamp() * 1000)
    period = rule.period(at)
    assert period.name == name
    assert period.begins <= at < (period.ends or 0)


def test_purse_is_valid_in_its_period_alone() -> None:
    purse = Purse("day", 1_000, 2_000, 1, 5, 2)
    assert [purse.left(at) for at in (999, 1_000, 1_999, 2_000)] == [0, 3, 3, 0]


def test_only_a_newer_grant_changes_a_purse_and_never_below_its_spending() -> None:
    purse = Purse("campaign", 0, None, 3, 10, 4)
    old_grant = Grant("a", "campaign", 0, None, 3, 99, 0.0)
    assert accept(purse, old_grant) is None
    reduced_purse = accept(purse, with_fields(old_grant, number=4, granted=1))
    assert reduced_purse is not None
    assert (reduced_purse.granted, reduced_purse.spent, reduced_purse.left(0)) == (4, 4, 0)
    next_purse = accept(purse, with_fields(old_grant, number=5, granted=7, period="day 2"))
    assert next_purse is not None
    assert (next_purse.spent, next_purse.left(0)) == (0, 7)


def test_only_a_budget_that_is_exhausted_early_is_reported() -> None:
    rules = world(
        campaigns=[campaign("mail", offer("mail", 2), budget={"amount": 10, "per": "day"})]
    )
    noon = round(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp() * 1000)
    rule = rules.config.budgets["mail"]
    record = record_of(open_account(rule, None, noon), {}, noon)
    assert list(early_exhaustions([record], rules.config, noon)) == []

    spent_record = with_fields(record, spent=10.0)
    assert list(early_exhaustions([spent_record], rules.config, noon)) == [
        "mail: 10.00 of 10.00 is spent, after 50% of its period"
    ]
    assert list(early_exhaustions([spent_record], rules.config, noon + 11 * 3_600_000)) == []


def test_grant_for_the_next_period_leaves_the_present_one_unchanged() -> None:
    purse = Purse("day 1", 0, 1_000, 3, 10, 4)
    purse_of_two_days = accept(purse, Grant("a", "day 2", 1_000, 2_000, 4, 7, 0.5))
    assert purse_of_two_days is not None
    assert (purse_of_two_days.left(999), purse_of_two_days.left(1_000)) == (6, 7)
    assert (purse_of_two_days.at(999).price, purse_of_two_days.at(1_000).price) == (0.0, 0.5)
    reduced_purse = purse_of_two_days.pay("day 1", 2).pay("day 2", 3)
    assert (reduced_purse.left(999), reduced_purse.left(1_000)) == (4, 4)
    larger_purse = accept(reduced_purse, Grant("a", "day 2", 1_000, 2_000, 5, 9, 0.5))
    assert larger_purse is not None
    assert (larger_purse.left(999), larger_purse.left(1_000)) == (4, 6)
    assert accept(larger_purse, Grant("a", "day 2", 1_000, 2_000, 5, 90, 0.5)) is None
    purse_of_next_days = accept(larger_purse, Grant("a", "day 3", 2_000, 3_000, 6, 8, 0.0))
    assert purse_of_next_days is not None
    assert [purse_of_next_days.left(at) for at in (999, 1_500, 2_000)] == [0, 6, 8]


def test_budget_that_changes_its_period_begins_at_once() -> None:
    purse = Purse("day 1", 0, 1_000, 3, 10, 4)
    campaign_purse = accept(purse, Grant("a", "campaign", 0, None, 4, 7, 0.0))
    assert campaign_purse is not None
    assert (campaign_purse.left(500), campaign_purse.next_purse) == (7, None)
