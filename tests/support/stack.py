"""A whole stack of real processes in a home of its own, and the commands to handle it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.adapters.consumer_groups import all_groups
from pipeline.adapters.lag import LagReader
from pipeline.adapters.run_state import announcements
from pipeline.adapters.snapshots import StoredRecord
from pipeline.cli.main import build_app
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.settings import PREFIX, Settings
from pipeline.stack.control import StackError, gateway_url
from pipeline.stack.supervision import read_supervision

T = TypeVar("T")

_COMMAND_S = 300.0
_PATIENCE_S = 120.0
_LOOK_S = 0.05


class Stack:
    """Stack in one home, on free ports. `variables`: further environment of its processes.
    `patience_s`: longest time until a killed process runs again."""

    patience_s = _PATIENCE_S

    def __init__(self, home: Path, configuration: Path, variables: Mapping[str, str]) -> None:
        self.home = home.resolve()
        self.configuration = configuration
        other_variables = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
        }
        self._environment = {
            **other_variables,
            "KAIROS_HOME": str(self.home),
            "KAIROS_BROKER_PORT": "0",
            "KAIROS_GATEWAY_PORT": "0",
            "COLUMNS": "150",
            "NO_COLOR": "1",
            **variables,
        }

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, bootstrap_servers=None)

    @property
    def url(self) -> str:
        return gateway_url(self.settings)

    @cached_property
    def records(self) -> Records:
        return Records.of(self.settings)

    @cached_property
    def _lag(self) -> LagReader:
        """Reader of the lag of the groups that the first configuration needs."""
        return LagReader(self.settings.kafka(), all_groups(applied_configuration(self.settings)))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command, and return its result, failed or not."""
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=_COMMAND_S
        )

    def start(self, *arguments: str, program: str = "pipeline.cli") -> "subprocess.Popen[bytes]":
        """Start a command, or another program of this repository, beside the stack's own
        processes."""
        command = [sys.executable, "-m", program, *arguments]
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)

    def kairos(self, *arguments: str) -> str:
        """Run a command that succeeds; return its output."""
        result = self.run(*arguments)
        assert result.returncode == 0, (arguments, result.returncode, result.stdout, result.stderr)
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command with --json, and return its output."""
        return msgspec.json.decode(self.kairos(*arguments, "--json"))

    def ask(self, *arguments: str) -> Any:
        """Run a command with --json in this process, and return its output: another process
        takes seconds to start."""
        return ask(self._environment, *arguments)

    def client(self, key: str) -> httpx.Client:
        """Return a client of the gateway with a key."""
        return httpx.Client(base_url=self.url, auth=(key, ""), timeout=30.0, trust_env=False)

    def count_turned_away(self) -> float:
        """Return the number of requests that the gateway has answered with 503 so far."""
        return self._sum_samples("kairos_gateway_requests_total", status="503")

    def count_accepted(self, *kinds: str) -> list[float]:
        """Return the number of interactions of each kind that the gateway has answered with 200 so
        far, without those that Kafka did not acknowledge in time."""
        return [self._sum_samples("kairos_gateway_accepted_total", kind=kind) for kind in kinds]

    def interactions(self, event_id: str) -> list[tuple[StoredRecord, Interaction]]:
        """Return the records of an event that are in the topic now."""
        records = self.records.read_all(topics.INTERACTIONS, Interaction)
        return [
            (entry, interaction)
            for entry, interaction in records
            if interaction.event_id == event_id
        ]

    def process(self, name: str) -> psutil.Process:
        """Return a running process; wait while the supervisor starts it again."""
        return eventually(lambda: self._find_running(name), self.patience_s)

    def broker(self) -> psutil.Process:
        """Return the broker's running process."""
        broker_process = self.settings.broker().status()
        assert broker_process is not None
        return psutil.Process(broker_process.pid)

    def wait_until_ready(self, *names: str) -> None:
        """Wait until the processes report that they are ready."""
        eventually(lambda: all(self._is_ready(name) for name in names), self.patience_s)

    def wait_until_idle(self, seconds: float = _PATIENCE_S) -> None:
        """Wait until every input so far has left the last stage and the adapters, without the
        second that `kairos status --until-idle` takes to start."""
        assert self._lag.wait_until_idle(seconds), self._lag.lag()

    def is_answering(self) -> bool:
        """Return whether the gateway reports that the whole pipeline answers; False while no
        gateway runs."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=30.0, trust_env=False).is_success
        except (httpx.TransportError, StackError):
            return False

    def restart(self, *names: str) -> None:
        """Send SIGKILL, and wait until the supervisor has restarted the processes."""
        processes = {name: self.process(name) for name in names}
        for process in processes.values():
            process.kill()
        eventually(
            lambda: all(self._has_restarted(name, process) for name, process in processes.items())
        )

    def count_decisions(self, result: str) -> float:
        """Return the number of requests for a decision with this result so far."""
        return self._sum_samples("kairos_gateway_decisions_total", result=result)

    def _sum_samples(self, metric: str, **labels: str) -> float:
        """Return the sum of the gateway's samples of a metric that have these labels."""
        text = httpx.get(f"{self.url}/metrics", timeout=30.0, trust_env=False).text
        samples = chain.from_iterable(
            family.samples for family in text_string_to_metric_families(text)
        )
        named_samples = (sample for sample in samples if sample.name == metric)
        return sum(
            sample.value for sample in named_samples if labels.items() <= sample.labels.items()
        )

    def _find_running(self, name: str) -> psutil.Process | None:
        supervision = read_supervision(self.home)
        child = supervision.children.get(name) if supervision else None
        return child.process.process() if child and child.process else None

    def _has_restarted(self, name: str, former: psutil.Process) -> bool:
        return self.process(name).pid != former.pid and self._is_ready(name)

    def _is_ready(self, name: str) -> bool:
        announcement = announcements(self.home).get(name)
        return announcement is not None and announcement.state == "ready"


def ask(environment: Mapping[str, str], *arguments: str) -> Any:
    """Run a command with --json in this process with these variables, and return what it prints."""
    output = StringIO()
    with (
        patch.dict(os.environ, environment, clear=True),
        redirect_stdout(output),
        pytest.raises(SystemExit) as end,
    ):
        build_app(arguments[0])([*arguments, "--json"])
    assert not end.value.code, arguments
    return msgspec.json.decode(output.getvalue())


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Stop a process during the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def running_stack(stack: Stack, *options: str) -> Iterator[Stack]:
    """Run a stack during the block, and end all of it afterwards."""
    try:
        stack.kairos("up", "--config", str(stack.configuration), *options)
        yield stack
    finally:
        stack.kairos("down")


def eventually(look: Callable[[], T | None], patience_s: float = _PATIENCE_S) -> T:
    """Call `look` until its result is true, and return it; fail after `patience_s`."""
    deadline_s = time.monotonic() + patience_s
    while not (answer := look()):
        assert time.monotonic() < deadline_s, f"not within {patience_s:g} s"
        time.sleep(_LOOK_S)
    return answer
