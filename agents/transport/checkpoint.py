"""Commit protocol of inputs, outputs and stores.

Cut -> wait for the delivery of everything produced before it -> check that no other worker has
written to the changelogs -> commit offsets -> persist the stores with the cut's changelog offsets.
A kill between any two of these steps leads to redelivery, never to loss.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from confluent_kafka import KafkaError
from faust.types import TP

from agents.transport.epochs import Epoch
from agents.transport.errors import CommitStalledError
from agents.transport.options import TransportOptions
from agents.transport.producer import Producer
from agents.transport.progress import CommitProgress
from pipeline.adapters.clock import now_ms
from pipeline.adapters.transient import is_transient

_log = logging.getLogger(__name__)

_RETRY_S = 0.1
_REBALANCE_ERRORS = frozenset({
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
})  # fmt: skip
"""The group has rebalanced: the partition's new owner processes the events again."""


@runtime_checkable
class CheckpointedStore(Protocol):
    """Store that is persisted together with its changelog offsets."""

    def cut(self) -> None:
        """Close the set of writes that the next `persist` puts on disk."""
        ...

    def persist(self, next_offsets: Mapping[int, int]) -> None:
        """Write that set to disk; `next_offsets` maps partitions to changelog offsets."""
        ...


@dataclass(slots=True)
class CommitFigures:
    """Number and total duration of the commits so far."""

    commit_count: int = 0
    seconds: float = 0.0


class Checkpointer:
    """Service that commits at an interval, sooner when the consumer is idle, and on demand."""

    def __init__(
        self,
        *,
        commit: Callable[[Mapping[TP, int], int], Awaitable[KafkaError | None]],
        producer: Producer,
        progress: CommitProgress,
        stores: Callable[[], Iterable[tuple[str, CheckpointedStore]]],
        options: TransportOptions,
    ) -> None:
        """Prepare commits by `commit`.

        It takes offsets and the time of their cut (epoch ms), and returns the error, if any.
        `stores` returns the stores to persist, by changelog topic.
        """
        self.committed_offsets: dict[TP, int] = {}
        self.figures = CommitFigures()
        self._commit_offsets = commit
        self._producer = producer
        self._progress = progress
        self._stores = stores
        self._options = options
        self._lock = asyncio.Lock()
        self._did_commit = False

    async def run(
        self,
        next_acknowledgement: Callable[[], "asyncio.Future[None]"],
        seconds_until_idle: Callable[[], float],
    ) -> None:
        """Commit until cancelled.

        `next_acknowledgement` returns a future that the next acknowledgement completes;
        `seconds_until_idle` returns the seconds until the consumer is idle if nothing arrives, 0
        where it is idle. Raises CommitStalledError, ChangelogTakenError, DeliveryError,
        StoreDamagedError.
        """
        loop = asyncio.get_running_loop()
        stall_s = self._options.commit_stall_ms / 1000
        while True:
            acknowledgement = next_acknowledgement()
            if not self._progress.has_committable_offsets:
                await acknowledgement
            deadline = loop.time() + stall_s
            while self._progress.has_committable_offsets:
                await self._sleep_until_due(seconds_until_idle)
                await self._checkpoint_before(deadline)
                if self._did_commit:
                    deadline = loop.time() + stall_s

    async def checkpoint(self) -> bool:
        """Run the protocol once; return whether offsets were committed."""
        async with self._lock:
            offsets = self._progress.collect_committable_offsets()
            cut_ms = now_ms()
            epoch = self._cut()
            await self._producer.wait_until_delivered(epoch)
            self._producer.fence.check(epoch)
            did_commit = bool(offsets) and await self._commit(offsets, cut_ms)
            self._persist(epoch)
            self._did_commit = did_commit
            return did_commit

    async def _checkpoint_before(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.checkpoint()
        except TimeoutError as error:
            raise CommitStalledError(
                f"processed offsets were not committed within {self._options.commit_stall_ms} ms: "
                "is the broker reachable?"
            ) from error

    async def _sleep_until_due(self, seconds_until_idle: Callable[[], float]) -> None:
        """Sleep until the consumer is idle or the interval is over.

        Sleeps at least for half an idle time, so that a refused commit is not repeated at once.
        """
        loop = asyncio.get_running_loop()
        due_at = loop.time() + self._options.commit_interval_ms / 1000
        await asyncio.sleep(max(seconds_until_idle(), self._options.idle_commit_ms / 2000))
        while (wait_s := min(seconds_until_idle(), due_at - loop.time())) > 0:
            await asyncio.sleep(wait_s)

    def _cut(self) -> Epoch:
        for _, store in self._stores():
            store.cut()
        return self._producer.cut()

    def _persist(self, epoch: Epoch) -> None:
        for topic, store in self._stores():
            store.persist({p: end for (t, p), end in epoch.changelog_ends.items() if t == topic})

    async def _commit(self, offsets: Mapping[TP, int], cut_ms: int) -> bool:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while (error := await self._commit_offsets(offsets, cut_ms)) is not None:
            if error.code() in _REBALANCE_ERRORS:
                _log.warning("commit refused, the group is rebalancing: %s", error.str())
                return False
            if not is_transient(error):
                raise CommitStalledError(f"commit failed: {error.str()}")
            _log.warning("commit failed, trying again: %s", error.str())
            await asyncio.sleep(_RETRY_S)
        self._progress.record_commit(offsets)
        self.committed_offsets.update(offsets)
        self.figures.commit_count += 1
        self.figures.seconds += loop.time() - start_s
        return True
