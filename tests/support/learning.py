"""Evidence counted from decisions by the definition, and a learner in memory."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace as with_fields

from pipeline.decisioning.learning.counting import (
    ActionRow,
    Arm,
    Tally,
    add,
    apply_feedback,
    posterior,
    tally_changes,
)
from pipeline.model.decision import Decision
from pipeline.model.learning import LearningRecord, digest_of
from pipeline.rules import Rules
from pipeline.rules.knowledge import knowledge_of


def count_feedback(decisions: Iterable[Decision]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the numbers of messages and of goals reached, by treatment and bin: an action counts
    if it was shown, or tried and not released."""
    arms: dict[str, tuple[str, str]] = {}
    reports: dict[str, set[str]] = {}
    for decision in decisions:
        treatments = {choice.action_id: choice.treatment for choice in decision.choices}
        for feedback in decision.feedback:
            reports.setdefault(feedback.action_id, set()).add(feedback.what)
            if feedback.what in ("tried", "waits"):
                arms[feedback.action_id] = (treatments[feedback.action_id] or "", decision.bin)
    trials: Counter[tuple[str, str]] = Counter()
    successes: Counter[tuple[str, str]] = Counter()
    for action, arm in arms.items():
        kinds = reports[action]
        if "shown" in kinds or ("tried" in kinds and "released" not in kinds):
            trials[arm] += 1
            successes[arm] += "reached" in kinds
    return {arm: (count, successes[arm]) for arm, count in trials.items()}


class MemoryLearner:
    """Learner in memory: counts the feedback of decisions, and makes snapshots of it."""

    def __init__(self, half_life_ms: int = 10**15) -> None:
        self._half_life_ms = half_life_ms
        self._rows: dict[str, ActionRow] = {}
        self._tallies: dict[Arm, Tally] = {}
        self._number = 0

    def fold(self, decision: Decision) -> None:
        """Count the feedback of a decision."""
        for feedback in decision.feedback:
            old_row = self._rows.get(feedback.action_id)
            new_row = self._rows[feedback.action_id] = apply_feedback(old_row, feedback, decision)
            for change in tally_changes(old_row, new_row):
                tally = self._tallies.get(change.arm, Tally())
                self._tallies[change.arm] = add(tally, change, self._half_life_ms)

    def publish(self) -> LearningRecord:
        """Return the next snapshot."""
        self._number += 1
        posteriors = tuple(posterior(arm, tally) for arm, tally in sorted(self._tallies.items()))
        return LearningRecord(self._number, digest_of(posteriors), 0, posteriors=posteriors)


def teach(rules: Rules, snapshot: LearningRecord) -> Rules:
    """Return the rules with the snapshot in force."""
    assert rules.chooser is not None
    return with_fields(rules, chooser=rules.chooser.with_knowledge(knowledge_of(snapshot)))
