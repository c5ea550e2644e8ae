"""`kairos profile`: one customer, or all customers."""

from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import asdict
from rich.text import Text
from rich.tree import Tree

from pipeline.adapters.clock import now_ms
from pipeline.cli.console import JsonOption, err, fail, out, print_json, print_table
from pipeline.cli.plain import plain
from pipeline.cli.times import iso, optional_ms
from pipeline.config.compile import Configuration
from pipeline.config.names import TIMES, is_since_trait
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.identity import requests
from pipeline.identity.log import Link
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import FactValue, Identifier
from pipeline.profile_reads.as_of import open_profiles_as_of
from pipeline.profile_reads.export import export_all
from pipeline.profile_reads.identity_requests import remaining_records, request_and_wait
from pipeline.profile_reads.member_profiles import open_profiles
from pipeline.profile_reads.person import Person, find_person, link_history, were_linked
from pipeline.profile_reads.topic_scan import TopicScan
from pipeline.settings import Settings

app = typer.Typer()

_PENDING_NOTE = " (once the stages run: they did not answer in time)"
_CHANGE_WORDS = {"link": "linked", "unlink": "unlinked"}

IdentifierArgument = Annotated[
    str, typer.Argument(metavar="NAMESPACE:VALUE", help="Any identifier of the customer.")
]


class PersonReport(Person, frozen=True, kw_only=True):
    """Person with `history` (the changes of the tree, in order) and the last `decisions`."""

    history: tuple[IdentityChange, ...]
    decisions: tuple[Decision, ...]


@app.command()
def show(text: IdentifierArgument, json: JsonOption = False) -> None:
    """Show a customer: identifiers, traits, segments, and the last decisions."""
    report = _load_person_report(_read_identifier(text, Settings()))
    if json:
        print_json(report)
    else:
        _print(report)


@app.command()
def export(
    text: Annotated[
        str | None,
        typer.Argument(metavar="NAMESPACE:VALUE", help="Any identifier of the customer."),
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="All profiles, as Parquet files in --out.")
    ] = False,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", file_okay=False, help="Folder for the Parquet files."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --all: profiles as of this time (ISO 8601; UTC if no zone is given), by "
            "replaying `interactions` with the configuration in force now. Default: the last "
            "snapshots.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print one customer as JSON, or write all of them as Parquet.

    `--all --out DIR` writes three files: profiles.parquet (profile_id, attributes, metrics),
    identifiers.parquet (profile_id, namespace, value) and memberships.parquet (profile_id, segment,
    entered_at). metrics (counts, sums, averages, distinct counts, whatever has a window, and
    first_seen, last_seen, sessions, interactions, identifiers) and attributes (the other traits)
    are JSON text: in DuckDB, `SELECT attributes->>'platform' FROM 'DIR/profiles.parquet'`.
    """
    if text is not None and not everybody and out_folder is None and at is None:
        print_json(_load_person_report(_read_identifier(text, Settings())))
    elif text is None and everybody and out_folder is not None:
        _export_all(out_folder, optional_ms(at), json)
    else:
        raise typer.BadParameter("give one NAMESPACE:VALUE, or --all with --out DIR")


def _export_all(folder: Path, at: int | None, json: bool) -> None:
    settings = Settings()
    configuration = _load_configuration(settings)
    records = Records.of(settings)
    rules = load_rules(configuration, settings)
    profiles = open_profiles(records) if at is None else open_profiles_as_of(records, rules, at)
    with err.status("reading profiles"), profiles as people:
        report = export_all(people, configuration.bundle.profile.traits, folder)
    if json:
        print_json(report)
        return
    out.print(
        f"{report.profiles} profiles, {report.identifiers} identifiers and "
        f"{report.memberships} memberships in {folder}"
    )


@app.command()
def unlink(
    identifier: IdentifierArgument, other_identifier: IdentifierArgument, json: JsonOption = False
) -> None:
    """Remove the link between two identifiers, until they are seen together again.

    Profiles and segments are recomputed without the link; messages already sent stay with the
    identifier that caused them.
    """
    settings = Settings()
    first, second = (
        _read_identifier(identifier, settings),
        _read_identifier(other_identifier, settings),
    )
    if not were_linked(_open_topic_scan(), first, second):
        fail(f"{first.key} and {second.key} are not linked: see `kairos profile show {first.key}`")
    is_done = request_and_wait(settings, requests.unlink(first, second, now_ms()))
    people = {name.key: find_person(_open_topic_scan(), name) for name in (first, second)}
    profiles = {name: person and person.profile_id for name, person in people.items()}
    if json:
        print_json({"unlinked": [first.key, second.key], "done": is_done, "profiles": profiles})
        return
    out.print(
        plain(f"{first.key} and {second.key} are no longer linked") + _PENDING_NOTE * (not is_done)
    )
    for person in people.values():
        if person is not None:
            out.print(_tree(person))


@app.command()
def forget(text: IdentifierArgument, json: JsonOption = False) -> None:
    """Forget a customer: delete all state of the stages, and the snapshots.

    Lists the places where older records remain, and until when. A customer who returns gets a new
    profile.
    """
    settings = Settings()
    identifier = _read_identifier(text, settings)
    person = _find(identifier)
    requested_at = now_ms()
    is_done = request_and_wait(settings, requests.forget(identifier, requested_at))
    configuration = applied_configuration(settings)
    remaining = remaining_records(
        settings, tuple(configuration.channels) if configuration else (), requested_at
    )
    names = [link.identifier for link in person.tree]
    if json:
        print_json(
            {"forgotten": names, "done": is_done, "at": requested_at, "remaining": remaining}
        )
        return
    out.print(plain(f"forgotten: {', '.join(names)}") + _PENDING_NOTE * (not is_done))
    rows = [
        [place.topic, "you delete them there" if place.until is None else iso(place.until)]
        for place in remaining
    ]
    print_table("Older records remain in", ["place", "until, at the latest"], rows)


def _read_identifier(text: str, settings: Settings) -> Identifier:
    """Return the identifier as the configuration in force normalises it."""
    try:
        identifier = Identifier.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, for example email:ada@example.com") from error
    normal_identifier = _load_configuration(settings).identity.normalise(identifier)
    if isinstance(normal_identifier, str):
        raise typer.BadParameter(normal_identifier)
    return normal_identifier


def _load_configuration(settings: Settings) -> Configuration:
    configuration = applied_configuration(settings)
    if configuration is None:
        fail("no configuration was applied yet: `kairos config apply DIR`")
    return configuration


def _open_topic_scan() -> TopicScan:
    return TopicScan(Records.of(Settings()))


def _find(identifier: Identifier) -> Person:
    person = find_person(_open_topic_scan(), identifier)
    if person is None:
        fail(f"there is no profile of {identifier.key}")
    return person


def _load_person_report(identifier: Identifier) -> PersonReport:
    people, person = _open_topic_scan(), _find(identifier)
    return PersonReport(
        **asdict(person),
        history=link_history(people, person),
        decisions=people.decisions(person.profile_id, person.root),
    )


def _print(person: PersonReport) -> None:
    out.print(f"profile {person.profile_id}")
    out.print(f"seen    {iso(person.first_seen)} to {iso(person.last_seen)}\n")
    out.print(_tree(person))
    columns = ["when", "what", "identifier", "other", "interaction", "rule"]
    print_table("Links", columns, _history(person))
    print_table(
        "Traits", ["trait", "value"], [[k, _format_value(k, v)] for k, v in person.traits.items()]
    )
    segments = [[name, iso(at)] for name, at in sorted(person.segments.items())]
    print_table("Segments", ["segment", "since"], segments)
    print_table(
        "Last decisions",
        ["when", "slot", "offer", "campaign", "decision"],
        [
            [iso(d.decided_at), c.slot, c.offer or "nothing", c.campaign or "", d.decision_id]
            for d in person.decisions
            for c in d.choices
        ],
    )


def _format_value(trait: str, value: FactValue) -> str:
    """Return a value as text: lists without brackets, Kairos' own times as ISO 8601."""
    if isinstance(value, tuple):
        return ", ".join(value)
    is_time = trait in TIMES or is_since_trait(trait)
    return iso(value) if is_time and isinstance(value, int) else str(value)


def _tree(person: Person) -> Tree:
    """Return the identifiers from the root down.

    An identifier whose parent belongs to another person is placed under the root.
    """
    top = Tree(Text(plain(person.root)))
    nodes = {person.root: top}
    unplaced_links = [link for link in person.tree if link.identifier != person.root]
    while unplaced_links:
        next_links = [link for link in unplaced_links if link.parent in nodes] or unplaced_links
        for link in next_links:
            parent = nodes.get(link.parent or "", top)
            nodes[link.identifier] = parent.add(
                Text.assemble(plain(link.identifier), (plain(_evidence_note(link)), "dim"))
            )
        unplaced_links = [link for link in unplaced_links if link.identifier not in nodes]
    return top


def _evidence_note(link: Link) -> str:
    if link.evidence is None:
        return ""
    evidence = link.evidence
    return f"  {evidence.rule} in {evidence.event_id} at {iso(evidence.occurred_at)}"


def _history(person: PersonReport) -> list[list[str]]:
    return [
        [
            iso(change.at),
            _CHANGE_WORDS.get(change.kind, change.kind),
            change.identifier,
            change.other or "",
            change.evidence.event_id if change.evidence else "",
            change.evidence.rule if change.evidence else "",
        ]
        for change in person.history
    ]
