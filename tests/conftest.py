"""Settings for all tests; its place lets them import the helpers beside it."""

from hypothesis import settings

from tests.support.cases import THOROUGH

# No deadline: a busy machine is no failure.
settings.register_profile("kairos", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=THOROUGH)
settings.load_profile("kairos")
