"""Comparison of a replay's decisions with those that were made live by the same configuration.

Live, partitions hold leases of budgets and stock, and prices are set each second; a replay spends
from one purse each. So where a budget runs short the two may decide otherwise, and this says how
often they did.
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
    """Number of `decisions` that were made both live and in a replay by one configuration; those of
    them with other treatments (`changed`), and those of these that found other budgets:
    `by_budgets`. The others follow from messages of former ones, or from what was learned live."""

    decisions: int
    changed: int
    by_budgets: int


class ReplayedDecisions:
    """Decisions of a replay, kept in `rows` until they are compared."""

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows

    def note(self, emits: Iterable[Emit]) -> Iterator[Emit]:
        """Pass the records on, and keep what is compared of decisions."""
        for emit in emits:
            if isinstance(emit.value, Decision):
                self._rows[emit.value.decision_id.encode()] = _summary(emit.value)
            yield emit

    def compare(self, live: Iterable[Decision]) -> LiveComparison:
        """Compare the decisions that were made in both, each once."""
        count = changed = by_budgets = 0
        for one in live:
            key = one.decision_id.encode()
            here, there = self._rows.get(key), _summary(one)
            if here is None:
                continue
            del self._rows[key]  # a decision may be in a topic twice
            count += 1
            if here[:_HALF] != there[:_HALF]:
                changed += 1
                by_budgets += here[_HALF:] != there[_HALF:]
        return LiveComparison(count, changed, by_budgets)


def is_short(decision: Decision) -> bool:
    """Return whether a budget or stock held something back."""
    return bool(_shortages(decision))


def _shortages(decision: Decision) -> list[tuple[str, ...]]:
    """Return what a budget or stock held back."""
    held = [
        (one.slot, one.treatment, one.fate)
        for one in decision.candidates
        if one.fate.startswith(BUDGET)
    ]
    gone = [
        (read.budget,)
        for read in decision.budgets
        if is_stock(read.budget) and tokens(read.left) < TOKENS
    ]
    return [*held, *gone]


def _summary(decision: Decision) -> bytes:
    """Return digests of what a decision says, and of what it found of budgets."""
    said = sorted((one.slot, one.treatment) for one in decision.choices if one.treatment)
    prices = sorted((one.budget, one.price) for one in decision.budgets if one.price)
    return _digest(said) + _digest((sorted(_shortages(decision)), prices))


def _digest(parts: object) -> bytes:
    return hashlib.blake2b(_encode(parts), digest_size=_HALF).digest()
