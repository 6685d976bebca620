"""Whole derivations as readable ``.tex`` files, one for each layout, notation and kind of composition."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from jacobian_chain import check, derive, parse
from jacobian_chain.errors import ReadingError
from jacobian_chain.interface import judge_record
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS

LOSS = "x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)"
COMPOSITIONS = {
    "seed": "L3(L2(L1(x,θ^1),θ^2),θ^3)",
    "loss": LOSS,
    "residual": "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2)/2; x3 = x2 - f3(x2, x, θ3); L = ℓ(x3)",
    "bridge": "x1 = f1(x0, a); x2 = f2(x1, x0, b); x3 = f3(x2, x1); x4 = f4(x3, x2); L = ℓ(x4)",
    "shared": "h1 = f(h0, W); h2 = f(h1, W); L = ℓ(h1) + λ ℓ(h2); λ: scalar",
    "long": "L6(L5(L4(L3(L2(L1(x,θ1),θ2),θ3),θ4),θ5),θ6)",
    "names": r"\hat{y}_{t+1} = F(W_{hh}, h_{t-1}, loss_2, W_{in}^{(2)}, δ); J = C(\hat y_{t+1})",
}
VARIANTS = {
    "": {},
    "shared": {"shared": True},
    "expand": {"expand": True},
    "points": {"points": True},
    "super": {"index": "super", "naming": "outputs"},
}


@pytest.fixture
def tex(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    class Tex(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = "tex"

    return snapshot.use_extension(Tex)


def check_balance(latex: str) -> None:
    """Braces, \\left and \\right, environments, and parentheses are closed in order."""
    closing = {"}": "{", r"\right)": r"\left(", r"\bigr)": r"\bigl(", ")": "(", r"\right\rVert": r"\left\lVert", "]": "["}
    stack: list[str] = []
    for token in re.findall(
        r"\\begin\{\w+\}|\\end\{\w+\}|\\left\\lVert|\\right\\rVert|\\(?:left|bigl) ?\(|\\(?:right|bigr) ?\)|\\[A-Za-z]+|\\.|[{}()\[\]]",
        latex,
    ):
        if token in closing:
            assert stack, latex
            assert stack.pop() == closing[token], latex
        elif token in closing.values():
            stack.append(token)
        elif token.startswith(r"\begin"):
            stack.append(token[6:])
        elif token.startswith(r"\end"):
            assert stack.pop() == token[4:], latex
        elif token in (r"\left", r"\right", r"\bm", r"\dv", r"\newcommand", r"\coloneqq"):
            raise AssertionError(f"{token} does not survive everywhere")
    assert not stack, latex
    assert latex.isascii(), "raw letters stop pdflatex"


def test_balance_finds_what_is_open() -> None:
    for bad in (r"\left( x", r"\frac{a}{b", r"\begin{pmatrix} a \end{aligned}", r"\left( \middle\vert )", r"\bm{x}", "θ"):
        with pytest.raises(AssertionError):
            check_balance(bad)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant or "plain")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_layouts(composition: str, layout: str, variant: str, tex: SnapshotAssertion) -> None:
    jacobian = derive(COMPOSITIONS[composition], wrt="all", layout=layout)
    latex = jacobian.latex(**VARIANTS[variant])  # type: ignore[arg-type]
    check_balance(latex)
    assert f"% {composition}, {layout} layout\n{latex}\n" == tex


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_notations(notation: str, layout: str, tex: SnapshotAssertion) -> None:
    latex = derive(COMPOSITIONS["residual"], wrt=["θ1", "x"], layout=layout).latex(notation=notation)
    check_balance(latex)
    assert f"% {notation}, {layout} layout\n{latex}\n" == tex


ANSWERS = {
    "matrix": (
        "seed",
        r"JL^3 \begin{pmatrix} J_{x,θ^1,θ^2}L^2(L^1(x,θ^1),θ^2) & 0\\ 0 & I \end{pmatrix}",
    ),
    "point": ("seed", r"(J_{x^3}L^3)(L^2(x,θ^2),θ^3) (J_{x^2}L^2)^T \left.J_{θ^1}L^1\right|_{(x,θ^1)}"),
    "tuple": ("seed", r"J L^3 \cdot J(L^2(L^1(x,\theta^1),\theta^2),\theta^3)"),
    "slots": ("seed", r"\partial_1 L^3 @ D_1 L^2 | ∂_2 L^3"),
    "fractions": ("loss", r"\frac12 \ell'(x_3) (∂f_3/∂x_2 - 2 I) \left( \frac{dx_2}{d\theta_1} \right)^\top"),
    "definition": ("loss", r"\delta_3 = \nabla_{x_3} L; \delta_3^T J_{x_2} f_3 \odot \frac{\partial x_2}{\partial \theta_2}"),
    "names": ("names", r"\frac{\partial J}{\partial \hat{y}_{t+1}} J_{W_{hh}} F"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_as_they_were_read(answer: str, tex: SnapshotAssertion) -> None:
    composition, text = ANSWERS[answer]
    latex = check(COMPOSITIONS[composition], text, wrt="all", layout="numerator").read_as
    check_balance(latex)
    assert f"% {answer}\n{latex}\n" == tex


CONCRETE = {
    "network": "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2",
    "classifier": "L = CE(softmax(W2 relu(W1 x + b1) + b2), y)",
    "recurrent": "h1 = tanh(W h0 + U x1); h2 = tanh(W h1 + U x2); h3 = tanh(W h2 + U x3); L = l(h3)",
    "mixed": "h = σ(W x); y = g(h, θ); L = l(y)",
    "attention": "Q: n x d; K: m x d; V: m x p; S = Q K^T/sqrt(d); A = softmax_rows(S); O = A V; L = l(O)",
    "norms": "x: n; y: n; s = (x^T y)/(||x|| ||y||) + ||x||_1",
    "normalisation": "x: d; μ = mean(x); s = sqrt(mean((x - μ).^2)); v = (x - μ)/s; L = l(γ .* v + β)",
    "layer-norm": "y = layernorm(W x); L = l(y)",
    "gates": "z = sigmoid(W x + U h); r = h .* (1 - z) + z .* tanh(V x); L = ||r - y||^2",
    "inverse": "f = a^T X^-1 b + logdet(X) + det(X)^2",
    "functions": "g(t) = t/(1 + e^{-t}); L = l(gelu(g(W x)) ./ softplus(x)); W: n x n",
    "elementwise": "L = sum(elu(A) .* silu(B) - erf(A).^3) + tr(A B^T); A: 2 x 3",
    "blocks": "A: 2 x 3; B: 2 x 4; C: 5 x 7; M = [[A, B]; C]; f = ||M||_F",
    "kronecker": "A: 2 x 3; B: 3 x 2; Y = kron(A, B)",
    "matrix": "X: m x n; Y = tanh(A X B + b)^T",
    "diagonal": "v: n; Y = diag(v) A diag(v); A: n x n",
    "defined": "L1(x, W, b) = tanh(W x + b); L2(h, V, c) = V h + c; f = L2(L1(x, W1, b1), W2, b2)",
}
CONCRETE_VARIANTS = {
    "": {},
    "vec": {"vec": True},
    "factored": {"notation": "partial"},
    "components": {"index_notation": True},
}


@pytest.mark.parametrize("variant", CONCRETE_VARIANTS, ids=lambda variant: variant or "plain")
@pytest.mark.parametrize("composition", CONCRETE)
def test_concrete_layers(composition: str, variant: str, tex: SnapshotAssertion) -> None:
    pages = []
    for layout in LAYOUTS:
        jacobian = derive(CONCRETE[composition], wrt="all", layout=layout)
        latex = jacobian.latex(**CONCRETE_VARIANTS[variant])  # type: ignore[arg-type]
        check_balance(latex)
        pages.append(f"% {composition}, {layout} layout\n{latex}\n")
    assert "".join(pages) == tex


@pytest.mark.parametrize("composition", ["network", "recurrent", "attention", "gates"])
def test_concrete_adjoints(composition: str, tex: SnapshotAssertion) -> None:
    latex = derive(CONCRETE[composition], wrt="all", layout="mixed").latex(shared=True)
    check_balance(latex)
    assert f"% {composition}, mixed layout\n{latex}\n" == tex


@pytest.mark.parametrize("names", [("x", "x"), ("x", "W"), ("W", "W"), ("θ", "h")], ids=["x,x", "x,W", "W,W", "theta,h"])
def test_second_derivatives(names: tuple[str, str], tex: SnapshotAssertion) -> None:
    latex = parse(CONCRETE["mixed"]).second(*names).latex()
    check_balance(latex)
    assert f"% mixed\n{latex}\n" == tex


COLLECTED = [json.loads(line) for line in (Path(__file__).parent / "cases" / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_collected_answers_as_they_were_read(start: int, tex: SnapshotAssertion) -> None:
    """What is said in LaTeX of every tenth answer of a hundred: how it was read, and a right one where it is wrong."""
    pages = []
    for case in COLLECTED[start : start + 100 : 10]:
        try:
            verdict = judge_record(case)
        except ReadingError:
            continue  # what cannot be read has no LaTeX
        texts = dict.fromkeys([verdict["read_as"], *(finding["suggestion"] for finding in verdict["findings"] if finding["suggestion"])])
        for latex in texts:
            check_balance(latex)
            pages.append(f"% {case['id']}\n{latex}\n")
    assert "".join(pages) == tex
