"""Impact tests: a small share of customers is decided for without a factor of arbitration, always,
so that what the factor is worth can be measured.

Who is in which arm follows from the profile id alone, so nothing is kept, and a decision that is
made again falls into the same arm. Transactional messages are the same in all arms.
"""

import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from pipeline.config.compiled import APPLICABILITY, STAGES, CompiledCampaign
from pipeline.config.model import ImpactTests
from pipeline.rules.chooser import Chooser, Field, FieldMaker, Lot, Priced
from pipeline.rules.knowledge import NONE, TreatmentEvidence

USUAL: Final = "usual"
"""Arm of all who are in no test, whom the others are compared with."""

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
    drawn = int.from_bytes(digest[:8]) / _RANGE
    for number, arm in enumerate(tests.arms, start=1):
        if drawn < number * tests.share:
            return arm
    return USUAL


def asked_stages(arm: str | None, campaign: CompiledCampaign) -> int:
    """Return how many stages of the engagement policy are asked for a campaign."""
    only_first = arm == ELIGIBILITY and campaign.purpose != "transactional"
    return APPLICABILITY if only_first else _EVERY_STAGE


def rank_for(arm: str | None, priced: Sequence[Priced]) -> list[Priced]:
    """Sort by the scores that the arm compares, the best first: the same input gives the same
    answer."""
    if arm in (PROPENSITY, NO_LEVERS):
        priced = [_price(arm, one) for one in priced]
    return sorted(priced, key=attrgetter("worth.order"))


def _price(arm: str, one: Priced) -> Priced:
    candidate, worth = one.candidate, one.worth
    if candidate.transactional:
        return one
    weight = 1.0 if arm == NO_LEVERS else worth.weight
    toll = 0.0 if arm == PROPENSITY else worth.toll
    score = worth.p if arm == PROPENSITY else worth.p * worth.value - candidate.cost - toll
    order = (True, -score, candidate.tie)
    return Priced(candidate, replace(worth, weight=weight, score=score, order=order, toll=toll))


def field_maker(arm: str | None, chooser: Chooser | None) -> FieldMaker | None:
    """Return the maker of the fields that an arm draws from; None: nothing is drawn, the best
    wins."""
    if arm == CHANCE:
        return _Chance()
    return chooser.by_propensity() if arm == PROPENSITY and chooser is not None else chooser


class _Chance:
    """Maker of fields that draw alike from all candidates, without regard to their worth."""

    def field(self, candidates: Sequence[Priced], context_bin: str) -> Field:
        return _ChanceField(candidates)


class _ChanceField:
    """Candidates of which each is as likely as any other."""

    def __init__(self, pool: Sequence[Priced]) -> None:
        self._pool = pool

    def evidence(self, index: int) -> TreatmentEvidence:
        return NONE

    def draw_worth(self, index: int, key: str) -> Priced:
        return self._pool[index]

    def draw(self, available: Sequence[int], key: str) -> Lot:
        digest = hashlib.sha256(f"{key}/chance".encode()).digest()
        return Lot(available[int.from_bytes(digest[:8]) % len(available)], explored=True)

    def chance(self, available: Sequence[int], index: int | None) -> float:
        return 0.0 if index is None else 1 / len(available)

    def optimistic(self, index: int) -> float:
        return self._pool[index].worth.score
