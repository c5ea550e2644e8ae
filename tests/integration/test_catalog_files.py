"""Tables of catalogues that arrive as files: put in force whole, or refused with their lines."""

from pathlib import Path

import pytest

from pipeline.config.compile import Configuration
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import register
from pipeline.home.topics import ensure_topics
from pipeline.ingest.opening import watchers
from pipeline.ingest.process import base_of, look_once
from pipeline.ingest.taking import FileReport
from pipeline.settings import Settings
from pipeline.stack.configure import apply_folder
from tests.support.ingest import write_configuration

_WATCH = """watches:
  - watch: goods
    source: shop-files
    folder: {folder}
    pattern: "*.csv*"
    ready: {{by: rename}}
    catalog: goods
"""
_CAMPAIGN = """campaign: shop
offers:
  - offer: thing
    value: 1
    catalog: goods
    treatments: [{treatment: tile, channel: web, placement: grid, content: {title: "{item.name}"}}]
"""


@pytest.fixture
def inbox(settings: Settings, tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    config = write_configuration(tmp_path / "config", _WATCH.format(folder=folder))
    (config / "channels.yaml").write_text("channels: [{name: web, placements: [grid]}]\n")
    for name in ("catalogs", "campaigns"):
        (config / name).mkdir()
    (config / "catalogs" / "goods.yaml").write_text(
        "catalog: goods\ntable: goods.csv\ncolumns: {id: sku, price: price}\n"
    )
    (config / "campaigns" / "shop.yaml").write_text(_CAMPAIGN)
    (config / "goods.csv").write_text("sku,name,price\nold,Old,1\n")
    ensure_topics(settings, ())
    register(settings, ())
    apply_folder(settings, config, lambda _: None)
    return folder


def _applied_configuration(settings: Settings) -> Configuration:
    configuration = applied_configuration(settings)
    assert configuration is not None
    return configuration


def _look(settings: Settings, *, check: bool = False) -> list[FileReport]:
    config = _applied_configuration(settings)
    home_watchers = watchers(config, base_of(settings, lambda *_: None), {})
    if check:
        return [report for watcher in home_watchers for report in watcher.check(config)]
    return list(look_once(home_watchers, config))


def _items(settings: Settings) -> dict[str, float | None]:
    [catalog] = _applied_configuration(settings).bundle.catalogs
    return {item.id: item.value for item in catalog.items}


def test_table_replaces_the_items_and_may_be_repeated(settings: Settings, inbox: Path) -> None:
    first_table, second_table = "sku,name,price\na,Lamp,5\nb,Rug,7\n", "sku,name,price\nc,Vase,9\n"
    first_digest = _applied_configuration(settings).digest
    assert _items(settings) == {"old": 1.0}
    for number, (text, items) in enumerate(
        (
            (first_table, {"a": 5.0, "b": 7.0}),
            (second_table, {"c": 9.0}),
            (first_table, {"a": 5.0, "b": 7.0}),
        )
    ):
        (inbox / f"goods-{number}.csv").write_text(text)
        [check_report] = _look(settings, check=True)
        [report] = _look(settings)
        assert (check_report.rows, report.rows) == (len(items), len(items))
        assert (report.state, report.reason) == ("done", None)
        assert _items(settings) == items
    assert _applied_configuration(settings).digest != first_digest
    assert sorted(path.name for path in inbox.iterdir()) == ["done"]


def test_table_with_a_fault_changes_nothing_and_names_its_line(
    settings: Settings, inbox: Path
) -> None:
    first_digest = _applied_configuration(settings).digest
    (inbox / "goods.csv").write_text("sku,name,price\na,Lamp,5\na,Rug,x\nb,Vase,-1\n")
    [report] = _look(settings)
    assert report.state == "failed"
    assert "it is not a table of goods: line 3: sku 'a' is on line 2 too" in str(report.reason)
    assert "line 4" in str(report.reason)
    assert _applied_configuration(settings).digest == first_digest
    reason = (inbox / "failed" / "goods.csv.reason.txt").read_text()
    assert "line 3" in reason
