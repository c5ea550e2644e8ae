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

CANDIDATE_SOURCES: Final[tuple[CandidateSource, ...]] = (
    "campaign",
    "offer",
    "treatment",
    "channel",
)
ITEM_SOURCES: Final[tuple[ItemSource, ...]] = ("item", "item_age")
INTERACTION_FIELDS: Final = ("name", "kind", "channel")


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
        return self.of in CANDIDATE_SOURCES or self.of in ITEM_SOURCES


class UnknownFeatureError(ValueError):
    """Raised for features in the wrong order, or unknown ones."""


class FeatureEncoder:
    """Encoder of rows of features, first those of the customer, then those of the candidate.

    Raises UnknownFeatureError. The numbers of a candidate are computed once, by its names and the
    attributes of its item; an item's age is stored as its start.
    """

    def __init__(self, features: Sequence[ModelFeature]) -> None:
        customer_feature_count = sum(not feature.is_of_candidate for feature in features)
        if any(feature.is_of_candidate for feature in features[:customer_feature_count]):
            raise UnknownFeatureError("features of candidates come after those of customers")
        self._customer_readers = [
            _customer_reader(feature) for feature in features[:customer_feature_count]
        ]
        self._candidate_readers = [
            _candidate_reader(feature) for feature in features[customer_feature_count:]
        ]
        self._age_columns = [
            column for column, feature in enumerate(features) if feature.of == "item_age"
        ]
        self._index: dict[_CandidateKey, int] = {}
        self._table: Matrix = np.empty((0, len(self._candidate_readers)))

    def rows(self, candidates: Sequence[FeatureCandidate], facts: Facts) -> Matrix:
        """Return a row for each candidate."""
        index, customer_feature_count = self._index, len(self._customer_readers)
        row_indexes = [
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
        if -1 in row_indexes:
            self._add(candidates)
            return self.rows(candidates, facts)
        matrix = np.empty((len(row_indexes), customer_feature_count + len(self._candidate_readers)))
        matrix[:, :customer_feature_count] = self.customer_numbers(facts)
        matrix[:, customer_feature_count:] = self._table[row_indexes]
        if self._age_columns:
            matrix[:, self._age_columns] = (facts.now_ms - matrix[:, self._age_columns]) / DAY_MS
        return matrix

    def customer_numbers(self, facts: Facts) -> list[float]:
        """Return the part of a row that all candidates share."""
        return [read(facts) for read in self._customer_readers]

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
                rows.append([read(candidate) for read in self._candidate_readers])
        new_rows = np.array(rows, dtype=np.float64).reshape(len(rows), len(self._candidate_readers))
        self._table = np.concatenate((self._table, new_rows))


def _customer_reader(feature: ModelFeature) -> Callable[[Facts], float]:
    name, equals = feature.name, feature.equals
    if feature.of == "segment":
        return lambda facts: float(name in facts.segments)
    if feature.of == "days_since":
        return lambda facts: _age_days(facts.traits.get(name), facts.now_ms)
    read = _reader(feature)
    if equals is not None:
        return lambda facts: float(read(facts) == equals)
    return lambda facts: _number(read(facts))


def _candidate_reader(feature: ModelFeature) -> Callable[[FeatureCandidate], float]:
    name, equals = feature.name, feature.equals
    if feature.of == "item_age":
        return lambda candidate: (
            nan if candidate.item.starts is None else float(candidate.item.starts)
        )
    if feature.of == "item" and equals is not None:
        return lambda candidate: float((name, equals) in candidate.item.values)
    if feature.of == "item":
        return lambda candidate: _number(dict(candidate.item.values).get(name))
    source = feature.of
    return lambda candidate: float(getattr(candidate, source) == equals)


def _reader(feature: ModelFeature) -> Callable[[Facts], FactValue]:
    name = feature.name
    if feature.of == "trait":
        return lambda facts: facts.traits.get(name)
    if feature.of == "derived":
        return lambda facts: facts.derived_values.get(name)
    if feature.of == "interaction" and name in INTERACTION_FIELDS:
        return lambda facts: getattr(facts.interaction, name, None)
    raise UnknownFeatureError(f"no feature is computed for {feature}")


def _number(value: FactValue) -> float:
    if isinstance(value, bool):
        return float(value)
    return float(value) if is_number(value) else nan


def _age_days(value: FactValue, now_ms: int) -> float:
    return (now_ms - value) / DAY_MS if is_number(value) else nan
