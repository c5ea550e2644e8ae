"""Evidence about treatments as decisions read it."""

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
"""Offer of the posteriors of held-out customers."""
_SHRINKING: Final = 20.0
"""Weight of the expected rate, as a number of held-out customers."""
_ALL: Final = ""
"""Treatment of the rate over all of a campaign's treatments."""
_DIGITS: Final = 16
"""Digits of the digest in a snapshot's name."""


class TreatmentEvidence(Struct, frozen=True):
    """Evidence about a treatment; see `Posterior`. `anyway`: the goal's base rate, where it is
    subtracted."""

    trials: float = 0.0
    successes: float = 0.0
    trial_count: int = 0
    anyway: float = 0.0


NONE: Final = TreatmentEvidence()


class Knowledge(Struct, frozen=True):
    """Evidence by treatment and context bin. `name`: of the snapshot, as in decision records.
    `baselines`: base rates of goals, measured on held-out customers, by campaign, the treatment
    that was kept back, and bin."""

    name: str
    evidence: Mapping[tuple[Tie, str], TreatmentEvidence]
    baselines: Mapping[tuple[str, str, str], float] = {}

    def about(self, tie: Tie, context_bin: str) -> TreatmentEvidence:
        """Return the evidence about a treatment; `NONE` before its first trial."""
        return self.evidence.get((tie, context_bin), NONE)

    def anyway(self, tie: Tie, context_bin: str) -> float:
        """Return the goal's base rate among customers who would get this treatment; 0 while it is
        unknown."""
        campaign, _, treatment = tie
        rate = self.baselines.get((campaign, treatment, context_bin))
        return self.baselines.get((campaign, _ALL, context_bin), 0.0) if rate is None else rate


EMPTY: Final = Knowledge(NOTHING_LEARNED, {})


def knowledge_of(record: LearningRecord) -> Knowledge:
    """Return the knowledge in a snapshot."""
    evidence = {
        (
            (posterior.campaign, posterior.offer, posterior.treatment),
            posterior.bin,
        ): TreatmentEvidence(posterior.trials, posterior.successes, posterior.tried)
        for posterior in record.posteriors
    }
    held_out = [posterior for posterior in record.posteriors if posterior.offer == WITHHELD]
    name = f"{record.number}-{record.digest[:_DIGITS]}"
    return Knowledge(name, evidence, _baselines(held_out))


def _baselines(held_out: Iterable[Posterior]) -> dict[tuple[str, str, str], float]:
    """Return the rates by campaign and by treatment."""
    by_treatment = list(held_out)
    trials: defaultdict[tuple[str, str], float] = defaultdict(float)
    successes: defaultdict[tuple[str, str], float] = defaultdict(float)
    for posterior in by_treatment:
        trials[posterior.campaign, posterior.bin] += posterior.trials
        successes[posterior.campaign, posterior.bin] += posterior.successes
    evidence = {
        (campaign, _ALL, context_bin): baseline(count, successes[campaign, context_bin])
        for (campaign, context_bin), count in trials.items()
    }
    for posterior in by_treatment:
        expected = evidence[posterior.campaign, _ALL, posterior.bin]
        if posterior.treatment != _ALL:
            rate = baseline(posterior.trials, posterior.successes, expected)
            evidence[posterior.campaign, posterior.treatment, posterior.bin] = rate
    return evidence


def knowledge_in_force(rules: LearningRules, newest_knowledge: Knowledge) -> Knowledge:
    """Return the knowledge that decisions use: the configuration's fixed snapshot, else the
    newest."""
    return newest_knowledge if rules.fixed_snapshot is None else knowledge_of(rules.fixed_snapshot)


def baseline(trials: float, successes: float, expected: float = 0.0) -> float:
    """Return a goal's base rate among held-out customers, shrunk towards the expected rate while
    they are few: towards its campaign's rate for a treatment, towards 0 for a campaign."""
    return (successes + _SHRINKING * expected) / (trials + _SHRINKING)


def recorded_knowledge(decision: Decision) -> Knowledge:
    """Return the part of a snapshot that a decision recorded."""
    evidence = {
        (
            (candidate.campaign, candidate.offer, candidate.treatment),
            decision.bin,
        ): TreatmentEvidence(candidate.trials, candidate.successes, candidate.tried)
        for candidate in decision.candidates
    }
    baselines = {
        (candidate.campaign, candidate.treatment, decision.bin): candidate.anyway
        for candidate in decision.candidates
    }
    return Knowledge(decision.snapshot or NOTHING_LEARNED, evidence, baselines)
