"""An article to hand out: written in every format, printed in a terminal, shown in a notebook."""

from __future__ import annotations

from collections.abc import Callable

from jacobian_chain.article import Article, flatten
from jacobian_chain.errors import OptionError, suggest
from jacobian_chain.formats import FORMATS, write_article
from jacobian_chain.pasting import JUPYTER, write_markdown


class Handout:
    """An article that is made when somebody looks, with its formulas in the language of the format.

    Args:
        make: gives the article with formulas in ``latex`` or ``unicode``, with ``ascii`` in nothing outside of ASCII.
    """

    def __init__(self, make: Callable[[str, bool], Article]) -> None:
        self._make = make

    def article(self, form: str = "latex", ascii: bool = False) -> Article:
        """The article itself, with formulas in ``latex`` or ``unicode``."""
        return self._make(form, ascii)

    def write(self, form: str, ascii: bool = False) -> str:
        """The text in one of :data:`jacobian_chain.formats.FORMATS`.

        Raises:
            OptionError: there is no such format.
        """
        if form not in FORMATS:
            raise OptionError(f"there is no format {form!r}", hint=suggest(form, FORMATS) or f"choose one of {', '.join(FORMATS)}")
        language = "unicode" if FORMATS[form].language == "text" else "latex"
        return write_article(self.article(language, ascii), form, ascii)

    def latex(self) -> str:
        """Displays as LaTeX, each below comments that say what it is."""
        return self.write("latex")

    def html(self) -> str:
        """One self-contained page."""
        return self.write("html")

    def __repr__(self) -> str:
        return f"<Handout: {flatten(self.article('unicode').title)}>"

    def __str__(self) -> str:
        return self.write("unicode")

    def _repr_markdown_(self) -> str:
        return write_markdown(self.article(), JUPYTER)
