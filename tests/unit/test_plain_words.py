"""Plain words that a machine can check: first words of docstrings and comments, names of classes,
functions and tests.

The rules are those of CONTRIBUTING.md; reviews look for what a machine cannot, such as riddles.
"""

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("agents", "pipeline", "tests")
_FOR_USERS: Final = Path("pipeline/config/model")
"""Folder of modules whose docstrings describe parts of YAML files in the published schemas."""

_ARTICLES: Final = frozenset(("a", "an", "the"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RIDDLES: Final = _words("what who whoever whom whose those so nobody which whatever where when it")
_NO_VERBS: Final = _words(
    "a an the one none any each every everything everybody how why rows as at before after by for "
    "from in of on once to with without"
)
_NO_NOUNS: Final = _words(
    "as at by for from how in of on to with appends asks begins does holds keeps knows looks makes "
    "remembers returns runs says sends signs takes tells"
)
_NO_LAWS: Final = _words("it so what who whoever whatever whose whom nobody those which")
_NO_LAWS_ANYWHERE: Final = _words(
    "what whatever whoever whichever wherever however told tell tells so"
)
_PARTICIPLES: Final = _words(
    "came told gone made found held kept heard seen known taken chosen written drawn said"
)
_VERBS_IN_ED: Final = _words("feed need proceed shed succeed")
_VAGUE: Final = _words("told said heard odd given_")
_VAGUE_IN_PACKAGES: Final = _VAGUE | _words("bad twice foretold felled")
_NO_OBJECTS: Final = _words("what who whom those so")
"""Second words of docstrings that leave open what is returned."""
_NO_OBJECTS_IN_PACKAGES: Final = _NO_OBJECTS | _words("how when where why")

_FIELD_TERMS: Final = _words("committed processed unprocessed left decided")
"""Offsets, records and tokens, by the field's terms."""

_BY_KIND: Final = Path("pipeline/identity/record_factory.py")
"""Module whose functions have the names of the kinds of changes that they make."""

_HISTORY: Final = re.compile(
    r"# *(?:previously|formerly|no longer|used to |was (?:moved|renamed)|in the past)",
    re.IGNORECASE,
)
_HOMEMADE: Final = re.compile(
    r"\b(tell_due|own_anew|came_of_it|let_go|own anew|tells? due|rings|unhurried)\b"
)

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in _modules()
        for node in _nodes(tree)
        if (first := _first_word(node)) in _RIDDLES or (first == "whether" and not _is_value(node))
    ]
    assert breaches == []


def test_docstrings_of_functions_begin_with_an_imperative() -> None:
    breaches = [
        f"{file}:{node.lineno}: {first}"
        for file, node in _functions()
        if not _is_value(node)
        if (first := _first_word(node)) in _NO_VERBS
        or first.startswith("`")
        or (first.endswith("s") and not first.endswith("ss"))
    ]
    assert breaches == []


def test_docstrings_of_classes_and_modules_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in _modules()
        if file.parent != _FOR_USERS
        for node in _nodes(tree)
        if isinstance(node, ast.ClassDef | ast.Module)
        if (first := _first_word(node)) in _NO_NOUNS
        or (first.startswith("`") and isinstance(node, ast.ClassDef))
    ]
    assert breaches == []


def test_nouns_of_docstrings_have_no_article() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in _modules()
        if file.parent != _FOR_USERS
        for node in _nodes(tree)
        if isinstance(node, ast.ClassDef)
        or _is_value(node)
        or (isinstance(node, ast.Module) and file.parts[0] != "tests")
        if (first := _first_word(node)) in _ARTICLES
    ]
    assert breaches == []


def test_docstrings_of_errors_say_when_they_are_raised() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, tree in _modules()
        for node in _nodes(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
        and _first_word(node) not in ("raised", "base")
    ]
    assert breaches == []


def test_descriptions_of_attributes_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{description.lineno}: {first}"
        for file, tree in _modules()
        if file.parent != _FOR_USERS
        for description, text in _attribute_descriptions(tree)
        if (first := _word(text)) in _RIDDLES | _NO_NOUNS
    ]
    assert breaches == []


def test_names_of_tests_state_a_law() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, node in _functions()
        if node.name.startswith("test_")
        if (words := node.name.split("_"))[1] in _NO_LAWS
        or not _NO_LAWS_ANYWHERE.isdisjoint(words)
        or len(words) < 4
    ]
    assert breaches == []


def test_names_of_functions_are_no_bare_participles() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, node in _functions()
        if file != _BY_KIND and not _is_value(node) and not _is_context(node)
        if (name := node.name.strip("_")) in _PARTICIPLES
        or (name.endswith("ed") and "_" not in name and name not in _VERBS_IN_ED | _FIELD_TERMS)
    ]
    assert breaches == []


def test_classes_of_tests_are_named_by_nouns() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, tree in _modules("tests")
        for node in _nodes(tree)
        if isinstance(node, ast.ClassDef)
        if (words := re.findall("[A-Z][a-z]*", node.name))
        and (words[-1].lower() in _PARTICIPLES or words[-1].endswith("ed"))
    ]
    assert breaches == []


def test_docstrings_name_their_results() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {' '.join(words)}"
        for file, tree in _modules()
        for node in _nodes(tree)
        if isinstance(node, _Documented)
        if (words := (ast.get_docstring(node) or "").split()[:2])[:1] in (["Return"], ["Yield"])
        if words[1] in (_NO_OBJECTS if file.parts[0] == "tests" else _NO_OBJECTS_IN_PACKAGES)
    ]
    assert breaches == []


def test_values_are_named_by_nouns() -> None:
    breaches = [
        f"{file}:{node.lineno}: {name}"
        for file, tree in _modules()
        for node in _values(tree)
        if (name := node.id if isinstance(node, ast.Name) else node.arg)
        in (_VAGUE if file.parts[0] == "tests" else _VAGUE_IN_PACKAGES)
    ]
    assert breaches == []


def test_descriptions_of_options_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{node.value.lineno}: {first}"
        for file, tree in _modules()
        for node in _nodes(tree)
        if isinstance(node, ast.keyword) and node.arg == "help"
        if isinstance(node.value, ast.Constant)
        if (first := _word(str(node.value.value))) in _RIDDLES | {"how"}
    ]
    assert breaches == []


def test_loggers_have_one_idiom() -> None:
    breaches = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in _modules("agents", "pipeline")
        for node in tree.body
        if isinstance(node, ast.Assign)
        if re.search(r"get_?logger", ast.unparse(node.value), re.IGNORECASE)
        if not ast.unparse(node).startswith("_log = logging.getLogger(")
    ]
    assert breaches == []


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for file, tree in _modules("agents", "pipeline"):
        for node in _nodes(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_comments_contain_no_history() -> None:
    breaches = [
        f"{file}:{token.start[0]}: {token.string}"
        for file in _files(*_PACKAGES)
        for token in _comments(_ROOT / file)
        if _HISTORY.match(token.string)
    ]
    assert breaches == []


def test_homemade_terms_are_gone() -> None:
    breaches = [
        f"{file}:{number}: {match[0]}"
        for file in _files(*_PACKAGES)
        if file.name != Path(__file__).name
        for number, line in enumerate((_ROOT / file).read_text().splitlines(), 1)
        if (match := _HOMEMADE.search(line))
    ]
    assert breaches == []


@cache
def _files(*packages: str) -> tuple[Path, ...]:
    return tuple(
        file.relative_to(_ROOT)
        for package in packages
        for file in sorted((_ROOT / package).rglob("*.py"))
    )


def _modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for file in _files(*packages or _PACKAGES):
        yield file, _parse(file)


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse((_ROOT / file).read_text())


@cache
def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return all nodes of a tree; a walk takes as long as its parsing, and each test needs them."""
    return tuple(ast.walk(tree))


def _functions() -> Iterator[tuple[Path, _Function]]:
    for file, tree in _modules():
        for node in _nodes(tree):
            if isinstance(node, _Function):
                yield file, node


def _attribute_descriptions(tree: ast.Module) -> Iterator[tuple[ast.Expr, str]]:
    """Yield the texts that stand below an assignment, and so describe its name."""
    for node in _nodes(tree):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for assigned, description in pairwise(body):
            if (
                isinstance(assigned, ast.Assign | ast.AnnAssign)
                and isinstance(description, ast.Expr)
                and isinstance(description.value, ast.Constant)
                and isinstance(description.value.value, str)
            ):
                yield description, description.value.value


def _values(tree: ast.Module) -> Iterator[ast.Name | ast.arg]:
    """Yield variables and parameters, without fields: stored rows and JSON have their names."""
    fields = {
        declared.target
        for node in _nodes(tree)
        if isinstance(node, ast.ClassDef)
        for declared in node.body
        if isinstance(declared, ast.AnnAssign)
    }
    for node in _nodes(tree):
        if isinstance(node, ast.Name | ast.arg) and node not in fields:
            yield node


def _comments(file: Path) -> Iterator[tokenize.TokenInfo]:
    with file.open("rb") as content:
        for token in tokenize.tokenize(content.readline):
            if token.type == tokenize.COMMENT:
                yield token


def _first_word(node: ast.AST) -> str:
    return _word(ast.get_docstring(node) or "") if isinstance(node, _Documented) else ""


def _word(text: str) -> str:
    words = text.split()
    return words[0].strip(",.:;*").lower() if words else ""


def _is_value(node: ast.AST) -> bool:
    """Return whether callers see a value, which has a noun: of a property or a fixture."""
    return isinstance(node, _Function) and any(
        _decorator(decorator) in ("property", "cached_property", "fixture")
        for decorator in node.decorator_list
    )


def _decorator(node: ast.expr) -> str:
    function = node.func if isinstance(node, ast.Call) else node
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_context(node: _Function) -> bool:
    """Return whether the function is for `with`, whose line names a state: `with stopped(it)`."""
    return any("contextmanager" in _decorator(decorator) for decorator in node.decorator_list)
