"""A small LightGBM model, trained here."""

from functools import cache
from typing import Any

import lightgbm
import numpy as np

FEATURE_COUNT = 3


@cache
def booster() -> lightgbm.Booster:
    """Return 20 trees over three features, of which the third is often missing."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(600, FEATURE_COUNT))
    rows[::3, 2] = np.nan
    labels = rows[:, 0] + rows[:, 1] * np.nan_to_num(rows[:, 2]) > 0
    parameters: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": 8,
        "verbose": -1,
        "deterministic": True,
        "num_threads": 1,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(rows, labels.astype(int)), 20)


@cache
def model_text() -> str:
    """Return the model as it is saved."""
    return booster().model_to_string()
