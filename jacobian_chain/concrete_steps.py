"""Derivations through concrete layers as a person would write them; each line names the rule that it applies.

A scalar's gradients are spelled out: backwards adjoint by adjoint, or block by block, putting one adjoint after the other in its
place. What is no scalar, and every notation that writes Jacobians, has products of layers, and below them what each factor is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from jacobian_chain.abstraction import abstract
from jacobian_chain.article import Display, Equation, Math, Paragraph, Part, Prose, enumerate_prose
from jacobian_chain.blocks import ConcreteDerivation, derive_concrete, derive_in_part
from jacobian_chain.errors import LimitError
from jacobian_chain.exposition import Page
from jacobian_chain.factors import write_factors, write_slopes
from jacobian_chain.notation import Labels
from jacobian_chain.operations import OPERATIONS
from jacobian_chain.steps import MOST_CHILDREN, Narration, Style, Subject, narrate, write_equations
from jacobian_chain.tape import SCALAR, Tape
from jacobian_chain.writers import Writer

MOST_LINES = 8
"""How many adjoints are put in their place one after the other; longer derivations have their first and last line."""

FRACTIONS = {None: "d", "total": "d", "partial": "∂"}
"""Notations in which gradients are spelled out, with the sign of a derivative."""


def narrate_concrete(kind: str, subject: Subject, style: Style) -> Narration:
    """The steps of a derivation through concrete layers.

    Raises:
        OptionError: the notation cannot write it.
        LimitError: it would have more factors than the limit.
    """
    spelled = subject.tape.shapes[subject.output] == SCALAR and style.notation in FRACTIONS and kind != "recursive"
    if not spelled:
        return _narrate_layers(kind, subject, style)
    return _narrate_backprop(subject, style) if kind == "backprop" else _narrate_blocks(subject, style)


def _narrate_layers(kind: str, subject: Subject, style: Style) -> Narration:
    """The steps through the layers, and what each of their factors is."""
    tape = subject.tape
    abstraction = abstract(tape)
    number = {value: k for k, value in enumerate(abstraction.values)}
    variables = tuple(number[value] for value in subject.variables)
    inner = subject._replace(
        tape=abstraction.tape, output=number[subject.output], variables=variables, everything=False, source=(tape, subject.output)
    )
    found = narrate(kind, inner, style)
    reasons = _Reasons(tape, subject.output, style.writer, subject.variables)
    equations = []
    for page in found.pages:
        factors = write_factors(tape, abstraction, page, range(len(page.derivation.maps)), style.writer)
        for value, by, line in factors.lines:
            reason = reasons.of_factor(value, by) if value >= 0 else ()
            equations.append(Equation(line.left, line.right, reason))
    parts = list(found.parts)
    if equations:
        heading = "The factors are" if any(equation.reason for equation in equations) else "where"
        parts += [Paragraph((heading,)), Display(tuple(dict.fromkeys(equations)))]
    return found._replace(parts=tuple(parts))


def _narrate_backprop(subject: Subject, style: Style) -> Narration:
    """Forward equations, the adjoints in the order of backpropagation, and what plugging them in gives."""
    tape, output, writer = subject.tape, subject.output, style.writer
    derivation = derive_concrete(tape, output, subject.variables, subject.layout, shared=True)
    page = _page(derivation, subject, style)
    reasons = _Reasons(tape, output, writer, subject.variables)
    lines = [block for block in derivation.lines if block.by != output]
    backward = [Equation(page.left_side(block), page.right_side(block), reasons.of_use(block.by)) for block in lines]
    parts: list[Part] = [
        Paragraph(("Forward, every value is computed once:",)),
        Display(write_equations(tape, output, writer)),
        Paragraph(("Backward, each derivative once, in the order in which they should be computed:",)),
        Display((*backward, *_explain(page))),
        *_plug_in(subject, style, derivation, {equation.right for equation in backward}),
    ]
    return Narration(tuple(parts), ())


def _plug_in(subject: Subject, style: Style, shared: ConcreteDerivation, written: Collection[str]) -> list[Part]:
    """The longest block with everything plugged in, unless it stands among the right sides ``written`` already."""
    place = {block.by: k for k, block in enumerate(shared.lines)}
    deepest = max(subject.variables, key=lambda value: place[value])
    whole = derive_concrete(subject.tape, subject.output, subject.variables, subject.layout)
    block = whole.blocks[subject.variables.index(deepest)]
    page = _page(whole._replace(blocks=(block,)), subject, style)
    (line,) = page.lines()
    if line.right in written:
        return []
    parts: list[Part] = [
        Paragraph(("Plugging the lines into each other gives, for example,",)),
        Display((Equation(line.left, line.right), *_explain(page))),
    ]
    if len(subject.variables) > 1:
        parts.append(
            Paragraph(
                (
                    "but it should not be computed so: the other blocks begin with the same factors, ",
                    "which would be multiplied again for each of them.",
                )
            )
        )
    return parts


def _narrate_blocks(subject: Subject, style: Style) -> Narration:
    """Each block, one adjoint after the other put in its place."""
    tape, output, writer = subject.tape, subject.output, style.writer
    reasons = _Reasons(tape, output, writer, subject.variables)
    work = len(subject.variables) * (output - tape.leaves + 1)
    if 4 * work * MOST_LINES > subject.limit:
        message = f"{len(subject.variables):,} blocks through {output - tape.leaves + 1:,} operations are too much to tell one by one"
        raise LimitError(message, hint="--steps backprop has one line for each value; or raise --max-factors")
    parts: list[Part] = []
    for variable in subject.variables:
        equations: list[Equation] = []
        below, at = 0, variable
        while True:
            derivation = derive_in_part(tape, output, subject.variables, variable, subject.layout, below)
            page = _page(derivation, subject, style)
            (block,) = derivation.blocks
            right = page.right_side(block)
            left = "" if equations else page.left_side(block)
            if not equations or right != equations[-1].right:
                equations.append(Equation(left, right, reasons.of_use(at)))
            called = _called(derivation)
            if not called:
                equations += _explain(page)
                break
            at = min(called)
            below = at + 1 if len(equations) < MOST_LINES else output + 1
        name = Math(writer.name(page.labels.value(variable)))
        parts += [Paragraph(("By ", name, ":")), Display(tuple(equations))]
    return Narration(tuple(parts), ())


def _called(derivation: ConcreteDerivation) -> list[int]:
    """The values whose adjoints stand in the block by name."""
    arrays = derivation.arrays
    steps = [arrays.steps[node] for node in arrays.reachable([block.node for block in derivation.blocks])]
    return [step.coefficients[1].numerator for step in steps if step.operation == "adjoint"]


def _page(derivation: ConcreteDerivation, subject: Subject, style: Style) -> Page:
    labels = Labels(subject.tape, subject.output, "outputs")
    return Page(derivation, style.writer, labels, sign=FRACTIONS[style.notation])


def _explain(page: Page) -> list[Equation]:
    """What invented names and slopes stand for."""
    return [Equation(line.left, line.right) for line in (*page.definitions(), *write_slopes(page))]


# --- reasons ---


class _Reasons:
    """Why lines hold: through which values with a name a value is used, and by which rules."""

    def __init__(self, tape: Tape, output: int, writer: Writer, held: Collection[int]) -> None:
        self.tape = tape
        self.writer = writer
        self.labels = Labels(tape, output, "outputs")
        self.users: dict[int, list[int]] = {}
        needed = {output}
        for value in range(output, tape.leaves - 1, -1):
            if value in needed and (value not in held or value == output):
                for source in tape.steps[value - tape.leaves].inputs:
                    needed.add(source)
                    self.users.setdefault(source, []).append(value)
        self.output = output

    def of_use(self, value: int) -> Prose:
        """Of the derivative by a value."""
        tape = self.tape
        children, on_the_way = set(), set()
        stack = [value]
        while stack:
            for user in self.users.get(stack.pop(), ()):
                if user in on_the_way:
                    continue
                on_the_way.add(user)
                if tape.names[user] or user == self.output:
                    children.add(user)
                else:
                    stack.append(user)
        if not children:
            return ()
        rules = self._name_rules(on_the_way)
        if len(children) > MOST_CHILDREN:
            prose: Prose = (f"a sum over {len(children)} children",)
        else:
            names = [(Math(self.writer.name(self.labels.value(child))),) for child in sorted(children)]
            prose = ("through ", *enumerate_prose(names, " and "))
        return (*prose, ": ", *rules) if rules else prose

    def of_factor(self, value: int, by: int) -> Prose:
        """Of the derivative of a value's own equation by one of the values in it."""
        found, stack = {value}, [value]
        while stack:
            for source in self.tape.steps[stack.pop() - self.tape.leaves].inputs:
                if source >= self.tape.leaves and source != by and not self.tape.names[source] and source not in found:
                    found.add(source)
                    stack.append(source)
        above = {by}
        for one in sorted(found):
            if not above.isdisjoint(self.tape.steps[one - self.tape.leaves].inputs):
                above.add(one)
        return self._name_rules(above - {by})

    def _name_rules(self, values: Iterable[int]) -> Prose:
        """The rules for what some values are computed by, the last one first, each once."""
        steps = [self.tape.steps[value - self.tape.leaves] for value in sorted(values, reverse=True)]
        rules: list[Prose] = []
        for operation, function in dict.fromkeys((step.operation, step.name if step.operation == "apply" else "") for step in steps):
            record = OPERATIONS.get(operation)
            if record is not None and record.rule:
                named = (", ", Math(self.writer.name(self.labels.name(function)))) if function else ()
                rules.append((record.rule, *named))
        return enumerate_prose(rules)
