"""Use of time and memory by a command of Kairos, measured from outside."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.benchmarks.rig import Rig

_LOOK_S: Final = 0.1


@dataclass(slots=True)
class CommandUse:
    """Measured time and memory of a command."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    helpers_peak_bytes: int = 0
    was_killed: bool = False

    def measure(self, command: psutil.Process) -> None:
        """Add a measurement of the command and its helper processes."""
        own_use = _measure_use(command)
        helpers = [_measure_use(child) for child in command.children()]
        self.cpu_s = max(self.cpu_s, own_use[0] + sum(helper[0] for helper in helpers))
        self.peak_bytes = max(self.peak_bytes, own_use[1])
        self.helpers_peak_bytes = max(self.helpers_peak_bytes, sum(helper[1] for helper in helpers))


def watch(
    rig: Rig, arguments: tuple[str, ...], output: Path, limit_s: float = 3_600.0
) -> CommandUse:
    """Run the command with its output in a file, and kill it after `limit_s`; return its use."""
    use = CommandUse()
    with output.open("wb") as file:
        begin_s = time.monotonic()
        child = subprocess.Popen(rig.kairos_command(*arguments), env=rig.environment, stdout=file)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            if time.monotonic() - begin_s > limit_s:
                child.kill()
                use.was_killed = True
            try:
                use.measure(process)
            except psutil.Error:
                continue
            time.sleep(_LOOK_S)
        use.seconds = time.monotonic() - begin_s
    return use


def _measure_use(process: psutil.Process) -> tuple[float, int]:
    """Return seconds on the processor, with those of children that ended, and resident bytes."""
    times = process.cpu_times()
    own_seconds = times.user + times.system
    return own_seconds + times.children_user + times.children_system, process.memory_info().rss
