"""Brings the tables of a worker up to date after partitions were assigned to it.

It takes the place of Faust's own recovery (Settings.TableManager), which subscribes to the
changelogs with the group's consumer and hangs or crashes on compacted or re-created topics. Here
changelogs are read by a consumer of their own, to their end, in batches; the group's consumer
knows input topics only.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from faust.tables.manager import TableManager as BaseTableManager
from faust.types import TP, AppT, CollectionT
from faust.types.tuples import ConsumerMessage
from mode import Service

from agents.store.changelog import ChangelogReader, Span
from agents.store.store import RocksStore
from agents.transport.records import Record

logger = logging.getLogger(__name__)


class RestoringTransport(Protocol):
    """What a restoration needs from the transport."""

    def changelog_reader_settings(self) -> dict[str, object]:
        """Return librdkafka's settings for a consumer outside of any group."""
        ...


class Restoration(Service):
    """Reads what each table lacks from its changelog, then lets the streams go on."""

    def __init__(self, app: AppT, tables: "TableManager", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app: Any = app
        self.tables = tables
        self.completed = asyncio.Event()
        self.records_total = 0
        self._working = asyncio.Lock()

    @property
    def in_recovery(self) -> bool:
        """Whether tables are being restored."""
        return not self.completed.is_set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop: the generation has changed already, so a running restoration ends by itself."""
        self.completed.clear()

    def flush_buffers(self) -> None:
        """Nothing is buffered."""

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Restore the tables of the assigned partitions and resume the streams."""
        async with self._working:
            if self._current(generation_id):
                await self._restore_and_resume(assigned, generation_id)

    async def on_stop(self) -> None:
        """Let a restoration notice it: its stores are about to be closed."""
        async with self._working:
            pass

    async def _restore_and_resume(self, assigned: set[TP], generation_id: int) -> None:
        partitions = {tp.partition for tp in assigned}
        for table in self.tables.values():
            if isinstance(table.data, RocksStore):
                table.data.assign(partitions)
        await self._restore(self._changelogs(partitions), generation_id)
        if self._current(generation_id):
            await self._resume(generation_id)

    def _current(self, generation_id: int) -> bool:
        return bool(self.app.consumer_generation_id == generation_id) and not self.should_stop

    def _changelogs(self, partitions: Iterable[int]) -> dict[TP, CollectionT]:
        return {
            TP(table.changelog_topic_name, partition): table
            for table in self.tables.values()
            for partition in partitions
        }

    async def _restore(self, changelogs: dict[TP, CollectionT], generation_id: int) -> None:
        if not changelogs:
            return
        loop = asyncio.get_running_loop()

        def keep_going() -> bool:
            return self._current(generation_id)

        reader = ChangelogReader(self.app.transport.changelog_reader_settings())
        try:
            starts = await loop.run_in_executor(None, self._starts, reader, changelogs, keep_going)
            batches = reader.read(starts, keep_going)
            while batch := await loop.run_in_executor(None, next, batches, None):
                tp, messages = batch
                await self._apply(changelogs[tp], tp, messages)
        finally:
            await loop.run_in_executor(None, reader.close)

    def _starts(
        self,
        reader: ChangelogReader,
        changelogs: dict[TP, CollectionT],
        keep_going: Callable[[], bool],
    ) -> dict[TP, int]:
        """Return where to start each partition that is not up to date."""
        starts = {}
        for tp, table in changelogs.items():
            span = reader.span(tp, keep_going)
            start = _start(table, tp, span)
            if start < span.end:
                starts[tp] = start
                logger.info("restoring %s from %d to %d", tp, start, span.end)
        return starts

    async def _apply(self, table: CollectionT, tp: TP, messages: Sequence[Record]) -> None:
        self.records_total += len(messages)
        store = _store(table)
        if isinstance(store, RocksStore):
            store.partitions[tp.partition].restore(
                [(m.key() or b"", m.value()) for m in messages], messages[-1].offset() + 1
            )
            return
        decode = cast(Any, table.changelog_topic).decode
        table.apply_changelog_batch([await decode(_faust_message(m, tp)) for m in messages])

    async def _resume(self, generation_id: int) -> None:
        app = self.app
        consumer = app.consumer
        await app.on_rebalance_complete.send()
        for table in self.tables.values():
            name = table.changelog_topic_name
            tps = {TP(name, tp.partition) for tp in consumer.assignment()}
            await table.on_recovery_completed(tps, set())
        await consumer.perform_seek()
        await consumer.look_back()
        if not self._current(generation_id):
            return
        consumer.resume_partitions(consumer.assignment())
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.completed.set()
        logger.info("%s: ready with %d partitions", app.conf.id, len(consumer.assignment()))


class TableManager(BaseTableManager):
    """Faust's table manager with our restoration, and no subscription to changelogs."""

    _restoration: Restoration | None = None

    @property
    def recovery(self) -> Restoration:  # type: ignore[override]
        """The service that restores tables."""
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


def _start(table: CollectionT, tp: TP, span: Span) -> int:
    """Return the offset to restore from; a store that cannot be a prefix is emptied."""
    store = _store(table)
    if not isinstance(store, RocksStore):
        return span.first
    partition = store.partitions[tp.partition]
    if partition.next_offset > span.end:
        logger.warning(
            "%s has %d records but the store was at %d (was the topic made anew?): rebuilding",
            tp, span.end, partition.next_offset,
        )  # fmt: skip
        partition.reset()
    return max(partition.next_offset, span.first)


def _store(table: CollectionT) -> object:
    return cast(Any, table).data


def _faust_message(message: Record, tp: TP) -> ConsumerMessage:
    kind, timestamp_ms = message.timestamp()
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        message.offset(),
        timestamp_ms / 1000.0,
        kind,
        message.headers(),
        message.key(),
        message.value(),
        None,
        tp=tp,
    )
