"""Goals of campaigns by the name of an interaction."""

from pipeline.insights.goals import CampaignGoal
from pipeline.insights.tables import sql_text


def named_goal(campaign: str, name: str, window_ms: int) -> CampaignGoal:
    """Return the goal that any interaction of this name fits."""
    return CampaignGoal(campaign, f"name = {sql_text(name)}", window_ms)
