"""Profiles for readers: compacted snapshots, and the log of segment changes."""

from typing import Literal

from msgspec import Struct

from pipeline.model.interaction import FactValue


class Profile(Struct, frozen=True):
    """Value of `profiles`; a tombstone when nothing is left under the id.

    `updated_at`: the latest time (ms) of its contents.
    """

    profile_id: str
    root: str
    identifiers: tuple[str, ...]
    traits: dict[str, FactValue]
    first_seen: int
    last_seen: int
    updated_at: int
    config: str


class Memberships(Struct, frozen=True):
    """Value of `memberships`: segment -> entered at (ms).

    A tombstone when nothing is left under the profile's id.
    """

    profile_id: str
    segments: dict[str, int]
    updated_at: int
    config: str


class SegmentChange(Struct, frozen=True):
    """Value of `segments.changes`; `cause`: the id of the interaction or control."""

    profile_id: str
    segment: str
    change: Literal["entered", "exited"]
    why: str
    at: int
    cause: str
    config: str
