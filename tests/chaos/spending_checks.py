"""Checks of budgets, stock and learning after any fault, beside the other checks.

Budgets, accounts and learning are compared with a count of decisions and outcomes, leases with the
purses, and purses with a replay of the step.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.flow import stage
from pipeline.model.budget import BudgetRecord, tokens
from pipeline.model.decision import Decision
from tests.chaos.checks import CHECKS, Check, Trial, differences, list_examples
from tests.chaos.evidence import TopicEvidence
from tests.chaos.oracle import replay

_GOAL: Final = "Order"
_CAMPAIGN: Final = "hint"
_OUTCOME: Final = "sent"


@dataclass(frozen=True, slots=True)
class ActionSpending:
    """Amount (tokens) that an action takes from a budget, in a partition of `decisions`. It is
    returned by an outcome other than `sent`; without any outcome at `return_ms` (None: never)."""

    action_id: str
    partition: int
    amount: int
    return_ms: int | None

    def is_counted(self, evidence: TopicEvidence, time_ms: int) -> bool:
        """Return whether the amount counts at a time (epoch ms)."""
        outcomes = evidence.outcomes.get(self.action_id)
        if outcomes is None:
            return self.return_ms is None or time_ms < self.return_ms
        return _OUTCOME in outcomes


def check_budgets(trial: Trial) -> list[str]:
    """Check that messages spent no more than the budget, and that all purses together were granted
    no more than the budget and the amounts that were returned."""
    problems = []
    for name, record in trial.evidence.budgets.items():
        spendings = _spendings(trial.evidence, name)
        amount = sum(
            spending.amount
            for spending in spendings
            if spending.is_counted(trial.evidence, record.published_at)
        )
        if amount > tokens(record.budget):
            problems.append(f"{name}: {amount} of {tokens(record.budget)}")
        purses = [purse for (_, budget), purse in trial.evidence.purses.items() if budget == name]
        grants = sum(max(purse.granted, purse.spent) for purse in purses)
        if grants > tokens(record.budget) + tokens(record.released):
            problems.append(
                f"{name}: {grants} granted of {record.budget} and {record.released} returned"
            )
    return list_examples("overspent", problems)


def check_accounts(trial: Trial) -> list[str]:
    """Check that the learner's accounts equal a count of decisions and outcomes."""
    evidence = trial.evidence
    sent_ids = {key for key, outcomes in evidence.outcomes.items() if _OUTCOME in outcomes}
    expected, actual = {}, {}
    for name in evidence.rules.config.budgets:
        spendings, record = _spendings(evidence, name), evidence.budgets.get(name)
        time_ms = 0 if record is None else record.published_at
        committed_amount = sum(
            spending.amount for spending in spendings if spending.action_id in sent_ids
        )
        current_amount = sum(
            spending.amount for spending in spendings if spending.is_counted(evidence, time_ms)
        )
        by_partition = Counter[int]()
        for spending in spendings:
            by_partition[spending.partition] += spending.amount
        expected[name] = (current_amount, committed_amount, dict(by_partition))
        actual[name] = _account(record)
    return differences("account", expected, actual)


def check_leases(trial: Trial) -> list[str]:
    """Check that each lease is in the purse of its partition's owner, also after a kill."""
    evidence = trial.evidence
    expected = {
        (lease.partition, name): (lease.number, tokens(lease.granted), tokens(lease.spent))
        for name, record in evidence.budgets.items()
        for lease in record.leases
        if lease.number > 0
    }
    actual = {
        key: (purse.number, max(purse.granted, purse.spent), purse.spent)
        for key, purse in evidence.purses.items()
    }
    return differences("lease", expected, actual)


def check_purses(trial: Trial) -> list[str]:
    """Compare purses in the changelog with those of the step, run by one thread."""
    decisioning, evidence = stage("decisioning"), trial.evidence
    expected = replay(decisioning, evidence.inputs(decisioning), evidence.rules).purses
    return differences("purse", expected, evidence.purses)


def check_learning(trial: Trial) -> list[str]:
    """Check that the latest snapshot counts every hint as a trial and every reached goal as a
    success, and that each goal belongs to a hint and was caused by an order."""
    evidence = trial.evidence
    hint_ids = {
        choice.action_id
        for _, decision in evidence.decisions
        for choice in decision.choices
        if choice.campaign == _CAMPAIGN and choice.action_id is not None
    }
    goal_events = {
        feedback.action_id: decision.event_id
        for _, decision in evidence.decisions
        for feedback in decision.feedback
        if feedback.what == "reached"
    }
    posteriors = () if evidence.snapshot is None else evidence.snapshot.posteriors
    actual = {posterior.campaign: (posterior.tried, posterior.reached) for posterior in posteriors}
    causes = (evidence.first_interactions.get(event) for event in goal_events.values())
    return [
        *differences("learned", {_CAMPAIGN: (len(hint_ids), len(goal_events))}, actual),
        *list_examples("a goal without a hint", goal_events.keys() - hint_ids),
        *list_examples(
            "no goal", (cause for cause in causes if cause is None or cause.name != _GOAL)
        ),
    ]


EVENTUAL_CHECKS: tuple[Check, ...] = (
    check_accounts,
    check_leases,
    check_purses,
    check_learning,
)
"""Checks that hold some time after everything is processed. The learner first returns the amounts
of actions that were not sent, publishes accounts with new leases, and sends these to the
partitions; until then accounts, leases and purses differ."""
SPENDING_CHECKS: tuple[Check, ...] = (*CHECKS, check_budgets, *EVENTUAL_CHECKS)


def _spendings(evidence: TopicEvidence, name: str) -> list[ActionSpending]:
    """Return the spending of each action from a budget, delivered or not."""
    spendings = {
        spend.action_id: ActionSpending(
            spend.action_id, partition, tokens(spend.amount), spend.until
        )
        for partition, decision in _decisions(evidence)
        for spend in decision.spends
        if spend.what == "reserved" and spend.budget == name
    }
    return list(spendings.values())


def _decisions(evidence: TopicEvidence) -> Iterator[tuple[int, Decision]]:
    return ((entry.partition, decision) for entry, decision in evidence.decisions)


def _account(record: BudgetRecord | None) -> tuple[int, int, dict[int, int]] | None:
    """Return the amounts (tokens) that are spent and committed, and the spent amounts by partition;
    None without a record."""
    if record is None:
        return None
    by_partition = {lease.partition: tokens(lease.spent) for lease in record.leases if lease.spent}
    return tokens(record.spent), tokens(record.committed), by_partition
