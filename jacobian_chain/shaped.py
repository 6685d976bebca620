"""Values with rows and columns: steps that are made with their shapes, and what is said where shapes do not fit."""

from __future__ import annotations

from fractions import Fraction
from typing import NoReturn

from jacobian_chain.assembly import Assembly
from jacobian_chain.combination import ONE, Combination, Operand, single_value
from jacobian_chain.errors import LimitError, Place, ReadingError
from jacobian_chain.sizes import LOSS, UPPER, USED, Sizes
from jacobian_chain.statements import Statements
from jacobian_chain.survey import Survey
from jacobian_chain.syntax import Node
from jacobian_chain.tape import Shape, Step

MAX_STEPS = 300_000
"""Most steps that definitions are written out to."""

LONGEST_EXCERPT = 40
"""Most characters of the text in a message."""

_SHAPED = frozenset({"ones", "zeros", "identity", "unit", "dimension"})


class Shaped(Assembly):
    """Fills a tape with steps whose sizes are found equal one by one.

    Attributes:
        survey: what is known of the nodes.
        sizes: all sizes; ``rows`` and ``columns`` hold those of each value.
        known: steps that were made in the equation or definition that is being read.
        calls: values that definitions give.
        assumed: leaves that are columns by their name only.
    """

    def __init__(self, statements: Statements, survey: Survey) -> None:
        super().__init__(statements)
        self.survey = survey
        self.sizes = Sizes()
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.known: dict[object, int] = {}
        self.calls: list[tuple[int, str, tuple[int, ...]]] = []
        self.assumed: set[int] = set()
        self.late: list[tuple[int, int]] = []  # steps that are a size, which is not known yet

    def put(self, step: Step, rows: int, columns: int, node: Node) -> int:
        """The value of a step, known here or new."""
        key: object = step
        if step.operation in _SHAPED:
            key = (step, self.sizes.find(rows), self.sizes.find(columns))
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = len(self.names)
            if len(self.steps) >= MAX_STEPS and self.statements.definitions:
                raise LimitError(f"written out, the definitions have more than {MAX_STEPS:,} steps", self.place(node))
            self.append(step, rows, columns, node)
        return known

    def append(self, step: Step, rows: int, columns: int, node: Node) -> int:
        """The value of a new step."""
        self.steps.append(step)
        self.nodes_of_steps.append(node)
        self.names.append("")
        self.rows.append(rows)
        self.columns.append(columns)
        return len(self.names) - 1

    def number(self, number: Fraction, node: Node) -> int:
        """The value that a number is."""
        return self.put(Step("number", "", (), (number,)), self.sizes.one, self.sizes.one, node)

    def value_of(self, operand: Operand, node: Node) -> int:
        """The value that an operand is; a number or a combination becomes a step."""
        if isinstance(operand, int):
            return operand
        if isinstance(operand, Combination):
            value = single_value(operand)
            return self.put(operand.as_step(), *self.shape_of(operand.like), node) if value is None else value
        return self.number(operand, node)

    def split(self, operand: int | Combination, node: Node) -> tuple[Fraction, int]:
        """A number and a value whose product an operand is."""
        if isinstance(operand, int):
            return ONE, operand
        found = operand.multiple()
        return found if found is not None and found[0] else (ONE, self.value_of(operand, node))

    def times(self, number: Fraction, value: int, node: Node) -> Operand:
        """A number times a value."""
        return value if number is ONE or number == 1 else self.scaled(number, value, node)

    def shape_of(self, value: int) -> tuple[int, int]:
        """Rows and columns of a value."""
        return self.rows[value], self.columns[value]

    def is_scalar(self, value: int) -> bool:
        """Whether a value has a single entry."""
        return self.sizes.is_one(self.columns[value]) and self.sizes.is_one(self.rows[value])

    def is_column(self, value: int) -> bool:
        """Whether a value has one column, and perhaps one row."""
        return self.sizes.is_one(self.columns[value])

    def is_row(self, value: int) -> bool:
        """Whether a value has one row of several entries."""
        return self.sizes.is_one(self.rows[value]) and not self.sizes.is_one(self.columns[value])

    def is_matrix(self, value: int) -> bool:
        """Whether a value has several rows and columns, as far as is known."""
        return not self.sizes.is_one(self.columns[value]) and not self.sizes.is_one(self.rows[value])

    def is_loose(self, value: int) -> bool:
        """Whether a value's rank is open: it comes from an unspecified layer."""
        return self.sizes.is_loose(self.columns[value])

    def decide(self, value: int) -> int:
        """Fix an open rank: an unused loss is a scalar, an upper-case name a matrix, everything else a column."""
        if self.is_loose(value):
            sizes, row, column = self.sizes, self.rows[value], self.columns[value]
            if sizes.has(column, LOSS) and not sizes.has(column, USED):
                sizes.unify(row, sizes.one)
                sizes.unify(column, sizes.one)
            elif not sizes.has(column, UPPER):
                sizes.unify(column, sizes.one)
            sizes.settle(row)
            sizes.settle(column)
        return value

    def same_rank(self, one: int, other: int) -> bool:
        """Whether both are columns, rows or matrices, as far as that is known."""
        if self.is_loose(one) or self.is_loose(other):
            return True
        return self.is_column(one) == self.is_column(other) and self.is_row(one) == self.is_row(other)

    def unify(self, one: int, other: int, node: Node) -> bool:
        """Make the shapes of two values one; whether they can be."""
        cause = (node.start, node.end)
        return self.sizes.unify(self.rows[one], self.rows[other], cause) and self.sizes.unify(self.columns[one], self.columns[other], cause)

    def ones(self, rows: int, columns: int, node: Node) -> int:
        """An array of ones."""
        return self.put(Step("ones", "", ()), rows, columns, node)

    def dimension(self, size: int, node: Node) -> Operand:
        """A size as a scalar."""
        text = self.sizes.text(size)
        if text.isdecimal():
            return Fraction(int(text))
        value = self.put(Step("dimension", "", ()), size, self.sizes.one, node)
        if self.rows[value] != self.sizes.one:
            self.late.append((value, size))
            self.rows[value] = self.columns[value] = self.sizes.one
        return value

    def size(self, k: int) -> int:
        """The size that a node is: a number, a name, products and sums of these."""
        nodes = self.nodes
        found: dict[int, int] = {}
        stack = [k]
        while stack:
            at = stack[-1]
            node = nodes[at]
            if node.kind in ("product", "add"):
                missing = [arg for arg in node.args if arg not in found]
                if missing:
                    stack += missing
                    continue
                combine = self.sizes.product if node.kind == "product" else self.sizes.add
                found[at] = combine(*(found[arg] for arg in node.args))
            elif node.kind == "name" and node.value not in self.survey.taken:
                found[at] = self.sizes.named(node.value)
            elif node.kind == "number" and node.value.isdecimal() and len(node.value) < 10 and int(node.value) > 0:
                found[at] = self.sizes.named(node.value.lstrip("0"))
            else:
                hint = f"{node.value} is a value" if node.kind == "name" else None
                raise ReadingError("this is no size", self.place(node), hint or "write ones(n), ones(m,n) or ones(3,2)")
            stack.pop()
        return found[k]

    def scale(self, scalar: int, value: int, node: Node) -> int:
        """A scalar times a value."""
        return self.put(Step("scale", "", (scalar, value)), self.rows[value], self.columns[value], node)

    def product(self, values: list[int], node: Node) -> int:
        """The product of matrices that fit."""
        if len(values) == 1:
            return values[0]
        return self.put(Step("product", "", tuple(values)), self.rows[values[0]], self.columns[values[-1]], node)

    def power_of(self, value: int, exponent: Fraction, node: Node) -> int:
        """The power of every entry."""
        return self.put(Step("power", "", (value,), (exponent,)), self.rows[value], self.columns[value], node)

    def apply(self, name: str, value: int, node: Node, order: int = 0) -> int:
        """A function at every entry, or a derivative of it."""
        coefficients = (Fraction(order),) if order else ()
        return self.put(Step("apply", name, (value,), coefficients), self.rows[value], self.columns[value], node)

    def transpose(self, value: int, node: Node) -> int:
        """The transpose of a value."""
        self.decide(value)
        if self.is_scalar(value):
            return value
        return self.put(Step("transpose", "", (value,)), self.columns[value], self.rows[value], node)

    def need_square(self, what: str, value: int, node: Node, text: str, hint: str | None = None) -> None:
        """Check that a matrix is square."""
        self.decide(value)
        if not self.sizes.unify(self.rows[value], self.columns[value], (node.start, node.end)):
            article = "an" if what[0] in "aeiou" else "a"
            message = f"{article} {what} is of a square matrix, and {text} {self.size_words(value)}{self.reasons((text, value))}"
            raise ReadingError(message, self.place(node), hint)

    def refuse(self, what: str, node: Node, left: tuple[Node, int], right: tuple[Node, int], hint: str | None) -> NoReturn:
        """Raise the error for two values that do not fit together."""
        one, other = self.shown(left[0]), self.shown(right[0])
        if one == other:
            one, other = "the left one", "the right one"
        message = f"{what}: {one} {self.size_words(left[1])} and {other} {self.size_words(right[1])}"
        raise ReadingError(message + self.reasons((one, left[1]), (other, right[1])), self.place(node), hint)

    def reasons(self, *values: tuple[str, int]) -> str:
        """Why undeclared sizes are what they are."""
        told = ""
        for text, value in values:
            for size in (self.rows[value], self.columns[value]):
                cause = self.sizes.cause(size)
                if cause is not None:
                    place = self.tokens.place(cause[0], max(cause[0], cause[1] - 1))
                    told += f"; {text} {self.size_words(value)} because of {excerpt(place)} at line {place.line}, column {place.column}"
                    break
        return told

    def size_words(self, value: int) -> str:
        """A value's shape, for a message."""
        rows, columns = self.sizes.text(self.rows[value]), self.sizes.text(self.columns[value])
        if self.is_loose(value):
            return "has an open shape"
        if self.is_scalar(value):
            return "is a scalar"
        if columns == "1":
            return f"has {rows} entries" if rows != "?" else "is a column"
        return f"is {rows} x {columns}" if (rows, columns) != ("?", "?") else "is a matrix"

    def words_of(self, rows: int, columns: int) -> str:
        """The shape of a product that is being read, for a message."""
        one, other = self.sizes.text(rows), self.sizes.text(columns)
        if other != "1":
            return f"is {one} x {other}"
        return "is a scalar" if one == "1" else f"has {one} entries" if one != "?" else "is a column"

    def shown(self, node: Node) -> str:
        """A node as it was typed, if that is short."""
        return excerpt(self.place(node))

    def transposed(self, node: Node) -> str:
        """The transpose of a node, as one would type it."""
        text = self.shown(node)
        if node.kind == "transpose" and not node.value:
            return self.shown(self.nodes[node.args[0]])
        return f"{text}^T" if node.kind in ("name", "call", "power") or node.bracketed else f"({text})^T"

    def inverted(self, node: Node) -> str:
        """The inverse of a node, as one would type it."""
        text = self.shown(node)
        return f"{text}^-1" if node.kind in ("name", "call") or node.bracketed else f"({text})^-1"

    def is_turned(self, one: int, other: int) -> bool:
        """Whether a value has the shape of another's transpose."""
        find = self.sizes.find
        return find(self.rows[one]) == find(self.columns[other]) and find(self.columns[one]) == find(self.rows[other])

    def prune(self) -> None:
        """Leave out the steps of what was typed and is not used: ``v`` in ``v^0``, an argument that a definition ignores."""
        count, size = len(self.leaves), len(self.names)
        used = bytearray(bool(name) for name in self.names)
        for value in range(size - 1, count - 1, -1):
            if used[value]:
                for source in self.steps[value - count].inputs:
                    used[source] = 1
        if all(used):
            return
        kept = [value for value in range(size) if used[value]]
        new = {value: position for position, value in enumerate(kept)}
        self.steps = [
            step._replace(inputs=tuple([new[source] for source in step.inputs]))
            for step, is_used in zip(self.steps, used[count:], strict=True)
            if is_used
        ]
        self.names = [self.names[value] for value in kept]
        self.nodes_of_steps = [self.nodes_of_steps[value - count] for value in kept[count:]]
        self.rows = [self.rows[value] for value in kept]
        self.columns = [self.columns[value] for value in kept]
        self.values = {name: new[value] for name, value in self.values.items()}
        self.late = [(new[value], size) for value, size in self.late if value in new]
        self.calls = [
            (new[value], name, tuple(new[source] for source in inputs))
            for value, name, inputs in self.calls
            if value in new and all(source in new for source in inputs)
        ]

    def finish(self) -> tuple[tuple[Shape, ...], tuple[bool, ...]]:
        """The shapes, and for each whether it was declared or forced; what is open is assumed.

        Raises:
            ReadingError: two sizes that should be equal differ.
        """
        sizes, count, rows, columns = self.sizes, len(self.leaves), self.rows, self.columns
        fixed = [sizes.is_known(size) for size in range(sizes.count)]
        known = [fixed[row] and fixed[column] for row, column in zip(rows, columns, strict=True)]
        closed = tuple([is_known and (value >= count or self.leaves[value] in self.declared) for value, is_known in enumerate(known)])
        open_ = [value for value, is_known in enumerate(known) if not is_known]
        taken = dict.fromkeys(sizes.known, 1)
        for value in open_:
            self.decide(value)
        for value in open_:
            shown = self.names[value] or (self.steps[value - count].name if value >= count else "") or str(value)
            row, column = sizes.find(rows[value]), sizes.find(columns[value])
            sizes.assume(row, "n" if row == column or column == sizes.one else "m", shown, taken)
            sizes.assume(column, "n", shown, taken)
        unsolved = sizes.unsolved()
        if unsolved is not None:
            one, other, cause = unsolved
            place = None if cause is None else self.tokens.place(cause[0], max(cause[0], cause[1] - 1))
            message = f"the sizes {sizes.text(one)} and {sizes.text(other)} should be equal here"
            raise ReadingError(message, place, "declare the shapes of what is in it")
        for k, step in enumerate(self.steps):
            if step.operation == "zeros" and self.is_scalar(count + k):
                self.steps[k] = Step("number", "", (), (Fraction(0),))
        for value, size in self.late:
            text = sizes.text(size)
            self.steps[value - count] = Step("number", "", (), (Fraction(int(text)),)) if text.isdecimal() else Step("dimension", text, ())
        shapes: dict[tuple[int, int], Shape] = {}
        found = []
        for row, column in zip(rows, columns, strict=True):
            pair = sizes.find(row), sizes.find(column)
            shape = shapes.get(pair)
            if shape is None:
                shape = shapes[pair] = Shape(sizes.text(row), sizes.text(column))
            found.append(shape)
        return tuple(found), closed


def excerpt(place: Place) -> str:
    """What stands at a place, on one line and cut in the middle where it is long."""
    text = " ".join(place.source.text[place.start : place.end].split())
    return text if len(text) <= LONGEST_EXCERPT else f"{text[: LONGEST_EXCERPT // 2]}…{text[-LONGEST_EXCERPT // 3 :]}"
