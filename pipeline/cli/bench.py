"""`kairos bench`: measurements, from a checkout; they are defined in tests/benchmarks."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import typer

_CHECKOUT: Final = Path(__file__).parents[2]


class NotACheckoutError(Exception):
    """Raised when Kairos was installed without its tests."""


def _import_subcommands() -> typer.Typer:
    if not (_CHECKOUT / "tests" / "benchmarks").is_dir():
        raise NotACheckoutError(
            "kairos bench runs from a checkout of the repository: clone it, `make setup`, then "
            "`.venv/bin/kairos bench`"
        )
    sys.path.insert(0, str(_CHECKOUT))
    subcommands = import_module("tests.benchmarks.command").app
    assert isinstance(subcommands, typer.Typer)
    return subcommands


app: Final = _import_subcommands()
