"""Impact tests: for a small, fixed share of customers, arbitration omits one of its factors, so
that the factor's worth can be measured.

The arm follows from the profile id alone, so nothing is stored, and a rerun of a decision has the
same arm. Transactional messages are the same in all arms.
"""

import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from pipeline.config.compiled import APPLICABILITY, STAGES, CompiledCampaign
from pipeline.config.model import ImpactTests
from pipeline.rules.chooser import Chooser, DrawResult, Field, FieldMaker, PricedCandidate
from pipeline.rules.knowledge import NO_EVIDENCE, TreatmentEvidence

USUAL: Final = "usual"
"""Arm of customers outside all tests, the control group."""

CHANCE: Final = "chance"
PROPENSITY: Final = "propensity"
NO_LEVERS: Final = "no-levers"
ELIGIBILITY: Final = "eligibility"

_RANGE: Final = 2**64
_EVERY_STAGE: Final = len(STAGES)


def arm_of(tests: ImpactTests | None, profile_id: str) -> str | None:
    """Return the arm of a customer; None where nothing is tested."""
    if tests is None:
        return None
    digest = hashlib.sha256(f"impact/{profile_id}".encode()).digest()
    draw = int.from_bytes(digest[:8]) / _RANGE
    for number, arm in enumerate(tests.arms, start=1):
        if draw < number * tests.share:
            return arm
    return USUAL


def stage_count(arm: str | None, campaign: CompiledCampaign) -> int:
    """Return the number of stages of the engagement policy to evaluate for a campaign."""
    is_first_only = arm == ELIGIBILITY and campaign.purpose != "transactional"
    return APPLICABILITY if is_first_only else _EVERY_STAGE


def rank_for(arm: str | None, contenders: Sequence[PricedCandidate]) -> list[PricedCandidate]:
    """Sort by the scores that the arm compares, the best first, deterministically."""
    if arm in (PROPENSITY, NO_LEVERS):
        contenders = [_price(arm, contender) for contender in contenders]
    return sorted(contenders, key=attrgetter("worth.order"))


def _price(arm: str, contender: PricedCandidate) -> PricedCandidate:
    candidate, worth = contender.candidate, contender.worth
    if candidate.transactional:
        return contender
    weight = 1.0 if arm == NO_LEVERS else worth.weight
    toll = 0.0 if arm == PROPENSITY else worth.toll
    score = worth.p if arm == PROPENSITY else worth.p * worth.value - candidate.cost - toll
    order = (True, -score, candidate.tie)
    return PricedCandidate(
        candidate, replace(worth, weight=weight, score=score, order=order, toll=toll)
    )


def field_maker(arm: str | None, chooser: Chooser | None) -> FieldMaker | None:
    """Return the maker of the fields that an arm draws from; None: the best wins without a
    draw."""
    if arm == CHANCE:
        return _ChanceFieldMaker()
    return (
        chooser.propensity_field_maker() if arm == PROPENSITY and chooser is not None else chooser
    )


class _ChanceFieldMaker:
    """Maker of fields that draw uniformly from all candidates, without regard to their worth."""

    def field(self, candidates: Sequence[PricedCandidate], context_bin: str) -> Field:
        return _ChanceField(candidates)


class _ChanceField:
    """Equally likely candidates."""

    def __init__(self, pool: Sequence[PricedCandidate]) -> None:
        self._pool = pool

    def evidence(self, index: int) -> TreatmentEvidence:
        return NO_EVIDENCE

    def draw_worth(self, index: int, key: str) -> PricedCandidate:
        return self._pool[index]

    def draw(self, available: Sequence[int], key: str) -> DrawResult:
        digest = hashlib.sha256(f"{key}/chance".encode()).digest()
        return DrawResult(available[int.from_bytes(digest[:8]) % len(available)], explored=True)

    def chance(self, available: Sequence[int], index: int | None) -> float:
        return 0.0 if index is None else 1 / len(available)

    def optimistic_score(self, index: int) -> float:
        return self._pool[index].worth.score
