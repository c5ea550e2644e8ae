"""A folder of YAML to a bundle, or to errors that name file, line, column and mend.

The folder has sources.yaml, identity.yaml and channels.yaml, perhaps profile.yaml and
policies.yaml, and a file for each segment in segments/ and for each campaign in campaigns/. It may
have other files, which the YAML names.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from pipeline.adapters.config_artifacts import pinned
from pipeline.adapters.yaml_text import BadYaml, Document, read_yaml
from pipeline.conditions import Path as ValuePath
from pipeline.conditions import Problem, did_you_mean
from pipeline.config.compile import compile_bundle
from pipeline.config.model import Bundle
from pipeline.config.schema import FILE_KINDS, FileKind
from pipeline.config.shape import shape_problems

_MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ConfigError:
    """`file` is relative to the folder; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class _File:
    """One file that was read; `at` is the place of its value in the bundle."""

    name: str
    kind: FileKind
    at: ValuePath
    document: Document


def load(folder: Path, environment: Mapping[str, str] = os.environ) -> Bundle | list[ConfigError]:
    """The folder's bundle, checked as a whole, or every error found in it."""
    if not folder.is_dir():
        return [ConfigError(str(folder), 1, 1, "no such folder")]
    found = list(_files(folder, environment))
    errors = [one for one in found if isinstance(one, ConfigError)]
    files = [one for one in found if isinstance(one, _File)]
    for file in files:
        problems = shape_problems(file.kind, file.document.value)
        errors.extend(_located(file, problem) for problem in problems)
    if errors:
        return _sorted(errors)
    bundle = _bundle(files)
    checked = compile_bundle(bundle)
    if isinstance(checked, tuple):
        return _sorted([_of_bundle(files, problem) for problem in checked])
    named = pinned(bundle, folder)
    if isinstance(named, list):
        return _sorted([_of_bundle(files, problem) for problem in named])
    return named


def _files(folder: Path, environment: Mapping[str, str]) -> Iterator[_File | ConfigError]:
    yield from _strangers(folder)
    for name, kind in FILE_KINDS.items():
        path = folder / name
        if kind.many:
            parts = sorted(path.glob("*.yaml"))
            for index, part in enumerate(parts):
                yield _file(f"{name}/{part.name}", part, kind, (kind.field, index), environment)
        elif path.exists():
            yield _file(name, path, kind, (kind.field,), environment)
        elif kind.required:
            yield ConfigError(name, 1, 1, "this file is missing: a configuration needs it")


def _strangers(folder: Path) -> Iterator[ConfigError]:
    """Files that look like configuration and would not be read."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        top, _, rest = name.partition("/")
        if name.startswith(".") or path.is_dir() or path.suffix not in (".yaml", ".yml"):
            continue
        kind = FILE_KINDS.get(top)
        wanted = kind is not None and kind.many == bool(rest) and "/" not in rest
        if path.suffix == ".yml":
            yield ConfigError(name, 1, 1, "not read: let its name end in .yaml")
        elif not wanted:
            hint = did_you_mean(top, FILE_KINDS)
            yield ConfigError(name, 1, 1, f"not a file of a configuration: {hint}")


def _file(
    name: str, path: Path, kind: FileKind, at: ValuePath, environment: Mapping[str, str]
) -> _File | ConfigError:
    text = _text(name, path)
    if isinstance(text, ConfigError):
        return text
    document = read_yaml(text, environment)
    if isinstance(document, BadYaml):
        return ConfigError(name, *document.place, document.message)
    if document.value is None:
        fields = ", ".join(field.name for field in msgspec.structs.fields(kind.record)[:3])
        mend = f"write its fields ({fields}...), or delete it"
        return ConfigError(name, 1, 1, f"the file is empty: {mend}")
    return _File(name, kind, at, document)


def _text(name: str, path: Path) -> str | ConfigError:
    try:
        data = path.read_bytes()
    except OSError as error:
        return ConfigError(name, 1, 1, f"cannot be read: {error.strerror}")
    if len(data) > _MAX_BYTES:
        return ConfigError(name, 1, 1, f"larger than {_MAX_BYTES:,} bytes: split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        byte = data[error.start]
        message = f"byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"
        return ConfigError(name, before.count(b"\n") + 1, column, message)


def _bundle(files: list[_File]) -> Bundle:
    parts: dict[str, object] = {}
    for file in files:
        part = msgspec.convert(file.document.value, file.kind.record)
        if file.kind.many:
            known = parts.get(file.kind.field, ())
            assert isinstance(known, tuple)
            parts[file.kind.field] = (*known, part)
        else:
            parts[file.kind.field] = part
    return msgspec.convert(parts, Bundle)


def _of_bundle(files: list[_File], problem: Problem) -> ConfigError:
    file = next(one for one in files if one.at == problem.path[: len(one.at)])
    return _located(file, Problem(problem.path[len(file.at) :], problem.message))


def _located(file: _File, problem: Problem) -> ConfigError:
    """At the nearest place that the file has."""
    path = problem.path
    while path not in file.document.places:
        path = path[:-1]
    return ConfigError(file.name, *file.document.places[path], problem.message)


def _sorted(errors: list[ConfigError]) -> list[ConfigError]:
    return sorted(set(errors), key=lambda one: (one.file, one.line, one.column, one.message))
