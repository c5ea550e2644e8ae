"""One stack for all trials of a run. The seed is printed, and set with KAIROS_CHAOS_SEED."""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.receiver import Inbox
from tests.chaos.stack import running_stack
from tests.chaos.trial import Laboratory, table

PARTITIONS = 8
_LABORATORY = pytest.StashKey[Laboratory]()
_SEED = int(os.environ.get("KAIROS_CHAOS_SEED", "1"))


@pytest.fixture(scope="module")
def laboratory(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Laboratory]:
    """Running stack with a receiver, to try things on; at the end its disks are looked at."""
    home = tmp_path_factory.mktemp("chaos")
    with Inbox().listening() as inbox, running_stack(home, inbox, PARTITIONS) as stack:
        request.config.stash[_LABORATORY] = laboratory = Laboratory(stack, inbox, _SEED)
        yield laboratory
        if not any(one.failed for one in laboratory.results):
            assert laboratory.differences_on_disk() == []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    laboratory = config.stash.get(_LABORATORY, None)
    if laboratory is not None and laboratory.results:
        terminalreporter.section(f"chaos, seed {_SEED}")
        terminalreporter.write_line(table(laboratory.results))
