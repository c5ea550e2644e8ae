"""Sorting of more lines than memory holds: sorted runs on disk, merged on reading."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path
from typing import Final

_LINES_PER_RUN: Final = 200_000
_KEY_WIDTH: Final = 32


class SortedLines:
    """Lines in the order of their keys, equal keys in the order in which they were added.

    Use it as a context manager: its runs are in a temporary folder inside `folder`,
    deleted on exit.
    """

    def __init__(self, folder: Path | None = None, lines_per_run: int = _LINES_PER_RUN) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".sorting-", dir=folder)
        self._lines_per_run = lines_per_run
        self._count = 0
        self._lines: list[bytes] = []
        self._runs: list[Path] = []

    def __enter__(self) -> "SortedLines":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __len__(self) -> int:
        return self._count

    def add(self, key: int, line: bytes) -> None:
        """Add a line without a line break; `key` is not negative."""
        # Numbers of fixed width compare as bytes do.
        self._lines.append(b"%020d%012d%b\n" % (key, self._count, line))
        self._count += 1
        if len(self._lines) >= self._lines_per_run:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """Yield all lines in order, without line breaks."""
        self._lines.sort()
        with ExitStack() as runs:
            files = [runs.enter_context(run.open("rb")) for run in self._runs]
            for line in merge(*files, self._lines):
                yield line[_KEY_WIDTH:-1]

    def _spill(self) -> None:
        self._lines.sort()
        run = Path(self._folder.name) / f"{len(self._runs)}"
        with run.open("wb") as file:
            file.writelines(self._lines)
        self._runs.append(run)
        self._lines = []
