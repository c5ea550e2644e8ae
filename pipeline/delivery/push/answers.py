"""Meaning of a push service's answer, by its status (RFC 8030, RFC 8292) and its reason.

Services agree on the statuses of expired subscriptions (404, 410) and of rate limits (429). Only
the reason shows whether a key is refused for all subscriptions, or one subscription was made with
another key: Apple sends `VapidPkHashMismatch` with 400, Mozilla `VAPID public key mismatch` with
401, Google a sentence with 403. Any other 401 or 403 refuses the token, which all messages share.
"""

import re
from typing import Final, Literal, TypeAlias

PushAnswer: TypeAlias = Literal["accepted", "later", "gone", "other_key", "denied", "refused"]
"""Meaning of an answer.

`other_key`: the subscription was made with another VAPID key, or this key is invalid; `denied`: the
service refuses the key or its token; `refused`: it refuses the message.
"""

_SUCCESS_STATUSES: Final = range(200, 300)
_EXPIRY_STATUSES: Final = frozenset({404, 410})
_RETRY_STATUSES: Final = frozenset({408, 425, 429})
_KEY_STATUSES: Final = frozenset({401, 403})
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
_OTHER_KEY: Final = re.compile(
    r"VapidPkHashMismatch|public key mismatch|MismatchSenderId"
    r"|do(?:es)? not correspond to the (?:credentials|sender)",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(r"Unauthori[sz]ed|Authorization|Jwt|Vapid", re.IGNORECASE)


def read_answer(status: int, body: bytes) -> PushAnswer:
    """Return the meaning of an answer."""
    if status in _SUCCESS_STATUSES:
        return "accepted"
    if status in _EXPIRY_STATUSES:
        return "gone"
    if status in _RETRY_STATUSES or status >= _SERVER_ERROR:
        return "later"
    if status in _KEY_STATUSES or status == _BAD_REQUEST:
        reason = body.decode(errors="replace")
        if _OTHER_KEY.search(reason):
            return "other_key"
        if status in _KEY_STATUSES or _TOKEN.search(reason):
            return "denied"
    return "refused"
