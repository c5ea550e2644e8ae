"""Which treatments may be said at all: every one that may not keeps the rule that felled it."""

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import Campaign, Candidate
from pipeline.decisioning.render import missing_name
from pipeline.model.stages import IdentitySection


class Moment(Struct, frozen=True):
    """One interaction as decisioning sees it. `stale`: too old to trigger anything outbound."""

    facts: Facts
    identity: IdentitySection
    stale: bool

    @property
    def now_ms(self) -> int:
        return self.facts.now_ms


def campaign_objection(campaign: Campaign, moment: Moment, asked: bool) -> str | None:
    """The first rule that speaks against all that a campaign has, as it is recorded; `asked`:
    somebody asked, so it needs no trigger."""
    facts = moment.facts
    if campaign.starts_ms is not None and facts.now_ms < campaign.starts_ms:
        return "campaign not begun"
    if campaign.ends_ms is not None and facts.now_ms >= campaign.ends_ms:
        return "campaign over"
    if not asked and not campaign.trigger.test(facts):
        return "trigger"
    if not asked and moment.stale:
        return "interaction too old"
    return None if campaign.audience.test(facts) else "audience"


def objection(candidate: Candidate, moment: Moment) -> str | None:
    """The first rule that speaks against `candidate`, whose campaign none speaks against."""
    facts = moment.facts
    if not candidate.when.test(facts):
        return "offer condition"
    if candidate.address is not None and address(candidate, moment) is None:
        return f"no address: {candidate.address}"
    missing = missing_name(candidate, facts)
    return None if missing is None else f"content needs {missing}"


def address(candidate: Candidate, moment: Moment) -> str | None:
    """Where the channel reaches the customer; None when it needs no address or has none."""
    if candidate.address is None:
        return None
    value = moment.facts.traits.get(f"identifier.{candidate.address}")
    return value if isinstance(value, str) else None
