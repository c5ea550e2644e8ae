"""Settings for all tests."""

from hypothesis import HealthCheck, settings

from tests.support.cases import THOROUGH

# A busy machine is no failure.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("kairos", _PATIENT, max_examples=25)
settings.register_profile("thorough", _PATIENT, max_examples=THOROUGH)
settings.load_profile("kairos")
