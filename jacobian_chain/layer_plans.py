"""Ways of computing the Jacobian of a composition of layers, as plans of matrix operations.

Backwards with every adjoint once, forwards with the tangents of all values side by side, and block by block with the product of each
bracketed in the cheapest way. Local Jacobians are full matrices, and given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.bracketing import Chain, Tree, from_left
from jacobian_chain.derivation import Derivation
from jacobian_chain.maps import ONE, ZERO, Map, count_references, factors
from jacobian_chain.numeric import size_of
from jacobian_chain.tape import Tape
from jacobian_chain.workload import MAX_FACTORS, MAX_SEARCHED, Operation, Plan

_SCALARS = frozenset({"multiple", "times"})


class Backward(NamedTuple):
    """A backward plan.

    Attributes:
        plan: the operations.
        adjoints: the operation that makes the derivative by each value.
        roots: that of each variable, -1 for a block that is 0.
        values: the computed values at which local Jacobians are taken.
    """

    plan: Plan
    adjoints: dict[int, int]
    roots: tuple[int, ...]
    values: frozenset[int]


class Entries:
    """How many entries each value of a tape has."""

    def __init__(self, tape: Tape, sizes: Mapping[str, int]) -> None:
        known: dict[str, int] = {}
        for shape in set(tape.shapes):
            for size in shape:
                known.setdefault(size, size_of(size, sizes))
        self.rows = [known[shape.rows] for shape in tape.shapes]
        self.columns = [known[shape.columns] for shape in tape.shapes]
        self.of = [rows * columns for rows, columns in zip(self.rows, self.columns, strict=True)]


class _Builder:
    """Makes operations of linear maps."""

    def __init__(self, derivation: Derivation, maps: Sequence[Map], entries: Entries) -> None:
        self.tape = derivation.tape
        self.maps = maps
        self.entries = entries.of
        self.plan = Plan()
        self.values: set[int] = set()
        self.named: dict[int, int] = {}  # operations of derivatives that have a name, by variable
        self._given: dict[int, int] = {}
        self._identities: dict[int, int] = {}

    def given(self, index: int) -> int:
        """The operation of an elementary map."""
        known = self._given.get(index)
        if known is None:
            known = self._given[index] = self._elementary(index)
        return known

    def _elementary(self, index: int) -> int:
        node, tape = self.maps[index], self.tape
        if node.kind == "partial":
            inputs = tape.steps[node.of - tape.leaves].inputs
            self.values.update(source for source in inputs if source >= tape.leaves)
            return self.plan.given(index, self.entries[node.of], self.entries[inputs[node.by]])
        if node.of >= tape.leaves:
            self.values.add(node.of)
        return self.plan.given(index, self.entries[node.of] if node.kind == "scale" else 1, 1)

    def identity(self, size: int) -> int:
        """The identity."""
        known = self._identities.get(size)
        if known is None:
            known = self._identities[size] = self.plan.identity(size)
        return known

    def scaled(self, index: int, made: int) -> int:
        """A number or scalar times a result."""
        node = self.maps[index]
        if node.kind == "times":
            return self.plan.scale(self.given(index), made)
        shape = self.plan.operations[made]
        return self.plan.sum([(node.coefficient, made)], shape.rows, shape.columns)

    def is_free(self, index: int) -> bool:
        """Whether a map is made without multiplications."""
        node = self.maps[index]
        if node.kind == "sum":
            return all(self.is_free(arg) for arg in node.args)
        if node.kind == "product":
            kinds = [self.maps[factor].kind for factor in factors(self.maps, index)]
            return kinds.count("multiple") >= len(kinds) - 1
        return node.kind != "times"

    def apply(self, left: int, index: int, size: int) -> int:
        """A result times a map of a line, which acts on ``size`` entries; a sum is made first where that is cheaper."""
        node = self.maps[index]
        if node.kind == "product":
            for factor in factors(self.maps, index):
                left = self.apply(left, factor, size)
            return left
        if node.kind in _SCALARS:
            return self.scaled(index, left)
        if node.kind == "identity":
            return left
        if node.kind == "sum":
            self._prepare(index, size)
            ways = (self._apply_terms, self._apply_whole)
            return min(ways, key=lambda way: self.plan.price(lambda: way(left, index, size)))(left, index, size)
        return self.plan.product(left, self.named[node.by] if node.kind == "total" else self.given(index))

    def _apply_terms(self, left: int, index: int, size: int) -> int:
        """A result times a sum: terms that are made for nothing are added first, the others are applied one by one."""
        plan = self.plan
        rows = plan.operations[left].rows
        multiples, free, others = [], [], []
        for arg in self.maps[index].args:
            coefficient, rest = self.term(arg)
            if rest < 0:
                multiples.append((coefficient, left))
            elif self.is_free(rest):
                free.append((coefficient, self.alone(rest, size)))
            else:
                others.append((coefficient, self.apply(left, rest, size)))
        terms = [*multiples, *others]
        if free:
            inside = plan.sum(free, plan.operations[left].columns, size)
            terms.append((ONE, plan.product(left, inside)))
        return plan.sum(terms, rows, size)

    def _apply_whole(self, left: int, index: int, size: int) -> int:
        """A result times a sum that is made first."""
        return self.plan.product(left, self.alone(index, size))

    def _prepare(self, index: int, size: int) -> None:
        """Make what is given of a map."""
        stack = [index]
        while stack:
            node_index = stack.pop()
            node = self.maps[node_index]
            stack += node.args
            if node.kind in ("partial", "scale", "times"):
                self.given(node_index)
        self.identity(size)

    def term(self, index: int) -> tuple[Fraction, int]:
        """A term of a sum as a number times a map, which is -1 for the identity."""
        node = self.maps[index]
        if node.kind == "identity":
            return ONE, -1
        if node.kind == "multiple":
            return node.coefficient, -1
        return ONE, index

    def alone(self, index: int, size: int) -> int:
        """A map of a line by itself, as a matrix of ``size`` columns."""
        node = self.maps[index]
        if node.kind == "product":
            made, waiting = -1, []
            for factor in factors(self.maps, index):
                if made >= 0:
                    made = self.apply(made, factor, size)
                elif self.maps[factor].kind in _SCALARS:
                    waiting.append(factor)
                else:
                    made = self.alone(factor, size)
            made = self.identity(size) if made < 0 else made
            for factor in sorted(waiting, key=lambda each: self.maps[each].kind, reverse=True):  # scalars before numbers
                made = self.scaled(factor, made)
            return made
        if node.kind in _SCALARS:
            return self.scaled(index, self.identity(size))
        if node.kind == "identity":
            return self.identity(size)
        if node.kind == "sum":
            made_terms = [
                (coefficient, self.identity(size) if rest < 0 else self.alone(rest, size))
                for coefficient, rest in (self.term(arg) for arg in node.args)
            ]
            rows = self.plan.operations[made_terms[0][1]].rows
            return self.plan.sum(made_terms, rows, size)
        return self.named[node.by] if node.kind == "total" else self.given(index)


def plan_backward(derivation: Derivation, entries: Entries) -> Backward:
    """The lines of a derivation with shared adjoints, one after another; every product from the output's side."""
    builder = _Builder(derivation, derivation.maps, entries)
    for line in derivation.lines:
        if line.map != ZERO:
            builder.named[line.by] = builder.plan.keep(builder.alone(line.map, entries.of[line.by]))
    roots = tuple([builder.named.get(variable, -1) for variable in derivation.variables])
    return Backward(builder.plan, builder.named, roots, frozenset(builder.values))


# --- every block by itself, bracketed in the cheapest way ---


class Bracketed(NamedTuple):
    """A plan of factored blocks.

    Attributes:
        plan: the operations.
        roots: those of the blocks; -1 for a block that is 0, or of too many factors.
        unsearched: how many products have too many factors for the search.
    """

    plan: Plan
    roots: tuple[int, ...]
    unsearched: int


def plan_bracketed(derivation: Derivation, entries: Entries) -> Bracketed:
    """The blocks of a factored derivation: each product in its cheapest bracketing, sums and parts with a name made first."""
    builder = _Bracketer(derivation, entries)
    return Bracketed(builder.plan, builder.build(), builder.plan.unsearched)


class _Bracketer(_Builder):
    """Makes products in their cheapest bracketing."""

    def __init__(self, derivation: Derivation, entries: Entries) -> None:
        super().__init__(derivation, derivation.maps, entries)
        self.derivation = derivation
        self.shapes: list[tuple[int, int] | None] = []  # None for a multiple of the identity, which has any
        self.lengths: list[int] = []  # factors
        for node in self.maps:
            self._measure(node)
        self.definitions = {(line.of, line.by): line.map for line in derivation.definitions}
        self.made: dict[int, int] = {}
        self._trunk: list[int] = []  # the factors of the chain
        self._chain: Chain | None = None

    def _measure(self, node: Map) -> None:
        """The rows, columns and factors of the next map."""
        inner = [self.shapes[arg] for arg in node.args]
        known = [shape for shape in inner if shape is not None]
        shape = None
        if node.kind == "partial":
            source = self.tape.steps[node.of - self.tape.leaves].inputs[node.by]
            shape = (self.entries[node.of], self.entries[source])
        elif node.kind == "total":
            shape = (self.entries[node.of], self.entries[node.by])
        elif node.kind == "scale":
            shape = (self.entries[node.of], 1)
        elif known:
            shape = (known[0][0], known[-1][1])
        self.shapes.append(shape)
        self.lengths.append(sum([self.lengths[arg] for arg in node.args]) if node.kind == "product" else 1)

    def build(self) -> tuple[int, ...]:
        """The operations of the blocks."""
        maps, derivation = self.maps, self.derivation
        defined = set(self.definitions.values())
        needed = count_references(maps, [*derivation.blocks, *defined])
        inside = {arg for index, node in enumerate(maps) if needed[index] and node.kind == "sum" for arg in node.args} | defined
        for index, node in enumerate(maps):
            if needed[index] and self.shapes[index] is not None and (index in inside or node.kind in ("sum", "total")):
                self.made[index] = self._make(index)
        roots = [(self.lengths[root], position, root) for position, root in enumerate(derivation.blocks) if root != ZERO]
        found = dict.fromkeys(range(len(derivation.blocks)), -1)
        for _, position, root in sorted(roots):  # what begins like a shorter chain goes on from there
            if root not in self.made:
                size = self.entries[derivation.variables[position]]
                self.made[root] = self._make(root) if self.shapes[root] is not None else self.alone(root, size)
            if self.made[root] >= 0:
                found[position] = self.plan.keep(self.made[root])
        return tuple(found.values())

    def _make(self, index: int) -> int:
        """The operation of a map whose parts are made, and that is no multiple of the identity; -1 where a product is too long."""
        node, shape = self.maps[index], self.shapes[index]
        assert shape is not None, "it has a shape"
        if node.kind == "product":
            if self.lengths[index] > MAX_FACTORS:
                self.plan.unsearched += 1
                return -1
            return self._make_product(index)
        if node.kind == "total":
            return self.made[self.definitions[node.of, node.by]]
        if node.kind == "sum":
            terms = [self.term(arg) for arg in node.args]
            made = [(coefficient, self.identity(shape[1]) if rest < 0 else self._part(rest, shape[1])) for coefficient, rest in terms]
            return self.plan.sum(made, *shape) if all(part >= 0 for _, part in made) else -1
        return self.given(index)

    def _part(self, index: int, size: int) -> int:
        """The operation of a factor or term that acts on ``size`` entries."""
        if self.shapes[index] is None:
            return self.alone(index, size)
        return self.made[index] if index in self.made else self.given(index)

    def _make_product(self, index: int) -> int:
        """A product; scalars are applied where its bracketing has the smallest matrix."""
        parts = list(factors(self.maps, index))
        scalars = [factor for factor in parts if self.maps[factor].kind in _SCALARS]
        matrices = [factor for factor in parts if self.maps[factor].kind not in _SCALARS]
        shapes = [self.shapes[factor] for factor in matrices]
        first = next(shape for shape in shapes if shape is not None)
        spans: dict[tuple[int, int], int] = {}
        size = first[0]
        for k, (factor, shape) in enumerate(zip(matrices, shapes, strict=True)):
            spans[k, k + 1] = self._part(factor, size)
            size = size if shape is None else shape[1]
        if -1 in spans.values():
            return -1
        tree = self._search(matrices, list(spans.values()))
        known = self.plan.operations
        ends = [known[made] for made in spans.values()]
        smallest = min([*spans, *((i, j) for i, _, j in tree)], key=lambda span: ends[span[0]].rows * ends[span[1] - 1].columns)
        scalars.sort(key=lambda each: self.maps[each].kind, reverse=True)  # before numbers

        def scale(i: int, j: int) -> None:
            for scalar in scalars if (i, j) == smallest else ():
                spans[i, j] = self.scaled(scalar, spans[i, j])

        for k in range(len(matrices)):
            scale(k, k + 1)
        for i, k, j in tree:
            spans[i, j] = self.plan.product(spans[i, k], spans[k, j])
            scale(i, j)
        return spans[0, len(matrices)]

    def _search(self, matrices: list[int], made: list[int]) -> Tree:
        """The cheapest bracketing; chains that begin alike are searched together."""
        count = len(matrices)
        if count < 3:
            return from_left(count)
        known = [self.plan.operations[index] for index in made]
        common = 0
        while common < min(count - 1, len(self._trunk)) and made[common] == self._trunk[common]:
            common += 1
        steps = sum(k * k // 2 for k in range(common, count))
        if count > MAX_FACTORS or self.plan.searched + steps > MAX_SEARCHED:
            self.plan.unsearched += 1
            return from_left(count)
        self.plan.searched += steps
        if self._chain is None or not common:
            self._chain = Chain(known[0].rows)
        self._chain.truncate(common)
        for factor in known[common:-1]:
            self._chain.append(factor.columns, factor.filled)
        self._trunk = made[:-1]
        return self._chain.best_with(known[-1].columns, known[-1].filled).splits


# --- forwards ---


class Tangent(NamedTuple):
    """The derivatives of a value by several variables.

    Attributes:
        made: the operation that makes them, side by side as columns; -1 if there are none.
        group: the variables by which that is, one bit each.
        constant: for each other variable the multiple of the identity that the derivative is.
    """

    made: int
    group: int
    constant: dict[int, Fraction]


class Forward(NamedTuple):
    """A forward plan: the operations, in the order in which they are done, and the tangent of the output."""

    plan: Plan
    tangent: Tangent


def plan_forward(tape: Tape, output: int, variables: Sequence[int], entries: Entries) -> Forward:
    """The tangents of all values by all variables, one value after another; values are forgotten when they are used up."""
    return _Pusher(tape, output, variables, entries).push()


class _Pusher:
    """Carries tangents forward."""

    def __init__(self, tape: Tape, output: int, variables: Sequence[int], entries: Entries) -> None:
        self.tape = tape
        self.output = output
        self.entries = entries.of
        self.variables = variables
        self.plan = Plan()
        self.points: tuple[int, ...] = ()
        self.tangents = {variable: Tangent(-1, 0, {position: ONE}) for position, variable in enumerate(variables)}
        self._masks: dict[int, int] = {}  # the variables of each size
        for position, variable in enumerate(variables):
            size = self.entries[variable]
            self._masks[size] = self._masks.get(size, 0) | 1 << position

    def push(self) -> Forward:
        """The plan."""
        tape, held = self.tape, frozenset(self.variables)
        needed, towards = ancestors(tape, self.output), ancestors(tape, self.output, held)
        values: dict[int, int] = {}
        for value in sorted(needed):
            step = tape.step(value)
            if step is None:
                continue
            self.points = tuple([values[source] for source in step.inputs if source in values])
            if value in towards and value not in held:
                self._step(value)
            if value != self.output:
                size = self.entries[value]
                values[value] = self.plan.add(Operation("value", self.points, size, 1, size, 0, value))
        return Forward(self.plan, self.tangents.get(self.output, Tangent(-1, 0, {})))

    def _step(self, value: int) -> None:
        """The tangent of a value from those of its inputs."""
        step = self.tape.steps[value - self.tape.leaves]
        terms: list[tuple[Fraction, int, int]] = []
        constant: dict[int, Fraction] = {}
        for slot, source in enumerate(step.inputs):
            tangent = self.tangents.get(source)
            if tangent is None:
                continue
            if step.operation == "sum":
                coefficient = step.coefficients[slot]
                if coefficient and tangent.made >= 0:
                    terms.append((coefficient, tangent.made, tangent.group))
                for variable, multiple in tangent.constant.items() if coefficient else ():
                    constant[variable] = constant.get(variable, Fraction(0)) + coefficient * multiple
                continue
            terms += self._apply(value, slot, tangent)
        group = 0
        for _, _, own in terms:
            group |= own
        for variable in [variable for variable in constant if group >> variable & 1]:
            size = self.entries[self.variables[variable]]
            terms.append((constant.pop(variable), self.plan.identity(size), 1 << variable))
        if terms or constant:
            self.tangents[value] = Tangent(self._join(self.entries[value], terms, group), group, constant)

    def _apply(self, value: int, slot: int, tangent: Tangent) -> list[tuple[Fraction, int, int]]:
        """A layer's or a multiple's derivative in one slot times a tangent."""
        plan, entries = self.plan, self.entries
        step = self.tape.steps[value - self.tape.leaves]
        source = step.inputs[slot]
        scalar = False
        if step.operation == "layer":
            rows, columns = entries[value], entries[source]
            local = plan.add(Operation("given", self.points, rows, columns, rows * columns, 0, value, groups=(slot,)))
        else:
            other = step.inputs[1 - slot]
            local = plan.add(Operation("given", self.points, entries[other], 1, entries[other], 0, value, groups=(slot,)))
            scalar = slot == 1 or entries[other] == 1
        found = []
        if tangent.made >= 0:
            found.append((ONE, plan.scale(local, tangent.made) if scalar else plan.product(local, tangent.made), tangent.group))
        for variable, multiple in tangent.constant.items():
            made = plan.scale(local, plan.identity(entries[source])) if scalar else local
            found.append((multiple, made, 1 << variable))
        return found

    def _join(self, rows: int, terms: Sequence[tuple[Fraction, int, int]], group: int) -> int:
        """The sum of tangents, of each variable by itself."""
        if not terms:
            return -1
        plan = self.plan
        columns = sum([size * (mask & group).bit_count() for size, mask in self._masks.items()])
        if len(terms) == 1:
            return plan.keep(plan.sum([terms[0][:2]], rows, columns))
        inputs, coefficients = tuple([made for _, made, _ in terms]), tuple([coefficient for coefficient, _, _ in terms])
        groups = tuple([own for _, _, own in terms])
        return plan.add(Operation("join", inputs, rows, columns, rows * columns, 0, -1, coefficients, groups))


def ancestors(tape: Tape, output: int, held: frozenset[int] = frozenset()) -> set[int]:
    """The values that the output is made of, as far as those that are held free."""
    found: set[int] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            step = tape.step(value)
            stack += step.inputs if step is not None and value not in held else ()
    return found
