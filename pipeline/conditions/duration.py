"""Durations in their written form: `30s`, `5m`, `12h`, `7d`, `250ms`."""

import re
from typing import Final

DURATION_PATTERN: Final = r"^[1-9][0-9]{0,8}(ms|s|m|h|d)$(?!\n)"
"""JSON Schema pattern; its end means the same in Python and in ECMAScript."""

_FORM = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int:
    """Return the milliseconds of a written duration. Raises ValueError for other forms."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 12h, 7d")
    return int(form[1]) * _UNIT_MS[form[2]]
