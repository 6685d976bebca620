"""Text of a composition to its tape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import Notice, Place, ReadingError, Source, UnsupportedError, suggest
from jacobian_chain.names import FUNCTION_KEYS, FUNCTIONS
from jacobian_chain.shapes import infer_shapes
from jacobian_chain.syntax import Declaration, Equation, Node, Program, read_program
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.tokens import Spelling

OUTPUT_NAMES = ("f", "y", "z", "g", "h")
"""What the value of a bare expression is called: the first that the text does not use."""


MAX_EXPONENT = 64
"""Largest exponent of a number."""


class Reading(NamedTuple):
    """A composition that was read, with the choices made on the way."""

    tape: Tape
    notices: tuple[Notice, ...]


def read_composition(source: Source) -> Reading:
    """The tape of a composition's text.

    Raises:
        ReadingError: the text cannot be read, a name is bound twice or depends on itself, shapes do not fit.
        UnsupportedError: it can be read, but not derived yet.

    >>> tape = read_composition(Source("L2(L1(x, θ1), θ2)")).tape
    >>> tape.names
    ('x', 'θ1', 'θ2', '', 'f')
    >>> tape.steps[1]
    Step(operation='layer', name='L2', inputs=(3, 2), coefficients=())
    """
    program = read_program(source)
    return _Builder(program).build()


class _Term(NamedTuple):
    """c v in a linear combination of values."""

    coefficient: Fraction
    value: int


ONE = Fraction(1)


class _Builder:
    """Fills a tape from a program's equations, in an order in which each comes after what it uses."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tokens = program.tokens
        self.spellings = program.names.spellings
        self.notices = list(program.notices)
        self.declared: dict[str, Shape] = {}
        self.equations: dict[str, Equation] = {}
        self.groups: dict[str, Equation] = {}
        self.headers: dict[str, tuple[str, ...]] = {}
        self.values: dict[str, int] = {}
        self.leaves: list[str] = []
        self.steps: list[Step] = []
        self.nodes_of_steps: list[Node] = []
        self.names: list[str] = []
        self.flagged: set[str] = set()

    def build(self) -> Reading:
        self.collect()
        order = self.order()
        self.collect_leaves(order)
        groups = self.collect_groups()
        count = len(self.leaves)
        for name in order:
            self.define(name, self.equations[name])
        shapes, declared = infer_shapes(
            self.names, count, self.steps, self.declared, self.spellings, lambda value: self.place(self.nodes_of_steps[value - count])
        )
        nested = len(self.equations) == 1 and not self.groups and (self.bare is not None or bool(self.headers))
        tape = Tape(count, tuple(self.names), tuple(self.steps), shapes, groups, declared, nested, self.spellings)
        return Reading(tape, tuple(self.notices))

    # --- statements ---

    def collect(self) -> None:
        """Sort the statements; refuse what is bound twice."""
        applied = {self.program.nodes[node.args[0]].value for node in self.program.nodes if node.kind == "call"}
        bare: list[Equation] = []
        for statement in self.program.statements:
            if isinstance(statement, Declaration):
                self.declare(statement)
            elif statement.name is None:
                bare.append(statement)
            else:
                key = self.tokens.spelling(statement.name).key
                previous = self.equations.get(key) or self.groups.get(key)
                if previous is not None and previous.name is not None:
                    first = self.tokens.place(previous.name)
                    hint = f"it is already defined at line {first.line}, column {first.column}; every name has one definition"
                    raise ReadingError(f"{key} is defined twice", self.tokens.place(statement.name), hint)
                if statement.parameters is not None:
                    if key in applied and key not in self.program.names.values:
                        raise UnsupportedError(f"not supported yet: a layer with a definition ({key})", self.program.place(statement))
                    self.headers[key] = tuple(self.tokens.spelling(i).key for i in statement.parameters)
                if self.program.nodes[statement.root].kind == "tuple":
                    self.groups[key] = statement
                else:
                    self.equations[key] = statement
        if len(bare) > 1:
            raise ReadingError("two expressions without a name", self.program.place(bare[1]), "give each a name: y1 = …; y2 = …")
        self.bare = None
        if bare:
            taken = {*self.spellings, *self.declared}
            self.bare = next(name for name in (*OUTPUT_NAMES, *(f"f{k}" for k in range(len(taken) + 1))) if name not in taken)
            self.equations[self.bare] = bare[0]
        if not self.equations:
            statement = self.program.statements[-1]
            raise ReadingError("there is nothing to derive", self.program.place(statement), "add an expression such as y = f(x, θ)")

    def declare(self, statement: Declaration) -> None:
        for i in statement.names:
            key = self.tokens.spelling(i).key
            if statement.dimensions is None:
                continue
            shape = Shape(*statement.dimensions)
            if self.declared.get(key, shape) != shape:
                hint = f"it was declared {self.declared[key]} before"
                raise ReadingError(f"{key} is declared twice, with two shapes", self.tokens.place(i), hint)
            self.declared[key] = shape

    def order(self) -> list[str]:
        """Names of the equations, each after those that it uses."""
        uses: dict[str, list[str]] = {}
        for name, equation in self.equations.items():
            nodes = self.program.nodes[equation.low : equation.root + 1]
            uses[name] = [node.value for node in nodes if node.kind == "name" and node.value in self.equations]
        done: dict[str, bool] = {}  # False while its uses are being ordered
        order: list[str] = []
        for name in self.equations:
            stack = [name]
            while stack:
                top = stack[-1]
                if done.get(top) is None:
                    done[top] = False
                    for used in reversed(uses[top]):
                        if done.get(used) is None:
                            stack.append(used)
                        elif done[used] is False:
                            self.refuse_cycle(used, uses)
                else:
                    stack.pop()
                    if done[top] is False:
                        done[top] = True
                        order.append(top)
        return order

    def refuse_cycle(self, name: str, uses: dict[str, list[str]]) -> None:
        """Raise the error for a name that depends on itself, with the cycle written out."""
        before: dict[str, str] = {}
        queue = [name]
        for current in queue:
            for used in uses[current]:
                if used not in before:
                    before[used] = current
                    queue.append(used)
        cycle = [name, before[name]]
        while cycle[-1] != name:
            cycle.append(before[cycle[-1]])
        equation = self.equations[name]
        hint = "equations may stand in any order, but not use each other in a circle"
        if len(cycle) == 2:
            hint = f"name the new value differently, such as {name}_2"
        raise ReadingError(f"{name} depends on itself: {' ← '.join(reversed(cycle))}", self.program.place(equation), hint)

    def collect_leaves(self, order: Iterable[str]) -> None:
        """The leaves in the order of their first use, then those that are only declared or in a header."""
        defined = set(self.equations) | set(self.groups)
        seen: dict[str, None] = {}
        nodes = self.program.nodes
        for name in order:
            equation = self.equations[name]
            for k in range(equation.low, equation.root + 1):
                if nodes[k].kind == "name" and nodes[k].value not in defined:
                    seen.setdefault(nodes[k].value)
        for equation in self.groups.values():
            for k in range(equation.low, equation.root):
                if nodes[k].value not in defined:
                    seen.setdefault(nodes[k].value)
        layers = {node.value for node in nodes if node.kind == "function"}
        for key in self.declared:
            if key not in defined and key not in layers:
                seen.setdefault(key)
        for parameters in self.headers.values():
            for key in parameters:
                if key not in seen and not (self.family(key, seen) or key in defined):
                    seen.setdefault(key)
        self.leaves = list(seen)
        self.names = list(seen)
        self.values = {key: value for value, key in enumerate(seen)}

    def family(self, key: str, names: Iterable[str]) -> list[str]:
        """The names that are ``key`` with an index, in index order."""
        return family(key, names, self.spellings)

    def collect_groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Groups with their members: written ones, and a header's parameter that stands for a family of leaves."""
        groups: dict[str, tuple[int, ...]] = {}
        for key, equation in self.groups.items():
            members = []
            for k in self.program.nodes[equation.root].args:
                node = self.program.nodes[k]
                if node.kind != "name":
                    raise ReadingError("a group is a list of names", self.program.place(node), "write θ = (θ1, θ2, θ3)")
                if node.value not in self.values:
                    hint = "only leaves can be grouped" if node.value in self.equations else None
                    raise ReadingError(f"{node.value} cannot be a member of a group", self.program.place(node), hint)
                members.append(self.values[node.value])
            groups[key] = tuple(members)
        for parameters in self.headers.values():
            for key in parameters:
                if key not in self.values and key not in groups and key not in self.equations:
                    groups[key] = tuple(self.values[name] for name in self.family(key, self.leaves))
        return tuple(groups.items())

    # --- expressions ---

    def define(self, name: str, equation: Equation) -> None:
        """Append the steps of one equation; the last bears its name."""
        nodes = self.program.nodes
        results: list[Fraction | list[_Term]] = []
        low = equation.low
        for k in range(low, equation.root + 1):
            results.append(self.combine(nodes[k], results, low))
        result = results[-1]
        first = len(self.leaves)
        if not isinstance(result, Fraction) and len(result) == 1 and result[0].coefficient == 1:
            value = result[0].value
            if value >= first and not self.names[value]:
                self.names[value] = name
                self.values[name] = value
                return
        self.append(self.as_sum(result), nodes[equation.root], name)

    def combine(self, node: Node, results: list[Fraction | list[_Term]], low: int) -> Fraction | list[_Term]:
        """The number or linear combination that a node stands for; new layers become steps."""
        kind = node.kind
        if kind == "name":
            if node.value not in self.values:
                self.refuse_name(node)
            return [_Term(ONE, self.values[node.value])]
        if kind == "function":
            return []
        if kind == "number":
            return Fraction(node.value)
        operands = [results[k - low] for k in node.args]
        if kind == "call":
            return self.call(node, operands)
        if kind == "add" or kind == "subtract":
            left, right = operands
            if isinstance(left, Fraction) and isinstance(right, Fraction):
                return left + right if kind == "add" else left - right
            terms = self.as_terms(left, node)
            terms.extend(self.as_terms(right, node) if kind == "add" else _scaled(Fraction(-1), self.as_terms(right, node)))
            return terms
        if kind == "negate":
            return -operands[0] if isinstance(operands[0], Fraction) else _scaled(Fraction(-1), operands[0])
        if kind == "product":
            return self.multiply(node, *operands)
        if kind == "divide" and isinstance(operands[1], Fraction):
            if operands[1] == 0:
                raise ReadingError("division by zero", self.place(node))
            return operands[0] / operands[1] if isinstance(operands[0], Fraction) else _scaled(1 / operands[1], operands[0])
        if kind == "power" and isinstance(operands[0], Fraction) and isinstance(operands[1], Fraction):
            return self.power(node, operands[0], operands[1])
        raise UnsupportedError(f"not supported yet: {_DESCRIPTIONS.get(kind, kind)}", self.place(node))

    def call(self, node: Node, operands: list[Fraction | list[_Term]]) -> list[_Term]:
        function = self.program.nodes[node.args[0]]
        if function.kind != "function":
            raise UnsupportedError("not supported yet: a derivative or power of a function", self.place(function))
        key = function.value
        if key in FUNCTION_KEYS:
            raise UnsupportedError(
                f"not supported yet: {FUNCTION_KEYS[key]}", self.place(node), "call it by a name of your own to treat it as a layer"
            )
        if len(operands) == 1:
            raise ReadingError(f"{key} has no arguments", self.place(node), f"write {key}(x)")
        self.notice_slip(node, function)
        inputs = tuple(self.materialize(operand, self.program.nodes[k]) for operand, k in zip(operands[1:], node.args[1:], strict=True))
        return [_Term(ONE, self.append(Step("layer", key, inputs), node))]

    def multiply(self, node: Node, left: Fraction | list[_Term], right: Fraction | list[_Term]) -> Fraction | list[_Term]:
        if isinstance(left, Fraction):
            return left * right if isinstance(right, Fraction) else _scaled(left, right)
        if isinstance(right, Fraction):
            return _scaled(right, left)
        for scalar, array in ((left, right), (right, left)):
            if self.is_scalar(scalar):
                one, other = scalar[0], array
                value = self.materialize(other, self.program.nodes[node.args[1]])
                return [_Term(one.coefficient, self.append(Step("scale", "", (one.value, value)), node))]
        hint = "declare the scalar factor, such as λ: scalar" if len(node.args) == 2 else None
        raise UnsupportedError("not supported yet: a product of arrays", self.place(node), hint)

    def power(self, node: Node, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or (base == 0 and exponent < 0):
            raise ReadingError(f"a number's exponent is a whole number up to {MAX_EXPONENT}", self.place(node))
        return Fraction(base ** int(exponent))

    def is_scalar(self, terms: list[_Term]) -> bool:
        return len(terms) == 1 and self.declared.get(self.names[terms[0].value]) == SCALAR

    def as_terms(self, operand: Fraction | list[_Term], node: Node) -> list[_Term]:
        """A linear combination; a number becomes a step of its own."""
        return [_Term(ONE, self.append(Step("number", "", (), (operand,)), node))] if isinstance(operand, Fraction) else operand

    def as_sum(self, operand: Fraction | list[_Term]) -> Step:
        """The step that computes a number or a linear combination; equal values are gathered."""
        if isinstance(operand, Fraction):
            return Step("number", "", (), (operand,))
        gathered: dict[int, Fraction] = {}
        for coefficient, value in operand:
            gathered[value] = gathered.get(value, Fraction(0)) + coefficient
        return Step("sum", "", tuple(gathered), tuple(gathered.values()))

    def materialize(self, operand: Fraction | list[_Term], node: Node) -> int:
        """The value that an argument is; a linear combination becomes a step."""
        if not isinstance(operand, Fraction) and len(operand) == 1 and operand[0].coefficient == 1:
            return operand[0].value
        return self.append(self.as_sum(operand), node)

    def append(self, step: Step, node: Node, name: str = "") -> int:
        value = len(self.names)
        self.steps.append(step)
        self.nodes_of_steps.append(node)
        self.names.append(name)
        if name:
            self.values[name] = value
        return value

    # --- messages ---

    def place(self, node: Node) -> Place:
        return self.program.place(node)

    def refuse_name(self, node: Node) -> None:
        """Raise the error for a name that has no value at its place."""
        if node.value in self.groups or any(node.value in parameters for parameters in self.headers.values()):
            hint = "a layer takes the members of a group, one by one"
            raise UnsupportedError(f"not supported yet: the group {node.value} as a value", self.place(node), hint)
        raise ReadingError(f"unknown name {node.value}", self.place(node), suggest(node.value, self.values))

    def notice_slip(self, node: Node, function: Node) -> None:
        """Notice a layer whose name looks like a slip."""
        key = function.value
        if key in self.flagged:
            return
        near = next((name for name in sorted(FUNCTIONS) if len(name) > 3 and len(key) > 3 and is_near(key, name)), None)
        argument = self.program.nodes[node.args[1]]
        if near is not None:
            message = f"{key} is not a known operation and is read as a layer; did you mean {near}?"
        elif len(node.args) == 2 and argument.kind in ("add", "subtract", "negate") and key[:1] in "WABMUVXKQH" and _is_letter(key):
            message = f"{key} is read as a layer; declare it (as in {key}: m x n) to read a product"
        else:
            return
        self.flagged.add(key)
        self.notices.append(Notice(message, self.place(function)))


_DESCRIPTIONS = {
    "divide": "division by something that is not a number",
    "elementwise": "an elementwise product",
    "power": "a power",
    "epower": "an elementwise power",
    "transpose": "a transpose",
    "prime": "a transpose or derivative written with a prime",
    "norm": "a norm",
    "absolute": "an absolute value",
    "beside": "blocks side by side",
    "stack": "blocks below each other",
    "row": "a row of blocks",
    "column": "a column of blocks",
    "tuple": "a list of values here",
    "dots": "dots",
}


def _scaled(factor: Fraction, terms: list[_Term]) -> list[_Term]:
    return [_Term(factor * coefficient, value) for coefficient, value in terms]


def _is_letter(key: str) -> bool:
    return key[:1].isalpha() and not any(c.isalpha() for c in key[1:])


def is_near(one: str, other: str) -> bool:
    """Whether two words differ by one letter added, dropped or changed, or two neighbours swapped.

    >>> is_near("sofmax", "softmax"), is_near("tahn", "tanh"), is_near("theta", "tanh")
    (True, True, False)
    """
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def family(key: str, names: Iterable[str], spellings: Mapping[str, Spelling]) -> list[str]:
    """The names that are ``key`` with an index, in index order.

    >>> spellings = {name: Spelling(name, name[0], "", name[1:]) for name in ("W10", "W2", "b1")}
    >>> family("W", spellings, spellings)
    ['W2', 'W10']
    """
    found = []
    for name in names:
        spelling = spellings.get(name)
        if spelling is not None and spelling.index and spelling.base + spelling.accent == key:
            found.append((_natural(spelling.index + spelling.upper), name))
    return [name for _, name in sorted(found)]


def _natural(index: str) -> list[tuple[int, int, str]]:
    """A key that sorts 2 before 10, and numbers before letters."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for c in index + " ":
        if c.isdecimal():
            digits += c
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        if c != " ":
            parts.append((1, 0, c))
    return parts
