"""Knowledge about treatments: a snapshot of evidence, as decisions read it."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from pipeline.config.compiled import LearningRules
from pipeline.model.decision import Decision
from pipeline.model.learning import LearningRecord

Tie: TypeAlias = tuple[str, str, str]
"""Campaign, offer and treatment."""

NOTHING_LEARNED: Final = "0"
"""Name of the knowledge before the first snapshot."""
WITHHELD: Final = ""
"""Offer and treatment under which it is learned how likely a goal is for who is held out."""
_SHRINKING: Final = 20.0
"""Customers who are held out, by which the rate of the others is shrunk."""
_DIGITS: Final = 16
"""Digits of the digest in a snapshot's name."""


class TreatmentEvidence(Struct, frozen=True):
    """Evidence about a treatment; see `Posterior`. `anyway`: how likely its goal is without it, as
    far as that is taken off."""

    trials: float = 0.0
    successes: float = 0.0
    tried: int = 0
    anyway: float = 0.0


NONE: Final = TreatmentEvidence()


class Knowledge(Struct, frozen=True):
    """Evidence by treatment and context bin; `name`: of the snapshot, as Decisions have it.
    `baselines`: how likely a campaign's goal is for who is held out of it, by campaign and bin."""

    name: str
    evidence: Mapping[tuple[Tie, str], TreatmentEvidence]
    baselines: Mapping[tuple[str, str], float] = {}

    def about(self, tie: Tie, context_bin: str) -> TreatmentEvidence:
        """Return the evidence; none for what was never tried."""
        return self.evidence.get((tie, context_bin), NONE)

    def anyway(self, campaign: str, context_bin: str) -> float:
        """Return how likely a campaign's goal is without its messages; 0 while that is unknown."""
        return self.baselines.get((campaign, context_bin), 0.0)


EMPTY: Final = Knowledge(NOTHING_LEARNED, {})


def knowledge_of(record: LearningRecord) -> Knowledge:
    """Return the knowledge in a snapshot."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), one.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in record.posteriors
    }
    baselines = {
        (one.campaign, one.bin): baseline(one.trials, one.successes)
        for one in record.posteriors
        if one.treatment == WITHHELD
    }
    return Knowledge(f"{record.number}-{record.digest[:_DIGITS]}", evidence, baselines)


def knowledge_in_force(rules: LearningRules, newest: Knowledge) -> Knowledge:
    """Return the knowledge that decisions go by: of the snapshot that the configuration has, else
    the newest."""
    return newest if rules.fixed is None else knowledge_of(rules.fixed)


def baseline(trials: float, successes: float) -> float:
    """Return how likely a goal is without messages, by those who were held out; shrunk towards 0,
    where all of what is reached counts, as long as they are few."""
    return successes / (trials + _SHRINKING)


def recorded_knowledge(decision: Decision) -> Knowledge:
    """Return as much of the snapshot that a decision names as the decision read."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), decision.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in decision.candidates
    }
    baselines = {(one.campaign, decision.bin): one.anyway for one in decision.candidates}
    return Knowledge(decision.snapshot or NOTHING_LEARNED, evidence, baselines)
