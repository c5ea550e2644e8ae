"""Half surrogate pairs in JSON, which clients send that cut a text within an emoji.

`"\\ud83d"` without its other half is no character; it becomes U+FFFD, what stands for one that
cannot be read, so that the rest of the text and the message keep their meaning.
"""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""An escaped backslash is read as such: `ud83d` behind it is plain text."""

_UNREADABLE: Final = rb"\ufffd"


def replace_half_surrogates(raw: bytes) -> bytes:
    """Return JSON text without halves, the same where there are none."""
    return _ESCAPE.sub(lambda found: _UNREADABLE if found["half"] else found[0], raw)
