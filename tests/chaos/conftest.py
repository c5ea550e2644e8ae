"""Stacks that all trials of a module share. The seed is printed, and set by KAIROS_CHAOS_SEED."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.killing import NOTES, SEED
from tests.chaos.receiver import IdempotentReceiver
from tests.chaos.spending_checks import EVENTUAL_CHECKS, SPENDING_CHECKS
from tests.chaos.stack import ChaosStack, running_stack, spending_configuration
from tests.chaos.trial import Judgement, Laboratory, table

PARTITIONS = 8
_LABORATORIES = pytest.StashKey[list[Laboratory]]()


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Laboratory]:
    """Running stack with a receiver. At the end its disks are compared with the changelogs, unless
    a trial has failed."""
    with IdempotentReceiver().listening() as receiver:
        stack = ChaosStack(tmp_path_factory.mktemp("chaos"), receiver, PARTITIONS)
        yield from _open(Laboratory(stack, receiver, SEED), pytestconfig)


@pytest.fixture(scope="module")
def spending_laboratory(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Laboratory]:
    """Running stack that spends budgets and stock and learns, compared in the same way."""
    home = tmp_path_factory.mktemp("spending")
    with IdempotentReceiver().listening() as receiver:
        configuration = spending_configuration(home / "configuration")
        stack = ChaosStack(home / "home", receiver, PARTITIONS, configuration)
        judgement = Judgement(SPENDING_CHECKS, EVENTUAL_CHECKS)
        yield from _open(Laboratory(stack, receiver, SEED, judgement), pytestconfig)


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
