"""Caps: at most so many messages in any window, per offer, campaign, channel, or in all.

A reserved message counts from the decision on, so a cap holds whatever becomes of the message.
"""

from collections.abc import Sequence

from pipeline.config.compile import Candidate, Cap
from pipeline.model.decision import Contact


def exceeded(
    candidate: Candidate, caps: Sequence[Cap], contacts: Sequence[Contact], now_ms: int
) -> Cap | None:
    """The first cap that leaves no room for `candidate`; transactional messages have none."""
    if candidate.purpose == "transactional":
        return None
    for cap in caps:
        if cap.channel is not None and cap.channel != candidate.channel:
            continue
        counted = sum(
            1
            for one in contacts
            if _counts(one, candidate, cap) and one.at > now_ms - cap.window_ms
        )
        if counted >= cap.max:
            return cap
    return None


def _counts(contact: Contact, candidate: Candidate, cap: Cap) -> bool:
    if contact.status == "released" or contact.purpose == "transactional":
        return False
    if cap.channel is not None and contact.channel != cap.channel:
        return False
    match cap.per:
        case "offer":
            return contact.offer == candidate.offer
        case "campaign":
            return contact.campaign == candidate.campaign
        case "channel":
            return contact.channel == candidate.channel
        case "all":
            return True
