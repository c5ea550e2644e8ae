"""How the processes of a home are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct, field

from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import Announcement, announcements
from pipeline.stack.control import running_supervision
from pipeline.stack.plan import ProcessSpec
from pipeline.stack.supervision import Child, read_plan, read_supervision

Condition: TypeAlias = Literal["starting", "ready", "stopping", "restarting", "dead", "stopped"]


class ProcessStatus(Struct, frozen=True):
    """`lag`: records that its consumer groups have still to process, None when it has none or
    Kafka does not say. `restarts`: how often the supervisor had to start it again."""

    name: str
    state: Condition
    pid: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    lag: int | None = None
    restarts: int = 0
    last_exit: int | None = None


class BrokerStatus(Struct, frozen=True):
    """`state` external: KAIROS_BOOTSTRAP_SERVERS names it."""

    state: Literal["ready", "stopped", "external"]
    bootstrap: str | None = None
    pid: int | None = None


class StackStatus(Struct, frozen=True):
    """`lag` by consumer group; `configuration` is the digest of the applied one."""

    home: str
    broker: BrokerStatus
    configuration: str | None
    lag: dict[str, int]
    processes: tuple[ProcessStatus, ...]


def processes(home: Path, lag: Mapping[str, int]) -> tuple[ProcessStatus, ...]:
    """Every process that should run or does, the supervisor first."""
    announced = announcements(home)
    plan = read_plan(home)
    specs = {spec.name: spec for spec in plan.processes} if plan else {}
    supervision = running_supervision(home)
    children = supervision.children if supervision else {}
    planned = [
        _planned(spec, announced.get(spec.name), children.get(spec.name), lag)
        for spec in specs.values()
    ]
    others = [
        ProcessStatus(a.name, a.state, a.process.pid, a.ports)
        for a in announced.values()
        if a.name not in specs
    ]
    return (_supervisor(home), *planned, *others)


def _supervisor(home: Path) -> ProcessStatus:
    """Its file stays when it is killed, and goes when it stops as asked."""
    supervision = read_supervision(home)
    if supervision is None:
        return ProcessStatus("supervisor", "stopped")
    if supervision.supervisor.process() is None:
        return ProcessStatus("supervisor", "dead")
    return ProcessStatus("supervisor", "ready", supervision.supervisor.pid)


def _planned(
    spec: ProcessSpec,
    announced: Announcement | None,
    child: Child | None,
    lag: Mapping[str, int],
) -> ProcessStatus:
    running = announced.process if announced else child.process if child else None
    return ProcessStatus(
        spec.name,
        _state(announced, child, running),
        running.pid if running else None,
        announced.ports if announced else {},
        _lag(spec, lag),
        child.restarts if child else 0,
        child.last_exit if child else None,
    )


def _state(
    announced: Announcement | None, child: Child | None, running: ProcessHandle | None
) -> Condition:
    if announced is not None:
        return announced.state
    if child is None:
        return "stopped"
    if running is not None and running.process() is not None:
        return "starting"
    return "restarting" if child.process is None and child.restarts else "dead"


def _lag(spec: ProcessSpec, lag: Mapping[str, int]) -> int | None:
    known = [lag[group] for group in spec.groups if group in lag]
    return sum(known) if known else None
