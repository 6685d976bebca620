"""Jacobians through concrete layers: spelled out as matrix calculus, or as a product of layers with each factor spelled out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jacobian_chain.abstraction import Abstraction, abstract
from jacobian_chain.arrays import Arrays
from jacobian_chain.article import Math, Prose, flatten
from jacobian_chain.blocks import ConcreteDerivation, derive_along, derive_concrete, derive_second
from jacobian_chain.errors import OptionError
from jacobian_chain.exposition import Page, count_atoms
from jacobian_chain.factors import write_factors, write_slopes
from jacobian_chain.jacobian import INDEX_POSITIONS, NAMINGS, Jacobian, Sheet, choose, make_writer, refuse_components
from jacobian_chain.notation import Labels
from jacobian_chain.operations import ELEMENTWISE
from jacobian_chain.render import BLOCKS_A_LINE, LEGEND, explain_names
from jacobian_chain.select import Selection
from jacobian_chain.tape import SCALAR, Shape, Tape
from jacobian_chain.tokens import Spelling, spell
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

if TYPE_CHECKING:
    from sympy import BlockMatrix, Expr

    from jacobian_chain.steps import Narration, Style, Subject


class ConcreteJacobian(Jacobian):
    r"""The Jacobian of a composition with concrete layers.

    Without a notation every block is spelled out; with one it is a product of layers, and each factor is spelled out below.

    >>> from jacobian_chain import derive
    >>> print(derive("f = x^T A x", wrt="x", layout="mixed"))
    ∂f/∂x = (A + Aᵀ) x
    """

    @cached_property
    def spelled_out(self) -> ConcreteDerivation:
        """The blocks as expressions in the layout."""
        return derive_concrete(self.tape, self.output, self.selection.variables, self.layout)

    @property
    def notices(self) -> tuple[str, ...]:
        """Facts worth knowing: zero blocks, derivatives at kinks."""
        return tuple(self._find_notices(self.spelled_out))

    def block_shape(self, position: int) -> Shape:
        """The shape of a block."""
        return self.spelled_out.blocks[position].shape

    def is_zero(self, position: int) -> bool:
        """Whether a block is 0."""
        return self.spelled_out.arrays.is_zero(self.spelled_out.blocks[position].node)

    def write_block(self, position: int, language: type[Writer], options: Mapping[str, Any]) -> str:
        """A block without its left side."""
        derivation = self._derive(**{key: value for key, value in options.items() if key in ("vec", "shared")})
        writer = language(choose("index", options.get("index", "as-typed"), INDEX_POSITIONS))
        page = Page(derivation, writer, self._labels())
        return page.right_side(derivation.blocks[position])

    def shown_options(self) -> dict[str, Any]:
        """The options of a representation."""
        return {}

    def sympy_blocks(self) -> list[Expr]:
        """The blocks as SymPy matrix expressions."""
        from jacobian_chain import symbolic

        return symbolic.spelled_out_blocks(self.spelled_out)

    def to_sympy(self) -> BlockMatrix:
        """A SymPy ``BlockMatrix``: one row, or one column where the layout transposes."""
        from jacobian_chain import symbolic

        return symbolic.spelled_out_matrix(derive_concrete(self.tape, self.output, self.selection.variables, self.layout, vec=True))

    def _write_sheet(self, writer: Writer, plain: Writer, options: dict[str, Any]) -> Sheet:
        """The blocks spelled out, or as products of layers."""
        if self._is_factored(options):
            return self._write_factored(writer, plain, options)
        for name in ("expand", "points"):
            if options.get(name):
                raise OptionError(f"--{name} says how products of layers are written", hint="choose a --notation")
        page = self._page_of(writer, options)
        told = self._find_notices(page.derivation)
        if page.derivation.lines and not options.get("shared"):
            told.append("written out, the blocks would pass the limit on factors: shared adjoints got names instead")
        return Sheet(self._write_page(page), tuple(self._facts(page.derivation.arrays, plain)), tuple(told))

    def to_json(self, **options: Any) -> dict[str, Any]:
        """The Jacobian as plain data (see :mod:`jacobian_chain.export`); options as for :meth:`Jacobian.latex`."""
        from jacobian_chain.export import describe_concrete

        refuse_components(options)
        index = choose("index", options.pop("index", "as-typed"), INDEX_POSITIONS)
        if options.get("notation") is not None:
            raise OptionError("products of concrete layers have no JSON yet", hint="leave --notation away")
        page = self._page_of(LatexWriter(index), options)
        facts = [flatten(fact) for fact in self._facts(page.derivation.arrays, TextWriter())]
        return describe_concrete(page, self._write_page(page), facts, self._find_notices(page.derivation))

    def _narrator(self) -> Callable[[str, Subject, Style], Narration]:
        from jacobian_chain.concrete_steps import narrate_concrete

        return narrate_concrete

    def _is_factored(self, options: Mapping[str, Any]) -> bool:
        """Whether the options, or the text, ask for products of layers."""
        nested = self.tape.nested and bool(self.tape.calls) and not options.get("vec")
        return options.get("notation") is not None or nested

    def _page_of(self, writer: Writer, options: Mapping[str, Any]) -> Page:
        """The page of the blocks spelled out."""
        for name in ("expand", "points"):
            if options.get(name):
                raise OptionError(f"--{name} says how products of layers are written", hint="choose a --notation")
        return Page(self._derive(bool(options.get("vec")), bool(options.get("shared"))), writer, self._labels())

    def _write_page(self, page: Page) -> str:
        writer = page.writer
        definitions = [(line.left, [line.right]) for line in (*page.definitions(), *write_slopes(page))]
        if not page.derivation.joined:
            return writer.lines([*[(line.left, [line.right]) for line in page.lines()], *definitions])
        left = page.joined_left_side(self.selection.label)
        blocks = [[page.right_side(block)] for block in page.derivation.blocks]
        in_column = self.layout.transposes(self.tape.shapes[self.output])
        main = writer.column(left, blocks) if in_column else writer.row(left, blocks, BLOCKS_A_LINE)
        return writer.below(main, definitions) if definitions else main

    def _derive(self, vec: bool = False, shared: bool = False) -> ConcreteDerivation:
        """The blocks, with shared adjoints where they would be too long."""
        tape, variables = self.tape, self.selection.variables
        if shared:
            if self.tape.shapes[self.output] != SCALAR:
                raise OptionError("shared adjoints are for scalar outputs", hint="choose a --notation for products of layers")
            if vec:
                raise OptionError("shared adjoints have the shape of their value; they exclude --vec")
            return derive_concrete(tape, self.output, variables, self.layout, shared=True)
        derivation = self.spelled_out if not vec else derive_concrete(tape, self.output, variables, self.layout, vec=True)
        atoms = count_atoms(derivation.arrays, [block.node for block in derivation.blocks], self.limit + 1)
        if atoms > self.limit and not vec and tape.shapes[self.output] == SCALAR:
            return derive_concrete(tape, self.output, variables, self.layout, shared=True)
        return derivation

    def _labels(self) -> Labels:
        return Labels(self.tape, self.output, "outputs")

    def _facts(self, arrays: Arrays, writer: Writer) -> list[Prose]:
        """The declared facts that were used."""
        labels = self._labels()
        found: list[Prose] = []
        for value, fact in arrays.used:
            name = writer.name(labels.value(value))
            symmetric = fact == "symmetric"
            found.append((Math(f"{name} = {writer.transposed(name)}"),) if symmetric else ("the entries of ", Math(name), " sum to 1"))
        return found

    def _remarks(self, writer: Writer) -> list[Prose]:
        """The facts that were used, and what else a reader should know."""
        facts: list[Prose] = [("Used: ", *fact, ".") for fact in self._facts(self.spelled_out.arrays, writer)]
        return [*facts, *super()._remarks(writer)]

    def _find_notices(self, derivation: ConcreteDerivation) -> list[str]:
        tape = self.tape
        found = [
            f"the derivative of {tape.names[self.output]} by {tape.names[block.by]} is 0"
            for block in derivation.blocks
            if derivation.arrays.is_zero(block.node)
        ]
        functions = dict.fromkeys(step.name for step in tape.steps if step.operation == "apply")
        for name in functions:
            record = ELEMENTWISE.get(name)
            if record is not None and record.kinks:
                at = ", ".join(map(str, record.kinks))
                found.append(f"{name} has no derivative at {at}; {record.convention} is used there")
        return found

    # --- products of layers ---

    @cached_property
    def _abstraction(self) -> Abstraction:
        return abstract(self.tape)

    def _write_factored(self, writer: Writer, plain: Writer, options: Mapping[str, Any]) -> Sheet:
        """The product of layers, and below it what each of its factors is."""
        abstraction = self._abstraction
        number = {value: k for k, value in enumerate(abstraction.values)}
        selection = Selection(tuple(number[value] for value in self.selection.variables), self.selection.label)
        naming = options.get("naming")
        if naming is not None:
            choose("naming", naming, NAMINGS)
        inner = Jacobian(abstraction.tape, number[self.output], selection, self.layout, self.limit)
        page, sheet = inner.write(writer, plain, options)
        derivation = page.derivation
        roots = [*derivation.blocks, *(line.map for line in (*derivation.definitions, *derivation.lines))]
        factors = write_factors(self.tape, abstraction, page, roots, writer)
        lines = [line for _, _, line in factors.lines]
        text = writer.below(sheet.text, [(line.left, [line.right]) for line in lines]) if lines else sheet.text
        legend = (*explain_names(page.labels, plain), *self._facts(factors.arrays, plain))  # last: writing factors makes names up
        return Sheet(text, legend[: LEGEND + 1], (*sheet.notices, *self._find_notices(self.spelled_out)))


class SecondDerivative:
    """A block of second derivatives of a scalar, or the Hessian times a direction.

    >>> from jacobian_chain import parse
    >>> print(parse("f = x^T A x").second("x", "x"))
    ∂²f/(∂x ∂xᵀ) = A + Aᵀ
    """

    def __init__(self, tape: Tape, output: int, one: int, other: int | None, direction: str = "") -> None:
        self.tape = tape
        self.output = output
        if tape.shapes[output] != SCALAR:
            raise OptionError(f"second derivatives are for scalar outputs, and {tape.names[output]} is none")
        if other is not None:
            self.derivation = derive_second(tape, output, one, other)
        else:
            if tape.index(direction) is not None:
                raise OptionError(f"the direction needs a name of its own; {direction} is a value of the composition")
            self.derivation = derive_along(tape, output, one, direction)
        self.one, self.other, self.direction = one, other, direction

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return self.derivation.blocks[0].shape

    def sheet(self, form: str = "latex", ascii: bool = False, index: str = "as-typed", explained_in: str = "unicode") -> Sheet:
        """It as ``latex`` or ``unicode``, with what a reader must know beside it in the language ``explained_in``."""
        plain, writer = make_writer(explained_in, ascii, index), make_writer(form, ascii, index)
        labels = Labels(self.tape, self.output, "outputs")
        page = Page(self.derivation, writer, labels)
        lines = [(self._left_side(writer, labels), [page.right_side(self.derivation.blocks[0])])]
        lines += [(line.left, [line.right]) for line in (*page.definitions(), *write_slopes(page))]
        paired = [step.name for step in page.curvatures() if self.derivation.arrays.steps[step.inputs[0]].operation != "number"]
        return Sheet(writer.lines(lines), tuple(_explain_pairing(labels.name(name), plain) for name in dict.fromkeys(paired)), ())

    def _left_side(self, writer: Writer, labels: Labels) -> str:
        signs = writer.signs
        of = writer.name(labels.value(self.output))
        one = writer.name(labels.value(self.one))
        if self.other is None:
            direction = writer.name(labels.name(self.direction))
            return f"{writer.below_operator(signs.nabla + signs.square, one)} {of} {direction}"
        other = writer.name(labels.value(self.other))
        if self.tape.shapes[self.one].is_matrix:
            one = writer.vec(one)
        if self.tape.shapes[self.other].is_matrix:
            other = writer.vec(other)
        turned = other if self.tape.shapes[self.other] == SCALAR else writer.transposed(other)
        partial = signs.partial
        above = partial.rstrip() + signs.square + partial[len(partial.rstrip()) :] + of
        below = f"{partial}{one} {partial}{turned}"
        return writer.fraction(above, below if writer.stacks_fractions else f"({below})")

    def latex(self, index: str = "as-typed") -> str:
        """It as LaTeX."""
        return self.sheet("latex", index=index).text

    def __str__(self) -> str:
        return self.sheet("unicode").text

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"


def _explain_pairing(layer: Spelling, writer: Writer) -> Prose:
    """What ⟨λ, g⟩ means."""
    name, weight = writer.name(layer), writer.name(spell("λ"))
    sign = r"\sum_{k}" if isinstance(writer, LatexWriter) else "sum of" if writer.ascii else "Σ"
    combined = f"{sign} {writer.name(spell('λ', 'k'))} {writer.below_operator(name if len(name) == 1 else f'({name})', 'k')}"
    differential = (": the second differential of ", Math(name), ", a bilinear map, is taken with the weights ", Math(weight))
    return (Math(writer.pairing(weight, name)), " is ", Math(combined), *differential)
