"""profile.yaml: values kept for a customer, and their enrichment."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.config.model.part import Condition, CurrencyCode, Digest, Duration, Name, Part

AggregateRule: TypeAlias = Literal[
    "latest", "first", "min", "max", "union", "sum", "count", "avg", "distinct", "recency"
]
TraitRule: TypeAlias = AggregateRule | Literal["bucket"]
Threshold: TypeAlias = float | Duration


class TraitDefinition(Part, frozen=True):
    """Named value of the profile, kept by a rule over the interactions that fit `when`.

    `of` names the value to read (`properties.total`, `derived.country`, `occurred_at`, `name`...);
    `count` and `recency` (time of the latest interaction, epoch ms) read nothing. Without `window`
    it is an attribute over the whole lifetime, missing until something is known; with it a metric
    over the interactions of that last time, whose count, sum and distinct begin at 0. `distinct` is
    exact to 1,000; beyond that NAME.approximate is true. Sums have six decimals. Of a property that
    is a list, `union` and `distinct` take the elements, `latest` and `first` the list, and
    `properties.NAME.length` is its length. A property that is null in an identify clears its
    `latest` value, until another comes.

    `bucket` is the number of the interval of `thresholds` in which another trait
    (`of: trait.spent`) lies: `[50, 200]` gives 1 below 50, 2 from 50 on, 3 from 200 on. In
    descending order, the buckets are numbered from the greatest. Durations are thresholds for the
    age of a time: with `[365d, 30d]` 1 is a year ago or more, 3 is less than 30 days ago. So
    recency, frequency and monetary value become scores from 1 to 5.
    """

    name: Name
    rule: TraitRule
    of: str | None = None
    when: Condition | None = None
    window: Duration | None = None
    thresholds: tuple[Threshold, ...] = ()
    description: str = ""


class UserAgent(Part, frozen=True):
    """Values of `context.user_agent`: `device_type` (desktop, mobile, tablet, tv, bot, other),
    `os`, `browser` and `bot`.

    `count_bots: false`: interactions of bots change no trait and no sequence. They are still
    decided, so that a campaign that must not answer bots needs `{derived: bot, is_not: true}`.
    """

    count_bots: bool = True


class Geo(Part, frozen=True):
    """Values of `context.ip`, by a database in MaxMind's format: `country` (ISO 3166), `region` and
    `city` (their English names). `database` is a file in this folder; `sha256` is filled in."""

    database: str
    sha256: Digest | None = None


class CampaignTags(Part, frozen=True):
    """Values of `context.campaign`, or else of the `utm_` parameters of `context.url`:
    `campaign_source`, `campaign_medium`, `campaign_name`, `campaign_term`, `campaign_content`; and
    of the click id of an advertising network in the URL (gclid, fbclid...): `ad_network` and
    `click_id`."""


class Rate(Part, frozen=True):
    """Exchange rate: from `since` (a date, UTC) on, one unit of `currency` is worth `rate` of the
    deployment's."""

    currency: CurrencyCode
    since: str
    rate: Annotated[float, Meta(gt=0)]


class Currency(Part, frozen=True):
    """Amounts in the deployment's own currency, `to`, by the rate at the time of the interaction.

    `amounts` names each amount and its path: `{total: properties.total}`; `currency` is the path of
    their currency; without it they are in `to` already. Without a rate for that currency and time
    the amount is missing, and `unknown_currency` holds the currency.
    """

    to: CurrencyCode
    amounts: dict[Name, str]
    rates: tuple[Rate, ...] = ()
    currency: str = "properties.currency"


class LocalTime(Part, frozen=True):
    """The customer's local time: `hour` (0 to 23) and `weekday` (monday, tuesday...).

    Its zone is `context.timezone`, or else `zone`. Zones are IANA names, in any case, or offsets
    such as `GMT+2`; for an unknown name `zone` counts, and `unknown_timezone` is that name.
    """

    zone: str = "UTC"


class Enrichers(Part, frozen=True):
    """Values derived from each interaction, for conditions (`{derived: country, is: ES}`) and
    traits (`of: derived.country`). An enricher that is not named is off."""

    user_agent: UserAgent | None = None
    geo: Geo | None = None
    campaign: CampaignTags | None = None
    currency: Currency | None = None
    local_time: LocalTime | None = None


class DaysSince(Part, frozen=True):
    """Feature: the age in days of the time in a trait."""

    days_since: Name


class Goal(Part, frozen=True):
    """Goal of a campaign or of a score: an interaction that fits `when` within `window` of the
    message, or of the moment that is scored."""

    when: Condition
    window: Duration = "7d"


class Score(Part, frozen=True):
    """Score that a LightGBM model computes from `features`, as the trait `score.NAME`.

    `model` is a text model (one number, splits by number only), a file in this folder; `sha256` is
    filled in, and is checked before the file is loaded. `features` are traits, in the order in
    which the model was trained on them: numbers unchanged, true as 1, other and missing values as
    unknown; `{days_since: last_order_at}` for a time. A score is computed again with each
    interaction. A missing or too slow model gives no score.

    `goal` is the event that the score predicts, for `kairos train score`, which writes the model;
    `model` may name that file once it exists.
    """

    name: Name
    features: Annotated[tuple[Name | DaysSince, ...], Meta(min_length=1)]
    model: str | None = None
    sha256: Digest | None = None
    goal: Goal | None = None


class ProfileRules(Part, frozen=True):
    """profile.yaml; `session_gap`: pause that ends a session.

    `features`: traits that models may read in a decision, besides those that conditions and
    contents read.
    """

    traits: tuple[TraitDefinition, ...] = ()
    session_gap: Duration = "30m"
    enrichers: Enrichers = field(default_factory=Enrichers)
    scores: tuple[Score, ...] = ()
    features: tuple[Name, ...] = ()
