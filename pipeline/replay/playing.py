"""Player of a log through the stages, by the log's own clock."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pipeline.flow import Flow
from pipeline.model.decision import Action, Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.records import time_of
from pipeline.replay.played_budgets import PlayedBudgets
from pipeline.rules import Rules


class LogPlayer:
    """Player of records in the order of time; `take` gets the records that follow from each.

    Between two records the timers that fell due fire. An outcome of a message that this run did not
    send is left out, because it is about another configuration's message. Budgets and stock are
    spent from one purse each.

    `now_ms` is the log's time, None before the first record. `outcomes_left_out` is a count, and
    `dead_letters` has counts by stage and reason.
    """

    def __init__(self, rules: Rules, take: Callable[[Iterable[Emit]], None]) -> None:
        self.budgets = PlayedBudgets(rules.config.budgets)
        has_budgets = bool(rules.config.budgets)
        self.flow = Flow(replace(rules, wallet=self.budgets.wallet) if has_budgets else rules)
        self.now_ms: int | None = None
        self.outcomes_left_out = 0
        self.dead_letters: Counter[tuple[str, str]] = Counter()
        self._take = take
        self._action_ids: set[str] = set()

    def play(self, record: Interaction | IdentityChange) -> None:
        """Bring the log's time to the record, then run it through the stages."""
        self.advance(time_of(record))
        if self._is_of_unsent_message(record):
            self.outcomes_left_out += 1
        else:
            self._pass_on(self.flow.run(record))

    def advance(self, now_ms: int) -> None:
        """Bring the log's time forward; it never goes back."""
        while self.now_ms is not None and (
            (period_begin := self.budgets.next_period(self.now_ms)) is not None
            and period_begin < now_ms
        ):
            self._advance(period_begin)
        if self.now_ms is None or now_ms > self.now_ms:
            self._advance(now_ms)

    def _advance(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.budgets.advance(now_ms)
        self._pass_on(self.flow.advance(now_ms))

    def _is_of_unsent_message(self, record: Interaction | IdentityChange) -> bool:
        if not isinstance(record, Interaction) or record.kind != "outcome":
            return False
        action = record.properties.get("action_id")
        return action is not None and action not in self._action_ids

    def _pass_on(self, emits: Iterable[Emit]) -> None:
        self._take(self._note(emits))
        self.dead_letters.update((stage, letter.reason) for stage, letter in self.flow.dead_letters)
        self.flow.dead_letters.clear()

    def _note(self, emits: Iterable[Emit]) -> Iterator[Emit]:
        for emit in emits:
            if isinstance(emit.value, Action):
                self._action_ids.add(emit.value.action_id)
            elif isinstance(emit.value, Decision):
                self.budgets.count_decision(emit.value)
            yield emit
