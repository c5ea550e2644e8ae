"""Coupons: issue and redemption of codes, as in the topic `coupons`."""

from msgspec import Struct


class CouponRecord(Struct, frozen=True):
    """Value of `coupons`, whose key is `code`.

    Without `redemption_id` the code is issued: `token` is that of the action that it is part of,
    `expires_at` (epoch ms) the first moment at which it is no longer taken. With it a till asks to
    redeem the code: in the order of the topic the first to ask, before it expires, has redeemed it.
    """

    code: str
    at: int
    token: str = ""
    expires_at: int = 0
    redemption_id: str | None = None
    source: str = ""
