"""State of a profile in shards: merges and unmerges move parts, without recomputation.

A shard is the part that one identifier brought under one owner. Identity directs it with a `move`;
the stage that holds it sends it on its own input as an `arrive`. Whatever the order of arrival, a
shard ends at the destination with the highest version.
"""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from pipeline.model.control import Control

T = TypeVar("T")


class Away(Struct, frozen=True, array_like=True):
    """Destination of a shard that left, by the version of its move."""

    to_profile: str
    version: int


class Erasure(Struct, frozen=True, array_like=True):
    """State of an `erase`: the shards to forget.

    `shown_only`: only the interactions' evidence of the identifier is forgotten. `anonymous`:
    shards that stay without any identifier that their interactions showed.
    """

    shards: tuple[str, ...] = ()
    shown_only: bool = False
    anonymous: tuple[str, ...] = ()


class Shards(Struct, Generic[T], frozen=True):
    """Shards of this profile, and redirects for shards that moved away."""

    here: dict[str, T] = field(default_factory=dict)
    away: dict[str, Away] = field(default_factory=dict)

    def redirect_of(self, shard: str, version: int) -> Away | None:
        """Return the destination of `shard` after its `version`-th move; None: this profile."""
        redirect = self.away.get(shard)
        return redirect if redirect is not None and redirect.version > version else None

    def put(self, shard: str, part: T) -> "Shards[T]":
        """Return the shards with `part` as the state of `shard`, which belongs to this profile."""
        return Shards({**self.here, shard: part}, _without(self.away, shard))

    def depart(self, move: Control) -> "Departure[T]":
        """Return the other shards, and the part that a `move` sends away."""
        shard, target = _target(move)
        redirect = self.away.get(shard)
        if redirect is not None and redirect.version >= target.version:
            return Departure(self)
        remaining_shards = Shards(_without(self.here, shard), {**self.away, shard: target})
        return Departure(remaining_shards, self.here.get(shard))

    def without(self, shards: Collection[str]) -> "Shards[T]":
        """Return the shards without these, which were forgotten."""
        if self.here.keys().isdisjoint(shards) and self.away.keys().isdisjoint(shards):
            return self
        return Shards(
            {name: part for name, part in self.here.items() if name not in shards},
            {name: redirect for name, redirect in self.away.items() if name not in shards},
        )

    def receive(self, arrive: Control, part: T, merge: Callable[[T, T], T]) -> "Shards[T] | Away":
        """Take in an arrived part, or return its further destination."""
        shard, target = _target(arrive)
        redirect = self.redirect_of(shard, target.version)
        if redirect is not None:
            return redirect
        present_part = self.here.get(shard)
        return self.put(shard, part if present_part is None else merge(present_part, part))


class Departure(Struct, Generic[T], frozen=True):
    """Shards after a `move`, and the part to send away; None: the profile does not have it, or the
    move is outdated."""

    shards: Shards[T]
    part: T | None = None


def arrival(move: Control, target: Away, state: bytes, control_id: str) -> Control:
    """Return the `arrive` that takes `state` to `target`, following from `move`.

    The `arrive` names the root only if the shard stays at the destination of the move: an
    identifier stored in any other profile could not be forgotten.
    """
    return replace(
        move,
        control_id=control_id,
        kind="arrive",
        cause=move.control_id,
        to_profile=target.to_profile,
        to_root=move.to_root if target.to_profile == move.to_profile else None,
        version=target.version,
        state=state,
    )


def destination(move: Control) -> Away:
    """Return the destination of a `move` or `arrive`."""
    return _target(move)[1]


def _target(control: Control) -> tuple[str, Away]:
    if control.shard is None or control.to_profile is None:
        raise ValueError(f"{control.kind} {control.control_id} names no shard or no target")
    return control.shard, Away(control.to_profile, control.version)


def _without(entries: dict[str, T], key: str) -> dict[str, T]:
    if key not in entries:
        return entries
    return {name: entry for name, entry in entries.items() if name != key}
