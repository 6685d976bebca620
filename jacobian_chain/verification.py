"""The Jacobian of a composition by numerical differentiation, at random points in its domain.

Differences of the whole composition, forward values only: nothing is shared with what derives. A derived block that differs from this
by more than :data:`THRESHOLD` is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.dense import ELEMENTWISE, FLOATS, Dense, DomainError, Numbers, Series, precise
from jacobian_chain.errors import ChainError
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape, program, size_of, symbols_of
from jacobian_chain.tape import Step, Tape

THRESHOLD = 1e-6
"""A relative error above this is a difference."""

DOUBT = 1e-7
"""A relative error above this is computed again in more digits."""

DIGITS = 40
"""How many these are."""

TRIES = 100
"""How many points are tried before the domain counts as empty."""

SIZES = (2, 3, 4, 5)

MARGINS = (1e-2, 1e-2, 1e-2, 1e-3, 1e-5)
"""How far arguments stay from kinks and poles, less and less as tries go by: large networks have many kinks."""

FLOAT_STEP = 2.0**-9
"""Of central differences in floats; halved twice and extrapolated, which leaves errors of the order of its sixth power."""

GREATEST = 1e6
"""Values above this lose digits in differences; allowed in later tries only."""


class Point(NamedTuple):
    """Numbers for the symbols in shapes, and values of the leaves as fractions, which every kind of numbers can take."""

    sizes: dict[str, int]
    leaves: dict[int, Dense]


# --- sampling ---


def sample(tape: Tape, seed: int = 0, opaque: Opaque | None = None, varied: bool = False) -> Point:
    """A random point where a composition is defined and smooth.

    Different symbols get different small sizes as far as they go. Labels are positive and sum to one, symmetric matrices are positive
    definite, matrices that are inverted are far from singular, and no argument is close to a kink or a pole.

    Args:
        tape: the composition.
        seed: chooses the point.
        opaque: the maps of unspecified functions, ``Opaque()`` unless given.
        varied: whether sizes and signs change with the seed as much as the domain lets them.

    Raises:
        ChainError: no point was found; the message names the operation whose domain was missed.

    >>> from jacobian_chain.tape import Shape
    >>> tape = Tape(1, ("x", "y"), (Step("apply", "log", (0,)),), (Shape("n", "1"), Shape("n", "1")))
    >>> point = sample(tape)
    >>> point.sizes, all(row[0] > 0 for row in point.leaves[0])
    ({'n': 2}, True)
    """
    rng = random.Random(f"point {seed}")
    opaque = Opaque() if opaque is None else opaque
    demands = _Demands(tape)
    missed = ""
    for attempt in range(TRIES):
        sizes = _sizes(tape, rng, varied or attempt >= 5)
        positive = demands.positive if attempt or not varied else bytearray(len(tape.names))  # √x² has negative points too
        leaves = _leaves(tape, sizes, rng, positive, demands.regular, attempt % len(MODES), varied)
        check = _Domain(MARGINS[attempt * len(MARGINS) // TRIES], attempt < TRIES // 2)
        try:
            values = evaluate_tape(tape, leaves, sizes, FLOATS, opaque, check.observe)
        except ArithmeticError as error:
            missed = f"{check.where}: {error}" if str(error) else check.where
            continue
        if all(FLOATS.is_finite(entry) for value in values for row in value for entry in row):
            return Point(sizes, leaves)
        missed = "finite values"
    raise ChainError(
        f"no point was found in the domain of {missed} ({TRIES} tries)", hint="is the composition defined for real numbers of any sizes?"
    )


def _sizes(tape: Tape, rng: random.Random, shuffled: bool) -> dict[str, int]:
    """Small numbers for all symbols, different ones as far as they go, none that the text itself uses if others are left."""
    symbols: dict[str, int] = {}  # with the least number that will do
    used: set[int] = set()
    seen: set[str] = set()
    texts = [size for shape in tape.shapes for size in shape] + [step.name for step in tape.steps if step.operation == "dimension"]
    for text in texts:
        if text in seen:
            continue
        seen.add(text)
        if text.isdecimal():
            used.add(int(text))
        for symbol in symbols_of(text):
            symbols.setdefault(symbol, 2)
    for value, step in enumerate(tape.steps, tape.leaves):
        rows = tape.shapes[value].rows
        if rows in symbols:
            if step.operation == "unit":
                symbols[rows] = max(symbols[rows], int(step.coefficients[0]))
            elif step.operation == "layernorm":
                symbols[rows] = max(symbols[rows], 3)  # two entries are always ±1
    choices = [size for size in SIZES if size not in used] or list(SIZES)
    sizes: dict[str, int] = {}
    left: list[int] = []
    for symbol, least in sorted(symbols.items(), key=lambda item: -item[1]):
        if not left:
            left = choices[:]
            if shuffled:
                rng.shuffle(left)
        fitting = [size for size in left if size >= least]
        sizes[symbol] = fitting[0] if fitting else max(least, left[0])
        if fitting:
            left.remove(fitting[0])
    return {symbol: sizes[symbol] for symbol in symbols}


class _Mode(NamedTuple):
    """How entries are drawn: between two numbers of 64ths, of both signs or positive."""

    low: int
    high: int
    signed: bool


MODES = (_Mode(16, 96, True), _Mode(8, 48, True), _Mode(16, 96, False), _Mode(4, 16, False), _Mode(64, 192, True))


def _leaves(
    tape: Tape, sizes: dict[str, int], rng: random.Random, positive: bytearray, regular: bytearray, mode: int, varied: bool
) -> dict[int, Dense]:
    facts: dict[int, set[str]] = {}
    for value, fact in tape.facts:
        facts.setdefault(value, set()).add(fact)
    leaves = {}
    for leaf in range(tape.leaves):
        shape = tape.shapes[leaf]
        rows, columns = size_of(shape.rows, sizes), size_of(shape.columns, sizes)
        known = facts.get(leaf, set())
        low, high, signed = MODES[mode]
        signed = signed and not positive[leaf]
        labels = known & {"label", "label-columns", "label-rows"}
        if labels:
            by_rows = "label-rows" in labels or rows == 1
            drawn = [_label(columns if by_rows else rows, rng) for _ in range(rows if by_rows else columns)]
            leaves[leaf] = drawn if by_rows else dense.transpose(drawn)
        elif rows == columns and ("symmetric" in known or regular[leaf]):
            leaves[leaf] = _dominant(rows, rng, "symmetric" in known, signed)
            if varied and "symmetric" not in known and rng.random() < 0.5:
                leaves[leaf][0] = [-entry for entry in leaves[leaf][0]]  # the determinant is negative
        else:
            leaves[leaf] = [[_entry(rng, low, high, signed) for _ in range(columns)] for _ in range(rows)]
    return leaves


def _entry(rng: random.Random, low: int, high: int, signed: bool) -> Fraction:
    sign = rng.choice((-1, 1)) if signed else 1
    return Fraction(sign * rng.randint(low, high), 64)


def _label(n: int, rng: random.Random) -> list[Fraction]:
    """Positive numbers that sum to one exactly, in floats too."""
    whole = 1 << (n.bit_length() + 4)
    cuts = sorted(rng.sample(range(1, whole), n - 1))
    return [Fraction(behind - before, whole) for before, behind in zip([0, *cuts], [*cuts, whole], strict=True)]


def _dominant(n: int, rng: random.Random, symmetric: bool, signed: bool) -> Dense:
    """A matrix whose diagonal outweighs the rest of each row: well-conditioned; positive definite where symmetric."""
    share = 1 << n.bit_length()
    a: Dense = [[_entry(rng, 16, 64, signed) / share for _ in range(n)] for _ in range(n)]
    for i in range(n):
        a[i][i] = _entry(rng, 64, 128, False) + Fraction(i, 4)
        for j in range(i if symmetric else 0):
            a[i][j] = a[j][i]
    return a


POSITIVE_THROUGH = frozenset(
    "sum product hadamard scale kron transpose vec reshape diag diagonal beside below trace det sqnorm".split()
) | frozenset({"relu", "leaky_relu", "elu", "silu", "gelu", "tanh", "sinh", "erf", "sign", "tan"})
"""Operations, and elementwise functions, that give positive values for positive ones."""

REGULAR_THROUGH = frozenset({"transpose", "inverse", "product", "sum", "scale", "kron", "diag"})
"""Operations that tend to give well-conditioned matrices for well-conditioned ones."""


class _Demands:
    """What the domains of a composition ask of its values, carried backward as far as that is simple: the rest is left to chance.

    Attributes:
        positive: for each value, whether its entries had better be positive.
        regular: whether it had better be well-conditioned.
    """

    def __init__(self, tape: Tape) -> None:
        size = len(tape.names)
        self.positive, self.regular = bytearray(size), bytearray(size)
        for value in range(size - 1, tape.leaves - 1, -1):
            step = tape.steps[value - tape.leaves]
            self._carry(step, self.positive[value], self.regular[value])

    def _carry(self, step: Step, positive: int, regular: int) -> None:
        name = step.operation
        first = step.inputs[:1]
        if (name == "apply" and step.name == "log") or name == "CE" or (name == "power" and step.coefficients[0].denominator != 1):
            self._mark(self.positive, first)
        elif name in ("inverse", "det", "logdet") or (name == "trace" and positive):
            self._mark(self.regular, first)
        if positive and (step.name if name == "apply" else name) in POSITIVE_THROUGH | {"power"}:
            self._mark(self.positive, step.inputs)
        if regular and name in REGULAR_THROUGH:
            self._mark(self.regular, step.inputs)
            if name in ("diag", "scale"):
                self._mark(self.positive, first)

    def _mark(self, demand: bytearray, values: Sequence[int]) -> None:
        for value in values:
            demand[value] = 1


class _Domain:
    """Looks at every step before it is computed.

    Attributes:
        margin: how far arguments have to stay from kinks and poles.
        strict: whether large values are refused too.
        where: the operation that was looked at last, as a message names it.
    """

    def __init__(self, margin: float, strict: bool) -> None:
        self.margin = margin
        self.greatest = GREATEST if strict else float("inf")
        self.where = ""

    def observe(self, step: Step, inputs: list[Dense], numbers: Numbers) -> None:
        """Raise DomainError where a step is not defined, not smooth, or too close to that."""
        name = step.operation
        self.where = step.name if name == "apply" else name
        if numbers is not FLOATS:  # inside the derivative of a function that the text defines
            inputs = [dense.each(_constant_term, value) for value in inputs]
        for value in inputs:
            for row in value:
                for entry in row:
                    if not abs(entry) <= self.greatest:
                        raise DomainError("its argument is too large")
        if name == "apply":
            self._look_at_function(step.name, inputs[0])
        elif name == "power":
            exponent = step.coefficients[0]
            if exponent.denominator != 1:
                self._need(all(entry > self.margin for row in inputs[0] for entry in row), "its argument is not positive")
            elif exponent < 0:
                self._need_nonzero(inputs[0])
        elif name == "inverse":
            both = [max(map(abs, dense.entries(matrix))) for matrix in (inputs[0], dense.inverse(inputs[0], FLOATS))]
            self._need(both[0] * both[1] * len(inputs[0]) * self.margin < 10, "the matrix is nearly singular")
        elif name == "logdet":
            self._need(abs(dense.det(inputs[0], FLOATS)) > self.margin, "the matrix is nearly singular")
        elif name in ("norm1", "indicator"):
            self._need_nonzero(inputs[0])
        elif name == "CE":
            self._need(all(entry > 0 for row in inputs[0] for entry in row), "its first argument is not positive")
        elif name == "layernorm":
            entries = dense.entries(inputs[0])
            self._need(max(entries) - min(entries) > self.margin, "its entries are nearly equal")

    def _look_at_function(self, name: str, argument: Dense) -> None:
        if name == "log":
            self._need(all(entry > self.margin for row in argument for entry in row), "its argument is not positive")
        elif name in ELEMENTWISE and ELEMENTWISE[name].kink:
            self._need_nonzero(argument)
        elif name == "tan":
            self._need_nonzero(dense.each(lambda entry: FLOATS.apply("cos", entry), argument))

    def _need_nonzero(self, argument: Dense) -> None:
        self._need(all(abs(entry) > self.margin for row in argument for entry in row), "its argument is close to zero")

    def _need(self, met: bool, otherwise: str) -> None:
        if not met:
            raise DomainError(otherwise)


def _constant_term(entry: Any) -> Any:
    while isinstance(entry, Series):
        entry = entry.coefficients[0]
    return entry


# --- differentiation ---


def numerical_jacobian(
    tape: Tape, output: int, variable: int, point: Point, opaque: Opaque | None = None, digits: int | None = None
) -> Dense:
    """The Jacobian of one value by another on ``vec``: entries of the output by entries of the variable, columns stacked.

    A variable that is computed by a step is held free: the step is replaced by a leaf.

    Args:
        tape: the composition.
        output: a value.
        variable: another value, or the same.
        point: where, as :func:`sample` gives it; computed values among its leaves are held.
        opaque: the maps of unspecified functions; the ones that the point was found with, ``Opaque()`` unless given.
        digits: how many digits to compute with; floats without.

    Raises:
        ArithmeticError: the composition is not defined around the point.

    >>> from jacobian_chain.tape import Shape
    >>> tape = Tape(1, ("x", "y"), (Step("sqnorm", "", (0,)),), (Shape("2", "1"), Shape("1", "1")))
    >>> [round(entry, 9) for entry in numerical_jacobian(tape, 1, 0, Point({}, {0: [[Fraction(3)], [Fraction(4)]]}))[0]]
    [6.0, 8.0]
    """
    opaque = Opaque() if opaque is None else opaque
    numbers = FLOATS if digits is None else precise(digits)
    steps = program(tape)
    moved = bytearray(len(steps))
    moved[variable] = 1
    for value in range(variable + 1, output + 1):
        moved[value] = value not in point.leaves and any(moved[source] for source in steps[value].inputs)
    still = {source for value in range(variable + 1, output + 1) if moved[value] for source in steps[value].inputs if not moved[source]}
    base = evaluate(steps, tape.shapes, point.leaves, point.sizes, numbers, opaque, {*still, variable, output}, functions=tape.functions)
    start = base.pop(variable)
    shape = dense.size(start)
    entries = dense.entries(start)
    of = len(dense.entries(base.pop(output, start)))
    zero = numbers.from_fraction(Fraction(0))
    if not moved[output]:
        return dense.filled((of, len(entries)), zero)

    def at(shifted: list[Any]) -> list[Any]:
        given = {**base, variable: dense.from_entries(shifted, shape)}
        return dense.entries(evaluate(steps, tape.shapes, given, point.sizes, numbers, opaque, [output], functions=tape.functions)[output])

    def slope(k: int, step: Any) -> list[Any]:
        ahead, behind = entries[:], entries[:]
        ahead[k] += step
        behind[k] -= step
        width = ahead[k] - behind[k]
        return [(a - b) / width for a, b in zip(at(ahead), at(behind), strict=True)]

    columns = []
    for k in range(len(entries)):
        if digits is None:
            columns.append(_extrapolated(lambda step, k=k: slope(k, step)))  # type: ignore[misc]
        else:
            columns.append(slope(k, numbers.from_fraction(Fraction(1, 10 ** (digits // 3)))))
    return dense.transpose(columns)


def _extrapolated(slope: Callable[[float], list[float]]) -> list[float]:
    """Central differences of three steps, without their errors of second and fourth order."""
    step = FLOAT_STEP
    while True:
        try:
            coarse, middle, fine = slope(step), slope(step / 2), slope(step / 4)
        except ArithmeticError:
            if step < FLOAT_STEP / 1000:
                raise
            step /= 64  # the difference left the domain
            continue
        return [(64 * c - 20 * b + a) / 45 for a, b, c in zip(coarse, middle, fine, strict=True)]


# --- comparison ---


def arrange(jacobian: Dense, of_shape: tuple[int, int], by_shape: tuple[int, int], layout_name: str, on_vec: bool = False) -> Dense:
    """A Jacobian on ``vec`` in the shape that a layout gives to this derivative.

    Args:
        jacobian: entries of the output by entries of the variable.
        of_shape: of the output.
        by_shape: of the variable.
        layout_name: ``numerator``, ``denominator`` or ``mixed``.
        on_vec: whether the derivative of a scalar by a matrix stays on ``vec`` too.

    >>> arrange([[1, 2, 3, 4, 5, 6]], (1, 1), (2, 3), "denominator")
    [[1, 3, 5], [2, 4, 6]]
    >>> arrange([[1, 2, 3, 4, 5, 6]], (1, 1), (2, 3), "numerator")
    [[1, 2], [3, 4], [5, 6]]
    """
    of_scalar, by_scalar = of_shape == (1, 1), by_shape == (1, 1)
    if of_scalar and not by_scalar:
        if on_vec:
            return jacobian if layout_name == "numerator" else dense.transpose(jacobian)
        gradient = dense.from_entries(jacobian[0], by_shape)
        return dense.transpose(gradient) if layout_name == "numerator" else gradient
    if by_scalar and not of_scalar and not on_vec:
        slope = dense.from_entries([row[0] for row in jacobian], of_shape)
        return dense.transpose(slope) if layout_name == "denominator" else slope
    return dense.transpose(jacobian) if layout_name == "denominator" else jacobian


def compare(expected: Dense, found: Dense) -> float:
    """The worst error, max |a - b| / max(1, max |expected|); infinite where something is not a number.

    Raises:
        ValueError: the shapes differ.

    >>> compare([[1.0, 200.0]], [[1.5, 200.0]])
    0.0025
    """
    if dense.size(expected) != dense.size(found):
        (m, n), (p, q) = dense.size(expected), dense.size(found)
        raise ValueError(f"{m} x {n} is compared with {p} x {q}")
    top = max(1.0, *(float(abs(entry)) for row in expected for entry in row))
    worst = 0.0
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            error = float(abs(a - b)) / top
            if not error <= worst:
                worst = error if error > worst else float("inf")
    return worst


def discrepancy(expected: Callable[[Numbers], Dense], found: Callable[[int | None], Dense]) -> float:
    """How far a derived value is from a numerical one: in floats, and where these leave doubt in many digits.

    Args:
        expected: the derived value, computed with some kind of numbers.
        found: the numerical one, with so many digits, or in floats.

    Raises:
        ArithmeticError: the derived value is not defined there.
        ValueError: the shapes differ.

    >>> discrepancy(lambda numbers: [[numbers.constant("pi")]], lambda digits: [[Fraction(22, 7)]]) > 1e-4
    True
    """
    try:
        error = compare(expected(FLOATS), found(None))
    except ArithmeticError:
        error = float("inf")  # rounding, or a difference, left the domain
    if error > DOUBT:
        numbers = precise(DIGITS)
        error = compare(expected(numbers), dense.each(numbers.convert, found(DIGITS)))
    return error
