"""LightGBM models as functions from a row of features to a score."""

import time
from collections.abc import Callable, Sequence
from math import inf, isfinite, isnan, nan
from pathlib import Path
from typing import Final

from pipeline.adapters.model_text import problem
from pipeline.rules.scorer import Scorer

_TRIAL_COUNT: Final = 30
_EXTREME_VALUES: Final = (0.0, nan, inf, -inf, 1e308, -1e308, 1e-308)


def model_problem(file: Path, feature_count: int) -> str | None:
    """Return the reason why the model in `file` cannot be loaded or predicts no number.

    A model that has passed the text checks may still end this process: see `trial.py`.
    """
    scorer = _read_scorer(file, feature_count)
    if isinstance(scorer, str):
        return scorer
    for value in _EXTREME_VALUES:
        score = scorer([value] * feature_count)
        if score is None or not isfinite(score):
            return f"not usable: it predicts {score} for features that are {value}"
    return None


def load_scorer(file: Path, feature_count: int, budget_us: float) -> Scorer | str:
    """Return a scorer with the model in `file`, or the reason why it must not be used.

    `budget_us`: longest time of one prediction, as the median of some trials.
    """
    scorer = _read_scorer(file, feature_count)
    if isinstance(scorer, str):
        return scorer
    duration_us = _median_us(lambda: scorer([0.0] * feature_count))
    if duration_us > budget_us:
        return f"too slow: one prediction takes {duration_us:.0f} of {budget_us:.0f} µs"
    return scorer


def _read_scorer(file: Path, feature_count: int) -> Scorer | str:
    try:
        data = file.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return problem(data, feature_count) or _scorer(data.decode())


def _scorer(text: str) -> Scorer | str:
    try:
        # The import takes a second and needs OpenMP's library: only where models are used.
        import lightgbm
        import numpy as np

        booster = lightgbm.Booster(model_str=text)
    except (ImportError, OSError) as error:
        return f"LightGBM cannot be used on this machine: {error}"
    except lightgbm.basic.LightGBMError as error:
        return f"not a LightGBM text model: {error}"

    def score(row: Sequence[float]) -> float | None:
        # For one row, threads cost more than they save.
        [value] = booster.predict(np.array([row], dtype=np.float64), num_threads=1)
        return None if isnan(value) else float(value)

    return score


def _median_us(predict: Callable[[], object]) -> float:
    durations_us = []
    for _ in range(_TRIAL_COUNT):
        start_s = time.perf_counter()
        predict()
        durations_us.append((time.perf_counter() - start_s) * 1e6)
    return sorted(durations_us)[_TRIAL_COUNT // 2]
