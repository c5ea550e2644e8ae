"""Worth of another configuration by a log of drawn choices, against a known truth."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.flow import Flow
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.engines import open_duckdb
from pipeline.insights.policy_slots import Replays
from pipeline.insights.policy_worth import PolicyWorth, estimate_worth
from pipeline.insights.tables import Engine
from pipeline.model.decision import Decision, SlotChances
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.replay.outputs import OutputTables
from pipeline.replay.playing import LogPlayer
from pipeline.rules import Rules
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence
from tests.support.campaign_goals import named_goal
from tests.support.deciding import campaign, hero, offer, world
from tests.support.replayed import write_topic

_START_MS: Final = 1_704_067_200_000
_GOAL: Final = {"when": {"name": "Bought"}, "window": "1d"}
_RATES: Final = {"a": 0.1, "b": 0.3, "c": 0.2, "new": 0.5}
"""True probability that a customer buys after the message."""

_VALUE: Final = 10.0
_COST: Final = 0.5
_CUSTOMER_COUNT: Final = 1_500
_ANY_TIME: Final = Period()


def _rules(*names: str, is_learning: bool = True, **success_counts: float) -> Rules:
    """Return rules that offer treatments of these names, and draw one by its `success_counts` among
    40 trials."""
    offers = [offer(name, _VALUE, hero(name, p=0.2, cost=_COST)) for name in names]
    sale = campaign("sale", *offers, goal=_GOAL, trigger={"name": "Never"})
    policies = {"learning": {"ramp": 0, "explore": 0.1}} if is_learning else {}
    compiled_rules = world(campaigns=[sale], policies=policies)
    if compiled_rules.chooser is None:
        return compiled_rules
    ties = {
        candidate.treatment: candidate.tie
        for e in compiled_rules.config.placement_entries["hero"]
        for candidate in e.candidates
    }
    evidence_by_treatment = {
        (ties[name], ""): TreatmentEvidence(40.0, successes, 40)
        for name, successes in success_counts.items()
    }
    return with_fields(
        compiled_rules,
        chooser=compiled_rules.chooser.with_knowledge(Knowledge("1-test", evidence_by_treatment)),
    )


def _yield_visits() -> Iterator[Interaction]:
    """Yield two visits of each customer, one visit a minute."""
    for number in range(2 * _CUSTOMER_COUNT):
        visit_ms = _START_MS + number * 60_000
        identifiers = (Identifier("customer_id", f"p{number % _CUSTOMER_COUNT}"),)
        request = DecideRequest(f"r{number}", "g", ("hero",), visit_ms + 100, {"hero": 1})
        yield Interaction(
            f"e{number}",
            "track",
            "Visit",
            "web",
            "shop",
            visit_ms,
            visit_ms,
            identifiers,
            request=request,
        )


def _purchase(visit: Interaction, number: int) -> Interaction:
    purchase_ms = visit.received_at + HOUR_MS
    return replace(
        visit,
        event_id=f"b{number}",
        name="Bought",
        occurred_at=purchase_ms,
        received_at=purchase_ms,
        request=None,
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with decisions by chance among a, b and c, and with their outcomes."""
    return _write_log(tmp_path_factory.mktemp("log"), _rules("a", "b", "c", a=8.0, b=6.0, c=7.0))


def _write_log(folder: Path, rules: Rules) -> Path:
    random = np.random.default_rng(7)
    flow, decisions, inputs = Flow(rules), [], []
    for number, visit in enumerate(_yield_visits()):
        values = [emit.value for emit in flow.run(visit)]
        decision = next(value for value in values if isinstance(value, Decision))
        segmented = next(value for value in values if isinstance(value, Segmented))
        decisions.append(decision)
        inputs.append(segmented)
        treatment = decision.choices[0].treatment
        if random.random() < _RATES.get(treatment or "", 0.0):
            inputs.append(replace(segmented, interaction=_purchase(visit, number)))
    end = replace(
        visit, event_id="end", name="End", occurred_at=0, received_at=_START_MS + 60 * DAY_MS
    )
    inputs.append(replace(segmented, interaction=end))
    write_topic(folder, "decisions", decisions)
    write_topic(folder, "interactions.segmented", inputs)
    return folder


@pytest.fixture
def evaluate(log: Path, tmp_path: Path) -> Callable[..., PolicyWorth]:
    """Function that estimates the worth of rules by the log."""

    def estimate(
        rules: Rules, folder: Path = log, period: Period = _ANY_TIME, own_rules: Rules | None = None
    ) -> PolicyWorth:
        replays = Replays(
            _replay(tmp_path / "other", rules),
            None if own_rules is None else _replay(tmp_path / "own", own_rules),
        )
        with open_duckdb(Engine(threads=1)) as queries:
            support = load_facts(queries, folder, Period(period.since_ms))
            load_goals(queries, [named_goal("sale", "Bought", DAY_MS)])
            return estimate_worth(queries, replays, period, support.until_ms or 0)

    return estimate


def _replay(folder: Path, rules: Rules) -> Path:
    folder.mkdir(exist_ok=True)
    with OutputTables(folder) as tables:
        player = LogPlayer(with_fields(rules, with_chances=True), tables.write)
        for visit in _yield_visits():
            player.play(visit)
    return folder / "decisions.parquet"


def _truth(rules: Rules) -> float:
    """Return the true mean worth per slot."""
    chances = _chances(rules)
    return sum(chance * (_RATES[name] * _VALUE - _COST) for name, chance in chances.items() if name)


def _chances(rules: Rules) -> Mapping[str, float]:
    """Return the chances of the first visit, which equal those of all others."""
    flow = Flow(with_fields(rules, with_chances=True))
    values = [emit.value for emit in flow.run(next(_yield_visits()))]
    [chances] = [value for value in values if isinstance(value, SlotChances)]
    [decision] = [value for value in values if isinstance(value, Decision)]
    assert chances.decision_id == decision.decision_id
    [choice] = decision.choices
    assert chances.slots["hero"][choice.treatment or ""] == pytest.approx(
        choice.propensity, abs=1e-9
    )
    assert sum(chances.slots["hero"].values()) == pytest.approx(1, abs=1e-3)
    return chances.slots["hero"]


@pytest.mark.parametrize(
    "other_rules",
    [
        _rules("a", "b", "c", a=2.0, b=14.0, c=5.0),
        _rules("a", "c", a=9.0, c=5.0),
        _rules("b", b=10.0),
        _rules("b", is_learning=False),
    ],
    ids=["mostly b", "without b", "b by learning", "b without a draw"],
)
def test_estimate_covers_the_truth(
    evaluate: Callable[..., PolicyWorth], other_rules: Rules
) -> None:
    own_truth = _truth(_rules("a", "b", "c", a=8.0, b=6.0, c=7.0))
    truth = _truth(other_rules) if other_rules.chooser else _RATES["b"] * _VALUE - _COST
    result = evaluate(other_rules)
    assert (result.slots, result.customers) == (2 * _CUSTOMER_COUNT, _CUSTOMER_COUNT)
    assert (result.undrawn, result.unfinished, result.unplayed) == (0, 0, 0)
    assert result.covered == pytest.approx(1, abs=0.1)
    assert result.other is not None
    for estimate, true_worth in (
        (result.ran, own_truth),
        (result.other.ips, truth),
        (result.other.snips, truth),
        (result.other.dr, truth),
        (result.gain, truth - own_truth),
    ):
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < true_worth < estimate.high
        assert estimate.high - estimate.low < 1.0
    assert result.gain.value is not None
    assert result.total.value == pytest.approx(result.gain.value * result.slots)
    assert np.sign(result.gain.value) == np.sign(truth - own_truth)


def test_gains_of_offers_cover_the_truth_and_add_up(evaluate: Callable[..., PolicyWorth]) -> None:
    own_rules = _rules("a", "b", "c", a=8.0, b=6.0, c=7.0)
    other_rules = _rules("a", "b", "c", a=2.0, b=14.0, c=5.0)
    result = evaluate(other_rules, own_rules=own_rules)
    assert {worth.name for worth in result.offers} == {"a", "b", "c"}
    own_chances, other_chances = _chances(own_rules), _chances(other_rules)
    for offer_worth in result.offers:
        truth = result.slots * (other_chances[offer_worth.name] - own_chances[offer_worth.name])
        assert offer_worth.after - offer_worth.before == pytest.approx(
            truth, abs=0.06 * result.slots
        )
        assert offer_worth.gain.low is not None
        assert offer_worth.gain.high is not None
        assert (
            offer_worth.gain.low
            < truth * (_RATES[offer_worth.name] * _VALUE - _COST)
            < offer_worth.gain.high
        )
    assert sum(estimate.gain.value or 0 for estimate in result.offers) == pytest.approx(
        result.total.value
    )
    [channel] = result.channels
    assert channel.name == "web"
    assert (channel.gain.value, channel.gain.low, channel.gain.high) == pytest.approx(
        (result.total.value, result.total.low, result.total.high)
    )


def test_dropped_offer_loses_the_worth_of_its_messages(
    evaluate: Callable[..., PolicyWorth],
) -> None:
    own_rules = _rules("a", "b", "c", a=8.0, b=6.0, c=7.0)
    estimate = evaluate(_rules("a", "c", a=8.0, c=7.0), own_rules=own_rules)
    lost_offer = next(offer for offer in estimate.offers if offer.name == "b")
    assert (lost_offer.after, lost_offer.before > 0) == (0, True)
    truth = -_chances(own_rules)["b"] * estimate.slots * (_RATES["b"] * _VALUE - _COST)
    assert lost_offer.gain.low is not None
    assert lost_offer.gain.high is not None
    assert lost_offer.gain.low < truth < lost_offer.gain.high < 0


def test_many_slots_are_estimated_in_little_memory(tmp_path: Path) -> None:
    """Estimate worths on logs larger than the engine's memory. The estimate of a log equals that of
    one half as long, so that no slot is left out."""
    estimates = [_estimate_large_log(tmp_path, count, "128MB") for count in (100_000, 200_000)]
    assert [estimate.slots for estimate in estimates] == [100_000, 200_000]
    for estimate in estimates:
        assert estimate.gain.value == pytest.approx(
            0.3 * (0.2 * _VALUE) - 0.3 * (0.1 * _VALUE), abs=0.05
        )


def _estimate_large_log(folder: Path, slot_count: int, memory: str) -> PolicyWorth:
    """Estimate the worth of showing b more often and a less often, on a log of that many slots."""
    chances = "MAP {'a': %s, 'b': %s, '': 0.1}"
    path = folder / f"{slot_count}.parquet"
    with open_duckdb(Engine(memory=memory, folder=folder, threads=1)) as queries:
        connection = queries.connection
        connection.execute(_LARGE_LOG.format(slot_count=slot_count))
        for name, chance in (("own", (0.6, 0.3)), ("other", (0.3, 0.6))):
            connection.execute(
                f"""COPY (SELECT decision_id, 'hero' AS slot, 'web' AS channel, treatment,
                ['all'] AS segments, {chances % chance} AS chances,
                [{{'treatment': 'a', 'offer': 'a', 'channel': 'web'}}] AS candidates
                FROM drawn) TO '{path}.{name}' (FORMAT parquet)"""
            )
        replays = Replays(Path(f"{path}.other"), Path(f"{path}.own"))
        return estimate_worth(queries, replays, _ANY_TIME, 10 * DAY_MS)


_LARGE_LOG: Final = """
CREATE TEMP TABLE drawn AS SELECT 'decision-of-a-long-name-' || i AS decision_id,
    'customer-' || (i % 20000) AS customer,
    CASE WHEN hash(i) % 10 < 6 THEN 'a' WHEN hash(i) % 10 < 9 THEN 'b' ELSE '' END AS treatment,
    CASE WHEN hash(i) % 10 < 6 THEN 0.6 WHEN hash(i) % 10 < 9 THEN 0.3 ELSE 0.1 END AS propensity,
    i FROM range({slot_count}) AS t(i);
CREATE TEMP TABLE decided AS SELECT decision_id, customer, i AS at_ms,
    [{{'slot': 'hero', 'treatment': treatment, 'action_id': decision_id, 'propensity': propensity}}]
    AS choices FROM drawn;
CREATE TEMP TABLE messages AS SELECT decision_id AS action_id, customer, 'sale' AS campaign,
    i AS at_ms, 10.0 AS worth, 0.0 AS cost FROM drawn WHERE treatment <> '';
CREATE TEMP TABLE reported AS SELECT decision_id AS action_id, 0 AS expired,
    CASE WHEN hash(i + 7) % 10 < CASE treatment WHEN 'a' THEN 1 ELSE 2 END THEN 1 ELSE 0 END
    AS conversion FROM drawn WHERE treatment <> '';
CREATE TEMP TABLE windows AS SELECT 'sale' AS campaign, 1000 AS window_ms;
CREATE TEMP TABLE goals AS SELECT '' AS customer, '' AS campaign, 0 AS at_ms WHERE FALSE
"""


def test_same_configuration_gains_nothing(evaluate: Callable[..., PolicyWorth]) -> None:
    estimate = evaluate(_rules("a", "b", "c", a=8.0, b=6.0, c=7.0))
    assert estimate.other is not None
    assert estimate.other.ips.value == pytest.approx(estimate.ran.value, abs=1e-6)
    assert estimate.gain.value == pytest.approx(0, abs=0.02)
    assert estimate.covered == pytest.approx(1, abs=1e-6)


def test_gain_is_relative_to_the_replay_where_it_differs_from_the_log(
    evaluate: Callable[..., PolicyWorth],
) -> None:
    own_rules = _rules("a", "b", "c", a=9.0, b=5.0, c=5.0)
    same_worth = evaluate(own_rules, own_rules=own_rules)
    assert same_worth.replayed is not None
    assert same_worth.replayed.value != same_worth.ran.value
    assert (same_worth.gain.value, same_worth.gain.low, same_worth.undrawn) == (0.0, None, 0)
    for estimate in same_worth.offers:
        assert estimate.before == estimate.after > 0
        assert (estimate.gain.value, estimate.gain.low) == (0.0, None)
    other_rules = _rules("a", "b", "c", a=2.0, b=14.0, c=5.0)
    result = evaluate(other_rules, own_rules=own_rules)
    assert result.replayed is not None
    assert result.replayed.low is not None
    assert result.replayed.high is not None
    assert result.replayed.low < _truth(own_rules) < result.replayed.high
    assert result.gain.low is not None
    assert result.gain.high is not None
    assert result.gain.low < _truth(other_rules) - _truth(own_rules) < result.gain.high


def test_unchanged_slot_without_a_draw_gains_nothing(
    evaluate: Callable[..., PolicyWorth], tmp_path: Path
) -> None:
    (tmp_path / "sure").mkdir()
    folder = _write_log(tmp_path / "sure", _rules("a", is_learning=False))
    drawn_rules = _rules("a", "b", a=9.0, b=5.0)
    same_worth = evaluate(drawn_rules, folder, own_rules=drawn_rules)
    assert (same_worth.slots, same_worth.undrawn, same_worth.gain.value) == (
        2 * _CUSTOMER_COUNT,
        0,
        0.0,
    )
    assert (
        evaluate(_rules("b", is_learning=False), folder, own_rules=drawn_rules).undrawn
        == 2 * _CUSTOMER_COUNT
    )


def test_treatments_that_the_log_never_had_are_not_covered(
    evaluate: Callable[..., PolicyWorth],
) -> None:
    estimate = evaluate(_rules("a", "b", "new", a=8.0, b=6.0, new=30.0))
    assert estimate.covered is not None
    assert estimate.covered < 0.5


def test_log_without_draws_gives_no_estimate(
    evaluate: Callable[..., PolicyWorth], tmp_path: Path
) -> None:
    (tmp_path / "sure").mkdir()
    folder = _write_log(tmp_path / "sure", _rules("a", is_learning=False))
    estimate = evaluate(_rules("b", is_learning=False), folder)
    assert (estimate.slots, estimate.undrawn, estimate.other) == (0, 2 * _CUSTOMER_COUNT, None)
    assert estimate.gain.value is None
    same_worth = evaluate(_rules("a", is_learning=False), folder)
    assert (same_worth.slots, same_worth.undrawn, same_worth.gain.value) == (
        2 * _CUSTOMER_COUNT,
        0,
        0.0,
    )


def test_slots_outside_the_period_are_left_out(
    evaluate: Callable[..., PolicyWorth], log: Path
) -> None:
    rules = _rules("b", b=10.0)
    middle_ms = _START_MS + _CUSTOMER_COUNT * 60_000
    first_half = evaluate(rules, log, Period(None, middle_ms))
    assert (first_half.slots, first_half.unplayed) == (_CUSTOMER_COUNT, 0)
    second_half = evaluate(rules, log, Period(middle_ms))
    assert second_half.slots == _CUSTOMER_COUNT
