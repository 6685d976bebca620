"""A derivation through concrete layers on a page: which parts get names of their own, and what the lines are.

A value that the text names is called by its name. One that it does not name is written out where it is short, and gets a name where
it is long or stands in several places; so does a part of a gradient that would stand twice in one formula.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import Block, ConcreteDerivation
from jacobian_chain.formula import Formula
from jacobian_chain.notation import Labels, Symbol
from jacobian_chain.tape import SCALAR, Step
from jacobian_chain.tokens import Spelling
from jacobian_chain.writers import Writer

REPEATED = 4
"""How many names and numbers a value has at least that gets a name for standing in several places."""

LONG = 12
"""How many make a value long: it gets a name where it stands only once."""

REPEATED_PART = 7
"""How many a part of a gradient has at least that gets a name for standing twice in one formula."""

MOST_ATOMS = 1_000_000
"""Where counting stops."""

_SILENT = frozenset({"sum", "product", "hadamard", "scale", "transpose", "power", "inverse"})
"""Operations that put neither a name nor a number on paper."""

_DERIVATIVES = frozenset({"partial", "gradient", "curvature"})
"""Operations that are derivatives of layers without a definition."""

_LETTERS = {"softmax": "p", "apply": "h", "layer": "g", "sum": "z", "product": "z", "inverse": "M", "layernorm": "h"}
"""What an invented name begins with, by operation; a matrix's is upper case, a scalar's s, a part of a gradient's δ."""


class Line(NamedTuple):
    """One equation of a page."""

    left: str
    right: str


def count_atoms(arrays: Arrays, roots: Iterable[int], limit: int) -> int:
    """How many names and numbers the expressions have when written out, all values without a name too; stops counting at ``limit``."""
    sizes = _sizes(arrays, arrays.reachable(roots), limit)
    total = 0
    for root in roots:
        total = min(limit, total + sizes[root])
    return total


def _sizes(arrays: Arrays, nodes: Iterable[int], limit: int) -> dict[int, int]:
    """How many names and numbers each node has when written out; inputs come first among the nodes."""
    sizes: dict[int, int] = {}
    for node in nodes:
        step = arrays.view(node)
        size = 0 if step.inputs and step.operation in _SILENT else 1
        for source in step.inputs:
            size += sizes[source]
        sizes[node] = size if size < limit else limit
    return sizes


def choose_names(arrays: Arrays, blocks: Sequence[int], reachable: Sequence[int], known: Collection[int] = ()) -> list[int]:
    """The nodes without a name that get one, when the expressions ``blocks`` are written below each other.

    Args:
        arrays: the expressions.
        blocks: those that are written.
        reachable: the nodes that they are made of, in order.
        known: nodes that have a name although the text gives them none.
    """
    tape = arrays.tape
    sizes = _sizes(arrays, reachable, MOST_ATOMS)
    chosen = {
        source
        for node in reachable
        if arrays.view(node).operation in _DERIVATIVES
        for source in _points(arrays.view(node))
        if source >= tape.leaves and not _is_named(arrays, source) and source not in known
    }
    count = len(tape.names)
    for node in reachable:
        step = arrays.view(node)
        if step.operation == "power" and arrays.is_scalar(node) and node >= count and sizes[node] >= REPEATED_PART:
            chosen.add(step.inputs[0])  # such as the variance in a normalisation
    chosen.update(_repeated_parts(arrays, blocks, sizes))
    forced = frozenset(chosen)
    candidates = {
        node for node in reachable if node < count and sizes[node] >= REPEATED and not tape.names[node] and node not in known
    }.difference(blocks)
    if not chosen and not candidates:
        return []
    places = dict.fromkeys(reachable, 0)
    for block in blocks:
        places[block] += 1
    for node in reversed(reachable):
        count = places[node]
        if not count:
            continue
        if node in candidates and (count > 1 or sizes[node] > LONG):
            chosen.add(node)
        passed = 1 if node in chosen else count
        for source in arrays.view(node).inputs:
            places[source] += passed
    return [node for node in _still_long(arrays, reachable, chosen, forced, places) if places[node]]


def _still_long(
    arrays: Arrays, reachable: Sequence[int], chosen: Collection[int], forced: Collection[int], places: Mapping[int, int]
) -> list[int]:
    """The chosen nodes that are long enough for a name when those inside of them are called by theirs."""
    kept: list[int] = []
    sizes: dict[int, int] = {}
    for node in reachable:
        step = arrays.view(node)
        size = (0 if step.inputs and step.operation in _SILENT else 1) + sum(sizes[source] for source in step.inputs)
        least = REPEATED if places[node] > 1 else LONG + 1
        if node in chosen and (node in forced or size >= least):
            kept.append(node)
            size = 1
        sizes[node] = min(size, MOST_ATOMS)
    return kept


def _points(step: Step) -> tuple[int, ...]:
    """The values at which a layer's derivative is taken: they need names."""
    if step.operation == "curvature":
        return step.inputs[1:]
    return step.inputs if step.operation in ("partial", "gradient") else ()


def _is_named(arrays: Arrays, node: int) -> bool:
    names = arrays.tape.names
    return node < len(names) and bool(names[node])


def _repeated_parts(arrays: Arrays, blocks: Sequence[int], sizes: Mapping[int, int]) -> list[int]:
    """Long parts of a gradient that stand several times in one formula, outermost first."""
    found: dict[int, None] = {}
    count = len(arrays.tape.names)
    for block in blocks:
        if sizes[block] < 2 * REPEATED_PART:
            continue
        places: dict[int, int] = {block: 1}
        for node in reversed(arrays.reachable((block,))):
            repeated = places.get(node, 0) > 1 and node >= count and sizes[node] >= REPEATED_PART
            if repeated and arrays.view(node).operation in ("product", "hadamard", "sum", "scale"):
                found[node] = None
            passed = 1 if node in found else places.get(node, 0)
            for source in arrays.view(node).inputs:
                places[source] = places.get(source, 0) + passed
    return list(found)


class Page:
    """Writes the lines of one derivation in one language.

    Args:
        derivation: what is written.
        writer: the language.
        labels: what values are called.
        known: names of values that the text does not name.
        sign: ``∂``, or ``d`` for upright derivatives.
    """

    def __init__(
        self,
        derivation: ConcreteDerivation,
        writer: Writer,
        labels: Labels,
        known: Mapping[int, Spelling] | None = None,
        sign: str = "∂",
    ) -> None:
        self.derivation = derivation
        self.sign = sign
        self.known = known or {}
        self.arrays = derivation.arrays
        self.writer = writer
        self.labels = labels
        self.shown = derivation.lines or derivation.blocks
        self.invented: dict[int, Spelling] = {}
        self._symbols: dict[tuple[int, int, bool], str] = {}
        roots = [block.node for block in self.shown]
        reachable = self.arrays.reachable(roots)
        for node in choose_names(self.arrays, roots, reachable, self.known):
            self.invented[node] = labels.invent(self._letter(node))
        layers = [node for node in reachable if self.arrays.view(node).operation in _DERIVATIVES]
        self._clashes = self._find_clashes(layers)
        self._rows = {step for node in layers if (step := self.arrays.view(node)).operation == "partial" and self._is_row(node)}
        signs = writer.signs
        self.formula = Formula(
            self.arrays.steps,
            self.arrays.shapes,
            writer,
            self._name,
            self._write_derivative,
            spelling=labels.name,
            dotted=any(block.on_vec for block in self.shown) or not derivation.layout.transposes(SCALAR),
            identity=signs.identity if self.arrays.tape.index("I") is None else signs.other_identity,
        )

    def lines(self) -> list[Line]:
        """The blocks or shared adjoints, one line each."""
        return [Line(self.left_side(block), self.right_side(block)) for block in self.shown]

    def right_side(self, block: Block) -> str:
        """What a block is."""
        name = self._name(block.node)
        if name is None:
            return self.formula.text(block.node)
        return name[1:-1] if name.startswith("(") and name.endswith(")") else name

    def definitions(self) -> list[Line]:
        """What the invented names stand for."""
        return [Line(self.writer.name(name), self.formula.text(node)) for node, name in self.invented.items()]

    def curvatures(self) -> list[Step]:
        """The second derivatives of layers that stand on the page."""
        steps = [self.arrays.view(node) for node in self.arrays.reachable([block.node for block in self.shown])]
        return [step for step in steps if step.operation == "curvature"]

    def left_side(self, block: Block) -> str:
        """The symbol of a block."""
        return self._write_symbol(block.of, block.by, block.on_vec)

    def _write_symbol(self, of: int, by: int, on_vec: bool = False) -> str:
        known = self._symbols.get((of, by, on_vec))
        if known is None:
            known = self._symbols[of, by, on_vec] = self.writer.symbol(self._symbol(of, by, on_vec))
        return known

    def joined_left_side(self, label: str) -> str:
        """The symbol of all blocks together; ``label`` stands for the variables, or is empty."""
        blocks = self.shown
        labels = self.labels
        if label:
            return self.writer.symbol(Symbol(self.sign, self.spelling(blocks[0].of), (labels.name(label),)))
        return self.writer.symbol(Symbol(self.sign, self.spelling(blocks[0].of), tuple(self.spelling(block.by) for block in blocks)))

    def _symbol(self, of: int, by: int, on_vec: bool = False) -> Symbol:
        shapes = self.arrays.shapes
        vec_of, vec_by = on_vec and shapes[of].is_matrix, on_vec and shapes[by].is_matrix
        return Symbol(self.sign, self.spelling(of), (self.spelling(by),), vec_of=vec_of, vec_by=vec_by)

    def spelling(self, value: int) -> Spelling:
        """What a value with a name is called."""
        return self.known.get(value) or self.labels.name(self.arrays.tape.names[value])

    def _letter(self, node: int) -> str:
        arrays = self.arrays
        if arrays.shapes[node] == SCALAR:
            return "s"
        if node >= len(arrays.tape.names):
            return "δ"
        letter = _LETTERS.get(arrays.steps[node].operation, "u")
        return letter.upper() if arrays.shapes[node].is_matrix else letter

    def _name(self, node: int) -> str | None:
        """The name of a node, None where it is written out."""
        if node in self.invented:
            return self.writer.name(self.invented[node])
        names = self.arrays.tape.names
        if node < len(names):
            return self.writer.name(self.spelling(node)) if names[node] or node in self.known else None
        step = self.arrays.steps[node]
        if step.operation == "symbol":
            return self.writer.name(self.labels.name(step.name))
        turned = step.operation == "transpose"
        if turned:
            step = self.arrays.steps[step.inputs[0]]
        if step.operation == "adjoint":
            of, by = step.coefficients
            text = self._write_symbol(of.numerator, by.numerator)
            if not self.writer.stacks_fractions:
                text = f"({text})"
            same = self.derivation.layout.transposes(SCALAR) is not turned or self.arrays.is_scalar(node)
            return text if same else self.writer.transposed(text)
        return None

    # --- derivatives of layers ---

    def _write_derivative(self, step: Step) -> str:
        """J_h g, ∇_h l, and the second derivatives ∇²_{h, h} l and ∇²_{h, h} ⟨λ, g⟩."""
        if step.operation == "curvature":
            layer = self.writer.name(self.labels.name(step.name))
            slots = [self._input(step.inputs[1 + int(slot)]) for slot in step.coefficients]
            below = ", ".join(self.writer.name(name) for name in slots)
            nabla = self.writer.below_operator(f"{self.writer.signs.nabla}{self.writer.signs.square}", below)
            if self.arrays.steps[step.inputs[0]].operation != "number":
                layer = self.writer.pairing(self.formula.text(step.inputs[0]), layer)
            if self._clashes.get((step.operation, step.name, ", ".join(name.key for name in slots))) is None:
                return f"{nabla} {layer}"
            point = ", ".join(self.writer.name(self._input(source)) for source in _points(step))
            return f"({nabla} {layer})({point})"
        if step in self._rows and self.derivation.layout.transposes(SCALAR):  # of a scalar, in a layout whose gradients are columns
            symbol = self._derivative(step._replace(operation="gradient"))
            return self.writer.transposed(self.writer.symbol(symbol), symbol)
        return self.writer.symbol(self._derivative(step))

    def _derivative(self, step: Step) -> Symbol:
        slot = int(step.coefficients[0])
        layer = self.labels.name(step.name)
        kind = "J" if step.operation == "partial" else "∇"
        by = self._input(step.inputs[slot])
        point = tuple(self._input(source) for source in step.inputs)
        clash = self._clashes.get((step.operation, step.name, by.key))
        if clash == "slot":
            return Symbol("slot", layer, (), slot + 1, point)
        return Symbol(kind, layer, (by,), 0, point if clash else None)

    def _input(self, node: int) -> Spelling:
        return self.invented.get(node) or self.spelling(node)

    def _is_row(self, node: int) -> bool:
        return self.arrays.shapes[node].rows == "1"

    def _find_clashes(self, layers: Iterable[int]) -> dict[tuple[str, str, str], str]:
        """The derivatives that a name alone does not tell apart, and whether the point does."""
        places: dict[tuple[str, str, str], set[tuple[tuple[int, ...], tuple[Fraction, ...]]]] = {}
        for node in layers:
            step = self.arrays.view(node)
            point = _points(step)
            by = ", ".join(self._input(point[int(slot)]).key for slot in step.coefficients)
            places.setdefault((step.operation, step.name, by), set()).add((point, step.coefficients))
        return {
            key: "slot" if len({inputs for inputs, _ in found}) < len(found) else "point" for key, found in places.items() if len(found) > 1
        }
