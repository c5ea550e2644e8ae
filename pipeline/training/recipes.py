"""Recipes of a catalogue: related items, learned from customers' interactions.

Each pair is scored by customers, not by interactions, so that no customer counts twice. Items with
too little evidence fall back to items with similar attributes, then to popular ones.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from math import sqrt
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.conditions.duration import duration_ms
from pipeline.config.catalogs import EVERYBODY, item_events
from pipeline.config.conditions import compile_condition
from pipeline.config.model import Catalog, CatalogItem, ItemEvents
from pipeline.model.interaction import text_of
from pipeline.training.limits import UntrainableError
from pipeline.training.replayed_data import ProfileInteraction

BOUGHT_TOGETHER: Final = "bought-together"
VIEWED_TOGETHER: Final = "viewed-together"
MOST_RESOLVED: Final = "most-resolved"
POPULAR_IN_SEGMENT: Final = "popular-in-segment"
SIMILAR: Final = "similar"
RECIPES: Final = (BOUGHT_TOGETHER, VIEWED_TOGETHER, MOST_RESOLVED, POPULAR_IN_SEGMENT, SIMILAR)

_MAX_RECENT_ITEMS: Final = 50
"""Latest items of a customer that pair with the next one. Without this limit, the pairs of a robot
would grow with the square of its items."""
_BATCH_ITEMS: Final = 256
"""Items compared with all others at a time."""
_Z: Final = 1.645
"""Normal quantile of the bound by which rates are compared."""

_Scores = dict[str, dict[str, float]]


class RecipeRow(Struct, frozen=True):
    """Row of a table of recipes; `item` may also be a topic, a segment, or empty: for all
    customers."""

    recipe: str
    item: str
    related_item: str
    score: float


class RecipeLimits(Struct, frozen=True):
    """Limits of a table of recipes. `min_customers`: fewest customers of a pair; `max_items`: most
    related items of an item."""

    min_customers: int = 3
    max_items: int = 20


class _ItemEvent(Struct, frozen=True):
    """Items of an interaction at `at` (ms), in the customer's segments then."""

    at: int
    items: tuple[str, ...]
    segments: frozenset[str]
    topics: tuple[str, ...] = ()


def learn_recipes(
    catalog: Catalog, interactions: Iterable[ProfileInteraction], limits: RecipeLimits
) -> list[RecipeRow]:
    """Return the recipes of a catalogue, the best first in each; `interactions` are by customer, in
    the order of time. Raises UntrainableError."""
    if catalog.events is None:
        raise UntrainableError(
            f"catalogue {catalog.catalog} has no `events`: name the interactions to learn from"
        )
    counts = _Counts(catalog, catalog.events)
    for _, group in groupby(interactions, attrgetter("profile_id")):
        counts.add([interaction.facts for interaction in group])
    if not counts.popularity:
        raise UntrainableError(
            f"catalogue {catalog.catalog}: no interaction that fits `events` names one of its items"
        )
    return list(_rows(catalog, counts, limits))


class _Counts:
    """Numbers of customers by item, by pair of items, and by item and topic or segment."""

    def __init__(self, catalog: Catalog, events: ItemEvents) -> None:
        self.purchases, self.views = _Pairs(), _Pairs()
        self.solutions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.segment_popularity: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.popularity: Counter[str] = Counter()
        self._items = frozenset(item.id for item in catalog.items)
        self._window_ms = duration_ms(events.window)
        self._readers = {
            name: (compile_condition(event.when).test, event)
            for name, event in item_events(catalog)
        }

    def add(self, facts: Sequence[Facts]) -> None:
        """Count a customer."""
        events = {name: self._read(name, facts) for name in self._readers}
        self.purchases.add(events.get("bought", ()), self._window_ms)
        self.views.add(events.get("viewed", ()), self._window_ms)
        for topic, item in {
            (topic, item)
            for interaction in events.get("solved", ())
            for topic in interaction.topics
            for item in interaction.items
        }:
            self.solutions[topic][item] += 1
        kinds = ("bought", "solved", "viewed")
        preferences = next((events[kind] for kind in kinds if events.get(kind)), [])
        self.popularity.update({item for interaction in preferences for item in interaction.items})
        for segment, item in {
            (segment, item)
            for interaction in preferences
            for segment in interaction.segments
            for item in interaction.items
        }:
            self.segment_popularity[segment][item] += 1

    def _read(self, name: str, facts: Sequence[Facts]) -> list[_ItemEvent]:
        test, event = self._readers[name]
        rows = []
        for fact in facts:
            if test(fact):
                items = tuple(value for value in _values(fact, event.item) if value in self._items)
                topics = _values(fact, event.about) if event.about is not None else ()
                if items:
                    rows.append(_ItemEvent(fact.now_ms, items, frozenset(fact.segments), topics))
        return rows


class _Pairs:
    """Numbers of customers by item, and by pair of items within a window."""

    def __init__(self) -> None:
        self._customers: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()

    def add(self, events: Iterable[_ItemEvent], window_ms: int) -> None:
        """Count a customer."""
        recent_items: deque[tuple[int, str]] = deque(maxlen=_MAX_RECENT_ITEMS)
        items: set[str] = set()
        pairs: set[tuple[str, str]] = set()
        for event in events:
            for item in event.items:
                neighbours = (
                    other
                    for at, other in recent_items
                    if event.at - at < window_ms and other != item
                )
                pairs.update(
                    (min(item, neighbour), max(item, neighbour)) for neighbour in neighbours
                )
                recent_items.append((event.at, item))
                items.add(item)
        self._customers.update(items)
        self._pairs.update(pairs)

    def scores(self, min_customers: int) -> _Scores:
        """Return the cosine of the customers of each pair, shrunk for small numbers."""
        scores: _Scores = defaultdict(dict)
        for (item, other), customers in self._pairs.items():
            if customers >= min_customers:
                cosine = customers / sqrt(self._customers[item] * self._customers[other])
                scores[item][other] = scores[other][item] = (
                    cosine * customers / (customers + min_customers)
                )
        return scores


def _rows(catalog: Catalog, counts: _Counts, limits: RecipeLimits) -> Iterator[RecipeRow]:
    popular_items = _best(_shares(counts.popularity), limits.max_items)
    similar_by_item = similar_items(catalog.items, limits.max_items)
    pair_scores = {
        BOUGHT_TOGETHER: counts.purchases.scores(limits.min_customers),
        VIEWED_TOGETHER: counts.views.scores(limits.min_customers),
    }
    for recipe, scores in pair_scores.items():
        if scores:
            for item in catalog.items:
                best_items = _best(scores.get(item.id, {}), limits.max_items)
                fallbacks = (similar_by_item.get(item.id, ()), popular_items)
                yield from _learned_or_fallback_rows(
                    recipe, item.id, best_items, fallbacks, limits.max_items
                )
    counts_by_recipe = {
        MOST_RESOLVED: counts.solutions,
        POPULAR_IN_SEGMENT: counts.segment_popularity,
    }
    for recipe, counts_by_key in counts_by_recipe.items():
        for key, customers in sorted(counts_by_key.items()):
            frequent_items = {item: n for item, n in customers.items() if n >= limits.min_customers}
            best_items = _best(_bounds(frequent_items, counts.popularity), limits.max_items)
            yield from _learned_or_fallback_rows(
                recipe, key, best_items, (popular_items,), limits.max_items
            )
    for item_id, best_items in sorted(similar_by_item.items()):
        yield from _learned_or_fallback_rows(
            SIMILAR, item_id, best_items, (popular_items,), limits.max_items
        )
    for recipe in RECIPES:
        yield from (RecipeRow(recipe, EVERYBODY, *pair) for pair in popular_items)


def _learned_or_fallback_rows(
    recipe: str,
    key: str,
    best_items: Sequence[tuple[str, float]],
    fallbacks: Iterable[Sequence[tuple[str, float]]],
    max_items: int,
) -> Iterator[RecipeRow]:
    """Yield rows of the learned items or, without any, of the first fallback that has items, whose
    scores are below all learned ones."""
    if best_items:
        yield from (RecipeRow(recipe, key, other, 1 + score) for other, score in best_items)
        return
    for fallback in fallbacks:
        companions = [pair for pair in fallback if pair[0] != key][:max_items]
        if companions:
            yield from (RecipeRow(recipe, key, *pair) for pair in companions)
            return


def _best(scores: Mapping[str, float], max_items: int) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:max_items]


def _shares(customers: Counter[str]) -> dict[str, float]:
    total = max(customers.values(), default=1)
    return {item: count / total for item, count in customers.items()}


def _bounds(customers: Mapping[str, int], all_customers: Counter[str]) -> dict[str, float]:
    """Return the significance of each item for these customers: the Wilson bound of their share of
    all customers with it, times the square root of its share of their items."""
    total = sum(customers.values())
    return {
        item: _wilson_lower_bound(count, all_customers[item]) * sqrt(count / total)
        for item, count in customers.items()
    }


def _wilson_lower_bound(count: int, total: int) -> float:
    """Return the lower Wilson bound of `count` in `total`."""
    total = max(total, count)
    share, z2 = count / total, _Z * _Z
    middle = share + z2 / (2 * total)
    spread = _Z * sqrt((share * (1 - share) + z2 / (4 * total)) / total)
    return max(0.0, (middle - spread) / (1 + z2 / total))


def similar_items(
    items: Sequence[CatalogItem], max_items: int
) -> dict[str, list[tuple[str, float]]]:
    """Return, by item id, the items with the most similar attributes and their similarity (0 to 1).

    Equal texts count, weighted by their rarity; numbers count by their distance.
    """
    columns = [_column(items, name) for name in sorted(set(chain(*(i.attributes for i in items))))]
    weight = sum(float(column.max_similarity) for column in columns)
    scores: dict[str, list[tuple[str, float]]] = {}
    if not weight:
        return scores
    for start in range(0, len(items), _BATCH_ITEMS):
        part = slice(start, min(start + _BATCH_ITEMS, len(items)))
        similarities = (
            sum((column.similarities(part) for column in columns), np.zeros((1, 1))) / weight
        )
        for offset, row in enumerate(np.asarray(similarities)):
            item_index = start + offset
            row[item_index] = 0.0
            best_indices = np.argsort(-row, kind="stable")[:max_items]
            best_items = [
                (items[index].id, round(float(row[index]), 6))
                for index in best_indices
                if row[index] > 0
            ]
            if best_items:
                scores[items[item_index].id] = best_items
    return scores


class _Column(Struct, frozen=True):
    """Attribute of all items: codes of texts (-1: none) with their weights, or numbers from 0 to 1
    (NaN: none). `max_similarity`: greatest similarity of two items."""

    values: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64] | None
    max_similarity: float

    def similarities(self, part: slice) -> npt.NDArray[np.float64]:
        """Return the similarity of the items of `part` with each item."""
        part_values, all_values = self.values[part, None], self.values[None, :]
        if self.weights is None:
            return np.nan_to_num(1.0 - np.abs(part_values - all_values))
        is_equal = (part_values == all_values) & (part_values >= 0)
        products: npt.NDArray[np.float64] = is_equal * self.weights[part, None]
        return products


def _column(items: Sequence[CatalogItem], name: str) -> _Column:
    values = [item.attributes.get(name) for item in items]
    numbers = [value for value in values if isinstance(value, float)]
    if numbers and all(value is None or isinstance(value, float) for value in values):
        low, spread = min(numbers), max(numbers) - min(numbers)
        scaled_numbers = [
            np.nan if value is None else (float(value) - low) / spread if spread else 0.0
            for value in values
        ]
        return _Column(np.array(scaled_numbers), None, 1.0)
    texts = [None if value is None else text_of(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    codes = {text: code for code, text in enumerate(sorted(counts))}
    rarity = {
        text: 0.0 if count < 2 else 1.0 - (count - 1) / len(items) for text, count in counts.items()
    }
    return _Column(
        np.array([-1.0 if text is None else float(codes[text]) for text in texts]),
        np.array([0.0 if text is None else rarity[text] for text in texts]),
        max(rarity.values(), default=0.0),
    )


def _values(facts: Facts, name: str) -> tuple[str, ...]:
    """Return the texts in a property, one or a list."""
    interaction = facts.interaction
    if interaction is None:
        return ()
    if name in interaction.lists:
        return interaction.lists[name]
    value = interaction.properties.get(name)
    return () if value is None else (text_of(value),)
