"""Committable offsets where transaction markers are between and behind the records."""

from collections import defaultdict

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.progress import CommitProgress

_TP = TP("in", 0)
_STEPS = st.sampled_from(["record", "marker", "acknowledge", "acknowledge", "commit"])


class _AcknowledgedPartition:
    """Partition whose records agents acknowledge in any order."""

    def __init__(self) -> None:
        self.acks: defaultdict[TP, set[int]] = defaultdict(set)
        self.progress = CommitProgress(self.acks, defaultdict(list))
        self.end = self.committed_end = 0
        self.open_offsets: list[int] = []

    def step(self, kind: str, choice: int) -> None:
        if kind == "record":
            self.progress.record_delivery(_TP, self.end)
            self.open_offsets.append(self.end)
            self.end += 1
        elif kind == "marker":
            self.end += 1
            self.progress.record_skip(_TP, self.end)
        elif kind == "acknowledge" and self.open_offsets:
            self.acks[_TP].add(self.open_offsets.pop(choice % len(self.open_offsets)))
        elif kind == "commit":
            self.commit()

    def commit(self) -> None:
        offsets = self.progress.collect_committable_offsets()
        assert (
            self.committed_end
            <= offsets.get(_TP, self.committed_end)
            <= min(self.open_offsets, default=self.end)
        )
        self.committed_end = offsets.get(_TP, self.committed_end)
        self.progress.record_commit(offsets)


@given(st.lists(st.tuples(_STEPS, st.integers(0, 5)), max_size=40))
def test_only_acknowledged_records_are_committed_and_all_in_the_end(
    steps: list[tuple[str, int]],
) -> None:
    log = _AcknowledgedPartition()
    for kind, choice in steps:
        log.step(kind, choice)
    while log.open_offsets:
        log.step("acknowledge", 0)
    assert log.progress.has_committable_offsets is (log.committed_end < log.end)
    log.commit()
    assert log.committed_end == log.end
    assert not log.progress.has_committable_offsets
