"""Mappings of files that other systems send, shipped with Kairos: see `feed` in `model.Watch`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from pipeline.config import model


@dataclass(frozen=True, slots=True)
class Feed:
    """Settings of a watch where it gives none of its own."""

    pattern: str
    kind: model.RowKind
    columns: Mapping[str, str]
    name: str | None = None
    key: tuple[str, ...] = ()


FEEDS: Final[Mapping[str, Feed]] = {
    "interaction-studio-users": Feed(
        pattern="user-[0-9]*.csv*",
        kind="identify",
        columns={"userId": "identifiers.customer_id", "attribute:*": "traits.*"},
    ),
    "interaction-studio-transactions": Feed(
        pattern="transaction-[0-9]*.csv*",
        kind="track",
        name="Product Purchased",
        columns={
            "transactionId": "properties.transaction_id",
            "userId": "identifiers.customer_id",
            "purchaseDate": "time",
            "productId": "properties.product_id",
            "price": "properties.price",
            "quantity": "properties.quantity",
            "attribute:*": "properties.*",
        },
        key=(
            "properties.transaction_id",
            "properties.product_id",
            "properties.price",
            "properties.quantity",
        ),
    ),
}
"""Interaction Studio's files, perhaps .gz or .zip. Where several identities are used, a column such
as `attribute:emailAddress` becomes an identifier by a line in `columns`.

Users: `user-YYYY-MM-DD_HH-MM-SS.csv`; blank cells do not overwrite, as nowhere here. Transactions:
`transaction-YYYY-MM-DD_HH-MM-SS.csv`, an interaction for each item. A transaction that is changed
comes whole again: its items as they were count once."""


def with_feed(watch: model.Watch) -> model.Watch:
    """Return the watch, completed by its feed and by the defaults."""
    if watch.feed is None:
        return replace(watch, pattern=watch.pattern or "*")
    feed = FEEDS[watch.feed]
    taken = set(watch.columns.values())
    columns = {name: to for name, to in feed.columns.items() if to not in taken}
    return replace(
        watch,
        pattern=watch.pattern or feed.pattern,
        kind=watch.kind or feed.kind,
        name=watch.name or feed.name,
        key=watch.key or feed.key,
        columns={**columns, **watch.columns},
    )
