"""Points at which tests kill a worker: each names an existing method."""

import pytest

from tests.support.doom import POINTS, Point


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_point_names_a_method(point: Point) -> None:
    assert callable(getattr(point.owner, point.method))
