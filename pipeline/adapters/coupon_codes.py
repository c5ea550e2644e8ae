"""Codes of coupons: short, easy to read out and type, and hard to guess."""

import hmac
import re
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U."""

_LENGTH: Final = 12
_GROUP_LENGTH: Final = 4
_BITS: Final = 5
_LOOKALIKES: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_FORM: Final = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")


class CouponCodes:
    """Maker of codes, which are determined by the action and a secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def code_of(self, action_id: str) -> str:
        """Return the code of an action, without grouping."""
        digest = hmac.new(self._secret, b"coupon " + action_id.encode(), "sha256").digest()
        number = int.from_bytes(digest)
        return "".join(
            _ALPHABET[number >> _BITS * index & (1 << _BITS) - 1] for index in range(_LENGTH)
        )


def format_code(code: str) -> str:
    """Return a code in groups, as a receipt shows it."""
    return "-".join(
        code[start : start + _GROUP_LENGTH] for start in range(0, _LENGTH, _GROUP_LENGTH)
    )


def read_code(text: str) -> str | None:
    """Return the code in a text that was typed or scanned; None: it is not a possible code."""
    code = text.upper().translate(_LOOKALIKES)
    return code if _FORM.fullmatch(code) else None
