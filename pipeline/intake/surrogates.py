"""Repair of half surrogate pairs in JSON, from clients that truncate a text within an emoji.

`"\\ud83d"` without its other half is not a character; it becomes U+FFFD, the replacement character,
so that the message and the rest of the text survive.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Half surrogate pairs; escaped backslashes match first: `ud83d` after one is plain text."""

_UNREADABLE: Final = rb"\ufffd"


def replace_half_surrogates(raw: bytes) -> bytes:
    """Replace half surrogate pairs in JSON text by U+FFFD."""
    return _ESCAPE.sub(lambda match: _UNREADABLE if match["half"] else match[0], raw)
