"""Agents chained over Kafka on our transport and store: faults lose no record and no state."""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.adapters.murmur2 import murmur2_partition
from tests.support.chain import (
    Worker,
    committed_offsets,
    ends,
    eventually,
    has_committed_all,
    produce,
    read_all,
    read_rows,
    workers,
)
from tests.support.chain_worker import ASSIGNMENT, Plan, decode_row
from tests.support.doom import POINTS

PARTITIONS = 4
HOPS = 2
KEYS = 97
_LONG_SESSION_MS = 45_000
"""Session within which a killed worker is back, however busy the machine is."""


@pytest.fixture
def plan(bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]) -> Plan:
    for number in range(HOPS + 1):
        make_topic(str(number), PARTITIONS)
    return Plan(
        bootstrap=bootstrap,
        home=str(tmp_path),
        prefix=prefix,
        partitions=PARTITIONS,
        hops=HOPS,
        session_timeout_ms=3_000,
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Plan], Worker]]:
    with workers(tmp_path) as start_worker:
        yield start_worker


def _records(start_number: int, count: int) -> list[tuple[bytes, bytes]]:
    return [(b"key-%d" % (n % KEYS), b"%d" % n) for n in range(start_number, start_number + count)]


def _outputs(plan: Plan) -> list[Any]:
    return read_all(plan.bootstrap, f"{plan.prefix}.{HOPS}", PARTITIONS)


def _states(plan: Plan, instance: str = "0") -> list[dict[bytes, bytes]]:
    state = Path(plan.home) / "state"
    return [read_rows(state / f"hop{hop}" / instance / "counts") for hop in range(plan.hops)]


def _counts(states: list[dict[bytes, bytes]]) -> list[Counter[bytes]]:
    return [
        Counter({key: decode_row(value).count for key, value in state.items()}) for state in states
    ]


def test_records_pass_every_hop_once_with_headers_in_the_partition_of_their_key(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    worker = start(plan)
    worker.wait_until_ready()
    key_counts = produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 500))
    eventually(lambda: has_committed_all(plan))
    outputs = _outputs(plan)
    assert sorted(output.value() for output in outputs) == sorted(v for _, v in _records(0, 500))
    assert {m.partition() == murmur2_partition(m.key(), PARTITIONS) for m in outputs} == {True}
    headers = outputs[0].headers()
    assert headers[:-1] == [("origin", b"test"), ("hop", b"0"), ("hop", b"1")]
    assert worker.terminate() == 0
    assert _counts(_states(plan)) == [key_counts] * HOPS


def test_sigterm_commits_and_persists_processed_inputs(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 20_000))
    worker = start(plan)
    worker.wait_until_ready()
    assert worker.terminate() == 0
    offsets = committed_offsets(
        plan.bootstrap, f"{plan.prefix}.hop0", f"{plan.prefix}.0", PARTITIONS
    )
    count = sum(_counts(_states(plan))[0].values())
    assert sum(offsets) == count == sum(ends(plan.bootstrap, f"{plan.prefix}.1", PARTITIONS))


def test_workers_killed_under_load_lose_nothing_count_once_and_send_once(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    key_counts: Counter[bytes] = Counter()
    worker = start(plan)
    for kill in range(3):
        worker.wait_until_ready()
        key_counts += produce(plan.bootstrap, f"{plan.prefix}.0", _records(kill * 1000, 1000))
        time.sleep(random.Random(kill).uniform(0.0, 0.6))
        worker.kill()
        worker = start(plan)
    eventually(lambda: has_committed_all(plan))
    assert sorted(m.value() for m in _outputs(plan)) == sorted(v for _, v in _records(0, 3000))
    worker.wait_until_ready()  # no input may be uncommitted at the last kill
    assert worker.terminate() == 0
    assert _counts(_states(plan)) == [key_counts] * HOPS


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_kill_at_each_point_of_the_protocol_loses_nothing_and_doubles_nothing(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    key_counts: Counter[bytes] = Counter()
    for number, point in enumerate(POINTS):
        key_counts += produce(plan.bootstrap, f"{plan.prefix}.0", _records(number * 1000, 1000))
        worker = start(msgspec.structs.replace(plan, doom=point))
        assert worker.process.wait(120) == -signal.SIGKILL, f"{point}: {worker.output()}"
    worker = start(plan)
    eventually(lambda: worker.output().count("READY") == HOPS and has_committed_all(plan))
    records = _records(0, 1000 * len(POINTS))
    assert sorted(m.value() for m in _outputs(plan)) == sorted(v for _, v in records)
    assert worker.terminate() == 0
    assert _counts(_states(plan)) == [key_counts] * HOPS


def test_state_that_was_deleted_is_rebuilt_equal(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    worker = start(plan)
    produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 3000))
    eventually(lambda: worker.output().count("READY") == HOPS and has_committed_all(plan))
    assert worker.terminate() == 0
    first_states = _states(plan)
    shutil.rmtree(Path(plan.home) / "state")
    worker = start(plan)
    worker.wait_until_ready()
    assert worker.terminate() == 0
    assert _states(plan) == first_states


def test_damaged_file_is_noticed_and_the_state_rebuilt(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    worker = start(plan)
    key_counts = produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 3000))
    eventually(lambda: worker.output().count("READY") == HOPS and has_committed_all(plan))
    worker.kill()
    for table in (Path(plan.home) / "state" / "hop0" / "0" / "counts").iterdir():
        for name in ("MANIFEST-*", "*.sst"):
            for file in table.glob(name):
                file.write_bytes(b"\xde\xad\xbe\xef" * 64)
    worker = start(plan)
    worker.wait_until_ready()
    assert "rebuilt" in worker.output()
    key_counts += produce(plan.bootstrap, f"{plan.prefix}.0", _records(3000, 500))
    eventually(lambda: has_committed_all(plan))
    assert worker.terminate() == 0
    assert _counts(_states(plan)) == [key_counts] * HOPS


def test_members_that_join_and_leave_share_the_partitions(
    plan: Plan, start: Callable[[Plan], Worker]
) -> None:
    first_worker = start(plan)
    first_worker.wait_until_ready()
    produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 1000))
    second_worker = start(msgspec.structs.replace(plan, instance="1"))
    second_worker.wait_until_ready()
    produce(plan.bootstrap, f"{plan.prefix}.0", _records(1000, 1000))
    eventually(lambda: has_committed_all(plan))
    assert second_worker.terminate() == 0
    produce(plan.bootstrap, f"{plan.prefix}.0", _records(2000, 1000))
    eventually(lambda: has_committed_all(plan))
    assert first_worker.terminate() == 0
    assert _counts(_states(plan)) == [Counter(k for k, _ in _records(0, 3000))] * HOPS
    assert _counts(_states(plan, "1"))[0].total() > 0


@pytest.mark.parametrize("victim", ["0", "1"], ids=["leader", "follower"])
def test_worker_back_within_its_session_moves_no_partitions(
    plan: Plan, start: Callable[[Plan], Worker], victim: str
) -> None:
    single_hop_plan = msgspec.structs.replace(plan, hops=1, session_timeout_ms=_LONG_SESSION_MS)
    plans = {name: msgspec.structs.replace(single_hop_plan, instance=name) for name in ("0", "1")}
    workers_by_name: dict[str, Worker] = {}
    for name, member in plans.items():  # the first to join leads the group
        workers_by_name[name] = start(member)
        workers_by_name[name].wait_until_ready()
    eventually(
        lambda: (
            {_last_assignment(process) for process in workers_by_name.values()} == {"0 1", "2 3"}
        )
    )
    victim_partitions = _last_assignment(workers_by_name[victim])
    [other_worker] = (worker for name, worker in workers_by_name.items() if name != victim)
    other_rebalances = other_worker.rebalances()

    key_counts = produce(plan.bootstrap, f"{plan.prefix}.0", _records(0, 1000))
    eventually(lambda: has_committed_all(single_hop_plan))
    workers_by_name[victim].kill()
    key_counts += produce(plan.bootstrap, f"{plan.prefix}.0", _records(1000, 1000))
    eventually(lambda: len(_uncommitted_partitions(single_hop_plan)) == PARTITIONS // 2)
    assert " ".join(map(str, _uncommitted_partitions(single_hop_plan))) == victim_partitions
    workers_by_name[victim] = start(plans[victim])
    eventually(lambda: has_committed_all(single_hop_plan))

    assert workers_by_name[victim].rebalances() == [f"{ASSIGNMENT} hop0 {victim_partitions}"]
    assert other_worker.rebalances() == other_rebalances
    outputs = read_all(plan.bootstrap, f"{plan.prefix}.1", PARTITIONS)
    assert sorted(output.value() for output in outputs) == sorted(v for _, v in _records(0, 2000))
    for worker in workers_by_name.values():
        assert worker.terminate() == 0
    counts = (_counts(_states(single_hop_plan, name))[0] for name in workers_by_name)
    assert sum(counts, Counter()) == key_counts


def _last_assignment(worker: Worker) -> str:
    """Return the partitions of the worker's last assignment."""
    return "".join(worker.rebalances()[-1:]).removeprefix(f"{ASSIGNMENT} hop0 ")


def _uncommitted_partitions(plan: Plan) -> list[int]:
    """Return the partitions of the first hop's input that are not committed to their ends."""
    group, topic = f"{plan.prefix}.hop0", f"{plan.prefix}.0"
    offsets = committed_offsets(plan.bootstrap, group, topic, PARTITIONS)
    end_offsets = ends(plan.bootstrap, topic, PARTITIONS)
    return [number for number in range(PARTITIONS) if offsets[number] < end_offsets[number]]
