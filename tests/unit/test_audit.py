"""Dependency audits: every advisory is a finding, and a failed audit returns its reason."""

from pathlib import Path

import msgspec

from tests.support.audit import AuditReport, audit, findings

_REPORT = b"""{"dependencies": [
  {"name": "good", "version": "1.0", "vulns": []},
  {"name": "old", "version": "2.4", "vulns": [
    {"id": "PYSEC-1", "fix_versions": ["2.5", "3.0"], "aliases": ["CVE-1"], "description": "x"},
    {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": "y"}]},
  {"name": "private", "skip_reason": "not found"}], "fixes": []}"""


def test_every_advisory_is_a_finding() -> None:
    assert findings(msgspec.json.decode(_REPORT, type=AuditReport)) == [
        "old 2.4: PYSEC-1, fixed in 2.5, 3.0",
        "old 2.4: PYSEC-2, fixed in no release yet",
    ]


def test_file_that_cannot_be_audited_gives_the_reason(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no version pinned\n")
    assert isinstance(audit(requirements, "--no-deps"), str)
