"""Random compositions of concrete layers: every block in every layout equals the witness, exactly or to 30 digits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from jacobian_chain import dense
from jacobian_chain.blocks import derive_concrete
from jacobian_chain.dense import RATIONALS, Dense, precise
from jacobian_chain.errors import Source
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.numeric import Opaque, evaluate
from jacobian_chain.reading import read_composition
from jacobian_chain.verification import arrange
from tests.concrete import make

CASES = 300
CHUNK = 20


def largest_error(found: Dense, expected: Dense) -> Any:
    assert dense.size(found) == dense.size(expected)
    pairs = list(zip(dense.entries(found), dense.entries(expected), strict=True))
    scale = max([1, *(abs(entry) for _, entry in pairs)])
    return max(abs(one - other) for one, other in pairs) / scale


@pytest.mark.parametrize("start", range(0, CASES, CHUNK))
def test_blocks_equal_the_witness(start: int) -> None:
    for seed in range(start, start + CHUNK):
        case = make(seed)
        tape = read_composition(Source(case.text)).tape
        output = tape.index(case.output)
        assert output is not None, case.text
        numbers = RATIONALS if case.rational else precise(50)
        leaves = {
            value: [[numbers.from_fraction(Fraction(entry)) for entry in row] for row in case.point[name]]
            for value, name in enumerate(tape.names[: tape.leaves])
        }
        expected = case.jacobian(case.point)
        for name in case.variables:
            value = tape.index(name)
            assert value is not None, case.text
            of, by = (tuple(int(side) for side in tape.shapes[each]) for each in (output, value))
            jacobian = [[numbers.convert(entry) for entry in row] for row in expected[name]]
            for layout in LAYOUTS.values():
                for vec in (False, True):
                    derivation = derive_concrete(tape, output, [value], layout, vec)
                    arrays, node = derivation.arrays, derivation.blocks[0].node
                    found = evaluate(arrays.steps, arrays.shapes, leaves, {}, numbers, Opaque(), [node], tape.functions)[node]
                    wanted = arrange(jacobian, of, by, layout.name, vec)  # type: ignore[arg-type]
                    error = largest_error(found, wanted)
                    assert error == 0 if case.rational else error < 1e-25, (seed, case.text, name, layout.name, vec)
