"""Compilation of a checked bundle's conditions."""

from pipeline.conditions import ALWAYS_TRUE, CompiledCondition, compile, parse
from pipeline.config import model


def compile_condition(raw: model.Condition | None) -> CompiledCondition:
    """Compile a condition; without one, it always holds."""
    if raw is None:
        return ALWAYS_TRUE
    tree = parse(raw)
    assert not isinstance(tree, tuple), tree
    return compile(tree)
