"""Numerator, denominator and mixed layout: the only module that transposes and reverses.

Derivations of abstract layers are made in numerator layout. Denominator layout is its dual: every product reversed, every factor
replaced by its adjoint. Mixed layout keeps Jacobians in numerator layout and gives the gradient of a scalar the shape of its
variable; that is how the gradients of concrete layers are made, and in numerator layout they are transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jacobian_chain.maps import Map
from jacobian_chain.tape import Shape

if TYPE_CHECKING:
    from jacobian_chain.arrays import Arrays


class Layout(NamedTuple):
    """One layout: whether the derivative of a scalar and of an array is transposed against numerator layout."""

    name: str
    transposes_scalar: bool
    transposes_array: bool
    description: str

    def transposes(self, of: Shape) -> bool:
        """Whether the derivative of a value of this shape is the adjoint of its Jacobian."""
        return self.transposes_scalar if of.is_scalar else self.transposes_array


NUMERATOR = Layout("numerator", False, False, "rows belong to the output: a scalar's derivative is a row")
DENOMINATOR = Layout("denominator", True, True, "rows belong to the variable: products are reversed, factors transposed")
MIXED = Layout("mixed", True, False, "Jacobians as in numerator layout, a scalar's gradient in the shape of its variable")
LAYOUTS = {layout.name: layout for layout in (NUMERATOR, DENOMINATOR, MIXED)}


def adjoint(maps: Sequence[Map]) -> tuple[Map, ...]:
    """Every node's adjoint under the node's own index: (A B)ᵀ = Bᵀ Aᵀ, (A + B)ᵀ = Aᵀ + Bᵀ, (A | B)ᵀ = Aᵀ above Bᵀ. Its own inverse.

    >>> maps = (Map("partial", 7), Map("partial", 8), Map("product", args=(0, 1)))
    >>> [node.args for node in adjoint(maps)][-1], adjoint(maps)[0].adjoint
    ((1, 0), True)
    >>> adjoint(adjoint(maps)) == maps
    True
    """
    return tuple(
        node._replace(args=node.args[::-1])
        if node.kind == "product"
        else node._replace(adjoint=not node.adjoint)
        if node.kind in ("partial", "total", "joint", "scale")
        else _transpose_blocks(node)
        if node.kind == "matrix"
        else node
        for node in maps
    )


def _transpose_blocks(matrix: Map) -> Map:
    columns = len(matrix.args) // matrix.of
    return matrix._replace(of=columns, args=tuple(block for k in range(columns) for block in matrix.args[k::columns]))


def transpose_gradient(arrays: Arrays, gradient: int, known: dict[int, int]) -> int:
    """A gradient transposed as people write the product of numerator layout: (A B)ᵀ = Bᵀ Aᵀ, (δ ⊙ m)ᵀ = δᵀ diag(m).

    ``known`` keeps what was transposed already; who transposes the parts of a gradient before the whole never goes deep.
    """
    found = known.get(gradient)
    if found is not None:
        return found
    step, shape = arrays.view(gradient), arrays.shapes[gradient]
    coefficient, core = arrays.split(gradient)
    if core != gradient:
        found = arrays.multiple(coefficient, transpose_gradient(arrays, core, known))
    elif step.operation == "product":
        found = arrays.product([transpose_gradient(arrays, factor, known) for factor in reversed(step.inputs)])
    elif step.operation == "scale":
        found = arrays.scale(step.inputs[0], transpose_gradient(arrays, step.inputs[1], known))
    elif step.operation == "hadamard" and shape.columns == "1":
        rest = arrays.hadamard(step.inputs[1:])
        found = arrays.product((transpose_gradient(arrays, step.inputs[0], known), arrays.diag(rest)))
    elif step.operation == "sum" and gradient >= len(arrays.tape.names) and _has_product(arrays, step.inputs):  # not a residual W x - y
        terms = zip(step.coefficients, [transpose_gradient(arrays, term, known) for term in step.inputs], strict=True)
        found = arrays.sum(terms, Shape(shape.columns, shape.rows))
    else:
        found = arrays.transpose(gradient)
    known[gradient] = found
    return found


def _has_product(arrays: Arrays, terms: Sequence[int]) -> bool:
    return any(arrays.view(term).operation == "product" for term in terms)


def adjoint_word(word: tuple[int, ...]) -> tuple[int, ...]:
    """The transpose of a product of letters, of which 2 k + 1 is the transpose of 2 k.

    >>> adjoint_word((0, 3))
    (2, 1)
    """
    return tuple([code ^ 1 for code in reversed(word)])


def orient(maps: tuple[Map, ...], of: Shape, layout: Layout) -> tuple[Map, ...]:
    """The nodes of the derivative of a value of shape ``of`` as the layout has them: as they are, or their adjoints."""
    return adjoint(maps) if layout.transposes(of) else maps


def block_shape(of: Shape, by: Shape, layout: Layout, on_vec: bool) -> Shape:
    """The shape of d of / d by (the table of layouts); ``on_vec`` also for a scalar's derivative by a matrix.

    >>> str(block_shape(Shape("1", "1"), Shape("m", "n"), NUMERATOR, False))
    'n x m'
    >>> str(block_shape(Shape("p", "1"), Shape("m", "n"), NUMERATOR, False))
    'p x m*n'
    """
    if of.is_matrix and by.is_scalar and not on_vec:
        shape = of
    elif of.is_scalar and by.is_matrix and not on_vec:
        shape = Shape(by.columns, by.rows)
    else:
        shape = Shape(entries(of), entries(by))
    return Shape(shape.columns, shape.rows) if layout.transposes(of) else shape


def entries(shape: Shape) -> str:
    """How many entries an array has, as text."""
    if shape.rows.isdecimal() and shape.columns.isdecimal():
        return str(int(shape.rows) * int(shape.columns))
    sizes = [size for size in shape if size != "1"]
    return "*".join(sizes) or "1"
