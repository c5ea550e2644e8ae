"""Ids are known throughout the grace, by the log's time, and forgotten at most one grace later."""

from hypothesis import given
from hypothesis import strategies as st

from agents.event_ids import EventIds
from pipeline.model.time import DAY_MS, GRACE_MS
from tests.support.shells import ONLY_PARTITION, InMemoryPorts

_START_MS = 1_900_000_000_000
_PAUSES = st.sampled_from([0, 1, DAY_MS, GRACE_MS // 2, GRACE_MS - 1, GRACE_MS, GRACE_MS + 1])
_RECORDS = st.lists(st.tuples(_PAUSES, st.sampled_from("abcde"), st.booleans()), max_size=60)
"""Records as (time since the one before, id, whether the process restarts before it)."""


@given(_RECORDS, st.integers(0, GRACE_MS - 1))
def test_id_is_known_for_the_grace_after_it_was_added(
    records: list[tuple[int, str, bool]], period_offset_ms: int
) -> None:
    # A known id is not added again: the grace counts from the first event.
    rows, time_ms = InMemoryPorts(), _START_MS + period_offset_ms
    ids, addition_ms = EventIds(rows), dict[str, int]()
    for pause_ms, event_id, is_restarted in records:
        ids = EventIds(rows) if is_restarted else ids
        time_ms += pause_ms
        age_ms = time_ms - addition_ms.get(event_id, time_ms - 3 * GRACE_MS)
        is_known = ids.find(ONLY_PARTITION, event_id, time_ms) is not None
        assert is_known or age_ms > GRACE_MS
        assert not is_known or age_ms < 2 * GRACE_MS
        if not is_known:
            ids.add(ONLY_PARTITION, event_id, time_ms, b"said")
            addition_ms[event_id] = time_ms


@given(_RECORDS)
def test_adding_an_id_again_after_a_kill_changes_nothing(
    records: list[tuple[int, str, bool]],
) -> None:
    # A record that is read again has the same time.
    single_rows, repeated_rows = InMemoryPorts(), InMemoryPorts()
    time_ms = _START_MS
    for pause_ms, event_id, is_repeated in records:
        time_ms += pause_ms
        for rows, addition_count in ((single_rows, 1), (repeated_rows, 2 if is_repeated else 1)):
            for _ in range(addition_count):
                EventIds(rows).add(ONLY_PARTITION, event_id, time_ms, b"said")
        for event_id in "abcde":
            values = [
                EventIds(rows).find(ONLY_PARTITION, event_id, time_ms)
                for rows in (single_rows, repeated_rows)
            ]
            assert values[0] == values[1]


@given(st.integers(1, 2_000))
def test_expired_ids_are_deleted_as_new_ones_are_added(count: int) -> None:
    rows = InMemoryPorts()
    ids = EventIds(rows)
    for number in range(count):
        ids.add(ONLY_PARTITION, f"old-{number}", _START_MS, b"said")
    for number in range(count + 5):
        ids.add(ONLY_PARTITION, f"new-{number}", _START_MS + 3 * GRACE_MS, b"said")
    assert len(rows.rows) == count + 5
