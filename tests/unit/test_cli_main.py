"""The command line: every command is listed and has one module, and an error is one line."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS

_START = "from pipeline.cli.main import main; main()"


def run_kairos(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _START, *arguments],
        capture_output=True,
        text=True,
        env={"KAIROS_HOME": str(home), "COLUMNS": "120", "NO_COLOR": "1", **variables},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_one_module(command: str) -> None:
    module = import_module(f"pipeline.cli.{command.replace('-', '_')}")
    assert hasattr(module, "app") != hasattr(module, "run")


def test_help_lists_every_command_and_describes_the_broker(tmp_path: Path) -> None:
    help_result = run_kairos(tmp_path, "--help")
    assert help_result.returncode == 0
    assert all(name in help_result.stdout for name in COMMANDS)
    assert COMMANDS["broker"] in help_result.stdout


def test_help_imports_no_command() -> None:
    script = f"""
import sys
sys.argv = ["kairos", "--help"]
try:
    {_START}
except SystemExit:
    pass
assert "pipeline.settings" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("arguments", [("nonsense",), ("broker", "nonsense"), ("--nonsense",)])
def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run_kairos(tmp_path, *arguments).returncode == 2


def test_wrong_setting_is_one_line_that_names_it(tmp_path: Path) -> None:
    result = run_kairos(tmp_path, "broker", "status", KAIROS_BROKER_PORT="high")
    assert result.returncode == 1
    assert result.stderr.startswith("kairos: KAIROS_BROKER_PORT: ")
    assert result.stderr.count("\n") == 1


def test_refused_librdkafka_property_is_named_as_it_was_set(tmp_path: Path) -> None:
    result = run_kairos(tmp_path, "broker", "status", KAIROS_KAFKA_MESSAGE_TIMEOUT_MS="soon")
    assert result.returncode == 1
    assert result.stderr == "kairos: KAIROS_KAFKA_MESSAGE_TIMEOUT_MS must be 120000 or more\n"


def test_debug_shows_the_traceback_of_an_error(tmp_path: Path) -> None:
    result = run_kairos(tmp_path, "--debug", "broker", "status", KAIROS_BROKER_PORT="high")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_broker_commands_leave_an_existing_cluster_alone(tmp_path: Path) -> None:
    for command in ("start", "stop", "status"):
        result = run_kairos(tmp_path, "broker", command, KAIROS_BOOTSTRAP_SERVERS="kafka.test:9092")
        assert result.returncode == 0
        assert "existing cluster at kafka.test:9092" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_status_without_a_broker_is_printed_as_json(tmp_path: Path) -> None:
    result = run_kairos(tmp_path, "broker", "status", "--json")
    assert '"state": "stopped"' in result.stdout
