"""A decision made again from what it recorded."""

from dataclasses import replace

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
from pipeline.rules.knowledge import recorded_knowledge


def run_again(decision: Decision, record: Segmented, rules: Rules) -> Decision | None:
    """Decide again on the same record and history; None: that record is not decided at all.

    `rules` are of the configuration that the decision names. Of the snapshot that it names, what it
    read is recorded in it.
    """
    if rules.chooser is not None and decision.snapshot is not None:
        rules = replace(rules, chooser=rules.chooser.with_knowledge(recorded_knowledge(decision)))
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
    """Return the addresses that were another person's, by what they rejected.

    Where nothing was rejected for it, it did not matter.
    """
    traits = record.profile.traits if record.profile is not None else {}
    spaces = [
        rule.removeprefix(ANOTHERS) for rule in decision.rejected if rule.startswith(ANOTHERS)
    ]
    names = (f"{space}:{traits.get(address_trait(space))}" for space in spaces)
    return {name: Belonging(0, here=False, as_of=0) for name in names}
