"""Outputs pass a gate in order, each after the rows that were written before it."""

from hypothesis import given
from hypothesis import strategies as st

from agents.transport.gate import Gate

_STEPS = st.lists(st.sampled_from(["write", "acknowledge", "send"]), max_size=60)


@given(_STEPS)
def test_an_output_is_sent_as_soon_as_all_rows_before_it_are_acknowledged(steps: list[str]) -> None:
    gate = Gate()
    sent: list[int] = []
    written = acknowledged = 0
    waits_for: list[int] = []
    for step in steps:
        if step == "write":
            gate.written()
            written += 1
        elif step == "acknowledge" and acknowledged < written:
            acknowledged += 1
            gate.acknowledged()
        elif step == "send":
            number = len(waits_for)
            waits_for.append(written)
            at_once = gate.send(lambda number=number: sent.append(number))  # type: ignore[misc]
            assert at_once is (written == acknowledged)
        due = [number for number, rows in enumerate(waits_for) if rows <= acknowledged]
        assert sent == due
        assert gate.holds is (len(due) < len(waits_for))
