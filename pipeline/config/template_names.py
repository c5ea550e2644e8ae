"""Names that a Jinja template reads, and refusal of forbidden constructs."""

from typing import Any, Final

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

TRAIT: Final = "traits"
"""Optional prefix of a trait's name, required where Jinja would not parse the name alone."""

FILTERS: Final = (
    "abs", "capitalize", "d", "date", "default", "e", "escape", "first", "float", "int", "join",
    "last", "length", "lower", "number", "round", "title", "trim", "truncate", "upper", "urlencode",
)  # fmt: skip
TESTS: Final = (
    "defined", "undefined", "none", "number", "string", "even", "odd", "divisibleby", "in", "eq",
    "ne", "gt", "ge", "lt", "le",
)  # fmt: skip
_ALLOWED_NODES: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.List, nodes.Tuple,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul,
    nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.Keyword,
    nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.For,
)  # fmt: skip


class RefusedError(Exception):
    """Raised for a refused template; the message names the reason."""


class Resolver(NodeTransformer):
    """Transformer that replaces names with variables and refuses forbidden constructs.

    A name is needed unless every use is within a `default` filter, or within an `if` that tests it.
    """

    def __init__(self) -> None:
        self.reads: dict[str, str] = {}
        self.needs: dict[str, None] = {}
        self._tested_names: frozenset[str] = frozenset()
        self._loop_variable: str | None = None

    def read(self, name: str) -> nodes.Name:
        """Record a name, and return the variable that replaces it."""
        if name not in self._tested_names:
            self.needs[name] = None
        return nodes.Name(self.reads.setdefault(name, f"v{len(self.reads)}"), "load", lineno=1)

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if not isinstance(node, _ALLOWED_NODES):
            raise RefusedError(
                f"line {node.lineno}: {_construct_name(node)} is not allowed in templates"
            )
        return super().generic_visit(node, *args, **kwargs)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802 - as Jinja calls it
        return node if node.name == self._loop_variable else self.read(_dotted_name((node.name,)))

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802
        return self._replace_chain(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int):
            node.node = self.visit(node.node)
            return node
        return self._replace_chain(node)

    def _replace_chain(self, node: nodes.Getattr | nodes.Getitem) -> nodes.Node:
        chain = _chain(node)
        if chain is None or (chain[0] == self._loop_variable):
            raise RefusedError(f"line {node.lineno}: only names can be read, as in properties.x")
        if chain[0] == "loop" and self._loop_variable is not None and len(chain) == 2:
            if chain[1] not in ("index", "index0", "first", "last", "length"):
                raise RefusedError(f"line {node.lineno}: there is no loop.{chain[1]} here")
            return node
        return self.read(_dotted_name(chain))

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        if (
            self._loop_variable is not None
            or node.recursive
            or not isinstance(node.target, nodes.Name)
        ):
            raise RefusedError(
                f"line {node.lineno}: a loop has one variable and contains no other loop"
            )
        node.iter = self.visit(node.iter)
        self._loop_variable = node.target.name
        node.test = None if node.test is None else self.visit(node.test)
        node.body = [self.visit(child) for child in node.body]
        self._loop_variable = None
        node.else_ = [self.visit(child) for child in node.else_]
        return node

    def visit_If(self, node: nodes.If) -> nodes.Node:  # noqa: N802
        names_if_true, names_if_false = _names_by_outcome(node.test)
        node.test = self._visit_with_tested_names(names_if_true | names_if_false, node.test)
        node.body = [self._visit_with_tested_names(names_if_true, child) for child in node.body]
        node.elif_ = [self._visit_with_tested_names(names_if_false, child) for child in node.elif_]
        node.else_ = [self._visit_with_tested_names(names_if_false, child) for child in node.else_]
        return node

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802
        names_if_true, names_if_false = _names_by_outcome(node.test)
        node.test = self._visit_with_tested_names(names_if_true | names_if_false, node.test)
        node.expr1 = self._visit_with_tested_names(names_if_true, node.expr1)
        node.expr2 = (
            None
            if node.expr2 is None
            else self._visit_with_tested_names(names_if_false, node.expr2)
        )
        return node

    def visit_And(self, node: nodes.And) -> nodes.Node:  # noqa: N802
        names_if_true, _ = _names_by_outcome(node.left)
        node.left = self.visit(node.left)
        node.right = self._visit_with_tested_names(names_if_true, node.right)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        if node.name not in FILTERS or node.node is None:
            filters = ", ".join(FILTERS)
            raise RefusedError(f"line {node.lineno}: no filter {node.name!r}: there are {filters}")
        chain = _chain(node.node)
        if node.name in ("default", "d") and chain is not None:
            node.node = self._visit_with_tested_names(frozenset((_dotted_name(chain),)), node.node)
        return self.generic_visit(node) if chain is None else self._visit_operands(node)

    def _visit_operands(self, node: nodes.Filter) -> nodes.Node:
        if isinstance(node.node, nodes.Expr) and node.name not in ("default", "d"):
            node.node = self.visit(node.node)
        node.args = [self.visit(arg) for arg in node.args]
        node.kwargs = [self.visit(kwarg) for kwarg in node.kwargs]
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802
        if node.name not in TESTS:
            raise RefusedError(f"line {node.lineno}: no test {node.name!r}")
        chain = _chain(node.node)
        if node.name in ("defined", "undefined") and chain is not None:
            node.node = self._visit_with_tested_names(frozenset((_dotted_name(chain),)), node.node)
            return node
        return self.generic_visit(node)

    def _visit_with_tested_names(self, names: frozenset[str], node: Any) -> Any:
        """Visit a node within which `names` are tested."""
        former_names, self._tested_names = self._tested_names, self._tested_names | names
        result = self.visit(node)
        self._tested_names = former_names
        return result


def _construct_name(node: nodes.Node) -> str:
    return "a call" if isinstance(node, nodes.Call) else type(node).__name__.lower()


def _chain(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the names of a chain such as `a.b["c"]`; None for another expression."""
    match node:
        case nodes.Name():
            return (node.name,)
        case nodes.Getattr():
            inner = _chain(node.node)
            return None if inner is None else (*inner, node.attr)
        case nodes.Getitem(arg=nodes.Const(value=str(key))):
            inner = _chain(node.node)
            return None if inner is None else (*inner, key)
        case _:
            return None


def _dotted_name(chain: tuple[str, ...]) -> str:
    """Return the dotted name, without the prefix of traits."""
    return ".".join(chain[1:] if chain[0] == TRAIT and len(chain) > 1 else chain)


_NO_NAMES: Final[frozenset[str]] = frozenset()


def _names_by_outcome(node: nodes.Node) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that are known where a test holds, and where it fails."""
    match node:
        case nodes.Not():
            names_if_true, names_if_false = _names_by_outcome(node.node)
            return names_if_false, names_if_true
        case nodes.And():
            left, right = _names_by_outcome(node.left), _names_by_outcome(node.right)
            return left[0] | right[0], _NO_NAMES
        case nodes.Or():
            left, right = _names_by_outcome(node.left), _names_by_outcome(node.right)
            return _NO_NAMES, left[1] | right[1]
        case nodes.Test(name="defined") | nodes.Test(name="undefined"):
            chain = _chain(node.node)
            names = _NO_NAMES if chain is None else frozenset((_dotted_name(chain),))
            return (names, _NO_NAMES) if node.name == "defined" else (_NO_NAMES, names)
        case _:
            chain = _chain(node)
            return (_NO_NAMES if chain is None else frozenset((_dotted_name(chain),))), _NO_NAMES
