"""Why a request, or one message of it, is not taken: a value that becomes the JSON error."""

from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.responses import Response

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` for programs, `message` for people, `field` names the part at fault, if any."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def response(self) -> Response:
        """`{"error": {"code", "message", "field"}}`"""
        body = {"error": {"code": self.code, "message": self.message, "field": self.field}}
        return Response(msgspec.json.encode(body), self.status, dict(self.headers), JSON)


def bad(code: str, field: str | None, message: str) -> Refusal:
    """400: the sender must mend `field`."""
    return Refusal(400, code, message, field)


def unavailable(detail: str) -> Refusal:
    """503: the same request can succeed later."""
    return Refusal(
        503, "unavailable", f"not taken, send it again: {detail}", headers=(("Retry-After", "1"),)
    )
