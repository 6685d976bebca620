"""Each mistake has an example, and is the reason that is found for it; repaired answers are right."""

from __future__ import annotations

import pytest

from jacobian_chain import dense
from jacobian_chain.errors import Source
from jacobian_chain.explanation import explain
from jacobian_chain.expressions import Setting
from jacobian_chain.glossary import Scope
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.mistakes import MISTAKES, Mistake
from jacobian_chain.names import read_key
from jacobian_chain.reading import read_composition
from jacobian_chain.solution import read_solution
from jacobian_chain.trials import Trial, proportion
from jacobian_chain.worlds import draw

NET = "X: N x n; W1: n x m; W2: m x k; y: N x k; Z1 = X W1; A1 = sigmoid(Z1); Z2 = A1 W2; L = 1/2 ||Z2 - y||_F^2"
DEEP = "W1: n x n; W2: n x n; W3: n x n; x: n; L: scalar; a1 = tanh(W1 x); a2 = tanh(W2 a1); a3 = tanh(W3 a2); L = l(a3)"
RESIDUAL = "W: n x n; x: n; L: scalar; h = x + tanh(W x); L = l(h)"


def make_trial(composition: str, wrt: str, answer: str, layout: str = "mixed", where: tuple[str, ...] = ()) -> Trial:
    """An answer that is wrong, through the composition's last value."""
    tape = read_composition(Source(composition)).tape
    of, by = tape.outputs()[-1], tape.index(read_key(wrt) or "")
    assert by is not None
    solution = read_solution(Source(answer), Scope(tape, of, [by], lambda _solution, _root: None), where)
    root = solution.statements[-1].links[-1]
    return Trial(solution, root, Setting(LAYOUTS[layout]), of, by, False, [draw(tape, seed) for seed in range(2)])


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.kind)
def test_the_example_of_a_mistake_has_this_reason(mistake: Mistake) -> None:
    trial = make_trial(mistake.example.composition, mistake.example.wrt, mistake.example.answer, mistake.example.layout)
    assert not trial.holds(trial.root)
    slips = explain(trial)
    assert slips[0].kind == mistake.kind
    for slip in slips:
        assert slip.message
        if slip.root is not None:
            assert trial.holds(slip.root)


def test_the_order_of_the_table() -> None:
    assert [mistake.kind for mistake in MISTAKES] == (
        "mixed-layout missing-path extra-path missing-sum softmax-diagonal activation-for-derivative missing-activation-derivative "
        "hadamard-vs-product transpose factor-order evaluation-point wrong-index repeated-factor extra-factor missing-factor sign "
        "constant-factor wrong-factor partial-for-total shape other"
    ).split()


@pytest.mark.parametrize(
    ("composition", "wrt", "answer", "kinds"),
    [
        # two mistakes
        (NET, "W1", r"((Z_2 - y) W_2^T \odot Z_1 \odot (1 - A_1)) X^T", ["factor-order", "evaluation-point"]),
        (NET, "W1", r"X^T ((y - Z_2) W_2^T \odot A_1 \odot (1 - Z_1))", ["evaluation-point", "sign"]),
        (NET, "W1", r"2 X^T ((Z_2 - y) W_2^T)", ["missing-activation-derivative", "constant-factor"]),
        # several operators of one product at once
        (NET, "W1", r"X^T ((Z_2 - y) W_2^T) A_1 (1 - A_1)", ["hadamard-vs-product"]),
        # brackets
        (NET, "W1", r"X^T (Z_2 - y) W_2^T \odot A_1 \odot (1 - A_1)", ["hadamard-vs-product"]),
        # the same slip in several places
        (DEEP, "a1", r"W_1^T ((1 - a_1^2) \odot (W_2^T ((1 - a_2^2) \odot \frac{\partial L}{\partial a_3})))", ["wrong-index"]),
        # a path, and the sign of another
        (RESIDUAL, "x", r"W^T ((1 - \tanh(W x)^2) \odot \frac{\partial L}{\partial h})", ["missing-path"]),
        (RESIDUAL, "x", r"\frac{\partial L}{\partial h} - W^T ((1 - \tanh(W x)^2) \odot \frac{\partial L}{\partial h})", ["sign"]),
        (RESIDUAL, "x", r"\frac{\partial L}{\partial h} + W^T ((1 - \tanh(W x)) \odot \frac{\partial L}{\partial h})", ["missing-factor"]),
        # numbers
        ("X: m x n; w: n; y: m; L = 1/m ||X w - y||^2", "w", r"X^T (X w - y)", ["constant-factor"]),
        ("X: m x n; w: n; y: m; L = ||X w - y||", "w", r"X^T (X w - y)", ["missing-factor"]),
        ("x: n; y = x / ||x||", "x", r"\frac{1}{\|x\|} (I - \frac{x x^T}{\|x\|^3})", ["repeated-factor"]),
        ("A: m x n; X: n x p; B: p x q; Y = A X B", "X", r"A \otimes B^T", ["factor-order"]),
        # scalars
        ("w: scalar; v: scalar; x: scalar; z = w x; a = tanh(z); L = (v a)^2", "w", r"2 v a (1 - a^2) x", ["missing-factor"]),
        ("w: scalar; v: scalar; x: scalar; z = w x; a = tanh(z); L = (v a)^2", "w", r"2 v^2 a (1 - z^2) x", ["evaluation-point"]),
    ],
)
def test_reasons(composition: str, wrt: str, answer: str, kinds: list[str]) -> None:
    trial = make_trial(composition, wrt, answer)
    assert not trial.holds(trial.root)
    slips = explain(trial)
    assert [slip.kind for slip in slips] == kinds
    assert all(slip.root is None or trial.holds(slip.root) for slip in slips)


def test_messages_name_the_place_as_typed() -> None:
    (slip,) = explain(make_trial(NET, "W1", r"X^T ((Z_2 - y) W_1^T \odot A_1 \odot (1 - A_1))"))
    assert (slip.kind, slip.where, slip.span) == ("wrong-index", "W_1", (15, 18))
    assert slip.message == "W_1 should be W₂"
    (slip,) = explain(make_trial(NET, "W1", r"X^T ((Z_2 - y) W_2^T)"))
    assert slip.message == "sigmoid'(Z₁) is missing"


def test_shapes_that_do_not_fit() -> None:
    (slip,) = explain(make_trial(NET, "W1", "y + X"))
    assert slip.kind == "shape"
    assert "N x k" in slip.message
    assert "N x n" in slip.message
    (slip,) = explain(make_trial(NET, "W1", "y"))
    assert slip.message == "this is N x k, the derivative is n x m"


def test_without_a_budget_there_is_still_an_answer() -> None:
    assert explain(make_trial(NET, "W1", "X^T y W_2^T"), budget=0)[0].kind == "other"


def test_values_in_a_trial() -> None:
    trial = make_trial(NET, "W2", r"A_1^T (Z_2 - y)")
    assert trial.holds(trial.root)
    assert trial.value(trial.root) == trial.expected()
    twice = trial.formulas.add("sum", (trial.root, trial.root), (1, 1))
    ratios = trial.ratios(twice)
    assert ratios is not None
    assert all(2 * ratio == 1 for ratio in ratios)
    misfit = trial.formulas.add("product", (trial.root, trial.root), ("",))
    assert trial.value(misfit) is None
    assert trial.ratios(misfit) is None
    assert not trial.holds(misfit)
    assert proportion(trial.expected(), dense.transpose(trial.expected())) is None


def test_a_part_of_the_derivative() -> None:
    composition = "a: n; b: n; s = a^T b"
    trial = make_trial(composition, "a", "b_1")
    first = Trial(
        trial.solution, trial.root, trial.setting, trial.of, trial.by, False, trial.worlds, lambda block: [[dense.entries(block)[0]]]
    )
    root = trial.formulas.add("entry", (trial.formulas.add("value", (), trial.solution.tape.index("b")),), (1,))
    assert first.holds(root)
