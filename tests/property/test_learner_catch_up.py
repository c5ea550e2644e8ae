"""A learner that lost its disk counts feedback once, also where identities merged after a message,
so that its feedback is in several partitions and a published snapshot contains a part of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config.budgets import BudgetRule
from pipeline.decisioning.budgets.accounts import account_of, open_account, record_of
from pipeline.decisioning.learning.counting import posterior
from pipeline.learner.catching_up import catch_up
from pipeline.learner.decision_log import DecisionBatch
from pipeline.learner.ledger import EvidenceLedger, LoggedDecision
from pipeline.model.budget import tokens
from pipeline.model.decision import Choice, Decision, Feedback, Spend
from pipeline.model.learning import LearningRecord
from tests.support.cases import cases
from tests.support.deciding import campaign, offer, world
from tests.support.learning import count_feedback

_PARTITIONS: Final = 3
_ACTIONS: Final = ("a1", "a2", "a3", "a4")
_HALF_LIFE_MS: Final = 10**15
_NOW_MS: Final = 2_000_000_000_000
_COST: Final = 2.5


class _MemoryLog:
    """Decisions by partition; a read returns some of any assigned partitions."""

    def __init__(self, random: Random) -> None:
        self.partitions = _PARTITIONS
        self.logs: list[list[Decision]] = [[] for _ in range(_PARTITIONS)]
        self._random = random
        self._next_offsets: dict[int, int] = {}

    def bounds(self, partition: int) -> tuple[int, int]:
        return 0, len(self.logs[partition])

    def assign(self, offsets: Mapping[int, int]) -> None:
        self._next_offsets = dict(offsets)

    def read(self) -> DecisionBatch:
        batch = DecisionBatch([], {})
        for _ in range(self._random.randint(0, 5)):
            partitions = [
                partition
                for partition, offset in self._next_offsets.items()
                if offset < len(self.logs[partition])
            ]
            if partitions:
                partition = self._random.choice(partitions)
                offset = self._next_offsets[partition]
                decision = self.logs[partition][offset]
                batch.decisions.append(LoggedDecision(partition, offset, decision))
                batch.ends[partition] = self._next_offsets[partition] = offset + 1
        return batch

    def is_read(self) -> bool:
        """Return whether all assigned partitions have been read."""
        return all(
            offset == len(self.logs[partition]) for partition, offset in self._next_offsets.items()
        )


class _LedgerLearner:
    """Ledger, and the log that it is filled from."""

    def __init__(self, log: _MemoryLog, ledger: EvidenceLedger) -> None:
        self.log = log
        self.ledger = ledger

    def fold(self, batch: DecisionBatch) -> None:
        self.ledger.fold(batch.decisions, batch.ends, _HALF_LIFE_MS, _NOW_MS)

    def catch_up(self) -> None:
        catch_up(self.log, self.ledger, self.fold, Event())

    def read_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.fold(self.log.read())

    def snapshot(self) -> LearningRecord:
        state = self.ledger.state
        posteriors = tuple(posterior(arm, tally) for arm, tally in self.ledger.tallies.items())
        return LearningRecord(1, "", 0, state.as_of, posteriors, state.offsets)

    def tallies(self) -> dict[tuple[str, str], tuple[int, int]]:
        tallies = self.ledger.tallies.items()
        return {
            (arm[2], arm[3]): (tally.tried, tally.reached) for arm, tally in tallies if tally.tried
        }


@contextmanager
def _learner(log: _MemoryLog) -> Iterator[_LedgerLearner]:
    with TemporaryDirectory() as home:
        ledger = EvidenceLedger(Path(home) / "evidence")
        try:
            yield _LedgerLearner(log, ledger)
        finally:
            ledger.close()


def _decision(number: int, reports: Sequence[tuple[str, Any]], *spends: Spend) -> Decision:
    choices = tuple(
        Choice(f"s{index}", "web", name, "c", "o", f"t-{name}")
        for index, name in enumerate(_ACTIONS)
    )
    feedback = tuple(Feedback(action, kind, 10**9) for action, kind in reports)
    decision = Decision(f"d{number}", f"e{number}", "p", "c", number, choices, bin="b")
    return replace(decision, feedback=feedback, spends=spends)


_FEEDBACK = st.tuples(
    st.sampled_from(_ACTIONS),
    st.sampled_from(("tried", "waits", "shown", "released", "reached")),
)


@settings(max_examples=cases(100), deadline=None)
@given(
    decisions=st.lists(
        st.tuples(st.integers(0, _PARTITIONS - 1), st.lists(_FEEDBACK, max_size=3)), max_size=30
    ),
    position=st.integers(0, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_learner_counts_the_same_without_its_disk(
    decisions: list[tuple[int, list[tuple[str, Any]]]], position: int, seed: int
) -> None:
    log = _MemoryLog(Random(seed))
    for number, (partition, feedback) in enumerate(decisions):
        log.logs[partition].append(_decision(number, feedback))
    with _learner(log) as lost_learner, _learner(log) as learner:
        lost_learner.catch_up()
        lost_learner.read_until(
            lambda: log.is_read() or sum(lost_learner.ledger.state.offsets.values()) >= position
        )
        learner.ledger.restore(lost_learner.snapshot(), {})
        learner.catch_up()
        assert learner.tallies() == lost_learner.tallies()
        learner.read_until(log.is_read)
        records = [record for partition in log.logs for record in partition]
        assert learner.tallies() == count_feedback(records)


def test_goal_that_is_read_before_its_message_counts() -> None:
    log = _MemoryLog(Random(0))
    log.logs[2].append(_decision(0, (("a1", "tried"),)))
    with _learner(log) as lost_learner, _learner(log) as learner:
        lost_learner.catch_up()
        lost_learner.read_until(log.is_read)
        log.logs[0].append(_decision(1, (("a1", "reached"),)))
        learner.ledger.restore(lost_learner.snapshot(), {})
        learner.catch_up()
        learner.read_until(log.is_read)
        assert learner.tallies() == {("t-a1", "b"): (1, 1)}


@pytest.fixture
def sale() -> BudgetRule:
    rules = world(campaigns=[campaign("sale", offer("shoes", 9), budget=10)])
    [rule] = rules.config.budgets.values()
    return rule


def _reserve(log: _MemoryLog, rule: BudgetRule, time_ms: int) -> None:
    """Write a decision in partition 1 that reserves a part of the budget for two seconds."""
    period = open_account(rule, None, _NOW_MS).period.name
    spend = Spend("a1", "reserved", rule.name, period, _COST, time_ms + 2_000)
    log.logs[1].append(replace(_decision(0, (), spend), decided_at=time_ms))


def _begin(learner: _LedgerLearner, rule: BudgetRule) -> None:
    learner.ledger.put_accounts({rule.name: open_account(rule, None, _NOW_MS)})
    learner.catch_up()


def _take_over(
    learner: _LedgerLearner, lost_learner: _LedgerLearner, rule: BudgetRule, time_ms: int
) -> None:
    """Let `learner` go on from the account that `lost_learner` published at a time (epoch ms)."""
    record = record_of(
        lost_learner.ledger.accounts[rule.name], lost_learner.ledger.state.offsets, time_ms
    )
    learner.ledger.restore(None, {rule.name: account_of(record)})
    learner.catch_up()
    learner.ledger.reopen_overdue()


@pytest.mark.parametrize("outcome", ["committed", "released"])
def test_outcome_in_another_partition_settles_the_cost_of_a_message(
    sale: BudgetRule, outcome: Any
) -> None:
    log = _MemoryLog(Random(0))
    _reserve(log, sale, _NOW_MS)
    with _learner(log) as lost_learner, _learner(log) as learner:
        _begin(lost_learner, sale)
        lost_learner.read_until(log.is_read)
        log.logs[0].append(_decision(1, (), Spend("a1", outcome)))
        _take_over(learner, lost_learner, sale, _NOW_MS)
        learner.read_until(log.is_read)
        account = learner.ledger.accounts[sale.name]
        assert (account.gross_spending, account.expiring) == (tokens(_COST), 0)
        assert getattr(account, outcome) == tokens(_COST)


@pytest.mark.parametrize("outcome", ["committed", "released"])
def test_outcome_that_is_read_before_its_message_settles_it(sale: BudgetRule, outcome: Any) -> None:
    log = _MemoryLog(Random(0))
    log.logs[0].append(_decision(1, (), Spend("a1", outcome)))
    with _learner(log) as learner:
        _begin(learner, sale)
        learner.read_until(log.is_read)
        _reserve(log, sale, _NOW_MS)
        learner.read_until(log.is_read)
        account = learner.ledger.accounts[sale.name]
        assert (account.gross_spending, account.expiring) == (tokens(_COST), 0)
        assert getattr(account, outcome) == tokens(_COST)


@pytest.mark.parametrize("publication_delay_ms", [0, 1_000, 2_000, 5_000])
def test_reservation_that_the_learner_receives_late_is_released_once(
    sale: BudgetRule, publication_delay_ms: int
) -> None:
    log, published_at = _MemoryLog(Random(0)), _NOW_MS + publication_delay_ms
    _reserve(log, sale, _NOW_MS - 10_000)
    with _learner(log) as lost_learner, _learner(log) as learner:
        _begin(lost_learner, sale)
        lost_learner.read_until(log.is_read)
        lost_learner.ledger.expire_spending(published_at)
        _take_over(learner, lost_learner, sale, published_at)
        for time_ms in (published_at, published_at + 2_000, published_at + 10_000):
            learner.ledger.expire_spending(time_ms)
        account = learner.ledger.accounts[sale.name]
        assert (account.released, account.net_spending, account.expiring) == (tokens(_COST), 0, 0)
