"""Reading compositions: spellings, precedence, statements, and what is wrong with a text."""

from __future__ import annotations

import contextlib

import pytest

from jacobian_chain import parse
from jacobian_chain.errors import ChainError, LimitError, ReadingError, Source
from jacobian_chain.names import read_key
from jacobian_chain.reading import read_composition
from jacobian_chain.syntax import read_expression, read_program

SEED = "L3(L2(L1(x,θ1),θ2),θ3)"


@pytest.mark.parametrize(
    "spellings",
    [
        ["θ1", "theta1", "th1", "θ_1", "θ^1", "θ¹", "θ₁", r"\theta_1", r"\theta^{1}", r"\boldsymbol{\theta}_1", r"\theta1", "{\\theta}_1"],
        ["W1", "W_1", "W^1", "W^{(1)}", "W^{[1]}", r"\mathbf{W}_1", r"\mathbf W_1", "𝐖_1"],
        ["Whh", "W_hh", "W_{hh}", r"W_{\mathrm{hh}}"],
        ["yhat", "ŷ", r"\hat y", r"\hat{y}", r"\hat{\mathbf y}", "y_hat"],
        ["h_{t-1}", "h_{t - 1}", "hₜ₋₁", "h^{t-1}", "h^{(t-1)}"],
        ["W_2^{(1)}", "W^{(1)}_2", r"\mathbf{W}_{2}^{[1]}"],
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_are_one_name(spellings: list[str]) -> None:
    assert len({read_key(text) for text in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("W1", "w1"), ("θ1", "θ2"), ("x12", "x1"), ("y", "ŷ"), ("ö", "ô"), ("W_2^{(1)}", "W_{21}"), ("ℓ", "l")]
)
def test_different_names_stay_apart(one: str, other: str) -> None:
    assert read_key(one) != read_key(other)


EQUIVALENT = [
    [
        SEED,
        r"L^3(L^2(L^1(x,\theta^1),\theta^2),\theta^3)",
        "L_3(L_2(L_1(x, th1), th2), th3)",
        "L³(L²(L¹(x,θ¹),θ²),θ³)",
        r"\mathbf{L}_3\left(L_{2}\bigl(L_1(x,\boldsymbol\theta_1),\theta_{2}\bigr),\theta_3\right)",
        "  L3 ( L2(\n L1(x,θ1), # the first\n θ2),θ3)  ",
        "$$L_3(L_2(L_1(x,\\theta_1),\\theta_2),\\theta_3)$$",
    ],
    [
        "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)",
        "x1 = f1(x, θ1)\nx2 = x1 + f2(x1, θ2)\nL = ℓ(x2)",
        "L = ℓ(x2); x2 = x1 + f2(x1, θ2); x1 = f1(x, θ1)",
        r"\begin{align} x_1 &= f_1(x, \theta_1),\\ x_2 &= x_1 \\ &\quad + f_2(x_1, \theta_2),\\ L &= \ell(x_2). \end{align}",
        r"\left\{\begin{aligned} x^{(1)} &= f^{(1)}(x, \theta^{(1)}) \\ x^{(2)} &= x^{(1)} + f^{(2)}(x^{(1)}, \theta^{(2)}) \\"
        r" L &= \ell(x^{(2)})\end{aligned}\right.",
        "x1 = f1(x, θ1)\n\nx2 = x1\n\n  + f2(x1, θ2) # skip\nL =\n ℓ(x2)",
    ],
    ["y = 2 x - f(x)/3", "y = x*2 - 1/3 f(x)", r"y = x + x - \frac{1}{3} f(x)", r"y = -(-2 × x + \frac13 \cdot f(x))", "y = 2(x - f(x)/6)"],
    [
        "λ: scalar; W: m x n; y = f(W) + λ g(W)",
        r"W \in \mathbb{R}^{m \times n}; λ in R; y = f(W) + \lambda \cdot g(W)",
        "λ: scalar\nW: mxn\ny = f(W) + g(W)*λ",
    ],
    ["u = u(a, b); y = g(u)", "u_ = 1*u(a, b); y = g(u_)".replace("u_", "u")],
]


@pytest.mark.parametrize("texts", EQUIVALENT, ids=lambda texts: texts[0])
def test_equivalent_texts_give_equal_tapes(texts: list[str]) -> None:
    first = parse(texts[0])
    for text in texts[1:]:
        assert parse(text) == first, text


def tree(text: str) -> str:
    """The tree of one expression or of the last statement, in brackets."""
    program = read_program(Source(text))
    shown: list[str] = []
    for node in program.nodes:
        args = " ".join(shown[arg] for arg in node.args)
        sign = node.value if node.kind in ("elementwise", "norm", "transpose") else ""
        shown.append(f"({node.kind}{sign} {args})" if node.args else node.value)
    return shown[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/2 ||v||^2", "(product (divide 1 2) (power (norm v) 2))"),
        ("W^T δ ⊙ s", "(elementwise⊙ (product (transpose W) δ) s)"),
        (r"\tanh W x + b", "(add (call tanh (product W x)) b)"),
        (r"\log\det X", "(call log (call det X))"),
        (r"\sin x \cos y", "(product (call sin x) (call cos y))"),
        ("log x / y", "(divide (call log x) y)"),
        ("-A B + C", "(add (negate (product A B)) C)"),
        ("a - b - c", "(subtract (subtract a b) c)"),
        ("a / b * c", "(product (divide a b) c)"),
        ("x^-1 y", "(product (power x (negate 1)) y)"),
        (r"X^{-\top}", "(transpose- X)"),
        ("X⁻ᵀ x", "(product (transpose- X) x)"),
        ("X⁻¹ᵀ", "(transpose (power X (negate 1)))"),
        ("A.T x", "(product (transpose A) x)"),
        ("e^{-z} .* s", "(elementwise.* (power e (negate z)) s)"),
        ("σ'(z)", "(call (prime σ) z)"),
        ("W' x", "(product (prime W) x)"),
        ("[A, B; C, D]", "(stack (beside A B) (beside C D))"),
        (r"\begin{pmatrix} A & B \\ C & D \end{pmatrix}", "(column (row A B) (row C D))"),
        ("(A | B | C)", "(row A B C)"),
        (r"\left\| A x - b \right\|_2^2", "(power (norm2 (subtract (product A x) b)) 2)"),
        (r"\frac{1}{2} \sqrt{x}", "(product (divide 1 2) (call sqrt x))"),
        ("max(0, z)", "(call max 0 z)"),
        ("W: m x n; x: n; Wx + b", "(add (product W x) b)"),
        ("W: m x n; W (x + u)", "(product W (add x u))"),
        ("T: n x n; f(T, x)", "(call f T x)"),
        ("sigma: n; f(sigma, x)", "(call f σ x)"),
        ("x^2 + y", "(add (power x 2) y)"),
        ("e^2 f^2(f^1(x))", "(product (power e 2) (call f2 (call f1 x)))"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert tree(text) == expected


def test_superscripts_are_indices_only_with_a_witness() -> None:
    assert parse("h^t = f(h^{t-1}, x^t)").tape.names == ("ht-1", "xt", "ht")
    assert parse("f(x, θ) = g^2(g^1(x, θ^1), θ^2)").tape.groups == (("θ", (1, 2)),)
    assert parse("y = x^2").tape.names == ("x", "y")
    with pytest.raises(ReadingError, match=r"two readings here: the name W2, or W to the power 2"):
        parse("W: n x n; W2: n x n; y = f(W2, W^2)")
    with pytest.raises(ReadingError, match=r"f applied 2 times"):
        parse("f^2(f(x))")


def test_functions_and_values_are_separate() -> None:
    tape = parse("x: n; y: k; y = y(x); z = z(y)").tape
    assert [step.name for step in tape.steps] == ["y", "z"]
    assert tape.names == ("x", "y", "z")


def test_fresh_output_name() -> None:
    assert parse("g(h(x))").tape.names[-1] == "f"
    assert parse("f(h(x))").tape.names[-1] == "y"
    assert parse("f(y)").tape.names[-1] == "z"


def test_notices() -> None:
    assert "did you mean softmax?" in parse("sofmax(z)").notices[0]
    assert "W is read as a layer" in parse("W(x + u)").notices[0]
    assert "applied to 1 arguments elsewhere and to 2 here" in parse("y = f(g(x)) + g(x, x)").notices[0]
    assert parse(SEED).notices == ()


def test_shapes_are_inferred() -> None:
    tape = parse("x2 = x1 + f2(x1, θ2); W: m x n; L = ℓ(x2, W); x1: 4").tape
    shapes = {name: str(shape) for name, shape in zip(tape.names, tape.shapes, strict=True) if name}
    assert shapes == {"x1": "4", "θ2": "n_θ2", "W": "m x n", "x2": "4", "L": "scalar"}
    assert str(parse("L = ℓ(f(x)) + λ R(x); λ: scalar").tape.shapes[-1]) == "scalar"
    assert parse("Y = F(x)").tape.shapes[-1].is_matrix


BAD = {
    "L1(x, θ1": (1, 3, "never closed"),
    "f(x))": (1, 5, "closes nothing"),
    "f(x]": (1, 4, "where '.' was expected"),
    "L1(x θ1)": (1, 6, "missing comma?"),
    "": (1, 1, "the text is empty"),
    "  \n # nothing\n": (1, 1, "the text is empty"),
    "f(x,)": (1, 5, "one comma too many?"),
    "f()": (1, 1, "no arguments"),
    "y = ": (1, 4, "expected an expression after '='"),
    "y = f(x) + ": (1, 11, "missing after '\\+'"),
    "x = f(y); y = g(x)": (1, 1, "x ← y ← x"),
    "x = f(x)": (1, 1, "name the new value differently"),
    "y = f(x)\ny = g(x)": (2, 1, "already defined at line 1, column 1"),
    "f(x); g(y)": (1, 7, "give each a name"),
    "x: n; y: m; z = x + f(y) + y": (1, 17, "x is a column of n, y is a column of m"),
    "x1: 3; x2: 2; x1 = f(a); x2 = x1 + g(x1)": (1, 31, "x1 is a column of 3, x2 is a column of 2|x2 is a column of 2, x1"),
    "x: ?": (1, 4, "unexpected character"),
    "x: 2 3 4; f(x)": (1, 4, "not a shape"),
    "y = f(x) / g(x)": (1, 5, "a division is by a scalar"),
    "y = f(x)\nz = g(\\foo)": (2, 7, r"unknown command \\foo"),
    "y = f(\\thet)": (1, 7, "theta"),
    "f(x\x07)": (1, 4, r"control character U\+0007"),
    "f(\ufffd)": (1, 3, "not valid UTF-8"),
    "__import__('os').system('x')": (1, 1, "expected an index"),
    "f'(x)": (1, 1, "derivative of the layer f"),
    "f(x; θ)": (1, 4, "separated by commas"),
    "f(x) = ": (1, 7, "expected an expression"),
    "2 = f(x)": (1, 1, "left side"),
    "f(2 3 x)": (1, 5, r"2\*3"),
    "x 10^": (1, 3, "unexpected number 10"),
    "1/0 x": (1, 1, "division by zero"),
    "f(x = y)": (1, 5, "second '='|unexpected"),
    "x: n; x: m; f(x)": (1, 7, "declared twice"),
}


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_bad_texts_are_refused_at_their_place(text: str) -> None:
    line, column, message = BAD[text]
    with pytest.raises(ReadingError, match=message) as caught:
        parse(text)
    place = caught.value.place
    assert place is not None
    assert (place.line, place.column) == (line, column)
    if text.strip():
        typed, caret = place.excerpt().split("\n")
        assert typed.strip() in "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        assert caret.index("^") == column - 1


def test_a_number_that_is_too_long_is_a_limit() -> None:
    for text in ("1e99999 x", "9^64^64^64 x", "1" * 400 + " x", "f(" + "x" * 300 + ")"):
        with pytest.raises(LimitError):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000 + "x" + ")" * 100_000,
        "f(" * 30_000 + "x" + ")" * 30_000,
        "(" * 100_000,
        "f(" + "{" * 100_000,
        "x_{" * 3_000,
        "-" * 100_000 + "x",
        "x" + " + x" * 50_000,
        "x + f(" * 20_000 + "x" + ")" * 20_000,
        "a - (" * 20_000 + "a" + ")" * 20_000,
        "x" + "'" * 50_000,
        "|" * 50_000,
        r"\frac{" * 20_000,
    ],
    ids=lambda text: text[:8],
)
def test_depth_and_length_are_no_obstacle(text: str) -> None:
    """Neither recursion nor quadratic time: an answer or an error, at once."""
    with contextlib.suppress(ChainError):
        read_composition(Source(text))


def test_answers_share_the_grammar() -> None:
    program = read_expression(Source(r"\frac{\partial L}{\partial x_3} (J_{x_2} f_3)(x_2, \theta_3)"), layers={"f3"})
    assert [node.kind for node in program.nodes].count("divide") == 1
    with pytest.raises(ReadingError, match="never closed"):
        read_expression(Source("( a"))
