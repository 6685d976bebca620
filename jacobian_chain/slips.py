"""Wrong answers made from a right one, as people go wrong: one slip each, a change of the formula that was read.

What a slip makes of an answer is not said here: it may be another mistake, or none. Whoever wants to know asks the checker.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from jacobian_chain.answer import read_answer
from jacobian_chain.assessment import Inquiry, find_pieces
from jacobian_chain.errors import Source
from jacobian_chain.evaluate import Setting as LayerSetting
from jacobian_chain.expressions import Setting
from jacobian_chain.layout import Layout
from jacobian_chain.mistakes import MISTAKES, Edit
from jacobian_chain.problem import Part, Problem
from jacobian_chain.solution import read_solution
from jacobian_chain.transcript import Transcriber
from jacobian_chain.transcription import write_latex, write_text
from jacobian_chain.trials import Trial, View, number_of, parts_of
from jacobian_chain.vocabulary import Vocabulary
from jacobian_chain.writers import LatexWriter, TextWriter

MOST_CHANGES = 60
"""Most changes of one line by one slip."""


class Change(NamedTuple):
    """A line of an answer, by its number, with another right side."""

    slip: str
    line: int
    root: int


# --- through layers without a definition ---


class LayerAnswer:
    """A right answer through layers without a definition that was read, to be changed.

    >>> from jacobian_chain.layout import NUMERATOR
    >>> from jacobian_chain.reading import read_composition
    >>> problem = Problem(read_composition(Source("L2(L1(x, θ1), θ2)")).tape)
    >>> answer = LayerAnswer(problem, "inputs", "J_θ1 f = J_x2 L2 · J_θ1 L1", NUMERATOR)
    >>> [answer.write(change, latex=False) for change in answer.changes() if change.slip == "a factor is forgotten"]
    ['J_θ₁ L₁', 'J_x₂ L₂']
    """

    def __init__(self, problem: Problem, naming: str, text: str, layout: Layout) -> None:
        self.answer = read_answer(Source(text, "answer"), problem, Vocabulary(problem, naming))
        self.parts = self.answer.parts
        self.read = len(self.parts)  # what follows is made here
        self.setting = LayerSetting(layout)
        self.roots = tuple(statement.links[-1] for statement in self.answer.statements)

    def write(self, change: Change, latex: bool) -> str:
        """The right side of a changed line, in the names of the answer."""
        return Transcriber(self.answer, self.setting, LatexWriter() if latex else TextWriter("sub")).write(change.root)

    def changes(self) -> Iterator[Change]:
        """What each slip makes of each line."""
        for line, root in enumerate(self.roots):
            for slip in SLIPS:
                made = (
                    self.replaced(root, place, new)
                    for place in self.below(root)
                    if self.parts[place].kind in slip.kinds
                    for new in slip.make(self, place)
                )
                for new in itertools.islice(made, MOST_CHANGES):
                    yield Change(slip.name, line, new)

    def add(self, kind: str, args: Sequence[int], value: object = 0) -> int:
        """A new part."""
        self.parts.append(Part(kind, tuple(args), value))
        return len(self.parts) - 1

    def with_args(self, place: int, args: Sequence[int]) -> int:
        """A part with other ones inside; a product or sum of one is that one."""
        part = self.parts[place]
        if part.kind in ("product", "sum") and len(args) == 1:
            return args[0]
        return self.add(part.kind, args, (len(args),) if part.kind == "grid" else part.value)

    def below(self, root: int) -> list[int]:
        """The parts that stand in the text of a part, itself first; what a derivative means does not."""
        found: list[int] = []
        stack = [root]
        while stack:
            at = stack.pop()
            found.append(at)
            if self.parts[at].kind != "derivative":
                stack.extend(reversed(self.parts[at].args))
        return found

    def replaced(self, root: int, place: int, new: int) -> int:
        """A line with one part replaced."""
        changed = {place: new}
        for at in reversed(self.below(root)):
            part = self.parts[at]
            if at != place and part.kind != "derivative" and any(arg in changed for arg in part.args):
                args = [changed.get(arg, arg) for arg in part.args]
                if part.kind == "product":  # nobody writes A I B
                    args = [arg for arg in args if self.parts[arg].kind != "identity"] or args[:1]
                changed[at] = self.with_args(at, args)
        return changed[root]

    def derivatives(self) -> list[int]:
        """The factors of all lines, each symbol once."""
        found: dict[object, int] = {}
        for root in self.roots:
            for at in self.below(root):
                if self.parts[at].kind == "derivative":
                    found.setdefault(self.symbol(at), at)
        return list(found.values())

    def symbol(self, place: int) -> object:
        """What a derivative looks like."""
        number = self.parts[place].value
        assert isinstance(number, int)
        return self.answer.atoms[number].symbol


class LayerSlip(NamedTuple):
    """A slip: its name, the parts at which it is made, and what takes their place."""

    name: str
    kinds: tuple[str, ...]
    make: Callable[[LayerAnswer, int], Iterator[int]]


def _without(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for k in range(len(args) if len(args) > 1 else 0):
        yield answer.with_args(place, args[:k] + args[k + 1 :])


def _swapped(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for k in range(len(args) - 1):
        yield answer.with_args(place, (*args[:k], args[k + 1], args[k], *args[k + 2 :]))


def _repeated(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for k in range(len(args)):
        yield answer.with_args(place, (*args[: k + 1], *args[k:]))


def _enlarged(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for factor in answer.derivatives():
        for k in range(len(args) + 1):
            yield answer.with_args(place, (*args[:k], factor, *args[k:]))


def _transposed(answer: LayerAnswer, place: int) -> Iterator[int]:
    if not any(part.kind == "transpose" and part.args == (place,) for part in answer.parts[: answer.read]):
        yield answer.add("transpose", (place,))


def _untransposed(answer: LayerAnswer, place: int) -> Iterator[int]:
    yield answer.parts[place].args[0]


def _exchanged(answer: LayerAnswer, place: int) -> Iterator[int]:
    for other in answer.derivatives():
        if answer.symbol(other) != answer.symbol(place):
            yield other


def _with_skip(answer: LayerAnswer, place: int) -> Iterator[int]:
    """(I + A) for an A in the middle of a product."""
    args = answer.parts[place].args
    for k in range(1, len(args) - 1):
        if answer.parts[args[k]].kind in ("derivative", "transpose"):
            skip = answer.add("sum", (answer.add("identity", ()), args[k]))
            yield answer.with_args(place, (*args[:k], skip, *args[k + 1 :]))


def _multiplied(answer: LayerAnswer, place: int) -> Iterator[int]:
    """The product for the sum: the ways one after the other."""
    args = [arg for arg in answer.parts[place].args if answer.parts[arg].kind != "identity"]
    if len(args) > 1:
        yield answer.add("product", args)


def _flipped(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for k, arg in enumerate(args):
        part = answer.parts[arg]
        other = part.args[0] if part.kind == "negate" else answer.add("negate", (arg,))
        yield answer.with_args(place, (*args[:k], other, *args[k + 1 :]))


def _doubled(answer: LayerAnswer, place: int) -> Iterator[int]:
    yield answer.with_args(place, (answer.add("number", (), 2), *answer.parts[place].args))


def _entrywise(answer: LayerAnswer, place: int) -> Iterator[int]:
    args = answer.parts[place].args
    for k in range(len(args) - 1):
        pair = answer.add("hadamard", args[k : k + 2])
        yield answer.with_args(place, (*args[:k], pair, *args[k + 2 :]))


SLIPS = (
    LayerSlip("a factor is forgotten", ("product",), _without),
    LayerSlip("two factors change places", ("product",), _swapped),
    LayerSlip("a factor is written twice", ("product",), _repeated),
    LayerSlip("a factor of another way is put in", ("product",), _enlarged),
    LayerSlip("a factor is transposed", ("derivative",), _transposed),
    LayerSlip("a transpose is forgotten", ("transpose",), _untransposed),
    LayerSlip("one factor stands for another", ("derivative",), _exchanged),
    LayerSlip("a path is forgotten", ("sum",), _without),
    LayerSlip("a path is invented", ("product",), _with_skip),
    LayerSlip("paths are multiplied", ("sum",), _multiplied),
    LayerSlip("a sign is wrong", ("sum",), _flipped),
    LayerSlip("a path is counted twice", ("product",), _doubled),
    LayerSlip("matrices are multiplied entry by entry", ("product",), _entrywise),
    LayerSlip("blocks change places", ("grid",), _swapped),
    LayerSlip("a block is forgotten", ("grid",), _without),
    LayerSlip("a block is written twice", ("grid",), _repeated),
)


# --- through concrete layers ---


EDITS = {
    "extra-path": "a path is forgotten",
    "activation-for-derivative": "an activation stands for its derivative, or the reverse",
    "missing-activation-derivative": "an activation's derivative is written twice",
    "hadamard-vs-product": "one product stands for another",
    "transpose": "a transpose is wrong",
    "factor-order": "factors change places",
    "evaluation-point": "a derivative is taken elsewhere",
    "wrong-index": "an index is wrong",
    "extra-factor": "a factor is forgotten",
    "sign": "a sign is wrong",
    "wrong-factor": "one factor stands for another",
}
"""The edits that mend a mistake and that make one where there is none, with what they are then."""


class ConcreteAnswer:
    """A right answer through concrete layers that was read, to be changed.

    >>> from jacobian_chain.assessment import Exercise
    >>> from jacobian_chain.layout import MIXED
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("z = W x; h = tanh(z); L = l(h); L: scalar")).tape
    >>> inquiry = Inquiry(Exercise(tape), tape.index("L"), (tape.index("W"),), MIXED)
    >>> answer = ConcreteAnswer(inquiry, "∂L/∂W = (∇_h l ⊙ (1 - h ⊙ h)) xᵀ")
    >>> [answer.write(change, latex=False) for change in answer.changes() if change.slip == "a transpose is wrong"]
    ['((∇_h L)ᵀ ⊙ (1 - h ⊙ h)) xᵀ', '(∇_h L ⊙ (1 - h ⊙ h)) x']
    """

    def __init__(self, inquiry: Inquiry, text: str) -> None:
        exercise = inquiry.exercise
        solution = read_solution(Source(text, "answer"), exercise.scope(inquiry.of, inquiry.variables))
        worlds = [world for seed in range(8) if (world := exercise.world(seed)) is not None][:2]
        self.setting = Setting(inquiry.layout, readings=solution.readings)
        pieces = find_pieces(solution, inquiry, {})
        self.trials = [
            Trial(solution, piece.root, self.setting, inquiry.of, variable, False, worlds)
            for piece, variable in zip(pieces, inquiry.variables, strict=True)
            if piece is not None and worlds
        ]

    def write(self, change: Change, latex: bool) -> str:
        """The right side of a changed line, in the names of the answer."""
        return (write_latex if latex else write_text)(self.trials[change.line].solution, change.root, self.setting)

    def changes(self) -> Iterator[Change]:
        """What each slip makes of each line that is not right any more; what names stand for stays as it is."""
        for line, trial in enumerate(self.trials):
            view = View(trial)
            named = self._named(trial, trial.root)
            for slip, changed in _changed(view):
                if self._named(trial, changed) <= named and not trial.holds(changed):
                    yield Change(slip, line, changed)

    def _named(self, trial: Trial, root: int) -> set[tuple[object, int]]:
        """The names in a formula with what they stand for."""
        formulas = trial.formulas
        return {(formulas.nodes[at].value, formulas.keys[at]) for at in formulas.below(root) if formulas.nodes[at].kind == "name"}


def _changed(view: View) -> Iterator[tuple[str, int]]:
    """What a slip makes of a formula, by slip."""
    trial = view.trial
    has_derivatives = _has_derivatives(view, trial.root)
    for mistake in MISTAKES:
        if mistake.kind in EDITS and mistake.edits is not None:
            for edit in itertools.islice(mistake.edits(view), MOST_CHANGES):
                if not _is_likely(view, edit):
                    continue
                changed = view.replace(edit.changes)
                fits = mistake.kind in TORN or not _is_term(view, edit.changes[0][0]) or trial.value(changed) is not None
                if fits and (has_derivatives or not _has_derivatives(view, changed)):
                    yield EDITS[mistake.kind], changed
    yield from _activations(view)
    root = view.nodes[trial.root]
    factors = root.args if root.kind == "product" and not any(view.signs(trial.root)) else (trial.root,)
    has_number = len(factors) > 1 and view.nodes[factors[0]].kind == "number"
    yield "a number is wrong", view.product(*factors[1:]) if has_number else view.product(view.add("number", (), 2), *factors)


TORN = frozenset({"extra-path", "sign"})
"""Edits of sums: nobody makes others that leave terms of several shapes."""


def _is_likely(view: View, edit: Edit) -> bool:
    """Whether a person may make it."""
    place, new = edit.changes[0]
    node, tape = view.nodes[place], view.trial.solution.tape
    inner = view.core(node.args[0] if node.kind == "transpose" else place)
    is_name = view.nodes[inner].kind in ("value", "derivative")
    if view.is_point(place) and len(edit.changes) < len(view.everywhere(place, new)):
        return False  # 1 - z ⊙ h for 1 - h ⊙ h
    match edit.kind:
        case "extra-path":
            return not _is_multiple_of_value(view, edit.about[0])
        case "missing-activation-derivative":
            return not is_name and not _is_term(view, place) and not _is_diagonal(view, place)
        case "hadamard-vs-product":
            return _count_diagonals(view, new) <= _count_diagonals(view, place)
        case "activation-for-derivative":
            return not (view.is_point(place) or view.is_beside_number(place))
        case "transpose":
            return is_name and not view.is_point(inner) and not view.is_point(place)
        case "evaluation-point" | "wrong-factor":
            other = view.nodes[view.core(new)]
            if any(view.keys[new] == view.keys[arg] for parent in view.parents.get(place, ()) for arg in view.nodes[parent].args):
                return False  # y - y
            computed = other.kind == "value" and number_of(other) >= tape.leaves
            return computed if edit.kind == "evaluation-point" else is_name and other.kind == "value" and not view.is_point(place)
        case "sign":
            return view.nodes[new].kind != "negate"
    return True


def _is_multiple_of_value(view: View, place: int) -> bool:
    """Whether it is a value, its transpose or a number times that, such as 2 yᵀ in 2 ŷᵀ - 2 yᵀ."""
    factors = (
        [arg for arg in view.nodes[place].args if view.nodes[arg].kind != "number"] if view.nodes[place].kind == "product" else [place]
    )
    core = factors[-1] if factors else place
    core = view.nodes[core].args[0] if view.nodes[core].kind == "transpose" else core
    return len(factors) == 1 and view.nodes[view.core(core)].kind == "value"


def _is_diagonal(view: View, place: int) -> bool:
    """Whether it stands in a diagonal matrix, or is one."""
    return any(view.is_diag(at) for at in (place, *view.parents.get(place, ())))


def _count_diagonals(view: View, root: int) -> int:
    return sum(map(view.is_diag, view.trial.formulas.below(root)))


def _is_term(view: View, place: int) -> bool:
    """Whether it is a term of a sum, or a multiple of it is."""
    for parent in view.parents.get(place, ()):
        numbers = [view.nodes[arg].kind == "number" for arg in view.nodes[parent].args if arg != place]
        if view.nodes[parent].kind == "sum" or (view.nodes[parent].kind == "product" and all(numbers) and _is_term(view, parent)):
            return True
    return False


def _has_derivatives(view: View, root: int) -> bool:
    """Whether derivatives stand in a formula by their names."""
    return any(view.nodes[at].kind in ("derivative", "layer_jacobian") for at in view.trial.formulas.below(root))


def _activations(view: View) -> Iterator[tuple[str, int]]:
    """The value of a function where its derivative is written out, as in 1 - h ⊙ h."""
    tape = view.trial.solution.tape
    values = {}
    for value in view.trial.inside:
        step = tape.step(value)
        if step is not None and step.operation == "apply" and not step.coefficients:
            values[value] = view.trial.inner(view.add("apply", (view.value(step.inputs[0]),), (step.name, 1)))
    for place in view.places:
        written = view.nodes[view.core(place)]
        if written.kind == "apply" and parts_of(written)[1] == 0:
            continue
        inner = view.trial.inner(place)
        for value, slope in values.items():
            if inner is not None and inner == slope:
                yield EDITS["activation-for-derivative"], view.replace(((place, view.value(value)),))
