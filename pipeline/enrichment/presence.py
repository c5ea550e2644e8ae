"""Which identifiers a profile names: those that its shards brought, without those that left.

A device that passes to somebody else, or whose link is taken away, is not one of this customer's
any more, whatever it did here.
"""

from msgspec.structs import replace

from pipeline.enrichment.state import Left, Shard
from pipeline.model.control import Control

_ANY = ""


def told(left: dict[str, Left], leave: Control) -> dict[str, Left]:
    """What a shard knows after a `leave`; of two for the same identifier the later counts."""
    return latest_left(left, {leave.identifier or _ANY: Left(leave.at, leave.until)})


def latest_left(a: dict[str, Left], b: dict[str, Left]) -> dict[str, Left]:
    """What two parts of a shard were told, together; `b` is not older where it is as new."""
    newer = {name: one for name, one in b.items() if name not in a or one.at >= a[name].at}
    return {**a, **newer} if newer else a


def present(shard: Shard) -> Shard:
    """The shard with those identifiers only that are still the customer's."""
    if not shard.left:
        return shard
    kept = {name: at for name, at in shard.identifiers.items() if not _gone(shard, name, at)}
    return replace(shard, identifiers=kept)


def _gone(shard: Shard, name: str, seen_at: int) -> bool:
    heard = (shard.left.get(_ANY), shard.left.get(name))
    return any(one and (one.until is None or seen_at <= one.until) for one in heard)
