"""Which processes a stack consists of, and the order in which they stop."""

import re
import sys
from enum import IntEnum

from msgspec import Struct

from pipeline.flow import STAGES
from pipeline.stack.groups import adapter_group

ALL = "all"
"""The agents of every stage in one process."""

INGEST = "ingest"
"""The watcher of files."""

_NAMES = tuple(stage.name for stage in STAGES)
_GROUPS = {stage.name: stage.group for stage in STAGES}
_TERM = re.compile(r"(?P<name>[a-z]+)(?:=(?P<count>[1-9][0-9]?))?")


class Tier(IntEnum):
    """Processes stop from the lowest tier up: nobody loses what they still need."""

    ADAPTER = 0
    GATEWAY = 1
    WORKER = 2


class ProcessSpec(Struct, frozen=True):
    """`groups`: the consumer groups that it is a member of."""

    name: str
    command: tuple[str, ...]
    tier: Tier
    groups: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """What the supervisor of a home has to keep running."""

    processes: tuple[ProcessSpec, ...]
    gateway_port: int


def worker_name(agents: str, instance: str) -> str:
    """The name under which `kairos worker AGENTS --instance INSTANCE` is known."""
    return f"worker-{agents}-{instance}"


def adapter_name(adapter: str, instance: str = "0") -> str:
    """The name under which `kairos adapter ADAPTER --instance INSTANCE` is known."""
    return f"adapter-{adapter}-{instance}"


def arrange(workers: str) -> dict[str, int]:
    """How many processes of which agents: `all`, `all=2`, `four`, or `identity=2,decisioning=3`.

    Stages that a list does not name get one process. ValueError when it cannot be read.
    """
    counts: dict[str, int] = {}
    for term in workers.split(","):
        match = _TERM.fullmatch(term.strip())
        if match is None or match["name"] in counts:
            raise ValueError(_mend(workers))
        counts[match["name"]] = int(match["count"] or 1)
    if counts == {"four": 1}:
        return dict.fromkeys(_NAMES, 1)
    if counts.keys() == {ALL}:
        return counts
    if not counts.keys() <= set(_NAMES):
        raise ValueError(_mend(workers))
    return dict.fromkeys(_NAMES, 1) | counts


def make_plan(
    workers: dict[str, int], gateway_port: int, adapters: frozenset[str], *, ingest: bool = False
) -> Plan:
    """The plan for an arrangement from `arrange` and the adapters that the channels need. `ingest`:
    there are files to watch for."""
    agents = [
        _worker(name, str(instance)) for name, count in workers.items() for instance in range(count)
    ]
    gateway = ProcessSpec("gateway", _kairos("gateway", "--port", str(gateway_port)), Tier.GATEWAY)
    watcher = (ProcessSpec(INGEST, _kairos(INGEST), Tier.ADAPTER),) if ingest else ()
    return Plan((*agents, gateway, *map(_adapter, sorted(adapters)), *watcher), gateway_port)


def _worker(agents: str, instance: str) -> ProcessSpec:
    groups = tuple(_GROUPS.values()) if agents == ALL else (_GROUPS[agents],)
    command = _kairos("worker", agents, "--instance", instance)
    return ProcessSpec(worker_name(agents, instance), command, Tier.WORKER, groups)


def _adapter(name: str) -> ProcessSpec:
    command = _kairos("adapter", name)
    return ProcessSpec(adapter_name(name), command, Tier.ADAPTER, (adapter_group(name),))


def _kairos(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pipeline.cli", *arguments)


def _mend(workers: str) -> str:
    return (
        f"workers {workers!r}: say `all`, `four`, or how many of which, for example "
        f"`all=2` or `identity=2,decisioning=2` ({', '.join(_NAMES)})"
    )
