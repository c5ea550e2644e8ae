"""Oracle of the learner: evidence counted from decisions by the definition."""

from collections import Counter
from collections.abc import Iterable

from pipeline.model.decision import Decision


def count_feedback(decisions: Iterable[Decision]) -> dict[tuple[str, str], tuple[int, int]]:
    """Count messages and those that reached their goal, by treatment and bin: an action counts if
    it was tried and not released, or was shown."""
    arms: dict[str, tuple[str, str]] = {}
    told: dict[str, set[str]] = {}
    for decision in decisions:
        chosen = {one.action_id: one.treatment for one in decision.choices}
        for one in decision.feedback:
            told.setdefault(one.action_id, set()).add(one.what)
            if one.what in ("tried", "waits"):
                arms[one.action_id] = (chosen[one.action_id] or "", decision.bin)
    tried: Counter[tuple[str, str]] = Counter()
    reached: Counter[tuple[str, str]] = Counter()
    for action, arm in arms.items():
        heard = told[action]
        if "shown" in heard or ("tried" in heard and "released" not in heard):
            tried[arm] += 1
            reached[arm] += "reached" in heard
    return {arm: (count, reached[arm]) for arm, count in tried.items()}
