"""Values of a tape, and of expressions derived from it, computed forward by the meaning of each operation.

Nothing here differentiates by a rule: this is the witness that derivations are tested against. What a text leaves unspecified, opaque
layers and elementwise functions, becomes a random smooth map, always the same one under the same name.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.dense import ELEMENTWISE, Dense, Numbers, Taylor
from jacobian_chain.errors import LimitError
from jacobian_chain.tape import Shape, Step, Tape

MAX_DEPTH = 6
"""How deep derivatives of functions that the text defines may be nested in each other."""

HIDDEN = 4
"""How many sines a random map has; their bends span the second derivatives."""

Functions = Sequence[tuple[str, Tape]]
Observer = Callable[[Step, list[Dense], Numbers], None]


# --- sizes ---


def size_of(text: str, sizes: Mapping[str, int]) -> int:
    """The number that a size stands for: a number, a symbol, or sums and products of these.

    Raises:
        KeyError: a symbol without a number.

    >>> size_of("2*n", {"n": 3}), size_of("m + n*(m + 1)", {"m": 2, "n": 3})
    (6, 11)
    """
    if text.isdecimal():
        return int(text)
    if text in sizes:
        return sizes[text]
    products: list[tuple[int, int]] = []  # what waits outside of each open bracket
    total, factor = 0, 1
    for token in _size_tokens(text):
        if token == "(":
            products.append((total, factor))
            total, factor = 0, 1
        elif token == ")":
            inner = total + factor
            total, factor = products.pop()
            factor *= inner
        elif token == "+":
            total, factor = total + factor, 1
        elif token != "*":
            factor *= int(token) if token.isdecimal() else sizes[token]
    return total + factor


def symbols_of(text: str) -> list[str]:
    """The symbols in a size, in order.

    >>> symbols_of("2*n+n_x")
    ['n', 'n_x']
    """
    return [token for token in _size_tokens(text) if token not in ("(", ")", "+", "*") and not token.isdecimal()]


def _size_tokens(text: str) -> list[str]:
    return re.findall(r"[()+*]|[^\s()+*]+", text)


# --- unspecified functions ---


class _Ridges(NamedTuple):
    """A map u ↦ offset + linear · u + outer · wave(inner · u + shift)."""

    offset: list[Any]
    linear: Dense
    outer: Dense
    inner: Dense
    shift: list[Any]


class Opaque:
    """Random smooth maps for what is not specified, with their derivatives in closed form.

    A map depends on nothing but the seed, the name, and how many entries its inputs and its output have. With ``polynomial`` the maps
    are cubic polynomials with rational coefficients, which exact numbers can follow.

    >>> once, again = Opaque(1), Opaque(1)
    >>> once.value("f", [[[0.5]]], (2, 1), dense.FLOATS) == again.value("f", [[[0.5]]], (2, 1), dense.FLOATS)
    True
    """

    def __init__(self, seed: int = 0, polynomial: bool = False) -> None:
        self.seed = seed
        self.polynomial = polynomial
        self._layers: dict[tuple[str, tuple[int, ...], int, Numbers], _Ridges] = {}

    def value(self, name: str, inputs: Sequence[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
        """The value of a layer, of some shape."""
        ridges, point, heights = self._at(name, inputs, shape[0] * shape[1], numbers)
        waves = [self._wave(height, 0, numbers) for height in heights]
        values = [
            start + _dot(line, point) + _dot(row, waves)
            for start, line, row in zip(ridges.offset, ridges.linear, ridges.outer, strict=True)
        ]
        return dense.from_entries(values, shape)

    def jacobian(self, name: str, inputs: Sequence[Dense], outputs: int, slot: int, numbers: Numbers) -> Dense:
        """The Jacobian in one slot: entries of the output by entries of the input, columns stacked."""
        ridges, _, heights = self._at(name, inputs, outputs, numbers)
        slopes = [self._wave(height, 1, numbers) for height in heights]
        first, behind = _span(inputs, slot)
        inner = [[slope * entry for entry in row[first:behind]] for slope, row in zip(slopes, ridges.inner, strict=True)]
        return dense.add([row[first:behind] for row in ridges.linear], dense.product(ridges.outer, inner))

    def curvature(self, name: str, weights: Dense, inputs: Sequence[Dense], slots: tuple[int, int], numbers: Numbers) -> Dense:
        """Σ λ_k ∂²g_k/∂u_i∂u_j for the entries λ of ``weights``: entries of the one input by entries of the other."""
        factors = dense.entries(weights)
        ridges, _, heights = self._at(name, inputs, len(factors), numbers)
        bends = [
            _dot(column, factors) * self._wave(height, 2, numbers)
            for column, height in zip(zip(*ridges.outer, strict=True), heights, strict=True)
        ]
        (a, b), (c, d) = _span(inputs, slots[0]), _span(inputs, slots[1])
        left = dense.transpose([row[a:b] for row in ridges.inner])
        right = [[bend * entry for entry in row[c:d]] for bend, row in zip(bends, ridges.inner, strict=True)]
        return dense.product(left, right)

    def elementwise(self, name: str, value: Any, order: int, numbers: Numbers) -> Any:
        """An unspecified elementwise function or its derivative of some order: a wave and a line."""
        rng = self._random("elementwise", name)
        a, b, c, d = (numbers.from_fraction(_coefficient(rng)) for _ in range(4))
        result = a * b**order * self._wave(b * value + c, order, numbers)
        return result + (d * value if order == 0 else d if order == 1 else numbers.from_fraction(Fraction(0)))

    def _random(self, *key: object) -> random.Random:
        return random.Random(repr((self.seed, *key)))  # text, since hashes of text differ from run to run

    def _at(self, name: str, inputs: Sequence[Dense], outputs: int, numbers: Numbers) -> tuple[_Ridges, list[Any], list[Any]]:
        """The map, the entries of all inputs, and what the waves are taken of."""
        point = [entry for value in inputs for entry in dense.entries(value)]
        counts = tuple([len(value) * len(value[0]) for value in inputs])
        key = (name, counts, outputs, numbers)
        ridges = self._layers.get(key)
        if ridges is None:
            ridges = self._layers[key] = self._ridges(name, counts, outputs, numbers)
        return ridges, point, [_dot(row, point) + start for row, start in zip(ridges.inner, ridges.shift, strict=True)]

    def _ridges(self, name: str, counts: tuple[int, ...], outputs: int, numbers: Numbers) -> _Ridges:
        rng = self._random("layer", name, counts, outputs)
        inputs = sum(counts)
        small = Fraction(1, 1 << (inputs.bit_length() // 2))  # long chains neither explode nor fade

        def matrix(rows: int, columns: int, factor: Fraction) -> Dense:
            return [[numbers.from_fraction(_coefficient(rng) * factor) for _ in range(columns)] for _ in range(rows)]

        return _Ridges(
            [numbers.from_fraction(abs(_coefficient(rng))) for _ in range(outputs)],
            matrix(outputs, inputs, small),
            matrix(outputs, HIDDEN, Fraction(1, 2)),
            matrix(HIDDEN, inputs, small),
            [numbers.from_fraction(_coefficient(rng)) for _ in range(HIDDEN)],
        )

    def _wave(self, value: Any, order: int, numbers: Numbers) -> Any:
        if not self.polynomial:
            sign = -1 if order % 4 > 1 else 1
            return sign * numbers.apply("cos" if order % 2 else "sin", value)
        third, half, one, zero = (numbers.from_fraction(Fraction(*ratio)) for ratio in ((-1, 6), (1, 2), (1, 1), (0, 1)))
        terms = [third, half, one, zero]  # t - t³/6 + t²/2, highest power first
        result = zero
        for k, term in enumerate(terms[: max(4 - order, 0)]):
            result = result * value + term * math.perm(3 - k, order)
        return result


def _coefficient(rng: random.Random) -> Fraction:
    """Away from zero, and exact in every kind of numbers."""
    return Fraction(rng.choice((-1, 1)) * rng.randint(16, 64), 64)


def _dot(a: Iterable[Any], b: Iterable[Any]) -> Any:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _span(inputs: Sequence[Dense], slot: int) -> tuple[int, int]:
    """Where the entries of an input begin and end among those of all."""
    counts = [len(value) * len(value[0]) for value in inputs]
    return sum(counts[:slot]), sum(counts[: slot + 1])


# --- operations ---

Operation = Callable[[Step, list[Dense], tuple[int, int], Numbers], Dense]


def _sum(step: Step, inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    total = dense.filled(shape, numbers.from_fraction(Fraction(0)))
    for value, coefficient in zip(inputs, step.coefficients, strict=True):
        term = dense.filled(shape, value[0][0]) if dense.size(value) == (1, 1) else value
        if coefficient != 1:
            term = dense.scale(numbers.from_fraction(coefficient), term)
        total = dense.add(total, term)
    return total


def _number(step: Step, _inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    return dense.filled(shape, numbers.from_fraction(step.coefficients[0]))


def _constant(step: Step, _inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    return dense.filled(shape, numbers.constant(step.name))


def _dimension(step: Step, _inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    return dense.filled(shape, numbers.from_fraction(Fraction(step.name)))


def _filled(value: int) -> Operation:
    return lambda _step, _inputs, shape, numbers: dense.filled(shape, numbers.from_fraction(Fraction(value)))


def _identity(_step: Step, _inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    if shape[0] != shape[1]:
        raise ValueError(f"an identity of {shape[0]} x {shape[1]}")
    return dense.identity(shape[0], numbers)


def _unit(step: Step, _inputs: list[Dense], shape: tuple[int, int], numbers: Numbers) -> Dense:
    place = int(step.coefficients[0])
    if not 1 <= place <= shape[0]:
        raise ValueError(f"there is no unit column {place} of {shape[0]}")
    return [[numbers.from_fraction(Fraction(i == place))] for i in range(1, shape[0] + 1)]


def _power(step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    return dense.each(lambda entry: numbers.power(entry, step.coefficients[0]), inputs[0])


def _trace(_step: Step, inputs: list[Dense], _shape: tuple[int, int], _numbers: Numbers) -> Dense:
    return [[dense.trace(inputs[0])]]


def _sqnorm(_step: Step, inputs: list[Dense], _shape: tuple[int, int], _numbers: Numbers) -> Dense:
    return [[sum(entry * entry for row in inputs[0] for entry in row)]]


def _norm1(_step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    return [[sum(numbers.apply("abs", entry) for row in inputs[0] for entry in row)]]


def _cross_entropy(_step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    return [[-_dot(dense.entries(inputs[1]), [numbers.apply("log", entry) for entry in dense.entries(inputs[0])])]]


def _indicator(step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    if step.name != ">":
        raise ValueError(f"no indicator {step.name!r}")
    return dense.each(lambda entry: numbers.apply("step", entry), inputs[0])


def _commutation(step: Step, _inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    rows, columns = map(int, step.name.split(","))
    return dense.commutation(rows, columns, numbers)


def _embedding(step: Step, _inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers) -> Dense:
    return dense.embedding(int(step.name), numbers)


OPERATIONS: dict[str, Operation] = {
    "sum": _sum,
    "scale": lambda _step, inputs, _shape, _numbers: dense.scale(inputs[0][0][0], inputs[1]),
    "number": _number,
    "constant": _constant,
    "dimension": _dimension,
    "ones": _filled(1),
    "zeros": _filled(0),
    "identity": _identity,
    "unit": _unit,
    "product": lambda _step, inputs, _shape, _numbers: reduce(dense.product, inputs),
    "hadamard": lambda _step, inputs, _shape, _numbers: reduce(dense.hadamard, inputs),
    "power": _power,
    "transpose": lambda _step, inputs, _shape, _numbers: dense.transpose(inputs[0]),
    "inverse": lambda _step, inputs, _shape, numbers: dense.inverse(inputs[0], numbers),
    "trace": _trace,
    "det": lambda _step, inputs, _shape, numbers: [[dense.det(inputs[0], numbers)]],
    "logdet": lambda _step, inputs, _shape, numbers: [[dense.logdet(inputs[0], numbers)]],
    "sqnorm": _sqnorm,
    "norm1": _norm1,
    "logsumexp": lambda _step, inputs, _shape, numbers: [[dense.logsumexp(inputs[0], numbers)]],
    "softmax": lambda step, inputs, _shape, numbers: dense.softmax(inputs[0], numbers, step.name),
    "CE": _cross_entropy,
    "layernorm": lambda _step, inputs, _shape, numbers: dense.layernorm(inputs[0], numbers),
    "diag": lambda _step, inputs, _shape, _numbers: dense.diag(inputs[0]),
    "diagonal": lambda _step, inputs, _shape, _numbers: dense.diagonal(inputs[0]),
    "vec": lambda _step, inputs, _shape, _numbers: dense.vec(inputs[0]),
    "reshape": lambda _step, inputs, shape, _numbers: dense.reshape(inputs[0], shape),
    "kron": lambda _step, inputs, _shape, _numbers: reduce(dense.kron, inputs),
    "beside": lambda _step, inputs, _shape, _numbers: dense.beside(*inputs),
    "below": lambda _step, inputs, _shape, _numbers: dense.below(*inputs),
    "indicator": _indicator,
    "commutation": _commutation,
    "embedding": _embedding,
}
"""What each operation means, one row each. Sizes in a step's name are numbers by now: ``dimension "3"``, ``commutation "2,3"``."""

GIVEN = frozenset({"leaf", "symbol", "adjoint"})
"""Steps that compute nothing: their values have to be given."""

UnspecifiedOperation = Callable[[Step, list[Dense], tuple[int, int], Numbers, Opaque], Dense]


def _apply(step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers, opaque: Opaque) -> Dense:
    order = _order(step)
    if step.name in ELEMENTWISE:
        return dense.each(lambda entry: numbers.apply(step.name, entry, order), inputs[0])
    return dense.each(lambda entry: opaque.elementwise(step.name, entry, order, numbers), inputs[0])


def _layer(step: Step, inputs: list[Dense], shape: tuple[int, int], numbers: Numbers, opaque: Opaque) -> Dense:
    return opaque.value(step.name, inputs, shape, numbers)


def _partial(step: Step, inputs: list[Dense], shape: tuple[int, int], numbers: Numbers, opaque: Opaque) -> Dense:
    return opaque.jacobian(step.name, inputs, shape[0], int(step.coefficients[0]), numbers)


def _gradient(step: Step, inputs: list[Dense], shape: tuple[int, int], numbers: Numbers, opaque: Opaque) -> Dense:
    return dense.reshape(opaque.jacobian(step.name, inputs, 1, int(step.coefficients[0]), numbers), shape)


def _curvature(step: Step, inputs: list[Dense], _shape: tuple[int, int], numbers: Numbers, opaque: Opaque) -> Dense:
    i, j = map(int, step.coefficients)
    return opaque.curvature(step.name, inputs[0], inputs[1:], (i, j), numbers)


UNSPECIFIED: dict[str, UnspecifiedOperation] = {
    "apply": _apply,
    "layer": _layer,
    "partial": _partial,
    "gradient": _gradient,
    "curvature": _curvature,
}
"""The same for operations that may need a random map."""


def _order(step: Step) -> int:
    """Which derivative of a function an ``apply`` step is."""
    return int(step.coefficients[0]) if step.coefficients else 0


# --- evaluation ---


def evaluate_tape(
    tape: Tape, leaves: Mapping[int, Dense], sizes: Mapping[str, int], numbers: Numbers, opaque: Opaque, observe: Observer | None = None
) -> list[Dense]:
    """The values of all values of a tape.

    Args:
        tape: the composition.
        leaves: the values of all leaves, as any numbers; values of steps may be given too, and are then held.
        sizes: a number for each symbol.
        numbers: what to compute with.
        opaque: the maps that opaque layers and unspecified functions stand for.
        observe: called before each step with the step, its inputs and the kind of numbers, also inside functions that the text defines.

    Raises:
        ArithmeticError: a value is not defined there, not finite, or not a number of this kind.

    >>> tape = Tape(1, ("x", "y"), (Step("sqnorm", "", (0,)),), (Shape("n", "1"), Shape("1", "1")))
    >>> evaluate_tape(tape, {0: [[Fraction(1, 2)], [Fraction(1)]]}, {"n": 2}, dense.RATIONALS, Opaque())[1]
    [[Fraction(5, 4)]]
    """
    values = evaluate(
        program(tape), tape.shapes, leaves, sizes, numbers, opaque, range(len(tape.names)), functions=tape.functions, observe=observe
    )
    return [values[value] for value in range(len(tape.names))]


def program(tape: Tape) -> list[Step]:
    """One step for each value of a tape, those of leaves having the operation ``leaf``."""
    return [Step("leaf", name, ()) for name in tape.names[: tape.leaves]] + list(tape.steps)


class _Call(NamedTuple):
    """The derivative of some order of a function that the text defines, at one number."""

    name: str
    order: int
    at: Any


@dataclass
class _Frame:
    """An evaluation under way."""

    steps: Sequence[Step]
    shapes: Sequence[Shape]
    values: dict[int, Dense]
    numbers: Numbers
    wanted: tuple[int, ...]
    call: _Call | None = None
    run: Generator[_Call, Any, None] = field(init=False)


def evaluate(
    steps: Sequence[Step],
    shapes: Sequence[Shape],
    given: Mapping[int, Dense],
    sizes: Mapping[str, int],
    numbers: Numbers,
    opaque: Opaque,
    wanted: Iterable[int],
    functions: Functions = (),
    observe: Observer | None = None,
) -> dict[int, Dense]:
    """The values of the wanted ones of a list of steps, computing nothing that they do not need.

    Args:
        steps: in order, inputs before what uses them; besides those of a tape, ``leaf`` and what derivatives are made of:
            ``partial`` (the Jacobian of the opaque layer ``name`` in the slot ``coefficients[0]``), ``gradient`` (the same of a scalar
            layer, in the shape of that input), ``curvature`` (of inputs λ, u, v, … and coefficients (i, j): Σ λ_k ∂²g_k/∂u_i∂u_j),
            ``commutation`` (of the sizes ``"m,n"``), ``embedding`` (of the size ``"n"``), ``indicator`` (``">"``).
        shapes: of every step's value.
        given: values that are not computed, as any numbers, all leaves among them (and ``symbol`` and ``adjoint`` steps).
        sizes: a number for each symbol.
        numbers: what to compute with.
        opaque: the maps that opaque layers and unspecified functions stand for.
        wanted: whose values to return.
        functions: the elementwise functions that the text defines, as on a tape.
        observe: called before each step with the step, its inputs and the kind of numbers, also inside these functions.

    Raises:
        ArithmeticError: a value is not defined there, not finite, or not a number of this kind.
        ValueError: a leaf has no value, or shapes do not fit.

    >>> steps = [Step("leaf", "x", ()), Step("transpose", "", (0,)), Step("product", "", (1, 0))]
    >>> evaluate(steps, [Shape("n", "1"), Shape("1", "n"), Shape("1", "1")], {0: [[3], [4]]}, {"n": 2}, dense.FLOATS, Opaque(), [2])
    {2: [[25.0]]}
    """
    wanted = tuple(wanted)
    return _Evaluation(sizes, opaque, functions, observe).run(steps, shapes, given, numbers, wanted)


class _Evaluation:
    """Frames on a stack: functions that the text defines may be made of each other to any depth."""

    def __init__(self, sizes: Mapping[str, int], opaque: Opaque, functions: Functions, observe: Observer | None) -> None:
        self.sizes = sizes
        self.opaque = opaque
        self.functions = dict(functions)
        self.observe = observe
        self._numbered: dict[str, int] = {}
        self._called: dict[_Call, Any] = {}

    def run(
        self, steps: Sequence[Step], shapes: Sequence[Shape], given: Mapping[int, Dense], numbers: Numbers, wanted: tuple[int, ...]
    ) -> dict[int, Dense]:
        values = {node: dense.each(numbers.convert, value) for node, value in given.items()}
        stack = [self._start(_Frame(steps, shapes, values, numbers, wanted))]
        answer: Any = None
        while True:
            frame = stack[-1]
            try:
                call = frame.run.send(answer)
            except StopIteration:
                stack.pop()
                if frame.call is None:
                    return {node: frame.values[node] for node in wanted}
                answer = frame.values[frame.wanted[0]][0][0]
                if frame.call.order:
                    answer = answer.coefficients[frame.call.order] * math.factorial(frame.call.order)
                self._called[frame.call] = answer
                continue
            answer = self._called.get(call)
            if answer is None:
                stack.append(self._start(self._body(call, frame.numbers)))

    def _start(self, frame: _Frame) -> _Frame:
        frame.run = self._values(frame)
        return frame

    def _body(self, call: _Call, numbers: Numbers) -> _Frame:
        """The evaluation of a function's own tape, over series where its derivative is asked for."""
        tape = self.functions[call.name]
        at = call.at
        if call.order:
            series = Taylor(numbers, call.order)
            if series.depth > MAX_DEPTH:
                raise LimitError(f"derivatives of {call.name} are nested more than {MAX_DEPTH} deep in each other")
            numbers, at = series, series.variable(at)
        return _Frame(program(tape), tape.shapes, {0: [[at]]}, numbers, (len(tape.names) - 1,), call)

    def _values(self, frame: _Frame) -> Generator[_Call, Any, None]:
        """Compute what a frame wants; yields a call where it needs one, and is sent its value."""
        values, numbers, steps = frame.values, frame.numbers, frame.steps
        for node in _needed(steps, frame.wanted, values):
            step = steps[node]
            inputs = [values[value] for value in step.inputs]
            if self.observe is not None:
                self.observe(step, inputs, numbers)
            if step.operation == "apply" and step.name in self.functions:
                order, result = _order(step), []
                for row in inputs[0]:
                    line = []
                    for entry in row:
                        line.append((yield _Call(step.name, order, entry)))  # noqa: PERF401 - no yield in a comprehension
                    result.append(line)
                values[node] = result
            else:
                values[node] = self._compute(step, inputs, frame.shapes[node], numbers)

    def _compute(self, step: Step, inputs: list[Dense], shape: Shape, numbers: Numbers) -> Dense:
        name = step.operation
        pair = (self._size(shape.rows), self._size(shape.columns))
        if name in UNSPECIFIED:
            return UNSPECIFIED[name](step, inputs, pair, numbers, self.opaque)
        if name in ("dimension", "commutation", "embedding"):
            step = step._replace(name=",".join(str(self._size(size)) for size in step.name.split(",")))
        if name not in OPERATIONS:
            raise ValueError(f"no value is given for the {name} {step.name}" if name in GIVEN else f"no operation {name!r}")
        return OPERATIONS[name](step, inputs, pair, numbers)

    def _size(self, text: str) -> int:
        number = self._numbered.get(text)
        if number is None:
            number = self._numbered[text] = size_of(text, self.sizes)
        return number


def _needed(steps: Sequence[Step], wanted: Iterable[int], known: Mapping[int, Dense]) -> list[int]:
    """What has to be computed for some values, in order."""
    found: set[int] = set()
    stack = [node for node in wanted if node not in known]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend([value for value in steps[node].inputs if value not in known])
    return sorted(found)
