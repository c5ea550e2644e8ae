"""Round-robin requests for the end offsets of partitions that are not being read.

Each request takes the broker's answer, and the poller must not be kept for longer than its lease.
"""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from faust.types import TP


class WatermarkRounds:
    """Rounds of requests for one partition after another; each begins where the last one ended.

    `ask` returns the offset after a partition's last record, or raises KafkaException. A round
    begins no request after `seconds`. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[TP], int],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._last: TP | None = None

    def ask(self, tps: Iterable[TP]) -> tuple[dict[TP, int], KafkaError | None]:
        """Return the end offsets that were answered, and the first error."""
        over_at = self._clock() + self._seconds
        ends: dict[TP, int] = {}
        failure: KafkaError | None = None
        for tp in self._in_turn(tps):
            if self._clock() >= over_at:
                break
            self._last = tp
            try:
                ends[tp] = self._ask(tp)
            except KafkaException as error:
                failure = failure or error.args[0]
        return ends, failure

    def _in_turn(self, tps: Iterable[TP]) -> list[TP]:
        last, in_order = self._last, sorted(tps)
        if last is None:
            return in_order
        return [tp for tp in in_order if tp > last] + [tp for tp in in_order if tp <= last]
