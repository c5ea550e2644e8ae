"""Checks of budgets, stock and learning after any fault, beside the other checks.

Spending and learning are counted anew, from decisions and outcomes alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.flow import stage
from pipeline.model.budget import BudgetRecord, tokens
from pipeline.model.decision import Decision
from tests.chaos.checks import CHECKS, Check, Trial, differences, list_examples
from tests.chaos.evidence import Evidence
from tests.chaos.oracle import replay

_GOAL: Final = "Order"
_LEARNED: Final = "hint"
_SHOWN: Final = "sent"


@dataclass(frozen=True, slots=True)
class SpentOfAction:
    """Amount (tokens) that an action takes of a budget, in a partition of `decisions`; given back
    at `until` (ms) unless it was shown."""

    action_id: str
    partition: int
    amount: int
    until: int | None

    def is_kept(self, evidence: Evidence, at: int) -> bool:
        """Return whether the amount counts at a time (ms)."""
        outcomes = evidence.outcomes.get(self.action_id)
        if outcomes is None:
            return self.until is None or at < self.until
        return _SHOWN in outcomes


def nothing_is_overspent(trial: Trial) -> list[str]:
    """Check that messages took no more than there is, and that all partitions together cannot."""
    wrong = []
    for name, record in trial.evidence.budgets.items():
        spendings = _spendings(trial.evidence, name)
        at = record.published_at
        amount_spent = sum(
            spending.amount for spending in spendings if spending.is_kept(trial.evidence, at)
        )
        if amount_spent > tokens(record.budget):
            wrong.append(f"{name}: {amount_spent} of {tokens(record.budget)}")
        purses = [purse for (_, budget), purse in trial.evidence.purses.items() if budget == name]
        granted = sum(max(purse.granted, purse.spent) for purse in purses)
        if granted > tokens(record.budget) + tokens(record.released):
            wrong.append(
                f"{name}: {granted} is out of {record.budget} and {record.released} returned"
            )
    return list_examples("overspent", wrong)


def everything_spent_is_counted_once(trial: Trial) -> list[str]:
    """Check that the learner's accounts equal a count of decisions and outcomes."""
    evidence = trial.evidence
    shown_ids = {key for key, outcomes in evidence.outcomes.items() if _SHOWN in outcomes}
    expected, actual = {}, {}
    for name in evidence.rules.config.budgets:
        spendings, record = _spendings(evidence, name), evidence.budgets.get(name)
        at = 0 if record is None else record.published_at
        committed = sum(
            spending.amount for spending in spendings if spending.action_id in shown_ids
        )
        kept_amount = sum(
            spending.amount for spending in spendings if spending.is_kept(evidence, at)
        )
        by_partition = Counter[int]()
        for spending in spendings:
            by_partition[spending.partition] += spending.amount
        expected[name] = (kept_amount, committed, dict(by_partition))
        actual[name] = _account(record)
    return differences("account", expected, actual)


def leases_are_with_their_partitions(trial: Trial) -> list[str]:
    """Check that the owner of a partition, be it a killed one's successor, has its lease, once."""
    evidence = trial.evidence
    expected = {
        (lease.partition, name): (lease.number, tokens(lease.granted), tokens(lease.spent))
        for name, record in evidence.budgets.items()
        for lease in record.leases
        if lease.number > 0
    }
    actual = {
        place: (purse.number, max(purse.granted, purse.spent), purse.spent)
        for place, purse in evidence.purses.items()
    }
    return differences("lease", expected, actual)


def purses_are_those_of_one_thread(trial: Trial) -> list[str]:
    """Check that the purses in the changelog are the step's own, run by one thread."""
    decisioning, evidence = stage("decisioning"), trial.evidence
    expected = replay(decisioning, evidence.inputs(decisioning), evidence.rules).purses
    return differences("purse", expected, evidence.purses)


def everything_learned_is_counted_once(trial: Trial) -> list[str]:
    """Check that in the newest snapshot each hint is a trial, and a success if an order came."""
    evidence = trial.evidence
    profiles_by_action = {
        choice.action_id: decision.profile_id
        for _, decision in evidence.decisions
        for choice in decision.choices
        if choice.campaign == _LEARNED and choice.action_id is not None
    }
    reached_by = {
        feedback.action_id: decision.event_id
        for _, decision in evidence.decisions
        for feedback in decision.feedback
        if feedback.what == "reached"
    }
    posteriors = () if evidence.snapshot is None else evidence.snapshot.posteriors
    actual = {posterior.campaign: (posterior.tried, posterior.reached) for posterior in posteriors}
    causes = (evidence.first_interactions.get(event) for event in reached_by.values())
    return [
        *differences("learned", {_LEARNED: (len(profiles_by_action), len(reached_by))}, actual),
        *list_examples(
            "learned of what was never sent", reached_by.keys() - profiles_by_action.keys()
        ),
        *list_examples(
            "no goal", (cause for cause in causes if cause is None or cause.name != _GOAL)
        ),
    ]


SETTLING_CHECKS: tuple[Check, ...] = (
    everything_spent_is_counted_once,
    leases_are_with_their_partitions,
    purses_are_those_of_one_thread,
    everything_learned_is_counted_once,
)
"""Checks that hold once nothing is left to do. The learner gives back what was not shown, counting
its time from when it heard of it, publishes that with new leases, and then tells partitions of
these: until that is over, accounts, leases and purses differ."""
SPENDING_CHECKS: tuple[Check, ...] = (*CHECKS, nothing_is_overspent, *SETTLING_CHECKS)


def _spendings(evidence: Evidence, name: str) -> list[SpentOfAction]:
    """Return the amount that each action took of a budget, delivered or not."""
    spendings = {
        spend.action_id: SpentOfAction(
            spend.action_id, partition, tokens(spend.amount), spend.until
        )
        for partition, decision in _decisions(evidence)
        for spend in decision.spends
        if spend.what == "reserved" and spend.budget == name
    }
    return list(spendings.values())


def _decisions(evidence: Evidence) -> Iterator[tuple[int, Decision]]:
    return ((entry.partition, decision) for entry, decision in evidence.decisions)


def _account(record: BudgetRecord | None) -> tuple[int, int, dict[int, int]] | None:
    if record is None:
        return None
    by_partition = {lease.partition: tokens(lease.spent) for lease in record.leases if lease.spent}
    return tokens(record.spent), tokens(record.committed), by_partition
