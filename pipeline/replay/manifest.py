"""Progress of a replay: a file in its folder, replaced after each complete chunk."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

_MANIFEST: Final = "_manifest.json"
_LOCK: Final = "_lock"
_UNFINISHED: Final = ".unfinished"
_PART: Final = re.compile(r"part-(\d+)-(\d+)-(\d+)\.parquet")


class AnotherReplayError(Exception):
    """Raised when the folder is another replay's; the message names the remedy."""


class Selection(Struct, frozen=True):
    """Selection of a replay: the records of `topic` whose time is in [`since`, `until`) (epoch ms),
    or the records with the offsets [first, last) by partition in `offsets`; None: no limit."""

    topic: str
    since: int | None = None
    until: int | None = None
    offsets: dict[int, tuple[int, int]] | None = None


class Manifest(Struct, frozen=True):
    """Progress of a replay. `next`: first offset of each partition that is not replayed yet;
    partitions that were not begun are missing."""

    selection: Selection
    next: dict[int, int] = {}


_decode: Final = msgspec.json.Decoder(Manifest).decode


@contextmanager
def open_replay_folder(folder: Path, selection: Selection) -> Iterator["ReplayFolder"]:
    """Open the folder, created if missing, locked for one replay; remove files of a killed replay.
    Raises AnotherReplayError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnotherReplayError(f"another `kairos replay` writes to {folder} now") from None
        yield ReplayFolder(folder, selection)


class ReplayFolder:
    """Files of a replay, which hold each offset below `next` once."""

    def __init__(self, folder: Path, selection: Selection) -> None:
        self._folder = folder
        self._manifest = self._load(selection)
        self._remove_unfinished()

    def next_offset(self, partition: int) -> int | None:
        """Return the first offset that is not replayed yet; None if the partition was not begun."""
        return self._manifest.next.get(partition)

    def part_paths(self, day: str, partition: int, offsets: range) -> tuple[Path, Path]:
        """Return the temporary path of a part, and the name for the complete part."""
        folder = self._folder / f"day={day}"
        folder.mkdir(exist_ok=True)
        name = f"part-{partition:05}-{offsets.start:012}-{offsets.stop:012}.parquet"
        return folder / f"{name}{_UNFINISHED}", folder / name

    def finish(self, partition: int, end_offset: int) -> None:
        """Record that all parts with offsets below `end_offset` are complete."""
        offsets = {**self._manifest.next, partition: end_offset}
        self._manifest = replace(self._manifest, next=offsets)
        draft = self._folder / f".{_MANIFEST}"
        draft.write_bytes(msgspec.json.encode(self._manifest))
        sync_to_disk(draft)
        draft.replace(self._folder / _MANIFEST)

    def _load(self, selection: Selection) -> Manifest:
        file = self._folder / _MANIFEST
        if not file.exists():
            if any(self._folder.glob("day=*/*.parquet")):
                self._refuse_files()
            return Manifest(selection)
        try:
            manifest = _decode(file.read_bytes())
        except msgspec.MsgspecError as error:
            message = f"{file} is not the manifest of a replay ({error}): use another --out"
            raise AnotherReplayError(message) from error
        if manifest.selection != selection:
            selection_json = msgspec.json.encode(manifest.selection).decode()
            raise AnotherReplayError(
                f"{self._folder} holds another replay ({selection_json}): use another --out"
            )
        return manifest

    def _refuse_files(self) -> None:
        """Refuse a folder with files other than parts. Parts without a manifest are those of a
        replay that was killed in its first chunk."""
        other_files = [path for path in self._folder.glob("day=*/*.parquet") if not _is_part(path)]
        if other_files:
            raise AnotherReplayError(
                f"{self._folder} holds other files ({other_files[0]}): use another --out"
            )

    def _remove_unfinished(self) -> None:
        for file in self._folder.glob(f"day=*/*{_UNFINISHED}"):
            file.unlink()
        for file in self._folder.glob("day=*/part-*.parquet"):
            match = _PART.fullmatch(file.name)
            if match is not None and int(match[2]) >= self._manifest.next.get(int(match[1]), 0):
                file.unlink()


def sync_to_disk(file: Path) -> None:
    """Return once the file is on disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _is_part(file: Path) -> bool:
    return _PART.fullmatch(file.name) is not None
