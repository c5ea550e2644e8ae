"""Arbitration: candidates compete for slots, and the best that no constraint rejects wins each.

`nothing` is always a candidate, and scores 0. An offer, its treatment and its channel are chosen
together: outbound, all channels compete at once, and each campaign and each channel sends one
message. A transactional message competes only with others of its own campaign.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.catalogs import template_name
from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.constraints import ConstraintState
from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.funds import reserve
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.lineup import Lineup
from pipeline.decisioning.quiet_hours import begin_of_next_quiet_hours
from pipeline.decisioning.render import RenderFailure, render
from pipeline.model.decision import Candidate, Choice, Contact, Spend
from pipeline.model.ids import action_id
from pipeline.rules import Rules
from pipeline.rules.chooser import PricedCandidate
from pipeline.rules.knowledge import NO_EVIDENCE, TreatmentEvidence

NOTHING = "nothing"
"""Candidate that sends no message; it scores 0."""

BEATEN_BY = "beaten by "
CHOSEN = "chosen"


def place_in(placement: str, place: int) -> str:
    """Return the slot of a place in a placement, counted from 1."""
    return placement if place == 1 else f"{placement}#{place}"


@dataclass(frozen=True, slots=True)
class SlotWinner:
    """Winner of a slot: a candidate, its content, and its deadline (ms, exclusive)."""

    slot: str
    action_id: str
    candidate: CompiledCandidate
    content: dict[str, str]
    deadline_at: int


class Odds(Struct, frozen=True):
    """Probability of a choice, and whether it was drawn uniformly from the candidates that pay."""

    propensity: float = 1.0
    explored: bool = False

    def of(self, choice: Choice) -> Choice:
        """Return the choice with its odds."""
        if self is CERTAIN_ODDS:
            return choice
        return replace(choice, propensity=self.propensity, explored=self.explored)


CERTAIN_ODDS: Final = Odds()
"""Odds of a choice without a draw."""


@dataclass(slots=True)
class Arbitration:
    """Slots of one decision, filled in order; each winner counts under the caps of later slots
    (`is_unsettled`: `constraint_state` does not count the last one yet).

    `spent_tokens`: tokens that winners take, by budget. `chances`: probability of each treatment in
    drawn slots, by slot and treatment, where the rules ask for it.
    """

    decision_id: str
    moment: Moment
    history: CustomerHistory
    rules: Rules
    constraint_state: ConstraintState
    is_unsettled: bool = False
    choices: list[Choice] = field(default_factory=list)
    wins: list[SlotWinner] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    spent_tokens: Counter[str] = field(default_factory=Counter)
    spends: list[Spend] = field(default_factory=list)
    chances: dict[str, dict[str, float]] = field(default_factory=dict)

    def answer(self, placement: str, lineup: Lineup) -> None:
        """Fill a requested placement with different offers, in order."""
        contest = _Contest({})
        place = 1
        for contender in lineup.contenders:
            slot = place_in(placement, place)
            offer = contender.candidate.campaign, contender.candidate.offer
            self._contest_slot(contender, slot, contest, (offer, slot))
            if place < lineup.limit and contest.slots[slot]:
                place += 1
        if not contest.slots.get(placement):
            self.choices.append(Choice(placement, lineup.channel))

    def send(self, lineup: Lineup) -> None:
        """Fill the channels of the campaigns whose triggers fire."""
        self.contend(lineup.contenders)

    def contend(self, contenders: Iterable[PricedCandidate]) -> None:
        """Fill the channels with the best contenders; the best come first."""
        contest = _Contest({})
        for contender in contenders:
            campaign, channel = contender.candidate.campaign, contender.candidate.channel
            if contender.candidate.transactional:
                self._contest_slot(contender, f"{channel}/{campaign}", contest, ((campaign,),))
            else:
                self._contest_slot(contender, channel, contest, ((campaign,), channel))
        for slot, is_filled in contest.slots.items():
            if not is_filled:
                self.choices.append(Choice(slot, slot.partition("/")[0]))

    def _contest_slot(
        self,
        contender: PricedCandidate,
        slot: str,
        contest: "_Contest",
        claims: tuple[Hashable, ...],
    ) -> None:
        """Give the candidate its slot and its `claims`, or note the reason against it."""
        contest.slots.setdefault(slot, False)
        self.note_fate(contender, slot, self._decide_fate(contender, slot, contest, claims))

    def note_fate(
        self,
        contender: PricedCandidate,
        slot: str,
        fate: str,
        evidence: TreatmentEvidence = NO_EVIDENCE,
    ) -> None:
        """Note the fate of a candidate."""
        candidate, worth = contender.candidate, contender.worth
        self.candidates.append(
            Candidate(
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
                evidence.trial_count,
                *_attributes(candidate),
                evidence.base_rate,
            )
        )

    def _decide_fate(
        self,
        contender: PricedCandidate,
        slot: str,
        contest: "_Contest",
        claims: tuple[Hashable, ...],
    ) -> str:
        candidate, fates, loss = contender.candidate, contest.fates, None
        for claim in claims:
            if claim in fates:
                loss = fates[claim]
                break
        if loss is None:
            self.refresh()
        if not self.constraint_state.is_open or candidate.consents:
            constraint = self.constraint_state.objection(candidate)
            if constraint is not None:
                return constraint
        if loss is not None:
            return loss
        if contender.worth.score <= 0 and not candidate.transactional:
            return BEATEN_BY + NOTHING
        content = render(candidate.content, self.moment.facts)
        if isinstance(content, RenderFailure):
            return f"content {content.reason}"
        fates.update(dict.fromkeys(claims, BEATEN_BY + candidate.treatment))
        contest.slots[slot] = True
        return self.grant(contender, slot, content)

    def refresh(self) -> None:
        """Count the winners so far under the caps."""
        if self.is_unsettled:
            self.constraint_state = self.constraint_state.update(
                self.counted_contacts(), self.spent_tokens
            )
            self.is_unsettled = False

    def counted_contacts(self) -> tuple[Contact, ...]:
        """Return the messages that count under the caps."""
        return (*self.history.contacts, *self.contacts)

    def grant(
        self,
        contender: PricedCandidate,
        slot: str,
        content: dict[str, str],
        odds: Odds = CERTAIN_ODDS,
    ) -> str:
        """Give a slot to a candidate; return the candidate's fate."""
        candidate = contender.candidate
        deadline_at = self._deadline_of(candidate)
        waits_until = deadline_at if candidate.placement is None else None
        contact = self.contact(candidate, slot, waits_until)
        self.wins.append(SlotWinner(slot, contact.action_id, candidate, content, deadline_at))
        self.contacts.append(contact)
        self._spend(candidate, contact)
        choice = Choice(
            slot=slot,
            channel=candidate.channel,
            action_id=contact.action_id,
            campaign=candidate.campaign,
            offer=candidate.offer,
            treatment=candidate.treatment,
            score=contender.worth.score,
        )
        self.choices.append(odds.of(choice))
        self.is_unsettled = True
        return CHOSEN

    def _spend(self, candidate: CompiledCandidate, contact: Contact) -> None:
        wallet = self.rules.wallet
        if wallet is not None and not candidate.transactional:
            self.spends.extend(reserve(wallet, candidate, contact))
            self.spent_tokens.update(dict(candidate.draws))

    def contact(
        self, candidate: CompiledCandidate, slot: str, waits_until: int | None = None
    ) -> Contact:
        """Return the contact by which caps count the message of a slot."""
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
            waits_until=waits_until,
        )

    def _deadline_of(self, candidate: CompiledCandidate) -> int:
        """Return the deadline (ms) of a message.

        An outbound one must not wait beyond the dates of its campaign and treatment, nor into quiet
        hours.
        """
        deadline_at = self.moment.deadline_of(candidate)
        if candidate.placement is not None:
            return deadline_at
        config, template = self.rules.config, template_name(candidate.treatment)
        campaign, _ = config.outbound_candidates[candidate.campaign, template]
        quiet_at = None
        if config.constraints.quiet_hours:
            quiet_at = begin_of_next_quiet_hours(
                candidate, config.constraints.quiet_hours, self.moment.facts
            )
        ends = candidate.ends_ms, campaign.ends_ms, quiet_at
        return min((deadline_at, *(end for end in ends if end is not None)))


def _attributes(
    candidate: CompiledCandidate,
) -> tuple[dict[str, float] | None, dict[str, str] | None, int | None]:
    """Return the numbers, the texts and the start of a candidate's item, for the Decision."""
    if candidate.catalog is None:
        return None, None, None
    item = candidate.item
    return item.numbers(), item.texts(), item.starts


@dataclass(slots=True)
class _Contest:
    """Competing candidates. `fates`: those of later candidates, by claim (a placement,
    a campaign, a channel); `slots`: whether each contested slot is filled."""

    fates: dict[Hashable, str]
    slots: dict[str, bool] = field(default_factory=dict)
