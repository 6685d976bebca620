"""What the names in an answer mean: the problem's own ones, and those that people give to values without a name.

Nested text has no names for its intermediate values. With ``inputs``, x³ is what L³ takes; with ``outputs``, x₃ is what L₃ gives.
"""

from __future__ import annotations

from typing import NamedTuple

from jacobian_chain.names import family
from jacobian_chain.notation import Labels
from jacobian_chain.problem import Problem
from jacobian_chain.tokens import Spelling

NAMINGS = ("inputs", "outputs")

MAX_KNOWN = 1000
"""Most prefixes whose members are kept."""

OPERATORS = frozenset({"J", "D", "∇", "∂", "d"})
"""Letters that differentiate what follows them, where the problem has no such name."""


class Meaning(NamedTuple):
    """What a name stands for: ``kind`` is ``value`` (of the tape or off it), ``layer``, ``part`` (of the answer) or ``number``."""

    kind: str
    of: object


class Vocabulary:
    """The names of one problem under one naming.

    Attributes:
        naming: ``inputs`` or ``outputs``.
        values: the value of each name.
        layers: names of layers.
        groups: names that stand for several values.
        slots: for each step of a layer, the names by which each of its arguments may go.
    """

    def __init__(self, problem: Problem, naming: str) -> None:
        tape = problem.tape
        self.problem = problem
        self.naming = naming
        self.layers = frozenset(problem.applications)
        self.groups = dict(tape.groups)
        self._families: dict[str, tuple[int, ...]] = {}
        self.values = {name: value for value, name in enumerate(tape.names) if name}
        outputs = tape.outputs()
        self.labels = Labels(tape, outputs[0] if outputs else len(tape.names) - 1, naming)
        self._fresh: dict[str, str] = {}  # index of a fresh name to the name
        extra: dict[str, int] = {}
        taken = {source for step in tape.steps if step.operation == "layer" for source in step.inputs}
        for value, step in enumerate(tape.steps, tape.leaves):
            if step.operation != "layer":
                continue
            names = [self.labels.slot(value, slot).key for slot in range(len(step.inputs))]
            for name, source in zip(names, step.inputs, strict=True):
                self.values.setdefault(name, source)
            if naming == "outputs" or value not in taken:
                self.values.setdefault(self.labels.value(value).key, value)
            if tape.nested:
                self._name_by_layer(value, extra)
        for name, value in extra.items():
            self.values.setdefault(name, value)
        self._letter = self.labels.letter
        self._bases = {_base(spelling) for spelling in tape.spellings.values()} | {self._letter}
        self.slots: dict[int, tuple[frozenset[str], ...]] = {}
        by_value: dict[int, set[str]] = {}
        for name, value in self.values.items():
            by_value.setdefault(value, set()).add(name)
        for steps in problem.applications.values():
            for step_value in steps:
                step = tape.steps[step_value - tape.leaves]
                self.slots[step_value] = tuple(frozenset(by_value.get(source, ())) for source in step.inputs)

    def _name_by_layer(self, value: int, extra: dict[str, int]) -> None:
        """Names after the index of a layer that the text did not need: x¹ for the input of L¹, x₃ for the value of L₃, x₀ for x."""
        tape, labels = self.problem.tape, self.labels
        step = tape.steps[value - tape.leaves]
        index = labels.layer(value).suffix
        if not index.isdecimal() or len(index) > 9:
            return
        unnamed = [source for source in step.inputs if not tape.names[source]]
        main = unnamed[0] if len(unnamed) == 1 else step.inputs[0]
        if self.naming == "inputs":
            extra.setdefault(labels.letter + index, main)
        else:
            extra.setdefault(labels.letter + index, value)
            if main < tape.leaves:
                extra.setdefault(labels.letter + str(int(index) - 1), main)

    def find(self, spelling: Spelling) -> int | None:
        """The value that a name stands for; a letter that the problem does not use may take the place of the usual one."""
        value = self.values.get(spelling.key)
        if value is None and self.problem.tape.nested and len(_base(spelling)) == 1 and _base(spelling) not in self._bases:
            return self.values.get(self._letter + spelling.suffix) if spelling.suffix else None
        return value

    def members(self, key: str) -> tuple[int, ...]:
        """The values that a group's name or a prefix (θ for θ1, θ2, …) stands for, none if it is no such name."""
        group = self.groups.get(key) or self._families.get(key)
        if group is None:
            tape = self.problem.tape
            group = tuple(self.values[name] for name in family(key, tape.names[: tape.leaves], tape.spellings))
            if len(self._families) < MAX_KNOWN:
                self._families[key] = group
        return group


def _base(spelling: Spelling) -> str:
    return spelling.base + spelling.accent
