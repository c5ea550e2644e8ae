"""`/v1/coupons/redeem`: redemption of a code, once over all tills and gateways."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.coupon_codes import format_code, read_code
from pipeline.adapters.kafka import OutgoingRecord
from pipeline.gateway.coupon_book import Coupon, CouponBook
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.outcomes import outcome_of
from pipeline.gateway.request_intake import receive
from pipeline.gateway.responses import json_response
from pipeline.intake.decoding import decode
from pipeline.intake.flatten import Flat, flatten
from pipeline.intake.messages import MAX_ID, PostedRecord
from pipeline.intake.refusal import Refusal, refuse, refuse_unavailable
from pipeline.model import topics
from pipeline.model.coupon import CouponRecord
from pipeline.model.ids import outcome_id
from pipeline.model.interaction import Interaction
from pipeline.rules.token import Claims

_READ_BACK_S: Final = 5.0
_GOAL: Final = "coupon"


class RedeemBody(PostedRecord, frozen=True):
    """Request of a till to redeem a code.

    `redemption_id` is the till's: a repeated request has the same id and gets the same answer.
    `properties`, such as the amount, become those of the conversion.
    """

    code: str
    redemption_id: str
    properties: dict[str, Any] | None = None
    write_key: str | None = None


class RedeemAnswer(Struct, frozen=True):
    """Accepted redemption, at `redeemed_at` (epoch ms), with its offer."""

    code: str
    redeemed_at: int
    campaign: str
    offer: str
    treatment: str


REDEEM_DECODER: Final = msgspec.json.Decoder(RedeemBody)


@dataclass(frozen=True, slots=True)
class RedeemEndpoint:
    """Endpoint that writes a redemption, and answers once it has been read back."""

    book: CouponBook

    async def __call__(self, gateway: Gateway, request: Request) -> Response | Refusal:
        parse = partial(decode, decoder=REDEEM_DECODER)
        post = await receive(gateway, request, gateway.limits.message_bytes, parse)
        if isinstance(post, Refusal):
            return post
        body, source = post.body, post.arrival.source.name
        code = read_code(body.code)
        if code is None:
            return refuse("invalid_code", "code", "a code has 12 letters and digits")
        if not 0 < len(body.redemption_id) <= MAX_ID:
            return refuse(
                "invalid_id", "redemptionId", f"redemptionId has 1 to {MAX_ID} characters"
            )
        properties = flatten(body.properties or {}, "properties")
        if isinstance(properties, Refusal):
            return properties
        record = CouponRecord(code, now_ms(), redemption_id=body.redemption_id, source=source)
        coupon = await self._redeem(gateway, record)
        if isinstance(coupon, Refusal):
            return coupon
        return await _confirm(gateway, request, coupon, _Sale(record, properties))

    async def _redeem(self, gateway: Gateway, record: CouponRecord) -> Coupon | Refusal:
        """Return the coupon redeemed by this request, now or before."""
        if not self.book.is_current:
            return refuse_unavailable("the coupons are still being read from Kafka")
        coupon = self.book.find(record.code)
        if coupon is None:
            return Refusal(404, "unknown_code", "this code was never issued", "code")
        if coupon.redemption is None:
            if record.at >= coupon.expires_at:
                return Refusal(410, "expired_code", "this code is no longer valid", "code")
            result = await self._write(gateway, record)
            return result if isinstance(result, Refusal) else _own_redemption(result, record)
        return _own_redemption(coupon, record)

    async def _write(self, gateway: Gateway, record: CouponRecord) -> Coupon | Refusal:
        """Write a redemption; return the coupon once the redemption has been read back."""
        outgoing_record = OutgoingRecord(
            topics.COUPONS, record.code, gateway.codec.encode(topics.COUPONS, record)
        )
        with self.book.watch_redemption(record.code, record.redemption_id or "") as redemption:
            failure = await gateway.publisher.publish([outgoing_record])
            if failure is not None:
                return refuse_unavailable(failure.detail)
            try:
                return await asyncio.wait_for(redemption, _READ_BACK_S)
            except TimeoutError:
                return refuse_unavailable("the redemption has not been read back yet")


@dataclass(frozen=True, slots=True)
class _Sale:
    """Redemption, with the till's properties of the sale."""

    record: CouponRecord
    properties: Flat


def _own_redemption(coupon: Coupon, record: CouponRecord) -> Coupon | Refusal:
    first_redemption = coupon.redemption
    if first_redemption is None:
        return Refusal(410, "expired_code", "this code is no longer valid", "code")
    first_id = (first_redemption.redemption_id, first_redemption.source)
    if first_id == (record.redemption_id, record.source):
        return coupon
    message = f"this code was redeemed at {first_redemption.at} (epoch ms)"
    return Refusal(409, "redeemed_code", message, "code")


async def _confirm(
    gateway: Gateway, request: Request, coupon: Coupon, sale: _Sale
) -> Response | Refusal:
    """Write the conversion, which counts once even if written repeatedly, and answer."""
    claims = gateway.tokens.verify(coupon.token)
    if claims is None or coupon.redemption is None:
        return Refusal(410, "expired_code", "this code was issued with another secret", "code")
    conversion = _conversion(claims, coupon.redemption.at, sale)
    failure = await gateway.write([TracedInteraction(conversion, trace_of(request))])
    if failure is not None:
        return refuse_unavailable(failure.detail)
    return json_response(
        RedeemAnswer(
            code=format_code(sale.record.code),
            redeemed_at=coupon.redemption.at,
            campaign=claims.campaign,
            offer=claims.offer,
            treatment=claims.treatment,
        )
    )


def _conversion(claims: Claims, at: int, sale: _Sale) -> Interaction:
    properties = {**sale.properties.scalars, "goal": _GOAL, "coupon": sale.record.code}
    return replace(
        outcome_of(claims, "conversion", at, properties),
        event_id=outcome_id(claims.action_id, "conversion", _GOAL),
        source=sale.record.source,
        lists=sale.properties.lists,
    )
