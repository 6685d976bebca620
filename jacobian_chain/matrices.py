"""Sums, products and powers as people write them: shapes decide what scales, what a power is, what is added to every column."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import NamedTuple, NoReturn

from jacobian_chain.assembly import MAX_EXPONENT
from jacobian_chain.combination import ONE, Combination, Operand, as_combination
from jacobian_chain.errors import LimitError, Notice, ReadingError
from jacobian_chain.shaped import Shaped, excerpt
from jacobian_chain.statements import Statements
from jacobian_chain.survey import Survey
from jacobian_chain.syntax import Equation, Node, function_of
from jacobian_chain.tape import Step

MINUS = Fraction(-1)


class Factors:
    """Factors of a product that is being read, each with its node and whether it divides; ``kind`` is product or elementwise."""

    __slots__ = ("factors", "kind")

    def __init__(self, kind: str, factors: list[tuple[Operand, Node, bool]]) -> None:
        self.kind = kind
        self.factors = factors


class Group(NamedTuple):
    """A group, which stands for its members where a definition takes them."""

    members: tuple[int, ...]


class Logarithm(NamedTuple):
    """The argument of a logarithm that is known already."""

    value: int


class Ones(NamedTuple):
    """A bold 1, a column of ones, or with a transpose a row; the size that was written below it, or none."""

    size: str


Part = Fraction | int | Combination | Factors | Group | Logarithm | Ones | None
"""What a node stands for while the nodes above it are read; None for a function, and for what is no value."""


class Frame:
    """The right side of an equation, or the body of a definition at one use, with what its nodes stand for."""

    __slots__ = ("equation", "known", "low", "node", "parameters", "results", "use")

    def __init__(self, equation: Equation, parameters: dict[str, int], use: tuple[str, tuple[int, ...]] | None, node: Node) -> None:
        self.equation = equation
        self.low = equation.low
        self.results: list[Part] = []
        self.parameters = parameters
        self.known: dict[object, int] = {}  # steps that were made here
        self.use = use
        self.node = node


class Matrices(Shaped):
    """Fills a tape from parts of expressions, of the equation or definition that ``frame`` holds."""

    def __init__(self, statements: Statements, survey: Survey) -> None:
        super().__init__(statements, survey)
        self.frame = Frame(Equation(None, None, 0, -1, 0, 0), {}, None, Node("", "", (), 0, 0))
        self.labels: dict[tuple[int, str], None] = {}  # what cross-entropies say of their second arguments

    def part(self, k: int) -> Part:
        """What a node of the frame stands for."""
        return self.frame.results[k - self.frame.low]

    def argument(self, k: int) -> Operand:
        """What a node stands for, as an operand."""
        part = self.frame.results[k - self.frame.low]
        return part if isinstance(part, int) else self.operand(part, self.nodes[k])

    def operand(self, part: Part, node: Node) -> Operand:
        """A part as an operand: products are finished, and what is no value is refused."""
        if isinstance(part, (int, Combination, Fraction)):
            return part
        if isinstance(part, Factors):
            return self.multiply_out(part) if part.kind == "product" else self.multiply_entries(part)
        if isinstance(part, Ones):
            return self.ones(self.sizes.named(part.size) if part.size else self.sizes.open(), self.sizes.one, node)
        if isinstance(part, Group):
            hint = "a layer takes the members of a group, one by one"
            raise ReadingError(f"the group {node.value} is no value", self.place(node), hint)
        function = self.nodes[function_of(self.nodes, self.nodes.index(node))] if node.kind != "name" else node
        if function.kind == "function":
            raise ReadingError(f"{function.value} has no arguments", self.place(node), f"write {function.value}(x)")
        raise ReadingError(f"{node.value} is no value here", self.place(node))

    def add(self, node: Node, left: Operand, right: Operand, minus: bool) -> Operand:
        """The sum or difference of two operands; numbers and scalars are added to every entry, columns to every column."""
        if isinstance(left, (int, Combination)) and isinstance(right, (int, Combination)):
            one, other = as_combination(left), as_combination(right)
            wider = self.fit(node, one, other)
            if wider < 0:
                other = self.spread(other, one.like, node)
            elif wider > 0:
                one = self.spread(one, other.like, node)
            like = one.like
        elif isinstance(left, Fraction) and isinstance(right, Fraction):
            return self.bounded(left - right if minus else left + right, node)
        else:
            one, other = (
                Combination(self.number(side, node)) if isinstance(side, Fraction) else as_combination(side) for side in (left, right)
            )
            like = other.like if isinstance(left, Fraction) else one.like
        result = one.add(other.scale(MINUS) if minus else other)
        result.like = like
        return result

    def fit(self, node: Node, left: Combination, right: Combination) -> int:
        """Make the shapes of two terms one: 0, or the sign of the side that is wider, -1 for the left."""
        sizes, one, other = self.sizes, left.like, right.like
        if not self.is_loose(one) and not self.is_loose(other):
            columns = self.is_column(one), self.is_column(other)
            flat = sizes.is_one(self.rows[one]), sizes.is_one(self.rows[other])
            scalars = columns[0] and flat[0], columns[1] and flat[1]
            if scalars[0] != scalars[1]:
                self.notice_spread(node, one if scalars[1] else other)
                return -1 if scalars[1] else 1
            if columns[0] != columns[1]:
                if not flat[columns[0]] and sizes.unify(self.rows[one], self.rows[other], (node.start, node.end)):
                    return 1 if columns[0] else -1
                self.refuse_sum(node, one, other)
            elif flat[0] != flat[1]:
                self.refuse_sum(node, one, other)
        if not self.unify(one, other, node):
            self.refuse_sum(node, one, other)
        return 0

    def spread(self, side: Combination, like: int, node: Node) -> Combination:
        """A scalar sum as one of arrays, a sum of columns as one of matrices: each term times ones."""
        terms: deque[tuple[Fraction, int]] = deque()
        for coefficient, value in side.terms:
            step = self.steps[value - len(self.leaves)] if value >= len(self.leaves) else None
            if step is not None and step.operation == "number":
                terms.append((coefficient, value))
            elif self.is_scalar(value):
                ones = self.ones(self.rows[like], self.columns[like], node)
                terms.append((coefficient, self.put(Step("scale", "", (value, ones)), self.rows[like], self.columns[like], node)))
            else:
                ones = self.ones(self.sizes.one, self.columns[like], node)
                terms.append((coefficient, self.put(Step("product", "", (value, ones)), self.rows[like], self.columns[like], node)))
        side.terms = terms
        side.like = like
        return side

    def notice_spread(self, node: Node, wide: int) -> None:
        """Notice a scalar that is added to a leaf which is a column by nothing but its name."""
        if wide in self.assumed and self.names[wide] not in self.flagged:
            name = self.names[wide]
            self.flagged.add(name)
            message = f"a scalar is added to every entry of the column {name}; declare {name}: scalar if it is one number"
            self.notices.append(Notice(message, self.place(node)))

    def refuse_sum(self, node: Node, one: int, other: int) -> NoReturn:
        """Raise the error for terms that do not fit."""
        left, right = self.nodes[node.args[0]], self.nodes[node.args[1]]
        hint = None
        if self.is_turned(one, other):
            hint = f"{self.transposed(right)} fits"
        elif (self.is_row(one) and self.is_matrix(other)) or (self.is_row(other) and self.is_matrix(one)):
            hint = "a row is added to every row as ones(m) r"
        self.refuse("shapes do not fit in this sum", node, (left, one), (right, other), hint)

    def chain(self, kind: str, node: Node, divides: bool) -> Part:
        """A product with one more factor; factors are kept until the product is complete."""
        nodes = self.nodes
        if node.args[1] in self.survey.hidden:
            return self.size_identity(node)
        left, right = self.part(node.args[0]), self.argument(node.args[1])
        left_node, right_node = nodes[node.args[0]], nodes[node.args[1]]
        if isinstance(left, Factors) and left.kind == kind:
            chain = left
        else:
            chain = Factors(kind, [(self.operand(left, left_node), left_node, False)])
        if divides and isinstance(right, Fraction) and not right:
            raise ReadingError("division by zero", self.place(node))
        chain.factors.append((right, right_node, divides))
        return self.operand(chain, node) if node.bracketed else chain

    def size_identity(self, node: Node) -> Part:
        """An identity, at the end of what stands before it, of the size in the brackets."""
        part = self.part(node.args[0])
        value = part.factors[-1][0] if isinstance(part, Factors) else part
        assert isinstance(value, int)
        self.sizes.unify(self.rows[value], self.size(node.args[1]))
        return part

    def multiply_out(self, chain: Factors) -> Operand:
        """A product of numbers, scalars and matrices; as many matrices as stand side by side make one step."""
        first, last = chain.factors[0][1], chain.factors[-1][1]
        whole = Node("product", "", (), first.start, last.end)
        number = ONE
        scalars: list[int] = []
        arrays: list[tuple[int, Node]] = []
        for operand, node, divides in chain.factors:
            coefficient, value = self.split(operand, node) if isinstance(operand, (int, Combination)) else (operand, None)
            if coefficient is not ONE:
                number = self.bounded(number / coefficient if divides else number * coefficient, whole)
            if value is None:
                continue
            if divides:
                scalars.append(self.reciprocal(value, node, whole))
            elif self.is_scalar(value):
                scalars.append(value)
            else:
                arrays.append((value, node))
        if len(arrays) > 1 and any(self.is_loose(value) for value, _ in arrays):
            for value, _ in arrays:
                self.decide(value)
            scalars += [value for value, _ in arrays if self.is_scalar(value)]
            arrays = [(value, node) for value, node in arrays if not self.is_scalar(value)]
        run: list[tuple[int, Node]] = []
        for value, node in arrays:
            if run and self.sizes.is_one(self.rows[run[0][0]]) and self.sizes.is_one(self.columns[run[-1][0]]):
                scalars.append(self.product([source for source, _ in run], whole))
                run = []
            if run:
                self.join(run, value, node)
            run.append((value, node))
        if run:
            scalars.append(self.product([source for source, _ in run], whole))
        if not scalars:
            return number
        result = scalars[0]
        for value in scalars[1:]:
            result = self.scale(result, value, whole)
        return self.times(number, result, whole)

    def join(self, run: list[tuple[int, Node]], value: int, node: Node) -> None:
        """Check that a matrix fits behind a product."""
        sizes = self.sizes
        left, right = self.columns[run[-1][0]], self.rows[value]
        place = Node("product", "", (), run[0][1].start, node.end)
        is_slip = sizes.is_one(left) != sizes.is_one(right)  # an open size is not meant to be 1 here
        if not is_slip and sizes.unify(left, right, (run[-1][1].start, node.end)):
            return
        one, other = self.shown(place if len(run) > 1 else run[0][1]), self.shown(node)
        if len(run) > 1:
            one = excerpt(self.tokens.place(run[0][1].start, run[-1][1].end - 1))
        rows = self.rows[run[0][0]]
        what = f"{one} {other} does not fit"
        shape = self.words_of(rows, left)
        shapes = f"{one} {shape} and {other} {self.size_words(value)}"
        hint = self.mend(run, value, node, one, other)
        if sizes.is_one(left) and self.is_column(value):
            message = f"{one} and {other} are columns, and columns have no matrix product"
            assumed = [self.names[v] for v in (run[-1][0], value) if v in self.assumed]
            hint = f"write {one} .* {other} for the elementwise product, {one}^T {other} for a number"
            if assumed:
                hint += f", or declare {assumed[0]}: scalar"
        elif sizes.is_known(left) and sizes.is_known(right):
            message = f"{what}: {shapes}; {sizes.text(left)} and {sizes.text(right)} differ"
        else:
            message = f"{what}: {shapes}"
        last = run[-1]
        raise ReadingError(message + self.reasons((self.shown(last[1]), last[0]), (other, value)), self.place(place), hint)

    def mend(self, run: list[tuple[int, Node]], value: int, node: Node, one: str, other: str) -> str | None:
        """A transpose that makes a product fit, if there is one."""
        sizes = self.sizes
        rows, columns = sizes.find(self.rows[value]), sizes.find(self.columns[value])
        left, right = sizes.find(self.rows[run[0][0]]), sizes.find(self.columns[run[-1][0]])
        head = self.transposed(run[0][1]) if len(run) == 1 else f"({one})^T"
        if left == rows and right == columns:
            return f"{head} {other} fits, or {one} .* {other} for the elementwise product"
        if left == rows:
            return f"{head} {other} fits"
        if right == columns:
            return f"{one} {self.transposed(node)} fits"
        return f"{other} {one} fits" if left == columns else None

    def reciprocal(self, value: int, node: Node, whole: Node) -> int:
        """1 / s for a scalar s."""
        self.decide(value)
        if not self.is_scalar(value):
            text = self.shown(node)
            hint = "write ./ to divide entry by entry"
            if self.is_matrix(value):
                hint += f", {self.inverted(node)} for the inverse"
            if value < len(self.leaves) and self.names[value] not in self.declared:
                hint += f", or declare {text}: scalar"
            raise ReadingError(f"{text} {self.size_words(value)}: a division is by a scalar", self.place(whole), hint)
        return self.power_of(value, Fraction(-1), node)

    def multiply_entries(self, chain: Factors) -> Operand:
        """A product entry by entry; scalars scale it."""
        first, last = chain.factors[0][1], chain.factors[-1][1]
        whole = Node("elementwise", "", (), first.start, last.end)
        number = ONE
        scalars: list[int] = []
        arrays: list[int] = []
        shown: Node = first
        for operand, node, divides in chain.factors:
            coefficient, value = self.split(operand, node) if isinstance(operand, (int, Combination)) else (operand, None)
            if coefficient is not ONE:
                number = self.bounded(number / coefficient if divides else number * coefficient, whole)
            if value is None:
                continue
            if divides:
                value = self.power_of(value, Fraction(-1), node)
            if self.is_scalar(value):
                scalars.append(value)
                continue
            if arrays and not self.same_rank(arrays[0], value):
                self.refuse("an elementwise product needs two arrays of one shape", whole, (shown, arrays[0]), (node, value), None)
            if arrays and not self.unify(arrays[0], value, Node("", "", (), first.start, node.end)):
                self.refuse(
                    "an elementwise product needs two arrays of one shape",
                    whole,
                    (shown, arrays[0]),
                    (node, value),
                    self.turned(arrays[0], value, node),
                )
            if not arrays:
                shown = node
            arrays.append(value)
        if arrays:
            if len(arrays) > 1:
                head = arrays[0]
                arrays = [self.put(Step("hadamard", "", tuple(arrays)), self.rows[head], self.columns[head], whole)]
            scalars.append(arrays[0])
        if not scalars:
            return number
        result = scalars[0]
        for value in scalars[1:]:
            result = self.scale(result, value, whole)
        return self.times(number, result, whole)

    def kron(self, node: Node, left: Operand, right: Operand) -> Operand:
        """The Kronecker product."""
        if isinstance(left, Fraction) or isinstance(right, Fraction):
            return self.multiply_out(Factors("product", [(left, node, False), (right, node, False)]))
        (c, one), (d, other) = self.split(left, node), self.split(right, node)
        self.decide(one)
        self.decide(other)
        rows = self.sizes.product(self.rows[one], self.rows[other])
        columns = self.sizes.product(self.columns[one], self.columns[other])
        return self.times(self.bounded(c * d, node), self.put(Step("kron", "", (one, other)), rows, columns, node), node)

    def raise_to(self, base: Operand, exponent: Fraction, node: Node, entrywise: bool) -> Operand:
        """A power: of a scalar, of a square matrix, of every entry of a column or, with ``.^``, of a matrix."""
        if isinstance(base, Fraction):
            if exponent.denominator == 1:
                return self.power(node, base, exponent)
            if base <= 0:
                raise ReadingError(f"{base} has no real power {exponent}", self.place(node))
            return self.power_of(self.number(base, node), exponent, node)
        if abs(exponent.numerator) > 10**9 or exponent.denominator > 10**9:
            raise LimitError("this exponent is too long", self.place(node))
        if exponent == 1:
            return base
        whole = exponent.denominator == 1
        number, value = self.split(base, node) if whole and abs(exponent) <= MAX_EXPONENT else (ONE, self.value_of(base, node))
        self.decide(value)
        if self.is_matrix(value) and not entrywise:
            return self.matrix_power(number, value, exponent, node)
        number = self.bounded(number ** int(exponent), node) if number != 1 else number
        if not exponent:
            return number if self.is_scalar(value) else self.times(number, self.ones(self.rows[value], self.columns[value], node), node)
        if not self.is_scalar(value) and not entrywise:
            text = self.shown(self.nodes[node.args[0]]) if node.args else self.shown(node)
            if ("^", text) not in self.known:
                self.known["^", text] = value
                message = f"the power of the vector {text} is taken entry by entry"
                self.notices.append(Notice(message, self.place(node)))
        return self.times(number, self.power_of(value, exponent, node), node)

    def turned(self, one: int, other: int, node: Node) -> str | None:
        """A transpose that gives two values one shape, for a hint."""
        return f"{self.transposed(node)} fits" if self.is_turned(one, other) else None

    def matrix_power(self, number: Fraction, value: int, exponent: Fraction, node: Node) -> Operand:
        """The product of a square matrix or its inverse with itself."""
        text = self.shown(self.nodes[node.args[0]]) if node.args else self.shown(node)
        if exponent.denominator != 1:
            hint = f"write {text}.^({exponent}) for the power of each entry"
            raise ReadingError(f"{text} is a matrix, and the power of a matrix is a whole number", self.place(node), hint)
        if abs(exponent) > MAX_EXPONENT:
            raise LimitError(f"the power of a matrix goes up to {MAX_EXPONENT}", self.place(node))
        what = "inverse" if exponent == -1 else "power"
        self.need_square(what, value, node, text, f"write {text}.^{exponent} for the power of each entry")
        number = self.bounded(number ** int(exponent), node)
        if not exponent:
            return self.put(Step("identity", "", ()), self.rows[value], self.columns[value], node)
        if exponent < 0:
            value = self.put(Step("inverse", "", (value,)), self.rows[value], self.columns[value], node)
        return self.times(number, self.product([value] * abs(int(exponent)), node), node)

    def determinant(self, k: int, value: int, node: Node) -> Part:
        """The determinant; under a logarithm, the logarithm of its absolute value."""
        if k in self.survey.logged:
            return Logarithm(self.put(Step("logdet", "", (value,)), self.sizes.one, self.sizes.one, node))
        return self.put(Step("det", "", (value,)), self.sizes.one, self.sizes.one, node)

    def blocks(self, cells: list[Operand], node: Node, operation: str, is_gridded: bool) -> Part:
        """Blocks side by side or below each other; a 0 is a block of zeros, as wide as the blocks above and below it."""
        nodes, sizes = self.nodes, self.sizes
        values: list[int | None] = []
        for cell, arg in zip(cells, node.args, strict=True):
            values.append(None if isinstance(cell, Fraction) else self.decide(self.value_of(cell, nodes[arg])))
        across, along = (self.rows, self.columns) if operation == "beside" else (self.columns, self.rows)
        known = next((value for value in values if value is not None), None)
        height = sizes.one if known is None else across[known]
        filled: list[int] = []
        for cell, value, arg in zip(cells, values, node.args, strict=True):
            if value is not None:
                assert known is not None
                if not sizes.unify(height, across[value], (node.start, node.end)):
                    at = values.index(known)
                    where = "beside" if operation == "beside" else "below"
                    self.refuse(f"blocks {where} each other do not fit", node, (nodes[node.args[at]], known), (nodes[arg], value), None)
                filled.append(value)
                continue
            assert isinstance(cell, Fraction)
            if sizes.is_one(height) and (cell or not is_gridded):
                filled.append(self.number(cell, nodes[arg]))
            elif cell == 0:
                shape = (height, sizes.open()) if operation == "beside" else (sizes.open(), height)
                filled.append(self.put(Step("zeros", "", ()), *shape, nodes[arg]))
            else:
                hint = "write ones(m,n), zeros(m,n) or I(n) for a block of numbers"
                raise ReadingError(f"the number {cell} is no block that fits here", self.place(nodes[arg]), hint)
        if operation == "below":
            self.align(filled, node)
        length = sizes.add(*(along[value] for value in filled))
        shape = (height, length) if operation == "beside" else (length, height)
        return self.put(Step(operation, "", tuple(filled)), *shape, node)

    def align(self, rows: list[int], node: Node) -> None:
        """Give the blocks in one column one width where that is open."""
        count, sizes = len(self.leaves), self.sizes
        steps = [self.steps[value - count] if value >= count else None for value in rows]
        grid = [step.inputs for step in steps if step is not None and step.operation == "beside"]
        if len(grid) != len(rows) or len({len(row) for row in grid}) > 1:
            return
        for row in grid[1:]:
            for one, other in zip(grid[0], row, strict=True):
                left, right = self.columns[one], self.columns[other]
                is_zero = any(value >= count and self.steps[value - count].operation == "zeros" for value in (one, other))
                is_open = not (sizes.is_known(left) and sizes.is_known(right))
                if is_open and (is_zero or sizes.is_one(left) == sizes.is_one(right)):
                    sizes.unify(left, right, (node.start, node.end))
