"""Conditions: parsed from a written form to a typed tree, compiled once to closures.

    tree = parse({"trait": "age", "gte": 18})     # Condition, or the problems found
    adult = compile(tree)                         # CompiledCondition
    adult.test(facts)                             # bool

The written form is described in `parse.py`, its meaning in `tree.py`.
"""

from pipeline.conditions.compile import ALWAYS_TRUE, CompiledCondition, compile
from pipeline.conditions.duration import duration_ms
from pipeline.conditions.facts import Facts
from pipeline.conditions.parse import parse
from pipeline.conditions.problem import Path, Problem, UnknownName, did_you_mean
from pipeline.conditions.reads import Reads
from pipeline.conditions.tree import Condition

__all__ = [
    "ALWAYS_TRUE",
    "CompiledCondition",
    "Condition",
    "Facts",
    "Path",
    "Problem",
    "Reads",
    "UnknownName",
    "compile",
    "did_you_mean",
    "duration_ms",
    "parse",
]
