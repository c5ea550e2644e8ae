"""Telemetry of the agents: headers of records, and metrics of processes."""

import re
import urllib.request
from collections import Counter
from pathlib import Path

from pipeline.adapters.run_state import announcements
from pipeline.adapters.snapshots import StoredRecord
from pipeline.flow import STAGES

_STAGES = [stage.name for stage in STAGES]
_SAMPLE = re.compile(r'^(kairos_\w+)\{[^}]*stage="(\w+)"[^}]*\} (\S+)$', re.MULTILINE)


def trace_of(number: int) -> str:
    """Return a W3C trace id for the record of this number."""
    return f"{number + 1:032x}"


def traceparent(number: int) -> tuple[str, bytes]:
    """Return the header with which a client begins that trace."""
    return "traceparent", f"00-{trace_of(number)}-{1:016x}-01".encode()


def check_decision_headers(decision: StoredRecord, trace: str) -> None:
    """Check that a decision ends the trace that its interaction began, and has each stage's
    times."""
    headers = dict(decision.headers)
    version, trace_id, span, flags = (headers["traceparent"] or b"").decode().split("-")
    assert (version, trace_id, flags) == ("00", trace, "01")
    assert span != f"{1:016x}"
    timings = dict(
        part.split("=") for part in (headers["kairos-timing"] or b"").decode().split(",")
    )
    assert list(timings) == _STAGES
    assert all(float(ms) >= 0 for pair in timings.values() for ms in pair.split("/"))


def metrics(home: Path) -> Counter[tuple[str, str]]:
    """Return the sums of all samples by metric and stage, over every worker of a home."""
    sums: Counter[tuple[str, str]] = Counter()
    for process in announcements(home).values():
        url = f"http://127.0.0.1:{process.ports['metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as response:
            for name, stage, value in _SAMPLE.findall(response.read().decode()):
                sums[name, stage] += float(value)  # type: ignore[assignment]
    return sums
