"""Settings for all tests, and the order in which processes take them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.cases import THOROUGH

# A busy machine is no failure.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("kairos", _PATIENT, max_examples=25)
settings.register_profile("thorough", _PATIENT, max_examples=THOROUGH)
settings.load_profile("kairos")

_WITH_BROKER = {"browser", "chaos", "integration"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process take each file, and one all files of a shared stack, which takes long to
    start; mix files that wait for a broker with those that calculate, so that the processors are
    neither idle nor overrun."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    groups: dict[str, list[pytest.Item]] = {}
    for name, tests in files.items():
        shares = any(map(_shares_stack, tests))
        group = f"stack of {tests[0].path.parent.name}" if shares else name
        groups.setdefault(group, []).extend(tests)
    for group, tests in groups.items():
        for test in tests:
            test.add_marker(pytest.mark.xdist_group(group))
    waiting = [tests for tests in groups.values() if tests[0].path.parent.name in _WITH_BROKER]
    others = [tests for tests in groups.values() if tests[0].path.parent.name not in _WITH_BROKER]
    items[:] = [test for tests in _mix(waiting, others) for test in tests]


def _shares_stack(test: pytest.Item) -> bool:
    """Return whether a test asks for the stack of its folder, rather than one of its file."""
    fixtures = getattr(test, "fixturenames", ())
    return "stack" in fixtures and not hasattr(getattr(test, "module", None), "stack")


def _mix(
    waiting: list[list[pytest.Item]], others: list[list[pytest.Item]]
) -> Iterator[list[pytest.Item]]:
    """Put equally many of the second after each of the first, and what is left at the end."""
    each = len(others) // max(len(waiting), 1)
    for index, group in enumerate(waiting):
        yield group
        yield from others[index * each : (index + 1) * each]
    yield from others[len(waiting) * each :]
