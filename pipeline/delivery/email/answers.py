"""Permanent and temporary answers of SMTP servers."""

from typing import Final

from pipeline.adapters.mail_status import bounce_kind, enhanced_status
from pipeline.delivery.channel_adapter import Bounce

_MIN_PERMANENT_CODE: Final = 500
_NO_SUCH_MAILBOX: Final = frozenset((550, 551, 553))


class TemporaryAnswerError(Exception):
    """Raised for a temporary refusal by the server, before it accepted the message."""


def refusal(code: int, text: str, *, concerns_recipient: bool) -> Bounce:
    """Return the bounce of a permanent answer. Raises TemporaryAnswerError for a temporary one.

    Without an enhanced code, a refusal of the recipient concerns the mailbox.
    """
    status = enhanced_status(text)
    if code < _MIN_PERMANENT_CODE:
        raise TemporaryAnswerError(f"status {code} {status or ''}".strip())
    kind = bounce_kind(status)
    if status is None and concerns_recipient and code in _NO_SUCH_MAILBOX:
        kind = "address"
    details = {"bounce": str(kind)}
    if status is not None:
        details["enhanced"] = status
    return Bounce(code, details)
