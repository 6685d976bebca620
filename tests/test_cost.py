"""Costs: every count against multiplications that are really made, every result against sums over paths and against values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain import derive, parse
from jacobian_chain.array_plans import VIEWS, ArrayPlan, plan_directions, plan_gradients
from jacobian_chain.article import Math, Paragraph, Table
from jacobian_chain.bracketing import Chain, bracket, from_left, from_right
from jacobian_chain.cost import Cost, describe_cost, estimate_cost, name_products
from jacobian_chain.dense import RATIONALS
from jacobian_chain.derivation import derive as derive_blocks
from jacobian_chain.dimensions import PARAMETER, USUAL, choose_sizes, read_size
from jacobian_chain.errors import OptionError
from jacobian_chain.layer_plans import Entries, plan_backward, plan_bracketed, plan_forward
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape
from jacobian_chain.select import find_output, select
from jacobian_chain.tape import Tape
from jacobian_chain.workload import Operation, Plan, alone
from jacobian_chain.writers import LatexWriter, TextWriter

from .compositions import problems

Matrix = list[list[Any]]


# --- numbers that count how often they are multiplied ---


class Counter:
    """How many multiplications were made."""

    def __init__(self) -> None:
        self.count = 0


class Counted:
    """A number that is not constant: its product with another such one is counted."""

    def __init__(self, value: Fraction, counter: Counter) -> None:
        self.value = value
        self.counter = counter

    def __add__(self, other: Any) -> Any:
        return Counted(self.value + value_of(other), self.counter)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Counted):
            self.counter.count += 1
            return Counted(self.value * other.value, self.counter)
        return Counted(self.value * other, self.counter) if other else 0

    __rmul__ = __mul__


def value_of(number: Any) -> Fraction:
    return number.value if isinstance(number, Counted) else Fraction(number)


def plain(matrix: Matrix) -> Matrix:
    return [[value_of(entry) for entry in row] for row in matrix]


def counted(matrix: Matrix, counter: Counter) -> Matrix:
    return [[Counted(Fraction(entry), counter) for entry in row] for row in matrix]


def multiply(one: Matrix, other: Matrix) -> Matrix:
    return [[sum((a * b for a, b in zip(row, column, strict=True)), start=0) for column in zip(*other, strict=True)] for row in one]


def eye(size: int) -> Matrix:
    return [[int(i == j) for j in range(size)] for i in range(size)]


def shape_of(matrix: Matrix) -> tuple[int, int]:
    return len(matrix), len(matrix[0])


def number_at(*key: int) -> int:
    """A number that looks random, never 0."""
    mixed = 7
    for part in key:
        mixed = (mixed * 1_000_003 + part * 7919 + 12345) % 2_147_483_647
        mixed ^= mixed >> 7
    return mixed % 19 - 9 or 10


# --- bracketings ---


def all_trees(i: int, j: int) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Every bracketing of the factors i … j - 1."""
    if j - i == 1:
        yield ()
    for k in range(i + 1, j):
        for left in all_trees(i, k):
            for right in all_trees(k, j):
                yield (*left, *right, (i, k, j))


@lru_cache
def trees_of(count: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    return tuple(all_trees(0, count))


def price(sizes: Sequence[int], tree: Sequence[tuple[int, int, int]]) -> int:
    return sum(sizes[i] * sizes[k] * sizes[j] for i, k, j in tree)


@pytest.mark.parametrize("count", range(1, 9))
def test_there_are_as_many_bracketings_as_catalan_says(count: int) -> None:
    assert len(set(trees_of(count))) == math.comb(2 * count - 2, count - 1) // count


@settings(max_examples=120, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=9, unique=True))
def test_the_best_bracketing_is_the_best_of_all(sizes: list[int]) -> None:
    found = bracket(sizes)
    assert found.cost == min(price(sizes, tree) for tree in trees_of(len(sizes) - 1))
    assert found.cost == price(sizes, found.splits)
    assert set(found.splits) in [set(tree) for tree in trees_of(len(sizes) - 1)]


@pytest.mark.parametrize("count", range(1, 9))
def test_the_best_bracketing_takes_as_many_multiplications_as_are_made(count: int) -> None:
    for seed in range(6):
        order = sorted(range(1, count + 2), key=lambda k: number_at(seed, k))
        counter = Counter()
        matrices = [[[number_at(seed, k, i, j) for j in range(b)] for i in range(a)] for k, (a, b) in enumerate(pairwise(order))]
        spans = {(k, k + 1): counted(matrix, counter) for k, matrix in enumerate(matrices)}
        found = bracket(order)
        for i, k, j in found.splits:
            spans[i, j] = multiply(spans[i, k], spans[k, j])
        assert counter.count == found.cost
        expected = matrices[0]
        for matrix in matrices[1:]:
            expected = multiply(expected, matrix)
        assert plain(spans[0, count]) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=9), st.integers(0, 6), st.integers(1, 40))
def test_a_chain_grows_and_shrinks(sizes: list[int], kept: int, last: int) -> None:
    kept = min(kept, len(sizes) - 1)
    chain = Chain(sizes[0])
    for columns in sizes[1:]:
        chain.append(columns)
    assert chain.best() == bracket(sizes)
    chain.truncate(kept)
    assert len(chain) == kept
    assert chain.best() == bracket(sizes[: kept + 1])
    if kept:
        assert chain.best_with(last) == bracket([*sizes[: kept + 1], last])
        assert chain.best() == bracket(sizes[: kept + 1])


def test_from_one_end() -> None:
    assert from_left(4) in [tuple(tree) for tree in trees_of(4)]
    assert set(from_right(4)) in [set(tree) for tree in trees_of(4)]
    assert price([2, 3, 5, 7, 11], from_left(4)) == 2 * 3 * 5 + 2 * 5 * 7 + 2 * 7 * 11
    assert price([2, 3, 5, 7, 11], from_right(4)) == 5 * 7 * 11 + 3 * 5 * 11 + 2 * 3 * 11


def test_the_textbook_chain() -> None:
    """Cormen, Leiserson, Rivest & Stein, Introduction to Algorithms, section 15.2: six matrices take 15,125 multiplications."""
    assert bracket([30, 35, 15, 5, 10, 20, 25]).cost == 15_125


# --- carrying plans out ---


class Machine:
    """Carries the operations of a plan out with counted numbers, and holds the count of each against what the plan says."""

    def __init__(self, plan: Plan, take: Callable[[Operation, list[Matrix], Counter], Matrix]) -> None:
        self.plan = plan
        self.take = take
        self.counter = Counter()
        self.results: dict[int, Matrix] = {}

    def run(self, roots: Sequence[int]) -> int:
        """The multiplications that were made for some results."""
        total = 0
        for index in self.plan.reach(roots):
            operation = self.plan.operations[index]
            before = self.counter.count
            inputs = [self.results[source] for source in operation.inputs]
            made = self._do(operation, inputs)
            self.results[index] = made
            count = self.counter.count - before
            total += count * operation.repeat
            assert count == operation.multiplications, operation
            assert operation.kind == "value" or shape_of(made) == (operation.rows, operation.columns), operation
            filled = sum(isinstance(entry, Counted) for row in made for entry in row)
            assert operation.kind == "value" or filled == operation.filled, operation
        return total

    def _do(self, operation: Operation, inputs: list[Matrix]) -> Matrix:
        match operation.kind:
            case "identity":
                return [[operation.coefficients[0] * entry for entry in row] for row in eye(operation.rows)]
            case "keep":
                return inputs[0]
            case "product":
                return multiply(*inputs)
            case "scale":
                ((scalar,),), matrix = inputs
                return [[scalar * entry for entry in row] for row in matrix]
            case "sum":
                return self._add(operation, inputs)
            case "hadamard":
                return [[math.prod(entries, start=1) for entries in zip(*rows, strict=True)] for rows in zip(*inputs, strict=True)]
            case "rows" | "traced":
                one, other = inputs
                column = [
                    [sum((a * b for a, b in zip(row, right, strict=True)), start=0)]
                    for row, right in zip(one, zip(*other, strict=True), strict=True)
                ]
                return column if operation.kind == "rows" else [[sum((row[0] for row in column), start=0)]]
        return self.take(operation, inputs, self.counter)

    def _add(self, operation: Operation, inputs: list[Matrix]) -> Matrix:
        total: Matrix = [[0] * operation.columns for _ in range(operation.rows)]
        for coefficient, matrix in zip(operation.coefficients, inputs, strict=True):
            wide = matrix if shape_of(matrix) == (operation.rows, operation.columns) else [matrix[0] * operation.columns] * operation.rows
            total = [
                [known + coefficient * entry if entry else known for known, entry in zip(*rows, strict=True)]
                for rows in zip(total, wide, strict=True)
            ]
        return total


# --- layers ---


class Layers:
    """A composition of layers with random local Jacobians and values, and its derivative as the sum over all paths."""

    def __init__(self, tape: Tape, output: int, variables: Sequence[int], sizes: Mapping[str, int]) -> None:
        self.tape, self.output, self.variables = tape, output, tuple(variables)
        self.entries = Entries(tape, sizes)
        self.sizes = sizes

    def local(self, step: int, slot: int) -> Matrix:
        source = self.tape.steps[step - self.tape.leaves].inputs[slot]
        return [[number_at(step, slot, i, j) for j in range(self.entries.of[source])] for i in range(self.entries.of[step])]

    def value(self, value: int) -> Matrix:
        return [[number_at(value, i)] for i in range(self.entries.of[value])]

    def edge(self, value: int, slot: int) -> Matrix:
        """The derivative of a step in one slot."""
        step = self.tape.steps[value - self.tape.leaves]
        size = self.entries.of[value]
        if step.operation == "layer":
            return self.local(value, slot)
        if step.operation == "sum":
            return [[step.coefficients[slot] * entry for entry in row] for row in eye(size)]
        if slot == 0:
            return self.value(step.inputs[1])
        ((scalar,),) = self.value(step.inputs[0])
        return [[scalar * entry for entry in row] for row in eye(size)]

    def by_paths(self, variable: int) -> Matrix:
        """The sum over all paths from a variable to the output of the products along them; other variables are held."""
        total: Matrix = [[0] * self.entries.of[variable] for _ in range(self.entries.of[self.output])]
        stack = [(self.output, eye(self.entries.of[self.output]))]
        while stack:
            value, product = stack.pop()
            if value == variable:
                total = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(total, product, strict=True)]
            elif value >= self.tape.leaves and value not in self.variables:
                for slot, source in enumerate(self.tape.steps[value - self.tape.leaves].inputs):
                    stack.append((source, multiply(product, self.edge(value, slot))))
        return total

    def take_backward(self, maps: Sequence[Any]) -> Callable[[Operation, list[Matrix], Counter], Matrix]:
        def take(operation: Operation, _inputs: list[Matrix], counter: Counter) -> Matrix:
            node = maps[operation.source]
            return counted(self.local(node.of, node.by) if node.kind == "partial" else self.value(node.of), counter)

        return take

    def take_forward(self, operation: Operation, inputs: list[Matrix], counter: Counter) -> Matrix:
        if operation.kind == "value":
            return []
        if operation.kind == "given":
            step = self.tape.steps[operation.source - self.tape.leaves]
            (slot,) = operation.groups
            if step.operation == "layer":
                return counted(self.local(operation.source, slot), counter)
            return counted(self.value(step.inputs[1 - slot]), counter)
        assert operation.kind == "join"
        parts = []
        columns = self._columns(operation)
        for group, coefficient, matrix in zip(operation.groups, operation.coefficients, inputs, strict=True):
            places = [columns[position, k] for position in self._members(group) for k in range(self.entries.of[self.variables[position]])]
            parts.append((places, [[coefficient * entry for entry in row] for row in matrix]))
        total: Matrix = [[Counted(Fraction(0), counter) for _ in columns] for _ in range(operation.rows)]
        for places, matrix in parts:
            for row, added in zip(total, matrix, strict=True):
                for place, entry in zip(places, added, strict=True):
                    row[place] = row[place] + entry
        return total

    def _members(self, group: int) -> list[int]:
        return [position for position in range(len(self.variables)) if group >> position & 1]

    def _columns(self, operation: Operation) -> dict[tuple[int, int], int]:
        group = 0
        for own in operation.groups:
            group |= own
        pairs = [(position, k) for position in self._members(group) for k in range(self.entries.of[self.variables[position]])]
        return {pair: place for place, pair in enumerate(pairs)}


def check_layers(tape: Tape, output: int, variables: Sequence[int], sizes: Mapping[str, int]) -> Cost:
    """All four ways carried out: their results and their counts."""
    layers = Layers(tape, output, variables, sizes)
    entries = layers.entries
    truth = [layers.by_paths(variable) for variable in layers.variables]
    cost = estimate_cost(tape, output, variables, sizes)
    derivation = derive_blocks(tape, output, variables, shared=True)
    backward = plan_backward(derivation, entries)
    machine = Machine(backward.plan, layers.take_backward(derivation.maps))
    present = [root for root in backward.roots if root >= 0]
    assert machine.run(present) == cost.backpropagation.multiplications
    for root, expected, work in zip(backward.roots, truth, cost.blocks, strict=True):
        if root < 0:
            assert not any(map(any, expected))
            assert work.multiplications == 0
        else:
            assert plain(machine.results[root]) == expected
            assert Machine(backward.plan, layers.take_backward(derivation.maps)).run([root]) == work.multiplications
    assert cost.block_by_block.multiplications == sum(work.multiplications for work in cost.blocks)
    factored = derive_blocks(tape, output, variables)
    bracketed = plan_bracketed(factored, entries)
    total = 0
    for root, expected, work in zip(bracketed.roots, truth, cost.blocks, strict=True):
        if root >= 0:
            machine = Machine(bracketed.plan, layers.take_backward(factored.maps))
            total += min(machine.run([root]), work.multiplications)
            assert plain(machine.results[root]) == expected
    assert cost.best.multiplications == total
    check_forward(layers, truth, cost)
    assert cost.backpropagation.multiplications <= cost.block_by_block.multiplications
    assert cost.best.multiplications <= cost.block_by_block.multiplications
    return cost


def check_forward(layers: Layers, truth: Sequence[Matrix], cost: Cost) -> None:
    forward = plan_forward(layers.tape, layers.output, layers.variables, layers.entries)
    root, group, constant = forward.tangent
    machine = Machine(forward.plan, layers.take_forward)
    machine.run(range(len(forward.plan.operations)))
    assert machine.counter.count == cost.forward.multiplications
    at = 0
    for position, expected in enumerate(truth):
        size = len(expected[0])
        if group >> position & 1:
            assert [row[at : at + size] for row in plain(machine.results[root])] == expected
            at += size
        else:
            multiple = constant.get(position, Fraction(0))
            assert expected == ([[multiple * entry for entry in row] for row in eye(size)] if multiple else expected)
            assert multiple or not any(map(any, expected))


def distinct_sizes(tape: Tape) -> dict[str, int]:
    """Small numbers, no two alike."""
    return {symbol: 2 + k for k, symbol in enumerate(choose_sizes(tape))}


LAYERED: list[tuple[str, Any]] = [
    ("L3(L2(L1(x,θ1),θ2),θ3)", "θ"),
    ("x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)", "θ"),
    ("x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)", "all"),
    ("x1 = f1(x, θ1); x2 = x1 + λ f2(x1, θ2)/2; y = g(x2 - 3 x1); λ: scalar", ("θ", "λ", "x")),
    ("h1 = f(h0, W); h2 = f(h1, W); h3 = f(h2, W); y = g(h3)", ("W", "h0")),
    ("x1 = f(x, x); y = g(x1, x)", "x"),
    ("a = f(x); b = g(a, x); c = h(a, b); y = k(b, c, x)", ("x", "a")),
    ("x2 = x1 + f2(x1, θ2); x3 = x1 + f3(x2, θ3); x4 = x2 + f4(x3, θ4); L = ℓ(x4)", ("x1", "θ")),
    (r"\hat y_{t+1} = f(\hat y_t, W_{hh}); loss_2 = ℓ(\hat y_{t+1}, W^{(2)}_{in})", "all"),
    ("y = 2 x - λ x + g(x); λ: scalar", ("x", "λ")),
    ("x2 = λ x1; y = g(x2); λ: scalar", ("x1", "λ")),
    ("y = f(a + b, b); z = 3 y; w = z - μ z; μ: scalar", "all"),
    ("y = f(x, θ); z = g(y, η)", ("x", "y", "θ", "η")),
    ("x1 = f(x); y = λ x1 + μ x1; z = g(y); λ: scalar; μ: scalar", ("x", "λ")),
    ("y = x + f(x + g(x + h(x, u), v), w); L = ℓ(y)", "all"),
    ("y = g(f(x), f(x))", "x"),
    ("L = ℓ(x)", "x"),
    ("u = f(x); v = 2 u + λ u; w = u + v; y = g(w, f(w)); λ: scalar", ("x", "λ")),
]


@pytest.mark.parametrize(("text", "wrt"), LAYERED)
def test_layers_carried_out(text: str, wrt: Any) -> None:
    tape = parse(text).tape
    check_layers(tape, find_output(tape, None), select(tape, (wrt,) if isinstance(wrt, str) else wrt).variables, distinct_sizes(tape))


@settings(max_examples=150, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_random_layers_carried_out(problem: Any, random: Any) -> None:
    tape = parse(problem.text).tape
    if not tape.is_of_layers:
        return
    names = list(choose_sizes(tape))
    sizes = dict(zip(names, random.sample(range(2, 2 + max(len(names), 6)), len(names)), strict=True))
    output = tape.index(problem.output)
    assert output is not None
    check_layers(tape, output, select(tape, problem.wrt).variables, sizes)


# --- concrete layers ---


class ConcreteValues:
    """Exact values of a concrete composition at random whole numbers, and of expressions over it."""

    def __init__(self, tape: Tape, sizes: Mapping[str, int]) -> None:
        self.tape, self.sizes = tape, sizes
        self.opaque = Opaque(3, polynomial=True)
        self.entries = Entries(tape, sizes)
        leaves = {
            value: [[number_at(value, i, j) for j in range(self.entries.columns[value])] for i in range(self.entries.rows[value])]
            for value in range(tape.leaves)
        }
        self.values = evaluate_tape(tape, leaves, sizes, RATIONALS, self.opaque)

    def node(self, arrays: Any, node: int, seeds: Mapping[int, Matrix], extra: Mapping[int, Matrix] | None = None) -> Matrix:
        given = {**dict(enumerate(self.values)), **seeds, **(extra or {})}
        return evaluate(arrays.steps, arrays.shapes, given, self.sizes, RATIONALS, self.opaque, [node], functions=self.tape.functions)[node]

    def take(self, found: ArrayPlan, seeds: Mapping[int, Matrix]) -> Callable[[Operation, list[Matrix], Counter], Matrix]:
        arrays = found.arrays

        def as_given(operation: Operation, inputs: list[Matrix], counter: Counter) -> Matrix:
            step = arrays.steps[operation.source]
            if operation.kind == "constant":
                return self.node(arrays, operation.source, seeds)
            if operation.source in seeds:
                return counted(seeds[operation.source], counter)
            turned = operation.kind == "view" or (operation.kind == "given" and len(operation.inputs) == 1 and step.operation in VIEWS)
            if operation.kind in ("given", "value") and not turned:
                matrix = self.node(arrays, operation.source, seeds)
                if operation.filled < operation.rows * operation.columns:
                    return [
                        [Counted(Fraction(entry), counter) if i == j else 0 for j, entry in enumerate(row)] for i, row in enumerate(matrix)
                    ]
                return counted(matrix, counter)
            if turned and step.operation == "transpose":
                return [list(column) for column in zip(*inputs[0], strict=True)]
            if turned and step.operation == "diag":
                return [[row[0] if i == j else 0 for j in range(len(inputs[0]))] for i, row in enumerate(inputs[0])]
            if operation.kind == "power" and step.coefficients[0].denominator == 1 and step.coefficients[0] > 0:
                return [[math.prod([entry] * int(step.coefficients[0])) for entry in row] for row in inputs[0]]
            if step.operation == "sqnorm":
                return [[sum((entry * entry for row in inputs[0] for entry in row), start=0)]]
            if step.operation == "kron":
                one, other = inputs
                return [[a * b for a in left for b in right] for left in one for right in other]
            plainly = {source: plain(matrix) for source, matrix in zip(step.inputs, inputs, strict=True)}
            made = self.node(arrays, operation.source, seeds, plainly)
            counter.count += operation.multiplications
            return counted(made, counter) if operation.filled else made

        return as_given

    def inner(self, one: Matrix, other: Matrix) -> Fraction:
        return sum(
            (Fraction(a) * b for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)), start=Fraction(0)
        )

    def difference(self, output: int, direction: Mapping[int, Matrix], held: Sequence[int]) -> Matrix:
        """The derivative of the output along a direction, from a line of exact values: the slope of their polynomial at 0."""
        points = [Fraction(k) for k in range(-9, 10)]
        found: list[Matrix] = []
        for t in points:
            given = {value: self.values[value] for value in range(self.tape.leaves)} | {value: self.values[value] for value in held}
            for value, change in direction.items():
                given[value] = [[a + t * b for a, b in zip(*rows, strict=True)] for rows in zip(self.values[value], change, strict=True)]
            found.append(evaluate_tape(self.tape, given, self.sizes, RATIONALS, self.opaque)[output])
        slopes = [slope_at_zero(points, k) for k in range(len(points))]
        rows, columns = shape_of(found[0])
        return [
            [sum((slopes[k] * found[k][i][j] for k in range(len(points))), start=Fraction(0)) for j in range(columns)] for i in range(rows)
        ]


@lru_cache
def _slopes(points: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """The derivatives at 0 of Lagrange's polynomials."""
    found = []
    for k, at in enumerate(points):
        others = [point for j, point in enumerate(points) if j != k]
        below = math.prod((at - point for point in others), start=Fraction(1))
        above = sum(
            (math.prod((-other for j, other in enumerate(others) if j != left), start=Fraction(1)) for left in range(len(others))),
            start=Fraction(0),
        )
        found.append(above / below)
    return tuple(found)


def slope_at_zero(points: Sequence[Fraction], k: int) -> Fraction:
    return _slopes(tuple(points))[k]


def random_like(matrix: Matrix, key: int) -> Matrix:
    return [[Fraction(number_at(key, i, j)) for j in range(len(matrix[0]))] for i in range(len(matrix))]


CONCRETE: list[tuple[str, Any]] = [
    ("z1 = W1 x + b1; h = z1.^3; ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2", ()),
    ("L = 1/2 ||W3*((W2*W1*x) .* c) - y||^2", ("W1", "W2", "W3", "x")),
    ("z = W x; u = V z; L = ||u||^2 + ||z||^2", ("W", "V", "x")),
    ("L = a^T X Y b; X: m x n; Y: n x p", ("X", "Y", "a", "b")),
    ("L = tr(A X B X^T); A: m x m; X: m x n; B: n x n", ("X", "A", "B")),
    ("Q: n x d_k; K: m x d_k; S = Q K^T; L = ||S .* M||^2", ("Q", "K", "M")),
    ("y = W2 ((W1 x).^2); x: n; W1: m x n; W2: p x m", ("W1", "W2", "x")),
    ("D = diag(v); y = D W x; W: m x n; L = ||y||^2", ("v", "W", "x")),
    ("h = f(W*x, θ); L = ||h - y||^2; h: m; θ: k", ("W", "θ", "x")),
    ("h1 = (W_{hh} h0).^2; h2 = (W_{hh} h1).^2; L = 1/2 ||h2 - y||^2; W_{hh}: n x n", ("W_{hh}", "h0")),
    (r"\hat y_{t+1} = U*(V*x); loss_2 = s ||\hat y_{t+1} - y||^2; s: scalar", ("U", "V", "s")),
    ("Z = X W + ones(n) b^T; L = ||Z .* Z||^2; X: n x d; W: d x k", ("W", "b")),
    ("z = W x; p = z + b; q = p .* z; L = c^T q", ("W", "b", "z")),
    ("h = f(W1 x); L = 1/2 ||h + W2 x||^2; W1: k x n; W2: m x n", ("W1", "W2", "x")),
    ("K = A ⊗ B; y = K x; A: 2 x 3; B: 4 x 5; x: 15; L = ||y||^2", ("A", "x")),
    ("y = σ(W x) .* c; W: m x n; L = d^T y", ("W", "c")),
    ("Y = A X^T; Z = Y B; L = ||Z||^2; X: m x n; A: k x n; B: m x p", ("X", "B", "A")),
]


@pytest.mark.parametrize(("text", "wrt"), CONCRETE)
def test_concrete_layers_carried_out(text: str, wrt: Any) -> None:
    tape = name_products(parse(text).tape)
    output, variables = find_output(tape, None), select(tape, wrt).variables
    sizes = distinct_sizes(tape)
    known = ConcreteValues(tape, sizes)
    entries = known.entries
    cost = estimate_cost(tape, output, variables, sizes)
    assert cost.concrete
    for named in (True, False):
        found = plan_gradients(tape, output, variables, entries, sizes, named)
        seeds = {op.source: random_like(known.values[output], 77) for op in found.plan.operations if op.kind == "given" and op.repeat > 1}
        machine = Machine(found.plan, known.take(found, seeds))
        present = [root for root in found.roots if root >= 0]
        count = machine.run(present)
        weight = next(iter(seeds.values()), [[Fraction(1)]])
        for position, (variable, root) in enumerate(zip(variables, found.roots, strict=True)):
            direction = random_like(known.values[variable], 5 + position)
            slope = known.inner(weight, known.difference(output, {variable: direction}, [v for v in variables if v >= tape.leaves]))
            assert known.inner(plain(machine.results[root]), direction) == slope if root >= 0 else slope == 0
            if root >= 0:
                own = Machine(found.plan, known.take(found, seeds)).run([root])
                single = alone(found.plan, [root]).work[root]
                assert single.multiplications == own
                if named:
                    assert own == cost.blocks[position].multiplications
        if named:
            assert count == cost.backpropagation.multiplications
    assert cost.backpropagation.multiplications <= cost.block_by_block.multiplications
    assert cost.best.multiplications <= cost.block_by_block.multiplications


@pytest.mark.parametrize(("text", "wrt"), CONCRETE)
def test_tangents_carried_out(text: str, wrt: Any) -> None:
    tape = name_products(parse(text).tape)
    output, variables = find_output(tape, None), select(tape, wrt).variables
    sizes = distinct_sizes(tape)
    known = ConcreteValues(tape, sizes)
    for position, variable in enumerate(variables):
        found = plan_directions(tape, output, (variable,), known.entries, sizes)
        direction = random_like(known.values[variable], position)
        machine = Machine(found.plan, known.take(found, {}))
        take = machine.take
        seed = next(index for index, op in enumerate(found.plan.operations) if op.kind == "given" and op.source == variable)

        def with_direction(
            operation: Operation, inputs: list[Matrix], counter: Counter, take: Callable[..., Matrix] = take, plan: Any = found.plan
        ) -> Matrix:
            if operation is plan.operations[seed]:  # noqa: B023
                return counted(direction, counter)  # noqa: B023
            return take(operation, inputs, counter)

        machine.take = with_direction
        (root,) = found.roots
        total = machine.run(range(len(found.plan.operations)))
        assert plain(machine.results[root]) == known.difference(
            output, {variable: direction}, [variable] if variable >= tape.leaves else []
        )
        assert total == estimate_cost(tape, output, (variable,), sizes).forward.multiplications


def test_tangents_by_several_variables_share_nothing_but_slopes() -> None:
    tape = parse("z = W x + b; y = V z; L = ||y||^2; W: m x n; V: p x m").tape
    sizes = {"m": 5, "n": 3, "p": 7}
    output, variables = find_output(tape, None), [tape.names.index(name) for name in ("W", "x", "b", "V")]
    each = [estimate_cost(tape, output, (variable,), sizes).forward.multiplications for variable in variables]
    assert estimate_cost(tape, output, variables, sizes).forward.multiplications == sum(each)
    m, n, p = sizes.values()
    assert each == [m * n * (m * n + p * m + p), n * (m * n + p * m + p), m * (p * m + p), p * m * (p * m + p)]


# --- closed formulas ---


def chain_text(count: int) -> str:
    lines = [f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, count + 1)]
    return "; ".join([*lines, f"L = ℓ(x{count})"])


def chain_sizes(count: int, d: int, p: int) -> dict[str, int]:
    return {f"x{k}": d for k in range(count + 1)} | {f"θ{k}": p for k in range(1, count + 1)}


@pytest.mark.parametrize(("n", "d", "p"), [(1, 3, 5), (2, 7, 2), (3, 100, 100), (6, 4, 9), (10, 11, 3)])
def test_a_chain_of_equal_layers(n: int, d: int, p: int) -> None:
    cost = derive(chain_text(n), wrt="θ").cost(chain_sizes(n, d, p))
    assert cost.backpropagation.multiplications == (n - 1) * d * d + n * d * p
    assert cost.block_by_block.multiplications == n * (n - 1) // 2 * d * d + n * d * p
    assert [work.multiplications for work in cost.blocks] == [(n - k) * d * d + d * p for k in range(1, n + 1)]
    assert cost.forward.multiplications == sum(d * d * (k - 1) * p for k in range(2, n + 1)) + d * n * p
    # the values and, when the last block is made, all blocks and an adjoint, or when the last adjoint is, that and the one before
    assert cost.backpropagation.memory == n * d + max(n * p + d, (n - 1) * p + 2 * d if n > 1 else 0)
    if p >= d:
        assert cost.blocks[0].memory == n * d + d + p
        assert cost.block_by_block.memory == n * d + n * p + d


def test_the_remark_in_numbers() -> None:
    cost = derive(chain_text(3), wrt="θ").cost({**chain_sizes(3, 100, 100), "θ1": 101, "θ2": 102, "θ3": 100})
    assert cost.block_by_block.multiplications == 30_000 + 100 * 303
    assert cost.backpropagation.multiplications == 20_000 + 100 * 303
    text = " ".join(str(cost).split())
    said = "Written out block by block, ∂L/∂x₂ is computed twice: 60,300 multiplications instead of 50,300 with each adjoint computed once."
    assert said in text


def test_adjoints_are_counted_as_often_as_they_are_needed() -> None:
    cost = derive(chain_text(5), wrt="θ").cost(chain_sizes(5, 4, 3))
    times = {cost.tape.names[found.value]: found.times for found in cost.recomputed}
    assert times == {"x4": 4, "x3": 3, "x2": 2}  # ∂L/∂x5 is the loss's own Jacobian, ∂L/∂x1 is for θ1 alone
    assert {found.multiplications for found in cost.recomputed} == {16}


def test_shared_parameters_have_one_block() -> None:
    cost = derive("h1 = f(h0, W); h2 = f(h1, W); L = ℓ(h2); W: p x q; h0: d; h1: d; h2: d", wrt="W").cost({"d": 5, "p": 3, "q": 4})
    assert cost.backpropagation.multiplications == 5 * 12 + 5 * 5 + 5 * 12
    assert cost.block_by_block == cost.blocks[0] == cost.backpropagation


def test_several_slots_of_one_layer_are_added_before_they_are_multiplied() -> None:
    cost = derive("u = f(x, x); y = g(u)", wrt="x").cost({"x": 5, "u": 7, "y": 3})
    assert cost.backpropagation.multiplications == 3 * 7 * 5
    cost = derive("u = f(x, x) + λ h(x); y = g(u); λ: scalar", wrt="x").cost({"x": 5, "u": 7, "y": 3})
    assert cost.backpropagation.multiplications == 7 * 5 + 3 * 7 * 5  # λ J_h, then all three at once
    cost = derive("u = f(x, x) + λ h(x); y = g(u); λ: scalar", wrt="x").cost({"x": 50, "u": 70, "y": 1})
    assert cost.backpropagation.multiplications == 70 * 50 + 70 * 50  # the same
    cost = derive("u = f(x) + λ h(x); y = g(u); λ: scalar", wrt="x").cost({"x": 5, "u": 7, "y": 2})
    assert cost.backpropagation.multiplications == 7 * 5 + 2 * 7 * 5


def test_tangents_that_lead_nowhere_are_not_carried() -> None:
    cost = derive("v = u(x); a = f(v); b = g(a); y = h(b, x)", wrt=["x", "b"]).cost({"x": 5, "a": 7, "b": 11, "y": 3})
    assert cost.forward.multiplications == 0
    cost = derive("z = W x; L = ||z||^2; W: m x n", wrt=["W", "z"]).cost({"m": 5, "n": 3})
    assert cost.forward.multiplications == 5 * 5  # z is held: a direction of z by 2 z


def test_of_a_chain_with_a_wide_output_and_narrow_variables_forwards_is_cheapest() -> None:
    cost = derive("y = h(g(f(t)))", wrt="t").cost({"t": 1, "y": 50, "n_f": 20, "n_g": 30})
    assert cost.forward.multiplications == 30 * 20 + 50 * 30
    assert cost.backpropagation.multiplications == 50 * 30 * 20 + 50 * 20
    assert cost.best.multiplications == cost.forward.multiplications


def test_a_perceptron_by_hand() -> None:
    text = "z1 = W1 x + b1; h = σ(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2; W1: m x n; W2: p x m"
    m, n, p = 7, 5, 3
    cost = derive(text).cost({"m": m, "n": n, "p": p})
    shared = p * m + p * m + m + m * n  # ∂L/∂W2, ∂L/∂h, ∂L/∂z1, ∂L/∂W1
    assert cost.backpropagation.multiplications == shared
    assert cost.block_by_block.multiplications == shared + p * m + m
    assert cost.applied == m
    assert [cost.tape.names[found.value] for found in cost.recomputed] == ["h", "z1"]
    assert "applies functions and their derivatives to 7 entries" in " ".join(str(cost).split())


def test_a_linear_network_is_bracketed_from_the_loss() -> None:
    cost = derive("L = a^T A B C x; A: m x n; B: n x p; C: p x q", wrt="x").cost({"m": 7, "n": 11, "p": 3, "q": 5})
    assert cost.best.multiplications == 7 * 11 + 11 * 3 + 3 * 5


def test_a_diagonal_matrix_is_no_full_one() -> None:
    cost = derive("L = a^T diag(v) W x; W: m x n", wrt="W").cost({"m": 7, "n": 5})
    assert cost.backpropagation.multiplications == 7 + 35


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=7), st.integers(1, 30))
def test_every_block_of_a_chain_is_bracketed_best(layers: list[tuple[int, int]], output: int) -> None:
    n = len(layers)
    names = {f"x{k + 1}": d for k, (d, _) in enumerate(layers)} | {f"θ{k + 1}": p for k, (_, p) in enumerate(layers)} | {"y": output}
    text = "; ".join([f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, n + 1)] + [f"y = g(x{n})", "x0: 1"])
    cost = derive(text, wrt="θ").cost(names)
    expected = 0
    for k in range(1, n + 1):
        sizes = [output, *(layers[j][0] for j in range(n - 1, k - 2, -1)), layers[k - 1][1]]
        expected += min(price(sizes, tree) for tree in trees_of(len(sizes) - 1))
        assert expected <= cost.block_by_block.multiplications
    assert cost.best.multiplications == expected


def test_chains_that_part_are_bracketed_best() -> None:
    text = "y = h(a5, b5); " + "; ".join(f"{c}{k} = {c}f{k}({c}{k - 1}, w{c}{k})" for c in "ab" for k in range(1, 6))
    tape = name_products(parse(text).tape)
    sizes = {f"{c}{k}": 3 + (7 * k + 5 * (c == "a")) % 11 for c in "ab" for k in range(6)} | {"y": 40}
    sizes |= {f"w{c}{k}": 2 + (5 * k + 3 * (c == "b")) % 13 for c in "ab" for k in range(1, 6)}
    variables = [tape.names.index(f"w{c}{k}") for k in range(1, 6) for c in "ab"]
    cost = estimate_cost(tape, tape.names.index("y"), variables, sizes)
    chains = [[40, *(sizes[f"{c}{j}"] for j in range(5, k - 1, -1)), sizes[f"w{c}{k}"]] for c in "ab" for k in range(1, 6)]
    assert cost.best.multiplications == sum(min(price(chain, tree) for tree in trees_of(len(chain) - 1)) for chain in chains)


# --- memory ---


def test_what_a_result_shows_is_held_as_long_as_the_result() -> None:
    plan = Plan()
    a, b = plan.given(0, 2, 3), plan.given(1, 3, 5)
    product = plan.product(a, b)
    turned = plan.add(Operation("view", (product,), 5, 2, 10))
    other = plan.product(b, plan.given(2, 5, 7))
    assert plan.together([turned, other]).memory == 10 + 21
    assert plan.together([other], range(len(plan.operations))).memory == 21


def held_by_hand(plan: Plan, order: Sequence[int], results: Sequence[int]) -> int:
    """The most numbers held at once: for each moment whatever is made, and wanted now or later."""
    most = 0
    for place, now in enumerate(order):
        wanted = {now, *results}
        for stack in [list(results), *(list(plan.operations[later].inputs) for later in order[place:])]:
            while stack:
                source = stack.pop()
                wanted.add(source)
                if plan.operations[source].kind == "view":
                    stack += plan.operations[source].inputs
        present = wanted.intersection(order[: place + 1])
        live = 0
        for index in present:
            operation = plan.operations[index]
            if operation.kind not in ("given", "identity", "constant", "view"):
                live += operation.filled * operation.repeat
        most = max(most, live)
    return most


def order_alone(bases: Sequence[int], between: Sequence[Sequence[int]], root: int) -> list[int]:
    parts = []
    while root >= 0:
        parts.append(between[root])
        root = bases[root]
    return [index for part in reversed(parts) for index in part]


@pytest.mark.parametrize(("text", "wrt"), LAYERED + CONCRETE)
def test_memory_is_what_is_held(text: str, wrt: Any) -> None:
    tape = name_products(parse(text).tape)
    output, variables = find_output(tape, None), select(tape, (wrt,) if isinstance(wrt, str) else wrt).variables
    sizes = distinct_sizes(tape)
    entries = Entries(tape, sizes)
    cost = estimate_cost(tape, output, variables, sizes)
    found: Any
    if tape.is_of_layers:
        found = plan_backward(derive_blocks(tape, output, variables, shared=True), entries)
        forward = plan_forward(tape, output, variables, entries)
        ahead, end = forward.plan, forward.tangent.made
    else:
        found = plan_gradients(tape, output, variables, entries, sizes)
        pushed = plan_directions(tape, output, variables, entries, sizes)
        ahead, (end,) = pushed.plan, pushed.roots
    kept = sum(entries.of[value] for value in found.values)
    roots = [root for root in found.roots if root >= 0]
    order = found.plan.reach(roots)
    assert cost.backpropagation.memory == kept + held_by_hand(found.plan, order, roots)
    assert cost.forward.memory == held_by_hand(ahead, range(len(ahead.operations)), [end] if end >= 0 else [])
    single = alone(found.plan, roots)
    for root, work in zip(found.roots, cost.blocks, strict=True):
        if root >= 0:
            own = order_alone(single.bases, single.between, root)
            assert sorted(own) == [
                i for i in found.plan.reach([root]) if found.plan.operations[i].kind not in ("given", "identity", "constant")
            ]
            made: set[int] = set()
            for index in own:  # nothing is used before it is made
                inputs = [i for i in found.plan.operations[index].inputs if i in own]
                assert made.issuperset(inputs)
                made.add(index)
            assert work.memory == kept + held_by_hand(found.plan, own, [root])


def test_values_that_the_derivative_does_not_need_are_not_kept() -> None:
    cost = derive("z = W x; L = a^T z; W: m x n", wrt="W").cost({"m": 7, "n": 5})
    assert cost.backpropagation.memory == 35  # the block alone: x and a are given
    cost = derive("z = W x; L = ||z||^2; W: m x n", wrt="W").cost({"m": 7, "n": 5})
    assert cost.backpropagation.memory == 7 + 7 + 35  # z, 2 z and the block


# --- sizes ---


def test_sizes_by_any_name() -> None:
    tape = parse("z = f(x, θ1); y = A z; A: m x n").tape
    sizes = choose_sizes(tape, [("theta_1", 7), ("m", 3), (r"n_{x}", 5)])
    assert sizes == {"n_x": 5, "n_θ1": 7, "m": 3, "n": USUAL}
    assert choose_sizes(tape)["n_θ1"] == PARAMETER
    assert choose_sizes(tape, {"z": 4})["n"] == 4


def test_a_parameter_that_is_more_than_that_has_the_usual_size() -> None:
    assert choose_sizes(parse("y = f(x + θ)").tape) == {"n_x": USUAL, "n_y": USUAL}
    assert choose_sizes(parse("L = w^T x").tape) == {"n_w": USUAL}
    assert choose_sizes(parse("y = f(x, θ); x: k; θ: k").tape) == {"k": USUAL, "n_y": USUAL}


def test_products_and_sums_of_sizes() -> None:
    tape = parse("v = vec(X); w = [u; v]; L = ||w||^2; X: m x n; u: k").tape
    assert Entries(tape, choose_sizes(tape, {"m": 3, "n": 4, "k": 5})).of[tape.names.index("w")] == 17
    with pytest.raises(OptionError, match="entries already") as found:
        choose_sizes(tape, {"w": 17})
    assert "--size m=" in str(found.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_xx": 3}, "did you mean n_x"),
        ({"q": 3}, "no size q"),
        ({"x": 0}, "positive whole number"),
        ({"x": True}, "positive whole number"),
        ({"x": 1.5}, "positive whole number"),
        ({"λ": 2}, "scalar"),
        ({"A": 2}, "--size m=… and --size n=…"),
        ([("x", 2), ("n_x", 3)], "two sizes"),
        ({"c": 3}, "has 4 entries already"),
        ({"x; y": 3}, "no size"),
    ],
)
def test_sizes_that_are_refused(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message) as found:
        choose_sizes(parse("y = A f(x, c); z = λ y; A: m x n; λ: scalar; c: 4").tape, given)
    assert found.value.status == 2


@pytest.mark.parametrize("text", ["x", "=3", "x=", "x=-1", "x=0", "x=1.5", "x=a", "x=²", "x=" + "9" * 40, ""])
def test_options_that_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        read_size(text)


def test_options_that_are_read() -> None:
    assert [read_size(text) for text in ("m=3", " n_x = 1,000 ", "θ1=1_000")] == [("m", 3), ("n_x", 1000), ("θ1", 1000)]


# --- in words ---


def test_a_table_and_sentences() -> None:
    cost = derive(chain_text(3), wrt="θ").cost({"x1": 20})
    table, recomputed, model = describe_cost(cost, LatexWriter())
    assert isinstance(table, Table)
    assert len(table.rows) == 7
    assert all(len(row) == len(table.header) for row in table.rows)
    assert table.rows[0][0] == (Math(r"\frac{\partial L}{\partial \theta_{1}}"), " by itself")
    assert Math("n_{x_{1}} = 20") in table.caption
    assert isinstance(recomputed, Paragraph)
    assert Math(r"\frac{\partial L}{\partial x_{2}}") in recomputed.text
    assert isinstance(model, Paragraph)
    assert "1,000 for the entries of a parameter" in "".join(map(str, model.text))


def test_no_recomputation_is_said_so() -> None:
    cost = derive("L3(L2(L1(x,θ1),θ2),θ3)", wrt="θ").cost()
    assert cost.block_by_block.multiplications == cost.backpropagation.multiplications
    assert "either way" in " ".join(str(cost).split())


def test_one_block_shares_with_nobody() -> None:
    assert "There is one block, 1,000,000 multiplications" in " ".join(str(derive("y = g(f(x))", wrt="x").cost()).split())


def test_a_size_that_is_given_counts_as_given_whatever_it_is() -> None:
    cost = derive("y = g(f(x))", wrt="x").cost({"x": USUAL, "n_f": USUAL, "y": USUAL})
    assert cost.given == {"n_x", "n_f", "n_y"}
    assert "not given" not in " ".join(str(cost).split())
    assert "not given are 100." in " ".join(str(derive("y = g(f(x))", wrt="x").cost({"x": 7})).split())


def test_the_factor_is_against_backpropagation() -> None:
    cost = derive(chain_text(4), wrt="θ").cost(chain_sizes(4, 10, 10))
    factors = {row.way: row.factor for row in cost.table}
    assert factors["backpropagation"] == 1
    assert factors["block by block"] == 1000 / 700
    assert [row.variable for row in cost.table if row.way == "block"] == list(cost.variables)


def test_many_blocks_have_one_row() -> None:
    assert len(derive(chain_text(30), wrt="θ").cost().table) == 4


def test_names_of_all_kinds_are_written() -> None:
    text = r"\hat y_{t+1} = f(\hat y_t, W_{hh}); \bar z = g(\hat y_{t+1}, W^{(2)}_{in}); loss_2 = ℓ(\bar z, W_{hh})"
    cost = derive(text, wrt="all").cost()
    for writer in (TextWriter(), TextWriter(ascii=True), LatexWriter()):
        parts = describe_cost(cost, writer)
        formulas = [piece.text for part in parts for prose in _proses(part) for piece in prose if isinstance(piece, Math)]
        assert formulas
        if not isinstance(writer, TextWriter) or writer.ascii:
            assert all(formula.isascii() for formula in formulas)


def _proses(part: Any) -> list[Any]:
    return [part.caption, *part.header, *(cell for row in part.rows for cell in row)] if isinstance(part, Table) else [part.text]


def test_a_block_that_is_zero_costs_nothing() -> None:
    tape = parse("y = f(x); z = g(u)").tape
    output = tape.names.index("y")
    cost = estimate_cost(tape, output, [tape.names.index("u"), tape.names.index("x")])
    assert [work.multiplications for work in cost.blocks] == [0, 0]
    assert cost.blocks[0].memory == 0
    assert "1.00" in " ".join(str(cost).split())


# --- long compositions ---


def test_a_thousand_layers() -> None:
    n = 1000
    cost = derive(chain_text(n), wrt="θ").cost(chain_sizes(n, 10, 20))
    assert cost.backpropagation.multiplications == (n - 1) * 100 + n * 200
    assert cost.block_by_block.multiplications == n * (n - 1) // 2 * 100 + n * 200
    assert cost.unsearched > 0
    assert "bracketed from one end" in " ".join(str(cost).split())


def test_a_thousand_nested_and_residual_layers() -> None:
    nested = "x"
    for k in range(1, 1001):
        nested = f"L{k}({nested}, θ{k})"
    assert derive(nested, wrt="θ").cost().unsearched > 0
    residual = "; ".join([f"x{k} = x{k - 1} + f{k}(x{k - 1}, θ{k})" for k in range(1, 1001)] + ["L = ℓ(x1000)"])
    cost = derive(residual, wrt="θ").cost()
    assert cost.backpropagation.multiplications == 999 * 100**2 + 1000 * 100 * 1000


def test_a_thousand_concrete_layers() -> None:
    lines = ["z0 = W0 x", *(f"z{k} = W{k} tanh(z{k - 1})" for k in range(1, 1001)), "L = ||z1000||^2"]
    cost = derive("; ".join(lines)).cost()
    assert cost.backpropagation.multiplications == 1000 * 2 * 100**2 + 1000 * 2 * 100 + 100**2
    assert cost.backpropagation.multiplications < cost.block_by_block.multiplications


def test_names_of_intermediates_do_not_matter() -> None:
    for plain, named in (
        ("L = 1/2 ||A x||^2; A: a x d; x: d", "y = A x; L = 1/2 ||y||^2; A: a x d; x: d"),
        ("L = 1/2 ||A tanh(B x)||^2; A: a x b; B: b x d", "z = B x; h = tanh(z); y = A h; L = 1/2 ||y||^2; A: a x b; B: b x d"),
    ):
        sizes = {"a": 7, "b": 5, "d": 11} if "b x d" in plain else {"a": 7, "d": 11}
        costs = [derive(text, wrt="all").cost(sizes) for text in (plain, named)]
        assert costs[0].backpropagation.multiplications == costs[1].backpropagation.multiplications


def test_sizes_of_values_with_a_sum_in_their_index() -> None:
    cost = derive("h_{t+1} = f(h_t, x_{t+1}); L = ℓ(h_{t+1})", wrt="x_{t+1}").cost({"x_{t+1}": 30, "h_{t+1}": 7, "h_t": 5})
    assert cost.backpropagation.multiplications == 7 * 30
    assert "n_{h_{t+1}} = 7" in cost._repr_markdown_()
