"""The prime field: its axioms, the identities of its models, slopes against the records of operations."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jacobian_chain import dense
from jacobian_chain.arrays import Arrays
from jacobian_chain.dense import ELEMENTWISE, Dense, DomainError, SingularError, Taylor
from jacobian_chain.errors import Source
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape
from jacobian_chain.operations import ELEMENTWISE as RECORDS
from jacobian_chain.reading import read_composition
from jacobian_chain.residues import ELEMENTARY, IDENTITIES, MODELS, PRIME, RESIDUES, Residue
from jacobian_chain.tape import SCALAR, Step, Tape

RESIDUE = st.integers(0, PRIME - 1).map(Residue)
HALF = Fraction(1, 2)


def drawn(seed: int, rows: int, columns: int) -> Dense:
    rng = random.Random(seed)
    return [[Residue(rng.randrange(PRIME)) for _ in range(columns)] for _ in range(rows)]


# --- the field ---


@given(RESIDUE, RESIDUE, RESIDUE, st.integers(-9, 9))
def test_axioms(a: Residue, b: Residue, c: Residue, n: int) -> None:
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + b == b + a
    assert a * b == b * a
    assert a - b == a + -b
    assert a - a == 0
    assert not a - a
    assert n + a == a + n == Residue(n) + a
    assert n - a == -(a - n) == Residue(n) - a
    assert n * a == a * n == Residue(n) * a
    assert hash(a + b - b) == hash(a)
    if b:
        assert a / b * b == a
        assert n / b == Residue(n) / b
        assert b**-2 * b**2 == 1
        assert b**n * b ** (9 - n) == b**9
    if n:
        assert a / n * n == a


def test_what_is_no_whole_number_stays_out() -> None:
    a = Residue(3)
    for operation in ("__add__", "__sub__", "__rsub__", "__mul__", "__truediv__", "__rtruediv__", "__pow__", "__eq__"):
        assert getattr(a, operation)(0.5) is NotImplemented


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(DomainError):
        1 / Residue(0)
    with pytest.raises(DomainError):
        Residue(1) / PRIME
    with pytest.raises(DomainError):
        Residue(0) ** -1
    with pytest.raises(DomainError):
        RESIDUES.from_fraction(Fraction(1, PRIME))


def test_fractions_are_quotients() -> None:
    assert RESIDUES.from_fraction(Fraction(-3, 7)) * 7 == -3
    assert RESIDUES.convert(0.75) * 4 == 3
    assert RESIDUES.convert(Residue(5)) == 5


# --- powers ---


@given(RESIDUE, RESIDUE)
def test_roots_of_squares(a: Residue, b: Residue) -> None:
    if a and b:
        root = RESIDUES.power(a * a, HALF)
        assert root * root == a * a
        assert RESIDUES.power(a * a * b * b, HALF) == root * RESIDUES.power(b * b, HALF)
        assert RESIDUES.power(a * a, -HALF) * root == 1
        assert RESIDUES.power(RESIDUES.power(root, HALF), Fraction(4)) == a * a
        assert RESIDUES.power(a**2, Fraction(1, 4)) == RESIDUES.power(root, HALF)
        with pytest.raises(DomainError):
            RESIDUES.power(-a * a, HALF)


def test_powers_that_are_not_in_the_field() -> None:
    assert RESIDUES.power(Residue(0), HALF) == 0
    for value, exponent in ((0, -HALF), (0, Fraction(-1)), (4, Fraction(1, 3))):
        with pytest.raises(DomainError):
            RESIDUES.power(Residue(value), exponent)
    assert RESIDUES.power(RESIDUES.constant("pi"), HALF) ** 2 == RESIDUES.constant("π")
    assert RESIDUES.power(Residue(4), Fraction(1, 17)) ** 17 == 4


# --- functions ---


def test_every_function_has_a_model() -> None:
    for name in ELEMENTWISE:
        assert isinstance(RESIDUES.apply(name, Residue(12345)), Residue)
    assert set(ELEMENTARY) == {"exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf", "erfc"}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_identities(identity: str) -> None:
    left, right = identity.split(" = ")
    text = f"u: scalar; v: scalar; p = u v; f = {left}; g = {right}"
    tape = read_composition(Source(text)).tape
    for seed in range(5):
        u, v = (entry * entry for entry in drawn(seed, 1, 2)[0])  # both have roots
        leaves = {leaf: [[{"u": u, "v": v}[tape.names[leaf]]]] for leaf in range(tape.leaves)}
        values = dict(zip(tape.names, evaluate_tape(tape, leaves, {}, RESIDUES, Opaque()), strict=True))
        assert values["f"] == values["g"]


@pytest.mark.parametrize(
    "identity", ["exp(u) = exp(v)", "relu(u) = u", "relu(-u) = -relu(u)", "abs(u) = u", "abs(u) = -u", "sign(u) = 1", "tanh(u) = u"]
)
def test_what_is_wrong_differs(identity: str) -> None:
    left, right = identity.split(" = ")
    tape = read_composition(Source(f"u: scalar; v: scalar; s = u + v; f = {left}; g = {right}")).tape
    for seed in range(5):
        values = evaluate_tape(tape, {0: drawn(seed, 1, 1), 1: drawn(seed + 9, 1, 1)}, {}, RESIDUES, Opaque())
        assert values[tape.index("f") or 0] != values[tape.index("g") or 0]


@pytest.mark.parametrize("name", RECORDS)
def test_slopes_are_those_of_the_records(name: str) -> None:
    """The derivative as numbers, and the formula of the record evaluated; the second by differentiating the formula's series."""
    tape = Tape(1, ("z", "a"), (Step("apply", name, (0,)),), (SCALAR, SCALAR))
    arrays = Arrays(tape)
    slope = RECORDS[name].slope(arrays, 0, 1)
    for seed in range(3):
        z = drawn(seed, 1, 1)[0][0]
        found = evaluate(arrays.steps, arrays.shapes, {0: [[z]]}, {}, RESIDUES, Opaque(), [slope])[slope]
        assert found == [[RESIDUES.apply(name, z, 1)]]
        series = Taylor(RESIDUES, 1)
        bent = evaluate(arrays.steps, arrays.shapes, {0: [[series.variable(z)]]}, {}, series, Opaque(), [slope])[slope]
        assert bent[0][0].coefficients == (RESIDUES.apply(name, z, 1), RESIDUES.apply(name, z, 2))


@pytest.mark.parametrize("name", MODELS)
def test_functions_with_two_branches_show_neither(name: str) -> None:
    """A lost slope is seen, whatever is drawn: slopes are neither 0 nor 1."""
    slopes = {RESIDUES.apply(name, z, name not in ("sign", "step")).value for z in drawn(4, 1, 20)[0]}
    assert len(slopes) == 20
    assert not slopes & {0, 1, PRIME - 1}


def test_models_are_the_same_from_run_to_run() -> None:
    assert RESIDUES.apply("exp", Residue(1)) == RESIDUES.constant("e") == 804878873340458962
    assert RESIDUES.apply("relu", Residue(1)) == 2014582201303473968


# --- linear algebra ---


def test_inverse_and_determinant() -> None:
    a, b = drawn(1, 4, 4), drawn(2, 4, 4)
    assert dense.product(a, dense.inverse(a, RESIDUES)) == dense.identity(4, RESIDUES)
    assert dense.det(dense.product(a, b), RESIDUES) == dense.det(a, RESIDUES) * dense.det(b, RESIDUES)
    assert dense.logdet(a, RESIDUES) == RESIDUES.apply("log", RESIDUES.apply("abs", dense.det(a, RESIDUES)))
    with pytest.raises(SingularError):
        dense.inverse([a[0][:2], a[0][:2]], RESIDUES)


def test_softmax_is_a_quotient_of_exp() -> None:
    z = drawn(3, 2, 3)
    powers = dense.each(lambda entry: RESIDUES.apply("exp", entry), z)
    assert dense.softmax(z, RESIDUES, "rows") == [[power / sum(row, Residue(0)) for power in row] for row in powers]
    assert dense.logsumexp(z, RESIDUES) == RESIDUES.apply("log", sum(dense.entries(powers), Residue(0)))


def test_layernorm_is_normal() -> None:
    for seed in range(20):
        try:
            (values,) = dense.layernorm(drawn(seed, 1, 4), RESIDUES)
        except DomainError:
            continue  # the variance is no square
        assert sum(values, Residue(0)) == 0
        assert sum((value * value for value in values), Residue(0)) == 4
        return
    pytest.fail("no variance is a square")
