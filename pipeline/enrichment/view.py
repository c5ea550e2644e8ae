"""The profile as others see it: its shards folded into one set of traits."""

from collections.abc import Iterable
from functools import reduce

from pipeline.config.compile import Configuration
from pipeline.enrichment.presence import present
from pipeline.enrichment.sequences import completed_at
from pipeline.enrichment.shard import merge
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model.interaction import Identifier, Scalar
from pipeline.model.profile import Profile
from pipeline.model.stages import ProfileSection


def fold(state: ProfileState, config: Configuration) -> Shard | None:
    """All shards as one, in the order of their names; None when there is none."""
    here = state.shards.here
    if not here:
        return None
    shards = (present(here[name]) for name in sorted(here))
    return reduce(lambda a, b: merge(a, b, config), shards)


def latest_shard(state: ProfileState) -> str | None:
    """The shard that the latest interaction came to; None when there is none."""
    here = state.shards.here
    return max(here, key=lambda name: (here[name].last_seen, name), default=None)


def traits(whole: Shard, config: Configuration) -> dict[str, Scalar]:
    """Declared and built-in traits, and `identifier.<namespace>`: the latest seen of each."""
    values: dict[str, Scalar] = {name: one.value for name, one in whole.traits.items()}
    values.update(
        first_seen=whole.first_seen,
        last_seen=whole.last_seen,
        interactions=whole.interactions,
        sessions=len(whole.spans) + whole.ended,
        identifiers=len(whole.identifiers),
    )
    values.update(_addresses(whole.identifiers))
    for sequence in config.sequences:
        completed = completed_at(whole.sequences.get(sequence.name, ()), sequence)
        if completed is not None:
            values[sequence.name] = completed
    return values


def section(values: dict[str, Scalar], config: Configuration) -> ProfileSection:
    """Only what the active configuration reads travels on."""
    return ProfileSection({name: values[name] for name in config.read_traits if name in values})


def snapshot(
    profile_id: str,
    state: ProfileState,
    whole: Shard,
    values: dict[str, Scalar],
    at: int,
    config: Configuration,
) -> Profile:
    """The value of `profiles`."""
    return Profile(
        profile_id=profile_id,
        root=state.root,
        identifiers=tuple(sorted(whole.identifiers)),
        traits={name: values[name] for name in sorted(values)},
        first_seen=whole.first_seen,
        last_seen=whole.last_seen,
        updated_at=at,
        config=config.digest,
    )


def _addresses(identifiers: dict[str, int]) -> Iterable[tuple[str, Scalar]]:
    for key in sorted(identifiers, key=lambda key: (identifiers[key], key)):
        identifier = Identifier.parse(key)
        yield f"identifier.{identifier.namespace}", identifier.value
