"""Identifiers of a profile: those whose own rows last reported that they belong to it.

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

NO_IDENTIFIERS: Final[Mapping[str, int]] = MappingProxyType({})


def add_own_identifier(
    belongings: Belongings, interaction: Interaction, identity: IdentitySection
) -> Belongings:
    """Return the belongings with the strongest identifier, whose row stamped the interaction."""
    if identity.own_version is None:
        return belongings
    report = Belonging(identity.own_version, True, interaction.occurred_at)
    return add_report(belongings, interaction.identifiers[0].key, report)


def shown_identifiers(
    belongings: Belongings, interaction: Interaction, identity: IdentitySection
) -> dict[str, int]:
    """Return identifiers that count as the customer's before their own rows have reported.

    Each has the time (ms) of the interaction that showed it.
    """
    if identity.own_version is None:
        return {}
    _, *weaker = interaction.identifiers
    times = {
        **identity.shown,
        **{identifier.key: interaction.occurred_at for identifier in weaker},
    }
    return {name: at for name, at in times.items() if _awaits_report(belongings.get(name), at)}


def awaited_identifiers(
    shown_at: Mapping[str, int], belongings: Belongings, identity: IdentitySection
) -> dict[str, int]:
    """Return shown identifiers whose own rows have not reported yet, with times (ms).

    They come from `shown_at`, and from the row of the interaction's strongest identifier.
    """
    if identity.own_version is not None and identity.shown:
        shown_at = {**shown_at, **identity.shown}
    return {name: at for name, at in shown_at.items() if _awaits_report(belongings.get(name), at)}


def drop_confirmed_identifiers(
    shown_at: Mapping[str, int], belongings: Belongings, change: Control
) -> dict[str, int]:
    """Return the identifiers of `shown_at` without those that a `join` or `leave` settles.

    `belongings`: after the `join` or `leave`.
    """
    void_until = change.until or 0 if change.version < 0 else -1
    return {
        name: at
        for name, at in shown_at.items()
        if _awaits_report(belongings.get(name), at)
        and not (name == change.identifier and at <= void_until)
    }


def customer_identifiers(belongings: Belongings, shown_at: Mapping[str, int]) -> dict[str, int]:
    """Return the customer's identifiers, each with the time (ms) as of which it is the
    customer's."""
    return {
        **{name: belonging.as_of for name, belonging in belongings.items() if belonging.here},
        **shown_at,
    }


def restrict_identifiers(shards: tuple[Shard, ...], names: Mapping[str, int]) -> tuple[Shard, ...]:
    """Return the shards with the customer's identifiers only.

    An identifier of no shard is added to the first.
    """
    if not shards:
        return shards
    present_names = {name for shard in shards for name in shard.identifiers}
    missing_names = {name: at for name, at in names.items() if name not in present_names}
    first_shard, *other_shards = (_restrict_shard(shard, names) for shard in shards)
    if missing_names:
        first_shard = replace(first_shard, identifiers={**first_shard.identifiers, **missing_names})
    return (first_shard, *other_shards)


def _restrict_shard(shard: Shard, names: Mapping[str, int]) -> Shard:
    if shard.identifiers.keys() <= names.keys():
        return shard
    identifiers = {name: at for name, at in shard.identifiers.items() if name in names}
    return replace(shard, identifiers=identifiers)


def _awaits_report(belonging: Belonging | None, at: int) -> bool:
    return belonging is None or (not belonging.here and at > belonging.as_of)
