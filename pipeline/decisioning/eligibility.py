"""Which treatments may be said at all: every one that may not keeps the rule that felled it."""

from dataclasses import dataclass

from pipeline.conditions import Facts
from pipeline.config.compile import Candidate
from pipeline.decisioning.render import missing_names
from pipeline.model.stages import IdentitySection


@dataclass(frozen=True, slots=True)
class Moment:
    """One interaction as decisioning sees it. `stale`: too old to trigger anything outbound."""

    facts: Facts
    identity: IdentitySection
    stale: bool

    @property
    def now_ms(self) -> int:
        return self.facts.now_ms


def objection(candidate: Candidate, moment: Moment) -> str | None:
    """The first rule that speaks against `candidate`, as it is recorded; None: eligible."""
    facts = moment.facts
    if candidate.starts_ms is not None and facts.now_ms < candidate.starts_ms:
        return "campaign not begun"
    if candidate.ends_ms is not None and facts.now_ms >= candidate.ends_ms:
        return "campaign over"
    if candidate.placement is None and (fault := _untimely(candidate, moment)):
        return fault
    if not candidate.audience.test(facts):
        return "audience"
    if not candidate.when.test(facts):
        return "offer condition"
    if candidate.address is not None and address(candidate, moment) is None:
        return f"no address: {candidate.address}"
    if missing := missing_names(candidate.content, facts):
        return f"content needs {missing[0]}"
    return None


def address(candidate: Candidate, moment: Moment) -> str | None:
    """Where the channel reaches the customer; None when it needs no address or has none."""
    if candidate.address is None:
        return None
    value = moment.facts.traits.get(f"identifier.{candidate.address}")
    return value if isinstance(value, str) else None


def _untimely(candidate: Candidate, moment: Moment) -> str | None:
    if not candidate.trigger.test(moment.facts):
        return "trigger"
    return "interaction too old" if moment.stale else None
