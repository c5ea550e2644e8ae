"""Models read attributes of a catalogue's items, the same in training and in serving."""

from collections.abc import Sequence
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.model_shelf import ModelShelf
from pipeline.adapters.propensity_model import model_misfit
from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate
from pipeline.config.model import Catalog, CatalogItem
from pipeline.decisioning.features import FeatureEncoder
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from pipeline.training.feature_choice import features_of
from pipeline.training.model_folder import TrainedModel, write_model
from pipeline.training.propensity import TrainingRequest, train_propensity
from pipeline.training.replayed_data import MessageGoal, open_replayed
from tests.support.deciding import campaign, hero, offer
from tests.support.played_world import PlayedWorld, ReplayFolders, bank, write_world
from tests.support.promoting import promote

_KINDS: Final = "xyz"
_TASTES: Final = {"gold": "x", "plain": "y"}
_GOAL: Final = MessageGoal("conversion", DAY_MS // 2)


def _items(prefix: str, count: int) -> tuple[CatalogItem, ...]:
    return tuple(
        CatalogItem(
            f"{prefix}{number}",
            1.0,
            f"2023-{1 + number % 10:02}-01" if number % 4 else None,
            attributes={
                "kind": _KINDS[number % 3],
                "price": 5.0 + number,
                "title": f"The {prefix}{number}",
            },
        )
        for number in range(count)
    )


def _shop(*items: CatalogItem) -> Rules:
    """Return rules that draw items for one placement with nearly equal chances."""
    all_items = (
        *items,
        *(CatalogItem(f"other{n}", 0.0, attributes={"title": f"{n}"}) for n in range(70)),
    )
    shown_campaign = campaign(
        "c",
        offer("item", 1, hero("tile"), catalog="items"),
        trigger=None,
        goal={"when": {"name": "Bought"}, "window": "7d"},
    )
    return bank(
        campaigns=[shown_campaign],
        catalogs=[Catalog("items", "unread.csv", items=all_items, most=12)],
        policies={
            "learning": {"explore": 0.5, "ramp": 0},
            "weights": [{"weight": "tier", "factor": 1, "when": {"trait": "tier", "is": "gold"}}],
        },
    )


class _PropensityLog:
    """Propensities without a model, which record the candidates and facts of each call."""

    label = "none@1"

    def __init__(self) -> None:
        self.calls: list[tuple[Sequence[CompiledCandidate], Facts]] = []

    def probabilities(self, candidates: Sequence[CompiledCandidate], facts: Facts) -> list[None]:
        self.calls.append((candidates, facts))
        return [None] * len(candidates)


@pytest.fixture(scope="module")
def propensity_log() -> _PropensityLog:
    return _PropensityLog()


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, propensity_log: _PropensityLog
) -> ReplayFolders:
    items = _items("i", 12)
    chances = {
        (tier, item.id): 0.6 if item.attributes["kind"] == favourite else 0.05
        for tier, favourite in _TASTES.items()
        for item in items
    }
    rules = with_fields(_shop(*items), propensities=propensity_log)
    world = PlayedWorld(rules, customers=120, days=10, chances=chances)
    return write_world(world, tmp_path_factory.mktemp("items"))


@pytest.fixture(scope="module")
def trained_model(folders: ReplayFolders) -> TrainedModel:
    with open_replayed(folders.segmented, folders.decisions) as replay:
        return train_propensity(replay, TrainingRequest("items", _GOAL, frozenset(), 0))


def test_rows_of_training_equal_those_of_serving(
    folders: ReplayFolders, propensity_log: _PropensityLog
) -> None:
    with open_replayed(folders.segmented, folders.decisions) as replay:
        examples = list(replay.examples(_GOAL))
        drawn_decisions = list(replay.drawn_decisions(_GOAL, 0))
    encoder = FeatureEncoder(features_of((example.facts, example.message) for example in examples))
    served_rows = {
        (facts.interaction.event_id, candidate.treatment): row
        for candidates, facts in propensity_log.calls
        if facts.interaction is not None
        for candidate, row in zip(candidates, encoder.rows(candidates, facts), strict=True)
    }
    comparison_count = 0
    for decision in drawn_decisions:
        assert decision.facts.interaction is not None
        for rival in decision.rivals:
            row = served_rows[decision.facts.interaction.event_id, rival.treatment]
            np.testing.assert_array_equal(encoder.rows([rival], decision.facts)[0], row)
            comparison_count += 1
    assert comparison_count > 2_000


def test_attributes_that_many_items_share_are_features(trained_model: TrainedModel) -> None:
    feature_names = {str(feature) for feature in trained_model.manifest.features}
    assert feature_names >= {"item.kind=x", "item.kind=y", "item.price", "item_age"}
    assert not any(name.startswith("item.title") for name in feature_names)
    assert ("c", "", "tile") in trained_model.manifest.treatments


def test_new_items_are_predicted_by_their_attributes(
    trained_model: TrainedModel, tmp_path: Path
) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")
    shelf = ModelShelf(artifacts)
    shelf.apply_record("items", promote(write_model(trained_model, tmp_path), artifacts))
    rules = shelf.equip(_shop(*_items("new", 6)))
    world = PlayedWorld(rules, customers=20, days=1, chances=_NoChances())
    tiers = {
        record.identity.profile_id: str(record.profile.traits["tier"])
        for record in world.segmented
        if record.identity and record.profile
    }
    predictions: dict[tuple[str, str], list[float]] = {}
    for decision in world.decisions:
        for candidate in decision.candidates:
            if candidate.texts and "kind" in candidate.texts:
                kind = candidate.texts["kind"]
                predictions.setdefault((tiers[decision.profile_id], kind), []).append(candidate.p)
    means = {key: sum(ps) / len(ps) for key, ps in predictions.items()}
    assert means["gold", "x"] > 1.5 * max(means["gold", "y"], means["gold", "z"])
    assert means["plain", "y"] > 1.5 * max(means["plain", "x"], means["plain", "z"])


class _NoChances(dict[tuple[str, str], float]):
    """Chances of a world in which nothing is bought."""

    def __missing__(self, key: tuple[str, str]) -> float:
        return 0.0


def test_model_of_attributes_that_no_catalogue_has_is_refused(
    trained_model: TrainedModel,
) -> None:
    items = [CatalogItem(f"p{n}", 1.0, attributes={"price": 1.0 + n}) for n in range(3)]
    problem = model_misfit(trained_model.manifest, _shop(*items).config)
    assert problem is not None
    assert "item.kind" in problem
    assert "add the column to a catalogue's table" in problem
