"""Home of the demo, emptied before every run."""

import shutil
from pathlib import Path

from pipeline.adapters.private_files import make_private_folder
from pipeline.settings import Settings
from pipeline.stack.control import Say, stop_stack

_MARK = "demo"


class HomeInUseError(Exception):
    """Raised when the home holds data of another stack, or the settings name a broker; the message
    names the remedy."""


def claim(settings: Settings, reset: bool, say: Say) -> None:
    """Empty and mark the home; first stop the processes of an earlier demo in it.

    `reset`: also if the home is another stack's. Raises HomeInUseError.
    """
    home = settings.home.resolve()
    if settings.bootstrap_servers is not None:
        raise HomeInUseError(
            "the demo brings a broker of its own: unset KAIROS_BOOTSTRAP_SERVERS for it"
        )
    if home.exists() and any(home.iterdir()):
        if not (reset or (home / _MARK).exists()):
            raise HomeInUseError(
                f"{home} holds a stack that is not the demo's: choose another KAIROS_HOME, "
                "or delete its data with --reset"
            )
        say(f"deleting the contents of {home}")
        stop_stack(settings, say)
        _empty(home)
    make_private_folder(home)
    (home / _MARK).touch()


def _empty(home: Path) -> None:
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
