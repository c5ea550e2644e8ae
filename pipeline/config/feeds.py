"""Built-in mappings of files from other systems: see `feed` in `model.Watch`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from pipeline.config import model

_PERSON_COLUMNS: Final = {"userId": "identifiers.customer_id"}


@dataclass(frozen=True, slots=True)
class Feed:
    """Defaults of a watch's settings. `optional_columns`: columns that files may lack."""

    pattern: str
    kind: model.RowKind
    columns: Mapping[str, str]
    name: str | None = None
    key: tuple[str, ...] = ()
    optional_columns: frozenset[str] = frozenset()
    replaces: bool = False


FEEDS: Final[Mapping[str, Feed]] = {
    "interaction-studio-users": Feed(
        pattern="user-[0-9]*.csv*",
        kind="identify",
        columns={**_PERSON_COLUMNS, "attribute:*": "traits.*"},
    ),
    "interaction-studio-transactions": Feed(
        pattern="transaction-[0-9]*.csv*",
        kind="track",
        name="Product Purchased",
        columns={
            "transactionId": "properties.transaction_id",
            **_PERSON_COLUMNS,
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
    "interaction-studio-email-events": Feed(
        pattern="externalEmailCampaign-[0-9]*.csv*",
        kind="track",
        name="External Email Event",
        columns={
            **_PERSON_COLUMNS,
            "externalCampaignId": "properties.campaign_id",
            "externalCampaignName": "properties.campaign_name",
            "eventType": "properties.event",
            "externalSystem": "properties.system",
            "eventDate": "time",
            "attribute:*": "properties.*",
        },
        optional_columns=frozenset({"externalCampaignName", "externalSystem"}),
    ),
    "interaction-studio-segments": Feed(
        pattern="segment-delta-*[0-9].csv*",
        kind="track",
        name="Manual Segment Changed",
        columns={**_PERSON_COLUMNS, "attribute:*": "properties.*", "*": "properties.*"},
    ),
    "interaction-studio-segment-lists": Feed(
        pattern="segment-replace-*[0-9].csv*",
        kind="track",
        name="Manual Segment Changed",
        columns={**_PERSON_COLUMNS, "attribute:*": "properties.*", "*": "properties.*"},
        replaces=True,
    ),
}
"""Interaction Studio's files, perhaps .gz, .zip or .pgp. Where several identities are used, files
have no `userId`, and a column such as `attribute:emailAddress` becomes an identifier by a line in
`columns`.

Users: `user-YYYY-MM-DD_HH-MM-SS.csv`; blank cells do not overwrite values. Transactions:
`transaction-….csv`, an interaction for each item. A changed transaction is sent again as a whole;
its unchanged items count once. External e-mail campaigns: `externalEmailCampaign-….csv`, an
interaction for each sending, opening and click. Manual segments: `segment-delta-….csv`, an
interaction for each change, with all columns as properties; `segment-replace-….csv` lists a whole
segment, so that each row is an addition, and each missing former member a removal (`operation`)."""


def complete_by_feed(watch: model.Watch) -> model.Watch:
    """Return the watch, completed by its feed and by the defaults."""
    if watch.feed is None:
        return replace(watch, pattern=watch.pattern or "*")
    feed = FEEDS[watch.feed]
    targets = set(watch.columns.values())
    columns = {name: target for name, target in feed.columns.items() if target not in targets}
    return replace(
        watch,
        pattern=watch.pattern or feed.pattern,
        kind=watch.kind or feed.kind,
        name=watch.name or feed.name,
        key=watch.key or feed.key,
        replaces=watch.replaces or feed.replaces,
        columns={**columns, **watch.columns},
    )


def optional_columns(watch: model.Watch) -> frozenset[str]:
    """Return the columns that files of a watch (with its feed) may lack: the feed's optional ones,
    and the feed's identifier where the watch names another."""
    if watch.feed is None:
        return frozenset()
    feed = FEEDS[watch.feed]
    identifier_columns = {
        name for name, target in watch.columns.items() if target.startswith("identifiers.")
    }
    return feed.optional_columns | (
        _PERSON_COLUMNS.keys() if identifier_columns - _PERSON_COLUMNS.keys() else frozenset()
    )
