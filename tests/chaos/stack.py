"""A stack of real processes that can be killed, stopped and kept down."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pipeline.flow import STAGES
from pipeline.settings import Settings
from pipeline.stack.log_files import log_folder
from pipeline.stack.supervision import read_supervision
from tests.chaos.receiver import IdempotentReceiver
from tests.support import stack as support
from tests.support.doom import POINTS
from tests.support.stack import eventually

_IDLE_S = 900.0
CONFIGURATION = Path(__file__).parent / "configuration"
SPENDING = Path(__file__).parent / "spending"
"""Files that add budgets and learning to the usual configuration."""
WORKERS = 3
ADAPTER = "adapter-webhook-0"
SECOND_ADAPTER = "adapter-webhook-1"
GATEWAY = "gateway"
LEARNER = "learner"


def worker(number: int) -> str:
    """Return the name of a worker process."""
    return f"worker-all-{number}"


class ChaosStack(support.Stack):
    """Stack under faults. `fault_times_s`: times (epoch s) at which a process was killed or
    stopped; `receiver`: receiver of the messages."""

    patience_s = 90.0

    def __init__(
        self,
        home: Path,
        receiver: IdempotentReceiver,
        partitions: int,
        configuration: Path = CONFIGURATION,
    ) -> None:
        variables = {
            "KAIROS_PARTITIONS": str(partitions),
            "CHAOS_RECEIVER": receiver.url,
            "KAIROS_SNAPSHOT_MS": "500",
        }
        super().__init__(home, configuration, variables)
        self.receiver = receiver
        self.partitions = partitions
        self.fault_times_s: list[float] = []

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, partitions=self.partitions, bootstrap_servers=None)

    @property
    def was_fenced(self) -> bool:
        """Whether the broker's session with its controller ever timed out."""
        return "Fencing broker" in (self.home / "broker" / "broker.log").read_text(errors="replace")

    def up(self, worker_count: int = WORKERS) -> None:
        """Start the stack, or change the number of workers."""
        self.kairos("up", "--config", str(self.configuration), "--workers", f"all={worker_count}")

    def kill(self, name: str) -> None:
        """Send SIGKILL; the supervisor starts the process again."""
        process = self.process(name)
        self.fault_times_s.append(time.time())
        process.kill()

    def terminate(self, name: str) -> None:
        """Send SIGTERM; the supervisor starts the process again."""
        self.fault_times_s.append(time.time())
        self.process(name).terminate()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stop the process during the block."""
        self.fault_times_s.append(time.time())
        with support.stopped(self.process(name)):
            yield

    @contextmanager
    def stopped_broker(self) -> Iterator[None]:
        """Stop the broker during the block."""
        self.fault_times_s.append(time.time())
        with support.stopped(self.broker()):
            yield

    def read_log(self, name: str) -> str:
        """Return the log of the process of this name."""
        return (log_folder(self.home) / f"{name}.log").read_text()

    @contextmanager
    def kept_down(self, name: str) -> Iterator[None]:
        """Kill the process, and let it start again only after the block."""
        process = self.process(name)
        with self._unsupervised():
            self.fault_times_s.append(time.time())
            process.kill()
            self._wait_until_gone(process)
            yield

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Terminate all workers, and let them start again only after the block."""
        workers = [self.process(worker(number)) for number in range(WORKERS)]
        with self._unsupervised():
            for process in workers:
                process.terminate()
            for process in workers:
                self._wait_until_gone(process)
            yield

    def kill_at(self, point: str, instance: int) -> None:
        """Kill a worker, and start one in its place that is killed at `point`
        (`tests.support.doom`)."""
        with self.kept_down(worker(instance)):
            if POINTS[point].needs_restoration:
                self.delete_state(instance)
            doomed_worker = self.start(point, str(instance), program="tests.chaos.doomed_worker")
            try:
                code = doomed_worker.wait(self.patience_s)
            finally:
                doomed_worker.kill()
        assert code == -signal.SIGKILL, f"the worker ended with {code} before it reached {point}"
        self.fault_times_s.append(time.time())

    def delete_state(self, instance: int) -> None:
        """Delete all rows of a worker that is kept down."""
        for stage in STAGES:
            shutil.rmtree(self.state(stage.name, instance))

    def state(self, stage: str, instance: int) -> Path:
        """Return the folder of a worker's rows for a stage."""
        return self.home / "state" / stage / str(instance)

    @property
    def ledger(self) -> Path:
        """Folder of the adapter's ledger."""
        return self.home / "state" / "adapters" / "webhook" / "0"

    @property
    def evidence_folder(self) -> Path:
        """Folder of the learner's evidence."""
        return self.home / "state" / LEARNER

    @contextmanager
    def another_adapter(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a second adapter in the group during the block, without a supervisor."""
        second_adapter = self.start("adapter", "webhook", "--instance", "1")
        try:
            self.wait_until_ready(SECOND_ADAPTER)
            yield second_adapter
        finally:
            second_adapter.terminate()
            second_adapter.wait(self.patience_s)

    def kill_broker(self) -> None:
        broker = self.broker()
        self.fault_times_s.append(time.time())
        broker.kill()
        self._wait_until_gone(broker)

    def stop_broker(self) -> None:
        self.fault_times_s.append(time.time())
        self.kairos("broker", "stop")

    def start_broker(self) -> None:
        self.kairos("broker", "start")

    def wait_until_idle(self, seconds: float = _IDLE_S) -> None:
        """Wait until the gateway, the adapter and the workers are ready, and nothing is left for
        stages and adapters."""
        self.wait_until_ready(GATEWAY, ADAPTER, *map(worker, range(WORKERS)))
        super().wait_until_idle(seconds)

    @contextmanager
    def _unsupervised(self) -> Iterator[None]:
        """Keep the supervisor from starting processes again until the end of the block."""
        supervision = read_supervision(self.home)
        supervisor = supervision.supervisor.process() if supervision else None
        assert supervisor is not None
        supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            supervisor.send_signal(signal.SIGCONT)

    def _wait_until_gone(self, process: psutil.Process) -> None:
        eventually(
            lambda: not process.is_running() or process.status() == "zombie", self.patience_s
        )


@contextmanager
def running_stack(stack: ChaosStack) -> Iterator[ChaosStack]:
    """Run a stack during the block; afterwards end all of it and delete its files."""
    try:
        stack.up()
        yield stack
    finally:
        stack.kairos("down")
        shutil.rmtree(stack.home, ignore_errors=True)


def spending_configuration(folder: Path) -> Path:
    """Write the usual configuration with budgets and learning, and return its folder."""
    shutil.copytree(CONFIGURATION, folder)
    shutil.copytree(SPENDING, folder, dirs_exist_ok=True)
    return folder
