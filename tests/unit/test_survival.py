"""The Kaplan-Meier estimator against published figures and closed forms."""

from random import Random

import pytest

from pipeline.insights.odds import TwoByTwo, odds_ratios
from pipeline.insights.survival import FollowedCases, conversion_curve, difference, kaplan_meier

# Remission of leukaemia under 6-MP in weeks (Freireich et al. 1963).
REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORINGS = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
LEUKAEMIA = [FollowedCases(week, True, 1) for week in REMISSION] + [
    FollowedCases(week, False, 1) for week in CENSORINGS
]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_estimates_equal_the_published_ones_of_the_leukaemia_data() -> None:
    curve = kaplan_meier(LEUKAEMIA)
    assert curve.times == (6, 7, 10, 13, 16, 22, 23)
    assert curve.at_risk == (21, 17, 15, 12, 11, 7, 6)
    published_shares = [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    standard_errors = [0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346]
    assert curve.survival == pytest.approx(published_shares, abs=5e-5)
    for time, remaining_share, standard_error in zip(
        curve.times, published_shares, standard_errors, strict=True
    ):
        survival, variance = curve.estimate(time)
        assert survival == pytest.approx(remaining_share, abs=5e-5)
        assert variance**0.5 == pytest.approx(standard_error, abs=5e-5)


def test_intervals_equal_the_published_log_log_ones() -> None:
    curve = kaplan_meier(LEUKAEMIA)
    first_share, last_share = curve.share_converted(0), curve.share_converted(-1)
    assert first_share.low is not None
    assert first_share.high is not None
    assert (1 - first_share.high, 1 - first_share.low) == pytest.approx((0.6197, 0.9516), abs=5e-5)
    assert last_share.low is not None
    assert last_share.high is not None
    assert (1 - last_share.high, 1 - last_share.low) == pytest.approx((0.1881, 0.6801), abs=5e-5)


def test_medians_equal_the_published_ones() -> None:
    placebo = [FollowedCases(week, True, 1) for week in PLACEBO]
    assert conversion_curve(LEUKAEMIA).quartiles_ms[1] == 23
    assert conversion_curve(placebo).quartiles_ms[1] == 8


def test_without_censoring_the_share_is_that_of_the_cases_and_its_variance_binomial() -> None:
    random = Random(1)
    times = [random.randrange(1, 30) for _ in range(200)]
    curve = kaplan_meier([FollowedCases(time, True, 1) for time in times])
    for time in range(30):
        remaining_share = sum(duration > time for duration in times) / len(times)
        assert curve.estimate(time) == pytest.approx(
            (remaining_share, remaining_share * (1 - remaining_share) / len(times))
        )


def test_equal_cases_may_be_given_together() -> None:
    grouped_cases = [
        FollowedCases(5, True, 3),
        FollowedCases(5, False, 2),
        FollowedCases(9, True, 1),
    ]
    single_cases = [
        FollowedCases(case.duration, case.converted, 1)
        for case in grouped_cases
        for _ in range(case.cases)
    ]
    assert conversion_curve(grouped_cases) == conversion_curve(single_cases)


def test_no_customers_or_no_conversions_give_no_interval() -> None:
    empty_curve, open_curve = conversion_curve([]), conversion_curve([FollowedCases(3, False, 4)])
    assert (empty_curve.converted, empty_curve.points, empty_curve.quartiles_ms) == (
        None,
        (),
        (None,) * 3,
    )
    assert open_curve.converted is not None
    assert (open_curve.converted.share, open_curve.converted.low) == (0.0, None)
    full_share = conversion_curve([FollowedCases(3, True, 4)]).converted
    assert full_share is not None
    assert (full_share.share, full_share.low, full_share.high) == (1.0, None, None)
    assert difference(kaplan_meier([]), kaplan_meier([FollowedCases(3, True, 4)])) is None


def test_difference_is_at_the_end_of_the_shorter_follow_up() -> None:
    placebo = kaplan_meier([FollowedCases(week, True, 1) for week in PLACEBO])
    gap = difference(kaplan_meier(LEUKAEMIA), placebo)
    assert gap is not None
    assert gap.share == pytest.approx(-0.4482, abs=5e-5)
    assert gap.high is not None
    assert gap.high == pytest.approx(-0.4482 + 1.96 * 0.1346, abs=5e-4)


def test_odds_ratios_are_those_of_haldane_and_anscombe() -> None:
    (ratio,) = odds_ratios([TwoByTwo(10, 7, 12, 0)])
    assert ratio.odds_ratio == pytest.approx(7.5 * 12.5 / (3.5 * 0.5))
    spread = 1.959964 * (1 / 7.5 + 1 / 3.5 + 1 / 0.5 + 1 / 12.5) ** 0.5
    assert ratio.high / ratio.odds_ratio == pytest.approx(2.718281828**spread, rel=1e-5)
    assert ratio.odds_ratio / ratio.low == pytest.approx(2.718281828**spread, rel=1e-5)


def test_p_is_fishers_exact_of_the_lady_tasting_tea() -> None:
    (ratio,) = odds_ratios([TwoByTwo(4, 3, 4, 1)])
    assert ratio.p == pytest.approx(34 / 70)


def test_q_is_that_of_benjamini_and_hochberg() -> None:
    tables = [TwoByTwo(20, n, 20, 10) for n in (10, 12, 15, 19)]
    ratios = odds_ratios(tables)
    p = sorted(odds_ratio.p for odds_ratio in ratios)
    expected = [min(p[k] * 4 / (k + 1) for k in range(index, 4)) for index in range(4)]
    assert sorted(odds_ratio.q for odds_ratio in ratios) == pytest.approx(expected)
    assert odds_ratios([]) == []
