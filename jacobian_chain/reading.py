"""Text of a composition to its tape."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, Source, UnsupportedError, suggest
from jacobian_chain.names import FUNCTION_KEYS, FUNCTIONS
from jacobian_chain.shapes import LOSSES, infer_shapes
from jacobian_chain.syntax import Declaration, Equation, Node, Program, read_program
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.tokens import Spelling

OUTPUT_NAMES = ("f", "y", "z", "g", "h")
"""What the value of a bare expression is called: the first that the text does not use."""


MAX_EXPONENT = 64
"""Largest exponent of a number."""


MAX_DIGITS = 300
"""Most digits of a number, read or computed."""

ONE = Fraction(1)


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


class _Sum:
    """A linear combination that is being read: ``factor`` times the sum of c v over ``terms``.

    The common factor makes scaling cheap, and adding moves the shorter side, so that deep nesting stays linear.
    """

    __slots__ = ("factor", "terms")

    def __init__(self, value: int) -> None:
        self.factor = ONE
        self.terms: deque[tuple[Fraction, int]] = deque([(ONE, value)])

    def scale(self, number: Fraction) -> _Sum:
        """The combination times a number, in place."""
        if number:
            self.factor *= number
        else:
            self.factor, self.terms = ONE, deque((number, value) for _, value in self.terms)
        return self

    def add(self, other: _Sum) -> _Sum:
        """The sum of both, this one's terms first; both are used up."""
        if len(other.terms) <= len(self.terms):
            ratio = other.factor / self.factor
            self.terms.extend(other.terms if ratio == 1 else [(ratio * c, value) for c, value in other.terms])
            return self
        ratio = self.factor / other.factor
        other.terms.extendleft([(ratio * c, value) for c, value in reversed(self.terms)])
        return other

    def single(self) -> int | None:
        """The value that the combination is, if it is one."""
        if len(self.terms) > 1:
            return None
        coefficient, value = self.terms[0]
        return value if (coefficient is ONE and self.factor is ONE) or coefficient * self.factor == 1 else None

    def as_step(self) -> Step:
        """The step that computes it; equal values are gathered."""
        gathered: dict[int, Fraction] = {}
        for coefficient, value in self.terms:
            known = gathered.get(value)
            gathered[value] = coefficient if known is None else known + coefficient
        numbers = gathered.values() if self.factor == 1 else [self.factor * c for c in gathered.values()]
        return Step("sum", "", tuple(gathered), tuple(numbers))


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
        self.elementwise: set[str] = set()
        self.scalars: set[int] = set()
        self.applied: dict[tuple[str, tuple[int, ...]], int] = {}
        self.arities: dict[str, int] = {}

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
            if "elementwise" in statement.facts:
                self.elementwise.add(key)
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
        cycle.reverse()
        shown = cycle if len(cycle) < 12 else [*cycle[:6], "…", *cycle[-3:]]
        equation = self.equations[name]
        hint = "equations may stand in any order, but not use each other in a circle"
        if len(cycle) == 2:
            hint = f"name the new value differently, such as {name}_2"
        raise ReadingError(f"{name} depends on itself: {' ← '.join(shown)}", self.program.place(equation), hint)

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
        bases = {_base(self.spellings[key]) for key in seen if key in self.spellings and self.spellings[key].suffix}
        for parameters in self.headers.values():
            for key in parameters:
                if key not in seen and key not in bases and key not in defined:
                    seen.setdefault(key)
        for name, parameters in self.headers.items():
            for key in seen:
                if not {key, _base(self.spellings[key]) if key in self.spellings else key} & {*parameters, *self.declared, *self.groups}:
                    self.notices.append(Notice(f"{key} is not among the arguments of {name}"))
        self.leaves = list(seen)
        self.names = list(seen)
        self.values = {key: value for value, key in enumerate(seen)}
        self.scalars = {value for key, value in self.values.items() if self.declared.get(key) == SCALAR}

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
                    groups[key] = tuple(self.values[name] for name in family(key, self.leaves, self.spellings))
        return tuple(groups.items())

    # --- expressions ---

    def define(self, name: str, equation: Equation) -> None:
        """Append the steps of one equation; the last bears its name."""
        nodes = self.program.nodes
        results: list[Operand | None] = []
        low = equation.low
        self.applied = {}  # not shared between equations: a named value can be held free, and its double must not be
        for k in range(low, equation.root + 1):
            results.append(self.combine(nodes[k], results, low))
        result = results[-1]
        assert result is not None
        node = nodes[equation.root]
        value = _single(result)
        if value is not None and value >= len(self.leaves) and not self.names[value]:
            self.names[value] = name
            self.values[name] = value
            if self.declared.get(name) == SCALAR:
                self.scalars.add(value)
        else:
            self.append(_step_of(result), node, name)

    def combine(self, node: Node, results: list[Operand | None], low: int) -> Operand | None:
        """The number or linear combination that a node stands for, None for a function; new layers become steps."""
        kind = node.kind
        if kind == "name":
            value = self.values.get(node.value)
            if value is None:
                raise self.unknown_name(node)
            return value
        if kind == "function":
            return None
        if kind == "number":
            return self.read_number(node)
        operands: list[Operand] = []
        for k in node.args:
            operand = results[k - low]
            if operand is not None:
                operands.append(operand)
            elif kind != "call" or k != node.args[0]:
                raise UnsupportedError("not supported yet: a function without arguments", self.place(node))
        if kind == "call":
            return self.call(node, operands)
        if kind in ("add", "subtract"):
            left, right = operands
            return self.add(node, left, right, kind == "subtract")
        if kind == "negate":
            return self.scaled(Fraction(-1), operands[0], node)
        if kind == "product":
            return self.multiply(node, *operands)
        if kind == "divide" and isinstance(operands[1], Fraction):
            if operands[1] == 0:
                raise ReadingError("division by zero", self.place(node))
            return self.scaled(1 / operands[1], operands[0], node)
        if kind == "power" and isinstance(operands[0], Fraction) and isinstance(operands[1], Fraction):
            return self.power(node, operands[0], operands[1])
        hint = None
        if kind == "power" and self.program.nodes[node.args[0]].kind == "name":
            base, index = (self.program.nodes[k].value for k in node.args)
            hint = f"for an index write {base}_{{{index}}} or {base}^{{({index})}}" if index else None
        raise UnsupportedError(f"not supported yet: {_DESCRIPTIONS.get(kind, kind)}", self.place(node), hint)

    def read_number(self, node: Node) -> Fraction:
        exponent = node.value.lower().partition("e")[2]
        if len(node.value) > MAX_DIGITS or (exponent and abs(int(exponent)) > MAX_DIGITS):
            raise LimitError(f"this number has more than {MAX_DIGITS} digits", self.place(node))
        return Fraction(node.value)

    def bounded(self, number: Fraction, node: Node) -> Fraction:
        """A number, if it is not too long."""
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > 4 * MAX_DIGITS:
            raise LimitError(f"the number that comes out here has more than {MAX_DIGITS} digits", self.place(node))
        return number

    def scaled(self, number: Fraction, operand: Operand, node: Node) -> Operand:
        if isinstance(operand, Fraction):
            return self.bounded(number * operand, node)
        scaled = _as_sum(operand).scale(number)
        self.bounded(scaled.factor, node)
        return scaled

    def add(self, node: Node, left: Operand, right: Operand, minus: bool) -> Operand:
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.bounded(left - right if minus else left + right, node)
        one, other = (_Sum(self.append(_step_of(side), node)) if isinstance(side, Fraction) else _as_sum(side) for side in (left, right))
        return one.add(other.scale(Fraction(-1)) if minus else other)

    def call(self, node: Node, operands: list[Operand]) -> int:
        """A layer applied: a new step, or the step of this equation that applied it to the same values before."""
        function = self.program.nodes[node.args[0]]
        if function.kind != "function":
            raise UnsupportedError("not supported yet: a derivative or power of a function", self.place(function))
        key = function.value
        if key in FUNCTION_KEYS:
            hint = "call it by a name of your own to treat it as a layer"
            raise UnsupportedError(f"not supported yet: {FUNCTION_KEYS[key]}", self.place(node), hint)
        if key in self.elementwise:
            raise UnsupportedError(f"not supported yet: the elementwise function {key}", self.place(node))
        if not operands:
            raise ReadingError(f"{key} has no arguments", self.place(node), f"write {key}(x)")
        self.notice_slip(node, function)
        inputs = tuple([self.materialize(operand, self.program.nodes[k]) for operand, k in zip(operands, node.args[1:], strict=True)])
        known = self.applied.get((key, inputs))
        if known is None:
            known = self.applied[key, inputs] = self.append(Step("layer", key, inputs), node)
        return known

    def multiply(self, node: Node, left: Operand, right: Operand) -> Operand:
        if isinstance(left, Fraction):
            return self.scaled(left, right, node)
        if isinstance(right, Fraction):
            return self.scaled(right, left, node)
        one, other = _as_sum(left), _as_sum(right)
        for scalar, array in ((one, other), (other, one)):
            if all(value in self.scalars for _, value in scalar.terms):
                factor, scalar.factor = scalar.factor, ONE
                inputs = self.materialize(scalar, node), self.materialize(array, node)
                return self.scaled(factor, _Sum(self.append(Step("scale", "", inputs), node)), node)
        names = [self.program.nodes[k].value for k in node.args if self.program.nodes[k].kind == "name"]
        constants = [name for name in names if name in ("π", "e") and name not in self.declared]
        hint = f"declare the scalar factor, such as {names[0]}: scalar" if names else None
        if constants:
            hint = f"the constant {constants[0]} is not supported yet either; declare it, as in {constants[0]}: scalar"
        elif node.value == "" and len(names) == 2 and self.tokens.kinds[node.start - 1] in ("(", ","):
            hint = f"missing comma? or {hint}"
        raise UnsupportedError("not supported yet: a product of arrays", self.place(node), hint)

    def power(self, node: Node, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or (base == 0 and exponent < 0):
            raise ReadingError(f"a number's exponent is a whole number up to {MAX_EXPONENT}", self.place(node))
        return self.bounded(Fraction(base ** int(exponent)), node)

    def materialize(self, operand: Operand, node: Node) -> int:
        """The value that an argument is; a number or a combination becomes a step."""
        value = _single(operand)
        return self.append(_step_of(operand), node) if value is None else value

    def append(self, step: Step, node: Node, name: str = "") -> int:
        value = len(self.names)
        self.steps.append(step)
        self.nodes_of_steps.append(node)
        if self.declared.get(name) == SCALAR or (step.operation != "layer" and all(source in self.scalars for source in step.inputs)):
            self.scalars.add(value)
        self.names.append(name)
        if name:
            self.values[name] = value
        return value

    # --- messages ---

    def place(self, node: Node) -> Place:
        return self.program.place(node)

    def unknown_name(self, node: Node) -> ReadingError:
        """The error for a name that has no value at its place."""
        if node.value in self.groups or any(node.value in parameters for parameters in self.headers.values()):
            hint = "a layer takes the members of a group, one by one"
            return UnsupportedError(f"not supported yet: the group {node.value} as a value", self.place(node), hint)
        return ReadingError(f"unknown name {node.value}", self.place(node), suggest(node.value, self.values))

    def notice_slip(self, node: Node, function: Node) -> None:
        """Notice a layer whose name looks like a slip."""
        key = function.value
        count = len(node.args) - 1
        if key in self.flagged:
            return
        if self.arities.setdefault(key, count) != count:
            self.flagged.add(key)
            message = f"{key} is applied to {self.arities[key]} arguments elsewhere and to {count} here"
            self.notices.append(Notice(message, self.place(node)))
            return
        near = None
        if len(key) > 3 and key not in LOSSES and sum(map(str.isdecimal, key)) < 2:  # no function's name has a digit
            near = next((name for name in sorted(FUNCTIONS) if len(name) > 3 and is_near(key, name)), None)
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
    "at": "an evaluation bar",
}


Operand = Fraction | int | _Sum
"""What a part of an expression is while it is read: a number, a value of the tape, a linear combination of values."""


def _as_sum(operand: int | _Sum) -> _Sum:
    return _Sum(operand) if isinstance(operand, int) else operand


def _single(operand: Operand) -> int | None:
    """The value that an operand is, if it is one."""
    if isinstance(operand, int):
        return operand
    return operand.single() if isinstance(operand, _Sum) else None


def _step_of(operand: Operand) -> Step:
    """The step that computes an operand."""
    return Step("number", "", (), (operand,)) if isinstance(operand, Fraction) else _as_sum(operand).as_step()


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
        if spelling is not None and spelling.suffix and _base(spelling) == key:
            found.append((_natural(spelling.suffix + spelling.upper), name))
    return [name for _, name in sorted(found)]


def _base(spelling: Spelling) -> str:
    return spelling.base + spelling.accent


_STEP = re.compile(r"(?P<stem>.*?[^+-])(?P<step>[+-][0-9]{1,9})", re.DOTALL)
_PART = re.compile(r"[0-9]+|.", re.DOTALL)


def _natural(index: str) -> tuple[list[tuple[int, int, str]], int]:
    """A key that sorts 2 before 10, numbers before letters, and t-1 before t before t+1."""
    step = _STEP.fullmatch(index)
    stem = index if step is None else step["stem"]
    parts = [(0, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (1, 0, part) for part in _PART.findall(stem)]
    return parts, 0 if step is None else int(step["step"])
