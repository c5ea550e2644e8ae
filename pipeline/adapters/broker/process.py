"""The broker's process: started detached, recorded, recognised again, stopped."""

import subprocess
from pathlib import Path

import msgspec
import psutil

from pipeline.adapters.broker.options import HOST, BrokerFiles, Running
from pipeline.adapters.process_identity import Handle
from pipeline.adapters.run_state import read_json

_STOP_TIMEOUT_S = 20
_KILL_TIMEOUT_S = 5


class ProcessRecord(msgspec.Struct, frozen=True):
    """The broker's process and the port of its clients."""

    process: Handle
    port: int


def spawn(command: list[str], files: BrokerFiles, port: int) -> psutil.Process:
    """Starts the command in a session of its own, so that no terminal's signal reaches it."""
    with files.output.open("wb") as output:
        pid = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=files.root,
            start_new_session=True,
        ).pid
    handle = Handle.of(pid)
    assert handle is not None, "a child of this process is at least a zombie"
    write_atomically(files.process, msgspec.json.encode(ProcessRecord(handle, port)))
    return psutil.Process(pid)


def recorded_process(files: BrokerFiles) -> tuple[psutil.Process, Running] | None:
    """The broker's live process, or None; a pid that now belongs to another process is not it."""
    record = read_json(files.process, ProcessRecord)
    process = record.process.process() if record is not None else None
    if record is None or process is None:
        return None
    return process, Running(f"{HOST}:{record.port}", process.pid, record.port)


def is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: a child that was killed and not yet waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def terminate(process: psutil.Process) -> bool:
    """TERM, then KILL after a time-out; returns when the process has gone: whether by itself."""
    try:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(_KILL_TIMEOUT_S)
        return False
    except psutil.NoSuchProcess:
        return False
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, whatever is killed when."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
