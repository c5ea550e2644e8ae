"""Stacks that all trials of a module share. The seed is printed, and set by KAIROS_CHAOS_SEED."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.killing import NOTES, SEED
from tests.chaos.receiver import Inbox
from tests.chaos.spending_checks import SETTLING_CHECKS, SPENDING_CHECKS
from tests.chaos.stack import Stack, running_stack, spending_configuration
from tests.chaos.trial import Judgement, Laboratory, table

PARTITIONS = 8
_LABORATORIES = pytest.StashKey[list[Laboratory]]()


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Laboratory]:
    """Running stack with a receiver; at the end its disks are compared with the changelogs."""
    with Inbox().listening() as inbox:
        stack = Stack(tmp_path_factory.mktemp("chaos"), inbox, PARTITIONS)
        yield from _open(Laboratory(stack, inbox, SEED), pytestconfig)


@pytest.fixture(scope="module")
def spending_laboratory(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Laboratory]:
    """Running stack that spends budgets and stock and learns, compared in the same way."""
    home = tmp_path_factory.mktemp("spending")
    with Inbox().listening() as inbox:
        configuration = spending_configuration(home / "configuration")
        stack = Stack(home / "home", inbox, PARTITIONS, configuration)
        judgement = Judgement(SPENDING_CHECKS, SETTLING_CHECKS)
        yield from _open(Laboratory(stack, inbox, SEED, judgement), pytestconfig)


def _open(laboratory: Laboratory, config: pytest.Config) -> Iterator[Laboratory]:
    config.stash.setdefault(_LABORATORIES, []).append(laboratory)
    with running_stack(laboratory.stack):
        yield laboratory
        if not any(result.failures for result in laboratory.results):
            assert laboratory.find_differences_on_disk() == []


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Function that adds a line to print at the end of the run."""
    return request.config.stash.setdefault(NOTES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    results = [
        laboratory.results
        for laboratory in config.stash.get(_LABORATORIES, [])
        if laboratory.results
    ]
    notes = config.stash.get(NOTES, [])
    if results or notes:
        terminalreporter.section(f"chaos, seed {SEED}")
    for result in results:
        terminalreporter.write_line(table(result))
    for line in notes:
        terminalreporter.write_line(line)
