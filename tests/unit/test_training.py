"""Training: examples use no later interaction, and models have the stated quality."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import lightgbm
import numpy as np
import pytest
from msgspec.structs import replace
from scipy.stats import binom

from pipeline.conditions import Facts
from pipeline.decisioning.features import FeatureEncoder, ModelFeature
from pipeline.decisioning.model_manifest import PolicyValue
from pipeline.enrichment.scores import scores
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.decision import Candidate
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from pipeline.training.evaluation import calibration_error, log_loss, policy_value
from pipeline.training.feature_choice import auc
from pipeline.training.fitting import isotonic_calibration, logistic_calibration, predict
from pipeline.training.limits import LeakError, UntrainableError
from pipeline.training.model_folder import TrainedModel
from pipeline.training.propensity import TrainingRequest, train_propensity
from pipeline.training.replayed_data import (
    DrawnDecision,
    DrawnSlot,
    Example,
    MessageGoal,
    open_replayed,
)
from pipeline.training.score import moments_of, train_score
from tests.support.deciding import campaign, offer, world
from tests.support.played_world import (
    START_MS,
    PlayedWorld,
    ReplayFolders,
    bank,
    write,
    write_world,
)

_GOAL = MessageGoal("conversion", DAY_MS // 2)
_FACTS = Facts(None, {}, frozenset(), frozenset(), 0)
_REQUEST = TrainingRequest("bank", _GOAL, frozenset(), trained_at=0)


@pytest.fixture(scope="module")
def played_world() -> PlayedWorld:
    return PlayedWorld(bank(), customers=150, days=12)


@pytest.fixture(scope="module")
def folders(played_world: PlayedWorld, tmp_path_factory: pytest.TempPathFactory) -> ReplayFolders:
    return write_world(played_world, tmp_path_factory.mktemp("replayed"))


@pytest.fixture(scope="module")
def trained_model(folders: ReplayFolders) -> TrainedModel:
    return _train(folders)


def _train(folders: ReplayFolders, request: TrainingRequest = _REQUEST) -> TrainedModel:
    with open_replayed(folders.segmented, folders.decisions) as replay:
        return train_propensity(replay, request)


def _read_examples(folders: ReplayFolders) -> list[Example]:
    with open_replayed(folders.segmented, folders.decisions) as replay:
        return list(replay.examples(_GOAL))


def test_examples_use_no_later_interaction(
    played_world: PlayedWorld, folders: ReplayFolders
) -> None:
    # `bought` is the planted leak: it is set when the goal is reached.
    first_examples: dict[str, Example] = {}
    purchases: dict[str, int] = {}
    for record in played_world.segmented:
        assert record.interaction is not None
        assert record.identity is not None
        if record.interaction.name == "Bought":
            purchases.setdefault(record.identity.profile_id, record.interaction.received_at)
    examples = _read_examples(folders)
    for example in examples:
        first_examples.setdefault(example.profile_id, example)
        has_bought = "bought" in example.facts.traits
        assert has_bought == (
            purchases.get(example.profile_id, example.decided_at) < example.decided_at
        )
    reached_examples = [example for example in first_examples.values() if example.reached]
    assert len(reached_examples) > 20
    assert not any("bought" in example.facts.traits for example in first_examples.values())


def test_every_message_whose_window_is_over_is_an_example_once(
    played_world: PlayedWorld, folders: ReplayFolders
) -> None:
    end_ms = max(
        record.interaction.received_at for record in played_world.segmented if record.interaction
    )
    message_decisions = {
        decision.decision_id
        for decision in played_world.decisions
        if any(choice.action_id for choice in decision.choices)
        and decision.decided_at + _GOAL.window_ms <= end_ms
    }
    decision_ids = [example.decision_id for example in _read_examples(folders)]
    assert sorted(decision_ids) == sorted(message_decisions)


def test_outcome_after_the_window_does_not_count(folders: ReplayFolders) -> None:
    with open_replayed(folders.segmented, folders.decisions) as replay:
        assert not any(
            example.reached for example in replay.examples(MessageGoal("conversion", 150))
        )


def test_trait_that_reveals_the_outcome_is_refused(
    played_world: PlayedWorld, tmp_path: Path
) -> None:
    # The trait gets its value from the outcome, which comes later.
    reached_events = {
        decision.event_id
        for decision in played_world.decisions
        if decision.event_id in _converted_events(played_world)
    }
    leaking_world = PlayedWorld.__new__(PlayedWorld)
    leaking_world.decisions = played_world.decisions
    leaking_world.segmented = [
        replace(
            record,
            profile=replace(
                record.profile,
                traits={
                    **record.profile.traits,
                    "age": float(record.interaction.event_id in reached_events),
                },
            ),
        )
        if record.interaction is not None and record.profile is not None
        else record
        for record in played_world.segmented
    ]
    folders = write_world(leaking_world, tmp_path)
    with pytest.raises(
        LeakError, match=r"trait\.age: each alone predicts whether the goal is reached"
    ):
        _train(folders)
    assert "trait.age" not in map(str, _train(folders, _request_without("age")).manifest.features)


def _request_without(*names: str) -> TrainingRequest:
    return TrainingRequest("bank", _GOAL, frozenset(names), trained_at=0)


def _converted_events(played_world: PlayedWorld) -> set[str]:
    """Return the events whose message reached the goal."""
    actions = {
        str(record.interaction.properties["action_id"])
        for record in played_world.segmented
        if record.interaction is not None and record.interaction.name == "conversion"
    }
    return {
        decision.event_id
        for decision in played_world.decisions
        if any(choice.action_id in actions for choice in decision.choices)
    }


def test_model_finds_the_worlds_chances(trained_model: TrainedModel) -> None:
    metrics = trained_model.manifest.metrics
    assert metrics.log_loss < metrics.base_log_loss
    assert metrics.auc is not None
    assert metrics.auc > 0.65
    assert metrics.calibration_error < 0.1
    assert metrics.examples > 50
    assert trained_model.manifest.data.positives > 100


def test_same_examples_give_the_same_model(
    folders: ReplayFolders, trained_model: TrainedModel
) -> None:
    second_model = _train(folders)
    assert second_model.text == trained_model.text
    assert second_model.manifest == trained_model.manifest


def test_too_few_examples_make_no_model(folders: ReplayFolders) -> None:
    request = TrainingRequest(
        "bank", MessageGoal("conversion", 30 * DAY_MS), frozenset(), trained_at=0
    )
    with pytest.raises(UntrainableError, match="0 messages whose window is over"):
        _train(folders, request)


def test_training_and_serving_make_the_same_rows(
    played_world: PlayedWorld, folders: ReplayFolders, trained_model: TrainedModel
) -> None:
    # A model that records the rows in serving shows that they equal those of training.
    served_rows: dict[tuple[str, str], list[float]] = {}
    encoder = FeatureEncoder(trained_model.manifest.features)

    class WatchedModel:
        label = "watched@1"

        def probabilities(self, candidates, facts):  # type: ignore[no-untyped-def]
            rows = encoder.rows(candidates, facts)
            for candidate, row in zip(candidates, rows, strict=True):
                served_rows[facts.interaction.event_id, candidate.treatment] = row.tolist()
            return [None] * len(candidates)

    rules = played_world.flow.rules
    watching_rules = type(rules)(
        rules.config, rules.token_key, rules.max_action_age_ms, propensities=WatchedModel()
    )
    watched_world = PlayedWorld(watching_rules, customers=150, days=12)
    assert [decision.decision_id for decision in watched_world.decisions] == [
        decision.decision_id for decision in played_world.decisions
    ]
    examples = _read_examples(folders)
    assert len(examples) > 1000
    for example in examples:
        assert example.facts.interaction is not None
        [row] = encoder.rows([example.message], example.facts)
        served_row = served_rows[example.facts.interaction.event_id, example.message.treatment]
        np.testing.assert_array_equal(row, served_row)


def test_metrics_equal_their_definitions() -> None:
    p = np.array([0.1, 0.4, 0.4, 0.9])
    labels = np.array([False, True, False, True])
    assert log_loss(p, labels) == pytest.approx(
        -np.mean([np.log(0.9), np.log(0.4), np.log(0.6), np.log(0.9)])
    )
    pairs = [(x, y) for x in p[labels] for y in p[~labels]]
    wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs]
    assert auc(p, labels) == pytest.approx(np.mean(wins))
    assert calibration_error(p, labels) == pytest.approx(np.abs(p - labels).mean())
    curve = isotonic_calibration(
        np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    )
    assert curve.raw == pytest.approx((0.1, 0.25, 0.4))
    assert curve.p == pytest.approx((0.25, 0.5, 0.75))


def test_logistic_calibration_follows_the_true_curve() -> None:
    random = np.random.default_rng(9)
    raw = random.uniform(0.05, 0.95, 20_000)
    truth = raw**2 / (raw**2 + (1 - raw) ** 2)  # twice the log-odds
    curve = logistic_calibration(raw, random.random(len(raw)) < truth)
    np.testing.assert_allclose(np.interp(raw, curve.raw, curve.p), truth, atol=0.03)


_RETURNS: dict[str, Any] = {
    "name": "returns",
    "features": ["age", {"days_since": "last_seen"}],
    "goal": {"when": {"name": "Bought"}, "window": "12h"},
}


def test_intervals_of_the_policys_value_allow_for_customers_with_several_decisions() -> None:
    # Outcomes of one customer are alike: twelve of their decisions inform little more than one.
    random, draw_count, p = np.random.default_rng(4), 200, np.array([0.2, 0.4])
    candidates = tuple(
        Candidate("hero", "c", name, name, "web", 10.0, 0.0, 1.0, "beaten by x")
        for name in ("card", "loan")
    )
    truth = 4.0
    coverage_count, naive_coverage_count = 0, 0
    for _ in range(draw_count):
        drawn_decisions = []
        for customer in range(60):
            luck = random.random()
            for _ in range(12):
                index = int(random.integers(2))
                slot = DrawnSlot("hero", index, 0.5, bool(luck < p[index]), expired=False)
                drawn_decisions.append(DrawnDecision(str(customer), 0, _FACTS, (slot,), candidates))
        coverage_count += _is_covering(
            policy_value((decision, p) for decision in drawn_decisions), truth
        )
        independent_decisions = [
            replace(decision, profile_id=str(index))
            for index, decision in enumerate(drawn_decisions)
        ]
        naive_coverage_count += _is_covering(
            policy_value((decision, p) for decision in independent_decisions), truth
        )
    assert coverage_count >= binom.ppf(0.001, draw_count, 0.95)
    assert naive_coverage_count < 0.8 * draw_count


def _is_covering(value: PolicyValue | None, truth: float) -> bool:
    assert value is not None
    assert value.dr.low is not None
    assert value.dr.high is not None
    return value.dr.low <= truth <= value.dr.high


def test_score_is_learned_from_earlier_facts(tmp_path: Path) -> None:
    # Eager customers often buy: `eager` is set before, `bought` only afterwards.
    profile = {
        "traits": [
            {"name": name, "rule": "latest", "of": f"properties.{name}"}
            for name in ("eager", "bought")
        ],
        "scores": [{**_RETURNS, "features": ["eager", "bought"]}],
    }
    compiled_rules = bank(profile=profile, policies={}, traits=())
    records = list(_draw_buyers(compiled_rules))
    folder = write(tmp_path, topics.SEGMENTED, records)
    [score] = compiled_rules.config.bundle.profile.scores
    with open_replayed(folder) as replay:
        moments = list(moments_of(replay, score))
        trained_model = train_score(replay, score, trained_at=0)
    assert {moment.reached for moment in moments if moment.features[0] == 0} == {False}
    assert trained_model.manifest.metrics.auc is not None
    assert trained_model.manifest.metrics.auc > 0.8
    loaded_booster = lightgbm.Booster(model_str=trained_model.text)
    scorer = {"score.returns": lambda row: float(loaded_booster.predict(np.array([row]))[0])}
    served_score = scores(compiled_rules.config.scores, {"eager": 1, "bought": 1}, 0, scorer)[
        "score.returns"
    ]
    assert served_score == pytest.approx(predict(trained_model.text, np.array([[1.0, 1.0]]))[0])


@pytest.mark.parametrize(
    ("window", "share", "words"),
    [
        ("3650d", 0.7, "replay more days, or shorten the window of the goal in profile.yaml"),
        ("1d", 1.0, "remove it from the features of the score, or correct the trait"),
    ],
)
def test_refusals_of_a_score_name_remedies_that_scores_have(
    tmp_path: Path, window: str, share: float, words: str
) -> None:
    goal = {**_RETURNS["goal"], "window": window}
    profile = {
        "traits": [{"name": "eager", "rule": "latest", "of": "properties.eager"}],
        "scores": [{**_RETURNS, "goal": goal, "features": ["eager"]}],
    }
    compiled_rules = bank(profile=profile, policies={}, traits=())
    folder = write(tmp_path, topics.SEGMENTED, list(_draw_buyers(compiled_rules, share)))
    [score] = compiled_rules.config.bundle.profile.scores
    with (
        open_replayed(folder) as replay,
        pytest.raises((UntrainableError, LeakError), match=words),
    ):
        train_score(replay, score, trained_at=0)


def _draw_buyers(rules: Rules, share: float = 0.7) -> Iterator[Segmented]:
    """Yield the records of customers, of whom the eager ones buy with the probability `share`, and
    are not eager any more then."""
    random, flow = Random(5), Flow(rules)
    for number in range(900):
        visit_ms = START_MS + number % 30 * DAY_MS + number
        is_eager = random.random() < 0.4
        events = [("page", visit_ms, {"eager": int(is_eager)})]
        if is_eager and random.random() < share:
            events.append(("Bought", visit_ms + DAY_MS // 4, {"bought": 1, "eager": 0}))
        for name, time_ms, properties in events:
            interaction = Interaction(
                event_id=f"{number}-{name}",
                kind="track",
                name=name,
                channel="web",
                source="shop",
                occurred_at=time_ms,
                received_at=time_ms,
                identifiers=(Identifier("customer_id", f"c{number}"),),
                properties=properties,
            )
            yield from (
                emit.value
                for emit in flow.run(interaction)
                if isinstance(emit.value, Segmented) and emit.value.interaction is not None
            )


def test_features_have_readable_names() -> None:
    assert str(ModelFeature("trait", "tier", "gold")) == "trait.tier=gold"
    assert str(ModelFeature("offer", equals="card")) == "offer=card"


def _deferred_world() -> PlayedWorld:
    """Return a world without customers, whose campaign defers messages at night: in the morning
    they are decided again, with newer traits."""
    night = {"quiet": "night", "from": "22:00", "to": "08:00", "zone": "UTC"}
    mail = {"treatment": "mail", "channel": "email", "deadline": "12h"}
    weight = {"weight": "tier", "factor": 1, "when": {"trait": "tier", "is": "gold"}}
    rules = world(
        traits=["tier"],
        campaigns=[campaign("c", offer("o", 10, mail), defer=True)],
        policies={"quiet_hours": [night], "weights": [weight]},
    )
    return PlayedWorld(rules, customers=0, days=0)


def test_repeated_decision_is_an_example_with_its_new_facts(tmp_path: Path) -> None:
    played_world = _deferred_world()
    midnight_ms = START_MS // DAY_MS * DAY_MS
    played_world.interact(1, midnight_ms + DAY_MS // 2, "Go", {"tier": "plain"})
    played_world.interact(2, midnight_ms, "Go", {"tier": "plain"})
    played_world.interact(2, midnight_ms + 60_000, "Look", {"tier": "gold"})
    [action] = played_world.advance(midnight_ms + DAY_MS // 3)
    reference = {"action_id": action.action_id}
    played_world.interact(2, midnight_ms + DAY_MS // 3 + 1, "conversion", reference, kind="outcome")
    played_world.interact(2, midnight_ms + 3 * DAY_MS, "Look", {})
    examples = {
        example.decided_at: example
        for example in _read_examples(write_world(played_world, tmp_path))
    }
    assert sorted(examples) == [midnight_ms + DAY_MS // 3, midnight_ms + DAY_MS // 2]
    morning_example, daytime_example = (examples[time_ms] for time_ms in sorted(examples))
    assert (morning_example.facts.traits["tier"], daytime_example.facts.traits["tier"]) == (
        "gold",
        "plain",
    )
    assert (morning_example.reached, daytime_example.reached) == (True, False)
    assert morning_example.facts.now_ms == midnight_ms + DAY_MS // 3
    assert (morning_example.message.treatment, morning_example.decision_id) == (
        "mail",
        action.decision_id,
    )
