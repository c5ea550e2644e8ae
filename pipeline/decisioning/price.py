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
    propensities: Propensities | None,
    prices: Mapping[str, float],
) -> list[PricedCandidate]:
    """Return the candidates of a decision with their worth; models predict for all at once.

    `prices`: shadow prices of budgets, by campaign.
    """
    if propensities is None:
        contenders = [
            PricedCandidate(candidate, candidate.worth or _worth(candidate, None, facts))
            for candidate in candidates
        ]
    else:
        contenders = [
            PricedCandidate(candidate, _worth(candidate, p, facts))
            for candidate, p in zip(
                candidates, propensities.probabilities(candidates, facts), strict=True
            )
        ]
    if prices:
        contenders = [_charge(contender, prices) for contender in contenders]
    return contenders


def _charge(contender: PricedCandidate, prices: Mapping[str, float]) -> PricedCandidate:
    candidate = contender.candidate
    price = prices.get(candidate.campaign, 0.0)
    if not price or candidate.transactional or not candidate.draws:
        return contender
    return PricedCandidate(candidate, amounts.charge(contender.worth, price * candidate.cost))


def _worth(candidate: CompiledCandidate, learned_p: float | None, facts: Facts) -> Worth:
    fixed_worth = candidate.worth
    if fixed_worth is not None:
        if learned_p is None:
            return fixed_worth
        value, weight = fixed_worth.value, fixed_worth.weight
        score = (learned_p * value - candidate.cost) * weight
        order = (not candidate.transactional, -score, candidate.tie)
        return Worth(learned_p, value, weight, score, order)
    weight = candidate.lever
    for context_weight in candidate.weights:
        if context_weight.condition.test(facts):
            weight *= context_weight.factor
    p = candidate.p(facts) if learned_p is None else learned_p
    value = candidate.value(facts)
    return amounts.worth(p, value, candidate.cost, weight, candidate.transactional, candidate.tie)
