r"""Formulas as MathML Core, as browsers of today show it without a script: ``<mfrac><mi>x</mi><mn>2</mn></mfrac>``."""

from __future__ import annotations

from collections.abc import Iterable

from jacobian_chain.typesetting import GRIDS, SPACES, SYMBOLS, Form, Node, Piece, Tree, assemble, character, letter

STYLE = """\
math{font-family:"Latin Modern Math","STIX Two Math","Cambria Math","TeX Gyre DejaVu Math",math;line-height:normal}
mfrac{padding-inline:.12em}
mtable.aligned>mtr>mtd{padding:.35em 0}
mtable.aligned>mtr>mtd,mtd.left{text-align:left;text-align:-webkit-left}
mtable.aligned>mtr>mtd:nth-child(odd),mtd.right{text-align:right;text-align:-webkit-right}
mtable.aligned>mtr>mtd:nth-child(odd):not(:first-child){padding-left:1.5em}
mtd.bar{border-left:.06em solid}
mtd.ex1{padding-bottom:1ex}mtd.ex2{padding-bottom:2ex}mtd.rule{border-bottom:.06em solid}
mrow.over{border-top:.06em solid;padding-top:.1em}mrow.under{border-bottom:.06em solid;padding-bottom:.1em}
mrow.boxed{border:.06em solid;padding:.2em .3em}
"""
"""What a page's style sheet has to say for the formulas on it."""

_UPRIGHT = frozenset("′∇⊤⊥∞∅%#$_&✓ΓΔΘΛΞΠΣΥΦΨΩ")
"""What stands upright although it is one character."""

_ACCENTS = {
    "hat": "^", "widehat": "^", "bar": "¯", "tilde": "~", "widetilde": "~", "dot": "˙", "ddot": "¨",
    "acute": "´", "grave": "`", "check": "ˇ", "breve": "˘", "mathring": "˚", "vec": "→", "underbrace": "⏟", "overbrace": "⏞",
}  # fmt: skip
_STRETCHED = frozenset({"widehat", "widetilde", "underbrace", "overbrace"})
_BELOW = frozenset({"underbrace"})
_SIZES = {"big": 1.2, "Big": 1.8, "bigg": 2.4, "Bigg": 3.0}
_ALPHABETS = {"bold": (0x1D400, 0x1D41A, 0x1D7CE), "blackboard": (0x1D538, 0x1D552, 0x1D7D8), "calligraphic": (0x1D49C, 0x1D4B6, 0x30)}
_GAPS = {"1ex": "ex1", "2ex": "ex2", "hline": "rule"}
_LETTERLIKE = {
    **dict(zip((0x1D53A, 0x1D53F, 0x1D545, 0x1D547, 0x1D548, 0x1D549, 0x1D551), "ℂℍℕℙℚℝℤ", strict=True)),
    **dict(zip((0x1D49D, 0x1D4A0, 0x1D4A1, 0x1D4A3, 0x1D4A4, 0x1D4A7, 0x1D4A8, 0x1D4AD), "ℬℰℱℋℐℒℳℛ", strict=True)),
}
"""Letters that Unicode had before it had the alphabets."""

THIN = '<mspace width=".17em"/>'
_APPLICATION = "<mo>\N{FUNCTION APPLICATION}</mo>"


def escape(text: str) -> str:
    """A text for inside of an element.

    >>> escape("a < b & c")
    'a &lt; b &amp; c'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _identifier(_: Tree, node: Node) -> Iterable[Piece]:
    sign = letter(node.text)
    return (f'<mi mathvariant="normal">{escape(sign)}</mi>' if sign in _UPRIGHT else f"<mi>{sign}</mi>",)


def _operator(_: Tree, node: Node) -> Iterable[Piece]:
    sign = SYMBOLS[node.text].character
    if sign in "⊙⊘⊗⊕":
        return (f'<mo lspace=".22em" rspace=".22em">{sign}</mo>',)  # browsers set them tighter than products
    return (f'<mo stretchy="false">{sign}</mo>' if sign in "|‖/→←↦⟹⟺⇒" else f"<mo>{escape(sign)}</mo>",)


def _bracket(_: Tree, node: Node) -> Iterable[Piece]:
    sign, form = SYMBOLS[node.text].character, "prefix" if node.kind == "open" else "postfix"
    return (f'<mo form="{form}" stretchy="false">{sign}</mo>' if sign in "|‖" else f'<mo stretchy="false">{sign}</mo>',)


def _letters(_: Tree, node: Node) -> Iterable[Piece]:
    """Letters upright, or from the alphabet of a font."""
    if node.kind == "upright":
        return (f"<mi>{escape(node.text)}</mi>" if len(node.text) > 1 else f'<mi mathvariant="normal">{escape(node.text)}</mi>',)
    upper, lower, zero = _ALPHABETS[node.kind]
    starts = {"A": upper - 65, "a": lower - 97, "0": zero - 48}
    codes = [(c, starts.get("A" if c.isupper() else "a" if c.islower() else "0" if c.isdecimal() else "")) for c in node.text]
    text = "".join(c if start is None else _LETTERLIKE.get(start + ord(c)) or chr(start + ord(c)) for c, start in codes)
    return (f"<mn>{text}</mn>" if node.text.isdecimal() else f"<mi>{escape(text)}</mi>",)


_KINDS = {
    "function": "function",
    "large": "function",
    "fence": "inner",
    "open": "open",
    "close": "close",
    "operator": "sign",
    "space": "sign",
}
"""The classes of what stands beside each other; anything else is ordinary."""


def _items(tree: Tree, items: tuple[int, ...], first_is_binary: bool = False) -> Iterable[Piece]:
    """The items of a row, with the spaces that TeX sets by itself and browsers do not."""
    before = ""
    for k, item in enumerate(items):
        node = tree.nodes[item]
        kind = _KINDS.get(tree.core(item).kind, "ordinary")
        if before == "function" and kind in ("open", "inner"):
            yield _APPLICATION
        elif _parted(before, kind):
            yield THIN
        if node.kind == "operator" and node.text in "+-" and (k or first_is_binary):
            form = "prefix" if k and before in ("sign", "open") else "infix"
            yield f'<mo form="{form}">{SYMBOLS[node.text].character}</mo>'
        else:
            yield item
        before = kind


def _parted(before: str, kind: str) -> bool:
    """Whether a thin space stands between two items: around functions and fences that grow (Knuth, The TeXbook, chapter 18)."""
    if before in ("", "sign", "open") or kind in ("sign", "close"):
        return False
    return "inner" in (before, kind) or "function" in (before, kind)


def _row(tree: Tree, node: Node) -> Iterable[Piece]:
    yield from ("<mrow>", *_items(tree, node.args), "</mrow>")


def _inside(tree: Tree, index: int, first_is_binary: bool = False) -> Iterable[Piece]:
    """A part within an element that makes a row by itself."""
    node = tree.nodes[index]
    return _items(tree, node.args if node.kind == "row" else (index,), first_is_binary)


def _scripts(tree: Tree, node: Node) -> Iterable[Piece]:
    below = above = -1
    primes = node.text.count("'")
    for mark, arg in zip(node.text.replace("'", ""), node.args[1:], strict=True):
        below, above = (arg, above) if mark == "_" else (below, arg)
    base = tree.nodes[node.args[0]]
    under = base.kind in ("large", "brace")
    both = "munderover" if under else "msubsup"
    prime = f"<mo>{'′' * primes}</mo>" if primes else ""
    raised: tuple[Piece, ...] = ("<mrow>", prime, above, "</mrow>") if prime and above >= 0 else (prime,) if prime else (above,)
    has_above = bool(prime) or above >= 0
    name = both if below >= 0 and has_above else ("munder" if under else "msub") if below >= 0 else ("mover" if under else "msup")
    if base.kind == "brace" and base.text == "underbrace" and has_above and below < 0:
        name = "mover"
    yield f"<{name}>"
    yield node.args[0]
    if below >= 0:
        yield below
    if has_above:
        yield from raised
    yield f"</{name}>"


def _accent(tree: Tree, node: Node) -> Iterable[Piece]:
    if node.text in ("overline", "underline"):
        return (f'<mrow class="{node.text[:-4]}">', *_inside(tree, node.args[0]), "</mrow>")
    name = "munder" if node.text in _BELOW else "mover"
    stretchy = "" if node.text in _STRETCHED else ' stretchy="false"'
    kind = "accentunder" if name == "munder" else "accent"
    return (f'<{name} {kind}="true">', node.args[0], f"<mo{stretchy}>{_ACCENTS[node.text]}</mo></{name}>")


def _fence(tree: Tree, node: Node) -> Iterable[Piece]:
    first, *others = [character(mark) for mark in node.text.split(" ")]
    yield f'<mrow><mo form="prefix" fence="true" stretchy="true">{first}</mo>' if first else "<mrow>"
    for k, (arg, mark) in enumerate(zip(node.args, others, strict=True), 1):
        yield from _inside(tree, arg)
        form = 'form="postfix"' if k == len(node.args) else 'form="infix" lspace="0" rspace="0"'
        if mark:
            yield f'<mo {form} fence="true" stretchy="true" symmetric="true">{mark}</mo>'
    yield "</mrow>"


def _sized(_: Tree, node: Node) -> Iterable[Piece]:
    command, mark = node.text.split(" ")
    size = _SIZES[command.strip("\\").rstrip("lrm") if command.strip("\\") not in _SIZES else command.strip("\\")]
    form = {"l": "prefix", "r": "postfix"}.get(command[-1], "infix")
    spaces = ' lspace="0" rspace="0"' if form == "infix" else ""
    return (f'<mo form="{form}" stretchy="true" symmetric="true" minsize="{size}em" maxsize="{size}em"{spaces}>{character(mark)}</mo>',)


def _grid(tree: Tree, node: Node) -> Iterable[Piece]:
    name, _, spec = node.text.partition(" ")
    marks = GRIDS[name]
    aligned = name == "aligned"
    if marks:
        yield f'<mrow><mo form="prefix" fence="true" stretchy="true">{marks[0]}</mo>'
    yield '<mtable class="aligned" displaystyle="true">' if aligned else "<mtable>"
    classes = [["left"]] * 99 if name == "cases" else _column_classes(spec)
    for k, line in enumerate(node.args):
        yield "<mtr>"
        gap = tree.nodes[line].text if k + 1 < len(node.args) else ""
        for j, cell in enumerate(tree.nodes[line].args):
            words = [*(classes[j] if j < len(classes) else ()), *((_GAPS[gap],) if gap in _GAPS else ())]
            yield f'<mtd class="{" ".join(words)}">' if words else "<mtd>"
            yield from _inside(tree, cell, aligned and j % 2 == 1)
            yield "</mtd>"
        yield "</mtr>"
    yield "</mtable>"
    if marks:
        yield f'<mo form="postfix" fence="true" stretchy="true">{marks[1]}</mo></mrow>' if marks[1:] else "</mrow>"


def _column_classes(spec: str) -> list[list[str]]:
    """The classes of each column of an array: where it is aligned and whether a bar stands before it."""
    found: list[list[str]] = []
    bar = False
    for c in spec:
        if c == "|":
            bar = True
            continue
        found.append([*({"l": ["left"], "r": ["right"]}.get(c, [])), *(["bar"] if bar else [])])
        bar = False
    return found


FORMS: dict[str, Form] = {
    "row": _row,
    "group": lambda tree, node: ("<mrow>", *_inside(tree, node.args[0]), "</mrow>"),
    "identifier": _identifier,
    "operator": _operator,
    "open": _bracket,
    "close": _bracket,
    "large": lambda _, node: (f"<mo>{SYMBOLS[node.text].character}</mo>",),
    "number": lambda _, node: (f"<mn>{node.text}</mn>",),
    "text": lambda _, node: (f"<mtext>{escape(node.text)}</mtext>",),
    "space": lambda _, node: (f'<mspace width="{SPACES[node.text]}em"/>',),
    "function": lambda _, node: (f"<mi>{escape(node.text)}</mi>",),
    **dict.fromkeys(("upright", *_ALPHABETS), _letters),
    "font": lambda _, node: node.args,
    "fraction": lambda _, node: ("<mfrac>", *node.args, "</mfrac>"),
    "root": lambda tree, node: ("<msqrt>", *_inside(tree, node.args[0]), "</msqrt>"),
    "scripts": _scripts,
    "accent": _accent,
    "brace": _accent,
    "boxed": lambda tree, node: ('<mrow class="boxed">', *_inside(tree, node.args[0]), "</mrow>"),
    "fence": _fence,
    "sized": _sized,
    "style": lambda tree, node: ('<mstyle displaystyle="true">', *_inside(tree, node.args[0]), "</mstyle>"),
    "grid": _grid,
    "line": lambda _, node: node.args,
}


def write_mathml(tree: Tree, root: int | None = None, display: bool = False, big: bool = False, goes_on: bool = False) -> str:
    r"""A formula, or the part ``root`` of one, as a ``math`` element.

    Args:
        tree: the formula.
        root: the part.
        display: whether it stands in a line of its own.
        big: whether it is set as displays are, within a line.
        goes_on: whether something stands before it, so that a sign in front is one between two terms.

    >>> from jacobian_chain.typesetting import read_latex
    >>> write_mathml(read_latex(r"x_{1} + \frac{1}{2}"))
    '<math><msub><mi>x</mi><mn>1</mn></msub><mo form="infix">+</mo><mfrac><mn>1</mn><mn>2</mn></mfrac></math>'
    """
    head = '<math display="block">' if display else '<math displaystyle="true">' if big else "<math>"
    body = _inside(tree, len(tree.nodes) - 1 if root is None else root, goes_on)
    return "".join((head, *(item if isinstance(item, str) else assemble(tree, FORMS, item) for item in body), "</math>"))
