"""A Jacobian as an article: the composition, the formula in each layout or its derivation step by step, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jacobian_chain.article import Article, Display, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table, enumerate_prose
from jacobian_chain.concrete import SecondDerivative
from jacobian_chain.graph import graph_of
from jacobian_chain.jacobian import Jacobian, make_writer
from jacobian_chain.notation import NOTATIONS, Labels
from jacobian_chain.pictures import FORMATS as PICTURES
from jacobian_chain.pictures import draw_picture
from jacobian_chain.steps import title_of, write_equations
from jacobian_chain.writers import LatexWriter, Writer


def compose(
    pages: Sequence[Jacobian],
    form: str = "latex",
    ascii: bool = False,
    steps: str | None = None,
    sizes: Iterable[tuple[str, int]] | None = None,
    shapes: bool = False,
    brief: bool = False,
    pictured: bool = False,
    notices: Iterable[str] = (),
    **options: Any,
) -> Article:
    """The article of one Jacobian in one or several layouts.

    Args:
        pages: the Jacobian in each layout.
        form: the language of its formulas, ``latex`` or ``unicode``.
        ascii: write nothing outside of ASCII.
        steps: the kind of derivation to tell, None for the formula alone.
        sizes: estimate what it costs with these sizes (see :mod:`jacobian_chain.cost`), None for not at all.
        shapes: list the shape of every value.
        brief: leave away the title and the composition.
        pictured: show the computation graph, unless it has very many nodes.
        notices: what was noticed in reading the composition.
        options: as for :meth:`jacobian_chain.jacobian.Jacobian.latex`.

    >>> from jacobian_chain import derive
    >>> article = compose([derive("L2(L1(x, a), b)", wrt="a")], "unicode")
    >>> [type(part).__name__ for part in article.parts]
    ['Paragraph', 'Display', 'Paragraph', 'Paragraph', 'Formula']
    """
    first = pages[0]
    writer = make_writer(form, ascii, options.get("index") or "as-typed")
    language = "latex" if isinstance(writer, LatexWriter) else "text"
    parts: list[Part] = []
    if not brief and steps != "backprop":  # which begins with them
        parts += [Paragraph(("The composition is",)), Display(write_equations(first.tape, first.output, writer))]
    if pictured:
        parts += _draw(first, options.get("index") or "as-typed")
    parts += [Paragraph((f"Note: {notice}.",)) for notice in notices]
    if shapes:
        parts.append(_list_shapes(first, writer))
    by_components = bool(options.get("index_notation"))
    for page in pages[:1] if by_components else pages:
        name = page.layout.name
        if len(pages) > 1 and not by_components:
            parts.append(Heading((f"{name.capitalize()} layout",)))
        told = "by components, the same in every layout" if by_components else f"{name} layout: {page.layout.description}"
        parts.append(Paragraph((f"{told[0].upper()}{told[1:]}.",)))
        parts += _tell(page, form, ascii, steps, options)
    if sizes is not None:
        from jacobian_chain.cost import describe_cost

        parts += [Heading(("What it costs",)), *describe_cost(first.cost(sizes), writer)]
    title = () if brief else title_of(steps, first.tape, first.output, first.selection, writer)
    return Article(title, tuple(parts), language)


def _tell(page: Jacobian, form: str, ascii: bool, steps: str | None, options: Mapping[str, Any]) -> Iterable[Part]:
    """The derivation, or the formula with what the names in it stand for."""
    if steps is not None:
        yield from page.tell_steps(steps, form, ascii, **options).parts
        return
    sheet = page.sheet(form, ascii, explained_in=form, **options)
    if sheet.explained:
        yield Paragraph(("Here ", *enumerate_prose(sheet.explained), "."))
    yield Formula(sheet.text)
    for notice in sheet.notices:
        yield Paragraph((f"Note: {notice}.",))


MOST_NODES = 30
"""Larger graphs are not shown beside a formula."""


def _draw(page: Jacobian, index: str) -> Iterable[Part]:
    """The computation graph of the output."""
    graph = graph_of(page.tape, page.tape.names[page.output])
    if len(graph.nodes) <= MOST_NODES:
        notation = NOTATIONS["jacobian" if page.tape.nested else "partial"]
        naming = "inputs" if page.tape.nested else "outputs"
        svg = draw_picture(graph, PICTURES["svg"], notation, page.layout, naming, index, edges=False, ascii=False)
        yield Figure(svg, "The computation graph")  # which the picture itself describes


def _list_shapes(page: Jacobian, writer: Writer) -> Table:
    """The shape of every named value, and whether it was declared or assumed."""
    tape = page.tape
    labels = Labels(tape, page.output, "outputs")
    rows: list[tuple[Prose, ...]] = []
    for value, (shape, declared) in enumerate(zip(tape.shapes, tape.declared, strict=True)):
        if tape.names[value]:
            rows.append(((Math(writer.name(labels.value(value))),), (str(shape),), ("known" if declared else "assumed",)))
    return Table(("Shapes",), (("value",), ("shape",), ("known or assumed",)), tuple(rows))


def compose_second(derivative: SecondDerivative, told: str, index: str = "as-typed") -> Article:
    r"""The article of second derivatives; ``told`` says of their layout what there is to say.

    >>> from jacobian_chain import parse
    >>> compose_second(parse("f = x^T A x").second("x", "x"), "the same in every layout").parts[-1].text
    '\\frac{\\partial^{2} f}{\\partial x \\partial x^{\\top}} = A + A^{\\top}'
    """
    sheet = derivative.sheet("latex", index=index, explained_in="latex")
    tape, writer = derivative.tape, make_writer("latex", index=index)
    parts: list[Part] = [
        Paragraph(("The composition is",)),
        Display(write_equations(tape, derivative.output, writer)),
        Paragraph((f"{told[0].upper()}{told[1:]}.",)),
        *(Paragraph((*prose, ".")) for prose in sheet.explained),
        Formula(sheet.text),
    ]
    output = writer.name(Labels(tape, derivative.output, "outputs").value(derivative.output))
    return Article(("Second derivatives of ", Math(output)), tuple(parts))
