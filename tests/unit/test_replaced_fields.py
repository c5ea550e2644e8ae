"""Fields that msgspec's `replace` sets exist: mypy does not check its keywords."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.support.source_trees import modules, nodes

_REPLACE = "replace"


def test_replaced_fields_are_fields_of_a_record() -> None:
    breaches = [
        f"{file}:{call.lineno}: {keyword.arg}"
        for file, tree in modules()
        for call in _replacements(tree)
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in _fields()
    ]
    assert breaches == []


def _replacements(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls of msgspec's `replace`, by the name under which the module imports it."""
    names = {
        alias.asname or alias.name
        for node in nodes(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "msgspec.structs"
        for alias in node.names
        if alias.name == _REPLACE
    }
    for node in nodes(tree):
        if isinstance(node, ast.Call) and _is_replace(node.func, names):
            yield node


def _is_replace(function: ast.expr, names: set[str]) -> bool:
    if isinstance(function, ast.Attribute):
        return ast.unparse(function) == f"msgspec.structs.{_REPLACE}"
    return isinstance(function, ast.Name) and function.id in names


@cache
def _fields() -> frozenset[str]:
    """Return the names of the fields of all classes of the project."""
    return frozenset(
        declaration.target.id
        for _, tree in modules()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        for declaration in node.body
        if isinstance(declaration, ast.AnnAssign) and isinstance(declaration.target, ast.Name)
    )
