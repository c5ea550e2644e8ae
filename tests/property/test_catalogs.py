"""Catalogues: requests get the best items that fit the customer, and errors in tables are named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.adapters.catalog_table import load_items
from pipeline.adapters.config_files import load
from pipeline.cli.config import doubtful_item_warnings
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle, Catalog, CatalogItem, ItemColumns, ItemRule
from pipeline.decisioning.explain import explain
from pipeline.model.interaction import Interaction
from pipeline.model.time import DAY_MS
from tests.support.deciding import Life, campaign, find_rejecting_rules, hero, offer, world

_FILES = {
    "sources.yaml": "sources: [{name: shop, channel: web, write_key: write-key-1}]",
    "identity.yaml": "namespaces: [{name: customer_id}, {name: cookie}]",
    "channels.yaml": "channels: [{name: web, placements: [grid]}]",
    "profile.yaml": "traits: [{name: seen, rule: union, of: properties.sku}]",
    "catalogs/products.yaml": """
catalog: products
table: products.csv
columns: {id: sku, price: price, stock: stock, ends: until}
margin: 0.5
exclude: [{trait: seen}]
""",
    "campaigns/shop.yaml": """
campaign: shop
offers:
  - offer: product
    value: 1
    catalog: products
    treatments:
      - {treatment: tile, channel: web, placement: grid, content: {title: "Buy {item.title}"}}
""",
}
_HEADER = "sku,title,price,stock,until\n"


def _write_folder(folder: Path, table: str, **files: str) -> Path:
    for name, text in {**_FILES, **files, "products.csv": table}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _errors(folder: Path) -> list[str]:
    errors = load(folder, {})
    assert isinstance(errors, list)
    return [f"{error.file}:{error.line}: {error.message}" for error in errors]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,A again,1,1,", "products.csv:3: sku 'a' is on line 2 too"),
        ("b,B,1,1,31/02/2026", "products.csv:3: until: '31/02/2026' is not a date"),
        ("b,B,1,1,2026-02-31", "products.csv:3: until: '2026-02-31' is not a date"),
        ("b,B,cheap,1,", "products.csv:3: price: 'cheap' is not a number"),
        ("b,B,-1,1,", "products.csv:3: price: '-1' is not a number of 0 or more"),
        ("b,B,1,1.5,", "products.csv:3: stock: '1.5' is not a whole number"),
        (",B,1,1,", "products.csv:3: sku: '' is not an id"),
        ("b,B,1", "products.csv:3: 3 cells where the header has 5"),
        ('"b\nb",B,1,1,', "products.csv:3: sku:"),
    ],
)
def test_bad_row_is_named_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    folder = _write_folder(tmp_path, f"{_HEADER}a,A,2,3,2026-01-31\n{row}\n")
    [error] = _errors(folder)
    assert error.startswith(message)


_CODE_ROWS = "a1,Lamp,2,3,2026-01-31\na2,Chair,3,3,2026-01-31\n"
_WORD_ROWS = "lamp,Lamp,2,3,2026-01-31\nchair,Chair,3,3,2026-01-31\n"


@pytest.mark.parametrize("rows", [_CODE_ROWS, _WORD_ROWS], ids=["coded ids", "ids of words"])
@pytest.mark.parametrize(
    "footer",
    ["Total,,5,,", "TOTAL:,,5,6,", "Grand total,,,6,", "2 rows,,,,", "*** END OF FILE ***,,,,"],
)
def test_footer_of_a_table_is_no_item(tmp_path: Path, rows: str, footer: str) -> None:
    [error] = _errors(_write_folder(tmp_path, f"{_HEADER}{rows}{footer}\n"))
    name = footer.split(",", maxsplit=1)[0]
    assert error.startswith(f"products.csv:4: sku: {name!r} looks like a total")
    assert "take the line out" in error


@pytest.mark.parametrize(
    "table",
    [
        f"Total,Cereal,2,3,2026-01-31\n{_CODE_ROWS}",
        f"{_WORD_ROWS}total,Cereal,2,3,2026-01-31\n",
        "total,Cereal,2,3,2026-01-31\n",
    ],
    ids=["above others", "among words", "alone"],
)
def test_item_named_like_a_footer_is_an_item(tmp_path: Path, table: str) -> None:
    bundle = load(_write_folder(tmp_path, _HEADER + table), {})
    assert isinstance(bundle, Bundle), bundle
    assert "total" in {item.id.lower() for item in bundle.catalogs[0].items}


def test_ids_that_differ_in_case_are_two_items_and_a_warning(tmp_path: Path) -> None:
    table = f"{_HEADER}a1,Lamp,2,3,2026-01-31\nb,Chair,3,3,\nA1,Lamp,2,3,\n"
    folder = _write_folder(tmp_path, table)
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle)
    assert [item.id for item in bundle.catalogs[0].items] == ["a1", "b", "A1"]
    [warning] = doubtful_item_warnings(folder, bundle)
    assert str(warning).startswith("products.csv:4:1: sku 'A1' differs only in its case from 'a1'")
    result = CliRunner().invoke(build_app("config"), ["config", "validate", str(folder)])
    assert (result.exit_code, result.stderr) == (0, f"warning: {warning}\n")


def test_only_a_few_of_many_ids_that_differ_in_case_are_named(tmp_path: Path) -> None:
    rows = "".join(f"{prefix}{n},T,1,1,2026-01-31\n" for n in range(30) for prefix in ("a", "A"))
    folder = _write_folder(tmp_path, _HEADER + rows)
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle)
    warnings = doubtful_item_warnings(folder, bundle)
    assert len(warnings) == 21
    assert warnings[-1].message == "and 10 more such ids"


def test_all_errors_in_a_table_are_named_at_once(tmp_path: Path) -> None:
    valid_row = "a,A,2,3,2026-01-31\n"
    errors = _errors(
        _write_folder(tmp_path, f"{_HEADER}{valid_row}a,A,x,3,\n{valid_row}b,B,1,x,\n")
    )
    assert [error.split(": ")[0] for error in errors] == [
        "products.csv:3",
        "products.csv:4",
        "products.csv:5",
    ]
    table = "sku,title,price,stock,until\na,,1,1,2026-01-31\n"
    assert "column 'title' is empty in every row" in _errors(_write_folder(tmp_path, table))[0]
    table = "sku,title,stock,until\na,A,1,2026-01-31\n"
    assert "there is no column 'price'" in _errors(_write_folder(tmp_path, table))[0]
    assert "there are no rows" in _errors(_write_folder(tmp_path, _HEADER))[0]
    text = _FILES["campaigns/shop.yaml"].replace("item.title", "item.titel")
    errors = _errors(_write_folder(tmp_path, _HEADER + valid_row, **{"campaigns/shop.yaml": text}))
    assert errors[0].startswith("campaigns/shop.yaml:8: unknown attribute 'item.titel'")
    text = _FILES["campaigns/shop.yaml"].replace("catalog: products", "catalog: produce")
    errors = _errors(_write_folder(tmp_path, _HEADER + valid_row, **{"campaigns/shop.yaml": text}))
    assert errors[0].startswith("campaigns/shop.yaml:6: unknown catalog 'produce'")


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    text = f"{_HEADER}a,A,2,3,2026-01-31\nb,B,3,0,\nc,C,4,1,\n"
    bundle = load(_write_folder(tmp_path, text), {})
    assert isinstance(bundle, Bundle)
    columns: dict[str, list[Any]] = {
        "sku": ["a", "b", "c"],
        "title": ["A", "B", "C"],
        "price": [2.0, 3.0, 4.0],
        "stock": [3, 0, 1],
        "until": ["2026-01-31", None, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "products.parquet")
    catalog = Catalog(
        "products",
        "products.parquet",
        ItemColumns(id="sku", price="price", stock="stock", ends="until"),
        margin=0.5,
    )
    parquet_catalog = load_items(catalog, tmp_path)
    assert isinstance(parquet_catalog, Catalog)
    assert parquet_catalog.items == bundle.catalogs[0].items
    assert [(item.id, item.value) for item in parquet_catalog.items] == [("a", 1.0), ("c", 2.0)]
    assert parquet_catalog.items[0].attributes == {"title": "A", "price": 2.0}


items = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from("xyz"), st.sampled_from([None, 1, 2])),
    min_size=1,
    max_size=12,
)
names = st.lists(st.integers(0, 11).map(lambda n: f"i{n}"), max_size=4, unique=True)
trait_lists = st.fixed_dictionaries(
    {"seen": names, "liked": names, "kinds": st.lists(st.sampled_from("xyz"), max_size=2)}
)


@given(items, trait_lists, st.integers(1, 6), st.sampled_from([0, 1, 2]), st.booleans())
def test_request_gets_the_best_items_that_fit_the_customer(
    drawn_items: list[tuple[int, str, int | None]],
    traits: Mapping[str, list[str]],
    limit: int,
    day: int,
    is_limited: bool,
) -> None:
    # By definition an item fits if its start has come, it is of a wanted kind and it was not seen;
    # a liked item counts three times.
    life = _life(_catalog_of(drawn_items, is_limited))
    if any(traits.values()):
        life.set_traits(traits)
    decision = life.interact("Home", day * DAY_MS + 1, ask={"hero": limit})
    scores = {
        f"i{number}": value * (3 if f"i{number}" in traits["liked"] else 1)
        for number, (value, kind, start_day) in enumerate(drawn_items)
        if (start_day is None or start_day <= day)
        and (not is_limited or kind in traits["kinds"])
        and f"i{number}" not in traits["seen"]
    }
    best_names = sorted(scores, key=lambda name: (-scores[name], name))[:limit]
    assert life.answers() == {"hero": [f"tile/{name}" for name in best_names]}
    assert [action.content["title"] for action in life.actions()] == [
        f"A {drawn_items[int(name[1:])][1]}" for name in best_names
    ]
    assert len(decision.candidates) == len(scores)


def _catalog_of(drawn_items: list[tuple[int, str, int | None]], is_limited: bool) -> Catalog:
    items = tuple(
        CatalogItem(
            f"i{number}",
            float(value),
            None if start_day is None else f"1970-01-0{start_day + 1}",
            None,
            {"kind": kind},
        )
        for number, (value, kind, start_day) in enumerate(drawn_items)
    )
    return Catalog(
        "products",
        "unread.csv",
        only=(ItemRule("kinds", attribute="kind"),) if is_limited else (),
        exclude=(ItemRule("seen"),),
        boost=(ItemRule("liked", factor=3.0),),
        items=items,
    )


def test_decision_records_a_short_list_of_a_large_catalogue() -> None:
    catalog_items = tuple(
        CatalogItem(f"i{number:04}", float(number), attributes={"kind": "x"})
        for number in range(2_500)
    )
    catalog = Catalog(
        "products",
        "unread.csv",
        exclude=(ItemRule("seen"),),
        items=catalog_items,
        most=200,
        shortlist=7,
    )
    life = _life(catalog)
    life.set_traits({"seen": ["i2499"]})
    decision = life.interact("Home", 1, ask={"hero": 3})
    assert life.answers()["hero"] == ["tile/i2498", "tile/i2497", "tile/i2496"]
    assert len(decision.candidates) == 7
    assert find_rejecting_rules(decision) == {
        "tile: 1 items": "applicability/excluded",
        "tile: 2299 items": "applicability/beyond the best",
        "tile: 193 items": "applicability/beyond the best",
    }
    rejections = explain(decision, life.flow.rules.config, "en").slots[0].rejected
    assert [exclusion.words for exclusion in rejections if exclusion.rule == "excluded"] == [
        "the customer has seen, bought or solved them."
    ]


class _Shopper(Life):
    """Customer whose traits are lists."""

    def set_traits(self, traits: Mapping[str, list[str]]) -> None:
        """Set the traits by an interaction."""
        interaction = Interaction(
            event_id="lists",
            kind="track",
            name="Lists",
            channel="web",
            source="shop",
            occurred_at=0,
            received_at=0,
            identifiers=self.identifiers,
            lists={name: tuple(values) for name, values in traits.items() if values},
        )
        list(self.flow.run(interaction))


def _life(catalog: Catalog) -> _Shopper:
    tile = hero("tile", content={"title": "A {item.kind}"})
    traits = [
        {"name": name, "rule": "latest", "of": f"properties.{name}"}
        for name in ("seen", "liked", "kinds")
    ]
    rules = world(
        profile={"traits": traits},
        campaigns=[campaign("shop", offer("product", 1, tile, catalog="products"), trigger=None)],
        catalogs=[catalog],
    )
    return _Shopper(rules)
