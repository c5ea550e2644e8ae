"""Features of a propensity model: rows of numbers from a customer's facts and a candidate.

Training and serving run this code, so that a model sees the same numbers in both.
"""

from collections.abc import Callable, Iterable, Sequence
from math import nan
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from pipeline.conditions import Facts
from pipeline.config.readers import is_number
from pipeline.model.interaction import FactValue
from pipeline.model.item import ItemValues
from pipeline.model.time import DAY_MS

Matrix: TypeAlias = npt.NDArray[np.float64]

_CandidateKey: TypeAlias = tuple[str, str, str, str, ItemValues]

CustomerSource: TypeAlias = Literal["trait", "days_since", "derived", "segment", "interaction"]
CandidateSource: TypeAlias = Literal["campaign", "offer", "treatment", "channel"]
ItemSource: TypeAlias = Literal["item", "item_age"]

OF_CANDIDATE: Final[tuple[CandidateSource, ...]] = ("campaign", "offer", "treatment", "channel")
OF_ITEM: Final[tuple[ItemSource, ...]] = ("item", "item_age")
OF_INTERACTION: Final = ("name", "kind", "channel")


class FeatureCandidate(Protocol):
    """Candidate with the attributes that features read."""

    @property
    def campaign(self) -> str: ...
    @property
    def offer(self) -> str: ...
    @property
    def treatment(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def item(self) -> ItemValues: ...


class ModelFeature(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Feature of a row. `name`: of the trait, derived value, segment, or field of the interaction.

    With `equals` it is 1 where the value is that text, else 0; without, the value itself: a number,
    true as 1, NaN for anything else. `days_since`: the age in days of the time in a trait;
    `segment`: 1 for a member, else 0; `item`: an attribute of a catalogue's item; `item_age`: days
    for which the item has been valid.
    """

    of: CustomerSource | CandidateSource | ItemSource
    name: str = ""
    equals: str | None = field(default=None, name="is")

    def __str__(self) -> str:
        text = f"{self.of}.{self.name}" if self.name else self.of
        return text if self.equals is None else f"{text}={self.equals}"

    @property
    def is_of_candidate(self) -> bool:
        """Whether the feature is the same for all customers."""
        return self.of in OF_CANDIDATE or self.of in OF_ITEM


class UnknownFeatureError(ValueError):
    """Raised for features in the wrong order, or unknown ones."""


class FeatureEncoder:
    """Rows of features, first those of the customer, then those of the candidate.

    Raises UnknownFeatureError. The numbers of a candidate are computed once, by its names and the
    attributes of its item; an item's age is stored as its start.
    """

    def __init__(self, features: Sequence[ModelFeature]) -> None:
        split = sum(not feature.is_of_candidate for feature in features)
        if any(feature.is_of_candidate for feature in features[:split]):
            raise UnknownFeatureError("features of candidates come after those of customers")
        self._customer = [_of_customer(feature) for feature in features[:split]]
        self._candidate = [_of_candidate(feature) for feature in features[split:]]
        self._ages = [place for place, feature in enumerate(features) if feature.of == "item_age"]
        self._index: dict[_CandidateKey, int] = {}
        self._table: Matrix = np.empty((0, len(self._candidate)))

    def rows(self, candidates: Sequence[FeatureCandidate], facts: Facts) -> Matrix:
        """Return a row for each candidate."""
        index, split = self._index, len(self._customer)
        places = [
            index.get(
                (
                    candidate.campaign,
                    candidate.offer,
                    candidate.treatment,
                    candidate.channel,
                    candidate.item,
                ),
                -1,
            )
            for candidate in candidates
        ]
        if -1 in places:
            self._add(candidates)
            return self.rows(candidates, facts)
        matrix = np.empty((len(places), split + len(self._candidate)))
        matrix[:, :split] = self.customer(facts)
        matrix[:, split:] = self._table[places]
        if self._ages:
            matrix[:, self._ages] = (facts.now_ms - matrix[:, self._ages]) / DAY_MS
        return matrix

    def customer(self, facts: Facts) -> list[float]:
        """Return the part of a row that all candidates share."""
        return [read(facts) for read in self._customer]

    def _add(self, candidates: Iterable[FeatureCandidate]) -> None:
        rows: list[list[float]] = []
        for candidate in candidates:
            key = (
                candidate.campaign,
                candidate.offer,
                candidate.treatment,
                candidate.channel,
                candidate.item,
            )
            if key not in self._index:
                self._index[key] = len(self._table) + len(rows)
                rows.append([read(candidate) for read in self._candidate])
        new_rows = np.array(rows, dtype=np.float64).reshape(len(rows), len(self._candidate))
        self._table = np.concatenate((self._table, new_rows))


def _of_customer(feature: ModelFeature) -> Callable[[Facts], float]:
    name, equals = feature.name, feature.equals
    if feature.of == "segment":
        return lambda facts: float(name in facts.segments)
    if feature.of == "days_since":
        return lambda facts: _age_days(facts.traits.get(name), facts.now_ms)
    read = _reader(feature)
    if equals is not None:
        return lambda facts: float(read(facts) == equals)
    return lambda facts: _number(read(facts))


def _of_candidate(feature: ModelFeature) -> Callable[[FeatureCandidate], float]:
    name, equals = feature.name, feature.equals
    if feature.of == "item_age":
        return lambda candidate: (
            nan if candidate.item.starts is None else float(candidate.item.starts)
        )
    if feature.of == "item" and equals is not None:
        return lambda candidate: float((name, equals) in candidate.item.values)
    if feature.of == "item":
        return lambda candidate: _number(dict(candidate.item.values).get(name))
    of = feature.of
    return lambda candidate: float(getattr(candidate, of) == equals)


def _reader(feature: ModelFeature) -> Callable[[Facts], FactValue]:
    name = feature.name
    if feature.of == "trait":
        return lambda facts: facts.traits.get(name)
    if feature.of == "derived":
        return lambda facts: facts.derived_values.get(name)
    if feature.of == "interaction" and name in OF_INTERACTION:
        return lambda facts: getattr(facts.interaction, name, None)
    raise UnknownFeatureError(f"no feature is computed for {feature}")


def _number(value: FactValue) -> float:
    if isinstance(value, bool):
        return float(value)
    return float(value) if is_number(value) else nan


def _age_days(value: FactValue, now_ms: int) -> float:
    return (now_ms - value) / DAY_MS if is_number(value) else nan
