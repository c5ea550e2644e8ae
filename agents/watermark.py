"""Watermark of a stage's inputs: the time up to which all inputs have passed the earlier stages.

A timer may fire only when nothing is left upstream that was received before its moment: after an
absence of the workers, an order that waits in `interactions` must be counted before the cart counts
as abandoned.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaException

from pipeline.adapters.clock import now_ms
from pipeline.adapters.lag import ConsumerGroup, LagReader

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 1.0


class Watermark:
    """Time up to which all inputs of the first of `groups` have passed every one of them, in
    order."""

    def __init__(self, kafka: Mapping[str, str], groups: Sequence[ConsumerGroup]) -> None:
        self._passed_ms = 0
        self._kafka = kafka
        self._groups = groups
        self._reader: LagReader | None = None

    async def advance(self) -> int:
        """Return a time (epoch ms) up to which the first group's inputs, and all that follows from
        them, are committed by every group.

        It is the time of the call, unless a group is behind or the broker is away; 0 until one is
        known.
        """
        try:
            await asyncio.to_thread(self._advance)
        except KafkaException as error:
            names = ", ".join(group.name for group in self._groups)
            _log.warning("%s: timers wait, their lag is unknown: %s", names, error)
        return self._passed_ms

    def _advance(self) -> None:
        if self._reader is None:
            self._reader = LagReader(self._kafka, self._groups)
        began_ms = now_ms()
        if self._reader.wait_until_passed(_PATIENCE_S):
            self._passed_ms = began_ms
