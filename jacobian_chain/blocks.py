"""The blocks of a Jacobian through concrete layers, in a layout.

A scalar's derivative is a gradient in the shape of its variable (transposed in numerator layout), a derivative by a scalar has the
shape of what is differentiated, and everything else is a matrix on ``vec``, the columns of a matrix below each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jacobian_chain.arrays import Arrays
from jacobian_chain.calculus import by_scalar, gradients, jacobians, push
from jacobian_chain.layout import MIXED, Layout, transpose_gradient
from jacobian_chain.tape import SCALAR, Shape, Tape


class Block(NamedTuple):
    """d value ``of`` / d value ``by`` as an expression, its shape, and whether a matrix in it is taken on ``vec``."""

    of: int
    by: int
    node: int
    shape: Shape
    on_vec: bool


class ConcreteDerivation(NamedTuple):
    """Blocks in a layout.

    Attributes:
        arrays: the expressions over the tape.
        output: the value that is differentiated.
        layout: the layout.
        blocks: one for each variable.
        lines: with shared adjoints, those and the blocks in the order of backpropagation; else empty.
        joined: whether the blocks stand in one row or column rather than one by one.
    """

    arrays: Arrays
    output: int
    layout: Layout
    blocks: tuple[Block, ...]
    lines: tuple[Block, ...]
    joined: bool


def derive_concrete(
    tape: Tape, output: int, variables: Sequence[int], layout: Layout, vec: bool = False, shared: bool = False
) -> ConcreteDerivation:
    """The blocks of d output / d variables; a variable that is an intermediate value is held free.

    Args:
        tape: the composition.
        output: the value to differentiate.
        variables: values to differentiate by.
        layout: of the blocks.
        vec: take the derivative of a scalar by a matrix, and of a matrix by a scalar, on ``vec`` too, as one row or column.
        shared: name the adjoint of every value that has a name (for a scalar output).

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.layout import MIXED
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f = a^T X b; X: m x n")).tape
    >>> derivation = derive_concrete(tape, tape.index("f"), [tape.index("X")], MIXED)
    >>> str(derivation.blocks[0].shape)
    'm x n'
    """
    arrays = Arrays(tape)
    if arrays.is_scalar(output) and not vec:
        return _derive_gradients(arrays, output, variables, layout, shared)
    transposed = layout.transposes(arrays.shapes[output])
    shape = arrays.shapes[output]
    by_one_scalar = not vec and len(variables) == 1 and arrays.is_scalar(variables[0])
    found = {variables[0]: by_scalar(arrays, output, variables[0])} if by_one_scalar else jacobians(arrays, output, variables)
    blocks = []
    for value in variables:
        on_vec = (shape.is_matrix or arrays.shapes[value].is_matrix) and not by_one_scalar
        node = found[value]
        if transposed:
            node = arrays.transpose(node)
        blocks.append(Block(output, value, node, arrays.shapes[node], on_vec))
    return ConcreteDerivation(arrays, output, layout, tuple(blocks), (), len(blocks) > 1)


def _derive_gradients(arrays: Arrays, output: int, variables: Sequence[int], layout: Layout, shared: bool) -> ConcreteDerivation:
    """The gradients of a scalar, each in its own shape."""
    tape = arrays.tape
    lines: list[Block] = []
    wanted = set(variables)
    turned: dict[int, int] = {}
    turns = not layout.transposes(SCALAR)

    def write(value: int, adjoint: int) -> Block:
        node = transpose_gradient(arrays, adjoint, turned) if turns else adjoint
        return Block(output, value, node, arrays.shapes[node], False)

    def visit(value: int, adjoint: int) -> int:
        if turns:
            transpose_gradient(arrays, adjoint, turned)
        named = value < len(tape.names) and (tape.names[value] or value in wanted)
        if not shared or not named:
            return adjoint
        lines.append(write(value, adjoint))
        if value < tape.leaves:
            return adjoint
        return arrays.adjoint(output, value)

    found = gradients(arrays, output, variables, visit)
    blocks = tuple(write(value, found[value]) for value in variables)
    if shared:
        present = {line.by: line for line in lines}
        blocks = tuple(present.get(block.by, block) for block in blocks)
        lines += [block for block in blocks if block.by not in present]
        moments = _moments(tape, output)
        lines.sort(key=lambda line: (-moments[line.by], line.by < tape.leaves))
    return ConcreteDerivation(arrays, output, layout, blocks, tuple(lines), False)


def derive_in_part(tape: Tape, output: int, variables: Sequence[int], variable: int, layout: Layout, below: int) -> ConcreteDerivation:
    """The gradient of a scalar by one of several variables, in which the adjoints of named values from ``below`` on are called by name.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("z = W x; h = tanh(z); L = a^T h")).tape
    >>> found = derive_in_part(tape, tape.index("L"), [tape.index("W")], tape.index("W"), MIXED, tape.index("h"))
    >>> [found.arrays.steps[node].operation for node in found.arrays.steps[found.blocks[0].node].inputs]
    ['hadamard', 'transpose']
    """
    arrays = Arrays(tape)
    turned: dict[int, int] = {}
    turns = not layout.transposes(SCALAR)

    def visit(value: int, adjoint: int) -> int:
        if turns:
            transpose_gradient(arrays, adjoint, turned)
        named = value < len(tape.names) and bool(tape.names[value]) and value != variable
        return arrays.adjoint(output, value) if named and value >= below else adjoint

    gradient = gradients(arrays, output, variables, visit)[variable]
    node = transpose_gradient(arrays, gradient, turned) if turns else gradient
    return ConcreteDerivation(arrays, output, layout, (Block(output, variable, node, arrays.shapes[node], False),), (), False)


def _moments(tape: Tape, output: int) -> list[int]:
    """For each value the first value with a name that takes it, perhaps through others without one: when its adjoint is known."""
    found = list(range(len(tape.names)))
    first = [output] * len(tape.names)
    for value in range(output, tape.leaves - 1, -1):
        moment = found[value] = value if tape.names[value] else first[value]
        for source in tape.steps[value - tape.leaves].inputs:
            if moment < first[source]:
                first[source] = moment
    found[: tape.leaves] = first[: tape.leaves]
    return found


def derive_second(tape: Tape, output: int, one: int, other: int) -> ConcreteDerivation:
    """∂² output / ∂ one ∂ otherᵀ of a scalar: entries of ``one`` by entries of ``other``, matrices on ``vec``, in every layout.

    It is the Jacobian of the gradient. Variables that are computed are held free.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f = x^T A x; A: n x n")).tape
    >>> derivation = derive_second(tape, tape.index("f"), tape.index("x"), tape.index("x"))
    >>> str(derivation.blocks[0].shape)
    'n x n'
    """
    arrays = Arrays(tape, free=(one, other))
    held = dict.fromkeys((one, other))
    node = jacobians(arrays, gradients(arrays, output, held)[one], held)[other]
    return ConcreteDerivation(arrays, output, MIXED, (Block(output, one, node, arrays.shapes[node], True),), (), False)


def derive_along(tape: Tape, output: int, variable: int, direction: str) -> ConcreteDerivation:
    """The Hessian of a scalar by one variable times a direction of that name, in the shape of the variable.

    It is the derivative of the gradient along the direction; the Hessian is not made.
    """
    arrays = Arrays(tape, free=(variable,))
    symbol = arrays.add("symbol", arrays.shapes[variable], (), direction)
    node = push(arrays, gradients(arrays, output, (variable,))[variable], variable, symbol)
    return ConcreteDerivation(arrays, output, MIXED, (Block(output, variable, node, arrays.shapes[node], False),), (), False)
