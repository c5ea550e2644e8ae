"""Which shard an interaction belongs to, and where every shard must be.

What an identifier did before it had an owner goes with its first one; from then on each owner has
a shard of its own, which stays with that owner when the device passes to another.
"""

from msgspec.structs import replace

from pipeline.identity.state import IdentityState, Placement


def current_shard(identifier: str, state: IdentityState) -> tuple[IdentityState, str]:
    """The shard of the identifier's present owner, begun here if there was none."""
    last = next(reversed(state.shards), None)
    if last is not None and state.shards[last].owner == state.parent:
        return state, last
    name = f"{identifier}/{len(state.shards)}"
    begun = Placement(owner=state.parent, root=state.root, version=0)
    return replace(state, shards={**state.shards, name: begun}), name


def adopt(state: IdentityState) -> IdentityState:
    """Shards without an owner go to the present one."""
    if state.parent is None:
        return state
    shards = {
        name: place if place.owner is not None else replace(place, owner=state.parent)
        for name, place in state.shards.items()
    }
    return replace(state, shards=shards)


def displaced(identifier: str, state: IdentityState) -> dict[str, Placement]:
    """The shards that are not under their owner's root, with the placement that they need."""
    targets = {
        name: state.parents[place.owner].root if place.owner is not None else identifier
        for name, place in state.shards.items()
    }
    return {
        name: replace(place, root=targets[name], version=place.version + 1)
        for name, place in state.shards.items()
        if place.root != targets[name]
    }
