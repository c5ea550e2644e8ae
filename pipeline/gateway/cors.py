"""Cross-origin requests (CORS): pages may send where a source allows their origin.

A request has no authority beyond its write key, which anybody can read in the page. So origins keep
honest pages apart, and are no protection against programs.
"""

import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from pipeline.config.compile import Configuration
from pipeline.gateway.gateway import Gateway
from pipeline.intake.refusal import Refusal

_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9-]+(\s*,\s*[A-Za-z0-9-]+){0,40}")
_MAX_AGE_S: Final = 86_400
_EXPOSED_HEADER: Final = "Retry-After"


def check_origin(request: Request, source: str, config: Configuration) -> Refusal | None:
    """Return the refusal of a page whose origin the source does not allow; None: it may send."""
    origin, rule = request.headers.get("origin"), config.origins.get(source)
    if origin is None or rule is None or rule.allows(origin.lower()):
        return None
    message = f"the key is not for pages of {origin[:200]}: add it to the source's `origins`"
    return Refusal(403, "origin_not_allowed", message, "Origin")


def answer_preflight(gateway: Gateway, request: Request) -> Response:
    """Answer a browser's preflight request, without a key, by the origins of all sources."""
    response = Response(status_code=204)
    add_headers(gateway, request, response)
    if "access-control-allow-origin" in response.headers:
        header_names = request.headers.get("access-control-request-headers", "")
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Max-Age"] = str(_MAX_AGE_S)
        if _HEADER_NAMES.fullmatch(header_names):
            response.headers["Access-Control-Allow-Headers"] = header_names
        if request.headers.get("access-control-request-private-network") == "true":
            response.headers["Access-Control-Allow-Private-Network"] = "true"
    return response


def add_headers(gateway: Gateway, request: Request, response: Response) -> None:
    """Let the requesting page read the answer, where its origin may send at all."""
    origin = request.headers.get("origin")
    headers = MutableHeaders(raw=response.raw_headers)
    headers.add_vary_header("Origin")
    config = gateway.configuration()
    if origin is None or (
        isinstance(config, Configuration) and not config.allows_origin(origin.lower())
    ):
        return
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADER
