"""Answers through concrete layers, right, rewritten and with mistakes, against an oracle of their own (:mod:`tests.solutions`)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from jacobian_chain import appraisal
from jacobian_chain.interface import check
from jacobian_chain.verification import arrange
from tests.solutions import examine, questions


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_agrees_with_itself(seed: int) -> None:
    """Whatever is derived, and every equal form of it, is right by numerical differentiation."""
    for question in questions(f"11:{seed}", 3):
        assert question.kind[0] != "=" or question.truth.verdict == "correct", question


def test_solutions() -> None:
    book: Counter[str] = Counter()
    failures = []
    for seed in range(20):
        for question in questions(f"7:{seed}", 6):
            book.update(["asked", question.truth.verdict])
            failures += [f"{sort}: {text}: {question}" for sort, text in examine(question, check, book) if sort != "cause"]
    assert not failures, "\n".join(failures)
    assert min(book["correct"], book["wrong"]) > 150
    assert book["named"] >= 0.7 * book["causes"]


def test_planted_bugs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives in answers that are always read in numerator layout make verdicts wrong: the oracle says so."""

    def always_numerator(jacobian: Any, of: Any, by: Any, _layout: str, on_vec: bool = False) -> Any:
        return arrange(jacobian, of, by, "numerator", on_vec)

    monkeypatch.setattr(appraisal, "arrange", always_numerator)
    book: Counter[str] = Counter()
    sorts = Counter(sort for seed in range(6) for question in questions(f"7:{seed}", 3) for sort, _ in examine(question, check, book))
    assert sorts["reject"] > 10
