"""Review of messages that wait for delivery, by the customer's newest facts.

The engagement policy, consent and caps are evaluated again, as far as they do not depend on the
interaction that caused the message. Dates and quiet hours need no review: the action's
deadline does not pass them.

While a log is played by its own clock nothing is reviewed: adapters deliver by the wall clock, so
the result would depend on the speed of the replay.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.conditions.compile import CompiledCondition
from pipeline.config.catalogs import template_name
from pipeline.config.compile import Configuration
from pipeline.decisioning import caps
from pipeline.model.decision import Contact


class Review(Struct, frozen=True):
    """Rules and the customer's facts at `now_ms`; `facts` None: only contacts have changed.
    `is_live`: `now_ms` is of the wall clock."""

    config: Configuration
    facts: Facts | None
    now_ms: int
    is_live: bool

    @classmethod
    def of(cls, config: Configuration, facts: Facts, is_live: bool) -> "Review":
        """Return the review by the customer's facts at an interaction or refresh."""
        profile_facts = replace(facts, interaction=None, entered_segments=frozenset())
        return cls(config, profile_facts, facts.now_ms, is_live)

    def objection(self, contact: Contact, counting_contacts: Sequence[Contact]) -> str | None:
        """Return the consent, rule or cap that rules a message out; `counting_contacts` count under
        caps."""
        campaign_candidate = self.config.outbound_candidates.get(
            (contact.campaign, template_name(contact.treatment))
        )
        if campaign_candidate is None or not self.is_live:
            return None
        campaign, candidate = campaign_candidate
        if self.facts is not None:
            for consent in candidate.consents:
                if not _may_hold(consent.condition, self.facts):
                    return f"consent {consent.name}"
            for gate in (*campaign.gates, *candidate.gates):
                if not _may_hold(gate.condition, self.facts):
                    return gate.label
        if contact.transactional:
            return None  # no cap applies to it
        full_caps = caps.full_caps(self.config.caps, counting_contacts, self.now_ms)
        cap = caps.exceeded_cap(contact, full_caps) if full_caps else None
        return None if cap is None else f"cap {cap.name}"


def _may_hold(condition: CompiledCondition, facts: Facts) -> bool:
    """Return whether a condition holds, or depends on the interaction that caused the message."""
    return bool(condition.reads.entered_segments) or condition.is_possible(facts)
