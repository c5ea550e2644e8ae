"""`kairos bench catalog`: processor time of a decision with a catalogue of items.

The decisioning step alone, on records that the stages before it made: a customer asks a placement
for five items; the items of the customer's own interest are eligible. With a model, LightGBM
predicts all of them in one call.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import lightgbm
import msgspec
import numpy as np

from pipeline.adapters.propensity_model import PropensityModel, PropensityModels
from pipeline.config.compile import compile_bundle
from pipeline.config.model import Bundle, Catalog, CatalogItem, ItemRule
from pipeline.decisioning.features import ModelFeature
from pipeline.decisioning.model_manifest import (
    ModelManifest,
    ModelMetrics,
    Reference,
    TrainingData,
)
from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.rules.token import TokenKey
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import Say

_ITEM_LIMIT: Final = 5
_TRAIT_COUNT: Final = 8
_TREE_COUNT: Final = 60
_MAX_AGE_MS: Final = 300_000
_CUSTOMER_COUNT: Final = 50


@dataclass(frozen=True, slots=True)
class CatalogSize:
    """Number of `items`, and of those that are eligible for each customer."""

    items: int
    eligible: int


@dataclass(frozen=True, slots=True)
class CatalogCost:
    """Processor time of a decision (ms), and the model's part of it (`predict_p50`); `recorded`:
    number of candidates in the Decision."""

    items: int
    eligible: int
    model: bool
    p50: float
    p99: float
    predict_p50: float
    recorded: int


def measure(sizes: Sequence[CatalogSize], decisions: int, say: Say) -> list[CatalogCost]:
    """Measure each size without and with a model."""
    costs = []
    for size in sizes:
        rules = _rules(size)
        for model in (None, _model(rules)):
            say(f"{size.items:,} items, {size.eligible:,} eligible, model: {model is not None}")
            costs.append(_cost(size, rules, model, decisions))
    return costs


def _cost(
    size: CatalogSize, rules: Rules, model: PropensityModel | None, decisions: int
) -> CatalogCost:
    timed_model = None if model is None else _TimedModel(model)
    if timed_model is not None:
        rules = replace(rules, propensities=timed_model)
    records = _records(rules, _kind_count(size))
    costs, candidate_count = [], 0
    for number in range(decisions + 2 * len(records)):
        key, record = records[number % len(records)]
        begin_ns = time.process_time_ns()
        outcome = step(key, record, None, rules)
        costs.append((time.process_time_ns() - begin_ns) / 1e6)
        assert isinstance(outcome, Ok)
        candidate_count = len(outcome.emits[0].value.candidates)
    warm_costs = sorted(costs[2 * len(records) :])
    predict_times = sorted(timed_model.call_times_ms[2 * len(records) :]) if timed_model else [0.0]
    return CatalogCost(
        items=size.items,
        eligible=size.eligible,
        model=model is not None,
        p50=percentile(warm_costs, 0.5),
        p99=percentile(warm_costs, 0.99),
        predict_p50=percentile(predict_times, 0.5),
        recorded=candidate_count,
    )


class _TimedModel:
    """Model that records the times of its calls."""

    label = "bench@1"

    def __init__(self, model: PropensityModel) -> None:
        self.call_times_ms: list[float] = []
        self._model = PropensityModels((model,))

    def probabilities(self, candidates: Any, facts: Any) -> Any:
        if not candidates:
            return []
        begin_ns = time.process_time_ns()
        propensities = self._model.probabilities(candidates, facts)
        self.call_times_ms.append((time.process_time_ns() - begin_ns) / 1e6)
        return propensities


def _catalog(size: CatalogSize) -> Catalog:
    kind_count, random = _kind_count(size), np.random.default_rng(1)
    items = tuple(
        CatalogItem(
            f"sku-{number:05}",
            float(value),
            attributes={"kind": f"kind-{number % kind_count}", "title": f"Item {number}"},
        )
        for number, value in enumerate(random.uniform(1, 100, size.items))
    )
    return Catalog(
        "products",
        "products.csv",
        only=(ItemRule("interest", attribute="kind"),),
        exclude=(ItemRule("seen"),),
        boost=(ItemRule("liked", factor=1.5),),
        items=items,
    )


def _rules(size: CatalogSize) -> Rules:
    traits = [
        {"name": name, "rule": "latest", "of": f"properties.{name}"}
        for name in ("interest", "seen", "liked", *(f"n{n}" for n in range(_TRAIT_COUNT)))
    ]
    tile = {
        "treatment": "tile",
        "channel": "web",
        "placement": "grid",
        "p": 0.05,
        "content": {"title": "{item.title}", "sku": "{item.kind}"},
    }
    bundle = msgspec.convert(
        {
            "sources": {"sources": [{"name": "s", "channel": "web", "write_key": "bench-key-1"}]},
            "identity": {"namespaces": [{"name": "customer_id"}]},
            "channels": {"channels": [{"name": "web", "placements": ["grid"]}]},
            "profile": {"traits": traits, "features": [f"n{n}" for n in range(_TRAIT_COUNT)]},
            "campaigns": [
                {
                    "campaign": "shop",
                    "offers": [
                        {
                            "offer": "product",
                            "value": 1,
                            "catalog": "products",
                            "treatments": [tile],
                        }
                    ],
                }
            ],
        },
        Bundle,
    )
    config = compile_bundle(msgspec.structs.replace(bundle, catalogs=(_catalog(size),)))
    assert not isinstance(config, tuple), config
    return Rules(config, TokenKey("bench" * 8), _MAX_AGE_MS)


def _model(rules: Rules) -> PropensityModel:
    [entry] = rules.config.placement_entries["grid"]
    items = entry.candidates[0].items
    assert items is not None
    ties = tuple(candidate.tie for candidate in items.candidates)  # type: ignore[attr-defined]
    features = (
        *(ModelFeature("trait", f"n{n}") for n in range(_TRAIT_COUNT)),
        *(ModelFeature("offer", equals=tie[1]) for tie in ties[:64]),
    )
    random, offer_count = np.random.default_rng(2), len(features) - _TRAIT_COUNT
    rows = np.concatenate(
        (random.normal(size=(4_000, _TRAIT_COUNT)), random.random((4_000, offer_count)) < 0.1),
        axis=1,
    )
    log_odds = rows[:, 0] + rows[:, 1] * rows[:, 2] + rows[:, _TRAIT_COUNT] * 2 - 2
    labels = random.random(len(rows)) < 1 / (1 + np.exp(-log_odds))
    parameters = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(rows, labels.astype(np.float64))
    text = lightgbm.train(parameters, data, _TREE_COUNT).model_to_string()
    manifest = ModelManifest(
        name="bench",
        version=1,
        kind="propensity",
        digest="0" * 64,
        features=features,
        treatments=ties,
        calibration=None,
        goal="conversion",
        window_ms=1,
        data=TrainingData(0, 1, 0, 1, 1, 1),
        metrics=ModelMetrics(1, 1, 0.5, 0.5, None, 0.0),
        reference=Reference((), (1.0,)),
        trained_at=0,
    )
    return PropensityModel(manifest, lightgbm.Booster(model_str=text))


def _kind_count(size: CatalogSize) -> int:
    """Return the number of kinds of items; a customer is interested in one."""
    return max(1, size.items // size.eligible)


def _records(rules: Rules, kind_count: int) -> list[tuple[str, Segmented]]:
    """Return a request of each customer, as the record that segmentation writes."""
    flow, random = Flow(rules), np.random.default_rng(3)
    requests = []
    for number in range(_CUSTOMER_COUNT):
        numbers = {
            f"n{n}": float(value) for n, value in enumerate(random.normal(size=_TRAIT_COUNT))
        }
        lists = {
            name: tuple(f"sku-{n:05}" for n in random.integers(0, 2_500, 10))
            for name in ("seen", "liked")
        }
        interaction = Interaction(
            event_id=f"e{number}",
            kind="page",
            name="Home",
            channel="web",
            source="s",
            occurred_at=number + 1_700_000_000_000,
            received_at=number + 1_700_000_000_000,
            identifiers=(Identifier("customer_id", f"c{number}"),),
            properties={**numbers, "interest": f"kind-{number % kind_count}"},
            lists=lists,
            request=DecideRequest("r", "g", ("grid",), 2, {"grid": _ITEM_LIMIT}),
        )
        requests += [
            (emit.key, emit.value)
            for emit in flow.run(interaction)
            if isinstance(emit.value, Segmented) and emit.value.interaction is not None
        ]
    return requests
