"""Clock that a profile's timers follow."""

from pipeline.config import model
from pipeline.enrichment.view import is_on_log_clock
from pipeline.flow import Flow
from pipeline.model.interaction import Identifier, Interaction, Kind
from tests.support.worlds import rules

_VISITOR = (Identifier("cookie", "k"),)


def _interact(flow: Flow, number: int, kind: Kind, source: str) -> bool:
    """Process an interaction; return whether the profile's timers then follow a log."""
    name, times = "Cart", (number * 1_000, number * 1_000)
    list(flow.run(Interaction(f"e{number}", kind, name, "web", source, *times, _VISITOR)))
    (row,) = flow.rows["enrichment"].values()
    return is_on_log_clock(row)


def test_log_stays_the_clock_of_its_customers_over_outcomes_of_live_sources() -> None:
    flow = Flow(
        rules(
            model.Bundle(
                sources=model.Sources(
                    (
                        model.Source("log", "web", "write-key-1", clock="log"),
                        model.Source("shop", "web", "write-key-2"),
                    )
                ),
                identity=model.Identity((model.Namespace("cookie"),)),
                channels=model.Channels((model.Channel("web"),)),
                segments=(model.Segment("cart", {"name": "Cart"}),),
            )
        )
    )
    assert _interact(flow, 1, "track", "log")
    assert _interact(flow, 2, "outcome", "shop")
    assert not _interact(flow, 3, "track", "shop")
    assert not _interact(flow, 4, "outcome", "log")
