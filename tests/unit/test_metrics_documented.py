"""The agents' metrics are those of the documented table, with their labels.

`test_readme.py` checks that the table has every registered metric.
"""

import re

import pytest
from faust.types import TP
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents import metrics
from agents.engine_metrics import EngineCollector, Figures
from agents.idempotence import Output
from agents.metrics import StageMetrics
from agents.store.partition import StoreSize
from tests.support.readme import metrics_document

_ROW = re.compile(r"\| `(\w+)` \| ([^|]*) \|")


def _documented_metrics() -> dict[str, set[str]]:
    rows = _ROW.findall(metrics_document())
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def test_stage_metrics_are_documented() -> None:
    stage_metrics = StageMetrics("identity")
    stage_metrics.observe(0.001, 0.0004)
    stage_metrics.count_outputs((Output("interactions.identified", b"k", b"v"),))
    samples = {
        family.name + ("_total" if family.type == "counter" else ""): set(sample.labels) - {"le"}
        for family in metrics.STAGE_COLLECTOR.collect()
        for sample in family.samples
    }
    assert len(samples) == 3
    assert samples.items() <= _documented_metrics().items()


def test_times_are_counted_as_prometheus_counts_them() -> None:
    # Compared with a histogram of prometheus_client, bounds included.
    registry = CollectorRegistry()
    reference = Histogram(
        "kairos_stage_spent_seconds", "", ["stage"], buckets=metrics.BUCKET_BOUNDS_S, registry=None
    )
    collector = metrics.StageCollector()
    registry.register(collector)
    seconds = [0.0, 0.0001, 0.00010001, 0.3, 10.0, 11.0, *metrics.BUCKET_BOUNDS_S]
    for second in seconds:
        reference.labels("s").observe(second)
        collector.stage_counts("s").processing_times.observe(second)
    reference_samples = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in reference.collect()
        for s in family.samples
        if not s.name.endswith("_created")
    }
    families = text_string_to_metric_families(generate_latest(registry).decode())
    own_samples = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in families
        for s in family.samples
        if s.name.startswith("kairos_stage_spent")
    }
    assert own_samples == reference_samples


def test_engine_metrics_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = EngineCollector()
    figures = Figures({TP("t", 0): 7}, 1, 2, 0.5, 3, 9, 4, 5, {0: StoreSize(6, 8)})
    monkeypatch.setattr(collector, "_figures", {"identity": figures})
    samples = {s.name: (set(s.labels), s.value) for f in collector.collect() for s in f.samples}
    assert {
        name: labels for name, (labels, _) in samples.items()
    }.items() <= _documented_metrics().items()
    assert [value for _, value in samples.values()] == [7, 1, 2, 0.5, 3, 9, 4, 5, 6, 8]
    assert not [f for f in REGISTRY.collect() if f.name == "kairos_stage_lag_records"]
