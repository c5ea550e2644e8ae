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
from pipeline.config.delimiters import delimiter_named
from pipeline.config.feeds import with_feed
from pipeline.config.names import Names, check_name
from pipeline.config.policy_checks import repeated_values
from pipeline.config.regex import PatternProblem, pattern
from pipeline.config.zones import zone

_SINGLE: Final = ("time", "name", "kind", "id", "channel", "delete", "ignore")
_SECTIONS: Final = ("identifiers", "properties", "traits", "lists", "context")
_CONTEXT: Final = ("ip", "user_agent", "url", "referrer", "locale", "timezone")
_PERMISSIONS: Final = ("permission.state", "permission.channel", "permission.purpose")
_CONTEXT_MAPS: Final = ("campaign.", "consent.")
_HOST_KEY: Final = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ ([A-Za-z0-9+/=]+)( .*)?")
_WIDE: Final = ("utf-16", "utf-16-le", "utf-16-be")


def ingest_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    """Yield everything that is wrong with the watches."""
    watches = bundle.ingest.watches
    yield from repeated_values(
        "watch", ("ingest", "watches"), "watch", [watch.watch for watch in watches]
    )
    sources = frozenset(source.name for source in bundle.sources.sources)
    catalogs = frozenset(catalog.catalog for catalog in bundle.catalogs)
    for index, written in enumerate(watches):
        path: Path = ("ingest", "watches", index)
        watch = with_feed(written)
        yield from check_name("source", watch.source, sources, (*path, "source"))
        yield from _place(watch, path)
        yield from _ready(watch.ready, (*path, "ready"))
        yield from _csv(watch.csv, (*path, "csv"))
        yield from _time(watch.time, (*path, "time"))
        if watch.catalog is not None:
            yield from _catalog(written, path, catalogs)
        else:
            yield from _columns(watch, path, names)
        if watch.replaces:
            yield from _whole_list(watch, path)
        if watch.permissions is not None:
            yield from _permissions(watch, watch.permissions, path, bundle)


def _catalog(watch: model.Watch, path: Path, catalogs: frozenset[str]) -> Iterator[Problem]:
    assert watch.catalog is not None
    yield from check_name("catalog", watch.catalog, catalogs, (*path, "catalog"))
    for name in ("columns", "feed", "kind", "name", "key", "delete", "permissions", "replaces"):
        if getattr(watch, name):
            message = f"{name} is for interactions: a catalogue says itself what its columns are"
            yield Problem((*path, name), message)


def _whole_list(watch: model.Watch, path: Path) -> Iterator[Problem]:
    """Yield the faults of rows of a whole list, which only name its present members."""
    if watch.key:
        yield Problem((*path, "key"), "no row of a list that replaces another is known by itself")
    for column, to in watch.columns.items():
        if to in ("time", "id"):
            message = f"a list that replaces another counts when it is taken: no column is {to}"
            yield Problem((*path, "columns", column), message)


def _permissions(
    watch: model.Watch, rules: model.Permissions, path: Path, bundle: model.Bundle
) -> Iterator[Problem]:
    """Yield the faults of a consent or suppression list."""
    channels = frozenset(channel.name for channel in bundle.channels.channels)
    for index, channel in enumerate(rules.channels):
        yield from check_name(
            "channel", channel, channels, (*path, "permissions", "channels", index)
        )
    for name in ("kind", "name", "delete", "feed", "replaces"):
        if getattr(watch, name):
            yield Problem((*path, name), f"{name} is for other rows: a permission says what it is")
    targets = frozenset(watch.columns.values())
    for to in sorted(targets & {"kind", "name", "delete"}):
        yield Problem((*path, "columns"), f"{to} is for other rows: a permission says what it is")
    cell_targets = {to for to in targets if to.startswith("permission.")} - set(_PERMISSIONS)
    whole = targets & set(_PERMISSIONS)
    if cell_targets and (whole or rules.state):
        message = "say the state of a row, or have columns for each channel and purpose, not both"
        yield Problem((*path, "columns"), message)
    elif not cell_targets and "permission.state" not in whole and rules.state is None:
        message = "nothing says what the rows mean: `state`, or a column that is permission.state"
        yield Problem((*path, "permissions"), message)
    sources = {source.name: source for source in bundle.sources.sources}
    if watch.source in sources and sources[watch.source].trust == "public":
        message = f"a list speaks for customers, which the public source {watch.source} cannot"
        yield Problem((*path, "source"), message)


def _permission(to: str, rules: model.Permissions, path: Path) -> Iterator[Problem]:
    """Yield the faults of a column of a list."""
    allowed = [
        f"permission.{channel}.{purpose}"
        for channel in rules.channels
        for purpose in rules.purposes
    ]
    if to not in (*_PERMISSIONS, *allowed):
        hint = did_you_mean(to, (*_PERMISSIONS, *allowed))
        yield Problem(path, f"{to!r} is no permission for these channels and purposes: {hint}")


def _place(watch: model.Watch, path: Path) -> Iterator[Problem]:
    if (watch.folder is None) == (watch.sftp is None):
        yield Problem(path, "say where the files are: either `folder` or `sftp`")
    if watch.folder is not None and not watch.folder.startswith("/"):
        message = f"{watch.folder!r} is no absolute path: begin it with /"
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


def _ready(ready: model.ReadyRule, path: Path) -> Iterator[Problem]:
    marker = ready.marker
    if "/" in marker or not any(part in marker for part in ("{name}", "{stem}")):
        message = "name the marker by the file that it is for: {name}.done, or {stem}.ok"
        yield Problem((*path, "marker"), message)
    elif marker in ("{name}", "{stem}"):
        yield Problem((*path, "marker"), "a marker has another name than its file: {name}.done")


def _csv(csv: model.CsvFormat, path: Path) -> Iterator[Problem]:
    delimiter = csv.delimiter
    if delimiter is not None:
        named = delimiter_named(delimiter)
        if named is None:
            what = f"no delimiter {delimiter!r}: one character, or tab"
            yield Problem((*path, "delimiter"), what)
        elif named == csv.quote:
            yield Problem((*path, "quote"), "the delimiter is none to quote with")
    if csv.escape and (csv.escape in "\r\n " or csv.escape in (csv.quote, delimiter)):
        yield Problem((*path, "escape"), "neither a space, the quotation mark nor the delimiter")
    footer = pattern(csv.footer or "")
    if isinstance(footer, PatternProblem):
        yield Problem((*path, "footer"), footer.reason)
    if csv.quote and csv.quote in "\r\n ":
        yield Problem((*path, "quote"), 'one character that is no space, or ""')
    if csv.encoding is not None and not _is_encoding(csv.encoding):
        message = f"no text encoding {csv.encoding!r}: such as utf-8, windows-1252, iso-8859-15"
        yield Problem((*path, "encoding"), message)


def _is_encoding(name: str) -> bool:
    try:
        known = codecs.lookup(name).name
        return known in _WIDE or "aA0;\n".encode(known).endswith(b"aA0;\n")
    except (LookupError, UnicodeError):
        return False


def _time(time: model.RowTime, path: Path) -> Iterator[Problem]:
    if zone(time.zone) is None:
        yield Problem((*path, "zone"), f"no time zone {time.zone!r}: such as Europe/Madrid")
    for index, written in enumerate(time.formats):
        if not _is_time_format(written):
            message = f"{written!r} is no notation of a time: such as %d/%m/%Y %H:%M:%S"
            yield Problem((*path, "formats", index), message)


def _is_time_format(written: str) -> bool:
    """Return whether a format tells the day: `%H:%M` alone would be one in 1900."""
    day = datetime(2023, 11, 28, 13, 14, 15, tzinfo=UTC)
    try:
        read = datetime.strptime(day.strftime(written), written)
    except ValueError:
        return False
    return read.date() == day.date()


def _columns(watch: model.Watch, path: Path, names: Names) -> Iterator[Problem]:
    if not watch.columns:
        yield from _without_columns(watch, path)
        return
    for column, to in watch.columns.items():
        at = (*path, "columns", column)
        if watch.permissions is not None and to.startswith("permission."):
            yield from _permission(to, watch.permissions, at)
        else:
            yield from _target(column, to, at, watch, names)
    mapped = {column: to for column, to in watch.columns.items() if to != "ignore"}
    seen: dict[str, str] = {}
    for column, to in mapped.items():
        if _target_of(to) in seen and not column.endswith("*"):
            message = f"column {seen[_target_of(to)]!r} is {to} already"
            yield Problem((*path, "columns", column), message)
        seen[_target_of(to)] = column
    if not any(to.startswith("identifiers.") for to in seen):
        yield Problem((*path, "columns"), "no column says whose the rows are: identifiers.NAME")
    if watch.kind is None and "kind" not in seen and watch.permissions is None:
        yield Problem(path, "say the `kind` of the rows: track, identify, page...")
    if ("delete" in seen) != bool(watch.delete):
        message = "a column that is `delete`, and the values in it that mean it, go together"
        yield Problem((*path, "delete") if watch.delete else (*path, "columns"), message)


def _without_columns(watch: model.Watch, path: Path) -> Iterator[Problem]:
    for name in ("kind", "name", "delete", "permissions", "replaces"):
        if getattr(watch, name):
            yield Problem((*path, name), f"{name} is for rows with a mapping: say `columns` too")


def _target_of(to: str) -> str:
    return "properties." + to.removeprefix("traits.") if to.startswith("traits.") else to


def _target(
    column: str, to: str, path: Path, watch: model.Watch, names: Names
) -> Iterator[Problem]:
    section, dot, name = to.partition(".")
    if to in _SINGLE:
        if to == "delete" and watch.kind != "identify":
            yield Problem(path, "rows that delete traits are of `kind: identify`")
        elif "*" in column and to != "ignore":
            yield Problem(path, f"several columns cannot be {to}")
        return
    if section not in _SECTIONS or not dot or not name:
        known = (*_SINGLE, *(f"{section}." for section in _SECTIONS))
        yield Problem(path, f"{to!r} is nothing that a column can be: {did_you_mean(to, known)}")
        return
    if ("*" in column) != ("*" in to) or column.find("*") not in (-1, len(column) - 1):
        yield Problem(path, '`*` ends both the column and what it is: "attribute:*": traits.*')
    elif section == "identifiers":
        yield from check_name("namespace", name, names.namespaces, path)
    elif section == "traits" and watch.kind not in (None, "identify"):
        yield Problem(path, f"traits are of `kind: identify`: call it properties.{name}")
    elif section == "context" and name not in _CONTEXT and not name.startswith(_CONTEXT_MAPS):
        hint = did_you_mean(name, (*_CONTEXT, *_CONTEXT_MAPS))
        yield Problem(path, f"the context has no {name!r}: {hint}")
