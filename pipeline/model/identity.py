"""Values of the topic `identities`: links between identifiers, with time, evidence and rule.

The record's key is `identifier`, whose row changes or changed: `link`: an interaction showed
`identifier` together with the stronger `other`, whose top is `root`. `alias`: `other` has
`identifier` as a previous id, either an anonymous or a customer's one. `aliased`: an alias showed
the stronger `identifier` together with `other`. `released`: `other` (weaker) does not follow
`identifier` now; newer evidence must be sent to it. `returned`: `other` (weaker) follows
`identifier`. `conceded`: `other`, which `identifier` left, has no evidence that `identifier` has
not received. `declined`: `other` (weaker) has too many parents already; `identifier` removes it
from its children. `root`: `other`, a parent of `identifier`, is now under `root`. `unlink`: the
link with `other` is removed until there is evidence that occurred after `at`. `unlinked`: the same,
sent from one end of the link to the other. `forget`: the person who has `identifier` is forgotten.
`forgotten`: `other` was forgotten; its followers are forgotten with it, other rows remove it.
`adopt`: `shard`, under `root` by its `version`-th move, came from a forgotten identifier and
belongs to `identifier`. The following kinds are for readers and change nothing: `resolved`:
`identifier` now belongs to `profile_id` under `root`. `refused`: `evidence` showed a link with
`other`, and there are too many already. `erased`: `identifier` was forgotten; earlier records of it
no longer count. `probe`: checks that every stage works; `clock`: a log's time has advanced to `at`.
For both see `control.py`; `identifier` is any key of their partition.
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
    """Change of identity; `at` (ms) is the `received_at` of the interaction that started it, or the
    time of the request.

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
