"""The reverse sweep: from a tape, an output and variables to the blocks of the Jacobian, factored.

Every path from a variable to the output contributes the product of the partial Jacobians along it (the chain rule); a block
is their sum. Paths are never enumerated. Let d(v) be the first value through which all paths from v lead (its immediate
post-dominator), and E(v) the derivative of d(v) by v; then

    d output / d v = (d output / d d(v)) · E(v),    E(v) = Σ over uses (s, j) of v: E(s → d(v)) · ∂s/∂slot j

so a chain is a product of factors, and a residual connection is one factor (I + …). Where an E would be repeated inside of other
sums (the graph is not series-parallel) it gets a name, d d(v) / d v. With ``shared`` each value's adjoint gets a name, one line
each, in the order in which backpropagation computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jacobian_chain.errors import LimitError
from jacobian_chain.maps import IDENTITY, ZERO, Arena, Joint, Map, expand
from jacobian_chain.tape import Tape

MAX_FACTORS = 1_000_000
"""Most factors that are written out before shared adjoints get names instead."""


class Line(NamedTuple):
    """One equation of a derivation: d value ``of`` / d value ``by`` is the node ``map``."""

    of: int
    by: int
    map: int


class Derivation(NamedTuple):
    """The blocks of d output / d variables in numerator layout.

    Attributes:
        tape: the composition.
        output: the value that is differentiated.
        variables: the values that it is differentiated by, one block each.
        label: what stands for all variables together, such as θ; empty where nothing does.
        maps: the nodes of all blocks and definitions (see :mod:`jacobian_chain.maps`).
        blocks: the node of each variable's block.
        definitions: names for repeated parts, in an order in which they can be computed.
        lines: with ``shared``, all definitions and blocks in the order of backpropagation; else empty.
        scalar_fed: for each variable, whether everything that uses it directly is a scalar.
        overflow: whether the limit on factors made the adjoints shared.
        joints: what the ``joint`` nodes stand for.
    """

    tape: Tape
    output: int
    variables: tuple[int, ...]
    label: str
    maps: tuple[Map, ...]
    blocks: tuple[int, ...]
    definitions: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()
    scalar_fed: tuple[bool, ...] = ()
    overflow: bool = False
    joints: tuple[Joint, ...] = ()


def derive(
    tape: Tape, output: int, variables: Sequence[int], label: str = "", shared: bool = False, limit: int = MAX_FACTORS
) -> Derivation:
    """The blocks of d output / d variables; a variable that is an intermediate value is held free.

    Args:
        tape: the composition.
        output: the value to differentiate.
        variables: values to differentiate by.
        label: a name for all of them together.
        shared: name every adjoint instead of writing products out.
        limit: most factors that are written out; beyond it adjoints are shared.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = x + f(x, t)")).tape
    >>> derivation = derive(tape, 3, [0])
    >>> [(node.kind, node.args) for node in derivation.maps[2:]]
    [('partial', ()), ('sum', (0, 2))]
    """
    sweep = _Sweep(tape, output, tuple(variables))
    overflow = not shared and sweep.count_factors() > limit
    lines: list[Line] = []
    if shared or overflow:
        blocks, lines = sweep.share()
        definitions = tuple(line for line in lines if line.by not in sweep.held)
    else:
        blocks, definitions = sweep.factor()
    maps = tuple(sweep.arena.maps)
    return Derivation(tape, output, tuple(variables), label, maps, blocks, definitions, tuple(lines), sweep.scalar_fed(), overflow)


class Trace(NamedTuple):
    """A derivation, and how each block comes about: for each variable nodes that are equal, the last of them the block.

    The first has one factor behind the name of a derivative, the next one more, as the name is replaced by what it stands for.
    """

    derivation: Derivation
    chains: tuple[tuple[int, ...], ...]


def trace(tape: Tape, output: int, variables: Sequence[int], label: str = "", limit: int = MAX_FACTORS, longest: int = 8) -> Trace:
    """The blocks of d output / d variables, each factor by factor from the variable outwards.

    A chain that would have more than ``longest`` lines has its first and its last one.

    Raises:
        LimitError: there would be more than ``limit`` factors.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("f(g(h(x)))")).tape
    >>> found = trace(tape, 3, [0])
    >>> [[found.derivation.maps[arg].kind for arg in found.derivation.maps[node].args] for node in found.chains[0]]
    [['total', 'partial'], ['total', 'partial', 'partial'], ['partial', 'partial', 'partial']]
    """
    sweep = _Sweep(tape, output, tuple(variables))
    count = sweep.count_factors()
    blocks, definitions = sweep.factor()
    chains = []
    for variable, block in zip(variables, blocks, strict=True):
        path = [variable]
        while 0 <= path[-1] < output and sweep.dominator[path[-1]] >= 0:
            path.append(sweep.dominator[path[-1]])
        factors = [sweep.local[value] for value in path[:-1]]
        ends = [end for end in range(1, len(path) - 1) if tape.nested or tape.names[path[end]]]
        ends = ends if len(ends) < longest else ends[:1]
        count += sum(end + 1 for end in ends)
        if count > limit:
            raise LimitError(
                f"written out, the blocks have more than {limit:,} factors", hint="--steps backprop has one line for each value"
            )
        lines = [sweep.arena.product([sweep._adjoint_of(path[end]), *reversed(factors[:end])]) for end in ends]
        chains.append((*lines, sweep.arena.product(reversed(factors)) if lines else block))
    derivation = Derivation(
        tape, output, tuple(variables), label, tuple(sweep.arena.maps), blocks, definitions, scalar_fed=sweep.scalar_fed()
    )
    return Trace(derivation, tuple(chains))


def expand_derivation(derivation: Derivation, limit: int = MAX_FACTORS) -> Derivation:
    """The same blocks with all sums distributed and no named parts: one product for each path.

    Raises:
        LimitError: there would be more than ``limit`` factors.
    """
    scalar = [derivation.tape.shapes[value].is_scalar for value in derivation.variables]
    maps, blocks = expand(inline(derivation), derivation.blocks, scalar, limit)
    return derivation._replace(maps=maps, blocks=blocks, definitions=(), lines=())


def inline(derivation: Derivation) -> tuple[Map, ...]:
    """The nodes with every name replaced by the product that it stands for; the indices stay."""
    named = {(line.of, line.by): line.map for line in derivation.definitions}
    return tuple(
        Map("product", args=(named[node.of, node.by],)) if node.kind == "total" and (node.of, node.by) in named else node
        for node in derivation.maps
    )


def differentiate_step(arena: Arena, tape: Tape, value: int, slot: int) -> int:
    """The node of the derivative of the step that computes a value in one slot: the rule of its operation.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> arena = Arena()
    >>> index = differentiate_step(arena, read_composition(Source("y = x - 2 f(x)")).tape, 2, 1)
    >>> arena.maps[index].kind, str(arena.maps[index].coefficient)
    ('multiple', '-2')
    """
    step = tape.steps[value - tape.leaves]
    if step.operation == "layer":
        return arena.append(Map("partial", value, slot))
    if step.operation == "sum":
        return arena.multiple(step.coefficients[slot])
    scalar, array = step.inputs
    if slot == 1:
        return arena.add(Map("times", scalar))
    kind = "times" if tape.shapes[array].is_scalar else "scale"
    return arena.add(Map(kind, array))


class _Sweep:
    """One pass from the output back to the variables."""

    def __init__(self, tape: Tape, output: int, variables: tuple[int, ...]) -> None:
        self.tape = tape
        self.output = output
        self.variables = variables
        self.held = frozenset(variables)
        self.arena = Arena()
        self.uses = self._find_uses()
        size = output + 1
        self.dominator = [-1] * size  # d(v), -1 where the output does not depend on v
        self.depth = [0] * size
        self.jump = list(range(size))  # an ancestor far up, for logarithmic search
        self.entry = [0] * size  # the slot of d(v) in which the first path enters
        self.named = bytearray(size)
        self.local = [IDENTITY] * size  # the node of E(v), or of its name
        self._adjoints: dict[int, int] = {}  # nodes of the names d output / d v
        self._prefix: dict[int, int] = {}  # nodes of d output / d v that are built already

    def _find_uses(self) -> list[list[tuple[int, int]]]:
        """For each value the (step, slot) pairs through which it reaches the output on the way from a variable."""
        leaves, steps, output, held = self.tape.leaves, self.tape.steps, self.output, self.held
        needed = bytearray(len(self.tape.names))
        needed[output] = 1
        inputs: dict[int, list[tuple[int, int]]] = {}  # of each step that matters, without what has the coefficient 0
        for value in range(output, leaves - 1, -1):
            if needed[value] and value not in held:
                step = steps[value - leaves]
                slots = list(enumerate(step.inputs))
                if step.coefficients:
                    slots = [entry for entry in slots if step.coefficients[entry[0]]]
                inputs[value] = slots
                for _, source in slots:
                    needed[source] = 1
        live = bytearray(len(needed))
        for value in held:
            live[value] = 1
        for value in reversed(inputs):
            for _, source in inputs[value]:
                if live[source]:
                    live[value] = 1
                    break
        uses: list[list[tuple[int, int]]] = [[] for _ in range(output + 1)]
        for value, slots in inputs.items():
            if live[value]:
                for slot, source in slots:
                    if live[source]:
                        uses[source].append((value, slot))
        return uses

    def edge(self, step: int, slot: int) -> int:
        """The node of the derivative of a step in one slot. Asked for once for each slot."""
        return differentiate_step(self.arena, self.tape, step, slot)

    # --- post-dominators ---

    def find_dominators(self) -> None:
        """d(v) for every value, by nearest common ancestors in the tree built so far (Cooper, Harvey & Kennedy, 2001)."""
        for value in range(self.output - 1, -1, -1):
            common = -1
            for step, _ in self.uses[value]:
                if step == self.output or self.dominator[step] >= 0:
                    common = step if common < 0 else self._common(common, step)
            if common >= 0:
                self.dominator[value] = common
                self.depth[value] = self.depth[common] + 1
                # skew-binary jump pointers (Myers, 1983)
                far = self.jump[common]
                even = self.depth[common] - self.depth[far] == self.depth[far] - self.depth[self.jump[far]]
                self.jump[value] = self.jump[far] if even else common

    def _common(self, one: int, other: int) -> int:
        """The nearest common ancestor of two values in the tree of d."""
        depth, jump, dominator = self.depth, self.jump, self.dominator
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = jump[one] if depth[jump[one]] >= depth[other] else dominator[one]
        while one != other:
            if jump[one] != jump[other]:
                one, other = jump[one], jump[other]
            else:
                one, other = dominator[one], dominator[other]
        return one

    def name_repeated(self) -> None:
        """Mark the values whose E is a sum and stands in more than one place inside of other sums."""
        passes = [0] * (self.output + 1)
        for value in range(self.output):
            end = self.dominator[value]
            for step, _ in self.uses[value] if end >= 0 else ():
                if step != end:
                    passes[step] += 1
                    passes[end] -= 1
        for value in range(self.output):
            end = self.dominator[value]
            if end >= 0:
                passes[end] += passes[value]
                self.named[value] = passes[value] > 1 and len(self.uses[value]) > 1

    def count_factors(self) -> int:
        """How many factors the blocks and definitions have when written out; finds the post-dominators on the way."""
        self.find_dominators()
        self.name_repeated()
        total = 0
        length = [0] * (self.output + 1)  # of d output / d v
        for value in range(self.output - 1, -1, -1):
            end = self.dominator[value]
            if end < 0:
                continue
            own = sum(1 + length[step] - length[end] for step, _ in self.uses[value])
            if self.named[value]:
                total += own
                own = 1
            length[value] = length[end] + own
        return total + sum(length[value] for value in self.variables if value < self.output)

    # --- factored blocks ---

    def factor(self) -> tuple[tuple[int, ...], tuple[Line, ...]]:
        """The node of each variable's block, and the definitions of what got a name."""
        arena, dominator, local = self.arena, self.dominator, self.local
        definitions = []
        for value in range(self.output - 1, -1, -1):
            end = dominator[value]
            if end < 0:
                continue
            if len(self.uses[value]) == 1:
                step, slot = self.uses[value][0]
                self.entry[value], local[value] = slot, self.edge(step, slot)
                continue
            terms = []
            for step, slot in self.uses[value]:
                chain = []
                entry, at = slot, step
                while at != end:
                    chain.append(local[at])
                    entry, at = self.entry[at], dominator[at]
                chain.reverse()
                terms.append((entry, arena.product([*chain, self.edge(step, slot)])))
            terms.sort(key=lambda term: term[0])
            self.entry[value] = terms[0][0]
            local[value] = arena.sum([node for _, node in terms], self.tape.shapes[value].is_scalar)
            if self.named[value]:
                definitions.append(Line(end, value, local[value]))
                local[value] = arena.add(Map("total", end, value))
        return tuple(self._block(value) for value in self.variables), tuple(definitions)

    def _block(self, variable: int) -> int:
        """The product of the E along the chain of post-dominators; its beginnings are shared with other blocks."""
        if variable == self.output:
            return IDENTITY
        if variable > self.output or self.dominator[variable] < 0:
            return ZERO
        chain = [variable]
        while self.dominator[chain[-1]] != self.output and chain[-1] not in self._prefix:
            chain.append(self.dominator[chain[-1]])
        top = chain.pop()
        node = self._prefix.get(top, self.local[top])
        self._prefix[top] = node
        for value in reversed(chain):
            node = self._prefix[value] = self.arena.product((node, self.local[value]))
        return node

    # --- shared adjoints ---

    def share(self) -> tuple[tuple[int, ...], list[Line]]:
        """The node of each variable's block and all lines in the order of backpropagation."""
        tape, output = self.tape, self.output
        source = list(range(output + 1))  # the value whose named adjoint a value's adjoint begins with
        tail: list[tuple[int, ...]] = [()] * (output + 1)  # and the factors that follow
        reached = bytearray(output + 1)
        reached[output] = 1
        waiting: dict[int, list[int]] = {}  # variables by the last step of the sweep that feeds them
        lines: list[Line] = []
        blocks = dict.fromkeys(self.variables, ZERO)
        if output in self.held:
            blocks[output] = IDENTITY
            lines.append(Line(output, output, IDENTITY))
        for value in range(output - 1, -1, -1):
            if value < tape.leaves and value in self.held and self.uses[value]:
                waiting.setdefault(min(step for step, _ in self.uses[value]), []).append(value)
        for value in range(output, -1, -1):
            uses = [use for use in self.uses[value] if reached[use[0]]] if value != output else []
            if uses:
                reached[value] = 1
                step, slot = uses[0]
                folded = len(uses) == 1 and not tape.names[value] and len(tail[step]) < 8
                if folded and tape.steps[step - tape.leaves].operation != "layer":
                    source[value] = source[step]
                    tail[value] = tuple(factor for factor in (*tail[step], self.edge(step, slot)) if factor != IDENTITY)
                elif value >= tape.leaves:
                    self._add_line(value, uses, source, tail, lines, blocks)
            for variable in waiting.get(value, ()):
                reached[variable] = 1
                self._add_line(variable, self.uses[variable], source, tail, lines, blocks)
        lines += [Line(output, value, ZERO) for value in self.variables if blocks[value] == ZERO]
        return tuple(blocks[value] for value in self.variables), lines

    def _add_line(
        self,
        value: int,
        uses: list[tuple[int, int]],
        source: list[int],
        tail: list[tuple[int, ...]],
        lines: list[Line],
        blocks: dict[int, int],
    ) -> None:
        """The line of one value's adjoint: the sum over its uses, uses of one adjoint bracketed."""
        arena = self.arena
        groups: dict[int, list[int]] = {}
        for step, slot in uses:
            factor = self.edge(step, slot)
            groups.setdefault(source[step], []).append(arena.product((*tail[step], factor)) if tail[step] else factor)
        terms = []
        scalar = self.tape.shapes[value].is_scalar
        for root, inner in groups.items():
            inside = inner[0] if len(inner) == 1 else arena.sum(inner, scalar)
            terms.append(inside if root == self.output else arena.product((self._adjoint_of(root), inside)))
        node = terms[0] if len(terms) == 1 else arena.sum(terms, scalar)
        lines.append(Line(self.output, value, node))
        if value in blocks:
            blocks[value] = node

    def _adjoint_of(self, value: int) -> int:
        """The node of the name d output / d value."""
        known = self._adjoints.get(value)
        if known is None:
            known = self._adjoints[value] = self.arena.append(Map("total", self.output, value))
        return known

    def scalar_fed(self) -> tuple[bool, ...]:
        """For each variable, whether all that uses it directly is a scalar."""
        shapes = self.tape.shapes
        return tuple(
            all(shapes[step].is_scalar for step, _ in self.uses[value]) if value <= self.output else True for value in self.variables
        )
