"""The report's page holds its data and nothing that runs but its own scripts."""

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli.insights_report import usual_goal
from pipeline.cli.main import build_app
from pipeline.config.model import Campaign, Goal
from pipeline.insights.report.advice import read_advice
from pipeline.insights.report.page import embedded_json
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from tests.support.hostile_report import HOSTILE, write_hostile_topics
from tests.support.replayed import write_topic


class _PageParser(HTMLParser):
    """Parser that collects scripts by their type, and everything else that an attacker would
    inject."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str | None, str]] = []
        self.tags: set[str] = set()
        self.policy = ""
        self.handlers: list[str] = []
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.add(tag)
        self.handlers += [name for name in attributes if name.startswith("on")]
        if tag == "script":
            assert "src" not in attributes
            self.scripts.append((attributes.get("type"), ""))
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip():
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)

    def data(self) -> dict[str, Any]:
        (text,) = (text for kind, text in self.scripts if kind == "application/json")
        document: dict[str, Any] = json.loads(text)
        return document


def _make_report(folder: Path, *options: str) -> _PageParser:
    file = folder / "report.html"
    command = ["insights", "report", "--topics", str(folder), "--out", str(file), *options]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 0, result.exception
    return _PageParser(file.read_text("utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> _PageParser:
    folder = tmp_path_factory.mktemp("hostile")
    write_hostile_topics(folder)
    return _make_report(folder, "--goal", HOSTILE[0])


def test_hostile_names_stay_data(page: _PageParser) -> None:
    assert [kind for kind, _ in page.scripts] == ["application/json", None, None]
    assert not page.tags & {"img", "svg", "iframe", "link", "base", "object"}
    assert page.handlers == []
    names = {row[1] for row in page.data()["content"]["cells"]["rows"]}
    assert names == set(HOSTILE)


def test_policy_lets_only_the_pages_own_scripts_run(page: _PageParser) -> None:
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in page.scripts
        if kind is None
    }
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == digests


@given(st.recursive(st.text() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3)))
def test_embedded_json_means_the_same_and_leaves_no_markup(value: Any) -> None:
    text = embedded_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_cells_add_up_to_the_statistics(page: _PageParser) -> None:
    content = page.data()["content"]
    columns = content["cells"]["columns"]
    customer_rows = [row for row in content["cells"]["rows"] if row[columns.index("segment")] == ""]
    for name in ("decided", "held", "worth", "cost"):
        total = sum(row[columns.index(name)] for row in customer_rows)
        assert total == pytest.approx(content["statistics"]["total"][name])


def test_recommendations_are_shown_as_recommend_prints_them(tmp_path: Path) -> None:
    write_topic(tmp_path, DECISIONS, [])
    write_topic(tmp_path, SEGMENTED, [])
    change = {"what": HOSTILE[0], "why": "why", "against": ["no"], "grade_words": "Tested"}
    option = {
        "kind": "order", "place": "a > b", "option": "b > a", "grade": "Tested",
        "gain": {"value": 0.2, "low": 0.1, "high": 0.3, "error": 0.05}, "support": {"had_it": 40},
    }  # fmt: skip
    recommendation = {
        "changes": [change],
        "journey": [{"step": "terms", "words": "say it"}],
        "shape": {"steps": ["b", "a"], "words": "2 steps: b > a."},
        "compared": [option],
        "words": None,
    }
    file = tmp_path / "advice.json"
    file.write_text(json.dumps(recommendation))
    page = _make_report(tmp_path, "--recommendations", str(file))
    (card,) = page.data()["content"]["recommendations"]
    assert (card["title"], card["grade"]) == (HOSTILE[0], "Tested")
    assert (card["pros"], card["cons"]) == (["why"], ["no"])
    assert page.data()["content"]["recommended_journey"] == [{"step": "terms", "words": "say it"}]
    assert page.data()["content"]["recommended_shape"] == "2 steps: b > a."
    [comparison] = page.data()["content"]["compared_options"]
    assert comparison == {
        "place": "a > b", "option": "b > a", "customers": 40, "gain": 0.2, "low": 0.1, "high": 0.3,
        "grade": "Tested",
    }  # fmt: skip
    file.write_text("{}")
    with pytest.raises(TableError, match=r"advice\.json: is not what `kairos insights recommend"):
        read_advice(file)


def test_every_language_has_the_same_content() -> None:
    file = Path("pipeline/insights/report/texts.json")
    texts = json.loads(file.read_text("utf-8"))

    def keys(value: Any, path: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return {key for name, inner in value.items() for key in keys(inner, f"{path}/{name}")}

    english_keys, spanish_keys = keys(texts["en"]), keys(texts["es"])
    assert {key for key in english_keys ^ spanish_keys if "/reasons" not in key} == set()
    for figure in texts["es"]["figures"].values():
        assert figure["title"]
        assert len(figure["meaning"]) > 40


@pytest.mark.parametrize("language", ["en", "es"])
def test_empty_topics_give_a_page(tmp_path: Path, language: str) -> None:
    write_topic(tmp_path, DECISIONS, [])
    write_topic(tmp_path, SEGMENTED, [])
    content = _make_report(tmp_path, "--lang", language).data()["content"]
    assert content["cells"]["rows"] == []
    assert content["course"] is None
    assert "NaN" not in msgspec.json.encode(content).decode()


def test_wrong_options_are_named(tmp_path: Path) -> None:
    def run_refused(*options: str) -> str:
        result = CliRunner().invoke(build_app("insights"), ["insights", "report", *options])
        assert result.exit_code != 0
        return f"{result.exception} {result.output}"

    assert "is not a folder" in run_refused("--out", str(tmp_path / "no" / "r.html"))
    assert "is none of en, es" in run_refused("--out", str(tmp_path / "r.html"), "--lang", "fr")
    out_options = ("--out", str(tmp_path / "r.html"))
    assert "decisions: has no Parquet" in run_refused(*out_options, "--topics", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_usual_goal_is_that_of_most_campaigns() -> None:
    def campaign_with_goal(name: str, condition: object) -> Campaign:
        return Campaign(name, (), goal=Goal(condition, "3d"))

    goal_condition = {"name": "Bought"}
    assert (
        usual_goal(
            [
                campaign_with_goal("a", goal_condition),
                campaign_with_goal("b", {"name": "Read"}),
                campaign_with_goal("c", goal_condition),
            ]
        )
        == "Bought"
    )
    assert usual_goal([campaign_with_goal("a", {"segment": "vip"})]) is None
