r"""Articles as a LaTeX document that compiles with what TeX Live's base collection holds.

Rows break at signs outside of brackets; where that is not enough the paper is turned, and at last as wide as it has to be.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jacobian_chain.article import Article, Display, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.equations import Line, break_row, broken, part_signs, read_lines, unfold
from jacobian_chain.typesetting import read_latex, widths, write_latex
from jacobian_chain.writers import to_ascii

EM = 0.39
"""Centimetres of an em at eleven points."""

MARGIN = 2.2
"""In centimetres."""

PORTRAIT, LANDSCAPE, _WIDEST = 21.0, 29.7, 500.0
"""Widths of pages in centimetres: upright, turned, and the most."""

_HEADER = 16
"""Longer headers of columns are broken."""

_ROWS = 30
"""Longer tables break across pages."""

_BOXES = {"─": "-", "│": "|", "├": "|", "└": "`", "┬": "-", "┐": ".", "┌": ".", "┘": "'", "┤": "|", "┼": "+", "┴": "-"}


class Paper(NamedTuple):
    """A page: its width in centimetres, and what ``geometry`` is told."""

    width: float
    options: str

    @property
    def ems(self) -> float:
        """How wide its lines are, in em."""
        return (self.width - 2 * MARGIN) / EM


def choose_paper(lines: Iterable[Line]) -> Paper:
    """Upright where all rows fit, turned where that is enough when they are broken, and else as wide as the widest part of a row."""
    widest = needed = 0.0
    for line in lines:
        left, right = widths(line.left)[-1], widths(line.right)[-1]
        widest = max(widest, left + right)
        needed = max(needed, left + max(chunk.width for chunk in break_row(line.right, 0.0)) + 2.0)
    upright, turned = Paper(PORTRAIT, "a4paper"), Paper(LANDSCAPE, "a4paper,landscape")
    if widest <= upright.ems:
        return upright
    if needed <= turned.ems:
        return turned
    width = min(_WIDEST, needed * EM + 2 * MARGIN)
    return Paper(width, f"paperwidth={width:.1f}cm,paperheight={PORTRAIT}cm")


def collect_lines(parts: Sequence[Part]) -> dict[int, list[Line]]:
    """The lines of every display and formula, by the number of its part."""
    found: dict[int, list[Line]] = {}
    for k, part in enumerate(parts):
        if isinstance(part, Display):
            found[k] = read_lines(part)
        elif isinstance(part, Formula):
            tree = read_latex(part.text)
            found[k] = unfold(tree) or [Line(read_latex(""), tree, ())]
    return found


_ESCAPES = {
    **{c: f"\\{c}" for c in "%&#_{}"},
    "$": r"$\mathdollar$",  # the other sign comes from a font that has to be made first
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
}  # fmt: skip


def _words(text: str) -> str:
    """Words outside of formulas."""
    return "".join(
        f"${piece.text}$" if isinstance(piece, Math) else "".join(_ESCAPES.get(c, c) for c in piece) for piece in part_signs(text)
    )


def write_prose(prose: Prose) -> str:
    r"""Prose outside of formulas.

    >>> print(write_prose(("50 % of ", Math("W x"), " & θ₁")))
    50 \% of $W x$ \& $\theta _{1}$
    """
    return "".join(f"${part.text}$" if isinstance(part, Math) else _words(part) for part in prose)


def _write_lines(lines: Sequence[Line], limit: float) -> str:
    rows = []
    for line in lines:
        first, *others = broken(line, limit)
        row = [f"{write_latex(line.left)} & {first}", *(f" & {other}" for other in others)]
        if line.reason:
            row[-1] += f" \\tag*{{\\small {write_prose(line.reason)}}}"
        rows += row
    body = " \\\\\n".join(rows)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _write_header(cell: Prose) -> str:
    """What stands above a column, in several lines where it is long."""
    if not all(isinstance(piece, str) for piece in cell):
        return write_prose(cell)
    lines = textwrap.wrap("".join(map(str, cell)), _HEADER)
    body = r" \\ ".join(map(_words, lines))
    return f"\\shortstack[r]{{{body}}}" if lines[1:] else body


def _write_table(table: Table) -> str:
    first, *others = table.header
    head = " & ".join([write_prose(first), *map(_write_header, others)])
    rows = [head, *(" & ".join(map(write_prose, row)) for row in table.rows)]
    caption = f"{write_prose(table.caption)}\\nopagebreak\n" if table.caption else ""
    body = " \\\\\n".join(rows[1:])
    columns = "l" + "r" * (len(table.header) - 1)
    if len(table.rows) <= _ROWS:
        body = f"\\hline\n{rows[0]} \\\\ \\hline\n{body} \\\\ \\hline"
        return f"{caption}\\begin{{center}}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\end{{center}}"
    return f"{caption}\\begin{{longtable}}{{{columns}}}\n\\hline\n{rows[0]} \\\\ \\hline\\endhead\n{body} \\\\ \\hline\n\\end{{longtable}}"


def _write_figure(figure: Figure) -> str:
    text = figure.alternative.strip("\n")
    if "\n" in text:
        return f"\\begin{{verbatim}}\n{text}\n\\end{{verbatim}}"
    return f"\\emph{{{_words(text)}}}"


_KNOWN = frozenset("ÆæØøŁłŒœßı¡¿–—‘’“”…\N{NO-BREAK SPACE}")
_KNOWN_MARKS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")


def _is_known(c: str) -> bool:
    """Whether TeX's first fonts have a character, or its letter and accent."""
    apart = unicodedata.normalize("NFD", c)
    return c in _KNOWN or (len(apart) == 2 and apart[0].isascii() and apart[1] in _KNOWN_MARKS and c <= "\u017f")


def _declare(text: str) -> str:
    """What pdflatex is told of characters that it does not know."""
    unknown = sorted({c for c in text if not c.isascii() and not _is_known(c)})
    lines = []
    for c in unknown:
        sign = next(iter(part_signs(c)))
        shown = f"\\ensuremath{{{sign.text}}}" if isinstance(sign, Math) else _BOXES.get(c) or f"\\texttt{{{to_ascii(c)}}}"
        lines.append(f"\\DeclareUnicodeCharacter{{{ord(c):04X}}}{{{shown}}}\n")
    return "".join(lines)


def write_document(article: Article) -> str:
    r"""An article as a LaTeX document.

    >>> from jacobian_chain.article import Equation
    >>> print(write_document(Article(("One layer",), (Display((Equation("x", "W y", ("by definition",)),)),))))
    \documentclass[11pt]{article}
    \usepackage[utf8]{inputenc}
    \usepackage{amsmath,amssymb,longtable}
    \usepackage[a4paper,margin=2.2cm]{geometry}
    \allowdisplaybreaks
    \setlength{\parindent}{0pt}
    \setlength{\parskip}{0.6em}
    \sloppy
    \begin{document}
    \section*{One layer}
    \begin{align*}
    x & = Wy \tag*{\small by definition}
    \end{align*}
    \end{document}
    """
    lines = collect_lines(article.parts)
    paper = choose_paper(line for group in lines.values() for line in group)
    parts = [f"\\section*{{{write_prose(article.title)}}}"] if article.title else []
    for k, part in enumerate(article.parts):
        if k in lines:
            parts.append(_write_lines(lines[k], paper.ems))
        elif isinstance(part, Heading):
            parts.append(f"\\subsection*{{{write_prose(part.text)}}}")
        elif isinstance(part, Paragraph):
            parts.append(write_prose(part.text))
        elif isinstance(part, Table):
            parts.append(_write_table(part))
        elif isinstance(part, Figure):
            parts.append(_write_figure(part))
    body = re.sub(r"\n\n(\\begin\{align\*\})", r"\n\1", "\n\n".join(parts))  # no paragraph begins with a display
    # on paper that is wide for the sake of formulas, lines of prose stay readable
    sides = f"\\setlength{{\\rightskip}}{{{paper.width - LANDSCAPE:.1f}cm}}\n" if paper.width > LANDSCAPE else ""
    return rf"""\documentclass[11pt]{{article}}
\usepackage[utf8]{{inputenc}}
\usepackage{{amsmath,amssymb,longtable}}
\usepackage[{paper.options},margin={MARGIN}cm]{{geometry}}
{_declare(body)}\allowdisplaybreaks
\setlength{{\parindent}}{{0pt}}
\setlength{{\parskip}}{{0.6em}}
{sides}\sloppy
\begin{{document}}
{body}
\end{{document}}"""
