"""Dense linear algebra over any kind of numbers, and what a kind of numbers supplies.

A matrix is a list of its rows. Its entries are members of one :class:`Numbers`: floats, numbers of any precision, fractions, or
truncated Taylor series over one of these, through which functions that a text defines are differentiated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from operator import mul
from typing import Any, NamedTuple

Dense = list[list[Any]]


class DomainError(ArithmeticError):
    """A value is not a real number, or not one of the kind that is computed with."""


class SingularError(DomainError):
    """A matrix has no inverse."""


# --- kinds of numbers ---


class Numbers(ABC):
    """One kind of numbers: what is needed of it beyond ``+ - * /`` among its members and with whole numbers.

    A kind defines five methods. Order and size have defaults that suit ordered fields; a finite field, which has neither, overrides them,
    and says what functions that ask for them are instead.
    """

    name: str

    @abstractmethod
    def from_fraction(self, value: Fraction) -> Any:
        """The member nearest to a fraction."""

    @abstractmethod
    def convert(self, value: Any) -> Any:
        """A number of another kind as a member."""

    @abstractmethod
    def elementary(self, name: str, value: Any) -> Any:
        """One of exp, expm1, log, log1p, sin, cos, tan, sinh, cosh, tanh, erf, erfc.

        Raises:
            DomainError: it is not defined there, or not a number of this kind.
        """

    @abstractmethod
    def constant(self, name: str) -> Any:
        """``pi`` (also ``π``) or ``e``."""

    @abstractmethod
    def root_power(self, value: Any, exponent: Fraction) -> Any:
        """A positive member to a power that is not whole."""

    def is_positive(self, value: Any) -> bool:
        """Whether a member is above zero."""
        return bool(value > 0)

    def magnitude(self, value: Any) -> Any:
        """What pivots are chosen by; zero for zero only."""
        return abs(value)

    def top(self, values: Sequence[Any]) -> Any:
        """What is taken off numbers before exp of them is added up, so that none is large: the greatest."""
        top = values[0]
        for value in values:
            if self.is_positive(value - top):
                top = value
        return top

    def is_finite(self, value: Any) -> bool:
        """Whether a member is neither infinite nor undefined."""
        return bool(value - value == 0)

    def power(self, value: Any, exponent: Fraction) -> Any:
        """A member to a power, by multiplication where that is whole.

        Raises:
            DomainError: zero to a negative power, a negative number to one that is not whole.

        >>> FLOATS.power(4.0, Fraction(-1, 2)), RATIONALS.power(Fraction(2), Fraction(-2))
        (0.5, Fraction(1, 4))
        """
        if exponent.denominator == 1:
            if exponent < 0:
                if not self.magnitude(value):
                    raise DomainError(f"zero has no power {exponent}")
                return self.from_fraction(Fraction(1)) / value**-exponent.numerator
            return value**exponent.numerator
        if self.is_positive(value):
            return self.root_power(value, exponent)
        if exponent > 0 and not self.magnitude(value):
            return value
        raise DomainError(f"only positive numbers have a power {exponent}")

    def apply(self, name: str, value: Any, order: int = 0) -> Any:
        """The value of an elementwise function, or of its derivative of some order; zero at kinks counts as not positive.

        >>> FLOATS.apply("abs", -2.0), FLOATS.apply("relu", 3.0, 1), FLOATS.apply("sin", 0.0, 3)
        (2.0, 1.0, -1.0)
        """
        if order == 0:
            return ELEMENTWISE[name].value(self, value)
        return self.expansion(name, value, order)[order] * math.factorial(order)

    def expansion(self, name: str, value: Any, order: int) -> list[Any]:
        """The Taylor coefficients of an elementwise function at a member, up to some order."""
        return ELEMENTWISE[name].expansion(self, value, order)


class _Floats(Numbers):
    name = "floats"

    def from_fraction(self, value: Fraction) -> float:
        return value.numerator / value.denominator

    def convert(self, value: Any) -> float:
        return float(value)

    def elementary(self, name: str, value: float) -> float:
        try:
            return float(getattr(math, name)(value))
        except ValueError as error:
            raise DomainError(f"{name} is not defined at {value}") from error

    def constant(self, name: str) -> float:
        return math.e if name == "e" else math.pi

    def root_power(self, value: float, exponent: Fraction) -> float:
        return math.sqrt(value) if exponent == Fraction(1, 2) else float(value ** float(exponent))

    def is_finite(self, value: float) -> bool:
        return math.isfinite(value)


class _Precise(Numbers):
    def __init__(self, digits: int) -> None:
        import mpmath  # type: ignore[import-untyped,unused-ignore] # slow to load

        self.name = f"{digits} digits"
        self.context = mpmath.MPContext()
        self.context.dps = digits

    def from_fraction(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def convert(self, value: Any) -> Any:
        return self.from_fraction(value) if isinstance(value, Fraction) else self.context.mpf(value)

    def elementary(self, name: str, value: Any) -> Any:
        result = getattr(self.context, name)(value)
        if not isinstance(result, self.context.mpf):
            raise DomainError(f"{name} is not defined at {value}")
        return result

    def constant(self, name: str) -> Any:
        return +(self.context.e if name == "e" else self.context.pi)

    def root_power(self, value: Any, exponent: Fraction) -> Any:
        return self.context.power(value, self.from_fraction(exponent))

    def is_finite(self, value: Any) -> bool:
        return bool(self.context.isfinite(value))


class _Rationals(Numbers):
    name = "fractions"

    def from_fraction(self, value: Fraction) -> Fraction:
        return value

    def convert(self, value: Any) -> Fraction:
        return Fraction(value)

    def elementary(self, name: str, value: Fraction) -> Fraction:
        raise DomainError(f"{name} of {value} is not rational")

    def constant(self, name: str) -> Fraction:
        raise DomainError(f"{name} is not rational")

    def root_power(self, value: Fraction, exponent: Fraction) -> Fraction:
        raise DomainError(f"a power {exponent} of {value} is not rational")


FLOATS: Numbers = _Floats()
RATIONALS: Numbers = _Rationals()


@lru_cache(maxsize=8)
def precise(digits: int) -> Numbers:
    """Numbers of so many digits (mpmath is loaded).

    >>> precise(30).apply("exp", precise(30).from_fraction(Fraction(1))) == precise(30).constant("e")
    True
    """
    return _Precise(digits)


# --- elementwise functions ---


class Elementwise(NamedTuple):
    """An elementwise function.

    Attributes:
        value: at a number.
        expansion: its Taylor coefficients at a number, up to some order.
        kink: whether it is not smooth at zero.
    """

    value: Callable[[Numbers, Any], Any]
    expansion: Callable[[Numbers, Any, int], list[Any]]
    kink: bool = False


def _elementary(name: str, expansion: Callable[[Numbers, Any, int], list[Any]]) -> Elementwise:
    return Elementwise(lambda numbers, z: numbers.elementary(name, z), expansion)


def _number(numbers: Numbers, numerator: int, denominator: int = 1) -> Any:
    return numbers.from_fraction(Fraction(numerator, denominator))


def _cycle(*names: str) -> Callable[[Numbers, Any, int], list[Any]]:
    """Expansion of a function whose derivatives repeat; a minus sign before a name is one."""

    def expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
        values = {name: numbers.elementary(name.lstrip("-"), t) for name in names[: order + 1]}
        return [
            values[name] * (-1 if name.startswith("-") else 1) / math.factorial(k)
            for k, name in enumerate(names[k % len(names)] for k in range(order + 1))
        ]

    return expansion


def _log_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return [_log(numbers, t), *(_number(numbers, (-1) ** (k - 1), k) / t**k for k in range(1, order + 1))]


def _log(numbers: Numbers, z: Any) -> Any:
    if not numbers.is_positive(z):
        raise DomainError(f"log is not defined at {z}")
    return numbers.elementary("log", z)


def _by_own_slope(start: Any, slope: Callable[[list[Any], int], Any], order: int) -> list[Any]:
    """Coefficients of y where y' = slope(y): ``slope`` gives coefficient k of the right-hand side from those of y up to k."""
    y = [start]
    for k in range(order):
        y.append(slope(y, k) / (k + 1))
    return y


def _square(y: list[Any], k: int) -> Any:
    return sum(y[i] * y[k - i] for i in range(k + 1))


def _tan_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return _by_own_slope(numbers.elementary("tan", t), lambda y, k: _square(y, k) + (k == 0), order)


def _tanh_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return _by_own_slope(numbers.elementary("tanh", t), lambda y, k: (k == 0) - _square(y, k), order)


def _sigmoid_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return _by_own_slope(_sigmoid(numbers, t), lambda y, k: y[k] - _square(y, k), order)


def _sigmoid(numbers: Numbers, z: Any) -> Any:
    if numbers.is_positive(z):
        return 1 / (1 + numbers.elementary("exp", -z))
    power = numbers.elementary("exp", z)
    return power / (1 + power)


def _integral(start: Any, slope: Sequence[Any]) -> list[Any]:
    return [start, *(coefficient / k for k, coefficient in enumerate(slope, 1))]


def _softplus(numbers: Numbers, z: Any) -> Any:
    if numbers.is_positive(z):
        return z + numbers.elementary("log1p", numbers.elementary("exp", -z))
    return numbers.elementary("log1p", numbers.elementary("exp", z))


def _softplus_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return _integral(_softplus(numbers, t), _sigmoid_expansion(numbers, t, order - 1) if order else ())


def _bell_expansion(numbers: Numbers, t: Any, start: Any, rate: int, order: int) -> list[Any]:
    """Coefficients of ``start`` exp(-rate (u² - t²) / 2) at t, whose slope is -rate u y."""
    return _by_own_slope(start, lambda y, k: (t * y[k] + (y[k - 1] if k else _number(numbers, 0))) * -rate, order)


def _root_pi(numbers: Numbers, factor: int) -> Any:
    return numbers.root_power(numbers.constant("pi") * factor, Fraction(1, 2))


def _erf_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    start = numbers.elementary("erf", t)
    if order == 0:
        return [start]
    return _integral(start, _bell_expansion(numbers, t, 2 * numbers.elementary("exp", -t * t) / _root_pi(numbers, 1), 2, order - 1))


def _normal(numbers: Numbers, z: Any) -> Any:
    """The distribution function of a standard normal variable, exact in its tail too."""
    return numbers.elementary("erfc", -z / numbers.root_power(_number(numbers, 2), Fraction(1, 2))) / 2


def _gelu_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    density = numbers.elementary("exp", -t * t / 2) / _root_pi(numbers, 2)
    return _times_variable(t, _integral(_normal(numbers, t), _bell_expansion(numbers, t, density, 1, order - 1) if order else ()))


def _silu_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return _times_variable(t, _sigmoid_expansion(numbers, t, order))


def _times_variable(t: Any, y: list[Any]) -> list[Any]:
    """Coefficients of u y at t."""
    return [t * y[0], *(t * y[k] + y[k - 1] for k in range(1, len(y)))]


def _broken(below: Fraction, above: Fraction) -> Elementwise:
    """The function with these two slopes below and above zero."""

    def slope(numbers: Numbers, z: Any) -> Any:
        return numbers.from_fraction(above if numbers.is_positive(z) else below)

    def expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
        head = [slope(numbers, t) * t, slope(numbers, t)] + [_number(numbers, 0)] * (order - 1)
        return head[: order + 1]

    return Elementwise(lambda numbers, z: slope(numbers, z) * z, expansion, True)


def _elu(numbers: Numbers, z: Any) -> Any:
    return z if numbers.is_positive(z) else numbers.elementary("expm1", z)


def _elu_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    if numbers.is_positive(t):
        return [t, _number(numbers, 1), *[_number(numbers, 0)] * (order - 1)][: order + 1]
    return [numbers.elementary("expm1", t), *_cycle("exp")(numbers, t, order)[1:]]


def _sign(numbers: Numbers, z: Any) -> Any:
    return _number(numbers, numbers.is_positive(z) - numbers.is_positive(-z))


def _step(numbers: Numbers, z: Any) -> Any:
    return _number(numbers, numbers.is_positive(z))


def _piecewise_constant(value: Callable[[Numbers, Any], Any]) -> Elementwise:
    return Elementwise(value, lambda numbers, t, order: [value(numbers, t)] + [_number(numbers, 0)] * order, True)


def _abs_expansion(numbers: Numbers, t: Any, order: int) -> list[Any]:
    return [_sign(numbers, t) * t, _sign(numbers, t), *[_number(numbers, 0)] * (order - 1)][: order + 1]


ELEMENTWISE: dict[str, Elementwise] = {
    "exp": _elementary("exp", _cycle("exp")),
    "log": Elementwise(_log, _log_expansion),
    "sin": _elementary("sin", _cycle("sin", "cos", "-sin", "-cos")),
    "cos": _elementary("cos", _cycle("cos", "-sin", "-cos", "sin")),
    "tan": _elementary("tan", _tan_expansion),
    "sinh": _elementary("sinh", _cycle("sinh", "cosh")),
    "cosh": _elementary("cosh", _cycle("cosh", "sinh")),
    "tanh": _elementary("tanh", _tanh_expansion),
    "sigmoid": Elementwise(_sigmoid, _sigmoid_expansion),
    "relu": _broken(Fraction(0), Fraction(1)),
    "leaky_relu": _broken(Fraction(1, 100), Fraction(1)),
    "elu": Elementwise(_elu, _elu_expansion, True),
    "softplus": Elementwise(_softplus, _softplus_expansion),
    "silu": Elementwise(lambda numbers, z: z * _sigmoid(numbers, z), _silu_expansion),
    "gelu": Elementwise(lambda numbers, z: z * _normal(numbers, z), _gelu_expansion),
    "abs": Elementwise(lambda numbers, z: _sign(numbers, z) * z, _abs_expansion, True),
    "sign": _piecewise_constant(_sign),
    "erf": _elementary("erf", _erf_expansion),
    "step": _piecewise_constant(_step),
}
"""The elementwise functions that have a meaning of their own, one row each; ``step`` is 1[z > 0]."""


# --- Taylor series ---


@dataclass(frozen=True, slots=True)
class Series:
    """c₀ + c₁ t + c₂ t² + …, cut off behind the last coefficient."""

    coefficients: tuple[Any, ...]

    def __add__(self, other: Series | int) -> Series:
        if isinstance(other, int):
            return Series((self.coefficients[0] + other, *self.coefficients[1:]))
        return Series(tuple([a + b for a, b in zip(self.coefficients, other.coefficients, strict=True)]))

    __radd__ = __add__

    def __neg__(self) -> Series:
        return Series(tuple([-a for a in self.coefficients]))

    def __sub__(self, other: Series | int) -> Series:
        return self + -other

    def __rsub__(self, other: int) -> Series:
        return -self + other

    def __mul__(self, other: Series | int) -> Series:
        a = self.coefficients
        if isinstance(other, int):
            return Series(tuple([c * other for c in a]))
        b = other.coefficients
        return Series(tuple([sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(len(a))]))

    __rmul__ = __mul__

    def __truediv__(self, other: Series | int) -> Series:
        a = self.coefficients
        if isinstance(other, int):
            return Series(tuple([c / other for c in a]))
        b = other.coefficients
        quotient: list[Any] = []
        for k in range(len(a)):
            quotient.append((a[k] - sum(b[i] * quotient[k - i] for i in range(1, k + 1))) / b[0])
        return Series(tuple(quotient))

    def __rtruediv__(self, other: int) -> Series:
        return Series((self.coefficients[0] * 0 + other, *[c * 0 for c in self.coefficients[1:]])) / self

    def __pow__(self, exponent: int) -> Series:
        result, square = self * 0 + 1, self
        while exponent:
            if exponent & 1:
                result = result * square
            square, exponent = square * square, exponent >> 1
        return result


@dataclass(frozen=True)
class Taylor(Numbers):
    """Series over a kind of numbers, up to some order: the values of a function on them hold its derivatives.

    >>> numbers = Taylor(RATIONALS, 3)
    >>> (1 / numbers.variable(Fraction(2))).coefficients
    (Fraction(1, 2), Fraction(-1, 4), Fraction(1, 8), Fraction(-1, 16))
    """

    base: Numbers
    order: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """What the numbers are called."""
        return f"series over {self.base.name}"

    @property
    def depth(self) -> int:
        """How many times series are taken over series."""
        return 1 + (self.base.depth if isinstance(self.base, Taylor) else 0)

    def variable(self, value: Any) -> Series:
        """``value`` + t."""
        return Series((value, *[_number(self.base, int(k == 1)) for k in range(1, self.order + 1)]))

    def embed(self, value: Any) -> Series:
        """A member of the base as a constant."""
        return Series((value, *[_number(self.base, 0)] * self.order))

    def from_fraction(self, value: Fraction) -> Series:
        return self.embed(self.base.from_fraction(value))

    def convert(self, value: Any) -> Series:
        return value if isinstance(value, Series) else self.embed(self.base.convert(value))

    def elementary(self, name: str, value: Series) -> Series:
        if name == "erfc":
            return 1 - self.apply("erf", value)
        if name == "expm1":
            return self.apply("exp", value) - 1
        return self.apply("log", value + 1) if name == "log1p" else self.apply(name, value)

    def constant(self, name: str) -> Series:
        return self.embed(self.base.constant(name))

    def root_power(self, value: Series, exponent: Fraction) -> Series:
        start, expansion, binomial = value.coefficients[0], [], Fraction(1)
        for k in range(self.order + 1):
            expansion.append(self.base.from_fraction(binomial) * self.base.power(start, exponent - k))
            binomial *= (exponent - k) / (k + 1)
        return self._compose(expansion, value)

    def is_positive(self, value: Series) -> bool:
        return self.base.is_positive(value.coefficients[0])

    def magnitude(self, value: Series) -> Any:
        return self.base.magnitude(value.coefficients[0])

    def top(self, values: Sequence[Series]) -> Series:
        return self.embed(self.base.top([value.coefficients[0] for value in values]))

    def is_finite(self, value: Series) -> bool:
        return all(self.base.is_finite(coefficient) for coefficient in value.coefficients)

    def apply(self, name: str, value: Series, order: int = 0) -> Series:
        expansion = self.base.expansion(name, value.coefficients[0], self.order + order)
        shifted = [coefficient * math.perm(k, order) for k, coefficient in enumerate(expansion)]
        return self._compose(shifted[order:], value)

    def _compose(self, expansion: Sequence[Any], value: Series) -> Series:
        increment = Series((_number(self.base, 0), *value.coefficients[1:]))
        result = self.embed(expansion[-1])
        for coefficient in expansion[-2::-1]:
            result = result * increment + self.embed(coefficient)
        return result


# --- linear algebra ---


def size(a: Dense) -> tuple[int, int]:
    """Rows and columns."""
    return len(a), len(a[0])


def filled(shape: tuple[int, int], value: Any) -> Dense:
    """The matrix with one value everywhere."""
    return [[value] * shape[1] for _ in range(shape[0])]


def identity(n: int, numbers: Numbers) -> Dense:
    """The identity matrix."""
    zero, one = _number(numbers, 0), _number(numbers, 1)
    return [[one if i == j else zero for j in range(n)] for i in range(n)]


def transpose(a: Dense) -> Dense:
    """Rows and columns exchanged."""
    return [list(column) for column in zip(*a, strict=True)]


def product(a: Dense, b: Dense) -> Dense:
    """The matrix product.

    >>> product([[1, 2]], [[3], [4]])
    [[11]]
    """
    if len(a[0]) != len(b):
        raise ValueError(f"{len(a)} x {len(a[0])} times {len(b)} x {len(b[0])}")
    columns = list(zip(*b, strict=True))
    return [[sum(map(mul, row, column)) for column in columns] for row in a]


def add(a: Dense, b: Dense) -> Dense:
    """The sum."""
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def hadamard(a: Dense, b: Dense) -> Dense:
    """The product of entries."""
    return [[x * y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def scale(factor: Any, a: Dense) -> Dense:
    """A number times a matrix."""
    return [[factor * entry for entry in row] for row in a]


def each(function: Callable[[Any], Any], a: Dense) -> Dense:
    """A function of every entry."""
    return [[function(entry) for entry in row] for row in a]


def entries(a: Dense) -> list[Any]:
    """All entries, column after column.

    >>> entries([[1, 2], [3, 4]])
    [1, 3, 2, 4]
    """
    return [entry for column in zip(*a, strict=True) for entry in column]


def vec(a: Dense) -> Dense:
    """The columns below each other."""
    return [[entry] for entry in entries(a)]


def from_entries(values: Sequence[Any], shape: tuple[int, int]) -> Dense:
    """The matrix that has these entries, column after column."""
    rows, columns = shape
    if len(values) != rows * columns:
        raise ValueError(f"{len(values)} entries for {rows} x {columns}")
    return [[values[i + j * rows] for j in range(columns)] for i in range(rows)]


def reshape(a: Dense, shape: tuple[int, int]) -> Dense:
    """The matrix with the same entries, column after column."""
    return from_entries(entries(a), shape)


def diag(a: Dense) -> Dense:
    """The diagonal matrix of a column."""
    zero = a[0][0] * 0
    return [[row[0] if i == j else zero for j in range(len(a))] for i, row in enumerate(a)]


def diagonal(a: Dense) -> Dense:
    """The diagonal as a column."""
    return [[a[i][i]] for i in range(min(size(a)))]


def trace(a: Dense) -> Any:
    """The sum of the diagonal."""
    _need_square(a)
    return sum(a[i][i] for i in range(len(a)))


def kron(a: Dense, b: Dense) -> Dense:
    """The Kronecker product.

    >>> kron([[1, 2]], [[1], [3]])
    [[1, 2], [3, 6]]
    """
    return [[x * y for x in p for y in q] for p in a for q in b]


def beside(*blocks: Dense) -> Dense:
    """Blocks in one row."""
    return [[entry for row in rows for entry in row] for rows in zip(*blocks, strict=True)]


def below(*blocks: Dense) -> Dense:
    """Blocks in one column."""
    if len({len(block[0]) for block in blocks}) > 1:
        raise ValueError("blocks of different widths below each other")
    return [list(row) for block in blocks for row in block]


def commutation(rows: int, columns: int, numbers: Numbers) -> Dense:
    """K with K vec(A) = vec(Aᵀ) for A of ``rows`` x ``columns``.

    >>> product(commutation(2, 3, RATIONALS), vec([[1, 2, 3], [4, 5, 6]])) == vec([[1, 4], [2, 5], [3, 6]])
    True
    """
    k = filled((rows * columns, rows * columns), _number(numbers, 0))
    for i in range(rows):
        for j in range(columns):
            k[j + i * columns][i + j * rows] = _number(numbers, 1)
    return k


def embedding(n: int, numbers: Numbers) -> Dense:
    """E with E v = vec(diag(v)) for a column v of ``n``.

    >>> product(embedding(2, RATIONALS), [[5], [7]]) == vec([[5, 0], [0, 7]])
    True
    """
    e = filled((n * n, n), _number(numbers, 0))
    for i in range(n):
        e[i + i * n][i] = _number(numbers, 1)
    return e


def det(a: Dense, numbers: Numbers) -> Any:
    """The determinant, by elimination with pivots."""
    _need_square(a)
    a = [list(row) for row in a]
    result = _number(numbers, 1)
    for k in range(len(a)):
        pivot = max(range(k, len(a)), key=lambda i: numbers.magnitude(a[i][k]))
        if not numbers.magnitude(a[pivot][k]):
            return _number(numbers, 0)
        if pivot != k:
            a[k], a[pivot] = a[pivot], a[k]
            result = -result
        result = result * a[k][k]
        for i in range(k + 1, len(a)):
            factor = a[i][k] / a[k][k]
            a[i] = [x - factor * y for x, y in zip(a[i], a[k], strict=True)]
    return result


def inverse(a: Dense, numbers: Numbers) -> Dense:
    """The inverse, by elimination with pivots.

    Raises:
        SingularError: there is none.

    >>> inverse([[Fraction(2), Fraction(1)], [Fraction(1), Fraction(1)]], RATIONALS) == [[1, -1], [-1, 2]]
    True
    """
    _need_square(a)
    n = len(a)
    rows = beside(a, identity(n, numbers))
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: numbers.magnitude(rows[i][k]))
        if not numbers.magnitude(rows[pivot][k]):
            raise SingularError("a singular matrix has no inverse")
        rows[k], rows[pivot] = rows[pivot], rows[k]
        head = rows[k][k]
        rows[k] = [entry / head for entry in rows[k]]
        for i in range(n):
            if i != k:
                factor = rows[i][k]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[n:] for row in rows]


def logdet(a: Dense, numbers: Numbers) -> Any:
    """The logarithm of |det a|.

    Raises:
        SingularError: the determinant is zero.
    """
    value = numbers.apply("abs", det(a, numbers))
    if not numbers.magnitude(value):
        raise SingularError("a singular matrix has no log det")
    return numbers.apply("log", value)


def softmax(a: Dense, numbers: Numbers, direction: str) -> Dense:
    """exp, divided by the sum of each column or row, as ``direction`` says: ``columns``, ``rows``.

    >>> softmax([[1000.0, 0.0], [1000.0, 0.0]], FLOATS, "columns")
    [[0.5, 0.5], [0.5, 0.5]]
    """
    if direction == "columns":
        return transpose(softmax(transpose(a), numbers, "rows"))
    result = []
    for row in a:
        top = numbers.top(row)
        powers = [numbers.apply("exp", entry - top) for entry in row]
        total = sum(powers)
        result.append([power / total for power in powers])
    return result


def logsumexp(a: Dense, numbers: Numbers) -> Any:
    """The logarithm of the sum of exp over all entries.

    >>> round(logsumexp([[1000.0], [1000.0]], FLOATS), 6)
    1000.693147
    """
    values = entries(a)
    top = numbers.top(values)
    return top + numbers.apply("log", sum(numbers.apply("exp", value - top) for value in values))


def layernorm(a: Dense, numbers: Numbers) -> Dense:
    """(a - mean) / √variance over all entries, the variance being the mean square."""
    values = entries(a)
    mean = sum(values) / len(values)
    centred = each(lambda entry: entry - mean, a)
    variance = sum(entry * entry for entry in entries(centred)) / len(values)
    return scale(numbers.power(variance, Fraction(-1, 2)), centred)


def _need_square(a: Dense) -> None:
    if len(a) != len(a[0]):
        raise ValueError(f"a {len(a)} x {len(a[0])} matrix is not square")
