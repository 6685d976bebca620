"""The SymPy edge of concrete layers: expressions out, equal to SymPy's own derivatives entry by entry, and expressions in."""

# ruff: noqa: N803, N806

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath  # type: ignore[import-untyped,unused-ignore]
import pytest
import sympy
from sympy import Function, ImmutableMatrix, Matrix, MatrixSymbol, Rational, Symbol, symbols

from jacobian_chain import symbolic
from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import derive_along, derive_concrete, derive_second
from jacobian_chain.errors import LimitError, ReadingError, Source, UnsupportedError
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.reading import read_composition
from jacobian_chain.tape import SCALAR, Shape, Step, Tape


def read(text: str) -> Tape:
    return read_composition(Source(text)).tape


# --- blocks, against Matrix.jacobian of the explicit composition ---


class Case(NamedTuple):
    """A composition, its leaves with their sizes, and what it computes of explicit matrices, value by value."""

    text: str
    sizes: dict[str, tuple[int, int]]
    compute: Callable[..., dict[str, Any]]
    wrt: str
    positive: bool = False


def column(*entries: Any) -> Matrix:
    return Matrix(entries)


def each(function: Callable[..., Any], *matrices: Matrix) -> Matrix:
    rows, columns = matrices[0].shape
    return Matrix(rows, columns, lambda i, j: function(*(matrix[i, j] for matrix in matrices)))


def total(matrix: Matrix) -> Any:
    return sympy.Add(*matrix)


def squares(matrix: Matrix) -> Any:
    return sympy.Add(*(entry**2 for entry in matrix))


def softmax(matrix: Matrix, by_rows: bool = False) -> Matrix:
    if by_rows:
        return softmax(matrix.T).T
    sums = [sympy.Add(*(sympy.exp(entry) for entry in matrix[:, k])) for k in range(matrix.cols)]
    return Matrix(matrix.rows, matrix.cols, lambda i, j: sympy.exp(matrix[i, j]) / sums[j])


def sigmoid(t: Any) -> Any:
    return 1 / (1 + sympy.exp(-t))


def gelu(t: Any) -> Any:
    return t * (1 + sympy.erf(t / sympy.sqrt(2))) / 2


def stretched(b: Matrix, columns: int) -> Matrix:
    return b * sympy.ones(1, columns)


CASES = [
    Case("f = a^T X b", {"a": (2, 1), "X": (2, 3), "b": (3, 1)}, lambda a, X, b: {"f": (a.T * X * b)[0]}, "a X b"),
    Case("f = x^T A x", {"x": (3, 1), "A": (3, 3)}, lambda x, A: {"f": (x.T * A * x)[0]}, "x A"),
    Case(
        "f = tr(A X B X^T)",
        {"A": (2, 2), "X": (2, 3), "B": (3, 3)},
        lambda A, X, B: {"f": (A * X * B * X.T).trace()},
        "X A B",
    ),
    Case("y = A X B", {"A": (2, 3), "X": (3, 2), "B": (2, 3)}, lambda A, X, B: {"y": A * X * B}, "X A B"),
    Case("y = X^T A", {"X": (2, 3), "A": (2, 2)}, lambda X, A: {"y": X.T * A}, "X A"),
    Case("y = X^-1 b", {"X": (2, 2), "b": (2, 1)}, lambda X, b: {"y": X.inv() * b}, "X b"),
    Case("f = tr(X^-1 A)", {"X": (2, 2), "A": (2, 2)}, lambda X, A: {"f": (X.inv() * A).trace()}, "X A"),
    Case("f = det(X) + tr X", {"X": (3, 3)}, lambda X: {"f": X.det() + X.trace()}, "X"),
    Case("f = logdet(X)", {"X": (2, 2)}, lambda X: {"f": sympy.log(X.det() ** 2) / 2}, "X"),
    Case(
        "z = W x + b; a = tanh(z); L = 1/2 ||a - y||^2",
        {"W": (2, 3), "x": (3, 1), "b": (2, 1), "y": (2, 1)},
        lambda W, x, b, y: {"z": W * x + b, "a": each(sympy.tanh, W * x + b), "L": squares(each(sympy.tanh, W * x + b) - y) / 2},
        "W x b",
    ),
    Case(
        "z = W x; a = sigmoid(z); y = V a",
        {"W": (2, 3), "x": (3, 1), "V": (3, 2)},
        lambda W, x, V: {"z": W * x, "a": each(sigmoid, W * x), "y": V * each(sigmoid, W * x)},
        "W x V",
    ),
    Case(
        "Z = X W + b; L = ||Z||_F^2 / 3; b: 2 x 2",
        {"X": (2, 3), "W": (3, 2), "b": (2, 2)},
        lambda X, W, b: {"Z": X * W + b, "L": squares(X * W + b) / 3},
        "W b",
    ),
    Case(
        "Z = W X + c; c: 2; f = sum(Z .* Z .* Z)",
        {"W": (2, 2), "X": (2, 3), "c": (2, 1)},
        lambda W, X, c: {"Z": W * X + stretched(c, 3), "f": total(each(lambda t: t**3, W * X + stretched(c, 3)))},
        "W c X",
    ),
    Case("y = a .* b ./ c", dict.fromkeys("abc", (3, 1)), lambda a, b, c: {"y": each(lambda p, q, r: p * q / r, a, b, c)}, "a b c"),
    Case("Y = A .* B - 2 A", {"A": (2, 3), "B": (2, 3)}, lambda A, B: {"Y": A.multiply_elementwise(B) - 2 * A}, "A B"),
    Case(
        "s: scalar; t: scalar; f = s^2 exp(-s t) / (1 + t^2)",
        {"s": (1, 1), "t": (1, 1)},
        lambda s, t: {"f": s[0] ** 2 * sympy.exp(-s[0] * t[0]) / (1 + t[0] ** 2)},
        "s t",
    ),
    Case("s: scalar; Y = s A", {"s": (1, 1), "A": (2, 3)}, lambda s, A: {"Y": s[0] * A}, "s"),
    Case("s: scalar; Y = s^2 A B", {"s": (1, 1), "A": (2, 3), "B": (3, 2)}, lambda s, A, B: {"Y": s[0] ** 2 * A * B}, "A s"),
    Case("p = softmax(W x)", {"W": (2, 2), "x": (2, 1)}, lambda W, x: {"p": softmax(W * x)}, "W x"),
    Case(
        "P = softmax_rows(Q K^T); Y = P V",
        {"Q": (2, 1), "K": (2, 1), "V": (2, 2)},
        lambda Q, K, V: {"P": softmax(Q * K.T, True), "Y": softmax(Q * K.T, True) * V},
        "V K",
    ),
    Case("P = softmax_columns(X)", {"X": (2, 2)}, lambda X: {"P": softmax(X)}, "X"),
    Case(
        "p = softmax(z); f = CE(p, y); y: 2 free",
        {"z": (2, 1), "y": (2, 1)},
        lambda z, y: {"p": softmax(z), "f": -total(each(lambda a, b: a * sympy.log(b), y, softmax(z)))},
        "z y",
    ),
    Case("f = logsumexp(A x)", {"A": (2, 2), "x": (2, 1)}, lambda A, x: {"f": sympy.log(total(each(sympy.exp, A * x)))}, "A x"),
    Case("f = ||A x - b||", {"A": (2, 3), "x": (3, 1), "b": (2, 1)}, lambda A, x, b: {"f": sympy.sqrt(squares(A * x - b))}, "x b"),
    Case("y = x / ||x||", {"x": (2, 1)}, lambda x: {"y": x / sympy.sqrt(squares(x))}, "x"),
    Case("f = ||x||_1", {"x": (3, 1)}, lambda x: {"f": total(each(sympy.Abs, x))}, "x"),
    Case("y = relu(W x)", {"W": (2, 3), "x": (3, 1)}, lambda W, x: {"y": each(lambda t: sympy.Max(0, t), W * x)}, "W x"),
    Case("K = A ⊗ B", {"A": (2, 1), "B": (1, 3)}, lambda A, B: {"K": sympy.kronecker_product(A, B)}, "A B"),
    Case("K = A ⊗ B", {"A": (1, 2), "B": (2, 2)}, lambda A, B: {"K": Matrix(sympy.kronecker_product(A, B))}, "A"),
    Case("K = A ⊗ B", {"A": (2, 2), "B": (2, 1)}, lambda A, B: {"K": Matrix(sympy.kronecker_product(A, B))}, "B"),
    Case("y = A vec(X)", {"A": (2, 6), "X": (2, 3)}, lambda A, X: {"y": A * X.vec()}, "A X"),
    Case("Y = diag(x) A", {"x": (2, 1), "A": (2, 3)}, lambda x, A: {"Y": sympy.diag(*x) * A}, "x A"),
    Case("y = diag(A B)", {"A": (2, 3), "B": (3, 2)}, lambda A, B: {"y": Matrix((A * B).diagonal()).T}, "A B"),
    Case("D = diag(x)", {"x": (2, 1)}, lambda x: {"D": sympy.diag(*x)}, "x"),
    Case("Y = [A, B] C", {"A": (2, 1), "B": (2, 2), "C": (3, 2)}, lambda A, B, C: {"Y": A.row_join(B) * C}, "A B C"),
    Case("Y = [A; B]", {"A": (1, 2), "B": (2, 2)}, lambda A, B: {"Y": A.col_join(B)}, "A B"),
    Case("f = mean(X) + sum(X b)", {"X": (2, 3), "b": (3, 1)}, lambda X, b: {"f": total(X) / 6 + total(X * b)}, "X b"),
    Case("y = sum(X, rows) + mean(X, rows)", {"X": (2, 3)}, lambda X: {"y": X * sympy.ones(3, 1) * Rational(4, 3)}, "X"),
    Case("f = exp(a^T x)", {"a": (2, 1), "x": (2, 1)}, lambda a, x: {"f": sympy.exp((a.T * x)[0])}, "a x"),
    Case("y = layernorm(x)", {"x": (3, 1)}, lambda x: {"y": layernorm(x)}, "x"),
    Case("y = gelu(x) + silu(x)", {"x": (2, 1)}, lambda x: {"y": each(lambda t: gelu(t) + t * sigmoid(t), x)}, "x"),
    Case("y = softplus(x) .* sin(x)", {"x": (2, 1)}, lambda x: {"y": each(lambda t: sympy.log(1 + sympy.exp(t)) * sympy.sin(t), x)}, "x"),
    Case("g(t) = t^3 - 2 t; y = g(A x)", {"A": (2, 2), "x": (2, 1)}, lambda A, x: {"y": each(lambda t: t**3 - 2 * t, A * x)}, "A x"),
    Case("y = e(2, 3)^T X", {"X": (3, 2)}, lambda X: {"y": X[1, :]}, "X"),
    Case("Y = (I(2) + A)^2", {"A": (2, 2)}, lambda A: {"Y": (sympy.eye(2) + A) ** 2}, "A"),
    Case("y = sqrt(x) .* log(x)", {"x": (2, 1)}, lambda x: {"y": each(lambda t: sympy.sqrt(t) * sympy.log(t), x)}, "x", True),
    Case("y = x .^ (-2) + tan(x)", {"x": (2, 1)}, lambda x: {"y": each(lambda t: t**-2 + sympy.tan(t), x)}, "x", True),
]  # fmt: skip


def layernorm(x: Matrix) -> Matrix:
    mean = total(x) / len(x)
    return each(lambda t: (t - mean) / sympy.sqrt(squares(x - mean * sympy.ones(*x.shape)) / len(x)), x)


def declared(case: Case) -> str:
    known = [name.strip() for part in case.text.split(";") if "=" not in part for name in [part.split(":")[0]]]
    lines = [f"{name}: {rows} x {columns}" if columns > 1 else f"{name}: {rows}" for name, (rows, columns) in case.sizes.items()]
    return "; ".join([*(line for line in lines if line.split(":")[0] not in known and not line.endswith(": 1")), case.text])


def stacked(value: Any) -> Matrix:
    return value.vec() if isinstance(value, sympy.MatrixBase) else Matrix([value])


def expected_block(value: Any, variable: Matrix, layout: str, at: dict[Any, Any], alone: bool) -> Matrix:
    """Design's table of layouts, by hand."""
    jacobian = stacked(value).jacobian(variable.vec()).subs(at)
    if not isinstance(value, sympy.MatrixBase):
        gradient = Matrix(variable.cols, variable.rows, list(jacobian)).T
        return gradient.T if layout == "numerator" else gradient
    if len(variable) == 1 and alone:
        shaped = Matrix(value.cols, value.rows, list(jacobian)).T
        return shaped.T if layout == "denominator" else shaped
    return jacobian.T if layout == "denominator" else jacobian


def explicit(expression: Any, values: dict[str, Any]) -> Matrix:
    """An expression at explicit values of its symbols, by SymPy's own means."""
    known = {
        symbol: ImmutableMatrix(values[symbol.name]) if isinstance(symbol, MatrixSymbol) else values[symbol.name]
        for symbol in expression.atoms(MatrixSymbol, Symbol)
        if symbol.name in values
    }
    found = expression.xreplace(known).replace(lambda node: isinstance(node, sympy.MatrixExpr), entries).doit()
    return Matrix(found).doit() if isinstance(found, sympy.MatrixBase) else Matrix([[found]])


def entries(matrix: Any) -> Any:
    done = matrix.doit()
    return ImmutableMatrix(done if isinstance(done, sympy.MatrixBase) else done.as_explicit())


def is_zero(entry: Any) -> bool:
    """Exactly 0: exponentials are powers of one letter, what is left are roots and values of functions at rational points."""
    entry = sympy.expand(entry)
    if entry == 0:
        return True
    entry = entry.rewrite(sympy.tanh, sympy.exp)
    letter = Symbol("w", positive=True)
    powers = [node.args[0] for node in entry.atoms(sympy.exp)] + ([Rational(1)] if entry.has(sympy.E) else [])
    common = sympy.ilcm(*(power.q for power in powers)) if powers else 1
    assert all(power.is_Rational for power in powers)
    entry = entry.replace(sympy.exp, lambda power: letter ** (power * common)).subs(sympy.E, letter**common)
    return bool(sympy.simplify(sympy.radsimp(sympy.cancel(sympy.together(entry)))) == 0)


def draw(case: Case) -> dict[str, Matrix]:
    rng = random.Random(case.text)
    numbers = [Rational(k, 2) for k in range(1, 7)] if case.positive else [Rational(k, 2) for k in range(-4, 5) if k]
    return {name: Matrix(rows, columns, rng.sample(numbers * 6, rows * columns)) for name, (rows, columns) in case.sizes.items()}


@pytest.mark.parametrize("case", CASES, ids=[case.text for case in CASES])
def test_blocks_equal_the_jacobian_of_the_explicit_composition(case: Case) -> None:
    tape = read(declared(case))
    letters = {name: Matrix(rows, columns, symbols(f"{name}_:{rows}:{columns}", real=True)) for name, (rows, columns) in case.sizes.items()}
    computed = case.compute(**letters)
    output = list(computed)[-1]
    points = draw(case)
    at = {symbol: number for name in letters for symbol, number in zip(letters[name], points[name], strict=True)}
    values: dict[str, Any] = {name: point if case.sizes[name] != (1, 1) else point[0] for name, point in points.items()}
    for name, value in computed.items():
        values[name] = value.subs(at) if isinstance(value, sympy.MatrixBase) else (sympy.Integer(0) + value).subs(at)
    for variable in case.wrt.split():
        index, of = tape.index(variable), tape.index(output)
        assert index is not None
        assert of is not None
        for name, layout in LAYOUTS.items():
            (block,) = symbolic.spelled_out_blocks(derive_concrete(tape, of, [index], layout))
            found = explicit(block, values)
            expected = expected_block(computed[output], letters[variable], name, at, True)
            assert found.shape == expected.shape, (variable, name, block)
            assert all(is_zero(a - b) for a, b in zip(found, expected, strict=True)), (variable, name, block, found, expected)


@pytest.mark.parametrize("case", CASES, ids=[case.text for case in CASES])
def test_values_equal_the_explicit_composition(case: Case) -> None:
    tape = read(declared(case))
    points = draw(case)
    values: dict[str, Any] = {name: point if case.sizes[name] != (1, 1) else point[0] for name, point in points.items()}
    computed = case.compute(**points)
    for name, value in computed.items():
        index = tape.index(name)
        assert index is not None
        found = explicit(symbolic.value_expression(tape, index), values)
        expected = value if isinstance(value, sympy.MatrixBase) else Matrix([[value]])
        assert found.shape == expected.shape
        assert all(is_zero(a - b) for a, b in zip(found, expected, strict=True)), (found, expected)
        for symbol in symbolic.value_expression(tape, index, named=True).atoms(MatrixSymbol, Symbol):
            assert symbol.name in values or symbol.name in ("t", "u") or symbol.name in computed


# --- blocks together, opaque layers, second derivatives ---


def test_blocks_on_vec_make_one_row_or_one_column() -> None:
    tape = read("W: 2 x 3; x: 3; b: 2; L = 1/2 ||W x + b||^2")
    W, x, b = (Matrix(*size, symbols(f"{name}_:{size[0]}:{size[1]}")) for name, size in (("W", (2, 3)), ("x", (3, 1)), ("b", (2, 1))))
    variables = [tape.index(name) for name in ("W", "x", "b")]
    output = tape.index("L")
    assert output is not None
    loss = Matrix([squares(W * x + b) / 2])
    expected = loss.jacobian([*W.vec(), *x, *b])
    values = {"W": W, "x": x, "b": b, "L": loss[0]}
    for name, layout in LAYOUTS.items():
        derivation = derive_concrete(tape, output, [v for v in variables if v is not None], layout, vec=True)
        matrix = symbolic.spelled_out_matrix(derivation)
        assert isinstance(matrix, sympy.BlockMatrix)
        assert matrix.blockshape == ((1, 3) if name == "numerator" else (3, 1))
        blocks = [explicit(block, values) for block in matrix.blocks]
        found = Matrix.hstack(*blocks) if name == "numerator" else Matrix.vstack(*blocks).T
        assert (found - expected).expand() == sympy.zeros(1, 11)


def test_scalars_stand_in_a_block_matrix() -> None:
    tape = read("s: scalar; t: scalar; f = s^2 t")
    matrix = symbolic.spelled_out_matrix(derive_concrete(tape, 2 + len(tape.steps) - 1, [0, 1], LAYOUTS["mixed"], vec=True))
    s, t = symbols("s t")
    assert matrix.as_explicit().doit() == Matrix([2 * s * t, s**2])


QUADRATIC = "x: 2; W: 2 x 2; h: 2; u: 2; L: scalar"


def opaque_values() -> tuple[dict[str, Any], dict[Any, Any], dict[str, Matrix]]:
    """h = g(u) with u = W x, L = l(h, x): polynomial layers, and a point."""
    W, x = Matrix(2, 2, symbols("W_:2:2")), Matrix(symbols("x_:2"))
    u = W * x
    h = Matrix([u[0] ** 2 * u[1], u[1] ** 2 + 3 * u[0]])
    loss = h[0] * x[1] + h[1] ** 2 * x[0]
    at = dict(zip([*W, *x], [Rational(k, 3) for k in (1, -2, 4, 5, -1, 2)], strict=True))
    return {"W": W, "x": x, "u": u, "h": h, "L": loss}, at, {"W": W, "x": x}


def test_layers_and_concrete_operations_mix() -> None:
    tape = read(f"{QUADRATIC}; u = W x; h = g(u); L = l(h, x)")
    values, at, leaves = opaque_values()
    p, q, a, b = symbols("p q a b")
    inner = Matrix([p**2 * q, q**2 + 3 * p]).jacobian([p, q])
    outer = p * b + q**2 * a

    def layer(node: Any) -> Any:
        name, slot = node.args[0].name, int(node.args[2])
        here = dict(zip((p, q), values["u" if name == "g" else "h"], strict=True)) | dict(zip((a, b), values["x"], strict=True))
        found = inner if name == "g" else Matrix([outer]).jacobian([[p, q], [a, b]][slot - 1])
        found = found.T if isinstance(node, symbolic.Gradient) else found
        return ImmutableMatrix(found.subs(here, simultaneous=True).subs(at))

    kinds = (symbolic.PartialJacobian, symbolic.Gradient)
    for variable in leaves:
        index, output = tape.index(variable), tape.index("L")
        assert index is not None
        assert output is not None
        for name, layout in LAYOUTS.items():
            (block,) = symbolic.spelled_out_blocks(derive_concrete(tape, output, [index], layout))
            assert {node.args[0].name for node in block.atoms(*kinds)} == {"g", "l"}
            numbers = {key: value.subs(at) for key, value in values.items()}
            found = explicit(block.replace(lambda node: isinstance(node, kinds), layer), numbers)
            assert found == expected_block(values["L"], leaves[variable], name, at, True)


def test_second_derivatives_of_layers_are_named() -> None:
    tape = read("x: 2; u: 3; L: scalar; u = g(A x); L = l(u)")
    output, x = tape.index("L"), tape.index("x")
    assert output is not None
    assert x is not None
    (block,) = symbolic.spelled_out_blocks(derive_second(tape, output, x, x))
    assert {str(node) for node in block.atoms(symbolic.Curvature)} == {"D11(l)[1]", "D11(g)[grad1(l)]"}
    assert block.shape == (2, 2)
    assert "partial" in sympy.latex(block)
    for node in sympy.preorder_traversal(block):
        assert not node.args or node.func(*node.args) == node
    (along,) = symbolic.spelled_out_blocks(derive_along(tape, output, x, "v"))
    assert MatrixSymbol("v", 2, 1) in along.atoms(MatrixSymbol)


def test_second_derivatives_of_concrete_layers() -> None:
    tape = read("x: 2; A: 2 x 2; f = exp(x^T A x)")
    output = tape.index("f")
    assert output is not None
    (block,) = symbolic.spelled_out_blocks(derive_second(tape, output, 0, 0))
    x, A = Matrix(symbols("x_:2")), Matrix(2, 2, symbols("A_:2:2"))
    f = sympy.exp((x.T * A * x)[0])
    found = explicit(block, {"x": x, "A": A, "f": f})
    assert (found - sympy.hessian(f, list(x))).applyfunc(sympy.expand) == sympy.zeros(2, 2)


def test_shared_adjoints_have_names() -> None:
    tape = read("x: 2; W: 2 x 2; z = W x; L = ||z||^2")
    output = tape.index("L")
    assert output is not None
    derivation = derive_concrete(tape, output, [0], LAYOUTS["mixed"], shared=True)
    (block,) = symbolic.spelled_out_blocks(derivation)
    assert str(block) == "dL/dz*x.T"


def test_every_derived_operation_has_entries() -> None:
    arrays = Arrays(read("X: 2 x 3; v: 2; Y = X; y = v"))
    rng = random.Random(1)
    X, v = Matrix(2, 3, [rng.randint(-3, 3) for _ in range(6)]), Matrix([3, -4])
    values = {"X": X, "v": v}
    cases = {
        arrays.product((arrays.commutation("2", "3"), arrays.vec(0))): X.T.vec(),
        arrays.product((arrays.embedding("2"), 1)): sympy.diag(*v).vec(),
        arrays.indicator(0): X.applyfunc(lambda entry: 1 if entry > 0 else 0),
        arrays.reshape(arrays.vec(arrays.transpose(0)), Shape("2", "3")): Matrix(2, 3, lambda i, j: X.T.vec()[i + 2 * j]),
        arrays.power(1, Fraction(2)): Matrix([9, 16]),
        arrays.diagonal(arrays.product((0, arrays.transpose(0)))): Matrix([squares(X[0, :]), squares(X[1, :])]),
    }
    for node, expected in cases.items():
        assert explicit(symbolic.array_expression(arrays, node), values) == expected


def test_sizes_are_multiplied_out() -> None:
    m, n = symbols("m n", integer=True, positive=True)
    assert symbolic.size("m*(n+2)+3") == m * n + 2 * m + 3
    kron = symbolic.value_expression(read("A: m x n; B: 2 x m; K = A ⊗ B"), 2)
    assert kron.shape == (2 * m, m * n)


def test_a_deep_chain_is_refused_not_crashed_on() -> None:
    layers = "; ".join(f"x{k} = tanh(W{k} x{k - 1} + b{k})" for k in range(1, 301))
    tape = read(layers)
    assert len(symbolic.equations(tape)) == 300
    with pytest.raises(LimitError, match="nested layers"):
        symbolic.value_expression(tape, len(tape.names) - 1)
    text = "; ".join(f"x{k} = tanh(W{k} x{k - 1} + b{k})" for k in range(1, 61))
    deep = read(text)
    assert len(str(symbolic.value_expression(deep, len(deep.names) - 1))) > 1000


# --- derivatives of functions that the text defines ---

FUNCTIONS = [
    "t/(1 + exp(-t))", "t^3", "t exp(-t^2)", "log(1 + exp(t))", "1/(1 + exp(-t))", "t sigmoid(t)", "tanh(t)^2", "t tanh(log(1 + exp(t)))",
    "sqrt(1 + t^2)", "abs(t)", "t abs(t)", "max(0, t)^2", "relu(t) sin(t)", "sigmoid(2 t)", "exp(sin(t))", "cos(t)/(2 + sin(t))", "erf(t)",
    "gelu(t)", "silu(t)", "softplus(t)", "elu(t)", "leaky_relu(t)", "sin(t) cos(t)", "tan(t)", "sinh(t)/cosh(t)", "log(abs(t))",
    "t^2 log(abs(t))", "1/t", "exp(t)/(1 + exp(t))", "e^(-t)", "pi t^2", "2^(1/2) t", "sign(t) t^2", "(1 + t + t^2)^(-2)", "exp(t log(2))",
    "log(log(3 + t^2))", "sin(1/t)", "exp(-abs(t))", "t/2 (1 + tanh(sqrt(2/pi) (t + 1/22 t^3)))", "max(0, t) + abs(sin(t))", "t",
    "1/(1 + abs(t))", "t softplus(t)", "tanh(sinh(t)/cosh(2 t))", "elu(t)^2 relu(t)", "t^-3 - 2 t^-1", "sigma(2 t + 1) t", "sigma'(t)^2",
]  # fmt: skip

REAL: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp, "log": mpmath.log, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "sinh": mpmath.sinh, "cosh": mpmath.cosh,
    "tanh": mpmath.tanh, "erf": mpmath.erf, "abs": abs, "sign": mpmath.sign,
    "sigmoid": lambda t: 1 / (1 + mpmath.exp(-t)),
    "relu": lambda t: max(t, mpmath.mpf(0)),
    "leaky_relu": lambda t: t if t > 0 else t / 100,
    "elu": lambda t: t if t > 0 else mpmath.exp(t) - 1,
    "softplus": lambda t: mpmath.log(1 + mpmath.exp(t)),
    "silu": lambda t: t / (1 + mpmath.exp(-t)),
    "gelu": lambda t: t * (1 + mpmath.erf(t / mpmath.sqrt(2))) / 2,
}  # fmt: skip


def real_value(tape: Tape, t: Any) -> Any:
    """The last value of a tape of scalars; σ is sin(2 t) + t²."""
    values = [t]
    for step in tape.steps:
        u = [values[source] for source in step.inputs]
        numbers = [mpmath.mpf(c.numerator) / c.denominator for c in step.coefficients]
        if step.operation == "apply" and step.name == "σ":
            order = int(step.coefficients[0]) if step.coefficients else 0
            square = [u[0] ** 2, 2 * u[0], mpmath.mpf(2)][order] if order < 3 else 0
            values.append(2**order * mpmath.sin(2 * u[0] + order * mpmath.pi / 2) + square)
        elif step.operation == "apply":
            assert not step.coefficients
            values.append(REAL[step.name](u[0]))
        elif step.operation == "sum":
            values.append(mpmath.fsum(a * b for a, b in zip(numbers, u, strict=True)))
        elif step.operation == "constant":
            values.append({"π": mpmath.pi, "e": mpmath.e}[step.name] + mpmath.mpf(0))
        elif step.operation == "scale":
            values.append(u[0] * u[1])
        elif step.operation == "power":
            values.append(mpmath.power(u[0], numbers[0]))
        elif step.operation == "indicator":
            values.append(mpmath.mpf(u[0] > 0))
        else:
            assert step.operation == "number"
            values.append(numbers[0])
    return values[-1]


def defined(body: str) -> Tape:
    ((_, tape),) = read(f"g(t) = {body}; y = g(x)").functions
    return tape


@pytest.mark.parametrize("body", FUNCTIONS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_functions_equal_differences(body: str, order: int) -> None:
    tape = defined(body)
    derivative = symbolic.differentiate_function(tape, order)
    assert derivative.leaves == 1
    assert derivative.names[0] == tape.names[0]
    assert {step.operation for step in derivative.steps} <= {"sum", "scale", "power", "apply", "number", "constant", "indicator"}
    with mpmath.workdps(60):
        for point in ("0.7", "-1.3", "2.1", "-0.4"):
            t = mpmath.mpf(point)
            numeric = mpmath.diff(lambda s: real_value(tape, s), t, order, h=mpmath.mpf(10) ** -12)
            found = real_value(derivative, t)
            assert abs(found - numeric) < mpmath.mpf(10) ** -9 * (1 + abs(numeric)), (body, order, derivative.steps)


def test_derivatives_look_as_people_write_them() -> None:
    def text(body: str, order: int = 1) -> str:
        tape = symbolic.differentiate_function(defined(body), order)
        return symbolic.to_text(symbolic.value_expression(tape, len(tape.names) - 1)).removeprefix("t: scalar; ")

    assert text("tanh(t)") == "1 - tanh(t)^2"
    assert text("tanh(t)^2") == "2*(1 - tanh(t)^2)*tanh(t)"
    assert text("sigmoid(t)") == "(1 - sigmoid(t))*sigmoid(t)"
    assert text("softplus(t)", 3) == "(1 - 2*sigmoid(t))*(1 - sigmoid(t))*sigmoid(t)"
    assert text("1/(1 + exp(-t))") == "exp(-t)*(1 + exp(-t))^(-2)"
    assert text("sqrt(1 + t^2)", 2) == "(t^2 + 1)^(-3/2)"
    assert text("t abs(t)") == "2*abs(t)"
    assert text("max(0, t)^2") == "2*relu(t)"
    assert text("log(abs(t))") == "t^(-1)"
    assert text("sigma(t)") == "sigma'(t)"


def test_a_derivative_may_be_a_leaf_or_a_number() -> None:
    half = symbolic.differentiate_function(defined("t^2/2"), 1)
    assert half.steps == ()
    assert symbolic.differentiate_function(half, 1).steps == (Step("number", "", (), (Fraction(1),)),)
    assert symbolic.differentiate_function(half, 0) is half


def test_functions_of_other_things_are_refused() -> None:
    norm = Tape(1, ("t", ""), (Step("norm1", "", (0,)),), (SCALAR, SCALAR))
    with pytest.raises(UnsupportedError, match="norm1 in an elementwise function"):
        symbolic.differentiate_function(norm, 1)
    two = Tape(2, ("t", "s", ""), (Step("scale", "", (0, 1)),), (SCALAR,) * 3)
    with pytest.raises(UnsupportedError, match="one argument"):
        symbolic.differentiate_function(two, 1)
    deep = Tape(1, ("t", *[""] * 500), tuple(Step("apply", "tanh", (k,)) for k in range(500)), (SCALAR,) * 501)
    with pytest.raises(LimitError, match="nested operations"):
        symbolic.differentiate_function(deep, 1)


def test_elementwise_functions_go_on_in_sympy() -> None:
    t = Symbol("t", real=True)
    for name, function in symbolic.BUILT_IN.items():
        definition = function(t).doit()
        for number in (Rational(3, 7), Rational(-3, 7)):
            expected = definition.diff(t).subs(t, number).evalf(30)
            found = function(t).diff(t).subs(t, number).doit().evalf(30)
            assert abs(expected - found) < 1e-25, name
            assert abs(function(number).evalf(30) - definition.subs(t, number).evalf(30)) < 1e-25
    g = symbolic.defined_function("g", sympy.Lambda(t, t**2))
    assert g is symbolic.defined_function("g", sympy.Lambda(t, t**2))
    assert sympy.latex(g(t)).startswith("g")


# --- expressions in ---

ROUND_TRIPS = """
z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h + b2 - y||^2
z = W x + b; a = sigmoid(z); L = ||a - y||^2
f = a^T X b; X: m x n
f = x^T A x
f = x^T x
f = tr(A X B)
f = tr(X^T X)
f = ||X||_F^2
f = ||x||
x: 3; f = x/||x||
f = log det X
f = det X
f = tr(X^-1 A)
Z = X W + 1
y = softmax(W x + b)
y = softmax_rows(X W)
y = softmax_columns(X W)
x: 1 x n; y = softmax(x W)
L = CE(softmax(W h + b), y)
f = logsumexp(z)
f = layernorm(x)
f = sum(X)
f = sum(x)
f = sum(X, rows)
f = sum(X, columns)
f = mean(x)
f = mean(X)
f = mean(X, rows)
X: 3 x 5; f = mean(X)
f = sum(X Y)
Z = W X + b; X: n x m
f = A ⊗ B
f = vec(X)
f = diag(x) A
f = diag(A B)
f = A .* B
f = a .* b ./ c
f = x .^ 3
f = sqrt(x)
s: scalar; f = s^3 + 1/s
s: scalar; t: scalar; f = exp(-s t) / (1 + t^2)
s: scalar; f = log(abs(s)) - relu(s) + sigma(s)
f = 1 - h .* h
f = [A, B]
f = [A; B]
f = [A, B; C, D]
f = ||v||_1
x: n; f = e(2, n)^T x
A: n x n; f = I(n) + A
f = sigma(W x)
f = sigma'(z) .* d
f = tanh'(z)
g: elementwise; y = g(W x)
g(t) = t/(1 + exp(-t)); y = g(W x)
h(t) = t^2; g(t) = h(t) + 1; y = g(x)
f = relu(W x)
f = gelu(x) + silu(x) + softplus(x) - elu(x) .* leaky_relu(x)
Q: n x d_k; K: n x d_k; V: n x d_v; f = softmax_rows(Q K^T / sqrt(d_k)) V
x: n; f = 1/n * ||x||^2
f = 2 A B
f = A (B + C)
f = (A + B)^T (A - B)
f = (A B)^T
f = (A^T)^-1
A: n x n; f = A^2
x2 = x1 + f2(x1, W2); L = ℓ(x2)
y = W2 relu(W1 f(x, θ))
f = a (b^T c)
f = a^T b c^T d
f = (a^T b) X
s: scalar; f = s A x
s: scalar; A: 2 x 3; f = A + s
f = logsoftmax(z)
f = -2 (a + b)
f = pi x
f = x ./ (1 + abs(x))
f = a - b - c + d
lambda: scalar; f = ||A x - b||^2 + lambda ||x||^2
f = exp(a^T x)
f = log(1 + exp(-y (w^T x))); y: scalar
f = tanh(W x) .* (1 - x)
f = a b^T
f = A ./ B
f = exp(A)
f = ones(m, n) X; X: n x p
f = zeros(3, 2) + X
"""


@pytest.mark.parametrize("text", [text for text in ROUND_TRIPS.splitlines() if text])
def test_expressions_are_read_back(text: str) -> None:
    tape = read(text)
    assert read(symbolic.to_text(symbolic.equations(tape))) == tape
    if sum(map(bool, tape.names[tape.leaves :])) == 1:
        again = read(symbolic.to_text(symbolic.value_expression(tape, len(tape.names) - 1)))
        assert (again.steps, again.shapes, again.functions) == (tape.steps, tape.shapes, tape.functions)


m, n = symbols("m n", integer=True, positive=True)
A, B = MatrixSymbol("A", m, n), MatrixSymbol("B", n, m)
S, x, y = MatrixSymbol("S", n, n), MatrixSymbol("x", n, 1), MatrixSymbol("y", n, 1)
c, t = symbols("c t")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (A * x, "A*x"),
        (2 * A * B, "2*A*B"),
        ((A * B).T, "B^T*A^T"),
        (S.I * x, "S^-1*x"),
        (S**3, "S^3"),
        (sympy.Trace(A * B), "tr(A*B)"),
        (sympy.det(S), "det(S)"),
        (sympy.sqrt(sympy.Trace(x.T * x)), "sqrt(x^T*x)"),
        (sympy.hadamard_product(x, y), "x .* y"),
        (x.applyfunc(sympy.tanh), "tanh(x)"),
        (x.applyfunc(lambda v: sympy.Max(0, v)), "relu(x)"),
        (x.applyfunc(lambda v: v**2 + v * sympy.exp(-v)), "g(t) = t^2 + t*exp(-t); g(x)"),
        (x.applyfunc(Function("h")), "h: elementwise; h(x)"),
        (c * sympy.sin(c) + 1 / c, "c: scalar; c^(-1) + c*sin(c)"),
        (sympy.kronecker_product(A, S), "kron(A, S)"),
        (sympy.DiagMatrix(x) * y, "diag(x)*y"),
        (x - y, "-y + x"),
        (x - c * y / 2, "c: scalar; -1/2*c*y + x"),
        (sympy.BlockMatrix([[S, x]]), "[S, x]"),
        (c**t, "t: scalar; c: scalar; exp(t*log(c))"),
        (sympy.exp(2) * sympy.pi * x, "pi*exp(2)*x"),
    ],
)
def test_matrix_expressions_are_written(expression: Any, text: str) -> None:
    written = symbolic.to_text(expression)
    assert [part for part in written.split("; ") if not part.startswith(("A:", "B:", "S:", "x:", "y:"))] == text.split("; ")
    read(written)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (sympy.Integral(c, c), "no layer, sum or number"),
        (c + sympy.Float(0.5), "no layer, sum or number"),
        (sympy.zeta(c), "no layer, sum or number"),
        (S**c, "no whole number"),
        (sympy.ImmutableMatrix([[1, 2]]) * x.subs(n, 2), "a matrix of given entries"),
        (x.applyfunc(lambda v: v * c), "depends on c"),
        (sympy.Derivative(c * t, t), "no derivative of an elementwise function"),
    ],
)
def test_what_has_no_word_is_refused(expression: Any, message: str) -> None:
    with pytest.raises(ReadingError, match=message):
        symbolic.to_text(expression)


def test_a_power_is_not_taken_for_a_name() -> None:
    h, h2, x1, x12 = symbols("h h2 x1 x12")
    assert symbolic.to_text(h**2 + h2 + c**2).endswith("h2 + c^2 + (h)^2")
    tape = read(symbolic.to_text(x1**2 * x12))
    assert [step.operation for step in tape.steps] == ["power", "scale"]


def test_multiples_inside_multiples_are_refused_in_time() -> None:
    tape = read("; ".join(f"x{k} = x{k - 1}/||x{k - 1}||" for k in range(1, 40)))
    with pytest.raises(LimitError, match="multiples inside each other"):
        symbolic.value_expression(tape, len(tape.names) - 1)
    assert len(symbolic.equations(tape)) == 39


def test_sympy_can_differentiate_what_is_written() -> None:
    tape = read("x: 3; A: 2 x 3; b: 2; L = ||A x - b||^2")
    loss = symbolic.value_expression(tape, len(tape.names) - 1)
    X, M, v = MatrixSymbol("x", 3, 1), MatrixSymbol("A", 2, 3), MatrixSymbol("b", 2, 1)
    assert (loss.diff(X) - 2 * M.T * (M * X - v)).as_explicit().expand() == sympy.zeros(3, 1)


def test_expressions_print() -> None:
    tape = read(
        "z = W x + b; p = softmax(z); L = CE(p, y) + ||W||_F^2 + norm(z); X: 2 x 2; q = layernorm(z); k = vec(X); r = softmax_rows(X)"
    )
    for equation in symbolic.equations(tape):
        assert sympy.latex(equation).isascii()
        assert str(equation)
        assert sympy.srepr(equation)
