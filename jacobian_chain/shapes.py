"""Shape inference over a tape: what a sum joins has one shape; what stays open is assumed from the names.

Undeclared: the output of a layer called ℓ, l, loss, J, C or cost that only feeds sums nobody uses is a scalar, an upper-case
name is a matrix, everything else a column. Dimensions that nothing fixes are fresh symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jacobian_chain.errors import Place, ReadingError
from jacobian_chain.names import base_of
from jacobian_chain.tape import SCALAR, Shape, Step
from jacobian_chain.tokens import Spelling

LOSSES = frozenset({"ℓ", "l", "loss", "J", "C", "cost"})
"""Names of functions whose unused output is a scalar."""


def infer_shapes(
    names: Sequence[str],
    leaves: int,
    steps: Sequence[Step],
    declared: dict[str, Shape],
    spellings: dict[str, Spelling],
    place: Callable[[int], Place | None],
) -> tuple[tuple[Shape, ...], tuple[bool, ...]] | None:
    """The shape of every value, and for each whether it was declared or forced; None where a sum joins different ranks.

    Args:
        names: of the values, leaves first.
        leaves: how many values are leaves.
        steps: of the tape.
        declared: shapes that the text declares.
        spellings: of the names.
        place: where the step that computes a value stands in the text.

    Raises:
        ReadingError: two shapes do not fit; both are named.

    >>> steps = [Step("layer", "f", (0,)), Step("sum", "", (0, 1))]
    >>> infer_shapes(["x", "", "y"], 1, steps, {"x": Shape("n", "2")}, {}, lambda value: None)
    ((Shape(rows='n', columns='2'), Shape(rows='n', columns='2'), Shape(rows='n', columns='2')), (True, True, True))
    """
    size = len(names)
    parent = list(range(size))
    fixed: list[Shape | None] = [declared.get(name) for name in names]
    witness = list(range(size))  # the value that fixed the shape of a class

    def find(value: int) -> int:
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    def describe(value: int, shape: Shape) -> str:
        step = steps[value - leaves] if value >= leaves else None
        what = names[value] or (f"the output of {step.name}" if step is not None and step.name else "this value")
        kind = "a scalar" if shape.is_scalar else f"{shape.rows} x {shape.columns}" if shape.is_matrix else f"a column of {shape.rows}"
        return f"{what} is {kind}"

    def unify(one: int, other: int, value: int) -> bool:
        """Make the shapes of two values one, in the sum that gives a value; whether their ranks agree."""
        first, second = find(one), find(other)
        if first == second:
            return True
        here, there = fixed[first], fixed[second]
        if here is not None and there is not None and here != there:
            if here.is_scalar != there.is_scalar or here.is_matrix != there.is_matrix:
                return False
            texts = f"{describe(witness[first], here)}, {describe(witness[second], there)}"
            raise ReadingError(f"shapes do not fit in this sum: {texts}", place(value))
        keep, drop = (second, first) if here is None else (first, second)
        parent[drop] = keep
        return True

    def is_number(value: int) -> bool:
        return value >= leaves and steps[value - leaves].operation == "number"

    for value, step in enumerate(steps, leaves):
        if step.operation == "sum":
            members = [source for source in step.inputs if not is_number(source)]
            for member in members[1:]:
                if not unify(members[0], member, value):
                    return None
            if members and not unify(value, members[0], value):
                return None
        elif step.operation == "scale":
            if fixed[find(step.inputs[0])] is None:
                fixed[find(step.inputs[0])] = SCALAR
            if not unify(value, step.inputs[1], value):
                return None
        elif step.operation == "number" and fixed[value] is None:
            fixed[value] = SCALAR
    closed = tuple(fixed[find(value)] is not None for value in range(size))
    if not _assume(names, leaves, steps, fixed, find, declared, spellings):
        return None
    shapes = []
    for value in range(size):
        shape = fixed[find(value)]
        assert shape is not None, "every class of values has got a shape"
        shapes.append(shape)
    return tuple(shapes), closed


def _assume(
    names: Sequence[str],
    leaves: int,
    steps: Sequence[Step],
    fixed: list[Shape | None],
    find: Callable[[int], int],
    declared: dict[str, Shape],
    spellings: dict[str, Spelling],
) -> bool:
    """Fill in what is open, class by class; whether no sum joins a column and a matrix."""
    used: set[int] = set()
    losses: set[int] = set()
    for value, step in enumerate(steps, leaves):
        if step.operation == "layer":
            used.update(find(source) for source in step.inputs)
        if step.operation == "layer" and (step.name in LOSSES or base_of(step.name, spellings) in LOSSES):
            losses.add(find(value))
    taken = dict.fromkeys((dimension for shape in fixed if shape is not None for dimension in shape), 1)
    upper: set[int] = set()
    wide: set[int] = set()  # those that a leaf makes a matrix
    first: dict[int, int] = {}
    for value, name in enumerate(names):
        root = find(value)
        if fixed[root] is None:
            first.setdefault(root, value)
            if name and base_of(name, spellings)[:1].isupper():
                upper.add(root)
                if value < leaves:
                    wide.add(root)
    if upper or any(shape is not None and shape.is_matrix for shape in fixed):
        for value in range(leaves):
            root = find(value)
            shape = fixed[root]
            is_wide = root in wide if shape is None else shape.is_matrix
            if is_wide and names[value] not in declared and not base_of(names[value], spellings)[:1].isupper():
                return False
    for root, value in first.items():
        name = names[value] or steps[value - leaves].name or str(value)
        if root in losses and root not in used:
            fixed[root] = SCALAR
        elif root in upper:
            fixed[root] = Shape(fresh_symbol("m", name, taken), fresh_symbol("n", name, taken))
        else:
            fixed[root] = Shape(fresh_symbol("n", name, taken), "1")
    return True


PLUS = "⁺"
"""A plus sign in the name of a dimension, where + adds dimensions up."""


def fresh_symbol(letter: str, name: str, taken: dict[str, int]) -> str:
    """A symbol for a dimension that no declaration uses; ``taken`` counts how often each was asked for."""
    name = name.replace("+", PLUS)
    symbol = f"{letter}_{name}"
    while symbol in taken:
        taken[symbol] += 1
        symbol = f"{letter}_{name}_{taken[symbol]}"
    taken[symbol] = 1
    return symbol
