"""Journey implied by a table of events where none is defined: the most frequent steps before a
goal, in any order. Their orders are compared like those of a defined journey."""

from collections.abc import Sequence
from typing import Final

from pipeline.config.model.journeys import Journey, JourneyGoal, JourneyStage, JourneyStep
from pipeline.insights.case_choices import config_name
from pipeline.insights.events import EventLog
from pipeline.insights.tables import TableError, sql_text

_NAME: Final = "discovered"
_MAX_STEPS: Final = 4
"""Most steps whose orders are compared; more steps have too many orders with few customers each."""

_MIN_SHARE: Final = 0.5


def implied_journey(
    log: EventLog, goal: str, window: str, step_names: Sequence[str]
) -> Journey | None:
    """Return the journey of the named steps in their usual order; None without a goal event.

    Without `step_names`, the steps are those that at least half of the cases took; None if they are
    too few.

    Raises TableError for a name that no event has, and for steps whose orders cannot be compared.
    """
    [(cases, goals)] = log.queries.rows(
        f"SELECT count(DISTINCT case_id), count(*) FILTER (name = {sql_text(goal)}) FROM events"
    )
    case_counts = _usual_order(log, goal)
    for name in step_names:
        if name not in case_counts:
            raise TableError(f"{log.file}: --order-of {name}: no event but the goal has this name")
    frequent_names = [name for name, count in case_counts.items() if count >= _MIN_SHARE * cases]
    top_names = sorted(frequent_names, key=lambda name: -case_counts[name])[:_MAX_STEPS]
    names = [name for name in case_counts if name in (step_names or top_names)]
    if not goals or not (step_names or len(names) > 1):
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
    """Return the number of cases with each event but the goal, in the order of the
    events' mean times since the beginnings of their cases."""
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
