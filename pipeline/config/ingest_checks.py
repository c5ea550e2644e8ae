"""Checks of ingest.yaml beyond its form."""

import codecs
import re
from base64 import b64decode
from binascii import Error as NoBase64Error
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from pipeline.conditions import Path, Problem, did_you_mean
from pipeline.config import model
from pipeline.config.delimiters import delimiter_by_name
from pipeline.config.feeds import complete_by_feed
from pipeline.config.names import Names, check_name
from pipeline.config.policy_checks import repetition_problems
from pipeline.config.regex import PatternProblem, pattern
from pipeline.config.zones import zone

_SINGLE_TARGETS: Final = ("time", "name", "kind", "id", "channel", "delete", "ignore")
_SECTIONS: Final = ("identifiers", "properties", "traits", "lists", "context")
_CONTEXT_FIELDS: Final = ("ip", "user_agent", "url", "referrer", "locale", "timezone")
_PERMISSIONS: Final = ("permission.state", "permission.channel", "permission.purpose")
_CONTEXT_MAPS: Final = ("campaign.", "consent.")
_HOST_KEY: Final = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ ([A-Za-z0-9+/=]+)( .*)?")
_WIDE_ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-16-be")


def ingest_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    """Check the watches, and yield their problems."""
    watches = bundle.ingest.watches
    yield from repetition_problems(
        "watch", ("ingest", "watches"), "watch", [watch.watch for watch in watches]
    )
    sources = frozenset(source.name for source in bundle.sources.sources)
    catalogs = frozenset(catalog.catalog for catalog in bundle.catalogs)
    for index, declared_watch in enumerate(watches):
        path: Path = ("ingest", "watches", index)
        watch = complete_by_feed(declared_watch)
        yield from check_name("source", watch.source, sources, (*path, "source"))
        yield from _location_problems(watch, path)
        yield from _ready_rule_problems(watch.ready, (*path, "ready"))
        yield from _csv_problems(watch.csv, (*path, "csv"))
        yield from _time_problems(watch.time, (*path, "time"))
        if watch.catalog is not None:
            yield from _catalog_problems(declared_watch, path, catalogs)
        else:
            yield from _column_problems(watch, path, names)
        if watch.replaces:
            yield from _whole_list_problems(watch, path)
        if watch.permissions is not None:
            yield from _permissions_problems(watch, watch.permissions, path, bundle)


def _catalog_problems(
    watch: model.Watch, path: Path, catalogs: frozenset[str]
) -> Iterator[Problem]:
    assert watch.catalog is not None
    yield from check_name("catalog", watch.catalog, catalogs, (*path, "catalog"))
    for name in ("columns", "feed", "kind", "name", "key", "delete", "permissions", "replaces"):
        if getattr(watch, name):
            message = (
                f"{name} is for interactions: leave it out, since the catalogue names its columns"
            )
            yield Problem((*path, name), message)


def _whole_list_problems(watch: model.Watch, path: Path) -> Iterator[Problem]:
    """Yield problems of a watch with `replaces`, whose rows only name the present members."""
    if watch.key:
        message = "the rows of a list that replaces another have no identity: leave it out"
        yield Problem((*path, "key"), message)
    for column, target in watch.columns.items():
        if target in ("time", "id"):
            message = (
                f"a list that replaces another counts when it is taken: map nothing to {target}"
            )
            yield Problem((*path, "columns", column), message)


def _permissions_problems(
    watch: model.Watch, rules: model.Permissions, path: Path, bundle: model.Bundle
) -> Iterator[Problem]:
    """Yield problems of a watch for a consent or suppression list."""
    channels = frozenset(channel.name for channel in bundle.channels.channels)
    for index, channel in enumerate(rules.channels):
        yield from check_name(
            "channel", channel, channels, (*path, "permissions", "channels", index)
        )
    for name in ("kind", "name", "delete", "feed", "replaces"):
        if getattr(watch, name):
            yield Problem((*path, name), f"{name} does not apply to permissions: leave it out")
    targets = frozenset(watch.columns.values())
    for target in sorted(targets & {"kind", "name", "delete"}):
        message = f"{target} does not apply to permissions: map no column to it"
        yield Problem((*path, "columns"), message)
    cell_targets = {target for target in targets if target.startswith("permission.")} - set(
        _PERMISSIONS
    )
    row_targets = targets & set(_PERMISSIONS)
    if cell_targets and (row_targets or rules.state):
        message = "give the rows one state, or map columns by channel and purpose, not both"
        yield Problem((*path, "columns"), message)
    elif not cell_targets and "permission.state" not in row_targets and rules.state is None:
        message = "the rows have no state: set `state`, or map a column to permission.state"
        yield Problem((*path, "permissions"), message)
    sources = {source.name: source for source in bundle.sources.sources}
    if watch.source in sources and sources[watch.source].trust == "public":
        message = f"the public source {watch.source} cannot change permissions: use a trusted one"
        yield Problem((*path, "source"), message)


def _permission_target_problems(
    target: str, rules: model.Permissions, path: Path
) -> Iterator[Problem]:
    """Yield problems of the target of a column of a list."""
    targets = [
        f"permission.{channel}.{purpose}"
        for channel in rules.channels
        for purpose in rules.purposes
    ]
    if target not in (*_PERMISSIONS, *targets):
        hint = did_you_mean(target, (*_PERMISSIONS, *targets))
        yield Problem(
            path, f"{target!r} is not a permission for these channels and purposes: {hint}"
        )


def _location_problems(watch: model.Watch, path: Path) -> Iterator[Problem]:
    if (watch.folder is None) == (watch.sftp is None):
        yield Problem(path, "set either `folder` or `sftp`: where the files are")
    if watch.folder is not None and not watch.folder.startswith("/"):
        message = f"{watch.folder!r} is not an absolute path: begin it with /"
        yield Problem((*path, "folder"), message)
    if watch.sftp is None:
        return
    if watch.sftp.private_key is None and watch.sftp.password is None:
        yield Problem((*path, "sftp"), "a server needs `private_key` or `password`: ${NAME}")
    if not _is_host_key(watch.sftp.host_key):
        message = "not a public key such as `ssh-ed25519 AAAA...`: `ssh-keyscan HOST` prints it"
        yield Problem((*path, "sftp", "host_key"), message)


def _is_host_key(text: str) -> bool:
    match = _HOST_KEY.fullmatch(text.strip())
    if match is None:
        return False
    try:
        return len(b64decode(match[2], validate=True)) > 16
    except NoBase64Error:
        return False


def _ready_rule_problems(ready: model.ReadyRule, path: Path) -> Iterator[Problem]:
    marker = ready.marker
    if "/" in marker or not any(part in marker for part in ("{name}", "{stem}")):
        message = "name the marker by the file that it is for: {name}.done, or {stem}.ok"
        yield Problem((*path, "marker"), message)
    elif marker in ("{name}", "{stem}"):
        yield Problem((*path, "marker"), "a marker has another name than its file: {name}.done")


def _csv_problems(csv: model.CsvFormat, path: Path) -> Iterator[Problem]:
    delimiter = None if csv.delimiter is None else delimiter_by_name(csv.delimiter)
    if csv.delimiter is not None and delimiter is None:
        message = f"no delimiter {csv.delimiter!r}: one character, or tab"
        yield Problem((*path, "delimiter"), message)
    elif delimiter is not None and delimiter == csv.quote:
        yield Problem((*path, "quote"), "the delimiter cannot be the quotation mark too")
    if csv.escape and (csv.escape in "\r\n " or csv.escape in (csv.quote, delimiter)):
        message = "choose a character other than a space, the quotation mark and the delimiter"
        yield Problem((*path, "escape"), message)
    footer = pattern(csv.footer or "")
    if isinstance(footer, PatternProblem):
        yield Problem((*path, "footer"), footer.reason)
    if csv.quote and csv.quote in "\r\n ":
        yield Problem((*path, "quote"), 'write one character other than a space, or ""')
    if csv.encoding is not None and not _is_encoding(csv.encoding):
        message = f"no text encoding {csv.encoding!r}: use one such as utf-8 or windows-1252"
        yield Problem((*path, "encoding"), message)


def _is_encoding(name: str) -> bool:
    try:
        codec_name = codecs.lookup(name).name
        return codec_name in _WIDE_ENCODINGS or "aA0;\n".encode(codec_name).endswith(b"aA0;\n")
    except (LookupError, UnicodeError):
        return False


def _time_problems(time: model.RowTime, path: Path) -> Iterator[Problem]:
    if zone(time.zone) is None:
        yield Problem(
            (*path, "zone"), f"no time zone {time.zone!r}: use a name such as Europe/Madrid"
        )
    for index, time_format in enumerate(time.formats):
        if not _is_time_format(time_format):
            message = f"{time_format!r} is not a notation of a time: such as %d/%m/%Y %H:%M:%S"
            yield Problem((*path, "formats", index), message)


def _is_time_format(time_format: str) -> bool:
    """Return whether a format contains the day; `%H:%M` alone would mean a day in 1900."""
    day = datetime(2023, 11, 28, 13, 14, 15, tzinfo=UTC)
    try:
        parsed_day = datetime.strptime(day.strftime(time_format), time_format)
    except ValueError:
        return False
    return parsed_day.date() == day.date()


def _column_problems(watch: model.Watch, path: Path, names: Names) -> Iterator[Problem]:
    if not watch.columns:
        yield from _missing_columns_problems(watch, path)
        return
    for column, target in watch.columns.items():
        column_path = (*path, "columns", column)
        if watch.permissions is not None and target.startswith("permission."):
            yield from _permission_target_problems(target, watch.permissions, column_path)
        else:
            yield from _target_problems(column, target, column_path, watch, names)
    targets = {column: target for column, target in watch.columns.items() if target != "ignore"}
    column_by_target: dict[str, str] = {}
    for column, target in targets.items():
        if _property_target(target) in column_by_target and not column.endswith("*"):
            message = f"column {column_by_target[_property_target(target)]!r} is {target} already"
            yield Problem((*path, "columns", column), message)
        column_by_target[_property_target(target)] = column
    if not any(target.startswith("identifiers.") for target in column_by_target):
        yield Problem(
            (*path, "columns"), "map a column to identifiers.NAME, which says whose the rows are"
        )
    if watch.kind is None and "kind" not in column_by_target and watch.permissions is None:
        yield Problem(path, "set the `kind` of the rows: track, identify, page...")
    if ("delete" in column_by_target) != bool(watch.delete):
        message = "a column that is mapped to `delete`, and its values in `delete`, go together"
        yield Problem((*path, "delete") if watch.delete else (*path, "columns"), message)


def _missing_columns_problems(watch: model.Watch, path: Path) -> Iterator[Problem]:
    for name in ("kind", "name", "delete", "permissions", "replaces"):
        if getattr(watch, name):
            yield Problem((*path, name), f"{name} needs a mapping: set `columns` too")


def _property_target(target: str) -> str:
    return (
        "properties." + target.removeprefix("traits.") if target.startswith("traits.") else target
    )


def _target_problems(
    column: str, target: str, path: Path, watch: model.Watch, names: Names
) -> Iterator[Problem]:
    section, dot, name = target.partition(".")
    if target in _SINGLE_TARGETS:
        if target == "delete" and watch.kind != "identify":
            yield Problem(path, "rows that delete traits need `kind: identify`")
        elif "*" in column and target != "ignore":
            yield Problem(path, f"several columns cannot be mapped to {target}")
        return
    if section not in _SECTIONS or not dot or not name:
        targets = (*_SINGLE_TARGETS, *(f"{section}." for section in _SECTIONS))
        yield Problem(
            path, f"a column cannot be mapped to {target!r}: {did_you_mean(target, targets)}"
        )
        return
    if ("*" in column) != ("*" in target) or column.find("*") not in (-1, len(column) - 1):
        yield Problem(path, '`*` must end the column and its target, as in "attribute:*": traits.*')
    elif section == "identifiers":
        yield from check_name("namespace", name, names.namespaces, path)
    elif section == "traits" and watch.kind not in (None, "identify"):
        yield Problem(path, f"traits need `kind: identify`: map it to properties.{name}")
    elif (
        section == "context" and name not in _CONTEXT_FIELDS and not name.startswith(_CONTEXT_MAPS)
    ):
        hint = did_you_mean(name, (*_CONTEXT_FIELDS, *_CONTEXT_MAPS))
        yield Problem(path, f"the context has no {name!r}: {hint}")
