"""The verdict on an answer, however it was found: what people and programs are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Span = tuple[int, int]
"""Half-open, in code points of the answer."""


class Finding(NamedTuple):
    """One mistake: its slug, where it is in words and in the text as typed, what is wrong, and a right answer."""

    kind: str
    where: str
    span: Span | None
    message: str
    suggestion: str | None


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is to be said of an answer. True where it is right in the layout asked for.

    Attributes:
        verdict: ``correct``, ``correct-other-layout``, ``wrong`` or ``undecided``.
        layout_asked: the layout that was asked for.
        holds_in: every layout in which the answer is right.
        read_as: the answer as it was understood, as LaTeX.
        notes: choices made in reading.
        decided_by: ``normal-form``, ``prime-field`` or ``numeric``.
        error_bound: how likely a wrong ``correct`` is, None where it cannot be.
        findings: mistakes, the best explanation first.
        expected: the right answer as LaTeX, where it was asked for.
        answer: the text as typed.
        show: writes the answer as it was understood for a terminal, see ``shown``.
    """

    verdict: str
    layout_asked: str
    holds_in: tuple[str, ...]
    read_as: str
    notes: tuple[str, ...]
    decided_by: str
    error_bound: float | None
    findings: tuple[Finding, ...]
    expected: str | None = None
    answer: str = ""
    show: Callable[[], str] = field(default=str, compare=False)

    def __bool__(self) -> bool:
        return self.verdict == "correct"

    @cached_property
    def shown(self) -> str:
        """The answer as it was understood, for a terminal."""
        return self.show()

    def to_json(self) -> dict[str, Any]:
        """The object that ``check --format json`` prints."""
        return {
            "verdict": self.verdict,
            "layout_asked": self.layout_asked,
            "holds_in": list(self.holds_in),
            "read_as": self.read_as,
            "notes": list(self.notes),
            "decided_by": self.decided_by,
            "error_bound": self.error_bound,
            "expected": self.expected,
            "findings": [
                {
                    "kind": finding.kind,
                    "where": finding.where,
                    "span": None if finding.span is None else list(finding.span),
                    "message": finding.message,
                    "suggestion": finding.suggestion,
                }
                for finding in self.findings
            ],
        }

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        if self.verdict == "correct":
            return f"right in {self.layout_asked} layout"
        if self.verdict == "correct-other-layout":
            return f"right in {' and '.join(self.holds_in)} layout, not in {self.layout_asked} layout"
        return "not decided" if self.verdict == "undecided" else "wrong"

    def __repr__(self) -> str:
        lines = [f"{self.headline}: {self.shown}" if self.shown else self.headline]
        lines += [f"  {finding.where}: {finding.message} ({finding.kind})" for finding in self.findings]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        lines = [f"**{self.headline}**", f"$${self.read_as}$$"]
        lines += [f"- `{finding.where}`: {finding.message} ({finding.kind})" for finding in self.findings]
        return "\n\n".join([*lines, *(f"*{note}*" for note in self.notes)])
