"""Off-policy estimates on the Open Bandit data, whose answer is known."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from contextlib import suppress
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from scipy.stats import t as student
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from tests.support.attribution import write_parquet


@pytest.fixture(scope="module")
def bandit(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Open Bandit data in the wheel of obp, which is read and not installed."""
    folder = tmp_path_factory.mktemp("obp")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "obp==0.4.1"]
    pip_options = ("--retries", "0", "--timeout", "15", "--disable-pip-version-check")
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*command, *pip_options, "--dest", str(folder)], capture_output=True, timeout=60
        )
    wheels = list(folder.glob("obp-*.whl"))
    if not wheels:
        pytest.skip("obp==0.4.1 cannot be downloaded here")
    return zipfile.ZipFile(wheels[0])


def _rows(wheel: zipfile.ZipFile, policy: str, campaign: str) -> list[dict[str, str]]:
    with wheel.open(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv") as file:
        return list(csv.DictReader(io.TextIOWrapper(file)))


@pytest.mark.parametrize("campaign", ["all", "men", "women"])
def test_estimates_from_the_random_log_cover_the_other_policys_reward(
    bandit: zipfile.ZipFile, tmp_path: Path, campaign: str
) -> None:
    # Thompson sampling (bts) judged on the uniformly random log, beside the clicks that it had when
    # it ran. Its shares of items by position are taken from its own log; the model for DR is the
    # click rate by item, from the other half of the random log.
    random_rows, thompson_rows = _rows(bandit, "random", campaign), _rows(bandit, "bts", campaign)
    shares = _shares(thompson_rows)
    rates = _click_rates(random_rows[1::2])
    rates_by_position = {
        position: sum(
            share * rates.get(item, 0.0)
            for (shown_position, item), share in shares.items()
            if shown_position == position
        )
        for position in {position for position, _ in shares}
    }
    log = [
        {
            "reward": float(row["click"]),
            "propensity": float(row["propensity_score"]),
            "target_propensity": shares.get((row["position"], row["item_id"]), 0.0),
            "q_logged": rates.get(row["item_id"], 0.0),
            "q_target": rates_by_position[row["position"]],
        }
        for row in random_rows[::2]
    ]
    estimates = _estimate_off_policy(write_parquet(tmp_path / "log.parquet", log))
    click_rate = sum(float(row["click"]) for row in thompson_rows) / len(thompson_rows)
    for method in ("ips", "snips", "dr"):
        assert estimates[method]["low"] <= click_rate <= estimates[method]["high"], method
    expected = _textbook_estimates(log)
    assert estimates.keys() == expected.keys()
    for name, value in expected.items():
        assert estimates[name] == pytest.approx(value, rel=1e-9), name


def test_policy_judged_by_its_own_log_has_the_clicks_that_it_had(
    bandit: zipfile.ZipFile, tmp_path: Path
) -> None:
    rows = _rows(bandit, "bts", "all")
    log = [
        {"reward": float(row["click"]), "propensity": p, "target_propensity": p}
        for row in rows
        for p in [float(row["propensity_score"])]
    ]
    estimates = _estimate_off_policy(write_parquet(tmp_path / "log.parquet", log))
    click_rate = sum(float(row["click"]) for row in rows) / len(rows)
    assert (estimates["ips"]["value"], estimates["snips"]["value"]) == pytest.approx(
        (click_rate, click_rate)
    )
    assert estimates["ess"] == pytest.approx(estimates["n"])
    assert estimates["dr"] is None


def _estimate_off_policy(log: Path) -> dict[str, Any]:
    """Return the answer of `kairos insights off-policy` about a log."""
    command = ["insights", "off-policy", "--log", str(log), "--json"]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 0, result.output
    estimates: dict[str, Any] = json.loads(result.stdout)
    return estimates


def _textbook_estimates(log: list[dict[str, float]]) -> dict[str, Any]:
    """Return every figure of the answer by its formula, with the textbook's standard errors."""
    n = len(log)
    weights = [row["target_propensity"] / row["propensity"] for row in log]
    rewards = [row["reward"] for row in log]
    total = sum(weights)
    snips = sum(w * r for w, r in zip(weights, rewards, strict=True)) / total
    pairs = list(zip(weights, log, strict=True))
    terms = {
        "ips": [w * row["reward"] for w, row in pairs],
        "snips": [snips + w * (row["reward"] - snips) * n / total for w, row in pairs],
        "dr": [row["q_target"] + w * (row["reward"] - row["q_logged"]) for w, row in pairs],
    }
    quantile = float(student.ppf(0.975, n - 1))
    estimates: dict[str, Any] = {"n": n, "ess": total**2 / sum(w * w for w in weights)}
    for method, values in terms.items():
        value, error = mean(values), stdev(values) / sqrt(n)
        estimates[method] = {
            "value": value,
            "low": value - quantile * error,
            "high": value + quantile * error,
        }
    return estimates


def _shares(rows: list[dict[str, str]]) -> dict[tuple[str, str], float]:
    """Return each item's share of the rows of a position, by position and item."""
    positions = Counter(row["position"] for row in rows)
    counts = Counter((row["position"], row["item_id"]) for row in rows)
    return {key: count / positions[key[0]] for key, count in counts.items()}


def _click_rates(rows: list[dict[str, str]]) -> dict[str, float]:
    clicks: dict[str, list[float]] = {}
    for row in rows:
        clicks.setdefault(row["item_id"], []).append(float(row["click"]))
    return {item: sum(outcomes) / len(outcomes) for item, outcomes in clicks.items()}
