"""OpenSSH's own server on the loopback, with keys and a configuration of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pipeline.adapters.broker.ports import find_free_port

SSHD: Final = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
"""Path of the server; None if it is not installed."""

_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """Running server; `host_key`: its public key; `private_key`: file of its user's key."""

    port: int
    user: str
    host_key: str
    private_key: Path


@contextmanager
def running_sshd(folder: Path, *internal_sftp: str, user: str | None = None) -> Iterator[Server]:
    """Run a server during the block; `internal_sftp`: options of the server for files, such as `-R`
    for read-only access. `user`: name of its user, by default that of the tests' process."""
    assert SSHD is not None
    folder.mkdir(mode=0o755)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    port = find_free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
        f"PidFile none\nAuthorizedKeysFile {folder / 'user.pub'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\n"
        f"Subsystem sftp internal-sftp\nForceCommand internal-sftp {' '.join(internal_sftp)}\n"
    )
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [SSHD, "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, start_new_session=True)
    try:
        _wait_for(port, process, folder / "log")
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        yield Server(port, user or _user(), host_key, folder / "user")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def unprivileged_sshd() -> Iterator[tuple[Server, Path]]:
    """Run a server whose user is not root, even if the tests run as root; provide it and a folder
    that it can read."""
    with TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = "nobody" if os.getuid() == 0 else None
        with running_sshd(folder / "server", user=user) as server:
            inbox = folder / "in"
            inbox.mkdir(mode=0o755)
            yield server, inbox


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
