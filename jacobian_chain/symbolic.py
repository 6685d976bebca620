"""The SymPy edge, both directions.

A layer's value is an :class:`AppliedLayer`, its partial Jacobian a :class:`PartialJacobian`: matrix expressions with symbolic sizes, which
SymPy can multiply, substitute and print, and which it does not reorder, because products stay unevaluated. Scalars are ordinary
symbols and undefined functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from sympy import Add, Basic, Eq, Expr, Function, Identity, Integer, Mul, Rational, Symbol, Transpose, ZeroMatrix
from sympy.core.function import AppliedUndef
from sympy.core.symbol import Str
from sympy.matrices.expressions import BlockMatrix, MatAdd, MatMul, MatrixExpr, MatrixSymbol

from jacobian_chain.derivation import Derivation, inline
from jacobian_chain.errors import LimitError, ReadingError, UnsupportedError
from jacobian_chain.layout import Layout, entries, orient
from jacobian_chain.maps import Map, count_references
from jacobian_chain.notation import Labels
from jacobian_chain.notation import Symbol as Factor
from jacobian_chain.tape import Shape, Tape
from jacobian_chain.tokens import spell
from jacobian_chain.writers import LatexWriter, TextWriter

MAX_DEPTH = 200
"""Most layers that are nested in one SymPy expression; SymPy recurses on them."""


class AppliedLayer(MatrixExpr):  # type: ignore[misc]
    """L(u, v, …): the value of an opaque layer.

    Args: the layer's name (``Str``), rows, columns, then the arguments.

    >>> from sympy import MatrixSymbol
    >>> value = AppliedLayer(Str("L1"), Integer(3), Integer(1), MatrixSymbol("x", 2, 1))
    >>> value.shape, str(value)
    ((3, 1), 'L1(x)')
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[1], self.args[2])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return Function(self.args[0].name)(*self.args[3:], i, j)

    def _sympystr(self, printer: Any) -> str:
        return f"{self.args[0].name}({', '.join(printer.doprint(arg) for arg in self.args[3:])})"

    def _latex(self, printer: Any) -> str:
        return f"{LatexWriter().name(spell(self.args[0].name))}({', '.join(printer.doprint(arg) for arg in self.args[3:])})"


class PartialJacobian(MatrixExpr):  # type: ignore[misc]
    """∂L/∂(slot): the Jacobian of one layer in one argument, in numerator layout, on ``vec`` for matrices.

    Args: the layer's name and that of what stands in the slot (``Str``), the slot counted from one, the number of the step on the tape
    (which tells two applications of one layer apart), rows, columns.

    >>> from sympy import srepr
    >>> J = PartialJacobian(Str("L1"), Str("x"), Integer(1), Integer(4), Integer(3), Integer(2))
    >>> J.shape, str(J)
    ((3, 2), 'D1(L1)')
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[4], self.args[5])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return Function(f"D_{self.args[0].name}")(self.args[2], self.args[3], i, j)

    def _sympystr(self, printer: Any) -> str:  # noqa: ARG002
        return f"D{self.args[2]}({self.args[0].name})"

    def _latex(self, printer: Any) -> str:  # noqa: ARG002
        return LatexWriter().symbol(Factor("J", spell(self.args[0].name), (spell(self.args[1].name),)))


class Vec(MatrixExpr):  # type: ignore[misc]
    """The columns of a matrix below each other."""

    @property
    def shape(self) -> tuple[Expr, Expr]:
        rows, columns = self.args[0].shape
        return (rows * columns, Integer(1))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        rows = self.args[0].shape[0]
        return self.args[0][i % rows, i // rows]

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{vec}}\left({printer.doprint(self.args[0])}\right)"


def plain_name(tape: Tape, key: str) -> str:
    """A name as SymPy's printers understand it and as the language reads it back: ``theta1``, ``h_{t-1}``."""
    return TextWriter(ascii=True).name(tape.spellings.get(key) or spell(key))


def size(text: str) -> Expr:
    """A dimension, or a product of dimensions, as a positive integer symbol."""
    return Mul(
        *(Integer(part) if part.isdecimal() else Symbol(_plain_dimension(part), integer=True, positive=True) for part in text.split("*"))
    )


def _plain_dimension(text: str) -> str:
    letter, mark, name = text.partition("_")
    return f"{letter}_{TextWriter(ascii=True).name(spell(name))}" if mark and name else TextWriter(ascii=True).name(spell(text))


def value_expression(tape: Tape, output: int, named: bool = False) -> Expr:
    """A value as a SymPy expression of the leaves; with ``named`` of the named values it is computed from.

    Raises:
        LimitError: more layers are nested than SymPy's recursion can bear.
    """
    needed, stack = {output}, [output]
    while stack:
        value = stack.pop()
        step = tape.step(value)
        if step is not None and not (named and tape.names[value] and value != output):
            fresh = [source for source in step.inputs if source not in needed]
            needed.update(fresh)
            stack += fresh
    built: dict[int, Expr] = {}
    depth: dict[int, int] = {}
    for value in sorted(needed):
        step, shape = tape.step(value), tape.shapes[value]
        if step is None or (named and tape.names[value] and value != output):
            built[value], depth[value] = _symbol(tape, value), 0
            continue
        depth[value] = 1 + max((depth[source] for source in step.inputs), default=0)
        if depth[value] > MAX_DEPTH:
            hint = "the JSON format has no such limit"
            raise LimitError(f"SymPy cannot work on more than {MAX_DEPTH} nested layers", hint=hint)
        arguments = [built[source] for source in step.inputs]
        if step.operation == "layer":
            name = plain_name(tape, step.name)
            if shape.is_scalar:
                built[value] = Function(name)(*arguments)
            else:
                built[value] = AppliedLayer(Str(name), size(shape.rows), size(shape.columns), *arguments)
        elif step.operation == "number":
            built[value] = _number(step.coefficients[0])
        elif step.operation == "scale":
            built[value] = _multiply(arguments, shape)
        else:
            terms = [
                argument if coefficient == 1 else _multiply([_number(coefficient), argument], shape)
                for coefficient, argument in zip(step.coefficients, arguments, strict=True)
            ]
            built[value] = _add(terms, shape)
    return built[output]


def _number(value: Fraction) -> Rational:
    return Rational(value.numerator, value.denominator)


def _symbol(tape: Tape, value: int) -> Expr:
    name, shape = plain_name(tape, tape.names[value]), tape.shapes[value]
    return Symbol(name) if shape.is_scalar else MatrixSymbol(name, size(shape.rows), size(shape.columns))


def _multiply(factors: Sequence[Expr], shape: Shape) -> Expr:
    return Mul(*factors, evaluate=False) if shape.is_scalar else MatMul(*factors)


def _add(terms: Sequence[Expr], shape: Shape) -> Expr:
    if shape.is_scalar:
        return terms[0] if len(terms) == 1 else Add(*terms, evaluate=False)
    numbers = [term for term in terms if not isinstance(term, MatrixExpr)]
    if numbers:
        raise UnsupportedError("not supported yet: a number added to an array, as a SymPy expression")
    return terms[0] if len(terms) == 1 else MatAdd(*terms)


def equations(tape: Tape) -> list[Eq]:
    """One equation for each named value."""
    return [
        Eq(_symbol(tape, value), value_expression(tape, value, named=True), evaluate=False)
        for value in range(tape.leaves, len(tape.names))
        if tape.names[value]
    ]


def blocks(derivation: Derivation, layout: Layout) -> list[Expr]:
    """The blocks as matrix expressions, on ``vec`` for matrices; what they share is built once."""
    tape = derivation.tape
    of = tape.shapes[derivation.output]
    nodes = orient(inline(derivation), of, layout)
    labels = Labels(tape, derivation.output, "inputs")
    needed = count_references(nodes, derivation.blocks)
    built: dict[int, Expr | None] = {}  # None for what takes its size from its place
    factor: dict[int, Expr] = {}  # the number or scalar that a None stands for
    for index, node in enumerate(nodes):
        if not needed[index]:
            continue
        if node.kind in ("identity", "zero", "multiple", "times"):
            built[index] = None
            factor[index] = _scalar_factor(tape, node)
        elif node.kind == "product":
            matrices = [matrix for arg in node.args if (matrix := built[arg]) is not None]
            scalar = Mul(*(factor[arg] for arg in node.args if built[arg] is None))
            built[index] = _product(scalar, matrices) if matrices else None
            factor[index] = scalar
        elif node.kind == "sum":
            sized = next((term.shape for arg in node.args if (term := built[arg]) is not None), None)
            if sized is None:
                built[index] = None
                factor[index] = Add(*(factor[arg] for arg in node.args))
            else:
                built[index] = MatAdd(*(_sized(built[arg], factor.get(arg), *sized) for arg in node.args))
        else:
            built[index] = _elementary(tape, labels, node)
    found = []
    for variable, root in zip(derivation.variables, derivation.blocks, strict=True):
        rows, columns = size(entries(of)), size(entries(tape.shapes[variable]))
        found.append(_sized(built[root], factor.get(root), *((columns, rows) if layout.transposes(of) else (rows, columns))))
    return found


def block_matrix(derivation: Derivation, layout: Layout) -> BlockMatrix:
    """All blocks: a row in numerator layout, a column where the layout transposes; each on ``vec`` for matrices."""
    found = blocks(derivation, layout)
    return BlockMatrix([[entry] for entry in found] if layout.transposes(derivation.tape.shapes[derivation.output]) else [found])


def _product(scalar: Expr, matrices: Sequence[Expr]) -> Expr:
    flat = [factor for matrix in matrices for factor in (matrix.args if isinstance(matrix, MatMul) else (matrix,))]
    factors = [*([] if scalar == 1 else [scalar]), *flat]
    return factors[0] if len(factors) == 1 else MatMul(*factors)


def _sized(built: Expr | None, factor: Expr | None, rows: Expr, columns: Expr) -> Expr:
    """A built node, or the multiple of the identity of the size that its place asks for."""
    if built is not None:
        return built
    if factor == 0:
        return ZeroMatrix(rows, columns)
    return Identity(rows) if factor == 1 else MatMul(factor, Identity(rows))


def _scalar_factor(tape: Tape, node: Map) -> Expr:
    if node.kind == "multiple":
        return _number(node.coefficient)
    if node.kind == "times":
        return _symbol(tape, node.of) if tape.names[node.of] else value_expression(tape, node.of, named=True)
    return Integer(1 if node.kind == "identity" else 0)


def _elementary(tape: Tape, labels: Labels, node: Map) -> Expr:
    shape = tape.shapes[node.of]
    if node.kind == "scale":
        value = _symbol(tape, node.of) if tape.names[node.of] else value_expression(tape, node.of, named=True)
        matrix = Vec(value) if shape.is_matrix else value
    else:
        step = tape.steps[node.of - tape.leaves]
        rows, columns = size(entries(shape)), size(entries(tape.shapes[step.inputs[node.by]]))
        names = Str(plain_name(tape, step.name)), Str(TextWriter(ascii=True).name(labels.slot(node.of, node.by)))
        matrix = PartialJacobian(*names, Integer(node.by + 1), Integer(node.of), rows, columns)
    return Transpose(matrix) if node.adjoint else matrix


def to_text(expression: Basic | Iterable[Basic]) -> str:
    """The text of a composition given as a SymPy expression or as a list of equations.

    Undefined functions and :class:`AppliedLayer` are layers, ``MatrixSymbol`` sizes become declarations.

    Raises:
        ReadingError: the expression holds something that is no layer, sum or number.

    >>> from sympy import Function, symbols
    >>> x, a, b = symbols("x a b")
    >>> to_text(Function("L2")(Function("L1")(x, a), b))
    'x: scalar; a: scalar; b: scalar; L2(L1(x, a), b)'
    """
    items = [expression] if isinstance(expression, Basic) else list(expression)
    statements: list[str] = []
    shapes: dict[str, tuple[Expr, ...]] = {}
    for item in items:
        if isinstance(item, Eq):
            left = _write(item.lhs, shapes)
            statements.append(f"{left} = {_write(item.rhs, shapes)}")
        else:
            statements.append(_write(item, shapes))
    layers = {node.args[0].name for item in items for node in item.atoms(AppliedLayer)}
    layers |= {node.func.__name__ for item in items for node in item.atoms(AppliedUndef)}
    assumed = {_letters(f"{letter}_{name}") for name in (*shapes, *layers) for letter in "mn"}
    declarations = []
    for name, sizes in shapes.items():
        if not any(isinstance(size, Symbol) and _letters(size.name) in assumed for size in sizes):  # else nothing fixed it
            text = " x ".join(map(str, sizes[:1] if sizes[1:] == (1,) else sizes))
            declarations.append(f"{name}: {text or 'scalar'}")
    return "; ".join([*declarations, *statements])


def _letters(name: str) -> str:
    """A name without its signs, which sizes and names write differently."""
    return "".join(c for c in name if c.isalnum())


def _write(expression: Basic, shapes: dict[str, tuple[Expr, ...]]) -> str:
    """The text of one expression; the shapes of its symbols are noted, scalars as ()."""
    texts: list[str] = []
    stack: list[Basic | tuple[str, int, Basic]] = [expression]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            form, count, node = item
            arguments = texts[len(texts) - count :]
            del texts[len(texts) - count :]
            texts.append(_apply(form, arguments, node))
            continue
        if isinstance(item, Symbol):
            shapes.setdefault(item.name, ())
            texts.append(item.name)
        elif isinstance(item, MatrixSymbol):
            shapes.setdefault(item.name, item.shape)
            texts.append(item.name)
        elif isinstance(item, Rational):
            texts.append(f"({item.p}/{item.q})" if item.q != 1 or item.p < 0 else str(item.p))
        elif isinstance(item, AppliedUndef | AppliedLayer):
            name, arguments = (item.func.__name__, item.args) if isinstance(item, AppliedUndef) else (item.args[0].name, item.args[3:])
            stack.append((name, len(arguments), item))
            stack.extend(reversed(arguments))
        elif isinstance(item, Add | MatAdd | Mul | MatMul):
            stack.append(("+" if isinstance(item, Add | MatAdd) else "*", len(item.args), item))
            stack.extend(reversed(item.args))
        else:
            raise ReadingError(f"{item} is a {type(item).__name__}, which is no layer, sum or number of a composition")
    return texts[0]


def _apply(form: str, arguments: Sequence[str], node: Basic) -> str:
    if form == "+":
        return f"({' + '.join(arguments)})"
    if form == "*":
        return "*".join(arguments)
    if not arguments:
        raise ReadingError(f"{node} has no arguments")
    return f"{form}({', '.join(arguments)})"
