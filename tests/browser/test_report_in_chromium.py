"""The report in a real Chromium: by mouse, keyboard and phone, and against hostile names."""

import csv
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pipeline.cli.insights_report import write_report
from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import open_duckdb
from pipeline.insights.incident_words import Language
from pipeline.insights.report.advice import Advice, RecommendationCard, RecommendedStep
from pipeline.insights.report.content import ReportQuestion
from pipeline.insights.tables import Engine
from pipeline.model.time import DAY_MS
from tests.support.campaign_goals import named_goal
from tests.support.hostile_report import HOSTILE, write_hostile_topics

if TYPE_CHECKING:
    from playwright.sync_api import Page

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_CHROMIUM: Final = shutil.which("chromium")
_FIGURES: Final = 12
_PHONE: Final = {"width": 390, "height": 844}
_DESKTOP: Final = {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(
    _CHROMIUM is None, reason="there is no Chromium here (Debian's `chromium`)"
)


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile_topics(folder)
    return folder


def _report(topics: Path, language: Language) -> Path:
    file = topics / "report.html"
    question = ReportQuestion(
        folder=topics,
        period=Period(),
        campaigns=(),
        goals=[named_goal(name, HOSTILE[0], 3 * DAY_MS) for name in HOSTILE],
        goal=HOSTILE[0],
        by=None,
        journey=None,
        worth=2.0,
        language=language,
        advice=Advice(
            (RecommendationCard(HOSTILE[0], "Tested", (HOSTILE[1],), (HOSTILE[3],), HOSTILE[4]),),
            (RecommendedStep(HOSTILE[3], HOSTILE[0]),),
        ),
    )
    with open_duckdb(Engine()) as queries:
        write_report(question, queries, file)
    return file


def _visit(file: Path, size: dict[str, int], look: Callable[["Page"], None]) -> None:
    """Open the page without any network, and pass it to `look`.

    It runs in a thread of its own: a test of another module may have a browser open in this one.
    """

    def run() -> None:
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            page = browser.new_page(viewport=size)
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(f"error: {error}"))
            page.on(
                "console",
                lambda message: problems.append(message.text) if message.type == "error" else None,
            )
            page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
            page.on(
                "request",
                lambda request: problems.append(request.url) if "http" in request.url else None,
            )
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]")
            look(page)
            assert page.evaluate("window.pwned") is None
            assert problems == []
            browser.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def _kpi(page: "Page", label: str) -> str:
    return page.locator(f"#kpis div:has(> dt:text-is('{label}')) > dd").first.inner_text()


def test_report_works_by_mouse_and_keyboard_with_hostile_names(topics: Path) -> None:
    def look(page: "Page") -> None:
        assert page.locator("main section").count() == _FIGURES
        assert page.locator("main img, main a, main script, main iframe").count() == 0
        for name in ("course", "lift", "attribution", "heat", "sankey", "tree", "curve"):
            assert page.locator(f"#{name} .chart .main-svg").count() > 0, name
        assert page.locator("#campaigns td", has_text=HOSTILE[0]).count() == 1
        assert page.locator("#recommendations .card").count() == 1
        total_messages = _kpi(page, "Messages")
        _filter_by_campaign(page, total_messages)
        _check_download(page)
        _check_keyboard(page)

    _visit(_report(topics, "en"), _DESKTOP, look)


def _filter_by_campaign(page: "Page", total_messages: str) -> None:
    page.select_option("#filters [name=campaign]", label=HOSTILE[0])
    kpi = _kpi(page, "Messages")
    assert 0 < int(kpi) < int(total_messages)
    assert page.locator("#campaigns tbody tr").count() == 1
    assert "do not follow the filter by campaign" in page.inner_text("#heat")
    assert "Intervals are only available without a filter" in page.inner_text("#campaigns")
    page.fill("#filters [name=until]", "2024-01-20")
    assert 0 < int(_kpi(page, "Messages")) < int(kpi)
    page.click("#filters button[type=reset]")
    page.wait_for_function(
        "wanted => document.querySelector('#kpis dd').textContent === wanted", arg=total_messages
    )


def _check_download(page: "Page") -> None:
    with page.expect_download() as download:
        page.click("#campaigns .tools button")
    text = Path(download.value.path()).read_text("utf-8-sig")
    head, *rows = csv.reader(StringIO(text))
    assert head[:2] == ["Campaign", "Messages"]
    assert {row[0].removeprefix("'") for row in rows} == set(HOSTILE)
    assert not any(row[0].startswith("=") for row in rows)


def _check_keyboard(page: "Page") -> None:
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    focus_names = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        focus_names.add(
            page.evaluate("(document.activeElement.closest('section') || {}).id || "
                          "document.activeElement.name || ''")
        )  # fmt: skip
    assert {"segment", "campaign", "channel", "campaigns", "lift", "heat", "tree"} <= focus_names
    page.focus("#heat summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#heat details[open] table")


def test_report_fits_a_phone_in_spanish(topics: Path) -> None:
    def look(page: "Page") -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]
        assert page.locator("h1").inner_text() == "Qué ha funcionado"
        assert page.locator("html").get_attribute("lang") == "es"
        assert int(_kpi(page, "Mensajes")) > 0
        widths = page.eval_on_selector_all(
            ".chart", "charts => charts.map(one => one.getBoundingClientRect().width)"
        )
        assert widths
        assert all(100 < width <= _PHONE["width"] for width in widths)
        _check_names_beside_figures(page)

    _visit(_report(topics, "es"), _PHONE, look)


def _check_names_beside_figures(page: "Page") -> None:
    """Check that the path tree shows names, and tables their figures, also beside long names."""
    labels = page.locator("#tree .slice text").filter(has_text=HOSTILE[0][:4])
    assert labels.first.is_visible()
    figure = page.locator("#campaigns tbody td.number").first.bounding_box()
    assert figure is not None
    assert figure["x"] + figure["width"] < _PHONE["width"]
