"""Status of the processes of a home."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct, field

from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import Announcement, announcements
from pipeline.model.budget import BudgetStatus
from pipeline.stack.control import running_supervision
from pipeline.stack.plan import ProcessSpec
from pipeline.stack.supervision import SupervisedProcess, read_plan, read_supervision

ProcessState: TypeAlias = Literal["starting", "ready", "stopping", "restarting", "dead", "stopped"]


class ProcessStatus(Struct, frozen=True):
    """Status of a process.

    `lag`: records that its consumer groups have still to process; None if it has no groups or Kafka
    does not answer. `restarts`: restarts by the supervisor.
    """

    name: str
    state: ProcessState
    pid: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    lag: int | None = None
    restarts: int = 0
    last_exit: int | None = None


class BrokerStatus(Struct, frozen=True):
    """Status of the broker; `state` external: KAIROS_BOOTSTRAP_SERVERS names it."""

    state: Literal["ready", "stopped", "external"]
    bootstrap: str | None = None
    pid: int | None = None


class StackStatus(Struct, frozen=True):
    """Status of a home; `lag`: by consumer group; `configuration`: digest of the one in force;
    `budgets`: those of campaigns; `problem`: why parts of it are missing, empty if none are."""

    home: str
    broker: BrokerStatus
    configuration: str | None
    lag: dict[str, int]
    processes: tuple[ProcessStatus, ...]
    budgets: tuple[BudgetStatus, ...] = ()
    problem: str = ""


def process_statuses(home: Path, lag: Mapping[str, int]) -> tuple[ProcessStatus, ...]:
    """Return every planned or running process, the supervisor first."""
    announced_processes = announcements(home)
    plan = read_plan(home)
    specs = {spec.name: spec for spec in plan.processes} if plan else {}
    supervision = running_supervision(home)
    children = supervision.children if supervision else {}
    planned_statuses = [
        _planned_status(spec, announced_processes.get(spec.name), children.get(spec.name), lag)
        for spec in specs.values()
    ]
    unplanned_statuses = [
        ProcessStatus(a.name, a.state, a.process.pid, a.ports)
        for a in announced_processes.values()
        if a.name not in specs
    ]
    return (_supervisor_status(home), *planned_statuses, *unplanned_statuses)


def _supervisor_status(home: Path) -> ProcessStatus:
    """Return the supervisor's status; its file is left by a crash, and removed by a normal stop."""
    supervision = read_supervision(home)
    if supervision is None:
        return ProcessStatus("supervisor", "stopped")
    if supervision.supervisor.process() is None:
        return ProcessStatus("supervisor", "dead")
    return ProcessStatus("supervisor", "ready", supervision.supervisor.pid)


def _planned_status(
    spec: ProcessSpec,
    announcement: Announcement | None,
    child: SupervisedProcess | None,
    lag: Mapping[str, int],
) -> ProcessStatus:
    handle = announcement.process if announcement else child.process if child else None
    return ProcessStatus(
        spec.name,
        _state(announcement, child, handle),
        handle.pid if handle else None,
        announcement.ports if announcement else {},
        _lag(spec, lag),
        child.restarts if child else 0,
        child.last_exit if child else None,
    )


def _state(
    announcement: Announcement | None,
    child: SupervisedProcess | None,
    handle: ProcessHandle | None,
) -> ProcessState:
    if announcement is not None:
        return announcement.state
    if child is None:
        return "stopped"
    if handle is not None and handle.process() is not None:
        return "starting"
    return "restarting" if child.process is None and child.restarts else "dead"


def _lag(spec: ProcessSpec, lag: Mapping[str, int]) -> int | None:
    lags = [lag[group] for group in spec.groups if group in lag]
    return sum(lags) if lags else None
