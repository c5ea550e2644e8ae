"""Regular expressions of users, matched in linear time."""

from dataclasses import dataclass
from typing import Any, Final

import re2

_MAX_CHARACTERS: Final = 1_000
_MEMORY_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Pattern:
    """Regular expression that matches a whole text, ignoring case."""

    text: str
    expression: Any

    def matches(self, value: str) -> bool:
        return self.expression.fullmatch(value.encode(errors="replace")) is not None


@dataclass(frozen=True, slots=True)
class PatternProblem:
    """Reason why an expression is unusable, with the correction."""

    reason: str


def pattern(text: str) -> Pattern | PatternProblem:
    """Compile an expression in RE2's syntax."""
    if len(text) > _MAX_CHARACTERS:
        return PatternProblem(f"a pattern has {_MAX_CHARACTERS} characters at most: write several")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return Pattern(text, re2.compile(text.encode(), options))
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return PatternProblem(
            f"{text[:100]!r} is not a regular expression of RE2, which has no look-around and no "
            f"back-references: {words}"
        )
