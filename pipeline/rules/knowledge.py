"""Knowledge about treatments: a snapshot of evidence, as decisions read it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from pipeline.model.decision import Decision
from pipeline.model.learning import LearningRecord, Posterior

Tie: TypeAlias = tuple[str, str, str]
"""Campaign, offer and treatment."""

NOTHING_LEARNED: Final = "0"
"""Name of the knowledge before the first snapshot."""
_DIGITS: Final = 16
"""Digits of the digest in a snapshot's name."""


class TreatmentEvidence(Struct, frozen=True):
    """Evidence about a treatment; see `Posterior`."""

    trials: float = 0.0
    successes: float = 0.0
    tried: int = 0


NONE: Final = TreatmentEvidence()


class Knowledge(Struct, frozen=True):
    """Evidence by treatment and context bin; `name`: of the snapshot, as Decisions have it."""

    name: str
    evidence: Mapping[tuple[Tie, str], TreatmentEvidence]

    def about(self, tie: Tie, context_bin: str) -> TreatmentEvidence:
        """Return the evidence; none for what was never tried."""
        return self.evidence.get((tie, context_bin), NONE)


EMPTY: Final = Knowledge(NOTHING_LEARNED, {})


def digest_of(posteriors: Iterable[Posterior]) -> str:
    """Return the SHA-256 of what is learned (hex)."""
    return hashlib.sha256(msgspec.json.encode(tuple(posteriors))).hexdigest()


def knowledge_of(record: LearningRecord) -> Knowledge:
    """Return the knowledge in a snapshot."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), one.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in record.posteriors
    }
    return Knowledge(f"{record.number}-{record.digest[:_DIGITS]}", evidence)


def recorded_knowledge(decision: Decision) -> Knowledge:
    """Return as much of the snapshot that a decision names as the decision read."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), decision.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in decision.candidates
    }
    return Knowledge(decision.snapshot or NOTHING_LEARNED, evidence)
