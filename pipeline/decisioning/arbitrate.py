"""Arbitration: candidates compete for slots, and the best that nothing holds back wins each.

`nothing` is always a candidate, and scores 0. An offer, its treatment and its channel are chosen
together: outbound, all channels compete at once, a campaign says one thing, and a channel carries
one message. A transactional message competes only with others of its own campaign.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.catalogs import BEYOND, ITEM_SIGN
from pipeline.config.compiled import CatalogItems, CompiledCandidate, Entry
from pipeline.decisioning.constraints import Standing
from pipeline.decisioning.eligibility import Moment, campaign_objection, objection
from pipeline.decisioning.funds import OUT_OF_STOCK, reserve
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.holdouts import draw
from pipeline.decisioning.impact import asked_stages, price_for
from pipeline.decisioning.price import rank
from pipeline.decisioning.render import Unsayable, render
from pipeline.model import decision as record_of
from pipeline.model.decision import Assignment, Choice, Contact, Spend
from pipeline.model.ids import action_id
from pipeline.rules import Rules
from pipeline.rules.chooser import Priced
from pipeline.rules.knowledge import NONE, TreatmentEvidence

NOTHING = "nothing"
"""Candidate that says nothing; it scores 0."""

BEATEN_BY = "beaten by "


def items_felled(treatment: str, count: int) -> str:
    """Return how a Decision tells of items that one rule fells, which are too many to name."""
    return f"{treatment}: {count} items"


def place_in(placement: str, place: int) -> str:
    """Return the slot of a place in a placement, counted from 1."""
    return placement if place == 1 else f"{placement}#{place}"


@dataclass(frozen=True, slots=True)
class Win:
    """Winner of a slot: a candidate and its content."""

    slot: str
    action_id: str
    candidate: CompiledCandidate
    content: dict[str, str]


class Odds(Struct, frozen=True):
    """Probability of a choice, and whether it was drawn alike from all that could pay."""

    propensity: float = 1.0
    explored: bool = False

    def of(self, choice: Choice) -> Choice:
        """Return the choice with its odds."""
        if self is SURE:
            return choice
        return replace(choice, propensity=self.propensity, explored=self.explored)


SURE: Final = Odds()
"""Odds of a choice that nothing is drawn for."""


@dataclass(slots=True)
class Arbitration:
    """The slots of one decision, filled one after the other; each winner counts under the caps of
    those after it (`unsettled`: it does not yet in `standing`). `arm`: of impact tests.

    `spent`: tokens that winners take, by budget; `read`: the budgets that were looked at.
    """

    decision_id: str
    moment: Moment
    known: Remembered
    rules: Rules
    standing: Standing
    arm: str | None = None
    unsettled: bool = False
    choices: list[Choice] = field(default_factory=list)
    wins: list[Win] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    judged: list[record_of.Candidate] = field(default_factory=list)
    rejected: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    drawn: dict[str, Assignment] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    spends: list[Spend] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def answer(self, placement: str, entries: Sequence[Entry], channel: str, limit: int) -> None:
        """Fill a placement that asked, with at most `limit` different offers in order."""
        contest = _Contest({})
        place = 1
        for one in self.rank_eligible(entries, asked=True, limit=limit):
            slot = place_in(placement, place)
            offer = one.candidate.campaign, one.candidate.offer
            self._judge(one, slot, contest, (offer, slot))
            if place < limit and contest.slots[slot]:
                place += 1
        if not contest.slots.get(placement):
            self.choices.append(Choice(placement, channel))

    def send(self, entries: Sequence[Entry]) -> None:
        """Fill the channels of those that a trigger fires."""
        self.contend(self.rank_eligible(entries, asked=False))

    def contend(self, ranked: Iterable[Priced]) -> None:
        """Fill the channels of candidates, the best first."""
        contest = _Contest({})
        for one in ranked:
            campaign, channel = one.candidate.campaign, one.candidate.channel
            if one.candidate.transactional:
                self._judge(one, f"{channel}/{campaign}", contest, ((campaign,),))
            else:
                self._judge(one, channel, contest, ((campaign,), channel))
        for slot, filled in contest.slots.items():
            if not filled:
                self.choices.append(Choice(slot, slot.partition("/")[0]))

    def rank_eligible(self, entries: Sequence[Entry], asked: bool, limit: int = 1) -> list[Priced]:
        """Return the candidates past the engagement policy, the best first; note the others.

        Of a catalogue at least the best `limit` are returned.
        """
        eligible: list[CompiledCandidate] = []
        shortlists: dict[str, int] = {}
        for entry in entries:
            stages = asked_stages(self.arm, entry.campaign)
            refusal = campaign_objection(entry.campaign, self.moment, asked, stages)
            if refusal is not None and refusal.stage <= entry.first_gate:
                self.rejected[refusal.label].extend(entry.treatments)
                continue
            for one in entry.candidates:
                if refusal is None:
                    own = objection(one, self.moment, stages)
                else:
                    own = objection(one, self.moment, refusal.stage) or refusal
                if own is not None:
                    self.rejected[own.label].append(one.treatment)
                elif one.items is None:
                    eligible.append(one)
                else:
                    eligible.extend(self._items(one, one.items))
                    shortlists[one.items.name] = max(limit, one.items.shortlist)
        funds = self.standing.funds
        prices = {} if funds is None else funds.prices(one.campaign.name for one in entries)
        ranked = rank(eligible, self.moment.facts, self.rules.propensities, prices)
        ranked = price_for(self.arm, ranked)
        ranked = self._shortlist(ranked, shortlists) if shortlists else ranked
        if funds is not None:
            self.read.update(name for one in ranked for name, _ in one.candidate.draws)
        return ranked

    def _items(self, template: CompiledCandidate, items: CatalogItems) -> list[CompiledCandidate]:
        """Return a catalogue's items for the customer; the others are counted by their rule."""
        eligible, felled = items.eligible(self.moment.facts)
        for rule, count in felled.items():
            if count:
                self.rejected[rule].append(items_felled(template.treatment, count))
        return self._in_stock(template, eligible)

    def _in_stock(
        self, template: CompiledCandidate, items: Sequence[CompiledCandidate]
    ) -> list[CompiledCandidate]:
        """Return the items of which something is left; the others are counted."""
        funds = self.standing.funds
        if funds is None or template.transactional:
            return list(items)
        left: list[CompiledCandidate] = []
        for one in items:
            if funds.is_out_of_stock(one):
                self.read.update(name for name, _ in one.draws)
            else:
                left.append(one)
        if len(left) < len(items):
            felled = items_felled(template.treatment, len(items) - len(left))
            self.rejected[OUT_OF_STOCK].append(felled)
        return left

    def _shortlist(self, ranked: list[Priced], shortlists: dict[str, int]) -> list[Priced]:
        """Return the best items of each catalogue, and all that are none."""
        left, beyond, found = dict(shortlists), Counter[str](), []
        for one in ranked:
            catalog = one.candidate.catalog
            if catalog is None or left[catalog] > 0:
                found.append(one)
                if catalog is not None:
                    left[catalog] -= 1
            else:
                beyond[one.candidate.treatment.partition(ITEM_SIGN)[0]] += 1
        for treatment, count in beyond.items():
            self.rejected[BEYOND].append(items_felled(treatment, count))
        return found

    def _judge(
        self, one: Priced, slot: str, contest: "_Contest", claims: tuple[Hashable, ...]
    ) -> None:
        """Give `one` its slot, or note what stands in its way; a winner takes its `claims`."""
        contest.slots.setdefault(slot, False)
        self.note(one, slot, self._fate(one, slot, contest, claims))

    def note(self, one: Priced, slot: str, fate: str, evidence: TreatmentEvidence = NONE) -> None:
        """Note what became of a candidate."""
        candidate, worth = one.candidate, one.worth
        self.judged.append(
            record_of.Candidate(
                slot,
                candidate.campaign,
                candidate.offer,
                candidate.treatment,
                candidate.channel,
                worth.value,
                candidate.cost,
                worth.score,
                fate,
                worth.p,
                worth.weight,
                evidence.trials,
                evidence.successes,
                evidence.tried,
            )
        )

    def _fate(
        self, one: Priced, slot: str, contest: "_Contest", claims: tuple[Hashable, ...]
    ) -> str:
        candidate, taken, beaten = one.candidate, contest.taken, None
        for claim in claims:
            if claim in taken:
                beaten = taken[claim]
                break
        if beaten is None:
            self.refresh()
        if not self.standing.open or candidate.consents:
            constraint = self.standing.objection(candidate)
            if constraint is not None:
                return constraint
        if beaten is not None:
            return beaten
        if one.worth.score <= 0 and not candidate.transactional:
            return BEATEN_BY + NOTHING
        content = render(candidate.content, self.moment.facts)
        if isinstance(content, Unsayable):
            return f"content {content.reason}"
        taken.update(dict.fromkeys(claims, BEATEN_BY + candidate.treatment))
        contest.slots[slot] = True
        return self.grant(one, slot, content)

    def refresh(self) -> None:
        """Count those who won so far under the caps."""
        if self.unsettled:
            self.standing = self.standing.after(self.counted_contacts(), self.spent)
            self.unsettled = False

    def counted_contacts(self) -> tuple[Contact, ...]:
        """Return the messages that count under the caps."""
        return (*self.known.contacts, *self.contacts)

    def grant(self, one: Priced, slot: str, content: dict[str, str], odds: Odds = SURE) -> str:
        """Give a slot to a candidate, or to nobody for a holdout; return the candidate's fate."""
        candidate = one.candidate
        held = self._hold_out(candidate)
        if held is not None:
            choice = Choice(slot, candidate.channel, holdout=held, would_be=candidate.treatment)
            self.choices.append(odds.of(choice))
            return f"held out by {held}"
        self._win(one, slot, content, odds)
        return "chosen"

    def is_held_out(self, candidate: CompiledCandidate) -> bool:
        """Return whether the customer would be held out; draws nothing for good."""
        drawn = {**self.known.holdouts, **self.drawn}
        made = draw(candidate, self.moment.identity.profile_id, drawn, self.moment.now_ms)
        return made.held is not None

    def _hold_out(self, candidate: CompiledCandidate) -> str | None:
        if not candidate.holdouts:
            return None
        drawn = {**self.known.holdouts, **self.drawn}
        made = draw(candidate, self.moment.identity.profile_id, drawn, self.moment.now_ms)
        self.drawn.update((each.holdout, each) for each in made.new)
        return None if made.held is None else made.held.holdout

    def _win(self, one: Priced, slot: str, content: dict[str, str], odds: Odds) -> None:
        candidate, contact = one.candidate, self.contact(one.candidate, slot)
        self.wins.append(Win(slot, contact.action_id, candidate, content))
        self.contacts.append(contact)
        self._spend(candidate, contact)
        choice = Choice(
            slot=slot,
            channel=candidate.channel,
            action_id=contact.action_id,
            campaign=candidate.campaign,
            offer=candidate.offer,
            treatment=candidate.treatment,
            score=one.worth.score,
        )
        self.choices.append(odds.of(choice))
        self.unsettled = True

    def _spend(self, candidate: CompiledCandidate, contact: Contact) -> None:
        wallet = self.rules.wallet
        if wallet is not None and not candidate.transactional:
            self.spends.extend(reserve(wallet, contact.action_id, candidate, contact.until))
            self.spent.update(dict(candidate.draws))

    def contact(self, candidate: CompiledCandidate, slot: str) -> Contact:
        """Return the message of a slot as caps count it."""
        now_ms, confirm_ms = self.moment.now_ms, candidate.confirm_ms
        return Contact(
            action_id=action_id(self.decision_id, slot),
            campaign=candidate.campaign,
            offer=candidate.offer,
            treatment=candidate.treatment,
            channel=candidate.channel,
            purpose=candidate.purpose,
            at=now_ms,
            issue=candidate.issue,
            group=candidate.group,
            until=None if confirm_ms is None else now_ms + confirm_ms,
            waits_until=self.moment.deadline_of(candidate) if candidate.placement is None else None,
        )


@dataclass(slots=True)
class _Contest:
    """Candidates who compete. `taken`: fate of later candidates, by what was claimed (a placement,
    a campaign's word, a channel); `slots`: whether each contested slot is decided."""

    taken: dict[Hashable, str]
    slots: dict[str, bool] = field(default_factory=dict)
