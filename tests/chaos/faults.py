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


def do_nothing(stack: Stack, random: Random) -> None:
    """Do nothing, for comparison."""
    time.sleep(5)


def kill_workers(stack: Stack, random: Random) -> None:
    for _ in range(3):
        _kill_a_worker(stack, random)


def terminate_worker(stack: Stack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    stack.terminate(name)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def stop_worker_beyond_its_session(stack: Stack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    with stack.stopped(name):
        time.sleep(stack.settings.session_timeout_ms / 1000 + 3)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def kill_adapter(stack: Stack, random: Random) -> None:
    _kill_three_times(stack, random, ADAPTER)


def replace_adapters(stack: Stack, random: Random) -> None:
    """Start and kill a second adapter; start a third, and kill the first."""
    with stack.another_adapter() as other:
        time.sleep(_SETTLE_S)
        other.kill()
    with stack.another_adapter():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def delete_ledger(stack: Stack, random: Random) -> None:
    """Kill the adapter and delete its ledger."""
    for _ in range(3):
        _kill_and_delete(stack, random, ADAPTER, stack.ledger)


def lose_answers(stack: Stack, random: Random) -> None:
    """Lose the receiver's answers, and kill the adapter meanwhile."""
    with stack.inbox.losing_answers():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def kill_gateway(stack: Stack, random: Random) -> None:
    for _ in range(3):
        _kill_the_gateway(stack, random)


def kill_learner(stack: Stack, random: Random) -> None:
    _kill_three_times(stack, random, LEARNER)


def delete_learner_disk(stack: Stack, random: Random) -> None:
    """Kill the learner, and delete its counts."""
    for _ in range(3):
        _kill_and_delete(stack, random, LEARNER, stack.evidence_folder)


def kill_learner_with_a_worker(stack: Stack, random: Random) -> None:
    """Kill both, three times: nothing renews the worker's leases meanwhile."""
    for _ in range(3):
        stack.kill(LEARNER)
        _kill_a_worker(stack, random)
        stack.wait_until_ready(LEARNER)


def kill_broker(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def restart_broker(stack: Stack, random: Random) -> None:
    stack.stop_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def take_broker_away_for_a_minute(stack: Stack, random: Random) -> None:
    stack.kill_broker()
    time.sleep(60)
    stack.start_broker()
    time.sleep(_SETTLE_S)


def kill_workers_while_broker_is_away(stack: Stack, random: Random) -> None:
    """Kill the broker, a worker with records in its queue, and another worker as the broker
    returns."""
    first, second = random.sample(range(WORKERS), 2)
    stack.kill_broker()
    time.sleep(2)
    stack.kill(worker(first))
    time.sleep(15)
    stack.start_broker()
    stack.kill(worker(second))
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(worker(first), worker(second))


def stall_broker(stack: Stack, random: Random) -> None:
    """Stop the broker for times shorter and longer than a session."""
    for seconds in random.sample(_STALLS_S, len(_STALLS_S)):
        with stack.stopped_broker():
            time.sleep(seconds)
        time.sleep(2 * _SETTLE_S)


def change_worker_count(stack: Stack, random: Random) -> None:
    stack.up(WORKERS + 1)
    time.sleep(_SETTLE_S)
    stack.up(WORKERS)
    time.sleep(_SETTLE_S)


def delete_state(stack: Stack, random: Random) -> None:
    instance = random.randrange(WORKERS)
    with stack.kept_down(worker(instance)):
        stack.delete_state(instance)
    time.sleep(1)
    stack.wait_until_ready(worker(instance))


def damage_state(stack: Stack, random: Random) -> None:
    """Damage the end of a file of each partition, which RocksDB reads first."""
    instance = random.randrange(WORKERS)
    name = worker(instance)
    with stack.kept_down(name):
        before = len(stack.log(name))
        for stage in STAGES:
            for partition in stack.state(stage.name, instance).glob("rows/*"):
                tables, manifests = partition.glob("*.sst"), partition.glob("MANIFEST-*")
                _overwrite_end(random.choice([*tables] or [*manifests]), random)
    time.sleep(1)
    stack.wait_until_ready(name)
    notice_count = stack.log(name)[before:].count("rebuilt from its changelog")
    assert notice_count >= len(STAGES), f"{notice_count} damages were noticed"


def fill_disk(stack: Stack, random: Random) -> None:
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
        assert _NO_SPACE in stack.log(name)[before:], "the worker did not report a full disk"
        (folder / "filler").unlink()
    finally:
        with stack.kept_down(name):
            disk.close()
            shutil.rmtree(aside)
    stack.wait_until_ready(name)


def send_poison(stack: Stack, random: Random) -> None:
    """Write records as an upstream app that no stage can process."""
    producer = _producer(stack)
    original = _interaction(stack, "poison-good", 0)
    future = msgspec.structs.replace(original, received_at=original.received_at + DAY_MS)
    anonymous = msgspec.structs.replace(original, event_id="poison-nobody", identifiers=())
    unknown_namespace = msgspec.structs.replace(
        original, event_id="poison-stranger", identifiers=(Identifier("telepathy", "x"),)
    )
    encode = open_codec(stack.settings).encode
    original_value = encode(topics.INTERACTIONS, original)
    kinds: list[tuple[bytes | None, bytes | None]] = [
        (b"customer_id:poison", b"no Avro at all"),
        (b"customer_id:poison", b""),
        (b"customer_id:poison", None),
        (b"customer_id:poison", b"\x00\x7f\xff\xff\xff" + original_value[5:]),
        (b"customer_id:poison", original_value[: len(original_value) // 2]),
        (b"customer_id:poison", b"\x01" + original_value[1:]),
        (b"\xff\xfe\xfd", original_value),
        (b"customer_id:poison", encode(topics.INTERACTIONS, future)),
        (b"customer_id:poison", encode(topics.INTERACTIONS, anonymous)),
        (b"telepathy:x", encode(topics.INTERACTIONS, unknown_namespace)),
    ]
    for _ in range(6):
        for key, value in kinds:
            producer.produce(topics.INTERACTIONS, value, key)
        producer.flush(30)
        time.sleep(0.5)


def send_copies_a_day_late(stack: Stack, random: Random) -> None:
    """Send yesterday's interactions as an upstream app, then some of them again as of today."""
    yesterday = int(time.time() * 1000) - DAY_MS
    originals = [_interaction(stack, f"late-{number}", yesterday + number) for number in range(500)]
    copies = [
        msgspec.structs.replace(original, received_at=original.received_at + DAY_MS)
        for original in random.sample(originals, 50)
    ]
    random.shuffle(copies)
    _send_upstream(stack, [*originals, *copies])


def send_copies_a_day_late_over_kills(stack: Stack, random: Random) -> None:
    """Send yesterday's views and orders now, shuffled, one in ten of them twice, while workers are
    killed."""
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


def send_to_wrong_partitions(stack: Stack, random: Random) -> None:
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
            kill_workers(stack, random)
    assert producer.flush(30) == 0


def kill_at(point: str) -> Fault:
    """Return the fault that kills a worker, and its successor once more, at a named point."""

    def kill_at_point(stack: Stack, random: Random) -> None:
        instance = random.randrange(WORKERS)
        stack.kill_at(point, instance)
        stack.wait_until_ready(worker(instance))

    kill_at_point.__name__ = re.sub(r"\W+", "_", point)
    return kill_at_point


FAULTS: tuple[Fault, ...] = (
    do_nothing,
    kill_workers,
    terminate_worker,
    stop_worker_beyond_its_session,
    kill_adapter,
    replace_adapters,
    delete_ledger,
    lose_answers,
    kill_gateway,
    kill_broker,
    restart_broker,
    take_broker_away_for_a_minute,
    kill_workers_while_broker_is_away,
    stall_broker,
    change_worker_count,
    delete_state,
    damage_state,
    fill_disk,
    send_poison,
    send_copies_a_day_late,
    send_copies_a_day_late_over_kills,
    send_to_wrong_partitions,
)


SPENDING_FAULTS: tuple[Fault, ...] = (
    do_nothing,
    kill_learner,
    delete_learner_disk,
    kill_learner_with_a_worker,
    kill_workers,
    stop_worker_beyond_its_session,
    kill_adapter,
    kill_gateway,
    kill_broker,
    change_worker_count,
    delete_state,
)
"""Faults for the configuration that spends budgets and learns."""

STANDSTILLS: frozenset[Fault] = frozenset({stop_worker_beyond_its_session, stall_broker})
"""Faults after which records of a stopped worker may arrive that its successor has sent again;
stages drop these copies."""


def inflict_many_kills(stack: Stack, random: Random) -> None:
    """Inflict kills of all kinds, in any order."""
    faults: list[Fault] = [
        *30 * [_kill_a_worker],
        *20 * [_kill_the_gateway],
        *5 * [kill_broker],
        *2 * [delete_state],
    ]
    random.shuffle(faults)
    for fault in faults:
        fault(stack, random)


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


def _overwrite_end(file: Path, random: Random) -> None:
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
