"""Store of files that configurations name by digest (geo databases, models): FOLDER/SHA-256.

Stored files never change, so that a decision can be rerun with the same files.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path


def digest_of(file: Path) -> str:
    """Return the SHA-256 of `file`, in hexadecimal. Raises OSError if it cannot be read."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


class Artifacts:
    """Store of artifacts in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, file: Path) -> str:
        """Copy the file here, unless it is stored; return its digest. Raises OSError."""
        sha256 = digest_of(file)
        if not (self.folder / sha256).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder)
            os.close(descriptor)
            draft = Path(name)
            shutil.copyfile(file, draft)
            sha256 = digest_of(draft)  # the file may have changed meanwhile
            draft.replace(self.folder / sha256)
        return sha256

    def mark(self, sha256: str, label: str) -> None:
        """Mark the file with this digest by a label, for example after its trial."""
        (self.folder / f"{sha256}.{label}").touch()

    def is_marked(self, sha256: str, label: str) -> bool:
        """Return whether any process has put this mark on the file with this digest."""
        return (self.folder / f"{sha256}.{label}").exists()

    def find(self, sha256: str | None) -> Path | None:
        """Return the file with this digest; None if it is missing or damaged."""
        if sha256 is None:
            return None
        file = self.folder / sha256
        return file if file.is_file() and digest_of(file) == sha256 else None
