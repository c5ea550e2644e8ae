"""A whole stack of real processes in a home of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pipeline.adapters.run_state import announcements
from pipeline.settings import PREFIX, Settings
from pipeline.stack.control import gateway_url
from pipeline.stack.supervision import read_supervision

CONFIGURATION = Path(__file__).parent / "configuration"
WORKERS = 3
ADAPTER = "adapter-webhook"
GATEWAY = "gateway"
_COMMAND_S = 180.0
_BACK_S = 90.0


def worker(number: int) -> str:
    """The name of a worker process."""
    return f"worker-all-{number}"


class Stack:
    """Its processes by name, as the supervisor knows them. `kills`: when (epoch s) any was."""

    def __init__(self, home: Path, receiver_url: str, partitions: int) -> None:
        self.home = home.resolve()
        self.partitions = partitions
        self.kills: list[float] = []
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = {
            **others,
            "KAIROS_HOME": str(self.home),
            "KAIROS_PARTITIONS": str(partitions),
            "KAIROS_BROKER_PORT": "0",
            "CHAOS_RECEIVER": receiver_url,
        }

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, partitions=self.partitions, bootstrap_servers=None)

    @property
    def url(self) -> str:
        """The gateway's; the same for the whole life of the stack."""
        return gateway_url(self.settings)

    def kairos(self, *arguments: str) -> str:
        """Run a command; its output."""
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=_COMMAND_S
        )
        assert done.returncode == 0, (done.returncode, arguments, done.stdout, done.stderr)
        return done.stdout

    def up(self, workers: int = WORKERS) -> None:
        """Start it, or change the number of workers."""
        self.kairos("up", "--config", str(CONFIGURATION), "--workers", f"all={workers}")

    def process(self, name: str) -> psutil.Process:
        """A running process; waits while the supervisor starts it again."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            supervision = read_supervision(self.home)
            child = supervision.children.get(name) if supervision else None
            alive = child.process.process() if child and child.process else None
            found[:] = [] if alive is None else [alive]
            return bool(found)

        eventually(runs)
        return found[0]

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        process = self.process(name)
        self.kills.append(time.time())
        process.kill()

    def wait_until_ready(self, *names: str) -> None:
        """Wait until the processes say that they are there (again)."""
        eventually(lambda: all(self._is_ready(name) for name in names))

    @contextmanager
    def kept_down(self, name: str) -> Iterator[None]:
        """Killed, and started again only afterwards."""
        supervision = read_supervision(self.home)
        supervisor = supervision.supervisor.process() if supervision else None
        assert supervisor is not None
        process = self.process(name)
        supervisor.send_signal(signal.SIGSTOP)
        try:
            self.kills.append(time.time())
            process.kill()
            eventually(lambda: not process.is_running() or process.status() == "zombie")
            yield
        finally:
            supervisor.send_signal(signal.SIGCONT)

    def state(self, stage: str, instance: int) -> Path:
        """The folder of a worker's rows."""
        return self.home / "state" / stage / str(instance)

    def kill_broker(self) -> None:
        running = self.settings.broker().status()
        assert running is not None
        broker = psutil.Process(running.pid)
        self.kills.append(time.time())
        broker.kill()
        eventually(lambda: not broker.is_running() or broker.status() == "zombie")

    def start_broker(self) -> None:
        self.kairos("broker", "start")

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until everything has left the last stage and the adapters."""
        self.wait_until_ready(GATEWAY, ADAPTER, *map(worker, range(WORKERS)))
        self.kairos("status", "--until-idle", str(seconds))

    def down(self) -> None:
        self.kairos("down")

    def _is_ready(self, name: str) -> bool:
        known = announcements(self.home).get(name)
        return known is not None and known.state == "ready"


@contextmanager
def running_stack(home: Path, receiver_url: str, partitions: int) -> Iterator[Stack]:
    """A stack; all of it has ended afterwards, and its files are gone."""
    stack = Stack(home, receiver_url, partitions)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


def eventually(holds: Callable[[], bool], patience_s: float = _BACK_S) -> None:
    """Wait until `holds`; a condition that never does fails the test."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {patience_s} s"
        time.sleep(0.05)
