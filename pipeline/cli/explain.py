"""`kairos explain`: reasons of a decision."""

from enum import StrEnum
from typing import Annotated

import typer
from msgspec import UNSET
from msgspec.structs import replace

from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.model_shelf import rules_with_models
from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.cli.times import iso
from pipeline.config.compile import Configuration
from pipeline.decisioning.explain import Explanation, explain, run_again
from pipeline.decisioning.explain.phrases import Language, phrase
from pipeline.home.codec import open_codec
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.stages import Segmented
from pipeline.settings import Settings


class ExplanationLanguage(StrEnum):
    """Languages of explanations."""

    EN = "en"
    ES = "es"

    @property
    def language(self) -> Language:
        """Value as `explain` takes it."""
        return self.value


LangOption = Annotated[ExplanationLanguage, typer.Option("--lang", help="Language of the texts.")]


def run(
    decision: Annotated[str, typer.Argument(metavar="DECISION_ID", help="ID of the decision.")],
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Decide again on the same record, and compare.")
    ] = False,
    lang: LangOption = ExplanationLanguage.EN,
    json: JsonOption = False,
) -> None:
    """Explain a decision: every candidate with its numbers, every rule that rejected one, and the
    smallest change that would flip the result."""
    settings = Settings()
    records = Records.of(settings)
    match = _find(records, decision)
    config = _load_configuration(settings, match)
    explanation = explain(match, config, lang.language)
    if rerun:
        explanation = replace(explanation, same=_is_same(records, match, config))
    if json:
        print_json(explanation)
    else:
        print_explanation(explanation, lang.language)


def print_explanation(explanation: Explanation, language: Language) -> None:
    """Print the explanation, and a table of candidates for each slot."""
    decided_at = iso(explanation.decided_at)
    out.print(
        f"decision {explanation.decision_id} of {decided_at}, configuration {explanation.config}"
    )
    if explanation.model is not UNSET:
        out.print(f"model {explanation.model}")
    out.print(explanation.words, markup=False)
    if explanation.same is not UNSET:
        out.print(phrase(language, "rerun same" if explanation.same else "rerun other"))
    out.print()
    columns = ["treatment", "channel", "p", "value", "cost", "weight", "score", "fate"]
    for slot in explanation.slots:
        rows = [[getattr(candidate, column) for column in columns] for candidate in slot.candidates]
        if rows:
            print_table(slot.slot, columns, rows)


def _find(records: Records, decision_id: str) -> Decision:
    encoded_id = decision_id.encode()
    decisions = records.read_all(
        topics.DECISIONS,
        Decision,
        lambda stored_record: stored_record.value is not None and encoded_id in stored_record.value,
    )
    match = next(
        (candidate for _, candidate in decisions if candidate.decision_id == decision_id), None
    )
    if match is None:
        fail(
            f"no decision {decision_id}: `kairos profile show NAMESPACE:VALUE` lists the last ones"
        )
    return match


def _load_configuration(settings: Settings, decision: Decision) -> Configuration:
    with open_configuration_log(settings.kafka(), open_codec(settings)) as log:
        config = log.get(decision.config)
    if config is None:
        fail(f"the decision's configuration {decision.config} is no longer available")
    return config


def _is_same(records: Records, decision: Decision, config: Configuration) -> bool:
    """Return whether deciding again on the record gives the same decision."""
    settings = records.settings
    rules = rules_with_models(
        load_rules(config, settings), decision.model, settings.kept_artifacts()
    )
    if isinstance(rules, str):
        fail(rules)
    event = decision.event_id.encode()
    # A decision may have been deferred under another key, before its profile merged.
    was_deferred = decision.again is not None
    inputs = records.read_all(
        topics.SEGMENTED,
        Segmented,
        lambda stored_record: (
            (was_deferred or stored_record.key == decision.profile_id)
            and stored_record.value is not None
            and event in stored_record.value
        ),
    )
    reruns = (run_again(decision, record, rules) for _, record in inputs)
    rerun_decision = next(
        (rerun for rerun in reruns if rerun and rerun.decision_id == decision.decision_id), None
    )
    if rerun_decision is None:
        fail("the record that was decided is no longer in interactions.segmented")
    return rerun_decision == decision
