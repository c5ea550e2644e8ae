"""Values that each enricher derives from valid and from malformed interactions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.enrichment.enrichers import Place
from pipeline.enrichment.enrichers.campaign import CampaignEnricher
from pipeline.enrichment.enrichers.currency import CurrencyEnricher
from pipeline.enrichment.enrichers.geo import GeoEnricher
from pipeline.enrichment.enrichers.local_time import LocalTimeEnricher
from pipeline.enrichment.enrichers.user_agent import UserAgentEnricher
from pipeline.model.interaction import Context, Identifier, Interaction

DAY_MS = 86_400_000
MONDAY_NOON = 1_704_110_400_000
"""2024-01-01 12:00 UTC."""


def visit(at: int = 0, properties: Any = None, **context: Any) -> Interaction:
    identifiers = (Identifier("cookie", "k"),)
    return Interaction(
        "e",
        "track",
        "Order",
        "web",
        "shop",
        at,
        at,
        identifiers,
        properties or {},
        Context(**context),
    )


@pytest.mark.parametrize(
    ("text", "device_type", "os", "browser", "bot"),
    [
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/120.0.0.0 Safari/537.36"
            ),
            "desktop",
            "Windows",
            "Chrome",
            False,
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
                "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
            ),
            "mobile",
            "iOS",
            "Mobile Safari",
            False,
        ),
        (
            (
                "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
                "Gecko) Version/16.6 Mobile/15E148 Safari/604.1"
            ),
            "tablet",
            "iOS",
            "Mobile Safari",
            False,
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/116.0.0.0 Safari/537.36"
            ),
            "tablet",
            "Android",
            "Chrome",
            False,
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/116.0.0.0 Mobile Safari/537.36"
            ),
            "mobile",
            "Android",
            "Chrome Mobile",
            False,
        ),
        (
            (
                "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Version/5.0 TV Safari/537.36"
            ),
            "tv",
            "Tizen",
            "Safari",
            False,
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "bot",
            None,
            "Googlebot",
            True,
        ),
        ("curl/8.1.2", "other", None, "curl", False),
    ],
)
def test_device_is_derived_from_the_user_agent(
    text: str, device_type: str, os: str | None, browser: str, bot: bool
) -> None:
    expected = {"device_type": device_type, "os": os, "browser": browser, "bot": bot}
    values = UserAgentEnricher().derive(visit(user_agent=text))
    assert values == {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "device_type"),
    [
        ("Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B Build/TP1A.220624.014)", "mobile"),
        ("Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UD1A)", "mobile"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; 2201116SG Build/TKQ1)", "mobile"),
        ("Dalvik/2.1.0 (Linux; U; Android 12; SM-T870 Build/SP1A.210812.016)", "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Lenovo TB-X606F Build/PPR1)", "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel Tablet Build/TQ3A)", "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 11; MI PAD 4 Build/OPM1)", "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 10; HUAWEI MediaPad M5 Build/HUAWEI)", "tablet"),
        ("Dalvik/2.1.0 (Linux; U; Android 9; AFTMM Build/PS7233)", "tv"),
        ("Dalvik/2.1.0 (Linux; U; Android 11; MiBOX4 Build/RTT0)", "tv"),
        ("Dalvik/2.1.0 (Linux; U; Android 11; SHIELD Android TV Build/RQ1A)", "tv"),
        ("okhttp/4.9.3", "other"),
        ("okhttp/3.12.1 (Android 11; Pixel 5)", "mobile"),
        ("MyShop/5.1.0 (com.shop; build:1; Android 13) okhttp/4.9", "mobile"),
        ("MyApp/1.2 (Android 13; SM-X700)", "tablet"),
        ("Shop/3 (iPhone; iOS 17.0; Scale/3.00)", "mobile"),
        ("Shop/3 (iPad; iOS 17.0; Scale/2.00)", "tablet"),
        ("MyApp/1.0 CFNetwork/1410.0.3 Darwin/22.6.0", "mobile"),
        ("Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/115.0 Firefox/115.0", "tablet"),
        ("Mozilla/5.0 (Android 13; Mobile; rv:109.0) Gecko/115.0 Firefox/115.0", "mobile"),
        (
            "Opera/9.80 (Android; Opera Mini/36.2/119.132; U; en) Presto/2.12 Version/12.16",
            "mobile",
        ),
        (
            (
                "Mozilla/5.0 (Linux; U; Android 4.0.3; de-de; Kindle Fire Build/IML74K) "
                "AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30"
            ),
            "tablet",
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 11; BRAVIA 4K VH2) AppleWebKit/537.36 (KHTML, like "
                "Gecko) Chrome/90 Safari/537.36"
            ),
            "tv",
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 12; Chromecast) AppleWebKit/537.36 (KHTML, like "
                "Gecko) Chrome/90 Safari/537.36 CrKey/1.56"
            ),
            "tv",
        ),
        (
            (
                "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/79.0 Safari/537.36"
            ),
            "tv",
        ),
        ("Roku/DVP-12.0 (12.0.0.4182-88)", "tv"),
        ("AppleTV11,1/11.1", "tv"),
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 "
                "Chrome/44 Safari Edge/44"
            ),
            "other",
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/120 Safari/537.36",
            "desktop",
        ),
        (
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                "HeadlessChrome/120.0.0.0 Safari/537.36"
            ),
            "bot",
        ),
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "bot"),
        ("GPTBot/1.0 (+https://openai.com/gptbot)", "bot"),
    ],
)
def test_device_type_is_derived_from_the_model(text: str, device_type: str) -> None:
    values = UserAgentEnricher().derive(visit(user_agent=text))
    assert values["device_type"] == device_type
    assert values["bot"] is (device_type == "bot")


def test_nothing_is_derived_without_a_user_agent() -> None:
    assert not UserAgentEnricher().derive(visit())
    assert not UserAgentEnricher().derive(visit(user_agent=""))


@given(st.text(max_size=3_000))
def test_any_text_can_be_enriched(text: str) -> None:
    interaction = visit(user_agent=text, url=text, ip=text, timezone=text, campaign={text: text})
    assert set(UserAgentEnricher().derive(interaction)) <= {"device_type", "os", "browser", "bot"}
    assert set(CampaignEnricher().derive(interaction)) <= set(CampaignEnricher.names)
    assert LocalTimeEnricher(model.LocalTime()).derive(interaction).keys() >= {"hour", "weekday"}


@pytest.mark.parametrize(
    ("url", "campaign", "values"),
    [
        (None, {}, {}),
        ("https://shop.example/a", {}, {}),
        (
            "https://shop.example/?utm_source=news&utm_medium=email&utm_campaign=spring%20sale",
            {},
            {
                "campaign_source": "news",
                "campaign_medium": "email",
                "campaign_name": "spring sale",
            },
        ),
        ("/?utm_source=first&utm_source=second", {}, {"campaign_source": "first"}),
        ("/?utm_source=&utm_term=shoes#x", {}, {"campaign_term": "shoes"}),
        ("/?utm_source=url", {"source": "sdk", "other": "x"}, {"campaign_source": "sdk"}),
        (
            "https://shop.example/?gclid=Cj0K",
            {"name": "n"},
            {"campaign_name": "n", "ad_network": "google", "click_id": "Cj0K"},
        ),
        ("//[bad?utm_source=x", {}, {}),
        ("/?" + "&".join(["a=1"] * 101), {}, {}),
    ],
)
def test_campaign_is_derived_from_url_or_context(
    url: str | None, campaign: dict[str, str], values: dict[str, str]
) -> None:
    assert CampaignEnricher().derive(visit(url=url, campaign=campaign)) == values


_RATES = model.Currency(
    to="EUR",
    amounts={"total": "properties.total", "shipping": "properties.costs.shipping"},
    rates=(
        model.Rate("USD", "2024-02-01", 0.5),
        model.Rate("USD", "2024-01-01", 0.25),
        model.Rate("GBP", "2024-01-01T12:00:00Z", 2.0),
    ),
)


@pytest.mark.parametrize(
    ("at", "properties", "values"),
    [
        (MONDAY_NOON, {"total": 8, "currency": "USD"}, {"total": 2.0}),
        (MONDAY_NOON, {"total": 8, "currency": " usd "}, {"total": 2.0}),
        (MONDAY_NOON + 31 * DAY_MS, {"total": 8, "currency": "USD"}, {"total": 4.0}),
        (MONDAY_NOON, {"total": 8, "currency": "EUR"}, {"total": 8.0}),
        (MONDAY_NOON, {"total": 8}, {"total": 8.0}),
        (
            MONDAY_NOON,
            {"total": 8, "costs.shipping": 0.1, "currency": "GBP"},
            {"total": 16.0, "shipping": 0.2},
        ),
        (MONDAY_NOON - 1, {"total": 8, "currency": "GBP"}, {"unknown_currency": "GBP"}),
        (MONDAY_NOON, {"total": 8, "currency": "XXX"}, {"unknown_currency": "XXX"}),
        (MONDAY_NOON, {"total": 8, "currency": 7}, {"unknown_currency": "7"}),
        (MONDAY_NOON, {"total": "8", "currency": "USD"}, {}),
        (MONDAY_NOON, {"total": True, "currency": "XXX"}, {}),
        (MONDAY_NOON, {"currency": "XXX"}, {}),
    ],
)
def test_amounts_are_converted_by_the_rate_of_their_day(
    at: int, properties: dict[str, Any], values: dict[str, Any]
) -> None:
    assert CurrencyEnricher(_RATES).derive(visit(at, properties)) == values


@pytest.mark.parametrize(
    ("timezone", "hour", "weekday"),
    [
        (None, 13, "monday"),
        ("America/New_York", 7, "monday"),
        ("Pacific/Auckland", 1, "tuesday"),
        ("Asia/Kathmandu", 17, "monday"),
        ("europe/madrid", 13, "monday"),
        (" AMERICA/NEW YORK ", 7, "monday"),
        ("Europe/Kiev", 14, "monday"),
        ("Asia/Calcutta", 17, "monday"),
        ("utc", 12, "monday"),
        ("Z", 12, "monday"),
        ("GMT+2", 14, "monday"),
        ("UTC+02:00", 14, "monday"),
        ("gmt-3", 9, "monday"),
        ("UTC-0330", 8, "monday"),
        ("+14:00", 2, "tuesday"),
        ("-12", 0, "monday"),
        ("Etc/GMT+2", 10, "monday"),
        ("etc/gmt-2", 14, "monday"),
        ("", 13, "monday"),
    ],
)
def test_hour_and_weekday_are_of_the_customers_zone(
    timezone: str | None, hour: int, weekday: str
) -> None:
    enricher = LocalTimeEnricher(model.LocalTime("Europe/Madrid"))
    values = enricher.derive(visit(MONDAY_NOON, timezone=timezone))
    assert values == {"hour": hour, "weekday": weekday}


@pytest.mark.parametrize(
    "timezone",
    ["nowhere", "../etc/passwd", "GMT+15", "+2:75", "CEST", "Europe/", "x" * 10_000, "120", "\0"],
)
def test_unknown_zone_is_reported_and_the_default_used(timezone: str) -> None:
    enricher = LocalTimeEnricher(model.LocalTime("Europe/Madrid"))
    values = enricher.derive(visit(MONDAY_NOON, timezone=timezone))
    assert values == {"hour": 13, "weekday": "monday", "unknown_timezone": timezone[:64]}


def test_time_outside_the_calendar_is_left_out() -> None:
    assert not LocalTimeEnricher(model.LocalTime()).derive(visit(2**62))


def test_place_is_derived_as_far_as_known() -> None:
    places = {"192.0.2.1": Place("ES", "Madrid"), "192.0.2.2": Place()}
    enricher = GeoEnricher(places.get)
    assert enricher.derive(visit(ip="192.0.2.1")) == {"country": "ES", "region": "Madrid"}
    assert enricher.derive(visit(ip="192.0.2.2")) == {}
    assert enricher.derive(visit(ip="192.0.2.3")) == {}
    assert enricher.derive(visit()) == {}
