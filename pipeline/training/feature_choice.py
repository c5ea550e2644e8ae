"""Choice of features from examples, and refusal of leaking ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pipeline.conditions import Facts
from pipeline.config.readers import is_number
from pipeline.decisioning.features import (
    CANDIDATE_SOURCES,
    INTERACTION_FIELDS,
    CustomerSource,
    FeatureCandidate,
    ItemSource,
    Matrix,
    ModelFeature,
)
from pipeline.model.interaction import FactValue

Labels = npt.NDArray[np.bool_]

_MAX_TEXTS: Final = 12
"""Most texts of a value that become features, the most frequent ones."""

_MAX_NAMES: Final = 64
_MIN_SHARE: Final = 0.005
_EARLIEST_MS: Final = 946_684_800_000  # 2000: a greater number that is not in the future is a time
_LEAK_AUC: Final = 0.995
_MIN_POSITIVES: Final = 30


def features_of(examples: Iterable[tuple[Facts, FeatureCandidate]]) -> tuple[ModelFeature, ...]:
    """Return the examples' features in a fixed order: those of customers, then those of candidates.
    Identifiers and lists are excluded."""
    values: dict[tuple[CustomerSource, str], list[FactValue]] = {}
    items: dict[str, list[FactValue]] = {}
    names: dict[str, Counter[str]] = {source: Counter() for source in CANDIDATE_SOURCES}
    segments: Counter[str] = Counter()
    latest_ms = count = 0
    for facts, candidate in examples:
        count += 1
        latest_ms = max(latest_ms, facts.now_ms)
        segments.update(facts.segments)
        for source, name, value in _values(facts):
            values.setdefault((source, name), []).append(value)
        for part in CANDIDATE_SOURCES:
            names[part][getattr(candidate, part)] += 1
        for name, value in _item_values(candidate):
            items.setdefault(name, []).append(value)
    min_count = max(2, round(count * _MIN_SHARE))
    features = [
        feature
        for (source, name), known_values in sorted(values.items())
        for feature in _features(source, name, known_values, latest_ms, min_count)
    ]
    features += [
        ModelFeature("segment", segment)
        for segment, n in sorted(segments.items())
        if n >= min_count
    ]
    for part in CANDIDATE_SOURCES:
        common_names = [name for name, n in names[part].most_common(_MAX_NAMES) if n >= min_count]
        if len(names[part]) > 1:
            features += [ModelFeature(part, equals=name) for name in sorted(common_names)]
    features += [
        feature
        for name, known_values in sorted(items.items())
        for feature in _features(
            "item" if name else "item_age", name, known_values, latest_ms, min_count
        )
    ]
    return tuple(features)


def leaking_features(
    features: Sequence[ModelFeature], rows: Matrix, labels: Labels
) -> list[ModelFeature]:
    """Return features of customers that alone predict almost perfectly whether the goal is reached.

    Such a value most likely becomes known by reaching the goal: a leak.
    """
    if min(labels.sum(), (~labels).sum()) < _MIN_POSITIVES:
        return []
    return [
        feature
        for index, feature in enumerate(features)
        if not feature.is_of_candidate and _one_sided_auc(rows[:, index], labels) >= _LEAK_AUC
    ]


def auc(scores: npt.NDArray[np.float64], labels: Labels) -> float | None:
    """Return the chance that an example that reaches the goal scores higher than one that does not;
    equal scores count half. None if all are of one kind."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    ranks = float(rankdata(scores)[labels].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def _one_sided_auc(values: npt.NDArray[np.float64], labels: Labels) -> float:
    """Return the AUC of a feature alone, in its better direction: of its values or of whether it is
    missing, whichever is greater."""
    is_missing = np.isnan(values)
    numbers = np.where(
        is_missing, values[~is_missing].min() - 1 if (~is_missing).any() else 0.0, values
    )
    aucs = [auc(numbers, labels), auc(is_missing.astype(np.float64), labels)]
    return max((max(area, 1 - area) for area in aucs if area is not None), default=0.5)


def _values(facts: Facts) -> Iterator[tuple[CustomerSource, str, FactValue]]:
    for name, value in facts.traits.items():
        if not name.startswith("identifier."):
            yield "trait", name, value
    for name, value in facts.derived_values.items():
        yield "derived", name, value
    for name in INTERACTION_FIELDS:
        yield "interaction", name, getattr(facts.interaction, name)


def _item_values(candidate: FeatureCandidate) -> Iterator[tuple[str, FactValue]]:
    """Yield the attributes of an item; the beginning of its validity has an empty name."""
    yield from candidate.item.values
    if candidate.item.starts is not None:
        yield "", candidate.item.starts


def _features(
    source: CustomerSource | ItemSource,
    name: str,
    values: Sequence[FactValue],
    latest_ms: int,
    min_count: int,
) -> Iterator[ModelFeature]:
    numbers = [value for value in values if is_number(value)]
    if numbers and source == "trait" and min(numbers) >= _EARLIEST_MS and max(numbers) <= latest_ms:
        yield ModelFeature("days_since", name)
    elif len(numbers) >= min_count or sum(isinstance(value, bool) for value in values) >= min_count:
        yield ModelFeature(source, name)
    texts = Counter(value for value in values if isinstance(value, str))
    common_texts = [
        text for text, n in texts.most_common(_MAX_TEXTS) if min_count <= n < len(values)
    ]
    for text in sorted(common_texts):
        yield ModelFeature(source, name, text)
