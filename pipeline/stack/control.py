"""Start and stop of a stack."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.adapters.broker import BrokerFailure
from pipeline.adapters.broker.ports import find_free_port, is_free
from pipeline.adapters.broker.warmup import warm_up
from pipeline.adapters.consumer_groups import adapter_inputs
from pipeline.adapters.private_files import STACK_VARIABLE
from pipeline.adapters.run_state import announcements
from pipeline.config.compile import Configuration
from pipeline.home.codec import register
from pipeline.home.topics import ensure_topics
from pipeline.settings import Settings
from pipeline.stack.configure import apply_folder, ensure_configuration
from pipeline.stack.environment import outdated_variables
from pipeline.stack.home_lock import home_lock
from pipeline.stack.log_files import open_log, tail
from pipeline.stack.partitions import with_existing_partitions
from pipeline.stack.plan import INGEST, LEARNER, ProcessPlan, make_plan, parse_workers
from pipeline.stack.strays import SUPERVISOR_MODULE, end, stray_brokers, strays
from pipeline.stack.supervision import (
    Supervision,
    clear_supervision,
    read_plan,
    read_supervision,
    write_plan,
)

_START_TIMEOUT_S = 90.0
_LOOK_S = 0.1
_STOP_TIMEOUT_S = 40.0
_PORT_ATTEMPTS = 100
_MAX_RESTARTS = 5
"""Number of restarts after which a process is no longer waited for."""

Say = Callable[[str], None]
"""Callback with each step, as a line."""


class StackError(Exception):
    """Raised when the stack is not up; the message gives the reason and the remedy.

    `logs`: the last lines of the logs.
    """

    def __init__(self, message: str, logs: str = "") -> None:
        super().__init__(message)
        self.logs = logs


@dataclass(frozen=True, slots=True)
class UpResult:
    """Result of `start_stack`.

    `url`: the gateway's address. `changed` False: everything ran already. `replaced`: the applied
    folder replaced another configuration. `outdated_variables`: names of environment variables of
    which the running processes have other values.
    """

    url: str
    changed: bool
    replaced: bool
    outdated_variables: tuple[str, ...] = ()


def start_stack(settings: Settings, config: Path | None, workers: str, say: Say) -> UpResult:
    """Start, or adapt, every process of the home; return once the pipeline answers.

    `config`: a folder to apply first. Raises StackError, NoConfigurationError, HomeBusyError, or
    ValueError for `workers`.
    """
    counts = parse_workers(workers)
    with home_lock(settings.home.resolve(), say):
        return _start_locked(settings, config, counts, say)


def _start_locked(
    settings: Settings, config: Path | None, counts: dict[str, int], say: Say
) -> UpResult:
    home = settings.home.resolve()
    _start_broker(settings, say)
    settings = with_existing_partitions(settings)
    _prepare_topics(settings, ())
    replaced: bool = config is not None and apply_folder(settings, config, say)
    configuration = ensure_configuration(settings)
    _prepare_topics(settings, tuple(configuration.channels))
    adapters = frozenset(adapter_inputs(configuration))
    plan = make_plan(counts, _gateway_port(settings), adapters, *_extras(configuration))
    variables = _outdated_variables(home, configuration)
    changed: bool = _apply_plan(home, plan, settings.partitions, say)
    url = f"http://{client_host(settings)}:{plan.gateway_port}"
    _wait_until_ready(home, plan, url)
    return UpResult(url, changed, replaced, variables)


def _outdated_variables(home: Path, configuration: Configuration) -> tuple[str, ...]:
    supervision = running_supervision(home)
    process = supervision.supervisor.process() if supervision else None
    return () if process is None else outdated_variables(process, configuration.bundle)


def _extras(configuration: Configuration) -> Iterator[str]:
    """Yield the further processes that the configuration needs."""
    if configuration.bundle.ingest.watches:
        yield INGEST
    if configuration.needs_learner:
        yield LEARNER


def stop_stack(settings: Settings, say: Say) -> int:
    """Stop every process of the home, then its broker; return the number of processes stopped.

    Works also if the home was removed while they ran. Raises HomeBusyError.
    """
    home = settings.home.resolve()
    if not home.exists():
        return end(strays(home)) + end(stray_brokers(home))
    with home_lock(home, say):
        count = _stop_supervised(home, say)
        count += end(strays(home))
        clear_supervision(home)
        if settings.bootstrap_servers is None and settings.broker().status() is not None:
            say("stopping the broker")
            settings.broker().stop()
            count += 1
        return count + end(stray_brokers(home))


def running_supervision(home: Path) -> Supervision | None:
    """Return the supervisor's report; None if no supervisor is alive."""
    supervision = read_supervision(home)
    is_alive = supervision is not None and supervision.supervisor.process() is not None
    return supervision if is_alive else None


def client_host(settings: Settings) -> str:
    """Return the host under which this machine reaches the gateway."""
    is_any_address = settings.gateway_host in ("0.0.0.0", "::")
    return "127.0.0.1" if is_any_address else settings.gateway_host


def gateway_url(settings: Settings) -> str:
    """Return the address of the running gateway. Raises StackError."""
    gateway = announcements(settings.home.resolve()).get("gateway")
    if gateway is None or "http" not in gateway.ports:
        raise StackError("no gateway runs in this home: run `kairos up`")
    return f"http://{client_host(settings)}:{gateway.ports['http']}"


def _start_broker(settings: Settings, say: Say) -> None:
    if settings.bootstrap_servers is not None or settings.broker().status() is not None:
        return
    if end(stray_brokers(settings.home.resolve())):
        say("ended the broker of a home that was removed")
    say("starting the broker")
    result = settings.broker().start()
    if isinstance(result, BrokerFailure):
        raise StackError(result.message)
    say(f"warming the broker at {result.bootstrap}")
    warm_up(settings.kafka())


def _prepare_topics(settings: Settings, channels: Sequence[str]) -> None:
    """Create missing topics and register schemas; `channels`: those whose topics are needed too."""
    mismatches = ensure_topics(settings, channels).mismatches
    if mismatches:
        raise StackError("; ".join(map(str, mismatches)))
    register(settings, channels)


def _gateway_port(settings: Settings) -> int:
    """Return the configured port; else the previous one, if it is free or ours; else a free one.

    The search begins at 8765; a configured 0 takes any port. Raises StackError if none is free.
    """
    home = settings.home.resolve()
    plan, is_running = read_plan(home), "gateway" in announcements(home)
    first_port = settings.gateway_port
    if first_port and "gateway_port" in settings.model_fields_set:
        if is_free(first_port) or (
            is_running and plan is not None and plan.gateway_port == first_port
        ):
            return first_port
        raise StackError(f"port {first_port} is taken: set KAIROS_GATEWAY_PORT to one that is free")
    if plan is not None and (is_running or is_free(plan.gateway_port)):
        return plan.gateway_port
    if not first_port:
        return find_free_port()
    for port in range(first_port, first_port + _PORT_ATTEMPTS):
        if is_free(port):
            return port
    raise StackError(f"no port free from {first_port}: set KAIROS_GATEWAY_PORT to one that is")


def _apply_plan(home: Path, plan: ProcessPlan, partitions: int, say: Say) -> bool:
    """Make a supervisor follow `plan`; return False if one does already."""
    supervision = running_supervision(home)
    if supervision is not None and read_plan(home) == plan:
        return False
    if supervision is None and end(strays(home)):
        say("ended processes that an earlier, killed supervisor left behind")
    write_plan(home, plan)
    names = ", ".join(spec.name for spec in plan.processes)
    if supervision is not None:
        say(f"changing the processes to {names}")
        os.kill(supervision.supervisor.pid, signal.SIGHUP)
    else:
        say(f"starting {names}")
        _start_supervisor(home, partitions)
    return True


def _start_supervisor(home: Path, partitions: int) -> None:
    clear_supervision(home)
    with open_log(home, "supervisor") as log:
        subprocess.Popen(
            [sys.executable, "-m", SUPERVISOR_MODULE, str(home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "KAIROS_PARTITIONS": str(partitions), STACK_VARIABLE: str(home)},
        )


def _stop_supervised(home: Path, say: Say) -> int:
    supervision = running_supervision(home)
    process = supervision.supervisor.process() if supervision else None
    if supervision is None or process is None:
        return 0
    say(f"stopping {', '.join(supervision.children)}")
    try:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        process.kill()
    return len(supervision.children)


def _wait_until_ready(home: Path, plan: ProcessPlan, url: str) -> None:
    import httpx  # only starting needs it, and most commands import this module

    deadline = time.monotonic() + _START_TIMEOUT_S
    answer = "nothing yet"
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline and not _has_failing_process(home):
            try:
                response = client.get("/readyz")
            except httpx.TransportError as error:
                answer = str(error)
            else:
                if response.status_code == httpx.codes.OK and _are_all_ready(home, plan):
                    return
                answer = f"{response.status_code} {response.text}"
            time.sleep(_LOOK_S)
    raise _start_error(home, plan, answer)


def _has_failing_process(home: Path) -> bool:
    supervision = running_supervision(home)
    children = supervision.children.values() if supervision else ()
    return any(child.process is None and child.restarts >= _MAX_RESTARTS for child in children)


def _are_all_ready(home: Path, plan: ProcessPlan) -> bool:
    announced_processes = announcements(home)
    return all(
        spec.name in announced_processes and announced_processes[spec.name].state == "ready"
        for spec in plan.processes
    )


def _start_error(home: Path, plan: ProcessPlan, answer: str) -> StackError:
    announced_processes = announcements(home)
    names = [
        spec.name
        for spec in plan.processes
        if spec.name not in announced_processes or announced_processes[spec.name].state != "ready"
    ] or ["gateway"]
    return StackError(
        f"not ready: {', '.join(names)} (/readyz: {answer}); "
        f"the logs are in {home / 'log'}, and `kairos doctor` may show more",
        "\n".join(f"--- {name}.log\n{tail(home, name)}" for name in names),
    )
