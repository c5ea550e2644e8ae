"""How far consumer groups are behind: committed offsets against the ends of their input topics."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_fixed,
)

from pipeline.adapters.transient import is_transient

Place: TypeAlias = tuple[str, int]
"""A topic and a partition of it."""
Property: TypeAlias = str | int | float | bool

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_TIMEOUT_S = 10.0
_POLL_S = 0.01
_AWAY_S = 0.2


def _is_away(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and is_transient(error.args[0])


def _patiently(admin: AdminClient) -> Retrying:
    """Calls again while a leader or coordinator is new or about to move.

    An admin client keeps asking with the leader's epoch that it knows, after a restart of the
    broker for five minutes, unless it is made to look at the topics again.
    """

    def look_again(_: RetryCallState) -> None:
        with suppress(KafkaException):
            admin.list_topics(timeout=_TIMEOUT_S)

    return Retrying(
        retry=retry_if_exception(_is_away),
        stop=stop_after_delay(_TIMEOUT_S),
        wait=wait_fixed(_POLL_S),
        before_sleep=look_again,
        reraise=True,
    )


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group and everything that it consumes."""

    name: str
    topics: tuple[str, ...]


class LagReader:
    """Keeps its connections, so that a look takes a few milliseconds.

    Topics and partitions are those at the time of construction. KafkaException when the broker
    does not answer.

    Commits are read by a consumer per group that never joins it. AdminClient has a call for them
    too, which ends the process by SIGSEGV when the coordinator is new or has moved (librdkafka
    2.16: `rd_kafka_handle_OffsetFetch` tells the client's group, and an admin client has none).
    """

    def __init__(self, kafka: Mapping[str, Property], groups: Sequence[Group]) -> None:
        self._admin = AdminClient(dict(kafka))
        self._outsiders = {group.name: _outsider(kafka, group.name) for group in groups}
        partitions = _partitions(self._admin)
        self._places = {
            group.name: [(t, p) for t in group.topics for p in range(partitions.get(t, 0))]
            for group in groups
        }
        self._all = {place for places in self._places.values() for place in places}

    def partitions(self, topic: str) -> int:
        """How many `topic` has, which one of the groups consumes."""
        return sum(name == topic for name, _ in self._all)

    def lag(self) -> dict[str, int]:
        """Records that each group has still to process; those that are deleted are none."""
        committed, ends = self._all_committed(), self._ends()
        return {
            group: self._left(committed[group], {place: ends[place] for place in places})
            for group, places in self._places.items()
        }

    def is_idle(self) -> bool:
        """Whether every input so far has left the last stage.

        Inputs are committed after their outputs are delivered. So once all commits, read first,
        equal all ends, read afterwards, nothing is under way; the ends read twice show that
        nothing came in meanwhile either.
        """
        committed, ends = self._all_committed(), self._ends()
        passed = not any(
            self._left(committed[group], {place: ends[place] for place in places})
            for group, places in self._places.items()
        )
        return passed and self._ends() == ends

    def until_idle(self, timeout_s: float) -> bool:
        """Waits for `is_idle`, also while a broker is away; False when the time is over first,
        KafkaException when the broker is away then.

        Between two looks at everything it follows one group at a time, which asks less of the
        broker.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.is_idle():
                    return True
                if time.monotonic() > deadline or not self._pass(deadline):
                    return False
            except KafkaException as error:
                if not _is_away(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_AWAY_S)

    def until_passed(self, timeout_s: float) -> bool:
        """Waits until each group in turn has processed what its inputs hold by then; more may come
        meanwhile. False when the time is over first."""
        return self._pass(time.monotonic() + timeout_s)

    def _pass(self, deadline: float) -> bool:
        for group, places in self._places.items():
            ends = _ends(self._admin, places)
            while self._left(self._committed(group), ends):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
        return True

    def _left(self, committed: Mapping[Place, int], ends: Mapping[Place, int]) -> int:
        """How many records stand in the logs between these offsets. Where the logs begin is asked
        only of those that are behind, so that a look at what is idle stays cheap."""
        behind = {place: committed.get(place, 0) for place in ends}
        behind = {place: offset for place, offset in behind.items() if offset < ends[place]}
        beginnings = _offsets(self._admin, behind, _EARLIEST)
        return sum(
            max(0, ends[place] - max(offset, beginnings[place])) for place, offset in behind.items()
        )

    def _all_committed(self) -> dict[str, dict[Place, int]]:
        return {group: self._committed(group) for group in self._places}

    def _committed(self, group: str) -> dict[Place, int]:
        """Next offset to read; places without a commit are left out."""
        places = [TopicPartition(*place) for place in self._places[group]]
        if not places:
            return {}
        committed = self._outsiders[group].committed
        found = _patiently(self._admin)(committed, places, timeout=_TIMEOUT_S)
        return {(place.topic, place.partition): place.offset for place in found if _known(place)}

    def _ends(self) -> dict[Place, int]:
        return _ends(self._admin, self._all)


def record_counts(kafka: Mapping[str, Property], topics: Sequence[str]) -> dict[str, int]:
    """How many records were ever written to each topic; 0 where there is none."""
    admin = AdminClient(dict(kafka))
    partitions = _partitions(admin)
    ends = _ends(admin, {(t, p) for t in topics for p in range(partitions.get(t, 0))})
    return {t: sum(end for (topic, _), end in ends.items() if topic == t) for t in topics}


def partition_ends(kafka: Mapping[str, Property], topic: str) -> dict[int, int]:
    """The offset after the last record of each partition. KafkaException when the broker does not
    answer."""
    admin = AdminClient(dict(kafka))
    places = {(topic, p) for p in range(_partitions(admin).get(topic, 0))}
    return {partition: end for (_, partition), end in _ends(admin, places).items()}


def _outsider(kafka: Mapping[str, Property], group: str) -> Consumer:
    return Consumer({**kafka, "group.id": group, "enable.auto.commit": False})


def _known(place: TopicPartition) -> bool:
    if place.error is not None:
        raise KafkaException(place.error)
    return place.offset >= 0


def _partitions(admin: AdminClient) -> dict[str, int]:
    topics = admin.list_topics(timeout=_TIMEOUT_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _ends(admin: AdminClient, places: Iterable[Place]) -> dict[Place, int]:
    return _offsets(admin, places, _LATEST)


def _offsets(admin: AdminClient, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
    wanted = {TopicPartition(*place): spec for place in places}
    return _patiently(admin)(_asked, admin, wanted) if wanted else {}


def _asked(admin: AdminClient, wanted: dict[TopicPartition, OffsetSpec]) -> dict[Place, int]:
    futures = admin.list_offsets(wanted, request_timeout=_TIMEOUT_S)
    return {
        (place.topic, place.partition): future.result().offset for place, future in futures.items()
    }
