"""The language of compositions: what every text becomes, and what is said of a text that cannot be."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jacobian_chain.errors import ChainError, LimitError, ReadingError, Source
from jacobian_chain.reading import Reading, read_composition
from jacobian_chain.syntax import read_expression
from jacobian_chain.tape import SCALAR, Shape, Step, Tape

RECORDS = map(json.loads, (Path(__file__).parent / "cases" / "compositions.jsonl").read_text(encoding="utf-8").splitlines())
CASES = [(record["composition"], record["shapes"]) for record in RECORDS if "shapes" in record]
"""Compositions that people published, and the shapes of what they define, worked out by hand."""


def read(text: str) -> Reading:
    reading = read_composition(Source(text))
    assert_well_shaped(reading.tape)
    return reading


def tape(text: str) -> Tape:
    return read(text).tape


# --- a description of tapes, and an independent check of their shapes ---


def describe(tape: Tape, value: int | None = None) -> str:
    """A value written out as nested operations; leaves by name, and named values only at the top."""
    top = len(tape.names) - 1 if value is None else value
    texts: list[str] = []
    for k, name in enumerate(tape.names):
        step = tape.step(k)
        if step is None or (name and k != top):
            texts.append(name)
            continue
        inputs = [texts[source] for source in step.inputs]
        if step.operation == "sum":
            terms = [text if c == 1 else f"{c} {text}" for c, text in zip(step.coefficients, inputs, strict=True)]
            texts.append(f"({' + '.join(terms)})")
        elif step.operation == "number":
            texts.append(str(step.coefficients[0]))
        elif step.operation in ("ones", "zeros", "identity"):
            shape = tape.shapes[k]
            texts.append(f"{step.operation}[{shape.rows},{shape.columns}]")
        else:
            name = "" if step.operation in ("layer", "apply", "constant", "dimension") else step.operation
            label = f"{name}{':' if name and step.name else ''}{step.name}"
            extra = [str(c) for c in step.coefficients]
            texts.append(f"{label}({', '.join([*inputs, *extra])})" if inputs or extra else label)
    return texts[top]


def shapes(tape: Tape) -> dict[str, str]:
    return {name: str(shape) for name, shape in zip(tape.names, tape.shapes, strict=True) if name}


def _product(one: str, other: str) -> set[str]:
    """The ways to write the product of two sizes."""
    if one.isdecimal() and other.isdecimal():
        return {str(int(one) * int(other))}
    if "1" in (one, other):
        return {other if one == "1" else one}
    return {f"{'(' + a + ')' if '+' in a else a}*{'(' + b + ')' if '+' in b else b}" for a, b in ((one, other), (other, one))}


def _chained(u: list[Shape], shape: Shape) -> bool:
    fits = all(left.columns == right.rows for left, right in itertools.pairwise(u))
    return len(u) > 1 and fits and shape == Shape(u[0].rows, u[-1].columns)


def _same(u: list[Shape], shape: Shape) -> bool:
    return bool(u) and all(other == shape for other in u)


def _total(u: list[Shape], shape: Shape) -> bool:
    return len(u) == 1 and shape == SCALAR


def _nullary(u: list[Shape], _shape: Shape) -> bool:
    return not u


SHAPE_RULES: dict[str, Callable[[list[Shape], Shape], bool]] = {
    "layer": lambda u, shape: bool(u) and bool(shape),
    "scale": lambda u, shape: len(u) == 2 and u[0] == SCALAR and u[1] == shape,
    "number": lambda u, shape: not u and shape == SCALAR,
    "constant": lambda u, shape: not u and shape == SCALAR,
    "dimension": lambda u, shape: not u and shape == SCALAR,
    "ones": _nullary,
    "zeros": _nullary,
    "identity": lambda u, shape: not u and shape.rows == shape.columns,
    "unit": lambda u, shape: not u and shape.columns == "1",
    "product": _chained,
    "hadamard": lambda u, shape: len(u) > 1 and _same(u, shape),
    "power": lambda u, shape: len(u) == 1 and _same(u, shape),
    "apply": lambda u, shape: len(u) == 1 and _same(u, shape),
    "transpose": lambda u, shape: len(u) == 1 and u[0] == Shape(shape.columns, shape.rows),
    "inverse": lambda u, shape: _same(u, shape) and shape.rows == shape.columns,
    "trace": lambda u, shape: _total(u, shape) and u[0].rows == u[0].columns,
    "det": lambda u, shape: _total(u, shape) and u[0].rows == u[0].columns,
    "logdet": lambda u, shape: _total(u, shape) and u[0].rows == u[0].columns,
    "sqnorm": _total,
    "norm1": lambda u, shape: _total(u, shape) and u[0].columns == "1",
    "logsumexp": _total,
    "softmax": lambda u, shape: len(u) == 1 and _same(u, shape),
    "CE": lambda u, shape: len(u) == 2 and u[0] == u[1] and shape == SCALAR,
    "layernorm": lambda u, shape: _same(u, shape) and shape.columns == "1",
    "diag": lambda u, shape: u[0] == Shape(shape.rows, "1") and shape.rows == shape.columns,
    "diagonal": lambda u, shape: u[0] == Shape(shape.rows, shape.rows) and shape.columns == "1",
    "vec": lambda u, shape: shape.rows in _product(*u[0]) and shape.columns == "1",
    "kron": lambda u, shape: shape.rows in _product(u[0].rows, u[1].rows) and shape.columns in _product(u[0].columns, u[1].columns),
    "beside": lambda u, shape: all(block.rows == shape.rows for block in u),
    "below": lambda u, shape: all(block.columns == shape.columns for block in u),
}


def assert_well_shaped(tape: Tape) -> None:
    """Every step's shape follows from its inputs', and every value without a name is used."""
    used = {source for step in tape.steps for source in step.inputs}
    for k, step in enumerate(tape.steps, tape.leaves):
        assert tape.names[k] or k in used or k == len(tape.names) - 1, (k, step)
        inputs = [tape.shapes[source] for source in step.inputs]
        if step.operation == "sum":
            numbers = [source for source in step.inputs if (inner := tape.step(source)) is not None and inner.operation == "number"]
            terms = [tape.shapes[source] for source in step.inputs if source not in numbers]
            assert _same(terms, tape.shapes[k]) if terms else tape.shapes[k] == SCALAR, step
        else:
            assert SHAPE_RULES[step.operation](inputs, tape.shapes[k]), (step, inputs, tape.shapes[k])


# --- texts to steps and shapes ---

SIZES = "A: m x n; B: n x p; C: p x q; S: k x k; X: m x n; u: m; v: n; w: n; s: scalar; t: scalar; r: 1 x n; "

STEPS = [
    # products and scalars
    ("A B C", "product(A, B, C)", "m x q"),
    ("(A B) C", "product(product(A, B), C)", "m x q"),
    ("A (B C)", "product(A, product(B, C))", "m x q"),
    ("A * v", "product(A, v)", "m"),
    ("A @ v", "product(A, v)", "m"),
    (r"A \cdot v", "product(A, v)", "m"),
    (r"A \times v", "product(A, v)", "m"),
    ("s A v", "scale(s, product(A, v))", "m"),
    ("A s v", "scale(s, product(A, v))", "m"),
    ("s t v", "scale(scale(s, t), v)", "n"),
    ("s t", "scale(s, t)", "scalar"),
    ("2 A * 3 v", "(6 product(A, v))", "m"),
    ("A (-v)", "(-1 product(A, v))", "m"),
    ("v^T w u", "scale(product(transpose(v), w), u)", "m"),
    ("u v^T w", "product(u, transpose(v), w)", "m"),
    ("v / s", "scale(power(s, -1), v)", "n"),
    ("v / (2 s)", "(1/2 scale(power(s, -1), v))", "n"),
    ("(v - 1/2 v) / s", "(1/2 scale(power(s, -1), v))", "n"),
    ("A (2 v - v)", "product(A, v)", "m"),
    (r"\frac{v}{s t}", "scale(power(scale(s, t), -1), v)", "n"),
    ("1 / (2 * m) * s", "(1/2 scale(power(m, -1), s))", "scalar"),
    ("v^T w / s * t", "scale(scale(power(s, -1), t), product(transpose(v), w))", "scalar"),
    ("A v / sqrt(n)", "scale(power(power(n, 1/2), -1), product(A, v))", "m"),
    # entry by entry
    ("v .* w", "hadamard(v, w)", "n"),
    ("v ⊙ w ∘ v", "hadamard(v, w, v)", "n"),
    ("v .* s .* w", "scale(s, hadamard(v, w))", "n"),
    ("2 .* v", "(2 v)", "n"),
    ("v ./ w", "hadamard(v, power(w, -1))", "n"),
    (r"1 \oslash w", "power(w, -1)", "n"),
    ("v ./ s", "scale(power(s, -1), v)", "n"),
    ("A^T u ⊙ v", "hadamard(product(transpose(A), u), v)", "n"),
    # sums, and what is added to every entry or column
    ("1 - v .* v", "(1 + -1 hadamard(v, v))", "n"),
    ("A + X/2 - 3", "(A + 1/2 X + -1 3)", "m x n"),
    ("v - s", "(v + -1 scale(s, ones[n,1]))", "n"),
    ("A + s t", "(A + scale(scale(s, t), ones[m,n]))", "m x n"),
    ("1 + s + v", "(1 + scale(s, ones[n,1]) + v)", "n"),
    ("A + u", "(A + product(u, ones[1,n]))", "m x n"),
    ("u - A + s", "(product(u, ones[1,n]) + -1 A + scale(s, ones[m,n]))", "m x n"),
    # powers, transposes, inverses
    ("s^2", "power(s, 2)", "scalar"),
    ("v^2", "power(v, 2)", "n"),
    ("A.^2", "power(A, 2)", "m x n"),
    (r"A^{\odot 2}", "power(A, 2)", "m x n"),
    ("S^3", "product(S, S, S)", "k x k"),
    ("S^-1", "inverse(S)", "k x k"),
    ("S^-2", "product(inverse(S), inverse(S))", "k x k"),
    (r"S^{-\top}", "transpose(inverse(S))", "k x k"),
    ("S⁻ᵀ", "transpose(inverse(S))", "k x k"),
    ("(2 S)^-1", "(1/2 inverse(S))", "k x k"),
    ("A' u", "product(transpose(A), u)", "n"),
    ("A.T u", "product(transpose(A), u)", "n"),
    ("s^T", "(s)", "scalar"),
    ("sqrt(v)", "power(v, 1/2)", "n"),
    ("2^(1/2) s", "scale(power(2, 1/2), s)", "scalar"),
    # norms
    ("||v||", "power(sqnorm(v), 1/2)", "scalar"),
    ("||v||^2", "sqnorm(v)", "scalar"),
    (r"\|v\|_2^2", "sqnorm(v)", "scalar"),
    (r"\|v\|^2_2", "sqnorm(v)", "scalar"),
    (r"\lVert A \rVert_F", "power(sqnorm(A), 1/2)", "scalar"),
    ("||A v - u||^2", "sqnorm((product(A, v) + -1 u))", "scalar"),
    ("||v||_1", "norm1(v)", "scalar"),
    ("||r||_1", "norm1(transpose(r))", "scalar"),
    ("||v||^3", "power(power(sqnorm(v), 1/2), 3)", "scalar"),
    ("||s||", "abs(s)", "scalar"),
    ("|s|", "abs(s)", "scalar"),
    ("|S|", "det(S)", "scalar"),
    ("|v|", "power(sqnorm(v), 1/2)", "scalar"),
    # functions of every entry
    ("tanh(A v)", "tanh(product(A, v))", "m"),
    (r"\tanh A v + u", "(tanh(product(A, v)) + u)", "m"),
    (r"\tanh^2(v)", "power(tanh(v), 2)", "n"),
    ("ln v", "log(v)", "n"),
    ("max(0, v)", "relu(v)", "n"),
    ("max(v, 0)", "relu(v)", "n"),
    ("e^v", "exp(v)", "n"),
    ("e^{-s}", "exp((-1 s))", "scalar"),
    ("1 / (1 + e^-s)", "power((1 + exp((-1 s))), -1)", "scalar"),
    ("tanh'(v)", "tanh(v, 1)", "n"),
    ("tanh''(v)", "tanh(v, 2)", "n"),
    ("leaky_relu(v)", "leaky_relu(v)", "n"),
    # functions of arrays
    ("softmax(v)", "softmax:columns(v)", "n"),
    ("softmax(r)", "softmax:rows(r)", "1 x n"),
    ("softmax_rows(A)", "softmax:rows(A)", "m x n"),
    ("softmax_columns(A)", "softmax:columns(A)", "m x n"),
    ("logsoftmax(v)", "(v + -1 scale(logsumexp(v), ones[n,1]))", "n"),
    ("logsumexp(v)", "logsumexp(v)", "scalar"),
    ("layernorm(v)", "layernorm(v)", "n"),
    ("sum(A)", "product(ones[1,m], A, ones[n,1])", "scalar"),
    ("sum(v)", "product(ones[1,n], v)", "scalar"),
    ("sum(r)", "product(r, ones[n,1])", "scalar"),
    ("sum(A, rows)", "product(A, ones[n,1])", "m"),
    ("sum(A, columns)", "product(ones[1,m], A)", "1 x n"),
    ("mean(v)", "scale(power(n, -1), product(ones[1,n], v))", "scalar"),
    ("mean(A)", "scale(power(scale(m, n), -1), product(ones[1,m], A, ones[n,1]))", "scalar"),
    ("mean(A, rows)", "scale(power(n, -1), product(A, ones[n,1]))", "m"),
    ("tr(A X^T)", "trace(product(A, transpose(X)))", "scalar"),
    (r"\operatorname{tr} A X^\top", "trace(product(A, transpose(X)))", "scalar"),
    ("det(S)", "det(S)", "scalar"),
    ("logdet S", "logdet(S)", "scalar"),
    ("log(det(S))", "logdet(S)", "scalar"),
    ("log(abs(det(S)))", "logdet(S)", "scalar"),
    (r"\log\det S", "logdet(S)", "scalar"),
    (r"\log|\det S|", "logdet(S)", "scalar"),
    ("log|S|", "logdet(S)", "scalar"),
    ("log(2 det(S))", "log((2 det(S)))", "scalar"),
    ("CE(softmax(v), w)", "CE(softmax:columns(v), w)", "scalar"),
    ("diag(v)", "diag(v)", "n x n"),
    ("diag(S)", "diagonal(S)", "k"),
    ("vec(A)", "vec(A)", "m*n"),
    ("kron(A, B)", "kron(A, B)", "m*n x n*p"),
    ("A ⊗ B", "kron(A, B)", "m*n x n*p"),
    (r"v^T \otimes I(k)", "kron(transpose(v), identity[k,k])", "k x n*k"),
    # constants
    ("A ones(n)", "product(A, ones[n,1])", "m"),
    ("A ones(n, 3)", "product(A, ones[n,3])", "m x 3"),
    ("A + zeros(m, n)", "(A + zeros[m,n])", "m x n"),
    ("S - I", "(S + -1 identity[k,k])", "k x k"),
    ("s I + S", "(scale(s, identity[k,k]) + S)", "k x k"),
    ("A^T A - s I(n)", "(product(transpose(A), A) + -1 scale(s, identity[n,n]))", "n x n"),
    ("v^T e(2, n)", "product(transpose(v), unit(2))", "scalar"),
    (r"u \mathbf{1}^\top - A", "(product(u, ones[1,n]) + -1 A)", "m x n"),
    (r"v - s \mathbf{1}", "(v + -1 scale(s, ones[n,1]))", "n"),
    (r"\mathbf{1}_m^T A", "product(ones[1,m], A)", "1 x n"),
    ("pi v", "scale(π, v)", "n"),
    ("n v", "scale(n, v)", "n"),
    # blocks
    ("[A, X]", "beside(A, X)", "m x n+n"),
    ("[v; u]", "below(v, u)", "n+m"),
    ("[A, X; X, A]", "below(beside(A, X), beside(X, A))", "m+m x n+n"),
    (r"\begin{bmatrix} A & u \end{bmatrix}", "beside(A, u)", "m x n+1"),
    ("[v; 1]", "below(v, 1)", "n+1"),
    ("[A, u; 0, s]", "below(beside(A, u), beside(zeros[1,n], s))", "m+1 x n+1"),
    # unspecified functions
    ("σ(A v)", "σ(product(A, v))", "m"),
    ("σ'(v) .* w", "hadamard(σ(v, 1), w)", "n"),
    ("phi(v)", "φ(v)", "n"),
    ("φ(v, w) + u", "(φ(v, w) + u)", "m"),
    ("f(A v) + u", "(f(product(A, v)) + u)", "m"),
    ("s + loss(A v)", "(s + loss(product(A, v)))", "scalar"),
]


@pytest.mark.parametrize(("text", "expected", "shape"), STEPS, ids=[row[0] for row in STEPS])
def test_texts_become_steps(text: str, expected: str, shape: str) -> None:
    found = tape(f"{SIZES}out = {text}")
    assert describe(found) == expected
    assert str(found.shapes[-1]) == shape


INFERRED = [
    ("z1 = W1 x + b1; h = tanh(z1); y: q", {"W1": "m_W1 x n_W1", "x": "n_W1", "b1": "m_W1", "h": "m_W1", "y": "q"}),
    ("W: m x n; y = W x + b", {"x": "n", "b": "m", "y": "m"}),
    ("y: q; y = W x", {"W": "q x n_W", "x": "n_W"}),
    ("f = x^T A x", {"A": "n_x x n_x", "f": "scalar"}),
    ("f = log det A", {"A": "n_A x n_A"}),
    ("Z = W X + b; X: d x N", {"W": "m_W x d", "b": "m_W", "Z": "m_W x N"}),
    ("L = 1/2 ||A x - b||^2 + λ ||x||^2", {"λ": "scalar", "L": "scalar", "b": "m_A"}),
    ("L = λ/2 (||W1||_F^2 + sum(b)) + τ ||x|| + τ tr(W1)", {"λ": "scalar", "τ": "scalar", "b": "n_b"}),
    ("y = λ ||x|| + λ", {"λ": "n_λ"}),
    ("y = v/||w||", {"v": "n_v"}),
    ("y = s v/||w||; s: scalar", {"v": "n_v"}),
    ("y = π v", {"v": "n_v"}),
    ("X: m x n; y = vec(X) + a; z = vec(X^T) .* a", {"a": "m*n", "z": "m*n"}),
    ("y = A x / ||x||; A: m x n", {"x": "n"}),
    ("y = g(x) + A u; A: m x n", {"y": "m", "u": "n", "x": "n_x"}),
    ("y = A f(x); A: m x n", {"y": "m", "x": "n_x"}),
    ("H = F(x); y = H u; u: k", {"H": "m_H x k", "y": "m_H"}),
    ("L = l(tanh(x))", {"L": "scalar"}),
    ("L = l(tanh(x)) + λ ||x||^2", {"L": "scalar", "λ": "scalar"}),
    ("C = l(tanh(x)) / N; x: N", {"C": "scalar"}),
    ("h = J(tanh(x)); y = f(h)", {"h": "n_h"}),
    ("P: n x k; Y: n x q; c = vec(P^T Y); d = [P, Y]^T a", {"c": "k*q", "a": "n", "d": "k+q"}),
    ("X: m x n; c = a^T vec(X)", {"a": "m*n"}),
    ("X: 2 x 3; c = a^T vec(X); A: 7 x 6; d = A a", {"a": "6", "d": "7"}),
    ("b: 4; A: 7 x 9; d = A [b; c]", {"c": "5"}),
    ("Sigma: n x n; f = (x - mu)^T Sigma^-1 (x - mu)", {"x": "n", "μ": "n", "f": "scalar"}),
    ("D: n x n; y = D (A + I) x; A: n x n; z = A ones(n)", {"x": "n", "z": "n"}),
    ("b: n; y = W x + b; n2: scalar; z = n y", {"z": "n"}),
]


@pytest.mark.parametrize(("text", "expected"), INFERRED, ids=[row[0] for row in INFERRED])
def test_shapes_are_inferred(text: str, expected: dict[str, str]) -> None:
    found = shapes(tape(text))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(("text", "expected"), CASES, ids=lambda text: text[:40])
@pytest.mark.parametrize("separator", ["; ", "\n", "\t;\n"], ids=["semicolon", "newline", "both"])
def test_compositions_that_people_wrote(text: str, expected: str, separator: str) -> None:
    reading = read(text.replace("; ", separator))
    found = reading.tape
    defined = zip(found.names[found.leaves :], found.shapes[found.leaves :], strict=True)
    assert ", ".join(f"{name}: {shape}" for name, shape in defined if name) == expected
    assert all(found.declared)
    assert reading.notices == ()


# --- spellings ---

EQUIVALENT = [
    [
        "z = W1 x + b1; h = tanh(z); L = 1/2 ||W2 h + b2 - y||^2",
        "z = W_1 * x + b_1; h = tanh(z); L = 0.5 ||W_2 @ h + b_2 - y||_2^2",
        r"z = \mathbf{W}_1 \mathbf{x} + \mathbf{b}_1 \\ h &= \tanh(z) \\ L &= \frac{1}{2} \left\lVert W_2 h + b_2 - y \right\rVert_2^2",
        "z = W₁·x + b₁\nh = tanh z\nL = ½ ‖W₂ h + b₂ − y‖²".replace("½", "1/2"),
        "L = 1/2 * ||(W^2 h + b^2) - y||^2; h = tanh(z); z = W^1 x + b^1".replace("^2 h", "^{(2)} h").replace("b^2)", "b^{(2)})"),
    ],
    [
        "A: m x n; f = log(abs(det(A A^T))) + tr(A^T A)^2",
        r"A \in \mathbb{R}^{m \times n}; f = \log|\det(A A^\top)| + (\operatorname{tr} A^\top A)^2",
        "A in R^{m x n}; f = logdet(A A') + (tr(A.T A))^2",
        "A: m × n; f = ln|A Aᵀ| + (tr(Aᵀ A))²",
    ],
    [
        "p = softmax(V h); L = CE(p, y) + λ ||V||^2",
        r"p = \operatorname{softmax}(V h); L = \mathrm{CE}(p, y) + \lambda \lVert V \rVert_F^2",
        "L = CE(p, y) + lambda*||V||_F^2\np = softmax(V*h)",
    ],
    [
        "u: n; v: n; y = (u ⊙ v) ⊘ (1 + e^{-u})",
        "u, v: n; y = (u .* v) ./ (1 + exp(-u))",
        r"u \in \mathbb R^n; v \in \mathbb R^n; y = (u \odot v) \oslash (1 + \exp(-u))",
        r"u: n; v: n; y = (u \circ v) ./ (1 + e^{-u})",
    ],
    [
        "x: n; μ: scalar; y = x - μ ones(n)",
        r"x: n; \mu: scalar; y = x - \mu \mathbf{1}",
        "x: n; mu: scalar; y = x - mu",
        r"x: n; mu: scalar; y = x - mu \mathbb{1}_n",
        "x: n; mu: scalar; y = x - mu 𝟏",
    ],
    [
        "X: m x n; Z = X + b 1^T",
        "X: m x n; Z = X + b",
        r"X: m x n; Z = X + b \mathbf{1}^\top",
        r"X: m x n; Z = X + b \mathbf{1}_n^T",
        "X: m x n; Z = X + b*ones(1, n)",
        "X: m x n; Z = X + b 𝟏ᵀ",
    ],
    ["y = σ(W x); g = sigmoid(b)", "y = sigmoid(W x); g = sigmoid(b)", r"y = \sigma(W x); g = \operatorname{sigmoid}(b)"],
    ["y = relu(W x)", "y = max(0, W x)", r"y = \max(W x, 0)", r"y = \operatorname{relu} W x"],
    ["X: m x n; y = sum(X, rows)", r"X: m x n; y = X \mathbf{1}", "X: m x n; y = X ones(n)"],
    ["K = A ⊗ B", r"K = A \otimes B", "K = kron(A, B)"],
    ["y = [A, B; C, D] x", r"y = \begin{pmatrix} A & B \\ C & D \end{pmatrix} x", r"y = \begin{bmatrix} A & B \\ C & D \end{bmatrix} x"],
    ["x: n; Wx + b; W: m x n", "W x + b; x: n; W: m x n"],
    ["g: elementwise; y = g(W x)", "y = g(W x)\ng: elementwise"],
]


@pytest.mark.parametrize("texts", EQUIVALENT, ids=[texts[0] for texts in EQUIVALENT])
def test_spellings_give_equal_tapes(texts: list[str]) -> None:
    first = tape(texts[0])
    for text in texts[1:]:
        assert tape(text) == first, text


# --- definitions, groups, functions, facts ---


def test_definitions_are_written_out_at_each_use() -> None:
    found = tape("L1(x, W, b) = tanh(W x + b); y = L1(L1(x, W1, b1), W2, b2)")
    assert found.names[: found.leaves] == ("x", "W1", "b1", "W2", "b2")
    assert describe(found) == "tanh((product(W2, tanh((product(W1, x) + b1))) + b2))"
    assert [(found.names[value], name, inputs) for value, name, inputs in found.calls] == [
        ("", "L1", (0, 1, 2)),
        ("y", "L1", (found.calls[0][0], 3, 4)),
    ]
    assert found == tape("y = L1(L1(x, W1, b1), W2, b2)\nL1(x, W, b) = tanh(W x + b)")


def test_a_declared_layer_with_a_definition_gives_the_declared_shape() -> None:
    found = tape("g: 3; g(v, W, b) = tanh(W v + b); h = g(k, G, u)")
    assert found == tape("g(v, W, b) = tanh(W v + b); h = g(k, G, u); h: 3")
    assert shapes(found) == {"k": "n_k", "G": "3 x n_k", "u": "3", "h": "3"}
    assert shapes(tape("g: 3; g(v) = tanh(W v) + v; h = g(k)"))["W"] == "3 x 3"
    assert shapes(tape("g: 3; g(t) = tanh(t); h = g'(k) .* g(W x)"))["W"] == "3 x n_W"


@pytest.mark.parametrize("statement", ["g(t) = t/(1 + e^{-t})", "g(t) = tanh(V t)", "g: elementwise"])
def test_names_side_by_side_in_a_function_that_the_text_knows_are_a_product(statement: str) -> None:
    for text in (f"{statement}; a = g(W x)", f"a = g(W x)\n{statement}"):
        assert tape(text) == tape(text.replace("W x", "W * x"))


def test_definitions_use_others_and_outer_names() -> None:
    found = tape("s: scalar; f(u) = s A u + v; g(u, w) = f(f(u)) + w; v = tanh(c); y = g(c, c) + g(c, c)")
    assert [name for _, name, _ in found.calls] == ["f", "f", "g"]
    assert found.names[: found.leaves] == ("c", "s", "A")
    assert describe(found) == "(2 ({f2} + c))".format(f2="(scale(s, product(A, (scale(s, product(A, c)) + v))) + v)")


def test_a_group_stands_for_parameters_in_a_row() -> None:
    plain = tape("L1(x, W, b) = tanh(W x + b); y = L1(x, V, c)")
    grouped = tape("L1(x, W, b) = tanh(W x + b); θ1 = (V, c); y = L1(x, θ1)")
    assert (grouped.steps, grouped.calls) == (plain.steps, plain.calls)
    assert grouped.groups == (("θ1", (1, 2)),)


def test_an_elementwise_function_is_kept() -> None:
    found = tape("swish(t) = t / (1 + e^{-t}); g(z) = 3 swish(z)^2 - tanh(z); y = g(W x) .* swish'(u) + g'(u)")
    assert describe(found) == "(hadamard(g(product(W, x)), swish(u, 1)) + g(u, 1))"
    assert [name for name, _ in found.functions] == ["swish", "g"]
    bodies = {name: describe(body) for name, body in found.functions}
    assert bodies["swish"] == "scale(t, power((1 + exp((-1 t))), -1))"
    assert bodies["g"] == "(3 power(swish(z), 2) + -1 tanh(z))"
    for _, body in found.functions:
        assert_well_shaped(body)
        assert body.leaves == 1
        assert set(body.shapes) == {SCALAR}
    assert found.calls == ()


@pytest.mark.parametrize("body", ["W t", "t + c", "sum(t)", "t^T t", "f(t)", "||t||", "3"])
def test_what_is_not_elementwise_is_a_layer(body: str) -> None:
    found = tape(f"g(t) = {body}; y = g(x) + x")
    assert found.functions == ()


def test_facts() -> None:
    found = tape("A: n x n symmetric; x: n; y: n free; t: n label; f = x^T A x + CE(softmax(x), y) + CE(softmax(x), t)")
    assert {(found.names[value], fact) for value, fact in found.facts} == {("A", "symmetric"), ("y", "free"), ("t", "label")}
    assert tape("A: n x n symmetric; y = f(A)").facts == ((0, "symmetric"),)


LABELS = [
    ("L = CE(softmax(z), y)", ("y", "label")),
    ("p = softmax(z); L = CE(p, y)", ("y", "label")),
    ("L = CE(p, y)", ("y", "label")),
    ("z: 1 x k; y: 1 x k; L = CE(softmax(z), y)", ("y", "label")),
    ("Z: N x k; Y: N x k; P = softmax_rows(Z); L = CE(P, Y)", ("Y", "label-rows")),
    ("Z: k x N; Y: k x N; L = CE(softmax_columns(Z), Y)/N", ("Y", "label-columns")),
    ("Z: N x k; Y: N x k; L = CE(Z, Y)", None),
    ("L = CE(softmax(z), f(y))", None),
    ("y: k free; L = CE(softmax(z), y)", None),
]


@pytest.mark.parametrize(("text", "fact"), LABELS, ids=[row[0] for row in LABELS])
def test_second_arguments_of_cross_entropies_are_labels(text: str, fact: tuple[str, str] | None) -> None:
    found = tape(text)
    facts = [(found.names[value], fact) for value, fact in found.facts if fact != "free"]
    assert facts == ([] if fact is None else [fact])


def test_sigma_is_sigmoid_only_where_the_text_says_so() -> None:
    def names(text: str) -> list[str]:
        return [step.name for step in tape(text).steps if step.operation == "apply"]

    assert names("y = σ(W x)") == ["σ"]
    assert names("y = σ(W x); z = sigmoid(y)") == ["sigmoid", "sigmoid"]
    assert names("σ: elementwise; y = σ(W x); z = sigmoid(y)") == ["σ", "sigmoid"]
    assert names("σ(t) = tanh(2 t); y = σ(W x); z = sigmoid(y)") == ["σ", "sigmoid"]
    assert names("sigma = sqrt(x^T x); y = sigmoid(x)/sigma") == ["sigmoid"]


def test_names_of_the_text_win_over_builtin_ones() -> None:
    assert tape("T: p x q; P: m x p; Q: m x r; y = Q^T P T").shapes[-1] == Shape("r", "q")
    assert describe(tape("e: n; x: n; y = e .* x")) == "hadamard(e, x)"
    assert describe(tape("e = A x - y; L = 1/2 ||e||^2")) == "(1/2 sqnorm(e))"
    assert describe(tape("I: n x n; x: n; y = I tanh(x)")) == "product(I, tanh(x))"
    assert describe(tape("n: scalar; x: n; y = n tanh(x)")) == "scale(n, tanh(x))"
    assert describe(tape("x: n; y = n tanh(x)")) == "scale(n, tanh(x))"
    assert tape("n: scalar; x: n; y = n tanh(x)").leaves == 2
    assert tape("x: n; y = n tanh(x)").leaves == 1


def test_what_is_typed_and_not_used_is_left_out() -> None:
    assert describe(tape("x: n; y = tanh(x)^0 .* x")) == "hadamard(ones[n,1], x)"
    found = tape("f(x, W) = tanh(x); y = f(x, A^T B)")
    assert describe(found) == "tanh(x)"
    assert found.names == ("x", "A", "B", "y")


def test_equal_steps_of_one_equation_are_one() -> None:
    assert len(tape("y = tanh(W x) .* (1 - tanh(W x))").steps) == 5
    assert len(tape("a = tanh(W x); b = tanh(W x) + a").steps) == 5


NOTICES = [
    ("y = x^2", "taken entry by entry"),
    ("y = w^T x + b", "declare b: scalar"),
    ("y = W x + e", "e is the number"),
    ("y = sofmax(W*x)", "did you mean softmax?"),
    ("y = W(x + u) + A v", "W is read as a layer"),
    ("L = |x|", "norm of a vector"),
]


@pytest.mark.parametrize(("text", "message"), NOTICES, ids=[row[0] for row in NOTICES])
def test_choices_are_told(text: str, message: str) -> None:
    (notice,) = read(text).notices
    assert message in notice.message


QUIET = ["y = v.^2; v: n", "y = e^x", "s: scalar; y = s^2 tanh(x)", "b: scalar; y = w^T x + b", "||x||^2", "W: m x n; y = W(x + u)"]


@pytest.mark.parametrize("text", QUIET)
def test_nothing_is_told_of_what_is_plain(text: str) -> None:
    assert read(text).notices == ()


# --- bad texts ---

BAD = [
    # shapes
    ("W: m x n; x: p; y = W x", "1:21", "W x does not fit: W is m x n and x has p entries; n and p differ", None),
    ("W: m x n; x: m; y = W x", "1:21", "n and m differ", "W^T x fits"),
    ("V: q x p; W: m x n; a = V x; b = W x", "1:34", "n and p differ; x has p entries because of V x at line 1, column 25", None),
    ("A: m x n; B: m x n; y = A tanh(B)", "1:25", "A is m x n and tanh(B) is m x n", "A^T tanh(B) fits"),
    ("A: m x n; B: m x n; y = A * B", "1:25", "A B does not fit", "A .* B for the elementwise product"),
    ("A: m x n; B: p x n; y = A B", "1:25", "n and p differ", "A B^T fits"),
    ("A: m x n; B: p x m; y = A B", "1:25", "n and p differ", "B A fits"),
    ("x: n; y: n; f = x y", "1:17", "x and y are columns", "x .* y for the elementwise product, x^T y for a number"),
    ("x: n; y: n; f = x*y", "1:17", "x and y are columns", "x^T y"),
    ("f = λ x .* x", "1:5", "λ and x are columns", "declare λ: scalar"),
    ("f = x^T y^T A", "1:5", "x^T y^T does not fit", "x y^T fits"),
    ("x: n; y: m; f = tanh(x) + y", "1:17", "tanh(x) has n entries and y has m entries", None),
    ("X: m x n; Y: n x m; f = tanh(X) + Y", "1:25", "tanh(X) is m x n and Y is n x m", "Y^T fits"),
    ("X: m x n; r: 1 x n; f = tanh(X) + r", "1:25", "r is 1 x n", "ones(m) r"),
    ("x: n; y: m; f = x .* y", "1:17", "x has n entries and y has m entries", None),
    ("X: m x n; Y: n x m; f = X .* Y", "1:25", "X is m x n and Y is n x m", "Y^T fits"),
    ("X: m x n; y: m; f = X .* y", "1:21", "X is m x n and y has m entries", None),
    ("z: p; W: m x n; z = W x", "1:21", "z is declared p, but W x has m entries", None),
    ("z: scalar; z = W f(x); W: 2 x n", "1:16", "z is declared a scalar, but W f(x) has 2 entries", None),
    ("A: m x n; B: p x n; f = [A, B]", "1:25", "blocks beside each other do not fit: A is m x n and B is p x n", None),
    ("A: m x n; B: m x p; f = [A; B]", "1:25", "blocks below each other do not fit", None),
    ("p: n; y: k; f = CE(p, y)", "1:17", "CE(p, y) needs two arrays of one shape", None),
    ("b: 4; A: 7 x 3; d = A [b; c]", "1:21", "A is 7 x 3 and [b; c] has ?+4 entries", None),
    ("X: m x n; a: q; f = a^T vec(X)", "1:21", "q and m*n differ", None),
    # square matrices
    ("X: m x n; f = X^-1", "1:15", "an inverse is of a square matrix, and X is m x n", None),
    ("X: m x n; f = X^2", "1:15", "a power is of a square matrix, and X is m x n", "X.^2"),
    ("X: n x n; f = X^(1/2)", "1:15", "the power of a matrix is a whole number", "X.^(1/2)"),
    ("X: m x n; f = det(X)", "1:15", "a determinant is of a square matrix", None),
    ("X: m x n; f = log|X|", "1:18", "a determinant is of a square matrix", None),
    ("X: m x n; f = tr X", "1:15", "a trace is of a square matrix", None),
    ("X: m x n; f = diag(X)", "1:15", "diagonal is of a square matrix", None),
    ("X: m x n symmetric; f = tanh(X)", "1:1", "X is m x n, and a symmetric matrix is square", None),
    ("x: n; A: m x n; f = tr(A) + det(x)", "1:21", "a trace is of a square matrix", None),
    # directions and numbers
    ("W: m x n; p = softmax(W)", "1:15", "of its rows or of its columns?", "softmax_rows(W) or softmax_columns(W)"),
    ("W: m x n; p = logsoftmax(W)", "1:15", "logsoftmax is of a column", None),
    ("y = sum(X, both)", "1:12", "both is no direction", "sum(X, rows)"),
    ("y = log(-2) tanh(x)", "1:5", "log of -2 is no real number", None),
    ("y = log(0) tanh(x)", "1:5", "log of 0 is no real number", None),
    ("y = sqrt(-1) tanh(x)", "1:5", "sqrt of -1 is no real number", None),
    ("y = (-2)^(1/2) tanh(x)", "1:5", "-2 has no real power 1/2", None),
    ("y = tanh(x)/0", "1:5", "division by zero", None),
    ("y = tanh(x) ./ (1 - 1)", "1:5", "division by zero", None),
    ("x: n; y: n; f = y/x", "1:17", "x has n entries: a division is by a scalar", "./"),
    ("f = A x/B", "1:5", "B is a matrix: a division is by a scalar", "B^-1 for the inverse"),
    ("f = tanh(x)/τ", "1:5", "a division is by a scalar", "declare τ: scalar"),
    ("f = tanh(x)^k", "1:5", "an exponent is a number, and k is none", None),
    ("f = x^k", "1:5", "an exponent is a number", "x_{k}"),
    ("A: n x n; f = 2^{det(A)}", "1:15", "an exponent is a number, and det(A) is none", "exp(log(2) det(A))"),
    ("f = ||X||_2 + tr(X)", "1:5", "2-norm of a matrix", "||X||_F"),
    ("f = ||X||_1 + tr(X)", "1:5", "1-norm of a matrix", "sum(abs(X))"),
    ("f = ||x||_3", "1:5", "index 3", "||v||_1"),
    # functions
    ("f = softmax(x, y)", "1:5", "softmax takes 1 argument, and 2 are given", "softmax(z)"),
    ("f = kron(A)", "1:5", "kron takes 2 arguments, and 1 is given", "kron(A, B)"),
    ("f = CE(p)", "1:5", "CE takes 2 arguments, and 1 is given", "label"),
    ("f = tanh(x, y)", "1:5", "tanh takes one argument", None),
    ("f = tanh()", "1:5", "tanh has no arguments", None),
    ("f = max(x, y)", "1:5", "max(0, z) only", "relu(z)"),
    ("f = min(0, x)", "1:5", "min is not part of the language", None),
    ("f = tanh^{-1}(x)", "1:5", "inverse function or a power", "(tanh(x))^-1"),
    ("f = softmax'(x)", "1:5", "softmax' is not part of the language", None),
    ("y = h'(tanh(x))", "1:5", "derivative of the layer h", "h: elementwise"),
    ("x: n; f = x + ones(x)", "1:20", "this is no size", "x is a value"),
    ("f = e(4, 3)", "1:5", "no unit vector", None),
    (r"f = \sum_i tanh(x_i)", "1:5", "a sum or product over an index", None),
    ("f = (x, tanh(x)) + y", "1:5", "a list of values here", None),
    # definitions and groups
    ("g(v, W, b) = tanh(W v + b); h = g(k, G, u); q = g + h", "1:1", "g is both a layer with a definition and a value", "another name"),
    ("q = g + h; g(v) = tanh(W v); h = g(k)", "1:12", "g is both a layer with a definition and a value", "another name"),
    ("g: 4; G: 3 x 2; g(v, W) = tanh(W v); h = g(k, G)", "1:27", "g is declared 4, but tanh(W v) has 3 entries", None),
    ("g: 4; k: 3; g(t) = tanh(t); h = g(k)", "1:33", "g is declared 4, but g(k) has 3 entries", None),
    ("L(x, W) = tanh(W x); y = L(x)", "1:26", "L takes 2 arguments, and 1 is given", "L(x, W)"),
    ("L(x, W) = W L(x, W); y = L(x, V)", "1:1", "L depends on itself", "not itself"),
    ("f(x) = g(x); g(x) = A f(x); y = f(g(x))", "1:1", "depends on itself", None),
    ("L(x) = A x; L(x) = B x; y = L(L(x))", "1:13", "L is defined twice", None),
    ("θ = (W, b); y = tanh(θ)", "1:22", "the group θ is no value", "one by one"),
    ("L(x, W, b) = W x + b; θ = (A, c, d); y = L(x, θ)", "1:42", "L takes 3 arguments, and 4 are given", "one by one"),
    ("Z: n x N; Z = tanh(W*Z + U*X)", "1:11", "Z depends on itself", None),
    ("z = tanh(x) + b; y = f(W u)", "1:26", "W and u stand side by side", "missing comma?"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), BAD, ids=[row[0] for row in BAD])
def test_bad_texts_are_refused(text: str, place: str, message: str, hint: str | None) -> None:
    with pytest.raises(ReadingError) as caught:
        read_composition(Source(text))
    error = caught.value
    assert error.place is not None
    assert message in error.message
    assert f"{error.place.line}:{error.place.column}" == place
    assert hint is None or (error.hint is not None and hint in error.hint)


def test_definitions_that_explode_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jacobian_chain.shaped.MAX_STEPS", 1000)
    lines = ["f0(x) = A x", *(f"f{k}(x) = f{k - 1}(f{k - 1}(x))" for k in range(1, 40)), "y = f39(x)"]
    with pytest.raises(LimitError):
        read_composition(Source("\n".join(lines)))


def test_length_and_depth_are_no_obstacle() -> None:
    count = 3_000
    texts = [
        "; ".join(f"z{k} = W{k} x{k - 1} + b{k}; x{k} = tanh(z{k})" for k in range(1, count)),
        "y = " + " + ".join(f"A{k} x" for k in range(count)),
        "y = " + " ".join(f"A{k}" for k in range(count)),
        "y = " + "tanh(W " * count + "x" + ")" * count,
        "f0(x, W) = W x; " + "; ".join(f"f{k}(x, W) = f{k - 1}(x, W) + W x" for k in range(1, count)) + f"; y = f{count - 1}(x, V)",
        "y = [" + ", ".join(f"A{k}" for k in range(900)) + "]",
        "s = ||x||^2; y = " + "(1 + s " * count + "s" + ")" * count,
    ]
    for text in texts:
        assert len(tape(text).steps) >= 1


# --- whatever is typed ---

WORDS = (
    "x y W A b λ σ I e n m 1 2 0 0.5 + - * .* ./ / ⊗ · ^ ^T ^-1 ^2 ^{-\\top} .^2 ' ( ) [ ] , ; || | ||_1 _F = : ∈ tanh( log( det( sum( "
    "mean( softmax( CE( diag( vec( kron( ones( I( e(1, f( g( L1( l( max(0, abs( sqrt( \\frac{ }{ } \\tanh \\log \\det \\mathbf{1} 1^T rows "
    "columns symmetric label elementwise scalar R^n \\sum_i \\begin{bmatrix} & \\\\ \\end{bmatrix}"
).split(" ")
STATEMENTS = (
    "L1(x, W) = tanh(W x)",
    "g(t) = t/(1+e^{-t})",
    "W: m x n",
    "x: n",
    "A: n x n symmetric",
    "θ = (W, b)",
    "σ: elementwise",
    "y = f(x, W)",
    "z = W x + b",
    "p = softmax(z)",
    "L = CE(p, y)",
    "s: scalar",
)
ATOMS = ["x", "y", "z", "W", "A", "b", "p", "s", "λ", "I", "e", "1", "2", "0", "θ", "n", "L", "X", "u", r"\mathbf{1}"]
ONE = (
    "tanh log det sum mean softmax diag vec ones zeros I f g l max abs sqrt tr logdet logsumexp layernorm logsoftmax softmax_rows σ σ' g' "
    "tanh^2 exp"
).split()
TWO = "CE kron ones L1 e f max sum".split()
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "-", "*", ".*", "./", "/", "⊗", "·", ""]), inner),
        st.builds("({}){}".format, inner, st.sampled_from(["", "^T", "^-1", "^2", ".^2", "^{-T}", "^0", "^{1/2}", "'"])),
        st.builds("{}({})".format, st.sampled_from(ONE), inner),
        st.builds("{}({}, {})".format, st.sampled_from(TWO), inner, inner),
        st.builds("||{}||{}".format, inner, st.sampled_from(["", "_1", "_F", "^2"])),
        st.builds("[{}, {}; {}, 0]".format, inner, inner, inner),
        st.builds(r"\frac{{{}}}{{{}}}".format, inner, inner),
    ),
    max_leaves=8,
)


def try_reading(text: str) -> None:
    """Read a text: a well-shaped tape, or an error that can be shown."""
    try:
        reading = read_composition(Source(text))
    except ChainError as error:
        assert str(error)  # noqa: PT017
    else:
        assert_well_shaped(reading.tape)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(alphabet="xWb1+-*^'()[]|,;=:_ .\\{}", max_size=25))
def test_random_texts_are_read_or_refused(text: str) -> None:
    try_reading(text)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STATEMENTS), max_size=4, unique=True), st.lists(EXPRESSIONS, min_size=1, max_size=2))
def test_random_compositions_are_well_shaped_or_refused(statements: list[str], expressions: list[str]) -> None:
    try_reading("; ".join([*statements, *(f"q{k} = {text}" for k, text in enumerate(expressions))]))


def test_the_check_of_shapes_finds_a_wrong_tape() -> None:
    """The rules above are worth something: a product whose sizes differ is found."""
    names, found = ("A", "x", "y"), (Shape("m", "n"), Shape("p", "1"), Shape("m", "1"))
    with pytest.raises(AssertionError):
        assert_well_shaped(Tape(2, names, (Step("product", "", (0, 1)),), found))
    assert_well_shaped(Tape(2, names, (Step("product", "", (0, 1), ()),), (found[0], Shape("n", "1"), found[2])))
    with pytest.raises(AssertionError):
        assert_well_shaped(Tape(1, ("x", "y"), (Step("sum", "", (0,), (Fraction(1),)),), (Shape("n", "1"), SCALAR)))


def test_constants_multiply_what_follows_them_in_brackets() -> None:
    for text in ("f = 4/π (y .* y)", r"x: 3; f = \mathbf{1} (x + x)^T", "f = 2 𝟏 (x + x)ᵀ; x: 3"):
        assert "layer" not in {step.operation for step in read_composition(Source(text)).tape.steps}


def test_open_sizes_inside_of_composed_ones_get_symbols() -> None:
    assert str(read_composition(Source("vec([A, B]) + x")).tape.shapes[-1]) == "m_A*(n_A+n_B)"


def test_a_star_behind_a_command_is_a_product() -> None:
    tape = read_composition(Source(r"k: 3; z: 3; f = k^\top*z")).tape
    assert [step.operation for step in tape.steps] == ["transpose", "product"]


def test_a_power_of_a_given_value_before_brackets_is_no_function() -> None:
    nodes = read_expression(Source(r"\tau^{2} (x + x)"), {"τ", "x"}).nodes
    assert [node.kind for node in nodes] == ["name", "number", "power", "name", "name", "add", "product"]
