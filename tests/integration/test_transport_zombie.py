"""Records in the queue of a worker that was stopped while another took over are ignored."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.chain import (
    Worker,
    ends,
    eventually,
    has_committed_all,
    produce,
    read_rows,
    workers,
)
from tests.support.chain_worker import Plan, decode_row

_KEYS = 20
_SESSION_MS = 3_000
# Records stay in the queue of the stopped worker for as long as they linger; a busy machine needs
# long for the steps before the stop.
_LINGER_S = 10
_LINGER = {"linger.ms": f"{_LINGER_S}000"}
_PROCESSING_S = 3.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Plan], Worker]]:
    with workers(tmp_path) as start_worker:
        yield start_worker


class _Hop:
    """One hop, owned by a worker and then by its successors; `counts`: numbers of records sent, by
    key."""

    def __init__(self, plan: Plan, start: Callable[[Plan], Worker]) -> None:
        self._plan, self._start = plan, start
        self.counts: Counter[bytes] = Counter()

    def start(self, **changes: Any) -> Worker:
        return self._start(msgspec.structs.replace(self._plan, **changes))

    def start_successor(self) -> Worker:
        return self.start(instance="1")

    def send(self, number: int, key_count: int = _KEYS) -> None:
        records = [(b"key-%d" % key, b"%d-%d" % (number, key)) for key in range(key_count)]
        self.counts.update(produce(self._plan.bootstrap, f"{self._plan.prefix}.0", records))

    def wait_until_committed(self) -> None:
        eventually(lambda: has_committed_all(self._plan))

    def restart_until_committed(self, successor: Worker) -> Worker:
        """Start the successor again whenever it ends, until all is committed; return the last."""
        while not has_committed_all(self._plan):
            if successor.process.poll() is not None:
                successor = self.start_successor()
            time.sleep(0.1)
        return successor

    def read_changelog_end(self) -> int:
        changelog = f"{self._plan.prefix}.hop0-counts-changelog"
        return ends(self._plan.bootstrap, changelog, 1)[0]

    def check_rebuilt_counts(self, number: int) -> None:
        """Rebuild the successor's state from the changelog, count one more record, and check the
        counts."""
        state = Path(self._plan.home, "state", "hop0", "1")
        shutil.rmtree(state)
        successor = self.start_successor()
        self.send(number, key_count=1)
        self.wait_until_committed()
        assert successor.terminate() == 0
        counts = {key: decode_row(row).count for key, row in read_rows(state / "counts").items()}
        assert counts == self.counts


@pytest.mark.chaos
def test_rows_of_a_stopped_worker_behind_its_successors_are_void(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    make_topic: Callable[..., str],
    start: Callable[[Plan], Worker],
) -> None:
    for name in ("0", "1"):
        make_topic(name)
    plan = Plan(
        bootstrap=bootstrap,
        home=str(tmp_path),
        prefix=prefix,
        partitions=1,
        hops=1,
        session_timeout_ms=_SESSION_MS,
    )
    hop = _Hop(plan, start)
    zombie, leave_time_s = _stop_with_rows_in_its_queue(hop)
    successor = hop.start_successor()
    hop.wait_until_committed()
    hop.send(2)
    hop.wait_until_committed()

    end = hop.read_changelog_end()
    time.sleep(max(leave_time_s - time.monotonic(), 0))
    zombie.process.send_signal(signal.SIGCONT)
    assert zombie.process.wait(120) == 1
    assert hop.read_changelog_end() >= end + _KEYS, "the stopped worker's queue was empty"
    hop.send(3, key_count=1)
    successor = hop.restart_until_committed(successor)
    assert successor.terminate() == 0
    for number in (4, 5):  # for redelivered inputs, then for rows that were written once more
        hop.check_rebuilt_counts(number)


def _stop_with_rows_in_its_queue(hop: _Hop) -> tuple[Worker, float]:
    """Stop a worker that has processed records and not sent their rows; return the worker, and the
    time (s, monotonic) at which the rows would leave."""
    worker = hop.start(librdkafka=_LINGER)
    worker.wait_until_ready()
    hop.send(0)
    hop.wait_until_committed()
    hop.send(1)
    time.sleep(_PROCESSING_S)
    worker.process.send_signal(signal.SIGSTOP)
    return worker, time.monotonic() + _LINGER_S
