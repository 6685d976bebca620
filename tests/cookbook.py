"""Identities of the Matrix Cookbook as witnesses: a composition, its derivative as the book prints it, and a way to check the book.

K. B. Petersen and M. S. Pedersen, The Matrix Cookbook, version of November 15, 2012, chapter 2: (33) to (45) on differentials, sections 2.1
to 2.8. Nothing of the package is used here. Formulas and values work on exact SymPy matrices of rational numbers; where a norm occurs,
entries hold exact square roots.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy
from sympy import Matrix, diag, eye, ones

SIZES = {"m": 4, "n": 3, "p": 2, "q": 5}
"""What the sizes in the declarations stand for: no two alike, and an m x n matrix is tall."""


class Values:
    """The matrices of a point by name: ``v.X``; scalars are plain expressions."""

    def __init__(self, matrices: Mapping[str, Any]) -> None:
        self._matrices = matrices

    def __getattr__(self, name: str) -> Any:
        matrix = self._matrices[name]
        return matrix[0, 0] if matrix.shape == (1, 1) else matrix


Formula = Callable[[Values], Any]


@dataclass(frozen=True)
class Identity:
    """One derivative of the book.

    Attributes:
        number: of the equation in the book.
        declarations: the shapes of the leaves, in the input language.
        equations: the composition, in the input language; its output is ``f``.
        wrt: the variable.
        value: f at a point, written apart from the text.
        gradient: for a scalar f its derivative in the shape of the variable (mixed layout); for an array the Jacobian on vec, columns
            stacked, in numerator layout.
        hessian: the second derivative by the variable on vec, where the book has it.
    """

    number: str
    declarations: str
    equations: str
    wrt: str
    value: Formula
    gradient: Formula
    hessian: Formula | None = None

    @property
    def composition(self) -> str:
        return f"{self.declarations}; {self.equations}"

    @property
    def shapes(self) -> dict[str, tuple[str, str]]:
        """Rows and columns of each leaf, as symbols or ``1``."""
        shapes = {}
        for declaration in self.declarations.split("; "):
            name, words = declaration.split(": ")
            sides = [word for word in words.split() if word in SIZES]
            shapes[name] = (sides[0] if sides else "1", sides[1] if len(sides) > 1 else "1")
        return shapes

    @property
    def symmetric(self) -> set[str]:
        """Leaves that are declared symmetric."""
        return {item.split(": ")[0] for item in self.declarations.split("; ") if item.endswith(" symmetric")}

    @property
    def sizes(self) -> dict[str, int]:
        """The size that each symbol of the declarations has in :func:`sample`."""
        return {side: SIZES[side] for sides in self.shapes.values() for side in sides if side in SIZES}

    @property
    def is_scalar(self) -> bool:
        """Whether f is a scalar, so that the gradient has the shape of the variable."""
        return bool(as_matrix(self.value(Values(sample(self, 0)))).shape == (1, 1))

    @property
    def layout(self) -> str:
        return "mixed" if self.is_scalar else "numerator"

    def derivative(self, matrices: Mapping[str, Any]) -> Any:
        """The formula of the book at a point, as a matrix."""
        return as_matrix(self.gradient(Values(matrices)))

    def __str__(self) -> str:
        return f"{self.number} {self.equations} by {self.wrt}"


def as_matrix(entries: Any) -> Any:
    return entries if isinstance(entries, sympy.MatrixBase) else Matrix([[entries]])


def tr(matrix: Any) -> Any:
    return as_matrix(matrix).trace()


def vec(matrix: Any) -> Any:
    return Matrix([matrix[i, j] for j in range(matrix.cols) for i in range(matrix.rows)])


def kron(left: Any, right: Any) -> Any:
    return Matrix(
        left.rows * right.rows,
        left.cols * right.cols,
        lambda i, j: left[i // right.rows, j // right.cols] * right[i % right.rows, j % right.cols],
    )


def unit(rows: int, columns: int, i: int, j: int) -> Any:
    """J^ij of the book, counted from 0: one in row i and column j."""
    return Matrix(rows, columns, lambda k, h: int((k, h) == (i, j)))


def e(i: int, n: int) -> Any:
    """The i-th unit column, counted from 1 as in the language."""
    return unit(n, 1, i - 1, 0)


def by_entries(variable: Any, derivative: Callable[[Any], Any]) -> Any:
    """The Jacobian on vec from the derivative by one entry, a function of J^ij."""
    rows, columns = variable.shape
    return Matrix.hstack(*(vec(derivative(unit(rows, columns, i, j))) for j in range(columns) for i in range(rows)))


def inv(matrix: Any) -> Any:
    """By cofactors, which needs no decision on which symbolic entry is zero."""
    return matrix.adjugate() / matrix.det(method="berkowitz")


def square(column: Any) -> Any:
    return (column.T * column)[0, 0]


def one(product: Any) -> Any:
    """The entry of a 1 x 1 product."""
    return product[0, 0]


def diagonal(matrix: Any) -> Any:
    """X ∘ I."""
    return diag(*(matrix[i, i] for i in range(matrix.rows)))


def structured(gradient: Any) -> Any:
    """(138): the derivative by a symmetric matrix from the one that disregards the symmetry."""
    return gradient + gradient.T - diagonal(gradient)


def symmetric(v: Values) -> Any:
    """A symmetric matrix whose independent entries are those of S: ∂X/∂S_ij = J^ij + J^ji - J^ij J^ij, the structure matrix of (138)."""
    return v.S + v.S.T - diagonal(v.S)


def residual(v: Values) -> Any:
    return v.x - v.A * v.s


X_X = "X: n x n"  # the variable is square
SYMMETRIC = "X = S + S^T - S .* I(n)"

IDENTITIES: tuple[Identity, ...] = (
    # differentials
    Identity("(34)", "t: scalar; X: m x n", "f = t X", "X", lambda v: v.t * v.X, lambda v: v.t * eye(12)),
    Identity("(35)", "X: m x n; Y: m x n", "f = X + Y", "Y", lambda v: v.X + v.Y, lambda _: eye(12)),
    Identity("(36)", X_X, "f = tr(X)", "X", lambda v: tr(v.X), lambda _: eye(3)),
    Identity("(37)", "X: m x n; Y: n x p", "f = X Y", "X", lambda v: v.X * v.Y, lambda v: by_entries(v.X, lambda j: j * v.Y)),
    Identity("(37)", "X: m x n; Y: n x p", "f = X Y", "Y", lambda v: v.X * v.Y, lambda v: by_entries(v.Y, lambda j: v.X * j)),
    Identity(
        "(38)",
        "X: m x n; Y: m x n",
        "f = X .* Y",
        "X",
        lambda v: v.X.multiply_elementwise(v.Y),
        lambda v: by_entries(v.X, lambda j: j.multiply_elementwise(v.Y)),
    ),
    Identity(
        "(39)", "X: n x p; Y: p x n", "f = kron(X, Y)", "X", lambda v: kron(v.X, v.Y), lambda v: by_entries(v.X, lambda j: kron(j, v.Y))
    ),
    Identity(
        "(39)", "X: n x p; Y: p x n", r"f = X \otimes Y", "Y", lambda v: kron(v.X, v.Y), lambda v: by_entries(v.Y, lambda j: kron(v.X, j))
    ),
    Identity("(40)", X_X, "f = X^-1", "X", lambda v: inv(v.X), lambda v: by_entries(v.X, lambda j: -v.X.inv() * j * v.X.inv())),
    Identity("(41)", X_X, "f = det(X)", "X", lambda v: v.X.det(), lambda v: v.X.adjugate().T),
    Identity(
        "(42)",
        X_X,
        r"f = \det(X)",
        "X",
        lambda v: v.X.det(),
        lambda v: Matrix(3, 3, lambda i, j: v.X.det() * tr(v.X.inv() * unit(3, 3, i, j))),
    ),
    Identity(
        "(43)",
        X_X,
        "f = log(det(X))",
        "X",
        lambda v: sympy.log(v.X.det()),
        lambda v: Matrix(3, 3, lambda i, j: tr(v.X.inv() * unit(3, 3, i, j))),
    ),
    Identity("(44)", "X: m x n", "f = X^T", "X", lambda v: v.X.T, lambda v: by_entries(v.X, lambda j: j.T)),
    # 2.1 derivatives of a determinant
    Identity(
        "(46)",
        "A: n x n; B: n x n; t: scalar",
        "Y = A + t B; f = det(Y)",
        "t",
        lambda v: (v.A + v.t * v.B).det(),
        lambda v: (v.A + v.t * v.B).det() * tr((v.A + v.t * v.B).inv() * v.B),
    ),
    Identity(
        "(48)",
        "A: n x n; B: n x n; C: n x n; t: scalar",
        "Y = A + t B + t^2 C; f = det(Y)",
        "t",
        lambda v: (v.A + v.t * v.B + v.t**2 * v.C).det(),
        lambda v: (v.A + v.t * v.B + v.t**2 * v.C).det() * tr((v.A + v.t * v.B + v.t**2 * v.C).inv() * (v.B + 2 * v.t * v.C)),
        hessian=lambda v: second_of_determinant(v.A + v.t * v.B + v.t**2 * v.C, v.B + 2 * v.t * v.C, 2 * v.C),
    ),
    Identity("(49)", X_X, "f = det(X)", "X", lambda v: v.X.det(), lambda v: v.X.det() * v.X.inv().T),
    Identity(
        "(51)",
        "A: n x n; X: n x n; B: n x n",
        "f = det(A X B)",
        "X",
        lambda v: (v.A * v.X * v.B).det(),
        lambda v: (v.A * v.X * v.B).det() * v.X.T.inv(),
    ),
    Identity(
        "(52)",
        "A: n x n; X: n x n",
        "f = det(X^T A X)",
        "X",
        lambda v: (v.X.T * v.A * v.X).det(),
        lambda v: 2 * (v.X.T * v.A * v.X).det() * v.X.inv().T,
    ),
    Identity(
        "(53)",
        "A: m x m symmetric; X: m x n",
        "f = det(X^T A X)",
        "X",
        lambda v: (v.X.T * v.A * v.X).det(),
        lambda v: 2 * (v.X.T * v.A * v.X).det() * v.A * v.X * (v.X.T * v.A * v.X).inv(),
    ),
    Identity(
        "(54)",
        "A: m x m; X: m x n",
        "f = det(X^T A X)",
        "X",
        lambda v: (v.X.T * v.A * v.X).det(),
        lambda v: (v.X.T * v.A * v.X).det() * (v.A * v.X * (v.X.T * v.A * v.X).inv() + v.A.T * v.X * (v.X.T * v.A.T * v.X).inv()),
    ),
    Identity(
        "(55)",
        "X: m x n",
        "f = log(det(X^T X))",
        "X",
        lambda v: sympy.log((v.X.T * v.X).det()),
        lambda v: 2 * ((v.X.T * v.X).inv() * v.X.T).T,
    ),
    Identity("(57)", X_X, "f = log(abs(det(X)))", "X", lambda v: sympy.log(v.X.det()), lambda v: v.X.inv().T),
    Identity("(57)", X_X, r"f = \log\det X", "X", lambda v: sympy.log(v.X.det()), lambda v: v.X.T.inv()),
    Identity("(58)", X_X, "f = det(X^3)", "X", lambda v: (v.X * v.X * v.X).det(), lambda v: 3 * (v.X**3).det() * v.X.inv().T),
    # 2.2 derivatives of an inverse
    Identity(
        "(59)",
        "A: n x n; B: n x n; t: scalar",
        "Y = A + t B; f = Y^-1",
        "t",
        lambda v: inv(v.A + v.t * v.B),
        lambda v: vec(-(v.A + v.t * v.B).inv() * v.B * (v.A + v.t * v.B).inv()),
    ),
    Identity("(60)", X_X, "f = X^{-1}", "X", lambda v: inv(v.X), lambda v: -kron(v.X.inv().T, v.X.inv())),
    Identity(
        "(60)",
        X_X,
        "f = e(2, n)^T X^-1 e(3, n)",
        "X",
        lambda v: inv(v.X)[1, 2],
        lambda v: Matrix(3, 3, lambda i, j: -v.X.inv()[1, i] * v.X.inv()[j, 2]),
    ),
    Identity(
        "(61)",
        "a: n; X: n x n; b: n",
        "f = a^T X^-1 b",
        "X",
        lambda v: one(v.a.T * inv(v.X) * v.b),
        lambda v: -v.X.inv().T * v.a * v.b.T * v.X.inv().T,
    ),
    Identity("(62)", X_X, "f = det(X^-1)", "X", lambda v: inv(v.X).det(), lambda v: -v.X.inv().det() * v.X.inv().T),
    Identity(
        "(63)",
        "A: m x n; X: n x n; B: n x m",
        "f = tr(A X^-1 B)",
        "X",
        lambda v: tr(v.A * inv(v.X) * v.B),
        lambda v: -(v.X.inv() * v.B * v.A * v.X.inv()).T,
    ),
    Identity(
        "(64)",
        "A: n x n; X: n x n",
        "f = tr((X + A)^-1)",
        "X",
        lambda v: tr(inv(v.X + v.A)),
        lambda v: -((v.X + v.A).inv() * (v.X + v.A).inv()).T,
    ),
    # 2.4.1 first order
    Identity("(69)", "a: n; x: n", "f = x^T a", "x", lambda v: one(v.x.T * v.a), lambda v: v.a),
    Identity("(69)", "a: n; x: n", "f = a^T x", "x", lambda v: one(v.a.T * v.x), lambda v: v.a),
    Identity("(70)", "a: m; X: m x n; b: n", "f = a^T X b", "X", lambda v: one(v.a.T * v.X * v.b), lambda v: v.a * v.b.T),
    Identity("(71)", "a: n; X: m x n; b: m", "f = a^T X^T b", "X", lambda v: one(v.a.T * v.X.T * v.b), lambda v: v.b * v.a.T),
    Identity("(72)", "a: n; X: n x n", "f = a^T X a", "X", lambda v: one(v.a.T * v.X * v.a), lambda v: v.a * v.a.T),
    Identity("(72)", "a: n; X: n x n", "f = a^T X^T a", "X", lambda v: one(v.a.T * v.X.T * v.a), lambda v: v.a * v.a.T),
    Identity("(73)", "X: m x n", "f = e(4, m)^T X e(2, n)", "X", lambda v: v.X[3, 1], lambda _: unit(4, 3, 3, 1)),
    Identity("(74)", "X: m x n; A: n x p", "f = X A", "X", lambda v: v.X * v.A, lambda v: by_entries(v.X, lambda j: j * v.A)),
    Identity("(74)", "X: m x n; A: n x p", "f = X A", "X", lambda v: v.X * v.A, lambda v: kron(v.A.T, eye(4))),
    Identity("(75)", "X: m x n; A: m x p", "f = X^T A", "X", lambda v: v.X.T * v.A, lambda v: by_entries(v.X, lambda j: j.T * v.A)),
    # 2.4.2 second order
    Identity("(76)", "X: m x n", "f = sum(X) sum(X)", "X", lambda v: sum(v.X) ** 2, lambda v: 2 * sum(v.X) * ones(4, 3)),
    Identity("(76)", "X: m x n", "f = sum(X)^2", "X", lambda v: sum(v.X) ** 2, lambda v: 2 * sum(v.X) * ones(4, 3)),
    Identity(
        "(77)",
        "b: n; X: m x n; c: n",
        "f = b^T X^T X c",
        "X",
        lambda v: one(v.b.T * v.X.T * v.X * v.c),
        lambda v: v.X * (v.b * v.c.T + v.c * v.b.T),
    ),
    Identity(
        "(78)",
        "B: m x n; b: m; C: m x p; D: p x n; d: p; x: n",
        "f = (B x + b)^T C (D x + d)",
        "x",
        lambda v: one((v.B * v.x + v.b).T * v.C * (v.D * v.x + v.d)),
        lambda v: v.B.T * v.C * (v.D * v.x + v.d) + v.D.T * v.C.T * (v.B * v.x + v.b),
    ),
    Identity(
        "(79)",
        "X: m x n; B: m x m",
        "f = e(3, n)^T X^T B X e(2, n)",
        "X",
        lambda v: (v.X.T * v.B * v.X)[2, 1],
        lambda v: Matrix(4, 3, lambda i, j: int(j == 1) * (v.X.T * v.B)[2, i] + int(j == 2) * (v.B * v.X)[i, 1]),
    ),
    Identity(
        "(80)",
        "X: m x n; B: m x m",
        "f = X^T B X",
        "X",
        lambda v: v.X.T * v.B * v.X,
        lambda v: by_entries(v.X, lambda j: v.X.T * v.B * j + j.T * v.B * v.X),
    ),
    Identity("(81)", "B: n x n; x: n", "f = x^T B x", "x", lambda v: one(v.x.T * v.B * v.x), lambda v: (v.B + v.B.T) * v.x),
    Identity(
        "(82)",
        "b: n; X: m x n; D: m x m; c: n",
        "f = b^T X^T D X c",
        "X",
        lambda v: one(v.b.T * v.X.T * v.D * v.X * v.c),
        lambda v: v.D.T * v.X * v.b * v.c.T + v.D * v.X * v.c * v.b.T,
    ),
    Identity(
        "(83)",
        "X: m x n; b: n; c: m; D: m x m",
        "f = (X b + c)^T D (X b + c)",
        "X",
        lambda v: one((v.X * v.b + v.c).T * v.D * (v.X * v.b + v.c)),
        lambda v: (v.D + v.D.T) * (v.X * v.b + v.c) * v.b.T,
    ),
    Identity(
        "(84)",
        "x: m; A: m x n; s: n; W: m x m symmetric",
        "f = (x - A s)^T W (x - A s)",
        "s",
        lambda v: one(residual(v).T * v.W * residual(v)),
        lambda v: -2 * v.A.T * v.W * residual(v),
    ),
    Identity(
        "(85)",
        "x: m; s: m; W: m x m symmetric",
        "f = (x - s)^T W (x - s)",
        "x",
        lambda v: one((v.x - v.s).T * v.W * (v.x - v.s)),
        lambda v: 2 * v.W * (v.x - v.s),
    ),
    Identity(
        "(86)",
        "x: m; s: m; W: m x m symmetric",
        "f = (x - s)^T W (x - s)",
        "s",
        lambda v: one((v.x - v.s).T * v.W * (v.x - v.s)),
        lambda v: -2 * v.W * (v.x - v.s),
    ),
    Identity(
        "(87)",
        "x: m; A: m x n; s: n; W: m x m symmetric",
        "r = x - A s; f = r^T W r",
        "x",
        lambda v: one(residual(v).T * v.W * residual(v)),
        lambda v: 2 * v.W * residual(v),
    ),
    Identity(
        "(88)",
        "x: m; A: m x n; s: n; W: m x m symmetric",
        "r = x - A s; f = r^T W r",
        "A",
        lambda v: one(residual(v).T * v.W * residual(v)),
        lambda v: -2 * v.W * residual(v) * v.s.T,
    ),
    Identity(  # for real values
        "(89)",
        "a: scalar; x: n; b: n",
        "f = (a - x^T b)^2",
        "x",
        lambda v: (v.a - one(v.x.T * v.b)) ** 2,
        lambda v: -2 * v.b * (v.a - one(v.x.T * v.b)),
    ),
    # 2.4.3 higher order and non-linear
    Identity(
        "(90)",
        X_X,
        "f = X^3",
        "X",
        lambda v: v.X * v.X * v.X,
        lambda v: by_entries(v.X, lambda j: sum((v.X**r * j * v.X ** (2 - r) for r in range(3)), sympy.zeros(3, 3))),
    ),
    Identity(
        "(91)",
        "a: n; X: n x n; b: n",
        "f = a^T X^3 b",
        "X",
        lambda v: one(v.a.T * v.X * v.X * v.X * v.b),
        lambda v: sum(((v.X**r).T * v.a * v.b.T * (v.X ** (2 - r)).T for r in range(3)), sympy.zeros(3, 3)),
    ),
    Identity(  # the book prints the first term transposed
        "(92)",
        "a: n; X: n x n; b: n",
        "f = a^T (X^2)^T X^2 b",
        "X",
        lambda v: one(v.a.T * v.X.T * v.X.T * v.X * v.X * v.b),
        lambda v: sum(
            (
                (v.X ** (1 - r) * v.a * v.b.T * (v.X**2).T * v.X**r).T + (v.X**r).T * v.X**2 * v.a * v.b.T * (v.X ** (1 - r)).T
                for r in range(2)
            ),
            sympy.zeros(3, 3),
        ),
    ),
    Identity(
        "(93)",
        "B: m x n; C: p x n; A: m x p; x: n",
        "s = (B x).^2; r = C x; f = s^T A r",
        "x",
        lambda v: one((v.B * v.x).applyfunc(lambda z: z**2).T * v.A * v.C * v.x),
        lambda v: (2 * diag(*(v.B * v.x)) * v.B).T * v.A * v.C * v.x + v.C.T * v.A.T * (v.B * v.x).applyfunc(lambda z: z**2),
    ),
    Identity(
        "(94)",
        "A: m x n; B: p x n; x: n",
        "f = ((A x)^T (A x)) / ((B x)^T (B x))",
        "x",
        lambda v: square(v.A * v.x) / square(v.B * v.x),
        lambda v: quotient_of_squares(v),
    ),
    Identity(
        "(95)",
        "A: m x n; B: p x n; x: n",
        "f = (x^T A^T A x) / (x^T B^T B x)",
        "x",
        lambda v: square(v.A * v.x) / square(v.B * v.x),
        lambda v: quotient_of_squares(v),
    ),
    # 2.4.4 gradient and Hessian
    Identity(
        "(97)",
        "A: n x n; x: n; b: n",
        "f = x^T A x + b^T x",
        "x",
        lambda v: one(v.x.T * v.A * v.x + v.b.T * v.x),
        lambda v: (v.A + v.A.T) * v.x + v.b,
        hessian=lambda v: v.A + v.A.T,  # (98)
    ),
    # 2.5.1 traces, first order
    Identity("(99)", X_X, "f = tr X", "X", lambda v: tr(v.X), lambda _: eye(3)),
    Identity("(100)", "X: m x n; A: n x m", "f = tr(X A)", "X", lambda v: tr(v.X * v.A), lambda v: v.A.T),
    Identity("(101)", "A: p x m; X: m x n; B: n x p", "f = tr(A X B)", "X", lambda v: tr(v.A * v.X * v.B), lambda v: v.A.T * v.B.T),
    Identity("(102)", "A: p x n; X: m x n; B: m x p", "f = tr(A X^T B)", "X", lambda v: tr(v.A * v.X.T * v.B), lambda v: v.B * v.A),
    Identity("(103)", "X: m x n; A: m x n", "f = tr(X^T A)", "X", lambda v: tr(v.X.T * v.A), lambda v: v.A),
    Identity("(104)", "A: m x n; X: m x n", "f = tr(A X^T)", "X", lambda v: tr(v.A * v.X.T), lambda v: v.A),
    Identity("(105)", "A: p x p; X: n x n", "f = tr(kron(A, X))", "X", lambda v: tr(kron(v.A, v.X)), lambda v: tr(v.A) * eye(3)),
    # 2.5.2 traces, second order
    Identity("(106)", X_X, "f = tr(X^2)", "X", lambda v: tr(v.X * v.X), lambda v: 2 * v.X.T),
    Identity("(107)", "X: n x n; B: n x n", "f = tr(X^2 B)", "X", lambda v: tr(v.X * v.X * v.B), lambda v: (v.X * v.B + v.B * v.X).T),
    Identity("(108)", "X: m x n; B: m x m", "f = tr(X^T B X)", "X", lambda v: tr(v.X.T * v.B * v.X), lambda v: v.B * v.X + v.B.T * v.X),
    Identity("(109)", "B: m x m; X: m x n", "f = tr(B X X^T)", "X", lambda v: tr(v.B * v.X * v.X.T), lambda v: v.B * v.X + v.B.T * v.X),
    Identity("(110)", "X: m x n; B: m x m", "f = tr(X X^T B)", "X", lambda v: tr(v.X * v.X.T * v.B), lambda v: v.B * v.X + v.B.T * v.X),
    Identity("(111)", "X: m x n; B: n x n", "f = tr(X B X^T)", "X", lambda v: tr(v.X * v.B * v.X.T), lambda v: v.X * v.B.T + v.X * v.B),
    Identity("(112)", "B: n x n; X: m x n", "f = tr(B X^T X)", "X", lambda v: tr(v.B * v.X.T * v.X), lambda v: v.X * v.B.T + v.X * v.B),
    Identity("(113)", "X: m x n; B: n x n", "f = tr(X^T X B)", "X", lambda v: tr(v.X.T * v.X * v.B), lambda v: v.X * v.B.T + v.X * v.B),
    Identity(
        "(114)",
        "A: n x m; X: m x n; B: n x m",
        "f = tr(A X B X)",
        "X",
        lambda v: tr(v.A * v.X * v.B * v.X),
        lambda v: v.A.T * v.X.T * v.B.T + v.B.T * v.X.T * v.A.T,
    ),
    Identity("(115)", "X: m x n", "f = tr(X^T X)", "X", lambda v: tr(v.X.T * v.X), lambda v: 2 * v.X),
    Identity("(115)", "X: m x n", "f = tr(X X^T)", "X", lambda v: tr(v.X * v.X.T), lambda v: 2 * v.X),
    Identity(
        "(116)",
        "B: n x p; X: m x n; C: m x m",
        "f = tr(B^T X^T C X B)",
        "X",
        lambda v: tr(v.B.T * v.X.T * v.C * v.X * v.B),
        lambda v: v.C.T * v.X * v.B * v.B.T + v.C * v.X * v.B * v.B.T,
    ),
    Identity(
        "(117)",
        "X: m x n; B: m x m; C: n x n",
        "f = tr(X^T B X C)",
        "X",
        lambda v: tr(v.X.T * v.B * v.X * v.C),
        lambda v: v.B * v.X * v.C + v.B.T * v.X * v.C.T,
    ),
    Identity(
        "(118)",
        "A: p x m; X: m x n; B: n x n; C: m x p",
        "f = tr(A X B X^T C)",
        "X",
        lambda v: tr(v.A * v.X * v.B * v.X.T * v.C),
        lambda v: v.A.T * v.C.T * v.X * v.B.T + v.C * v.A * v.X * v.B,
    ),
    Identity(
        "(119)",
        "A: p x m; X: m x n; B: n x q; C: p x q",
        "f = tr((A X B + C) (A X B + C)^T)",
        "X",
        lambda v: tr((v.A * v.X * v.B + v.C) * (v.A * v.X * v.B + v.C).T),
        lambda v: 2 * v.A.T * (v.A * v.X * v.B + v.C) * v.B.T,
    ),
    Identity("(120)", X_X, r"f = tr(X \otimes X)", "X", lambda v: tr(kron(v.X, v.X)), lambda v: 2 * tr(v.X) * eye(3)),
    Identity("(120)", X_X, "f = tr(X) tr(X)", "X", lambda v: tr(v.X) ** 2, lambda v: 2 * tr(v.X) * eye(3)),
    # 2.5.3 traces, higher order
    Identity("(121)", X_X, "f = tr(X^4)", "X", lambda v: tr(v.X * v.X * v.X * v.X), lambda v: 4 * (v.X**3).T),
    Identity(
        "(122)",
        "A: n x n; X: n x n",
        "f = tr(A X^3)",
        "X",
        lambda v: tr(v.A * v.X * v.X * v.X),
        lambda v: sum(((v.X**r * v.A * v.X ** (2 - r)).T for r in range(3)), sympy.zeros(3, 3)),
    ),
    Identity(
        "(123)",
        "B: n x p; X: m x n; C: m x m",
        "f = tr(B^T X^T C X X^T C X B)",
        "X",
        lambda v: tr(v.B.T * v.X.T * v.C * v.X * v.X.T * v.C * v.X * v.B),
        lambda v: (
            v.C * v.X * v.X.T * v.C * v.X * v.B * v.B.T
            + v.C.T * v.X * v.B * v.B.T * v.X.T * v.C.T * v.X
            + v.C * v.X * v.B * v.B.T * v.X.T * v.C * v.X
            + v.C.T * v.X * v.X.T * v.C.T * v.X * v.B * v.B.T
        ),
    ),
    # 2.5.4 traces, other
    Identity(
        "(124)",
        "A: m x n; X: n x n; B: n x m",
        "Y = X^-1; f = tr(A Y B)",
        "X",
        lambda v: tr(v.A * inv(v.X) * v.B),
        lambda v: -v.X.T.inv() * v.A.T * v.B.T * v.X.T.inv(),
    ),
    Identity(
        "(125)",
        "X: m x n; C: m x m symmetric; A: n x n",
        "f = tr((X^T C X)^-1 A)",
        "X",
        lambda v: tr(inv(v.X.T * v.C * v.X) * v.A),
        lambda v: -(v.C * v.X * (v.X.T * v.C * v.X).inv()) * (v.A + v.A.T) * (v.X.T * v.C * v.X).inv(),
    ),
    Identity(
        "(126)",
        "X: m x n; C: m x m symmetric; B: m x m symmetric",
        "f = tr((X^T C X)^-1 (X^T B X))",
        "X",
        lambda v: tr(inv(v.X.T * v.C * v.X) * (v.X.T * v.B * v.X)),
        lambda v: (
            -2 * v.C * v.X * (v.X.T * v.C * v.X).inv() * v.X.T * v.B * v.X * (v.X.T * v.C * v.X).inv()
            + 2 * v.B * v.X * (v.X.T * v.C * v.X).inv()
        ),
    ),
    Identity(  # the book says only of B and C that they are symmetric, and uses it of A
        "(127)",
        "X: m x n; A: n x n symmetric; C: m x m symmetric; B: m x m symmetric",
        "f = tr((A + X^T C X)^-1 (X^T B X))",
        "X",
        lambda v: tr(inv(v.A + v.X.T * v.C * v.X) * (v.X.T * v.B * v.X)),
        lambda v: (
            -2 * v.C * v.X * (v.A + v.X.T * v.C * v.X).inv() * v.X.T * v.B * v.X * (v.A + v.X.T * v.C * v.X).inv()
            + 2 * v.B * v.X * (v.A + v.X.T * v.C * v.X).inv()
        ),
    ),
    # 2.6 vector norms
    Identity(
        "(129)",
        "x: n; a: n",
        "f = ||x - a||",
        "x",
        lambda v: sympy.sqrt(square(v.x - v.a)),
        lambda v: (v.x - v.a) / sympy.sqrt(square(v.x - v.a)),
    ),
    Identity(
        "(130)",
        "x: n; a: n",
        "f = (x - a) / ||x - a||",
        "x",
        lambda v: (v.x - v.a) / sympy.sqrt(square(v.x - v.a)),
        lambda v: eye(3) / sympy.sqrt(square(v.x - v.a)) - (v.x - v.a) * (v.x - v.a).T / sympy.sqrt(square(v.x - v.a)) ** 3,
    ),
    Identity("(131)", "x: n", "f = ||x||_2^2", "x", lambda v: square(v.x), lambda v: 2 * v.x),
    Identity("(131)", "x: n", "f = x^T x", "x", lambda v: square(v.x), lambda v: 2 * v.x),
    # 2.7 matrix norms
    Identity("(132)", "X: m x n", "f = ||X||_F^2", "X", lambda v: sum(entry**2 for entry in v.X), lambda v: 2 * v.X),
    # 2.8 structured matrices, the structure written out
    Identity(
        "(137)",
        "A: p x m; X: m x n; b: n",
        "U = A X; f = ||U b||^2",
        "X",
        lambda v: square(v.A * v.X * v.b),
        lambda v: Matrix(4, 3, lambda i, j: tr((2 * v.A * v.X * v.b * v.b.T).T * v.A * unit(4, 3, i, j))),
    ),
    Identity(
        "(139)",
        "S: n x n; A: n x n",
        f"{SYMMETRIC}; f = tr(A X)",
        "S",
        lambda v: tr(v.A * symmetric(v)),
        lambda v: v.A + v.A.T - diagonal(v.A),
    ),
    Identity(
        "(140)",
        "S: n x n",
        f"{SYMMETRIC}; f = det(X)",
        "S",
        lambda v: symmetric(v).det(),
        lambda v: symmetric(v).det() * (2 * symmetric(v).inv() - diagonal(symmetric(v).inv())),
    ),
    Identity(
        "(141)",
        "S: n x n",
        f"{SYMMETRIC}; f = log(det(X))",
        "S",
        lambda v: sympy.log(symmetric(v).det()),
        lambda v: 2 * symmetric(v).inv() - diagonal(symmetric(v).inv()),
    ),
    Identity(
        "(138)",
        "S: n x n; a: n; b: n",
        f"{SYMMETRIC}; f = a^T X^-1 b",
        "S",
        lambda v: one(v.a.T * inv(symmetric(v)) * v.b),
        lambda v: structured(-symmetric(v).inv() * v.a * v.b.T * symmetric(v).inv()),
    ),
    Identity("(142)", "D: n x n; A: n x n", "X = D .* I(n); f = tr(A X)", "D", lambda v: tr(v.A * diagonal(v.D)), lambda v: diagonal(v.A)),
)

OUTSIDE = {
    "(33)": "no composition: a constant",
    "(45)": "complex",
    "(47)": "a relation among the entries of (49)",
    "(50)": "a relation among the entries of (49)",
    "(56)": "the derivative by a pseudo-inverse",
    "(65)": "eigenvalues",
    "(66)": "eigenvalues",
    "(67)": "eigenvalues",
    "(68)": "eigenvectors",
    "(96)": "the function of (97)",
    "(98)": "the Hessian beside (97)",
    "(128)": "the sine of a matrix",
    "(133)": "the rule of which (138) is the case",
    "(134)": "a definition",
    "(135)": "a definition",
    "(136)": "(137) in entries",
    "(143)": "Toeplitz",
    "(144)": "Toeplitz",
}
"""Equations of the chapter that are no derivative of a composition of the language, and why."""


def second_of_determinant(y: Any, first: Any, second: Any) -> Any:
    """(48), from Y and its first two derivatives by a scalar."""
    inverse = y.inv()
    return y.det() * (tr(inverse * second) + tr(inverse * first) ** 2 - tr(inverse * first * inverse * first))


def quotient_of_squares(v: Values) -> Any:
    """(95), where the book prints B B for BᵀB in one denominator."""
    a, b = square(v.A * v.x), square(v.B * v.x)
    return 2 * v.A.T * v.A * v.x / b - 2 * a * v.B.T * v.B * v.x / b**2


def sample(identity: Identity, seed: int) -> dict[str, Any]:
    """Random rational matrices for the leaves, as the facts say; square ones have a heavy diagonal, so that inverses exist."""
    rng = random.Random(f"{identity} {seed}")
    matrices = {}
    for name, sides in identity.shapes.items():
        rows, columns = (SIZES.get(side, 1) for side in sides)
        matrix = Matrix(rows, columns, lambda _i, _j: sympy.Rational(rng.choice([k for k in range(-9, 10) if k]), rng.choice((2, 3, 4))))
        if name in identity.symmetric:
            matrix = matrix + matrix.T
        matrices[name] = matrix + 16 * eye(rows) if rows == columns > 1 else matrix
    return matrices


def fractions(matrix: Any) -> list[list[Fraction]]:
    """The rows of a matrix of rational numbers.

    Raises:
        TypeError: if an entry is none.
    """
    return [[Fraction(int(entry.p), int(entry.q)) for entry in map(rational, row)] for row in matrix.tolist()]


def rational(entry: Any) -> sympy.Rational:
    if not isinstance(entry, sympy.Rational):
        raise TypeError(f"{entry} is not rational")
    return entry


def jacobian(identity: Identity, matrices: Mapping[str, Any]) -> Any:
    """The Jacobian on vec by SymPy: each entry of the variable is moved by t, and the value differentiated at t = 0."""
    t = sympy.Symbol("t")
    variable = matrices[identity.wrt]
    columns = []
    for j in range(variable.cols):
        for i in range(variable.rows):
            moved = variable + t * unit(variable.rows, variable.cols, i, j)
            value = vec(as_matrix(identity.value(Values({**matrices, identity.wrt: moved}))))
            columns.append(value.applyfunc(lambda entry: sympy.diff(entry, t).subs(t, 0)))
    return Matrix.hstack(*columns)


def second(identity: Identity, matrices: Mapping[str, Any]) -> Any:
    """The Hessian on vec of a scalar value by SymPy."""
    variable = matrices[identity.wrt]
    symbols = [sympy.Symbol(f"t{k}") for k in range(len(variable))]
    moved = variable + Matrix(variable.cols, variable.rows, symbols).T
    value = as_matrix(identity.value(Values({**matrices, identity.wrt: moved})))[0, 0]
    return sympy.hessian(value, symbols).subs(dict.fromkeys(symbols, 0))


def is_zero(matrix: Any) -> bool:
    return all(sympy.simplify(entry) == 0 for entry in matrix)


def check_oracle(identity: Identity, seed: int) -> bool:
    """Whether the formula of the book is the exact derivative of the value at a random point."""
    matrices = sample(identity, seed)
    expected, found = jacobian(identity, matrices), identity.derivative(matrices)
    if identity.is_scalar:
        if found.shape != matrices[identity.wrt].shape:
            return False
        found = vec(found).T
    if found.shape != expected.shape or not is_zero(expected - found):
        return False
    return identity.hessian is None or is_zero(second(identity, matrices) - as_matrix(identity.hessian(Values(matrices))))


if __name__ == "__main__":
    failures = [str(identity) for identity in IDENTITIES for seed in range(2) if not check_oracle(identity, seed)]
    numbers = {identity.number for identity in IDENTITIES} | set(OUTSIDE)
    missing = [f"({k})" for k in range(33, 145) if f"({k})" not in numbers]
    print(len(IDENTITIES), "identities; wrong:", failures or "none", "; not accounted for:", missing or "none")
    raise SystemExit(bool(failures or missing))
