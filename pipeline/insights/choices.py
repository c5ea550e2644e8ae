"""Choice between options of which one was taken each time: the best is found on some customers and
measured on others.

Customers are split by the time of their beginning: options are compared on the earlier half, and
the best is measured on the later half, which had no influence on it. The value of always taking an
option is the augmented inverse-propensity estimate

mean of m + [taken] / propensity × (worth − m),

with m the option's mean worth among the earlier customers, smoothed towards the mean of all. With
logged propensities it is unbiased whatever m is. Standard errors are clustered by customer (Robins,
Rotnitzky & Zhao 1994; Dudík, Langford & Li 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from pipeline.insights.paths import Floats
from pipeline.insights.ranking import rank_key

Grade: TypeAlias = Literal["Tested", "Adjusted", "Observed only"]
Kind: TypeAlias = Literal["prompt", "order", "step", "count", "arm"]
Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

ERROR: Final = 0.05
_SMOOTHING: Final = 10.0
"""Rows of average worth that are added to each option's."""

_FEWEST: Final = 20
"""Fewest customers with and without an option, in each half, for a statement about it."""

_LEAST_SHARE: Final = 0.01
"""Least share of an option in a stratum with estimated propensities; below it the weights
explode."""

_POSSIBLE: Final = 0.8
"""Least mean weight of an option that was possible everywhere; its expected value is 1."""


@dataclass(frozen=True, slots=True)
class Option:
    """Message by a channel; both empty: nothing. An option other than a message has its kind as
    channel, such as (`order`, `photo > income`)."""

    channel: str
    message: str
    offer: str = ""

    @property
    def is_nothing(self) -> bool:
        """Whether the option is to send nothing."""
        return not self.channel


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceRows:
    """Rows of one `place`; the arrays have an entry per time that an option was taken.

    `propensity`: that of the option taken; NaN where it was not logged. `stratum`: index into
    `strata`, the known properties of the customer. `later`: whether the customer is in the later
    half, whose rows run from `split` (µs) to `end`.
    """

    place: str
    options: tuple[Option, ...]
    customer: Integers
    option: Integers
    propensity: Floats
    stratum: Integers
    strata: tuple[tuple[str, ...], ...]
    later: Flags
    worth: Floats
    split: int = 0
    end: int = 0
    kind: Kind = "prompt"

    def only(self, rows: Flags) -> "ChoiceRows":
        """Return the rows that the mask `rows` selects."""
        return ChoiceRows(
            self.place,
            self.options,
            self.customer[rows],
            self.option[rows],
            self.propensity[rows],
            self.stratum[rows],
            self.strata,
            self.later[rows],
            self.worth[rows],
            self.split,
            self.end,
            self.kind,
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference in mean worth per time from the compared choice, with its interval; `error`:
    standard error."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True, slots=True)
class ChoiceProposal:
    """Rule that was best among the earlier customers: `by_stratum` has the option for each stratum
    (all the same unless `by` names the property by which they differ). It is compared with always
    taking the option `against`; None: with the actual choices."""

    rows: ChoiceRows
    by_stratum: tuple[int, ...]
    by: tuple[str, ...]
    grade: Grade
    against: int | None = None

    @property
    def option(self) -> Option:
        """Option, where it is one for all."""
        return self.rows.options[self.by_stratum[0]]


@dataclass(frozen=True, slots=True)
class ChoiceSupport:
    """Numbers of customers on whom a rule was found and measured, and of the latter those with its
    choice; `possible`: share of them for whom it was possible, estimated from the weights."""

    found_on: int
    reported_on: int
    had_it: int
    possible: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Proposal measured on the later customers."""

    proposal: ChoiceProposal
    gain: Gain
    support: ChoiceSupport

    @property
    def holds(self) -> bool:
        """Whether the rule is significantly better, by the interval."""
        return self.gain.low > 0.0


def grade_of(rows: ChoiceRows, adjusted: bool) -> tuple[Grade, ChoiceRows]:
    """Return the grade of a comparison of the options, and the rows that count for it.

    If enough choices were randomised, the others are left out.
    """
    drawn = rows.only((rows.propensity > 0.0) & (rows.propensity < 1.0))
    if supported_options(drawn):
        return "Tested", drawn
    grade: Grade = "Adjusted" if adjusted else "Observed only"
    return grade, rows


def propose(rows: ChoiceRows, grade: Grade, by: Sequence[str]) -> list[ChoiceProposal]:
    """Return the rules above the average among the earlier customers: one option for all and, with
    `by`, one for each stratum if that promises more."""
    known = supported_options(rows)
    if len(known) < 2:
        return []
    earlier = rows.only(~rows.later)
    if not len(earlier.worth):
        return []
    weights = _weights(earlier, grade)
    means = _means(earlier, weights, np.zeros_like(earlier.stratum), 1)[0]
    now = float(earlier.worth.mean())
    best = max(known, key=lambda option: rank_key(means[option]))
    choices = []
    if means[best] > now:
        choices.append(ChoiceProposal(rows, (best,) * len(rows.strata), (), grade))
    if by and len(rows.strata) > 1:
        choices += _by_stratum(
            earlier, weights, known, ChoiceProposal(rows, (best,), tuple(by), grade)
        )
    return choices


def _by_stratum(
    earlier: ChoiceRows, weights: Floats, known: Sequence[int], whole: ChoiceProposal
) -> list[ChoiceProposal]:
    """Return the best option for each stratum; nothing where the same one is best for all."""
    means = _means(earlier, weights, earlier.stratum, len(earlier.strata))
    best = tuple(max(known, key=lambda option: rank_key(row[option])) for row in means)
    if len(set(best)) == 1:
        return []
    return [ChoiceProposal(whole.rows, best, whole.by, whole.grade, against=whole.by_stratum[0])]


def measure(proposals: Sequence[ChoiceProposal]) -> list[Verdict]:
    """Measure proposals on the later customers.

    Intervals hold for all of them together at 95 % (Bonferroni).
    """
    tail = ERROR / 2.0 / max(len(proposals), 1)
    return [verdict for proposal in proposals if (verdict := _measure(proposal, tail)) is not None]


def _measure(proposal: ChoiceProposal, tail: float) -> Verdict | None:
    rows, choice = proposal.rows, np.array(proposal.by_stratum, dtype=np.int64)
    earlier, later = rows.only(~rows.later), rows.only(rows.later)
    target = choice[later.stratum]
    values = _Values(earlier, later, proposal.grade)
    terms = values.of(target) - values.baseline(proposal.against)
    customers, places = np.unique(later.customer, return_inverse=True)
    gain = _gain(terms, places, len(customers), tail)
    had = len(np.unique(later.customer[later.option == target]))
    if gain is None or had < _FEWEST:
        return None
    support = ChoiceSupport(
        found_on=len(np.unique(earlier.customer)),
        reported_on=len(customers),
        had_it=had,
        possible=values.possible(target),
    )
    return Verdict(proposal, gain, support)


class _Values:
    """Unbiased estimates of each option's worth in the later rows."""

    def __init__(self, earlier: ChoiceRows, later: ChoiceRows, grade: Grade) -> None:
        self._later = later
        self._weights = _weights(later, grade)
        alike = np.zeros_like(earlier.stratum)
        self._means = _means(earlier, _weights(earlier, grade), alike, 1)[0]

    def of(self, target: Integers) -> Floats:
        expected = self._means[target]
        terms: Floats = expected + self._weights_of(target) * (self._later.worth - expected)
        return terms

    def baseline(self, against: int | None) -> Floats:
        if against is None:
            return self._later.worth
        return self.of(np.full_like(self._later.option, against))

    def possible(self, target: Integers) -> float:
        return min(float(self._weights_of(target).mean()), 1.0)

    def _weights_of(self, target: Integers) -> Floats:
        weights: Floats = self._weights * (self._later.option == target)
        return weights


def _gain(terms: Floats, places: Integers, customers: int, tail: float) -> Gain | None:
    if customers < 2:
        return None
    value = float(terms.mean())
    sums = np.bincount(places, weights=terms - value, minlength=customers)
    variance = float(sums @ sums) / len(terms) ** 2 * customers / (customers - 1)
    if variance <= 0.0:
        return None
    error = variance**0.5
    reach = float(stdtrit(customers - 1, 1.0 - tail)) * error
    return Gain(value, value - reach, value + reach, error)


def supported_options(rows: ChoiceRows) -> list[int]:
    """Return the options with enough customers with and without them, in both halves."""
    enough = np.ones(len(rows.options), dtype=np.bool_)
    for part in (rows.later, ~rows.later):
        pairs = np.unique(np.stack((rows.customer[part], rows.option[part])), axis=1)
        customers, options_of = np.unique(pairs[0], return_counts=True)
        alone = pairs[1][np.repeat(options_of == 1, options_of)]
        had = np.bincount(pairs[1], minlength=len(rows.options))
        had_no_other = np.bincount(alone, minlength=len(rows.options))
        enough &= (had >= _FEWEST) & (len(customers) - had_no_other >= _FEWEST)
    return [int(option) for option in np.flatnonzero(enough)]


def rival(proposal: ChoiceProposal) -> ChoiceProposal | None:
    """Return the proposal compared with the next best option of the earlier customers."""
    rows, best = proposal.rows, proposal.by_stratum[0]
    earlier = rows.only(~rows.later)
    alike = np.zeros_like(earlier.stratum)
    means = _means(earlier, _weights(earlier, proposal.grade), alike, 1)[0]
    others = [option for option in supported_options(rows) if option != best]
    if proposal.by or not others:
        return None
    next_best = max(others, key=lambda other: rank_key(means[other]))
    return ChoiceProposal(rows, proposal.by_stratum, (), proposal.grade, against=next_best)


def is_possible_everywhere(support: ChoiceSupport) -> bool:
    """Return whether the option was possible for nearly every customer."""
    return support.possible >= _POSSIBLE


def _weights(rows: ChoiceRows, grade: Grade) -> Floats:
    """Return 1 ÷ propensity of the option taken: as logged, or its share in the stratum."""
    if grade == "Tested":
        return 1.0 / rows.propensity
    table = np.zeros((len(rows.strata), len(rows.options)))
    np.add.at(table, (rows.stratum, rows.option), 1.0)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
    weights: Floats = 1.0 / np.maximum(shares[rows.stratum, rows.option], _LEAST_SHARE)
    return weights


def _means(rows: ChoiceRows, weights: Floats, groups: Integers, count: int) -> Floats:
    """Return the mean worth of each option in each group, smoothed towards that of all."""
    shape = (count, len(rows.options))
    worth, total = np.zeros(shape), np.zeros(shape)
    np.add.at(worth, (groups, rows.option), weights * rows.worth)
    np.add.at(total, (groups, rows.option), weights)
    taken = np.zeros(shape)
    np.add.at(taken, (groups, rows.option), 1.0)
    middle = float(rows.worth.mean()) if len(rows.worth) else 0.0
    raw = np.divide(worth, total, out=np.full(shape, middle), where=total > 0.0)
    smoothed: Floats = (raw * taken + middle * _SMOOTHING) / (taken + _SMOOTHING)
    return smoothed
