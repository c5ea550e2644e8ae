"""States of a few keys, read from a stage's changelog, also while no worker runs."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from agents.idempotence import Row
from pipeline.adapters.snapshots import scan
from pipeline.flow import Stage
from pipeline.settings import Settings

_PREFIX = "r"
"""Prefix of the keys of state rows; event ids and timers have others."""


def stored_states(settings: Settings, stage: Stage, keys: Collection[str]) -> Mapping[str, Any]:
    """Return the state of each of `keys` that has one."""
    decode = msgspec.msgpack.Decoder(Row[stage.state]).decode  # type: ignore[name-defined]
    wanted = {_PREFIX + key: key for key in keys}
    states: dict[str, Any] = {}
    for stored in scan(settings.kafka(), f"{stage.group}-rows-changelog"):
        key = wanted.get(stored.key)
        if key is None:
            continue
        state = None if stored.value is None else decode(stored.value).state
        if state is None:
            states.pop(key, None)
        else:
            states[key] = state
    return states
