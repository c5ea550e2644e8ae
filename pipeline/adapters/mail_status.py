"""Status codes of e-mail (RFC 3463), in answers of servers and in bounces."""

import re
from typing import Final, Literal, TypeAlias

_ENHANCED: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_DISABLED: Final = "5.2.1"

BounceKind: TypeAlias = Literal["address", "refused", "soft"]
"""Kind of a bounce. address: it cannot receive mail; refused: for the message's content, size or
sender; soft: servers gave up after retries."""


def enhanced_status(text: str) -> str | None:
    """Return the first enhanced status code in `text`, such as 5.1.1."""
    match = _ENHANCED.search(text)
    return match.group() if match else None


def bounce_kind(enhanced: str | None) -> BounceKind:
    """Return the kind of a permanent failure by its enhanced status code."""
    if enhanced is None:
        return "refused"
    if enhanced.startswith("5.1.") or enhanced == _DISABLED:
        return "address"
    return "refused" if enhanced.startswith("5.") else "soft"
