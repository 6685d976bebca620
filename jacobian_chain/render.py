"""A derivation on a page: products, sums and blocks in an output language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from jacobian_chain.article import Math, Prose
from jacobian_chain.derivation import Line
from jacobian_chain.errors import LimitError
from jacobian_chain.layout import orient
from jacobian_chain.maps import ONE, ZERO, Map, count_references
from jacobian_chain.notation import Labels, Page, Symbol
from jacobian_chain.tape import ABSTRACT, Tape
from jacobian_chain.writers import Writer

BLOCKS_A_LINE = 4
"""How many blocks of a row stand on one line."""


_SCALAR_KINDS = frozenset({"identity", "multiple", "times"})

_READY = frozenset({"partial", "total", "scale", "product"})

RUN = 64
"""How many short pieces are worth joining."""

LONG = 500
"""How many characters make a piece long."""

MAX_WRITTEN = 1_000_000
"""Most characters with which values without a name are written out inside of factors."""


def render(page: Page, writer: Writer) -> str:
    """The whole derivation: the row or column of blocks, or one equation a line, then the names that it uses."""
    derivation, layout = page.derivation, page.layout
    tape = derivation.tape
    of = tape.shapes[derivation.output]
    maps = orient(derivation.maps, of, layout)
    lines = derivation.lines
    roots = derivation.blocks if not lines else tuple(line.map for line in lines)
    text = Composer(page, writer, maps, (*roots, *(line.map for line in derivation.definitions if not lines)))
    named = {(line.of, line.by) for line in derivation.definitions}
    if lines:
        shown = [line for line in lines if (line.of, line.by) not in named or not page.is_trivial(line.of, line.by, line.map)]
        return writer.lines([text.equation(line) for line in shown])
    blocks = [Line(derivation.output, variable, root) for variable, root in zip(derivation.variables, derivation.blocks, strict=True)]
    separate = layout.transposes_scalar is not layout.transposes_array and of.is_scalar
    definitions = [text.equation(line) for line in derivation.definitions]
    if len(blocks) == 1 or separate:
        return writer.lines([*[text.equation(line) for line in blocks], *definitions])
    written = [text.write(line.map, line.by) for line in blocks]
    left = text.left_side(derivation.variables, derivation.label)
    main = writer.column(left, written) if layout.transposes(of) else writer.row(left, written, BLOCKS_A_LINE)
    return writer.below(main, definitions) if definitions else main


LEGEND = 12
"""How many made-up names are explained."""

MAX_COMPOSITION = 120
"""Most characters of a composition that is written out behind a J."""


class Composer:
    """Writes nodes. What many roots share is written once; nothing recurses, so depth costs nothing."""

    def __init__(self, page: Page, writer: Writer, maps: Sequence[Map], roots: Iterable[int]) -> None:
        self.page = page
        self.tape = page.tape
        self.writer = writer
        self.maps = maps
        self.separator = writer.signs.dot if page.notation.dotted else writer.signs.space
        self.identity = writer.signs.identity if "I" not in page.tape.spellings else writer.signs.other_identity
        references = count_references(maps, roots)
        self.written = 0  # characters of values without a name
        self.coefficients: list[Fraction] = []
        self.is_scalar_factor: list[bool] = []  # a number times the identity: nothing but numbers and scalars
        self.texts: list[list[str] | None] = []  # in pieces: long products share them, and are joined once
        for index, node in enumerate(maps):
            coefficient = ONE
            text: list[str] | None = None
            if node.kind == "multiple":
                coefficient = node.coefficient
            elif node.kind == "product":
                for arg in node.args:
                    if self.coefficients[arg] is not ONE:
                        coefficient *= self.coefficients[arg]
            elif references[index] and node.kind in ("partial", "total", "joint", "times", "scale"):
                text = [self._elementary(node)]
            self.coefficients.append(coefficient)
            scalar = self.is_scalar_factor
            scalar.append(all(scalar[arg] for arg in node.args) if node.kind == "product" else node.kind in _SCALAR_KINDS)
            self.texts.append(text)
            if references[index] > 1 and node.kind in ("product", "sum", "matrix"):
                self.texts[index] = _gather(self._emit(index))

    def equation(self, line: Line) -> tuple[str, list[str]]:
        """Left and right side of one line."""
        return self.left_side((line.by,), "", line.of), self.write(line.map, line.by)

    def left_side(self, variables: tuple[int, ...], label: str, of: int = -1) -> str:
        """The symbol of what is derived, transposed where the layout needs it and the symbol does not say it."""
        page = self.page
        of = page.derivation.output if of < 0 else of
        symbol = page.total(of, variables, label=label)
        text = self.writer.symbol(symbol)
        shapes = self.tape.shapes
        single = shapes[of].is_scalar and len(variables) == 1 and shapes[variables[0]].is_scalar
        reversed_ = page.layout.transposes(shapes[page.derivation.output])
        if single or reversed_ is page.means_adjoint(symbol, of):
            return text
        return self.writer.transposed(text, symbol)

    def text(self, root: int, by: int) -> str:
        """A block or definition by the value ``by``."""
        return "".join(self.write(root, by))

    def write(self, root: int, by: int) -> list[str]:
        """A block or definition by the value ``by``, in pieces, with its coefficient."""
        if root == ZERO:
            return [self.writer.signs.zero]
        body = self.texts[root]
        if body is None:
            body = self._emit(root)
        coefficient = self.coefficients[root]
        if self.is_scalar_factor[root]:
            if not self.tape.shapes[by].is_scalar:
                body = [*body, self.separator, self.identity] if body else [self.identity]
            elif not body and abs(coefficient) == 1:
                body = [self.writer.signs.one]
        if coefficient == 1:
            return body
        size = abs(coefficient)
        number = "" if size == 1 else self.writer.number(size) + (" " if body else "")
        return [f"{'-' if coefficient < 0 else ''}{number}", *body]

    def _elementary(self, node: Map) -> str:
        if node.kind == "times":
            return self._value(node.of)
        if node.kind == "scale":
            text = self._value(node.of)
            if self.tape.shapes[node.of].is_matrix:
                text = self.writer.vec(text)
                return self.writer.transposed(f"({text})") if node.adjoint else text
            return self.writer.transposed(text) if node.adjoint else text
        symbol = self.page.symbol(node)
        text = self.writer.symbol(symbol, self._written_out(node, symbol))
        return self.writer.transposed(text, symbol) if self.page.is_transposed(symbol, node) else text

    def _written_out(self, node: Map, symbol: Symbol) -> str:
        """What a joint derivative is of, where that is no name: several values, or a composition that is short."""
        if node.kind != "joint":
            return ""
        joint = self.page.derivation.joints[node.of]
        if joint.direct:
            return ""
        texts = []
        for value in joint.of:
            text = self.writer.name(self.page.variable(value))
            if symbol.kind == "J" and not self.tape.names[value]:
                whole = write_value(self.tape, value, self.writer, self.page.labels)
                text = whole if len(whole) <= MAX_COMPOSITION else text
            texts.append(text)
        if len(texts) == 1:
            return texts[0] if texts[0] != self.writer.name(symbol.of) else ""
        return f"({', '.join(texts)})"

    def _value(self, value: int) -> str:
        """A value as a factor: its name, or written out, a sum in brackets."""
        tape = self.tape
        if tape.names[value]:
            return self.writer.name(self.page.labels.value(value))
        text = write_value(tape, value, self.writer, self.page.labels)
        self.written += len(text)
        if self.written > MAX_WRITTEN:
            hint = "give the intermediate values names, in equations of their own"
            raise LimitError(f"values without a name would be written out with more than {MAX_WRITTEN:,} characters", hint=hint)
        step = tape.step(value)
        return f"({text})" if step is not None and step.operation != "layer" else text

    def _emit(self, root: int) -> list[str]:
        """The pieces of a product or sum without its coefficient; shared parts are ready, the rest is laid flat."""
        maps, texts, signs = self.maps, self.texts, self.writer.signs
        if maps[root].kind == "product":
            row = [texts[factor] for factor in maps[root].args if maps[factor].kind in _READY]
            if len(row) == len(maps[root].args) == 2 and row[0] and row[1]:
                return [*row[0], self.separator, *row[1]]
        parts: list[str] = []
        stack: list[int | str] = [root]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                parts.append(item)
                continue
            text = texts[item]
            if text is not None:
                parts += text
                continue
            node = maps[item]
            if node.kind == "product":
                pending: list[int | str] = []
                for factor in self._factors(item):
                    if pending:
                        pending.append(self.separator)
                    if maps[factor].kind == "sum":
                        pending += (signs.open, factor, signs.close)
                    else:
                        pending.append(factor)
                stack.extend(reversed(pending))
            elif node.kind == "sum":
                stack.extend(reversed(self._terms(item)))
            elif node.kind == "matrix":
                stack.extend(reversed(self._blocks(item)))
        return parts

    def _blocks(self, matrix: int) -> list[int | str]:
        """The blocks of a matrix with what stands around them."""
        node = self.maps[matrix]
        rows, columns = node.of, len(node.args) // node.of
        before, beside, below, behind = self.writer.grid(rows)
        pieces: list[int | str] = [before]
        for k, block in enumerate(node.args):
            if k:
                pieces.append(beside if k % columns else below)
            pieces += self._term(block, scalar=self.maps[block].scalar)
        return [*pieces, behind]

    def _factors(self, product: int) -> list[int]:
        """The factors of a product that have a text: shared products whole, numbers left out, scalars in front."""
        maps, texts = self.maps, self.texts
        scalars: list[int] = []
        others: list[int] = []
        stack = [product]
        while stack:
            index = stack.pop()
            node = maps[index]
            if node.kind == "product" and (texts[index] is None or index == product):
                stack.extend(reversed(node.args))
            elif node.kind == "times":
                scalars.append(index)
            elif node.kind not in ("multiple", "identity"):
                others.append(index)
        return scalars + others

    def _terms(self, sum_: int) -> list[int | str]:
        """The terms of a sum with their signs."""
        scalar = self.maps[sum_].scalar
        pieces: list[int | str] = []
        for term in self.maps[sum_].args:
            written = self._term(term, scalar)
            if self.maps[term].kind == "sum":
                written = [self.writer.signs.open, *written, self.writer.signs.close]
            if pieces:
                negative = written[0] == "-"
                pieces += (" - " if negative else " + ", *written[negative:])
            else:
                pieces = written
        return pieces

    def _term(self, term: int, scalar: bool) -> list[int | str]:
        """A term of a sum or a block of a matrix: its sign, its number, and what is left of it; ``scalar`` says that I is the number 1."""
        if term == ZERO:
            return [self.writer.signs.zero]
        coefficient = self.coefficients[term]
        size = abs(coefficient)
        if not self.is_scalar_factor[term]:
            body: list[int | str] = [term]
        else:
            body = [term] if self.texts[term] or self._factors(term) else []
            if not scalar or (not body and size == 1):
                body += [self.separator] if body else []
                body.append(self.writer.signs.one if scalar else self.identity)
        number: list[int | str] = [] if size == 1 else [self.writer.number(size), *([" "] if body else [])]
        return [*(["-"] if coefficient < 0 else []), *number, *body]


def _gather(pieces: list[str]) -> list[str]:
    """The pieces of a shared text, long runs of short ones joined: what a thousand blocks begin with is then a few long pieces."""
    if len(pieces) < 2 * RUN:
        return pieces
    gathered: list[str] = []
    run: list[str] = []
    for piece in [*pieces, None]:
        if piece is not None and len(piece) < LONG:
            run.append(piece)
            continue
        gathered += ["".join(run)] if len(run) >= RUN else run
        run = []
        if piece is not None:
            gathered.append(piece)
    return gathered


def write_value(tape: Tape, value: int, writer: Writer, labels: Labels, deep: bool = True, called: Mapping[int, str] | None = None) -> str:
    """A value as an expression of named ones: what stands right of its ``=``.

    Values without a name are written out, or, unless ``deep``, called by their fresh names; some are ``called`` by a text in any case.
    """
    called = called or {}
    parts: list[str] = []
    stack: list[int | str] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        step = tape.step(item)
        if item != value and item in called:
            parts.append(called[item])
            continue
        if item != value and (tape.names[item] or not (deep or step is None or step.operation != "layer")):
            parts.append(writer.name(labels.value(item)))
            continue
        if step is None:
            parts.append(writer.name(labels.value(item)))
        elif step.operation not in ABSTRACT:
            from jacobian_chain.formula import of_tape  # abstract text does without

            return of_tape(tape, writer, labels, deep).text(value)
        elif step.operation == "layer":
            pieces: list[int | str] = [writer.name(labels.layer(item)), "("]
            for slot, source in enumerate(step.inputs):
                pieces += (", ",) if slot else ()
                pieces.append(source if deep else writer.name(labels.slot(item, slot)))
            stack.extend(reversed([*pieces, ")"]))
        elif step.operation == "number":
            parts.append(_signed_number(step.coefficients[0], writer))
        elif step.operation == "scale":
            stack.extend(reversed([*_bracketed(tape, step.inputs[0]), writer.signs.space, *_bracketed(tape, step.inputs[1])]))
        else:
            terms: list[int | str] = []
            for coefficient, source in zip(step.coefficients, step.inputs, strict=True):
                sign = " - " if coefficient < 0 else " + "
                terms.append(sign if terms else sign.strip().replace("+", ""))
                if abs(coefficient) != 1:
                    terms.append(writer.number(abs(coefficient)) + " ")
                terms += _bracketed(tape, source)
            stack.extend(reversed(terms))
    return "".join(parts)


def explain_names(labels: Labels, writer: Writer, limit: int = LEGEND) -> list[Prose]:
    """What the names that a page made up stand for, at most so many of them."""
    written: dict[str, str] = {}
    while len(written) <= limit:
        missing = [(name, value) for name, value in labels.fresh() if name.key not in written]
        if not missing:
            break
        for name, value in missing[: limit + 1]:
            # this may make up further names, which the next round explains
            written[name.key] = f"{writer.name(name)} = {write_value(labels.tape, value, writer, labels, deep=False)}"
    order: list[Prose] = [(Math(written[name.key]),) for name, _ in labels.fresh() if name.key in written]
    return [*order[:limit], ("…",)] if len(order) > limit else order


def _bracketed(tape: Tape, value: int) -> list[int | str]:
    """A value as a factor or term: in brackets if it is an unnamed sum."""
    step = tape.step(value)
    if step is not None and not tape.names[value] and step.operation in ("sum", "number"):
        return ["(", value, ")"]
    return [value]


def _signed_number(value: Fraction, writer: Writer) -> str:
    return ("-" if value < 0 else "") + writer.number(abs(value))
