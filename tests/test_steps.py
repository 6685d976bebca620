"""Derivations step by step: every line is read back by the reader of answers and found right; those of the first question are goldens."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from syrupy.assertion import SnapshotAssertion

from jacobian_chain import check, derive, layout, parse, peeling
from jacobian_chain.abstraction import abstract
from jacobian_chain.article import Article, Display, Equation, Formula, Paragraph, flatten
from jacobian_chain.articles import compose
from jacobian_chain.errors import LimitError, OptionError
from jacobian_chain.formats import write_article
from jacobian_chain.interface import Composition
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.operations import OPERATIONS
from jacobian_chain.reading import Reading
from jacobian_chain.steps import NARRATORS, TITLES
from jacobian_chain.tape import Tape
from tests.compositions import problems
from tests.test_goldens import check_balance, tex

__all__ = ["tex"]

SEED = "L^3(L^2(L^1(x,θ^1),θ^2),θ^3)"
LOSS = "x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)"
ABSTRACT = [
    SEED,
    LOSS,
    "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2)/2; x3 = x2 - f3(x2, x, θ3); L = ℓ(x3)",
    "x1 = f1(x0, a); x2 = f2(x1, x0, b); x3 = f3(x2, x1); L = ℓ(x3)",
    "L3(L2(L1(x,θ1),θ2) + x, θ1)",
    "h1 = f(h0, W); h2 = f(h1, W); L = ℓ(h1) + λ ℓ(h2); λ: scalar",
    "f(x, x, θ1)",
    "g(f(x, θ), h(y, φ))",
    "y = f(x, θ) + g(x, φ); z = k(y)",
    "x4 = g(h(k(x, a), b), x); L = l(x4) + μ m(x4, a); μ: scalar",
    r"\hat{y}_{t+1} = F(W_{hh}, h_{t-1}, loss_2, W_{in}^{(2)}, δ); J = C(\hat y_{t+1})",
    "g(f(x))",
]
CONCRETE = {
    "network": "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2",
    "classifier": "L = CE(softmax(W2 relu(W1 x + b1) + b2), y)",
    "recurrent": "h1 = tanh(W h0 + U x1); h2 = tanh(W h1 + U x2); L = l(h2)",
    "mixed": "h = σ(W x); y = g(h, θ); L = l(y)",
    "ridge": "r = X w - y; L = 1/(2*n) ||r||^2 + λ ||w||^2; X: n x d",
    "bilinear": "u = A x; v = B y; s = u^T v; L = exp(s)",
    "residual": "x1 = tanh(U x); x2 = x1 + tanh(W2 x1); L = ||x2||^2",
    "vector": "h = tanh(W x + b); y = softmax(V h)",
}


def chains(display: Display) -> list[str]:
    """Each left side with everything that it equals."""
    found: list[list[str]] = []
    for equation in display.equations:
        if equation.left:
            found.append([equation.left, equation.right])
        else:
            found[-1].append(equation.right)
    return [" = ".join(chain) for chain in found]


def displays(article: Article) -> list[Display]:
    return [part for part in article.parts if isinstance(part, Display)]


def assert_right(composition: Any, text: str, wrt: list[str], layout_name: str, of: str | None = None) -> None:
    verdict = check(composition, text, wrt=wrt, of=of, layout=layout_name)
    assert verdict, (text, wrt, layout_name, verdict)
    assert not verdict.findings, (text, wrt, layout_name, verdict)


def every_style(text: str, kind: str) -> Iterator[tuple[Any, str, str | None, Article]]:
    for layout_name, notation in itertools.product(LAYOUTS, (None, *NOTATIONS)):
        jacobian = derive(text, wrt="all", layout=layout_name)
        try:
            yield jacobian, layout_name, notation, jacobian.tell_steps(kind, notation=notation)
        except OptionError:
            assert notation != "slots"  # which can write everything


def ancestors(tape: Tape, value: int) -> list[int]:
    """The values that a value is computed from."""
    step = tape.step(value)
    direct = [] if step is None else list(step.inputs)
    return direct + [far for source in direct for far in ancestors(tape, source)]


# --- every line is read back ---


@pytest.mark.parametrize("text", ABSTRACT)
def test_recursion_is_read_back(text: str) -> None:
    count = 0
    for jacobian, layout_name, _, article in every_style(text, "recursive"):
        tape = jacobian.tape
        found = peeling.peel(tape, jacobian.output, jacobian.selection.variables)
        order = [tape.names[value] for value in found.derivation.joints[found.derivation.maps[found.left].of].by]
        first, *rest = displays(article)
        assert_right(text, chains(first)[0], order, layout_name)
        for last in rest:
            assert_right(text, chains(last)[0], [tape.names[value] for value in jacobian.selection.variables], layout_name)
        count += 1
    assert count >= 3


@pytest.mark.parametrize("text", ABSTRACT)
def test_blocks_are_read_back(text: str) -> None:
    for jacobian, layout_name, notation, article in every_style(text, "blocks"):
        names = [jacobian.tape.names[value] for value in jacobian.selection.variables]
        shown = displays(article)
        for name, display in zip(names, shown, strict=False):
            assert len(chains(display)) == 1
            assert_right(
                text, "\n".join([*chains(display), *(line for more in shown[len(names) :] for line in chains(more))]), [name], layout_name
            )
        if len(names) > 1 and notation != "nabla":
            header, *_, whole = [part.text for part in article.parts if isinstance(part, Formula)]
            assert_right(text, header, names, layout_name)
            assert_right(text, whole, names, layout_name)


@pytest.mark.parametrize("text", ABSTRACT)
def test_backpropagation_is_read_back(text: str) -> None:
    for jacobian, layout_name, _, article in every_style(text, "backprop"):
        names = [jacobian.tape.names[value] for value in jacobian.selection.variables]
        forward, backward, *plugged = displays(article)
        declared = [line for line in text.split("; ") if ": " in line]
        assert len(parse("; ".join([*chains(forward), *declared])).tape.steps) >= len(forward.equations)
        lefts = [equation.left for equation in backward.equations]
        assert len(set(lefts)) == len(lefts), "each adjoint once"
        assert_right(text, "\n".join(chains(backward)), names, layout_name)
        for display in plugged:
            assert any(check(text, "\n".join(chains(display)), wrt=[name], layout=layout_name) for name in names)


@pytest.mark.parametrize("name", CONCRETE)
def test_concrete_steps_are_read_back(name: str) -> None:
    text = CONCRETE[name]
    for layout_name in LAYOUTS:
        jacobian = derive(text, layout=layout_name)
        names = [jacobian.tape.names[value] for value in jacobian.selection.variables]
        if jacobian.tape.shapes[jacobian.output].is_scalar:
            _, backward, *plugged = displays(jacobian.tell_steps("backprop"))
            assert_right(text, "\n".join(chains(backward)), names, layout_name)
            assert all(equation.reason for equation in backward.equations if r"\mathrm{d}" in equation.left)
            for display in plugged:
                assert any(check(text, "\n".join(chains(display)), wrt=[one], layout=layout_name) for one in names)
            for one, display in zip(names, displays(jacobian.tell_steps("blocks")), strict=True):
                assert_right(text, "\n".join(chains(display)), [one], layout_name)


@pytest.mark.parametrize("kind", NARRATORS)
@pytest.mark.parametrize("name", CONCRETE)
def test_products_of_concrete_layers_are_read_back(name: str, kind: str) -> None:
    """The products as products of unspecified layers; each factor as what it is."""
    text = CONCRETE[name]
    tape = parse(text).tape
    abstraction = abstract(tape)
    layers = Composition(Reading(abstraction.tape, ()))
    for layout_name, notation in itertools.product(LAYOUTS, ("jacobian", "partial")):
        jacobian = derive(text, layout=layout_name)
        if kind != "recursive" and notation == "partial" and tape.shapes[jacobian.output].is_scalar:
            continue  # spelled out instead
        names = [tape.names[value] for value in jacobian.selection.variables]
        article = jacobian.tell_steps(kind, notation=notation)
        told = [flatten(part.text) for part in article.parts if isinstance(part, Paragraph)]
        assert [words for words in told if not words.startswith(("Used: ", "Note: "))][-1] == "The factors are"
        *products, factors = displays(article)
        assert all(equation.reason for equation in factors.equations[:1])
        if kind == "recursive":
            inner = {value: k for k, value in enumerate(abstraction.values)}
            found = peeling.peel(
                abstraction.tape, inner[jacobian.output], [inner[v] for v in jacobian.selection.variables], everything=False
            )
            order = [abstraction.tape.names[value] for value in found.derivation.joints[found.derivation.maps[found.left].of].by]
            assert_right(layers, chains(products[0])[0], order, layout_name)
        elif kind == "backprop":
            assert_right(layers, "\n".join(chains(products[1])), names, layout_name)
        else:
            for one, display in zip(names, products, strict=True):
                assert_right(layers, chains(display)[0], [one], layout_name)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_random_compositions_are_peeled_right(problem: Any) -> None:
    jacobian = derive(problem.text, wrt=problem.wrt, of=problem.output)
    tape = jacobian.tape
    chosen = set(jacobian.selection.variables)
    if any(chosen & set(ancestors(tape, value)) for value in chosen):
        with pytest.raises(OptionError, match="depends on"):
            jacobian.tell_steps("recursive")
        return
    found = peeling.peel(tape, jacobian.output, jacobian.selection.variables)
    order = [tape.names[value] for value in found.derivation.joints[found.derivation.maps[found.left].of].by]
    for layout_name in LAYOUTS:
        article = jacobian.in_layout(layout_name).tell_steps("recursive", notation="slots", naming="outputs")
        if found.lines:
            assert_right(problem.text, chains(displays(article)[0])[0], order, layout_name, problem.output)


# --- planted bugs ---


def test_a_block_matrix_that_is_not_transposed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_transpose_blocks", lambda matrix: matrix)
    with pytest.raises(AssertionError):
        test_recursion_is_read_back(SEED)


def test_a_lost_term_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = peeling._Peeler._sum
    monkeypatch.setattr(peeling._Peeler, "_sum", lambda self, terms, scalar: whole(self, terms[-1:], scalar))
    with pytest.raises(AssertionError):
        test_recursion_is_read_back(ABSTRACT[2])


def test_a_wrong_dominator_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from jacobian_chain import derivation

    true = derivation._Sweep._adjoint_of
    monkeypatch.setattr(derivation._Sweep, "_adjoint_of", lambda self, value: true(self, value - 1))
    with pytest.raises(AssertionError):
        test_blocks_are_read_back(LOSS)


# --- goldens ---


def written(article: Article) -> str:
    return write_article(article, "latex") + "\n"


@pytest.mark.parametrize("kind", NARRATORS)
def test_the_first_question(kind: str, tex: SnapshotAssertion) -> None:
    """The three derivations of the question that started the project, in the notations of their authors."""
    first_answer = kind == "backprop"
    jacobian = derive(LOSS if first_answer else SEED, wrt="θ", layout="denominator" if first_answer else "numerator")
    article = compose([jacobian], "latex", steps=kind, brief=True, notation="partial" if first_answer else "jacobian")
    latex = written(article)
    check_balance("\n".join(line for line in latex.splitlines() if not line.startswith("%")))
    assert latex == tex


def test_the_lines_of_the_first_answer_are_ours() -> None:
    """Line by line what its author wrote, up to braces and spaces."""
    typed = [
        r"\frac{\partial L}{\partial x_3} = \ell'(x_3)",
        r"\frac{\partial L}{\partial \theta_3} = \frac{\partial x_3}{\partial \theta_3}\frac{\partial L}{\partial x_3}",
        r"\frac{\partial L}{\partial x_2} = \frac{\partial x_3}{\partial x_2}\frac{\partial L}{\partial x_3}",
        r"\frac{\partial L}{\partial \theta_2} = \frac{\partial x_2}{\partial \theta_2}\frac{\partial L}{\partial x_2}",
        r"\frac{\partial L}{\partial x_1} = \frac{\partial x_2}{\partial x_1}\frac{\partial L}{\partial x_2}",
        r"\frac{\partial L}{\partial \theta_1} = \frac{\partial x_1}{\partial \theta_1}\frac{\partial L}{\partial x_1}",
        r"\frac{\partial L}{\partial \theta_1} = \frac{\partial x_1}{\partial \theta_1} \frac{\partial x_2}{\partial x_1} "
        r"\frac{\partial x_3}{\partial x_2}\frac{\partial L}{\partial x_3}",
    ]
    article = derive(LOSS, wrt="θ", layout="denominator").tell_steps("backprop", notation="partial")
    _, backward, plugged = displays(article)
    ours = [line.replace("_{1}", "_1").replace("_{2}", "_2").replace("_{3}", "_3") for line in (*chains(backward), *chains(plugged))]
    assert [line.replace(" ", "") for line in ours] == [line.replace(" ", "") for line in typed]


def test_the_lines_of_the_question_are_ours() -> None:
    """Every expression that the question goes through is one of our lines, up to spaces, dots and the sign of a bar."""
    typed = [
        r"JL^3 \cdot J(L^2(L^1(x,\theta^1),\theta^2),\theta^3)",
        r"JL^3 \begin{pmatrix} J_{x,\theta^1,\theta^2}L^2(L^1(x,\theta^1),\theta^2) & 0\\ 0 & I \end{pmatrix}",
        r"\left ( J_{x^3}L^3\cdot J_{x,\theta^1,\theta^2}L^2(L^1(x,\theta^1),\theta^2)\middle |J_{\theta^3}L^3\right )",
        r"\left ( J_{x^3}L^3\cdot \left (J_{x^2}L^2\cdot J_{x,\theta^1}L^1(x,\theta^1)\middle | J_{\theta^2}L^2 \right )"
        r"\middle |J_{\theta^3}L^3\right )",
        r"\left ( J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{x,\theta^1}L^1(x,\theta^1) \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 "
        r"\middle | J_{\theta^3}L^3\right )",
        r"\left ( J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{\theta^1}L^1 \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 "
        r"\middle | J_{\theta^3}L^3\right )",
    ]

    def plain(line: str) -> str:
        for piece, other in (
            (r"\,", ""),
            (r"\vert", "|"),
            (r"\cdot", ""),
            ("[1ex]", ""),
            (" ", ""),
            ("{1}", "1"),
            ("{2}", "2"),
            ("{3}", "3"),
        ):
            line = line.replace(piece, other)
        return line

    ours = [plain(equation.right) for display in displays(derive(SEED, wrt="θ").tell_steps("recursive")) for equation in display.equations]
    positions = [ours.index(plain(line)) for line in typed]
    assert positions == sorted(positions)


@pytest.mark.parametrize("layout_name", LAYOUTS)
@pytest.mark.parametrize("kind", NARRATORS)
def test_residual_steps(kind: str, layout_name: str, tex: SnapshotAssertion) -> None:
    article = compose([derive(ABSTRACT[2], wrt="θ", layout=layout_name)], "latex", steps=kind, brief=True)
    check_balance("\n".join(line for line in written(article).splitlines() if not line.startswith("%")))
    assert written(article) == tex


@pytest.mark.parametrize("kind", NARRATORS)
@pytest.mark.parametrize("name", CONCRETE)
def test_concrete_steps(name: str, kind: str, tex: SnapshotAssertion) -> None:
    latex = written(compose([derive(CONCRETE[name], layout="mixed")], "latex", steps=kind, brief=True))
    check_balance("\n".join(line for line in latex.splitlines() if not line.startswith("%")))
    assert latex == tex


# --- what users would expect ---


def test_every_operation_has_a_rule_in_words() -> None:
    for record in OPERATIONS.values():
        assert record.rule or not record.example, record.name


def test_a_reason_stands_in_each_line_of_concrete_layers() -> None:
    article = derive(CONCRETE["network"], layout="mixed").tell_steps("backprop", "unicode")
    reasons = {equation.left: flatten(equation.reason) for equation in displays(article)[1].equations}
    assert reasons["dL/dz₁"] == "through h: the chain rule for a function of every entry, tanh"
    assert reasons["dL/dW₂"] == "through y\N{COMBINING CIRCUMFLEX ACCENT}: the sum rule, the rule for a matrix product"


def test_children_are_told() -> None:
    article = derive(ABSTRACT[2], wrt="θ").tell_steps("backprop", "unicode")
    reasons = {equation.left: flatten(equation.reason) for equation in displays(article)[1].equations}
    assert reasons["dL/dθ₂"] == "through x₂"
    article = derive("h1 = f(x, a); h2 = g(h1, b); h3 = k(h2, h1); L = l(h3)", wrt="a").tell_steps("backprop", "unicode")
    reasons = {equation.left: flatten(equation.reason) for equation in displays(article)[1].equations}
    assert reasons["dL/dh₁"] == "a sum over the children h₂ and h₃"


def test_products_are_counted() -> None:
    """n layers: n products with sharing, and one more for each parameter but the first two; n (n + 1) / 2 block by block."""
    text = "; ".join(f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, 8)) + "; L = l(x7)"
    article = derive(text, wrt="θ").tell_steps("backprop", "unicode")
    last = article.parts[-1]
    assert isinstance(last, Paragraph)
    told = flatten(last.text)
    assert "the 7 blocks take 28 products" in told
    assert "it is 13 products" in told


def test_backpropagation_is_linear() -> None:
    def size(layers: int) -> int:
        text = "; ".join(f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, layers + 1)) + f"; L = l(x{layers})"
        return sum(len(e.left) + len(e.right) for d in displays(derive(text, wrt="θ").tell_steps("backprop")) for e in d.equations)

    small, large = size(100), size(1000)
    assert large < 11 * small


def test_too_long_recursion_is_refused() -> None:
    text = "; ".join(f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, 400)) + "; L = l(x399)"
    with pytest.raises(LimitError, match="from the outside in"):
        derive(text, wrt="θ", max_factors=100_000).tell_steps("recursive")


def test_bad_kinds_and_options_are_refused() -> None:
    jacobian = derive(SEED, wrt="θ")
    with pytest.raises(OptionError, match="no kind of steps 'backprob'"):
        jacobian.tell_steps("backprob")
    with pytest.raises(OptionError, match="--shared has no effect on steps"):
        jacobian.tell_steps("blocks", shared=True)


def test_titles_are_those_of_the_kinds() -> None:
    assert list(TITLES) == list(NARRATORS)
    assert isinstance(displays(derive(SEED, wrt="θ").tell_steps("blocks"))[0].equations[0], Equation)


def test_too_many_blocks_of_concrete_layers_are_refused() -> None:
    text = "; ".join(f"z{k} = W{k} h{k - 1}; h{k} = tanh(z{k})" for k in range(1, 300)) + "; L = ||h299||^2"
    with pytest.raises(LimitError, match="one by one"):
        derive(text, wrt="W").tell_steps("blocks")


def test_held_variables_are_told() -> None:
    article = derive("x1 = f1(x, a); x2 = f2(x1, b); L = l(x2)", wrt=["x1", "b"]).tell_steps("backprop", "unicode")
    first = article.parts[0]
    assert isinstance(first, Paragraph)
    assert flatten(first.text) == "x₁ is held free: no derivative goes through it."
    with pytest.raises(OptionError, match="x1 depends on x"):
        derive("x1 = f1(x, a); x2 = f2(x1, b); L = l(x2)", wrt=["x", "x1"]).tell_steps("recursive")


def test_held_variables_stay_held() -> None:
    jacobian = derive("h = tanh(x); y = x .* h; L = sum(y)", wrt=["x", "h"], layout="mixed")
    first, _ = displays(jacobian.tell_steps("blocks", "unicode"))
    assert [equation.right for equation in first.equations] == ["(dL/dy) ⊙ h", "h"]
    jacobian = derive("z = W x; h = tanh(z); L = ||h - z||^2", wrt=["x", "z"], layout="mixed")
    assert [equation.right for equation in displays(jacobian.tell_steps("blocks", "unicode"))[0].equations] == ["0"]
    for text in ("x1 = k(x, a); x2 = g(x1, b); y = f(x, x1, x2)", "x1 = k(x, a); y = g(f(x, x1), x1)"):
        article = derive(text, wrt=["x", "x1"]).tell_steps("backprop", "unicode")
        lines = {equation.left: equation.right for equation in displays(article)[1].equations}
        for display in displays(article)[2:]:
            (equation,) = display.equations
            assert "∂x₁/∂x" not in equation.right
            assert equation.left in lines


def test_every_name_has_a_forward_equation() -> None:
    for text in ("f3(f1(a, x) - f2(a))", "f(g(x, a), g(x, b), x)", "L = f3(x, f1(x) + f2(b, x, a))"):
        forward, backward, *_ = displays(derive(text, wrt="all").tell_steps("backprop", points=True))
        known = {equation.left for equation in forward.equations} | {"x", "a", "b"}
        used = {name for line in chains(backward) for name in re.findall(r"\b[a-z]_\{\d+\}", line)}
        assert used - known <= {name for name in used if re.match(r"[fg]_", name)}


def test_what_looks_alike_is_refused() -> None:
    with pytest.raises(OptionError, match="cannot tell the slots 1 and 2 of g apart"):
        derive("x2 = g(a, a) + 2 g(b, a)", wrt="a").latex()
    assert check("x2 = g(a, a) + 2 g(b, a)", derive("x2 = g(a, a) + 2 g(b, a)", wrt="a").latex(notation="slots"), wrt="a")


def test_the_generic_rule_keeps_away_from_names_of_the_problem() -> None:
    article = derive("x_i = f(x, a); L = g(x_i)", wrt="a").tell_steps("backprop")
    (rule,) = [part.text for part in article.parts if isinstance(part, Formula)]
    assert "u_{i}" in rule
