"""Endpoints (`/v1/track`…, `/v1/batch`) that write each message to Kafka as an interaction."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.traces import Trace
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.request_intake import receive
from pipeline.gateway.responses import JSON, json_response
from pipeline.intake.decoding import decode, decode_parts
from pipeline.intake.draft import RecordForm, take_in
from pipeline.intake.messages import (
    BATCH_DECODER,
    MESSAGE_DECODER,
    Kind,
    SegmentBatch,
    SegmentMessage,
)
from pipeline.intake.refusal import Refusal, refuse, refuse_unavailable
from pipeline.intake.segment_api import Arrival, add_batch_fields, interaction
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord, FailedInput, dead_letter
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter

Endpoint: TypeAlias = Callable[[Gateway, Request], Awaitable[Response | Refusal]]

_SUCCESS: Final = b'{"success":true}'


class RejectedItem(Struct, frozen=True):
    """Refused item of a request, by its index."""

    index: int
    code: str
    field: str | None
    message: str


class IntakeAnswer(Struct, frozen=True, omit_defaults=True):
    """Answer to a request with several items; 400 with `error` when none was accepted."""

    success: bool
    rejected: tuple[RejectedItem, ...] = ()
    error: dict[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class ValidatedMessage:
    """Original bytes of one item of several, with its interaction or refusal.

    `trace`: the item's own trace, where it differs from the request's.
    """

    raw: bytes
    result: Interaction | Refusal
    trace: Trace | None = None


def message_endpoint(kind: Kind) -> Endpoint:
    """Return the endpoint of one kind of message."""

    async def accept(gateway: Gateway, request: Request) -> Response | Refusal:
        parse = partial(decode, decoder=MESSAGE_DECODER)
        post = await receive(gateway, request, gateway.limits.message_bytes, parse)
        if isinstance(post, Refusal):
            return post
        result = interaction(post.body, kind, post.arrival)
        if isinstance(result, Refusal):
            return result
        failure = await gateway.write([TracedInteraction(result, trace_of(request))])
        post.note_attempt(is_acknowledged=failure is None)
        if failure is not None:
            return refuse_unavailable(failure.detail)
        return Response(_SUCCESS, media_type=JSON)

    return accept


async def accept_batch(gateway: Gateway, request: Request) -> Response | Refusal:
    """Accept the valid messages; the others become dead letters, listed in the answer."""
    limits = gateway.limits
    parse = partial(decode_parts, decoder=BATCH_DECODER, parts="batch", max_items=limits.max_items)
    post = await receive(gateway, request, limits.batch_bytes, parse)
    if isinstance(post, Refusal):
        return post
    envelope = post.body
    if not envelope.batch:
        return refuse("missing_field", "batch", "batch has no messages")
    messages = list(map(bytes, envelope.batch))
    if len(post.raw) - sum(map(len, messages)) > limits.message_bytes:
        message = f"the common fields of a batch may have {limits.message_bytes} bytes"
        return Refusal(413, "too_large", message, "context")
    convert = partial(_convert, batch=envelope, arrival=post.arrival)
    form = RecordForm(MESSAGE_DECODER, convert, limits.message_bytes)
    items = [ValidatedMessage(raw, take_in(raw, form)) for raw in messages]
    answer = await write_and_answer(gateway, items, trace_of(request))
    post.note_attempt(is_acknowledged=isinstance(answer, Response))
    return answer


async def write_and_answer(
    gateway: Gateway, items: Sequence[ValidatedMessage], trace: Trace
) -> Response | Refusal:
    """Write interactions and dead letters, and answer; 400 when no item was valid.

    While an item cannot be accepted yet, nothing is written: senders repeat whole requests only.
    """
    interactions = [
        TracedInteraction(message.result, message.trace or trace)
        for message in items
        if isinstance(message.result, Interaction)
    ]
    refusals = [
        (index, message.raw, message.result)
        for index, message in enumerate(items)
        if isinstance(message.result, Refusal)
    ]
    for _, _, refusal in refusals:
        gateway.metrics.count_rejected(refusal)
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return refusal
    dead_letters = [_dead_letter(refusal, raw) for _, raw, refusal in refusals]
    failure = await gateway.write(interactions, dead_letters)
    if failure is not None:
        return refuse_unavailable(failure.detail)
    rejections = tuple(
        RejectedItem(index, refusal.code, refusal.field, refusal.message)
        for index, _, refusal in refusals
    )
    return _answer(rejections, is_success=bool(interactions))


def _convert(
    message: SegmentMessage, batch: SegmentBatch, arrival: Arrival
) -> Interaction | Refusal:
    if message.type is None:
        return refuse("missing_field", "type", "a message in a batch needs a type")
    return interaction(add_batch_fields(message, batch), message.type, arrival)


def _dead_letter(refusal: Refusal, raw: bytes) -> DeadLetterRecord:
    """Make the dead letter of an item that was in no topic, so it has no offset."""
    prefix = f"{refusal.field}: " if refusal.field else ""
    fault = DeadLetter(refusal.code, prefix + refusal.message)
    return dead_letter("gateway", FailedInput(topics.INTERACTIONS, now_ms(), raw), fault)


def _answer(rejections: tuple[RejectedItem, ...], *, is_success: bool) -> Response:
    if is_success:
        return json_response(IntakeAnswer(True, rejections))
    rejection = rejections[0]
    error = {"code": rejection.code, "message": rejection.message, "field": rejection.field}
    return json_response(IntakeAnswer(False, rejections, error), 400)
