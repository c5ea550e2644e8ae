"""Faults to inflict on a stack while it works."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TypeAlias

import msgspec
from confluent_kafka import Producer

from pipeline.flow import STAGES
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from tests.chaos.stack import ADAPTER, GATEWAY, LEARNER, WORKERS, Stack, worker
from tests.support.small_disk import small_disk

Fault: TypeAlias = Callable[[Stack, Random], None]
_SETTLE_S = 3.0
_STALLS_S = (1, 2, 3, 5, 6, 8, 10, 12)
_NO_SPACE = "No space left on device"


def nothing(stack: Stack, random: Random) -> None:
    """Do nothing, for comparison."""
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
    with stack.stopped(name):
        time.sleep(stack.settings.session_timeout_ms / 1000 + 3)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def adapter_kill(stack: Stack, random: Random) -> None:
    _kill_three_times(stack, random, ADAPTER)


def adapters_come_and_go(stack: Stack, random: Random) -> None:
    """Let a second adapter join and kill it for good; kill the first beside a third."""
    with stack.another_adapter() as other:
        time.sleep(_SETTLE_S)
        other.kill()
    with stack.another_adapter():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def ledger_deleted(stack: Stack, random: Random) -> None:
    """Kill the adapter and delete its ledger."""
    for _ in range(3):
        _kill_and_delete(stack, random, ADAPTER, stack.ledger)


def answers_lost(stack: Stack, random: Random) -> None:
    """Lose the receiver's answers, and kill the adapter meanwhile."""
    with stack.inbox.losing_answers():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def gateway_kill(stack: Stack, random: Random) -> None:
    for _ in range(3):
        _kill_the_gateway(stack, random)


def learner_kill(stack: Stack, random: Random) -> None:
    _kill_three_times(stack, random, LEARNER)


def learner_disk_lost(stack: Stack, random: Random) -> None:
    """Kill the learner, and delete its counts."""
    for _ in range(3):
        _kill_and_delete(stack, random, LEARNER, stack.learned)


def learner_killed_with_a_worker(stack: Stack, random: Random) -> None:
    """Kill both, three times: nobody renews the worker's leases meanwhile."""
    for _ in range(3):
        stack.kill(LEARNER)
        _kill_a_worker(stack, random)
        stack.wait_until_ready(LEARNER)


def broker_kill(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def broker_restart(stack: Stack, random: Random) -> None:
    stack.stop_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def broker_away_for_a_minute(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    time.sleep(60)
    stack.start_broker()
    time.sleep(_SETTLE_S)


def broker_away_while_workers_are_killed(stack: Stack, random: Random) -> None:
    """Kill one worker with records in its queue, which starts without a broker, and another as the
    broker returns."""
    first, second = random.sample(range(WORKERS), 2)
    stack.kill_broker()
    time.sleep(2)
    stack.kill(worker(first))
    time.sleep(15)
    stack.start_broker()
    stack.kill(worker(second))
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(worker(first), worker(second))


def broker_stalls(stack: Stack, random: Random) -> None:
    """Stop the broker for a while, shorter and longer than sessions are."""
    for seconds in random.sample(_STALLS_S, len(_STALLS_S)):
        with stack.broker_stopped():
            time.sleep(seconds)
        time.sleep(2 * _SETTLE_S)


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
    """Damage the end of a file of each partition, where RocksDB looks first."""
    instance = random.randrange(WORKERS)
    name = worker(instance)
    with stack.kept_down(name):
        before = len(stack.log(name))
        for stage in STAGES:
            for partition in stack.state(stage.name, instance).glob("rows/*"):
                tables, manifests = partition.glob("*.sst"), partition.glob("MANIFEST-*")
                _overwrite_the_end(random.choice([*tables] or [*manifests]), random)
    time.sleep(1)
    stack.wait_until_ready(name)
    notice_count = stack.log(name)[before:].count("rebuilt from its changelog")
    assert notice_count >= len(STAGES), f"{notice_count} damages were noticed"


def disk_full(stack: Stack, random: Random) -> None:
    """Fill the small disk of one worker's state for ten seconds; the worker must report it."""
    instance = random.randrange(WORKERS)
    name, folder = worker(instance), stack.state("enrichment", instance)
    aside, disk = folder.with_name(f"{folder.name}.aside"), ExitStack()
    with stack.kept_down(name):
        folder.rename(aside)
        disk.enter_context(small_disk(folder, 24 + _megabytes(aside)))
        shutil.copytree(aside, folder, dirs_exist_ok=True)
    try:
        stack.wait_until_ready(name)
        before = len(stack.log(name))
        _fill(folder / "filler")
        time.sleep(10)
        assert _NO_SPACE in stack.log(name)[before:], "the worker never met a full disk"
        (folder / "filler").unlink()
    finally:
        with stack.kept_down(name):
            disk.close()
            shutil.rmtree(aside)
    stack.wait_until_ready(name)


def poison(stack: Stack, random: Random) -> None:
    """Write records that nobody can read as an upstream app, one in a hundred or more."""
    producer = _producer(stack)
    good = _interaction(stack, "poison-good", 0)
    future = msgspec.structs.replace(good, received_at=good.received_at + DAY_MS)
    nobody = msgspec.structs.replace(good, event_id="poison-nobody", identifiers=())
    stranger = msgspec.structs.replace(
        good, event_id="poison-stranger", identifiers=(Identifier("telepathy", "x"),)
    )
    encode = open_codec(stack.settings).encode
    good_value = encode(topics.INTERACTIONS, good)
    kinds: list[tuple[bytes | None, bytes | None]] = [
        (b"customer_id:poison", b"no Avro at all"),
        (b"customer_id:poison", b""),
        (b"customer_id:poison", None),
        (b"customer_id:poison", b"\x00\x7f\xff\xff\xff" + good_value[5:]),
        (b"customer_id:poison", good_value[: len(good_value) // 2]),
        (b"customer_id:poison", b"\x01" + good_value[1:]),
        (b"\xff\xfe\xfd", good_value),
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
    """Send yesterday's interactions as an upstream app, some of them again today, shuffled."""
    yesterday = int(time.time() * 1000) - DAY_MS
    originals = [_interaction(stack, f"late-{number}", yesterday + number) for number in range(500)]
    copies = [
        msgspec.structs.replace(original, received_at=original.received_at + DAY_MS)
        for original in random.sample(originals, 50)
    ]
    random.shuffle(copies)
    _send_upstream(stack, [*originals, *copies])


def copies_a_day_late_while_workers_are_killed(stack: Stack, random: Random) -> None:
    """Send yesterday's views and orders now, shuffled, one in ten of them twice."""
    now = int(time.time() * 1000)
    originals = [
        msgspec.structs.replace(interaction, occurred_at=interaction.occurred_at - DAY_MS)
        for number in range(300)
        for interaction in _visit(stack, f"late-buyer-{number}", now + number)
    ]
    orders = [*originals, *random.sample(originals, len(originals) // 10)]
    random.shuffle(orders)
    for part in range(3):
        _send_upstream(stack, orders[part::3])
        _kill_a_worker(stack, random)


def wrong_partitions(stack: Stack, random: Random) -> None:
    """Write to wrong partitions as an upstream app, while workers are killed."""
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    now = int(time.time() * 1000)
    for number in range(400):
        interaction = _interaction(stack, f"lost-{number}", now + number)
        value = encode(topics.INTERACTIONS, interaction)
        partition = random.randrange(stack.partitions)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key, partition)
        if number == 200:
            producer.flush(30)
            worker_kill(stack, random)
    assert producer.flush(30) == 0


def killed_at(point: str) -> Fault:
    """Return the fault that kills a worker, and its successor once more, at a named point."""

    def kill_at_point(stack: Stack, random: Random) -> None:
        instance = random.randrange(WORKERS)
        stack.kill_at(point, instance)
        stack.wait_until_ready(worker(instance))

    kill_at_point.__name__ = re.sub(r"\W+", "_", point)
    return kill_at_point


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
    broker_away_while_workers_are_killed,
    broker_stalls,
    members_come_and_go,
    state_deleted,
    state_damaged,
    disk_full,
    poison,
    copies_a_day_late,
    copies_a_day_late_while_workers_are_killed,
    wrong_partitions,
)


SPENDING_FAULTS: tuple[Fault, ...] = (
    nothing,
    learner_kill,
    learner_disk_lost,
    learner_killed_with_a_worker,
    worker_kill,
    worker_stopped_beyond_its_session,
    adapter_kill,
    gateway_kill,
    broker_kill,
    members_come_and_go,
    state_deleted,
)
"""Tried where budgets are spent and something is learned."""

STANDSTILLS: frozenset[Fault] = frozenset({worker_stopped_beyond_its_session, broker_stalls})
"""Faults after which a stopped worker's records may arrive once its successor has sent them again:
copies, which stages drop."""


def a_bad_week(stack: Stack, random: Random) -> None:
    """Inflict kills of all kinds, in any order."""
    blows: list[Fault] = [
        *30 * [_kill_a_worker],
        *20 * [_kill_the_gateway],
        *5 * [broker_kill],
        *2 * [state_deleted],
    ]
    random.shuffle(blows)
    for blow in blows:
        blow(stack, random)


def _kill_three_times(stack: Stack, random: Random, name: str) -> None:
    for _ in range(3):
        stack.kill(name)
        time.sleep(random.uniform(1, 3))
        stack.wait_until_ready(name)


def _kill_and_delete(stack: Stack, random: Random, name: str, folder: Path) -> None:
    with stack.kept_down(name):
        shutil.rmtree(folder)
    time.sleep(random.uniform(1, 3))
    stack.wait_until_ready(name)


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


def _visit(stack: Stack, customer: str, at_ms: int) -> Iterator[Interaction]:
    """Yield a page view, an order, and another page view."""
    for step, name in enumerate(("Viewed", "Order", "Viewed")):
        yield msgspec.structs.replace(
            _interaction(stack, customer, at_ms + step),
            event_id=f"{customer}-{step}",
            name=name,
            identifiers=(Identifier("customer_id", customer), Identifier("email", f"{customer}@x")),
            properties={"page": ("home", "list", "cart")[step], "total": 10},
        )


def _send_upstream(stack: Stack, interactions: Iterable[Interaction]) -> None:
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    for interaction in interactions:
        value = encode(topics.INTERACTIONS, interaction)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key)
    assert producer.flush(30) == 0


def _producer(stack: Stack) -> Producer:
    return Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})


def _overwrite_the_end(file: Path, random: Random) -> None:
    with file.open("r+b") as content:
        content.seek(max(file.stat().st_size - 512, 0))
        content.write(random.randbytes(512))


def _megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*")) // (1 << 20)


def _fill(file: Path) -> None:
    with file.open("wb") as filler:
        try:
            while True:
                filler.write(bytes(65_536))
                filler.flush()
        except OSError:
            os.fsync(filler.fileno())
