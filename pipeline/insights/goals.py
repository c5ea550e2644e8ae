"""Goals of campaigns as conditions in SQL over interactions.

A goal may read an interaction's name, kind, channel, source and properties; a goal that reads
anything else cannot be evaluated on interactions alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.conditions import tree
from pipeline.conditions.duration import duration_ms
from pipeline.conditions.parse import parse
from pipeline.config.model import Campaign
from pipeline.insights.tables import sql_text

_COMPARISONS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass(frozen=True, slots=True)
class CampaignGoal:
    """Goal of a campaign: an interaction that fits `sql`, at most `window_ms` after the message."""

    campaign: str
    sql: str
    window_ms: int


@dataclass(frozen=True, slots=True)
class UnreadableGoal:
    """Goal of a campaign that cannot be evaluated on interactions, with the `reason`."""

    campaign: str
    reason: str


class _NotInSqlError(Exception):
    """Raised for a condition that has no form in SQL."""


def campaign_goals(campaigns: Iterable[Campaign]) -> tuple[CampaignGoal | UnreadableGoal, ...]:
    """Return the goals of the campaigns that have one."""
    return tuple(
        _goal(campaign.campaign, campaign.goal.when, campaign.goal.window)
        for campaign in campaigns
        if campaign.goal
    )


def _goal(campaign: str, raw: object, window: str) -> CampaignGoal | UnreadableGoal:
    condition = parse(raw)
    if isinstance(condition, tuple):
        return UnreadableGoal(campaign, "; ".join(map(str, condition)))
    try:
        return CampaignGoal(campaign, _sql(condition), duration_ms(window))
    except _NotInSqlError as error:
        return UnreadableGoal(campaign, str(error))


def _sql(condition: tree.Condition) -> str:
    match condition:
        case tree.All(parts):
            return _join(parts, " AND ", "TRUE")
        case tree.Any(parts):
            return _join(parts, " OR ", "FALSE")
        case tree.Not(part):
            return f"NOT ({_sql(part)})"
        case tree.Compare(tree.EventField(name), checks):
            return " AND ".join(_check(name, check, is_property=False) for check in checks)
        case tree.Compare(tree.Property(name), checks):
            path = f"properties ->> {sql_text('$.' + _json_key(name))}"
            return " AND ".join(_check(path, check, is_property=True) for check in checks)
    raise _NotInSqlError(
        f"its goal reads a {type(condition).__name__.lower()}, not the interaction alone"
    )


def _join(parts: Iterable[tree.Condition], word: str, empty: str) -> str:
    return "(" + (word.join(map(_sql, parts)) or empty) + ")"


def _check(value: str, check: tree.Check, *, is_property: bool) -> str:
    match check.operator, check.operand:
        case ("is", str(text)):
            return f"coalesce({value} = {sql_text(text)}, FALSE)"
        case ("is_not", str(text)):
            return f"coalesce({value} <> {sql_text(text)}, TRUE)"
        case ("is", bool(flag)) if is_property:
            return f"coalesce({value} = '{str(flag).lower()}', FALSE)"
        case ("is", int() | float() as number) if is_property:
            return f"coalesce(TRY_CAST({value} AS DOUBLE) = {float(number)!r}, FALSE)"
        case ("in" | "not_in" as operator, tuple(elements)) if all(
            isinstance(element, str) for element in elements
        ):
            texts = ", ".join(sql_text(str(value_text)) for value_text in elements) or "NULL"
            expression = f"coalesce({value} IN ({texts}), FALSE)"
            return expression if operator == "in" else f"NOT {expression}"
        case ("exists", bool(is_present)):
            return f"{value} IS {'NOT ' if is_present else ''}NULL"
        case (operator, int() | float() as number) if operator in _COMPARISONS and is_property:
            comparison = f"TRY_CAST({value} AS DOUBLE) {_COMPARISONS[operator]} {float(number)!r}"
            return f"coalesce({comparison}, FALSE)"
    raise _NotInSqlError(f"its goal compares by {check.operator!r} with {check.operand!r}")


def _json_key(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
