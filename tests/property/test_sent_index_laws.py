"""After any kill the sent index contains, of the outputs of uncommitted inputs, exactly those that
were sent."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.sent_index import SentIndex, first_sent_ms, output_digest

_PARTITION_COUNT = 3
_INPUT_PARTITIONS = [TP("in", partition) for partition in range(_PARTITION_COUNT)]

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "arrive", "process", "process", "commit", "kill"]),
        st.integers(0, _PARTITION_COUNT - 1),
    ),
    min_size=40,
    max_size=120,
)


_Output = tuple[str, bytes, bytes]
"""Topic, key and cause."""
_DESTINATIONS = [("out", b"a"), ("out", b"b"), ("dead-letters", b"a")]
"""Topic and key of an input's output; each worker sends every output to one of them."""


class _Workers:
    """Successive workers over one log; a step takes a millisecond."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._arrivals: dict[TP, list[int]] = {tp: [] for tp in _INPUT_PARTITIONS}
        self._send_times: dict[_Output, int] = {}
        self._committed_offsets = dict.fromkeys(_INPUT_PARTITIONS, 0)
        self._commit_notes = dict.fromkeys(_INPUT_PARTITIONS, 0)
        self._start(0)

    def step(self, name: str, tp: TP) -> None:
        self._now_ms += 1
        if name == "arrive":
            self._arrivals[tp].append(self._now_ms)
        elif name == "process" and self._positions[tp] < len(self._arrivals[tp]):
            self._process(tp)
        elif name == "commit":
            self._commit(tp)
        elif name == "kill":
            self._start(tp.partition)

    def _start(self, destination_index: int) -> None:
        self._destination = _DESTINATIONS[destination_index]
        self._positions = dict(self._committed_offsets)
        arrivals = {
            tp: times[self._committed_offsets[tp]]
            for tp, times in self._arrivals.items()
            if self._committed_offsets[tp] < len(times)
        }
        first_ms = first_sent_ms(arrivals, self._commit_notes)
        digests = (
            []
            if first_ms is None
            else [
                output_digest(*output)
                for output, sent_ms in self._send_times.items()
                if sent_ms >= first_ms
            ]
        )
        ends = {tp: len(self._arrivals[tp]) for tp in arrivals}
        self._index = SentIndex(frozenset(digests), first_ms or 0, ends)

    def _process(self, tp: TP) -> None:
        """Process an input, and check the law: the index contains its output exactly if the
        output was sent."""
        output = *self._destination, b"%d %d" % (tp.partition, self._positions[tp])
        self._positions[tp] += 1
        if self._index.contains(*output):
            assert output in self._send_times
        else:
            assert output not in self._send_times
            self._send_times[output] = self._now_ms

    def _commit(self, tp: TP) -> None:
        self._commit_notes[tp] = int(self._index.commit_note(tp, self._positions[tp], self._now_ms))
        self._committed_offsets[tp] = self._positions[tp]
        if self._index.is_obsolete(self._committed_offsets):
            self._index = SentIndex()


@given(_STEPS)
def test_later_workers_suppress_exactly_the_outputs_that_were_sent(
    steps: list[tuple[str, int]],
) -> None:
    workers = _Workers()
    for name, partition in steps:
        workers.step(name, _INPUT_PARTITIONS[partition])
