"""Answers in JSON."""

from typing import Final

import msgspec
from starlette.responses import Response

from pipeline.intake.refusal import Refusal

JSON: Final = "application/json"


def json_response(value: object, status: int = 200) -> Response:
    """Answer with a record as JSON."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def error_response(refusal: Refusal) -> Response:
    """Answer with `{"error": {"code", "message", "field"}}`."""
    error = {"code": refusal.code, "message": refusal.message, "field": refusal.field}
    return Response(
        msgspec.json.encode({"error": error}), refusal.status, dict(refusal.headers), JSON
    )
