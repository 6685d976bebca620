"""Random compositions with polynomial layers, and SymPy's Jacobian of the whole explicit composition.

Nothing of the package is used here but the shape of its tape: the text is generated together with a tree that is evaluated
independently, and the derivative is ``Matrix.jacobian`` of the composition as one explicit polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sympy
from hypothesis import strategies as st

Vector = list[Any]
MAX_DEPTH = 3
POINTS = (2, -3, 1, 5, -1, 4, -2, 3)


@dataclass(frozen=True)
class Layer:
    """A polynomial map: for each component linear coefficients and products of two entries."""

    sizes: tuple[int, ...]
    rows: int
    seed: int

    def apply(self, arguments: list[Vector]) -> Vector:
        entries = [entry for argument in arguments for entry in argument]
        result = []
        for row in range(self.rows):
            value: Any = 0
            for k, entry in enumerate(entries):
                value += ((self.seed * 7 + row * 5 + k * 3) % 11 - 5) * entry
            a, b = (self.seed + row) % len(entries), (self.seed * 3 + row * 2 + 1) % len(entries)
            result.append(value + (1 + (self.seed + row) % 3) * entries[a] * entries[b])
        return result

    def jacobian(self, arguments: list[Vector], slot: int) -> sympy.Matrix:
        """The partial Jacobian in one slot at a point of numbers."""
        symbols = [[sympy.Symbol(f"u{i}_{j}") for j in range(size)] for i, size in enumerate(self.sizes)]
        matrix = sympy.Matrix(self.apply(symbols)).jacobian(symbols[slot])
        point = {s: v for names, values in zip(symbols, arguments, strict=True) for s, v in zip(names, values, strict=True)}
        return matrix.subs(point)


@dataclass
class Problem:
    """A composition as text, the layers by name, the leaves' sizes and the output's tree."""

    text: str
    layers: dict[str, Layer]
    leaves: dict[str, int]
    wrt: list[str]
    trees: dict[str, Any]
    output: str
    sizes: dict[str, int] = field(default_factory=dict)

    def values(self, entries: dict[str, Vector]) -> dict[str, Vector]:
        """Every named value, from the leaves' entries."""
        values = dict(entries)
        for name, tree in self.trees.items():
            if name not in values:
                values[name] = evaluate(tree, values, self.layers)
        return values

    def jacobian(self, variable: str) -> sympy.Matrix:
        """d output / d variable of the explicit composition, at the point; intermediate variables held free."""
        free = {
            name: [sympy.Symbol(f"{name}_{k}") for k in range(size)]
            for name, size in self.sizes.items()
            if name in {*self.leaves, *self.wrt}
        }
        output = self.values(free)[self.output]
        matrix = sympy.Matrix(output).jacobian(free[variable])
        point = self.point()
        return matrix.subs({s: v for name, symbols in free.items() for s, v in zip(symbols, point[name], strict=True)})

    def point(self) -> dict[str, Vector]:
        """Numbers for all named values; an intermediate that is held free has the value that it has anyway."""
        entries = {}
        for k, (name, size) in enumerate(self.leaves.items()):
            entries[name] = [sympy.Integer(POINTS[(3 * k + j) % len(POINTS)]) for j in range(size)]
        return self.values(entries)


def evaluate(tree: Any, values: dict[str, Vector], layers: dict[str, Layer]) -> Vector:
    kind = tree[0]
    if kind == "name":
        return values[tree[1]]
    if kind == "call":
        return layers[tree[1]].apply([evaluate(argument, values, layers) for argument in tree[2]])
    if kind == "scale":
        (scalar,) = values[tree[1]]
        return [scalar * entry for entry in evaluate(tree[2], values, layers)]
    total: Vector = []
    for coefficient, term in tree[1]:
        number = sympy.Rational(coefficient.numerator, coefficient.denominator)
        entries = [number * entry for entry in evaluate(term, values, layers)]
        total = [a + b for a, b in zip(total, entries, strict=True)] if total else entries
    return total


def write(tree: Any) -> str:
    kind = tree[0]
    if kind == "name":
        return str(tree[1])
    if kind == "call":
        return f"{tree[1]}({', '.join(write(argument) for argument in tree[2])})"
    if kind == "scale":
        return f"{tree[1]}*{bracket(tree[2])}"
    text = ""
    for coefficient, term in tree[1]:
        size = abs(coefficient)
        body = (
            bracket(term) if size == 1 else f"{size.numerator} {bracket(term)}" + (f"/{size.denominator}" if size.denominator > 1 else "")
        )
        text += (" - " if coefficient < 0 else " + " if text else "") + body
    return text


def bracket(tree: Any) -> str:
    return f"({write(tree)})" if tree[0] == "sum" else write(tree)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Two to five equations over leaves of sizes one to three: nested calls, skips, shared and repeated inputs, factors."""
    leaves = {"x": draw(st.sampled_from([1, 2, 3]))}
    for k in range(1, draw(st.integers(1, 3)) + 1):
        leaves[f"θ{k}"] = draw(st.sampled_from([1, 2, 3]))
    if draw(st.booleans()):
        leaves["λ"] = 1
    sizes = dict(leaves)
    layers: dict[str, Layer] = {}
    trees: dict[str, Any] = {}

    depths = dict.fromkeys(leaves, 0)

    def depth_of(tree: Any) -> int:
        if tree[0] == "name":
            return depths[tree[1]]
        if tree[0] == "call":
            return 1 + max(depth_of(argument) for argument in tree[2])
        return depth_of(tree[2]) if tree[0] == "scale" else max(depth_of(term) for _, term in tree[1])

    def leaf(size: int | None) -> Any:
        # the explicit polynomial grows with the number of layers on a path
        names = [name for name, n in sizes.items() if (size is None or n == size) and depths[name] < MAX_DEPTH]
        # later values are likelier, so that compositions are deep
        return ("name", names[max(draw(st.integers(0, len(names) - 1)), draw(st.integers(0, len(names) - 1)))]) if names else None

    def call(size: int, depth: int) -> Any:
        arguments = []
        for _ in range(draw(st.integers(1, 3))):
            inner = depth < 1 and draw(st.integers(0, 4)) == 0
            arguments.append(call(draw(st.sampled_from([1, 2])), depth + 1) if inner else leaf(None))
        sizes_in = tuple(size_of(argument) for argument in arguments)
        again = [name for name, layer in layers.items() if layer.sizes == sizes_in and layer.rows == size]
        reuse = bool(again) and draw(st.booleans())
        name = draw(st.sampled_from(again)) if reuse else f"f{len(layers) + 1}"
        layers.setdefault(name, Layer(sizes_in, size, draw(st.integers(0, 10))))
        return ("call", name, arguments)

    def size_of(tree: Any) -> int:
        if tree[0] == "name":
            return sizes[tree[1]]
        if tree[0] == "call":
            return layers[tree[1]].rows
        return size_of(tree[2]) if tree[0] == "scale" else size_of(tree[1][0][1])

    def expression(size: int) -> Any:
        form = draw(st.integers(0, 5))
        if form <= 2:
            return call(size, 0)
        if form == 3 and "λ" in leaves:
            return ("scale", "λ", call(size, 1))
        terms = [(Fraction(1), leaf(size) or call(size, 1)), (draw(st.sampled_from(COEFFICIENTS)), call(size, 1))]
        if draw(st.booleans()):
            terms.append((draw(st.sampled_from(COEFFICIENTS)), leaf(size) or call(size, 1)))
        return ("sum", terms)

    count = draw(st.integers(2, 4))
    for k in range(1, count + 1):
        # a scalar at the end more often than not: only then layouts and ∇ differ in all their ways
        size = 1 if k == count and draw(st.booleans()) else draw(st.sampled_from([1, 2, 3]))
        trees[f"x{k}"] = expression(size)
        sizes[f"x{k}"] = size
        depths[f"x{k}"] = depth_of(trees[f"x{k}"])
    output = f"x{count}"
    wrt = [*leaves]
    if draw(st.booleans()) and count > 2:
        wrt.append(f"x{draw(st.integers(1, count - 2))}")
    wrt = draw(st.permutations(wrt))[: draw(st.integers(1, len(wrt)))]
    # a matrix with one row has the entries of a column, on vec; all values of one size are the same kind of array
    matrices = draw(st.sets(st.sampled_from([2, 3])))
    shapes = {1: "scalar", **{size: f"1 x {size}" if size in matrices else str(size) for size in (2, 3)}}
    declarations = [f"{name}: {shapes[size]}" for name, size in sizes.items()]
    equations = [f"{name} = {write(tree)}" for name, tree in trees.items()]
    text = "; ".join([*declarations, *draw(st.permutations(equations))])
    return Problem(text, layers, leaves, wrt, trees, output, sizes)


COEFFICIENTS = [Fraction(1), Fraction(-1), Fraction(2), Fraction(-1, 3), Fraction(3, 2)]
