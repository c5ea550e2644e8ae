"""Placements in a real browser: content, moment, and the outcomes that are reported."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Dialog, Page

from tests.support.received_interactions import ReceivedInteractions
from tests.support.shop_pages import ShopPages
from tests.support.stack import Stack
from tests.support.wire import Wire

HERO = "[data-kairos-placement=home-hero]"
PATIENT = {"hideMs": 10_000}
"""Options for tests of content rather than of timing, long enough for a busy machine."""


def wait_for_state(page: Page, selector: str = HERO) -> str:
    page.wait_for_selector(f"{selector}[data-kairos-state]")
    state = page.get_attribute(selector, "data-kairos-state")
    assert state is not None
    return state


def read_cookie(page: Page) -> str:
    anonymous_id: str = page.evaluate("kairos.user().anonymousId()")
    return anonymous_id


def test_one_request_fills_all_placements_and_counts_the_page(
    page: Page, shop: ShopPages, stack: Stack, tmp_path: Path
) -> None:
    urls: list[str] = []
    page.on(
        "request",
        lambda request: urls.append(request.url) if "/v1/decide" in request.url else None,
    )
    page.goto(shop.url("/", **PATIENT))
    assert (wait_for_state(page), wait_for_state(page, ".grid")) == ("filled", "filled")
    assert page.inner_text(f"{HERO} h1") == "Spring is here"
    assert page.get_attribute(f"{HERO} a", "href") == "/sale.html"
    assert page.locator(".grid strong").all_inner_texts() == ["Boots", "Socks"]
    assert len(urls) == 1
    page.screenshot(path=tmp_path / "shop.png")
    page.wait_for_timeout(400)
    events = ReceivedInteractions(stack, read_cookie(page))
    assert events.count_by_name()["page"] == 1


def test_impressions_clicks_and_dismissals_are_reported_once(
    page: Page, context: BrowserContext, shop: ShopPages, stack: Stack
) -> None:
    page.set_viewport_size({"width": 900, "height": 330})  # so that the grid is below the fold
    page.goto(shop.url("/", **PATIENT))
    assert wait_for_state(page) == "filled"
    events = ReceivedInteractions(stack, read_cookie(page))
    page.evaluate(
        "document.querySelector('.call').addEventListener('click', (e) => e.preventDefault())"
    )
    page.click(".call")
    page.click(".call")
    events.wait_for_names(impression=1, click=1)
    page.click("[data-kairos-dismiss]")
    events.wait_for("dismiss")
    outcomes = [interaction for interaction in events.read_all() if interaction.kind == "outcome"]
    assert sorted((outcome.name, outcome.properties["treatment"]) for outcome in outcomes) == [
        (n, "spring-hero") for n in ("click", "dismiss", "impression")
    ]
    assert page.locator(".call").is_hidden()
    page.evaluate("scrollTo(0, 9999)")
    events.wait_for("impression", 3)
    assert events.count_by_name()["impression"] == 3


@pytest.mark.parametrize("kind", ["slow", "dead"])
def test_page_keeps_its_content_when_the_gateway_is_late(
    page: Page, shop: ShopPages, stack: Stack, wire: Wire, kind: str
) -> None:
    page.goto(shop.url("/other.html"))  # the script is in the browser's cache
    page.wait_for_function("kairos.version")
    page.add_init_script(
        """addEventListener('DOMContentLoaded', () => {
          const hero = document.querySelector('[data-kairos-placement]');
          let latest = 0;
          const look = (frame) => {  // however rarely a busy machine draws one
            const [hiding] = hero.getAnimations();
            if (getComputedStyle(hero).visibility === 'visible') window.hiddenFor = latest;
            else {
              if (hiding && hiding.startTime) latest = Math.max(latest, frame - hiding.startTime);
              requestAnimationFrame(look);
            }
          };
          requestAnimationFrame(look);
        })"""
    )
    if kind == "dead":
        wire.is_dead = True
        wire.cut()
    else:
        wire.delay_s = 1.5
    page.goto(shop.url("/"))
    page.wait_for_function("window.hiddenFor !== undefined")
    assert page.evaluate("window.hiddenFor") <= 301
    assert page.inner_text(f"{HERO} h1") == "Shoes for every road"
    assert wait_for_state(page) == ("late" if kind == "slow" else "default")
    assert page.inner_text(f"{HERO} h1") == "Shoes for every road"
    wire.is_dead, wire.delay_s = False, 0.0
    events = ReceivedInteractions(stack, read_cookie(page))
    events.wait_for("page", 2)
    page.wait_for_timeout(300)
    assert events.count_by_name() == {"page": 2}


def test_hostile_content_runs_no_script_in_the_page(page: Page, shop: ShopPages) -> None:
    failures: list[str] = []

    def on_dialog(dialog: Dialog) -> None:
        failures.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", on_dialog)
    page.add_init_script("Object.defineProperty(window, 'pwned', {set: (how) => alert(how)})")
    page.goto(shop.url("/hostile.html", **PATIENT))
    assert (wait_for_state(page, "#plain"), wait_for_state(page, "#filled")) == ("filled", "filled")
    title = "<img src=x onerror=\"window.pwned='title'\">"
    assert page.inner_text("#plain strong") == title
    assert page.get_attribute("#filled p", "title") == title
    assert page.locator("#plain img, #filled p *").count() == 0
    risky_attributes = page.evaluate(
        """[...document.querySelectorAll("#plain *, #filled *")].flatMap((one) =>
          [...one.attributes].filter(({name, value}) =>
            /^(on|style|srcdoc)/.test(name) || /^\\s*javascript:/i.test(value))
          .map((one) => one.name))"""
    )
    assert risky_attributes == []
    # All at once: the button of the form leaves the page.
    click_count = page.evaluate(
        """[...document.querySelectorAll(":is(#plain, #filled) :is(a, button)")].map((one) =>
          one.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}))).length"""
    )
    assert click_count >= 4
    page.wait_for_timeout(200)
    assert failures == []


def test_strict_content_security_policy_is_not_violated(page: Page, shop: ShopPages) -> None:
    gateway = shop.gateway
    shop.csp["/strict.html"] = (
        f"default-src 'none'; script-src {gateway}; connect-src {gateway}; "
        "require-trusted-types-for 'script'"
    )
    page.add_init_script(
        """window.violations = [];
        addEventListener("securitypolicyviolation", (event) =>
          violations.push(event.violatedDirective + " " + event.blockedURI))"""
    )
    page.goto(shop.url("/strict.html"))
    page.wait_for_selector("[data-kairos-state]")
    page.wait_for_function(
        "!Object.keys(localStorage).some((name) => name.startsWith('kairos_q_'))"
    )
    assert page.evaluate("violations.filter((one) => !one.includes('favicon'))") == []
    assert page.evaluate("kairos.notes.filter((one) => one.what === 'decided')[0].status") == 200


def test_decide_always_answers_pages_that_render_by_themselves(
    page: Page, shop: ShopPages, stack: Stack, wire: Wire
) -> None:
    page.goto(shop.url("/other.html"))
    page.wait_for_function("kairos.version")
    ask = """kairos.decide(["home-hero", {placement: "grid", limit: 5}],
             {event: "App Opened", budgetMs: 9000})"""
    answer = page.evaluate(ask)
    assert answer["placements"]["home-hero"]["content"]["title"] == "Spring is here"
    assert [placement["offer"] for placement in answer["placements"]["grid"]] == [
        "boots",
        "socks",
        "hats",
    ]
    page.evaluate("(token) => kairos.outcome(token, 'click')", _token(answer))
    events = ReceivedInteractions(stack, read_cookie(page))
    [click] = events.wait_for("click")
    assert click.properties["offer"] == "spring"
    assert events.count_by_name()["App Opened"] == 1
    wire.is_dead = True
    wire.cut()
    assert page.evaluate(ask) == {
        "decision_id": None,
        "defaulted": True,
        "placements": {"home-hero": None, "grid": []},
    }


def _token(answer: dict[str, dict[str, dict[str, str]]]) -> str:
    return answer["placements"]["home-hero"]["token"]


def test_debug_overlay_explains_the_decision(
    page: Page, shop: ShopPages, stack: Stack, tmp_path: Path
) -> None:
    with stack.client("browser-office-key") as office:
        token_answer = office.post("/v1/debug-tokens").raise_for_status().json()
    page.goto(shop.url("/", **PATIENT) + f"#kairos_debug={token_answer['token']}")
    assert wait_for_state(page) == "filled"
    stack.wait_until_idle()  # the answer may be readable before its decision
    why_button = page.get_by_role("button", name="Why, and why not?")
    why_button.click()
    page.wait_for_selector("#kairos-debug table")
    words = page.inner_text("#kairos-debug section")
    assert "spring-hero" in words
    assert "members-hero" in words
    page.screenshot(path=tmp_path / "overlay.png")
    page.set_viewport_size({"width": 390, "height": 800})  # size of a telephone
    box = page.locator("#kairos-debug section").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.get_by_role("button", name="Close").click()
    assert page.locator("#kairos-debug").count() == 0
    decision = page.evaluate(
        "kairos.notes.find((one) => one.what === 'decided').answer.decision_id"
    )
    for token in ("", "made up", token_answer["token"] + "x"):
        body = {"token": token, "decisionId": decision}
        assert httpx.post(f"{stack.url}/v1/explain", json=body).status_code == 401
    with stack.client("browser-web-key") as writer:
        assert writer.post("/v1/debug-tokens").status_code == 403
