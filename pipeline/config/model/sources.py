"""sources.yaml: senders of interactions, and their keys."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from pipeline.config.model.part import Name, Part, SecretName
from pipeline.model.time import EARLIEST

ADAPTERS: Final = "adapters"
"""Name of the source whose interactions are the outcomes that Kairos's own adapters report."""


class Source(Part, frozen=True):
    """App that sends interactions. `clock: log` trusts `occurred_at` as the time of receipt too,
    for the replay of a log in its own time; such a source must be one's own.

    `properties` maps properties that this source names differently:
    `{total: properties.order.amount}` makes `total` of `order.amount` (or of `context.NAME`). Where
    that value is missing, the property stays unchanged. The identity stage does this by the
    configuration that it stamps on the interaction; so HTTP, files, and apps that write to Kafka
    give the same result.

    `earliest` (a date, UTC, 1970-01-01 or later): interactions with an earlier time are refused,
    since most likely that time is in another unit or was never set.

    `write_key` is kept as its SHA-256 only, and may be written so: `sha256:` and 64 hexadecimal
    digits. Use long random keys (`openssl rand -hex 16`).

    `trust: public` is for keys in pages and apps, where anybody can read them. An HTTP message with
    such a key counts for the device that sent it: of its identifiers only those of the namespaces
    in `asserts` count, and the user id if `context.proof` has its HMAC-SHA256 (hexadecimal) by
    `secret`, made by the customer's own server. Other identifiers, ids and addresses in traits
    alike, are left out; traits stay as the device sends them. `asserts` defaults to the namespace
    of anonymous ids, and `device` unless a treatment is addressed to it; or to every namespace
    where no source (`adapters` apart) is trusted and there is no `secret`, because then no customer
    is known to a trusted source.

    `origins` are those of the pages that may send with this key (`https://shop.example`, or
    `https://*.shop.example` for all of its subdomains); without it, pages of any origin may. Apps
    and servers have no origin and are not restricted by it.

    `requests_per_minute` is the maximum of requests of one address (of IPv6: one /64) with this
    key, to each gateway; by default 6,000 where `trust: public`, and any number otherwise.
    """

    name: Name
    channel: Name
    write_key: Annotated[str, Meta(min_length=8)]
    clock: Literal["wall", "log"] = "wall"
    earliest: str = EARLIEST
    trust: Literal["trusted", "public"] = "trusted"
    asserts: tuple[Name, ...] | None = None
    secret: SecretName | None = None
    origins: tuple[str, ...] | None = None
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None
    properties: dict[str, str] = field(default_factory=dict)


class ServerKey(Part, frozen=True):
    """Key that can read profiles and erase them; kept, or written, like a write key."""

    name: Name
    key: Annotated[str, Meta(min_length=8)]


class Sources(Part, frozen=True):
    """sources.yaml"""

    sources: tuple[Source, ...]
    server_keys: tuple[ServerKey, ...] = ()
