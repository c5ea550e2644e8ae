"""LightGBM, and the calibration of its predictions."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from pipeline.decisioning.features import Matrix
from pipeline.decisioning.model_manifest import Calibration
from pipeline.training.feature_choice import Labels

Floats = npt.NDArray[np.float64]

_MIN_P: Final = 1e-6
_MIN_ISOTONIC_EXAMPLES: Final = 1_000
"""Fewest examples for isotonic calibration; fewer are calibrated by Platt's two parameters."""

_KNOT_COUNT: Final = 65
_ROUND_COUNT: Final = 80
_PATIENCE: Final = 10
_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "verbose": -1,
    # The same examples give the same model, byte for byte.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": 1,
}
"""Few small trees: a decision scores hundreds of candidates in a part of a millisecond."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Rows of features, and whether the example of each row reached the goal."""

    rows: Matrix
    labels: Labels


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Text model with its calibration; `base_rate`: share of the training set that reached the
    goal."""

    text: str
    calibration: Calibration
    base_rate: float


def fit(train: LabelledRows, held_back: LabelledRows) -> FittedModel:
    """Train on `train`; stop early, and calibrate, by the held-back examples."""
    import lightgbm  # importing it takes a second

    names = [f"f{index}" for index in range(train.rows.shape[1])]
    data = lightgbm.Dataset(train.rows, train.labels.astype(np.float64), feature_name=names)
    booster = lightgbm.train(
        _PARAMETERS,
        data,
        _ROUND_COUNT,
        valid_sets=[data.create_valid(held_back.rows, held_back.labels.astype(np.float64))],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )
    text = booster.model_to_string(num_iteration=booster.best_iteration or -1)
    raw = np.asarray(booster.predict(held_back.rows, num_threads=1), dtype=np.float64)
    method = isotonic_calibration if len(raw) >= _MIN_ISOTONIC_EXAMPLES else logistic_calibration
    return FittedModel(text, method(raw, held_back.labels), float(train.labels.mean()))


def predict(text: str, rows: Matrix) -> Floats:
    """Return the raw predictions of a text model."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    return np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def isotonic_calibration(raw: Floats, labels: Labels) -> Calibration:
    """Return the best isotonic fit, as knots: each step's mean prediction and its rate.

    A step's rate has one success in two as a prior, so that none is 0 or 1.
    """
    order = np.argsort(raw, kind="stable")
    regression = isotonic_regression(labels[order].astype(np.float64))
    starts = np.asarray(regression.blocks)
    sizes = np.diff(starts)
    means = np.add.reduceat(raw[order], starts[:-1]) / sizes
    rates = (np.add.reduceat(labels[order].astype(np.float64), starts[:-1]) + 0.5) / (sizes + 1)
    rates = np.maximum.accumulate(rates)
    knots, first_indices = np.unique(means, return_index=True)
    return Calibration(tuple(map(float, knots)), tuple(map(float, rates[first_indices])))


def logistic_calibration(raw: Floats, labels: Labels) -> Calibration:
    """Return Platt's curve: the best logistic function of the raw predictions' log-odds, fitted to
    Platt's targets, at up to `_KNOT_COUNT` knots."""
    positives = int(labels.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2)
    targets, log_odds = np.where(labels, high, low), _log_odds(raw)

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] * log_odds + line[1]
        gap = expit(z) - targets
        value = float((np.logaddexp(0.0, z) - targets * z).sum())
        return value, np.array([float(gap @ log_odds), float(gap.sum())])

    minimum = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=((0.0, None), (None, None)))
    knots = np.unique(np.concatenate((np.linspace(0.0, 1.0, _KNOT_COUNT), raw)))
    knots = knots[np.unique(np.linspace(0, len(knots) - 1, _KNOT_COUNT).round().astype(int))]
    curve = expit(minimum.x[0] * _log_odds(knots) + minimum.x[1])
    return Calibration(tuple(map(float, knots)), tuple(map(float, curve)))


def _log_odds(p: Floats) -> Floats:
    clipped_p = np.clip(p, _MIN_P, 1 - _MIN_P)
    log_odds: Floats = np.log(clipped_p / (1 - clipped_p))
    return log_odds


def calibrate(raw: Floats, calibration: Calibration | None) -> Floats:
    """Return probabilities strictly between 0 and 1; uncalibrated if `calibration` is None."""
    if calibration is not None:
        raw = np.interp(raw, calibration.raw, calibration.p)
    return np.clip(raw, _MIN_P, 1 - _MIN_P)
