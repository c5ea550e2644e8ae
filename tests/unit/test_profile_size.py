"""The row of a frequent customer has a limit of size, and its counts are right."""

from collections.abc import Iterator

import msgspec
import pytest

from agents.idempotence import Row
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.enrichment import view
from pipeline.enrichment.panes import pane_length_ms
from pipeline.enrichment.shard import apply
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.shards import Shards
from pipeline.model.time import DAY_MS
from tests.benchmarks.configurations import make_bundle

_INTERACTION_COUNT = 100_000
_MAX_BYTES = 64 * 1024
_START_MS = 1_700_000_000_000
_INTERVAL_MS = 30_000
_PRODUCT_COUNT = 5_000
_NAMES = ("purchase", "cart", "catalog", "search")
_IDENTIFIERS = (Identifier("customer_id", "c"), Identifier("cookie", "d"))


def _yield_interactions() -> Iterator[Interaction]:
    for number in range(_INTERACTION_COUNT):
        time_ms = _START_MS + number * _INTERVAL_MS
        yield Interaction(
            event_id=f"e{number}",
            kind="track",
            name=_NAMES[number % len(_NAMES)],
            channel="web",
            source="bench",
            occurred_at=time_ms,
            received_at=time_ms,
            identifiers=_IDENTIFIERS,
            properties={
                "price": number % 90 + 0.25,
                "product_id": f"sku-{number % _PRODUCT_COUNT}",
            },
        )


def _purchase_count(window_ms: int, now_ms: int) -> int:
    """Return the number of purchases whose pane is at least partly in the window."""
    pane_ms = pane_length_ms(window_ms)
    purchase_interval_ms = len(_NAMES) * _INTERVAL_MS
    times = range(_START_MS, _START_MS + _INTERACTION_COUNT * _INTERVAL_MS, purchase_interval_ms)
    return sum(time_ms // pane_ms * pane_ms + pane_ms - 1 > now_ms - window_ms for time_ms in times)


@pytest.fixture(scope="module")
def config() -> Configuration:
    """Configuration of 20 metrics; 4 of them count distinct values."""
    config = compile_bundle(make_bundle(segments=4, metrics=20, offers=10))
    assert isinstance(config, Configuration)
    return config


def test_profile_of_100_000_interactions_stays_small_and_right(config: Configuration) -> None:
    shard: Shard | None = None
    for interaction in _yield_interactions():
        shard = apply(shard, interaction, config)
    assert shard is not None
    row = Row(ProfileState("customer_id:c", Shards({"customer_id:c/0": shard})))
    assert len(msgspec.msgpack.encode(row)) < _MAX_BYTES
    traits = view.traits((shard,), shard.clock, config)
    assert traits["interactions"] == _INTERACTION_COUNT
    assert traits["metric-0"] == _purchase_count(7 * DAY_MS, shard.clock)
    assert traits["metric-1"] == sum(
        i % 90 + 0.25 for i in range(1, _INTERACTION_COUNT, len(_NAMES))
    )
    assert traits["metric-2"] == shard.clock - _INTERVAL_MS
    assert traits["metric-3"] == pytest.approx(_PRODUCT_COUNT / len(_NAMES), rel=0.1)
    assert traits["metric-3.approximate"] is True
