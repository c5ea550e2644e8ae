"""Which processes a stack consists of, and the order in which they stop."""

import re
from enum import IntEnum

from msgspec import Struct

STAGES = ("identity", "enrichment", "segmentation", "decisioning")

_TERM = re.compile(r"(?P<name>[a-z]+)(?:=(?P<count>[1-9][0-9]?))?")


class Tier(IntEnum):
    """Processes stop from the lowest tier up: nobody loses what they still need."""

    ADAPTER = 0
    GATEWAY = 1
    WORKER = 2


class ProcessSpec(Struct, frozen=True):
    """`arguments` follow the word `kairos`."""

    name: str
    arguments: tuple[str, ...]
    tier: Tier


class Plan(Struct, frozen=True):
    """What the supervisor of a home has to keep running."""

    processes: tuple[ProcessSpec, ...]


def worker_name(agents: str, instance: str) -> str:
    """The name under which `kairos worker AGENTS --instance INSTANCE` is known."""
    return f"worker-{agents}-{instance}"


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
        return dict.fromkeys(STAGES, 1)
    if counts.keys() == {"all"}:
        return counts
    if not counts.keys() <= set(STAGES):
        raise ValueError(_mend(workers))
    return dict.fromkeys(STAGES, 1) | counts


def make_plan(workers: dict[str, int], gateway_port: int, adapters: frozenset[str]) -> Plan:
    """The plan for an arrangement from `arrange` and the adapters that the channels need."""
    return Plan(
        (
            *(
                _worker(agents, str(instance))
                for agents, count in workers.items()
                for instance in range(count)
            ),
            ProcessSpec("gateway", ("gateway", "--port", str(gateway_port)), Tier.GATEWAY),
            *(
                ProcessSpec(f"adapter-{name}", ("adapter", name), Tier.ADAPTER)
                for name in sorted(adapters)
            ),
        )
    )


def _worker(agents: str, instance: str) -> ProcessSpec:
    arguments = ("worker", agents, "--instance", instance)
    return ProcessSpec(worker_name(agents, instance), arguments, Tier.WORKER)


def _mend(workers: str) -> str:
    return (
        f"workers {workers!r}: say `all`, `four`, or how many of which, for example "
        f"`all=2` or `identity=2,decisioning=2` ({', '.join(STAGES)})"
    )
