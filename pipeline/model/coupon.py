"""Coupons: issue and redemption of codes, as in the topic `coupons`."""

from msgspec import Struct


class CouponRecord(Struct, frozen=True):
    """Value of `coupons`, whose key is `code`.

    Without `redemption_id` the code is issued: `token` is that of its action, `expires_at` (epoch
    ms) the first moment at which the code is no longer valid. A record
    with `redemption_id` is a till's request for redemption: in the order of the topic, the first
    request before the expiry redeems the code.
    """

    code: str
    at: int
    token: str = ""
    expires_at: int = 0
    redemption_id: str | None = None
    source: str = ""
