"""Plan of a stack: its processes, and the order in which they stop."""

import re
import sys
from enum import IntEnum

from msgspec import Struct

from pipeline.adapters.consumer_groups import LEARNER_GROUP, adapter_group
from pipeline.flow import STAGES

ALL = "all"
"""Agents of every stage in one process."""

INGEST = "ingest"
"""Watcher of files."""

LEARNER = "learner"
"""Learner of the probabilities that messages reach their goals."""

_NAMES = tuple(stage.name for stage in STAGES)
_GROUPS = {stage.name: stage.group for stage in STAGES}
_EXTRA_GROUPS = {LEARNER: (LEARNER_GROUP,)}
_TERM = re.compile(r"(?P<name>[a-z]+)(?:=(?P<count>[1-9][0-9]?))?")


class Tier(IntEnum):
    """Order of stopping, the lowest tier first, so that no process outlives one that it needs."""

    ADAPTER = 0
    GATEWAY = 1
    WORKER = 2


class ProcessSpec(Struct, frozen=True):
    """Process to run; `groups`: the consumer groups that it is a member of."""

    name: str
    command: tuple[str, ...]
    tier: Tier
    groups: tuple[str, ...] = ()


class ProcessPlan(Struct, frozen=True):
    """Processes that the supervisor of a home keeps running."""

    processes: tuple[ProcessSpec, ...]
    gateway_port: int


def worker_name(agents: str, instance: str) -> str:
    """Return the process name of `kairos worker AGENTS --instance INSTANCE`."""
    return f"worker-{agents}-{instance}"


def adapter_name(adapter: str, instance: str = "0") -> str:
    """Return the process name of `kairos adapter ADAPTER --instance INSTANCE`."""
    return f"adapter-{adapter}-{instance}"


def parse_workers(workers: str) -> dict[str, int]:
    """Return the number of processes by agent: `all`, `all=2`, `four`, or
    `identity=2,decisioning=3`.

    Stages missing from a list get one process. Raises ValueError.
    """
    counts: dict[str, int] = {}
    for term in workers.split(","):
        match = _TERM.fullmatch(term.strip())
        if match is None or match["name"] in counts:
            raise ValueError(_usage(workers))
        counts[match["name"]] = int(match["count"] or 1)
    if counts == {"four": 1}:
        return dict.fromkeys(_NAMES, 1)
    if counts.keys() == {ALL}:
        return counts
    if not counts.keys() <= set(_NAMES):
        raise ValueError(_usage(workers))
    return dict.fromkeys(_NAMES, 1) | counts


def make_plan(
    workers: dict[str, int], gateway_port: int, adapters: frozenset[str], *extras: str
) -> ProcessPlan:
    """Return the plan for the workers, and the adapters that the channels need.

    `extras`: `INGEST` where files are watched for, `LEARNER` where something is learned.
    """
    agents = [
        _worker_spec(name, str(instance))
        for name, count in workers.items()
        for instance in range(count)
    ]
    gateway = ProcessSpec(
        "gateway", _kairos_command("gateway", "--port", str(gateway_port)), Tier.GATEWAY
    )
    extra_specs = (
        ProcessSpec(extra, _kairos_command(extra), Tier.ADAPTER, _EXTRA_GROUPS.get(extra, ()))
        for extra in extras
    )
    return ProcessPlan(
        (*agents, gateway, *map(_adapter_spec, sorted(adapters)), *extra_specs), gateway_port
    )


def _worker_spec(agents: str, instance: str) -> ProcessSpec:
    groups = tuple(_GROUPS.values()) if agents == ALL else (_GROUPS[agents],)
    command = _kairos_command("worker", agents, "--instance", instance)
    return ProcessSpec(worker_name(agents, instance), command, Tier.WORKER, groups)


def _adapter_spec(name: str) -> ProcessSpec:
    command = _kairos_command("adapter", name)
    return ProcessSpec(adapter_name(name), command, Tier.ADAPTER, (adapter_group(name),))


def _kairos_command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pipeline.cli", *arguments)


def _usage(workers: str) -> str:
    return (
        f"workers {workers!r}: give `all`, `four`, or numbers of processes, for example "
        f"`all=2` or `identity=2,decisioning=2` (stages: {', '.join(_NAMES)})"
    )
