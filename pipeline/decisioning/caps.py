"""Caps: a maximum number of messages in any window, per offer, group, issue, campaign, channel or
in total.

A reserved message counts from the decision on, so that a cap holds before its fate is known; on a
channel that confirms impressions, until the time for the confirmation has passed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from msgspec import Struct

from pipeline.config.compile import CompiledCap
from pipeline.config.compiled import CompiledCandidate
from pipeline.model.decision import Contact, DeferredMessage

SUBJECT_READERS: Final[
    Mapping[str, Callable[[CompiledCandidate | Contact | DeferredMessage], str | None]]
] = {
    "treatment": attrgetter("treatment"),
    "offer": attrgetter("offer"),
    "group": attrgetter("group"),
    "issue": attrgetter("issue"),
    "campaign": attrgetter("campaign"),
    "channel": attrgetter("channel"),
    "all": lambda _: "",
}
"""Readers of the subject by which a policy counts messages; they return None where a message has no
such subject."""


class FullCap(Struct, frozen=True):
    """Cap and the subjects that have reached it; None: all of them."""

    cap: CompiledCap
    subjects: frozenset[str | None] | None


def full_caps(
    caps: Sequence[CompiledCap], contacts: Sequence[Contact], now_ms: int
) -> tuple[FullCap, ...]:
    """Return the caps that are reached, in the order of configuration."""
    result: list[FullCap] = []
    for cap in caps:
        if len(contacts) >= cap.max:
            subjects = _subjects(cap, contacts, now_ms)
            if subjects is None or subjects:
                result.append(FullCap(cap, subjects))
    return tuple(result)


def exceeded_cap(
    message: CompiledCandidate | Contact, full_caps: Sequence[FullCap]
) -> CompiledCap | None:
    """Return the first cap that `message` would exceed; transactional messages have none."""
    if message.transactional:
        return None
    for full_cap in full_caps:
        cap = full_cap.cap
        if cap.channel not in (None, message.channel) or not cap.scope.covers(message):
            continue
        subject = SUBJECT_READERS[cap.per](message)
        if subject is not None and (full_cap.subjects is None or subject in full_cap.subjects):
            return cap
    return None


def _subjects(
    cap: CompiledCap, contacts: Sequence[Contact], now_ms: int
) -> frozenset[str | None] | None:
    if cap.max == 0:
        return None
    begin_ms = now_ms - cap.window_ms
    subject = SUBJECT_READERS[cap.per]
    counts = Counter(
        subject(contact)
        for contact in contacts
        if contact.at > begin_ms
        and contact.counts(now_ms)
        and not contact.transactional
        and cap.channel in (None, contact.channel)
        and cap.scope.covers(contact)
    )
    return frozenset(name for name, count in counts.items() if count >= cap.max)
