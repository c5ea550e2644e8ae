"""Epochs: the records produced between two cuts, and waiting for their delivery."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from confluent_kafka import KafkaError

from agents.transport.records import Record

OnError = Callable[[KafkaError, Record], None]


class Epoch:
    """Epoch, with the number of its undelivered records.

    `changelog_ends` maps (topic, partition) to the offset after the last changelog record of the
    epoch, `changelog_counts` to the number of these records; both are complete once the epoch is
    delivered.
    """

    __slots__ = (
        "_delivery",
        "_is_closed",
        "_on_error",
        "changelog_counts",
        "changelog_ends",
        "outstanding_count",
    )  # fmt: skip

    def __init__(self, on_error: OnError) -> None:
        self.outstanding_count = 0
        self.changelog_ends: dict[tuple[str, int], int] = {}
        self.changelog_counts: dict[tuple[str, int], int] = defaultdict(int)
        self._on_error = on_error
        self._is_closed = False
        self._delivery: asyncio.Future[None] | None = None

    def on_output(self, error: KafkaError | None, message: Record) -> None:
        """Handle the delivery report of an output."""
        if error is not None:
            self._on_error(error, message)
            return
        self.outstanding_count -= 1
        if not self.outstanding_count and self._is_closed:
            self._finish()

    def on_changelog(self, error: KafkaError | None, message: Record) -> None:
        """Handle the delivery report of a changelog record."""
        if error is None:
            topic_partition = message.topic(), message.partition()
            self.changelog_ends[topic_partition] = message.offset() + 1
            self.changelog_counts[topic_partition] += 1
        self.on_output(error, message)

    def close(self) -> None:
        """End the epoch: no further record will be produced in it."""
        self._is_closed = True

    async def wait_until_delivered(self) -> None:
        """Wait until every record of the closed epoch is delivered; raise the error given to
        `fail`."""
        if self.outstanding_count:
            self._delivery = asyncio.get_running_loop().create_future()
            await self._delivery

    def fail(self, error: Exception) -> None:
        """Raise `error` in the waiter: the epoch will never be delivered."""
        if self._delivery is not None and not self._delivery.done():
            self._delivery.set_exception(error)

    def _finish(self) -> None:
        if self._delivery is not None and not self._delivery.done():
            self._delivery.set_result(None)
