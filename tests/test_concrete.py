"""Jacobians through concrete layers: what is printed, in each layout and form."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from jacobian_chain import derive, parse
from jacobian_chain.errors import ChainError, OptionError

MLP = "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2"
CLASSIFIER = "h = relu(W1 x + b1); p = softmax(W2 h + b2); L = CE(p, y)"
RNN = "h1 = tanh(W h0 + U x1); h2 = tanh(W h1 + U x2); h3 = tanh(W h2 + U x3); L = l(h3)"
MIXED = "h = tanh(W x); y = g(h, θ); L = l(y)"
SLOPE = r"(1 - h \odot h)"
PRINTED = [
    (MLP, "W1", "mixed", rf"\left( W_{{2}}^{{\top}} (\hat{{y}} - y) \odot {SLOPE} \right) x^{{\top}}"),
    (MLP, "b1", "mixed", rf"W_{{2}}^{{\top}} (\hat{{y}} - y) \odot {SLOPE}"),
    (MLP, "W2", "mixed", r"(\hat{y} - y) h^{\top}"),
    (MLP, "b2", "mixed", r"\hat{y} - y"),
    (MLP, "x", "mixed", rf"W_{{1}}^{{\top}} \left( W_{{2}}^{{\top}} (\hat{{y}} - y) \odot {SLOPE} \right)"),
    (MLP, "W1", "denominator", rf"\left( W_{{2}}^{{\top}} (\hat{{y}} - y) \odot {SLOPE} \right) x^{{\top}}"),
    (MLP, "W1", "numerator", rf"x (\hat{{y}} - y)^{{\top}} W_{{2}} \operatorname{{diag}}{SLOPE}"),
    (MLP, "b1", "numerator", rf"(\hat{{y}} - y)^{{\top}} W_{{2}} \operatorname{{diag}}{SLOPE}"),
    (MLP, "W2", "numerator", r"h (\hat{y} - y)^{\top}"),
    (MLP, "b2", "numerator", r"(\hat{y} - y)^{\top}"),
    (MLP, "x", "numerator", rf"(\hat{{y}} - y)^{{\top}} W_{{2}} \operatorname{{diag}}{SLOPE} W_{{1}}"),
    (CLASSIFIER, "W2", "mixed", r"(p - y) h^{\top}"),
    (CLASSIFIER, "W1", "mixed", r"\left( W_{2}^{\top} (p - y) \odot 1[W_{1} x + b_{1} > 0] \right) x^{\top}"),
    (f"y: c free; {CLASSIFIER}", "b2", "mixed", r"(\mathbf{1}^{\top} y) p - y"),
    ("L = 1/2 ||W x - y||^2", "W", "numerator", r"x (W x - y)^{\top}"),
    ("f = x^T A x", "x", "mixed", r"(A + A^{\top}) x"),
    ("f = x^T A x", "A", "mixed", r"x x^{\top}"),
    ("A: n x n symmetric; f = x^T A x", "x", "mixed", "2 A x"),
    ("tr(A X B)", "X", "mixed", r"A^{\top} B^{\top}"),
    ("logdet X", "X", "mixed", r"X^{-\top}"),
    ("f = log(abs(det(X)))", "X", "mixed", r"X^{-\top}"),
    ("||A X - B||_F^2", "X", "mixed", r"2 A^{\top} (A X - B)"),
    ("a^T X^-1 b", "X", "mixed", r"-X^{-\top} a b^{\top} X^{-\top}"),
    ("a = tanh(W x + b)", "W", "mixed", r"\operatorname{diag}(1 - a \odot a) (x^{\top} \otimes I)"),
    ("a = tanh(W x + b)", "W", "denominator", r"(x \otimes I) \operatorname{diag}(1 - a \odot a)"),
    (MIXED, "W", "mixed", r"\left( (J_{h} g)^{\top} \nabla_{y} l \odot (1 - h \odot h) \right) x^{\top}"),
    ("y, s: scalar; L = -(y log(sigmoid(s)) + (1 - y) log(1 - sigmoid(s)))", "s", "mixed", r"\operatorname{sigmoid}(s) - y"),
    ("f = ||x||", "x", "mixed", r"\frac{x}{f}"),
    ("Y = A X B", "X", "numerator", r"B^{\top} \otimes A"),
    ("X: m x n; Y = X^T", "X", "numerator", "K_{m,n}"),
    ("X: n x n; Y = X^-1", "X", "numerator", r"-Y^{\top} \otimes Y"),
    ("p = softmax(z)", "z", "numerator", r"\operatorname{diag}(p) - p p^{\top}"),
    ("y = w .* x", "w", "numerator", r"\operatorname{diag}(x)"),
    ("t: scalar; A: m x n; Y = t^2 A", "t", "numerator", "2 t A"),
]


@pytest.mark.parametrize(("text", "variable", "layout", "latex"), PRINTED)
def test_prints_as_people_write(text: str, variable: str, layout: str, latex: str) -> None:
    jacobian = derive(text, wrt=variable, layout=layout)
    assert jacobian.blocks[variable].latex() == latex
    assert jacobian.verify()


def test_chain_on_vec_has_the_order_of_numerator_layout() -> None:
    latex = derive(MIXED, wrt="W").latex(vec=True)
    right = r"J_{y} l \cdot J_{h} g \cdot \operatorname{diag}(1 - h \odot h) (x^{\top} \otimes I)"
    assert latex == rf"\frac{{\partial L}}{{\partial \operatorname{{vec}}(W)}} = {right}"


def test_shared_weights_add_up_over_time() -> None:
    jacobian = derive(RNN, wrt="W", layout="mixed")
    assert str(jacobian).count("ᵀ +") == 2
    assert all(f"h{k}ᵀ" in str(jacobian) for k in "₀₁₂")
    assert jacobian.verify()


def test_shared_adjoints_come_in_the_order_of_backpropagation() -> None:
    lines = derive(MLP, wrt=["W1", "b1", "W2", "b2", "x"], layout="mixed").unicode(shared=True)
    assert unicodedata.normalize("NFC", lines).splitlines() == [
        "∂L/∂ŷ = ŷ - y",
        "∂L/∂b₂ = ∂L/∂ŷ",
        "∂L/∂W₂ = (∂L/∂ŷ) hᵀ",
        "∂L/∂h = W₂ᵀ (∂L/∂ŷ)",
        "∂L/∂z₁ = (∂L/∂h) ⊙ (1 - h ⊙ h)",
        "∂L/∂b₁ = ∂L/∂z₁",
        "∂L/∂x = W₁ᵀ (∂L/∂z₁)",
        "∂L/∂W₁ = (∂L/∂z₁) xᵀ",
    ]


def test_long_values_without_a_name_get_one() -> None:
    lines = str(derive("L = 1/2 ||W2 tanh(W1 x + b1) + b2 - y||^2", wrt="W1", layout="mixed")).splitlines()
    assert lines == ["∂L/∂W₁ = (W₂ᵀ (W₂ h + b₂ - y) ⊙ (1 - h ⊙ h)) xᵀ", "h = tanh(W₁ x + b₁)"]


def test_products_of_layers_spell_their_factors_out() -> None:
    text = "L1(x, W, b) = tanh(W x + b); L2(h, V, c) = V h + c; L2(L1(x, W1, b1), W2, b2)"
    jacobian = derive(text, wrt="W1")
    assert str(jacobian).splitlines() == [
        "J_W₁ f = J_x₂ L₂ · J_W₁ L₁",
        "J_x₂ L₂ = W₂",
        "J_W₁ L₁ = diag(1 - x₂ ⊙ x₂) (xᵀ ⊗ I)",
    ]
    assert jacobian.sheet("unicode").legend == ("x₂ = L₁(x, W₁, b₁)",)
    assert jacobian.verify()


@pytest.mark.parametrize("layout", ["numerator", "denominator", "mixed"])
def test_notation_gives_products_of_layers(layout: str) -> None:
    lines = unicodedata.normalize("NFC", derive(MLP, wrt="b1", layout=layout).unicode(notation="partial")).splitlines()
    order = ["∂L/∂ŷ", "∂ŷ/∂h", "∂h/∂z₁"]
    if layout == "denominator":
        assert lines[0] == f"∂L/∂b₁ = {' · '.join(['∂z₁/∂b₁', *reversed(order)])}"
        assert "∂ŷ/∂h = W₂ᵀ" in lines
        assert "∂L/∂ŷ = ŷ - y" in lines
    else:
        assert "∂ŷ/∂h = W₂" in lines or "(∂ŷ/∂h)ᵀ" in lines[0]
        assert ("∂L/∂ŷ = (ŷ - y)ᵀ" in lines) == (layout == "numerator")
    assert "∂h/∂z₁ = diag(1 - h ⊙ h)" in lines


SECOND = [
    ("f = x^T A x", "x", "x", r"A + A^{\top}"),
    ("f = exp(a^T x)", "x", "x", r"f a a^{\top}"),
    ("y = g(x); L = l(y)", "x", "x", None),
    ("y = g(x, θ); L = l(y)", "x", "θ", None),
    ("y = tanh(W x); L = l(y)", "x", "W", None),
    ("y = tanh(W x); L = l(y)", "W", "W", None),
    ("h = g(x); y = tanh(V h); L = l(y)", "x", "V", None),
    ("X: n x n; f = logdet X", "X", "X", None),
    ("f = logsumexp(W x)", "x", "W", None),
    ("y: n label; p = softmax(W x); L = CE(p, y)", "W", "x", None),
    ("f = a^T X^-1 b", "X", "a", None),
    ("p = softmax(z); L = CE(p, y)", "z", "y", None),
    ("A: n x n symmetric; f = x^T A x", "x", "A", None),
    ("v = x / ||x||; f = v^T A v", "x", "x", None),
    ("H = g(X); L = l(H); X: m x n; H: p x q", "X", "X", None),
    ("y = g(x); L = ||A y - b||^2", "x", "A", None),
]


@pytest.mark.parametrize(("text", "one", "other", "latex"), SECOND)
def test_second_derivatives_equal_differences_of_the_gradient(text: str, one: str, other: str, latex: str | None) -> None:
    from jacobian_chain.witness import verify_second

    composition = parse(text)
    second = composition.second(one, other)
    if latex is not None:
        assert second.latex().partition(" = ")[2] == latex
    tape = composition.tape
    values = [tape.index(name) for name in (one, other)]
    assert verify_second(tape, tape.outputs()[0], values[0], values[1]) < 1e-6  # type: ignore[arg-type]


def test_second_derivative_of_opaque_layers_has_two_terms() -> None:
    second = parse("y = g(x); L = l(y)").second("x", "x")
    assert str(second) == "∂²L/(∂x ∂xᵀ) = (J_x g)ᵀ · ∇²_{y, y} l · J_x g + ∇²_{x, x} ⟨∇_y l, g⟩"
    assert second.sheet().legend


def test_second_derivatives_of_a_layer_applied_twice_show_their_points() -> None:
    text = "h1 = f(x, W); h2 = f(h1, W); x: n; h1: n; h2: n; L = l(h2)"
    shown = str(parse(text).second("W", "W"))
    assert all(f"⟩)({point}, W)" in shown for point in ("x", "h₁")), shown


def test_facts_that_were_used_are_said() -> None:
    assert derive(CLASSIFIER, wrt="W2", layout="mixed").sheet().legend == ("the entries of y sum to 1",)
    assert derive("A: n x n symmetric; f = x^T A x", wrt="x").sheet().legend == ("A = Aᵀ",)
    assert derive("f = x^T A x", wrt="x").sheet().legend == ()


def test_options_that_have_no_effect_are_refused() -> None:
    with pytest.raises(OptionError, match="expand"):
        derive(MLP, wrt="W1").latex(expand=True)
    with pytest.raises(OptionError, match="points"):
        derive(MLP, wrt="W1").latex(points=True)
    with pytest.raises(OptionError, match="scalar"):
        derive("a = tanh(W x)", wrt="W").latex(shared=True)
    with pytest.raises(OptionError, match="scalar"):
        parse("a = tanh(W x)").second("x", "x")
    with pytest.raises(OptionError, match="name of its own"):
        parse("f = x^T A x").hessian_along("A", "x")


def test_json_describes_expressions() -> None:
    document = json.loads(json.dumps(derive(MLP, wrt=["W1", "b1"], layout="mixed").to_json()))
    assert [block["variable"] for block in document["blocks"]] == ["W1", "b1"]
    root = document["expressions"][document["blocks"][0]["expression"]]
    assert root["operation"] == "product"
    assert all(k < number for number, node in enumerate(document["expressions"]) for k in node.get("inputs", ()))


CASES = [line for line in (Path(__file__).parent / "cases" / "compositions.jsonl").read_text(encoding="utf-8").splitlines() if line]


@pytest.mark.parametrize("line", CASES, ids=lambda line: str(json.loads(line)["id"]))
def test_published_compositions_are_derived_and_verified(line: str) -> None:
    record = json.loads(line)
    jacobian = derive(record["composition"], wrt=record["wrt"], of=record["of"], layout=record["layout"])
    assert jacobian.latex()
    assert jacobian.verify()


def test_a_value_that_depends_on_itself_is_refused() -> None:
    with pytest.raises(ChainError, match="depends on itself"):
        parse("Z = tanh(W*Z + U*X)")


LAYERS = {
    "squared error": "ŷ = W x + b; L = 1/2 ||ŷ - y||^2",
    "squared error of a batch": "X: m x n; W: k x m; Y: k x n; b: k; L = 1/(2*n)*||W X + b - Y||_F^2",
    "cross-entropy": "z = W x + b; L = CE(softmax(z), y)",
    "cross-entropy of a batch": "X: m x n; W: n x k; Y: m x k; L = 1/m*CE(softmax_rows(X W), Y)",
    "cross-entropy of a batch in columns": "X: m x n; W: k x m; Y: k x n; L = CE(softmax_columns(W X), Y)/n",
    "cross-entropy of log-softmax": "z = W x; y: k; L = -y^T logsoftmax(z); W: k x n",
    "binary cross-entropy": "z = w^T x + b; b: scalar; p = sigmoid(z); y: scalar; L = -(y log(p) + (1 - y) log(1 - p))",
    "binary cross-entropy with logits": "z = X w; y: n; X: n x m; L = sum(softplus(z) - y .* z)",
    "log-sum-exp": "f = logsumexp(W x + b)",
    "norms": "f = ||W x||_1 + ||W x|| + ||W||_F",
    "cosine similarity": "u = W x; f = (u^T v)/(||u|| ||v||)",
    "layer normalisation": "z = W x; h = γ .* layernorm(z) + β; L = l(h)",
    "batch normalisation": "X: m x n; γ: m; β: m; μ = mean(X, rows); C = X - μ; v = mean(C.^2, rows); "
    "Z = C .* (v.^(-1/2) ones(1, n)); Y = Z .* (γ ones(1, n)) + β; L = l(Y)",
    "attention": "Q: n x d; K: m x d; V: m x p; L = l(softmax_rows(Q K^T/sqrt(d)) V)",
    "recurrent step": "h = tanh(W h0 + U x + b); o = V h; L = l(o)",
    "gated recurrent unit": "z = sigmoid(A x + B h0); r = sigmoid(C x + D h0); "
    "c = tanh(E x + F (r .* h0)); h = (1 - z) .* h0 + z .* c; L = l(h)",
    "long short-term memory": "i = sigmoid(A x + B h0); g = sigmoid(C x + D h0); o = sigmoid(E x + F h0); "
    "c = g .* c0 + i .* tanh(G x + H h0); h = o .* tanh(c); L = l(h)",
    "quadratic form": "f = (x - μ)^T Σ^-1 (x - μ); x: n; μ: n; Σ: n x n",
    "trace": "f = tr(A^T X B X^T); X: m x n; B: n x n; A: m x m",
    "determinant": "f = det(A X B) + logdet(A X B); X: n x n; A: n x n; B: n x n",
    "inverse": "Y = (A X)^-1 B; A: n x n; X: n x n",
    "Kronecker": "f = ||kron(A, B) - C||^2; A: 2 x 3; B: 4 x 2; C: 8 x 6",
    "concatenation": "h = tanh(W [x; u] + b); L = l(h); x: 3; u: 2",
    "residual": "h = x + V tanh(W x); y = h + P relu(Q h); L = l(y); x: n; W: m x n; V: n x m",
}


@pytest.mark.parametrize("name", LAYERS)
def test_losses_and_layers(name: str) -> None:
    jacobian = derive(LAYERS[name], wrt="all", layout="mixed")
    assert jacobian.latex()
    verification = jacobian.verify()
    assert verification, verification.worst
    assert len(verification.comparisons) == 3 * len(jacobian.blocks)


def test_logits_simplify() -> None:
    assert derive(LAYERS["binary cross-entropy"], wrt="w", layout="mixed").blocks["w"].latex() == "(p - y) x"
    assert derive(LAYERS["binary cross-entropy with logits"], wrt="w", layout="mixed").blocks["w"].latex() == (
        r"X^{\top} \left( \operatorname{sigmoid}(z) - y \right)"
    )
    assert derive(LAYERS["cross-entropy of a batch"], wrt="W", layout="mixed").blocks["W"].latex() == (
        r"\frac{1}{m} X^{\top} \left( \operatorname{softmax}_{\mathrm{rows}}(X W) - Y \right)"
    )
    assert derive(LAYERS["squared error of a batch"], wrt="b", layout="mixed").blocks["b"].latex().endswith(r"\mathbf{1}")


def test_a_layer_without_a_definition_takes_a_value_of_its_own() -> None:
    sheet = derive("L = l(f(x), f(tanh(x)))", wrt="x").sheet("unicode", notation="jacobian")
    assert sheet.text.splitlines() == [
        "J_x L = J_x₁ l · J_x f + J_x₃ l · J_u f · J_x tanh",
        "J_x tanh = diag(1 - u ⊙ u)",
        "u = tanh(x)",
    ]
    assert sheet.legend == ("x₁ = f(x)", "x₃ = f(u)")


def test_numbers_beside_square_matrices_are_ones() -> None:
    assert str(derive("x: 3; y = layernorm(x)", wrt="x")).startswith("∂y/∂x = (I - 1/3 𝟏 𝟏ᵀ")
    assert str(derive("A: n x n; v: n; f = sum(A) + v^T A v", wrt="A", layout="mixed")) == "∂f/∂A = 𝟏 𝟏ᵀ + v vᵀ"


def test_a_gradient_is_bracketed_before_a_factor() -> None:
    assert str(derive("a = b + W*h; L = l(a)", wrt="W", layout="mixed")) == "∂L/∂W = (∇_a l) hᵀ"


def test_factors_of_a_scalar_have_the_shape_of_their_matrix() -> None:
    lines = derive("L = d^T N^-1 b + logdet(N)", wrt="N", layout="mixed").unicode(notation="partial").splitlines()
    assert lines[-1] == "∂L/∂N = N^-T - N^-T d bᵀ N^-T"


SIZES_OF_ONE = [
    ("W: 1 x n; x: n; z = W x; L = l(z)", "W, x"),
    ("A: 1 x 1; x: 1; y = A x", "A, x"),
    ("X: m x 1; w: 1; y = X w", "X, w"),
    ("x: 1 x n; W: n x 1; y = x W; L = y^2", "x, W"),
    ("Z: 1 x n; P = softmax_rows(Z); L = l(P)", "Z"),
    ("Z: n x 1; P = softmax_columns(Z); L=l(P)", "Z"),
    ("Z: n x 1; P = softmax_rows(Z); L=l(P)", "Z"),
    ("Z: 1 x n; P = softmax_columns(Z); L = l(P)", "Z"),
    ("a: 1 x n; b: m; Y = b a", "a, b"),
    ("a: 1 x n; Y = kron(a, B); B: 2 x 3", "a, B"),
    ("a: 1 x n; b: 1 x m; Y = kron(a, b)", "a, b"),
    ("a: n; b: 1 x m; Y = kron(a, b)", "a, b"),
    ("X: 1 x n; Y = X^T; L = l(Y)", "X"),
    ("X: 1 x n; f = X X^T", "X"),
    ("X: 1 x n; y = g(X); L = ||y||^2", "X"),
    ("y: 1 x n; y = g(x); L = ||y||^2", "x"),
    ("y: 1 x n; y = g(x); x: m", "x"),
    ("y: 1 x n; y = g(x); x: 1 x m; z = y A", "x, A"),
    ("X: 1 x n; Y = tanh(X A + b); b: 1 x m", "X, A, b"),
    ("X: k x n; Y = X A + b; b: k", "X, A, b"),
    ("x: 1 x n; y = diag(x)", "x"),
    ("x: 1 x n; v = vec(x)", "x"),
    ("A: 1 x n; B: 2 x n; C = [A; B]; L=l(C)", "A, B"),
    ("A: n x 1; B: n x 2; C = [A, B]", "A, B"),
    ("x: n; s: scalar; y = [x; s]", "x, s"),
    ("s: scalar; t: scalar; y = [s; t]", "s, t"),
    ("s: scalar; t: scalar; y = [s, t]; L = l(y)", "s, t"),
    ("s: scalar; Y = g(s); Y: m x n", "s"),
    ("s: scalar; y = g(s, x); L = l(y, s)", "s, x"),
    ("X: 1 x 1; f = logdet(X) + tr(X)", "X"),
    ("y: 1 x n; z: 1 x n; L = CE(softmax(z), y)", "z"),
    ("z: 1; y: 1; L = CE(softmax(z), y)", "z"),
    ("X: m x 1; μ = mean(X, columns); Y = X - μ", "X"),
    ("X: 1 x n; μ = mean(X, rows); Y = X - μ", "X"),
    ("x: 1 x n; f = logsumexp(x) + ||x||_1 + sum(x)", "x"),
]


@pytest.mark.parametrize(("text", "variables"), SIZES_OF_ONE)
def test_rows_columns_and_single_entries(text: str, variables: str) -> None:
    jacobian = derive(text, wrt=variables, layout="mixed")
    assert jacobian.verify()
    for layout in ("numerator", "denominator", "mixed"):
        page = jacobian.in_layout(layout)
        assert all([page.latex(), page.latex(vec=True), page.latex(notation="partial"), page.latex(index_notation=True)])
