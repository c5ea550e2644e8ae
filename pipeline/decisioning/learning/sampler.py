"""Choice by Thompson sampling, and the probability of each choice.

How likely a treatment is to reach its goal has a Beta posterior, held as a table of quantiles
between which it is linear. Both the draw and its probability go by that table, so that the logged
propensity is that of the policy which ran; what is left is the error of a quadrature, below 1e-4.
Draws are hashes of the decision's id: the same decision draws the same.

Chapelle and Li, An Empirical Evaluation of Thompson Sampling (2011).
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import betaincinv, expit

from pipeline.config import amounts
from pipeline.config.compiled import LearningRules
from pipeline.rules.chooser import Field, Lot, Priced
from pipeline.rules.knowledge import NONE, Knowledge, TreatmentEvidence

_Floats: TypeAlias = NDArray[np.float64]

_TAIL: Final = 9.0
"""Logit of the outermost quantiles: a ten-thousandth on each side is cut off."""
_QUANTILES: Final[_Floats] = expit(np.linspace(-_TAIL, _TAIL, 49))
_LEVELS: Final[_Floats] = (_QUANTILES - _QUANTILES[0]) / (_QUANTILES[-1] - _QUANTILES[0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
_RANGE: Final = 2.0**64


class _Runner(Struct, frozen=True, eq=False):
    """Candidate as it competes.

    `scores`: its score at each of `_LEVELS`, None: it has the fixed score of its worth. `pays`: it
    would be worth more than nothing if the goal were certain. `ready`: whether it was tried often
    enough to compete always; `share`: of choices in which it takes part while it is not.
    """

    priced: Priced
    evidence: TreatmentEvidence
    chances: _Floats | None
    scores: _Floats | None
    pays: bool
    ready: bool
    share: float

    @property
    def name(self) -> str:
        return "/".join(self.priced.candidate.tie)


class ThompsonSampler(Struct, frozen=True):
    """Chooser by a snapshot's posteriors."""

    rules: LearningRules
    knowledge: Knowledge

    @property
    def snapshot(self) -> str:
        """Name of the snapshot."""
        return self.knowledge.name

    def with_knowledge(self, knowledge: Knowledge) -> "ThompsonSampler":
        """Return the chooser by another snapshot."""
        return ThompsonSampler(self.rules, knowledge)

    def field(self, candidates: Sequence[Priced], context_bin: str) -> Field:
        """Return the candidates as they compete."""
        runners = tuple(self._runner(one, context_bin) for one in candidates)
        return ThompsonField(runners, self.rules.explore)

    def _runner(self, one: Priced, context_bin: str) -> _Runner:
        candidate, worth, rules = one.candidate, one.worth, self.rules
        if candidate.transactional or candidate.campaign not in rules.goals:
            return _Runner(one, NONE, None, None, worth.score > 0, ready=True, share=1.0)
        known = self.knowledge.about(candidate.tie, context_bin)
        mean = worth.p if 0 < worth.p < 1 else rules.prior
        chances = _posterior(
            mean * rules.prior_trials + known.successes,
            (1 - mean) * rules.prior_trials + max(known.trials - known.successes, 0.0),
        )
        scores = (chances * worth.value - candidate.cost) * worth.weight
        return _Runner(
            one,
            known,
            chances,
            scores,
            (worth.value - candidate.cost) * worth.weight > 0,
            ready=known.tried >= rules.ramp,
            share=max(rules.explore, known.tried / rules.ramp if rules.ramp else 1.0),
        )


class ThompsonField(Struct, frozen=True):
    """Candidates who compete, by their index."""

    runners: tuple[_Runner, ...]
    explore: float

    def evidence(self, index: int) -> TreatmentEvidence:
        """Return the evidence that a candidate is drawn by."""
        return self.runners[index].evidence

    def draw_worth(self, index: int, key: str) -> Priced:
        """Return a candidate with the worth that was drawn for it."""
        runner = self.runners[index]
        if runner.chances is None:
            return runner.priced
        candidate, worth = runner.priced.candidate, runner.priced.worth
        p = float(np.interp(_uniform(key, "p", runner.name), _LEVELS, runner.chances))
        return Priced(
            candidate,
            amounts.worth(p, worth.value, candidate.cost, worth.weight, False, candidate.tie),
        )

    def draw(self, available: Sequence[int], key: str) -> Lot:
        """Return the choice among `available`, which may be nothing."""
        if _uniform(key, "explores") < self.explore:
            return self._explore(available, key)
        shares = self._shares(available)
        scored = [
            (self.draw_worth(index, key).worth.order, index)
            for index, share in zip(available, shares, strict=True)
            if share == 1 or _uniform(key, "takes part", self.runners[index].name) < share
        ]
        if not scored:
            return Lot(None)
        (_, negative, _), index = min(scored)
        return Lot(index if negative < 0 else None)

    def chance(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `draw` gives `index`, or nothing (None)."""
        arms = sum(self.runners[one].pays for one in available) + 1
        alike = 1 / arms if index is None or self.runners[index].pays else 0.0
        return (1 - self.explore) * self._best(available, index) + self.explore * alike

    def optimistic(self, index: int) -> float:
        """Return the score that a candidate exceeds in one of twenty draws."""
        scores = self.runners[index].scores
        if scores is None:
            return self.runners[index].priced.worth.score
        return float(np.interp(0.95, _LEVELS, scores))

    def _explore(self, available: Sequence[int], key: str) -> Lot:
        """Draw alike from all that could pay and nothing; without one of them, from the others."""
        arms: list[tuple[float, int | None]] = [
            (_uniform(key, "arm", self.runners[one].name), one)
            for one in available
            if self.runners[one].pays
        ]
        arms.append((_uniform(key, "arm"), None))
        return Lot(min(arms, key=lambda arm: arm[0])[1], explored=True)

    def _shares(self, available: Sequence[int]) -> list[float]:
        """Return in which share of choices each takes part: 1, unless another has proved itself."""
        runners = [self.runners[one] for one in available]
        proved = any(one.ready and one.scores is not None for one in runners)
        return [1.0 if one.ready or not proved else min(one.share, 1.0) for one in runners]

    def _best(self, available: Sequence[int], index: int | None) -> float:
        """Return the probability that `index` draws the best score above 0, or nobody (None)."""
        shares = dict(zip(available, self._shares(available), strict=True))
        fixed = [
            (one.priced.worth.order, number)
            for number in available
            if (one := self.runners[number]).scores is None and one.priced.worth.score > 0
        ]
        surest = min(fixed)[1] if fixed else None
        least = 0.0 if surest is None else self.runners[surest].priced.worth.score
        rivals = [
            (self.runners[one].scores, share)
            for one, share in shares.items()
            if one != index and self.runners[one].scores is not None
        ]
        scores = None if index is None else self.runners[index].scores
        if index is None or scores is None:
            return float(_below(np.array([least]), rivals)[0]) if index == surest else 0.0
        return shares[index] * _wins(scores, least, rivals)


def _wins(scores: _Floats, least: float, rivals: list[tuple[_Floats | None, float]]) -> float:
    """Return the probability that a draw by `scores` exceeds `least` and all rivals."""
    begin = float(np.interp(least, scores, _LEVELS))
    knots = np.concatenate(([begin], _LEVELS[begin < _LEVELS]))
    half = np.diff(knots) / 2
    levels = (knots[:-1] + half)[:, None] + half[:, None] * _NODES
    below = _below(np.interp(levels.ravel(), _LEVELS, scores), rivals)
    return float((below.reshape(levels.shape) * _WEIGHTS * half[:, None]).sum())


def _below(at: _Floats, rivals: list[tuple[_Floats | None, float]]) -> _Floats:
    """Return the probability that all rivals draw at most each value of `at`."""
    below = np.ones_like(at)
    for scores, share in rivals:
        if scores is not None and at.size and scores[-1] > at[0]:
            below *= 1 - share + share * np.interp(at, scores, _LEVELS)
    return below


@lru_cache(maxsize=8192)
def _posterior(alpha: float, beta: float) -> _Floats:
    """Return the quantiles of a Beta distribution."""
    return np.maximum.accumulate(betaincinv(alpha, beta, _QUANTILES))


def _uniform(key: str, *of: str) -> float:
    """Return a number of [0, 1) that `key` draws for this purpose."""
    text = "\0".join((key, *of)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / _RANGE
