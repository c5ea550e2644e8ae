"""Played logs spend each budget and stock from one purse, with the learner's pacing."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.model import Catalog, CatalogItem
from pipeline.model.decision import Action, Decision
from pipeline.model.fingerprint import fingerprint
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.replay.playing import LogPlayer
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import campaign, fates, hero, offer, world

_START_MS: Final = 1_700_006_400_000  # 2023-11-15 00:00 UTC


class _Play:
    """Player of a log, with its decisions and actions."""

    def __init__(self, rules: Rules) -> None:
        self.decisions: list[Decision] = []
        self.actions: list[Action] = []
        self.player = LogPlayer(rules, self._take)
        self._count = 0

    def ask_for_offer(self, person: int, time_ms: int, placements: Iterable[str] = ()) -> Decision:
        self._interact(person, time_ms, "Go", "track", {}, tuple(placements))
        return self.decisions[-1]

    def react(self, action: Action, outcome: str, time_ms: int) -> None:
        number = int(action.identifier.value[1:])
        self._interact(number, time_ms, outcome, "outcome", {"action_id": action.action_id}, ())

    def _interact(
        self,
        person: int,
        time_ms: int,
        name: str,
        kind: Any,
        properties: dict[str, Any],
        placements: tuple[str, ...],
    ) -> None:
        self._count += 1
        request = (
            DecideRequest(f"r{self._count}", "g", placements, time_ms + 100) if placements else None
        )
        identifier = Identifier("customer_id", f"c{person}")
        interaction = Interaction(
            f"e{self._count}",
            kind,
            name,
            "web",
            "shop",
            time_ms,
            time_ms,
            (identifier,),
            properties,
            request=request,
        )
        self.player.play(interaction)

    def _take(self, emits: Iterable[Emit]) -> None:
        for emit in emits:
            match emit.value:
                case Decision() as decision:
                    self.decisions.append(decision)
                case Action() as action:
                    self.actions.append(action)

    def spending(self) -> float:
        [budget] = self.player.budgets.report(self.player.now_ms or 0)
        return budget.spent


def _sale(budget: Any, **parts: Any) -> Rules:
    return world(campaigns=[campaign("sale", offer("shoes", 5), budget=budget, **parts)])


def test_nothing_is_sent_beyond_a_budget_and_a_bounce_gives_back() -> None:
    play = _Play(_sale(2))  # an e-mail costs 0.5
    for number in range(6):
        play.ask_for_offer(number, _START_MS + number)
    assert len(play.actions) == 4
    assert fates(play.decisions[-1]) == {"shoes-email": "budget sale"}
    play.react(play.actions[0], "bounce", _START_MS + 50)
    assert play.spending() == 1.5
    play.ask_for_offer(7, _START_MS + 100)
    assert len(play.actions) == 5
    play.ask_for_offer(8, _START_MS + 101)
    assert len(play.actions) == 5
    assert play.spending() == 2.0


def test_daily_budget_is_renewed_each_day_and_lasts_for_the_day() -> None:
    play = _Play(_sale({"amount": 10, "per": "day"}))
    for number in range(3 * 24 * 10):
        play.ask_for_offer(number, _START_MS + number * HOUR_MS // 10)
    counts_by_day = Counter((action.created_at - _START_MS) // DAY_MS for action in play.actions)
    assert all(15 <= counts_by_day[day] <= 20 for day in range(3)), counts_by_day
    morning_actions = [
        action for action in play.actions if action.created_at < _START_MS + DAY_MS // 2
    ]
    assert len(morning_actions) <= 13  # half of the day's 20, and a margin
    assert any(budget.price > 0 for decision in play.decisions for budget in decision.budgets)


def test_budget_continues_after_days_without_interactions() -> None:
    play = _Play(_sale({"amount": 100, "per": "day"}))
    play.ask_for_offer(1, _START_MS)
    play.ask_for_offer(2, _START_MS + 40 * DAY_MS + 5)
    assert len(play.actions) == 2
    assert play.spending() == 0.5


def test_item_is_offered_as_often_as_its_stock_allows() -> None:
    items = (CatalogItem("rare", 9.0, stock=2), CatalogItem("plain", 1.0))
    tile = hero("tile")
    rules = world(
        campaigns=[campaign("c", offer("item", 1, tile, catalog="items"), trigger={"name": "No"})],
        catalogs=[Catalog("items", "unread.csv", items=items)],
    )
    play = _Play(rules)
    for number in range(5):
        play.ask_for_offer(number, _START_MS + number, placements=["hero"])
    assert [action.offer for action in play.actions] == [
        "rare",
        "rare",
        "plain",
        "plain",
        "plain",
    ]
    assert play.decisions[-1].rejected["eligibility/out of stock"] == ("tile: 1 items",)


_steps = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(1, 30 * HOUR_MS), st.sampled_from(["", "bounce", "click"])
    ),
    max_size=25,
)


@settings(max_examples=cases(60), deadline=None)
@given(_steps, st.sampled_from(["day", "week", "campaign"]), st.integers(1, 8))
def test_spending_never_exceeds_the_budget_and_an_ample_budget_changes_no_decision(
    steps: list[tuple[int, int, str]], per: str, message_count: int
) -> None:
    def budget(amount: float) -> Any:
        return amount if per == "campaign" else {"amount": amount, "per": per}

    scarce_play, ample_play, free_play = (
        _Play(_sale(budget(message_count * 0.5))),
        _Play(_sale(budget(10_000_000))),
        _Play(_sale(None)),
    )
    for play in (scarce_play, ample_play, free_play):
        time_ms = _START_MS
        for person, delay, outcome in steps:
            time_ms += delay
            action_count = len(play.actions)
            play.ask_for_offer(person, time_ms)
            if outcome and len(play.actions) > action_count:
                play.react(play.actions[-1], outcome, time_ms + 1)
            if play is scarce_play:
                assert 0 <= play.spending() <= message_count * 0.5
    assert fingerprint(ample_play.decisions) == fingerprint(free_play.decisions)
