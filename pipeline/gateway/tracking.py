"""`/v1/click` and `/v1/open`: outcomes by signed links and pictures in messages.

Mail scanners follow links too. A scanner's request is a `track` named `Mail Scanned`, not an
outcome, so that neither segments nor learning counts it.
"""

from base64 import b64decode
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.signed_links import TrackedLink
from pipeline.config.derived import BOT
from pipeline.enrichment.enrichers.user_agent import UserAgentEnricher
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.outcomes import OWN_SOURCE, action_properties
from pipeline.intake.refusal import Refusal
from pipeline.model.ids import outcome_id
from pipeline.model.interaction import Context, Interaction
from pipeline.model.interaction import Kind as InteractionKind
from pipeline.rules.token import Claims

_SCAN_MS: Final = 5_000
"""Time after sending within which only scanners, before delivery, read a message."""

_SCAN_NAME: Final = "Mail Scanned"
_PIXEL: Final = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_NO_CACHE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_USER_AGENT_ENRICHER: Final = UserAgentEnricher()


async def follow_link(gateway: Gateway, request: Request) -> Response | Refusal:
    """Report a click, and redirect to the link's URL even if the report fails."""
    link = _link(gateway, request)
    if link is None or not link.url:
        return _bad_link()
    await _report(gateway, request, link, "click")
    return RedirectResponse(link.url, 302, headers=dict(_NO_CACHE))


async def show_picture(gateway: Gateway, request: Request) -> Response | Refusal:
    """Report that a message was opened, and answer with a picture of one transparent pixel."""
    link = _link(gateway, request)
    if link is None:
        return _bad_link()
    await _report(gateway, request, link, "impression")
    return Response(_PIXEL, media_type="image/gif", headers=dict(_NO_CACHE))


def _link(gateway: Gateway, request: Request) -> TrackedLink | None:
    return gateway.links.tracking.verify(request.query_params.get("t", ""))


async def _report(gateway: Gateway, request: Request, link: TrackedLink, outcome: str) -> None:
    now = now_ms()
    claims = gateway.tokens.verify(link.token)
    if claims is None or now - link.sent_at > gateway.limits.token_ms:
        return
    is_scan = _is_scanner(request, link, now)
    interaction = _interaction(claims, link, request, _SCAN_NAME if is_scan else outcome)
    await gateway.write([TracedInteraction(interaction, trace_of(request))])


def _is_scanner(request: Request, link: TrackedLink, now: int) -> bool:
    text = request.headers.get("user-agent", "")
    probe = Interaction("", "page", "", "", "", 0, 0, (), context=Context(user_agent=text))
    return (
        not text
        or request.method == "HEAD"
        or now - link.sent_at < _SCAN_MS
        or _USER_AGENT_ENRICHER.derive(probe).get(BOT) is True
    )


def _interaction(claims: Claims, link: TrackedLink, request: Request, name: str) -> Interaction:
    """Return the outcome, which counts once per message and link, or a scanner's `track`."""
    now = now_ms()
    kind: InteractionKind = "track" if name == _SCAN_NAME else "outcome"
    return Interaction(
        event_id=outcome_id(claims.action_id, name, link.url),
        kind=kind,
        name=name,
        channel=claims.channel,
        source=OWN_SOURCE,
        occurred_at=now,
        received_at=now,
        identifiers=(claims.identifier,),
        properties={**action_properties(claims), **({"url": link.url} if link.url else {})},
        context=Context(
            ip=request.client.host if request.client else None,
            user_agent=request.headers.get("user-agent"),
        ),
    )


def _bad_link() -> Response:
    return PlainTextResponse("This link is not complete. Open it again from the message.", 400)
