"""Variables whose values differ in a running stack."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

import psutil
import pytest

from pipeline.adapters.private_files import STACK_VARIABLE
from pipeline.config.model import Bundle, Channel, Channels, Identity, Sources
from pipeline.stack.environment import outdated_variables

_BUNDLE = Bundle(
    sources=Sources(()),
    identity=Identity(()),
    channels=Channels(
        (
            Channel("email", adapter="webhook", url="${MAILER:-http://127.0.0.1:1}/email"),
            Channel("call", adapter="webhook", url="https://x.example", secret="${CALL_SECRET}"),
        )
    ),
)

ProcessStarter: TypeAlias = Callable[..., psutil.Process]


@pytest.fixture
def start() -> Iterator[ProcessStarter]:
    """Function that starts an idle process in this environment, changed by the given variables."""
    children: list[psutil.Popen] = []

    def start_child(**variables: str) -> psutil.Process:
        child = psutil.Popen(
            [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        children.append(child)
        return child

    yield start_child
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_process_with_the_same_values_is_up_to_date(start: ProcessStarter) -> None:
    assert outdated_variables(start(), _BUNDLE) == ()


def test_settings_and_variables_of_channels_that_differ_are_named(
    start: ProcessStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(MAILER="http://old.example", KAIROS_LOG_LEVEL="debug", UNRELATED="x")
    monkeypatch.setenv("CALL_SECRET", "new")
    expected = ("CALL_SECRET", "KAIROS_LOG_LEVEL", "MAILER")
    assert outdated_variables(process, _BUNDLE) == expected


def test_variables_that_the_start_sets_itself_are_not_compared(start: ProcessStarter) -> None:
    process = start(
        **{STACK_VARIABLE: "/home", "KAIROS_PARTITIONS": "7", "KAIROS_GATEWAY_PORT": "1"}
    )
    assert outdated_variables(process, _BUNDLE) == ()


def test_ended_process_has_no_outdated_variables(start: ProcessStarter) -> None:
    process = start(KAIROS_LOG_LEVEL="debug")
    process.kill()
    process.wait()
    assert outdated_variables(process, _BUNDLE) == ()
