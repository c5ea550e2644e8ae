"""Forgetting of an identifier: the parts of its row that stay or go to another person."""

from msgspec.structs import replace

from pipeline.identity.ownership import owner_of
from pipeline.identity.record_factory import profile_of
from pipeline.identity.state import IdentityState, Placement


def orphans(state: IdentityState) -> dict[str, str]:
    """Return the shards of a forgotten row that belong to another person, each with its owner."""
    owners = ((name, owner_of(place, state)) for name, place in state.places.items())
    return {
        name: owner
        for name, owner in owners
        if owner is not None and state.parents[owner].root != state.root
    }


def remove_other(state: IdentityState, other: str) -> IdentityState:
    """Return the row as if no interaction had shown `other`; the shards that it owned are
    removed."""
    return replace(
        state,
        parents={name: parent for name, parent in state.parents.items() if name != other},
        children={name: child for name, child in state.children.items() if name != other},
        cuts={name: at for name, at in state.cuts.items() if name != other},
        awaited=tuple(name for name in state.awaited if name != other),
        visited=tuple(profile for profile in state.visited if profile != profile_of(other)),
        shards=_places_without(state.shards, state, other),
        adopted=_places_without(state.adopted, state, other),
    )


def _places_without(
    places: dict[str, Placement], state: IdentityState, other: str
) -> dict[str, Placement]:
    return {
        name: _drop_claims(place, other)
        for name, place in places.items()
        if owner_of(place, state) != other
    }


def _drop_claims(place: Placement, other: str) -> Placement:
    return replace(place, claims=tuple(claim for claim in place.claims if claim.parent != other))
