"""The web SDK in a real browser against a whole stack: messages sent, and none lost."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from pipeline.model.interaction import Interaction
from tests.support.received_interactions import ReceivedInteractions
from tests.support.shop_pages import ShopPages
from tests.support.stack import Stack, eventually
from tests.support.wire import Wire

OTHER = "/other.html"
_QUEUE = "Object.keys(localStorage).filter((name) => name.startsWith('kairos_q_'))"


def open_page(page: Page, url: str) -> None:
    """Load a page, and wait until it has the SDK."""
    page.goto(url)
    page.wait_for_function("window.kairos && kairos.version")


def read_cookie(page: Page) -> str:
    anonymous_id: str = page.evaluate("kairos.user().anonymousId()")
    return anonymous_id


def track(page: Page, *names: str) -> None:
    page.evaluate("(names) => names.forEach((name) => { kairos.track(name) })", list(names))


def wait_until_messages_are_sent(page: Page) -> None:
    page.wait_for_function(f"{_QUEUE}.length === 0")


def test_calls_in_segments_form_arrive_with_their_fields(
    page: Page, shop: ShopPages, stack: Stack
) -> None:
    open_page(page, shop.url(OTHER))
    page.evaluate(
        """async () => {
          kairos.page("Shop", "Home", {shelf: 3});
          kairos.identify("ana", {plan: "gold"});
          kairos.track("Viewed", {price: 19.5}, {context: {campaign: {source: "mail"}}});
          kairos.group("g-1", {employees: 3});
          kairos.alias("ana-2");
          await new Promise((done) => kairos.screen("Cart", done));
        }"""
    )
    assert page.evaluate("[kairos.user().id(), kairos.user().traits(), kairos.group().id()]") == [
        "ana",
        {"plan": "gold"},
        "g-1",
    ]
    wait_until_messages_are_sent(page)
    events = ReceivedInteractions(stack, read_cookie(page))
    by_name = {interaction.name: interaction for interaction in events.read_all()}
    kinds = {interaction.name: interaction.kind for interaction in events.read_all()}
    assert kinds == {
        **dict.fromkeys(("page", "Home"), "page"),
        "Viewed": "track",
        "Cart": "screen",
        **{kind: kind for kind in ("identify", "group", "alias")},
    }
    assert by_name["page"].properties["title"] == "Another page"
    assert by_name["Home"].properties["category"] == "Shop"
    assert by_name["Viewed"].properties["price"] == 19.5
    assert by_name["Viewed"].context.campaign == {"source": "mail"}
    assert by_name["Viewed"].context.url == shop.url(OTHER)
    assert by_name["identify"].properties["plan"] == "gold"
    assert by_name["group"].properties["groupId"] == "g-1"


def test_reset_begins_another_person(page: Page, shop: ShopPages) -> None:
    open_page(page, shop.url(OTHER))
    first_cookie = read_cookie(page)
    page.evaluate("kairos.identify('ana'); kairos.reset()")
    assert page.evaluate("kairos.user().id()") is None
    second_cookie = read_cookie(page)
    assert second_cookie != first_cookie
    page.reload()
    page.wait_for_function("kairos.version")
    assert read_cookie(page) == second_cookie


def test_events_of_an_offline_page_arrive_once_afterwards(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack
) -> None:
    open_page(page, shop.url(OTHER))
    wait_until_messages_are_sent(page)
    context.set_offline(True)
    track(page, "a", "b", "c")
    page.wait_for_timeout(700)
    assert page.evaluate(f"{_QUEUE}.length") == 3
    context.set_offline(False)
    events = ReceivedInteractions(stack, read_cookie(page))
    wait_until_messages_are_sent(page)
    assert events.wait_for_names(page=1, a=1, b=1, c=1) == {"page": 1, "a": 1, "b": 1, "c": 1}


def test_tab_closed_during_a_send_loses_and_doubles_nothing(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack, wire: Wire
) -> None:
    open_page(page, shop.url(OTHER))
    wait_until_messages_are_sent(page)
    visitor = read_cookie(page)
    with wire.silent():
        track(page, "a", "b")
        page.wait_for_timeout(500)  # the request is in flight
        track(page, "c")
        page.close()
        wire.cut()
    next_page = context.new_page()
    open_page(next_page, shop.url(OTHER))
    events = ReceivedInteractions(stack, visitor)
    wait_until_messages_are_sent(next_page)
    assert events.wait_for_names(page=2, a=1, b=1, c=1) == {"page": 2, "a": 1, "b": 1, "c": 1}
    decisions = events.count_decisions(lambda interaction: interaction.name in "abc")
    assert sorted(decisions.values()) == [1, 1, 1]


def test_messages_of_a_closing_page_are_sent(page: Page, shop: ShopPages, stack: Stack) -> None:
    open_page(page, shop.url(OTHER))
    visitor = read_cookie(page)
    page.evaluate("addEventListener('pagehide', () => kairos.track('Left'), {capture: true})")
    page.goto("about:blank")  # no further page of the shop could send the message
    assert ReceivedInteractions(stack, visitor).wait_for_names(page=1, Left=1) == {
        "page": 1,
        "Left": 1,
    }


def test_two_tabs_share_a_queue_and_a_person(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack
) -> None:
    second_tab = context.new_page()
    for tab in (page, second_tab):
        open_page(tab, shop.url(OTHER))
    assert read_cookie(page) == read_cookie(second_tab)
    wait_until_messages_are_sent(page)  # the messages of the two page views
    context.set_offline(True)
    for number in range(5):
        track(page, f"a{number}")
        track(second_tab, f"b{number}")
    page.evaluate("kairos.identify('ana')")
    # A tab sees what another stores a moment later.
    second_tab.wait_for_function("kairos.user().id() === 'ana'")
    second_tab.wait_for_function(f"{_QUEUE}.length === 11")
    context.set_offline(False)
    events = ReceivedInteractions(stack, read_cookie(page))
    expected = {f"{tab}{number}": 1 for tab in "ab" for number in range(5)}
    expected |= {"page": 2, "identify": 1}
    events.wait_for_names(**expected)
    for tab in (page, second_tab):
        wait_until_messages_are_sent(tab)
    assert events.count_by_name() == expected
    decisions = events.count_decisions(lambda interaction: interaction.name[0] in "ab")
    assert sorted(decisions.values()) == [1] * 10


def test_blocked_storage_loses_no_message_of_the_page(
    open_page_without_storage: Callable[[], Page], shop: ShopPages, stack: Stack
) -> None:
    page = open_page_without_storage()
    open_page(page, shop.url(OTHER))
    is_refused = "(() => { try { localStorage; return false } catch { return true } })()"
    assert page.evaluate(is_refused)
    track(page, "a", "b")
    events = ReceivedInteractions(stack, read_cookie(page))
    assert events.wait_for_names(page=1, a=1, b=1) == {"page": 1, "a": 1, "b": 1}


def test_page_from_the_back_forward_cache_counts_again(
    page: Page, shop: ShopPages, stack: Stack
) -> None:
    open_page(page, shop.url(OTHER))
    page.evaluate("addEventListener('pageshow', (event) => { window.back = event.persisted })")
    wait_until_messages_are_sent(page)
    page.goto(shop.url("/blank.html"))
    page.go_back(wait_until="commit")  # a page that comes back does not load
    page.wait_for_function("window.back !== undefined")
    assert page.evaluate("window.back") is True
    track(page, "after")
    events = ReceivedInteractions(stack, read_cookie(page))
    assert events.wait_for_names(page=2, after=1) == {"page": 2, "after": 1}


def test_change_of_route_counts_as_one_page(page: Page, shop: ShopPages, stack: Stack) -> None:
    open_page(page, shop.url(OTHER))
    page.evaluate(
        """async () => {
          const wait = () => new Promise((done) => setTimeout(done, 120));
          history.pushState({}, "", "/shoes");
          history.replaceState({}, "", "/shoes?sort=price");   // a router's second thought
          await wait();
          history.pushState({}, "", "/shoes?sort=price");      // the same again
          await wait();
          location.hash = "size";                              // a place on the page
          await wait();
          history.pushState({}, "", "/boots");
          kairos.page("Boots");                                // the app says so itself
          await wait();
          history.back();
          await wait();
          location.hash = "#/checkout";                        // a router that uses the hash
          await wait();
        }"""
    )
    events = ReceivedInteractions(stack, read_cookie(page))
    events.wait_for_names(page=4, Boots=1)
    urls = [
        str(interaction.context.url).removeprefix(shop.url()) for interaction in events.read_all()
    ]
    assert urls == [
        "other.html",
        "shoes?sort=price",
        "boots",
        "shoes?sort=price",
        "shoes?sort=price#/checkout",
    ]
    assert events.read_all()[1].context.referrer == shop.url(OTHER)


def test_nothing_is_stored_or_sent_before_consent(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack, wire: Wire
) -> None:
    posts: list[str] = []
    page.on(
        "request", lambda request: posts.append(request.url) if request.method == "POST" else None
    )
    open_page(page, shop.url(OTHER, consent="required"))
    called_at = page.evaluate("kairos.track('Before'), Date.now()")
    page.wait_for_timeout(700)
    assert (posts, context.cookies(), page.evaluate("localStorage.length")) == ([], [], 0)
    allowed_at = time.monotonic()
    page.evaluate("kairos.consent({marketing: true, analytics: false})")
    events = ReceivedInteractions(stack, read_cookie(page))
    [early_event] = events.wait_for("Before")
    # The event keeps the time of the call, but for clock differences and the request's duration.
    assert abs(early_event.occurred_at - called_at) < 500 + (time.monotonic() - allowed_at) * 1_000
    assert early_event.received_at - early_event.occurred_at >= 600
    assert early_event.context.consent == {"marketing": True, "analytics": False}
    open_page(page, shop.url(OTHER, consent="required"))
    track(page, "Later")
    assert events.wait_for("Later")[0].context.consent["marketing"]
    page.evaluate("kairos.consent({marketing: false, analytics: false})")
    [change] = events.wait_for("Segment Consent Preference Updated")
    assert not any(change.context.consent.values())
    track(page, "Never")
    page.wait_for_timeout(500)
    assert (context.cookies(), page.evaluate("localStorage.length")) == ([], 0)
    assert events.count_by_name()["Never"] == 0


def test_messages_outlast_a_dead_gateway(
    page: Page, shop: ShopPages, stack: Stack, wire: Wire
) -> None:
    open_page(page, shop.url(OTHER))
    wait_until_messages_are_sent(page)
    wire.is_dead = True
    wire.cut()
    track(page, "a", "b")
    page.wait_for_function("kairos.notes.filter((one) => one.what === 'sent' && !one.status)[1]")
    wire.is_dead = False
    events = ReceivedInteractions(stack, read_cookie(page))
    assert events.wait_for_names(page=1, a=1, b=1) == {"page": 1, "a": 1, "b": 1}


def test_every_tab_waits_for_retry_after(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack
) -> None:
    attempts: list[float] = []

    def busy(route: Route) -> None:
        attempts.append(time.monotonic())
        headers = {
            "Retry-After": "2",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Retry-After",
        }
        if len(attempts) == 1:
            route.fulfill(status=429, headers=headers)
        else:
            route.continue_()

    second_tab = context.new_page()
    for tab in (page, second_tab):
        open_page(tab, shop.url(OTHER))
        wait_until_messages_are_sent(tab)
    context.route("**/v1/b", busy)
    track(page, "a")
    second_tab.wait_for_function("localStorage.kairos_until")
    track(second_tab, "b")
    for tab in (page, second_tab):
        wait_until_messages_are_sent(tab)
    events = ReceivedInteractions(stack, read_cookie(page))
    assert events.wait_for_names(page=2, a=1, b=1) == {"page": 2, "a": 1, "b": 1}
    assert attempts[1] - attempts[0] >= 1.9


def test_full_queue_drops_the_oldest_messages(
    page: Page, context: BrowserContext, shop: ShopPages
) -> None:
    open_page(page, shop.url(OTHER))
    wait_until_messages_are_sent(page)
    context.set_offline(True)
    page.evaluate("for (let n = 0; n < 1010; n++) kairos.track('n' + n)")
    queued_events = page.evaluate(
        f"{_QUEUE}.sort().map((n) => JSON.parse(localStorage[n]).body.event)"
    )
    assert queued_events == [f"n{number}" for number in range(1010 - len(queued_events), 1010)]
    assert 900 <= len(queued_events) <= 1000
    page.evaluate("for (let n = 0; n < 30; n++) kairos.track('large', {text: 'x'.repeat(1e5)})")
    assert (
        page.evaluate(f"{_QUEUE}.reduce((all, n) => all + localStorage[n].length, 0)") <= 1_001_000
    )
    assert page.evaluate(f"{_QUEUE}.length") >= 9


def test_subdomains_share_the_id_and_the_server_keeps_its_cookie(
    page: Page, context: BrowserContext, shop: ShopPages, wire: Wire
) -> None:
    gateway = f"http://k.shoes.localhost:{wire.port}"
    urls: list[str] = []
    page.on(
        "request",
        lambda request: urls.append(request.url) if request.url.endswith("/cookie") else None,
    )

    def url(host: str) -> str:
        return shop.url(OTHER, f"{host}.shoes.localhost", host=gateway, serverCookie=True)

    open_page(page, url("www"))
    visitor = read_cookie(page)
    eventually(lambda: page.evaluate("localStorage.kairos_cookie") and _cookie_expiry(context))
    open_page(page, url("blog"))
    assert read_cookie(page) == visitor
    page.wait_for_function("localStorage.kairos_cookie")
    open_page(page, url("www"))
    page.wait_for_timeout(300)
    assert len(urls) == 2  # once for each origin
    assert _cookie_expiry(context) - time.time() > 364 * 86_400


def _cookie_expiry(context: BrowserContext) -> float:
    [id_cookie] = [
        stored_cookie
        for stored_cookie in context.cookies()
        if stored_cookie["name"] == "ajs_anonymous_id"
    ]
    assert id_cookie["domain"] == ".shoes.localhost"
    expires: float = id_cookie["expires"]
    return expires


def test_module_and_segments_snippet_are_the_same_sdk(
    page: Page, shop: ShopPages, stack: Stack
) -> None:
    page.goto(shop.url("/blank.html"))
    visitor: Any = page.evaluate(
        """async (gateway) => {
          const {default: kairos} = await import(gateway + "/sdk.mjs");
          kairos.load("browser-web-key");
          kairos.track("By module");
          return kairos.user().anonymousId();
        }""",
        shop.gateway,
    )
    ReceivedInteractions(stack, visitor).wait_for("By module")
    page.goto(shop.url("/blank.html"))
    page.evaluate(
        """(gateway) => {
          const analytics = window.analytics = [];
          analytics._writeKey = "browser-web-key";
          analytics.push(["track", "By snippet", {n: 1}, {__t: "bpc", p: "/"}]);
          const script = document.createElement("script");
          script.src = gateway + "/analytics.js/v1/browser-web-key/analytics.min.js";
          document.head.append(script);
        }""",
        shop.gateway,
    )
    [message] = ReceivedInteractions(stack, visitor).wait_for("By snippet")
    assert message.properties == {"n": 1}


@pytest.mark.skipif(
    not (Path(__file__).parent / "node_modules").exists(),
    reason="`npm ci --prefix tests/browser` was not run",
)
def test_segments_own_client_works_unchanged(page: Page, shop: ShopPages, stack: Stack) -> None:
    page.goto(shop.url("/segment.html"))
    events = ReceivedInteractions(stack, page.evaluate("window.sent"))
    events.wait_for("alias")
    kinds = Counter(interaction.kind for interaction in events.read_all())
    assert kinds == dict.fromkeys(("page", "identify", "track", "group", "screen", "alias"), 1)
    [view] = _by_name(events, "Viewed")
    assert view.properties["price"] == 19.5
    assert view.source == "web"


def _by_name(events: ReceivedInteractions, name: str) -> list[Interaction]:
    return [interaction for interaction in events.read_all() if interaction.name == name]
