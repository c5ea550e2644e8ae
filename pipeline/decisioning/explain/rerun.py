"""A decision made again from what it recorded."""

from pipeline.config.names import address_trait
from pipeline.decisioning.eligibility import ANOTHERS
from pipeline.decisioning.state import ContactState, History
from pipeline.decisioning.step import step
from pipeline.model.belongings import Belonging
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
    state = ContactState(Shards({"read": history}), _of_others(decision, record))
    outcome = step(decision.profile_id, record, state, rules)
    if not isinstance(outcome, Ok):
        return None
    made = (emit.value for emit in outcome.emits)
    return next((one for one in made if isinstance(one, Decision)), None)


def _of_others(decision: Decision, record: Segmented) -> dict[str, Belonging]:
    """The addresses that were somebody else's. They are known by what they felled: where none fell
    for it, it did not matter."""
    traits = record.profile.traits if record.profile is not None else {}
    spaces = [
        rule.removeprefix(ANOTHERS) for rule in decision.rejected if rule.startswith(ANOTHERS)
    ]
    names = (f"{space}:{traits.get(address_trait(space))}" for space in spaces)
    return {name: Belonging(0, here=False, as_of=0) for name in names}
