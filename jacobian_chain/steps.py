r"""Derivations as a person would write them: from the outside in, block by block, in the order of backpropagation.

``recursive``   peel the outermost layer with the augmented block matrix, multiply out, repeat, keep the columns that were asked for
``blocks``      the row of partial Jacobians, and each of them by itself
``backprop``    the forward equations, then the backward ones in the order in which they should be computed, each adjoint once

Each is an :class:`jacobian_chain.article.Article` whose formulas are nodes of the algebra of :mod:`jacobian_chain.maps`, so that
every line can be read back and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from jacobian_chain.article import Article, Display, Equation, Formula, Math, Paragraph, Part, Prose, enumerate_prose
from jacobian_chain.derivation import Derivation, Line, derive, trace
from jacobian_chain.layout import Layout, orient
from jacobian_chain.maps import Map, count_references
from jacobian_chain.notation import NOTATIONS, Labels, Page, Symbol
from jacobian_chain.peeling import Peel, peel
from jacobian_chain.render import Composer, explain_names, render, write_value
from jacobian_chain.select import Selection
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import Spelling
from jacobian_chain.writers import LatexWriter, Writer


class Subject(NamedTuple):
    """What is derived: d ``output`` / d ``variables`` in a layout; ``limit`` is the most factors that are written out.

    ``everything`` says that the derivation from the outside in differentiates by all leaves until its last line; ``source`` is the
    composition as typed with its output, where the layers of ``tape`` stand for concrete equations.
    """

    tape: Tape
    output: int
    variables: tuple[int, ...]
    label: str
    layout: Layout
    limit: int
    everything: bool = True
    source: tuple[Tape, int] | None = None


class Style(NamedTuple):
    """How it is written: names as on the command line, None for what is usual."""

    writer: Writer
    notation: str | None = None
    naming: str | None = None
    points: bool = False


class Narration(NamedTuple):
    """Parts of an article, and the pages that their formulas were written by."""

    parts: tuple[Part, ...]
    pages: tuple[Page, ...]


def narrate(kind: str, subject: Subject, style: Style) -> Narration:
    """The steps of a derivation through abstract layers; ``kind`` is a key of ``NARRATORS``.

    Raises:
        OptionError: the notation cannot write it.
        LimitError: it would have more factors than the limit.
    """
    return NARRATORS[kind](subject, style)


def title_of(kind: str | None, tape: Tape, output: int, selection: Selection, writer: Writer) -> Prose:
    """What an article is called, of steps or of the formula alone."""
    labels = Labels(tape, output, "outputs")
    names = [selection.label] if selection.label else [tape.names[value] for value in selection.variables]
    shown = ", ".join(writer.name(labels.name(name)) for name in names[:MOST_NAMES])
    more = ", …" if len(names) > MOST_NAMES else ""
    return ("The Jacobian of ", Math(writer.name(labels.value(output))), " by ", Math(shown), more + (f", {TITLES[kind]}" if kind else ""))


MOST_NAMES = 4
"""How many variables a title names."""

TITLES = {
    "recursive": "from the outside in",
    "blocks": "block by block",
    "backprop": "in the order of backpropagation",
}
"""What each kind of steps is called."""


# --- from the outside in ---

LINES = 20
"""The limit on factors is that of one formula; a derivation of many lines has this part of it."""


def narrate_recursion(subject: Subject, style: Style) -> Narration:
    """Peel the last layer, multiply out, repeat."""
    tape, output = subject.tape, subject.output
    found = peel(tape, output, subject.variables, subject.label, subject.everything, max(subject.limit // LINES, 1))
    page = _page(found.derivation, subject, style, jacobian=tape.nested)
    maps = orient(found.derivation.maps, tape.shapes[output], subject.layout)
    composer = Composer(page, style.writer, maps, (found.left, *(line.map for line in found.lines), found.kept.map))
    left = composer.text(found.left, output)
    lines: list[Equation] = []
    for line in found.lines:
        right = composer.text(line.map, output)
        if not lines or right != lines[-1].right:
            lines.append(Equation("" if lines else left, right, _reason(line, page, style.writer, composer.identity)))
    kept = composer.left_side(subject.variables, subject.label)
    parts: list[Part] = []
    if lines:
        parts.append(Paragraph(("Peel the outermost layer, multiply out, and go on inside.",)))
        parts.append(Display(tuple(lines)))
    last = composer.text(found.kept.map, subject.variables[0])
    if not lines or left != kept or lines[-1].right != last:
        columns = "row" if subject.layout.transposes(tape.shapes[output]) else "column"
        plural = "s" if len(subject.variables) > 1 else ""
        parts.append(
            Paragraph((f"The {columns}{plural} of ", Math(_variables(subject, page, style.writer)), f" {'are' if plural else 'is'} left:"))
        )
        parts.append(Display((Equation(kept, last),)))
    return Narration((*_explain(page, style.writer), *parts), (page,))


def _reason(line: Peel, page: Page, writer: Writer, identity: str) -> Prose:
    tape = page.tape
    step = tape.steps[line.value - tape.leaves]
    unnamed = (tape.nested or not tape.names[line.value]) and step.operation == "layer"
    what = Math(writer.name(page.labels.layer(line.value) if unnamed else page.labels.value(line.value)))
    if line.rule == "chain":
        return ("the chain rule for ", what)
    if line.rule == "blocks":
        return ("a variable's own derivative is ", Math(identity))
    if line.rule == "split":
        return ("one block for each variable",)
    return ("multiplied out",) if line.rule == "multiply" else ("the chain rule for ", what)


def _explain(page: Page, writer: Writer) -> tuple[Part, ...]:
    """What the names stand for that the formulas made up."""
    explained = explain_names(page.labels, writer, MOST_EXPLAINED)
    return (Paragraph(("Here ", *enumerate_prose(explained), ".")),) if explained else ()


MOST_EXPLAINED = 1000
"""How many made-up names are explained."""


def _variables(subject: Subject, page: Page, writer: Writer) -> str:
    if subject.label:
        return writer.name(page.labels.name(subject.label))
    return ", ".join(writer.name(page.variable(value)) for value in subject.variables)


# --- block by block ---


def narrate_blocks(subject: Subject, style: Style) -> Narration:
    """The row of partial Jacobians, each of them by itself, and all together."""
    tape, output, writer = subject.tape, subject.output, style.writer
    found = trace(tape, output, subject.variables, subject.label, subject.limit)
    derivation = found.derivation
    page = _page(derivation, subject, style, jacobian=tape.nested)
    maps = orient(derivation.maps, tape.shapes[output], subject.layout)
    composer = Composer(
        page, writer, maps, [node for chain in found.chains for node in chain] + [line.map for line in derivation.definitions]
    )
    parts: list[Part] = []
    together = len(subject.variables) > 1
    if together:
        lefts = [[composer.left_side((variable,), "")] for variable in subject.variables]
        parts.append(Paragraph(("One block for each variable:",)))
        parts.append(Formula(_assemble(subject, writer, composer.left_side(subject.variables, subject.label), lefts)))
    for variable, chain in zip(subject.variables, found.chains, strict=True):
        name = Math(writer.name(page.variable(variable)))
        left = composer.left_side((variable,), "")
        equations: list[Equation] = []
        for node in chain:
            right = composer.text(node, variable)
            if right not in (left, equations[-1].right if equations else ""):
                equations.append(Equation("" if equations else left, right))
        parts.append(Paragraph(("By ", name, ", from the variable outwards:" if len(equations) > 1 else ":")))
        parts.append(Display(tuple(equations) or (Equation(left, composer.text(chain[-1], variable)),)))
    if derivation.definitions:
        parts.append(Paragraph(("where",)))
        parts.append(Display(tuple(Equation(left, "".join(right)) for left, right in map(composer.equation, derivation.definitions))))
    if together:
        parts.append(Paragraph(("Together:",)))
        parts.append(Formula(render(page, writer)))
    return Narration((*_explain(page, writer), *parts), (page,))


def _assemble(subject: Subject, writer: Writer, left: str, blocks: Sequence[Sequence[str]]) -> str:
    if subject.layout.transposes(subject.tape.shapes[subject.output]):
        return writer.column(left, blocks)
    return writer.row(left, blocks, 2 * len(blocks))


# --- backpropagation ---


def narrate_backprop(subject: Subject, style: Style) -> Narration:
    """Forward equations, backward ones in the order of computing, and what plugging them in gives."""
    tape, output, writer = subject.tape, subject.output, style.writer
    derivation = derive(tape, output, subject.variables, subject.label, shared=True)
    page = _page(derivation, subject, style, jacobian=False)
    maps = orient(derivation.maps, tape.shapes[output], subject.layout)
    composer = Composer(page, writer, maps, [line.map for line in derivation.lines])
    adjoints = {line.by for line in derivation.lines} | {output}
    children = _children(subject, adjoints)
    named = {(line.of, line.by) for line in derivation.definitions}
    backward = []
    for line in derivation.lines:
        left, right = composer.equation(line)
        text = _write_prime(maps[line.map], page, writer) or "".join(right)
        if text == left and (line.of, line.by) in named:
            continue  # what is called by its name is that factor itself
        backward.append(Equation(left, text, _through(children.get(line.by, ()), page, writer)))
    plugged = _plug_in(subject, page, style, derivation)
    forward = _write_forward(subject, page, adjoints, writer) if subject.source is None else write_equations(*subject.source, writer)
    parts: list[Part] = [
        Paragraph(("Forward, every value is computed once:",)),
        Display(forward),
        Paragraph(
            (
                "Backward, from the last value to the first: the derivative by a value is known as soon as those by its children are, ",
                "the values that use it:",
            )
        ),
        Formula(_write_recursion(subject, page, writer)),
        Paragraph(("In the order in which they should be computed, each once:",)),
        Display(tuple(backward)),
        *plugged,
    ]
    return Narration(tuple(parts), (page,))


def _write_forward(subject: Subject, page: Page, adjoints: Collection[int], writer: Writer) -> tuple[Equation, ...]:
    """The equations of all values that bear a name, in the text or on the page; writing them may make up further names."""
    tape = subject.tape
    named = {value for value in tape.needed_for(subject.output) if value >= tape.leaves and (tape.names[value] or value in adjoints)}
    while True:
        named |= {value for _, value in page.labels.fresh() if value >= tape.leaves}
        names = {value: writer.name(page.variable(value)) for value in sorted(named)}
        rights = [write_value(tape, value, writer, page.labels, not tape.nested, names) for value in names]
        if named.issuperset(value for _, value in page.labels.fresh() if value >= tape.leaves):
            return tuple(Equation(left, right) for left, right in zip(names.values(), rights, strict=True))


def write_equations(tape: Tape, output: int, writer: Writer) -> tuple[Equation, ...]:
    """The equations of the values with a name that the output depends on."""
    labels = Labels(tape, output, "outputs")
    needed = tape.needed_for(output)
    values = [value for value in sorted(needed) if value >= tape.leaves and (tape.names[value] or value == output)]
    return tuple(Equation(writer.name(labels.value(value)), write_value(tape, value, writer, labels)) for value in values)


def _children(subject: Subject, adjoints: Collection[int]) -> dict[int, tuple[int, ...]]:
    """The values with a line of their own that use each value, perhaps through others without one; not through what is held free."""
    tape, output, held = subject.tape, subject.output, set(subject.variables)
    found: dict[int, dict[int, None]] = {}
    for value in range(output, tape.leaves - 1, -1):
        if value in held and value != output:
            continue
        above = (value,) if value in adjoints else () if tape.names[value] else tuple(found.get(value, ()))
        for source in tape.steps[value - tape.leaves].inputs:
            found.setdefault(source, {}).update(dict.fromkeys(above))
    return {value: tuple(sorted(above)) for value, above in found.items()}


MOST_CHILDREN = 4
"""How many children of a value are called by name."""


def _through(children: Sequence[int], page: Page, writer: Writer) -> Prose:
    if len(children) > MOST_CHILDREN:
        return (f"a sum over {len(children)} children",)
    names = enumerate_prose([(Math(writer.name(page.variable(child))),) for child in children], " and ")
    return () if not children else ("through ", *names) if len(children) == 1 else ("a sum over the children ", *names)


def _write_prime(node: Map, page: Page, writer: Writer) -> str:
    r"""``\ell'(x_3)`` for the derivative of a scalar layer with one argument, where layers are written as fractions; else empty."""
    if node.kind != "partial" or page.notation.local != "∂":
        return ""
    step = page.tape.steps[node.of - page.tape.leaves]
    if len(step.inputs) != 1 or not page.tape.shapes[node.of].is_scalar:
        return ""
    return f"{writer.name(page.labels.layer(node.of))}'({writer.name(page.labels.slot(node.of, 0))})"


def _write_recursion(subject: Subject, page: Page, writer: Writer) -> str:
    r"""The chain rule of a value with several children: ``\frac{dL}{dx_i} = \sum_j \frac{∂x_j}{∂x_i} \frac{dL}{dx_j}``, in the layout."""
    of = page.labels.value(subject.output)
    taken = {*page.tape.names, *page.tape.spellings}
    letter = next(letter for letter in "xuvwz" if taken.isdisjoint((letter + "i", letter + "j")) or letter == "z")
    one, other = (Spelling(letter + index, letter, "", index) for index in "ij")
    transposes = subject.layout.transposes(subject.tape.shapes[subject.output])
    kind = page.total(subject.output, (page.tape.leaves - 1,)).kind
    local = "∂" if page.notation.local == "∂" else "J"

    def factor(kind: str, above: Spelling, below: Spelling, scalar: bool) -> str:
        symbol = Symbol(kind, above, (below,))
        text = writer.symbol(symbol)
        means = kind == "∇" or (kind in ("∂", "d") and (subject.layout.transposes_scalar if scalar else subject.layout.transposes_array))
        return writer.transposed(text, symbol) if transposes is not means else text

    scalar = subject.tape.shapes[subject.output].is_scalar
    factors = [factor(kind, of, other, scalar), factor(local, other, one, False)]
    separator = writer.signs.dot if page.notation.dotted else writer.signs.space
    product = separator.join(reversed(factors) if transposes else factors)
    children = r"\mathrm{children}(i)" if isinstance(writer, LatexWriter) else "children(i)"
    sign = (
        rf"\sum_{{j \in {children}}}"
        if isinstance(writer, LatexWriter)
        else f"sum over j in {children} of"
        if writer.ascii
        else f"Σ_(j ∈ {children})"
    )
    return f"{factor(kind, of, one, scalar)} = {sign} {product}"


def _plug_in(subject: Subject, page: Page, style: Style, shared: Derivation) -> list[Part]:
    """What the longest block is when everything is plugged in, and how much more work that would be."""
    written = derive(subject.tape, subject.output, subject.variables, subject.label, limit=subject.limit)
    if written.overflow:
        return [
            Paragraph(
                (
                    "Plugged into each other the lines would pass the limit on factors; ",
                    "computed in this order they need no more than one product for each use of a value.",
                )
            )
        ]
    products = _count_products(written.maps)
    apart = [products[root] for root in written.blocks]
    together = sum(_own_products(shared.maps[line.map], shared.maps) for line in shared.lines)
    deepest = max(range(len(apart)), key=lambda k: apart[k])
    variable = written.variables[deepest]
    told = next(line.map for line in shared.lines if line.by == variable)
    if not _has_name(shared.maps, told):
        return []  # there is nothing to plug in
    one = written._replace(variables=(variable,), blocks=(written.blocks[deepest],), scalar_fed=(False,))
    one = one._replace(definitions=_needed(one))
    inner = Page(one, subject.layout, page.notation, page.labels, style.points, vec=True, tells_places=True)
    maps = orient(one.maps, subject.tape.shapes[subject.output], subject.layout)
    composer = Composer(inner, style.writer, maps, (one.blocks[0], *(line.map for line in one.definitions)))
    lines = [Line(subject.output, variable, one.blocks[0]), *one.definitions]
    equations = [Equation(left, "".join(right)) for left, right in map(composer.equation, lines)]
    parts: list[Part] = [Paragraph(("Plugging the lines into each other gives, for example,",)), Display(tuple(equations))]
    if sum(apart) > together:
        blocks = f"the {len(apart)} blocks take" if len(apart) > 1 else "the block takes"
        parts.append(
            Paragraph(
                (
                    f"but it should not be computed so: written out, {blocks} {_counted(sum(apart), 'product')} of Jacobians, ",
                    f"the same ones again and again; with each adjoint computed once it is {_counted(together, 'product')}.",
                )
            )
        )
    return parts


def _has_name(maps: Sequence[Map], root: int) -> bool:
    """Whether the name of a derivative stands in a line."""
    return any(maps[k].kind == "total" for k, uses in enumerate(count_references(maps, (root,))) if uses)


def _needed(derivation: Derivation) -> tuple[Line, ...]:
    """The definitions that the blocks refer to, perhaps through others."""
    lines = {(line.of, line.by): line for line in derivation.definitions}
    found: dict[Line, None] = {}
    stack = list(derivation.blocks)
    while stack:
        used = count_references(derivation.maps, (stack.pop(),))
        for k, node in enumerate(derivation.maps):
            line = lines.get((node.of, node.by)) if node.kind == "total" and used[k] else None
            if line is not None and line not in found:
                found[line] = None
                stack.append(line.map)
    return tuple(line for line in derivation.definitions if line in found)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_SCALARS = frozenset({"identity", "zero", "multiple", "times"})


def _count_products(maps: Sequence[Map]) -> list[int]:
    """How many products of two Jacobians each node has when it is computed by itself."""
    counts: list[int] = []
    for node in maps:
        counts.append(sum(counts[arg] for arg in node.args) + _own(node, maps))
    return counts


def _own_products(root: Map, maps: Sequence[Map]) -> int:
    """How many products of two Jacobians a line has."""
    total, stack = 0, [root]
    while stack:
        node = stack.pop()
        total += _own(node, maps)
        stack.extend(maps[arg] for arg in node.args)
    return total


def _own(node: Map, maps: Sequence[Map]) -> int:
    if node.kind != "product":
        return 0
    return max(sum(maps[arg].kind not in _SCALARS for arg in node.args) - 1, 0)


# --- pages ---


def _page(derivation: Derivation, subject: Subject, style: Style, jacobian: bool) -> Page:
    """A page in the style that was asked for; what is usual is J where ``jacobian`` says so, else upright total derivatives."""
    tape = subject.tape
    chosen = style.notation or ("jacobian" if jacobian else "total")
    named = style.naming or ("inputs" if chosen == "jacobian" and tape.nested else "outputs")
    labels = Labels(tape, subject.output, named)
    return Page(derivation, subject.layout, NOTATIONS[chosen], labels, style.points, vec=True, tells_places=True)


NARRATORS: dict[str, Callable[[Subject, Style], Narration]] = {
    "recursive": narrate_recursion,
    "blocks": narrate_blocks,
    "backprop": narrate_backprop,
}
"""The kinds of steps by name."""


def tell_held(subject: Subject, writer: Writer) -> tuple[Part, ...]:
    """Which variables are computed values, and what that means."""
    tape = subject.tape
    labels = Labels(tape, subject.output, "outputs")
    held = [Math(writer.name(labels.value(value))) for value in subject.variables if value >= tape.leaves and value != subject.output]
    if not held or len(subject.variables) == 1:
        return ()
    is_held, it = ("is", "it") if len(held) == 1 else ("are", "them")
    names = enumerate_prose([(name,) for name in held], " and ")
    return (Paragraph((*names, f" {is_held} held free: no derivative goes through {it}.")),)


def make_article(kind: str, subject: Subject, style: Style, narrator: Callable[[str, Subject, Style], Narration]) -> Article:
    """The steps that ``narrator`` tells, with their title."""
    language = "latex" if isinstance(style.writer, LatexWriter) else "text"
    title = title_of(kind, subject.tape, subject.output, Selection(subject.variables, subject.label), style.writer)
    return Article(title, (*tell_held(subject, style.writer), *narrator(kind, subject, style).parts), language)
