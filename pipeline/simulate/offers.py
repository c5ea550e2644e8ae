"""Offers of the bank and customers' reactions to them: the parameters of the world's truth.

A contacted customer clicks with probability `click`, and is then persuaded with probability
`persuasion`. Some reach the goal anyway, with probability b, contacted or not. So

P(goal | contacted) = b + (1 - b) * click * persuasion, effect = (1 - b) * click * persuasion.

b depends on the customer's unobserved intent. The intent is drawn first and independently of the
conditions for a contact, so the mean of b over an offer's audience is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS

Tier: TypeAlias = Literal["gold", "standard"]
Intent: TypeAlias = Literal["high", "low"]
Chances: TypeAlias = Mapping[str, float]

NOTHING: Final = "nothing"
WINDOW_MS: Final = 3 * DAY_MS
"""Time after the contact within which the goal is reached, or not at all."""

GOLD_SHARE: Final = 0.3
"""Share of customers whose tier is gold; the tier is a trait known to the bank."""

HIGH_INTENT_SHARES: Final[Mapping[Tier, float]] = {"gold": 0.5, "standard": 0.2}
"""Share of customers with high intent in each tier."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Effect of an offer in a channel, as probabilities for a contacted customer. `view`: of seeing
    the message; `click`: of a click (a call: of interest); `persuasion`: of being persuaded after a
    click; `delay_ms`: delay after the decision."""

    view: float
    click: float
    persuasion: float
    delay_ms: int

    @property
    def contact_persuasion(self) -> float:
        """Probability that a contact persuades a customer who would not reach the goal anyway."""
        return self.click * self.persuasion


def _web(click: float, persuasion: float) -> Arm:
    return Arm(view=0.9, click=click, persuasion=persuasion, delay_ms=200)


def _email(click: float, persuasion: float) -> Arm:
    return Arm(view=0.45, click=click, persuasion=persuasion, delay_ms=MINUTE_MS)


def _call(click: float, persuasion: float) -> Arm:
    return Arm(view=0.7, click=click, persuasion=persuasion, delay_ms=2 * HOUR_MS)


def _receipt(click: float, persuasion: float) -> Arm:
    return Arm(view=0.8, click=click, persuasion=persuasion, delay_ms=100)


@dataclass(frozen=True, slots=True)
class BankOffer:
    """Offer of the bank. `base_rates`: b for each intent. `shares`: the policy that ran, by channel
    and `nothing`; each contact is drawn by it, unless `agent_chances` is set: then call-centre
    agents call a customer with that probability for the customer's intent, which is not logged.
    `occasion`: event at which it is decided, a visit to the home page or a payment."""

    offer: str
    campaign: str
    goal: str
    goal_channel: str
    value: float
    base_rates: Chances
    arms: Mapping[str, Arm]
    shares: Chances = field(default_factory=dict)
    agent_chances: Chances = field(default_factory=dict)
    occasion: Literal["home", "payment"] = "home"

    def mean_base_rate(self, tier: Tier) -> float:
        """Return the mean of b over customers of a tier."""
        high_share = HIGH_INTENT_SHARES[tier]
        return high_share * self.base_rates["high"] + (1 - high_share) * self.base_rates["low"]

    def conversion(self, channel: str, tier: Tier) -> float:
        """Return P(goal | contacted by `channel`, or not at all with `nothing`) in a tier."""
        b = self.mean_base_rate(tier)
        return b if channel == NOTHING else b + (1 - b) * self.arms[channel].contact_persuasion


CARD: Final = BankOffer(
    offer="gold-card",
    campaign="cards",
    goal="Card Requested",
    goal_channel="web",
    value=60.0,
    base_rates={"high": 0.20, "low": 0.03},
    arms={"email": _email(0.20, 0.30), "web": _web(0.12, 0.40), "call": _call(0.40, 0.45)},
    shares={NOTHING: 0.4, "email": 0.2, "web": 0.2, "call": 0.2},
)
INSURANCE: Final = BankOffer(
    offer="travel-insurance",
    campaign="insurance",
    goal="Insurance Bought",
    goal_channel="web",
    value=25.0,
    base_rates={"high": 0.10, "low": 0.04},
    arms={"email": _email(0.25, 0.35), "web": _web(0.15, 0.35)},
    shares={NOTHING: 0.5, "email": 0.25, "web": 0.25},
)
LOAN: Final = BankOffer(
    offer="personal-loan",
    campaign="loans",
    goal="Loan Requested",
    goal_channel="branch",
    value=200.0,
    base_rates={"high": 0.30, "low": 0.02},
    arms={"call": _call(0.30, 0.10)},
    agent_chances={"high": 0.7, "low": 0.05},
)
CASHBACK: Final = BankOffer(
    offer="cashback",
    campaign="receipts",
    goal="Cashback Activated",
    goal_channel="app",
    value=8.0,
    base_rates={"high": 0.05, "low": 0.02},
    arms={"pos": _receipt(0.30, 0.60)},
    shares={NOTHING: 0.5, "pos": 0.5},
    occasion="payment",
)
FRIEND: Final = BankOffer(
    offer="bring-a-friend",
    campaign="friends",
    goal="Friend Recommended",
    goal_channel="web",
    value=40.0,
    base_rates={"high": 0.04, "low": 0.02},
    arms={"email": _email(0.15, 0.40), "web": _web(0.10, 0.30)},
    shares={NOTHING: 0.5, "email": 0.25, "web": 0.25},
)
SALES: Final = (CARD, INSURANCE, LOAN, CASHBACK, FRIEND)
"""Offers that each customer from the start on meets at most once."""


@dataclass(frozen=True, slots=True)
class OnboardingStep:
    """Mandatory step. `immediate_chance`: probability that the step follows the one before
    without a stall; `reminder`: offer whose policy reminds a stalled customer, or not, a day
    later."""

    event: str
    channel: str
    immediate_chance: float
    reminder: BankOffer


def _reminder(offer: str, goal: str, **arms: Arm) -> BankOffer:
    return BankOffer(
        offer=offer,
        campaign="onboarding",
        goal=goal,
        goal_channel="web",
        value=30.0,
        base_rates={"high": 0.15, "low": 0.15},
        arms=arms,
        shares=dict.fromkeys((NOTHING, *arms), 1 / (1 + len(arms))),
    )


STEPS: Final = (
    OnboardingStep(
        "Terms Accepted",
        "web",
        0.80,
        _reminder(
            "terms-reminder",
            "Terms Accepted",
            email=_email(0.40, 0.80),
            web=_web(0.20, 0.60),
            call=_call(0.30, 0.50),
        ),
    ),
    OnboardingStep(
        "Income Given",
        "web",
        0.70,
        _reminder(
            "income-help",
            "Income Given",
            email=_email(0.25, 0.40),
            web=_web(0.25, 0.50),
            call=_call(0.60, 0.80),
        ),
    ),
    OnboardingStep(
        "Photo Uploaded",
        "app",
        0.60,
        _reminder(
            "photo-help",
            "Photo Uploaded",
            email=_email(0.20, 0.30),
            web=_web(0.55, 0.80),
            call=_call(0.40, 0.40),
        ),
    ),
    OnboardingStep(
        "Account Opened",
        "api",
        0.85,
        _reminder(
            "opening-help",
            "Account Opened",
            email=_email(0.35, 0.70),
            web=_web(0.20, 0.40),
            call=_call(0.30, 0.30),
        ),
    ),
)
"""Steps in their order, after `Onboarding Started`."""

OFFERS: Final = (*SALES, *(step.reminder for step in STEPS))
