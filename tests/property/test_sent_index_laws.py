"""The sent index reaches back to the first output of uncommitted inputs after any kill, and
contains nothing that was not sent."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.sent_index import SentIndex, first_sent_ms, output_digest

_PARTITIONS = 3
_INPUTS = [TP("in", partition) for partition in range(_PARTITIONS)]

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["comes", "comes", "is processed", "is processed", "commit", "kill"]),
        st.integers(0, _PARTITIONS - 1),
    ),
    min_size=40,
    max_size=120,
)


_Output = tuple[str, bytes, bytes]
"""Topic, key and cause."""
_OUTPUTS = [("out", b"a"), ("out", b"b"), ("dead-letters", b"a")]
"""Possible outputs of an input, by the rules of the worker."""


class _Workers:
    """Successive workers over one log; a step takes a millisecond."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._arrived: dict[TP, list[int]] = {tp: [] for tp in _INPUTS}
        self._sent: dict[_Output, int] = {}
        self._offsets = dict.fromkeys(_INPUTS, 0)
        self._notes = dict.fromkeys(_INPUTS, 0)
        self._start(0)

    def take_step(self, name: str, tp: TP) -> None:
        self._now_ms += 1
        if name == "comes":
            self._arrived[tp].append(self._now_ms)
        elif name == "is processed" and self._reached[tp] < len(self._arrived[tp]):
            self._process(tp)
        elif name == "commit":
            self._commit(tp)
        elif name == "kill":
            self._start(tp.partition)

    def _start(self, number: int) -> None:
        self._destination = _OUTPUTS[number]
        self._reached = dict(self._offsets)
        arrivals = {
            tp: times[self._offsets[tp]]
            for tp, times in self._arrived.items()
            if self._offsets[tp] < len(times)
        }
        since_ms = first_sent_ms(arrivals, self._notes)
        digests = (
            []
            if since_ms is None
            else [output_digest(*output) for output, at in self._sent.items() if at >= since_ms]
        )
        ends = {tp: len(self._arrived[tp]) for tp in arrivals}
        self._index = SentIndex(frozenset(digests), since_ms or 0, ends)

    def _process(self, tp: TP) -> None:
        """Check the law as an input is processed: its outputs are in the log, and were not sent
        twice."""
        output = *self._destination, b"%d %d" % (tp.partition, self._reached[tp])
        self._reached[tp] += 1
        if self._index.contains(*output):
            assert output in self._sent
        else:
            assert output not in self._sent
            self._sent[output] = self._now_ms

    def _commit(self, tp: TP) -> None:
        self._notes[tp] = int(self._index.commit_note(tp, self._reached[tp], self._now_ms))
        self._offsets[tp] = self._reached[tp]
        if self._index.is_obsolete(self._offsets):
            self._index = SentIndex()


@given(_STEPS)
def test_later_workers_suppress_exactly_the_outputs_that_were_sent(
    steps: list[tuple[str, int]],
) -> None:
    workers = _Workers()
    for name, partition in steps:
        workers.take_step(name, _INPUTS[partition])
