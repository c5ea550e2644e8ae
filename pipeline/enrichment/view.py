"""View of a profile at a moment: its shards read as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from pipeline.config.compile import Configuration
from pipeline.enrichment import sequences, sessions
from pipeline.enrichment.buckets import bucket_of, next_threshold_time
from pipeline.enrichment.named_identifiers import (
    NO_IDENTIFIERS,
    customer_identifiers,
    restrict_identifiers,
)
from pipeline.enrichment.reading import next_change, values, with_backfills
from pipeline.enrichment.shard import latest_of
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model.interaction import FactValue, Identifier, Scalar
from pipeline.model.profile import Profile
from pipeline.model.stages import ProfileSection


def shards_of(
    state: ProfileState, shown_at: Mapping[str, int] = NO_IDENTIFIERS
) -> tuple[Shard, ...]:
    """Return the shards in the order of their names, with the customer's identifiers only.

    Identifiers in `shown_at` (-> ms of the interaction) count as the customer's.
    """
    parts = state.shards.here
    shards = tuple(parts[name] for name in sorted(parts))
    return restrict_identifiers(shards, customer_identifiers(state.belongings, shown_at))


def latest_shard_name(state: ProfileState) -> str | None:
    """Return the name of the shard with the latest interaction; None without shards."""
    parts = state.shards.here
    return max(parts, key=lambda name: (parts[name].last_seen, name), default=None)


def is_on_log_clock(state: ProfileState) -> bool:
    """Return whether the profile's time is that of a log's own clock."""
    name = latest_shard_name(state)
    return name is not None and state.shards.here[name].log


def moment(state: ProfileState, shards: Iterable[Shard], now_ms: int) -> int:
    """Return `now_ms`, or the profile's present time if that is later: it never decreases."""
    return max((now_ms, state.at, *(shard.clock for shard in shards)))


def traits(shards: Sequence[Shard], now_ms: int, config: Configuration) -> dict[str, FactValue]:
    """Return the declared and built-in traits, and `identifier.<namespace>`: the latest of each.

    There is at least one shard.
    """
    known_traits = dict(values(config.traits, shards, now_ms))
    known_traits.update(_built_in_traits(shards, config))
    for sequence in config.sequences:
        marks = sequences.union(*(shard.sequences.get(sequence.name, ()) for shard in shards))
        completion_at = sequences.completion_at(marks, sequence)
        if completion_at is not None:
            known_traits[sequence.name] = completion_at
    for bucket in config.buckets:
        number = bucket_of(bucket, known_traits, now_ms)
        if number is not None:
            known_traits[bucket.name] = number
    return known_traits


def next_due(
    shards: Sequence[Shard],
    known_traits: Mapping[str, FactValue],
    now_ms: int,
    config: Configuration,
) -> int | None:
    """Return the next time (ms) after `now_ms` at which time alone may change a segment or its
    inputs; None: there is none.

    `known_traits`: the traits at `now_ms`.
    """
    all_shards = with_backfills(shards)
    changes = [next_change(trait, all_shards, now_ms) for trait in config.traits if trait.is_timed]
    changes += (
        next_threshold_time(bucket, known_traits, now_ms)
        for bucket in config.buckets
        if bucket.is_timed and bucket.uses_age
    )
    changes.append(config.segment_index.next_flip(known_traits, now_ms))
    return min((at for at in changes if at is not None), default=None)


def section(known_traits: dict[str, FactValue], config: Configuration) -> ProfileSection:
    """Return the traits that the active configuration reads; later stages receive only these."""
    return ProfileSection(
        {name: known_traits[name] for name in config.read_traits if name in known_traits}
    )


def with_derived_values(
    section: ProfileSection, derived_values: dict[str, Scalar], config: Configuration
) -> ProfileSection:
    """Return the section with the derived values that later stages read."""
    read_values = {
        name: value for name, value in derived_values.items() if name in config.carried_values
    }
    return ProfileSection(section.traits, read_values, section.shown)


def snapshot(
    key: str,
    state: ProfileState,
    known_traits: dict[str, FactValue],
    now_ms: int,
    config: Configuration,
) -> Profile:
    """Return the profile as `profiles` has it."""
    shards = shards_of(state)
    last_seen = max(shard.last_seen for shard in shards)
    return Profile(
        profile_id=key,
        root=state.root,
        identifiers=tuple(sorted(_identifiers(shards))),
        traits={name: known_traits[name] for name in sorted(known_traits)},
        first_seen=min(shard.first_seen for shard in shards),
        last_seen=last_seen,
        updated_at=max(now_ms, last_seen),
        config=config.digest,
    )


def _built_in_traits(
    shards: Sequence[Shard], config: Configuration
) -> Iterator[tuple[str, FactValue]]:
    identifiers = _identifiers(shards)
    spans = shards[0].spans
    if len(shards) > 1:
        spans = sessions.union(
            chain.from_iterable(shard.spans for shard in shards), config.session_gap_ms
        )
    yield "first_seen", min(shard.first_seen for shard in shards)
    yield "last_seen", max(shard.last_seen for shard in shards)
    yield "interactions", sum(shard.interactions for shard in shards)
    yield "sessions", len(spans) + sum(shard.ended for shard in shards)
    yield "session_started_at", spans[-1].first
    yield "identifiers", len(identifiers)
    yield from _identifier_traits(identifiers)


def _identifiers(shards: Sequence[Shard]) -> dict[str, int]:
    identifiers = shards[0].identifiers
    for shard in shards[1:]:
        identifiers = latest_of(identifiers, shard.identifiers)
    return identifiers


def _identifier_traits(identifiers: dict[str, int]) -> Iterable[tuple[str, Scalar]]:
    for key in sorted(identifiers, key=lambda key: (identifiers[key], key)):
        identifier = Identifier.parse(key)
        yield f"identifier.{identifier.namespace}", identifier.value
