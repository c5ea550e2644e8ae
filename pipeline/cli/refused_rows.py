"""Report of the rows of a file that were refused."""

from typing import Protocol

from pipeline.cli.console import err
from pipeline.cli.plain import plain
from pipeline.row_files.sending import RefusedRow


class Refusals(Protocol):
    """Number of rows `refused`, and the `first` of them; `stopped`: the reason why later rows were
    not read."""

    @property
    def refused(self) -> int: ...

    @property
    def first(self) -> tuple[RefusedRow, ...]: ...

    @property
    def stopped(self) -> str | None: ...


def print_refused(file: str, report: Refusals) -> None:
    """Print on stderr each of the first refused rows as FILE:LINE, and how many more there are."""
    for row in report.first:
        field = f"{row.field}: " if row.field else ""
        err.print(plain(f"{file}:{row.line}: {field}{row.message}"), soft_wrap=True)
    if report.refused > len(report.first):
        err.print(f"... and {report.refused - len(report.first):,} more")
    if report.stopped:
        err.print(plain(f"{file}: {report.stopped}: the rest was not read"), soft_wrap=True)
