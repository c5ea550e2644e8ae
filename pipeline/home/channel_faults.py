"""Faults of channels that hold messages back, for `kairos doctor`.

Such a fault lies in the configuration, or in the environment of an adapter's process: a wrong key,
an unset variable. The process keeps its faults in a file of its home while it runs.
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from pipeline.adapters.clock import now_ms
from pipeline.adapters.run_state import announcements, read_json, run_folder, write_json

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".faults.json"


class ChannelFault(Struct, frozen=True):
    """Fault of a channel; `part`: the receiver that it concerns, empty: all."""

    channel: str
    part: str
    why: str
    since_ms: int


class _FaultFile(Struct, frozen=True):
    faults: tuple[ChannelFault, ...]


class ChannelFaults:
    """Faults that a process sees, written at each change into `file`, if there is one."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._faults: dict[tuple[str, str], ChannelFault] = {}

    @classmethod
    def of_process(cls, home: Path, name: str) -> "ChannelFaults":
        """Return a record without faults for the process announced as `name`; remove an earlier
        file."""
        faults = cls(run_folder(home) / f"{name}{_SUFFIX}")
        faults.close()
        return faults

    def add(self, channel: str, part: str, reason: str) -> None:
        """Record a fault, or the new reason of a recorded one."""
        reason = reason.removeprefix(f"channel {channel}: ")
        known_fault = self._faults.get((channel, part))
        if known_fault is not None and known_fault.why == reason:
            return
        since_ms = now_ms() if known_fault is None else known_fault.since_ms
        self._faults[channel, part] = ChannelFault(channel, part, reason, since_ms)
        _log.warning("channel %s holds its messages back: %s", channel, reason)
        self._write()

    def remove(self, channel: str, part: str) -> None:
        """Remove a fault, because a message was accepted."""
        if self._faults.pop((channel, part), None) is not None:
            self._write()

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        """Write the file; a full disk or a removed home does not end the delivery."""
        if self._file is not None:
            with suppress(OSError):
                write_json(self._file, _FaultFile(tuple(self._faults.values())))


def find_channel_faults(home: Path) -> tuple[ChannelFault, ...]:
    """Return the faults that the living processes of a home see."""
    files = (run_folder(home) / f"{name}{_SUFFIX}" for name in sorted(announcements(home)))
    contents = (read_json(file, _FaultFile) for file in files)
    return tuple(fault for content in contents if content is not None for fault in content.faults)
