"""Round-robin requests for the end offsets of partitions that are not being read.

Each request blocks the poller until the broker answers; no block may outlast the worker's lease.
"""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from faust.types import TP


class WatermarkRounds:
    """Rounds of requests for one partition after another; each begins where the last one ended.

    `request_end` returns the offset after a partition's last record, or raises KafkaException. A
    round begins no request after `seconds`. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        request_end: Callable[[TP], int],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request_end = request_end
        self._seconds = seconds
        self._clock = clock
        self._last_tp: TP | None = None

    def ask(self, tps: Iterable[TP]) -> tuple[dict[TP, int], KafkaError | None]:
        """Return the end offsets that the broker reported, and the first error."""
        deadline = self._clock() + self._seconds
        ends: dict[TP, int] = {}
        failure: KafkaError | None = None
        for tp in self._rotate(tps):
            if self._clock() >= deadline:
                break
            self._last_tp = tp
            try:
                ends[tp] = self._request_end(tp)
            except KafkaException as error:
                failure = failure or error.args[0]
        return ends, failure

    def _rotate(self, tps: Iterable[TP]) -> list[TP]:
        last_tp, sorted_tps = self._last_tp, sorted(tps)
        if last_tp is None:
            return sorted_tps
        return [tp for tp in sorted_tps if tp > last_tp] + [
            tp for tp in sorted_tps if tp <= last_tp
        ]
