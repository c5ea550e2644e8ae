"""A fatal fault ends a worker at once, with a clear message and without a commit of unprocessed
inputs."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from agents.app import App, AppOptions, create_app
from tests.support.chain import (
    Worker,
    committed_offsets,
    ends,
    eventually,
    has_committed_all,
    produce,
    workers,
)
from tests.support.chain_worker import FAULTY_VALUE, Plan


@pytest.fixture
def plan(bootstrap: str, prefix: str, tmp_path: Path) -> Plan:
    return Plan(bootstrap=bootstrap, home=str(tmp_path), prefix=prefix, partitions=1, hops=1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Plan], Worker]]:
    with workers(tmp_path) as start_worker:
        yield start_worker


_RECORDS = 1_000
_LINGER_MS = 2_000


def _exit_code(worker: Worker) -> int:
    return worker.process.wait(120)


def test_record_that_cannot_be_delivered_ends_the_process_uncommitted(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    source = make_topic("0")
    make_topic("1", max_message_bytes="500")
    worker = start(plan)
    worker.wait_until_ready()
    produce(plan.bootstrap, source, [(b"k", b"fits")])
    eventually(lambda: has_committed_all(plan))
    produce(plan.bootstrap, source, [(b"k", b"x" * 1000), (b"k", b"later")])
    assert _exit_code(worker) == 1
    assert "was not delivered" in worker.last_line()
    assert committed_offsets(plan.bootstrap, f"{plan.prefix}.hop0", source, 1) == [1]


def test_changelog_with_too_small_a_limit_of_records_ends_the_process_at_its_start(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    make_topic("0")
    make_topic("1")
    changelog = make_topic("hop0-counts-changelog", max_message_bytes="1000000")
    worker = start(plan)
    assert _exit_code(worker) == 1
    assert f"topic {changelog} takes records of 1000000 bytes" in worker.last_line()


def test_worker_that_was_away_beyond_its_session_ends(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    make_topic("0")
    make_topic("1")
    session_ms = 3_000
    worker = start(msgspec.structs.replace(plan, session_timeout_ms=session_ms))
    worker.wait_until_ready()
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(session_ms / 1000 + 1)
    worker.process.send_signal(signal.SIGCONT)
    assert _exit_code(worker) == 1
    assert "was lost" in worker.last_line()


def test_worker_whose_instance_was_taken_over_ends(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    make_topic("0")
    make_topic("1")
    first_worker = start(plan)
    first_worker.wait_until_ready()
    second_worker = start(msgspec.structs.replace(plan, home=f"{plan.home}/other"))
    second_worker.wait_until_ready()
    assert _exit_code(first_worker) == 1
    assert "fenced" in first_worker.last_line()
    assert second_worker.process.poll() is None


def test_second_worker_on_the_same_state_names_the_holder(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    make_topic("0")
    make_topic("1")
    start(plan).wait_until_ready()
    second_worker = start(plan)
    assert _exit_code(second_worker) == 1
    assert "is in use" in second_worker.last_line()


def test_exception_in_an_agent_ends_the_process_uncommitted(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    source = make_topic("0")
    make_topic("1")
    worker = start(plan)
    worker.wait_until_ready()
    produce(plan.bootstrap, source, [(b"k", b"good"), (b"k", FAULTY_VALUE), (b"k", b"later")])
    assert _exit_code(worker) == 1
    assert "asked to raise" in worker.last_line()
    assert committed_offsets(plan.bootstrap, f"{plan.prefix}.hop0", source, 1)[0] <= 1


def test_worker_ends_where_the_log_has_lost_records_that_were_read(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    source = make_topic("0")
    make_topic("1")
    produce(plan.bootstrap, source, [(b"k", b"new")] * 3)
    settings = {"bootstrap.servers": plan.bootstrap, "group.id": f"{plan.prefix}.hop0"}
    consumer = Consumer(settings)
    consumer.commit(offsets=[TopicPartition(source, 0, 10)], asynchronous=False)
    consumer.close()
    worker = start(plan)
    assert _exit_code(worker) == 1
    assert f"{source}, partition 0, has offset 0 after 9" in worker.last_line()


def test_worker_stopped_during_its_start_exits_cleanly(
    plan: Plan, start: Callable[[Plan], Worker], make_topic: Callable[..., str]
) -> None:
    make_topic("0")
    make_topic("1")
    for steps in range(5):
        worker = start(plan)
        eventually(lambda worker=worker: "start" in worker.output())  # type: ignore[misc]
        time.sleep(steps * 0.08)
        assert worker.terminate() == 0, worker.output()


@pytest.mark.parametrize(
    ("value_bytes", "limits"),
    [(4, {"max_undelivered_records": 100}), (10_240, {"max_undelivered_kib": 1_000})],
    ids=["records", "bytes"],
)
def test_pump_waits_for_a_congested_producer(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    make_topic: Callable[..., str],
    value_bytes: int,
    limits: dict[str, int],
) -> None:
    source, target = make_topic("0"), make_topic("1")
    produce(bootstrap, source, [(b"k", b"x" * value_bytes) for _ in range(_RECORDS)])
    options = AppOptions(
        bootstrap_servers=bootstrap,
        home=tmp_path,
        partitions=1,
        group_prefix=prefix,
        librdkafka={"linger.ms": "100"},  # so that records pile up
    )
    app = create_app("hop0", options, stream_buffer_maxsize=64)
    app.transport_options = replace(app.transport_options, **limits)
    depths = asyncio.run(
        # Looked up late, since the producer is made in the event loop.
        _queue_depths(
            app, source, target, _RECORDS, lambda _: cast(Any, app.producer).queue_depth()
        )
    )
    assert max(depths) <= 100 + 2 * 64


def test_agent_gets_large_records_one_at_a_time(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source, target = make_topic("0"), make_topic("1")
    produce(bootstrap, source, [(b"k", b"x" * 70_000) for _ in range(50)])
    options = AppOptions(bootstrap_servers=bootstrap, home=tmp_path, partitions=1)
    app = create_app(f"{prefix}.large", options)
    depths = asyncio.run(_queue_depths(app, source, target, 50, lambda queue: queue.qsize()))
    assert depths == [0] * 50


def test_records_queued_when_a_worker_fails_never_leave(
    bootstrap: str, prefix: str, tmp_path: Path, make_topic: Callable[..., str]
) -> None:
    source, target = make_topic("0"), make_topic("1")
    produce(bootstrap, source, [(b"k", b"v")])
    options = AppOptions(
        bootstrap_servers=bootstrap,
        home=tmp_path,
        partitions=1,
        librdkafka={"linger.ms": f"{_LINGER_MS}"},  # so that they are queued for a while
    )
    asyncio.run(_fail_over_full_queue(create_app(f"{prefix}.failing", options), source, target))
    assert ends(bootstrap, target, 1) == [0]


async def _fail_over_full_queue(app: App, source: str, target: str) -> None:
    """Run an agent that fails over a full queue; wait for longer than records linger there."""
    sent_event = asyncio.Event()

    producer: Any = app.producer

    @app.agent(app.raw_topic(source))
    async def multiply(stream: Any) -> None:
        async for event in stream.events():
            for _ in range(_RECORDS):
                producer.send_raw(target, event.key, event.value)
            sent_event.set()

    async with asyncio.timeout(120):
        await app.start()
        await sent_event.wait()
        assert producer.queue_depth() == _RECORDS
        app.fail(RuntimeError("asked to fail"))
        await asyncio.sleep(_LINGER_MS / 1000 + 0.5)
        await app.stop()


async def _queue_depths(
    app: App, source: str, target: str, count: int, measure: Callable[[Any], int]
) -> list[int]:
    """Return the depth of a queue at each event, as `measure` returns it for the agent's queue."""
    depths: list[int] = []
    end_event = asyncio.Event()

    @app.agent(app.raw_topic(source))
    async def forward(stream: Any) -> None:
        async for event in stream.events():
            app.producer.send_raw(target, event.key, event.value)  # type: ignore[attr-defined]
            depths.append(measure(stream.channel.queue))
            if len(depths) == count:
                end_event.set()

    async with asyncio.timeout(120):
        await app.start()
        await end_event.wait()
        await app.stop()
    return depths
