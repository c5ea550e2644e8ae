"""Prometheus metrics of each stage's transport and store, about a second old."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from faust.types import TP
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agents.app import App
from agents.store.partition import StoreSize
from agents.store.store import RocksStore

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily

_SAMPLE_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one stage's transport and store; `state` by partition."""

    lag: Mapping[TP, int]
    received_records: int
    commits: int
    commit_seconds: float
    unacknowledged_records: int
    suppressed_records: int
    rebalances: int
    restored_records: int
    state: Mapping[int, StoreSize]

    @classmethod
    def sample(cls, app: App) -> "Figures":
        """Read the figures; to be called in the event loop of an app that has started."""
        consumer, producer = cast(Any, app.consumer), cast(Any, app.producer)
        return cls(
            lag=consumer.lag(),
            received_records=consumer.received_total,
            commits=consumer.commit_figures.commit_count,
            commit_seconds=consumer.commit_figures.seconds,
            unacknowledged_records=producer.queue_depth(),
            suppressed_records=producer.suppressed_total,
            rebalances=app.rebalancing_count,
            restored_records=cast(Any, app.tables).recovery.records_total,
            state=_state(app),
        )


def _state(app: App) -> Mapping[int, StoreSize]:
    [table] = app.tables.values()
    return cast(RocksStore, table.data).sizes()


class EngineCollector(Collector):
    """Collector of the figures of the watched apps' transports and stores."""

    def __init__(self) -> None:
        self._figures: dict[str, Figures] = {}

    def watch(self, stage: str, app: App) -> None:
        """Sample the app of `stage` at an interval, from its start on."""

        @app.timer(_SAMPLE_INTERVAL_S)  # type: ignore[untyped-decorator]
        async def sample() -> None:
            self._figures[stage] = Figures.sample(app)

    def collect(self) -> Iterator[Family]:
        """Yield the families with the latest figures; called in the server's thread."""
        families = _families()
        for stage, figures in list(self._figures.items()):
            _add(families, stage, figures)
        yield from families.values()


def _families() -> dict[str, Family]:
    stage, partition_labels = ["stage"], ["stage", "partition"]
    families: list[Family] = [
        GaugeMetricFamily(
            "kairos_stage_lag_records",
            "Records past the committed offset, or all records where nothing is committed",
            labels=["stage", "topic", "partition"],
        ),
        CounterMetricFamily("kairos_stage_read", "Records given to the stage", labels=stage),
        CounterMetricFamily("kairos_stage_commits", "Commits of input offsets", labels=stage),
        CounterMetricFamily(
            "kairos_stage_commit_seconds", "Time that Kafka took for commits", labels=stage
        ),
        GaugeMetricFamily(
            "kairos_stage_undelivered_records",
            "Records written that Kafka has not acknowledged",
            labels=stage,
        ),
        CounterMetricFamily(
            "kairos_stage_spared",
            "Records that a killed worker had sent, and whose duplicates were suppressed",
            labels=stage,
        ),
        CounterMetricFamily(
            "kairos_stage_rebalances", "Assignments and revocations of partitions", labels=stage
        ),
        CounterMetricFamily(
            "kairos_stage_restored", "Changelog records read to rebuild state", labels=stage
        ),
        GaugeMetricFamily(
            "kairos_stage_state_bytes", "Size of the state's files", labels=partition_labels
        ),
        GaugeMetricFamily(
            "kairos_stage_state_rows",
            "Rows of the state, as RocksDB estimates",
            labels=partition_labels,
        ),
    ]
    return {family.name.removeprefix("kairos_stage_"): family for family in families}


def _add(families: Mapping[str, Family], stage: str, figures: Figures) -> None:
    for tp, lag in figures.lag.items():
        families["lag_records"].add_metric([stage, tp.topic, str(tp.partition)], lag)
    families["read"].add_metric([stage], figures.received_records)
    families["commits"].add_metric([stage], figures.commits)
    families["commit_seconds"].add_metric([stage], figures.commit_seconds)
    families["undelivered_records"].add_metric([stage], figures.unacknowledged_records)
    families["spared"].add_metric([stage], figures.suppressed_records)
    families["rebalances"].add_metric([stage], figures.rebalances)
    families["restored"].add_metric([stage], figures.restored_records)
    for partition, size in figures.state.items():
        families["state_bytes"].add_metric([stage, str(partition)], size.bytes)
        families["state_rows"].add_metric([stage, str(partition)], size.rows)
