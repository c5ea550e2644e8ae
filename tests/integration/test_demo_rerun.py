"""Every decision of the demonstration uses the shipped snapshot, and is the same when it is run
again from its record."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.adapters.config_files import load as load_config
from pipeline.config.learned import fixed_snapshot
from pipeline.config.model import Bundle, Source
from pipeline.decisioning.explain import explain, run_again
from pipeline.demo import dataset, script
from pipeline.flow import Flow
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Segmented
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules.knowledge import knowledge_of
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_SHOP = Source(name="web-shop", channel="web", write_key="not used here")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("days", "minimum"), [(30, 80), pytest.param(None, 3_000, marks=pytest.mark.chaos)]
)
def test_every_decision_of_the_demo_is_the_same_when_it_is_run_again(
    tmp_path: Path, days: int | None, minimum: int
) -> None:
    bundle = load_config(_DEMO, {})
    assert isinstance(bundle, Bundle)
    compiled_rules = rules(bundle)
    assert bundle.learned is not None
    snapshot = knowledge_of(fixed_snapshot(bundle.learned)).name
    flow = Flow(compiled_rules)
    segmented_records: dict[tuple[str, str], Segmented] = {}
    choice_count, evidence_count = 0, 0
    for interaction in _interactions(flow, dataset.load(tmp_path), days):
        decisions: list[Decision] = []
        for emit in _process(flow, interaction):
            if isinstance(emit.value, Segmented) and emit.value.interaction is not None:
                segmented_records[emit.key, emit.value.interaction.event_id] = emit.value
            if isinstance(emit.value, Decision):
                decisions.append(emit.value)
        for decision in decisions:
            record = segmented_records[decision.profile_id, decision.event_id]
            assert run_again(decision, record, compiled_rules) == decision
            choice_count += sum(choice.action_id is not None for choice in decision.choices)
            evidence_count += any(candidate.trials > 0 for candidate in decision.candidates)
            assert decision.snapshot == snapshot
            if decision.candidates:
                assert explain(decision, compiled_rules.config, "es").slots
    assert choice_count > minimum
    assert evidence_count > minimum
    assert not flow.dead_letters


def _interactions(
    flow: Flow, log: list[dataset.LogEvent], days: int | None
) -> Iterator[Interaction]:
    for day in islice(script.days(log), days):
        for visit_round in day.rounds:
            for step in (step for visit in visit_round.visits for step in visit):
                intake = RowIntake(flow.rules.config, _SHOP, 100_000, step.at, RowIds("log"))
                for message in step.messages:
                    interaction = intake.take_in(FileRow(1, msgspec.json.encode(message), 0))
                    assert isinstance(interaction, Interaction), interaction
                    interaction = replace(interaction, received_at=interaction.occurred_at)
                    if step.placement is not None:
                        request = DecideRequest("r", "g", (step.placement,), step.at)
                        interaction = replace(interaction, request=request)
                    yield interaction


def _process(flow: Flow, interaction: Interaction) -> list[Emit]:
    """Return the outputs of the timers due before the interaction, of the interaction, and of its
    customer's reactions to the actions."""
    emits = [*flow.advance(interaction.received_at), *flow.run(interaction)]
    for action in [emit.value for emit in emits if isinstance(emit.value, Action)]:
        name = ("impression", "dismiss", "bounce", "click")[int(action.action_id[0], 16) % 4]
        outcome = Interaction(
            event_id=action.action_id,
            kind="outcome",
            name=name,
            channel=action.channel,
            source="web-shop",
            occurred_at=action.created_at,
            received_at=interaction.received_at,
            identifiers=(action.identifier,),
            properties={"action_id": action.action_id},
        )
        emits += flow.run(outcome)
    return emits
