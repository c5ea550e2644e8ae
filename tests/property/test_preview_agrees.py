"""Previews on a customer's rows decide as the pipeline does right after them: the same where offers
are ranked, with the same candidates and propensities where they are drawn."""

from copy import copy
from dataclasses import replace as with_fields
from typing import Any, Final, NamedTuple

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


class _PreviewOffer(NamedTuple):
    """Offer with its campaign's number, and its slots: channel and placement of each."""

    campaign_number: int
    value: int
    slots: list[tuple[str, str | None]]


_offers = st.lists(
    st.builds(
        _PreviewOffer,
        st.integers(0, 2),
        st.integers(-1, 9),
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


def _rules(offers: list[_PreviewOffer], parts: dict[str, Any]) -> Rules:
    *own_shares, all_share = parts["holdouts"]
    never_event = {"name": "Never"}
    campaigns = [campaign("idle", offer("idle", 1), trigger=never_event, goal=_GOAL)]
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
            for index, (campaign_number, value, slots) in enumerate(offers)
            if campaign_number == number
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
        catalogs.append(_catalog(parts["items"]))
        tile = offer("item", 1, hero("tile", p=0.5), catalog="items")
        campaigns.append(campaign("shop", tile, goal=_GOAL, trigger=never_event))
    policies: dict[str, Any] = {"learning": {"ramp": 0}} if parts["learns"] else {}
    policies["holdouts"] = [{"holdout": "all", "share": all_share}] if all_share else []
    cap = {"cap": "one", "per": "offer", "max": 1, "window": "1d"}
    policies["caps"] = [cap] if parts["capped"] else []
    rules = world(campaigns=campaigns, catalogs=catalogs, policies=policies, traits=["seen"])
    return with_fields(rules, wallet=wallet_of(_budgets(rules)))


def _catalog(count: int) -> Catalog:
    items = tuple(
        CatalogItem(f"i{n}", n / 2, stock=1 + n, attributes={"size": float(n)})
        for n in range(count)
    )
    return Catalog("items", "unread.csv", items=items, exclude=(ItemRule("seen"),))


def _budgets(rules: Rules) -> list[BudgetRecord]:
    return [
        BudgetRecord(name, budget.period(0).name, 0, None, budget.amount / 1e6, 0, 0, 0, 0.5, 0)
        for name, budget in rules.config.budgets.items()
    ]


def _request_at(event_id: str, time_ms: int) -> Interaction:
    request = DecideRequest("r", "g", ("hero", "banner"), time_ms + 100, {"hero": 2})
    seen_property = {"seen": "i1"}
    return Interaction(
        event_id,
        "track",
        "Go",
        "web",
        "shop",
        time_ms,
        time_ms,
        ADA,
        seen_property,
        request=request,
    )


def _decide(flow: Flow, interaction: Interaction) -> Decision:
    return next(
        emit.value
        for emit in flow.run(interaction)
        if isinstance(emit.value, Decision) and emit.value.event_id == interaction.event_id
    )


@settings(max_examples=cases(60), deadline=None)
@given(_offers, _parts, st.integers(0, 2))
def test_preview_equals_the_decision_that_follows(
    offers: list[_PreviewOffer],
    parts: dict[str, Any],
    earlier_count: int,
) -> None:
    rules = _rules(offers, parts)
    pipeline = Flow(rules)
    for number in range(earlier_count):
        _decide(pipeline, _request_at(f"before-{number}", number + 1))
    preview = Flow(rules, lambda stage: copy(pipeline.rows[stage.name]))
    preview_decision = _decide(preview, _request_at("preview", 50))
    decision = _decide(pipeline, _request_at("made", 50))
    assert preview_decision.rejected == decision.rejected
    assert preview_decision.contacts == decision.contacts
    if parts["learns"]:
        assert _candidates_of(preview_decision) == _candidates_of(decision)
        preview_choice, choice = preview_decision.choices[0], decision.choices[0]
        if (preview_choice.slot, preview_choice.treatment) == (choice.slot, choice.treatment):
            assert preview_choice.propensity == choice.propensity
        return
    assert preview_decision.holdouts == decision.holdouts
    assert preview_decision.candidates == decision.candidates
    assert [replace(choice, action_id=None) for choice in preview_decision.choices] == [
        replace(choice, action_id=None) for choice in decision.choices
    ]


def _candidates_of(decision: Decision) -> set[tuple[str, str, float, float]]:
    return {
        (candidate.campaign, candidate.treatment, candidate.value, candidate.cost)
        for candidate in decision.candidates
    }
