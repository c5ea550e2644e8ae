"""What the real steps run by: the demonstration's configuration, and a large one made here."""

from pathlib import Path
from typing import Final

from pipeline.adapters.config_files import load
from pipeline.config import model

SEGMENTS: Final = 100
OFFERS: Final = 50
EVENT: Final = "purchase"
"""Both configurations have a campaign that sends something on it every time."""

_DEMO: Final = Path(__file__).parents[2] / "deploy" / "demo"
_TRAITS: Final = 40
_CAMPAIGNS: Final = 10


class BadConfigurationError(Exception):
    """Raised when the demonstration's configuration has errors."""


def demo() -> model.Bundle:
    """deploy/demo: 5 segments, 6 campaigns."""
    bundle = load(_DEMO)
    if isinstance(bundle, list):
        raise BadConfigurationError("\n".join(map(str, bundle)))
    return bundle


def large() -> model.Bundle:
    """40 traits, 100 segments, 50 offers that compete to be pushed; half of them eligible."""
    return model.Bundle(
        sources=model.Sources((model.Source("bench", "web", "bench-write-key"),)),
        identity=model.Identity(
            (
                model.Namespace("customer_id"),
                model.Namespace("email", "lower"),
                model.Namespace("cookie"),
            )
        ),
        channels=model.Channels(
            (
                model.Channel("web", placements=("hero", "banner")),
                model.Channel("push", cost=0.01),
            )
        ),
        profile=model.ProfileRules(tuple(_trait(n) for n in range(_TRAITS))),
        policies=model.Policies(
            (
                model.Cap("offer-a-week", "offer", 1_000, "7d"),
                model.Cap("campaign-a-day", "campaign", 1_000, "1d"),
                model.Cap("push-a-day", "channel", 1_000, "1d", channel="push"),
                model.Cap("all-in-30-days", "all", 1_000, "30d"),
            )
        ),
        segments=tuple(_segment(n) for n in range(SEGMENTS)),
        campaigns=tuple(_campaign(n) for n in range(_CAMPAIGNS)),
    )


def _trait(number: int) -> model.Trait:
    name = f"trait-{number}"
    shoes = {"all": [{"name": EVENT}, {"property": "category", "is": "shoes"}]}
    match number % 4:
        case 0:
            return model.Trait(name, "count", when={"name": EVENT})
        case 1:
            return model.Trait(name, "sum", of="properties.price", when={"name": [EVENT, "refund"]})
        case 2:
            return model.Trait(name, "latest", of="occurred_at", when={"name": EVENT})
        case _:
            return model.Trait(name, "max", of="properties.cart.total", when=shoes)


def _segment(number: int) -> model.Segment:
    count, total, latest, most = (
        f"trait-{4 * (number % (_TRAITS // 4)) + kind}" for kind in range(4)
    )
    name = f"segment-{number}"
    match number % 4:
        case 0:
            return model.Segment(name, {"trait": count, "gte": 1 + number % 3})
        case 1:
            return model.Segment(
                name, {"all": [{"trait": total, "gte": number}, {"trait": latest, "within": "7d"}]}
            )
        case 2:
            return model.Segment(
                name,
                {"any": [{"trait": most, "gt": 150}, {"not": {"trait": count, "gte": 2}}]},
            )
        case _:
            return model.Segment(
                name,
                {"all": [{"segment": f"segment-{number - 1}"}, {"trait": latest, "exists": True}]},
            )


def _campaign(number: int) -> model.Campaign:
    """Every second one is for everybody who bought; the others are for nobody yet."""
    each = OFFERS // _CAMPAIGNS
    reachable = {"segment": f"segment-{12 * (number // 2) % SEGMENTS}"}
    unreachable = {"trait": "trait-0", "gte": 1_000_000}
    return model.Campaign(
        f"campaign-{number}",
        tuple(_offer(number * each + n) for n in range(each)),
        audience=unreachable if number % 2 else None if number == 0 else reachable,
        trigger={"name": EVENT},
    )


def _offer(number: int) -> model.Offer:
    push = model.Treatment(
        f"push-{number}",
        "push",
        content={"title": "Order number {trait-0}", "text": "More {properties.category} for you"},
    )
    hero = model.Treatment(f"hero-{number}", "web", placement="hero", content={"title": "For you"})
    return model.Offer(f"offer-{number}", 1.0 + number % 7, (push, hero))
