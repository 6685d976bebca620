"""A tape that is being filled from the statements of a text: its leaves, its groups, its numbers, and what is noticed on the way.

Two readers build on it: one for unspecified layers, their sums and multiples, and one for everything.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.combination import Operand, as_combination
from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, suggest
from jacobian_chain.names import FUNCTIONS, family, is_near, stem
from jacobian_chain.shapes import LOSSES
from jacobian_chain.statements import Statements
from jacobian_chain.syntax import Node
from jacobian_chain.tape import Step, Tape

MAX_EXPONENT = 64
"""Largest exponent of a number."""

MAX_DIGITS = 300
"""Most digits of a number, read or computed."""


class Reading(NamedTuple):
    """A composition that was read, with the choices made on the way."""

    tape: Tape
    notices: tuple[Notice, ...]


class Assembly:
    """Leaves and steps, in an order in which every step comes after its inputs.

    Attributes:
        statements: what is read.
        leaves: names of the leaves.
        names: of all values, empty where the text gives none.
        steps: of the values behind the leaves, each with its node in ``nodes_of_steps``.
        values: the value of each name.
        notices: choices that were made.
        flagged: names of which something was noticed already.
    """

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.program = statements.program
        self.nodes = statements.nodes
        self.tokens = statements.program.tokens
        self.spellings = statements.program.names.spellings
        self.declared = statements.declared
        self.notices = list(statements.program.notices)
        self.leaves: list[str] = []
        self.names: list[str] = []
        self.steps: list[Step] = []
        self.nodes_of_steps: list[Node] = []
        self.values: dict[str, int] = {}
        self.flagged: set[str] = set()
        self.arities: dict[str, int] = {}

    def collect_leaves(self, hidden: frozenset[int] = frozenset(), outside: Collection[str] = ()) -> None:
        """The leaves in the order of their first use, then those that are only declared or in a header.

        Args:
            hidden: nodes that are no values.
            outside: names that are no leaves.
        """
        statements, nodes = self.statements, self.nodes
        defined = {*statements.equations, *statements.groups, *outside}
        seen = dict.fromkeys([name for name in statements.used_names(statements.order, hidden) if name not in defined])
        for equation in statements.groups.values():
            for k in range(equation.low, equation.root):
                if nodes[k].value not in defined:
                    seen.setdefault(nodes[k].value)
        if self.declared:
            layers = {node.value for node in nodes if node.kind == "function"}
            for key in self.declared:
                if key not in defined and key not in layers:
                    seen.setdefault(key)
        if statements.headers:
            bases = {stem(self.spellings[key]) for key in seen if key in self.spellings and self.spellings[key].suffix}
            for parameters in statements.headers.values():
                for key in parameters:
                    if key not in seen and key not in bases and key not in defined:
                        seen.setdefault(key)
            for name, parameters in statements.headers.items():
                known = {*parameters, *self.declared, *statements.groups}
                for key in seen:
                    if known.isdisjoint((key, stem(self.spellings[key]) if key in self.spellings else key)):
                        self.notices.append(Notice(f"{key} is not among the arguments of {name}"))
        self.leaves = list(seen)
        self.names = list(seen)
        self.values = {key: value for value, key in enumerate(seen)}

    def collect_groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Groups with their members: written ones, and a header's parameter that stands for a family of leaves."""
        statements = self.statements
        groups: dict[str, tuple[int, ...]] = {}
        for key, equation in statements.groups.items():
            members = []
            for k in self.nodes[equation.root].args:
                node = self.nodes[k]
                if node.kind != "name":
                    raise ReadingError("a group is a list of names", self.place(node), "write θ = (θ1, θ2, θ3)")
                if node.value not in self.values:
                    hint = "only leaves can be grouped" if node.value in statements.equations else None
                    raise ReadingError(f"{node.value} cannot be a member of a group", self.place(node), hint)
                members.append(self.values[node.value])
            groups[key] = tuple(members)
        for parameters in statements.headers.values():
            for key in parameters:
                if key not in self.values and key not in groups and key not in statements.equations:
                    groups[key] = tuple(self.values[name] for name in family(key, self.leaves, self.spellings))
        return tuple(groups.items())

    def declared_facts(self) -> tuple[tuple[int, str], ...]:
        """What the text declares of its values."""
        return tuple(sorted((self.values[key], fact) for key, fact in self.statements.facts if key in self.values))

    # --- numbers ---

    def read_number(self, node: Node) -> Fraction:
        """The number that a node is."""
        exponent = node.value.lower().partition("e")[2]
        if len(node.value) > MAX_DIGITS or (exponent and abs(int(exponent)) > MAX_DIGITS):
            raise LimitError(f"this number has more than {MAX_DIGITS} digits", self.place(node))
        return Fraction(node.value)

    def bounded(self, number: Fraction, node: Node) -> Fraction:
        """A number, if it is not too long."""
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > 4 * MAX_DIGITS:
            raise LimitError(f"the number that comes out here has more than {MAX_DIGITS} digits", self.place(node))
        return number

    def power(self, node: Node, base: Fraction, exponent: Fraction) -> Fraction:
        """A number to a whole power."""
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or (base == 0 and exponent < 0):
            raise ReadingError(f"a number's exponent is a whole number up to {MAX_EXPONENT}", self.place(node))
        return self.bounded(Fraction(base ** int(exponent)), node)

    def scaled(self, number: Fraction, operand: Operand, node: Node) -> Operand:
        """A number times an operand."""
        if isinstance(operand, Fraction):
            return self.bounded(number * operand, node)
        combination = as_combination(operand).scale(number)
        self.bounded(combination.factor, node)
        return combination

    # --- messages ---

    def place(self, node: Node) -> Place:
        """Where a node stands in the text."""
        return self.program.place(node)

    def unknown_name(self, node: Node) -> ReadingError:
        """The error for a name that has no value at its place."""
        if node.value in self.statements.groups or any(node.value in parameters for parameters in self.statements.headers.values()):
            hint = "a layer takes the members of a group, one by one"
            return ReadingError(f"the group {node.value} is no value", self.place(node), hint)
        return ReadingError(f"unknown name {node.value}", self.place(node), suggest(node.value, self.values))

    def notice_slip(self, node: Node, function: Node) -> None:
        """Notice a layer whose name looks like a slip."""
        key = function.value
        count = len(node.args) - 1
        if key in self.flagged:
            return
        is_first = key not in self.arities
        if self.arities.setdefault(key, count) != count:
            self.flagged.add(key)
            message = f"{key} is applied to {self.arities[key]} arguments elsewhere and to {count} here"
            self.notices.append(Notice(message, self.place(node)))
            return
        near = None
        if is_first and len(key) > 3 and key not in LOSSES and sum(map(str.isdecimal, key)) < 2:  # no function's name has a digit
            near = next((name for name in sorted(FUNCTIONS) if len(name) > 3 and is_near(key, name)), None)
        argument = self.nodes[node.args[1]]
        is_letter = key[:1].isalpha() and not any(c.isalpha() for c in key[1:])
        if near is not None:
            message = f"{key} is not a known operation and is read as a layer; did you mean {near}?"
        elif len(node.args) == 2 and argument.kind in ("add", "subtract", "negate") and key[:1] in "WABMUVXKQH" and is_letter:
            message = f"{key} is read as a layer; declare it (as in {key}: m x n) to read a product"
        else:
            return
        self.flagged.add(key)
        self.notices.append(Notice(message, self.place(function)))
