"""`kairos train recipes` finds the planted relations, and catalogues serve its files."""

import csv
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters.config_files import load
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle, CatalogItem
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.training.recipes import RECIPES, similar_items
from tests.support.deciding import Life
from tests.support.replayed import as_segmented, event, write_topic
from tests.support.worlds import rules

_FILES = {
    "sources.yaml": "sources: [{name: shop, channel: web, write_key: write-key-1}]",
    "identity.yaml": "namespaces: [{name: customer_id}, {name: email}]",
    "channels.yaml": "channels: [{name: web, placements: [grid]}]",
    "profile.yaml": """
traits:
  - {name: bought, rule: union, of: properties.sku, when: {name: Order}}
  - {name: topic, rule: latest, of: properties.topic}
  - {name: club, rule: latest, of: properties.club}
""",
    "segments/club.yaml": "segment: club\nwhen: {trait: club, is: true}",
    "catalogs/products.yaml": """
catalog: products
table: products.csv
columns: {id: sku}
exclude: [{trait: bought}]
events:
  window: 30d
  bought: {when: {name: Order}, item: sku}
  viewed: {when: {name: Product Viewed}, item: sku}
  solved: {when: {name: Case Solved}, item: sku, about: topic}
""",
    "campaigns/shop.yaml": """
campaign: shop
offers:
  - offer: product
    value: 1
    catalog: products
    treatments: [{treatment: tile, channel: web, placement: grid, content: {title: "{item.kind}"}}]
""",
}
_KINDS = ("lamp", "chair", "rug", "vase")
_ITEMS = [f"p{number:02}" for number in range(24)]
_UNSOLD_ITEM = _ITEMS[-1]


def _table() -> str:
    rows = (f"{sku},{_KINDS[index % 4]},{10 + index % 4}" for index, sku in enumerate(_ITEMS))
    return "\n".join(("sku,kind,price", *rows))


def _act(
    numbers: Iterator[int],
    profile: str,
    members: tuple[str, ...],
    name: str,
    day: float,
    **properties: Any,
) -> Segmented:
    time_ms = 1_700_000_000_000 + round(day * DAY_MS)
    return as_segmented(profile, event(f"e{next(numbers)}", name, time_ms, **properties), members)


def _draw_histories(random: Random) -> Iterator[Segmented]:
    """Draw customers: buyers of p(2k) often buy p(2k+1) within days; viewers of p(2k) also view
    p(2k+2); one article solves each topic; members of the club buy p20."""
    numbers = count()
    for customer in range(600):
        club = ("club",) if customer % 3 == 0 else ()
        act = partial(_act, numbers, f"c{customer:03}", club)
        item = random.randrange(9) * 2
        yield act("Product Viewed", 0, sku=_ITEMS[item])
        if random.random() < 0.6:
            yield act("Product Viewed", 0.1, sku=_ITEMS[item + 2])
        yield act("Order", 1, sku=_ITEMS[item])
        if random.random() < 0.6:
            yield act("Order", 3, sku=_ITEMS[item + 1])
        # This order is too late to count as bought together.
        yield act("Order", 200, sku=_ITEMS[random.randrange(18)])
        if club and random.random() < 0.7:
            yield act("Order", 400, sku="p20")
        topic = random.randrange(3)
        solution = topic if random.random() < 0.8 else random.randrange(3)
        yield act("Case Solved", 500, sku=_ITEMS[20 + solution], topic=f"topic{topic}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration with the learned recipes."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in {**_FILES, "products.csv": _table()}.items():
        path = folder / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_topic(folder / "topics", "interactions.segmented", _draw_histories(Random(3)))
    result = CliRunner().invoke(
        build_app("train"),
        ["train", "recipes", "products", "--config", str(folder / "config"),
         "--interactions", str(folder / "topics"), "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "config"


def _read_recipes(folder: Path) -> dict[str, dict[str, list[str]]]:
    recipes: dict[str, dict[str, list[str]]] = {}
    with (folder / "recipes" / "products.csv").open() as file:
        for row in csv.DictReader(file):
            recipes.setdefault(row["recipe"], {}).setdefault(row["item"], []).append(row["related"])
    return recipes


def test_planted_recipes_are_found(folder: Path) -> None:
    recipes = _read_recipes(folder)
    for index in range(0, 18, 2):
        assert recipes["bought-together"][_ITEMS[index]][0] == _ITEMS[index + 1]
        assert recipes["bought-together"][_ITEMS[index + 1]][0] == _ITEMS[index]
    for index in range(0, 16, 4):
        assert _ITEMS[index + 2] in recipes["viewed-together"][_ITEMS[index]][:2]
    resolutions = {topic: items[0] for topic, items in recipes["most-resolved"].items() if topic}
    assert resolutions == {f"topic{number}": _ITEMS[20 + number] for number in range(3)}
    assert recipes["popular-in-segment"]["club"][0] == "p20"
    assert set(recipes) == set(RECIPES)


def test_items_that_nobody_bought_fall_back_to_similar_and_then_to_popular_ones(
    folder: Path,
) -> None:
    recipes = _read_recipes(folder)
    fallback = recipes["bought-together"][_UNSOLD_ITEM]
    assert fallback == recipes["similar"][_UNSOLD_ITEM]
    assert {_ITEMS.index(item) % 4 for item in fallback[:5]} == {_ITEMS.index(_UNSOLD_ITEM) % 4}
    assert recipes["bought-together"][""] == recipes["popular-in-segment"][""]


def test_catalogue_serves_learned_recipes(folder: Path) -> None:
    catalog = folder / "catalogs" / "products.yaml"
    rule = "recipes: recipes/products.csv\nshortlist: 30\nonly: [{trait: %s, recipe: %s}]"
    for trait, recipe in (("bought", "bought-together"), ("topic", "most-resolved")):
        catalog.write_text(_FILES["catalogs/products.yaml"] + rule % (trait, recipe))
        life = Life(rules(_load_bundle(folder)))
        if trait == "bought":
            life.interact("Order", 1_000, sku="p04")
        else:
            life.interact("Asked", 1_000, topic="topic2")
        life.interact("Visit", 2_000, ask={"grid": 40})
        offered_items = {treatment.partition("/")[2] for treatment in life.answers()["grid"]}
        expected = _read_recipes(folder)[recipe]["p04" if trait == "bought" else "topic2"]
        assert offered_items == set(expected) - {"p04"}
    catalog.write_text(
        _FILES["catalogs/products.yaml"]
        + "recipes: recipes/products.csv\nboost: [{recipe: popular-in-segment}]"
    )
    life = Life(rules(_load_bundle(folder)))
    life.interact("Joined", 1_000, club=True)
    life.interact("Visit", 2_000, ask={"grid": 40})
    items = {treatment.partition("/")[2] for treatment in life.answers()["grid"]}
    assert set(_read_recipes(folder)["popular-in-segment"]["club"]) <= items
    stranger = Life(rules(_load_bundle(folder)))
    popular_items = _read_recipes(folder)["popular-in-segment"][""]
    stranger.interact("Visit", 2_000, ask={"grid": len(popular_items)})
    first_items = {address.partition("/")[2] for address in stranger.answers()["grid"]}
    assert first_items == set(popular_items)
    assert len(popular_items) < len(_ITEMS)


def test_rule_without_trait_needs_a_recipe(folder: Path) -> None:
    catalog = folder / "catalogs" / "products.yaml"
    catalog.write_text(_FILES["catalogs/products.yaml"] + "boost: [{factor: 3}]")
    errors = load(folder, {})
    assert isinstance(errors, list)
    assert "catalogs/products.yaml:11:" in str(errors[0])
    assert "name a `trait`, or a `recipe`" in errors[0].message
    catalog.write_text(_FILES["catalogs/products.yaml"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("catalogs/products.yaml", "events:", "most: 7\nx-events:"), "unknown"),
        (("catalogs/products.yaml", "item: sku}\n  viewed", "item: skew}\n  viewed"), None),
    ],
)
def test_events_that_cannot_be_read_are_named(
    folder: Path, tmp_path: Path, change: tuple[str, str, str], words: str | None
) -> None:
    name, old_text, new_text = change
    for path in folder.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text())
    (tmp_path / name).write_text(_FILES[name].replace(old_text, new_text, 1))
    result = load(tmp_path, {})
    assert isinstance(result, Bundle) is (words is None)
    if isinstance(result, list):
        assert words is not None
        assert words in result[0].message


def test_items_are_similar_by_rare_texts_and_near_numbers() -> None:
    items = [
        CatalogItem("a", attributes={"kind": "lamp", "price": 10.0, "title": "A"}),
        CatalogItem("b", attributes={"kind": "lamp", "price": 11.0, "title": "B"}),
        CatalogItem("c", attributes={"kind": "rug", "price": 11.0, "title": "C"}),
        CatalogItem("d", attributes={"kind": "rug", "price": 90.0}),
        CatalogItem("e", attributes={}),
    ]
    similar_by_item = similar_items(items, 10)
    assert [name for name, _ in similar_by_item["a"]] == ["b", "c"]
    assert [name for name, _ in similar_by_item["d"]] == ["c", "b"]
    assert "e" not in similar_by_item
    assert similar_items([CatalogItem("x"), CatalogItem("y")], 10) == {}


def _load_bundle(folder: Path) -> Bundle:
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle), bundle
    return bundle
