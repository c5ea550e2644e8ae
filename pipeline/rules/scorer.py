"""Interface of models that compute scores."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

Scorer: TypeAlias = Callable[[Sequence[float]], float | None]
"""From the features in their order, NaN where one is missing, to the prediction. Pure."""
