"""`/v1/cookie`: the anonymous id as a cookie of the server, which browsers keep for a year.

Some browsers keep a script's cookie for days only. The cookie has the name that Segment's client
and the SDK read.
"""

from functools import partial
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pipeline.gateway.gateway import Gateway
from pipeline.gateway.request_intake import receive
from pipeline.gateway.responses import JSON
from pipeline.intake.decoding import decode
from pipeline.intake.messages import COOKIE_DECODER, MAX_ID
from pipeline.intake.refusal import Refusal, refuse

_NAME: Final = "ajs_anonymous_id"
_YEAR_S: Final = 365 * 24 * 3600


async def set_id_cookie(gateway: Gateway, request: Request) -> Response | Refusal:
    """Set the cookie for a page of the gateway's own site."""
    parse = partial(decode, decoder=COOKIE_DECODER)
    post = await receive(gateway, request, gateway.limits.message_bytes, parse)
    if isinstance(post, Refusal):
        return post
    message = post.body
    if not message.anonymous_id or len(message.anonymous_id) > MAX_ID:
        return refuse("invalid_field", "anonymousId", f"give 1 to {MAX_ID} characters")
    page_host = urlsplit(request.headers.get("origin", "")).hostname or ""
    gateway_host = request.url.hostname or ""
    domain = message.domain.lower()
    if not (
        _is_within(page_host, domain) and _is_within(gateway_host, domain)
        if domain
        else page_host == gateway_host
    ):
        reason = "the page and the gateway must be within this domain; without one, on one host"
        return Refusal(403, "not_first_party", reason, "domain")
    response = Response(b'{"success":true}', media_type=JSON)
    response.set_cookie(
        _NAME,
        quote(message.anonymous_id, safe=""),
        max_age=_YEAR_S,
        domain=domain or None,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
    return response


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
