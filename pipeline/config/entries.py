"""What campaigns propose, by the slot that it may fill."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.conditions import Compiled, duration_ms
from pipeline.conditions.compile import Read, reader
from pipeline.conditions.tree import Property, Trait
from pipeline.config import model
from pipeline.config.compiled import Campaign, Candidate, Entry
from pipeline.config.conditions import compiled
from pipeline.config.content import PROPERTY, names_in
from pipeline.config.dates import end_ms, start_ms


@dataclass(frozen=True, slots=True)
class Proposal:
    """A campaign with all its candidates, in the order of offers and treatments."""

    campaign: Campaign
    candidates: tuple[Candidate, ...]

    def conditions(self) -> Iterator[Compiled]:
        """All that decide whether something of it is said."""
        yield from (self.campaign.audience, self.campaign.trigger)
        yield from (one.when for one in self.candidates)


def proposals(bundle: model.Bundle) -> tuple[Proposal, ...]:
    """What each campaign proposes."""
    channels = {channel.name: channel for channel in bundle.channels.channels}
    return tuple(
        Proposal(_campaign(one), tuple(_candidates(one, channels))) for one in bundle.campaigns
    )


def by_placement(proposals: Iterable[Proposal]) -> Mapping[str, tuple[Entry, ...]]:
    """What answers each placement that may ask."""
    return _by_slot(proposals, lambda one: one.placement)


def outbound(proposals: Iterable[Proposal]) -> Mapping[str, tuple[Entry, ...]]:
    """What is sent on each channel without being asked for."""
    return _by_slot(proposals, lambda one: one.channel if one.placement is None else None)


def _by_slot(
    proposals: Iterable[Proposal], slot_of: Callable[[Candidate], str | None]
) -> Mapping[str, tuple[Entry, ...]]:
    """`slot_of` None: the candidate fills no slot of the kind."""
    slots: dict[str, tuple[Entry, ...]] = {}
    for proposal in proposals:
        filling: dict[str, list[Candidate]] = {}
        for one in proposal.candidates:
            if (slot := slot_of(one)) is not None:
                filling.setdefault(slot, []).append(one)
        for slot, candidates in filling.items():
            names = tuple(one.treatment for one in candidates)
            entry = Entry(proposal.campaign, tuple(candidates), names)
            slots[slot] = (*slots.get(slot, ()), entry)
    return slots


def _campaign(campaign: model.Campaign) -> Campaign:
    return Campaign(
        name=campaign.campaign,
        purpose=campaign.purpose,
        audience=compiled(campaign.audience),
        trigger=compiled(campaign.trigger),
        starts_ms=None if campaign.starts is None else start_ms(campaign.starts),
        ends_ms=None if campaign.ends is None else end_ms(campaign.ends),
    )


def _candidates(
    campaign: model.Campaign, channels: Mapping[str, model.Channel]
) -> Iterator[Candidate]:
    for offer in campaign.offers:
        when = compiled(offer.when)
        for treatment in offer.treatments:
            channel = channels[treatment.channel]
            cost = treatment.cost + channel.cost
            score = offer.value - cost
            yield Candidate(
                campaign=campaign.campaign,
                offer=offer.offer,
                treatment=treatment.treatment,
                channel=channel.name,
                placement=treatment.placement,
                address=treatment.address,
                purpose=campaign.purpose,
                value=offer.value,
                cost=cost,
                deadline_ms=duration_ms(treatment.deadline or channel.deadline),
                content=treatment.content,
                needs=tuple(_needs(treatment.content)),
                when=when,
                score=score,
                order=(-score, campaign.campaign, offer.offer, treatment.treatment),
            )


def _needs(content: Mapping[str, str]) -> Iterator[tuple[str, Read]]:
    names = dict.fromkeys(name for text in content.values() for name in names_in(text))
    for name in names:
        of = name.removeprefix(PROPERTY)
        yield name, reader(Trait(name) if of == name else Property(of))
