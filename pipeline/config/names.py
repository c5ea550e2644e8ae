"""The names that a bundle defines, for whoever refers to them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.conditions import Path, Problem, UnknownName, did_you_mean
from pipeline.config.derived import derived_names
from pipeline.config.model import Bundle

BUILT_IN_TRAITS: Final = (
    "first_seen",
    "last_seen",
    "sessions",
    "session_started_at",
    "interactions",
    "identifiers",
)
"""Traits that every profile has: times in epoch ms, the others counts."""

TIMES: Final = ("first_seen", "last_seen", "session_started_at")
"""Those of them that are times."""

_ADDRESS: Final = "identifier."
_APPROXIMATE: Final = ".approximate"
_SINCE: Final = ".since"
_SCORE: Final = "score."


def address_trait(namespace: str) -> str:
    """The built-in trait with the latest identifier of a namespace."""
    return _ADDRESS + namespace


def is_address(trait: str) -> bool:
    """Whether it is one of these."""
    return trait.startswith(_ADDRESS)


def approximate(trait: str) -> str:
    """Of a count of distinct values: whether it is no longer exact."""
    return trait + _APPROXIMATE


def since_trait(trait: str) -> str:
    """Of a trait that was added later: up to when (ms) something may be missing in it."""
    return trait + _SINCE


def is_since(trait: str) -> bool:
    """Whether the trait is such a time."""
    return trait.endswith(_SINCE)


def score_trait(score: str) -> str:
    """The trait that holds a model's score."""
    return _SCORE + score


def is_built_in(trait: str) -> bool:
    """Whether a declared trait may not have this name."""
    reserved = trait.startswith((_ADDRESS, _SCORE)) or trait.endswith((_APPROXIMATE, _SINCE))
    return reserved or trait in BUILT_IN_TRAITS


@dataclass(frozen=True, slots=True)
class Names:
    """`heard` are the channels that interactions may come from, `channels` those to speak on;
    `derived` is what the enrichers can derive; `buckets` and `scores` are traits made of others."""

    traits: frozenset[str]
    segments: frozenset[str]
    namespaces: frozenset[str]
    channels: frozenset[str]
    heard: frozenset[str]
    derived: frozenset[str]
    buckets: frozenset[str]
    scores: frozenset[str]


def names_of(bundle: Bundle) -> Names:
    """Collected once per check."""
    namespaces = frozenset(space.name for space in bundle.identity.namespaces)
    channels = frozenset(channel.name for channel in bundle.channels.channels)
    declared = frozenset(trait.name for trait in bundle.profile.traits)
    sampled = (approximate(one.name) for one in bundle.profile.traits if one.rule == "distinct")
    scores = frozenset(score_trait(one.name) for one in bundle.profile.scores)
    return Names(
        traits=declared.union(
            BUILT_IN_TRAITS,
            sampled,
            map(since_trait, declared),
            map(address_trait, namespaces),
            scores,
        ),
        scores=scores,
        segments=frozenset(segment.segment for segment in bundle.segments),
        namespaces=namespaces,
        channels=channels,
        buckets=frozenset(one.name for one in bundle.profile.traits if one.rule == "bucket"),
        derived=frozenset(derived_names(bundle.profile.enrichers)),
        heard=channels.union(source.channel for source in bundle.sources.sources),
    )


def known_name(kind: str, name: str, known: Collection[str], path: Path) -> Iterator[Problem]:
    """The problem that nothing of the kind has this name; none when something has."""
    if name not in known:
        message = f"unknown {kind} {name!r}: {did_you_mean(name, known)}"
        yield Problem(path, message, UnknownName(kind, name))
