r"""Notations: one record each, which says with what symbol a factor is written.

A :class:`Symbol` is what stands on paper, ``J_{x_3} L_3`` or ``\frac{\partial x_3}{\partial x_2}``. Writing picks the symbol of a
linear map, reading finds the map of a symbol, and each notation does both from the same record.

Some symbols mean the same matrix whatever the layout: ``J`` and ``\partial_1 f`` are Jacobians in numerator layout, ``\nabla`` has
the shape of its variable. A fraction means what the layout says; that is the difference between the two ways of writing
a reversed product, with ⊤ on every factor or without.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from jacobian_chain.derivation import Derivation
from jacobian_chain.errors import OptionError, ReadingError, Source
from jacobian_chain.layout import Layout, block_shape
from jacobian_chain.maps import Joint, Map
from jacobian_chain.names import read_key
from jacobian_chain.syntax import Node, Program, read_expression
from jacobian_chain.tape import Shape, Step, Tape
from jacobian_chain.tokens import Spelling, spell, split_names


class Symbol(NamedTuple):
    """A factor on paper. ``kind`` is ``J``, ``∂`` or ``d`` (fractions), ``∇`` or ``slot``.

    ``of`` is what is differentiated, ``by`` the variables that the symbol names, ``slot`` the number of an argument, ``at`` the
    evaluation point, ``vec_of`` and ``vec_by`` say that a matrix is taken as the vector of its columns.
    """

    kind: str
    of: Spelling
    by: tuple[Spelling, ...] = ()
    slot: int = 0
    at: tuple[Spelling, ...] | None = None
    vec_of: bool = False
    vec_by: bool = False

    @property
    def identity(self) -> tuple[object, ...]:
        """What a reader can tell apart: everything but how names were typed."""
        at = None if self.at is None else tuple(name.key for name in self.at)
        return (self.kind, self.of.key, tuple([name.key for name in self.by]), self.slot, at)


class Notation(NamedTuple):
    """One way of writing factors.

    Attributes:
        name: as on the command line.
        local: kind of the symbol of one layer's derivative.
        total: kind of the symbol of a derivative through the graph, and of the left side.
        gradients: layouts in which the derivative of a scalar is written ∇.
        scalar_only: whether the output must be a scalar.
        dotted: whether a dot stands between factors.
        description: one line.
    """

    name: str
    local: str
    total: str
    gradients: frozenset[str]
    scalar_only: bool
    dotted: bool
    description: str


_NOWHERE: frozenset[str] = frozenset()
_MIXED = frozenset({"mixed"})
_ALWAYS = frozenset({"numerator", "denominator", "mixed"})

NOTATIONS = {
    notation.name: notation
    for notation in (
        Notation("jacobian", "J", "J", _MIXED, False, True, r"J_{x_3} L_3 \cdot J_{\theta_2} L_2"),
        Notation("partial", "∂", "∂", _NOWHERE, False, False, r"\frac{\partial x_3}{\partial x_2} \frac{\partial x_2}{\partial \theta_2}"),
        Notation(
            "total",
            "∂",
            "d",
            _NOWHERE,
            False,
            False,
            r"left side and adjoints \frac{\mathrm{d} L}{\mathrm{d} x}, layers \frac{\partial x_3}{\partial x_2}",
        ),
        Notation("nabla", "J", "∇", _ALWAYS, True, True, r"\nabla_{x_3} \ell for scalars, J_{x_2} f_3 else"),
        Notation("slots", "slot", "J", _NOWHERE, False, True, r"\partial_1 f, the derivative in the first argument"),
    )
}
"""The notations by name."""


MAX_INSIDE = 100
"""Most inputs of the unnamed parts of an equation that are looked at."""


class Labels:
    """What values, slots and layers are called on paper, fresh names included.

    ``naming`` is ``inputs`` (an unnamed value is called after the layer that takes it: x³ is the input of L³) or ``outputs`` (after
    the layer that computes it: x₃ is the value of f₃). Named values keep their names, and fresh names meet no other.
    """

    def __init__(self, tape: Tape, output: int, naming: str) -> None:
        self.tape = tape
        self.output = output
        self.naming = naming
        self._taken = {*tape.names, *tape.spellings, *tape.layers(), *(name for name, _ in tape.groups)}
        self._values: dict[int, Spelling] = {}
        self._slots: dict[tuple[int, int], Spelling] = {}
        self._crowded: dict[int, bool] = {}

    def name(self, key: str) -> Spelling:
        """The spelling of a name of the problem."""
        return self.tape.spellings.get(key) or spell(key)

    def layer(self, step: int) -> Spelling:
        """The layer of a step."""
        return self.name(self._step(step).name)

    def value(self, value: int) -> Spelling:
        """A value's own name, or a fresh one."""
        known = self._values.get(value)
        if known is None:
            key = self.tape.names[value]
            known = self._values[value] = self.name(key) if key else self._fresh(value)
        return known

    def slot(self, step: int, slot: int) -> Spelling:
        """The name of what stands in an argument of a layer."""
        source = self._step(step).inputs[slot]
        if self.naming != "inputs" or self.tape.names[source] or source in self._widely_used:
            return self.value(source)
        known = self._slots.get((step, slot))
        if known is None:
            several = self._several_unnamed(step)
            known = self._slots[step, slot] = self._fresh(
                step, "" if not several else chr(ord("a") + slot) if slot < 26 else f",{slot + 1}"
            )
        return known

    @cached_property
    def _widely_used(self) -> frozenset[int]:
        """Values without a name that several steps take, each in one slot: they get one name, not one for each slot."""
        users: dict[int, set[int]] = {}
        doubled: set[int] = set()
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            for source in step.inputs:
                if not self.tape.names[source]:
                    users.setdefault(source, set()).add(value)
            if len(set(step.inputs)) < len(step.inputs):
                doubled.update(step.inputs)
        return frozenset(source for source, steps in users.items() if len(steps) > 1 and source not in doubled)

    def _several_unnamed(self, step: int) -> bool:
        """Whether several arguments of a step have no name of their own."""
        known = self._crowded.get(step)
        if known is None:
            unnamed = [value for value in self._step(step).inputs if not self.tape.names[value]]
            known = self._crowded[step] = len(unnamed) > 1
        return known

    def point(self, step: int) -> tuple[Spelling, ...]:
        """The arguments at which a layer's derivative is evaluated."""
        return tuple(self.slot(step, slot) for slot in range(len(self._step(step).inputs)))

    def invent(self, letter: str) -> Spelling:
        """A name that nothing bears yet: the letter, or the letter with the first free number."""
        candidates = itertools.chain([""], (str(k) for k in itertools.count(1)))
        suffix = next(suffix for suffix in candidates if letter + suffix not in self._taken)
        self._taken.add(letter + suffix)
        return Spelling(letter + suffix, letter, "", suffix)

    def fresh(self) -> list[tuple[Spelling, int]]:
        """The names that were made up so far, each with the value that it is, in the order of the tape."""
        steps = self.tape.steps
        slots = [(name, steps[step - self.tape.leaves].inputs[slot]) for (step, slot), name in self._slots.items()]
        values = [(name, value) for value, name in self._values.items() if not self.tape.names[value]]
        return sorted((*slots, *values), key=lambda entry: entry[1])

    def _step(self, value: int) -> Step:
        return self.tape.steps[value - self.tape.leaves]

    @cached_property
    def letter(self) -> str:
        """The letter of fresh names: that of the leaf which the first arguments lead to."""
        value = self.output
        while value >= self.tape.leaves and self._step(value).inputs:
            value = self._step(value).inputs[0]
        array = value < self.tape.leaves and not self.tape.shapes[value].is_scalar
        base = self.name(self.tape.names[value]).base if array else "x"
        return base if len(base) == 1 and base.isalpha() and base.isascii() else "x"

    def _fresh(self, step: int, suffix: str = "") -> Spelling:
        """A name that nothing else bears, after the index of a step's layer or else its place."""
        layer = self.name(self._step(step).name) if self._step(step).name else None
        place = str(step - self.tape.leaves + 1)
        index = layer.suffix if layer is not None and layer.suffix else place
        raised = layer is not None and layer.raised
        candidates = itertools.chain((index, place), (place + "a" * k for k in itertools.count(1)))
        candidate = next(candidate for candidate in candidates if self.letter + candidate + suffix not in self._taken)
        key = self.letter + candidate + suffix
        self._taken.add(key)
        return Spelling(key, self.letter, "", candidate + suffix, raised)


def matrix_form(derivation: Derivation, layout: Layout, vec: bool = False) -> frozenset[int]:
    """The variables whose block has a matrix shape of its own rather than one on ``vec``.

    These are the derivative of a scalar by a matrix and of a matrix by a scalar, where the block stands alone and no
    chain product leads through an array; ``vec`` asks for the vector form all the same.
    """
    shapes = derivation.tape.shapes
    of = shapes[derivation.output]
    alone = len(derivation.variables) == 1 or (of.is_scalar and layout.transposes_scalar is not layout.transposes_array)
    found = set()
    for value, root, fed in zip(derivation.variables, derivation.blocks, derivation.scalar_fed, strict=True):
        matrix_by_scalar = of.is_matrix and shapes[value].is_scalar and derivation.maps[root].kind in ("partial", "zero")
        if alone and not vec and ((of.is_scalar and fed) or matrix_by_scalar):
            found.add(value)
    return frozenset(found)


def shape_of_block(derivation: Derivation, layout: Layout, position: int, plain: frozenset[int]) -> tuple[Shape, bool]:
    """The shape of a block, and whether a matrix in it is taken on ``vec``; ``plain`` is :func:`matrix_form`."""
    variable = derivation.variables[position]
    of, by = (derivation.tape.shapes[value] for value in (derivation.output, variable))
    on_vec = (of.is_matrix or by.is_matrix) and variable not in plain
    return block_shape(of, by, layout, on_vec), on_vec


class Page:
    """Writes and reads the factors of one derivation, in one layout, notation and naming.

    Args:
        derivation: what is written.
        layout: of all factors.
        notation: how a factor is written.
        labels: what values are called.
        points: whether every factor shows where it is evaluated.
        vec: whether a scalar's derivative by a matrix is written on ``vec``.
        tells_places: whether J of a layer that is applied more than once shows where it is evaluated.

    Raises:
        OptionError: the notation cannot write this derivation.
    """

    def __init__(
        self,
        derivation: Derivation,
        layout: Layout,
        notation: Notation,
        labels: Labels,
        points: bool,
        vec: bool = False,
        tells_places: bool = False,
    ) -> None:
        self.derivation = derivation
        self.tape = derivation.tape
        self.layout = layout
        self.notation = notation
        self.labels = labels
        self.points = points
        self.tells_places = tells_places
        scalar = self.tape.shapes[derivation.output].is_scalar
        if notation.scalar_only and not scalar:
            name = labels.value(derivation.output).key
            raise OptionError(f"the notation {notation.name} is for scalar outputs, and {name} is none", hint="use the notation jacobian")
        self.matrix_form = matrix_form(derivation, layout, vec)
        self.notices: list[str] = []
        self._pointed: set[tuple[int, int]] = set()
        self._upright: set[tuple[int, int]] = set()
        self._locals: dict[tuple[int, int], Symbol] = {}
        self._totals: dict[tuple[int, tuple[int, ...], str], Symbol] = {}
        self._tell_apart()

    # --- writing ---

    def symbol(self, node: Map) -> Symbol:
        """The symbol of a ``partial``, ``total`` or ``joint`` node; several values that a joint one is of are for who writes it."""
        if node.kind == "joint":
            return self.joint(self.derivation.joints[node.of])
        return self._local(node.of, node.by) if node.kind == "partial" else self.total(node.of, (node.by,))

    def joint(self, joint: Joint) -> Symbol:
        """The symbol of a derivative by several values: J, or a fraction, upright unless it is of one layer in its arguments."""
        fractions = self.notation.local == "∂"
        value = joint.of[0]
        if not joint.direct:
            whole = len(joint.of) > 1 or value == self.derivation.output
            everything = whole and not fractions and list(joint.by) == self.tape.leaves_of(joint.of) and "J" not in self.tape.spellings
            by = () if everything else tuple(self.variable(one) for one in joint.by)
            alone = len(joint.of) == len(joint.by) == 1
            shapes = self.tape.shapes
            vec_of, vec_by = self._on_vec(shapes[value], shapes[joint.by[0]], joint.by[0]) if alone and by else (False, False)
            kind = "d" if fractions or self._looks_direct(joint) else "J"
            return Symbol(kind, self.variable(value), by, 0, None, vec_of, vec_by)
        step = self.tape.steps[value - self.tape.leaves]
        slots = [slot for slot, source in enumerate(step.inputs) if source in joint.by]
        whole = self._is_once(value) and len(slots) == len(step.inputs) and not fractions
        at = self.labels.point(value) if self.points or any((value, slot) in self._pointed for slot in slots) else None
        name = self._numerator(value) if fractions else self.labels.layer(value)
        return Symbol("∂" if fractions else "J", name, () if whole else tuple(self.labels.slot(value, slot) for slot in slots), 0, at)

    def _looks_direct(self, joint: Joint) -> bool:
        """Whether J of a value by some of the arguments of its step could be taken for J of the layer, which has the same name."""
        value = joint.of[0]
        step = self.tape.step(value)
        same = step is not None and step.operation == "layer" and step.name == self.tape.names[value]
        return len(joint.of) == 1 and value != self.derivation.output and same and not set(joint.by).isdisjoint(step.inputs if step else ())

    def _is_once(self, step: int) -> bool:
        """Whether the layer of a step is applied nowhere else."""
        return self._applications[self.tape.steps[step - self.tape.leaves].name] == 1

    @cached_property
    def _places_of(self) -> dict[tuple[str, int], set[tuple[tuple[int, ...], int]]]:
        """All arguments to which a layer is applied with one value among them, each with the slot of that."""
        found: dict[tuple[str, int], set[tuple[tuple[int, ...], int]]] = {}
        for step in self.tape.steps:
            if step.operation == "layer":
                for slot, source in enumerate(step.inputs):
                    found.setdefault((step.name, source), set()).add((step.inputs, slot))
        return found

    @cached_property
    def _applications(self) -> Counter[str]:
        """How often each layer is applied."""
        return Counter(step.name for step in self.tape.steps if step.operation == "layer")

    def _local(self, value: int, slot: int) -> Symbol:
        known = self._locals.get((value, slot))
        if known is None:
            known = self._locals[value, slot] = self._choose_local(value, slot)
        return known

    def _choose_local(self, value: int, slot: int) -> Symbol:
        source = self.tape.steps[value - self.tape.leaves].inputs[slot]
        of, by = self.tape.shapes[value], self.tape.shapes[source]
        kind = self._kind(self.notation.local, of)
        at = self.labels.point(value) if self.points or (value, slot) in self._pointed else None
        vec_of, vec_by = self._on_vec(of, by, source)
        if kind == "slot":
            return Symbol(kind, self.labels.layer(value), (), slot + 1, at, vec_of, vec_by)
        layer = self.labels.layer(value)
        name = self._numerator(value) if kind == "∂" else layer
        if kind == "∂" and name == layer and len(self._places_of[layer.key, source]) > 1:
            at = self.labels.point(value)  # the layer's name does not say which of its uses is meant
        return Symbol(kind, name, (self.labels.slot(value, slot),), 0, at, vec_of, vec_by)

    def total(self, of: int, by: tuple[int, ...], label: str = "") -> Symbol:
        """The symbol of d value / d values, as on a left side; ``label`` stands for all variables together."""
        known = self._totals.get((of, by, label))
        if known is None:
            known = self._totals[of, by, label] = self._total(of, by, label)
        return known

    def _total(self, of: int, by: tuple[int, ...], label: str) -> Symbol:
        shapes = self.tape.shapes
        upright = len(by) == 1 and (of, by[0]) in self._upright
        kind = "d" if upright else self._kind(self.notation.total, shapes[of])
        if label:
            return Symbol(kind, self.labels.value(of), (self.labels.name(label),))
        vec_of, vec_by = self._on_vec(shapes[of], shapes[by[0]], by[0]) if len(by) == 1 else (False, False)
        return Symbol(kind, self.labels.value(of), tuple(self.variable(value) for value in by), 0, None, vec_of, vec_by)

    def variable(self, value: int) -> Spelling:
        """What a value is called as a variable; with naming by inputs the slot that it feeds, where that is one."""
        if not self.tape.names[value] and self.labels.naming == "inputs":
            uses = self._slots_of.get(value, [])
            if len(uses) == 1:
                return self.labels.slot(*uses[0])
        return self.labels.value(value)

    @cached_property
    def _slots_of(self) -> dict[int, list[tuple[int, int]]]:
        """The layers' slots that each unnamed value feeds; a sum is not a layer, and makes it count as several."""
        found: dict[int, list[tuple[int, int]]] = {}
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            for slot, source in enumerate(step.inputs):
                if not self.tape.names[source]:
                    found.setdefault(source, []).extend([(value, slot)] * (1 if step.operation == "layer" else 2))
        return found

    def is_transposed(self, symbol: Symbol, node: Map) -> bool:
        """Whether a node is the transpose of what its symbol means; never for a single number."""
        of, by = self.shapes(node)
        if of.is_scalar and by.is_scalar:
            return False
        return node.adjoint is not self._means_adjoint(symbol.kind, of)

    def shapes(self, node: Map) -> tuple[Shape, Shape]:
        """Shapes of what a node with a symbol differentiates, and by what."""
        shapes = self.tape.shapes
        if node.kind == "total":
            return shapes[node.of], shapes[node.by]
        if node.kind == "joint":
            joint = self.derivation.joints[node.of]
            several = Shape("", "")  # neither a scalar nor a matrix
            of, by = (shapes[group[0]] if len(group) == 1 else several for group in (joint.of, joint.by))
            return of, by
        return shapes[node.of], shapes[self.tape.steps[node.of - self.tape.leaves].inputs[node.by]]

    def means_adjoint(self, symbol: Symbol, of: int) -> bool:
        """Whether a left side's symbol already means the adjoint of the Jacobian."""
        return self._means_adjoint(symbol.kind, self.tape.shapes[of])

    def _means_adjoint(self, kind: str, of: Shape) -> bool:
        if kind in ("J", "slot"):
            return False
        return kind == "∇" or self.layout.transposes(of)

    def _kind(self, kind: str, of: Shape) -> str:
        """∇ for a scalar where the notation writes it so; and J for everything that ∇ is not for."""
        if kind in ("∂", "d", "slot"):
            return kind
        return "∇" if of.is_scalar and self.layout.name in self.notation.gradients else "J"

    def _numerator(self, step: int) -> Spelling:
        """What stands on top of a fraction: the value's name, or the layer's where it has none or is called after its input."""
        layer = self.labels.layer(step)
        unclear = step in self._entangled and self.tape.index(layer.key) is None
        if self.tape.names[step] and not unclear and not (self.labels.naming == "inputs" and self.tape.nested):
            return self.labels.value(step)
        if (self.labels.naming == "outputs" and self.tape.nested) or self.tape.index(layer.key) is not None:
            return self.labels.value(step)
        return layer

    @cached_property
    def _entangled(self) -> frozenset[int]:
        """The values whose last layer takes something that stands elsewhere in their equation too: ∂y/∂x could be of all of it."""
        tape = self.tape
        inside: dict[int, frozenset[int]] = {}  # what the equations of values without a name take
        found = set()
        for value, step in enumerate(tape.steps, tape.leaves):
            deep = [inside[source] for source in step.inputs if source in inside]
            if any(not reach.isdisjoint(step.inputs) for reach in deep):
                found.add(value)
            if not tape.names[value]:
                own = [source for source in step.inputs if source not in inside]
                inside[value] = frozenset(own).union(*deep) if len(own) + sum(map(len, deep)) < MAX_INSIDE else frozenset()
        return frozenset(found)

    def _on_vec(self, of: Shape, by: Shape, variable: int) -> tuple[bool, bool]:
        """Which side must be written as a vector, because its table shape would not fit a product."""
        if variable in self.matrix_form:
            return False, False
        return of.is_matrix and by.is_scalar, by.is_matrix and of.is_scalar

    def _tell_apart(self) -> None:
        """Choose points or an upright d where two factors would look the same; refuse where that does not help."""
        used = [(node.of, node.by) for node in self.derivation.maps if node.kind == "partial"]
        if self.tells_places:
            self._pointed.update(
                factor for factor in used if self._local(*factor).kind in ("J", "∇", "slot") and not self._is_once(factor[0])
            )
            self._locals.clear()
        clashing = self._clashes(used)
        if clashing and not self.points:
            self._pointed.update(factor for factor, _ in clashing)
            self._locals.clear()
        for factor, other in self._clashes(factor for factor, _ in clashing):
            layer, held = self.labels.layer(factor[0]).key, self.labels.slot(*factor).key
            slots = f"the slots {min(factor[1], other[1]) + 1} and {max(factor[1], other[1]) + 1} of {layer}"
            raise OptionError(
                f"the notation {self.notation.name} cannot tell {slots} apart: both hold {held}", hint="use the notation slots"
            )
        if self._pointed:
            layers = ", ".join(dict.fromkeys(self.labels.layer(factor[0]).key for factor in self._pointed))
            self.notices.append(f"{layers} is applied more than once: evaluation points tell its derivatives apart")
        self._choose_upright(used)

    def _clashes(self, used: Iterable[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """The factors among ``used`` that look like another one of the tape and are not equal to it, each with that one.

        The same layer in the same slot at the same arguments is the same factor, however many steps apply it.
        """
        steps, leaves = self.tape.steps, self.tape.leaves
        layers = [step.name for step in steps if step.operation == "layer"]
        if len(set(layers)) == len(layers) and all(len(set(step.inputs)) == len(step.inputs) for step in steps):
            return []
        groups: dict[tuple[object, ...], dict[tuple[str, tuple[int, ...], int], tuple[int, int]]] = {}
        for value, step in enumerate(steps, leaves):
            for slot in range(len(step.inputs)) if step.operation == "layer" else ():
                group = groups.setdefault(self._local(value, slot).identity, {})
                group.setdefault((step.name, step.inputs, slot), (value, slot))
        found = []
        for value, slot in used:
            step = steps[value - leaves]
            for meaning, factor in groups[self._local(value, slot).identity].items():
                if meaning != (step.name, step.inputs, slot):
                    found.append(((value, slot), factor))
                    break
        return found

    def _choose_upright(self, used: Sequence[tuple[int, int]]) -> None:
        """Write d where a derivative through the graph would look like the derivative of one layer.

        That can be only where the variable is an argument of the very step, or where layers and values share a name.
        """
        derivation, tape = self.derivation, self.tape
        blocks = [(derivation.output, variable, True, root) for variable, root in zip(derivation.variables, derivation.blocks, strict=True)]
        definitions = [(line.of, line.by, False, line.map) for line in derivation.definitions]
        defined = {line[:2] for line in definitions}
        totals = [(node.of, node.by, False, k) for k, node in enumerate(derivation.maps) if node.kind == "total"]
        totals = [line for line in totals if line[:2] not in defined]
        definitions += totals
        users = Counter(source for step in tape.steps for source in set(step.inputs)) if totals else Counter[int]()
        for of, by, *_ in totals:  # ∂ of a value by its own argument is read as the partial derivative, whatever the name of its layer
            step = tape.step(of)
            if step is not None and by in step.inputs and users[by] > 1:
                self._upright.add((of, by))
        if all(tape.index(name) is None for name in tape.layers()):
            lines = [line for line in (*definitions, *blocks) if (step := tape.step(line[0])) is not None and line[1] in step.inputs]
            outputs = {line[0] for line in lines}
            used = [factor for factor in used if factor[0] in outputs]
        else:
            lines = [*definitions, *blocks]
        local = {self._local(*factor).identity[:-1] for factor in used}
        for of, by, is_block, root in lines:
            if self.total(of, (by,)).identity[:-1] in local and (is_block or not self.is_trivial(of, by, root)):
                self._upright.add((of, by))
                self._totals.pop((of, (by,), ""), None)

    def is_trivial(self, of: int, by: int, root: int) -> bool:
        """Whether a definition only says that a derivative is the factor which looks the same."""
        node = self.derivation.maps[root]
        return node.kind == "partial" and self.symbol(node).identity[:-1] == self.total(of, (by,)).identity[:-1]

    # --- reading ---

    def read(self, text: str) -> Map:
        r"""The node that a written factor means.

        Raises:
            ReadingError: it is no factor of this derivation.

        >>> from jacobian_chain.derivation import derive
        >>> from jacobian_chain.layout import DENOMINATOR
        >>> from jacobian_chain.reading import read_composition
        >>> tape = read_composition(Source("y = f(g(x, t), u)")).tape
        >>> page = Page(derive(tape, 4, [1]), DENOMINATOR, NOTATIONS["jacobian"], Labels(tape, 4, "inputs"), False)
        >>> page.read(r"(J_{t} g)^{\top}")
        Map(kind='partial', of=3, by=1, coefficient=Fraction(1, 1), args=(), adjoint=True, scalar=False)
        """
        tape = self.tape
        fresh = {name.key for name in (*self.labels._values.values(), *self.labels._slots.values())}
        values = {name for name in tape.names if name} | fresh
        program = read_expression(Source(text, "factor"), values, tape.layers(), {*tape.spellings, *fresh})
        root, transposed = len(program.nodes) - 1, False
        while program.nodes[root].kind == "transpose":
            root, transposed = program.nodes[root].args[0], not transposed
        symbol = read_symbol(program, root)
        node = None if symbol is None else self._by_identity.get(symbol.identity)
        if node is None and symbol is not None:
            node = self._read_total(symbol)
        if node is None or symbol is None:
            raise ReadingError(
                f"{text} is no factor of this derivation in the notation {self.notation.name}",
                program.tokens.place(0, len(program.tokens.kinds) - 1),
            )
        of, by = self.shapes(node)
        adjoint = self._means_adjoint(symbol.kind, of) is not transposed
        return node._replace(adjoint=adjoint and not (of.is_scalar and by.is_scalar))

    @cached_property
    def _by_identity(self) -> dict[tuple[object, ...], Map]:
        found = {}
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            if step.operation == "layer":
                for slot in range(len(step.inputs)):
                    node = Map("partial", value, slot)
                    symbol = self.symbol(node)
                    found[symbol.identity] = node
                    if len(step.inputs) == 1 and symbol.at is not None:
                        found[symbol._replace(by=()).identity] = node
        return found

    def _read_total(self, symbol: Symbol) -> Map | None:
        """The derivative of one value by another, as named on paper."""
        if len(symbol.by) != 1 or symbol.slot:
            return None
        named = {
            self.labels.value(value).key: value
            for value in range(len(self.tape.names))
            if self.tape.names[value] or value in self.labels._values
        }
        by = {**named, **{self.variable(value).key: value for value in self._slots_of}}
        of = named.get(symbol.of.key)
        variable = by.get(symbol.by[0].key)
        return None if of is None or variable is None or of < self.tape.leaves else Map("total", of, variable)


def read_symbol(program: Program, root: int) -> Symbol | None:
    r"""The symbol that a tree is, None if it has no such form.

    >>> program = read_expression(Source(r"\frac{\partial x_3}{\partial x_2}"))
    >>> symbol = read_symbol(program, len(program.nodes) - 1)
    >>> symbol.kind, symbol.of.key, symbol.by[0].key
    ('∂', 'x3', 'x2')
    """
    nodes = program.nodes
    node = nodes[root]
    at: tuple[Spelling, ...] | None = None
    if node.kind == "product" and len(node.args) == 2 and nodes[node.args[0]].kind in ("product", "divide"):
        point = nodes[node.args[1]]
        names = [nodes[arg] for arg in point.args] if point.kind == "tuple" else [point]
        bracketed = program.tokens.kinds[point.start] == "("
        if bracketed and all(name.kind == "name" for name in names):
            at = tuple(_spelling(program, name) for name in names)
            node = nodes[node.args[0]]
    if node.kind == "divide":
        return _read_fraction(program, node, at)
    if node.kind != "product" or not all(nodes[arg].kind in ("name", "call") for arg in node.args):
        return None
    operator, of = nodes[node.args[0]], nodes[node.args[1]]
    if operator.kind != "name":
        return None
    head = _spelling(program, operator)
    name, vec_of = _read_vec(program, of)
    if name is None:
        return None
    if head.base == "∂" and head.suffix.isdecimal():
        return Symbol("slot", name, (), int(head.suffix), at, vec_of)
    if head.base not in ("J", "∇", "D"):
        return None
    by, vec_by = _read_variables(program, operator)
    return None if by is None else Symbol("∇" if head.base == "∇" else "J", name, by, 0, at, vec_of, vec_by)


def _read_variables(program: Program, operator: Node) -> tuple[tuple[Spelling, ...] | None, bool]:
    r"""The names below an operator, as in ``J_{x, \theta_1}``, and whether they stand in ``vec``; None for something else."""
    text = program.tokens.source.text[program.tokens.starts[operator.start] : program.tokens.ends[operator.start]]
    _, below, index = text.partition("_")
    if not below:
        return (), False
    index = index.strip()
    if index.startswith("{"):
        index = index[1:-1]
    bare = index.removeprefix(r"\operatorname{vec}")
    if bare != index:
        bare = bare.strip().removeprefix("(").removesuffix(")")
    keys = [read_key(part) for part in split_names(bare)]
    names = tuple(spell(key) for key in keys if key is not None)
    return (names if len(names) == len(keys) else None), bare != index


def _read_fraction(program: Program, node: Node, at: tuple[Spelling, ...] | None) -> Symbol | None:
    found: list[tuple[str, Spelling, bool]] = []
    for arg in node.args:
        side = program.nodes[arg]
        if side.kind != "product" or program.nodes[side.args[0]].value not in ("∂", "d"):
            return None
        name, vec = _read_vec(program, program.nodes[side.args[1]])
        if name is None:
            return None
        found.append((program.nodes[side.args[0]].value, name, vec))
    (kind, of, vec_of), (below, by, vec_by) = found
    return Symbol(kind, of, (by,), 0, at, vec_of, vec_by) if kind == below else None


def _read_vec(program: Program, node: Node) -> tuple[Spelling | None, bool]:
    """A name, or ``vec`` of a name."""
    vec = node.kind == "call" and program.nodes[node.args[0]].value == "vec"
    inner = program.nodes[node.args[1]] if vec else node
    return (_spelling(program, inner) if inner.kind == "name" else None), vec


def _spelling(program: Program, node: Node) -> Spelling:
    return program.tokens.spelling(node.start) if program.tokens.kinds[node.start] == "name" else spell(node.value)
