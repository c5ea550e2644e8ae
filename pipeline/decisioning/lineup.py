"""Lineups: the candidates of each slot that the engagement policy admits, the best first.

All slots of a decision are lined up before any is filled, so that models predict all of its
candidates in one call.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from pipeline.config.catalogs import BEYOND_BEST_LABEL, template_name
from pipeline.config.compiled import CatalogItems, CompiledCandidate, Entry
from pipeline.decisioning.eligibility import Moment, campaign_objection, objection
from pipeline.decisioning.funds import OUT_OF_STOCK, Funds
from pipeline.decisioning.impact import rank_for, stage_count
from pipeline.decisioning.price import price_all
from pipeline.rules.chooser import PricedCandidate
from pipeline.rules.propensities import Propensities


class Vacancy(Struct, frozen=True):
    """Slots to fill: those of a requested `placement`, with at most `limit` different offers; None:
    those of all outbound channels. `channel`: that of an empty choice."""

    placement: str | None
    entries: Sequence[Entry]
    channel: str = ""
    limit: int = 1


class Lineup(Struct, frozen=True):
    """Candidates of a vacancy, the best first."""

    placement: str | None
    channel: str
    limit: int
    contenders: Sequence[PricedCandidate]


class DecisionLineups(Struct, frozen=True):
    """Lineups of a decision; `rejections`: treatments rejected by the engagement policy, by rule;
    `budget_names`: the budgets and stocks that were read."""

    lineups: tuple[Lineup, ...]
    rejections: Mapping[str, Sequence[str]]
    budget_names: frozenset[str]


def rejected_items_text(treatment: str, count: int) -> str:
    """Return a Decision's text for items rejected by one rule, which are too many to name."""
    return f"{treatment}: {count} items"


@dataclass(slots=True)
class LineupMaker:
    """Maker of a decision's lineups; `arm`: the customer's arm of the impact tests."""

    moment: Moment
    propensities: Propensities | None
    funds: Funds | None
    arm: str | None
    _rejections: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _budget_names: set[str] = field(default_factory=set)

    def line_up(self, vacancies: Iterable[Vacancy]) -> DecisionLineups:
        """Return the lineups of all vacancies."""
        pairs = [(vacancy, _EligibleCandidates()) for vacancy in vacancies]
        for vacancy, collection in pairs:
            self._admit(vacancy, collection)
        candidates = [candidate for _, collection in pairs for candidate in collection.candidates]
        contenders = iter(
            price_all(candidates, self.moment.facts, self.propensities, self._prices(candidates))
        )
        lineups = tuple(self._lineup(*pair, contenders) for pair in pairs)
        return DecisionLineups(lineups, self._rejections, frozenset(self._budget_names))

    def _prices(self, candidates: Iterable[CompiledCandidate]) -> Mapping[str, float]:
        if self.funds is None:
            return {}
        return self.funds.prices(dict.fromkeys(candidate.campaign for candidate in candidates))

    def _lineup(
        self, vacancy: Vacancy, collection: "_EligibleCandidates", pool: Iterator[PricedCandidate]
    ) -> Lineup:
        """Return the lineup of a vacancy, whose candidates are the next ones of `pool`."""
        contenders = rank_for(self.arm, [next(pool) for _ in collection.candidates])
        if collection.item_limits:
            contenders = self._shortlist(contenders, collection.item_limits)
        if self.funds is not None:
            self._budget_names.update(
                name for contender in contenders for name, _ in contender.candidate.draws
            )
        return Lineup(vacancy.placement, vacancy.channel, vacancy.limit, contenders)

    def _admit(self, vacancy: Vacancy, collection: "_EligibleCandidates") -> None:
        """Collect the candidates that the engagement policy admits; note the others."""
        is_requested = vacancy.placement is not None
        for entry in vacancy.entries:
            end_stage = stage_count(self.arm, entry.campaign)
            refusal = campaign_objection(entry.campaign, self.moment, is_requested, end_stage)
            if refusal is not None and refusal.stage <= entry.first_stage:
                self._rejections[refusal.label].extend(entry.treatments)
                continue
            for candidate in entry.candidates:
                if refusal is None:
                    rejection = objection(candidate, self.moment, end_stage)
                else:
                    rejection = objection(candidate, self.moment, refusal.stage) or refusal
                if rejection is not None:
                    self._rejections[rejection.label].append(candidate.treatment)
                elif candidate.items is None:
                    collection.candidates.append(candidate)
                else:
                    collection.candidates.extend(self._items(candidate, candidate.items))
                    item_limit = max(vacancy.limit, candidate.items.max_recorded_items)
                    collection.item_limits[candidate.items.name] = item_limit

    def _items(self, template: CompiledCandidate, items: CatalogItems) -> list[CompiledCandidate]:
        """Return a catalogue's items for the customer; the others are counted by their rule."""
        eligible_items, rejections = items.eligible_items(self.moment.facts)
        for rule, count in rejections.items():
            if count:
                self._rejections[rule].append(rejected_items_text(template.treatment, count))
        return self._in_stock(template, eligible_items)

    def _in_stock(
        self, template: CompiledCandidate, items: Sequence[CompiledCandidate]
    ) -> list[CompiledCandidate]:
        """Return the items in stock; the others are counted."""
        funds = self.funds
        if funds is None or template.transactional:
            return list(items)
        items_in_stock: list[CompiledCandidate] = []
        for item in items:
            if funds.is_out_of_stock(item):
                self._budget_names.update(name for name, _ in item.draws)
            else:
                items_in_stock.append(item)
        if len(items_in_stock) < len(items):
            text = rejected_items_text(template.treatment, len(items) - len(items_in_stock))
            self._rejections[OUT_OF_STOCK].append(text)
        return items_in_stock

    def _shortlist(
        self, contenders: list[PricedCandidate], item_limits: Mapping[str, int]
    ) -> list[PricedCandidate]:
        """Return the best items of each catalogue, and all other candidates."""
        places_left, surplus, retained_contenders = dict(item_limits), Counter[str](), []
        for contender in contenders:
            catalog = contender.candidate.catalog
            if catalog is None or places_left[catalog] > 0:
                retained_contenders.append(contender)
                if catalog is not None:
                    places_left[catalog] -= 1
            else:
                surplus[template_name(contender.candidate.treatment)] += 1
        for treatment, count in surplus.items():
            self._rejections[BEYOND_BEST_LABEL].append(rejected_items_text(treatment, count))
        return retained_contenders


@dataclass(slots=True)
class _EligibleCandidates:
    """Admitted candidates; `item_limits`: number of items kept of each catalogue."""

    candidates: list[CompiledCandidate] = field(default_factory=list)
    item_limits: dict[str, int] = field(default_factory=dict)
