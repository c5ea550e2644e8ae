"""Caps: at most so many messages in any window, per offer, campaign, channel, or in all.

A reserved message counts from the decision on, so a cap holds whatever becomes of the message.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from msgspec import Struct

from pipeline.config.compile import Cap
from pipeline.config.compiled import Candidate
from pipeline.model.decision import Contact

_SUBJECT: Final[Mapping[str, Callable[[Candidate | Contact], str]]] = {
    "offer": attrgetter("offer"),
    "campaign": attrgetter("campaign"),
    "channel": attrgetter("channel"),
    "all": lambda _: "",
}
"""Of what a cap counts the messages."""


_NONE: Final[frozenset[str]] = frozenset()


class Full(Struct, frozen=True):
    """A cap and the subjects that it leaves no room for now; None: for none at all."""

    cap: Cap
    subjects: frozenset[str] | None


def full(caps: Sequence[Cap], contacts: Sequence[Contact], now_ms: int) -> tuple[Full, ...]:
    """The caps that leave no room for something, in their order."""
    found = (Full(cap, _subjects(cap, contacts, now_ms)) for cap in caps)
    return tuple(one for one in found if one.subjects is None or one.subjects)


def exceeded(candidate: Candidate, full: Sequence[Full]) -> Cap | None:
    """The first cap that leaves no room for `candidate`; transactional messages have none."""
    if candidate.purpose == "transactional":
        return None
    for one in full:
        cap = one.cap
        if cap.channel is not None and cap.channel != candidate.channel:
            continue
        if one.subjects is None or _SUBJECT[cap.per](candidate) in one.subjects:
            return cap
    return None


def _subjects(cap: Cap, contacts: Sequence[Contact], now_ms: int) -> frozenset[str] | None:
    if cap.max == 0:
        return None
    if len(contacts) < cap.max:
        return _NONE
    begin_ms = now_ms - cap.window_ms
    subject = _SUBJECT[cap.per]
    counts = Counter(
        subject(one)
        for one in contacts
        if one.at > begin_ms
        and one.status != "released"
        and one.purpose != "transactional"
        and cap.channel in (None, one.channel)
    )
    return frozenset(name for name, count in counts.items() if count >= cap.max)
