"""What is done to a stack while it works."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeAlias

import msgspec
import pytest
from confluent_kafka import Producer

from pipeline.adapters.avro import open_codec
from pipeline.flow import STAGES
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from tests.chaos.stack import ADAPTER, GATEWAY, WORKERS, Stack, worker

Fault: TypeAlias = Callable[[Stack, Random], None]
_SETTLE_S = 3.0


def nothing(stack: Stack, random: Random) -> None:
    """For comparison."""
    time.sleep(5)


def worker_kill(stack: Stack, random: Random) -> None:
    for _ in range(3):
        _kill_a_worker(stack, random)


def worker_term(stack: Stack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    stack.terminate(name)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def worker_stopped_beyond_its_session(stack: Stack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    process = stack.process(name)
    process.send_signal(signal.SIGSTOP)
    time.sleep(stack.settings.session_timeout_ms / 1000 + 3)
    process.send_signal(signal.SIGCONT)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def adapter_kill(stack: Stack, random: Random) -> None:
    for _ in range(3):
        stack.kill(ADAPTER)
        time.sleep(random.uniform(1, 3))
        stack.wait_until_ready(ADAPTER)


def adapters_come_and_go(stack: Stack, random: Random) -> None:
    """A second one joins and is killed for good; beside a third the first is killed."""
    with stack.another_adapter() as other:
        time.sleep(_SETTLE_S)
        other.kill()
    with stack.another_adapter():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def ledger_deleted(stack: Stack, random: Random) -> None:
    """The adapter is killed, and what it knows to be delivered is gone."""
    for _ in range(3):
        with stack.kept_down(ADAPTER):
            shutil.rmtree(stack.ledger)
        time.sleep(random.uniform(1, 3))
        stack.wait_until_ready(ADAPTER)


def answers_lost(stack: Stack, random: Random) -> None:
    """The receiver has taken what the adapter does not know of; it is killed over that."""
    with stack.inbox.losing_answers():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def gateway_kill(stack: Stack, random: Random) -> None:
    for _ in range(3):
        _kill_the_gateway(stack, random)


def broker_kill(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def broker_restart(stack: Stack, random: Random) -> None:
    stack.kairos("broker", "stop")
    stack.start_broker()
    time.sleep(_SETTLE_S)


def broker_away_for_a_minute(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    time.sleep(60)
    stack.start_broker()
    time.sleep(_SETTLE_S)


def members_come_and_go(stack: Stack, random: Random) -> None:
    stack.up(WORKERS + 1)
    time.sleep(_SETTLE_S)
    stack.up(WORKERS)
    time.sleep(_SETTLE_S)


def state_deleted(stack: Stack, random: Random) -> None:
    instance = random.randrange(WORKERS)
    with stack.kept_down(worker(instance)):
        stack.delete_state(instance)
    time.sleep(1)
    stack.wait_until_ready(worker(instance))


def state_damaged(stack: Stack, random: Random) -> None:
    instance = random.randrange(WORKERS)
    with stack.kept_down(worker(instance)):
        for stage in STAGES:
            tables = list(stack.state(stage.name, instance).rglob("*.sst"))
            manifests = list(stack.state(stage.name, instance).rglob("MANIFEST-*"))
            for file in (tables or manifests)[:1]:
                _overwrite(file, random)
    time.sleep(1)
    stack.wait_until_ready(worker(instance))


def disk_full(stack: Stack, random: Random) -> None:
    """One worker's state is on a small disk, which is full for ten seconds."""
    instance = random.randrange(WORKERS)
    folder = stack.state("enrichment", instance)
    aside = folder.with_name(f"{folder.name}.aside")
    with stack.kept_down(worker(instance)):
        folder.rename(aside)
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
        )
        shutil.copytree(aside, folder, dirs_exist_ok=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.strip()}")
    try:
        _fill(folder / "filler")
        time.sleep(10)
        (folder / "filler").unlink()
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(worker(instance))
    finally:
        with stack.kept_down(worker(instance)):
            subprocess.run(["umount", str(folder)], check=True)
            shutil.rmtree(aside)
    stack.wait_until_ready(worker(instance))


def poison(stack: Stack, random: Random) -> None:
    """An upstream app writes what nobody can read, one in a hundred or more."""
    producer = _producer(stack)
    good = _interaction(stack, "poison-good", 0)
    future = msgspec.structs.replace(good, received_at=good.received_at + DAY_MS)
    nobody = msgspec.structs.replace(good, event_id="poison-nobody", identifiers=())
    stranger = msgspec.structs.replace(
        good, event_id="poison-stranger", identifiers=(Identifier("telepathy", "x"),)
    )
    encode = open_codec(stack.settings).encode
    encoded = encode(topics.INTERACTIONS, good)
    kinds: list[tuple[bytes | None, bytes | None]] = [
        (b"customer_id:poison", b"no Avro at all"),
        (b"customer_id:poison", b""),
        (b"customer_id:poison", None),
        (b"customer_id:poison", b"\x00\x7f\xff\xff\xff" + encoded[5:]),
        (b"customer_id:poison", encoded[: len(encoded) // 2]),
        (b"customer_id:poison", b"\x01" + encoded[1:]),
        (b"\xff\xfe\xfd", encoded),
        (b"customer_id:poison", encode(topics.INTERACTIONS, future)),
        (b"customer_id:poison", encode(topics.INTERACTIONS, nobody)),
        (b"telepathy:x", encode(topics.INTERACTIONS, stranger)),
    ]
    for _ in range(6):
        for key, value in kinds:
            producer.produce(topics.INTERACTIONS, value, key)
        producer.flush(30)
        time.sleep(0.5)


def copies_a_day_late(stack: Stack, random: Random) -> None:
    """An upstream app sends yesterday's interactions, some of them again today, shuffled."""
    yesterday = int(time.time() * 1000) - DAY_MS
    originals = [_interaction(stack, f"late-{number}", yesterday + number) for number in range(500)]
    copies = [
        msgspec.structs.replace(one, received_at=one.received_at + DAY_MS)
        for one in random.sample(originals, 50)
    ]
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    random.shuffle(copies)
    for one in (*originals, *copies):
        value = encode(topics.INTERACTIONS, one)
        producer.produce(topics.INTERACTIONS, value, one.identifiers[0].key)
    assert producer.flush(30) == 0


def wrong_partitions(stack: Stack, random: Random) -> None:
    """An upstream app has a partitioner of its own, and is killed workers' guest."""
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    now = int(time.time() * 1000)
    for number in range(400):
        one = _interaction(stack, f"lost-{number}", now + number)
        value = encode(topics.INTERACTIONS, one)
        partition = random.randrange(stack.partitions)
        producer.produce(topics.INTERACTIONS, value, one.identifiers[0].key, partition)
        if number == 200:
            producer.flush(30)
            worker_kill(stack, random)
    assert producer.flush(30) == 0


def killed_at(point: str) -> Fault:
    """A worker is killed, and when it is there again once more, at a named point."""

    def killed(stack: Stack, random: Random) -> None:
        instance = random.randrange(WORKERS)
        stack.kill_at(point, instance)
        stack.wait_until_ready(worker(instance))

    killed.__name__ = re.sub(r"\W+", "_", point)
    return killed


FAULTS: tuple[Fault, ...] = (
    nothing,
    worker_kill,
    worker_term,
    worker_stopped_beyond_its_session,
    adapter_kill,
    adapters_come_and_go,
    ledger_deleted,
    answers_lost,
    gateway_kill,
    broker_kill,
    broker_restart,
    broker_away_for_a_minute,
    members_come_and_go,
    state_deleted,
    state_damaged,
    disk_full,
    poison,
    copies_a_day_late,
    wrong_partitions,
)


def a_bad_week(stack: Stack, random: Random) -> None:
    """Kills of all kinds, in any order."""
    blows: list[Fault] = [
        *30 * [_kill_a_worker],
        *20 * [_kill_the_gateway],
        *5 * [broker_kill],
        *2 * [state_deleted],
    ]
    random.shuffle(blows)
    for blow in blows:
        blow(stack, random)


def _kill_a_worker(stack: Stack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    stack.kill(name)
    time.sleep(random.uniform(1, 5))
    stack.wait_until_ready(name)


def _kill_the_gateway(stack: Stack, random: Random) -> None:
    stack.kill(GATEWAY)
    time.sleep(random.uniform(1, 3))
    stack.wait_until_ready(GATEWAY)


def _interaction(stack: Stack, name: str, at_ms: int) -> Interaction:
    at_ms = at_ms or int(time.time() * 1000)
    return Interaction(
        event_id=name,
        kind="track",
        name="Viewed",
        channel="web",
        source="upstream",
        occurred_at=at_ms,
        received_at=at_ms,
        identifiers=(Identifier("customer_id", name),),
        properties={"page": "cart"},
    )


def _producer(stack: Stack) -> Producer:
    return Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})


def _overwrite(file: Path, random: Random) -> None:
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 3)
        damaged.write(random.randbytes(512))


def _fill(file: Path) -> None:
    with file.open("wb") as filler:
        try:
            while True:
                filler.write(bytes(65_536))
                filler.flush()
        except OSError:
            os.fsync(filler.fileno())
