r"""Formulas as Typst mathematics: ``frac(∂ f, ∂ x_(1))``.

What has a meaning in Typst's mathematics is escaped, words are quoted, and blanks stand between all items, so that nothing becomes a call,
a fraction, a shorthand such as ``->``, or the separator of arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jacobian_chain.article import Article, Display, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.equations import Line, broken
from jacobian_chain.paper import LANDSCAPE, MARGIN, PORTRAIT, choose_paper, collect_lines
from jacobian_chain.typesetting import FONTS, GRIDS, SYMBOLS, Form, Node, Piece, Tree, assemble, character, letter, read_latex

_SPACES = {
    r"\,": "thin",
    r"\:": "med",
    r"\;": "thick",
    r"\!": "#h(-0.17em)",
    r"\ ": "space",
    "~": "space",
    r"\quad": "quad",
    r"\qquad": "wide",
}
_ACCENTS = {
    "bar": "macron", "overline": "overline",
    "underline": "underline", "hat": "hat", "widehat": "hat", "tilde": "tilde", "widetilde": "tilde",
    "dot": "dot", "ddot": "dot.double", "acute": "acute", "grave": "grave", "check": "caron", "breve": "breve", "mathring": "circle",
    "vec": "arrow",
}  # fmt: skip
_STYLES = {"mathrm": "upright", "mathbf": "bold(upright", "mathbb": "bb", "mathcal": "cal"}
_SIZES = {"big": "1.2em", "Big": "1.8em", "bigg": "2.4em", "Bigg": "3em"}
_SIDES = {"open": "opening", "close": "closing"}
_ESCAPED = frozenset("#$\\\"&'/_^()[]{},;|:!`~*@<>=-+.?%")
_NATIVE = frozenset({"exp", "log", "ln", "sin", "cos", "tan", "sinh", "cosh", "tanh", "det", "max", "min", "lim", "inf", "sup"})


def quote(text: str) -> str:
    r"""A string of Typst.

    >>> print(quote('say "a/b"'))
    "say \"a/b\""
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


def _sign(sign: str) -> str:
    """A character as itself, whatever it means in Typst."""
    return f"\\{sign}" if sign in _ESCAPED and sign not in "=+<>?%." else sign


def _symbol(_: Tree, node: Node) -> Iterable[Piece]:
    return (_sign(letter(node.text)), " ")


def _bracket(_: Tree, node: Node) -> Iterable[Piece]:
    sign = SYMBOLS[node.text].character  # a bar does not say by itself which side it is of
    return (f'class("{_SIDES[node.kind]}", {_sign(sign)}) ' if sign in "|‖" else f"{_sign(sign)} ",)


def _scripts(tree: Tree, node: Node) -> Iterable[Piece]:
    """The marks of a single sign stand behind it, those of anything else are arguments."""
    base = tree.nodes[node.args[0]]
    primes = "'" * node.text.count("'")
    pairs = list(zip(node.text.replace("'", ""), node.args[1:], strict=True))
    if base.kind == "brace":  # what stands below or above is its second argument
        yield f"{base.text}("
        yield base.args[0]
        for _, arg in pairs:
            yield from (", ", arg)
        yield ") "
        return
    yield from ("attach(", node.args[0])
    for mark, arg in pairs:
        side = "b" if mark == "_" else "t"
        if mark == "^" and primes:
            yield from (f", {side}: {'prime ' * len(primes)}", arg)
        else:
            yield from (f", {side}: ", arg)
    if primes and "^" not in node.text:
        yield f", t: {'prime ' * len(primes)}"
    yield ") "


def _fence(_: Tree, node: Node) -> Iterable[Piece]:
    first, *others = [character(mark) for mark in node.text.split(" ")]
    yield f"lr({_sign(first)} " if first else "lr("
    for k, (arg, mark) in enumerate(zip(node.args, others, strict=True), 1):
        yield arg
        if mark:
            yield f"{_sign(mark)} " if k == len(node.args) else f"mid({_sign(mark)}) "
    yield ") "


def _sized(_: Tree, node: Node) -> Iterable[Piece]:
    command, mark = node.text.split(" ")
    name = command.strip("\\")
    size = _SIZES[name if name in _SIZES else name[:-1]]
    kind = {"l": "opening", "r": "closing"}.get(name[-1] if name not in _SIZES else "", "normal")
    return (f'class("{kind}", lr(size: #{size}, {_sign(character(mark))})) ',)


def _grid(tree: Tree, node: Node) -> Iterable[Piece]:
    name, _, spec = node.text.partition(" ")
    marks = GRIDS[name]
    if name == "cases":
        yield from ("cases(", *_cells(tree, node, " & ", ", "), ") ")
        return
    delimiter = quote(marks[0]) if marks else "#none"
    tall = any(tree.nodes[line].text.endswith("ex") for line in node.args)
    options = [f"delim: {delimiter}", *(["row-gap: #0.8em"] if tall or name == "aligned" else [])]
    if name == "aligned":
        options.append("column-gap: #0em")
    rules: list[str] = []
    bars = [k for k, c in enumerate(spec) if c == "|"]
    if bars:
        rules.append(f"vline: ({''.join(f'{bar - k}, ' for k, bar in enumerate(bars))})")
    below = [k for k, line in enumerate(node.args, 1) if tree.nodes[line].text == "hline" and k < len(node.args)]
    if below:
        rules.append(f"hline: ({''.join(f'{k}, ' for k in below)})")
    if rules:
        options.append(f"augment: #({', '.join(rules)})")
    yield f"mat({', '.join(options)}, "
    for k, line in enumerate(node.args):
        if k:
            yield "; "
        for j, cell in enumerate(tree.nodes[line].args):
            yield from (", ",) if j else ()
            if name != "aligned":
                yield cell
                continue
            empty = tree.nodes[cell] == Node("row")
            shown: tuple[Piece, ...] = () if empty else ("display(", cell, ")")
            yield from ('& "" ', *shown) if j % 2 else ("quad " if j else "", *shown, " &")  # odd columns end where even ones begin
    yield ") "


def _cells(tree: Tree, node: Node, beside: str, below: str) -> Iterable[Piece]:
    for k, line in enumerate(node.args):
        yield from (below,) if k else ()
        for j, cell in enumerate(tree.nodes[line].args):
            yield from (beside, cell) if j else (cell,)


def _call(name: str) -> Form:
    def form(_: Tree, node: Node) -> Iterable[Piece]:
        yield f"{name}("
        for k, arg in enumerate(node.args):
            yield from (", ", arg) if k else (arg,)
        yield ") "

    return form


FORMS: dict[str, Form] = {
    "row": lambda _, node: node.args,
    "group": lambda _, node: node.args,
    **dict.fromkeys(("identifier", "operator", "large"), _symbol),
    **dict.fromkeys(("open", "close"), _bracket),
    "number": lambda _, node: (f"{node.text} ",),
    "text": lambda _, node: (f"{quote(node.text)} ",),
    "space": lambda _, node: (f"{_SPACES[node.text]} ",),
    "function": lambda _, node: (f"{node.text} " if node.text in _NATIVE else f"op({quote(node.text)}) ",),
    **dict.fromkeys(FONTS.values(), lambda _, node: (f"{quote(node.text)} " if len(node.text) > 1 else f"{_sign(node.text)} ",)),
    "font": lambda _, node: (f"{_STYLES[node.text]}(", node.args[0], ")) " if node.text == "mathbf" else ") "),
    "fraction": _call("frac"),
    "root": _call("sqrt"),
    "scripts": _scripts,
    "accent": lambda tree, node: _call(_ACCENTS[node.text])(tree, node),
    "brace": lambda tree, node: _call(node.text)(tree, node),
    "boxed": lambda _, node: ("#box(stroke: 0.5pt, inset: 3pt, $", *node.args, "$) "),
    "fence": _fence,
    "sized": _sized,
    "style": lambda _, node: ("display(", *node.args, ") "),
    "grid": _grid,
}


def write_typst(tree: Tree) -> str:
    r"""A formula for between dollar signs; equations below each other become lines with their marks of alignment.

    >>> from jacobian_chain.typesetting import read_latex
    >>> write_typst(read_latex(r"J_{\mathrm{loss}, x} f(a, b) = \frac{\partial f}{\partial x} \odot \operatorname{diag}(y)"))
    'attach(J , b: upright("loss" ) \\, x ) f \\( a \\, b \\) = frac(∂ f , ∂ x ) ⊙ op("diag") \\( y \\)'
    """
    root = tree.nodes[-1]
    if root.kind == "grid" and root.text == "aligned":
        lines = [" & ".join(assemble(tree, FORMS, cell).rstrip() for cell in tree.nodes[line].args) for line in root.args]
        return " \\\n".join(lines)
    return assemble(tree, FORMS).rstrip()


# --- articles ---

_MARKS = re.compile(r"([\\`*_#$<>@\[\]~=/+-]|(?<=\d)\.)")


def _prose(prose: Prose) -> str:
    return "".join(f"${write_typst(read_latex(part.text))}$" if isinstance(part, Math) else _MARKS.sub(r"\\\1", part) for part in prose)


def _write_lines(lines: Sequence[Line], limit: float) -> str:
    rows = []
    for line in lines:
        left = write_typst(line.left)
        first, *others = (write_typst(read_latex(text)) for text in broken(line, limit))
        row = [f"{left} & {first}", *(f"& {other}" for other in others)]
        if line.reason:
            row[-1] += f" && quad #text(0.9em)[{_prose(line.reason)}]"
        rows += row
    body = " \\\n".join(rows)
    return f"$ {body} $"


def _table(table: Table) -> str:
    aligned = f"(left, {'right, ' * (len(table.header) - 1)})"
    head = f"table.header({', '.join(f'[{_prose(cell)}]' for cell in table.header)})"
    rows = "".join(f"  {', '.join(f'[{_prose(cell)}]' for cell in row)},\n" for row in table.rows)
    caption = f"{_prose(table.caption)}\n\n" if table.caption else ""
    return f"{caption}#table(columns: {len(table.header)}, align: {aligned}, stroke: (x: none, y: 0.4pt),\n  {head},\n{rows})"


def _part(part: Part, lines: Sequence[Line], limit: float) -> str:
    if isinstance(part, Display | Formula):
        return _write_lines(lines, limit)
    if isinstance(part, Heading):
        return f"== {_prose(part.text)}"
    if isinstance(part, Paragraph):
        return _prose(part.text)
    return _table(part) if isinstance(part, Table) else _figure(part)


def _figure(figure: Figure) -> str:
    """The picture itself, with its text for who cannot see it."""
    picture = f'image(bytes({quote(figure.svg)}), format: "svg", alt: {quote(figure.alternative)})'
    return f"#figure({picture}, caption: [{_prose((figure.alternative,))}])"


def write_typst_article(article: Article) -> str:
    """An article as a Typst document."""
    lines = collect_lines(article.parts)
    paper = choose_paper(line for group in lines.values() for line in group)
    sizes = {PORTRAIT: 'paper: "a4"', LANDSCAPE: 'paper: "a4", flipped: true'}
    size = sizes.get(paper.width, f"width: {paper.width:.1f}cm, height: {PORTRAIT}cm")
    title = [f"= {_prose(article.title)}"] if article.title else []
    body = "\n\n".join([*title, *(_part(part, lines.get(k, ()), paper.ems) for k, part in enumerate(article.parts))])
    return f"""\
#set page({size}, margin: {MARGIN}cm)
#set text(11pt, lang: "en")
#show math.equation: set block(breakable: true)

{body}"""
