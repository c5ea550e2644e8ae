"""Prometheus metrics of the learner."""

from typing import Final

from prometheus_client import Counter, Gauge

FEEDBACK: Final = Counter(
    "kairos_learner_feedback", "Feedback about actions that was taken into account"
)
SNAPSHOTS: Final = Counter("kairos_learner_snapshots", "Snapshots published")
SNAPSHOT_NUMBER: Final = Gauge("kairos_learner_snapshot_number", "Number of the newest snapshot")
PUBLICATION_TIME: Final = Gauge(
    "kairos_learner_published_seconds", "Time of the newest snapshot's publication"
)
UNREADABLE_RECORDS: Final = Counter(
    "kairos_learner_unreadable", "Records of decisions that cannot be decoded"
)
BUDGET_LEFT: Final = Gauge(
    "kairos_budget_left", "Rest of a campaign's budget in its period", ["campaign"]
)
BUDGET_PRICE: Final = Gauge(
    "kairos_budget_price", "Shadow price of a campaign's budget", ["campaign"]
)
