"""How many controls are given to the stages at once."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.rollout.throttled_feed import next_batch_size

_ROUNDING = 1e-9


def _held(per_record_s: float, empty_s: float) -> list[int]:
    """What is given one after the other, where each takes so long beside a way of its own."""
    given = [5]
    for _ in range(1_000):
        given.append(next_batch_size(given[-1], empty_s + given[-1] * per_record_s))
    return given[100:]


@given(st.floats(0.0001, 0.002))
def test_batch_size_converges_to_the_allowed_wait(per_record_s: float) -> None:
    """Between half and all of what goes in 0.04 s is used."""
    waits = [0.01 + count * per_record_s for count in _held(per_record_s, 0.01)]
    step = 5 * per_record_s + _ROUNDING
    assert max(waits) <= 0.04 + step
    assert min(waits) >= 0.01 + 0.03 / 2 - step


def test_slow_stages_are_fed_minimal_batches() -> None:
    assert set(_held(0.001, 0.5)) == {5}
