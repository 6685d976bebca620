"""Values: every operation against SymPy, derivatives of functions against SymPy, random maps against differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain import dense
from jacobian_chain.dense import ELEMENTWISE, FLOATS, RATIONALS, Dense, DomainError, Numbers, SingularError, Taylor, precise
from jacobian_chain.errors import LimitError
from jacobian_chain.numeric import OPERATIONS, UNSPECIFIED, Opaque, evaluate, evaluate_tape, program, size_of, symbols_of
from jacobian_chain.tape import Shape, Step, Tape

SIZES = {"m": 2, "n": 3, "p": 4}
SCALAR = Shape("1", "1")
COLUMN = Shape("n", "1")
MATRIX = Shape("m", "n")
SQUARE = Shape("n", "n")


class Case(NamedTuple):
    """One step on inputs of some shapes, and what SymPy makes of them."""

    step: Step
    inputs: tuple[Shape, ...]
    shape: Shape
    expected: Callable[..., Any]
    positive: bool = False


def step(operation: str, count: int, name: str = "", *coefficients: int | Fraction) -> Step:
    return Step(operation, name, tuple(range(count)), tuple(Fraction(c) for c in coefficients))


def stacked(a: sp.Matrix) -> sp.Matrix:
    return sp.Matrix([a[i, j] for j in range(a.cols) for i in range(a.rows)])


def one(value: Any) -> sp.Matrix:
    return sp.Matrix([[value]])


def softmax(a: sp.Matrix) -> sp.Matrix:
    return sp.Matrix(a.rows, a.cols, lambda i, j: sp.exp(a[i, j]) / sum(sp.exp(a[k, j]) for k in range(a.rows)))


def layernorm(a: sp.Matrix) -> sp.Matrix:
    mean = sum(a) / len(a)
    return (a - mean * sp.ones(*a.shape)) / sp.sqrt(sum((entry - mean) ** 2 for entry in a) / len(a))


def commutation(rows: int, columns: int) -> sp.Matrix:
    entries = sp.Matrix(rows, columns, lambda i, j: sp.Symbol(f"a{i}_{j}"))
    return stacked(entries.T).jacobian(stacked(entries))


U = sp.Matrix(sp.symbols("u:3"))
CASES = [
    Case(step("sum", 2, "", 2, Fraction(-1, 3)), (MATRIX, MATRIX), MATRIX, lambda a, b: 2 * a - b / 3),
    Case(step("sum", 2, "", 1, -2), (SCALAR, MATRIX), MATRIX, lambda s, a: s[0] * sp.ones(2, 3) - 2 * a),
    Case(step("sum", 1, "", -1), (COLUMN,), COLUMN, lambda a: -a),
    Case(step("scale", 2), (SCALAR, MATRIX), MATRIX, lambda s, a: s[0] * a),
    Case(step("number", 0, "", Fraction(5, 7)), (), SCALAR, lambda: one(sp.Rational(5, 7))),
    Case(step("constant", 0, "pi"), (), SCALAR, lambda: one(sp.pi)),
    Case(step("constant", 0, "e"), (), SCALAR, lambda: one(sp.E)),
    Case(step("dimension", 0, "2*n+m"), (), SCALAR, lambda: one(8)),
    Case(step("ones", 0), (), MATRIX, lambda: sp.ones(2, 3)),
    Case(step("zeros", 0), (), MATRIX, lambda: sp.zeros(2, 3)),
    Case(step("identity", 0), (), SQUARE, lambda: sp.eye(3)),
    Case(step("unit", 0, "", 2), (), COLUMN, lambda: sp.Matrix([0, 1, 0])),
    Case(step("product", 3), (MATRIX, Shape("n", "p"), Shape("p", "1")), Shape("m", "1"), lambda a, b, c: a * b * c),
    Case(step("hadamard", 3), (MATRIX,) * 3, MATRIX, lambda a, b, c: a.multiply_elementwise(b).multiply_elementwise(c)),
    Case(step("power", 1, "", 3), (MATRIX,), MATRIX, lambda a: a.applyfunc(lambda z: z**3)),
    Case(step("power", 1, "", -2), (MATRIX,), MATRIX, lambda a: a.applyfunc(lambda z: z**-2)),
    Case(step("power", 1, "", Fraction(1, 2)), (COLUMN,), COLUMN, lambda a: a.applyfunc(sp.sqrt), True),
    Case(step("power", 1, "", Fraction(-2, 3)), (COLUMN,), COLUMN, lambda a: a.applyfunc(lambda z: z ** sp.Rational(-2, 3)), True),
    Case(step("apply", 1, "tanh"), (MATRIX,), MATRIX, lambda a: a.applyfunc(sp.tanh)),
    Case(step("apply", 1, "sin", 2), (MATRIX,), MATRIX, lambda a: a.applyfunc(lambda z: -sp.sin(z))),
    Case(step("transpose", 1), (MATRIX,), Shape("n", "m"), lambda a: a.T),
    Case(step("inverse", 1), (SQUARE,), SQUARE, lambda a: a.inv()),
    Case(step("trace", 1), (SQUARE,), SCALAR, lambda a: one(a.trace())),
    Case(step("det", 1), (SQUARE,), SCALAR, lambda a: one(a.det())),
    Case(step("logdet", 1), (SQUARE,), SCALAR, lambda a: one(sp.log(abs(a.det())))),
    Case(step("sqnorm", 1), (MATRIX,), SCALAR, lambda a: one(a.norm() ** 2)),
    Case(step("norm1", 1), (COLUMN,), SCALAR, lambda a: one(a.norm(1))),
    Case(step("logsumexp", 1), (COLUMN,), SCALAR, lambda a: one(sp.log(sum(a.applyfunc(sp.exp))))),
    Case(step("softmax", 1, "columns"), (MATRIX,), MATRIX, softmax),
    Case(step("softmax", 1, "rows"), (MATRIX,), MATRIX, lambda a: softmax(a.T).T),
    Case(step("CE", 2), (MATRIX, MATRIX), SCALAR, lambda p, y: one(-sum(y.multiply_elementwise(p.applyfunc(sp.log)))), True),
    Case(step("layernorm", 1), (COLUMN,), COLUMN, layernorm),
    Case(step("diag", 1), (COLUMN,), SQUARE, lambda a: sp.diag(*a)),
    Case(step("diagonal", 1), (SQUARE,), COLUMN, lambda a: a.diagonal().T),
    Case(step("vec", 1), (MATRIX,), Shape("m*n", "1"), stacked),
    Case(step("reshape", 1), (Shape("m*n", "1"),), MATRIX, lambda a: sp.Matrix(2, 3, lambda i, j: a[i + 2 * j])),
    Case(step("kron", 2), (MATRIX, Shape("p", "1")), Shape("m*p", "n"), sp.kronecker_product),
    Case(step("beside", 2), (MATRIX, Shape("m", "p")), Shape("m", "n+p"), lambda a, b: a.row_join(b)),
    Case(step("below", 2), (MATRIX, Shape("p", "n")), Shape("m+p", "n"), lambda a, b: a.col_join(b)),
    Case(step("indicator", 1, ">"), (MATRIX,), MATRIX, lambda a: a.applyfunc(lambda z: sp.Heaviside(z, 0))),
    Case(step("commutation", 0, "m,n"), (), Shape("m*n", "m*n"), lambda: commutation(2, 3)),
    Case(step("embedding", 0, "n"), (), Shape("n*n", "n"), lambda: stacked(sp.diag(*U)).jacobian(U)),
]


def draw(shape: Shape, seed: int, positive: bool = False) -> Dense:
    rows, columns = size_of(shape.rows, SIZES), size_of(shape.columns, SIZES)
    numbers = [Fraction((7 * k * k + 11 * seed * k + 5 * seed + 3) % 41 - 20, 16) or Fraction(1, 3) for k in range(rows * columns)]
    return [[abs(numbers[i * columns + j]) if positive else numbers[i * columns + j] for j in range(columns)] for i in range(rows)]


def symbolic(a: Dense) -> sp.Matrix:
    return sp.Matrix([[sp.Rational(entry.numerator, entry.denominator) for entry in row] for row in a])


def run(case: Case, numbers: Numbers) -> tuple[Dense, list[Dense]]:
    inputs = [draw(shape, seed, case.positive) for seed, shape in enumerate(case.inputs, 1)]
    steps = [Step("leaf", f"u{k}", ()) for k in range(len(inputs))] + [case.step]
    wanted = len(inputs)
    found = evaluate(steps, [*case.inputs, case.shape], dict(enumerate(inputs)), SIZES, numbers, Opaque(), [wanted])
    return found[wanted], inputs


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.step.operation}-{case.step.name}-{len(case.inputs)}")
def test_operations_mean_what_sympy_says(case: Case) -> None:
    found, inputs = run(case, FLOATS)
    expected = case.expected(*map(symbolic, inputs))
    assert dense.size(found) == expected.shape == (size_of(case.shape.rows, SIZES), size_of(case.shape.columns, SIZES))
    close(found, expected, 1e-13)
    close(run(case, precise(40))[0], expected, 1e-35)
    if all(entry.is_rational for entry in expected):
        assert symbolic(run(case, RATIONALS)[0]) == expected
    else:
        with pytest.raises(DomainError, match="rational"):
            run(case, RATIONALS)


def close(found: Dense, expected: sp.Matrix, tolerance: float) -> None:
    exact = expected.evalf(50)
    for i, row in enumerate(found):
        for j, entry in enumerate(row):
            error = abs(sp.Float(str(entry) if not isinstance(entry, float) else repr(entry), 50) - exact[i, j])
            assert error <= tolerance * max(1, abs(exact[i, j])), (i, j, entry, exact[i, j])


def test_all_operations_are_tested() -> None:
    tested = {case.step.operation for case in CASES}
    assert tested | {"layer", "partial", "gradient", "curvature"} == {*OPERATIONS, *UNSPECIFIED}
    documented = {word for word in (Step.__doc__ or "").replace("``", " `` ").split() if word in {*OPERATIONS, *UNSPECIFIED}}
    assert tested - {"indicator", "commutation", "embedding"} <= documented


# --- elementwise functions ---

Z = sp.Symbol("z", real=True)
FUNCTIONS = {
    **{name: getattr(sp, name)(Z) for name in "exp log sin cos tan sinh cosh tanh erf sign".split()},
    "sigmoid": 1 / (1 + sp.exp(-Z)),
    "relu": sp.Piecewise((Z, Z > 0), (0, True)),
    "leaky_relu": sp.Piecewise((Z, Z > 0), (Z / 100, True)),
    "elu": sp.Piecewise((Z, Z > 0), (sp.exp(Z) - 1, True)),
    "softplus": sp.log(1 + sp.exp(Z)),
    "silu": Z / (1 + sp.exp(-Z)),
    "gelu": Z * (1 + sp.erf(Z / sp.sqrt(2))) / 2,
    "abs": sp.Piecewise((Z, Z > 0), (-Z, True)),
    "step": sp.Piecewise((1, Z > 0), (0, True)),
}
POINTS = (Fraction(-5, 4), Fraction(3, 8), Fraction(11, 4))


def test_every_function_has_a_witness() -> None:
    assert set(FUNCTIONS) == set(ELEMENTWISE)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("order", range(5))
def test_functions_and_their_derivatives(name: str, order: int) -> None:
    function = sp.sign(Z) if name == "sign" else FUNCTIONS[name]
    slope = (sp.Integer(0) if order else function) if name in ("sign", "step") else sp.diff(function, Z, order)
    for point in POINTS:
        if name == "log" and point < 0:
            continue
        exact = one(slope.subs(Z, sp.Rational(point.numerator, point.denominator)))
        close([[FLOATS.apply(name, float(point), order)]], exact, 1e-12)
        numbers = precise(40)
        close([[numbers.apply(name, numbers.from_fraction(point), order)]], exact, 1e-34)
        series = Taylor(numbers, 1).variable(numbers.from_fraction(point))
        if order:
            close([[Taylor(numbers, 1).apply(name, series, order - 1).coefficients[1]]], exact, 1e-34)


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("sigmoid", 800.0, 1.0), ("sigmoid", -800.0, 0.0), ("softplus", 800.0, 800.0), ("softplus", -800.0, 0.0),
        ("silu", -800.0, 0.0), ("silu", 800.0, 800.0), ("gelu", -800.0, 0.0), ("gelu", 800.0, 800.0), ("tanh", 800.0, 1.0),
        ("elu", -800.0, -1.0), ("elu", 800.0, 800.0), ("erf", -800.0, -1.0), ("exp", -800.0, 0.0), ("relu", 1e300, 1e300),
    ],
)  # fmt: skip
def test_large_arguments(name: str, at: float, value: float) -> None:
    assert FLOATS.apply(name, at) == value
    for order in (1, 2, 3):
        assert abs(FLOATS.apply(name, at, order)) <= 1


def test_small_tails_are_exact() -> None:
    assert FLOATS.apply("gelu", -10.0) == pytest.approx(float(sp.N(FUNCTIONS["gelu"].subs(Z, -10), 30)), rel=1e-12)
    assert FLOATS.apply("softplus", -40.0) == pytest.approx(math.exp(-40), rel=1e-12)


def test_matrices_with_large_entries() -> None:
    assert dense.softmax([[1000.0], [-1000.0]], FLOATS, "columns") == [[1.0], [0.0]]
    assert dense.logsumexp([[-1000.0, -1000.0]], FLOATS) == pytest.approx(-1000 + math.log(2))


@pytest.mark.parametrize(
    ("name", "at", "numbers"),
    [("log", 0.0, FLOATS), ("log", -1.0, FLOATS), ("exp", Fraction(1), RATIONALS), ("softplus", Fraction(1), RATIONALS)],
)
def test_functions_know_their_domain(name: str, at: Any, numbers: Numbers) -> None:
    with pytest.raises(ArithmeticError):
        numbers.apply(name, at)
    with pytest.raises(ArithmeticError):
        precise(20).apply("log", precise(20).convert(-abs(at)))


@pytest.mark.parametrize(("base", "exponent"), [(0.0, Fraction(-1)), (-8.0, Fraction(1, 3)), (0.0, Fraction(-1, 2))])
def test_powers_know_their_domain(base: float, exponent: Fraction) -> None:
    for numbers in (FLOATS, precise(20)):
        with pytest.raises(DomainError, match="power"):
            numbers.power(numbers.convert(base), exponent)
    assert FLOATS.power(-2.0, Fraction(3)) == -8
    assert FLOATS.power(0.0, Fraction(1, 2)) == 0


def test_rational_functions_stay_exact() -> None:
    assert RATIONALS.apply("leaky_relu", Fraction(-3)) == Fraction(-3, 100)
    assert RATIONALS.apply("abs", Fraction(-3, 7), 1) == -1
    assert RATIONALS.apply("step", Fraction(0)) == 0
    assert RATIONALS.apply("sign", Fraction(0)) == 0


# --- linear algebra ---

squares = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.fractions(-4, 4, max_denominator=5), min_size=n, max_size=n), min_size=n, max_size=n)
)


@settings(max_examples=60, deadline=None)
@given(squares)
def test_determinant_and_inverse_exactly(a: Dense) -> None:
    exact = symbolic(a)
    assert sp.Rational(str(dense.det(a, RATIONALS))) == exact.det()
    if exact.det():
        assert symbolic(dense.inverse(a, RATIONALS)) == exact.inv()
        assert dense.product(a, dense.inverse(a, RATIONALS)) == dense.identity(len(a), RATIONALS)
    else:
        with pytest.raises(SingularError):
            dense.inverse(a, RATIONALS)
        with pytest.raises(SingularError):
            dense.logdet(a, FLOATS if len(a) == 1 else RATIONALS)


def test_pivots_are_the_largest() -> None:
    found = dense.inverse([[1e-20, 1.0], [1.0, 1.0]], FLOATS)
    assert found == [[pytest.approx(-1.0), pytest.approx(1.0)], [pytest.approx(1.0), pytest.approx(1e-20, abs=1e-15)]]


def test_vec_of_a_product_of_three() -> None:
    a, x, b = draw(MATRIX, 1), draw(Shape("n", "p"), 2), draw(Shape("p", "m"), 3)
    left = dense.vec(dense.product(dense.product(a, x), b))
    assert left == dense.product(dense.kron(dense.transpose(b), a), dense.vec(x))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: dense.product([[1, 2]], [[1, 2]]), lambda: dense.trace([[1, 2]]), lambda: dense.det([[1, 2]], RATIONALS),
        lambda: dense.below([[1]], [[1, 2]]), lambda: dense.reshape([[1, 2]], (3, 1)), lambda: dense.add([[1]], [[1, 2]]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()


# --- sizes ---

expressions = st.recursive(
    st.one_of(st.integers(0, 99).map(lambda k: (str(k), k)), st.sampled_from([("m", 2), ("n_x", 3), ("d_k", 7), ("n_θ1", 5)])),
    lambda inner: st.tuples(st.sampled_from("+*"), inner, inner).map(
        lambda t: (f"({t[1][0]}{t[0]}{t[2][0]})", t[1][1] + t[2][1] if t[0] == "+" else t[1][1] * t[2][1])
    ),
)


@settings(deadline=None)
@given(expressions)
def test_sizes_of_any_form(pair: tuple[str, int]) -> None:
    sizes = {"m": 2, "n_x": 3, "d_k": 7, "n_θ1": 5}
    assert size_of(pair[0], sizes) == pair[1]
    assert set(symbols_of(pair[0])) <= set(sizes)


@pytest.mark.parametrize(("text", "number"), [("m+n*p", 14), ("m*n+p", 10), ("2*(m+1)*n", 18), ("10", 10)])
def test_products_bind_closer_than_sums(text: str, number: int) -> None:
    assert size_of(text, SIZES) == number


# --- functions that a text defines ---


def scalar_tape(*steps: Step) -> Tape:
    size = 1 + len(steps)
    return Tape(1, ("t", *[""] * (size - 1)), steps, (SCALAR,) * size)


def apply_to(functions: Sequence[tuple[str, Tape]], name: str, order: int, at: Fraction, numbers: Numbers = FLOATS) -> Any:
    tape = Tape(
        1, ("x", "y"), (Step("apply", name, (0,), (Fraction(order),) if order else ()),), (COLUMN, COLUMN), functions=tuple(functions)
    )
    leaves = {0: [[at], [at * 2], [at]]}
    return evaluate_tape(tape, leaves, SIZES, numbers, Opaque())[1][0][0]


SWISH = scalar_tape(  # t / (1 + exp(-t)) + t^(1/2) sin(t²)
    Step("sum", "", (0,), (Fraction(-1),)),
    Step("apply", "exp", (1,)),
    Step("number", "", (), (Fraction(1),)),
    Step("sum", "", (3, 2), (Fraction(1), Fraction(1))),
    Step("power", "", (4,), (Fraction(-1),)),
    Step("scale", "", (5, 0)),
    Step("power", "", (0,), (Fraction(1, 2),)),
    Step("power", "", (0,), (Fraction(2),)),
    Step("apply", "sin", (8,)),
    Step("hadamard", "", (7, 9)),
    Step("sum", "", (6, 10), (Fraction(1), Fraction(1))),
)
SWISH_EXPRESSION = Z / (1 + sp.exp(-Z)) + sp.sqrt(Z) * sp.sin(Z**2)


@pytest.mark.parametrize("order", range(5))
def test_defined_functions(order: int) -> None:
    exact = one(sp.diff(SWISH_EXPRESSION, Z, order).subs(Z, sp.Rational(3, 4)))
    close([[apply_to([("g", SWISH)], "g", order, Fraction(3, 4))]], exact, 1e-11)
    close([[apply_to([("g", SWISH)], "g", order, Fraction(3, 4), precise(40))]], exact, 1e-33)


@pytest.mark.parametrize("order", range(3))
def test_functions_defined_by_each_other_and_by_derivatives(order: int) -> None:
    outer = scalar_tape(Step("apply", "g", (0,), (Fraction(1),)), Step("apply", "tanh", (1,)), Step("apply", "log", (0,), (Fraction(2),)),
                        Step("product", "", (2, 3)))  # fmt: skip
    expression = sp.tanh(sp.diff(SWISH_EXPRESSION, Z)) * sp.diff(sp.log(Z), Z, 2)
    exact = one(sp.diff(expression, Z, order).subs(Z, sp.Rational(3, 4)))
    found = apply_to([("g", SWISH), ("h", outer)], "h", order, Fraction(3, 4), precise(40))
    close([[found]], exact, 1e-33)


def test_a_function_of_an_unspecified_one() -> None:
    body = scalar_tape(Step("apply", "σ", (0,)), Step("scale", "", (0, 1)))
    opaque, t = Opaque(), 0.75
    slope = opaque.elementwise("σ", t, 0, FLOATS) + t * opaque.elementwise("σ", t, 1, FLOATS)
    assert apply_to([("g", body)], "g", 1, Fraction(3, 4)) == pytest.approx(slope)


def test_thousands_of_functions_defined_by_each_other() -> None:
    double = (Fraction(1, 2), Fraction(1, 2))
    functions = [("g0", scalar_tape())]
    for k in range(1, 3000):
        use = Step("apply", f"g{k - 1}", (0,))
        functions.append((f"g{k}", scalar_tape(use, use, Step("sum", "", (1, 2), double))))  # twice: 2^3000 calls in all
    assert apply_to(functions, "g2999", 0, Fraction(3, 4)) == 0.75
    assert apply_to(functions, "g2999", 1, Fraction(3, 4)) == 1


def test_derivatives_of_derivatives_without_end_are_refused() -> None:
    functions = [("g0", SWISH)] + [(f"g{k}", scalar_tape(Step("apply", f"g{k - 1}", (0,), (Fraction(1),)))) for k in range(1, 30)]
    assert apply_to(functions, "g3", 1, Fraction(3, 4)) == pytest.approx(float(sp.diff(SWISH_EXPRESSION, Z, 4).subs(Z, 0.75)))
    with pytest.raises(LimitError, match="nested"):
        apply_to(functions, "g29", 1, Fraction(3, 4))


series = st.lists(st.fractions(-3, 3, max_denominator=4), min_size=4, max_size=4).map(lambda c: dense.Series(tuple(c)))


@settings(max_examples=40, deadline=None)
@given(series, series, st.integers(-3, 3))
def test_series_are_polynomials_cut_off(a: dense.Series, b: dense.Series, k: int) -> None:
    t = sp.Symbol("t")

    def polynomial(value: dense.Series) -> Any:
        return sum(sp.Rational(str(c)) * t**i for i, c in enumerate(value.coefficients))

    def same(found: dense.Series, expected: Any) -> bool:
        rest = sp.Poly(polynomial(found) - expected, t)
        return all(rest.coeff_monomial(t**i) == 0 for i in range(4))

    p, q = polynomial(a), polynomial(b)
    assert same(a + b, p + q)
    assert same(a - b, p - q)
    assert same(k - a, k - p)
    assert same(a * b, p * q)
    assert same(a**3, p**3)
    if b.coefficients[0]:
        assert same(a / b * b, p)
        assert same(k / b * b, sp.Integer(k))
        assert same(Taylor(RATIONALS, 3).power(b, Fraction(-2)) * b * b, sp.Integer(1))


# --- random maps ---

OPAQUE_SHAPES = (MATRIX, COLUMN, SCALAR)


@pytest.mark.parametrize("polynomial", [False, True])
@pytest.mark.parametrize("slot", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 2), (4, 1), (1, 1)])
def test_jacobians_of_random_maps(shape: tuple[int, int], slot: int, polynomial: bool) -> None:
    opaque, numbers = Opaque(3, polynomial), precise(60)
    inputs = [dense.each(numbers.convert, draw(shape, 2)) for shape in OPAQUE_SHAPES]
    found = opaque.jacobian("f", inputs, shape[0] * shape[1], slot, numbers)
    differences = []
    for k in range(len(dense.entries(inputs[slot]))):
        ahead, behind = (dense.entries(opaque.value("f", shifted(inputs, slot, k, sign, numbers), shape, numbers)) for sign in (1, -1))
        differences.append([(a - b) / (2 * numbers.convert(STEP)) for a, b in zip(ahead, behind, strict=True)])
    assert near(found, dense.transpose(differences))


@pytest.mark.parametrize("polynomial", [False, True])
@pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 1), (1, 0), (2, 1), (1, 1)])
def test_curvatures_of_random_maps(i: int, j: int, polynomial: bool) -> None:
    opaque, numbers = Opaque(3, polynomial), precise(60)
    inputs = [dense.each(numbers.convert, draw(shape, 2)) for shape in OPAQUE_SHAPES]
    weights = dense.each(numbers.convert, draw(Shape("p", "1"), 5))
    found = opaque.curvature("f", weights, inputs, (i, j), numbers)
    columns = []
    for k in range(len(dense.entries(inputs[j]))):
        ahead, behind = (opaque.jacobian("f", shifted(inputs, j, k, sign, numbers), 4, i, numbers) for sign in (1, -1))
        slope = dense.scale(1 / (2 * numbers.convert(STEP)), dense.add(ahead, dense.scale(-1, behind)))
        columns.append(dense.entries(dense.product(dense.transpose(weights), slope)))
    assert near(found, dense.transpose(columns))
    assert near(dense.transpose(found), opaque.curvature("f", weights, inputs, (j, i), numbers))


STEP = Fraction(1, 10**20)


def shifted(inputs: list[Dense], slot: int, k: int, sign: int, numbers: Numbers) -> list[Dense]:
    entries = dense.entries(inputs[slot])
    entries[k] += sign * numbers.convert(STEP)
    moved = dense.from_entries(entries, dense.size(inputs[slot]))
    return [moved if place == slot else value for place, value in enumerate(inputs)]


def near(found: Dense, expected: Dense) -> bool:
    return dense.size(found) == dense.size(expected) and all(
        abs(a - b) < 1e-35 for p, q in zip(found, expected, strict=True) for a, b in zip(p, q, strict=True)
    )


@pytest.mark.parametrize("polynomial", [False, True])
def test_unspecified_functions_and_their_derivatives(polynomial: bool) -> None:
    opaque, numbers = Opaque(1, polynomial), precise(60)
    t, h = numbers.convert(Fraction(2, 3)), numbers.convert(STEP)
    for order in range(5):
        slope = (opaque.elementwise("σ", t + h, order, numbers) - opaque.elementwise("σ", t - h, order, numbers)) / (2 * h)
        assert abs(slope - opaque.elementwise("σ", t, order + 1, numbers)) < 1e-35


def test_random_maps_depend_on_name_sizes_and_seed_only() -> None:
    u, v = [[0.5], [-0.25]], [[0.5, -0.25]]
    value = Opaque(1).value("f", [u], (2, 1), FLOATS)
    assert Opaque(1).value("f", [v], (1, 2), FLOATS) == [[value[0][0], value[1][0]]]
    assert Opaque(1).value("g", [u], (2, 1), FLOATS) != value
    assert Opaque(2).value("f", [u], (2, 1), FLOATS) != value
    assert Opaque(1).value("f", [u[:1], u[1:]], (2, 1), FLOATS) != value
    assert Opaque(1).elementwise("φ", 0.5, 0, FLOATS) != Opaque(1).elementwise("σ", 0.5, 0, FLOATS)
    close(value, symbolic(Opaque(1, True).value("f", [[[Fraction(0)], [Fraction(0)]]], (2, 1), RATIONALS)), 10)


def test_the_same_map_in_all_numbers() -> None:
    inputs = [draw(MATRIX, 1), draw(COLUMN, 2)]
    opaque = Opaque(7, polynomial=True)
    exact = symbolic(opaque.value("f", inputs, (2, 2), RATIONALS))
    close(opaque.value("f", [dense.each(float, value) for value in inputs], (2, 2), FLOATS), exact, 1e-13)


def test_derived_steps_of_random_maps() -> None:
    shapes = [MATRIX, COLUMN, Shape("p", "1"), Shape("p", "m*n"), MATRIX, Shape("n", "m*n")]
    steps = [
        Step("leaf", "X", ()), Step("leaf", "v", ()), Step("leaf", "w", ()), Step("partial", "f", (0, 1), (Fraction(0),)),
        Step("gradient", "l", (0, 1), (Fraction(0),)), Step("curvature", "f", (2, 0, 1), (Fraction(1), Fraction(0))),
    ]  # fmt: skip
    leaves = {0: draw(MATRIX, 1), 1: draw(COLUMN, 2), 2: draw(Shape("p", "1"), 3)}
    opaque = Opaque()
    found = evaluate(steps, shapes, leaves, SIZES, FLOATS, opaque, [3, 4, 5])
    floats = {k: dense.each(float, value) for k, value in leaves.items()}
    assert found[3] == opaque.jacobian("f", [floats[0], floats[1]], 4, 0, FLOATS)
    assert dense.entries(found[4]) == opaque.jacobian("l", [floats[0], floats[1]], 1, 0, FLOATS)[0]
    assert dense.size(found[4]) == (2, 3)
    assert found[5] == opaque.curvature("f", floats[2], [floats[0], floats[1]], (1, 0), FLOATS)
    assert dense.size(found[5]) == (3, 6)


# --- evaluation ---


def test_only_what_is_wanted_is_computed() -> None:
    steps = [Step("leaf", "x", ()), Step("apply", "log", (0,)), Step("apply", "exp", (0,)), Step("apply", "log", (2,))]
    shapes = [COLUMN] * 4
    found = evaluate(steps, shapes, {0: [[-1], [-2], [-3]]}, SIZES, FLOATS, Opaque(), [3])
    assert [row[0] for row in found[3]] == pytest.approx([-1, -2, -3])
    held = evaluate(steps, shapes, {2: [[1], [1], [1]]}, SIZES, FLOATS, Opaque(), [3])
    assert held == {3: [[0.0]] * 3}
    with pytest.raises(DomainError, match="log"):
        evaluate(steps, shapes, {0: [[-1], [-2], [-3]]}, SIZES, FLOATS, Opaque(), [1])
    with pytest.raises(ValueError, match="no value is given for the leaf x"):
        evaluate(steps, shapes, {}, SIZES, FLOATS, Opaque(), [1])


def test_a_wrong_step_is_refused() -> None:
    for wrong in (Step("nonsense", "", (0,)), Step("indicator", "<", (0,)), Step("unit", "", (), (Fraction(4),))):
        with pytest.raises(ValueError, match=r"nonsense|indicator|unit"):
            evaluate([Step("leaf", "x", ()), wrong], [COLUMN] * 2, {0: [[1.0]] * 3}, SIZES, FLOATS, Opaque(), [1])


def test_a_hundred_thousand_steps() -> None:
    size = 100_000
    half = (Fraction(1, 2), Fraction(1, 2))
    steps = tuple(Step("sum", "", (k, k), half) for k in range(size))
    tape = Tape(1, ("x", *[""] * size), steps, (SCALAR,) * (size + 1))
    seen = []
    values = evaluate_tape(tape, {0: [[3]]}, {}, FLOATS, Opaque(), lambda step, _inputs, _numbers: seen.append(step.operation))
    assert values[-1] == [[3.0]]
    assert len(seen) == size
    assert program(tape)[0] == Step("leaf", "x", ())
