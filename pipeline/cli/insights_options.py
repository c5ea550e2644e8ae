"""Options that the commands of `kairos insights` share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from pipeline.conditions.duration import duration_ms

UntilOption: TypeAlias = Annotated[
    str | None, typer.Option(help="When the table ends; default: with its last row.")
]
TimezoneOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Of times that name none, such as Europe/Madrid.")
]
MemoryOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Most memory of the queries, such as 2GB; the rest goes to disk."),
]
SpillOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder for what does not fit; default: the system's.")
]


def duration(text: str) -> int:
    """Return a duration in ms. Raises BadParameter."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
