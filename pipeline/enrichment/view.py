"""Profile as others see it at a moment: its shards read as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from pipeline.config.compile import Configuration
from pipeline.enrichment import sequences, sessions
from pipeline.enrichment.buckets import bucket_of, next_step
from pipeline.enrichment.named_identifiers import (
    NOTHING_SHOWN,
    keep_known,
    known_identifiers,
)
from pipeline.enrichment.reading import next_change, values, with_past
from pipeline.enrichment.shard import latest_of
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model.interaction import FactValue, Identifier, Scalar
from pipeline.model.profile import Profile
from pipeline.model.stages import ProfileSection


def shards_of(state: ProfileState, shown: Mapping[str, int] = NOTHING_SHOWN) -> tuple[Shard, ...]:
    """Return the shards in the order of their names, with the customer's identifiers only.

    Those that an interaction showed (when, ms) are among them.
    """
    here = state.shards.here
    shards = tuple(here[name] for name in sorted(here))
    return keep_known(shards, known_identifiers(state.belongings, shown))


def latest_shard(state: ProfileState) -> str | None:
    """Return the shard of the latest interaction; None when there is none."""
    here = state.shards.here
    return max(here, key=lambda name: (here[name].last_seen, name), default=None)


def by_log(state: ProfileState) -> bool:
    """Return whether the profile's time is a log's own."""
    latest = latest_shard(state)
    return latest is not None and state.shards.here[latest].log


def moment(state: ProfileState, shards: Iterable[Shard], now_ms: int) -> int:
    """Return `now_ms`, or later when the profile has come further: its time does not go back."""
    return max((now_ms, state.at, *(shard.clock for shard in shards)))


def traits(shards: Sequence[Shard], now_ms: int, config: Configuration) -> dict[str, FactValue]:
    """Return declared and built-in traits, and `identifier.<namespace>`: the latest seen of each.
    There is at least one shard."""
    known = dict(values(config.traits, shards, now_ms))
    known.update(_built_in_traits(shards, config))
    for sequence in config.sequences:
        marks = sequences.union(*(shard.sequences.get(sequence.name, ()) for shard in shards))
        completed = sequences.completed_at(marks, sequence)
        if completed is not None:
            known[sequence.name] = completed
    for bucket in config.buckets:
        number = bucket_of(bucket, known, now_ms)
        if number is not None:
            known[bucket.name] = number
    return known


def next_due(
    shards: Sequence[Shard], known: Mapping[str, FactValue], now_ms: int, config: Configuration
) -> int | None:
    """Return the time (ms) at which time alone may next change a segment's inputs or result.

    After `now_ms`, at which the traits are `known`.
    """
    all_shards = with_past(shards)
    changes = [next_change(trait, all_shards, now_ms) for trait in config.traits if trait.timed]
    changes += (
        next_step(bucket, known, now_ms)
        for bucket in config.buckets
        if bucket.timed and bucket.by_age
    )
    changes.append(config.segment_index.next_flip(known, now_ms))
    return min((at for at in changes if at is not None), default=None)


def section(known: dict[str, FactValue], config: Configuration) -> ProfileSection:
    """Return the traits that the active configuration reads; only these travel on."""
    return ProfileSection({name: known[name] for name in config.read_traits if name in known})


def with_derived(
    section: ProfileSection, derived: dict[str, Scalar], config: Configuration
) -> ProfileSection:
    """Return the section with the derived values that later stages read."""
    carried = {name: value for name, value in derived.items() if name in config.carried_values}
    return ProfileSection(section.traits, carried, section.shown)


def snapshot(
    key: str, state: ProfileState, known: dict[str, FactValue], now_ms: int, config: Configuration
) -> Profile:
    """Return the value of `profiles`."""
    shards = shards_of(state)
    last_seen = max(shard.last_seen for shard in shards)
    return Profile(
        profile_id=key,
        root=state.root,
        identifiers=tuple(sorted(_identifiers(shards))),
        traits={name: known[name] for name in sorted(known)},
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
    yield from _addresses(identifiers)


def _identifiers(shards: Sequence[Shard]) -> dict[str, int]:
    identifiers = shards[0].identifiers
    for shard in shards[1:]:
        identifiers = latest_of(identifiers, shard.identifiers)
    return identifiers


def _addresses(identifiers: dict[str, int]) -> Iterable[tuple[str, Scalar]]:
    for key in sorted(identifiers, key=lambda key: (identifiers[key], key)):
        identifier = Identifier.parse(key)
        yield f"identifier.{identifier.namespace}", identifier.value
