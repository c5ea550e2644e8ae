"""Progress bar of commands."""

from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn

from pipeline.cli.console import err


def progress_bar(*extra_columns: ProgressColumn) -> Progress:
    """Return a bar with `more` columns, on stderr and a terminal only; it disappears at its end."""
    columns = (TextColumn("  {task.description}"), BarColumn(), TaskProgressColumn())
    return Progress(*columns, *extra_columns, console=err, transient=True)
