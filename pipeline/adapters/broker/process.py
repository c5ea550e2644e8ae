"""Process of the broker: detached start, record, recognition, and stop."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from pipeline.adapters.broker.options import HOST, BrokerFiles, RunningBroker
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import read_json

_STOP_TIMEOUT_S = 20
_KILL_TIMEOUT_S = 5
_POLL_S = 0.02
_REAP_S = 1.0


class ProcessRecord(msgspec.Struct, frozen=True):
    """Process of the broker, and the port of its clients."""

    process: ProcessHandle
    port: int


def spawn(command: list[str], files: BrokerFiles, port: int) -> psutil.Process:
    """Start the command in a separate session, so that no terminal's signal reaches it.

    Its process is recorded in `files`, with the broker's port.
    """
    with files.output.open("wb") as output:
        pid = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=files.root,
            start_new_session=True,
        ).pid
    handle = ProcessHandle.of(pid)
    assert handle is not None, "a child of this process is at least a zombie"
    write_atomically(files.process, msgspec.json.encode(ProcessRecord(handle, port)))
    return psutil.Process(pid)


def recorded_process(files: BrokerFiles) -> tuple[psutil.Process, RunningBroker] | None:
    """Return the broker's living process, and the broker.

    None: no process is recorded, or it has ended.
    """
    record = read_json(files.process, ProcessRecord)
    process = record.process.process() if record is not None else None
    if record is None or process is None:
        return None
    return process, RunningBroker(f"{HOST}:{record.port}", process.pid, record.port)


def is_alive(process: psutil.Process) -> bool:
    """Return whether `process` runs; a zombie (killed, but not yet reaped) does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def terminate(process: psutil.Process) -> bool:
    """Send TERM, then KILL after a time-out; return whether TERM was enough."""
    try:
        process.terminate()
        if wait_for_exit(process, _STOP_TIMEOUT_S):
            return True
        process.kill()
        wait_for_exit(process, _KILL_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass
    return False


def wait_for_exit(process: psutil.Process, timeout_s: float) -> bool:
    """Wait until `process` no longer runs, and return whether it ended in time.

    A zombie, which only its parent can reap, does not run.
    """
    deadline_s = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    with suppress(psutil.Error):
        process.wait(_REAP_S)  # its last threads, and the zombie where this is the parent
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file: a reader sees the old or the new one, even if this process is killed."""
    temporary_file = path.with_suffix(".tmp")
    temporary_file.write_bytes(content)
    temporary_file.replace(path)
