"""Equality of sums of products that are too long to be written out, by their values at random places in a prime field.

A word a b c becomes the product x(a, 0) x(b, 1) x(c, 2) of random numbers, one for each letter at each position: different words are
then different monomials, so that equal values mean equal sums but for an error of at most degree / p (Schwartz 1980, Zippel 1979; words
told apart by positions: Raz & Shpilka, Deterministic polynomial identity testing in non-commutative models, 2005). A row of numbers,
one for each length of word so far, is carried through the expression from the left, in time the number of factors times the longest
word.

Where a product passes through a single number, the row is gathered into one and begins anew. What differs here may then be equal after
all, because a number is its own transpose; :func:`differ_surely` tells.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.answer import Answer
from jacobian_chain.errors import LimitError
from jacobian_chain.evaluate import Setting
from jacobian_chain.problem import Part, Problem

PRIME = 2**61 - 1
"""The field's size."""

MAX_STEPS = 6_000_000
"""Most numbers that are multiplied in one comparison."""

MAX_DEPTH = 100
"""Most products in each other that hold blocks."""

_Row = tuple[int, ...]


class _Node(NamedTuple):
    """A part of the answer or of the problem, transposed or not."""

    known: bool
    part: int
    transposed: bool


class _Product(NamedTuple):
    """Nodes one after the other."""

    nodes: tuple[_Node, ...]


class Place:
    """One random place, the same for all that is compared, and how much work is left."""

    def __init__(self, seed: int, steps: int = MAX_STEPS) -> None:
        self.left = steps
        self._random = random.Random(seed)
        self._weights: dict[tuple[int, int], int] = {}

    def weight(self, code: int, position: int) -> int:
        """The random number of a letter at a position."""
        weight = self._weights.get((code, position))
        if weight is None:
            weight = self._weights[code, position] = self._random.randrange(1, PRIME)
        return weight

    def spend(self, steps: int) -> None:
        """Take from what is left.

        Raises:
            LimitError: there is nothing left.
        """
        self.left -= steps
        if self.left < 0:
            raise LimitError(f"comparing this answer takes more than {MAX_STEPS:,} multiplications")


class Fingerprints:
    """Values of parts at one random place.

    Attributes:
        degree: the longest word met so far.
    """

    def __init__(self, problem: Problem, answer: Answer, setting: Setting, turned: bool, place: Place) -> None:
        self.problem = problem
        self.answer = answer
        self.setting = setting
        self.turned = turned
        self.degree = 1
        self._memo: dict[tuple[_Node, int], _Row] = {}
        self._rows: list[_Row] = []  # kept alive, so that their identities stay theirs
        self._place = place
        self._start: _Row = (1,)

    def of_answer(self, root: int) -> list[_Row]:
        """The blocks of a part of the answer.

        Raises:
            LimitError: too many factors, or blocks inside of products.
        """
        return [self._run(product) for product in self._blocks(_Node(False, root, self.turned))]

    def of_problem(self, root: int, transposed: bool) -> _Row:
        """A part of the problem."""
        return self._run(_Product((self._known(root, transposed is not self.turned),)))

    def _known(self, root: int, transposed: bool) -> _Node:
        """A derivative of the problem, put together so that it can be shared from the left."""
        return _Node(True, self.problem.mirror(root) if transposed else root, transposed)

    def _blocks(self, node: _Node, depth: int = 0) -> list[_Product]:
        """The cells of a row or column of blocks, a product with one row distributed over it."""
        self._place.spend(1000)
        part, args = self._open(node)
        while part.kind in ("name", "transpose", "derivative"):
            node = args[0]
            part, args = self._open(node)
        if depth > MAX_DEPTH:
            raise LimitError("blocks in blocks this deep are not compared")
        if part.kind == "grid":
            return [product for arg in args for product in self._blocks(arg, depth + 1)]
        if part.kind == "product":
            opened = [self._blocks(arg, depth + 1) if self._has_grid(arg) else [_Product((arg,))] for arg in args]
            wide = [k for k, blocks in enumerate(opened) if len(blocks) > 1]
            if len(wide) > 1:
                raise LimitError("products of matrices of blocks with this many terms are not compared")
            if wide:
                (k,) = wide
                before = tuple(node for blocks in opened[:k] for node in blocks[0].nodes)
                behind = tuple(node for blocks in opened[k + 1 :] for node in blocks[0].nodes)
                return [_Product((*before, *block.nodes, *behind)) for block in opened[k]]
        return [_Product((node,))]

    def _has_grid(self, node: _Node) -> bool:
        """Whether a factor is itself blocks."""
        stack = [node]
        seen: set[_Node] = set()
        while stack:
            inner = stack.pop()
            if inner in seen:
                continue
            seen.add(inner)
            part, args = self._open(inner)
            if part.kind == "grid":
                return True
            if part.kind in ("name", "transpose", "derivative", "product"):
                stack.extend(args)
        return False

    def _open(self, node: _Node) -> tuple[Part, tuple[_Node, ...]]:
        """A node's part and what it is made of, in order from the left."""
        known, index, transposed = node
        part = (self.problem.parts if known else self.answer.parts)[index]
        if part.kind in ("known", "quotient"):
            assert isinstance(part.value, int)
            return part, (self._known(part.value, transposed),)
        if part.kind == "derivative":
            assert isinstance(part.value, int)
            atom = self.answer.atoms[part.value]
            chosen = part.args[self.setting.choices.get(atom.symbol, 0) % len(part.args)]
            return part, (_Node(False, chosen, self.setting.turns(atom) is not transposed),)
        turned = transposed is not (part.kind == "transpose")
        args = tuple(_Node(known, arg, turned) for arg in part.args)
        return part, args[::-1] if transposed and part.kind == "product" else args

    def _run(self, product: _Product) -> _Row:
        """Carry the first row through a product; nested parts wait on a stack of their own."""
        stack: list[Generator[tuple[_Node, _Row], _Row, _Row]] = [self._through(product.nodes, self._start)]
        result: _Row | None = None
        while stack:
            try:
                node, row = stack[-1].send(result) if result is not None else next(stack[-1])
            except StopIteration as stop:
                stack.pop()
                result = stop.value
                continue
            known = self._memo.get((node, id(row)))
            if known is not None:
                result = known
                continue
            stack.append(self._carry(node, row))
            result = None
        assert result is not None
        return result

    def _through(self, nodes: Sequence[_Node], row: _Row) -> Generator[tuple[_Node, _Row], _Row, _Row]:
        for node in nodes:
            row = yield node, row
        return row

    def _carry(self, node: _Node, row: _Row) -> Generator[tuple[_Node, _Row], _Row, _Row]:
        """What a row is behind a node."""
        self._place.spend(len(row) + 8)
        part, args = self._open(node)
        result = row
        if part.kind == "letter":
            assert isinstance(part.value, int)
            result = self._letter(part.value ^ node.transposed, row)
        elif part.kind == "number":
            assert isinstance(part.value, int | Fraction)
            number = Fraction(part.value)
            factor = number.numerator * pow(number.denominator, -1, PRIME) % PRIME
            result = tuple([entry * factor % PRIME for entry in row])
        elif part.kind == "negate":
            inner = yield args[0], row
            result = tuple([-entry % PRIME for entry in inner])
        elif part.kind == "zero":
            result = (0,)
        elif part.kind == "identity":
            result = row
        elif part.kind == "sum":
            numbers = [self._is_single(arg) for arg in part.args] if not node.known else [False]
            if any(numbers) and not all(numbers):
                raise LimitError("a number in a sum with this many terms is not compared", hint="write I for the identity")
            total: list[int] = []
            for arg in args:
                term = yield arg, row
                total += [0] * (len(term) - len(total))
                for k, entry in enumerate(term):
                    total[k] = (total[k] + entry) % PRIME
            result = tuple(total)
        elif part.kind in ("grid", "hadamard"):
            raise LimitError(f"an answer with this many terms and a {part.kind} inside is not compared")
        else:
            for arg in args:
                result = yield arg, result
        self._memo[node, id(row)] = result
        self._rows += (row, result)
        return result

    def _is_single(self, root: int) -> bool:
        """Whether a part is made of single numbers only, which in a sum are added to every entry rather than along the diagonal."""
        parts, problem = self.answer.parts, self.problem
        stack = [root]
        while stack:
            part = parts[stack.pop()]
            if part.kind == "value":
                assert isinstance(part.value, int)
                if not problem.shapes[part.value].is_scalar:
                    return False
            elif part.kind == "letter":
                assert isinstance(part.value, int)
                if problem.alphabet.shape(part.value) != ("1", "1"):
                    return False
            elif part.kind in ("product", "sum", "negate", "transpose", "name", "derivative"):
                stack.extend(part.args)
            elif part.kind not in ("number", "quotient"):
                return False
        return True

    def _letter(self, code: int, row: _Row) -> _Row:
        rows, columns = self.problem.alphabet.shape(code)
        if rows == columns == "1":
            factor = self._place.weight(code & ~1, -1)
            return tuple([entry * factor % PRIME for entry in row])
        moved = (0, *[entry * self._place.weight(code, k) % PRIME for k, entry in enumerate(row)])
        self.degree = max(self.degree, len(moved))
        if columns == "1":
            return (sum(entry * self._place.weight(-1, k) for k, entry in enumerate(moved)) % PRIME,)
        return moved


def trim(row: _Row) -> _Row:
    """A row without zeros behind, so that equal ones look equal."""
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def differ_surely(problem: Problem, of: int) -> bool:
    """Whether different values mean different sums: no letter but those of the output leads through a single number."""
    for letter in problem.alphabet.letters:
        if letter.kind in ("value", "ones", "hadamard"):
            return False
        if letter.columns == "1":
            return False
        if letter.rows == "1" and letter.kind == "partial" and of not in problem.applications[letter.name]:
            return False
    return True
