"""Names of the values that enrichers derive from an interaction, and of those that are read."""

from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.conditions import Condition
from pipeline.conditions.reads import patterns, reads
from pipeline.config.conditions import compile_condition
from pipeline.config.model import Enrichers, ProfileRules

PREFIX: Final = "derived."
"""Prefix of a derived value in a trait's `of`."""

DEVICE_TYPE: Final = "device_type"
OS: Final = "os"
BROWSER: Final = "browser"
BOT: Final = "bot"
COUNTRY: Final = "country"
REGION: Final = "region"
CITY: Final = "city"
CAMPAIGN_PREFIX: Final = "campaign_"
CAMPAIGN_PARTS: Final = ("source", "medium", "name", "term", "content")
AD_NETWORK: Final = "ad_network"
CLICK_ID: Final = "click_id"
UNKNOWN_CURRENCY: Final = "unknown_currency"
HOUR: Final = "hour"
WEEKDAY: Final = "weekday"
UNKNOWN_TIMEZONE: Final = "unknown_timezone"

USER_AGENT: Final = (DEVICE_TYPE, OS, BROWSER, BOT)
GEO: Final = (COUNTRY, REGION, CITY)
CAMPAIGN_TAGS: Final = (*(CAMPAIGN_PREFIX + part for part in CAMPAIGN_PARTS), AD_NETWORK, CLICK_ID)
LOCAL_TIME: Final = (HOUR, WEEKDAY, UNKNOWN_TIMEZONE)


def derived_names(enrichers: Enrichers) -> Iterator[str]:
    """Yield the names of all values that the enrichers can derive."""
    if enrichers.user_agent is not None:
        yield from USER_AGENT
    if enrichers.geo is not None:
        yield from GEO
    if enrichers.campaign is not None:
        yield from CAMPAIGN_TAGS
    if enrichers.currency is not None:
        yield from (*enrichers.currency.amounts, UNKNOWN_CURRENCY)
    if enrichers.local_time is not None:
        yield from LOCAL_TIME


def derived_names_read(profile: ProfileRules, trees: Iterable[Condition]) -> frozenset[str]:
    """Return the derived values that traits, conditions and the counting of bots read."""
    names: set[str] = set()
    for trait in profile.traits:
        names |= reads(compile_condition(trait.when).tree).derived_names
        if trait.of is not None and trait.of.startswith(PREFIX):
            names.add(trait.of.removeprefix(PREFIX))
    for tree in trees:
        names |= reads(tree).derived_names
        for pattern in patterns(tree):
            names = names.union(*(reads(part).derived_names for part in pattern.parts))
    if profile.enrichers.user_agent is not None and not profile.enrichers.user_agent.count_bots:
        names.add(BOT)
    return frozenset(names)
