"""Ways of computing derivatives through concrete layers, as plans of matrix operations.

Backwards an adjoint goes through every step, forwards an increment, as people compute it: no ∂z/∂W is ever formed. An output of several
entries takes one sweep backwards for each of them, a variable one sweep forwards for each of its entries; what does not depend on
the sweep, such as σ'(z), is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jacobian_chain.arrays import ONE, Arrays
from jacobian_chain.calculus import edges, gradients
from jacobian_chain.elementary import act
from jacobian_chain.layer_plans import Entries, ancestors
from jacobian_chain.numeric import size_of
from jacobian_chain.tape import SCALAR, Tape
from jacobian_chain.workload import Operation, Plan

CONSTANT = frozenset({"number", "constant", "dimension", "ones", "zeros", "identity", "unit", "commutation", "embedding"})
"""Operations whose entries are numbers of the formula."""

LOCAL = frozenset({"partial", "gradient", "curvature"})
"""Derivatives of layers without a definition: given."""

VIEWS = frozenset({"transpose", "vec", "reshape", "diag"})
"""Operations that only arrange entries anew."""

FREE = frozenset({"diagonal", "beside", "below", "trace"})
"""Operations that take no multiplications."""

FUNCTIONS = frozenset({"apply", "indicator", "norm1"})
"""Operations that apply a function to each entry."""


MAX_INPUTS = 20_000
"""Most inputs of all operations of gradients that are written out and bracketed."""


class ArrayPlan(NamedTuple):
    """A plan over array expressions.

    Attributes:
        arrays: the expressions.
        plan: the operations; ``source`` is the node of the expression.
        adjoints: backwards, the operation of each value's adjoint by value.
        roots: the operation of each variable's derivative, -1 for 0.
        values: the computed values that are needed.
        applied: how many entries functions and their derivatives are applied to, on the way.
        uncounted: operations that are not counted, by name.
        skipped: how many roots are not planned because they are too long, all being -1 then.
    """

    arrays: Arrays
    plan: Plan
    adjoints: dict[int, int]
    roots: tuple[int, ...]
    values: frozenset[int]
    applied: int
    uncounted: tuple[str, ...]
    skipped: int = 0


def plan_gradients(
    tape: Tape, output: int, variables: Sequence[int], entries: Entries, sizes: Mapping[str, int], named: bool = True
) -> ArrayPlan:
    """One sweep backwards for each entry of the output: for every value with a name its adjoint once, then the variables'.

    With ``named`` off the gradients are written out, each an expression by itself.
    """
    arrays = Arrays(tape)
    target = output
    seeds: dict[int, int] = {}
    if tape.shapes[output] != SCALAR:
        seed = arrays.add("symbol", tape.shapes[output], (), "")
        seeds[seed] = entries.of[output]
        target = arrays.inner(seed, output)
    lines: dict[int, int] = {}
    wanted = frozenset(variables)

    def visit(value: int, adjoint: int) -> int:
        if value >= len(tape.names) or value in lines or not (tape.names[value] or value in wanted):
            return adjoint
        lines[value] = adjoint
        return adjoint if value < tape.leaves else arrays.adjoint(output, value)

    found = gradients(arrays, target, variables, visit if named else None)
    roots = [lines.get(variable, found[variable]) for variable in variables]
    translation = _Translation(arrays, entries, sizes, seeds, lines)
    if not named and not translation.is_short(roots):
        return ArrayPlan(arrays, Plan(), {}, (-1,) * len(roots), frozenset(), 0, (), len(roots))
    translation.run([*lines.values(), *roots])
    return translation.result({value: translation.made[node] for value, node in lines.items()}, roots)


def plan_directions(tape: Tape, output: int, variables: Sequence[int], entries: Entries, sizes: Mapping[str, int]) -> ArrayPlan:
    """The tangents of every value, one for each entry of each variable; values are forgotten when they are used up.

    The plan's root is the output's tangent. Directions are any: that those of a variable itself are columns of I is not made use of.
    """
    arrays = Arrays(tape)
    translation = _Translation(arrays, entries, sizes, {}, {}, values=True)
    held = frozenset(variables)
    plan = translation.plan
    groups = {variable: 1 << position for position, variable in enumerate(variables)}
    tangents: dict[int, int] = {}
    seeds: dict[int, int] = {}
    masks: dict[int, int] = {}
    for position, variable in enumerate(variables):
        size = entries.of[variable]
        masks[size] = masks.get(size, 0) | 1 << position
        tangents[variable] = plan.given(variable, entries.rows[variable], entries.columns[variable], repeat=size)
    towards = ancestors(tape, output, held)
    for value in sorted(ancestors(tape, output)):
        if value < tape.leaves:
            continue
        if value != output:
            translation.run((value,))
        if value in held or value not in towards:
            continue
        terms, group = [], 0
        for source, words in edges(arrays, value):
            if source not in tangents or not words:
                continue
            if source not in seeds:
                seeds[source] = arrays.add("symbol", tape.shapes[source], (), str(source))
                translation.made[seeds[source]] = tangents[source]
            node = act(arrays, words, seeds[source], tape.shapes[value])
            translation.run((node,))
            terms.append(translation.made[node])
            group |= groups[source]
        if terms:
            repeat = sum([size * (mask & group).bit_count() for size, mask in masks.items()])
            rows, columns = entries.rows[value], entries.columns[value]
            joined = Operation("sum", tuple(terms), rows, columns, rows * columns, 0, value, (ONE,) * len(terms), repeat=repeat)
            tangents[value] = terms[0] if len(terms) == 1 else plan.add(joined)
            groups[value] = group
    root = tangents.get(output, -1)
    if root >= 0:
        root = plan.keep(root)
    return ArrayPlan(arrays, plan, {}, (root,), frozenset(), translation.applied, tuple(translation.uncounted))


class _Translation:
    """Makes a plan of array expressions."""

    def __init__(
        self,
        arrays: Arrays,
        entries: Entries,
        sizes: Mapping[str, int],
        seeds: Mapping[int, int],
        lines: Mapping[int, int],
        values: bool = False,
    ) -> None:
        self.arrays = arrays
        self.tape = arrays.tape
        self.entries = entries
        self.sizes = sizes
        self.seeds = seeds
        self.lines = lines
        self.with_values = values  # computed along the way rather than kept
        self.plan = Plan()
        self.made: dict[int, int] = {}
        self.values: set[int] = set()
        self.applied = 0
        self.uncounted: dict[str, None] = {}
        self._known: dict[str, int] = {}

    def run(self, roots: Iterable[int]) -> None:
        """Make the operations of expressions."""
        for node in self._needed(roots):
            self.made[node] = self._make(node)

    def result(self, adjoints: dict[int, int], roots: Sequence[int]) -> ArrayPlan:
        """The plan, with results that are held."""
        found = []
        for root in roots:
            made = self.made[root]
            if self.arrays.is_zero(root):
                found.append(-1)
                continue
            found.append(self.plan.keep(made))
        values = frozenset(self.values)
        return ArrayPlan(self.arrays, self.plan, adjoints, tuple(found), values, self.applied, tuple(self.uncounted))

    def _needed(self, roots: Iterable[int]) -> list[int]:
        """The nodes that have to be made, in order."""
        arrays, count = self.arrays, len(self.tape.names)
        found: set[int] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node in found or node in self.made:
                continue
            found.add(node)
            if node < count:
                if self.with_values and node >= self.tape.leaves:
                    stack += arrays.steps[node].inputs
                continue
            stack += self._inputs(node)
        return sorted(found)

    def is_short(self, roots: Iterable[int]) -> bool:
        """Whether expressions have few enough factors to plan them."""
        steps = self.arrays.steps
        return sum(len(steps[node].inputs) for node in self._needed(roots)) <= MAX_INPUTS

    def _inputs(self, node: int) -> tuple[int, ...]:
        """What a derived node is made of."""
        step = self.arrays.steps[node]
        if step.operation == "adjoint":
            return (self.lines[int(step.coefficients[1])],)
        if step.operation in LOCAL:
            if self.with_values:
                return step.inputs
            self.values.update(source for source in step.inputs if source >= self.tape.leaves)
            return ()
        if step.operation in ("trace", "diagonal") and self._is_own_product(step.inputs[0]):
            return self.arrays.steps[step.inputs[0]].inputs
        return step.inputs

    def _is_own_product(self, node: int) -> bool:
        return node >= len(self.tape.names) and self.arrays.steps[node].operation == "product"

    def _size(self, text: str) -> int:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = size_of(text, self.sizes)
        return known

    def _make(self, node: int) -> int:
        step, shape, plan = self.arrays.steps[node], self.arrays.shapes[node], self.plan
        rows, columns = self._size(shape.rows), self._size(shape.columns)
        if node < len(self.tape.names):
            return self._value(node, rows, columns)
        operation = step.operation
        if operation == "identity":
            return plan.identity(rows)
        if operation in CONSTANT:
            return plan.add(Operation("constant", (), rows, columns, 0, 0, node))
        if operation == "symbol":
            return plan.given(node, rows, columns, repeat=self.seeds[node])
        if operation == "adjoint":
            return self.made[self.lines[int(step.coefficients[1])]]
        if operation in LOCAL:
            points = tuple([self.made[source] for source in step.inputs if source in self.made]) if self.with_values else ()
            return plan.given(node, rows, columns, inputs=points)
        if operation in ("trace", "diagonal") and self._is_own_product(step.inputs[0]):
            return self._rowwise(node, operation == "trace")
        inputs = tuple([self.made[source] for source in step.inputs])
        if operation == "sum":
            return plan.sum(list(zip(step.coefficients, inputs, strict=True)), rows, columns)
        if operation == "scale":
            return plan.scale(*inputs)
        if operation == "product":
            return plan.multiply(inputs)
        entries = rows * columns
        filled = [plan.operations[made].filled for made in inputs]
        count = 0
        full = entries if any(filled) else 0
        if operation == "hadamard":
            count = entries * max(0, sum(1 for each in filled if each) - 1)
            return plan.add(Operation("hadamard", inputs, rows, columns, full, count, node))
        if operation in VIEWS:
            return self._view(node, inputs[0], rows, columns)
        if operation == "power":
            exponent = step.coefficients[0]
            if exponent < 0 or exponent.denominator > 1:
                self.applied += entries
            count = entries * max(0, abs(exponent.numerator) - 1) if exponent.denominator == 1 else 0
            return plan.add(Operation("power", inputs, rows, columns, full, count, node, step.coefficients))
        if operation == "sqnorm":
            return plan.add(Operation("other", inputs, 1, 1, full, filled[0], node))
        if operation in FUNCTIONS:
            self.applied += plan.operations[inputs[0]].rows * plan.operations[inputs[0]].columns
        elif operation == "kron":
            count = filled[0] * filled[1]
            if full:
                full = math.prod(_nonzero(plan.operations[made]) for made in inputs)
        elif operation not in FREE:
            self.uncounted[operation] = None
        return plan.add(Operation("other", inputs, rows, columns, full, count, node))

    def _value(self, node: int, rows: int, columns: int) -> int:
        """A value of the composition: kept from the forward sweep, or computed on the way."""
        step, plan = self.arrays.steps[node], self.plan
        if step.operation == "identity":
            return plan.identity(rows)
        if step.operation in CONSTANT:
            return plan.add(Operation("constant", (), rows, columns, 0, 0, node))
        filled = min(rows, columns) if step.operation == "diag" and rows == columns else rows * columns
        if node < self.tape.leaves:
            return plan.given(node, rows, columns, filled)
        if not self.with_values:
            kept = node
            while self.arrays.steps[kept].operation in VIEWS:
                kept = self.arrays.steps[kept].inputs[0]
            if kept >= self.tape.leaves and self.arrays.steps[kept].operation not in CONSTANT:
                self.values.add(kept)
            return plan.given(node, rows, columns, filled)
        points = tuple([self.made[source] for source in step.inputs])
        if step.operation in VIEWS and plan.operations[points[0]].kind == "value":
            return self._view(node, points[0], rows, columns)
        if step.operation in VIEWS:
            return plan.given(node, rows, columns, filled, points)
        return plan.add(Operation("value", points, rows, columns, filled, 0, node))

    def _view(self, node: int, source: int, rows: int, columns: int) -> int:
        made = self.plan.operations[source]
        if made.kind == "given":
            return self.plan.given(node, rows, columns, made.filled, (source,), made.repeat)
        return self.plan.add(Operation("view", (source,), rows, columns, made.filled, 0, node))

    def _rowwise(self, node: int, traced: bool) -> int:
        """The diagonal of a product, or its sum: the first factors' product, and the last factor column by column."""
        plan = self.plan
        factors = [self.made[source] for source in self.arrays.steps[self.arrays.steps[node].inputs[0]].inputs]
        left, right = plan.multiply(factors[:-1]), factors[-1]
        one, other = plan.operations[left], plan.operations[right]
        count = min(one.filled, other.filled)  # where one of them is full that of the other
        shape = (1, 1) if traced else (one.rows, 1)
        filled = shape[0] if one.filled or other.filled else 0
        return plan.add(Operation("traced" if traced else "rows", (left, right), *shape, filled, count, node))


def _nonzero(made: Operation) -> int:
    """How many entries of a factor are not known to be 0; other constants than the identity are taken for ones."""
    return made.rows if made.kind == "identity" else made.filled or made.rows * made.columns
