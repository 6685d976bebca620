"""Problems with their solutions, and with wrong answers that people could give, for a teacher.

A wrong answer is a right one with a slip (:mod:`jacobian_chain.slips`). What is wrong with it the checker says: it judges each as it would
judge a student's, and what it does not find wrong, or cannot name, is not taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jacobian_chain.article import Article, Display, Equation, Heading, Math, Paragraph, Part, flatten
from jacobian_chain.assessment import Inquiry
from jacobian_chain.concrete import ConcreteJacobian
from jacobian_chain.dense import ELEMENTWISE
from jacobian_chain.errors import ChainError, OptionError
from jacobian_chain.exercises import Draws, Level, set_task
from jacobian_chain.exposition import Page as ConcretePage
from jacobian_chain.factors import write_slopes
from jacobian_chain.formats import FORMATS, write_article
from jacobian_chain.grading import encode_json
from jacobian_chain.interface import Composition, check, derive, parse
from jacobian_chain.jacobian import Jacobian
from jacobian_chain.layout import LAYOUTS, orient
from jacobian_chain.notation import Labels
from jacobian_chain.render import BLOCKS_A_LINE, Composer, explain_names
from jacobian_chain.slips import Change, ConcreteAnswer, LayerAnswer
from jacobian_chain.tape import Shape
from jacobian_chain.verdict import Verdict
from jacobian_chain.writers import LatexWriter, TextWriter, Writer, to_ascii

MOST_TRIED = 12
"""How many slips are tried for each wrong answer that is asked for."""

UNSPECIFIC = frozenset({"other", "does-not-follow"})
"""Kinds of findings that are no reason."""


class Line(NamedTuple):
    """Both sides of an equation, as text and as LaTeX."""

    left: str
    right: str
    latex_left: str
    latex_right: str


class Reply(NamedTuple):
    """An answer line by line, as text and as LaTeX; the first ``blocks`` lines say what is asked, the others what names in them mean."""

    lines: tuple[Line, ...]
    blocks: int

    @property
    def text(self) -> str:
        r"""The answer as it is judged.

        >>> Reply((Line("dL/dx", "A^T y", "", ""), Line("dL/dA", "y x^T", "", "")), 2).text
        'dL/dx = A^T y\ndL/dA = y x^T'
        """
        return "\n".join(f"{line.left} = {line.right}" for line in self.lines)

    @property
    def latex(self) -> str:
        """The same as LaTeX."""
        return "\n".join(f"{line.latex_left} = {line.latex_right}" for line in self.lines)

    def with_right(self, number: int, text: str, latex: str) -> Reply:
        """The same with another right side of one line."""
        line = self.lines[number]._replace(right=text, latex_right=latex)
        return self._replace(lines=(*self.lines[:number], line, *self.lines[number + 1 :]))


class Wrong(NamedTuple):
    """A wrong answer and what the checker says of it; ``line`` is the one that the slip changed, -1 for all."""

    reply: Reply
    verdict: Verdict
    line: int = -1

    @property
    def kind(self) -> str:
        """The mistake."""
        return self.verdict.findings[0].kind

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return self.verdict.findings[0].message


class Assignment(NamedTuple):
    """A problem with its solution and wrong answers.

    Attributes:
        name: which one it is.
        source: the composition as typed.
        composition: the same, read.
        wrt: the names to differentiate by, as typed.
        jacobian: the derivative in the layout asked for.
        solution: the right answer.
        legend: what names of values mean that the problem does not name, as text and as LaTeX.
        wrong: wrong answers.
    """

    name: str
    source: str
    composition: Composition
    wrt: tuple[str, ...]
    jacobian: Jacobian
    solution: Reply
    legend: tuple[tuple[str, str], ...] = ()
    wrong: tuple[Wrong, ...] = ()


def make_assignment(name: str, level: Level, layout: str = "mixed", notation: str | None = None, wrong: int = 0) -> Assignment:
    """The problem of a name at a level, with its solution and up to so many wrong answers; the same wherever and whenever it is made.

    Args:
        name: any text; another one gives another problem.
        level: what the problem is about.
        layout: ``numerator``, ``denominator`` or ``mixed``.
        notation: how factors are written, for layers without a definition.
        wrong: how many wrong answers.

    Raises:
        OptionError: the notation cannot write this problem's solution.

    >>> assignment = make_assignment("7-1", Level(2), wrong=2)
    >>> str(assignment.composition)
    'a₁ = G₁(x, θ₁); a₂ = G₂(a₁, θ₂); C = ℓ(a₂)'
    >>> print(assignment.solution.text)
    ∂C/∂θ₁ = (∂a₁/∂θ₁)ᵀ · (∂a₂/∂a₁)ᵀ · ∂C/∂a₂
    ∂C/∂θ₂ = (∂a₂/∂θ₂)ᵀ · ∂C/∂a₂
    """
    if level.concrete and notation is not None:
        raise OptionError("--notation is for layers without a definition", hint="leave it away, or leave --concrete away")
    task = set_task(name, level._replace(scalar=level.scalar or notation == "nabla"))  # ∇ is for numbers
    composition = parse(task.composition)
    jacobian = derive(composition, task.wrt, layout=layout)
    solution, legend = write_reply(jacobian, notation)
    assignment = Assignment(name, task.composition, composition, task.wrt, jacobian, solution, legend)
    return assignment._replace(wrong=find_wrong(assignment, wrong, notation)) if wrong else assignment


# --- right answers ---


def write_reply(jacobian: Jacobian, notation: str | None = None) -> tuple[Reply, tuple[tuple[str, str], ...]]:
    """A right answer as text and LaTeX, and what the names mean that it makes up.

    Blocks stand in one row, or on lines of their own where they are many, or form a column.
    """
    write = _write_concrete if isinstance(jacobian, ConcreteJacobian) else _write_layers
    text, blocks, legend = write(jacobian, TextWriter("sub"), notation)  # x² would be a power to some
    latex, _, latex_legend = write(jacobian, LatexWriter(), notation)
    lines = tuple(Line(*one, *other) for one, other in zip(text, latex, strict=True))
    return Reply(lines, blocks), tuple(zip(legend, latex_legend, strict=True))


_Written = tuple[list[tuple[str, str]], int, list[str]]


def _write_concrete(jacobian: Jacobian, writer: Writer, _notation: str | None) -> _Written:
    assert isinstance(jacobian, ConcreteJacobian)
    page = ConcretePage(jacobian.spelled_out, writer, Labels(jacobian.tape, jacobian.output, "outputs"))
    blocks = page.lines()
    return [(line.left, line.right) for line in (*blocks, *page.definitions(), *write_slopes(page))], len(blocks), []


def _write_layers(jacobian: Jacobian, writer: Writer, notation: str | None) -> _Written:
    page, _ = jacobian.write(writer, TextWriter(), {"notation": notation})
    derivation, layout, signs = page.derivation, page.layout, writer.signs
    of = derivation.tape.shapes[derivation.output]
    maps = orient(derivation.maps, of, layout)
    composer = Composer(page, writer, maps, (*derivation.blocks, *(line.map for line in derivation.definitions)))
    blocks = [
        (composer.left_side((variable,), ""), composer.text(root, variable))
        for variable, root in zip(derivation.variables, derivation.blocks, strict=True)
    ]
    apart = layout.transposes(of) or (of.is_scalar and layout.transposes_scalar is not layout.transposes_array)
    if not apart and 1 < len(blocks) <= BLOCKS_A_LINE:
        row = signs.open + signs.bar.join(right for _, right in blocks) + signs.close
        blocks = [(composer.left_side(derivation.variables, derivation.label), row)]
    definitions = [(left, "".join(right)) for left, right in map(composer.equation, derivation.definitions)]
    return [*blocks, *definitions], len(blocks), [flatten(names) for names in explain_names(page.labels, writer)]


# --- wrong answers ---


def find_wrong(assignment: Assignment, count: int, notation: str | None = None) -> tuple[Wrong, ...]:
    """Up to ``count`` wrong answers, of as many kinds as can be found."""
    draws = Draws(f"{assignment.name}: wrong answers")
    answer, slipped = _slip(assignment, notation)
    waiting = draws.order([draws.order(changes) for changes in slipped.values()])
    found: list[Wrong] = []
    spare: list[Wrong] = []
    texts, kinds = {assignment.solution.text}, set[str]()
    tried = 0
    while waiting and len(found) < count and tried < MOST_TRIED * count:
        for changes in waiting:
            change = changes.pop()
            if isinstance(change, Change):
                line, written = change.line, [answer.write(change, latex) for latex in (False, True)]
                reply = assignment.solution.with_right(line, *written)
            else:
                reply, line = change
            if reply.text in texts:
                continue
            texts.add(reply.text)
            tried += 1
            wrong = _judge(assignment, reply, line)
            if wrong is not None and wrong.kind not in kinds:
                found.append(wrong)
                kinds.add(wrong.kind)
            elif wrong is not None:
                spare.append(wrong)
            if len(found) == count or tried >= MOST_TRIED * count:
                break
        waiting = [changes for changes in waiting if changes]
    return (*found, *spare[: count - len(found)])


def _judge(assignment: Assignment, reply: Reply, line: int) -> Wrong | None:
    """A wrong answer with the verdict on it; None if it is not wrong, or nobody could say why."""
    layout = assignment.jacobian.layout.name
    try:
        verdict = check(assignment.composition, reply.text, assignment.wrt, layout=layout)
    except ChainError:
        return None
    # one slip that it takes several to explain would be explained badly
    named = len(verdict.findings) == 1 and verdict.findings[0].kind not in UNSPECIFIC
    return Wrong(reply, verdict, line) if named and verdict.verdict in ("wrong", "correct-other-layout") else None


_Slipped = dict[str, list["Change | tuple[Reply, int]"]]
"""Changes of one line, and whole answers with the line in which they differ, by slip."""


def _slip(assignment: Assignment, notation: str | None) -> tuple[LayerAnswer | ConcreteAnswer, _Slipped]:
    """The right answer as it is changed, and what slips make of it."""
    right, jacobian = assignment.solution, assignment.jacobian
    found: _Slipped = {}
    answer: LayerAnswer | ConcreteAnswer
    if isinstance(jacobian, ConcreteJacobian):
        inquiry = Inquiry(assignment.composition.exercise, jacobian.output, jacobian.selection.variables, jacobian.layout)
        answer = ConcreteAnswer(inquiry, right.latex)
    else:
        page, _ = jacobian.write(TextWriter(), TextWriter(), {"notation": notation})
        answer = LayerAnswer(assignment.composition.problem, page.labels.naming, right.latex, jacobian.layout)
    for change in answer.changes():
        if change.line < right.blocks:
            found.setdefault(change.slip, []).append(change)
    for name in LAYOUTS:
        if name != jacobian.layout.name:
            other, _ = write_reply(jacobian.in_layout(name), notation)
            _slip_layout(right, other, found)
    _slip_lines(right, found)
    return answer, found


def _slip_layout(right: Reply, other: Reply, found: _Slipped) -> None:
    """All right sides of another layout, and one of them."""
    if len(other.lines) != len(right.lines) or right.blocks < len(right.lines):
        return
    changed = right
    for number, line in enumerate(other.lines):
        changed = changed.with_right(number, line.right, line.latex_right)
        if right.blocks > 1:
            one = right.with_right(number, line.right, line.latex_right)
            found.setdefault("one block is in another layout", []).append((one, number))
    found.setdefault("all is in another layout", []).append((changed, -1))


def _slip_lines(right: Reply, found: _Slipped) -> None:
    """Lines with each other's right sides, and one line less."""
    for one, other in itertools.combinations(range(right.blocks), 2):
        a, b = right.lines[one], right.lines[other]
        swapped = right.with_right(one, b.right, b.latex_right).with_right(other, a.right, a.latex_right)
        found.setdefault("blocks change places", []).append((swapped, -1))
    for number in range(right.blocks if right.blocks > 1 else 0):
        left = Reply((*right.lines[:number], *right.lines[number + 1 :]), right.blocks - 1)
        found.setdefault("a block is forgotten", []).append((left, -1))


# --- what is shown ---


def describe_assignment(assignment: Assignment) -> Iterator[dict[str, Any]]:
    """The right answer and the wrong ones as records that :mod:`jacobian_chain.grading` reads, each with its verdict and the reason."""
    replies = [(assignment.name, assignment.solution, "correct", "", "")]
    for number, wrong in enumerate(assignment.wrong, 1):
        replies.append((f"{assignment.name}-w{number}", wrong.reply, wrong.verdict.verdict, wrong.kind, wrong.reason))
    tape, jacobian = assignment.composition.tape, assignment.jacobian
    for id, reply, verdict, kind, reason in replies:
        yield {
            "id": id,
            "composition": assignment.source,
            "of": tape.names[jacobian.output] or None,
            "wrt": list(assignment.wrt),
            "layout": jacobian.layout.name,
            "answer": reply.text,
            "verdict": verdict,
            "kind": kind or None,
            "reason": reason or None,
        }


def worksheet_article(assignments: Sequence[Assignment], language: str = "latex", solutions: bool = True, ascii: bool = False) -> Article:
    """A worksheet: each problem, and with ``solutions`` its solution and the wrong answers with their reasons.

    Args:
        assignments: in their order.
        language: of the formulas, ``latex`` or ``text``.
        solutions: whether what the students should find is shown.
        ascii: whether reasons, which are prose with formulas in plain text, are in ASCII, which is all that TeX takes without thought.
    """
    latex = language == "latex"
    parts: list[Part] = []
    for assignment in assignments:
        parts += _pose(assignment, latex)
        if solutions:
            parts += [Heading(("Solution",)), _display(assignment.solution.lines, latex), *_explain(assignment.legend, latex)]
            parts += [Heading(("Wrong answers",))] if assignment.wrong else []
            for wrong in assignment.wrong:
                reason = to_ascii(wrong.reason) if ascii else wrong.reason
                lines = wrong.reply.lines if wrong.line < 0 else wrong.reply.lines[wrong.line : wrong.line + 1]
                parts += [Paragraph((f"{wrong.kind}: {reason}",)), _display(lines, latex)]
    return Article(("Worksheet",), tuple(parts), language)


def _pose(assignment: Assignment, latex: bool) -> list[Part]:
    """The problem: the composition, and what is asked."""
    jacobian, tape = assignment.jacobian, assignment.composition.tape
    writer = LatexWriter() if latex else TextWriter()
    labels = Labels(tape, jacobian.output, "outputs")

    def named(value: int) -> Math:
        return Math(writer.name(labels.value(value)))

    equations = tuple(Equation(left, right) for left, right in assignment.composition.lines(writer))
    asked: list[str | Math] = ["Differentiate ", named(jacobian.output), " by "]
    for k, variable in enumerate(jacobian.selection.variables):
        asked += [", " if k else "", named(variable)]
    asked.append(f", in {jacobian.layout.name} layout: {jacobian.layout.description}.")
    parts: list[Part] = [Heading((f"Problem {assignment.name}",)), Display(equations)]
    facts = [(named(value), f" is {_describe(tape.shapes[value])}") for value in range(tape.leaves) if tape.declared[value]]
    facts += [(named(value), " is a label: its entries sum to one") for value, fact in tape.facts if fact.startswith("label")]
    unknown = dict.fromkeys(step.name for step in tape.steps if step.operation == "apply" and step.name not in ELEMENTWISE)
    facts += [(Math(writer.name(labels.name(name))), " is applied entry by entry") for name in unknown]
    if facts:
        known = [piece for k, fact in enumerate(facts) for piece in ("; " if k else "", *fact)]
        parts.append(Paragraph((*known, ".")))
    return [*parts, Paragraph(tuple(asked))]


def _describe(shape: Shape) -> str:
    """A shape in words."""
    if shape.is_scalar:
        return "a number"
    return f"{shape.rows} x {shape.columns}" if shape.is_matrix else f"a column of {shape.rows}"


def _display(lines: Sequence[Line], latex: bool) -> Display:
    return Display(tuple(Equation(line.latex_left, line.latex_right) if latex else Equation(line.left, line.right) for line in lines))


def _explain(legend: Sequence[tuple[str, str]], latex: bool) -> list[Part]:
    """What made-up names mean."""
    if not legend:
        return []
    texts: list[str | Math] = ["where "]
    for k, names in enumerate(legend):
        texts += [", " if k else "", Math(names[latex])]
    return [Paragraph(tuple(texts))]


# --- files ---


def write_worksheet(assignments: Sequence[Assignment], form: str, ascii: bool = False, solutions: bool = True) -> str:
    """A worksheet in one of :data:`jacobian_chain.formats.FORMATS`, or ``jsonl``: one line for each answer, right or wrong."""
    if form == "jsonl":
        lines = [encode_json(record, ascii).decode() for assignment in assignments for record in describe_assignment(assignment)]
        return "".join(lines).rstrip("\n")
    return write_article(worksheet_article(assignments, FORMATS[form].language, solutions, ascii), form, ascii)
