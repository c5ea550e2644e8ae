"""One slot, its candidates, one winner: the highest score above nothing."""

from collections.abc import Sequence
from operator import attrgetter

from pipeline.config import compiled as config
from pipeline.decisioning.caps import Full, exceeded
from pipeline.model.decision import Candidate

NOTHING = "nothing"
"""It scores 0."""


def rank(eligible: Sequence[config.Candidate]) -> list[config.Candidate]:
    """The best first; ties by name, so that the same input gives the same answer."""
    return sorted(eligible, key=attrgetter("order"))


def arbitrate(
    slot: str, eligible: Sequence[config.Candidate], full: Sequence[Full]
) -> tuple[config.Candidate | None, tuple[Candidate, ...]]:
    """The winner (None: nothing) and every candidate with its fate, the best first."""
    winner: config.Candidate | None = None
    beaten = f"beaten by {NOTHING}"
    judged: list[Candidate] = []
    for one in rank(eligible):
        if (cap := exceeded(one, full)) is not None:
            fate = f"cap {cap.name}"
        elif winner is not None or one.score <= 0:
            fate = beaten
        else:
            winner, fate, beaten = one, "chosen", f"beaten by {one.treatment}"
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
        score=one.score,
        fate=fate,
    )
