"""States of some keys, read from a stage's changelog, also while no worker runs."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from agents.idempotence import Row
from pipeline.adapters.snapshots import scan
from pipeline.flow import Stage
from pipeline.settings import Settings

_PREFIX = "r"
"""Prefix of the keys of state rows; event ids and timers have others."""


def read_stored_states(
    settings: Settings, stage: Stage, keys: Collection[str]
) -> Mapping[str, Any]:
    """Return the state of each of `keys` that has one."""
    decode = msgspec.msgpack.Decoder(Row[stage.state]).decode  # type: ignore[name-defined]
    keys_by_row = {_PREFIX + key: key for key in keys}
    states: dict[str, Any] = {}
    for record in scan(settings.kafka(), f"{stage.group}-rows-changelog"):
        key = keys_by_row.get(record.key)
        if key is None:
            continue
        state = None if record.value is None else decode(record.value).state
        if state is None:
            states.pop(key, None)
        else:
            states[key] = state
    return states
