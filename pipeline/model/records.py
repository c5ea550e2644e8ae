"""Common parts of the records on stages' inputs: time, control and configuration."""

from collections.abc import Callable

from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Enriched, Identified, Segmented

_Carrier = Identified | Enriched | Segmented
_CARRIERS: dict[str, Callable[..., _Carrier]] = {
    topics.IDENTIFIED: Identified,
    topics.ENRICHED: Enriched,
    topics.SEGMENTED: Segmented,
}


def time_of(record: object) -> int:
    """Return the time (epoch ms) for rules on this record: its own, never the wall clock's;
    0 for a record of another kind."""
    if isinstance(record, Interaction):
        return record.received_at
    if isinstance(record, IdentityChange):
        return record.at
    if isinstance(record, _Carrier):
        if record.control is not None:
            return record.control.at
        if record.interaction is not None:
            return record.interaction.received_at
    return 0


def control_of(record: object) -> Control | None:
    """Return the control that the record carries, if any."""
    return record.control if isinstance(record, _Carrier) else None


def config_of(record: object) -> str | None:
    """Return the digest that identity stamped on the record; None before identity."""
    if isinstance(record, _Carrier):
        if record.identity is not None:
            return record.identity.config
        if record.control is not None:
            return record.control.config
    return None


def is_lease(record: object) -> bool:
    """Return whether a record grants budgets."""
    control = control_of(record)
    return control is not None and control.kind == "lease"


def timer_record(topic: str, key: str, due_at: int, now_ms: int, config: str) -> Emit:
    """Return the record that fires the timer of the row `key` on the stage's input `topic`.

    `due_at`, `now_ms`: the timer's time, and the present (epoch ms); `config`: the digest in force.
    """
    control = Control(
        control_id=control_id(key, "timer", str(due_at)),
        kind="timer",
        at=now_ms,
        cause=key,
        config=config,
        due_at=due_at,
    )
    return Emit(topic, key, _CARRIERS[topic](control=control))
