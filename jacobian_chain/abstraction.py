r"""Concrete layers seen as layers: each equation, and each use of a layer with a definition, one factor of the chain rule.

What a factor is, is spelled out beside the product: ``\frac{\partial h}{\partial z} = \operatorname{diag}(1 - h \odot h)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jacobian_chain.tape import ABSTRACT, Step, Tape


class Abstraction(NamedTuple):
    """A tape of layers alone.

    Attributes:
        tape: the layers.
        values: the value of the concrete tape that each of its values is.
        invented: those of its values that got a name because a layer without a definition takes them.
    """

    tape: Tape
    values: tuple[int, ...]
    invented: tuple[int, ...]


def abstract(tape: Tape) -> Abstraction:
    """The tape in which every equation with a concrete operation is one layer of what stands in it.

    Layers without a definition, their sums and multiples stay; a use of a layer with a definition is a layer of that name.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> found = abstract(read_composition(Source("h = tanh(W x); y = g(h)")).tape)
    >>> [(step.operation, step.name, step.inputs) for step in found.tape.steps]
    [('layer', 'h', (0, 1)), ('layer', 'g', (2,))]
    """
    calls = {value: (name, inputs) for value, name, inputs in tape.calls}
    concrete = [False] * len(tape.names)  # whether something concrete stands in a value as it is written
    for value, step in enumerate(tape.steps, tape.leaves):
        inside = [source for source in step.inputs if source >= tape.leaves and not tape.names[source] and source not in calls]
        concrete[value] = step.operation not in ABSTRACT or (step.operation != "layer" and any(concrete[source] for source in inside))
    alone, taken = _stand_alone(tape, concrete, calls)
    kept = list(range(tape.leaves))
    number = {value: value for value in kept}
    steps: list[Step] = []
    for value, step in enumerate(tape.steps, tape.leaves):
        if not alone[value]:
            continue
        if value in calls:
            name, inputs = calls[value]
            made = Step("layer", name, tuple(number[source] for source in inputs)) if all(source in number for source in inputs) else None
        elif not concrete[value] or step.operation == "layer":
            made = step._replace(inputs=_renumber(step, number)) if all(source in number for source in step.inputs) else None
        else:
            made = None
        if made is None:
            made = Step("layer", tape.names[value] or step.name, tuple(number[source] for source in _inputs(tape, value, number)))
        number[value] = len(kept)
        kept.append(value)
        steps.append(made)
    names = _invent(tape, kept, taken)
    shapes = tuple(tape.shapes[value] for value in kept)
    declared = tuple(tape.declared[value] for value in kept)
    layers = tuple(
        step._replace(name=names[number[value]]) if step.operation == "layer" and not step.name else step
        for value, step in zip(kept[tape.leaves :], steps, strict=True)
    )
    invented = tuple(number[value] for value in sorted(taken) if not tape.names[value])
    whole = Tape(tape.leaves, tuple(names), layers, shapes, tape.groups, declared, tape.nested, tape.spellings)
    return Abstraction(whole, tuple(kept), invented)


def _invent(tape: Tape, kept: Sequence[int], taken: Collection[int]) -> list[str]:
    """The names of the kept values, made up for those in ``taken`` that have none."""
    used = {*tape.names, *tape.spellings, *tape.layers(), *(name for name, _ in tape.groups)}
    names = []
    for value in kept:
        name = tape.names[value]
        if not name and value in taken:
            letter = "U" if tape.shapes[value].is_matrix else "u"
            name = next(key for key in itertools.chain((letter,), (f"{letter}{k}" for k in itertools.count(1))) if key not in used)
            used.add(name)
        names.append(name)
    return names


def _stand_alone(tape: Tape, concrete: list[bool], calls: Collection[int]) -> tuple[list[bool], set[int]]:
    """Which values are values of the abstraction, and which of them are concrete and taken by a layer without a definition.

    Values of the abstraction are named ones, what layers give and take, and the sums and multiples that these are written with.
    """
    found = [bool(name) for name in tape.names]
    taken: set[int] = set()
    for value in range(len(tape.names) - 1, tape.leaves - 1, -1):
        step = tape.steps[value - tape.leaves]
        found[value] = found[value] or value in calls or step.operation == "layer"
        if step.operation == "layer":
            for source in step.inputs:
                found[source] = True
                if concrete[source] and source not in calls and tape.steps[source - tape.leaves].operation != "layer":
                    taken.add(source)
        elif found[value] and not concrete[value]:
            for source in step.inputs:
                found[source] = found[source] or not concrete[source]
    return found, taken


def _renumber(step: Step, number: dict[int, int]) -> tuple[int, ...]:
    return tuple(number[source] for source in step.inputs)


def _inputs(tape: Tape, value: int, number: dict[int, int]) -> list[int]:
    """The kept values that a value is made of, in the order in which they are written."""
    found: dict[int, None] = {}
    seen = {value}
    stack = list(reversed(tape.steps[value - tape.leaves].inputs))
    while stack:
        source = stack.pop()
        if source in number:
            found.setdefault(source)
        elif source not in seen:
            seen.add(source)
            step = tape.step(source)
            assert step is not None, "leaves are kept"
            stack.extend(reversed(step.inputs))
    return list(found)
