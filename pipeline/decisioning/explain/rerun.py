"""A decision made again from what it recorded."""

from pipeline.decisioning.state import ContactState, History
from pipeline.decisioning.step import step
from pipeline.model.decision import Decision
from pipeline.model.outcome import Ok
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented
from pipeline.rules import Rules


def run_again(decision: Decision, record: Segmented, rules: Rules) -> Decision | None:
    """What is decided on the same record, by `rules` of the configuration that the decision names
    and the history that it read; None: that record is not decided at all."""
    history = History(
        decision.contacts,
        decision.silenced,
        {one.holdout: one for one in decision.holdouts},
    )
    state = ContactState(Shards({"read": history}))
    outcome = step(decision.profile_id, record, state, rules)
    if not isinstance(outcome, Ok):
        return None
    made = (emit.value for emit in outcome.emits)
    return next((one for one in made if isinstance(one, Decision)), None)
