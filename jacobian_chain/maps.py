"""Linear maps: elementary ones, and their sums and products as a flat list of nodes.

A derivative is a linear map between increments. It is kept as nodes in one tuple, children before parents, so that a
hundred thousand factors nest without recursion and a prefix that many blocks have in common is stored once. A product
stands in the order of matrix multiplication: the map that acts last is on the left.

===========  =============================================  =======================================
kind         acts on an increment                           matrix on ``vec``
===========  =============================================  =======================================
``partial``  the Jacobian of step ``of`` in slot ``by``     J
``total``    d value ``of`` / d value ``by``, a name        the Jacobian that the name stands for
``multiple`` c dx                                           c I
``times``    λ dx, with λ the scalar value ``of``           λ I
``scale``    A ds, with A the value ``of``, ds a scalar     vec A
``identity`` dx                                             I
``zero``     0                                              0
``sum``      of ``args``                                    sum
``product``  of ``args``                                    product
``joint``    the Jacobian of values by values, a name       blocks, number ``of`` among the joint symbols
``matrix``   blocks, ``of`` rows of them                    ``args`` row by row
===========  =============================================  =======================================

``scalar`` says of a sum that it acts on single numbers, so that its identity is the number 1.

``adjoint`` on an elementary map is its transpose (Magnus & Neudecker, Matrix Differential Calculus, chapter 9, for the
identification of differentials with Jacobians).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import LimitError

ONE = Fraction(1)


class Joint(NamedTuple):
    """The derivative of the values ``of``, below each other, by the values ``by``; ``direct`` is that of one step in its slots."""

    of: tuple[int, ...]
    by: tuple[int, ...]
    direct: bool = False


class Map(NamedTuple):
    """One node; which fields mean something depends on ``kind`` (see the table above)."""

    kind: str
    of: int = 0
    by: int = 0
    coefficient: Fraction = ONE
    args: tuple[int, ...] = ()
    adjoint: bool = False
    scalar: bool = False


IDENTITY, ZERO = 0, 1
"""Indices of the identity and of zero in every list of nodes."""


class Arena:
    """Collects nodes and simplifies what needs no thought: I and 0 in products and sums, lone terms, equal terms."""

    def __init__(self) -> None:
        self.maps: list[Map] = []
        self._index: dict[tuple[object, ...], int] = {}
        for kind in ("identity", "zero"):
            self.add(Map(kind))

    def add(self, node: Map) -> int:
        """The index of a node, new or known."""
        key = node[:3] + node[4:] if node.coefficient is ONE else node  # hashing a fraction is slow
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.maps)
            self.maps.append(node)
        return index

    def append(self, node: Map) -> int:
        """The index of a node that is known to be new."""
        self.maps.append(node)
        return len(self.maps) - 1

    def multiple(self, coefficient: Fraction) -> int:
        """C I."""
        if coefficient == 1:
            return IDENTITY
        return self.add(Map("multiple", coefficient=coefficient)) if coefficient else ZERO

    def product(self, factors: Iterable[int]) -> int:
        """The product of nodes, leftmost acting last."""
        kept = tuple([factor for factor in factors if factor != IDENTITY])
        if ZERO in kept:
            return ZERO
        if len(kept) < 2:
            return kept[0] if kept else IDENTITY
        return self.append(Map("product", args=kept))

    def matrix(self, rows: Sequence[Sequence[int]]) -> int:
        """Blocks; one block is itself."""
        if len(rows) == len(rows[0]) == 1:
            return rows[0][0]
        return self.append(Map("matrix", len(rows), args=tuple(itertools.chain.from_iterable(rows))))

    def sum(self, terms: Iterable[int], scalar: bool) -> int:
        """The sum of nodes that act on arrays, or on single numbers."""
        kept = tuple([term for term in terms if term != ZERO])
        if len(set(kept)) < len(kept):
            counts = Counter(kept)
            kept = tuple([term if count == 1 else self.product((self.multiple(Fraction(count)), term)) for term, count in counts.items()])
        if len(kept) < 2:
            return kept[0] if kept else ZERO
        return self.add(Map("sum", args=kept, scalar=scalar))


def count_references(maps: Sequence[Map], roots: Iterable[int]) -> list[int]:
    """How often each node is used by the nodes that the roots reach, and by the roots themselves."""
    references = [0] * len(maps)
    for root in roots:
        references[root] += 1
    for index in range(len(maps) - 1, -1, -1):
        if references[index]:
            for arg in maps[index].args:
                references[arg] += 1
    return references


def factors(maps: Sequence[Map], root: int) -> Iterator[int]:
    """The factors of a product, nested products laid flat; a node that is no product is its own only factor.

    >>> arena = Arena()
    >>> a, b, c = (arena.add(Map("partial", k)) for k in range(3))
    >>> [index - 2 for index in factors(arena.maps, arena.product([arena.product([a, b]), c]))]
    [0, 1, 2]
    """
    stack = [root]
    while stack:
        index = stack.pop()
        node = maps[index]
        if node.kind == "product":
            stack.extend(reversed(node.args))
        else:
            yield index


def count_words(maps: Sequence[Map]) -> list[tuple[int, int]]:
    """For each node, how many words its expansion has and how many factors they have in all; nothing is expanded."""
    counts: list[tuple[int, int]] = []
    for node in maps:
        if node.kind == "sum":
            counts.append((sum(counts[arg][0] for arg in node.args), sum(counts[arg][1] for arg in node.args)))
        elif node.kind == "product":
            words, length = 1, 0
            for arg in node.args:
                more, longer = counts[arg]
                words, length = words * more, length * more + words * longer
            counts.append((words, length))
        else:
            counts.append((0, 0) if node.kind == "zero" else (1, 0 if node.kind == "identity" else 1))
    return counts


def expand(maps: Sequence[Map], roots: Sequence[int], scalar: Sequence[bool], limit: int) -> tuple[tuple[Map, ...], tuple[int, ...]]:
    """The nodes with every product of sums distributed: each root a sum of words, counted before anything is built.

    Raises:
        LimitError: the words would have more than ``limit`` factors.
    """
    counts = count_words(maps)
    total = sum(max(counts[root]) for root in roots)
    if total > limit:
        words = sum(counts[root][0] for root in roots)
        raise LimitError(
            f"expanding gives {_shown(words)} products with {_shown(total)} factors; the limit is {limit:,}",
            hint="leave --expand away for the factored form, or raise --max-factors",
        )
    needed = count_references(maps, roots)
    # a product inside of a product is laid flat with it; only those that stand alone or in a sum need words of their own
    whole = {*roots, *(arg for index, node in enumerate(maps) if needed[index] and node.kind == "sum" for arg in node.args)}
    words_of: list[list[tuple[int, ...]]] = []
    for index, node in enumerate(maps):
        if not needed[index] or node.kind == "zero" or (node.kind == "product" and index not in whole):
            words_of.append([])
        elif node.kind == "identity":
            words_of.append([()])
        elif node.kind == "sum":
            words_of.append([word for arg in node.args for word in words_of[arg]])
        elif node.kind == "product":
            choices = itertools.product(*(words_of[factor] for factor in factors(maps, index)))
            words_of.append([tuple(itertools.chain.from_iterable(parts)) for parts in choices])
        else:
            words_of.append([(index,)])
    arena = Arena()
    moved: dict[int, int] = {}
    expanded = []
    for root, acts_on_scalar in zip(roots, scalar, strict=True):
        terms = []
        for word in words_of[root]:
            for index in word:
                if index not in moved:
                    moved[index] = arena.add(maps[index])
            terms.append(arena.product(moved[index] for index in word))
        expanded.append(arena.sum(terms, acts_on_scalar))
    return tuple(arena.maps), tuple(expanded)


def _shown(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"about 10^{len(str(count)) - 1}"
