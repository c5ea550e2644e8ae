"""Journey implied by a table of events where none is defined: its most frequent steps, in any
order, towards a goal. Their orders are compared like those of a defined journey."""

from collections.abc import Sequence
from typing import Final

from pipeline.config.model.journeys import Journey, JourneyGoal, JourneyStage, JourneyStep
from pipeline.insights.case_choices import config_name
from pipeline.insights.events import EventLog
from pipeline.insights.tables import TableError, sql_text

_NAME: Final = "discovered"
_MOST_STEPS: Final = 4
"""Most steps whose orders are compared; more have too many orders, each with few customers."""

_LEAST_SHARE: Final = 0.5


def implied_journey(log: EventLog, goal: str, window: str, asked: Sequence[str]) -> Journey | None:
    """Return the journey of the `asked` steps, or else of those that at least half of the cases
    took, in their usual order; None without a goal event, or with too few usual steps."""
    [(cases, reached)] = log.queries.rows(
        f"SELECT count(DISTINCT case_id), count(*) FILTER (name = {sql_text(goal)}) FROM events"
    )
    usual = _usual_order(log, goal)
    for name in asked:
        if name not in usual:
            raise TableError(f"{log.file}: --order-of {name}: no event but the goal has this name")
    often = [name for name, those in usual.items() if those >= _LEAST_SHARE * cases]
    most_first = sorted(often, key=lambda name: -usual[name])[:_MOST_STEPS]
    names = [name for name in usual if name in (asked or most_first)]
    if not reached or not (asked or len(names) > 1):
        return None
    steps = [JourneyStep(config_name(name) or "step", {"name": name}) for name in names]
    if len({step.step for step in steps}) < max(len(steps), 2):
        raise TableError(
            f"{log.file}: name: the orders of {', '.join(names) or 'no step'} cannot be compared: "
            "name at least two steps by --order-of, whose letters and digits differ"
        )
    return Journey(
        journey=_NAME,
        steps=(JourneyStage(any_order=tuple(steps)),),
        goal=JourneyGoal({"name": goal}, window),
    )


def _usual_order(log: EventLog, goal: str) -> dict[str, int]:
    """Return the number of cases with each event, in its mean order."""
    rows = log.queries.rows(
        f"""
        WITH first AS (
            SELECT case_id, name, min(moment) AS moment FROM events GROUP BY case_id, name
        ), begun AS (SELECT case_id, min(moment) AS moment FROM first GROUP BY case_id)
        SELECT f.name, count(*) FROM first AS f JOIN begun AS b ON f.case_id = b.case_id
        WHERE f.name <> {sql_text(goal)}
        GROUP BY f.name ORDER BY avg(f.moment - b.moment), f.name
        """
    )
    return dict(rows)
