"""Answers through concrete layers: true verdicts of real answers, spellings, what cannot be read, and what verdicts say."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain import check, parse
from jacobian_chain.errors import ChainError, LimitError, ReadingError
from jacobian_chain.interface import judge_record

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases" / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
"""Real answers and answers after real ones, with verdicts that were found numerically."""

NET = "z1 = W1 x + b1; h = tanh(z1); z2 = W2 h + b2; L = 1/2 ||z2 - y||^2"
DW1 = r"(W_2^\top (z_2 - y) \odot (1 - h^2)) x^\top"
BATCH = "Z = X W + ones(m) b^T; A = sigmoid(Z); L = 1/m * l(A); X: m x n; W: n x k; b: k"


@lru_cache(maxsize=1)
def judged() -> dict[str, dict[str, Any]]:
    """What is said of each case."""
    found = {}
    for case in CASES:
        try:
            found[case["id"]] = judge_record(case)
        except ReadingError as error:
            found[case["id"]] = {"verdict": "error", "message": error.message}
    return found


def test_what_is_not_hard_is_read() -> None:
    unread = [case for case in CASES if judged()[case["id"]]["verdict"] == "error"]
    assert [case["id"] for case in unread if not case["hard"]] == []
    assert len(unread) <= 0.01 * len(CASES)
    assert all(judged()[case["id"]]["message"] for case in unread)


def test_no_wrong_answer_is_accepted() -> None:
    assert [case["id"] for case in CASES if judged()[case["id"]]["verdict"] == "correct" != case["verdict"]] == []


def test_verdicts_are_true() -> None:
    different = [case["id"] for case in CASES if judged()[case["id"]]["verdict"] not in (case["verdict"], "error")]
    assert different == []
    found = [(case, judged()[case["id"]]) for case in CASES]
    layouts = [case for case, result in found if "holds_in" in result and result["holds_in"] != case["holds_in"]]
    # one entry is the same in every layout, and an array of one axis in code is row and column
    assert {case["hard"] for case in layouts} <= {"component-indices", "numpy-code"}
    assert len(layouts) < 10


def test_first_reasons_are_right() -> None:
    outcomes = Counter(
        judged()[case["id"]]["findings"][0]["kind"] in case["reasons"]
        for case in CASES
        if case["verdict"] != "correct" and judged()[case["id"]]["verdict"] != "error"
    )
    assert outcomes[True] >= 0.95 * outcomes.total()


def test_suggestions_are_right_answers() -> None:
    offered = 0
    for case in CASES[::4]:
        result = judged()[case["id"]]
        for finding in result.get("findings", []):
            if finding["suggestion"] and finding["kind"] not in ("missing-block", "block-order"):
                assert judge_record({**case, "answer": finding["suggestion"]})["verdict"] == "correct", (case["id"], finding)
                offered += 1
    assert offered > 50


SPELLINGS = [
    DW1,
    r"\frac{\partial L}{\partial W_1} = \left( W_2^\top (z_2 - y) \odot (1 - h \odot h) \right) x^\top",
    r"\nabla_{W_1} L = \left( W_2^{\mathsf T} (z_2 - y) \circ \tanh'(z_1) \right) x^{\intercal}",
    r"\dfrac{\mathrm{d} L}{\mathrm{d} W_1} = \operatorname{diag}(1 - h^{\odot 2})\, W_2^T (z_2 - y)\, x^T",
    "dL/dW1 = ((W2' * (z2 - y)) .* (1 - h.^2)) * x'",
    "∂L/∂W₁ = (W₂ᵀ (z₂ − y) ⊙ (1 − h²)) xᵀ",
    "∂L/∂W₁ = (∂L/∂h ⊙ tanh′(z₁)) xᵀ",
    "np.dot(np.dot(W2.T, z2 - y) * (1 - np.square(h)), x.T)",
    "dz1 = W2.T.dot(z2 - y) * (1 - h**2)\ndW1 = dz1 @ x.T",
    r"\delta_2 = z_2 - y, \quad \delta_1 = W_2^\top \delta_2 \odot (1 - h^2), \quad \frac{\partial L}{\partial W_1} = \delta_1 x^\top",
    r"\begin{aligned} \delta &= W_2^\top (z_2 - y) \odot (1 - h^2) \\ \frac{\partial L}{\partial W_1} &= \delta x^\top \end{aligned}",
    r"\frac{\partial L}{\partial W_1} = \delta x^\top \text{ where } \delta = W_2^\top (z_2 - y) \odot (1 - h^2)",
    r"We get $\frac{\partial L}{\partial W_1} = \bar z_1 x^T$ and are done.",
    r"\frac{\partial L}{\partial (W_1)_{ij}} = \left(\frac{\partial L}{\partial z_1}\right)_i x_j",
    r"\left(\sum_k (W_2)_{ki} (z_2 - y)_k\right)(1 - h_i^2)\, x_j",
    r"\left(\sum_k (W_2)_{ki} (z_2 - y)_k\right) \left(\sum_l \delta_{il} (1 - h_l^2)\right) x_j",
    r"\delta_i x_j, \text{ where } \delta_i = \sum_k (W_2)_{ki} (z_2 - y)_k (1 - h_i^2)",
    r"\frac{\partial L}{\partial (W_1)_{ij}} = \sum_k \frac{\partial L}{\partial (z_1)_k} \frac{\partial (z_1)_k}{\partial (W_1)_{ij}}",
    "dL/dW1[i,j] = Σ_k W2[k,i] (z2[k] - y[k]) (1 - h[i]^2) x[j]",
    r"dW_1 = dz_1 x^T",
    r"\overline{W_1} = \overline{z_1} x^T",
    r"\mathrm{d}W_1 = \mathrm{d}z_1\, x^T",
    r"grad_z1 * x^T",
    r"\left(\frac{\partial L}{\partial h} \odot \frac{\partial h}{\partial z_1}\right) x^T",
    r"\left({W_2}^\top (z_2-y)\odot(\mathbf 1-h\odot h)\right)x^\top",
    r"-\left(W_2^\top (y - z_2) \odot \left(1 - \tanh^2(W_1 x + b_1)\right)\right) x^\top",
    r"2 \cdot \tfrac12 \left( W_2^\top (W_2 \tanh(z_1) + b_2 - y) \odot \tanh'(z_1) \right) x^\top",
]
"""One right answer to one question, as people write it."""


@pytest.mark.parametrize("answer", SPELLINGS)
def test_spellings(answer: str) -> None:
    verdict = check(NET, answer, wrt="W1", of="L")
    assert verdict, verdict
    assert verdict.read_as
    assert not verdict.findings


def test_layouts() -> None:
    flipped = r"x (W_2^\top (z_2 - y) \odot (1 - h^2))^\top"
    verdict = check(NET, flipped, wrt="W1")
    assert (verdict.verdict, verdict.holds_in) == ("correct-other-layout", ("numerator",))
    assert verdict.findings[0].kind == "other-layout"
    assert check(NET, flipped, wrt="W1", layout="numerator")
    chain = (
        r"\frac{\partial L}{\partial z_2} \frac{\partial z_2}{\partial h} \frac{\partial h}{\partial z_1} \frac{\partial z_1}{\partial W_1}"
    )
    assert check(NET, chain, wrt="W1", layout="numerator").holds_in == ("numerator",)
    backwards = (
        r"\frac{\partial z_1}{\partial b_1} \frac{\partial h}{\partial z_1} \frac{\partial z_2}{\partial h} \frac{\partial L}{\partial z_2}"
    )
    assert check(NET, backwards, wrt="b1", layout="denominator").holds_in == ("denominator",)


def test_several_variables() -> None:
    wrt = ("W2", "b2")
    both = r"\frac{\partial L}{\partial W_2} = (z_2 - y) h^\top \\ \frac{\partial L}{\partial b_2} = z_2 - y"
    assert check(NET, both, wrt=wrt)
    assert check(NET, r"\left( (z_2 - y) h^\top \;\middle|\; z_2 - y \right)", wrt=wrt)
    one = check(NET, r"\frac{\partial L}{\partial b_2} = z_2 - y", wrt=wrt)
    assert [finding.kind for finding in one.findings] == ["missing-block"]
    swapped = check(NET, r"z_2 - y \mid (z_2 - y) h^\top", wrt=wrt)
    assert [finding.kind for finding in swapped.findings] == ["block-order"]
    turned = check(NET, r"\frac{\partial L}{\partial W_2} = h (z_2 - y)^\top \\ \frac{\partial L}{\partial b_2} = z_2 - y", wrt=wrt)
    assert [finding.kind for finding in turned.findings] == ["mixed-layout"]


def test_steps_that_do_not_follow() -> None:
    chain = r"\frac{\partial L}{\partial b_2} = y - z_2 = z_2 - y"
    verdict = check(NET, chain, wrt="b2")
    assert verdict  # the last expression is judged
    assert [finding.kind for finding in verdict.findings] == ["does-not-follow"]
    lines = r"\frac{\partial L}{\partial z_2} = y - z_2 \\ \frac{\partial L}{\partial b_2} = z_2 - y"
    verdict = check(NET, lines, wrt="b2")
    assert verdict
    assert verdict.findings[0].where == "line 1"


def test_where_lines() -> None:
    answer = r"\delta^{(1)} \mathbf{x}_t^{\top}"
    where = ["delta^{(1)} = (W_2^T r) .* s'(z1)", "r = z2 - y", "s = tanh", "x_t = x"]
    with pytest.raises(ReadingError, match="no name r"):
        check(NET, answer, wrt="W1", where=where)
    assert check(NET, answer, wrt="W1", where=[where[1], where[2], where[0], where[3]])
    with pytest.raises(ReadingError, match="is a name of the composition"):
        check(NET, answer, wrt="W1", where=["W2 = W1"])


def test_direct_and_total_derivatives() -> None:
    skip = "a = o .* tanh(c); L = l(a, c); L: scalar; o: n; c: n"
    assert check(skip, r"\frac{dL}{da} \odot o \odot \tanh'(c) + \frac{\partial L}{\partial c}", wrt="c")
    only = check(skip, r"\frac{dL}{da} \odot o \odot \tanh'(c)", wrt="c")
    assert (only.verdict, only.findings[0].kind) == ("wrong", "missing-path")
    given = check(skip, "g", wrt="c", where=["g = ∂L/∂c"])
    assert (given.verdict, given.findings[0].kind) == ("wrong", "missing-path")
    total = check(skip, r"\frac{\partial L}{\partial c}", wrt="c")
    assert total
    assert any("read as total" in note for note in total.notes)


def test_what_rests_on_numbers_says_so() -> None:
    exact = check("y = sum(tanh(z)); z: n", "1 - tanh(z)^2", wrt="z")
    assert exact.decided_by == "prime-field"
    assert exact.error_bound is not None
    assert exact.error_bound < 1e-9
    identity = check("y = sum(tanh(z)); z: n", "1 - (2 sigmoid(2 z) - 1)^2", wrt="z")
    assert (identity.verdict, identity.decided_by, identity.error_bound) == ("correct", "numeric", None)
    kink = check("y = sum(relu(z)); z: n", r"\mathbb{1}[z > 0] \odot \mathbb{1}[z > 0]", wrt="z")
    assert (kink.verdict, kink.decided_by) == ("correct", "numeric")
    assert check("y = sum(relu(z)); z: n", r"\mathbb{1}[z < 0]", wrt="z").verdict == "wrong"


def test_both_sides_of_a_kink_have_to_be_seen() -> None:
    far = "y = relu(w x + 10); w: scalar; x: scalar"
    assert check(far, "x", wrt="w").verdict == "wrong"
    assert check(far, r"x \mathbb{1}[w x + 10 > 0]", wrt="w")
    never = check("y = relu(exp(x)); x: scalar", "exp(x)", wrt="x")
    assert (never.verdict, never.findings) == ("undecided", ())
    assert any("one side of a kink" in note for note in never.notes)
    switched = "L = (y - relu(w^T x + b))^2; w: n; x: n; y: scalar; b: scalar"
    assert check(switched, "-2 (y - relu(w^T x + b)) x", wrt="w").verdict == "wrong"


def test_facts_are_part_of_the_model() -> None:
    labelled = "L = CE(softmax(z), y); z: n; y: n"
    assert check(labelled, r"\mathrm{softmax}(z) - y", wrt="z")
    free = check(labelled + "; y: n free", r"\mathrm{softmax}(z) - y", wrt="z")
    assert free.verdict == "wrong"
    assert check("f = x^T A x; A: n x n symmetric; x: n", "2 A x", wrt="x")
    assert check("f = x^T A x; A: n x n; x: n", "2 A x", wrt="x").verdict == "wrong"


@pytest.mark.parametrize(
    ("composition", "wrt", "answer", "kind", "said"),
    [
        (NET, "W1", r"(W_2 (z_2 - y) \odot (1 - h^2)) x^\top", "transpose", "W₂ᵀ"),
        (NET, "W1", r"W_2^\top (z_2 - y) (1 - h^2) x^\top", "hadamard-vs-product", ""),
        (NET, "W1", r"(W_2^\top (z_2 - y) \odot (1 - z_1^2)) x^\top", "evaluation-point", "z_1 should be h"),
        (NET, "W1", r"(W_2^\top (z_2 - y)) x^\top", "missing-activation-derivative", "tanh'(z₁) is missing"),
        (NET, "W1", r"(W_2^\top (z_2 - y) \odot h) x^\top", "activation-for-derivative", ""),
        (NET, "W1", r"(W_2^\top (z_2 - y) \odot (1 + h^2)) x^\top", "sign", ""),
        (NET, "W1", r"(W_2^\top (y - z_2) \odot (1 - h^2)) x^\top", "sign", ""),
        (NET, "W1", r"2 (W_2^\top (z_2 - y) \odot (1 - h^2)) x^\top", "constant-factor", ""),
        (NET, "W2", r"(z_2 - y) x^\top", "wrong-factor", "h"),
        (NET, "b1", r"(W_2^\top (z_2 - y) \odot (1 - h^2)) x^\top", "extra-factor", ""),
        (BATCH, "W", r"X^\top (\frac{\partial L}{\partial A} \odot A \odot (1 + A))", "sign", ""),
        (BATCH, "b", r"\frac{\partial L}{\partial A} \odot A \odot (1 - A)", "missing-sum", ""),
        (BATCH, "W", r"X^\top \frac{\partial L}{\partial A} \odot A \odot (1 - A)", "hadamard-vs-product", ""),
        ("L = CE(softmax(z), y); p = softmax(z); z: n; y: n", "z", r"p \odot (1 - p)", "softmax-diagonal", "diag(p) - p pᵀ"),
    ],
)
def test_mistakes_have_their_reason(composition: str, wrt: str, answer: str, kind: str, said: str) -> None:
    verdict = check(composition, answer, wrt=wrt, of="L")
    assert verdict.verdict == "wrong"
    assert verdict.findings[0].kind == kind, verdict
    assert said in verdict.findings[0].message
    suggestion = verdict.findings[0].suggestion
    assert suggestion is not None
    assert check(composition, suggestion, wrt=wrt, of="L")
    span = verdict.findings[0].span
    assert span is None or 0 <= span[0] < span[1] <= len(answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "empty"),
        ("(W_2^T (z_2 - y) x^T", "never closed"),
        ("foo x^T", "no name foo"),
        (r"W_2^T (z_2 - y) \odot", "expected an expression"),
        (r"\frac{\partial L}{\partial Q} x^T", "no name Q"),
        (r"\frac{\partial^2 L}{\partial h^2} x^T", "second derivatives"),
        (r"\prod_k h_k", "product over an index"),
        ("np.linalg.qr(W2) @ x.T", "qr is not read"),
        ("import os; os.system('ls')", "unexpected character"),
        ("__import__('os').system('ls') @ np.x", "not read"),
        ("W_2^{q}", "exponent"),
        ("sum(h, sideways)", "rows or columns"),
        ("tanh", ""),
    ],
)
def test_what_cannot_be_read_is_said(answer: str, message: str) -> None:
    with pytest.raises(ReadingError) as caught:
        check(NET, answer, wrt="W1")
    assert message in str(caught.value)


@pytest.mark.parametrize("answer", ["(" * 3000 + "x" + ")" * 3000, "x" + "'" * 3000, "x" + " + x" * 3000, "-" * 3000 + "x", "x x^T " * 800])
def test_long_answers_are_judged_or_refused(answer: str) -> None:
    try:
        verdict = check(NET, answer, wrt="W1").verdict
    except (ReadingError, LimitError):
        verdict = "refused"
    assert verdict in ("wrong", "refused")


def test_a_million_characters_are_refused() -> None:
    with pytest.raises(LimitError, match="characters"):
        check(NET, "x " * 500_000, wrt="W1")


PIECES = [
    *r"W_1 W_2 x h z_1 y L \frac{\partial {}} ( ) [ ] ^T ^\top ' \odot * \cdot + - / = | || , & \\ _{ij} \sum_i \delta".split(),
    *r"1 2 \mathbf{1} I diag( tanh \sigma' d ∇ \nabla_h np. .T @ \left \right \begin{aligned} \end{aligned} ^{(1)} { }".split(),
    r"\text{so }",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=14))
def test_nothing_but_errors_for_people(pieces: list[str]) -> None:
    with suppress(ChainError):
        verdict = check(NET, " ".join(pieces), wrt="W1")
        assert verdict.verdict in ("correct", "correct-other-layout", "wrong", "undecided")
        assert verdict.findings or verdict.verdict in ("correct", "undecided")


def test_large_literal_sizes() -> None:
    large = "Z = X V; H = relu(Z); P = softmax_rows(H W); L = 1/64 * CE(P, Y); X: 64 x 784; V: 784 x 128; W: 128 x 10; Y: 64 x 10"
    assert check(large, r"X^\top \left(\frac{1}{64} (P - Y) W^\top \odot \operatorname{relu}'(Z)\right)", wrt="V")
    assert check(large, r"\frac{1}{64} H^\top (Y - P)", wrt="W").findings[0].kind == "sign"
    misfit = check(large, r"\frac{1}{64} H (P - Y)", wrt="W").findings[0]
    assert (misfit.kind, misfit.suggestion is not None) == ("transpose", True)
    ones = "Z = X W + ones(64) b^T; L = l(Z); X: 64 x 784; W: 784 x 10; b: 10; L: scalar"
    assert check(ones, r"\frac{\partial L}{\partial Z}^\top \mathbf{1}_{64}", wrt="b").shown == "(∂L/∂Z)ᵀ ones(64)"


def test_left_sides_choose_the_variables() -> None:
    assert check(NET, r"\frac{\partial L}{\partial W_2} = (z_2 - y) h^\top")
    assert not check(NET, r"(z_2 - y) h^\top")
    assert check(NET, r"\frac{\partial L}{\partial W_2} = (z_2 - y) h^\top", wrt=("W2", "b2")).findings[0].kind == "missing-block"


def test_compositions_with_definitions() -> None:
    composition = parse("L1(x, W, b) = tanh(W x + b); h = L1(x, W, b); L = l(h); L: scalar; W: m x n; b: m; x: n")
    assert check(composition, r"\frac{\partial L}{\partial h} \odot (1 - h^2)", wrt="b")
    assert check(composition, r"\frac{\partial L}{\partial h} \odot (1 - L1(x, W, b)^2)", wrt="b")
    own = parse("g(t) = t^3 + t; h = g(W x); L = sum(h); W: m x n; x: n")
    assert check(own, r"g'(W x) x^\top", wrt="W")
    assert check(own, r"(3 (W x)^2 + 1) x^\top", wrt="W")


MSE = "X: m x n; w: n; y: m; r = X w - y; L = 1/2 ||r||^2"
LAYER = "W: m x n; x: n; y: m; z = W x; a = tanh(z); L = 1/2 ||a - y||^2"
DW = "((a-y) .* (1-a^2)) x^T"


@pytest.mark.parametrize(
    ("composition", "wrt", "wrong", "right"),
    [
        # sizes that agree by chance: 2/m = 1, m n = 6, 5 - n = m
        ("W: m x n; x: n; y: m; a = sigmoid(W x); L = 1/m ||a - y||^2", "W", "((a-y) .* a .* (1-a)) x^T", "2/m ((a-y) .* a .* (1-a)) x^T"),
        ("x: n; L = sum(sin(x))/n", "x", "cos(x)/2", "cos(x)/n"),
        ("X: m x n; L = mean(X)", "X", "1/6 ones(m,n)", "1/(m n) ones(m,n)"),
        ("X: m x n; w: n; y: m; L = 1/(2*m)*||X w - y||^2", "w", "1/(5-n) X^T (X w - y)", "1/m X^T (X w - y)"),
        ("X: n x n; L = det(X)", "X", "tr(X) I - X^T", "det(X) X^{-T}"),
        # roots have signs
        ("x: scalar; L = 1/2 x^2", "x", "sqrt(x^2)", "x"),
        ("x: scalar; L = sqrt(x^2)", "x", "1", "x/sqrt(x^2)"),
        ("x: scalar; L = sqrt(x^6)", "x", "3 x^2", "3 x |x|"),
        ("x: scalar; L = sin(x)", "x", "sqrt(1-sin(x)^2)", "cos(x)"),
        ("X: n x n; L = det(X)", "X", "|det(X)| X^{-T}", "det(X) X^{-T}"),
        # steep functions are no steps
        ("x: n; L = sum(relu(x))", "x", "sigmoid(1000 x)", "1[x > 0]"),
        # limits of sums count
        (MSE, "w", r"\sum_{i=1}^{m-1} r_i X_{ij}", r"\sum_{i=1}^{m} r_i X_{ij}"),
        (MSE, "w", r"\sum_{i=1}^{1} r_i X_{ij}", r"\sum_{i=1}^{N} r_i X_{ij}"),
        (MSE, "w", r"\sum_{i=2} r_i X_{ij}", r"\sum_i r_i X_{ij}"),
        (LAYER, "W", r"\sum_{i,j} (a_i-y_i)(1-a_i^2) x_j", r"(a_i-y_i)(1-a_i^2) x_j"),
        # what stands on a formula counts
        (LAYER, "W", rf"\underbrace{{{DW}}}^{{2}}", rf"\underbrace{{{DW}}}_{{2}}"),
        (LAYER, "W", rf"\mathrm{{2 W}} {DW}", rf"\text{{so }} {DW}"),
        (LAYER, "W", f"-${DW}$", f"So the gradient is ${DW}$."),
        ("W: m x n; L = sum(W)", "W", "ones(0)", r"\mathbf 1_{m \times n}"),
        ("X: n x n; L = logdet(X)", "X", "(X^{-1})_{11}", "(X^{-1})_{ji}"),
        # code
        (LAYER, "W", f"dW = np.dot(a - y, x.T)\ndW += {'np.dot((a-y)*(1-a**2), x.T)'}", "np.outer((a-y)*(1-np.power(a, 2)), x)"),
        (LAYER, "W", "np.dot((a-y)*a**2, x.T)", "dW = np.dot(a - y, x.T)\ndW += np.dot(-(a-y)*a**2, x.T)"),
    ],
)
def test_nothing_is_right_by_chance_or_by_halves(composition: str, wrt: str, wrong: str, right: str) -> None:
    assert check(composition, right, wrt=wrt).verdict == "correct"
    assert check(composition, wrong, wrt=wrt).verdict != "correct"


@pytest.mark.parametrize(
    "answer",
    [
        f"the gradient is minus {DW}",
        rf"\text{{the transpose of }} {DW}",
        f"{DW} (and then times two)",
        f"twice ${DW}$",
        f"so 2 ${DW}$",
        f"${DW}$/2",
        f"Answer: -${DW}$",
        f"2 dL/dW = {DW}",
        f"-dL/dW = {DW}",
        f"dL/dW != {DW}",
        "dL/dW",
        "dW",
        r"\nabla_W L",
        r"\mathbf{1}_{A} x^T",
        r"\sum r_i x_j",
        r"\sum_{k \in B} a_k x^T",
        r"\sum_{i=n)}^m a_i x^T",
        r"\sum_i " * 400 + "a_i",
        r"\sqrt[3]{a} x^T",
        "np.dot(a, x.T, 5)",
        "np.dot(a, x.T)*1e400",
        "det(ones(141,141)+I(141)) a x^T",
    ],
)
def test_what_is_not_said_in_a_formula_is_refused(answer: str) -> None:
    with pytest.raises((ReadingError, LimitError)):
        check(LAYER, answer, wrt="W")


def test_words_that_are_products() -> None:
    composition = "a: scalar; s: scalar; x: n; L = 1/2 a s ||x||^2"
    assert check(composition, "a s x", wrt="x").verdict == "correct"
    with pytest.raises(ReadingError, match="is 'as' a word, or the product a s"):
        check(composition, "as x", wrt="x")


@pytest.mark.parametrize("answer", [f"answer= {DW}", f"Answer:= {DW}", f"Thus, {DW}", rf"dL/dW \overset{{!}}{{=}} {DW}"])
def test_words_before_signs(answer: str) -> None:
    assert check(LAYER, answer, wrt="W").verdict == "correct"


def test_an_opaque_layer_has_nothing_but_its_derivative() -> None:
    assert check("z = W x; L = l(z); L: scalar", "dL/dz", wrt="z").verdict == "correct"


def test_one_entry_is_told() -> None:
    verdict = check(LAYER, r"\frac{\partial L}{\partial W_{12}} = (a_1-y_1)(1-a_1^2) x_2", wrt="W")
    assert verdict.verdict == "correct"
    assert "the answer gives one entry only" in verdict.notes


def test_factors_of_two_sizes_are_named() -> None:
    (finding,) = check("X: m x n; w: n; y: m; L = 1/m*||X w - y||^2", "1/(m n) X^T (X w - y)", wrt="w").findings
    assert (finding.kind, finding.message) == ("constant-factor", "the factor 2 n is missing")


def test_sigma_beside_a_logistic_loss_is_the_sigmoid() -> None:
    composition = "x: n; w: n; y: scalar; z = w^T x; L = log(1 + exp(-y z))"
    assert check(composition, r"-y \sigma(-y z) x", wrt="w").verdict == "correct"
    assert check(composition, r"y \sigma(-y z) x", wrt="w").verdict == "wrong"


@pytest.mark.parametrize("answer", ["D (a-y) x^T, D = diag(1-a^2)", r"\delta x^T, \delta := (a-y) .* (1-a^2)"])
def test_names_explained_behind_a_comma(answer: str) -> None:
    assert check(LAYER, answer, wrt="W").verdict == "correct"
