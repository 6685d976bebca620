"""In which order a chain of matrices is multiplied with the fewest multiplications: dynamic programming over its contiguous parts.

The cheapest way of multiplying the factors i … j - 1 splits them at some k, and multiplies both sides in their cheapest way:

    C(i, j) = min over k of C(i, k) + C(k, j) + d_i d_k d_j

for factors of d_0 x d_1, d_1 x d_2, … (Godbole, 1973; for Jacobians of a chain Griewank & Naumann, Accumulating Jacobians as
chained sparse matrix products, 2003). A factor that is mostly zeros and ones says how many of its entries are neither; with f of them
in place of the d_i d_k of a full matrix, a product takes f_left f_right / d_k multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Tree = tuple[tuple[int, int, int], ...]
"""Splits (i, k, j) of a bracketing: the factors i … k - 1 times the factors k … j - 1, parts before what is made of them."""


class Bracketing(NamedTuple):
    """A bracketing of a whole chain: how many multiplications it takes, and its splits."""

    cost: int
    splits: Tree


class Chain:
    """The best bracketings of all contiguous parts of a chain of matrices that grows and shrinks at its right end.

    Args:
        rows: of the first factor.

    Attributes:
        sizes: the rows of each factor, and the columns of the last.
    """

    def __init__(self, rows: int) -> None:
        self.sizes = [rows]
        self._costs: list[list[int]] = []  # of each first factor i the costs of i … j - 1 for j = i + 1, i + 2, …
        self._filled: list[list[int]] = []  # likewise the entries of the products that have to be multiplied
        self._splits: list[list[int]] = []  # for each j, by i

    def __len__(self) -> int:
        return len(self._splits)

    def append(self, columns: int, filled: int | None = None) -> None:
        """One more factor; of its entries ``filled`` are not constant, by default all."""
        costs, splits, entries = self._column(columns, filled)
        self._costs.append([])
        self._filled.append([])
        for i, (cost, entry) in enumerate(zip(costs, entries, strict=True)):
            self._costs[i].append(cost)
            self._filled[i].append(entry)
        self._splits.append(splits)
        self.sizes.append(columns)

    def truncate(self, length: int) -> None:
        """Keep only the first factors."""
        for i in range(length):
            del self._costs[i][length - i :], self._filled[i][length - i :]
        del self._costs[length:], self._filled[length:], self._splits[length:], self.sizes[length + 1 :]

    def best_with(self, columns: int, filled: int | None = None) -> Bracketing:
        """The best bracketing of the chain with one more factor, which is not kept."""
        costs, splits, _ = self._column(columns, filled)
        return Bracketing(costs[0], self._tree([*self._splits, splits]))

    def best(self) -> Bracketing:
        """The best bracketing of the whole chain."""
        return Bracketing(self._costs[0][-1] if self._costs else 0, self._tree(self._splits))

    def _column(self, columns: int, filled: int | None) -> tuple[list[int], list[int], list[int]]:
        """Costs, splits and entries of the parts that end with a further factor, by their first factor."""
        sizes = self.sizes
        j = len(sizes)
        entries = [size * columns for size in sizes]
        if filled is not None:
            entries[-1] = filled
        costs, splits = [0] * j, [j] * j
        for i in range(j - 2, -1, -1):
            candidates = [
                left + right + one * other // size
                for left, right, one, other, size in zip(
                    self._costs[i], costs[i + 1 :], self._filled[i], entries[i + 1 :], sizes[i + 1 :], strict=True
                )
            ]
            costs[i] = min(candidates)
            splits[i] = i + 1 + candidates.index(costs[i])
        return costs, splits, entries

    @staticmethod
    def _tree(splits: Sequence[Sequence[int]]) -> Tree:
        found = []
        stack = [(0, len(splits))]
        while stack:
            i, j = stack.pop()
            if j - i > 1:
                k = splits[j - 1][i]
                found.append((i, k, j))
                stack += ((i, k), (k, j))
        return tuple(found[::-1])


def bracket(sizes: Sequence[int], filled: Sequence[int] | None = None) -> Bracketing:
    """The fewest multiplications for a product of matrices of d_0 x d_1, d_1 x d_2, …, and a bracketing that takes no more.

    Args:
        sizes: d_0, d_1, …, one more than there are factors.
        filled: for each factor how many of its entries are neither 0 nor 1 nor another constant; by default all.

    >>> bracket([10, 100, 5, 50])
    Bracketing(cost=7500, splits=((0, 1, 2), (0, 2, 3)))
    """
    chain = Chain(sizes[0])
    for k, columns in enumerate(sizes[1:]):
        chain.append(columns, None if filled is None else filled[k])
    return chain.best()


def from_left(count: int) -> Tree:
    """The splits of ``((A B) C) …``."""
    return tuple([(0, k, k + 1) for k in range(1, count)])


def from_right(count: int) -> Tree:
    """The splits of ``… (A (B C))``."""
    return tuple([(k, k + 1, count) for k in range(count - 2, -1, -1)])
