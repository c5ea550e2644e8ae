"""campaigns/*.yaml: offers with their treatments, goals and budgets."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.engagement import Cap, Engagement, Purpose
from pipeline.config.model.part import Condition, Cost, CurrencyCode, Duration, Name, Part, Share
from pipeline.config.model.profile import Goal


class Reckoned(Part, frozen=True):
    """Number computed for a customer: the value of `trait` times the factor `times`, plus the
    constant `plus`; `default` where the trait is not a number."""

    trait: Name
    times: float = 1.0
    plus: float = 0.0
    default: float = 0.0


Amount: TypeAlias = float | Reckoned
Probability: TypeAlias = Annotated[float, Meta(ge=0, le=1)] | Reckoned
Levers: TypeAlias = dict[Name, Annotated[float, Meta(gt=0)]]


class Treatment(Engagement, frozen=True):
    """Form of an offer in a channel.

    With `placement` it answers requests for that placement; without, it is sent when the campaign's
    `trigger` fires. `address` names the namespace that the channel needs (`email`); a customer
    without such an identifier is not eligible. `value` replaces the offer's. `p` is the probability
    of the goal; without it, `value` is an expected value. `levers` multiply the score. `starts` and
    `ends` have the form of a campaign's.

    `content` may contain `{trait}` and `{properties.name}`, or be Jinja: `{{ trait }}`,
    `{{ properties.name }}`, `{{ context.locale }}`, `{% if %}`, `{% for %}` and filters such as
    `default`. Where a name is unknown and has neither a value in `defaults`, nor a `default` filter
    or an `{% if %}` around it, the treatment is not suitable.
    """

    treatment: Name
    channel: Name
    placement: Name | None = None
    address: Name | None = None
    cost: Cost = 0.0
    deadline: Duration | None = None
    content: dict[str, str] = field(default_factory=dict)
    value: Amount | None = None
    p: Probability = 1.0
    levers: Levers = field(default_factory=dict)
    starts: str | None = None
    ends: str | None = None
    defaults: dict[str, str | float] = field(default_factory=dict)


class Offer(Engagement, frozen=True):
    """Offer to a customer; `value` is the worth of its acceptance. Policies group offers by `issue`
    and `group`. With `catalog` each item of that catalogue is an offer of this form, named by the
    item's id, and a content may contain `{item.NAME}`; `value` then counts for items without a
    value of their own."""

    offer: Name
    value: Amount
    treatments: Annotated[tuple[Treatment, ...], Meta(min_length=1)]
    group: Name | None = None
    issue: Name | None = None
    when: Condition | None = None
    description: str = ""
    levers: Levers = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    catalog: Name | None = None


class Budget(Part, frozen=True):
    """Money in the deployment's own currency, which `currency` may name; for the whole campaign, or
    `per` day, week (from Monday) or month by the clock of `zone`.

    Messages reserve their cost when they are decided, and release it when they bounce, expire or
    are not shown in time. A budget with a period, or of a campaign that `ends`, is paced over that
    time.
    """

    amount: Annotated[float, Meta(ge=0, le=1e9)]
    currency: CurrencyCode | None = None
    per: Literal["day", "week", "month", "campaign"] = "campaign"
    zone: str = "UTC"


class Campaign(Engagement, frozen=True):
    """campaigns/*.yaml. `audience` selects the customers, `trigger` the interactions on which
    messages are sent.

    `starts` and `ends` are ISO 8601, in UTC unless they have an offset; an `ends` without a time
    includes that day. A transactional campaign is exempt from arbitration, caps, suppressions,
    quiet hours, consent, budgets and holdouts. `holdout`: share of its customers who do not get it,
    for comparison.

    `incremental: true`: learning counts by how much a customer's first message in the goal's window
    raises the probability of the goal, compared with customers who are held out of the same
    message.

    `defer: true`: messages held back by quiet hours are decided again at their end, if the deadline
    of the treatment (or channel) has not passed by then; otherwise they are dropped.
    """

    campaign: Name
    offers: Annotated[tuple[Offer, ...], Meta(min_length=1)]
    audience: Condition | None = None
    trigger: Condition | None = None
    purpose: Purpose = "marketing"
    goal: Goal | None = None
    starts: str | None = None
    ends: str | None = None
    owner: str = ""
    hypothesis: str = ""
    budget: Annotated[float, Meta(ge=0, le=1e9)] | Budget | None = None
    levers: Levers = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    holdout: Share = 0.0
    defer: bool = False
    incremental: bool = False
