"""LightGBM's text models, checked before the library sees them.

The library trusts the indices in a model's trees, so that a damaged or malicious file could make it
read any memory. A model that passes has trees and nothing else: every node is reached once, from a
node before it, and reads a feature that is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, isnan
from typing import Final

MAX_BYTES: Final = 50_000_000
_PLAIN_SPLITS: Final = range(0, 16, 2)
"""Decision types of splits by number; an odd one is by category."""


class _MalformedError(Exception):
    """Carries what is wrong out of the reading."""


@dataclass(frozen=True, slots=True)
class _Tree:
    number: int
    leaves: int
    fields: Mapping[str, str]

    def integers(self, name: str) -> list[int]:
        return [int(one) for one in self.texts(name, self.leaves - 1)]

    def numbers(self, name: str, count: int) -> list[float]:
        return [float(one) for one in self.texts(name, count)]

    def texts(self, name: str, count: int) -> list[str]:
        found = self.fields.get(name, "").split()
        _demand(len(found) == count, f"tree {self.number}: {name} has {len(found)} values")
        return found


def problem(data: bytes, features: int) -> str | None:
    """Why it is no model of one number over so many features; None: it is."""
    if len(data) > MAX_BYTES:
        return f"larger than {MAX_BYTES:,} bytes"
    try:
        text = data.decode("ascii")
        _check(text, features)
    except UnicodeDecodeError:
        return "not a LightGBM text model: it has bytes that are no ASCII"
    except (_MalformedError, ValueError) as error:
        return f"not a sound LightGBM text model: {error}"
    return None


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _MalformedError(otherwise)


def _check(text: str, features: int) -> None:
    head, found, _ = text.partition("\n\n")
    _demand(bool(found) and head.startswith("tree\n"), "it does not begin as one")
    fields = _fields(head)
    _demand(fields.get("version") in ("v3", "v4"), "unknown version")
    single = fields.get("num_class") == fields.get("num_tree_per_iteration") == "1"
    _demand(single, "it predicts several numbers")
    count = int(fields.get("max_feature_idx", "")) + 1
    _demand(count == features, f"it was trained on {count} features, not on {features}")
    for number, block in enumerate(_blocks(text, len(head) + 2, fields.get("tree_sizes", ""))):
        inside = _fields(block)
        _demand(inside.get("Tree") == str(number), f"tree {number} is not where it should be")
        _check_tree(_Tree(number, int(inside.get("num_leaves", "")), inside), features)


def _blocks(text: str, start: int, sizes: str) -> Iterator[str]:
    """The trees, by the sizes that the head gives; after them the end is due."""
    ends = [start]
    for size in map(int, sizes.split()):
        _demand(size > 0, "a tree has no size")
        ends.append(ends[-1] + size)
    for begin, end in pairwise(ends):
        yield text[begin:end]
    _demand(text[ends[-1] :].startswith("end of trees"), "sizes of trees do not add up")


def _fields(block: str) -> dict[str, str]:
    pairs = [line.partition("=")[::2] for line in block.splitlines() if line]
    fields = dict(pairs)
    _demand(len(fields) == len(pairs), "a field is there twice")
    return fields


def _check_tree(tree: _Tree, features: int) -> None:
    name = f"tree {tree.number}"
    _demand(tree.leaves >= 1, f"{name} has no leaves")
    _demand(tree.fields.get("num_cat") == "0", f"{name} splits by category")
    _demand(tree.fields.get("is_linear", "0") == "0", f"{name} has linear leaves")
    _demand(all(map(isfinite, tree.numbers("leaf_value", tree.leaves))), f"{name}: leaf_value")
    if tree.leaves == 1:
        return
    _demand(not any(map(isnan, tree.numbers("threshold", tree.leaves - 1))), f"{name}: threshold")
    used = tree.integers("split_feature")
    _demand(all(0 <= one < features for one in used), f"{name} reads a feature that is not there")
    types = tree.integers("decision_type")
    _demand(all(one in _PLAIN_SPLITS for one in types), f"{name}: decision_type")
    left, right = tree.integers("left_child"), tree.integers("right_child")
    _demand(_grows(left, right, tree.leaves), f"{name}: its branches make no tree")


def _grows(left: list[int], right: list[int], leaves: int) -> bool:
    """Each node but the first hangs once, under one before it; so does each leaf (~its number)."""
    later = all(child < 0 or child > node for node, child in (*enumerate(left), *enumerate(right)))
    children = sorted((*left, *right))
    return later and children == [*range(-leaves, 0), *range(1, leaves - 1)]
