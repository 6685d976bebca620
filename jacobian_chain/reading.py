"""Text of a composition to its tape.

Two readers: one for unspecified layers, sums and multiples, where ranks stay open until all is read, and one for everything,
where shapes are known step by step and decide what a sign means.
"""

from __future__ import annotations

from jacobian_chain.assembly import Reading as Reading
from jacobian_chain.errors import Source
from jacobian_chain.layers import Layers, is_of_layers
from jacobian_chain.statements import Statements
from jacobian_chain.syntax import read_program


def read_composition(source: Source) -> Reading:
    """The tape of a composition's text.

    Raises:
        ReadingError: the text cannot be read, a name is bound twice or depends on itself, shapes do not fit.
        UnsupportedError: it can be read, but not derived.

    >>> tape = read_composition(Source("L2(L1(x, θ1), θ2)")).tape
    >>> tape.names
    ('x', 'θ1', 'θ2', '', 'f')
    >>> tape.steps[1]
    Step(operation='layer', name='L2', inputs=(3, 2), coefficients=())
    """
    statements = Statements(read_program(source))
    reading = Layers(statements).read() if is_of_layers(statements) else None
    if reading is not None:
        return reading
    from jacobian_chain.language import Language  # only where there is more than layers, which start faster without
    from jacobian_chain.survey import survey

    return Language(statements, survey(statements)).read()
