"""Off-policy estimates: closed forms and coverage by simulation."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.insights.engines import open_duckdb
from pipeline.insights.off_policy import Bounds, Estimate, Log, anytime_interval, evaluate, read_log
from pipeline.insights.tables import Engine
from tests.support.attribution import write_csv, write_parquet

HEADER = "reward,propensity,target_propensity"


def _read(file: Path) -> Log:
    with open_duckdb(Engine(threads=1)) as queries:
        return read_log(queries, file)


def test_estimates_of_a_log_worked_out_by_hand(tmp_path: Path) -> None:
    # Weights 2, ½, 0, 1: IPS (2 + 0 + 0 + 1)/4; SNIPS 3/3.5; DR adds what the model missed.
    lines = [
        f"{HEADER},q_logged,q_target",
        "1,0.5,1,0.5,0.6",
        "0,0.8,0.4,0.2,0.3",
        "1,0.2,0,0.9,0.1",
        "1,0.5,0.5,0.5,0.5",
    ]
    estimates = evaluate(_read(write_csv(tmp_path / "log.csv", lines)))
    assert estimates.n == 4
    assert estimates.ess == pytest.approx(3.5**2 / 5.25)
    assert estimates.ips.value == pytest.approx(0.75)
    assert estimates.snips.value == pytest.approx(3 / 3.5)
    assert estimates.dr is not None
    assert estimates.dr.value == pytest.approx((0.6 + 1.0 + 0.3 - 0.1 + 0.1 + 0.5 + 0.5) / 4)
    for estimate in (estimates.ips, estimates.snips, estimates.dr):
        assert estimate.value is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high


def test_value_of_the_logging_policy_is_its_mean_reward(tmp_path: Path) -> None:
    rewards = np.random.default_rng(0).random(500)
    rows = [
        {"reward": float(reward), "propensity": 0.25, "target_propensity": 0.25}
        for reward in rewards
    ]
    estimates = evaluate(_read(write_parquet(tmp_path / "log.parquet", rows)))
    assert estimates.ess == pytest.approx(500)
    assert estimates.ips.value == pytest.approx(rewards.mean())
    assert estimates.snips == Estimate(*map(pytest.approx, _bounds_of(estimates.ips)))
    assert estimates.dr is None


def _bounds_of(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def test_every_format_gives_the_same_estimates(tmp_path: Path) -> None:
    rows = [
        {"reward": 1.5, "propensity": 0.5, "target_propensity": 0.25},
        {"reward": -2.0, "propensity": 1.0, "target_propensity": 0.75},
    ]
    lines = [",".join(str(value) for value in row.values()) for row in rows]
    all_estimates = [
        evaluate(_read(file))
        for file in (
            write_csv(tmp_path / "a.csv", [HEADER, *lines]),
            write_parquet(tmp_path / "a.parquet", rows),
            write_csv(tmp_path / "a.ndjson", [str(row).replace("'", '"') for row in rows]),
            write_csv(tmp_path / "a.json", [str(row).replace("'", '"') for row in rows]),
        )
    ]
    assert all(estimates == all_estimates[0] for estimates in all_estimates)
    assert all_estimates[0].ips.value == pytest.approx((0.75 - 1.5) / 2)


def test_estimate_without_support_in_the_log_is_none() -> None:
    estimates = evaluate(Log(np.array([1.0]), np.array([2.0])))
    assert _bounds_of(estimates.ips) == (2.0, None, None)
    disjoint_estimates = evaluate(Log(np.array([1.0, 0.0]), np.zeros(2)))
    assert (
        disjoint_estimates.ess,
        disjoint_estimates.ips.value,
        _bounds_of(disjoint_estimates.snips),
    ) == (
        0.0,
        0.0,
        (None, None, None),
    )


def _simulate(random: np.random.Generator, size: int) -> tuple[Log, float]:
    """Return a log with three contexts and four actions, drawn by a cautious policy, and the true
    mean reward of the bold policy that it evaluates; its model is wrong on purpose."""
    context = random.integers(0, 3, size)
    logged_policy = np.array([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.1, 0.2, 0.6]])
    target = np.array([[0.1, 0.2, 0.2, 0.5], [0.7, 0.1, 0.1, 0.1], [0.3, 0.3, 0.3, 0.1]])
    truth = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.1], [0.3, 0.6, 0.2, 0.1]])
    model = truth * 0.5 + 0.1
    draw = random.random(size)[:, None]
    action = (draw > np.cumsum(logged_policy[context], axis=1)[:, :-1]).sum(axis=1)
    reward = (random.random(size) < truth[context, action]).astype(float)
    weights = target[context, action] / logged_policy[context, action]
    target_values = (target * model).sum(axis=1)[context]
    log = Log(reward, weights, model[context, action], target_values)
    return log, float((target * truth).sum(axis=1).mean())


def test_intervals_cover_the_truth_at_their_confidence() -> None:
    random = np.random.default_rng(11)
    hit_counts = {"ips": 0, "snips": 0, "dr": 0}
    for _ in range(600):
        log, truth = _simulate(random, 400)
        estimates = evaluate(log)
        for name in hit_counts:
            estimate = getattr(estimates, name)
            hit_counts[name] += estimate.low <= truth <= estimate.high
    shares = {name: count / 600 for name, count in hit_counts.items()}
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares


def test_anytime_intervals_cover_the_truth_at_every_look() -> None:
    # With weights of up to 50, at looks from 20 decisions on: at most one log in twenty misses,
    # and the interval of all decisions is narrower than the range of rewards.
    random = np.random.default_rng(5)
    miss_count, widths = 0, []
    for _ in range(150):
        is_rare = random.random(2_000) < 0.01
        weights = np.where(is_rare, 50.0, 0.5 / 0.99)
        rewards = (random.random(2_000) < np.where(is_rare, 0.8, 0.1)).astype(float)
        truth = 0.5 * 0.8 + 0.5 * 0.1
        bounds = [
            anytime_interval(Log(rewards[:look], weights[:look]), Bounds())
            for look in (20, 100, 500, 2_000)
        ]
        miss_count += any(not low <= truth <= high for low, high in bounds)
        widths.append(bounds[-1][1] - bounds[-1][0])
    assert miss_count <= 0.05 * 150
    assert np.median(widths) < 0.8


def test_anytime_intervals_follow_the_bounds_of_rewards() -> None:
    log, _ = _simulate(np.random.default_rng(3), 3_000)
    low, high = anytime_interval(log, Bounds())
    scaled_log = Log(log.rewards * 20.0 - 5.0, log.weights)
    assert anytime_interval(scaled_log, Bounds(-5.0, 15.0)) == pytest.approx(
        (low * 20 - 5, high * 20 - 5)
    )
    for bounds in (Bounds(), Bounds(high=float("nan")), Bounds(-5.0, float("inf"))):
        with pytest.raises(ValueError, match="not within"):
            anytime_interval(scaled_log, bounds)
    assert 0.0 < low < high < 1.0
