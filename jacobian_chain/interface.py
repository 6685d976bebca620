"""The Python interface: parse a composition, derive its Jacobian, check an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from jacobian_chain.derivation import MAX_FACTORS
from jacobian_chain.derivation import derive as derive_blocks
from jacobian_chain.errors import OptionError, ReadingError, Source, UnsupportedError
from jacobian_chain.jacobian import INDEX_POSITIONS, NAMINGS, Jacobian, choose, uncollected
from jacobian_chain.layout import LAYOUTS, Layout, orient
from jacobian_chain.notation import NOTATIONS, Labels, Page
from jacobian_chain.reading import Reading, read_composition
from jacobian_chain.render import Composer, write_value
from jacobian_chain.select import find_output, select
from jacobian_chain.tape import Tape
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

if TYPE_CHECKING:
    from sympy import Basic, Eq, Expr

    from jacobian_chain.answer import Answer
    from jacobian_chain.assessment import Exercise, Inquiry
    from jacobian_chain.claims import Question
    from jacobian_chain.concrete import SecondDerivative
    from jacobian_chain.pictures import Picture
    from jacobian_chain.problem import Problem
    from jacobian_chain.verdict import Verdict


class Composition:
    r"""A composition of layers that was read.

    Attributes:
        tape: its steps (:class:`jacobian_chain.tape.Tape`).
        notices: choices that were made in reading, as text.

    >>> f = parse("L2(L1(x, θ1), θ2)")
    >>> f == parse(r"L^2(L^1(x, \theta^1), \theta^2)")
    True
    >>> f
    Composition('f = L₂(L₁(x, θ₁), θ₂)')
    """

    def __init__(self, reading: Reading) -> None:
        self.tape: Tape = reading.tape
        self.notices: tuple[str, ...] = tuple(str(notice) for notice in reading.notices)

    @cached_property
    def exercise(self) -> Exercise:
        """The composition as something to check answers through concrete layers against."""
        from jacobian_chain.assessment import Exercise

        return Exercise(self.tape)

    @cached_property
    def problem(self) -> Problem:
        """The composition as something to check answers against."""
        from jacobian_chain.problem import Problem

        return Problem(self.tape)

    def __eq__(self, other: object) -> bool:
        return self.tape == other.tape if isinstance(other, Composition) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.tape.names, self.tape.steps))

    def __repr__(self) -> str:
        return f"Composition({str(self)!r})"

    def __str__(self) -> str:
        return "; ".join(f"{left} = {right}" for left, right in self.lines(TextWriter()))

    def latex(self, index: str = "as-typed") -> str:
        r"""The equations as LaTeX.

        >>> print(parse("L2(L1(x, θ1), θ2)").latex())
        f = L_{2}(L_{1}(x, \theta_{1}), \theta_{2})
        """
        writer = LatexWriter(choose("index", index, INDEX_POSITIONS))
        return writer.lines(self.lines(writer))

    def lines(self, writer: Writer) -> list[tuple[str, str]]:
        """The equations, left and right sides."""
        tape = self.tape
        labels = Labels(tape, len(tape.names) - 1, "outputs")
        lines = [
            (writer.name(labels.value(value)), write_value(tape, value, writer, labels))
            for value in range(tape.leaves, len(tape.names))
            if tape.names[value]
        ]
        if not tape.functions:
            return lines
        from jacobian_chain.formula import function_definitions

        return [*function_definitions(tape, writer), *lines]

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"

    @property
    def expr(self) -> Expr:
        """The whole composition as one SymPy expression; an error if it has several outputs.

        >>> parse("L2(L1(x, a), b)").expr.args[0]
        L2
        """
        from jacobian_chain import symbolic

        return symbolic.value_expression(self.tape, find_output(self.tape, None))

    @property
    def equations(self) -> list[Eq]:
        """One SymPy equation for each named value.

        >>> [str(equation.lhs) for equation in parse("h = f(x, a); y = g(h, b)").equations]
        ['h', 'y']
        """
        from jacobian_chain import symbolic

        return symbolic.equations(self.tape)

    def _sympy_(self) -> Expr:
        return self.expr

    @uncollected()
    def graph(
        self,
        format: str = "svg",
        edges: bool = False,
        paths: str | Iterable[str] = (),
        of: str | None = None,
        layout: str | None = None,
        notation: str | None = None,
        naming: str | None = None,
        index: str = "as-typed",
        ascii: bool = False,
    ) -> Picture:
        r"""The computation graph as text in a picture language; a notebook shows it as a picture.

        Args:
            format: ``svg``, ``tree``, ``cd``, ``tikzcd``, ``mermaid`` or ``dot``.
            edges: write the derivative of each step in each argument on its edge.
            paths: names of values, as for :func:`derive`; the paths from them to the output are marked.
            of: draw what this value depends on; by default everything.
            layout: of the derivatives; by default ``numerator``.
            notation: of the derivatives; by default ``jacobian`` for nested text, else ``partial``.
            naming: call unnamed values after the layer's ``inputs`` or ``outputs``.
            index: where an index stands: ``sub``, ``super`` or ``as-typed``.
            ascii: write nothing outside of ASCII.

        Raises:
            ReadingError: a name is not there.
            OptionError: the format cannot draw this graph, or the notation cannot write its derivatives.

        >>> print(parse("L2(L1(x, θ1), θ2)").graph("tree", edges=True, paths="θ1"))
        f *
        ┠─ θ₂  J_θ₂ L₂
        ┃
        x₂ *  J_x₂ L₂
        ┝━ θ₁ *  J_θ₁ L₁
        │
        x  J_x L₁
        >>> print(parse("x1 = f1(x, θ1); L = ℓ(x1)").graph("cd"))
        \begin{CD}
        x @>>> x_{1} @>>> L \\
        @. @AAA \\
        @. \theta_{1}
        \end{CD}
        """
        from jacobian_chain.graph import graph_of
        from jacobian_chain.pictures import FORMATS, draw_picture

        form = FORMATS[choose("format", format, FORMATS)]
        for name, value in (("layout", layout), ("notation", notation)):
            if value is not None and not edges:
                raise OptionError(f"--{name} is about the derivatives on the edges", hint="ask for them with --edges")
        chosen = choose("notation", notation or ("jacobian" if self.tape.nested else "partial"), NOTATIONS)
        named = naming or ("inputs" if chosen == "jacobian" and self.tape.nested else "outputs")
        graph = graph_of(self.tape, of, (paths,) if isinstance(paths, str) else paths)
        asked = LAYOUTS[choose("layout", layout or "numerator", LAYOUTS)]
        choose("naming", named, NAMINGS)
        return draw_picture(graph, form, NOTATIONS[chosen], asked, named, choose("index", index, INDEX_POSITIONS), edges, ascii)

    def second(self, one: str, other: str, of: str | None = None) -> SecondDerivative:
        r"""The second derivatives of a scalar by two values: rows belong to ``one``, columns to ``other``, matrices on ``vec``.

        Raises:
            OptionError: the output is no scalar.

        >>> print(parse("f = exp(a^T x)").second("x", "x").latex())
        \frac{\partial^{2} f}{\partial x \partial x^{\top}} = f a a^{\top}
        """
        from jacobian_chain.concrete import SecondDerivative

        return SecondDerivative(self.tape, find_output(self.tape, of), self._find(one), self._find(other))

    def hessian_along(self, direction: str, wrt: str, of: str | None = None) -> SecondDerivative:
        """The Hessian of a scalar by one value times a direction of that name, without the Hessian.

        >>> print(parse("f = exp(a^T x)").hessian_along("v", "x"))
        ∇²_x f v = (aᵀ v) f a
        """
        from jacobian_chain.concrete import SecondDerivative

        return SecondDerivative(self.tape, find_output(self.tape, of), self._find(wrt), None, direction)

    def _find(self, name: str) -> int:
        """The one value that a name stands for."""
        selection = select(self.tape, (name,))
        if len(selection.variables) != 1:
            raise OptionError(f"second derivatives are by one value at a time, and {name} stands for {len(selection.variables)}")
        return selection.variables[0]


@uncollected()
def parse(text: str | Basic | Iterable[Basic]) -> Composition:
    """Read a composition: text, a SymPy expression, or a list of SymPy equations.

    Raises:
        ReadingError: with line, column and a guess at the slip.

    >>> parse("x1 = f1(x, θ1); L = ℓ(x1)").tape.names
    ('x', 'θ1', 'x1', 'L')
    """
    if isinstance(text, str):
        return Composition(read_composition(Source(text)))
    from jacobian_chain import symbolic

    return Composition(read_composition(Source(symbolic.to_text(text), "expression")))


@uncollected()
def derive(
    composition: Composition | str,
    wrt: str | Iterable[str] = (),
    of: str | None = None,
    layout: str = "numerator",
    max_factors: int = MAX_FACTORS,
) -> Jacobian:
    """The block Jacobian of a composition: for each variable the sum over all paths of the products of partial Jacobians.

    Args:
        composition: a composition, or its text.
        wrt: names of variables: leaves, intermediate values (then held free), groups, prefixes (``θ``), ``all``; by default the parameters.
        of: the value to differentiate; by default the one that nothing uses.
        layout: ``numerator``, ``denominator`` or ``mixed``.
        max_factors: most factors that are written out; beyond it shared adjoints get names.

    Raises:
        ReadingError: a name is not there.
        OptionError: the output is not unique.

    >>> print(derive("x2 = x1 + f2(x1, θ2); y = g(x2)", wrt="x1"))
    ∂y/∂x₁ = ∂y/∂x₂ · ( I + ∂f₂/∂x₁ )
    """
    tape = (parse(composition) if isinstance(composition, str) else composition).tape
    selection = select(tape, (wrt,) if isinstance(wrt, str) else wrt)
    kind = Jacobian
    if not tape.is_of_layers:
        from jacobian_chain.concrete import ConcreteJacobian

        kind = ConcreteJacobian
    return kind(tape, find_output(tape, of), selection, LAYOUTS[choose("layout", layout, LAYOUTS)], max_factors)


@uncollected()
def check(
    composition: Composition | str,
    answer: str,
    wrt: str | Iterable[str] = (),
    of: str | None = None,
    layout: str = "mixed",
    where: str | Iterable[str] = (),
    reveal: bool = False,
) -> Verdict:
    r"""The verdict on a hand-derived answer: true if it is right in the layout asked for.

    Args:
        composition: what was differentiated.
        answer: one formula, a chain of equalities, or lines of them, as typed.
        wrt: the variables, as for :func:`derive`.
        of: the value that is differentiated; by default the one that nothing uses.
        layout: ``numerator``, ``denominator`` or ``mixed``.
        where: lines ``name = meaning`` for names that the composition does not have.
        reveal: whether the verdict holds the right answer.

    Raises:
        ReadingError: the answer cannot be read, or has a name that nobody knows.
        LimitError: it is too long.

    >>> verdict = check("L2(L1(x, θ1), θ2)", r"J_{x^2} L^2 \cdot J_{\theta^1} L^1", wrt="θ1")
    >>> bool(verdict), verdict.holds_in
    (True, ('numerator', 'mixed'))
    >>> check("L2(L1(x, θ1), θ2)", "J_{θ_1} L_1", wrt="θ1")
    wrong: J_θ₁ L₁
      J_{θ_1} L_1: a factor is missing: J_x₂ L₂ (missing-factor)
    """
    composed = _parsed(composition) if isinstance(composition, str) else composition
    tape = composed.tape
    selection = select(tape, (wrt,) if isinstance(wrt, str) else wrt)
    asked = LAYOUTS[choose("layout", layout, LAYOUTS)]
    lines = [line for line in (where.splitlines() if isinstance(where, str) else where) if line.strip()]
    output = find_output(tape, of)
    if tape.is_of_layers:
        from jacobian_chain.checking import judge
        from jacobian_chain.claims import Question

        question = Question(composed.problem, output, selection.variables, selection.label, asked)
        try:
            return judge(question, Source(answer, "answer"), lines, write_right_answer, reveal)
        except UnsupportedError as error:  # it speaks of more than products of layers
            unread = error
    else:
        unread = None
    from jacobian_chain.assessment import Inquiry, assess

    inquiry = Inquiry(composed.exercise, output, selection.variables, asked, bool(wrt))
    try:
        return assess(inquiry, Source(answer, "answer"), lines, write_right_block, reveal)
    except ReadingError as error:
        raise unread or error from None


@lru_cache(maxsize=32)
def _parsed(text: str) -> Composition:
    """A composition that may be asked about again."""
    return parse(text)


def judge_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on one line of a file, as plain data."""
    verdict = check(
        record["composition"],
        record["answer"],
        record.get("wrt") or (),
        record.get("of"),
        record.get("layout") or "mixed",
        record.get("where") or (),
    )
    return verdict.to_json()


def write_right_block(inquiry: Inquiry, position: int) -> str | None:
    """The right block of one variable through concrete layers as LaTeX, with lines for the names that it gives to parts."""
    from jacobian_chain.concrete import ConcreteJacobian

    tape, variable = inquiry.exercise.tape, inquiry.variables[position]
    jacobian = ConcreteJacobian(tape, inquiry.of, select(tape, (tape.names[variable],)), inquiry.layout, MAX_FACTORS)
    block = jacobian.write_block(0, LatexWriter, {})
    page = jacobian.latex()
    return page if page.count("&=") > 1 else block


def write_right_answer(question: Question, answer: Answer, layout: Layout, points: bool) -> str | None:
    """The right answer as LaTeX in the notation of an answer, None where it would be too long."""
    tape = question.problem.tape
    signs = {atom.sign for atom in answer.atoms if not atom.left}
    chosen = "jacobian" if "J" in signs or (tape.nested and not signs & {"∂", "d"}) else "slots" if signs == {"slot"} else "partial"
    derivation = derive_blocks(tape, question.of, question.variables, question.label)
    if derivation.overflow:
        return None
    labels = Labels(tape, question.of, answer.vocabulary.naming)
    try:
        page = Page(derivation, layout, NOTATIONS[chosen], labels, points)
    except OptionError:
        page = Page(derivation, layout, NOTATIONS["slots"], labels, points)
    maps = orient(derivation.maps, tape.shapes[question.of], layout)
    writer = LatexWriter()
    composer = Composer(page, writer, maps, derivation.blocks)
    blocks = [composer.text(root, variable) for root, variable in zip(derivation.blocks, derivation.variables, strict=True)]
    return blocks[0] if len(blocks) == 1 else f"{writer.signs.open}{writer.signs.bar.join(blocks)}{writer.signs.close}"
