r"""Articles in the two languages that are pasted into other texts: LaTeX for inside of a display, and Markdown as GitHub shows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

from jacobian_chain.article import Article, Display, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.equations import write_display, write_table


def _comment(text: str) -> str:
    return "\n".join(f"% {line}".rstrip() for line in text.strip("\n").split("\n"))


def _told(prose: Prose) -> str:
    return "".join(f"${' '.join(part.text.split())}$" if isinstance(part, Math) else part for part in prose)


def _latex_part(part: Part) -> str:
    if isinstance(part, Heading | Paragraph):
        return _comment(_told(part.text))
    if isinstance(part, Display):
        return write_display(part)
    if isinstance(part, Formula):
        return part.text
    if isinstance(part, Table):
        table = write_table(part)
        return f"{_comment(_told(part.caption))}\n{table}" if part.caption else table
    return _comment(part.alternative)


def write_latex_article(article: Article) -> str:
    r"""Formulas for inside of displays, each below comments that say what it is.

    >>> from jacobian_chain.article import Equation
    >>> print(write_latex_article(Article(("Forward",), (Display((Equation("x", "W y", ("by definition",)),)),))))
    % Forward
    \begin{aligned}
    x &= W y && \text{by definition}
    \end{aligned}
    """
    head = [_comment(_told(article.title))] if article.title else []
    parts = [*head, *map(_latex_part, article.parts)]
    # two formulas are told apart by a comment between them
    parted = [parts[0]] if parts else []
    for before, part in itertools.pairwise(parts):
        parted += (part,) if part.startswith("%") or before.split("\n")[-1].startswith("%") else ("%", part)
    return "\n".join(parted)


# --- Markdown ---


def _escape(text: str) -> str:
    """Words as they are: nothing becomes a mark, a link or an element."""
    return re.sub(r"([\\`*_\[\]<>|$~])", r"\\\1", text)


def _allowed(latex: str) -> str:
    r"""A formula in the commands that GitHub lets through: it refuses ``\operatorname``."""
    return latex.replace(r"\operatorname{", r"\mathrm{")


class Dialect(NamedTuple):
    """What stands around a formula in a line and around one by itself, and what it is made of."""

    inline: tuple[str, str]
    display: tuple[str, str]
    formula: Callable[[str], str]


GITHUB = Dialect(("$`", "`$"), ("```math\n", "\n```"), _allowed)
JUPYTER = Dialect(("$", "$"), ("$$\n", "\n$$"), str)


def _inline(latex: str, in_table: bool, dialect: Dialect) -> str:
    text = " ".join(dialect.formula(latex).split())
    if in_table:  # a bar would part the cells
        text = text.replace(r"\|", r"\Vert ").replace("|", r"\vert ")
    return text.join(dialect.inline)


def _markdown_prose(prose: Prose, dialect: Dialect, in_table: bool = False) -> str:
    text = "".join(_inline(part.text, in_table, dialect) if isinstance(part, Math) else _escape(part) for part in prose)
    return re.sub(r"^(\s*\d*)([-+#.)])(?=\s)", r"\1\\\2", " ".join(text.split()) if in_table else text)


def _fence(body: str, language: str) -> str:
    return f"```{language}\n{body}\n```"


def _markdown_table(table: Table, dialect: Dialect) -> str:
    def line(row: tuple[Prose, ...]) -> str:
        return f"| {' | '.join(_markdown_prose(cell, dialect, True) for cell in row)} |"

    rule = f"|---{'|---:' * (len(table.header) - 1)}|"
    rows = "\n".join([line(table.header), rule, *map(line, table.rows)])
    return f"{_markdown_prose(table.caption, dialect)}\n\n{rows}" if table.caption else rows


def _markdown_part(part: Part, dialect: Dialect) -> str:
    if isinstance(part, Heading):
        return f"## {_markdown_prose(part.text, dialect)}"
    if isinstance(part, Paragraph):
        return _markdown_prose(part.text, dialect)
    if isinstance(part, Display | Formula):
        return dialect.formula(part.text if isinstance(part, Formula) else write_display(part)).join(dialect.display)
    return _markdown_table(part, dialect) if isinstance(part, Table) else _markdown_figure(part)


def _markdown_figure(figure: Figure) -> str:
    """The text of a picture: GitHub strips SVG."""
    text = figure.alternative.strip("\n")
    return _fence(text, "text") if "\n" in text else _escape(text)


def write_markdown(article: Article, dialect: Dialect = GITHUB) -> str:
    r"""An article for GitHub, or for a notebook.

    >>> article = Article(("By ", Math(r"\operatorname{vec}(W)")), (Formula("x = y"),))
    >>> print(write_markdown(article))
    # By $`\mathrm{vec}(W)`$
    <BLANKLINE>
    ```math
    x = y
    ```
    >>> print(write_markdown(article, JUPYTER))
    # By $\operatorname{vec}(W)$
    <BLANKLINE>
    $$
    x = y
    $$
    """
    head = [f"# {_markdown_prose(article.title, dialect)}"] if article.title else []
    return "\n\n".join([*head, *(_markdown_part(part, dialect) for part in article.parts)])
