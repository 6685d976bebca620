r"""Displays and tables of an article in LaTeX, for pasting and for reading into layout trees: ``left &= right && \text{reason}``."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jacobian_chain.article import Display, Equation, Math, Prose, Table
from jacobian_chain.tokens import SUBSCRIPTS, SUPERSCRIPTS
from jacobian_chain.typesetting import SYMBOLS, Node, Tree, escape_text, read_latex, widths, write_latex, write_latex_row
from jacobian_chain.writers import to_ascii

_COMMANDS = {symbol.character: latex for latex, symbol in reversed(SYMBOLS.items()) if not symbol.character.isascii()}
_COMMANDS |= {"·": r"\cdot", "│": r"\vert"}
_SCRIPTS = {"_": SUBSCRIPTS, "^": {**SUPERSCRIPTS, "′": r"\prime ", "ᵀ": r"\top "}}
_MARKS = {sign: mark for mark, table in _SCRIPTS.items() for sign in table}
_SIGNS = re.compile(f"([{re.escape(''.join((*_COMMANDS, *_MARKS)))}]+)")
_PUNCTUATION = {"–": "-", "—": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "\N{NO-BREAK SPACE}": " "}

_ENDS_BLOCK = re.compile(r"\\[bB]igg?m? *\|(?:\s|\\,)*$")
_SIDE = re.compile(r"[lr] ")


def part_signs(text: str) -> Iterable[str | Math]:
    r"""Words with the signs among them as formulas.

    >>> list(part_signs("the slope of θ₁₂ᵀ, by Hölder"))
    ['the slope of ', Math(text='\\theta _{12} ^{\\top}'), ', by Hölder']
    """
    for k, part in enumerate(_SIGNS.split(text)):
        if part:
            yield Math(_signs(part)) if k % 2 else part


def _signs(text: str) -> str:
    """Signs as LaTeX; what stands above or below is gathered, for TeX refuses two indices beside each other."""
    parts: list[str] = []
    marks = ""
    for mark, group in itertools.groupby(text, lambda sign: _MARKS.get(sign, "")):
        if not mark:
            parts += (_COMMANDS[sign] for sign in group)
            marks = ""
            continue
        script = "".join(_SCRIPTS[mark][sign] for sign in group).strip()
        parts.append(f"{'{}' if mark in marks else ''}{mark}{{{script}}}")
        marks = mark if mark in marks else marks + mark
    return " ".join(parts)


def plain_words(text: str) -> str:
    """Words in ASCII; a letter with an accent loses it.

    >>> plain_words("Hölder’s – 中")
    "Holder's - u4e2d"
    """
    bare = (c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return to_ascii("".join(_PUNCTUATION.get(c, c) for c in bare))


def in_formula(prose: Prose) -> str:
    r"""Prose within a formula.

    >>> print(in_formula(("by the product ", Math("W x"), " & θ")))
    \text{by the product }W x\text{ \& }\theta
    """
    pieces = [piece for part in prose for piece in ([part] if isinstance(part, Math) else part_signs(part))]
    return "".join(piece.text if isinstance(piece, Math) else f"\\text{{{escape_words(plain_words(piece))}}}" for piece in pieces)


def escape_words(text: str) -> str:
    r"""Words for inside of ``\text``, without what TeX alone has signs for there.

    >>> print(escape_words("a^b ~ 50 %"))
    a b - 50 \%
    """
    return escape_text(text.translate({ord("^"): " ", ord("~"): "-", ord("\\"): "/"}))


def sign_of(equation: Equation) -> str:
    """What stands between the sides: nothing where a line goes on from the one above with a sign of its own."""
    return "" if not equation.left and equation.right.lstrip().startswith(("=", "+")) else "= "


def write_display(display: Display) -> str:
    r"""Equations as they are pasted into a display.

    >>> print(write_display(Display((Equation("x", "a b", ("since ", Math("b > 0"))), Equation("", "c")))))
    \begin{aligned}
    x &= a b && \text{since }b > 0 \\
     &= c
    \end{aligned}
    >>> print(write_display(Display((Equation("x", "a b"),))))
    x = a b
    """
    equations = display.equations
    if len(equations) == 1 and not equations[0].reason:
        return f"{equations[0].left} {sign_of(equations[0])}{equations[0].right}".lstrip()
    lines = []
    for equation in equations:
        reason = f" && {in_formula(equation.reason)}" if equation.reason else ""
        lines.append(f"{equation.left} &{sign_of(equation)}{equation.right}{reason}")
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def write_table(table: Table) -> str:
    """A table as an array, for where there are formulas only."""
    rows = [" & ".join(map(in_formula, row)) for row in (table.header, *table.rows)]
    body = " \\\\\n".join([f"{rows[0]} \\\\ \\hline\n{rows[1]}", *rows[2:]] if rows[1:] else rows)
    return f"\\begin{{array}}{{l{'r' * (len(table.header) - 1)}}}\n{body}\n\\end{{array}}"


class Line(NamedTuple):
    """One line of a display as layout trees: its sides, with the sign at the beginning of the right one, and the reason."""

    left: Tree
    right: Tree
    reason: Prose


def read_lines(display: Display) -> list[Line]:
    """The lines of a display."""
    return [Line(read_latex(e.left), read_latex(sign_of(e) + e.right), e.reason) for e in display.equations]


def unfold(tree: Tree) -> list[Line] | None:
    r"""The lines of a formula that is nothing but equations below each other; None for any other.

    >>> [write_latex(line.right) for line in unfold(read_latex(r"\begin{aligned} & x = 1 \\ & y = 2 \end{aligned}"))]
    ['x = 1', 'y = 2']
    >>> unfold(read_latex("x"))
    """
    whole = tree.nodes[-1]
    if whole.kind != "grid" or whole.text != "aligned":
        return None
    lines = []
    for line in whole.args:
        cells = tree.nodes[line].args
        if len(cells) > 2:
            return None
        lines.append(Line(part_of(tree, cells[0]), part_of(tree, cells[1]) if cells[1:] else read_latex(""), ()))
    return lines


def part_of(tree: Tree, root: int) -> Tree:
    """A part of a tree as a tree: what belongs to a part stands right before it."""
    first = root
    stack = [root]
    while stack:
        index = stack.pop()
        first = min(first, index)
        stack += tree.nodes[index].args
    return Tree(tuple(Node(kind, text, tuple(arg - first for arg in args)) for kind, text, args in tree.nodes[first : root + 1]))


class Chunk(NamedTuple):
    """What stands on one line of a row that is broken: LaTeX, and about how many em wide it is."""

    text: str
    width: float


def break_row(tree: Tree, limit: float) -> list[Chunk]:
    r"""A row in chunks no wider than ``limit`` em, unless what may not be broken is wider.

    It is broken outside of brackets: behind the bars between blocks; where that is not enough, in front of terms; then in front of signs of
    products; at last in front of fractions and fences.

    >>> [chunk.text for chunk in break_row(read_latex(r"= a b c \cdot d (e + f) + g h"), 5)]
    ['= abc', '\\cdot d(e + f)', '+gh']
    """
    sizes = widths(tree)
    root = len(tree.nodes) - 1
    whole = tree.nodes[root]
    if sizes[root] <= limit or whole.kind != "row":
        return [Chunk(write_latex(tree), sizes[root])]
    runs = [whole.args]
    for is_place in _PLACES:
        runs = [part for run in runs for part in (_split(tree, run, is_place) if sum(sizes[item] for item in run) > limit else [run])]
    chunks: list[tuple[int, ...]] = []
    filled: list[float] = []
    for run in runs:
        size = sum(sizes[item] for item in run)
        if chunks and filled[-1] + size <= limit:
            chunks[-1] += run
            filled[-1] += size
        else:
            chunks.append(run)
            filled.append(size)
    return [Chunk(write_latex_row(tree, chunk), size) for chunk, size in zip(chunks, filled, strict=True)]


def _split(tree: Tree, run: tuple[int, ...], is_place: Callable[[Tree, int, int], bool]) -> list[tuple[int, ...]]:
    """A run of items in parts, where two of them may be parted that stand in no bracket."""
    starts = [0]
    depth = 0
    for k, (before, item) in enumerate(itertools.pairwise(run), 1):
        depth += _opens(tree, before)
        if depth <= 0 and is_place(tree, before, item):
            starts.append(k)
    return [run[start:end] for start, end in itertools.pairwise([*starts, len(run)])]


def _opens(tree: Tree, item: int) -> int:
    """Plus one for an opening bracket, minus one for a closing one."""
    node = tree.core(item)
    if node.kind == "sized":
        return {"l": 1, "r": -1}.get(node.text.split(" ")[0][-1], 0)
    return {"open": 1, "close": -1}.get(node.kind, 0)


def _is_behind_bar(tree: Tree, before: int, item: int) -> bool:
    """Behind a bar between blocks, which the space belongs to that follows it."""
    if tree.nodes[item].kind == "space":
        return False
    node = tree.nodes[before - 1] if tree.nodes[before].kind == "space" else tree.nodes[before]
    return node.kind == "sized" and _SIDE.search(node.text) is None


def _is_sign(signs: frozenset[str]) -> Callable[[Tree, int, int], bool]:
    def is_place(tree: Tree, before: int, item: int) -> bool:
        node = tree.nodes[item]
        return node.kind == "operator" and node.text in signs and tree.nodes[before].kind not in ("operator", "space")

    return is_place


def _is_factor(tree: Tree, before: int, item: int) -> bool:
    return tree.core(item).kind in ("fraction", "fence") and tree.nodes[before].kind not in ("operator", "space", "open", "sized")


_PLACES = (
    _is_behind_bar,
    _is_sign(frozenset("=+-")),
    _is_sign(frozenset({r"\cdot", r"\odot", r"\oslash", r"\otimes"})),
    _is_factor,
)
"""Where rows are broken: one kind of place after the other, only within what is still too wide."""


def broken(line: Line, limit: float) -> list[str]:
    """A line in chunks that fit beside its left side; those that go on in the middle of a block have a space before them."""
    texts = [chunk.text for chunk in break_row(line.right, max(limit - widths(line.left)[-1] - 1.0, limit / 3))]
    return texts[:1] + [text if _ENDS_BLOCK.search(before) else f"\\quad {text}" for before, text in itertools.pairwise(texts)]
