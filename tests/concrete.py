"""Random concrete compositions with an independent value and Jacobian.

The text is generated together with closures that compute the value, so nothing is parsed, and nothing of the package is used. The
Jacobian is exact where only rational operations occur (dual numbers over fractions; the self-test below holds them against SymPy's
``Matrix.jacobian``), and else taken by central differences in 60 digits, good to 30. Neither knows a rule for a matrix operation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped,unused-ignore]
import sympy

Dense = list[list[Any]]
Assignment = Mapping[str, Dense]

DIGITS = 60
LARGEST_OUTPUT = 24
MOST_ENTRIES = 72
FEWEST_OPERATIONS = 3
LARGEST_VALUE = 1e4
NEAREST_KINK = 0.02
NEAREST_POLE = 1e-4
LEAKY = Fraction(1, 100)


# --- numbers ---


class Numbers:
    """The field of fractions, and of anything that computes with them and can be compared with 0."""

    def number(self, value: Fraction) -> Any:
        return value

    def elementary(self, name: str, x: Any) -> Any:
        """A function at one entry.

        Raises:
            TypeError: for one that is not piecewise rational.
        """
        if name == "relu":
            return x if x > 0 else 0 * x
        if name == "leaky_relu":
            return x if x > 0 else self.number(LEAKY) * x
        if name == "abs":
            return x if x > 0 else -x
        raise TypeError(f"{name} is not rational")

    def convert(self, value: Any) -> Any:
        return self.number(Fraction(value)) if isinstance(value, int | Fraction) else value


class Precise(Numbers):
    """Numbers of so many digits."""

    def __init__(self, digits: int) -> None:
        self.context = mpmath.MPContext()
        self.context.dps = digits

    def number(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def elementary(self, name: str, x: Any) -> Any:
        context = self.context
        match name:
            case "relu" | "leaky_relu" | "abs":
                return super().elementary(name, x)
            case "sigmoid":
                return 1 / (1 + context.exp(-x))
            case "softplus":
                return context.log(1 + context.exp(x))
            case "silu":
                return x / (1 + context.exp(-x))
            case "gelu":
                return x * (1 + context.erf(x / context.sqrt(2))) / 2
            case "elu":
                return x if x > 0 else context.exp(x) - 1
        return getattr(context, name)(x)


class Floats(Precise):
    """Fast numbers for a first look at a composition; remembers how near to a kink it came."""

    def __init__(self) -> None:
        super().__init__(15)
        self.context = mpmath.fp
        self.nearest = math.inf

    def number(self, value: Fraction) -> Any:
        return float(value)

    def elementary(self, name: str, x: Any) -> Any:
        if name in ("relu", "leaky_relu", "abs", "elu"):
            self.nearest = min(self.nearest, abs(x))
        if name in ("log", "sqrt") and x < NEAREST_POLE:
            raise ValueError(f"{name} too near to 0")
        value = super().elementary(name, x)
        if isinstance(value, complex):
            raise ValueError(f"{name} outside its domain")
        return value


class Symbolic(Numbers):
    """SymPy expressions."""

    def number(self, value: Fraction) -> Any:
        return sympy.Rational(value.numerator, value.denominator)

    def elementary(self, name: str, x: Any) -> Any:
        if name == "relu":
            return sympy.Max(0, x)
        if name == "leaky_relu":
            return self.number(LEAKY) * x + (1 - self.number(LEAKY)) * sympy.Max(0, x)
        return sympy.Abs(x)


EXACT, SYMBOLIC, PRECISE = Numbers(), Symbolic(), Precise(DIGITS)


class Dual:
    """a + b ε with ε² = 0, and the arithmetic of a field."""

    __slots__ = ("a", "b")

    def __init__(self, a: Fraction, b: Fraction = Fraction(0)) -> None:
        self.a, self.b = a, b

    def __add__(self, other: Any) -> Dual:
        return Dual(self.a + other.a, self.b + other.b) if isinstance(other, Dual) else Dual(self.a + other, self.b)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.a, -self.b)

    def __sub__(self, other: Any) -> Dual:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Dual:
        return self.__neg__().__add__(other)

    def __mul__(self, other: Any) -> Dual:
        return (
            Dual(self.a * other.a, self.a * other.b + self.b * other.a) if isinstance(other, Dual) else Dual(self.a * other, self.b * other)
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        if not isinstance(other, Dual):
            return Dual(self.a / other, self.b / other)
        return Dual(self.a / other.a, (self.b * other.a - self.a * other.b) / other.a**2)

    def __rtruediv__(self, other: Any) -> Dual:
        return Dual(Fraction(other)) / self

    def __gt__(self, other: Any) -> bool:
        return bool(self.a > other)


# --- arrays ---


def transposed(u: Dense) -> Dense:
    return [list(row) for row in zip(*u, strict=True)]


def matmul(u: Dense, v: Dense) -> Dense:
    return [[total(a * b for a, b in zip(row, column, strict=True)) for column in zip(*v, strict=True)] for row in u]


def total(entries: Iterable[Any]) -> Any:
    """The sum without a zero of another type."""
    iterator = iter(entries)
    result = next(iterator)
    for entry in iterator:
        result = result + entry
    return result


def every(function: Callable[[Any], Any], u: Dense) -> Dense:
    return [[function(entry) for entry in row] for row in u]


def entrywise(function: Callable[[Any, Any], Any], u: Dense, v: Dense) -> Dense:
    """Entry by entry; a scalar goes with every entry, a column with every column of a matrix."""
    rows, columns = max(len(u), len(v)), max(len(u[0]), len(v[0]))
    return [[function(spread(u, i, j), spread(v, i, j)) for j in range(columns)] for i in range(rows)]


def spread(u: Dense, i: int, j: int) -> Any:
    return u[i if len(u) > 1 else 0][j if len(u[0]) > 1 else 0]


def det(u: Dense) -> Any:
    """By the first row: no pivot to look for, at most four rows."""
    if len(u) == 1:
        return u[0][0]
    return total((-1) ** j * (u[0][j] * det(minor(u, 0, j))) for j in range(len(u)))


def minor(u: Dense, i: int, j: int) -> Dense:
    return [row[:j] + row[j + 1 :] for k, row in enumerate(u) if k != i]


def inverse(u: Dense) -> Dense:
    size, whole = range(len(u)), det(u)
    return [[(-1) ** (i + j) * det(minor(u, j, i)) / whole for j in size] for i in size]


def kron(u: Dense, v: Dense) -> Dense:
    return [[a * b for a in upper for b in lower] for upper in u for lower in v]


def vec(u: Dense) -> list[Any]:
    return [row[j] for j in range(len(u[0])) for row in u]


def softmax(entries: Sequence[Any], numbers: Numbers) -> list[Any]:
    powers = [numbers.elementary("exp", entry) for entry in entries]
    whole = total(powers)
    return [power / whole for power in powers]


def standardized(u: Dense, numbers: Numbers) -> Dense:
    """(u - mean) / √(mean square deviation)."""
    mean = total(row[0] for row in u) / len(u)
    deviations = [row[0] - mean for row in u]
    root = numbers.elementary("sqrt", total(d * d for d in deviations) / len(u))
    return [[d / root] for d in deviations]


# --- cases ---


@dataclass(frozen=True)
class Environment:
    values: dict[str, Dense]
    numbers: Numbers


Run = Callable[[Environment], Dense]


@dataclass(frozen=True)
class Case:
    """A composition and its witness.

    Attributes:
        seed: what made it.
        kind: the sort of composition.
        text: declarations and equations in the input language.
        output: the value to derive.
        shapes: rows and columns of each leaf and each named value.
        leaves: the names of the leaves.
        facts: what is declared or assumed of a leaf: ``label``, ``free``, ``symmetric``.
        variables: the leaves to differentiate by: all but labels and symmetric ones, whose entries are not independent.
        operations: what occurs, for statistics.
        rational: whether values and derivatives at rational points are rational.
        point: fractions for all leaves, within the domain and away from kinks.
    """

    seed: int
    kind: str
    text: str
    output: str
    shapes: Mapping[str, tuple[int, int]]
    leaves: tuple[str, ...]
    facts: Mapping[str, str]
    variables: tuple[str, ...]
    operations: frozenset[str]
    rational: bool
    point: Assignment
    equations: tuple[tuple[str, Run], ...] = field(repr=False)

    def values(self, assignment: Assignment, numbers: Numbers | None = None) -> dict[str, Dense]:
        """Every named value; a value that is not a leaf but assigned is held at that."""
        numbers = numbers or self.numbers
        values = {name: every(numbers.convert, entries) for name, entries in assignment.items()}
        for name, run in self.equations:
            if name not in values:
                values[name] = run(Environment(values, numbers))
        return values

    def value(self, assignment: Assignment, numbers: Numbers | None = None) -> Dense:
        """The output, in fractions where the case is rational and else in 60 digits, unless told which numbers."""
        return self.values(assignment, numbers)[self.output]

    def jacobian(self, assignment: Assignment, variables: Sequence[str] | None = None) -> dict[str, Dense]:
        """d vec(output) / d vec(variable) for each variable, columns stacked, in numerator layout.

        Variables that are not leaves are held free at the values that they have. Fractions where the case is rational, else 60 digits of
        which 30 are right.
        """
        return (self.dual_jacobian if self.rational else self.difference_jacobian)(assignment, variables)

    def dual_jacobian(self, assignment: Assignment, variables: Sequence[str] | None = None) -> dict[str, Dense]:
        def slope(held: Assignment, name: str, i: int, j: int) -> list[Any]:
            moved = moved_by(Dual(Fraction(0), Fraction(1)), held, name, i, j)
            return [entry.b if isinstance(entry, Dual) else Fraction(0) for entry in vec(self.value(moved, EXACT))]

        return self._jacobian(assignment, variables, EXACT, slope)

    def difference_jacobian(self, assignment: Assignment, variables: Sequence[str] | None = None) -> dict[str, Dense]:
        step = PRECISE.context.mpf(10) ** (-DIGITS // 3)

        def slope(held: Assignment, name: str, i: int, j: int) -> list[Any]:
            above, below = (vec(self.value(moved_by(move, held, name, i, j), PRECISE)) for move in (step, -step))
            return [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]

        return self._jacobian(assignment, variables, PRECISE, slope)

    def symbolic_jacobian(self, assignment: Assignment, variables: Sequence[str] | None = None) -> dict[str, Dense]:
        """By SymPy's ``Matrix.jacobian`` of the whole explicit composition; for rational cases, and slow."""
        values = self.values(assignment, SYMBOLIC)
        variables = self.variables if variables is None else variables
        result = {}
        for name in variables:
            symbols = [[sympy.Symbol(f"t{i}_{j}", real=True) for j in range(len(row))] for i, row in enumerate(values[name])]
            output = self.value({**assignment, **{other: values[other] for other in variables}, name: symbols}, SYMBOLIC)
            numbers = dict(zip(vec(symbols), vec(values[name]), strict=True))
            result[name] = sympy.Matrix(vec(output)).jacobian(vec(symbols)).subs(numbers).tolist()
        return result

    @property
    def numbers(self) -> Numbers:
        return EXACT if self.rational else PRECISE

    def _jacobian(
        self,
        assignment: Assignment,
        variables: Sequence[str] | None,
        numbers: Numbers,
        slope: Callable[[Assignment, str, int, int], list[Any]],
    ) -> dict[str, Dense]:
        variables = self.variables if variables is None else variables
        values = self.values(assignment, numbers)
        held = {**{name: values[name] for name in assignment}, **{name: values[name] for name in variables}}
        result = {}
        for name in variables:
            rows, columns = self.shapes[name]
            result[name] = transposed([slope(held, name, i, j) for j in range(columns) for i in range(rows)])
        return result


def moved_by(move: Any, assignment: Assignment, name: str, i: int, j: int) -> dict[str, Dense]:
    entries = [list(row) for row in assignment[name]]
    entries[i][j] = move + entries[i][j]
    return {**assignment, name: entries}


# --- expressions with their text ---

SUM, HADAMARD, PRODUCT, POSTFIX, PRIMARY = range(5)


@dataclass(frozen=True)
class Node:
    """An expression: its text, how tightly that binds, its shape and how to compute it."""

    text: str
    level: int
    rows: int
    columns: int
    run: Run
    names: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def is_scalar(self) -> bool:
        return self.shape == (1, 1)

    def within(self, level: int) -> str:
        """The text, in brackets where it binds less tightly than asked."""
        return self.text if self.level >= level else f"({self.text})"


MATRICES = "A B D F G M N P Q R S U V W X Y".split()
COLUMNS = "a b c d g k p q r u v w x y".split()
SCALARS = "t s λ α τ".split()
SMOOTH = "tanh sigmoid softplus sin cos exp silu gelu sinh cosh erf elu".split()
PIECEWISE = "relu leaky_relu abs".split()


class Composer:
    """Makes leaves, equations and expressions, with random spellings."""

    def __init__(self, rng: random.Random, rational: bool) -> None:
        self.rng, self.rational = rng, rational
        self.sizes = rng.sample((2, 3, 4), 3)
        self.leaves: dict[str, Node] = {}
        self.facts: dict[str, str] = {}
        self.point: dict[str, Dense] = {}
        self.special: set[str] = set()
        self.equations: dict[str, Node] = {}
        self.definitions: list[str] = []
        self.unused = {kind: rng.sample(names, len(names)) for kind, names in enumerate((SCALARS, COLUMNS, MATRICES))}

    # leaves and names

    def leaf(self, rows: int, columns: int = 1, domain: str = "any", fact: str = "", name: str = "") -> Node:
        pool = self.unused[0 if rows == columns == 1 else 1 if columns == 1 else 2]
        if not name:
            name = pool.pop() if pool else f"{'θ' if columns == 1 else 'K'}{len(self.leaves) + 1}"
        node = self._named(name, rows, columns)
        self.leaves[name] = node
        self.point[name] = self._entries(rows, columns, domain)
        if fact:
            self.facts[name] = fact
        if domain != "any" or fact:
            self.special.add(name)
        return node

    def old(self, rows: int, columns: int) -> Node | None:
        """A leaf or named value of this shape that is there already."""
        known = [
            *(node for name, node in self.leaves.items() if name not in self.special),
            *(self._named(k, *v.shape) for k, v in self.equations.items()),
        ]
        fitting = [node for node in known if node.shape == (rows, columns)]
        return self.rng.choice(fitting) if fitting else None

    def let(self, node: Node) -> Node:
        """Gives a value a name, by an equation."""
        base = self.rng.choice("zho" if node.columns == 1 else "ZHO")
        if node.is_scalar:
            base = self.rng.choice(("j", "η", "ρ"))
        name = f"{base}{len(self.equations) + 1}"
        self.equations[name] = node
        return self._named(name, node.rows, node.columns)

    def _named(self, name: str, rows: int, columns: int) -> Node:
        return Node(name, PRIMARY, rows, columns, lambda environment: environment.values[name], frozenset((name,)))

    def _entries(self, rows: int, columns: int, domain: str) -> Dense:
        rng = self.rng

        def entry() -> Fraction:
            size = Fraction(rng.randint(1, 11), rng.choice((5, 7, 9)))
            return size if domain in ("positive", "rows", "columns") else size * rng.choice((1, -1))

        entries = [[entry() for _ in range(columns)] for _ in range(rows)]
        if domain == "symmetric":
            entries = [[(x + entries[j][i]) / 2 for j, x in enumerate(row)] for i, row in enumerate(entries)]
        if domain in ("dominant", "symmetric"):
            entries = [[x / 4 + 2 * (i == j) for j, x in enumerate(row)] for i, row in enumerate(entries)]
        if domain == "rows":
            entries = [[x / sum(row) for x in row] for row in entries]
        if domain == "columns":
            sums = [sum(column) for column in zip(*entries, strict=True)]
            entries = [[x / s for x, s in zip(row, sums, strict=True)] for row in entries]
        return entries

    def _node(self, operation: str, text: str, level: int, shape: tuple[int, int], run: Run, *inputs: Node) -> Node:
        names = frozenset().union(*(node.names for node in inputs))
        operations = frozenset((operation,)).union(*(node.operations for node in inputs))
        return Node(text, level, *shape, run, names, operations)

    # operations

    def number(self, value: Fraction | int) -> Node:
        value = Fraction(value)
        decimal = value.denominator in (2, 4, 5) and self.rng.random() < 0.2
        text = str(float(value)) if decimal else str(value)
        level = PRODUCT if "/" in text else PRIMARY
        if value < 0:
            raise ValueError("a sign belongs to a sum")
        return Node(text, level, 1, 1, lambda environment: [[environment.numbers.number(value)]])

    def product(self, *factors: Node) -> Node:
        result = factors[0]
        for factor in factors[1:]:
            result = self._times(result, factor)
        return result

    def _times(self, u: Node, v: Node) -> Node:
        left, right = u.within(PRODUCT), v.within(POSTFIX)
        if "|" in left and "|" in right:
            right = f"({right})"
        sign = " "
        if right[0].isdigit() or left[-1] in "'" or (left[-1] == ")" and right[0] == "("):
            sign = "*"
        elif self.rng.random() < 0.15:
            sign = self.rng.choice(("*", " * ", " @ ", r" \cdot "))
        if u.is_scalar or v.is_scalar:
            sign = " * " if sign == " @ " else sign
            shape = v.shape if u.is_scalar else u.shape
            return self._node(
                "scale", left + sign + right, PRODUCT, shape, lambda x: entrywise(lambda a, b: a * b, u.run(x), v.run(x)), u, v
            )
        if u.columns != v.rows:
            raise ValueError(f"{u.text} is {u.shape}, {v.text} is {v.shape}")
        return self._node("product", left + sign + right, PRODUCT, (u.rows, v.columns), lambda x: matmul(u.run(x), v.run(x)), u, v)

    def divided(self, u: Node, s: Node) -> Node:
        return self._node(
            "quotient",
            f"{u.within(PRODUCT)}{self.rng.choice(('/', ' / '))}{s.within(POSTFIX)}",
            PRODUCT,
            u.shape,
            lambda x: entrywise(lambda a, b: a / b, u.run(x), s.run(x)),
            u,
            s,
        )

    def sum(self, u: Node, v: Node, sign: str = "+") -> Node:
        """u ± v, where one may be a scalar, or a column that is added to each column."""
        shape = max(u.rows, v.rows), max(u.columns, v.columns)
        for side in (u, v):
            if side.shape not in (shape, (shape[0], 1), (1, 1)):
                raise ValueError(f"{u.text} is {u.shape}, {v.text} is {v.shape}")
        factor = 1 if sign == "+" else -1
        return self._node(
            "sum" if u.shape == v.shape else "broadcast",
            f"{u.within(SUM)} {sign} {v.within(HADAMARD)}",
            SUM,
            shape,
            lambda x: entrywise(lambda a, b: a + factor * b, u.run(x), v.run(x)),
            u,
            v,
        )

    def negative(self, u: Node) -> Node:
        return self._node("sum", f"-{u.within(HADAMARD)}", SUM, u.shape, lambda x: every(lambda a: -a, u.run(x)), u)

    def hadamard(self, u: Node, v: Node) -> Node:
        sign = self.rng.choice((".*", ".*", "⊙", r"\odot", "∘"))
        text = f"{u.within(HADAMARD)} {sign} {v.within(PRODUCT)}"
        return self._node("hadamard", text, HADAMARD, u.shape, lambda x: entrywise(lambda a, b: a * b, u.run(x), v.run(x)), u, v)

    def over(self, u: Node, v: Node) -> Node:
        """Entry by entry u over v."""
        text = f"{u.within(HADAMARD)} {self.rng.choice(('./', './', '⊘'))} {v.within(PRODUCT)}"
        return self._node("entrywise quotient", text, HADAMARD, u.shape, lambda x: entrywise(lambda a, b: a / b, u.run(x), v.run(x)), u, v)

    def transpose(self, u: Node) -> Node:
        mark = self.rng.choice(("^T", "^T", "^T", r"^\top", "'", ".T"))
        return self._node("transpose", u.within(PRIMARY) + mark, POSTFIX, (u.columns, u.rows), lambda x: transposed(u.run(x)), u)

    def power(self, u: Node, exponent: int) -> Node:
        """Of every entry."""
        mark = f"^{exponent}" if u.is_scalar or (u.columns == 1 and self.rng.random() < 0.3) else f".^{exponent}"
        return self._node(
            "power",
            u.within(PRIMARY) + mark,
            POSTFIX,
            u.shape,
            lambda x: every(lambda a: math.prod([a] * (exponent - 1), start=a), u.run(x)),
            u,
        )

    def matrix_power(self, u: Node, exponent: int) -> Node:
        def run(x: Environment) -> Dense:
            value = result = u.run(x)
            for _ in range(exponent - 1):
                result = matmul(result, value)
            return result

        return self._node("matrix power", f"{u.within(PRIMARY)}^{exponent}", POSTFIX, u.shape, run, u)

    def inverse(self, u: Node) -> Node:
        mark = self.rng.choice(("^-1", "^{-1}"))
        return self._node("inverse", u.within(PRIMARY) + mark, POSTFIX, u.shape, lambda x: inverse(u.run(x)), u)

    def apply(self, name: str, u: Node) -> Node:
        text = f"max(0, {u.text})" if name == "relu" and self.rng.random() < 0.3 else f"{name}({u.text})"
        if name == "exp" and self.rng.random() < 0.3:
            text = f"e^{{{u.text}}}"
        return self._node(
            name,
            text,
            POSTFIX if text[1] == "^" else PRIMARY,
            u.shape,
            lambda x: every(lambda a: x.numbers.elementary(name, a), u.run(x)),
            u,
        )

    def call(self, name: str, shape: tuple[int, int], run: Callable[[Dense, Numbers], Dense], u: Node, more: str = "") -> Node:
        return self._node(name + more, f"{name}({u.text}{more})", PRIMARY, shape, lambda x: run(u.run(x), x.numbers), u)

    def trace(self, u: Node) -> Node:
        return self.call("tr", (1, 1), lambda a, _: [[total(a[i][i] for i in range(len(a)))]], u)

    def det(self, u: Node) -> Node:
        return self.call("det", (1, 1), lambda a, _: [[det(a)]], u)

    def logdet(self, u: Node) -> Node:
        text = self.rng.choice(("log(det(…))", "logdet(…)", "log(abs(det(…)))", r"\log\det(…)")).replace("…", u.text)
        return self._node("logdet", text, PRIMARY, (1, 1), lambda x: [[x.numbers.elementary("log", det(u.run(x)))]], u)

    def sum_of(self, u: Node, way: str = "") -> Node:
        if way == "rows":
            return self.call("sum", (u.rows, 1), lambda a, _: [[total(row)] for row in a], u, ", rows")
        if way == "columns":
            return self.call("sum", (1, u.columns), lambda a, _: [[total(column) for column in zip(*a, strict=True)]], u, ", columns")
        return self.call("sum", (1, 1), lambda a, _: [[total(vec(a))]], u)

    def mean_of(self, u: Node, way: str = "") -> Node:
        if way == "rows":
            return self.call("mean", (u.rows, 1), lambda a, _: [[total(row) / len(row)] for row in a], u, ", rows")
        if way == "columns":
            return self.call(
                "mean", (1, u.columns), lambda a, _: [[total(column) / len(a) for column in zip(*a, strict=True)]], u, ", columns"
            )
        return self.call("mean", (1, 1), lambda a, _: [[total(vec(a)) / len(vec(a))]], u)

    def _barred(self, u: Node) -> Node:
        return self.let(u) if "|" in u.text else u

    def sqnorm(self, u: Node) -> Node:
        u = self._barred(u)
        kind = self.rng.choice(("", "_2")) if u.columns == 1 else self.rng.choice(("", "_F"))
        return self._node("sqnorm", f"||{u.text}||{kind}^2", POSTFIX, (1, 1), lambda x: [[total(a * a for a in vec(u.run(x)))]], u)

    def norm(self, u: Node) -> Node:
        u = self._barred(u)
        kind = self.rng.choice(("", "_2")) if u.columns == 1 else "_F"

        def run(x: Environment) -> Dense:
            return [[x.numbers.elementary("sqrt", total(a * a for a in vec(u.run(x))))]]

        return self._node("norm", f"||{u.text}||{kind}", PRIMARY, (1, 1), run, u)

    def norm1(self, u: Node) -> Node:
        u = self._barred(u)
        return self._node(
            "norm1", f"||{u.text}||_1", PRIMARY, (1, 1), lambda x: [[total(x.numbers.elementary("abs", a) for a in vec(u.run(x)))]], u
        )

    def logsumexp(self, u: Node) -> Node:
        def run(a: Dense, numbers: Numbers) -> Dense:
            return [[numbers.elementary("log", total(numbers.elementary("exp", entry) for entry in vec(a)))]]

        return self.call("logsumexp", (1, 1), run, u)

    def softmax(self, u: Node, way: str = "columns") -> Node:
        name = "softmax" if u.columns == 1 and self.rng.random() < 0.8 else f"softmax_{way}"
        if way == "rows":
            return self.call(name, u.shape, lambda a, numbers: [softmax(row, numbers) for row in a], u)
        return self.call(name, u.shape, lambda a, numbers: transposed([softmax(row, numbers) for row in transposed(a)]), u)

    def logsoftmax(self, u: Node) -> Node:
        def run(a: Dense, numbers: Numbers) -> Dense:
            return [[numbers.elementary("log", p)] for p in softmax(vec(a), numbers)]

        return self.call("logsoftmax", u.shape, run, u)

    def layernorm(self, u: Node) -> Node:
        return self.call("layernorm", u.shape, standardized, u)

    def cross_entropy(self, p: Node, y: Node) -> Node:
        def run(x: Environment) -> Dense:
            return [[-total(b * x.numbers.elementary("log", a) for a, b in zip(vec(p.run(x)), vec(y.run(x)), strict=True))]]

        return self._node("CE", f"CE({p.text}, {y.text})", PRIMARY, (1, 1), run, p, y)

    def kron(self, u: Node, v: Node) -> Node:
        infix = self.rng.random() < 0.4
        text = (
            f"{u.within(HADAMARD)} {self.rng.choice(('⊗', chr(92) + 'otimes'))} {v.within(PRODUCT)}"
            if infix
            else f"kron({u.text}, {v.text})"
        )
        shape = u.rows * v.rows, u.columns * v.columns
        return self._node("kron", text, HADAMARD if infix else PRIMARY, shape, lambda x: kron(u.run(x), v.run(x)), u, v)

    def vec(self, u: Node) -> Node:
        return self.call("vec", (u.rows * u.columns, 1), lambda a, _: [[entry] for entry in vec(a)], u)

    def diag(self, u: Node) -> Node:
        def run(a: Dense, _: Numbers) -> Dense:
            return [[row[0] if i == j else 0 * row[0] for j in range(len(a))] for i, row in enumerate(a)]

        return self.call("diag", (u.rows, u.rows), run, u)

    def diagonal(self, u: Node) -> Node:
        """The diagonal of a square matrix as a column."""
        run: Run = lambda x: [[row[i]] for i, row in enumerate(u.run(x))]  # noqa: E731
        return self._node("diagonal", f"diag({u.text})", PRIMARY, (u.rows, 1), run, u)

    def beside(self, u: Node, v: Node) -> Node:
        shape = u.rows, u.columns + v.columns
        run: Run = lambda x: [a + b for a, b in zip(u.run(x), v.run(x), strict=True)]  # noqa: E731
        return self._node("beside", f"[{u.text}, {v.text}]", PRIMARY, shape, run, u, v)

    def below(self, u: Node, v: Node) -> Node:
        return self._node("below", f"[{u.text}; {v.text}]", PRIMARY, (u.rows + v.rows, u.columns), lambda x: u.run(x) + v.run(x), u, v)

    def constant(self, name: str, rows: int, columns: int = 1) -> Node:
        """ones(n), ones(m, n) or I(n)."""
        text = f"{name}({rows})" if columns == 1 or name == "I" else f"{name}({rows}, {columns})"

        def run(x: Environment) -> Dense:
            return [[x.numbers.number(Fraction(name == "ones" or i == j)) for j in range(columns)] for i in range(rows)]

        return self._node(name, text, PRIMARY, (rows, columns), run)

    def unit(self, i: int, rows: int) -> Node:
        return self._node(
            "e", f"e({i}, {rows})", PRIMARY, (rows, 1), lambda x: [[x.numbers.number(Fraction(k + 1 == i))] for k in range(rows)]
        )

    # small compounds

    def activation(self, z: Node) -> Node:
        names = PIECEWISE if self.rational else SMOOTH + PIECEWISE
        if self.rational and self.rng.random() < 0.6:
            z = self.let(z) if z.level < PRIMARY else z
            squares = self.power(z, 2) if self.rng.random() < 0.5 else self.hadamard(z, z)
            return self.rng.choice((squares, self.over(z, self.sum(self.number(1), squares)), self.sum(squares, z, "-")))
        return self.apply(self.rng.choice(names), z)

    def affine(self, size: int, x: Node, bias: bool = True, transpose: bool = False) -> Node:
        """W x + b with a new W and b; the columns of a matrix x are samples."""
        weight = self.transpose(self.leaf(x.rows, size)) if transpose else self.leaf(size, x.rows)
        z = self.product(weight, x)
        return self.sum(z, self.leaf(size)) if bias else z

    def definite(self, size: int) -> Node:
        """A matrix with an inverse and a positive determinant."""
        if self.rng.random() < 0.6:
            return self.leaf(size, size, *self.rng.choice((("dominant", ""), ("dominant", ""), ("symmetric", "symmetric"))))
        factor = self.leaf(size, self.rng.choice(self.sizes[:2]))
        return self.sum(self.constant("I", size, size), self.product(factor, self.transpose(factor)))

    def maybe(self, node: Node, chance: float = 0.5) -> Node:
        return self.let(node) if self.rng.random() < chance else node

    def head(self, h: Node) -> Node:
        """A scalar of an array."""
        rng = self.rng
        if h.is_scalar:
            return h
        ways = ["half square", "half square", "sum", "mean square", "norm1"]
        if h.columns == 1:
            ways += ["inner", "quadratic", "ratio"]
            ways += [] if self.rational else ["logsumexp", "CE", "CE", "binary", "log", "cosine", "likelihood"]
        else:
            ways += ["frobenius", "bilinear", "trace"]
            ways += [] if self.rational else ["CE rows", "norm"]
        match rng.choice(ways):
            case "sum":
                return self.sum_of(self.activation(h) if rng.random() < 0.5 else h)
            case "mean square":
                return self.mean_of(self.power(h, 2)) if rng.random() < 0.5 else self.mean_of(self.hadamard(h, h))
            case "norm1":
                return self.norm1(h) if h.columns == 1 else self.sum_of(self.apply("abs", h))
            case "inner":
                return self.product(self.transpose(self.leaf(h.rows)), h)
            case "quadratic":
                h = self.let(h) if h.level < PRIMARY else h
                return self.product(self.transpose(h), self.leaf(h.rows, h.rows), h)
            case "ratio":
                h = self.let(h) if h.level < PRIMARY else h
                c = self.leaf(h.rows)
                return self.divided(self.product(self.transpose(c), h), self.sum(self.number(1), self.product(self.transpose(h), h)))
            case "logsumexp":
                return self.logsumexp(h)
            case "CE":
                return self.classification(h)
            case "binary":
                p, y = self.let(self.apply("sigmoid", h)), self.leaf(h.rows, 1, "positive")
                one = self.number(1)
                left = self.hadamard(y, self.apply("log", p))
                right = self.hadamard(self.sum(one, y, "-"), self.apply("log", self.sum(one, p, "-")))
                return self.negative(self.sum_of(self.sum(left, right)))
            case "log":
                return self.apply("log", self.sum(self.number(1), self.sqnorm(h)))
            case "cosine":
                h, c = self.let(h), self.leaf(h.rows)
                return self.divided(self.product(self.transpose(c), h), self.product(self.norm(c), self.norm(h)))
            case "likelihood":
                r, s = self.let(self.sum(self.leaf(h.rows), h, "-")), self.let(self.definite(h.rows))
                half = self.number(Fraction(1, 2))
                fit = self.product(half, self.transpose(r), self.inverse(s), r)
                return self.sum(fit, self.product(half, self.logdet(s)))
            case "frobenius":
                return self.divided(self.sqnorm(self.sum(h, self.leaf(*h.shape), "-")), self.number(rng.choice((2, 4, h.columns))))
            case "bilinear":
                return self.product(self.transpose(self.leaf(h.rows)), h, self.leaf(h.columns))
            case "trace":
                return self.trace(self.product(self.leaf(h.columns, h.rows), h))
            case "norm":
                return self.norm(h)
            case "CE rows":
                way = rng.choice(("rows", "columns"))
                return self.cross_entropy(self.maybe(self.softmax(h, way)), self.labels(*h.shape, way))
        return self.product(self.number(Fraction(1, 2)), self.sqnorm(self.sum(h, self.leaf(*h.shape), "-")))

    def labels(self, rows: int, columns: int, way: str) -> Node:
        if self.rng.random() < 0.3:
            return self.leaf(rows, columns, "positive", "free")
        return self.leaf(rows, columns, way, self.rng.choice(("label", "assumed label")))

    def classification(self, z: Node) -> Node:
        rng = self.rng
        match rng.choice(("CE", "CE", "CE", "logsoftmax", "sum", "logsumexp")):
            case "logsoftmax":
                return self.negative(self.product(self.transpose(self.leaf(z.rows)), self.logsoftmax(z)))
            case "sum":
                return self.negative(self.sum_of(self.hadamard(self.leaf(z.rows), self.apply("log", self.maybe(self.softmax(z))))))
            case "logsumexp":
                z = self.let(z)
                return self.sum(self.logsumexp(z), self.product(self.transpose(self.leaf(z.rows)), z), "-")
        return self.cross_entropy(self.maybe(self.softmax(z)), self.labels(z.rows, 1, "columns"))

    def penalty(self, weight: Node) -> Node:
        """λ ‖W‖²."""
        factor = self.leaf(1, 1) if self.rng.random() < 0.5 else self.number(Fraction(1, 2))
        return self.product(factor, self.sqnorm(weight))


# --- sorts of compositions ---


def perceptron(c: Composer) -> Node:
    """Layers on a column or on samples side by side, with skips and a penalty."""
    rng = c.rng
    x = c.leaf(c.sizes[0], rng.choice((1, 1, 1, c.sizes[1])))
    for _ in range(rng.randint(1, 2)):
        size = c.rng.choice([size for size in c.sizes if size != x.rows])
        x = c.maybe(c.activation(c.maybe(c.affine(size, x, rng.random() < 0.7, rng.random() < 0.2))))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        x = c.let(x)
        x = c.sum(x, c.activation(c.affine(x.rows, x, bias=False)))
    if rng.random() < 0.2:
        x = c.product(c.diag(c.leaf(x.rows)), x)
    return x


def regularized(c: Composer) -> Node:
    x = c.leaf(c.sizes[0])
    weight = c.leaf(c.sizes[1], c.sizes[0])
    h = c.activation(c.product(weight, x))
    return c.sum(c.head(c.maybe(h)), c.penalty(weight))


def defined(c: Composer) -> Node:
    """A layer that the text defines, applied to values of several sizes."""
    rng = c.rng
    name, function = rng.choice(("f", "layer", "block")), rng.choice(PIECEWISE if c.rational else SMOOTH)
    x, weight, bias = rng.choice((("v", "W", "b"), ("x", "A", "b"), ("h", "M", "c")))
    c.definitions.append(f"{name}({x}, {weight}, {bias}) = {function}({weight} {x} + {bias})")
    h = c.leaf(c.sizes[0])
    for size in (c.sizes[1], rng.choice(c.sizes[1:])):
        w, b = c.leaf(size, h.rows), c.leaf(size)
        run = c.apply(function, c.sum(c.product(w, h), b)).run
        h = c.maybe(c._node("defined layer", f"{name}({h.text}, {w.text}, {b.text})", PRIMARY, (size, 1), run, h, w, b), 0.4)
    return c.sum(h, c.leaf(h.rows), "-") if rng.random() < 0.3 else h


def recurrent(c: Composer) -> Node:
    """The same parameters at every step."""
    rng = c.rng
    hidden, given = c.sizes[:2]
    w, u, b = c.leaf(hidden, hidden), c.leaf(hidden, given), c.leaf(hidden)
    h = c.leaf(hidden, name="h0")
    losses = []
    for k in range(1, rng.randint(2, 3) + 1):
        z = c.sum(c.sum(c.product(w, h), c.product(u, c.leaf(given, name=f"x{k}"))), b)
        h = c.let(c.activation(c.maybe(z, 0.3)))
        losses.append(h)
    if rng.random() < 0.4:
        v = c.leaf(hidden)
        return c.sum(c.power(c.product(c.transpose(v), losses[0]), 2), c.product(c.transpose(v), losses[-1]))
    return h


def attention(c: Composer) -> Node:
    tokens, width, inner = c.sizes
    x = c.leaf(tokens, width)
    query, key = (c.maybe(c.product(x, c.leaf(width, inner)), 0.8) for _ in range(2))
    scores = c.product(query, c.transpose(key))
    if c.rational:
        scores = c.divided(scores, c.number(inner))
        return c.product(scores, x)
    root = c.call("sqrt", (1, 1), lambda a, numbers: every(lambda entry: numbers.elementary("sqrt", entry), a), c.number(inner))
    weights = c.let(c.softmax(c.divided(scores, root), "rows"))
    out = c.product(weights, c.product(x, c.leaf(width, width)) if c.rng.random() < 0.4 else x)
    return c.sum(x, out) if c.rng.random() < 0.4 else out


def normalization(c: Composer) -> Node:
    """Layer normalization as a function, by its steps, and division by a norm."""
    rng = c.rng
    size = max(c.sizes[:2])
    z = c.let(c.affine(size, c.leaf(min(c.sizes[:2]))))
    if c.rational:
        z = c.let(c.sum(z, c.mean_of(z), "-"))
        out = c.divided(z, c.sum(c.number(Fraction(1, 2)), c.mean_of(c.power(z, 2))))
    elif rng.random() < 0.5:
        out = c.layernorm(z)
    elif rng.random() < 0.7:
        deviation = c.let(c.sum(z, c.let(c.mean_of(z)), "-"))
        variance = c.let(c.mean_of(c.power(deviation, 2)))
        out = c.divided(deviation, c.apply("sqrt", c.sum(variance, c.number(Fraction(1, 100)))))
    else:
        out = c.divided(z, c.norm(z))
    if rng.random() < 0.6:
        out = c.sum(c.hadamard(c.leaf(size), out), c.leaf(size))
    return out


def gated(c: Composer) -> Node:
    """A step of a GRU or an LSTM, the gates of which see the input below the state, or each by its own matrix."""
    rng = c.rng
    hidden, given = c.sizes[:2]
    x, h = c.leaf(given, name="x"), c.leaf(hidden, name="hprev")
    seen = c.let(c.below(x, h)) if hidden + given <= 5 else None

    def gate(name: str, state: Node = h) -> Node:
        if seen and state is h:
            z = c.product(c.leaf(hidden, hidden + given), seen)
        else:
            z = c.sum(c.product(c.leaf(hidden, given), x), c.product(c.leaf(hidden, hidden), state))
        z = c.sum(z, c.leaf(hidden)) if rng.random() < 0.3 else z
        if c.rational:
            squares = c.power(c.let(z), 2)
            return c.let(c.over(squares, c.sum(c.number(1), squares)))
        return c.let(c.apply(name, z))

    if rng.random() < 0.5:
        update = gate("sigmoid")
        candidate = gate("tanh", c.let(c.hadamard(gate("sigmoid"), h)) if rng.random() < 0.5 else h)
        return c.sum(c.hadamard(c.sum(c.number(1), update, "-"), h), c.hadamard(update, candidate))
    cell = c.let(c.sum(c.hadamard(gate("sigmoid"), c.leaf(hidden, name="cprev")), c.hadamard(gate("sigmoid"), gate("tanh"))))
    return c.hadamard(gate("sigmoid"), cell if c.rational else c.apply("tanh", cell))


def matrix_calculus(c: Composer) -> Node:
    """What matrix calculus is taught with."""
    rng = c.rng
    m, n, p = c.sizes
    ways = [
        "trace inverse",
        "inverse form",
        "det",
        "det",
        "kron vec",
        "factorization",
        "quadratic map",
        "solve",
        "gram",
        "power",
        "diagonal",
        "entry",
    ]
    ways += [] if c.rational else ["logdet", "determinants"]
    match rng.choice(ways):
        case "trace inverse":
            return c.trace(c.product(c.leaf(m, n), c.inverse(c.definite(n)), c.leaf(n, m)))
        case "inverse form":
            return c.product(c.transpose(c.leaf(n)), c.inverse(c.definite(n)), c.leaf(n))
        case "det":
            x = c.leaf(max(m, n), min(m, n))
            gram = c.product(c.transpose(x), c.definite(x.rows), x) if rng.random() < 0.5 else c.product(c.transpose(x), x)
            return c.det(gram)
        case "kron vec":
            a, x, b = c.leaf(2, 3), c.leaf(3, 2), c.leaf(2, 2)
            return c.product(c.kron(c.transpose(b), a), c.vec(x)) if rng.random() < 0.5 else c.vec(c.product(a, x, b))
        case "factorization":
            u, v = c.leaf(m, p), c.leaf(n, p)
            return c.sum(c.leaf(m, n), c.product(u, c.transpose(v)), "-")
        case "quadratic map":
            x = c.leaf(m, n)
            return c.product(c.transpose(x), c.leaf(m, m), x)
        case "solve":
            a = c.definite(n)
            return c.product(c.inverse(a), c.sum(c.leaf(n), c.product(c.leaf(n, m), c.leaf(m)), "-"))
        case "gram":
            x, t = c.leaf(m, n), c.leaf(1, 1, "positive")
            ridge = c.sum(c.product(c.transpose(x), x), c.product(t, c.constant("I", n, n)))
            return c.product(c.inverse(ridge), c.transpose(x), c.leaf(m))
        case "power":
            return c.product(c.matrix_power(c.leaf(n, n), rng.choice((2, 3))), c.leaf(n, m))
        case "diagonal":
            x = c.leaf(m, n)
            return c.diagonal(c.product(x, c.transpose(x)) if rng.random() < 0.5 else c.product(x, c.leaf(n, m)))
        case "entry":
            return c.product(
                c.transpose(c.unit(rng.randint(1, m), m)), c.leaf(m, n), c.inverse(c.definite(n)), c.unit(rng.randint(1, n), n)
            )
        case "logdet":
            return c.sum(c.logdet(c.definite(m)), c.product(c.leaf(1), c.logdet(c.definite(n))))
    s = c.definite(m)
    return c.sum(c.product(c.transpose(c.leaf(m)), c.inverse(s), c.leaf(m)), c.logdet(s))


def anything(c: Composer) -> Node:
    """Equations over random expressions of random shapes."""
    rng = c.rng
    for _ in range(rng.randint(0, 3)):
        c.let(expression(c, *any_shape(c), rng.randint(1, 3)))
    return expression(c, *any_shape(c), rng.randint(2, 4))


def any_shape(c: Composer) -> tuple[int, int]:
    m, n, _ = c.sizes
    return c.rng.choice(((m, 1), (m, 1), (m, n), (m, n), (n, n), (1, 1)))


def expression(c: Composer, rows: int, columns: int, depth: int) -> Node:
    """A random expression of this shape; its operands are of less depth."""
    if depth <= 0:
        return (c.old(rows, columns) if c.rng.random() < 0.6 else None) or c.leaf(rows, columns)
    node = scalar_expression(c, depth) if rows == columns == 1 else array_expression(c, rows, columns, depth)
    return c.maybe(node, 0.15)


def array_expression(c: Composer, rows: int, columns: int, depth: int) -> Node:
    rng = c.rng

    def part(*shape: int) -> Node:
        m, n = shape or (rows, columns)
        return expression(c, m, n, rng.randint(0, depth - 1))

    ways = ["sum", "sum", "hadamard", "over", "divided", "scaled", "activation", "activation", "square", "shift"]
    ways += ["product", "product", "inverse product", "selection"]
    if columns == 1:
        ways += ["sum rows", "mean rows", "below", "diagonal"] + (["vec", "vec", "kron", "kron"] if rows == 4 else [])
        ways += [] if c.rational else ["softmax", "softmax", "logsoftmax"] + (["layernorm", "layernorm"] if rows > 2 else [])
    elif rows > 1:
        ways += ["transpose", "outer", "broadcast", "beside", "row sums", "stack"] + (["kron", "kron"] if rows == 4 or columns == 4 else [])
        ways += [] if c.rational else ["softmax", "softmax"]
        ways += ["inverse", "diag", "power"] if rows == columns else []
    match rng.choice(ways):
        case "sum":
            return c.sum(part(), part(), rng.choice("+-"))
        case "hadamard":
            return c.hadamard(part(), part())
        case "over":
            u = part()
            return c.over(part(), c.sum(c.number(rng.choice((1, 2))), c.hadamard(u, u) if rng.random() < 0.5 else c.power(u, 2)))
        case "divided":
            return c.divided(part(), c.sum(c.number(1), c.sqnorm(part(c.sizes[0], 1))))
        case "scaled":
            if rng.random() < 0.5:
                return c.product(c.number(rng.choice((2, 3, Fraction(1, 2), Fraction(2, 3)))), part())
            return c.product(part(1, 1), part())
        case "square":
            return c.power(part(), rng.choice((2, 3)))
        case "shift":
            s = c.number(rng.choice((1, 2))) if rng.random() < 0.5 else part(1, 1)
            u = part()
            return rng.choice((c.sum(s, u, "-"), c.sum(u, s)))
        case "product":
            inner = rng.choice([size for size in c.sizes if size not in (rows, columns)] or c.sizes)
            return c.product(part(rows, inner), part(inner, columns))
        case "inverse product":
            return c.product(c.inverse(c.definite(rows)), part()) if rows > 1 else c.product(part(), c.inverse(c.definite(columns)))
        case "selection":
            return c.product(part(rows, c.sizes[0]), c.constant("ones", c.sizes[0], columns))
        case "sum rows":
            return c.sum_of(part(rows, c.sizes[1]), "rows")
        case "mean rows":
            return c.mean_of(part(rows, c.sizes[1]), "rows")
        case "below":
            return c.below(part(rows - 1, 1), part(1, 1)) if rng.random() < 0.5 else c.below(part(1, 1), part(rows - 1, 1))
        case "diagonal":
            return c.diagonal(part(rows, rows))
        case "vec":
            return c.vec(part(2, 2))
        case "kron":
            left = rows // 2 if rows == 4 else 1, columns // 2 if columns == 4 else 1
            return c.kron(part(*left), part(rows // left[0], columns // left[1]))
        case "softmax":
            return c.softmax(part(), "columns" if columns == 1 else rng.choice(("rows", "columns")))
        case "logsoftmax":
            return c.logsoftmax(part())
        case "layernorm":
            return c.layernorm(part())
        case "transpose":
            return c.transpose(part(columns, rows))
        case "outer":
            return c.product(part(rows, 1), c.transpose(part(columns, 1)))
        case "broadcast":
            return c.sum(part(), part(rows, 1), rng.choice("+-"))
        case "beside":
            return c.beside(part(rows, columns - 1), part(rows, 1))
        case "stack":
            return c.below(part(rows - 1, columns), c.transpose(part(columns, 1)))
        case "row sums":
            means = c.mean_of(part(), "columns") if rng.random() < 0.5 else c.sum_of(part(), "columns")
            return c.sum(part(), c.product(part(rows, 1), means))
        case "inverse":
            return c.inverse(c.definite(rows))
        case "diag":
            return c.diag(part(rows, 1))
        case "power":
            return c.matrix_power(part(), 2)
    return c.activation(part())


def scalar_expression(c: Composer, depth: int) -> Node:
    rng = c.rng
    m, n, _ = c.sizes

    def part(rows: int = 1, columns: int = 1) -> Node:
        return expression(c, rows, columns, rng.randint(0, depth - 1))

    ways = ["head", "inner", "form", "trace", "sum", "mean", "sqnorm", "det", "det", "norm1", "arithmetic", "quotient", "activation"]
    ways += [] if c.rational else ["norm", "logdet", "logdet", "logsumexp", "logsumexp", "root"]
    match rng.choice(ways):
        case "inner":
            return c.product(c.transpose(part(m, 1)), part(m, 1))
        case "form":
            return c.product(c.transpose(part(m, 1)), part(m, n), part(n, 1))
        case "trace":
            return c.trace(c.product(part(m, n), part(n, m)) if rng.random() < 0.6 else part(m, m))
        case "sum":
            return c.sum_of(part(m, rng.choice((1, n))))
        case "mean":
            return c.mean_of(part(m, rng.choice((1, n))))
        case "sqnorm":
            return c.sqnorm(part(m, rng.choice((1, n))))
        case "norm1":
            return c.norm1(part(m, 1))
        case "det":
            return c.det(part(m, m))
        case "arithmetic":
            return c.sum(c.product(part(), part()), c.product(c.number(rng.choice((2, 3, Fraction(1, 2)))), part()), rng.choice("+-"))
        case "quotient":
            return c.divided(part(), c.sum(c.number(1), c.power(part(), 2)))
        case "activation":
            return c.activation(part())
        case "norm":
            return c.norm(part(m, rng.choice((1, n))))
        case "logdet":
            return c.logdet(c.definite(m))
        case "logsumexp":
            return c.logsumexp(part(m, 1))
        case "root":
            return c.apply(rng.choice(("sqrt", "log")), c.sum(c.number(1), c.sqnorm(part(m, 1))))
    return c.head(part(m, rng.choice((1, 1, n))))


SORTS: dict[str, tuple[Callable[[Composer], Node], int]] = {
    "perceptron": (perceptron, 4),
    "regularized": (regularized, 1),
    "defined": (defined, 1),
    "recurrent": (recurrent, 2),
    "attention": (attention, 2),
    "normalization": (normalization, 2),
    "gated": (gated, 2),
    "matrix calculus": (matrix_calculus, 4),
    "anything": (anything, 12),
}
"""How to make a composition of each sort, and how often."""


def make(seed: int) -> Case:
    """The case of a seed, always the same."""
    for attempt in range(1000):
        case = _attempt(seed, random.Random(f"{seed}/{attempt}"))
        if case:
            return case
    raise AssertionError(f"no case for seed {seed}")


def _attempt(seed: int, rng: random.Random) -> Case | None:
    kind = rng.choices(list(SORTS), [weight for _, weight in SORTS.values()])[0]
    c = Composer(rng, rng.random() < 0.3)
    node = SORTS[kind][0](c)
    if rng.random() < 0.55:
        node = c.head(c.maybe(node))
    output = "L" if node.is_scalar else "out"
    c.equations[output] = node
    used = needed(c, output)
    operations = frozenset().union(*(c.equations[name].operations for name in used & set(c.equations)))
    leaves = [name for name in c.leaves if name in used]
    if (
        not leaves
        or len(operations) < FEWEST_OPERATIONS
        or node.text in used
        or node.rows * node.columns > LARGEST_OUTPUT
        or sum(len(vec(c.point[name])) for name in leaves) > MOST_ENTRIES
    ):
        return None
    names = [name for name in c.equations if name in used]
    facts = {name: fact.split()[-1] for name, fact in c.facts.items() if name in used}
    case = Case(
        seed,
        kind,
        write(c, leaves, names),
        output,
        {name: (c.leaves.get(name) or c.equations[name]).shape for name in leaves + names},
        tuple(leaves),
        facts,
        tuple(name for name in leaves if facts.get(name) not in ("label", "symmetric")),
        operations,
        False,
        {name: c.point[name] for name in leaves},
        tuple((name, c.equations[name].run) for name in names),
    )
    if not (case.variables and is_tame(case)):
        return None
    return replace(case, rational=is_rational(case))


def is_rational(case: Case) -> bool:
    try:
        case.value(case.point, EXACT)
    except TypeError:
        return False
    return True


def needed(c: Composer, output: str) -> set[str]:
    """The names that the output depends on, and itself."""
    found, open_names = {output}, [output]
    while open_names:
        equation = c.equations.get(open_names.pop())
        fresh = (equation.names if equation else frozenset()) - found
        found |= fresh
        open_names += fresh
    return found


def write(c: Composer, leaves: Sequence[str], names: Sequence[str]) -> str:
    rng = c.rng
    lines = []
    for name in leaves:
        rows, columns = c.leaves[name].shape
        shape = "scalar" if rows == columns == 1 else f"{rows} x {columns}" if columns > 1 else str(rows)
        fact = c.facts.get(name, "")
        lines.append(f"{name}: {shape}" + (f" {fact}" if fact in ("label", "free", "symmetric") else ""))
    equations = [f"{name} = {c.equations[name].text}" for name in names]
    if rng.random() < 0.15:
        rng.shuffle(equations)
    return rng.choice(("; ", "\n")).join(lines + c.definitions + equations)


def is_tame(case: Case) -> bool:
    """Whether the point lies well within the domain, no value is large, and no kink is near."""
    numbers = Floats()
    try:
        values = case.values(case.point, numbers)
    except (ArithmeticError, ValueError):
        return False
    largest = max(abs(entry) for value in values.values() for entry in vec(value))
    return numbers.nearest > NEAREST_KINK and largest < LARGEST_VALUE


# --- self-test ---


def disagreement(found: Mapping[str, Dense], expected: Mapping[str, Dense]) -> float:
    """The largest difference of two Jacobians, relative to the largest entry."""
    number = PRECISE.context.mpf
    worst = number(0)
    for name, block in expected.items():
        pairs = [(as_number(a), as_number(b)) for a, b in zip(vec(found[name]), vec(block), strict=True)]
        size = max([number(1), *(abs(b) for _, b in pairs)])
        worst = max([worst, *(abs(a - b) / size for a, b in pairs)])
    return float(worst)


def as_number(entry: Any) -> Any:
    if isinstance(entry, sympy.Expr):
        entry = Fraction(int(entry.p), int(entry.q))
    return PRECISE.convert(entry)


def is_quick_for_sympy(case: Case) -> bool:
    return sum(len(vec(case.point[name])) for name in case.variables) <= 24 and not case.operations & {"inverse", "entrywise quotient"}


def self_test(seeds: Iterable[int]) -> list[str]:
    """What is wrong with the cases of the seeds."""
    wrong = []
    for seed in seeds:
        case = make(seed)
        jacobian = case.jacobian(case.point)
        rows = math.prod(case.shapes[case.output])
        for name, block in jacobian.items():
            if (len(block), len(block[0])) != (rows, math.prod(case.shapes[name])):
                wrong.append(f"{seed}: shape by {name}")
        if case.rational and disagreement(case.difference_jacobian(case.point), jacobian) > 1e-30:
            wrong.append(f"{seed}: differences")
        if case.rational and is_quick_for_sympy(case) and disagreement(case.symbolic_jacobian(case.point), jacobian) > 0:
            wrong.append(f"{seed}: SymPy")
    return wrong


if __name__ == "__main__":
    print("\n".join(self_test(range(300))) or "300 cases agree with themselves")
