"""Conditions of a bundle that was found right."""

from pipeline.conditions import ALWAYS, Compiled, compile, parse
from pipeline.config import model


def compiled(raw: model.Condition | None) -> Compiled:
    """Ready to run; without one, always."""
    if raw is None:
        return ALWAYS
    tree = parse(raw)
    assert not isinstance(tree, tuple), tree
    return compile(tree)
