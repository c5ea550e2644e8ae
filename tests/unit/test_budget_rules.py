"""Budgets in decisions: withheld messages, effect of the shadow price, and their explanation."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace as with_fields

from pipeline.config.budgets import BudgetRule
from pipeline.decisioning.explain import explain, run_again
from pipeline.learner.accounts import open_account, record_of
from pipeline.model.budget import TOKENS, Grant, Purse, accept, tokens
from pipeline.model.decision import Decision
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.stack.budgets import spent_early
from tests.support.deciding import Life, campaign, hero, offer, problems, world


def _purse(left: float, price: float = 0.0) -> Purse:
    return Purse("campaign", 0, None, 1, tokens(left), 0, price)


def _rules(**purses: Purse) -> Rules:
    made = world(
        campaigns=[
            campaign("mail", offer("mail", 2), budget=10),
            campaign("page", offer("page", 5, hero("page-hero", cost=1)), budget=10),
        ]
    )
    return replace(made, wallet=purses)


def _decided(rules: Rules) -> tuple[Decision, Segmented]:
    life = Life(rules)
    life.happens("Go", 1_000, ask=("hero",))
    records = [emit.value for emit in life.emits]
    [decision] = [one for one in records if isinstance(one, Decision)]
    [segmented] = [one for one in records if isinstance(one, Segmented) and one.interaction]
    return decision, segmented


def test_offer_beyond_its_budget_is_held_back() -> None:
    decision, record = _decided(rules := _rules(mail=_purse(0.49), page=_purse(1)))
    assert {one.campaign: one.fate for one in decision.candidates} == {
        "mail": "budget mail",
        "page": "chosen",
    }
    assert [(one.budget, one.what, one.amount) for one in decision.spends] == [
        ("page", "reserved", 1.0)
    ]
    assert {one.budget: one.left for one in decision.budgets} == {"mail": 0.49, "page": 1.0}
    told = explain(decision, rules.config, "en")
    assert "nothing is left to spend of mail" in told.words
    assert "no queda nada por gastar de mail" in explain(decision, rules.config, "es").words
    assert run_again(decision, record, rules) == decision


@pytest.mark.parametrize("price", [2.9, 3.1])
def test_a_shadow_price_lowers_the_score_by_what_the_message_costs(price: float) -> None:
    decision, record = _decided(rules := _rules(mail=_purse(5, price), page=_purse(5)))
    [mail] = [one for one in decision.candidates if one.campaign == "mail"]
    assert mail.score == pytest.approx(2 - 0.5 - price * 0.5)
    assert mail.fate == ("chosen" if price < 3 else "beaten by nothing")
    [slot] = [one for one in explain(decision, rules.config, "en").slots if one.slot == "email"]
    assert f"(1 × 2 − 0.50) × 1 − {price:.2f} × 0.50" in slot.words
    assert slot.candidates[0].price == price
    assert run_again(decision, record, rules) == decision


@pytest.mark.parametrize("price", [0.0, 2.9])
def test_the_smallest_change_that_flips_counts_the_shadow_price(price: float) -> None:
    decision, _ = _decided(rules := _rules(mail=_purse(5, price), page=_purse(5)))
    [slot] = [one for one in explain(decision, rules.config, "en").slots if one.slot == "email"]
    assert slot.flip is not None
    [mail] = slot.candidates
    numbers = {"value": mail.value, "p": mail.p, "cost": mail.cost}
    numbers[slot.flip.what.split()[0]] = float(slot.flip.end)
    cost = numbers["cost"]
    assert numbers["p"] * numbers["value"] - cost - price * cost == pytest.approx(0, abs=1e-4)


def test_rules_without_budgets_read_no_purse() -> None:
    decision, record = _decided(rules := replace(_rules(), wallet=None))
    assert (decision.budgets, decision.spends) == ((), ())
    assert all(one.fate == "chosen" for one in decision.candidates)
    assert run_again(decision, record, rules) == decision


def test_transactional_messages_go_whatever_is_left() -> None:
    made = world(campaigns=[campaign("note", offer("note", 1), purpose="transactional", budget=0)])
    assert made.config.budgets == {}
    assert not world(
        campaigns=[campaign("mail", offer("mail", 2), budget=10)],
        policies={"budgets": {"enforced": False}},
    ).config.budgets


def test_an_unknown_zone_is_named() -> None:
    wrong = campaign("mail", offer("mail", 2), budget={"amount": 1, "zone": "Europe/Atlantis"})
    assert problems(campaigns=[wrong]) == [
        ("campaigns/0/budget/zone", "there is no zone 'Europe/Atlantis': Europe/Madrid")
    ]


def test_a_day_of_a_zone_is_as_long_as_its_clocks_make_it() -> None:
    rule = BudgetRule("a", TOKENS, TOKENS, "day", ZoneInfo("Europe/Madrid"))
    at = round(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp() * 1000)
    period = rule.period(at)
    assert period.name == "day 2026-03-29"
    assert period.ends is not None
    assert period.ends - period.begins == 23 * 3_600_000


@pytest.mark.parametrize(
    ("per", "name"), [("week", "week 2026-11-30"), ("month", "month 2026-12-01")]
)
def test_weeks_begin_on_mondays_and_months_on_their_first(per: str, name: str) -> None:
    rule = BudgetRule("a", TOKENS, TOKENS, per)  # type: ignore[arg-type]
    at = round(datetime(2026, 12, 6, 23, 59, tzinfo=UTC).timestamp() * 1000)
    period = rule.period(at)
    assert period.name == name
    assert period.begins <= at < (period.ends or 0)


def test_a_purse_is_good_for_its_period_alone() -> None:
    purse = Purse("day", 1_000, 2_000, 1, 5, 2)
    assert [purse.left(at) for at in (999, 1_000, 1_999, 2_000)] == [0, 3, 3, 0]


def test_only_a_newer_grant_changes_a_purse_and_never_below_what_is_spent() -> None:
    purse = Purse("campaign", 0, None, 3, 10, 4)
    old = Grant("a", "campaign", 0, None, 3, 99, 0.0)
    assert accept(purse, old) is None
    lower = accept(purse, with_fields(old, number=4, granted=1))
    assert lower is not None
    assert (lower.granted, lower.spent, lower.left(0)) == (4, 4, 0)
    new_period = accept(purse, with_fields(old, number=5, granted=7, period="day 2"))
    assert new_period is not None
    assert (new_period.spent, new_period.left(0)) == (0, 7)


def test_a_campaign_out_of_budget_is_named_early() -> None:
    rules = world(
        campaigns=[campaign("mail", offer("mail", 2), budget={"amount": 10, "per": "day"})]
    )
    noon = round(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp() * 1000)
    rule = rules.config.budgets["mail"]
    record = record_of(open_account(rule, None, noon), {}, noon)
    assert list(spent_early([record], rules.config, noon)) == []

    empty = with_fields(record, spent=10.0)
    assert list(spent_early([empty], rules.config, noon)) == [
        "mail: 10.00 of 10.00 is spent, after 50% of its period"
    ]
    assert list(spent_early([empty], rules.config, noon + 11 * 3_600_000)) == []
