"""Records in the queue of a worker that was stopped while another took over count for nothing."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.chain import Worker, all_committed, ends, eventually, produce, rows, workers
from tests.support.chain_worker import Plan, decode_row

_KEYS = 20
_SESSION_MS = 3_000
# Records stay in the queue of the stopped worker for as long as they linger; a busy machine needs
# long for the steps before the stop.
_LINGER_S = 10
_LINGER = {"linger.ms": f"{_LINGER_S}000"}
_UNTIL_PROCESSED_S = 3.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Plan], Worker]]:
    with workers(tmp_path) as starting:
        yield starting


@pytest.mark.chaos
def test_rows_of_a_stopped_worker_behind_its_successors_are_void(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    new_topic: Callable[..., str],
    start: Callable[[Plan], Worker],
) -> None:
    source, changelog = new_topic("0"), f"{prefix}.hop0-counts-changelog"
    new_topic("1")
    plan = Plan(
        bootstrap=bootstrap,
        home=str(tmp_path),
        prefix=prefix,
        partitions=1,
        hops=1,
        session_timeout_ms=_SESSION_MS,
    )
    successors = msgspec.structs.replace(plan, instance="1")
    values: Counter[bytes] = Counter()

    def send(number: int, keys: int = _KEYS) -> None:
        records = [(b"key-%d" % key, b"%d-%d" % (number, key)) for key in range(keys)]
        values.update(produce(bootstrap, source, records))

    def restart_until_committed(worker: Worker) -> Worker:
        while not all_committed(plan):
            worker = worker if worker.process.poll() is None else start(successors)
            time.sleep(0.1)
        return worker

    stopped = start(msgspec.structs.replace(plan, librdkafka=_LINGER))
    stopped.wait_until_ready()
    send(0)
    eventually(lambda: all_committed(plan))
    send(1)
    time.sleep(_UNTIL_PROCESSED_S)
    stopped.process.send_signal(signal.SIGSTOP)
    leaves_at = time.monotonic() + _LINGER_S
    successor = start(successors)
    eventually(lambda: all_committed(plan))
    send(2)
    eventually(lambda: all_committed(plan))

    before = ends(bootstrap, changelog, 1)[0]
    time.sleep(max(leaves_at - time.monotonic(), 0))
    stopped.process.send_signal(signal.SIGCONT)
    assert stopped.process.wait(120) == 1
    assert ends(bootstrap, changelog, 1)[0] >= before + _KEYS, "it had nothing in its queue"
    send(3, keys=1)
    successor = restart_until_committed(successor)
    assert successor.terminate() == 0

    for number in range(4, 6):  # what is read again, and what was written again of it
        shutil.rmtree(tmp_path / "state" / "hop0" / "1")
        successor = start(successors)
        send(number, keys=1)
        eventually(lambda: all_committed(plan))
        assert successor.terminate() == 0
        state = rows(tmp_path / "state" / "hop0" / "1" / "counts")
        assert {key: decode_row(row).count for key, row in state.items()} == values
