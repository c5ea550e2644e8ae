"""Conditions without an interaction, as time, a merge or a configuration evaluate them.

A check that reads the interaction, on either side, is *unknown* then. With unknown parts `all` is
false when another part is false, `any` is true when another part is true; otherwise they are
unknown, as is `not` of an unknown part (Kleene's logic).
"""

from pipeline.conditions.reads import reads
from pipeline.conditions.tree import All, Any, Compare, Condition, Not


def certain_form(tree: Condition) -> Condition:
    """Return the condition that holds exactly when `tree` is true without an interaction."""
    return _replace_unknown(tree, replacement=False)


def possible_form(tree: Condition) -> Condition:
    """Return the condition that holds exactly when `tree` is true or unknown without an
    interaction."""
    return _replace_unknown(tree, replacement=True)


def _replace_unknown(tree: Condition, replacement: bool) -> Condition:
    """Return the tree with the truth value `replacement` in place of each unknown part."""
    match tree:
        case All(parts):
            return All(tuple(_replace_unknown(part, replacement) for part in parts))
        case Any(parts):
            return Any(tuple(_replace_unknown(part, replacement) for part in parts))
        case Not(part):
            return Not(_replace_unknown(part, not replacement))
        case Compare(subject, checks) if len(checks) > 1:
            return All(
                tuple(_replace_unknown(Compare(subject, (check,)), replacement) for check in checks)
            )
        case leaf if reads(leaf).uses_interaction:
            return All(()) if replacement else Any(())
        case leaf:
            return leaf
