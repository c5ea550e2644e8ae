"""`kairos doctor`: diagnosis of this machine and this home."""

from typing import Final

import typer
from rich.text import Text

from pipeline.cli.console import JsonOption, out, print_json
from pipeline.cli.plain import plain
from pipeline.settings import Settings
from pipeline.stack.doctor import Finding, examine

_STYLES: Final = {"ok": "green", "note": "yellow", "bad": "red"}


def run(json: JsonOption = False) -> None:
    """Check Python, Java, disk, lists, channels, port, broker, topics, schemas, configuration,
    processes and lag.

    Prints a line for each check, with the remedy for a fault. The exit code is 1 if a check fails.
    """
    findings = []
    for finding in examine(Settings()):
        findings.append(finding)
        if not json:
            _print(finding)
    if json:
        print_json(findings)
    if any(finding.grade == "bad" for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    line = Text(f"{finding.grade:4}", style=_STYLES[finding.grade])
    line.append(f"  {plain(finding.subject):22}  ", style="default")
    line.append(plain(finding.text), style="default")
    if finding.remedy:
        line.append(f" → {plain(finding.remedy)}", style="default")
    out.print(line, soft_wrap=True)
