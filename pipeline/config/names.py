"""Names that a bundle defines, and checks of references to them."""

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
"""Traits that every profile has: times in epoch ms, and counts."""

TIMES: Final = ("first_seen", "last_seen", "session_started_at")
"""Built-in traits that are times."""

_ADDRESS_PREFIX: Final = "identifier."
_APPROXIMATE_SUFFIX: Final = ".approximate"
_SINCE_SUFFIX: Final = ".since"
_SCORE_PREFIX: Final = "score."


def address_trait(namespace: str) -> str:
    """Return the built-in trait with the latest identifier of a namespace."""
    return _ADDRESS_PREFIX + namespace


def is_address(trait: str) -> bool:
    """Return whether a trait is the latest identifier of a namespace."""
    return trait.startswith(_ADDRESS_PREFIX)


def approximate_trait(trait: str) -> str:
    """Return the trait that is true while a count of distinct values is approximate."""
    return trait + _APPROXIMATE_SUFFIX


def since_trait(trait: str) -> str:
    """Return the trait with the time (epoch ms) before which `trait` may be incomplete."""
    return trait + _SINCE_SUFFIX


def is_since_trait(trait: str) -> bool:
    """Return whether a trait is the time before which another trait may be incomplete."""
    return trait.endswith(_SINCE_SUFFIX)


def score_trait(score: str) -> str:
    """Return the trait that holds a model's score."""
    return _SCORE_PREFIX + score


def is_built_in(trait: str) -> bool:
    """Return whether a name is reserved for a built-in trait."""
    is_reserved = trait.startswith((_ADDRESS_PREFIX, _SCORE_PREFIX)) or trait.endswith(
        (_APPROXIMATE_SUFFIX, _SINCE_SUFFIX)
    )
    return is_reserved or trait in BUILT_IN_TRAITS


@dataclass(frozen=True, slots=True)
class Names:
    """Names that a bundle defines, by kind.

    `interaction_channels` are those of interactions, `channels` those of messages;
    `derived_values` are those that the enrichers can derive; `buckets` and `scores` are traits
    computed from others.
    """

    traits: frozenset[str]
    segments: frozenset[str]
    namespaces: frozenset[str]
    channels: frozenset[str]
    interaction_channels: frozenset[str]
    derived_values: frozenset[str]
    buckets: frozenset[str]
    scores: frozenset[str]


def names_of(bundle: Bundle) -> Names:
    """Collect the names of a bundle."""
    namespaces = frozenset(namespace.name for namespace in bundle.identity.namespaces)
    channels = frozenset(channel.name for channel in bundle.channels.channels)
    trait_names = frozenset(trait.name for trait in bundle.profile.traits)
    approximate_names = (
        approximate_trait(trait.name) for trait in bundle.profile.traits if trait.rule == "distinct"
    )
    scores = frozenset(score_trait(score.name) for score in bundle.profile.scores)
    return Names(
        traits=trait_names.union(
            BUILT_IN_TRAITS,
            approximate_names,
            map(since_trait, trait_names),
            map(address_trait, namespaces),
            scores,
        ),
        scores=scores,
        segments=frozenset(segment.segment for segment in bundle.segments),
        namespaces=namespaces,
        channels=channels,
        buckets=frozenset(trait.name for trait in bundle.profile.traits if trait.rule == "bucket"),
        derived_values=frozenset(derived_names(bundle.profile.enrichers)),
        interaction_channels=channels.union(source.channel for source in bundle.sources.sources),
    )


def check_name(
    kind: str, name: str, defined_names: Collection[str], path: Path
) -> Iterator[Problem]:
    """Yield a problem where `name` is not among `defined_names`."""
    if name not in defined_names:
        message = f"unknown {kind} {name!r}: {did_you_mean(name, defined_names)}"
        yield Problem(path, message, UnknownName(kind, name))
