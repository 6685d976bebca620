r"""Output languages: how a name, a symbol and a bracket look in LaTeX, Unicode and ASCII. One small class each.

The LaTeX is what KaTeX, MathJax and TeX have in common: no macros, no raw Greek, ``\middle\vert`` between blocks.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import text_width
from jacobian_chain.notation import Symbol
from jacobian_chain.tokens import ACCENTS, GREEK, SUBSCRIPTS, SUPERSCRIPTS, Spelling

_COMMANDS = {letter: f"\\{word}" for word, letter in GREEK.items() if word != "omicron"}
_LATIN_CAPITALS = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX", strict=True))
_LATEX_LETTERS = {**_COMMANDS, **{c: f"\\mathrm{{{latin}}}" for c, latin in _LATIN_CAPITALS.items() if c not in _COMMANDS}}
_LATEX_LETTERS.update({"ο": "o", "Υ": "\\Upsilon", "ℓ": "\\ell", "∂": "\\partial", "∇": "\\nabla"})
_LATEX_ACCENTS = {mark: command for command, mark in reversed(ACCENTS.items())}
_WORDS = {letter: word for word, letter in GREEK.items()} | {"ℓ": "ell", "∂": "partial", "∇": "nabla"}
_ACCENT_WORDS = {mark: word for word, mark in reversed(ACCENTS.items())}
_SUPERSCRIPT = {plain: raised for raised, plain in SUPERSCRIPTS.items()}
_SUBSCRIPT = {plain: lowered for lowered, plain in SUBSCRIPTS.items()}


Pieces = Sequence[str]
"""A text in pieces."""


class Signs(NamedTuple):
    """The fixed pieces of a language."""

    partial: str
    upright: str
    nabla: str
    dot: str
    space: str
    transpose: str
    identity: str
    other_identity: str
    one: str
    zero: str
    open: str
    close: str
    bar: str
    square: str = "²"


class _Writer(ABC):
    """What all languages have in common: names are written once, and a symbol has the same parts everywhere."""

    signs: Signs
    stacks_fractions: bool  # or writes them on one line, where an evaluation point needs brackets around them

    def __init__(self, index: str = "as-typed") -> None:
        self.index = index
        self._names: dict[Spelling, str] = {}

    def name(self, spelling: Spelling) -> str:
        """A name with its accent and index."""
        known = self._names.get(spelling)
        if known is None:
            known = self._names[spelling] = self._name(spelling)
        return known

    def is_raised(self, spelling: Spelling) -> bool:
        """Whether a name's index stands above; one that has an index below too keeps it there."""
        return (spelling.raised if self.index == "as-typed" else self.index == "super") and not spelling.upper

    def symbol(self, symbol: Symbol, of: str = "") -> str:
        """A factor; ``of`` is what it differentiates where that is no name."""
        of = of or (self.vec(self.name(symbol.of)) if symbol.vec_of else self.name(symbol.of))
        at = None if symbol.at is None else f"({', '.join(map(self.name, symbol.at))})"
        if symbol.kind == "slot":
            text = f"{self.below_operator(self.signs.partial.strip(), str(symbol.slot))} {of}"
            return text if at is None else f"({text}){at}"
        by = self.vec(self.name(symbol.by[0])) if symbol.vec_by else ", ".join(map(self.name, symbol.by))
        if symbol.kind == "∂" or symbol.kind == "d":
            sign = self.signs.partial if symbol.kind == "∂" else self.signs.upright
            text = self.fraction(sign + of, sign + (f"({by})" if len(symbol.by) > 1 else by))
            return text if at is None else f"{text}{at}" if self.stacks_fractions else f"({text}){at}"
        head = "J" if symbol.kind == "J" else self.signs.nabla
        if by and (at is None or len(symbol.at or ()) > 1):
            head = self.below_operator(head, by)
        return f"{head} {of}" if at is None else f"({head} {of}){at}"

    @abstractmethod
    def _name(self, spelling: Spelling) -> str: ...

    @abstractmethod
    def vec(self, matrix: str) -> str:
        """A matrix as the vector of its columns."""

    @abstractmethod
    def fraction(self, above: str, below: str) -> str:
        """One text over another."""

    @abstractmethod
    def below_operator(self, operator: str, index: str) -> str:
        """An operator with what it differentiates by."""

    @abstractmethod
    def pairing(self, one: str, other: str) -> str:
        """The inner product of two texts."""


class LatexWriter(_Writer):
    r"""LaTeX, for inside of a display.

    >>> LatexWriter().name(Spelling("θ1", "θ", "", "1")), LatexWriter("super").name(Spelling("hprev2", "hprev", "", "2"))
    ('\\theta_{1}', '\\mathrm{hprev}^{2}')
    >>> x, f = Spelling("x2", "x", "", "2"), Spelling("f3", "f", "", "3")
    >>> LatexWriter().symbol(Symbol("J", f, (x,), 0, (x,))), LatexWriter().symbol(Symbol("∂", f, (x,)))
    ('(J f_{3})(x_{2})', '\\frac{\\partial f_{3}}{\\partial x_{2}}')
    """

    stacks_fractions = True
    signs = Signs(
        r"\partial ",
        r"\mathrm{d} ",
        r"\nabla",
        r" \cdot ",
        " ",
        r"^{\top}",
        "I",
        r"\mathrm{Id}",
        "1",
        "0",
        r"\left( ",
        r" \right)",
        r" \,\middle\vert\, ",
        "^{2}",
    )

    def _name(self, spelling: Spelling) -> str:
        text = self._word(spelling.base)
        for mark in spelling.accent:
            text = f"\\{_LATEX_ACCENTS.get(mark, 'hat')}{{{text}}}"
        if spelling.suffix:
            text += f"{'^' if self.is_raised(spelling) else '_'}{{{self._index(spelling.suffix)}}}"
        if spelling.upper:
            text += f"^{{({self._index(spelling.upper)})}}"
        return text

    def _word(self, word: str) -> str:
        if len(word) == 1 and (word.isascii() or word in _LATEX_LETTERS):
            return _LATEX_LETTERS.get(word, word)
        if word.isascii():
            return f"\\mathrm{{{word}}}"
        if any(not c.isascii() and c not in _LATEX_LETTERS for c in word):
            return f"\\text{{{unicodedata.normalize('NFC', word)}}}"
        return "".join(_LATEX_LETTERS.get(c, f"\\mathrm{{{c}}}") for c in word)

    def _index(self, text: str) -> str:
        """An index: words upright, Greek letters as commands, the rest as it is."""
        if text.isdecimal():
            return text
        parts: list[str] = []
        word = ""
        for c in f"{text}\0":
            if c.isascii() and c.isalpha():
                word += c
                continue
            if word:
                parts.append(word if len(word) == 1 else f"\\mathrm{{{word}}}")
                word = ""
            letter = _LATEX_LETTERS.get(c)
            if c in _LATEX_ACCENTS and parts:
                parts[-1] = f"\\{_LATEX_ACCENTS[c]}{{{parts[-1]}}}"
            elif letter is not None:
                parts.append(letter)
            elif c != "\0":
                parts.append(f"\\{c}" if c in "%&#$_{}" else c)
        return "".join(
            f"{part} " if part[-1:].isalpha() and part[:1] == "\\" and k + 1 < len(parts) else part for k, part in enumerate(parts)
        )

    def vec(self, matrix: str) -> str:
        """A matrix as the vector of its columns."""
        return f"\\operatorname{{vec}}({matrix})"

    def fraction(self, above: str, below: str) -> str:
        """One text over another."""
        return f"\\frac{{{above}}}{{{below}}}"

    def below_operator(self, operator: str, index: str) -> str:
        """An operator with what it differentiates by."""
        return f"{operator}_{{{index}}}"

    def grid(self, rows: int) -> tuple[str, str, str, str]:
        """What stands before a matrix of blocks, between two of a row, between two rows, and behind it."""
        if rows == 1:
            return self.signs.open, self.signs.bar, "", self.signs.close
        return "\\begin{pmatrix} ", " & ", " \\\\[1ex] ", " \\end{pmatrix}"

    def pairing(self, one: str, other: str) -> str:
        """The inner product of two texts."""
        return f"\\langle {one}, {other} \\rangle"

    def transposed(self, text: str, symbol: Symbol | None = None) -> str:
        """The transpose of a written factor."""
        if symbol is None:
            return f"({text}){self.signs.transpose}" if "^" in text else f"{text}{self.signs.transpose}"
        if symbol.kind in ("∂", "d") or symbol.at is not None:
            return f"\\left( {text} \\right){self.signs.transpose}"
        return f"({text}){self.signs.transpose}"

    def number(self, value: Fraction) -> str:
        """A positive number."""
        return str(value.numerator) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"

    def row(self, left: str, blocks: Sequence[Pieces], width: int) -> str:
        """One row of blocks, ``width`` to a line."""
        long = len(blocks) > width
        pieces = [f"\\begin{{aligned}}\n{left} = \\bigl( & " if long else f"{left} = {self.signs.open}"]
        for k, block in enumerate(blocks, 1):
            pieces += block
            pieces.append(self.signs.bar if not long else r" \,\big|\, " if k % width else " \\,\\big|\\\\\n& ")
        pieces[-1] = " \\bigr)\n\\end{aligned}" if long else self.signs.close
        return "".join(pieces)

    def column(self, left: str, blocks: Sequence[Pieces]) -> str:
        """One column of blocks."""
        # rows of a matrix are set small and tight: fractions need room
        tall = any("\\frac" in piece for block in blocks for piece in block)
        pieces = [f"{left} = \\begin{{pmatrix}}\n"]
        for block in blocks:
            pieces.append("\\displaystyle " if tall else "")
            pieces += block
            pieces.append(" \\\\[2ex]\n" if tall else " \\\\[1ex]\n")
        pieces[-1] = "\n\\end{pmatrix}"
        return "".join(pieces)

    def lines(self, equations: Sequence[tuple[str, Pieces]]) -> str:
        """Equations below each other."""
        alone = len(equations) == 1
        pieces = [] if alone else ["\\begin{aligned}\n"]
        for left, right in equations:
            pieces += (left, " = " if alone else " &= ", *right, " \\\\\n")
        pieces[-1] = "" if alone else "\n\\end{aligned}"
        return "".join(pieces)

    def below(self, main: str, equations: Sequence[tuple[str, Pieces]]) -> str:
        """A display with further equations below it."""
        lines = [f"& {main}", *[f"& {left} = {''.join(right)}" for left, right in equations]]
        body = " \\\\\n".join(lines)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


TERMINAL_COLUMNS = 100
"""Rows of blocks that are longer have one block a line."""


class TextWriter(_Writer):
    """Unicode for a terminal; with ``ascii`` nothing outside of ASCII.

    >>> theta = Spelling("θ1", "θ", "", "1", True)
    >>> TextWriter().name(theta), TextWriter("sub").name(theta), TextWriter("sub", ascii=True).name(theta)
    ('θ¹', 'θ₁', 'theta1')
    >>> x, f = Spelling("x2", "x", "", "2"), Spelling("f3", "f", "", "3")
    >>> TextWriter().symbol(Symbol("J", f, (x,))), TextWriter(ascii=True).symbol(Symbol("∂", f, (x,)))
    ('J_x₂ f₃', 'partial f3/partial x2')
    """

    stacks_fractions = False

    def __init__(self, index: str = "as-typed", ascii: bool = False) -> None:
        super().__init__(index)
        self.ascii = ascii
        if ascii:
            self.signs = Signs("partial ", "d", "nabla", " * ", " * ", "^T", "I", "Id", "1", "0", "( ", " )", "  |  ", "^2")
        else:
            self.signs = Signs("∂", "d", "∇", " · ", " · ", "ᵀ", "I", "Id", "1", "0", "( ", " )", "  │  ")

    def _name(self, spelling: Spelling) -> str:
        if self.ascii:
            base = to_ascii(spelling.base) + "".join(_ACCENT_WORDS.get(mark, "hat") for mark in spelling.accent)
            index = to_ascii(spelling.suffix)
            plain = index.isdecimal() or not index
            return (
                base
                + (index if plain else f"_{index}" if index.isalnum() else f"_{{{index}}}")
                + (f"^{{({to_ascii(spelling.upper)})}}" if spelling.upper else "")
            )
        text = spelling.base + spelling.accent
        raised = self.is_raised(spelling)
        table = _SUPERSCRIPT if raised else _SUBSCRIPT
        if spelling.suffix:
            small = "".join(table.get(c, "\0") for c in spelling.suffix)
            sign = "^" if raised else "_"
            text += small if "\0" not in small else f"{sign}{spelling.suffix if spelling.suffix.isalnum() else '{' + spelling.suffix + '}'}"
        above = f"({spelling.upper})" if spelling.upper else ""
        small = "".join(_SUPERSCRIPT.get(c, "\0") for c in above)
        return text + (small if "\0" not in small else f"^{{{above}}}")

    def vec(self, matrix: str) -> str:
        """A matrix as the vector of its columns."""
        return f"vec({matrix})"

    def fraction(self, above: str, below: str) -> str:
        """One text over another."""
        return f"{above}/{below}"

    def below_operator(self, operator: str, index: str) -> str:
        """An operator with what it differentiates by."""
        if index.isdecimal() and not self.ascii:
            return operator + "".join(_SUBSCRIPT[digit] for digit in index)
        return f"{operator}_{{{index}}}" if "," in index or "(" in index else f"{operator}_{index}"

    def grid(self, rows: int) -> tuple[str, str, str, str]:
        """What stands before a matrix of blocks, between two of a row, between two rows, and behind it."""
        if rows == 1:
            return self.signs.open, self.signs.bar, "", self.signs.close
        return "[ ", ", ", "; ", " ]"

    def pairing(self, one: str, other: str) -> str:
        """The inner product of two texts."""
        return f"<{one}, {other}>" if self.ascii else f"⟨{one}, {other}⟩"

    def transposed(self, text: str, symbol: Symbol | None = None) -> str:
        """The transpose of a written factor."""
        return f"{text}{self.signs.transpose}" if symbol is None else f"({text}){self.signs.transpose}"

    def number(self, value: Fraction) -> str:
        """A positive number."""
        return str(value)

    def row(self, left: str, blocks: Sequence[Pieces], width: int) -> str:
        """One row of blocks, ``width`` to a line."""
        texts = ["".join(block) for block in blocks]
        if len(left) + sum(map(text_width, texts)) + 5 * len(texts) > TERMINAL_COLUMNS:
            width = 1
        lines = [self.signs.bar.join(texts[k : k + width]) for k in range(0, len(texts), width)]
        indent = f"{self.signs.bar.rstrip()}\n{' ' * (text_width(left) + 5)}"
        return f"{left} = {self.signs.open}{indent.join(lines)}{self.signs.close}"

    def column(self, left: str, blocks: Sequence[Pieces]) -> str:
        """One column of blocks."""
        texts = ["".join(block) for block in blocks]
        bars = ("| ", " |") if self.ascii else ("⎜ ", " ⎟")
        width = max(map(text_width, texts))
        indent = " " * (text_width(left) + 3)
        return "\n".join(
            f"{indent if k else f'{left} = '}{bars[0]}{block}{' ' * (width - text_width(block))}{bars[1]}" for k, block in enumerate(texts)
        )

    def lines(self, equations: Sequence[tuple[str, Pieces]]) -> str:
        """Equations below each other."""
        return "\n".join([f"{left} = {''.join(right)}" for left, right in equations])

    def below(self, main: str, equations: Sequence[tuple[str, Pieces]]) -> str:
        """A display with further equations below it."""
        return f"{main}\n{self.lines(equations)}"


_PLAIN = {
    **SUBSCRIPTS,
    **{raised: f"^{plain}" for raised, plain in SUPERSCRIPTS.items()},
    "ᵀ": "^T",
    "⊤": "^T",
    "→": "->",
    "·": "*",
    "×": "*",
    "⊙": ".*",
    "∘": "o",
    "│": "|",
    "…": "...",
    "′": "'",
}


def to_ascii(text: str) -> str:
    """A text in ASCII: Greek letters as words, other letters by their number.

    >>> to_ascii("∂f₂/∂θ₁ → L²")
    'partialf2/partialtheta1 -> L^2'
    """
    return "".join(c if c.isascii() else _WORDS.get(c) or _ACCENT_WORDS.get(c) or _PLAIN.get(c) or f"u{ord(c):04x}" for c in text)


Writer = LatexWriter | TextWriter
