"""Constraints: what holds a message back that would be right otherwise."""

from collections.abc import Sequence

from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, Constraints
from pipeline.decisioning import caps, quiet_hours, suppressions
from pipeline.decisioning.caps import Full
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.suppressions import Silence
from pipeline.model.decision import Contact


class Standing(Struct, frozen=True):
    """The constraints as they stand for one customer now. `open`: but for consent, nothing holds
    anything back."""

    rules: Constraints
    facts: Facts
    silences: tuple[Silence, ...]
    full: tuple[Full, ...]
    open: bool

    @classmethod
    def of(cls, rules: Constraints, facts: Facts, known: Remembered) -> "Standing":
        """Return the state before anything is decided."""
        silences = suppressions.in_force(rules, known.silenced, known.contacts, facts.now_ms)
        full = caps.full(rules.caps, known.contacts, facts.now_ms)
        return cls(rules, facts, silences, full, not (silences or full or rules.quiet_hours))

    def after(self, contacts: Sequence[Contact]) -> "Standing":
        """Return the state once something was decided; `contacts` are all."""
        full = caps.full(self.rules.caps, contacts, self.facts.now_ms)
        open_ = not (self.silences or full or self.rules.quiet_hours)
        return Standing(self.rules, self.facts, self.silences, full, open_)

    def objection(self, candidate: CompiledCandidate) -> str | None:
        """Return the first constraint that holds `candidate` back, as its fate is recorded."""
        for consent in candidate.consents:
            if not consent.when.test(self.facts):
                return f"consent {consent.name}"
        if self.open or candidate.transactional:
            return None
        silence = suppressions.find_silence(candidate, self.silences)
        if silence is not None:
            return f"suppression {silence.name}"
        hours = quiet_hours.quiet(candidate, self.rules.quiet_hours, self.facts)
        if hours is not None:
            return f"quiet hours {hours.name}"
        cap = caps.exceeded_cap(candidate, self.full)
        return None if cap is None else f"cap {cap.name}"
