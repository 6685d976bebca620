"""Elementary linear maps between arrays, and their products: what differentials are made of.

Each kind says how it acts on an increment, what its adjoint is, and what its matrix on ``vec`` (columns stacked) is:

================= ======================= ================= ===========================
kind              acts on dX (m x n)      adjoint           matrix on ``vec``
================= ======================= ================= ===========================
``left`` A        A dX                    ``left`` Aᵀ       I ⊗ A
``right`` B       dX B                    ``right`` Bᵀ      Bᵀ ⊗ I
``hadamard`` M    M ⊙ dX                  itself            diag(vec M)
``times`` s       s dX                    itself            s I
``transposition`` dXᵀ                     of n x m          K
``inner`` A       tr(Aᵀ dX)               ``spread`` A      vec(A)ᵀ
``spread`` A      A dX, dX a scalar       ``inner`` A       vec A
``reshape``       the same entries        its inverse       I
``diag``          diag(dX), dX a column   ``diagonal``      E
``diagonal``      the diagonal of dX      ``diag``          Eᵀ
``softmax`` P     see below               itself            diag(p) - p pᵀ
``jacobian`` J    J vec dX, reshaped      ``jacobian`` Jᵀ   J
================= ======================= ================= ===========================

Source: Magnus & Neudecker, Matrix Differential Calculus, chapters 2, 3 and 9; Elliott, The simple essence of automatic
differentiation (2018), for maps that are kept as words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.arrays import ONE, Arrays, size_product
from jacobian_chain.tape import SCALAR, Shape


class Elementary(NamedTuple):
    """One map from arrays of shape ``domain`` to arrays of shape ``codomain``; ``node`` is its A, B, M, s, P or J."""

    kind: str
    domain: Shape
    codomain: Shape
    node: int = -1


class Word(NamedTuple):
    """``coefficient`` times a product of maps, the leftmost acting last; no maps are the identity."""

    maps: tuple[Elementary, ...]
    coefficient: Fraction = ONE


class Kind(NamedTuple):
    """How a kind of map acts, what it is the adjoint of, and what its matrix is."""

    act: Callable[[Arrays, Elementary, int], int]
    adjoint: Callable[[Arrays, Elementary], tuple[str, int]]
    matrix: Callable[[Arrays, Elementary], int]


def _entries(shape: Shape) -> str:
    return size_product(shape.rows, shape.columns)


def _itself(arrays: Arrays, map_: Elementary) -> tuple[str, int]:
    return map_.kind, map_.node


def _transposed(arrays: Arrays, map_: Elementary) -> tuple[str, int]:
    return map_.kind, arrays.transpose(map_.node)


def _act_times(arrays: Arrays, map_: Elementary, increment: int) -> int:
    """The multiple s dX; of two scalars the increment stands first, as in the product of a chain rule."""
    both = (increment, map_.node) if map_.domain == SCALAR else (map_.node, increment)
    return arrays.scale(*both)


def _act_softmax(arrays: Arrays, map_: Elementary, increment: int) -> int:
    """P ⊙ (dX - sums of P ⊙ dX), for a column (diag(p) - p pᵀ) dx; what cancels in P ⊙ dX is taken apart."""
    values = map_.node
    shape = map_.domain
    weighted = arrays.hadamard((values, increment))
    cancels = not _mentions(arrays, weighted, values)
    if shape.columns == "1":
        if not cancels:
            return arrays.product((_softmax_matrix(arrays, values), increment))
        total = arrays.product((arrays.ones(Shape("1", shape.rows)), weighted))
        return arrays.gather([(ONE, weighted), (-ONE, arrays.scale(total, values))], shape)
    rows = arrays.steps[values].name == "rows"
    if rows:
        one, row = arrays.ones(Shape(shape.columns, "1")), arrays.ones(Shape("1", shape.columns))
        sums = [weighted, one, row]
    else:
        one, row = arrays.ones(Shape(shape.rows, "1")), arrays.ones(Shape("1", shape.rows))
        sums = [one, row, weighted]
    if cancels:  # the sums first: a label's are 1
        total = arrays.product((weighted, one)) if rows else arrays.product((row, weighted))
        spread = arrays.product((total, row) if rows else (one, total))
        return arrays.gather([(ONE, weighted), (-ONE, arrays.hadamard((values, spread)))], shape)
    centered = arrays.sum([(ONE, increment), (-ONE, arrays.product(sums))], shape)
    return arrays.hadamard((values, centered))


def _mentions(arrays: Arrays, node: int, factor: int) -> bool:
    """Whether a factor of an entrywise product is ``factor``."""
    core = arrays.split(node)[1]
    while arrays.view(core).operation == "scale":
        core = arrays.view(core).inputs[1]
    step = arrays.view(core)
    factors = step.inputs if step.operation == "hadamard" else (core,)
    bases = [arrays.view(each).inputs[0] if arrays.view(each).operation == "power" else each for each in factors]
    return factor in bases


def _softmax_matrix(arrays: Arrays, values: int) -> int:
    """diag(p) - p pᵀ."""
    outer = arrays.product((values, arrays.transpose(values)))
    return arrays.sum([(ONE, arrays.diag(values)), (-ONE, outer)], arrays.shapes[outer])


def _matrix_softmax(arrays: Arrays, map_: Elementary) -> int:
    (rows, columns), values = map_.domain, map_.node
    if "1" in map_.domain:
        return _softmax_matrix(arrays, arrays.vec(values))
    diagonal = arrays.diag(arrays.vec(values))
    if arrays.steps[values].name == "rows":
        sums = arrays.kron(arrays.ones(Shape(columns, columns)), arrays.identity(rows))
    else:
        sums = arrays.kron(arrays.identity(columns), arrays.ones(Shape(rows, rows)))
    return arrays.sum([(ONE, diagonal), (-ONE, arrays.product((diagonal, sums, diagonal)))], arrays.shapes[diagonal])


KINDS = {
    "left": Kind(lambda a, e, d: a.product((e.node, d)), _transposed, lambda a, e: a.kron(a.identity(e.domain.columns), e.node)),
    "right": Kind(lambda a, e, d: a.product((d, e.node)), _transposed, lambda a, e: a.kron(a.transpose(e.node), a.identity(e.domain.rows))),
    "hadamard": Kind(lambda a, e, d: a.hadamard((d, e.node)), _itself, lambda a, e: a.diag(a.vec(e.node))),
    "times": Kind(_act_times, _itself, lambda a, e: a.scale(e.node, a.identity(_entries(e.domain)))),
    "transposition": Kind(lambda a, e, d: a.transpose(d), _itself, lambda a, e: a.commutation(e.domain.rows, e.domain.columns)),
    "inner": Kind(lambda a, e, d: a.inner(e.node, d), lambda a, e: ("spread", e.node), lambda a, e: a.transpose(a.vec(e.node))),
    "spread": Kind(lambda a, e, d: a.scale(d, e.node), lambda a, e: ("inner", e.node), lambda a, e: a.vec(e.node)),
    "reshape": Kind(lambda a, e, d: a.reshape(a.vec(d), e.codomain), _itself, lambda a, e: a.identity(_entries(e.domain))),
    "diag": Kind(lambda a, e, d: a.diag(d), lambda a, e: ("diagonal", -1), lambda a, e: a.embedding(e.domain.rows)),
    "diagonal": Kind(lambda a, e, d: a.diagonal(d), lambda a, e: ("diag", -1), lambda a, e: a.transpose(a.embedding(e.domain.rows))),
    "softmax": Kind(_act_softmax, _itself, _matrix_softmax),
    "jacobian": Kind(lambda a, e, d: a.reshape(a.product((e.node, a.vec(d))), e.codomain), _transposed, lambda a, e: e.node),
}
"""The kinds of maps by name."""


def act(arrays: Arrays, words: Iterable[Word], increment: int, codomain: Shape) -> int:
    """The image of an increment under a sum of words."""
    terms = []
    for word in words:
        node = increment
        for map_ in reversed(word.maps):
            node = KINDS[map_.kind].act(arrays, map_, node)
        terms.append((word.coefficient, node))
    return arrays.sum(terms, codomain) if len(terms) != 1 else arrays.multiple(*terms[0])


def pull(arrays: Arrays, word: Word, adjoint: int) -> int:
    """The image under the adjoint of a word: the maps' adjoints in reversed order."""
    for map_ in word.maps:
        kind, node = KINDS[map_.kind].adjoint(arrays, map_)
        adjoint = KINDS[kind].act(arrays, Elementary(kind, map_.codomain, map_.domain, node), adjoint)
    return adjoint if word.coefficient is ONE else arrays.multiple(word.coefficient, adjoint)


def matrix(arrays: Arrays, words: Iterable[Word], domain: Shape, codomain: Shape) -> int:
    """The matrix on ``vec`` of a sum of words."""
    terms = []
    for word in words:
        factors = [KINDS[map_.kind].matrix(arrays, map_) for map_ in word.maps]
        terms.append((word.coefficient, arrays.product(factors) if factors else arrays.identity(_entries(domain))))
    if domain == codomain == SCALAR:
        return arrays.sum(terms, SCALAR)
    return arrays.sum(terms, Shape(_entries(codomain), _entries(domain)))
