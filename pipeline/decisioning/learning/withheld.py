"""Trials of what a message adds: a customer's first message of a campaign in its goal's window, and
the first one that a holdout kept back.

Both begin a window, and until it is over no other message of the campaign is a trial. So who is
held out and who is not are counted alike, however many messages there are.

A message that was kept back is in the contact history as released, so that it counts under no cap.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from pipeline.config.compiled import LearningRules
from pipeline.model.decision import HELD_OUT_BY, Candidate, Contact, Decision
from pipeline.model.ids import withheld_id
from pipeline.rules.knowledge import WITHHELD

_CHOSEN: Final = "chosen"


def running_windows(known: Iterable[Contact], now_ms: int, rules: LearningRules) -> frozenset[str]:
    """Return the campaigns of which the customer had, or was to have, a first message whose window
    is not over."""
    return frozenset(
        one.campaign
        for one in known
        if one.first
        and one.campaign in rules.incremental
        and now_ms < one.at + rules.goals[one.campaign].window_ms
    )


def mark_first(
    contacts: Iterable[Contact], running: Iterable[str], rules: LearningRules
) -> tuple[Contact, ...]:
    """Return the messages of a decision, of which those are marked that begin a window."""
    done, marked = set(running), []
    for one in contacts:
        begins = one.campaign in rules.incremental - done and not one.transactional
        marked.append(replace(one, first=True) if begins else one)
        done.add(one.campaign)
    return tuple(marked)


def withheld_contacts(
    decision: Decision, running: Iterable[str], rules: LearningRules
) -> tuple[Contact, ...]:
    """Return the messages that were kept back and begin a window, as the contact history has
    them."""
    return tuple(
        Contact(
            action_id=withheld_id(decision.decision_id, one.slot, one.campaign),
            campaign=one.campaign,
            offer=WITHHELD,
            treatment=one.treatment,
            channel=one.channel,
            purpose="marketing",
            at=decision.decided_at,
            status="released",
            first=True,
        )
        for one in _candidates_to_follow(decision, running, rules)
    )


def _candidates_to_follow(
    decision: Decision, running: Iterable[str], rules: LearningRules
) -> Iterator[Candidate]:
    """Yield the first that was kept back of each campaign that says nothing."""
    if not rules.incremental:
        return
    done = {*running, *(one.campaign for one in decision.candidates if one.fate == _CHOSEN)}
    for one in decision.candidates:
        follows = one.campaign in rules.incremental and one.campaign not in done
        if follows and one.fate.startswith(HELD_OUT_BY):
            done.add(one.campaign)
            yield one
