"""Segments of a text message, which providers charge for (3GPP TS 23.038)."""

from typing import Final

_ALPHABET: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "ÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_GSM_SINGLE: Final = 160
_GSM_PART: Final = 153
_UCS_SINGLE: Final = 70
_UCS_PART: Final = 67


def count_segments(text: str) -> int:
    """Return the number of segments of a text; a character is never divided between two."""
    if all(letter in _ALPHABET or letter in _EXTENSION for letter in text):
        sizes = [2 if letter in _EXTENSION else 1 for letter in text]
        return _count(sizes, _GSM_SINGLE, _GSM_PART)
    sizes = [len(letter.encode("utf-16-be")) // 2 for letter in text]
    return _count(sizes, _UCS_SINGLE, _UCS_PART)


def _count(sizes: list[int], single_units: int, part_units: int) -> int:
    """Count the segments of a text of characters of `sizes`.

    The only segment of a message has at most `single_units`, a part of a longer message at most
    `part_units`.
    """
    if sum(sizes) <= single_units:
        return 1
    count, free_units = 1, part_units
    for size in sizes:
        if size > free_units:
            count, free_units = count + 1, part_units
        free_units -= size
    return count
