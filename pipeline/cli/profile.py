"""`kairos profile`: one person, or all of them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.tree import Tree

from pipeline.adapters.records import Records
from pipeline.cli.console import JsonOption, err, fail, out, print_json, print_table
from pipeline.cli.times import iso
from pipeline.model.interaction import Identifier
from pipeline.profiles.export import export_all
from pipeline.profiles.person import Person, find
from pipeline.settings import Settings
from pipeline.stack.configuration import applied_configuration

app = typer.Typer()

Who = Annotated[str, typer.Argument(metavar="NAMESPACE:VALUE", help="Any identifier.")]


@app.command()
def show(who: Who, json: JsonOption = False) -> None:
    """Who it is, what is known, the segments, and the last decisions."""
    person = _find(who)
    if json:
        print_json(person)
    else:
        _print(person)


@app.command()
def export(
    who: Annotated[
        str | None, typer.Argument(metavar="NAMESPACE:VALUE", help="Any identifier.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="All profiles, as Parquet files in --out.")
    ] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the Parquet files.")
    ] = None,
) -> None:
    """One person as JSON, or all of them as Parquet.

    With --all --out DIR three files are written: profiles.parquet (profile_id, attributes,
    metrics), identifiers.parquet (profile_id, namespace, value) and memberships.parquet
    (profile_id, segment, entered_at). attributes (declared traits that hold one value) and metrics
    (sums, counts, first_seen, last_seen, sessions, interactions, identifiers) are JSON text:
    in DuckDB, `SELECT attributes->>'platform' FROM 'DIR/profiles.parquet'`.
    """
    if who is not None and not everybody and out_folder is None:
        print_json(_find(who))
    elif who is None and everybody and out_folder is not None:
        _export_all(out_folder)
    else:
        raise typer.BadParameter("give one NAMESPACE:VALUE, or --all with --out DIR")


def _export_all(folder: Path) -> None:
    settings = Settings()
    configuration = applied_configuration(settings)
    rules = configuration.trait_rules if configuration else {}
    with err.status("reading profiles"):
        done = export_all(Records.of(settings), rules, folder)
    out.print(
        f"{done.profiles} profiles, {done.identifiers} identifiers and "
        f"{done.memberships} memberships in {folder}"
    )


def _find(who: str) -> Person:
    try:
        identifier = Identifier.parse(who)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, for example email:ada@example.com") from error
    person = find(Records.of(Settings()), identifier)
    if person is None:
        fail(f"nobody is known as {who}")
    return person


def _print(person: Person) -> None:
    out.print(f"profile {person.profile_id}")
    out.print(f"seen    {iso(person.first_seen)} to {iso(person.last_seen)}\n")
    out.print(_tree(person))
    print_table("Traits", ["trait", "value"], [[k, str(v)] for k, v in person.traits.items()])
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


def _tree(person: Person) -> Tree:
    """From the top down; an identifier whose parent is of another person hangs under the top."""
    top = Tree(person.root)
    nodes = {person.root: top}
    waiting = [link for link in person.tree if link.identifier != person.root]
    while waiting:
        placed = [link for link in waiting if link.parent in nodes] or waiting
        for link in placed:
            since = f"  (since {iso(link.evidence.occurred_at)})" if link.evidence else ""
            parent = nodes.get(link.parent or "", top)
            nodes[link.identifier] = parent.add(f"{link.identifier}{since}")
        waiting = [link for link in waiting if link.identifier not in nodes]
    return top
