"""Segments that a text message is sent in, which is what providers charge for (3GPP TS 23.038)."""

from typing import Final

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
_GSM_ALONE: Final = 160
_GSM_JOINED: Final = 153
_UCS_ALONE: Final = 70
_UCS_JOINED: Final = 67


def segments(text: str) -> int:
    """Return the number of segments of a text; no character is divided between two."""
    if all(one in _BASIC or one in _EXTENDED for one in text):
        return _count([2 if one in _EXTENDED else 1 for one in text], _GSM_ALONE, _GSM_JOINED)
    sizes = [len(one.encode("utf-16-be")) // 2 for one in text]
    return _count(sizes, _UCS_ALONE, _UCS_JOINED)


def _count(sizes: list[int], alone: int, joined: int) -> int:
    if sum(sizes) <= alone:
        return 1
    count, left = 1, joined
    for size in sizes:
        if size > left:
            count, left = count + 1, joined
        left -= size
    return count
