"""Checks of campaigns beyond their form."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipeline.conditions import Path, Problem
from pipeline.config import model
from pipeline.config.budgets import has_budget
from pipeline.config.channel_checks import treatment_problems
from pipeline.config.contents import is_trait, is_unknown_context, templates
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.names import Names, check_name
from pipeline.config.odd_texts import text_fault
from pipeline.config.policy_checks import cap_problems, engagement_problems, repetition_problems
from pipeline.config.reach import unreachable_problems
from pipeline.config.templates import ITEM, TemplateProblem, foreign_name_fault
from pipeline.config.zones import zone


def campaign_problems(
    campaign: model.Campaign, path: Path, bundle: model.Bundle, names: Names
) -> Iterator[Problem]:
    """Check a campaign, except its conditions, and yield its problems."""
    yield from _date_problems(campaign, path)
    yield from _budget_problems(campaign, path, bundle)
    yield from engagement_problems(campaign, path, bundle, names)
    yield from cap_problems(campaign.caps, (*path, "caps"), bundle, names)
    if campaign.purpose == "transactional" and campaign.holdout > 0:
        message = (
            "holdouts do not apply to transactional messages: remove it, or change the purpose"
        )
        yield Problem((*path, "holdout"), message)
    if campaign.purpose == "transactional" and campaign.defer:
        message = "quiet hours do not hold transactional messages back: remove it"
        yield Problem((*path, "defer"), message)
    offers = [offer.offer for offer in campaign.offers]
    yield from repetition_problems("offer", (*path, "offers"), "offer", offers)
    channels = {channel.name: channel for channel in bundle.channels.channels}
    catalogs = {catalog.catalog: catalog for catalog in bundle.catalogs}
    for offer_index, offer in enumerate(campaign.offers):
        offer_path: Path = (*path, "offers", offer_index)
        yield from engagement_problems(offer, offer_path, bundle, names)
        yield from cap_problems(offer.caps, (*offer_path, "caps"), bundle, names)
        yield from _amount_problems(offer.value, (*offer_path, "value"), names)
        catalog = catalogs.get(offer.catalog or "")
        if offer.catalog is not None:
            yield from check_name("catalog", offer.catalog, catalogs, (*offer_path, "catalog"))
        treatments = [treatment.treatment for treatment in offer.treatments]
        yield from repetition_problems(
            "treatment", (*offer_path, "treatments"), "treatment", treatments
        )
        for treatment_index, treatment in enumerate(offer.treatments):
            treatment_path: Path = (*offer_path, "treatments", treatment_index)
            yield from engagement_problems(treatment, treatment_path, bundle, names)
            yield from _treatment_problems(treatment, treatment_path, channels, names)
            channel = channels.get(treatment.channel)
            if channel is not None:
                yield from treatment_problems(treatment, channel, campaign.purpose, treatment_path)
            yield from _item_name_problems(treatment, treatment_path, catalog)
            if treatment.placement is None and campaign.trigger is None:
                message = (
                    "no trigger sends this treatment: add a placement, or a trigger to the campaign"
                )
                yield Problem((*treatment_path, "treatment"), message)
    yield from unreachable_problems(campaign, path)


def _date_problems(entry: model.Campaign | model.Treatment, path: Path) -> Iterator[Problem]:
    times = []
    for field, text, read in (("starts", entry.starts, start_ms), ("ends", entry.ends, end_ms)):
        if text is None:
            continue
        try:
            times.append(read(text))
        except ValueError:
            message = f"{text!r} is not a date: write 2024-03-01 or 2024-03-01T09:00:00+01:00"
            yield Problem((*path, field), message)
    if len(times) == 2 and times[0] >= times[1]:
        yield Problem(
            (*path, "ends"),
            f"ends {entry.ends}, no later than it starts: set a later end, or swap the dates",
        )


def _budget_problems(
    campaign: model.Campaign, path: Path, bundle: model.Bundle
) -> Iterator[Problem]:
    budget, currency = campaign.budget, bundle.profile.enrichers.currency
    if has_budget(campaign, bundle):
        yield from _useless_budget_problems(campaign, path, bundle)
    if not isinstance(budget, model.Budget):
        return
    if zone(budget.zone) is None:
        yield Problem(
            (*path, "budget", "zone"),
            f"no time zone {budget.zone!r}: use an IANA name such as Europe/Madrid",
        )
    if budget.currency is None:
        return
    currency_path = (*path, "budget", "currency")
    if currency is None:
        message = "set your own currency in profile.yaml: enrichers.currency.to"
        yield Problem(currency_path, f"{budget.currency}: {message}")
    elif budget.currency != currency.to:
        message = f"money is in {currency.to} here: convert the amount"
        yield Problem(currency_path, f"a budget in {budget.currency}, but {message}")


def _useless_budget_problems(
    campaign: model.Campaign, path: Path, bundle: model.Bundle
) -> Iterator[Problem]:
    """Yield a problem where a budget is too small for any of the campaign's messages."""
    channels = {channel.name: channel.cost for channel in bundle.channels.channels}
    costs = [
        treatment.cost + channels.get(treatment.channel, 0)
        for offer in campaign.offers
        for treatment in offer.treatments
    ]
    budget, budget_path = campaign.budget, (*path, "budget")
    if isinstance(budget, model.Budget):
        budget, budget_path = budget.amount, (*budget_path, "amount")
    if budget is not None and costs and min(costs) > budget:
        message = f"{budget:g} pays for no message, since the cheapest costs {min(costs):g}"
        yield Problem(budget_path, f"{message}: raise it, or end the campaign with `ends`")


def _treatment_problems(
    treatment: model.Treatment, path: Path, channels: Mapping[str, model.Channel], names: Names
) -> Iterator[Problem]:
    yield from check_name("channel", treatment.channel, names.channels, (*path, "channel"))
    if treatment.address is not None:
        yield from check_name("namespace", treatment.address, names.namespaces, (*path, "address"))
    channel = channels.get(treatment.channel)
    if channel is not None and treatment.placement is not None:
        placement_path = (*path, "placement")
        yield from check_name("placement", treatment.placement, channel.placements, placement_path)
    yield from _date_problems(treatment, path)
    yield from _amount_problems(treatment.value, (*path, "value"), names)
    yield from _amount_problems(treatment.p, (*path, "p"), names)
    yield from _content_problems(treatment, path, channel, names)


def _amount_problems(amount: model.Amount | None, path: Path, names: Names) -> Iterator[Problem]:
    if isinstance(amount, model.Reckoned):
        yield from check_name("trait", amount.trait, names.traits, (*path, "trait"))


def _item_name_problems(
    treatment: model.Treatment, path: Path, catalog: model.Catalog | None
) -> Iterator[Problem]:
    """Yield problems of the names in a content that are attributes of a catalogue's items."""
    items = catalog.items if catalog is not None else ()
    attribute_names = {f"{ITEM}{name}" for item in items for name in item.attributes}
    for part, template in templates(treatment, None):
        for name in () if isinstance(template, TemplateProblem) else template.names:
            content_path = (*path, "content", part)
            if name.startswith(ITEM) and catalog is None:
                yield Problem(
                    content_path, f"{name}: the offer names no `catalog` with this attribute"
                )
            elif name.startswith(ITEM) and items:
                yield from check_name("attribute", name, attribute_names, content_path)


def _content_problems(
    treatment: model.Treatment, path: Path, channel: model.Channel | None, names: Names
) -> Iterator[Problem]:
    read_names: set[str] = set()
    is_valid = True
    for part, text in treatment.content.items():
        fault = text_fault(text) or foreign_name_fault(text)
        if fault is not None:
            yield Problem((*path, "content", part), fault)
    for part, template in templates(treatment, channel):
        content_path = (*path, "content", part)
        if isinstance(template, TemplateProblem):
            is_valid = False
            yield Problem(content_path, template.message)
            continue
        read_names.update(template.names)
        for name in template.names:
            if is_unknown_context(name):
                yield Problem(
                    content_path, f"there is no {name}: context has locale, timezone, url..."
                )
            elif is_trait(name):
                for problem in check_name("trait", name, names.traits, content_path):
                    message = f"{problem.message} (a property is written properties.{name})"
                    yield replace(problem, message=message)
    for name in treatment.defaults if is_valid else ():
        yield from check_name("name in the content", name, read_names, (*path, "defaults", name))
