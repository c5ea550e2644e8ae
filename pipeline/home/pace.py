"""Pace of a bulk writer: as fast as the stages process, without delaying live interactions.

Interactions of a partition are decided in the order of the log, so a request for a decision waits
for all records written before it. Hence a bulk writer keeps few records in flight: probes among
them show when the earlier ones have passed all stages. The limit follows from the probes'
round-trip times.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import cycle
from math import ceil
from statistics import median
from typing import Final
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from msgspec import Struct

from pipeline.adapters.clock import now_ms
from pipeline.adapters.consumer_groups import are_stages_running
from pipeline.adapters.kafka import Property, key_per_partition, partition_for_key
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Reply
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import DecideRequest

_MIN_IN_FLIGHT: Final = 2
_MAX_IN_FLIGHT: Final = 2_000
_STRETCH: Final = 1.5
"""Factor by which round trips may exceed those with few records in flight; live interactions are
delayed by the same factor."""
_CUT: Final = 0.8
_GAIN: Final = 1.15
_SAMPLE_SIZE: Final = 8
"""Number of round trips whose median counts: a single one varies with the machine's other load."""
_MEASUREMENT_INTERVAL_S: Final = 5.0
"""Time (s) after which the round trip with few records in flight is measured again."""
_PROBE_COUNT: Final = 4
"""Number of probes in flight per window."""

_POLL_S: Final = 0.01
_TIMEOUT_S: Final = 10.0
_PROBE_TIMEOUT_S: Final = 60.0
"""Time (s) after which a probe counts as lost, for example during a broker outage, and is
repeated."""
_CHECK_INTERVAL_S: Final = 5.0


class RoundTripWindow:
    """Limit on records in flight, by the median of the last round trips.

    It is the minimum at first, and again every five seconds, to measure the round trip with few
    records in flight; otherwise it grows or shrinks a little after every eight round trips.
    """

    def __init__(self) -> None:
        self.size = _MIN_IN_FLIGHT
        self._base_s: float | None = None
        self._last_size = _MIN_IN_FLIGHT
        self._resized_at_s = self._measured_at_s = float("-inf")
        self._round_trips_s: list[float] = []

    def note(self, sent_at_s: float, now_s: float) -> None:
        """Note the round trip of a probe, by a monotonic clock."""
        if sent_at_s < self._resized_at_s:  # sent under another limit
            return
        self._round_trips_s.append(now_s - sent_at_s)
        if len(self._round_trips_s) < _SAMPLE_SIZE:
            return
        median_s = median(self._round_trips_s)
        if self._base_s is None:
            self._base_s, self._measured_at_s = median_s, now_s
            self._resize(self._last_size, now_s)
        elif now_s - self._measured_at_s > _MEASUREMENT_INTERVAL_S:
            self._base_s, self._last_size = None, self.size
            self._resize(_MIN_IN_FLIGHT, now_s)
        elif median_s > self._base_s * _STRETCH:
            self._resize(int(self.size * _CUT), now_s)
        else:
            self._resize(ceil(self.size * _GAIN), now_s)

    def _resize(self, size: int, now_s: float) -> None:
        self.size = min(max(size, _MIN_IN_FLIGHT), _MAX_IN_FLIGHT)
        self._resized_at_s = now_s
        self._round_trips_s.clear()


class _PaceProbe(Struct, frozen=True):
    """Probe in flight; `earlier_record_count`: number of records written before it."""

    request_id: str
    earlier_record_count: int
    sent_at_s: float


class Pace:
    """Pace of the records that `producer` writes.

    `is_given_up(waited_s)` is called while a probe is in flight; the pace ends once it returns
    True, and later records do not wait. It may raise.
    """

    def __init__(
        self, records: Records, producer: Producer, is_given_up: Callable[[float], bool]
    ) -> None:
        self._codec = records.codec
        self._producer = producer
        self._is_given_up = is_given_up
        self._name = f"pace-{uuid4()}"
        self._consumer = Consumer(
            {**records.settings.kafka(), "group.id": "kairos.pace", "enable.auto.commit": False}
        )
        cluster_topics = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        self._keys = key_per_partition("probe", len(cluster_topics[topics.PROBES].partitions))
        self._next_keys = cycle(self._keys)
        partition = partition_for_key(self._name, len(cluster_topics[topics.REPLIES].partitions))
        topic_partition = TopicPartition(topics.REPLIES, partition)
        _, end = self._consumer.get_watermark_offsets(topic_partition, timeout=_TIMEOUT_S)
        self._consumer.assign([TopicPartition(topics.REPLIES, partition, end)])
        self._window = RoundTripWindow()
        self._probes: deque[_PaceProbe] = deque()
        self._answered_ids: set[str] = set()
        self._record_count = self._passed_count = 0
        self._progress_at_s = 0.0
        self._is_over = False

    def step(self) -> None:
        """Note one more record written; return once there is room for the next."""
        self._record_count += 1
        if self._is_over:
            return
        probed_count = self._probes[-1].earlier_record_count if self._probes else self._passed_count
        if self._record_count - probed_count >= max(1, self._window.size // _PROBE_COUNT):
            self._send_probe(next(self._next_keys))
            self._take_replies(0)
        while self._record_count - self._passed_count >= self._window.size and not self._is_over:
            self._wait()

    def wait_until_passed(self) -> None:
        """Return once the records written so far have passed all stages."""
        if not self._is_over:
            for key in self._keys:
                self._send_probe(key)
        while self._probes and not self._is_over:
            self._wait()

    def close(self) -> None:
        """Close the connection on which replies come."""
        self._consumer.close()

    def _wait(self) -> None:
        self._producer.poll(0)
        if not self._probes or time.monotonic() - self._probes[-1].sent_at_s > _PROBE_TIMEOUT_S:
            self._send_probe(next(self._next_keys))
        self._take_replies(_POLL_S)
        if self._probes:
            self._is_over = self._is_given_up(time.monotonic() - self._progress_at_s)

    def _send_probe(self, key: str) -> None:
        at_ms, now_s = now_ms(), time.monotonic()
        if not self._probes:
            self._progress_at_s = now_s
        request = DecideRequest(str(uuid4()), self._name, (), at_ms)
        probe = IdentityChange(
            request.request_id, "probe", identifier=key, at=at_ms, config="", request=request
        )
        self._producer.produce(topics.PROBES, self._codec.encode(topics.PROBES, probe), key)
        self._probes.append(_PaceProbe(request.request_id, self._record_count, now_s))

    def _take_replies(self, timeout_s: float) -> None:
        """Apply the replies received so far; a reply that overtook those of other partitions waits
        for them."""
        message = self._consumer.poll(timeout_s)
        while message is not None:
            if message.error() is None and message.key() == self._name.encode():
                reply = self._codec.decode(topics.REPLIES, message.value() or b"")
                if isinstance(reply, Reply):
                    self._answered_ids.add(reply.request_id)
            message = self._consumer.poll(0)
        now_s = time.monotonic()
        while self._probes and self._is_passed(self._probes[0], now_s):
            probe = self._probes.popleft()
            self._answered_ids.discard(probe.request_id)
            self._passed_count, self._progress_at_s = probe.earlier_record_count, now_s
            self._window.note(probe.sent_at_s, now_s)

    def _is_passed(self, probe: _PaceProbe, now_s: float) -> bool:
        """Return whether a probe was answered, or later probes were, long after it was lost."""
        if probe.request_id in self._answered_ids:
            return True
        return bool(self._answered_ids) and now_s - probe.sent_at_s > _PROBE_TIMEOUT_S


def pace_beside_stages(records: Records, producer: Producer) -> Pace:
    """Return the pace of what `producer` writes; without running stages it is not limited."""
    return Pace(records, producer, _StagesWatch(records.settings.kafka()).is_given_up)


class _StagesWatch:
    """Check whether to give up waiting, because no stages run: then no customer waits for a
    decision."""

    def __init__(self, kafka: Mapping[str, Property]) -> None:
        self._kafka = kafka
        self._checked_at_s = float("-inf")

    def is_given_up(self, waited_s: float) -> bool:
        """Return whether the stages have no worker, or no broker for a minute.

        It checks once in five seconds of waiting.
        """
        now_s = time.monotonic()
        if waited_s < _CHECK_INTERVAL_S or now_s - self._checked_at_s < _CHECK_INTERVAL_S:
            return False
        self._checked_at_s = now_s
        try:
            return not are_stages_running(self._kafka)
        except KafkaException:
            return waited_s > _PROBE_TIMEOUT_S  # its workers may be there when the broker is back
