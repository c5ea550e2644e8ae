"""`/v1/receipts`: a payment, and the text to print under its receipt, within the time budget."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.coupon_codes import CouponCodes, format_code
from pipeline.adapters.kafka import OutgoingRecord
from pipeline.adapters.receipt_paper import encode_escpos, format_lines, paper_receipt
from pipeline.gateway.decide import (
    DecideEndpoint,
    NoDecision,
    PlacementAction,
    budget_of,
    to_placement_action,
    unknown_placements,
)
from pipeline.gateway.gateway import Gateway, trace_of
from pipeline.gateway.request_intake import receive
from pipeline.gateway.responses import json_response
from pipeline.intake.decoding import decode
from pipeline.intake.messages import DecideBody, SegmentMessage
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model import topics
from pipeline.model.coupon import CouponRecord
from pipeline.model.decision import Action, Reply
from pipeline.model.time import DAY_MS

_WIDTHS: Final = range(16, 129)
_USUAL_WIDTH: Final = 42
"""Number of characters per line of 80 mm paper in the default font; 58 mm has 32."""

_COUPON_NOT_ISSUED: Final = "coupon_not_issued"

_USUAL_DAYS: Final = 90
_MAX_DAYS: Final = 180
"""Longest validity of a coupon, half of the retention of the topic."""


class ReceiptBody(Struct, frozen=True):
    """Payment with a receipt: `interaction` in Segment's format, as in `/v1/decide`.

    `placement`: that of the receipt; `width`: of the printer, in characters per line.
    """

    interaction: SegmentMessage
    placement: str = "receipt"
    width: int = _USUAL_WIDTH
    budget_ms: int | None = None

    @property
    def write_key(self) -> str | None:
        """Write key in the interaction."""
        return self.interaction.write_key


class PrintedReceipt(Struct, frozen=True):
    """Text to print, as lines and as commands for a printer (`escpos`, base64).

    `action`: the action with the text, by whose token outcomes are reported. `coupon`: the code, if
    the treatment has one.
    """

    action: PlacementAction
    text: str
    escpos: str
    coupon: str | None


class ReceiptAnswer(Struct, frozen=True):
    """Answer to a payment; `receipt` None: print nothing.

    `defaulted`: there is no decision, for the `reason` `out_of_time` or `pipeline_stalled` as in
    `/v1/decide`, or its coupon was not acknowledged in time (`coupon_not_issued`).
    `unknown_placements`: the placement, if no channel of the configuration has it.
    """

    decision_id: str | None
    receipt: PrintedReceipt | None
    defaulted: bool
    reason: str | UnsetType = UNSET
    unknown_placements: tuple[str, ...] | UnsetType = UNSET


RECEIPT_DECODER: Final = msgspec.json.Decoder(ReceiptBody)


@dataclass(frozen=True, slots=True)
class ReceiptEndpoint:
    """Endpoint that decides, issues the coupon and lays out the receipt.

    `expire` expires a decision whose coupon could not be issued in time.
    """

    decide: DecideEndpoint
    codes: CouponCodes
    expire: Callable[[Reply], None]

    async def __call__(self, gateway: Gateway, request: Request) -> Response | Refusal:
        parse = partial(decode, decoder=RECEIPT_DECODER)
        post = await receive(gateway, request, gateway.limits.message_bytes, parse)
        if isinstance(post, Refusal):
            return post
        body = post.body
        if body.width not in _WIDTHS:
            return refuse(
                "invalid_field", "width", f"width: {_WIDTHS[0]} to {_WIDTHS[-1]} characters"
            )
        decide_body = DecideBody(body.interaction, (body.placement,), body.budget_ms)
        deadline_ms = now_ms() + budget_of(decide_body, post.arrival, gateway)
        reply = await self.decide.decide(gateway, post, decide_body, trace_of(request))
        if isinstance(reply, Refusal):
            return reply
        answer = await self._answer(gateway, reply, body.width, deadline_ms)
        unknown_names = unknown_placements((body.placement,), post.arrival.config)
        return json_response(replace(answer, unknown_placements=unknown_names or UNSET))

    async def _answer(
        self, gateway: Gateway, reply: Reply | NoDecision, width: int, deadline_ms: int
    ) -> ReceiptAnswer:
        if isinstance(reply, NoDecision):
            return ReceiptAnswer(None, None, defaulted=True, reason=reply.reason)
        action = reply.answers[0].action if reply.answers else None
        if action is None:
            return ReceiptAnswer(reply.decision_id, None, defaulted=False)
        code = None
        if "coupon" in action.content:
            code = await self._issue(gateway, action, deadline_ms - now_ms())
            if code is None:
                self.expire(reply)
                return ReceiptAnswer(
                    reply.decision_id, None, defaulted=True, reason=_COUPON_NOT_ISSUED
                )
        receipt = _lay_out(action, code, width)
        return ReceiptAnswer(reply.decision_id, receipt, defaulted=False)

    async def _issue(self, gateway: Gateway, action: Action, remaining_ms: int) -> str | None:
        """Issue a coupon; return its code, or None unless Kafka acknowledges it within
        `remaining_ms`."""
        code, now = self.codes.code_of(action.action_id), now_ms()
        record = CouponRecord(code, now, action.token, now + _validity_days(action) * DAY_MS)
        value = gateway.codec.encode(topics.COUPONS, record)
        publication = gateway.publisher.publish([OutgoingRecord(topics.COUPONS, code, value)])
        try:
            failure = await asyncio.wait_for(publication, max(remaining_ms, 1) / 1000)
        except TimeoutError:
            return None
        return code if failure is None else None


def _lay_out(action: Action, code: str | None, width: int) -> PrintedReceipt:
    paper = paper_receipt(action.content, code)
    return PrintedReceipt(
        action=to_placement_action(action),
        text="\n".join(format_lines(paper, width)),
        escpos=b64encode(encode_escpos(paper, width)).decode(),
        coupon=None if code is None else format_code(code),
    )


def _validity_days(action: Action) -> int:
    text = action.content.get("coupon_days", "").strip()
    return min(max(int(text), 1), _MAX_DAYS) if text.isdecimal() else _USUAL_DAYS
