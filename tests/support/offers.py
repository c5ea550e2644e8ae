"""Configuration with offers in a placement and by e-mail."""

from functools import cache

from pipeline.config import model
from pipeline.rules import Rules
from tests.support.worlds import rules

_SILENCE = {"absence": {"name": "Order"}, "after": {"name": "Ask"}, "for": "60s"}


def _campaigns() -> tuple[model.Campaign, ...]:
    voucher = model.Offer(
        "voucher", 5.0, (model.Treatment("voucher-mail", "email", address="email"),)
    )
    reminder = model.Offer(
        "reminder", 4.0, (model.Treatment("reminder-mail", "email", address="email"),)
    )
    question = model.Offer(
        "question", 1.0, (model.Treatment("question-mail", "email", address="email"),)
    )
    small = model.Offer("small", 2.0, (model.Treatment("small-hero", "web", placement="hero"),))
    large = model.Offer(
        "large",
        3.0,
        (model.Treatment("large-hero", "web", placement="hero", content={"t": "{orders} orders"}),),
    )
    return (
        model.Campaign("mail", (voucher, reminder), trigger={"name": "Order"}),
        model.Campaign("ask", (question,), trigger={"entered": "silent"}),
        model.Campaign("hero", (small, large)),
    )


@cache
def offering_rules() -> Rules:
    """Return rules with one placement of two offers, e-mail on an order and to customers who ask
    and then order nothing for a minute, and caps on e-mails, on each offer, and on all messages."""
    return rules(
        model.Bundle(
            sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
            identity=model.Identity(
                (
                    model.Namespace("customer_id"),
                    model.Namespace("email", "lower"),
                    model.Namespace("cookie"),
                )
            ),
            channels=model.Channels(
                (
                    model.Channel("web", placements=("hero",)),
                    model.Channel("email", cost=0.5),
                )
            ),
            profile=model.ProfileRules(
                (model.TraitDefinition("orders", "count", when={"name": "Order"}),)
            ),
            segments=(
                model.Segment("buyers", {"trait": "orders", "gte": 1}),
                model.Segment("silent", _SILENCE),
            ),
            campaigns=_campaigns(),
            policies=model.Policies(
                (
                    model.Cap("mail-a-day", "channel", 2, "1d", channel="email"),
                    model.Cap("offer-a-week", "offer", 3, "7d"),
                    model.Cap("five-a-day", "all", 5, "1d"),
                )
            ),
        )
    )
