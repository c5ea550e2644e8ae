"""Comparison of a replay's decisions with the live ones of the same configuration.

In a live stack, partitions hold leases of budgets and stock, and prices are set each second; a
replay spends from one purse for each budget. So the two may differ when a budget runs short; this
module counts the differences.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.rocks import RowMap
from pipeline.config.budgets import is_stock
from pipeline.decisioning.constraints import BUDGET_PREFIX
from pipeline.model.budget import TOKENS, tokens
from pipeline.model.decision import Decision
from pipeline.model.outcome import Emit

_DIGEST_BYTES: Final = 8
_encode: Final = msgspec.json.Encoder().encode


class LiveComparison(Struct, frozen=True):
    """Number of `decisions` that one configuration made both live and in a replay; of these, the
    number with other treatments (`changed`), and of the changed ones, the number with other budgets
    (`by_budgets`). The remaining changes follow from messages of earlier decisions, or from live
    learning."""

    decisions: int
    changed: int
    by_budgets: int


class ReplayedDecisions:
    """Decisions of a replay, stored in `rows` until they are compared."""

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows

    def note(self, emits: Iterable[Emit]) -> Iterator[Emit]:
        """Yield the records, and store the summaries of decisions."""
        for emit in emits:
            if isinstance(emit.value, Decision):
                self._rows[emit.value.decision_id.encode()] = _summary(emit.value)
            yield emit

    def compare(self, live_decisions: Iterable[Decision]) -> LiveComparison:
        """Compare the decisions that were made both live and in the replay, each once."""
        count = changes = budget_changes = 0
        for decision in live_decisions:
            key = decision.decision_id.encode()
            replay_summary, live_summary = self._rows.get(key), _summary(decision)
            if replay_summary is None:
                continue
            del self._rows[key]  # a decision may be in a topic twice
            count += 1
            if replay_summary[:_DIGEST_BYTES] != live_summary[:_DIGEST_BYTES]:
                changes += 1
                budget_changes += replay_summary[_DIGEST_BYTES:] != live_summary[_DIGEST_BYTES:]
        return LiveComparison(count, changes, budget_changes)


def is_short(decision: Decision) -> bool:
    """Return whether a budget or stock excluded a candidate."""
    return bool(_shortages(decision))


def _shortages(decision: Decision) -> list[tuple[str, ...]]:
    """Return the candidates that a budget excluded, and the stocks that had run out."""
    exclusions = [
        (candidate.slot, candidate.treatment, candidate.fate)
        for candidate in decision.candidates
        if candidate.fate.startswith(BUDGET_PREFIX)
    ]
    empty_stocks = [
        (read.budget,)
        for read in decision.budgets
        if is_stock(read.budget) and tokens(read.left) < TOKENS
    ]
    return [*exclusions, *empty_stocks]


def _summary(decision: Decision) -> bytes:
    """Return digests of a decision's messages, and of its budgets."""
    messages = sorted(
        (choice.slot, choice.treatment) for choice in decision.choices if choice.treatment
    )
    prices = sorted((budget.budget, budget.price) for budget in decision.budgets if budget.price)
    return _digest(messages) + _digest((sorted(_shortages(decision)), prices))


def _digest(parts: object) -> bytes:
    return hashlib.blake2b(_encode(parts), digest_size=_DIGEST_BYTES).digest()
