"""Every input that changes no state is counted once, by its outcome."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from pipeline.model import sizes, topics
from pipeline.model.outcome import DeadLetter, Drop, Emit, Outcome, Redirect
from tests.support.timer_stage import START_MS, TimerStage

_STAGE = {"stage": "enrichment"}
_COUNTERS = {
    "too-large": ("kairos_stage_dead_letters_total", {**_STAGE, "reason": "too-large"}),
    "because": ("kairos_stage_dead_letters_total", {**_STAGE, "reason": "because"}),
    "late": ("kairos_stage_dropped_total", {**_STAGE, "reason": "late"}),
    "redirected": ("kairos_stage_redirected_total", _STAGE),
}


def _redirect(key: str, record: Any, *_: object) -> Outcome[Any]:
    return Redirect(Emit(topics.IDENTIFIED, key, record))


def _redirect_too_large(key: str, record: Any, *_: object) -> Outcome[Any]:
    large_interaction = msgspec.structs.replace(
        record.interaction, properties={"text": "x" * sizes.RECORD}
    )
    return Redirect(
        Emit(topics.IDENTIFIED, key, msgspec.structs.replace(record, interaction=large_interaction))
    )


@pytest.mark.parametrize(
    ("step", "counter_name"),
    [
        (_redirect, "redirected"),
        (_redirect_too_large, "too-large"),
        (lambda *_: DeadLetter("because", "of a test"), "because"),
        (lambda *_: Drop("late"), "late"),
    ],
)
def test_stateless_outcome_is_counted_once(
    step: Callable[..., Outcome[Any]], counter_name: str
) -> None:
    timer_stage = TimerStage()
    timer_stage.stage = replace(timer_stage.stage, step=step)
    timer_stage.start()
    counts = _counts()
    timer_stage.write_input("ada", START_MS)
    timer_stage.process(1)
    assert {counter for counter, count in _counts().items() if count > counts[counter]} == {
        counter_name
    }
    assert _counts()[counter_name] == counts[counter_name] + 1


def _counts() -> dict[str, float]:
    return {
        counter: REGISTRY.get_sample_value(name, labels) or 0
        for counter, (name, labels) in _COUNTERS.items()
    }
