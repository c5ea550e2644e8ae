"""Progress bar of commands."""

from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn

from pipeline.cli.console import err


def progress_bar(*extra_columns: ProgressColumn) -> Progress:
    """Return a bar on stderr, on a terminal only, with `extra_columns`; it vanishes at its end."""
    columns = (TextColumn("  {task.description}"), BarColumn(), TaskProgressColumn())
    return Progress(*columns, *extra_columns, console=err, transient=True)
