"""YAML with the position of every key and item, restricted to what configuration needs.

One document of mappings with text keys, lists, and plain values: no aliases, no tags, no repeated
keys. `${NAME}` and `${NAME:-default}` in a value stand for environment variables, `$${` for `${`
(fields that the caller names are left as written). The result of an unquoted value is read as YAML
would read it (`${PORT}` can be a number).
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from pipeline.conditions import Path
from pipeline.config.odd_texts import ambiguous_amount_remedy, code_point, odd_space

Position: TypeAlias = tuple[int, int]
"""Line and column, counted from 1."""

_MAX_DEPTH: Final = 64
_MAX_INTEGER: Final = 2**63
_TAG: Final = "tag:yaml.org,2002:"
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_REMEDIES: Final = {
    "cannot start any token": "indent with spaces, and quote texts that begin with a special sign",
    "mapping values are not allowed": "a field is written `name: value`; quote texts that contain "
    "': ', and check the indentation",
    "sequence entries are not allowed": "begin the first item of a list on a line of its own",
    "expected <block end>": "check brackets, and the indentation: fields of one thing stand in one "
    "column; quote texts that begin with [, {{ or a quotation mark",
    "could not find expected ':'": "a field is written `name: value`",
    "expected a single document": "write one document a file, without ---",
    "escape character": "write \\\\ for a backslash, or use single quotation marks",
    "quoted scalar": "close the quotation marks",
    "expected ',' or": "write a comma before it, or close the bracket of line {line}",
    "expected the node content": "write the value that is missing before it",
}
_NO_TAGS: Final = "tags are not accepted; quote a text that begins with !"
_OTHER_REMEDY: Final = "check brackets, quotation marks, special signs and indentation there"
_PROSE_FIELDS: Final = frozenset(("content", "defaults", "description", "hypothesis", "words"))
"""Fields with texts for people, where typographic quotation marks are allowed."""

_AMOUNT_FIELDS: Final = frozenset(("amount", "budget", "value"))
_TYPOGRAPHIC: Final = re.compile("[“”„«‘’‹].*[“”»‘’›]", re.DOTALL)
_UNCLOSED_PARTS: Final = ("simple key", "quoted scalar")
"""Parts of messages of faults that extend to the end of the document; located where they begin."""


@dataclass(frozen=True, slots=True)
class YamlFault:
    """Fault with its position and remedy."""

    position: Position
    message: str


@dataclass(frozen=True, slots=True)
class RefusedValue:
    """Value that is valid YAML and not accepted here."""

    path: Path
    fault: YamlFault


@dataclass(frozen=True, slots=True)
class Document:
    """Parsed document; `value` is made of dicts, lists and scalars.

    `positions`: the position of each key or item. `refusals`: values that are not accepted; `value`
    has None instead of these, and the first value of a repeated key.
    """

    value: object
    positions: Mapping[Path, Position]
    refusals: tuple[RefusedValue, ...]


EVERY_FIELD: Final = "*"
"""Stand-in for the names of all fields, whose variables are not expanded."""


def read_yaml(
    text: str, environment: Mapping[str, str], verbatim_fields: Collection[str] = ()
) -> Document | YamlFault:
    """Return the document in `text`, or the first fault of its syntax."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = _Composer
        node = yaml.compose(text)
    except _RefusedError as error:
        return error.fault
    except MarkedYAMLError as error:
        return _syntax_fault(error, text)
    except ReaderError as error:
        return _invisible_character_fault(error, text)
    except YAMLError as error:
        return YamlFault((1, 1), " ".join(str(error).split()))
    except (ValueError, RecursionError) as error:
        return YamlFault((1, 1), f"YAML: {' '.join(str(error).split())}; {_OTHER_REMEDY}")
    builder = _ValueBuilder(environment, verbatim_fields, text.splitlines())
    return Document(
        None if node is None else builder.value(node, ()),
        builder.positions,
        tuple(builder.refusals),
    )


class _RefusedError(Exception):
    """Raised for a value that is valid YAML and not accepted here."""

    def __init__(self, position: Position, message: str) -> None:
        self.fault = YamlFault(position, message)


class _Composer(Composer):
    """Composer that refuses, before anything is built, texts that would become huge values."""

    _depth = 0

    def compose_node(self, parent: object, index: object) -> Node:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            message = f"*{event.anchor}: aliases are not accepted; write the value out"
            raise _RefusedError(_position(event.start_mark), f"{message}, or quote the text")
        if isinstance(event, CollectionStartEvent) and self._depth == _MAX_DEPTH:
            raise _RefusedError(_position(event.start_mark), f"nested deeper than {_MAX_DEPTH}")
        self._depth += 1
        node: Node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _position(mark: object) -> Position:
    return getattr(mark, "line", 0) + 1, getattr(mark, "column", 0) + 1


def _invisible_character_fault(error: ReaderError, text: str) -> YamlFault:
    text_before = text[: error.position]
    position = text_before.count("\n") + 1, len(text_before) - (text_before.rfind("\n") + 1) + 1
    message = f"an invisible character ({code_point(text[error.position])}): remove it"
    return YamlFault(position, message)


def _syntax_fault(error: MarkedYAMLError, text: str) -> YamlFault:
    context, problem = error.context or "", error.problem or error.context or "not YAML"
    remedies = [remedy for sign, remedy in _REMEDIES.items() if sign in f"{context} {problem}"]
    start_mark = error.context_mark or error.problem_mark
    remedy = next(iter(remedies), _OTHER_REMEDY).format(line=_position(start_mark)[0])
    is_unclosed = any(sign in context for sign in _UNCLOSED_PARTS)
    position = _position(start_mark if is_unclosed else error.problem_mark or start_mark)
    lines = text.splitlines()
    odd_character = odd_space(lines[position[0] - 1]) if position[0] <= len(lines) else None
    if odd_character is not None:
        remedy = f"a character there only looks like a space ({odd_character}): type a space"
    return YamlFault(position, f"YAML: {' '.join(problem.split())}; {remedy}")


@dataclass(slots=True)
class _ValueBuilder:
    """Builder of values from nodes, which records their positions."""

    environment: Mapping[str, str]
    verbatim_fields: Collection[str]
    lines: list[str]
    positions: dict[Path, Position] = field(default_factory=dict)
    refusals: list[RefusedValue] = field(default_factory=list)

    def value(self, node: Node, path: Path) -> object:
        self.positions.setdefault(path, _position(node.start_mark))
        try:
            return self._value(node, path)
        except _RefusedError as error:
            self.refusals.append(RefusedValue(path, error.fault))
            return None

    def _value(self, node: Node, path: Path) -> object:
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._refuse_tag(node, "seq")
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        is_verbatim = bool(path) and (
            path[-1] in self.verbatim_fields or EVERY_FIELD in self.verbatim_fields
        )
        if node.style is None:
            self._refuse_misread_value(node, path)
        return self._scalar(node, is_expanded=not is_verbatim)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        self._refuse_tag(node, "map")
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            position = _position(key_node.start_mark)
            if not isinstance(key_node, ScalarNode) or _kind(key_node) not in ("str", "merge"):
                raise _RefusedError(position, "a field's name is a text: quote it")
            key = key_node.value
            if key in mapping:
                message = f"{key[:100]!r} occurs twice: keep one of them"
                self.refusals.append(RefusedValue((*path, key), YamlFault(position, message)))
                continue
            self.positions[*path, key] = position
            mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _refuse_misread_value(self, node: ScalarNode, path: Path) -> None:
        """Refuse an unquoted value that YAML reads as something its author did not mean."""
        position, text = _position(node.start_mark), str(node.value)
        if node.anchor is not None and not text:
            raise _RefusedError(position, f"&{node.anchor}: quote a text that begins with &")
        if _PROSE_FIELDS.isdisjoint(path):
            if _TYPOGRAPHIC.fullmatch(text):
                message = "typographic quotation marks belong to the text: write straight ones"
                raise _RefusedError(position, f"{text[:60]}: {message}")
            remedy = ambiguous_amount_remedy(text) if path and path[-1] in _AMOUNT_FIELDS else None
            if remedy is not None:
                raise _RefusedError(position, f"{text} could be grouped by thousands: {remedy}")
        elif _begins_comment(self.lines, node):
            message = (
                "what follows # is a comment and no part of the text: put the text in quotation"
            )
            raise _RefusedError(position, f"{message} marks, or a space behind #")

    def _refuse_tag(self, node: Node, expected_kind: str) -> None:
        if _kind(node) != expected_kind:
            raise _RefusedError(_position(node.start_mark), f"{node.tag}: {_NO_TAGS}")

    def _scalar(self, node: ScalarNode, *, is_expanded: bool) -> object:
        text = self._expand(node) if is_expanded else str(node.value)
        kind = _kind(node)
        if text != node.value and node.style is None:
            kind = _implicit_kind(text)
        parse = _SCALARS.get(kind)
        if parse is None:
            raise _RefusedError(_position(node.start_mark), f"{node.tag}: {_NO_TAGS}")
        try:
            return parse(text)
        except ValueError as error:
            prefix = f"{text[:100]!r}: " if is_expanded else ""
            raise _RefusedError(_position(node.start_mark), f"{prefix}{error}") from None

    def _expand(self, node: ScalarNode) -> str:
        def replacement(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name is None:
                return "${"
            value = self.environment.get(name, default)
            if value is None:
                message = f"{name} is not set: set it, or write ${{{name}:-default}}"
                raise _RefusedError(_position(node.start_mark), message)
            return str(value)

        # A text after the last bracket contains no whole variable; the pattern would search it to
        # its end for each variable that begins there.
        tail_start = node.value.rfind("}") + 1
        head, tail = node.value[:tail_start], node.value[tail_start:]
        return _VARIABLE.sub(replacement, head) + str(tail).replace("$${", "${")


def _begins_comment(lines: list[str], node: ScalarNode) -> bool:
    """Return whether a word that begins with # follows a text on its last line."""
    end_mark = node.end_mark
    if end_mark.line >= len(lines):
        return False
    return re.match(r" +#[^ #]", lines[end_mark.line][end_mark.column :]) is not None


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix(_TAG)


def _implicit_kind(text: str) -> str:
    resolver = YAML(typ="safe", pure=True).resolver
    return str(resolver.resolve(ScalarNode, text, (True, False))).removeprefix(_TAG)


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    has_base_prefix = digits.lstrip("+-").lower().startswith(("0x", "0o", "0b"))
    value = int(digits, 0 if has_base_prefix else 10)
    if abs(value) >= _MAX_INTEGER:
        raise ValueError("the number is too large")
    return value


def _number(text: str) -> int | float:
    """Parse a number; `1.0` is 1, as it is to JSON Schema."""
    value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        raise ValueError("the number is not finite")
    if not value.is_integer():
        return value
    return _integer(str(int(value)))


_SCALARS: Final[Mapping[str, Callable[[str], object]]] = {
    "str": str,
    "merge": str,
    "timestamp": str,
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _number,
}
