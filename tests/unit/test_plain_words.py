"""Plain words that a machine can check: of docstrings, comments and options.

The rules are those of CONTRIBUTING.md; reviews look for what a machine cannot, such as riddles.
"""

import ast
import re
from pathlib import Path
from typing import Final

from tests.support.source_trees import (
    PACKAGES,
    ROOT,
    attribute_descriptions,
    comments,
    functions,
    is_value,
    modules,
    nodes,
    python_files,
)

_USER_MODEL_FOLDER: Final = Path("pipeline/config/model")
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
_NO_OBJECTS: Final = _words("what who whom those so")
"""Second words of docstrings that leave open what is returned."""
_NO_OBJECTS_IN_PACKAGES: Final = _NO_OBJECTS | _words("how when where why")

_HISTORY: Final = re.compile(
    r"# *(?:previously|formerly|no longer|used to |was (?:moved|renamed)|in the past)",
    re.IGNORECASE,
)
_HOMEMADE_TERMS: Final = re.compile(
    r"\b(tell_due|own_anew|came_of_it|let_go|own anew|tells? due|rings|unhurried)\b"
)

_DocumentedNode = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in modules()
        for node in nodes(tree)
        if (first := _first_word(node)) in _RIDDLES or (first == "whether" and not is_value(node))
    ]
    assert breaches == []


def test_docstrings_of_functions_begin_with_an_imperative() -> None:
    breaches = [
        f"{file}:{node.lineno}: {first}"
        for file, node in functions()
        if not is_value(node)
        if (first := _first_word(node)) in _NO_VERBS
        or first.startswith("`")
        or (first.endswith("s") and not first.endswith("ss"))
    ]
    assert breaches == []


def test_docstrings_of_classes_and_modules_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in modules()
        if file.parent != _USER_MODEL_FOLDER
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef | ast.Module)
        if (first := _first_word(node)) in _NO_NOUNS
        or (first.startswith("`") and isinstance(node, ast.ClassDef))
    ]
    assert breaches == []


def test_nouns_of_docstrings_have_no_article() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {first}"
        for file, tree in modules()
        if file.parent != _USER_MODEL_FOLDER
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        or is_value(node)
        or (isinstance(node, ast.Module) and file.parts[0] != "tests")
        if (first := _first_word(node)) in _ARTICLES
    ]
    assert breaches == []


def test_docstrings_of_errors_say_when_they_are_raised() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, tree in modules()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
        and _first_word(node) not in ("raised", "base")
    ]
    assert breaches == []


def test_descriptions_of_attributes_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{description.lineno}: {first}"
        for file, tree in modules()
        if file.parent != _USER_MODEL_FOLDER
        for description, text in attribute_descriptions(tree)
        if (first := _word(text)) in _RIDDLES | _NO_NOUNS
    ]
    assert breaches == []


def test_docstrings_name_their_results() -> None:
    breaches = [
        f"{file}:{getattr(node, 'lineno', 1)}: {' '.join(words)}"
        for file, tree in modules()
        for node in nodes(tree)
        if isinstance(node, _DocumentedNode)
        if (words := (ast.get_docstring(node) or "").split()[:2])[:1] in (["Return"], ["Yield"])
        if words[1] in (_NO_OBJECTS if file.parts[0] == "tests" else _NO_OBJECTS_IN_PACKAGES)
    ]
    assert breaches == []


def test_descriptions_of_options_begin_with_a_noun() -> None:
    breaches = [
        f"{file}:{node.value.lineno}: {first}"
        for file, tree in modules()
        for node in nodes(tree)
        if isinstance(node, ast.keyword) and node.arg == "help"
        if isinstance(node.value, ast.Constant)
        if (first := _word(str(node.value.value))) in _RIDDLES | {"how"}
    ]
    assert breaches == []


def test_loggers_have_one_idiom() -> None:
    breaches = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in modules("agents", "pipeline")
        for node in tree.body
        if isinstance(node, ast.Assign)
        if re.search(r"get_?logger", ast.unparse(node.value), re.IGNORECASE)
        if not ast.unparse(node).startswith("_log = logging.getLogger(")
    ]
    assert breaches == []


def test_comments_contain_no_history() -> None:
    breaches = [
        f"{file}:{token.start[0]}: {token.string}"
        for file in python_files(*PACKAGES)
        for token in comments(file)
        if _HISTORY.match(token.string)
    ]
    assert breaches == []


def test_homemade_terms_are_gone() -> None:
    breaches = [
        f"{file}:{number}: {match[0]}"
        for file in python_files(*PACKAGES)
        if file.name != Path(__file__).name
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1)
        if (match := _HOMEMADE_TERMS.search(line))
    ]
    assert breaches == []


def _first_word(node: ast.AST) -> str:
    return _word(ast.get_docstring(node) or "") if isinstance(node, _DocumentedNode) else ""


def _word(text: str) -> str:
    words = text.split()
    return words[0].strip(",.:;*").lower() if words else ""
