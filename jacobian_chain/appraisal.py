"""The value of a person's formula at one point: the shapes of its parts decide what each sign means.

A formula (:mod:`jacobian_chain.expressions`) is computed with the values, layers and derivatives of a world. Whether ``*`` multiplies
matrices or entries, how large an I is and what a 1 beside an array stands for is decided join by join; where two readings fit, the
setting chooses, and where none does, a :class:`MisfitError` says which product it is and how large both sides are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import TYPE_CHECKING, Any, NoReturn

from jacobian_chain import dense
from jacobian_chain.dense import ELEMENTWISE, Dense
from jacobian_chain.errors import LimitError
from jacobian_chain.expressions import Derivative, Expression, Setting, Solution
from jacobian_chain.layout import DENOMINATOR, NUMERATOR, Layout
from jacobian_chain.numeric import OPERATIONS
from jacobian_chain.tape import Step
from jacobian_chain.verification import arrange

if TYPE_CHECKING:
    from jacobian_chain.worlds import World

MAX_ENTRIES = 20_000
"""How many entries a value may have."""

MAX_WORK = 2_000_000
"""How many multiplications one appraisal may take."""

MAX_TERMS = 2_000
"""Most terms of a sum over an index."""

MAX_NESTED = 8
"""How deep sums over indices may stand in each other."""

MAX_EXPONENT = 1000
"""Greatest power of a value."""

MATRIX_SIGNS = frozenset({"", "@"})
ENTRYWISE_SIGNS = frozenset({"⊙", ".*"})
DIVISION_SIGNS = frozenset({"/", "./", "⊘"})
NUMERIC_KINDS = frozenset("number constant size sum negate product elementwise fraction power name".split())
"""What a formula that is a number whatever its shape is made of."""

SCALAR = (1, 1)
UNKNOWN = (0, 0)


class MisfitError(Exception):
    """Shapes in a formula that do not fit, or a size that nothing tells.

    Attributes:
        node: the number of the node whose parts they are.
        message: what was wanted, without the operands.
        hint: what to write instead, if that is known.
        left: the shape of the left side, or of the only operand; (0, 0) where it is not known.
        right: of the right side.
        operands: the operands' nodes: those that make up the left side, then the right one.
    """

    def __init__(
        self,
        node: int,
        message: str,
        operands: Sequence[int] = (),
        left: tuple[int, int] = UNKNOWN,
        right: tuple[int, int] = UNKNOWN,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.node = node
        self.message = message
        self.operands = tuple(operands)
        self.left = left
        self.right = right
        self.hint = hint


# --- values of open size ---


@dataclass(frozen=True, slots=True)
class Spread:
    """``identity`` I + ``fill``: a matrix that goes on for as long as it has to.

    An axis whose size is None is open, and ``fill`` has one entry along it, which is repeated; parts that are not there are None. With
    an identity both axes are open.

    >>> Spread(None, 1, fill=[[5]]).close(3, None), Spread(None, None, 2, [[1]]).close(2, None)
    ([[5], [5], [5]], [[3, 1], [1, 3]])
    """

    rows: int | None
    columns: int | None
    identity: Any = None
    fill: Dense | None = None

    def close(self, rows: int | None, columns: int | None) -> Dense | None:
        """The matrix of this shape, None where it has another one; a size that is None follows from the other or from its own."""
        m = rows if self.rows is None else self.rows
        n = columns if self.columns is None else self.columns
        if self.identity is not None:
            m, n = n if m is None else m, m if n is None else n
        if m is None or n is None or rows not in (None, m) or columns not in (None, n):
            return None
        if self.identity is not None and m != n:
            return None
        result = _repeat([[self.identity * 0]] if self.fill is None else self.fill, m, n)
        if self.identity is not None:
            for k in range(m):
                result[k][k] = result[k][k] + self.identity
        return result

    def transpose(self) -> Spread:
        """Rows and columns exchanged."""
        return Spread(self.columns, self.rows, self.identity, None if self.fill is None else dense.transpose(self.fill))

    def map(self, function: Callable[[Any], Any]) -> Spread:
        """A linear function of every entry."""
        identity = None if self.identity is None else function(self.identity)
        return Spread(self.rows, self.columns, identity, None if self.fill is None else dense.each(function, self.fill))


@dataclass(frozen=True, slots=True)
class Blown:
    """``before`` ⊗ ``core`` ⊗ ``behind``, the core being of open size; one of the others may be None.

    >>> Blown(None, Spread(None, None, 1), [[5, 7]]).close(2, None)
    [[5, 7, 0, 0], [0, 0, 5, 7]]
    """

    before: Dense | None
    core: Spread
    behind: Dense | None

    def close(self, rows: int | None, columns: int | None) -> Dense | None:
        """The matrix of this shape, None where it has another one; a size that is None follows from the other or from its own."""
        blocks = [block for block in (self.before, self.behind) if block is not None]
        m, n = len(blocks[0]), len(blocks[0][0])
        if (rows is not None and rows % m) or (columns is not None and columns % n):
            return None
        core = self.core.close(None if rows is None else rows // m, None if columns is None else columns // n)
        if core is None:
            return None
        _limit(len(core) * len(core[0]) * m * n)
        return dense.kron(core, blocks[0]) if self.before is None else dense.kron(blocks[0], core)

    def transpose(self) -> Blown:
        """Rows and columns exchanged."""
        before, behind = (None if block is None else dense.transpose(block) for block in (self.before, self.behind))
        return Blown(before, self.core.transpose(), behind)

    def map(self, function: Callable[[Any], Any]) -> Blown:
        """A linear function of every entry."""
        return Blown(self.before, self.core.map(function), self.behind)


Open = Spread | Blown
Value = Dense | Spread | Blown


def _limit(entries: int) -> None:
    if entries > MAX_ENTRIES:
        raise LimitError(f"a value of the answer has more than {MAX_ENTRIES:,} entries")


def _repeat(fill: Dense, rows: int, columns: int) -> Dense:
    """A matrix, repeated along axes on which it has one entry."""
    _limit(rows * columns)
    lines = [row * columns if len(row) == 1 else list(row) for row in fill]
    return [list(lines[0]) for _ in range(rows)] if len(lines) == 1 else lines


def _broadcast(function: Callable[[Any, Any], Any], a: Dense, b: Dense) -> Dense | None:
    """A function of two entries as NumPy does it: along an axis of one entry this is repeated; None where sizes do not fit.

    A column may be an array of one axis there, which lies along the rows of a matrix.
    """
    a, b = _lie_down(a, b), _lie_down(b, a)
    rows, columns = max(len(a), len(b)), max(len(a[0]), len(b[0]))
    if any(len(one) not in (1, rows) or len(one[0]) not in (1, columns) for one in (a, b)):
        return None
    pairs = zip(_repeat(a, rows, columns), _repeat(b, rows, columns), strict=True)
    return [[function(x, y) for x, y in zip(p, q, strict=True)] for p, q in pairs]


def _lie_down(column: Dense, other: Dense) -> Dense:
    """A column as a row, where it fits the rows of the other and not its columns."""
    m = len(column)
    lies = len(column[0]) == 1 < m and len(other) != m and len(other[0]) == m
    return dense.transpose(column) if lies else column


def _is_scalar(value: Value) -> bool:
    return type(value) is list and len(value) == 1 and len(value[0]) == 1


def _shape(value: Value) -> tuple[int, int]:
    return dense.size(value) if isinstance(value, list) else UNKNOWN


def _scaled(factor: Value, value: Value) -> Value:
    """A 1 x 1 value times another."""
    number = factor[0][0] if isinstance(factor, list) else 1
    return _map(lambda entry: number * entry, value)


def _map(function: Callable[[Any], Any], value: Value) -> Value:
    return [[function(entry) for entry in row] for row in value] if isinstance(value, list) else value.map(function)


def _transpose(value: Value) -> Value:
    return dense.transpose(value) if isinstance(value, list) else value.transpose()


def _sum_of_squares(value: Dense) -> Any:
    return sum(entry * entry for row in value for entry in row)


def _axes_of(shape: tuple[int, int]) -> list[int]:
    return [size for size in shape if size != 1]


def _tuple(value: object) -> tuple[Any, ...]:
    """What a node holds, where that is several things."""
    assert isinstance(value, tuple)
    return value


# --- evaluation ---


class Appraiser:
    """Values of the formulas of a solution in a world, read in one setting; what was computed once is known for all later formulas.

    Args:
        solution: whose formulas; more may be added to them at any time.
        world: the point.
        setting: how derivatives and open choices are read.

    Attributes:
        ambiguous: names of readings that fit as well as what was chosen, or that were chosen by the setting: ``* entrywise``,
            ``· inner``, ``⊗ outer``, ``⊗ entrywise``, ``∘ matrix``, ``power entrywise``, ``matrix columns``.
        operators: what a sign turned out to mean, by the key of its node and the number of the join: ``matrix``, ``scale``,
            ``entrywise``, ``inner``, ``kron``, ``outer``, ``divide``.
        notes: choices worth telling, in words.
    """

    def __init__(self, solution: Solution, world: World, setting: Setting) -> None:
        self.solution = solution
        self.world = world
        self.setting = setting
        self.ambiguous: set[str] = set()
        self.operators: dict[tuple[int, int], str] = {}
        self.notes: dict[str, None] = {}
        self._numbers = world.numbers
        self._one = world.numbers.from_fraction(Fraction(1))
        self._nodes = solution.formulas.nodes
        self._keys = solution.formulas.keys
        self._free: list[tuple[str, ...]] = []  # for each node, the indices in it that are not bound there
        self._known: dict[Hashable, Value] = {}
        self._failed: dict[Hashable, Exception] = {}
        self._indices: dict[str, int] = {}  # where sums over indices are
        self._ranges: dict[str, int] = {}
        self._wanted: tuple[int, tuple[int, int]] | None = None
        self._depth = 0
        self.work = 0
        self._numpy = "numpy" in setting.readings

    def value(self, root: int, shape: tuple[int, int] | None = None) -> Dense:
        """What a formula is worth.

        Args:
            root: its number.
            shape: what it is compared with: tells the size of an I, of ones, and of numbers that stand for arrays.

        Raises:
            MisfitError: shapes do not fit, or a size is not known.
            ArithmeticError: it is not defined at this point.
            LimitError: it is too large.
        """
        self.work = 0
        self._catch_up()
        self._wanted = None if shape is None else (self._keys[root], shape)
        if self._nodes[self._stripped(root)[1]].kind == "components":  # whose shape may be the one that is wanted
            self._known.pop(self._keys[root], None)
            self._failed.pop(self._keys[root], None)
        value = self._value(root)
        if shape is not None and _shape(value) != shape:
            value = self._wanted_form(root, value, shape)
        if not isinstance(value, list):
            self._open(root, [root])
        return value

    def _wanted_form(self, root: int, value: Value, shape: tuple[int, int]) -> Value:
        """A value of open size, or a number that stands for an array, in the shape that is wanted."""
        if not isinstance(value, list):
            closed = value.close(*shape)
            return value if closed is None else closed
        if shape == SCALAR or not _is_scalar(value):
            return value
        if any(self._nodes[at].kind not in NUMERIC_KINDS for at in self.solution.formulas.below(root)):
            return value
        number = value[0][0]
        if number != 0:
            return value
        return dense.filled(shape, number)

    def _catch_up(self) -> None:
        """Find the free indices of nodes that were added."""
        free = self._free
        for node in self._nodes[len(free) :]:
            found = [free[arg] for arg in node.args if free[arg]]
            if node.kind not in INDEXED:
                free.append(() if not found else found[0] if len(found) == 1 else tuple(sorted(set().union(*found))))
                continue
            names = set().union(*found)
            indices = _tuple(node.value)
            if node.kind == "components":
                names.difference_update(indices)
            elif node.kind == "indexed_sum":
                names.discard(indices[0])
            else:
                names.update(name for name in (indices[:1] if node.kind == "unit" else indices) if isinstance(name, str))
            free.append(tuple(sorted(names)))

    def _key(self, at: int) -> Hashable:
        free = self._free[at]
        if not free:
            return self._keys[at]
        return (self._keys[at], *[(self._indices.get(name), self._ranges.get(name)) for name in free])

    def _value(self, root: int) -> Value:
        """The value of a node, whose arguments are computed first."""
        known, key = self._known, self._key(root)
        if key in known:
            return known[key]
        if self._depth >= MAX_NESTED:
            raise LimitError(f"sums over indices stand more than {MAX_NESTED} deep in each other")
        self._depth += 1
        try:
            self._compute(root)
        finally:
            self._depth -= 1
        return known[key]

    def _compute(self, root: int) -> None:
        known, nodes = self._known, self._nodes
        stack = [root]
        while stack:
            at = stack[-1]
            key = self._key(at)
            if key in known:
                stack.pop()
                continue
            if key in self._failed:
                self._fail_again(at, self._failed[key])
            node = nodes[at]
            if node.kind not in BINDERS:
                parts = self._base(node).args if node.kind == "power" else node.args
                pending = [arg for arg in parts if self._key(arg) not in known]
                if pending:
                    stack.extend(reversed(pending))
                    continue
            try:
                value = KINDS[node.kind](self, at, node)
            except (MisfitError, ArithmeticError) as error:
                self._failed[key] = error
                raise
            if isinstance(value, list):
                _limit(len(value) * len(value[0]))
            known[key] = value
            stack.pop()

    def _fail_again(self, at: int, error: Exception) -> NoReturn:
        """The failure of an equal formula, at this place; inside of sums over indices its place is another node's."""
        while self._nodes[at].kind == "name":
            (at,) = self._nodes[at].args
        if isinstance(error, MisfitError) and error.node != at and self._keys[error.node] == self._keys[at]:
            args = self._nodes[at].args
            places = dict(zip(self._nodes[error.node].args, args, strict=False))
            operands = [places.get(operand, operand) for operand in error.operands]
            raise MisfitError(at, error.message, operands, error.left, error.right, error.hint)
        raise error.with_traceback(None)

    def _arg(self, node: Expression, place: int = 0) -> Value:
        return self._known[self._key(node.args[place])]

    def _closed(self, at: int, node: Expression, place: int = 0) -> Dense:
        value = self._known[self._key(node.args[place])]
        if isinstance(value, list):
            return value
        return self._open(at, [node.args[place]])

    def _open(self, at: int, operands: Sequence[int]) -> NoReturn:
        raise MisfitError(at, "nothing tells the size of I or 1 here", operands, hint="write it, as in I_n or 1_n")

    def _square(self, at: int, node: Expression, what: str) -> Dense:
        value = self._closed(at, node)
        if len(value) != len(value[0]):
            raise MisfitError(at, f"only a square matrix has {what}", node.args, dense.size(value))
        return value

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise LimitError(f"the answer takes more than {MAX_WORK:,} multiplications")

    def _note(self, text: str) -> None:
        self.notes[text] = None

    def _chosen(self, reading: str) -> bool:
        """Whether the setting takes a reading that fits as well as the usual one."""
        self.ambiguous.add(reading)
        return reading in self.setting.readings

    def _size_of(self, at: int, text: object) -> int:
        try:
            size = self.world.size(str(text))
        except KeyError as error:
            raise MisfitError(at, f"the composition has no size {text}") from error
        if size < 1:
            raise MisfitError(at, "an array has at least one entry")
        return size

    def _number(self, value: Fraction | int) -> Dense:
        return [[self._numbers.from_fraction(Fraction(value))]]

    # --- what stands alone ---

    def _tape_value(self, _at: int, node: Expression) -> Value:
        assert isinstance(node.value, int)
        return self.world.values[node.value]

    def _literal(self, _at: int, node: Expression) -> Value:
        assert isinstance(node.value, int | Fraction)
        return self._number(node.value)

    def _constant(self, _at: int, node: Expression) -> Value:
        return [[self._numbers.constant(str(node.value))]]

    def _size(self, at: int, node: Expression) -> Value:
        return self._number(self._size_of(at, node.value))

    def _identity(self, at: int, node: Expression) -> Value:
        if not node.value:
            return Spread(None, None, self._one)
        size = self._size_of(at, node.value)
        _limit(size * size)
        return dense.identity(size, self._numbers)

    def _ones(self, at: int, node: Expression) -> Value:
        if not node.value:
            return Spread(None, 1, None, [[self._one]])
        return _repeat([[self._one]], self._size_of(at, node.value), 1)

    def _filled(self, at: int, node: Expression) -> Value:
        name, rows, columns = _tuple(node.value)
        entry = self._one if name == "ones" else self._one * 0
        return _repeat([[entry]], self._size_of(at, rows), self._size_of(at, columns))

    def _unit(self, at: int, node: Expression) -> Value:
        index, size = _tuple(node.value)
        place = self._place(at, index)
        length = self._size_of(at, size) if size else self._ranges.get(str(index))
        if length is None:
            raise MisfitError(at, "nothing tells how long this unit vector is", hint="write e(i,n)")
        if not 1 <= place <= length:
            raise MisfitError(at, f"there is no unit column {place} of {length} entries")
        _limit(length)
        return [[self._one if i == place else self._one * 0] for i in range(1, length + 1)]

    # --- derivatives and layers ---

    def _derivative(self, _at: int, node: Expression) -> Value:
        return self._atom(node)

    def _atom_of(self, node: Expression) -> Derivative:
        assert isinstance(node.value, int)
        return self.solution.atoms[node.value]

    def _atom(self, node: Expression, on_vec: bool = False) -> Dense:
        """A derivative as the layout has it; the blocks of several variables beside or below each other."""
        atom = self._atom_of(node)
        layout, of = self._layout(atom.sign, atom.turned), self.world.shape(atom.of)
        on_vec = on_vec or atom.on_vec or len(atom.by) > 1
        shapes = [self.world.shape(by) for by in atom.by]
        blocks = [arrange(jacobian, of, by, layout.name, on_vec) for jacobian, by in zip(self._jacobians(node), shapes, strict=True)]
        if len(blocks) == 1:
            return blocks[0]
        below = layout.transposes_scalar if of == SCALAR else layout.transposes_array
        return dense.below(*blocks) if below else dense.beside(*blocks)

    def _layout(self, sign: object, turned: bool | None) -> Layout:
        """In which layout a derivative stands: some signs mean one whatever the others mean."""
        if turned is not None:
            return DENOMINATOR if turned else NUMERATOR
        return NUMERATOR if self.setting.literal and sign == "J" else self.setting.layout

    def _jacobians(self, node: Expression) -> list[Dense]:
        atom = self._atom_of(node)
        total = atom.meanings[1 if node.value in self.setting.total and len(atom.meanings) > 1 else 0] == "total"
        return [self.world.total(atom.of, by) if total else self.world.direct(atom.of, by) for by in atom.by]

    def _layer(self, at: int, node: Expression) -> Value:
        inputs, shape = self._layer_inputs(at, node, str(node.value))
        return self.world.layer(str(node.value), inputs, shape)

    def _layer_jacobian(self, at: int, node: Expression) -> Value:
        name, slot, sign = _tuple(node.value)
        inputs, of = self._layer_inputs(at, node, str(name))
        jacobian = self.world.partial(str(name), inputs, of, slot)
        by = dense.size(inputs[slot])
        return arrange(jacobian, of, by, self._layout(sign, True if sign == "∇" else None).name)

    def _layer_inputs(self, at: int, node: Expression, name: str) -> tuple[list[Dense], tuple[int, int]]:
        """What a layer is applied to, and the shape of its value, as in the composition."""
        inputs = [self._closed(at, node, place) for place in range(len(node.args))]
        shapes = [dense.size(value) for value in inputs]
        tape, shape = self.solution.tape, self.world.shape
        for value, step in enumerate(tape.steps, tape.leaves):
            if step.operation == "layer" and step.name == name and [shape(source) for source in step.inputs] == shapes:
                return inputs, shape(value)
        raise MisfitError(at, f"{name} takes inputs of other shapes in the composition", node.args[:1], shapes[0])

    # --- sums ---

    def _sum(self, at: int, node: Expression) -> Value:
        signs = _tuple(node.value)
        result = self._arg(node) if signs[0] == 1 else _map(lambda entry: -entry, self._arg(node))
        for k, arg in enumerate(node.args[1:], 1):
            other = self._known[self._key(arg)]
            function = add if signs[k] == 1 else sub
            if isinstance(result, list) and isinstance(other, list) and len(result) == len(other) and len(result[0]) == len(other[0]):
                result = [list(map(function, p, q)) for p, q in zip(result, other, strict=True)]
            else:
                result = self._plus(at, node.args[: k + 1], result, other if signs[k] == 1 else _map(lambda entry: -entry, other))
        return result

    def _plus(self, at: int, operands: Sequence[int], a: Value, b: Value) -> Value:
        """The sum of two values of any shapes."""
        if isinstance(a, list) and isinstance(b, list):
            columns = len(a) == len(b) > 1 and 1 in (len(a[0]), len(b[0]))
            if columns and len(a[0]) != len(b[0]):
                self._note("a column is added to each column of a matrix")
            spread = columns or self._numpy or _is_scalar(a) or _is_scalar(b) or _shape(a) == _shape(b)
            both = _broadcast(add, a, b) if spread else None
            if both is not None:
                return both
        else:
            open_ = self._open_sum(a, b)
            if open_ is not None:
                return open_
        return self._misfit_sum(at, operands, a, b)

    def _misfit_sum(self, at: int, operands: Sequence[int], a: Value, b: Value) -> NoReturn:
        left, right = _shape(a), _shape(b)
        hint = None
        if UNKNOWN != left == right[::-1]:
            hint = "one of them has to be transposed"
        elif left[1] == right[1] and 1 in (left[0], right[0]):
            hint = "a row r is added to each of m rows as ones(m) r"
        raise MisfitError(at, "only arrays of one shape can be added", operands, left, right, hint)

    def _open_sum(self, a: Value, b: Value) -> Value | None:
        """A sum with something of open size in it; None where it is not one."""
        if isinstance(a, list):
            a, b = b, a
        if isinstance(b, list):
            if not isinstance(a, list) and not _is_scalar(b):
                closed = self._fitted(a, dense.size(b))
                return None if closed is None else dense.add(closed, b)
            b = Spread(None, None, None, b)
        if not (isinstance(a, Spread) and isinstance(b, Spread)):
            return None
        if (a.rows or b.rows) != (b.rows or a.rows) or (a.columns or b.columns) != (b.columns or a.columns):
            return None
        rows, columns = a.rows or b.rows, a.columns or b.columns
        identity = b.identity if a.identity is None else a.identity if b.identity is None else a.identity + b.identity
        if identity is not None and (rows is not None or columns is not None):
            rows, columns = columns if rows is None else rows, rows if columns is None else columns
        if rows is not None and columns is not None:
            parts = [one.close(rows, columns) for one in (a, b)]
            return dense.add(parts[0], parts[1]) if parts[0] is not None and parts[1] is not None else None
        fill = b.fill if a.fill is None else a.fill if b.fill is None else _broadcast(add, a.fill, b.fill)
        return Spread(rows, columns, identity, fill)

    def _fitted(self, value: Open, shape: tuple[int, int]) -> Dense | None:
        """Something of open size in a shape; a column of ones, or of one number, stands for the whole array too."""
        closed = value.close(*shape)
        if closed is None and isinstance(value, Spread) and value.rows is None and value.columns == 1 and value.fill is not None:
            return dense.filled(shape, value.fill[0][0])
        return closed

    def _negate(self, _at: int, node: Expression) -> Value:
        return _map(lambda entry: -entry, self._arg(node))

    # --- products ---

    def _product(self, at: int, node: Expression) -> Value:
        result = self._arg(node)
        for join, sign in enumerate(_tuple(node.value)):
            result = self._join(at, node, join, str(sign), result, self._known[self._key(node.args[join + 1])])
        return result

    def _join(self, at: int, node: Expression, join: int, sign: str, a: Value, b: Value) -> Value:
        """Two factors and the sign between them, from left to right."""
        if sign in DIVISION_SIGNS:
            return self._quotient(at, node.args[: join + 2], (self._keys[at], join), a, b)
        if _is_scalar(a) or _is_scalar(b):
            self.operators[self._keys[at], join] = "scale"
            return _scaled(a, b) if _is_scalar(a) else _scaled(b, a)
        if sign == "⊗":
            return self._kron_sign(at, node, join, a, b)
        readings = ["matrix"] if sign in MATRIX_SIGNS else ["entrywise"] if sign in ENTRYWISE_SIGNS else ["matrix", "entrywise"]
        if sign == "∘" or (self._numpy and sign == "*"):
            readings = ["entrywise", "matrix"][: 1 if self._numpy else 2]
        found = [(reading, value) for reading in readings if (value := self._read(reading, a, b)) is not None]
        inner = sign == "·" or (sign == "@" and self._numpy)
        if inner and isinstance(a, list) and isinstance(b, list) and _shape(a) == _shape(b) and 1 in _shape(a):
            found.append(("inner", [[sum(x * y for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))]]))
        if not found:
            found = self._by_atoms(node, join, readings, a, b)
        if not found:
            self._misfit_product(at, node, join, readings, a, b)
        take = found[-1] if len(found) > 1 and self._chosen(f"{sign} {found[1][0]}") else found[0]
        self.operators[self._keys[at], join] = take[0]
        return take[1]

    def _read(self, reading: str, a: Value, b: Value) -> Value | None:
        """The matrix product or that of entries, None where it does not fit."""
        if reading == "matrix":
            return self._matrix(a, b)
        if isinstance(a, list) and isinstance(b, list):
            if len(a) == len(b) and len(a[0]) == len(b[0]):
                return [list(map(mul, p, q)) for p, q in zip(a, b, strict=True)]
            return _broadcast(mul, a, b) if self._numpy else None
        if isinstance(a, list) or isinstance(b, list):
            closed, other = (a, b) if isinstance(a, list) else (b, a)
            fitted = self._fitted(other, dense.size(closed)) if isinstance(closed, list) and not isinstance(other, list) else None
            return None if fitted is None or not isinstance(closed, list) else dense.hadamard(closed, fitted)
        return None

    def _matrix(self, a: Value, b: Value) -> Value | None:
        """The matrix product, None where inner sizes differ."""
        if isinstance(a, list) and isinstance(b, list):
            if len(a[0]) != len(b):
                return None
            self._spend(len(a) * len(b) * len(b[0]))
            columns = list(zip(*b, strict=True))
            return [[sum(map(mul, row, column)) for column in columns] for row in a]
        if isinstance(b, list):
            return self._open_times(a, b) if not isinstance(a, list) else None
        if isinstance(a, list):
            turned = self._open_times(b.transpose(), dense.transpose(a))
            return None if turned is None else _transpose(turned)
        if not (isinstance(a, Spread) and isinstance(b, Spread)):
            return None
        for one, other in ((a, b), (b, a)):
            if one.identity is not None and one.fill is None:
                return _scaled([[one.identity]], other)
        inner = b.rows if a.columns is None else a.columns
        if inner is None or b.rows not in (None, inner):
            return None
        if b.columns is None and b.identity is None and b.fill is not None:
            product = self._matrix(a, _repeat(b.fill, inner, 1))
            if isinstance(product, list):
                return Spread(len(product), None, None, product)
            return Spread(product.rows, None, None, product.fill) if isinstance(product, Spread) else None
        closed = b.close(inner, None)
        return None if closed is None else self._matrix(a, closed)

    def _open_times(self, a: Open, b: Dense) -> Value | None:
        """A value of open size times a matrix."""
        if isinstance(a, Spread) and a.identity is None and a.rows is None and a.fill is not None:
            if a.columns not in (None, len(b)):
                return None
            product = self._matrix(_repeat(a.fill, 1, len(b)), b)
            return Spread(None, len(b[0]), None, product) if isinstance(product, list) else None
        closed = a.close(None, len(b))
        return None if closed is None else self._matrix(closed, b)

    def _by_atoms(self, node: Expression, join: int, readings: Sequence[str], a: Value, b: Value) -> list[tuple[str, Value]]:
        """Readings of a join that fit if a derivative in it is taken as people mean it.

        The derivative of an array by what it is computed from entry by entry stands for the array of slopes; that of a scalar by a matrix,
        in a chain of Jacobians on ``vec``, for its own form on ``vec``.
        """
        left, right = None if join else node.args[0], node.args[join + 1]
        if "entrywise" in readings:
            for one, value in ((right, a), (left, b)):
                slopes = self._slopes(one)
                if slopes is not None and isinstance(value, list) and dense.size(value) == dense.size(slopes):
                    self._note("the derivative of an array by one of the same shape is read as the array of its slopes")
                    return [("entrywise", dense.hadamard(slopes, value))]
        if "matrix" in readings:
            first, second = self._on_vec(left), self._on_vec(right)
            for pair in ((first, b), (a, second)):
                product = None if pair[0] is None or pair[1] is None else self._matrix(*pair)
                if product is not None:
                    self._note("the derivative of a scalar by a matrix is taken on vec where it multiplies a Jacobian on vec")
                    return [("matrix", product)]
        return []

    def _slopes(self, at: int | None) -> Dense | None:
        """The slopes f'(z), in the shape of z, where a node is the derivative of f(z) by z."""
        found = self._bare_atom(at)
        if found is None:
            return None
        turns, node, atom = found
        shape = self.world.shape(atom.of)
        if shape != self.world.shape(atom.by[0]) or shape == SCALAR:
            return None
        (jacobian,) = self._jacobians(node)
        if any(entry != 0 for i, row in enumerate(jacobian) for j, entry in enumerate(row) if i != j):
            return None
        slopes = dense.from_entries([row[i] for i, row in enumerate(jacobian)], shape)
        return dense.transpose(slopes) if turns % 2 else slopes

    def _bare_atom(self, at: int | None) -> tuple[int, Expression, Derivative] | None:
        """The derivative by one value that a node is, behind the number of transposes that stand on it."""
        if at is None:
            return None
        turns, at = self._stripped(at)
        node = self._nodes[at]
        if node.kind != "derivative" or len(self._atom_of(node).by) != 1:
            return None
        return turns, node, self._atom_of(node)

    def _on_vec(self, at: int | None) -> Dense | None:
        """The derivative of a scalar by a matrix on ``vec``, where a node is one."""
        found = self._bare_atom(at)
        if found is None:
            return None
        turns, node, atom = found
        if atom.turned is not None or self.world.shape(atom.of) != SCALAR or 1 in self.world.shape(atom.by[0]):
            return None
        form = self._atom(node, on_vec=True)
        return dense.transpose(form) if turns % 2 else form

    def _stripped(self, at: int) -> tuple[int, int]:
        """How often a node is transposed, and what is below that and below its names."""
        turns = 0
        while self._nodes[at].kind in ("name", "transpose"):
            turns += self._nodes[at].kind == "transpose"
            (at,) = self._nodes[at].args
        return turns, at

    def _misfit_product(self, at: int, node: Expression, join: int, readings: Sequence[str], a: Value, b: Value) -> NoReturn:
        operands = node.args[: join + 2]
        left, right = _shape(a), _shape(b)
        if left == right == UNKNOWN:
            self._open(at, operands)
        if "matrix" not in readings:
            hint = "one of them has to be transposed" if UNKNOWN != left == right[::-1] else None
            raise MisfitError(at, "only arrays of one shape can be multiplied entry by entry", operands, left, right, hint)
        hint = None
        if UNKNOWN != left == right and readings == ["matrix"]:
            hint = "write ⊙ for the product of entries" + (", aᵀ b for a number" if left[1] == 1 else "")
        raise MisfitError(at, "the inner sizes of a matrix product have to be equal", operands, left, right, hint)

    def _kron_sign(self, at: int, node: Expression, join: int, a: Value, b: Value) -> Value:
        """⊗: Kronecker's product, of columns perhaps u vᵀ, of arrays of one shape perhaps that of entries."""
        key = (self._keys[at], join)
        left, right = _shape(a), _shape(b)
        if isinstance(a, list) and isinstance(b, list):
            if left == right and self._chosen("⊗ entrywise"):
                self.operators[key] = "entrywise"
                return dense.hadamard(a, b)
            if left[1] == right[1] == 1 and self._chosen("⊗ outer"):
                self.operators[key] = "outer"
                return self._matrix(a, dense.transpose(b)) or a
        self.operators[key] = "kron"
        return self._kron(at, node.args[: join + 2], a, b)

    def _kron(self, at: int, operands: Sequence[int], a: Value, b: Value) -> Value:
        if isinstance(a, list) and isinstance(b, list):
            _limit(len(a) * len(a[0]) * len(b) * len(b[0]))
            return dense.kron(a, b)
        if isinstance(a, list) and isinstance(b, Spread):
            return Blown(a, b, None)
        if isinstance(b, list) and isinstance(a, Spread):
            return Blown(None, a, b)
        return self._open(at, operands)

    # --- quotients, powers, inverses ---

    def _fraction(self, at: int, node: Expression) -> Value:
        return self._quotient(at, node.args, (self._keys[at], 0), self._arg(node), self._arg(node, 1))

    def _quotient(self, at: int, operands: Sequence[int], key: tuple[int, int], a: Value, b: Value) -> Value:
        self.operators[key] = "divide"
        if isinstance(b, list) and _is_scalar(b):
            divisor = b[0][0]
            return _map(lambda entry: entry / divisor, a)
        if isinstance(b, list):
            if isinstance(a, list):
                quotient = _broadcast(truediv, a, b) if self._numpy or _is_scalar(a) or _shape(a) == _shape(b) else None
            else:
                fitted = self._fitted(a, dense.size(b))
                quotient = None if fitted is None else _broadcast(truediv, fitted, b)
            if quotient is not None:
                self._note("a quotient by an array is taken entry by entry")
                return quotient
        raise MisfitError(at, "only a number, or an array of the same shape, can divide", operands, _shape(a), _shape(b))

    def _power(self, at: int, node: Expression) -> Value:
        exponent, entrywise = _tuple(node.value)
        if abs(exponent.numerator) > MAX_EXPONENT or exponent.denominator > MAX_EXPONENT:
            raise LimitError(f"powers above {MAX_EXPONENT} are not computed")
        base = self._base(node)
        if base is not node:
            inner = self._closed(at, base)
            if base.kind == "bars" and len(inner) == len(inner[0]):
                return [[self._numbers.power(dense.det(inner, self._numbers), exponent)]]
            return [[self._numbers.power(_sum_of_squares(inner), exponent / 2)]]
        value = self._arg(node)
        if isinstance(value, Spread) and (value.identity is None or value.fill is None):
            return value.map(lambda entry: self._numbers.power(entry, exponent))
        value = self._closed(at, node)
        if not entrywise and not _is_scalar(value):
            rows, columns = dense.size(value)
            if rows == columns and exponent.denominator == 1 and not (abs(exponent) != 1 and self._chosen("power entrywise")):
                return self._matrix_power(value, exponent.numerator)
            self._note("a power of an array is taken entry by entry")
        return [[self._numbers.power(entry, exponent) for entry in row] for row in value]

    def _base(self, node: Expression) -> Expression:
        """The norm of which a power is even, so that no root has to be taken; else the power itself."""
        exponent, _ = _tuple(node.value)
        at = node.args[0]
        while self._nodes[at].kind == "name":
            (at,) = self._nodes[at].args
        inner = self._nodes[at]
        is_norm = inner.kind == "bars" or (inner.kind == "norm" and inner.value != "1")
        return inner if is_norm and exponent.denominator == 1 and exponent.numerator % 2 == 0 else node

    def _matrix_power(self, value: Dense, exponent: int) -> Dense:
        n = len(value)
        self._spend(n**3 * (abs(exponent).bit_length() + 1))
        if exponent < 0:
            value, exponent = dense.inverse(value, self._numbers), -exponent
        result = dense.identity(n, self._numbers)
        while exponent:
            if exponent & 1:
                result = dense.product(result, value)
            exponent >>= 1
            value = dense.product(value, value) if exponent else value
        return result

    def _inverse(self, at: int, node: Expression) -> Value:
        value = self._arg(node)
        if isinstance(value, Spread) and value.identity is not None and value.fill is None:
            return value.map(lambda entry: 1 / entry)
        closed = self._square(at, node, "an inverse")
        if _is_scalar(closed):
            return [[self._one / closed[0][0]]]
        self._spend(2 * len(closed) ** 3)
        return dense.inverse(closed, self._numbers)

    def _transpose(self, _at: int, node: Expression) -> Value:
        return _transpose(self._arg(node))

    # --- functions ---

    def _apply(self, at: int, node: Expression) -> Value:
        name, order = _tuple(node.value)
        value = self._arg(node)
        if isinstance(value, Spread) and value.identity is None and value.fill is not None:
            return Spread(value.rows, value.columns, None, self._function(str(name), order, value.fill))
        return self._function(str(name), order, self._closed(at, node))

    def _function(self, name: str, order: int, value: Dense) -> Dense:
        """An elementwise function of every entry, or its derivative of some order."""
        if name in ELEMENTWISE:
            function = self._numbers.apply
            return [[function(name, entry, order) for entry in row] for row in value]
        return self.world.apply(name, value, order)

    def _indicator(self, at: int, node: Expression) -> Value:
        return self._function("step", 0, self._closed(at, node))

    def _call(self, at: int, node: Expression) -> Value:
        name, direction = (str(part) for part in _tuple(node.value))
        if name == "kron":
            return self._kron(at, node.args, self._arg(node), self._arg(node, 1))
        if name not in CALLS:
            raise MisfitError(at, f"the function {name} has no meaning here", node.args[:1])
        return CALLS[name](self, at, node, direction)

    def _along(self, function: Callable[[Dense], Any], value: Dense, direction: str) -> Dense:
        """A function of columns that gives a number: of each row, of each column, or of all entries."""
        if direction == "rows":
            return [[function([[entry] for entry in row])] for row in value]
        if direction == "columns":
            return [[function([[entry] for entry in column]) for column in zip(*value, strict=True)]]
        return [[function(dense.vec(value))]]

    def _sum_call(self, at: int, node: Expression, direction: str) -> Dense:
        return self._along(lambda column: sum(row[0] for row in column), self._closed(at, node), direction)

    def _mean_call(self, at: int, node: Expression, direction: str) -> Dense:
        return self._along(lambda column: sum(row[0] for row in column) / len(column), self._closed(at, node), direction)

    def _logsumexp(self, at: int, node: Expression, direction: str) -> Dense:
        return self._along(lambda column: dense.logsumexp(column, self._numbers), self._closed(at, node), direction)

    def _direction(self, value: Dense, direction: str) -> str:
        """Along which axis a softmax goes where that is not said: a vector's, or as in the composition."""
        if direction or 1 in dense.size(value):
            return direction or ("columns" if len(value[0]) == 1 else "rows")
        directions = {step.name for step in self.solution.tape.steps if step.operation == "softmax"}
        direction = directions.pop() if len(directions) == 1 else "rows"
        self._note(f"the softmax of a matrix is taken of its {direction}")
        return direction

    def _softmax(self, at: int, node: Expression, direction: str) -> Dense:
        value = self._closed(at, node)
        return dense.softmax(value, self._numbers, self._direction(value, direction))

    def _logsoftmax(self, at: int, node: Expression, direction: str) -> Dense:
        value = self._closed(at, node)
        by_columns = self._direction(value, direction) == "columns"
        rows = dense.transpose(value) if by_columns else value
        totals = self._along(lambda column: dense.logsumexp(column, self._numbers), rows, "rows")
        result = [[entry - total for entry in row] for row, (total,) in zip(rows, totals, strict=True)]
        return dense.transpose(result) if by_columns else result

    def _layernorm(self, at: int, node: Expression, direction: str) -> Dense:
        value = self._closed(at, node)
        if direction == "rows":
            return [dense.layernorm([row], self._numbers)[0] for row in value]
        if direction == "columns" or 1 not in dense.size(value):
            return dense.transpose([dense.layernorm([row], self._numbers)[0] for row in dense.transpose(value)])
        return dense.layernorm(value, self._numbers)

    def _diag(self, at: int, node: Expression, _direction: str) -> Dense:
        value = self._closed(at, node)
        if _is_scalar(value):
            return value
        if 1 in dense.size(value):
            _limit((len(value) * len(value[0])) ** 2)
            return dense.diag(value if len(value[0]) == 1 else dense.transpose(value))
        return dense.diagonal(self._square(at, node, "a diagonal"))

    def _vec(self, at: int, node: Expression, _direction: str) -> Dense:
        return dense.vec(self._closed(at, node))

    def _trace(self, at: int, node: Expression, _direction: str) -> Dense:
        return [[dense.trace(self._square(at, node, "a trace"))]]

    def _det(self, at: int, node: Expression, _direction: str) -> Dense:
        value = self._square(at, node, "a determinant")
        self._spend(len(value) ** 3)
        return [[dense.det(value, self._numbers)]]

    def _logdet(self, at: int, node: Expression, _direction: str) -> Dense:
        value = self._square(at, node, "a determinant")
        self._spend(len(value) ** 3)
        return [[dense.logdet(value, self._numbers)]]

    def _squares(self, at: int, node: Expression, _direction: str) -> Dense:
        return [[_sum_of_squares(self._closed(at, node))]]

    def _norm1(self, at: int, node: Expression, _direction: str) -> Dense:
        return OPERATIONS["norm1"](Step("norm1", "", (0,)), [self._closed(at, node)], SCALAR, self._numbers)

    def _cross_entropy(self, at: int, node: Expression, _direction: str) -> Dense:
        inputs = [self._closed(at, node, place) for place in (0, 1)]
        left, right = map(dense.size, inputs)
        if left != right:
            raise MisfitError(at, "CE(p, y) is of two arrays of one shape", node.args, left, right)
        return OPERATIONS["CE"](Step("CE", "", (0, 1)), inputs, SCALAR, self._numbers)

    def _norm(self, at: int, node: Expression) -> Value:
        return self._norm1(at, node, "") if node.value == "1" else self._norm2(self._closed(at, node))

    def _norm2(self, value: Dense) -> Dense:
        if _is_scalar(value):
            return [[self._numbers.apply("abs", value[0][0])]]
        return [[self._numbers.power(_sum_of_squares(value), Fraction(1, 2))]]

    def _bars(self, at: int, node: Expression) -> Value:
        value = self._closed(at, node)
        if len(value) == len(value[0]) > 1:
            self._note("bars around a square matrix are read as its determinant")
            return [[dense.det(value, self._numbers)]]
        if not _is_scalar(value):
            self._note("bars around an array are read as its norm")
        return self._norm2(value)

    # --- blocks ---

    def _beside(self, at: int, node: Expression) -> Value:
        return self._blocks(at, node, lambda value: value, "blocks beside each other have equally many rows")

    def _below(self, at: int, node: Expression) -> Value:
        return _transpose(self._blocks(at, node, _transpose, "blocks below each other have equally many columns"))

    def _blocks(self, at: int, node: Expression, turned: Callable[[Value], Value], message: str) -> Dense:
        values = [turned(self._known[self._key(arg)]) for arg in node.args]
        height = max((len(value) for value in values if isinstance(value, list)), default=None)
        result: Dense | None = None
        for k, value in enumerate(values):
            block = value if isinstance(value, list) else value.close(height, None)
            if block is None:
                self._open(at, [node.args[k]])
            if len(block) != height:
                raise MisfitError(at, message, node.args[: k + 1], _shape(self._arg(node)), _shape(self._arg(node, k)))
            result = block if result is None else dense.beside(result, block)
        return result if result is not None else self._open(at, node.args)

    # --- indices ---

    def _place(self, at: int, index: object) -> int:
        if not isinstance(index, str):
            return int(str(index))
        place = self._indices.get(index)
        if place is None:
            raise MisfitError(at, f"nothing tells what the index {index} runs over")
        return place

    def _entry(self, at: int, node: Expression) -> Value:
        indices = _tuple(node.value)
        places = [self._place(at, index) for index in indices]
        value, axes = self._axes(at, node)
        if not isinstance(value, list):
            return self._open_entry(at, node, value, places)
        if len(axes) == 2 and len(places) == 1:  # a row or a column of a matrix, as a column
            if not self._means_row(indices[0], axes):
                value, axes = dense.transpose(value), axes[::-1]
            axes = axes[:1]
        elif len(axes) != len(places):
            raise MisfitError(at, f"it has {len(places)} indices, and the array {len(axes)} axes", node.args, dense.size(value))
        for place, size in zip(places, axes, strict=True):
            if not 1 <= place <= size:
                raise MisfitError(at, f"there is no entry {place} of {size}", node.args, dense.size(value))
        if len(axes) < len(_axes_of(dense.size(value))):
            return [[entry] for entry in value[places[0] - 1]]
        flat, step = 0, 1  # entries are counted column after column, also those of a Jacobian of matrices
        for place, size in zip(places, axes, strict=True):
            flat, step = flat + (place - 1) * step, step * size
        return [[value[flat % len(value)][flat // len(value)]]]

    def _open_entry(self, at: int, node: Expression, value: Open, places: Sequence[int]) -> Value:
        """An entry of I, or of ones."""
        if isinstance(value, Blown) or len(places) > 2 or (value.fill is not None and dense.size(value.fill) != SCALAR):
            self._open(at, node.args)
        result = self._one * 0 if value.fill is None else value.fill[0][0]
        if value.identity is not None and len(set(places)) == 1:
            result = result + value.identity
        return [[result]]

    def _axes(self, at: int, node: Expression) -> tuple[Value, list[int]]:
        """What indices pick entries of, with the sizes they run over.

        The indices of a derivative are those of what is differentiated, then those of the variable, in every layout: ∂y_i/∂x_j.
        """
        count = len(_tuple(node.value))
        turns, below = self._stripped(node.args[0])
        if turns == 0 and self._nodes[below].kind == "derivative":
            atom = self._atom_of(self._nodes[below])
            if len(atom.by) == 1:
                shapes = self.world.shape(atom.of), self.world.shape(atom.by[0])
                axes = [size for shape in shapes for size in _axes_of(shape)]
                if count == len(axes) or (shapes[0] == SCALAR and count == 1):
                    (jacobian,) = self._jacobians(self._nodes[below])
                    return (dense.from_entries(jacobian[0], shapes[1]) if shapes[0] == SCALAR else jacobian), axes
        value = self._value(node.args[0])
        if isinstance(value, Spread):
            return value, []
        if not isinstance(value, list):
            self._open(at, node.args)
        shape = dense.size(value)
        return value, list(shape) if count == 2 else _axes_of(shape)

    def _means_row(self, index: object, axes: Sequence[int]) -> bool:
        """Whether one index of a matrix picks a row: by what the index runs over, else unless the setting says columns."""
        size = self._ranges.get(index) if isinstance(index, str) else None
        if size in axes and axes[0] != axes[1]:
            return size == axes[0]
        return not self._chosen("matrix columns")

    def _delta(self, at: int, node: Expression) -> Value:
        places = {self._place(at, index) for index in _tuple(node.value)}
        return [[self._one if len(places) == 1 else self._one * 0]]

    def _indexed_sum(self, at: int, node: Expression) -> Value:
        name, low, high = _tuple(node.value)
        body = node.args[0]
        name = str(name)
        used = name in self._free[body]
        size = self._range(body, name) if used else None
        first, last = self._bound(low, size), self._bound(high, size)
        last = size if last is None and not high else last
        if last is None or (first is None and low):
            raise MisfitError(at, f"nothing tells what the index {name} runs over", [body], hint="write where the sum begins and ends")
        first = 1 if first is None else first
        if first == 0 and size is not None and last == size - 1:
            first, last = 1, size  # counted from zero
        count = max(last - first + 1, 0)
        if count > MAX_TERMS:
            raise LimitError(f"a sum of {count:,} terms is not computed; the limit is {MAX_TERMS:,}")
        self._spend(10 * count)
        if not used:
            return _scaled(self._number(count), self._value(body))
        total: Value | None = None
        with _Index(self, name, last) as index:
            for place in range(first, last + 1):
                index.put(place)
                value = self._value(body)
                total = value if total is None else self._plus(at, (body, body), total, value)
        return self._number(0) if total is None else total

    def _bound(self, text: object, size: int | None) -> int | None:
        """Where a sum over an index begins or ends, None where that is not known: a number, or a size with a number added.

        A letter that is no size, such as N, stands for what the index runs over.
        """
        match = re.fullmatch(r"(.+?)(?:([+-])([0-9]+))?", str(text).replace(" ", ""))
        if match is None:
            return None
        try:
            start = self.world.size(match[1])
        except KeyError:
            if size is None:
                return None
            self._note(f"{match[1]} is read as the last of the index")
            start = size
        return start + (int(f"{match[2]}{match[3]}") if match[2] else 0)

    def _components(self, at: int, node: Expression) -> Value:
        """The array of all entries; a number instead of an index stands for itself alone."""
        indices = _tuple(node.value)
        body = node.args[0]
        names = [index for index in indices if isinstance(index, str)]
        if len(indices) > 2 or len(set(names)) != len(names):
            raise MisfitError(at, "components have one index or two different ones", [body])
        sizes = self._ranges_of(at, body, indices)
        outer = [index if isinstance(index, str) else None for index in (*indices, None)[:2]]
        rows, columns = [sizes.get(name, 1) if name else 1 for name in outer]
        _limit(rows * columns)
        result = []
        for i in range(1, rows + 1):
            line = []
            for j in range(1, columns + 1):
                with _Index(self, outer[0], rows) as row, _Index(self, outer[1], columns) as column:
                    row.put(i)
                    column.put(j)
                    value = self._value(body)
                if not isinstance(value, list) or not _is_scalar(value):
                    raise MisfitError(at, "each component has to be a number", [body], _shape(value))
                line.append(value[0][0])
            result.append(line)
        return result

    def _ranges_of(self, at: int, body: int, indices: Sequence[object]) -> dict[str, int]:
        """What the indices of components run over: found in what they stand at, or by the shape that is wanted."""
        sizes: dict[str, int] = {}
        names = [index for index in indices if isinstance(index, str)]
        for _ in names:  # one may follow from another, by δ_ij
            for name in names:
                size = self._range(body, name, sizes) if name not in sizes else None
                if size is not None:
                    sizes[name] = size
        wanted = self._wanted
        for name in names:
            if name not in sizes:
                if wanted is None or wanted[0] != self._keys[at]:
                    raise MisfitError(at, f"nothing tells what the index {name} runs over", [body])
                shape = wanted[1]
                sizes[name] = shape[indices.index(name)] if len(indices) == 2 else shape[0] * shape[1]
        return sizes

    def _range(self, body: int, name: str, others: Mapping[str, int] | None = None) -> int | None:
        """The size of the axes at which an index stands, None where it stands at none; ``others`` are the ranges of further indices."""
        ranges = {**self._ranges, **(others or {})}
        sizes: list[int] = []
        loose: list[list[int]] = []
        stack, seen = [body], set()
        while stack:
            at = stack.pop()
            if at in seen or name not in self._free[at]:
                continue
            seen.add(at)
            node = self._nodes[at]
            stack.extend(node.args)
            indices = _tuple(node.value) if node.kind in ("entry", "unit", "delta") else ()
            if name not in indices:
                continue
            if node.kind == "unit":
                sizes.extend([self._size_of(at, indices[1])] if indices[1] else [])
            elif node.kind == "delta":
                sizes.extend(ranges[other] for other in indices if other != name and other in ranges)
            else:
                axes = self._axes_anywhere(at, node)
                if len(axes) == 2 and len(indices) == 1:
                    loose.append(axes)
                else:
                    sizes.extend(size for index, size in zip(indices, axes, strict=False) if index == name)
        if sizes:
            return max(sizes)
        if not loose:
            return None
        axes = loose[0]
        common = [size for size in axes if all(size in other for other in loose)]
        if len(set(common)) == 1:
            return common[0]
        return axes[self._chosen("matrix columns")]

    def _axes_anywhere(self, at: int, node: Expression) -> list[int]:
        """The sizes of the axes of what is indexed, whatever other indices in it are."""
        saved = dict(self._indices)
        for name in self._free[node.args[0]]:
            self._indices.setdefault(name, 1)
        try:
            return self._axes(at, node)[1]
        finally:
            self._indices = saved

    def _name(self, _at: int, node: Expression) -> Value:
        return self._arg(node)


class _Index:
    """An index while a sum or an array runs over it; what it was before is restored."""

    def __init__(self, appraiser: Appraiser, name: str | None, size: int) -> None:
        self.appraiser = appraiser
        self.name = name
        self.size = size
        self.before: tuple[int | None, int | None] = (None, None)

    def __enter__(self) -> _Index:
        appraiser = self.appraiser
        if self.name is not None:
            self.before = appraiser._indices.get(self.name), appraiser._ranges.get(self.name)
            appraiser._ranges[self.name] = self.size
        return self

    def put(self, place: int) -> None:
        """Where the index is now."""
        if self.name is not None:
            self.appraiser._indices[self.name] = place

    def __exit__(self, *_: object) -> None:
        appraiser = self.appraiser
        if self.name is not None:
            for table, before in zip((appraiser._indices, appraiser._ranges), self.before, strict=True):
                if before is None:
                    table.pop(self.name, None)
                else:
                    table[self.name] = before


KINDS: dict[str, Callable[[Appraiser, int, Expression], Value]] = {
    "value": Appraiser._tape_value,
    "number": Appraiser._literal,
    "constant": Appraiser._constant,
    "size": Appraiser._size,
    "identity": Appraiser._identity,
    "ones": Appraiser._ones,
    "filled": Appraiser._filled,
    "unit": Appraiser._unit,
    "derivative": Appraiser._derivative,
    "layer": Appraiser._layer,
    "layer_jacobian": Appraiser._layer_jacobian,
    "sum": Appraiser._sum,
    "negate": Appraiser._negate,
    "product": Appraiser._product,
    "elementwise": Appraiser._product,
    "fraction": Appraiser._fraction,
    "transpose": Appraiser._transpose,
    "inverse": Appraiser._inverse,
    "power": Appraiser._power,
    "apply": Appraiser._apply,
    "call": Appraiser._call,
    "norm": Appraiser._norm,
    "bars": Appraiser._bars,
    "indicator": Appraiser._indicator,
    "beside": Appraiser._beside,
    "below": Appraiser._below,
    "entry": Appraiser._entry,
    "indexed_sum": Appraiser._indexed_sum,
    "delta": Appraiser._delta,
    "components": Appraiser._components,
    "name": Appraiser._name,
}
"""What each kind of node means."""

INDEXED = frozenset({"entry", "delta", "unit", "indexed_sum", "components"})
"""Kinds with indices."""

BINDERS = frozenset({"indexed_sum", "components"})
"""Kinds that compute their argument themselves, at several indices."""

CALLS: dict[str, Callable[[Appraiser, int, Expression, str], Dense]] = {
    "softmax": Appraiser._softmax,
    "logsoftmax": Appraiser._logsoftmax,
    "logsumexp": Appraiser._logsumexp,
    "layernorm": Appraiser._layernorm,
    "sum": Appraiser._sum_call,
    "mean": Appraiser._mean_call,
    "tr": Appraiser._trace,
    "det": Appraiser._det,
    "logdet": Appraiser._logdet,
    "diag": Appraiser._diag,
    "vec": Appraiser._vec,
    "sqnorm": Appraiser._squares,
    "norm1": Appraiser._norm1,
    "CE": Appraiser._cross_entropy,
}
"""Functions of arrays."""


# --- messages ---


def describe(misfit: MisfitError, solution: Solution, world: World) -> str:
    """A misfit for the person who wrote the answer: what does not fit as typed, both sizes in symbols, and what would mend it."""

    def size(shape: tuple[int, int]) -> str:
        if shape == UNKNOWN:
            return "of open size"
        return "a number" if shape == SCALAR else f"{world.words(shape[0])} x {world.words(shape[1])}"

    if not misfit.operands:
        typed = _typed(solution, [misfit.node])
        return f"{typed}: {misfit.message}{_mended([misfit.hint] if misfit.hint else [])}" if typed else misfit.message
    sides = [misfit.operands] if misfit.right == UNKNOWN or len(misfit.operands) < 2 else [misfit.operands[:-1], misfit.operands[-1:]]
    names = [_typed(solution, side) or default for side, default in zip(sides, ("the left side", "the right side"), strict=False)]
    shown = " and ".join(f"{name} is {size(shape)}" for name, shape in zip(names, (misfit.left, misfit.right), strict=False))
    return f"{shown}: {misfit.message}{_mended(_repairs(misfit, names, solution) or ([misfit.hint] if misfit.hint else []))}"


def _mended(repairs: Sequence[str]) -> str:
    return f"; {' or '.join(repairs)}" if repairs else ""


def _repairs(misfit: MisfitError, names: Sequence[str], solution: Solution) -> list[str]:
    """What makes a matrix product fit: one transpose, or the other order."""
    kind = solution.formulas.nodes[misfit.node].kind
    (m, n), (p, q) = misfit.left, misfit.right
    if len(names) < 2 or UNKNOWN in (misfit.left, misfit.right):
        return []
    if kind in ("sum", "elementwise"):
        return [f"transpose {names[1]}"] if (m, n) == (q, p) else []
    if kind != "product" or (m, n) == (p, q):
        return []
    mends = [f"transpose {names[0]}"] if m == p else []
    mends += [f"transpose {names[1]}"] if n == q else []
    return mends or ([f"{names[1]} {names[0]} fits"] if q == m else [])


def _typed(solution: Solution, nodes: Sequence[int]) -> str:
    """What some neighbouring nodes are in the answer as typed, with the brackets that belong to it; empty for what stands elsewhere."""
    places = [solution.formulas.nodes[node] for node in nodes]
    start, end, text = min(place.start for place in places), max(place.end for place in places), solution.text
    if start < 0 or end <= start:
        return ""
    inside = text[start:end]
    for opening, closing in ("()", "[]", "{}"):
        depth = lowest = 0
        for character in inside:
            depth += (character == opening) - (character == closing)
            lowest = min(lowest, depth)
        before, behind = text[:start].rstrip(), text[end:].lstrip()
        if lowest < 0 and before.endswith(opening):
            start = len(before) - 1
        if depth > lowest and behind.startswith(closing):
            end = len(text) - len(behind) + 1
    return text[start:end].strip()
