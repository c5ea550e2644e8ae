"""Scanner of JSON that a strict decoder refuses: finds the field at fault and a list's items.

One pass, in linear time, with memory bounded by the depth of nesting, for any input.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final

from pipeline.intake.surrogates import replace_half_surrogates

MAX_DEPTH: Final = 128
"""Maximum depth of nesting at which a field is named."""

_MAX_TOKENS: Final = 1_000_000
_MAX_NAME: Final = 100
"""Maximum number of bytes of a key in a field's name."""

_TOKEN: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]|-?(?:NaN|Infinity)|-?[0-9][0-9.eE+-]*+', re.DOTALL
)
"""Tokens of JSON; possessive quantifiers avoid backtracking, even in a token without an end."""

_NUMBER: Final = b"-NI0123456789"


@dataclass(frozen=True, slots=True)
class SplitArray:
    """Text split at an array; `parts`: its elements, `rest`: the text with that array empty."""

    rest: bytes
    parts: tuple[bytes, ...]


def find_non_finite_number(raw: bytes) -> str | None:
    """Return the dotted name of the first number that is NaN or infinite.

    The name is empty where the number is the whole text. None without such a number within the
    scanned tokens and depth.
    """
    path: list[bytes | int] = []
    text = b""
    for token in _tokens(raw):
        mark = token[:1]
        if mark == b'"':
            text = token
        elif mark == b":" and path and isinstance(path[-1], bytes):
            path[-1] = text[: _MAX_NAME + 2]
        elif mark == b"," and path and isinstance(path[-1], int):
            path[-1] += 1
        elif mark in (b"{", b"["):
            if len(path) == MAX_DEPTH:
                return None
            path.append(b"" if mark == b"{" else 0)
        elif mark in (b"}", b"]") and path:
            path.pop()
        elif mark in _NUMBER and not _is_finite(token):
            return ".".join(map(_name, path))
    return None


def split_array(raw: bytes, name: str, max_items: int) -> SplitArray | None:
    """Split the array under the top-level key `name`; stop after more than `max_items` elements.

    None where the text has no such array, or ends within it.
    """
    key = json.dumps(name).encode()
    depth, array_start, part_start, array_end = 0, -1, -1, -1
    previous_tokens = (b"", b"")
    parts: list[bytes] = []
    for match in _matches(raw):
        mark = match[0][:1]
        if depth == 1 and mark == b"[" and array_start < 0 and previous_tokens == (key, b":"):
            array_start, part_start = match.start(), match.end()
        elif array_start >= 0 and array_end < 0 and depth == 2 and mark in (b",", b"]"):
            parts.append(raw[part_start : match.start()].strip())
            part_start = match.end()
            if mark == b"]":
                array_end = match.end()
            elif len(parts) > max_items:
                return SplitArray(b"", tuple(parts))
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        previous_tokens = (previous_tokens[1], match[0] if depth == 1 else b"")
    if array_end < 0 or depth != 0 or (b"" in parts and len(parts) > 1):
        return None
    return SplitArray(raw[:array_start] + b"[]" + raw[array_end:], tuple(filter(None, parts)))


def _tokens(raw: bytes) -> Iterator[bytes]:
    return (match[0] for match in _matches(raw))


def _matches(raw: bytes) -> Iterator["re.Match[bytes]"]:
    for number, token in enumerate(_TOKEN.finditer(raw)):
        if number == _MAX_TOKENS:
            return
        yield token


def _is_finite(token: bytes) -> bool:
    if len(token) < 3 or (token.isdigit() and len(token) < 300):
        return True
    try:
        return isfinite(float(token))
    except ValueError:
        return True


def _name(step: bytes | int) -> str:
    if isinstance(step, int):
        return str(step)
    try:
        return str(json.loads(replace_half_surrogates(step)))
    except ValueError:
        return step.strip(b'"').decode(errors="replace")
