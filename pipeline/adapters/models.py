"""LightGBM models as functions from a row of features to a score."""

import time
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Final

from pipeline.adapters.model_text import problem
from pipeline.enrichment.scores import Scorer

_TRIALS: Final = 30


def load_scorer(file: Path, features: int, budget_us: float) -> Scorer | str:
    """Predicts with the model in `file`, or why it must not be used.

    `budget_us`: the most that one prediction may take, in the median of some trials made here.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    found = problem(data, features)
    if found is not None:
        return found
    scorer = _scorer(data.decode())
    if isinstance(scorer, str):
        return scorer
    taken_us = _median_us(lambda: scorer([0.0] * features))
    if taken_us > budget_us:
        return f"too slow: one prediction takes {taken_us:.0f} of {budget_us:.0f} µs"
    return scorer


def _scorer(text: str) -> Scorer | str:
    try:
        # It takes a second to import, and needs OpenMP's library on the machine: only where asked.
        import lightgbm
        import numpy as np

        booster = lightgbm.Booster(model_str=text)
    except (ImportError, OSError) as error:
        return f"LightGBM cannot be used on this machine: {error}"
    except lightgbm.basic.LightGBMError as error:
        return f"not a LightGBM text model: {error}"

    def score(row: Sequence[float]) -> float | None:
        # Threads cost more than they bring for one row.
        [value] = booster.predict(np.array([row], dtype=np.float64), num_threads=1)
        return None if isnan(value) else float(value)

    return score


def _median_us(predict: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        predict()
        taken.append((time.perf_counter() - began) * 1e6)
    return sorted(taken)[_TRIALS // 2]
