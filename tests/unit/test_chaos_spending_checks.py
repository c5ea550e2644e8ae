"""Checks of budgets, stock and learning find every fault that is put into the evidence."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from agents.wallets import PURSE, PurseRow
from pipeline.adapters.config_files import load
from pipeline.config.model import Bundle
from pipeline.decisioning.learning.counting import posterior
from pipeline.learner.ledger import EvidenceLedger, LoggedDecision
from pipeline.learner.treasury import Treasury
from pipeline.model import topics
from pipeline.model.budget import TOKENS, BudgetRecord, Purse
from pipeline.model.decision import Action, Decision
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.rules import Rules
from tests.chaos import spending_checks as checks
from tests.chaos.checks import CHECKS, Check
from tests.chaos.spending_checks import SPENDING_CHECKS
from tests.chaos.stack import spending_configuration
from tests.support.killed import KilledStages, LoggedRecord, Logs
from tests.support.spending import MemoryLeases
from tests.support.tampering import (
    CODEC,
    PARTITIONS,
    START_MS,
    CheckSuite,
    Tampering,
    World,
    alter,
    delete,
    interaction,
    sent_outcome,
)
from tests.support.worlds import rules

_CUSTOMERS: Final = 9
_REST_MS: Final = START_MS + 10_000
_CHANGELOG: Final = "decisioning-changelog"


@cache
def _rules() -> Rules:
    with tempfile.TemporaryDirectory() as folder:
        configuration = spending_configuration(Path(folder) / "configuration")
        bundle = load(configuration, {"CHAOS_RECEIVER": "http://receiver"})
    assert isinstance(bundle, Bundle)
    return rules(bundle)


class _InMemoryLearner:
    """Learner in memory, which publishes leases and knowledge to the logs."""

    def __init__(self, logs: Logs, folder: Path) -> None:
        self._logs = logs
        self._records: dict[str, BudgetRecord] = {}
        self._ledger = EvidenceLedger(folder)
        leases: Any = MemoryLeases(logs, self._records, None)
        self._treasury = Treasury(self._ledger, leases, PARTITIONS)
        self._read = [0] * PARTITIONS

    def learn(self, now_ms: int) -> None:
        """Count new records, lease, and publish."""
        batch: list[LoggedDecision] = []
        for partition in range(PARTITIONS):
            log = self._logs.records[topics.DECISIONS, partition]
            for offset in range(self._read[partition], len(log)):
                decision = CODEC.decode(topics.DECISIONS, log[offset].value or b"")
                assert isinstance(decision, Decision)
                batch.append(LoggedDecision(partition, offset, decision))
            self._read[partition] = len(log)
        self._ledger.fold(batch, dict(enumerate(self._read)), 10**15, now_ms)
        self._treasury.work(_rules().config, now_ms)
        for name, record in self._records.items():
            self._put(topics.BUDGETS, name, record)
        state = self._ledger.state
        posteriors = tuple(posterior(*tally) for tally in self._ledger.tallies.items())
        snapshot = LearningRecord(1, "d", now_ms, 0, posteriors, state.offsets)
        self._put(topics.LEARNING, SNAPSHOT, snapshot)

    def _put(self, topic: str, key: str, record: msgspec.Struct) -> None:
        self._logs.records[topic, 0].append(LoggedRecord(key.encode(), CODEC.encode(topic, record)))


@cache
def _undisturbed_world() -> World:
    logs = Logs(PARTITIONS)
    stages = KilledStages(_rules(), logs, Random(0))
    with tempfile.TemporaryDirectory() as folder:
        learner = _InMemoryLearner(logs, Path(folder))
        learner.learn(START_MS)
        for step, name in enumerate(("Viewed", "Order", "Order")):
            for customer in range(_CUSTOMERS):
                names = [("customer_id", f"c{customer}"), ("email", f"{customer}@x")]
                properties = {"page": "home", "total": 1}
                logs.put(interaction(f"e{customer}-{step}", name, names, properties))
            stages.run(0)
            learner.learn(START_MS + 1000 * step)
        actions: list[Action] = [
            action
            for channel in ("email", "push", "letter", "parcel")
            for _, action in logs.read(topics.actions(channel))
        ]
        for action in actions:
            logs.put(sent_outcome(action))
        stages.run(0)
        for number in range(3):
            stages.run(0)
            learner.learn(_REST_MS + 1000 * number)
        stages.run(0)
    return World(_rules(), logs, delivered_ids={action.action_id for action in actions})


def _alter_purse(change: Callable[[Purse], Purse]) -> Tampering:
    def tamper(world: World) -> None:
        log = world.logs.records[_CHANGELOG, 0]
        record = next(record for record in reversed(log) if record.key == PURSE + b"prize")
        row = msgspec.msgpack.decode(record.value or b"", type=PurseRow)
        data = msgspec.msgpack.encode(replace(row, purse=change(row.purse)))
        log.append(LoggedRecord(record.key, data))

    return tamper


def _is_spending(decision: Any) -> bool:
    return any(spend.budget == "prize" for spend in decision.spends)


def _forget_goals(world: World) -> None:
    for log, place, record in list(world.entries(topics.DECISIONS)):
        value = CODEC.encode(topics.DECISIONS, replace(record, feedback=()))
        log[place] = LoggedRecord(log[place].key, value)


def _is_prize(record: Any) -> bool:
    return bool(record.name == "prize")


def _remove_lease(record: BudgetRecord) -> BudgetRecord:
    return replace(record, leases=record.leases[1:])


def _count_twice(record: LearningRecord) -> LearningRecord:
    [hint] = record.posteriors
    return replace(record, posteriors=(replace(hint, tried=hint.tried + 1),))


def _raise_amount(decision: Decision) -> Decision:
    spends = tuple(
        replace(spend, amount=1000.0) if spend.budget == "prize" else spend
        for spend in decision.spends
    )
    return replace(decision, spends=spends)


TAMPERINGS: dict[str, tuple[Check, Tampering]] = {
    "a decision spends more than there is": (
        checks.check_budgets,
        alter(topics.DECISIONS, _is_spending, _raise_amount),
    ),
    "a partition may spend more than there is": (
        checks.check_budgets,
        _alter_purse(lambda purse: replace(purse, granted=1000 * TOKENS)),
    ),
    "spending is not counted": (
        checks.check_accounts,
        delete(topics.DECISIONS, _is_spending),
    ),
    "spending on a shown message is not committed": (
        checks.check_accounts,
        alter(topics.BUDGETS, _is_prize, lambda budget: replace(budget, committed=0.0)),
    ),
    "a message that was never shown counts as spent": (
        checks.check_accounts,
        alter(topics.BUDGETS, _is_prize, lambda budget: replace(budget, spent=budget.spent + 1)),
    ),
    "an outcome is missing": (
        checks.check_accounts,
        delete(topics.INTERACTIONS, lambda interaction: interaction.kind == "outcome"),
    ),
    "a lease is lost": (
        checks.check_leases,
        _alter_purse(lambda purse: replace(purse, granted=purse.spent)),
    ),
    "a lease belongs to no partition": (
        checks.check_leases,
        alter(topics.BUDGETS, _is_prize, _remove_lease),
    ),
    "a purse has spent another amount": (
        checks.check_purses,
        _alter_purse(lambda purse: replace(purse, spent=purse.spent + 1)),
    ),
    "a message is learned from twice": (
        checks.check_learning,
        alter(topics.LEARNING, lambda _: True, _count_twice),
    ),
    "a goal is not counted": (
        checks.check_learning,
        _forget_goals,
    ),
}


class TestSpendingChecks(CheckSuite):
    """Suite of the checks of budgets, stock and learning."""

    checks = SPENDING_CHECKS[len(CHECKS) :]
    tamperings = TAMPERINGS

    def make_undisturbed_world(self) -> World:
        return _undisturbed_world()


def test_undisturbed_run_spends_gives_away_and_learns() -> None:
    evidence = _undisturbed_world().evidence()
    spent_by_budget = {name: budget.spent for name, budget in evidence.budgets.items()}
    assert spent_by_budget["prize"] == spent_by_budget["shelf/chair"] == _CUSTOMERS
    assert (spent_by_budget["coupon"], evidence.budgets["coupon"].released) == (0, _CUSTOMERS)
    assert evidence.snapshot is not None
    [hint] = evidence.snapshot.posteriors
    assert (hint.tried, hint.reached) == (_CUSTOMERS, _CUSTOMERS)
