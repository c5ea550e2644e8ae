"""Settings for all tests; its place lets them import the helpers beside it."""

from hypothesis import settings

settings.register_profile("kairos", deadline=None)  # a busy machine is no failure
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile("kairos")
