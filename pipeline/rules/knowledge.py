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

INITIAL_KNOWLEDGE_NAME: Final = "0"
"""Name of the knowledge before the first snapshot."""
WITHHELD_OFFER: Final = ""
"""Offer of the posteriors of held-out customers."""
_PRIOR_WEIGHT: Final = 20.0
"""Weight of the expected rate, as a number of held-out customers."""
_ALL_TREATMENTS: Final = ""
"""Treatment of the rate over all of a campaign's treatments."""
_DIGIT_COUNT: Final = 16
"""Digits of the digest in a snapshot's name."""


class TreatmentEvidence(Struct, frozen=True):
    """Evidence about a treatment; see `Posterior`. `base_rate`: the goal's base rate, where it is
    subtracted."""

    trials: float = 0.0
    successes: float = 0.0
    trial_count: int = 0
    base_rate: float = 0.0


NO_EVIDENCE: Final = TreatmentEvidence()


class Knowledge(Struct, frozen=True):
    """Evidence by treatment and context bin. `name`: of the snapshot, as in decision records.
    `baselines`: base rates of goals, measured on held-out customers, by campaign, the treatment
    that was withheld, and bin."""

    name: str
    evidence: Mapping[tuple[Tie, str], TreatmentEvidence]
    baselines: Mapping[tuple[str, str, str], float] = {}

    def treatment_evidence(self, tie: Tie, context_bin: str) -> TreatmentEvidence:
        """Return the evidence about a treatment; `NO_EVIDENCE` before its first trial."""
        return self.evidence.get((tie, context_bin), NO_EVIDENCE)

    def base_rate(self, tie: Tie, context_bin: str) -> float:
        """Return the goal's base rate among customers who would get this treatment; 0 while it is
        unknown."""
        campaign, _, treatment = tie
        rate = self.baselines.get((campaign, treatment, context_bin))
        return (
            self.baselines.get((campaign, _ALL_TREATMENTS, context_bin), 0.0)
            if rate is None
            else rate
        )


EMPTY_KNOWLEDGE: Final = Knowledge(INITIAL_KNOWLEDGE_NAME, {})


def knowledge_of(record: LearningRecord) -> Knowledge:
    """Return the knowledge in a snapshot."""
    evidence = {
        (
            (posterior.campaign, posterior.offer, posterior.treatment),
            posterior.bin,
        ): TreatmentEvidence(posterior.trials, posterior.successes, posterior.tried)
        for posterior in record.posteriors
    }
    held_out = [posterior for posterior in record.posteriors if posterior.offer == WITHHELD_OFFER]
    name = f"{record.number}-{record.digest[:_DIGIT_COUNT]}"
    return Knowledge(name, evidence, _baselines(held_out))


def _baselines(held_out: Iterable[Posterior]) -> dict[tuple[str, str, str], float]:
    """Return the rates by campaign and by treatment."""
    posteriors = list(held_out)
    trials: defaultdict[tuple[str, str], float] = defaultdict(float)
    successes: defaultdict[tuple[str, str], float] = defaultdict(float)
    for posterior in posteriors:
        trials[posterior.campaign, posterior.bin] += posterior.trials
        successes[posterior.campaign, posterior.bin] += posterior.successes
    rates = {
        (campaign, _ALL_TREATMENTS, context_bin): baseline(count, successes[campaign, context_bin])
        for (campaign, context_bin), count in trials.items()
    }
    for posterior in posteriors:
        expected_rate = rates[posterior.campaign, _ALL_TREATMENTS, posterior.bin]
        if posterior.treatment != _ALL_TREATMENTS:
            rate = baseline(posterior.trials, posterior.successes, expected_rate)
            rates[posterior.campaign, posterior.treatment, posterior.bin] = rate
    return rates


def knowledge_in_force(rules: LearningRules, newest_knowledge: Knowledge) -> Knowledge:
    """Return the knowledge that decisions use: the configuration's fixed snapshot, else the
    newest."""
    return newest_knowledge if rules.fixed_snapshot is None else knowledge_of(rules.fixed_snapshot)


def baseline(trials: float, successes: float, expected_rate: float = 0.0) -> float:
    """Return a goal's base rate among held-out customers, shrunk towards the expected rate while
    they are few: towards its campaign's rate for a treatment, towards 0 for a campaign."""
    return (successes + _PRIOR_WEIGHT * expected_rate) / (trials + _PRIOR_WEIGHT)


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
    return Knowledge(decision.snapshot or INITIAL_KNOWLEDGE_NAME, evidence, baselines)
