"""Interface of models that compute scores."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

Scorer: TypeAlias = Callable[[Sequence[float]], float | None]
"""Pure function from the features in their order (NaN: missing) to the prediction."""
