"""State changes that are not interactions, as records on the stages' own keyed inputs.

`move`: the record's key is the profile that holds `shard`; the shard must go to `to_profile`.
`arrive`: the record's key is the profile that receives `shard` with the sending stage's `state`.
`refresh`: the profile, or the configuration, changed without an interaction; the stages evaluate
the profile again. `timer`: time alone changed the profile, or is about to: the row's timer was due
at `due_at`. `join`, `leave`: `identifier` belongs to the profile, or no longer does, as of its
`version`-th top; the report considers all evidence up to `until` (ms). A `leave` with a negative
version voids the evidence of `identifier` in the profile's interactions up to `until`. `forget`:
every stage deletes all of the profile. `erase`: `identifier` was forgotten, and so were the shards
in `state` (an `Erasure`). `clock`: a log's time has advanced to `at`; passes through every stage
and fires the timers due by it. `begin`: the configuration begins and drops the aggregates in
`state`. `fill`: `state` has the part of `shard` from before its aggregates were in the
configuration. `lease`: `state` has grants of budgets to the owner of the record's partition.
`probe`: passes through every stage and is answered to `request`, which shows that all stages work.
"""

from typing import Literal

from msgspec import Struct

from pipeline.model.interaction import DecideRequest


class Control(Struct, frozen=True):
    """State change that is not an interaction.

    `at` (ms): the clock for the rules that run because of it; `cause`: the id of its cause.
    `version` counts the moves of one shard: a stage obeys the highest one.
    """

    control_id: str
    kind: Literal[
        "move",
        "arrive",
        "refresh",
        "timer",
        "join",
        "leave",
        "begin",
        "fill",
        "forget",
        "erase",
        "clock",
        "lease",
        "probe",
    ]
    at: int
    cause: str
    config: str
    shard: str | None = None
    to_profile: str | None = None
    to_root: str | None = None
    version: int = 0
    state: bytes | None = None
    request: DecideRequest | None = None
    due_at: int | None = None
    identifier: str | None = None
    until: int | None = None
