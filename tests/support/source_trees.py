"""Syntax trees of the project's own Python files, for tests of names and texts."""

import ast
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("agents", "pipeline", "tests")

_QUESTIONS: Final = (
    *("all", "any", "bool", "isinstance", "issubclass", "Event"),
    *("isdisjoint", "issubset", "issuperset", "startswith", "endswith"),
)
"""Functions whose result is a truth value; `Event` is among them, since an event is set or not."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def python_files(*packages: str) -> tuple[Path, ...]:
    """Return the Python files of packages, relative to the root."""
    return tuple(
        file.relative_to(ROOT)
        for package in packages
        for file in sorted((ROOT / package).rglob("*.py"))
        if "node_modules" not in file.parts
    )


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield each file of the packages, by default of all, with its tree."""
    for file in python_files(*packages or PACKAGES):
        yield file, _parse(file)


@cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return all nodes of a tree; cached, since tests share trees and a walk is slow."""
    return tuple(ast.walk(tree))


def functions() -> Iterator[tuple[Path, Function]]:
    """Yield each function of all packages."""
    for file, tree in modules():
        for node in nodes(tree):
            if isinstance(node, Function):
                yield file, node


def attribute_descriptions(tree: ast.Module) -> Iterator[tuple[ast.Expr, str]]:
    """Yield the texts that stand below an assignment, and so describe its name."""
    for node in nodes(tree):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for assignment, description in pairwise(body):
            if (
                isinstance(assignment, ast.Assign | ast.AnnAssign)
                and isinstance(description, ast.Expr)
                and isinstance(description.value, ast.Constant)
                and isinstance(description.value.value, str)
            ):
                yield description, description.value.value


def comments(file: Path) -> Iterator[tokenize.TokenInfo]:
    """Yield the comments of a file."""
    with (ROOT / file).open("rb") as content:
        for token in tokenize.tokenize(content.readline):
            if token.type == tokenize.COMMENT:
                yield token


def is_value(node: ast.AST) -> bool:
    """Return whether callers see the function as a value: a property or a fixture."""
    return isinstance(node, Function) and any(
        _decorator(decorator) in ("property", "cached_property", "fixture")
        for decorator in node.decorator_list
    )


def is_context(node: Function) -> bool:
    """Return whether the function is a context manager, which a state may name: `stopped`."""
    return any("contextmanager" in _decorator(decorator) for decorator in node.decorator_list)


def value_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield name and line of each value: variable, parameter, attribute, property, fixture.

    Fields of classes are left out, since stored rows and JSON fix their names; so are truth values,
    which are named by states (`stopped`), and labels (`STALLED = "stalled"`).
    """
    exempt_nodes = _fields(tree) | _truth_values(tree) | _labels(tree)
    for node in nodes(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if is_value(node):
                if not _is_truth(node.returns):
                    yield node.name, node.lineno
            case ast.arg() if not _is_truth(node.annotation):
                yield node.arg, node.lineno
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                if node not in exempt_nodes:
                    yield name, node.lineno


def _fields(tree: ast.Module) -> frozenset[ast.AST]:
    return frozenset(
        declaration.target
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        for declaration in node.body
        if isinstance(declaration, ast.AnnAssign)
    )


def _truth_values(tree: ast.Module) -> frozenset[ast.AST]:
    """Return the targets of assignments whose value or annotation shows a truth value."""
    targets: list[ast.AST] = []
    for node in nodes(tree):
        match node:
            case ast.Assign() if _shows_truth(node.value):
                targets += node.targets
            case ast.NamedExpr() if _shows_truth(node.value):
                targets.append(node.target)
            case ast.AnnAssign() if _is_truth(node.annotation) or _shows_truth(node.value):
                targets.append(node.target)
    return frozenset(targets)


def _labels(tree: ast.Module) -> frozenset[ast.AST]:
    """Return the targets of assignments of texts that spell the target's name."""
    return frozenset(
        target
        for node in nodes(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and _spell(node.value.value) == _spell(target.id)
    )


def _spell(name: object) -> str:
    return "".join(filter(str.isalpha, str(name).lower()))


def _is_truth(annotation: ast.expr | None) -> bool:
    return annotation is not None and "bool" in ast.unparse(annotation)


def _shows_truth(value: ast.expr | None) -> bool:
    match value:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.BoolOp():
            return all(map(_shows_truth, value.values))
        case ast.Constant():
            return isinstance(value.value, bool)
        case ast.Await():
            return _shows_truth(value.value)
        case ast.Call():
            name = _called_name(value)
            return name in _QUESTIONS or name.strip("_").startswith(("is_", "has_", "was_"))
    return False


def _decorator(node: ast.expr) -> str:
    return _called_name(node) if isinstance(node, ast.Call) else _name(node)


def _called_name(call: ast.Call) -> str:
    return _name(call.func)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text())
