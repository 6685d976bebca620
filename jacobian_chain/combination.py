"""Linear combinations of values while they are read: scaled and added, then one step of the tape."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

from jacobian_chain.tape import Step

ONE = Fraction(1)


class Combination:
    """``factor`` times the sum of c v over ``terms``.

    The common factor makes scaling cheap, and adding moves the shorter side, so that deep nesting stays linear.

    >>> Combination(0).add(Combination(1).scale(Fraction(2))).scale(Fraction(3)).as_step()
    Step(operation='sum', name='', inputs=(0, 1), coefficients=(Fraction(3, 1), Fraction(6, 1)))
    """

    __slots__ = ("factor", "like", "terms")

    def __init__(self, value: int) -> None:
        self.like = value  # a value of the shape that the combination has
        self.factor = ONE
        self.terms: deque[tuple[Fraction, int]] = deque([(ONE, value)])

    def scale(self, number: Fraction) -> Combination:
        """The combination times a number, in place."""
        if number:
            self.factor *= number
        else:
            self.factor, self.terms = ONE, deque((number, value) for _, value in self.terms)
        return self

    def add(self, other: Combination) -> Combination:
        """The sum of both, this one's terms first; both are used up."""
        if len(other.terms) <= len(self.terms):
            ratio = ONE if self.factor is other.factor else other.factor / self.factor
            self.terms.extend(other.terms if ratio == 1 else [(ratio * c, value) for c, value in other.terms])
            return self
        ratio = self.factor / other.factor
        other.terms.extendleft([(ratio * c, value) for c, value in reversed(self.terms)])
        return other

    def multiple(self) -> tuple[Fraction, int] | None:
        """The number and the value whose product it is, if all its terms are of one value.

        >>> Combination(7).add(Combination(7).scale(Fraction(-1, 2))).multiple()
        (Fraction(1, 2), 7)
        """
        coefficient, value = self.terms[0]
        if len(self.terms) > 1:
            if any(other != value for _, other in self.terms):
                return None
            coefficient = sum((c for c, _ in self.terms), Fraction(0))
        return (coefficient if self.factor is ONE else coefficient * self.factor), value

    def as_step(self) -> Step:
        """The step that computes it; equal values are gathered."""
        gathered: dict[int, Fraction] = {}
        for coefficient, value in self.terms:
            known = gathered.get(value)
            gathered[value] = coefficient if known is None else known + coefficient
        numbers = gathered.values() if self.factor is ONE or self.factor == 1 else [self.factor * c for c in gathered.values()]
        return Step("sum", "", tuple(gathered), tuple(numbers))


Operand = Fraction | int | Combination
"""What a part of an expression is while it is read: a number, a value of the tape, a linear combination of values."""


def as_combination(operand: int | Combination) -> Combination:
    """A value or combination as a combination."""
    return Combination(operand) if isinstance(operand, int) else operand


def single_value(operand: Operand) -> int | None:
    """The value that an operand is, if it is one.

    >>> single_value(3), single_value(Combination(3)), single_value(Combination(3).scale(Fraction(2))), single_value(Fraction(3))
    (3, 3, None, None)
    """
    if isinstance(operand, int):
        return operand
    found = operand.multiple() if isinstance(operand, Combination) else None
    return found[1] if found is not None and (found[0] is ONE or found[0] == 1) else None


def step_of(operand: Operand) -> Step:
    """The step that computes an operand."""
    return as_combination(operand).as_step() if isinstance(operand, (int, Combination)) else Step("number", "", (), (operand,))
