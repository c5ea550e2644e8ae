"""`kairos config`: check, plan, application and history of a folder of configuration."""

import getpass
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from pipeline.adapters.catalog_table import warn_of_similar_ids
from pipeline.adapters.config_artifacts import store_files
from pipeline.adapters.config_files import ConfigError, load, load_file, locate_problem
from pipeline.adapters.config_log import ConfigurationLog, open_configuration_log
from pipeline.adapters.config_salvage import ConfigFile
from pipeline.cli.console import JsonOption, err, out, print_error, print_json, print_table
from pipeline.cli.effect import RolloutResult, roll_out, usable_versions
from pipeline.cli.plain import plain
from pipeline.cli.times import iso
from pipeline.conditions import Problem
from pipeline.config.canonical import from_json, to_json
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.keys import mask_secrets
from pipeline.config.model import Bundle
from pipeline.config.schema import FILE_KINDS, published_files
from pipeline.home.codec import open_codec
from pipeline.home.records import Records
from pipeline.model.configuration import ConfigurationRecord
from pipeline.profile_reads.member_profiles import open_profiles
from pipeline.rollout.plan import RolloutPlan
from pipeline.rollout.plan import plan as make_plan
from pipeline.settings import Settings

app = typer.Typer()

_MAX_WARNINGS: Final = 20

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of YAML files.")]


@app.command()
def validate(folder: Folder, json: JsonOption = False) -> None:
    """Check a folder; every error names file, line, column and remedy. Exit code 1 on errors.

    Valid entries that are probably mistakes are reported as warnings.
    """
    config = _load_checked(folder, json)
    warnings = doubtful_item_warnings(folder, config.bundle)
    if json:
        answer = {"valid": True, "digest": config.digest, "errors": [], "warnings": warnings}
        print_json(answer)
        return
    _print_warnings(warnings)
    parts = f"{len(config.segments)} segments, {len(config.bundle.campaigns)} campaigns"
    out.print(f"{folder} is valid: {parts}, digest {config.digest}")


@app.command()
def apply(
    folder: Folder,
    by: Annotated[
        str, typer.Option(help="Name of the person who applies the folder.")
    ] = getpass.getuser(),
    evaluate: Annotated[
        bool,
        typer.Option(
            help="Back-fill new metrics and evaluate the affected profiles, beside live traffic."
        ),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Put a folder into force: agents and gateway adopt it between two interactions.

    Then new metrics are back-filled from the log, and every profile that the change affects is
    evaluated, without waiting for its next interaction. Applying a folder that is already in force
    only repeats this, for all profiles.
    """
    bundle = _load_checked(folder, json).bundle
    store_files(bundle, folder, Settings().kept_artifacts())
    with _open_log() as log:
        version = log.apply(bundle, by)
        if not json:
            message = "is in force" if version.changed else "is in force already"
            out.print(f"configuration {version.digest} {message}")
        effect = RolloutResult()
        if evaluate:
            effect = roll_out(Settings(), log, all_profiles=not version.changed)
    if json:
        print_json({**asdict(version), **asdict(effect)})


@app.command()
def plan(folder: Folder, json: JsonOption = False) -> None:
    """Show the effect of applying a folder: entries and exits per segment, and the customers that
    each campaign can reach. Writes nothing."""
    proposal = _load_checked(folder, json)
    with _open_log() as log:
        versions = usable_versions(log)
    with open_profiles(Records.of(Settings())) as profiles:
        rollout = make_plan(profiles, versions, proposal)
    warnings = [
        *unreachable_campaign_warnings(folder, rollout),
        *doubtful_item_warnings(folder, proposal.bundle),
    ]
    if json:
        print_json({**msgspec.structs.asdict(rollout), "warnings": warnings})
        return
    if not rollout.changed:
        out.print(f"configuration {rollout.digest} is in force already")
    _print_segments(rollout)
    reach = [
        (campaign.campaign, campaign.reach, "+" * campaign.unknown)
        for campaign in rollout.campaigns
    ]
    print_table("Customers that campaigns can reach", ("campaign", "profiles", ""), reach)
    _print_warnings(warnings)
    _print_plan_notes(rollout)


def _print_segments(rollout: RolloutPlan) -> None:
    rows = [
        (
            segment.segment,
            segment.now,
            segment.enter,
            segment.leave,
            segment.after,
            "*" * segment.waits + "+" * segment.unknown,
        )
        for segment in rollout.segments
    ]
    columns = ("segment", "now", "enter", "leave", "after", "")
    print_table(f"{rollout.profiles:,} profiles by configuration {rollout.digest}", columns, rows)


def _print_plan_notes(rollout: RolloutPlan) -> None:
    if any(segment.waits for segment in rollout.segments):
        out.print("* reads interactions: the next one of each profile decides")
    unknown_flags = [segment.unknown for segment in rollout.segments]
    unknown_flags += [campaign.unknown for campaign in rollout.campaigns]
    if any(unknown_flags):
        out.print("+ reads a new trait: its members are known once the configuration is applied")
    if rollout.filled:
        out.print(f"back-filled from earlier interactions: {', '.join(rollout.filled)}")
    if rollout.counting_from_now:
        names = ", ".join(rollout.counting_from_now)
        out.print(f"counting from now, without earlier interactions: {names}")


@app.command()
def history(json: JsonOption = False) -> None:
    """List every applied version, the oldest first: digest, time, author."""
    with _open_log() as log:
        records = log.history()
    rows = [
        {
            "digest": record.digest,
            "applied_at": iso(record.applied_at),
            "applied_by": record.applied_by,
        }
        for record in records
    ]
    if json:
        print_json(rows)
    elif rows:
        print_table("Configurations", list(rows[0]), [list(row.values()) for row in rows])
    else:
        out.print("no configuration was applied yet: `kairos config apply DIR`")


@app.command()
def show(
    digest: Annotated[
        str | None,
        typer.Argument(
            help="Digest of the version, or its first characters. Default: the newest version."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show an applied version as JSON without defaults, with keys and secrets masked."""
    with _open_log() as log:
        matches = [record for record in log.history() if record.digest.startswith(digest or "")]
    if not matches:
        print_error(
            f"no configuration {digest}: `kairos config history` lists the applied ones"
            if digest
            else "no configuration was applied yet: `kairos config apply DIR`"
        )
        raise typer.Exit(1)
    record = matches[-1]
    body = _mask(record)
    if json:
        print_json({**msgspec.structs.asdict(record), "body": body})
    else:
        out.print(
            plain(f"{record.digest}, applied {iso(record.applied_at)} by {record.applied_by}")
        )
        print_json(body)


@app.command()
def schemas(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the schemas.")],
) -> None:
    """Write the JSON Schemas of the configuration's files into a folder, for editors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in published_files().items():
        (folder / name).write_text(text, encoding="utf-8")
        out.print(str(folder / name))


def _mask(record: ConfigurationRecord) -> msgspec.Raw:
    return msgspec.Raw(to_json(mask_secrets(from_json(record.body))).encode())


def unreachable_campaign_warnings(folder: Path, rollout: RolloutPlan) -> list[ConfigError]:
    """Return a warning for each campaign that can reach no customer, with its position."""
    names, warnings = rollout.campaigns_without_reach(), []
    message = (
        f"none of {rollout.profiles:,} profiles is in its audience and has an address for it: "
        "widen the audience, or add a channel that reaches them"
    )
    for path in sorted((folder / "campaigns").glob("*.yaml")) if names else ():
        file = load_file(path, FILE_KINDS["campaigns"])
        assert isinstance(file, ConfigFile)  # the folder is valid
        if msgspec.convert(file.document.value, dict[str, Any]).get("campaign") in names:
            warnings.append(locate_problem(file, Problem(("audience",), message)))
    return warnings


def doubtful_item_warnings(folder: Path, bundle: Bundle) -> list[ConfigError]:
    """Return warnings of items that may duplicate other items of their catalogue: at most 20, and
    one more with the number of further warnings."""
    warnings = [
        ConfigError(fault.file, fault.line, 1, fault.message)
        for catalog in bundle.catalogs
        for fault in warn_of_similar_ids(catalog, folder)
    ]
    if len(warnings) > _MAX_WARNINGS:
        remaining_count, next_warning = len(warnings) - _MAX_WARNINGS, warnings[_MAX_WARNINGS]
        message = f"and {remaining_count:,} more such ids"
        warnings[_MAX_WARNINGS:] = [replace(next_warning, message=message)]
    return warnings


def _print_warnings(warnings: Sequence[ConfigError]) -> None:
    for warning in warnings:
        err.print(plain(f"warning: {warning}"), soft_wrap=True)


def _load_checked(folder: Path, json: bool) -> Configuration:
    bundle = load(folder)
    if isinstance(bundle, Bundle):
        config = compile_bundle(bundle)
        assert isinstance(config, Configuration)
        return config
    if json:
        print_json({"valid": False, "digest": None, "errors": bundle})
    else:
        for error in bundle:
            err.print(plain(str(error)), soft_wrap=True)
        print_error(f"{folder} has {len(bundle)} error{'s' if len(bundle) > 1 else ''}")
    raise typer.Exit(1)


def _open_log() -> AbstractContextManager[ConfigurationLog]:
    settings = Settings()
    return open_configuration_log(settings.kafka(), open_codec(settings))
