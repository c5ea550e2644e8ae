"""Checks of LightGBM's text models, before the library loads them.

The library trusts a model's trees, so that a damaged or malicious file could make it read any
memory, loop, or end the process. A checked model follows a strict grammar: known fields, plain
numbers, lists of the right length; every node is reached once, from an earlier node, not too deep,
and reads an existing feature. `trial.py` then loads it in a separate process.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

MAX_BYTES: Final = 50_000_000
_MAX_LEAVES: Final = 131_072
"""Limit of LightGBM itself."""

_MAX_TREES: Final = 100_000
_MAX_DEPTH: Final = 1_000
"""Limit of depth, since the library loads a tree by recursion."""

_PLAIN_SPLITS: Final = range(0, 16, 2)
"""Decision types of splits by number; an odd one is by category."""

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,9})")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")
_TEXT: Final = re.compile(r"[\n\x20-\x7e]*")
_OBJECTIVE: Final = re.compile(r"[a-z_0-9]{1,40}(?: [a-z_]{1,40}(?::[0-9.eE+-]{1,40})?){0,4}")
_MAX_INTEGER: Final = 2**31

_HEAD_FIELDS: Final = frozenset(
    {
        *("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx"),
        *("objective", "average_output", "feature_names", "monotone_constraints"),
        *("feature_infos", "tree_sizes"),
    }
)
_NUMBER_FIELDS: Final = {
    "split": ("split_gain", "threshold", "internal_value", "internal_weight"),
    "leaf": ("leaf_value", "leaf_weight"),
}
_TREE_FIELDS: Final = frozenset(
    {
        *("Tree", "num_leaves", "num_cat", "is_linear", "shrinkage", "leaf_count"),
        *("internal_count", "split_feature", "decision_type", "left_child", "right_child"),
        *(name for names in _NUMBER_FIELDS.values() for name in names),
    }
)
_REQUIRED_FIELDS: Final = ("threshold", "leaf_value")


class _MalformedError(Exception):
    """Raised when the model is malformed; the message names the fault."""


@dataclass(frozen=True, slots=True)
class _Tree:
    number: int
    leaf_count: int
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"tree {self.number}"

    def integers(self, name: str, count: int) -> list[int]:
        return [_integer(text, f"{self.name}: {name}") for text in self._texts(name, count)]

    def numbers(self, name: str, count: int) -> list[float]:
        texts = self._texts(name, count)
        if name == "threshold":
            # A threshold is infinite where a split only separates missing values.
            texts = [text for text in texts if text != "inf"]
        return [_number(text, f"{self.name}: {name}") for text in texts]

    def _texts(self, name: str, count: int) -> list[str]:
        text = self.fields.get(name, "")
        texts = text.split(" ") if text else []
        _require(len(texts) == count, f"{self.name}: {name} has {len(texts)} values, not {count}")
        return texts


def problem(data: bytes, feature_count: int) -> str | None:
    """Return the fault of `data` as a model that predicts one number; None: it has none."""
    if len(data) > MAX_BYTES:
        return f"larger than {MAX_BYTES:,} bytes"
    try:
        text = data.decode("ascii")
        _check_model(text, feature_count)
    except UnicodeDecodeError:
        return "not a LightGBM text model: it has bytes that are not ASCII"
    except _MalformedError as error:
        return f"not a sound LightGBM text model: {error}"
    return None


def _require(is_met: bool, fault: str) -> None:
    if not is_met:
        raise _MalformedError(fault)


def _integer(text: str, field: str) -> int:
    """Parse a whole number; other forms, such as 2_0, +2 or 02, differ in C."""
    _require(_INTEGER.fullmatch(text) is not None, f"{field}: {text[:40]!r} is not a whole number")
    value = int(text)
    _require(-_MAX_INTEGER <= value < _MAX_INTEGER, f"{field}: {text} is too large")
    return value


def _number(text: str, field: str) -> float:
    _require(_NUMBER.fullmatch(text) is not None, f"{field}: {text[:40]!r} is not a number")
    value = float(text)
    _require(isfinite(value), f"{field}: {text[:40]} is too large")
    return value


def _check_model(text: str, feature_count: int) -> None:
    _require(_TEXT.fullmatch(text) is not None, "it has control characters")
    head, separator, _ = text.partition("\n\n")
    _require(bool(separator) and head.startswith("tree\n"), "it has no header")
    fields = _fields(head.removeprefix("tree\n"), _HEAD_FIELDS, "head")
    _require(fields.get("version") in ("v3", "v4"), "unknown version")
    is_single = fields.get("num_class") == fields.get("num_tree_per_iteration") == "1"
    _require(is_single, "it predicts several numbers")
    count = _integer(fields.get("max_feature_idx", ""), "max_feature_idx") + 1
    _require(count == feature_count, f"it was trained on {count} features, not on {feature_count}")
    _check_head(fields, feature_count)
    for number, block in enumerate(_blocks(text, len(head) + 2, fields.get("tree_sizes", ""))):
        _require(number < _MAX_TREES, f"more than {_MAX_TREES:,} trees")
        tree_fields = _fields(block, _TREE_FIELDS, f"tree {number}")
        _require(
            tree_fields.get("Tree") == str(number), f"tree {number} is missing or out of order"
        )
        leaf_count = _integer(tree_fields.get("num_leaves", ""), f"tree {number}: num_leaves")
        _check_tree(_Tree(number, leaf_count, tree_fields), feature_count)


def _check_head(fields: Mapping[str, str], feature_count: int) -> None:
    _integer(fields.get("label_index", "0"), "label_index")
    objective = fields.get("objective")
    is_plain = objective is None or _OBJECTIVE.fullmatch(objective) is not None
    _require(is_plain, "objective is unknown")
    for name in ("feature_names", "feature_infos"):
        value_count = len(fields.get(name, "").split(" "))
        _require(
            value_count == feature_count, f"{name} has {value_count} values, not {feature_count}"
        )
    constraints = fields.get("monotone_constraints")
    if constraints is not None:
        signs = [_integer(sign, "monotone_constraints") for sign in constraints.split(" ")]
        is_valid = len(signs) == feature_count and all(sign in (-1, 0, 1) for sign in signs)
        _require(is_valid, "monotone_constraints are not -1, 0 or 1 for each feature")


def _blocks(text: str, start: int, sizes: str) -> Iterator[str]:
    """Yield the trees, by the sizes in the head; require the end after them."""
    position = start
    for written_size in sizes.split(" ") if sizes else []:
        size = _integer(written_size, "tree_sizes")
        _require(0 < size <= len(text) - position, "a tree has no size, or exceeds the text")
        yield text[position : position + size]
        position += size
    _require(text.startswith("end of trees\n", position), "sizes of trees do not add up")


def _fields(block: str, names: frozenset[str], block_name: str) -> dict[str, str]:
    pairs = [line.partition("=")[::2] for line in block.split("\n") if line]
    fields = dict(pairs)
    _require(len(fields) == len(pairs), "a field occurs twice")
    for name in fields:
        _require(name in names, f"{block_name}: unknown field {name[:40]!r}")
    return fields


def _check_tree(tree: _Tree, feature_count: int) -> None:
    _require(tree.leaf_count >= 1, f"{tree.name} has no leaves")
    _require(tree.leaf_count <= _MAX_LEAVES, f"{tree.name} has too many leaves")
    _require(tree.fields.get("num_cat") == "0", f"{tree.name} splits by category")
    _require(tree.fields.get("is_linear", "0") == "0", f"{tree.name} has linear leaves")
    _number(tree.fields.get("shrinkage", "1"), f"{tree.name}: shrinkage")
    _check_numbers(tree)
    if tree.leaf_count > 1:
        _check_splits(tree, feature_count)


def _check_numbers(tree: _Tree) -> None:
    """Check the lists of numbers; a tree of one leaf may omit those of splits."""
    counts = {"split": tree.leaf_count - 1, "leaf": tree.leaf_count}
    for kind, names in _NUMBER_FIELDS.items():
        for name in names:
            is_required = name in _REQUIRED_FIELDS and counts[kind] > 0
            if is_required or tree.fields.get(name):
                tree.numbers(name, counts[kind])
    for name, count in (("leaf_count", tree.leaf_count), ("internal_count", tree.leaf_count - 1)):
        if tree.fields.get(name):
            tree.integers(name, count)


def _check_splits(tree: _Tree, feature_count: int) -> None:
    split_count = tree.leaf_count - 1
    split_features = tree.integers("split_feature", split_count)
    is_valid = all(0 <= feature < feature_count for feature in split_features)
    _require(is_valid, f"{tree.name} reads a missing feature")
    types = tree.integers("decision_type", split_count)
    is_valid = all(split_type in _PLAIN_SPLITS for split_type in types)
    _require(is_valid, f"{tree.name}: decision_type is categorical or unknown")
    left_children, right_children = (
        tree.integers("left_child", split_count),
        tree.integers("right_child", split_count),
    )
    _require(
        _is_tree(left_children, right_children, tree.leaf_count),
        f"{tree.name}: its branches form no tree",
    )
    _require(
        _depth(left_children, right_children) <= _MAX_DEPTH,
        f"{tree.name} is deeper than {_MAX_DEPTH}",
    )


def _is_tree(left_children: list[int], right_children: list[int], leaf_count: int) -> bool:
    """Return whether `left_children` and `right_children`, the children of each node, form a tree.

    Each node except the first has one earlier parent, and each leaf (negative) one parent.
    """
    pairs = (*enumerate(left_children), *enumerate(right_children))
    is_ordered = all(child < 0 or child > node for node, child in pairs)
    children = sorted((*left_children, *right_children))
    return is_ordered and children == [*range(-leaf_count, 0), *range(1, leaf_count - 1)]


def _depth(left_children: list[int], right_children: list[int]) -> int:
    """Return the depth of the deepest node; nodes come after their parents."""
    depths = [0] * len(left_children)
    for node, children in enumerate(zip(left_children, right_children, strict=True)):
        for child in children:
            if child >= 0:
                depths[child] = depths[node] + 1
    return max(depths, default=0)
