"""The values of `identities`: who was linked to whom, when, by which interaction and rule.

The record's key is `identifier`, whose row changes or changed:
`link`: an interaction showed `identifier` together with the stronger `other`, whose top is `root`.
`released`: `other` (weaker) does not follow `identifier` now; tell it if newer evidence comes.
`root`: `other`, a parent of `identifier`, now stands under `root`.
`resolved`: `identifier` now belongs to `profile_id` under `root`; for readers, changes nothing.
`probe`: asks every stage for a sign of life; `clock`: a log's time has come to `at`. For both see
`control.py`; `identifier` is any key of the partition that they are for.
"""

from typing import Literal

from msgspec import Struct

from pipeline.model.interaction import DecideRequest


class Evidence(Struct, frozen=True, order=True):
    """The interaction that showed a link; the latest by (occurred_at, event_id) wins."""

    occurred_at: int
    event_id: str
    rule: Literal["together", "alias"] = "together"


class IdentityChange(Struct, frozen=True):
    """`at` (ms) is the `received_at` of the interaction that started it.

    `version` counts the tops that the owner of `root` has had: of two, the higher is the newer.
    """

    change_id: str
    kind: Literal["link", "released", "root", "resolved", "clock", "probe"]
    identifier: str
    at: int
    config: str
    other: str | None = None
    root: str | None = None
    version: int = 0
    profile_id: str | None = None
    evidence: Evidence | None = None
    request: DecideRequest | None = None
