"""The table of the language's functions of vectors and matrices: one record each.

Elementwise functions need no record: they only have their name.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.combination import ONE, Combination
from jacobian_chain.errors import ReadingError
from jacobian_chain.matrices import Matrices, Part
from jacobian_chain.survey import DIRECTIONS
from jacobian_chain.syntax import Node
from jacobian_chain.tape import Step

Reader = Callable[[Matrices, int], Part]


def _softmax(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    name = builder.statements.builtin(builder.nodes[node.args[0]].value)
    inner = builder.nodes[node.args[1]]
    value = builder.value_of(builder.argument(node.args[1]), inner)
    if name == "softmax":
        builder.decide(value)
        if builder.is_matrix(value):
            text = builder.shown(inner)
            hint = f"write softmax_rows({text}) or softmax_columns({text})"
            raise ReadingError(f"softmax of the matrix {text}: of its rows or of its columns?", builder.place(node), hint)
        direction = "rows" if builder.is_row(value) else "columns"
    else:
        direction = name.partition("_")[2]
    return builder.put(Step("softmax", direction, (value,)), builder.rows[value], builder.columns[value], node)


def _vector(builder: Matrices, node: Node, what: str) -> int:
    """The one argument, which must be a column or row."""
    inner = builder.nodes[node.args[1]]
    value = builder.decide(builder.value_of(builder.argument(node.args[1]), inner))
    if builder.is_matrix(value):
        raise ReadingError(f"{what} is of a column, and {builder.shown(inner)} {builder.size_words(value)}", builder.place(node))
    return value


def _logsoftmax(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    value = _vector(builder, node, "logsoftmax")
    one = builder.sizes.one
    total = builder.put(Step("logsumexp", "", (value,)), one, one, node)
    ones = builder.ones(builder.rows[value], builder.columns[value], node)
    result = Combination(value).add(Combination(builder.scale(total, ones, node)).scale(Fraction(-1)))
    result.like = value
    return result


def _logsumexp(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    value = builder.value_of(builder.argument(node.args[1]), builder.nodes[node.args[1]])
    return builder.put(Step("logsumexp", "", (value,)), builder.sizes.one, builder.sizes.one, node)


def _layernorm(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    value = _vector(builder, node, "layernorm")
    if builder.is_row(value):
        text = builder.shown(builder.nodes[node.args[1]])
        raise ReadingError(
            f"layernorm is of a column, and {text} {builder.size_words(value)}", builder.place(node), f"write layernorm({text}^T)^T"
        )
    return builder.put(Step("layernorm", "", (value,)), builder.rows[value], builder.columns[value], node)


def _total(builder: Matrices, k: int) -> Part:
    """``sum`` and ``mean``, of all entries or in one direction."""
    node = builder.nodes[k]
    nodes, sizes = builder.nodes, builder.sizes
    name = builder.statements.builtin(nodes[node.args[0]].value)
    direction = ""
    if len(node.args) == 3:
        direction = DIRECTIONS.get(nodes[node.args[2]].value, "")
        if not direction:
            text = builder.shown(nodes[node.args[1]])
            hint = f"write {name}({text}, rows) or {name}({text}, columns)"
            raise ReadingError(f"{builder.shown(nodes[node.args[2]])} is no direction", builder.place(nodes[node.args[2]]), hint)
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, node)
    builder.decide(value)
    rows, columns = builder.rows[value], builder.columns[value]
    factors = [value]
    counted: list[int] = []
    if direction != "rows" and not sizes.is_one(rows):
        factors.insert(0, builder.ones(sizes.one, rows, node))
        counted.append(rows)
    if direction != "columns" and not sizes.is_one(columns):
        factors.append(builder.ones(columns, sizes.one, node))
        counted.append(columns)
    result = builder.product(factors, node)
    if name == "mean":
        scalars: list[int] = []
        for size in counted:
            dimension = builder.dimension(size, node)
            if isinstance(dimension, Fraction):
                number /= dimension
            elif isinstance(dimension, int):
                scalars.append(dimension)
        if scalars:
            scalar = scalars[0] if len(scalars) == 1 else builder.scale(scalars[0], scalars[1], node)
            result = builder.scale(builder.power_of(scalar, Fraction(-1), node), result, node)
    return builder.times(number, result, node)


def _of_square(operation: str, what: str) -> Reader:
    """The reader of a function of a square matrix that gives a scalar."""

    def read(builder: Matrices, k: int) -> Part:
        node = builder.nodes[k]
        inner = builder.nodes[node.args[1]]
        operand = builder.argument(node.args[1])
        number = ONE
        if isinstance(operand, Fraction):
            operand = builder.number(operand, inner)
        if operation == "trace":
            number, value = builder.split(operand, inner)
        else:
            value = builder.value_of(operand, inner)
        builder.need_square(what, value, node, builder.shown(inner))
        if operation == "det":
            return builder.determinant(k, value, node)
        if operation == "trace" and builder.is_scalar(value):
            return builder.times(number, value, node)
        return builder.times(number, builder.put(Step(operation, "", (value,)), builder.sizes.one, builder.sizes.one, node), node)

    return read


def _cross_entropy(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    nodes, count = builder.nodes, len(builder.leaves)
    p, y = (builder.value_of(builder.argument(arg), nodes[arg]) for arg in node.args[1:])
    if not builder.same_rank(p, y) or not builder.unify(p, y, node):
        what = "CE(p, y) needs two arrays of one shape"
        builder.refuse(what, node, (nodes[node.args[1]], p), (nodes[node.args[2]], y), builder.turned(p, y, nodes[node.args[2]]))
    builder.decide(p)
    if y < count:
        source = p
        while source >= count and builder.steps[source - count].operation == "sum" and builder.steps[source - count].coefficients == (ONE,):
            (source,) = builder.steps[source - count].inputs
        step = builder.steps[source - count] if source >= count else None
        if not builder.is_matrix(y):
            builder.labels[y, "label"] = None
        elif step is not None and step.operation == "softmax":
            builder.labels[y, f"label-{step.name}"] = None
    return builder.put(Step("CE", "", (p, y)), builder.sizes.one, builder.sizes.one, node)


def _diag(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    inner = builder.nodes[node.args[1]]
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, inner)
    builder.decide(value)
    rows = builder.rows[value]
    if builder.is_scalar(value):
        return operand
    if builder.is_row(value):
        value = builder.transpose(value, node)
        rows = builder.rows[value]
    if builder.is_column(value):
        return builder.times(number, builder.put(Step("diag", "", (value,)), rows, rows, node), node)
    text = builder.shown(inner)
    builder.need_square("diagonal", value, node, text, f"diag(v) of a column v is a matrix, diag({text}) of a square matrix a column")
    return builder.times(number, builder.put(Step("diagonal", "", (value,)), rows, builder.sizes.one, node), node)


def _vec(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, node)
    builder.decide(value)
    if builder.is_column(value):
        return operand
    rows = builder.sizes.product(builder.rows[value], builder.columns[value])
    return builder.times(number, builder.put(Step("vec", "", (value,)), rows, builder.sizes.one, node), node)


def _kron(builder: Matrices, k: int) -> Part:
    node = builder.nodes[k]
    left, right = (builder.argument(arg) for arg in node.args[1:])
    return builder.kron(node, left, right)


def _filled(builder: Matrices, k: int) -> Part:
    """``ones`` and ``zeros``."""
    node = builder.nodes[k]
    name = builder.statements.builtin(builder.nodes[node.args[0]].value)
    sizes = [builder.size(arg) for arg in node.args[1:]]
    return builder.put(Step(name, "", ()), sizes[0], sizes[1] if len(sizes) > 1 else builder.sizes.one, node)


class Function(NamedTuple):
    """A function of the language: how many arguments it takes, how it is written, and what reads the node of its call."""

    arities: tuple[int, ...]
    usage: str
    read: Reader


FUNCTIONS = {
    "softmax": Function((1,), "softmax(z)", _softmax),
    "softmax_rows": Function((1,), "softmax_rows(Z)", _softmax),
    "softmax_columns": Function((1,), "softmax_columns(Z)", _softmax),
    "logsoftmax": Function((1,), "logsoftmax(z)", _logsoftmax),
    "logsumexp": Function((1,), "logsumexp(z)", _logsumexp),
    "layernorm": Function((1,), "layernorm(x)", _layernorm),
    "sum": Function((1, 2), "sum(x), sum(X, rows) or sum(X, columns)", _total),
    "mean": Function((1, 2), "mean(x), mean(X, rows) or mean(X, columns)", _total),
    "tr": Function((1,), "tr(A)", _of_square("trace", "trace")),
    "det": Function((1,), "det(A)", _of_square("det", "determinant")),
    "logdet": Function((1,), "logdet(A)", _of_square("logdet", "determinant")),
    "CE": Function((2,), "CE(p, y), with the label y behind the probabilities p", _cross_entropy),
    "diag": Function((1,), "diag(v)", _diag),
    "vec": Function((1,), "vec(X)", _vec),
    "kron": Function((2,), "kron(A, B)", _kron),
    "ones": Function((1, 2), "ones(n) or ones(m,n)", _filled),
    "zeros": Function((1, 2), "zeros(n) or zeros(m,n)", _filled),
}
"""Functions of vectors and matrices, by name."""
