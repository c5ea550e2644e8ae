"""`kairos bench recovery`: time from a kill to every partition's first output of later inputs.

Records are sent steadily while the worker, which runs all four agents, is killed with -9 or its
state is deleted, or while the broker is killed with -9 and restarted at once. A worker that ends
for any reason, such as a long absence of the broker, is restarted after the same pause as by
`kairos up`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final, TypeAlias

from tests.benchmarks import configurations
from tests.benchmarks.figures import Passages
from tests.benchmarks.filling import fill
from tests.benchmarks.kept_worker import KeptWorker, KillTimes
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client, MeasuredTraffic
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, Stages
from tests.benchmarks.traffic import CUSTOMERS

_WARM_UP_RATE: Final = 200.0
_FAULT_DELAY_S: Final = 2.0
_RECOVERY_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """Load: `rate` (events/s), `repeats` of everything, and the number of profiles to rebuild."""

    rate: int
    repeats: int
    profiles: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """Medians, s after the kill: return of the process (`ready_s`), first output of later inputs in
    the partition that waited longest (`first_s`; `firsts`: of each repeat), and arrival of the last
    late output (`late_s`). `missing`: inputs of all repeats without an output."""

    loss: str
    ready_s: float
    first_s: float
    firsts: tuple[float, ...]
    late_s: float
    missing: int


_Run: TypeAlias = tuple[KillTimes, Passages]


def measure(rig: Rig, plan: RecoveryPlan, say: Say) -> list[Recovery]:
    """Measure the demonstration's configuration on one worker."""
    say(f"{plan.profiles:,} profiles")
    fill(rig, configurations.demo_bundle(), plan.profiles)
    faults: dict[str, Callable[[KeptWorker], KillTimes]] = {
        "worker killed": KeptWorker.kill,
        "broker killed": KeptWorker.kill_broker,
        f"state of {plan.profiles:,} profiles deleted": KeptWorker.delete_state,
    }
    runs_by_loss: dict[str, list[_Run]] = defaultdict(list)
    with (
        _running_worker(rig) as (worker, traffic),
        closing(Client(rig.settings.kafka(), traffic, {})) as client,
    ):
        client.run_open_loop(_WARM_UP_RATE, 2 * CUSTOMERS / _WARM_UP_RATE)
        for repeat in range(plan.repeats):
            for loss, fault in faults.items():
                say(f"{loss} ({repeat + 1}/{plan.repeats})")
                runs_by_loss[loss].append(_inflict_once(partial(fault, worker), client, plan.rate))
    return [_summary(loss, runs) for loss, runs in runs_by_loss.items()]


@contextmanager
def _running_worker(rig: Rig) -> Iterator[tuple[KeptWorker, MeasuredTraffic]]:
    system = SYSTEMS["demo"]
    assert isinstance(system, Stages)
    with system.running(rig, 1) as arrangement:
        worker = KeptWorker(rig, arrangement.processes[0])
        try:
            yield worker, arrangement.traffic
        finally:
            worker.stop()


def _inflict_once(fault: Callable[[], KillTimes], client: Client, rate: int) -> _Run:
    kill_times: list[KillTimes] = []

    def strike() -> None:
        time.sleep(_FAULT_DELAY_S)
        kill_times.append(fault())

    passages = client.measure_passages(rate, _FAULT_DELAY_S + _RECOVERY_S, strike)
    return kill_times[0], passages


def _summary(loss: str, runs: Sequence[_Run]) -> Recovery:
    firsts = tuple(passages.longest_wait_after(kill.killed_at) for kill, passages in runs)
    return Recovery(
        loss,
        ready_s=median(kill.ready_at - kill.killed_at for kill, _ in runs),
        first_s=median(firsts),
        firsts=firsts,
        late_s=median(passages.delay_period_after(kill.killed_at) for kill, passages in runs),
        missing=sum(passages.missing_count for _, passages in runs),
    )
