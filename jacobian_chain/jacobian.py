"""Jacobians of a composition: in a layout, block by block, written, exported.

A :class:`Jacobian` is of abstract layers; :class:`jacobian_chain.concrete.ConcreteJacobian` of what can be spelled out.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jacobian_chain.article import Paragraph, Prose, flatten
from jacobian_chain.derivation import MAX_FACTORS, Derivation, expand_derivation
from jacobian_chain.derivation import derive as derive_blocks
from jacobian_chain.errors import ChainError, OptionError, suggest
from jacobian_chain.layout import LAYOUTS, Layout, orient
from jacobian_chain.maps import ZERO
from jacobian_chain.names import read_key
from jacobian_chain.notation import NOTATIONS, Labels, Page, matrix_form, shape_of_block
from jacobian_chain.render import Composer, explain_names, render
from jacobian_chain.select import Selection
from jacobian_chain.tape import Shape, Tape
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

if TYPE_CHECKING:
    from sympy import BlockMatrix, Expr

    from jacobian_chain.article import Article
    from jacobian_chain.cost import Cost
    from jacobian_chain.handout import Handout
    from jacobian_chain.steps import Narration, Style, Subject
    from jacobian_chain.witness import Verification

INDEX_POSITIONS = ("as-typed", "sub", "super")
NAMINGS = ("inputs", "outputs")
FORMS = ("latex", "unicode")


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile, in the whole process: what is made here has no cycles, and large tapes are gone over in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Block:
    """One block of a Jacobian: the derivative by one variable.

    Attributes:
        variable: its name.
        shape: rows and columns, as text.
    """

    def __init__(self, jacobian: Jacobian, position: int) -> None:
        self.variable = jacobian.tape.names[jacobian.selection.variables[position]]
        self.shape: Shape = jacobian.block_shape(position)
        self._jacobian = jacobian
        self._position = position

    @property
    def is_zero(self) -> bool:
        """Whether the output does not depend on the variable."""
        return self._jacobian.is_zero(self._position)

    def latex(self, **options: Any) -> str:
        """The block without its left side; the options are those of :meth:`Jacobian.latex`."""
        return self._jacobian.write_block(self._position, LatexWriter, options)

    def to_sympy(self) -> Expr:
        """The block as a SymPy matrix expression."""
        return self._jacobian.sympy_blocks()[self._position]

    def __str__(self) -> str:
        return self._jacobian.write_block(self._position, TextWriter, self._jacobian.shown_options())

    def __repr__(self) -> str:
        return f"Block({str(self)!r}, shape=({self.shape.rows}, {self.shape.columns}))"

    def _repr_latex_(self) -> str:
        return f"$${self.latex(**self._jacobian.shown_options())}$$"


class Blocks(Mapping[str, Block]):
    """The blocks of a Jacobian by variable, in any spelling of its name."""

    def __init__(self, jacobian: Jacobian) -> None:
        names = jacobian.tape.names
        self._blocks = {names[value]: Block(jacobian, k) for k, value in enumerate(jacobian.selection.variables)}

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
    """A Jacobian as written: the text, what made-up names stand for and which facts were used, and what is worth knowing."""

    text: str
    explained: tuple[Prose, ...]
    notices: tuple[str, ...]

    @property
    def legend(self) -> tuple[str, ...]:
        """What is explained, as text."""
        return tuple(map(flatten, self.explained))


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
        self.limit = limit

    @cached_property
    def derivation(self) -> Derivation:
        """The blocks as words of linear maps, in numerator layout."""
        return derive_blocks(self.tape, self.output, self.selection.variables, self.selection.label, limit=self.limit)

    @property
    def notices(self) -> tuple[str, ...]:
        """Facts worth knowing: zero blocks, adjoints that got names."""
        return tuple(derivation_notices(self.derivation))

    @cached_property
    def blocks(self) -> Blocks:
        """The blocks by the name of their variable.

        >>> from jacobian_chain import derive, parse
        >>> J = derive(parse("L2(L1(x, θ1), θ2)"), wrt="θ")
        >>> J.blocks["theta_1"]
        Block('J_x₂ L₂ · J_θ₁ L₁', shape=(n_f, n_θ1))
        """
        return Blocks(self)

    def in_layout(self, layout: str) -> Jacobian:
        """The same Jacobian in another layout.

        >>> from jacobian_chain import derive, parse
        >>> print(derive(parse("g(f(x))"), wrt="x").in_layout("denominator"))
        (J_x y)ᵀ = (J_x f)ᵀ · (J_x₂ g)ᵀ
        """
        return type(self)(self.tape, self.output, self.selection, LAYOUTS[choose("layout", layout, LAYOUTS)], self.limit)

    @uncollected()
    def latex(
        self,
        notation: str | None = None,
        naming: str | None = None,
        index: str = "as-typed",
        points: bool = False,
        shared: bool = False,
        expand: bool = False,
        vec: bool = False,
        index_notation: bool = False,
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
            index_notation: write derivatives by components.

        Raises:
            OptionError: the notation cannot write this Jacobian.
            LimitError: ``expand`` gives too many factors.

        >>> from jacobian_chain import derive, parse
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
            "index_notation": index_notation,
        }
        return self.sheet("latex", **options).text

    def unicode(self, ascii: bool = False, **options: Any) -> str:
        """The Jacobian as text for a terminal; options as for :meth:`latex`."""
        return self.sheet("unicode", ascii, **options).text

    @uncollected()
    def sheet(self, form: str = "latex", ascii: bool = False, explained_in: str = "unicode", **options: Any) -> Sheet:
        """The Jacobian as ``latex`` or ``unicode`` with what a reader must know beside it; options as for :meth:`latex`.

        With ``ascii`` nothing outside of ASCII is written; ``explained_in`` is the language of formulas in what is explained.

        >>> from jacobian_chain import derive, parse
        >>> derive(parse("L2(L1(x, a), b)"), wrt="a").sheet("unicode").legend
        ('x₂ = L₁(x, a)',)
        """
        index = options.get("index", "as-typed")
        writer, plain = make_writer(form, ascii, index), make_writer(explained_in, ascii, index)
        if options.pop("index_notation", False):
            return self._write_components(writer, options)
        return self._write_sheet(writer, plain, options)

    def _write_sheet(self, writer: Writer, plain: Writer, options: dict[str, Any]) -> Sheet:
        return self.write(writer, plain, options)[1]

    def _write_components(self, writer: Writer, options: Mapping[str, Any]) -> Sheet:
        """Index notation: one line for each variable, the same in every layout."""
        from jacobian_chain.indices import write_components

        idle = [name for name, value in options.items() if value and name != "index"]
        if idle:
            raise OptionError(f"--{idle[0]} has no effect on index notation", hint="leave it away")
        labels = Labels(self.tape, self.output, "outputs")
        found = write_components(self.tape, self.output, self.selection.variables, writer, labels)
        lines = [*found.lines, *((line.left, line.right) for line in found.definitions)]
        return Sheet(writer.lines([(left, [right]) for left, right in lines]), (), ())

    def write(self, writer: Writer, plain: Writer, options: Mapping[str, Any]) -> tuple[Page, Sheet]:
        """The page of the derivation and what stands on it; the legend is in the plain language."""
        page = self._make_page(**options)
        text = render(page, writer)
        return page, Sheet(text, tuple(explain_names(page.labels, plain)), (*derivation_notices(page.derivation), *page.notices))

    def to_json(self, **options: Any) -> dict[str, Any]:
        """The Jacobian as plain data (see :mod:`jacobian_chain.export`); options as for :meth:`latex`."""
        from jacobian_chain.export import describe

        refuse_components(options)
        page, writer = self._page(LatexWriter, options)
        assert isinstance(writer, LatexWriter)
        return describe(page, writer, [*derivation_notices(page.derivation), *page.notices])

    def to_sympy(self) -> BlockMatrix:
        """A SymPy ``BlockMatrix`` of unevaluated products (see :mod:`jacobian_chain.symbolic`).

        >>> from jacobian_chain import derive, parse
        >>> print(derive(parse("g(f(x, a), b)"), wrt=["a", "b"]).to_sympy().shape)
        (n_y, n_a + n_b)
        """
        from jacobian_chain import symbolic

        return symbolic.block_matrix(self.derivation, self.layout)

    def steps(self, kind: str, **options: Any) -> Handout:
        """The derivation as a person would write it: to print, to show in a notebook, to write in any format.

        Args:
            kind: ``recursive`` (from the outside in, with block matrices), ``blocks`` (block by block), or ``backprop`` (forward and
                backward equations in the order in which they should be computed).
            options: ``notation``, ``naming``, ``index`` and ``points`` as for :meth:`latex`; by default J for nested text, else upright
                total derivatives.

        Raises:
            OptionError: the notation cannot write it.
            LimitError: it would have too many factors.

        >>> from jacobian_chain import derive, parse
        >>> print(derive(parse("h = tanh(W x); L = a^T h"), wrt="W", layout="mixed").steps("blocks"))
        The Jacobian of L by W, block by block
        ══════════════════════════════════════
        <BLANKLINE>
        By W:
        <BLANKLINE>
        dL/dW = ((dL/dh) ⊙ (1 - h ⊙ h)) xᵀ   through h: the chain rule for a function of every entry, tanh, the rule for a matrix product
              = (a ⊙ (1 - h ⊙ h)) xᵀ         through L: the rule for a matrix product
        """
        from jacobian_chain.handout import Handout

        self.tell_steps(kind, **options)  # an error comes now, not when somebody looks
        return Handout(partial(self.tell_steps, kind, **options))

    def tell_steps(self, kind: str, form: str = "latex", ascii: bool = False, **options: Any) -> Article:
        """The derivation of :meth:`steps` as an article with formulas in ``latex`` or ``unicode``."""
        from jacobian_chain.steps import TITLES, Style, Subject, make_article

        choose("kind of steps", kind, TITLES)
        unknown = [name for name, value in options.items() if value and name not in ("notation", "naming", "index", "points")]
        if unknown:
            raise OptionError(f"--{unknown[0].replace('_', '-')} has no effect on steps", hint="leave it away")
        writer = make_writer(form, ascii, options.get("index") or "as-typed")
        notation, naming = options.get("notation"), options.get("naming")
        if notation is not None:
            choose("notation", notation, NOTATIONS)
        if naming is not None:
            choose("naming", naming, NAMINGS)
        subject = Subject(self.tape, self.output, self.selection.variables, self.selection.label, self.layout, self.limit)
        article = make_article(kind, subject, Style(writer, notation, naming, bool(options.get("points"))), self._narrator())
        return article._replace(parts=(*article.parts, *(Paragraph(remark) for remark in self._remarks(writer))))

    def _remarks(self, writer: Writer) -> list[Prose]:  # noqa: ARG002  (for what has facts to name)
        """What a reader of a derivation should know, as sentences."""
        return [(f"Note: {notice}.",) for notice in self.notices]

    def _narrator(self) -> Callable[[str, Subject, Style], Narration]:
        from jacobian_chain.steps import narrate

        return narrate

    def verify(self, seed: int = 0) -> Verification:
        """Every block in every layout against numerical differentiation of the composition; true if all agree to 1e-6.

        >>> from jacobian_chain import derive, parse
        >>> bool(derive(parse("g(f(x, a), b)"), wrt=["a", "b"]).verify())
        True
        """
        from jacobian_chain.witness import verify

        return verify(self.tape, self.output, self.selection.variables, seed)

    def cost(self, sizes: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> Cost:
        """Multiplications and memory of each block by itself, of backpropagation, of forward mode and of the best bracketing.

        Args:
            sizes: numbers for symbols of shapes, or for the entries of columns, by name; the others are chosen.

        Raises:
            OptionError: a size is not one of the composition's.

        >>> from jacobian_chain import derive, parse
        >>> J = derive(parse("x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)"), wrt="θ")
        >>> cost = J.cost(sizes={"x1": 100, "x2": 100, "x3": 100, "θ1": 100, "θ2": 100, "θ3": 100})
        >>> cost.block_by_block.multiplications, cost.backpropagation.multiplications
        (60000, 50000)
        """
        from jacobian_chain.cost import estimate_cost

        return estimate_cost(self.tape, self.output, self.selection.variables, sizes)

    def _sympy_(self) -> BlockMatrix:
        return self.to_sympy()

    def __str__(self) -> str:
        return self.unicode(**self.shown_options())

    def __repr__(self) -> str:
        return f"<Jacobian in {self.layout.name} layout: {self}>"

    def _repr_latex_(self) -> str:
        return f"$${self.latex(**self.shown_options())}$$"

    def block_shape(self, position: int) -> Shape:
        """The shape of a block."""
        return shape_of_block(self.derivation, self.layout, position, self._matrix_form)[0]

    def is_zero(self, position: int) -> bool:
        """Whether a block is 0."""
        return self.derivation.blocks[position] == ZERO

    def write_block(self, position: int, language: type[Writer], options: Mapping[str, Any]) -> str:
        """A block without its left side."""
        page, writer = self._page(language, options)
        derivation = page.derivation
        root = derivation.blocks[position]
        composer = Composer(page, writer, orient(derivation.maps, derivation.tape.shapes[derivation.output], page.layout), (root,))
        return composer.text(root, derivation.variables[position])

    def sympy_blocks(self) -> list[Expr]:
        """The blocks as SymPy matrix expressions."""
        from jacobian_chain import symbolic

        return symbolic.blocks(self.derivation, self.layout)

    @cached_property
    def _matrix_form(self) -> frozenset[int]:
        return matrix_form(self.derivation, self.layout)

    def shown_options(self) -> dict[str, Any]:
        """The options of a representation: the notation by default, or slots where that cannot write this Jacobian."""
        try:
            self._page(TextWriter, {})
        except OptionError:
            return {"notation": "slots"}
        return {}

    def _page(self, writer: type[Writer], options: Mapping[str, Any]) -> tuple[Page, Writer]:
        return self._make_page(**options), writer(choose("index", options.get("index", "as-typed"), INDEX_POSITIONS))

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
            derivation = expand_derivation(self.derivation, self.limit) if expand else self.derivation
        chosen = choose("notation", notation or ("jacobian" if tape.nested else "partial"), NOTATIONS)
        named = naming or ("inputs" if chosen == "jacobian" and tape.nested else "outputs")
        labels = Labels(tape, self.output, choose("naming", named, NAMINGS))
        return Page(derivation, self.layout, NOTATIONS[chosen], labels, points, vec)


def make_writer(form: str, ascii: bool = False, index: str = "as-typed") -> Writer:
    """The writer of one of ``FORMS``."""
    choose("index", index, INDEX_POSITIONS)
    return LatexWriter(index) if choose("form", form, FORMS) == "latex" else TextWriter(index, ascii=ascii)


def refuse_components(options: Mapping[str, Any]) -> None:
    """Refuse index notation as data."""
    if options.get("index_notation"):
        raise OptionError("index notation has no JSON", hint="leave --index-notation away")


def derivation_notices(derivation: Derivation) -> Iterator[str]:
    """What a reader of a derivation should know: variables without effect, adjoints that got names."""
    tape = derivation.tape
    for variable, root in zip(derivation.variables, derivation.blocks, strict=True):
        if root == ZERO:
            yield f"{tape.names[derivation.output]} does not depend on {tape.names[variable]}: its block is 0"
    if derivation.overflow:
        yield "written out, the blocks would pass the limit on factors: shared adjoints got names instead"


def choose(what: str, value: str, known: Iterable[str]) -> str:
    """A value of an option, if there is such a one."""
    if value not in known:
        raise OptionError(f"there is no {what} {value!r}", hint=suggest(value, known) or f"choose one of {', '.join(known)}")
    return value
