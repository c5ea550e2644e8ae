"""A home that was removed while its stack runs is not made again by the stack's own processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.store.rocks import open_database
from pipeline.adapters.broker import Broker, BrokerFailure, BrokerOptions
from pipeline.adapters.private_files import STACK_VARIABLE, make_folder, make_home_private
from pipeline.adapters.rocks import open_rows
from pipeline.adapters.run_state import announce
from pipeline.settings import Settings
from pipeline.stack.log_files import open_log
from pipeline.stack.plan import ProcessPlan
from pipeline.stack.supervision import write_plan


def _open_log(home: Path) -> None:
    open_log(home, "gateway").close()


def _make_state_folder(home: Path) -> None:
    make_folder(home, home / "state" / "gateway")


def _make_secret(home: Path) -> None:
    Settings(home=home, secret=None).signing_secret()


@pytest.mark.parametrize(
    "write",
    [
        lambda home: announce(home, "gateway", "starting"),
        lambda home: write_plan(home, ProcessPlan((), 0)),
        lambda home: open_rows(home / "state"),
        lambda home: open_database(home / "rows" / "0"),
        make_home_private,
        _open_log,
        _make_state_folder,
        _make_secret,
    ],
)
def test_process_of_a_stack_does_not_make_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(STACK_VARIABLE, str(home))
    with pytest.raises(FileNotFoundError):
        write(home)
    assert not home.exists()


def test_broker_of_a_stack_does_not_make_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(STACK_VARIABLE, str(home))
    failure = Broker(BrokerOptions(home, tmp_path / "cache", port=0)).start()
    assert failure == BrokerFailure(f"cannot use {home}: the home was removed")
    assert not home.exists()


def test_other_programs_make_their_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STACK_VARIABLE, str(tmp_path / "another"))
    make_folder(tmp_path / "home", tmp_path / "home" / "state" / "gateway")
    assert (tmp_path / "home" / "state" / "gateway").is_dir()
