"""Known vulnerabilities of the packages that Kairos installs: `python -m tests.support.audit`.

Exit code: 1 if there are any, 0 if there are none or if advisories cannot be reached, which a line
reports.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import msgspec
from msgspec import Struct

from tests.support.licences import LOCK

VULNERABLE_REQUIREMENT: Final = "jinja2==2.4.1\n"
"""Requirement with known advisories; if none are found, the index of advisories is unreachable."""

_WAIT_S: Final = 60.0


class Advisory(Struct, frozen=True):
    """Known vulnerability of a release, and the releases that fix it."""

    id: str
    fix_versions: tuple[str, ...] = ()


class AuditedPackage(Struct, frozen=True):
    """Pinned package; one with a `skip_reason` was not audited."""

    name: str
    version: str = ""
    vulns: tuple[Advisory, ...] = ()
    skip_reason: str | None = None


class AuditReport(Struct, frozen=True):
    """Audit of a requirements file."""

    dependencies: tuple[AuditedPackage, ...]


def audit(requirements: Path, *options: str) -> AuditReport | str:
    """Return the advisories of all packages in the file, or the reason why there is no answer."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    settings = ("--disable-pip", "--format", "json", "--progress-spinner", "off", *options)
    try:
        result = subprocess.run(
            [*command, *settings], capture_output=True, text=True, timeout=_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_WAIT_S:.0f} s"
    try:
        return msgspec.json.decode(result.stdout, type=AuditReport)
    except msgspec.DecodeError:
        return (result.stderr.strip().splitlines() or ["no output"])[-1]


def unavailability() -> str | None:
    """Return the reason why advisories cannot be reached; None if they can."""
    with NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(VULNERABLE_REQUIREMENT)
        file.flush()
        report = audit(Path(file.name), "--no-deps")
    if isinstance(report, str):
        return report
    is_vulnerable = any(dependency.vulns for dependency in report.dependencies)
    return (
        None
        if is_vulnerable
        else f"no advisories for {VULNERABLE_REQUIREMENT.strip()}, which has some"
    )


def findings(report: AuditReport) -> list[str]:
    """Return a line for each advisory."""
    return [
        f"{dependency.name} {dependency.version}: {advisory.id}, fixed in "
        f"{', '.join(advisory.fix_versions) or 'no release yet'}"
        for dependency in report.dependencies
        for advisory in dependency.vulns
    ]


def main() -> int:
    """Audit the lock file and print the findings."""
    reason = unavailability()
    if reason is not None:
        print(f"vulnerabilities: not audited, since advisories are unreachable ({reason})")
        return 0
    report = audit(LOCK, "--require-hashes")
    if isinstance(report, str):
        print(f"vulnerabilities: the audit failed: {report}")
        return 1
    omitted_names = [
        dependency.name for dependency in report.dependencies if dependency.skip_reason is not None
    ]
    if omitted_names:
        print(f"vulnerabilities: not audited: {', '.join(omitted_names)}")
    lines = findings(report)
    print("\n".join(lines) or f"vulnerabilities: none known in {len(report.dependencies)} packages")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
