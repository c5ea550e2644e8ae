"""Metrics over windows equal a count of all interactions.

With few interactions a window is exact, `(t - w, t]`. With many it is made of panes, and its count
lies between that of the window and that of a window longer by one pane.
"""

import random
from collections.abc import Iterable, Sequence
from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.state import Shard
from pipeline.enrichment.view import next_due, traits
from pipeline.model.interaction import FactValue, Identifier, Interaction
from pipeline.rules import Rules
from tests.support.worlds import rules

_WINDOWS = {"short": 60, "long": 6_000, "ever": None}
"""Windows in milliseconds; their panes are of 1 and of 100."""
_RULES = ("count", "sum", "avg", "min", "max", "first", "latest", "distinct", "union", "recency")
_END_MS = 8_000


def _world() -> Rules:
    base = model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
        identity=model.Identity((model.Namespace("cookie"),)),
        channels=model.Channels((model.Channel("web"),)),
        profile=model.ProfileRules(tuple(_traits())),
        segments=tuple(
            model.Segment(f"has_{trait.name}", {"trait": trait.name, "exists": True})
            for trait in _traits()
        ),
    )
    return rules(base)


def _traits() -> Iterable[model.TraitDefinition]:
    for name, window in _WINDOWS.items():
        for rule in _RULES:
            path = None if rule in ("count", "recency") else "properties.price"
            yield model.TraitDefinition(
                f"{rule}_{name}",
                rule,  # type: ignore[arg-type]
                path,
                {"name": "Order"},
                None if window is None else f"{window}ms",
            )


_WORLD = _world()

_prices = st.one_of(
    st.integers(-5, 5), st.sampled_from([0.1, 0.2, 19.99, -3.5]), st.sampled_from(["low", True])
)


@st.composite
def streams(draw: st.DrawFn, maximum: int = 8) -> list[Interaction]:
    """Draw interactions in order of receipt, some late; none is received before it occurred."""
    receipts = sorted(draw(st.lists(st.integers(1, _END_MS), min_size=1, max_size=maximum)))
    return [
        _interaction(
            f"e{number}",
            draw(st.sampled_from(["Order", "Order", "View"])),
            max(received_at - draw(st.sampled_from([0, 0, 1, 59, 60, 99, 100, 5_999, 6_000])), 0),
            received_at,
            draw(_prices),
        )
        for number, received_at in enumerate(receipts)
    ]


def _interaction(
    event_id: str, name: str, occurred_at: int, received_at: int, price: FactValue
) -> Interaction:
    identifiers = (Identifier("cookie", "k"),)
    return Interaction(
        event_id,
        "track",
        name,
        "web",
        "shop",
        occurred_at,
        received_at,
        identifiers,
        {"price": price},
    )  # type: ignore[dict-item]


def _shards(stream: Iterable[tuple[str, Interaction]]) -> tuple[Shard, ...]:
    shards: dict[str, Shard] = {}
    for name, interaction in stream:
        shards[name] = apply(shards.get(name), interaction, _WORLD.config)
    return tuple(shards[name] for name in sorted(shards))


def _metrics(shards: Sequence[Shard], now_ms: int) -> dict[str, FactValue]:
    names = {trait.name for trait in _WORLD.config.traits}
    values = traits(shards, now_ms, _WORLD.config)
    return {name: value for name, value in values.items() if name in names}


def _expected_metrics(stream: Iterable[Interaction], now_ms: int) -> dict[str, FactValue]:
    expected: dict[str, FactValue] = {}
    orders = sorted((record for record in stream if record.name == "Order"), key=_order_key)
    for name, window in _WINDOWS.items():
        orders_in_window = [
            order for order in orders if window is None or order.occurred_at > now_ms - window
        ]
        for rule in _RULES:
            value = _expected_metric(rule, orders_in_window, window is not None)
            if value is not None:
                expected[f"{rule}_{name}"] = value
    return expected


def _order_key(interaction: Interaction) -> tuple[int, str]:
    return (interaction.occurred_at, interaction.event_id)


def _expected_metric(rule: str, orders: list[Interaction], is_windowed: bool) -> FactValue:
    prices = [interaction.properties["price"] for interaction in orders]
    numbers = [price for price in prices if isinstance(price, int | float) and price is not True]
    total = round(sum(numbers), 6)
    match rule:
        case "count":
            return len(orders) if orders or is_windowed else None
        case "sum":
            return total if numbers or is_windowed else None
        case "avg":
            return total / len(numbers) if numbers else None
        case "distinct":
            return len(set(map(_distinct_key, prices))) if orders or is_windowed else None
        case "union":
            return tuple(sorted({_text(price) for price in prices})) or None
        case "recency":
            return orders[-1].occurred_at if orders else None
        case "first":
            return prices[0] if prices else None
        case "latest":
            return prices[-1] if prices else None
        case "min":
            return min(prices, key=_rank, default=None)
        case _:
            return max(prices, key=_rank, default=None)


def _distinct_key(price: object) -> object:
    return (price is True, price)


def _text(price: object) -> str:
    return price if isinstance(price, str) else "true" if price is True else str(price)


def _rank(price: object) -> tuple[bool, float, str]:
    if isinstance(price, str):
        return (True, 0.0, price)
    return (False, float(price), type(price).__name__)  # type: ignore[arg-type]


def _are_equal(a: dict[str, FactValue], b: dict[str, FactValue]) -> bool:
    """Return whether values are equal; averages are floats, equal but for rounding."""
    return a.keys() == b.keys() and all(
        abs(a[name] - b[name]) < 1e-9 if name.startswith("avg") else a[name] == b[name]  # type: ignore[operator]
        for name in a
    )


@given(streams(), st.data())
def test_every_metric_equals_first_principles_at_every_receipt(
    stream: list[Interaction], data: st.DataObject
) -> None:
    names = [data.draw(st.sampled_from("ab")) for _ in stream]
    for count, interaction in enumerate(stream, start=1):
        shards = _shards(zip(names[:count], stream[:count], strict=True))
        assert _are_equal(
            _metrics(shards, interaction.received_at),
            _expected_metrics(stream[:count], interaction.received_at),
        )


@given(streams(), st.lists(st.integers(0, 7_000), min_size=1, max_size=5))
def test_metrics_change_by_time_only_at_the_named_moments(
    stream: list[Interaction], waits: list[int]
) -> None:
    # Metrics change only when they are due, and are still right a long time later.
    shards = _shards(("a", record) for record in stream)
    now_ms = stream[-1].received_at
    metrics_before = _metrics(shards, now_ms)
    end_ms = now_ms + sum(waits)
    while (due_at := _next_due_at(shards, now_ms)) is not None and due_at <= end_ms:
        assert due_at > now_ms
        assert _are_equal(_metrics(shards, due_at - 1), metrics_before)
        now_ms, metrics_before = due_at, _metrics(shards, due_at)
        assert _are_equal(metrics_before, _expected_metrics(stream, now_ms))
    assert _are_equal(_metrics(shards, end_ms), metrics_before)


def _next_due_at(shards: list[Shard], now_ms: int) -> int | None:
    return next_due(shards, traits(shards, now_ms, _WORLD.config), now_ms, _WORLD.config)


@given(streams(40), st.randoms(use_true_random=False))
def test_late_and_out_of_order_interactions_give_the_same_profile(
    stream: list[Interaction], shuffler: random.Random
) -> None:
    now_ms = stream[-1].received_at + 50
    shuffled_stream = list(stream)
    shuffler.shuffle(shuffled_stream)
    ordered_metrics = _metrics(_shards(("a", record) for record in stream), now_ms)
    assert (
        _metrics(_shards(("a", interaction) for interaction in shuffled_stream), now_ms)
        == ordered_metrics
    )


@given(streams(40), st.randoms(use_true_random=False))
def test_parts_of_a_shard_merge_in_any_order(
    stream: list[Interaction], shuffler: random.Random
) -> None:
    config = _WORLD.config
    parts = [apply(None, record, config) for record in stream]
    forward_merge = reduce(lambda a, b: merge(a, b, config), parts)
    shuffler.shuffle(parts)
    middle = shuffler.randint(0, len(parts) - 1)
    halves = [
        reduce(lambda a, b: merge(b, a, config), half)
        for half in (parts[:middle], parts[middle:])
        if half
    ]
    backward_merge = reduce(lambda a, b: merge(a, b, config), halves)
    for now_ms in range(forward_merge.clock, forward_merge.clock + 6_100, 301):
        assert _metrics([backward_merge], now_ms) == _metrics([forward_merge], now_ms)


@settings(max_examples=20)
@given(st.integers(100, 600), st.randoms(use_true_random=False))
def test_crowded_windows_are_right_to_a_pane(count: int, shuffler: random.Random) -> None:
    pane_ms = 100
    times = [shuffler.randint(0, _END_MS) for _ in range(count)]
    stream = [
        _interaction(f"e{n}", "Order", time_ms, _END_MS, 2) for n, time_ms in enumerate(times)
    ]
    shards = _shards((shuffler.choice("abc"), record) for record in stream)
    for now_ms in range(_END_MS, _END_MS + 6_200, 101):
        actual_metrics = _metrics(shards, now_ms)
        lower_bounds = _expected_metrics(stream, now_ms)
        upper_bounds = _expected_metrics(stream, now_ms - pane_ms)
        for name in ("count_long", "sum_long"):
            assert lower_bounds[name] <= actual_metrics[name] <= upper_bounds[name]  # type: ignore[operator]
