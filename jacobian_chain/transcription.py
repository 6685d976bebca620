r"""A formula of an answer through concrete layers, written out as it was understood.

Names are the answer's own, the order is as typed, and every sign is the one that the shapes decided: ``*`` between columns stands as
``\odot``, before a matrix as a product. Brackets stand exactly where the grammar needs them, so that what is written reads back.
:mod:`jacobian_chain.transcript` does the same for answers through unspecified layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

from jacobian_chain.expressions import Expression, Setting, Solution
from jacobian_chain.formula import Formula, Values
from jacobian_chain.names import FUNCTIONS
from jacobian_chain.notation import Labels
from jacobian_chain.tokens import SUPERSCRIPTS, Spelling, spell
from jacobian_chain.worlds import SHRUNK
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

MAX_WRITTEN = 10_000
"""Characters after which dots stand for the rest."""

MAX_VALUE = 200
"""Most names, numbers and functions in a value without a name that is written out."""

Operators = Mapping[tuple[int, int], str]
"""What the signs of products mean, by the key of the node and the number of the sign, counted from 0: ``matrix`` (product), ``scale``,
``entrywise``, ``kron``, ``outer``, ``divide``."""

_AS_TYPED: Operators = {}

# how tightly a text holds together
_SUM, _ELEMENTWISE, _PRODUCT, _SYMBOL, _ATOM = range(1, 6)

# what the end of a text could be taken to act on
_CLOSED = 0
_BRACKET = 1  # a bracket beside it, as in f' (x)
_FACTOR = 2  # a factor beside it, as in ∇ f x
_TERM = 3  # what follows ⊙ too, as in Σ a ⊙ b

_STARTS_OTHERWISE = re.compile(r"[0-9]|\|(?!\|)|(?:\\left)?\\lvert")  # a digit of the name before it, a bar that parts blocks
_ENDS_IN_D = re.compile(r"(?<!\w)d$")  # d x reads as a differential
_LETTER = re.compile(r"[^\W\d_]'*")
_TALL = re.compile(r"(?<!\^\{)\(|\\(?:frac|begin|sum|sqrt)")  # brackets grow around it
_FRACTIONS = ("∂", "d")


class Written(NamedTuple):
    """A text, how tightly it holds together, and how far its end reaches; the level is that of a product for what begins with a minus."""

    text: str
    level: int = _ATOM
    reach: int = _CLOSED


class Join(NamedTuple):
    """A sign between factors, in each language."""

    level: int
    latex: str
    unicode: str
    ascii: str


_BESIDE = Join(_PRODUCT, " ", " ", " ")
_DOT = Join(_PRODUCT, r" \cdot ", " · ", " * ")
_ENTRYWISE = Join(_ELEMENTWISE, r" \odot ", " ⊙ ", " .* ")
_KRON = Join(_ELEMENTWISE, r" \otimes ", " ⊗ ", "")
_OVER = Join(_PRODUCT, " / ", " / ", " / ")
_RATIO = Join(_ELEMENTWISE, r" \oslash ", " ⊘ ", " ./ ")
_JOINS = {
    "": _BESIDE,
    "·": _DOT,
    "×": Join(_PRODUCT, r" \times ", " × ", " * "),
    "*": Join(_PRODUCT, " * ", " * ", " * "),
    "@": Join(_PRODUCT, " @ ", " @ ", " @ "),
    "/": _OVER,
    "⊙": _ENTRYWISE,
    ".*": _ENTRYWISE,
    "∘": Join(_ELEMENTWISE, r" \circ ", " ∘ ", " .* "),
    "⊗": _KRON,
    "./": _RATIO,
    "⊘": _RATIO,
}
_MEANINGS = {"matrix": _BESIDE, "scale": _BESIDE, "outer": _BESIDE, "entrywise": _ENTRYWISE, "kron": _KRON}
_QUOTIENTS = frozenset({"/", "./", "⊘"})


def write_latex(solution: Solution, root: int, setting: Setting | None = None, operators: Operators = _AS_TYPED) -> str:
    r"""A formula as LaTeX, with its derivatives and signs as a reading takes them; without one as they were typed.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.expressions import Expressions
    >>> from jacobian_chain.reading import read_composition
    >>> formulas = Expressions()
    >>> W, x = (formulas.add("value", value=k) for k in (0, 1))
    >>> root = formulas.add("product", (formulas.add("sum", (x, x), (1, -1)), formulas.add("transpose", (W,))), ("*",))
    >>> solution = Solution(read_composition(Source("y = W x")).tape, formulas, (), (), {}, {}, "", ())
    >>> write_latex(solution, root), write_latex(solution, root, operators={(formulas.keys[root], 0): "entrywise"})
    ('(x - x) * W^{\\top}', '(x - x) \\odot W^{\\top}')
    """
    return Transcriber(solution, setting, operators, LatexWriter()).write(root)


def write_text(solution: Solution, root: int, setting: Setting | None = None, operators: Operators = _AS_TYPED, ascii: bool = False) -> str:
    """The same as text for a terminal."""
    return Transcriber(solution, setting, operators, TextWriter(ascii=ascii)).write(root)


class Transcriber:
    """Writes formulas of a solution under one reading, in one language."""

    def __init__(self, solution: Solution, setting: Setting | None, operators: Operators, writer: Writer) -> None:
        self.solution = solution
        self.nodes = solution.formulas.nodes
        self.total = frozenset[int]() if setting is None else setting.total
        self.operators = operators
        self.writer = writer
        self.latex = isinstance(writer, LatexWriter)
        self.ascii = isinstance(writer, TextWriter) and writer.ascii
        self.dots = Written(r"\dots" if self.latex else "..." if self.ascii else "…")
        tape = solution.tape
        self.labels = Labels(tape, len(tape.names) - 1, "outputs")
        named = [cast(Spelling, node.value).key for node in self.nodes if node.kind == "name"]
        self.names = frozenset((*tape.names, *named, *[name.key for name in solution.spellings.values()]))
        self.identity = writer.signs.other_identity if "I" in self.names else writer.signs.identity
        self.values = Formula(Values(tape), tape.shapes, writer, self.name, spelling=self.function, identity=self.identity, exact=True)
        self.written: dict[int, Written] = {}

    def write(self, root: int) -> str:
        """A formula; the entries alone of an array that is given by its entries, as the left side says which they are."""
        node = self.nodes[root]
        root = node.args[0] if node.kind == "components" else root
        for at in self.solution.formulas.below(root):
            if at not in self.written:
                found = _FORMS[self.nodes[at].kind](self, at)
                self.written[at] = found if len(found.text) <= MAX_WRITTEN else self.dots
        return self.written[root].text

    # --- names ---

    def spelling(self, value: int) -> Spelling | None:
        """What a value of the composition is called, None where it has no name."""
        own = self.solution.tape.names[value]
        return self.solution.spellings.get(value) or (self.labels.name(own) if own else None)

    def name(self, value: int) -> str | None:
        """The name of a value as text."""
        spelling = self.spelling(value)
        return None if spelling is None else self.writer.name(spelling)

    def function(self, key: str) -> Spelling:
        """What a function or layer is called."""
        return self.solution.functions.get(key) or self.labels.name(key)

    def value(self, value: int) -> Written:
        """A value by its name, or written out."""
        spelling = self.spelling(value)
        if spelling is not None:
            return self.spelled(spelling)
        if self.values.size(value) > MAX_VALUE:
            return self.dots
        text = self.values.factor(value)
        return Written(text, _SYMBOL if text == self.values.text(value) else _ATOM)

    def spelled(self, spelling: Spelling) -> Written:
        text = self.writer.name(spelling)
        return Written(text, _SYMBOL if "^" in text or text[-1:] in SUPERSCRIPTS else _ATOM)

    def lone_name(self, node: Expression) -> Spelling | None:
        """The name that a node is written as, if it is."""
        if node.kind == "name":
            return cast(Spelling, node.value)
        return self.spelling(cast(int, node.value)) if node.kind == "value" else None

    def makes_name(self, node: Expression, index: str) -> bool:
        """Whether an index at a node would be read as one more piece of a name: x and 2 where there is an x2."""
        spelling = self.lone_name(node)
        return spelling is not None and (spelling.key + index in self.names or f"{spelling.key}^{index}" in self.names)

    def size(self, text: str) -> Written:
        """A size as a number."""
        written = str(self.values.dimension(text).text).replace(SHRUNK, "")
        return Written(written, _SUM if "+" in written else _PRODUCT if " " in written else _ATOM)

    # --- pieces ---

    def bracket(self, inner: Written) -> Written:
        """Brackets around a text; they grow around others."""
        if self.latex and _TALL.search(inner.text):
            return Written(rf"\left( {inner.text} \right)")
        return Written(f"({inner.text})")

    def operand(self, inner: Written, level: int) -> Written:
        """A text that holds together at least that tightly."""
        return self.bracket(inner) if inner.level < level else inner

    def later(self, inner: Written, level: int) -> Written:
        """The same where it does not come first, so that no minus may lead it."""
        return self.bracket(inner) if inner.level < level or inner.text.startswith("-") else inner

    def raised(self, base: Written, exponent: str) -> Written:
        """A text with a superscript."""
        return Written(self.later(base, _ATOM).text + exponent, _SYMBOL)

    def call(self, head: str, arguments: Sequence[str]) -> Written:
        """A function with its arguments."""
        return Written(head + self.bracket(Written(", ".join(arguments))).text)

    def head(self, name: str) -> str:
        """A function of the language as it stands before its argument."""
        if not self.latex:
            return name
        if name in _LATEX_FUNCTIONS:
            return f"\\{name}"
        base, _, index = name.partition("_")
        return f"\\operatorname{{{base}}}" + (f"_{{\\mathrm{{{index}}}}}" if index else "")

    def exponent(self, exponent: Fraction, entrywise: bool) -> str:
        if self.latex:
            if not entrywise:
                return f"^{{{exponent}}}"
            return rf"^{{\odot {exponent}}}" if exponent.denominator == 1 else f".^{{{exponent}}}"
        if entrywise:
            return f".^{exponent}" if exponent.denominator == 1 and exponent >= 0 else f".^({exponent})"
        return self.values.exponent(exponent)

    def index_name(self, index: str) -> str:
        """The name of an index, primes and all."""
        letter = index.rstrip("'")
        return self.writer.name(spell(letter)) + index[len(letter) :]

    def index(self, indices: Sequence[str | int]) -> str:
        """Indices below a sign."""
        parts = [self.index_name(index) if isinstance(index, str) else str(index) for index in indices]
        text = ("" if all(_LETTER.fullmatch(part) for part in parts) else ",").join(parts)
        return f"_{{{text}}}" if self.latex or len(text) > 1 else f"_{text}"

    def below(self, sign: str, size: str) -> str:
        """A sign with a size at it, below or, where that is no single word, in brackets."""
        written = self.size(size)
        if written.level < _ATOM:
            return self.call(sign, [written.text]).text
        return self.writer.below_operator(sign, written.text) if self.latex else f"{sign}_{written.text}"

    def join(self, left: Written, right: Written, join: Join, last: bool) -> Written:
        """Two factors, the first of which may be several."""
        if self.ascii and join is _KRON:
            return self.call("kron", [left.text, right.text])
        product = join.level == _PRODUCT
        if product:
            ends = last and right.reach == _TERM and right.level == _PRODUCT and join is not _OVER
            right = self.later(right, _PRODUCT if ends else _SYMBOL)
            right = right if last or right.reach < _FACTOR else self.bracket(right)
        else:
            right = self.later(right, _PRODUCT)
        if left.reach >= (_FACTOR if product else _TERM):
            left = self.bracket(left)
        left = self.operand(left, join.level)
        if join is _BESIDE and right.text.startswith("1["):
            right = self.bracket(right)  # an array, which a dot could multiply entry by entry
        elif join is _BESIDE and self.needs_dot(left, right):
            join = _DOT
        sign = join.latex if self.latex else join.ascii if self.ascii else join.unicode
        if join is _OVER and " " not in left.text + right.text:
            sign = "/"
        return Written(left.text + sign + right.text, join.level, right.reach)

    def needs_dot(self, left: Written, right: Written) -> bool:
        """Whether two factors beside each other would read as something else."""
        if right.text.startswith(("(", r"\left(")):
            return left.reach == _BRACKET
        return _ENDS_IN_D.search(left.text) is not None or (_STARTS_OTHERWISE.match(right.text) is not None)

    # --- derivatives ---

    def derivative(self, atom: int) -> Written:
        """An atom."""
        signs = self.writer.signs
        sign, of, by, meanings, _, on_vec = self.solution.atoms[atom]
        shapes = self.solution.tape.shapes
        above = self.value(of)
        if on_vec and shapes[of].is_matrix:
            above = Written(self.writer.vec(above.text))
        below = [self.writer.vec(self.value(k).text) if on_vec and shapes[k].is_matrix else self.value(k).text for k in by]
        listed = ", ".join(below)
        if sign == "'":
            return self.call(f"{above.text}'", below)
        if sign in _FRACTIONS:
            total = sign == "d" if atom not in self.total else meanings[1] == "total"
            return self.fraction(signs.upright if total else signs.partial, above.text, f"({listed})" if len(below) > 1 else listed)
        return self.operator("J" if sign == "J" else signs.nabla, listed, above.text)

    def fraction(self, sign: str, above: str, below: str) -> Written:
        """∂f/∂x."""
        return Written(self.writer.fraction(sign + above, sign + below), *((_SYMBOL,) if self.latex else (_PRODUCT, _BRACKET)))

    def operator(self, sign: str, below: str, of: str) -> Written:
        """J_x f or ∇_x f."""
        return Written(f"{sign}{f'_{{{below}}}' if self.latex or len(below) > 1 else f'_{below}'} {of}", _SYMBOL, _FACTOR)


def _value(to: Transcriber, at: int) -> Written:
    return to.value(cast(int, to.nodes[at].value))


def _name(to: Transcriber, at: int) -> Written:
    return to.spelled(cast(Spelling, to.nodes[at].value))


def _number(to: Transcriber, at: int) -> Written:
    value = Fraction(cast(Fraction, to.nodes[at].value))
    text = ("-" if value < 0 else "") + to.writer.number(abs(value))
    return Written(text, _ATOM if value.denominator == 1 and value >= 0 else _SYMBOL if to.latex and value >= 0 else _PRODUCT)


def _constant(to: Transcriber, at: int) -> Written:
    return Written(to.writer.name(spell(cast(str, to.nodes[at].value))))


def _size(to: Transcriber, at: int) -> Written:
    return to.size(cast(str, to.nodes[at].value))


def _identity(to: Transcriber, at: int) -> Written:
    size = cast(str, to.nodes[at].value)
    return Written(to.below(to.identity, size) if size else to.identity)


def _ones(to: Transcriber, at: int) -> Written:
    size = cast(str, to.nodes[at].value)
    if not to.latex:
        return to.call("ones", [to.size(size).text]) if size else Written("ones" if to.ascii else "𝟏")
    if size and to.size(size).level < _ATOM:
        return to.call(to.head("ones"), [to.size(size).text])
    return Written(to.below(r"\mathbf{1}", size) if size else r"\mathbf{1}")


def _filled(to: Transcriber, at: int) -> Written:
    name, *sizes = cast(tuple[str, str, str], to.nodes[at].value)
    return to.call(to.head(name), [to.size(size).text for size in (sizes if sizes[1] != "1" else sizes[:1])])


def _unit(to: Transcriber, at: int) -> Written:
    index, size = cast(tuple[str | int, str], to.nodes[at].value)
    if size:
        return to.call("e", [str(index), to.size(size).text])
    return Written(f"e{to.index([index])}")


def _derivative(to: Transcriber, at: int) -> Written:
    return to.derivative(cast(int, to.nodes[at].value))


def _arguments(to: Transcriber, node: Expression) -> list[str]:
    # names beside each other among the arguments of a layer would read as a comma that is missing
    products = [to.nodes[arg].kind == "product" for arg in node.args]
    return [(to.bracket(to.written[arg]) if bare else to.written[arg]).text for arg, bare in zip(node.args, products, strict=True)]


def _layer(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    return to.call(to.writer.name(to.function(cast(str, node.value))), _arguments(to, node))


def _layer_jacobian(to: Transcriber, at: int) -> Written:
    """f'(x); the argument of another sign is called as it stands there, or by its number where it has no name."""
    node = to.nodes[at]
    layer, slot, sign = cast(tuple[str, int, str], node.value)
    signs, arguments = to.writer.signs, _arguments(to, node)
    of = to.writer.name(to.function(layer))
    if sign == "'":
        return to.call(f"{of}'", arguments)
    if to.lone_name(to.nodes[node.args[slot]]) is None:
        head = f"({to.writer.below_operator(signs.partial.strip(), str(slot + 1))} {of})"
    elif sign in _FRACTIONS:
        text = to.fraction(signs.upright if sign == "d" else signs.partial, of, arguments[slot]).text
        head = text if to.latex else f"({text})"
    else:
        head = f"({to.operator('J' if sign == 'J' else signs.nabla, arguments[slot], of).text})"
    return Written(to.call(head, arguments).text, _SYMBOL)


def _sum(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    pieces: list[str] = []
    length = 0
    for arg, sign in zip(node.args, cast(tuple[int, ...], node.value), strict=True):
        if length > MAX_WRITTEN // 2:
            pieces.append(f" + {to.dots.text}")
            break
        term = to.written[arg]
        if not pieces:
            pieces.append(term.text if sign > 0 else f"-{to.later(term, _ELEMENTWISE).text}")
        else:
            pieces += (" + " if sign > 0 else " - ", to.later(term, _ELEMENTWISE).text)
        length += len(pieces[-1]) + 3
    return Written("".join(pieces), _SUM)


def _negate(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    inner = to.later(to.written[node.args[0]], _ELEMENTWISE)
    return Written(f"-{inner.text}", min(inner.level, _PRODUCT), inner.reach)


def _product(to: Transcriber, at: int) -> Written:
    node, key = to.nodes[at], to.solution.formulas.keys[at]
    found, *factors = [to.written[arg] for arg in node.args]
    for k, (sign, factor) in enumerate(zip(cast(tuple[str, ...], node.value), factors, strict=True)):
        if len(found.text) > MAX_WRITTEN // 2:
            return to.join(found, to.dots, _BESIDE, True)
        meaning = to.operators.get((key, k), "")
        join = _JOINS[sign] if sign in _QUOTIENTS else _MEANINGS.get(meaning) or _JOINS[sign]
        right = to.raised(factor, to.writer.signs.transpose) if meaning == "outer" else factor
        found = to.join(found, right, join, k + 2 == len(node.args))
    return found


def _fraction(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    above, below = (to.written[arg] for arg in node.args)
    if to.latex:
        return Written(to.writer.fraction(above.text, below.text), _SYMBOL)
    return to.join(above, below, _OVER, True)


def _transpose(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    inner, base = to.nodes[node.args[0]], to.written[node.args[0]]
    if inner.kind == "inverse" and node.value != "'":
        return to.raised(to.written[inner.args[0]], r"^{-\top}" if to.latex else "^-T")
    if node.value == "'":
        return to.raised(base, "'")._replace(reach=_BRACKET)
    if to.latex and base.level == _SYMBOL and to.lone_name(inner) is not None:
        return Written(f"{{{base.text}}}{to.writer.signs.transpose}", _SYMBOL)
    return to.raised(base, to.writer.signs.transpose)


def _inverse(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    inner = to.nodes[node.args[0]]
    if inner.kind == "transpose" and inner.value != "'":
        return to.raised(to.written[inner.args[0]], r"^{-\top}" if to.latex else "^-T")
    return to.raised(to.written[node.args[0]], "^{-1}" if to.latex else "^-1" if to.ascii else "⁻¹")


def _power(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    exponent, entrywise = cast(tuple[Fraction, bool], node.value)
    inner, base = to.nodes[node.args[0]], to.written[node.args[0]]
    if inner.kind == "apply" and entrywise and exponent > 1 and Fraction(exponent).denominator == 1:
        name, order = cast(tuple[str, int], inner.value)
        if name in FUNCTIONS and name not in to.solution.functions and name != "sqrt" and not order:
            return Written(_apply(to, node.args[0], to.exponent(Fraction(exponent), False)).text, _ATOM)
    if entrywise and exponent == Fraction(1, 2):
        if isinstance(to.writer, LatexWriter):
            return Written(rf"\sqrt{{{base.text}}}", _ATOM)
        return to.call("sqrt", [base.text])
    if not entrywise and to.makes_name(inner, str(exponent)):
        base = to.bracket(base)
    return to.raised(base, to.exponent(Fraction(exponent), entrywise))


def _apply(to: Transcriber, at: int, exponent: str = "") -> Written:
    node = to.nodes[at]
    name, order = cast(tuple[str, int], node.value)
    argument = to.written[node.args[0]].text
    if name in FUNCTIONS and name not in to.solution.functions:
        if name == "sqrt" and not order and to.latex:
            return Written(rf"\sqrt{{{argument}}}")
        head = to.head(name)
    else:
        head = to.writer.name(to.function(name))
    return to.call(head + "'" * order + exponent, [argument])


def _call(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    name, direction = cast(tuple[str, str], node.value)
    if name == "sqnorm":
        return Written(_between_bars(to, node.args[0], True, "").text + to.exponent(Fraction(2), False), _SYMBOL)
    arguments = [to.written[arg].text for arg in node.args]
    if direction and name in ("sum", "mean"):
        return to.call(to.head(name), [*arguments, rf"\mathrm{{{direction}}}" if to.latex else direction])
    return to.call(to.head(f"{name}_{direction}" if direction else name), arguments)


def _between_bars(to: Transcriber, at: int, norm: bool, order: str) -> Written:
    """|a| or ||a||; bars inside of others stand in brackets."""
    inner = to.written[at]
    if "|" in inner.text or "vert" in inner.text.lower():
        inner = to.bracket(inner)
    if not to.latex:
        bar = "||" if norm else "|"
        return Written(bar + inner.text + bar + (f"_{order}" if order else ""))
    bar = "Vert" if norm else "vert"
    left, right = (r"\left", r"\right") if r"\frac" in inner.text or r"\left" in inner.text else ("", "")
    return Written(rf"{left}\l{bar} {inner.text} {right}\r{bar}" + (f"_{{{order}}}" if order else ""))


def _bars(to: Transcriber, at: int) -> Written:
    return _between_bars(to, to.nodes[at].args[0], False, "")


def _norm(to: Transcriber, at: int) -> Written:
    return _between_bars(to, to.nodes[at].args[0], True, str(to.nodes[at].value or ""))


def _indicator(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    return Written(f"1[{to.written[node.args[0]].text} > 0]")


def _blocks(to: Transcriber, at: int) -> Written:
    """Blocks in brackets; rows below each other make one grid."""
    node, nodes = to.nodes[at], to.nodes
    rows = [nodes[arg].args if nodes[arg].kind == "beside" else (arg,) for arg in node.args] if node.kind == "below" else [node.args]
    beside, under = (" & ", r" \\ ") if to.latex else (", ", "; ")
    text = under.join(beside.join(to.written[arg].text for arg in row) for row in rows)
    return Written(rf"\begin{{pmatrix}} {text} \end{{pmatrix}}" if to.latex else f"[{text}]")


def _entry(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    indices = cast(tuple[str | int, ...], node.value)
    inner, base = to.nodes[node.args[0]], to.written[node.args[0]]
    spelling = to.lone_name(inner)
    bare = spelling is not None and not spelling.suffix and not spelling.upper
    if not bare or to.makes_name(inner, "".join(map(str, indices))):
        base = to.bracket(base)
    return Written(base.text + to.index(indices), reach=_BRACKET)


def _indexed_sum(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    index, first, last = cast(tuple[str, str | int, str | int], node.value)
    name = to.index_name(index)
    start, end = (str(bound) if str(bound).isdecimal() else to.size(str(bound)).text if bound else "" for bound in (first, last))
    text = f"_{{{name}={start}}}" if start else f"_{{{name}}}" if to.latex or len(name) > 1 else f"_{name}"
    if end:
        text += f"^{{{end}}}"
    sign = r"\sum" if to.latex else "sum"
    return Written(f"{sign}{text} {to.later(to.written[node.args[0]], _PRODUCT).text}", _PRODUCT, _TERM)


def _delta(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    return Written(to.writer.name(spell("δ")) + to.index(cast(tuple[str | int, ...], node.value)))


def _components(to: Transcriber, at: int) -> Written:
    node = to.nodes[at]
    opening, closing = (r"\left[ ", r" \right]") if to.latex else ("[", "]")
    return Written(f"{opening}{to.written[node.args[0]].text}{closing}{to.index(cast(tuple[str | int, ...], node.value))}")


_LATEX_FUNCTIONS = frozenset("exp log sin cos tan sinh cosh tanh det".split())

_FORMS: dict[str, Callable[[Transcriber, int], Written]] = {
    "value": _value,
    "number": _number,
    "constant": _constant,
    "size": _size,
    "identity": _identity,
    "ones": _ones,
    "filled": _filled,
    "unit": _unit,
    "derivative": _derivative,
    "layer": _layer,
    "layer_jacobian": _layer_jacobian,
    "sum": _sum,
    "negate": _negate,
    "product": _product,
    "elementwise": _product,
    "fraction": _fraction,
    "transpose": _transpose,
    "inverse": _inverse,
    "power": _power,
    "apply": _apply,
    "call": _call,
    "norm": _norm,
    "bars": _bars,
    "indicator": _indicator,
    "beside": _blocks,
    "below": _blocks,
    "entry": _entry,
    "indexed_sum": _indexed_sum,
    "delta": _delta,
    "components": _components,
    "name": _name,
}
