"""Configurations for the real steps: the demonstration's, and synthetic ones by size."""

import shutil
from pathlib import Path
from typing import Final

import msgspec

from pipeline.adapters.config_files import load
from pipeline.config import model

EVENT: Final = "purchase"
"""Event that triggers the campaigns of all configurations here but `abandoned_carts_bundle`."""

WAIT_MS: Final = 60_000
"""Time after the last cart at which the timer of `abandoned_carts_bundle` fires."""

CATEGORIES: Final = ("shoes", "shirts", "jackets", "bags", "hats")
"""Values of the property `category` of purchases."""

_ITEM_COUNT: Final = 2_500
_ELIGIBLE_COUNT: Final = 200
_EVENTS: Final = (EVENT, "cart", "catalog", "search", "login", "page", "refund", "support")
_DEMO: Final = Path(__file__).parents[2] / "deploy" / "demo"
_CAMPAIGN_COUNT: Final = 10


class BadConfigurationError(Exception):
    """Raised when the demonstration's configuration has errors."""


def demo_bundle() -> model.Bundle:
    """Return the configuration in deploy/demo: 5 segments, 6 campaigns."""
    bundle = load(_DEMO)
    if isinstance(bundle, list):
        raise BadConfigurationError("\n".join(map(str, bundle)))
    return bundle


def write_changed_demo(folder: Path) -> None:
    """Copy deploy/demo into `folder` with one segment changed, and one that reads a new metric."""
    shutil.copytree(_DEMO, folder)
    profile = folder / "profile.yaml"
    condition = "{all: [{name: purchase}, {property: platform, is: mobile}]}"
    metric_line = f"  - {{name: mobile_orders, rule: count, when: {condition}}}\n"
    profile.write_text(profile.read_text() + metric_line)
    for name, rule in (
        ("buyers", "{trait: purchases, gte: 2}"),
        ("mobile-buyers", "{trait: mobile_orders, gte: 1}"),
    ):
        (folder / "segments" / f"{name}.yaml").write_text(f"segment: {name}\nwhen: {rule}\n")


def large_bundle() -> model.Bundle:
    """Return a configuration of 40 metrics, 100 segments and 50 offers."""
    return make_bundle(segments=100, metrics=40, offers=50)


def catalog_bundle() -> model.Bundle:
    """Return a configuration with a catalogue of 2,500 items, of which a customer may get the 200
    of the category of the last purchase."""
    items = tuple(_item(number) for number in range(_ITEM_COUNT))
    products = model.Catalog(
        "products",
        "products.csv",
        only=(model.ItemRule("interest", attribute="kind"),),
        exclude=(model.ItemRule("bought"),),
        items=items,
    )
    push = model.Treatment("item", "push", p=0.05, content={"title": "{item.title}"})
    product = model.Offer("product", 1.0, (push,), catalog="products")
    configuration = make_bundle(segments=5, metrics=5, offers=_CAMPAIGN_COUNT)
    traits = (
        model.TraitDefinition("interest", "latest", of="properties.category"),
        model.TraitDefinition("bought", "latest", of="properties.product_id"),
    )
    return msgspec.structs.replace(
        configuration,
        profile=model.ProfileRules((*configuration.profile.traits, *traits)),
        campaigns=(model.Campaign("shop", (product,), trigger={"name": EVENT}),),
        catalogs=(products,),
    )


def learning_bundle(campaigns: int = _CAMPAIGN_COUNT) -> model.Bundle:
    """Return a configuration of `campaigns` campaigns (at most ten) with one offer each, and with
    another purchase as their goal."""
    configuration = make_bundle(segments=5, metrics=5, offers=_CAMPAIGN_COUNT)
    goal = model.Goal({"name": EVENT}, "1h")
    reachable_campaigns = (
        msgspec.structs.replace(campaign, audience=None, goal=goal)
        for campaign in configuration.campaigns[:campaigns]
    )
    policies = msgspec.structs.replace(configuration.policies, learning=model.Learning())
    return msgspec.structs.replace(
        configuration, campaigns=tuple(reachable_campaigns), policies=policies
    )


def make_bundle(segments: int, metrics: int, offers: int) -> model.Bundle:
    """Return a configuration of the given size; offers compete, and half of them are eligible.

    An interaction of one name concerns an eighth of the metrics, and the segments that read them.
    """
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
        profile=model.ProfileRules(tuple(_metric(n) for n in range(metrics))),
        policies=model.Policies(
            (
                model.Cap("offer-a-week", "offer", 1_000, "7d"),
                model.Cap("campaign-a-day", "campaign", 1_000, "1d"),
                model.Cap("push-a-day", "channel", 1_000, "1d", channel="push"),
                model.Cap("all-in-30-days", "all", 1_000, "30d"),
            )
        ),
        segments=tuple(_segment(n, metrics) for n in range(segments)),
        campaigns=tuple(_campaign(n, offers // _CAMPAIGN_COUNT) for n in range(_CAMPAIGN_COUNT)),
    )


def abandoned_carts_bundle() -> model.Bundle:
    """Return a configuration that mails customers who left a cart `WAIT_MS` ago, at which time they
    also exit a second segment, whose window the cart leaves."""
    wait = f"{WAIT_MS}ms"
    abandoned_segment = model.Segment("abandoned-cart", {"trait": "last_cart", "older_than": wait})
    recent_segment = model.Segment("recent-cart", {"trait": "carts", "gte": 1})
    mail = model.Treatment("mail", "email", address="email")
    return model.Bundle(
        sources=model.Sources((model.Source("bench", "web", "bench-write-key"),)),
        identity=model.Identity((model.Namespace("email", "lower"),)),
        channels=model.Channels((model.Channel("web"), model.Channel("email"))),
        profile=model.ProfileRules(
            (
                model.TraitDefinition("last_cart", "max", of="occurred_at", when={"name": "cart"}),
                model.TraitDefinition("carts", "count", when={"name": "cart"}, window=wait),
            )
        ),
        segments=(abandoned_segment, recent_segment),
        campaigns=(
            model.Campaign(
                "reminder",
                (model.Offer("cart", 5.0, (mail,)),),
                trigger={"entered": "abandoned-cart"},
            ),
        ),
    )


def _item(number: int) -> model.CatalogItem:
    kinds = (*CATEGORIES, "others")
    kind = kinds[min(number // _ELIGIBLE_COUNT, len(CATEGORIES))]
    attributes: dict[str, str | float] = {"kind": kind, "title": f"Item {number}"}
    return model.CatalogItem(f"sku-{number}", 1.0 + number % 97, attributes=attributes)


def _metric(number: int) -> model.TraitDefinition:
    name = f"metric-{number}"
    event = _EVENTS[number % len(_EVENTS)]
    match number % 5:
        case 0:
            return model.TraitDefinition(name, "count", when={"name": event}, window="7d")
        case 1:
            return model.TraitDefinition(name, "sum", of="properties.price", when={"name": event})
        case 2:
            return model.TraitDefinition(name, "recency", when={"name": event})
        case 3:
            return model.TraitDefinition(
                name, "distinct", of="properties.product_id", when={"name": event}, window="30d"
            )
        case _:
            shoes_condition = {"all": [{"name": event}, {"property": "category", "is": "shoes"}]}
            return model.TraitDefinition(
                name, "max", of="properties.cart.total", when=shoes_condition
            )


def _segment(number: int, metrics: int) -> model.Segment:
    name = f"segment-{number}"
    metric, other_metric = (f"metric-{(number + step) % metrics}" for step in (0, 1))
    recency_metric = f"metric-{number % metrics // 5 * 5 + 2}"
    match number % 4:
        case 0:
            return model.Segment(name, {"trait": metric, "gte": 1 + number % 3})
        case 1:
            return model.Segment(
                name,
                {
                    "all": [
                        {"trait": metric, "gte": number},
                        {"trait": recency_metric, "within": "7d"},
                    ]
                },
            )
        case 2:
            return model.Segment(
                name,
                {"any": [{"trait": metric, "gt": 150}, {"not": {"trait": other_metric, "gte": 2}}]},
            )
        case _:
            return model.Segment(
                name,
                {"all": [{"segment": f"segment-{number - 1}"}, {"trait": metric, "exists": True}]},
            )


def _campaign(number: int, offers: int) -> model.Campaign:
    """Return a campaign; those of even number are for earlier buyers, the others match nobody."""
    reachable_audience = {
        "all": [{"segment": "segment-0"}, {"trait": "interactions", "gte": 1 + number}]
    }
    unreachable_audience = {"trait": "metric-0", "gte": 1_000_000}
    return model.Campaign(
        f"campaign-{number}",
        tuple(_offer(number * offers + n) for n in range(offers)),
        audience=unreachable_audience if number % 2 else reachable_audience,
        trigger={"name": EVENT},
    )


def _offer(number: int) -> model.Offer:
    push = model.Treatment(
        f"push-{number}",
        "push",
        content={"title": "Order number {metric-0}", "text": "More {properties.category} for you"},
    )
    hero = model.Treatment(f"hero-{number}", "web", placement="hero", content={"title": "For you"})
    return model.Offer(f"offer-{number}", 1.0 + number % 7, (push, hero))
