"""Choice between options, one of which was taken each time: the best option is found on some
customers and measured on others.

Customers are split by the time of their beginning: options are compared on the earlier half, and
the best is measured on the later half, which had no influence on its choice. The value of always
taking an option is the augmented inverse-propensity estimate

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
"""Chance that any interval of one answer misses its value."""

_SMOOTHING: Final = 10.0
"""Number of rows of average worth that are added to the rows of each option."""

_MIN_CUSTOMERS: Final = 20
"""Fewest customers with an option, and without it, in each half, for a statement about it."""

_MIN_SHARE: Final = 0.01
"""Least propensity that is estimated for an option in a stratum; a lower one would give a few rows
nearly all weight."""

_MIN_POSSIBLE_WEIGHT: Final = 0.8
"""Least mean weight of an option that counts as possible everywhere; the expected mean is 1."""


@dataclass(frozen=True, slots=True)
class Option:
    """Message by a channel (both empty: no message), or another option, which has its kind as
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

    `propensity`: of the option taken, NaN where it was not logged; `stratum`: index into `strata`,
    the combinations of the customers' properties; `later`: whether the customer is in the later
    half, whose rows are from `split` (µs) to `end`."""

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

    def select(self, rows: Flags) -> "ChoiceRows":
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
    """Gain in mean worth per time over the compared choice, with its interval and standard
    `error`."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True, slots=True)
class ChoiceProposal:
    """Rule that was best among the earlier customers: `by_stratum` has the option for each stratum,
    the same for all unless `by` names the properties that decide. It is compared with always taking
    the option `against` (None: with the choices that were made)."""

    rows: ChoiceRows
    by_stratum: tuple[int, ...]
    by: tuple[str, ...]
    grade: Grade
    against: int | None = None

    @property
    def option(self) -> Option:
        """Option for all customers, of a proposal without `by`."""
        return self.rows.options[self.by_stratum[0]]


@dataclass(frozen=True, slots=True)
class ChoiceSupport:
    """Numbers of customers on whom a rule was found (`found_on`) and measured (`reported_on`).

    `had_it`: number of measured customers whose choice was the rule's; `possible`: share of the
    measured customers for whom that choice was possible, estimated from the weights.
    """

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


def grade_of(rows: ChoiceRows, is_adjusted: bool) -> tuple[Grade, ChoiceRows]:
    """Return the grade of a comparison of the options, and the rows that it uses: only the
    randomised choices if there are enough. `is_adjusted`: whether strata distinguish customers."""
    drawn_rows = rows.select((rows.propensity > 0.0) & (rows.propensity < 1.0))
    if supported_options(drawn_rows):
        return "Tested", drawn_rows
    grade: Grade = "Adjusted" if is_adjusted else "Observed only"
    return grade, rows


def propose(rows: ChoiceRows, grade: Grade, by: Sequence[str]) -> list[ChoiceProposal]:
    """Return the rules above the average among the earlier customers: one option for all and, with
    `by`, one for each stratum if that promises more."""
    options = supported_options(rows)
    if len(options) < 2:
        return []
    earlier_rows = rows.select(~rows.later)
    if not len(earlier_rows.worth):
        return []
    weights = _weights(earlier_rows, grade)
    means = _means(earlier_rows, weights, np.zeros_like(earlier_rows.stratum), 1)[0]
    present_mean = float(earlier_rows.worth.mean())
    best_option = max(options, key=lambda option: rank_key(means[option]))
    proposals = []
    if means[best_option] > present_mean:
        proposals.append(ChoiceProposal(rows, (best_option,) * len(rows.strata), (), grade))
    if by and len(rows.strata) > 1:
        proposals += _propose_by_stratum(
            earlier_rows, weights, options, ChoiceProposal(rows, (best_option,), tuple(by), grade)
        )
    return proposals


def _propose_by_stratum(
    earlier_rows: ChoiceRows,
    weights: Floats,
    options: Sequence[int],
    common_proposal: ChoiceProposal,
) -> list[ChoiceProposal]:
    """Return the proposal of the best option for each stratum; none where the same option is best
    for all."""
    means = _means(earlier_rows, weights, earlier_rows.stratum, len(earlier_rows.strata))
    best_options = tuple(max(options, key=lambda option: rank_key(row[option])) for row in means)
    if len(set(best_options)) == 1:
        return []
    return [
        ChoiceProposal(
            common_proposal.rows,
            best_options,
            common_proposal.by,
            common_proposal.grade,
            against=common_proposal.by_stratum[0],
        )
    ]


def measure(proposals: Sequence[ChoiceProposal]) -> list[Verdict]:
    """Measure proposals on the later customers.

    Intervals hold for all of them together at 95 % (Bonferroni).
    """
    tail = ERROR / 2.0 / max(len(proposals), 1)
    return [verdict for proposal in proposals if (verdict := _measure(proposal, tail)) is not None]


def _measure(proposal: ChoiceProposal, tail: float) -> Verdict | None:
    """Measure a proposal; None: too few customers had the rule's choice."""
    rows, option_by_stratum = proposal.rows, np.array(proposal.by_stratum, dtype=np.int64)
    earlier_rows, later_rows = rows.select(~rows.later), rows.select(rows.later)
    target = option_by_stratum[later_rows.stratum]
    values = _Values(earlier_rows, later_rows, proposal.grade)
    terms = values.of(target) - values.baseline(proposal.against)
    customers, customer_indexes = np.unique(later_rows.customer, return_inverse=True)
    gain = _gain(terms, customer_indexes, len(customers), tail)
    rule_customer_count = len(np.unique(later_rows.customer[later_rows.option == target]))
    if gain is None or rule_customer_count < _MIN_CUSTOMERS:
        return None
    support = ChoiceSupport(
        found_on=len(np.unique(earlier_rows.customer)),
        reported_on=len(customers),
        had_it=rule_customer_count,
        possible=values.possible_share(target),
    )
    return Verdict(proposal, gain, support)


class _Values:
    """Estimates of each option's worth in the later rows, one term per row."""

    def __init__(self, earlier_rows: ChoiceRows, later_rows: ChoiceRows, grade: Grade) -> None:
        self._later_rows = later_rows
        self._weights = _weights(later_rows, grade)
        one_group = np.zeros_like(earlier_rows.stratum)
        self._means = _means(earlier_rows, _weights(earlier_rows, grade), one_group, 1)[0]

    def of(self, target: Integers) -> Floats:
        """Return the terms of always taking each row's target option."""
        expected = self._means[target]
        terms: Floats = expected + self._weights_of(target) * (self._later_rows.worth - expected)
        return terms

    def baseline(self, against: int | None) -> Floats:
        """Return the terms of always taking an option (None: of the choices that were made)."""
        if against is None:
            return self._later_rows.worth
        return self.of(np.full_like(self._later_rows.option, against))

    def possible_share(self, target: Integers) -> float:
        """Return the estimated share of rows in which the target option was possible."""
        return min(float(self._weights_of(target).mean()), 1.0)

    def _weights_of(self, target: Integers) -> Floats:
        weights: Floats = self._weights * (self._later_rows.option == target)
        return weights


def _gain(
    terms: Floats, customer_indexes: Integers, customer_count: int, tail: float
) -> Gain | None:
    """Return the gain; None: the terms have no variance between customers."""
    if customer_count < 2:
        return None
    value = float(terms.mean())
    sums = np.bincount(customer_indexes, weights=terms - value, minlength=customer_count)
    variance = float(sums @ sums) / len(terms) ** 2 * customer_count / (customer_count - 1)
    if variance <= 0.0:
        return None
    error = variance**0.5
    half_width = float(stdtrit(customer_count - 1, 1.0 - tail)) * error
    return Gain(value, value - half_width, value + half_width, error)


def supported_options(rows: ChoiceRows) -> list[int]:
    """Return the options that enough customers had, and enough did not have, in both halves."""
    is_supported = np.ones(len(rows.options), dtype=np.bool_)
    for part in (rows.later, ~rows.later):
        pairs = np.unique(np.stack((rows.customer[part], rows.option[part])), axis=1)
        customers, option_counts = np.unique(pairs[0], return_counts=True)
        sole_options = pairs[1][np.repeat(option_counts == 1, option_counts)]
        customers_with = np.bincount(pairs[1], minlength=len(rows.options))
        customers_with_only = np.bincount(sole_options, minlength=len(rows.options))
        is_supported &= (customers_with >= _MIN_CUSTOMERS) & (
            len(customers) - customers_with_only >= _MIN_CUSTOMERS
        )
    return [int(option) for option in np.flatnonzero(is_supported)]


def compare_with_next_best(proposal: ChoiceProposal) -> ChoiceProposal | None:
    """Return the proposal compared with the next best option of the earlier customers; None for a
    rule by stratum, or without another option."""
    rows, best_option = proposal.rows, proposal.by_stratum[0]
    earlier_rows = rows.select(~rows.later)
    one_group = np.zeros_like(earlier_rows.stratum)
    means = _means(earlier_rows, _weights(earlier_rows, proposal.grade), one_group, 1)[0]
    other_options = [option for option in supported_options(rows) if option != best_option]
    if proposal.by or not other_options:
        return None
    next_best = max(other_options, key=lambda other: rank_key(means[other]))
    return ChoiceProposal(rows, proposal.by_stratum, (), proposal.grade, against=next_best)


def is_possible_everywhere(support: ChoiceSupport) -> bool:
    """Return whether the option was possible for nearly every customer."""
    return support.possible >= _MIN_POSSIBLE_WEIGHT


def _weights(rows: ChoiceRows, grade: Grade) -> Floats:
    """Return 1 ÷ propensity of the option taken, as logged or else its share in the stratum."""
    if grade == "Tested":
        return 1.0 / rows.propensity
    table = np.zeros((len(rows.strata), len(rows.options)))
    np.add.at(table, (rows.stratum, rows.option), 1.0)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
    weights: Floats = 1.0 / np.maximum(shares[rows.stratum, rows.option], _MIN_SHARE)
    return weights


def _means(rows: ChoiceRows, weights: Floats, groups: Integers, count: int) -> Floats:
    """Return the mean worth of each option in each group, smoothed towards that of all."""
    shape = (count, len(rows.options))
    worth_sums, weight_sums = np.zeros(shape), np.zeros(shape)
    np.add.at(worth_sums, (groups, rows.option), weights * rows.worth)
    np.add.at(weight_sums, (groups, rows.option), weights)
    counts = np.zeros(shape)
    np.add.at(counts, (groups, rows.option), 1.0)
    overall_mean = float(rows.worth.mean()) if len(rows.worth) else 0.0
    raw_means = np.divide(
        worth_sums, weight_sums, out=np.full(shape, overall_mean), where=weight_sums > 0.0
    )
    smoothed_means: Floats = (raw_means * counts + overall_mean * _SMOOTHING) / (
        counts + _SMOOTHING
    )
    return smoothed_means
