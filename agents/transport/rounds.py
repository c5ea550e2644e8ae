"""How the ends of partitions that nobody reads are asked for without keeping the poller."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from faust.types import TP


class Rounds:
    """Asks for one partition after another; a round begins where the one before ended.

    `ask` returns the offset after a partition's last record, or raises KafkaException. None is
    asked for once a round has taken `seconds`. `clock` tells seconds that only grow.
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
        """Return the ends that were told, and the first thing that went wrong."""
        over_at = self._clock() + self._seconds
        ends: dict[TP, int] = {}
        failed: KafkaError | None = None
        for tp in self._in_turn(tps):
            if self._clock() >= over_at:
                break
            self._last = tp
            try:
                ends[tp] = self._ask(tp)
            except KafkaException as error:
                failed = failed or error.args[0]
        return ends, failed

    def _in_turn(self, tps: Iterable[TP]) -> list[TP]:
        last, ordered = self._last, sorted(tps)
        if last is None:
            return ordered
        return [tp for tp in ordered if tp > last] + [tp for tp in ordered if tp <= last]
