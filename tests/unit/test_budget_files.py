"""Mistakes in budgets and stock, and campaigns without reach, are reported with file, line and
remedy."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.config_files import load
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Bundle
from tests.support.damaged_config import load_after_change

_CONFIGURATION = Path(__file__).parents[1] / "integration" / "budgets"
_GIFT, _PACED_CAMPAIGN = "campaigns/gift.yaml", "campaigns/paced.yaml"
_TABLE, _CATALOG, _CHANNELS = "shelf.csv", "catalogs/shelf.yaml", "channels.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two campaigns with budgets, and a table with stock."""
    return Path(shutil.copytree(_CONFIGURATION, tmp_path / "config"))


@pytest.mark.parametrize(
    ("file", "old_text", "new_text", "words"),
    [
        (_GIFT, "budget: 60", "budget: -1", "-1 is too small: 0 or more"),
        (_GIFT, "budget: 60", "budget: .nan", "the number is not finite"),
        (_GIFT, "budget: 60", "budget: 0", "0 pays for no message, since the cheapest costs 1"),
        (_GIFT, "budget: 60", "budget: 0.99", "raise it, or end the campaign with `ends`"),
        (_GIFT, "budget: 60", "budget: {amount: 0}", "0 pays for no message"),
        (_GIFT, "campaign: gift", "campaign: shelf", "the campaign 'shelf' occurs twice"),
        (_GIFT, "campaign: gift", "campaign: shelf/lamp", "is not a name"),
        (_GIFT, "email}", "email, content: {text: '{{ nobody }}'}}", "unknown trait 'nobody'"),
        (_GIFT, "email}", "email, address: mail}", "unknown namespace 'mail'"),
        (_PACED_CAMPAIGN, "per: day", "per: hour", "known: campaign, day, month, week"),
        (_PACED_CAMPAIGN, "per: day", "per: day, currency: USD", "enrichers.currency.to"),
        (_PACED_CAMPAIGN, "Europe/Madrid", "Europe/Madird", "no time zone 'Europe/Madird'"),
        (_TABLE, "chair,4", "lamp,4", "sku 'lamp' is on line 2 too: an item has one row"),
        (_TABLE, "chair,4", ",4", "'' is not an id"),
        (_TABLE, "chair,4", "chair,-4", "stock: '-4' is not a number of 0 or more"),
        (_TABLE, "chair,4", "chair,4.5", "stock: '4.5' is not a whole number"),
        (_TABLE, "chair,4", "chair,four", "stock: 'four' is not a number: write 1234.50"),
        (_TABLE, "chair,4", "chair,inf", "is not a number of 0 or more"),
        (_TABLE, "chair,4", "chair,1e300", "1e+300 is too large: 1,000,000,000 at most"),
        (_TABLE, "sku,stock", "sku,", "a column has no name"),
        (_TABLE, "sku,stock", "sku,left", "there is no column 'stock': known: left, sku"),
        (_TABLE, "lamp,3\nchair,4", "lamp,\nchair,", "'stock' is empty in every row: fill it"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line(
    folder: Path, file: str, old_text: str, new_text: str, words: str
) -> None:
    errors, line = load_after_change(folder, file, old_text, new_text)
    matches = [error for error in errors if words in error.message]
    assert matches, errors
    assert abs(matches[0].line - line) <= 1 or "twice" in words


def test_item_starts_on_an_existing_day(folder: Path) -> None:
    (folder / _CATALOG).write_text(
        "catalog: shelf\ntable: shelf.csv\ncolumns: {id: sku, starts: from}\n"
    )
    (folder / _TABLE).write_text("sku,from\nlamp,2026-02-28\nchair,31/02/2026\n")
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    assert [(error.file, error.line) for error in errors] == [(_TABLE, 3)]
    assert "from: '31/02/2026' is not a date: write 2026-02-28" in errors[0].message


def test_budget_is_in_the_currency_of_the_deployment(folder: Path) -> None:
    enrichers = "enrichers:\n  currency: {to: EUR, amounts: {total: properties.total}, rates: []}\n"
    (folder / "profile.yaml").write_text(enrichers)
    campaign_file = folder / _PACED_CAMPAIGN
    campaign_file.write_text(
        campaign_file.read_text().replace("per: day", "per: day, currency: USD")
    )
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    assert "a budget in USD, but money is in EUR here" in errors[0].message
    campaign_file.write_text(campaign_file.read_text().replace("USD", "EUR"))
    assert isinstance(load(folder, {}), Bundle)


def test_item_without_stock_has_no_budget(folder: Path) -> None:
    (folder / _TABLE).write_text("sku,stock\nlamp,0\nchair,4\n")
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle)
    configuration = compile_bundle(bundle)
    assert isinstance(configuration, Configuration)
    assert set(configuration.budgets) == {"gift", "paced", "shelf/chair"}


def test_budget_of_free_messages_is_no_mistake(folder: Path) -> None:
    channels = folder / _CHANNELS
    channels.write_text(channels.read_text().replace("cost: 1", "cost: 0"))
    assert isinstance(load(folder, {}), Bundle)
