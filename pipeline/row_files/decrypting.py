"""Files that are encrypted by OpenPGP (`.pgp`, `.gpg`, `.asc`), decrypted within bounded memory."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pysequoia import Tsk, decrypt_file

from pipeline.row_files.row import UnreadableError

_SUFFIXES: Final = (".pgp", ".gpg", ".asc")
_ARMOR: Final = "-----BEGIN"
_OF_SYSTEM: Final = "(os error "
"""Part of the messages for a full disk and the like, which have nothing to do with the file."""


@dataclass(frozen=True, slots=True)
class PgpKey:
    """Private key: itself in ASCII armor (also on one line, with `\\n`), or its path."""

    text: str
    passphrase: str | None = None


def is_encrypted(name: str) -> bool:
    """Return whether a file of this name is to be decrypted."""
    return Path(name).suffix.lower() in _SUFFIXES


def decrypt(file: Path, name: str, key: PgpKey | None, into: Path) -> str:
    """Write what is in `file`, called `name`, to `into`; return the name without encryption.

    Raise UnreadableError where it cannot be decrypted, OSError where the key or the disk is at
    fault.
    """
    if key is None:
        raise UnreadableError("it is encrypted: give its watch a key (`pgp`)")
    decryptor = _open(key).decryptor(key.passphrase)
    try:
        decrypt_file(decryptor=decryptor, input=str(file), output=str(into))
    except RuntimeError as error:
        why = _first_line(error)
        if _OF_SYSTEM in str(error):
            raise OSError(errno.EIO, f"it cannot be decrypted now: {why}") from error
        raise UnreadableError(f"it cannot be decrypted: {why}") from error
    return Path(name).stem


def _open(key: PgpKey) -> Tsk:
    try:
        if key.text.lstrip().startswith(_ARMOR):
            found = Tsk.from_bytes(key.text.replace("\\n", "\n").encode())
        else:
            found = Tsk.from_file(key.text)
        found.decryptor(key.passphrase)
    except RuntimeError as error:
        what = f"the private key in `pgp` cannot be used: {_first_line(error)}"
        raise OSError(errno.EINVAL, what) from error
    return found


def _first_line(error: RuntimeError) -> str:
    """Return a message without the trace that follows it."""
    return str(error).partition("\n")[0]
