"""Settings for all tests."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests.support.cases import THOROUGH_CASES

# On a busy machine examples take long, which is no failure.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Only `make thorough` draws new cases; all other runs draw the same ones, so that a change without
# a fault does not fail by chance.
settings.register_profile("kairos", _PATIENT, max_examples=25, derandomize=True)
settings.register_profile("thorough", _PATIENT, max_examples=THOROUGH_CASES)
settings.load_profile("kairos")


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Make the cases of a profile without randomness depend on the law alone.

    Hypothesis also draws constants of the modules that are loaded at that moment, so that the cases
    of a law would change with any module, with the tests run before it and with those beside it.
    """
    if settings.default is not None and settings.default.derandomize:
        providers.is_local_module_file = lambda _: False  # type: ignore[attr-defined]
