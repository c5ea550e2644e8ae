"""`kairos learner`: evidence about treatments, from the outcomes of messages."""

from pipeline.adapters.consumer_groups import LEARNER_GROUP
from pipeline.home import logs
from pipeline.learner.process import run as learn
from pipeline.settings import Settings
from pipeline.stack.plan import LEARNER


def run() -> None:
    """Count the outcomes of messages, and publish snapshots of them to `learning`, until TERM.

    One process per cluster; `kairos up` runs it if policies.yaml has `learning` that is not frozen
    at learned.yaml, or a campaign has a budget.
    """
    settings = Settings()
    logs.configure(settings)
    learn(settings, LEARNER, LEARNER_GROUP)
