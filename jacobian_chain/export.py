"""A derivation as plain data, for other programs.

The object is stable: fields may be added, none is renamed or removed. Both layouts at once are a list of two objects.

``composition``
    ``values``: for each value its ``name`` (null where the text gives none), ``shape`` (rows and columns, as text), whether
    that was ``declared``, and what computes it: ``operation`` (as in :class:`jacobian_chain.tape.Step`, or ``leaf``), ``layer``,
    ``inputs`` (values by number), ``coefficients`` (of a sum, as text). ``groups``: name to values.
``of``, ``wrt``, ``layout``, ``notation``, ``naming``
    what was derived, and how it is written.
``latex``
    everything as one display.
``blocks``
    for each variable its ``variable``, ``shape``, ``on_vec`` (whether a matrix is taken as the vector of its columns),
    ``latex``, ``expression`` and, for a product, ``factors``: numbers of expressions, leftmost first.
``definitions``
    names for repeated parts, in an order in which they can be computed: ``of``, ``by``, ``latex``, ``expression``.
``expressions``
    nodes, children before parents: ``kind`` as in :mod:`jacobian_chain.maps`; ``transposed`` says that the node is the
    transpose of the numerator-layout map; a ``partial`` has ``layer``, ``step`` (a value), ``slot`` (from 1), ``by`` and
    ``shape`` (as it stands in products), a ``total`` has ``of`` and ``by``, a ``multiple`` its ``coefficient``, ``times`` and
    ``scale`` their ``value``, a ``sum`` and a ``product`` their ``args``.
``points``
    for each step whose partials occur, the names of its arguments: where they are evaluated.
``names``
    names that were made up for values without one, and the value that each is.
``notices``
    choices made in reading, and facts worth knowing.

Blocks that are spelled out rather than products of layers have no ``notation`` and ``naming`` (null), no ``factors`` and no ``points``.
Their ``expressions`` are nodes of matrix calculus: ``operation`` as in :class:`jacobian_chain.tape.Step` and
:mod:`jacobian_chain.arrays`, ``name``, ``inputs`` (expressions by number), ``coefficients`` (as text) and ``shape``, and for a value
of the composition its number, ``value``. ``definitions`` have ``name``, ``latex`` and ``expression`` there, ``facts`` are the declared
facts that were used, and with shared adjoints ``lines`` are all of them: ``of``, ``by``, ``latex``, ``expression``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jacobian_chain.blocks import Block as ConcreteBlock
from jacobian_chain.exposition import Page as ConcretePage
from jacobian_chain.layout import entries, orient
from jacobian_chain.maps import Map, count_references, factors
from jacobian_chain.notation import Page, shape_of_block
from jacobian_chain.render import Composer, render
from jacobian_chain.tape import Tape
from jacobian_chain.writers import LatexWriter


def describe(page: Page, writer: LatexWriter, notices: Iterable[str] = ()) -> dict[str, Any]:
    """The derivation of a page as the object that the module's text documents."""
    derivation, tape = page.derivation, page.tape
    maps = orient(derivation.maps, derivation.tape.shapes[derivation.output], page.layout)
    lines = derivation.definitions
    roots = (*derivation.blocks, *(line.map for line in lines))
    composer = Composer(page, writer, maps, roots)
    used = count_references(maps, roots)
    number = {index: k for k, index in enumerate(index for index in range(len(maps)) if used[index])}
    steps = [maps[index].of for index in number if maps[index].kind == "partial"]
    blocks = []
    for position, (variable, root) in enumerate(zip(derivation.variables, derivation.blocks, strict=True)):
        shape, on_vec = shape_of_block(derivation, page.layout, position, page.matrix_form)
        block: dict[str, Any] = {
            "variable": page.variable(variable).key,
            "shape": list(shape),
            "on_vec": on_vec,
            "latex": composer.text(root, variable),
            "expression": number[root],
        }
        if maps[root].kind == "product":
            block["factors"] = [number[index] for index in factors(maps, root)]
        blocks.append(block)
    document = {
        "composition": _describe_tape(tape),
        "of": page.labels.value(derivation.output).key,
        "wrt": [page.variable(value).key for value in derivation.variables],
        "layout": page.layout.name,
        "notation": page.notation.name,
        "naming": page.labels.naming,
        "latex": render(page, writer),
        "blocks": blocks,
        "definitions": [
            {
                "of": page.labels.value(line.of).key,
                "by": page.variable(line.by).key,
                "latex": composer.text(line.map, line.by),
                "expression": number[line.map],
            }
            for line in lines
        ],
        "expressions": [_describe_node(page, maps[index], number) for index in number],
        "points": {str(step): [name.key for name in page.labels.point(step)] for step in dict.fromkeys(steps)},
        "notices": list(notices),
    }
    document["names"] = {name.key: value for name, value in page.labels.fresh()}  # last: writing makes names up
    return document


def _describe_tape(tape: Tape) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for value, (name, shape, declared) in enumerate(zip(tape.names, tape.shapes, tape.declared, strict=True)):
        step = tape.step(value)
        entry: dict[str, Any] = {"name": name or None, "shape": list(shape), "declared": declared, "operation": "leaf"}
        if step is not None:
            entry["operation"] = step.operation
            entry["inputs"] = list(step.inputs)
            if step.name:
                entry["layer"] = step.name
            if step.coefficients:
                entry["coefficients"] = [str(coefficient) for coefficient in step.coefficients]
        values.append(entry)
    return {"values": values, "groups": {name: list(members) for name, members in tape.groups}}


def _describe_node(page: Page, node: Map, number: dict[int, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": node.kind}
    if node.kind == "partial":
        of, by = page.shapes(node)
        rows, columns = entries(of), entries(by)
        entry |= {
            "layer": page.labels.layer(node.of).key,
            "step": node.of,
            "slot": node.by + 1,
            "by": page.labels.slot(node.of, node.by).key,
            "shape": [columns, rows] if node.adjoint else [rows, columns],
        }
    elif node.kind == "total":
        entry |= {"of": page.labels.value(node.of).key, "by": page.variable(node.by).key}
    elif node.kind == "multiple":
        entry["coefficient"] = str(node.coefficient)
    elif node.kind in ("times", "scale"):
        entry["value"] = node.of
    elif node.args:
        entry["args"] = [number[arg] for arg in node.args]
    if node.kind in ("partial", "total", "scale"):
        entry["transposed"] = node.adjoint
    return entry


def describe_concrete(page: ConcretePage, latex: str, facts: Iterable[str], notices: Iterable[str] = ()) -> dict[str, Any]:
    """Blocks that are spelled out as the object that the module's text documents."""
    derivation = page.derivation
    arrays, tape = derivation.arrays, derivation.arrays.tape
    written = [*derivation.blocks, *derivation.lines]
    needed = arrays.reachable([*(block.node for block in written), *page.invented])
    number = {node: k for k, node in enumerate(needed)}
    expressions = []
    for node in needed:
        step = arrays.view(node)
        entry: dict[str, Any] = {"operation": step.operation, "shape": list(arrays.shapes[node])}
        if node < len(tape.names):
            entry["value"] = node
        if step.name:
            entry["name"] = step.name
        if step.inputs:
            entry["inputs"] = [number[source] for source in step.inputs]
        if step.coefficients:
            entry["coefficients"] = [str(coefficient) for coefficient in step.coefficients]
        expressions.append(entry)

    def describe_line(block: ConcreteBlock) -> dict[str, Any]:
        names = {"of": page.labels.value(block.of).key, "by": page.labels.value(block.by).key}
        return names | {"latex": page.right_side(block), "expression": number[block.node]}

    blocks = [
        {"variable": page.labels.value(block.by).key, "shape": list(block.shape), "on_vec": block.on_vec}
        | {"latex": page.right_side(block), "expression": number[block.node]}
        for block in derivation.blocks
    ]
    definitions = [{"name": name.key, "latex": page.formula.text(node), "expression": number[node]} for node, name in page.invented.items()]
    return {
        "composition": _describe_tape(tape),
        "of": page.labels.value(derivation.output).key,
        "wrt": [block["variable"] for block in blocks],
        "layout": derivation.layout.name,
        "notation": None,
        "naming": None,
        "latex": latex,
        "blocks": blocks,
        "definitions": definitions,
        "lines": [describe_line(line) for line in derivation.lines],
        "expressions": expressions,
        "points": {},
        "facts": list(facts),
        "notices": list(notices),
        "names": {name.key: node for node, name in page.invented.items() if node < len(tape.names)},
    }
