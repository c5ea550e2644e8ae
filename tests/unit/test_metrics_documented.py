"""Every metric of the agents is in the table of the module that defines it, with its labels."""

import re
from types import ModuleType

import pytest
from faust.types import TP
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from agents import engine_metrics, metrics
from agents.engine_metrics import EngineCollector, Figures
from agents.store.partition import StoreSize

_ROW = re.compile(r"\| `(\w+)` \| ([^|]*) \|")


def _documented(module: ModuleType) -> dict[str, set[str]]:
    rows = _ROW.findall(module.__doc__ or "")
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def test_what_a_stage_counts() -> None:
    defined = {
        family.name + ("_total" if family.type == "counter" else ""): set(one._labelnames)
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
        for family in one.describe()
    }
    assert defined == _documented(metrics)


def test_what_the_engine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = EngineCollector()
    figures = Figures({TP("t", 0): 7}, 1, 2, 0.5, 3, 9, 4, 5, {0: StoreSize(6, 8)})
    monkeypatch.setattr(collector, "_figures", {"identity": figures})
    told = {s.name: (set(s.labels), s.value) for f in collector.collect() for s in f.samples}
    assert {name: labels for name, (labels, _) in told.items()} == _documented(engine_metrics)
    assert [value for _, value in told.values()] == [7, 1, 2, 0.5, 3, 9, 4, 5, 6, 8]
    assert not [f for f in REGISTRY.collect() if f.name == "kairos_stage_lag_records"]
