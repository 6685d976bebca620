"""Articles for the tests of formats, in both languages of formulas, and the formulas of golden files."""

from __future__ import annotations

import re
from pathlib import Path

from jacobian_chain import derive, parse
from jacobian_chain.article import Article, Display, Equation, Figure, Formula, Heading, Math, Paragraph, Part, Table

SNAPSHOTS = Path(__file__).parent / "__snapshots__"

RESIDUAL = "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2)/2; x3 = x2 - f3(x2, x, θ3); L = ℓ(x3)"
NETWORK = "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2"
LONG = "L6(L5(L4(L3(L2(L1(x,θ1),θ2),θ3),θ4),θ5),θ6)"
NAMES = r"\hat{y}_{t+1} = F(W_{hh}, h_{t-1}, loss_2, W_{in}^{(2)}, δ); J = C(\hat y_{t+1})"

PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40" width="120" height="40"><defs><marker id="tip" markerWidth="6"'
    ' markerHeight="6" refX="5" refY="3" orient="auto"><path d="M0 0L6 3L0 6z" fill="currentColor"/></marker></defs>'
    '<path d="M10 20H110" stroke="currentColor" marker-end="url(#tip)"/></svg>'
)

SPECIAL = r"50% of a_b & {c} #1 ~ x^2 < y > z | \alpha $5 *bold* `code` [link] @ 'q' " + '"Q"'
"""What means something in at least one of the formats."""


def formulas_of(text: str) -> list[str]:
    """The formulas of a golden file, without their comment lines."""
    found: list[list[str]] = [[]]
    for line in text.rstrip().split("\n"):
        if line.startswith("%"):
            if found[-1]:
                found.append([])
        else:
            found[-1].append(line)
    return ["\n".join(lines) for lines in found if lines]


def golden_formulas() -> list[tuple[str, str]]:
    """Every formula of every golden file, each with its place."""
    return [
        (f"{path.name} {k}", formula)
        for path in sorted(SNAPSHOTS.rglob("*.tex"))
        for k, formula in enumerate(formulas_of(path.read_text(encoding="utf-8")))
        if not re.search(r"\\begin\{(CD|tikzcd)\}", formula)  # pictures of graphs
    ]


def sample(language: str = "latex") -> Article:
    """Every kind of part: distinct names, unequal sizes."""
    if language == "text":
        steps = Display(
            (
                Equation("J_xθ f", "J_x₂ L² · ( J_x L¹  │  0 )", ("by the chain rule",)),
                Equation("", "( J_x₂ L² · J_x L¹  │  0 )", ("multiplied out: ", Math("0"), " stays")),
                Equation("θ", "( a  │\n  b )"),
            )
        )
        parts: tuple[Part, ...] = (
            Paragraph(
                (
                    "Rows belong to the output, ",
                    Math("x_{k - 1}"),
                    " to the layer before, as " + "in every line that follows " * 4,
                )
            ),
            Heading(("Backward, peeling ", Math("L²"))),
            steps,
            Table(("Costs",), (("scheme",), ("numbers",)), ((("δ of ", Math("x₂")), ("1,234",)), (("forward | all",), ("7,890,123",)))),
            Figure(PICTURE, "x → y"),
            Formula(str(derive(NETWORK, wrt="all", layout="mixed"))),
            Paragraph((SPECIAL,)),
        )
        return Article(("The Jacobian of ", Math("f = L² ∘ L¹")), parts, "text")
    steps = Display(
        (
            Equation(
                r"J_{x, \theta} f",
                r"J_{x^{2},\theta^{2}} L^{2} \begin{pmatrix} J_{x, \theta^{1}} L^{1} & 0 \\ 0 & I \end{pmatrix}",
                ("by the chain rule, ", Math(r"\theta^{2}"), " passing through"),
            ),
            Equation(
                "",
                r"\left( J_{x^{2}} L^{2} \cdot J_{x} L^{1} \,\middle\vert\, J_{\theta^{2}} L^{2} \right)",
                ("multiplied out – θ₂ → 50 %",),
            ),
            Equation("", r"\underbrace{\frac{\mathrm{d} f}{\mathrm{d} x}}_{\text{total}} + \sum_{i=1}^{n} \sigma'(x_{i})^{2}"),
        )
    )
    return Article(
        ("The Jacobian of ", Math(r"f = L^{2} \circ L^{1}")),
        (
            Paragraph(("Rows belong to the output, ", Math(r"x_{k-1}"), " to the layer before: " + SPECIAL)),
            Heading(("Backward, peeling ", Math(r"L^{2}"))),
            steps,
            Display((Equation("x_{1}", r"f(x_{0}, \theta_{1})"),)),
            Table(
                ("Costs for ", Math("n = 4")),
                (("scheme",), ("multiplications",), ("memory",)),
                ((("δ of ", Math(r"x_{2}")), ("1,234",), ("56",)), (("forward | all",), ("7,890,123",), (Math(r"\lvert x \rvert | y"),))),
            ),
            Figure(PICTURE, "x → y"),
            Figure(PICTURE, "y → z"),
            Heading(("Results",)),
            Formula(derive(RESIDUAL, wrt="all", layout="numerator").latex()),
            Formula(derive(RESIDUAL, wrt="all", layout="denominator").latex()),
            Formula(derive(LONG, wrt="all", layout="numerator").latex()),
            Formula(derive(NAMES, wrt="all", layout="denominator").latex()),
            Formula(derive(NETWORK, wrt="all", layout="mixed").latex(notation="partial")),
            Formula(derive(NETWORK, wrt="all", layout="mixed").latex(index_notation=True)),
            Formula(parse("h = σ(W x); y = g(h, θ); L = l(y)").second("W", "x").latex()),
        ),
    )
