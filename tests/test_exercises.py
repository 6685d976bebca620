"""Worksheets: problems, solutions and wrong answers, against a reader that computes with what is printed (:mod:`tests.test_printed`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from jacobian_chain import check, derive, parse, worksheet
from jacobian_chain.article import Display, Heading
from jacobian_chain.assessment import Inquiry
from jacobian_chain.cli import cli
from jacobian_chain.concrete import ConcreteJacobian
from jacobian_chain.dense import Dense
from jacobian_chain.errors import OptionError
from jacobian_chain.exercises import Level, set_task
from jacobian_chain.grading import grade
from jacobian_chain.interface import judge_record
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.numeric import Opaque
from jacobian_chain.slips import EDITS, SLIPS, ConcreteAnswer, LayerAnswer
from jacobian_chain.verification import Point, numerical_jacobian, sample
from jacobian_chain.worksheet import Assignment, Reply, describe_assignment, make_assignment, worksheet_article, write_worksheet
from jacobian_chain.writers import LatexWriter
from tests.test_goldens import check_balance
from tests.test_printed import DIGITS, World, check_page

KINDS = [Level(3, skip, concrete, shared) for skip in (False, True) for concrete in (False, True) for shared in (False, True)]
LEVELS = [kind._replace(layers=layers) for layers in (1, 2, 3) for kind in KINDS]
SEEDS = 3


def made(wrong: int = 3, levels: list[Level] = LEVELS, seeds: int = SEEDS) -> Iterator[Assignment]:
    """Assignments of all levels, each in one of the layouts."""
    for number, level in enumerate(levels):
        for seed in range(seeds):
            yield make_assignment(f"{seed}-1", level, list(LAYOUTS)[(number + seed) % 3], None, wrong)


class Witness:
    """An assignment in numbers: what a page says is computed from the page, what is true by differences of the composition."""

    POINTS = 5
    """A rectifier may be zero at some."""

    def __init__(self, assignment: Assignment) -> None:
        self.jacobian = assignment.jacobian
        self.tape = assignment.composition.tape
        self.legend = [text for text, _ in assignment.legend]
        self.raised = "^" in assignment.source  # L₂ is not how L² is typed
        self.places: list[tuple[Point, Opaque, dict[int, Dense]]] = []

    def place(self, number: int) -> tuple[Point, Opaque, dict[int, Dense]]:
        """A random point, and the blocks there."""
        if number == len(self.places):
            opaque = Opaque(number)
            point = sample(self.tape, number, opaque)
            expected: dict[int, Dense] = {}
            for variable in self.jacobian.selection.variables:
                found = numerical_jacobian(self.tape, self.jacobian.output, variable, point, opaque, DIGITS)
                expected[variable] = [[float(entry) for entry in row] for row in found]
            self.places.append((point, opaque, expected))
        return self.places[number]

    def examine(self, reply: Reply, layout: str, as_text: bool = False) -> None:
        """Whether an answer is right in a layout, as LaTeX and perhaps as text; an AssertionError if not."""
        latex = LatexWriter().lines([(line.latex_left, [line.latex_right]) for line in reply.lines])
        for page in (latex, reply.text) if as_text and not self.raised else (latex,):
            for number in range(self.POINTS):
                point, opaque, expected = self.place(number)
                world = World(self.tape, point, opaque, layout)
                selection = self.jacobian.selection
                check_page(world, page, self.jacobian.output, selection.variables, expected, selection.label, self.legend)


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: "-".join(map(str, level)))
def test_solutions_are_right(level: Level) -> None:
    for assignment in made(0, [level]):
        jacobian, layout = assignment.jacobian, assignment.jacobian.layout.name
        assert not assignment.composition.notices, assignment.source
        for text in (assignment.solution.text, assignment.solution.latex):
            verdict = check(assignment.composition, text, assignment.wrt, layout=layout)
            assert verdict, f"{assignment.source}\n{text}\n{verdict!r}"
        assert jacobian.verify()
        Witness(assignment).examine(assignment.solution, layout, as_text=True)
        assert not any(block.is_zero for block in jacobian.blocks.values()), assignment.source
        assert not level.skip or " + " in assignment.solution.text, f"{assignment.source}: no sum in\n{assignment.solution.text}"
        check_balance(assignment.solution.latex)


def test_wrong_answers_are_wrong_as_stated() -> None:
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for assignment in made(seeds=2):
        witness, layout = Witness(assignment), assignment.jacobian.layout.name
        texts = [assignment.solution.text, *(wrong.reply.text for wrong in assignment.wrong)]
        assert len(set(texts)) == len(texts)
        for wrong in assignment.wrong:
            verdict = check(assignment.composition, wrong.reply.latex, assignment.wrt, layout=layout)
            said = f"{assignment.source} by {assignment.wrt}, {layout} layout\n{wrong.reply.text}\n{verdict!r}"
            assert (verdict.verdict, verdict.findings[0].kind) == (wrong.verdict.verdict, wrong.kind), said
            with pytest.raises(AssertionError) as caught:
                witness.examine(wrong.reply, layout)
            assert wrong.kind not in ("other", "does-not-follow")
            reasons[str(caught.value).partition(" by ")[0].partition("\n")[0][-8:]] += 1
            if wrong.verdict.verdict == "correct-other-layout":
                witness.examine(wrong.reply, wrong.verdict.holds_in[0])
            else:
                assert wrong.verdict.verdict == "wrong"
                for other in LAYOUTS:
                    with pytest.raises(AssertionError):
                        witness.examine(wrong.reply, other)
            kinds[wrong.kind] += 1
            check_balance(wrong.reply.latex)
    assert kinds.total() > 0.95 * 3 * 2 * len(LEVELS)
    assert len(kinds) > 15, kinds
    assert max(kinds.values()) < kinds.total() / 5, kinds
    assert reasons["is wrong"] > kinds.total() / 4, reasons  # the others do not fit, or a line is missing


def test_a_right_answer_among_the_wrong_ones_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The witness does not take whatever it is given for wrong."""
    monkeypatch.setattr(worksheet, "find_wrong", lambda assignment, *_: assignment.solution)
    assignment = make_assignment("1-1", Level(2, concrete=True), wrong=1)
    assert isinstance(assignment.wrong, Reply)
    Witness(assignment).examine(assignment.wrong, "mixed")


def test_kinds_differ_as_far_as_they_can() -> None:
    for assignment in made(4, [Level(3), Level(3, True), Level(3, False, True), Level(3, True, True)]):
        assert len(assignment.wrong) == 4
        assert len({wrong.kind for wrong in assignment.wrong}) >= 3, [wrong.kind for wrong in assignment.wrong]


def test_every_slip_is_made_and_changes_something() -> None:
    found: set[str] = set()
    names = {slip.name for slip in SLIPS} | set(EDITS.values()) | {"a number is wrong"}
    for assignment in made(0, KINDS):
        composition, jacobian = assignment.composition, assignment.jacobian
        answer: LayerAnswer | ConcreteAnswer
        if isinstance(jacobian, ConcreteJacobian):
            inquiry = Inquiry(composition.exercise, jacobian.output, jacobian.selection.variables, jacobian.layout)
            answer = ConcreteAnswer(inquiry, assignment.solution.latex)
        else:
            naming = "inputs" if composition.tape.nested else "outputs"
            answer = LayerAnswer(composition.problem, naming, assignment.solution.latex, jacobian.layout)
        for change in answer.changes():
            found.add(change.slip)
            right = assignment.solution.lines[change.line]
            assert plain(answer.write(change, latex=True)) != plain(right.latex_right), f"{change.slip}: {right.right}"
    assert found == names


def plain(latex: str) -> str:
    """LaTeX without how large brackets are."""
    return "".join(character for character in latex.replace(r"\left", "").replace(r"\right", "") if character != " ")


# --- the same everywhere ---


def test_seeds_differ() -> None:
    for level in (Level(3), Level(3, True), Level(3, False, True), Level(3, True, True)):
        assert len({set_task(f"{seed}-1", level) for seed in range(40)}) > 36
    assert len({set_task("3-1", level) for level in LEVELS}) == len(LEVELS)


SHEETS = {
    "chain": ("7", Level(3), "numerator", 4),
    "skip": ("7", Level(3, True), "mixed", 4),
    "network": ("7", Level(2, False, True), "mixed", 5),
    "residual-network": ("7", Level(3, True, True), "denominator", 3),
    "recurrent": ("7", Level(2, False, True, True), "mixed", 3),
}


def sheet(name: str) -> list[Assignment]:
    seed, level, layout, wrong = SHEETS[name]
    return [make_assignment(f"{seed}-{number}", level, layout, None, wrong) for number in (1, 2)]


@pytest.mark.parametrize(("form", "ending"), [("latex", "tex"), ("markdown", "md"), ("jsonl", "jsonl")])
@pytest.mark.parametrize("name", SHEETS)
def test_sheets(name: str, form: str, ending: str, snapshot: SnapshotAssertion) -> None:
    class Sheet(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = ending

    assert write_worksheet(sheet(name), form) + "\n" == snapshot.use_extension(Sheet)


def test_hashing_does_not_matter() -> None:
    words = ["exercise", "--seed", "3", "--skip", "--concrete", "--wrong", "3", "--format", "jsonl"]
    program = [sys.executable, "-m", "jacobian_chain", *words]
    runs = [
        subprocess.run(program, capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"}).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].count(b"\n") == 4


# --- what grade reads ---


@pytest.mark.parametrize("concrete", [False, True])
def test_grade_says_the_same(concrete: bool, tmp_path: Path) -> None:
    assignments = [make_assignment(f"5-{k}", Level(2, k > 2, concrete), list(LAYOUTS)[k % 3], None, 3) for k in range(1, 5)]
    records = [record for assignment in assignments for record in describe_assignment(assignment)]
    source, target = tmp_path / "sheet.jsonl", tmp_path / "graded.jsonl"
    source.write_text(write_worksheet(assignments, "jsonl") + "\n", encoding="utf-8")
    assert grade(str(source), judge_record, str(target)).status == 0
    graded = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [record["id"] for record in records[:5]] == ["5-1", "5-1-w1", "5-1-w2", "5-1-w3", "5-2"]
    assert len(graded) == len(records)
    for record, verdict in zip(records, graded, strict=True):
        first = (verdict["findings"] or [{"kind": None, "message": None}])[0]
        told = verdict["id"], verdict["verdict"], verdict["layout_asked"], first["kind"], first["message"]
        assert told == (record["id"], record["verdict"], record["layout"], record["kind"], record["reason"])


# --- what is shown ---


@pytest.mark.parametrize("notation", NOTATIONS)
def test_notations(notation: str) -> None:
    for seed in range(8):
        assignment = make_assignment(f"{seed}-1", Level(3, True), "mixed", notation, 2)
        assert check(assignment.composition, assignment.solution.text, assignment.wrt)
        assert all(check(assignment.composition, wrong.reply.latex, assignment.wrt).verdict != "correct" for wrong in assignment.wrong)


def test_the_article() -> None:
    assignment = make_assignment("7-1", Level(2), "numerator", None, 2)
    for language in ("latex", "text"):
        titles = [part.text for part in worksheet_article([assignment], language).parts if isinstance(part, Heading)]
        assert titles == [("Problem 7-1",), ("Solution",), ("Wrong answers",)]
    for_students = worksheet_article([assignment], solutions=False)
    assert [part.text for part in for_students.parts if isinstance(part, Heading)] == [("Problem 7-1",)]
    displays = [part for part in for_students.parts if isinstance(part, Display)]
    assert [(line.left, line.right) for line in displays[0].equations] == assignment.composition.lines(LatexWriter())


def test_github_has_no_operatorname() -> None:
    text = write_worksheet(sheet("network"), "markdown")
    assert r"\mathrm{softmax}" in text
    assert "operatorname" not in text


def test_what_is_typed_is_what_is_read() -> None:
    for assignment in made(0, [Level(2), Level(2, False, True)]):
        assert parse(assignment.source) == assignment.composition
        assert derive(assignment.source, assignment.wrt).selection == assignment.jacobian.selection


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["exercise", *words])
    if isinstance(result.exception, OptionError):
        return result.exception.status, "", str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command(tmp_path: Path) -> None:
    assert (
        run("--seed", "7", "--count", "2", "--wrong", "2")[1]
        == write_worksheet([make_assignment(f"7-{k}", Level(), "mixed", None, 2) for k in (1, 2)], "latex") + "\n"
    )
    path = tmp_path / "sheet.md"
    assert run("--format", "markdown", "--ascii", "-o", str(path))[:2] == (0, "")
    assert path.read_text(encoding="utf-8").isascii()
    shown = run("--layers", "1", "--wrong", "20")
    assert shown[0] == 0
    assert "wrong answers were found, not 20" in shown[2]
    assert "Solution" not in run("--no-solutions")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("--layers", "0"), ("--layers", "9"), ("--wrong", "-1"), ("--count", "0"), ("--layout", "both"), ("--format", "sympy"),
        ("--no-solutions", "--wrong", "2"), ("--no-solutions", "--format", "jsonl"), ("--concrete", "--notation", "partial"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_refusals(words: tuple[str, ...]) -> None:
    assert run(*words)[0] == 2
