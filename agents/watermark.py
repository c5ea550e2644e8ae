"""Watermark of a stage's inputs: the time up to which all inputs have passed the earlier stages.

A timer may fire only once all records that were received before its due time have passed the
earlier stages: after an absence of the workers, an order that waits in `interactions` must be
counted before the cart counts as abandoned.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaException

from pipeline.adapters.clock import now_ms
from pipeline.adapters.lag import ConsumerGroup, LagReader

_log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 1.0


class Watermark:
    """Time up to which all inputs of the first of `groups` have passed all groups, in order."""

    def __init__(self, kafka: Mapping[str, str], groups: Sequence[ConsumerGroup]) -> None:
        self._passed_ms = 0
        self._kafka = kafka
        self._groups = groups
        self._reader: LagReader | None = None

    async def advance(self) -> int:
        """Return a time (epoch ms) up to which every group has committed the first group's inputs,
        and the records that follow from them.

        This is the time of the call, or, while a group is behind or the broker is away, the time of
        an earlier call, or 0.
        """
        try:
            await asyncio.to_thread(self._advance)
        except KafkaException as error:
            names = ", ".join(group.name for group in self._groups)
            _log.warning("timers wait, since the lag of %s is unknown: %s", names, error)
        return self._passed_ms

    def _advance(self) -> None:
        if self._reader is None:
            self._reader = LagReader(self._kafka, self._groups)
        start_ms = now_ms()
        if self._reader.wait_until_passed(_TIMEOUT_S):
            self._passed_ms = start_ms
