"""Deterministic ids: each a UUIDv5 (RFC 9562) of what caused it, so a replay names it the same."""

from uuid import UUID, uuid5

from pipeline.model.interaction import Identifier

_KAIROS = UUID("6f1d6c1e-5d0b-5c57-9a4e-3c6f8f1f0a52")
_PROFILE = uuid5(_KAIROS, "profile")
_DECISION = uuid5(_KAIROS, "decision")
_ACTION = uuid5(_KAIROS, "action")
_CONTROL = uuid5(_KAIROS, "control")
_TIMER = uuid5(_KAIROS, "timer")
_OUTCOME = uuid5(_KAIROS, "outcome")


def profile_id(top: Identifier) -> str:
    """The person under `top`, the identifier at the root of the tree."""
    return str(uuid5(_PROFILE, top.key))


def decision_id(event_id: str) -> str:
    """One interaction has one decision."""
    return str(uuid5(_DECISION, event_id))


def action_id(decision: str, slot: str) -> str:
    """A decision fills each slot (a placement, or a channel) at most once."""
    return str(uuid5(_ACTION, f"{decision}/{slot}"))


def control_id(cause: str, kind: str, subject: str) -> str:
    """`cause` is the id of the record that the control follows from."""
    return str(uuid5(_CONTROL, f"{cause}/{kind}/{subject}"))


def timer_id(profile: str, at: int, cause: str = "") -> str:
    """The event id of what time alone did to a profile at `at` (ms); `cause`: a control's id."""
    return str(uuid5(_TIMER, f"{profile}/{at}/{cause}"))


def outcome_id(action: str, outcome: str, detail: str = "") -> str:
    """The event id of an outcome that must count once per action (sent, delivered, expired...)."""
    return str(uuid5(_OUTCOME, f"{action}/{outcome}/{detail}"))
