"""Constraints: reasons to hold back a message that the engagement policy admits."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, Constraints
from pipeline.decisioning import caps, quiet_hours, suppressions
from pipeline.decisioning.caps import FullCap
from pipeline.decisioning.funds import Funds, Wallet
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.suppressions import ActiveSuppression
from pipeline.model.decision import Contact

BUDGET_PREFIX: Final = "budget "
"""Prefix of the fate of a candidate that a budget or stock holds back; its name follows."""


class ConstraintState(Struct, frozen=True):
    """Constraints for one customer now. `is_open`: no constraint but consent applies; `funds`
    None: budgets hold nothing back."""

    rules: Constraints
    facts: Facts
    suppressions: tuple[ActiveSuppression, ...]
    full_caps: tuple[FullCap, ...]
    is_open: bool
    funds: Funds | None = None

    @classmethod
    def of(
        cls,
        rules: Constraints,
        facts: Facts,
        history: CustomerHistory,
        wallet: Wallet | None = None,
    ) -> "ConstraintState":
        """Return the state before the first choice of a decision."""
        active_suppressions = suppressions.active_suppressions(
            rules, history.suppression_times, history.contacts, facts.now_ms
        )
        full_caps = caps.full_caps(rules.caps, history.contacts, facts.now_ms)
        funds = None if wallet is None else Funds(wallet, facts.now_ms)
        is_open = not (active_suppressions or full_caps or rules.quiet_hours or funds)
        return cls(rules, facts, active_suppressions, full_caps, is_open, funds)

    def update(
        self, contacts: Sequence[Contact], spent_tokens: Mapping[str, int]
    ) -> "ConstraintState":
        """Return the state after choices of this decision: with all `contacts`, and the tokens
        `spent_tokens` by budget."""
        full_caps = caps.full_caps(self.rules.caps, contacts, self.facts.now_ms)
        is_open = not (self.suppressions or full_caps or self.rules.quiet_hours or self.funds)
        funds = self.funds and replace(self.funds, spent_tokens=spent_tokens)
        return ConstraintState(self.rules, self.facts, self.suppressions, full_caps, is_open, funds)

    def objection(self, candidate: CompiledCandidate) -> str | None:
        """Return the first constraint that holds `candidate` back, as its fate is recorded."""
        for consent in candidate.consents:
            if not consent.condition.test(self.facts):
                return f"consent {consent.name}"
        if self.is_open or candidate.transactional:
            return None
        suppression = suppressions.find_suppression(candidate, self.suppressions)
        if suppression is not None:
            return f"suppression {suppression.name}"
        hours = quiet_hours.find_quiet_hours(candidate, self.rules.quiet_hours, self.facts)
        if hours is not None:
            return f"quiet hours {hours.name}"
        cap = caps.exceeded_cap(candidate, self.full_caps)
        if cap is not None:
            return f"cap {cap.name}"
        shortage = None if self.funds is None else self.funds.shortage(candidate)
        return None if shortage is None else f"{BUDGET_PREFIX}{shortage}"
