"""Holdouts: a share of customers gets nothing of a kind, so that its effect can be measured.

A customer is drawn when they would first get something of the kind, by a hash of who they are then,
and stays as drawn.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from pipeline.config.compiled import CompiledCandidate, CompiledHoldout
from pipeline.model.decision import Assignment

_RANGE: Final = 2**64


class Draw(Struct, frozen=True):
    """The holdouts of a candidate for a customer; `new`: those drawn just now."""

    held: Assignment | None
    new: tuple[Assignment, ...]


def draw(
    candidate: CompiledCandidate, profile_id: str, drawn: Mapping[str, Assignment], now_ms: int
) -> Draw:
    """Return the customer's draw for `candidate`; transactional ones have no holdout."""
    rules: Iterable[CompiledHoldout] = () if candidate.transactional else candidate.holdouts
    new: list[Assignment] = []
    held: Assignment | None = None
    for rule in rules:
        assignment = drawn.get(rule.name)
        if assignment is None:
            assignment = Assignment(rule.name, is_held(rule, profile_id), now_ms)
            new.append(assignment)
        if assignment.held and held is None:
            held = assignment
    return Draw(held, tuple(new))


def is_held(rule: CompiledHoldout, profile_id: str) -> bool:
    """Return whether the customer's draw, from 0 to 1 by who it is, is below the share."""
    digest = hashlib.sha256(f"{rule.name}/{profile_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < rule.share * _RANGE
