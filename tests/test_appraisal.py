"""Values of formulas: every sign and kind of node against an equation of the composition, computed as the language means it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from jacobian_chain import dense
from jacobian_chain.appraisal import KINDS, Appraiser, MisfitError, describe
from jacobian_chain.dense import FLOATS, Dense
from jacobian_chain.errors import LimitError, Source
from jacobian_chain.expressions import Derivative, Expression, Expressions, Setting, Solution
from jacobian_chain.layout import DENOMINATOR, LAYOUTS, MIXED, NUMERATOR
from jacobian_chain.reading import read_composition
from jacobian_chain.verification import arrange, compare
from jacobian_chain.worlds import draw

Tree = Any
"""A formula by hand: the name of a value, a number, or a node with its kind, its value and its arguments."""

SHAPES = (
    "A: m x n; B: n x p; C: m x n; S: n x n; T: n x n; x: n; y: n; u: m; v: m; w: p; r: 1 x n; s: scalar; "
    "g: elementwise; f2(z) = z^2 .* tanh(z); "
)


def node(kind: str, *args: Tree, value: object = None) -> tuple[str, tuple[Tree, ...], object]:
    return kind, args, value


def times(first: Tree, *rest: Tree) -> Tree:
    """A product with its signs between the factors."""
    kind = "elementwise" if rest[0] in ("⊙", "∘", ".*", "./", "⊘", "⊗") else "product"
    return node(kind, first, *rest[1::2], value=tuple(rest[::2]))


def plus(*terms: Tree) -> Tree:
    return node("sum", *terms, value=(1,) * len(terms))


def minus(first: Tree, second: Tree) -> Tree:
    return node("sum", first, second, value=(1, -1))


def t(inner: Tree) -> Tree:
    return node("transpose", inner)


def call(name: str, *args: Tree, direction: str = "") -> Tree:
    return node("call", *args, value=(name, direction))


def entry(inner: Tree, *indices: str | int) -> Tree:
    return node("entry", inner, value=indices)


def total(index: str, body: Tree, low: object = "", high: object = "") -> Tree:
    return node("indexed_sum", body, value=(index, low, high))


def components(body: Tree, *indices: str | int) -> Tree:
    return node("components", body, value=indices)


I = node("identity", value="")  # noqa: E741 - what it is
ONE = node("ones", value="")


class Page:
    """A composition at a point, and formulas over it."""

    def __init__(self, text: str, atoms: Sequence[tuple[str, str, str]] = (), seed: int = 0, exact: bool = True) -> None:
        self.tape = read_composition(Source(text)).tape
        self.formulas = Expressions()
        found = tuple(Derivative(sign, self.index(of), tuple(map(self.index, by.split(","))), ("total",)) for sign, of, by in atoms)
        self.solution = Solution(self.tape, self.formulas, found, (), {}, {}, "", ())
        self.world = draw(self.tape, seed) if exact else draw(self.tape, seed, FLOATS)

    def index(self, name: str) -> int:
        found = self.tape.index(name)
        assert found is not None
        return found

    def add(self, tree: Tree) -> int:
        if isinstance(tree, str):
            return self.formulas.add("value", (), self.index(tree))
        if isinstance(tree, int | Fraction):
            return self.formulas.add("number", (), Fraction(tree))
        kind, args, value = tree
        return self.formulas.add(kind, [self.add(arg) for arg in args], value)

    def appraiser(self, setting: Setting | None = None) -> Appraiser:
        return Appraiser(self.solution, self.world, setting or Setting(MIXED))

    def value(self, tree: Tree, *readings: str, shape: tuple[int, int] | None = None) -> Dense:
        return self.appraiser(Setting(MIXED, readings=frozenset(readings))).value(self.add(tree), shape)

    def misfit(self, tree: Tree, *readings: str, shape: tuple[int, int] | None = None) -> MisfitError:
        with pytest.raises(MisfitError) as caught:
            self.value(tree, *readings, shape=shape)
        return caught.value


SAME: dict[str, Tree] = {
    # sums
    "x + y": plus("x", "y"),
    "x - y + s": node("sum", "x", "y", "s", value=(1, -1, 1)),
    "-x": node("negate", "x"),
    "1 - x": minus(1, "x"),
    "x - ones(n) + 0 y": minus("x", ONE),
    "r - ones(1, n)": minus("r", ONE),
    "A + u ones(1, n)": plus("A", "u"),
    "A + 1/2 u ones(1, n)": plus("A", times("u", "", t(times(Fraction(1, 2), "", ONE)))),
    "S - s I(n)": minus("S", times("s", "", I)),
    "s ones(n, n) + I(n) - S": minus(plus("s", I), "S"),
    "(I(n) - x x^T) S": times(minus(I, times("x", "", t("x"))), "", "S"),
    "x - ones(n) (ones(n)^T x)": times(minus(I, times(ONE, "", t(ONE))), "", "x"),
    "A - 2 u ones(1, n)": minus("A", times(2, "", "u", "", t(ONE))),
    "A B - ones(m) (ones(m)^T A B)": minus(times("A", "", "B"), times(ONE, "", t(ONE), "", "A", "", "B")),
    # products
    "A x": times("A", "", "x"),
    "A B w": times("A", "", "B", "@", "w"),
    "A B": times("A", "·", "B"),
    "2 s A x": times(2, "", "s", "", "A", "*", "x"),
    "x y^T": times("x", "", t("y")),
    "x^T y A": times(t("x"), "", "y", "", "A"),
    "A S": times("A", "×", "S"),
    "A .* C": times("A", "*", "C"),
    "A .* C + 0 A": times("A", "×", "C"),
    "x .* y": times("x", "·", "y"),
    "x .* y .* x": times("x", "⊙", "y", "⊙", "x"),
    "u .* v": times("u", "∘", "v"),
    "S .* T": times("S", "∘", "T"),
    "S T": times("S", "*", "T"),
    "A B .* (u w^T)": times(times("A", "∘", "B"), ".*", times("u", "", t("w"))),
    "s x": times("x", "⊙", "s"),
    "ones(m)^T A": times(t(ONE), "", "A"),
    "A ones(n)": times("A", "", ONE),
    "x ones(n)^T S": times("x", "", t(ONE), "", "S"),
    "ones(m) x^T S + 0 A": plus(times(ONE, "", t("x"), "", "S"), times(0, "", "A")),
    "3 I(n) S": times(times(3, "", I), "", "S"),
    "S .* I(n)": times("S", "⊙", I),
    "x + y .* x": times(plus(ONE, "y"), "⊙", "x"),
    "kron(A, x)": times("A", "⊗", "x"),
    "kron(A, B) + 0 kron(A, B)": call("kron", "A", "B"),
    "kron(x^T, I(m)) vec(A)": times(times(t("x"), "⊗", I), "", call("vec", "A")),
    "kron(I(n), A) vec(S)": times(times(I, "⊗", "A"), "", call("vec", "S")),
    "(vec(A)^T kron(x, I(m)))^T": t(times(t(call("vec", "A")), "", t(times(t("x"), "⊗", I)))),
    "vec(A)^T kron(x, I(m))": times(t(call("vec", "A")), "", times("x", "⊗", I)),
    # quotients, powers, inverses
    "x / s": node("fraction", "x", "s"),
    "x ./ y": node("fraction", "x", "y"),
    "ones(n) ./ y + 0 x": node("fraction", 1, "y"),
    "y ./ x": times("y", "/", "x"),
    "A ./ C": times("A", "⊘", "C"),
    "A ./ C + A": plus(times("A", "./", "C"), "A"),
    "x/3": times("x", "/", 3),
    "s^3": node("power", "s", value=(Fraction(3), False)),
    "S^3": node("power", "S", value=(Fraction(3), False)),
    "S^-1 S^-1": node("power", "S", value=(Fraction(-2), False)),
    "S .^ 2": node("power", "S", value=(Fraction(2), True)),
    "x .^ 2": node("power", "x", value=(Fraction(2), False)),
    "A .^ 2": node("power", "A", value=(Fraction(2), False)),
    "S^-1 x": times(node("inverse", "S"), "", "x"),
    "1/s": node("inverse", "s"),
    "S^T S^-T": times(t("S"), "", t(node("inverse", "S"))),
    "x": times(node("inverse", times(2, "", I)), "", times(2, "", "x")),
    # functions
    "tanh(A x)": node("apply", times("A", "", "x"), value=("tanh", 0)),
    "1 - tanh(x).^2": node("apply", "x", value=("tanh", 1)),
    "g(A)": node("apply", "A", value=("g", 0)),
    "g'(x + y)": node("apply", plus("x", "y"), value=("g", 1)),
    "f2(x)": node("apply", "x", value=("f2", 0)),
    "2 x .* tanh(x) + x.^2 .* (1 - tanh(x).^2) + 0 f2(x)": node("apply", "x", value=("f2", 1)),
    "relu(x) ./ x": node("indicator", "x"),
    "sqrt(x .^ 2)": node("power", node("power", "x", value=(Fraction(2), True)), value=(Fraction(1, 2), True)),
    "softmax(x)": call("softmax", "x"),
    "softmax(r)": call("softmax", "r"),
    "softmax_rows(A)": call("softmax", "A", direction="rows"),
    "softmax_columns(A)": call("softmax", "A", direction="columns"),
    "logsoftmax(x)": call("logsoftmax", "x"),
    "logsumexp(x)": call("logsumexp", "x"),
    "layernorm(x)": call("layernorm", "x"),
    "sum(A)": call("sum", "A"),
    "sum(A, rows)": call("sum", "A", direction="rows"),
    "sum(A, columns)": call("sum", "A", direction="columns"),
    "mean(A)": call("mean", "A"),
    "mean(A, rows)": call("mean", "A", direction="rows"),
    "tr(S)": call("tr", "S"),
    "det(S)": call("det", "S"),
    "det(S) + 0 tr(S)": node("bars", "S"),
    "logdet(S)": call("logdet", "S"),
    "diag(x)": call("diag", "x"),
    "diag(r^T)": call("diag", "r"),
    "diag(S)": call("diag", "S"),
    "s": call("diag", "s"),
    "vec(A)": call("vec", "A"),
    "CE(softmax(x), y)": call("CE", call("softmax", "x"), "y"),
    "||A||_F^2": call("sqnorm", "A"),
    "||x||^2": node("power", node("norm", "x", value=""), value=(Fraction(2), False)),
    "||x||^4": node("power", node("bars", "x"), value=(Fraction(4), False)),
    "det(S)^2": node("power", node("bars", "S"), value=(Fraction(2), False)),
    "||x||_1": node("norm", "x", value="1"),
    "abs(s)": node("bars", "s"),
    # blocks, constants, sizes
    "[A, u]": node("beside", "A", "u"),
    "[S; r]": node("below", "S", "r"),
    "[S, I(n)]": node("beside", "S", I),
    "[1, s; 2, 3]": node("below", node("beside", 1, "s"), node("beside", 2, 3)),
    "m x": times(node("size", value="m"), "", "x"),
    "pi e x": times(node("constant", value="π"), "", node("constant", value="e"), "", "x"),
    "S I(n) ones(n)": times("S", "", node("identity", value="n"), "", node("ones", value="n")),
    "A + ones(m, n) + zeros(m, n)": plus("A", node("filled", value=("ones", "m", "n")), node("filled", value=("zeros", "m", "n"))),
    "A e(2, n)": times("A", "", node("unit", value=(2, "n"))),
    # indices
    "x^T y": total("i", times(entry("x", "i"), "", entry("y", "i"))),
    "A^T u": total("i", times(entry("u", "i"), "", entry("A", "i"))),
    "u^T A x": total("i", total("j", times(entry("u", "i"), "", entry("A", "i", "j"), "", entry("x", "j")))),
    "A x + 0 u": components(total("j", times(entry("A", "i", "j"), "", entry("x", "j"))), "i"),
    "(A B)^T": components(entry(times("A", "", "B"), "i", "j"), "j", "i"),
    "S - I(n)": components(minus(entry("S", "i", "j"), node("delta", value=("i", "j"))), "i", "j"),
    "A .* (u ones(n)^T)": components(times(entry("A", "i", "j"), "", entry("u", "i")), "i", "j"),
    "A ones(n) + 0 v": total("j", times("A", "", node("unit", value=("j", "n")))),
    "diag(x) + 0 S": total("i", times(entry("x", "i"), "", node("unit", value=("i", "")), "", t(node("unit", value=("i", ""))))),
    "n s": total("i", "s", 1, "n"),
    "e(1, n)^T x + e(2, n)^T x": total("i", entry("x", "i"), 1, 2),
    "e(1, m)^T A e(2, n)": entry("A", 1, 2),
    "A^T e(2, m)": entry("A", 2),
    "A e(2, n) + A e(1, n) - A e(1, n)": node("name", times("A", "", node("unit", value=(2, "n"))), value="a_2"),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("text", SAME)
def test_every_sign_means_what_the_language_writes_out(text: str, seed: int) -> None:
    roots = any(word in text for word in ("layernorm", "sqrt", "||x||_1", "abs"))
    page = Page(SHAPES + "out = " + text, seed=seed, exact=not roots)
    expected = page.world.values[page.index("out")]
    value = page.value(SAME[text], shape=dense.size(expected))
    assert value == expected if not roots else compare(expected, value) < 1e-12


def test_every_kind_of_node_is_tried() -> None:
    found, trees = set(), list(SAME.values())
    while trees:
        tree = trees.pop()
        if isinstance(tree, tuple):
            found.add(tree[0])
            trees.extend(tree[1])
    assert found | {"value", "number", "derivative", "layer", "layer_jacobian"} == set(KINDS)


# --- choices ---

SQUARES = "S: n x n; T: n x n; x: n; y: n; A: m x n; u: m; out = x^T S T y + sum(A) + sum(u)"


@pytest.mark.parametrize(
    ("tree", "reading", "usual", "other"),
    [
        (times("S", "*", "T"), "* entrywise", times("S", "@", "T"), times("S", "⊙", "T")),
        (times("S", "·", "T"), "· entrywise", times("S", "@", "T"), times("S", "⊙", "T")),
        (times("S", "×", "T"), "× entrywise", times("S", "@", "T"), times("S", "⊙", "T")),
        (times("S", "∘", "T"), "∘ matrix", times("S", "⊙", "T"), times("S", "@", "T")),
        (times("x", "·", "y"), "· inner", times("x", "⊙", "y"), times(t("x"), "", "y")),
        (times("x", "⊗", "u"), "⊗ outer", call("kron", "x", "u"), times("x", "", t("u"))),
        (times("S", "⊗", "T"), "⊗ entrywise", call("kron", "S", "T"), times("S", "⊙", "T")),
        (node("power", "S", value=(Fraction(2), False)), "power entrywise", times("S", "", "S"), times("S", "⊙", "S")),
        (entry("S", 2), "matrix columns", times(t("S"), "", node("unit", value=(2, "n"))), times("S", "", node("unit", value=(2, "n")))),
        (total("i", times(entry("S", "i"), "", t(entry("T", "i")))), "matrix columns", times(t("S"), "", "T"), times("S", "", t("T"))),
        (total("i", times(entry("u", "i"), "", entry("A", "i"))), "", times(t("A"), "", "u"), times(t("A"), "", "u")),
        (total("i", times(entry("x", "i"), "", entry("A", "i"))), "", times("A", "", "x"), times("A", "", "x")),
    ],
)
def test_where_two_readings_fit_the_setting_chooses(tree: Tree, reading: str, usual: Tree, other: Tree) -> None:
    page = Page(SQUARES)
    appraiser = page.appraiser()
    assert appraiser.value(page.add(tree)) == page.value(usual)
    assert appraiser.ambiguous == ({reading} if reading else set())
    assert page.value(tree, reading) == page.value(other)


def test_no_number_but_zero_stands_for_an_array() -> None:
    page = Page(SQUARES)
    n = page.world.size("n")
    assert page.value(0, shape=(n, n)) == dense.filled((n, n), 0)
    assert dense.size(page.value(2, shape=(n, 1))) == dense.size(page.value(1, shape=(n, n))) == (1, 1)
    assert page.value(times(2, "", ONE), shape=(n, 1)) == dense.filled((n, 1), 2)
    assert page.value(I, shape=(n, n)) == dense.identity(n, page.world.numbers)
    with pytest.raises(MisfitError):
        page.value(times(2, "", ONE), shape=(1, n))  # ones are a column
    assert dense.size(page.value(times(t("x"), "", "y"), shape=(n, n))) == (1, 1)
    assert page.value(components(0, "i", "j"), shape=(n, 3)) == dense.filled((n, 3), 0)


def test_numpy_broadcasts() -> None:
    page = Page("A: m x n; u: m; r: 1 x n; x: n; y: n; out = sum(A) + sum(u) + sum(r) + x^T y")
    ones = t(ONE)
    assert page.value(times("A", "*", "r"), "numpy") == page.value(times("A", "⊙", times(ONE, "", "r")))
    assert page.value(times("A", "*", "u"), "numpy") == page.value(times("A", "⊙", times("u", "", ones)))
    assert page.value(plus("A", "r"), "numpy") == page.value(plus("A", times(ONE, "", "r")))
    assert page.value(times("A", "/", "u"), "numpy") == page.value(times("A", "./", times("u", "", ones, "", node("identity", value="n"))))
    assert page.value(times("x", "@", "y"), "numpy") == page.value(times(t("x"), "", "y"))


def test_operators_and_notes_tell_what_was_chosen() -> None:
    page = Page(SQUARES)
    appraiser = page.appraiser()
    root = page.add(times("S", "*", "x", "*", "y", "/", 2))
    appraiser.value(root)
    key = page.formulas.keys[root]
    assert [appraiser.operators[key, join] for join in range(3)] == ["matrix", "entrywise", "divide"]
    appraiser.value(page.add(plus("A", "u")))
    assert list(appraiser.notes) == ["a column is added to each column of a matrix"]


# --- derivatives and layers ---

NET = "W: m x n; x: n; b: m; z = W x + b; h = tanh(z); y: m; k = F(h, y); L = l(h, k); k: m; L: scalar"
BATCH = "X: n x m; W: m x k; Z = X W; A = tanh(Z); L = l(A); L: scalar"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("of", "by"), [("L", "h"), ("L", "W"), ("h", "z"), ("z", "W"), ("L", "y"), ("k", "x")])
def test_derivatives_stand_as_the_layout_has_them(of: str, by: str, layout: str) -> None:
    page = Page(NET, [(sign, of, by) for sign in "∂∇J"])
    world, pair = page.world, (page.index(of), page.index(by))
    shapes = world.shape(pair[0]), world.shape(pair[1])
    roots = [page.add(node("derivative", value=k)) for k in range(3)]

    def at(layout: str) -> Dense:
        return arrange(world.total(*pair), *shapes, layout)

    appraiser = page.appraiser(Setting(LAYOUTS[layout], True))
    assert appraiser.value(roots[0]) == at(layout)
    assert appraiser.value(roots[2]) == at("numerator")
    page.solution = page.solution._replace(atoms=tuple(atom._replace(turned=True) for atom in page.solution.atoms))
    assert page.appraiser(Setting(LAYOUTS[layout])).value(roots[1]) == at("denominator")


def test_direct_and_total_derivatives_differ() -> None:
    page = Page(NET, [("∂", "L", "h")])
    page.solution = page.solution._replace(atoms=(page.solution.atoms[0]._replace(meanings=("partial", "total")),))
    root, pair = page.add(node("derivative", value=0)), (page.index("L"), page.index("h"))
    values = [page.appraiser(Setting(NUMERATOR, total=frozenset(chosen))).value(root) for chosen in ((), (0,))]
    assert values == [page.world.direct(*pair), page.world.total(*pair)]
    assert values[0] != values[1]


def test_several_variables_make_one_row_or_column() -> None:
    page = Page(NET, [("∂", "L", "W,b"), ("∂", "z", "W,b")])
    roots = [page.add(node("derivative", value=k)) for k in range(2)]
    parts = [dense.beside(*(page.world.total(page.index(of), page.index(by)) for by in "Wb")) for of in "Lz"]
    assert [page.appraiser(Setting(NUMERATOR)).value(root) for root in roots] == parts
    assert [page.appraiser(Setting(DENOMINATOR)).value(root) for root in roots] == [dense.transpose(part) for part in parts]
    assert page.appraiser(Setting(MIXED)).value(roots[0]) == dense.transpose(parts[0])


@pytest.mark.parametrize("sign", ["⊙", ".*", "*", "·", "×"])
def test_the_derivative_of_an_elementwise_function_is_the_array_of_its_slopes(sign: str) -> None:
    page = Page(BATCH, [("∂", "L", "A"), ("∂", "A", "Z"), ("∂", "L", "Z")])
    first, second, both = (node("derivative", value=k) for k in range(3))
    assert page.value(times(first, sign, second)) == page.value(both) == page.value(times(node("name", second, value="s"), sign, first))


def test_chains_of_jacobians_on_vec() -> None:
    page = Page(BATCH, [("∂", "L", "A"), ("∂", "A", "Z"), ("∂", "Z", "W"), ("∂", "L", "W")])
    atoms = [node("derivative", value=k) for k in range(4)]
    chain = page.add(times(atoms[0], "", atoms[1], "", atoms[2]))
    assert page.appraiser(Setting(NUMERATOR)).value(chain) == page.world.total(page.index("L"), page.index("W"))
    back = page.add(times(atoms[2], "", atoms[1], "", atoms[0]))
    assert dense.transpose(page.appraiser(Setting(DENOMINATOR)).value(back)) == page.world.total(page.index("L"), page.index("W"))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_entries_of_derivatives_are_numbered_by_the_output_then_by_the_variable(layout: object) -> None:
    page = Page(BATCH, [("∂", "L", "A"), ("∂", "A", "Z"), ("∂", "L", "Z")])
    assert isinstance(layout, type(MIXED))
    slopes = components(
        times(entry(node("derivative", value=0), "i", "j"), "", entry(node("derivative", value=1), "i", "j", "i", "j")), "i", "j"
    )
    appraiser = page.appraiser(Setting(layout))
    assert appraiser.value(page.add(slopes)) == page.value(node("derivative", value=2))


def test_layers_at_other_values_and_their_jacobians() -> None:
    page = Page(NET + "; out = F(v, W x); v: m; out: m")
    world, other = page.world, page.index("v")
    inputs = [world.values[other], page.value(times("W", "", "x"))]
    trees = ["v", times("W", "", "x")]
    assert page.value(node("layer", *trees, value="F")) == world.values[page.index("out")]
    for slot in range(2):
        jacobian = world.partial("F", inputs, dense.size(inputs[0]), slot)
        root = page.add(node("layer_jacobian", *trees, value=("F", slot, "J")))
        assert page.appraiser(Setting(MIXED)).value(root) == jacobian
        assert page.appraiser(Setting(DENOMINATOR)).value(root) == dense.transpose(jacobian)
    assert "shapes" in page.misfit(node("layer", "x", "v", value="F")).message


# --- what does not fit ---


@pytest.mark.parametrize(
    ("tree", "message", "hint"),
    [
        (times("A", "", "u"), "inner sizes", None),
        (times("x", "", "y"), "inner sizes", "write ⊙ for the product of entries, aᵀ b for a number"),
        (times("x", "@", "y"), "inner sizes", "write ⊙ for the product of entries, aᵀ b for a number"),
        (times("A", "*", "u"), "inner sizes", None),
        (times("x", "⊙", "u"), "entry by entry", None),
        (times("x", "⊙", t("y")), "entry by entry", "one of them has to be transposed"),
        (plus("x", "u"), "added", None),
        (plus("x", t("y")), "added", "one of them has to be transposed"),
        (plus("A", t("x")), "added", "a row r is added to each of m rows as ones(m) r"),
        (plus(I, "A"), "added", None),
        (node("fraction", "A", "x"), "divide", None),
        (node("inverse", "A"), "square", None),
        (call("tr", "A"), "square", None),
        (call("CE", "x", "u"), "one shape", None),
        (call("frobnicate", "x"), "no meaning", None),
        (call("sum", ONE), "nothing tells", "write it, as in I_n or 1_n"),
        (times(t(ONE), "", ONE), "nothing tells", "write it, as in I_n or 1_n"),
        (I, "nothing tells", "write it, as in I_n or 1_n"),
        (entry("x", "i"), "runs over", None),
        (entry("x", 99), "no entry 99", None),
        (entry("x", 1, 2, 3), "3 indices", None),
        (total("i", "u"), "runs over", "write where the sum begins and ends"),
        (total("i", times(entry("u", "i"), "", entry("x", "i")), 1, 5), "no entry", None),
        (components("x", "i"), "runs over", None),
        (components(times(entry("x", "i"), "", "u"), "i"), "has to be a number", None),
        (node("beside", "A", "x"), "equally many rows", None),
        (node("unit", value=(2, "")), "how long", "write e(i,n)"),
        (node("identity", value="q"), "no size q", None),
    ],
)
def test_misfits(tree: Tree, message: str, hint: str | None) -> None:
    page = Page(SQUARES)
    misfit = page.misfit(tree)
    assert message in misfit.message
    assert misfit.hint == hint


def test_a_misfit_names_the_join_and_both_sizes() -> None:
    page = Page(SQUARES)
    root = page.add(times("S", "", "T", "", "A", "", "x"))
    misfit = page.misfit(times("S", "", "T", "", "A", "", "x"))
    m, n = page.world.size("m"), page.world.size("n")
    assert (misfit.left, misfit.right) == ((n, n), (m, n))
    appraiser = page.appraiser()
    for at in (root, page.add(node("negate", times("S", "", "T", "", "A", "", "x")))):  # the second time from what is known
        with pytest.raises(MisfitError) as caught:
            appraiser.value(at)
        node_ = page.formulas.nodes[caught.value.node]
        assert caught.value.operands == node_.args[:3]
        assert caught.value.node in page.formulas.below(at)


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("A u", ("A", "u"), "A is m x n and u is m x 1: the inner sizes of a matrix product have to be equal; transpose A"),
        ("u A", ("u", "A"), "u is m x 1 and A is m x n: the inner sizes of a matrix product have to be equal; transpose u"),
        ("x A", ("x", "A"), "x is n x 1 and A is m x n: the inner sizes of a matrix product have to be equal; A x fits"),
        (
            "x y",
            ("x", "y"),
            "x is n x 1 and y is n x 1: the inner sizes of a matrix product have to be equal; "
            "write ⊙ for the product of entries, aᵀ b for a number",
        ),
    ],
)
def test_misfits_are_described_as_typed(text: str, spans: tuple[str, str], expected: str) -> None:
    page = Page(SQUARES)
    page.solution = page.solution._replace(text=text)
    args = [page.formulas.add("value", (), page.index(name), text.index(name), text.index(name) + 1) for name in spans]
    root = page.formulas.add("product", args, ("",), 0, len(text))
    with pytest.raises(MisfitError) as caught:
        page.appraiser().value(root)
    assert describe(caught.value, page.solution, page.world) == expected


def test_brackets_belong_to_what_is_described() -> None:
    page = Page(SQUARES)
    text = "(x + y) u"
    page.solution = page.solution._replace(text=text)
    terms = [page.formulas.add("value", (), page.index(name), at, at + 1) for name, at in (("x", 1), ("y", 5))]
    left = page.formulas.add("sum", terms, (1, 1), 1, 6)
    root = page.formulas.add("product", (left, page.formulas.add("value", (), page.index("u"), 8, 9)), ("",), 0, 9)
    with pytest.raises(MisfitError) as caught:
        page.appraiser().value(root)
    assert describe(caught.value, page.solution, page.world).startswith("x + y is n x 1 and u is m x 1")


# --- limits ---


def test_limits() -> None:
    page = Page(SQUARES)
    wide: Tree = "S"
    for _ in range(8):
        wide = call("kron", wide, "S")
    deep: Tree = entry("x", "i")
    for k in range(20):
        deep = total(f"j{k}", deep, 1, 1)
    power = node("power", "S", value=(Fraction(10**9), False))
    for tree in (wide, total("i", deep), power, total("i", 1, 1, 10**9)):
        with pytest.raises(LimitError):
            page.value(tree)


def test_long_and_deep_formulas() -> None:
    page = Page(SQUARES)
    root = page.add("x")
    for _ in range(20_000):
        root = page.formulas.add("negate", (root,))
    assert page.appraiser().value(root) == page.value("x")


def test_what_is_not_defined_stays_an_arithmetic_error() -> None:
    page = Page(SQUARES)
    appraiser = page.appraiser()
    root = page.add(node("fraction", 1, minus("x", "x")))
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            appraiser.value(root)


def test_what_is_known_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(SQUARES)
    appraiser = page.appraiser()
    kept = times("S", "", times("T", "", "x"))
    appraiser.value(page.add(kept))
    seen: list[Expression] = []
    product = KINDS["product"]

    def watched(appraiser: Appraiser, at: int, node: Expression) -> Any:
        seen.append(node)
        return product(appraiser, at, node)

    monkeypatch.setitem(KINDS, "product", watched)
    appraiser.value(page.add(plus(kept, "y")))
    assert not seen
