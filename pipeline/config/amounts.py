"""Amounts of a campaign, fixed or computed for each customer."""

from collections.abc import Iterator

from pipeline.conditions import Facts
from pipeline.config import model
from pipeline.config.compiled import Reckon, Worth
from pipeline.config.readers import is_number


def reckon(amount: model.Amount) -> Reckon:
    """Return the function that computes an amount for a customer."""
    if not isinstance(amount, model.Reckoned):
        constant = float(amount)
        return lambda _: constant
    trait, times, plus, default = amount.trait, amount.times, amount.plus, amount.default

    def compute(facts: Facts) -> float:
        value = facts.traits.get(trait)
        return value * times + plus if is_number(value) else default

    return compute


def probability(amount: model.Probability) -> Reckon:
    """Return the function that computes a probability for a customer, within 0 and 1."""
    compute = reckon(amount)
    return lambda facts: min(max(compute(facts), 0.0), 1.0)


def worth(
    p: float,
    value: float,
    cost: float,
    weight: float,
    transactional: bool,
    tie: tuple[str, str, str],
) -> Worth:
    """Return the worth of a candidate, with its score and its rank."""
    score = (p * value - cost) * weight
    return Worth(p, value, weight, score, (not transactional, -score, tie))


def charge(worth: Worth, toll: float) -> Worth:
    """Return the worth with a score that is less by `toll`, the price of a short budget."""
    score = worth.score - toll
    is_optional, _, tie = worth.order
    return Worth(worth.p, worth.value, worth.weight, score, (is_optional, -score, tie), toll)


def traits_of(*amounts: model.Amount | None) -> Iterator[str]:
    """Return the traits that amounts read."""
    return (amount.trait for amount in amounts if isinstance(amount, model.Reckoned))
