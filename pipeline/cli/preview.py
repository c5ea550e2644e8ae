"""`kairos preview`: decision for a customer as of now, without writing anything."""

from collections.abc import Iterable
from dataclasses import replace as replace_rules
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from msgspec.structs import replace

from agents.stored_rows import read_stored_states
from pipeline.adapters.budget_log import read_budgets
from pipeline.adapters.clock import now_ms
from pipeline.adapters.latest_learning import follow_learning
from pipeline.cli.console import JsonOption, fail, print_json
from pipeline.cli.explain import ExplanationLanguage, LangOption, print_explanation
from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.decisioning.explain import Explanation, explain
from pipeline.decisioning.funds import wallet_of
from pipeline.flow import Flow, Stage
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.intake.refusal import Refusal
from pipeline.model.decision import Decision
from pipeline.model.ids import profile_id
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.profile_reads.person import find_person
from pipeline.profile_reads.topic_scan import TopicScan
from pipeline.row_files.row import FileFormat, UnreadableRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.row_files.rows import open_rows
from pipeline.settings import Settings

_NAME = "Preview"
_PREVIEW_SOURCE = Source(name="preview", channel="web", write_key="no key: nobody sends by it")


def run(
    person: Annotated[
        str,
        typer.Argument(
            metavar="NAMESPACE:VALUE",
            help="Any identifier of the customer, such as email:ada@example.com.",
        ),
    ],
    channel: Annotated[
        str | None,
        typer.Option(help="Channel that the customer uses; its placements are requested."),
    ] = None,
    placement: Annotated[
        list[str] | None, typer.Option(help="Placement to request; may be repeated.")
    ] = None,
    event: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with the interaction, in a form that `kairos send` reads. Default: an "
            "interaction that triggers nothing.",
        ),
    ] = None,
    lang: LangOption = ExplanationLanguage.EN,
    json: JsonOption = False,
) -> None:
    """Decide for a customer as the pipeline would now, and explain; writes nothing, uses no cap.

    The interaction passes through all four stages, with their current state. Without --placement,
    all placements of --channel are requested; without --channel, those of every channel.
    """
    settings = Settings()
    config = applied_configuration(settings)
    if config is None:
        fail("no configuration was applied yet: `kairos config apply DIR`")
    identifier = _identifier(person, config)
    placements = _requested_placements(config, channel, placement)
    interaction = _with_request(_read_interaction(event, identifier, channel, config), placements)
    explanation = _preview(settings, config, interaction, lang)
    if json:
        print_json(explanation)
    else:
        print_explanation(explanation, lang.language)


def _identifier(text: str, config: Configuration) -> Identifier:
    try:
        normal_identifier = config.identity.normalise(Identifier.parse(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}, for example email:ada@example.com") from error
    if isinstance(normal_identifier, str):
        raise typer.BadParameter(normal_identifier)
    return normal_identifier


def _requested_placements(
    config: Configuration, channel: str | None, placements: list[str] | None
) -> tuple[str, ...]:
    """Return the requested placements; fail for unknown ones."""
    channels = config.channels
    if channel is not None and channel not in channels:
        fail(f"channels.yaml has no channel {channel!r}; it has {', '.join(sorted(channels))}")
    available = [
        name
        for entry in channels.values()
        if channel in (None, entry.name)
        for name in entry.placements
    ]
    for name in placements or ():
        if name not in available:
            fail(f"there is no placement {name!r}; there are {', '.join(available) or 'none'}")
    return tuple(placements or available)


def _read_interaction(
    file: Path | None, identifier: Identifier, channel: str | None, config: Configuration
) -> Interaction:
    received_at = now_ms()
    source = replace(_PREVIEW_SOURCE, channel=channel or _PREVIEW_SOURCE.channel)
    if file is None:
        return Interaction(
            event_id=str(uuid4()),
            kind="track",
            name=_NAME,
            channel=source.channel,
            source=source.name,
            occurred_at=received_at,
            received_at=received_at,
            identifiers=(identifier,),
        )
    max_bytes = Settings().gateway_message_bytes
    intake = RowIntake(config, source, max_bytes, received_at, RowIds(str(file), ()))
    row = next(iter(open_rows(file, FileFormat(max_bytes)).rows()), None)
    if row is None:
        fail(f"{file} has no record")
    interaction = row if isinstance(row, UnreadableRow) else intake.take_in(row)
    if isinstance(interaction, Refusal | UnreadableRow):
        fail(f"{file}:{row.line}: {interaction.message}")
    names = config.identity.rank({identifier, *interaction.identifiers})
    return replace(interaction, event_id=str(uuid4()), identifiers=names)


def _with_request(interaction: Interaction, placements: tuple[str, ...]) -> Interaction:
    if not placements:
        return interaction
    deadline = interaction.received_at
    request = DecideRequest(str(uuid4()), "preview", placements, deadline)
    return replace(interaction, request=request)


def _preview(
    settings: Settings, config: Configuration, interaction: Interaction, lang: ExplanationLanguage
) -> Explanation:
    names = {identifier.key for identifier in interaction.identifiers}
    identifiers, profiles = _find_affected_keys(settings, names)

    def rows(stage: Stage) -> dict[str, Any]:
        keys = identifiers if stage.name == "identity" else profiles
        return dict(read_stored_states(settings, stage, keys))

    learning, follower = follow_learning(
        settings.kafka(), open_codec(settings), settings.kept_artifacts()
    )
    follower.stop()
    rules = load_rules(config, settings, learning.knowledge())
    if config.budgets:
        budgets = read_budgets(settings.kafka(), open_codec(settings))
        rules = replace_rules(rules, wallet=wallet_of(budgets.values()))
    flow = Flow(learning.models.equip(rules), rows)
    records = [emit.value for emit in flow.run(interaction)]
    for stage, letter in flow.dead_letters:
        fail(f"{stage}: {letter.reason}: {letter.detail}")
    decisions = [record for record in records if isinstance(record, Decision)]
    matches = [decision for decision in decisions if decision.event_id == interaction.event_id]
    if not matches:
        fail("no decision follows from this interaction")
    return explain(matches[-1], config, lang.language)


def _find_affected_keys(settings: Settings, names: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the keys of all identifiers and profiles that the interaction may affect."""
    people = TopicScan(Records.of(settings))
    identifiers, profiles = set(names), {profile_id(Identifier.parse(name)) for name in names}
    for name in names:
        person = find_person(people, Identifier.parse(name))
        if person is not None:
            identifiers |= {link.identifier for link in person.tree}
            profiles.add(person.profile_id)
    return identifiers, profiles
