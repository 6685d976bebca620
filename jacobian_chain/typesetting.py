r"""Formulas as layout trees, which every output language but text is written from: read from the LaTeX that the program itself writes.

A tree is a list of nodes, numbered so that parts come before what they are parts of; the root is the last one. Nothing recurses, so
brackets may be as deep as they like. :func:`read_latex` knows the closed subset of LaTeX that the program prints and refuses anything
else; nothing is dropped but white space and comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from jacobian_chain.tokens import GREEK


class TypesettingError(Exception):
    """A formula holds something that no layout is known for: a defect of the program, not of what was typed."""


class Node(NamedTuple):
    r"""One part of a formula.

    ======================= =========================================== ===========================================
    kind                    text                                        args
    ======================= =========================================== ===========================================
    row, group              (a group is a row in braces of its own)     its items; the one row of a group
    identifier, operator,   the LaTeX, such as ``\theta`` or ``+``:
    open, close, large      see ``SYMBOLS``
    number, text, space     the digits; the words; the LaTeX
    function                the name, set upright like ``\tanh``
    upright, bold, …        letters in a font: see ``FONTS``
    font                    ``mathrm``, …                               what is set in it
    fraction, root                                                      above, below; what is under it
    scripts                 marks in order: ``_``, ``^``, ``'``         the base, then one for each ``_`` and ``^``
    accent, brace, boxed    ``hat``, …; ``underbrace``, …               what it stands over or under
    fence                   delimiters that grow, parted by blanks      what stands between them, one more than bars
    sized                   ``\bigl (``: a delimiter of a given size
    style                   ``displaystyle``                            the rest of the row
    grid                    ``pmatrix``, ``aligned``, ``array c|c``, …  its lines
    line                    the gap below, such as ``1ex``, or ``hline`` its cells
    ======================= =========================================== ===========================================
    """

    kind: str
    text: str = ""
    args: tuple[int, ...] = ()


class Symbol(NamedTuple):
    """A sign: its character and what kind of node it is."""

    character: str
    kind: str


def _signs(kind: str, table: Mapping[str, str]) -> dict[str, Symbol]:
    return {latex: Symbol(character, kind) for latex, character in table.items()}


SYMBOLS = {
    **_signs("identifier", {f"\\{word}": letter for word, letter in GREEK.items() if word != "omicron"}),
    **_signs(
        "identifier",
        {
            r"\varepsilon": "ε", r"\varphi": "φ", r"\vartheta": "ϑ", r"\ell": "ℓ", r"\partial": "∂", r"\nabla": "∇", r"\top": "⊤",
            r"\bot": "⊥", r"\infty": "∞", r"\prime": "′", r"\emptyset": "∅", r"\%": "%", r"\#": "#", r"\$": "$", r"\_": "_", r"\&": "&",
            r"\checkmark": "✓",
        },
    ),
    **_signs(
        "operator",
        {
            "+": "+", "-": "−", "=": "=", "<": "<", ">": ">", "*": "∗", "/": "/", ",": ",", ";": ";", ":": ":", ".": ".", "!": "!",
            "?": "?", "@": "@", "|": "|", r"\vert": "|", r"\|": "‖", r"\Vert": "‖", r"\cdot": "⋅", r"\odot": "⊙", r"\oslash": "⊘",
            r"\otimes": "⊗", r"\oplus": "⊕", r"\circ": "∘", r"\times": "×", r"\pm": "±", r"\mid": "∣", r"\in": "∈", r"\to": "→",
            r"\rightarrow": "→", r"\leftarrow": "←", r"\mapsto": "↦", r"\implies": "⟹", r"\iff": "⟺", r"\Rightarrow": "⇒",
            r"\le": "≤", r"\leq": "≤", r"\ge": "≥", r"\geq": "≥", r"\ne": "≠", r"\neq": "≠", r"\approx": "≈", r"\equiv": "≡",
            r"\sim": "∼", r"\cdots": "⋯", r"\dots": "…", r"\ldots": "…", r"\vdots": "⋮", r"\ddots": "⋱", r"\colon": ":",
            r"\ll": "≪", r"\gg": "≫", r"\propto": "∝", r"\subset": "⊂", r"\cup": "∪", r"\cap": "∩", r"\setminus": "∖",
        },
    ),
    **_signs("open", {"(": "(", "[": "[", r"\{": "{", r"\langle": "⟨", r"\lvert": "|", r"\lVert": "‖", r"\lfloor": "⌊", r"\lceil": "⌈"}),
    **_signs("close", {")": ")", "]": "]", r"\}": "}", r"\rangle": "⟩", r"\rvert": "|", r"\rVert": "‖", r"\rfloor": "⌋", r"\rceil": "⌉"}),
    **_signs("large", {r"\sum": "∑", r"\prod": "∏", r"\int": "∫", r"\bigcup": "⋃", r"\bigcap": "⋂", r"\bigoplus": "⨁"}),
}  # fmt: skip
"""Every sign that a formula may hold, by its LaTeX."""

SPACES = {r"\,": 0.17, r"\:": 0.22, r"\;": 0.28, r"\!": -0.17, r"\ ": 0.33, "~": 0.33, r"\quad": 1.0, r"\qquad": 2.0}
"""Spaces and their widths in em."""

FONTS = {"mathrm": "upright", "mathbf": "bold", "mathbb": "blackboard", "mathcal": "calligraphic"}
"""Fonts of letters, and the kind of node that letters in one are."""

ACCENTS = frozenset("hat bar tilde dot ddot acute grave check breve mathring vec overline underline widehat widetilde".split())
BRACES = frozenset({"underbrace", "overbrace"})
NAMED_FUNCTIONS = frozenset("exp log ln sin cos tan sinh cosh tanh coth det max min dim ker lim arg gcd deg inf sup".split())
"""Functions that LaTeX has a command for."""

GRIDS = {
    "aligned": "", "matrix": "", "array": "", "pmatrix": "()", "bmatrix": "[]", "Bmatrix": "{}", "vmatrix": "||", "Vmatrix": "‖‖",
    "cases": "{",
}  # fmt: skip
"""Environments and the delimiters around them."""

_DELIMITERS = {latex for latex, symbol in SYMBOLS.items() if symbol.kind in ("open", "close")} | {"|", r"\vert", r"\|", r"\Vert", ".", "/"}
_SIZED = re.compile(r"\\(?:big|Big|bigg|Bigg)[lrm]?")
_TOKEN = re.compile(
    r"%[^\n]*(?:\n|$)|\s+|\\text\{(?P<text>(?:[^{}\\]|\\.)*)\}|\\operatorname\{(?P<name>(?:[^{}\\]|\\.)*)\}"
    r"|\\begin\{(?P<begin>[A-Za-z]+)\}(?:(?<=array\})\{(?P<columns>[lcr|]+)\})?|\\end\{(?P<end>[A-Za-z]+)\}"
    r"|\\\\(?:\[(?P<gap>[0-9.]+(?:ex|em|pt))\])?|\\[A-Za-z]+|\\.|(?P<number>[0-9]+(?:\.[0-9]+)?)|.",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([%#$&_{} ])")


class Tree(NamedTuple):
    """A formula: its parts, the whole one last."""

    nodes: tuple[Node, ...]

    def core(self, index: int) -> Node:
        """What a part is at heart, without scripts, accents and fonts around it."""
        node = self.nodes[index]
        while node.kind in ("scripts", "accent", "font", "group", "style") and node.args:
            node = self.nodes[node.args[0]]
        return node


@dataclass(slots=True)
class _Frame:
    """What is open: a row in braces, a fence or a grid, or a command that waits for ``wanted`` arguments."""

    kind: str
    text: str = ""
    closing: str = ""
    font: str = ""
    wanted: int = 0
    args: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    styles: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.nodes: list[Node] = []
        self.stack = [_Frame("row")]

    def read(self) -> Tree:
        text, at = self.text, 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match is not None, "the last alternative takes any character"
            token = match[0]
            at = match.end()
            if token[0] == "%" or token.isspace():
                continue
            if match["number"] and self.stack[-1].wanted and len(token) > 1:
                token, at = token[0], match.start() + 1  # \frac12
            self.take(token, match)
        if len(self.stack) != 1:
            raise self.error(f"{self.stack[-1].text or '{'} is not closed")
        self.close_row(self.stack[0])
        return Tree(tuple(self.nodes))

    def error(self, problem: str) -> TypesettingError:
        return TypesettingError(f"{problem} in {self.text[:200]}")

    def take(self, token: str, match: re.Match[str]) -> None:
        frame = self.stack[-1]
        word = token[1:] if token[0] == "\\" else ""
        if token == "{":
            self.stack.append(_Frame("group", "{", "}", frame.font))
        elif token == "}":
            self.close("}", token)
            row = self.close_row(frame)
            self.stack.pop()
            self.deliver(row if self.stack[-1].wanted else self.add("group", "", (row,)))
        elif token in ("_", "^", "'"):
            self.script(token)
        elif match["text"] is not None:
            self.leaf("text", _ESCAPED.sub(r"\1", match["text"]))
        elif match["name"] is not None:
            self.leaf("function", _ESCAPED.sub(r"\1", match["name"]))
        elif match["begin"]:
            if match["begin"] not in GRIDS or (match["begin"] == "array") is not bool(match["columns"]):
                raise self.error(f"{token} is unknown")
            name = f"array {match['columns']}" if match["columns"] else match["begin"]
            self.stack.append(_Frame("grid", name, "\\end", frame.font))
        elif match["end"]:
            self.close("\\end", token)
            if frame.text.split()[0] != match["end"]:
                raise self.error(f"{frame.text} ends as {match['end']}")
            if frame.row or frame.args:
                self.end_line(frame, "")
            self.stack.pop()
            self.deliver(self.add("grid", frame.text, frame.lines))
        elif token == "&" or token.startswith("\\\\"):
            self.close("\\end", token)
            if token == "&":
                frame.args.append(self.end_row(frame))
            else:
                self.end_line(frame, match["gap"] or "")
        elif word in ("left", "middle", "right"):
            self.delimit(word)
        elif frame.kind == "delimiter":
            self.stack.pop()
            self.end_delimiter(frame.text, token)
        elif _SIZED.fullmatch(token):
            self.stack.append(_Frame("delimiter", token))
        elif word == "displaystyle":
            if frame.wanted:
                raise self.error(f"{token} is no argument")
            frame.styles.append(len(frame.row))
        elif word == "hline":
            self.close("\\end", token)
            if frame.row or frame.args or not frame.lines:
                raise self.error(f"{token} stands below no line")
            self.nodes[frame.lines[-1]] = self.nodes[frame.lines[-1]]._replace(text="hline")
        elif word in _COMMANDS:
            kind, wanted = _COMMANDS[word]
            font = FONTS.get(word, frame.font)
            self.stack.append(_Frame(kind, word if kind in ("accent", "brace", "font") else "", "", font, wanted))
        elif word in NAMED_FUNCTIONS:
            self.leaf("function", word)
        elif token in SPACES:
            self.leaf("space", token)
        elif match["number"] or (token.isascii() and token.isalpha()) or (frame.font and token in (r"\_", r"\%", r"\&", r"\#", r"\$")):
            self.letters(token, frame)
        elif token in SYMBOLS:
            self.leaf(SYMBOLS[token].kind, token)
        else:
            raise self.error(f"{token} is unknown")

    def close(self, closing: str, token: str) -> None:
        frame = self.stack[-1]
        if frame.closing != closing:
            raise self.error(f"{token} does not fit to {frame.text or 'what is open'}")

    def add(self, kind: str, text: str = "", args: Iterable[int] = ()) -> int:
        self.nodes.append(Node(kind, text, tuple(args)))
        return len(self.nodes) - 1

    def leaf(self, kind: str, text: str) -> None:
        self.deliver(self.add(kind, text))

    def letters(self, token: str, frame: _Frame) -> None:
        """A digit or letter; in a font those beside each other are one word."""
        if not frame.font:
            self.leaf("number" if token[0].isdigit() else "identifier", token)
            return
        text = token.removeprefix("\\")
        last = self.nodes[-1] if frame.row and frame.row[-1] == len(self.nodes) - 1 and not frame.wanted else None
        if last is not None and last.kind == frame.font and frame.styles[-1:] != [len(frame.row)]:
            self.nodes[-1] = last._replace(text=last.text + text)
        else:
            self.leaf(frame.font, text)

    def deliver(self, index: int) -> None:
        """Puts a part where it belongs: at the end of a row, or to a command that waits for it, which may then be complete itself."""
        while self.stack[-1].wanted:
            frame = self.stack[-1]
            frame.args.append(index)
            frame.wanted -= 1
            if frame.wanted:
                return
            self.stack.pop()
            index = self.add(frame.kind, frame.text, frame.args)
        if self.stack[-1].kind == "delimiter":
            raise self.error(f"{self.nodes[index].text} is no delimiter")
        self.stack[-1].row.append(index)

    def script(self, mark: str) -> None:
        frame = self.stack[-1]
        if frame.wanted or frame.kind == "delimiter":
            raise self.error(f"{mark} has no base")
        marks = ""
        args: tuple[int, ...] = ()
        if len(frame.row) > (frame.styles[-1] if frame.styles else 0):
            base = frame.row[-1]
            node = self.nodes[base]
            if node.kind == "scripts":
                marks, args = node.text, node.args
                self.nodes.pop()  # it is the last one: nothing came after it
                frame.row.pop()
            elif node.kind != "space":
                args = (base,)
                frame.row.pop()
        if mark in marks and (mark != "'" or "^" in marks):
            raise self.error(f"two {mark} beside each other")
        if not args:
            args = (self.add("row"),)
        if mark == "'":
            frame.row.append(self.add("scripts", marks + mark, args))
        else:
            self.stack.append(_Frame("scripts", marks + mark, "", frame.font, 1, list(args)))

    def close_row(self, frame: _Frame) -> int:
        """The row that was read, as one part."""
        row = frame.row
        for start in reversed(frame.styles):
            inner = row[start:]
            row = [*row[:start], self.add("style", "displaystyle", (inner[0] if len(inner) == 1 else self.add("row", "", inner),))]
        frame.row, frame.styles = [], []
        return row[0] if len(row) == 1 else self.add("row", "", row)

    def end_row(self, frame: _Frame) -> int:
        return self.close_row(frame)

    def end_line(self, frame: _Frame, gap: str) -> None:
        cells = [*frame.args, self.close_row(frame)]
        frame.args = []
        frame.lines.append(self.add("line", gap, cells))

    def delimit(self, word: str) -> None:
        frame = self.stack[-1]
        if frame.wanted:
            raise self.error(f"\\{word} is no argument")
        if word != "left":
            self.close("\\right", f"\\{word}")
            frame.args.append(self.close_row(frame))
        self.stack.append(_Frame("delimiter", word, "", frame.font))

    def end_delimiter(self, which: str, token: str) -> None:
        if token not in _DELIMITERS:
            raise self.error(f"{token} is no delimiter")
        if which == "left":
            self.stack.append(_Frame("fence", token, "\\right", self.stack[-1].font))
            return
        if which not in ("middle", "right"):
            self.leaf("sized", f"{which} {token}")
            return
        frame = self.stack[-1]
        frame.text = f"{frame.text} {token}"
        if which == "right":
            self.stack.pop()
            self.deliver(self.add("fence", frame.text, frame.args))


_COMMANDS = {
    "frac": ("fraction", 2),
    "sqrt": ("root", 1),
    "boxed": ("boxed", 1),
    **dict.fromkeys(ACCENTS, ("accent", 1)),
    **dict.fromkeys(BRACES, ("brace", 1)),
    **dict.fromkeys(FONTS, ("font", 1)),
}


def read_latex(text: str) -> Tree:
    r"""The layout of a formula that the program has written in LaTeX.

    Raises:
        TypesettingError: it is not of the subset that the program writes.

    >>> read_latex(r"\frac{x}{2}").nodes
    (Node(kind='identifier', text='x', args=()), Node(kind='number', text='2', args=()), Node(kind='fraction', text='', args=(0, 1)))
    >>> read_latex(r"\foo{x}")
    Traceback (most recent call last):
    ...
    jacobian_chain.typesetting.TypesettingError: \foo is unknown in \foo{x}
    """
    return _Reader(text).read()


Piece = str | int
"""A text, or the number of a part that is to be written in its place."""

Form = Callable[[Tree, Node], Iterable[Piece]]
"""How a kind of part is written."""


def assemble(tree: Tree, forms: Mapping[str, Form], root: int | None = None) -> str:
    """Writes a tree, or the part ``root`` of it, by one form for each kind of part; takes time linear in what is written."""
    parts: list[str] = []
    stack: list[Piece] = [len(tree.nodes) - 1 if root is None else root]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
        else:
            node = tree.nodes[item]
            stack.extend(reversed(list(forms[node.kind](tree, node))))
    return "".join(parts)


def columns(tree: Tree, node: Node) -> int:
    r"""How many columns a grid has.

    >>> tree = read_latex(r"\begin{pmatrix} a & b \\ c \end{pmatrix}")
    >>> columns(tree, tree.nodes[-1])
    2
    """
    return max((len(tree.nodes[line].args) for line in node.args), default=0)


# --- back to LaTeX ---


def _as_is(_: Tree, node: Node) -> Iterable[Piece]:
    return (f"{node.text} " if node.text[:1] == "\\" and node.text[1:].isalpha() else node.text,)


def escape_text(text: str) -> str:
    r"""Words for inside of ``\text``: what has a meaning in LaTeX is escaped.

    >>> print(escape_text("50 % of a_b"))
    50 \% of a\_b
    """
    return re.sub(r"[%#$&_{}]", r"\\\g<0>", text)


def _latex_row(tree: Tree, node: Node) -> Iterable[Piece]:
    before = ""
    for item in node.args:
        kind, text, _ = tree.nodes[item]
        if kind == before == "number":
            yield " "
        if kind != "operator" or text in ";.:!?|/" or (text in "+-" and before in ("", "operator", "open")):
            yield item
        else:
            yield from (item, " ") if text == "," else (" ", item, " ")
        before = kind


def _latex_scripts(_: Tree, node: Node) -> Iterable[Piece]:
    yield node.args[0]
    args = iter(node.args[1:])
    for mark in node.text:
        yield from (mark,) if mark == "'" else (f"{mark}{{", next(args), "}")


def _latex_fence(_: Tree, node: Node) -> Iterable[Piece]:
    first, *others = node.text.split(" ")
    yield f"\\left{first} "
    for k, (arg, mark) in enumerate(zip(node.args, others, strict=True), 1):
        yield arg
        yield f" \\{'right' if k == len(node.args) else 'middle'}{mark} "


def _latex_grid(tree: Tree, node: Node) -> Iterable[Piece]:
    name, _, spec = node.text.partition(" ")
    yield f"\\begin{{{name}}}" + (f"{{{spec}}}" if spec else "") + "\n"
    for k, line in enumerate(node.args, 1):
        yield line
        gap = tree.nodes[line].text
        if k < len(node.args) or gap:
            yield " \\\\" + (r" \hline" if gap == "hline" else f"[{gap}]" if gap else "")
        yield "\n"
    yield f"\\end{{{name}}}"


def _latex_line(_: Tree, node: Node) -> Iterable[Piece]:
    for k, cell in enumerate(node.args):
        if k:
            yield " & "
        yield cell


def _latex_function(_: Tree, node: Node) -> Iterable[Piece]:
    return (f"\\{node.text} " if node.text in NAMED_FUNCTIONS else f"\\operatorname{{{escape_text(node.text)}}}",)


LATEX: dict[str, Form] = {
    "row": _latex_row,
    "group": lambda _, node: ("{", *node.args, "}"),
    **dict.fromkeys(("identifier", "operator", "open", "close", "large", "number", "space"), _as_is),
    **dict.fromkeys(FONTS.values(), lambda _, node: (escape_text(node.text),)),
    "text": lambda _, node: (f"\\text{{{escape_text(node.text)}}}",),
    "function": _latex_function,
    "font": lambda _, node: (f"\\{node.text}{{", node.args[0], "}"),
    "fraction": lambda _, node: (r"\frac{", node.args[0], "}{", node.args[1], "}"),
    "root": lambda _, node: (r"\sqrt{", node.args[0], "}"),
    "scripts": _latex_scripts,
    "accent": lambda _, node: (f"\\{node.text}{{", node.args[0], "}"),
    "brace": lambda _, node: (f"\\{node.text}{{", node.args[0], "}"),
    "boxed": lambda _, node: (r"\boxed{", node.args[0], "}"),
    "fence": _latex_fence,
    "sized": lambda _, node: (node.text.replace(" ", "") + (" " if node.text[-1].isalpha() else ""),),
    "style": lambda _, node: (r"\displaystyle ", node.args[0]),
    "grid": _latex_grid,
    "line": _latex_line,
}


_LOOSE = re.compile(r"(\\[A-Za-z]+) +(?![A-Za-z ])| {2,}")
"""Blanks behind a command that ends before something else than a letter, and several of them."""


def write_latex(tree: Tree, root: int | None = None) -> str:
    r"""A tree as LaTeX: what it was read from, up to white space.

    >>> write_latex(read_latex(r"\left( x^2 \,\middle\vert\, \mathrm{a\_b}_{1}' \right)"))
    "\\left( x^{2}\\, \\middle\\vert\\,\\mathrm{a\\_b}_{1}' \\right)"
    """
    return _tidy(assemble(tree, LATEX, root))


def write_latex_row(tree: Tree, items: Iterable[int]) -> str:
    """Parts of a tree beside each other as LaTeX."""
    pieces = _latex_row(tree, Node("row", "", tuple(items)))
    return _tidy("".join(piece if isinstance(piece, str) else assemble(tree, LATEX, piece) for piece in pieces))


def _tidy(latex: str) -> str:
    return _LOOSE.sub(lambda match: match[1] or " ", latex).strip()


# --- in one line, and how wide ---


def _line_scripts(tree: Tree, node: Node) -> Iterable[Piece]:
    yield node.args[0]
    args = iter(node.args[1:])
    for mark in node.text:
        if mark == "'":
            yield "′"
            continue
        arg = next(args)
        short = tree.nodes[arg].kind in ("identifier", "number", "font", "upright")
        yield from (mark, arg) if short else (f"{mark}(", arg, ")")


def _line_fence(_: Tree, node: Node) -> Iterable[Piece]:
    first, *others = node.text.split(" ")
    yield character(first)
    for arg, mark in zip(node.args, others, strict=True):
        yield from (arg, character(mark))


def _line_grid(_: Tree, node: Node) -> Iterable[Piece]:
    for k, line in enumerate(node.args):
        yield from ("; ", line) if k else (line,)


def _line_cells(_: Tree, node: Node) -> Iterable[Piece]:
    for k, cell in enumerate(node.args):
        yield from (" ", cell) if k else (cell,)


def _line_row(tree: Tree, node: Node) -> Iterable[Piece]:
    for k, item in enumerate(node.args):
        part = tree.nodes[item]
        if part.kind == "operator" and k and character(part.text) not in ",.":
            yield from (" ", item, " ")
        else:
            yield from (item, " ") if part.kind == "operator" and k else (item,)


def letter(latex: str) -> str:
    r"""The character of a sign, or a letter as it is.

    >>> letter(r"\theta"), letter("x")
    ('θ', 'x')
    """
    return SYMBOLS[latex].character if latex in SYMBOLS else latex


def character(latex: str) -> str:
    r"""The character of a sign or delimiter; that of none is empty.

    >>> character(r"\cdot"), character(".")
    ('⋅', '')
    """
    return "" if latex == "." else SYMBOLS[latex].character


_LINE: dict[str, Form] = {
    "row": _line_row,
    **dict.fromkeys(("identifier", "operator", "open", "close", "large"), lambda _, node: (letter(node.text),)),
    "space": lambda _, __: (" ",),
    **dict.fromkeys(("number", "text", "function", *FONTS.values()), lambda _, node: (node.text,)),
    **dict.fromkeys(("group", "font", "accent", "brace", "boxed", "style"), lambda _, node: node.args),
    "fraction": lambda _, node: (node.args[0], "/", node.args[1]),
    "root": lambda _, node: ("√(", node.args[0], ")"),
    "scripts": _line_scripts,
    "fence": _line_fence,
    "sized": lambda _, node: (character(node.text.split(" ")[1]),),
    "grid": _line_grid,
    "line": _line_cells,
}


def write_line(tree: Tree) -> str:
    r"""A tree in one line of plain text, for a window's title.

    >>> write_line(read_latex(r"J_{\theta} f = \frac{\partial f}{\partial \theta_{1}^{\top}}"))
    'J_θf = ∂f/∂θ_1^⊤'
    """
    return "".join(assemble(tree, _LINE).split("  "))


_EMS = {"operator": 1.3, "open": 0.4, "close": 0.4, "large": 1.6, "identifier": 0.56, "sized": 0.55}
_NARROW = {",": 0.45, ".": 0.3, r"\cdot": 0.73, "/": 0.5, "'": 0.3, "|": 0.3, r"\vert": 0.3}


def widths(tree: Tree) -> list[float]:
    """About how wide each part is set, in em: within a fifth of what TeX makes of it, mostly within a tenth."""
    found: list[float] = []
    tall: list[bool] = []  # fences around what is tall are wider
    for node in tree.nodes:
        inner = [found[arg] for arg in node.args]
        tall.append(node.kind in ("fraction", "grid") or any(tall[arg] for arg in node.args))
        if node.kind in _EMS:
            size = 0.76 if node.text.isupper() else _NARROW.get(node.text, _EMS[node.kind])
        elif node.kind == "space":
            size = SPACES[node.text]
        elif node.kind == "fraction":
            size = max(inner) + 0.25
        elif node.kind == "scripts":
            size = inner[0] + 0.72 * max(inner[1:], default=0.0) + 0.25 * node.text.count("'")
        elif node.kind == "fence":
            size = sum(inner) + 0.7 * (len(inner) + 1) + (0.4 if tall[-1] else 0.0)
        elif node.kind == "grid":
            cells = [tree.nodes[line].args for line in node.args]
            size = sum(max((found[line[k]] for line in cells if k < len(line)), default=0.0) for k in range(columns(tree, node)))
            size += (0.0 if node.text == "aligned" else 1.0) * (columns(tree, node) - 1) + (1.4 if GRIDS[node.text.split()[0]] else 0.0)
        elif node.args:
            size = sum(inner) + (0.9 if node.kind == "root" else 0.0)
        else:
            size = 0.52 * len(node.text)
        found.append(size)
    return found
