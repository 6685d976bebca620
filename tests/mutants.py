"""Checked problems with an oracle of their own: right answers, rewritten ones, and answers with one mistake each.

Nothing of the package is used but ``check``, and that by ``main`` alone. An answer is a small tree whose letters are random matrices
modulo a prime; a dimension is a name, so that an ill-shaped product is seen whatever the sizes are. What a factor means (design, 8.5
and 8.6) is all that the oracle knows of notation: a fraction is oriented by the layout, ∇ is a column, and J is oriented by the layout
or, throughout the answer, never; with a layer on top it is the layer's slot; ∂ of a value is the partial of its whole equation where
the variable stands in it (an answer may be right with some such symbol read as total) and else total, as is d always.

Run ``python tests/mutants.py --count 100 --seed 0 [-v] [--samples] [--only K]``. Every run tests the oracle too.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

P = 2**61 - 1
LAYOUTS = ("numerator", "denominator", "mixed")
NOTATIONS = ("J", "J", "J plain", "∂f", "∂f", "∂x", "any")  # "J": always in numerator layout, so that it carries explicit transposes
NUMBERS = [Fraction(n) for n in ("2", "3", "-1", "1/2", "1/3", "-1/3", "3/2")]
LARGEST = 60  # parts of a block


class Leaf(NamedTuple):
    """A factor: ``kind`` is how it is written, ``top`` a layer (J, ∂f, ∇) or a value (∂x, d)."""

    kind: str
    top: str
    by: str
    point: tuple[str, ...] = ()


class Node(NamedTuple):
    """``leaf``, ``number``, ``eye``, ``prod``, ``sum``, ``T`` (transposed, with the leaf it holds) or ``def`` (what a name stands for)."""

    kind: str
    parts: tuple[Node, ...] = ()
    leaf: Leaf = Leaf("", "", "")
    number: Fraction = Fraction(1)

    @property
    def is_unit(self) -> bool:
        return self.kind in ("leaf", "def") or (self.kind == "T" and self.parts[0].kind in ("leaf", "def"))

    def walk(self, path: tuple[int, ...] = (), inside: str = "") -> Iterator[tuple[tuple[int, ...], Node, str]]:
        """Every part with its path and the kind of what holds it (``unit`` for a part of a unit)."""
        yield path, self, inside
        for k, part in enumerate(self.parts):
            yield from part.walk((*path, k), "unit" if self.is_unit or inside == "unit" else self.kind)

    def put(self, path: tuple[int, ...], new: Node) -> Node:
        parts = [part.put(path[1:], new) if k == path[0] else part for k, part in enumerate(self.parts)] if path else []
        return self._replace(parts=tuple(parts)) if path else new

    def with_leaf(self, **changes: Any) -> Node:
        new = Node("leaf", leaf=self.leaf._replace(**changes))
        return transposed(new) if self.kind == "T" else new

    def mapped(self, change: Callable[[Node], Node], backwards: bool = False) -> Node:
        """Every unit changed, and every product reversed or not."""
        if self.is_unit:
            return change(self)
        parts = [part.mapped(change, backwards) for part in self.parts]
        if backwards and self.kind == "prod":
            parts = [*(part for part in parts if part.kind == "number"), *(part for part in parts[::-1] if part.kind != "number")]
        return self._replace(parts=tuple(parts))

    def distributed(self, chance: Callable[[], bool]) -> Node:
        """Sums inside products multiplied out, each or not as chance has it."""
        if self.kind not in ("prod", "sum"):
            return self
        parts = [part.distributed(chance) for part in self.parts]
        if self.kind == "sum":
            return plus(parts)
        return plus(times(*some) for some in itertools.product(*(p.parts if p.kind == "sum" and chance() else (p,) for p in parts)))


EYE = Node("eye")


def raw(kind: str, parts: Iterable[Node]) -> Node:
    """A product or sum as it is; of one part, that part."""
    parts = tuple(parts)
    return parts[0] if len(parts) == 1 else Node(kind, parts)


def times(*nodes: Node, by: Fraction | int = 1) -> Node:
    """A product without inner products: one number in front, no I beside anything else."""
    flat = [part for node in nodes for part in (node.parts if node.kind == "prod" else (node,))]
    for part in flat:
        by *= part.number
    rest = [part for part in flat if part.kind not in ("number", "eye")] or [EYE]
    return raw("prod", rest if by == 1 else [Node("number", number=Fraction(by)), *rest])


def plus(nodes: Iterable[Node]) -> Node:
    return raw("sum", (part for node in nodes for part in (node.parts if node.kind == "sum" else (node,))))


def transposed(node: Node) -> Node:
    return node.parts[0] if node.kind == "T" else Node("T", (node,), node.leaf)


class Term(NamedTuple):
    """A number times a value (``layer`` is empty) or a layer of values."""

    number: Fraction
    layer: str
    args: tuple[str, ...]


class Problem:
    """A random composition of one to six layers: its equations in order, the space of every value, and its text."""

    def __init__(self, rng: random.Random) -> None:
        self.nested, self.scalar = rng.random() < 0.3, rng.random() < 0.5
        value, layer = ("x", rng.choice("LLfg")) if self.nested else (rng.choice("xxhz"), rng.choice("ffg"))
        self.letter = "θ" if self.nested else rng.choice("θθθwβ")
        self.one, self.share = rng.random() < 0.1, rng.random() < 0.3  # one parameter for all layers, some for several
        values, count = ["x" if self.nested or rng.random() < 0.7 else f"{value}0"], rng.randint(1, 6)
        self.space, self.params, self.equations = {values[0]: values[0]}, list[str](), dict[str, list[Term]]()
        shift = rng.randint(0, 1) if self.nested else 0  # whether x_k is the input or the value of layer k
        for k in range(1, count + 1):
            name = "f" if self.nested and k == count and not self.scalar else f"{value}{k + shift}"
            previous, older, form = values[-1], values[: 1 if self.nested else -1] if k > 1 else [], rng.random() + self.nested
            term, tied, one = self.call(rng, f"{layer}{k}", previous, older), "", Fraction(1)
            terms = [term]
            if form < 0.3:
                first, second = (one, one) if form < 0.22 else (rng.choice(NUMBERS), rng.choice(NUMBERS))
                terms = [Term(first, "", (tied := previous,)), term._replace(number=second)]
            elif form < 0.36:
                other = self.call(rng, f"{'g' if layer == 'f' else 'f'}{k}", rng.choice(values), [])
                terms.insert(rng.randint(0, 1), other._replace(number=rng.choice([one, *NUMBERS])))
            elif form < 0.42 and older:
                terms.append(Term(one, "", (tied := rng.choice(older),)))
            elif form < 0.46:
                terms = [term._replace(number=rng.choice(NUMBERS))]
            self.equations[name], self.space[name] = terms, self.space[tied] if tied else name
            values.append(name)
        if self.scalar:
            extra = [] if self.nested or rng.random() < 0.6 else [rng.choice([*values[:-1], *self.params])]
            terms = [Term(Fraction(1), rng.choice(["ℓ", "ℓ", "loss"]), (values[-1], *extra))]
            if extra and rng.random() < 0.3:
                terms = [terms[0]._replace(args=(values[-1],)), Term(rng.choice([Fraction(1), Fraction(1, 2)]), "r", tuple(extra))]
            values.append("f" if self.nested else "L")
            self.equations[values[-1]], self.space[values[-1]] = terms, "1"
        self.output = values[-1]
        self.direct = {name: list(dict.fromkeys(a for t in terms for a in t.args)) for name, terms in self.equations.items()}
        self.layers = {t.layer: (name, t.args) for name, terms in self.equations.items() for t in terms if t.layer}
        self.text = self.write(rng)
        inner = [v for v in values[: 1 if self.nested else -1] if self.depends(self.output, v)] + self.params
        self.wrt = tuple(self.params) if self.params and rng.random() < 0.6 else (rng.choice(inner),)

    def call(self, rng: random.Random, name: str, previous: str, older: list[str]) -> Term:
        args = [previous, *(rng.sample(older, 1) if older and rng.random() < 0.2 else [])]
        if rng.random() < 0.85:
            if not self.params or not (self.one or (self.share and rng.random() < 0.4)):
                self.params.append(self.letter if self.one else f"{self.letter}{len(self.params) + 1}")
            args.append(self.params[-1] if self.params[-1] not in self.space else rng.choice(self.params))
            self.space[args[-1]] = args[-1]
        return Term(Fraction(1), name, tuple(args if rng.random() < 0.9 else rng.sample(args, len(args))))

    def write(self, rng: random.Random) -> str:
        style, texts, lines = Style(rng), dict[str, str](), list[str]()
        for name, terms in self.equations.items():
            text = ""
            for term in terms:
                args = [texts.get(arg, style.spell(arg)) if self.nested else style.spell(arg) for arg in term.args]
                top, bottom = abs(term.number).as_integer_ratio()
                body = f"{style.spell(term.layer)}({', '.join(args)})" if term.layer else args[0]
                body = f"{top} " * (top > 1) + body + f"/{bottom}" * (bottom > 1)
                text += (" - " if text else "-") + body if term.number < 0 else " + " * bool(text) + body
            texts[name] = text
            lines.append(f"{style.spell(name)} = {text}")
        for leaf in [] if self.nested or rng.random() < 0.75 else [name for name in self.space if name not in self.equations]:
            dimension = rng.choice("nmkdqnmkdqpt")
            if rng.random() < 0.5:  # two leaves that are declared alike fit into each other's places
                self.space.update({name: dimension for name, space in self.space.items() if space == self.space[leaf]})
                lines.insert(rng.randint(0, len(lines)), f"{style.spell(leaf)}: {dimension}")
        return texts[self.output] if self.nested else rng.choice(["; ", "\n"]).join(lines)

    def depends(self, of: str, by: str) -> bool:
        return of == by or any(self.depends(inner, by) for inner in self.direct.get(of, ()))

    def is_scalar(self, leaf: Leaf) -> bool:
        return self.space[self.layers[leaf.top][0] if leaf.top in self.layers else leaf.top] == "1"

    def is_plain(self, name: str) -> bool:
        """Whether a value is a layer's and nothing else."""
        return len(self.equations[name]) == 1 and self.equations[name][0].layer != "" and self.equations[name][0].number == 1

    def derivative(self, by: str, rng: random.Random, whole: bool, totals: bool) -> Node:
        """d output / d by as a tree in numerator layout, factored from either end, then multiplied out in places."""
        forward, much = rng.random() < 0.4, rng.choice([0, 0, 0.5, 1])

        def local(of: str, u: str) -> Node:
            if whole and (self.is_plain(of) or rng.random() < 0.4):
                return Node("leaf", leaf=Leaf("∂x", of, u))
            terms = [term for term in self.equations[of] if u in term.args]
            return plus(times(Node("leaf", leaf=Leaf("J", t.layer, u)) if t.layer else EYE, by=t.number) for t in terms)

        def chain(of: str, u: str) -> Node:
            if of == u:
                return EYE
            if totals and (of, u) != (self.output, by) and rng.random() < 0.3:
                return Node("leaf", leaf=Leaf("d", of, u))
            if forward:
                return plus(times(local(of, inner), chain(inner, u)) for inner in self.direct[of] if self.depends(inner, u))
            return plus(times(chain(of, user), local(user, u)) for user, inputs in self.direct.items() if u in inputs)

        tree = chain(self.output, by)
        expanded = tree.distributed(lambda: rng.random() < much)
        return expanded if sum(1 for _ in expanded.walk()) <= LARGEST else tree


def is_column(layout: str, scalar: bool) -> bool:
    """Whether a layout transposes the derivative of a scalar or of a vector."""
    return layout == "denominator" or (layout == "mixed" and scalar)


class Answer(NamedTuple):
    """The blocks, each with its variable; a block that is too many has none."""

    blocks: tuple[Node, ...]
    names: tuple[str, ...]

    def with_block(self, k: int, block: Node) -> Answer:
        return self._replace(blocks=(*self.blocks[:k], block, *self.blocks[k + 1 :]))

    def mapped(self, change: Callable[[Node], Node], backwards: bool) -> Answer:
        return self._replace(blocks=tuple(block.mapped(change, backwards) for block in self.blocks))


def right_answer(rng: random.Random, problem: Problem, layout: str) -> Answer:
    """A right answer as it is written in a layout."""
    notation, nabla = rng.choice(NOTATIONS), rng.random() < 0.3
    whole, totals = notation in ("∂x", "any") and not problem.nested, not problem.nested and rng.random() < 0.15

    def dress(unit: Node) -> Node:
        leaf, column = unit.leaf, is_column(layout, problem.is_scalar(unit.leaf))
        if leaf.kind == "d" and leaf.by not in problem.direct[leaf.top] and rng.random() < 0.5:
            leaf = leaf._replace(kind="∂x")
        if leaf.kind == "J":
            kind = rng.choice(["J", "∂f", "∂x"]) if notation == "any" else notation
            value = problem.layers[leaf.top][0]
            if nabla and problem.is_scalar(leaf):
                kind, column = "∇", True
            elif kind == "∂x":
                kind, leaf = ("∂x", leaf._replace(top=value)) if problem.is_plain(value) and not problem.nested else ("∂f", leaf)
            column = column and kind + notation != "JJ"
            leaf = leaf._replace(kind=kind.removesuffix(" plain"))
        plain = Node("leaf", leaf=leaf)
        return plain if (unit.kind == "T") == column else transposed(plain)

    answer = Answer(tuple(problem.derivative(name, rng, whole, totals) for name in problem.wrt), problem.wrt)
    return (answer.mapped(transposed, True) if is_column(layout, problem.scalar) else answer).mapped(dress, False)


class Matrix(NamedTuple):
    """A matrix between named spaces; a multiple of I has the spaces I. What does not fit is a ValueError."""

    rows: str
    columns: str
    entries: list[list[int]]

    def scaled(self, by: Fraction | int) -> Matrix:
        c = by.numerator * pow(by.denominator, -1, P)
        return self._replace(entries=[[c * entry % P for entry in row] for row in self.entries])

    def flipped(self) -> Matrix:
        return Matrix(self.columns, self.rows, [list(row) for row in zip(*self.entries, strict=True)])

    def __matmul__(self, other: Matrix) -> Matrix:
        if "I" in (self.rows, other.rows):
            return self.scaled(other.entries[0][0]) if other.rows == "I" else other.scaled(self.entries[0][0])
        if self.columns != other.rows:
            raise ValueError("product")
        columns = list(zip(*other.entries, strict=True))
        entries = [[sum(a * b for a, b in zip(row, col, strict=True)) % P for col in columns] for row in self.entries]
        return Matrix(self.rows, other.columns, entries)

    def plus(self, other: Matrix) -> Matrix:
        for one, two in ((self, other), (other, self)):
            if one.rows == "I" and two.rows == two.columns:
                c = one.entries[0][0]
                return two._replace(entries=[[(e + c * (i == j)) % P for j, e in enumerate(row)] for i, row in enumerate(two.entries)])
        if self[:2] != other[:2]:
            raise ValueError("sum")
        rows = zip(self.entries, other.entries, strict=True)
        return self._replace(entries=[[(a + b) % P for a, b in zip(one, two, strict=True)] for one, two in rows])


ONE = Matrix("I", "I", [[1]])


class Reading(NamedTuple):
    """How factors are read: the layout, whether J is always in numerator layout, and the ∂x that are total."""

    layout: str
    fixed: bool
    totals: tuple[Leaf, ...]


class Draw:
    """One draw of sizes and of a random matrix for every factor."""

    def __init__(self, problem: Problem, rng: random.Random) -> None:
        self.problem, self.rng = problem, rng
        self.sizes = {name: 1 if name == "1" else rng.randint(2, 4) for name in sorted({*problem.space.values()})}
        self.known: dict[object, Matrix] = {}

    def matrix(self, of: str, by: str, entry: Callable[[], int] = int) -> Matrix:
        rows, columns = self.problem.space[of], self.problem.space[by]
        return Matrix(rows, columns, [[entry() for _ in range(self.sizes[columns])] for _ in range(self.sizes[rows])])

    def slot(self, layer: str, by: str, point: tuple[str, ...] = ()) -> Matrix:
        """A layer's partial; at another point it is another matrix."""
        name, args = self.problem.layers[layer]
        if by not in args:
            raise ValueError("no such slot")
        key = layer, by, () if point == args else point
        if key not in self.known:
            self.known[key] = self.matrix(name, by, lambda: self.rng.randrange(P))
        return self.known[key]

    def derivative(self, of: str, by: str, total: bool) -> Matrix:
        """The total derivative, or the partial of the whole equation of a value."""
        if (of, by, total) not in self.known:
            result = self.matrix(of, by)
            for term in self.problem.equations.get(of, ()):
                for arg in term.args:
                    if arg == by or total:
                        outer = (self.slot(term.layer, arg) if term.layer else ONE).scaled(term.number)
                        result = result.plus(outer @ (ONE if arg == by else self.derivative(arg, by, True)))
            self.known[of, by, total] = result
        return self.known[of, by, total]

    def value(self, node: Node, reading: Reading) -> Matrix:
        leaf = node.leaf
        if node.kind == "leaf":
            column = leaf.kind == "∇" or is_column(reading.layout, self.problem.is_scalar(leaf))
            if leaf.kind in ("d", "∂x"):
                total = leaf.kind == "d" or leaf in reading.totals or leaf.by not in self.problem.direct[leaf.top]
                matrix = self.derivative(leaf.top, leaf.by, total)
            else:
                matrix = self.slot(leaf.top, leaf.by, leaf.point)
            return matrix.flipped() if column and not (leaf.kind == "J" and reading.fixed) else matrix
        result, *values = [self.value(part, reading) for part in node.parts] or [ONE.scaled(node.number)]
        for value in values:
            result = result @ value if node.kind == "prod" else result.plus(value)
        return result.flipped() if node.kind == "T" else result

    def holds(self, answer: Answer, reading: Reading) -> bool:
        """Whether the answer is the derivative under one reading."""
        column, of = is_column(reading.layout, self.problem.scalar), self.problem.output
        try:
            for name, block in zip(self.problem.wrt, answer.blocks, strict=True):
                value, truth = self.value(block, reading), self.derivative(of, name, True)
                if self.matrix(of, name).plus(value.flipped() if column else value) != truth:
                    return False
        except ValueError:
            return False
        return True


class Truth(NamedTuple):
    """What check should say; ``doubt`` where the right reading takes two symbols as total at once."""

    verdict: str
    holds_in: tuple[str, ...]
    doubt: bool


def judge(draws: list[Draw], answer: Answer, asked: str) -> Truth:
    """The truth by the first reading that makes the answer right, in each layout."""
    problem = draws[0].problem
    placed = answer.names == problem.wrt or "" in answer.names  # a block without a name stands in a row
    leaves = {node.leaf for block in answer.blocks for _, node, _ in block.walk()}
    direct = sorted(leaf for leaf in leaves if leaf.kind == "∂x" and leaf.by in problem.direct[leaf.top])
    open_ = [leaf for leaf in direct if len({str(draws[0].derivative(leaf.top, leaf.by, total)) for total in (False, True)}) > 1]
    flips: dict[str, int] = {}  # in how many symbols the usual reading has to change
    for layout, count, fixed in itertools.product(LAYOUTS, range(min(len(open_), 4) + 1), (False, True)):
        for totals in itertools.combinations(open_, count) if placed else ():
            if layout not in flips and all(draw.holds(answer, Reading(layout, fixed, totals)) for draw in draws):
                flips[layout] = count
    verdict = "correct" if asked in flips else "correct-other-layout" if flips else "wrong"
    return Truth(verdict, tuple(flips), any(count > 1 for count in flips.values()))


Changes = Iterator[tuple[str, Node, str]]
Mutant = tuple[str, Answer, str]
"""The kind of the mistake, the answer that has it, and the findings that name its cause."""


def mutants(rng: random.Random, problem: Problem, answer: Answer) -> Iterator[Mutant]:
    """Every change in a single place; some are none."""
    yield from (mutant for mutant in itertools.chain(_of_blocks(rng, answer), _of_parts(rng, problem, answer)) if mutant[1] != answer)


def _of_blocks(rng: random.Random, answer: Answer) -> Iterator[Mutant]:
    blocks, names = answer
    causes = "other-layout mixed-layout factor-order transpose"
    yield "reverse-all", answer.mapped(lambda unit: unit, True), "other-layout mixed-layout factor-order"
    yield "reverse-plain", answer.mapped(lambda unit: unit.parts[0] if unit.kind == "T" else unit, True), causes
    yield "adjoint-all", answer.mapped(transposed, True), causes
    yield "no-transposes", answer.mapped(lambda unit: unit.parts[0] if unit.kind == "T" else unit, False), causes
    for k, block in enumerate(blocks):
        yield "transpose-block", answer.with_block(k, transposed(block)), "transpose mixed-layout"
        yield "reverse-block", answer.with_block(k, block.mapped(lambda unit: unit, True)), "mixed-layout factor-order other-layout"
        yield "sign", answer.with_block(k, times(block, by=-1)), "sign"
        yield "scale-block", answer.with_block(k, times(block, by=rng.choice([2, 3, Fraction(1, 2)]))), "constant-factor"
        yield "double-block", Answer((*blocks[: k + 1], *blocks[k:]), (*names[: k + 1], "", *names[k + 1 :])), "extra-block"
        if len(blocks) > 1:
            yield "drop-block", Answer(blocks[:k] + blocks[k + 1 :], names[:k] + names[k + 1 :]), "missing-block"
        if k:
            yield "swap-blocks", answer.with_block(k - 1, block).with_block(k, blocks[k - 1]), "block-order"


def _of_parts(rng: random.Random, problem: Problem, answer: Answer) -> Iterator[Mutant]:
    units = [node for block in answer.blocks for _, node, _ in block.walk() if node.kind == "leaf"] or [EYE]
    for k, block in enumerate(answer.blocks):
        for path, node, inside in block.walk():
            whole = not path and sum(part.kind != "number" for part in node.parts) == 2  # swapped, the whole block is reversed
            other, changes = rng.choice(units), itertools.chain[tuple[str, Node, str]]()
            if node.kind in ("prod", "sum"):
                changes = itertools.chain(_of_product(rng, node, other) if node.kind == "prod" else _of_sum(node, other))
            elif node.is_unit and node.leaf.kind and inside != "unit":
                changes = itertools.chain(_of_factor(rng, problem, node, inside == "prod"))
            for kind, new, causes in changes:
                more = " other-layout mixed-layout" if whole and kind == "swap-factors" else ""
                yield kind, answer.with_block(k, block.put(path, new)), causes + more


def _of_product(rng: random.Random, node: Node, other: Node) -> Changes:
    parts = node.parts
    spots = [k for k, part in enumerate(parts) if part.kind != "number"]
    for k, part in enumerate(parts):
        before, after = parts[:k], parts[k + 1 :]
        if part.kind == "number":
            sign, size = (-1, -part.number) if part.number < 0 else (1, part.number)
            new = rng.choice([n for n in NUMBERS if abs(n) != size])
            yield "change-number", times(raw("prod", after), by=sign * abs(new)), "constant-factor"
            yield "drop-number", times(raw("prod", after), by=sign), "constant-factor"
            continue
        yield "repeat-factor", raw("prod", [*before, part, part, *after]), "repeated-factor extra-factor"
        yield "add-factor", raw("prod", [*before, other, part, *after]), "repeated-factor extra-factor"
        if len(spots) > 1:
            yield "drop-factor", raw("prod", before + after), "missing-factor" + " missing-path" * (part.kind == "sum")
        if after:
            yield "swap-factors", raw("prod", [*before, after[0], part, *after[1:]]), "factor-order"
    if len(spots) > 2:
        yield "rotate-factors", raw("prod", [*parts[: spots[0]], *parts[spots[0] + 1 :], parts[spots[0]]]), "factor-order"


def _of_sum(node: Node, other: Node) -> Changes:
    for k, part in enumerate(node.parts):
        before, after = node.parts[:k], node.parts[k + 1 :]
        yield "drop-I" if part.kind == "eye" else "drop-term", raw("sum", before + after), "missing-path"
        yield "double-term", raw("sum", [*before, part, part, *after]), "extra-path constant-factor"
        yield "sign", raw("sum", [*before, times(part, by=-1), *after]), "sign"
        yield "scale-term", raw("sum", [*before, times(part, by=3), *after]), "extra-path constant-factor"
    yield "add-I", raw("sum", [*node.parts, EYE]), "extra-path constant-factor"
    yield "add-term", raw("sum", [*node.parts, other]), "extra-path constant-factor"


def _of_factor(rng: random.Random, problem: Problem, node: Node, in_product: bool) -> Changes:
    leaf, layered = node.leaf, node.leaf.top in problem.layers
    yield "transpose-factor", transposed(node), "transpose mixed-layout"
    if not in_product:
        yield "repeat-factor", raw("prod", [node, node]), "repeated-factor extra-factor"
        yield "add-I", raw("sum", [node, EYE]), "extra-path constant-factor"
    inputs = {layer: [*args] for layer, (_, args) in problem.layers.items()} if layered else problem.direct
    tops = [top for top in inputs if leaf.kind != "∇" or problem.is_scalar(leaf._replace(top=top))]
    slot, k = inputs[leaf.top].index(leaf.by) if leaf.by in inputs[leaf.top] else 9, tops.index(leaf.top)
    near = [(top, inputs[top][slot]) for top in tops[max(k - 1, 0) : k + 2] if top != leaf.top and slot < len(inputs[top])]
    far = [(top, by) for top in tops for by in inputs[top] if (top, by) != leaf[1:3] and (top, by) not in near]
    for kind, choices in (("neighbour", near), ("other-factor", far[:1] and [rng.choice(far)])):
        yield from ((kind, node.with_leaf(top=top, by=by, point=()), "wrong-index wrong-factor") for top, by in choices)
    if leaf.kind == "d" and leaf.by in inputs[leaf.top]:
        yield "partial-for-total", node.with_leaf(kind="∂x"), "partial-for-total missing-path"
        for term in [term for term in problem.equations[leaf.top] if term.layer and leaf.by in term.args]:
            yield "partial-for-total", node.with_leaf(kind="∂f", top=term.layer), "partial-for-total missing-path"
    if layered:
        args = problem.layers[leaf.top][1]
        j = rng.randrange(len(args))
        free = [v for v in problem.space if v not in (*args, problem.output) and (v in problem.params) == (args[j] in problem.params)]
        for v in free and [rng.choice(free)]:
            yield "point", node.with_leaf(point=(*args[:j], v, *args[j + 1 :])), "evaluation-point"
            if not problem.nested and (v in problem.params) == (leaf.by in problem.params):
                yield "no-such-factor", node.with_leaf(by=v), "wrong-index wrong-factor"


def rewrites(rng: random.Random, problem: Problem, answer: Answer) -> Iterator[tuple[str, Answer]]:
    """Equal answers, one of each kind where there is a place for it."""
    found: dict[str, list[Answer]] = defaultdict(list)
    for k, block in enumerate(answer.blocks):
        found["distributed"].append(answer.with_block(k, block.distributed(lambda: True)))
        for path, node, inside in block.walk():
            if inside != "unit":
                for kind, new in _rewritten(rng, problem, node):
                    found[kind].append(answer.with_block(k, block.put(path, new)))
                if node.kind not in ("def", "eye", "number"):
                    found["defined"].append(answer._replace(blocks=tuple(_defined(b, node) for b in answer.blocks)))
    for kind, choices in found.items():
        choices = [new for new in choices if new != answer and sum(1 for b in new.blocks for _ in b.walk()) <= 2 * LARGEST]
        if choices:
            yield kind, rng.choice(choices)


def _defined(node: Node, what: Node) -> Node:
    return Node("def", (what,)) if node == what else node._replace(parts=tuple(_defined(part, what) for part in node.parts))


def _rewritten(rng: random.Random, problem: Problem, node: Node) -> Iterator[tuple[str, Node]]:
    parts = node.parts
    if node.kind == "prod":
        if len(parts) > 2:
            i = rng.randrange(len(parts) - 1)
            j = rng.randint(i + 2, len(parts) if i else len(parts) - 1)
            yield "bracketed", raw("prod", [*parts[:i], raw("prod", parts[i:j]), *parts[j:]])
        if parts[0].number in (2, 3):
            yield "doubled", raw("sum", [raw("prod", parts[1:])] * int(parts[0].number))
        yield "transposed twice", transposed(node.mapped(transposed, True))
        yield "with I", raw("prod", [*parts[:1], EYE, *parts[1:]])
    if node.kind == "sum":
        yield "reordered", raw("sum", rng.sample(parts, len(parts)))
        for end in (0, -1):
            words = [part.parts if part.kind == "prod" else (part,) for part in parts]
            groups = [[k for k, w in enumerate(words) if w[end] == word[end] and w[end].kind != "eye"] for word in words]
            group = max(groups, key=len)
            if len(group) > 1:
                factor, inner = words[group[0]][end], plus(times(*words[k][1:] if end == 0 else words[k][:-1], EYE) for k in group)
                new = raw("prod", [factor, inner] if end == 0 else [inner, factor])
                yield "factored", raw("sum", [new, *(part for k, part in enumerate(parts) if k not in group)])
    if node.is_unit and node.leaf.kind:
        yield "transposed twice", Node("T", (Node("T", (node,)),))
        yield "doubled", raw("sum", [times(node, by=2), times(node, by=-1)])
        if node.leaf.top in problem.layers and not node.leaf.point:
            yield "points", node.with_leaf(point=problem.layers[node.leaf.top][1])


GREEK = {"θ": ("θ", r"\theta", "theta"), "β": ("β", r"\beta", "beta"), "δ": ("δ", r"\delta", "delta"), "ℓ": ("ℓ", r"\ell", "ℓ")}
SIGNS = {"∂": r"\partial ", "∇": r"\nabla", "d": r"\mathrm{d} ", "J": "J"}
INDICES = {"₁": str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), "¹": str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")}
ROWS = [r"\left( _ \middle| _ \right)", r"\left[ _ \,\middle\vert\, _ \right]", r"\left( _, _ \right)"]
ROWS += [rf"\begin{{{grid}}} _ {mark} _ \end{{{grid}}}" for grid, mark in (("pmatrix", "&"), ("bmatrix", r"\\"))]


class Style:
    """How a text is spelled; without a problem, how a composition is."""

    def __init__(self, rng: random.Random, problem: Problem | None = None, layout: str = "") -> None:
        raised = problem is not None and (problem.nested or "^" in problem.text) and rng.random() < 0.6
        self.latex = latex = problem is not None and rng.random() < 0.65
        self.index = rng.choice(["^{}", "^{{{}}}"] if raised else ["_{}", "_{}", "_{{{}}}", "₁"])
        if not latex:
            self.index = rng.choice(["^{}", "¹"] if raised else ["{}", "_{}", "{}", "₁"] + ["^{}", "_{{{}}}"] * (problem is None))
        self.greek = rng.choice([0] if self.index in INDICES else [0, 1, 1] if latex else [0, 0, 2])
        self.bold, self.compact, self.bars = latex and rng.random() < 0.15, rng.random() < 0.5, latex and rng.random() < 0.5
        self.separator = rng.choice([r" \cdot ", " ", " ", r" \times ", " * "] if latex else [" * ", " @ ", " · ", "*", ""])
        self.power = rng.choice(["^T", r"^\top", r"^{\top}", r"^{\mathsf T}", r"^{\intercal}"] if latex else ["^T", "^T", "ᵀ", "^⊤", ".T"])
        self.around = rng.choice([r"\left( _ \right)", "(_)", r"\left[ _ \right]", r"\bigl(_\bigr)"] if latex else ["(_)", "(_)", "[_]"])
        self.fraction = rng.choice([r"\frac", r"\frac", r"\dfrac", r"\tfrac"])
        self.row = rng.choice(ROWS if latex else ["(_ | _)", "[_, _]", "(_, _)", "[_ | _]"]).split("_")
        scalar = problem is not None and problem.scalar
        self.lines = rng.random() < (0.6 if scalar else 0.3)
        self.left = rng.choice(["", "∂", "∂", "d", "J" if not is_column(layout, scalar) else "∇" if scalar else "∂"])
        self.defined: dict[Node, str] = {}

    def spell(self, key: str) -> str:
        letters = key.rstrip("0123456789")
        index, base = key[len(letters) :], GREEK[letters][self.greek] if letters in GREEK else letters
        if self.latex and (len(letters) > 1 or self.bold):
            base = rf"\{'mathrm' if len(letters) > 1 else 'boldsymbol' if letters in GREEK else 'mathbf'}{{{base}}}"
        return base + (index.translate(INDICES[self.index]) if self.index in INDICES else self.index.format(index) if index else "")

    def bracket(self, text: str) -> str:
        return self.around.split("_")[0] + text + self.around.split("_")[1]

    def derivative(self, sign: str, top: str, by: str, point: tuple[str, ...] = ()) -> str:
        top, by, points = self.spell(top), self.spell(by), f"({', '.join(map(self.spell, point))})"
        mark = SIGNS[sign] if self.latex else sign
        if sign in "J∇":
            text = f"{mark}_{{{by}}}{' ' * (not self.compact or not self.latex)}{top}"
            return f"({text}){points}" if point else text
        text = f"{self.fraction}{{{mark}{top}}}{{{mark}{by}}}" if self.latex else f"{mark}{top}/{mark}{by}"
        return text if not point else rf"\left.{text}\right|_{{{points}}}" if self.bars else f"{self.bracket(text)}{points}"

    def write(self, node: Node) -> str:
        if node.kind == "sum":
            texts = [self.factor(part) if part.kind == "sum" else self.write(part) for part in node.parts]
            text = "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in texts)
            return "-" + text[3:] if texts[0].startswith("-") else text[3:]
        if node.kind == "number":
            top, bottom = abs(node.number).as_integer_ratio()
            text = rf"\frac{{{top}}}{{{bottom}}}" if self.latex else f"{top}/{bottom}"
            return "-" * (node.number < 0) + (str(top) if bottom == 1 else text)
        if node.kind != "prod":
            return self.factor(node)
        first = self.write(node.parts[0]) if node.parts[0].kind == "number" else ""
        texts = [self.factor(part) for part in node.parts[first != "" :]]
        if not self.separator and len(texts) > 1:
            texts = [text if text[0] in "([" and text[-1] in ")]" else f"({text})" for text in texts]
        sign = "" if first in ("", "1", "-1") else " " if self.latex else self.separator or " "
        return (first if sign else first.rstrip("1")) + sign + self.separator.join(texts)

    def factor(self, node: Node) -> str:
        if node.kind == "leaf":
            return self.derivative(node.leaf.kind[0], *node.leaf[1:])
        if node.kind == "def":
            return self.spell(self.defined[node.parts[0]])
        if node.kind == "T":
            inner, text = node.parts[0], self.write(node.parts[0])
            plain = inner.kind == "leaf" and inner.leaf.kind[0] == "∂" and not inner.leaf.point and self.bars
            bare = plain or inner.kind in ("def", "eye")
            return (text if bare and "^" not in text[-4:] else self.bracket(text)) + self.power
        return "I" if node.kind == "eye" else self.bracket(self.write(node))

    def answer(self, problem: Problem, answer: Answer) -> str:
        """The whole text: definitions, then a row or a line for each block."""
        nodes = [node for block in answer.blocks for _, node, _ in reversed([*block.walk()])]
        bodies = list(dict.fromkeys(node.parts[0] for node in nodes if node.kind == "def"))
        self.defined = {body: f"δ{k + 1}" if len(bodies) > 1 else "δ" for k, body in enumerate(bodies)}
        lines = [f"{self.spell(name)} = {self.write(body)}" for body, name in self.defined.items()]
        texts = [self.write(block) for block in answer.blocks]
        if len(problem.wrt) > 1 and self.lines and "" not in answer.names:
            sides = [self.derivative(self.left or "∂", problem.output, name) for name in answer.names]
            lines += [f"{side} = {text}" for side, text in zip(sides, texts, strict=True)]
        else:
            by = problem.wrt[0] if len(problem.wrt) == 1 else problem.letter
            row = self.row[0] + self.row[1].join(texts) + self.row[2] if len(texts) > 1 else texts[0]
            needed = lines and row.startswith("-")  # a bare line that starts with a sign would go on with the definition above
            side = self.derivative(self.left or "∂", problem.output, by) if self.left or needed else ""
            lines.append(f"{side} = {row}" if side else row)
        return (" \\\\\n" if self.latex and self.compact else "\n").join(lines)


class Question(NamedTuple):
    """One call of check and what it should say."""

    kind: str
    composition: str
    text: str
    options: dict[str, Any]
    truth: Truth
    causes: str

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.truth.verdict} {'/'.join(self.truth.holds_in)}\n  check({self.composition!r}, {self.text!r}, {options})"


def questions(seed: str, limit: int) -> Iterator[Question]:
    """One problem: right answers, rewritten ones, and up to ``limit`` mistakes; the oracle is tested on the way."""
    rng = random.Random(seed)
    problem, layout = Problem(rng), rng.choice(LAYOUTS)
    answer, style, draws = right_answer(rng, problem, layout), Style(rng, problem, layout), [Draw(problem, rng), Draw(problem, rng)]
    options = {"wrt": list(problem.wrt) if len(problem.wrt) > 1 else problem.wrt[0], "layout": layout}

    def ask(kind: str, new: Answer, causes: str = "", its: Style = style) -> Question:
        truth = judge(draws, new, layout)
        causes = "other-layout" if truth.verdict == "correct-other-layout" and causes else causes
        return Question(kind, problem.text, its.answer(problem, new), options, truth, causes)

    right = [ask("= right", answer), *(ask("= spelling", answer, "", Style(rng, problem, layout)) for _ in range(2))]
    right.append(ask("= another right", right_answer(rng, problem, layout)))
    for kind, new in rewrites(rng, problem, answer):
        right += [ask(f"= {kind}", new), ask("= twice rewritten", rng.choice([*rewrites(rng, problem, new), (kind, new)])[1])]
    for question in right:
        assert question.truth.verdict == "correct", (seed, question)
        assert not question.truth.doubt
        yield question
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants(rng, problem, answer):
        kinds[mutant[0]].append(mutant)
    wrong = [(rank, rng.random(), m) for some in kinds.values() for rank, m in enumerate(rng.sample(some, len(some)))]
    for _, _, (kind, new, causes) in sorted(wrong)[:limit]:  # rare kinds first
        question = ask(kind, new, causes)
        rewritten = ask("~ rewritten mistake", rng.choice([*rewrites(rng, problem, new), ("", new)])[1])
        assert question.truth == rewritten.truth, (seed, question, rewritten)
        yield from (question, rewritten, ask("~ two mistakes", rng.choice([*mutants(rng, problem, new)])[1]))


def score(question: Question, check: Callable[..., Any], book: Counter[str]) -> Iterator[tuple[str, str]]:
    """Ask check, book what it says, and give what is not as it should be."""
    truth, order, start = question.truth, ("wrong", "correct-other-layout", "correct"), time.perf_counter()
    try:
        said = check(question.composition, question.text, **question.options)
    except Exception as error:  # whatever it raises is what is counted
        yield "error", f"{type(error).__name__}: {error}"
        return
    finally:
        book["µs"] += round(1e6 * (time.perf_counter() - start))
    first = next(iter(said.findings), None)
    if said.verdict != truth.verdict:
        known = said.verdict in order and not truth.doubt
        accepts = known and order.index(said.verdict) > order.index(truth.verdict)
        yield "doubt" if truth.doubt else "accept" if accepts else "reject" if known else "undecided", said.verdict
    elif truth.verdict != "correct" and question.causes:
        kind = first.kind if first else "no finding"
        book.update(["causes", f": {kind}", "named" if kind in question.causes.split() else "unnamed"])
        if kind not in question.causes.split():
            yield "cause", f"{kind}, not {question.causes.replace(' ', ' or ')}"
    if first is not None and first.suggestion:
        book["suggested"] += 1
        try:
            verdict = check(question.composition, first.suggestion, **question.options).verdict
        except Exception as error:  # as above
            verdict = f"{type(error).__name__}: {error}"
        if verdict != "correct":
            yield "not right", f"{first.suggestion} is {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="problems")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=15, help="mistakes a problem")
    parser.add_argument("--only", type=int, help="the number of one problem")
    parser.add_argument("--show", type=int, default=3, help="failures printed in full, of each sort and kind")
    parser.add_argument("--samples", action="store_true", help="print every question, and do not check")
    parser.add_argument("-v", "--verbose", action="store_true", help="all failures, and what was found for each kind of mistake")
    args = parser.parse_args()
    check = None if args.samples else getattr(importlib.import_module("jacobian_chain"), "check", None)
    books: dict[str, Counter[str]] = defaultdict(Counter)
    for k in range(args.count) if args.only is None else [args.only]:
        for question in questions(f"{args.seed}:{k}", args.limit):
            book = books[question.kind]
            book.update(["n", question.truth.verdict])
            if args.samples:
                print(f"[{args.seed}:{k}] {question.kind}: {question}")
            for sort, text in score(question, check, book) if check else ():
                book[sort] += 1
                if args.verbose or book[sort] <= args.show:
                    print(f"[{args.seed}:{k}] {question.kind}: {sort}: {text}; should be {question}")
    columns = "n,correct,correct-other-layout,wrong,accept,reject,undecided,error,doubt,causes,named,suggested,not right".split(",")
    print("\n" + " " * 20 + "".join(f"{name[-12:]:>13}" for name in columns) + f"{'ms':>8}")
    for kind, book in [*sorted(books.items()), ("all", sum(books.values(), Counter()))]:
        print(f"{kind:<20}" + "".join(f"{book[name] or '.':>13}" for name in columns) + f"{book['µs'] / 1e3 / book['n']:>8.1f}")
        if args.verbose and kind != "all" and book["causes"]:
            print("    " + ", ".join(f"{name[2:]} {count}" for name, count in book.most_common() if name.startswith(": ")))
    if check is None:
        print("nothing was checked: only the oracle was tested")


if __name__ == "__main__":
    main()
