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

    def of_customer(facts: Facts) -> float:
        value = facts.traits.get(trait)
        return value * times + plus if is_number(value) else default

    return of_customer


def probability(amount: model.Probability) -> Reckon:
    """Return the function that computes a probability for a customer, within 0 and 1."""
    number = reckon(amount)
    return lambda facts: min(max(number(facts), 0.0), 1.0)


def worth(
    p: float,
    value: float,
    cost: float,
    weight: float,
    transactional: bool,
    tie: tuple[str, str, str],
) -> Worth:
    """Compute the score of a candidate."""
    score = (p * value - cost) * weight
    return Worth(p, value, weight, score, (not transactional, -score, tie))


def charge(worth: Worth, toll: float) -> Worth:
    """Return the worth less the `toll` of its cost while its budget is short."""
    score = worth.score - toll
    last, _, tie = worth.order
    return Worth(worth.p, worth.value, worth.weight, score, (last, -score, tie), toll)


def traits_of(*amounts: model.Amount | None) -> Iterator[str]:
    """Return the traits that amounts read."""
    return (amount.trait for amount in amounts if isinstance(amount, model.Reckoned))
