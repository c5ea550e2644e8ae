"""Price of a message: (p × value − cost) × weight of the context × levers.

While a budget is short, λ × cost is subtracted, λ being the budget's shadow price.
"""

from collections.abc import Mapping, Sequence

from pipeline.conditions import Facts
from pipeline.config import amounts
from pipeline.config.compiled import CompiledCandidate, Worth
from pipeline.rules.chooser import PricedCandidate
from pipeline.rules.propensities import Propensities


def price_all(
    candidates: Sequence[CompiledCandidate],
    facts: Facts,
    learned: Propensities | None,
    prices: Mapping[str, float],
) -> list[PricedCandidate]:
    """Return the candidates of a decision with their worth; models predict for all at once.

    `prices`: shadow prices of budgets, by campaign.
    """
    if learned is None:
        priced = [
            PricedCandidate(candidate, candidate.worth or _worth(candidate, None, facts))
            for candidate in candidates
        ]
    else:
        priced = [
            PricedCandidate(candidate, _worth(candidate, p, facts))
            for candidate, p in zip(candidates, learned.of(candidates, facts), strict=True)
        ]
    if prices:
        priced = [_charge(candidate, prices) for candidate in priced]
    return priced


def _charge(priced: PricedCandidate, prices: Mapping[str, float]) -> PricedCandidate:
    candidate = priced.candidate
    price = prices.get(candidate.campaign, 0.0)
    if not price or candidate.transactional or not candidate.draws:
        return priced
    return PricedCandidate(candidate, amounts.charge(priced.worth, price * candidate.cost))


def _worth(candidate: CompiledCandidate, learned: float | None, facts: Facts) -> Worth:
    fixed = candidate.worth
    if fixed is not None:
        if learned is None:
            return fixed
        value, weight = fixed.value, fixed.weight
        score = (learned * value - candidate.cost) * weight
        order = (not candidate.transactional, -score, candidate.tie)
        return Worth(learned, value, weight, score, order)
    weight = candidate.lever
    for context_weight in candidate.weights:
        if context_weight.condition.test(facts):
            weight *= context_weight.factor
    p = candidate.p(facts) if learned is None else learned
    value = candidate.value(facts)
    return amounts.worth(p, value, candidate.cost, weight, candidate.transactional, candidate.tie)
