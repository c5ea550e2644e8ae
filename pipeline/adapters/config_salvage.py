"""Salvage of a damaged folder, so that its usable parts can be checked.

A file with faults is reduced to its correct items and fields; an unreadable required file is
replaced by a minimal one. A missing name that may be defined in an omitted part is not an error.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from pipeline.adapters.yaml_text import Document
from pipeline.conditions import Path, Problem, UnknownName
from pipeline.config import model
from pipeline.config.keys import replace_keys
from pipeline.config.schema import FileKind

_STAND_INS: Final[Mapping[str, model.Part]] = {
    "sources": model.Sources(()),
    "identity": model.Identity((model.Namespace("customer_id"), model.Namespace("cookie"))),
    "channels": model.Channels((model.Channel("web"),)),
}
_DEFINING_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "trait": ("profile", "identity"),
    "derived value": ("profile",),
    "segment": ("segments",),
    "namespace": ("identity",),
    "source": ("sources",),
    "channel": ("channels", "sources"),
    "provider": ("providers",),
    "placement": ("channels",),
    "catalog": ("catalogs",),
    "attribute": ("catalogs",),
    "recipe": ("catalogs",),
    "rule of learning": ("policies",),
    **dict.fromkeys(("issue", "group", "offer", "campaign", "treatment"), ("campaigns",)),
    "name in the content": ("campaigns",),
}

_WORD: Final = re.compile(r"[a-z_]+")
_AFFIXES: Final = ("identifier.", "score.", ".since", ".approximate")
_NO_TEXTS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """File that could be parsed."""

    name: str
    kind: FileKind
    document: Document
    size: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Usable part of a file.

    `path`: its path in the bundle. `indexes`: for each list at its top, the indexes in the file of
    the remaining items. `omitted_fields`: the names of fields that were removed.
    """

    file: ConfigFile
    path: Path
    value: model.Part
    indexes: Mapping[str, Sequence[int]]
    omitted_fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Salvage:
    """Bundle of all usable parts.

    `omitted_texts`: by field of the bundle, the texts in files with removed parts; None if they are
    unknown.
    """

    bundle: model.Bundle
    parts: tuple[_Part, ...]
    omitted_texts: Mapping[str, frozenset[str] | None]

    def locate(self, problem: Problem) -> tuple[ConfigFile, Problem] | None:
        """Return the file of a problem, and the problem at its path in that file.

        None: an omitted part may cause it.
        """
        part = next(
            (part for part in self.parts if part.path == problem.path[: len(part.path)]), None
        )
        if part is None or (problem.unknown and self._may_be_lost(problem.unknown)):
            return None
        if part.omitted_fields.intersection(_WORD.findall(problem.message)):
            return None
        path = problem.path[len(part.path) :]
        match path:
            case (str() as field, int() as index, *rest) if field in part.indexes:
                path = (field, part.indexes[field][index], *rest)
        return part.file, replace(problem, path=path)

    def _may_be_lost(self, unknown_name: UnknownName) -> bool:
        stem = unknown_name.name
        for affix in _AFFIXES:
            stem = stem.removeprefix(affix).removesuffix(affix)
        names = (unknown_name.name, stem)
        fields = _DEFINING_FIELDS[unknown_name.kind]
        omissions = (self.omitted_texts.get(field, _NO_TEXTS) for field in fields)
        return any(texts is None or not texts.isdisjoint(names) for texts in omissions)


def salvage_files(
    files: Sequence[ConfigFile],
    problems: Mapping[str, Sequence[Problem]],
    unreadable_kinds: Sequence[FileKind],
) -> Salvage:
    """Return the usable parts of `files`.

    `problems`: by file, the problems of its form; `unreadable_kinds`: those of the unreadable
    files.
    """
    parts: list[_Part] = []
    omitted_texts: dict[str, frozenset[str] | None] = {
        kind.field: None for kind in unreadable_kinds
    }
    counts: dict[str, int] = {}
    for file in files:
        field = file.kind.field
        index = counts.get(field, 0)
        path: Path = (field, index) if file.kind.is_folder else (field,)
        part = _salvage_part(file, path, problems[file.name])
        if part is not None:
            parts.append(part)
            counts[field] = index + 1
        texts = omitted_texts.get(field, frozenset())
        if problems[file.name] and texts is not None:
            omitted_texts[field] = texts.union(_texts(file.document.value))
    return Salvage(_bundle(parts), tuple(parts), omitted_texts)


def _salvage_part(file: ConfigFile, path: Path, problems: Sequence[Problem]) -> _Part | None:
    """Return the file without its faulty fields, or, if that is not valid, without the items that
    contain them; None: neither is valid."""
    value = file.document.value
    if not isinstance(value, dict):
        return None
    fault_paths = [problem.path for problem in problems]
    items = {key[:2] for key in fault_paths if len(key) == 2 and isinstance(key[1], int)}
    for omissions in (items, {key[:2] for key in fault_paths}):
        indexes = {
            name: [index for index in range(len(field)) if (name, index) not in omissions]
            for name, field in value.items()
            if isinstance(field, list)
        }
        usable_value = _remove_paths(value, fault_paths)
        for name, item_indexes in indexes.items():
            if isinstance(usable_value.get(name), list):
                usable_value[name] = [usable_value[name][index] for index in item_indexes]
        try:
            record = msgspec.convert(usable_value, file.kind.record)
        except msgspec.ValidationError:
            continue
        keys = (key for fault_path in fault_paths for key in fault_path[-2:])
        omitted_fields = frozenset(key for key in keys if isinstance(key, str))
        return _Part(file, path, record, indexes, omitted_fields)
    return None


def _remove_paths(value: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """Return a copy without the fields that the paths lead to or into."""
    copy = deepcopy(value)
    for path in paths:
        names = [index for index, key in enumerate(path) if isinstance(key, str)]
        if not names or (len(path) == 2 and isinstance(path[1], int)):
            continue
        parent: Any = copy
        for key in path[: names[-1]]:
            is_inside = isinstance(parent, dict) and key in parent
            is_inside = is_inside or (isinstance(parent, list) and isinstance(key, int))
            parent = parent[key] if is_inside else None
        if isinstance(parent, dict):
            parent.pop(str(path[names[-1]]), None)
    return copy


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a value, including names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner_value in value.items():
            yield key
            yield from _texts(inner_value)
    elif isinstance(value, list):
        for inner_value in value:
            yield from _texts(inner_value)


def _bundle(parts: Sequence[_Part]) -> model.Bundle:
    fields: dict[str, object] = dict(_STAND_INS)
    for part in parts:
        field = part.file.kind.field
        if part.file.kind.is_folder:
            values = fields.get(field, ())
            assert isinstance(values, tuple)
            fields[field] = (*values, part.value)
        else:
            fields[field] = part.value
    return replace_keys(msgspec.convert(fields, model.Bundle))
