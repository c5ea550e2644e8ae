"""Promoted models: their use in decisions, their refusal, and their name in a decision."""

from dataclasses import replace as with_fields
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.latest_learning import LatestLearning
from pipeline.adapters.model_promotions import Promotion, Promotions
from pipeline.adapters.model_shelf import ModelShelf, rules_with_models
from pipeline.adapters.propensity_model import model_misfit
from pipeline.decisioning.explain import explain, run_again
from pipeline.decisioning.model_manifest import manifest_from
from pipeline.model.learning import SNAPSHOT, LearningRecord, Posterior
from pipeline.model.time import DAY_MS
from pipeline.rules.knowledge import EMPTY_KNOWLEDGE, TreatmentEvidence
from pipeline.stack.model_drift import ModelUse, drift_of, stability_index
from pipeline.training.fitting import calibrate, predict
from pipeline.training.model_folder import StoredModel, TrainedModel, read_models, write_model
from pipeline.training.propensity import TrainingRequest, train_propensity
from pipeline.training.replayed_data import MessageGoal, open_replayed
from tests.support.deciding import Life, campaign, hero, offer
from tests.support.played_world import GOAL_CHANCES, PlayedWorld, bank, write_world
from tests.support.promoting import promote


@pytest.fixture(scope="module")
def trained_model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("replayed")
    decisions, segmented = write_world(PlayedWorld(bank(), customers=120, days=10), folder)
    request = TrainingRequest("bank", MessageGoal("conversion", DAY_MS // 2), frozenset(), 0)
    with open_replayed(segmented, decisions) as replay:
        return train_propensity(replay, request)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def _store(trained_model: TrainedModel, folder: Path, tweak: float = 0.0) -> StoredModel:
    reference = replace(trained_model.manifest.reference, edges=(tweak,), shares=(0.5, 0.5))
    manifest = replace(trained_model.manifest, reference=reference)
    return write_model(TrainedModel(manifest, trained_model.text), folder)


def test_decision_uses_the_promoted_model_and_names_it(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    shelf, rules = ModelShelf(artifacts), bank()
    assert shelf.equip(rules) is rules
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    equipped_rules = shelf.equip(rules)
    world = PlayedWorld(equipped_rules, customers=20, days=2)
    records = {
        (record.identity.profile_id, record.interaction.event_id): record
        for record in world.segmented
        if record.interaction and record.identity
    }
    decisions = [decision for decision in world.decisions if decision.candidates]
    assert len(decisions) == 40
    for decision in decisions:
        assert decision.model == "bank@1"
        for candidate in decision.candidates:
            worth = (candidate.p * candidate.value - candidate.cost) * candidate.weight
            assert candidate.score == pytest.approx(worth)
            assert 0 < candidate.p < 1
        record = records[decision.profile_id, decision.event_id]
        decision_rules = rules_with_models(rules, decision.model, artifacts)
        assert not isinstance(decision_rules, str)
        assert run_again(decision, record, decision_rules) == decision
        assert run_again(decision, record, rules) != decision
        assert explain(decision, rules.config, "en").model == "bank@1"
    assert all(decision.model is None for decision in world.decisions if not decision.candidates)


def test_choices_by_the_model_beat_random_ones_and_the_best_fixed_one(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    # Choices are valued by the world's true chances; half of the customers are gold.
    shelf = ModelShelf(artifacts)
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    world = PlayedWorld(shelf.equip(bank()), customers=60, days=3)
    tiers = {
        record.identity.profile_id: str(record.profile.traits["tier"])
        for record in world.segmented
        if record.identity and record.profile
    }
    chosen_chances = [
        GOAL_CHANCES[tiers[decision.profile_id], choice.offer]
        for decision in world.decisions
        for choice in decision.choices
        if choice.offer is not None
    ]
    offers = {name for _, name in GOAL_CHANCES}
    chances_by_offer = {
        name: sum(GOAL_CHANCES[tier, name] for tier in ("gold", "plain")) / 2 for name in offers
    }
    assert len(chosen_chances) == 180
    value = sum(chosen_chances) / len(chosen_chances)
    assert value > 1.2 * max(chances_by_offer.values())
    assert value > 1.4 * sum(chances_by_offer.values()) / len(chances_by_offer)


def test_served_probability_is_that_of_the_trained_model(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    # The probability in the decision is the calibrated prediction of the text model.
    shelf = ModelShelf(artifacts)
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    equipped_rules = shelf.equip(bank())
    assert equipped_rules.propensities is not None
    calls = []

    class RecordingPropensities:
        label = "bank@1"

        def probabilities(self, candidates, facts):  # type: ignore[no-untyped-def]
            propensities = equipped_rules.propensities.probabilities(candidates, facts)  # type: ignore[union-attr]
            calls.append((candidates, facts, propensities))
            return propensities

    PlayedWorld(
        with_fields(equipped_rules, propensities=RecordingPropensities()), customers=10, days=1
    )
    encoder = equipped_rules.propensities.models[0]._encoder  # type: ignore[attr-defined]
    for candidates, facts, propensities in calls:
        if candidates:
            raw = predict(trained_model.text, encoder.rows(candidates, facts))
            np.testing.assert_allclose(
                propensities, calibrate(raw, trained_model.manifest.calibration)
            )


def test_damaged_model_is_refused_and_the_one_before_stays(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    shelf, rules = ModelShelf(artifacts), bank()
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    second_record = promote(_store(trained_model, tmp_path, tweak=0.5), artifacts)
    assert second_record.model is not None
    assert second_record.model.version == 2
    file = artifacts.find(second_record.model.manifest)
    assert file is not None
    data = file.read_bytes()
    file.write_bytes(data[:-10])
    shelf.apply_record("bank", second_record)
    assert shelf.equip(rules).propensities.label == "bank@1"  # type: ignore[union-attr]
    file.write_bytes(data)
    shelf.apply_record("bank", second_record)
    assert shelf.equip(rules).propensities.label == "bank@2"  # type: ignore[union-attr]
    shelf.apply_record("bank", None)
    assert shelf.equip(rules).propensities is None


def test_model_with_features_unknown_to_decisions_is_not_used(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    shelf = ModelShelf(artifacts)
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    rules_without_traits = bank(policies={})  # where no condition reads the traits
    problem = model_misfit(trained_model.manifest, rules_without_traits.config)
    assert problem is not None
    assert "features` of profile.yaml" in problem
    assert shelf.equip(rules_without_traits).propensities is None
    traits = [{"name": n, "rule": "latest", "of": f"properties.{n}"} for n in ("tier", "age")]
    traits.append({"name": "bought", "rule": "latest", "of": "properties.bought"})
    rules_with_traits = bank(
        profile={"traits": traits, "features": ["tier", "age", "bought"]}, policies={}, traits=()
    )
    assert shelf.equip(rules_with_traits).propensities is not None


def test_snapshots_and_models_of_one_topic_reach_their_readers(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    latest_learning, rules = LatestLearning(artifacts), bank()
    changes: list[str] = []
    latest_learning.on_change = lambda: changes.append(latest_learning.knowledge().name)

    def snapshot(number: int) -> LearningRecord:
        evidence = Posterior("sale", "shoes", "tile", "", 10.0 * number, 1.0, 10, 1)
        return LearningRecord(number, "d" * 64, 0, posteriors=(evidence,))

    assert latest_learning.knowledge() is EMPTY_KNOWLEDGE
    latest_learning.apply_record(SNAPSHOT, snapshot(2))
    latest_learning.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    latest_learning.apply_record(SNAPSHOT, snapshot(1))  # a late snapshot from a replaced learner
    latest_learning.apply_record(SNAPSHOT, None)
    evidence = latest_learning.knowledge().treatment_evidence(("sale", "shoes", "tile"), "")
    assert evidence == TreatmentEvidence(20.0, 1.0, 10)
    assert latest_learning.models.equip(rules).propensities.label == "bank@1"  # type: ignore[union-attr]
    latest_learning.apply_record(SNAPSHOT, snapshot(3))
    latest_learning.apply_record("bank", None)
    assert latest_learning.models.equip(rules).propensities is None
    assert [name.partition("-")[0] for name in changes] == ["2", "2", "3", "3"]


def test_versions_are_distinguished_by_their_content(
    trained_model: TrainedModel, tmp_path: Path
) -> None:
    first_model, same_model = _store(trained_model, tmp_path), _store(trained_model, tmp_path)
    other_model = _store(trained_model, tmp_path, tweak=0.5)
    assert (
        first_model.manifest.version,
        same_model.manifest.version,
        other_model.manifest.version,
    ) == (1, 1, 2)
    assert [model.manifest.label for model in read_models(tmp_path)] == ["bank@1", "bank@2"]
    stored_manifest = manifest_from(first_model.manifest_file.read_bytes())
    assert stored_manifest == first_model.manifest
    assert isinstance(manifest_from(b"{}"), str)


def test_rollback_goes_to_the_version_before(artifacts: Artifacts) -> None:
    promotions = Promotions(artifacts)
    promotion_list = [
        Promotion("bank", number, f"d{number}", f"m{number}", 0, "ada") for number in (1, 2, 3)
    ]
    for promotion in promotion_list:
        promotions.add(promotion)
    promotions.add(replace(promotion_list[2], rolled_back=True))
    assert promotions.stack("bank") == promotion_list[:2]
    promotions.add(promotion_list[0])
    assert promotions.stack("bank") == [*promotion_list[:2], promotion_list[0]]
    assert promotions.find("bank@3") == promotion_list[2]


def test_drift_is_distinguished_from_chance(trained_model: TrainedModel) -> None:
    random = np.random.default_rng(2)
    manifest = replace(trained_model.manifest, window_ms=10, goal="conversion")
    edges = np.quantile(random.random(10_000) * 0.5, [0.25, 0.5, 0.75])
    manifest = replace(
        manifest,
        reference=replace(manifest.reference, edges=tuple(map(float, edges)), shares=(0.25,) * 4),
    )

    def drift_of_use(p: np.ndarray, outcomes: np.ndarray) -> tuple[float, float]:
        use = ModelUse({f"a{n}": (float(x), 100) for n, x in enumerate(p)})
        goal_times = {(f"a{n}", "conversion"): 105 for n in np.flatnonzero(outcomes)}
        drift = drift_of(manifest, use, goal_times, now_ms=1000)
        return drift.psi, drift.calibration_gap

    p = random.random(2000) * 0.5
    psi, gap = drift_of_use(p, random.random(2000) < p)
    assert psi < 0.02
    assert gap == 0
    psi, gap = drift_of_use(p, random.random(2000) < p / 3)
    assert psi < 0.02
    assert gap > 0.1
    psi, _ = drift_of_use(0.3 + p * 0.4, random.random(2000) < 0.3 + p * 0.4)
    assert psi > 0.25
    assert stability_index((0.5, 0.5), (0.5, 0.5)) == 0


def test_candidates_of_all_slots_are_predicted_in_one_call(
    trained_model: TrainedModel, artifacts: Artifacts, tmp_path: Path
) -> None:
    shelf = ModelShelf(artifacts)
    shelf.apply_record("bank", promote(_store(trained_model, tmp_path), artifacts))
    sale = offer(
        "card", 10, hero("card-hero"), hero("card-banner", placement="banner"),
        {"treatment": "card-email", "channel": "email"},
    )  # fmt: skip
    loan = offer("loan", 10, hero("loan-hero"))
    rules = shelf.equip(bank(campaigns=[campaign("c", sale, loan, holdout=0.999)]))
    assert rules.propensities is not None
    calls: list[int] = []

    class Booster:
        def predict(self, rows, **options):  # type: ignore[no-untyped-def]
            calls.append(len(rows))
            return booster.predict(rows, **options)

    [model] = rules.propensities.models  # type: ignore[attr-defined]
    booster = model._booster
    model._booster = Booster()
    model._treatments |= {("c", "card", "card-banner"), ("c", "card", "card-email")}
    decision = Life(rules).interact("Go", 1, ask=["hero", "banner"], tier="gold", age=30)
    assert {candidate.slot for candidate in decision.candidates} == {"hero", "banner", "email"}
    assert calls == [4]
