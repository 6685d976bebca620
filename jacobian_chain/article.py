"""What is shown of a derivation in no output language yet: headings, prose, equations, tables and pictures, in order.

Formulas are text that a :class:`jacobian_chain.writers.LatexWriter` or a :class:`jacobian_chain.writers.TextWriter` has written; which one,
the language of the whole article says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Math(NamedTuple):
    """A formula within a line of prose."""

    text: str


Prose = tuple[str | Math, ...]
"""Words with formulas among them."""


class Heading(NamedTuple):
    """The title of what follows."""

    text: Prose


class Paragraph(NamedTuple):
    """Sentences."""

    text: Prose


class Equation(NamedTuple):
    """One line ``left = right``; where ``left`` is empty it goes on from the line above. ``reason`` says why it holds.

    A right side that goes on with a sign of its own, ``=`` or ``+``, is given no other.
    """

    left: str
    right: str
    reason: Prose = ()


class Display(NamedTuple):
    """Equations below each other, aligned at their signs."""

    equations: tuple[Equation, ...]


class Formula(NamedTuple):
    """One formula by itself, as it is."""

    text: str


class Table(NamedTuple):
    """Rows under a header; every column but the first is of numbers."""

    caption: Prose
    header: tuple[Prose, ...]
    rows: tuple[tuple[Prose, ...], ...]


class Figure(NamedTuple):
    """A picture as SVG, with the text that stands for it where it cannot be seen."""

    svg: str
    alternative: str


Part = Heading | Paragraph | Display | Formula | Table | Figure


class Article(NamedTuple):
    """A title and parts.

    Attributes:
        title: what it is about.
        parts: in the order of reading.
        language: of all its formulas, ``latex`` or ``text``.
    """

    title: Prose
    parts: tuple[Part, ...]
    language: str = "latex"


def flatten(prose: Prose) -> str:
    """Prose in one text.

    >>> flatten(("by ", Math("W x")))
    'by W x'
    """
    return "".join(part.text if isinstance(part, Math) else part for part in prose)


def enumerate_prose(items: Iterable[Prose], last: str = ", ") -> Prose:
    """Items with commas between them, and ``last`` before the last one.

    >>> flatten(enumerate_prose([("a",), (Math("b"),), ("c",)], " and "))
    'a, b and c'
    """
    every = list(items)
    found: list[str | Math] = []
    for k, item in enumerate(every):
        found += [*((last if k == len(every) - 1 else ", ",) if k else ()), *item]
    return tuple(found)
