"""Reading of what has nothing but unspecified layers, their sums and their multiples.

Ranks may stay open until everything is read: what a sum joins has one shape, and nothing else asks for it.
"""

from __future__ import annotations

from fractions import Fraction

from jacobian_chain.assembly import Assembly, Reading
from jacobian_chain.combination import ONE, Combination, Operand, as_combination, single_value, step_of
from jacobian_chain.errors import ReadingError
from jacobian_chain.names import ELEMENTWISE_NAMES, FUNCTION_KEYS
from jacobian_chain.shapes import infer_shapes
from jacobian_chain.statements import Statements
from jacobian_chain.syntax import BOLD_ONE, Equation, Node
from jacobian_chain.tape import SCALAR, Step, Tape

_PLAIN = frozenset({"function", "number", "add", "subtract", "negate"})
_MULTIPLES = frozenset({"product", "divide", "power"})
_NUMBER, _SCALAR, _ARRAY = range(3)


def is_of_layers(statements: Statements) -> bool:
    """Whether a text has nothing but unspecified layers, sums, and multiples by numbers and scalars, as far as the signs tell.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.syntax import read_program
    >>> [is_of_layers(Statements(read_program(Source(text)))) for text in ("y = x + f(x)/2", "y = A f(x)", "y = tanh(x)")]
    [True, False, False]
    """
    nodes, elementwise, builtin = statements.nodes, statements.elementwise, statements.builtin_values()
    if statements.definitions or any(key[:1] == BOLD_ONE for key in builtin):
        return False
    has_multiples = False
    for equation in statements.equations.values():
        for node in nodes[equation.low : equation.root + 1]:
            kind = node.kind
            if kind == "name":
                if node.value in builtin:
                    return False
            elif kind == "call":
                function = nodes[node.args[0]]
                key = function.value
                if function.kind != "function" or key in FUNCTION_KEYS or key in elementwise:
                    return False
                if (key in ELEMENTWISE_NAMES and len(node.args) == 2) or (key in ("I", "e") and statements.is_constant(node)):
                    return False
            elif kind in _MULTIPLES:
                has_multiples = True
            elif kind not in _PLAIN:
                return False
    return not has_multiples or _are_multiples(statements)


def _are_multiples(statements: Statements) -> bool:
    """Whether every product has a number or scalar in it, every division is by a number, every power of a number."""
    nodes = statements.nodes
    scalars = {key for key, shape in statements.declared.items() if shape == SCALAR}
    for name in statements.order:
        equation = statements.equations[name]
        low = equation.low
        kinds: list[int] = []
        for node in nodes[low : equation.root + 1]:
            args = [kinds[k - low] for k in node.args]
            if node.kind == "number":
                kind = _NUMBER
            elif node.kind == "name":
                kind = _SCALAR if node.value in scalars else _ARRAY
            elif node.kind in ("function", "call"):
                kind = _ARRAY
            elif node.kind == "power":
                exponent = nodes[node.args[1]]
                digits = nodes[exponent.args[0]] if exponent.kind == "negate" else exponent
                if args[0] != _NUMBER or not (digits.kind == "number" and digits.value.isdecimal()):
                    return False
                kind = _NUMBER
            elif (node.kind == "product" and min(args) == _ARRAY) or (node.kind == "divide" and args[1] != _NUMBER):
                return False
            else:
                kind = max(args)
            kinds.append(kind)
        if kinds[-1] != _ARRAY:
            scalars.add(name)
    return True


class Layers(Assembly):
    """Fills a tape from a text for which :func:`is_of_layers` holds."""

    def __init__(self, statements: Statements) -> None:
        super().__init__(statements)
        self.scalars: set[int] = set()
        self.applied: dict[tuple[str, tuple[int, ...]], int] = {}

    def read(self) -> Reading | None:
        """The tape, or None where a sum joins values of different ranks, so that shapes decide what it means.

        Raises:
            ReadingError: a name is unknown, shapes do not fit.
        """
        statements = self.statements
        self.collect_leaves()
        self.scalars = {value for key, value in self.values.items() if self.declared.get(key) == SCALAR}
        groups = self.collect_groups()
        count = len(self.leaves)
        for name in statements.order:
            self.define(name, statements.equations[name])
        found = infer_shapes(
            self.names, count, self.steps, self.declared, self.spellings, lambda value: self.place(self.nodes_of_steps[value - count])
        )
        if found is None:
            return None
        shapes, declared = found
        facts, nested = self.declared_facts(), statements.is_nested
        tape = Tape(count, tuple(self.names), tuple(self.steps), shapes, groups, declared, nested, self.spellings, facts)
        return Reading(tape, tuple(self.notices))

    def define(self, name: str, equation: Equation) -> None:
        """Append the steps of one equation; the last bears its name."""
        nodes = self.nodes
        results: list[Operand | None] = []
        low = equation.low
        self.applied = {}  # not shared between equations: a named value can be held free, and its double must not be
        for k in range(low, equation.root + 1):
            results.append(self.combine(nodes[k], results, low))
        result = results[-1]
        assert result is not None
        value = single_value(result)
        if value is not None and value >= len(self.leaves) and not self.names[value]:
            self.names[value] = name
            self.values[name] = value
            if self.declared.get(name) == SCALAR:
                self.scalars.add(value)
        else:
            self.append(step_of(result), nodes[equation.root], name)

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
        if kind == "call":
            return self.call(node, operands)
        if kind == "add" or kind == "subtract":
            left, right = operands
            return self.add(node, left, right, kind == "subtract")
        if kind == "negate":
            return self.scaled(Fraction(-1), operands[0], node)
        if kind == "product":
            return self.multiply(node, *operands)
        base, number = operands
        assert isinstance(number, Fraction)
        if kind == "power":
            assert isinstance(base, Fraction)
            return self.power(node, base, number)
        if number == 0:
            raise ReadingError("division by zero", self.place(node))
        return self.scaled(1 / number, base, node)

    def add(self, node: Node, left: Operand, right: Operand, minus: bool) -> Operand:
        """The sum or difference of two operands."""
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.bounded(left - right if minus else left + right, node)
        one, other = (
            Combination(self.append(step_of(side), node)) if isinstance(side, Fraction) else as_combination(side) for side in (left, right)
        )
        return one.add(other.scale(Fraction(-1)) if minus else other)

    def call(self, node: Node, operands: list[Operand]) -> int:
        """A layer applied: a new step, or the step of this equation that applied it to the same values before."""
        function = self.nodes[node.args[0]]
        key = function.value
        if not operands:
            raise ReadingError(f"{key} has no arguments", self.place(node), f"write {key}(x)")
        self.notice_slip(node, function)
        inputs = tuple([self.materialize(operand, self.nodes[k]) for operand, k in zip(operands, node.args[1:], strict=True)])
        known = self.applied.get((key, inputs))
        if known is None:
            known = self.applied[key, inputs] = self.append(Step("layer", key, inputs), node)
        return known

    def multiply(self, node: Node, left: Operand, right: Operand) -> Operand:
        """A multiple by a number, or by a value that is a scalar."""
        if isinstance(left, Fraction):
            return self.scaled(left, right, node)
        if isinstance(right, Fraction):
            return self.scaled(right, left, node)
        scalar, array = as_combination(left), as_combination(right)
        if not self.is_scalar(scalar):
            scalar, array = array, scalar
        assert self.is_scalar(scalar)
        factor, scalar.factor = scalar.factor, ONE
        inputs = self.materialize(scalar, node), self.materialize(array, node)
        return self.scaled(factor, Combination(self.append(Step("scale", "", inputs), node)), node)

    def is_scalar(self, combination: Combination) -> bool:
        """Whether a combination is one of scalars."""
        return all(value in self.scalars for _, value in combination.terms)

    def materialize(self, operand: Operand, node: Node) -> int:
        """The value that an argument is; a number or a combination becomes a step."""
        value = single_value(operand)
        return self.append(step_of(operand), node) if value is None else value

    def append(self, step: Step, node: Node, name: str = "") -> int:
        """Add a step."""
        value = len(self.names)
        self.steps.append(step)
        self.nodes_of_steps.append(node)
        if self.declared.get(name) == SCALAR or (step.operation != "layer" and all(source in self.scalars for source in step.inputs)):
            self.scalars.add(value)
        self.names.append(name)
        if name:
            self.values[name] = value
        return value
