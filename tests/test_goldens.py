"""Whole derivations as readable ``.tex`` files, one for each layout, notation and kind of composition."""

from __future__ import annotations

import re

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from jacobian_chain import check, derive
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
    closing = {"}": "{", r"\right)": r"\left(", r"\bigr)": r"\bigl(", ")": "("}
    stack: list[str] = []
    for token in re.findall(r"\\begin\{\w+\}|\\end\{\w+\}|\\(?:left|bigl) ?\(|\\(?:right|bigr) ?\)|\\[A-Za-z]+|\\.|[{}()]", latex):
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
