"""A composition as a flat tape of single-assignment steps.

Values are numbered: the leaves first, then one for each step, in an order in which every step comes after its inputs. No
nesting anywhere: ``L2(L1(x, θ1), θ2)`` is two steps. Names are keys (see :mod:`jacobian_chain.tokens`); a value that the text
does not name has the empty name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.tokens import Spelling


class Shape(NamedTuple):
    """Rows and columns, each a number or a symbol, as text; a column has one column, a scalar is 1 by 1."""

    rows: str
    columns: str

    @property
    def is_scalar(self) -> bool:
        """Whether there is a single entry."""
        return self == SCALAR

    @property
    def is_matrix(self) -> bool:
        """Whether there is more than one column."""
        return self.columns != "1"

    def __str__(self) -> str:
        if self.is_scalar:
            return "scalar"
        return f"{self.rows} x {self.columns}" if self.is_matrix else self.rows


SCALAR = Shape("1", "1")

ABSTRACT = frozenset({"layer", "sum", "scale", "number"})
"""Operations that compositions of unspecified layers are made of."""


class Step(NamedTuple):
    """One assignment, of what ``operation`` makes of the inputs u, v, …; the value's shape is beside it on the tape.

    ``layer``     an opaque differentiable map called ``name``
    ``sum``       c₁ u + c₂ v + … with the numbers ``coefficients``; an input that is a ``number`` is added to every entry
    ``scale``     the scalar u times v
    ``number``    the constant ``coefficients[0]``, no inputs
    ``constant``  π or e, by ``name``;  ``dimension``  the size called ``name``, as a number
    ``ones``, ``zeros``, ``identity``  of the value's shape;  ``unit``  the column e_i, with i in ``coefficients``
    ``product``   of matrices;  ``hadamard``  entry by entry, of two or more of one shape
    ``power``     every entry to the power ``coefficients[0]``
    ``apply``     the function ``name`` at every entry; with ``coefficients`` (k,) its k-th derivative
    ``transpose``, ``inverse``, ``trace``, ``det``;  ``logdet``  log |det u|
    ``sqnorm``    Σ u²;  ``norm1``  Σ |u|;  ``logsumexp``  log Σ exp u
    ``softmax``   of each column or each row, as ``name`` says: ``columns``, ``rows``
    ``CE``        -Σ v log u
    ``layernorm`` (u - mean) / √variance of a column
    ``diag``      the diagonal matrix of a column;  ``diagonal``  the diagonal of a matrix as a column
    ``vec``       the columns below each other;  ``reshape``  its inverse;  ``kron``  the Kronecker product
    ``beside``, ``below``  blocks in one row, in one column
    """

    operation: str
    name: str
    inputs: tuple[int, ...]
    coefficients: tuple[Fraction, ...] = ()


@dataclass(frozen=True)
class Tape:
    """A composition. Equal tapes are the same composition, however it was typed.

    Attributes:
        leaves: how many values are leaves; value ``leaves + k`` is computed by ``steps[k]``.
        names: the name of each value, empty where the text gives none.
        steps: the assignments in order.
        shapes: the shape of each value.
        groups: names that stand for several leaves, such as θ = (θ1, θ2).
        declared: for each value, whether its shape was declared or forced rather than assumed.
        nested: whether the text was one expression rather than equations.
        spellings: how each name was first typed.
        facts: what is known of values: (value, ``symmetric`` | ``label`` | ``free``), in order.
        functions: the elementwise functions that the text defines, each a tape of scalars from its one leaf to its last value.
        calls: values that a layer with a definition gives, with its name and the values it is applied to.
    """

    leaves: int
    names: tuple[str, ...]
    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()
    declared: tuple[bool, ...] = field(default=(), compare=False)
    nested: bool = field(default=False, compare=False)
    spellings: Mapping[str, Spelling] = field(default_factory=dict, compare=False, repr=False)
    facts: tuple[tuple[int, str], ...] = ()
    functions: tuple[tuple[str, Tape], ...] = ()
    calls: tuple[tuple[int, str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        size = self.leaves + len(self.steps)
        if len(self.names) != size or len(self.shapes) != size:
            raise ValueError("a tape has one name and one shape for each value")
        named = [name for name in self.names if name]
        if len(set(named)) != len(named) or not all(self.names[: self.leaves]):
            raise ValueError("every leaf has a name, and no two values share one")
        for k, step in enumerate(self.steps, self.leaves):
            if step.inputs and not (min(step.inputs) >= 0 and max(step.inputs) < k):
                raise ValueError(f"step {k} uses a value that is not computed before it")

    def step(self, value: int) -> Step | None:
        """The step that computes a value, None for a leaf."""
        return self.steps[value - self.leaves] if value >= self.leaves else None

    def index(self, name: str) -> int | None:
        """The value that bears a name, None if none does."""
        return self._values.get(name)

    @property
    def _values(self) -> dict[str, int]:
        values: dict[str, int] | None = self.__dict__.get("_by_name")
        if values is None:
            values = {name: value for value, name in enumerate(self.names) if name}
            self.__dict__["_by_name"] = values
        return values

    def outputs(self) -> list[int]:
        """The values of steps that no other step uses."""
        used = bytearray(len(self.names))
        for step in self.steps:
            for value in step.inputs:
                used[value] = 1
        return [value for value in range(self.leaves, len(self.names)) if not used[value]]

    def needed_for(self, value: int) -> set[int]:
        """The values that a value is computed from, and itself."""
        needed = {value}
        for later in range(value, self.leaves - 1, -1):
            if later in needed:
                needed.update(self.steps[later - self.leaves].inputs)
        return needed

    def leaves_of(self, values: Iterable[int]) -> list[int]:
        """The leaves that values are made of, in the order in which an expression would show them."""
        found: dict[int, None] = {}
        seen: set[int] = set()
        stack = list(values)[::-1]
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            step = self.step(value)
            if step is None:
                found.setdefault(value)
            else:
                stack.extend(reversed(step.inputs))
        return list(found)

    @property
    def is_abstract(self) -> bool:
        """Whether nothing but opaque layers, their sums and multiples occurs."""
        return all(step.operation in ABSTRACT for step in self.steps)

    @property
    def is_of_layers(self) -> bool:
        """Whether it is abstract and has a layer, so that a derivative is a product of layers' Jacobians."""
        return self.is_abstract and any(step.operation == "layer" for step in self.steps)

    def layers(self) -> set[str]:
        """Names of the opaque layers."""
        return {step.name for step in self.steps if step.operation == "layer"}
