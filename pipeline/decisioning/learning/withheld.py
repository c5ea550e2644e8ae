"""Trials of a message's increment: a customer's first message of a campaign in its goal's window,
and the first held-out message.

Both begin a window; until its end, no other message of the campaign is a trial. So customers with
and without messages are counted in the same way, however many messages there are.

A held-out message is in the contact history as released, so that it counts under no cap.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from pipeline.config.compiled import LearningRules
from pipeline.decisioning.arbitrate import CHOSEN
from pipeline.model.decision import HELD_OUT_BY, Candidate, Contact, Decision
from pipeline.model.ids import withheld_id
from pipeline.rules.knowledge import WITHHELD_OFFER


def campaigns_in_window(
    contacts: Iterable[Contact], now_ms: int, rules: LearningRules
) -> frozenset[str]:
    """Return the campaigns with a first message, sent or held out, whose window is not over."""
    return frozenset(
        contact.campaign
        for contact in contacts
        if contact.first
        and contact.campaign in rules.incremental_campaigns
        and now_ms < contact.at + rules.goals[contact.campaign].window_ms
    )


def mark_first_messages(
    contacts: Iterable[Contact], open_campaigns: Iterable[str], rules: LearningRules
) -> tuple[Contact, ...]:
    """Return a decision's messages; those that begin a window are marked as first.

    `open_campaigns`: those whose window is not over.
    """
    campaigns, result = set(open_campaigns), []
    for contact in contacts:
        begins_window = (
            contact.campaign in rules.incremental_campaigns - campaigns
            and not contact.transactional
        )
        result.append(replace(contact, first=True) if begins_window else contact)
        campaigns.add(contact.campaign)
    return tuple(result)


def withheld_contacts(
    decision: Decision, open_campaigns: Iterable[str], rules: LearningRules
) -> tuple[Contact, ...]:
    """Return the held-out messages that begin a window, as contacts."""
    return tuple(
        Contact(
            action_id=withheld_id(decision.decision_id, candidate.slot, candidate.campaign),
            campaign=candidate.campaign,
            offer=WITHHELD_OFFER,
            treatment=candidate.treatment,
            channel=candidate.channel,
            purpose="marketing",
            at=decision.decided_at,
            status="released",
            first=True,
        )
        for candidate in _first_held_out_candidates(decision, open_campaigns, rules)
    )


def _first_held_out_candidates(
    decision: Decision, open_campaigns: Iterable[str], rules: LearningRules
) -> Iterator[Candidate]:
    """Yield the first held-out candidate of each campaign that sends nothing."""
    if not rules.incremental_campaigns:
        return
    campaigns = {
        *open_campaigns,
        *(candidate.campaign for candidate in decision.candidates if candidate.fate == CHOSEN),
    }
    for candidate in decision.candidates:
        is_first = (
            candidate.campaign in rules.incremental_campaigns
            and candidate.campaign not in campaigns
        )
        if is_first and candidate.fate.startswith(HELD_OUT_BY):
            campaigns.add(candidate.campaign)
            yield candidate
