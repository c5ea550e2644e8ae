"""`/v1/providers/email`: bounces and complaints, posted unchanged by a mail server.

Mail servers that pipe mail to a return path into a command use it; others deliver into the Maildir
that `kairos adapter email` reads. A message counts once by either way.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.returned_mail import OtherMail, parse_returned_mail
from pipeline.config.model import ADAPTERS
from pipeline.gateway import access
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.outcomes import outcome_of
from pipeline.gateway.responses import json_response
from pipeline.intake.refusal import Refusal, refuse_unavailable

_MAX_BYTES: Final = 10_000_000


class ReturnedMailAnswer(Struct, frozen=True):
    """Outcome that a message reports; `outcome` None: it reports none, for the reason `why`."""

    outcome: str | None
    why: str | None = None


async def take_returned_mail(gateway: Gateway, request: Request) -> Response | Refusal:
    """Accept a message; answer once Kafka has acknowledged its outcome."""
    refusal = _check_key(gateway, request)
    if refusal is not None:
        return refusal
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BYTES:
            return Refusal(413, "too_large", f"a message may have {_MAX_BYTES} bytes")
    mail = parse_returned_mail(bytes(raw))
    if isinstance(mail, OtherMail):
        return json_response(ReturnedMailAnswer(None, mail.reason))
    claims = gateway.tokens.verify(mail.token) if mail.token else None
    if claims is None:
        return json_response(ReturnedMailAnswer(None, "it contains no token of a message"))
    outcome = outcome_of(claims, mail.outcome, now_ms(), mail.properties)
    outcome = replace(outcome, source=ADAPTERS)
    failure = await gateway.write([TracedInteraction(outcome, trace_of(request))])
    if failure is not None:
        return refuse_unavailable(failure.detail)
    return json_response(ReturnedMailAnswer(mail.outcome))


def _check_key(gateway: Gateway, request: Request) -> Refusal | None:
    """Return the refusal of a sender that may not report outcomes of messages; None: it may."""
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    key = access.key_in_header(request)
    if isinstance(key, Refusal):
        return key
    source = access.find_source(key, config, gateway.adapter_key)
    if isinstance(source, Refusal):
        return source
    if source.name == ADAPTERS:
        return None
    message = f"returned mail is accepted with the write key of the source {ADAPTERS} only"
    return Refusal(403, "not_believed", message, "Authorization")
