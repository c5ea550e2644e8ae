"""Speed of the machine on which figures were measured."""

import os
import platform
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import psutil

_PACKAGES = ("confluent-kafka", "faust-streaming", "aiokafka", "rocksdict", "fastavro", "msgspec")
_ROUND_COUNT: Final = 5
_ADDITION_COUNT: Final = 1_000_000
_WAKE_UP_COUNT: Final = 500


@dataclass(frozen=True, slots=True)
class Machine:
    """Machine, with its `load_average` over the last minute before the run.

    `loop_ms`: duration of a million additions in a loop of Python; `wake_up_us`: time until another
    thread that waits on a lock runs. Together with the floor they distinguish a slow machine from a
    slow program.
    """

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    load_average: float
    loop_ms: float
    wake_up_us: float

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.system}; "
            f"Python {self.python}, {packages}; load average before: {self.load_average:.1f}; "
            f"a loop of {_ADDITION_COUNT:,} additions {self.loop_ms:.0f} ms, "
            f"a thread's wake-up {self.wake_up_us:.0f} µs"
        )


def this_machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: version(name) for name in _PACKAGES},
        load_average=os.getloadavg()[0],
        loop_ms=median(_loop_s() for _ in range(_ROUND_COUNT)) * 1e3,
        wake_up_us=median(_wake_up_s() for _ in range(_ROUND_COUNT)) * 1e6,
    )


def _loop_s() -> float:
    begin_s, total = time.perf_counter(), 0
    for number in range(_ADDITION_COUNT):
        total += number
    return time.perf_counter() - begin_s


def _wake_up_s() -> float:
    """Return the seconds of a thread's wake-up, measured by two threads that wake each other."""
    call, reply = threading.Semaphore(0), threading.Semaphore(0)

    def answer() -> None:
        for _ in range(_WAKE_UP_COUNT):
            call.acquire()
            reply.release()

    replier = threading.Thread(target=answer)
    replier.start()
    begin_s = time.perf_counter()
    for _ in range(_WAKE_UP_COUNT):
        call.release()
        reply.acquire()
    wake_up_s = time.perf_counter() - begin_s
    replier.join()
    return wake_up_s / (2 * _WAKE_UP_COUNT)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
