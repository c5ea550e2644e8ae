"""A cart of the demonstration: one e-mail if it is left for an hour, none if it is bought."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.config_files import load
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.time import DAY_MS
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_BEGIN_MS = 1_700_000_000_000
_MINUTE_MS = 60_000
_IDENTIFIERS = (Identifier("customer_id", "c"), Identifier("email", "c@example.com"))


@pytest.fixture
def flow() -> Flow:
    bundle = load(_DEMO)
    assert isinstance(bundle, Bundle)
    return Flow(rules(bundle))


def _visit(flow: Flow, name: str, minute: int) -> Iterator[Emit]:
    at = _BEGIN_MS + minute * _MINUTE_MS
    interaction = Interaction(f"e{minute}", "track", name, "web", "web-shop", at, at, _IDENTIFIERS)
    return flow.run(interaction)


def _mails(emits: Iterator[Emit]) -> list[tuple[str, int]]:
    """Return each mail's campaign and the minutes from the beginning to it."""
    actions = [emit.value for emit in emits if emit.topic == "actions.email"]
    return [
        (action.campaign, (action.created_at - _BEGIN_MS) // _MINUTE_MS)
        for action in actions
        if isinstance(action, Action)
    ]


def test_cart_left_for_an_hour_gives_one_mail(flow: Flow) -> None:
    assert not _mails(_visit(flow, "add_to_cart", 0))
    assert not _mails(flow.advance(_BEGIN_MS + 60 * _MINUTE_MS - 1))
    assert _mails(flow.advance(_BEGIN_MS + 60 * _MINUTE_MS)) == [("cart-recovery", 60)]
    assert not _mails(flow.advance(_BEGIN_MS + 6 * DAY_MS))


def test_cart_bought_at_59_minutes_gives_no_mail(flow: Flow) -> None:
    list(_visit(flow, "add_to_cart", 0))
    mails_after_purchase = _mails(_visit(flow, "purchase", 59))
    later_mails = _mails(flow.advance(_BEGIN_MS + 6 * DAY_MS))
    assert "cart-recovery" not in {
        campaign for campaign, _ in (*mails_after_purchase, *later_mails)
    }
    assert mails_after_purchase
