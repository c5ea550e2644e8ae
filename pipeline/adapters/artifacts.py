"""Files that configurations name by digest (geo databases, models), kept once where every worker
finds them: FOLDER/SHA-256. They never change, so a decision can be run again by what it ran by."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path


def digest_of(file: Path) -> str:
    """Return a file's SHA-256, hexadecimal. Raise OSError when it cannot be read."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


class Artifacts:
    """Folder of files by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, file: Path) -> str:
        """Copy a file here unless it is, and return its digest. Raise OSError on failure."""
        sha256 = digest_of(file)
        if not (self.folder / sha256).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder)
            os.close(descriptor)
            draft = Path(name)
            shutil.copyfile(file, draft)
            sha256 = digest_of(draft)
            draft.replace(self.folder / sha256)
        return sha256

    def note(self, sha256: str, what: str) -> None:
        """Note a fact about the file with this digest, such as that it was tried."""
        (self.folder / f"{sha256}.{what}").touch()

    def is_noted(self, sha256: str, what: str) -> bool:
        """Return whether any process has noted this about the file."""
        return (self.folder / f"{sha256}.{what}").exists()

    def find(self, sha256: str | None) -> Path | None:
        """Return the file with this digest; None when it is missing or damaged."""
        if sha256 is None:
            return None
        file = self.folder / sha256
        return file if file.is_file() and digest_of(file) == sha256 else None
