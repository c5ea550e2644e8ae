"""Salvage of a damaged folder, so that its usable parts can be checked.

Of a file with wrong parts, the correct items and fields are kept; an unreadable file is replaced by
a minimal one. A missing name that may be defined in a left-out part is no error.
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
from pipeline.config.keys import without_keys
from pipeline.config.schema import FileKind

_STAND_INS: Final[Mapping[str, model.Part]] = {
    "sources": model.Sources(()),
    "identity": model.Identity((model.Namespace("customer_id"), model.Namespace("cookie"))),
    "channels": model.Channels((model.Channel("web"),)),
}
_DEFINED_IN: Final[Mapping[str, tuple[str, ...]]] = {
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

    `kept`: for each list at its top, the indexes in the file of the remaining items. `lost`: the
    names of left-out fields.
    """

    file: ConfigFile
    at: Path
    value: model.Part
    kept: Mapping[str, Sequence[int]]
    lost: frozenset[str]


@dataclass(frozen=True, slots=True)
class Salvage:
    """Bundle of all usable parts.

    `lost`: by field of the bundle, the texts in left-out parts; None if they are unknown.
    """

    bundle: model.Bundle
    parts: tuple[_Part, ...]
    lost: Mapping[str, frozenset[str] | None]

    def locate(self, problem: Problem) -> tuple[ConfigFile, Problem] | None:
        """Return the file and problem; None if a left-out part may cause it."""
        part = next((part for part in self.parts if part.at == problem.path[: len(part.at)]), None)
        if part is None or (problem.unknown and self._may_be_lost(problem.unknown)):
            return None
        if part.lost.intersection(_WORD.findall(problem.message)):
            return None
        path = problem.path[len(part.at) :]
        match path:
            case (str() as field, int() as index, *rest) if field in part.kept:
                path = (field, part.kept[field][index], *rest)
        return part.file, replace(problem, path=path)

    def _may_be_lost(self, unknown: UnknownName) -> bool:
        stem = unknown.name
        for affix in _AFFIXES:
            stem = stem.removeprefix(affix).removesuffix(affix)
        lost = [self.lost.get(field, _NO_TEXTS) for field in _DEFINED_IN[unknown.kind]]
        return any(texts is None or not texts.isdisjoint((unknown.name, stem)) for texts in lost)


def salvage_files(
    files: Sequence[ConfigFile],
    problems: Mapping[str, Sequence[Problem]],
    unreadable: Sequence[FileKind],
) -> Salvage:
    """Return the usable parts of `files`.

    `problems`: by file, the problems of its form; `unreadable`: kinds of the unreadable files.
    """
    parts: list[_Part] = []
    lost: dict[str, frozenset[str] | None] = {kind.field: None for kind in unreadable}
    counts: dict[str, int] = {}
    for file in files:
        field = file.kind.field
        index = counts.get(field, 0)
        at: Path = (field, index) if file.kind.many else (field,)
        part = _salvage_part(file, at, problems[file.name])
        if part is not None:
            parts.append(part)
            counts[field] = index + 1
        known = lost.get(field, frozenset())
        if problems[file.name] and known is not None:
            lost[field] = known.union(_texts(file.document.value))
    return Salvage(_bundle(parts), tuple(parts), lost)


def _salvage_part(file: ConfigFile, at: Path, problems: Sequence[Problem]) -> _Part | None:
    """Leave out wrong fields if the rest is valid, or else the items that contain them."""
    value = file.document.value
    if not isinstance(value, dict):
        return None
    paths = [problem.path for problem in problems]
    items = {path[:2] for path in paths if len(path) == 2 and isinstance(path[1], int)}
    for left_out in (items, {path[:2] for path in paths}):
        kept = {
            name: [place for place in range(len(field)) if (name, place) not in left_out]
            for name, field in value.items()
            if isinstance(field, list)
        }
        usable = _remove_paths(value, paths)
        for name, places in kept.items():
            if isinstance(usable.get(name), list):
                usable[name] = [usable[name][place] for place in places]
        try:
            converted = msgspec.convert(usable, file.kind.record)
        except msgspec.ValidationError:
            continue
        lost = frozenset(key for path in paths for key in path[-2:] if isinstance(key, str))
        return _Part(file, at, converted, kept, lost)
    return None


def _remove_paths(value: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """Return a copy without the fields that the paths lead to or into."""
    copy = deepcopy(value)
    for path in paths:
        names = [place for place, key in enumerate(path) if isinstance(key, str)]
        if not names or (len(path) == 2 and isinstance(path[1], int)):
            continue
        parent: Any = copy
        for key in path[: names[-1]]:
            inside = isinstance(parent, dict) and key in parent
            inside = inside or (isinstance(parent, list) and isinstance(key, int))
            parent = parent[key] if inside else None
        if isinstance(parent, dict):
            parent.pop(str(path[names[-1]]), None)
    return copy


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a value, including names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _bundle(parts: Sequence[_Part]) -> model.Bundle:
    fields: dict[str, object] = dict(_STAND_INS)
    for part in parts:
        field = part.file.kind.field
        if part.file.kind.many:
            known = fields.get(field, ())
            assert isinstance(known, tuple)
            fields[field] = (*known, part.value)
        else:
            fields[field] = part.value
    return without_keys(msgspec.convert(fields, model.Bundle))
