"""`kairos bench state`: many profiles on disk and in memory, and the time to rebuild them.

The worker, which runs all four agents, starts without state and reads its changelogs; then it
starts once more with the state that it has.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import percentile
from tests.benchmarks.filling import ChangelogSize, fill
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client
from tests.benchmarks.processes import running
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, Stages, SystemChoice, worker_programs
from tests.benchmarks.traffic import CUSTOMERS

_RATE: Final = 100
_SECONDS: Final = 10.0
_REBUILD_S: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class StageSize:
    """Size of one stage's rows: in its changelog, and in its files."""

    stage: str
    rows: int
    changelog_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class StateCost:
    """Size of the state; `rebuild_s`: from the start of a worker without state until it is ready;
    `start_s`: the same of a worker with its state. `resident_bytes` of the worker once it is ready,
    `peak_bytes` up to then. `p50`, `p99`: ms from interaction to action at 100/s, beside all these
    profiles."""

    profiles: int
    stages: tuple[StageSize, ...]
    rebuild_s: float
    start_s: float
    resident_bytes: int
    peak_bytes: int
    p50: float
    p99: float


def measure(rig: Rig, choice: SystemChoice, profiles: int, say: Say) -> StateCost:
    """Measure the configuration `choice`: demo or large."""
    system = SYSTEMS[choice.name]
    assert isinstance(system, Stages)
    say(f"{profiles:,} profiles into the changelogs")
    changelogs = fill(rig, system.bundle(), profiles)
    say("rebuilding")
    programs = tuple(worker_programs(rig, 1))
    begin_s = time.monotonic()
    with running(programs, rig.home, rig.environment, _REBUILD_S) as [worker]:
        rebuild_s = time.monotonic() - begin_s
        resident_bytes, peak_bytes = _memory(worker.child.pid)
        disk_sizes = [_size(rig.home / "state" / stage.stage) for stage in changelogs]
    say("starting again")
    begin_s = time.monotonic()
    with system.running(rig, 1) as arrangement:
        start_s = time.monotonic() - begin_s
        with closing(Client(rig.settings.kafka(), arrangement.traffic, {})) as client:
            client.run_open_loop(_RATE, 2 * CUSTOMERS / _RATE)
            latencies = sorted(client.run_open_loop(_RATE, _SECONDS).latencies_ms)
    return StateCost(
        profiles,
        _sizes(changelogs, disk_sizes),
        rebuild_s,
        start_s,
        resident_bytes,
        peak_bytes,
        percentile(latencies, 0.50),
        percentile(latencies, 0.99),
    )


def _sizes(changelogs: Sequence[ChangelogSize], disk_sizes: Sequence[int]) -> tuple[StageSize, ...]:
    return tuple(
        StageSize(stage.stage, stage.rows, stage.bytes, size)
        for stage, size in zip(changelogs, disk_sizes, strict=True)
    )


def _memory(pid: int) -> tuple[int, int]:
    """Return the resident bytes now, and their peak so far (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {
        name: int(value.split()[0])
        for name, _, value in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM")
    }
    return kib["VmRSS"] * 1024, kib["VmHWM"] * 1024


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
