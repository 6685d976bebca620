"""A composition as something to check answers against: its values, its letters, its true derivatives.

Derivatives are kept as parts, a flat list of sums and products with the chain rule's own structure (one product and one sum for each
value), so that nothing here depends on how :mod:`jacobian_chain.derivation` factors and names.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import UnsupportedError
from jacobian_chain.layout import entries
from jacobian_chain.maps import ONE
from jacobian_chain.tape import Shape, Tape
from jacobian_chain.words import IDENTITY, Alphabet, Letter, Number, Polynomial, add, multiply, scale


class Part(NamedTuple):
    """One node of an expression in letters; children stand before parents.

    ===============  ==========================================================================================
    ``kind``         means
    ===============  ==========================================================================================
    ``letter``       the letter ``value``
    ``number``       the number ``value``
    ``ones``         the number ``value`` added to every entry
    ``zero``         0, of any size
    ``identity``     I, of any size
    ``sum``          of ``args``
    ``product``      of ``args``
    ``transpose``    of ``args[0]``
    ``grid``         blocks; ``value`` is the number of cells of each row
    ``hadamard``     the elementwise product of ``args``
    ``known``        the part ``value`` of the problem
    ``quotient``     the same, where it is a derivative of a number by a number or no derivative
    ``value``        the value ``value``, which ``args[0]`` is in letters
    ``derivative``   the atom ``value``; ``args`` are what it can mean, in numerator layout
    ``name``         ``args[0]``, called by a name
    ===============  ==========================================================================================

    ``start`` and ``end`` are where it stands in the answer as typed (-1 for what stands elsewhere).
    """

    kind: str
    args: tuple[int, ...] = ()
    value: object = 0
    start: int = -1
    end: int = -1


class Problem:
    """A tape with its values and letters numbered, and its derivatives on demand.

    Raises:
        UnsupportedError: the tape has concrete layers.
    """

    def __init__(self, tape: Tape) -> None:
        if not tape.is_abstract:
            raise UnsupportedError("this is no composition of unspecified layers alone")
        self.tape = tape
        self.alphabet = Alphabet()
        self.parts: list[Part] = [Part("identity"), Part("zero")]
        self._polynomials: dict[int, Polynomial] = {0: IDENTITY, 1: {}}
        self._adjoints: dict[tuple[int, bool, frozenset[int]], dict[int, int]] = {}
        self._origins: dict[int, tuple[int, int, bool, frozenset[int]]] = {}  # what derivative a part is
        self._mirrors: dict[int, int] = {}
        self._roots: dict[int, int] = {}
        self._edges: dict[tuple[int, int], int] = {}
        self._ids: dict[tuple[object, ...], int] = {}
        self.shapes: list[Shape] = list(tape.shapes)
        self.vocabularies: dict[str, object] = {}  # kept by those who read answers
        self.suggestions: dict[tuple[object, ...], bool] = {}  # texts that were offered, and whether they were read back as right
        self.blocks: dict[tuple[int, tuple[int, ...], bool], tuple[list[Polynomial], list[Polynomial]]] = {}  # of whole questions
        self._sizes: dict[str, str] = {}  # sizes that are another one
        self.sums: dict[int, list[tuple[int, Fraction]]] = {}  # and sums of values
        self.made: dict[int, tuple[str, tuple[int, ...]]] = {}  # values off the tape: a layer at values
        self.canonical: list[int] = []  # for each value of the tape the first one that is equal to it
        self.applications: dict[str, list[int]] = {}  # the steps of each layer
        for value in range(tape.leaves):
            self.canonical.append(value)
        for value, step in enumerate(tape.steps, tape.leaves):
            key: tuple[object, ...] = (
                step.operation,
                step.name,
                tuple(self.canonical[source] for source in step.inputs),
                step.coefficients,
            )
            alias = step.operation == "sum" and step.coefficients == (ONE,)
            self.canonical.append(self.canonical[step.inputs[0]] if alias else self._ids.setdefault(key, value))
            if step.operation == "layer":
                self.applications.setdefault(step.name, []).append(value)
        self._unite_sizes()

    # --- values ---

    def apply(self, layer: str, inputs: tuple[int, ...]) -> int:
        """The value of a layer at values, on the tape or off it."""
        key = ("layer", layer, inputs, ())
        value = self._ids.get(key)
        if value is None:
            value = self._ids[key] = len(self.shapes)
            self.shapes.append(self.shapes[self.applications[layer][0]])
            self.made[value] = (layer, inputs)
        return value

    def combine(self, terms: dict[int, Number]) -> int:
        """The value of a linear combination of values."""
        if len(terms) == 1:
            ((value, number),) = terms.items()
            if number == 1:
                return value
        wanted = {value: Fraction(number) for value, number in terms.items()}
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            if step.operation == "sum" and len(step.inputs) == len(wanted):
                found = {self.canonical[source]: number for source, number in zip(step.inputs, step.coefficients, strict=True)}
                if found == wanted:
                    return self.canonical[value]
        key = ("sum", "", tuple(sorted(wanted.items())))
        known = self._ids.get(key)
        if known is None:
            known = self._ids[key] = len(self.shapes)
            self.shapes.append(self.shapes[next(iter(terms))])
            self.sums[known] = list(wanted.items())
        return known

    def leaves_of(self, values: Iterable[int]) -> list[int]:
        """The leaves that values are made of, in the order in which an expression would show them."""
        return self.tape.leaves_of(value for value in values if value < len(self.tape.names))

    def is_ancestor(self, one: int, other: int) -> bool:
        """Whether the value ``other`` depends on ``one`` or is it."""
        if one == other:
            return True
        seen = {other}
        stack = [other]
        while stack:
            step = self.tape.step(stack.pop())
            for source in step.inputs if step is not None else ():
                source = self.canonical[source]
                if source == one:
                    return True
                if source > one and source not in seen:
                    seen.add(source)
                    stack.append(source)
        return False

    # --- letters ---

    def partial(self, layer: str, slot: int, inputs: tuple[int, ...]) -> int:
        """The letter of a layer's Jacobian in one slot at values."""
        step = self.applications[layer][0]
        source = self.tape.steps[step - self.tape.leaves].inputs[slot]
        rows, columns = self.size(step), self.size(source)
        return self.alphabet.code(Letter("partial", layer, slot, inputs, rows, columns))

    def foreign(self, layer: str, by: int) -> int:
        """The letter of a layer's derivative by what is none of its arguments: it stands for nothing in the problem."""
        rows, columns = self.size(self.applications[layer][0]), self.size(by)
        return self.alphabet.code(Letter("foreign", layer, 0, (by,), rows, columns))

    def value(self, value: int) -> int:
        """The letter of a value as a column."""
        return self.alphabet.code(Letter("value", "", value, (), self.size(value), "1"))

    def size(self, value: int) -> str:
        """How many entries a value has; what a layer gives has as many wherever it is applied."""
        size = entries(self.shapes[value])
        while size in self._sizes:
            size = self._sizes[size]
        return size

    def _unite_sizes(self) -> None:
        """Find the sizes that must be equal because one layer has them in the same place twice."""
        for steps in self.applications.values():
            first = self.tape.steps[steps[0] - self.tape.leaves].inputs
            for step in steps[1:]:
                inputs = self.tape.steps[step - self.tape.leaves].inputs
                for one, other in [(steps[0], step), *zip(first, inputs, strict=False)]:
                    left, right = self.size(one), self.size(other)
                    if left != right and not (left.isdecimal() and right.isdecimal()):
                        keep, drop = (right, left) if right.isdecimal() else (left, right)
                        self._sizes[drop] = keep

    # --- derivatives ---

    def total(self, of: int, by: int, held: frozenset[int] = frozenset()) -> int:
        """The part that is d of / d by in numerator layout, the values ``held`` taken as variables of their own."""
        return self._named(of, by, False, held)

    def direct(self, of: int, by: int) -> int:
        """The part that is the derivative of the equation of ``of`` by one of its inputs, all other named values held."""
        return self._named(of, by, True, frozenset())

    def _named(self, of: int, by: int, direct: bool, held: frozenset[int]) -> int:
        part = self._sweep(of, direct, held).get(by, 1)
        self._origins.setdefault(part, (of, by, direct, held))
        return part

    def mirror(self, part: int) -> int:
        """The same derivative put together from the variable upwards: ∑ over the inputs of v, (∂ v / ∂ slot) · (d input / d by).

        Read from the right it shares what the other one shares read from the left.
        """
        origin = self._origins.get(part)
        if origin is None or part < 2:
            return part
        known = self._mirrors.get(part)
        if known is None:
            known = self._mirrors[part] = self._climb(*origin)
        return known

    def _climb(self, of: int, by: int, direct: bool, held: frozenset[int]) -> int:
        tape = self.tape
        done: dict[int, int] = {by: 0}
        for value in range(by + 1, of + 1):
            step = tape.step(value)
            if step is None:
                continue
            terms = []
            for slot, source in enumerate(step.inputs):
                stops = source != by and (source in held or (direct and self._is_input(source)))
                if source in done and not stops and (not step.coefficients or step.coefficients[slot]):
                    terms.append(self.add_part("product", (self._edge(value, slot), done[source])))
            if terms:
                done[value] = self.add_part("sum", terms)
        return done.get(of, 1)

    def is_direct(self, of: int, by: int) -> bool:
        """Whether a value stands in the equation of another."""
        return of != by and by in self._sweep(of, True, frozenset())

    def derivatives(self) -> list[tuple[int, int, int]]:
        """All derivatives of an equation's value by one of its inputs: the two values, and the part."""
        found = []
        for value in range(self.tape.leaves, len(self.tape.names)):
            if self._is_input(value):
                for by, part in self._sweep(value, True, frozenset()).items():
                    if by != value and self._is_input(by):
                        found.append((value, by, part))
        return found

    def _sweep(self, of: int, direct: bool, held: frozenset[int]) -> dict[int, int]:
        """The parts d of / d v for every value v: ∑ over the uses of v, (d of / d step) · (∂ step / ∂ slot)."""
        known = self._adjoints.get((of, direct, held))
        if known is not None:
            return known
        tape = self.tape
        terms: dict[int, list[int]] = {}
        done: dict[int, int] = {of: 0}
        for value in range(of, -1, -1):
            if value != of:
                if value not in terms:
                    continue
                done[value] = self.add_part("sum", terms[value])
            if value < tape.leaves or (value != of and (value in held or (direct and self._is_input(value)))):
                continue
            step = tape.steps[value - tape.leaves]
            for slot, source in enumerate(step.inputs):
                if not step.coefficients or step.coefficients[slot]:
                    terms.setdefault(source, []).append(self.add_part("product", (done[value], self._edge(value, slot))))
        self._adjoints[of, direct, held] = done
        return done

    def _is_input(self, value: int) -> bool:
        """Whether an equation takes a value as given: one with a name, and in nested text what a layer gives."""
        step = self.tape.step(value)
        return bool(self.tape.names[value]) or (self.tape.nested and step is not None and step.operation == "layer")

    def _edge(self, value: int, slot: int) -> int:
        """The part of one step's derivative in one slot."""
        known = self._edges.get((value, slot))
        if known is not None:
            return known
        step = self.tape.steps[value - self.tape.leaves]
        if step.operation == "sum":
            part = self._append(Part("number", (), _plain(step.coefficients[slot]))) if step.coefficients[slot] != ONE else 0
        elif step.operation == "layer":
            inputs = tuple(self.canonical[source] for source in step.inputs)
            part = self._append(Part("letter", (), self.partial(step.name, slot, inputs)))
        else:
            part = self.value_root(step.inputs[1 - slot])
        self._edges[value, slot] = part
        return part

    def value_root(self, value: int) -> int:
        """The part that a value of the tape is as a column: sums, multiples and numbers taken apart, all else a letter."""
        known = self._roots
        stack = [value]
        while stack:
            top = stack[-1]
            step = self.tape.step(top)
            inner = step.inputs if step is not None and step.operation in ("sum", "scale") else ()
            waiting = [source for source in inner if source not in known]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            if top in known:
                continue
            if step is None or step.operation == "layer":
                known[top] = self._append(Part("letter", (), self.value(self.canonical[top])))
            elif step.operation == "number":
                known[top] = self._append(Part("number", (), _plain(step.coefficients[0]))) if step.coefficients[0] else 1
            elif step.operation == "scale":
                scalar, array = (known[source] for source in step.inputs)
                known[top] = self.add_part("product", (array, scalar))
            else:
                numbers = [self._append(Part("number", (), _plain(number))) if number else 1 for number in step.coefficients]
                terms = [
                    1 if number == 1 else self.add_part("product", (number, known[source]))
                    for number, source in zip(numbers, inner, strict=True)
                ]
                known[top] = self.add_part("sum", terms)
        return known[value]

    def add_part(self, kind: str, args: Iterable[int]) -> int:
        """A sum or product of parts of the problem."""
        kept = tuple(arg for arg in args if arg != (0 if kind == "product" else 1))
        if len(kept) < 2:
            return kept[0] if kept else (0 if kind == "product" else 1)
        return self._append(Part(kind, kept))

    def _append(self, part: Part) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def polynomial(self, root: int) -> Polynomial:
        """A part of the problem as a sum of words.

        Raises:
            LimitError: it has too many words.
        """
        known = self._polynomials
        if root not in known:
            stack = [root]
            while stack:
                index = stack[-1]
                part = self.parts[index]
                waiting = [arg for arg in part.args if arg not in known]
                if waiting:
                    stack += waiting
                    continue
                stack.pop()
                if index not in known:
                    known[index] = self._compute(part)
        return known[root]

    def _compute(self, part: Part) -> Polynomial:
        if part.kind == "letter":
            assert isinstance(part.value, int)
            return {(part.value,): 1}
        if part.kind == "number":
            assert isinstance(part.value, int | Fraction)
            return scale(IDENTITY, part.value)
        polynomials = [self._polynomials[arg] for arg in part.args]
        if part.kind == "sum":
            return add(polynomials)
        result = polynomials[0]
        for factor in polynomials[1:]:
            result = multiply(result, factor)
        return result


def _plain(number: Fraction) -> Number:
    return number.numerator if number.denominator == 1 else number
