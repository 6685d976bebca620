"""What a Jacobian costs: multiplications and memory of each block by itself, backpropagation, forward mode and the best bracketing.

The model is that of :mod:`jacobian_chain.workload`: a product of an m x k and a k x n matrix takes m k n multiplications; additions,
constants and the values of functions are not counted. Memory is the most numbers that are held at once: the computed values of the
forward sweep that the derivative needs (all of them throughout, but in forward mode each only until it is used up), every
intermediate matrix from the operation that makes it to the last that needs it, and finished blocks to the end. The variables
themselves and local Jacobians, which are made where they are used, take no room.

==================== ==================================================================================================
block by block       each block with the adjoints that it needs, from the output's side; nothing is kept for the next block
backpropagation      every adjoint once, in the order of the shared lines
forward mode         the tangents of every value by every variable, carried along
best bracketing      each block by itself, its product in the cheapest bracketing and sums within it made first; where that is
                     dearer, from the output's side or, through concrete layers with an output of several entries, forwards
==================== ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from jacobian_chain.array_plans import ArrayPlan, plan_directions, plan_gradients
from jacobian_chain.article import Article, Math, Paragraph, Part, Prose, Table
from jacobian_chain.derivation import derive
from jacobian_chain.dimensions import PARAMETER, USUAL, choose_sizes, given_sizes
from jacobian_chain.formats import write_article
from jacobian_chain.layer_plans import Entries, plan_backward, plan_bracketed, plan_forward
from jacobian_chain.notation import Labels, Symbol
from jacobian_chain.pasting import JUPYTER, write_markdown
from jacobian_chain.shapes import PLUS
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import spell
from jacobian_chain.workload import MAX_FACTORS, Plan, Work, alone
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

FEW = 6
"""Most blocks that have a row each."""

MOST_NAMED = 2
"""How many adjoints the sentence on recomputation names."""

MOST_SIZES = 12
"""How many sizes are listed."""


class Recomputed(NamedTuple):
    """An adjoint that block by block is computed several times: the value, how often, and what it takes each time."""

    value: int
    times: int
    multiplications: int


class Row(NamedTuple):
    """One row of the table: a way of computing, the block that it is for (-1 for all), what it takes, and that against backpropagation."""

    way: str
    variable: int
    work: Work
    factor: float


class Cost(NamedTuple):
    """What the blocks of a Jacobian take.

    Attributes:
        tape: the composition.
        output: the value that is differentiated.
        variables: the values that it is differentiated by.
        sizes: the number of each symbol in a shape.
        given: the symbols whose number was given.
        blocks: each block by itself.
        block_by_block: all of them, one after another.
        backpropagation: with every adjoint once.
        forward: forward mode.
        best: each block in its best bracketing.
        recomputed: the adjoints that block by block are computed several times, dearest first.
        applied: to how many entries backpropagation applies functions and their slopes, which is not counted.
        uncounted: other operations that are not counted, by name.
        unsearched: how many products have too many factors for the search of the best bracketing.
        concrete: whether derivatives are spelled out rather than products of local Jacobians.
    """

    tape: Tape
    output: int
    variables: tuple[int, ...]
    sizes: dict[str, int]
    given: frozenset[str]
    blocks: tuple[Work, ...]
    block_by_block: Work
    backpropagation: Work
    forward: Work
    best: Work
    recomputed: tuple[Recomputed, ...]
    applied: int
    uncounted: tuple[str, ...]
    unsearched: int
    concrete: bool

    @property
    def table(self) -> tuple[Row, ...]:
        """The rows of the table; few blocks have one each."""
        base = self.backpropagation.multiplications

        def row(way: str, work: Work, variable: int = -1) -> Row:
            factor = work.multiplications / base if base else 1.0 if not work.multiplications else float("inf")
            return Row(way, variable, work, factor)

        blocks = zip(self.variables, self.blocks, strict=True)
        single = [row("block", work, variable) for variable, work in blocks] if 1 < len(self.blocks) <= FEW else []
        return (
            *single,
            row("block by block", self.block_by_block),
            row("backpropagation", self.backpropagation),
            row("forward mode", self.forward),
            row("best bracketing", self.best),
        )

    def __str__(self) -> str:
        return write_article(Article((), describe_cost(self, TextWriter()), "text"), "unicode")

    def _repr_markdown_(self) -> str:
        return write_markdown(Article((), describe_cost(self, LatexWriter())), JUPYTER)


def estimate_cost(tape: Tape, output: int, variables: Sequence[int], given: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> Cost:
    """What the blocks of d output / d variables take; a variable that is an intermediate value is held free.

    Args:
        tape: the composition.
        output: the value to differentiate.
        variables: values to differentiate by.
        given: sizes by name, see :func:`jacobian_chain.dimensions.choose_sizes`.

    Raises:
        OptionError: a size is not one of the composition's.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("x1 = f1(x, θ1); x2 = f2(x1, θ2); L = ℓ(x2)")).tape
    >>> cost = estimate_cost(tape, 5, [1, 2], {"x1": 10, "x2": 20, "θ1": 300, "θ2": 400})
    >>> [work.multiplications for work in (*cost.blocks, cost.block_by_block, cost.backpropagation)]
    [3200, 8000, 11200, 11200]
    """
    pairs = list(given.items() if isinstance(given, Mapping) else given)
    sizes = choose_sizes(tape, pairs)
    fixed = frozenset(symbol for symbol, number in given_sizes(tape, pairs).items() if number)
    entries = Entries(tape, sizes)
    if tape.is_of_layers:
        return _of_layers(tape, output, tuple(variables), sizes, fixed, entries)
    cost = _of_arrays(name_products(tape), output, tuple(variables), sizes, fixed, entries)
    return cost._replace(tape=tape, recomputed=tuple(found for found in cost.recomputed if tape.names[found.value]))


def name_products(tape: Tape) -> Tape:
    """The same composition with a name for every product of matrices: it is computed once, and so is its adjoint."""
    names = list(tape.names)
    for value, step in enumerate(tape.steps, tape.leaves):
        if step.operation == "product" and not names[value] and not tape.shapes[value].is_scalar:
            names[value] = f"product {value}"  # no text has such a name
    return replace(tape, names=tuple(names))


class _Blocks(NamedTuple):
    """What the blocks of a backward plan take by themselves and one after another."""

    each: tuple[Work, ...]
    all: Work
    recomputed: tuple[Recomputed, ...]


def _by_themselves(plan: Plan, roots: Sequence[int], adjoints: Mapping[int, int], kept: int, variables: Sequence[int]) -> _Blocks:
    """Each block by itself; ``kept`` numbers are there throughout."""
    present = [root for root in roots if root >= 0]
    single = alone(plan, present)
    nothing = Work(0, 0)
    each = [single.work[root] if root >= 0 else nothing for root in roots]
    visits = single.visits(present)
    recomputed = []
    ends = frozenset(adjoints.values())
    for value, made in adjoints.items():
        own = plan.count(plan.reach([made], ends))
        if value not in variables and visits[made] > 1 and own:
            recomputed.append(Recomputed(value, visits[made], own))
    recomputed.sort(key=lambda found: -(found.times - 1) * found.multiplications)
    whole = _one_after_another(each, [plan.held(root) if root >= 0 else 0 for root in roots], kept)
    return _Blocks(tuple([work._replace(memory=kept + work.memory) for work in each]), whole, tuple(recomputed))


def _one_after_another(each: Sequence[Work], results: Sequence[int], kept: int) -> Work:
    """What blocks take one after another, when their results are held to the end."""
    held = most = 0
    for work, result in zip(each, results, strict=True):
        most = max(most, held + work.memory)
        held += result
    return Work(sum(work.multiplications for work in each), kept + most)


def _cheaper(own: Sequence[Work | None], others: Sequence[Work]) -> list[Work]:
    """Of each block the way with fewer multiplications."""
    return [other if one is None or other.multiplications <= one.multiplications else one for one, other in zip(own, others, strict=True)]


def _of_layers(tape: Tape, output: int, variables: tuple[int, ...], sizes: dict[str, int], given: frozenset[str], entries: Entries) -> Cost:
    """The cost of products of local Jacobians."""
    backward = plan_backward(derive(tape, output, variables, shared=True), entries)
    kept = sum(entries.of[value] for value in backward.values)
    blocks = _by_themselves(backward.plan, backward.roots, backward.adjoints, kept, variables)
    shared = backward.plan.together([root for root in backward.roots if root >= 0])
    pushed = plan_forward(tape, output, variables, entries)
    forward = _in_order(pushed.plan, pushed.tangent.made)
    bracketed = plan_bracketed(derive(tape, output, variables, limit=_UNLIMITED), entries)
    single = alone(bracketed.plan, [root for root in bracketed.roots if root >= 0]).work
    each = [work._replace(memory=work.memory - kept) for work in blocks.each]
    best = _cheaper([single[root] if root >= 0 else None for root in bracketed.roots], each)
    results = [backward.plan.held(root) if root >= 0 else 0 for root in backward.roots]
    return Cost(
        tape, output, variables, sizes, given, blocks.each, blocks.all, shared._replace(memory=kept + shared.memory), forward,
        _one_after_another(best, results, kept), blocks.recomputed, 0, (), bracketed.unsearched, False,
    )  # fmt: skip


_UNLIMITED = 1 << 62


def _of_arrays(tape: Tape, output: int, variables: tuple[int, ...], sizes: dict[str, int], given: frozenset[str], entries: Entries) -> Cost:
    """The cost of derivatives that are spelled out."""
    backward = plan_gradients(tape, output, variables, entries, sizes)
    kept = sum(entries.of[value] for value in backward.values)
    blocks = _by_themselves(backward.plan, backward.roots, backward.adjoints, kept, variables)
    shared = backward.plan.together([root for root in backward.roots if root >= 0])
    pushed = plan_directions(tape, output, variables, entries, sizes)
    forward = _in_order(pushed.plan, pushed.roots[0])
    written = plan_gradients(tape, output, variables, entries, sizes, named=False)
    each = [work._replace(memory=work.memory - kept) for work in blocks.each]
    best = _cheaper(_alone(written), each)
    if entries.of[output] > 1 and len(variables) <= FEW:
        single = [plan_directions(tape, output, (variable,), entries, sizes) for variable in variables]
        best = _cheaper([_values_known(found) for found in single], best)
    results = [backward.plan.held(root) if root >= 0 else 0 for root in backward.roots]
    return Cost(
        tape, output, variables, sizes, given, blocks.each, blocks.all, shared._replace(memory=kept + shared.memory), forward,
        _one_after_another(best, results, kept), blocks.recomputed, backward.applied, backward.uncounted,
        backward.plan.unsearched + written.plan.unsearched + written.skipped, True,
    )  # fmt: skip


def _alone(found: ArrayPlan) -> list[Work | None]:
    """Each root by itself."""
    single = alone(found.plan, [root for root in found.roots if root >= 0]).work
    return [single[root] if root >= 0 else None for root in found.roots]


def _values_known(found: ArrayPlan) -> Work | None:
    """A forward plan of one variable, the values being known."""
    (root,) = found.roots
    if root < 0:
        return None
    order = [index for index in found.plan.reach([root]) if found.plan.operations[index].kind != "value"]
    return found.plan.together([root], order)


def _in_order(plan: Plan, root: int) -> Work:
    """A whole plan, one operation after another."""
    return plan.together([root] if root >= 0 else [], range(len(plan.operations)))


# --- in words ---


def describe_cost(cost: Cost, writer: Writer) -> tuple[Part, ...]:
    """The table of a cost and what it says: the sizes, the recomputation in numbers, and the model."""
    labels = Labels(cost.tape, cost.output, "inputs" if cost.tape.nested else "outputs")
    names = {
        "block by block": "block by block, nothing shared",
        "backpropagation": "backpropagation, each adjoint once",
        "forward mode": "forward mode",
        "best bracketing": "each block in its best bracketing",
    }
    rows = []
    for row in cost.table:
        name: Prose = (names[row.way],) if row.way in names else (Math(_symbol(cost, row.variable, labels, writer)), " by itself")
        rows.append((name, (_number(row.work.multiplications),), (_number(row.work.memory),), (_factor(row.factor),)))
    header: tuple[Prose, ...] = (("way",), ("multiplications",), ("numbers held at once",), ("against backpropagation",))
    found: list[Part] = [Table(("Cost with ", *_sizes(cost, writer)), header, tuple(rows))]
    found.append(Paragraph(_recomputation(cost, labels, writer)))
    found.append(Paragraph((_model(cost),)))
    return tuple(found)


def _symbol(cost: Cost, value: int, labels: Labels, writer: Writer) -> str:
    """The derivative of the output by a value."""
    kind = "J" if cost.tape.nested and not cost.concrete else "∂"
    return writer.symbol(Symbol(kind, labels.value(cost.output), (labels.value(value),)))


def _number(count: int) -> str:
    return f"{count:,}"


def _factor(factor: float) -> str:
    return f"{factor:.2f}" if factor < 10 else f"{factor:,.0f}" if factor < float("inf") else "∞"


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count:,} times"


def _sizes(cost: Cost, writer: Writer) -> Prose:
    """The sizes, equal ones together: given ones first."""
    groups: dict[tuple[bool, int], list[str]] = {}
    for symbol, number in cost.sizes.items():
        groups.setdefault((symbol not in cost.given, number), []).append(symbol)
    if not groups:
        return ("the sizes that are declared",)
    found: list[str | Math] = []
    for (_, number), symbols in sorted(groups.items(), key=lambda group: group[0]):
        shown = [_size_name(cost, symbol, writer) for symbol in symbols[:MOST_SIZES]]
        found.append(", " if found else "")
        found.append(Math(f"{' = '.join(shown)} = {number}") if len(symbols) <= MOST_SIZES else f"{number:,} for {len(symbols):,} sizes")
    return tuple(part for part in found if part)


def _size_name(cost: Cost, symbol: str, writer: Writer) -> str:
    """A symbol, the entries of a value as n with that value's name as index."""
    head, sign, rest = symbol.replace(PLUS, "+").partition("_")
    if sign and head in ("m", "n"):
        key = cost.tape.spellings.get(rest)
        index = writer.name(key if key is not None else spell(rest))
        return writer.below_operator(head, index)
    return writer.name(cost.tape.spellings.get(symbol) or spell(symbol))


def _recomputation(cost: Cost, labels: Labels, writer: Writer) -> Prose:
    """What writing the blocks out costs, in numbers."""
    apart, together = cost.block_by_block.multiplications, cost.backpropagation.multiplications
    if len(cost.blocks) == 1:
        return (f"There is one block, {_number(together)} multiplications: nothing is computed again for another one.",)
    if apart <= together:
        return (f"Every adjoint that takes multiplications is needed by one block only: {_number(together)} multiplications either way.",)
    said: list[str | Math] = ["Written out block by block, "]
    for position, found in enumerate(cost.recomputed[:MOST_NAMED]):
        said += [" and " if position else "", Math(_symbol(cost, found.value, labels, writer))]
        said.append(f" is computed {_times(found.times)}" if not position else f" {_times(found.times)}")
    if not cost.recomputed:
        said.append("the same products are computed several times")
    elif len(cost.recomputed) > MOST_NAMED:
        rest = len(cost.recomputed) - MOST_NAMED
        said.append(f", and {rest:,} more adjoint{'s' if rest > 1 else ''} several times")
    said.append(f": {_number(apart)} multiplications instead of {_number(together)} with each adjoint computed once.")
    return tuple(part for part in said if part)


def _model(cost: Cost) -> str:
    """How is counted, in a few sentences."""
    said = [
        "A product of an m x k and a k x n matrix counts m k n multiplications; additions, constants and values of functions count nothing."
    ]
    if cost.concrete:
        if cost.applied:
            said.append(f"Backpropagation applies functions and their derivatives to {_number(cost.applied)} entries.")
        said.append("Forward mode takes one direction for each entry of a variable, as general as any.")
        if cost.uncounted:
            said.append(f"Not counted: {', '.join(cost.uncounted)}.")
    else:
        said.append("Every local Jacobian is a full matrix, made where it is used.")
    said.append("Memory is of the values that are kept, the intermediate results and the finished blocks.")
    if len(cost.given) < len(cost.sizes):
        usual = [f"{USUAL}"]
        if any(cost.sizes[symbol] == PARAMETER and symbol not in cost.given for symbol in cost.sizes):
            usual.append(f"{PARAMETER:,} for the entries of a parameter of a layer without a definition")
        said.append(f"Sizes that are not given are {', and '.join(usual)}.")
    if cost.unsearched:
        count = "1 product has" if cost.unsearched == 1 else f"{cost.unsearched:,} products have"
        said.append(f"{count} more than {MAX_FACTORS} factors or came when the search was long enough: bracketed from one end.")
    return " ".join(said)
