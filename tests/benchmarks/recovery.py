"""`kairos bench recovery`: from a kill to the first output of what was sent after it.

Records keep being sent while the worker, which runs all four agents, or the broker is killed with
-9 and started again at once, or while the worker's state is deleted. A worker that ends is started
again whatever ended it, as `kairos up` does: a broker that is away for long ends it too.
"""

import os
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final, TypeAlias

from pipeline.adapters.broker import BrokerFailure
from tests.benchmarks import configurations
from tests.benchmarks.figures import Passages
from tests.benchmarks.filling import fill
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client, Traffic
from tests.benchmarks.processes import Process, start
from tests.benchmarks.rig import NoRigError, Rig
from tests.benchmarks.systems import SYSTEMS, Stages
from tests.benchmarks.traffic import CUSTOMERS

_WARM_RATE: Final = 200.0
_BEFORE_S: Final = 2.0
_AFTER_S: Final = 6.0
_LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` (events/s), `repeats` of everything, and how many profiles there are to rebuild."""

    rate: int
    repeats: int
    profiles: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """Medians, s after the kill: when the process was there again (`ready_s`), when the first
    output came of what was sent after it (`first_s`; `firsts`: of each repeat), and the last one
    that was late (`late_s`); `missing` counts over all repeats."""

    what: str
    ready_s: float
    first_s: float
    firsts: tuple[float, ...]
    late_s: float
    missing: int


@dataclass(frozen=True, slots=True)
class _Struck:
    """When something was killed, and was there again (s, monotonic)."""

    killed_at: float
    ready_at: float


_Passed: TypeAlias = tuple[_Struck, Passages]


class _Worker:
    """The worker, started again whenever it ends."""

    def __init__(self, rig: Rig, process: Process) -> None:
        self._rig = rig
        self._process = process
        self._starting = threading.Lock()
        self._kept = True
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self._keeper.start()

    def stop(self) -> None:
        with self._starting:
            self._kept = False
            self._process.end()
        self._keeper.join()

    def kill(self) -> _Struck:
        return self._struck(lambda: self._process.end(signal.SIGKILL))

    def delete_state(self) -> _Struck:
        def deleted() -> None:
            self._process.end()
            shutil.rmtree(self._rig.home / "state")

        return self._struck(deleted)

    def kill_broker(self) -> _Struck:
        broker = self._rig.settings.broker()
        running = broker.status()
        assert running is not None
        killed_at = time.monotonic()
        os.kill(running.pid, signal.SIGKILL)
        while broker.status() is not None:
            time.sleep(_LOOK_S)
        started = broker.start()
        if isinstance(started, BrokerFailure):
            raise NoRigError(started.message)
        return _Struck(killed_at, time.monotonic())

    def _struck(self, strike: Callable[[], None]) -> _Struck:
        with self._starting:
            struck = self._process
            killed_at = time.monotonic()
            strike()
        while self._process is struck:
            time.sleep(_LOOK_S)
        self._process.wait_until_ready()
        return _Struck(killed_at, time.monotonic())

    def _keep(self) -> None:
        while True:
            self._process.child.wait()
            with self._starting:
                if not self._kept:
                    return
                program = self._process.program
                self._process = start(program, self._rig.home, self._rig.environment)


def measure(rig: Rig, plan: Plan, say: Say) -> list[Recovery]:
    """On the demonstration's configuration, one worker."""
    say(f"{plan.profiles:,} profiles")
    fill(rig, configurations.demo(), plan.profiles)
    faults: dict[str, Callable[[_Worker], _Struck]] = {
        "worker killed": _Worker.kill,
        "broker killed": _Worker.kill_broker,
        f"state of {plan.profiles:,} profiles deleted": _Worker.delete_state,
    }
    found: dict[str, list[_Passed]] = defaultdict(list)
    with _worker(rig) as (worker, traffic), closing(Client(rig.settings.kafka(), traffic, {})) as c:
        c.open_loop(_WARM_RATE, 2 * CUSTOMERS / _WARM_RATE)
        for repeat in range(plan.repeats):
            for what, fault in faults.items():
                say(f"{what} ({repeat + 1}/{plan.repeats})")
                found[what].append(_once(partial(fault, worker), c, plan.rate))
    return [_summary(what, passed) for what, passed in found.items()]


@contextmanager
def _worker(rig: Rig) -> Iterator[tuple[_Worker, Traffic]]:
    system = SYSTEMS["demo"]
    assert isinstance(system, Stages)
    with system.running(rig, 1) as arrangement:
        worker = _Worker(rig, arrangement.processes[0])
        try:
            yield worker, arrangement.traffic
        finally:
            worker.stop()


def _once(fault: Callable[[], _Struck], client: Client, rate: int) -> _Passed:
    found: list[_Struck] = []

    def strike() -> None:
        time.sleep(_BEFORE_S)
        found.append(fault())

    passages = client.passages(rate, _BEFORE_S + _AFTER_S, strike)
    return found[0], passages


def _summary(what: str, passed: Sequence[_Passed]) -> Recovery:
    firsts = tuple(passages.first_after(struck.killed_at) for struck, passages in passed)
    return Recovery(
        what,
        ready_s=median(struck.ready_at - struck.killed_at for struck, _ in passed),
        first_s=median(firsts),
        firsts=firsts,
        late_s=median(passages.late_until(struck.killed_at) for struck, passages in passed),
        missing=sum(passages.missing for _, passages in passed),
    )
