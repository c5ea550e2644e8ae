"""Files encrypted with OpenPGP (`.pgp`, `.gpg`, `.asc`), decrypted within bounded memory.

Such a file may be compressed, too, so that a small file may fill a disk. The library writes the
whole contents, so it runs in a process with a limit on the size of files.
"""

import errno
import resource
import signal
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from pysequoia import Tsk, decrypt_file

from pipeline.row_files.row import UnreadableError
from pipeline.row_files.unpacking import ContentLimits

_SUFFIXES: Final = (".pgp", ".gpg", ".asc")
_ARMOR: Final = "-----BEGIN"
_SYSTEM_ERROR: Final = "(os error "
"""Parts of messages about the machine, such as a full disk, not about the file."""

_TOO_LARGE: Final = f"{_SYSTEM_ERROR}{errno.EFBIG})"


@dataclass(frozen=True, slots=True)
class PgpKey:
    """Private key: itself in ASCII armor (also on one line, with `\\n`), or its path."""

    text: str
    passphrase: str | None = None


def is_encrypted(name: str) -> bool:
    """Return whether a file of this name must be decrypted."""
    return Path(name).suffix.lower() in _SUFFIXES


def decrypt(file: Path, name: str, key: PgpKey | None, target: Path, limits: ContentLimits) -> str:
    """Write the contents of `file`, called `name`, to `target`; return the name without its suffix.

    Raise UnreadableError for a file that cannot be decrypted or holds too much, OSError for a fault
    of the key or the disk.
    """
    if key is None:
        raise UnreadableError("it is encrypted: give its watch a key (`pgp`)")
    _open(key)
    target.unlink(missing_ok=True)  # a process whose parent was killed may still write there
    packed_bytes = file.stat().st_size
    fault = _run(_Job(file, key, target, limits.limit_for(packed_bytes)))
    if fault is None:
        return Path(name).stem
    reason = fault.partition("\n")[0]
    if _TOO_LARGE in fault:
        raise limits.fault("decrypted", packed_bytes)
    if _SYSTEM_ERROR in fault:
        raise OSError(errno.EIO, f"it cannot be decrypted now: {reason}")
    raise UnreadableError(f"it cannot be decrypted: {reason}")


@dataclass(frozen=True, slots=True)
class _Job:
    """File to decrypt, and the limit on the result's size."""

    file: Path
    key: PgpKey
    target: Path
    max_bytes: int


def _run(job: _Job) -> str | None:
    """Decrypt in a process of its own; return the library's message on failure, or None."""
    context = get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_decrypt_job, args=(child_end,), daemon=True)
    process.start()
    child_end.close()
    try:
        parent_end.send(job)
        fault: str | None = parent_end.recv()
    except (EOFError, OSError) as error:
        process.join()
        message = f"it cannot be decrypted now: the process ended with {process.exitcode}"
        raise OSError(errno.EIO, message) from error
    process.join()
    return fault


def _decrypt_job(pipe: Connection) -> None:
    """Decrypt the file of a job, unless the parent has ended; send the reason of a failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job: _Job = pipe.recv()
    except EOFError:
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (job.max_bytes, job.max_bytes))
    decryptor = _open(job.key).decryptor(job.key.passphrase)
    try:
        decrypt_file(decryptor=decryptor, input=str(job.file), output=str(job.target))
    except (RuntimeError, OSError) as error:
        pipe.send(str(error))
    else:
        pipe.send(None)


def _open(key: PgpKey) -> Tsk:
    try:
        if key.text.lstrip().startswith(_ARMOR):
            secret = Tsk.from_bytes(key.text.replace("\\n", "\n").encode())
        else:
            secret = Tsk.from_file(key.text)
        secret.decryptor(key.passphrase)
    except RuntimeError as error:
        message = f"the private key in `pgp` cannot be used: {_first_line(error)}"
        raise OSError(errno.EINVAL, message) from error
    return secret


def _first_line(error: RuntimeError) -> str:
    """Return a message without the trace after it."""
    return str(error).partition("\n")[0]
