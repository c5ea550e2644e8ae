"""Text from outside, made harmless for a terminal.

Escape codes could move the cursor, recolour or retitle the terminal, or hide text; characters that
change the direction of writing could make one identifier look like another.
"""

import re
from typing import Final

_CONTROLS: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"
    r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
)
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
_CONTROL_OR_BREAK: Final = re.compile(f"[{_CONTROLS}\\t\\n]")


def plain_lines(text: str) -> str:
    """Return the text with control characters written out, such as \\x1b."""
    return _CONTROL.sub(_escape, text)


def plain(text: str) -> str:
    """Return the text as one line, with control characters written out."""
    return _CONTROL_OR_BREAK.sub(_escape, text)


def plain_json(text: str) -> str:
    """Return the same JSON, with control characters as JSON escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()
