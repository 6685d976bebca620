"""Every rule in every slot and layout, against SymPy's derivatives of the value and against differences."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import sympy

from jacobian_chain import operations
from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import derive_concrete
from jacobian_chain.dense import Dense, Numbers, entries
from jacobian_chain.elementary import Word
from jacobian_chain.errors import Source
from jacobian_chain.interface import derive
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape
from jacobian_chain.operations import ELEMENTWISE, OPERATIONS, At, Elementwise, Operation
from jacobian_chain.reading import read_composition
from jacobian_chain.tape import Tape
from jacobian_chain.verification import arrange, sample
from jacobian_chain.witness import verify

EXAMPLES = [operation for operation in OPERATIONS.values() if operation.example]
SYMPY = {
    "sigmoid": lambda t: 1 / (1 + sympy.exp(-t)),
    "relu": lambda t: sympy.Max(0, t),
    "leaky_relu": lambda t: t / 100 + sympy.Rational(99, 100) * sympy.Max(0, t),
    "elu": lambda t: sympy.Piecewise((t, t > 0), (sympy.exp(t) - 1, True)),
    "softplus": lambda t: sympy.log(1 + sympy.exp(t)),
    "silu": lambda t: t / (1 + sympy.exp(-t)),
    "gelu": lambda t: t * (1 + sympy.erf(t / sympy.sqrt(2))) / 2,
    "abs": sympy.Abs,
    "sign": sympy.sign,
    "step": lambda t: sympy.Piecewise((1, t > 0), (0, True)),
}


class Symbolic(Numbers):
    """SymPy expressions as numbers: the value of a composition in symbols, to be differentiated by SymPy."""

    name = "symbolic"

    def from_fraction(self, value: Fraction) -> Any:
        return sympy.Rational(value.numerator, value.denominator)

    def convert(self, value: Any) -> Any:
        return self.from_fraction(value) if isinstance(value, Fraction) else value

    def elementary(self, name: str, value: Any) -> Any:
        return SYMPY.get(name, getattr(sympy, name, None))(value)  # type: ignore[misc]

    def constant(self, name: str) -> Any:
        return {"π": sympy.pi, "e": sympy.E}[name]

    def root_power(self, value: Any, exponent: Fraction) -> Any:
        return value ** self.from_fraction(exponent)

    def is_positive(self, value: Any) -> bool:
        return bool(self._somewhere(value) > 0)

    def magnitude(self, value: Any) -> Any:
        return abs(self._somewhere(value))

    def _somewhere(self, value: Any) -> Any:
        """The value at one fixed point, for what must be decided of a number."""
        value = value if isinstance(value, sympy.Basic) else sympy.Integer(value)
        return value.subs({symbol: sympy.Rational(zlib.crc32(symbol.name.encode()) % 997 + 1, 499) for symbol in value.free_symbols})

    def is_finite(self, value: Any) -> bool:
        return not value.has(sympy.nan, sympy.zoo, sympy.oo)

    def apply(self, name: str, value: Any, order: int = 0) -> Any:
        t = sympy.Symbol("t", real=True)
        return sympy.diff(self.elementary(name, t), t, order).subs(t, value) if order else self.elementary(name, value)


def read(text: str) -> Tape:
    return read_composition(Source(text)).tape


def blocks_of(tape: Tape) -> Iterator[tuple[str, int, bool]]:
    for layout in LAYOUTS:
        for value in range(tape.leaves):
            for vec in (False, True):
                yield layout, value, vec


def symbolic_leaves(tape: Tape) -> dict[int, Dense]:
    return {
        value: [
            [sympy.Symbol(f"v{value}_{i}_{j}", real=True) for j in range(int(tape.shapes[value].columns))]
            for i in range(int(tape.shapes[value].rows))
        ]
        for value in range(tape.leaves)
    }


def sympy_jacobian(tape: Tape, leaves: dict[int, Dense], variable: int) -> Dense:
    value = evaluate_tape(tape, leaves, {}, Symbolic(), Opaque())[-1]
    return sympy.Matrix(entries(value)).jacobian(entries(leaves[variable])).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("operation", [each for each in EXAMPLES if each.name not in ("apply", "layer")], ids=lambda each: each.name)
def test_rule_equals_sympy_in_every_slot_and_layout(operation: Operation) -> None:
    tape = read(operation.example)
    assert operation.name in {step.operation for step in tape.steps}
    leaves = symbolic_leaves(tape)
    point = sample(tape, 3)
    numbers = {
        symbol: sympy.Rational(entry.numerator, entry.denominator)
        for value, given in leaves.items()
        for symbol, entry in zip(entries(given), entries(point.leaves[value]), strict=True)
    }
    output = len(tape.names) - 1
    size = [tuple(int(side) for side in tape.shapes[value]) for value in range(len(tape.names))]
    for layout, variable, vec in blocks_of(tape):
        block = derive_concrete(tape, output, [variable], LAYOUTS[layout], vec).blocks[0]
        derivation = derive_concrete(tape, output, [variable], LAYOUTS[layout], vec)
        arrays = derivation.arrays
        found = evaluate(arrays.steps, arrays.shapes, leaves, {}, Symbolic(), Opaque(), [derivation.blocks[0].node])
        expected = arrange(sympy_jacobian(tape, leaves, variable), size[output], size[variable], layout, vec)  # type: ignore[arg-type]
        assert [int(side) for side in block.shape] == [len(expected), len(expected[0])]
        difference = sympy.Matrix(expected) - sympy.Matrix(found[derivation.blocks[0].node])
        assert all(abs(sympy.N(entry.subs(numbers), 30)) < 1e-20 for entry in difference), (layout, variable, vec)


@pytest.mark.parametrize("operation", EXAMPLES, ids=lambda each: each.name)
def test_rule_agrees_with_differences(operation: Operation) -> None:
    tape = read(operation.example)
    output = len(tape.names) - 1
    verification = verify(tape, output, range(tape.leaves), seed=5)
    assert verification, verification
    assert len(verification.comparisons) == 3 * tape.leaves


@pytest.mark.parametrize("function", list(ELEMENTWISE.values()), ids=lambda each: each.name)
def test_slope_equals_sympy(function: Elementwise) -> None:
    tape = read(f"z: 2 x 3; a = {function.name}(z)")
    (step,) = tape.steps
    assert (step.operation, step.name) == ("apply", function.name)
    arrays = Arrays(tape)
    slope = function.slope(arrays, 0, 1)
    t = sympy.Symbol("t", real=True)
    value = SYMPY.get(function.name, getattr(sympy, function.name, None))(t)  # type: ignore[misc]
    derivative = sympy.diff(value, t)
    for number in (Fraction(1, 3), Fraction(7, 5), Fraction(-5, 4), Fraction(-1, 7)):
        if function.name == "log" and number < 0:
            continue
        given = {0: [[number] * 3] * 2}
        symbolic = evaluate(arrays.steps, arrays.shapes, given, {}, Symbolic(), Opaque(), [slope])[slope]
        expected = derivative.subs(t, sympy.Rational(number.numerator, number.denominator))
        assert abs(sympy.N(symbolic[1][2] - expected, 30)) < 1e-25


@pytest.mark.parametrize("name", [operation.name for operation in EXAMPLES])
def test_wrong_rule_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = OPERATIONS[name]

    def wrong(at: At) -> list[Word]:
        return [word._replace(coefficient=word.coefficient * Fraction(100001, 100000)) for word in right.differential(at)]

    monkeypatch.setitem(operations.OPERATIONS, name, right._replace(differential=wrong))
    tape = read(right.example)
    assert not verify(tape, len(tape.names) - 1, range(tape.leaves), points=1)


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name != "sign"])
def test_wrong_slope_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ELEMENTWISE[name]

    def wrong(arrays: Arrays, z: int, a: int) -> int:
        return arrays.multiple(Fraction(100001, 100000), right.slope(arrays, z, a))

    monkeypatch.setitem(operations.ELEMENTWISE, name, right._replace(slope=wrong))
    assert not derive(f"z: 2 x 3; a = {name}(z)", wrt="z").verify()


def test_kinks_are_said() -> None:
    for function in ELEMENTWISE.values():
        notices = derive(f"z: 3; a = {function.name}(z)", wrt="z").notices
        told = [notice for notice in notices if function.name in notice and "is used there" in notice]
        assert len(told) == len(function.kinks)
        assert all(f"at {kink}; {function.convention} is" in notice for kink, notice in zip(function.kinks, told, strict=True))
