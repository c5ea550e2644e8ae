"""Typed records of the folder of YAML: one class per file, fields as they are written there.

The published JSON Schemas are derived from these classes. Durations are written `30s`, `5m`,
`12h`, `7d`; money is in one currency, the deployment's own.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, field

from pipeline.conditions.duration import DURATION_PATTERN
from pipeline.config.part import SECRET_PATTERN as SECRET_PATTERN
from pipeline.config.part import Name as Name
from pipeline.config.part import Part as Part
from pipeline.config.part import SecretName as SecretName
from pipeline.config.provider import Provider
from pipeline.model.time import EARLIEST

TIME_OF_DAY_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)"

Duration: TypeAlias = Annotated[str, Meta(pattern=DURATION_PATTERN)]
Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Share: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
TimeOfDay: TypeAlias = Annotated[str, Meta(pattern=TIME_OF_DAY_PATTERN)]
CurrencyCode: TypeAlias = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
ADAPTERS: Final = "adapters"
"""Name of the source whose interactions are the outcomes that Kairos's own adapters report."""

Condition: TypeAlias = Annotated[
    dict[str, object], Meta(extra_json_schema={"$ref": "#/$defs/Condition"})
]
"""A condition as written; `pipeline.conditions` parses and compiles it."""


class Source(Part, frozen=True):
    """An app that sends. `clock: log` trusts `occurred_at` as the time of receipt too, for the
    replay of a log in its own time; such a source must be one's own.

    `properties` says what this source calls a property that others name otherwise:
    `{total: properties.order.amount}` makes `total` of `order.amount` (or of `context.NAME`).
    Where there is nothing at that place, the property stays as it came. The stage that knows whose
    interaction it is does so, by the configuration that it stamps on it; so it does not matter
    whether it came by HTTP, as a file, or from an app that writes to Kafka.

    `earliest` (a date, UTC, 1970-01-01 or later): what claims to have happened before is refused,
    for most likely its time is in another unit or was never set.

    `write_key` is kept as its SHA-256 only, and may be written so: `sha256:` and 64 hexadecimal
    digits. Make keys by chance and long (`openssl rand -hex 16`).

    `trust: public` is for keys that stand in pages and apps, where anybody can read them. What
    comes by HTTP with such a key speaks for the device that sent it: of its identifiers only those
    of the namespaces in `asserts` count, and the user id where `context.proof` has its HMAC-SHA256
    (hexadecimal) by `secret`, made by the customer's own server. Other identifiers, be they ids or
    addresses in traits, are left out; traits stay what the device says. `asserts` is, where it is
    not given, the namespace of anonymous ids, and `device` unless a treatment is addressed to it;
    or every namespace where no source (`adapters` apart) is trusted and there is no `secret`, for
    then nobody is known to a trusted one.

    `origins` are those of the pages that may send with this key (`https://shop.example`, or
    `https://*.shop.example` for all of its subdomains); without it, pages of any origin. What is no
    page, such as an app or a server, names no origin and is not restricted by it.
    `requests_per_minute` is the most that one address (of IPv6: one /64) may make with this key, to
    each gateway; without it 6,000 where `trust: public`, and any number otherwise.
    """

    name: Name
    channel: Name
    write_key: Annotated[str, Meta(min_length=8)]
    clock: Literal["wall", "log"] = "wall"
    earliest: str = EARLIEST
    trust: Literal["trusted", "public"] = "trusted"
    asserts: tuple[Name, ...] | None = None
    secret: SecretName | None = None
    origins: tuple[str, ...] | None = None
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None
    properties: dict[str, str] = field(default_factory=dict)


class ServerKey(Part, frozen=True):
    """A key that can read profiles and erase them; kept, or written, as a write key is."""

    name: Name
    key: Annotated[str, Meta(min_length=8)]


class Sources(Part, frozen=True):
    """sources.yaml"""

    sources: tuple[Source, ...]
    server_keys: tuple[ServerKey, ...] = ()


class Namespace(Part, frozen=True):
    """A kind of identifier. `normalise`: how equal values are made equal.

    `trim` takes spaces off the ends; `lower` makes lower case as well; `email` does both and
    refuses what is no address; `phone` makes E.164 (`+34600111222`, with an extension
    `+34911234567;ext=12`), refusing what is no number.
    `limit`: at most so many of the kind are linked to one identifier; further ones are refused.
    """

    name: Name
    normalise: Literal["none", "trim", "lower", "email", "phone"] = "trim"
    limit: Annotated[int, Meta(ge=1)] | None = None


PLACEHOLDERS: Final = (
    *("null", "nil", "none", "undefined", "nan", "na", "n/a", "#n/a", "(not set)", "not set"),
    *("[object object]", "object object", "true", "false", "empty", "default", "-1"),
    *("anonymous", "anon", "guest", "visitor", "unknown", "user", "customer", "test"),
    *("id", "email", "user_id", "userid", "customer_id", "distinct_id", "distinctid"),
    *("not_authenticated", "not authenticated", "logged_out", "not_logged_in"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "9774d56d682e549c"),
)
"""Values that programs send for nobody: empty values of languages and tools as text, names of
fields, words for visitors; the max UUID, and the id that a series of Android devices shared."""

NO_ADDRESSES: Final = (
    "(no|not|do[-_.]?not)[-_.]?reply@.*",
    "(null|nil|none|undefined|nan|unknown|anonymous|no[-_.]?e?mail)@.*",
)
"""Mailboxes that nobody reads, which shops and tills enter for customers without an address."""


class Identity(Part, frozen=True):
    """identity.yaml; `namespaces` from the strongest to the weakest.

    `user_id` and `anonymous_id` name the namespaces of Segment's `userId` and `anonymousId`.
    `phone_region` (ISO 3166, such as ES) is where phone numbers without a country code are.
    `max_identifiers` is the most that one person's top identifier may have, itself included:
    the links of further ones are refused, and their interactions go on without them.
    `blocked_values` (whatever their case, and in quotes or brackets) and values that match one of
    `blocked_patterns` (regular expressions of RE2 for the whole value) identify nobody; nor do
    values without a letter or a digit other than 0, such as `-` or the nil UUID.
    """

    namespaces: Annotated[tuple[Namespace, ...], Meta(min_length=1)]
    user_id: Name = "customer_id"
    anonymous_id: Name = "cookie"
    phone_region: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None = None
    max_identifiers: Annotated[int, Meta(ge=1)] = 100
    blocked_values: tuple[str, ...] = PLACEHOLDERS
    blocked_patterns: tuple[str, ...] = NO_ADDRESSES
    max_length: Annotated[int, Meta(ge=1, le=4096)] = 1024


KeptRule: TypeAlias = Literal[
    "latest", "first", "min", "max", "union", "sum", "count", "avg", "distinct", "recency"
]
TraitRule: TypeAlias = KeptRule | Literal["bucket"]
Threshold: TypeAlias = float | Duration


class TraitDefinition(Part, frozen=True):
    """A named value of the profile, kept by a rule over the interactions that fit `when`.

    `of` names what is read (`properties.total`, `derived.country`, `occurred_at`, `name`...);
    `count` and `recency` (when the latest one was, epoch ms) read nothing. Without `window` it is
    an attribute, over the whole lifetime and missing until something is known; with it a metric
    over the interactions of that last time, whose count, sum and distinct begin at 0. `distinct`
    is exact to 1,000; beyond that NAME.approximate is true. Sums have six decimals. Of a property
    that is a list, `union` and `distinct` take the elements, `latest` and `first` the list, and
    `properties.NAME.length` is how many it has. A property that is null in an identify clears the
    `latest` of it, until another comes.

    `bucket` says between which of the `thresholds` another trait (`of: trait.spent`) lies:
    `[50, 200]` makes 1 of what is less than 50, 2 of 50 and more, 3 of 200 and more. Written the
    other way round, from the greatest down, the buckets count the other way round too. Durations
    are thresholds for how long ago a time was: with `[365d, 30d]` 1 is a year ago or more, 3 is
    less than 30 days ago. So recency, frequency and monetary value become scores from 1 to 5.
    """

    name: Name
    rule: TraitRule
    of: str | None = None
    when: Condition | None = None
    window: Duration | None = None
    thresholds: tuple[Threshold, ...] = ()
    description: str = ""


class UserAgent(Part, frozen=True):
    """From `context.user_agent`: `device_type` (desktop, mobile, tablet, tv, bot, other), `os`,
    `browser` and `bot`.

    `count_bots: false`: what a bot does adds to no trait and to no sequence. It is still decided,
    so that a campaign that must not answer bots says `{derived: bot, is_not: true}`.
    """

    count_bots: bool = True


class Geo(Part, frozen=True):
    """From `context.ip`, by a database in MaxMind's format: `country` (ISO 3166), `region` and
    `city` (their English names). `database` is a file in this folder; `sha256` is filled in."""

    database: str
    sha256: Digest | None = None


class CampaignTags(Part, frozen=True):
    """From `context.campaign`, or else the `utm_` parameters of `context.url`: `campaign_source`,
    `campaign_medium`, `campaign_name`, `campaign_term`, `campaign_content`; from the mark that an
    advertising network left in the URL (gclid, fbclid...): `ad_network`, and the mark: `click_id`.
    """


class Rate(Part, frozen=True):
    """From `since` (a date, UTC) on one unit of `currency` is worth `rate` of the deployment's."""

    currency: CurrencyCode
    since: str
    rate: Annotated[float, Meta(gt=0)]


class Currency(Part, frozen=True):
    """Amounts in the deployment's own currency, `to`, by the rate at the time when it happened.

    `amounts` names each and where it is read: `{total: properties.total}`; `currency` is where
    its currency is read: without one it is `to` already. Without a rate for that currency and time
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
    """A feature: how many days ago the time in a trait is."""

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
    which the model was trained on them: numbers as they are, true as 1, anything else and what is
    missing as not known; `{days_since: last_order_at}` for a time. A score is made anew with each
    interaction. A model that is not there, or too slow, gives no score.

    `goal` is what the score predicts, for `kairos train score`, which writes the model: it may be
    named once it is there.
    """

    name: Name
    features: Annotated[tuple[Name | DaysSince, ...], Meta(min_length=1)]
    model: str | None = None
    sha256: Digest | None = None
    goal: Goal | None = None


class ProfileRules(Part, frozen=True):
    """profile.yaml; `session_gap`: so long without an interaction ends a session.

    `features`: traits that models may read in a decision, beside those that conditions and contents
    read.
    """

    traits: tuple[TraitDefinition, ...] = ()
    session_gap: Duration = "30m"
    enrichers: Enrichers = field(default_factory=Enrichers)
    scores: tuple[Score, ...] = ()
    features: tuple[Name, ...] = ()


class Segment(Part, frozen=True):
    """segments/*.yaml; with `channels`, only interactions of these channels evaluate it (time and
    merges do so too)."""

    segment: Name
    when: Condition
    description: str = ""
    channels: tuple[Name, ...] = ()


Purpose: TypeAlias = Literal["marketing", "service", "transactional"]
Names: TypeAlias = Name | tuple[Name, ...]


class Scope(Part, frozen=True):
    """The messages that a policy is for: those that have, of each field given here, one of its
    names. Without any field: all."""

    issue: Names = ()
    group: Names = ()
    offer: Names = ()
    campaign: Names = ()
    treatment: Names = ()
    channel: Names = ()
    purpose: Purpose | tuple[Purpose, ...] = ()


class Rule(Part, frozen=True):
    """A condition that must hold, for the messages in `for`. `words` say why, for explanations."""

    rule: Name
    when: Condition
    scope: Scope = field(default_factory=Scope, name="for")
    words: str = ""


class Engagement(Part, frozen=True, kw_only=True):
    """Rules in their order: `eligibility` (may they have it), `applicability` (does it make sense
    now), `suitability` (is it good for them). The first that does not hold fells the message."""

    eligibility: tuple[Rule, ...] = ()
    applicability: tuple[Rule, ...] = ()
    suitability: tuple[Rule, ...] = ()


class Cap(Part, frozen=True):
    """At most `max` messages in any `window` per offer, group, issue, campaign, channel, or in all.

    `channel` limits it to one channel, `for` to any messages. Transactional messages neither count
    nor are capped, and a message counts from the decision on until it bounces or expires.
    """

    cap: Name
    per: Literal["offer", "group", "issue", "campaign", "channel", "all"]
    max: Annotated[int, Meta(ge=0)]
    window: Duration
    channel: Name | None = None
    scope: Scope = field(default_factory=Scope, name="for")


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
    cost: float = 0.0
    deadline: Duration | None = None
    content: dict[str, str] = field(default_factory=dict)
    value: Amount | None = None
    p: Probability = 1.0
    levers: Levers = field(default_factory=dict)
    starts: str | None = None
    ends: str | None = None
    defaults: dict[str, str | float] = field(default_factory=dict)


class ItemColumns(Part, frozen=True):
    """Columns of a catalogue's table: `id` of an item; where there are such, its `price`, `value`
    (what its acceptance is worth), `stock`, and the dates that it `starts` and `ends`, as a
    campaign's. All others are attributes, unless `attributes` names those that are."""

    id: str = "id"
    price: str | None = None
    value: str | None = None
    stock: str | None = None
    starts: str | None = None
    ends: str | None = None
    attributes: tuple[str, ...] | None = None


class ItemRule(Part, frozen=True):
    """Items for a customer: those whose id is in `trait` (a text or a list), whose `attribute` has
    such a value, or which `recipe` gives for what is in it. `factor` multiplies their score.

    A recipe without `trait` gives items for the customer's segments. Where it has none for any of
    what it is asked for, those that it has for everybody count.
    """

    trait: Name | None = None
    attribute: str | None = None
    recipe: Name | None = None
    factor: Annotated[float, Meta(gt=0)] = 2.0


class ItemEvent(Part, frozen=True):
    """Interactions that fit `when`, with the ids of items in the property `item`, a text or a list;
    the property `about` says what an article solved."""

    when: Condition
    item: str
    about: str | None = None


class ItemEvents(Part, frozen=True):
    """Interactions from which `kairos train recipes` learns. What one customer bought, or viewed,
    within `window` goes together."""

    bought: ItemEvent | None = None
    viewed: ItemEvent | None = None
    solved: ItemEvent | None = None
    window: Duration = "30d"


class CatalogItem(Part, frozen=True):
    """Row of a table. `value`: None: what the offer says; `stock`: None: as many as are wanted."""

    id: str
    value: float | None = None
    starts: str | None = None
    ends: str | None = None
    attributes: dict[str, str | float] = field(default_factory=dict)
    stock: int | None = None


class Catalog(Part, frozen=True):
    """catalogs/*.yaml: items (products, help articles) that a campaign's offer names by `catalog`:
    each row of `table`, a CSV or Parquet file in this folder, is then an offer of that form.

    An item's value is its `value`, or else its price times `margin`. Items without stock are left
    out. For a customer `exclude` leaves out what was seen, bought or solved; `only`, where given,
    leaves out all that none of its rules names; `boost` raises what its rules name. The best
    `most` items then compete, and the best `shortlist` are in the decision's record.

    `recipes` is a table (CSV or Parquet) of items that go together, bought or viewed: its columns
    are recipe, item, related and score; a row without item is for everybody. `kairos train recipes`
    writes it from `events`. `items` and `related` are filled in.
    """

    catalog: Name
    table: str
    columns: ItemColumns = field(default_factory=ItemColumns)
    margin: Annotated[float, Meta(ge=0)] = 1.0
    only: tuple[ItemRule, ...] = ()
    exclude: tuple[ItemRule, ...] = ()
    boost: tuple[ItemRule, ...] = ()
    most: Annotated[int, Meta(ge=1, le=2_000)] = 200
    shortlist: Annotated[int, Meta(ge=1, le=1_000)] = 20
    recipes: str | None = None
    events: ItemEvents | None = None
    items: tuple[CatalogItem, ...] = ()
    related: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)


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
    likelier a message makes it than it is for who is held out.

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


class Dkim(Part, frozen=True):
    """DKIM signature of every e-mail: the public key is at `SELECTOR._domainkey.DOMAIN` in DNS.

    `key` names the environment variable, of the adapter, with the private RSA key in PEM; `domain`
    is the sender's unless it is given.
    """

    selector: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$(?!\n)")]
    key: SecretName
    domain: str | None = None


class Email(Part, frozen=True):
    """E-mail of a channel with `adapter: email`, whose `url` is the SMTP server.

    `from` is an address, or `Name <address>`; `return_path` is where bounces go, `from` unless it
    is given. `user` and `password` log in. `per_second` limits the messages to one recipient
    domain, `connections` those to the server.

    `links` is the gateway's URL as customers reach it (variables as in `url`): needed for links to
    unsubscribe, which every message but a transactional one then has, and for `track`. `track`
    counts opens (a picture that the message loads) and clicks (links in its HTML lead through the
    gateway); neither unless it is listed.

    `returned` is a Maildir (an absolute path; variables as in `url`) into which bounces and
    complaints are delivered.
    `resend_unknown: true` sends a message again when a crash left unknown whether it was accepted;
    otherwise it counts as sent.
    """

    sender: Annotated[str, Meta(min_length=3)] = field(name="from")
    reply_to: str | None = None
    return_path: str | None = None
    user: str | None = None
    password: SecretName | None = None
    dkim: Dkim | None = None
    per_second: Annotated[float, Meta(gt=0)] = 10.0
    connections: Annotated[int, Meta(ge=1, le=100)] = 4
    links: str | None = None
    track: tuple[Literal["opens", "clicks"], ...] = ()
    returned: str | None = None
    resend_unknown: bool = False


PUSH_SERVICES: Final = (
    "fcm.googleapis.com",
    "push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)
"""Hosts, with those below them, of the browsers' push services."""


class Push(Part, frozen=True):
    """Web push of a channel with `adapter: push`, to browsers that subscribed.

    The address of a treatment is a subscription, as `JSON.stringify(subscription)` writes it: an
    identifier in `namespace`, which must not be normalised beyond `trim`. `key` names the
    environment variable, of the adapter, with the VAPID private key (PEM or base64); `contact` is
    where push services may complain (`mailto:` or `https:`). Endpoints at hosts other than
    `services`, or below them, get nothing: a subscription is what a browser claims.
    """

    key: SecretName
    contact: Annotated[str, Meta(pattern="^(mailto:|https:)")]
    namespace: Name = "push"
    services: tuple[str, ...] = PUSH_SERVICES


class Pos(Part, frozen=True):
    """Receipt printer of a channel with `adapter: pos`; `width`: characters of a line (80 mm paper
    has 42, 58 mm 32)."""

    width: Annotated[int, Meta(ge=16, le=128)] = 42


class Channel(Part, frozen=True):
    """A way to reach a customer. `cost` is per message, `deadline` how long it stays worth saying.

    `adapter: webhook` posts each action to `url`; `adapter: email` sends it by the SMTP server at
    `url` (`smtp+starttls://HOST:587`, `smtps://HOST:465`, or `smtp://HOST:25` without encryption),
    as `email` says; `adapter: sms` sends it by the HTTP API of the `provider` that a file in
    providers/ describes; `adapter: push` sends it to browsers, as `push` says; `adapter: pos`
    prints it by the receipt printer at `url` (`tcp://HOST:9100`); `adapter: none` leaves the topic
    to others.
    `secret` names the environment variable, of the adapter, that holds the key by which posts are
    signed: `${NAME}`. Variables in `url` (`${NAME}`, `${NAME:-default}`) are the adapter's too: the
    configuration keeps their names, never their values.
    `placements` are the places in it that may ask what to show. `escape: html` makes what content
    says of a customer safe in a page; it is the default of the channel `web`, and of parts of a
    content that are called `html` in any channel. `confirm_within`: where every message that is
    shown is reported (an impression, a click), one that is not within this time of its decision was
    not shown, since its answer was lost, and gives its place under the caps back.
    """

    name: Name
    cost: float = 0.0
    deadline: Duration = "5m"
    adapter: Literal["none", "webhook", "email", "sms", "push", "pos"] = "none"
    url: str | None = None
    secret: SecretName | None = None
    email: Email | None = None
    push: Push | None = None
    pos: Pos | None = None
    provider: Name | None = None
    placements: tuple[Name, ...] = ()
    escape: Literal["html", "none"] | None = None
    confirm_within: Duration | None = None


class Channels(Part, frozen=True):
    """channels.yaml"""

    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]


FileKindName: TypeAlias = Literal["csv", "ndjson", "parquet"]
RowKind: TypeAlias = Literal["track", "identify", "page", "screen", "group", "alias", "outcome"]


class SftpServer(Part, frozen=True):
    """Files on an SFTP server. `host_key` is its public key as `ssh-keyscan HOST` prints it
    (`ssh-ed25519 AAAA...`): a server with another key is refused. `private_key` (the key itself, or
    the path of its file), its `passphrase`, and `password` name environment variables of the
    process that reads the files: `${NAME}`."""

    host: Annotated[str, Meta(min_length=1)]
    user: Annotated[str, Meta(min_length=1)]
    host_key: Annotated[str, Meta(min_length=1)]
    path: str = "."
    port: Annotated[int, Meta(ge=1, le=65_535)] = 22
    private_key: SecretName | None = None
    passphrase: SecretName | None = None
    password: SecretName | None = None


class ReadyRule(Part, frozen=True):
    """Rule by which a file is complete. `rest`: its size and time have not changed for `after`.
    `marker`: the file called `marker` is there (`{name}`: the whole name, `{stem}`: up to its first
    dot). `rename`: as soon as it has a name that fits, for its sender writes under another one."""

    by: Literal["rest", "marker", "rename"] = "rest"
    after: Duration = "5s"
    marker: str = "{name}.done"


class CsvFormat(Part, frozen=True):
    """Form of CSV files. Without `delimiter` it is found (`,` `;` tab `|`); without `encoding` it
    is UTF-8 or UTF-16. `quote: ""`: a quotation mark is a character as any other. `decimal_comma`:
    numbers are written `1.234,50`. `names`: the columns of files that have no header. `skip`: lines
    before the header that are no rows. `escape`: the character before a quotation mark within a
    cell, where it is not doubled (`\\`). `empty`: words of cells that say nothing (`NULL`)."""

    delimiter: str | None = None
    encoding: str | None = None
    quote: Annotated[str, Meta(max_length=1)] = '"'
    decimal_comma: bool = False
    names: tuple[str, ...] = ()
    skip: Annotated[int, Meta(ge=0)] = 0
    escape: Annotated[str, Meta(max_length=1)] = ""
    empty: tuple[str, ...] = ("\\N",)


class PgpSecret(Part, frozen=True):
    """Private key of OpenPGP (itself in ASCII armor, or the path of its file) and its passphrase,
    by the environment variables of the process that reads the files: `${NAME}`."""

    key: SecretName
    passphrase: SecretName | None = None


class RowTime(Part, frozen=True):
    """Form of the times in the column that is mapped to `time`: one of `formats`, in the notation
    of `strptime` (`%d/%m/%Y %H:%M`); without any ISO 8601, or a number since 1970. `zone` (IANA) is
    that of times that do not say theirs."""

    zone: str = "UTC"
    formats: tuple[str, ...] = ()


PermissionState: TypeAlias = Literal["given", "withdrawn", "bounce", "complaint"]


class Permissions(Part, frozen=True):
    """Meaning of the rows of a consent or suppression list: how customers may be reached.

    A row says a state for all of `channels` and `purposes`, or for those that its columns
    `permission.channel` and `permission.purpose` name. The state is in the column
    `permission.state`, or else it is `state`. Or a column for each is
    `permission.CHANNEL.PURPOSE`, with yes or no in it. `given` and `withdrawn` are consent, as by
    the links in messages: traits `consent.CHANNEL.PURPOSE`. `bounce` (nobody is at this address)
    and `complaint` are the outcomes of these names. `words` are what the cells of a file mean,
    beside the usual ones (`yes`, `opt-out`, `hard bounce`, `spam`): `{withdrawn: [ja]}`.
    """

    channels: Annotated[tuple[Name, ...], Meta(min_length=1)]
    purposes: Annotated[tuple[Literal["marketing", "service"], ...], Meta(min_length=1)] = (
        "marketing",
    )
    state: PermissionState | None = None
    words: dict[PermissionState, tuple[str, ...]] = field(default_factory=dict)


FeedName: TypeAlias = Literal[
    "interaction-studio-users",
    "interaction-studio-transactions",
    "interaction-studio-email-events",
    "interaction-studio-segments",
    "interaction-studio-segment-lists",
]


class Watch(Part, frozen=True):
    """Files that somebody puts into a `folder` (an absolute path) or on an SFTP server: those whose
    name fits `pattern` (`*.csv`) and none of `excludes`. They are looked for `every` so often,
    taken in the order of their names once `ready`, and moved to `done/`, or to `failed/`.

    `format` is found by the name where it is not given; `.gz` and `.zip` (of one file) are
    unpacked, `.pgp`, `.gpg` and `.asc` are decrypted by `pgp`. A file has at most `max_bytes`, also
    inside; content of more than 64 MiB is at most `max_ratio` times as large as its file.
    `source` is whose they are, in sources.yaml: its channel, trust, clock and property names count.

    `columns` says what each column (in NDJSON: field, with dots) is: `identifiers.NAMESPACE`,
    `properties.NAME`, `traits.NAME`, `lists.NAME`, `context.url` (ip, user_agent, url, referrer,
    locale, timezone, `campaign.NAME`, `consent.NAME`), `time`, `name`, `kind`, `id`, `channel`,
    `delete` or `ignore`. `"attribute:*": traits.*` is for all columns that begin so. Without
    `columns` they are named as for `kairos send`. `kind` and `name` are those of every row that has
    none of its own. `feed` is a mapping that comes with Kairos, to which `columns` adds.

    With `permissions` the rows are a consent or suppression list; columns may be
    `permission.state`, `permission.channel`, `permission.purpose`, `permission.CHANNEL.PURPOSE`.
    What a row says counts once, however often it is repeated, in a later file too where it has a
    `time`; without one it counts as said when its file is taken.

    With `replaces` each file is a whole list, named by the properties that all of its rows have
    (`segment: Gold club`): each row has `properties.operation: add`, and for a customer who was in
    the list's last file and is not in this one there is another with `remove`. A bad row fails it.

    With `catalog` each file is a whole table of that catalogue, by the columns that it says there:
    its items are put in force in place of those before, as `kairos config apply` would.

    A row whose `delete` column has one of the values in `delete` clears the traits in its file's
    columns; it does not erase the customer, which is `kairos profile forget`.

    A row is known by the content of its file and its line, or by the columns in `key`, named as in
    an interaction (`properties.order_id`). Where more than the share `max_bad` of a file's rows are
    bad, nothing of it is sent, and it is moved to `failed/`.
    """

    watch: Name
    source: Name
    folder: str | None = None
    sftp: SftpServer | None = None
    pattern: Annotated[str, Meta(min_length=1)] | None = None
    excludes: tuple[str, ...] = ()
    every: Duration = "10s"
    ready: ReadyRule = field(default_factory=ReadyRule)
    format: FileKindName | None = None
    feed: FeedName | None = None
    catalog: Name | None = None
    permissions: Permissions | None = None
    replaces: bool = False
    kind: RowKind | None = None
    name: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    csv: CsvFormat = field(default_factory=CsvFormat)
    time: RowTime = field(default_factory=RowTime)
    pgp: PgpSecret | None = None
    delete: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    max_bad: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_bytes: Annotated[int, Meta(ge=1)] = 10_000_000_000
    max_ratio: Annotated[float, Meta(ge=1)] = 500.0


class Ingest(Part, frozen=True):
    """ingest.yaml"""

    watches: tuple[Watch, ...] = ()


class LearnedEvidence(Part, frozen=True):
    """Evidence about a treatment of a campaign, in the circumstances `bin` of policies.yaml, or in
    all that are none of its bins. `trials`, and the `successes` among them, are weighted by age;
    `tried` and `reached` count each message as 1. Without an offer and a treatment it is about who
    is held out of the campaign."""

    campaign: Name
    offer: str = ""
    treatment: str = ""
    bin: str = ""
    trials: Annotated[float, Meta(ge=0)] = 0.0
    successes: Annotated[float, Meta(ge=0)] = 0.0
    tried: Annotated[int, Meta(ge=0)] = 0
    reached: Annotated[int, Meta(ge=0)] = 0


class Learned(Part, frozen=True):
    """learned.yaml: the snapshot that decisions go by, whatever is learned since; `learning` of
    policies.yaml is `frozen` at it. `kairos models snapshot` writes it; `number` is that of the
    learner."""

    number: Annotated[int, Meta(ge=1)]
    evidence: Annotated[tuple[LearnedEvidence, ...], Meta(min_length=1)]


class Bundle(Part, frozen=True):
    """Whole folder, of which `kairos config apply` makes one immutable record."""

    sources: Sources
    identity: Identity
    channels: Channels
    profile: ProfileRules = field(default_factory=ProfileRules)
    policies: Policies = field(default_factory=Policies)
    segments: tuple[Segment, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    ingest: Ingest = field(default_factory=Ingest)
    providers: tuple[Provider, ...] = ()
    catalogs: tuple[Catalog, ...] = ()
    learned: Learned | None = None
