"""What the factors of a product of layers are, spelled out as matrix calculus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jacobian_chain.abstraction import Abstraction
from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import Block, ConcreteDerivation
from jacobian_chain.calculus import gradients, jacobians
from jacobian_chain.exposition import Line, Page
from jacobian_chain.formula import of_tape
from jacobian_chain.maps import count_references
from jacobian_chain.notation import Labels
from jacobian_chain.notation import Page as FactorPage
from jacobian_chain.tape import SCALAR, Tape
from jacobian_chain.writers import Writer


class Factors(NamedTuple):
    """Lines, each with the values of which and by which it is the derivative, -1 where it only explains a name; and the expressions."""

    lines: tuple[tuple[int, int, Line], ...]
    arrays: Arrays


def write_factors(tape: Tape, abstraction: Abstraction, page: FactorPage, roots: Sequence[int], writer: Writer) -> Factors:
    """One line for each factor among the nodes that ``roots`` reach, then what invented names stand for.

    Args:
        tape: the concrete composition.
        abstraction: its layers.
        page: the page of a product of these layers.
        roots: nodes of its derivation.
        writer: the language.
    """
    maps = page.derivation.maps
    used = count_references(maps, roots)
    arrays = Arrays(tape)
    blocks, lefts = [], []
    for index, node in enumerate(maps):
        if node.kind != "partial" or not used[index]:
            continue
        value = abstraction.values[node.of]
        step = abstraction.tape.step(node.of)
        own = tape.step(value)
        assert step is not None, "a factor belongs to a step"
        assert own is not None, "and that to one of the concrete tape"
        inputs = [abstraction.values[source] for source in step.inputs]
        if own.operation == "layer" and own.inputs == tuple(inputs):
            continue  # without a definition
        by = inputs[node.by]
        symbol = page.symbol(node)
        of_shape, by_shape = arrays.shapes[value], arrays.shapes[by]
        adjoint = page.means_adjoint(symbol, node.of)
        if of_shape == SCALAR and by_shape.is_matrix and not symbol.vec_by:
            found = gradients(arrays, value, dict.fromkeys(inputs))[by]
            adjoint = not adjoint
        else:
            found = jacobians(arrays, value, dict.fromkeys(inputs))[by]
            if of_shape.is_matrix and by_shape == SCALAR and not symbol.vec_of:
                found = arrays.reshape(found, of_shape)
        if adjoint:
            found = arrays.transpose(found)
        blocks.append(Block(value, by, found, arrays.shapes[found], symbol.vec_of or symbol.vec_by))
        lefts.append(writer.symbol(symbol))
    names = {value: page.variable(k) for k, value in enumerate(abstraction.values) if not tape.names[value]}
    output = abstraction.values[page.derivation.output]
    inside = Page(ConcreteDerivation(arrays, output, page.layout, tuple(blocks), (), False), writer, page.labels, names)
    lines = [(block.of, block.by, Line(left, inside.right_side(block))) for left, block in zip(lefts, blocks, strict=True)]
    for k in abstraction.invented:
        value = abstraction.values[k]
        lines.append((-1, -1, Line(writer.name(names[value]), inside.formula.text(value))))
    lines += [(-1, -1, line) for line in (*inside.definitions(), *write_slopes(inside))]
    return Factors(tuple(lines), arrays)


def write_slopes(page: Page) -> list[Line]:
    """What the derivatives are of functions that the text defines, as SymPy finds them."""
    bodies = dict(page.arrays.tape.functions)
    arrays = page.arrays
    steps = [arrays.view(node) for node in arrays.reachable([*(block.node for block in page.shown), *page.invented])]
    slopes = dict.fromkeys((step.name, int(step.coefficients[0])) for step in steps if step.operation == "apply" and step.coefficients)
    lines = []
    for name, order in slopes:
        if name in bodies:
            from jacobian_chain.symbolic import differentiate_function

            body = differentiate_function(bodies[name], order)
            labels = Labels(body, len(body.names) - 1, "outputs")
            head = page.writer.name(page.labels.name(name)) + "'" * order
            right = of_tape(body, page.writer, labels).text(len(body.names) - 1)
            lines.append(Line(f"{head}({page.writer.name(labels.value(0))})", right))
    return lines
