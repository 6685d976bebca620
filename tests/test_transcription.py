r"""Formulas as they were understood: the notation of each node, and that nothing is lost: what is written reads back as the same formula.

Reading back needs no shapes: both the formula and the text are evaluated in a ring in which no product is associative or commutative,
so that a bracket, a sign or an order that is lost changes the value.
"""

from __future__ import annotations

import random
import unicodedata
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain.appraisal import Appraiser
from jacobian_chain.dense import Dense, DomainError
from jacobian_chain.errors import Source
from jacobian_chain.expressions import Derivative, Expressions, Setting, Solution
from jacobian_chain.glossary import Scope
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.reading import read_composition
from jacobian_chain.solution import read_solution
from jacobian_chain.syntax import Node, read_expression
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import Spelling, spell
from jacobian_chain.transcription import MAX_WRITTEN, Operators, write_latex, write_text
from jacobian_chain.worlds import World, draw

Tree = tuple[str, tuple[Any, ...], Any]
"""A formula by kind, arguments (trees) and value; a lone name is a value."""

NETWORK = r"z_1 = W_1 x + b_1; h = \sigma(z_1); \hat{y} = W_2 h + b_2; L = \frac12 \|\hat{y} - y\|^2"


@cache
def network() -> Tape:
    return read_composition(Source(NETWORK)).tape


def build(formulas: Expressions, tape: Tape, tree: Tree | str) -> int:
    """A tree as nodes of a formula."""
    if isinstance(tree, str):
        return formulas.add("value", value=tape.names.index(spell(tree).key))
    kind, args, value = tree
    return formulas.add(kind, [build(formulas, tape, arg) for arg in args], value)


def solution(formulas: Expressions, tape: Tape, atoms: tuple[Derivative, ...] = (), **names: Any) -> Solution:
    return Solution(tape, formulas, atoms, (), names.get("spellings", {}), names.get("functions", {}), "", ())


def times(*args: Tree | str, signs: tuple[str, ...] = ()) -> Tree:
    return ("product", args, signs or ("",) * (len(args) - 1))


def entrywise(*args: Tree | str, sign: str = "⊙") -> Tree:
    return ("elementwise", args, (sign,) * (len(args) - 1))


def add(*args: Tree | str, signs: tuple[int, ...] = ()) -> Tree:
    return ("sum", args, signs or (1,) * len(args))


def number(value: str | int) -> Tree:
    return ("number", (), Fraction(value))


def turned(arg: Tree | str, sign: str = "") -> Tree:
    return ("transpose", (arg,), sign)


def power(arg: Tree | str, exponent: str | int, entries: bool = False) -> Tree:
    return ("power", (arg,), (Fraction(exponent), entries))


def apply(name: str, arg: Tree | str, order: int = 0) -> Tree:
    return ("apply", (arg,), (name, order))


RESIDUAL = add("yhat", "y", signs=(1, -1))
SLOPE = apply("σ", "z1", 1)

FORMULAS: list[tuple[Tree, str, str, str]] = [
    (
        times(entrywise(times(turned("W2"), RESIDUAL), SLOPE), turned("x")),
        r"\left( W_{2}^{\top} (\hat{y} - y) \odot \sigma'(z_{1}) \right) x^{\top}",
        "(W₂ᵀ (ŷ - y) ⊙ σ'(z₁)) xᵀ",
        "(W2^T (yhat - y) .* sigma'(z1)) x^T",
    ),
    (times(entrywise("h", "y"), "x"), r"(h \odot y) x", "(h ⊙ y) x", "(h .* y) x"),
    (entrywise("h", times("W1", "x")), r"h \odot W_{1} x", "h ⊙ W₁ x", "h .* W1 x"),
    (entrywise("h", entrywise("x", "y")), r"h \odot (x \odot y)", "h ⊙ (x ⊙ y)", "h .* (x .* y)"),
    (times("W1", times("W2", "x")), "W_{1} (W_{2} x)", "W₁ (W₂ x)", "W1 (W2 x)"),
    (times(times("W1", "W2"), "x"), "W_{1} W_{2} x", "W₁ W₂ x", "W1 W2 x"),
    (add("x", ("negate", ("y",), None)), "x + (-y)", "x + (-y)", "x + (-y)"),
    (add("x", add("h", "y"), signs=(1, -1)), "x - (h + y)", "x - (h + y)", "x - (h + y)"),
    (("negate", (RESIDUAL,), None), r"-(\hat{y} - y)", "-(ŷ - y)", "-(yhat - y)"),
    (add("x", "y", signs=(-1, -1)), "-x - y", "-x - y", "-x - y"),
    (add(times(("negate", ("x",), None), "y"), "h"), "-x y + h", "-x y + h", "-x y + h"),
    (times("h", ("negate", ("x",), None)), "h (-x)", "h (-x)", "h (-x)"),
    (times(number("1/2"), "x"), r"\frac{1}{2} x", "1/2 x", "1/2 x"),
    (times("x", number(2)), r"x \cdot 2", "x · 2", "x * 2"),
    (times("x", "y", signs=("/",)), "x/y", "x/y", "x/y"),
    (times(number(1), times("x", "y"), signs=("/",)), "1 / (x y)", "1 / (x y)", "1 / (x y)"),
    (times(number(1), power("x", 2), signs=("/",)), "1/x^{2}", "1/x²", "1/x^2"),
    (("fraction", (RESIDUAL, "h"), None), r"\frac{\hat{y} - y}{h}", "(ŷ - y) / h", "(yhat - y) / h"),
    (times("W2", ("fraction", ("x", "h"), None)), r"W_{2} \frac{x}{h}", "W₂ (x/h)", "W2 (x/h)"),
    (turned(times("W1", "x")), r"(W_{1} x)^{\top}", "(W₁ x)ᵀ", "(W1 x)^T"),
    (turned(turned("W1")), r"(W_{1}^{\top})^{\top}", "(W₁ᵀ)ᵀ", "(W1^T)^T"),
    (turned(("inverse", ("W1",), None)), r"W_{1}^{-\top}", "W₁^-T", "W1^-T"),
    (("inverse", (turned("W1"),), None), r"W_{1}^{-\top}", "W₁^-T", "W1^-T"),
    (("inverse", ("W1",), None), "W_{1}^{-1}", "W₁⁻¹", "W1^-1"),
    (times(turned("W1", "'"), "x"), "W_{1}' x", "W₁' x", "W1' x"),
    (times(turned("x", "'"), RESIDUAL), r"x' \cdot (\hat{y} - y)", "x' · (ŷ - y)", "x' * (yhat - y)"),
    (turned(apply("σ", "z1")), r"\sigma(z_{1})^{\top}", "σ(z₁)ᵀ", "sigma(z1)^T"),
    (power("x", 2), "x^{2}", "x²", "x^2"),
    (power(add("x", "y"), 2, True), r"(x + y)^{\odot 2}", "(x + y).^2", "(x + y).^2"),
    (power("x", "1/2", True), r"\sqrt{x}", "sqrt(x)", "sqrt(x)"),
    (power("x", "1/2"), "x^{1/2}", "x^(1/2)", "x^(1/2)"),
    (power(apply("tanh", "z1"), 2, True), r"\tanh^{2}(z_{1})", "tanh²(z₁)", "tanh^2(z1)"),
    (apply("σ", "z1", 2), r"\sigma''(z_{1})", "σ''(z₁)", "sigma''(z1)"),
    (apply("sqrt", "h"), r"\sqrt{h}", "sqrt(h)", "sqrt(h)"),
    (apply("relu", times("W1", "x")), r"\operatorname{relu}(W_{1} x)", "relu(W₁ x)", "relu(W1 x)"),
    (("identity", (), ""), "I", "I", "I"),
    (("identity", (), "n"), "I_{n}", "I_n", "I_n"),
    (("identity", (), "m*n"), "I(m n)", "I(m n)", "I(m n)"),
    (turned(("ones", (), "n")), r"\mathbf{1}_{n}^{\top}", "ones(n)ᵀ", "ones(n)^T"),
    (("ones", (), ""), r"\mathbf{1}", "𝟏", "ones"),
    (("filled", (), ("zeros", "m", "n")), r"\operatorname{zeros}(m, n)", "zeros(m, n)", "zeros(m, n)"),
    (("unit", (), (2, "")), "e_{2}", "e_2", "e_2"),
    (("constant", (), "pi"), r"\pi", "π", "pi"),
    (("size", (), "n"), "n", "n", "n"),
    (("call", ("z1",), ("softmax", "rows")), r"\operatorname{softmax}_{\mathrm{rows}}(z_{1})", "softmax_rows(z₁)", "softmax_rows(z1)"),
    (("call", ("W1",), ("sum", "rows")), r"\operatorname{sum}(W_{1}, \mathrm{rows})", "sum(W₁, rows)", "sum(W1, rows)"),
    (("call", (apply("σ", "h", 1),), ("diag", "")), r"\operatorname{diag}\left( \sigma'(h) \right)", "diag(σ'(h))", "diag(sigma'(h))"),
    (power(("norm", (RESIDUAL,), ""), 2), r"\lVert \hat{y} - y \rVert^{2}", "||ŷ - y||²", "||yhat - y||^2"),
    (("norm", ("x",), "1"), r"\lVert x \rVert_{1}", "||x||_1", "||x||_1"),
    (("bars", (times(("norm", ("x",), ""), "y"),), None), r"\lvert (\lVert x \rVert y) \rvert", "|(||x|| y)|", "|(||x|| y)|"),
    (("indicator", ("z1",), None), "1[z_{1} > 0]", "1[z₁ > 0]", "1[z1 > 0]"),
    (("beside", ("x", "y"), None), r"\begin{pmatrix} x & y \end{pmatrix}", "[x, y]", "[x, y]"),
    (
        ("below", (("beside", ("x", "y"), None), ("beside", ("h", "b1"), None)), None),
        r"\begin{pmatrix} x & y \\ h & b_{1} \end{pmatrix}",
        "[x, y; h, b₁]",
        "[x, y; h, b1]",
    ),
    (("entry", ("x",), ("i",)), "x_{i}", "x_i", "x_i"),
    (times(("entry", ("x",), ("i",)), RESIDUAL), r"x_{i} \cdot (\hat{y} - y)", "x_i · (ŷ - y)", "x_i * (yhat - y)"),
    (("entry", ("W1",), ("i", "j")), "(W_{1})_{ij}", "(W₁)_{ij}", "(W1)_{ij}"),
    (("entry", ("W1",), (1, 12)), "(W_{1})_{1,12}", "(W₁)_{1,12}", "(W1)_{1,12}"),
    (("entry", ("b1",), (1,)), "(b_{1})_{1}", "(b₁)_1", "(b1)_1"),
    (
        times(("indexed_sum", (times(("entry", ("x",), ("i",)), "y"),), ("i", 1, "n")), "h"),
        r"\left( \sum_{i=1}^{n} x_{i} y \right) h",
        "(sum_{i=1}^{n} x_i y) h",
        "(sum_{i=1}^{n} x_i y) h",
    ),
    (times("h", ("indexed_sum", (("entry", ("x",), ("i",)),), ("i", "", ""))), r"h \sum_{i} x_{i}", "h sum_i x_i", "h sum_i x_i"),
    (("delta", (), ("i", "j")), r"\delta_{ij}", "δ_{ij}", "delta_{ij}"),
    (
        times("h", ("components", (("entry", ("x",), ("i",)),), ("i",))),
        r"h \left[ x_{i} \right]_{i}",
        "h [x_i]_i",
        "h [x_i]_i",
    ),
    (("components", (("entry", ("x",), ("i",)),), ("i",)), "x_{i}", "x_i", "x_i"),
    (
        times(turned("W2"), ("name", (RESIDUAL,), spell("delta", "2"))),
        r"W_{2}^{\top} \delta_{2}",
        "W₂ᵀ δ₂",
        "W2^T delta2",
    ),
]


@pytest.mark.parametrize(("tree", "latex", "unicode", "ascii"), FORMULAS, ids=[latex for _, latex, _, _ in FORMULAS])
def test_notation(tree: Tree, latex: str, unicode: str, ascii: str) -> None:
    formulas = Expressions()
    root = build(formulas, network(), tree)
    answer = solution(formulas, network())
    assert write_latex(answer, root) == latex
    assert unicodedata.normalize("NFC", write_text(answer, root)) == unicode
    assert write_text(answer, root, ascii=True) == ascii
    assert ascii.isascii()


@pytest.mark.parametrize(
    ("sign", "meaning", "latex", "unicode"),
    [
        ("*", "matrix", r"W_{1} (x + y) h", "W₁ (x + y) h"),
        ("*", "entrywise", r"W_{1} (x + y) \odot h", "W₁ (x + y) ⊙ h"),
        ("*", "", r"W_{1} (x + y) * h", "W₁ (x + y) * h"),
        ("·", "scale", r"W_{1} (x + y) h", "W₁ (x + y) h"),
        ("·", "", r"W_{1} (x + y) \cdot h", "W₁ (x + y) · h"),
        ("×", "", r"W_{1} (x + y) \times h", "W₁ (x + y) × h"),
        ("@", "", "W_{1} (x + y) @ h", "W₁ (x + y) @ h"),
        ("∘", "matrix", r"W_{1} (x + y) h", "W₁ (x + y) h"),
        ("∘", "", r"W_{1} (x + y) \circ h", "W₁ (x + y) ∘ h"),
        (".*", "entrywise", r"W_{1} (x + y) \odot h", "W₁ (x + y) ⊙ h"),
        ("./", "divide", r"W_{1} (x + y) \oslash h", "W₁ (x + y) ⊘ h"),
        ("/", "divide", "W_{1} (x + y) / h", "W₁ (x + y) / h"),
        ("⊗", "kron", r"W_{1} (x + y) \otimes h", "W₁ (x + y) ⊗ h"),
        ("⊗", "outer", r"W_{1} (x + y) h^{\top}", "W₁ (x + y) hᵀ"),
    ],
)
def test_signs_are_those_that_the_shapes_decided(sign: str, meaning: str, latex: str, unicode: str) -> None:
    formulas = Expressions()
    kind = "product" if sign in ("*", "·", "×", "@", "/") else "elementwise"
    root = build(formulas, network(), (kind, (times("W1", add("x", "y")), "h"), (sign,)))
    operators = {(formulas.keys[root], 0): meaning} if meaning else {}
    assert write_latex(solution(formulas, network()), root, None, operators) == latex
    assert write_text(solution(formulas, network()), root, None, operators) == unicode


def test_entrywise_products_in_a_product_stand_in_brackets() -> None:
    formulas = Expressions()
    root = build(formulas, network(), times("h", "y", "x", signs=("*", "*")))
    key = formulas.keys[root]
    answer = solution(formulas, network())
    assert write_latex(answer, root, None, {(key, 0): "entrywise", (key, 1): "matrix"}) == r"(h \odot y) x"
    assert write_latex(answer, root, None, {(key, 0): "matrix", (key, 1): "entrywise"}) == r"h y \odot x"


def derivative(sign: str, of: str, *by: str, meanings: tuple[str, ...] = ("partial", "total"), on_vec: bool = False) -> Derivative:
    names = network().names
    return Derivative(sign, names.index(spell(of).key), tuple(names.index(spell(name).key) for name in by), meanings, None, on_vec)


@pytest.mark.parametrize(
    ("atom", "latex", "unicode"),
    [
        (derivative("∂", "L", "W2"), r"\frac{\partial L}{\partial W_{2}}", "∂L/∂W₂"),
        (derivative("d", "L", "W2"), r"\frac{\mathrm{d} L}{\mathrm{d} W_{2}}", "dL/dW₂"),
        (derivative("∂", "L", "W1", "b1"), r"\frac{\partial L}{\partial (W_{1}, b_{1})}", "∂L/∂(W₁, b₁)"),
        (derivative("∂", "z1", "W1", on_vec=True), r"\frac{\partial z_{1}}{\partial \operatorname{vec}(W_{1})}", "∂z₁/∂vec(W₁)"),
        (derivative("∇", "L", "W2"), r"\nabla_{W_{2}} L", "∇_{W₂} L"),
        (derivative("J", "yhat", "h"), r"J_{h} \hat{y}", "J_h ŷ"),
        (derivative("'", "h", "z1"), "h'(z_{1})", "h'(z₁)"),
    ],
)
def test_derivatives_by_their_sign(atom: Derivative, latex: str, unicode: str) -> None:
    formulas = Expressions()
    root = formulas.add("derivative", value=0)
    answer = solution(formulas, network(), (atom,))
    assert write_latex(answer, root) == latex
    assert unicodedata.normalize("NFC", write_text(answer, root)) == unicode


def test_derivatives_in_products() -> None:
    formulas, tape = Expressions(), network()
    gradient: Tree = ("derivative", (), 0)
    fraction: Tree = ("derivative", (), 1)
    atoms = (derivative("∇", "L", "z1"), derivative("∂", "L", "z1"))
    answer = solution(formulas, tape, atoms)

    def both(tree: Tree) -> tuple[str, str]:
        root = build(formulas, tape, tree)
        return write_latex(answer, root), unicodedata.normalize("NFC", write_text(answer, root))

    assert both(times(gradient, turned("x"))) == (r"(\nabla_{z_{1}} L) x^{\top}", "(∇_{z₁} L) xᵀ")
    assert both(times(turned("W1"), gradient)) == (r"W_{1}^{\top} \nabla_{z_{1}} L", "W₁ᵀ ∇_{z₁} L")
    assert both(times(turned("W1"), gradient, "x")) == (r"W_{1}^{\top} (\nabla_{z_{1}} L) x", "W₁ᵀ (∇_{z₁} L) x")
    assert both(times(times("W1", gradient), "x")) == (r"(W_{1} \nabla_{z_{1}} L) x", "(W₁ ∇_{z₁} L) x")
    assert both(entrywise(gradient, SLOPE)) == (r"\nabla_{z_{1}} L \odot \sigma'(z_{1})", "∇_{z₁} L ⊙ σ'(z₁)")
    assert both(turned(gradient)) == (r"(\nabla_{z_{1}} L)^{\top}", "(∇_{z₁} L)ᵀ")
    assert both(times(fraction, turned("x"))) == (r"\frac{\partial L}{\partial z_{1}} x^{\top}", "∂L/∂z₁ xᵀ")
    assert both(times(fraction, RESIDUAL)) == (r"\frac{\partial L}{\partial z_{1}} (\hat{y} - y)", "∂L/∂z₁ · (ŷ - y)")
    assert both(turned(fraction)) == (r"\left( \frac{\partial L}{\partial z_{1}} \right)^{\top}", "(∂L/∂z₁)ᵀ")


def test_a_derivative_that_was_taken_as_total_is_upright() -> None:
    formulas = Expressions()
    root = formulas.add("derivative", value=0)
    answer = solution(formulas, network(), (derivative("∂", "L", "h"),))
    setting = Setting(LAYOUTS["mixed"], total=frozenset({0}))
    assert write_latex(answer, root, setting) == r"\frac{\mathrm{d} L}{\mathrm{d} h}"
    assert write_text(answer, root, setting) == "dL/dh"


def test_layers_and_their_derivatives() -> None:
    tape = read_composition(Source("h = g(x, W); L = l(h)")).tape
    formulas = Expressions()
    answer = solution(formulas, tape)

    def latex(tree: Tree) -> str:
        return write_latex(answer, build(formulas, tape, tree))

    assert latex(("layer", ("x", times("W", "h")), "g")) == r"g\left( x, (W h) \right)"
    assert latex(("layer_jacobian", ("h",), ("l", 0, "'"))) == "l'(h)"
    assert latex(("layer_jacobian", ("x", "W"), ("g", 0, "J"))) == "(J_{x} g)(x, W)"
    assert latex(("layer_jacobian", ("x", "W"), ("g", 1, "∂"))) == r"\frac{\partial g}{\partial W}(x, W)"
    assert latex(("layer_jacobian", (add("x", "h"), "W"), ("g", 0, "∂"))) == r"(\partial_{1} g)(x + h, W)"


def test_names_are_those_of_the_answer() -> None:
    tape = read_composition(Source("W1: m x n; x: n; h1 = sigmoid(W1 x); L = l(h1)")).tape
    formulas = Expressions()
    index = {name: k for k, name in enumerate(tape.names)}
    raised = Spelling("W1", "W", "", "", False, "1")
    answer = solution(formulas, tape, spellings={index["W1"]: raised}, functions={"sigmoid": spell("σ"), "l": spell("ell")})

    def both(tree: Tree) -> tuple[str, str]:
        root = build(formulas, tape, tree)
        return write_latex(answer, root), unicodedata.normalize("NFC", write_text(answer, root))

    assert both(turned("W1")) == (r"{W^{(1)}}^{\top}", "(W⁽¹⁾)ᵀ")
    assert both(power("W1", 2)) == ("(W^{(1)})^{2}", "(W⁽¹⁾)²")
    assert both(apply("sigmoid", "x", 1)) == (r"\sigma'(x)", "σ'(x)")
    assert both(power(apply("sigmoid", "x"), 2, True)) == (r"\sigma(x)^{\odot 2}", "σ(x).^2")
    assert both(("layer", ("h1",), "l")) == (r"\ell(h_{1})", "ℓ(h₁)")


def test_values_without_a_name_are_written_out() -> None:
    tape = read_composition(Source("W: m x n; x: n; b: m; L = ||tanh(W x + b)||^2")).tape
    formulas = Expressions()
    answer = solution(formulas, tape)
    (inner,) = (k for k, step in enumerate(tape.steps, tape.leaves) if step.operation == "sum")
    value = formulas.add("value", value=inner)
    assert write_latex(answer, value) == "(W x + b)"
    assert write_latex(answer, formulas.add("transpose", (value,))) == r"(W x + b)^{\top}"


def test_an_index_that_would_make_a_name_stands_at_a_bracket() -> None:
    tape = read_composition(Source("x: n; x2: n; x_i: n; f = x^T x2 + x^T x_i")).tape
    formulas = Expressions()
    answer = solution(formulas, tape)
    assert write_latex(answer, build(formulas, tape, power("x", 2))) == "(x)^{2}"
    assert write_latex(answer, build(formulas, tape, ("entry", ("x",), ("i",)))) == "(x)_{i}"
    assert write_latex(answer, build(formulas, tape, ("entry", ("x",), ("j",)))) == "x_{j}"


def test_what_is_very_long_ends_in_dots() -> None:
    formulas, tape = Expressions(), network()
    answer = solution(formulas, tape)
    x = build(formulas, tape, "x")
    long = formulas.add("sum", (x,) * 20_000, (1,) * 20_000)
    assert write_latex(answer, long).startswith("x + x")
    assert write_latex(answer, long).endswith(r"\dots")
    assert len(write_latex(answer, long)) < MAX_WRITTEN
    many = formulas.add("product", (x,) * 20_000, ("",) * 19_999)
    assert write_text(answer, many, ascii=True).endswith("...")
    deep = x
    for _ in range(20_000):
        deep = formulas.add("product", (x, formulas.add("sum", (deep, deep), (1, 1))), ("",))
    assert len(write_text(answer, deep)) < 2 * MAX_WRITTEN


# --- reading back ---

ANSWERS = {
    NETWORK: (
        r"\frac{\partial L}{\partial W_1} = (W_2^\top (\hat y - y) \odot \sigma'(z_1)) x^\top",
        r"\nabla_{W_1} L = (\nabla_{z_1} L) x^T",
        r"W_2^T * (\hat y - y) * \sigma'(z_1) * x^T",
        r"(dL/dh \circ \sigma'(z_1)) \cdot x'",
        r"\left(\frac{\partial L}{\partial h}\right)^\top \operatorname{diag}(\sigma'(z_1)) W_1",
        r"\mathrm{diag}(\sigma'(z_1)) W_2^T (W_2 \sigma(z_1) + b_2 - y)",
        r"(\hat y - y) \otimes h",
        r"J_{h} \hat{y} \, J_{z_1} h",
        r"dz1 = W_2^T (yhat - y) .* sigma'(z1); dz1 x^T",
        r"x^T \otimes \left( W_2^T (\hat y - y) \odot \sigma'(z_1) \right)",
        r"\frac{1}{2} \cdot 2 \, \left\| \hat y - y \right\| \frac{\hat y - y}{\| \hat y - y \|}",
        r"1/2 (yhat - y)^T (yhat - y)",
        r"-(-(\hat{y} - y)^{T} W_2)^{T}",
        r"\left[ W_2^T(\hat y - y), \sigma'(z_1); h, z_1 \right]",
    ),
    "X: m x n; w: n; y: m; d: scalar; p = sigmoid(X w); r = p - y; L = 1/(2*m) ||r||^2 + d ||w||^2": (
        r"\frac{1}{m} X^T (r \odot p \odot (1 - p)) + 2 d w",
        r"\frac{1}{m} X^\top \operatorname{diag}(p \odot (\mathbf{1}_m - p)) r + 2 d \, w",
        r"X^T (r .* p .* (1 - p)) / m + d w .* 2",
        r"\sum_{i=1}^m r_i p_i (1 - p_i)",
        r"1 - p^2 ./ (1 + |d|) + |d|",
        r"\tanh^2(X w) + \sqrt{p} - p^{-1/2}",
        r"(I_m - \frac{1}{m} \mathbf{1}_m \mathbf{1}_m^T) r",
        r"\|r\|_1 \|w\|^2 r / \|r\|",
    ),
    "A: n x n; X: n x n; x: n; f = tr(A X^-1) + log(det(X)) + x^T X^-1 x": (
        r"-(X^{-1} A X^{-1})^T + X^{-\top} - X^{-T} x x^T X^{-T}",
        r"-X^{-2} (A + X) ^2",
        r"\operatorname{tr}(A) X^{-1} - \det(X) x x' + \operatorname{vec}(A)' \operatorname{vec}(X) I",
        r"\operatorname{sum}(A, rows) x^T",
    ),
}


@pytest.mark.parametrize(("composition", "text"), [(composition, text) for composition, texts in ANSWERS.items() for text in texts])
def test_an_answer_that_is_written_out_is_worth_the_same(composition: str, text: str) -> None:
    tape = read_composition(Source(composition)).tape
    (output,) = tape.outputs()
    scope = Scope(tape, output, [0], lambda *_: None)
    setting = Setting(LAYOUTS["mixed"])
    typed = read_solution(Source(text), scope)
    root = typed.statements[-1].links[-1]
    value, world, operators = appraise(typed, root, setting)
    definitions = text.rpartition(";")[0] + ";" if typed.statements[0].name else ""
    for written in (
        write_latex(typed, root, setting, operators),
        write_text(typed, root, setting, operators),
        write_text(typed, root, setting, operators, ascii=True),
    ):
        again = read_solution(Source(f"{definitions} {written}"), scope)
        assert Appraiser(again, world, setting).value(again.statements[-1].links[-1]) == value, written


def appraise(typed: Solution, root: int, setting: Setting) -> tuple[Dense, World, Operators]:
    """What a formula is worth in the first world that has all the roots, and how its signs were taken."""
    for seed in range(100):
        world = draw(typed.tape, seed)
        appraiser = Appraiser(typed, world, setting)
        try:
            return appraiser.value(root), world, appraiser.operators
        except DomainError:
            continue
    raise AssertionError("no world has the roots")


PRIME = 2**61 - 1
SIZE = 3
Vector = tuple[int, ...]
Number = Vector | Fraction
NAMES = ("x", "y", "h", "W1", "x2")


@cache
def table(name: str) -> list[list[Vector]]:
    draw = random.Random(name)
    return [[tuple(draw.randrange(PRIME) for _ in range(SIZE)) for _ in range(SIZE)] for _ in range(SIZE)]


def vector(number: Number) -> Vector:
    if isinstance(number, tuple):
        return number
    value = number.numerator * pow(number.denominator, -1, PRIME)
    return tuple(value * (k + 3) % PRIME for k in range(SIZE))


def scaled(value: Number, factor: int) -> Number:
    return tuple(factor * entry % PRIME for entry in value) if isinstance(value, tuple) else factor * value


def plus(left: Number, right: Number) -> Number:
    return tuple((a + b) % PRIME for a, b in zip(vector(left), vector(right), strict=True))


def each(name: str, value: Number) -> Vector:
    """A function of each entry, with no symmetry."""
    draw = random.Random(name)
    square, linear, constant = (draw.randrange(PRIME) for _ in range(3))
    return tuple((square * entry * entry + linear * entry + constant) % PRIME for entry in vector(value))


def multiplied(sign: str, left: Number, right: Number) -> Number:
    """The product of a sign: linear in the first factor, and but for quotients in the second."""
    if sign in ("/", "\\frac") and isinstance(left, Fraction) and isinstance(right, Fraction) and right:
        return left / right
    kind = {"/": "/", "\\frac": "/", "./": "./", "⊘": "./", "⊗": "⊗", "⊙": "⊙", ".*": "⊙", "∘": "⊙"}.get(sign, "product")
    a, b = vector(left), each(kind, right) if kind in ("/", "./") else vector(right)
    terms = [[a[i] * b[j] * entry for entry in table(kind)[i][j]] for i in range(SIZE) for j in range(SIZE)]
    return tuple(sum(column) % PRIME for column in zip(*terms, strict=True))


def reverse(value: Number) -> Number:
    return tuple(reversed(vector(value)))


def meant(tree: Tree | str) -> Number:
    """The value of a formula."""
    if isinstance(tree, str):
        return each(tree, (0,) * SIZE)
    kind, below, value = tree
    args = [meant(arg) for arg in below]
    if kind == "number":
        return Fraction(value)
    if kind == "sum":
        found = scaled(args[0], value[0])
        for sign, arg in zip(value[1:], args[1:], strict=True):
            found = plus(found, scaled(arg, sign))
        return found
    if kind in ("product", "elementwise"):
        found = args[0]
        for sign, arg in zip(value, args[1:], strict=True):
            found = multiplied(sign, found, arg)
        return found
    if kind == "fraction":
        return multiplied("/", *args)
    if kind == "negate":
        return scaled(args[0], -1)
    if kind == "transpose":
        return reverse(args[0])
    if kind == "inverse":
        return each("power -1", args[0])
    if kind == "power":
        exponent, entries = value
        return each(f"{'epower' if entries else 'power'} {exponent}", args[0])
    if kind == "apply":
        name, order = value
        return each(f"{name}{order}", args[0])
    return each(str(kind), args[0])


def read(text: str) -> Number:
    """The value of a text."""
    program = read_expression(Source(text), NAMES)
    nodes = program.nodes
    found: list[Number] = []
    for node in nodes:
        args = [found[k] for k in node.args]
        if node.kind == "number":
            found.append(Fraction(node.value))
        elif node.kind == "name":
            found.append(each(node.value, (0,) * SIZE))
        elif node.kind in ("add", "subtract"):
            found.append(plus(args[0], scaled(args[1], 1 if node.kind == "add" else -1)))
        elif node.kind == "negate":
            found.append(scaled(args[0], -1))
        elif node.kind in ("product", "divide", "elementwise"):
            found.append(multiplied(node.value, *args))
        elif node.kind in ("transpose", "prime") and nodes[node.args[0]].kind != "function":
            found.append(reverse(each("power -1", args[0]) if node.value == "-" else args[0]))
        elif node.kind == "call":
            found.append(called(nodes, node, args))
        elif node.kind in ("power", "epower") and nodes[node.args[0]].kind != "function":
            found.append(each(f"{node.kind} {args[1]}", args[0]))
        elif node.kind in ("function", "prime", "power"):
            found.append(Fraction(0))  # with its call
        else:
            found.append(each({"absolute": "bars"}.get(node.kind, node.kind), args[0]))
    return found[-1]


def called(nodes: list[Node], node: Node, args: list[Number]) -> Number:
    order, exponents, at = 0, [], node.args[0]
    while nodes[at].kind != "function":
        if nodes[at].kind == "prime":
            order += 1
        else:
            exponents.append(nodes[nodes[at].args[1]].value)
        at = nodes[at].args[0]
    if nodes[at].value == "kron":
        return multiplied("⊗", *args[1:])
    if nodes[at].value == "sqrt":
        return each(f"epower {Fraction(1, 2)}", args[1])
    value: Number = each(f"{nodes[at].value}{order}", args[1])
    for exponent in exponents:
        value = each(f"epower {exponent}", value)
    return value


def trees(inner: st.SearchStrategy[Tree | str]) -> st.SearchStrategy[Tree | str]:
    def joined(kind: str, signs: str) -> st.SearchStrategy[Tree]:
        lists = st.lists(st.tuples(inner, st.sampled_from(signs.split() + ([""] if kind == "product" else []))), min_size=2, max_size=3)
        return lists.map(lambda pairs: (kind, tuple(arg for arg, _ in pairs), tuple(sign for _, sign in pairs[1:])))

    return st.one_of(
        joined("product", "· × * @ /"),
        joined("elementwise", "⊙ .* ∘ ./ ⊘ ⊗"),
        st.lists(st.tuples(inner, st.sampled_from([1, -1])), min_size=2, max_size=3).map(
            lambda pairs: ("sum", tuple(arg for arg, _ in pairs), tuple(sign for _, sign in pairs))
        ),
        st.tuples(inner, inner).map(lambda pair: ("fraction", pair, None)),
        st.tuples(st.sampled_from(["negate", "inverse", "bars"]), st.tuples(inner), st.none()),
        st.tuples(st.just("transpose"), st.tuples(inner), st.sampled_from(["", "'"])),
        st.tuples(st.just("norm"), st.tuples(inner), st.just("")),
        st.tuples(inner, st.sampled_from([Fraction(2), Fraction(3), Fraction(1, 2), Fraction(-2)]), st.booleans()).map(
            lambda found: ("power", found[:1], found[1:])
        ),
        st.tuples(inner, st.sampled_from(["tanh", "exp", "σ"]), st.integers(0, 2)).map(lambda found: ("apply", found[:1], found[1:])),
    )


NUMBERS = st.sampled_from([number(2), number(10), number("1/2"), number("-3"), number("-2/3")])
LEAVES: st.SearchStrategy[Tree | str] = st.one_of(st.sampled_from(NAMES), NUMBERS)


@settings(max_examples=400, deadline=None)
@given(st.recursive(LEAVES, trees, max_leaves=7))
def test_what_is_written_reads_back(tree: Tree | str) -> None:
    tape = read_composition(Source("f = g(x, y, h, W1, x2)")).tape
    formulas = Expressions()
    root = build(formulas, tape, tree)
    raised = Spelling("W1", "W", "", "1", True)
    answer = solution(formulas, tape, spellings={tape.names.index("W1"): raised})
    value = vector(meant(tree))
    for text in (write_latex(answer, root), write_text(answer, root), write_text(answer, root, ascii=True)):
        assert vector(read(text)) == value, text
