r"""Array expressions as people write them: ``\left( W_{2}^{\top} (\hat{y} - y) \odot (1 - h \odot h) \right) x^{\top}``.

Expressions are steps in a list, numbered so that inputs come first: those of a tape, and those that derivatives add to it (see
:class:`Formula`). ``FORMS`` says how each operation is written, one record each. Every node is written once and nothing recurses, so
that neither depth nor sharing costs more than the length of the text. Brackets stand where the grammar needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple, overload

from jacobian_chain.errors import LimitError
from jacobian_chain.names import FUNCTIONS
from jacobian_chain.notation import Labels
from jacobian_chain.shapes import PLUS
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.tokens import SUPERSCRIPTS, Spelling, spell
from jacobian_chain.writers import LatexWriter, Writer

MAX_WRITTEN = 1_000_000
"""Most characters of one formula."""

SHORT = 400
"""Texts of fewer characters are joined at once; longer ones stay in pieces until they are asked for."""

MOST_SCALARS = 16
"""Most scalars that are gathered in front of an array or in a fraction."""

FEW_ATOMS = 2
"""Atoms of a column whose square is written as its product with itself."""

_HUGE = 10**12
_ONE = Fraction(1)
_HALF = Fraction(1, 2)

# how tightly a text holds together
_SUM, _ELEMENTWISE, _FRACTION, _PREFIXED, _PRODUCT, _SYMBOL, _ATOM = range(1, 8)

# what else its surroundings must know of a text
_NEGATIVE = 1  # a minus sign stands in front of it, which the text leaves out
_NESTED = 2  # it has brackets
_TALL = 4  # … that grow, or a fraction
_BARS = 8  # it has bars of a norm outside of brackets
_DIGIT = 16  # it begins with a digit
_RAISED = 32  # it ends with a superscript
_SIGNED = 64  # a sum that begins with a minus sign
_NAME = 128  # it is a name
_BY_NAME = 256  # it begins with a name
_BESIDE = 512  # it has two names beside each other, outside of brackets
_REACHES = 1024  # an operator that could be taken to act on what follows too
_INSIDE = _NESTED | _TALL | _BARS | _BESIDE


class _Long:
    """A long text, in pieces."""

    __slots__ = ("length", "pieces")

    def __init__(self, pieces: tuple[Text, ...], length: int) -> None:
        self.pieces = pieces
        self.length = min(length, _HUGE)

    def __len__(self) -> int:
        return self.length


Text = str | _Long


class Written(NamedTuple):
    """A text with what decides on brackets around it; a minus sign in front of all of it is a flag and not in the text."""

    text: Text
    level: int
    flags: int = 0


class Monomial(NamedTuple):
    """A number times scalars over scalars, times what is left, if anything is."""

    coefficient: Fraction
    above: tuple[Written, ...]
    below: tuple[Written, ...]
    body: Written | None


def _join(pieces: Sequence[Text]) -> Text:
    length = sum(map(len, pieces))
    return "".join(pieces) if length < SHORT else _Long(tuple(pieces), length)  # type: ignore[arg-type]


def _flatten(text: Text) -> str:
    if isinstance(text, str):
        return text
    parts: list[str] = []
    stack: list[Text] = [text]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            parts.append(top)
        else:
            stack.extend(reversed(top.pieces))
    return "".join(parts)


class Formula:
    r"""Writes the nodes of ``steps``, whose shapes are ``shapes``, in a writer's language.

    Beside the operations of a tape there are ``leaf`` and ``symbol`` (with a name), ``partial``, ``gradient``, ``curvature`` and
    ``adjoint`` (written by ``symbol_of``), ``commutation`` (K, name ``"m,n"``), ``embedding`` (E, name ``"n"``) and ``indicator``
    (1 where the input is positive).

    Args:
        steps: what each node is, inputs before what is made of them.
        shapes: the shape of each node.
        writer: the language.
        name_of: what a node is called inside of others, None where it is to be written out.
        symbol_of: the text of a derivative of an opaque layer; by default ``J_{h} g``, ``\nabla_{y} l``.
        spelling: how the name of a leaf, a function or a layer is spelled.
        dotted: whether a dot stands beside the derivatives of opaque layers.
        identity: the sign of the identity matrix, where ``I`` is taken.
        exact: whether the text must read back to the same steps rather than the same value, sizes of constants included.
        argument_of: what the argument of a layer is called in its place, None where it is to be written as elsewhere.

    >>> from jacobian_chain.tape import Shape
    >>> from jacobian_chain.writers import TextWriter
    >>> steps = [Step("leaf", "A", ()), Step("leaf", "x", ()), Step("transpose", "", (0,)),
    ...          Step("sum", "", (0, 2), (Fraction(1), Fraction(1))), Step("product", "", (3, 1))]
    >>> shapes = [Shape("n", "n"), Shape("n", "1"), Shape("n", "n"), Shape("n", "n"), Shape("n", "1")]
    >>> Formula(steps, shapes, LatexWriter()).text(4), Formula(steps, shapes, TextWriter(ascii=True)).text(4)
    ('(A + A^{\\top}) x', '(A + A^T) x')
    """

    def __init__(
        self,
        steps: Sequence[Step],
        shapes: Sequence[Shape],
        writer: Writer,
        name_of: Callable[[int], str | None] = lambda _: None,
        symbol_of: Callable[[Step], str] | None = None,
        *,
        spelling: Callable[[str], Spelling] = spell,
        dotted: bool = False,
        identity: str = "",
        exact: bool = False,
        argument_of: Callable[[int, int], str | None] | None = None,
    ) -> None:
        self.steps = steps
        self.shapes = shapes
        self.writer = writer
        self.name_of = name_of
        self.symbol_of = symbol_of or self.symbol
        self._draws_symbols = symbol_of is not None  # what a layer is applied to need not be written for its derivative
        self.spelling = spelling
        self.dotted = dotted
        self.identity = identity or writer.signs.identity
        self.exact = exact
        self.argument_of = argument_of
        self.latex = isinstance(writer, LatexWriter)
        self.ascii = not isinstance(writer, LatexWriter) and writer.ascii
        self._named: dict[int, Written | None] = {}
        self._written: dict[int, Written] = {}
        self._monomials: dict[int, Monomial] = {}
        self._sizes: dict[int, int] = {}
        self._names: dict[str, Written] = {}
        self._sign: dict[str, str] = {
            operation: form.latex if self.latex else form.ascii if self.ascii else form.unicode for operation, form in FORMS.items()
        }

    # --- what is asked for ---

    def text(self, node: int) -> str:
        """A node written out, whatever it is called itself.

        Raises:
            LimitError: the text has more than ``MAX_WRITTEN`` characters.
        """
        written = self._write(node)
        if len(written.text) > MAX_WRITTEN:
            hint = "give the intermediate values names, in equations of their own"
            raise LimitError(f"a formula would have more than {MAX_WRITTEN:,} characters", hint=hint)
        text = written.text if isinstance(written.text, str) else _flatten(written.text)
        return f"-{text}" if written.flags & _NEGATIVE else text

    def factor(self, node: int) -> str:
        """A node as one of several factors: its name, or written out, in brackets where it needs them."""
        name = self._name(node)
        written = self._write(node) if name is None else name
        return _flatten((written if written.level >= _SYMBOL and not written.flags & _NEGATIVE else self._bracket(written)).text)

    def size(self, node: int) -> int:
        """How many names, numbers and functions stand in a node that is written out; very many are some number."""
        sizes = self._sizes
        for k in self._pending(node, sizes):
            step = self.steps[k]
            atoms = int(step.operation in _ATOMS)
            for source in () if step.operation in _DERIVATIVES else step.inputs:
                atoms += 1 if self._name(source) is not None else sizes[source]
            sizes[k] = min(atoms, _HUGE)
        return sizes[node]

    # --- walking ---

    def _pending(self, root: int, done: dict[int, int] | dict[int, Written]) -> list[int]:
        """The nodes that must be written out for ``root`` and are not done yet, inputs first."""
        if root in done:
            return []
        seen = {root}
        stack = [root]
        steps, named, closed = self.steps, self._named, self._draws_symbols
        while stack:
            step = steps[stack.pop()]
            if closed and step.operation in _DERIVATIVES:
                continue
            for source in step.inputs:
                name = named[source] if source in named else self._name(source)
                if name is None and source not in seen and source not in done:
                    seen.add(source)
                    stack.append(source)
        return sorted(seen)

    def _name(self, node: int) -> Written | None:
        """What a node is called."""
        if node in self._named:
            return self._named[node]
        name = self.name_of(node)
        written = None if name is None else self._atom(name)
        self._named[node] = written
        return written

    def _atom(self, name: str) -> Written:
        known = self._names.get(name)
        if known is None:
            flags = _RAISED if "^" in name or name[-1:] in _SUPERSCRIPT_SIGNS else 0
            flags |= _TALL if r"\frac" in name else _NAME | _BY_NAME
            whole = " " not in name and not flags & _TALL
            if not whole and name[:1] + name[-1:] == "()":
                whole, flags = True, flags | _NESTED
            known = self._names[name] = Written(name, _ATOM if whole else _SYMBOL, flags)
        return known

    def _write(self, root: int) -> Written:
        steps, written = self.steps, self._written
        for node in self._pending(root, written):
            step = steps[node]
            written[node] = FORMS[step.operation].write(self, node, step)
        return written[root]

    def operand(self, node: int) -> Written:
        """An input: its name, or written out."""
        return self._named.get(node) or self._written[node]

    def monomial(self, node: int) -> Monomial:
        """An input as a number times scalars times the rest."""
        name = self._named.get(node)
        if name is not None:
            return Monomial(_ONE, (), (), name)
        found = self._monomials.get(node)
        if found is None and self.steps[node].operation == "number":
            return Monomial(self.steps[node].coefficients[0], (), (), None)
        return found if found is not None else Monomial(_ONE, (), (), self._written[node])

    def split(self, node: int) -> Monomial | None:
        """An input as a number times scalars times the rest, None where there is neither number nor scalar."""
        return self._monomials.get(node) if self._named.get(node) is None else None

    # --- pieces ---

    def sign(self, step: Step) -> str:
        """The sign or word of an operation in this language."""
        return self._sign[step.operation]

    def word(self, key: str) -> Written:
        """The name of a leaf, layer or unspecified function."""
        return self._atom(self.writer.name(self.spelling(key)))

    def number(self, value: Fraction) -> Written:
        """A number as a factor or term."""
        text = self.writer.number(abs(value))
        flags = _NEGATIVE if value < 0 else 0
        if value.denominator == 1:
            return Written(text, _ATOM, flags | _DIGIT)
        return Written(text, _SYMBOL, flags | _TALL) if self.latex else Written(text, _PREFIXED, flags | _DIGIT)

    def dimension(self, size: str) -> Written:
        """A size such as n, 3, m*n or m+n."""
        known = self._names.get(f"#{size}")
        if known is None:
            terms = [" ".join(self._letter(factor) for factor in term.split("*")) for term in size.split("+")]
            level = _SUM if len(terms) > 1 else _PRODUCT if " " in terms[0] else _ATOM
            known = self._names[f"#{size}"] = Written(" + ".join(terms), level, _DIGIT if size[:1].isdecimal() else 0)
        return known

    def _letter(self, size: str) -> str:
        head, _, rest = size.replace(PLUS, "+").partition("_")
        return size if size.isdecimal() else self.writer.name(spell(head, rest) if head and rest else self.spelling(size))

    def _bracket(self, inner: Written) -> Written:
        """Brackets around a text and its sign; they grow around other brackets."""
        minus = "-" if inner.flags & _NEGATIVE else ""
        if self.latex and inner.flags & (_NESTED | _TALL):
            return Written(_join((r"\left( ", minus, inner.text, r" \right)")), _ATOM, _NESTED | _TALL)
        return Written(_join(("(", minus, inner.text, ")")), _ATOM, _NESTED)

    def _at(self, level: int, written: Written) -> Written:
        """An operand that holds together at least as tightly as ``level`` and has no sign."""
        return self._bracket(written) if written.level < level or written.flags & _NEGATIVE else written

    def call(self, head: Text, arguments: Sequence[Text], flags: int) -> Written:
        """A function with its arguments in brackets."""
        pieces: list[Text] = [head]
        grows = self.latex and flags & (_NESTED | _TALL)
        pieces.append(r"\left( " if grows else "(")
        for k, argument in enumerate(arguments):
            if k:
                pieces.append(", ")
            pieces.append(argument)
        pieces.append(r" \right)" if grows else ")")
        return Written(_join(pieces), _ATOM, _NESTED | _TALL if grows else _NESTED)

    def signed(self, written: Written) -> Text:
        """A text with its minus sign."""
        return _join(("-", written.text)) if written.flags & _NEGATIVE else written.text

    def juxtapose(self, factors: Sequence[Written], dots: Sequence[bool] = ()) -> Written:
        """Factors beside each other; the sign of the first stands in front of all of them."""
        if len(factors) == 1:
            return factors[0]
        pieces: list[Text] = []
        flags, level, sign = 0, _PRODUCT, 0
        last = len(factors) - 1
        for k, factor in enumerate(factors):
            if factor.flags & _REACHES and k < last and not (dots and (dots[k] or dots[k + 1])):
                factor = self._bracket(factor)  # not the gradient of the product that follows
            if k:
                pieces.append(self.writer.signs.dot if dots and (dots[k] or dots[k - 1]) else " ")
                if factor.level < _PRODUCT or factor.flags & (_NEGATIVE | _DIGIT):
                    factor = self._bracket(factor)
                if factor.flags & _BY_NAME and factors[k - 1].flags & _NAME:
                    flags |= _BESIDE
            else:
                if factor.level < _PREFIXED or (self.exact and factor.flags & _NEGATIVE):
                    factor = self._bracket(factor)
                level = min(level, factor.level)
                sign = factor.flags & (_NEGATIVE | _DIGIT | _BY_NAME)
            pieces.append(factor.text)
            flags |= factor.flags
        return Written(_join(pieces), level, flags & _INSIDE | sign | factors[-1].flags & _RAISED)

    def fraction(self, above: Written, below: Written, in_front: bool = False) -> Written:
        """One scalar over another, or an array over a scalar; ``in_front`` of something it stays together, as in ``2/n A x``."""
        if self.latex:
            return Written(_join((r"\frac{", self.signed(above), "}{", self.signed(below), "}")), _SYMBOL, _TALL)
        above, below = self._at(_PREFIXED, above), self._at(_SYMBOL, below)
        flags = (above.flags | below.flags) & _INSIDE | above.flags & _DIGIT
        if in_front and above.level == _ATOM:
            return Written(_join((above.text, "/", below.text)), _PREFIXED, flags)
        return Written(_join((above.text, " / ", below.text)), _FRACTION, flags)

    def raised(self, base: Written, exponent: str) -> Written:
        """A text with a superscript."""
        if base.level < _ATOM or base.flags & (_RAISED | _NEGATIVE):
            base = self._bracket(base)
        return Written(_join((base.text, exponent)), _ATOM, base.flags & (_INSIDE | _DIGIT | _BY_NAME) | _RAISED)

    def exponent(self, value: Fraction) -> str:
        """A number as the power of a scalar."""
        if self.latex:
            return f"^{{{value}}}"
        if value.denominator != 1:
            return f"^({value})"
        return f"^{value}" if self.ascii else "".join(_SUPERSCRIPT[c] for c in str(value))

    # --- numbers, scalars and fractions in front ---

    def keep(self, node: int, found: Monomial) -> Written:
        """Write a monomial, and remember it for what is made of it."""
        if len(found.above) + len(found.below) <= MOST_SCALARS:
            self._monomials[node] = found
        return self.gathered(found, self.shapes[node] == SCALAR)

    def gathered(self, found: Monomial, is_scalar: bool) -> Written:
        r"""A number, scalars and the rest as ``-\frac{2 s}{n} A x``."""
        coefficient, above, below, body = found
        negative = (coefficient < 0) is not (body is not None and bool(body.flags & _NEGATIVE))
        if body is not None and body.flags & _NEGATIVE:
            body = body._replace(flags=body.flags & ~_NEGATIVE)
        size = abs(coefficient)
        scalars = list(above)
        if below:
            if body is not None and size == 1 and (is_scalar or (not scalars and (body.level == _ATOM or body.level == _SUM))):
                scalars.append(body)
                body = None
            if size.numerator != 1:
                scalars.insert(0, self.number(Fraction(size.numerator)))
            under = list(below) if size.denominator == 1 else [self.number(Fraction(size.denominator)), *below]
            front = [self.fraction(self._scalars(scalars), self._scalars(under), body is not None)]
        else:
            front = [self.number(size)] if size != 1 or not (scalars or body) else []
            if scalars:
                whole = body is None and not front
                front += [self._scalar_factor(scalar, alone=whole and len(scalars) == 1) for scalar in scalars]
        result = self._with_front(front, body, size != 1 and not below)
        return result._replace(flags=result.flags | _NEGATIVE) if negative else result

    def _with_front(self, front: list[Written], body: Written | None, has_number: bool) -> Written:
        """Numbers and scalars before the rest; ``has_number`` says that the first of several is a number."""
        if body is None:
            written = self.juxtapose(front)
            return written if len(front) == 1 else written._replace(level=_PREFIXED if has_number else _PRODUCT)
        if not front:
            return self._bracket(body) if body.level == _SUM else body
        if body.level == _ELEMENTWISE and len(front) == 1 and has_number and not self.exact and not body.flags & _DIGIT:
            first = front[0]
            flags = (first.flags | body.flags) & _INSIDE | first.flags & _DIGIT
            return Written(_join((first.text, " ", body.text)), _ELEMENTWISE, flags)
        return self.juxtapose([*front, body])._replace(level=_PREFIXED)

    def _scalars(self, factors: list[Written]) -> Written:
        """Scalars above or below a fraction line."""
        if not factors:
            return self.number(_ONE)
        if len(factors) == 1:
            return factors[0]
        return self.juxtapose([self._scalar_factor(factor) for factor in factors])

    def _scalar_factor(self, factor: Written, alone: bool = False) -> Written:
        """A scalar as one of several factors: one that is a product of arrays keeps together."""
        if alone or factor.level >= _SYMBOL:
            return factor
        return self._bracket(factor)

    # --- derivatives of opaque layers ---

    def symbol(self, step: Step) -> str:
        r"""``J_{h} g``, ``\nabla_{y} l`` or ``\nabla^{2}_{u, v} \langle \lambda, g \rangle``, after what the layer is applied to."""
        writer = self.writer
        layer = self.word(step.name).text
        if step.operation == "adjoint":
            return f"{writer.signs.upright}{layer}"
        slots = [int(slot) for slot in step.coefficients]
        if step.operation == "curvature":
            weight, *inputs = step.inputs
            by = ", ".join(self._index(inputs[slot]) for slot in slots)
            second = writer.below_operator(f"{writer.signs.nabla}{writer.signs.square}", by)
            if self.shapes[weight] != SCALAR:
                return f"{second} {writer.pairing(_flatten(self.signed(self.operand(weight))), _flatten(layer))}"
            one = self.steps[weight].operation == "number" and self.steps[weight].coefficients[0] == 1
            return _flatten(
                self.juxtapose([*([] if one else [self.operand(weight)]), Written(f"{second} {_flatten(layer)}", _SYMBOL)]).text
            )
        head = "J" if step.operation == "partial" else writer.signs.nabla
        return f"{writer.below_operator(head, self._index(step.inputs[slots[0]]))} {_flatten(layer)}"

    def _index(self, node: int) -> str:
        written = self.operand(node)
        text = _flatten(self.signed(written))
        return text if self.latex or written.level == _ATOM else f"{{{text}}}"


# --- one function for each way of writing -----------------------------------------------------------------------------


def _write_leaf(formula: Formula, node: int, step: Step) -> Written:
    del node
    return formula.word(step.name)


def _write_number(formula: Formula, node: int, step: Step) -> Written:
    del node
    return formula.number(step.coefficients[0])


def _write_constant(formula: Formula, node: int, step: Step) -> Written:
    del node
    return formula.word("π" if step.name in ("pi", "π") else step.name)


def _write_dimension(formula: Formula, node: int, step: Step) -> Written:
    del node
    return formula.dimension(step.name)


def _write_ones(formula: Formula, node: int, step: Step) -> Written:
    shape = formula.shapes[node]
    if shape == SCALAR:
        return formula.number(_ONE)
    sign = formula.sign(step)
    if formula.exact or formula.ascii:
        rows, columns = formula.dimension(shape.rows).text, formula.dimension(shape.columns).text
        head = r"\operatorname{ones}" if formula.latex else "ones"
        return formula.call(head, (rows,) if shape.columns == "1" else (rows, columns), 0)
    if shape.columns == "1":
        return Written(sign, _ATOM)
    row = sign + formula.writer.signs.transpose
    return Written(row, _ATOM, _RAISED) if shape.rows == "1" else Written(f"{sign} {row}", _PRODUCT, _RAISED)


def _write_zeros(formula: Formula, node: int, step: Step) -> Written:
    shape = formula.shapes[node]
    if not formula.exact or shape == SCALAR:
        return formula.number(Fraction(0))
    rows, columns = formula.dimension(shape.rows).text, formula.dimension(shape.columns).text
    return formula.call(formula.sign(step), (rows,) if shape.columns == "1" else (rows, columns), 0)


def _write_identity(formula: Formula, node: int, step: Step) -> Written:
    del step
    size = formula.shapes[node].rows
    if formula.exact and not _is_fresh(size):
        return formula.call(formula.identity, (formula.dimension(size).text,), 0)
    return Written(formula.identity, _ATOM)


def _write_unit(formula: Formula, node: int, step: Step) -> Written:
    index = str(step.coefficients[0])
    if formula.exact:
        return formula.call("e", (index, formula.dimension(formula.shapes[node].rows).text), 0)
    return formula._atom(formula.writer.name(Spelling("", "e", "", index)))


def _write_indexed(formula: Formula, node: int, step: Step) -> Written:
    """K_{m,n} or E_{n}."""
    del node
    sizes = [str(formula.dimension(size).text) for size in step.name.split(",")]
    index = ",".join(sizes)
    return Written(f"{formula.sign(step)}_{{{index}}}" if formula.latex or len(index) > 1 else f"{formula.sign(step)}_{index}", _ATOM)


def _write_indicator(formula: Formula, node: int, step: Step) -> Written:
    del node
    inner = formula.operand(step.inputs[0])
    return Written(_join(("1[", formula.signed(inner), " > 0]")), _ATOM, _DIGIT | inner.flags & (_NESTED | _TALL))


def _write_layer(formula: Formula, node: int, step: Step) -> Written:
    arguments: list[Text] = []
    flags = 0
    for slot, source in enumerate(step.inputs):
        name = None if formula.argument_of is None else formula.argument_of(node, slot)
        if name is None:
            written = formula.operand(source)
            if formula.exact and written.flags & _BESIDE:
                # two names beside each other among the arguments of a layer read as a comma that is missing
                written = formula._bracket(written)
            flags |= written.flags
            arguments.append(formula.signed(written))
        else:
            arguments.append(name)
    return formula.call(formula.word(step.name).text, arguments, flags)


def _write_derivative(formula: Formula, node: int, step: Step) -> Written:
    del node
    text = formula.symbol_of(step)
    reaches = _REACHES if step.operation != "adjoint" and not text.endswith((")", formula.writer.signs.transpose)) else 0
    return Written(text, _SYMBOL, (_NESTED if "(" in text else 0) | (_TALL if r"\frac" in text else 0) | reaches)


def _write_call(formula: Formula, node: int, step: Step) -> Written:
    del node
    written = [formula.operand(source) for source in step.inputs]
    flags = 0
    for argument in written:
        flags |= argument.flags
    return formula.call(formula.sign(step), [formula.signed(argument) for argument in written], flags)


def _write_softmax(formula: Formula, node: int, step: Step) -> Written:
    inner = formula.operand(step.inputs[0])
    head = formula.sign(step)
    if step.name == "rows" or formula.shapes[node].columns != "1":
        head += rf"_{{\mathrm{{{step.name}}}}}" if formula.latex else f"_{step.name}"
    return formula.call(head, (formula.signed(inner),), inner.flags)


def _write_apply(formula: Formula, node: int, step: Step) -> Written:
    del node
    return _apply(formula, step)


def _apply(formula: Formula, step: Step, exponent: str = "") -> Written:
    """A function at its argument, perhaps with an exponent behind its name."""
    inner = formula.operand(step.inputs[0])
    name = step.name
    head: Text
    if name not in FUNCTIONS:
        head = formula.word(name).text
    elif not formula.latex:
        head = name
    elif name in _LATEX_FUNCTIONS:
        head = f"\\{name}"
    else:
        base, _, index = name.partition("_")
        head = f"\\operatorname{{{base}}}" + (f"_{{\\mathrm{{{index}}}}}" if index else "")
    if step.coefficients:
        head = _join((head, "'" * int(step.coefficients[0])))
    if exponent:
        head = _join((head, exponent))
    return formula.call(head, (formula.signed(inner),), inner.flags)


def _write_reshape(formula: Formula, node: int, step: Step) -> Written:
    inner, shape = formula.operand(step.inputs[0]), formula.shapes[node]
    sizes = (formula.dimension(shape.rows).text, formula.dimension(shape.columns).text)
    return formula.call(formula.sign(step), (formula.signed(inner), *sizes), inner.flags)


def _write_transpose(formula: Formula, node: int, step: Step) -> Written:
    del node
    source = step.inputs[0]
    inner = formula.steps[source]
    if inner.operation == "inverse" and formula._named.get(source) is None:
        return formula.raised(formula.operand(inner.inputs[0]), r"^{-\top}" if formula.latex else "^-T")
    return formula.raised(formula.operand(source), formula.sign(step))


def _write_inverse(formula: Formula, node: int, step: Step) -> Written:
    del node
    source = step.inputs[0]
    inner = formula.steps[source]
    if inner.operation == "transpose" and formula._named.get(source) is None and not formula.exact:
        return formula.raised(formula.operand(inner.inputs[0]), r"^{-\top}" if formula.latex else "^-T")
    return formula.raised(formula.operand(source), formula.sign(step))


def _norm(formula: Formula, inner: Written, below: str) -> Written:
    if inner.flags & _BARS:
        inner = formula._bracket(inner)
    text = formula.signed(inner)
    if not formula.latex:
        return Written(_join(("||", text, "||", below)), _ATOM, inner.flags & (_NESTED | _TALL) | _BARS)
    left, right = (r"\left\lVert ", r" \right\rVert") if inner.flags & _TALL else (r"\lVert ", r" \rVert")
    return Written(_join((left, text, right, below)), _ATOM, inner.flags & (_NESTED | _TALL) | _BARS)


def _two_norm(formula: Formula, source: int) -> Written:
    """The norm of a node; Frobenius' for a matrix."""
    below = "" if not formula.shapes[source].is_matrix else "_{F}" if formula.latex else "_F"
    return _norm(formula, formula.operand(source), below)


def _write_sqnorm(formula: Formula, node: int, step: Step) -> Written:
    del node
    norm = _two_norm(formula, step.inputs[0])
    return Written(_join((norm.text, formula.exponent(Fraction(2)))), _ATOM, norm.flags | _RAISED)


def _write_norm1(formula: Formula, node: int, step: Step) -> Written:
    del node
    return _norm(formula, formula.operand(step.inputs[0]), "_{1}" if formula.latex else "_1")


def _root(formula: Formula, source: int) -> Written:
    """The square root of every entry; that of a squared norm is the norm."""
    inner = formula.steps[source]
    if inner.operation == "sqnorm" and formula._named.get(source) is None:
        # ||x||^2 reads as the squared norm, not as the square of a norm
        norm = _two_norm(formula, inner.inputs[0])
        return norm._replace(flags=norm.flags | _RAISED)
    written = formula.operand(source)
    if formula.latex:
        return Written(_join((r"\sqrt{", formula.signed(written), "}")), _ATOM, _TALL)
    return formula.call("sqrt", (formula.signed(written),), written.flags)


def _write_power(formula: Formula, node: int, step: Step) -> Written:
    (source,), (exponent,) = step.inputs, step.coefficients
    if formula.shapes[node] == SCALAR:
        if exponent < 0:
            return formula.keep(node, Monomial(_ONE, (), (_scalar_power(formula, source, -exponent),), None))
        return _scalar_power(formula, source, exponent)
    if exponent == _HALF:
        return _root(formula, source)
    if _is_function(formula, source) and exponent.denominator == 1 and exponent > 0:
        return _apply(formula, formula.steps[source], formula.exponent(exponent))
    base = formula.operand(source)
    if exponent == 2 and not formula.exact and (formula._named.get(source) is not None or formula.size(source) <= FEW_ATOMS):
        base = formula._at(_PRODUCT, base)
        sign = formula._sign["hadamard"]
        return Written(_join((base.text, sign, base.text)), _ELEMENTWISE, base.flags & _INSIDE)
    if formula.latex:
        return formula.raised(base, rf"^{{\odot {exponent}}}")
    return formula.raised(base, f".^{exponent}" if exponent.denominator == 1 else f".^({exponent})")


def _is_function(formula: Formula, source: int) -> bool:
    """Whether a node is written as a known function at its argument, whose exponent can stand behind the function's name."""
    step = formula.steps[source]
    known = step.operation == "apply" and step.name in FUNCTIONS and not step.coefficients
    return known and not formula.exact and formula._named.get(source) is None


def _scalar_power(formula: Formula, source: int, exponent: Fraction) -> Written:
    """A positive power of a scalar."""
    if exponent == _HALF:
        return _root(formula, source)
    if _is_function(formula, source) and exponent.denominator == 1 and exponent > 1:
        return _apply(formula, formula.steps[source], formula.exponent(exponent))
    inner = formula.steps[source]
    if inner.operation == "sqnorm" and exponent.denominator == 2 and not formula.exact and formula._named.get(source) is None:
        norm = _two_norm(formula, inner.inputs[0])
        return Written(_join((norm.text, formula.exponent(2 * exponent))), _ATOM, norm.flags | _RAISED)
    base = formula.operand(source)
    return base if exponent == 1 else formula.raised(base, formula.exponent(exponent))


def _write_sum(formula: Formula, node: int, step: Step) -> Written:
    inputs, coefficients = step.inputs, step.coefficients
    if len(inputs) == 1 and formula.steps[inputs[0]].operation != "number":
        found = formula.monomial(inputs[0])
        if formula.exact and (found.coefficient != 1 or (found.body is not None and found.body.flags & _NEGATIVE)):
            found = Monomial(_ONE, (), (), formula._bracket(formula.operand(inputs[0])))
        return formula.keep(node, found._replace(coefficient=found.coefficient * coefficients[0]))
    pieces: list[Text] = []
    flags = 0
    spread = [formula.exact and _is_spread(formula, source) for source in inputs]
    for k, (source, coefficient) in enumerate(zip(inputs, coefficients, strict=True)):
        term = (_spread_term if spread[k] and not all(spread) else _term)(formula, source, coefficient)
        negative = term.flags & _NEGATIVE
        if not k:
            if negative:
                pieces.append("-")
                flags |= _SIGNED
            flags |= term.flags & (_DIGIT | _SIGNED)
        else:
            if term.flags & _SIGNED:
                term = formula._bracket(term)
            pieces.append(" - " if negative else " + ")
        pieces.append(term.text)
        flags |= term.flags & _INSIDE
    return Written(_join(pieces), _SUM, flags)


def _is_spread(formula: Formula, source: int) -> bool:
    """Whether a term is μ 1 or b 1ᵀ: with other terms beside it, the size of 1 need not be said."""
    step = formula.steps[source]
    if formula._named.get(source) is not None or step.operation not in ("scale", "product") or len(step.inputs) != 2:
        return False
    ones = step.inputs[1]
    row_or_column = "1" in formula.shapes[ones] if step.operation == "scale" else formula.shapes[ones].rows == "1"
    return row_or_column and formula.steps[ones].operation == "ones" and formula._named.get(ones) is None


def _spread_term(formula: Formula, source: int, coefficient: Fraction) -> Written:
    """The term μ 1 or b 1ᵀ; where 1 has no sign, and a size that cannot be typed, it is left out."""
    step, (first, ones) = formula.steps[source], formula.steps[source].inputs
    shape = formula.shapes[ones]
    if formula.ascii:
        return _term(formula, first if _is_fresh(*shape) else source, coefficient)
    sign = formula._sign["ones"]
    one = Written(sign, _ATOM) if shape.columns == "1" else Written(sign + formula.writer.signs.transpose, _ATOM, _RAISED)
    if step.operation == "scale":
        found = formula.monomial(source)._replace(body=one)
    else:
        found = Monomial(_ONE, (), (), formula.juxtapose([formula.operand(first), one]))
    return formula.gathered(found._replace(coefficient=coefficient * found.coefficient), False)


def _is_fresh(*sizes: str) -> bool:
    """Whether one of some sizes was made up in reading: no name that a text has contains an underscore."""
    return any("_" in size for size in sizes)


def _term(formula: Formula, source: int, coefficient: Fraction) -> Written:
    """One term of a sum, with its sign apart."""
    if coefficient == 1:
        written = formula.operand(source)
        if formula.exact and (written.level == _SUM or written.flags & _NEGATIVE) and formula.steps[source].operation != "number":
            return formula._bracket(written)
        return written
    if formula.steps[source].operation == "number" and formula._named.get(source) is None:
        return formula.number(coefficient * formula.steps[source].coefficients[0])
    if coefficient == -1 and source not in formula._monomials:
        written = formula.operand(source)
        if written.level == _SUM or (formula.exact and written.flags & _NEGATIVE):
            written = formula._bracket(written)
        return Written(written.text, written.level, written.flags ^ _NEGATIVE)
    found = formula.monomial(source)
    if formula.exact and found.coefficient != 1:
        found = Monomial(_ONE, (), (), formula._bracket(formula.operand(source)))
    return formula.gathered(found._replace(coefficient=coefficient * found.coefficient), formula.shapes[source] == SCALAR)


def _write_scale(formula: Formula, node: int, step: Step) -> Written:
    scalar, source = step.inputs
    if formula.exact:
        total, inverse = _total(formula, source), formula.steps[scalar]
        if total is not None and inverse.operation == "power" and inverse.coefficients[0] == -1 and formula._named.get(scalar) is None:
            count = formula.steps[inverse.inputs[0]]
            sizes = [formula.steps[factor] for factor in count.inputs] if count.operation == "scale" else [count]
            if all(size.operation == "dimension" for size in sizes) and "*".join(size.name for size in sizes) == total[2]:
                return _write_total(formula, "mean", *total[:2])
    front, rest = formula.monomial(scalar), formula.monomial(source)
    if formula.exact:
        if front.coefficient != 1:
            front = Monomial(_ONE, (), (), formula.operand(scalar))
        if rest.coefficient != 1 or (rest.body is not None and rest.body.flags & _NEGATIVE):
            rest = Monomial(_ONE, (), (), formula._bracket(formula.operand(source)))
    above = front.above if front.body is None else (*front.above, front.body)
    if front.body is not None and front.body.flags & _NEGATIVE:
        above = (*front.above, formula._bracket(front.body))
    return formula.keep(node, Monomial(front.coefficient * rest.coefficient, above + rest.above, front.below + rest.below, rest.body))


def _total(formula: Formula, node: int) -> tuple[int, str, str] | None:
    """What a product with 1 adds up, ``rows`` or ``columns`` where it does so to a matrix, and how many it adds; None if it is no sum."""
    step = formula.steps[node]
    if step.operation != "product" or formula._named.get(node) is not None:
        return None
    is_ones = [formula.steps[source].operation == "ones" and formula._named.get(source) is None for source in step.inputs]
    first, last = formula.shapes[step.inputs[0]], formula.shapes[step.inputs[-1]]
    if is_ones == [True, False, True] and first.rows == last.columns == "1":
        return step.inputs[1], "", f"{first.columns}*{last.rows}"
    if is_ones == [True, False] and first.rows == "1":
        return step.inputs[1], "columns" if last.is_matrix else "", first.columns
    if is_ones == [False, True] and last.columns == "1" and first.is_matrix and first.rows != "1":
        return step.inputs[0], "rows", last.rows
    return None


def _write_total(formula: Formula, name: str, source: int, direction: str) -> Written:
    inner = formula.operand(source)
    head = f"\\operatorname{{{name}}}" if formula.latex else name
    arguments: list[Text] = [formula.signed(inner)]
    if direction:
        arguments.append(f"\\mathrm{{{direction}}}" if formula.latex else direction)
    return formula.call(head, arguments, inner.flags)


def _write_product(formula: Formula, node: int, step: Step) -> Written:
    inputs = step.inputs
    if formula.exact:
        total = _total(formula, node)
        if total is not None:
            return _write_total(formula, "sum", *total[:2])
    dots = [formula.steps[source].operation in _DERIVATIVES for source in inputs] if formula.dotted else ()
    factors = [formula.operand(source) for source in inputs]
    first = None if formula.exact else formula.split(inputs[0])
    if first is not None and first.body is not None and (first.coefficient != 1 or first.above or first.below):
        # numbers and scalars of the first factor stand in front of all of them
        body = first.body if first.body.level >= _PRODUCT else formula._bracket(first.body)
        return formula.keep(node, first._replace(body=formula.juxtapose([body, *factors[1:]], dots)))
    return formula.juxtapose(factors, dots)


def _write_elementwise(formula: Formula, node: int, step: Step) -> Written:
    first = None if formula.exact else formula.split(step.inputs[0])
    if first is not None and (first.body is None or first.coefficient == 1 or first.above or first.below):
        first = None
    factor = formula.operand(step.inputs[0]) if first is None or first.body is None else first.body
    factor = formula._at(_PREFIXED, factor)
    pieces: list[Text] = [factor.text]
    flags = factor.flags & (_INSIDE | _DIGIT)
    for source in step.inputs[1:]:
        sign = formula.sign(step)
        inner = formula.steps[source]
        unnamed = formula._named.get(source) is None
        if step.operation == "hadamard" and unnamed and inner.operation == "power" and inner.coefficients[0] < 0:
            sign = formula._sign["power"]
            factor = _array_power(formula, inner.inputs[0], -inner.coefficients[0])
        else:
            factor = formula.operand(source)
        factor = formula._at(_PREFIXED, factor)
        pieces += (sign, factor.text)
        flags |= factor.flags & _INSIDE
    written = Written(_join(pieces), _ELEMENTWISE, flags)
    # the number of the first factor stands in front of all of them
    return written if first is None else formula.keep(node, Monomial(first.coefficient, (), (), written))


def _array_power(formula: Formula, source: int, exponent: Fraction) -> Written:
    """A positive power of every entry, as one factor."""
    if exponent == _HALF:
        return _root(formula, source)
    base = formula.operand(source)
    if exponent == 1:
        return base
    if formula.latex:
        return formula.raised(base, rf"^{{\odot {exponent}}}")
    return formula.raised(base, f".^{exponent}" if exponent.denominator == 1 else f".^({exponent})")


def _write_kron(formula: Formula, node: int, step: Step) -> Written:
    return _write_call(formula, node, step) if formula.ascii else _write_elementwise(formula, node, step)


def _write_blocks(formula: Formula, node: int, step: Step) -> Written:
    del node
    below = step.operation == "below"
    rows: list[list[Written]] = [[formula.operand(source)] for source in step.inputs] if below else []
    if below:
        blocks = [formula.steps[source] for source in step.inputs]
        unnamed = all(formula._named.get(source) is None for source in step.inputs)
        if unnamed and all(block.operation == "beside" for block in blocks):
            rows = [[formula.operand(source) for source in block.inputs] for block in blocks]
    else:
        rows = [[formula.operand(source) for source in step.inputs]]
    beside, under = (" & ", r" \\ ") if formula.latex else (", ", "; ")
    pieces: list[Text] = [r"\begin{pmatrix} " if formula.latex else "["]
    for k, row in enumerate(rows):
        if k:
            pieces.append(under)
        for j, block in enumerate(row):
            if j:
                pieces.append(beside)
            pieces.append(formula.signed(block))
    pieces.append(r" \end{pmatrix}" if formula.latex else "]")
    return Written(_join(pieces), _ATOM, _NESTED | _TALL if formula.latex else _NESTED)


class Form(NamedTuple):
    """How an operation is written: its sign or word in each language, and the function that puts it together."""

    latex: str
    unicode: str
    ascii: str
    write: Callable[[Formula, int, Step], Written]


def _word(name: str, write: Callable[[Formula, int, Step], Written] = _write_call) -> Form:
    return Form(f"\\operatorname{{{name}}}", name, name, write)


def _bare(write: Callable[[Formula, int, Step], Written]) -> Form:
    return Form("", "", "", write)


FORMS = {
    "leaf": _bare(_write_leaf),
    "symbol": _bare(_write_leaf),
    "number": _bare(_write_number),
    "constant": _bare(_write_constant),
    "dimension": _bare(_write_dimension),
    "ones": Form(r"\mathbf{1}", "𝟏", "ones", _write_ones),
    "zeros": _word("zeros", _write_zeros),
    "identity": _bare(_write_identity),
    "unit": _bare(_write_unit),
    "commutation": Form("K", "K", "K", _write_indexed),
    "embedding": Form("E", "E", "E", _write_indexed),
    "indicator": _bare(_write_indicator),
    "layer": _bare(_write_layer),
    "partial": _bare(_write_derivative),
    "gradient": _bare(_write_derivative),
    "curvature": _bare(_write_derivative),
    "adjoint": _bare(_write_derivative),
    "sum": _bare(_write_sum),
    "scale": _bare(_write_scale),
    "product": _bare(_write_product),
    "hadamard": Form(r" \odot ", " ⊙ ", " .* ", _write_elementwise),
    "power": Form(r" \oslash ", " ⊘ ", " ./ ", _write_power),
    "kron": Form(r" \otimes ", " ⊗ ", "kron", _write_kron),
    "apply": _bare(_write_apply),
    "transpose": Form(r"^{\top}", "ᵀ", "^T", _write_transpose),
    "inverse": Form("^{-1}", "⁻¹", "^-1", _write_inverse),
    "trace": _word("tr"),
    "det": Form(r"\det", "det", "det", _write_call),
    "logdet": _word("logdet"),
    "logsumexp": _word("logsumexp"),
    "sqnorm": _bare(_write_sqnorm),
    "norm1": _bare(_write_norm1),
    "softmax": _word("softmax", _write_softmax),
    "CE": _word("CE"),
    "layernorm": _word("layernorm"),
    "diag": _word("diag"),
    "diagonal": _word("diag"),
    "vec": _word("vec"),
    "reshape": _word("reshape", _write_reshape),
    "beside": _bare(_write_blocks),
    "below": _bare(_write_blocks),
}
"""The operations and how they are written. One more takes one record; the sign of ``power`` is that of an entrywise quotient."""

_DERIVATIVES = frozenset({"partial", "gradient", "curvature"})
_ATOMS = frozenset(
    (
        "leaf symbol number constant dimension ones zeros identity unit commutation embedding indicator layer partial gradient "
        "curvature adjoint apply trace det logdet logsumexp softmax CE layernorm diag diagonal vec reshape"
    ).split()
)
"""Operations that put a name, a number or a function's name on paper."""

_LATEX_FUNCTIONS = frozenset("exp log sin cos tan sinh cosh tanh".split())
_SUPERSCRIPT = {plain: raised for raised, plain in SUPERSCRIPTS.items()}
_SUPERSCRIPT_SIGNS = frozenset(SUPERSCRIPTS)


class Values(Sequence[Step]):
    """The values of a tape as steps, leaves included, without a copy."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __len__(self) -> int:
        return len(self.tape.names)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | list[Step]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        leaves = self.tape.leaves
        return self.tape.steps[index - leaves] if index >= leaves else Step("leaf", self.tape.names[index], ())


def of_tape(tape: Tape, writer: Writer, labels: Labels, deep: bool = True) -> Formula:
    """Writes the values of a tape: values with a name by it, the others out or, unless ``deep``, layers and their arguments by fresh names.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> from jacobian_chain.writers import TextWriter
    >>> tape = read_composition(Source("z = g(x + y) + 2 y")).tape
    >>> of_tape(tape, TextWriter(), Labels(tape, 4, "outputs")).text(4)
    'g(x + y) + 2 y'
    """
    names, steps, leaves = tape.names, tape.steps, tape.leaves

    def name_of(value: int) -> str | None:
        if names[value] or not (deep or steps[value - leaves].operation != "layer"):
            return writer.name(labels.value(value))
        return None

    def argument_of(step: int, slot: int) -> str | None:
        return None if deep else writer.name(labels.slot(step, slot))

    taken = tape.index("I") is not None or any(name == "I" for name, _ in tape.groups)
    sign = writer.signs.other_identity if taken else writer.signs.identity
    return Formula(Values(tape), tape.shapes, writer, name_of, spelling=labels.name, identity=sign, exact=True, argument_of=argument_of)


def function_definitions(tape: Tape, writer: Writer) -> list[tuple[str, str]]:
    """Left and right sides of the elementwise functions that a text defines.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> from jacobian_chain.writers import TextWriter
    >>> tape = read_composition(Source("g(t) = t / (1 + exp(-t)); y = g(W x)")).tape
    >>> function_definitions(tape, TextWriter())
    [('g(t)', 't / (1 + exp(-t))')]
    """
    found = []
    for name, body in tape.functions:
        value = len(body.names) - 1
        labels = Labels(body, value, "outputs")
        head, argument = writer.name(tape.spellings.get(name) or spell(name)), writer.name(labels.value(0))
        found.append((f"{head}({argument})", of_tape(body, writer, labels).text(value)))
    return found
