"""A block of a wrong answer as something to try repairs on: what formulas come to at random points, and what stands where in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.appraisal import Appraiser, MisfitError
from jacobian_chain.dense import Dense
from jacobian_chain.errors import LimitError
from jacobian_chain.expressions import Derivative, Expression, Setting, Solution
from jacobian_chain.tape import Step
from jacobian_chain.tokens import Spelling
from jacobian_chain.transcription import write_text
from jacobian_chain.verification import arrange
from jacobian_chain.worlds import World

MOST_VALUES = 40
"""Most values of the composition that are tried in one place."""

MOST_PLACES = 150
"""Most places of a formula that are changed."""

LINEAR = frozenset({"negate", "sum", "product", "elementwise", "transpose", "name", "beside", "below", "components", "indexed_sum"})
LINEAR_CALLS = frozenset({"diag", "vec", "sum", "mean", "tr"})
POINTS = frozenset({"apply", "layer", "layer_jacobian"})
NO_ACTIVATIONS = frozenset({"log", "exp", "abs", "sign", "sin", "cos", "tan", "step"})

Ratios = tuple[Any, ...]


class Trial:
    """One block of a wrong answer.

    Attributes:
        solution: the answer, with further derivatives that it could have used.
        root: the formula of the block.
        setting: how it is read.
        of, by, on_vec: the derivative that is asked for.
        worlds: where it is judged.
        part: what is asked of the derivative, if not all of it.
    """

    def __init__(
        self,
        solution: Solution,
        root: int,
        setting: Setting,
        of: int,
        by: int,
        on_vec: bool,
        worlds: Sequence[World],
        part: Callable[[Dense], Dense] | None = None,
    ) -> None:
        self.of, self.by, self.on_vec = of, by, on_vec
        self.inside = _cone(solution, of, by)
        further = [atom for atom in _further_atoms(solution, of, self.inside, worlds[0]) if atom not in solution.atoms]
        self.solution = solution._replace(atoms=(*solution.atoms, *further))
        self.formulas = solution.formulas
        self.root, self.setting = root, setting
        self.worlds = worlds
        self.part = part
        self._appraisers: dict[int, Appraiser] = {}
        self._expected: dict[int, Dense] = {}
        self._failed: set[tuple[int, int, bool]] = set()

    def expected(self, world: int = 0) -> Dense:
        """The right block, in the layout that is asked for."""
        found = self._expected.get(world)
        if found is None:
            found = self._expected[world] = self.arranged(self.worlds[world].total(self.of, self.by), world)
        return found

    def arranged(self, jacobian: Dense, world: int) -> Dense:
        """A Jacobian of the block as the layout shows it."""
        at = self.worlds[world]
        block = arrange(jacobian, at.shape(self.of), at.shape(self.by), self.setting.layout.name, self.on_vec)
        return block if self.part is None else self.part(block)

    def value(self, root: int, world: int = 0) -> Dense | None:
        """The value of a formula that stands for the block, None where it has none."""
        return self._value(root, world, dense.size(self.expected(world)))

    def inner(self, node: int, world: int = 0) -> Dense | None:
        """The value of a part of a formula, None where it has none by itself."""
        return self._value(node, world, None)

    def _value(self, node: int, world: int, shape: tuple[int, int] | None) -> Dense | None:
        key = (self.formulas.keys[node], world, shape is None)
        if key in self._failed:
            return None
        try:
            return self.appraiser(world).value(node, shape)
        except (MisfitError, ArithmeticError, LimitError, LookupError):
            self._failed.add(key)
            return None

    def appraiser(self, world: int = 0) -> Appraiser:
        """What gives formulas their values in one world."""
        found = self._appraisers.get(world)
        if found is None:
            found = self._appraisers[world] = Appraiser(self.solution, self.worlds[world], self.setting)
        return found

    def shape(self, node: int) -> tuple[int, int] | None:
        """Rows and columns of a part in the first world."""
        value = self.inner(node)
        return None if value is None else dense.size(value)

    def holds(self, root: int) -> bool:
        """Whether a formula is right."""
        return all(self.value(root, world) == self.expected(world) for world in range(len(self.worlds)))

    def ratios(self, root: int) -> Ratios | None:
        """What a formula has to be multiplied by to be right, in each world; None if that is no number."""
        found = []
        for world in range(len(self.worlds)):
            value = self.value(root, world)
            ratio = None if value is None else proportion(self.expected(world), value)
            if ratio is None:
                return None
            found.append(ratio)
        return tuple(found)

    def text(self, node: int) -> str:
        """A node as typed, or written out where it is new."""
        at = self.formulas.nodes[node]
        typed = self.solution.text[at.start : at.end] if 0 <= at.start < at.end else ""
        if typed and all(typed.count(opening) == typed.count(closing) for opening, closing in ("{}", "()", "[]")):
            return typed
        return write_text(self.solution, node, self.setting)

    def spellings(self, value: int) -> list[Spelling]:
        """How a value is called, by the composition and by the answer."""
        tape = self.solution.tape
        found = [tape.spellings[tape.names[value]]] if tape.names[value] in tape.spellings else []
        other = self.solution.spellings.get(value)
        return found if other is None else [*found, other]


def proportion(a: Dense, b: Dense) -> Any | None:
    """The number c with a = c b, None if there is none other than zero.

    >>> proportion([[2, 4]], [[1, 2]]), proportion([[2, 4]], [[1, 3]])
    (2.0, None)
    """
    if len(a) != len(b) or len(a[0]) != len(b[0]):
        return None
    ratio = next((x / y for row, other in zip(a, b, strict=True) for x, y in zip(row, other, strict=True) if y), None)
    if not ratio or any(x != ratio * y for row, other in zip(a, b, strict=True) for x, y in zip(row, other, strict=True)):
        return None
    return ratio


def difference(a: Dense, b: Dense) -> Dense:
    """The difference a - b, entry by entry.

    >>> difference([[3, 2]], [[1, 2]])
    [[2, 0]]
    """
    return [[x - y for x, y in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]


def _cone(solution: Solution, of: int, by: int) -> list[int]:
    """The values on the way from ``by`` to ``of``, in order."""
    tape = solution.tape
    reached = {by}
    for value in range(max(by + 1, tape.leaves), of + 1):
        if any(source in reached for source in tape.steps[value - tape.leaves].inputs):
            reached.add(value)
    needed = {of}
    for value in range(of, max(by, tape.leaves - 1), -1):
        if value in needed:
            needed.update(tape.steps[value - tape.leaves].inputs)
    return sorted((reached & needed) | {by})


def _further_atoms(solution: Solution, of: int, inside: Sequence[int], world: World) -> Iterator[Derivative]:
    """Derivatives that the answer could have used: other meanings of its own, those of the output, direct ones."""
    tape = solution.tape
    for atom in solution.atoms:
        if len(atom.meanings) > 1:
            sign = {"partial": "∂", "total": "d"}[atom.meanings[1]] if atom.sign in ("∂", "d") else atom.sign
            yield atom._replace(sign=sign, meanings=atom.meanings[::-1])
    named = [value for value in inside if tape.names[value] and value != of][-MOST_VALUES // 2 :]
    signs = [atom.sign for atom in solution.atoms if atom.of == of]
    for value in named:
        if "∇" in signs:
            yield Derivative("∇", of, (value,), ("total",), True)
        elif world.is_direct(of, value):  # ∂ would be the direct one
            yield Derivative("d", of, (value,), ("total",))
        else:
            yield Derivative("∂", of, (value,), ("total",))


class Product(NamedTuple):
    """A product with the products in it: its factors, and the sign before each but the first."""

    node: int
    factors: tuple[int, ...]
    signs: tuple[str, ...]


class View:
    """The answer with what edits need to know of it.

    Attributes:
        trial: the block.
        nodes: the nodes of all formulas.
        places: nodes that may be changed, outer ones first.
        linear: those of them on which the value depends linearly.
        products: products that are not a factor of another one, with all those in them as one.
        matrix_products: the same without elementwise ones.
    """

    def __init__(self, trial: Trial) -> None:
        formulas = trial.formulas
        self.trial = trial
        self.add = formulas.add
        self.nodes: list[Expression] = formulas.nodes
        self.keys = formulas.keys
        below = formulas.below(trial.root)[::-1]
        self._position = {at: -k for k, at in enumerate(below)}
        self._above: dict[int, set[int]] = {}
        self.parents: dict[int, list[int]] = {}
        for at in below:
            for arg in formulas.nodes[at].args:
                self.parents.setdefault(arg, []).append(at)
        self.linear = self._linear(trial.root)
        self.places = [at for at in below if not self._is_only_named(at)][:MOST_PLACES]
        self.products = self._outer_products("product", "elementwise")
        self.matrix_products = self._outer_products("product")

    def replace(self, changes: Sequence[tuple[int, int]]) -> int:
        """The formula with nodes replaced, none of which is a part of another."""
        changed = dict(changes)
        above = set().union(*[self.above(old) for old in changed])
        for at in sorted(above - changed.keys(), key=self._position.__getitem__):
            node = self.nodes[at]
            changed[at] = self.add(node.kind, [changed.get(arg, arg) for arg in node.args], node.value, node.start, node.end)
        return changed[self.trial.root]

    def above(self, node: int) -> set[int]:
        """The nodes that a node is a part of."""
        found = self._above.get(node)
        if found is None:
            found = set()
            stack = [node]
            while stack:
                new = [parent for parent in self.parents.get(stack.pop(), ()) if parent not in found]
                found.update(new)
                stack.extend(new)
            self._above[node] = found
        return found

    def core(self, node: int) -> int:
        """What a name stands for."""
        while self.nodes[node].kind == "name":
            node = self.nodes[node].args[0]
        return node

    def _is_only_named(self, node: int) -> bool:
        parents = self.parents.get(node, ())
        return bool(parents) and all(self.nodes[parent].kind == "name" for parent in parents)

    def _outer_products(self, *kinds: str) -> list[Product]:
        """Products of these kinds that are not a factor of another one."""
        found = []
        for at in self.places:
            parents = [self.nodes[parent].kind for parent in self.parents.get(at, ())]
            if self.nodes[at].kind in kinds and not any(kind in kinds for kind in parents):
                found.append(self._product(at, kinds))
        return found

    def _linear(self, root: int) -> set[int]:
        found, stack = set(), [root]
        while stack:
            at = stack.pop()
            if at in found:
                continue
            found.add(at)
            node = self.nodes[at]
            if node.kind in LINEAR or (node.kind == "call" and isinstance(node.value, tuple) and node.value[0] in LINEAR_CALLS):
                stack.extend(node.args)
            elif node.kind == "fraction":
                stack.append(node.args[0])
        return found

    def _product(self, root: int, kinds: Sequence[str]) -> Product:
        factors: list[int] = []
        signs: list[str] = []
        stack = [(root, "")]
        while stack:
            at, sign = stack.pop()
            node = self.nodes[at]
            if node.kind in kinds and not {"/", "./", "⊘", "⊗"} & set(self.signs(at)):
                stack.extend(zip(node.args[::-1], [*self.signs(at)[::-1], sign], strict=True))
            else:
                factors.append(at)
                signs.append(sign)
        return Product(root, tuple(factors), tuple(signs[1:]))

    def signs(self, node: int) -> tuple[str, ...]:
        """The signs before the factors of a product but the first."""
        value = self.nodes[node].value
        return tuple(map(str, value)) if isinstance(value, tuple) else ()

    def shape(self, node: int) -> tuple[int, int] | None:
        """Rows and columns of a node in the first world."""
        return self.trial.shape(node)

    def text(self, node: int) -> str:
        """A node as typed."""
        return self.trial.text(node)

    def is_array(self, node: int) -> bool:
        """Whether it has more than one entry."""
        return self.shape(node) not in (None, (1, 1))

    def transposed(self, node: int) -> int:
        """The transpose of a node, without two transposes in a row."""
        at = self.nodes[node]
        return at.args[0] if at.kind == "transpose" else self.add("transpose", (node,))

    def product(self, *factors: int) -> int:
        """A matrix product."""
        return factors[0] if len(factors) == 1 else self.add("product", factors, ("",) * (len(factors) - 1))

    def entrywise(self, one: int, other: int) -> int:
        """An elementwise product."""
        return self.add("elementwise", (one, other), ("⊙",))

    def diag(self, node: int) -> int:
        """The diagonal matrix of a column or row."""
        return self.add("call", (node,), ("diag", ""))

    def is_diag(self, node: int) -> bool:
        """Whether it is a diagonal matrix by its form."""
        return self.nodes[node].kind == "call" and self.nodes[node].value == ("diag", "")

    def value(self, value: int) -> int:
        """A value of the composition."""
        return self.add("value", (), value)

    def everywhere(self, node: int, new: int) -> tuple[tuple[int, int], ...]:
        """Changes of all places where the same formula stands, itself first."""
        others = [place for place in self.places if place != node and self.keys[place] == self.keys[node]]
        return tuple([(place, new) for place in (node, *others)])

    def is_first(self, node: int) -> bool:
        """Whether no place before it has the same formula."""
        return next(place for place in self.places if self.keys[place] == self.keys[node]) == node

    def is_beside_number(self, node: int) -> bool:
        """Whether it is a term of a sum with a number, as in 1 - a."""
        sums = [parent for parent in self.parents.get(node, ()) if self.nodes[parent].kind == "sum"]
        return any(self.nodes[self.core(arg)].kind == "number" for parent in sums for arg in self.nodes[parent].args)

    def is_point(self, node: int) -> bool:
        """Whether it stands in the argument of a function, or in a slope such as 1 - a²."""
        stack, seen = [node], {node}
        while stack:
            for parent in self.parents.get(stack.pop(), ()):
                at = self.nodes[parent]
                if at.kind in POINTS or self.is_beside_number(parent):
                    return True
                if parent not in seen and at.kind in ("power", "elementwise", "product", "negate", "name", "call", "sum"):
                    seen.add(parent)
                    stack.append(parent)
        return False

    def are_one_derivative(self, one: int, other: int) -> bool:
        """Whether two nodes are the same derivative but for its meaning."""
        a, b = self.nodes[self.core(one)], self.nodes[self.core(other)]
        if a.kind != "derivative" or b.kind != "derivative":
            return False
        atoms = self.trial.solution.atoms
        (of, by), (other_of, other_by) = (atoms[number_of(node)][1:3] for node in (a, b))
        return (of, by) == (other_of, other_by)

    def material(self) -> list[int]:
        """What a formula could be made of: values with a name or in use, and derivatives."""
        tape = self.trial.solution.tape
        used = [self.nodes[place].value for place in map(self.core, self.places) if self.nodes[place].kind == "value"]
        inside = [value for value in self.trial.inside if tape.names[value]]
        outside = [value for value, name in enumerate(tape.names) if name]
        values = list(dict.fromkeys([*used, *inside, *outside]))[:MOST_VALUES]
        atoms = [k for k, atom in enumerate(self.trial.solution.atoms) if atom.by != (self.trial.by,) or atom.of != self.trial.of]
        return [*(self.add("value", (), value) for value in values), *(self.add("derivative", (), k) for k in atoms)]

    def factors(self) -> list[tuple[int, tuple[int, int]]]:
        """The same and their transposes, with their shapes."""
        found = [(node, shape) for node in self.material() if (shape := self.shape(node)) is not None]
        return found + [(self.transposed(node), shape[::-1]) for node, shape in found if shape != (1, 1)]

    def slopes(self) -> list[int]:
        """f'(z) for the elementwise functions on the way."""
        tape = self.trial.solution.tape
        found = []
        for value in self.trial.inside[::-1]:
            step = tape.step(value)
            if step is not None and is_activation(step) and value != self.trial.by:
                found.append(self.add("apply", (self.value(step.inputs[0]),), (step.name, 1)))
        return found[:MOST_VALUES]


def is_activation(step: Step) -> bool:
    """Whether a step applies a function that networks use as an activation, or one that is not known."""
    return step.operation == "apply" and not step.coefficients and step.name not in NO_ACTIVATIONS


def number_of(node: Expression) -> int:
    """The number of a value or an atom."""
    assert isinstance(node.value, int)
    return node.value


def parts_of(node: Expression) -> tuple[Any, ...]:
    """What a value of several parts is made of."""
    assert isinstance(node.value, tuple)
    return node.value
