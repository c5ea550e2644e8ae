"""A preview, which has an event id of its own and the customer's rows, decides as the pipeline does
right after it: by rank the same, by draw with the same candidates and propensities."""

from copy import copy
from dataclasses import replace as with_fields
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config.model import Catalog, CatalogItem, ItemRule
from pipeline.decisioning.funds import wallet_of
from pipeline.flow import Flow
from pipeline.model.budget import BudgetRecord
from pipeline.model.decision import Decision
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import ADA, campaign, hero, offer, world

_GOAL: Final = {"when": {"name": "Bought"}, "window": "7d"}
_SLOTS: Final = (("web", "hero"), ("web", "banner"), ("email", None))
_SHARES: Final = st.sampled_from([0.0, 0.0, 0.5])
_offers = st.lists(
    st.tuples(
        st.integers(0, 2),  # campaign
        st.integers(-1, 9),  # value
        st.lists(st.sampled_from(_SLOTS), min_size=1, max_size=2, unique=True),
    ),
    min_size=1,
    max_size=5,
)
_parts = st.fixed_dictionaries(
    {
        "holdouts": st.tuples(_SHARES, _SHARES, _SHARES, _SHARES),
        "learns": st.booleans(),
        "budget": st.sampled_from([None, 0.5, 100.0]),
        "items": st.integers(0, 4),
        "capped": st.booleans(),
    }
)


def _rules(
    offers: list[tuple[int, int, list[tuple[str, str | None]]]], parts: dict[str, Any]
) -> Rules:
    *own_shares, of_all = parts["holdouts"]
    never = {"name": "Never"}
    campaigns = [campaign("idle", offer("idle", 1), trigger=never, goal=_GOAL)]
    for number, share in enumerate(own_shares):
        offers_of_campaign = [
            offer(
                f"o{index}",
                value,
                *(
                    {"treatment": f"t{index}-{placement or channel}", "channel": channel, "p": 0.5}
                    | ({} if placement is None else {"placement": placement})
                    for channel, placement in slots
                ),
            )
            for index, (of, value, slots) in enumerate(offers)
            if of == number
        ]
        if offers_of_campaign:
            budget = parts["budget"]
            campaigns.append(
                campaign(
                    f"c{number}", *offers_of_campaign, holdout=share, goal=_GOAL, budget=budget
                )
            )
    catalogs = []
    if parts["items"]:
        items = tuple(
            CatalogItem(f"i{n}", n / 2, stock=1 + n, attributes={"size": float(n)})
            for n in range(parts["items"])
        )
        catalogs.append(Catalog("items", "unread.csv", items=items, exclude=(ItemRule("seen"),)))
        tile = offer("item", 1, hero("tile", p=0.5), catalog="items")
        campaigns.append(campaign("shop", tile, goal=_GOAL, trigger=never))
    policies: dict[str, Any] = {"learning": {"ramp": 0}} if parts["learns"] else {}
    policies["holdouts"] = [{"holdout": "all", "share": of_all}] if of_all else []
    cap = {"cap": "one", "per": "offer", "max": 1, "window": "1d"}
    policies["caps"] = [cap] if parts["capped"] else []
    rules = world(campaigns=campaigns, catalogs=catalogs, policies=policies, traits=["seen"])
    return with_fields(rules, wallet=wallet_of(_budgets(rules)))


def _budgets(rules: Rules) -> list[BudgetRecord]:
    return [
        BudgetRecord(name, budget.period(0).name, 0, None, budget.amount / 1e6, 0, 0, 0, 0.5, 0)
        for name, budget in rules.config.budgets.items()
    ]


def _request_at(event_id: str, at: int) -> Interaction:
    request = DecideRequest("r", "g", ("hero", "banner"), at + 100, {"hero": 2})
    seen_property = {"seen": "i1"}
    return Interaction(
        event_id, "track", "Go", "web", "shop", at, at, ADA, seen_property, request=request
    )


def _run_decision(flow: Flow, interaction: Interaction) -> Decision:
    return next(
        emit.value
        for emit in flow.run(interaction)
        if isinstance(emit.value, Decision) and emit.value.event_id == interaction.event_id
    )


@settings(max_examples=cases(60), deadline=None)
@given(_offers, _parts, st.integers(0, 2))
def test_previews_come_true(
    offers: list[tuple[int, int, list[tuple[str, str | None]]]],
    parts: dict[str, Any],
    before: int,
) -> None:
    rules = _rules(offers, parts)
    pipeline = Flow(rules)
    for number in range(before):
        _run_decision(pipeline, _request_at(f"before-{number}", number + 1))
    preview = Flow(rules, lambda stage: copy(pipeline.rows[stage.name]))
    foreseen = _run_decision(preview, _request_at("preview", 50))
    decision = _run_decision(pipeline, _request_at("made", 50))
    assert foreseen.rejected == decision.rejected
    assert foreseen.contacts == decision.contacts
    if parts["learns"]:
        assert _candidates_of(foreseen) == _candidates_of(decision)
        first, second = foreseen.choices[0], decision.choices[0]
        if (first.slot, first.treatment) == (second.slot, second.treatment):
            assert first.propensity == second.propensity
        return
    assert foreseen.holdouts == decision.holdouts
    assert foreseen.candidates == decision.candidates
    assert [replace(choice, action_id=None) for choice in foreseen.choices] == [
        replace(choice, action_id=None) for choice in decision.choices
    ]


def _candidates_of(decision: Decision) -> set[tuple[str, str, float, float]]:
    return {
        (candidate.campaign, candidate.treatment, candidate.value, candidate.cost)
        for candidate in decision.candidates
    }
