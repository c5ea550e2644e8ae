"""policies.yaml: what holds for all campaigns, such as caps, consent, holdouts and learning."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.engagement import Cap, Engagement, Names, Scope
from pipeline.config.model.part import Condition, Duration, Name, Part, Share, TimeOfDay

Outcome: TypeAlias = Literal["impression", "click", "dismiss", "conversion", "complaint", "bounce"]


class Suppression(Part, frozen=True):
    """No messages in `for` (those of marketing, unless it says otherwise) for `duration` after
    what happened: up to, and not including, the moment at which that long has passed.

    Either an interaction that fits `when` (a complaint), which silences all of `for`. Or
    `outcome`, `count` times `within` a time: dismissed twice, five impressions; this silences
    what is the same by `per`. Where there are several reasons, the latest one counts.
    """

    suppression: Name
    duration: Duration
    when: Condition | None = None
    outcome: Outcome | None = None
    count: Annotated[int, Meta(ge=1, le=20)] = 1
    within: Duration = "30d"
    per: Literal["treatment", "offer", "group", "issue", "campaign", "channel", "all"] = "offer"
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class QuietHours(Part, frozen=True):
    """Nothing is sent from `from` (inclusive) to `to` (exclusive) by the customer's clock; who asks
    is answered.

    Their zone is an IANA name: that in `trait`, or else the interaction's `context.timezone`, or
    else `zone`.
    """

    quiet: Name
    begins: TimeOfDay = field(name="from")
    ends: TimeOfDay = field(name="to")
    zone: str = "UTC"
    trait: Name | None = None
    scope: Scope = field(default_factory=Scope, name="for")


class Consent(Part, frozen=True):
    """The messages in `for` (by purpose and channel) go only to customers for whom `when` holds."""

    consent: Name
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class Weight(Part, frozen=True):
    """A context weight: `factor` multiplies the score of messages in `for` while `when` holds."""

    weight: Name
    factor: Annotated[float, Meta(ge=0)]
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")


class Holdout(Part, frozen=True):
    """This `share` of customers gets none of the messages in `for`, for comparison.

    Drawn when a customer would first get one, and kept. What they would have got is decided, and
    recorded, all the same.
    """

    holdout: Name
    share: Share
    scope: Scope = field(default_factory=Scope, name="for")


ImpactArm: TypeAlias = Literal["chance", "propensity", "no-levers", "eligibility"]


class ImpactTests(Part, frozen=True):
    """Arms of customers, this `share` of them in each, who are decided for in another way, always,
    so that what a factor of arbitration is worth can be measured.

    `chance`: drawn alike from all that the engagement policy lets pass; `propensity`: by `p` alone;
    `no-levers`: without levers and context weights; `eligibility`: without the rules of
    applicability and suitability. Constraints and holdouts hold in all of them.
    """

    share: Annotated[float, Meta(gt=0, le=0.1)] = 0.01
    arms: Annotated[tuple[ImpactArm, ...], Meta(min_length=1)] = (
        "chance",
        "propensity",
        "no-levers",
        "eligibility",
    )


class ContextBin(Part, frozen=True):
    """Circumstances in which a treatment is learned about by itself, while `when` holds."""

    bin: Name
    when: Condition


class Scanners(Part, frozen=True):
    """Mail scanners: outcomes of messages on `channel` within this time of the decision."""

    channel: Names = ("email",)
    within: Duration = "10s"


class Learning(Part, frozen=True):
    """Learning of how likely treatments of campaigns with a goal are to reach it, in place of `p`.

    `half_life`: time in which evidence fades to half its weight. `explore`: share of choices that
    are drawn alike from all that could pay, and `nothing`. Where nothing is learned yet, a
    treatment's declared `p` (or `prior`, without one) counts as `prior_trials` messages. A
    treatment with fewer than `ramp` messages takes part only in such a share of choices as it has
    of them (at least `explore`), where it competes with one that has as many. The first of `bins`
    whose condition holds says in which circumstances a message is counted. Bots, as the enricher
    `user_agent` knows them, and `scanners` are not learned from. `frozen`: evidence is counted,
    and no new snapshot is published; with learned.yaml decisions go by that, and no learner runs.
    """

    half_life: Duration = "30d"
    explore: Annotated[float, Meta(gt=0, le=0.5)] = 0.02
    prior: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    prior_trials: Annotated[float, Meta(ge=1, le=10_000)] = 20.0
    ramp: Annotated[int, Meta(ge=0)] = 200
    bins: tuple[ContextBin, ...] = ()
    scanners: Scanners = field(default_factory=Scanners)
    frozen: bool = False


class Budgeting(Part, frozen=True):
    """Budgets of campaigns and stock of items: `enforced: false` makes them figures for people,
    which nothing is held back by."""

    enforced: bool = True


class Policies(Engagement, frozen=True):
    """policies.yaml; transactional messages pass by all but eligibility, applicability and
    suitability. Without `learning` nothing is learned, without `impact_tests` nothing tested."""

    caps: tuple[Cap, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    consent: tuple[Consent, ...] = ()
    weights: tuple[Weight, ...] = ()
    holdouts: tuple[Holdout, ...] = ()
    learning: Learning | None = None
    impact_tests: ImpactTests | None = None
    budgets: Budgeting = field(default_factory=Budgeting)
