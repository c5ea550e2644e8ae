"""Counting of evidence: contribution of each feedback to the posterior of its action's treatment.

Feedback may be redelivered, and come in any order: an action's row records the received feedback,
and the count follows from the row alone.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.model.decision import HELD_OUT_BY, Decision, Feedback
from pipeline.model.ids import withheld_id
from pipeline.model.learning import Posterior
from pipeline.rules.knowledge import WITHHELD_OFFER

Arm: TypeAlias = tuple[str, str, str, str]
"""Campaign, offer, treatment and context bin; the offer is "" for held-out customers."""


class ActionRow(Struct, frozen=True, array_like=True):
    """Feedback received about an action; `arm` and `at` (ms) are unknown until it was sent.

    `until` (ms): end of its goal's window.
    """

    until: int
    arm: Arm | None = None
    at: int = 0
    tried: bool = False
    shown: bool = False
    released: bool = False
    reached: bool = False

    @property
    def is_trial(self) -> bool:
        """Whether the message counts: it was sent, and not reported as undelivered."""
        return self.arm is not None and (self.shown or (self.tried and not self.released))


class Tally(Struct, frozen=True, array_like=True):
    """Evidence about an arm, weighted by age as of `as_of` (ms)."""

    as_of: int = 0
    trials: float = 0.0
    successes: float = 0.0
    tried: int = 0
    reached: int = 0

    def fade(self, as_of: int, half_life_ms: int) -> "Tally":
        """Return the evidence as it weighs at a later time."""
        if as_of <= self.as_of:
            return self
        weight = _weight(as_of - self.as_of, half_life_ms)
        return replace(
            self, as_of=as_of, trials=self.trials * weight, successes=self.successes * weight
        )


class TallyChange(Struct, frozen=True):
    """Change of the counts of `arm` by an action that was decided at `at`
    (ms)."""

    arm: Arm
    at: int
    trials: int
    successes: int


NO_FEEDBACK: Final = ActionRow(0)


def apply_feedback(row: ActionRow | None, feedback: Feedback, decision: Decision) -> ActionRow:
    """Return the row of an action after a feedback; `decision`: the one that chose the action."""
    row = row or NO_FEEDBACK
    row = replace(row, until=max(row.until, feedback.until))
    match feedback.what:
        case "shown":
            return replace(row, shown=True)
        case "released":
            return replace(row, released=True)
        case "reached":
            return replace(row, reached=True)
    arm = _arm(feedback.action_id, decision)
    return replace(
        row, arm=arm, at=decision.decided_at, tried=row.tried or feedback.what == "tried"
    )


def tally_changes(former_row: ActionRow | None, row: ActionRow) -> Iterator[TallyChange]:
    """Yield the change of the counts, if there is one."""
    if row.arm is None:
        return
    former_row = former_row or NO_FEEDBACK
    trials = row.is_trial - former_row.is_trial
    successes = _succeeds(row) - _succeeds(former_row)
    if trials or successes:
        yield TallyChange(row.arm, row.at, trials, successes)


def add(tally: Tally, change: TallyChange, half_life_ms: int) -> Tally:
    """Return the evidence with a change, which is weighted by its action's age."""
    tally = tally.fade(change.at, half_life_ms)
    weight = _weight(tally.as_of - change.at, half_life_ms)
    return Tally(
        tally.as_of,
        max(tally.trials + change.trials * weight, 0.0),
        max(tally.successes + change.successes * weight, 0.0),
        tally.tried + change.trials,
        tally.reached + change.successes,
    )


def posterior(arm: Arm, tally: Tally) -> Posterior:
    """Return the evidence as a posterior of a snapshot."""
    return Posterior(*arm, tally.trials, tally.successes, tally.tried, tally.reached)


def _arm(action_id: str, decision: Decision) -> Arm:
    for choice in decision.choices:
        if choice.action_id == action_id:
            return choice.campaign or "", choice.offer or "", choice.treatment or "", decision.bin
    withheld_candidate = next(
        candidate
        for candidate in decision.candidates
        if candidate.fate.startswith(HELD_OUT_BY)
        and withheld_id(decision.decision_id, candidate.slot, candidate.campaign) == action_id
    )
    return withheld_candidate.campaign, WITHHELD_OFFER, withheld_candidate.treatment, decision.bin


def _succeeds(row: ActionRow) -> bool:
    return row.is_trial and row.reached


def _weight(age_ms: int, half_life_ms: int) -> float:
    return float(0.5 ** (age_ms / half_life_ms))
