"""Deterministic ids: each id is a UUIDv5 (RFC 9562) of its cause, so that a replay gives the same
ids."""

from hashlib import sha1
from uuid import UUID, uuid5

import msgspec

from pipeline.model.interaction import Identifier, Interaction

_KAIROS = UUID("6f1d6c1e-5d0b-5c57-9a4e-3c6f8f1f0a52")
_PROFILE = uuid5(_KAIROS, "profile")
_EVENT = uuid5(_KAIROS, "event")
_DECISION = uuid5(_KAIROS, "decision")
_ACTION = uuid5(_KAIROS, "action")
_CONTROL = uuid5(_KAIROS, "control")
_TIMER = uuid5(_KAIROS, "timer")
_OUTCOME = uuid5(_KAIROS, "outcome")


def uuid5_text(space: UUID, name: str) -> str:
    """Return `str(uuid5(space, name))`, in a third of the time."""
    digest = bytearray(sha1(space.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def profile_id(top: Identifier) -> str:
    """Return the profile id of `top`, the identifier at the root of the tree."""
    return uuid5_text(_PROFILE, top.key)


def event_key(strongest: str, interaction: Interaction) -> str:
    """Return the identity of an event, which a retry shares with the first attempt and with no
    other event.

    An `event_id` is its sender's own: it is unique only together with the source, the strongest
    identifier (its key), the kind and the name. The id of an outcome is derived from its action,
    independent of its sender.
    """
    is_outcome = interaction.kind == "outcome"
    parts = (
        "" if is_outcome else interaction.source,
        strongest,
        interaction.kind,
        interaction.name,
        interaction.event_id,
    )
    return uuid5_text(_EVENT, msgspec.json.encode(parts).decode())


def content_digest(interaction: Interaction) -> bytes:
    """Return an eight-byte digest of an event's content, zeros for an outcome.

    Times and context are left out: they vary from one attempt to the next.
    """
    if interaction.kind == "outcome":
        return bytes(8)
    content = (sorted(interaction.identifiers), interaction.properties, interaction.lists)
    data = msgspec.json.encode(content, order="sorted")
    return sha1(data, usedforsecurity=False).digest()[:8]


def decision_id(event: str) -> str:
    """Return the id of the only decision of an interaction; `event`: its `event_key`."""
    return uuid5_text(_DECISION, event)


def later_decision_id(first_decision: str, decided_at: int) -> str:
    """Return the id of the decision at `decided_at` (ms) that `first_decision` had deferred."""
    return uuid5_text(_DECISION, f"{first_decision}/again/{decided_at}")


def action_id(decision: str, slot: str) -> str:
    """Return the id of an action; a decision fills each slot (placement or channel) at most
    once."""
    return uuid5_text(_ACTION, f"{decision}/{slot}")


def withheld_id(decision: str, slot: str, campaign: str) -> str:
    """Return the id of a message that a holdout kept back, under which its goal is followed."""
    return uuid5_text(_ACTION, f"{decision}/{slot}/withheld/{campaign}")


def control_id(cause: str, kind: str, subject: str) -> str:
    """Return the id of a control; `cause`: the id of the record that it follows from."""
    return uuid5_text(_CONTROL, f"{cause}/{kind}/{subject}")


def timer_id(profile: str, at: int, cause: str) -> str:
    """Return the event id of a change by time alone at `at` (ms); `cause`: a control's id."""
    return uuid5_text(_TIMER, f"{profile}/{at}/{cause}")


def outcome_id(action: str, outcome: str, detail: str = "") -> str:
    """Return the event id of an outcome that counts once per action (sent, delivered, expired…)."""
    return uuid5_text(_OUTCOME, f"{action}/{outcome}/{detail}")
