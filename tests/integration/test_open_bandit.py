"""Off-policy estimates on the Open Bandit data, whose answer is known."""

import csv
import io
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.insights.engines import open_duckdb
from pipeline.insights.off_policy import evaluate, read_log
from pipeline.insights.tables import Engine
from tests.support.attribution import write_parquet


@pytest.fixture(scope="module")
def bandit(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Open Bandit data in the wheel of obp, which is read and not installed."""
    folder = tmp_path_factory.mktemp("obp")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "obp==0.4.1"]
    once = ("--retries", "0", "--timeout", "15", "--disable-pip-version-check")
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, *once, "--dest", str(folder)], capture_output=True, timeout=60)
    wheels = list(folder.glob("obp-*.whl"))
    if not wheels:
        pytest.skip("obp==0.4.1 cannot be downloaded here")
    return zipfile.ZipFile(wheels[0])


def _rows(wheel: zipfile.ZipFile, policy: str) -> list[dict[str, str]]:
    with wheel.open(f"obp/dataset/obd/{policy}/all/all.csv") as file:
        return list(csv.DictReader(io.TextIOWrapper(file)))


def test_estimates_from_the_random_log_cover_the_other_policys_reward(
    bandit: zipfile.ZipFile, tmp_path: Path
) -> None:
    # Thompson sampling (bts) judged on the uniformly random log, beside the clicks that it had when
    # it ran. Its shares of items by position are taken from its own log; the model for DR is the
    # click rate by item, from the other half of the random log.
    uniform, thompson = _rows(bandit, "random"), _rows(bandit, "bts")
    shares: dict[tuple[str, str], float] = {}
    positions: dict[str, int] = {}
    for row in thompson:
        positions[row["position"]] = positions.get(row["position"], 0) + 1
    for row in thompson:
        key = (row["position"], row["item_id"])
        shares[key] = shares.get(key, 0.0) + 1.0 / positions[row["position"]]
    rates = _click_rates(uniform[1::2])
    judged = {
        place: sum(
            share * rates.get(item, 0.0)
            for (where, item), share in shares.items()
            if where == place
        )
        for place in positions
    }
    log = [
        {
            "reward": float(row["click"]),
            "propensity": float(row["propensity_score"]),
            "target_propensity": shares.get((row["position"], row["item_id"]), 0.0),
            "q_logged": rates.get(row["item_id"], 0.0),
            "q_target": judged[row["position"]],
        }
        for row in uniform[::2]
    ]
    with open_duckdb(Engine(threads=1)) as connection:
        found = evaluate(read_log(connection, write_parquet(tmp_path / "log.parquet", log)))
    earned = sum(float(row["click"]) for row in thompson) / len(thompson)
    for estimate in (found.ips, found.snips, found.dr):
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= earned <= estimate.high
    assert found.ess < found.n == len(log)


def _click_rates(rows: list[dict[str, str]]) -> dict[str, float]:
    clicks: dict[str, list[float]] = {}
    for row in rows:
        clicks.setdefault(row["item_id"], []).append(float(row["click"]))
    return {item: sum(found) / len(found) for item, found in clicks.items()}
