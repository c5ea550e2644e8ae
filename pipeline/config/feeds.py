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


FEEDS: Final[Mapping[str, Feed]] = {
    "interaction-studio-users": Feed(
        pattern="user-[0-9]*.csv*",
        kind="identify",
        columns={"userId": "identifiers.customer_id", "attribute:*": "traits.*"},
    ),
}
"""Interaction Studio's users: `user-YYYY-MM-DD_HH-MM-SS.csv`, perhaps .gz or .zip. Blank cells do
not overwrite, as nowhere here. Where several identities are used, a column such as
`attribute:emailAddress` becomes an identifier by a line in `columns`."""


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
        columns={**columns, **watch.columns},
    )
