"""What went wrong, written for the person who typed the text.

Every failure that a user can cause is a :class:`ChainError`. It repeats the line that was typed, puts a caret under the
place, says what was expected and guesses the slip. ``status`` is the exit status of the command line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CONTEXT = 100
"""How many characters of a long line are shown around a caret."""


class Source(NamedTuple):
    """A text and what to call it in messages: a file's name, ``composition``, ``--wrt``."""

    text: str
    name: str = "composition"


class Place(NamedTuple):
    """A half-open span of code points in a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line, counted from one."""
        return self.source.text.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """Column in code points, counted from one."""
        return self.start - (self.source.text.rfind("\n", 0, self.start) + 1) + 1

    def excerpt(self) -> str:
        """The line that was typed and a caret line under it; long lines are cut around the caret.

        >>> print(Place(Source("L1(x θ1)"), 5, 7).excerpt())
        L1(x θ1)
             ^^
        """
        text = self.source.text
        begin = text.rfind("\n", 0, self.start) + 1
        finish = text.find("\n", begin)
        finish = len(text) if finish < 0 else finish
        low = max(begin, self.start - CONTEXT // 2)
        high = min(finish, low + CONTEXT)
        head = "…" if low > begin else ""
        tail = "…" if high < finish else ""
        shown = "".join(c if c.isprintable() else " " for c in text[low:high])
        before = text_width(shown[: self.start - low]) + len(head)
        marked = text_width(shown[self.start - low : max(self.start, min(self.end, high)) - low])
        return f"{head}{shown}{tail}\n{' ' * before}{'^' * max(marked, 1)}"


class ChainError(Exception):
    """A failure with a message, and where it helps a place in the text and a hint."""

    status = 3

    def __init__(self, message: str, place: Place | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.place is not None:
            where = f"{self.place.source.name}:{self.place.line}:{self.place.column}: "
            lines = [where + self.message, self.place.excerpt()]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class ReadingError(ChainError):
    """The text could not be read, or has two readings that matter."""


class UnsupportedError(ReadingError):
    """The text was read, but this part of the language cannot be derived yet."""


class OptionError(ChainError):
    """The options ask for something that this problem or notation cannot give."""

    status = 2


class LimitError(ChainError):
    """A limit was reached; the message says which and how to raise it."""

    status = 4


class Notice(NamedTuple):
    """A choice that was made in reading, or a fact worth knowing; never an error."""

    message: str
    place: Place | None = None

    def __str__(self) -> str:
        if self.place is None:
            return self.message
        return f"{self.place.source.name}:{self.place.line}:{self.place.column}: {self.message}"


def suggest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known spellings, or None.

    >>> suggest("θ4", ["θ1", "θ2", "x"])
    'did you mean θ1 or θ2?'
    """
    import difflib  # only when something is wrong

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(sorted(near))}?" if near else None


def list_names(names: Sequence[str]) -> str:
    """Names with commas, the first dozen of them.

    >>> list_names(["a", "b"])
    'a, b'
    """
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def text_width(text: str) -> int:
    """Columns that a terminal uses for a text; marks on letters take none.

    >>> text_width("x\u0302"), text_width("θ₁")
    (1, 2)
    """
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
