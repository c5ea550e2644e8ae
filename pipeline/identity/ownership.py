"""Shards of an identifier: the shard of an interaction, and the owner of each shard.

A shard holds an identifier's interactions during which the same parents claimed it in the same
order; it belongs to the first of them whose claim still holds. So when a link is removed, each
shard moves to where it would be without the link: to the next claimant of its time or, without one,
to the first later owner, like interactions before any link.
"""

from itertools import islice
from typing import Final

from msgspec.structs import replace

from pipeline.identity.state import Claim, IdentityState, Placement
from pipeline.model.ids import control_id

_MAX_CLAIMS: Final = 128
"""Maximum of claims stored with a shard; further parents do not distinguish shards."""

_MAX_SHARDS: Final = 128
"""Maximum of shards of an identifier; beyond it, the last one takes new interactions of each
owner."""


def current_shard(identifier: str, state: IdentityState, cause: str) -> tuple[IdentityState, str]:
    """Return the row and the shard of its present claimants; begin one if there is none.

    A shard's name, which other rows store, does not reveal the identifier; `cause`: id of the
    interaction.
    """
    claims = _present_claims(state)
    shard = _shard_of(claims, state)
    if shard is not None:
        return state, shard
    name = control_id(cause, "shard", f"{identifier}/{len(state.shards)}")
    placement = Placement(claims=claims, root=state.root, version=0)
    return replace(state, shards={**state.shards, name: placement}), name


def adopt_shard(state: IdentityState, name: str, root: str, version: int) -> IdentityState:
    """Return the row with a forgotten identifier's shard, as if its interactions came now.

    `root`: the top under which the shard is, by its `version`-th move.
    """
    place = Placement(_present_claims(state), root, version)
    return replace(state, adopted={**state.adopted, name: place})


def _present_claims(state: IdentityState) -> tuple[Claim, ...]:
    return tuple(islice(state.claims(), _MAX_CLAIMS))


def _shard_of(claims: tuple[Claim, ...], state: IdentityState) -> str | None:
    """Return the latest shard that the same parents claim; None: there is none."""
    claim_count = 1 if len(state.shards) >= _MAX_SHARDS else _MAX_CLAIMS
    claimants = [claim.parent for claim in claims[:claim_count]]
    for name, place in reversed(state.shards.items()):
        valid_claimants = (claim.parent for claim in place.claims if _is_valid(claim, state))
        if list(islice(valid_claimants, claim_count)) == claimants:
            return name
    return None


def owner_of(place: Placement, state: IdentityState) -> str | None:
    """Return the parent that a shard belongs to; None: the identifier itself."""
    for claim in place.claims:
        if _is_valid(claim, state):
            return claim.parent
    names = (name for name, parent in state.parents.items() if parent.evidence is not None)
    return next(names, None)


def _is_valid(claim: Claim, state: IdentityState) -> bool:
    parent = state.parents.get(claim.parent)
    cut = state.cuts.get(claim.parent)
    is_uncut = cut is None or claim.since > cut
    return is_uncut and parent is not None and parent.evidence is not None


def correct_placements(
    identifier: str, state: IdentityState, places: dict[str, Placement]
) -> dict[str, Placement]:
    """Return corrected placements for the `places` that are not under their owner's root."""
    corrections: dict[str, Placement] = {}
    for name, place in places.items():
        owner = owner_of(place, state)
        root = identifier if owner is None else state.parents[owner].root
        if root != place.root:
            corrections[name] = replace(place, root=root, version=place.version + 1)
    return corrections
