"""`kairos bench throughput`: records a second that come out of a backlog.

Draining a backlog needs no search for a sustained rate, and every system may make batches as large
as it likes, so that each system shows its best.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from tests.benchmarks.figures import DrainedBacklog, Throughput, summarise_backlogs
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, SystemChoice
from tests.benchmarks.traffic import CUSTOMERS

_WARM_UP_RATE = 200.0
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class ThroughputPlan:
    """Load: a backlog of `records` for each system, and the number of repeats."""

    choices: Sequence[SystemChoice]
    records: int
    repeats: int


def measure(rig: Rig, plan: ThroughputPlan, say: Say) -> list[Throughput]:
    """Measure all systems in turn, repeatedly, so that drifts of the machine affect all alike."""
    runs: dict[str, list[DrainedBacklog]] = defaultdict(list)
    for repeat in range(plan.repeats):
        for choice in plan.choices:
            say(f"{choice} ({repeat + 1}/{plan.repeats})")
            runs[str(choice)].append(_drain(rig, choice, plan.records))
    return [summarise_backlogs(system, backlogs) for system, backlogs in runs.items()]


def _drain(rig: Rig, choice: SystemChoice, records: int) -> DrainedBacklog:
    with SYSTEMS[choice.name].running(rig, choice.processes) as arrangement:
        pids = {**arrangement.pids, "broker": rig.broker_pid}
        with closing(Client(rig.settings.kafka(), arrangement.traffic, pids)) as client:
            client.run_open_loop(_WARM_UP_RATE, 2 * CUSTOMERS / _WARM_UP_RATE)
            return client.drain_backlog(records, _PATIENCE_S)
