"""The identities of the Matrix Cookbook: derived, they equal the book's formulas exactly, and differences of the composition."""

from __future__ import annotations

from typing import Any

import pytest
import sympy

from jacobian_chain.blocks import derive_concrete, derive_second
from jacobian_chain.errors import Source
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.numeric import Opaque, evaluate
from jacobian_chain.reading import read_composition
from jacobian_chain.tape import Tape
from jacobian_chain.witness import verify
from tests.cookbook import IDENTITIES, OUTSIDE, SIZES, Identity, Values, as_matrix, check_oracle, is_zero, sample, vec
from tests.test_operations import Symbolic

BY_DEFINITION = [pytest.param(identity, id=f"{k}-{identity.number}") for k, identity in enumerate(IDENTITIES)]


def read(identity: Identity) -> tuple[Tape, int, int]:
    tape = read_composition(Source(identity.composition)).tape
    output, variable = tape.index("f"), tape.index(identity.wrt)
    assert output is not None
    assert variable is not None
    return tape, output, variable


def at_point(derivation: Any, matrices: dict[str, Any]) -> Any:
    """The first block at a point, exactly."""
    arrays = derivation.arrays
    tape = arrays.tape
    leaves = {value: matrices[tape.names[value]].tolist() for value in range(tape.leaves)}
    node = derivation.blocks[0].node
    found = evaluate(arrays.steps, arrays.shapes, leaves, SIZES, Symbolic(), Opaque(), [node], tape.functions)
    return sympy.Matrix(found[node])


@pytest.mark.parametrize("identity", BY_DEFINITION)
def test_identity_is_derived(identity: Identity) -> None:
    tape, output, variable = read(identity)
    matrices = sample(identity, 1)
    found = at_point(derive_concrete(tape, output, [variable], LAYOUTS[identity.layout]), matrices)
    expected = identity.derivative(matrices)
    if tape.shapes[variable].is_scalar and not identity.is_scalar:
        found = vec(found)
    assert found.shape == expected.shape
    assert is_zero(found - expected)
    if identity.hessian is not None:
        second = at_point(derive_second(tape, output, variable, variable), matrices)
        assert is_zero(second - as_matrix(identity.hessian(Values(matrices))))


@pytest.mark.parametrize("identity", BY_DEFINITION)
def test_identity_agrees_with_differences(identity: Identity) -> None:
    tape, output, variable = read(identity)
    assert verify(tape, output, [variable], points=1)


@pytest.mark.parametrize("identity", [IDENTITIES[k] for k in range(0, len(IDENTITIES), 9)], ids=str)
def test_the_book_is_right(identity: Identity) -> None:
    assert check_oracle(identity, 0)


def test_every_equation_of_the_chapter_is_accounted_for() -> None:
    numbers = {identity.number for identity in IDENTITIES} | set(OUTSIDE)
    assert [number for number in range(33, 145) if f"({number})" not in numbers] == []
