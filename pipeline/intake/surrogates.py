"""Repair of half surrogate pairs in JSON, sent by clients that cut a text within an emoji.

`"\\ud83d"` without its other half is not a character; it becomes U+FFFD, the replacement character,
so that the rest of the text and the message are kept.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escaped backslashes are matched first: `ud83d` behind one is plain text."""

_UNREADABLE: Final = rb"\ufffd"


def replace_half_surrogates(raw: bytes) -> bytes:
    """Replace half surrogate pairs in JSON text by U+FFFD."""
    return _ESCAPE.sub(lambda found: _UNREADABLE if found["half"] else found[0], raw)
