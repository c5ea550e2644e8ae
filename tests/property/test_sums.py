"""Sums are exact, or the nearest float, in whatever order numbers come, however large they are."""

import random
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import reduce

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.state import Shard
from pipeline.enrichment.view import traits
from pipeline.model.interaction import FactValue, Identifier, Interaction, Scalar
from tests.support.worlds import rules

_RULES = ("sum", "avg", "min", "max")
_CONFIG = rules(
    model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
        identity=model.Identity((model.Namespace("cookie"),)),
        channels=model.Channels((model.Channel("web"),)),
        profile=model.ProfileRules(
            tuple(
                model.TraitDefinition(
                    f"{rule}{window or ''}", rule, "properties.price", None, window
                )
                for rule in _RULES
                for window in (None, "1h")
            )
        ),
    )
).config
_DECODER = msgspec.msgpack.Decoder(Shard)

_numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([9e12, -9e12, 1e308, -1e308, 1.7e308, 0.1, 2**53, 2**53 + 1, -0.0, 0.0, True]),
)


def _apply(prices: Iterable[Scalar], shard: Shard | None = None) -> Shard:
    for index, price in enumerate(prices):
        interaction = Interaction(
            f"e{index}", "track", "Order", "web", "shop", 1_000, 1_000,
            (Identifier("cookie", "k"),), {"price": price},
        )  # fmt: skip
        shard = apply(shard, interaction, _CONFIG)
    assert shard is not None
    return _DECODER.decode(msgspec.msgpack.encode(shard))


def _traits_of(shards: Sequence[Shard]) -> dict[str, str]:
    values: dict[str, FactValue] = traits(shards, 1_000, _CONFIG)
    return {name: repr(value) for name, value in values.items() if name.startswith(_RULES)}


def test_sum_is_exact_where_its_parts_exceed_64_bits() -> None:
    for prices in ([9e12, 9e12, -9e12], [-9e12, 9e12, 9e12]):
        assert traits((_apply(prices),), 1_000, _CONFIG)["sum"] == 9 * 10**12
    for prices in ([1e308, 1e308, -1e308, 0.5], [0.5, -1e308, 1e308, 1e308]):
        values = traits((_apply(prices),), 1_000, _CONFIG)
        assert values["sum"] == values["sum1h"] == 1e308


def test_sum_beyond_the_largest_float_is_the_largest_of_its_sign() -> None:
    assert traits((_apply([1.7e308, 1.7e308]),), 1_000, _CONFIG)["sum"] == 1.7976931348623157e308
    assert traits((_apply([-1.7e308] * 2),), 1_000, _CONFIG)["sum"] == -1.7976931348623157e308


@given(st.lists(_numbers, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_order_and_shards_do_not_change_an_aggregate(
    prices: list[Scalar], shuffler: random.Random
) -> None:
    shuffled_prices = list(prices)
    shuffler.shuffle(shuffled_prices)
    split_index = shuffler.randrange(len(shuffled_prices) + 1)
    shards = [
        _apply(part)
        for part in (shuffled_prices[:split_index], shuffled_prices[split_index:])
        if part
    ]
    expected = _traits_of((_apply(prices),))
    assert _traits_of((_apply(shuffled_prices),)) == expected
    assert _traits_of(shards) == expected
    assert _traits_of((reduce(lambda a, b: merge(a, b, _CONFIG), shards),)) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30))
def test_sum_of_whole_numbers_is_exact_or_the_nearest_float(prices: list[int]) -> None:
    total = sum(prices)
    result = traits((_apply(prices),), 1_000, _CONFIG)["sum"]
    assert result == (total if -(2**63) <= total < 2**63 else float(Fraction(total)))
