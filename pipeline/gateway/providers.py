"""`/v1/providers/{name}`: posts of providers with statuses of messages and replies to them.

Every post must have the provider's signature. A status belongs to the message of its signed link; a
reply belongs to the customer with its number.
"""

import hmac
import os
import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.json_paths import text_at
from pipeline.adapters.mail_status import BounceKind
from pipeline.config.compile import Configuration
from pipeline.config.keys import expand_variables
from pipeline.config.model.providers import Provider, ProviderCallbacks, ProviderSignature
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.outcomes import OWN_SOURCE, outcome_of
from pipeline.intake.refusal import Refusal, refuse, refuse_unavailable
from pipeline.model.interaction import Identifier, Interaction, Scalar

_MAX_BYTES: Final = 65_536
_FIELD: Final = re.compile(r"\{([A-Za-z0-9-]+)\}")
_PURPOSES: Final = ("marketing", "service")
_MAX_TEXT_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _ProviderPost:
    """Post of a provider; `fields` are its JSON, or those of its form."""

    provider: Provider
    callbacks: ProviderCallbacks
    config: Configuration
    raw: bytes
    fields: Any


async def take_callback(gateway: Gateway, request: Request) -> Response | Refusal:
    """Accept a status or a reply; answer 204 once Kafka has acknowledged the interaction, if
    any."""
    post = await _read_post(gateway, request)
    if isinstance(post, Refusal):
        return post
    reply = text_at(post.fields, post.callbacks.reply)
    outcome = (
        _status_outcome(gateway, request, post)
        if reply is None
        else _reply_interaction(post, reply)
    )
    if isinstance(outcome, Refusal):
        return outcome
    if outcome is not None:
        failure = await gateway.write([TracedInteraction(outcome, trace_of(request))])
        if failure is not None:
            return refuse_unavailable(failure.detail)
    return Response(status_code=204)


async def _read_post(gateway: Gateway, request: Request) -> _ProviderPost | Refusal:
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    name = request.path_params["name"]
    provider = next(
        (provider for provider in config.bundle.providers if provider.provider == name), None
    )
    if provider is None or provider.callbacks is None:
        message = f"no provider {name!r} with `callbacks` is in the configuration"
        return Refusal(404, "unknown_provider", message)
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BYTES:
            return Refusal(413, "too_large", f"a post may have {_MAX_BYTES} bytes")
    body = bytes(raw)
    refusal = _check_signature(request, provider.callbacks, body)
    if refusal is not None:
        return refusal
    fields = _fields(request, body)
    if isinstance(fields, Refusal):
        return fields
    return _ProviderPost(provider, provider.callbacks, config, body, fields)


def _fields(request: Request, body: bytes) -> Any | Refusal:
    if "json" not in request.headers.get("content-type", ""):
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return refuse("invalid_json", None, f"the body is not JSON: {error}")


def _check_signature(request: Request, callbacks: ProviderCallbacks, body: bytes) -> Refusal | None:
    """Return the refusal of a post without the provider's signature; None: it is valid."""
    signature = callbacks.signature
    secret = expand_variables(signature.secret, os.environ)
    links = expand_variables(callbacks.links, os.environ)
    if not secret or links is None:
        return refuse_unavailable("a variable in the provider's file is not set in the gateway")
    given_signature = request.headers.get(signature.header, "")
    expected_signature = _expected_signature(
        signature, secret.encode(), request, links.rstrip("/"), body
    )
    if hmac.compare_digest(given_signature.encode(), expected_signature):
        return None
    return Refusal(403, "bad_signature", "this signature is not the provider's", signature.header)


def _expected_signature(
    signature: ProviderSignature, secret: bytes, request: Request, links: str, body: bytes
) -> bytes:
    if signature.scheme == "url-form-sha1":
        query = request.url.query
        url = f"{links}{request.url.path}{f'?{query}' if query else ''}"
        form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        pairs = sorted(set(form))  # a repeated pair is signed once
        text = url + "".join(name + value for name, value in pairs)
        return b64encode(hmac.new(secret, text.encode(), sha1).digest())
    parts = {"body": body.decode(errors="surrogateescape")}
    content = _FIELD.sub(
        lambda match: parts.get(match.group(1)) or request.headers.get(match.group(1), ""),
        signature.content,
    )
    signed_bytes = content.encode(errors="surrogateescape")
    return b64encode(hmac.new(secret, signed_bytes, sha256).digest())


def _status_outcome(
    gateway: Gateway, request: Request, post: _ProviderPost
) -> Interaction | Refusal | None:
    """Return the outcome of a status; None for one that is not final."""
    outcome = post.callbacks.outcomes.get(text_at(post.fields, post.callbacks.status) or "")
    if outcome is None:
        return None
    link = gateway.links.callbacks.verify(request.query_params.get("t", ""))
    claims = gateway.tokens.verify(link.token) if link is not None else None
    if claims is None:
        return refuse("invalid_token", "t", "this post has no signed link of Kairos")
    properties: dict[str, Scalar] = {}
    if outcome == "bounce":
        code = text_at(post.fields, post.callbacks.error)
        kind: BounceKind = post.provider.answer.errors.get(code or "", "refused")
        properties = {"bounce": kind, **({"error": code} if code else {})}
    return outcome_of(claims, outcome, now_ms(), properties)


def _reply_interaction(post: _ProviderPost, text: str) -> Interaction | Refusal:
    """Return the change of consent that a keyword asks for, or else the received message."""
    provider = post.provider
    address = Identifier(provider.namespace, _sender(post))
    sender = post.config.identity.normalise(address)
    if not isinstance(sender, Identifier):
        return refuse(
            "invalid_identifier", post.callbacks.sender, f"{provider.namespace}: {sender}"
        )
    channels = [
        channel.name for channel in post.config.channels.values() if channel.provider == provider
    ] or [provider.provider]
    word = text.strip().strip(".!\"'").upper()
    is_start = word in provider.start
    is_change = is_start or word in provider.stop
    now = now_ms()
    properties: dict[str, Scalar] = {"text": text[:_MAX_TEXT_CHARACTERS]}
    if is_change:
        properties = {
            f"consent.{channel}.{purpose}": is_start
            for channel in channels
            for purpose in _PURPOSES
        }
    return Interaction(
        event_id=_reply_id(post),
        kind="identify" if is_change else "track",
        name="identify" if is_change else "Message Received",
        channel=channels[0],
        source=OWN_SOURCE,
        occurred_at=now,
        received_at=now,
        identifiers=(sender,),
        properties=properties,
    )


def _sender(post: _ProviderPost) -> str:
    """Return the address of a reply.

    Some providers write a number in E.164 without its plus; without it, the number would count as a
    national one.
    """
    text = text_at(post.fields, post.callbacks.sender) or ""
    return f"+{text}" if post.provider.to == "e164" and text.isdecimal() else text


def _reply_id(post: _ProviderPost) -> str:
    """Return the provider's id of a reply, or else a digest of its content, so that it counts
    once."""
    reply_id = text_at(post.fields, post.callbacks.reply_id) or sha256(post.raw).hexdigest()
    return f"{post.provider.provider}/{reply_id}"[:256]
