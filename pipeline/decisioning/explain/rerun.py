"""Rerun of a decision from the inputs that it recorded."""

from dataclasses import replace as with_fields

from msgspec.structs import replace

from pipeline.config.names import address_trait
from pipeline.decisioning import deferral
from pipeline.decisioning.deferral import DueDeferral
from pipeline.decisioning.eligibility import FOREIGN_ADDRESS
from pipeline.decisioning.funds import recorded_wallet
from pipeline.decisioning.state import ContactState, Deferral, History
from pipeline.decisioning.step import decide_again, step
from pipeline.model.belongings import Belonging
from pipeline.model.decision import Decision, DeferralInput
from pipeline.model.outcome import Ok
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.rules.knowledge import recorded_knowledge


def run_again(decision: Decision, record: Segmented, rules: Rules) -> Decision | None:
    """Decide again on the same record and history; None: the record has no decision.

    `rules` are of the configuration that the decision names. The decision records the part of its
    snapshot that it read.
    """
    if rules.chooser is not None and decision.snapshot is not None:
        rules = with_fields(
            rules, chooser=rules.chooser.with_knowledge(recorded_knowledge(decision))
        )
    if decision.budgets or decision.spends:
        rules = with_fields(rules, wallet=recorded_wallet(decision, rules.config.budgets))
    history = History(
        decision.contacts,
        decision.silenced,
        {holdout.holdout: holdout for holdout in decision.holdouts},
    )
    deferral_input = decision.again
    if deferral_input is not None:
        record = deferral.drop_request(record)
        record = replace(record, profile=deferral_input.profile, segments=deferral_input.segments)
    foreign_addresses = _foreign_addresses(decision, record)
    rerun = _decide(
        decision, record, ContactState(Shards({"read": history}), foreign_addresses), rules
    )
    confirmations = _shown_belongings(record)
    if rerun == decision or not confirmations:
        return rerun
    # A decision does not record whether an address was already confirmed.
    state = ContactState(Shards({"read": history}), {**confirmations, **foreign_addresses})
    alternative = _decide(decision, record, state, rules)
    return alternative if alternative == decision else rerun


def _decide(
    decision: Decision, record: Segmented, state: ContactState, rules: Rules
) -> Decision | None:
    if decision.again is None:
        outcome = step(decision.profile_id, record, state, rules)
    else:
        outcome = decide_again(_due_deferral(decision, decision.again, record), state, rules)
    if not isinstance(outcome, Ok):
        return None
    records = (emit.value for emit in outcome.emits)
    return next((value for value in records if isinstance(value, Decision)), None)


def _shown_belongings(record: Segmented) -> dict[str, Belonging]:
    """Return the identifiers that interactions ascribe to the customer."""
    shown_at = record.profile.shown if record.profile is not None else {}
    return {name: Belonging(0, here=True, as_of=0) for name in shown_at}


def _due_deferral(
    decision: Decision, deferral_input: DeferralInput, record: Segmented
) -> DueDeferral:
    """Return the deferral from which `decision` was made."""
    decided_at = decision.decided_at
    recorded_deferral = Deferral(
        deferral_input.first, deferral_input.since, decided_at, deferral_input.messages, record
    )
    return DueDeferral("read", recorded_deferral, decided_at).of(
        decision.profile_id, decision.config
    )


def _foreign_addresses(decision: Decision, record: Segmented) -> dict[str, Belonging]:
    """Return the addresses of other persons, from the rejections that they caused; other
    addresses have no effect on the decision.
    """
    traits = record.profile.traits if record.profile is not None else {}
    namespaces = [
        rule.removeprefix(FOREIGN_ADDRESS)
        for rule in decision.rejected
        if rule.startswith(FOREIGN_ADDRESS)
    ]
    names = (f"{namespace}:{traits.get(address_trait(namespace))}" for namespace in namespaces)
    return {name: Belonging(0, here=False, as_of=0) for name in names}
