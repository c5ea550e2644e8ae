"""`/v1/unsubscribe`: consent by channel and purpose, by a signed link in a message.

GET only shows the page, because mail scanners follow links. A POST without a choice is the
one-click post of RFC 8058: it stops messages of the link's purpose on its channel.
"""

from typing import Final, cast, get_args
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.signed_links import PreferenceLink
from pipeline.config.compile import Configuration
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.outcomes import OWN_SOURCE
from pipeline.gateway.preference_page import (
    Choice,
    PageLanguage,
    PageSubject,
    bad_link_page,
    preferred_language,
    question_page,
    saved_page,
    unavailable_page,
)
from pipeline.intake.refusal import Refusal
from pipeline.model.interaction import Interaction, Scalar

_MAX_BYTES: Final = 4_096
_FORM: Final = "application/x-www-form-urlencoded"


async def show_preferences(gateway: Gateway, request: Request) -> Response | Refusal:
    """Answer with the page; nothing changes."""
    language = _language(request)
    link = _link(gateway, request)
    return (
        bad_link_page(language)
        if link is None
        else question_page(_subject(request, link), language)
    )


async def save_preferences(gateway: Gateway, request: Request) -> Response | Refusal:
    """Write the chosen consent as an interaction; answer once Kafka has acknowledged it."""
    language = _language(request)
    link = _link(gateway, request)
    if link is None:
        return bad_link_page(language)
    subject = _subject(request, link)
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return unavailable_page(subject, language)
    choice = await _choice(request)
    interaction = _consent(link, choice, config)
    failure = await gateway.write([TracedInteraction(interaction, trace_of(request))])
    if failure is not None:
        return unavailable_page(subject, language)
    return saved_page(subject, language, choice)


def _consent(link: PreferenceLink, choice: Choice, config: Configuration) -> Interaction:
    """Return the choice as traits `consent.CHANNEL.PURPOSE`."""
    channels = {link.channel, *config.channels} if choice == "stop-all" else {link.channel}
    consents: dict[str, Scalar] = {
        f"consent.{channel}.{link.purpose}": choice == "resume" for channel in sorted(channels)
    }
    now = now_ms()
    return Interaction(
        event_id=str(uuid4()),
        kind="identify",
        name="identify",
        channel=link.channel,
        source=OWN_SOURCE,
        occurred_at=now,
        received_at=now,
        identifiers=(link.identifier,),
        properties={**consents, "action_id": link.action_id, "campaign": link.campaign},
    )


def _link(gateway: Gateway, request: Request) -> PreferenceLink | None:
    return gateway.links.preferences.verify(request.query_params.get("t", ""))


def _subject(request: Request, link: PreferenceLink) -> PageSubject:
    return PageSubject(request.query_params["t"], link.channel, link.purpose)


def _language(request: Request) -> PageLanguage:
    return preferred_language(
        request.query_params.get("lang"), request.headers.get("accept-language")
    )


async def _choice(request: Request) -> Choice:
    """Return the choice in a form; without one, that of a one-click post."""
    buffer = bytearray()
    async for chunk in request.stream():
        buffer += chunk
        if len(buffer) > _MAX_BYTES:
            return "stop"
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return "stop"
    choice = parse_qs(buffer.decode(errors="replace")).get("choice", ["stop"])[0]
    return cast(Choice, choice) if choice in get_args(Choice) else "stop"
