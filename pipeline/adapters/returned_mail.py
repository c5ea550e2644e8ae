"""Bounces (RFC 3464) and complaints (RFC 5965) from mail servers."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.adapters.mail_status import bounce_kind, enhanced_status

TOKEN_HEADER: Final = "X-Kairos-Token"
"""Header of sent messages with the outcome token, which most bounces and complaints return."""

_ACTION_ID: Final = re.compile(
    r"<([0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})@[^<>\s]+>"
)
_COMPLAINTS: Final = frozenset(("abuse", "fraud", "opt-out", "opt-out-list", "other"))
_OUTCOMES: Final[dict[str, Literal["bounce", "delivered"]]] = {
    "failed": "bounce",
    "delivered": "delivered",
}
_ORIGINAL_TYPES: Final = ("message/rfc822", "message/global", "text/rfc822-headers")
_OWN_REFERENCES: Final = ("in-reply-to", "references")


class ReturnedMail(Struct, frozen=True):
    """Outcome of the message of `action_id`, with its token where the returned mail has it."""

    outcome: Literal["bounce", "complaint", "delivered"]
    action_id: str | None
    token: str | None
    properties: dict[str, str] = {}


class OtherMail(Struct, frozen=True):
    """Message that reports no outcome, for the reason `reason`."""

    reason: str


MailReport: TypeAlias = ReturnedMail | OtherMail


def parse_returned_mail(content: bytes) -> MailReport:
    """Return the outcome of a sent message that a returned mail reports."""
    message = message_from_bytes(content, policy=default)
    parts: list[Message] = list(message.walk())
    report = _report(parts)
    if isinstance(report, OtherMail):
        return report
    outcome, properties = report
    action_id, token = _find_original(message, parts)
    if action_id is None and token is None:
        return OtherMail("it names no message of Kairos")
    return ReturnedMail(outcome, action_id, token, properties)


def _report(
    parts: list[Message],
) -> tuple[Literal["bounce", "complaint", "delivered"], dict[str, str]] | OtherMail:
    for part in parts:
        match part.get_content_type():
            case "message/delivery-status" | "message/global-delivery-status":
                return _delivery_status(part)
            case "message/feedback-report":
                kind = _fields(part).get("feedback-type", "").lower()
                if kind in _COMPLAINTS:
                    return "complaint", {"feedback": kind}
                return OtherMail(f"feedback of type {kind or 'unknown'}")
    return OtherMail("no delivery status and no feedback report")


def _delivery_status(
    part: Message,
) -> tuple[Literal["bounce", "delivered"], dict[str, str]] | OtherMail:
    """Return the first final status of a recipient."""
    for block in _blocks(part):
        outcome = _OUTCOMES.get((block.get("Action") or "").strip().lower())
        if outcome == "delivered":
            return outcome, {}
        if outcome == "bounce":
            status = enhanced_status(block.get("Status") or "")
            kind = {"bounce": str(bounce_kind(status))}
            return outcome, kind if status is None else {**kind, "enhanced": status}
    return OtherMail("a delivery status that is not final")


def _find_original(message: Message, parts: list[Message]) -> tuple[str | None, str | None]:
    """Return action id and token of the reported message."""
    for part in parts:
        if part.get_content_type() in _ORIGINAL_TYPES:
            fields = _fields(part)
            action_id = _action_id(fields.get("message-id"))
            token = fields.get(TOKEN_HEADER.lower(), "").strip() or None
            if action_id or token:
                return action_id, token
    for name in _OWN_REFERENCES:
        action_id = _action_id(message.get(name))
        if action_id is not None:
            return action_id, None
    return None, None


def _action_id(text: str | None) -> str | None:
    match = _ACTION_ID.search(text or "")
    return match.group(1) if match else None


def _fields(part: Message) -> dict[str, str]:
    """Return the fields in a part's content, by name in lower case."""
    fields: dict[str, str] = {}
    for block in _blocks(part):
        for name, value in block.items():
            fields.setdefault(name.lower(), str(value))
    return fields


def _blocks(part: Message) -> Iterator[Message]:
    content = part.get_payload()
    if isinstance(content, list):
        yield from (block for block in content if isinstance(block, Message))
        return
    body = part.get_payload(decode=True)
    if isinstance(body, bytes):
        yield message_from_bytes(body.lstrip(), policy=default)
