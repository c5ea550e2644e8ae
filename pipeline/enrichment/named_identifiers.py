"""Identifiers of a profile, each of whose own rows last reported this profile as its own.

An identifier shown by an interaction counts as the customer's for that interaction, until its own
row has reported.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from pipeline.enrichment.state import Shard
from pipeline.model.belongings import Belonging, Belongings, add_report
from pipeline.model.control import Control
from pipeline.model.interaction import Interaction
from pipeline.model.stages import IdentitySection

NOTHING_SHOWN: Final[Mapping[str, int]] = MappingProxyType({})


def add_own_identifier(
    known: Belongings, interaction: Interaction, identity: IdentitySection
) -> Belongings:
    """Return the belongings with the strongest identifier, whose row stamped the interaction."""
    if identity.own_version is None:
        return known
    own = Belonging(identity.own_version, True, interaction.occurred_at)
    return add_report(known, interaction.identifiers[0].key, own)


def shown_identifiers(
    known: Belongings, interaction: Interaction, identity: IdentitySection
) -> dict[str, int]:
    """Return identifiers that count as the customer's before their own rows report, with times
    (ms)."""
    if identity.own_version is None:
        return {}
    _, *weaker = interaction.identifiers
    claimed = {
        **identity.shown,
        **{identifier.key: interaction.occurred_at for identifier in weaker},
    }
    return {name: at for name, at in claimed.items() if _is_news(known.get(name), at)}


def awaited_identifiers(
    waiting: Mapping[str, int], known: Belongings, identity: IdentitySection
) -> dict[str, int]:
    """Return shown identifiers whose own rows have not reported yet, with times (ms).

    They are those in `waiting`, and those awaited by the interaction's identifier.
    """
    if identity.own_version is not None and identity.shown:
        waiting = {**waiting, **identity.shown}
    return {name: at for name, at in waiting.items() if _is_news(known.get(name), at)}


def drop_answered(waiting: Mapping[str, int], known: Belongings, change: Control) -> dict[str, int]:
    """Return the identifiers still `waiting` after a `join` or `leave`, with `known` after that."""
    void_until = change.until or 0 if change.version < 0 else -1
    return {
        name: at
        for name, at in waiting.items()
        if _is_news(known.get(name), at) and not (name == change.identifier and at <= void_until)
    }


def known_identifiers(known: Belongings, also: Mapping[str, int]) -> dict[str, int]:
    """Return the customer's identifiers, each with the latest time (ms) of that knowledge."""
    return {
        **{name: belonging.as_of for name, belonging in known.items() if belonging.here},
        **also,
    }


def keep_known(shards: tuple[Shard, ...], names: Mapping[str, int]) -> tuple[Shard, ...]:
    """Return the shards with the customer's identifiers only.

    An identifier of no shard is added to the first.
    """
    if not shards:
        return shards
    seen = {name for shard in shards for name in shard.identifiers}
    unseen = {name: at for name, at in names.items() if name not in seen}
    first, *rest = (_restrict_identifiers(shard, names) for shard in shards)
    if unseen:
        first = replace(first, identifiers={**first.identifiers, **unseen})
    return (first, *rest)


def _restrict_identifiers(shard: Shard, names: Mapping[str, int]) -> Shard:
    if shard.identifiers.keys() <= names.keys():
        return shard
    kept = {name: at for name, at in shard.identifiers.items() if name in names}
    return replace(shard, identifiers=kept)


def _is_news(belonging: Belonging | None, at: int) -> bool:
    return belonging is None or (not belonging.here and at > belonging.as_of)
