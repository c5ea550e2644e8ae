"""Names that other programs rely on: fields of JSON documents, settings, commands and their
options.

A change of a name in this file is a change of contract, and needs a line in CHANGELOG.md.
"""

import msgspec
import pytest

from pipeline.decisioning.explain import Explanation
from pipeline.decisioning.explain.explanation import (
    ChosenTreatment,
    ExplainedCandidate,
    ExplainedSlot,
)
from pipeline.decisioning.explain.flip import Flip
from pipeline.decisioning.explain.rules_in_words import RejectedTreatment
from pipeline.ingest.taking import FileReport
from pipeline.insights.off_policy import Estimate, OffPolicy
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action
from pipeline.model.interaction import Context, Interaction
from pipeline.settings import Settings
from pipeline.simulate.files import WrittenFiles
from pipeline.stack.status import ProcessStatus
from tests.support.readme import unknown_parts

_FIELDS = {
    Explanation: "decision_id profile_id decided_at config snapshot slots words same",
    ExplainedSlot: "slot chosen propensity candidates rejected flip",
    ChosenTreatment: "treatment offer campaign channel",
    ExplainedCandidate: "treatment channel p value cost weight score fate pros cons",
    RejectedTreatment: "treatment stage rule words",
    Flip: "what from to",
    OffPolicy: "n ess ips snips dr",
    Estimate: "value low high",
    FileReport: "file rows sent rejected state reason",
    ProcessStatus: "name pid ports lag state",
    WrittenFiles: "folder interactions persons",
    DeadLetterRecord: "stage reason topic partition offset key value",
    Action: "action_id decision_id profile_id treatment offer campaign deadline_at token",
    Interaction: "event_id kind name channel source occurred_at received_at identifiers properties "
    "context",
    Context: "ip user_agent url referrer locale timezone campaign consent",
}

_COMMANDS = (
    "kairos demo",
    "kairos up --config --workers",
    "kairos down",
    "kairos status --json --until-idle",
    "kairos broker start",
    "kairos broker stop",
    "kairos broker status --json",
    "kairos worker",
    "kairos gateway",
    "kairos adapter",
    "kairos learner",
    "kairos config validate --json",
    "kairos config plan --json",
    "kairos config apply --json",
    "kairos config history --json",
    "kairos send --source --json",
    "kairos ingest --once --json",
    "kairos profile show --json",
    "kairos profile export --all --out --at --json",
    "kairos profile forget --json",
    "kairos profile unlink --json",
    "kairos explain --json --rerun",
    "kairos preview --channel --placement --event --json",
    "kairos replay --topic --from --to --out --what-if --json",
    "kairos backtest --input --config --out --json",
    "kairos train propensity --json",
    "kairos train score --json",
    "kairos models list --json",
    "kairos models promote --json",
    "kairos models rollback --json",
    "kairos insights campaigns --engine --json",
    "kairos insights attribution --engine --json",
    "kairos insights journeys --engine --json",
    "kairos insights segments --engine --json",
    "kairos insights anomalies --engine --json",
    "kairos insights report --engine --json",
    "kairos insights off-policy --log --json",
    "kairos simulate bank --customers --days --seed --out --live",
    "kairos dlq list --json",
    "kairos dlq show --json",
    "kairos doctor --json",
    "kairos bench latency --json",
)

_SETTINGS = (
    "home bootstrap_servers broker_port partitions retention_hours workers gateway_host "
    "gateway_port decide_budget_ms max_action_age_s commit_interval_ms schema_registry_url "
    "secret log_level"
)


@pytest.mark.parametrize("record", _FIELDS, ids=lambda record: record.__name__)
def test_fields_of_a_document_keep_their_names(record: type) -> None:
    info = msgspec.inspect.type_info(record)
    assert isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType)
    assert {*_FIELDS[record].split()} <= {field.encode_name for field in info.fields}


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_keep_their_names_and_options(command: str) -> None:
    assert unknown_parts(command) == []


def test_settings_keep_their_names() -> None:
    assert {*_SETTINGS.split()} <= Settings.model_fields.keys()
