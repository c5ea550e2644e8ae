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
_INTERVAL_S: Final = 0.1


class Watermark:
    """Time `passed_ms` (epoch ms; 0 until known): `group` has committed all that its inputs had
    then."""

    def __init__(self, kafka: Mapping[str, str], group: ConsumerGroup) -> None:
        self.passed_ms = 0
        self._kafka = kafka
        self._group = group
        self._reader: LagReader | None = None

    async def follow(self) -> None:
        """Advance for ever, while the broker is there and the group is not stuck."""
        while True:
            try:
                await asyncio.to_thread(self._advance)
            except KafkaException as error:
                logger.warning("%s: timers wait, its lag is unknown: %s", self._group.name, error)
            await asyncio.sleep(_INTERVAL_S)

    def _advance(self) -> None:
        if self._reader is None:
            self._reader = LagReader(self._kafka, [self._group])
        began_ms = now_ms()
        if self._reader.wait_until_passed(_PATIENCE_S):
            self.passed_ms = began_ms
