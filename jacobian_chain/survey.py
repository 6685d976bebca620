"""What the whole text says of its nodes before any is read: sizes, what is read with what is around it, scalars among the leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from jacobian_chain.errors import ReadingError
from jacobian_chain.names import base_of
from jacobian_chain.shapes import LOSSES
from jacobian_chain.statements import CONSTANTS, Statements
from jacobian_chain.syntax import Node, function_of
from jacobian_chain.tape import SCALAR

DIFFERENTIABLE = "exp log sin cos tan sinh cosh tanh sigmoid relu leaky_relu elu softplus silu gelu abs sign erf".split()
ENTRYWISE = frozenset({*DIFFERENTIABLE, "ln", "sqrt", "max"})
"""Functions of the language that are applied to every entry."""

DIRECTIONS = {"rows": "rows", "row": "rows", "columns": "columns", "column": "columns", "cols": "columns"}
"""What the second argument of a sum or mean can be."""

_TOTALS = frozenset({"sum", "mean", "tr", "det", "logdet", "logsumexp", "CE"})
_COMBINING = frozenset({"add", "subtract", "negate", "product", "divide", "power"})


class Survey(NamedTuple):
    """What is known of a text's nodes, by their number, and of its names.

    Attributes:
        taken: names that are values, so that they are neither sizes nor constants.
        sizes: names of sizes.
        hidden: nodes that are sizes and directions, not values.
        squared: norms that stand under a square.
        logged: determinants that stand under a logarithm.
        gridded: rows of blocks that stand below each other.
        sigmoid: a name that means sigmoid, empty if none does.
    """

    taken: frozenset[str]
    sizes: frozenset[str]
    hidden: frozenset[int]
    squared: frozenset[int]
    logged: frozenset[int]
    gridded: frozenset[int]
    sigmoid: str


def survey(statements: Statements) -> Survey:
    """Find what is no leaf: sizes, directions, constants; and determinants and norms that are read together with what is around.

    Raises:
        ReadingError: there is a sum over an index.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.syntax import read_program
    >>> found = survey(Statements(read_program(Source("y = ||x - ones(n)||^2 + log det A"))))
    >>> sorted(found.sizes), len(found.hidden), len(found.squared), len(found.logged)
    (['n'], 1, 1, 1)
    """
    nodes, taken, definitions = statements.nodes, statements.taken, statements.definitions
    parameters = {key for equation in definitions.values() for key in statements.parameters_of(equation)}
    e_is_constant = "e" not in taken and "e" not in parameters
    counted: set[int] = set()  # nodes that are sizes
    hidden: set[int] = set()  # other nodes that are no values
    squared: set[int] = set()
    logged: set[int] = set()
    gridded: set[int] = set()
    says_sigmoid = False
    for k, node in enumerate(nodes):
        kind, value, args, _, _, _ = node
        if kind == "name":
            if value[:1] in ("s", "p"):
                _refuse_index_sum(statements, node)
        elif kind == "call":
            function = nodes[args[0]]
            key = function.value if function.kind == "function" else ""
            says_sigmoid = says_sigmoid or (key or nodes[function_of(nodes, args[0])].value) == "sigmoid"
            name = statements.builtin(key)
            if name in ("ones", "zeros") or (key not in definitions and statements.is_constant(node)):
                counted.update(range(args[0] + 1, k))
            elif name in ("sum", "mean") and len(args) == 3 and nodes[args[2]].value in DIRECTIONS:
                hidden.add(args[2])
            elif name in ("log", "ln") and len(args) == 2:
                logged.add(args[1])
                inner = nodes[args[1]]
                if inner.kind == "absolute" or (inner.kind == "call" and statements.builtin(nodes[inner.args[0]].value) == "abs"):
                    logged.add(inner.args[-1])
        elif kind == "stack" or kind == "column":
            gridded.update(args)
        elif kind == "product":
            if nodes[args[1]].bracketed and _is_sized_identity(statements, node):
                counted.add(args[1])
        elif kind in ("power", "epower"):
            base = nodes[args[0]]
            if base.kind == "name" and base.value == "e" and e_is_constant:
                hidden.add(args[0])
            elif kind == "power" and base.kind == "norm" and nodes[args[1]].value == "2":
                squared.add(args[0])
    sizes = statements.sizes.union(nodes[k].value for k in counted if nodes[k].kind == "name")
    return Survey(
        taken,
        sizes - taken,
        frozenset(counted | hidden),
        frozenset(squared),
        frozenset(logged),
        frozenset(gridded),
        "σ" if says_sigmoid and "σ" not in {*statements.program.names.values, *statements.elementwise, *definitions} else "",
    )


def _is_sized_identity(statements: Statements, node: Node) -> bool:
    """Whether a product is an I with its size behind it in brackets, ``I(n)`` where I stands alone elsewhere."""
    tokens, taken = statements.program.tokens, statements.taken
    size = statements.nodes[node.args[1]]
    before = size.start - 1
    is_identity = tokens.kinds[before] == "name" and tokens.spelling(before).key == "I" and "I" not in taken
    is_size = size.kind == "number" or (size.kind == "name" and size.value not in taken)
    return is_identity and is_size and not node.value


def _refuse_index_sum(statements: Statements, node: Node) -> None:
    """Raise the error for a sum over an index."""
    spelling = statements.program.names.spellings.get(node.value)
    if spelling is not None and spelling.base in ("sum", "prod") and spelling.suffix and node.value not in statements.taken:
        hint = "write sum(x), a matrix product, or the terms one by one"
        raise ReadingError("a sum or product over an index is not part of the language", statements.program.place(node), hint)


# --- scalars by what they scale ---


def scalar_leaves(statements: Statements, survey: Survey, order: Sequence[str]) -> set[str]:
    """Undeclared leaves that only scale norms, sums and losses, alone or with other scalars.

    Args:
        statements: of the text.
        survey: of its nodes.
        order: names of the equations, each after those that it uses.
    """
    nodes = statements.nodes
    names = {key for key, shape in statements.declared.items() if shape == SCALAR} | survey.sizes | (CONSTANTS - survey.taken)
    scaling: dict[str, int] = {}
    totals = {k for k, node in enumerate(nodes) if node.kind == "norm" or (node.kind == "call" and _is_total(statements, survey, node))}
    for name in order:
        equation = statements.equations[name]
        low = equation.low
        if totals.isdisjoint(range(low, equation.root + 1)):
            vectors = [node for node in nodes[low : equation.root + 1] if node.kind == "name" and node.value not in names]
            if vectors:
                continue  # nothing is scaled, and the value is no scalar
        scalar: list[bool] = []
        total: list[bool] = []  # made of a norm, a sum or a loss
        outermost: set[int] = set()  # products that are no factor of another
        for k in range(low, equation.root + 1):
            kind, value, args, _, _, _ = nodes[k]
            is_scalar = is_total = False
            if kind == "name":
                is_scalar = value in names
            elif kind == "number":
                is_scalar = True
            elif k in totals:
                is_scalar = is_total = True
            elif kind == "call":
                is_entrywise = statements.builtin(nodes[args[0]].value) in ENTRYWISE
                is_scalar = is_entrywise and False not in [scalar[arg - low] for arg in args[1:]]
            elif kind in _COMBINING:
                is_scalar = False not in [scalar[arg - low] for arg in args]
                is_total = True in [total[arg - low] for arg in args]
                if kind == "product" or kind == "divide":
                    outermost.difference_update(args)
                    outermost.add(k)
            scalar.append(is_scalar)
            total.append(is_total)
        for k in outermost:
            if total[k - low]:
                for key in _scaling_leaves(nodes, k, low, scalar, total):
                    scaling[key] = scaling.get(key, 0) + 1
        if scalar[-1]:
            names.add(name)
    candidates = {key for key in scaling if key not in survey.taken and not is_upper(statements, key)}
    if not candidates:
        return candidates
    uses = Counter(statements.used_names(order))
    return {key for key in candidates if scaling[key] == uses[key]}


def _scaling_leaves(nodes: Sequence[Node], k: int, low: int, scalar: Sequence[bool], total: Sequence[bool]) -> list[str]:
    """The names in a product of nothing but names and scalars with a norm, sum or loss among its factors."""
    leaves: list[str] = []
    has_total = False
    stack = [(k, False)]
    while stack:
        at, below = stack.pop()
        node = nodes[at]
        if node.kind in ("product", "divide"):
            stack += [(node.args[0], below), (node.args[1], below != (node.kind == "divide"))]
        elif scalar[at - low]:
            has_total = has_total or (not below and total[at - low])
        elif node.kind == "name":
            leaves.append(node.value)
        else:
            return []
    return leaves if has_total else []


def _is_total(statements: Statements, survey: Survey, node: Node) -> bool:
    """Whether a call is of a function that gives a scalar of everything, or of a loss."""
    key = statements.nodes[node.args[0]].value
    name = statements.builtin(key)
    if name:
        return name in _TOTALS and survey.hidden.isdisjoint(node.args)
    return key not in statements.definitions and is_loss(statements, key)


def is_loss(statements: Statements, key: str) -> bool:
    """Whether a function is one whose output is a scalar where nothing uses it."""
    return key in LOSSES or base_of(key, statements.program.names.spellings) in LOSSES


def is_upper(statements: Statements, name: str) -> bool:
    """Whether a name is that of a matrix, where nothing is declared."""
    return base_of(name, statements.program.names.spellings)[:1].isupper()
