"""Matrix operations in the order in which they are done: how many multiplications they take, and how many numbers are held.

The model. A multiplication is counted where two numbers are multiplied neither of which is a constant: an m x k by k x n product
takes m k n, a scalar times a matrix or an entrywise product one for each entry; zeros, ones and numbers of the formula are free,
and so are additions. What is made by an operation is held from then on until the last operation that needs it is done; what is
``given`` (a local Jacobian is made where it is used) takes no room of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.bracketing import Chain, Tree, from_left, from_right

ONE = Fraction(1)

MAX_FACTORS = 150
"""Most factors of a chain whose best bracketing is searched for."""

MAX_SEARCHED = 1_500_000
"""Most splits that are compared in all."""


class Operation(NamedTuple):
    """One operation on matrices.

    ``given``     a matrix from elsewhere, ``source`` says which
    ``identity``  the identity, or the multiple of it in ``coefficients``
    ``constant``  any other array of constants, ``source`` says which
    ``keep``      a copy of a given matrix, to be held
    ``product``   of two matrices;  ``scale``  of a scalar and a matrix;  ``sum``  with ``coefficients``;  ``hadamard``
    ``power``     of every entry, with the exponent in ``coefficients``
    ``rows``      the column of the products of each row of the first with the same column of the second;  ``traced``  their sum
    ``view``      the same entries in another arrangement, ``source`` says which
    ``join``      the sum of matrices some of whose columns belong to the same variables, ``groups`` says which those are
    ``value``     a value of the composition, ``source``
    ``other``     anything else, ``source`` says what

    Attributes:
        kind: as above.
        inputs: the operations whose results it takes.
        rows: of the result.
        columns: of the result.
        filled: how many entries of the result are not constant.
        multiplications: how many it takes.
        source: what a kind needs to know.
        coefficients: of a sum or of the identity, or an exponent.
        groups: of a joined matrix, one tuple for each input: the variables whose columns it has, in order.
        repeat: how often it is done, each time for another row of the output or column of a variable.
    """

    kind: str
    inputs: tuple[int, ...]
    rows: int
    columns: int
    filled: int
    multiplications: int = 0
    source: int = -1
    coefficients: tuple[Fraction, ...] = ()
    groups: tuple[int, ...] = ()
    repeat: int = 1


class Work(NamedTuple):
    """What some operations take together: multiplications, and the most numbers that are held at once."""

    multiplications: int
    memory: int


_HELD_ELSEWHERE = frozenset({"given", "identity", "constant", "view"})


def _is_sparse(made: Operation) -> bool:
    """Whether a matrix has constants among its entries and others, too."""
    return 0 < made.filled < made.rows * made.columns


def _is_diagonal(made: Operation) -> bool:
    """Whether a matrix is known to be diagonal."""
    return made.kind == "identity" or (made.rows == made.columns and 0 < made.filled <= made.rows)


class Plan:
    """Operations, each after those whose results it takes."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.searched = 0
        self.unsearched = 0  # chains that were too long

    def add(self, operation: Operation) -> int:
        """The index of a new operation; it is done as often as what it takes."""
        known = self.operations
        repeat = max([operation.repeat, *[known[source].repeat for source in operation.inputs]])
        if repeat != operation.repeat:
            operation = operation._replace(repeat=repeat)
        known.append(operation)
        return len(known) - 1

    def given(self, source: int, rows: int, columns: int, filled: int | None = None, inputs: tuple[int, ...] = (), repeat: int = 1) -> int:
        """A matrix from elsewhere."""
        return self.add(Operation("given", inputs, rows, columns, rows * columns if filled is None else filled, 0, source, repeat=repeat))

    def identity(self, size: int, multiple: Fraction = ONE) -> int:
        """A multiple of the identity with a number."""
        return self.add(Operation("identity", (), size, size, 0, 0, -1, (multiple,)))

    def keep(self, source: int) -> int:
        """A result that is held: a given matrix is copied."""
        made = self.operations[source]
        if made.kind != "given":
            return source
        return self.add(Operation("keep", (source,), made.rows, made.columns, made.filled))

    def product(self, left: int, right: int) -> int:
        """The matrix product; with 1 x 1 on one side only, a multiple."""
        one, other = self.operations[left], self.operations[right]
        if one.columns != other.rows:
            raise ValueError(f"{one.rows} x {one.columns} times {other.rows} x {other.columns}")
        count = one.filled * other.filled // one.columns
        filled = one.rows * other.columns
        if not one.filled and not other.filled:
            filled = 0
        elif "identity" in (one.kind, other.kind):
            filled = one.filled or other.filled
        elif _is_sparse(one) and _is_sparse(other):
            filled = min(filled, count)
        return self.add(Operation("product", (left, right), one.rows, other.columns, filled, count))

    def scale(self, scalar: int, matrix: int) -> int:
        """A scalar times a matrix."""
        factor, made = self.operations[scalar], self.operations[matrix]
        filled = made.filled or (min(made.rows, made.columns) if made.kind == "identity" else made.rows * made.columns)
        count = made.filled if factor.filled else 0
        return self.add(Operation("scale", (scalar, matrix), made.rows, made.columns, filled if factor.filled else made.filled, count))

    def sum(self, terms: Sequence[tuple[Fraction, int]], rows: int, columns: int) -> int:
        """A linear combination with numbers."""
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        known = [self.operations[term] for _, term in terms]
        if all(term.kind == "identity" for term in known):
            return self.identity(rows, sum((terms[k][0] * term.coefficients[0] for k, term in enumerate(known)), start=Fraction(0)))
        if len(terms) == 1 or all(_is_diagonal(term) for term in known):
            filled = max(term.filled for term in known)
        else:
            filled = rows * columns if any(term.filled for term in known) else 0
        inputs, coefficients = tuple([term for _, term in terms]), tuple([coefficient for coefficient, _ in terms])
        return self.add(Operation("sum", inputs, rows, columns, filled, 0, -1, coefficients))

    def multiply(self, factors: Sequence[int]) -> int:
        """The product of a chain, bracketed in the cheapest way; a very long one from the cheaper end."""
        if len(factors) < 3:
            return self.product(*factors) if len(factors) == 2 else factors[0]
        known = [self.operations[factor] for factor in factors]
        count = len(factors)
        steps = count**3 // 6
        trees = [from_left(count), from_right(count)]
        if count <= MAX_FACTORS and self.searched + steps <= MAX_SEARCHED:
            self.searched += steps
            chain = Chain(known[0].rows)
            for factor in known:
                chain.append(factor.columns, factor.filled)
            trees.insert(0, chain.best().splits)
        else:
            self.unsearched += 1
        return self.build(factors, min(trees, key=lambda tree: self.price(lambda: self.build(factors, tree))))

    def price(self, make: Callable[[], object]) -> int:
        """What some operations would take; they are not kept."""
        before = len(self.operations)
        make()
        count = sum(made.multiplications for made in self.operations[before:])
        del self.operations[before:]
        return count

    def build(self, factors: Sequence[int], tree: Tree) -> int:
        """The product of a chain in a bracketing."""
        made = {(k, k + 1): factor for k, factor in enumerate(factors)}
        for i, k, j in tree:
            made[i, j] = self.product(made.pop((i, k)), made.pop((k, j)))
        return made[0, len(factors)]

    def held(self, index: int) -> int:
        """How many numbers the result of an operation is."""
        made = self.operations[index]
        return 0 if made.kind in _HELD_ELSEWHERE else made.filled * made.repeat

    def count(self, indices: Iterable[int]) -> int:
        """The multiplications of some operations."""
        known = self.operations
        return sum([known[index].multiplications * known[index].repeat for index in indices])

    def reach(self, roots: Iterable[int], ends: Collection[int] = ()) -> list[int]:
        """The operations that some results need, in order; what ``ends`` need is left out, and they are, too."""
        found: set[int] = set()
        stack = list(roots)
        while stack:
            index = stack.pop()
            if index not in found:
                found.add(index)
                stack += [source for source in self.operations[index].inputs if source not in ends]
        return sorted(found)

    def peak(self, order: Sequence[int], results: Collection[int] = (), begin: Sequence[int] = ()) -> int:
        """The most numbers that are held while operations are done in an order; results are held to the end.

        Args:
            order: the operations.
            results: what is wanted of them.
            begin: earlier results that are there at the beginning.
        """
        known = self.operations
        position = {index: place for place, index in enumerate(order)}
        until: dict[int, int] = {}
        for place in range(len(order) - 1, -1, -1):
            index = order[place]
            end = place
            if known[index].kind == "view":  # what it shows is held as long
                end = len(order) - 1 if index in results else until.get(index, place)
            for source in known[index].inputs:
                if until.get(source, -1) < end:
                    until[source] = end
        endings: list[list[int]] = [[] for _ in order]
        for index in (*begin, *order):
            if index not in results:
                endings[until.get(index, position.get(index, 0))].append(index)
        live = sum([self.held(index) for index in begin])
        most = live
        for place, index in enumerate(order):
            live += self.held(index)
            if live > most:
                most = live
            for gone in endings[place]:
                live -= self.held(gone)
        return most

    def together(self, roots: Sequence[int], order: Sequence[int] | None = None) -> Work:
        """What some results take when every operation is done once."""
        order = self.reach(roots) if order is None else order
        return Work(self.count(order), self.peak(order, set(roots)))


class Alone(NamedTuple):
    """What results take, each with everything that it needs, when nothing else is done.

    Attributes:
        work: by operation, for the results that were asked for and their bases.
        bases: by operation, one from which on it needs nothing that was made before that one; -1 for the beginning.
        between: by operation, what is done after its base, itself included; where that is the beginning only for those with work.
    """

    work: dict[int, Work]
    bases: list[int]
    between: list[list[int]]

    def visits(self, roots: Iterable[int]) -> list[int]:
        """How often each operation is done when every root is made by itself."""
        begun = [0] * len(self.bases)
        visits = [0] * len(self.bases)
        for root in roots:
            begun[root] += 1
        for index in range(len(self.bases) - 1, -1, -1):
            times = begun[index]
            if times:
                for inner in self.between[index]:
                    visits[inner] += times
                if self.bases[index] >= 0:
                    begun[self.bases[index]] += times
        return visits


def alone(plan: Plan, roots: Iterable[int]) -> Alone:
    """What each root takes by itself, in linear time where few results are needed far away from where they were made.

    An operation is counted from its base on: an earlier one that it needs, such that nothing which that one needs is needed again.
    """
    known = plan.operations
    free = [made.kind in ("given", "identity", "constant") for made in known]
    reaches: list[int] = []
    found = Alone({}, [], [])
    for index, made in enumerate(known):
        reach = 0
        for source in made.inputs:
            if not free[source]:
                reach |= reaches[source] | 1 << source
        reaches.append(reach)
        base = max([source for source in made.inputs if not free[source]], default=-1)
        between: list[int] | None = None
        while between is None:
            while base >= 0 and known[base].kind == "view":
                base = found.bases[base]
            # from the beginning it is everything: found below where it is asked for
            between = _walk(plan, index, base, reaches[base], free) if base >= 0 else []
            if between is None:
                base = found.bases[base]
        found.bases.append(base)
        found.between.append(between)
    wanted = bytearray(len(known))
    for root in roots:
        wanted[root] = 1
    for index in range(len(known) - 1, -1, -1):
        if wanted[index] and found.bases[index] >= 0:
            wanted[found.bases[index]] = 1
    for index, (base, between) in enumerate(zip(found.bases, found.between, strict=True)):
        if not wanted[index]:
            continue
        if base < 0:
            between += _walk(plan, index, -1, 0, free) or ()
        work = Work(plan.count(between), plan.peak(between, (index,), (base,) if base >= 0 else ()))
        if base >= 0:
            before = found.work[base]
            work = Work(before.multiplications + work.multiplications, max(before.memory, work.memory))
        found.work[index] = work
    return found


def _walk(plan: Plan, index: int, base: int, inside: int, free: Sequence[bool]) -> list[int] | None:
    """What an operation needs after a base, None where it needs something that the base needs, too."""
    found = {index}
    stack = [index]
    while stack:
        for source in plan.operations[stack.pop()].inputs:
            if source == base or free[source] or source in found:
                continue
            if inside >> source & 1:
                return None
            found.add(source)
            stack.append(source)
    return sorted(found)
