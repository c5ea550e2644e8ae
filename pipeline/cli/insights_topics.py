"""Topics for `kairos insights`: replayed ones in a folder, or those of this home."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.progress import Progress

from pipeline.adapters.config_files import load
from pipeline.cli.console import err
from pipeline.config.model import Campaign
from pipeline.home.applied_configuration import applied_configuration
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import TABLES
from pipeline.replay.manifest import Selection
from pipeline.replay.topics import replay
from pipeline.settings import Settings

TopicsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with DIR/decisions and DIR/interactions.segmented, each as `kairos "
        "replay` writes it. Default: the topics themselves.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of configuration with the campaigns' goals. Default: the configuration in "
        "force; with --topics, none.",
    ),
]


@contextmanager
def topic_folder(folder: Path | None, topics: Sequence[str]) -> Iterator[Path]:
    """Provide the folder with the topics as Parquet; a temporary one is removed afterwards."""
    if folder is not None:
        if not str(folder).startswith(TABLES) and not folder.is_dir():
            raise TableError(f"--topics {folder}: is not a folder")
        yield folder
        return
    settings = Settings()
    with TemporaryDirectory(prefix="kairos-") as name, Progress(console=err, transient=True) as bar:
        for topic in topics:
            task = bar.add_task(topic, total=None)

            def show(count: int, total: int, task: int = task) -> None:
                bar.update(task, completed=count, total=total)  # type: ignore[arg-type]

            replay(settings, Selection(topic, None, None, None), Path(name, topic), show)
        yield Path(name)


def campaigns_of(folder: Path | None, topics: Path | None) -> tuple[Campaign, ...]:
    """Return the campaigns of the folder, or of the configuration in force where the topics are
    this home's. Raises TableError for a configuration with errors."""
    if folder is not None:
        bundle = load(folder)
        if isinstance(bundle, list):
            raise TableError("; ".join(map(str, bundle)))
        return bundle.campaigns
    if topics is not None:
        return ()
    configuration = applied_configuration(Settings())
    return () if configuration is None else configuration.bundle.campaigns
