"""One slot, its candidates, one winner: the highest score above nothing."""

from collections.abc import Sequence

from pipeline.config import compile as config
from pipeline.decisioning.caps import exceeded
from pipeline.model.decision import Candidate, Contact

NOTHING = "nothing"


def rank(eligible: Sequence[config.Candidate]) -> list[config.Candidate]:
    """The best first; ties by name, so that the same input gives the same answer."""
    return sorted(eligible, key=lambda one: (-score(one), one.campaign, one.offer, one.treatment))


def score(candidate: config.Candidate) -> float:
    """What the treatment is worth after its cost; `nothing` scores 0."""
    return candidate.value - candidate.cost


def arbitrate(
    slot: str,
    eligible: Sequence[config.Candidate],
    caps: Sequence[config.Cap],
    contacts: Sequence[Contact],
    now_ms: int,
) -> tuple[config.Candidate | None, tuple[Candidate, ...]]:
    """The winner (None: nothing) and every candidate with its fate, the best first."""
    winner: config.Candidate | None = None
    judged: list[Candidate] = []
    for one in rank(eligible):
        if (cap := exceeded(one, caps, contacts, now_ms)) is not None:
            fate = f"cap {cap.name}"
        elif winner is not None:
            fate = f"beaten by {winner.treatment}"
        elif score(one) <= 0:
            fate = f"beaten by {NOTHING}"
        else:
            winner, fate = one, "chosen"
        judged.append(_judged(slot, one, fate))
    return winner, tuple(judged)


def _judged(slot: str, one: config.Candidate, fate: str) -> Candidate:
    return Candidate(
        slot=slot,
        campaign=one.campaign,
        offer=one.offer,
        treatment=one.treatment,
        channel=one.channel,
        value=one.value,
        cost=one.cost,
        score=score(one),
        fate=fate,
    )
