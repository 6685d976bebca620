"""The Python interface: parse a composition, derive its Jacobian, show and export it."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jacobian_chain.derivation import MAX_FACTORS, Derivation, expand_derivation
from jacobian_chain.derivation import derive as derive_blocks
from jacobian_chain.errors import ChainError, OptionError, Source, suggest
from jacobian_chain.layout import LAYOUTS, Layout, orient
from jacobian_chain.maps import ZERO
from jacobian_chain.names import read_key
from jacobian_chain.notation import NOTATIONS, Labels, Page, matrix_form, shape_of_block
from jacobian_chain.reading import Reading, read_composition
from jacobian_chain.render import Composer, render, write_value
from jacobian_chain.select import Selection, find_output, select
from jacobian_chain.tape import Shape, Tape
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

if TYPE_CHECKING:
    from sympy import Basic, BlockMatrix, Eq, Expr

    from jacobian_chain.answer import Answer
    from jacobian_chain.checking import Verdict
    from jacobian_chain.claims import Question
    from jacobian_chain.problem import Problem

INDEX_POSITIONS = ("as-typed", "sub", "super")
NAMINGS = ("inputs", "outputs")
FORMS = ("latex", "unicode")
LEGEND = 12
"""How many made-up names are explained."""


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile, in the whole process: what is made here has no cycles, and large tapes are gone over in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
        return "; ".join(f"{left} = {right}" for left, right in self._lines(TextWriter()))

    def latex(self, index: str = "as-typed") -> str:
        r"""The equations as LaTeX.

        >>> print(parse("L2(L1(x, θ1), θ2)").latex())
        f = L_{2}(L_{1}(x, \theta_{1}), \theta_{2})
        """
        writer = LatexWriter(_choose("index", index, INDEX_POSITIONS))
        return writer.lines(self._lines(writer))

    def _lines(self, writer: Writer) -> list[tuple[str, str]]:
        tape = self.tape
        labels = Labels(tape, len(tape.names) - 1, "outputs")
        return [
            (writer.name(labels.value(value)), write_value(tape, value, writer, labels))
            for value in range(tape.leaves, len(tape.names))
            if tape.names[value]
        ]

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


class Block:
    """One block of a Jacobian: the derivative by one variable.

    Attributes:
        variable: its name.
        shape: rows and columns, as text.
    """

    def __init__(self, jacobian: Jacobian, position: int) -> None:
        derivation = jacobian.derivation
        self.variable = derivation.tape.names[derivation.variables[position]]
        self.shape: Shape = jacobian._shape(position)
        self._jacobian = jacobian
        self._position = position

    @property
    def is_zero(self) -> bool:
        """Whether the output does not depend on the variable."""
        return self._jacobian.derivation.blocks[self._position] == ZERO

    def latex(self, **options: Any) -> str:
        """The block without its left side; the options are those of :meth:`Jacobian.latex`."""
        page, writer = self._jacobian._page(LatexWriter, options)
        return self._write(page, writer)

    def _write(self, page: Page, writer: Writer) -> str:
        derivation = page.derivation
        root = derivation.blocks[self._position]
        composer = Composer(page, writer, orient(derivation.maps, derivation.tape.shapes[derivation.output], page.layout), (root,))
        return composer.text(root, derivation.variables[self._position])

    def to_sympy(self) -> Expr:
        """The block as a SymPy matrix expression."""
        from jacobian_chain import symbolic

        return symbolic.blocks(self._jacobian.derivation, self._jacobian.layout)[self._position]

    def __str__(self) -> str:
        return self._write(*self._jacobian._page(TextWriter, self._jacobian._shown()))

    def __repr__(self) -> str:
        return f"Block({str(self)!r}, shape=({self.shape.rows}, {self.shape.columns}))"

    def _repr_latex_(self) -> str:
        return f"$${self.latex(**self._jacobian._shown())}$$"


class Blocks(Mapping[str, Block]):
    """The blocks of a Jacobian by variable, in any spelling of its name."""

    def __init__(self, jacobian: Jacobian) -> None:
        tape = jacobian.derivation.tape
        self._blocks = {tape.names[value]: Block(jacobian, k) for k, value in enumerate(jacobian.derivation.variables)}

    def __getitem__(self, name: str) -> Block:
        try:
            key = name if name in self._blocks else read_key(name)
        except ChainError:
            key = None
        if key not in self._blocks:
            raise KeyError(f"{name}: {suggest(key or name, self._blocks) or 'the blocks are ' + ', '.join(self._blocks)}")
        return self._blocks[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __repr__(self) -> str:
        return f"Blocks({self._blocks!r})"


class Sheet(NamedTuple):
    """A Jacobian as written: the text, what made-up names stand for, and facts worth knowing."""

    text: str
    legend: tuple[str, ...]
    notices: tuple[str, ...]


class Jacobian:
    """The block Jacobian of a composition in one layout.

    Attributes:
        tape: the composition.
        output: the value that is differentiated.
        selection: the variables.
        layout: the layout in which it is shown and exported.
    """

    def __init__(self, tape: Tape, output: int, selection: Selection, layout: Layout, limit: int = MAX_FACTORS) -> None:
        self.tape = tape
        self.output = output
        self.selection = selection
        self.layout = layout
        self._limit = limit

    @cached_property
    def derivation(self) -> Derivation:
        """The blocks as words of linear maps, in numerator layout."""
        return derive_blocks(self.tape, self.output, self.selection.variables, self.selection.label, limit=self._limit)

    @property
    def notices(self) -> tuple[str, ...]:
        """Facts worth knowing: zero blocks, adjoints that got names."""
        return tuple(derivation_notices(self.derivation))

    @cached_property
    def blocks(self) -> Blocks:
        """The blocks by the name of their variable.

        >>> J = derive(parse("L2(L1(x, θ1), θ2)"), wrt="θ")
        >>> J.blocks["theta_1"]
        Block('J_x₂ L₂ · J_θ₁ L₁', shape=(n_f, n_θ1))
        """
        return Blocks(self)

    def in_layout(self, layout: str) -> Jacobian:
        """The same Jacobian in another layout.

        >>> print(derive(parse("g(f(x))"), wrt="x").in_layout("denominator"))
        (J_x y)ᵀ = (J_x f)ᵀ · (J_x₂ g)ᵀ
        """
        return Jacobian(self.tape, self.output, self.selection, LAYOUTS[_choose("layout", layout, LAYOUTS)], self._limit)

    @_uncollected()
    def latex(
        self,
        notation: str | None = None,
        naming: str | None = None,
        index: str = "as-typed",
        points: bool = False,
        shared: bool = False,
        expand: bool = False,
        vec: bool = False,
    ) -> str:
        r"""The Jacobian as LaTeX for a display.

        Args:
            notation: ``jacobian``, ``partial``, ``total``, ``nabla`` or ``slots``; by default ``jacobian`` for nested text, else
                ``partial``.
            naming: call unnamed values after the layer's ``inputs`` or ``outputs``.
            index: where an index stands: ``sub``, ``super`` or ``as-typed``.
            points: show where each factor is evaluated.
            shared: give each adjoint a name, one line for each.
            expand: distribute sums: one product for each path.
            vec: write the derivative of a scalar by a matrix on the vector of its columns too.

        Raises:
            OptionError: the notation cannot write this Jacobian.
            LimitError: ``expand`` gives too many factors.

        >>> J = derive(parse("x1 = f1(x, θ1); L = ℓ(x1)"), wrt="θ1", layout="denominator")
        >>> print(J.latex(notation="partial"))
        \frac{\partial L}{\partial \theta_{1}} = \frac{\partial x_{1}}{\partial \theta_{1}} \frac{\partial L}{\partial x_{1}}
        """
        options: dict[str, Any] = {
            "notation": notation,
            "naming": naming,
            "index": index,
            "points": points,
            "shared": shared,
            "expand": expand,
            "vec": vec,
        }
        return self.sheet("latex", **options).text

    def unicode(self, ascii: bool = False, **options: Any) -> str:
        """The Jacobian as text for a terminal; options as for :meth:`latex`."""
        return self.sheet("unicode", ascii, **options).text

    @_uncollected()
    def sheet(self, form: str = "latex", ascii: bool = False, **options: Any) -> Sheet:
        """The Jacobian as ``latex`` or ``unicode`` with what a reader must know beside it; options as for :meth:`latex`.

        With ``ascii`` nothing outside of ASCII is written.

        >>> derive(parse("L2(L1(x, a), b)"), wrt="a").sheet("unicode").legend
        ('x₂ = L₁(x, a)',)
        """
        page, writer = self._page(LatexWriter if _choose("form", form, FORMS) == "latex" else TextWriter, options)
        plain = TextWriter(writer.index, ascii=ascii)
        text = render(page, writer if form == "latex" else plain)
        return Sheet(text, tuple(_explain(page.labels, plain)), (*derivation_notices(page.derivation), *page.notices))

    def to_json(self, **options: Any) -> dict[str, Any]:
        """The Jacobian as plain data (see :mod:`jacobian_chain.export`); options as for :meth:`latex`."""
        from jacobian_chain.export import describe

        page, writer = self._page(LatexWriter, options)
        assert isinstance(writer, LatexWriter)
        return describe(page, writer, [*derivation_notices(page.derivation), *page.notices])

    def to_sympy(self) -> BlockMatrix:
        """A SymPy ``BlockMatrix`` of unevaluated products (see :mod:`jacobian_chain.symbolic`).

        >>> print(derive(parse("g(f(x, a), b)"), wrt=["a", "b"]).to_sympy().shape)
        (n_y, n_a + n_b)
        """
        from jacobian_chain import symbolic

        return symbolic.block_matrix(self.derivation, self.layout)

    def _sympy_(self) -> BlockMatrix:
        return self.to_sympy()

    def __str__(self) -> str:
        return self.unicode(**self._shown())

    def __repr__(self) -> str:
        return f"<Jacobian in {self.layout.name} layout: {self}>"

    def _repr_latex_(self) -> str:
        return f"$${self.latex(**self._shown())}$$"

    def _shape(self, position: int) -> Shape:
        return shape_of_block(self.derivation, self.layout, position, self._matrix_form)[0]

    @cached_property
    def _matrix_form(self) -> frozenset[int]:
        return matrix_form(self.derivation, self.layout)

    def _shown(self) -> dict[str, Any]:
        """The options of a representation: the notation by default, or slots where that cannot write this Jacobian."""
        try:
            self._page(TextWriter, {})
        except OptionError:
            return {"notation": "slots"}
        return {}

    def _page(self, writer: type[Writer], options: Mapping[str, Any]) -> tuple[Page, Writer]:
        return self._make_page(**options), writer(_choose("index", options.get("index", "as-typed"), INDEX_POSITIONS))

    def _make_page(
        self,
        notation: str | None = None,
        naming: str | None = None,
        points: bool = False,
        shared: bool = False,
        expand: bool = False,
        vec: bool = False,
        index: str = "as-typed",  # noqa: ARG002  (for the writer)
    ) -> Page:
        """The page of the derivation, with what the options leave open filled in."""
        tape = self.tape
        if shared and expand:
            raise OptionError("shared adjoints and expanded sums exclude each other")
        if shared:
            derivation = derive_blocks(tape, self.output, self.selection.variables, self.selection.label, shared=True)
        else:
            derivation = expand_derivation(self.derivation, self._limit) if expand else self.derivation
        chosen = _choose("notation", notation or ("jacobian" if tape.nested else "partial"), NOTATIONS)
        named = naming or ("inputs" if chosen == "jacobian" and tape.nested else "outputs")
        labels = Labels(tape, self.output, _choose("naming", named, NAMINGS))
        return Page(derivation, self.layout, NOTATIONS[chosen], labels, points, vec)


@_uncollected()
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


@_uncollected()
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
    return Jacobian(tape, find_output(tape, of), selection, LAYOUTS[_choose("layout", layout, LAYOUTS)], max_factors)


@_uncollected()
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
    from jacobian_chain.checking import judge
    from jacobian_chain.claims import Question

    composed = _parsed(composition) if isinstance(composition, str) else composition
    tape = composed.tape
    selection = select(tape, (wrt,) if isinstance(wrt, str) else wrt)
    asked = LAYOUTS[_choose("layout", layout, LAYOUTS)]
    question = Question(composed.problem, find_output(tape, of), selection.variables, selection.label, asked)
    lines = where.splitlines() if isinstance(where, str) else where
    return judge(question, Source(answer, "answer"), [line for line in lines if line.strip()], write_right_answer, reveal)


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


def _explain(labels: Labels, writer: TextWriter) -> list[str]:
    """What the names that a page made up stand for."""
    written: dict[str, str] = {}
    while len(written) <= LEGEND:
        missing = [(name, value) for name, value in labels.fresh() if name.key not in written]
        if not missing:
            break
        for name, value in missing[: LEGEND + 1]:
            # this may make up further names, which the next round explains
            written[name.key] = f"{writer.name(name)} = {write_value(labels.tape, value, writer, labels, deep=False)}"
    order = [written[name.key] for name, _ in labels.fresh() if name.key in written]
    return [*order[:LEGEND], "…"] if len(order) > LEGEND else order


def derivation_notices(derivation: Derivation) -> Iterator[str]:
    """What a reader of a derivation should know: variables without effect, adjoints that got names."""
    tape = derivation.tape
    for variable, root in zip(derivation.variables, derivation.blocks, strict=True):
        if root == ZERO:
            yield f"{tape.names[derivation.output]} does not depend on {tape.names[variable]}: its block is 0"
    if derivation.overflow:
        yield "written out, the blocks would pass the limit on factors: shared adjoints got names instead"


def _choose(what: str, value: str, known: Iterable[str]) -> str:
    if value not in known:
        raise OptionError(f"there is no {what} {value!r}", hint=suggest(value, known) or f"choose one of {', '.join(known)}")
    return value
