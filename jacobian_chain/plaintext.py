"""Articles for a terminal: wrapped paragraphs, equations aligned at their signs, tables by columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from jacobian_chain.article import Article, Display, Formula, Heading, Math, Paragraph, Part, Prose, Table, flatten
from jacobian_chain.errors import text_width

COLUMNS = 100
"""Lines of prose are no longer."""

REASON = 60
"""Reasons stand no further to the right; beside a longer equation they stand behind it."""

NO_BREAK = "\N{NO-BREAK SPACE}"


def wrap(prose: Prose, width: int = COLUMNS, indent: str = "") -> str:
    """Prose in lines; formulas are not broken."""
    text = "".join(part.text.replace(" ", NO_BREAK) if isinstance(part, Math) else part for part in prose)
    lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(NO_BREAK, " ")


def _pad(text: str, width: int, right: bool = False) -> str:
    blanks = " " * max(0, width - text_width(text))
    return blanks + text if right else text + blanks


def _write_display(display: Display) -> str:
    equations = display.equations
    left = max((text_width(equation.left) for equation in equations if "\n" not in equation.left), default=0)
    lines: list[tuple[str, str]] = []
    for equation in equations:
        first, *others = equation.right.split("\n")
        sign = "= " if not _continues(equation.left, first) else ""
        lines.append((f"{_pad(equation.left, left, True)} {sign}{first}", flatten(equation.reason)))
        lines += [(" " * (left + 1 + len(sign)) + other, "") for other in others]
    column = max((text_width(line) for line, reason in lines if reason and text_width(line) <= REASON), default=0)
    return "\n".join(f"{_pad(line, column)}   {reason}" if reason else line.rstrip() for line, reason in lines)


def _continues(left: str, right: str) -> bool:
    """Whether a line goes on from the one above with a sign of its own."""
    return not left and right.startswith(("=", "+"))


def _write_table(table: Table) -> str:
    rows = [[flatten(cell) for cell in row] for row in (table.header, *table.rows)]
    width = [max(text_width(row[k]) for row in rows if k < len(row)) for k in range(max(map(len, rows)))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(_pad(cell, width[k], k > 0) for k, cell in enumerate(row)).rstrip()

    lines = [line(rows[0]), "  ".join("─" * size for size in width), *map(line, rows[1:])]
    caption = wrap(table.caption)
    return "\n".join([caption, *lines] if caption else lines)


def write_part(part: Part) -> str:
    """One part of an article."""
    if isinstance(part, Heading):
        title = flatten(part.text)
        return f"{title}\n{'─' * text_width(title)}"
    if isinstance(part, Paragraph):
        return wrap(part.text)
    if isinstance(part, Display):
        return _write_display(part)
    if isinstance(part, Formula):
        return part.text
    if isinstance(part, Table):
        return _write_table(part)
    return part.alternative


def write_text(article: Article) -> str:
    """An article in Unicode.

    >>> from jacobian_chain.article import Equation
    >>> steps = Display((Equation("∂L/∂x", "∂L/∂z · ∂z/∂x", ("by the chain rule",)), Equation("", "Wᵀ δ")))
    >>> print(write_text(Article(("A layer",), (steps,), "text")))
    A layer
    ═══════
    <BLANKLINE>
    ∂L/∂x = ∂L/∂z · ∂z/∂x   by the chain rule
          = Wᵀ δ
    """
    title = flatten(article.title)
    head = [f"{title}\n{'═' * text_width(title)}"] if title else []
    return "\n\n".join([*head, *map(write_part, article.parts)])
