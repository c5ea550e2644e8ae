"""Choice by Thompson sampling, and the probability of each choice.

A treatment's probability of reaching its goal has a Beta posterior, held as a table of quantiles
with linear interpolation. Both the draw and its probability use that table, so that the logged
propensity is that of the policy which ran, up to the error of a quadrature, below 1e-4.
The draw for a candidate is seeded by the decision's id and the candidate's name alone: a rerun of
the decision draws the same.

Chapelle and Li, An Empirical Evaluation of Thompson Sampling (2011).
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.special import betaincinv, expit

from pipeline.config import amounts
from pipeline.config.compiled import LearningRules
from pipeline.rules.chooser import DrawResult, Field, PricedCandidate
from pipeline.rules.knowledge import NO_EVIDENCE, Knowledge, Tie, TreatmentEvidence

_Floats: TypeAlias = NDArray[np.float64]
_Words: TypeAlias = NDArray[np.uint64]
_Rival: TypeAlias = tuple[_Floats, float]
"""Scores of a candidate at each of `_LEVELS`, and the share of draws in which it takes part."""

_TAIL: Final = 9.0
"""Logit of the outermost quantiles: a ten-thousandth on each side is cut off."""
_QUANTILES: Final[_Floats] = expit(np.linspace(-_TAIL, _TAIL, 49))
_LEVELS: Final[_Floats] = (_QUANTILES - _QUANTILES[0]) / (_QUANTILES[-1] - _QUANTILES[0])
_STEPS: Final[_Floats] = np.diff(_LEVELS)
_NO_TABLE: Final[_Floats] = np.empty(0)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)

_MIX: Final = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
"""Shifts and factors by which SplitMix64 mixes the bits of a word."""

_MAX_RUNNERS: Final = 16_384
"""Maximum of runners in a sampler's cache."""

_MAX_STRONG_RIVALS: Final = 16
"""Number of rivals that are evaluated first."""
_STRENGTH_COLUMN: Final = 36
"""Column of the quantile that rivals are compared by: each exceeds it in one of ninety draws."""
_NEGLIGIBLE_CHANCE: Final = 1e-6
"""Probability that the strongest rivals all stay below a score; under it, others are ignored."""


class _Runner(Struct, frozen=True, eq=False):
    """Competing candidate.

    `name_hash`: hash of its name; `chances`: of reaching its goal (less the chance of reaching it
    without a message, where only the increment counts), at each of `_LEVELS`. `is_learned`: its
    score is drawn from them; else it is fixed. `is_ready`: whether it was tried often enough to
    take part in all draws; `share`: of draws in which it takes part beside a ready one.
    """

    name_hash: int
    chances: _Floats
    evidence: TreatmentEvidence = NO_EVIDENCE
    is_learned: bool = False
    is_ready: bool = True
    share: float = 1.0


class ThompsonSampler(Struct, frozen=True):
    """Chooser by a snapshot's posteriors. `runners`: a cache; `p_alone`: scores are probabilities
    of the goal, without its worth."""

    rules: LearningRules
    knowledge: Knowledge
    runners: dict[tuple[Tie, str, float], _Runner] = field(default_factory=dict)
    p_alone: bool = False

    @property
    def snapshot(self) -> str:
        """Name of the snapshot."""
        return self.knowledge.name

    def with_knowledge(self, knowledge: Knowledge) -> "ThompsonSampler":
        """Return the chooser by another snapshot."""
        return ThompsonSampler(self.rules, knowledge)

    def propensity_field_maker(self) -> "ThompsonSampler":
        """Return the chooser that compares probabilities of goals, without their worth."""
        return ThompsonSampler(self.rules, self.knowledge, self.runners, p_alone=True)

    def field(self, candidates: Sequence[PricedCandidate], context_bin: str) -> Field:
        """Return the field of the candidates."""
        cache, runners = self.runners, []
        if len(cache) > _MAX_RUNNERS:
            cache.clear()
        for contender in candidates:
            key = contender.candidate.tie, context_bin, contender.worth.p
            runner = cache.get(key)
            if runner is None:
                runner = cache[key] = self._runner(contender, context_bin)
            runners.append(runner)
        return ThompsonField(candidates, runners, self.rules.explore_share, self.p_alone)

    def _runner(self, contender: PricedCandidate, context_bin: str) -> _Runner:
        candidate, p, rules = contender.candidate, contender.worth.p, self.rules
        name_hash = _hash("/".join(candidate.tie).encode())
        if candidate.transactional or candidate.campaign not in rules.goals:
            return _Runner(name_hash, np.full(len(_LEVELS), p))
        evidence = self.knowledge.treatment_evidence(candidate.tie, context_bin)
        mean = p if 0 < p < 1 else rules.prior
        chances = _posterior(
            mean * rules.prior_trials + evidence.successes,
            (1 - mean) * rules.prior_trials + max(evidence.trials - evidence.successes, 0.0),
        )
        if candidate.campaign in rules.incremental_campaigns:
            evidence = replace(
                evidence, base_rate=self.knowledge.base_rate(candidate.tie, context_bin)
            )
            chances = chances - evidence.base_rate
        is_ready = evidence.trial_count >= rules.ramp
        share = (
            1.0
            if is_ready
            else min(max(rules.explore_share, evidence.trial_count / rules.ramp), 1.0)
        )
        return _Runner(name_hash, chances, evidence, True, is_ready, share)


class ThompsonField:
    """Competing candidates, by index; a row of each array is a candidate.

    `scores`: a candidate's score at each of `_LEVELS`; a fixed one is the same at all levels.
    `pays`: the score would be above 0 if the goal were certain.
    """

    def __init__(
        self,
        pool: Sequence[PricedCandidate],
        runners: Sequence[_Runner],
        explore_share: float,
        p_alone: bool,
    ) -> None:
        self._pool = pool
        self._p_alone = p_alone
        self._runners = runners
        self._explore_share = explore_share
        self._is_learned = np.array([runner.is_learned for runner in runners], dtype=bool)
        self._share = np.array([runner.share for runner in runners], dtype=np.float64)
        self._names = np.array([runner.name_hash for runner in runners], dtype=np.uint64)
        self._value = np.array([contender.worth.value for contender in pool])
        self._cost = np.array([contender.candidate.cost for contender in pool])
        self._weight = np.array([contender.worth.weight for contender in pool])
        self._toll = np.array([contender.worth.toll for contender in pool])
        tables = [runner.chances for runner in runners]
        self._chances = np.concatenate((_NO_TABLE, *tables)).reshape(-1, len(_LEVELS))
        self._scores = np.ascontiguousarray(self._score(self._chances.T).T)
        certain_scores = self._score(
            1.0 - np.array([runner.evidence.base_rate for runner in runners])
        )
        self._pays = (np.where(self._is_learned, certain_scores, self._scores[:, 0]) > 0).tolist()
        self._draws_by_key: dict[str, tuple[list[float], _Floats]] = {}

    def evidence(self, index: int) -> TreatmentEvidence:
        """Return the evidence from which a candidate's score is drawn."""
        return self._runners[index].evidence

    def draw_worth(self, index: int, key: str) -> PricedCandidate:
        """Return a candidate with its drawn worth."""
        contender = self._pool[index]
        if not self._runners[index].is_learned:
            return contender
        candidate, worth = contender.candidate, contender.worth
        p = (self._draws_by_key.get(key) or self._draws(key))[0][index]
        drawn_worth = amounts.worth(
            p, worth.value, candidate.cost, worth.weight, False, candidate.tie
        )
        if self._p_alone:
            drawn_worth = replace(drawn_worth, score=p, order=(True, -p, candidate.tie))
        elif worth.toll:
            drawn_worth = amounts.charge(drawn_worth, worth.toll)
        return PricedCandidate(candidate, drawn_worth)

    def draw(self, available: Sequence[int], key: str) -> DrawResult:
        """Draw one of `available`, or nothing."""
        if _uniform(key, "explores") < self._explore_share:
            return self._draw_uniformly(available, key)
        rows = np.array(available)
        if self._has_ready_candidate(available):
            rows = rows[_uniforms(key, "takes part", self._names[rows]) < self._share[rows]]
        scores = self._draws(key)[1][rows]
        best_score = scores.max(initial=0.0)
        if best_score <= 0:
            return DrawResult(None)
        ties = rows[scores == best_score].tolist()
        return DrawResult(min(ties, key=lambda index: self._pool[index].candidate.tie))

    def chance(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `draw` gives `index`, or nothing (None)."""
        pays = self._pays
        arm_count = sum(pays[other_index] for other_index in available) + 1
        uniform_chance = 1 / arm_count if index is None or pays[index] else 0.0
        return (1 - self._explore_share) * self._best_score_chance(
            available, index
        ) + self._explore_share * uniform_chance

    def optimistic_score(self, index: int) -> float:
        """Return the score that a candidate exceeds in one of twenty draws."""
        return float(np.interp(0.95, _LEVELS, self._scores[index]))

    def _score(self, chances: _Floats) -> _Floats:
        if self._p_alone:
            return chances
        scores: _Floats = (chances * self._value - self._cost) * self._weight - self._toll
        return scores

    def _draws(self, key: str) -> tuple[list[float], _Floats]:
        """Return each candidate's drawn probability and the score that follows from it."""
        draws = self._draws_by_key.get(key)
        if draws is None:
            levels = _uniforms(key, "p", self._names)
            step = np.searchsorted(_LEVELS, levels, side="right") - 1
            rows = np.arange(len(step))
            low_chances, high_chances = self._chances[rows, step], self._chances[rows, step + 1]
            chances = low_chances + (levels - _LEVELS[step]) / _STEPS[step] * (
                high_chances - low_chances
            )
            draws = self._draws_by_key[key] = chances.tolist(), self._score(chances)
        return draws

    def _draw_uniformly(self, available: Sequence[int], key: str) -> DrawResult:
        """Draw uniformly from the candidates that pay, and nothing."""
        rows = np.array([index for index in available if self._pays[index]], dtype=np.intp)
        draws = _uniforms(key, "arm", self._names[rows])
        nothing_draw = _uniform(key, "nothing")
        if draws.min(initial=1.0) >= nothing_draw:
            return DrawResult(None, explored=True)
        return DrawResult(int(rows[draws.argmin()]), explored=True)

    def _has_ready_candidate(self, available: Sequence[int]) -> bool:
        """Return whether a candidate is ready, so that others take part in a share of draws
        only."""
        runners = self._runners
        return any(
            runners[other_index].is_ready and runners[other_index].is_learned
            for other_index in available
        )

    def _best_score_chance(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `index`, or no candidate (None), draws the best score above
        0."""
        runners, has_ready_candidate = self._runners, self._has_ready_candidate(available)
        best_fixed_index = self._best_fixed_index(
            [other_index for other_index in available if not runners[other_index].is_learned]
        )
        threshold = 0.0 if best_fixed_index is None else float(self._scores[best_fixed_index, 0])
        rivals = [
            (self._scores[other_index], runners[other_index].share if has_ready_candidate else 1.0)
            for other_index in available
            if other_index != index and runners[other_index].is_learned
        ]
        if index is None or not runners[index].is_learned:
            return (
                float(_probability_below(np.array([threshold]), rivals)[0])
                if index == best_fixed_index
                else 0.0
            )
        share = runners[index].share if has_ready_candidate else 1.0
        return share * _win_probability(self._scores[index], threshold, rivals)

    def _best_fixed_index(self, indexes: Sequence[int]) -> int | None:
        """Return the best candidate with a fixed score above 0."""
        paying_indexes = [index for index in indexes if self._pool[index].worth.score > 0]
        if not paying_indexes:
            return None
        return min(paying_indexes, key=lambda index: self._pool[index].worth.order)


def _win_probability(scores: _Floats, threshold: float, rivals: Sequence[_Rival]) -> float:
    """Return the probability that a draw by `scores` exceeds `threshold` and all rivals."""
    start = float(np.interp(threshold, scores, _LEVELS))
    knots = np.concatenate(([start], _LEVELS[start < _LEVELS]))
    half_widths = np.diff(knots) / 2
    levels = (knots[:-1] + half_widths)[:, None] + half_widths[:, None] * _NODES
    probabilities = _probability_below(np.interp(levels.ravel(), _LEVELS, scores), rivals)
    return float((probabilities.reshape(levels.shape) * _WEIGHTS * half_widths[:, None]).sum())


def _probability_below(values: _Floats, rivals: Sequence[_Rival]) -> _Floats:
    """Return the probability that all rivals draw at most each of `values`, which ascend."""
    if len(rivals) <= _MAX_STRONG_RIVALS or not values.size:
        return _product(values, rivals)
    ranked_rivals = sorted(rivals, key=lambda rival: -rival[0][_STRENGTH_COLUMN] * rival[1])
    product = _product(values, ranked_rivals[:_MAX_STRONG_RIVALS])
    start = int(np.searchsorted(product, _NEGLIGIBLE_CHANCE))
    if start < values.size:
        product[start:] *= _product(values[start:], ranked_rivals[_MAX_STRONG_RIVALS:])
    return product


def _product(values: _Floats, rivals: Sequence[_Rival]) -> _Floats:
    """Return the probability that all rivals draw at most each of `values`."""
    product = np.ones_like(values)
    for scores, share in rivals:
        if values.size and scores[-1] > values[0]:
            levels = np.interp(values, scores, _LEVELS)
            if share < 1:
                levels *= share
                levels += 1 - share
            product *= levels
    return product


@lru_cache(maxsize=8192)
def _posterior(alpha: float, beta: float) -> _Floats:
    """Return the quantiles of a Beta distribution."""
    return np.maximum.accumulate(betaincinv(alpha, beta, _QUANTILES))


def _uniform(key: str, purpose: str) -> float:
    """Return a number in [0, 1), seeded by `key` and the purpose."""
    return (_hash(f"{key}\0{purpose}".encode()) >> 11) / 2.0**53


def _uniforms(key: str, purpose: str, names: _Words) -> _Floats:
    """Return for each name a number in [0, 1), seeded by `key` and the purpose."""
    words = names ^ np.uint64(_hash(f"{key}\0{purpose}\0each".encode()))
    for shift, factor in _MIX:
        words = (words ^ (words >> shift)) * factor
    words ^= words >> np.uint64(31)
    floats: _Floats = (words >> np.uint64(11)) / 2.0**53
    return floats


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
