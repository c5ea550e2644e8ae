"""Values of the topic `identities`: who was linked to whom, when, by which interaction and rule.

The record's key is `identifier`, whose row changes or changed:
`link`: an interaction showed `identifier` together with the stronger `other`, whose top is `root`.
`alias`: `other` has `identifier` for a previous id, which may be an anonymous or a customer's one.
`aliased`: so an alias showed the stronger `identifier` together with `other`.
`released`: `other` (weaker) does not follow `identifier` now; tell it if newer evidence comes.
`returned`: `other` (weaker) follows `identifier`.
`conceded`: `other`, whom `identifier` left, has no evidence that `identifier` has not heard.
`declined`: `other` (weaker) has too many parents already; `identifier` forgets that it saw it.
`root`: `other`, a parent of `identifier`, now stands under `root`.
`unlink`: the link with `other` is taken away until there is evidence that occurred after `at`.
`unlinked`: the same, as the one end tells the other.
`forget`: the person that `identifier` belongs to is forgotten.
`forgotten`: `other` was; who followed it is forgotten with it, others forget that they saw it.
`adopt`: `shard`, under `root` by its `version`-th move, was brought by an identifier that is
forgotten and belongs to `identifier`.
For readers, changing nothing:
`resolved`: `identifier` now belongs to `profile_id` under `root`.
`refused`: `evidence` showed a link with `other`, and there are too many already.
`erased`: `identifier` was forgotten; what the log said of it before counts no more.
`probe`: asks every stage for a sign of life; `clock`: a log's time has come to `at`. For both see
`control.py`; `identifier` is any key of the partition that they are for.
"""

from typing import Literal

from msgspec import Struct

from pipeline.model.interaction import DecideRequest


class Evidence(Struct, frozen=True, order=True):
    """Interaction that showed a link; the latest by (occurred_at, event_id) wins."""

    occurred_at: int
    event_id: str
    rule: Literal["together", "alias"] = "together"


class IdentityChange(Struct, frozen=True):
    """Change of identity; `at` (ms) is the `received_at` of the interaction that started it, or
    when it was asked for.

    `version` counts the tops that the owner of `root` has had: of two, the higher is the newer.
    """

    change_id: str
    kind: Literal[
        "link",
        "alias",
        "aliased",
        "released",
        "returned",
        "root",
        "unlink",
        "unlinked",
        "forget",
        "forgotten",
        "resolved",
        "refused",
        "declined",
        "conceded",
        "erased",
        "adopt",
        "clock",
        "probe",
    ]
    identifier: str
    at: int
    config: str
    other: str | None = None
    root: str | None = None
    version: int = 0
    profile_id: str | None = None
    evidence: Evidence | None = None
    request: DecideRequest | None = None
    shard: str | None = None
