"""Configuration as a marketer keeps it: the demo's, with a campaign of products out of a
spreadsheet and a budget in euros."""

import shutil
from pathlib import Path
from typing import Final

_DEMO: Final = Path(__file__).parents[2] / "deploy" / "demo"

CAMPAIGN: Final = "campaigns/shop.yaml"
CATALOG: Final = "catalogs/products.yaml"
TABLE: Final = "products.csv"
HEADER: Final = "sku,title,price,stock,from,until\n"
ROWS: Final = (
    "A-1,Red shoes,49.90,12,2024-01-01,2026-12-31\n"
    "A-2,Blue shoes,59.90,3,,\n"
    "A-3,Green hat,19.90,,2024-03-01,\n"
)
_CATALOG: Final = """catalog: products
table: products.csv
columns: {id: sku, price: price, stock: stock, starts: from, ends: until}
margin: 0.3
exclude: [{trait: bought}]
"""
_CAMPAIGN: Final = """campaign: shop
owner: shop@shop.example
audience: {segment: buyers}
trigger: {name: purchase}
starts: 2024-01-01
ends: 2030-12-31
budget: {amount: 2500, currency: EUR, per: month, zone: Europe/Madrid}
holdout: 0.05
goal: {when: {name: purchase}, window: 3d}
caps:
  - {cap: shop-twice, per: offer, max: 2, window: 7d}
eligibility:
  - rule: country
    when: {trait: country, in: [ES, NO, PT]}
    for: {group: fashion}
offers:
  - offer: product
    group: fashion
    issue: grow
    value: 10
    catalog: products
    treatments:
      - treatment: tile
        channel: web
        placement: home-hero
        cost: 0.01
        p: 0.02
        content: {title: "{item.title} at {item.price} euros"}
      - treatment: product-email
        channel: email
        address: email
        p: 0.05
        defaults: {first_name: friend}
        content:
          subject: Something for you
          text: "Dear {{ first_name }}, look at {{ item.title }}."
"""
_CURRENCY: Final = """session_gap: 30m
enrichers:
  currency:
    to: EUR
    amounts: {paid: properties.total}
    rates: [{currency: USD, since: 2024-01-01, rate: 0.91}]
"""
_TRAITS: Final = """
  - {name: bought, rule: union, of: properties.sku, when: {name: purchase}}
  - {name: country, rule: latest, of: properties.country}
  - {name: first_name, rule: latest, of: properties.first_name}
"""


def write_marketer_folder(folder: Path) -> Path:
    """Write the configuration into a folder, and return it."""
    shutil.copytree(_DEMO, folder)
    for name, text in ((CATALOG, _CATALOG), (CAMPAIGN, _CAMPAIGN), (TABLE, HEADER + ROWS)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    profile = folder / "profile.yaml"
    profile.write_text(profile.read_text().replace("session_gap: 30m", _CURRENCY, 1) + _TRAITS)
    return folder
