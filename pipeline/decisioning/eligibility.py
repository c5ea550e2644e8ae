"""Engagement policy: treatments that may be offered now and suit the customer.

Each rejected treatment is recorded with its rule, as `stage/rule`. Constraints are checked later.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import (
    ELIGIBILITY,
    STAGES,
    SUITABILITY,
    CompiledCampaign,
    CompiledCandidate,
    Gate,
)
from pipeline.decisioning.render import missing_name
from pipeline.model.belongings import Belonging
from pipeline.model.stages import IdentitySection

FOREIGN_ADDRESS: Final = "eligibility/address of another: "
"""Prefix of the rule recorded for an address of another person; its namespace follows."""
_EVERY_STAGE: Final = len(STAGES)


class Moment(Struct, frozen=True):
    """Interaction with the facts for a decision. `is_stale`: the interaction is too old to trigger
    an outbound message; `shown_times`: time (ms) of each identifier that only interactions ascribe
    to the customer; `belongings`: owners of the customer's former identifiers; `since_ms`: start of
    deadlines, in the past for a second decision."""

    facts: Facts
    identity: IdentitySection
    is_stale: bool
    shown_times: Mapping[str, int]
    belongings: Mapping[str, Belonging]
    since_ms: int

    @property
    def now_ms(self) -> int:
        """Present time (ms)."""
        return self.facts.now_ms

    def deadline_of(self, candidate: CompiledCandidate) -> int:
        """Return the deadline (ms) of a message."""
        return self.since_ms + candidate.deadline_ms


class Objection(Struct, frozen=True):
    """Rule that rejects a treatment, as the Decision records it, and the rule's stage."""

    stage: int
    label: str


def campaign_objection(
    campaign: CompiledCampaign, moment: Moment, is_requested: bool, end_stage: int = _EVERY_STAGE
) -> Objection | None:
    """Return the first rule of a stage below `end_stage` that rejects all of a campaign.

    `is_requested`: a placement was requested, so no trigger is needed. A campaign whose trigger
    does not fire is not evaluated further.
    """
    facts = moment.facts
    if campaign.starts_ms is not None and facts.now_ms < campaign.starts_ms:
        return _BEFORE_CAMPAIGN
    if campaign.ends_ms is not None and facts.now_ms >= campaign.ends_ms:
        return _AFTER_CAMPAIGN
    if not is_requested and not campaign.trigger.test(facts):
        return NO_TRIGGER
    if not is_requested and moment.is_stale:
        return _TOO_OLD
    return _first_failing_gate(campaign.gates, facts, end_stage)


def objection(
    candidate: CompiledCandidate, moment: Moment, end_stage: int = _EVERY_STAGE
) -> Objection | None:
    """Return the first rule of a stage below `end_stage` that rejects `candidate`."""
    facts = moment.facts
    if candidate.starts_ms is not None and facts.now_ms < candidate.starts_ms:
        return _BEFORE_TREATMENT
    if candidate.ends_ms is not None and facts.now_ms >= candidate.ends_ms:
        return _AFTER_TREATMENT
    if moment.since_ms < facts.now_ms and moment.deadline_of(candidate) <= facts.now_ms:
        return _TOO_LATE
    if (
        candidate.address is not None
        and (gate := _address_objection(candidate, moment)) is not None
    ):
        return gate
    if (
        candidate.gates
        and (gate := _first_failing_gate(candidate.gates, facts, end_stage)) is not None
    ):
        return gate
    if end_stage <= SUITABILITY or not candidate.content.needs:
        return None
    name = missing_name(candidate.content, facts)
    return None if name is None else Objection(SUITABILITY, f"suitability/content needs {name}")


def _address_objection(candidate: CompiledCandidate, moment: Moment) -> Objection | None:
    recipient = address(candidate, moment)
    if recipient is None:
        return Objection(ELIGIBILITY, f"eligibility/no address: {candidate.address}")
    if _belongs_to_another(f"{candidate.address}:{recipient}", moment):
        return Objection(ELIGIBILITY, f"{FOREIGN_ADDRESS}{candidate.address}")
    return None


def _belongs_to_another(identifier: str, moment: Moment) -> bool:
    """Return whether the identifier's own row last reported another customer as its owner.

    An identifier shown since then is confirmed before an action is sent to it.
    """
    if identifier in moment.shown_times:
        return False
    belonging = moment.belongings.get(identifier)
    return belonging is not None and not belonging.here


def address(candidate: CompiledCandidate, moment: Moment) -> str | None:
    """Return the customer's address on the channel; None when it needs none or there is none."""
    if candidate.address is None:
        return None
    value = moment.facts.traits.get(f"identifier.{candidate.address}")
    return value if isinstance(value, str) else None


def _first_failing_gate(gates: Iterable[Gate], facts: Facts, end_stage: int) -> Objection | None:
    for gate in gates:
        if gate.stage >= end_stage:
            return None
        if not gate.condition.test(facts):
            return Objection(gate.stage, gate.label)
    return None


NO_TRIGGER: Final = Objection(ELIGIBILITY, "applicability/trigger")
"""Objection to a campaign whose trigger does not fire; its stage is the first, so that nothing else
of the campaign is evaluated."""
_TOO_OLD: Final = Objection(ELIGIBILITY, "applicability/interaction too old")
_BEFORE_CAMPAIGN: Final = Objection(ELIGIBILITY, "eligibility/campaign not begun")
_AFTER_CAMPAIGN: Final = Objection(ELIGIBILITY, "eligibility/campaign over")
_BEFORE_TREATMENT: Final = Objection(ELIGIBILITY, "eligibility/treatment not begun")
_AFTER_TREATMENT: Final = Objection(ELIGIBILITY, "eligibility/treatment over")
_TOO_LATE: Final = Objection(ELIGIBILITY, "applicability/deadline passed")
