r"""The Jacobian derived from the outside in: peel the last layer, multiply out, repeat.

Let f be computed last from the values F = (u_1, …, u_m) and let V be all variables. The chain rule for the outermost layer is

    J_V f = J_F f · J_V F,

and J_V F is a block matrix: the derivative of u_i by the variables that it depends on, the identity where u_i is itself a variable,
0 elsewhere. With F = (L², θ³) this is the augmented matrix

    \begin{pmatrix} J_{x, θ¹, θ²} L² & 0 \\ 0 & I \end{pmatrix}.

Multiplied out, the columns that still differentiate a computed value are peeled in the same way, the value that is computed last
first, until every column belongs to one variable. Values that share no variable are peeled apart: a chain never needs more than one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jacobian_chain.derivation import MAX_FACTORS, Derivation, derive, inline
from jacobian_chain.errors import LimitError, OptionError
from jacobian_chain.maps import IDENTITY, ZERO, Arena, Joint, Map
from jacobian_chain.tape import Tape


class Peel(NamedTuple):
    """One line: the Jacobian is the node ``map``, because ``rule`` is applied to the value ``value``.

    ``rule`` is ``chain`` (the outermost layer, and what it is applied to), ``blocks`` (that as a block matrix), ``peel`` (the chain
    rule for a value inside), ``split`` (one block for each variable), ``multiply`` or ``keep`` (the columns that were asked for).
    """

    map: int
    rule: str
    value: int


class Peeling(NamedTuple):
    """A derivation from the outside in, in numerator layout.

    Attributes:
        derivation: the nodes, with the block of every variable.
        left: the node of the left side, by all variables together.
        lines: what it equals, line by line.
        kept: the last line, with the columns that were asked for.
    """

    derivation: Derivation
    left: int
    lines: tuple[Peel, ...]
    kept: Peel


Column = tuple[int, ...]
"""Variables beside each other."""


class _Group(NamedTuple):
    """Values that share variables: d f by each of them, and their variables in columns that the same values depend on."""

    members: tuple[int, ...]
    row: tuple[int, ...]
    columns: tuple[Column, ...]


def peel(tape: Tape, output: int, variables: Sequence[int], label: str = "", everything: bool = True, limit: int = MAX_FACTORS) -> Peeling:
    """The derivation of d output / d variables from the outside in.

    Args:
        tape: the composition.
        output: the value to differentiate.
        variables: values to differentiate by; computed ones are held free.
        label: a name for all of them together.
        everything: differentiate by all other leaves too, until the last line.
        limit: most factors in all lines together.

    Raises:
        OptionError: one of the variables depends on another one.
        LimitError: the lines would have more factors.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("L2(L1(x, a), b)")).tape
    >>> [line.rule for line in peel(tape, tape.index("f"), [1, 2]).lines]
    ['chain', 'blocks', 'multiply', 'split', 'multiply']
    """
    return _Peeler(tape, output, tuple(variables), label, everything, limit).run()


class _Peeler:
    def __init__(self, tape: Tape, output: int, selected: tuple[int, ...], label: str, everything: bool, limit: int) -> None:
        self.tape = tape
        self.output = output
        self.selected = selected
        self.label = label
        self.arena = Arena()
        self.joints: list[Joint] = []
        self._joint_nodes: dict[Joint, int] = {}
        self.limit = limit
        self.spent = 0
        self.lengths = [1, 1]  # factors of each node
        self.free = self._choose_free(everything)
        self.layers: set[int] = set()  # values whose equation is one layer of different values
        self.locals: dict[int, dict[int, int]] = {}  # of each value the derivative by each value that its equation takes
        self.depends: dict[int, int] = {}  # the variables that a value depends on, as bits
        self._explore()
        self.bit = {value: 1 << k for k, value in enumerate(self.free)}
        reached = [value for value in self.free if self.depends[output] & self.bit[value]]
        place = {value: k for k, value in enumerate(tape.leaves_of([output]))}
        self.variables = tuple(sorted(reached, key=lambda value: place.get(value, value)))

    def _choose_free(self, everything: bool) -> list[int]:
        """The variables: those that were asked for, and with ``everything`` the leaves that none of them depends on."""
        tape, selected = self.tape, set(self.selected)
        below = {value: set(tape.leaves_of([value])) for value in selected if value >= tape.leaves}
        for value in below:
            between = sorted(selected & tape.needed_for(value) - {value})
            if between:
                names = tape.names[value], tape.names[between[0]]
                message = f"{names[0]} depends on {names[1]}: from the outside in, variables that are held free stand for themselves"
                raise OptionError(message, hint="differentiate by one of them at a time, or choose other steps")
        others = set(range(tape.leaves)).difference(*below.values()) if everything else set()
        return sorted(selected | others)

    # --- the composition, equation by equation ---

    def _explore(self) -> None:
        """The derivatives of every value's own equation, and what it depends on."""
        tape = self.tape
        bits = {value: 1 << k for k, value in enumerate(self.free)}
        self.depends = dict(bits)
        needed = {self.output}
        order = []
        for value in range(self.output, -1, -1):
            if value in needed and value >= tape.leaves and value not in bits:
                order.append(value)
                needed.update(self._inputs(value))
        for value in reversed(order):
            live = [source for source in self._inputs(value) if self.depends.get(source)]
            self.locals[value] = self._derive_equation(value, live)
            self.depends[value] = 0
            for source in self.locals[value]:
                self.depends[value] |= self.depends[source]
        self.depends.setdefault(self.output, 0)

    def _inputs(self, value: int) -> list[int]:
        """The values that an equation takes: those with a name, leaves, variables, and what the layers of nested text give."""
        tape = self.tape
        found: dict[int, None] = {}
        stack = list(reversed(tape.steps[value - tape.leaves].inputs))
        while stack:
            source = stack.pop()
            step = tape.step(source)
            if step is None or tape.names[source] or source in self.depends or (tape.nested and step.operation == "layer"):
                found[source] = None
            else:
                stack.extend(reversed(step.inputs))
        return list(found)

    def _derive_equation(self, value: int, inputs: Sequence[int]) -> dict[int, int]:
        """The derivative of an equation by each of the values that it takes, without zeros."""
        step = self.tape.steps[value - self.tape.leaves]
        if step.operation == "layer" and self._inputs(value) == list(step.inputs):
            self.layers.add(value)
            slots = {source: slot for slot, source in enumerate(step.inputs)}
            return {source: self._add(Map("partial", value, slots[source])) for source in inputs}
        derivation = derive(self.tape, value, inputs)
        moved = [IDENTITY, ZERO]
        for node in inline(derivation)[2:]:
            args = tuple(moved[arg] for arg in node.args)
            moved.append(self._add(Map(node.kind, node.of, node.by, node.coefficient, args, scalar=node.scalar)))
        found = {source: moved[root] for source, root in zip(inputs, derivation.blocks, strict=True)}
        return {source: root for source, root in found.items() if root != ZERO}

    # --- nodes ---

    def _add(self, node: Map) -> int:
        """A node of its own; products and sums are added by ``_product`` and ``_sum``."""
        index = self.arena.append(node)
        return self._measured(index)

    def _measured(self, index: int) -> int:
        for node in self.arena.maps[len(self.lengths) : index + 1]:
            self.lengths.append(sum(self.lengths[arg] for arg in node.args) or 1)
        return index

    def _product(self, *factors: int) -> int:
        return self._measured(self.arena.product(factors))

    def _sum(self, terms: Sequence[int], scalar: bool) -> int:
        maps = self.arena.maps
        flat = [part for term in terms for part in (maps[term].args if maps[term].kind == "sum" else (term,))]
        return self._measured(self.arena.sum(flat, scalar))

    def _matrix(self, rows: Sequence[Sequence[int]], of: Sequence[int], by: Sequence[Column]) -> int:
        """The blocks d ``of`` / d ``by``; what is a number is marked as one, for I is 1 there."""
        if len(of) * len(by) > 1:
            shapes = self.tape.shapes
            numbers = [len(column) == 1 and shapes[column[0]].is_scalar for column in by]
            rows = [
                [self._mark(block) if number and shapes[value].is_scalar else block for block, number in zip(row, numbers, strict=True)]
                for row, value in zip(rows, of, strict=True)
            ]
        return self._measured(self.arena.matrix(rows))

    def _mark(self, block: int) -> int:
        node = self.arena.maps[block]
        return block if block == ZERO else self._add(Map("sum", args=node.args if node.kind == "sum" else (block,), scalar=True))

    def _joint(self, of: Sequence[int], by: Sequence[int], direct: bool = False) -> int:
        joint = Joint(tuple(of), tuple(by), direct)
        node = self._joint_nodes.get(joint)
        if node is None:
            self.joints.append(joint)
            node = self._joint_nodes[joint] = self._add(Map("joint", len(self.joints) - 1))
        return node

    # --- rounds ---

    def run(self) -> Peeling:
        """All lines."""
        output = self.output
        lines: list[Peel] = []
        groups = [_Group((output,), (IDENTITY,), (self.variables,))] if self.variables else []
        left = self._joint((output,), self.variables)
        while True:
            pending = [(max(open_), k) for k, group in enumerate(groups) if (open_ := self._computed(group))]
            if not pending:
                break
            value, k = max(pending)
            before, after = groups[:k], groups[k + 1 :]
            inside = self._peel(groups[k], value, first=not lines)
            for node, rule in inside:
                self._line(lines, [*self._cells(before), (node, ()), *self._cells(after)], rule, value)
            groups = [*before, *self._split(groups[k], value), *after]
            self._line(lines, self._cells(groups), "multiply" if inside else "peel", value)
        order = tuple(group.members[0] for group in groups)
        if order != self.variables:  # a group's columns came apart: number the variables so that they do not
            self.variables, self.spent = order, 0
            return self.run()
        blocks = {group.members[0]: group.row[0] for group in groups}
        kept = tuple(blocks.get(value, ZERO) for value in self.selected)
        row = Peel(self._matrix([kept], [output], [(value,) for value in self.selected]), "keep", output)
        derivation = Derivation(self.tape, output, self.selected, self.label, (), kept, scalar_fed=(False,) * len(kept))
        maps = tuple(self.arena.maps)
        return Peeling(derivation._replace(maps=maps, joints=tuple(self.joints)), left, tuple(lines), row)

    def _computed(self, group: _Group) -> list[int]:
        return [value for value in group.members if value not in self.bit]

    def _line(self, lines: list[Peel], cells: list[tuple[int, Column]], rule: str, value: int) -> None:
        node = self._matrix([[cell for cell, _ in cells]], [self.output], [column for _, column in cells])
        self.spent += self.lengths[node]
        if self.spent > self.limit:
            hint = "--steps backprop has one line for each layer; or raise --max-factors"
            raise LimitError(f"the derivation from the outside in would have more than {self.limit:,} factors", hint=hint)
        lines.append(Peel(node, rule, value))

    def _cells(self, groups: Sequence[_Group]) -> list[tuple[int, Column]]:
        """The columns of groups, multiplied out."""
        found = []
        for group in groups:
            for column in group.columns:
                terms = [self._product(factor, self._cell(member, column)) for factor, member in zip(group.row, group.members, strict=True)]
                found.append((self._sum(terms, False), column))
        return found

    def _cell(self, member: int, column: Column) -> int:
        """The derivative of a member by the variables of a column."""
        if column == (member,):
            return IDENTITY
        depends = member not in self.bit and self.depends[member] & self.bit[column[0]]
        return self._joint((member,), column) if depends else ZERO

    def _peel(self, group: _Group, value: int, first: bool) -> list[tuple[int, str]]:
        """The lines in which a group's own place is not multiplied out yet."""
        members, columns = self._members(group, value), self._columns(group, value)
        is_done = all(member in self.bit for member in members)
        if is_done:
            members = [column[0] for column in columns]  # no matrix behind them puts them in order
        each = [(member,) for member in members]
        inner = [[self._cell(member, column) for column in columns] for member in members]
        behind = [] if is_done else [self._matrix(inner, members, columns)]
        found = []
        if len(group.members) > 1:
            before = self._matrix([group.row], [self.output], [(member,) for member in group.members])
            local = self._matrix(self._locals_of(group, value, members), group.members, each)
            found.append((self._product(before, local, *behind), "peel"))
            if behind:
                row = self._matrix([self._row(group, value, members)], [self.output], each)
                found.append((self._product(row, *behind), "multiply"))
            return found
        head = self._head(value, members)
        if first and len(members) > 1 and not is_done:
            found.append((self._product(head, self._joint(members, self.variables)), "chain"))
        if not is_done or first:
            rule = "peel" if not first else "blocks" if found else "chain"
            found.append((self._product(*group.row, head, *behind), rule))
        if group.row[0] != IDENTITY and len(columns) > 1:
            local_of = self.locals[value]
            cells = [
                self._sum([self._product(local_of[member], self._cell(member, column)) for member in members], False) for column in columns
            ]
            found.append((self._product(*group.row, self._matrix([cells], [value], columns)), "split" if is_done else "multiply"))
        return found

    def _head(self, value: int, members: Sequence[int]) -> int:
        """The derivative of an equation by all the values that it takes: one symbol where it is a layer."""
        local = self.locals[value]
        if len(members) > 1 and value in self.layers and list(local) == list(members):
            return self._joint((value,), members, direct=True)
        return self._matrix([[local[member] for member in members]], [value], [(member,) for member in members])

    def _members(self, group: _Group, value: int) -> list[int]:
        """The members with a value replaced by what its equation takes."""
        found: dict[int, None] = {}
        for member in group.members:
            found.update(dict.fromkeys(self.locals[value] if member == value else (member,)))
        return list(found)

    def _locals_of(self, group: _Group, value: int, members: Sequence[int]) -> list[list[int]]:
        """The derivatives of the old members by the new ones."""
        rows = []
        for old in group.members:
            local = self.locals[value] if old == value else {old: IDENTITY}
            rows.append([local.get(member, ZERO) for member in members])
        return rows

    def _row(self, group: _Group, value: int, members: Sequence[int]) -> list[int]:
        """The derivatives of the output by the new members."""
        known = dict(zip(group.members, group.row, strict=True))
        through = known.pop(value)
        local = self.locals[value]
        found = []
        for member in members:
            terms = [known[member]] if member in known else []
            if member in local:
                terms.append(self._product(through, local[member]))
            found.append(self._sum(terms, self.tape.shapes[member].is_scalar))
        return found

    def _columns(self, group: _Group, value: int) -> list[tuple[int, ...]]:
        """The columns as the new members part them, those of one new group beside each other where that is possible."""
        members = self._members(group, value)
        parts = self._components(members)
        found: list[tuple[int, ...]] = []
        for column in group.columns:
            pieces: dict[tuple[int, ...], list[int]] = {}
            first: dict[int, int] = {}  # where the first variable of each new group stands
            for k, variable in enumerate(column):
                users = tuple(k for k, member in enumerate(members) if self._reach(member) & self.bit[variable])
                own = members.index(variable) if variable in members else -1
                pieces.setdefault((first.setdefault(parts[users[0]], k), own, *users), []).append(variable)
            found += [tuple(piece) for _, piece in sorted(pieces.items(), key=lambda entry: entry[0][0])]
        return found

    def _reach(self, member: int) -> int:
        return self.bit.get(member) or self.depends[member]

    def _components(self, members: Sequence[int]) -> list[int]:
        """For each member the first one with which it shares variables, perhaps through others."""
        masks: list[tuple[int, int]] = []  # a first member and the variables of all that belong to it
        for k, member in enumerate(members):
            mask, first = self._reach(member), k
            apart = []
            for one, other in masks:
                if other & mask:
                    mask, first = mask | other, min(first, one)
                else:
                    apart.append((one, other))
            masks = [*apart, (first, mask)]
        return [next(first for first, mask in masks if mask & self._reach(member)) for member in members]

    def _split(self, group: _Group, value: int) -> list[_Group]:
        """The groups that a peeled one falls into, in the order of their columns."""
        members, columns = self._members(group, value), self._columns(group, value)
        row = self._row(group, value, members)
        parts = self._components(members)
        owners = [next(parts[k] for k, member in enumerate(members) if self._reach(member) & self.bit[column[0]]) for column in columns]
        runs = [owner for k, owner in enumerate(owners) if not k or owner != owners[k - 1]]
        if len(runs) > len(set(runs)):  # their columns are not beside each other
            return [_Group(tuple(members), tuple(row), tuple(columns))]
        return [
            _Group(
                tuple(member for k, member in enumerate(members) if parts[k] == owner),
                tuple(factor for k, factor in enumerate(row) if parts[k] == owner),
                tuple(column for column, other in zip(columns, owners, strict=True) if other == owner),
            )
            for owner in runs
        ]
