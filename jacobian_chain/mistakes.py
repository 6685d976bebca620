"""Why an answer through concrete layers is wrong: one record for each mistake that people make, the best explanation first.

An explanation is found from both ends. *Edits* change the answer as people would mend it, until it is right; *detours* make a mistake in
the right derivation, in numbers, until that gives what the answer gives. Both are judged at random points of a finite field, in two
sets of sizes, and up to a factor: a wrong sign or number besides costs no further search. Where one change is not enough, an edit
and a detour that meet, two edits in different terms, and at last pairs of edits are tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.appraisal import UNKNOWN, Appraiser, MisfitError, describe
from jacobian_chain.dense import Dense, Numbers
from jacobian_chain.errors import LimitError
from jacobian_chain.expressions import Derivative, Expression, Setting, Solution
from jacobian_chain.names import stem
from jacobian_chain.tape import SCALAR, Step
from jacobian_chain.tokens import Spelling
from jacobian_chain.transcription import write_text
from jacobian_chain.verification import arrange
from jacobian_chain.worlds import World

BUDGET = 2_000
"""Most formulas that are tried for one answer."""

MOST_PAIRS = 600
"""Most pairs of edits that are tried."""

MOST_LIGHT = 120
"""Most edits that are paired."""

MOST_VALUES = 40
"""Most values of the composition that are tried in one place."""

MOST_EDGES = 80
"""Most edges of the composition at which a mistake is made."""

MOST_BRANCHING = 8
"""Most edges of which pairs are cut."""

MOST_NAMED = 2
"""Most missing edges that are named."""

MOST_PLACES = 150
"""Most places of a formula that are changed."""

LONGEST = 7
"""Most factors of a product that are bracketed anew; one less is reordered."""

MOST_BRACKETINGS = 16
"""Most values of one part of a product that are kept."""

MOST_EXCHANGED = 5
"""Most nodes of a factor that is exchanged for another."""

MOST_SUMS = 8
"""Most arrays whose sums may be missing as factors."""

LARGEST_RATIO = 24
"""Largest numerator and denominator of a number that may be missing."""

LINEAR = frozenset({"negate", "sum", "product", "elementwise", "transpose", "name", "beside", "below", "components", "indexed_sum"})
NUMBERS = frozenset({"number", "size", "constant", "fraction", "negate", "power", "product", "inverse", "sum"})
LINEAR_CALLS = frozenset({"diag", "vec", "sum", "mean", "tr"})
POINTS = frozenset({"apply", "layer", "layer_jacobian"})
NO_ACTIVATIONS = frozenset({"log", "exp", "abs", "sign", "sin", "cos", "tan", "step"})
MATRIX_SIGNS = frozenset({"", "@"})
OPEN_SIGNS = frozenset({"·", "×", "*", "∘", "."})
"""Signs that may join matrices or entries."""

Slot = tuple[int, int]
Ratios = tuple[Any, ...]


class Slip(NamedTuple):
    """One mistake: its kind, where it stands, what to say, and the root of the answer without any mistake, where one was found."""

    kind: str
    span: tuple[int, int] | None
    where: str
    message: str
    root: int | None


class Edit(NamedTuple):
    """A change of a formula: nodes and what replaces them.

    ``kind`` is the mistake that it mends; ``say`` the message, with the nodes ``about`` in its gaps; ``cost`` how many changes it counts
    as; ``besides`` a further mistake that it mends.
    """

    kind: str
    changes: tuple[tuple[int, int], ...]
    say: str
    about: tuple[int, ...] = ()
    cost: int = 1
    besides: str = ""


class Detour(NamedTuple):
    """A mistake in the derivation, in the Jacobians of the steps that ``edges`` lead to.

    ``change`` is ``cut``, ``identity``, ``transpose``, ``diagonal`` or ``no diagonal`` (only this part is kept), ``entries`` (of ``node``,
    on a diagonal), ``all but entries`` (these are taken away).
    """

    kind: str
    edges: tuple[Slot, ...]
    change: str
    say: str
    about: tuple[int, ...] = ()
    node: int = -1


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


# --- a formula, looked at from outside ---


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
        self.misfit = trial.value(trial.root) is None

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

    def copies(self, node: int) -> list[int]:
        """The places where the same formula stands, itself first."""
        return [node, *(other for other in self.places if other != node and self.keys[other] == self.keys[node])]

    def everywhere(self, node: int, new: int) -> tuple[tuple[int, int], ...]:
        """Changes of all places where the same formula stands."""
        return tuple([(place, new) for place in self.copies(node)])

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
        (of, by), (other_of, other_by) = (atoms[_number_of(node)][1:3] for node in (a, b))
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
            if step is not None and _is_activation(step) and value != self.trial.by:
                found.append(self.add("apply", (self.value(step.inputs[0]),), (step.name, 1)))
        return found[:MOST_VALUES]


def _is_activation(step: Step | None) -> bool:
    return step is not None and step.operation == "apply" and not step.coefficients and step.name not in NO_ACTIVATIONS


Edits = Callable[[View], Iterator[Edit]]


# --- edits ---


def _read_otherwise(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node, core = view.nodes[place], view.nodes[view.core(place)]
        if node.kind == "sum":
            shapes = [view.shape(arg) for arg in node.args]
            if any(a and b and a == b[::-1] != b for a, b in itertools.combinations(shapes, 2)):
                for arg in node.args:
                    yield Edit("mixed-layout", ((arg, view.transposed(arg)),), "{} is in another layout", (arg,))
        elif core.kind == "derivative" and view.is_array(place):
            atom = atoms[_number_of(core)]
            tape = view.trial.solution.tape
            if tape.shapes[atom.of] != SCALAR and any(tape.shapes[value] != SCALAR for value in atom.by):
                yield Edit("mixed-layout", ((place, view.add("transpose", (place,))),), "{} is in another layout than the rest", (place,))


def _add_paths(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind in ("product", "elementwise") and place in view.linear and len(node.args) == 2:
            shape = view.shape(node.args[0])
            if shape is not None and shape == view.shape(node.args[1]) and shape != (1, 1):
                yield Edit(
                    "missing-path", ((place, view.add("sum", node.args, (1, 1))),), "{}: contributions of two paths are added", (place,)
                )


def _drop_paths(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        kinds = [view.nodes[view.core(arg)].kind for arg in node.args]
        if node.kind != "sum" or place not in view.linear or "number" in kinds:
            continue
        for k, arg in enumerate(node.args):
            if set(kinds[:k] + kinds[k + 1 :]) <= {"value", "identity", "ones"}:
                continue  # a residual, or the value that would be left is no path
            signs = _parts_of(node)
            left = view.add("sum", node.args[:k] + node.args[k + 1 :], signs[:k] + signs[k + 1 :])
            yield Edit("extra-path", ((place, left),), "the term {} is too much", (arg,))


def _add_sums(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind in ("product", "elementwise"):
            yield from _close_dot(view, place)
        shape = view.shape(place)
        if shape is None or shape == (1, 1) or place not in view.linear:
            continue
        ones = view.add("ones", (), "")
        sums = [view.add("call", (place,), ("sum", ""))]
        if shape[1] > 1:
            sums.insert(0, view.product(place, ones))
        if shape[0] > 1:
            sums.append(view.product(view.transposed(ones), place))
        for new in sums:
            yield Edit("missing-sum", ((place, new),), "a sum over the entries of {} is missing", (place,))


def _close_dot(view: View, place: int) -> Iterator[Edit]:
    """x_1 y_1 becomes xᵀ y."""
    node = view.nodes[place]
    entries = [arg for arg in node.args if view.nodes[arg].kind == "entry"]
    for one, other in itertools.combinations(entries, 2):
        a, b = view.nodes[one], view.nodes[other]
        if a.value != b.value or not isinstance(a.value, tuple) or len(a.value) != 1:
            continue
        dot = view.product(view.transposed(a.args[0]), b.args[0])
        left = [arg for arg in node.args if arg not in (one, other)]
        yield Edit("missing-sum", ((place, view.product(dot, *left)),), "{} {} has to be summed over all entries", (one, other))


def _differentiate_functions(view: View) -> Iterator[Edit]:
    tape = view.trial.solution.tape
    for place in view.places:
        node = view.nodes[view.core(place)]
        new = -1
        if node.kind == "value":
            step = tape.step(_number_of(node))
            if step is not None and step.operation == "apply" and not step.coefficients:
                new = view.add("apply", (view.value(step.inputs[0]),), (step.name, 1))
        elif node.kind == "apply" and isinstance(node.value, tuple):
            function, order = node.value
            new = view.add("apply", node.args, (function, order + 1))
            if order:
                other = view.add("apply", node.args, (function, order - 1))
                yield Edit("activation-for-derivative", ((place, other),), "{} should not be differentiated: {}", (place, other))
        if new >= 0:
            yield Edit("activation-for-derivative", ((place, new),), "{} should be the derivative {}", (place, new))


def _insert_slopes(view: View) -> Iterator[Edit]:
    slopes = [(slope, view.shape(slope)) for slope in view.slopes()]
    for place in view.places:
        shape = view.shape(place)
        if shape is None or place not in view.linear:
            continue
        for slope, its in slopes:
            if its is None:
                continue
            news = []
            if its == (1, 1):
                news.append(view.product(place, slope))
            elif its == shape:
                news.append(view.entrywise(place, slope))
            elif its[::-1] == shape:
                news.append(view.entrywise(place, view.transposed(slope)))
            if 1 in its and its != (1, 1):
                if shape[0] == max(its) and shape[1] > 1:
                    news.append(view.product(view.diag(slope), place))
                if shape[1] == max(its) and shape[0] > 1:
                    news.append(view.product(place, view.diag(slope)))
            for new in news:
                yield Edit("missing-activation-derivative", ((place, new),), "{} is missing", (slope,))


class _Part(NamedTuple):
    """A way to put a part of a product together: what it costs, how many operators and transposes are changed."""

    cost: int
    node: int
    operators: int
    transposes: int
    diags: int = 0


def _regroup(view: View, most: int) -> Iterator[Edit]:
    """All ways to bracket a product anew, with · or ⊙ at each place and factors transposed, with few changes."""
    for product in view.products:
        if not 2 <= len(product.factors) <= LONGEST:
            continue
        whole = _Bracketings(view, product, most).parts()
        for part in sorted(whole, key=lambda part: part.cost):
            kind = "transpose" if part.transposes and not part.operators else "hadamard-vs-product"
            say = "a transpose is wrong: {}" if part.transposes and not part.operators else "brackets are missing: {}"
            if part.operators:
                say = "a matrix product stands for an elementwise one, or the reverse: {}"
            besides = "transpose" if part.operators and part.transposes else ""
            yield Edit(kind, ((product.node, part.node),), say, (part.node,), max(part.cost, 1), besides)


class _Bracketings:
    """The values of all parts of a product, shorter ones first, each made in the cheapest way."""

    def __init__(self, view: View, product: Product, most: int) -> None:
        self.view, self.product, self.most = view, product, most

    def parts(self) -> list[_Part]:
        """All ways to put the whole together."""
        count = len(self.product.factors)
        found: dict[Slot, list[_Part]] = {(k, k): self._single(factor) for k, factor in enumerate(self.product.factors)}
        for width in range(1, count):
            for first in range(count - width):
                parts: dict[tuple[Any, ...], _Part] = {}
                for middle in range(first, first + width):
                    for left in found[first, middle]:
                        for right in found[middle + 1, first + width]:
                            if left.cost + right.cost <= self.most:
                                self._join(left, right, self.product.signs[middle], parts)
                best = sorted(parts.values(), key=lambda part: part.cost)
                found[first, first + width] = best if width == count - 1 else best[:MOST_BRACKETINGS]
        return found[0, count - 1]

    def _single(self, factor: int) -> list[_Part]:
        view = self.view
        found = [_Part(0, factor, 0, 0)]
        core = view.nodes[view.core(factor)]
        if view.is_array(factor) and self.most:
            found.append(_Part(1, view.transposed(factor), 0, 1))
        if view.is_diag(view.core(factor)) and self.most:
            found.append(_Part(1, core.args[0], 1, 0))
            found.append(_Part(1, view.transposed(core.args[0]), 1, 0))
        return found

    def _join(self, left: _Part, right: _Part, sign: str, parts: dict[tuple[Any, ...], _Part]) -> None:
        view = self.view
        a, b = view.shape(left.node), view.shape(right.node)
        if a is None or b is None:
            return
        is_open = sign in OPEN_SIGNS
        joins: list[tuple[int, int]] = []
        diags = left.diags + right.diags
        if a == (1, 1) or b == (1, 1):
            joins.append((0, view.product(left.node, right.node)))
        else:
            if a[1] == b[0]:
                joins.append((int(not is_open and sign not in MATRIX_SIGNS), view.product(left.node, right.node)))
            if a == b:
                joins.append((int(not is_open and sign in MATRIX_SIGNS), view.entrywise(left.node, right.node)))
            if a[1] == 1 and a[0] == b[0] and b[1] > 1:
                joins.append((1, view.product(view.diag(left.node), right.node)))
            if b[1] == 1 and a[1] == b[0] and a[0] > 1:
                joins.append((1, view.product(left.node, view.diag(right.node))))
        for cost, node in joins:
            total = left.cost + right.cost + cost
            if total > self.most:
                continue
            value = view.trial.inner(node)
            if value is None:
                continue
            key = (len(value), *itertools.chain.from_iterable(value))
            more = view.nodes[node].kind == "product" and any(view.is_diag(arg) for arg in view.nodes[node].args)
            part = _Part(total, node, left.operators + right.operators + cost, left.transposes + right.transposes, diags + more)
            if key not in parts or (parts[key].cost, parts[key].diags) > (part.cost, part.diags):
                parts[key] = part


def _change_operators(view: View) -> Iterator[Edit]:
    for edit in _regroup(view, 1):
        if edit.kind == "hadamard-vs-product":
            yield edit
    for place in view.places:
        node = view.nodes[place]
        if view.is_diag(place):
            yield Edit("hadamard-vs-product", ((place, node.args[0]),), "{} should not be a diagonal matrix", (place,))
        elif node.kind != "number" and 1 in (view.shape(place) or ()) and view.is_array(place):
            yield Edit("hadamard-vs-product", ((place, view.diag(place)),), "{} should be a diagonal matrix", (place,))


def _transpose(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "entry" and len(_parts_of(node)) > 1:
            new = view.add("entry", node.args, _parts_of(node)[::-1])
            yield Edit("transpose", ((place, new),), "{} should be {}", (place, new))
    for place in view.places[::-1]:
        if not view.is_array(place) or any(view.nodes[parent].kind == "transpose" for parent in view.parents.get(place, ())):
            continue
        new = view.transposed(place)
        yield Edit("transpose", ((place, new),), "{} should be {}", (place, new))
        changes = view.everywhere(place, new)
        if len(changes) > 1 and view.is_first(place):
            yield Edit("transpose", changes, "{} should be {}", (place, new))
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "product" and len(node.args) > 2 and set(view.signs(place)) <= MATRIX_SIGNS:
            for first, behind in itertools.combinations(range(len(node.args) + 1), 2):
                if 1 < behind - first < len(node.args):
                    part = view.product(*node.args[first:behind])
                    factors = [*node.args[:first], view.transposed(part), *node.args[behind:]]
                    yield Edit("transpose", ((place, view.product(*factors)),), "{} should be transposed", (part,))
    for edit in _regroup(view, 1):
        if edit.kind == "transpose":
            yield edit


def _reorder(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "elementwise" and len(node.args) == 2 and view.signs(place) == ("⊗",):
            new = view.add("elementwise", node.args[::-1], node.value)
            yield Edit("factor-order", ((place, new),), "the factors stand in another order: {}", (new,))
    for product in view.matrix_products:
        factors = product.factors
        if not 2 <= len(factors) < LONGEST or not set(product.signs) <= MATRIX_SIGNS | OPEN_SIGNS:
            continue
        shapes = {factor: view.shape(factor) for factor in factors}
        arrays = [factor for factor in factors if shapes[factor] not in (None, (1, 1))]
        numbers = [factor for factor in factors if factor not in arrays]
        for order in itertools.permutations(arrays):
            if list(order) == arrays or not all(map(_fit, map(shapes.get, order), map(shapes.get, order[1:]))):
                continue
            new = view.product(*numbers, *order)
            yield Edit("factor-order", ((product.node, new),), "the factors stand in another order: {}", (new,))


def _move_points(view: View) -> Iterator[Edit]:
    tape = view.trial.solution.tape
    users: dict[int, list[int]] = {}
    for value, step in enumerate(tape.steps, tape.leaves):
        if step.operation == "apply":
            users.setdefault(step.inputs[0], []).append(value)
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "apply" and view.nodes[view.core(node.args[0])].kind != "value":
            name = _parts_of(node)[0]
            inputs = [step.inputs[0] for step in tape.steps if step.operation == "apply" and step.name == name]
            yield from _exchange(view, node.args[0], dict.fromkeys(inputs), "evaluation-point")
        if node.kind != "value":
            continue
        value = _number_of(node)
        maker = tape.step(value)
        others = [*users.get(value, ())]
        if maker is not None and maker.operation == "apply":
            others.append(maker.inputs[0])
        if view.is_point(place):
            others += [other for other in _alike(view, value) if other not in others]
        yield from _exchange(view, place, others, "evaluation-point")


def _number_of(node: Expression) -> int:
    """The number of a value or an atom."""
    assert isinstance(node.value, int)
    return node.value


def _parts_of(node: Expression) -> tuple[Any, ...]:
    """What a value of several parts is made of."""
    assert isinstance(node.value, tuple)
    return node.value


def _fit(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    """Whether two matrices can be multiplied."""
    return one is not None and other is not None and one[1] == other[0]


def _exchange(view: View, place: int, values: Iterable[int], kind: str) -> Iterator[Edit]:
    """Another value, in one place or in all."""
    for other in values:
        new = view.value(other)

        yield Edit(kind, ((place, new),), "{} should be {}", (place, new))
        changes = view.everywhere(place, new)
        if len(changes) > 1 and view.is_first(place):
            yield Edit(kind, changes, "{} should be {}", (place, new))


def _alike(view: View, value: int) -> list[int]:
    """Named values of the same shape."""
    tape = view.trial.solution.tape
    shape = tape.shapes[value]
    return [other for other, name in enumerate(tape.names) if name and other != value and tape.shapes[other] == shape][:MOST_VALUES]


def _change_indices(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "value":
            yield from _exchange(view, place, _neighbours(view, _number_of(node)), "wrong-index")
        elif node.kind == "derivative":
            atom = atoms[_number_of(node)]
            for k, other in enumerate(atoms):
                if k == node.value or len(other.by) != len(atom.by) or (other.of, other.by) == (atom.of, atom.by):
                    continue
                pairs = [(atom.of, other.of), *zip(atom.by, other.by, strict=True)]
                if all(a == b or b in _neighbours(view, a) for a, b in pairs):
                    new = view.add("derivative", (), k)
                    yield Edit("wrong-index", ((place, new),), "{} should be {}", (place, new))
    yield from _change_entries(view)
    together: dict[object, list[int]] = {}  # the terms of a sum that was written with an index, and all names with one letter
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "value":
            together.setdefault((node.start, node.end), []).append(place)
            if len(_in_order(view, _number_of(node))[0]) > 1:
                together.setdefault("all", []).append(place)
            for name in {stem(spelling) for spelling in view.trial.spellings(_number_of(node))}:
                together.setdefault(name, []).append(place)
    for copies in together.values():
        ordered = [(place, _in_order(view, _number_of(view.nodes[view.core(place)]))) for place in copies]
        for shift in (-1, 1):
            changes = []
            for place, (values, at) in ordered:
                if 0 <= at + shift < len(values):
                    changes.append((place, view.value(values[at + shift])))
            if len(changes) == len(copies) > 1:
                yield Edit("wrong-index", tuple(changes), "{} has a wrong index", (copies[0],))


def _change_entries(view: View) -> Iterator[Edit]:
    """Another index of an entry, among those that the formula has."""
    entries = [place for place in view.places if view.nodes[place].kind == "entry"]
    names = dict.fromkeys(index for place in entries for index in _parts_of(view.nodes[place]))
    for place in entries:
        node = view.nodes[place]
        indices = _parts_of(node)
        for k, name in itertools.product(range(len(indices)), names):
            if name != indices[k]:
                new = view.add("entry", node.args, (*indices[:k], name, *indices[k + 1 :]))
                yield Edit("wrong-index", ((place, new),), "an index of {} should be {}", (place, new))


def _in_order(view: View, value: int) -> tuple[list[int], int]:
    """The values that bear the same letter, by their numbers, and where this one is among them."""
    numbered = {
        int(spelling.suffix): other
        for other in [value, *_neighbours(view, value)]
        for spelling in view.trial.spellings(other)
        if spelling.suffix.isdecimal() and len(spelling.suffix) < 9
    }
    values = [numbered[number] for number in sorted(numbered)]
    return values, values.index(value) if value in values else -9


def _neighbours(view: View, value: int) -> list[int]:
    """Named values whose names differ in the index only."""
    tape, trial = view.trial.solution.tape, view.trial
    stems = {stem(spelling) for spelling in trial.spellings(value)}
    return [
        other
        for other, name in enumerate(tape.names)
        if name and other != value and any(stem(spelling) in stems for spelling in trial.spellings(other))
    ][:MOST_VALUES]


def _drop_twins(view: View) -> Iterator[Edit]:
    for place, k, new in _without_factors(view):
        factors = view.nodes[place].args
        keys = {view.keys[factors[k]], view.keys[view.core(view.transposed(factors[k]))]}
        if any(view.keys[factors[j]] in keys for j in (k - 1, k + 1) if 0 <= j < len(factors)):
            yield Edit("repeated-factor", ((place, new),), "the factor {} stands there twice", (factors[k],))
    yield from _change_powers(view, -1, "repeated-factor")


def _change_powers(view: View, by: int, kind: str) -> Iterator[Edit]:
    """One factor more or less in a power."""
    for place in view.places:
        node = view.nodes[place]
        new = -1
        if node.kind == "power" and isinstance(node.value, tuple) and node.value[0].denominator == 1 and node.value[0] > 1:
            new = view.add("power", node.args, (node.value[0] + by, node.value[1]))
        elif by < 0 and node.kind == "call" and node.value == ("sqnorm", ""):
            new = view.add("norm", node.args, "")
        elif by > 0 and node.kind == "norm":
            new = view.add("call", node.args, ("sqnorm", ""))
        elif by > 0 and node.kind in ("value", "name", "apply") and view.is_beside_number(place):
            new = view.entrywise(place, place)
        if new >= 0:
            yield Edit(kind, ((place, new),), "{} should be {}", (place, new))


def _drop_factors(view: View) -> Iterator[Edit]:
    yield from _drop_slopes(view)
    for place, k, new in _without_factors(view):
        factor = view.nodes[place].args[k]
        kind = "constant-factor" if all(view.nodes[at].kind in NUMBERS for at in view.trial.formulas.below(factor)) else "extra-factor"
        yield Edit(kind, ((place, new),), "the factor {} is too much", (factor,))
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "fraction" and view.nodes[view.core(node.args[1])].kind not in ("number", "size"):
            yield Edit("extra-factor", ((place, node.args[0]),), "the denominator of {} is too much", (place,))


def _drop_slopes(view: View) -> Iterator[Edit]:
    """Factors side by side that make up the derivative of a function, as y ⊙ (1 - y) does."""
    slopes = [view.trial.inner(slope) for slope in view.slopes()]
    for place in view.places:
        node = view.nodes[place]
        if node.kind not in ("product", "elementwise") or len(node.args) < 3:
            continue
        signs = view.signs(place)
        for k in range(len(node.args) - 1):
            pair = view.add(node.kind, node.args[k : k + 2], signs[k : k + 1])
            value = view.trial.inner(pair)
            if value is not None and value in slopes:
                left = node.args[:k] + node.args[k + 2 :]
                rest = signs[: k - 1] + signs[k + 1 :] if k else signs[2:]
                new = left[0] if len(left) == 1 else view.add(node.kind, left, rest)
                yield Edit("extra-factor", ((place, new),), "the factor {} is too much", (pair,))


def _without_factors(view: View) -> Iterator[tuple[int, int, int]]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind not in ("product", "elementwise"):
            continue
        signs = view.signs(place)
        for k, factor in enumerate(node.args):
            if view.nodes[view.core(factor)].kind in ("number", "size"):
                continue  # that would be a constant
            left = node.args[:k] + node.args[k + 1 :]
            if k == 0 and signs[:1] and signs[0] in ("/", "./", "⊘"):
                continue
            rest = signs[: k - 1] + signs[k:] if k else signs[1:]
            yield place, k, left[0] if len(left) == 1 else view.add(node.kind, left, rest)


def _insert_factors(view: View) -> Iterator[Edit]:
    yield from _change_powers(view, 1, "missing-factor")
    material = [(node, shape) for node, shape in view.factors() if shape != (1, 1)]
    inner = {arg for place in view.places if view.nodes[place].kind == "product" for arg in view.nodes[place].args}
    wanted = dense.size(view.trial.expected())
    for place in view.places:
        if place not in view.linear or place in inner:
            continue
        node = view.nodes[place]
        factors = node.args if node.kind == "product" and set(view.signs(place)) <= MATRIX_SIGNS else (place,)
        shapes = [view.shape(factor) for factor in factors]
        if None in shapes:
            continue
        for gap in range(len(factors) + 1):
            before = next((shape for shape in shapes[gap - 1 :: -1] if shape != (1, 1)), None) if gap else None
            after = next((shape for shape in shapes[gap:] if shape != (1, 1)), None)
            for factor, shape in material:
                if (before and before[1] != shape[0]) or (after and after[0] != shape[1]):
                    continue
                if place == view.trial.root and ((not before and shape[0] != wanted[0]) or (not after and shape[1] != wanted[1])):
                    continue
                new = view.product(*factors[:gap], factor, *factors[gap:])
                yield Edit("missing-factor", ((place, new),), "the factor {} is missing", (factor,))
        whole = view.shape(place)
        for factor, shape in material:
            if shape == whole:
                new = view.entrywise(place, factor)
                yield Edit("missing-factor", ((place, new),), "the factor {} is missing", (factor,))


def _flip_signs(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "sum":
            signs = _parts_of(node)
            for k, arg in enumerate(node.args):
                flipped = (*signs[:k], -signs[k], *signs[k + 1 :])
                yield Edit("sign", ((place, view.add("sum", node.args, flipped)),), "the sign of {} is wrong", (arg,))
        elif node.kind == "bars" or (node.kind == "apply" and node.value == ("abs", 0)):
            yield Edit("sign", ((place, node.args[0]),), "the absolute value {} loses the sign", (place,))
        elif node.kind == "negate":
            yield Edit("sign", ((place, node.args[0]),), "the sign of {} is wrong", (place,))
        elif node.kind in POINTS:
            for arg in node.args:
                yield Edit("sign", ((arg, view.add("negate", (arg,))),), "the sign of {} is wrong", (arg,))


def _exchange_factors(view: View) -> Iterator[Edit]:
    material = view.factors()
    whole = view.trial.inner(view.trial.root)
    fits = not view.misfit and whole is not None and dense.size(whole) == dense.size(view.trial.expected())
    factors = {arg for place in view.places if view.nodes[place].kind in ("product", "elementwise") for arg in view.nodes[place].args}
    for place in view.places:
        kind = view.nodes[view.core(place)].kind
        if kind not in ("value", "derivative", "apply", "transpose", "entry") and (place not in factors or kind == "number"):
            continue
        if view.nodes[place].kind != "name" and len(view.trial.formulas.below(place)) > MOST_EXCHANGED:
            continue  # a derivative in place of a large part would explain anything
        shape = view.shape(place)
        for new, its in material:
            if view.keys[new] == view.keys[place] or view.are_one_derivative(new, place) or (fits and shape is not None and its != shape):
                continue
            yield Edit("wrong-factor", ((place, new),), "{} should be {}", (place, new))


def _read_as_total(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind != "derivative":
            continue
        atom = atoms[_number_of(node)]
        for k, other in enumerate(atoms):
            if k != node.value and (other.of, other.by) == (atom.of, atom.by) and other.meanings[0] != atom.meanings[0]:
                new = view.add("derivative", (), k)
                yield Edit("partial-for-total", view.everywhere(place, new), f"{{}} has to be the {other.meanings[0]} derivative", (place,))


# --- detours ---


class _Way:
    """The steps between the variable and the output, with their edges: a step and one of its slots each."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.tape = trial.solution.tape
        inside = set(trial.inside)
        self.edges: list[Slot] = []
        self.leaving: dict[int, list[Slot]] = {}
        self.entering: dict[int, list[Slot]] = {}
        for value in trial.inside:
            step = self.tape.step(value)
            if step is None or value == trial.by:
                continue
            for slot, source in enumerate(step.inputs):
                if source in inside:
                    self.edges.append((value, slot))
                    self.leaving.setdefault(source, []).append((value, slot))
                    self.entering.setdefault(value, []).append((value, slot))
        self.edges = self.edges[-MOST_EDGES:]

    def step(self, edge: Slot) -> Step:
        """The step that an edge leads to."""
        return self.tape.steps[edge[0] - self.tape.leaves]

    def source(self, edge: Slot) -> int:
        """The value that an edge comes from."""
        return self.step(edge).inputs[edge[1]]

    def value(self, value: int) -> int:
        """A value as a formula."""
        return self.trial.formulas.add("value", (), value)

    def slope(self, edge: Slot, argument: int) -> int:
        """The derivative of the function of an edge, as a formula."""
        return self.trial.formulas.add("apply", (self.value(argument),), (self.step(edge).name, 1))

    def functions(self) -> Iterator[tuple[Slot, int]]:
        """The edges through activations, with their slopes as formulas."""
        for edge in self.edges:
            if _is_activation(self.step(edge)):
                yield edge, self.slope(edge, self.source(edge))

    def block(self, detour: Detour, world: int) -> Dense | None:
        """What the derivation with a mistake comes to, None if that is right."""
        at = self.trial.worlds[world]
        try:
            changed = {edge: self._jacobian(detour, edge, world) for edge in detour.edges}
            jacobian = at.total(self.trial.of, self.trial.by, changed=changed)
        except ArithmeticError:
            return None
        value = self.trial.arranged(jacobian, world)
        return None if value == self.trial.expected(world) else value

    def _jacobian(self, detour: Detour, edge: Slot, world: int) -> Dense | None:
        """What takes the place of the Jacobian of a step."""
        at = self.trial.worlds[world]
        if detour.change == "cut":
            return None
        local = at.local(*edge)
        if detour.change == "identity":
            return dense.identity(len(local), at.numbers)
        if detour.change == "transpose":
            return dense.transpose(local)
        off = [[entry - entry if i == j else entry for j, entry in enumerate(row)] for i, row in enumerate(local)]
        if detour.change == "no diagonal":
            return off
        if detour.change == "diagonal":
            return _difference(local, off)
        value = self.trial.inner(detour.node, world)
        if value is None:
            raise dense.DomainError("it has no value")
        diagonal = dense.diag([[entry] for entry in dense.entries(value)])
        return diagonal if detour.change == "entries" else _difference(local, diagonal)


def _cut(way: _Way) -> Iterator[Detour]:
    branching = [edge for edge in way.edges if len(way.entering[edge[0]]) > 1 or len(way.leaving[way.source(edge)]) > 1]
    cuts: list[tuple[Slot, ...]] = [(edge,) for edge in branching]
    cuts += [tuple(edge for edge in edges if edge != kept) for edges in way.leaving.values() if len(edges) > 2 for kept in edges]
    if len(branching) <= MOST_BRANCHING:
        cuts += list(itertools.combinations(branching, 2))
    for edges in cuts:
        ends = tuple([way.value(end) for edge in edges[:MOST_NAMED] for end in (way.source(edge), edge[0])])
        paths = " and ".join(["from {} to {}"] * (len(ends) // 2))
        yield Detour("missing-path", edges, "cut", f"the path {paths} is missing", ends)


def _simplify_softmax(way: _Way) -> Iterator[Detour]:
    say = "the softmax's Jacobian is diag(p) - p pᵀ with p = {}: {}"
    for edge in way.edges:
        if way.step(edge).operation == "softmax":
            p = way.value(edge[0])
            for change, missing in _SOFTMAX_PARTS.items():
                yield Detour("softmax-diagonal", (edge,), change, say.format("{}", missing), (p,), p)


_SOFTMAX_PARTS = {
    "diagonal": "what is off the diagonal is missing",
    "entries": "the term p pᵀ, a sum over all entries, is missing",
    "all but entries": "the term diag(p) is missing",
    "no diagonal": "the diagonal is missing",
}


def _forget_slopes(way: _Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        yield Detour("missing-activation-derivative", (edge,), "identity", "{} is missing", (slope,))


def _forget_functions(way: _Way) -> Iterator[Detour]:
    for edge in way.edges:
        if way.step(edge).operation == "apply" and not _is_activation(way.step(edge)):
            slope = way.slope(edge, way.source(edge))
            yield Detour("missing-factor", (edge,), "identity", "{} is missing", (slope,))


def _leave_functions(way: _Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        value = way.value(edge[0])
        yield Detour("activation-for-derivative", (edge,), "entries", "{} stands for the derivative {}", (value, slope), value)


def _slopes_elsewhere(way: _Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        other = way.slope(edge, edge[0])
        yield Detour("evaluation-point", (edge,), "entries", "{} stands for {}", (other, slope), other)


def _slopes_of_others(way: _Way) -> Iterator[Detour]:
    """The slopes a (1 - a) and 1 - a² at a function that is neither sigmoid nor tanh."""
    add = way.trial.formulas.add
    for edge, slope in way.functions():
        value, one = way.value(edge[0]), add("number", (), Fraction(1))
        square = add("elementwise", (value, value), ("⊙",))
        others = {"sigmoid": add("sum", (value, square), (1, -1)), "tanh": add("sum", (one, square), (1, -1))}
        for name, other in others.items():
            if name != way.step(edge).name:
                yield Detour("wrong-factor", (edge,), "entries", f"{{}}, the derivative of {name}, stands for {{}}", (other, slope), other)


def _transpose_factors(way: _Way) -> Iterator[Detour]:
    for edge in way.edges:
        shape = way.tape.shapes[edge[0]]
        if way.step(edge).operation == "product" and shape == way.tape.shapes[way.source(edge)] and not shape.is_matrix:
            ends = (way.value(way.source(edge)), way.value(edge[0]))
            yield Detour("transpose", (edge,), "transpose", "the Jacobian from {} to {} is transposed", ends)


# --- the table ---


class Example(NamedTuple):
    """A wrong answer in which a mistake is made."""

    composition: str
    wrt: str
    answer: str
    layout: str = "mixed"


class Mistake(NamedTuple):
    """One mistake: its slug, what makes the answer right, the edits that do, the detours that make it, and an example."""

    kind: str
    description: str
    example: Example
    edits: Edits | None = None
    detours: Callable[[_Way], Iterator[Detour]] | None = None


_LAYER = "W1: m x n; W2: k x m; x: n; b: m; y: k; z1 = W1 x + b; a1 = tanh(z1); z2 = W2 a1; L = 1/2 ||z2 - y||^2"
_LOSS = "W: m x n; V: m x n; x: n; b: m; z = W x + b; a = g(z); g: elementwise; L = l(a)"
_CELL = "o: n; c: n; L: scalar; a = o .* tanh(c); L = l(a, c)"
_BATCH = "W: m x n; X: n x N; b: m; Z = W X + b*ones(1,N); A = tanh(Z); L = l(A); L: scalar"
_SKIPS = "A: m x n; x: n; L: scalar; c = A x; a1 = tanh(c); a2 = sin(c); a3 = exp(c); L = l(c, a1, a2, a3) + r(c)"
_SOFTMAX = "z: n; p = softmax(z); L = l(p); L: scalar"

MISTAKES = (
    Mistake(
        "mixed-layout",
        "some factors or blocks are read in another layout",
        Example("x: n; A: n x n; f = x^T A x", "x", "x^T A + A x"),
        _read_otherwise,
    ),
    Mistake(
        "missing-path",
        "a term of the chain rule's sum is added",
        Example(_CELL, "c", r"\frac{\partial L}{\partial a} \odot o \odot (1 - \tanh(c)^2)"),
        _add_paths,
        _cut,
    ),
    Mistake(
        "extra-path", "a term of the chain rule's sum is dropped", Example(_LAYER, "W2", r"(z_2 - y) a_1^T + (z_2 - y) b^T"), _drop_paths
    ),
    Mistake(
        "missing-sum",
        "a sum over samples, components or uses is restored",
        Example(_BATCH, "b", r"\frac{\partial L}{\partial A} \odot (1 - A \odot A)"),
        _add_sums,
    ),
    Mistake(
        "softmax-diagonal",
        "the softmax Jacobian's off-diagonal or row-sum term is restored",
        Example(_SOFTMAX, "z", r"p \odot (1 - p) \odot \frac{\partial L}{\partial p}"),
        None,
        _simplify_softmax,
    ),
    Mistake(
        "activation-for-derivative",
        "an activation is replaced by its derivative",
        Example(_LOSS, "b", r"\frac{\partial L}{\partial a} \odot g(z)"),
        _differentiate_functions,
        _leave_functions,
    ),
    Mistake(
        "missing-activation-derivative",
        "an activation's derivative is inserted",
        Example(_LAYER, "W1", r"W_2^T (z_2 - y) x^T"),
        _insert_slopes,
        _forget_slopes,
    ),
    Mistake(
        "hadamard-vs-product",
        "one elementwise product or diag becomes a matrix product, or the reverse",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) (1 - a_1 \odot a_1)"),
        _change_operators,
    ),
    Mistake(
        "transpose",
        "one transpose is added or removed",
        Example(_LAYER, "W1", r"(W_2 (z_2 - y) \odot (1 - a_1 \odot a_1)) x^T"),
        _transpose,
        _transpose_factors,
    ),
    Mistake(
        "factor-order",
        "factors are permuted",
        Example("A: n x n; B: n x n; x: n; y: n; y = A B x; L = l(y); L: scalar", "x", r"A^T B^T \frac{\partial L}{\partial y}"),
        _reorder,
    ),
    Mistake(
        "evaluation-point",
        "a factor is evaluated elsewhere",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) \odot (1 - z_1 \odot z_1)"),
        _move_points,
        _slopes_elsewhere,
    ),
    Mistake(
        "wrong-index",
        "a name is replaced by its neighbour in index",
        Example(_LAYER, "W1", r"(W_1^T (z_2 - y) \odot (1 - a_1 \odot a_1)) x^T"),
        _change_indices,
    ),
    Mistake(
        "repeated-factor",
        "a factor is dropped whose twin stands beside it",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) \odot (1 - a_1 \odot a_1) \odot (1 - a_1 \odot a_1)"),
        _drop_twins,
    ),
    Mistake("extra-factor", "a factor is dropped", Example(_LOSS, "b", r"(\frac{\partial L}{\partial a} \odot g'(z)) x^T"), _drop_factors),
    Mistake(
        "missing-factor",
        "a factor is inserted",
        Example(_LOSS, "W", r"\frac{\partial L}{\partial a} \odot g'(z)"),
        _insert_factors,
        _forget_functions,
    ),
    Mistake("sign", "a sign is flipped", Example(_LAYER, "b", r"W_2^T (y - z_2) \odot (1 - a_1 \odot a_1)"), _flip_signs),
    Mistake("constant-factor", "a number is put right", Example(_LAYER, "b", r"2 W_2^T (z_2 - y) \odot (1 - a_1 \odot a_1)")),
    Mistake(
        "wrong-factor",
        "one factor is replaced by another of the problem",
        Example(_LAYER, "b", r"W_2^T y \odot (1 - a_1 \odot a_1)"),
        _exchange_factors,
        _slopes_of_others,
    ),
    Mistake(
        "partial-for-total",
        "a partial derivative is read as a total one where a skip makes them differ",
        Example(_SKIPS, "x", r"A^T \frac{\partial L}{\partial c}"),
        _read_as_total,
    ),
    Mistake("shape", "nothing specific was found and the shapes do not fit", Example(_LAYER, "W1", r"x W_1 y^T W_1")),
    Mistake("other", "nothing else fits", Example(_LAYER, "W1", r"b b^T W_1")),
)
"""The mistakes of one block, in the order of preference; what concerns whole blocks comes before them."""

_RANK = {mistake.kind: rank for rank, mistake in enumerate(MISTAKES)}

_LIGHT = frozenset(
    "missing-sum activation-for-derivative missing-activation-derivative hadamard-vs-product transpose factor-order "
    "evaluation-point wrong-index extra-factor sign".split()
)
"""What is tried in pairs."""


# --- numbers that are missing ---


class Factor(NamedTuple):
    """What a formula has to be multiplied by, as a formula, and the mistakes that this is."""

    node: int
    kinds: tuple[str, ...]
    say: str
    about: tuple[int, ...] = ()


@lru_cache(maxsize=4)
def _ratios(numbers: Numbers) -> dict[Any, Fraction]:
    """The fractions with small numerators and denominators, by what they are among some numbers."""
    counts = range(1, LARGEST_RATIO + 1)
    fractions = {Fraction(sign * a, b) for a in counts for b in counts for sign in (-1, 1)}
    return {numbers.from_fraction(fraction): fraction for fraction in sorted(fractions)}


class _Factors:
    """Numbers by which an answer may be wrong: fractions, sizes and their roots, scalars of the problem."""

    EXPONENTS = (Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-1, 2), Fraction(2), Fraction(-2))

    def __init__(self, view: View) -> None:
        self.view = view
        self._known: dict[Ratios, Factor | None] = {}
        self._powers: list[tuple[int, str, Ratios]] | None = None

    def find(self, ratios: Ratios) -> Factor | None:
        """The factor that has these values in the worlds, None where it is none of the kind."""
        if ratios not in self._known:
            self._known[ratios] = self._find(ratios)
        return self._known[ratios]

    def _find(self, ratios: Ratios) -> Factor | None:
        fraction = self._fraction(ratios)
        if fraction is not None:
            return self._constant(self._number(fraction), fraction)
        for node, kind, values in self.powers():
            rest = self._fraction(tuple([ratio / value for ratio, value in zip(ratios, values, strict=True)]))
            if rest is None:
                continue
            if rest == 1:
                return Factor(node, (kind,), f"the factor {self.view.text(node)} is missing", ())
            whole = self.view.product(self._number(rest), node)
            kinds = (kind,) if kind == "constant-factor" else (kind, "sign" if rest == -1 else "constant-factor")
            return Factor(whole, kinds, f"the factor {self.view.text(whole)} is missing", ())
        return None

    def _fraction(self, ratios: Ratios) -> Fraction | None:
        found = {_ratios(world.numbers).get(ratio) for ratio, world in zip(ratios, self.view.trial.worlds, strict=True)}
        return found.pop() if len(found) == 1 else None

    def _number(self, fraction: Fraction) -> int:
        return self.view.add("number", (), fraction)

    def _constant(self, node: int, fraction: Fraction) -> Factor:
        if fraction == -1:
            return Factor(node, ("sign",), "the sign is wrong")
        kinds = ("sign", "constant-factor") if fraction < 0 else ("constant-factor",)
        return Factor(node, kinds, f"the number before it is wrong: the factor {fraction} is missing", ())

    def powers(self) -> list[tuple[int, str, Ratios]]:
        """Powers of sizes and of scalars, with their values."""
        if self._powers is None:
            view, tape = self.view, self.view.trial.solution.tape
            sizes = {size for shape in tape.shapes for size in shape if not size.isdecimal()}
            bases = [(view.add("size", (), size), "constant-factor") for size in sorted(sizes)]
            bases += [(node, "missing-factor") for node in view.material() if view.shape(node) == (1, 1)]
            inside = [value for value in view.trial.inside if not tape.names[value] and value != view.trial.by]
            further = [view.value(value) for value in inside if tape.shapes[value] == SCALAR][:MOST_VALUES]
            further += view.slopes() + [place for place in view.places if place not in view.linear or place != view.trial.root]
            arrays = [place for place in view.places if view.is_array(place)][:MOST_SUMS]
            further += [view.add("call", (place,), (name, "")) for name in ("sum", "sqnorm") for place in arrays]
            bases += [(node, "missing-factor") for node in further if view.shape(node) == (1, 1)]
            self._powers = []
            seen = set()
            for base, kind in bases:
                if view.keys[base] in seen or view.nodes[view.core(base)].kind == "number":
                    continue
                seen.add(view.keys[base])
                for exponent in self.EXPONENTS[: 6 if kind == "constant-factor" else 2]:
                    self._add(base, kind, exponent)
        return self._powers

    def _add(self, base: int, kind: str, exponent: Fraction) -> None:
        assert self._powers is not None
        view = self.view
        one = self._number(Fraction(1))
        node = base if abs(exponent) == 1 else view.add("power", (base,), (abs(exponent), False))
        if exponent < 0:
            node = view.add("fraction", (one, node))
        values = []
        for world in range(len(view.trial.worlds)):
            value = view.trial.inner(node, world)
            if value is None or not value[0][0]:
                return
            values.append(value[0][0])
        self._powers.append((node, kind, tuple(values)))


# --- the search ---


class _Found(NamedTuple):
    """An explanation: edits and a detour that meet, and a factor; the root where everything is mended."""

    edits: tuple[Edit, ...]
    detour: Detour | None = None
    factor: Factor | None = None
    root: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        kinds = [kind for edit in self.edits for kind in (edit.kind, edit.besides) if kind]
        if self.detour is not None:
            kinds.append(self.detour.kind)
        if self.factor is not None:
            kinds.extend(self.factor.kinds)
        return tuple(sorted(kinds, key=_RANK.__getitem__))

    @property
    def order(self) -> tuple[int, tuple[int, ...]]:
        """Fewer changes first, then by the table."""
        count = sum(edit.cost for edit in self.edits) + (self.detour is not None) + (0 if self.factor is None else len(self.factor.kinds))
        return count, tuple([_RANK[kind] for kind in self.kinds])


class _Search:
    def __init__(self, trial: Trial, budget: int) -> None:
        self.trial = trial
        self.left = budget
        self.view = View(trial)
        self.way = _Way(trial)
        self.factors = _Factors(self.view)
        self.answer = [trial.value(trial.root, world) for world in range(len(trial.worlds))]
        self.near: list[_Found] = []
        self.edited: list[tuple[Edit, int, Dense]] = []
        self.light: list[tuple[Edit, bool]] = []  # with whether the shapes fit afterwards
        self.detours: list[tuple[Detour, Dense]] = []
        self._seen: set[int] = set()

    def run(self) -> _Found | None:
        """The best explanation, None if there is none within the budget."""
        found = self._one_change() or min(self._two_changes(), key=lambda found: found.order, default=None)
        return found or self._pairs()

    def _one_change(self) -> _Found | None:
        scalings = list(self._scalings())
        whole = next((scaling for scaling in scalings if scaling.edits[0].changes[0][0] == self.trial.root), None)
        if whole is not None and whole.kinds == ("constant-factor",):
            return whole  # half of a sum of two equal paths is a number that is wrong
        for mistake in MISTAKES:
            for edit in mistake.edits(self.view) if mistake.edits is not None else ():
                if self.left <= 0:
                    break
                found = self._try(edit)
                if found is not None:
                    return found
            for scaling in scalings:
                if scaling.kinds == (mistake.kind,):
                    return scaling
            for detour in mistake.detours(self.way) if mistake.detours is not None else ():
                found = self._follow(detour)
                if found is not None:
                    return found
        self.near.extend(scalings)
        return None

    def _mended(self, edit: Edit) -> int:
        return self.view.replace(edit.changes)

    def _try(self, edit: Edit) -> _Found | None:
        """The explanation by one edit if that is all; what else it comes to is kept."""
        if self.left <= 0:
            return None
        root = self._mended(edit)
        key = self.trial.formulas.keys[root]
        if key in self._seen:
            return None
        self._seen.add(key)
        self.left -= 1
        value = self.trial.value(root)
        expected = self.trial.expected()
        fits = value is not None and dense.size(value) == dense.size(expected)
        if edit.kind in _LIGHT and edit.cost == 1:
            self.light.append((edit, fits))
        if value is None or not fits:
            return None
        self.edited.append((edit, root, value))
        if proportion(expected, value) is None:
            return None
        found = self._judge((edit,), root)
        if found is not None and found.factor is None and edit.cost == 1:
            return found
        if found is not None:
            self.near.append(found)
        return None

    def _judge(self, edits: tuple[Edit, ...], root: int) -> _Found | None:
        """The explanation by edits that lead to this formula, right but for a factor."""
        ratios = self.trial.ratios(root)
        if ratios is None:
            return None
        if all(ratio == 1 for ratio in ratios):
            return _Found(edits, None, None, root)
        factor = self.factors.find(ratios)
        if factor is None:
            return None
        return _Found(edits, None, factor, self._times(factor, root))

    def _times(self, factor: Factor, node: int) -> int:
        at = self.trial.formulas.nodes[factor.node]
        if at.kind == "number" and at.value == -1:
            return self.trial.formulas.add("negate", (node,))
        return self.view.product(factor.node, node)

    def _scalings(self) -> Iterator[_Found]:
        """A term of a sum, or the whole, with another factor: the value is affine in it."""
        view, trial = self.view, self.trial
        if any(value is None for value in self.answer):
            return
        terms = [arg for place in view.places if place in view.linear and view.nodes[place].kind == "sum" for arg in view.nodes[place].args]
        for place in dict.fromkeys([trial.root, *terms]):
            ratios: list[Any] = []
            none = trial.formulas.replace(trial.root, place, view.product(view.add("number", (), Fraction(0)), place))
            for world, answer in enumerate(self.answer):
                rest = trial.value(none, world) if place != trial.root else None
                expected = trial.expected(world)
                assert answer is not None
                if dense.size(answer) != dense.size(expected) or (rest is None and place != trial.root):
                    break
                if rest is not None:
                    expected, answer = _difference(expected, rest), _difference(answer, rest)
                ratio = proportion(expected, answer)
                if ratio is None:
                    break
                ratios.append(ratio)
            if len(ratios) < len(trial.worlds):
                continue
            factor = self.factors.find(tuple(ratios))
            if factor is None:
                continue
            new = self._times(factor, place)
            at = () if place == trial.root else (place,)
            say = f"in {{}}: {factor.say}" if at else factor.say
            edit = Edit(factor.kinds[0], ((place, new),), say, (*at, *factor.about), len(factor.kinds), *factor.kinds[1:])
            yield _Found((edit,), None, None, self._mended(edit))

    def _follow(self, detour: Detour) -> _Found | None:
        """The explanation by a detour if that is all."""
        value = self.way.block(detour, 0)
        if value is None:
            return None
        self.detours.append((detour, value))
        if self.answer[0] is None or proportion(self.answer[0], value) is None:
            return None
        found = self._meet((), detour, self.trial.root)
        if found is None or found.factor is None:
            return found
        self.near.append(found)
        return None

    def _meet(self, edits: tuple[Edit, ...], detour: Detour, root: int) -> _Found | None:
        """The explanation by edits after which the answer is what the detour gives."""
        ratios = []
        for world in range(len(self.trial.worlds)):
            value, other = self.way.block(detour, world), self.trial.value(root, world)
            ratio = None if value is None or other is None else proportion(value, other)
            if ratio is None:
                return None
            ratios.append(ratio)
        if all(ratio == 1 for ratio in ratios):
            return _Found(edits, detour)
        factor = self.factors.find(tuple(ratios))
        if factor is None or (edits and "missing-factor" in factor.kinds):
            return None  # three changes, of which one may be anything, explain nothing
        return _Found(edits, detour, factor)

    def _two_changes(self) -> Iterator[_Found]:
        yield from self.near
        met: dict[tuple[Any, ...], tuple[Edit, int]] = {}
        for edit, root, value in self.edited:
            line = _line(value)
            if line is not None and edit.changes[0][0] != self.trial.root:
                met.setdefault(line, (edit, root))
        for detour, value in self.detours:
            line = _line(value)
            if line in met:
                edit, root = met[line]
                found = self._meet((edit,), detour, root)
                if found is not None:
                    yield found
        yield from self._apart()
        for edit in _regroup(self.view, 3 if max((len(product.factors) for product in self.view.products), default=0) < 5 else 2):
            if edit.cost > 1:
                self._seen.discard(self.trial.formulas.keys[self._mended(edit)])
                self._try(edit)
        yield from self.near

    def _apart(self) -> Iterator[_Found]:
        """Two edits in different terms, whose differences add."""
        answer, expected = self.answer[0], self.trial.expected()
        if answer is None or dense.size(answer) != dense.size(expected):
            return
        known: dict[tuple[Any, ...], Edit] = {}
        for edit, _, value in self.edited:
            known.setdefault(tuple(dense.entries(value)), edit)
        for edit, root, value in self.edited:
            other = known.get(tuple(dense.entries(_difference(expected, _difference(value, answer)))))
            if other is not None and other is not edit:
                for old, new in other.changes:
                    root = self.trial.formulas.replace(root, old, new)
                found = self._judge((other, edit), root)
                if found is not None:
                    yield found

    def _pairs(self) -> _Found | None:
        formulas = self.trial.formulas
        self.light = sorted(self.light, key=lambda light: not light[1])[:MOST_LIGHT]
        edits = [edit for edit, _ in self.light]
        parts = [set(formulas.below(edit.changes[0][0])) for edit in edits]
        kept = [set(formulas.below(edit.changes[0][1])) for edit in edits]
        wanted = 1 if self.answer[0] is None else 2  # how many of two edits leave shapes that fit

        def order(pair: tuple[int, int]) -> tuple[int, int]:
            return abs(sum(self.light[k][1] for k in pair) - wanted), sum(_RANK[edits[k].kind] for k in pair)

        pairs = sorted(itertools.combinations(range(len(edits)), 2), key=order)
        self.left = min(self.left, MOST_PAIRS)
        for outer, inner in pairs:
            if self.left <= 0:
                break
            if edits[outer].changes[0][0] in parts[inner]:
                outer, inner = inner, outer
            place = edits[inner].changes[0][0]
            if place in parts[outer] and place not in kept[outer]:
                continue
            one, other = edits[outer], edits[inner]
            self.left -= 1
            root = self._mended(one)
            for old, new in other.changes:
                root = formulas.replace(root, old, new)
            value = self.trial.value(root)
            if value is not None and proportion(self.trial.expected(), value) is not None:
                found = self._judge((one, other), root)
                if found is not None:
                    return found
        return None

    def slips(self, found: _Found) -> list[Slip]:
        """An explanation, mistake by mistake."""
        slips = []
        for edit in found.edits:
            kinds = [kind for kind in (edit.kind, edit.besides) if kind]
            slips += [self._slip(kind, edit.changes[0][0], edit.say, edit.about, found.root) for kind in kinds]
        if found.detour is not None:
            slips.append(self._slip(found.detour.kind, self.trial.root, found.detour.say, found.detour.about, found.root))
        for kind in found.factor.kinds if found.factor is not None else ():
            assert found.factor is not None
            slips.append(self._slip(kind, self.trial.root, found.factor.say, found.factor.about, found.root))
        return sorted(slips, key=lambda slip: _RANK[slip.kind])

    def _slip(self, kind: str, place: int, say: str, about: Sequence[int] = (), root: int | None = None) -> Slip:
        node = self.trial.formulas.nodes[place]
        span = (node.start, node.end) if 0 <= node.start < node.end else None
        return Slip(kind, span, self.trial.text(place) if span is not None else "", _fill(say, map(self.trial.text, about)), root)

    def remainder(self) -> Slip:
        """What can be said where nothing specific was found."""
        trial = self.trial
        try:
            value = trial.appraiser().value(trial.root, dense.size(trial.expected()))
        except MisfitError as misfit:
            message = describe(misfit, trial.solution, trial.worlds[0])
            return self._slip(self._kind(misfit), misfit.node, message)
        except ArithmeticError:
            return self._slip("other", trial.root, "this is not the derivative")
        found, wanted = dense.size(value), dense.size(trial.expected())
        if found != wanted:
            words = trial.worlds[0].words
            sizes = [f"{words(rows)} x {words(columns)}" for rows, columns in (found, wanted)]
            return self._slip("shape", trial.root, f"this is {sizes[0]}, the derivative is {sizes[1]}")
        return self._slip("other", trial.root, "this is not the derivative")

    def _kind(self, misfit: MisfitError) -> str:
        kind = self.trial.formulas.nodes[misfit.node].kind
        if UNKNOWN in (misfit.left, misfit.right):
            return "shape"
        if kind == "sum" and misfit.left == misfit.right[::-1]:
            return "mixed-layout"
        if kind in ("product", "elementwise") and misfit.left == misfit.right:
            return "hadamard-vs-product"
        return "shape"


def _fill(say: str, texts: Iterable[str]) -> str:
    """A sentence with texts, which may have braces of their own, in its gaps."""
    pieces = []
    for text in texts:
        before, _, say = say.partition("{}")
        pieces += [before, text]
    return "".join(pieces) + say


def _difference(a: Dense, b: Dense) -> Dense:
    return [[x - y for x, y in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]


def _line(value: Dense) -> tuple[Any, ...] | None:
    """What multiples of an array have in common; None for zero."""
    entries = dense.entries(value)
    top = next((entry for entry in entries if entry), None)
    return None if top is None else tuple([entry / top for entry in entries])


def explain(trial: Trial, budget: int = BUDGET) -> list[Slip]:
    """Why an answer is wrong, the best explanation first; several mistakes are several slips. Never empty.

    Args:
        trial: a block of the answer, and the derivative that it should be.
        budget: most formulas that are tried.
    """
    search = _Search(trial, budget)
    found = search.run()
    return [search.remainder()] if found is None else search.slips(found)
