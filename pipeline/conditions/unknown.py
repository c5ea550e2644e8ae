"""A condition where there is no interaction: what time, a merge or a configuration alone decides.

A check that reads the interaction, on either side, is *unknown* then. With unknown parts `all` is
false when another part is false, `any` is true when another part is true, and otherwise they are
unknown, as is `not` of what is unknown (Kleene's logic).
"""

from pipeline.conditions.reads import reads
from pipeline.conditions.tree import All, Any, Compare, Condition, Not


def surely(tree: Condition) -> Condition:
    """The condition that holds exactly when `tree` is true without an interaction."""
    return _decided(tree, unknown=False)


def possibly(tree: Condition) -> Condition:
    """The condition that holds exactly when `tree` is true or unknown without an interaction."""
    return _decided(tree, unknown=True)


def _decided(tree: Condition, unknown: bool) -> Condition:
    """The tree with `unknown` in the place of each unknown part."""
    match tree:
        case All(parts):
            return All(tuple(_decided(part, unknown) for part in parts))
        case Any(parts):
            return Any(tuple(_decided(part, unknown) for part in parts))
        case Not(part):
            return Not(_decided(part, not unknown))
        case Compare(subject, checks) if len(checks) > 1:
            return All(tuple(_decided(Compare(subject, (check,)), unknown) for check in checks))
        case leaf if reads(leaf).interaction:
            return All(()) if unknown else Any(())
        case leaf:
            return leaf
