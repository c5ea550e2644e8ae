"""The page of preferences, and clicks and opens by signed links."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from pipeline.adapters.clock import now_ms
from pipeline.adapters.signed_links import (
    CLICK_PATH,
    OPEN_PATH,
    PREFERENCES_PATH,
    MessageLinks,
    PreferenceLink,
    TrackedLink,
)
from pipeline.config import model
from pipeline.gateway.preference_page import preferred_language
from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS
from pipeline.rules.token import Claims
from tests.support.doorway import TOKEN_MS, Doorway, configuration, doorway

LINKS = MessageLinks("test" * 8)
ANA = Identifier("customer_id", "ana")
BROWSER = {"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/128.0"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", "shop-key-1")), tmp_path)


def _token(channel: str = "email") -> str:
    return LINKS.preferences.sign(PreferenceLink(ANA, channel, "marketing", "spring", "a-1"))


def _request(
    door: Doorway, method: str, path: str, token: str, headers: dict[str, str], body: bytes = b""
) -> httpx.Response:
    url = f"{path}?{urlencode({'t': token})}"
    return door.request(method, url, headers=headers, content=body)


def _consents(door: Doorway) -> list[dict[str, object]]:
    return [
        {
            name: value
            for name, value in interaction.properties.items()
            if name.startswith("consent.")
        }
        for interaction in door.interactions()
    ]


def test_get_shows_the_page_and_changes_nothing(door: Doorway) -> None:
    for method in ("GET", "HEAD"):
        answer = _request(door, method, PREFERENCES_PATH, _token(), BROWSER)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    assert door.interactions() == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (FORM, b"List-Unsubscribe=One-Click"),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            (
                b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
                b"One-Click\r\n--b--"
            ),
        ),
        ({}, b""),
    ],
)
def test_one_click_withdraws_consent_for_channel_and_purpose(
    door: Doorway, headers: dict[str, str], body: bytes
) -> None:
    assert _request(door, "POST", PREFERENCES_PATH, _token(), headers, body).status_code == 200
    assert _consents(door) == [{"consent.email.marketing": False}]
    [interaction] = door.interactions()
    assert (interaction.kind, interaction.identifiers) == ("identify", (ANA,))


@pytest.mark.parametrize(
    ("choice", "consent"),
    [
        ("stop", {"consent.email.marketing": False}),
        ("stop-all", {"consent.email.marketing": False, "consent.web.marketing": False}),
        ("resume", {"consent.email.marketing": True}),
    ],
)
def test_choice_becomes_consent(door: Doorway, choice: str, consent: dict[str, bool]) -> None:
    body = f"choice={choice}".encode()
    assert _request(door, "POST", PREFERENCES_PATH, _token(), FORM, body).status_code == 200
    assert _consents(door) == [consent]


def test_last_choice_of_several_holds(door: Doorway) -> None:
    for choice in ("stop", "resume", "stop"):
        _request(door, "POST", PREFERENCES_PATH, _token(), FORM, f"choice={choice}".encode())
    assert [list(consent.values()) for consent in _consents(door)] == [[False], [True], [False]]
    assert len({interaction.event_id for interaction in door.interactions()}) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("token", ["", "x", "é", "no.signature"])
def test_forged_link_is_refused(door: Doorway, method: str, token: str) -> None:
    click_token = LINKS.tracking.sign(TrackedLink("t", "https://shop.example", 0))
    for forgery in (token, click_token, _token()[:-1]):
        assert _request(door, method, PREFERENCES_PATH, forgery, {}).status_code == 400
    assert door.interactions() == []


def test_choice_refused_by_kafka_is_not_confirmed(door: Doorway) -> None:
    door.log.failure = "away"
    answer = _request(door, "POST", PREFERENCES_PATH, _token(), FORM, b"choice=stop")
    assert answer.status_code == 503
    assert "Saved" not in answer.text


@pytest.mark.parametrize(
    ("query_language", "accepted_languages", "language"),
    [
        ("es", "en", "es"),
        (None, "es-MX,es;q=0.9,en;q=0.8", "es"),
        (None, "de, en;q=0.5, es;q=0.7", "es"),
        (None, "fr", "en"),
        (None, None, "en"),
        ("<b>", "es;q=x, en", "en"),
    ],
)
def test_page_is_in_the_language_of_the_customer(
    door: Doorway, query_language: str | None, accepted_languages: str | None, language: str
) -> None:
    assert preferred_language(query_language, accepted_languages) == language
    headers = (
        {"Accept-Language": accepted_languages} if accepted_languages else {"Accept-Language": ""}
    )
    if query_language is None:
        page = _request(door, "GET", PREFERENCES_PATH, _token(), headers).text
        assert f'<html lang="{language}">' in page


class _TagParser(HTMLParser):
    """Parser that collects the tags of a page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_page_needs_no_script_and_escapes_foreign_text(door: Doorway) -> None:
    page = _request(door, "GET", PREFERENCES_PATH, _token("<script>alert(1)</script>"), {})
    tags = _TagParser()
    tags.feed(page.text)
    names = {tag for tag, _ in tags.elements}
    assert "script" not in names
    assert not any(name.startswith("on") for _, attrs in tags.elements for name in attrs)
    assert {"form", "fieldset", "legend", "label", "button"} <= names
    assert "default-src 'none'" in page.headers["content-security-policy"]
    [style] = re.findall(r"<style>(.*?)</style>", page.text)
    assert "script" not in style


def _tracked_link(door: Doorway, sent_at: int, url: str = "https://shop.example/?a=1") -> str:
    claims = Claims("a-1", "d-1", ANA, "email", "spring", "shoes", "shoes-email", sent_at)
    return LINKS.tracking.sign(TrackedLink(door.tokens.sign(claims), url, sent_at))


def _ms_before_now(ms: int) -> int:
    return now_ms() - ms


def test_click_counts_once_per_link_and_leads_on(door: Doorway) -> None:
    token = _tracked_link(door, _ms_before_now(60_000))
    for _ in range(2):
        answer = _request(door, "GET", CLICK_PATH, token, BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (
            302,
            "https://shop.example/?a=1",
        )
    first_click, second_click = door.interactions()
    assert (first_click.kind, first_click.name, first_click.channel) == (
        "outcome",
        "click",
        "email",
    )
    assert first_click.event_id == second_click.event_id
    assert first_click.properties["url"] == "https://shop.example/?a=1"
    other_link = _tracked_link(door, _ms_before_now(60_000), "https://shop.example/other")
    _request(door, "GET", CLICK_PATH, other_link, BROWSER)
    assert door.interactions()[2].event_id != first_click.event_id


def test_picture_is_an_impression(door: Doorway) -> None:
    answer = _request(
        door, "GET", OPEN_PATH, _tracked_link(door, _ms_before_now(60_000), ""), BROWSER
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert [interaction.name for interaction in door.interactions()] == ["impression"]


@pytest.mark.parametrize(
    ("method", "ago_ms", "agent"),
    [
        ("HEAD", 60_000, BROWSER["User-Agent"]),
        ("GET", 1_000, BROWSER["User-Agent"]),
        ("GET", 60_000, ""),
        ("GET", 60_000, "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"),
    ],
)
def test_click_of_a_scanner_is_no_outcome(
    door: Doorway, method: str, ago_ms: int, agent: str
) -> None:
    token = _tracked_link(door, _ms_before_now(ago_ms))
    answer = _request(door, method, CLICK_PATH, token, {"User-Agent": agent})
    assert answer.status_code == 302
    [interaction] = door.interactions()
    assert (interaction.kind, interaction.name) == ("track", "Mail Scanned")


def test_old_or_forged_link_counts_nothing(door: Doorway) -> None:
    old_link = _tracked_link(door, _ms_before_now(TOKEN_MS + DAY_MS))
    assert _request(door, "GET", CLICK_PATH, old_link, BROWSER).status_code == 302
    forgery = MessageLinks("another").tracking.sign(TrackedLink("t", "https://evil.example", 0))
    answer = _request(door, "GET", CLICK_PATH, forgery, BROWSER)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert door.interactions() == []


def test_click_leads_on_while_kafka_is_away(door: Doorway) -> None:
    door.log.failure = "away"
    token = _tracked_link(door, _ms_before_now(60_000))
    assert _request(door, "GET", CLICK_PATH, token, BROWSER).status_code == 302
