"""Status codes of e-mail (RFC 3463), in answers of servers and in bounces."""

import re
from typing import Final, Literal, TypeAlias

_STATUS_CODE: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_DISABLED_MAILBOX: Final = "5.2.1"

BounceKind: TypeAlias = Literal["address", "refused", "soft"]
"""Kind of a bounce. address: it cannot receive mail; refused: for the message's content, size or
sender; soft: servers gave up after retries."""


def enhanced_status(text: str) -> str | None:
    """Return the first enhanced status code in `text`, such as 5.1.1."""
    match = _STATUS_CODE.search(text)
    return match.group() if match else None


def bounce_kind(status: str | None) -> BounceKind:
    """Return the kind of a permanent failure by its enhanced status code."""
    if status is None:
        return "refused"
    if status.startswith("5.1.") or status == _DISABLED_MAILBOX:
        return "address"
    return "refused" if status.startswith("5.") else "soft"
