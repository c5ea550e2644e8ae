"""policies.yaml: rules for all campaigns, such as caps, consent, holdouts and learning."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.engagement import Cap, Engagement, Names, Scope
from pipeline.config.model.part import Condition, Duration, Name, Part, Share, TimeOfDay

Outcome: TypeAlias = Literal["impression", "click", "dismiss", "conversion", "complaint", "bounce"]


class Suppression(Part, frozen=True):
    """Pause of the messages in `for` (by default those of marketing) for `duration` after an event,
    the end excluded.

    The event is either an interaction that fits `when` (a complaint), which silences all of `for`;
    or an `outcome` that occurred `count` times `within` a time (dismissed twice, five impressions),
    which silences messages with the same value of `per`. Of several events the latest counts.
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
    """Hours in which nothing is sent, from `from` (inclusive) to `to` (exclusive) by the customer's
    clock; requests are answered.

    The customer's zone is an IANA name: the value of `trait`, or else the interaction's
    `context.timezone`, or else `zone`.
    """

    quiet: Name
    start: TimeOfDay = field(name="from")
    end: TimeOfDay = field(name="to")
    zone: str = "UTC"
    trait: Name | None = None
    scope: Scope = field(default_factory=Scope, name="for")


class Consent(Part, frozen=True):
    """Consent that the messages in `for` (by purpose and channel) need: they go only to customers
    for whom `when` holds."""

    consent: Name
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class Weight(Part, frozen=True):
    """Context weight: `factor` multiplies the score of messages in `for` while `when` holds."""

    weight: Name
    factor: Annotated[float, Meta(ge=0)]
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")


class Holdout(Part, frozen=True):
    """Share of customers who get none of the messages in `for`, for comparison.

    A customer is drawn before the first such message, and the draw is kept. The message that a
    customer would have got is decided, and recorded, all the same.
    """

    holdout: Name
    share: Share
    scope: Scope = field(default_factory=Scope, name="for")


ImpactArm: TypeAlias = Literal["chance", "propensity", "no-levers", "eligibility"]


class ImpactTests(Part, frozen=True):
    """Arms of customers, the same `share` in each, for whom every decision leaves out a factor of
    arbitration, so that the factor's worth can be measured.

    `chance`: drawn uniformly from all messages that the engagement policy admits; `propensity`: by
    `p` alone; `no-levers`: without levers and context weights; `eligibility`: without the rules of
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
    """Context for which evidence about treatments is kept apart, while `when` holds."""

    bin: Name
    when: Condition


class Scanners(Part, frozen=True):
    """Mail scanners: outcomes of messages on `channel` within this time of the decision."""

    channel: Names = ("email",)
    within: Duration = "10s"


class Learning(Part, frozen=True):
    """Learning of the probability that treatments of campaigns with a goal reach it, in place of
    `p`.

    `half_life`: time in which evidence fades to half its weight. `explore`: share of choices that
    are drawn uniformly from all treatments that could pay, and `nothing`. Without evidence, a
    treatment's declared `p` (or `prior`, without one) counts as `prior_trials` messages. A
    treatment with n messages, fewer than `ramp`, takes part only in a share n / `ramp` of choices
    (at least `explore`), where it competes with a treatment that has `ramp` messages. A message is
    counted in the first of `bins` whose condition holds. Bots, as the enricher `user_agent`
    recognises them, and `scanners` are not learned from. `frozen`: evidence is counted, and no new
    snapshot is published; with learned.yaml decisions use that file, and no learner runs.
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
    """Budgets of campaigns and stock of items: with `enforced: false` they are figures for people,
    and hold nothing back."""

    enforced: bool = True


class Policies(Engagement, frozen=True):
    """policies.yaml; transactional messages are exempt from all but eligibility, applicability and
    suitability. Without `learning` nothing is learned, without `impact_tests` nothing is tested."""

    caps: tuple[Cap, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()
    consent: tuple[Consent, ...] = ()
    weights: tuple[Weight, ...] = ()
    holdouts: tuple[Holdout, ...] = ()
    learning: Learning | None = None
    impact_tests: ImpactTests | None = None
    budgets: Budgeting = field(default_factory=Budgeting)
