"""Binding of a stage's shell to Faust: one app, one table, one agent."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from faust.types.tuples import TP

from agents.app import App, AppOptions, create_app
from agents.decoded_cache import DecodedCache
from agents.headers import CAUSE
from agents.heartbeat import Heartbeat
from agents.metrics import StageMetrics
from agents.ports import Message
from agents.rulebook import Rulebook
from agents.stage import StageShell
from agents.store.table import RawTable
from agents.transport.runs import iterate_in_runs
from agents.watermark import Watermark
from pipeline.adapters.clock import now_ms
from pipeline.adapters.lag import ConsumerGroup
from pipeline.adapters.murmur2 import murmur2_partition
from pipeline.flow import STAGES, Stage
from pipeline.model import topics

_TIMER_INTERVAL_S: Final = 0.1
_MAX_BEAT_INTERVAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Equipment:
    """Objects that all agents of a process share; `apps`: their Faust apps, in stage order."""

    options: AppOptions
    codec: DecodedCache
    rulebook: Rulebook
    apps: list[App] = field(default_factory=list)


def create_stage_app(stage: Stage, equipment: Equipment) -> App:
    """Create the Faust app that runs `stage`, and add it to the apps of `equipment`.

    Its rows are in a table of that app.

    Outputs of a stage with several inputs are held until their rows are in the changelog: after a
    kill these inputs may be read in another order, and cause other outputs.
    """
    options = replace(
        equipment.options,
        rows_first=len(stage.inputs) > 1,
        lingering_topics=topics.LINGERING_TOPICS,
        cause_header=CAUSE,
        outputs=stage.outputs,
    )
    app = create_app(stage.name, options)
    equipment.apps.append(app)
    table = app.add_raw_table("rows")
    rulebook = equipment.rulebook if stage.name == "decisioning" else None
    rows_first = partial(_rows_first, app, rulebook)
    ports = _FaustPorts(app, table, equipment.apps, rows_first)
    shell = StageShell(
        stage,
        ports,
        equipment.codec,
        equipment.rulebook,
        StageMetrics(stage.name),
        options.cleaning.empty_row_ms,
    )

    @app.on_rebalance_complete.connect
    async def begin(*_: object, **__: object) -> None:
        shell.on_assignment()
        await equipment.rulebook.catch_up()

    _add_timers(
        app, shell, None if stage.preceding_stage is None else _create_watermark(stage, options)
    )
    _add_cleaning(app, ports, Heartbeat(stage, ports, options.cleaning.beat_ms))
    _add_agent(app, stage, shell)
    return app


def _add_timers(app: App, shell: StageShell, watermark: Watermark | None) -> None:
    @app.task  # type: ignore[untyped-decorator]
    async def fire_due_timers() -> None:
        while True:
            await asyncio.sleep(_TIMER_INTERVAL_S)
            if shell.may_have_due_timers(now_ms()):
                until_ms = now_ms() if watermark is None else await watermark.advance()
                shell.fire_due_timers(until_ms)


def _add_cleaning(app: App, ports: "_FaustPorts", heartbeat: Heartbeat) -> None:
    @app.timer(min(app.options.cleaning.beat_ms / 1000, _MAX_BEAT_INTERVAL_S))  # type: ignore[untyped-decorator]
    async def clean() -> None:
        partitions = heartbeat.beat(now_ms())
        if partitions:
            await ports.flush_and_commit()  # deletions since the last input go to disk too
            await asyncio.to_thread(ports.table.compact, partitions)


def _add_agent(app: App, stage: Stage, shell: StageShell) -> None:
    @app.agent(app.raw_topic(*stage.inputs), name=stage.name, concurrency=1)
    async def process(stream: Any) -> None:
        async for event in iterate_in_runs(stream):
            await shell.handle(_message(event.message))


def _rows_first(app: App, rulebook: Rulebook | None) -> bool:
    """Return whether outputs are held until their rows are in the changelog.

    `rulebook`: that of a stage that draws choices or spends budgets; there, an input that is read
    again after a kill may be decided by a newer snapshot, but its spending must be counted once.
    """
    return app.options.rows_first or (rulebook is not None and rulebook.may_decide_differently)


def _create_watermark(stage: Stage, options: AppOptions) -> Watermark:
    """Create the watermark of all stages before `stage`."""
    kafka = {**options.librdkafka, "bootstrap.servers": options.bootstrap_servers}
    earlier_stages = STAGES[: STAGES.index(stage)]
    return Watermark(
        kafka,
        [
            ConsumerGroup(options.transport(earlier.name).group_id, earlier.inputs)
            for earlier in earlier_stages
        ],
    )


def _message(message: Any) -> Message:
    return Message(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=round(message.timestamp * 1000),
        raw_key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )


class _FaustPorts:
    """Ports of a stage's shell on a Faust app. All inputs of a stage have equal partition
    counts."""

    def __init__(
        self, app: App, table: RawTable, apps: Sequence[App], rows_first: Callable[[], bool]
    ) -> None:
        self._app = app
        self._apps = apps
        self._rows_first = rows_first
        self.table = table

    @property
    def partitions(self) -> Collection[int]:
        return self.table.owned_partitions if _is_ready(self._app) else ()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        barrier_partition = partition if self._rows_first() else None
        self._app.producer.send_raw(  # type: ignore[attr-defined]
            topic, key, value, headers=headers, barrier_partition=barrier_partition
        )

    def backlog(self, partition: int) -> int | None:
        later_apps = self._apps[self._apps.index(self._app) :]
        backlogs = [_backlog(app, partition) for app in later_apps]
        counts = [count for count in backlogs if count is not None]
        return sum(counts) if len(counts) == len(backlogs) else None

    async def flush_and_commit(self) -> None:
        await self._app.consumer.commit()

    def committed_offset(self, topic: str, partition: int) -> int:
        offset = self._app.consumer.committed_offset(TP(topic, partition))  # type: ignore[attr-defined]
        return 0 if offset is None else int(offset)

    def partition_of(self, topic: str, key: bytes) -> int:
        return murmur2_partition(key, self._app.options.partitions)


def _is_ready(app: App) -> bool:
    return bool(app.tables.actives_ready) and not app.rebalancing


def _backlog(app: App, partition: int) -> int | None:
    return app.consumer.count_unprocessed(partition) if _is_ready(app) else None  # type: ignore[attr-defined]
