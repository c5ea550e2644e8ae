"""A shop's pages, a real Chromium and a whole stack, with a wire between them that can fail."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.support.shop_pages import ShopPages
from tests.support.stack import Stack, running_stack
from tests.support.wire import Wire

_FOLDER = Path(__file__).parent
_CHROMIUM = shutil.which("chromium")
_ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="there is no Chromium here (Debian's `chromium`)")
    for item in items:
        if _FOLDER in item.path.parents:
            item.add_marker(pytest.mark.kafka)
            if _CHROMIUM is None:
                item.add_marker(skip)


@pytest.fixture(scope="package")
def shop() -> Iterator[ShopPages]:
    """Shop's web server."""
    with ShopPages.serve(_FOLDER) as pages:
        yield pages


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, shop: ShopPages) -> Iterator[Stack]:
    """Stack whose decision budget is long enough for a busy machine."""
    variables = {
        "SHOP_PORT": str(shop.port),
        "KAIROS_PARTITIONS": "2",
        "KAIROS_DECIDE_BUDGET_MS": "10000",
    }
    home = tmp_path_factory.mktemp("browser")
    with running_stack(Stack(home, _FOLDER / "configuration", variables)) as stack:
        yield stack


@pytest.fixture(scope="package")
def wire(stack: Stack, shop: ShopPages) -> Iterator[Wire]:
    """Wire between the pages and the gateway."""
    port = urlsplit(stack.url).port
    assert port is not None
    with Wire(port).running() as wire:
        shop.gateway = f"http://127.0.0.1:{wire.port}"
        yield wire


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright, stopped after each module: its event loop disturbs other modules' tests."""
    with sync_playwright() as playwright_instance:
        yield playwright_instance


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium, with the back-forward cache, which Playwright disables by default."""
    chromium = playwright.chromium.launch(
        executable_path=_CHROMIUM,
        args=_ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield chromium
    chromium.close()


@pytest.fixture
def context(browser: Browser, wire: Wire) -> Iterator[BrowserContext]:
    """Browser context of a new visitor, with a wire that is neither dead nor slow."""
    wire.is_dead, wire.delay_s = False, 0.0
    context = browser.new_context()
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def open_page_without_storage(
    playwright: Playwright, wire: Wire, tmp_path: Path
) -> Iterator[Callable[[], Page]]:
    """Function that opens a page in a browser that blocks all cookies and storage."""
    wire.is_dead, wire.delay_s = False, 0.0
    settings = tmp_path / "Default" / "Preferences"
    settings.parent.mkdir()
    settings.write_text('{"profile": {"default_content_setting_values": {"cookies": 2}}}')
    chromium = playwright.chromium.launch_persistent_context(
        str(tmp_path), executable_path=_CHROMIUM, args=_ARGUMENTS
    )
    yield chromium.new_page
    chromium.close()
