"""The demo's decisions do not depend on the number of partitions or processes."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

_DAYS = 60
"""Days that suffice for merges, all segments and campaigns."""


def _play(home: Path, partitions: int, workers: str) -> Any:
    """Play the log's first days in `home`, and return the summary."""
    stack = Stack(home, home, {"KAIROS_WORKERS": workers})
    options = ("--partitions", str(partitions), "--days", str(_DAYS), "--live", "0")
    try:
        return stack.json("demo", *options)["summary"]
    finally:
        stack.kairos("down")


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_partitions_and_processes_change_no_decision(tmp_path: Path) -> None:
    first_summary = _play(tmp_path / "one", 2, "all")
    second_summary = _play(tmp_path / "other", 5, "four")
    assert first_summary["decisions"] > 3_000
    assert first_summary["merges"]
    assert 0 < max(first_summary["segments"].values()) <= first_summary["profiles"]
    for key in ("fingerprint", "decisions", "profiles", "merges", "segments", "campaigns"):
        assert second_summary[key] == first_summary[key], key
