"""Proposals of campaigns, by the slot that they may fill."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from pipeline.conditions import CompiledCondition, duration_ms
from pipeline.config import amounts, model, policies
from pipeline.config.budgets import BudgetRule, budget_rules
from pipeline.config.catalogs import compile_items, traits_of
from pipeline.config.compiled import (
    APPLICABILITY,
    ELIGIBILITY,
    STAGES,
    SUITABILITY,
    CompiledCampaign,
    CompiledCandidate,
    CompiledConsent,
    CompiledHoldout,
    CompiledScope,
    CompiledWeight,
    Entry,
    Gate,
    Worth,
)
from pipeline.config.conditions import compile_condition
from pipeline.config.contents import content, drop_item_names, is_trait
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.names import address_trait
from pipeline.model.budget import tokens


@dataclass(frozen=True, slots=True)
class Proposal:
    """Campaign with all its candidates, in the order of offers and treatments.

    `traits`: traits read outside conditions.
    """

    campaign: CompiledCampaign
    candidates: tuple[CompiledCandidate, ...]
    traits: frozenset[str]

    def conditions(self) -> Iterator[CompiledCondition]:
        """Yield all conditions of the campaign and its candidates."""
        yield self.campaign.trigger
        yield from (gate.condition for gate in self.campaign.gates)
        for candidate in self.candidates:
            yield from (gate.condition for gate in candidate.gates)
            yield from (consent.condition for consent in candidate.consents)
            yield from (weight.condition for weight in candidate.weights)


def proposals(bundle: model.Bundle) -> tuple[Proposal, ...]:
    """Compile the proposals of all campaigns."""
    parts = _PolicyParts.of(bundle)
    return tuple(_proposal(campaign, parts) for campaign in bundle.campaigns)


def entries_by_placement(proposals: Iterable[Proposal]) -> Mapping[str, tuple[Entry, ...]]:
    """Return the candidates of each placement."""
    entries: dict[str, tuple[Entry, ...]] = {}
    for proposal in proposals:
        candidates_by_placement: dict[str, list[CompiledCandidate]] = {}
        for candidate in proposal.candidates:
            if candidate.placement is not None:
                candidates_by_placement.setdefault(candidate.placement, []).append(candidate)
        for placement, candidates in candidates_by_placement.items():
            entry = _entry(proposal.campaign, candidates)
            entries[placement] = (*entries.get(placement, ()), entry)
    return entries


def outbound_entries(proposals: Iterable[Proposal]) -> tuple[Entry, ...]:
    """Return the candidates without a placement, on all channels together."""
    groups = (
        (
            proposal.campaign,
            [candidate for candidate in proposal.candidates if candidate.placement is None],
        )
        for proposal in proposals
    )
    return tuple(_entry(campaign, candidates) for campaign, candidates in groups if candidates)


def _entry(campaign: CompiledCampaign, candidates: list[CompiledCandidate]) -> Entry:
    names = tuple(candidate.treatment for candidate in candidates)
    first_stage = min(_earliest_stage(candidate) for candidate in candidates)
    return Entry(campaign, tuple(candidates), names, first_stage)


def _earliest_stage(candidate: CompiledCandidate) -> int:
    if (
        candidate.address is not None
        or candidate.starts_ms is not None
        or candidate.ends_ms is not None
    ):
        return ELIGIBILITY
    return min((gate.stage for gate in candidate.gates), default=SUITABILITY)


@dataclass(frozen=True, slots=True)
class _PolicyParts:
    """Policies with their scopes, and other parts of a bundle that candidates refer to."""

    channels: Mapping[str, model.Channel]
    catalogs: Mapping[str, model.Catalog]
    budgets: Mapping[str, BudgetRule]
    gates: tuple[tuple[model.Scope, Gate], ...]
    consents: tuple[tuple[CompiledScope, CompiledConsent], ...]
    weights: tuple[tuple[CompiledScope, CompiledWeight], ...]
    holdouts: tuple[tuple[CompiledScope, CompiledHoldout], ...]

    @classmethod
    def of(cls, bundle: model.Bundle) -> "_PolicyParts":
        policies_file = bundle.policies
        purposes = policies.PURPOSES_EXCEPT_TRANSACTIONAL
        return cls(
            channels={channel.name: channel for channel in bundle.channels.channels},
            catalogs={catalog.catalog: catalog for catalog in bundle.catalogs},
            budgets=budget_rules(bundle),
            gates=tuple(
                (rule.scope, policies.gate(stage, rule))
                for stage, rule in policies.rules_of(policies_file)
            ),
            consents=tuple(
                (
                    policies.scope(consent.scope, purposes),
                    CompiledConsent(consent.consent, compile_condition(consent.when)),
                )
                for consent in policies_file.consent
            ),
            weights=tuple(
                (
                    policies.scope(weight.scope),
                    CompiledWeight(weight.weight, weight.factor, compile_condition(weight.when)),
                )
                for weight in policies_file.weights
            ),
            holdouts=tuple(
                (
                    policies.scope(holdout.scope, purposes),
                    CompiledHoldout(holdout.holdout, holdout.share),
                )
                for holdout in policies_file.holdouts
            ),
        )


@dataclass(frozen=True, slots=True)
class _ScopeFields:
    """Fields of a candidate that scopes read."""

    issue: str | None
    group: str | None
    offer: str | None
    campaign: str
    treatment: str | None
    channel: str | None
    purpose: str


def _proposal(campaign: model.Campaign, parts: _PolicyParts) -> Proposal:
    candidates = tuple(_candidates(campaign, parts))
    return Proposal(
        _campaign(campaign, parts), candidates, frozenset(_traits(campaign, candidates, parts))
    )


def _traits(
    campaign: model.Campaign, candidates: Iterable[CompiledCandidate], parts: _PolicyParts
) -> Iterator[str]:
    for candidate in candidates:
        yield from (name for name, _ in candidate.content.reads if is_trait(name))
        if candidate.address is not None:
            yield address_trait(candidate.address)
    for offer in campaign.offers:
        if offer.catalog is not None:
            yield from traits_of(parts.catalogs[offer.catalog])
        for treatment in offer.treatments:
            yield from amounts.traits_of(offer.value, treatment.value, treatment.p)


def _campaign(campaign: model.Campaign, parts: _PolicyParts) -> CompiledCampaign:
    fields = _ScopeFields(None, None, None, campaign.campaign, None, None, campaign.purpose)
    gates = [
        gate
        for gate_scope, gate in parts.gates
        if policies.applies_to_whole_campaigns(gate_scope)
        and policies.scope(gate_scope).covers(fields)
    ]
    gates += [
        policies.gate(stage, rule)
        for stage, rule in policies.rules_of(campaign)
        if policies.applies_to_whole_campaigns(rule.scope)
        and policies.scope(rule.scope).covers(fields)
    ]
    if campaign.audience is not None:
        gates.insert(0, _built_in_gate(ELIGIBILITY, "audience", campaign.audience))
    return CompiledCampaign(
        name=campaign.campaign,
        purpose=campaign.purpose,
        trigger=compile_condition(campaign.trigger),
        starts_ms=None if campaign.starts is None else start_ms(campaign.starts),
        ends_ms=None if campaign.ends is None else end_ms(campaign.ends),
        gates=_sort_by_stage(gates),
        defers=campaign.defer,
    )


def _built_in_gate(stage: int, rule: str, condition: model.Condition) -> Gate:
    return Gate(stage, f"{STAGES[stage]}/{rule}", compile_condition(condition))


def _sort_by_stage(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    return tuple(sorted(gates, key=lambda gate: gate.stage))


def _candidates(campaign: model.Campaign, parts: _PolicyParts) -> Iterator[CompiledCandidate]:
    for offer in campaign.offers:
        for treatment in offer.treatments:
            candidate = _candidate(campaign, offer, treatment, parts)
            if offer.catalog is not None:
                catalog = parts.catalogs[offer.catalog]
                items = compile_items(catalog, candidate, treatment.p, parts.budgets.keys())
                candidate = replace(
                    candidate, items=items, content=drop_item_names(candidate.content)
                )
            yield candidate


def _candidate(
    campaign: model.Campaign, offer: model.Offer, treatment: model.Treatment, parts: _PolicyParts
) -> CompiledCandidate:
    channel = parts.channels[treatment.channel]
    cost = treatment.cost + channel.cost
    value = offer.value if treatment.value is None else treatment.value
    fields = _scope_fields(campaign, offer, treatment)
    candidate = CompiledCandidate(
        campaign=campaign.campaign,
        issue=offer.issue,
        group=offer.group,
        offer=offer.offer,
        treatment=treatment.treatment,
        channel=channel.name,
        placement=treatment.placement,
        address=treatment.address,
        purpose=campaign.purpose,
        transactional=campaign.purpose == "transactional",
        p=amounts.probability(treatment.p),
        value=amounts.reckon(value),
        cost=cost,
        lever=_lever(campaign, offer, treatment),
        worth=None,
        starts_ms=None if treatment.starts is None else start_ms(treatment.starts),
        ends_ms=None if treatment.ends is None else end_ms(treatment.ends),
        deadline_ms=duration_ms(treatment.deadline or channel.deadline),
        confirm_ms=None if channel.confirm_within is None else duration_ms(channel.confirm_within),
        content=content(treatment, channel),
        gates=_sort_by_stage(_gates(campaign, offer, treatment, parts, fields)),
        consents=tuple(consent for scope, consent in parts.consents if scope.covers(fields)),
        weights=tuple(weight for scope, weight in parts.weights if scope.covers(fields)),
        holdouts=(
            *(holdout for scope, holdout in parts.holdouts if scope.covers(fields)),
            *_campaign_holdouts(campaign),
        ),
        tie=(campaign.campaign, offer.offer, treatment.treatment),
        draws=_draws(campaign.campaign, cost, parts),
    )
    if candidate.weights:
        return candidate
    return replace(candidate, worth=_worth(candidate, value, treatment.p))


def _scope_fields(
    campaign: model.Campaign, offer: model.Offer, treatment: model.Treatment
) -> _ScopeFields:
    return _ScopeFields(
        issue=offer.issue,
        group=offer.group,
        offer=offer.offer,
        campaign=campaign.campaign,
        treatment=treatment.treatment,
        channel=treatment.channel,
        purpose=campaign.purpose,
    )


def _draws(campaign: str, cost: float, parts: _PolicyParts) -> tuple[tuple[str, int], ...]:
    """Return the budgets that a message of this cost spends, with tokens."""
    return ((campaign, tokens(cost)),) if cost > 0 and campaign in parts.budgets else ()


def _lever(campaign: model.Campaign, offer: model.Offer, treatment: model.Treatment) -> float:
    levers = (campaign.levers, offer.levers, treatment.levers)
    return prod((factor for lever in levers for factor in lever.values()), start=1.0)


def _worth(candidate: CompiledCandidate, value: model.Amount, p: model.Probability) -> Worth | None:
    """Return the worth where it is the same for all customers, else None."""
    if isinstance(value, model.Reckoned) or isinstance(p, model.Reckoned):
        return None
    return amounts.worth(
        p, value, candidate.cost, candidate.lever, candidate.transactional, candidate.tie
    )


def _campaign_holdouts(campaign: model.Campaign) -> Iterator[CompiledHoldout]:
    if campaign.holdout > 0 and campaign.purpose != "transactional":
        yield CompiledHoldout(f"campaign/{campaign.campaign}", campaign.holdout)


def _gates(
    campaign: model.Campaign,
    offer: model.Offer,
    treatment: model.Treatment,
    parts: _PolicyParts,
    fields: _ScopeFields,
) -> Iterator[Gate]:
    """Yield the gates of a candidate beyond those of its campaign."""
    if offer.when is not None:
        yield _built_in_gate(APPLICABILITY, "offer condition", offer.when)
    for scope, gate in parts.gates:
        if not policies.applies_to_whole_campaigns(scope) and policies.scope(scope).covers(fields):
            yield gate
    for stage, rule in policies.rules_of(campaign):
        if not policies.applies_to_whole_campaigns(rule.scope) and policies.scope(
            rule.scope
        ).covers(fields):
            yield policies.gate(stage, rule)
    for engagement in (offer, treatment):
        for stage, rule in policies.rules_of(engagement):
            if policies.scope(rule.scope).covers(fields):
                yield policies.gate(stage, rule)
