"""Random points lie in the domain, numerical Jacobians are accurate, and layouts are the ones of the table."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import sympy as sp

from jacobian_chain import dense
from jacobian_chain.dense import FLOATS, RATIONALS, Dense, Numbers, precise
from jacobian_chain.errors import ChainError
from jacobian_chain.numeric import Opaque, evaluate_tape
from jacobian_chain.tape import Shape, Step, Tape
from jacobian_chain.verification import DOUBT, Point, arrange, compare, discrepancy, numerical_jacobian, sample

SCALAR = Shape("1", "1")
ONE, HALF = Fraction(1), Fraction(1, 2)


def column(size: str) -> Shape:
    return Shape(size, "1")


def make(leaves: dict[str, Shape], *steps: tuple[Step, Shape], facts: tuple[tuple[int, str], ...] = (), **more: Any) -> Tape:
    names = (*leaves, *[""] * len(steps))
    return Tape(len(leaves), names, tuple(s for s, _ in steps), (*leaves.values(), *(shape for _, shape in steps)), facts=facts, **more)


def apply(name: str, value: int, *order: int) -> Step:
    return Step("apply", name, (value,), tuple(map(Fraction, order)))


def power(value: int, numerator: int, denominator: int = 1) -> Step:
    return Step("power", "", (value,), (Fraction(numerator, denominator),))


def chain(name: str, shape: Shape, leaf: str = "x") -> Tape:
    return make({leaf: shape}, (apply(name, 0), shape))


# --- sampling ---


def test_different_symbols_have_different_sizes() -> None:
    tape = make({"A": Shape("m", "n"), "B": Shape("n", "p"), "C": Shape("p", "q")}, (Step("product", "", (0, 1, 2)), Shape("m", "q")))
    point = sample(tape)
    assert sorted(point.sizes) == ["m", "n", "p", "q"]
    assert sorted(point.sizes.values()) == [2, 3, 4, 5]
    assert [dense.size(point.leaves[k]) for k in range(3)] == [tuple(point.sizes[s] for s in pair) for pair in ("mn", "np", "pq")]


def test_numbers_in_the_text_stay_and_are_not_used_twice() -> None:
    tape = make({"A": Shape("2", "m"), "x": column("m")}, (Step("product", "", (0, 1)), column("2")))
    assert sample(tape).sizes == {"m": 3}
    assert dense.size(sample(tape).leaves[0]) == (2, 3)


def test_sizes_come_from_all_that_the_text_says() -> None:
    tape = make(
        {"x": column("n")}, (Step("unit", "", (), (Fraction(9),)), column("n")), (Step("dimension", "d_k*h", ()), SCALAR),
        (Step("layer", "f", (0,)), column("a+b")),
    )  # fmt: skip
    point = sample(tape)
    assert point.sizes["n"] == 9
    assert set(point.sizes) == {"n", "d_k", "h", "a", "b"}


def test_many_symbols_repeat_the_sizes() -> None:
    tape = make({f"x{k}": column(f"n{k}") for k in range(10)}, (Step("sqnorm", "", (0,)), SCALAR))
    sizes = list(sample(tape).sizes.values())
    assert sorted(sizes[:4]) == sorted(sizes[4:8]) == [2, 3, 4, 5]


def test_a_point_is_a_function_of_the_seed() -> None:
    tape = chain("tanh", Shape("m", "n"))
    assert sample(tape, 3) == sample(tape, 3)
    assert sample(tape, 3) != sample(tape, 4)


def test_layernorm_has_more_than_two_entries() -> None:
    assert sample(make({"x": column("n")}, (Step("layernorm", "", (0,)), column("n")))).sizes["n"] > 2


@pytest.mark.parametrize("seed", range(10))
def test_labels_are_distributions(seed: int) -> None:
    leaves = {"y": column("n"), "Y": Shape("m", "n"), "Z": Shape("m", "n"), "r": Shape("1", "n"), "s": column("1")}
    facts = ((0, "label"), (1, "label-rows"), (2, "label-columns"), (3, "label"), (4, "label"))
    tape = make(leaves, (Step("sqnorm", "", (0,)), SCALAR), facts=facts)
    values = sample(tape, seed).leaves
    assert all(entry > 0 for value in values.values() for entry in dense.entries(value))
    assert sum(dense.entries(values[0])) == sum(values[3][0]) == values[4][0][0] == 1
    assert [sum(row) for row in values[1]] == [1] * len(values[1])
    assert [sum(row) for row in dense.transpose(values[2])] == [1] * len(values[2][0])


@pytest.mark.parametrize("seed", range(10))
def test_symmetric_matrices_are_positive_definite(seed: int) -> None:
    tape = make({"A": Shape("n", "n"), "B": Shape("4", "4")}, (Step("trace", "", (0,)), SCALAR), facts=((0, "symmetric"), (1, "symmetric")))
    for a in sample(tape, seed).leaves.values():
        matrix = sp.Matrix(a)
        assert matrix == matrix.T
        assert matrix.is_positive_definite


SQUARE, ROW = Shape("n", "n"), Shape("1", "n")
X, W = {"x": column("n")}, {"W": SQUARE}
DOMAINS: dict[str, tuple[Tape, Callable[[list[Dense]], Any]]] = {
    "log": (chain("log", Shape("m", "n")), lambda v: min(dense.entries(v[0])) > 0.01),
    "log beside what has any sign": (
        make({"x": column("9"), "y": column("9")}, (apply("log", 0), column("9")), (Step("hadamard", "", (2, 1)), column("9"))),
        lambda v: min(dense.entries(v[1])) < 0,
    ),
    "sqrt": (make(X, (power(0, 1, 2), column("n"))), lambda v: min(dense.entries(v[0])) > 0.01),
    "reciprocal": (make(X, (power(0, -1), column("n"))), lambda v: min(map(abs, dense.entries(v[0]))) > 0.01),
    "relu": (chain("relu", Shape("5", "5")), lambda v: min(map(abs, dense.entries(v[0]))) > 0.01 and min(dense.entries(v[0])) < 0),
    "log of a sum": (
        make({"x": column("n"), "y": column("n")}, (Step("sum", "", (0, 1), (ONE, ONE)), column("n")), (apply("log", 2), column("n"))),
        lambda v: min(dense.entries(v[2])) > 0.01,
    ),
    "log of one minus": (
        make(
            X, (Step("number", "", (), (ONE,)), SCALAR), (Step("sum", "", (1, 0), (ONE, -ONE)), column("n")), (apply("log", 2), column("n"))
        ),
        lambda v: min(dense.entries(v[2])) > 0.01,
    ),
    "inverse": (
        make(W, (Step("inverse", "", (0,)), SQUARE)),
        lambda v: max(map(abs, dense.entries(v[0]))) * max(map(abs, dense.entries(v[1]))) < 100,
    ),
    "square root of a determinant": (
        make(W, (Step("transpose", "", (0,)), SQUARE), (Step("det", "", (1,)), SCALAR), (power(2, -1, 2), SCALAR)),
        lambda v: v[2][0][0] > 0.01,
    ),
    "logdet": (make(W, (Step("logdet", "", (0,)), SCALAR)), lambda v: abs(v[1][0][0]) < 5),
    "normal equations": (
        make(
            {"A": Shape("n", "m")}, (Step("transpose", "", (0,)), Shape("m", "n")), (Step("product", "", (1, 0)), Shape("m", "m")),
            (Step("inverse", "", (2,)), Shape("m", "m")),
        ),
        lambda v: len(v[0]) >= len(v[0][0]),
    ),
    "log of an opaque layer": (
        make(X, (Step("layer", "f", (0,)), column("p")), (apply("log", 1), column("p"))), lambda v: min(dense.entries(v[1])) > 0.01
    ),
    "CE": (
        make({"p": column("n"), "y": column("n")}, (Step("CE", "", (0, 1)), SCALAR), facts=((1, "label"),)),
        lambda v: min(dense.entries(v[0])) > 0,
    ),
    "CE of softmax": (
        make({"z": column("5"), "y": column("5")}, (Step("softmax", "columns", (0,)), column("5")), (Step("CE", "", (2, 1)), SCALAR)),
        lambda v: min(dense.entries(v[0])) < 0,
    ),
    "tan": (chain("tan", Shape("4", "4")), lambda v: max(map(abs, dense.entries(v[1]))) < 100),
    "norm1": (make(X, (Step("norm1", "", (0,)), SCALAR)), lambda v: min(map(abs, dense.entries(v[0]))) > 0.01),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", DOMAINS)
def test_points_lie_in_the_domain(name: str, seed: int) -> None:
    tape, inside = DOMAINS[name]
    point = sample(tape, seed)
    values = evaluate_tape(tape, point.leaves, point.sizes, FLOATS, Opaque())
    assert inside([[[float(entry) for entry in row] for row in value] for value in values])
    worst = [
        discrepancy_of(tape, len(values) - 1, leaf, point, numerical_jacobian(tape, len(values) - 1, leaf, point, digits=40))
        for leaf in range(tape.leaves)
    ]
    assert max(worst) < 1e-8


def discrepancy_of(tape: Tape, output: int, variable: int, point: Point, expected: Dense) -> float:
    return compare(expected, numerical_jacobian(tape, output, variable, point))


def test_a_large_network_of_kinks() -> None:
    depth, steps = 300, []
    for k in range(depth):
        steps += [(Step("layer", f"f{k}", (2 * k,)), column("n")), (apply("relu", 2 * k + 1), column("n"))]
    assert sample(make({"x": column("n")}, *steps)).sizes == {"n": 2}


@pytest.mark.parametrize(
    ("tape", "word"),
    [
        (make(X, (Step("sqnorm", "", (0,)), SCALAR), (Step("sum", "", (1,), (-ONE,)), SCALAR), (apply("log", 2), SCALAR)), "log"),
        (make(X, (Step("sum", "", (0, 0), (ONE, -ONE)), column("n")), (power(1, -1), column("n"))), "power"),
        (make(W, (Step("sum", "", (0, 0), (ONE, -ONE)), SQUARE), (Step("inverse", "", (1,)), SQUARE)), "inverse"),
        (make(X, (Step("zeros", "", ()), SCALAR), (apply("relu", 1), SCALAR)), "relu"),
        (make(X, (Step("number", "", (), (Fraction(10) ** 400,)), SCALAR), (Step("scale", "", (1, 0)), column("n"))), "number"),
        (make(X, *[(apply("exp", k), column("n")) for k in range(8)]), "exp"),
    ],
    ids=["log", "power", "inverse", "relu", "number", "exp"],
)  # fmt: skip
def test_an_empty_domain_is_named(tape: Tape, word: str) -> None:
    with pytest.raises(ChainError, match=f"domain of {word}"):
        sample(tape)


def test_domains_inside_functions_that_the_text_defines() -> None:
    body = make({"t": SCALAR}, (Step("number", "", (), (Fraction(-1, 2),)), SCALAR), (Step("sum", "", (0, 1), (ONE, ONE)), SCALAR),
                (apply("log", 2), SCALAR))  # fmt: skip
    for order in ((), (1,)):
        tape = make({"x": column("2")}, (apply("g", 0, *order), column("2")), functions=(("g", body),))
        assert all(row[0] > 0.5 for row in sample(tape).leaves[0])


# --- numerical Jacobians ---


def exact_jacobian(value: Callable[..., Any], output: Callable[..., Any], point: Point, variable: int) -> sp.Matrix:
    """The Jacobian on vec by SymPy: ``value`` is the composition as a function of matrices."""
    shapes = {leaf: dense.size(a) for leaf, a in point.leaves.items()}
    symbols = {leaf: sp.Matrix(*shape, lambda i, j, leaf=leaf: sp.Symbol(f"u{leaf}_{i}_{j}")) for leaf, shape in shapes.items()}
    out = output(value(*symbols.values()))
    flat = sp.Matrix([out[i, j] for j in range(out.cols) for i in range(out.rows)])
    by = symbols[variable]
    jacobian = flat.jacobian([by[i, j] for j in range(by.cols) for i in range(by.rows)])
    return jacobian.subs({symbols[leaf][i, j]: sp.Rational(str(a[i][j])) for leaf, a in point.leaves.items()
                          for i in range(len(a)) for j in range(len(a[0]))})  # fmt: skip


def to_dense(matrix: sp.Matrix, numbers: Numbers) -> Dense:
    def entry(value: Any) -> Any:
        return numbers.convert(Fraction(str(value))) if value.is_Rational else numbers.convert(str(sp.N(value, 60)))

    return [[entry(matrix[i, j]) for j in range(matrix.cols)] for i in range(matrix.rows)]


NETWORK = make(
    {"W": Shape("m", "n"), "x": column("n"), "b": column("m"), "V": Shape("p", "m"), "y": column("p")},
    (Step("product", "", (0, 1)), column("m")),
    (Step("sum", "", (5, 2), (ONE, ONE)), column("m")),
    (apply("tanh", 6), column("m")),
    (Step("product", "", (3, 7)), column("p")),
    (Step("sum", "", (8, 4), (ONE, -ONE)), column("p")),
    (Step("sqnorm", "", (9,)), SCALAR),
    (Step("sum", "", (10,), (HALF,)), SCALAR),
)


@pytest.mark.parametrize("variable", range(5))
@pytest.mark.parametrize("output", [6, 9, 11])
def test_jacobians_of_a_network(output: int, variable: int) -> None:
    def value(w: Any, x: Any, b: Any, v: Any, y: Any) -> Any:
        z = w * x + b
        residual = v * z.applyfunc(sp.tanh) - y
        return {6: z, 9: residual, 11: sp.Matrix([[residual.dot(residual) / 2]])}

    point = sample(NETWORK, 1)
    exact = exact_jacobian(value, lambda values: values[output], point, variable)
    assert compare(to_dense(exact, FLOATS), numerical_jacobian(NETWORK, output, variable, point)) < 1e-10
    found = numerical_jacobian(NETWORK, output, variable, point, digits=40)
    assert compare(to_dense(exact, precise(40)), found) < 1e-24


def test_the_inverse_on_vec() -> None:
    tape = make(W, (Step("inverse", "", (0,)), SQUARE))
    point = sample(tape)
    inverse = dense.inverse(point.leaves[0], RATIONALS)
    expected = dense.scale(-1, dense.kron(dense.transpose(inverse), inverse))
    assert compare(dense.each(float, expected), numerical_jacobian(tape, 1, 0, point)) < 1e-10


def test_an_intermediate_is_held_free() -> None:
    point = sample(NETWORK)
    values = evaluate_tape(NETWORK, point.leaves, point.sizes, FLOATS, Opaque())
    v, residual = dense.each(float, point.leaves[3]), values[9]
    expected = dense.product(dense.transpose(residual), v)
    assert compare(expected, numerical_jacobian(NETWORK, 11, 7, point)) < 1e-10
    rows = point.sizes["m"]
    assert numerical_jacobian(NETWORK, 7, 7, point) == [[pytest.approx(float(i == j)) for j in range(rows)] for i in range(rows)]
    nothing = numerical_jacobian(NETWORK, 6, 7, point)
    assert nothing == [[0.0] * rows] * rows
    assert numerical_jacobian(NETWORK, 0, 1, point) == dense.filled((rows * point.sizes["n"], point.sizes["n"]), 0.0)


def test_skips_are_counted() -> None:
    tape = make(X, (Step("layer", "f", (0,)), column("n")), (Step("sum", "", (1, 0), (ONE, ONE)), column("n")))
    point, opaque = sample(tape), Opaque()
    x = dense.each(float, point.leaves[0])
    expected = dense.add(opaque.jacobian("f", [x], len(x), 0, FLOATS), dense.identity(len(x), FLOATS))
    assert compare(expected, numerical_jacobian(tape, 2, 0, point, opaque)) < 1e-10
    assert compare(expected, numerical_jacobian(tape, 2, 0, point, Opaque(1))) > 1e-2


def test_a_difference_across_a_kink_is_settled_by_digits() -> None:
    shape = column("2")
    tape = make({"x": shape}, (apply("relu", 0), shape))
    point = Point({}, {0: [[Fraction(1, 1000)], [Fraction(-1, 1)]]})
    expected = [[1, 0], [0, 0]]
    assert compare(dense.each(float, expected), numerical_jacobian(tape, 1, 0, point)) > DOUBT

    def derived(numbers: Numbers) -> Dense:
        return dense.each(lambda entry: numbers.from_fraction(Fraction(entry)), expected)

    assert discrepancy(derived, lambda digits: numerical_jacobian(tape, 1, 0, point, digits=digits)) < 1e-20
    assert discrepancy(lambda numbers: dense.scale(2, derived(numbers)), lambda d: numerical_jacobian(tape, 1, 0, point, digits=d)) == 0.5


def test_differences_do_not_leave_the_domain() -> None:
    tape = chain("log", SCALAR)
    point = Point({}, {0: [[Fraction(1, 2000)]]})
    assert compare([[2000.0]], numerical_jacobian(tape, 1, 0, point)) < 1e-8
    with pytest.raises(ArithmeticError):
        numerical_jacobian(tape, 1, 0, Point({}, {0: [[Fraction(0)]]}))
    edge = Point({}, {0: [[Fraction(1, 10**11)]]})  # out of reach of differences in floats
    assert discrepancy(lambda n: [[n.convert(10**11)]], lambda digits: numerical_jacobian(tape, 1, 0, edge, digits=digits)) < 1e-3


def test_a_jacobian_through_ten_thousand_steps() -> None:
    size, half = 10_000, (HALF, HALF)
    tape = make({"x": SCALAR}, *[(Step("sum", "", (k, k), half), SCALAR) for k in range(size)])
    assert numerical_jacobian(tape, size, 0, sample(tape)) == [[pytest.approx(1.0)]]


def random_tape(seed: int) -> Tape:
    """Equations of concrete operations on matrices and columns of three sizes, as they come."""
    rng = random.Random(seed)
    sizes = ["m", "n", "p"]
    leaves = {f"x{k}": column(size) for k, size in enumerate(sizes)}
    leaves |= {f"W{k}": Shape(*rng.sample(sizes, 2)) for k in range(3)} | {"A": Shape("n", "n"), "s": SCALAR}
    shapes = list(leaves.values())
    steps: list[tuple[Step, Shape]] = []
    while len(steps) < 12:
        u, v = (rng.choice(range(max(0, len(shapes) - 6), len(shapes))), rng.randrange(len(shapes)))
        a, b = shapes[u], shapes[v]
        other = (Fraction(rng.randint(-3, 3) or 2), HALF)
        choices = [
            (apply(rng.choice(["tanh", "sigmoid", "relu", "gelu", "softplus", "silu", "elu", "erf", "sin", "σ", "log", "abs"]), u), a),
            (Step("transpose", "", (u,)), Shape(a.columns, a.rows)), (Step("softmax", rng.choice(["rows", "columns"]), (u,)), a),
            (Step("layer", f"f{len(steps)}", (u, v)), b), (power(u, rng.choice([2, -1, 3]), rng.choice([1, 2])), a),
            (Step("sqnorm", "", (u,)), SCALAR), (Step("logsumexp", "", (u,)), SCALAR), (Step("vec", "", (u,)), column("*".join(a))),
        ]  # fmt: skip
        if a.columns == b.rows:
            choices += [(Step("product", "", (u, v)), Shape(a.rows, b.columns))] * 4
        if a == b:
            choices += [(Step("sum", "", (u, v), other), a), (Step("hadamard", "", (u, v)), a)] * 2
        if b.is_scalar:
            choices.append((Step("scale", "", (v, u)), a))
        if a.rows == a.columns:
            choices += [(Step("inverse", "", (u,)), a), (Step("logdet", "", (u,)), SCALAR), (Step("trace", "", (u,)), SCALAR)]
        if not a.is_matrix and a.rows in sizes:
            choices.append((Step("layernorm", "", (u,)), a))
        step, shape = rng.choice(choices)
        if len(f"{shape}") < 12:
            steps.append((step, shape))
            shapes.append(shape)
    return make(leaves, *steps)


def test_floats_are_as_good_as_forty_digits_in_random_compositions() -> None:
    found = 0
    for seed in range(60):
        tape = random_tape(seed)
        try:
            point = sample(tape, seed)
        except ChainError:
            continue  # what is put together at random is not always defined anywhere
        found += 1
        output = len(tape.names) - 1
        for leaf in range(tape.leaves):
            error = discrepancy_of(tape, output, leaf, point, numerical_jacobian(tape, output, leaf, point, digits=40))
            assert error < 1e-8, (seed, leaf)
    assert found > 45


# --- layouts ---

P, Q, M, N = 2, 3, 4, 5
TABLE = [  # of, by, shape in numerator, denominator, mixed layout: the table of layouts, row by row
    ((1, 1), (N, 1), (1, N), (N, 1), (N, 1)),
    ((1, 1), (M, N), (N, M), (M, N), (M, N)),
    ((1, 1), (1, N), (N, 1), (1, N), (1, N)),
    ((P, 1), (1, 1), (P, 1), (1, P), (P, 1)),
    ((P, 1), (N, 1), (P, N), (N, P), (P, N)),
    ((P, 1), (M, N), (P, M * N), (M * N, P), (P, M * N)),
    ((P, Q), (1, 1), (P, Q), (Q, P), (P, Q)),
    ((P, Q), (N, 1), (P * Q, N), (N, P * Q), (P * Q, N)),
    ((P, Q), (M, N), (P * Q, M * N), (M * N, P * Q), (P * Q, M * N)),
    ((1, 1), (1, 1), (1, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-by-{row[1]}")
def test_blocks_have_the_shapes_of_the_table(row: tuple[tuple[int, int], ...]) -> None:
    of, by, *shapes = row
    # the entry that belongs to output entry (a, b) and variable entry (i, j) is called by these four
    jacobian = [[(a, b, i, j) for j in range(by[1]) for i in range(by[0])] for b in range(of[1]) for a in range(of[0])]
    for layout, shape in zip(("numerator", "denominator", "mixed"), shapes, strict=True):
        found = arrange(jacobian, of, by, layout)
        assert dense.size(found) == shape
        turned = layout == "denominator"
        for k, line in enumerate(found):
            for col, called in enumerate(line):
                r, c = (col, k) if turned else (k, col)
                if of == (1, 1) and by != (1, 1):
                    expected = (0, 0, k, col) if layout != "numerator" else (0, 0, col, k)
                elif by == (1, 1):
                    expected = (r, c, 0, 0)
                else:
                    expected = (r % of[0], r // of[0], c % by[0], c // by[0])
                assert called == expected


def test_the_derivative_of_a_scalar_on_vec() -> None:
    jacobian = [[1, 2, 3, 4, 5, 6]]
    assert arrange(jacobian, (1, 1), (2, 3), "numerator", True) == jacobian
    for layout in ("denominator", "mixed"):
        assert arrange(jacobian, (1, 1), (2, 3), layout, True) == [[1], [2], [3], [4], [5], [6]]
    assert dense.size(arrange(dense.transpose(jacobian), (2, 3), (1, 1), "mixed", True)) == (6, 1)


# --- comparison ---


def test_errors_are_relative_to_the_largest_entry() -> None:
    assert compare([[0.5, -4.0]], [[0.5, -3.0]]) == 0.25
    assert compare([[0.125]], [[0.375]]) == 0.25
    assert compare([[1.0]], [[float("nan")]]) == float("inf")
    assert compare([[1.0, 0.0]], [[float("nan"), 2.0]]) == float("inf")
    assert compare([[precise(30).convert("1e-25")]], [[precise(30).convert(0)]]) == 1e-25
    with pytest.raises(ValueError, match="1 x 2 is compared with 2 x 1"):
        compare([[1.0, 2.0]], [[1.0], [2.0]])
