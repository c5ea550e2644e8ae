"""Segments of a text message, which providers charge for (3GPP TS 23.038)."""

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
    """Return the number of segments of a text; a character is never divided between two."""
    if all(letter in _BASIC or letter in _EXTENDED for letter in text):
        sizes = [2 if letter in _EXTENDED else 1 for letter in text]
        return _count(sizes, _GSM_ALONE, _GSM_JOINED)
    sizes = [len(letter.encode("utf-16-be")) // 2 for letter in text]
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
