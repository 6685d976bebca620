"""The field of the prime 2^61 - 1 as a kind of numbers: right formulas are equal here exactly, wrong ones differ.

Nothing can be rounded, and nothing is large or small: sums of products are equal at a random point as a rule only where they are equal
everywhere (Schwartz 1980, Zippel 1979). Functions that are no polynomials are modelled: exp, log, erf and the tangent that sin and cos
are made of are hashes of their argument, sigmoid and tanh quotients of exp, and so on, so that the identities of :data:`IDENTITIES` hold
and every derivative is what its rule says. Where nothing is positive or negative, the slope of relu is a hash too: a number h, not 0 or
1, with relu(z) = h z, so that a lost slope or a wrong sign is seen in every draw.

Two formulas may differ here and be equal for real numbers, by an identity that the models lack (exp(a + b) = exp(a) exp(b)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Any

from jacobian_chain.dense import ELEMENTWISE, DomainError, Numbers

PRIME = 2**61 - 1
"""The field's size. It is 3 modulo 4: -1 is no square, and of two roots of a square one is a square."""

SQUARES = PRIME >> 1
"""How many members other than zero are squares."""

IDENTITIES = (
    "exp(0) = 1",
    "exp(-u) = 1/exp(u)",
    "sigmoid(u) = 1/(1 + exp(-u))",
    "sinh(u) = (exp(u) - exp(-u))/2",
    "cosh(u) = (exp(u) + exp(-u))/2",
    "tanh(u) = sinh(u)/cosh(u)",
    "log(1) = 0",
    "log(1/u) = -log(u)",
    "softplus(u) = log(1 + exp(u))",
    "sin(u)^2 + cos(u)^2 = 1",
    "sin(-u) = -sin(u)",
    "cos(-u) = cos(u)",
    "tan(u) = sin(u)/cos(u)",
    "erf(-u) = -erf(u)",
    "relu(u) - relu(-u) = u",
    "relu(u) + relu(-u) = abs(u)",
    "abs(u) = sign(u) u",
    "sqrt(u)^2 = u",
    "sqrt(u v) = sqrt(u) sqrt(v)",
)
"""What the models keep, as text."""


class Residue:
    """A member of the field; whole numbers join in on either side.

    >>> half = 1 / Residue(2)
    >>> half + half == 1, Residue(-1), half**-3 == 8
    (True, Residue(2305843009213693950), True)
    """

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value % PRIME

    def __add__(self, other: Any) -> Residue:
        if type(other) is Residue:
            return Residue(self.value + other.value)
        return Residue(self.value + other) if isinstance(other, int) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Residue:
        if type(other) is Residue:
            return Residue(self.value - other.value)
        return Residue(self.value - other) if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Residue:
        return Residue(other - self.value) if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Residue:
        if type(other) is Residue:
            return Residue(self.value * other.value)
        return Residue(self.value * other) if isinstance(other, int) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Residue:
        if type(other) is Residue:
            return Residue(self.value * _reciprocal(other.value))
        return Residue(self.value * _reciprocal(other)) if isinstance(other, int) else NotImplemented

    def __rtruediv__(self, other: Any) -> Residue:
        return Residue(other * _reciprocal(self.value)) if isinstance(other, int) else NotImplemented

    def __pow__(self, exponent: int) -> Residue:
        if not isinstance(exponent, int):
            return NotImplemented
        return Residue(pow(self.value if exponent >= 0 else _reciprocal(self.value), abs(exponent), PRIME))

    def __neg__(self) -> Residue:
        return Residue(-self.value)

    def __bool__(self) -> bool:
        return self.value != 0

    def __eq__(self, other: object) -> bool:
        if type(other) is Residue:
            return self.value == other.value
        return self.value == other % PRIME if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Residue({self.value})"


def _reciprocal(value: int) -> int:
    try:
        return pow(value, -1, PRIME)
    except ValueError as error:
        raise DomainError("division by zero") from error


def has_root(value: int) -> bool:
    """Whether a number other than zero is a square in the field.

    >>> [number for number in range(1, 11) if has_root(number)]
    [1, 2, 4, 5, 8, 9, 10]
    """
    return pow(value, SQUARES, PRIME) == 1


# --- models of functions ---


def _hash(label: bytes, value: int) -> int:
    """A member that looks random and depends on nothing but the label and the argument."""
    return int.from_bytes(blake2b(value.to_bytes(8, "little"), digest_size=16, key=label).digest(), "little") % PRIME


def _odd(label: bytes, value: int) -> int:
    """A hash with h(-u) = -h(u)."""
    return _hash(label, value) if 0 < value <= SQUARES else -_odd(label, PRIME - value) if value else 0


def _exp(value: int) -> Residue:
    if not value:
        return Residue(1)
    power = Residue(_hash(b"exp", min(value, PRIME - value)) or 1)
    return power if value <= SQUARES else 1 / power


def _log(value: int) -> Residue:
    if not value:
        raise DomainError("log is not defined at zero")
    other = _reciprocal(value)
    return Residue(_hash(b"log", value) if value < other else -_hash(b"log", other) if other < value else 0)


def _half_tangent(value: int) -> Residue:
    """tan(u/2), of which sin and cos are quotients; its square is never -1."""
    return Residue(_odd(b"tan", value))


def _sin(value: int) -> Residue:
    t = _half_tangent(value)
    return 2 * t / (1 + t * t)


def _cos(value: int) -> Residue:
    t = _half_tangent(value)
    return (1 - t * t) / (1 + t * t)


def _sinh(value: int) -> Residue:
    power = _exp(value)
    return (power - 1 / power) / 2


def _cosh(value: int) -> Residue:
    power = _exp(value)
    return (power + 1 / power) / 2


ELEMENTARY: dict[str, Callable[[int], Residue]] = {
    "exp": _exp,
    "expm1": lambda value: _exp(value) - 1,
    "log": _log,
    "log1p": lambda value: _log((value + 1) % PRIME),
    "sin": _sin,
    "cos": _cos,
    "tan": lambda value: _sin(value) / _cos(value),
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": lambda value: _sinh(value) / _cosh(value),
    "erf": lambda value: Residue(_odd(b"erf", value)),
    "erfc": lambda value: 1 - Residue(_odd(b"erf", value)),
}
"""The models of smooth functions."""


def _sign(z: Residue) -> Residue:
    """s(z) = -s(-z), a number instead of 1 or -1."""
    return Residue(_odd(b"sign", z.value))


def _above(z: Residue) -> Residue:
    """h(z) = 1 - h(-z), a number instead of 1 or 0."""
    return (1 + _sign(z)) / 2


def _elu(z: Residue, order: int) -> list[Residue]:
    above, power = _above(z), _exp(z.value)
    slopes = [(1 - above) * power / math.factorial(k) for k in range(order + 1)]
    slopes[0] = above * z + (1 - above) * (power - 1)
    if order:
        slopes[1] += above
    return slopes


def _broken(slope: Residue, z: Residue, order: int) -> list[Residue]:
    return [slope * z, slope, *[Residue(0)] * (order - 1)][: order + 1]


def _softplus(z: Residue, order: int) -> list[Residue]:
    value = _log((1 + _exp(z.value)).value)
    slopes = ELEMENTWISE["sigmoid"].expansion(RESIDUES, z, order - 1) if order else []
    return [value, *[slope / k for k, slope in enumerate(slopes, 1)]]


MODELS: dict[str, Callable[[Residue, int], list[Residue]]] = {
    "relu": lambda z, order: _broken(_above(z), z, order),
    "leaky_relu": lambda z, order: _broken((1 + 99 * _above(z)) / 100, z, order),
    "abs": lambda z, order: _broken(_sign(z), z, order),
    "sign": lambda z, order: [_sign(z), *[Residue(0)] * order],
    "step": lambda z, order: [_above(z), *[Residue(0)] * order],
    "elu": _elu,
    "softplus": _softplus,
}
"""Taylor coefficients of functions whose definition asks what is positive; h and s count as constant."""


class _Residues(Numbers):
    name = "residues"

    def from_fraction(self, value: Fraction) -> Residue:
        numerator, denominator = value.numerator, value.denominator
        return Residue(numerator if denominator == 1 else numerator * _reciprocal(denominator))

    def convert(self, value: Any) -> Residue:
        return value if type(value) is Residue else self.from_fraction(Fraction(value))

    def elementary(self, name: str, value: Residue) -> Residue:
        return ELEMENTARY[name](value.value)

    def constant(self, name: str) -> Residue:
        return _exp(1) if name == "e" else Residue(_hash(b"pi", 0)) ** 2  # so that it has a root

    def root_power(self, value: Residue, exponent: Fraction) -> Residue:
        """A square to a power that is not whole, by that of its roots which is a square: a homomorphism, like that of positive numbers."""
        if math.gcd(exponent.denominator, SQUARES) != 1:
            raise DomainError(f"powers {exponent} are not unique in the field")
        if not has_root(value.value):
            raise DomainError("only squares have roots in the field")
        return value ** (exponent.numerator * pow(exponent.denominator, -1, SQUARES) % SQUARES)

    def is_positive(self, value: Residue) -> bool:
        """Nothing is below zero."""
        return bool(value)

    def magnitude(self, value: Residue) -> int:
        return value.value

    def top(self, values: Sequence[Residue]) -> Residue:  # noqa: ARG002
        """Zero, since exp(a - b) is not exp(a) / exp(b)."""
        return Residue(0)

    def expansion(self, name: str, value: Residue, order: int) -> list[Residue]:
        return MODELS[name](value, order) if name in MODELS else super().expansion(name, value, order)

    def apply(self, name: str, value: Residue, order: int = 0) -> Residue:
        result: Residue = super().apply(name, value, order) if order or name not in MODELS else MODELS[name](value, 0)[0]
        return result


RESIDUES: Numbers = _Residues()
"""The numbers modulo :data:`PRIME`.

>>> RESIDUES.apply("tanh", Residue(5), 1) == 1 - RESIDUES.apply("tanh", Residue(5)) ** 2
True
"""
