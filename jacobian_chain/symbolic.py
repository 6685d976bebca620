"""The SymPy edge, both directions.

A layer's value is an :class:`AppliedLayer`, its partial Jacobian a :class:`PartialJacobian`: matrix expressions with symbolic sizes, which
SymPy can multiply, substitute and print, and which it does not reorder, because products stay unevaluated. Scalars are ordinary
symbols and undefined functions. Concrete operations are SymPy's own, and where SymPy has none, small classes with entries: with
numbers for their sizes, ``as_explicit`` makes explicit matrices of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from sympy import (
    Abs,
    Add,
    Basic,
    Derivative,
    Dummy,
    E,
    Eq,
    Expr,
    Function,
    Heaviside,
    Identity,
    ImmutableMatrix,
    Integer,
    KroneckerDelta,
    Lambda,
    MatPow,
    Max,
    Mul,
    OneMatrix,
    Piecewise,
    Pow,
    Rational,
    Subs,
    Sum,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    cos,
    cosh,
    cot,
    coth,
    csc,
    csch,
    erf,
    exp,
    factor_terms,
    log,
    pi,
    preorder_traversal,
    sec,
    sech,
    sign,
    simplify,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    together,
)
from sympy import factor as factorize
from sympy.core.function import AppliedUndef, FunctionClass
from sympy.core.symbol import Str
from sympy.matrices.expressions import (
    BlockMatrix,
    Determinant,
    DiagMatrix,
    DiagonalOf,
    HadamardPower,
    HadamardProduct,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.matrixbase import MatrixBase

from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import ConcreteDerivation
from jacobian_chain.derivation import Derivation, inline
from jacobian_chain.errors import LimitError, ReadingError, UnsupportedError
from jacobian_chain.layout import Layout, entries, orient
from jacobian_chain.maps import Map, count_references
from jacobian_chain.notation import Labels
from jacobian_chain.notation import Symbol as Factor
from jacobian_chain.shapes import PLUS
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.tokens import spell
from jacobian_chain.writers import LatexWriter, TextWriter

MAX_DEPTH = 200
"""Most layers that are nested in one SymPy expression; SymPy recurses on them."""

MAX_SHAPES = 5000
"""How often SymPy may ask for shapes to learn the one of a matrix: it doubles with each multiple of a multiple."""


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


class Gradient(MatrixExpr):  # type: ignore[misc]
    """∇L: the gradient of one layer that gives a scalar in one argument, in the shape of the argument.

    Args: as of :class:`PartialJacobian`.
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[4], self.args[5])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return Function(f"grad_{self.args[0].name}")(self.args[2], self.args[3], i, j)

    def _sympystr(self, printer: Any) -> str:  # noqa: ARG002
        return f"grad{self.args[2]}({self.args[0].name})"

    def _latex(self, printer: Any) -> str:  # noqa: ARG002
        return LatexWriter().symbol(Factor("∇", spell(self.args[0].name), (spell(self.args[1].name),)))


class Curvature(MatrixExpr):  # type: ignore[misc]
    """Σ λ_k ∂²L_k: the second derivatives of one layer in two arguments with the weights λ, on ``vec`` of both.

    Args: the layer's name (``Str``), both slots counted from one, the number of the step, rows, columns, then the weights.
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[4], self.args[5])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return Function(f"D2_{self.args[0].name}")(*self.args[1:4], self.args[6], i, j)

    def _sympystr(self, printer: Any) -> str:
        return f"D{self.args[1]}{self.args[2]}({self.args[0].name})[{printer.doprint(self.args[6])}]"

    def _latex(self, printer: Any) -> str:
        name = LatexWriter().name(spell(self.args[0].name))
        return rf"\partial_{{{self.args[1]} {self.args[2]}}}^{{2}} {name}\left[{printer.doprint(self.args[6])}\right]"


class _Operator(MatrixExpr):  # type: ignore[misc]
    """An operation on one array: its class says its name and its entries; ``doit`` works it out for an explicit array."""

    word = ""

    def doit(self, **hints: Any) -> Expr:
        first = self.args[0]
        inner = first.doit(**hints) if hints.get("deep", True) else first
        done = self.func(inner, *self.args[1:])
        return done.as_explicit() if isinstance(inner, MatrixBase) else done

    def _sympystr(self, printer: Any) -> str:
        return f"{self.word}({printer.doprint(self.args[0])})"

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{{self.word}}}\left({printer.doprint(self.args[0])}\right)"


class Vec(_Operator):
    """The columns of a matrix below each other.

    >>> Vec(MatrixSymbol("X", 2, 2)).as_explicit().T
    Matrix([[X[0, 0], X[1, 0], X[0, 1], X[1, 1]]])
    """

    word = "vec"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        rows, columns = self.args[0].shape
        return (rows * columns, Integer(1))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        rows = self.args[0].shape[0]
        return self.args[0][i % rows, i // rows]


class Reshape(_Operator):
    """The matrix of given rows and columns whose ``vec`` a column is.

    >>> Reshape(MatrixSymbol("v", 4, 1), Integer(2), Integer(2)).as_explicit()
    Matrix([
    [v[0, 0], v[2, 0]],
    [v[1, 0], v[3, 0]]])
    """

    word = "reshape"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[1], self.args[2])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return self.args[0][i + self.args[1] * j, 0]


class Diagonal(_Operator):
    """The diagonal of a square matrix as a column.

    >>> Diagonal(MatrixSymbol("A", 2, 2)).as_explicit().T
    Matrix([[A[0, 0], A[1, 1]]])
    """

    word = "diag"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[0].shape[0], Integer(1))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return self.args[0][i, i]


class Softmax(_Operator):
    """The softmax of each column or each row of an array, as its second argument, a ``Str``, says.

    >>> Softmax(MatrixSymbol("z", 2, 1), Str("columns")).as_explicit()[0]
    exp(z[0, 0])/(exp(z[0, 0]) + exp(z[1, 0]))
    """

    @property
    def word(self) -> str:  # type: ignore[override]
        """How it is called: a column has nothing but columns."""
        axis = self.args[1].name
        plain = self.args[0].shape[1 if axis == "columns" else 0] == 1
        return "softmax" if plain else f"softmax_{axis}"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        found: tuple[Expr, Expr] = self.args[0].shape
        return found

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        source, (rows, columns) = self.args[0], self.args[0].shape
        k = Symbol("k", integer=True)
        total = Sum(exp(source[k, j]), (k, 0, rows - 1)) if self.args[1].name == "columns" else Sum(exp(source[i, k]), (k, 0, columns - 1))
        return exp(source[i, j]) / _worked_out(total)

    def _latex(self, printer: Any) -> str:
        word = self.word.replace("_", r"\_")
        return rf"\operatorname{{{word}}}\left({printer.doprint(self.args[0])}\right)"


class LayerNorm(_Operator):
    """The entries of a column minus their mean, divided by their standard deviation.

    >>> LayerNorm(MatrixSymbol("v", 2, 1)).subs(MatrixSymbol("v", 2, 1), ImmutableMatrix([1, 3])).doit().T
    Matrix([[-1, 1]])
    """

    word = "layernorm"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        found: tuple[Expr, Expr] = self.args[0].shape
        return found

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        source, size = self.args[0], self.args[0].shape[0]
        k = Symbol("k", integer=True)
        mean = _worked_out(Sum(source[k, 0], (k, 0, size - 1))) / size
        variance = _worked_out(Sum((source[k, 0] - mean) ** 2, (k, 0, size - 1))) / size
        return (source[i, 0] - mean) / sqrt(variance)


def _worked_out(total: Sum) -> Expr:
    """A sum with a number of terms written out."""
    return total.doit() if total.limits[0][2].is_Integer else total


class UnitColumn(MatrixExpr):  # type: ignore[misc]
    """The column e_i of a size: the size, then i counted from one.

    >>> UnitColumn(Integer(3), Integer(2)).as_explicit().T
    Matrix([[0, 1, 0]])
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[0], Integer(1))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return KroneckerDelta(i, self.args[1] - 1)

    def _sympystr(self, printer: Any) -> str:
        return f"e({printer.doprint(self.args[1])}, {printer.doprint(self.args[0])})"

    def _latex(self, printer: Any) -> str:
        return f"e_{{{printer.doprint(self.args[1])}}}"


class CommutationMatrix(MatrixExpr):  # type: ignore[misc]
    """K with K vec A = vec Aᵀ for A of the given rows and columns.

    >>> (CommutationMatrix(Integer(2), Integer(3)).as_explicit() * ImmutableMatrix([1, 4, 2, 5, 3, 6])).T
    Matrix([[1, 2, 3, 4, 5, 6]])
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[0] * self.args[1], self.args[0] * self.args[1])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        rows, columns = self.args
        return KroneckerDelta(i // columns + rows * (i % columns), j)

    def _sympystr(self, printer: Any) -> str:
        return f"K({printer.doprint(self.args[0])}, {printer.doprint(self.args[1])})"

    def _latex(self, printer: Any) -> str:
        return f"K_{{{printer.doprint(self.args[0])}, {printer.doprint(self.args[1])}}}"


class EmbeddingMatrix(MatrixExpr):  # type: ignore[misc]
    """E with E v = vec diag(v) for columns of a size.

    >>> (EmbeddingMatrix(Integer(2)).as_explicit() * ImmutableMatrix([5, 7])).T
    Matrix([[5, 0, 0, 7]])
    """

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return (self.args[0] ** 2, self.args[0])

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:  # noqa: ARG002
        return KroneckerDelta(i, j * (self.args[0] + 1))

    def _sympystr(self, printer: Any) -> str:
        return f"E({printer.doprint(self.args[0])})"

    def _latex(self, printer: Any) -> str:
        return f"E_{{{printer.doprint(self.args[0])}}}"


class _ScalarOf(Function):  # type: ignore[misc]
    """A number made of the entries of arrays; ``doit`` works it out for explicit arrays."""

    is_commutative = True

    @staticmethod
    def of_entries(*entries: Sequence[Expr]) -> Expr:
        """Its definition."""
        raise NotImplementedError

    def doit(self, **hints: Any) -> Expr:
        arguments = [argument.doit(**hints) for argument in self.args] if hints.get("deep", True) else list(self.args)
        if all(isinstance(argument, MatrixBase) for argument in arguments):
            return self.of_entries(*(argument.flat() for argument in arguments))
        return self.func(*arguments)

    def _sympystr(self, printer: Any) -> str:
        return f"{self.word}({', '.join(printer.doprint(arg) for arg in self.args)})"

    def _latex(self, printer: Any) -> str:
        return rf"\operatorname{{{self.word}}}\left({', '.join(printer.doprint(arg) for arg in self.args)}\right)"


class LogSumExp(_ScalarOf):
    """Log Σ exp u.

    >>> LogSumExp(ImmutableMatrix([0, 0])).doit()
    log(2)
    """

    word = "logsumexp"
    nargs = 1

    @staticmethod
    def of_entries(*entries: Sequence[Expr]) -> Expr:
        return log(Add(*(exp(entry) for entry in entries[0])))


class CrossEntropy(_ScalarOf):
    """-Σ v log u.

    >>> CrossEntropy(ImmutableMatrix([2, 3]), ImmutableMatrix([0, 1])).doit()
    -log(3)
    """

    word = "CE"
    nargs = 2

    @staticmethod
    def of_entries(*entries: Sequence[Expr]) -> Expr:
        return Add(*(-weight * log(entry) for entry, weight in zip(*entries, strict=True)))


class Norm1(_ScalarOf):
    """Σ |u|.

    >>> Norm1(ImmutableMatrix([2, -3])).doit()
    5
    """

    word = "norm1"
    nargs = 1

    @staticmethod
    def of_entries(*entries: Sequence[Expr]) -> Expr:
        return Add(*(Abs(entry) for entry in entries[0]))


# --- elementwise functions ---

T = Symbol("t")
"""The variable of definitions."""


class Elementwise(Function):  # type: ignore[misc]
    """An elementwise function with a definition: a class for each, with its ``definition`` and its ``slope``.

    It is differentiated by its slope, and spelled out by ``doit``.

    >>> BUILT_IN["sigmoid"](T).diff(T)
    (1 - sigmoid(t))*sigmoid(t)
    >>> BUILT_IN["sigmoid"](T).doit()
    1/(1 + exp(-t))
    """

    definition: Lambda
    slope: Callable[[Expr], Expr]

    def fdiff(self, argindex: int = 1) -> Expr:  # noqa: ARG002
        return type(self).slope(self.args[0])

    def doit(self, **hints: Any) -> Expr:
        argument = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return self.definition(argument)

    def _eval_evalf(self, prec: int) -> Expr | None:
        return self.definition(self.args[0])._eval_evalf(prec)

    def _eval_is_extended_real(self) -> bool | None:
        real: bool | None = self.args[0].is_extended_real
        return real


def _named(name: str, definition: Lambda, slope: Callable[[Expr], Expr]) -> type[Elementwise]:
    made: type[Elementwise] = FunctionClass(name, (Elementwise,), {"definition": definition, "slope": staticmethod(slope), "nargs": 1})
    return made


@lru_cache(maxsize=1024)
def defined_function(name: str, definition: Lambda) -> type[Elementwise]:
    """The elementwise function of a name and a definition, one class however often it is asked for.

    >>> g = defined_function("g", Lambda(T, T**2))
    >>> g(T).diff(T), g(T).doit()
    (2*t, t**2)
    """
    (variable,) = definition.variables
    return _named(name, definition, Lambda(variable, definition.expr.diff(variable)))


@lru_cache(maxsize=1024)
def _unspecified(name: str, order: int) -> type[Function]:
    """A derivative of an unspecified function as a function of its own, which differentiates to the next."""
    following = {"fdiff": lambda self, argindex=1: _unspecified(name, order + 1)(self.args[0])}  # noqa: ARG005
    made: type[Function] = FunctionClass(name + "'" * order, (Function,), {**following, "key": (name, order), "nargs": 1})
    return made


NATIVE = {
    "exp": exp, "log": log, "sin": sin, "cos": cos, "tan": tan, "sinh": sinh, "cosh": cosh, "tanh": tanh, "erf": erf,
    "abs": Abs, "sign": sign,
}  # fmt: skip
"""Elementwise functions that SymPy has."""

_FLAT = Lambda(T, Integer(0))
_INDICATOR = _named("indicator", Lambda(T, Heaviside(T, 0)), _FLAT)
_SIGN = _named("sign", Lambda(T, sign(T)), _FLAT)
_ABS = _named("abs", Lambda(T, Abs(T)), _SIGN)
_SIGMOID: type[Elementwise] = _named("sigmoid", Lambda(T, 1 / (1 + exp(-T))), lambda z: _SIGMOID(z) * (1 - _SIGMOID(z)))

BUILT_IN: dict[str, type[Elementwise]] = {
    function.__name__: function
    for function in (
        _SIGMOID,
        _named("relu", Lambda(T, Max(0, T)), _INDICATOR),
        _named("leaky_relu", Lambda(T, T / 100 + 99 * Max(0, T) / 100), lambda z: Rational(1, 100) + 99 * _INDICATOR(z) / 100),
        _named("elu", Lambda(T, Piecewise((T, T > 0), (exp(T) - 1, True))), lambda z: _INDICATOR(z) + (1 - _INDICATOR(z)) * exp(z)),
        _named("softplus", Lambda(T, log(1 + exp(T))), _SIGMOID),
        _named("silu", Lambda(T, T / (1 + exp(-T))), lambda z: _SIGMOID(z) + z * _SIGMOID(z) * (1 - _SIGMOID(z))),
        _named(
            "gelu",
            Lambda(T, T * (1 + erf(T / sqrt(2))) / 2),
            lambda z: (1 + erf(z / sqrt(2))) / 2 + z * exp(-(z**2) / 2) / sqrt(2 * pi),
        ),
    )
}
"""Elementwise functions of the language that SymPy lacks."""


# --- names and sizes ---


def plain_name(tape: Tape, key: str) -> str:
    """A name as SymPy's printers understand it and as the language reads it back: ``theta1``, ``h_{t-1}``."""
    return TextWriter(ascii=True).name(tape.spellings.get(key) or spell(key))


def size(text: str) -> Expr:
    """A dimension, or what products and sums make of dimensions, with positive integer symbols; multiplied out.

    >>> size("m"), size("2*n"), size("k*(m+n)+1")
    (m, 2*n, k*m + k*n + 1)
    """
    waiting: list[tuple[Expr, Expr]] = []  # what is outside of each open bracket
    total, factor = Integer(0), Integer(1)
    for token in re.findall(r"[()+*]|[^()+*]+", text.replace(" ", "")):
        if token == "(":
            waiting.append((total, factor))
            total, factor = Integer(0), Integer(1)
        elif token == ")":
            inner = total + factor
            total, factor = waiting.pop()
            factor *= inner
        elif token == "+":
            total, factor = total + factor, Integer(1)
        elif token != "*":
            factor *= Integer(token) if token.isdecimal() else Symbol(_plain_dimension(token), integer=True, positive=True)
    return (total + factor).expand()


def _plain_dimension(text: str) -> str:
    letter, mark, name = text.replace(PLUS, "+").partition("_")
    return f"{letter}_{TextWriter(ascii=True).name(spell(name))}" if mark and name else TextWriter(ascii=True).name(spell(text))


def _sizes(shape: Shape) -> tuple[Expr, Expr]:
    return size(shape.rows), size(shape.columns)


def _number(value: Fraction) -> Rational:
    return Rational(value.numerator, value.denominator)


def _symbol(tape: Tape, value: int) -> Expr:
    return _named_symbol(plain_name(tape, tape.names[value]), tape.shapes[value])


def _named_symbol(name: str, shape: Shape) -> Expr:
    return Symbol(name) if shape.is_scalar else MatrixSymbol(name, *_sizes(shape))


def _multiply(factors: Sequence[Expr], shape: Shape) -> Expr:
    return Mul(*factors, evaluate=False) if shape.is_scalar else MatMul(*factors)


def _add(terms: Sequence[Expr], shape: Shape) -> Expr:
    if len(terms) == 1:
        return terms[0]
    return Add(*terms, evaluate=False) if shape.is_scalar else MatAdd(*terms)


# --- expressions out ---


class _Node(NamedTuple):
    """A step on its way out, with its inputs as expressions."""

    export: _Export
    number: int
    step: Step
    shape: Shape
    arguments: list[Expr]

    @property
    def first(self) -> Expr:
        """The first input."""
        return self.arguments[0]

    @property
    def is_scalar(self) -> bool:
        """Whether the first input is a scalar."""
        return not isinstance(self.arguments[0], MatrixExpr | MatrixBase)


class _Export:
    """Steps as SymPy expressions, each once; what ``symbols`` says is a symbol is not looked into."""

    def __init__(self, tape: Tape, steps: Callable[[int], Step | None], shapes: Sequence[Shape], is_symbol: Callable[[int], bool]) -> None:
        self.tape = tape
        self.step = steps
        self.shapes = shapes
        self.is_symbol = is_symbol
        self.built: dict[int, Expr] = {}
        self.depth: dict[int, int] = {}
        self.shape_cost: dict[int, int] = {}
        self.begins: dict[int, int] = {}  # the first step that a value is made of: what was typed first
        self.functions = _definitions(tape) if tape.functions else {}

    def build(self, root: int) -> Expr:
        """The expression of a step."""
        needed, stack = {root}, [root]
        while stack:
            node = stack.pop()
            step = None if self.is_symbol(node) else self.step(node)
            if step is not None and node not in self.built:
                fresh = [source for source in step.inputs if source not in needed]
                needed.update(fresh)
                stack += fresh
        for node in sorted(needed):
            if node not in self.built:
                self._add(node)
        return self.built[root]

    def _add(self, node: int) -> None:
        step = None if self.is_symbol(node) else self.step(node)
        if step is None:
            self.built[node], self.depth[node] = _symbol(self.tape, node), 0
            return
        self.depth[node] = _LEVELS.get(step.operation, 1) + max((self.depth[source] for source in step.inputs), default=0)
        if self.depth[node] > MAX_DEPTH:
            hint = "the JSON format has no such limit"
            raise LimitError(f"SymPy cannot work on more than {MAX_DEPTH} nested layers", hint=hint)
        write = _EXPRESSIONS.get(step.operation)
        if write is None:
            raise UnsupportedError(f"not supported: {step.operation} as a SymPy expression")
        arguments = [self.built[source] for source in step.inputs]
        self.shape_cost[node] = self._shape_cost(step)
        if self.shape_cost[node] > MAX_SHAPES:
            hint = "take the equations, which have one expression for each named value"
            raise LimitError("SymPy would take too long on so many multiples inside each other", hint=hint)
        self.begins[node] = min((self.begins.get(source, node) for source in step.inputs), default=node)
        self.built[node] = write(_Node(self, node, step, self.shapes[node], arguments))

    def _shape_cost(self, step: Step) -> int:
        """How many shapes SymPy looks at for the shape of a step's value: a product's from its first and its last matrix."""
        costs = [self.shape_cost.get(source, 1) for source in step.inputs if not self.shapes[source].is_scalar]
        if not costs:
            return 1
        if step.operation == "sum":
            return costs[0] * (1 if step.coefficients[0] == 1 else 2) + 1
        if step.operation in ("scale", "product"):
            return costs[0] + costs[-1] + 1
        return (sum(costs) if step.operation in ("kron", "beside", "below") else costs[0]) + 1

    @cached_property
    def _labels(self) -> Labels:
        return Labels(self.tape, len(self.tape.names) - 1, "outputs")

    @cached_property
    def _layers(self) -> dict[tuple[str, tuple[int, ...]], int]:
        return {
            (step.name, step.inputs): value for value, step in enumerate(self.tape.steps, self.tape.leaves) if step.operation == "layer"
        }

    def slot(self, layer: str, inputs: tuple[int, ...], slot: int) -> tuple[Str, Str, int]:
        """A layer's name, what its argument is called, and which step of the tape applies it to these inputs, -1 if none."""
        source = inputs[slot]
        text = TextWriter(ascii=True).name(self._labels.value(source)) if source < len(self.tape.names) else ""
        return Str(plain_name(self.tape, layer)), Str(text), self._layers.get((layer, inputs), -1)


def value_expression(tape: Tape, output: int, named: bool = False) -> Expr:
    """A value as a SymPy expression of the leaves; with ``named`` of the named values it is computed from.

    Products and sums keep the order they were typed in. A value that is 1 by 1 is a scalar, an inner product the trace of a product.

    Raises:
        LimitError: more layers are nested than SymPy's recursion can bear.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f = a^T X b; X: m x n")).tape
    >>> value_expression(tape, tape.index("f"))
    Trace(a.T*X*b)
    """
    return _Export(
        tape, tape.step, tape.shapes, lambda value: value < tape.leaves or bool(named and tape.names[value] and value != output)
    ).build(output)


def array_expression(arrays: Arrays, node: int) -> Expr:
    """An expression over a tape as a SymPy expression of the tape's named values.

    Raises:
        LimitError: it is deeper than SymPy's recursion can bear.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> arrays = Arrays(read_composition(Source("f = A x")).tape)
    >>> array_expression(arrays, arrays.kron(arrays.transpose(1), arrays.identity("m")))
    KroneckerProduct(x.T, I)
    """
    return _export_arrays(arrays).build(node)


def _export_arrays(arrays: Arrays) -> _Export:
    tape = arrays.tape
    return _Export(tape, lambda node: arrays.steps[node], arrays.shapes, lambda node: node < len(tape.names) and bool(tape.names[node]))


def equations(tape: Tape) -> list[Eq]:
    """One equation for each named value."""
    return [
        Eq(_symbol(tape, value), value_expression(tape, value, named=True), evaluate=False)
        for value in range(tape.leaves, len(tape.names))
        if tape.names[value]
    ]


def _definitions(tape: Tape) -> dict[str, type[Elementwise]]:
    """The functions that the text defines, those first that others need."""
    found: dict[str, type[Elementwise]] = {}
    open_ = dict(tape.functions)
    while open_:
        ready = [name for name, body in open_.items() if not any(step.operation == "apply" and step.name in open_ for step in body.steps)]
        if not ready:
            raise ReadingError(f"{' and '.join(open_)} are defined by each other")
        for name in ready:
            body = open_.pop(name)
            export = _Export(body, body.step, body.shapes, lambda value: value < 1)
            export.functions = found
            definition = Lambda(_symbol(body, 0), export.build(len(body.names) - 1))
            found[name] = defined_function(plain_name(tape, name), definition)
    return found


def _scalar(matrix: Expr, shape: Shape) -> Expr:
    """A 1 by 1 matrix as a scalar."""
    return Trace(matrix) if shape.is_scalar and isinstance(matrix, MatrixExpr | MatrixBase) else matrix


def _as_matrix(expression: Expr) -> Expr:
    """A scalar as a 1 by 1 matrix."""
    return expression if isinstance(expression, MatrixExpr | MatrixBase) else ImmutableMatrix([[expression]])


def _write_layer(node: _Node) -> Expr:
    name = plain_name(node.export.tape, node.step.name)
    if node.shape.is_scalar:
        return Function(name)(*node.arguments)
    return AppliedLayer(Str(name), *_sizes(node.shape), *node.arguments)


def _write_sum(node: _Node) -> Expr:
    terms = []
    for coefficient, argument in zip(node.step.coefficients, node.arguments, strict=True):
        if argument.is_Number and not node.shape.is_scalar:
            ones, entry = OneMatrix(*_sizes(node.shape)), _number(coefficient) * argument
            terms.append(ones if entry == 1 else MatMul(entry, ones))
        elif argument.is_Number:
            terms.append(_number(coefficient) * argument)
        else:
            terms.append(argument if coefficient == 1 else _multiply([_number(coefficient), argument], node.shape))
    return _add(terms, node.shape)


def _write_scale(node: _Node) -> Expr:
    scalar, array = node.step.inputs
    step = node.export.step(scalar)
    if not node.shape.is_scalar and step is not None and step.operation == "power" and step.coefficients == (Fraction(-1),):
        begins = node.export.begins
        if begins.get(array, -1) < begins.get(step.inputs[0], 0):  # typed A / s
            return MatMul(node.arguments[1], node.arguments[0])
    return _multiply(node.arguments, node.shape)


def _write_product(node: _Node) -> Expr:
    if all(not isinstance(argument, MatrixExpr | MatrixBase) for argument in node.arguments):
        return Mul(*node.arguments, evaluate=False)
    return _scalar(MatMul(*node.arguments), node.shape)


def _write_hadamard(node: _Node) -> Expr:
    return Mul(*node.arguments, evaluate=False) if node.is_scalar else HadamardProduct(*node.arguments)


def _write_power(node: _Node) -> Expr:
    exponent = _number(node.step.coefficients[0])
    return Pow(node.first, exponent, evaluate=False) if node.is_scalar else HadamardPower(node.first, exponent)


def _elementwise(function: Callable[[Expr], Expr], argument: Expr) -> Expr:
    if isinstance(argument, MatrixExpr | MatrixBase):
        return ElementwiseApplyFunction(Lambda(T, function(T)), argument)
    return function(argument)


def _write_apply(node: _Node) -> Expr:
    name, export = node.step.name, node.export
    function = export.functions.get(name) or NATIVE.get(name) or BUILT_IN.get(name) or Function(plain_name(export.tape, name))
    order = int(node.step.coefficients[0]) if node.step.coefficients else 0
    if not order:
        return _elementwise(lambda argument: function(argument, evaluate=False), node.first)
    inner = Symbol("u")
    derivative = Derivative(function(inner), (inner, order))
    return _elementwise(lambda argument: Subs(derivative, inner, argument), node.first)


def _write_sqnorm(node: _Node) -> Expr:
    if node.is_scalar:
        return Pow(node.first, 2, evaluate=False)
    # A product of one factor is that factor: it tells ||v||^2 from the v^T v that somebody typed.
    return Trace(MatMul(Transpose(node.first), MatMul(node.first)))


def _write_softmax(node: _Node) -> Expr:
    return Integer(1) if node.is_scalar else Softmax(node.first, Str(node.step.name))


def _write_vec(node: _Node) -> Expr:
    shape = node.export.shapes[node.step.inputs[0]]
    if shape.columns == "1":
        return node.first
    return Transpose(node.first) if shape.rows == "1" else Vec(node.first)


def _write_reshape(node: _Node) -> Expr:
    if node.shape.columns == "1":
        return node.first
    return Transpose(node.first) if node.shape.rows == "1" else Reshape(node.first, *_sizes(node.shape))


def _write_kron(node: _Node) -> Expr:
    scalars = [argument for argument in node.arguments if not isinstance(argument, MatrixExpr | MatrixBase)]
    matrices = [argument for argument in node.arguments if isinstance(argument, MatrixExpr | MatrixBase)]
    if not matrices:
        return Mul(*scalars, evaluate=False)
    product = matrices[0] if len(matrices) == 1 else KroneckerProduct(*matrices)
    return MatMul(*scalars, product) if scalars else product


def _write_blocks(node: _Node) -> Expr:
    parts = [_as_matrix(argument) for argument in node.arguments]
    return BlockMatrix([parts] if node.step.operation == "beside" else [[part] for part in parts])


def _write_unary(matrix: Callable[[Expr], Expr], scalar: Callable[[Expr], Expr]) -> Callable[[_Node], Expr]:
    return lambda node: scalar(node.first) if node.is_scalar else matrix(node.first)


def _write_constant_array(kind: Callable[..., Expr], scalar: int) -> Callable[[_Node], Expr]:
    return lambda node: Integer(scalar) if node.shape.is_scalar else kind(*_sizes(node.shape))


def _write_partial(node: _Node) -> Expr:
    slot = int(node.step.coefficients[0])
    layer, argument, value = node.export.slot(node.step.name, node.step.inputs, slot)
    kind = Gradient if node.step.operation == "gradient" else PartialJacobian
    number = Integer(value if value >= 0 else node.number)
    return _scalar(kind(layer, argument, Integer(slot + 1), number, *_sizes(node.shape)), node.shape)


def _write_curvature(node: _Node) -> Expr:
    one, other = (int(slot) for slot in node.step.coefficients)
    layer, _, value = node.export.slot(node.step.name, node.step.inputs[1:], one)
    number = Integer(value if value >= 0 else node.number)
    found = Curvature(layer, Integer(one + 1), Integer(other + 1), number, *_sizes(node.shape), node.first)
    return _scalar(found, node.shape)


def _write_symbol(node: _Node) -> Expr:
    return _named_symbol(plain_name(node.export.tape, node.step.name), node.shape)


def _write_adjoint(node: _Node) -> Expr:
    tape = node.export.tape
    of, by = (plain_name(tape, tape.names[int(value)]) or f"v{value}" for value in node.step.coefficients)
    return _named_symbol(f"d{of}/d{by}", node.shape)


def _write_commutation(node: _Node) -> Expr:
    rows, columns = node.step.name.split(",")
    return CommutationMatrix(size(rows), size(columns))


_CONSTANTS = {"π": pi, "e": E}

_LEVELS = {"sqnorm": 3, "logdet": 3, "diag": 3, "diagonal": 3, "norm1": 2, "logsumexp": 2, "CE": 2}
"""How deep SymPy goes into what an operation is written as, where that is more than one level."""

_EXPRESSIONS: Mapping[str, Callable[[_Node], Expr]] = {
    "layer": _write_layer,
    "sum": _write_sum,
    "scale": _write_scale,
    "number": lambda node: _number(node.step.coefficients[0]),
    "constant": lambda node: _CONSTANTS[node.step.name],
    "dimension": lambda node: size(node.step.name),
    "ones": _write_constant_array(OneMatrix, 1),
    "zeros": _write_constant_array(ZeroMatrix, 0),
    "identity": _write_constant_array(lambda rows, _: Identity(rows), 1),
    "unit": lambda node: Integer(1) if node.shape.is_scalar else UnitColumn(size(node.shape.rows), Integer(int(node.step.coefficients[0]))),
    "product": _write_product,
    "hadamard": _write_hadamard,
    "power": _write_power,
    "apply": _write_apply,
    "transpose": _write_unary(Transpose, lambda scalar: scalar),
    "inverse": _write_unary(Inverse, lambda scalar: Pow(scalar, -1, evaluate=False)),
    "trace": _write_unary(Trace, lambda scalar: scalar),
    "det": _write_unary(Determinant, lambda scalar: scalar),
    "logdet": _write_unary(
        lambda matrix: log(Abs(Determinant(matrix), evaluate=False), evaluate=False),
        lambda scalar: log(Abs(scalar, evaluate=False), evaluate=False),
    ),
    "sqnorm": _write_sqnorm,
    "norm1": _write_unary(Norm1, lambda scalar: Abs(scalar, evaluate=False)),
    "logsumexp": _write_unary(LogSumExp, lambda scalar: scalar),
    "softmax": _write_softmax,
    "CE": lambda node: CrossEntropy(*map(_as_matrix, node.arguments)),
    "layernorm": _write_unary(LayerNorm, lambda scalar: LayerNorm(_as_matrix(scalar))[0, 0]),
    "diag": _write_unary(DiagMatrix, lambda scalar: scalar),
    "diagonal": _write_unary(Diagonal, lambda scalar: scalar),
    "vec": _write_vec,
    "reshape": _write_reshape,
    "kron": _write_kron,
    "beside": _write_blocks,
    "below": _write_blocks,
    "symbol": _write_symbol,
    "adjoint": _write_adjoint,
    "partial": _write_partial,
    "gradient": _write_partial,
    "curvature": _write_curvature,
    "commutation": _write_commutation,
    "embedding": lambda node: EmbeddingMatrix(size(node.step.name)),
    "indicator": lambda node: _elementwise(lambda argument: Heaviside(argument, 0), node.first),
}
"""How each operation is written, one row each."""


# --- Jacobians out ---


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


def spelled_out_blocks(derivation: ConcreteDerivation) -> list[Expr]:
    """The blocks of a derivation through concrete layers, in its layout, as expressions of the values that have names.

    >>> from jacobian_chain.blocks import derive_concrete
    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.layout import MIXED
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f = a^T X b; X: m x n")).tape
    >>> spelled_out_blocks(derive_concrete(tape, tape.index("f"), [tape.index("X")], MIXED))
    [a*b.T]
    """
    export = _export_arrays(derivation.arrays)
    return [export.build(block.node) for block in derivation.blocks]


def spelled_out_matrix(derivation: ConcreteDerivation) -> BlockMatrix:
    """All blocks of a derivation on ``vec``: one row, or one column where its layout transposes."""
    found = [_as_matrix(block) for block in spelled_out_blocks(derivation)]
    of = derivation.arrays.shapes[derivation.output]
    return BlockMatrix([[entry] for entry in found] if derivation.layout.transposes(of) else [found])


# --- functions that the text defines ---

SIMPLIFIED = 60
"""Most operations of an expression that SymPy's ``simplify`` is asked to work on; beyond it takes seconds."""

FACTORED = 300
"""The same for ``factor`` and ``together``."""


def differentiate_function(body: Tape, order: int) -> Tape:
    """The derivative of an elementwise function, in the shortest of a few forms.

    The derivative of a function that has a kink is what the kink's convention says: ``relu`` and ``abs`` have slope 0 at 0.

    Args:
        body: a tape of scalars from one leaf to its last value.
        order: how often to differentiate.

    Raises:
        UnsupportedError: an operation that is none of scalars, or a derivative that the language cannot say.
        LimitError: the function is nested too deep for SymPy.

    >>> from jacobian_chain.tape import Step
    >>> cube = Tape(1, ("t", ""), (Step("power", "", (0,), (Fraction(3),)),), (SCALAR, SCALAR))
    >>> [(step.operation, *map(int, step.coefficients)) for step in differentiate_function(cube, 1).steps]
    [('power', 2), ('sum', 3)]
    """
    if not order:
        return body
    variable = Symbol("t", real=True)
    expression = _function_expression(body, variable)
    for _ in range(order):
        expression = _shortest(expression.diff(variable))
    return _function_tape(expression, variable, body)


def _function_expression(body: Tape, variable: Expr) -> Expr:
    """A function's value, in functions that differentiate to what the language can say."""
    values: list[Expr] = [variable]
    depth = [0]
    if body.leaves != 1:
        raise UnsupportedError(f"an elementwise function has one argument, not {body.leaves}")
    for step in body.steps:
        inputs = [values[source] for source in step.inputs]
        depth.append(1 + max((depth[source] for source in step.inputs), default=0))
        if depth[-1] > MAX_DEPTH:
            raise LimitError(f"SymPy cannot differentiate a function of more than {MAX_DEPTH} nested operations")
        if step.operation == "sum":
            value = Add(*(_number(coefficient) * term for coefficient, term in zip(step.coefficients, inputs, strict=True)))
        elif step.operation in ("scale", "product", "hadamard"):
            value = Mul(*inputs)
        elif step.operation == "power":
            value = Pow(inputs[0], _number(step.coefficients[0]))
        elif step.operation == "apply":
            order = int(step.coefficients[0]) if step.coefficients else 0
            value = _smooth(step.name, order)(inputs[0])
        elif step.operation == "indicator":
            value = _INDICATOR(inputs[0])
        elif step.operation in ("number", "constant"):
            value = _number(step.coefficients[0]) if step.operation == "number" else _CONSTANTS[step.name]
        else:
            raise UnsupportedError(f"not supported: {step.operation} in an elementwise function")
        values.append(value)
    return values[-1]


def _smooth(name: str, order: int) -> Callable[[Expr], Expr]:
    """An elementwise function whose derivatives are functions of the language; ``abs`` and ``sign`` without delta functions."""
    known = {**NATIVE, **BUILT_IN, "abs": _ABS, "sign": _SIGN}.get(name)
    if known is None:
        return _unspecified(name, order)
    if not order:
        return known
    return Lambda(T, known(T).diff(T, order))  # type: ignore[no-any-return]


def _shortest(expression: Expr) -> Expr:
    """The shortest among a few forms, the first of equal ones.

    Values of functions are letters meanwhile: what was typed with exp(-t) or tanh(t) stays in these.
    """
    expression = _without_kinks(expression)
    values = [node for node in _outermost(expression) if not isinstance(node, Symbol | Rational)]
    letters = {value: Dummy(positive=value.is_positive or None, real=True) for value in values}
    plain, back = expression.xreplace(letters), {letter: value for value, letter in letters.items()}
    forms = [factor_terms(plain), plain]
    if plain.count_ops() <= FACTORED:
        forms += [together(plain), factorize(plain)]
    if plain.count_ops() <= SIMPLIFIED:
        forms.append(simplify(plain))
    found: Expr = min((_turn_signs(form).xreplace(back) for form in forms if _unsayable(form) is None), key=_length)
    return found


def _length(expression: Expr) -> int:
    leaves = [node for node in preorder_traversal(expression) if not node.args and node != -1]
    return int(expression.count_ops()) + sum(len(str(leaf).lstrip("-")) for leaf in leaves)


def _outermost(expression: Expr) -> list[Basic]:
    """What an expression is made of by sums, products and powers to numbers."""
    found: dict[Basic, None] = {}
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, Add | Mul) or (isinstance(node, Pow) and isinstance(node.args[1], Rational)):
            stack += node.args[:1] if isinstance(node, Pow) else node.args
        else:
            found[node] = None
    return list(found)


def _without_kinks(expression: Expr) -> Expr:
    """Signs and indicators multiplied out, as if there were no kinks: sign² = 1, u sign(u) = |u|, 1[u > 0]² = 1[u > 0]."""

    def simpler(power: Pow) -> Expr:
        base, exponent = power.args
        if base.func is _INDICATOR and exponent > 0:
            return base
        if base.func is _SIGN:
            return base if exponent % 2 else Integer(1)
        if base.func is _ABS and (exponent < 0 or exponent % 2 == 0):
            return base.args[0] ** exponent * (_SIGN(*base.args) if exponent % 2 else 1)
        return power

    def merged(product: Mul) -> Expr:
        hinges = {factor.args[0] for factor in product.args if isinstance(factor, BUILT_IN["relu"])}
        kept = [factor for factor in product.args if not (factor.func is _INDICATOR and factor.args[0] in hinges)]
        for factor in product.args:
            if factor.func is _SIGN and factor.args[0] in kept:
                kept.remove(factor)
                kept[kept.index(factor.args[0])] = _ABS(*factor.args)
        return Mul(*kept)

    for _ in range(2):  # a product of signs becomes a power first
        expression = expression.replace(lambda node: isinstance(node, Pow) and bool(node.args[1].is_Integer), simpler)
    return expression.replace(lambda node: isinstance(node, Mul), merged)


def _turn_signs(expression: Expr) -> Expr:
    """(1 - a) (1 - 2 a) for (a - 1) (2 a - 1), and 1 - a for -(a - 1)."""
    if not isinstance(expression, Mul):
        return expression
    coefficient, rest = expression.as_coeff_Mul()
    factors = list(Mul.make_args(rest))
    turned = [place for place, factor in enumerate(factors) if isinstance(factor, Add) and factor.as_coeff_Add()[0] < 0]
    pairs = turned[: len(turned) - (len(turned) + bool(coefficient < 0)) % 2]
    for place in pairs:
        factors[place] = -factors[place]
    return Mul(coefficient * (-1) ** len(pairs), *factors)


def _nodes(expression: Basic) -> list[Basic]:
    """All subexpressions, those inside before what holds them, each once."""
    found: dict[Basic, None] = {}
    stack = [(expression, False)]
    while stack:
        node, done = stack.pop()
        if done:
            found[node] = None
        elif node not in found:
            stack.append((node, True))
            stack += [(argument, False) for argument in reversed(node.args)]
    return list(found)


_RECIPROCAL = {sec: cos, csc: sin, sech: cosh, csch: sinh}
_QUOTIENT = {cot: (cos, sin), coth: (cosh, sinh)}
_NAMES = {function: name for name, function in NATIVE.items()}


def _unsayable(expression: Expr) -> Basic | None:
    """A subexpression that no tape of scalars can hold, None if there is none."""
    for node in _nodes(expression):
        if isinstance(node, Symbol | Rational | Add | Mul | Pow | Elementwise) or node in (pi, E):
            continue
        if node.func in _NAMES or hasattr(node.func, "key") or node.func in (*_RECIPROCAL, *_QUOTIENT):
            continue
        return node
    return None


class _Scalars:
    """A tape of scalars from one leaf that grows step by step, equal steps once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.known: dict[Step, int] = {}

    def add(self, operation: str, inputs: tuple[int, ...] = (), name: str = "", coefficients: tuple[Fraction, ...] = ()) -> int:
        step = Step(operation, name, inputs, coefficients)
        value = self.known.get(step)
        if value is None:
            self.steps.append(step)
            value = self.known[step] = len(self.steps)
        return value

    def number(self, value: Fraction) -> int:
        return self.add("number", (), "", (value,))

    def power(self, base: int, exponent: Fraction) -> int:
        return base if exponent == 1 else self.add("power", (base,), "", (exponent,))

    def product(self, factors: Sequence[int]) -> int:
        result = factors[0]
        for each in factors[1:]:
            result = self.add("scale", (result, each))
        return result

    def multiple(self, coefficient: Fraction, value: int) -> int:
        return value if coefficient == 1 else self.add("sum", (value,), "", (coefficient,))


def _function_tape(expression: Expr, variable: Symbol, body: Tape) -> Tape:
    """A scalar expression as a tape from the leaf of ``body``."""
    expression = expression.replace(lambda node: node.func in _RECIPROCAL, lambda node: 1 / _RECIPROCAL[node.func](*node.args))
    expression = expression.replace(
        lambda node: node.func in _QUOTIENT, lambda node: _QUOTIENT[node.func][0](*node.args) / _QUOTIENT[node.func][1](*node.args)
    )
    strange = _unsayable(expression)
    if strange is not None:
        raise UnsupportedError(f"the derivative of this function has {strange} in it, which is no elementwise function of the language")
    scalars = _Scalars()
    values: dict[Basic, int] = {variable: 0}
    for node in _nodes(expression):
        if node not in values:
            values[node] = _scalar_step(scalars, node, values)
    root = values[expression]
    steps = _used(scalars.steps, root)
    size = 1 + len(steps)
    names = (body.names[0], *([""] * len(steps)))
    return Tape(1, names, steps, (SCALAR,) * size, declared=(True,) * size, spellings=body.spellings)


def _scalar_step(scalars: _Scalars, node: Expr, values: Mapping[Basic, int]) -> int:
    if isinstance(node, Rational):
        return scalars.number(_fraction(node))
    if node in (pi, E):
        return scalars.add("constant", (), "π" if node == pi else "e")
    if isinstance(node, Add):
        return _scalar_sum(scalars, node, values)
    if isinstance(node, Mul):
        return _scalar_product(scalars, node, values)
    if isinstance(node, Pow):
        base, exponent = node.args
        if isinstance(exponent, Rational):
            return scalars.power(values[base], _fraction(exponent))
        if base == E:
            return scalars.add("apply", (values[exponent],), "exp")
        logarithm = scalars.add("apply", (values[base],), "log")
        return scalars.add("apply", (scalars.product((values[exponent], logarithm)),), "exp")
    source = values[node.args[0]]
    if node.func is _INDICATOR:
        return scalars.add("indicator", (source,), ">")
    if isinstance(node, Elementwise):
        return scalars.add("apply", (source,), node.func.__name__)
    if node.func in _NAMES:
        return scalars.add("apply", (source,), _NAMES[node.func])
    name, order = node.func.key
    return scalars.add("apply", (source,), name, (Fraction(order),) if order else ())


def _scalar_sum(scalars: _Scalars, node: Add, values: Mapping[Basic, int]) -> int:
    """Positive terms before negative ones, as people write 1 - a²."""
    terms = []
    for term in node.as_ordered_terms():
        coefficient, rest = term.as_coeff_Mul()
        coefficient = _fraction(coefficient)
        if rest == 1:
            terms.append((Fraction(-1 if coefficient < 0 else 1), scalars.number(abs(coefficient))))
        else:
            whole = rest if rest in values else None
            terms.append((coefficient, values[whole] if whole is not None else _scalar_product(scalars, rest, values)))
    terms.sort(key=lambda term: term[0] < 0)
    return scalars.add("sum", tuple([value for _, value in terms]), "", tuple([coefficient for coefficient, _ in terms]))


def _scalar_product(scalars: _Scalars, node: Expr, values: Mapping[Basic, int]) -> int:
    """A number times factors, divided by others."""
    coefficient, rest = node.as_coeff_Mul()
    above: list[int] = []
    below: list[int] = []
    for each in rest.as_ordered_factors():
        base, exponent = each.args if isinstance(each, Pow) else (each, Integer(1))
        if isinstance(exponent, Rational) and exponent < 0 and base in values:
            below.append(scalars.power(values[base], _fraction(exponent)))
        else:
            above.append(values[each])
    return scalars.multiple(_fraction(coefficient), scalars.product((*above, *below)))


def _used(steps: Sequence[Step], root: int) -> tuple[Step, ...]:
    """The steps that a value needs, numbered anew, the value last."""
    needed, stack = {root}, [root]
    while stack:
        value = stack.pop()
        if value:
            fresh = [source for source in steps[value - 1].inputs if source not in needed]
            needed.update(fresh)
            stack += fresh
    number = {0: 0}
    kept: list[Step] = []
    for value in sorted(needed - {0}):
        step = steps[value - 1]
        number[value] = len(kept) + 1
        kept.append(step._replace(inputs=tuple([number[source] for source in step.inputs])))
    return tuple(kept)


def _fraction(number: Rational) -> Fraction:
    return Fraction(int(number.p), int(number.q))


# --- expressions in ---


_SUM, _ENTRYWISE, _PRODUCT, _POSTFIX, _ATOM = range(5)
"""How tightly a text holds together, in the order of precedence of the language."""


class _Text(NamedTuple):
    """A piece of text and how tightly it holds together."""

    text: str
    level: int

    def at(self, level: int) -> str:
        """It with brackets where it is looser than a level."""
        return self.text if self.level >= level else f"({self.text})"


_Join = Callable[[list[_Text]], _Text]
"""Makes the text of an expression of the texts of its parts."""


def to_text(expression: Basic | Iterable[Basic]) -> str:
    """The text of a composition given as a SymPy expression or as a list of equations.

    Undefined functions and :class:`AppliedLayer` are layers, ``MatrixSymbol`` sizes become declarations, and matrix expressions are written
    in the operations of the language; an elementwise function that has no name there is defined.

    Raises:
        ReadingError: the expression holds something that the language has no word for.

    >>> from sympy import Function, symbols
    >>> x, a, b = symbols("x a b")
    >>> to_text(Function("L2")(Function("L1")(x, a), b))
    'x: scalar; a: scalar; b: scalar; L2(L1(x, a), b)'
    >>> X, y = MatrixSymbol("X", 2, 3), MatrixSymbol("y", 3, 1)
    >>> to_text(Trace(X * y * y.T * X.T) / 2)
    'X: 2 x 3; y: 3; 1/2*tr(X*y*y^T*X^T)'
    """
    items = [expression] if isinstance(expression, Basic) else list(expression)
    text = _Composing(items)
    statements: list[str] = []
    for item in items:
        if isinstance(item, Eq):
            left = text.write(item.lhs).text
            statements.append(f"{left} = {text.write(item.rhs).text}")
        else:
            statements.append(text.write(item).text)
    definitions = text.definitions()
    layers = {node.args[0].name for item in items for node in item.atoms(AppliedLayer)}
    layers |= {node.func.__name__ for item in items for node in item.atoms(AppliedUndef)}
    assumed = {_letters(f"{letter}_{name}") for name in (*text.shapes, *layers) for letter in "mn"}
    declarations = []
    for name, sizes in text.shapes.items():
        if any(not isinstance(size, Symbol | Integer) for size in sizes):
            continue  # a size of its own is no size to declare, and follows from what it is made of
        if not any(isinstance(size, Symbol) and _letters(size.name) in assumed for size in sizes):  # else nothing fixed it
            dimensions = " x ".join(map(str, sizes[:1] if sizes[1:] == (1,) else sizes))
            declarations.append(f"{name}: {dimensions or 'scalar'}")
    declarations += [f"{name}: elementwise" for name in text.unspecified if name not in ("sigma", "phi", "σ", "φ")]
    return "; ".join([*declarations, *definitions, *statements])


def _letters(name: str) -> str:
    """A name without its signs, which sizes and names write differently."""
    return "".join(c for c in name if c.isalnum())


class _Composing:
    """SymPy expressions on their way to text, with what has to be declared and defined for them.

    Attributes:
        shapes: the sizes of the symbols, scalars as ().
        unspecified: names of unspecified elementwise functions.
    """

    def __init__(self, items: Sequence[Basic]) -> None:
        matrices = {array for item in items for array in item.atoms(MatrixSymbol, OneMatrix, ZeroMatrix, Identity, UnitColumn)}
        self.sizes = {symbol for matrix in matrices for size in matrix.shape for symbol in size.free_symbols}
        self.taken = {symbol.name for item in items for symbol in item.atoms(Symbol, MatrixSymbol)}
        self.taken |= {node.func.__name__ for item in items for node in item.atoms(AppliedUndef)}
        self.shapes: dict[str, tuple[Expr, ...]] = {}
        self.unspecified: dict[str, None] = {}
        self.defined: dict[str, Lambda] = {}

    def write(self, expression: Basic) -> _Text:
        """The text of one expression."""
        texts: list[_Text] = []
        stack: list[Basic | tuple[int, _Join]] = [expression]
        while stack:
            item = stack.pop()
            if isinstance(item, tuple):
                count, join = item
                parts = texts[len(texts) - count :]
                del texts[len(texts) - count :]
                texts.append(join(parts))
                continue
            children, join = self.take_apart(item)
            stack.append((len(children), join))
            stack.extend(reversed(children))
        return texts[0]

    def definitions(self) -> list[str]:
        """The statements that define functions, those first that others use."""
        found: dict[str, str] = {}
        while len(found) < len(self.defined):
            name = next(name for name in self.defined if name not in found)
            function = self.defined[name]
            (variable,) = function.variables
            letter = T if isinstance(variable, Dummy) else variable
            body, shapes = function.expr if letter == variable else function.expr.xreplace({variable: letter}), self.shapes
            self.shapes = {}
            text = self.write(body).text
            strange = [name for name in self.shapes if name != letter.name]
            if strange:
                raise ReadingError(f"the elementwise function {function} depends on {', '.join(strange)}")
            self.shapes = shapes
            found[name] = f"{name}({letter.name}) = {text}"
        return list(found.values())[::-1]

    def take_apart(self, node: Basic) -> tuple[Sequence[Basic], _Join]:
        """The parts of an expression and how their texts are joined."""
        for kinds, take in _PARTS:
            if isinstance(node, kinds):
                return take(self, node)
        raise ReadingError(f"{node} is a {type(node).__name__}, which is no layer, sum or number of a composition")

    def note(self, name: str, shape: tuple[Expr, ...]) -> tuple[Sequence[Basic], _Join]:
        """A symbol, whose shape is kept."""
        self.shapes.setdefault(name, shape)
        return _word(name, _POSTFIX if "^" in name else _ATOM)

    def raise_to(self, base: Basic, power: str) -> tuple[Sequence[Basic], _Join]:
        """A power; with brackets where the language would take it for a name: x^2 where there is an x2."""
        named = isinstance(base, Symbol | MatrixSymbol) and _letters(base.name) + power in map(_letters, self.taken)
        return (base,), lambda parts: _Text((f"({parts[0].text})" if named else parts[0].at(_ATOM)) + f"^{power}", _POSTFIX)

    def name_function(self, function: Any) -> str | None:
        """What an elementwise function is called, None if it has no name."""
        if function in _NAMES:
            return _NAMES[function]
        if isinstance(function, type) and issubclass(function, Elementwise):
            name = function.__name__
            if BUILT_IN.get(name) is not function:
                self.defined.setdefault(name, function.definition)
                self.taken.add(name)
            return name
        if isinstance(function, type) and issubclass(function, AppliedUndef):
            return str(function.__name__)
        return None

    def name_elementwise(self, function: Lambda) -> str:
        """What a function that is applied to every entry is called; it is defined if it has no name."""
        body, (variable,) = function.expr, function.variables
        if len(body.args) == 1 and body.args[0] == variable:
            name = self.name_function(body.func)
            if name is not None:
                if isinstance(body, AppliedUndef):
                    self.unspecified[name] = None
                return name
        if isinstance(body, Max) and body == Max(0, variable):
            return "relu"
        derivative = _derivative_at(body)
        if derivative is not None and derivative[2] == variable:
            name = self.name_function(derivative[0])
            if name is not None:
                if issubclass(derivative[0], AppliedUndef):
                    self.unspecified[name] = None
                return name + "'" * derivative[1]
        known = next((name for name, definition in self.defined.items() if definition == function), None)
        if known is None:
            known = next(name for name in ("g", *(f"g{k}" for k in range(1, len(self.taken) + 2))) if name not in self.taken)
            self.taken.add(known)
            self.defined[known] = function
        return known


def _derivative_at(node: Basic) -> tuple[Any, int, Expr] | None:
    """The function, the order and the point of a derivative of a function of one argument, None if it is none."""
    point: Expr | None = None
    if isinstance(node, Subs) and len(node.variables) == 1:
        (variable,), (point,) = node.variables, node.point
        node = node.expr
        if not isinstance(node, Derivative) or node.variables[0] != variable:
            return None
    if not isinstance(node, Derivative) or len(node.variable_count) != 1:
        return None
    ((variable, order),) = node.variable_count
    if node.expr.args != (variable,) or not order.is_Integer:
        return None
    return node.expr.func, int(order), variable if point is None else point


def _word(text: str, level: int = _ATOM) -> tuple[Sequence[Basic], _Join]:
    return (), lambda _: _Text(text, level)


def _call(name: str, *arguments: Basic) -> tuple[Sequence[Basic], _Join]:
    return arguments, lambda parts: _Text(f"{name}({', '.join(part.text for part in parts)})", _ATOM)


def _same(argument: Basic) -> tuple[Sequence[Basic], _Join]:
    return (argument,), lambda parts: parts[0]


def _postfix(argument: Basic, mark: str) -> tuple[Sequence[Basic], _Join]:
    return (argument,), lambda parts: _Text(parts[0].at(_ATOM) + mark, _POSTFIX)


def _number_text(number: Rational) -> _Text:
    if number < 0:
        return _Text(str(number), _SUM)
    return _Text(str(number), _ATOM if number.q == 1 else _PRODUCT)


def _take_symbol(text: _Composing, node: Symbol) -> tuple[Sequence[Basic], _Join]:
    return _word(node.name) if node in text.sizes else text.note(node.name, ())


def _take_applied(_: _Composing, node: Basic) -> tuple[Sequence[Basic], _Join]:
    name, arguments = (node.func.__name__, node.args) if isinstance(node, AppliedUndef) else (node.args[0].name, node.args[3:])
    if not arguments:
        raise ReadingError(f"{node} has no arguments")
    return _call(name, *arguments)


def _signed(term: Expr) -> tuple[bool, Expr]:
    """Whether a term is subtracted, and what."""
    if isinstance(term, Rational):
        return bool(term < 0), abs(term)
    if not isinstance(term, Mul | MatMul):
        return False, term
    first, inside = term.args[0], ()
    if isinstance(term, MatMul) and isinstance(first, Mul):  # as SymPy gathers the scalars of a product
        first, *inside = first.args
    if not (isinstance(first, Rational) and first < 0):
        return False, term
    head = [*([] if first == -1 else [-first]), *inside]
    rest = [*([Mul(*head, evaluate=False)] if len(head) > 1 else head), *term.args[1:]]
    if len(rest) == 1:
        return True, rest[0]
    return True, Mul(*rest, evaluate=False) if isinstance(term, Mul) else MatMul(*rest)


def _take_sum(_: _Composing, node: Expr) -> tuple[Sequence[Basic], _Join]:
    terms = [_signed(term) for term in node.args]
    cores = [core for _, core in terms]
    if isinstance(node, MatAdd):
        short = [_without_ones(core) for core in cores]
        if any(core is found for core, found in zip(cores, short, strict=True)):  # else nothing says the shape
            cores = short

    def join(parts: list[_Text]) -> _Text:
        written = ""
        for (negative, _), part in zip(terms, parts, strict=True):
            sign = ("-" if negative else "") if not written else (" - " if negative else " + ")
            written += sign + part.at(_ENTRYWISE)
        return _Text(written, _SUM)

    return cores, join


def _without_ones(term: Expr) -> Expr:
    """What is added to every entry or column of the other terms, else the term."""
    if isinstance(term, OneMatrix):
        return Integer(1)
    if isinstance(term, MatMul) and isinstance(term.args[-1], OneMatrix):
        rest = term.args[:-1]
        if all(not isinstance(factor, MatrixExpr | MatrixBase) for factor in rest):
            return rest[0] if len(rest) == 1 else Mul(*rest, evaluate=False)
        if len(rest) == 1 and rest[0].shape[1] == 1 and term.args[-1].shape[1] != 1:
            return rest[0]
    return term


def _is_reciprocal(factor: Basic) -> bool:
    return isinstance(factor, Pow) and factor.args[1] == -1


def _take_product(_: _Composing, node: Expr) -> tuple[Sequence[Basic], _Join]:
    mean = _mean_of(node)
    if mean is not None:
        return mean
    negative, core = _signed(node)
    if negative:
        return (core,), lambda parts: _Text("-" + parts[0].at(_PRODUCT), _SUM)
    arguments = node.args
    if len(arguments) == 1:
        return _same(arguments[0])
    total = _total_of(node)
    if total is not None:
        return total
    matrices = [argument for argument in arguments if isinstance(argument, MatrixExpr | MatrixBase)]
    loose = []  # whether a factor may be a product without brackets
    for place, argument in enumerate(arguments):
        if isinstance(argument, MatMul):
            plain = all(isinstance(factor, MatrixExpr | MatrixBase) for factor in argument.args)
            loose.append(len(matrices) == 1 and plain)
        else:
            whole = place == 1 and isinstance(arguments[0], Rational) and len(arguments) == 2
            inner = isinstance(argument, Trace) and argument.arg.shape == (1, 1)  # products of matrices are associative
            loose.append(place == 0 or inner or (whole and isinstance(argument, Mul) and not _is_reciprocal(argument.args[0])))

    def join(parts: list[_Text]) -> _Text:
        written = ""
        for argument, part, free in zip(arguments, parts, loose, strict=True):
            if _is_reciprocal(argument):
                written += ("/" if written else "1/") + part.at(_POSTFIX)
            else:
                written += ("*" if written else "") + part.at(_PRODUCT if free else _POSTFIX)
        return _Text(written, _PRODUCT)

    return [argument.args[0] if _is_reciprocal(argument) else argument for argument in arguments], join


def _total_parts(node: Basic) -> tuple[Expr, str] | None:
    """What is added up in a product with ones, and along what: all entries, ``rows`` or ``columns``."""
    if not isinstance(node, MatMul) or not 2 <= len(node.args) <= 3:
        return None
    arguments = node.args
    left = isinstance(arguments[0], OneMatrix) and arguments[0].shape[0] == 1
    right = isinstance(arguments[-1], OneMatrix) and arguments[-1].shape[1] == 1
    if len(arguments) == 3:
        return (arguments[1], "") if left and right else None
    if left == right or not all(isinstance(argument, MatrixExpr) for argument in arguments):
        return None
    inner, along = (arguments[1], 1) if left else (arguments[0], 0)
    if inner.shape[along] == 1:
        return inner, ""
    return inner, "columns" if left else "rows"


def _total_of(node: Basic) -> tuple[Sequence[Basic], _Join] | None:
    """A product with ones as a sum over entries, rows or columns."""
    found = _total_parts(node)
    if found is None:
        return None
    inner, along = found
    return (inner,), lambda parts: _Text(f"sum({parts[0].text}{', ' if along else ''}{along})", _ATOM)


def _mean_of(node: Expr) -> tuple[Sequence[Basic], _Join] | None:
    """1/n times a sum over n entries."""
    if len(node.args) != 2 or not any(map(_is_reciprocal, node.args)):
        return None
    share, total = node.args if _is_reciprocal(node.args[0]) else node.args[::-1]
    count = share.args[0]
    found = _total_parts(total.arg if isinstance(total, Trace) else total)
    if found is None:
        return None
    inner, along = found
    rows, columns = inner.shape
    if (count - {"": rows * columns, "rows": columns, "columns": rows}[along]).expand() != 0:
        return None
    return (inner,), lambda parts: _Text(f"mean({parts[0].text}{', ' if along else ''}{along})", _ATOM)


def _square_of(node: Basic) -> Expr | None:
    """What a trace is the squared norm of, None if it was not written as one."""
    if not isinstance(node, Trace) or not isinstance(node.arg, MatMul) or len(node.arg.args) != 2:
        return None
    left, right = node.arg.args
    one = isinstance(right, MatMul) and len(right.args) == 1 and left == Transpose(right.args[0])
    return right.args[0] if one else None


def _take_norm(inner: Expr, square: bool) -> tuple[Sequence[Basic], _Join]:
    mark = "_F" if 1 not in inner.shape else ""

    def join(parts: list[_Text]) -> _Text:
        if "|" in parts[0].text:  # bars in bars cannot be told apart
            total = f"sum({parts[0].at(_ATOM)}.^2)"
            return _Text(total if square else f"sqrt({total})", _ATOM)
        return _Text(f"||{parts[0].text}||{mark}" + ("^2" if square else ""), _POSTFIX if square or mark else _ATOM)

    return (inner,), join


def _take_trace(_: _Composing, node: Trace) -> tuple[Sequence[Basic], _Join]:
    square = _square_of(node)
    if square is not None:
        return _take_norm(square, True)
    return _same(node.arg) if node.arg.shape == (1, 1) else _call("tr", node.arg)


def _take_power(text: _Composing, node: Expr) -> tuple[Sequence[Basic], _Join]:
    base, exponent = node.args
    entrywise = isinstance(node, HadamardPower)
    if not isinstance(exponent, Rational):
        if entrywise or base.is_Matrix:
            raise ReadingError(f"{node} has an exponent that is no number")
        return (exponent, base), lambda parts: _Text(f"exp({parts[0].at(_POSTFIX)}*log({parts[1].text}))", _ATOM)
    if exponent == Rational(1, 2):
        square = _square_of(base)
        return _call("sqrt", base) if square is None else _take_norm(square, False)
    power = str(exponent) if exponent.is_Integer and exponent > 0 else f"({exponent})"
    return _postfix(base, ".^" + power) if entrywise else text.raise_to(base, power)


def _take_function(text: _Composing, node: Function) -> tuple[Sequence[Basic], _Join]:
    if isinstance(node, log) and isinstance(node.args[0], Abs) and isinstance(node.args[0].args[0], Determinant):
        return _call("logdet", node.args[0].args[0].arg)
    if isinstance(node, Norm1):
        return (node.args[0],), lambda parts: _Text(
            f"sum(abs({parts[0].text}))" if "|" in parts[0].text else f"||{parts[0].text}||_1", _POSTFIX
        )
    if isinstance(node, _ScalarOf):
        return _call(node.word, *node.args)
    if isinstance(node, Max) and len(node.args) == 2 and 0 in node.args:
        return _call("relu", next(argument for argument in node.args if argument != 0))
    name = text.name_function(node.func)
    if name is None or len(node.args) != 1:
        raise ReadingError(f"{node} is a {type(node).__name__}, which is no layer, sum or number of a composition")
    return _call(name, node.args[0])


def _take_derivative(text: _Composing, node: Expr) -> tuple[Sequence[Basic], _Join]:
    found = _derivative_at(node)
    name = None if found is None else text.name_function(found[0])
    if found is None or name is None:
        raise ReadingError(f"{node} is no derivative of an elementwise function")
    return _call(name + "'" * found[1], found[2])


def _take_hadamard(_: _Composing, node: HadamardProduct) -> tuple[Sequence[Basic], _Join]:
    quotient = [place > 0 and isinstance(factor, HadamardPower) and factor.args[1] == -1 for place, factor in enumerate(node.args)]

    def join(parts: list[_Text]) -> _Text:
        written = parts[0].at(_POSTFIX)
        for part, below in zip(parts[1:], quotient[1:], strict=True):
            written += (" ./ " if below else " .* ") + part.at(_POSTFIX)
        return _Text(written, _ENTRYWISE)

    return [factor.args[0] if below else factor for factor, below in zip(node.args, quotient, strict=True)], join


def _take_kron(_: _Composing, node: KroneckerProduct) -> tuple[Sequence[Basic], _Join]:
    def join(parts: list[_Text]) -> _Text:
        written = parts[0].text
        for part in parts[1:]:
            written = f"kron({written}, {part.text})"
        return _Text(written, _ATOM)

    return node.args, join


def _take_matrix(_: _Composing, node: MatrixBase) -> tuple[Sequence[Basic], _Join]:
    if node.shape != (1, 1):
        raise ReadingError("a matrix of given entries is no value of a composition", hint="give it a name: a MatrixSymbol")
    return _same(node[0, 0])


def _take_blocks(_: _Composing, node: BlockMatrix) -> tuple[Sequence[Basic], _Join]:
    rows, columns = node.blocks.shape

    def join(parts: list[_Text]) -> _Text:
        lines = [", ".join(part.text for part in parts[row * columns : (row + 1) * columns]) for row in range(rows)]
        if rows > 1 and columns > 1:
            lines = [f"[{line}]" for line in lines]
        return _Text(f"[{'; '.join(lines)}]", _ATOM)

    return [node.blocks[row, column] for row in range(rows) for column in range(columns)], join


def _take_matrix_power(text: _Composing, node: MatPow) -> tuple[Sequence[Basic], _Join]:
    exponent = node.exp
    if not exponent.is_Integer:
        raise ReadingError(f"{node} has an exponent that is no whole number")
    return text.raise_to(node.base, str(exponent))


def _take_elementwise(text: _Composing, node: ElementwiseApplyFunction) -> tuple[Sequence[Basic], _Join]:
    function = node.function
    if isinstance(function, FunctionClass):
        function = Lambda(T, function(T))
    if function.expr == function.variables[0]:
        return _same(node.expr)
    return _call(text.name_elementwise(function), node.expr)


def _take_sized(word: str) -> Callable[[_Composing, Any], tuple[Sequence[Basic], _Join]]:
    return lambda _, node: _call(word, *(node.shape[:1] if node.shape[1] == 1 else node.shape))


_Part = Callable[[_Composing, Any], tuple[Sequence[Basic], _Join]]

_PARTS: tuple[tuple[Any, _Part], ...] = (
    (Symbol, _take_symbol),
    (MatrixSymbol, lambda text, node: text.note(node.name, node.shape)),
    (Rational, lambda _, node: ((), lambda _: _number_text(node))),
    (type(pi), lambda _, __: _word("pi")),
    (type(E), lambda _, __: _word("e")),
    ((AppliedUndef, AppliedLayer), _take_applied),
    ((Add, MatAdd), _take_sum),
    ((Mul, MatMul), _take_product),
    ((Pow, HadamardPower), _take_power),
    (Trace, _take_trace),
    (Transpose, lambda _, node: _postfix(node.arg, "^T")),
    ((Inverse, MatPow), _take_matrix_power),
    (Determinant, lambda _, node: _call("det", node.arg)),
    (HadamardProduct, _take_hadamard),
    (KroneckerProduct, _take_kron),
    (ElementwiseApplyFunction, _take_elementwise),
    ((Derivative, Subs), _take_derivative),
    ((Function, Max), _take_function),
    ((Softmax, LayerNorm, Vec, Diagonal), lambda _, node: _call(node.word, node.args[0])),
    ((DiagMatrix, DiagonalOf), lambda _, node: _call("diag", node.args[0])),
    (BlockMatrix, _take_blocks),
    (MatrixBase, _take_matrix),
    (OneMatrix, _take_sized("ones")),
    (ZeroMatrix, _take_sized("zeros")),
    (Identity, lambda _, node: _call("I", node.shape[0])),
    (UnitColumn, lambda _, node: _call("e", node.args[1], node.args[0])),
)
"""How each kind of expression is taken apart, the first that fits."""
