"""Text of a composition to its tape.

Two builders share the statements: one for unspecified layers, sums and multiples, where ranks stay open until all is read, and one for
everything, where shapes are known step by step and decide what a sign means.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, NoReturn

from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, Source, UnsupportedError, suggest
from jacobian_chain.names import ELEMENTWISE_NAMES, FUNCTION_KEYS, FUNCTIONS
from jacobian_chain.shapes import LOOSE, LOSS, LOSSES, UPPER, USED, Sizes, infer_shapes
from jacobian_chain.syntax import BOLD_ONE, Declaration, Equation, Node, Program, read_program
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
        UnsupportedError: it can be read, but not derived.

    >>> tape = read_composition(Source("L2(L1(x, θ1), θ2)")).tape
    >>> tape.names
    ('x', 'θ1', 'θ2', '', 'f')
    >>> tape.steps[1]
    Step(operation='layer', name='L2', inputs=(3, 2), coefficients=())
    """
    program = read_program(source)
    with contextlib.suppress(UnsupportedError):  # raised where there is more than unspecified layers, sums and multiples
        return _Builder(program).build()
    return _ConcreteBuilder(program).build()


class _Sum:
    """A linear combination that is being read: ``factor`` times the sum of c v over ``terms``.

    The common factor makes scaling cheap, and adding moves the shorter side, so that deep nesting stays linear.
    """

    __slots__ = ("factor", "like", "terms")

    def __init__(self, value: int) -> None:
        self.like = value  # a value of the shape that the combination has
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
    """Fills a tape from a program's equations, in an order in which each comes after what it uses.

    This one reads unspecified layers, sums and multiples, where ranks may stay open until everything is read: what a sum joins has
    one shape. It raises an UnsupportedError for what needs the shapes to be understood.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tokens = program.tokens
        self.spellings = program.names.spellings
        self.notices = list(program.notices)
        self.declared: dict[str, Shape] = {}
        self.equations: dict[str, Equation] = {}
        self.groups: dict[str, Equation] = {}
        self.headers: dict[str, tuple[str, ...]] = {}
        self.definitions: dict[str, Equation] = {}
        self.values: dict[str, int] = {}
        self.leaves: list[str] = []
        self.steps: list[Step] = []
        self.nodes_of_steps: list[Node] = []
        self.names: list[str] = []
        self.flagged: set[str] = set()
        self.elementwise: set[str] = set()
        self.facts: dict[tuple[str, str], None] = {}
        self.scalars: set[int] = set()
        self.applied: dict[tuple[str, tuple[int, ...]], int] = {}
        self.arities: dict[str, int] = {}

    def build(self) -> Reading:
        self.collect()
        if self.definitions or any(key[:1] == BOLD_ONE for key in self.program.names.values):
            raise UnsupportedError("a layer with a definition, a column of ones")
        order = self.order()
        self.collect_leaves(order)
        if not self.builtin_values().isdisjoint(self.leaves):
            raise UnsupportedError("a constant, the identity or a size as a value")
        groups = self.collect_groups()
        count = len(self.leaves)
        for name in order:
            self.define(name, self.equations[name])
        shapes, declared = infer_shapes(
            self.names, count, self.steps, self.declared, self.spellings, lambda value: self.place(self.nodes_of_steps[value - count])
        )
        tape = Tape(
            count, tuple(self.names), tuple(self.steps), shapes, groups, declared, self.is_nested, self.spellings, self.declared_facts()
        )
        return Reading(tape, tuple(self.notices))

    def builtin_values(self) -> set[str]:
        """Names that are a constant, the identity or a size, as nothing else bears them."""
        sizes = {size for shape in self.declared.values() for size in shape if not size.isdecimal()}
        return {*_CONSTANTS, "I", *sizes} - self.taken_names()

    def taken_names(self) -> set[str]:
        """Names that the text declares, defines, or has as arguments or members of groups."""
        taken = {*self.declared, *self.equations, *self.groups}
        for parameters in self.headers.values():
            taken.update(parameters)
        for equation in self.groups.values():
            taken.update(self.program.nodes[k].value for k in self.program.nodes[equation.root].args)
        return taken

    @property
    def is_nested(self) -> bool:
        """Whether the text is one expression rather than equations."""
        return len(self.equations) == 1 and not self.groups and (self.bare is not None or bool(self.headers))

    def declared_facts(self) -> tuple[tuple[int, str], ...]:
        """What the text declares of its values."""
        return tuple(sorted((self.values[key], fact) for key, fact in self.facts if key in self.values))

    # --- statements ---

    def collect(self) -> None:
        """Sort the statements; refuse what is bound twice."""
        nodes = self.program.nodes
        applied = {nodes[function_of(nodes, node.args[0])].value for node in nodes if node.kind == "call"}
        bare: list[Equation] = []
        for statement in self.program.statements:
            if isinstance(statement, Declaration):
                self.declare(statement)
            elif statement.name is None:
                bare.append(statement)
            else:
                key = self.tokens.spelling(statement.name).key
                is_definition = statement.parameters is not None and key in applied and key not in self.program.names.values
                previous = self.definitions.get(key) if is_definition else self.equations.get(key) or self.groups.get(key)
                if previous is not None and previous.name is not None:
                    first = self.tokens.place(previous.name)
                    hint = f"it is already defined at line {first.line}, column {first.column}; every name has one definition"
                    raise ReadingError(f"{key} is defined twice", self.tokens.place(statement.name), hint)
                if is_definition:
                    self.definitions[key] = statement
                    continue
                if statement.parameters is not None:
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
            self.facts.update({(key, fact): None for fact in statement.facts if fact in ("symmetric", "label", "free")})
            if statement.dimensions is None:
                continue
            shape = Shape(*statement.dimensions)
            if self.declared.get(key, shape) != shape:
                hint = f"it was declared {self.declared[key]} before"
                raise ReadingError(f"{key} is declared twice, with two shapes", self.tokens.place(i), hint)
            self.declared[key] = shape

    def order(self) -> list[str]:
        """Names of the equations, each after those that it uses."""
        uses = self.uses()
        done: dict[str, bool] = {}  # False while its uses are being ordered
        order: list[str] = []
        for name in uses:
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

    def uses(self) -> dict[str, list[str]]:
        """The names of equations that each equation uses."""
        uses: dict[str, list[str]] = {}
        for name, equation in self.equations.items():
            nodes = self.program.nodes[equation.low : equation.root + 1]
            uses[name] = [node.value for node in nodes if node.kind == "name" and node.value in self.equations]
        return uses

    def equation_of(self, name: str) -> Equation:
        """The equation of a name; that of a definition bears a bracket, as functions are apart from values."""
        return self.definitions[name[:-1]] if name[-1] == "(" else self.equations[name]

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
        cycle = [step.rstrip("(") for step in cycle]
        shown = cycle if len(cycle) < 12 else [*cycle[:6], "…", *cycle[-3:]]
        equation = self.equation_of(name)
        hint = "equations may stand in any order, but not use each other in a circle"
        if len(cycle) == 2:
            hint = f"name the new value differently, such as {name}_2"
        if name[-1] == "(":
            name, hint = name[:-1], "a definition may use others, but not itself"
        raise ReadingError(f"{name} depends on itself: {' ← '.join(shown)}", self.program.place(equation), hint)

    def collect_leaves(self, order: Iterable[str]) -> None:
        """The leaves in the order of their first use, then those that are only declared or in a header."""
        defined = set(self.equations) | set(self.groups)
        nodes = self.program.nodes
        seen = dict.fromkeys(name for name in self.used_names(order) if name not in defined)
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

    def used_names(self, order: Iterable[str]) -> list[str]:
        """The names in the equations, in order."""
        nodes = self.program.nodes
        used: list[str] = []
        for name in order:
            equation = self.equations[name]
            used += [node.value for node in nodes[equation.low : equation.root + 1] if node.kind == "name"]
        return used

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
                raise UnsupportedError("a function without arguments", self.place(node))
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
        raise UnsupportedError(kind, self.place(node))

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
            raise UnsupportedError("a derivative or power of a function", self.place(function))
        key = function.value
        if key in FUNCTION_KEYS:
            raise UnsupportedError(FUNCTION_KEYS[key], self.place(node))
        if key in self.elementwise or (key in ELEMENTWISE_NAMES and len(operands) == 1) or is_constant_call(self.program.nodes, node):
            raise UnsupportedError(key, self.place(node))
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
        raise UnsupportedError("a product of arrays", self.place(node))

    def power(self, node: Node, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator != 1 and base > 0:
            raise UnsupportedError("a root of a number", self.place(node))
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
            return ReadingError(f"the group {node.value} is no value", self.place(node), hint)
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


# --- concrete layers --------------------------------------------------------------------------------------------------

MAX_STEPS = 300_000
"""Most steps that definitions are written out to."""

_CONSTANTS = frozenset("πe")
_DIRECTIONS = {"rows": "rows", "row": "rows", "columns": "columns", "column": "columns", "cols": "columns"}
_SHAPED = frozenset({"ones", "zeros", "identity", "unit", "dimension"})
_POSITIVE = frozenset({"log", "sqrt"})
_DIFFERENTIABLE = "exp log sin cos tan sinh cosh tanh sigmoid relu leaky_relu elu softplus silu gelu abs sign erf".split()


class _Chain:
    """Factors of a product that is being read, each with its node and whether it divides; ``kind`` is product or elementwise."""

    __slots__ = ("factors", "kind")

    def __init__(self, kind: str, factors: list[tuple[Operand, Node, bool]]) -> None:
        self.kind = kind
        self.factors = factors


class _Group(NamedTuple):
    """A group, which stands for its members where a definition takes them."""

    members: tuple[int, ...]


class _Logarithm(NamedTuple):
    """The argument of a logarithm that is known already."""

    value: int


class _Ones(NamedTuple):
    """A bold 1, a column of ones, or with a transpose a row; the size that was written below it, or none."""

    size: str


Part = Fraction | int | _Sum | _Chain | _Group | _Logarithm | _Ones | None
"""What a node stands for while the nodes above it are read; None for a function, and for what is no value."""


class _Frame:
    """The right side of an equation, or the body of a definition at one use, with what its nodes stand for."""

    __slots__ = ("at", "equation", "known", "node", "parameters", "results", "use")

    def __init__(self, equation: Equation, parameters: dict[str, int], use: tuple[str, tuple[int, ...]] | None, node: Node) -> None:
        self.equation = equation
        self.at = equation.low
        self.results: list[Part] = []
        self.parameters = parameters
        self.known: dict[object, int] = {}  # steps that were made here
        self.use = use
        self.node = node


class _ConcreteBuilder(_Builder):
    """Fills a tape where the shapes decide what is meant: whether a product scales, what a power is, what is added to every column.

    Ranks of leaves follow from their names where they are not declared, sizes are united step by step.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.sizes = Sizes()
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.groups_of: dict[str, tuple[int, ...]] = {}
        self.hidden: set[int] = set()  # nodes that are sizes and directions, not values
        self.squared: set[int] = set()  # norms that stand under a square
        self.logged: set[int] = set()  # determinants that stand under a logarithm
        self.gridded: set[int] = set()  # rows of blocks that stand below each other
        self.taken: set[str] = set()
        self.dimensions: set[str] = set()
        self.late: list[tuple[int, int]] = []  # steps that are a size, which is not known yet
        self.frame = _Frame(Equation(None, None, 0, -1, 0, 0), {}, None, Node("", "", (), 0, 0))
        self.slopes: dict[str, Tape | None] = {}
        self.calls: list[tuple[int, str, tuple[int, ...]]] = []
        self.labels: dict[tuple[int, str], None] = {}
        self.sigmoid = ""
        self.assumed: set[int] = set()  # leaves that are columns by their name only

    def build(self) -> Reading:
        self.collect()
        self.survey()
        order = self.order()
        self.collect_leaves(order)
        self.shape_leaves(order)
        groups = self.collect_groups()
        self.groups_of = dict(groups)
        for name in order:
            if name in self.equations:
                self.define(name, self.equations[name])
        self.prune()
        facts = self.find_facts()
        shapes, declared = self.finish()
        tape = Tape(
            len(self.leaves),
            tuple(self.names),
            tuple(self.steps),
            shapes,
            groups,
            declared,
            self.is_nested,
            self.spellings,
            facts,
            tuple((key, tape) for key, tape in self.slopes.items() if tape is not None),
            tuple(self.calls),
        )
        return Reading(tape, tuple(self.notices))

    # --- names ---

    def survey(self) -> None:
        """Find what is no leaf: sizes, directions, constants; and determinants and norms that are read together with what is around."""
        nodes = self.program.nodes
        self.taken = self.taken_names()
        self.dimensions = {size for shape in self.declared.values() for size in shape if not size.isdecimal()}
        says_sigmoid = False
        for k, node in enumerate(nodes):
            if node.kind == "name" and node.value[:1] in ("s", "p"):
                self.refuse_index_sum(node)
            if node.kind == "call":
                key = nodes[node.args[0]].value if nodes[node.args[0]].kind == "function" else ""
                says_sigmoid = says_sigmoid or nodes[function_of(nodes, node.args[0])].value == "sigmoid"
                name = self.builtin(key)
                if name in ("ones", "zeros") or (key not in self.definitions and self.is_constant(node)):
                    self.hide(node.args[0] + 1, k)
                elif name in ("sum", "mean") and len(node.args) == 3 and nodes[node.args[2]].value in _DIRECTIONS:
                    self.hidden.add(node.args[2])
                elif name in ("log", "ln") and len(node.args) == 2:
                    self.logged.add(node.args[1])
                    inner = nodes[node.args[1]]
                    if inner.kind == "absolute":
                        self.logged.add(inner.args[0])
                    elif inner.kind == "call" and self.builtin(nodes[inner.args[0]].value) == "abs":
                        self.logged.add(inner.args[-1])
            elif node.kind in ("stack", "column"):
                self.gridded.update(node.args)
            elif node.kind == "product" and self.is_sized_identity(node):
                self.hide(node.args[1], node.args[1] + 1)
            elif node.kind in ("power", "epower") and nodes[node.args[0]].kind == "name" and self.is_exponential(nodes[node.args[0]]):
                self.hidden.add(node.args[0])
            elif node.kind == "power" and nodes[node.args[0]].kind == "norm" and nodes[node.args[1]].value == "2":
                self.squared.add(node.args[0])
        self.dimensions -= self.taken
        if says_sigmoid and "σ" not in {*self.program.names.values, *self.elementwise, *self.definitions}:
            self.sigmoid = "σ"

    def refuse_index_sum(self, node: Node) -> None:
        """Raise the error for a sum over an index."""
        spelling = self.spellings.get(node.value)
        if spelling is not None and spelling.base in ("sum", "prod") and spelling.suffix and node.value not in self.taken:
            hint = "write sum(x), a matrix product, or the terms one by one"
            raise ReadingError("a sum or product over an index is not part of the language", self.place(node), hint)

    def hide(self, low: int, end: int) -> None:
        """Take the nodes ``low`` to ``end`` for sizes."""
        for k in range(low, end):
            self.hidden.add(k)
            if self.program.nodes[k].kind == "name":
                self.dimensions.add(self.program.nodes[k].value)

    def is_constant(self, node: Node) -> bool:
        """Whether a call is ``I(n)`` or ``e(i, n)``."""
        return is_constant_call(self.program.nodes, node) and self.taken.isdisjoint(
            self.program.nodes[k].value for k in node.args[1:] if self.program.nodes[k].kind == "name"
        )

    def is_exponential(self, base: Node) -> bool:
        """Whether the base of a power is the constant e."""
        parameters = {key for equation in self.definitions.values() for key in self.parameters_of(equation)}
        return base.value == "e" and "e" not in self.taken and "e" not in parameters

    def is_sized_identity(self, node: Node) -> bool:
        """Whether a product is an I with its size behind it in brackets, ``I(n)`` where I stands alone elsewhere."""
        size = self.program.nodes[node.args[1]]
        before = size.start - 1
        is_identity = self.tokens.kinds[before] == "name" and self.tokens.spelling(before).key == "I" and "I" not in self.taken
        is_size = size.kind == "number" or (size.kind == "name" and size.value not in self.taken)
        return is_identity and is_size and size.bracketed and not node.value

    def builtin(self, key: str) -> str:
        """The language's function that a key means, empty if it means none."""
        return "" if key in self.definitions or key in self.elementwise else FUNCTION_KEYS.get(key, "")

    def uses(self) -> dict[str, list[str]]:
        """What each equation and each definition uses; a definition's name bears a bracket, as functions are apart from values."""
        nodes = self.program.nodes
        uses: dict[str, list[str]] = {}
        for name, equation in [*self.equations.items(), *((f"{name}(", equation) for name, equation in self.definitions.items())]:
            own = self.parameters_of(equation) if name[-1] == "(" else ()
            found: list[str] = []
            for node in nodes[equation.low : equation.root + 1]:
                if node.kind == "name" and node.value in self.equations and node.value not in own:
                    found.append(node.value)
                elif node.kind == "function" and node.value in self.definitions:
                    found.append(f"{node.value}(")
            uses[name] = found
        return uses

    def parameters_of(self, equation: Equation) -> tuple[str, ...]:
        return tuple(self.tokens.spelling(i).key for i in equation.parameters or ())

    def used_names(self, order: Iterable[str]) -> list[str]:
        nodes = self.program.nodes
        used: list[str] = []
        for name in order:
            equation = self.equation_of(name)
            own = self.parameters_of(equation) if name[-1] == "(" else ()
            for k in range(equation.low, equation.root + 1):
                key = nodes[k].value
                if nodes[k].kind == "name" and key not in own and k not in self.hidden and not self.is_builtin_value(key):
                    used.append(key)
        return used

    def is_builtin_value(self, key: str) -> bool:
        """Whether a name that is nothing else is a constant, the identity or a size."""
        return key not in self.taken and (key in _CONSTANTS or key == "I" or key[:1] == BOLD_ONE or key in self.dimensions)

    # --- shapes of leaves ---

    def shape_leaves(self, order: Iterable[str]) -> None:
        """Ranks and sizes of the leaves: declared, or by their names and the norms that they multiply."""
        scalars = self.scalar_leaves([name for name in order if name in self.equations])
        sizes = self.sizes
        for value, name in enumerate(self.leaves):
            shape = self.declared.get(name)
            if shape is not None:
                row, column = sizes.named(shape.rows), sizes.named(shape.columns)
            elif name in scalars:
                row = column = sizes.one
            elif self.is_upper(name):
                row, column = sizes.open(), sizes.open()
            else:
                row, column = sizes.open(), sizes.one
                self.assumed.add(value)
            self.rows.append(row)
            self.columns.append(column)

    def scalar_leaves(self, order: Iterable[str]) -> set[str]:
        """Undeclared leaves that only scale norms, sums and losses, alone or with other scalars."""
        nodes = self.program.nodes
        names = {key for key, shape in self.declared.items() if shape == SCALAR} | self.dimensions | (_CONSTANTS - self.taken)
        uses: dict[str, int] = {}
        scaling: dict[str, int] = {}
        for name in order:
            equation = self.equations[name]
            scalar: dict[int, bool] = {}
            total: dict[int, bool] = {}  # made of a norm, a sum or a loss
            factors: set[int] = set()
            for k in range(equation.low, equation.root + 1):
                node = nodes[k]
                if node.kind == "name":
                    uses[node.value] = uses.get(node.value, 0) + 1
                    scalar[k] = node.value in names
                elif node.kind == "call":
                    is_entrywise = self.builtin(nodes[node.args[0]].value) in _ENTRYWISE
                    scalar[k] = self.is_total(node) or (is_entrywise and all(scalar[arg] for arg in node.args[1:]))
                else:
                    scalar[k] = node.kind in ("number", "norm") or (node.kind in _COMBINING and all(scalar[arg] for arg in node.args))
                is_total = node.kind == "norm" or (node.kind == "call" and self.is_total(node))
                total[k] = is_total or (node.kind in _COMBINING and any(total[arg] for arg in node.args))
                if node.kind in ("product", "divide"):
                    factors.update(node.args)
            for k in range(equation.low, equation.root + 1):
                if nodes[k].kind in ("product", "divide") and k not in factors:
                    for key in self.scaling_leaves(k, scalar, total):
                        scaling[key] = scaling.get(key, 0) + 1
            if scalar[equation.root]:
                names.add(name)
        found = {key for key, count in scaling.items() if count == uses[key] and not self.is_upper(key)}
        return found - self.taken

    def scaling_leaves(self, k: int, scalar: Mapping[int, bool], total: Mapping[int, bool]) -> list[str]:
        """The names in a product of nothing but names and scalars with a norm, sum or loss among its factors."""
        nodes = self.program.nodes
        leaves: list[str] = []
        has_total = False
        stack = [(k, False)]
        while stack:
            at, below = stack.pop()
            node = nodes[at]
            if node.kind in ("product", "divide"):
                stack += [(node.args[0], below), (node.args[1], below != (node.kind == "divide"))]
            elif scalar[at]:
                has_total = has_total or (not below and total[at])
            elif node.kind == "name":
                leaves.append(node.value)
            else:
                return []
        return leaves if has_total else []

    def is_total(self, node: Node) -> bool:
        """Whether a call is of a function that gives a scalar of everything, or of a loss."""
        key = self.program.nodes[node.args[0]].value
        name = self.builtin(key)
        if name:
            return name in _SCALAR_FUNCTIONS and self.hidden.isdisjoint(node.args)
        return key not in self.definitions and self.is_loss(key)

    def is_upper(self, name: str) -> bool:
        """Whether a name is that of a matrix, where nothing is declared."""
        return _base_of(name, self.spellings)[:1].isupper()

    # --- steps ---

    def put(self, step: Step, rows: int, columns: int, node: Node) -> int:
        """The value of a step, known here or new."""
        key: object = step
        if step.operation in _SHAPED:
            key = (step, self.sizes.find(rows), self.sizes.find(columns))
        known = self.frame.known.get(key)
        if known is None:
            known = self.frame.known[key] = len(self.names)
            if len(self.steps) >= MAX_STEPS and len(self.definitions) > 0:
                raise LimitError(f"written out, the definitions have more than {MAX_STEPS:,} steps", self.place(node))
            self.steps.append(step)
            self.nodes_of_steps.append(node)
            self.names.append("")
            self.rows.append(rows)
            self.columns.append(columns)
        return known

    def number(self, number: Fraction, node: Node) -> int:
        return self.put(Step("number", "", (), (number,)), self.sizes.one, self.sizes.one, node)

    def value_of(self, operand: Operand, node: Node) -> int:
        """The value that an operand is; a number or a combination becomes a step."""
        if isinstance(operand, Fraction):
            return self.number(operand, node)
        value = _single(operand)
        if value is not None:
            return value
        combination = _as_sum(operand)
        return self.put(combination.as_step(), self.rows[combination.like], self.columns[combination.like], node)

    def materialize(self, operand: Operand, node: Node) -> int:
        return self.value_of(operand, node)

    def split(self, operand: int | _Sum, node: Node) -> tuple[Fraction, int]:
        """A number and a value whose product an operand is."""
        if isinstance(operand, _Sum) and len(operand.terms) == 1:
            coefficient, value = operand.terms[0]
            coefficient *= operand.factor
            if coefficient:
                return coefficient, value
        return ONE, self.value_of(operand, node)

    def times(self, number: Fraction, value: int, node: Node) -> Operand:
        return value if number == 1 else self.scaled(number, _Sum(value), node)

    def scaled(self, number: Fraction, operand: Operand, node: Node) -> Operand:
        if isinstance(operand, Fraction):
            return self.bounded(number * operand, node)
        like = operand if isinstance(operand, int) else operand.like
        scaled = super().scaled(number, operand, node)
        if isinstance(scaled, _Sum):
            scaled.like = like
        return scaled

    def is_scalar(self, value: int) -> bool:
        return self.sizes.is_one(self.columns[value]) and self.sizes.is_one(self.rows[value])

    def is_column(self, value: int) -> bool:
        """Whether a value has one column, and perhaps one row."""
        return self.sizes.is_one(self.columns[value])

    def is_row(self, value: int) -> bool:
        return self.sizes.is_one(self.rows[value]) and not self.sizes.is_one(self.columns[value])

    def is_matrix(self, value: int) -> bool:
        return not self.sizes.is_one(self.rows[value]) and not self.sizes.is_one(self.columns[value])

    def is_loose(self, value: int) -> bool:
        """Whether a value's rank is open: it comes from an unspecified layer."""
        return self.sizes.has(self.columns[value], LOOSE) and not self.sizes.is_known(self.columns[value])

    def decide(self, value: int) -> int:
        """Fix an open rank: an unused loss is a scalar, an upper-case name a matrix, everything else a column."""
        if self.is_loose(value):
            sizes, row, column = self.sizes, self.rows[value], self.columns[value]
            if sizes.has(column, LOSS) and not sizes.has(column, USED):
                sizes.unify(row, sizes.one)
                sizes.unify(column, sizes.one)
            elif not sizes.has(column, UPPER):
                sizes.unify(column, sizes.one)
            sizes.settle(row)
            sizes.settle(column)
        return value

    # --- equations ---

    def define(self, name: str, equation: Equation) -> None:
        node = self.program.nodes[equation.root]
        result = self.evaluate(equation)
        value = _single(result)
        if value is None or value < len(self.leaves) or self.names[value]:
            if isinstance(result, Fraction):
                value = len(self.names)
                self.steps.append(_step_of(result))
                rows = columns = self.sizes.one
            else:
                combination = _as_sum(result)
                value = len(self.names)
                self.steps.append(combination.as_step())
                rows, columns = self.rows[combination.like], self.columns[combination.like]
            self.nodes_of_steps.append(node)
            self.names.append("")
            self.rows.append(rows)
            self.columns.append(columns)
        self.names[value] = name
        self.values[name] = value
        if self.is_loose(value) and self.is_upper(name):
            self.sizes.mark(self.columns[value], UPPER)
        shape = self.declared.get(name)
        if shape is not None:
            rows, columns = self.sizes.named(shape.rows), self.sizes.named(shape.columns)
            said = f"{name} is declared {'a scalar' if shape.is_scalar else shape}"
            found = f"{self.shown(node)} {self.size_words(value)}"
            if not (self.sizes.unify(self.rows[value], rows) and self.sizes.unify(self.columns[value], columns)):
                raise ReadingError(f"{said}, but {found}{self.reasons((self.shown(node), value))}", self.place(node))

    def evaluate(self, equation: Equation) -> Operand:
        """What the right side of an equation stands for; definitions that it uses are written out, in frames of their own."""
        nodes = self.program.nodes
        frames = [_Frame(equation, {}, None, nodes[equation.root])]
        while True:
            frame = self.frame = frames[-1]
            end = frame.equation.root
            while frame.at <= end:
                k = frame.at
                part = None if k in self.hidden else self.read(k, nodes[k])
                if isinstance(part, _Frame):
                    frames.append(part)
                    break
                frame.results.append(part)
                frame.at += 1
            else:
                frames.pop()
                root = nodes[end]
                result = self.operand(frame.results[-1], root)
                if not frames:
                    return result
                assert frame.use is not None
                before = len(self.names)
                value = self.value_of(result, root)
                name, inputs = frame.use
                if value not in inputs and (value >= before or not self.names[value]):
                    self.calls.append((value, name, inputs))
                outer = frames[-1]
                outer.known[name, inputs] = value
                self.frame = outer
                outer.results.append(self.finish_call(value, frame.node))
                outer.at += 1

    def read(self, k: int, node: Node) -> Part | _Frame:
        """What a node stands for, or the frame of the definition that it uses."""
        reader = _READERS.get(node.kind)
        if reader is None:
            raise UnsupportedError(f"{_DESCRIPTIONS.get(node.kind, node.kind)} cannot stand in a composition", self.place(node))
        return reader(self, k, node)

    def part(self, k: int) -> Part:
        return self.frame.results[k - self.frame.equation.low]

    def argument(self, k: int) -> Operand:
        """What a node stands for, as an operand."""
        return self.operand(self.part(k), self.program.nodes[k])

    def operand(self, part: Part, node: Node) -> Operand:
        """A part as an operand: products are finished, and what is no value is refused."""
        if isinstance(part, (Fraction, int, _Sum)):
            return part
        if isinstance(part, _Chain):
            return self.multiply_out(part) if part.kind == "product" else self.multiply_entries(part)
        if isinstance(part, _Ones):
            return self.ones(self.sizes.named(part.size) if part.size else self.sizes.open(), self.sizes.one, node)
        if isinstance(part, _Group):
            hint = "a layer takes the members of a group, one by one"
            raise ReadingError(f"the group {node.value} is no value", self.place(node), hint)
        function = self.program.nodes[function_of(self.program.nodes, self.program.nodes.index(node))] if node.kind != "name" else node
        if function.kind == "function":
            raise ReadingError(f"{function.value} has no arguments", self.place(node), f"write {function.value}(x)")
        raise ReadingError(f"{node.value} is no value here", self.place(node))

    def ones(self, rows: int, columns: int, node: Node) -> int:
        return self.put(Step("ones", "", ()), rows, columns, node)

    def dimension(self, size: int, node: Node) -> Operand:
        """A size as a scalar."""
        text = self.sizes.text(size)
        if text.isdecimal():
            return Fraction(int(text))
        value = self.put(Step("dimension", "", ()), size, self.sizes.one, node)
        if self.rows[value] != self.sizes.one:
            self.late.append((value, size))
            self.rows[value] = self.columns[value] = self.sizes.one
        return value

    def read_name(self, k: int, node: Node) -> Part:
        del k
        key = node.value
        value = self.frame.parameters.get(key)
        if value is None:
            value = self.values.get(key)
        if value is not None:
            return value
        if key in self.groups_of:
            return _Group(self.groups_of[key])
        if key not in self.taken:
            if key in self.dimensions:
                return self.dimension(self.sizes.named(key), node)
            if key in _CONSTANTS:
                return self.constant(key, node)
            if key == "I":
                size = self.sizes.open()
                return self.put(Step("identity", "", ()), size, size, node)
            if key[:1] == BOLD_ONE:
                return _Ones(key[2:])
        raise self.unknown_name(node)

    def constant(self, key: str, node: Node) -> int:
        if key not in self.flagged:
            self.flagged.add(key)
            shown = "2.718…" if key == "e" else "3.141…"
            self.notices.append(Notice(f"{key} is the number {shown}; declare it, as in {key}: n, to read a name", self.place(node)))
        return self.put(Step("constant", key, ()), self.sizes.one, self.sizes.one, node)

    def read_function(self, k: int, node: Node) -> Part:
        del k, node
        return None

    def read_numeral(self, k: int, node: Node) -> Part:
        del k
        return self.read_number(node)

    # --- sums ---

    def read_sum(self, k: int, node: Node) -> Part:
        del k
        left, right = (self.argument(arg) for arg in node.args)
        return self.add(node, left, right, node.kind == "subtract")

    def read_negative(self, k: int, node: Node) -> Part:
        del k
        return self.scaled(Fraction(-1), self.argument(node.args[0]), node)

    def add(self, node: Node, left: Operand, right: Operand, minus: bool) -> Operand:
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.bounded(left - right if minus else left + right, node)
        sign = Fraction(-1 if minus else 1)
        if isinstance(left, Fraction) or isinstance(right, Fraction):
            one, other = (_Sum(self.number(side, node)) if isinstance(side, Fraction) else _as_sum(side) for side in (left, right))
            like = other.like if isinstance(left, Fraction) else one.like
        else:
            one, other = _as_sum(left), _as_sum(right)
            wider = self.fit(node, one, other)
            if wider < 0:
                other = self.spread(other, one.like, node)
            elif wider > 0:
                one = self.spread(one, other.like, node)
            like = one.like
        result = one.add(other.scale(sign))
        result.like = like
        return result

    def fit(self, node: Node, left: _Sum, right: _Sum) -> int:
        """Make the shapes of two terms one: 0, or the sign of the side that is wider, -1 for the left."""
        sizes, one, other = self.sizes, left.like, right.like
        if not self.is_loose(one) and not self.is_loose(other):
            if self.is_scalar(one) != self.is_scalar(other):
                self.notice_spread(node, one if self.is_scalar(other) else other)
                return -1 if self.is_scalar(other) else 1
            if self.is_column(one) != self.is_column(other):
                wide = other if self.is_column(one) else one
                if self.is_matrix(wide) and sizes.unify(self.rows[one], self.rows[other], (node.start, node.end)):
                    return -1 if wide == one else 1
                self.refuse_sum(node, one, other)
            elif self.is_row(one) != self.is_row(other):
                self.refuse_sum(node, one, other)
        if not self.unify(one, other, node):
            self.refuse_sum(node, one, other)
        return 0

    def unify(self, one: int, other: int, node: Node) -> bool:
        """Make the shapes of two values one; whether they can be."""
        cause = (node.start, node.end)
        return self.sizes.unify(self.rows[one], self.rows[other], cause) and self.sizes.unify(self.columns[one], self.columns[other], cause)

    def spread(self, side: _Sum, like: int, node: Node) -> _Sum:
        """A scalar sum as one of arrays, a sum of columns as one of matrices: each term times ones."""
        terms: deque[tuple[Fraction, int]] = deque()
        for coefficient, value in side.terms:
            step = self.steps[value - len(self.leaves)] if value >= len(self.leaves) else None
            if step is not None and step.operation == "number":
                terms.append((coefficient, value))
            elif self.is_scalar(value):
                ones = self.ones(self.rows[like], self.columns[like], node)
                terms.append((coefficient, self.put(Step("scale", "", (value, ones)), self.rows[like], self.columns[like], node)))
            else:
                ones = self.ones(self.sizes.one, self.columns[like], node)
                terms.append((coefficient, self.put(Step("product", "", (value, ones)), self.rows[like], self.columns[like], node)))
        side.terms = terms
        side.like = like
        return side

    def notice_spread(self, node: Node, wide: int) -> None:
        """Notice a scalar that is added to a leaf which is a column by nothing but its name."""
        if wide in self.assumed and self.names[wide] not in self.flagged:
            name = self.names[wide]
            self.flagged.add(name)
            message = f"a scalar is added to every entry of the column {name}; declare {name}: scalar if it is one number"
            self.notices.append(Notice(message, self.place(node)))

    def refuse_sum(self, node: Node, one: int, other: int) -> NoReturn:
        """Raise the error for terms that do not fit."""
        sizes = self.sizes
        left, right = self.program.nodes[node.args[0]], self.program.nodes[node.args[1]]
        hint = None
        turned = sizes.find(self.rows[one]) == sizes.find(self.columns[other]) and sizes.find(self.columns[one]) == sizes.find(
            self.rows[other]
        )
        if turned:
            hint = f"{self.transposed(right)} fits"
        elif (self.is_row(one) and self.is_matrix(other)) or (self.is_row(other) and self.is_matrix(one)):
            hint = "a row is added to every row as ones(m) r"
        self.refuse("shapes do not fit in this sum", node, (left, one), (right, other), hint)

    def refuse(self, what: str, node: Node, left: tuple[Node, int], right: tuple[Node, int], hint: str | None) -> NoReturn:
        """Raise the error for two values that do not fit together."""
        one, other = self.shown(left[0]), self.shown(right[0])
        if one == other:
            one, other = "the left one", "the right one"
        message = f"{what}: {one} {self.size_words(left[1])} and {other} {self.size_words(right[1])}"
        raise ReadingError(message + self.reasons((one, left[1]), (other, right[1])), self.place(node), hint)

    def reasons(self, *values: tuple[str, int]) -> str:
        """Why undeclared sizes are what they are."""
        told = ""
        for text, value in values:
            for size in (self.rows[value], self.columns[value]):
                cause = self.sizes.cause(size)
                if cause is not None:
                    place = self.tokens.place(cause[0], max(cause[0], cause[1] - 1))
                    told += f"; {text} {self.size_words(value)} because of {_excerpt(place)} at line {place.line}, column {place.column}"
                    break
        return told

    def size_words(self, value: int) -> str:
        """A value's shape, for a message."""
        rows, columns = self.sizes.text(self.rows[value]), self.sizes.text(self.columns[value])
        if self.is_loose(value):
            return "has an open shape"
        if self.is_scalar(value):
            return "is a scalar"
        if columns == "1":
            return f"has {rows} entries" if rows != "?" else "is a column"
        return f"is {rows} x {columns}" if (rows, columns) != ("?", "?") else "is a matrix"

    def shown(self, node: Node) -> str:
        """A node as it was typed, if that is short."""
        return _excerpt(self.place(node))

    def transposed(self, node: Node) -> str:
        """The transpose of a node, as one would type it."""
        text = self.shown(node)
        if node.kind == "transpose" and not node.value:
            return self.shown(self.program.nodes[node.args[0]])
        return f"{text}^T" if node.kind in ("name", "call", "power") or node.bracketed else f"({text})^T"

    def inverted(self, node: Node) -> str:
        """The inverse of a node, as one would type it."""
        text = self.shown(node)
        return f"{text}^-1" if node.kind in ("name", "call") or node.bracketed else f"({text})^-1"

    # --- products ---

    def read_product(self, k: int, node: Node) -> Part:
        del k
        return self.chain("product", node, node.kind == "divide")

    def read_entries(self, k: int, node: Node) -> Part:
        del k
        if node.value == "⊗":
            left, right = (self.argument(arg) for arg in node.args)
            return self.kron(node, left, right)
        return self.chain("elementwise", node, node.value in ("./", "⊘"))

    def chain(self, kind: str, node: Node, divides: bool) -> Part:
        """A product with one more factor; factors are kept until the product is complete."""
        nodes = self.program.nodes
        if node.args[1] in self.hidden:
            return self.size_identity(node)
        left, right = self.part(node.args[0]), self.argument(node.args[1])
        left_node, right_node = nodes[node.args[0]], nodes[node.args[1]]
        if isinstance(left, _Chain) and left.kind == kind:
            chain = left
        else:
            chain = _Chain(kind, [(self.operand(left, left_node), left_node, False)])
        if divides and isinstance(right, Fraction) and not right:
            raise ReadingError("division by zero", self.place(node))
        chain.factors.append((right, right_node, divides))
        return self.operand(chain, node) if node.bracketed else chain

    def size_identity(self, node: Node) -> Part:
        """An identity, at the end of what stands before it, of the size in the brackets."""
        part = self.part(node.args[0])
        value = part.factors[-1][0] if isinstance(part, _Chain) else part
        assert isinstance(value, int)
        self.sizes.unify(self.rows[value], self.size(node.args[1]))
        return part

    def multiply_out(self, chain: _Chain) -> Operand:
        """A product of numbers, scalars and matrices; as many matrices as stand side by side make one step."""
        first, last = chain.factors[0][1], chain.factors[-1][1]
        whole = Node("product", "", (), first.start, last.end)
        number = ONE
        scalars: list[int] = []
        arrays: list[tuple[int, Node]] = []
        for operand, node, divides in chain.factors:
            if isinstance(operand, Fraction):
                number = self.bounded(number / operand if divides else number * operand, whole)
                continue
            coefficient, value = self.split(operand, node)
            number = self.bounded(number / coefficient if divides else number * coefficient, whole)
            if divides:
                scalars.append(self.reciprocal(value, node, whole))
            elif self.is_scalar(value):
                scalars.append(value)
            else:
                arrays.append((value, node))
        if len(arrays) > 1:
            for value, _ in arrays:
                self.decide(value)
            scalars += [value for value, _ in arrays if self.is_scalar(value)]
            arrays = [(value, node) for value, node in arrays if not self.is_scalar(value)]
        run: list[tuple[int, Node]] = []
        for value, node in arrays:
            if run and self.sizes.is_one(self.rows[run[0][0]]) and self.sizes.is_one(self.columns[run[-1][0]]):
                scalars.append(self.product([source for source, _ in run], whole))
                run = []
            if run:
                self.join(run, value, node)
            run.append((value, node))
        if run:
            scalars.append(self.product([source for source, _ in run], whole))
        if not scalars:
            return number
        result = scalars[0]
        for value in scalars[1:]:
            result = self.scale(result, value, whole)
        return self.times(number, result, whole)

    def scale(self, scalar: int, value: int, node: Node) -> int:
        return self.put(Step("scale", "", (scalar, value)), self.rows[value], self.columns[value], node)

    def product(self, values: list[int], node: Node) -> int:
        if len(values) == 1:
            return values[0]
        return self.put(Step("product", "", tuple(values)), self.rows[values[0]], self.columns[values[-1]], node)

    def join(self, run: list[tuple[int, Node]], value: int, node: Node) -> None:
        """Check that a matrix fits behind a product."""
        sizes = self.sizes
        left, right = self.columns[run[-1][0]], self.rows[value]
        place = Node("product", "", (), run[0][1].start, node.end)
        is_slip = sizes.is_one(left) != sizes.is_one(right)  # an open size is not meant to be 1 here
        if not is_slip and sizes.unify(left, right, (run[-1][1].start, node.end)):
            return
        one, other = self.shown(place if len(run) > 1 else run[0][1]), self.shown(node)
        if len(run) > 1:
            one = _excerpt(self.tokens.place(run[0][1].start, run[-1][1].end - 1))
        rows = self.rows[run[0][0]]
        what = f"{one} {other} does not fit"
        shape = self.words_of(rows, left)
        shapes = f"{one} {shape} and {other} {self.size_words(value)}"
        hint = self.mend(run, value, node, one, other)
        if sizes.is_one(left) and self.is_column(value):
            message = f"{one} and {other} are columns, and columns have no matrix product"
            assumed = [self.names[v] for v in (run[-1][0], value) if v in self.assumed]
            hint = f"write {one} .* {other} for the elementwise product, {one}^T {other} for a number"
            if assumed:
                hint += f", or declare {assumed[0]}: scalar"
        elif sizes.is_known(left) and sizes.is_known(right):
            message = f"{what}: {shapes}; {sizes.text(left)} and {sizes.text(right)} differ"
        else:
            message = f"{what}: {shapes}"
        last = run[-1]
        raise ReadingError(message + self.reasons((self.shown(last[1]), last[0]), (other, value)), self.place(place), hint)

    def words_of(self, rows: int, columns: int) -> str:
        one, other = self.sizes.text(rows), self.sizes.text(columns)
        return (
            ("is a scalar" if one == "1" else f"has {one} entries" if one != "?" else "is a column")
            if other == "1"
            else f"is {one} x {other}"
        )

    def mend(self, run: list[tuple[int, Node]], value: int, node: Node, one: str, other: str) -> str | None:
        """A transpose that makes a product fit, if there is one."""
        sizes = self.sizes
        rows, columns = sizes.find(self.rows[value]), sizes.find(self.columns[value])
        left, right = sizes.find(self.rows[run[0][0]]), sizes.find(self.columns[run[-1][0]])
        head = self.transposed(run[0][1]) if len(run) == 1 else f"({one})^T"
        if left == rows and right == columns:
            return f"{head} {other} fits, or {one} .* {other} for the elementwise product"
        if left == rows:
            return f"{head} {other} fits"
        if right == columns:
            return f"{one} {self.transposed(node)} fits"
        return f"{other} {one} fits" if left == columns else None

    def reciprocal(self, value: int, node: Node, whole: Node) -> int:
        """1 / s for a scalar s."""
        self.decide(value)
        if not self.is_scalar(value):
            text = self.shown(node)
            hint = "write ./ to divide entry by entry"
            if self.is_matrix(value):
                hint += f", {self.inverted(node)} for the inverse"
            if value < len(self.leaves) and self.names[value] not in self.declared:
                hint += f", or declare {text}: scalar"
            raise ReadingError(f"{text} {self.size_words(value)}: a division is by a scalar", self.place(whole), hint)
        return self.power_of(value, Fraction(-1), node)

    def power_of(self, value: int, exponent: Fraction, node: Node) -> int:
        """The power of every entry."""
        return self.put(Step("power", "", (value,), (exponent,)), self.rows[value], self.columns[value], node)

    def multiply_entries(self, chain: _Chain) -> Operand:
        """A product entry by entry; scalars scale it."""
        first, last = chain.factors[0][1], chain.factors[-1][1]
        whole = Node("elementwise", "", (), first.start, last.end)
        number = ONE
        scalars: list[int] = []
        arrays: list[int] = []
        shown: Node = first
        for operand, node, divides in chain.factors:
            if isinstance(operand, Fraction):
                number = self.bounded(number / operand if divides else number * operand, whole)
                continue
            coefficient, value = self.split(operand, node)
            number = self.bounded(number / coefficient if divides else number * coefficient, whole)
            if divides:
                value = self.power_of(value, Fraction(-1), node)
            if self.is_scalar(value):
                scalars.append(value)
                continue
            if arrays and not self.same_rank(arrays[0], value):
                self.refuse("an elementwise product needs two arrays of one shape", whole, (shown, arrays[0]), (node, value), None)
            if arrays and not self.unify(arrays[0], value, Node("", "", (), first.start, node.end)):
                self.refuse(
                    "an elementwise product needs two arrays of one shape",
                    whole,
                    (shown, arrays[0]),
                    (node, value),
                    self.turn(arrays[0], value, node),
                )
            if not arrays:
                shown = node
            arrays.append(value)
        if arrays:
            if len(arrays) > 1:
                head = arrays[0]
                arrays = [self.put(Step("hadamard", "", tuple(arrays)), self.rows[head], self.columns[head], whole)]
            scalars.append(arrays[0])
        if not scalars:
            return number
        result = scalars[0]
        for value in scalars[1:]:
            result = self.scale(result, value, whole)
        return self.times(number, result, whole)

    def turn(self, one: int, other: int, node: Node) -> str | None:
        """A transpose that gives two values one shape."""
        sizes = self.sizes
        fits = sizes.find(self.rows[one]) == sizes.find(self.columns[other]) and sizes.find(self.columns[one]) == sizes.find(
            self.rows[other]
        )
        return f"{self.transposed(node)} fits" if fits else None

    def same_rank(self, one: int, other: int) -> bool:
        """Whether both are columns, rows or matrices, as far as that is known."""
        if self.is_loose(one) or self.is_loose(other):
            return True
        return self.is_column(one) == self.is_column(other) and self.is_row(one) == self.is_row(other)

    def kron(self, node: Node, left: Operand, right: Operand) -> Operand:
        if isinstance(left, Fraction) or isinstance(right, Fraction):
            return self.multiply_out(_Chain("product", [(left, node, False), (right, node, False)]))
        (c, one), (d, other) = self.split(left, node), self.split(right, node)
        self.decide(one)
        self.decide(other)
        rows = self.sizes.product(self.rows[one], self.rows[other])
        columns = self.sizes.product(self.columns[one], self.columns[other])
        return self.times(self.bounded(c * d, node), self.put(Step("kron", "", (one, other)), rows, columns, node), node)

    # --- powers and transposes ---

    def read_power(self, k: int, node: Node) -> Part:
        nodes = self.program.nodes
        if nodes[function_of(nodes, k)].kind == "function" and self.part(node.args[0]) is None:
            return None  # of a function, see read_call
        base_node = nodes[node.args[0]]
        if node.args[0] in self.hidden:
            return self.apply("exp", self.value_of(self.argument(node.args[1]), nodes[node.args[1]]), node)
        exponent = self.argument(node.args[1])
        base = self.argument(node.args[0])
        if node.args[0] in self.squared:
            return base  # the norm is read as its square
        if not isinstance(exponent, Fraction):
            hint = None
            if base_node.kind == "name" and nodes[node.args[1]].kind == "name":
                key, index = base_node.value, nodes[node.args[1]].value
                hint = None if self.builtin(index) else f"for an index write {key}_{{{index}}} or {key}^{{({index})}}"
            elif isinstance(base, Fraction):
                hint = f"write exp(log({base}) {self.shown(nodes[node.args[1]])})"
            raise ReadingError(f"an exponent is a number, and {self.shown(nodes[node.args[1]])} is none", self.place(node), hint)
        return self.raise_to(base, exponent, node, node.kind == "epower")

    def raise_to(self, base: Operand, exponent: Fraction, node: Node, entrywise: bool) -> Operand:
        """A power: of a scalar, of a square matrix, of every entry of a column or, with ``.^``, of a matrix."""
        if isinstance(base, Fraction):
            if exponent.denominator == 1:
                return self.power(node, base, exponent)
            if base <= 0:
                raise ReadingError(f"{base} has no real power {exponent}", self.place(node))
            return self.power_of(self.number(base, node), exponent, node)
        if abs(exponent.numerator) > 10**9 or exponent.denominator > 10**9:
            raise LimitError("this exponent is too long", self.place(node))
        if exponent == 1:
            return base
        whole = exponent.denominator == 1
        number, value = self.split(base, node) if whole and abs(exponent) <= MAX_EXPONENT else (ONE, self.value_of(base, node))
        self.decide(value)
        if self.is_matrix(value) and not entrywise:
            return self.matrix_power(number, value, exponent, node)
        number = self.bounded(number ** int(exponent), node) if number != 1 else number
        if not exponent:
            return number if self.is_scalar(value) else self.times(number, self.ones(self.rows[value], self.columns[value], node), node)
        if not self.is_scalar(value) and not entrywise:
            text = self.shown(self.program.nodes[node.args[0]]) if node.args else self.shown(node)
            if ("^", text) not in self.frame.known:
                self.frame.known["^", text] = value
                message = f"the power of the vector {text} is taken entry by entry"
                self.notices.append(Notice(message, self.place(node)))
        return self.times(number, self.power_of(value, exponent, node), node)

    def matrix_power(self, number: Fraction, value: int, exponent: Fraction, node: Node) -> Operand:
        """The product of a square matrix or its inverse with itself."""
        text = self.shown(self.program.nodes[node.args[0]]) if node.args else self.shown(node)
        if exponent.denominator != 1:
            hint = f"write {text}.^({exponent}) for the power of each entry"
            raise ReadingError(f"{text} is a matrix, and the power of a matrix is a whole number", self.place(node), hint)
        if abs(exponent) > MAX_EXPONENT:
            raise LimitError(f"the power of a matrix goes up to {MAX_EXPONENT}", self.place(node))
        what = "inverse" if exponent == -1 else "power"
        self.need_square(what, value, node, text, f"write {text}.^{exponent} for the power of each entry")
        number = self.bounded(number ** int(exponent), node)
        if not exponent:
            return self.put(Step("identity", "", ()), self.rows[value], self.columns[value], node)
        if exponent < 0:
            value = self.put(Step("inverse", "", (value,)), self.rows[value], self.columns[value], node)
        return self.times(number, self.product([value] * abs(int(exponent)), node), node)

    def need_square(self, what: str, value: int, node: Node, text: str, hint: str | None = None) -> None:
        """Check that a matrix is square."""
        self.decide(value)
        if not self.sizes.unify(self.rows[value], self.columns[value], (node.start, node.end)):
            reasons = self.reasons((text, value))
            article = "an" if what[0] in "aeiou" else "a"
            raise ReadingError(
                f"{article} {what} is of a square matrix, and {text} {self.size_words(value)}{reasons}", self.place(node), hint
            )

    def read_transpose(self, k: int, node: Node) -> Part:
        del k
        part = self.part(node.args[0])
        inner = self.program.nodes[node.args[0]]
        if isinstance(part, _Ones) or (inner.kind == "number" and part == 1 and not node.value):
            size = part.size if isinstance(part, _Ones) else ""
            return self.ones(self.sizes.one, self.sizes.named(size) if size else self.sizes.open(), node)
        if part is None and node.kind == "prime":
            return None  # the derivative of a function, see read_call
        operand = self.operand(part, inner)
        if isinstance(operand, Fraction):
            return 1 / operand if node.value and operand else operand
        if node.value:
            operand = self.raise_to(operand, Fraction(-1), node, False)
            assert not isinstance(operand, Fraction)
        number, value = self.split(operand, node)
        return self.times(number, self.transpose(value, node), node)

    def transpose(self, value: int, node: Node) -> int:
        self.decide(value)
        if self.is_scalar(value):
            return value
        return self.put(Step("transpose", "", (value,)), self.columns[value], self.rows[value], node)

    # --- norms ---

    def read_norm(self, k: int, node: Node) -> Part:
        inner = self.program.nodes[node.args[0]]
        operand = self.argument(node.args[0])
        is_square = k in self.squared
        if isinstance(operand, Fraction):
            return operand * operand if is_square else abs(operand)
        value = self.decide(self.value_of(operand, inner))
        order, one = node.value, self.sizes.one
        text = self.shown(inner)
        if order == "1":
            if self.is_matrix(value):
                hint = f"write sum(abs({text})) for the sum of all absolute values"
                raise ReadingError(
                    f"the 1-norm of a matrix is not part of the language, and {text} {self.size_words(value)}", self.place(node), hint
                )
            if self.is_scalar(value):
                norm = self.apply("abs", value, node)
            else:
                norm = self.put(Step("norm1", "", (self.transpose(value, node) if self.is_row(value) else value,)), one, one, node)
            return self.power_of(norm, Fraction(2), node) if is_square else norm
        if order not in ("", "2", "F", "2,2", "fro"):
            raise ReadingError(
                f"the norm with the index {order} is not part of the language", self.place(node), "there are ||v||, ||v||_1 and ||M||_F"
            )
        if order == "2" and self.is_matrix(value):
            hint = f"write ||{text}||_F for the Frobenius norm"
            raise ReadingError(
                f"the 2-norm of a matrix is not part of the language, and {text} {self.size_words(value)}", self.place(node), hint
            )
        if self.is_scalar(value):
            return self.power_of(value, Fraction(2), node) if is_square else self.apply("abs", value, node)
        square = self.put(Step("sqnorm", "", (value,)), one, one, node)
        return square if is_square else self.power_of(square, Fraction(1, 2), node)

    def read_absolute(self, k: int, node: Node) -> Part:
        part = self.part(node.args[0])
        if isinstance(part, _Logarithm):
            return part
        operand = self.operand(part, node)
        if isinstance(operand, Fraction):
            return abs(operand)
        value = self.decide(self.value_of(operand, node))
        inner = self.program.nodes[node.args[0]]
        text = self.shown(inner)
        if node.value:
            raise ReadingError("an index stands on a norm", self.place(node), f"write ||{text}||_{node.value}")
        if self.is_scalar(value):
            return self.apply("abs", value, node)
        if self.is_matrix(value):
            self.need_square("determinant", value, node, text)
            return self.determinant(k, value, node)
        self.notices.append(Notice(f"|{text}| is read as the norm of a vector", self.place(node)))
        return self.power_of(self.put(Step("sqnorm", "", (value,)), self.sizes.one, self.sizes.one, node), Fraction(1, 2), node)

    def determinant(self, k: int, value: int, node: Node) -> Part:
        """The determinant; under a logarithm, the logarithm of its absolute value."""
        if k in self.logged:
            return _Logarithm(self.put(Step("logdet", "", (value,)), self.sizes.one, self.sizes.one, node))
        return self.put(Step("det", "", (value,)), self.sizes.one, self.sizes.one, node)

    # --- blocks ---

    def read_beside(self, k: int, node: Node) -> Part:
        cells = [self.argument(arg) for arg in node.args]
        return cells[0] if len(cells) == 1 else self.blocks(cells, node, "beside", k in self.gridded)

    def read_below(self, k: int, node: Node) -> Part:
        del k
        cells = [self.argument(arg) for arg in node.args]
        return cells[0] if len(cells) == 1 else self.blocks(cells, node, "below", False)

    def blocks(self, cells: list[Operand], node: Node, operation: str, is_gridded: bool) -> Part:
        """Blocks side by side or below each other; a 0 is a block of zeros, as wide as the blocks above and below it."""
        nodes, sizes = self.program.nodes, self.sizes
        values: list[int | None] = []
        for cell, arg in zip(cells, node.args, strict=True):
            values.append(None if isinstance(cell, Fraction) else self.decide(self.value_of(cell, nodes[arg])))
        across, along = (self.rows, self.columns) if operation == "beside" else (self.columns, self.rows)
        known = next((value for value in values if value is not None), None)
        height = sizes.one if known is None else across[known]
        filled: list[int] = []
        for cell, value, arg in zip(cells, values, node.args, strict=True):
            if value is not None:
                assert known is not None
                if not sizes.unify(height, across[value], (node.start, node.end)):
                    at = values.index(known)
                    where = "beside" if operation == "beside" else "below"
                    self.refuse(f"blocks {where} each other do not fit", node, (nodes[node.args[at]], known), (nodes[arg], value), None)
                filled.append(value)
                continue
            assert isinstance(cell, Fraction)
            if sizes.is_one(height) and (cell or not is_gridded):
                filled.append(self.number(cell, nodes[arg]))
            elif cell == 0:
                shape = (height, sizes.open()) if operation == "beside" else (sizes.open(), height)
                filled.append(self.put(Step("zeros", "", ()), *shape, nodes[arg]))
            else:
                hint = "write ones(m,n), zeros(m,n) or I(n) for a block of numbers"
                raise ReadingError(f"the number {cell} is no block that fits here", self.place(nodes[arg]), hint)
        if operation == "below":
            self.align(filled, node)
        length = sizes.add(*(along[value] for value in filled))
        shape = (height, length) if operation == "beside" else (length, height)
        return self.put(Step(operation, "", tuple(filled)), *shape, node)

    def align(self, rows: list[int], node: Node) -> None:
        """Give the blocks in one column one width where that is open."""
        count, sizes = len(self.leaves), self.sizes
        steps = [self.steps[value - count] if value >= count else None for value in rows]
        grid = [step.inputs for step in steps if step is not None and step.operation == "beside"]
        if len(grid) != len(rows) or len({len(row) for row in grid}) > 1:
            return
        for row in grid[1:]:
            for one, other in zip(grid[0], row, strict=True):
                left, right = self.columns[one], self.columns[other]
                is_zero = any(value >= count and self.steps[value - count].operation == "zeros" for value in (one, other))
                is_open = not (sizes.is_known(left) and sizes.is_known(right))
                if is_open and (is_zero or sizes.is_one(left) == sizes.is_one(right)):
                    sizes.unify(left, right, (node.start, node.end))

    # --- functions ---

    def read_call(self, k: int, node: Node) -> Part | _Frame:
        nodes = self.program.nodes
        function = nodes[function_of(nodes, node.args[0])]
        primes, exponents = 0, []
        at = node.args[0]
        while nodes[at].kind != "function":
            if nodes[at].kind == "prime":
                primes += 1
            elif nodes[at].kind in ("power", "epower") and isinstance(self.part(nodes[at].args[1]), Fraction):
                exponents.append(self.part(nodes[at].args[1]))
            else:
                raise ReadingError(f"{self.shown(nodes[at])} is no function", self.place(nodes[at]))
            at = nodes[at].args[0]
        key = function.value
        if exponents and (len(exponents) > 1 or not isinstance(exponents[0], Fraction) or exponents[0] < 0):
            hint = f"write ({key}(x))^{exponents[0]} for a power of the value"
            raise ReadingError(f"{self.shown(nodes[node.args[0]])} could be an inverse function or a power", self.place(node), hint)
        if key in self.definitions and self.slope_of(key) is None:
            if primes:
                raise UnsupportedError(f"the derivative of the layer {key} cannot stand in a composition", self.place(node))
            return self.expand(node, key)
        result = self.call_builtin(k, node, function, primes)
        return self.finish_call(result, node)

    def finish_call(self, result: Part, node: Node) -> Part:
        """The power that stands on the function's name, taken of what it gives."""
        nodes = self.program.nodes
        at = node.args[0]
        while nodes[at].kind == "prime":
            at = nodes[at].args[0]
        if nodes[at].kind == "function":
            return result
        exponent = self.part(nodes[at].args[1])
        assert isinstance(exponent, Fraction)
        return self.raise_to(self.operand(result, node), exponent, Node("call", "", (), node.start, node.end), True)

    def call_builtin(self, k: int, node: Node, function: Node, primes: int) -> Part:
        """What an elementwise function, a function of the language or an unspecified layer gives."""
        key = function.value
        name = self.builtin(key)
        count = len(node.args) - 1
        if not name and key not in self.definitions and self.is_constant(node):
            return self.identity_or_unit(node, key)
        if not count:
            raise ReadingError(f"{key} has no arguments", self.place(node), f"write {key}(x)")
        slope = key in self.definitions
        if slope or key in self.elementwise or (key in ELEMENTWISE_NAMES and count == 1) or name in _ENTRYWISE:
            if name == "max":
                return self.maximum(node, primes)
            if count != 1:
                raise ReadingError(f"{name or key} takes one argument, and {count} are given", self.place(node), f"write {name or key}(x)")
            return self.entrywise(node, "sigmoid" if key == self.sigmoid else name or key, primes)
        if name:
            if primes:
                raise ReadingError(
                    f"{name}' is not part of the language",
                    self.place(node),
                    "only elementwise functions have a derivative written with a prime",
                )
            reader = _FUNCTIONS.get(name)
            if reader is None:
                raise ReadingError(
                    f"{name} is not part of the language", self.place(node), "call it by a name of your own to treat it as a layer"
                )
            if count not in reader.arities:
                wanted = " or ".join(map(str, reader.arities))
                hint = f"write {reader.usage}"
                raise ReadingError(
                    f"{name} takes {wanted} argument{'s' if wanted != '1' else ''}, and {count} are given", self.place(node), hint
                )
            return reader.read(self, k, node)
        if primes:
            raise UnsupportedError(
                f"the derivative of the layer {key} cannot stand in a composition",
                self.place(node),
                f"declare {key}: elementwise if it is one",
            )
        return self.apply_layer(node, function)

    def is_loss(self, key: str) -> bool:
        """Whether a function is one whose output is a scalar where nothing uses it."""
        return key in LOSSES or _base_of(key, self.spellings) in LOSSES

    def apply_layer(self, node: Node, function: Node) -> int:
        key = function.value
        self.notice_slip(node, function)
        inputs = tuple([self.value_of(self.argument(k), self.program.nodes[k]) for k in node.args[1:]])
        for value in inputs:
            if self.is_loose(value):
                self.sizes.mark(self.columns[value], USED)
        is_loss = self.is_loss(key)
        step = Step("layer", key, inputs)
        known = self.frame.known.get(step)
        return self.put(step, self.sizes.open(LOOSE), self.sizes.open(LOOSE | (LOSS if is_loss else 0)), node) if known is None else known

    def apply(self, name: str, value: int, node: Node, order: int = 0) -> int:
        """A function at every entry, or a derivative of it."""
        coefficients = (Fraction(order),) if order else ()
        return self.put(Step("apply", name, (value,), coefficients), self.rows[value], self.columns[value], node)

    def entrywise(self, node: Node, name: str, primes: int) -> Part:
        """An elementwise function; logarithms of determinants are one operation."""
        part = self.part(node.args[1])
        inner = self.program.nodes[node.args[1]]
        if name == "abs" and isinstance(part, _Logarithm):
            return part
        operand = part.value if isinstance(part, _Logarithm) else self.operand(part, inner)
        name = "log" if name == "ln" else name
        if isinstance(part, _Logarithm) and not primes:
            return operand
        if isinstance(operand, Fraction):
            if name in _POSITIVE and (operand < 0 or (name == "log" and operand == 0)):
                raise ReadingError(f"{name} of {operand} is no real number", self.place(node))
            if name == "sqrt" and not primes and operand in (0, 1):
                return operand
        value = self.value_of(operand, inner)
        if name == "sqrt":
            exponent, factor = Fraction(1, 2), ONE
            for _ in range(primes):
                factor, exponent = self.bounded(factor * exponent, node), exponent - 1
            return self.times(factor, self.power_of(value, exponent, node), node)
        return self.apply(name, value, node, primes)

    def maximum(self, node: Node, primes: int) -> int:
        """max(0, z)."""
        arguments = [self.argument(k) for k in node.args[1:]]
        zeros = [k for k, argument in enumerate(arguments) if isinstance(argument, Fraction) and argument == 0]
        if len(arguments) != 2 or not zeros or primes:
            raise ReadingError("max is read as max(0, z) only", self.place(node), "write max(0, z) or relu(z)")
        at = 1 - zeros[0]
        return self.apply("relu", self.value_of(arguments[at], self.program.nodes[node.args[1 + at]]), node)

    def identity_or_unit(self, node: Node, key: str) -> int:
        """``I(n)`` and ``e(i, n)``."""
        nodes = self.program.nodes
        size = self.size(node.args[-1])
        if key == "I":
            return self.put(Step("identity", "", ()), size, size, node)
        index = Fraction(nodes[node.args[1]].value)
        text = self.sizes.text(size)
        if index.denominator != 1 or index < 1 or (text.isdecimal() and index > int(text)):
            raise ReadingError(f"e({nodes[node.args[1]].value},{text}) is no unit vector", self.place(node), "the index counts from one")
        return self.put(Step("unit", "", (), (index,)), size, self.sizes.one, node)

    def size(self, k: int) -> int:
        """The size that a node is: a number, a name, products and sums of these."""
        nodes = self.program.nodes
        found: dict[int, int] = {}
        stack = [k]
        while stack:
            at = stack[-1]
            node = nodes[at]
            if node.kind in ("product", "add"):
                missing = [arg for arg in node.args if arg not in found]
                if missing:
                    stack += missing
                    continue
                combine = self.sizes.product if node.kind == "product" else self.sizes.add
                found[at] = combine(*(found[arg] for arg in node.args))
            elif node.kind == "name" and node.value not in self.taken:
                found[at] = self.sizes.named(node.value)
            elif node.kind == "number" and node.value.isdecimal() and len(node.value) < 10 and int(node.value) > 0:
                found[at] = self.sizes.named(node.value.lstrip("0"))
            else:
                hint = f"{node.value} is a value" if node.kind == "name" else None
                raise ReadingError("this is no size", self.place(node), hint or "write ones(n), ones(m,n) or ones(3,2)")
            stack.pop()
        return found[k]

    def expand(self, node: Node, key: str) -> Part | _Frame:
        """The body of a definition at values, in a frame of its own."""
        nodes = self.program.nodes
        definition = self.definitions[key]
        parameters = self.parameters_of(definition)
        inputs: list[int] = []
        has_group = False
        for k in node.args[1:]:
            part = self.part(k)
            if isinstance(part, _Group):
                inputs += part.members
                has_group = True
            else:
                inputs.append(self.value_of(self.operand(part, nodes[k]), nodes[k]))
        if len(inputs) != len(parameters):
            hint = f"it is defined as {key}({', '.join(parameters)})"
            if has_group:
                hint += "; a group stands for its members, one by one"
            raise ReadingError(
                f"{key} takes {len(parameters)} argument{'s' if len(parameters) != 1 else ''}, and {len(inputs)} are given",
                self.place(node),
                hint,
            )
        known = self.frame.known.get((key, tuple(inputs)))
        if known is not None:
            return self.finish_call(known, node)
        return _Frame(definition, dict(zip(parameters, inputs, strict=True)), (key, tuple(inputs)), node)

    # --- elementwise functions that the text defines ---

    def slope_of(self, key: str) -> Tape | None:
        """The scalar tape of a definition that is an elementwise function, None of one that is none."""
        known = self.slopes.get(key, ...)
        if known is not ...:
            assert known is None or isinstance(known, Tape)
            return known
        waiting = [key]  # definitions that a definition uses come before it
        nodes = self.program.nodes
        while waiting:
            top = waiting[-1]
            definition = self.definitions[top]
            missing = [
                node.value
                for node in nodes[definition.low : definition.root + 1]
                if node.kind == "function" and node.value in self.definitions and node.value not in self.slopes
            ]
            if missing and top not in missing:
                waiting += dict.fromkeys(missing)
                continue
            waiting.pop()
            self.slopes[top] = self.scalar_tape(definition) if self.is_entrywise(definition) else None
        return self.slopes[key]

    def is_entrywise(self, definition: Equation) -> bool:
        """Whether a definition makes a number of one number: numbers, constants, elementwise functions, and + - * / ^."""
        nodes = self.program.nodes
        parameters = self.parameters_of(definition)
        if len(parameters) != 1:
            return False
        used = False
        for k in range(definition.low, definition.root + 1):
            node = nodes[k]
            if node.kind == "name":
                used = used or node.value == parameters[0]
                if node.value != parameters[0] and not (node.value in _CONSTANTS and self.is_builtin_value(node.value)):
                    return False
            elif node.kind == "function":
                key = node.value
                known = self.slopes.get(key) is not None if key in self.definitions else key in self.elementwise
                if not known and key not in ELEMENTWISE_NAMES and self.builtin(key) not in _ENTRYWISE:
                    return False
            elif node.kind not in _ENTRYWISE_KINDS or node.value == "⊗":
                return False
        return used

    def scalar_tape(self, definition: Equation) -> Tape:
        """The body of an elementwise function, at a scalar."""
        builder = _ConcreteBuilder(self.program)
        for name in (
            "declared",
            "elementwise",
            "definitions",
            "slopes",
            "taken",
            "dimensions",
            "hidden",
            "squared",
            "logged",
            "sigmoid",
            "flagged",
        ):
            setattr(builder, name, getattr(self, name))
        (parameter,) = self.parameters_of(definition)
        builder.leaves, builder.names, builder.values = [parameter], [parameter], {parameter: 0}
        builder.taken = {parameter}
        builder.rows, builder.columns = [builder.sizes.one], [builder.sizes.one]
        result = builder.evaluate(definition)
        node = self.program.nodes[definition.root]
        value = builder.value_of(result, node)
        if value != len(builder.names) - 1 or value == 0:
            builder.frame.known.clear()
            value = builder.put(Step("sum", "", (value,), (ONE,)), builder.sizes.one, builder.sizes.one, node)
        builder.names[value] = parameter * 2  # no step that it is made of is left out
        builder.prune()
        builder.names[-1] = ""
        size = len(builder.names)
        return Tape(1, tuple(builder.names), tuple(builder.steps), (SCALAR,) * size, declared=(True,) * size)

    # --- the end ---

    def prune(self) -> None:
        """Leave out the steps of what was typed and is not used: ``v`` in ``v^0``, an argument that a definition ignores."""
        count, size = len(self.leaves), len(self.names)
        used = bytearray(bool(name) for name in self.names)
        for value in range(size - 1, count - 1, -1):
            if used[value]:
                for source in self.steps[value - count].inputs:
                    used[source] = 1
        if all(used):
            return
        kept = [value for value in range(size) if used[value]]
        new = {value: position for position, value in enumerate(kept)}
        self.steps = [
            step._replace(inputs=tuple([new[source] for source in step.inputs]))
            for step, is_used in zip(self.steps, used[count:], strict=True)
            if is_used
        ]
        self.names = [self.names[value] for value in kept]
        self.nodes_of_steps = [self.nodes_of_steps[value - count] for value in kept[count:]]
        self.rows = [self.rows[value] for value in kept]
        self.columns = [self.columns[value] for value in kept]
        self.values = {name: new[value] for name, value in self.values.items()}
        self.late = [(new[value], size) for value, size in self.late if value in new]
        self.calls = [
            (new[value], name, tuple(new[source] for source in inputs))
            for value, name, inputs in self.calls
            if value in new and all(source in new for source in inputs)
        ]

    def find_facts(self) -> tuple[tuple[int, str], ...]:
        """What is declared of values, and the labels that stand in cross-entropies."""
        facts = dict.fromkeys(self.declared_facts())
        for value, fact in facts:
            if fact == "symmetric" and not self.sizes.unify(self.rows[value], self.columns[value]):
                statement = next(
                    s for s in self.program.statements if isinstance(s, Declaration) and self.names[value] in map(self.key, s.names)
                )
                message = f"{self.names[value]} {self.size_words(value)}, and a symmetric matrix is square"
                raise ReadingError(message, self.program.place(statement))
        for value, fact in self.labels:
            if (value, "free") not in facts:
                facts.setdefault((value, fact))
        return tuple(sorted(facts))

    def key(self, token: int) -> str:
        return self.tokens.spelling(token).key

    def finish(self) -> tuple[tuple[Shape, ...], tuple[bool, ...]]:
        """The shapes, and for each whether it was declared or forced; what is open is assumed."""
        sizes = self.sizes
        count = len(self.leaves)
        closed = tuple(
            (value >= count or name in self.declared)
            and not self.is_loose(value)
            and sizes.is_known(self.rows[value])
            and sizes.is_known(self.columns[value])
            for value, name in enumerate(self.names)
        )
        taken = dict.fromkeys(sizes.known, 1)
        for value in range(len(self.names)):
            self.decide(value)
        for value, name in enumerate(self.names):
            shown = name or (self.steps[value - count].name if value >= count else "") or str(value)
            is_column = sizes.is_one(self.columns[value])
            sizes.assume(
                self.rows[value], "n" if is_column or sizes.find(self.rows[value]) == sizes.find(self.columns[value]) else "m", shown, taken
            )
            sizes.assume(self.columns[value], "n", shown, taken)
        unsolved = sizes.unsolved()
        if unsolved is not None:
            one, other, cause = unsolved
            place = None if cause is None else self.tokens.place(cause[0], max(cause[0], cause[1] - 1))
            raise ReadingError(
                f"the sizes {sizes.text(one)} and {sizes.text(other)} should be equal here", place, "declare the shapes of what is in it"
            )
        for value, (step, rows, columns) in enumerate(zip(self.steps, self.rows[count:], self.columns[count:], strict=True)):
            if step.operation == "zeros" and sizes.is_one(rows) and sizes.is_one(columns):
                self.steps[value] = Step("number", "", (), (Fraction(0),))
        for value, size in self.late:
            text = sizes.text(size)
            step = Step("number", "", (), (Fraction(int(text)),)) if text.isdecimal() else Step("dimension", text, ())
            self.steps[value - count] = step
        texts: dict[int, str] = {}
        shapes = []
        for rows, columns in zip(self.rows, self.columns, strict=True):
            pair = []
            for size in (rows, columns):
                root = sizes.find(size)
                if root not in texts:
                    texts[root] = sizes.text(root)
                pair.append(texts[root])
            shapes.append(Shape(*pair))
        return tuple(shapes), closed


# --- the table of functions ---


def _softmax(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    name = builder.builtin(builder.program.nodes[node.args[0]].value)
    inner = builder.program.nodes[node.args[1]]
    value = builder.value_of(builder.argument(node.args[1]), inner)
    if name == "softmax":
        builder.decide(value)
        if builder.is_matrix(value):
            text = builder.shown(inner)
            hint = f"write softmax_rows({text}) or softmax_columns({text})"
            raise ReadingError(f"softmax of the matrix {text}: of its rows or of its columns?", builder.place(node), hint)
        direction = "rows" if builder.is_row(value) else "columns"
    else:
        direction = name.partition("_")[2]
    return builder.put(Step("softmax", direction, (value,)), builder.rows[value], builder.columns[value], node)


def _vector(builder: _ConcreteBuilder, node: Node, what: str) -> int:
    """The one argument, which must be a column or row."""
    inner = builder.program.nodes[node.args[1]]
    value = builder.decide(builder.value_of(builder.argument(node.args[1]), inner))
    if builder.is_matrix(value):
        raise ReadingError(f"{what} is of a column, and {builder.shown(inner)} {builder.size_words(value)}", builder.place(node))
    return value


def _logsoftmax(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    value = _vector(builder, node, "logsoftmax")
    one = builder.sizes.one
    total = builder.put(Step("logsumexp", "", (value,)), one, one, node)
    ones = builder.ones(builder.rows[value], builder.columns[value], node)
    result = _Sum(value).add(_Sum(builder.scale(total, ones, node)).scale(Fraction(-1)))
    result.like = value
    return result


def _logsumexp(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    value = builder.value_of(builder.argument(node.args[1]), builder.program.nodes[node.args[1]])
    return builder.put(Step("logsumexp", "", (value,)), builder.sizes.one, builder.sizes.one, node)


def _layernorm(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    value = _vector(builder, node, "layernorm")
    if builder.is_row(value):
        text = builder.shown(builder.program.nodes[node.args[1]])
        raise ReadingError(
            f"layernorm is of a column, and {text} {builder.size_words(value)}", builder.place(node), f"write layernorm({text}^T)^T"
        )
    return builder.put(Step("layernorm", "", (value,)), builder.rows[value], builder.columns[value], node)


def _total(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    """``sum`` and ``mean``, of all entries or in one direction."""
    del k
    nodes, sizes = builder.program.nodes, builder.sizes
    name = builder.builtin(nodes[node.args[0]].value)
    direction = ""
    if len(node.args) == 3:
        direction = _DIRECTIONS.get(nodes[node.args[2]].value, "")
        if not direction:
            text = builder.shown(nodes[node.args[1]])
            hint = f"write {name}({text}, rows) or {name}({text}, columns)"
            raise ReadingError(f"{builder.shown(nodes[node.args[2]])} is no direction", builder.place(nodes[node.args[2]]), hint)
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, node)
    builder.decide(value)
    rows, columns = builder.rows[value], builder.columns[value]
    factors = [value]
    counted: list[int] = []
    if direction != "rows" and not sizes.is_one(rows):
        factors.insert(0, builder.ones(sizes.one, rows, node))
        counted.append(rows)
    if direction != "columns" and not sizes.is_one(columns):
        factors.append(builder.ones(columns, sizes.one, node))
        counted.append(columns)
    result = builder.product(factors, node)
    if name == "mean":
        scalars: list[int] = []
        for size in counted:
            dimension = builder.dimension(size, node)
            if isinstance(dimension, Fraction):
                number /= dimension
            elif isinstance(dimension, int):
                scalars.append(dimension)
        if scalars:
            scalar = scalars[0] if len(scalars) == 1 else builder.scale(scalars[0], scalars[1], node)
            result = builder.scale(builder.power_of(scalar, Fraction(-1), node), result, node)
    return builder.times(number, result, node)


def _of_square(operation: str, what: str) -> Callable[[_ConcreteBuilder, int, Node], Part]:
    """The reader of a function of a square matrix that gives a scalar."""

    def read(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
        inner = builder.program.nodes[node.args[1]]
        operand = builder.argument(node.args[1])
        number = ONE
        if isinstance(operand, Fraction):
            operand = builder.number(operand, inner)
        if operation == "trace":
            number, value = builder.split(operand, inner)
        else:
            value = builder.value_of(operand, inner)
        builder.need_square(what, value, node, builder.shown(inner))
        if operation == "det":
            return builder.determinant(k, value, node)
        if operation == "trace" and builder.is_scalar(value):
            return builder.times(number, value, node)
        return builder.times(number, builder.put(Step(operation, "", (value,)), builder.sizes.one, builder.sizes.one, node), node)

    return read


def _cross_entropy(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    nodes, count = builder.program.nodes, len(builder.leaves)
    p, y = (builder.value_of(builder.argument(arg), nodes[arg]) for arg in node.args[1:])
    if not builder.same_rank(p, y) or not builder.unify(p, y, node):
        what = "CE(p, y) needs two arrays of one shape"
        builder.refuse(what, node, (nodes[node.args[1]], p), (nodes[node.args[2]], y), builder.turn(p, y, nodes[node.args[2]]))
    builder.decide(p)
    if y < count:
        source = p
        while source >= count and builder.steps[source - count].operation == "sum" and builder.steps[source - count].coefficients == (ONE,):
            (source,) = builder.steps[source - count].inputs
        step = builder.steps[source - count] if source >= count else None
        if not builder.is_matrix(y):
            builder.labels[y, "label"] = None
        elif step is not None and step.operation == "softmax":
            builder.labels[y, f"label-{step.name}"] = None
    return builder.put(Step("CE", "", (p, y)), builder.sizes.one, builder.sizes.one, node)


def _diag(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    inner = builder.program.nodes[node.args[1]]
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, inner)
    builder.decide(value)
    rows = builder.rows[value]
    if builder.is_scalar(value):
        return operand
    if builder.is_row(value):
        value = builder.transpose(value, node)
        rows = builder.rows[value]
    if builder.is_column(value):
        return builder.times(number, builder.put(Step("diag", "", (value,)), rows, rows, node), node)
    text = builder.shown(inner)
    builder.need_square("diagonal", value, node, text, f"diag(v) of a column v is a matrix, diag({text}) of a square matrix a column")
    return builder.times(number, builder.put(Step("diagonal", "", (value,)), rows, builder.sizes.one, node), node)


def _vec(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    operand = builder.argument(node.args[1])
    if isinstance(operand, Fraction):
        return operand
    number, value = builder.split(operand, node)
    builder.decide(value)
    if builder.is_column(value):
        return operand
    rows = builder.sizes.product(builder.rows[value], builder.columns[value])
    return builder.times(number, builder.put(Step("vec", "", (value,)), rows, builder.sizes.one, node), node)


def _kron(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    del k
    left, right = (builder.argument(arg) for arg in node.args[1:])
    return builder.kron(node, left, right)


def _filled(builder: _ConcreteBuilder, k: int, node: Node) -> Part:
    """``ones`` and ``zeros``."""
    del k
    name = builder.builtin(builder.program.nodes[node.args[0]].value)
    sizes = [builder.size(arg) for arg in node.args[1:]]
    return builder.put(Step(name, "", ()), sizes[0], sizes[1] if len(sizes) > 1 else builder.sizes.one, node)


class _Function(NamedTuple):
    """A function of the language: how many arguments it takes, how it is written, and what reads it."""

    arities: tuple[int, ...]
    usage: str
    read: Callable[[_ConcreteBuilder, int, Node], Part]


_FUNCTIONS = {
    "softmax": _Function((1,), "softmax(z)", _softmax),
    "softmax_rows": _Function((1,), "softmax_rows(Z)", _softmax),
    "softmax_columns": _Function((1,), "softmax_columns(Z)", _softmax),
    "logsoftmax": _Function((1,), "logsoftmax(z)", _logsoftmax),
    "logsumexp": _Function((1,), "logsumexp(z)", _logsumexp),
    "layernorm": _Function((1,), "layernorm(x)", _layernorm),
    "sum": _Function((1, 2), "sum(x), sum(X, rows) or sum(X, columns)", _total),
    "mean": _Function((1, 2), "mean(x), mean(X, rows) or mean(X, columns)", _total),
    "tr": _Function((1,), "tr(A)", _of_square("trace", "trace")),
    "det": _Function((1,), "det(A)", _of_square("det", "determinant")),
    "logdet": _Function((1,), "logdet(A)", _of_square("logdet", "determinant")),
    "CE": _Function((2,), "CE(p, y), with the label y behind the probabilities p", _cross_entropy),
    "diag": _Function((1,), "diag(v)", _diag),
    "vec": _Function((1,), "vec(X)", _vec),
    "kron": _Function((2,), "kron(A, B)", _kron),
    "ones": _Function((1, 2), "ones(n) or ones(m,n)", _filled),
    "zeros": _Function((1, 2), "zeros(n) or zeros(m,n)", _filled),
}
"""Functions of vectors and matrices; one record each. Elementwise functions only have their name."""

_ENTRYWISE = frozenset({*_DIFFERENTIABLE, "ln", "sqrt", "max"})
_ENTRYWISE_KINDS = frozenset("name function number call add subtract negate product divide elementwise power epower absolute prime".split())
_SCALAR_FUNCTIONS = frozenset({"sum", "mean", "tr", "det", "logdet", "logsumexp", "CE"})
_COMBINING = frozenset({"add", "subtract", "negate", "product", "divide", "power"})

_Reader = Callable[[_ConcreteBuilder, int, Node], Part | _Frame]
_READERS: dict[str, _Reader] = {
    "name": _ConcreteBuilder.read_name,
    "function": _ConcreteBuilder.read_function,
    "number": _ConcreteBuilder.read_numeral,
    "add": _ConcreteBuilder.read_sum,
    "subtract": _ConcreteBuilder.read_sum,
    "negate": _ConcreteBuilder.read_negative,
    "product": _ConcreteBuilder.read_product,
    "divide": _ConcreteBuilder.read_product,
    "elementwise": _ConcreteBuilder.read_entries,
    "power": _ConcreteBuilder.read_power,
    "epower": _ConcreteBuilder.read_power,
    "transpose": _ConcreteBuilder.read_transpose,
    "prime": _ConcreteBuilder.read_transpose,
    "norm": _ConcreteBuilder.read_norm,
    "absolute": _ConcreteBuilder.read_absolute,
    "beside": _ConcreteBuilder.read_beside,
    "row": _ConcreteBuilder.read_beside,
    "stack": _ConcreteBuilder.read_below,
    "column": _ConcreteBuilder.read_below,
    "call": _ConcreteBuilder.read_call,
}


def function_of(nodes: Sequence[Node], k: int) -> int:
    """The node under primes and powers, such as the function of ``tanh'^2``."""
    while nodes[k].kind in ("prime", "power", "epower"):
        k = nodes[k].args[0]
    return k


def is_constant_call(nodes: Sequence[Node], node: Node) -> bool:
    """Whether a call looks like ``I(n)`` or ``e(i, n)``."""
    if node.kind != "call" or nodes[node.args[0]].kind != "function":
        return False
    arguments = [nodes[k] for k in node.args[1:]]
    key = nodes[node.args[0]].value
    if key == "I":
        return len(arguments) == 1 and arguments[0].kind in ("number", "name")
    return key == "e" and len(arguments) == 2 and arguments[0].kind == "number" and arguments[1].kind in ("number", "name")


def _base_of(name: str, spellings: Mapping[str, Spelling]) -> str:
    known = spellings.get(name)
    return known.base if known is not None else name


LONGEST_EXCERPT = 40


def _excerpt(place: Place) -> str:
    """What stands at a place, on one line and cut in the middle where it is long."""
    text = " ".join(place.source.text[place.start : place.end].split())
    return text if len(text) <= LONGEST_EXCERPT else f"{text[: LONGEST_EXCERPT // 2]}…{text[-LONGEST_EXCERPT // 3 :]}"


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
