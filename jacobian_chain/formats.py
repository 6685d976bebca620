"""The one table of formats in which an article can be written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from jacobian_chain.article import Article, Display, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.paper import write_document
from jacobian_chain.pasting import write_latex_article, write_markdown
from jacobian_chain.plaintext import write_text
from jacobian_chain.typst import write_typst_article
from jacobian_chain.webpage import write_html
from jacobian_chain.writers import to_ascii


class Format(NamedTuple):
    """One format.

    Attributes:
        write: the article in it.
        language: in which the formulas of the article have to be, ``latex`` or ``text``.
        ending: that of its files.
        ascii: what replaces a character that is not of ASCII.
        summary: what it is good for.
    """

    write: Callable[[Article], str]
    language: str
    ending: str
    ascii: Callable[[str], str]
    summary: str


def _references(text: str) -> str:
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _escapes(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\u{{{ord(match[0]):x}}}", text)


FORMATS = {
    "latex": Format(write_latex_article, "latex", ".tex", to_ascii, "formulas for inside of a display"),
    "unicode": Format(write_text, "text", ".txt", to_ascii, "text for a terminal"),
    "html": Format(write_html, "latex", ".html", _references, "one self-contained page with MathML"),
    "typst": Format(write_typst_article, "latex", ".typ", _escapes, "a Typst document"),
    "document": Format(write_document, "latex", ".tex", to_ascii, "a LaTeX article that compiles"),
    "markdown": Format(write_markdown, "latex", ".md", to_ascii, "Markdown for GitHub"),
}
"""The formats of articles, by name."""


def _straighten(prose: Prose) -> Prose:
    """Prose in one line, without blanks around it: in most formats line breaks and indents mean something."""
    pieces = [Math(" ".join(piece.text.split())) if isinstance(piece, Math) else re.sub(r"\s+", " ", piece) for piece in prose]
    if pieces and isinstance(pieces[0], str):
        pieces[0] = pieces[0].lstrip()
    if pieces and isinstance(pieces[-1], str):
        pieces[-1] = pieces[-1].rstrip()
    return tuple(piece for piece in pieces if piece != "")


def _straighten_part(part: Part) -> Part:
    if isinstance(part, Heading | Paragraph):
        return part._replace(text=_straighten(part.text))
    if isinstance(part, Display):
        return Display(tuple(equation._replace(reason=_straighten(equation.reason)) for equation in part.equations))
    if isinstance(part, Table):
        rows = tuple(tuple(map(_straighten, row)) for row in (part.header, *part.rows))
        return Table(_straighten(part.caption), rows[0], rows[1:])
    return part


def write_article(article: Article, form: str, ascii: bool = False) -> str:
    r"""An article in one of ``FORMATS``, without a line break at its end.

    Args:
        article: what is written; its formulas have to be in the language of the format.
        form: the name of the format.
        ascii: whether to use nothing outside of ASCII.

    >>> from jacobian_chain.article import Formula, Heading, Math
    >>> article = Article((), (Heading(("By θ",)), Formula(r"J_{\theta} f")))
    >>> print(write_article(article, "markdown"))
    ## By θ
    <BLANKLINE>
    ```math
    J_{\theta} f
    ```
    >>> print(write_article(article, "latex", ascii=True))
    % By theta
    J_{\theta} f
    """
    found = FORMATS[form]
    if article.language != found.language:
        raise ValueError(f"the formulas are in {article.language}, and {form} is written from {found.language}")
    article = Article(_straighten(article.title), tuple(map(_straighten_part, article.parts)), article.language)
    text = found.write(article)
    return found.ascii(text) if ascii else text
