"""Verdicts on hand-derived answers: the seed question, the collected cases, every diagnosis, derivations, and long sums."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain import Verdict, check, derive, parse
from jacobian_chain import evaluate as evaluation
from jacobian_chain.diagnosis import DIAGNOSES, Diagnosis
from jacobian_chain.errors import LimitError, ReadingError
from jacobian_chain.words import MAX_WORDS
from tests.mutants import questions, score

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases" / "abstract.jsonl").read_text(encoding="utf-8").splitlines()]

THREE = "f(x, θ) = L^3(L^2(L^1(x, \\theta^1), \\theta^2), \\theta^3)"
RIGHT = (
    r"J_\theta f=\left ( J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{\theta^1}L^1 \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 "
    r"\middle | J_{\theta^3}L^3\right )"
)
LINES = (
    r"Jf=JL^3 \cdot J(L^2(L^1(x,\theta^1),\theta^2),\theta^3)"
    r"=JL^3 \begin{pmatrix} J_{x,\theta^1,\theta^2}L^2(L^1(x,\theta^1),\theta^2) & 0\\ 0 & I \end{pmatrix}"
    r"=\left ( J_{x^3}L^3\cdot J_{x,\theta^1,\theta^2}L^2(L^1(x,\theta^1),\theta^2)\middle |J_{\theta^3}L^3\right )",
    r"Jf=\left ( J_{x^3}L^3\cdot JL^2(L^1(x,\theta^1),\theta^2)\middle |J_{\theta^3}L^3\right )",
    r"Jf=\left ( J_{x^3}L^3\cdot \left (J_{x^2}L^2\cdot JL^1\middle | J_{\theta^2}L^2 \right )\middle |J_{\theta^3}L^3\right )"
    r"=\left ( J_{x^3}L^3\cdot J_{x^2}L^2\cdot JL^1 \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 \middle | J_{\theta^3}L^3\right )",
)
FORWARD = r"x_1 = f_1(x, \theta_1); x_2 = f_2(x_1, \theta_2); x_3 = f_3(x_2, \theta_3); L = \ell(x_3)"
BACKWARD = r"""\begin{align} \frac{\partial L}{\partial x_3} &= \ell'(x_3),\\
\frac{\partial L}{\partial \theta_3} &= \frac{\partial x_3}{\partial \theta_3}\frac{\partial L}{\partial x_3},\\
\frac{\partial L}{\partial x_2} &= \frac{\partial x_3}{\partial x_2}\frac{\partial L}{\partial x_3},\\
\frac{\partial L}{\partial \theta_2} &= \frac{\partial x_2}{\partial \theta_2}\frac{\partial L}{\partial x_2},\\
\frac{\partial L}{\partial x_1} &= \frac{\partial x_2}{\partial x_1}\frac{\partial L}{\partial x_2},\\
\frac{\partial L}{\partial \theta_1} &= \frac{\partial x_1}{\partial \theta_1}\frac{\partial L}{\partial x_1}. \end{align}"""
SKIP = "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = l(x2)"


def kinds(verdict: Verdict) -> list[str]:
    return [finding.kind for finding in verdict.findings]


def marked(verdict: Verdict, number: int = 0) -> str:
    """What the span of a finding marks in the text."""
    span = verdict.findings[number].span
    assert span is not None
    return verdict.answer[slice(*span)]


# --- the question that started the project ---


def test_the_seed_answer_is_right() -> None:
    verdict = check(THREE, RIGHT, wrt="θ", layout="numerator")
    assert verdict
    assert verdict.holds_in == ("numerator", "mixed")
    assert verdict.decided_by == "normal-form"
    assert verdict.findings == ()


@pytest.mark.parametrize("separator", ["\n", " \\\\ ", "; ", "\n\\implies "])
def test_every_link_of_the_seed_derivation_follows(separator: str) -> None:
    verdict = check(THREE, separator.join((*LINES, RIGHT)), wrt="θ", layout="numerator")
    assert verdict
    assert kinds(verdict) == []
    assert any("composite" in note for note in verdict.notes)


def test_a_derivation_by_more_variables_is_restricted() -> None:
    verdict = check(THREE, LINES[2], wrt="θ", layout="numerator")
    assert verdict
    assert kinds(verdict) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (r"& 0\\ 0 & I", r"& 0\\ I & 0", 1),
        (
            r"\left (J_{x^2}L^2\cdot JL^1\middle | J_{\theta^2}L^2 \right )",
            r"\left (J_{x^2}L^2\cdot JL^1\middle | J_{\theta^2}L^1 \right )",
            3,
        ),
        (r"JL^2(L^1(x,\theta^1),\theta^2)\middle", r"(JL^2)(L^1(x,\theta^1),\theta^2)\middle", 2),
    ],
)
def test_a_link_that_does_not_follow_is_named(old: str, new: str, line: int) -> None:
    text = "\n".join((*LINES, RIGHT))
    assert old in text
    verdict = check(THREE, text.replace(old, new), wrt="θ", layout="numerator")
    assert verdict.verdict == "correct"  # the last expression is
    assert set(kinds(verdict)) == {"does-not-follow"}
    assert verdict.findings[0].where == f"line {line}"


def test_the_first_answers_lines_are_right_in_denominator_layout() -> None:
    assert check(FORWARD, BACKWARD, wrt="θ", layout="denominator").holds_in == ("denominator",)
    verdict = check(FORWARD, BACKWARD, wrt="θ", layout="numerator")
    assert verdict.verdict == "correct-other-layout"
    assert kinds(verdict) == ["other-layout"]
    wrong = BACKWARD.replace(r"\frac{\partial x_2}{\partial x_1}", r"\frac{\partial x_3}{\partial x_2}")
    verdict = check(FORWARD, wrong, wrt="θ", layout="denominator")
    assert verdict.verdict == "correct"  # ∂L/∂θ1 follows from what ∂L/∂x1 is, not from what the line before says of it
    assert [(finding.kind, finding.where) for finding in verdict.findings] == [("does-not-follow", "line 5")]


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{\partial x_1}{\partial \theta_1} \frac{\partial x_2}{\partial x_1} \frac{\partial x_3}{\partial x_2}"
        r"\frac{\partial L}{\partial x_3}",
        r"(J_{\theta_1} f_1) (x, \theta_1) \times (J_{x_1} f_2) (x_1, \theta_2) \times (J_{x_2} f_3) (x_2, \theta_3) \times (J \ell)(x_3)",
        r"J_{\theta_1} f_1 \times (J_{x_1} f_2) \times (J_{x_2} f_3) \times (J \ell)",
        r"\frac{\operatorname{d}\!{L}}{\operatorname{d}\!{\theta_1}} ="
        r" \frac{\partial x_1}{\partial \theta_1}\frac{\operatorname{d}\!{L}}{\operatorname{d}\!{x_1}}",
    ],
)
def test_every_form_of_the_first_answer(text: str) -> None:
    assert check(FORWARD, text, wrt="θ1", layout="denominator").holds_in == ("denominator",)


def test_block_by_block() -> None:
    assert check(THREE, r"J_\theta f= \begin{pmatrix} J_{\theta^1}f & J_{\theta^2}f & J_{\theta^3}f \end{pmatrix}", wrt="θ")


# --- one mistake each ---

MISTAKES = {
    "missing-factor": ((r"J_{x^2}L^2\cdot ", ""), r"\cdot "),
    "repeated-factor": ((r"J_{x^2}L^2\cdot", r"J_{x^2}L^2\cdot J_{x^2}L^2\cdot"), "J_{x^2}L^2"),
    "wrong-index": ((r"J_{\theta^1}L^1", r"J_{\theta^2}L^1"), r"J_{\theta^2}L^1"),
    "factor-order": ((r"J_{x^3}L^3\cdot J_{x^2}L^2", r"J_{x^2}L^2\cdot J_{x^3}L^3"), r"J_{x^2}L^2\cdot J_{x^3}L^3"),
    "transpose": ((r"J_{x^3}L^3 \cdot J_{\theta^2}L^2", r"(J_{x^3}L^3 \cdot J_{\theta^2}L^2)^T"), r"J_{x^3}L^3 \cdot J_{\theta^2}L^2"),
    "evaluation-point": ((r"J_{x^2}L^2\cdot", r"(J_{x^2}L^2)(x,\theta^2)\cdot"), r"(J_{x^2}L^2)(x,\theta^2)"),
    "missing-block": ((r"\middle | J_{\theta^3}L^3", ""), None),
    "sign": ((r"( J_{x^3}", r"( -J_{x^3}"), r"-J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{\theta^1}L^1"),
    "constant-factor": ((r"\middle | J_{\theta^3}", r"\middle | 2 J_{\theta^3}"), r"2 J_{\theta^3}L^3"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_one_mistake_in_the_seed_answer(kind: str) -> None:
    (old, new), culprit = MISTAKES[kind]
    assert old in RIGHT
    verdict = check(THREE, RIGHT.replace(old, new, 1), wrt="θ", layout="numerator")
    assert verdict.verdict == "wrong"
    assert kinds(verdict) == [kind]
    if culprit is not None:
        assert culprit in marked(verdict) or marked(verdict) in culprit
    suggestion = verdict.findings[0].suggestion
    assert suggestion is not None
    assert check(THREE, suggestion, wrt="θ", layout="numerator")


def test_every_mistake_is_a_finding_of_its_own() -> None:
    text = RIGHT.replace(r"J_{x^2}L^2\cdot ", "").replace(r"\middle | J_{\theta^3}L^3", r"\middle | 2 J_{\theta^3}L^3")
    verdict = check(THREE, text, wrt="θ", layout="numerator")
    assert kinds(verdict) == ["missing-factor", "constant-factor"]


def test_blocks_in_another_order() -> None:
    text = r"J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3 | J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1"
    assert kinds(check(THREE, text, wrt="θ", layout="numerator")) == ["block-order"]


@pytest.mark.parametrize("transposed", [(0,), (1,), (2,), (0, 2), (0, 1), (1, 2)])
def test_a_reversal_with_transposes_that_do_not_fit(transposed: tuple[int, ...]) -> None:
    factors = [r"J_{\theta^1}L^1", r"J_{x^2}L^2", r"J_{x^3}L^3"]
    text = " ".join(f"({factor})^\\top" if k in transposed else factor for k, factor in enumerate(factors))
    verdict = check(THREE, text, wrt="θ1", layout="numerator")
    assert verdict.verdict == "wrong"
    assert kinds(verdict)[0] in ("factor-order", "transpose")
    suggestion = verdict.findings[0].suggestion
    assert suggestion is not None
    assert check(THREE, suggestion, wrt="θ1", layout="numerator")


def test_what_derive_prints_is_right() -> None:
    for layout in ("numerator", "denominator", "mixed"):
        for notation in ("jacobian", "partial", "total", "slots"):
            for composition in (THREE, FORWARD, SKIP):
                latex = derive(composition, wrt="θ", layout=layout).latex(notation=notation, points=notation == "jacobian")
                verdict = check(composition, latex, wrt="θ", layout=layout)
                assert verdict, (latex, verdict)
                assert kinds(verdict) == []
    latex = derive(FORWARD, wrt="θ", layout="mixed").latex(notation="nabla", shared=True)
    assert check(FORWARD, latex, wrt="θ", layout="mixed")


@pytest.mark.parametrize("diagnosis", DIAGNOSES, ids=lambda diagnosis: diagnosis.kind)
def test_every_diagnosis_explains_its_example(diagnosis: Diagnosis) -> None:
    example = diagnosis.example
    verdict = check(example.composition, example.answer, wrt=example.wrt, layout=example.layout)
    assert kinds(verdict)[0] == diagnosis.kind
    assert (verdict.verdict == "wrong") is (diagnosis.kind not in ("other-layout", "does-not-follow"))
    finding = verdict.findings[0]
    if finding.suggestion is not None:
        assert check(example.composition, finding.suggestion, wrt=example.wrt, layout=example.layout)
    else:
        assert diagnosis.kind == "does-not-follow"
    again = check(example.composition, verdict.read_as, wrt=example.wrt, layout=example.layout)
    assert again.holds_in == verdict.holds_in


def test_the_missing_path_is_named() -> None:
    verdict = check(SKIP, r"J_{x_2}l \cdot J_{x_1}f_2 \cdot J_{\theta_1}f_1", wrt="θ1", layout="numerator")
    assert kinds(verdict) == ["missing-path"]
    assert "θ₁ → x₁ → x₂ → L" in verdict.findings[0].message


# --- collected answers ---


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_collected_answer(case: dict[str, Any]) -> None:
    arguments = {name: case[name] for name in ("wrt", "of", "layout", "where")}
    if case["id"] == "sciml-cost-norm":  # df(x)/dp of a name that --where explains: said plainly
        with pytest.raises(ReadingError, match="no name x"):
            check(case["composition"], case["answer"], **arguments)
        return
    verdict = check(case["composition"], case["answer"], **arguments)
    assert verdict.verdict == case["verdict"]
    assert sorted(verdict.holds_in) == sorted(case["holds_in"])
    if case["reason"]:
        assert kinds(verdict)[0] == case["reason"]


# --- mutants of right answers, with an oracle of their own ---


def test_mutants() -> None:
    from collections import Counter

    book: Counter[str] = Counter()
    failures = []
    for seed in range(12):
        for question in questions(f"7:{seed}", 5):
            book["asked"] += 1
            failures += [f"{sort}: {text}: {question}" for sort, text in score(question, check, book) if sort != "cause"]
            verdict = check(question.composition, question.text, **question.options)
            again = check(question.composition, verdict.read_as, **question.options)
            failures += [] if again.holds_in == verdict.holds_in else [f"read as {verdict.read_as}: {question}"]
    assert not failures, "\n".join(failures)
    assert book["asked"] > 300
    assert book["named"] >= 0.9 * book["causes"]


def test_planted_bugs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum that forgets a term, and a product that reverses, make verdicts wrong: the oracle says so."""
    from collections import Counter

    def run() -> list[str]:
        book: Counter[str] = Counter()
        return [sort for seed in range(4) for question in questions(f"7:{seed}", 4) for sort, _ in score(question, check, book)]

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "multiply", lambda left, right: {other + one: 1 for one in left for other in right})
        assert "reject" in run()
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "transpose", lambda polynomial: polynomial)
        assert "reject" in run()


# --- reading ---


@pytest.mark.parametrize(
    ("composition", "text", "wrt", "where"),
    [
        (FORWARD, r"\delta_3 = \frac{\partial L}{\partial x_3}; \delta_3 \frac{\partial x_3}{\partial \theta_3}", "θ3", ()),
        (FORWARD, r"\delta^2 = dL/dx_3 dx_3/dx_2" "\n" r"\partial L/\partial\theta_2 = \delta^2 dx_2/dtheta_2", "θ2", ()),
        (FORWARD, r"\delta_2 \frac{\partial x_2}{\partial \theta_2}", "θ2", ("delta_2 = dL/dx2",)),
        (FORWARD, r"A^{(3)} B", "θ3", ("A^{(3)} = dL/dx3", "B = dx3/dθ3")),
        (FORWARD, r"\ell'(h_t) \frac{\partial h_t}{\partial \theta_3}", "θ3", ("h_t = x3",)),
        (FORWARD, r"\left.\frac{\partial \ell}{\partial x_3}\right|_{x_3} \left.J_{\theta_3} f_3\right|_{(x_2,\theta_3)}", "θ3", ()),
        (FORWARD, "∂L/∂x₃ ∂x₃/∂x₂ ∂x₂/∂θ₂", "θ2", ()),
        (FORWARD, "D_{x_3} l D_{theta_3} f_3", "θ3", ("l = ℓ",)),
        (FORWARD, "∂_1 ℓ · ∂_2 f_3", "θ3", ()),
        (FORWARD, "∂L/∂x3 @ ∂x3/∂θ3", "θ3", ()),
        (FORWARD, r"\frac{\partial L}{\partial x_3} * \frac{\partial x_3}{\partial \theta_3^T}", "θ3", ()),
        (THREE, r"\frac{\partial f}{\partial x_3}\frac{\partial x_3}{\partial x_2}\frac{\partial x_2}{\partial \theta_1}", "θ1", ()),
        (THREE, r"\frac{\partial x_3}{\partial x_2}\frac{\partial x_2}{\partial x_1}\frac{\partial x_1}{\partial \theta_1}", "θ1", ()),
        (THREE, r"\frac{\partial f}{\partial h_2}\frac{\partial h_2}{\partial h_1}\frac{\partial h_1}{\partial \theta_1}", "θ1", ()),
        (THREE, r"J_{\theta^1}[L^3(L^2(L^1(x,\theta^1),\theta^2),\theta^3)]", "θ1", ()),
        ("f2(f1(x, θ1), x, θ2)", r"\frac{\partial f_2}{\partial x_1} \frac{\partial f_1}{\partial \theta_1}", "θ1", ()),
        ("y = g(f(x))", r"\frac{\partial}{\partial x} g(f(x)) = g'(f(x)) f'(x)", "x", ()),
        ("y = g(f(x))", r"D_x (g \circ f) = D_{f(x)} g \circ D_x f", "x", ()),
        ("y = λ f(x); λ: scalar", r"f(x)", "λ", ()),
        ("y = λ f(x); λ: scalar", r"\lambda \frac{\partial f}{\partial x}", "x", ()),
        ("y = 3 f(x) - g(x)/2", r"-\frac12 J_x g + 3 J_x f", "x", ()),
    ],
)  # fmt: skip
def test_reads(composition: str, text: str, wrt: str, where: tuple[str, ...]) -> None:
    verdict = check(composition, text, wrt=wrt, layout="numerator", where=where)
    assert verdict, verdict
    assert kinds(verdict) == []


def test_a_layer_applied_twice_needs_no_points_but_respects_them() -> None:
    composition = "x1 = f(x, θ); x2 = f(x1, θ)"
    right = r"(J_x f)(x_1, \theta) (J_\theta f)(x, \theta) + (J_\theta f)(x_1, \theta)"
    assert check(composition, right, wrt="θ", layout="numerator")
    wrong = check(composition, right.replace(r"(x, \theta)", r"(x_1, \theta)"), wrt="θ", layout="numerator")
    assert kinds(wrong) == ["evaluation-point"]


def test_partial_and_total() -> None:
    composition = "u = g(x); v = h(u, x); y = k(u, v)"
    right = r"\frac{\partial y}{\partial u}\frac{du}{dx} + \frac{\partial y}{\partial v}\frac{dv}{dx}"
    assert check(composition, right, wrt="x", layout="numerator").notes == ()
    by_note = check(composition, right.replace(r"\frac{dv}{dx}", r"\frac{\partial v}{\partial x}"), wrt="x", layout="numerator")
    assert by_note
    assert any("total" in note for note in by_note.notes)


def test_one_is_not_the_identity() -> None:
    right = r"J_{x_2}l (I + J_{x_1}f_2) J_{\theta_1}f_1"
    assert check(SKIP, right, wrt="θ1", layout="numerator")
    assert check(SKIP, right.replace("I", "1"), wrt="θ1", layout="numerator").verdict == "wrong"
    assert check("x: scalar; y: scalar; y = x + f(x)", "1 + ∂f/∂x", wrt="x")


@pytest.mark.parametrize(
    ("number", "identity"),
    [
        ("1", "I"),
        ("2 - 1", "2 I - I"),
        (r"\frac{2}{2}", r"\frac{2}{2} I"),
        ("-(-1)", "-(-I)"),
        ("c = 1\nc", "c = I\nc"),
        (r"1 \cdot 1", r"1 \cdot I"),
    ],
)
def test_a_number_is_no_identity_block(number: str, identity: str) -> None:
    verdict = check("x: n; y = x", number, wrt="x")
    assert verdict.verdict == "wrong"
    assert kinds(verdict) == ["shape"]
    assert check("x: n; y = x", identity, wrt="x")
    assert check("x: scalar; y = x", number, wrt="x")
    assert check("x: scalar; y = x", identity, wrt="x")


@pytest.mark.parametrize(
    ("left", "verdict", "follows"),
    [
        ("J_{θ1} f", "correct", True),
        ("J_{θ2} f", "correct", False),
        ("J_{θ1} L1", "correct", False),
        ("J_{θ2} L2", "correct", False),
        ("x", "correct", True),
        ("J_{θ1,θ2} f", "correct", False),
    ],
)
def test_a_left_side_must_be_equal_too(left: str, verdict: str, follows: bool) -> None:
    found = check("L2(L1(x,θ1),θ2)", f"{left} = J_{{x2}}L2 J_{{θ1}}L1", wrt="θ1", layout="numerator")
    assert found.verdict == verdict
    assert ("does-not-follow" in kinds(found)) is not follows


def test_what_where_says_does_not_bear_on_how_the_answer_is_built() -> None:
    """The line's tree and the answer's have all sizes in turn, equal ones among them."""
    for count in range(1, 24):
        line = "q = " + " + ".join(["x"] * count)
        assert check(
            FORWARD, r"\frac{\partial L}{\partial x_3} \frac{\partial x_3}{\partial \theta_3}", wrt="θ3", layout="numerator", where=(line,)
        )
        assert check(FORWARD, "J_{x_3} ℓ J_{x_2} f_3 J_{θ_2} f_2", wrt="θ2", layout="numerator", where=(line,))


def test_left_sides_of_more_blocks_are_checked_whole() -> None:
    right = "J_{θ1,θ2} f = (J_{x2}L2 J_{θ1}L1 | J_{θ2}L2)"
    assert kinds(check("L2(L1(x,θ1),θ2)", right, wrt="θ1", layout="numerator")) == []
    other = check("L2(L1(x,θ1),θ2)", right.replace("J_{θ2}L2", "J_{θ1}L1"), wrt="θ1", layout="numerator")
    assert kinds(other) == ["does-not-follow"]


@pytest.mark.parametrize(
    ("composition", "right", "wrong", "wrt"),
    [
        ("t: scalar; x: n; y = t x", "t I", "t", "x"),
        ("t: scalar; x: n; y = t x + f(x)", "J_x f + t I", "t + J_x f", "x"),
        ("t: scalar; x: n; y = x + t x", "(1 + t) I", "I + t", "x"),
        ("s: scalar; t: scalar; r: scalar; y = s t r + r", "s t + 1", "s + t + 1", "r"),
        ("s: scalar; t: scalar; y = s t f(x)", "t s J_x f", "s + t J_x f", "x"),
        ("s: scalar; t: scalar; r: scalar; u = s t; y = u r", "s t", "s", "r"),
        ("t: scalar; y = t (f(x) + x)", "f(x) + x", "f(x)", "t"),
        ("x: n; y = f(f(x))", "(J f)(f(x)) (J f)(x) + I - I", "(J f)(f(x)) (J f)(x) + I", "x"),
        ("x2 = x1 + f(x1); y = x2 + g(x2)", "dx2/dx1 + dg/dx1", "dx2/dx1 + ∂g/∂x2", "x1"),
        ("y = 2 f(x)", r"2 \odot J_x f", r"3 \odot J_x f", "x"),
    ],
)
def test_single_numbers_and_arrays(composition: str, right: str, wrong: str, wrt: str) -> None:
    assert check(composition, right, wrt=wrt, layout="numerator")
    assert not check(composition, wrong, wrt=wrt, layout="numerator")


def test_equalities_on_one_line() -> None:
    text = r"\frac{\partial x_3}{\partial \theta_3} = J_{\theta_3} f_3, \quad ∂x_3/∂\theta_2 = J_{x_2} f_3 J_{\theta_2} f_2"
    assert check(FORWARD, text, wrt=["θ2", "θ3"], of="x3", layout="numerator")
    assert not check(FORWARD, text.replace("= J_{", "= 2 J_{", 1), wrt=["θ2", "θ3"], of="x3", layout="numerator")
    two = "∂x3/∂θ3 = (J_{θ_3} f_3 | J_{θ_2} f_2)"
    assert kinds(check(FORWARD, two, wrt=["θ2", "θ3"], of="x3", layout="numerator")) == ["shape"]


def test_what_cancels_must_have_fitted() -> None:
    assert check("L2(L1(x,θ1),θ2)", "J_{x2}L2 J_{θ1}L1 + J_{x1}L1 - J_{x1}L1", wrt="θ1").verdict == "wrong"
    assert check("L2(L1(x,θ1),θ2)", "J_{x2}L2 J_{θ1}L1 + J_{θ1}f - J_{θ1}f", wrt="θ1")


def test_where_does_not_rename_what_the_problem_has() -> None:
    with pytest.raises(ReadingError, match="L2 is a name of the composition"):
        check("L2(L1(x,θ1),θ2)", "J_{θ2}L2", wrt="θ2", where=("L2 = L1",))
    for line in ("}=1", "2 = 1", "L =D)^", "= x", "x ="):
        with pytest.raises(ReadingError):
            check("L2(L1(x,θ1),θ2)", "J_{θ2}L2", wrt="θ2", where=(line,))


def test_the_derivative_itself_is_noted() -> None:
    verdict = check(THREE, r"J_{\theta^1} f", wrt="θ1")
    assert verdict
    assert any("itself" in note for note in verdict.notes)


def test_single_numbers_commute() -> None:
    composition = "t: scalar; x = f(t); s: scalar; s = g(x); y = h(s)"
    for text in ("∂y/∂s ∂s/∂x ∂x/∂t", "∂s/∂x ∂x/∂t ∂y/∂s", "(∂x/∂t)^T (∂s/∂x)^T ∂y/∂s"):
        assert check(composition, text, wrt="t", layout="numerator"), text
    assert check(composition, "∂x/∂t ∂s/∂x ∂y/∂s", wrt="t", layout="numerator").holds_in == ("denominator",)  # n x 1 by 1 x n is no number


# --- long sums ---


def residual(layers: int) -> tuple[str, str]:
    """A residual chain and its derivative, factored."""
    equations = [f"x{k} = x{k - 1} + f{k}(x{k - 1}, θ{k})" for k in range(1, layers + 1)]
    factors = [rf"(I + J_{{x_{{{k - 1}}}}} f_{{{k}}})" for k in range(layers, 1, -1)]
    return "\n".join([*equations, f"L = l(x{layers})"]), rf"J_{{x_{{{layers}}}}} l {' '.join(factors)} J_{{\theta_1}} f_1"


def test_long_sums_are_compared_in_a_prime_field() -> None:
    composition, right = residual(40)
    assert MAX_WORDS < 2**39
    start = time.monotonic()
    verdict = check(composition, right, wrt="θ1", layout="numerator")
    assert verdict
    assert verdict.decided_by == "prime-field"
    assert verdict.error_bound is not None
    assert verdict.error_bound < 1e-15
    swapped = right.replace("(I + J_{x_{20}} f_{21})", "(J_{x_{20}} f_{21} + 2 I)")
    assert check(composition, swapped, wrt="θ1", layout="numerator").verdict == "wrong"
    first, second = r"(I + J_{x_{20}} f_{21})", r"(I + J_{x_{19}} f_{20})"
    order = right.replace(first, "#").replace(second, first).replace("#", second)
    assert check(composition, order, wrt="θ1", layout="numerator").verdict == "wrong"
    reverse = " ".join(right.replace(") (", ")#(").replace(" l (", " l#(").replace(") J", ")#J").split("#")[::-1])
    assert check(composition, reverse, wrt="θ1", layout="denominator")
    adjoint = " ".join(["(J_{θ1} f1)^T", *[f"(I + J_{{x{k - 1}}} f{k})^T" for k in range(2, 41)], r"\nabla_{x40} l"])
    for text in (adjoint, adjoint + " + 0", rf"\frac12 ({adjoint} + {adjoint})", rf"\frac{{\partial L}}{{\partial \theta_1}} = {adjoint}"):
        assert check(composition, text, wrt="θ1", layout="mixed").holds_in == ("denominator", "mixed")
    three = f"J_{{θ1,θ2}} L = ({right} | 0 | 0)"  # three blocks for two names
    assert check(composition, three, wrt="θ1", layout="numerator").verdict == "wrong"
    assert check(composition, f"{adjoint} + {adjoint}", wrt="θ1", layout="mixed").verdict == "wrong"
    assert time.monotonic() - start < 60


def test_single_numbers_in_long_sums_are_not_taken_for_multiples_of_the_identity() -> None:
    equations = ["t: scalar", "x0: n", *[f"x{k} = t x{k - 1} + f{k}(x{k - 1}, θ{k})" for k in range(1, 21)]]
    factors = [f"(J_{{x{k - 1}}} f{k} + t I)" for k in range(20, 1, -1)] + ["J_{θ1} f1"]
    composition = "; ".join(equations)
    assert check(composition, " ".join(factors), wrt="θ1", layout="numerator").decided_by == "prime-field"
    assert check(composition, " ".join(factors), wrt="θ1", layout="numerator")
    with pytest.raises(LimitError, match="write I"):
        check(composition, " ".join(factors).replace("t I", "t", 1), wrt="θ1", layout="numerator")


def test_the_field_agrees_with_the_normal_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cap of one word nearly everything is compared in the field: the verdicts stay the same."""
    from collections import Counter

    monkeypatch.setattr("jacobian_chain.words.MAX_WORDS", 1)
    book: Counter[str] = Counter()
    fields = 0
    for seed in range(6):
        for question in questions(f"9:{seed}", 4):
            try:
                verdict = check(question.composition, question.text, **question.options)
            except LimitError:
                book["limit"] += 1
                continue
            fields += verdict.decided_by == "prime-field"
            assert verdict.verdict in (question.truth.verdict, "undecided"), question
            book["undecided"] += verdict.verdict == "undecided"
            book["asked"] += 1
    assert fields > 50
    assert book["undecided"] + book["limit"] < 0.2 * book["asked"]


# --- bad input ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (r"\left( J_{x^3}L^3", "never closed"),
        (r"J_{x^3}L^3)", "closes nothing"),
        (r"\foo L^3", "unknown command"),
        (r"J_{x^3}L^4", "no name L4"),
        (r"J_{\theta^7}L^3", "no name θ7"),
        (r"J_{x^3}", "nothing to differentiate"),
        (r"\sum_k J_{x^3}L^3", "sum or product over an index"),
        ("J_{x^3}L^3 =", "expected an expression"),
        ("L^3", "is a layer"),
        (r"\frac{\partial f}{2}", "differential by itself"),
        ("J_{x^3}L^3 / J_{x^2}L^2", "division"),
        ("∂", "nothing to differentiate"),
    ],
)
def test_bad_answers_are_refused_with_a_place(text: str, message: str) -> None:
    with pytest.raises(ReadingError, match=re.escape(message)) as caught:
        check(THREE, text, wrt="θ3", layout="numerator")
    assert caught.value.place is not None
    assert caught.value.place.source.text == text


def test_an_unknown_name_says_that_where_helps() -> None:
    with pytest.raises(ReadingError, match="--where"):
        check(FORWARD, r"\delta_3 \frac{\partial x_3}{\partial \theta_3}", wrt="θ3")


@pytest.mark.parametrize(
    "text",
    [
        "J_{x^3}L^3 + " * 1_000_000 + "0",
        "{" * 100_000 + "J_{x^3}L^3" + "}" * 100_000,
        "(" * 50_000 + "J_{θ^3}L^3" + ")" * 50_000,
        "-" * 50_000 + "J_{θ^3}L^3",
        "(" * 20_000 + "J_{θ^3}L^3" + ")^T" * 20_000,
        "L^1(" * 20_000 + "x" + ",θ^1)" * 20_000,
        "(I+J_{θ^3}L^3)" * 5_000,
        "J(" * 20_000 + "x" + ")" * 20_000,
        "+".join(["J_{θ^3}L^3"] * 20_000),
    ],
    ids=["10 MB", "braces", "brackets", "signs", "transposes", "calls", "words", "J", "sum"],
)
def test_huge_answers_end_soon(text: str) -> None:
    start = time.monotonic()
    with suppress(ReadingError, LimitError):
        check(THREE, text, wrt="θ3", layout="numerator")
    assert time.monotonic() - start < 20
    assert sys.getrecursionlimit() <= 1000


TOKENS = [
    "J_{x^3}", "L^3", "J_{x^2}L^2", r"J_{\theta^1}L^1", r"\cdot", "(", ")", "|", r"\middle|", "^T", "+", "-", "2", "I", "0",
    "=", "\n", ",",
    r"\frac{\partial f}{\partial x}", "∂", "d", "f", "x", r"\theta", "/", "'", "[", "]",
    "{", "}", r"\begin{pmatrix}", r"\end{pmatrix}", "&",
    r"\\", "J", "(x,θ^1)", r"\odot", r"\circ", "_", "^", r"\left.", r"\right|_{x}", "D_1", r"\nabla", "...",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14))
def test_token_soup_gives_a_verdict_or_a_question(words: list[str]) -> None:
    text = " ".join(words)
    try:
        verdict = check(THREE, text, wrt="θ", layout="numerator")
    except (ReadingError, LimitError):
        return
    assert json.loads(json.dumps(verdict.to_json()))["verdict"] in ("correct", "correct-other-layout", "wrong", "undecided")
    for finding in verdict.findings:
        assert finding.span is None or 0 <= finding.span[0] < finding.span[1] <= len(text)
    assert repr(verdict)
    again = check(THREE, verdict.read_as, wrt="θ", layout="numerator")
    assert again.holds_in == verdict.holds_in


# --- the object ---


def test_the_json_object() -> None:
    verdict = check(THREE, r"J_{x^3}L^3 J_{\theta^2}L^1", wrt="θ2", layout="numerator", reveal=True)
    document = json.loads(json.dumps(verdict.to_json()))
    assert list(document) == [
        "verdict",
        "layout_asked",
        "holds_in",
        "read_as",
        "notes",
        "decided_by",
        "error_bound",
        "expected",
        "findings",
    ]
    assert document["verdict"] == "wrong"
    assert document["holds_in"] == []
    assert list(document["findings"][0]) == ["kind", "where", "span", "message", "suggestion"]
    assert check(THREE, document["expected"], wrt="θ2", layout="numerator")
    assert check(THREE, r"J_{x^3}L^3 J_{\theta^2}L^1", wrt="θ2", layout="numerator").expected is None


def test_a_verdict_shows_itself() -> None:
    verdict = check(parse(THREE), r"J_{\theta^3}L^3", wrt="θ3")
    assert bool(verdict) is True
    assert repr(verdict) == "right in mixed layout: J_θ³ L³"
    other = check(FORWARD, r"\frac{\partial x_3}{\partial \theta_3} \frac{\partial L}{\partial x_3}", wrt="θ3", layout="numerator")
    assert bool(other) is False
    assert repr(other).startswith("right in denominator layout, not in numerator layout")
    assert verdict._repr_markdown_().splitlines()[0] == "**right in mixed layout**"
    assert "(other-layout)" in other._repr_markdown_()


# --- dots ---

FIVE = "x1=f1(x0,θ1);x2=f2(x1,θ2);x3=f3(x2,θ3);x4=f4(x3,θ4);x5=f5(x4,θ5)"
FACTORS = [r"\frac{\partial x_5}{\partial x_4}", r"\frac{\partial x_2}{\partial x_1}", r"\frac{\partial x_1}{\partial \theta_1}"]


@pytest.mark.parametrize(
    "text",
    [
        rf"{FACTORS[0]} \cdots {FACTORS[1]} {FACTORS[2]}",
        rf"{FACTORS[0]} \cdot \ldots \cdot {FACTORS[1]} \cdot {FACTORS[2]}",
        rf"{FACTORS[0]} J_{{x_3}} f_4 ... {FACTORS[1]} {FACTORS[2]}".replace("J_{x_3} f_4", r"\frac{\partial x_4}{\partial x_3}"),
        "∂x_5/∂x_4 ⋯ ∂x_2/∂x_1 ∂x_1/∂θ_1",
        r"J_{x_4} f_5 \cdots J_{x_1} f_2 J_{\theta_1} f_1",
        r"(J_{x_4} f_5) \dots (J_{x_1} f_2) (J_{\theta_1} f_1)",
    ],
)
def test_dots_in_a_regular_pattern(text: str) -> None:
    verdict = check(FIVE, text, wrt="θ1", layout="numerator")
    assert verdict
    assert any("dots" in note for note in verdict.notes)
    assert kinds(check(FIVE, f"2 {text}", wrt="θ1", layout="numerator")) == ["constant-factor"]


@pytest.mark.parametrize(
    "text",
    [
        rf"{FACTORS[0]} \cdots {FACTORS[2]}",
        rf"{FACTORS[0]} \cdots",
        rf"\cdots {FACTORS[1]}",
        r"\frac{\partial x_5}{\partial x_4} \cdots \frac{\partial x_2}{\partial x_0}",
        r"\frac{\partial x_9}{\partial x_8} \frac{\partial x_5}{\partial x_4} \cdots \frac{\partial x_2}{\partial x_1}",
    ],
)
def test_other_dots_are_a_question(text: str) -> None:
    with pytest.raises(ReadingError, match="what do these dots stand for"):
        check(FIVE, text, wrt="θ1", layout="numerator")


# --- left sides ---

TWO = "u1 = f1(u0, W1); u2 = f2(u1, W2); L = ℓ(u2)"
FIRST, SECOND = "∂L/∂u₂ ∂u₂/∂u₁ ∂u₁/∂W₁", "∂L/∂u₂ ∂u₂/∂W₂"


@pytest.mark.parametrize(
    "left",
    [
        "dL/dvec(%s)",
        "dL/(dvec(%s))",
        "d L/d vec(%s)",
        "∂L/∂vec(%s)",
        r"\frac{dL}{d\operatorname{vec}(%s)}",
        "J_{vec(%s)} L",
        "J_{vec %s} L",
        "∇_{vec(%s)} L",
        "D_{vec(%s)} L",
        r"J_{\operatorname{vec}(%s)} L",
    ],
)
def test_left_sides_on_vec_name_their_block(left: str) -> None:
    for one, other, right in (("W1", "W2", True), ("W2", "W1", False)):
        answer = f"{left % one} = {FIRST}\n{left % other} = {SECOND}"
        assert bool(check(TWO, answer, wrt=["W1", "W2"], layout="numerator")) is right


def test_labels_that_name_another_block_are_refused() -> None:
    assert check(TWO, f"grad wrt W1 = {FIRST}\ngrad wrt W2 = {SECOND}", wrt=["W1", "W2"], layout="numerator")
    with pytest.raises(ReadingError, match="names W2 where the block of W1 is expected"):
        check(TWO, f"grad wrt W2 = {FIRST}\ngrad wrt W1 = {SECOND}", wrt=["W1", "W2"], layout="numerator")


def test_upright_gradients_on_the_left() -> None:
    assert check("L = ℓ(x)", "(∇_x L)ᵀ = (∇_x ℓ)ᵀ", wrt="x", layout="numerator")
    assert not check("L = ℓ(g(x))", "(∇_x L)ᵀ = (J_x g)ᵀ ∇_{x_2} ℓ", wrt="x", layout="numerator")


def test_what_the_program_writes_is_read() -> None:
    """Long rows, raised indices of a terminal, places of a repeated layer, equations in which a value stands twice."""
    for text, options in (
        ("L6(L5(L4(L3(L2(L1(x,θ1),θ2),θ3),θ4),θ5),θ6)", {}),
        ("a1 = F(x, β); a2 = F(a1, β); a3 = a2 + F(a2, β); a4 = F(a3, β)", {}),
        ("x4 = g(h(k(x, a), b), x); L = l(x4) + μ m(x4, a); μ: scalar", {}),
        ("L3(L2(L1(x,θ1),θ2) + x, θ1)", {"notation": "partial"}),
    ):
        jacobian = derive(text)
        names = [jacobian.tape.names[value] for value in jacobian.selection.variables]
        verdict = check(text, jacobian.latex(**options), wrt=names, layout="numerator")  # type: ignore[arg-type]
        assert verdict, text
        assert not verdict.findings
    jacobian = derive("L^3(L^2(L^1(x, θ^1), θ^2), θ^3)", wrt="θ1")
    assert check("L^3(L^2(L^1(x, θ^1), θ^2), θ^3)", jacobian.unicode(), wrt="θ1", layout="numerator")


def test_variables_that_stand_together_are_held() -> None:
    text = "x1 = f3(x); x2 = f5(x); x3 = f6(x1, x, x2)"
    right = "J_{x, x1} x_3 = ( ∂_2 f6 + ∂_3 f6 J_x x2 | ∂_1 f6 ) = ( ∂_2 f6 + ∂_3 f6 ∂_1 f5 | ∂_1 f6 )"
    verdict = check(text, right, wrt=["x", "x1"], layout="numerator")
    assert verdict
    assert not verdict.findings


def test_fractions_of_several_values() -> None:
    nested = "L3(L2(L1(x,θ1),θ2),θ3)"
    for answer in (
        r"\frac{\partial f}{\partial (x_3,\theta_3)} "
        r"\begin{pmatrix} \frac{\partial x_3}{\partial (x,\theta_1,\theta_2)} & 0\\ 0 & I \end{pmatrix}",
        r"\frac{\partial f}{\partial (x_3,\theta_3)} \frac{\mathrm{d} (x_3,\theta_3)}{\mathrm{d} (x,\theta_1,\theta_2,\theta_3)}",
    ):
        assert check(nested, answer, wrt=["x", "θ1", "θ2", "θ3"], layout="numerator")
    with pytest.raises(ReadingError, match="a differential by itself"):
        check(nested, r"\partial (x_3, \theta_3)", wrt="θ", layout="numerator")
