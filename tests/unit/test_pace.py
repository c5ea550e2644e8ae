"""Number of a bulk writer's records in flight through the stages."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.home.pace import RoundTripWindow

_PROBE_COUNT = 4


def _run_stages(
    window: RoundTripWindow, records_per_s: float, idle_trip_s: float, duration_s: float
) -> int:
    """Run stages under the window for `duration_s`, and return the number of records processed.

    Idle stages pass a record from end to end in `idle_trip_s`."""
    now_s = free_at_s = 0.0
    write_count = pass_count = 0
    probes: deque[tuple[int, float, float]] = deque()
    while now_s < duration_s:
        while write_count - pass_count < window.size:
            count = max(1, window.size // _PROBE_COUNT)
            write_count += count
            free_at_s = max(free_at_s, now_s) + count / records_per_s
            probes.append((write_count, now_s, free_at_s + idle_trip_s))
        pass_count, sent_s, now_s = probes.popleft()
        window.note(sent_s, now_s)
    return pass_count


@settings(deadline=None, max_examples=50)
@given(st.floats(300, 20_000), st.floats(0.003, 0.03))
def test_window_keeps_stages_busy_with_little_waiting(
    records_per_s: float, idle_trip_s: float
) -> None:
    window = RoundTripWindow()
    _run_stages(window, records_per_s, idle_trip_s, 3)
    count = _run_stages(window, records_per_s, idle_trip_s, 5)
    assert count > 0.75 * records_per_s * 5
    assert window.size / records_per_s < 1.5 * (idle_trip_s + 2 / records_per_s) + 0.01


def test_slow_stages_get_few_records_in_flight() -> None:
    # The window is large enough to measure the time of a record, and adds no waiting.
    window = RoundTripWindow()
    assert _run_stages(window, records_per_s=20, idle_trip_s=0.1, duration_s=60) > 0.6 * 20 * 60
    assert window.size < 24


def test_single_late_round_trips_leave_the_window_large() -> None:
    # A stage's garbage collection or a broker that syncs its disk makes single round trips late.
    window, now_s = RoundTripWindow(), 0.0
    for number in range(1_000):
        now_s += 0.01
        window.note(now_s - (0.3 if number % 4 == 3 else 0.01), now_s)
    assert window.size > 100
