"""Loader of a folder of YAML: returns a bundle, or errors with file, line, column and remedy.

The folder has sources.yaml, identity.yaml and channels.yaml, optionally profile.yaml,
policies.yaml, ingest.yaml and learned.yaml, and a file for each provider in providers/, each
segment in segments/, each campaign in campaigns/ and each catalogue in catalogs/. It may have other
files, which the YAML names.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs

from pipeline.adapters.catalog_table import load_items
from pipeline.adapters.config_artifacts import pin_files
from pipeline.adapters.config_salvage import ConfigFile, Salvage, salvage_files
from pipeline.adapters.folder_files import FileRefusal, TooManyFilesError, list_files, read_file
from pipeline.adapters.table_file import TableFault
from pipeline.adapters.yaml_text import EVERY_FIELD, YamlFault, read_yaml
from pipeline.conditions import Problem, did_you_mean
from pipeline.config.checks import check
from pipeline.config.model import Bundle, Sources
from pipeline.config.schema import FILE_KINDS, FileKind
from pipeline.config.shape import shape_problems

_MAX_BYTES: Final = 1_000_000
_MAX_TOTAL_BYTES: Final = 10_000_000

_REFERENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "channels.yaml": ("secret", "url", "password", "key", "links", "returned"),
    "ingest.yaml": ("private_key", "passphrase", "password", "key"),
    "sources.yaml": ("secret",),
    "providers": (EVERY_FIELD,),
}
"""Fields, by file, whose references to environment variables are resolved only by the process
that uses the fields.

Applied configurations are stored for ever, and must not contain secrets.
"""


@dataclass(frozen=True, slots=True)
class ConfigError:
    """Error in a file; `file` is relative to the folder, `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class _UnreadableFile:
    """File that cannot be read or parsed at all."""

    kind: FileKind
    error: ConfigError


def load(folder: Path, environment: Mapping[str, str] = os.environ) -> Bundle | list[ConfigError]:
    """Return the folder's bundle, checked as a whole, or every error found in it.

    An error hides no other error: unusable parts are left out, and the remaining ones are checked
    without them.
    """
    if not folder.is_dir():
        return [ConfigError(str(folder), 1, 1, "no such folder")]
    try:
        names = list(list_files(folder))
    except TooManyFilesError:
        return [ConfigError(str(folder), 1, 1, "too many files for a configuration")]
    errors = [*_unexpected_files(names), *_misplaced_folders(folder)]
    results = list(_read_config_files(folder, names, environment))
    unreadable_files = [file for file in results if isinstance(file, _UnreadableFile)]
    files = [file for file in results if isinstance(file, ConfigFile)]
    errors.extend(file.error for file in unreadable_files)
    problems_by_file: dict[str, list[Problem]] = {}
    for file in files:
        refusals = file.document.refusals
        errors.extend(
            ConfigError(file.name, *refusal.fault.position, refusal.fault.message)
            for refusal in refusals
        )
        problems = _shape_problems(file)
        errors.extend(locate_problem(file, problem) for problem in problems)
        problems_by_file[file.name] = [
            *problems,
            *(Problem(refusal.path, refusal.fault.message) for refusal in refusals),
        ]
    salvage = salvage_files(files, problems_by_file, [file.kind for file in unreadable_files])
    bundle, faults = _load_catalog_items(salvage.bundle, folder)
    errors.extend(ConfigError(fault.file, fault.line, 1, fault.message) for fault in faults)
    errors.extend(_config_errors(salvage, check(bundle, environment)))
    pinned_bundle = pin_files(bundle, folder)
    if isinstance(pinned_bundle, list):
        errors.extend(_config_errors(salvage, pinned_bundle))
    if errors:
        return sorted(
            set(errors), key=lambda error: (error.file, error.line, error.column, error.message)
        )
    assert isinstance(pinned_bundle, Bundle)
    return pinned_bundle


def _load_catalog_items(bundle: Bundle, folder: Path) -> tuple[Bundle, list[TableFault]]:
    """Return the bundle with the items of its catalogues, and the faults of their tables."""
    faults: list[TableFault] = []
    catalogs = []
    for catalog in bundle.catalogs:
        result = load_items(catalog, folder)
        if isinstance(result, list):
            faults.extend(result)
            result = catalog
        catalogs.append(result)
    return structs.replace(bundle, catalogs=tuple(catalogs)), faults


def read_write_keys(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the write keys of a valid folder by source; a bundle has only their digests."""
    name = "sources.yaml"
    file = _read_config_file(folder, name, FILE_KINDS[name], environment)
    assert isinstance(file, ConfigFile)
    sources = msgspec.convert(file.document.value, Sources)
    return {source.name: source.write_key for source in sources.sources}


def load_file(
    path: Path, kind: FileKind, environment: Mapping[str, str] = os.environ
) -> ConfigFile | list[ConfigError]:
    """Return one file of a configuration, read without the others, or all errors of its form."""
    file = _read_config_file(path.parent, path.name, kind, environment)
    if isinstance(file, _UnreadableFile):
        return [replace(file.error, file=str(path))]
    file = replace(file, name=str(path))
    errors = [
        ConfigError(file.name, *refusal.fault.position, refusal.fault.message)
        for refusal in file.document.refusals
    ]
    errors += [locate_problem(file, problem) for problem in _shape_problems(file)]
    return errors or file


def _read_config_files(
    folder: Path, names: list[str], environment: Mapping[str, str]
) -> Iterator[ConfigFile | _UnreadableFile]:
    remaining_bytes = _MAX_TOTAL_BYTES
    for name, kind in FILE_KINDS.items():
        parts = (
            [file_name for file_name in names if _is_part(file_name, name)]
            if kind.is_folder
            else [name]
        )
        for part in parts:
            if not kind.is_folder and part not in names:
                if kind.required:
                    message = "this file is missing: a configuration needs it"
                    yield _UnreadableFile(kind, ConfigError(part, 1, 1, message))
                continue
            file = _read_config_file(folder, part, kind, environment)
            remaining_bytes -= file.size if isinstance(file, ConfigFile) else 0
            if remaining_bytes < 0:
                message = f"the files together are larger than {_MAX_TOTAL_BYTES:,} bytes"
                yield _UnreadableFile(kind, ConfigError(part, 1, 1, message))
                return
            yield file


def _is_part(name: str, folder: str) -> bool:
    top, _, rest = name.partition("/")
    return top == folder and "/" not in rest and rest.endswith(".yaml")


def _unexpected_files(names: list[str]) -> Iterator[ConfigError]:
    """Yield an error for each file that looks like configuration but is not read."""
    for name in names:
        top, _, rest = name.partition("/")
        if not name.endswith((".yaml", ".yml")):
            continue
        kind = FILE_KINDS.get(top)
        is_expected = kind is not None and kind.is_folder == bool(rest) and "/" not in rest
        if name.endswith(".yml"):
            yield ConfigError(name, 1, 1, "not read: a name must end in .yaml")
        elif not is_expected:
            hint = did_you_mean(top, FILE_KINDS)
            yield ConfigError(name, 1, 1, f"not a file of a configuration: {hint}")


def _misplaced_folders(folder: Path) -> Iterator[ConfigError]:
    """Yield an error for each link or file instead of a folder of files."""
    for name, kind in FILE_KINDS.items():
        path = folder / name
        if kind.is_folder and os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            yield ConfigError(name, 1, 1, "this is not a folder: put the folder itself there")


def _read_config_file(
    folder: Path, name: str, kind: FileKind, environment: Mapping[str, str]
) -> ConfigFile | _UnreadableFile:
    data = read_file(folder, name, _MAX_BYTES)
    if isinstance(data, FileRefusal):
        return _UnreadableFile(kind, ConfigError(name, 1, 1, f"this file {data.reason}"))
    text = _text(name, data)
    if isinstance(text, ConfigError):
        return _UnreadableFile(kind, text)
    document = read_yaml(text, environment, _REFERENCES.get(name.partition("/")[0], ()))
    if isinstance(document, YamlFault):
        return _UnreadableFile(kind, ConfigError(name, *document.position, document.message))
    if document.value is None and not document.refusals:
        fields = ", ".join(field.name for field in msgspec.structs.fields(kind.record)[:3])
        remedy = f"write its fields ({fields}...), or delete it"
        return _UnreadableFile(kind, ConfigError(name, 1, 1, f"the file is empty: {remedy}"))
    return ConfigFile(name, kind, document, len(data))


def _text(name: str, data: bytes) -> str | ConfigError:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        valid_bytes = data[: error.start]
        column = error.start - (valid_bytes.rfind(b"\n") + 1) + 1
        byte = data[error.start]
        message = f"byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"
        return ConfigError(name, valid_bytes.count(b"\n") + 1, column, message)


def _shape_problems(file: ConfigFile) -> list[Problem]:
    """Return the deviations from the schema, except those in values that are refused already."""
    refused_paths = {refusal.path for refusal in file.document.refusals}
    return [
        problem
        for problem in shape_problems(file.kind, file.document.value)
        if refused_paths.isdisjoint(
            problem.path[:length] for length in range(len(problem.path) + 1)
        )
    ]


def _config_errors(
    salvage: Salvage, problems: Iterator[Problem] | list[Problem]
) -> Iterator[ConfigError]:
    for problem in problems:
        location = salvage.locate(problem)
        if location is not None:
            yield locate_problem(*location)


def locate_problem(file: ConfigFile, problem: Problem) -> ConfigError:
    """Return the problem as an error at the nearest position in the file."""
    path = problem.path
    while path not in file.document.positions:
        path = path[:-1]
    return ConfigError(file.name, *file.document.positions[path], problem.message)
