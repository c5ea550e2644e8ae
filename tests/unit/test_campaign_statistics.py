"""Statistics of campaigns equal a plain count, and their lift covers a known truth."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from typer.testing import CliRunner

from pipeline.cli.insights_campaigns import load_statistics
from pipeline.cli.main import build_app
from pipeline.config.model import Campaign, Goal
from pipeline.insights.campaign_facts import Period
from pipeline.insights.campaigns import CampaignFigures, CampaignStatistics, Lift
from pipeline.insights.engines import open_duckdb
from pipeline.insights.goals import campaign_goals
from pipeline.insights.intervals import ArmSums, ClusterSums, conversion_difference, rate, wilson
from pipeline.insights.tables import Engine, TableError
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Assignment, Candidate, Choice, Decision
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.simulate.offers import NOTHING, SALES, WINDOW_MS, BankOffer
from pipeline.simulate.truth import effect
from tests.support.bank_campaigns import BankMeeting, BankRecords, bank_records
from tests.support.replayed import as_segmented, decision, event, write_topic

_START = 1_704_067_200_000
_DAYS = 14
_CAMPAIGNS = tuple(
    Campaign(sale.campaign, (), goal=Goal({"name": sale.goal}, "3d")) for sale in SALES
)


def _statistics(
    decisions: Iterable[Decision],
    segmented: Iterable[Segmented],
    campaigns: Sequence[Campaign] = _CAMPAIGNS,
    period: Period | None = None,
) -> CampaignStatistics:
    with TemporaryDirectory() as name, open_duckdb(Engine()) as connection:
        write_topic(Path(name), DECISIONS, decisions)
        write_topic(Path(name), SEGMENTED, segmented)
        return load_statistics(connection, Path(name), period or Period(), campaigns)


def _candidate(campaign: str, channel: str, fate: str = "chosen", cost: float = 0.5) -> Candidate:
    offer = f"{campaign}-offer"
    return Candidate(
        f"{channel}/slot", campaign, offer, f"{offer}-{channel}", channel, 7.0, cost, 1.0, fate
    )


_reports = st.lists(
    st.tuples(
        st.sampled_from(["sent", "delivered", "impression", "click", "dismiss", "conversion"]),
        st.sampled_from([None, 0.0, 2.5, -1.0, "much"]),
    ),
    max_size=4,
)
_messages = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cy"]),
        st.sampled_from(["spring", "winter"]),
        st.sampled_from(["web", "email"]),
        st.integers(0, 2),
        st.booleans(),
        _reports,
    ),
    max_size=12,
)


@given(_messages, st.booleans())
@settings(max_examples=15, deadline=None)
def test_counts_equal_a_plain_count(
    messages: list[tuple[str, str, str, int, bool, list[tuple[str, float | str | None]]]],
    are_repeated: bool,
) -> None:
    decisions, segmented = [], []
    expected: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    revenue: Counter[tuple[str, str]] = Counter()
    for number, (customer_id, campaign, channel, day, is_held, reports) in enumerate(messages):
        at = _START + day * DAY_MS + number
        fate = "held out by few" if is_held else "chosen"
        decisions.append(
            decision(f"e{number}", customer_id, at, _candidate(campaign, channel, fate))
        )
        segmented.append(as_segmented(customer_id, event(f"e{number}", "Home", at), ("vip",)))
        key = (campaign, channel)
        expected[key]["held" if is_held else "decided"] += 1
        for kind in {kind for kind, _ in reports} if not is_held else ():
            expected[key][kind] += 1
        for index, (kind, value) in enumerate(reports):
            properties = {
                "action_id": f"a-e{number}",
                **({} if value is None else {"value": value}),
            }
            outcome = event(f"o{number}-{index}", kind, at + 1, **properties)
            segmented.append(as_segmented(customer_id, outcome))
            if kind == "conversion" and isinstance(value, float) and value > 0 and not is_held:
                revenue[key] += value
    copies = 2 if are_repeated else 1
    statistics = _statistics(decisions * copies, segmented * copies)
    assert {(item.campaign, item.channel) for item in statistics.items} == set(expected)
    for item in statistics.items:
        assert item.campaign
        assert item.channel
        counts = expected[item.campaign, item.channel]
        assert _counts(item) == [counts[name] for name in _COUNT_NAMES]
        assert item.revenue == pytest.approx(revenue[item.campaign, item.channel])
        assert item.cost == pytest.approx(0.5 * counts["decided"])
        assert item.worth == pytest.approx(7.0 * counts["conversion"])
    for rows in (statistics.campaigns, statistics.channels, statistics.days, statistics.segments):
        assert sum(row.decided for row in rows) == statistics.total.decided


_COUNT_NAMES = (
    "decided",
    "held",
    "sent",
    "delivered",
    "impression",
    "click",
    "dismiss",
    "conversion",
)


def _counts(figures: CampaignFigures) -> list[int]:
    return [
        figures.decided, figures.held, figures.sent, figures.delivered, figures.impressions,
        figures.clicks, figures.dismissals, figures.conversions,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def bank() -> BankRecords:
    return bank_records(1, 2_500, _DAYS)


@pytest.fixture(scope="module")
def bank_statistics(bank: BankRecords) -> CampaignStatistics:
    return _statistics(bank.decisions, bank.segmented)


def test_lift_equals_a_plain_comparison_of_arms(
    bank: BankRecords, bank_statistics: CampaignStatistics
) -> None:
    assert bank_statistics.support.until_ms is not None
    channel_lifts = [lift for lift in bank_statistics.lifts if lift.channel is not None]
    assert len(channel_lifts) == 8
    for estimate in channel_lifts:
        meetings = [
            meeting
            for meeting in bank.meetings
            if (meeting.offer.offer, meeting.channel) == (estimate.offer, estimate.channel)
        ]
        arms = _arms(meetings, bank_statistics.support.until_ms)
        assert (estimate.treated.customers, estimate.treated.converted) == arms[0]
        assert (estimate.held.customers, estimate.held.converted) == arms[1]


def _arms(
    meetings: Iterable[BankMeeting], until_ms: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    counts = Counter[tuple[bool, bool]]()
    for meeting in meetings:
        if meeting.at + WINDOW_MS < until_ms:
            is_reached = (
                meeting.reached_at is not None
                and meeting.at < meeting.reached_at <= meeting.at + WINDOW_MS
            )
            counts[meeting.is_held, is_reached] += 1
    return (
        (counts[False, False] + counts[False, True], counts[False, True]),
        (counts[True, False] + counts[True, True], counts[True, True]),
    )


def test_agents_choice_gives_no_lift_where_naive_comparison_is_wrong(
    bank_statistics: CampaignStatistics,
) -> None:
    assert bank_statistics.without_lift == {"loans": "no customer was held out"}


@dataclass(frozen=True)
class DailyArms:
    """Campaign that `new_customers` enter a day; `holdout_share` of them are held out. `chances`:
    probabilities of a conversion of treated and of held-out customers."""

    new_customers: int
    holdout_share: float
    chances: tuple[float, float]

    @property
    def effect(self) -> float:
        return self.chances[0] - self.chances[1]

    def draw(self, random: np.random.Generator, days: int) -> Iterator[tuple[ArmSums, ArmSums]]:
        """Yield the arms at the end of each day."""
        new = random.poisson(self.new_customers, days)
        held_count = random.binomial(new, self.holdout_share)
        arms = []
        for customers, chance in zip((new - held_count, held_count), self.chances, strict=True):
            conversions = random.binomial(customers, chance)
            arms.append((customers.cumsum().tolist(), conversions.cumsum().tolist()))
        for day in range(days):
            treated_arm, holdout_arm = (
                ArmSums(arm_days[day], hits[day], 0.0, 0.0) for arm_days, hits in arms
            )
            yield treated_arm, holdout_arm


_PATH_COUNT = 1_500
"""Campaigns that are looked at every day for two months, in each case."""

_CASES = [
    DailyArms(new_customers=60, holdout_share=0.5, chances=(0.20, 0.20)),
    DailyArms(new_customers=60, holdout_share=0.1, chances=(0.06, 0.03)),
    DailyArms(new_customers=15, holdout_share=0.3, chances=(0.50, 0.40)),
    DailyArms(new_customers=400, holdout_share=0.05, chances=(0.012, 0.010)),
]


@pytest.mark.parametrize("case", _CASES)
def test_confidence_sequences_cover_the_truth_at_every_daily_look(case: DailyArms) -> None:
    # At most one campaign in twenty may ever be outside its sequence, on any day. Intervals for a
    # single look are left by far more campaigns, which shows that the sequences are needed.
    random = np.random.default_rng(17)
    miss_count, single_interval_miss_count = 0, 0
    for _ in range(_PATH_COUNT):
        looks = [look for arms in case.draw(random, days=60) if (look := _look(*arms)) is not None]
        distances = [abs(look.value - case.effect) for look in looks]
        miss_count += any(
            distance > look.reach for distance, look in zip(distances, looks, strict=True)
        )
        single_interval_miss_count += any(
            distance > look.reach_once for distance, look in zip(distances, looks, strict=True)
        )
    assert miss_count <= binom.ppf(0.999, _PATH_COUNT, 0.05)
    assert single_interval_miss_count > binom.ppf(0.999, _PATH_COUNT, 0.05)


@dataclass(frozen=True)
class Look:
    """Difference of two arms, with half the width of its confidence sequence and half the width of
    the usual interval."""

    value: float
    reach: float
    reach_once: float


def _look(treatment_arm: ArmSums, holdout_arm: ArmSums) -> Look | None:
    difference = conversion_difference(treatment_arm, holdout_arm)
    if difference is None or difference.low is None or difference.high is None:
        return None
    shares = [
        (arm.customers, arm.conversions / arm.customers) for arm in (treatment_arm, holdout_arm)
    ]
    variance = sum(share * (1 - share) / n for n, share in shares)
    return Look(difference.value, (difference.high - difference.low) / 2, 1.96 * sqrt(variance))


def test_intervals_of_rates_allow_for_customers_with_several_messages() -> None:
    # Customers differ in how many messages they get and in how often they click.
    random = np.random.default_rng(23)
    world_count, coverage_count, naive_coverage_count = 1_000, 0, 0
    for _ in range(world_count):
        trials = random.integers(1, 12, 300)
        clicks = random.binomial(trials, random.beta(0.6, 1.4, 300))
        sums = ClusterSums(
            customers=300,
            events=int(clicks.sum()),
            trials=int(trials.sum()),
            event_squares=float((clicks**2).sum()),
            trial_squares=float((trials**2).sum()),
            products=float((clicks * trials).sum()),
        )
        share = rate(sums)
        assert share.low is not None
        assert share.high is not None
        coverage_count += share.low <= 0.3 <= share.high
        low, high = wilson(sums.events / sums.trials, sums.trials)
        naive_coverage_count += low <= 0.3 <= high
    assert (
        binom.ppf(0.001, world_count, 0.95) <= coverage_count <= binom.ppf(0.999, world_count, 0.97)
    )
    assert naive_coverage_count < 0.8 * world_count


def test_lift_of_channels_is_near_the_truth(bank_statistics: CampaignStatistics) -> None:
    sales_by_offer = {sale.offer: sale for sale in SALES}
    for lift in bank_statistics.lifts:
        if lift.offer is None or lift.conversion is None or lift.conversion.low is None:
            continue
        assert lift.conversion.high is not None
        truth = _truth(sales_by_offer[lift.offer], lift.channel)
        assert lift.conversion.low <= truth <= lift.conversion.high, lift


def _truth(offer: BankOffer, channel: str | None) -> float:
    if channel is not None:
        return effect(offer, channel)
    contacted_share = 1 - offer.shares[NOTHING]
    return sum(effect(offer, arm) * offer.shares[arm] for arm in offer.arms) / contacted_share


def _lift(other_holdout_share: float, held_every: int, has_next_offer: bool = False) -> Lift:
    """Return the lift of 1,000 customers, of whom every `held_every`th is held out, beside
    1,000 · `other_holdout_share` held-out customers of another campaign. `has_next_offer`: whether
    held-out customers get another offer."""
    decisions = []
    for number in range(1_000):
        is_held = number % held_every == 0
        assignments = (Assignment("few", is_held, _START),)
        fate = "held out by few" if is_held else "chosen"
        chosen_candidate = _candidate("spring", "web", fate)
        record = decision(
            f"e{number}", f"p{number}", _START, chosen_candidate, holdouts=assignments
        )
        if is_held and has_next_offer:
            next_choice = Choice("web/slot", "web", f"a-{number}", "spring", "other", "other-web")
            record = msgspec.structs.replace(record, choices=(next_choice,))
        decisions.append(record)
    holdout_count = round(1_000 * other_holdout_share)
    for number in range(holdout_count):
        other_decision = decision(
            f"f{number}", f"q{number}", _START, _candidate("other", "web"),
            holdouts=(Assignment("few", True, _START),),
        )  # fmt: skip
        decisions.append(other_decision)
    goal_records = [
        as_segmented(f"p{number}", event(f"g{number}", "Bought", _START + 5, value=3.0))
        for number in range(1_000)
        if number % 7 < 2
    ]
    late_goal = as_segmented("late", event("late", "Home", _START + 9 * DAY_MS))
    campaigns = (Campaign("spring", (), goal=Goal({"name": "Bought"}, "3d")),)
    statistics = _statistics(decisions, [*goal_records, late_goal], campaigns)
    return next(
        lift for lift in statistics.lifts if lift.campaign == "spring" and lift.offer is None
    )


def test_goals_before_the_message_and_after_its_window_are_no_conversions_of_it() -> None:
    messages = []
    for number in range(200):
        is_held = number % 2 == 0
        assignments = (Assignment("few", is_held, _START),)
        candidate = _candidate("spring", "web", "held out by few" if is_held else "chosen")
        messages.append(
            decision(f"e{number}", f"p{number}", _START, candidate, holdouts=assignments)
        )
    moments = (-WINDOW_MS, -1, 0, 1, WINDOW_MS, WINDOW_MS + 1)
    goals = [
        as_segmented(f"p{number}", event(f"g{number}", "Bought", _START + delay_ms))
        for number, delay_ms in enumerate(moments)
    ]
    late_goal = as_segmented("late", event("late", "Home", _START + 9 * DAY_MS))
    campaigns = (Campaign("spring", (), goal=Goal({"name": "Bought"}, "3d")),)
    statistics = _statistics(messages, [*goals, late_goal], campaigns)
    lift = next(
        lift for lift in statistics.lifts if lift.campaign == "spring" and lift.offer is None
    )
    assert (lift.treated.customers, lift.held.customers) == (100, 100)
    # One a moment after the message, one at the end of its window.
    assert lift.treated.converted + lift.held.converted == 2


def test_arms_of_unlikely_sizes_are_not_compared() -> None:
    assert _lift(0.0, 5).verdict != "not comparable"
    assert _lift(1.0, 5).verdict == "not comparable"


def test_customer_with_the_next_best_offer_is_compared_with_that_offer() -> None:
    assert _lift(0.0, 5).against == "nothing"
    assert _lift(0.0, 5, has_next_offer=True).against == "next best"


def test_interval_of_a_share_widens_with_customers_that_repeat() -> None:
    single_rate = rate(ClusterSums(100, 30, 100, 30, 100, 30))
    same_rate = rate(ClusterSums(10, 30, 100, 300, 1_000, 300))
    assert single_rate.low is not None
    assert single_rate.high is not None
    assert (single_rate.low, single_rate.high) == pytest.approx(wilson(0.3, 100), abs=0.005)
    assert same_rate.low is not None
    assert same_rate.low < single_rate.low - 0.1


@given(st.integers(1, 400), st.data())
def test_wilson_bounds_are_those_of_the_score_test(trials: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, trials)) / trials
    for limit in wilson(share, trials):
        assert 0 <= limit <= 1
        if 0 < share < 1:
            score = (share - limit) ** 2 * trials / (limit * (1 - limit))
            assert score == pytest.approx(1.959964**2, rel=1e-4)


def test_goal_conditions_mean_the_same_in_sql() -> None:
    def count_conversions(condition: dict[str, object]) -> int:
        campaigns = (Campaign("spring", (), goal=Goal(condition, "3d")),)
        decisions = [
            decision(
                f"e{customer_id}", customer_id, _START, _candidate("spring", "web", fate),
                holdouts=(Assignment("few", fate != "chosen", _START),),
            )
            for customer_id, fate in (("ann", "chosen"), ("bob", "held out by few"))
        ]  # fmt: skip
        goal_records = [
            as_segmented(
                "ann", event("1", "Paid", _START + 1, amount=20.0, **{"card.kind": "it's gold"})
            ),
            as_segmented("bob", event("2", "Paid", _START + 1, amount=5.0)),
            as_segmented("bob", event("3", "Home", _START + 4 * DAY_MS)),
        ]
        statistics = _statistics(decisions, goal_records, campaigns)
        lift = next(lift for lift in statistics.lifts if lift.campaign == "spring")
        return lift.treated.converted * 10 + lift.held.converted

    assert count_conversions({"name": "Paid"}) == 11
    assert count_conversions({"all": [{"name": "Paid"}, {"property": "amount", "gte": 20}]}) == 10
    assert count_conversions({"property": "card.kind", "is": "it's gold"}) == 10
    assert count_conversions({"not": {"property": "card.kind", "exists": True}}) == 1
    assert count_conversions({"any": [{"name": "Nothing"}, {"property": "amount", "lt": 6}]}) == 1


def test_goal_that_needs_a_profile_is_named_and_has_no_lift() -> None:
    campaigns = (Campaign("spring", (), goal=Goal({"segment": "vip"}, "3d")),)
    (goal,) = campaign_goals(campaigns)
    assert "not the interaction alone" in str(goal)
    decisions = [decision("e", "ann", _START, _candidate("spring", "web"))]
    statistics = _statistics(decisions, [], campaigns)
    assert "member" in statistics.without_lift["spring"]


def test_empty_topics_give_zeros_and_no_rate() -> None:
    statistics = _statistics([], [])
    assert statistics.total.decided == 0
    assert statistics.total.conversion_rate.share is None
    assert (statistics.campaigns, statistics.lifts) == ((), ())
    text = msgspec.json.encode(statistics).decode()
    assert "NaN" not in text


def test_rate_of_one_customer_without_conversion_is_zero_with_an_upper_bound() -> None:
    statistics = _statistics([decision("e", "ann", _START, _candidate("spring", "web"))], [])
    assert statistics.total.conversion_rate.share == 0
    assert statistics.total.conversion_rate.high is not None


def test_period_counts_only_its_own_decisions(bank: BankRecords) -> None:
    until = _START + 5 * DAY_MS
    former_statistics = _statistics(bank.decisions, bank.segmented, period=Period(until_ms=until))
    assert former_statistics.total.decided == sum(
        not meeting.is_held and meeting.at < until for meeting in bank.meetings
    )
    later_statistics = _statistics(bank.decisions, bank.segmented, period=Period(since_ms=until))
    total = sum(not meeting.is_held for meeting in bank.meetings)
    assert former_statistics.total.decided + later_statistics.total.decided == total


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with open_duckdb(Engine()) as connection:
        with pytest.raises(TableError, match=r"decisions: has no Parquet files; make them by"):
            load_statistics(connection, tmp_path, Period(), ())
        write_topic(tmp_path, DECISIONS, [])
        write_topic(tmp_path, SEGMENTED, [])
        (part,) = (tmp_path / DECISIONS).rglob("*.parquet")
        part.write_bytes(part.read_bytes()[:-20])
        with pytest.raises(TableError, match=f"{part.name}: cannot be read"):
            load_statistics(connection, tmp_path, Period(), ())


def test_command_prints_json_and_tables(bank: BankRecords, tmp_path: Path) -> None:
    write_topic(tmp_path, DECISIONS, bank.decisions[:50])
    write_topic(tmp_path, SEGMENTED, bank.segmented[:200])
    command = ["insights", "campaigns", "--topics", str(tmp_path), "--config", "deploy/bank"]
    result = CliRunner().invoke(build_app("insights"), [*command, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["total"]["decided"] == sum(
        campaign["decided"] for campaign in document["campaigns"]
    )
    table_result = CliRunner().invoke(build_app("insights"), command)
    assert table_result.exit_code == 0
    assert "Lift over holdouts" in table_result.stdout
