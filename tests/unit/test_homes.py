"""A home is private, is held by one command at a time, and recognises its own processes."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from pipeline.adapters.private_files import STACK_VARIABLE, make_home_private, make_private_folder
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import announce, announcements
from pipeline.settings import Settings
from pipeline.stack.home_lock import home_lock
from pipeline.stack.strays import end, stray_brokers, strays


def modes(folder: Path) -> set[int]:
    """Return the rights that group and others have on the folder and its content."""
    return {path.lstat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))}


def test_home_of_an_earlier_version_is_closed_to_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "state" / "gateway").mkdir(parents=True)
    (home / "state" / "gateway" / "rows").write_text("ana@example.com")
    (home / "log").mkdir()
    (home / "log" / "gateway.log").write_text("ana@example.com")
    (home / "tool.sh").write_text("not ours")
    (home / "tool.sh").chmod(0o755)
    (home / "state" / "elsewhere").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("not ours")
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else path.stat().st_mode | 0o044)
    make_home_private(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert modes(home / "log") == {0}
    assert (home / "state" / "gateway" / "rows").stat().st_mode & 0o777 == 0o600
    assert (home / "tool.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "outside").stat().st_mode & 0o044


def test_files_of_commands_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    environment = {**os.environ, "KAIROS_HOME": str(tmp_path / "home")}
    program = (
        "import os, sys; os.umask(0o022); from pipeline.cli.main import main; "
        "sys.argv = ['kairos', 'config', 'schemas', sys.argv[1]]; main()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    subprocess.run(command, env=environment, check=True)
    assert modes(tmp_path / "out") == {0}


def test_folder_of_the_secret_is_private(tmp_path: Path) -> None:
    Settings(home=tmp_path / "new", secret=None).signing_secret()
    assert modes(tmp_path / "new") == {0}


def test_readable_folder_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    make_private_folder(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_process_is_recognised_after_a_change_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # psutil counts from the time at which the machine started, which moves with the clock.
    own_handle = ProcessHandle.of(os.getpid())
    assert own_handle is not None
    monkeypatch.setattr(psutil.Process, "create_time", lambda *_: time.time() + 3_600)
    assert own_handle.process() is not None
    assert ProcessHandle.of(os.getpid()) == own_handle


def test_reused_pid_is_not_the_process() -> None:
    own_handle = ProcessHandle.of(os.getpid())
    assert own_handle is not None
    assert replace(own_handle, started=own_handle.started + "0").process() is None
    assert (
        replace(
            own_handle, started="another-boot/" + own_handle.started.partition("/")[2]
        ).process()
        is None
    )
    assert replace(own_handle, pid=1).process() is None
    assert ProcessHandle.of(2**22 + 1) is None


def test_start_time_is_read_behind_a_name_with_brackets_and_spaces(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    process = subprocess.Popen([program, "30"])
    try:
        handle = ProcessHandle.of(process.pid)
        time.sleep(0.05)
        assert handle is not None
        assert ProcessHandle.of(process.pid) == handle
        assert handle.started.partition("/")[2].isdecimal()
    finally:
        process.kill()
        process.wait()
    assert handle.process() is None


def test_home_has_one_holder_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    holders = [context.Process(target=_hold, args=(tmp_path / "home", log)) for _ in range(3)]
    for holder in holders:
        holder.start()
    for holder in holders:
        holder.join(200)
        assert holder.exitcode == 0
    lines = log.read_text().split()
    assert lines[::2] == ["in"] * 3
    assert lines[1::2] == ["out"] * 3


def _hold(home: Path, log: Path) -> None:
    with home_lock(home, lambda _: None):
        for line in ("in", "out"):
            with log.open("a") as file:
                file.write(f"{line}\n")
            time.sleep(0.3)


def test_killed_holder_releases_the_home(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready_event = context.Event()
    holder: Any = context.Process(target=_hold_for_ever, args=(tmp_path / "home", ready_event))
    holder.start()
    assert ready_event.wait(120)
    holder.kill()
    with home_lock(tmp_path / "home", lambda _: None):
        pass


def _hold_for_ever(home: Path, ready_event: Any) -> None:
    with home_lock(home, lambda _: None):
        ready_event.set()
        time.sleep(600)


def test_home_that_is_removed_and_made_again_can_be_held_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with home_lock(home, lambda _: None):
        shutil.rmtree(home)
        with home_lock(home, lambda _: None):
            assert (home / "lock").exists()


def test_processes_of_a_home_that_was_removed_are_found(tmp_path: Path) -> None:
    home = tmp_path / "gone"
    idle_program = "import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", idle_program], env={STACK_VARIABLE: str(home)})
    broker = subprocess.Popen(
        [sys.executable, "-c", idle_program, f"{home}/broker/server.properties"]
    )
    other_process = subprocess.Popen(
        [sys.executable, "-c", idle_program], env={STACK_VARIABLE: str(tmp_path)}
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (strays(home) and stray_brokers(home)):
            time.sleep(0.05)
        assert [stray.pid for stray in strays(home)] == [child.pid]
        assert [stray_broker.pid for stray_broker in stray_brokers(home)] == [broker.pid]
        assert end(strays(home)) == 1
        assert end(stray_brokers(home)) == 1
        assert other_process.poll() is None
    finally:
        for process in (child, broker, other_process):
            process.kill()
            process.wait()


def test_ending_processes_do_not_make_a_removed_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    announce(home, "gateway", "starting")
    assert announcements(home).keys() == {"gateway"}
    shutil.rmtree(home)
    for state in ("ready", "stopping"):
        announce(home, "gateway", state)
    assert not home.exists()
