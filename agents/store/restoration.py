"""Restoration of a worker's tables after partitions were assigned to it.

It replaces Faust's own recovery (Settings.TableManager), which subscribes to the changelogs with
the group's consumer, and hangs or crashes on compacted or re-created topics. Here a separate
consumer reads changelogs to their ends, in batches; the group's consumer reads input topics only.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, cast

from faust.tables.manager import TableManager as BaseTableManager
from faust.types import TP, AppT
from mode import Service

from agents.store.catch_up import CatchUp
from agents.store.changelog import ChangelogReader
from agents.store.partition import PartitionStore
from agents.store.store import RocksStore

_log = logging.getLogger(__name__)


class Restoration(Service):
    """Service that restores each table from its changelog, then resumes the streams."""

    def __init__(self, app: AppT, tables: "TableManager", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app: Any = app
        self.tables = tables
        self.completed = asyncio.Event()
        self.records_total = 0
        self._lock = asyncio.Lock()

    @property
    def in_recovery(self) -> bool:
        """Whether tables are being restored."""
        return not self.completed.is_set()

    def on_partitions_revoked(self, revoked_tps: set[TP]) -> None:
        """Count the tables as not restored.

        A running restoration ends by itself: the generation has changed, or the app stops.
        """
        self.completed.clear()

    def flush_buffers(self) -> None:
        """Do nothing: there is no buffer."""

    async def on_rebalance(
        self,
        tps: set[TP],
        revoked_tps: set[TP],
        new_tps: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Restore the tables of the assigned partitions and resume the streams."""
        async with self._lock:
            if self._is_current(generation_id):
                await self._restore_and_resume(tps, generation_id)

    async def on_stop(self) -> None:
        """Wait for a running restoration to end, since its stores are about to be closed."""
        async with self._lock:
            pass

    async def _restore_and_resume(self, tps: set[TP], generation_id: int) -> None:
        partitions = {tp.partition for tp in tps}
        await self._restore(self._assign(partitions), generation_id)
        if self._is_current(generation_id):
            await self._resume(generation_id)

    def _is_current(self, generation_id: int) -> bool:
        return bool(self.app.consumer_generation_id == generation_id) and not self.should_stop

    def _assign(self, partitions: Iterable[int]) -> dict[TP, PartitionStore]:
        """Assign `partitions` to the tables; return their stores by the changelog's partition."""
        stores = {}
        for table in self.tables.values():
            if not isinstance(table.data, RocksStore):
                raise TypeError(f"table {table.name} has a store that cannot be restored")
            table.data.assign(partitions)
            for partition, store in table.data.partitions.items():
                stores[TP(table.changelog_topic_name, partition)] = store
        return stores

    async def _restore(self, stores: dict[TP, PartitionStore], generation_id: int) -> None:
        if not stores:
            return
        reader = ChangelogReader(self.app.transport.changelog_reader_settings())
        catch_up = CatchUp(reader, stores, lambda: self._is_current(generation_id))
        try:
            await catch_up.read()
            takeover = await self.wait(catch_up.take_over(self.app.producer))
        finally:
            self.records_total += catch_up.records_total
            await catch_up.close()
        for tp, replay in (takeover.result or {}).items():
            self.app.producer.fence.begin_ownership(tp, replay.token, replay.end)

    async def _resume(self, generation_id: int) -> None:
        app = self.app
        consumer = app.consumer
        await app.on_rebalance_complete.send()
        for table in self.tables.values():
            name = table.changelog_topic_name
            tps = {TP(name, tp.partition) for tp in consumer.assignment()}
            await table.on_recovery_completed(tps, set())
        await consumer.perform_seek()
        await consumer.load_sent_index()
        if not self._is_current(generation_id):
            return
        consumer.resume_partitions(consumer.assignment())
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.completed.set()
        _log.info("%s: ready with %d partitions", app.conf.id, len(consumer.assignment()))


class TableManager(BaseTableManager):
    """Faust's table manager with our restoration, and no subscription to changelogs."""

    _restoration: Restoration | None = None

    @property
    def recovery(self) -> Restoration:  # type: ignore[override]
        """Service that restores tables."""
        if self._restoration is None:
            self._restoration = Restoration(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._restoration

    async def on_start(self) -> None:
        """Start the tables at once."""
        await self._update_channels()
        await self.recovery.start()

    async def on_stop(self) -> None:
        """Stop the fetcher, the restoration and the tables."""
        await cast(Any, self.app)._fetcher.stop()
        if self._restoration is not None:
            await self._restoration.stop()
        for table in self.values():
            await table.stop()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()
