"""One stack for all trials of a run. The seed is printed, and set with KAIROS_CHAOS_SEED."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.killing import NOTES, SEED
from tests.chaos.receiver import Inbox
from tests.chaos.stack import running_stack
from tests.chaos.trial import Laboratory, table

PARTITIONS = 8
_LABORATORY = pytest.StashKey[Laboratory]()


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Laboratory]:
    """Running stack with a receiver, to try things on; at the end its disks are looked at."""
    home = tmp_path_factory.mktemp("chaos")
    with Inbox().listening() as inbox, running_stack(home, inbox, PARTITIONS) as stack:
        request.config.stash[_LABORATORY] = laboratory = Laboratory(stack, inbox, SEED)
        yield laboratory
        if not any(one.failed for one in laboratory.results):
            assert laboratory.differences_on_disk() == []


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes lines that are printed at the end of the run."""
    return request.config.stash.setdefault(NOTES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    laboratory = config.stash.get(_LABORATORY, None)
    results = laboratory.results if laboratory is not None else ()
    notes = config.stash.get(NOTES, [])
    if results or notes:
        terminalreporter.section(f"chaos, seed {SEED}")
    if results:
        terminalreporter.write_line(table(results))
    for line in notes:
        terminalreporter.write_line(line)
