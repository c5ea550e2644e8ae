"""Knowledge about treatments: a snapshot of evidence, as decisions read it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from pipeline.config.compiled import LearningRules
from pipeline.model.decision import Decision
from pipeline.model.learning import LearningRecord, Posterior

Tie: TypeAlias = tuple[str, str, str]
"""Campaign, offer and treatment."""

NOTHING_LEARNED: Final = "0"
"""Name of the knowledge before the first snapshot."""
WITHHELD: Final = ""
"""Offer under which it is learned how likely a goal is for who is held out of a treatment."""
_SHRINKING: Final = 20.0
"""Customers who are held out, by which the rate of the others is shrunk."""
_ALL: Final = ""
"""Treatment under which the rate of all of a campaign stands."""
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
    `baselines`: how likely a campaign's goal is for who is held out of it, by campaign, the
    treatment that was kept back, and bin."""

    name: str
    evidence: Mapping[tuple[Tie, str], TreatmentEvidence]
    baselines: Mapping[tuple[str, str, str], float] = {}

    def about(self, tie: Tie, context_bin: str) -> TreatmentEvidence:
        """Return the evidence; none for what was never tried."""
        return self.evidence.get((tie, context_bin), NONE)

    def anyway(self, tie: Tie, context_bin: str) -> float:
        """Return how likely a campaign's goal is without its messages, for those who would get this
        treatment; 0 while that is unknown."""
        campaign, _, treatment = tie
        found = self.baselines.get((campaign, treatment, context_bin))
        return self.baselines.get((campaign, _ALL, context_bin), 0.0) if found is None else found


EMPTY: Final = Knowledge(NOTHING_LEARNED, {})


def knowledge_of(record: LearningRecord) -> Knowledge:
    """Return the knowledge in a snapshot."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), one.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in record.posteriors
    }
    held_out = [one for one in record.posteriors if one.offer == WITHHELD]
    name = f"{record.number}-{record.digest[:_DIGITS]}"
    return Knowledge(name, evidence, _baselines(held_out))


def _baselines(held_out: Iterable[Posterior]) -> dict[tuple[str, str, str], float]:
    """Return the rates by campaign and by treatment."""
    by_treatment = list(held_out)
    trials: defaultdict[tuple[str, str], float] = defaultdict(float)
    successes: defaultdict[tuple[str, str], float] = defaultdict(float)
    for one in by_treatment:
        trials[one.campaign, one.bin] += one.trials
        successes[one.campaign, one.bin] += one.successes
    found = {
        (campaign, _ALL, context_bin): baseline(count, successes[campaign, context_bin])
        for (campaign, context_bin), count in trials.items()
    }
    for one in by_treatment:
        expected = found[one.campaign, _ALL, one.bin]
        if one.treatment != _ALL:
            rate = baseline(one.trials, one.successes, expected)
            found[one.campaign, one.treatment, one.bin] = rate
    return found


def knowledge_in_force(rules: LearningRules, newest: Knowledge) -> Knowledge:
    """Return the knowledge that decisions go by: of the snapshot that the configuration has, else
    the newest."""
    return newest if rules.fixed is None else knowledge_of(rules.fixed)


def baseline(trials: float, successes: float, expected: float = 0.0) -> float:
    """Return how likely a goal is without messages, by those who were held out; shrunk towards what
    is expected as long as they are few: of a treatment the rate of its campaign, and of a campaign
    0, where all of what is reached counts."""
    return (successes + _SHRINKING * expected) / (trials + _SHRINKING)


def recorded_knowledge(decision: Decision) -> Knowledge:
    """Return as much of the snapshot that a decision names as the decision read."""
    evidence = {
        ((one.campaign, one.offer, one.treatment), decision.bin): TreatmentEvidence(
            one.trials, one.successes, one.tried
        )
        for one in decision.candidates
    }
    baselines = {
        (one.campaign, one.treatment, decision.bin): one.anyway for one in decision.candidates
    }
    return Knowledge(decision.snapshot or NOTHING_LEARNED, evidence, baselines)
