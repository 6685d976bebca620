"""A derivation against numerical differentiation of the composition, block by block and in every layout.

What ``derive`` prints is evaluated at random points where the composition is smooth: products of layers with the Jacobians of random
smooth maps in place of unspecified layers, formulas of matrix calculus as they stand. The other side is a difference quotient of the
composition itself (:mod:`jacobian_chain.verification`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.blocks import ConcreteDerivation, derive_concrete, derive_second
from jacobian_chain.dense import FLOATS, Dense, Numbers, precise
from jacobian_chain.derivation import Derivation, derive, inline
from jacobian_chain.layout import LAYOUTS, Layout, orient
from jacobian_chain.maps import Map
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape, size_of
from jacobian_chain.tape import SCALAR, Tape
from jacobian_chain.verification import DIGITS, THRESHOLD, Point, arrange, compare, discrepancy, numerical_jacobian, sample

POINTS = 2
"""At how many points a derivation is verified unless told otherwise."""


class Comparison(NamedTuple):
    """The worst relative error of one block in one layout, over all points and forms (``vec`` or not)."""

    variable: str
    layout: str
    error: float

    @property
    def holds(self) -> bool:
        """Whether it is small enough."""
        return self.error <= THRESHOLD


class Verification(NamedTuple):
    """All comparisons; true if every one holds."""

    comparisons: tuple[Comparison, ...]

    def __bool__(self) -> bool:
        return all(comparison.holds for comparison in self.comparisons)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((comparison.error for comparison in self.comparisons), default=0.0)


def verify(tape: Tape, output: int, variables: Sequence[int], seed: int = 0, points: int = POINTS) -> Verification:
    """Compare every block in every layout with numerical differentiation.

    Args:
        tape: the composition.
        output: the value that is differentiated.
        variables: values that it is differentiated by; those that are computed are held free.
        seed: chooses the points and the maps in place of unspecified layers.
        points: how many points.

    Raises:
        ChainError: no point was found at which the composition is defined.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = f(g(x, a), b)")).tape
    >>> verification = verify(tape, tape.index("y"), [tape.index("a"), tape.index("b")])
    >>> bool(verification), len(verification.comparisons)
    (True, 6)
    """
    forms = _abstract_forms(tape, output, variables) if tape.is_of_layers else _concrete_forms(tape, output, variables)
    worst: dict[tuple[int, str], float] = {(value, layout): 0.0 for value in variables for layout in LAYOUTS}
    for k in range(seed, seed + points):
        opaque = Opaque(k)
        differences = _Differences(tape, output, _hold(tape, variables, sample(tape, k, opaque), opaque), opaque)
        for form in forms:
            key = form.variable, form.layout
            worst[key] = max(worst[key], _compare(form, differences))
    return Verification(tuple(Comparison(tape.names[value], layout, error) for (value, layout), error in worst.items()))


def _hold(tape: Tape, variables: Sequence[int], point: Point, opaque: Opaque) -> Point:
    """The point with the values of variables that are computed beside the leaves."""
    if all(value < tape.leaves for value in variables):
        return point
    values = evaluate_tape(tape, point.leaves, point.sizes, FLOATS, opaque)
    held = {value: [[Fraction(entry) for entry in row] for row in values[value]] for value in variables if value >= tape.leaves}
    return Point(point.sizes, {**point.leaves, **held})


class _Differences:
    """Numerical Jacobians at one point, each computed once."""

    def __init__(self, tape: Tape, output: int, point: Point, opaque: Opaque) -> None:
        self.tape = tape
        self.output = output
        self.point = point
        self.opaque = opaque
        self._known: dict[tuple[int, int | None], Dense] = {}

    def jacobian(self, variable: int, digits: int | None) -> Dense:
        """The Jacobian by one variable, in so many digits or in floats."""
        key = variable, digits
        if key not in self._known:
            self._known[key] = numerical_jacobian(self.tape, self.output, variable, self.point, self.opaque, digits)
        return self._known[key]


def _compare(form: _Form, differences: _Differences) -> float:
    point = differences.point
    return discrepancy(
        lambda numbers: form.evaluate(point, numbers, differences.opaque),
        lambda digits: form.arrange(differences.jacobian(form.variable, digits), point),
    )


def verify_second(tape: Tape, output: int, one: int, other: int, seed: int = 0, points: int = POINTS) -> float:
    """The worst relative error of a block of second derivatives against differences of the gradient by differences.

    Computed in many digits, since differences of differences lose half of them.
    """
    derivation = derive_second(tape, output, one, other)
    arrays, node = derivation.arrays, derivation.blocks[0].node
    numbers = precise(2 * DIGITS)
    worst = 0.0
    for k in range(seed, seed + points):
        opaque = Opaque(k)
        point = _hold(tape, (one, other), sample(tape, k, opaque), opaque)
        derived = evaluate(arrays.steps, arrays.shapes, point.leaves, point.sizes, numbers, opaque, [node], tape.functions)[node]
        worst = max(worst, compare(derived, numerical_hessian(tape, output, one, other, point, opaque)))
    return worst


class _Form(NamedTuple):
    """One printed form of a block: its value at a point, and what a Jacobian on ``vec`` becomes in it."""

    variable: int
    layout: str
    evaluate: Callable[[Point, Numbers, Opaque], Dense]
    arrange: Callable[[Dense, Point], Dense]


def _concrete_forms(tape: Tape, output: int, variables: Sequence[int]) -> list[_Form]:
    forms = []
    for layout in LAYOUTS.values():
        for vec in (False, True):
            derivation = derive_concrete(tape, output, variables, layout, vec)
            joined = derivation.joined and tape.shapes[output] != SCALAR
            for position, variable in enumerate(variables):
                forms.append(_concrete_form(derivation, position, variable, layout, vec or joined))
    return forms


def _concrete_form(derivation: ConcreteDerivation, position: int, variable: int, layout: Layout, vec: bool) -> _Form:
    arrays = derivation.arrays
    block = derivation.blocks[position]
    tape = arrays.tape

    def evaluate_block(point: Point, numbers: Numbers, opaque: Opaque) -> Dense:
        found = evaluate(arrays.steps, arrays.shapes, point.leaves, point.sizes, numbers, opaque, [block.node], tape.functions)
        return found[block.node]

    def rearrange(jacobian: Dense, point: Point) -> Dense:
        of, by = (_size(tape, value, point) for value in (derivation.output, variable))
        return arrange(jacobian, of, by, layout.name, vec)

    return _Form(variable, layout.name, evaluate_block, rearrange)


def _size(tape: Tape, value: int, point: Point) -> tuple[int, int]:
    rows, columns = tape.shapes[value]
    return size_of(rows, point.sizes), size_of(columns, point.sizes)


def _abstract_forms(tape: Tape, output: int, variables: Sequence[int]) -> list[_Form]:
    derivation = derive(tape, output, variables)
    maps = inline(derivation)
    forms = []
    for layout in LAYOUTS.values():
        transposed = layout.transposes(tape.shapes[output])
        nodes = orient(maps, tape.shapes[output], layout)
        for position, variable in enumerate(variables):

            def evaluate_block(
                point: Point,
                numbers: Numbers,
                opaque: Opaque,
                nodes: tuple[Map, ...] = nodes,
                position: int = position,
                transposed: bool = transposed,
            ) -> Dense:
                return _evaluate_maps(derivation, nodes, position, transposed, point, numbers, opaque)

            def rearrange(jacobian: Dense, _point: Point, transposed: bool = transposed) -> Dense:
                return dense.transpose(jacobian) if transposed else jacobian

            forms.append(_Form(variable, layout.name, evaluate_block, rearrange))
    return forms


class _Multiple(NamedTuple):
    """A number times the identity, of a size that its place decides."""

    number: Any


def _evaluate_maps(
    derivation: Derivation, nodes: Sequence[Map], position: int, transposed: bool, point: Point, numbers: Numbers, opaque: Opaque
) -> Dense:
    """A block of products of layers; numbers stay numbers until they meet a matrix."""
    tape = derivation.tape
    values = evaluate_tape(tape, point.leaves, point.sizes, numbers, opaque)
    root = derivation.blocks[position]
    found: dict[int, Dense | _Multiple] = {}
    stack = [root]
    while stack:
        index = stack[-1]
        waiting = [arg for arg in nodes[index].args if arg not in found]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if index not in found:
            found[index] = _evaluate_map(tape, nodes[index], [found[arg] for arg in nodes[index].args], values, numbers, opaque)
    result = found[root]
    if not isinstance(result, _Multiple):
        return result
    rows, columns = (len(dense.entries(values[value])) for value in (derivation.output, derivation.variables[position]))
    if nodes[root].kind == "zero":
        return dense.filled((columns, rows) if transposed else (rows, columns), result.number)
    return dense.scale(result.number, dense.identity(rows, numbers))


def _evaluate_map(
    tape: Tape, node: Map, args: list[Dense | _Multiple], values: list[Dense], numbers: Numbers, opaque: Opaque
) -> Dense | _Multiple:
    if node.kind in ("identity", "zero", "multiple"):
        number = {"identity": Fraction(1), "zero": Fraction(0), "multiple": node.coefficient}[node.kind]
        return _Multiple(numbers.from_fraction(number))
    if node.kind == "times":
        return _Multiple(values[node.of][0][0])
    if node.kind == "product":
        result = args[0]
        for factor in args[1:]:
            result = _multiply(result, factor)
        return result
    if node.kind == "sum":
        size = next((dense.size(arg)[0] for arg in args if not isinstance(arg, _Multiple)), None)
        if size is None:
            return _Multiple(sum((arg.number for arg in args if isinstance(arg, _Multiple)), numbers.from_fraction(Fraction(0))))
        identity = dense.identity(size, numbers)
        terms = [dense.scale(arg.number, identity) if isinstance(arg, _Multiple) else arg for arg in args]
        total = terms[0]
        for term in terms[1:]:
            total = dense.add(total, term)
        return total
    if node.kind == "scale":
        matrix = dense.vec(values[node.of])
    else:
        step = tape.steps[node.of - tape.leaves]
        inputs = [values[source] for source in step.inputs]
        matrix = opaque.jacobian(step.name, inputs, len(dense.entries(values[node.of])), node.by, numbers)
    return dense.transpose(matrix) if node.adjoint else matrix


def _multiply(one: Dense | _Multiple, other: Dense | _Multiple) -> Dense | _Multiple:
    if isinstance(one, _Multiple) and isinstance(other, _Multiple):
        return _Multiple(one.number * other.number)
    if isinstance(one, _Multiple):
        return dense.scale(one.number, other)  # type: ignore[arg-type]
    return dense.scale(other.number, one) if isinstance(other, _Multiple) else dense.product(one, other)


def numerical_hessian(tape: Tape, output: int, one: int, other: int, point: Point, opaque: Opaque) -> Dense:
    """Second derivatives of a scalar by differences: entries of ``one`` by entries of ``other``."""
    step = Fraction(1, 10 ** (DIGITS // 2))
    values = evaluate_tape(tape, point.leaves, point.sizes, FLOATS, opaque)
    start = {value: point.leaves.get(value, [[Fraction(entry) for entry in row] for row in values[value]]) for value in (one, other)}
    shape = dense.size(start[other])
    columns = []
    for k in range(len(dense.entries(start[other]))):
        sides = []
        for sign in (1, -1):
            entries = list(dense.entries(start[other]))
            entries[k] += sign * step
            given = {**point.leaves, one: start[one], other: dense.from_entries(entries, shape)}
            sides.append(numerical_jacobian(tape, output, one, Point(point.sizes, given), opaque, 2 * DIGITS)[0])
        columns.append([(ahead - behind) / (2 * step.numerator) * step.denominator for ahead, behind in zip(*sides, strict=True)])
    return dense.transpose(columns)
