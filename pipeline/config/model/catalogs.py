"""catalogs/*.yaml: tables whose rows are offers of one template."""

from typing import Annotated

from msgspec import Meta, field

from pipeline.config.model.part import Condition, Duration, Name, Part


class ItemColumns(Part, frozen=True):
    """Columns of a catalogue's table. `id` names an item; the optional ones are its `price`, its
    `value` (the worth of its acceptance), its `stock`, and the dates at which it `starts` and
    `ends`, in the form of a campaign's. The price and all other columns are attributes, unless
    `attributes` names the attributes."""

    id: str = "id"
    price: str | None = None
    value: str | None = None
    stock: str | None = None
    starts: str | None = None
    ends: str | None = None
    attributes: tuple[str, ...] | None = None


class ItemRule(Part, frozen=True):
    """Items for a customer: those with an id in `trait` (a text or a list), those whose `attribute`
    has such a value, or those that `recipe` relates to such a value. `factor` multiplies their
    score.

    A recipe without `trait` gives items for the customer's segments. Where a recipe has no items
    for any of these values, its items for everybody count.
    """

    trait: Name | None = None
    attribute: str | None = None
    recipe: Name | None = None
    factor: Annotated[float, Meta(gt=0)] = 2.0


class ItemEvent(Part, frozen=True):
    """Interactions that fit `when`, with the ids of items in the property `item`, a text or a list;
    the property `about` names the subject that an article resolved."""

    when: Condition
    item: str
    about: str | None = None


class ItemEvents(Part, frozen=True):
    """Interactions from which `kairos train recipes` learns. Items that one customer bought, or
    viewed, within `window` go together."""

    bought: ItemEvent | None = None
    viewed: ItemEvent | None = None
    solved: ItemEvent | None = None
    window: Duration = "30d"


class CatalogItem(Part, frozen=True):
    """Row of a table. `value` None: the offer's value counts; `stock` None: the stock is
    unlimited."""

    id: str
    value: float | None = None
    starts: str | None = None
    ends: str | None = None
    attributes: dict[str, str | float] = field(default_factory=dict)
    stock: int | None = None


class Catalog(Part, frozen=True):
    """catalogs/*.yaml: items (products, help articles) that a campaign's offer names by `catalog`:
    each row of `table`, a CSV or Parquet file in this folder, is then an offer of that form.

    The value of an item is its `value`, or else its price times `margin`. Items without stock are
    left out. For a customer, `exclude` leaves out items that were seen, bought or solved; `only`,
    if present, leaves out all items that none of its rules names; `boost` raises the items that its
    rules name. The best `most` items then compete, and the best `shortlist` are recorded in the
    decision.

    `recipes` is a table (CSV or Parquet) of items that go together, bought or viewed: its columns
    are recipe, item, related and score; a row without item is for everybody. `kairos train recipes`
    writes it from `events`. `items` and `related` are filled in.
    """

    catalog: Name
    table: str
    columns: ItemColumns = field(default_factory=ItemColumns)
    margin: Annotated[float, Meta(ge=0)] = 1.0
    only: tuple[ItemRule, ...] = ()
    exclude: tuple[ItemRule, ...] = ()
    boost: tuple[ItemRule, ...] = ()
    most: Annotated[int, Meta(ge=1, le=2_000)] = 200
    shortlist: Annotated[int, Meta(ge=1, le=1_000)] = 20
    recipes: str | None = None
    events: ItemEvents | None = None
    items: tuple[CatalogItem, ...] = ()
    related: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
