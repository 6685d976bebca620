"""Array expressions on paper: brackets where they are needed, signs, fractions; long and shared ones in linear time."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import random
import time
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest

from jacobian_chain.errors import LimitError, Source
from jacobian_chain.formula import FORMS, Formula, function_definitions, of_tape
from jacobian_chain.notation import Labels
from jacobian_chain.reading import read_composition
from jacobian_chain.syntax import Node, read_program
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

WRITERS: tuple[Writer, ...] = (LatexWriter(), TextWriter(), TextWriter(ascii=True))
HALF = Fraction(1, 2)
Term = int | tuple[int | Fraction, int]


class Expressions:
    """Steps and shapes of expressions over some leaves."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.shapes: list[Shape] = []
        self.A = self.leaf("A", "m", "n")
        self.B = self.leaf("B", "m", "n")
        self.X = self.leaf("X", "n", "n")
        self.W = self.leaf("W2", "p", "m")
        self.x, self.u, self.v = self.leaf("x", "n"), self.leaf("u", "n"), self.leaf("v", "n")
        self.z, self.h = self.leaf("z1", "m"), self.leaf("h", "m")
        self.y, self.yhat = self.leaf("y", "p"), self.leaf("yhat", "p")
        self.s, self.t, self.c = self.leaf("s"), self.leaf("t"), self.leaf("c")

    def add(self, operation: str, shape: Shape, *inputs: int, name: str = "", numbers: tuple[int | Fraction, ...] = ()) -> int:
        self.steps.append(Step(operation, name, inputs, tuple(map(Fraction, numbers))))
        self.shapes.append(shape)
        return len(self.steps) - 1

    def leaf(self, name: str, rows: str = "1", columns: str = "1") -> int:
        return self.add("leaf", Shape(rows, columns), name=name)

    def number(self, value: int | Fraction) -> int:
        return self.add("number", SCALAR, numbers=(value,))

    def sum(self, *terms: Term) -> int:
        pairs = [(1, term) if isinstance(term, int) else term for term in terms]
        shape = next((self.shapes[k] for _, k in pairs if self.steps[k].operation != "number"), SCALAR)
        return self.add("sum", shape, *[k for _, k in pairs], numbers=tuple(number for number, _ in pairs))

    def times(self, number: int | Fraction, node: int) -> int:
        return self.sum((number, node))

    def minus(self, node: int) -> int:
        return self.times(-1, node)

    def mul(self, *factors: int) -> int:
        return self.add("product", Shape(self.shapes[factors[0]].rows, self.shapes[factors[-1]].columns), *factors)

    def had(self, *factors: int) -> int:
        return self.add("hadamard", self.shapes[factors[0]], *factors)

    def scale(self, *factors: int) -> int:
        result = factors[-1]
        for scalar in factors[-2::-1]:
            result = self.add("scale", self.shapes[result], scalar, result)
        return result

    def power(self, node: int, exponent: int | Fraction) -> int:
        return self.add("power", self.shapes[node], node, numbers=(exponent,))

    def over(self, node: int, scalar: int) -> int:
        return self.scale(self.power(scalar, -1), node)

    def T(self, node: int) -> int:  # noqa: N802
        return self.add("transpose", Shape(self.shapes[node].columns, self.shapes[node].rows), node)

    def apply(self, name: str, node: int, *order: int) -> int:
        return self.add("apply", self.shapes[node], node, name=name, numbers=order)

    def same(self, operation: str, node: int, name: str = "") -> int:
        return self.add(operation, self.shapes[node], node, name=name)

    def scalar(self, operation: str, *nodes: int) -> int:
        return self.add(operation, SCALAR, *nodes)

    def norm(self, node: int) -> int:
        return self.power(self.scalar("sqnorm", node), HALF)

    def ones(self, rows: str, columns: str = "1") -> int:
        return self.add("ones", Shape(rows, columns))

    def eye(self, size: str) -> int:
        return self.add("identity", Shape(size, size))

    def kron(self, *nodes: int) -> int:
        return self.add("kron", Shape("k", "l"), *nodes)


ROWS: list[tuple[Callable[[Expressions], int], str, str, str]] = [
    # brackets
    (
        lambda e: e.mul(e.had(e.mul(e.T(e.W), e.sum(e.yhat, (-1, e.y))), e.sum(e.number(1), (-1, e.had(e.h, e.h)))), e.T(e.x)),
        r"\left( W_{2}^{\top} (\hat{y} - y) \odot (1 - h \odot h) \right) x^{\top}",
        "(W₂ᵀ (ŷ - y) ⊙ (1 - h ⊙ h)) xᵀ",
        "(W2^T (yhat - y) .* (1 - h .* h)) x^T",
    ),
    (lambda e: e.mul(e.sum(e.X, e.T(e.X)), e.x), r"(X + X^{\top}) x", "(X + Xᵀ) x", "(X + X^T) x"),
    (lambda e: e.T(e.sum(e.A, e.B)), r"(A + B)^{\top}", "(A + B)ᵀ", "(A + B)^T"),
    (lambda e: e.T(e.mul(e.A, e.X)), r"(A X)^{\top}", "(A X)ᵀ", "(A X)^T"),
    (lambda e: e.T(e.T(e.A)), r"(A^{\top})^{\top}", "(Aᵀ)ᵀ", "(A^T)^T"),
    (lambda e: e.had(e.sum(e.u, e.v), e.x), r"(u + v) \odot x", "(u + v) ⊙ x", "(u + v) .* x"),
    (lambda e: e.had(e.mul(e.X, e.u), e.x), r"X u \odot x", "X u ⊙ x", "X u .* x"),
    (lambda e: e.mul(e.A, e.had(e.u, e.x)), r"A (u \odot x)", "A (u ⊙ x)", "A (u .* x)"),
    (lambda e: e.had(e.u, e.had(e.v, e.x)), r"u \odot (v \odot x)", "u ⊙ (v ⊙ x)", "u .* (v .* x)"),
    (
        lambda e: e.mul(e.add("diag", Shape("n", "n"), e.sum(e.number(1), (-1, e.power(e.u, 2)))), e.kron(e.T(e.x), e.eye("m"))),
        r"\operatorname{diag}(1 - u \odot u) (x^{\top} \otimes I)",
        "diag(1 - u ⊙ u) (xᵀ ⊗ I)",
        "diag(1 - u .* u) kron(x^T, I)",
    ),
    (
        lambda e: e.apply("tanh", e.sum(e.mul(e.A, e.apply("relu", e.x)), e.h)),
        r"\tanh\left( A \operatorname{relu}(x) + h \right)",
        "tanh(A relu(x) + h)",
        "tanh(A relu(x) + h)",
    ),
    # signs and numbers
    (lambda e: e.mul(e.A, e.minus(e.x)), "A (-x)", "A (-x)", "A (-x)"),
    (lambda e: e.minus(e.sum(e.A, e.B)), "-(A + B)", "-(A + B)", "-(A + B)"),
    (lambda e: e.had(e.x, e.minus(e.u)), r"x \odot (-u)", "x ⊙ (-u)", "x .* (-u)"),
    (lambda e: e.had(e.minus(e.x), e.u), r"-x \odot u", "-x ⊙ u", "-x .* u"),
    (lambda e: e.mul(e.times(-2, e.A), e.x), "-2 A x", "-2 A x", "-2 A x"),
    (lambda e: e.mul(e.A, e.times(-2, e.x)), "A (-2 x)", "A (-2 x)", "A (-2 x)"),
    (lambda e: e.mul(e.A, e.times(HALF, e.x)), r"A \left( \frac{1}{2} x \right)", "A (1/2 x)", "A (1/2 x)"),
    (lambda e: e.T(e.minus(e.x)), r"(-x)^{\top}", "(-x)ᵀ", "(-x)^T"),
    (lambda e: e.apply("exp", e.minus(e.x)), r"\exp(-x)", "exp(-x)", "exp(-x)"),
    (lambda e: e.sum(e.u, (-1, e.minus(e.v))), "u + v", "u + v", "u + v"),
    (lambda e: e.sum(e.u, (-1, e.sum(e.v, e.x))), "u - (v + x)", "u - (v + x)", "u - (v + x)"),
    (lambda e: e.sum(e.u, e.sum((-1, e.v), e.x)), "u + (-v + x)", "u + (-v + x)", "u + (-v + x)"),
    (lambda e: e.sum((-1, e.u), (-HALF, e.v)), r"-u - \frac{1}{2} v", "-u - 1/2 v", "-u - 1/2 v"),
    (lambda e: e.sum(e.u, (3, e.number(-2))), "u - 6", "u - 6", "u - 6"),
    (lambda e: e.times(3, e.times(HALF, e.u)), r"\frac{3}{2} u", "3/2 u", "3/2 u"),
    (lambda e: e.times(2, e.had(e.u, e.v)), r"2 u \odot v", "2 u ⊙ v", "2 u .* v"),
    (
        lambda e: e.times(2, e.had(e.same("indicator", e.u, ">"), e.v)),
        r"2 (1[u > 0] \odot v)",
        "2 (1[u > 0] ⊙ v)",
        "2 (1[u > 0] .* v)",
    ),
    (lambda e: e.times(2, e.same("indicator", e.u, ">")), "2 (1[u > 0])", "2 (1[u > 0])", "2 (1[u > 0])"),
    (
        lambda e: e.minus(e.mul(e.T(e.same("inverse", e.X)), e.u, e.T(e.v), e.T(e.same("inverse", e.X)))),
        r"-X^{-\top} u v^{\top} X^{-\top}",
        "-X^-T u vᵀ X^-T",
        "-X^-T u v^T X^-T",
    ),
    (lambda e: e.same("inverse", e.T(e.X)), r"X^{-\top}", "X^-T", "X^-T"),
    (lambda e: e.same("inverse", e.mul(e.T(e.X), e.X)), r"(X^{\top} X)^{-1}", "(Xᵀ X)⁻¹", "(X^T X)^-1"),
    # scalars and fractions
    (lambda e: e.scale(e.s, e.mul(e.A, e.x)), "s A x", "s A x", "s A x"),
    (lambda e: e.scale(e.s, e.had(e.u, e.x)), r"s (u \odot x)", "s (u ⊙ x)", "s (u .* x)"),
    (lambda e: e.scale(e.sum(e.s, e.t), e.x), "(s + t) x", "(s + t) x", "(s + t) x"),
    (lambda e: e.scale(e.mul(e.T(e.u), e.v), e.x), r"(u^{\top} v) x", "(uᵀ v) x", "(u^T v) x"),
    (lambda e: e.mul(e.A, e.scale(e.s, e.x)), "A (s x)", "A (s x)", "A (s x)"),
    (lambda e: e.scale(e.s, e.times(-2, e.x)), "-2 s x", "-2 s x", "-2 s x"),
    (
        lambda e: e.over(e.sum(e.x, (-1, e.scale(e.t, e.ones("n")))), e.s),
        r"\frac{x - t \mathbf{1}}{s}",
        "(x - t 𝟏) / s",
        "(x - t ones(n)) / s",
    ),
    (lambda e: e.over(e.mul(e.A, e.x), e.s), r"\frac{1}{s} A x", "1/s A x", "1/s A x"),
    (lambda e: e.times(-2, e.over(e.mul(e.A, e.x), e.s)), r"-\frac{2}{s} A x", "-2/s A x", "-2/s A x"),
    (lambda e: e.over(e.scale(e.s, e.t), e.c), r"\frac{s t}{c}", "s t / c", "s t / c"),
    (lambda e: e.power(e.minus(e.s), -1), r"\frac{1}{-s}", "1 / (-s)", "1 / (-s)"),
    (lambda e: e.mul(e.A, e.over(e.x, e.s)), r"A \frac{x}{s}", "A (x / s)", "A (x / s)"),
    (
        lambda e: e.scale(e.power(e.norm(e.u), -1), e.power(e.norm(e.v), -1), e.mul(e.T(e.u), e.v)),
        r"\frac{u^{\top} v}{\lVert u \rVert \lVert v \rVert}",
        "uᵀ v / (||u|| ||v||)",
        "u^T v / (||u|| ||v||)",
    ),
    (
        lambda e: e.times(Fraction(3, 4), e.scale(e.power(e.s, -2), e.power(e.add("dimension", SCALAR, name="n"), -HALF), e.x)),
        r"\frac{3}{4 s^{2} \sqrt{n}} x",
        "3/(4 s² sqrt(n)) x",
        "3/(4 s^2 sqrt(n)) x",
    ),
    # powers and quotients
    (lambda e: e.power(e.s, 2), "s^{2}", "s²", "s^2"),
    (lambda e: e.power(e.s, Fraction(3, 2)), "s^{3/2}", "s^(3/2)", "s^(3/2)"),
    (lambda e: e.power(e.sum(e.s, e.t), 2), "(s + t)^{2}", "(s + t)²", "(s + t)^2"),
    (lambda e: e.power(e.power(e.s, 2), 3), "(s^{2})^{3}", "(s²)³", "(s^2)^3"),
    (lambda e: e.power(e.norm(e.u), 2), r"(\lVert u \rVert)^{2}", "(||u||)²", "(||u||)^2"),
    (lambda e: e.power(e.u, 2), r"u \odot u", "u ⊙ u", "u .* u"),
    (lambda e: e.power(e.sum(e.u, (-1, e.v), e.x), 2), r"(u - v + x)^{\odot 2}", "(u - v + x).^2", "(u - v + x).^2"),
    (lambda e: e.power(e.u, -1), r"u^{\odot -1}", "u.^-1", "u.^-1"),
    (lambda e: e.power(e.u, HALF), r"\sqrt{u}", "sqrt(u)", "sqrt(u)"),
    (lambda e: e.had(e.u, e.power(e.v, -1)), r"u \oslash v", "u ⊘ v", "u ./ v"),
    (lambda e: e.had(e.u, e.power(e.sum(e.v, e.x), -2)), r"u \oslash (v + x)^{\odot 2}", "u ⊘ (v + x).^2", "u ./ (v + x).^2"),
    # norms
    (
        lambda e: e.times(HALF, e.scalar("sqnorm", e.sum(e.yhat, (-1, e.y)))),
        r"\frac{1}{2} \lVert \hat{y} - y \rVert^{2}",
        "1/2 ||ŷ - y||²",
        "1/2 ||yhat - y||^2",
    ),
    (
        lambda e: e.scalar("sqnorm", e.sum(e.mul(e.A, e.X), (-1, e.B))),
        r"\lVert A X - B \rVert_{F}^{2}",
        "||A X - B||_F²",
        "||A X - B||_F^2",
    ),
    (lambda e: e.scalar("norm1", e.u), r"\lVert u \rVert_{1}", "||u||_1", "||u||_1"),
    (
        lambda e: e.norm(e.sum(e.u, e.scale(e.norm(e.v), e.x))),
        r"\lVert (u + \lVert v \rVert x) \rVert",
        "||(u + ||v|| x)||",
        "||(u + ||v|| x)||",
    ),
    (
        lambda e: e.norm(e.over(e.u, e.s)),
        r"\left\lVert \frac{u}{s} \right\rVert",
        "||u / s||",
        "||u / s||",
    ),
    # constants
    (lambda e: e.mul(e.ones("1", "n"), e.x), r"\mathbf{1}^{\top} x", "𝟏ᵀ x", "ones(1, n) x"),
    (lambda e: e.mul(e.h, e.ones("1", "n")), r"h \mathbf{1}^{\top}", "h 𝟏ᵀ", "h ones(1, n)"),
    (lambda e: e.had(e.A, e.ones("m", "n")), r"A \odot \mathbf{1} \mathbf{1}^{\top}", "A ⊙ 𝟏 𝟏ᵀ", "A .* ones(m, n)"),
    (lambda e: e.add("zeros", Shape("m", "n")), "0", "0", "0"),
    (lambda e: e.add("unit", Shape("n", "1"), numbers=(2,)), "e_{2}", "e₂", "e2"),
    (lambda e: e.add("constant", SCALAR, name="pi"), r"\pi", "π", "pi"),
    (lambda e: e.add("commutation", Shape("m*n", "m*n"), name="m,n"), "K_{m,n}", "K_{m,n}", "K_{m,n}"),
    # functions
    (lambda e: e.same("softmax", e.z, "columns"), r"\operatorname{softmax}(z_{1})", "softmax(z₁)", "softmax(z1)"),
    (
        lambda e: e.same("softmax", e.A, "rows"),
        r"\operatorname{softmax}_{\mathrm{rows}}(A)",
        "softmax_rows(A)",
        "softmax_rows(A)",
    ),
    (
        lambda e: e.same("softmax", e.A, "columns"),
        r"\operatorname{softmax}_{\mathrm{columns}}(A)",
        "softmax_columns(A)",
        "softmax_columns(A)",
    ),
    (lambda e: e.apply("σ", e.z), r"\sigma(z_{1})", "σ(z₁)", "sigma(z1)"),
    (lambda e: e.apply("σ", e.z, 1), r"\sigma'(z_{1})", "σ'(z₁)", "sigma'(z1)"),
    (lambda e: e.apply("g", e.z, 2), "g''(z_{1})", "g''(z₁)", "g''(z1)"),
    (
        lambda e: e.apply("leaky_relu", e.z),
        r"\operatorname{leaky}_{\mathrm{relu}}(z_{1})",
        "leaky_relu(z₁)",
        "leaky_relu(z1)",
    ),
    (lambda e: e.same("indicator", e.z, ">"), "1[z_{1} > 0]", "1[z₁ > 0]", "1[z1 > 0]"),
    (lambda e: e.scalar("trace", e.mul(e.A, e.X)), r"\operatorname{tr}(A X)", "tr(A X)", "tr(A X)"),
    (lambda e: e.scalar("det", e.X), r"\det(X)", "det(X)", "det(X)"),
    (lambda e: e.scalar("logdet", e.X), r"\operatorname{logdet}(X)", "logdet(X)", "logdet(X)"),
    (lambda e: e.scalar("CE", e.yhat, e.y), r"\operatorname{CE}(\hat{y}, y)", "CE(ŷ, y)", "CE(yhat, y)"),
    (
        lambda e: e.T(e.add("vec", Shape("m*n", "1"), e.sum(e.A, e.B))),
        r"\operatorname{vec}(A + B)^{\top}",
        "vec(A + B)ᵀ",
        "vec(A + B)^T",
    ),
    (
        lambda e: e.add("reshape", Shape("m", "n"), e.u),
        r"\operatorname{reshape}(u, m, n)",
        "reshape(u, m, n)",
        "reshape(u, m, n)",
    ),
    (
        lambda e: e.add("beside", Shape("m", "2*n"), e.A, e.minus(e.B)),
        r"\begin{pmatrix} A & -B \end{pmatrix}",
        "[A, -B]",
        "[A, -B]",
    ),
    (
        lambda e: e.add(
            "below",
            Shape("2*m", "2*n"),
            e.add("beside", Shape("m", "2*n"), e.A, e.B),
            e.add("beside", Shape("m", "2*n"), e.B, e.A),
        ),
        r"\begin{pmatrix} A & B \\ B & A \end{pmatrix}",
        "[A, B; B, A]",
        "[A, B; B, A]",
    ),
    # opaque layers
    (lambda e: e.add("layer", Shape("m", "1"), e.x, e.sum(e.u, e.v), name="g1"), "g_{1}(x, u + v)", "g₁(x, u + v)", "g1(x, u + v)"),
    (
        lambda e: e.T(e.add("partial", Shape("m", "n"), e.x, e.u, name="g", numbers=(1,))),
        r"(J_{u} g)^{\top}",
        "(J_u g)ᵀ",
        "(J_u g)^T",
    ),
    (
        lambda e: e.mul(e.T(e.A), e.add("gradient", Shape("m", "1"), e.z, name="l", numbers=(0,))),
        r"A^{\top} \nabla_{z_{1}} l",
        "Aᵀ ∇_z₁ l",
        "A^T nabla_z1 l",
    ),
    (
        lambda e: e.add("curvature", Shape("n", "n"), e.h, e.x, e.u, name="g", numbers=(0, 1)),
        r"\nabla^{2}_{x, u} \langle h, g \rangle",
        "∇²_{x, u} ⟨h, g⟩",
        "nabla^2_{x, u} <h, g>",
    ),
]


@pytest.mark.parametrize(("make", "latex", "unicode", "ascii"), ROWS, ids=[row[3] for row in ROWS])
def test_expressions_on_paper(make: Callable[[Expressions], int], latex: str, unicode: str, ascii: str) -> None:
    e = Expressions()
    node = make(e)
    texts = [unicodedata.normalize("NFC", Formula(e.steps, e.shapes, writer).text(node)) for writer in WRITERS]
    assert texts == [latex, unicode, ascii]


EXACT: list[tuple[Callable[[Expressions], int], str, str]] = [
    (lambda e: e.mul(e.ones("1", "n"), e.x), r"\operatorname{sum}(x)", "sum(x)"),
    (lambda e: e.mul(e.ones("1", "m"), e.A, e.ones("n")), r"\operatorname{sum}(A)", "sum(A)"),
    (lambda e: e.mul(e.A, e.ones("n")), r"\operatorname{sum}(A, \mathrm{rows})", "sum(A, rows)"),
    (lambda e: e.mul(e.ones("1", "m"), e.A), r"\operatorname{sum}(A, \mathrm{columns})", "sum(A, columns)"),
    (
        lambda e: e.over(e.mul(e.ones("1", "n"), e.x), e.add("dimension", SCALAR, name="n")),
        r"\operatorname{mean}(x)",
        "mean(x)",
    ),
    (
        lambda e: e.over(e.mul(e.ones("1", "n"), e.x), e.add("dimension", SCALAR, name="m")),
        r"\frac{\operatorname{sum}(x)}{m}",
        "sum(x) / m",
    ),
    (lambda e: e.mul(e.ones("1", "m"), e.A, e.x), r"\operatorname{ones}(1, m) A x", "ones(1, m) A x"),
    (lambda e: e.mul(e.h, e.ones("1", "n")), r"h \operatorname{ones}(1, n)", "h ones(1, n)"),
    (
        lambda e: e.sum(e.A, (-2, e.mul(e.h, e.ones("1", "n")))),
        r"A - 2 h \mathbf{1}^{\top}",
        "A - 2 h ones(1, n)",
    ),
    (
        lambda e: e.sum(e.leaf("w", "n_w"), (-1, e.scale(e.s, e.ones("n_w")))),  # a size that no text can name
        r"w - s \mathbf{1}",
        "w - s",
    ),
    (lambda e: e.add("zeros", Shape("m", "n")), r"\operatorname{zeros}(m, n)", "zeros(m, n)"),
    (lambda e: e.sum(e.X, e.eye("n")), "X + I(n)", "X + I(n)"),
    (lambda e: e.add("unit", Shape("n", "1"), numbers=(2,)), "e(2, n)", "e(2, n)"),
    (lambda e: e.had(e.u, e.u), r"u \odot u", "u .* u"),
    (lambda e: e.power(e.u, 2), r"u^{\odot 2}", "u.^2"),
    (lambda e: e.sum(e.u, (-1, e.minus(e.v))), "u - (-v)", "u - (-v)"),
    (lambda e: e.sum(e.u, e.sum(e.v, e.x)), "u + (v + x)", "u + (v + x)"),
    (lambda e: e.times(3, e.times(2, e.u)), "3 (2 u)", "3 (2 u)"),
    (lambda e: e.T(e.same("inverse", e.X)), r"X^{-\top}", "X^-T"),
    (lambda e: e.same("inverse", e.T(e.X)), r"(X^{\top})^{-1}", "(X^T)^-1"),
    (
        # without brackets, two names among the arguments of a layer look like a comma that is missing
        lambda e: e.add("layer", Shape("m", "1"), e.mul(e.A, e.x), e.mul(e.T(e.A), e.x), name="g"),
        r"g\left( (A x), A^{\top} x \right)",
        "g((A x), A^T x)",
    ),
]


@pytest.mark.parametrize(("make", "latex", "ascii"), EXACT, ids=[row[2] for row in EXACT])
def test_what_reads_back_to_the_same_steps(make: Callable[[Expressions], int], latex: str, ascii: str) -> None:
    e = Expressions()
    node = make(e)
    assert Formula(e.steps, e.shapes, LatexWriter(), exact=True).text(node) == latex
    assert Formula(e.steps, e.shapes, TextWriter(ascii=True), exact=True).text(node) == ascii


def test_every_operation_is_shown() -> None:
    e = Expressions()
    for make, *_ in ROWS:
        make(e)
    assert {step.operation for step in e.steps} >= set(FORMS) - {"symbol", "adjoint", "embedding", "logsumexp", "layernorm", "diagonal"}


def test_ascii_is_ascii() -> None:
    for make, latex, _, ascii in ROWS:
        e = Expressions()
        node = make(e)
        assert latex.isascii()
        assert ascii.isascii()
        assert Formula(e.steps, e.shapes, LatexWriter(), exact=True).text(node).isascii()
        assert Formula(e.steps, e.shapes, TextWriter(ascii=True), exact=True).text(node).isascii()


def test_values_with_a_name_are_called_by_it() -> None:
    e = Expressions()
    d = e.sum(e.yhat, (-1, e.y))
    g = e.mul(e.T(e.W), d)
    formula = Formula(e.steps, e.shapes, LatexWriter(), {d: r"\delta^{2}", g: "g"}.get)
    # whatever is asked for first
    assert (formula.text(d), formula.text(g), formula.text(e.T(g))) == (r"\hat{y} - y", r"W_{2}^{\top} \delta^{2}", r"g^{\top}")
    assert formula.text(e.T(d)) == r"(\delta^{2})^{\top}"
    assert formula.text(e.minus(d)) == r"-\delta^{2}"
    assert (formula.factor(d), formula.factor(e.sum(e.u, e.v)), formula.factor(e.T(e.u))) == (r"\delta^{2}", "(u + v)", r"u^{\top}")


def test_names_that_are_symbols() -> None:
    e = Expressions()
    d = e.sum(e.u, e.v)
    formula = Formula(e.steps, e.shapes, LatexWriter(), {d: r"\frac{\partial L}{\partial z}"}.get)
    assert formula.text(e.T(d)) == r"\left( \frac{\partial L}{\partial z} \right)^{\top}"
    assert formula.text(e.mul(e.A, d)) == r"A \frac{\partial L}{\partial z}"


def test_dots_stand_beside_derivatives_of_layers() -> None:
    e = Expressions()
    outer = e.add("partial", Shape("1", "m"), e.z, name="l", numbers=(0,))
    inner = e.add("partial", Shape("m", "n"), e.x, name="g", numbers=(0,))
    chain = e.mul(outer, inner, e.X, e.X)
    assert Formula(e.steps, e.shapes, LatexWriter(), dotted=True).text(chain) == r"J_{z_{1}} l \cdot J_{x} g \cdot X X"
    assert Formula(e.steps, e.shapes, TextWriter(), dotted=True).text(chain) == "J_z₁ l · J_x g · X X"
    assert Formula(e.steps, e.shapes, TextWriter(), lambda _: None, lambda step: f"D{step.name}").text(chain) == "(Dl) (Dg) X X"


def test_the_identity_makes_way_for_a_name() -> None:
    e = Expressions()
    node = e.sum(e.X, e.eye("n"))
    assert Formula(e.steps, e.shapes, LatexWriter(), identity=r"\mathrm{Id}").text(node) == r"X + \mathrm{Id}"


def test_sizes() -> None:
    e = Expressions()
    d = e.sum(e.yhat, (-1, e.y))
    square = e.had(d, d)
    total = e.mul(e.T(e.W), square)
    formula = Formula(e.steps, e.shapes, LatexWriter())
    assert [formula.size(node) for node in (d, square, total)] == [2, 4, 5]
    assert Formula(e.steps, e.shapes, LatexWriter(), {d: "d"}.get).size(total) == 3


def test_depth_costs_no_stack_and_length_is_limited() -> None:
    e = Expressions()
    node = e.x
    for _ in range(20_000):
        node = e.apply("tanh", node)
    text = Formula(e.steps, e.shapes, TextWriter()).text(node)
    assert text == "tanh(" * 20_000 + "x" + ")" * 20_000
    node = e.s
    for _ in range(20_000):
        node = e.power(e.sum(e.scale(e.t, node), e.s), -1)
    assert Formula(e.steps, e.shapes, TextWriter()).text(node).count(" / ") == 20_000
    node = e.x
    for _ in range(5_000):
        node = e.sum(node, node)
    formula = Formula(e.steps, e.shapes, LatexWriter())
    assert formula.size(node) > 10**9
    with pytest.raises(LimitError, match="1,000,000 characters"):
        formula.text(node)


def test_a_deep_network_is_written_at_once() -> None:
    e = Expressions()
    names: dict[int, str] = {}
    lines = []
    one, h = e.number(1), e.h
    layers = []
    for k in range(1000):
        weights, b = e.leaf(f"W{k}", "m", "m"), e.leaf(f"b{k}", "m")
        z = e.sum(e.mul(weights, h), b)
        layers.append((weights, h))
        h = e.apply("tanh", z)
        names[z], names[h] = f"z_{{{k}}}", f"h_{{{k}}}"
        lines += [z, h]
    delta = e.minus(h)
    for weights, before in reversed(layers):
        delta = e.had(delta, e.sum(one, (-1, e.power(before, 2))))
        names[delta] = rf"\delta_{{{len(names)}}}"
        lines += [delta, e.mul(delta, e.T(before))]
        delta = e.mul(e.T(weights), delta)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        formula = Formula(e.steps, e.shapes, LatexWriter(), names.get)
        texts = [formula.text(line) for line in lines]
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5  # about 0.04
    assert texts[-2:] == [
        r"W_{1}^{\top} \delta_{2998} \odot (1 - h \odot h)",
        r"\delta_{2999} h^{\top}",
    ]


# --- what is written reads as the same value --------------------------------------------------------------------------

PRIME = 2**61 - 1
SIZES = {"m": 2, "n": 3, "p": 4, "q": 5, "1": 1}
Matrix = list[list[int]]


def multiply(a: Matrix, b: Matrix) -> Matrix:
    """The matrix product, or a 1 x 1 matrix times another."""
    for scalar, other in ((a, b), (b, a)):
        if len(scalar) == len(scalar[0]) == 1:
            return each(lambda t, s=scalar[0][0]: s * t, other)
    assert len(a[0]) == len(b)
    return [[sum(s * t for s, t in zip(row, column, strict=True)) % PRIME for column in zip(*b, strict=True)] for row in a]


def each(function: Callable[..., int], *arrays: Matrix) -> Matrix:
    """A function entry by entry; 1 x 1 arrays stand for every entry."""
    rows, columns = max(len(a) for a in arrays), max(len(a[0]) for a in arrays)
    assert all((len(a), len(a[0])) in ((rows, columns), (1, 1)) for a in arrays)
    return [
        [function(*[a[i][j] if (len(a), len(a[0])) == (rows, columns) else a[0][0] for a in arrays]) % PRIME for j in range(columns)]
        for i in range(rows)
    ]


def some(name: str, *arguments: object) -> int:
    """The value of a function of which nothing is known."""
    return hash((name, repr(arguments))) % PRIME


def raise_to(a: Matrix, exponent: Fraction) -> Matrix:
    """Every entry to a power; the square root of a number is some number, and 0 stays."""
    if exponent.denominator == 2:
        a, exponent = each(lambda t: some("sqrt", t), a), 2 * exponent
    assert exponent.denominator == 1
    return each(lambda t: pow(t, int(exponent), PRIME) if t else 0, a)


def invert(a: Matrix) -> Matrix:
    """The inverse of a square matrix; 0 where there is none."""
    size = len(a)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(a)]
    for k in range(size):
        pivot = next((i for i in range(k, size) if rows[i][k]), None)
        if pivot is None:
            return [[0] * size for _ in range(size)]
        rows[k], rows[pivot] = rows[pivot], rows[k]
        inverse = pow(rows[k][k], -1, PRIME)
        rows[k] = [t * inverse % PRIME for t in rows[k]]
        for i in range(size):
            if i != k:
                rows[i] = [(t - rows[i][k] * s) % PRIME for s, t in zip(rows[k], rows[i], strict=True)]
    return [row[size:] for row in rows]


def turn(a: Matrix) -> Matrix:
    return [list(row) for row in zip(*a, strict=True)]


def kron(a: Matrix, b: Matrix) -> Matrix:
    return [[s * t % PRIME for s in above for t in below] for above in a for below in b]


def squares(a: Matrix) -> Matrix:
    return [[sum(t * t for row in a for t in row) % PRIME]]


def function(name: str, arguments: list[Matrix]) -> Matrix:
    """A function of arrays by its name."""
    first = arguments[0]
    if name == "diag":
        if len(first[0]) == 1:
            return [[row[0] * (i == j) for j in range(len(first))] for i, row in enumerate(first)]
        return [[first[i][i]] for i in range(len(first))]
    if name == "tr":
        return [[sum(first[i][i] for i in range(len(first))) % PRIME]]
    if name in ("det", "logdet", "logsumexp", "CE", "norm1"):
        return [[some(name, *arguments)]]
    if name == "vec":
        return [[t] for column in turn(first) for t in column]
    if name == "kron":
        return kron(*arguments)
    if name == "sqrt":
        return raise_to(first, HALF)
    if name.startswith(("softmax", "layernorm")):
        rows = [[some(name, row) for row in first]] if name == "softmaxrows" else None
        return [[some(name, i, j, rows, first) for j in range(len(first[0]))] for i in range(len(first))]
    return each(lambda t: some(name, t), first)


def value_of_steps(e: Expressions, node: int, leaves: dict[str, Matrix]) -> Matrix:
    """What a node is."""
    values: list[Matrix] = []
    for step, shape in zip(e.steps[: node + 1], e.shapes, strict=False):
        operation, inputs = step.operation, [values[source] for source in step.inputs]
        numbers = [number.numerator * pow(number.denominator, -1, PRIME) for number in step.coefficients]
        if operation == "leaf":
            values.append(leaves[step.name])
        elif operation == "number":
            values.append([[numbers[0]]])
        elif operation == "sum":
            values.append(each(lambda *terms, c=numbers: sum(s * t for s, t in zip(c, terms, strict=True)), *inputs))
        elif operation in ("scale", "product"):
            values.append(functools.reduce(multiply, inputs))
        elif operation == "hadamard":
            values.append(each(lambda *factors: math.prod(factors), *inputs))
        elif operation == "power":
            values.append(raise_to(inputs[0], step.coefficients[0]))
        elif operation == "transpose":
            values.append(turn(inputs[0]))
        elif operation == "inverse":
            values.append(invert(inputs[0]))
        elif operation == "sqnorm":
            values.append(squares(inputs[0]))
        elif operation == "kron":
            values.append(kron(*inputs))
        else:
            name = {"trace": "tr", "diagonal": "diag"}.get(operation, step.name if operation == "apply" else operation)
            if operation == "softmax" and (step.name == "rows" or shape.is_matrix):
                name += step.name
            values.append(function(name.replace("_", "") + "'" * len(step.coefficients), inputs))
    return values[node]


def value_of_text(text: str, leaves: dict[str, Matrix]) -> Matrix:
    """What a text is, by the grammar and the shapes alone."""
    declared = "".join(f"{name}: {len(a)} x {len(a[0])}; " for name, a in leaves.items())
    nodes = read_program(Source(f"{declared}f = {text}")).nodes
    values: list[Matrix] = []
    for node in nodes:
        arguments = [values[k] for k in node.args]
        kind = node.kind
        if kind == "name":
            values.append(leaves[node.value])
        elif kind == "number":
            values.append([[int(node.value)]])
        elif kind in ("function", "prime"):
            values.append([])  # seen by the call
        elif kind == "call":
            head = nodes[node.args[0]]
            primes, power = 0, Fraction(1)
            if head.kind == "power":
                head, power = nodes[head.args[0]], exponent_of(nodes, head.args[1])
            while head.kind == "prime":
                head, primes = nodes[head.args[0]], primes + 1
            value = function(head.value + "'" * primes, arguments[1:])
            values.append(raise_to(value, power) if power != 1 else value)
        elif kind in ("add", "subtract"):
            sign = 1 if kind == "add" else -1
            values.append(each(lambda s, t, sign=sign: s + sign * t, *arguments))
        elif kind == "negate":
            values.append(each(lambda t: -t, arguments[0]))
        elif kind == "product":
            values.append(multiply(*arguments))
        elif kind == "divide":
            values.append(multiply(arguments[0], raise_to(arguments[1], Fraction(-1))))
        elif kind == "elementwise" and node.value in ("⊗", r"\otimes"):
            values.append(kron(*arguments))
        elif kind == "elementwise":
            divides = node.value in ("⊘", "./", r"\oslash")
            values.append(each(operator.mul, arguments[0], raise_to(arguments[1], Fraction(-1)) if divides else arguments[1]))
        elif kind == "power" and nodes[node.args[0]].kind == "function":
            values.append([])  # seen by the call
        elif kind in ("power", "epower"):
            below, exponent = nodes[node.args[0]], exponent_of(nodes, node.args[1])
            if below.kind == "norm" and below.value != "1" and not below.bracketed and exponent == 2:
                values.append(squares(values[below.args[0]]))
            elif kind == "power" and exponent == -1 and len(arguments[0]) > 1:
                values.append(invert(arguments[0]))
            else:
                assert kind == "epower" or len(arguments[0]) == 1
                values.append(raise_to(arguments[0], exponent))
        elif kind == "transpose":
            values.append(turn(invert(arguments[0]) if node.value else arguments[0]))
        elif kind == "norm":
            plain = node.value in ("", "F")
            values.append(raise_to(squares(arguments[0]), HALF) if plain else function("norm1", arguments))
        else:
            raise AssertionError(node)
    return values[-1]


def exponent_of(nodes: Sequence[Node], k: int) -> Fraction:
    """A number, perhaps with a sign or a denominator."""
    node = nodes[k]
    if node.kind == "negate":
        return -exponent_of(nodes, node.args[0])
    if node.kind == "divide":
        return exponent_of(nodes, node.args[0]) / exponent_of(nodes, node.args[1])
    return Fraction(int(node.value)) if node.kind == "number" else Fraction(0)


NUMBERS: list[int | Fraction] = [1, 1, -1, -1, 2, -2, HALF, -HALF, Fraction(-3, 2)]
POWERS: list[int | Fraction] = [1, 2, 3, HALF]


class Grown(Expressions):
    """A random expression, its leaves made as they are needed."""

    def __init__(self, seed: int) -> None:
        self.steps, self.shapes = [], []
        self.rng = random.Random(seed)
        self.known: dict[str, int] = {}
        size = self.rng.choice
        self.root = self.grow(*size([("1", "1"), ("m", "1"), ("1", "n"), ("m", "n"), ("p", "p")]), self.rng.randint(1, 4))

    def named(self, rows: str, columns: str) -> int:
        if rows == "1" != columns:
            return self.T(self.named(columns, rows))
        letters = "st" if rows == columns == "1" else "uv" if columns == "1" else "AB"
        name = self.rng.choice(letters) + "".join(str(SIZES[size]) for size in (rows, columns) if size != "1")
        if name not in self.known:
            self.known[name] = self.leaf(name, rows, columns)
        return self.known[name]

    def grow(self, rows: str, columns: str, depth: int) -> int:
        """An expression of this shape."""
        pick = self.rng.choice
        if depth == 0 or self.rng.random() < 0.1:
            return self.named(rows, columns)
        depth -= 1
        ways = ["sum", "sum", "times", "scale", "over", "product", "product"]
        if rows == columns == "1":
            ways += "power apply norm scalar scalar reciprocal kron".split()
        else:
            ways += "hadamard hadamard quotient power apply transpose".split()
            ways += ["softmax"] if rows != "1" else []
            ways += ["inverse", "diag"] if rows == columns else []
            ways += ["layernorm", "diagonal"] if columns == "1" else []
            ways += ["kron"] if rows != "1" else []
        way, size = pick(ways), pick("mnpq")
        if way == "sum":
            terms: list[Term] = [(pick(NUMBERS), self.grow(rows, columns, depth)) for _ in range(pick([2, 2, 3]))]
            if self.rng.random() < 0.2:
                terms.insert(pick([0, 1]), (pick(NUMBERS), self.number(pick(NUMBERS))))
            return self.sum(*terms)
        if way == "scalar":
            operation = pick("trace det logdet logsumexp CE sqnorm norm1".split())
            if operation in ("trace", "det", "logdet"):
                return self.scalar(operation, self.grow(size, size, depth))
            inputs = [self.grow(size, "1", depth) for _ in range(1 + (operation == "CE"))]
            return self.scalar(operation, *inputs)
        if way == "product":
            inner = [size, pick("mnpq")][: pick([1, 1, 2])]
            edges = [rows, *inner, columns]
            return self.mul(*[self.grow(one, other, depth) for one, other in itertools.pairwise(edges)])
        if way == "norm":
            return self.norm(self.grow(size, pick(["1", "1", "n"]), depth))
        if way == "scale" or way == "over":
            scalar = self.grow("1", "1", depth)
            scaled = self.grow(rows, columns, depth)
            return self.scale(scalar, scaled) if way == "scale" else self.over(scaled, scalar)
        if way == "kron":
            return self.add("kron", Shape(rows, columns), self.grow(rows, "1", depth), self.grow("1", columns, depth))
        if way == "diagonal":
            return self.add("diagonal", Shape(rows, "1"), self.grow(rows, rows, depth))
        if way == "diag":
            return self.add("diag", Shape(rows, rows), self.grow(rows, "1", depth))
        node = self.grow(rows, columns, depth) if way != "transpose" else self.grow(columns, rows, depth)
        if way == "times":
            return self.times(pick(NUMBERS), node)
        if way == "hadamard":
            return self.had(node, *[self.grow(rows, columns, depth) for _ in range(pick([1, 1, 2]))])
        if way == "quotient":
            return self.had(node, self.power(self.grow(rows, columns, depth), -pick(POWERS)))
        if way == "power" or way == "reciprocal":
            return self.power(node, pick(POWERS) if way == "power" else -pick(POWERS))
        if way == "apply":
            return self.apply(pick("tanh exp relu sigmoid leaky_relu σ".split()), node, *pick([(), (), (1,)]))
        if way == "transpose":
            return self.T(node)
        return self.same(way, node, pick(["rows", "columns"]) if way == "softmax" and columns != "1" else "columns")


@pytest.mark.parametrize("exact", [False, True], ids=["derived", "exact"])
@pytest.mark.parametrize("writer", WRITERS, ids=["latex", "unicode", "ascii"])
def test_texts_read_as_the_same_value(writer: Writer, exact: bool) -> None:
    """Random expressions, in a prime field: what stands on paper, read by the grammar, is the value of the steps."""
    for seed in range(1000):
        e = Grown(seed)
        rng = random.Random(seed)
        leaves = {
            name: [[rng.randrange(PRIME) for _ in range(SIZES[e.shapes[k].columns])] for _ in range(SIZES[e.shapes[k].rows])]
            for name, k in e.known.items()
        }
        text = Formula(e.steps, e.shapes, writer, exact=exact).text(e.root)
        assert value_of_text(text, leaves) == value_of_steps(e, e.root, leaves), (seed, text)


# --- compositions -----------------------------------------------------------------------------------------------------

COMPOSITIONS = [
    "Z = X + b; μ = mean(Z); y = x - mean(x) + 1; S = A + s I; T: k x k; R = T I(k) + 2 I; s: scalar",
    "z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h + b2 - y||^2",
    "Z = X W + ones(N) b^T; P = softmax_rows(Z); L = CE(P, Y) / N; X: N x n; W: n x k; b: k; Y: N x k",
    "Q: m x d; K: n x d; V: n x p; S = Q K^T / sqrt(d); A = softmax_rows(S); O = A V",
    "x: n; y = x - mean(x); s = sqrt(sum(y.^2) / n + 1); z = γ .* y / s + β; γ: n; β: n",
    "X: m x n; b: m; Z = X + b; f = mean(Z) + sum(mean(Z, rows)) + sum(Z.^2, columns) ones(n)",
    "a: n; b: n; X: n x n; f = a^T X^-1 b; g = logdet(X^T X + s I); h = det(X)^2 / tr(X); k = X^-T a; s: scalar",
    "x: n; y = exp(x) ./ sum(exp(x)); z = 1 ./ x; w = max(0, x) - (x .* y) ./ x.^2; u = logsoftmax(x)",
    "A: n x n; a: n; M = [A, a; a^T, 1]; N = [A; a^T]; v = vec(A); d = diag(A); D = diag(a); u = e(1, n); K = a a^T ⊗ A",
    "i = σ(W x + U h); f = sigmoid(V x + U2 h); c = f .* c0 + i .* tanh(W2 x); y = g(W*x, c) + 2 g(x)",
    "z: n; t: scalar; a = σ'(z) .* φ(z); b = -(a + z) - 1/2 (1 - a); c = t^3 b / (2 t); n1 = ||b||_1 / ||b||",
    "f = g(W*x + b, c) + x; W: n x n",
    "I: n x n; x: n; y = (I + I^T) x",
    "X: m x n; A: 5; f = ||X||_F + mean(A) + π; g = softmax_columns(X) + zeros(m, n)",
    "g(t) = t / (1 + e^{-t}); h(u) = g(u)^2 - 3; y = h(W x) + g(b)",
]


def written(tape: Tape, writer: Writer) -> str:
    """A composition with the shapes of what it names."""
    labels = Labels(tape, len(tape.names) - 1, "outputs")
    formula = of_tape(tape, writer, labels)
    named = [value for value, name in enumerate(tape.names) if name]
    sizes = [(value, str(tape.shapes[value])) for value in named]
    lines = [f"{writer.name(labels.value(value))}: {size}" for value, size in sizes if not set("_*+") & set(size)]
    lines += [f"{left} = {right}" for left, right in function_definitions(tape, writer)]
    lines += [f"{writer.name(labels.value(value))} = {formula.text(value)}" for value in named if value >= tape.leaves]
    return "; ".join(lines)


def meaning(tape: Tape) -> dict[str, object]:
    """What each name is, whatever the order of the steps."""
    found: list[object] = []
    for value, name in enumerate(tape.names):
        step = tape.step(value)
        inputs = () if step is None else tuple(found[source] for source in step.inputs)
        found.append((name, tape.shapes[value], step and step._replace(inputs=()), inputs))
    return {name: found[value] for value, name in enumerate(tape.names) if name}


@pytest.mark.parametrize("writer", WRITERS, ids=["latex", "unicode", "ascii"])
@pytest.mark.parametrize("text", COMPOSITIONS)
def test_compositions_read_back(text: str, writer: Writer) -> None:
    tape = read_composition(Source(text)).tape
    again = read_composition(Source(written(tape, writer))).tape
    assert meaning(again) == meaning(tape)
    assert [name for name, _ in again.functions] == [name for name, _ in tape.functions]
    assert [meaning(body) for _, body in again.functions] == [meaning(body) for _, body in tape.functions]
