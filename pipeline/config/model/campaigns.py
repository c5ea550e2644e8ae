"""campaigns/*.yaml: offers with their treatments, goals and budgets."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.engagement import Cap, Engagement, Purpose
from pipeline.config.model.part import Condition, Cost, CurrencyCode, Duration, Name, Part, Share
from pipeline.config.model.profile import Goal


class Reckoned(Part, frozen=True):
    """A number for this customer: the trait's, `times` a factor, `plus` a constant; `default` where
    the trait is no number."""

    trait: Name
    times: float = 1.0
    plus: float = 0.0
    default: float = 0.0


Amount: TypeAlias = float | Reckoned
Probability: TypeAlias = Annotated[float, Meta(ge=0, le=1)] | Reckoned
Levers: TypeAlias = dict[Name, Annotated[float, Meta(gt=0)]]


class Treatment(Engagement, frozen=True):
    """The form of an offer in a channel.

    With `placement` it answers those who ask for that placement; without, it is sent when the
    campaign's `trigger` fires. `address` names the namespace that the channel needs (`email`);
    a customer without one is not eligible. `value` replaces the offer's. `p` is how likely the
    goal is: without it the value is an expected one. `levers` multiply the score. `starts` and
    `ends` are as a campaign's.

    `content` may hold `{trait}` and `{properties.name}`, or be Jinja: `{{ trait }}`,
    `{{ properties.name }}`, `{{ context.locale }}`, `{% if %}`, `{% for %}` and filters such as
    `default`. Where a name is not known that has neither a value in `defaults`, nor a `default`
    filter or an `{% if %}` around it, the treatment is not suitable.
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
    and `group`. With `catalog` each item of that is an offer of this form, whose name is the item's
    id, and a content may hold `{item.NAME}`; `value` is that of items that have none."""

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
    """Money in the deployment's own currency, which `currency` may name; for all of the campaign,
    or anew `per` day, week (from Monday) or month by the clock of `zone`.

    Messages reserve their cost when they are decided, and give it back when they bounce, expire or
    are not shown in time. One that has a period, or whose campaign `ends`, is paced over it.
    """

    amount: Annotated[float, Meta(ge=0, le=1e9)]
    currency: CurrencyCode | None = None
    per: Literal["day", "week", "month", "campaign"] = "campaign"
    zone: str = "UTC"


class Campaign(Engagement, frozen=True):
    """campaigns/*.yaml. `audience` says who, `trigger` on which interaction something is sent.

    `starts` and `ends` are ISO 8601, UTC unless they say otherwise; an `ends` without a time
    includes that day. A transactional campaign passes by arbitration, caps, quiet hours, consent
    and holdouts. `holdout`: this share of its customers does not get it, for comparison.
    `incremental: true`: where it is learned how likely the goal is, what counts is how much
    likelier a customer's first message in the goal's window makes it than it is for who is held
    out of the same message.

    `defer: true`: what quiet hours hold back is decided again at their end, if the deadline of its
    treatment (or channel) has not passed by then; otherwise it is dropped.
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
