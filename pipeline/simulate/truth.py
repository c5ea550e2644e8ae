"""Truth of the world in closed form: the right results of an analysis of its log."""

from typing import Any, Final

from pipeline.simulate.offers import (
    CARD,
    GOLD_SHARE,
    HIGH_INTENT_SHARES,
    LOAN,
    NOTHING,
    OFFERS,
    STEPS,
    WINDOW_MS,
    BankOffer,
    Chances,
    Tier,
)

TIER_SHARES: Final[dict[Tier, float]] = {"gold": GOLD_SHARE, "standard": 1 - GOLD_SHARE}

POLICY_OFFER: Final = CARD
"""Offer whose decisions `policy.csv` logs."""

_TARGET_POLICY: Final[dict[Tier, Chances]] = {
    "gold": {NOTHING: 0.05, "email": 0.1, "web": 0.05, "call": 0.8},
    "standard": {NOTHING: 0.1, "email": 0.7, "web": 0.1, "call": 0.1},
}
"""Target policy for `policy.csv`: calls for gold customers, e-mails for the others."""


def target_propensity(channel: str, tier: Tier) -> float:
    """Return the probability of `channel` under the target policy."""
    return _TARGET_POLICY[tier][channel]


def expected_conversion(offer: BankOffer, channel: str) -> float:
    """Return P(goal | contacted by `channel`) over all customers; `nothing`: over those not
    contacted."""
    return sum(share * offer.conversion(channel, tier) for tier, share in TIER_SHARES.items())


def effect(offer: BankOffer, channel: str) -> float:
    """Return the average causal effect of a contact on reaching the goal within the window."""
    return expected_conversion(offer, channel) - expected_conversion(offer, NOTHING)


def q_logged(channel: str) -> float:
    """Return the expected reward of an action by a simple model; it ignores tiers, so it is
    biased."""
    return expected_conversion(POLICY_OFFER, channel)


def q_target(tier: Tier) -> float:
    """Return the simple model's mean reward under the target policy."""
    return sum(share * q_logged(channel) for channel, share in _TARGET_POLICY[tier].items())


def naive_difference(offer: BankOffer) -> float:
    """Return P(goal | called) − P(goal | not called) for an offer whose calls agents choose: the
    biased result of treating their choice as random."""
    calls, non_calls = _Mean(), _Mean()
    persuasion = offer.arms["call"].contact_persuasion
    for tier, share in TIER_SHARES.items():
        for intent, part in (
            ("high", HIGH_INTENT_SHARES[tier]),
            ("low", 1 - HIGH_INTENT_SHARES[tier]),
        ):
            b, call_share = offer.base_rates[intent], offer.agent_chances[intent]
            calls.add(share * part * call_share, b + (1 - b) * persuasion)
            non_calls.add(share * part * (1 - call_share), b)
    return calls.value - non_calls.value


class _Mean:
    def __init__(self) -> None:
        self._weight = self._sum = 0.0

    def add(self, weight: float, value: float) -> None:
        self._weight += weight
        self._sum += weight * value

    @property
    def value(self) -> float:
        return self._sum / self._weight


def statement() -> dict[str, Any]:
    """Return all truths of the world that hold for any seed."""
    return {
        "synthetic": True,
        "note": "A synthetic bank: none of these people, actions and figures are real.",
        "window_ms": WINDOW_MS,
        "offers": {offer.offer: _arm_truths(offer) for offer in OFFERS},
        "goals": {offer.offer: offer.goal for offer in OFFERS},
        "baselines": {offer.offer: _round(expected_conversion(offer, NOTHING)) for offer in OFFERS},
        "confounded": [
            {
                "offer": LOAN.offer,
                "channel": "call",
                "why": "agents call those who would ask for a loan anyway",
                "naive": _round(naive_difference(LOAN)),
                "effect": _round(effect(LOAN, "call")),
            }
        ],
        "best_channel_per_step": {step.event: _best_channel(step.reminder) for step in STEPS},
        "policy": {
            "offer": POLICY_OFFER.offer,
            "logged": dict(POLICY_OFFER.shares),
            "target": {tier: dict(shares) for tier, shares in _TARGET_POLICY.items()},
            "logged_value": _round(_value(dict.fromkeys(TIER_SHARES, POLICY_OFFER.shares))),
            "target_value": _round(_value(_TARGET_POLICY)),
        },
    }


def _arm_truths(offer: BankOffer) -> dict[str, dict[str, float]]:
    return {
        channel: {
            "click": arm.click,
            "conversion": _round(expected_conversion(offer, channel)),
            "effect": _round(effect(offer, channel)),
        }
        for channel, arm in offer.arms.items()
    }


def _best_channel(offer: BankOffer) -> str:
    return max(offer.arms, key=lambda channel: effect(offer, channel))


def _value(policy: dict[Tier, Chances]) -> float:
    return sum(
        TIER_SHARES[tier] * share * POLICY_OFFER.conversion(channel, tier)
        for tier, shares in policy.items()
        for channel, share in shares.items()
    )


def _round(value: float) -> float:
    return round(value, 9)
