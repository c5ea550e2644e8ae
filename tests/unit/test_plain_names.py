"""Names that a machine can check: of functions, values, classes and tests.

The rules are those of CONTRIBUTING.md; reviews look for what a machine cannot.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.support.source_trees import functions, is_context, is_value, modules, nodes, value_names


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IRREGULAR_PARTICIPLES: Final = _words(
    "became become been begun bound brought built came caught chosen done drawn eaten fallen felt "
    "forgotten found frozen given gone grown held hidden kept known laid led lost made meant met "
    "paid said seen sent shown sold sought spent stolen struck taken taught thought told torn "
    "understood won worn written"
)
_WORDS_IN_ED: Final = _words("bed embed feed need proceed red seed shed speed succeed")
_FIELD_TERMS: Final = _words(
    "committed decided enriched expected identified left processed segmented unprocessed"
)
"""Offsets, records and tokens, by the field's terms."""
_STATES: Final = _words("first_seen last_seen")
_QUESTIONS: Final = _words("are can does has is may must should was")
"""First words of truth values, which may end in a participle: `is_known`."""

_NO_NOUNS: Final = _words(
    "again ahead alone always apart away back bad behind below beside beyond both early enough "
    "ever exact few good here late least many more most near never newest odd oldest once one "
    "ones ours said some theirs told twice what when where who whole whose why within "
    "without wrong"
)
_NO_LAWS: Final = _words("it so what who whoever whatever whose whom nobody those which")
_NO_LAWS_ANYWHERE: Final = _words(
    "what whatever whoever whichever wherever however told tell tells so"
)

_KIND_MODULE: Final = Path("pipeline/identity/record_factory.py")
"""Module whose functions have the names of the kinds of changes that they make."""

_CONTRACT_NAMES: Final = {
    Path("pipeline/cli/refused_rows.py"): ("refused", "stopped"),
    Path("pipeline/config/templates.py"): ("where",),
}
"""Names that users see: keys of JSON, and a keyword of a filter of templates."""


def test_names_of_tests_state_a_law() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, node in functions()
        if node.name.startswith("test_")
        if (words := node.name.split("_"))[1] in _NO_LAWS
        or not _NO_LAWS_ANYWHERE.isdisjoint(words)
        or len(words) < 4
    ]
    assert breaches == []


def test_names_of_functions_are_no_bare_participles() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, node in functions()
        if file != _KIND_MODULE and not is_value(node) and not is_context(node)
        if "_" not in (name := node.name.strip("_")) and _is_participle(name)
    ]
    assert breaches == []


def test_values_are_named_by_nouns() -> None:
    breaches = [
        f"{file}:{line}: {name}"
        for file, tree in modules()
        for name, line in value_names(tree)
        if not _is_noun(name) and name not in _CONTRACT_NAMES.get(file, ())
    ]
    assert breaches == []


def test_classes_are_named_by_nouns() -> None:
    breaches = [
        f"{file}:{node.lineno}: {node.name}"
        for file, tree in modules("tests")
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        if (words := re.findall("[A-Z][a-z]*", node.name)) and _is_participle(words[-1].lower())
    ]
    assert breaches == []


def test_class_names_are_unique() -> None:
    files_by_name = defaultdict(list)
    for file, tree in modules():
        for node in nodes(tree):
            if isinstance(node, ast.ClassDef):
                files_by_name[node.name].append(str(file))
    assert {name: files for name, files in files_by_name.items() if len(files) > 1} == {}


def _is_noun(name: str) -> bool:
    plain_name = name.strip("_").lower()
    words = plain_name.split("_")
    if words[0] in _QUESTIONS or plain_name in _STATES:
        return True
    if words[-1] in _NO_NOUNS:
        return len(words) > 1
    return not _is_participle(words[-1])


def _is_participle(word: str) -> bool:
    if word in _FIELD_TERMS | _WORDS_IN_ED:
        return False
    return word in _IRREGULAR_PARTICIPLES or (word.endswith("ed") and len(word) > 3)
