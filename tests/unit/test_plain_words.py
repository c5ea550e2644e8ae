"""Plain words that a machine can check: first words of docstrings, names of classes, functions and
tests."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("agents", "pipeline")
_NO_BEGINNINGS: Final = frozenset(
    ("what", "who", "whoever", "those", "so", "nobody", "which", "whatever", "where", "when")
)
_NO_VERBS: Final = frozenset(
    (
        *("a", "an", "the", "one", "none", "any", "each", "every", "everything", "how", "why"),
        *(
            "everybody",
            "rows",
            "as",
            "at",
            "before",
            "after",
            "by",
            "for",
            "from",
            "of",
            "once",
            "with",
            "without",
        ),
    )
)
_NO_NOUNS: Final = frozenset(
    (
        *("as", "at", "by", "from", "how", "in", "of", "on", "with"),
        *("keeps", "knows", "makes", "reads", "remembers", "runs", "sends", "signs", "tells"),
    )
)
_FOR_USERS: Final = Path("pipeline/config/model.py")
"""Its docstrings describe parts of YAML files in the published schemas."""

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    wrong = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in _modules()
        for node in ast.walk(tree)
        if (first := _first_word(node)) in _NO_BEGINNINGS
        or (first == "whether" and not _is_property(node))
    ]
    assert wrong == []


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    wrong = [
        f"{file}:{node.lineno}: {first}"
        for file, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_property(node)
        if (first := _first_word(node)) in _NO_VERBS or first.startswith("`")
    ]
    assert wrong == []


def test_docstrings_of_classes_begin_with_a_noun() -> None:
    wrong = [
        f"{file}:{node.lineno}: {first}"
        for file, tree in _modules()
        if file != _FOR_USERS
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        if (first := _first_word(node)) in _NO_NOUNS or first.startswith("`")
    ]
    assert wrong == []


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for file, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in _PACKAGES:
        for file in sorted((_ROOT / package).rglob("*.py")):
            yield file.relative_to(_ROOT), ast.parse(file.read_text())


def _first_word(node: ast.AST) -> str:
    if not isinstance(node, _Documented):
        return ""
    words = (ast.get_docstring(node) or "").split()
    return words[0].strip(",.:;").lower() if words else ""


def _is_property(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(one, ast.Name) and one.id in ("property", "cached_property")
        for one in node.decorator_list
    )
