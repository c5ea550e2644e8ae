"""Messages that a holdout kept back, followed as long as their goal's window: customers who reach
the goal without one show how likely it is anyway.

Such a message is in the contact history as released, so that it counts under no cap.
"""

from collections.abc import Iterable, Iterator

from pipeline.config.compiled import LearningRules
from pipeline.model.decision import HELD_OUT_BY, Candidate, Contact, Decision
from pipeline.model.ids import withheld_id
from pipeline.rules.knowledge import WITHHELD

_CHOSEN = "chosen"


def withheld_contacts(
    decision: Decision, known: Iterable[Contact], rules: LearningRules
) -> tuple[Contact, ...]:
    """Return the messages that were kept back, as the contact history has them."""
    return tuple(
        Contact(
            action_id=withheld_id(decision.decision_id, one.slot, one.campaign),
            campaign=one.campaign,
            offer=WITHHELD,
            treatment=WITHHELD,
            channel=one.channel,
            purpose="marketing",
            at=decision.decided_at,
            status="released",
        )
        for one in _candidates_to_follow(decision, known, rules)
    )


def _candidates_to_follow(
    decision: Decision, known: Iterable[Contact], rules: LearningRules
) -> Iterator[Candidate]:
    """Yield what was kept back of campaigns that say nothing, one of each within its window."""
    if not rules.incremental:
        return
    done = {one.campaign for one in decision.candidates if one.fate == _CHOSEN}
    for contact in known:
        goal = rules.goals.get(contact.campaign) if contact.treatment == WITHHELD else None
        if goal is not None and decision.decided_at < contact.at + goal.window_ms:
            done.add(contact.campaign)
    for one in decision.candidates:
        follows = one.campaign in rules.incremental and one.campaign not in done
        if follows and one.fate.startswith(HELD_OUT_BY):
            done.add(one.campaign)
            yield one
