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

from pipeline.adapters.clock import now_ms
from pipeline.flow import STAGES
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from tests.chaos.stack import ADAPTER, GATEWAY, LEARNER, WORKERS, ChaosStack, worker
from tests.support.small_disk import small_disk

Fault: TypeAlias = Callable[[ChaosStack, Random], None]
_SETTLE_S = 3.0
_STALLS_S = (1, 2, 3, 5, 6, 8, 10, 12)
_NO_SPACE = "No space left on device"


def do_nothing(stack: ChaosStack, random: Random) -> None:
    """Do nothing, for comparison."""
    time.sleep(5)


def kill_workers(stack: ChaosStack, random: Random) -> None:
    for _ in range(3):
        _kill_a_worker(stack, random)


def terminate_worker(stack: ChaosStack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    stack.terminate(name)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def stop_worker_beyond_its_session(stack: ChaosStack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    with stack.stopped(name):
        time.sleep(stack.settings.session_timeout_ms / 1000 + 3)
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(name)


def kill_adapter(stack: ChaosStack, random: Random) -> None:
    _kill_three_times(stack, random, ADAPTER)


def replace_adapters(stack: ChaosStack, random: Random) -> None:
    """Start and kill a second adapter; start a third, and kill the first."""
    with stack.another_adapter() as second_adapter:
        time.sleep(_SETTLE_S)
        second_adapter.kill()
    with stack.another_adapter():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def delete_ledger(stack: ChaosStack, random: Random) -> None:
    """Kill the adapter and delete its ledger."""
    for _ in range(3):
        _kill_and_delete(stack, random, ADAPTER, stack.ledger)


def lose_answers(stack: ChaosStack, random: Random) -> None:
    """Lose the receiver's answers, and kill the adapter meanwhile."""
    with stack.receiver.losing_answers():
        time.sleep(_SETTLE_S)
        stack.kill(ADAPTER)
        time.sleep(_SETTLE_S)
        stack.wait_until_ready(ADAPTER)


def kill_gateway(stack: ChaosStack, random: Random) -> None:
    for _ in range(3):
        _kill_the_gateway(stack, random)


def kill_learner(stack: ChaosStack, random: Random) -> None:
    _kill_three_times(stack, random, LEARNER)


def delete_learner_disk(stack: ChaosStack, random: Random) -> None:
    """Kill the learner, and delete its counts."""
    for _ in range(3):
        _kill_and_delete(stack, random, LEARNER, stack.evidence_folder)


def kill_learner_with_a_worker(stack: ChaosStack, random: Random) -> None:
    """Kill the learner and a worker, three times; meanwhile nothing renews the worker's leases."""
    for _ in range(3):
        stack.kill(LEARNER)
        _kill_a_worker(stack, random)
        stack.wait_until_ready(LEARNER)


def kill_broker(stack: ChaosStack, random: Random) -> None:
    stack.kill_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def restart_broker(stack: ChaosStack, random: Random) -> None:
    stack.stop_broker()
    stack.start_broker()
    time.sleep(_SETTLE_S)


def take_broker_away_for_a_minute(stack: ChaosStack, random: Random) -> None:
    stack.kill_broker()
    time.sleep(60)
    stack.start_broker()
    time.sleep(_SETTLE_S)


def kill_workers_while_broker_is_away(stack: ChaosStack, random: Random) -> None:
    """Kill the broker, a worker with records in its queue, and another worker as the broker
    returns."""
    first_instance, second_instance = random.sample(range(WORKERS), 2)
    stack.kill_broker()
    time.sleep(2)
    stack.kill(worker(first_instance))
    time.sleep(15)
    stack.start_broker()
    stack.kill(worker(second_instance))
    time.sleep(_SETTLE_S)
    stack.wait_until_ready(worker(first_instance), worker(second_instance))


def stall_broker(stack: ChaosStack, random: Random) -> None:
    """Stop the broker for times shorter and longer than a session."""
    for seconds in random.sample(_STALLS_S, len(_STALLS_S)):
        with stack.stopped_broker():
            time.sleep(seconds)
        time.sleep(2 * _SETTLE_S)


def change_worker_count(stack: ChaosStack, random: Random) -> None:
    stack.up(WORKERS + 1)
    time.sleep(_SETTLE_S)
    stack.up(WORKERS)
    time.sleep(_SETTLE_S)


def delete_state(stack: ChaosStack, random: Random) -> None:
    instance = random.randrange(WORKERS)
    with stack.kept_down(worker(instance)):
        stack.delete_state(instance)
    time.sleep(1)
    stack.wait_until_ready(worker(instance))


def damage_state(stack: ChaosStack, random: Random) -> None:
    """Damage a file of each partition at its end, which RocksDB reads first."""
    instance = random.randrange(WORKERS)
    name = worker(instance)
    with stack.kept_down(name):
        log_length = len(stack.read_log(name))
        for stage in STAGES:
            for partition in stack.state(stage.name, instance).glob("rows/*"):
                tables, manifests = partition.glob("*.sst"), partition.glob("MANIFEST-*")
                _overwrite_end(random.choice([*tables] or [*manifests]), random)
    time.sleep(1)
    stack.wait_until_ready(name)
    notice_count = stack.read_log(name)[log_length:].count("rebuilt from its changelog")
    assert notice_count >= len(STAGES), f"only {notice_count} damaged partitions were noticed"


def fill_disk(stack: ChaosStack, random: Random) -> None:
    """Move the state of one worker's enrichment to a small disk, and fill the disk for ten seconds;
    the worker must report it."""
    instance = random.randrange(WORKERS)
    name, folder = worker(instance), stack.state("enrichment", instance)
    backup_folder, disk = folder.with_name(f"{folder.name}.backup"), ExitStack()
    with stack.kept_down(name):
        folder.rename(backup_folder)
        disk.enter_context(small_disk(folder, 24 + _megabytes(backup_folder)))
        shutil.copytree(backup_folder, folder, dirs_exist_ok=True)
    try:
        stack.wait_until_ready(name)
        log_length = len(stack.read_log(name))
        _fill(folder / "filler")
        time.sleep(10)
        assert _NO_SPACE in stack.read_log(name)[log_length:], (
            "the worker did not report a full disk"
        )
        (folder / "filler").unlink()
    finally:
        with stack.kept_down(name):
            disk.close()
            shutil.rmtree(backup_folder)
    stack.wait_until_ready(name)


def send_poison(stack: ChaosStack, random: Random) -> None:
    """Write records that no stage can process, as a faulty upstream app would."""
    producer = _producer(stack)
    original = _interaction("poison-good", now_ms())
    future_interaction = msgspec.structs.replace(
        original, received_at=original.received_at + DAY_MS
    )
    anonymous_interaction = msgspec.structs.replace(
        original, event_id="poison-nobody", identifiers=()
    )
    foreign_interaction = msgspec.structs.replace(
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
        (b"customer_id:poison", encode(topics.INTERACTIONS, future_interaction)),
        (b"customer_id:poison", encode(topics.INTERACTIONS, anonymous_interaction)),
        (b"telepathy:x", encode(topics.INTERACTIONS, foreign_interaction)),
    ]
    for _ in range(6):
        for key, value in kinds:
            producer.produce(topics.INTERACTIONS, value, key)
        producer.flush(30)
        time.sleep(0.5)


def send_copies_a_day_late(stack: ChaosStack, random: Random) -> None:
    """Send interactions received yesterday as an upstream app would, then some of them again as
    received today."""
    start_ms = now_ms() - DAY_MS
    originals = [_interaction(f"late-{number}", start_ms + number) for number in range(500)]
    copies = [
        msgspec.structs.replace(original, received_at=original.received_at + DAY_MS)
        for original in random.sample(originals, 50)
    ]
    random.shuffle(copies)
    _send_upstream(stack, [*originals, *copies])


def send_copies_a_day_late_over_kills(stack: ChaosStack, random: Random) -> None:
    """Send views and orders that occurred yesterday, shuffled, one in ten of them twice, while
    workers are killed."""
    start_ms = now_ms()
    originals = [
        msgspec.structs.replace(interaction, occurred_at=interaction.occurred_at - DAY_MS)
        for number in range(300)
        for interaction in _visit(f"late-buyer-{number}", start_ms + number)
    ]
    interactions = [*originals, *random.sample(originals, len(originals) // 10)]
    random.shuffle(interactions)
    for part in range(3):
        _send_upstream(stack, interactions[part::3])
        _kill_a_worker(stack, random)


def send_to_random_partitions(stack: ChaosStack, random: Random) -> None:
    """Write interactions to random partitions as an upstream app would; kill workers halfway."""
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    start_ms = now_ms()
    for number in range(400):
        interaction = _interaction(f"lost-{number}", start_ms + number)
        value = encode(topics.INTERACTIONS, interaction)
        partition = random.randrange(stack.partitions)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key, partition)
        if number == 200:
            producer.flush(30)
            kill_workers(stack, random)
    assert producer.flush(30) == 0


def kill_at(point: str) -> Fault:
    """Return the fault that kills a worker, and then its successor at a named point."""

    def kill_at_point(stack: ChaosStack, random: Random) -> None:
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
    send_to_random_partitions,
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


def inflict_many_kills(stack: ChaosStack, random: Random) -> None:
    """Kill workers, the gateway and the broker, and delete workers' state, in random order."""
    faults: list[Fault] = [
        *30 * [_kill_a_worker],
        *20 * [_kill_the_gateway],
        *5 * [kill_broker],
        *2 * [delete_state],
    ]
    random.shuffle(faults)
    for fault in faults:
        fault(stack, random)


def _kill_three_times(stack: ChaosStack, random: Random, name: str) -> None:
    for _ in range(3):
        stack.kill(name)
        time.sleep(random.uniform(1, 3))
        stack.wait_until_ready(name)


def _kill_and_delete(stack: ChaosStack, random: Random, name: str, folder: Path) -> None:
    with stack.kept_down(name):
        shutil.rmtree(folder)
    time.sleep(random.uniform(1, 3))
    stack.wait_until_ready(name)


def _kill_a_worker(stack: ChaosStack, random: Random) -> None:
    name = worker(random.randrange(WORKERS))
    stack.kill(name)
    time.sleep(random.uniform(1, 5))
    stack.wait_until_ready(name)


def _kill_the_gateway(stack: ChaosStack, random: Random) -> None:
    stack.kill(GATEWAY)
    time.sleep(random.uniform(1, 3))
    stack.wait_until_ready(GATEWAY)


def _interaction(name: str, time_ms: int) -> Interaction:
    return Interaction(
        event_id=name,
        kind="track",
        name="Viewed",
        channel="web",
        source="upstream",
        occurred_at=time_ms,
        received_at=time_ms,
        identifiers=(Identifier("customer_id", name),),
        properties={"page": "cart"},
    )


def _visit(customer: str, start_ms: int) -> Iterator[Interaction]:
    """Yield a page view, an order, and another page view."""
    for step, name in enumerate(("Viewed", "Order", "Viewed")):
        yield msgspec.structs.replace(
            _interaction(customer, start_ms + step),
            event_id=f"{customer}-{step}",
            name=name,
            identifiers=(Identifier("customer_id", customer), Identifier("email", f"{customer}@x")),
            properties={"page": ("home", "list", "cart")[step], "total": 10},
        )


def _send_upstream(stack: ChaosStack, interactions: Iterable[Interaction]) -> None:
    producer, encode = _producer(stack), open_codec(stack.settings).encode
    for interaction in interactions:
        value = encode(topics.INTERACTIONS, interaction)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key)
    assert producer.flush(30) == 0


def _producer(stack: ChaosStack) -> Producer:
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
