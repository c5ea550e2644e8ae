"""Catalogues: items that are offers of one form, and the rules by which customers get them."""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.conditions import Facts, Path, Problem
from pipeline.config import amounts, model
from pipeline.config.budgets import stock_name
from pipeline.config.compiled import CompiledCandidate, Worth
from pipeline.config.contents import item_content
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.names import Names, check_name
from pipeline.model.budget import TOKENS
from pipeline.model.interaction import text_of
from pipeline.model.item import ItemValues

EXCLUDED_LABEL: Final = "applicability/excluded"
NOT_AMONG_LABEL: Final = "applicability/not among"
OUT_OF_DATE_LABEL: Final = "eligibility/item not valid now"
BEYOND_BEST_LABEL: Final = "applicability/beyond the best"

ITEM_SEPARATOR: Final = "/"
"""Separator of a treatment's name and its item's id."""


def template_name(treatment: str) -> str:
    """Return the name of a treatment without the item of a catalogue."""
    return treatment.partition(ITEM_SEPARATOR)[0]


EVERYBODY: Final = ""
"""Item in a recipe whose related items are for all customers."""

_NO_ITEMS: Final[frozenset[int]] = frozenset()

_MAX_TEXTS: Final = 64
"""Maximum of distinct texts of an attribute that models read; more would identify single items."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Rule with the indexes of its items by the value of `trait`; None: by segment.

    `default`: items for customers whose values have none.
    """

    trait: str | None
    items: Mapping[str, frozenset[int]]
    factor: float
    default: frozenset[int]

    def items_for(self, facts: Facts) -> frozenset[int]:
        """Return the indexes of the rule's items for a customer."""
        item_sets = (self.items.get(key, _NO_ITEMS) for key in self._recipe_keys(facts))
        return _NO_ITEMS.union(*item_sets) or self.default

    def _recipe_keys(self, facts: Facts) -> Iterable[str]:
        if self.trait is None:
            return facts.segments
        value = facts.traits.get(self.trait)
        if value is None:
            return ()
        return value if isinstance(value, tuple) else (text_of(value),)


@dataclass(frozen=True, slots=True)
class CompiledItems:
    """Items of a catalogue for one treatment, sorted by their worth for any customer.

    `moments`: times (ms) at which items begin or end; `valid_items`: indexes of the valid items
    before the first moment, between each two, and after the last. `max_recorded_items`: number of
    items that a decision records at most, unless more are requested.
    """

    name: str
    candidates: tuple[CompiledCandidate, ...]
    moments: tuple[int, ...]
    valid_items: tuple[frozenset[int], ...]
    only_rules: tuple[_Rule, ...]
    exclude_rules: tuple[_Rule, ...]
    boost_rules: tuple[_Rule, ...]
    max_items: int
    max_recorded_items: int
    boost_cache: dict[tuple[int, float], CompiledCandidate] = field(default_factory=dict)

    def eligible_items(self, facts: Facts) -> tuple[Sequence[CompiledCandidate], Mapping[str, int]]:
        """Return the items for a customer now, and the number that each rule rejects."""
        valid_items = self.valid_items[bisect_right(self.moments, facts.now_ms)]
        selection = valid_items
        if self.only_rules:
            selection = valid_items & _NO_ITEMS.union(
                *(rule.items_for(facts) for rule in self.only_rules)
            )
        remainder = selection
        if self.exclude_rules:
            remainder = selection - _NO_ITEMS.union(
                *(rule.items_for(facts) for rule in self.exclude_rules)
            )
        factors = self._factors(remainder, facts)
        best_items = (
            sorted(remainder)
            if len(remainder) <= self.max_items
            else self._best_items(remainder, factors)
        )
        rejections = {
            OUT_OF_DATE_LABEL: len(self.candidates) - len(valid_items),
            NOT_AMONG_LABEL: len(valid_items) - len(selection),
            EXCLUDED_LABEL: len(selection) - len(remainder),
            BEYOND_BEST_LABEL: len(remainder) - len(best_items),
        }
        candidates = self.candidates
        if not factors:
            return [candidates[index] for index in best_items], rejections
        return [
            self._boost_item(index, factors[index]) if index in factors else candidates[index]
            for index in best_items
        ], rejections

    def _factors(self, items: frozenset[int], facts: Facts) -> dict[int, float]:
        factors: dict[int, float] = {}
        for rule in self.boost_rules:
            for index in rule.items_for(facts) & items:
                factors[index] = factors.get(index, 1.0) * rule.factor
        return factors

    def _best_items(self, items: frozenset[int], factors: Mapping[int, float]) -> list[int]:
        """Return the best items, `max_items` at most: first boosted ones, then by worth."""
        boosted_items = sorted(factors, key=lambda index: (-factors[index], index))[
            : self.max_items
        ]
        other_items = sorted(items.difference(boosted_items))[: self.max_items - len(boosted_items)]
        return [*boosted_items, *other_items]

    def _boost_item(self, index: int, factor: float) -> CompiledCandidate:
        candidate = self.boost_cache.get((index, factor))
        if candidate is None:
            original = self.candidates[index]
            lever = original.lever * factor
            worth = original.worth and _worth(
                original, original.worth.p, original.worth.value, lever
            )
            candidate = self.boost_cache[index, factor] = replace(
                original, lever=lever, worth=worth
            )
        return candidate


def compile_items(
    catalog: model.Catalog,
    template: CompiledCandidate,
    p: model.Probability,
    budgets: Container[str],
) -> CompiledItems:
    """Compile the items of a catalogue in the form of `template`; items without an attribute that
    the content needs are left out. `budgets`: names of the budgets and stocks that are spent."""
    attribute_names = frozenset(model_attributes(catalog))
    pairs = [
        (item, replace(candidate, item=_item_values(item, candidate, attribute_names)))
        for item in catalog.items
        if (candidate := _candidate(item, _with_stock(item, catalog, template, budgets), p))
        is not None
    ]
    pairs.sort(key=lambda pair: _sort_key(pair[1]))
    items = [item for item, _ in pairs]
    moments, valid_items = _validity([candidate for _, candidate in pairs])
    return CompiledItems(
        name=catalog.catalog,
        candidates=tuple(candidate for _, candidate in pairs),
        moments=moments,
        valid_items=valid_items,
        only_rules=_rules(catalog, catalog.only, items),
        exclude_rules=_rules(catalog, catalog.exclude, items),
        boost_rules=_rules(catalog, catalog.boost, items),
        max_items=catalog.most,
        max_recorded_items=catalog.shortlist,
    )


def model_attributes(catalog: model.Catalog) -> Iterator[str]:
    """Yield the attributes that models read: numbers, and texts with few distinct values."""
    texts: dict[str, set[str]] = {}
    for item in catalog.items:
        for name, value in item.attributes.items():
            distinct_texts = texts.setdefault(name, set())
            if isinstance(value, str) and len(distinct_texts) <= _MAX_TEXTS:
                distinct_texts.add(value)
    yield from (name for name, distinct_texts in texts.items() if len(distinct_texts) <= _MAX_TEXTS)


def _item_values(
    item: model.CatalogItem, candidate: CompiledCandidate, attribute_names: Container[str]
) -> ItemValues:
    attributes = {name: value for name, value in item.attributes.items() if name in attribute_names}
    return ItemValues.of(attributes, candidate.starts_ms)


def catalog_problems(catalog: model.Catalog, path: Path, names: Names) -> Iterator[Problem]:
    """Yield problems of a catalogue's rules."""
    for kind, rules in (
        ("only", catalog.only), ("exclude", catalog.exclude), ("boost", catalog.boost)
    ):  # fmt: skip
        for index, rule in enumerate(rules):
            rule_path = (*path, kind, index)
            if rule.trait is not None:
                yield from check_name("trait", rule.trait, names.traits, (*rule_path, "trait"))
            elif rule.recipe is None:
                yield Problem(
                    rule_path, "name a `trait`, or a `recipe` for the customer's segments"
                )
            if rule.attribute is not None and rule.recipe is not None:
                yield Problem((*rule_path, "recipe"), "name either an `attribute` or a `recipe`")
            if rule.attribute is not None and catalog.items:
                attribute_names = {name for item in catalog.items for name in item.attributes}
                yield from check_name(
                    "attribute", rule.attribute, attribute_names, (*rule_path, "attribute")
                )
            if rule.recipe is not None and catalog.recipes is None:
                message = "name the table of recipes in `recipes`: recipe, item, related, score"
                yield Problem((*rule_path, "recipe"), message)
            elif rule.recipe is not None and catalog.related:
                yield from check_name(
                    "recipe", rule.recipe, catalog.related, (*rule_path, "recipe")
                )


def item_events(catalog: model.Catalog) -> Iterator[tuple[str, model.ItemEvent]]:
    """Yield the interactions from which recipes are learned, with the names of their kinds."""
    for name in ("bought", "viewed", "solved"):
        event: model.ItemEvent | None = getattr(catalog.events, name, None)
        if event is not None:
            yield name, event


def traits_of(catalog: model.Catalog) -> Iterator[str]:
    """Yield the traits that a catalogue's rules read."""
    rules = (*catalog.only, *catalog.exclude, *catalog.boost)
    yield from (rule.trait for rule in rules if rule.trait is not None)


def _with_stock(
    item: model.CatalogItem,
    catalog: model.Catalog,
    template: CompiledCandidate,
    budgets: Container[str],
) -> CompiledCandidate:
    """Return the template as an item's candidate, which draws on the item's stock."""
    name, draws = stock_name(catalog.catalog, item.id), template.draws
    if name in budgets and not template.transactional:
        draws = (*draws, (name, TOKENS))
    return replace(template, catalog=catalog.catalog, draws=draws)


def _candidate(
    item: model.CatalogItem, template: CompiledCandidate, p: model.Probability
) -> CompiledCandidate | None:
    content = item_content(template.content, item.attributes)
    if content is None:
        return None
    treatment = f"{template.treatment}{ITEM_SEPARATOR}{item.id}"
    candidate = replace(
        template,
        offer=item.id,
        treatment=treatment,
        tie=(template.campaign, item.id, treatment),
        content=content,
        starts_ms=None if item.starts is None else start_ms(item.starts),
        ends_ms=None if item.ends is None else end_ms(item.ends),
        value=template.value if item.value is None else amounts.reckon(item.value),
    )
    if item.value is None or isinstance(p, model.Reckoned) or candidate.weights:
        return replace(
            candidate,
            worth=candidate.worth and _worth(candidate, candidate.worth.p, candidate.worth.value),
        )
    return replace(candidate, worth=_worth(candidate, p, item.value))


def _worth(
    candidate: CompiledCandidate, p: float, value: float, lever: float | None = None
) -> Worth:
    weight = candidate.lever if lever is None else lever
    return amounts.worth(p, value, candidate.cost, weight, candidate.transactional, candidate.tie)


def _sort_key(candidate: CompiledCandidate) -> tuple[float, str]:
    return (-candidate.worth.score if candidate.worth is not None else 0.0, candidate.offer)


def _validity(
    candidates: Sequence[CompiledCandidate],
) -> tuple[tuple[int, ...], tuple[frozenset[int], ...]]:
    times = (time for candidate in candidates for time in (candidate.starts_ms, candidate.ends_ms))
    moments = sorted({time for time in times if time is not None})
    starts = [None, *moments]
    valid_items = tuple(
        frozenset(
            index for index, candidate in enumerate(candidates) if _is_valid(candidate, start)
        )
        for start in starts
    )
    return tuple(moments), valid_items


def _is_valid(candidate: CompiledCandidate, now_ms: int | None) -> bool:
    """Return whether a candidate is valid at `now_ms`; None: before all dates."""
    has_begun = candidate.starts_ms is None or (
        now_ms is not None and now_ms >= candidate.starts_ms
    )
    has_ended = candidate.ends_ms is not None and now_ms is not None and now_ms >= candidate.ends_ms
    return has_begun and not has_ended


def _rules(
    catalog: model.Catalog, rules: Iterable[model.ItemRule], items: Sequence[model.CatalogItem]
) -> tuple[_Rule, ...]:
    indexes = {item.id: index for index, item in enumerate(items)}
    compiled_rules: list[_Rule] = []
    for rule in rules:
        items_by_value = dict(_rule_items(catalog, rule, items, indexes))
        default = items_by_value.pop(EVERYBODY, _NO_ITEMS)
        compiled_rules.append(_Rule(rule.trait, items_by_value, rule.factor, default))
    return tuple(compiled_rules)


def _rule_items(
    catalog: model.Catalog,
    rule: model.ItemRule,
    items: Sequence[model.CatalogItem],
    indexes: Mapping[str, int],
) -> Mapping[str, frozenset[int]]:
    if rule.recipe is not None:
        related_items = catalog.related.get(rule.recipe, {})
        return {
            item_id: frozenset(indexes[other_id] for other_id in other_ids if other_id in indexes)
            for item_id, other_ids in related_items.items()
        }
    if rule.attribute is None:
        return {name: frozenset((index,)) for name, index in indexes.items()}
    indexes_by_value: dict[str, set[int]] = {}
    for index, item in enumerate(items):
        value = item.attributes.get(rule.attribute)
        if value is not None:
            indexes_by_value.setdefault(text_of(value), set()).add(index)
    return {value: frozenset(indexes) for value, indexes in indexes_by_value.items()}
