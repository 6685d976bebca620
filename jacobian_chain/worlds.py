"""A composition at one random point: the values, and every derivative of one by another, in numbers.

The Jacobian of a step comes from its differential (:mod:`jacobian_chain.operations`), evaluated; Jacobians of values are products and
sums of these along the paths of the tape. Nothing that somebody claims enters: this is what claims are compared with.

Jacobians are on ``vec``, columns stacked: entries of the output by entries of the input. They are kept by their nonzero entries, since
those of matrix products are mostly zeros, and residues among them as plain integers, which is three times as fast.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import count as count_from
from itertools import islice
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.arrays import Arrays
from jacobian_chain.dense import ELEMENTWISE, Dense, DomainError, Numbers
from jacobian_chain.elementary import Elementary, Word
from jacobian_chain.errors import ChainError, UnsupportedError
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape, size_of, symbols_of
from jacobian_chain.operations import differential
from jacobian_chain.residues import PRIME, RESIDUES, Residue, has_root
from jacobian_chain.tape import Shape, Step, Tape
from jacobian_chain.verification import sample

TRIES = 50
"""How many points are tried; half of them fail for every root that is taken, of what is no square."""

MOST_SIZES = 6
"""How many different sizes there are: more make layers large without telling more apart."""

Sparse = list[dict[int, Any]]
"""A matrix as its rows, each with its nonzero entries by column."""

Edge = tuple[int, int]
"""A value that is computed, and a slot of its step."""


class Rules(NamedTuple):
    """The differentials of all steps of a tape.

    Attributes:
        steps: the tape's values, and behind them what the differentials are made of.
        shapes: of all these.
        words: d value by its input in a slot; where there is none, why.
    """

    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...]
    words: Mapping[Edge, tuple[Word, ...] | UnsupportedError]


@lru_cache(maxsize=8)
def rules_of(tape: Tape) -> Rules:
    """The differentials of all steps, found once for all worlds of a tape."""
    arrays = Arrays(tape)
    words: dict[Edge, tuple[Word, ...] | UnsupportedError] = {}
    for value, step in enumerate(tape.steps, tape.leaves):
        for slot in range(len(step.inputs)):
            try:
                words[value, slot] = tuple(differential(arrays, value, slot))
            except UnsupportedError as error:
                words[value, slot] = error
    return Rules(tuple(arrays.steps), tuple(arrays.shapes), words)


class World:
    """One random point of a tape.

    Attributes:
        tape: the composition.
        numbers: what is computed with.
        sizes: a number for each symbol.
        values: the values of the tape.
        opaque: the maps that opaque layers and unspecified functions stand for.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("z = W x; L = ||z||^2; W: m x n; x: n")).tape
    >>> world = draw(tape, 0)
    >>> W, x, z, L = map(tape.index, ("W", "x", "z", "L"))
    >>> world.total(L, z) == dense.transpose(dense.scale(2, world.values[z]))
    True
    >>> world.total(L, x) == dense.product(world.total(L, z), world.values[W])
    True
    """

    def __init__(self, tape: Tape, numbers: Numbers, sizes: dict[str, int], values: list[Dense], opaque: Opaque) -> None:
        self.tape = tape
        self.numbers = numbers
        self.sizes = sizes
        self.values = values
        self.opaque = opaque
        self._rules = rules_of(tape)
        self._prime = PRIME if numbers is RESIDUES else 0
        self._locals: dict[Edge, Sparse] = {}
        self._totals: dict[tuple[int, int, frozenset[int]], Dense] = {}
        self._words: dict[int, str] = {}

    # --- sizes ---

    def size(self, text: str) -> int:
        """The number that a size stands for: ``m``, ``m*n``, ``3``; of a large number that was made a symbol, what that stands for."""
        return size_of(_NUMBER.sub(lambda found: _symbol(found[0]) if _symbol(found[0]) in self.sizes else found[0], text), self.sizes)

    def shape(self, value: int) -> tuple[int, int]:
        """Rows and columns of a value."""
        return dense.size(self.values[value])

    def words(self, number: int) -> str:
        """The size that a number stands for, as the tape or a product of two of its sizes has it; else the number as text."""
        if not self._words:
            texts = dict.fromkeys([*self.sizes, *(size for shape in self.tape.shapes for size in shape)])
            plain = [text for text in texts if "+" not in text and text != "1"]
            for text in (*texts, *(f"{one}*{other}" for one in plain for other in plain)):
                self._words.setdefault(self.size(text), text)
        return self._words.get(number, str(number)).replace(SHRUNK, "")

    def sides_of_kinks(self, of: int) -> dict[int, set[bool]]:
        """For every step on which ``of`` depends and that has a kink, on which sides of it this point is: above zero or not."""
        above = self.numbers.is_positive
        found = {of}
        sides: dict[int, set[bool]] = {}
        for value in range(of, self.tape.leaves - 1, -1):
            step = self.tape.steps[value - self.tape.leaves]
            if value not in found:
                continue
            found.update(step.inputs)
            name = step.name if step.operation == "apply" else ""
            if step.operation == "norm1" or (name in ELEMENTWISE and ELEMENTWISE[name].kink):
                sides[value] = {above(entry) for row in self.values[step.inputs[0]] for entry in row}
        return sides

    # --- functions and layers at any place ---

    def apply(self, function: str, argument: Dense, order: int = 0) -> Dense:
        """An elementwise function, built in, defined by the text or unspecified, or its derivative of some order."""
        shape = Shape(*map(str, dense.size(argument)))
        steps = [Step("leaf", "", ()), Step("apply", function, (0,), (Fraction(order),) if order else ())]
        found = evaluate(steps, [shape, shape], {0: argument}, {}, self.numbers, self.opaque, [1], functions=self.tape.functions)
        return found[1]

    def layer(self, layer: str, inputs: Sequence[Dense], shape: tuple[int, int]) -> Dense:
        """An opaque layer at any values; ``shape`` is that of what it gives."""
        return self.opaque.value(layer, inputs, shape, self.numbers)

    def partial(self, layer: str, inputs: Sequence[Dense], shape: tuple[int, int], slot: int) -> Dense:
        """The Jacobian of an opaque layer in a slot at any values; ``shape`` is that of what it gives."""
        return self.opaque.jacobian(layer, inputs, shape[0] * shape[1], slot, self.numbers)

    # --- derivatives ---

    def local(self, value: int, slot: int) -> Dense:
        """The Jacobian of one step in one slot.

        Raises:
            UnsupportedError: the step has no differential.
        """
        self._know([(value, slot)])
        return self._dense(self._locals[value, slot], self._entries(self.tape.steps[value - self.tape.leaves].inputs[slot]))

    def total(self, of: int, by: int, held: frozenset[int] = frozenset(), changed: Mapping[Edge, Dense | None] | None = None) -> Dense:
        """The Jacobian of one value by another: the sum over all paths of the products along them.

        Args:
            of: the value that is differentiated.
            by: the value it is differentiated by, held free if it is computed.
            held: values that do not change: paths through them do not count.
            changed: Jacobians instead of those of some steps, None for one that is left out.

        Raises:
            UnsupportedError: a step has no differential.
            ValueError: a changed Jacobian has another size.
        """
        if changed:
            return self._sweep(of, by, held, changed)
        found = self._totals.get((of, by, held))
        if found is None:
            found = self._totals[of, by, held] = self._sweep(of, by, held, {})
        return [row[:] for row in found]

    def direct(self, of: int, by: int) -> Dense:
        """∂ ``of`` / ∂ ``by`` as the equation of ``of`` shows it: other values with a name are held."""
        return self.total(of, by, self._named - {of})

    def is_direct(self, of: int, by: int) -> bool:
        """Whether ``by`` stands in the equation of ``of``."""
        return bool(self._edges(of, by, self._named - {of}))

    @property
    def _named(self) -> frozenset[int]:
        return frozenset(value for value, name in enumerate(self.tape.names) if name)

    def _edges(self, of: int, by: int, held: frozenset[int]) -> list[Edge]:
        """The edges on paths from ``by`` to ``of``, the last first."""
        tape = self.tape
        moved = {by}
        for value in range(max(by + 1, tape.leaves), of + 1):
            if (value == of or value not in held) and any(source in moved for source in tape.steps[value - tape.leaves].inputs):
                moved.add(value)
        edges = []
        asked = {of}
        for value in range(of, by, -1):
            if value in asked and value in moved:
                for slot, source in enumerate(tape.steps[value - tape.leaves].inputs):
                    if source in moved:
                        edges.append((value, slot))
                        asked.add(source)
        return edges

    def _sweep(self, of: int, by: int, held: frozenset[int], changed: Mapping[Edge, Dense | None]) -> Dense:
        """Products from the left, value by value backward; one row for each entry of ``of``."""
        edges = [edge for edge in self._edges(of, by, held) if changed.get(edge, ()) is not None]
        self._know([edge for edge in edges if edge not in changed])
        tape, height = self.tape, self._entries(of)
        rows: dict[int, Sparse] = {of: _unit(height)}
        for value, slot in edges:
            if value not in rows:
                continue  # every path from here was cut
            source = tape.steps[value - tape.leaves].inputs[slot]
            given = changed.get((value, slot))
            if given is None:
                local = self._locals[value, slot]
            else:
                expected = (self._entries(value), self._entries(source))
                if dense.size(given) != expected:
                    raise ValueError(f"a Jacobian of {expected[0]} x {expected[1]} is changed into {dense.size(given)}")
                local = self._sparse(given)
            if value == of and source not in rows:
                rows[source] = [dict(row) for row in local]
            else:
                _accumulate(rows.setdefault(source, [{} for _ in range(height)]), rows[value], local, self._prime)
        return self._dense(rows.get(by, [{}] * height), self._entries(by))

    def _know(self, edges: Iterable[Edge]) -> None:
        """Find local Jacobians, all that they are made of in one evaluation."""
        missing = {edge: self._rules.words[edge] for edge in edges if edge not in self._locals}
        wanted: set[int] = set()
        for words in missing.values():
            if isinstance(words, UnsupportedError):
                raise words
            wanted.update(map_.node for word in words for map_ in word.maps if map_.node >= 0)
        if not missing:
            return
        known = dict(enumerate(self.values))
        steps, shapes = self._rules.steps, self._rules.shapes
        found = evaluate(steps, shapes, known, self.sizes, self.numbers, self.opaque, wanted, functions=self.tape.functions)
        for edge, words in missing.items():
            if not isinstance(words, UnsupportedError):
                self._locals[edge] = self._sum(words, found, edge)

    def _sum(self, words: tuple[Word, ...], found: Mapping[int, Dense], edge: Edge) -> Sparse:
        """The matrix of a sum of words; what they pass on as it is, a number too, reaches every entry."""
        value, slot = edge
        height, width = (self._entries(each) for each in (value, self.tape.steps[value - self.tape.leaves].inputs[slot]))
        total: Sparse = [{} for _ in range(height)]
        for word in words:
            factor = self._plain(self.numbers.from_fraction(word.coefficient))
            if factor == 1 and word.maps:
                rows, maps = self._matrix(word.maps[0], found), word.maps[1:]
            else:
                rows, maps = [{k if word.maps else k % width: factor} for k in range(height)], word.maps
            for map_ in maps:
                left, rows = rows, [{} for _ in range(height)]
                _accumulate(rows, left, self._matrix(map_, found), self._prime)
            if len(words) == 1:
                return rows
            _accumulate(total, rows, _unit(width), self._prime)
        return total

    def _matrix(self, map_: Elementary, found: Mapping[int, Dense]) -> Sparse:
        """The matrix of an elementary map on ``vec``, as in the table of :mod:`jacobian_chain.elementary`."""
        m, n = self.size(map_.domain.rows), self.size(map_.domain.columns)
        a = [[self._plain(entry) for entry in row] for row in found[map_.node]] if map_.node >= 0 else []
        match map_.kind:
            case "left":
                return [{k + j * m: entry for k, entry in enumerate(row) if entry} for j in range(n) for row in a]
            case "right":
                return [{i + k * m: entry for k, entry in enumerate(column) if entry} for column in zip(*a, strict=True) for i in range(m)]
            case "hadamard":
                return [{k: entry} for k, entry in enumerate(dense.entries(a))]
            case "times":
                return [{k: a[0][0]} for k in range(m * n)]
            case "transposition":
                return [{i + j * m: 1} for i in range(m) for j in range(n)]
            case "inner":
                return [{k: entry for k, entry in enumerate(dense.entries(a)) if entry}]
            case "spread":
                return [{0: entry} for entry in dense.entries(a)]
            case "reshape":
                return _unit(m * n)
            case "diag":
                return [{i: 1} if i == j else {} for j in range(m) for i in range(m)]
            case "diagonal":
                return [{i + i * m: 1} for i in range(m)]
            case "jacobian":
                return [{k: entry for k, entry in enumerate(row) if entry} for row in a]
            case "softmax":
                rows = self._rules.steps[map_.node].name == "rows"
                return [
                    {i + k * m: a[i][j] * ((k == j) - a[i][k]) for k in range(n)}
                    if rows
                    else {k + j * m: a[i][j] * ((k == i) - a[k][j]) for k in range(m)}
                    for j in range(n)
                    for i in range(m)
                ]
        raise ValueError(f"no matrix for {map_.kind}")

    # --- numbers ---

    def _entries(self, value: int) -> int:
        rows, columns = self.shape(value)
        return rows * columns

    def _plain(self, entry: Any) -> Any:
        return entry.value if self._prime else entry

    def _sparse(self, a: Dense) -> Sparse:
        return [{k: self._plain(entry) for k, entry in enumerate(row) if entry} for row in a]

    def _dense(self, rows: Sparse, width: int) -> Dense:
        zero = self.numbers.from_fraction(Fraction(0))
        result = []
        for row in rows:
            line = [zero] * width
            for k, entry in row.items():
                line[k] = Residue(entry) if self._prime else self.numbers.convert(entry)
            result.append(line)
        return result


def _unit(n: int) -> Sparse:
    return [{k: 1} for k in range(n)]


def _accumulate(into: Sparse, left: Sparse, right: Sparse, prime: int) -> None:
    """Add left · right to ``into``, modulo the prime if there is one."""
    for target, row in zip(into, left, strict=True):
        for k, factor in row.items():
            for column, entry in right[k].items():
                target[column] = target.get(column, 0) + factor * entry
        if prime:
            for column in target:
                target[column] %= prime


# --- drawing ---


SHRUNK = "′"
"""Behind a number that has become a symbol."""

LARGEST = 12
"""Largest literal size that is computed with as it stands."""

_NUMBER = re.compile(r"(?<!\w)[0-9]+(?![\w′])")


def _symbol(number: str) -> str:
    return number + SHRUNK


def shrink(tape: Tape) -> Tape:
    """The tape with symbols in the place of large literal sizes: what holds for all sizes holds for these, and costs less to see.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> [str(shape) for shape in shrink(read_composition(Source("y = A x; A: 128 x 3; x: 3")).tape).shapes]
    ['128′ x 3', '3', '128′']
    """

    def rename(size: str) -> str:
        return _NUMBER.sub(lambda found: _symbol(found[0]) if int(found[0]) > LARGEST else found[0], size)

    if not any(int(number) > LARGEST for shape in tape.shapes for size in shape for number in _NUMBER.findall(size)):
        return tape
    return replace(tape, shapes=tuple(Shape(rename(rows), rename(columns)) for rows, columns in tape.shapes))


def draw(tape: Tape, seed: int, numbers: Numbers = RESIDUES, scale: Fraction = Fraction(1)) -> World:
    """A world at a random point, always the same for one seed.

    Of residues, different symbols get different sizes as far as there are, others for the next seed, and no size that the text itself
    uses; labels sum to one, symmetric matrices are symmetric, and layers and unspecified functions are cubic polynomials with random
    coefficients, at random places: what holds for these and not for every smooth map, such as a fourth derivative of zero, does not
    occur in answers. Of other numbers it is a point of :func:`jacobian_chain.verification.sample`, in the domain and far from kinks.

    Args:
        tape: the composition.
        seed: chooses the point.
        numbers: what is computed with.
        scale: times which the leaves of a real point are taken, to see what only large or small values show.

    Raises:
        ArithmeticError: the composition is not defined at a real point that was scaled.
        ChainError: no point was found, or the text takes roots of numbers that have none among the residues.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = A x; A: m x n; x: n")).tape
    >>> [draw(tape, seed).sizes for seed in range(2)]
    [{'m': 2, 'n': 3}, {'m': 5, 'n': 4}]
    """
    if numbers is not RESIDUES:
        opaque = Opaque(seed)
        point = sample(tape, seed, opaque, varied=True)
        kept = {value for value, fact in tape.facts if fact.startswith("label")}
        leaves = {leaf: value if leaf in kept else dense.scale(scale, value) for leaf, value in point.leaves.items()}
        values = evaluate_tape(tape, leaves, point.sizes, numbers, opaque)
        if not all(numbers.is_finite(entry) for value in values for row in value for entry in row):
            raise DomainError("a value is not finite")
        return World(tape, numbers, point.sizes, values, opaque)
    rng = random.Random(f"world {seed}")
    opaque = Opaque(seed, polynomial=True)
    missed: ArithmeticError | None = None
    for attempt in range(TRIES):
        sizes = _sizes(tape, seed, rng if attempt > 3 else None)
        leaves = _leaves(tape, sizes, rng)
        try:
            return World(tape, numbers, sizes, evaluate_tape(tape, leaves, sizes, numbers, opaque), opaque)
        except ArithmeticError as error:
            missed = error
    raise ChainError(f"no point was found in the field: {missed} ({TRIES} tries)")


def _sizes(tape: Tape, seed: int, rng: random.Random | None) -> dict[str, int]:
    """Different numbers from 2 on for the symbols, in an order that the seed turns; in a random one where that is in vain.

    Where the text takes roots they have roots, since √n is likely to be in the derivative too.
    """
    least: dict[str, int] = {}
    used: set[int] = set()
    texts = [size for shape in tape.shapes for size in shape] + [step.name for step in tape.steps if step.operation == "dimension"]
    for text in dict.fromkeys(texts):
        if text.isdecimal():
            used.add(int(text))
        least.update((symbol, 2) for symbol in symbols_of(text))
    for value, step in enumerate(tape.steps, tape.leaves):
        rows = tape.shapes[value].rows
        if rows in least and step.operation in ("unit", "layernorm"):  # two entries that are normalised are always 1 and -1
            least[rows] = max(least[rows], int(step.coefficients[0]) if step.operation == "unit" else 3)
    rooted = any(
        step.operation == "layernorm" or (step.operation == "power" and step.coefficients[0].denominator > 1) for step in tape.steps
    )
    fitting = (number for number in count_from(2) if number not in used and (has_root(number) or not rooted))
    count = min(max(len(least), 2), MOST_SIZES) + (2 if rng else 0)
    offset = seed % 3 * (2 if count == 2 else 1)  # in the second world no size is what it was, nor is their product
    free = list(islice(fitting, offset, offset + count))
    free = rng.sample(free, count) if rng else free[seed % count :] + free[: seed % count]
    sizes: dict[str, int] = {}
    left: list[int] = []
    for symbol, bound in sorted(least.items(), key=lambda item: -item[1]):
        left = left or free
        sizes[symbol] = next((number for number in left if number >= bound), max(bound, left[0]))
        left = [number for number in left if number != sizes[symbol]]
    return {symbol: sizes[symbol] for symbol in least}


def _leaves(tape: Tape, sizes: Mapping[str, int], rng: random.Random) -> dict[int, Dense]:
    leaves = {}
    for leaf, shape in enumerate(tape.shapes[: tape.leaves]):
        rows, columns = size_of(shape.rows, sizes), size_of(shape.columns, sizes)
        drawn = [[Residue(rng.randrange(PRIME)) for _ in range(columns)] for _ in range(rows)]
        known = {fact for value, fact in tape.facts if value == leaf}
        if "symmetric" in known:
            drawn = [[drawn[max(i, j)][min(i, j)] for j in range(columns)] for i in range(rows)]
        if known & {"label", "label-columns", "label-rows"}:
            lines = drawn if "label-rows" in known or rows == 1 else dense.transpose(drawn)
            for line in lines:
                line[-1] = 1 - sum(line[:-1], Residue(0))
            drawn = lines if lines is drawn else dense.transpose(lines)
        leaves[leaf] = drawn
    return leaves
