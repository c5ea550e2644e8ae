"""sources.yaml: who sends interactions, by which keys."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from pipeline.config.model.part import Name, Part, SecretName
from pipeline.model.time import EARLIEST

ADAPTERS: Final = "adapters"
"""Name of the source whose interactions are the outcomes that Kairos's own adapters report."""


class Source(Part, frozen=True):
    """An app that sends. `clock: log` trusts `occurred_at` as the time of receipt too, for the
    replay of a log in its own time; such a source must be one's own.

    `properties` says what this source calls a property that others name otherwise:
    `{total: properties.order.amount}` makes `total` of `order.amount` (or of `context.NAME`).
    Where there is nothing at that place, the property stays as it came. The stage that knows whose
    interaction it is does so, by the configuration that it stamps on it; so it does not matter
    whether it came by HTTP, as a file, or from an app that writes to Kafka.

    `earliest` (a date, UTC, 1970-01-01 or later): what claims to have happened before is refused,
    for most likely its time is in another unit or was never set.

    `write_key` is kept as its SHA-256 only, and may be written so: `sha256:` and 64 hexadecimal
    digits. Make keys by chance and long (`openssl rand -hex 16`).

    `trust: public` is for keys that stand in pages and apps, where anybody can read them. What
    comes by HTTP with such a key speaks for the device that sent it: of its identifiers only those
    of the namespaces in `asserts` count, and the user id where `context.proof` has its HMAC-SHA256
    (hexadecimal) by `secret`, made by the customer's own server. Other identifiers, be they ids or
    addresses in traits, are left out; traits stay what the device says. `asserts` is, where it is
    not given, the namespace of anonymous ids, and `device` unless a treatment is addressed to it;
    or every namespace where no source (`adapters` apart) is trusted and there is no `secret`, for
    then nobody is known to a trusted one.

    `origins` are those of the pages that may send with this key (`https://shop.example`, or
    `https://*.shop.example` for all of its subdomains); without it, pages of any origin. What is no
    page, such as an app or a server, names no origin and is not restricted by it.
    `requests_per_minute` is the most that one address (of IPv6: one /64) may make with this key, to
    each gateway; without it 6,000 where `trust: public`, and any number otherwise.
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
    """A key that can read profiles and erase them; kept, or written, as a write key is."""

    name: Name
    key: Annotated[str, Meta(min_length=8)]


class Sources(Part, frozen=True):
    """sources.yaml"""

    sources: tuple[Source, ...]
    server_keys: tuple[ServerKey, ...] = ()
