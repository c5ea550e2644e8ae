"""Comparison of a replay's decisions with the live ones of the same configuration.

Live, partitions hold leases of budgets and stock, and prices are set each second; a replay spends
from one purse each. So the two may differ when a budget runs short; this module counts the
differences.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.rocks import RowMap
from pipeline.config.budgets import is_stock
from pipeline.decisioning.constraints import BUDGET
from pipeline.model.budget import TOKENS, tokens
from pipeline.model.decision import Decision
from pipeline.model.outcome import Emit

_HALF: Final = 8
_encode: Final = msgspec.json.Encoder().encode


class LiveComparison(Struct, frozen=True):
    """Number of `decisions` made both live and in a replay by one configuration; the number of them
    with other treatments (`changed`), and of these with other budgets (`by_budgets`). The rest
    follows from messages of earlier ones, or from live learning."""

    decisions: int
    changed: int
    by_budgets: int


class ReplayedDecisions:
    """Decisions of a replay, kept in `rows` until they are compared."""

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows

    def note(self, emits: Iterable[Emit]) -> Iterator[Emit]:
        """Pass the records on, and keep the compared parts of decisions."""
        for emit in emits:
            if isinstance(emit.value, Decision):
                self._rows[emit.value.decision_id.encode()] = _summary(emit.value)
            yield emit

    def compare(self, live: Iterable[Decision]) -> LiveComparison:
        """Compare the decisions that were made in both, each once."""
        count = changed = by_budgets = 0
        for decision in live:
            key = decision.decision_id.encode()
            here, live_summary = self._rows.get(key), _summary(decision)
            if here is None:
                continue
            del self._rows[key]  # a decision may be in a topic twice
            count += 1
            if here[:_HALF] != live_summary[:_HALF]:
                changed += 1
                by_budgets += here[_HALF:] != live_summary[_HALF:]
        return LiveComparison(count, changed, by_budgets)


def is_short(decision: Decision) -> bool:
    """Return whether a budget or stock excluded a candidate."""
    return bool(_shortages(decision))


def _shortages(decision: Decision) -> list[tuple[str, ...]]:
    """Return the candidates that a budget excluded, and the stocks that had run out."""
    held = [
        (candidate.slot, candidate.treatment, candidate.fate)
        for candidate in decision.candidates
        if candidate.fate.startswith(BUDGET)
    ]
    missing = [
        (read.budget,)
        for read in decision.budgets
        if is_stock(read.budget) and tokens(read.left) < TOKENS
    ]
    return [*held, *missing]


def _summary(decision: Decision) -> bytes:
    """Return digests of a decision's messages, and of its budgets."""
    messages = sorted(
        (choice.slot, choice.treatment) for choice in decision.choices if choice.treatment
    )
    prices = sorted((budget.budget, budget.price) for budget in decision.budgets if budget.price)
    return _digest(messages) + _digest((sorted(_shortages(decision)), prices))


def _digest(parts: object) -> bytes:
    return hashlib.blake2b(_encode(parts), digest_size=_HALF).digest()
