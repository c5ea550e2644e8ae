"""Outputs pass a barrier in order, each after the rows that were written before it."""

from hypothesis import given
from hypothesis import strategies as st

from agents.transport.changelog_barrier import ChangelogBarrier

_STEPS = st.lists(st.sampled_from(["write", "acknowledge", "send"]), max_size=60)


@given(_STEPS)
def test_output_is_sent_as_soon_as_all_rows_before_it_are_acknowledged(steps: list[str]) -> None:
    barrier = ChangelogBarrier()
    output_numbers: list[int] = []
    row_count = ack_count = 0
    row_counts: list[int] = []
    for step in steps:
        if step == "write":
            barrier.on_write()
            row_count += 1
        elif step == "acknowledge" and ack_count < row_count:
            ack_count += 1
            barrier.on_acknowledgement()
        elif step == "send":
            number = len(row_counts)
            row_counts.append(row_count)
            is_sent_now = barrier.send(lambda number=number: output_numbers.append(number))  # type: ignore[misc]
            assert is_sent_now is (row_count == ack_count)
        due_numbers = [number for number, count in enumerate(row_counts) if count <= ack_count]
        assert output_numbers == due_numbers
        assert barrier.is_holding is (len(due_numbers) < len(row_counts))
