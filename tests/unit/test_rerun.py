"""A decision is run again from its own record, without the state that it was made on."""

from msgspec.structs import replace

from pipeline.decisioning.explain import explain, run_again
from pipeline.decisioning.state import ContactState
from pipeline.decisioning.step import step
from pipeline.model.belongings import Belonging
from pipeline.model.decision import Decision
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from tests.support.deciding import Life, campaign, find_rejecting_rules, offer, world

_MAIL = {"treatment": "mail", "channel": "email", "address": "email"}


def _record(life: Life) -> Segmented:
    records = (emit.value for emit in life.emits if isinstance(emit.value, Segmented))
    return next(record for record in records if record.interaction is not None)


def test_rerun_rejects_the_address_of_another_person_again() -> None:
    life = Life(world(campaigns=[campaign("c", offer("o", 5, _MAIL), offer("p", 3))]))
    life.interact("Go", 0)
    record = _record(life)
    # The profile shows no address, since the row of the address assigns it to another person.
    record = replace(record, profile=replace(record.profile, shown={}))
    key = record.identity.profile_id
    assert record.profile.traits["identifier.email"] == "ada@example.com"
    belongings = {"email:ada@example.com": Belonging(1, here=False, as_of=9)}
    outcome = step(key, record, ContactState(belongings=belongings), life.flow.rules)
    assert isinstance(outcome, Ok)
    [decision] = [emit.value for emit in outcome.emits if isinstance(emit.value, Decision)]
    assert find_rejecting_rules(decision)["mail"] == "eligibility/address of another: email"
    assert run_again(decision, record, life.flow.rules) == decision
    words = explain(decision, life.flow.rules.config, "en").slots[0].rejected[0].words
    assert words == "the email that is known belongs to somebody else."


def test_rerun_under_other_rules_differs() -> None:
    life = Life(world(campaigns=[campaign("c", offer("o", 5))]))
    decision = life.interact("Go", 0)
    record = _record(life)
    other_rules = world(campaigns=[campaign("c", offer("o", 6))])
    assert run_again(decision, record, life.flow.rules) == decision
    assert run_again(decision, record, other_rules) != decision
