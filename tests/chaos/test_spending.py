"""Kills while workers spend budgets and stock and the learner counts: nothing is overspent or lost,
and everything counts once."""

import pytest

from tests.chaos.evidence import TopicEvidence
from tests.chaos.faults import SPENDING_FAULTS, Fault
from tests.chaos.trial import Laboratory

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

_RATE = 60.0


@pytest.mark.parametrize("fault", SPENDING_FAULTS, ids=lambda fault: fault.__name__)
def test_laws_of_spending_hold_after_each_fault(
    spending_laboratory: Laboratory, fault: Fault
) -> None:
    result = spending_laboratory.run(fault, _RATE)
    assert not result.failures


def test_budgets_and_stock_were_spent_to_the_end(spending_laboratory: Laboratory) -> None:
    """Check that budgets and stock ran out, so that overspending was possible, and that the
    coupon's money was returned and spent again."""
    budgets = TopicEvidence.of(spending_laboratory.stack.settings).budgets
    for name in ("prize", "shelf/lamp", "shelf/chair", "shelf/rug"):
        assert budgets[name].spent == budgets[name].budget, name
    assert budgets["coupon"].released > budgets["coupon"].budget
