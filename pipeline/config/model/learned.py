"""learned.yaml: the learner's snapshot that decisions use."""

from typing import Annotated

from msgspec import Meta

from pipeline.config.model.part import Name, Part


class LearnedEvidence(Part, frozen=True):
    """Evidence about a treatment of a campaign in the context bin `bin` of policies.yaml, or
    outside of its bins. `trials`, and the `successes` among them, are weighted by age; `tried` and
    `reached` count each message as 1. Without an offer and a treatment it is about customers who
    are held out of the campaign."""

    campaign: Name
    offer: str = ""
    treatment: str = ""
    bin: str = ""
    trials: Annotated[float, Meta(ge=0)] = 0.0
    successes: Annotated[float, Meta(ge=0)] = 0.0
    tried: Annotated[int, Meta(ge=0)] = 0
    reached: Annotated[int, Meta(ge=0)] = 0


class Learned(Part, frozen=True):
    """Snapshot of learned.yaml, which decisions use in place of later ones. policies.yaml must have
    `learning: {frozen: true}`. `kairos models snapshot` writes it; `number`: of the learner's
    snapshot."""

    number: Annotated[int, Meta(ge=1)]
    evidence: Annotated[tuple[LearnedEvidence, ...], Meta(min_length=1)]
