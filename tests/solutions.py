"""Checked answers through concrete layers: right ones in many forms and spellings, and answers with one mistake each.

The composition is read, and a right answer derived, by the package; whether an answer is right is found here alone: an answer is a
small tree whose values are floats at random points, a dimension is a name (so that an ill-shaped product is seen whatever the sizes
are), and the truth, like every derivative that stands in an answer, is the Jacobian of the composition by numerical differentiation.
What design 8.5 and 8.6 say of layouts, of ∂ and d, and of signs that stand for several products is all that this oracle knows of
notation; where they leave a choice, there is doubt, and nothing is asked.

Run ``python -m tests.solutions --count 100 --seed 0 [-v] [--samples] [--only K]``. Every run tests the oracle too.
"""

from __future__ import annotations

import argparse
import cmath
import importlib
import itertools
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import derive_concrete
from jacobian_chain.dense import ELEMENTWISE, FLOATS, Numbers
from jacobian_chain.errors import ChainError, Source
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape, program, size_of
from jacobian_chain.reading import read_composition
from jacobian_chain.tape import SCALAR, Tape
from jacobian_chain.verification import sample
from tests.concrete import make
from tests.mutants import Question, Truth, score

LARGEST = 60  # parts of an answer
EQUAL, DIFFERENT = 1e-7, 1e-4  # relative errors below and above which there is no doubt
LARGE = 30  # values above this leave floats no digits
HALF = Fraction(1, 2)

FAMILIES = """
W1: m x n; W2: k x m; b1: m; b2: k; x: n; y: k; z1 = W1 x + b1; h = tanh(z1); yhat = W2 h + b2; L = 1/2 ||yhat - y||^2
W1: m x n; W2: k x m; b1: m; b2: k; x: n; y: k; z1 = W1 x + b1; a1 = sigmoid(z1); z2 = W2 a1 + b2; p = softmax(z2); L = CE(p, y)
W1: m x n; W2: k x m; b1: m; b2: k; x: n; L: scalar; z1 = W1 x + b1; a1 = σ(z1); z2 = W2 a1 + b2; a2 = σ(z2); L = ℓ(a2)
W1: n x n; W2: n x n; W3: n x n; x: n; y: n; z1 = W1 x; h1 = relu(z1); z2 = W2 h1; h2 = relu(z2); z3 = W3 h2; L = ||z3 - y||^2
X: m x n; W1: n x k; W2: k x q; b: k; Y: m x q; Z1 = X W1 + ones(m) b^T; A1 = relu(Z1); Z2 = A1 W2; P = softmax_rows(Z2); L = 1/m CE(P, Y)
W: k x n; X: n x m; b: k; Y: k x m; Z = W X + b ones(1,m); A = sigmoid(Z); L = 1/(2*m) ||A - Y||_F^2
W1: k x n; W2: q x k; X: n x m; b1: k; L: scalar; Z1 = W1 X + b1 ones(1,m); A1 = tanh(Z1); Z2 = W2 A1; L = ℓ(Z2)
X: n x d; w: d; y: n; λ: scalar; r = X w - y; L = 1/n ||r||^2 + λ ||w||^2
X: n x d; w: d; y: n free; z = X w; p = sigmoid(z); L = -1/n (y^T log(p) + (ones(n) - y)^T log(ones(n) - p))
Q: n x d; K: m x d; V: m x p; L: scalar; S = Q K^T / sqrt(d); A = softmax_rows(S); O = A V; L = ℓ(O)
K: m x d; V: m x p; q: d; t: p; s = K q / sqrt(d); a = softmax(s); o = V^T a; L = 1/2 ||o - t||^2
f = sigmoid(W1 h0 + b1); i = sigmoid(W2 h0 + b2); g = tanh(W3 h0 + b3); c = f .* c0 + i .* g; o = sigmoid(W4 h0 + b4); \
h = o .* tanh(c); L = ℓ(h); \
W1: n x d; W2: n x d; W3: n x d; W4: n x d; b1: n; b2: n; b3: n; b4: n; h0: d; c0: n; L: scalar
z = sigmoid(Wz x + Uz h0); r = sigmoid(Wr x + Ur h0); g = tanh(Wg x + Ug (r .* h0)); h = (1 - z) .* h0 + z .* g; L = ℓ(h); \
Wz: n x d; Wr: n x d; Wg: n x d; Uz: n x n; Ur: n x n; Ug: n x n; x: d; h0: n; L: scalar
W: n x n; U: n x d; h0: n; x1: d; x2: d; y: n; z1 = W h0 + U x1; h1 = tanh(z1); z2 = W h1 + U x2; h2 = tanh(z2); L = 1/2 ||h2 - y||^2
W1: n x n; W2: n x n; x: n; y: n; u1 = tanh(W1 x); h1 = x + u1; u2 = tanh(W2 h1); h2 = h1 + u2; L = 1/2 ||h2 - y||^2
W: m x n; x: n; b: m; c: n; a = W x + b; h = sigmoid(a); xhat = W^T h + c; L = 1/2 ||xhat - x||^2
x: n; γ: n; β: n; L: scalar; u = layernorm(x); y = γ .* u + β; L = ℓ(y)
A: m x n; x: n; u = A x; s = ||u||; f = log(s)
x: n; y: n; s = (x^T y)/(||x|| ||y||)
X: n x n; a: n; b: n; f = a^T X^-1 b
X: n x n; A: n x n; f = logdet(X) + tr(A X)
Σ: n x n symmetric; x: n; μ: n; r = x - μ; L = 1/2 r^T Σ^-1 r + 1/2 logdet(Σ)
A: n x n; x: n; b: n; f = x^T A x + b^T x
A: n x m; X: m x k; B: k x k; f = tr(A X B X^T A^T)
A: p x m; X: m x n; B: n x q; C: p x q; E = A X B - C; f = ||E||_F^2
R: m x n; U: m x k; V: n x k; λ: scalar; E = R - U V^T; L = 1/2 ||E||_F^2 + λ/2 (||U||_F^2 + ||V||_F^2)
W: m x n; V: k x m; x: n; b: m; z = W x + b; h = tanh(z); y = V h
W: m x n; x: n; z = W x; p = softmax(z)
W: m x n; V: k x m; x: n; z = W x; h = σ(z); s = V h; p = softmax(s)
x: n; w: n; u = x .* w; v = exp(u); y = v ./ (1 + x .* x)
A: n x n; X: n x d; W1: d x k; W2: k x q; Y: n x q; H0 = A X W1; H = relu(H0); O = A H W2; P = softmax_rows(O); L = CE(P, Y)
w: scalar; b: scalar; a0: scalar; y: scalar; z = w a0 + b; a = sigmoid(z); C = (a - y)^2
w1: scalar; w2: scalar; a0: scalar; y: scalar; z1 = w1 a0; a1 = σ(z1); z2 = w2 a1; a2 = σ(z2); C = 1/2 (a2 - y)^2
x: n; s = sum(exp(x)); y = exp(x) / s
W: m x n; x: n; b: m; z = W x + b; a = softplus(z); t = sin(a); L = sum(t)
x: n; A: n x n; s = x^T A x; L = exp(-s/2)
W1: k x n; W2: p x k; x: n; h = W1 x; g = W2 h; c = ||h||^2; L = ℓ(g, c); L: scalar
"""

CASES = Path(__file__).parent / "cases" / "compositions.jsonl"
COLLECTED = tuple(dict.fromkeys(json.loads(line)["composition"] for line in CASES.read_text(encoding="utf-8").splitlines()))
TYPED = tuple(line for line in FAMILIES.replace("\\\n", "").splitlines() if line)


# --- answers as trees ---


class Node(NamedTuple):
    """A part of an answer.

    ``value`` (of the tape), ``number``, ``size``, ``constant``, ``eye`` and ``ones`` (with their sizes), ``atom`` (sign, of, by);
    ``sum`` (with signs), ``prod``, ``had``, ``over`` (entrywise), ``frac`` (over a scalar), ``kron``; ``T``, ``inv``, ``pow`` (entrywise),
    ``apply`` (name, order), ``call`` (name), ``indicator``; ``def`` (a part that is named before).
    """

    kind: str
    args: tuple[Node, ...] = ()
    value: Any = None

    def walk(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
        yield path, self
        for k, arg in enumerate(self.args):
            yield from arg.walk((*path, k))

    def put(self, path: tuple[int, ...], new: Node) -> Node:
        if not path:
            return new
        return self._replace(args=tuple(arg.put(path[1:], new) if k == path[0] else arg for k, arg in enumerate(self.args)))

    def swapped(self, old: Node, new: Node) -> Node:
        return new if self == old else self._replace(args=tuple(arg.swapped(old, new) for arg in self.args))

    @property
    def parts(self) -> int:
        return sum(1 for _ in self.walk())


def number(value: Fraction | int) -> Node:
    node = Node("number", value=abs(Fraction(value)))
    return node if value >= 0 else negative(node)


ONE = number(1)


def joined(kind: str, parts: Iterable[Node]) -> Node:
    """Of one part, that part; of none, 1."""
    parts = tuple(parts) or (ONE,)
    return parts[0] if len(parts) == 1 else Node(kind, parts)


def times(*parts: Node) -> Node:
    """A product without inner products and ones; the number first."""
    flat = [part for node in parts for part in (node.args if node.kind == "prod" else (node,))]
    top = Fraction(1)
    for part in flat:
        top *= part.value if part.kind == "number" else 1
    rest = [part for part in flat if part.kind != "number"]
    return joined("prod", ([number(top)] if top != 1 or not rest else []) + rest)


def plus(terms: Iterable[tuple[int, Node]]) -> Node:
    """A sum without inner sums."""
    flat: list[tuple[int, Node]] = []
    for sign, node in terms:
        inner = zip(node.value, node.args, strict=True) if node.kind == "sum" else [(1, node)]
        flat += [(sign * own, part) for own, part in inner]
    if len(flat) == 1 and flat[0][0] == 1:
        return flat[0][1]
    return Node("sum", tuple(part for _, part in flat), tuple(sign for sign, _ in flat))


def negative(node: Node) -> Node:
    return plus([(-1, node)])


def transposed(node: Node) -> Node:
    if node.kind in ("number", "size", "constant"):
        return node
    return node.args[0] if node.kind == "T" else Node("T", (node,))


# --- values ---


class Matrix(NamedTuple):
    """An array between named sizes; a multiple of I without a size has the sizes I."""

    rows: str
    columns: str
    entries: list[list[float]]

    @property
    def shape(self) -> tuple[str, str]:
        return self[:2]

    @property
    def is_scalar(self) -> bool:
        return self.shape == ("1", "1")

    def each(self, function: Callable[[float], float]) -> Matrix:
        return self._replace(entries=[[function(entry) for entry in row] for row in self.entries])

    def flipped(self) -> Matrix:
        return Matrix(self.columns, self.rows, [list(row) for row in zip(*self.entries, strict=True)])

    def with_entries(self, other: Matrix, function: Callable[[float, float], float]) -> Matrix:
        pairs = zip(self.entries, other.entries, strict=True)
        return self._replace(entries=[[function(a, b) for a, b in zip(one, two, strict=True)] for one, two in pairs])

    def flat(self) -> list[float]:
        return [entry for column in zip(*self.entries, strict=True) for entry in column]


class MisfitError(ValueError):
    """Shapes that do not fit."""


def size(*texts: str) -> str:
    """The product of sizes, one text for equal ones: ``n*m`` is ``m*n``."""
    if any("+" in text for text in texts):
        return "*".join(text for text in texts if text != "1") or "1"
    factors = [factor for text in texts for factor in text.split("*")]
    top = math.prod(int(factor) for factor in factors if factor.isdecimal())
    return "*".join([str(top)] * (top != 1) + sorted(factor for factor in factors if not factor.isdecimal())) or "1"


def multiplied(one: Matrix, other: Matrix) -> Matrix:
    pairs = ((one, other), (other, one))
    scalars = [pair for pair in pairs if pair[0].is_scalar] or [pair for pair in pairs if pair[0].rows == "I"]
    if scalars:
        factor, array = scalars[0]
        return array.each(lambda entry, s=factor.entries[0][0]: s * entry)  # type: ignore[misc]
    if one.columns != other.rows:
        raise MisfitError("product")
    columns = list(zip(*other.entries, strict=True))
    entries = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in one.entries]
    return Matrix(one.rows, other.columns, entries)


def entrywise(one: Matrix, other: Matrix) -> Matrix:
    if one.is_scalar or other.is_scalar:
        return multiplied(one, other)
    if one.shape != other.shape or one.rows == "I":
        raise MisfitError("entrywise product")
    return one.with_entries(other, lambda a, b: a * b)


def sloped(one: Matrix, other: Matrix, nodes: tuple[Node, Node]) -> Matrix:
    """∂a/∂z of an elementwise a beside an array that does not fit it stands for the slopes."""
    for (atom, there), node in zip(((one, other), (other, one)), nodes, strict=True):
        while node.kind in ("T", "def"):
            node = node.args[0]
        if node.kind != "atom" or atom.rows != atom.columns or there.shape not in ((atom.rows, "1"), ("1", atom.rows)):
            continue
        if not any(e for i, row in enumerate(atom.entries) for j, e in enumerate(row) if i != j):
            column = Matrix(atom.rows, "1", [[row[i]] for i, row in enumerate(atom.entries)])
            return entrywise(column if there.columns == "1" else column.flipped(), there)
    raise MisfitError("slopes")


def added(one: Matrix, other: Matrix) -> Matrix:
    for a, b in ((one, other), (other, one)):
        if a.rows == "I" and b.rows == b.columns and not b.is_scalar:
            c = a.entries[0][0]
            return b._replace(entries=[[e + c * (i == j or b.rows == "I") for j, e in enumerate(row)] for i, row in enumerate(b.entries)])
        if a.is_scalar and b.rows != "I":
            return b.each(lambda entry, s=a.entries[0][0]: s + entry)  # type: ignore[misc]
        if a.columns == "1" and a.rows == b.rows != "I":
            return b._replace(entries=[[e + start[0] for e in row] for row, start in zip(b.entries, a.entries, strict=True)])
    if one.shape != other.shape or one.rows == "I":
        raise MisfitError("sum")
    return one.with_entries(other, lambda a, b: a + b)


STEP = 1e-40


class _Complex(Numbers):
    """Floats with the derivative in a tiny imaginary part, which no difference cancels: as exact as floats are."""

    name = "complex"

    def from_fraction(self, value: Fraction) -> complex:
        return complex(FLOATS.from_fraction(value))

    def convert(self, value: Any) -> complex:
        return complex(value)

    def elementary(self, name: str, value: complex) -> complex:
        x, slope = value.real, value.imag
        if name.startswith("erf"):
            slope *= (-2 if name == "erfc" else 2) / math.sqrt(math.pi) * math.exp(-x * x)
        elif name == "expm1":
            slope *= math.exp(x)
        elif name == "log1p":
            slope /= 1 + x
        else:
            slope = getattr(cmath, name)(value).imag
        return complex(FLOATS.elementary(name, x), slope)

    def constant(self, name: str) -> complex:
        return complex(FLOATS.constant(name))

    def root_power(self, value: complex, exponent: Fraction) -> complex:
        power = FLOATS.root_power(value.real, exponent)
        return complex(power, float(exponent) * power / value.real * value.imag)

    def is_positive(self, value: complex) -> bool:
        return value.real > 0

    def is_finite(self, value: complex) -> bool:
        return cmath.isfinite(value)


COMPLEX = _Complex()


class Reading(NamedTuple):
    """How an answer is read: the layout, the ∂ that are total, and what the signs of products mean where both meanings fit.

    ``prod`` is ``strict`` (a matrix product), or for a sign of several meanings that which comes first: ``matrix``, ``entrywise``,
    ``dot``; ``had`` the same: ``strict`` (entrywise), ``entrywise``, ``matrix``. With ``slopes`` a ∂a/∂z that does not fit where it
    stands is the array of slopes.
    """

    layout: str
    totals: frozenset[Node] = frozenset()
    prod: str = "strict"
    had: str = "strict"
    slopes: bool = False


Way = tuple[str, str, bool]
STRICT: tuple[Way, ...] = (("strict", "strict", False), ("strict", "strict", True))


class Draw:
    """A point of a composition."""

    def __init__(self, tape: Tape, seed: int) -> None:
        self.tape, self.opaque = tape, Opaque(seed)
        self.point = sample(tape, seed, self.opaque)
        self.values = evaluate_tape(tape, self.point.leaves, self.point.sizes, FLOATS, self.opaque)
        self.shapes = [(size(shape.rows), size(shape.columns)) for shape in tape.shapes]
        self.greatest = max(abs(entry) for value in self.values for entry in dense.entries(value))
        self._jacobians: dict[tuple[int, int, bool], dense.Dense] = {}
        self._known: dict[tuple[Node, Reading], Matrix | Exception] = {}

    def extent(self, text: str) -> int:
        return size_of(text, self.point.sizes)

    def jacobian(self, of: int, by: int, total: bool) -> dense.Dense:
        key = of, by, total
        if key not in self._jacobians:
            self._jacobians[key] = self._differentiated(of, by, total)
        return self._jacobians[key]

    def _differentiated(self, of: int, by: int, total: bool) -> dense.Dense:
        tape, moved = self.tape, {by}
        for v, step in enumerate(tape.steps, tape.leaves):
            if v > by and moved.intersection(step.inputs) and (total or v == of or not tape.names[v]):
                moved.add(v)
        given = {v: self.values[v] for v in range(len(tape.names)) if v not in moved}
        start, columns = self.values[by], []
        for j, i in itertools.product(range(len(start[0])), range(len(start))):
            given[by] = [[entry + STEP * 1j if (k, m) == (i, j) else entry for m, entry in enumerate(row)] for k, row in enumerate(start)]
            values = evaluate(program(tape), tape.shapes, given, self.point.sizes, COMPLEX, self.opaque, [of], tape.functions)
            columns.append([entry.imag / STEP for entry in dense.entries(values[of])])
        return dense.transpose(columns)

    def derivative(self, of: int, by: int, total: bool, layout: str, gradient: bool = False) -> Matrix:
        """Design 8.5."""
        entries, (p, q), (m, n) = self.jacobian(of, by, total), self.shapes[of], self.shapes[by]
        if (p, q) == ("1", "1") != (m, n):
            rows = len(self.values[by])
            found = Matrix(m, n, [list(entries[0][i::rows]) for i in range(rows)])
            return found.flipped() if layout == "numerator" and not gradient else found
        if (m, n) == ("1", "1"):
            rows = len(self.values[of])
            found = Matrix(p, q, [[row[0] for row in entries[i::rows]] for i in range(rows)])
        else:
            found = Matrix(size(p, q), size(m, n), entries)
        return found.flipped() if layout == "denominator" or gradient else found

    def is_open(self, atom: Node) -> bool:
        """Whether ∂ and d of it differ."""
        _, of, by = atom.value
        if by not in equation(self.tape, of)[1]:
            return False
        pair = [Matrix("", "", self.jacobian(of, by, total)) for total in (False, True)]
        return distance(*pair) > EQUAL

    def value(self, node: Node, reading: Reading) -> Matrix:
        """What a part is.

        Raises:
            MisfitError: shapes do not fit.
            ArithmeticError: it is not defined here.
        """
        key = node, reading
        if key not in self._known:
            try:
                self._known[key] = self._value(node, reading)
            except (MisfitError, ArithmeticError) as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _value(self, node: Node, reading: Reading) -> Matrix:
        kind, what = node.kind, node.value
        if kind == "value":
            rows, columns = self.shapes[what]
            return Matrix(rows, columns, self.values[what])
        if kind in ("number", "constant", "size"):
            entry = self.extent(what) if kind == "size" else FLOATS.constant(what) if kind == "constant" else what
            return Matrix("1", "1", [[float(entry)]])
        if kind == "eye":
            if not what:
                return Matrix("I", "I", [[1.0]])
            return Matrix(size(what), size(what), dense.identity(self.extent(what), FLOATS))
        if kind == "ones":
            return Matrix(size(what[0]), size(what[1]), [[1.0] * self.extent(what[1]) for _ in range(self.extent(what[0]))])
        if kind == "atom":
            sign, of, by = what
            total = sign != "∂" or node in reading.totals or by not in equation(self.tape, of)[1]
            return self.derivative(of, by, total, reading.layout, sign == "∇")
        args = [self.value(arg, reading) for arg in node.args]
        if kind == "sum":
            result, *rest = [arg.each(lambda e, s=sign: s * e) for sign, arg in zip(what, args, strict=True)]  # type: ignore[misc]
            for arg in rest:
                result = added(result, arg)
            return result
        if kind in ("prod", "had"):
            result = args[0]
            for k, arg in enumerate(args[1:], 1):
                result = self._joined(
                    getattr(reading, kind), reading.slopes, kind, result, arg, (node.args[0] if k == 1 else ONE, node.args[k])
                )
            return result
        return self._called(node, args)

    def _joined(self, way: str, slopes: bool, kind: str, one: Matrix, other: Matrix, nodes: tuple[Node, Node]) -> Matrix:
        if way == "dot" and one.shape == other.shape and "1" in one.shape:
            return multiplied(one.flipped(), other) if one.columns == "1" else multiplied(one, other.flipped())
        tries: list[Callable[[Matrix, Matrix], Matrix]] = [multiplied, entrywise] if way in ("matrix", "dot") else [entrywise, multiplied]
        if way == "strict":
            tries = [multiplied if kind == "prod" else entrywise]
        if slopes and (kind, way) != ("prod", "strict"):
            tries.insert(1, partial(sloped, nodes=nodes))
        for k, join in enumerate(tries):
            try:
                return join(one, other)
            except MisfitError:
                if k == len(tries) - 1:
                    raise
        raise ValueError(way)

    def _called(self, node: Node, args: list[Matrix]) -> Matrix:
        kind, what, x = node.kind, node.value, args[0]
        if x.rows == "I" and kind not in ("T", "inv", "def"):
            raise MisfitError("I without a size")
        if kind == "def":
            return x
        if kind == "T":
            return x.flipped()
        if kind == "pow":
            return x.each(lambda entry: FLOATS.power(entry, what))
        if kind == "inv":
            if x.rows != x.columns:
                raise MisfitError("inverse")
            inverse = dense.inverse(x.entries, FLOATS)
            if max(map(abs, dense.entries(inverse))) * max(map(abs, dense.entries(x.entries))) > 1e9:
                raise ArithmeticError("singular")
            return x._replace(entries=inverse)
        if kind in ("over", "frac"):
            if kind == "frac" and not args[1].is_scalar:
                raise MisfitError("fraction")
            return entrywise(x, args[1].each(lambda entry: 1 / entry))
        if kind == "kron":
            one, other = args
            return Matrix(size(one.rows, other.rows), size(one.columns, other.columns), dense.kron(one.entries, other.entries))
        if kind == "indicator":
            return x.each(lambda entry: float(entry > 0))
        if kind == "apply":
            name, order = what
            if name in ELEMENTWISE:
                return x.each(lambda entry: FLOATS.apply(name, entry, order))
            return x.each(lambda entry: self.opaque.elementwise(name, entry, order, FLOATS))
        if kind != "call":
            raise ValueError(kind)
        return self._function(what, x)

    def _function(self, name: str, x: Matrix) -> Matrix:
        flat = x.flat()
        if name == "diag" and "1" in x.shape:
            column = x if x.columns == "1" else x.flipped()
            return Matrix(column.rows, column.rows, dense.diag(column.entries))
        if name == "diagonal" and x.rows == x.columns:
            return Matrix(x.rows, "1", [[row[i]] for i, row in enumerate(x.entries)])
        if name == "vec":
            return Matrix(size(x.rows, x.columns), "1", [[e] for e in flat])
        if name.startswith("softmax") and (name != "softmax" or x.columns == "1"):
            return x._replace(entries=dense.softmax(x.entries, FLOATS, "rows" if name == "softmax_rows" else "columns"))
        scalars: dict[str, Callable[[], float]] = {
            "norm": lambda: sum(e * e for e in flat) ** 0.5,
            "norm1": lambda: sum(abs(e) for e in flat),
            "sum": lambda: sum(flat),
            "logsumexp": lambda: dense.logsumexp(x.entries, FLOATS),
        }
        square: dict[str, Callable[[], float]] = {
            "tr": lambda: sum(row[i] for i, row in enumerate(x.entries)),
            "det": lambda: dense.det(x.entries, FLOATS),
            "logdet": lambda: dense.logdet(x.entries, FLOATS),
        }
        if x.rows == x.columns:
            scalars |= square
        if name not in scalars:
            raise MisfitError(name)
        return Matrix("1", "1", [[scalars[name]()]])


def distance(one: Matrix, other: Matrix) -> float:
    """The greatest difference, relative to the greatest entry."""
    a, b = one.flat(), other.flat()
    top = max(0.01, *(abs(entry) for entry in (*a, *b)))
    errors = [abs(x - y) / top for x, y in zip(a, b, strict=True)]
    return max(error if error == error else float("inf") for error in errors)


def equation(tape: Tape, value: int) -> tuple[frozenset[int], frozenset[int]]:
    """The nodes of a value's equation, and the named values in it."""
    inner, direct, stack = set[int](), set[int](), [value]
    while stack:
        step = tape.step(stack.pop())
        for source in step.inputs if step else ():
            if tape.names[source]:
                direct.add(source)
            elif source not in inner:
                inner.add(source)
                stack.append(source)
    return frozenset(inner), frozenset(direct)


# --- problems and right answers ---


class UnwrittenError(Exception):
    """Something that no answer is written with here."""


class Problem:
    """A composition, a derivative asked for, and points."""

    def __init__(self, rng: random.Random) -> None:
        source = rng.random()
        text = rng.choice(TYPED) if source < 0.5 else rng.choice(COLLECTED) if source < 0.85 else make(rng.randrange(3000)).text
        self.text, self.tape = text, read_composition(Source(text)).tape
        tape, self.layout = self.tape, rng.choice(["mixed", "mixed", "numerator", "denominator"])
        self.named = [value for value, name in enumerate(tape.names) if name]
        self.direct = {value: equation(tape, value)[1] for value in self.named}
        known = {value for value, _ in tape.facts}
        outputs = [v for v in self.named if self.direct[v]]
        scalars = [v for v in outputs if tape.shapes[v] == SCALAR]
        if not outputs or tape.is_of_layers or tape.functions or tape.calls or len(self.named) > 30:
            raise UnwrittenError
        self.of = rng.choice(scalars if scalars and rng.random() < 0.75 else outputs)
        below = [v for v in self.named if v != self.of and v not in known and self.depends(self.of, v)]
        if not below:
            raise UnwrittenError
        self.by = rng.choice(below)
        kinks = any(s.operation in ("norm1", "indicator") or (s.name in ELEMENTWISE and ELEMENTWISE[s.name].kink) for s in tape.steps)
        draws = (draw for draw in (Draw(tape, seed) for seed in range(40)) if draw.greatest < LARGE)
        self.draws = [*itertools.islice(draws, 8 if kinks else 2)]  # both sides of kinks
        if len(self.draws) < 2:
            raise UnwrittenError
        entries = [len(self.draws[0].values[v]) * len(self.draws[0].values[v][0]) for v in (self.of, self.by)]
        if entries[0] * entries[1] > 150:
            raise UnwrittenError
        self.arrays = Arrays(tape)
        self.expected = {layout: [draw.derivative(self.of, self.by, True, layout) for draw in self.draws] for layout in LAYOUTS}
        if all(abs(entry) < 1e-6 for found in self.expected["mixed"] for entry in found.flat()):
            raise UnwrittenError  # an answer 0 says nothing
        self.sigmoid = any(s.operation == "apply" and s.name == "sigmoid" for s in tape.steps)
        self.sigmoid = self.sigmoid and "σ" not in tape.names and not any(s.name == "σ" for s in tape.steps)

    def depends(self, of: int, by: int) -> bool:
        stack, seen = [of], set[int]()
        while stack:
            for value in self.direct[stack.pop()] - seen:
                seen.add(value)
                stack.append(value)
        return by in seen

    def is_open(self, atom: Node) -> bool:
        """Whether ∂ and d of it differ anywhere."""
        return any(draw.is_open(atom) for draw in self.draws)

    def shape(self, node: Node) -> tuple[str, str]:
        """Of a part, as read in the layout asked for; nothing fits the shape of what is ill-shaped."""
        try:
            return self.draws[0].value(node, Reading(self.layout)).shape
        except (MisfitError, ArithmeticError):
            return ("?", "?")

    def transposes(self, of: int) -> bool:
        return LAYOUTS[self.layout].transposes(self.tape.shapes[of])

    def atom(self, rng: random.Random, of: int, by: int, total: bool, gradient: bool) -> Node:
        """The derivative of a scalar in the shape of its variable, or a Jacobian, whatever the layout."""
        plain = Node("atom", (), ("d" if total else "∂", of, by))
        is_open = self.is_open(plain)
        signs = (["d"] if total else ["∂"]) if is_open else ["∂", "∂", "∂", "d"]
        if gradient and not is_open and rng.random() < 0.25:
            return Node("atom", (), ("∇", of, by))
        found = Node("atom", (), (rng.choice(signs), of, by))
        return found if gradient == self.transposes(of) else transposed(found)

    def tree(self, rng: random.Random, arrays: Arrays, root: int, inside: bool = False) -> Node:
        """An expression of the package as a tree; of a value, its name or what is inside."""
        if root < len(self.tape.names) and self.tape.names[root] and not inside:
            return Node("value", value=root)
        step, shape = arrays.steps[root] if inside else arrays.view(root), arrays.shapes[root]
        name, operation = step.name, step.operation
        if operation == "adjoint":
            return self.atom(rng, int(step.coefficients[0]), int(step.coefficients[1]), True, True)
        if operation in ("gradient", "partial"):
            slot = step.inputs[int(step.coefficients[0])]
            users = [v for v in self.named if (s := self.tape.step(v)) and s[:3] == ("layer", name, step.inputs)]
            if not users or not self.tape.names[slot] or step.inputs.count(slot) > 1:
                raise UnwrittenError
            return self.atom(rng, users[0], slot, False, operation == "gradient")
        args = [self.tree(rng, arrays, source) for source in step.inputs]
        if operation not in ("sum", "scale", "product", "transpose", "inverse"):  # nothing else gives an I its size
            sizes = [arrays.shapes[source].rows for source in step.inputs]
            args = [Node("eye", value=rows) if arg.kind == "eye" else arg for rows, arg in zip(sizes, args, strict=True)]
        match operation:
            case "number":
                return number(step.coefficients[0])
            case "constant":
                return Node("constant", value=name)
            case "dimension":
                return Node("size", value=name)
            case "identity":
                return Node("eye", value=shape.rows if rng.random() < 0.5 else "")
            case "ones":
                ones = [Node("ones", (), (rows, "1")) for rows in shape]
                if "1" in shape:
                    return ones[0] if shape.columns == "1" else Node("T", (ones[1],))
                return Node("prod", (ones[0], Node("T", (ones[1],))))
            case "sum":
                terms = zip(step.coefficients, args, strict=True)
                return plus((1 if c > 0 else -1, times(number(abs(c)), arg) if abs(c) != 1 else arg) for c, arg in terms)
            case "scale" | "product":
                return times(*args)
            case "hadamard":
                if shape == SCALAR:
                    return times(*args)
                below = [arg for arg in args if arg.kind == "over" and arg.args[0] == ONE]
                above = joined("had", [arg for arg in args if arg not in below] or [ONE])
                return Node("over", (above, joined("had", [arg.args[1] for arg in below]))) if below else above
            case "power":
                exponent, base = step.coefficients[0], args[0]
                if exponent == HALF and base.kind == "pow" and base.value == 2 and base.args[0].kind == "call":
                    return base.args[0]  # the root of a squared norm
                if exponent < 0:
                    below_one = base if exponent == -1 else self._power(base, -exponent)
                    return Node("frac" if shape == SCALAR else "over", (ONE, below_one))
                return self._power(base, exponent)
            case "apply":
                return Node("apply", tuple(args), (name, int(step.coefficients[0]) if step.coefficients else 0))
            case "transpose":
                return transposed(args[0])
            case "inverse":
                return Node("inv", tuple(args))
            case "indicator" | "kron":
                return Node(operation, tuple(args))
            case "sqnorm":
                return Node("pow", (Node("call", tuple(args), "norm"),), Fraction(2))
            case "softmax":
                return Node("call", tuple(args), "softmax" if shape.columns == "1" else f"softmax_{name}")
            case "trace" | "diag" | "diagonal" | "vec" | "norm1" | "det" | "logdet" | "logsumexp":
                return Node("call", tuple(args), {"trace": "tr"}.get(operation, operation))
        raise UnwrittenError

    def _power(self, base: Node, exponent: Fraction) -> Node:
        if base.kind == "call" and base.value == "norm" and exponent == 1:
            return base
        if base.kind == "pow":
            return self._power(base.args[0], base.value * exponent) if base.value * exponent != 1 else base.args[0]
        return Node("pow", (base,), exponent) if exponent != 1 else base

    def derived(self, rng: random.Random) -> Node:
        """A right answer as the package derives it, of values alone or with derivatives by what comes before."""
        if rng.random() < 0.25 and (chain := self.chain(rng)):
            return chain
        shared = rng.random() < 0.6
        derivation = derive_concrete(self.tape, self.of, (self.by,), LAYOUTS[self.layout], shared=shared)
        return self.tree(rng, derivation.arrays, derivation.blocks[0].node)

    def inner(self, rng: random.Random, of: int, by: int) -> Node:
        """d of / d by as it stands in this layout."""
        derivation = derive_concrete(self.tape, of, (by,), LAYOUTS[self.layout], shared=rng.random() < 0.5)
        return self.tree(rng, derivation.arrays, derivation.blocks[0].node)

    def chain(self, rng: random.Random) -> Node | None:
        """The chain rule from one named column to the next."""
        between = [v for v in self.named if v in (self.of, self.by) or (self.depends(self.of, v) and self.depends(v, self.by))]
        if len(between) < 3 or any(self.tape.shapes[v].is_matrix for v in between):
            return None

        def down(of: int) -> list[list[Node]]:
            paths: list[list[Node]] = []
            for u in sorted(self.direct[of].intersection(between)):
                head = self.atom(rng, of, u, False, False)
                if u != self.by and rng.random() < 0.3:
                    paths.append([head, self.atom(rng, u, self.by, True, False)])
                    continue
                paths += [[head, *rest] for rest in (down(u) if u != self.by else [[]])]
            return paths

        paths = down(self.of)
        if len(paths) > 6:
            return None
        if self.transposes(self.of):
            paths = [[transposed(node) for node in reversed(path)] for path in paths]
        return plus((1, joined("prod", path)) for path in paths)

    def judge(self, answer: Node, ways: Sequence[Way] = STRICT) -> Truth:
        """The truth by the first reading that makes an answer right, in each layout."""
        opened = [node for _, node in answer.walk() if node.kind == "atom" and node.value[0] == "∂" and self.is_open(node)]
        opened = list(dict.fromkeys(opened))[:4]
        found: dict[str, bool] = {}  # whether there is doubt
        doubt = False
        for layout, count, way in itertools.product(LAYOUTS, range(len(opened) + 1), ways):
            for totals in itertools.combinations(opened, count) if layout not in found else ():
                reading = Reading(layout, frozenset(totals), *way)
                errors = [
                    self.error(draw, expected, answer, reading) for draw, expected in zip(self.draws, self.expected[layout], strict=True)
                ]
                doubt = doubt or (max(errors) > EQUAL and max(errors) < DIFFERENT)
                if max(errors) <= EQUAL:
                    found[layout] = count > 1 or way != ways[0]
        verdict = "correct" if self.layout in found else "correct-other-layout" if found else "wrong"
        return Truth(verdict, tuple(found), doubt or any(found.values()))

    def error(self, draw: Draw, expected: Matrix, answer: Node, reading: Reading) -> float:
        """How far an answer is from the truth; in between where it is not defined."""
        try:
            value = draw.value(answer, reading)
        except MisfitError:
            return float("inf")
        except ArithmeticError:
            return math.sqrt(EQUAL * DIFFERENT)
        if value.rows == "I" and expected.rows == expected.columns:
            c, n = value.entries[0][0], len(expected.entries)
            value = expected._replace(entries=[[c * (i == j) for j in range(n)] for i in range(n)])
        return distance(value, expected) if value.shape == expected.shape else float("inf")


# --- equal forms ---

SLOPES: dict[str, Callable[[dict[str, Node]], Node]] = {  # of the value and its argument
    "sigmoid": lambda of: Node("had", (of["value"], plus([(1, ONE), (-1, of["value"])]))),
    "tanh": lambda of: plus([(1, ONE), (-1, Node("pow", (of["value"],), Fraction(2)))]),
    "exp": lambda of: of["value"],
    "relu": lambda of: Node("indicator", (of["argument"],)),
    "softplus": lambda of: Node("apply", (of["argument"],), ("sigmoid", 0)),
    "sin": lambda of: Node("apply", (of["argument"],), ("cos", 0)),
    "log": lambda of: Node("over", (ONE, of["argument"])),
}

Changes = Iterator[tuple[str, Node]]


def rewrites(rng: random.Random, problem: Problem, answer: Node) -> Changes:
    """Equal answers, one of each kind where there is a place for it."""
    found: dict[str, list[Node]] = defaultdict(list)
    for path, node in answer.walk():
        for kind, new in _rewritten(rng, problem, node):
            found[kind].append(answer.put(path, new))
        if node.kind not in ("value", "number", "eye", "ones", "def", "size") and path and "?" not in problem.shape(node) != ("I", "I"):
            found["defined"].append(answer.swapped(node, Node("def", (node,))))
    for kind, choices in found.items():
        fitting = [new for new in choices if new != answer and new.parts <= 2 * LARGEST]
        if fitting:
            yield kind, rng.choice(fitting)


def _rewritten(rng: random.Random, problem: Problem, node: Node) -> Changes:
    kind, args, shape = node.kind, node.args, problem.shape(node)
    if kind == "prod":
        yield from _rewritten_product(rng, problem, node)
    if kind == "sum" and len(args) > 1:
        order = rng.sample(range(len(args)), len(args))
        yield "reordered", Node("sum", tuple(args[k] for k in order), tuple(node.value[k] for k in order))
        flipped = Node("sum", args, tuple(-sign for sign in node.value))
        yield "negated twice", Node("sum", (flipped,), (-1,))
        if len(args) > 2:
            yield "bracketed", Node("sum", (Node("sum", args[:2], node.value[:2]), *args[2:]), (1, *node.value[2:]))
        yield from _factored(problem, node)
    if kind in ("had", "over"):
        k = rng.randrange(len(args) - (kind == "over"))
        if kind == "had":
            yield "reordered", Node("had", tuple(rng.sample(args, len(args))))
            if args[k].kind == "sum" and len(args[k].args) > 1:
                terms = [joined("had", (*args[:k], term, *args[k + 1 :])) for term in args[k].args]
                yield "distributed", Node("sum", tuple(terms), args[k].value)
        if kind == "had" and shape[1] == "1" != shape[0] and all(problem.shape(arg) == shape for arg in args):
            yield "diag for ⊙", Node("prod", (Node("call", (args[0],), "diag"), joined("had", args[1:])))
        elif kind == "over":
            yield (
                "reciprocal",
                Node("had", (args[0], Node("over", (ONE, args[1])))) if args[0] != ONE else Node("pow", (args[1],), Fraction(-1)),
            )
    if kind == "T":
        inner = args[0]
        if inner.kind == "prod":
            yield "transposed factors", joined("prod", (transposed(arg) for arg in reversed(inner.args)))
        if inner.kind in ("sum", "had"):
            yield "transposed terms", inner._replace(args=tuple(transposed(arg) for arg in inner.args))
        if inner.kind == "inv":
            yield "inverse of transpose", Node("inv", (transposed(inner.args[0]),))
    if kind in ("prod", "sum", "had") and shape != ("1", "1"):
        parts = tuple(transposed(arg) for arg in (reversed(args) if kind == "prod" else args))
        yield "transposed whole", Node("T", (node._replace(args=parts),))
    if kind in ("value", "atom", "apply") and shape not in (("1", "1"), ("?", "?")):
        yield "transposed twice", Node("T", (Node("T", (node,)),))
    if shape == ("1", "1") and kind in ("prod", "atom"):
        yield "transposed scalar", Node("T", (node,))
    if kind == "frac" and args[0] != ONE:
        yield "factor before", Node("prod", (Node("frac", (ONE, args[1])), args[0]))
    if kind == "pow" and node.value == 2:
        inner = args[0]
        if inner.kind == "call" and inner.value == "norm" and problem.shape(inner.args[0])[1] == "1":
            yield "square", Node("prod", (transposed(inner.args[0]), inner.args[0]))
        else:
            yield "square", Node("prod" if shape == ("1", "1") else "had", (inner, inner))
    if kind == "call" and node.value == "tr":
        inner = args[0]
        yield "trace", Node("call", (transposed(inner),), "tr")
        if inner.kind == "prod" and len(inner.args) > 1:
            yield "trace", Node("call", (Node("prod", (*inner.args[1:], inner.args[0])),), "tr")
    if kind in ("value", "apply", "atom") and rng.random() < 0.3:
        yield "doubled", Node("sum", (times(number(2), node), node), (1, -1))
    yield from _named(rng, problem, node)


def _rewritten_product(rng: random.Random, problem: Problem, node: Node) -> Changes:
    args = node.args
    spots = [k for k, arg in enumerate(args) if arg.kind != "number"]
    if len(args) > 2:
        i = rng.randrange(len(args) - 1)
        j = rng.randint(i + 2, len(args) if i else len(args) - 1)
        yield "bracketed", Node("prod", (*args[:i], Node("prod", args[i:j]), *args[j:]))
    for k in spots:
        if args[k].kind == "sum" and all(problem.shape(term) == problem.shape(args[k]) for term in args[k].args):
            terms = [times(*args[:k], term, *args[k + 1 :]) for term in args[k].args]
            yield "distributed", Node("sum", tuple(terms), args[k].value)
        if problem.shape(args[k]) == ("1", "1") and len(args) > 1:
            rest, i = (*args[:k], *args[k + 1 :]), rng.randint(0, len(args) - 1)
            yield "scalar moved", Node("prod", (*rest[:i], args[k], *rest[i:]))
            if args[k].kind == "frac" and args[k].args[0] == ONE:
                yield "fraction", Node("frac", (joined("prod", rest), args[k].args[1]))
        if (
            args[k].kind == "call"
            and args[k].value == "diag"
            and problem.shape(joined("prod", args[k + 1 :] or [ONE])) == problem.shape(args[k].args[0])
        ):
            yield "⊙ for diag", joined("prod", (*args[:k], Node("had", (args[k].args[0], joined("prod", args[k + 1 :])))))
    if args[0].kind == "number":
        value, core = args[0].value, joined("prod", args[1:])
        if value.numerator == 1:
            yield "fraction", Node("frac", (core, number(value.denominator)))
        if value in (2, 3):
            yield "doubled", Node("sum", (core,) * int(value), (1,) * int(value))
        yield "number moved", Node("prod", (*args[1:], args[0]))
    i = rng.choice(spots or [0])
    left = problem.shape(args[i])[0]
    if left not in ("1", "?", "I"):
        yield "with I", Node("prod", (*args[:i], Node("eye", value=rng.choice(["", left])), *args[i:]))


def _factored(problem: Problem, node: Node) -> Changes:
    words = [arg.args if arg.kind == "prod" else (arg,) for arg in node.args]
    for end in (0, -1):
        groups = [[k for k, w in enumerate(words) if w[end] == word[end] and w[end].kind not in ("eye", "number")] for word in words]
        group = max(groups, key=len)
        if len(group) > 1:
            factor = words[group[0]][end]
            others = [words[k][1:] if end == 0 else words[k][:-1] for k in group]
            numbers = [problem.shape(joined("prod", rest)) == ("1", "1") != problem.shape(factor) for rest in others]
            bare = [(*rest, Node("eye", value="")) if one else rest or (ONE,) for one, rest in zip(numbers, others, strict=True)]
            inner = [joined("prod", parts) for parts in bare]
            inside = Node("sum", tuple(inner), tuple(node.value[k] for k in group))
            new = Node("prod", (factor, inside) if end == 0 else (inside, factor))
            outside = [k for k in range(len(words)) if k not in group]
            yield "factored", plus([(1, new), *((node.value[k], node.args[k]) for k in outside)])


def _named(rng: random.Random, problem: Problem, node: Node) -> Changes:
    """Values and slopes written out, and the reverse."""
    tape = problem.tape
    if node.kind == "apply" and node.value[1] == 1 and node.value[0] in SLOPES:
        argument = node.args[0]
        plain = Node("apply", node.args, (node.value[0], 0))
        values = [v for v in problem.named if (s := tape.step(v)) and s[:2] == ("apply", node.value[0]) and not s.coefficients]
        names = [Node("value", value=v) for v in values if argument == Node("value", value=tape.steps[v - tape.leaves].inputs[0])]
        yield "slope written out", SLOPES[node.value[0]]({"value": rng.choice([plain, *names]), "argument": argument})
    for v in problem.named:
        step = tape.step(v)
        if step and step.operation == "apply" and step.name in SLOPES and not step.coefficients and tape.names[step.inputs[0]]:
            argument, value = Node("value", value=step.inputs[0]), Node("value", value=v)
            slope = SLOPES[step.name]({"value": value, "argument": argument})
            if node == slope or (node.kind == "had" and slope.kind == "had" and Counter(node.args) == Counter(slope.args)):
                yield "slope named", Node("apply", (argument,), (step.name, 1))
            if node.kind == "sum" and step.name == "sigmoid" and set(node.args) == {value, Node("pow", (value,), Fraction(2))}:
                yield "factored", slope
    if node.kind == "value" and problem.direct[node.value]:
        try:
            yield "value written out", problem.tree(rng, problem.arrays, node.value, True)
        except UnwrittenError:
            return
    if node.kind == "atom" and rng.random() < 0.5:
        sign, of, by = node.value
        if sign != "∇" and (sign == "d" or not problem.is_open(node)):
            try:
                new = problem.inner(rng, of, by)
            except UnwrittenError:
                return
            if new != node:
                yield "derivative written out", new


# --- mistakes ---

Mistakes = Iterator[tuple[str, Node, str]]
NUMBERS = [Fraction(n) for n in ("2", "3", "1/2", "1/3", "3/2", "4")]


def mutants(rng: random.Random, problem: Problem, answer: Node) -> Mistakes:
    """Every change in a single place, with the findings that would name it; some are none."""
    values = [node for _, node in answer.walk() if node.kind in ("value", "atom")] or [ONE]
    yield "transpose-whole", transposed(answer), "other-layout transpose"
    yield "sign", negative(answer), "sign"
    yield "scale-whole", times(number(rng.choice(NUMBERS)), answer), "constant-factor"
    if answer.kind == "prod":
        yield "reverse-whole", answer._replace(args=answer.args[::-1]), "other-layout mixed-layout factor-order"
    for path, node in answer.walk():
        for kind, new, causes in _mistaken(rng, problem, node, rng.choice(values)):
            if new != node:
                yield kind, answer.put(path, new), causes


def _mistaken(rng: random.Random, problem: Problem, node: Node, other: Node) -> Mistakes:
    kind, args = node.kind, node.args
    if kind in ("prod", "had"):
        for k, arg in enumerate(args):
            before, after = args[:k], args[k + 1 :]
            if arg.kind == "number":
                new = rng.choice([n for n in NUMBERS if n != arg.value])
                yield "change-number", node._replace(args=(*before, number(new), *after)), "constant-factor"
            causes = (
                "constant-factor"
                if arg.kind in ("number", "size")
                else "missing-factor missing-activation-derivative missing-path missing-sum"
            )
            yield "drop-factor", joined(kind, before + after), causes + " constant-factor" * (arg.kind == "frac")
            if arg.kind != "number":
                yield "repeat-factor", Node(kind, (*before, arg, arg, *after)), "repeated-factor extra-factor"
            if after and kind == "prod" and "number" not in (arg.kind, after[0].kind):
                yield "swap-factors", Node(kind, (*before, after[0], arg, *after[1:])), "factor-order"
                pair = Node("had", (arg, after[0]))
                yield "⊙ for product", joined(kind, (*before, pair, *after[1:])), "hadamard-vs-product"
        yield "add-factor", Node(kind, (*args, other)), "extra-factor repeated-factor"
        if kind == "had":
            yield "product for ⊙", Node("prod", args), "hadamard-vs-product"
            yield "sum for ⊙", Node("sum", args, (1,) * len(args)), "other"
    if kind == "over":
        yield "⊙ for ⊘", Node("had", args), "other"
    if kind == "sum":
        for k, arg in enumerate(args):
            signs = node.value
            if len(args) > 1:
                rest = zip(signs[:k] + signs[k + 1 :], args[:k] + args[k + 1 :], strict=True)
                yield "drop-term", plus(rest), "missing-path softmax-diagonal"
            yield "sign", node._replace(value=(*signs[:k], -signs[k], *signs[k + 1 :])), "sign"
            yield (
                "scale-term",
                node._replace(args=(*args[:k], times(number(rng.choice(NUMBERS)), arg), *args[k + 1 :])),
                "constant-factor extra-path",
            )
    if kind in ("value", "atom", "prod", "had", "sum", "apply", "T", "inv") and problem.shape(node) != ("1", "1"):
        yield "transpose", transposed(node), "transpose mixed-layout"
    if kind == "value":
        yield from _misnamed(rng, problem, node)
    if kind == "apply":
        name, order = node.value
        yield "σ for σ'", node._replace(value=(name, 0 if order else 1)), "activation-for-derivative"
        if problem.shape(node) != ("1", "1") and order == 1:
            yield (
                "no σ'",
                Node("ones", (), problem.shape(node)) if problem.shape(node)[1] == "1" else args[0],
                "missing-activation-derivative",
            )
        same = [v for v in problem.named if Node("value", value=v) != args[0] and problem.draws[0].shapes[v] == problem.shape(args[0])]
        for v in same and [rng.choice(same)]:
            yield "point", node._replace(args=(Node("value", value=v),)), "evaluation-point wrong-index"
    if kind == "pow":
        yield "exponent", node._replace(value=node.value + rng.choice([1, 2])), "other"
        yield "no power", args[0], "other"
    if kind in ("inv", "call") and (kind == "inv" or node.value in ("diag", "diagonal", "norm", "softmax")):
        yield "no function", args[0], "hadamard-vs-product" if node.value == "diag" else "other"
    if kind == "frac":
        yield "upside down", Node("frac", args[::-1]) if problem.shape(args[0]) == ("1", "1") else Node("prod", args[::-1]), "other"
    if kind == "atom":
        sign, of, by = node.value
        yield "∂ for d", node._replace(value=("∂" if sign == "d" else "d", of, by)), "partial-for-total"
        users = [v for v in problem.named if by in problem.direct[v] and v != of]
        inputs = [v for v in sorted(problem.direct[of]) if v != by]
        pairs = [*((v, by) for v in users if v > by), *((of, v) for v in inputs)]
        if sign != "∇" and pairs:
            yield "other-derivative", node._replace(value=(sign, *rng.choice(pairs))), "wrong-index wrong-factor"


def _misnamed(rng: random.Random, problem: Problem, node: Node) -> Mistakes:
    tape, shapes = problem.tape, problem.draws[0].shapes
    base = tape.names[node.value].rstrip("0123456789")
    near = [v for v in problem.named if v != node.value and tape.names[v].rstrip("0123456789") == base]
    same = [v for v in problem.named if v != node.value and shapes[v] == shapes[node.value] and v not in near]
    if near:
        yield "wrong-index", Node("value", value=rng.choice(near)), "wrong-index"
    step = tape.step(node.value)
    inner = {*(step.inputs if step and step.operation == "apply" else ())}
    outer = {v for v in same if (s := tape.step(v)) and s.operation == "apply" and s.inputs[0] == node.value}
    for v in same and [rng.choice(same)]:
        yield "wrong-value", Node("value", value=v), "wrong-factor wrong-index evaluation-point"
    for v in sorted((inner | outer).intersection(same)):
        yield "before-after", Node("value", value=v), "evaluation-point activation-for-derivative wrong-factor wrong-index"


# --- writing ---

SUM, ENTRYWISE, PRODUCT, POSTFIX = range(4)
LEVELS = {"sum": SUM, "had": ENTRYWISE, "over": ENTRYWISE, "kron": ENTRYWISE, "prod": PRODUCT}
LATEX_FUNCTIONS = {"exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh"}
ACCENTS = {"\N{COMBINING CIRCUMFLEX ACCENT}": "hat", "\N{COMBINING MACRON}": "bar", "\N{COMBINING TILDE}": "tilde"}
LETTERS = dict(zip("αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ", (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega Gamma Delta Theta Lambda Xi Pi "
    "Sigma Phi Psi Omega").split(), strict=True))  # fmt: skip
NEW = ["δ", "G", "u", "M", "q", "r", "ε", "D", "B", "v", "ρ", "N", "k", "g", "η", "F"]


class Style:
    """How an answer is spelled."""

    def __init__(self, rng: random.Random, problem: Problem) -> None:
        self.rng, self.problem, self.tape = rng, problem, problem.tape
        self.latex = latex = rng.random() < 0.65
        self.index = rng.choice(["_{}", "_{}", "_{{{}}}", "^{{({})}}", "^{{[{}]}}"] if latex else ["{}", "{}", "_{}", "₁"])
        self.letters = rng.choice(["command", "command", "letter"] if latex else ["word", "letter"])
        self.font = rng.choice(["", "", "", "mathbf", "boldsymbol"]) if latex else ""
        self.turn = rng.choice(
            ["^T", r"^\top", r"^{\top}", r"^{\mathsf T}", r"^{\intercal}", "^{T}"] if latex else ["^T", "^T", ".T", "ᵀ", "^⊤"]
        )
        self.around = rng.choice([r"\left( _ \right)", "(_)", r"\left[ _ \right]", r"\bigl(_\bigr)"] if latex else ["(_)", "(_)", "[_]"])
        self.sign = rng.choice(["", "", "", r"\cdot", r"\times"] if latex else ["", "", "@", "*", "·"])
        self.entrywise = rng.choice([r"\odot", r"\odot", r"\circ"] if latex else [".*", "⊙", "∘"])
        products = ["strict"] if self.sign in ("", "@") else ["matrix", "entrywise", "dot"]
        self.ways = [
            *itertools.product(products, ["entrywise", "matrix"] if self.entrywise in (r"\circ", "∘") else ["strict"], (False, True))
        ]
        self.fraction = rng.choice([r"\frac", r"\frac", r"\dfrac", r"\tfrac", "/"]) if latex else "/"
        self.extra = rng.choice([0.0, 0.0, 0.3])  # brackets that nothing needs
        self.function = rng.choice(["operatorname", "mathrm"])
        self.one = rng.choice([r"\mathbf{1}_{_}", r"\mathbf 1_{_}", r"1_{_}"] if latex else ["ones(_)"])
        self.eye = rng.choice([("I", "_{{{}}}"), (r"\mathbf{I}", "_{{{}}}")] if latex else [("I", "({})"), ("I", "_{}")])
        self.norm = rng.choice([r"\lVert _ \rVert", r"\|_\|", r"\left\| _ \right\|", r"\|_\|_2"]) if latex else "||_||"
        self.aligned = latex and rng.random() < 0.4
        self.lhs = rng.choice(["", "∂", "∂", "d", "∇" if self._has_gradient() else "∂", "J" if not problem.transposes(problem.of) else "∂"])
        self.names: dict[Node, str] = {}
        self.taken = {name.casefold() for name in self.tape.names} | {s.casefold() for shape in self.tape.shapes for s in shape}
        self.taken |= {step.name.casefold() for step in self.tape.steps}
        self.aliases: dict[Node, str] = {}
        if rng.random() < 0.35:
            self._choose_aliases()

    def _has_gradient(self) -> bool:
        return self.tape.shapes[self.problem.of] == SCALAR and self.problem.layout != "numerator"

    def _choose_aliases(self) -> None:
        problem = self.problem
        for v in self.rng.sample(problem.named, min(2, len(problem.named))):
            if v not in (problem.of, problem.by) and self.rng.random() < 0.5:
                self.aliases[Node("value", value=v)] = self._new()
            elif v not in (problem.of, problem.by) and problem.depends(problem.of, v):
                name = self._new()
                atoms = [Node("atom", (), (sign, problem.of, v)) for sign in "∂d"]
                self.aliases.update((atom, name) for atom in atoms if not (atom.value[0] == "∂" and problem.is_open(atom)))

    def _new(self) -> str:
        free = [name for name in NEW if not self.taken & {name.casefold(), f"{name.casefold()}2"}]
        name = self.rng.choice(free)
        self.taken.add(name.casefold())
        return name + self.rng.choice(["", "", "2"])

    def where(self) -> list[str]:
        lines = {}
        for node, name in self.aliases.items():
            plain = [self.tape.names[v] for v in (node.value[1:] if node.kind == "atom" else (node.value,))]
            lines[name] = f"{name} = " + (f"d{plain[0]}/d{plain[1]}" if len(plain) > 1 else plain[0])
        return list(lines.values())

    def bracket(self, text: str) -> str:
        return self.around.split("_")[0] + text + self.around.split("_")[1]

    def name(self, value: int) -> str:
        key = self.tape.names[value]
        spelling = self.tape.spellings.get(key)
        if spelling is None or spelling.upper:
            return self.spell(key)
        return self.spell(spelling.base, spelling.accent, spelling.suffix)

    def spell(self, base: str, accent: str = "", suffix: str = "") -> str:
        if not suffix and not accent:
            letters = base.rstrip("0123456789")
            base, suffix = letters, base[len(letters) :]
        if base in LETTERS and self.letters != "letter":
            word = LETTERS[base]
            base = f"\\{word}" if self.letters == "command" else word
        if self.latex:
            if self.font and len(base.lstrip("\\")) >= 1:
                base = rf"\{self.font}{{{base}}}" if len(base) == 1 or base.startswith("\\") else rf"\mathrm{{{base}}}"
            elif len(base) > 1 and not base.startswith("\\"):
                base = rf"\mathrm{{{base}}}"
            for mark in accent:
                base = rf"\{ACCENTS[mark]}{{{base}}}"
        else:
            base += "".join(ACCENTS[mark] for mark in accent)
        if not suffix:
            return base
        if not suffix.isdecimal():
            return f"{base}_{{{suffix}}}" if self.latex or len(suffix) > 1 else f"{base}_{suffix}"
        if self.index == "₁":
            return base + suffix.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
        index = "_{}" if self.index == "{}" and (accent or base in LETTERS.values()) else self.index
        return base + (index if len(suffix) == 1 or "{{" in index or not self.latex else "_{{{}}}").format(suffix)

    def derivative(self, sign: str, of: int, by: int) -> str:
        top, bottom = self.name(of), self.name(by)
        if sign == "∇":
            return rf"\nabla_{{{bottom}}} {top}" if self.latex else f"∇_{{{bottom}}} {top}"
        if sign == "J":
            return f"J_{{{bottom}}} {top}"
        if self.latex and self.fraction != "/":
            mark = r"\partial " if sign == "∂" else self.rng.choice(["d", r"\mathrm{d} "])
            return f"{self.fraction}{{{mark}{top}}}{{{mark}{bottom}}}"
        mark = (r"\partial " if sign == "∂" else "d") if self.latex else sign
        return f"{mark}{top}/{mark}{bottom}"

    def write(self, node: Node, level: int = SUM) -> str:
        """A part where something binds as ``level`` does."""
        own, text = self._written(node)
        needless = node.kind not in ("number", "value", "size", "def") and self.rng.random() < self.extra
        return self.bracket(text) if own < level or needless else text

    def _written(self, node: Node) -> tuple[int, str]:
        kind, args, what = node.kind, node.args, node.value
        if node in self.aliases:
            return POSTFIX, self.spell(self.aliases[node])
        if kind == "def":
            return POSTFIX, self.spell(self.names[args[0]])
        if kind == "value":
            return POSTFIX, self.name(what)
        if kind == "number":
            return self._number(what)
        if kind == "constant":
            return POSTFIX, {"pi": r"\pi" if self.latex else "pi"}.get(what, what)
        if kind == "size":
            return (POSTFIX if "*" not in what and "+" not in what else PRODUCT if "+" not in what else SUM), self._size(what)
        if kind == "eye":
            return POSTFIX, self.eye[0] + (self.eye[1].format(what) if what.isalnum() else "")
        if kind == "ones":
            return self._ones(what)
        if kind == "atom":
            inline = what[0] in "∇J" or self.fraction == "/"
            return (ENTRYWISE if inline else POSTFIX), self.derivative(*what)
        if kind == "sum":
            texts = []
            for k, (sign, arg) in enumerate(zip(what, args, strict=True)):
                text = self.write(arg, ENTRYWISE)
                texts.append(("-" if sign < 0 else "") + text if not k else (" - " if sign < 0 else " + ") + text)
            return SUM, "".join(texts)
        if kind == "prod":
            return PRODUCT, self._product(args)
        if kind in ("had", "over", "kron"):
            sign = (
                self.entrywise
                if kind == "had"
                else (r"\otimes" if self.latex else "⊗")
                if kind == "kron"
                else self.rng.choice(["./", r"\oslash" if self.latex else "⊘"])
            )
            return ENTRYWISE, f" {sign} ".join(self.write(arg, PRODUCT if k or kind == "kron" else ENTRYWISE) for k, arg in enumerate(args))
        if kind == "frac":
            if self.latex and self.fraction != "/":
                return POSTFIX, f"{self.fraction}{{{self.write(args[0])}}}{{{self.write(args[1])}}}"
            return PRODUCT, f"{self.write(args[0], PRODUCT)} / {self.write(args[1], POSTFIX)}"
        if kind == "T":
            return POSTFIX, self._transposed(args[0])
        if kind == "inv":
            return POSTFIX, self._raised(args[0], "-1")
        if kind == "pow":
            return self._power(args[0], what)
        if kind == "indicator":
            return POSTFIX, f"1[{self.write(args[0])} > 0]"
        if kind == "apply":
            return POSTFIX, self._function(*what) + self.around_call(args[0])
        return self._called(what, args[0])

    def around_call(self, arg: Node) -> str:
        around = self.around if "[" not in self.around else "(_)"
        return around.split("_")[0] + self.write(arg) + around.split("_")[1]

    def _number(self, value: Fraction) -> tuple[int, str]:
        top, bottom = value.as_integer_ratio()
        if bottom == 1:
            return POSTFIX, str(top)
        if self.latex and self.fraction != "/":
            return POSTFIX, rf"\frac{{{top}}}{{{bottom}}}"
        return PRODUCT, f"{top}/{bottom}"

    def _size(self, text: str) -> str:
        return (
            " + ".join(f" {self.sign} ".join(self.spell(part) for part in term.split("*")) for term in text.split("+"))
            if "(" not in text
            else text
        )

    def _ones(self, what: tuple[str, str]) -> tuple[int, str]:
        def column(extent: str) -> str:
            one = r"\mathbf{1}_{_}" if self.latex and extent.isdecimal() else self.one  # 1_4 is a number to some
            return one.replace("{_}", f"{{{extent}}}").replace("(_)", f"({extent})")

        if not self.latex:
            return POSTFIX, f"ones({', '.join(what if what[1] != '1' else what[:1])})"
        if what[1] == "1":
            return POSTFIX, column(what[0])
        if what[0] == "1":
            return POSTFIX, column(what[1]) + self.turn
        return PRODUCT, f"{column(what[0])} {column(what[1])}{self.turn}"

    def _product(self, args: tuple[Node, ...]) -> str:
        texts = []
        for k, arg in enumerate(args):
            text = self.write(arg, PRODUCT if not k else POSTFIX)
            texts.append(self.bracket(text) if k and arg.kind == "number" and not self.sign else text)
        return (f" {self.sign} " if self.sign else " ").join(texts)

    def _raised(self, node: Node, exponent: str) -> str:
        text = self.write(node, POSTFIX)
        if node.kind not in ("value", "def") or "^" in text or node in self.aliases:
            text = self.bracket(text) if not (text.startswith("(") and node.kind in LEVELS) else text
        return (
            f"{text}^{{{exponent}}}"
            if self.latex
            else f"{text}^{exponent}"
            if len(exponent) == 1 or exponent == "-1"
            else f"{text}^({exponent})"
        )

    def _transposed(self, node: Node) -> str:
        if node.kind == "inv" and self.rng.random() < 0.5 and self.latex:
            return self._raised(node.args[0], r"-\top")
        text = self.write(node, POSTFIX)
        plain = node.kind in ("value", "def", "ones") and "^" not in text[:-1] and not text.endswith(self.turn)
        if plain or (node.kind in LEVELS and LEVELS[node.kind] < POSTFIX and text[-1] in ")]"):
            return text + self.turn
        if (
            node.kind == "value"
            and self.index.startswith("^")
            and text.endswith("}")
            and self.turn == "^T"
            and "^{" in text
            and self.rng.random() < 0.5
        ):
            return text[:-1] + "T}"  # W^{(1)T}
        return self.bracket(text) + self.turn

    def _power(self, node: Node, exponent: Fraction) -> tuple[int, str]:
        if exponent == HALF:
            return POSTFIX, rf"\sqrt{{{self.write(node)}}}" if self.latex else f"sqrt({self.write(node)})"
        is_matrix = self.problem.shape(node)[1] != "1"
        if is_matrix or exponent < 0:
            if exponent == 2 and node.kind in ("value", "def"):
                return ENTRYWISE, f"{self.write(node, POSTFIX)} {self.entrywise} {self.write(node, POSTFIX)}"
            text = self.write(node, POSTFIX)
            text = text if node.kind in ("value", "def") and "^" not in text else self.bracket(text)
            return POSTFIX, f"{text}.^{exponent}" if exponent > 0 and exponent.denominator == 1 else f"{text}.^({exponent})"
        if node.kind == "call" and node.value == "norm" and exponent.denominator == 1:
            return POSTFIX, self._called("norm", node.args[0])[1] + f"^{exponent}"
        if node.kind == "apply" and exponent == 2 and self.latex and not node.value[1] and self.rng.random() < 0.4:
            return POSTFIX, self._function(*node.value) + "^2" + self.around_call(node.args[0])
        return POSTFIX, self._raised(node, str(exponent))

    def _function(self, name: str, order: int) -> str:
        marks = self.rng.choice(["'", r"^{\prime}"]) if self.latex and order == 1 else "'" * order
        if name == "sigmoid" and self.problem.sigmoid and self.rng.random() < 0.6:
            name = "σ"
        if name in LETTERS:
            return (f"\\{LETTERS[name]}" if self.latex and self.letters == "command" else name) + marks
        if not self.latex:
            return name + marks
        return (f"\\{name}" if name in LATEX_FUNCTIONS else rf"\{self.function}{{{name}}}") + marks

    def _called(self, name: str, arg: Node) -> tuple[int, str]:
        if name == "norm":
            if self.problem.shape(arg)[1] == "1":
                return POSTFIX, self.norm.replace("_", self.write(arg), 1) if self.norm[-2:] != "_2" else rf"\|{self.write(arg)}\|_2"
            return POSTFIX, (rf"\|{self.write(arg)}\|" if self.latex else f"||{self.write(arg)}||") + "_F"
        if name == "norm1":
            return POSTFIX, (rf"\|{self.write(arg)}\|" if self.latex else f"||{self.write(arg)}||") + "_1"
        if not self.latex:
            return POSTFIX, ("diag" if name == "diagonal" else name) + self.around_call(arg)
        if name == "logdet":
            return POSTFIX, r"\operatorname{logdet}" + self.around_call(arg)
        if name.startswith("softmax_"):
            return POSTFIX, rf"\operatorname{{softmax}}_{{\mathrm{{{name[8:]}}}}}" + self.around_call(arg)
        command = r"\det" if name == "det" else rf"\{self.function}{{{'diag' if name == 'diagonal' else name}}}"
        return POSTFIX, command + self.around_call(arg)

    def answer(self, answer: Node, before: Node | None = None) -> str:
        """The whole text: definitions, then a line, perhaps a chain of two equal sides."""
        inside = [node for _, node in reversed([*answer.walk()]) if node.kind == "def"]
        bodies = list(dict.fromkeys(node.args[0] for node in inside))
        taken = set(self.taken)
        for body in bodies:
            self.names[body] = self._new()
        lines = [(self.spell(self.names[body]), self.write(body)) for body in bodies]
        text = self.write(answer)
        sides = [self.write(before)] if before else []
        lhs = self.lhs or ("∂" if sides or (lines and text.startswith("-")) else "")
        self.taken = taken
        lines.append((self.derivative(lhs, self.problem.of, self.problem.by) if lhs else "", " = ".join([*sides, text])))
        if self.aligned and all(left for left, _ in lines):
            rows = [f"{left} &= {right}" for left, right in lines]
            return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"
        return (" \\\\\n" if self.latex and self.extra else "\n").join(f"{left} = {right}" if left else right for left, right in lines)


# --- questions ---


def questions(seed: str, limit: int) -> Iterator[Question]:
    """One problem: right answers, rewritten ones, and up to ``limit`` mistakes; the oracle is tested on the way."""
    rng = random.Random(seed)
    try:
        problem = Problem(rng)
        answer = problem.derived(rng)
    except (UnwrittenError, ChainError, ArithmeticError):
        return
    if answer.parts > LARGEST:
        return
    names = problem.tape.names
    options: dict[str, Any] = {"wrt": names[problem.by], "of": names[problem.of], "layout": problem.layout}

    def ask(kind: str, new: Node, causes: str = "", before: Node | None = None) -> Question:
        style = Style(rng, problem)
        truth = problem.judge(new, style.ways)
        causes = "other-layout" if truth.verdict == "correct-other-layout" and causes else causes
        where = style.where()
        return Question(kind, problem.text, style.answer(new, before), options | ({"where": where} if where else {}), truth, causes)

    assert problem.judge(answer).verdict == "correct", (seed, problem.text, options, Style(rng, problem).answer(answer))
    right = [("= right", answer), ("= spelling", answer)]
    try:
        other = problem.derived(rng)
        right += [("= another right", other)] if other.parts <= LARGEST else []
    except UnwrittenError:
        pass
    for kind, new in rewrites(rng, problem, answer):
        right += [(f"= {kind}", new), ("= twice rewritten", rng.choice([*rewrites(rng, problem, new), (kind, new)])[1])]
    for kind, new in right:
        question = ask(kind, new, "", answer if rng.random() < 0.1 and not any(n.kind == "def" for _, n in answer.walk()) else None)
        if question.truth.verdict == "correct" and not question.truth.doubt:
            yield question
        else:
            fits = "?" not in problem.shape(new)  # brackets may tear a number x^T y apart
            assert kind == "= twice rewritten" or not fits or question.truth.doubt, (seed, question)
    kinds: dict[str, list[tuple[str, Node, str]]] = defaultdict(list)
    for mutant in mutants(rng, problem, answer):
        kinds[mutant[0]].append(mutant)
    wrong = [(rank, rng.random(), m) for some in kinds.values() for rank, m in enumerate(rng.sample(some, len(some)))]
    for _, _, (kind, new, causes) in sorted(wrong, key=lambda each: each[:2])[:limit]:  # rare kinds first
        question = ask(kind, new, causes)
        if question.truth.verdict == "correct" or question.truth.doubt:
            continue
        yield question
        for name, changed in (
            ("~ rewritten mistake", rng.choice([*rewrites(rng, problem, new), ("", new)])[1]),
            ("~ two mistakes", rng.choice([*mutants(rng, problem, new)])[1]),
        ):
            more = ask(name, changed)
            if not more.truth.doubt:
                yield more


def examine(question: Question, check: Callable[..., Any], book: Counter[str]) -> Iterator[tuple[str, str]]:
    """What is not as it should be: of the verdict, of the layouts, and of the answer as it was understood, which is read again."""
    known: list[Any] = []

    def once(composition: str, text: str, **options: Any) -> Any:
        known.append(check(composition, text, **options))
        return known[-1]

    yield from score(question, once, book)
    if not known or known[0].verdict != question.truth.verdict or any(sign in question.text for sign in ("∇", r"\nabla", "J_")):
        return  # on the left these have a layout of their own
    said = known[0]
    if any(kink in question.composition for kink in ("relu", "abs", "sign", "_1", "elu")):
        pass  # sign(exp(x)) = 1 is true, and more than a model knows
    elif sorted(said.holds_in) != sorted(question.truth.holds_in):
        yield "layouts", "/".join(said.holds_in)
    if "\n" in question.text.replace("{aligned}\n", "").replace("\n\\end", ""):
        return  # the names of other lines stand in what was read
    try:
        again = check(question.composition, said.read_as, **question.options).holds_in
    except Exception as error:  # whatever it raises is what is counted
        again = f"{type(error).__name__}: {error}"
    if again != said.holds_in:
        yield "read as", f"{said.read_as} is {again}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="problems")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=15, help="mistakes a problem")
    parser.add_argument("--only", type=int, help="the number of one problem")
    parser.add_argument("--show", type=int, default=3, help="failures printed in full, of each sort and kind")
    parser.add_argument("--samples", action="store_true", help="print every question, and do not check")
    parser.add_argument("-v", "--verbose", action="store_true", help="all failures, and what was found for each kind of mistake")
    args = parser.parse_args()
    check = None if args.samples else importlib.import_module("jacobian_chain.interface").check
    books: dict[str, Counter[str]] = defaultdict(Counter)
    for k in range(args.count) if args.only is None else [args.only]:
        for question in questions(f"{args.seed}:{k}", args.limit):
            book = books[question.kind]
            book.update(["n", question.truth.verdict])
            if args.samples:
                print(f"[{args.seed}:{k}] {question.kind}: {question}")
            for sort, text in examine(question, check, book) if check else ():
                book[sort] += 1
                if args.verbose or book[sort] <= args.show:
                    print(f"[{args.seed}:{k}] {question.kind}: {sort}: {text}; should be {question}", flush=True)
    columns = "n,correct,correct-other-layout,wrong,accept,reject,undecided,error,layouts,read as,causes,named,suggested,not right".split(
        ","
    )
    print("\n" + " " * 24 + "".join(f"{name[-12:]:>13}" for name in columns) + f"{'ms':>8}")
    for kind, book in [*sorted(books.items()), ("all", sum(books.values(), Counter()))]:
        print(f"{kind:<24}" + "".join(f"{book[name] or '.':>13}" for name in columns) + f"{book['µs'] / 1e3 / max(book['n'], 1):>8.1f}")
        if args.verbose and kind != "all" and book["causes"]:
            print("    " + ", ".join(f"{name[2:]} {count}" for name, count in book.most_common() if name.startswith(": ")))
    if check is None:
        print("nothing was checked: only the oracle was tested")


if __name__ == "__main__":
    main()
