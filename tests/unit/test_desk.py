"""Tasks for people: the first person who takes one has it, whatever events follow."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.snapshots import StoredRecord
from pipeline.delivery.desk import OUTCOMES, TAKEN_OUTCOME, tasks_of
from pipeline.model.interaction import Identifier, Interaction, Scalar
from tests.unit.test_courier import _ACTION

_RESULTS = sorted({name for name, _ in OUTCOMES.values()})


def _outcome(name: str, person: str = "") -> Interaction:
    properties: dict[str, Scalar] = {"action_id": "a", **({"by": person} if person else {})}
    identifiers = (Identifier("email", "x@example.com"),)
    return Interaction("e", "outcome", name, "call", "adapters", 0, 0, identifiers, properties)


_OUTCOMES = st.lists(
    st.one_of(
        st.builds(_outcome, st.just(TAKEN_OUTCOME), st.sampled_from(["ana", "eva", "joe"])),
        st.builds(_outcome, st.sampled_from(_RESULTS)),
    )
)


@given(outcomes=_OUTCOMES, now=st.integers(0, 3_000))
def test_first_to_take_a_task_has_it_and_a_result_ends_it(
    outcomes: list[Interaction], now: int
) -> None:
    entry = StoredRecord("key", b"", 0, 0, 500, ())
    [task] = tasks_of([(entry, _ACTION)], outcomes, now)
    takers = [outcome.properties["by"] for outcome in outcomes if outcome.name == TAKEN_OUTCOME]
    assert task.by == (takers[0] if takers else None)
    assert task.until == 1_500
    if any(outcome.name != TAKEN_OUTCOME for outcome in outcomes):
        assert task.state == "done"
    elif takers:
        assert task.state == "taken"
    else:
        assert task.state == ("open" if now < 1_500 else "late")


def test_outcomes_of_other_actions_change_nothing() -> None:
    entry = StoredRecord("key", b"", 0, 0, 500, ())
    other_outcome = Interaction(
        "e", "outcome", "sent", "call", "adapters", 0, 0, (), {"action_id": "b", "by": "ana"}
    )
    [task] = tasks_of([(entry, _ACTION)], [other_outcome], 0)
    assert (task.state, task.by) == ("open", None)
