"""What a row keeps when another identifier was forgotten."""

from msgspec.structs import replace

from pipeline.identity.ownership import owner_of
from pipeline.identity.state import IdentityState, Placement


def without(state: IdentityState, other: str) -> IdentityState:
    """The row as if `other` had never been seen; the shards that it owned went with it."""
    return replace(
        state,
        parents={name: one for name, one in state.parents.items() if name != other},
        children={name: one for name, one in state.children.items() if name != other},
        cuts={name: at for name, at in state.cuts.items() if name != other},
        shards={
            name: _unclaimed(place, other)
            for name, place in state.shards.items()
            if owner_of(place, state) != other
        },
    )


def _unclaimed(place: Placement, other: str) -> Placement:
    return replace(place, claims=tuple(one for one in place.claims if one.parent != other))
