"""`kairos bench timers`: delay of the effects of time alone.

Every customer interacts once, at the beginning, with a time of their own in the past. As time
passes, each enters a segment (the cart becomes old), which is decided and mailed, and exits another
(the last visit leaves its window). No customer interacts again. The worker, which runs all
four agents, is killed with -9 in the second of two rounds and started again at once.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.adapters.avro import Codec
from pipeline.adapters.clock import now_ms
from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import SegmentChange
from tests.benchmarks import configurations
from tests.benchmarks.figures import percentile
from tests.benchmarks.kept_worker import KeptWorker, KillTimes
from tests.benchmarks.latency import Say
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import Stages

_SYSTEM: Final = Stages(configurations.abandoned_carts_bundle, "email")
_LEAD_S: Final = 5.0
_KILL_DELAY_S: Final = 2.0
_SETTLE_S: Final = 60.0
_PATIENCE_S: Final = 30.0
_MAIL_TOPIC: Final = topics.actions("email")


@dataclass(frozen=True, slots=True)
class Lateness:
    """Delay (ms) from the due moment to the arrival of the record of this kind, over `people` in a
    `part` of a round; timers due while the worker was dead count from its return. `missing`:
    number of records that did not arrive."""

    part: str
    record_kind: str
    people: int
    p50: float
    p99: float
    max: float
    missing: int


def measure(rig: Rig, people: int, seconds: float, say: Say) -> list[Lateness]:
    """Measure `people` who fall due over `seconds` in each of the two rounds."""
    with _SYSTEM.running(rig, 1) as arrangement:
        worker = KeptWorker(rig, arrangement.processes[0])
        try:
            say(f"{people:,} people, while the worker runs")
            rounds = [_Round(rig, people, seconds).measure("the worker runs")]
            say(f"{people:,} people, and the worker is killed")
            second_round = _Round(rig, people, seconds)
            time.sleep(max(0.0, second_round.begin_s + _KILL_DELAY_S - time.monotonic()))
            rounds.extend(second_round.measure_around(worker.kill()))
        finally:
            worker.stop()
    return [lateness for part in rounds for lateness in part]


@dataclass(frozen=True, slots=True)
class _Person:
    """Customer who falls due at `due_s` (monotonic)."""

    name: str
    due_s: float

    @property
    def profile(self) -> str:
        return profile_id(Identifier("email", self.name))


class _Round:
    """Round of customers and the records about them, from `begin_s` (monotonic) on."""

    def __init__(self, rig: Rig, people: int, seconds: float) -> None:
        self._arrivals = _ArrivalReader(rig, open_codec(rig.settings))
        run = uuid.uuid4().hex[:12]
        self.begin_s = time.monotonic() + _LEAD_S
        self._people = [
            _Person(f"{run}-{number}@example.com", self.begin_s + number * seconds / people)
            for number in range(people)
        ]
        _send(rig, self._people)
        assert LagReader(rig.settings.kafka(), stage_groups()).wait_until_passed(_SETTLE_S)
        if time.monotonic() > self.begin_s:
            raise RuntimeError(f"{people:,} people took longer than {_LEAD_S:g} s to process")

    def measure(self, part: str) -> Iterator[Lateness]:
        """Return the delays of all customers."""
        arrivals = self._wait_for_records()
        return _lateness(part, {person: person.due_s for person in self._people}, arrivals)

    def measure_around(self, kill: KillTimes) -> Iterator[Iterator[Lateness]]:
        """Yield the delays of customers due while the worker was dead, and of those due later."""
        arrivals = self._wait_for_records()
        people_due_meanwhile = [
            person for person in self._people if kill.killed_at < person.due_s < kill.ready_at
        ]
        people_due_later = [person for person in self._people if person.due_s >= kill.ready_at]
        dead_part = f"the worker is dead, {kill.ready_at - kill.killed_at:.1f} s"
        yield _lateness(dead_part, dict.fromkeys(people_due_meanwhile, kill.ready_at), arrivals)
        yield _lateness(
            "the worker has returned",
            {person: person.due_s for person in people_due_later},
            arrivals,
        )

    def _wait_for_records(self) -> Mapping[tuple[str, str], float]:
        profiles = [person.profile for person in self._people]
        until_s = self._people[-1].due_s + _PATIENCE_S
        return self._arrivals.wait_for(
            [(profile, kind) for profile in profiles for kind in _RECORD_KINDS], until_s
        )


_RECORD_KINDS: Final = ("entered", "exited", "mailed")


def _lateness(
    part: str, due_times: Mapping[_Person, float], arrivals: Mapping[tuple[str, str], float]
) -> Iterator[Lateness]:
    for kind in _RECORD_KINDS:
        arrival_times = {person: arrivals.get((person.profile, kind)) for person in due_times}
        delays_ms = sorted(
            max(0.0, arrival_s - due_times[person]) * 1000
            for person, arrival_s in arrival_times.items()
            if arrival_s is not None
        )
        p50, p99, maximum = (percentile(delays_ms, share) for share in (0.50, 0.99, 1.0))
        yield Lateness(
            part, kind, len(due_times), p50, p99, maximum, len(due_times) - len(delays_ms)
        )


def _send(rig: Rig, people: Sequence[_Person]) -> None:
    """Send interactions old enough to fall due as planned."""
    codec = open_codec(rig.settings)
    producer = Producer({**rig.settings.kafka(), "partitioner": "murmur2_random", "linger.ms": 5})
    wall_s = time.time() - time.monotonic()
    received_ms = now_ms()
    for person in people:
        at_ms = round((person.due_s + wall_s) * 1000) - configurations.WAIT_MS
        identifier = Identifier("email", person.name)
        cart = Interaction(
            person.name, "track", "cart", "web", "bench", at_ms, received_ms, (identifier,)
        )
        producer.produce(
            topics.INTERACTIONS, codec.encode(topics.INTERACTIONS, cart), identifier.key
        )
    producer.flush()


@dataclass
class _ArrivalReader:
    """Reader that only records arrivals; they are matched with records afterwards."""

    rig: Rig
    codec: Codec
    arrivals: list[tuple[float, str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._consumer = Consumer({**self.rig.settings.kafka(), "group.id": "arrivals"})
        self._consumer.assign(list(self._ends()))
        self._thread = threading.Thread(target=self._read, name="arrivals", daemon=True)
        self._thread.start()

    def wait_for(
        self, expected: Sequence[tuple[str, str]], until_s: float
    ) -> Mapping[tuple[str, str], float]:
        """Return the time (s, monotonic) of each profile's first record of a kind, once all have
        arrived or at `until_s`."""
        expected_keys = set(expected)
        while not expected_keys <= (arrivals := self._find()).keys() and time.monotonic() < until_s:
            time.sleep(0.5)
        self._end.set()
        self._thread.join()
        self._consumer.close()
        return arrivals

    def _find(self) -> dict[tuple[str, str], float]:
        arrivals: dict[tuple[str, str], float] = {}
        for at_s, topic, value in tuple(self.arrivals):
            record = self.codec.decode(topic, value)
            if isinstance(record, SegmentChange) and record.why == "time passed":
                arrivals.setdefault((record.profile_id, record.change), at_s)
            if isinstance(record, Action):
                arrivals.setdefault((record.profile_id, "mailed"), at_s)
        return arrivals

    def _ends(self) -> Iterator[TopicPartition]:
        for topic in (topics.SEGMENT_CHANGES, _MAIL_TOPIC):
            for partition in range(self.rig.partitions):
                _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition))
                yield TopicPartition(topic, partition, end)

    def _read(self) -> None:
        while not self._end.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                value = message.value()
                assert value is not None
                self.arrivals.append((time.monotonic(), str(message.topic()), value))
