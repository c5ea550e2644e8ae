"""Committable offsets where transaction markers are between and behind the records."""

from collections import defaultdict

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.progress import CommitProgress

_TP = TP("in", 0)
_STEPS = st.sampled_from(["record", "marker", "acknowledge", "acknowledge", "commit"])


class _Log:
    """Partition whose records agents acknowledge in any order."""

    def __init__(self) -> None:
        self.acks: defaultdict[TP, set[int]] = defaultdict(set)
        self.progress = CommitProgress(self.acks, defaultdict(list))
        self.end = self.committed = 0
        self.open: list[int] = []

    def step(self, kind: str, choice: int) -> None:
        if kind == "record":
            self.progress.record_delivery(_TP, self.end)
            self.open.append(self.end)
            self.end += 1
        elif kind == "marker":
            self.end += 1
            self.progress.record_skip(_TP, self.end)
        elif kind == "acknowledge" and self.open:
            self.acks[_TP].add(self.open.pop(choice % len(self.open)))
        elif kind == "commit":
            self.commit()

    def commit(self) -> None:
        offsets = self.progress.committable_offsets()
        assert (
            self.committed <= offsets.get(_TP, self.committed) <= min(self.open, default=self.end)
        )
        self.committed = offsets.get(_TP, self.committed)
        self.progress.record_commit(offsets)


@given(st.lists(st.tuples(_STEPS, st.integers(0, 5)), max_size=40))
def test_only_finished_events_are_committed_and_all_in_the_end(
    steps: list[tuple[str, int]],
) -> None:
    log = _Log()
    for kind, choice in steps:
        log.step(kind, choice)
    while log.open:
        log.step("acknowledge", 0)
    assert log.progress.has_committable_offsets is (log.committed < log.end)
    log.commit()
    assert log.committed == log.end
    assert not log.progress.has_committable_offsets
