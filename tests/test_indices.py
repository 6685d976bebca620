"""Derivatives by components: their numbers against Jacobians, for every index; and how they look."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest

from jacobian_chain import dense
from jacobian_chain.arrays import Arrays
from jacobian_chain.calculus import jacobians
from jacobian_chain.dense import FLOATS, Dense
from jacobian_chain.elementary import KINDS, Elementary
from jacobian_chain.errors import LimitError, Source
from jacobian_chain.indices import (
    FIRST,
    MOST_FACTORS,
    Algebra,
    ComponentLines,
    Expression,
    Factor,
    Index,
    Place,
    Term,
    count_factors,
    delta,
    derive_components,
    is_variable,
    variables_of,
    write_components,
)
from jacobian_chain.notation import Labels
from jacobian_chain.numeric import Opaque, evaluate, program, size_of
from jacobian_chain.operations import OPERATIONS
from jacobian_chain.reading import read_composition
from jacobian_chain.tape import SCALAR, Step, Tape
from jacobian_chain.verification import Point, numerical_jacobian, sample
from jacobian_chain.writers import LatexWriter, TextWriter, Writer, to_ascii

OPAQUE = Opaque(7)

COMPOSITIONS = [
    "a = tanh(W x + b); W: 2 x 3",
    "L = 1/2 ||W x - y||^2; W: 2 x 3",
    "z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h + b2 - y||^2; W1: 3 x 4; W2: 2 x 3",
    "L = 1/2 ||W2 tanh(W1 x + b1) + b2 - y||^2; W1: 3 x 4; W2: 2 x 3",
    "f = x^T A x; A: 3 x 3",
    "A: 3 x 3 symmetric; f = x^T A x",
    "Y = A X B; A: 2 x 3; X: 3 x 4; B: 4 x 2",
    "Y = X^-1; X: 3 x 3",
    "Y = A X^-1 B; A: 2 x 3; X: 3 x 3; B: 3 x 4",
    "f = log det X; X: 3 x 3",
    "f = det(X)^2; X: 3 x 3",
    "z = W x; y: 3 label; p = softmax(z); L = CE(p, y); x: 2",
    "z = W x; y: 3 free; p = softmax(z); L = CE(p, y); x: 2",
    "L = CE(softmax(W x + b), y); W: 3 x 2",
    "L = CE(softmax_rows(X W), Y); X: 4 x 2; W: 2 x 3",
    "y = layernorm(W x); W: 4 x 3",
    "y = g(A*x, b); L = l(y); A: 2 x 3; b: 2; y: 4",
    "Y = g(A, x); Z = B Y; A: 2 x 3; x: 2; Y: 3 x 4; B: 2 x 3",
    "L = l(Y); Y = g(A, A); A: 2 x 3; Y: 3 x 2",
    "y = g(x, x) + g(x, b); x: 3; b: 3; y: 2",
    "f = tr(A X B X^T); A: 2 x 2; X: 2 x 3; B: 3 x 3",
    "f = tr(X)^2; X: 3 x 3",
    "y = vec(X); X: 2 x 3",
    "y = A vec(X)*t; X: 2 x 3; t: scalar; A: 4 x 6",
    "f = a^T vec(A X B); A: 2 x 3; X: 3 x 4; B: 4 x 2; a: 4",
    "Z = diag(v) X diag(w); X: 2 x 3",
    "f = sum(diag(X X^T)); X: 2 x 3",
    "v = diag(X); L = ||v||^2; X: 3 x 3",
    "Y = kron(A, B) C; A: 2 x 3; B: 4 x 2; C: 6 x 2",
    "y = kron(a, b); a: 2; b: 3",
    "Y = [A, B]^T [A, B]; A: 2 x 3; B: 2 x 1",
    "Y = [A; B]; A: 2 x 3; B: 4 x 3",
    "x2 = x1 + g(x1); x3 = x2 + h(x2); x1: 3",
    "Y = relu(X) .* X; X: 2 x 3",
    "a = gelu(x); x: 3",
    "f = sum(X .* X) / 5; X: 2 x 3",
    "s = sum(X, rows); c = mean(X, columns); f = sum(s) + sum(c); X: 2 x 3",
    "S = softmax_rows(Q K^T / sqrt(3)); O = S V; Q: 2 x 3; K: 4 x 3; V: 4 x 2",
    "S = softmax_columns(Q K^T); f = ||S V||_F^2; Q: 2 x 3; K: 4 x 3; V: 4 x 2",
    "f = sqrt(x^T x); x: 3",
    "y = x / ||x||; x: 3",
    "y = u ./ v; u: 3",
    "y = s*exp(-||x||^2 / (2*s^2)) x; s: scalar; x: 3",
    "f = logsumexp(A x) + lambda ||x||_1; A: 3 x 2; lambda: scalar",
    "Y = σ'(A X) .* B + 3 X^T C; A: 2 x 3; X: 3 x 2; C: 3 x 2",
    "y = (A + t B) x + t e(2, 3); A: 3 x 3; B: 3 x 3; t: scalar",
    "f = (a^T X b)^2 + exp(c^T X d); X: 2 x 3",
    "Z = X + b ones(1, 3) + ones(2, 3); X: 2 x 3; Y = Z .* Z .* X; b: 2",
    "y = A x; z = x^T B; w = z y; A: 3 x 2; B: 2 x 3",
    "f = sum(log(1 + exp(-(y .* (X w))))); X: 4 x 2",
    "y = tanh(A tanh(A tanh(A x))); A: 2 x 2",
    "f = ||X^T X - I||_F^2; X: 3 x 2",
    "y = vec(a vec(X)^T); a: 2; X: 2 x 3",
    "y = vec(X); Z = y y^T; X: 2 x 3; w = vec(Z)",
    "r = x^T A; y = g(r); x: 2; A: 2 x 3; y: 2",
    "z = W x; a = tanh(W x) + z; L = sum(exp(W x) .* a); W: 2 x 3",
    "f = 1 / (1 + exp(-w^T x))^2; w: 3",
    "f = ((x .* (1 - x)) ./ x)^T y; x: 3",
    "L = CE(softmax(W2 relu(W1 x + b1) + b2), y) + 1/2 lambda (||W1||_F^2 + ||W2||_F^2); lambda: scalar; W1: 3 x 4; W2: 2 x 3; x: 4",
]


def read(text: str) -> Tape:
    return read_composition(Source(text)).tape


def value_of(
    expression: Expression, at: Mapping[int, int], entries: Mapping[int, Dense], arrays: Arrays, sizes: Mapping[str, int]
) -> float:
    """The number that an expression is, its free indices being ``at``; indices count from 1."""
    return sum((term_value(term, at, entries, arrays, sizes) for term in expression), 0.0)


def term_value(term: Term, at: Mapping[int, int], entries: Mapping[int, Dense], arrays: Arrays, sizes: Mapping[str, int]) -> float:
    total = 0.0
    for places in itertools.product(*[range(1, size_of(index.size, sizes) + 1) for index in term.bound]):
        inside = {**at, **{index.number: place for index, place in zip(term.bound, places, strict=True)}}
        product = float(term.coefficient)
        for factor in term.factors:
            product *= factor_value(factor, inside, entries, arrays, sizes) ** float(factor.exponent)
        total += product
    return total


def factor_value(factor: Factor, at: Mapping[int, int], entries: Mapping[int, Dense], arrays: Arrays, sizes: Mapping[str, int]) -> float:
    def place(index: Index) -> int:
        if index.parts:
            row, column = map(place, index.parts)
            return row + size_of(index.parts[0].size, sizes) * (column - 1)
        return at[index.number] if is_variable(index) else -index.number

    if factor.kind == "delta":
        return float(place(factor.indices[0]) == place(factor.indices[1]))
    if factor.kind == "entry":
        row, column = map(place, factor.indices)
        return float(entries[factor.node][row - 1][column - 1])
    if factor.kind == "partial":
        i, j, k, l = map(place, factor.indices)  # noqa: E741
        height, width = (size_of(factor.indices[place].size, sizes) for place in (0, 2))
        return float(entries[factor.node][i - 1 + height * (j - 1)][k - 1 + width * (l - 1)])
    inner = value_of(factor.inner, at, entries, arrays, sizes)
    if factor.kind == "group":
        return inner
    step = arrays.steps[factor.node]
    return function_value(step, inner, arrays.tape)


def function_value(step: Step, argument: float, tape: Tape) -> float:
    steps = [Step("leaf", "t", ()), step._replace(inputs=(0,))]
    return float(evaluate(steps, [SCALAR, SCALAR], {0: [[argument]]}, {}, FLOATS, OPAQUE, [1], tape.functions)[1][0][0])


def nodes_of(expression: Expression) -> set[int]:
    found = set()
    for term in expression:
        for factor in term.factors:
            found |= {factor.node} if factor.kind in ("entry", "partial") else nodes_of(factor.inner)
    return found


def by_components(tape: Tape, output: int, variables: list[int], point: Point) -> list[Dense]:
    """The Jacobians on ``vec`` that the derivatives by components are, entry by entry."""
    derivation = derive_components(tape, output, variables)
    arrays, sizes = derivation.arrays, point.sizes
    nodes = {node for each in derivation.derivatives for node in nodes_of(each.value)}
    entries = evaluate(arrays.steps, arrays.shapes, point.leaves, sizes, FLOATS, OPAQUE, nodes, tape.functions)
    found = []
    for each in derivation.derivatives:
        free = {index.number for index in (*each.at, *each.where) if is_variable(index)}
        assert set().union(*[variables_in(term) for term in each.value]) <= free
        rows, columns = ([range(1, size_of(index.size, sizes) + 1) for index in place] for place in (each.at, each.where))
        found.append(
            [
                [
                    value_of(
                        each.value,
                        {each.at[0].number: i, each.at[1].number: j, each.where[0].number: k, each.where[1].number: l},
                        entries,
                        arrays,
                        sizes,
                    )
                    for l, k in itertools.product(columns[1], columns[0])  # noqa: E741
                ]
                for j, i in itertools.product(rows[1], rows[0])
            ]
        )
    return found


def variables_in(term: Term) -> set[int]:
    return {number for factor in term.factors for number in variables_of(factor)} - {index.number for index in term.bound}


def assert_close(found: Dense, expected: Dense, tolerance: float) -> None:
    assert [len(found), len(found[0])] == [len(expected), len(expected[0])]
    scale = max(1.0, *[abs(entry) for row in expected for entry in row])
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) <= tolerance * scale for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("text", [*COMPOSITIONS, *[each.example for each in OPERATIONS.values() if each.example]])
def test_components_are_those_of_the_jacobian(text: str) -> None:
    tape = read(text)
    output = tape.outputs()[0]
    variables = list(range(tape.leaves))
    point = sample(tape, 3, OPAQUE)
    arrays = Arrays(tape)
    nodes = jacobians(arrays, output, variables)
    expected = evaluate(arrays.steps, arrays.shapes, point.leaves, point.sizes, FLOATS, OPAQUE, nodes.values(), tape.functions)
    for variable, found in zip(variables, by_components(tape, output, variables, point), strict=True):
        assert_close(found, expected[nodes[variable]], 1e-9)
        assert_close(found, numerical_jacobian(tape, output, variable, point, OPAQUE), 1e-5)


@pytest.mark.parametrize(
    "text", ["h = tanh(W x); L = ||h - y||^2; W: 2 x 3", "h = A X; Y = h B; L = sum(Y .* h); A: 2 x 3; X: 3 x 2; B: 2 x 2"]
)
def test_computed_variables_are_held(text: str) -> None:
    tape = read(text)
    output = tape.outputs()[0]
    variables = [tape.index("h"), output, *range(tape.leaves)]
    point = sample(tape, 3, OPAQUE)
    kept = [value for value in variables if value is not None]
    arrays = Arrays(tape)
    nodes = jacobians(arrays, output, kept)
    expected = evaluate(arrays.steps, arrays.shapes, point.leaves, point.sizes, FLOATS, OPAQUE, nodes.values())
    for variable, found in zip(kept, by_components(tape, output, kept, point), strict=True):
        assert_close(found, expected[nodes[variable]], 1e-9)


# --- what is written ---


class Reader:
    """Reads the ASCII text of a derivative, all of whose values have names, and computes it: products before sums, from the left."""

    def __init__(self, text: str, tape: Tape, arrays: Mapping[str, Dense]) -> None:
        self.tokens = re.findall(r"_\{[^}]*\}|_\w+|sum(?=_)|delta(?=_)|[A-Za-z]+[0-9]*'*|[0-9]+|\|\||\S", text)
        self.tape = tape
        self.arrays = arrays

    def value(self, at: Mapping[str, int]) -> float:
        self.place = 0
        found = self.sum(dict(at))
        assert self.place == len(self.tokens), self.tokens[self.place :]
        return found

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, token: str = "") -> str:
        found = self.peek()
        assert found
        assert token in ("", found)
        self.place += 1
        return found

    def sum(self, at: dict[str, int]) -> float:
        total = 0.0
        sign = 1
        if self.peek() == "-":
            self.take()
            sign = -1
        while True:
            total += sign * self.product(at)
            if self.peek() not in ("+", "-"):
                return total
            sign = 1 if self.take() == "+" else -1

    def product(self, at: dict[str, int]) -> float:
        result = 1.0
        while self.peek() not in ("", "+", "-", ")", "]", ">", ","):
            if self.peek() == "sum":
                return result * self.summed(at)
            divides = self.peek() == "/"
            if divides:
                self.take()
            factor = self.power(at)
            result = result / factor if divides else result * factor
        return result

    def summed(self, at: dict[str, int]) -> float:
        self.take("sum")
        letters = self.index()
        start, total = self.place, 0.0
        for places in itertools.product(*[range(1, self.range_of(letter) + 1) for letter in letters]):
            self.place = start
            total += self.product({**at, **dict(zip(letters, places, strict=True))})
        return total

    def range_of(self, letter: str) -> int:
        """From the first array that bears the letter, behind this place."""
        for k in range(self.place, len(self.tokens)):
            if self.tokens[k] in self.arrays and self.tokens[k + 1 : k + 2] and self.tokens[k + 1][0] == "_":
                array = self.arrays[self.tokens[k]]
                sides = [side for side in (len(array), len(array[0])) if side != 1]
                for side, other in zip(sides, self.split(self.tokens[k + 1]), strict=True):
                    if other == letter:
                        return side
        raise AssertionError(f"no array bears {letter}")

    def split(self, token: str) -> list[str]:
        text = token[1:].strip("{}")
        return text.split(",") if "," in text else list(text)

    def index(self) -> list[str]:
        return self.split(self.take())

    def power(self, at: dict[str, int]) -> float:
        base = self.primary(at)
        if self.peek() != "^":
            return base
        self.take()
        if self.peek() != "(":
            return float(base ** int(self.take()))
        self.take()
        above = int(self.take())
        self.take("/")
        below = int(self.take())
        self.take(")")
        return float(base ** (above / below))

    def primary(self, at: dict[str, int]) -> float:
        token = self.take()
        if token == "1" and self.peek() == "[":
            self.take()
            inner = self.sum(at)
            self.take(">")
            self.take("0")
            self.take("]")
            return float(inner > 0)
        if token.isdecimal():
            return float(token)
        if token == "(":
            inner = self.sum(at)
            self.take(")")
            return inner
        if token == "delta":
            one, other = self.index()
            return float(at[one] == at[other])
        if token in self.arrays:
            return self.entry(self.arrays[token], at)
        self.take("(")
        inner = self.sum(at)
        self.take(")")
        name = token.rstrip("'")
        if name == "sqrt":
            return float(inner**0.5)
        order = len(token) - len(name)
        step = next(step for step in self.tape.steps if step.operation == "apply" and to_ascii(step.name) == name)
        return function_value(step._replace(coefficients=(Fraction(order),) if order else ()), inner, self.tape)

    def entry(self, array: Dense, at: Mapping[str, int]) -> float:
        if not self.peek().startswith("_"):
            assert len(array) == len(array[0]) == 1
            return float(array[0][0])
        places = [at[letter] for letter in self.index()]
        if len(places) == 2:
            return float(array[places[0] - 1][places[1] - 1])
        return float(array[places[0] - 1][0] if len(array) > 1 else array[0][places[0] - 1])


@pytest.mark.parametrize(
    "text",
    [
        "z = W x + b; a = tanh(z); W: 2 x 3",
        "z = W x; h = phi(z); u = V h; v = u - y; L = 1/2 ||v||^2; W: 3 x 4; V: 2 x 3",
        "u = A x; f = x^T u; A: 3 x 3",
        "Z = A X; Y = Z B; A: 2 x 3; X: 3 x 4; B: 4 x 2",
        "p = softmax(z); q = log(p); f = y^T q; z: 3",
        "S = softmax_rows(Z); O = S V; Z: 2 x 3; V: 3 x 4",
        "S = softmax_columns(Z); O = V S; Z: 2 x 3; V: 3 x 2",
        "v = diag(X); f = exp(a^T v); X: 3 x 3",
        "y = relu(x) .* x ./ w - sqrt(w) .* x; x: 3",
        "u = A x; n = u^T u; f = s*u / (t*sqrt(n)); A: 2 x 3; s: scalar; t: scalar",
        "s = exp(t); y = t*s*x - s^3 x; t: scalar; x: 3",
        "r = x^T A; Y = b r; f = r c; g = f^2; h = g + tr(B*Y); x: 2; A: 2 x 3; b: 2; B: 3 x 2",
        "Y = X^T; Z = Y X + Y*C; X: 2 x 3; C: 2 x 3",
        "i = W x; y = i .* j; W: 3 x 2; k: scalar; z = k y",
        "e = W x - y; d = e .* e .* m; W: 3 x 2; f = sum(d) + sum(e)^2",
        "B = X X^T; C = B X; X: 3 x 2",
        "Y = X^-1; f = sum(Y .* Y .* X); X: 3 x 3",
    ],
)
def test_ascii_text_means_the_derivative(text: str) -> None:
    tape = read(text)
    output = max(tape.outputs())
    variables = list(range(tape.leaves))
    point = sample(tape, 3, OPAQUE)
    written = write(tape, output, variables, TextWriter(ascii=True))
    assert not written.definitions
    values = evaluate(program(tape), tape.shapes, point.leaves, point.sizes, FLOATS, OPAQUE, range(len(tape.names)))
    arrays = {to_ascii(name): values[value] for value, name in enumerate(tape.names) if name}
    for variable, line in zip(variables, written.lines, strict=True):
        above, below = line.left.split("/")
        expected = numerical_jacobian(tape, output, variable, point, OPAQUE)
        reader = Reader(line.right, tape, arrays)
        (m, n), (p, q) = dense.size(values[output]), dense.size(values[variable])
        letters = [re.findall(r"_\{?(\w+)", side) for side in (above, below)]
        found = []
        for j, i in itertools.product(range(n), range(m)):
            row = []
            for l, k in itertools.product(range(q), range(p)):  # noqa: E741
                at: dict[str, int] = {}
                for names, place, shape in ((letters[0], (i, j), (m, n)), (letters[1], (k, l), (p, q))):
                    kept = [number + 1 for number, side in zip(place, shape, strict=True) if side != 1]
                    at |= dict(zip("".join(names), kept, strict=True))
                row.append(reader.value(at))
            found.append(row)
        assert_close(found, expected, 1e-5)


def write(tape: Tape, output: int, variables: Sequence[int], writer: Writer) -> ComponentLines:
    return write_components(tape, output, variables, writer, Labels(tape, output, "outputs"))


GOLDENS = [
    (
        "a = tanh(W x + b)",
        "W",
        r"\frac{\partial a_{i}}{\partial W_{jk}} = (1 - a_{i}^{2}) \, \delta_{ij} \, x_{k}",
        "∂aᵢ/∂Wⱼₖ = (1 - aᵢ²) δᵢⱼ xₖ",
    ),
    (
        "L = 1/2 ||W x - y||^2",
        "W",
        r"\frac{\partial L}{\partial W_{ij}} = (W x - y)_{i} x_{j}",
        "∂L/∂Wᵢⱼ = (W x - y)ᵢ xⱼ",
    ),
    (
        "z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h + b2 - y||^2",
        "W1",
        r"\frac{\partial L}{\partial W_{1,ij}} = \sum_{k} (W_{2} h + b_{2} - y)_{k} W_{2,ki} (1 - h_{i}^{2}) x_{j}",
        "∂L/∂W_{1,ij} = Σₖ (W₂ h + b₂ - y)ₖ W_{2,ki} (1 - hᵢ²) xⱼ",
    ),
    (
        "f = x^T A x",
        "x",
        r"\frac{\partial f}{\partial x_{i}} = \sum_{j} (A_{ij} + A_{ji}) x_{j}",
        "∂f/∂xᵢ = Σⱼ (Aᵢⱼ + Aⱼᵢ) xⱼ",
    ),
    (
        "f = x^T A x; A: n x n symmetric",
        "x",
        r"\frac{\partial f}{\partial x_{i}} = 2 \sum_{j} x_{j} A_{ij}",
        "∂f/∂xᵢ = 2 Σⱼ xⱼ Aᵢⱼ",
    ),
    (
        "Y = A X B",
        "X",
        r"\frac{\partial Y_{ij}}{\partial X_{kl}} = A_{ik} B_{lj}",
        "∂Yᵢⱼ/∂Xₖₗ = Aᵢₖ Bₗⱼ",
    ),
    (
        "Y = A X B",
        "A",
        r"\frac{\partial Y_{ij}}{\partial A_{kl}} = \delta_{ik} \, \sum_{m} X_{lm} B_{mj}",
        "∂Yᵢⱼ/∂Aₖₗ = δᵢₖ Σₘ Xₗₘ Bₘⱼ",
    ),
    (
        "Y = X^-1",
        "X",
        r"\frac{\partial Y_{ij}}{\partial X_{kl}} = -Y_{ik} Y_{lj}",
        "∂Yᵢⱼ/∂Xₖₗ = -Yᵢₖ Yₗⱼ",
    ),
    (
        "f = log det X; X: n x n",
        "X",
        r"\frac{\partial f}{\partial X_{ij}} = (X^{-1})_{ji}",
        "∂f/∂Xᵢⱼ = (X⁻¹)ⱼᵢ",
    ),
    (
        "p = softmax(z)",
        "z",
        r"\frac{\partial p_{i}}{\partial z_{j}} = p_{i} (\delta_{ij} - p_{j})",
        "∂pᵢ/∂zⱼ = pᵢ (δᵢⱼ - pⱼ)",
    ),
    (
        "z = W x; p = softmax(z); L = CE(p, y)",
        "W",
        r"\frac{\partial L}{\partial W_{ij}} = (p_{i} - y_{i}) x_{j}",
        "∂L/∂Wᵢⱼ = (pᵢ - yᵢ) xⱼ",
    ),
    (
        "y = g(A*x, b); L = l(y)",
        "A",
        r"\frac{\partial L}{\partial A_{ij}} = \sum_{k} \frac{\partial l}{\partial y_{k}} \frac{\partial "
        r"g_{k}}{\partial z_{i}} x_{j}; z = A x",
        "∂L/∂Aᵢⱼ = Σₖ (∂l/∂yₖ) (∂gₖ/∂zᵢ) xⱼ; z = A x",
    ),
    (
        "y = g(x, x)",
        "x",
        r"\frac{\partial y_{i}}{\partial x_{j}} = (\partial_{1} g)(x, x)_{i,j} + (\partial_{2} g)(x, x)_{i,j}",
        "∂yᵢ/∂xⱼ = (∂₁ g)(x, x)_{i,j} + (∂₂ g)(x, x)_{i,j}",
    ),
    (
        "Y = g(A, x); L = l(Y); A: m x n; Y: p x q",
        "A",
        r"\frac{\partial L}{\partial A_{ij}} = \sum_{k, r} \frac{\partial l}{\partial Y_{kr}} \frac{\partial " r"g_{kr}}{\partial A_{ij}}",
        "∂L/∂Aᵢⱼ = Σ_{k,r} (∂l/∂Yₖᵣ) (∂gₖᵣ/∂Aᵢⱼ)",
    ),
    (
        "y = A vec(X); X: m x n",
        "X",
        r"\frac{\partial y_{i}}{\partial X_{jk}} = A_{i, j + m (k - 1)}",
        "∂yᵢ/∂Xⱼₖ = A_{i, j + m (k - 1)}",
    ),
    (
        "y = vec(X); X: m x n",
        "X",
        r"\frac{\partial y_{i}}{\partial X_{jk}} = \delta_{i, j + m (k - 1)}",
        "∂yᵢ/∂Xⱼₖ = δ_{i, j + m (k - 1)}",
    ),
    (
        "O = softmax_rows(Q K^T / sqrt(d)) V; Q: m x d; K: n x d",
        "V",
        r"\frac{\partial O_{ij}}{\partial V_{kl}} = \operatorname{softmax}_{\mathrm{rows}}\left( \frac{1}{\sqrt{d}} Q "
        r"K^{\top} \right)_{ik} \, \delta_{jl}",
        "∂Oᵢⱼ/∂Vₖₗ = softmax_rows(1/sqrt(d) Q Kᵀ)ᵢₖ δⱼₗ",
    ),
    (
        "S = softmax_rows(Q K^T / sqrt(d)); O = S V; Q: m x d; K: n x d",
        "Q",
        r"\frac{\partial O_{ij}}{\partial Q_{kl}} = \frac{1}{\sqrt{d}} \sum_{p} \left( V_{pj} - \sum_{t} V_{tj} S_{it} "
        r"\right) S_{ip} \, \delta_{ik} \, K_{pl}",
        "∂Oᵢⱼ/∂Qₖₗ = 1/sqrt(d) Σₚ (Vₚⱼ - Σₜ Vₜⱼ Sᵢₜ) Sᵢₚ δᵢₖ Kₚₗ",
    ),
    (
        "y = x / ||x||",
        "x",
        r"\frac{\partial y_{i}}{\partial x_{j}} = \frac{1}{\lVert x \rVert} \, \delta_{ij} - \frac{x_{i} x_{j}}{\lVert " r"x \rVert^{3}}",
        "∂yᵢ/∂xⱼ = 1/||x|| δᵢⱼ - xᵢ xⱼ/||x||³",
    ),
    (
        "f = sum(X .* X) / n; X: m x n",
        "X",
        r"\frac{\partial f}{\partial X_{ij}} = \frac{2}{n} X_{ij}",
        "∂f/∂Xᵢⱼ = 2/n Xᵢⱼ",
    ),
    (
        "L = ||ŷ - y||^2; ŷ = W x",
        "y",
        r"\frac{\partial L}{\partial y_{i}} = 2 (y_{i} - \hat{y}_{i})",
        "∂L/∂yᵢ = 2 (yᵢ - ŷᵢ)",
    ),
    (
        "δ = W x; y = δ .* δ",
        "W",
        r"\frac{\partial y_{i}}{\partial W_{jk}} = 2 \delta_{i} \, [i = j] \, x_{k}",
        "∂yᵢ/∂Wⱼₖ = 2 δᵢ [i = j] xₖ",
    ),
    (
        "i = W x; y = i .* j; k: scalar; z = k y",
        "W",
        r"\frac{\partial z_{l}}{\partial W_{mn}} = k j_{l} \, \delta_{lm} \, x_{n}",
        "∂zₗ/∂Wₘₙ = k jₗ δₗₘ xₙ",
    ),
    (
        "h_t = tanh(W_hh h_{t-1} + W_xh x_t)",
        "Whh",
        r"\frac{\partial h_{t,i}}{\partial W_{\mathrm{hh},jk}} = (1 - h_{t,i}^{2}) \, \delta_{ij} \, h_{t-1,k}",
        "∂h_{t,i}/∂W_{hh,jk} = (1 - h_{t,i}²) δᵢⱼ h_{t-1,k}",
    ),
    (
        "y = θ¹ .* θ¹",
        "θ1",
        r"\frac{\partial y_{i}}{\partial \theta^{1}_{j}} = 2 \theta^{1}_{i} \, \delta_{ij}",
        "∂yᵢ/∂θ¹ⱼ = 2 θ¹ᵢ δᵢⱼ",
    ),
    (
        "f = ||X^T X - I||_F^2; X: m x n",
        "X",
        r"\frac{\partial f}{\partial X_{ij}} = 4 \sum_{k} (X^{\top} X - I)_{jk} X_{ik}",
        "∂f/∂Xᵢⱼ = 4 Σₖ (Xᵀ X - I)ⱼₖ Xᵢₖ",
    ),
    (
        "a = relu(x)",
        "x",
        r"\frac{\partial a_{i}}{\partial x_{j}} = 1[x_{i} > 0] \, \delta_{ij}",
        "∂aᵢ/∂xⱼ = 1[xᵢ > 0] δᵢⱼ",
    ),
    (
        "y = exp(A x) ./ (1 + exp(A x)); A: m x n",
        "x",
        r"\frac{\partial y_{i}}{\partial x_{j}} = \left( \frac{1}{1 + \exp((A x)_{i})} - \frac{\exp((A x)_{i})}{\left( "
        r"1 + \exp((A x)_{i}) \right)^{2}} \right) \exp((A x)_{i}) A_{ij}",
        "∂yᵢ/∂xⱼ = (1/(1 + exp((A x)ᵢ)) - exp((A x)ᵢ)/(1 + exp((A x)ᵢ))²) exp((A x)ᵢ) Aᵢⱼ",
    ),
    (
        "f = f(x, u, v); u = g(x); v = h(x); x: scalar; f: scalar; u: scalar; v: scalar",
        "x",
        r"\frac{\mathrm{d} f}{\mathrm{d} x} = \frac{\partial f}{\partial x} + \frac{\partial f}{\partial v} "
        r"\frac{\partial h}{\partial x} + \frac{\partial f}{\partial u} \frac{\partial g}{\partial x}",
        "df/dx = ∂f/∂x + (∂f/∂v) (∂h/∂x) + (∂f/∂u) (∂g/∂x)",
    ),
    (
        "L = CE(softmax(W h + c), y); h = tanh(U x + b); h: n",
        "U",
        r"\frac{\partial L}{\partial U_{ij}} = \sum_{k} \left( \operatorname{softmax}(W h + c)_{k} - y_{k} \right) "
        r"W_{ki} (1 - h_{i}^{2}) x_{j}",
        "∂L/∂Uᵢⱼ = Σₖ (softmax(W h + c)ₖ - yₖ) Wₖᵢ (1 - hᵢ²) xⱼ",
    ),
    (
        "y = layernorm(x); x: n",
        "x",
        r"\frac{\partial y_{i}}{\partial x_{j}} = \frac{1}{\sqrt{\frac{\left\lVert x - \frac{\mathbf{1}^{\top} x}{n} "
        r"\mathbf{1} \right\rVert^{2}}{n}}} \left( \delta_{ij} - \frac{1}{n} - \frac{y_{i} y_{j}}{n} \right)",
        "∂yᵢ/∂xⱼ = 1/sqrt(||x - (𝟏ᵀ x / n) 𝟏||²/n) (δᵢⱼ - 1/n - yᵢ yⱼ/n)",
    ),
]


@pytest.mark.parametrize(("text", "variable", "latex", "plain"), GOLDENS)
def test_goldens(text: str, variable: str, latex: str, plain: str) -> None:
    tape = read(text)
    (output,) = tape.outputs()
    value = tape.index(variable)
    assert value is not None
    for writer, expected in ((LatexWriter(), latex), (TextWriter(), plain)):
        written = write(tape, output, [value], writer)
        lines = [*written.lines, *written.definitions]
        assert "; ".join(f"{line.left} = {line.right}" for line in lines) == expected


def test_facts_are_told() -> None:
    tape = read("f = x^T A x; A: n x n symmetric")
    found = write(tape, tape.outputs()[0], [0], TextWriter())
    assert found.used == [(1, "symmetric")]


def test_invented_names_and_letters_meet_no_other() -> None:
    tape = read("y = W tanh(A tanh(A tanh(A tanh(B x + z) + k) + k) + k); z: n")
    output = tape.outputs()[0]
    found = write(tape, output, [index for index in [tape.index("B")] if index is not None], TextWriter(ascii=True))
    names = [line.left for line in found.definitions]
    assert names
    assert not {*names} & {"y", "W", "A", "B", "x", "z", "k"}
    assert "k" not in re.findall(r"_\{?(\w+)", found.lines[0].left + found.lines[0].right)


def test_zero_and_one() -> None:
    tape = read("y = x + 2 z; w: n")
    (output,) = tape.outputs()
    lines = write(tape, output, [*range(tape.leaves), output], TextWriter()).lines
    assert sorted(line.right for line in lines) == ["0", "2 δᵢⱼ", "δᵢⱼ", "δᵢⱼ"]
    f = read("f = sum(x); g = 3 f + tr(A)")
    lines = write(f, f.outputs()[0], list(range(f.leaves)), TextWriter()).lines
    assert {line.right for line in lines} == {"3", "δᵢⱼ"}


def test_long_derivatives_are_refused() -> None:
    tape = read("; ".join(f"x{k} = x{k - 1} + tanh(W{k} x{k - 1})" for k in range(1, 40)))
    with pytest.raises(LimitError, match=f"more than {MOST_FACTORS} factors"):
        derive_components(tape, tape.outputs()[0], [0])


@pytest.mark.parametrize("kind", list(KINDS))
def test_wrong_kernel_is_caught(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Algebra.kernel
    used: list[str] = []

    def wrong(self: Algebra, map_: Elementary, out: Place, into: Place) -> Term:
        term = right(self, map_, out, into)
        if map_.kind == kind:
            used.append(kind)
            term = term._replace(coefficient=term.coefficient * Fraction(1001, 1000))
        return term

    monkeypatch.setattr(Algebra, "kernel", wrong)
    for text in COMPOSITIONS:
        try:
            test_components_are_those_of_the_jacobian(text)
        except AssertionError:
            assert used
            return
    raise AssertionError(f"no composition needs {kind}")


def test_indices_are_simplified() -> None:
    tape = read("y = A x; A: 2 x 3")
    algebra = Algebra(Arrays(tape))
    i, j, k = (algebra.index("3") for _ in range(3))
    x = tape.index("x")
    assert x is not None
    entry = Factor("entry", x, (j, FIRST))
    assert algebra.combine([Term(Fraction(1), (delta(i, j), entry), (j,))]) == (Term(Fraction(1), (entry._replace(indices=(i, FIRST)),)),)
    assert algebra.combine([Term(Fraction(1), (delta(i, j), delta(j, k)), (j, k))]) == (Term(Fraction(1)),)
    assert algebra.combine([Term(Fraction(2), (), (k,))]) == (Term(Fraction(6)),)
    assert algebra.combine([Term(Fraction(1), (delta(Index("3", -1), Index("3", -2)),))]) == ()
    twice = [
        Term(Fraction(1), (entry, entry._replace(exponent=Fraction(-2))), (j,)),
        Term(Fraction(-1), (entry._replace(exponent=-Fraction(1)),), (j,)),
    ]
    assert algebra.combine(twice) == ()
    assert count_factors((Term(Fraction(1), (Factor("group", inner=(Term(Fraction(1), (entry,)),)),)),)) == 2
