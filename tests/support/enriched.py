"""A configuration with every enricher, and interactions from which each derives values."""

from functools import cache
from typing import Final

from hypothesis import strategies as st

from pipeline.config import model
from pipeline.enrichment.enrichers import Place
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.rules import Rules
from tests.support.worlds import rules

HOUR: Final = 3_600_000
BASE: Final = 1_704_067_200_000
"""2024-01-01, UTC."""
PHONE: Final = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/116.0.0.0 Mobile Safari/537.36"
)
DESK: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
SPIDER: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
DEVICES: Final = {PHONE: "mobile", DESK: "desktop", SPIDER: "bot"}
PLACES: Final = {"192.0.2.1": Place("ES", "Madrid"), "192.0.2.2": Place("DE")}
RATES: Final = {"EUR": 1.0, "USD": 0.5}


def bundle(count_bots: bool = False) -> model.Bundle:
    """Return a configuration with traits and segments over the derived values of all enrichers."""
    return model.Bundle(
        sources=model.Sources(
            (
                model.Source("shop", "web", "write-key-1", clock="log"),
                model.Source(
                    "till",
                    "pos",
                    "write-key-2",
                    clock="log",
                    properties={"total": "properties.sum.paid", "lang": "context.locale"},
                ),
            )
        ),
        identity=model.Identity((model.Namespace("customer_id"), model.Namespace("cookie"))),
        channels=model.Channels((model.Channel("web"),)),
        profile=_profile_rules(count_bots),
        segments=(
            model.Segment("on_the_phone", {"derived": "device_type", "is": "mobile"}),
            model.Segment("spenders", {"trait": "spent", "gte": 10}),
        ),
    )


def _profile_rules(count_bots: bool) -> model.ProfileRules:
    return model.ProfileRules(
        traits=(
            model.TraitDefinition("visits", "count"),
            model.TraitDefinition("device", "latest", of="derived.device_type"),
            model.TraitDefinition("devices", "union", of="derived.device_type"),
            model.TraitDefinition("first_touch", "first", of="derived.campaign_source"),
            model.TraitDefinition("last_touch", "latest", of="derived.campaign_source"),
            model.TraitDefinition("countries", "union", of="derived.country"),
            model.TraitDefinition("spent", "sum", of="derived.paid"),
            model.TraitDefinition(
                "unknown", "count", when={"derived": "unknown_currency", "is": "XXX"}
            ),
            model.TraitDefinition(
                "on_mondays", "count", when={"derived": "weekday", "is": "monday"}
            ),
            model.TraitDefinition("language", "latest", of="properties.lang"),
        ),
        enrichers=model.Enrichers(
            user_agent=model.UserAgent(count_bots=count_bots),
            geo=model.Geo("geo.mmdb"),
            campaign=model.CampaignTags(),
            currency=model.Currency(
                to="EUR",
                amounts={"paid": "properties.total"},
                rates=(model.Rate("USD", "2024-01-01", RATES["USD"]),),
            ),
            local_time=model.LocalTime("Europe/Madrid"),
        ),
    )


@cache
def enriched_rules(count_bots: bool = False) -> Rules:
    return rules(bundle(count_bots), PLACES.get)


@st.composite
def visits(draw: st.DrawFn, maximum: int = 10) -> list[Interaction]:
    """Draw visits in the order of time, each received when it happened."""
    hours = sorted(draw(st.lists(st.integers(0, 400), min_size=1, max_size=maximum)))
    return [_visit(draw, number, BASE + hour * HOUR) for number, hour in enumerate(hours)]


def _visit(draw: st.DrawFn, number: int, at: int) -> Interaction:
    source = draw(st.sampled_from(["shop", "till"]))
    total = draw(st.sampled_from([None, 4, 9.99]))
    currency = draw(st.sampled_from([None, "EUR", "USD", "XXX"]))
    properties = {"total" if source == "shop" else "sum.paid": total, "currency": currency}
    tag = draw(st.sampled_from([None, "news", "ads"]))
    return Interaction(
        event_id=f"e{number}",
        kind="track",
        name="Visit",
        channel="web",
        source=source,
        occurred_at=at,
        received_at=at,
        identifiers=(Identifier("cookie", draw(st.sampled_from("kl"))),),
        properties={name: value for name, value in properties.items() if value is not None},
        context=Context(
            ip=draw(st.sampled_from([None, "192.0.2.1", "192.0.2.2", "203.0.113.9"])),
            user_agent=draw(st.sampled_from([None, *DEVICES])),
            url=None if tag is None else f"https://shop.example/?utm_source={tag}",
            locale=draw(st.sampled_from([None, "es", "de"])),
            timezone=draw(st.sampled_from([None, "America/New_York"])),
        ),
    )
