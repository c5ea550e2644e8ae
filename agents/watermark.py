"""Watermark of a stage's inputs: the time up to which all that came in has passed the stage before.

A timer may fire only when nothing is left upstream that was received before its moment: after an
absence of the workers an order that waits in `interactions` must be counted before the cart is said
to have been left.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaException

from pipeline.adapters.clock import now_ms
from pipeline.adapters.lag import ConsumerGroup, LagReader

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 1.0


class Watermark:
    """Time up to which all that came in has passed `group`, which consumes the stage's inputs."""

    def __init__(self, kafka: Mapping[str, str], group: ConsumerGroup) -> None:
        self._passed_ms = 0
        self._kafka = kafka
        self._group = group
        self._reader: LagReader | None = None

    async def advance(self) -> int:
        """Return a time (epoch ms) at or before now: `group` has committed all that its inputs had
        then.

        It is that of the call, unless the group is behind or the broker away; 0 until one is known.
        """
        try:
            await asyncio.to_thread(self._advance)
        except KafkaException as error:
            logger.warning("%s: timers wait, its lag is unknown: %s", self._group.name, error)
        return self._passed_ms

    def _advance(self) -> None:
        if self._reader is None:
            self._reader = LagReader(self._kafka, [self._group])
        began_ms = now_ms()
        if self._reader.wait_until_passed(_PATIENCE_S):
            self._passed_ms = began_ms
