"""An answer's parts as sums of words, under one reading and in one layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.answer import Answer, Atom
from jacobian_chain.errors import LimitError
from jacobian_chain.layout import Layout
from jacobian_chain.problem import Part
from jacobian_chain.words import IDENTITY, UNIT, ZERO, Letter, Polynomial, add, multiply, scale, settle, transpose

MAX_CELLS = 10_000
"""Most blocks of one matrix."""

MAX_NAME = 10_000
"""Longest description of an elementwise product."""

_PLACE = 1 << 32
"""A letter with a place is its code plus the number of the part that it stands in, times this."""


class Setting(NamedTuple):
    """One way to read an answer.

    Attributes:
        layout: what a fraction means, and J unless it is ``literal``.
        literal: whether J is the Jacobian in numerator layout whatever the layout.
        choices: for symbols that can mean several things, or for single parts by their number, which it is.
        flat: whether ⊙ is read as the matrix product.
        replaced: what is put in the place of some parts.
    """

    layout: Layout
    literal: bool = False
    choices: Mapping[object, int] = {}
    flat: bool = False
    replaced: Mapping[int, Polynomial] = {}

    def turns(self, atom: Atom) -> bool:
        """Whether an atom means the adjoint of the Jacobian."""
        if atom.turned is not None:
            return atom.turned
        if self.literal and atom.sign in ("J", "slot"):
            return False
        return self.layout.transposes_scalar if atom.scalar else self.layout.transposes_array


class Grid(NamedTuple):
    """Blocks in rows."""

    columns: int
    cells: tuple[Polynomial, ...]

    @property
    def rows(self) -> int:
        """How many rows of blocks there are."""
        return len(self.cells) // self.columns


Value = Polynomial | Grid


class MisfitError(Exception):
    """Blocks do not fit together; ``part`` is where."""

    def __init__(self, message: str, part: int) -> None:
        super().__init__(message)
        self.message = message
        self.part = part


def place_of(code: int) -> int:
    """The part in which a letter with a place stands, -1 without one."""
    return (code >> 32) - 1


def bare(code: int) -> int:
    """A letter without its place."""
    return code & (_PLACE - 1)


def evaluate(answer: Answer, roots: Sequence[int], setting: Setting, places: bool = False) -> list[Value]:
    """The values of some parts; with ``places`` each letter keeps the part that it stands in.

    Raises:
        MisfitError: blocks do not fit together.
        LimitError: there are too many words.
    """
    return _Evaluator(answer, setting, places).run(roots)


def blocks_of(value: Value, part: int) -> list[Polynomial]:
    """The blocks of a row or a column, in order."""
    if not isinstance(value, Grid):
        return [value]
    if value.columns > 1 and value.rows > 1:
        raise MisfitError(f"these are {value.rows} rows of {value.columns} blocks, not one row or column", part)
    return list(value.cells)


class _Evaluator:
    def __init__(self, answer: Answer, setting: Setting, places: bool) -> None:
        self.answer = answer
        self.problem = answer.problem
        self.setting = setting
        self.places = places
        self.values: dict[int, Value] = {}

    def run(self, roots: Sequence[int]) -> list[Value]:
        parts, values = self.answer.parts, self.values
        stack = list(roots)
        needed: set[int] = set()
        while stack:
            index = stack.pop()
            if index in self.setting.replaced:
                values[index] = self.setting.replaced[index]
            elif index not in needed:
                needed.add(index)
                stack.extend(self.arguments(index, parts[index]))
        for index in sorted(needed):
            values[index] = self.compute(index, parts[index])
        return [values[root] for root in roots]

    def arguments(self, index: int, part: Part) -> tuple[int, ...]:
        """The parts that a part's value depends on under this setting."""
        return (self.chosen(index, part),) if part.kind == "derivative" else part.args

    def chosen(self, index: int, part: Part) -> int:
        """The root of what a derivative means under this setting."""
        if len(part.args) == 1:
            return part.args[0]
        assert isinstance(part.value, int)
        choices = self.setting.choices
        choice = choices.get(index)
        if choice is None:
            choice = choices.get(self.answer.atoms[part.value].symbol, 0)
        return part.args[choice % len(part.args)]

    def compute(self, index: int, part: Part) -> Value:
        values, kind = self.values, part.kind
        if kind == "derivative":
            assert isinstance(part.value, int)
            value = values[self.chosen(index, part)]
            if self.places:
                value = _map(value, lambda polynomial: _moved(polynomial, index))
            return transpose_value(value) if self.setting.turns(self.answer.atoms[part.value]) else value
        if kind == "product":
            value = values[part.args[0]]
            for arg in part.args[1:]:
                value = self.multiply(value, values[arg], index)
            return value
        if kind == "letter":
            assert isinstance(part.value, int)
            code = part.value
            return {(code + (index + 1) * _PLACE if self.places else code,): 1}
        if kind == "known":
            assert isinstance(part.value, int)
            return settle(self.problem.polynomial(part.value), False, self.problem.alphabet)
        if kind == "quotient":
            assert isinstance(part.value, int)
            return self.problem.polynomial(part.value)
        if kind == "sum":
            return self.sum(index, part)
        if kind == "number":
            assert isinstance(part.value, int | Fraction)
            return scale(IDENTITY, part.value)
        if kind in ("name", "value"):
            return values[part.args[0]]
        if kind == "negate":
            return _map(values[part.args[0]], lambda polynomial: scale(polynomial, -1))
        if kind == "transpose":
            return transpose_value(values[part.args[0]])
        if kind == "grid":
            assert isinstance(part.value, tuple)
            return self.assemble(index, part.args, part.value)
        if kind == "hadamard":
            return self.hadamard(index, part)
        if kind == "zero":
            return ZERO
        return {(UNIT + (index + 1) * _PLACE if self.places else UNIT,): 1}

    def sum(self, index: int, part: Part) -> Value:
        terms = [self.values[arg] for arg in part.args]
        if any(isinstance(term, Grid) for term in terms):
            return self.add_grids(terms, index)
        polynomials = [self.spread(term, terms, index) for term in terms if not isinstance(term, Grid)]
        total = add(polynomials)
        if len(total) < sum(map(len, polynomials)) and any(word not in total for term in polynomials for word in term):
            self.check_shapes(polynomials, index)  # what cancels must have fitted
        return total

    def spread(self, term: Polynomial, terms: Sequence[Value], index: int) -> Polynomial:
        """A term of a sum; a number beside an array becomes one that is added to every entry."""
        alphabet = self.problem.alphabet
        single = [
            word for word in term if alphabet.is_multiple(tuple([bare(code) for code in word])) and all(bare(code) > 1 for code in word)
        ]
        if not single:
            return term
        shapes = [shape for other in terms if not isinstance(other, Grid) and (shape := self.shape(other)) is not None]
        shape = next((shape for shape in shapes if shape != ("1", "1")), None)
        units = any(bare(code) < 2 for other in terms if not isinstance(other, Grid) for word in other for code in word)
        if shape is None and (shapes or not units):
            return term
        ones = alphabet.code(Letter("ones", "1", 0, (), *(shape or ("", ""))))
        mark = ones + (index + 1) * _PLACE if self.places else ones
        result = {word: number for word, number in term.items() if word not in single}
        for word in single:
            result[mark, *word] = term[word]
        return result

    def check_shapes(self, terms: Sequence[Polynomial], index: int) -> None:
        """Raise the error for terms that cancel and could not be added at all."""
        alphabet = self.problem.alphabet
        words = [tuple([bare(code) for code in word]) for term in terms for word in term]
        shapes = {shape for word in words if (shape := alphabet.word_shape(word)) is not None}
        if len(shapes) > 1 or any(alphabet.misfit(word) is not None for word in words):
            raise MisfitError("terms of different shapes are added", index)

    def shape(self, polynomial: Polynomial) -> tuple[str, str] | None:
        """Rows and columns of a sum by its first word with letters."""
        alphabet = self.problem.alphabet
        found = (alphabet.word_shape(tuple([bare(code) for code in word])) for word in polynomial)
        return next((shape for shape in found if shape is not None), None)

    def hadamard(self, index: int, part: Part) -> Value:
        left, right = (self.values[arg] for arg in part.args)
        if self.setting.flat or isinstance(left, Grid) or isinstance(right, Grid):
            return self.multiply(left, right, index)
        shapes = self.shape(left), self.shape(right)
        if set(left) <= {()} or set(right) <= {()}:
            return multiply(left, right)
        if shapes[0] == ("1", "1") or shapes[1] == ("1", "1"):
            return multiply(left, right)
        normalise = self.problem.alphabet.normalise
        sides = sorted(sorted(normalise(_moved(side, -1)).items()) for side in (left, right))
        rows, columns = shapes[0] or shapes[1] or ("?", "?")
        name = repr(sides)
        if len(name) > MAX_NAME:
            raise LimitError("there are too many elementwise products in each other")
        code = self.problem.alphabet.code(Letter("hadamard", name, 0, (), rows, columns))
        return {(code + (index + 1) * _PLACE if self.places else code,): 1}

    # --- blocks ---

    def multiply(self, left: Value, right: Value, index: int) -> Value:
        if not isinstance(left, Grid) and not isinstance(right, Grid):
            return multiply(left, right)
        if not isinstance(left, Grid) and _is_multiple(left):
            return _map(right, lambda polynomial: multiply(left, polynomial))
        if not isinstance(right, Grid) and _is_multiple(right):
            return _map(left, lambda polynomial: multiply(polynomial, right))
        one = left if isinstance(left, Grid) else Grid(1, (left,))
        other = right if isinstance(right, Grid) else Grid(1, (right,))
        if one.columns != other.rows:
            raise MisfitError(f"{one.columns} block columns meet {other.rows} block rows", index)
        cells = [
            add(multiply(one.cells[row * one.columns + k], other.cells[k * other.columns + column]) for k in range(one.columns))
            for row in range(one.rows)
            for column in range(other.columns)
        ]
        return cells[0] if len(cells) == 1 else Grid(other.columns, tuple(cells))

    def add_grids(self, terms: Sequence[Value], index: int) -> Value:
        grids = [term for term in terms if isinstance(term, Grid)]
        size = grids[0].columns, grids[0].rows
        for term in terms:
            if (term.columns, term.rows) != size if isinstance(term, Grid) else term != ZERO:
                raise MisfitError("these blocks cannot be added: their numbers differ", index)
        return Grid(grids[0].columns, tuple(add(cells) for cells in zip(*(grid.cells for grid in grids), strict=True)))

    def assemble(self, index: int, cells: Sequence[int], lengths: tuple[int, ...]) -> Value:
        """Rows of cells, of which each may be blocks itself; 0 and I take the size of what stands beside them."""
        table: list[list[Value]] = []
        start = 0
        for length in lengths:
            table.append([self.values[cell] for cell in cells[start : start + length]])
            start += length
        if len(set(lengths)) > 1:
            raise MisfitError(f"the rows have {' and '.join(map(str, lengths))} cells", index)
        heights = [max((cell.rows if isinstance(cell, Grid) else 1) for cell in row) for row in table]
        if sum(heights) * len(table[0]) > MAX_CELLS or len(cells) > MAX_CELLS:
            raise LimitError(f"there are more than {MAX_CELLS:,} blocks")
        widths = [max((cell.columns if isinstance(cell, Grid) else 1) for cell in column) for column in zip(*table, strict=True)]
        if sum(heights) * sum(widths) > MAX_CELLS:
            raise LimitError(f"there are more than {MAX_CELLS:,} blocks")
        rows: list[Polynomial] = []
        for row, height in zip(table, heights, strict=True):
            fitted = [self.fit(cell, height, width, index) for cell, width in zip(row, widths, strict=True)]
            for k in range(height):
                for grid in fitted:
                    rows += grid.cells[k * grid.columns : (k + 1) * grid.columns]
        return Grid(sum(widths), tuple(rows))

    def fit(self, cell: Value, height: int, width: int, index: int) -> Grid:
        """A cell as blocks of a size that its neighbours ask for."""
        if isinstance(cell, Grid):
            if (cell.rows, cell.columns) != (height, width):
                message = f"a cell of {cell.rows} x {cell.columns} blocks stands where {height} x {width} are needed"
                raise MisfitError(message, index)
            return cell
        if (height, width) == (1, 1) or cell == ZERO:
            return Grid(width, (cell,) * (height * width))
        if height == width and _is_multiple(cell):
            return Grid(width, tuple(cell if row == column else ZERO for row in range(height) for column in range(width)))
        raise MisfitError(f"one block stands where {height} x {width} are needed", index)


def _is_multiple(polynomial: Polynomial) -> bool:
    """Whether a sum is a number or a multiple of I."""
    return all(bare(code) < 2 for word in polynomial for code in word)


def _map(value: Value, change: object) -> Value:
    """A value with every block changed."""
    assert callable(change)
    return Grid(value.columns, tuple(change(cell) for cell in value.cells)) if isinstance(value, Grid) else change(value)


def transpose_value(value: Value) -> Value:
    """The adjoint of a value: of every block, and of how they stand."""
    if not isinstance(value, Grid):
        return transpose(value)
    columns, rows = value.columns, value.rows
    return Grid(rows, tuple(transpose(value.cells[row * columns + column]) for column in range(columns) for row in range(rows)))


def _moved(polynomial: Polynomial, place: int) -> Polynomial:
    """The same words with all letters standing in one part, -1 for none."""
    return {tuple([bare(code) + (place + 1) * _PLACE for code in word]): number for word, number in polynomial.items()}
