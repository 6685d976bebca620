"""The Python interface and the SymPy edge."""

from __future__ import annotations

import pytest
import sympy
from sympy import Function, MatrixSymbol, Symbol, srepr, symbols

import jacobian_chain
from jacobian_chain import derive, parse
from jacobian_chain.errors import LimitError, OptionError, ReadingError
from jacobian_chain.symbolic import AppliedLayer, PartialJacobian
from tests.compositions import Layer

SEED = "L3(L2(L1(x,θ1),θ2),θ3)"


def test_public_names() -> None:
    assert {"parse", "derive"} <= set(dir(jacobian_chain))
    for name in jacobian_chain.__all__:
        assert getattr(jacobian_chain, name) is not None
    with pytest.raises(AttributeError):
        jacobian_chain.nothing  # noqa: B018


def test_representations() -> None:
    f = parse(SEED)
    assert f._repr_latex_() == r"$$f = L_{3}(L_{2}(L_{1}(x, \theta_{1}), \theta_{2}), \theta_{3})$$"
    jacobian = derive(f, wrt="θ")
    assert jacobian._repr_latex_().startswith(r"$$J_{\theta} f = \left( J_{x_{3}} L_{3} \cdot")
    assert not hasattr(jacobian, "_repr_html_")
    ambiguous = derive("f(x, x)", wrt="x")
    assert r"\partial_{1} f + \partial_{2} f" in ambiguous._repr_latex_()
    assert str(ambiguous.blocks["x"]) == "∂₁ f + ∂₂ f"


def test_blocks() -> None:
    jacobian = derive(SEED, wrt="θ")
    assert list(jacobian.blocks) == ["θ1", "θ2", "θ3"]
    assert jacobian.blocks["theta^2"].latex() == r"J_{x_{3}} L_{3} \cdot J_{\theta_{2}} L_{2}"
    assert jacobian.in_layout("denominator").blocks["θ2"].latex() == r"(J_{\theta_{2}} L_{2})^{\top} \cdot (J_{x_{3}} L_{3})^{\top}"
    with pytest.raises(KeyError, match="θ4"):
        jacobian.blocks["θ4"]


def test_layouts_of_one_derivation() -> None:
    jacobian = derive("y = g(f(W), t); L = ℓ(y); W: m x n; t: scalar", wrt=["W", "t"])
    shapes = {
        layout: [str(block.shape) for block in jacobian.in_layout(layout).blocks.values()]
        for layout in ("numerator", "denominator", "mixed")
    }
    assert shapes == {"numerator": ["1 x m*n", "scalar"], "denominator": ["m*n", "scalar"], "mixed": ["m*n", "scalar"]}
    direct = derive("L = ℓ(W); W: m x n", wrt="W")
    assert str(direct.blocks["W"].shape) == "n x m"
    assert str(direct.in_layout("mixed").blocks["W"].shape) == "m x n"
    assert direct.latex(vec=True).startswith(r"\frac{\mathrm{d} L}{\mathrm{d} \operatorname{vec}(W)}")
    matrix = derive("Z = F(t); t: scalar; Z: p x q", wrt="t")
    assert str(matrix.blocks["t"].shape) == "p x q"
    assert matrix.to_json()["blocks"][0]["shape"] == ["p", "q"]


def test_shared_adjoints_tell_everything() -> None:
    jacobian = derive("y = f(x)", wrt=["x", "y"], max_factors=1)
    assert jacobian.latex(shared=True).count("=") == 2
    assert r"\frac{\partial y}{\partial y} &= I" in jacobian.latex(shared=True)
    assert jacobian.to_json(shared=True)["notices"] == list(jacobian.sheet(shared=True).notices)
    assert derive("g(" + ",".join(f"f{k}(x)" for k in range(40)) + ")", wrt="x").latex(naming="inputs").count("J_{x_{41,40}}") == 1


def test_options_are_checked() -> None:
    jacobian = derive(SEED, wrt="θ")
    for options in ({"notation": "jacobi"}, {"naming": "in"}, {"index": "up"}):
        with pytest.raises(OptionError, match="there is no"):
            jacobian.latex(**options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="did you mean"):
        derive(SEED, layout="numerater")
    with pytest.raises(LimitError, match="about 10"):
        derive("; ".join(f"x{k} = x{k - 1} + f{k}(x{k - 1})" for k in range(1, 100))).latex(expand=True)


def test_held_free_and_defaults() -> None:
    assert derive("x1 = f(x, a); y = g(x1, x)", wrt="x1, x").latex().count("middle") == 1
    assert derive("x1 = f(x, a); y = g(x1)", wrt=["x1", "a"]).blocks["a"].is_zero
    assert list(derive("f(x, W1, b1, W10, W2)").blocks) == ["W1", "b1", "W10", "W2"]
    assert list(derive("f(x, W10, W2)").blocks) == ["W2", "W10"]
    assert list(derive("f(x, y)").blocks) == ["x", "y"]
    assert list(derive("φ = (a, b); f(x, a, b, θ)").blocks) == ["a", "b"]
    assert derive("y = f(x); z = g(y)", wrt="x", of="y").latex() == r"\frac{\mathrm{d} y}{\mathrm{d} x} = \frac{\partial y}{\partial x}"


# --- SymPy ---

NAMES = ["f(x_{t-1}, W_{1,2}, b_1^{(2)}, \\hat y, W_{hh}, loss_2, θ^1)", "A: n_in x n_in; f(A, x)"]


def test_expressions_round_trip() -> None:
    for text in (SEED, "g(x + f(x, a)/2, b)", "L = ℓ(f(x, W)); W: 2 x 3", "λ: scalar; y = x + λ f(x)", *NAMES):
        f = parse(text)
        assert parse(f.equations) == f if "=" in text else parse(f.expr) == f
    f = parse("x1 = f1(x, θ1); x2 = x1 - 2 f2(x1, θ2); L = ℓ(x2)")
    assert parse(f.equations) == f
    assert all(isinstance(equation, sympy.Eq) for equation in f.equations)


def test_deep_expressions_are_refused() -> None:
    with pytest.raises(LimitError, match="nested layers"):
        parse("f(" * 500 + "x" + ")" * 500).expr  # noqa: B018


def test_sympy_expressions_are_read() -> None:
    x, a, b = symbols("x theta1 theta_2")
    f = parse(Function("L2")(Function("L1")(x, a), b))
    assert f == parse("x: scalar; θ1: scalar; θ2: scalar; L2(L1(x, θ1), θ2)")
    w = MatrixSymbol("W", 2, 3)
    assert str(parse(Function("f")(w) / 3 + 1).tape.shapes[0]) == "2 x 3"
    with pytest.raises(ReadingError, match="no layer, sum or number"):
        parse(sympy.Integral(x, x))


def test_sympy_shows_greek_as_commands() -> None:
    latex = sympy.latex(parse(SEED).expr)
    assert latex.isascii()
    assert r"\theta_{1}" in latex
    assert sympy.latex(derive(SEED, wrt="θ1").to_sympy()).isascii()


def test_srepr_is_complete() -> None:
    matrix = derive("x2 = x1 + f2(x1, θ2); L = ℓ(x2)", wrt="x1, θ2", layout="denominator").to_sympy()
    assert srepr(matrix).startswith("BlockMatrix(")
    assert "PartialJacobian(Str('f2'), Str('x1'), Integer(1), Integer(2)," in srepr(matrix)
    for node in sympy.preorder_traversal(matrix):
        assert not node.args or node.func(*node.args) == node


def test_order_is_kept_and_sizes_are_symbols() -> None:
    matrix = derive("y = g(f(x, a), b); x: n; a: k; y: m", wrt="a").to_sympy()
    assert [str(factor) for factor in matrix.blocks[0, 0].args] == ["D1(g)", "D2(f)"]
    assert matrix.shape == (Symbol("m", integer=True, positive=True), Symbol("k", integer=True, positive=True))


@pytest.mark.parametrize("layout", ["numerator", "denominator", "mixed"])
def test_export_equals_the_explicit_jacobian(layout: str) -> None:
    """Distinct sizes, a residual, a scalar factor and an unused path, through ``BlockMatrix`` and ``replace``."""
    sizes = {"x": 2, "θ1": 3, "λ": 1, "x1": 4, "x2": 4}
    layers = {"f1": Layer((2, 3), 4, 3), "f2": Layer((4, 3), 4, 5), "l": Layer((4, 2), 1, 2)}
    text = "x: 2; θ1: 3; λ: scalar; x1: 4; L: scalar; x1 = f1(x, θ1); x2 = x1/2 + λ f2(x1, θ1); L = l(x2, x)"
    entries = {name: [sympy.Symbol(f"{name}_{k}") for k in range(sizes[name])] for name in ("x", "θ1", "λ")}
    x1 = layers["f1"].apply([entries["x"], entries["θ1"]])
    f2 = layers["f2"].apply([x1, entries["θ1"]])
    x2 = [a / 2 + entries["λ"][0] * b for a, b in zip(x1, f2, strict=True)]
    loss = sympy.Matrix(layers["l"].apply([x2, entries["x"]]))
    numbers = {symbol: sympy.Integer(k * k - 5) for k, symbol in enumerate(s for group in entries.values() for s in group)}
    at = {name: [symbol.subs(numbers) for symbol in group] for name, group in entries.items()}
    at["x1"] = [entry.subs(numbers) for entry in x1]
    at["x2"] = [entry.subs(numbers) for entry in x2]
    inputs = {"f1": ["x", "θ1"], "f2": ["x1", "θ1"], "l": ["x2", "x"]}

    def explicit(node: PartialJacobian) -> sympy.Matrix:
        layer = node.args[0].name
        return sympy.ImmutableMatrix(layers[layer].jacobian([at[name] for name in inputs[layer]], int(node.args[2]) - 1))

    jacobian = derive(text, wrt=["x", "θ1", "λ"], layout=layout)
    value = {MatrixSymbol("x1", 4, 1): sympy.ImmutableMatrix(at["x1"])}
    applied = AppliedLayer(*next(iter(parse(text).equations[1].rhs.atoms(AppliedLayer))).args)
    for name, block in jacobian.blocks.items():
        matrix = block.to_sympy().subs(applied, sympy.ImmutableMatrix([entry.subs(numbers) for entry in f2]))
        matrix = matrix.subs(value).subs(Symbol("lambda"), at["λ"][0])
        matrix = matrix.replace(lambda node: isinstance(node, PartialJacobian), explicit).doit()
        expected = loss.jacobian(entries[name]).subs(numbers)
        assert sympy.Matrix(matrix) == (expected if layout == "numerator" else expected.T), name
