"""Derivatives of array expressions: backwards for gradients and Jacobians, forwards along a direction.

All three go once over the expression, value by value, with the words of each step's differential: backwards a gradient takes
their adjoints and a Jacobian multiplies their matrices on ``vec``; forwards an increment goes through them. What they give are
expressions again, which can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from jacobian_chain.arrays import ONE, Arrays, size_product
from jacobian_chain.elementary import Elementary, Word, act, matrix, pull
from jacobian_chain.operations import At, curve, differential
from jacobian_chain.tape import SCALAR, Shape

CONSTANTS = frozenset(
    {"number", "constant", "dimension", "ones", "zeros", "identity", "unit", "leaf", "symbol", "commutation", "embedding"}
)
"""Operations that depend on nothing."""


class Edge(NamedTuple):
    """A way in which a node depends on an earlier one."""

    source: int
    words: list[Word]


def edges(arrays: Arrays, node: int) -> list[Edge]:
    """What a node depends on, with the differential of each."""
    steps = arrays.steps
    step = steps[node]
    if step.operation in CONSTANTS:
        return []
    if step.operation == "product" and any(_jacobian_of(arrays, source) >= 0 for source in step.inputs):
        return _edges_of_jacobians(arrays, node)
    coefficients = step.coefficients if step.operation == "sum" else ()
    return [
        Edge(source, differential(arrays, node, slot))
        for slot, source in enumerate(step.inputs)
        if steps[source].operation not in ("number", "ones") and (not coefficients or coefficients[slot])
    ]


def _jacobian_of(arrays: Arrays, node: int) -> int:
    """The Jacobian of a layer that a node is, perhaps transposed, else -1."""
    step = arrays.steps[node]
    if step.operation == "partial":
        return node
    if step.operation == "transpose" and arrays.steps[step.inputs[0]].operation == "partial":
        return step.inputs[0]
    return -1


def _edges_of_jacobians(arrays: Arrays, node: int) -> list[Edge]:
    """Of a product with Jacobians of layers in it: A Jᵀ λ changes by A (Σ λ_k ∂²g_k) du, and λᵀ J A by its transpose."""
    step = arrays.steps[node]
    found = []
    for slot, source in enumerate(step.inputs):
        jacobian = _jacobian_of(arrays, source)
        if jacobian < 0:
            found.append(Edge(source, differential(arrays, node, slot)))
            continue
        before, after = step.inputs[:slot], step.inputs[slot + 1 :]
        layer = arrays.steps[jacobian]
        at = At(arrays, jacobian, layer, 0)
        if arrays.shapes[jacobian].rows == "1":  # of a scalar: its gradient's transpose
            adjoint, left, turned = arrays.number(1), before[:0], True
        elif jacobian != source and after and arrays.shapes[after[-1]].columns == "1":
            adjoint = arrays.product(after)
            left, turned = before, False
        elif jacobian == source and before and arrays.shapes[before[0]].rows == "1":
            adjoint = arrays.transpose(arrays.product(before))
            left, turned = tuple([arrays.transpose(each) for each in reversed(after)]), True
        else:
            words = differential(arrays, jacobian, 0)  # refused there
            found.append(Edge(source, words))
            continue
        for other, by in enumerate(layer.inputs):
            (word,) = curve(at, adjoint, layer.inputs, other)
            maps = list(word.maps)
            own = int(layer.coefficients[0])
            shape = arrays.shapes[layer.inputs[own]]
            if shape.columns != "1":
                column = Shape(size_product(*shape), "1")
                maps.insert(0, Elementary("reshape", shape, column))
                shape = column
            if left:
                factor = arrays.product(left)
                maps.insert(0, Elementary("left", shape, Shape(arrays.shapes[factor].rows, "1"), factor))
                shape = maps[0].codomain
            if turned:
                shape = Shape(shape.columns, shape.rows)
                maps.insert(0, Elementary("transposition", maps[0].codomain, shape))
            if arrays.shapes[jacobian].rows == "1":
                for kind, factors in (("left", before), ("right", after)):
                    if factors:
                        factor = arrays.product(factors)
                        rows, columns = arrays.shapes[factor]
                        image = Shape(rows, shape.columns) if kind == "left" else Shape(shape.rows, columns)
                        maps.insert(0, Elementary(kind, shape, image, factor))
                        shape = image
            found.append(Edge(by, [Word(tuple(maps))]))
    return found


def _uses(arrays: Arrays, output: int, held: Collection[int], towards: Iterable[int]) -> dict[int, list[tuple[int, list[Word]]]]:
    """For each node that lies between the output and the variables, who uses it and how, latest users first."""
    held = set(held)
    steps = arrays.steps
    found: set[int] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            if node not in held or node == output:
                stack += steps[node].inputs
    below = set(towards) & found
    for node in sorted(found):
        if not below.isdisjoint(steps[node].inputs) and (node not in held or node == output):
            below.add(node)
    uses: dict[int, list[tuple[int, list[Word]]]] = {}
    for node in sorted(below, reverse=True):
        if node != output and (node in held or node not in uses):
            continue
        for source, words in edges(arrays, node):
            if source in below:
                uses.setdefault(source, []).append((node, words))
    return uses


def _in_order(users: list[tuple[int, list[Word]]]) -> list[tuple[int, list[Word]]]:
    """Who uses a node, earliest users first."""
    return users if len(users) == 1 else sorted(users, key=lambda use: use[0])


def gradients(arrays: Arrays, output: int, variables: Collection[int], name: Callable[[int, int], int] | None = None) -> dict[int, int]:
    """The gradient of a scalar by each variable, in the shape of the variable; variables that are computed are held free.

    Args:
        arrays: the expressions.
        output: the scalar.
        variables: what to differentiate by.
        name: called with each value and its adjoint's expression, gives the node that stands for it from then on.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f = a^T X b; X: m x n")).tape
    >>> arrays = Arrays(tape)
    >>> found = gradients(arrays, tape.index("f"), [tape.index("X")])[tape.index("X")]
    >>> [arrays.steps[factor].operation for factor in arrays.steps[found].inputs]
    ['leaf', 'transpose']
    """
    uses = _uses(arrays, output, variables, variables)
    adjoints = {output: arrays.number(1)}
    for node in sorted(uses, reverse=True):
        terms = [pull(arrays, word, adjoints[user]) for user, words in _in_order(uses[node]) if user in adjoints for word in words]
        if terms:
            adjoint = terms[0] if len(terms) == 1 else arrays.gather([(ONE, term) for term in terms], arrays.shapes[node])
            adjoints[node] = adjoint if name is None else name(node, adjoint)
    return {variable: adjoints.get(variable, arrays.zeros(arrays.shapes[variable])) for variable in variables}


def jacobians(arrays: Arrays, output: int, variables: Collection[int]) -> dict[int, int]:
    """The Jacobian of the output by each variable on ``vec`` of both, in numerator layout."""
    uses = _uses(arrays, output, variables, variables)
    rows = size_product(*arrays.shapes[output])
    adjoints = {output: arrays.identity(rows)}
    for node in sorted(uses, reverse=True):
        shape = arrays.shapes[node]
        terms = []
        for user, words in _in_order(uses[node]):
            if user in adjoints:
                terms.append((ONE, arrays.product((adjoints[user], matrix(arrays, words, shape, arrays.shapes[user])))))
        if terms:
            adjoints[node] = terms[0][1] if len(terms) == 1 else arrays.gather(terms, Shape(rows, size_product(*shape)))
    zero = {variable: Shape(rows, size_product(*arrays.shapes[variable])) for variable in variables}
    return {variable: adjoints[variable] if variable in adjoints else arrays.zeros(zero[variable]) for variable in variables}


def push(arrays: Arrays, output: int, variable: int, direction: int) -> int:
    """The derivative of the output along a direction of one variable, in the shape of the output."""
    uses = _uses(arrays, output, (variable,), (variable,))
    into: dict[int, list[tuple[int, list[Word]]]] = {}
    for source, users in uses.items():
        for user, words in users:
            into.setdefault(user, []).append((source, words))
    increments = {variable: direction}
    for node in sorted(into):
        terms = [(ONE, act(arrays, words, increments[source], arrays.shapes[node])) for source, words in into[node] if source in increments]
        if terms:
            increments[node] = terms[0][1] if len(terms) == 1 else arrays.sum(terms, arrays.shapes[node])
    return increments.get(output, arrays.zeros(arrays.shapes[output]))


def by_scalar(arrays: Arrays, output: int, variable: int) -> int:
    """The derivative of the output by a scalar, in the shape of the output."""
    assert arrays.shapes[variable] == SCALAR
    return push(arrays, output, variable, arrays.number(1))
