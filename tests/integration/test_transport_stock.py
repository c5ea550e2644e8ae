"""Stock Faust agents work on our transport."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.chain import Worker, eventually, has_committed_all, produce, read_all
from tests.support.chain_worker import Plan

PARTITIONS = 4


def test_future_of_a_sent_record_resolves_to_its_offset(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    make_topic("0", PARTITIONS)
    make_topic("1", PARTITIONS)
    plan = Plan(
        bootstrap=bootstrap, home=str(tmp_path), prefix=prefix, partitions=PARTITIONS, hops=1
    )
    worker = Worker(plan, tmp_path / "worker.log", "tests.support.stock_worker")
    worker.wait_until_ready()
    produce(bootstrap, f"{prefix}.0", [(b"a", b"1"), (b"b", b"10"), (b"a", b"2")])
    eventually(lambda: has_committed_all(plan))
    assert worker.terminate() == 0
    assert worker.output().count(f"sent {prefix}.1") == 3
    outputs: list[Any] = read_all(bootstrap, f"{prefix}.1", PARTITIONS)
    assert [m.value() for m in outputs if m.key() == b"a"] == [b"2", b"4"]
    assert [m.value() for m in outputs if m.key() == b"b"] == [b"20"]
