"""The verdict on an answer: right, right in another layout, or wrong, where and why.

An answer is compared with the right blocks under each way in which it can be read; it is right if one of them makes it right, and the
verdict says which was taken. Equality is exact: both sides are sums of words in normal form (:mod:`jacobian_chain.words`); sums too long
for that are compared in a prime field (:mod:`jacobian_chain.field`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from jacobian_chain.answer import Answer, Target, read_answer
from jacobian_chain.claims import Claim, Question, claimed_blocks, find_claim
from jacobian_chain.diagnosis import ORDER, Block, Edit, Names, explain_block, name_edit
from jacobian_chain.errors import LimitError, ReadingError, Source
from jacobian_chain.evaluate import Grid, MisfitError, Setting, Value, evaluate, place_of, transpose_value
from jacobian_chain.field import PRIME, Fingerprints, Place, differ_surely, trim
from jacobian_chain.layout import LAYOUTS, Layout, adjoint_word
from jacobian_chain.problem import Part, Problem
from jacobian_chain.tokens import Spelling
from jacobian_chain.transcript import write_latex, write_text
from jacobian_chain.verdict import Finding, Span, Verdict
from jacobian_chain.vocabulary import NAMINGS, Vocabulary
from jacobian_chain.words import IDENTITY, Letter, Polynomial, Word, multiply, settle, transpose
from jacobian_chain.writers import TextWriter

SEED = 2_305_843
"""Of the random places: the same answer gets the same verdict."""

MAX_CHARACTERS = 1_000_000
"""Longest answer that is read."""

MAX_LONG = 4
"""Most readings of an answer that are compared in the prime field, less one."""

MAX_REPAIRS = 40_000
"""Most repairs of single factors that are tried, times the parts that each has to be looked through."""

MAX_DIAGNOSED = 8
"""Most readings of a wrong answer that are explained."""

MAX_READINGS = 48
"""Most combinations of meanings that are tried."""


class Outcome(NamedTuple):
    """How one reading of an answer compares: the layouts in which it is right, and the setting in each; how that was decided."""

    answer: Answer
    claim: Claim
    choices: dict[object, int]
    settings: dict[str, Setting]
    decided_by: str
    error_bound: float | None
    unsure: bool

    @property
    def holds_in(self) -> tuple[str, ...]:
        """The layouts in which the answer is right."""
        return tuple(self.settings)


_DRESS = re.compile(r"\\(?:left|math(?:bf|rm|sf|it|cal)|boldsymbol|bm|operatorname)\s*\{?$")


Suggest = Callable[[Question, Answer, Layout, bool], str | None]
"""What writes the right answer in the notation of an answer, with or without evaluation points."""


def judge(question: Question, source: Source, where: Sequence[str], suggest: Suggest, reveal: bool = False) -> Verdict:
    """The verdict on an answer.

    Args:
        question: what was asked.
        source: the answer's text.
        where: lines that explain names.
        suggest: writes the right answer, for suggestions.
        reveal: whether the verdict shows it.

    Raises:
        ReadingError: the answer cannot be read.
        LimitError: it is too long.
    """
    if len(source.text) > MAX_CHARACTERS:
        raise LimitError(f"the answer has {len(source.text):,} characters; the limit is {MAX_CHARACTERS:,}")
    answers: list[Answer] = []
    judge = _Judge(question, source, suggest, reveal)
    unsure = False
    best: tuple[tuple[int, int], Outcome] | None = None
    for answer in _read(question, source, where):
        answers.append(answer)
        for outcome in _readings(question, answer):
            unsure |= outcome.unsure
            right = 0 if question.layout.name in outcome.holds_in else 1 if outcome.holds_in else 2
            rank = right, len(judge.fewest_steps(outcome, judge.setting(outcome))) if right < 2 else 0
            if best is None or rank < best[0]:
                best = rank, outcome
            if rank == (0, 0):
                return judge.verdict(outcome, answers)
    assert best is not None
    return judge.verdict(best[1]._replace(unsure=unsure), answers)


def _vocabulary(problem: Problem, naming: str) -> Vocabulary:
    known = problem.vocabularies.get(naming)
    if not isinstance(known, Vocabulary):
        known = problem.vocabularies[naming] = Vocabulary(problem, naming)
    return known


def _read(question: Question, source: Source, where: Sequence[str]) -> Iterator[Answer]:
    """The answer under each naming under which it can be read; the second only where names made it differ."""
    error: ReadingError | None = None
    found = False
    for naming in NAMINGS:
        try:
            answer = read_answer(source, question.problem, _vocabulary(question.problem, naming), where)
        except ReadingError as failure:
            error = error or failure
            continue
        yield answer
        found = True
        if not answer.used:
            break
    if not found and error is not None:
        raise error


def _readings(question: Question, answer: Answer) -> Iterator[Outcome]:
    """The answer under each choice of what its symbols mean, the likeliest first."""
    claim = find_claim(answer, question)
    long = 0
    for choices in _choices(answer):
        outcome = _compare(question, answer, claim, choices)
        long += outcome.decided_by == "prime-field"
        if long > MAX_LONG:  # these take long: what the other readings say is not known
            yield outcome._replace(unsure=not outcome.settings)
            return
        yield outcome


def _choices(answer: Answer) -> Iterator[dict[object, int]]:
    """What each symbol that can mean several things means: all combinations if they are few, else one changed at a time, and all."""
    symbols: dict[object, int] = {}
    for atom in answer.atoms:
        if len(atom.meanings) > 1 and not atom.left:
            symbols.setdefault(atom.symbol, len(atom.meanings))
    total = 1
    for count in symbols.values():
        total = min(total * count, MAX_READINGS + 1)
    if total <= MAX_READINGS:
        for combination in itertools.product(*(range(count) for count in symbols.values())):
            yield dict(zip(symbols, combination, strict=True))
        return
    yield {}
    yield dict.fromkeys(symbols, 1)
    for symbol in itertools.islice(symbols, MAX_READINGS):
        yield {symbol: 1}


def _settings(layout: Layout, answer: Answer, choices: dict[object, int]) -> Iterator[Setting]:
    """The ways to read an answer in one layout: J as the layout says, then J as the Jacobian whatever the layout."""
    yield Setting(layout, False, choices)
    if any(atom.sign in ("J", "slot") for atom in answer.atoms):
        yield Setting(layout, True, choices)


def _compare(question: Question, answer: Answer, claim: Claim, choices: dict[object, int]) -> Outcome:
    """In which layouts an answer is right under one choice of meanings."""
    known: dict[tuple[bool, ...], list[Polynomial | None] | None] = {}
    holds: dict[str, Setting] = {}
    try:
        for layout in LAYOUTS.values():
            expected = question.normal(layout)
            for setting in _settings(layout, answer, choices):
                pattern = _pattern(answer, claim, setting)
                if pattern not in known:
                    known[pattern] = _normal_blocks(question, answer, claim, setting)
                if known[pattern] == expected:
                    holds[layout.name] = setting
                    break
    except LimitError:
        return _compare_in_field(question, answer, claim, choices)
    return Outcome(answer, claim, choices, holds, "normal-form", None, False)


def _reached(outcome: Outcome) -> set[int]:
    """The parts that an answer's blocks are made of."""
    parts = outcome.answer.parts
    stack = [piece.root for piece in outcome.claim.pieces if piece is not None]
    found: set[int] = set()
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            part = parts[index]
            if part.kind == "derivative" and len(part.args) > 1:
                assert isinstance(part.value, int)
                choice = outcome.choices.get(outcome.answer.atoms[part.value].symbol, 0)
                stack.append(part.args[choice % len(part.args)])
            else:
                stack.extend(part.args)
    return found


def _pattern(answer: Answer, claim: Claim, setting: Setting) -> tuple[bool, ...]:
    """What of a setting bears on the value of an answer."""
    turned = [piece is not None and piece.is_turned(setting) for piece in claim.pieces]
    return (*turned, *[setting.turns(atom) for atom in answer.atoms])


def _normal_blocks(question: Question, answer: Answer, claim: Claim, setting: Setting) -> list[Polynomial | None] | None:
    """The normal forms of the blocks that an answer gives, None where they do not fit together."""
    try:
        blocks = claimed_blocks(answer, claim, setting)
    except MisfitError:
        return None
    normalise = question.problem.alphabet.normalise
    result: list[Polynomial | None] = []
    for k, block in enumerate(blocks):
        if block is not None and question.is_number(k):
            block = settle(block, True, question.problem.alphabet)  # I is 1 for a single number
        result.append(None if block is None else normalise(block))
    return result


def _compare_in_field(question: Question, answer: Answer, claim: Claim, choices: dict[object, int]) -> Outcome:
    """The same by values at random places; twice, from the left and from the right, whichever is short enough."""
    error: LimitError | None = None
    for turned in (False, True):
        place = Place(SEED)
        holds: dict[str, Setting] = {}
        degree = 1
        known: dict[tuple[bool, ...], list[tuple[int, ...] | None]] = {}
        try:
            for layout in LAYOUTS.values():
                transposed = layout.transposes(question.problem.shapes[question.of])
                for setting in _settings(layout, answer, choices):
                    prints = Fingerprints(question.problem, answer, setting, turned, place)
                    wanted = [trim(prints.of_problem(root, transposed)) for root in question.roots()]
                    pattern = _pattern(answer, claim, setting)
                    if pattern not in known:
                        known[pattern] = _field_blocks(prints, claim)
                    degree = max(degree, prints.degree)
                    if known[pattern] == wanted:
                        holds[layout.name] = setting
                        break
        except LimitError as failure:
            error = failure
            continue
        unsure = not holds and not differ_surely(question.problem, question.of)
        return Outcome(answer, claim, choices, holds, "prime-field", (degree + 1) / PRIME, unsure)
    assert error is not None
    raise error


def _field_blocks(prints: Fingerprints, claim: Claim) -> list[tuple[int, ...] | None]:
    blocks: list[tuple[int, ...] | None] = []
    for piece in claim.pieces:
        if piece is None:
            blocks.append(None)
        elif piece.is_turned(prints.setting):
            raise LimitError("a transpose on the left side of an answer this long is not compared")
        else:
            blocks += claim.keep([trim(row) for row in prints.of_answer(piece.root)])
    return blocks


class _Judge:
    """Puts a verdict together."""

    def __init__(self, question: Question, source: Source, suggest: Suggest, reveal: bool) -> None:
        self.question = question
        self.problem = question.problem
        self.source = source
        self.suggest = suggest
        self.reveal = reveal

    def verdict(self, outcome: Outcome, answers: Sequence[Answer]) -> Verdict:
        asked = self.question.layout
        findings: list[Finding] = []
        if asked.name in outcome.holds_in:
            kind = "correct"
        elif outcome.holds_in:
            kind = "correct-other-layout"
            layouts = " and ".join(outcome.holds_in)
            edit = Edit("layout", detail=f"every factor and product is as {layouts} layout has it; {asked.name} layout was asked for")
            findings = self.findings(outcome, [edit], asked, Setting(asked, False, outcome.choices))
        elif outcome.unsure:
            kind = "undecided"
        else:
            kind = "wrong"
        setting = self.setting(outcome)
        if kind == "wrong":
            outcome, setting, findings = self.diagnose(outcome, answers)
        findings += self.fewest_steps(outcome, setting)
        answer = outcome.answer
        pieces = [piece for piece in outcome.claim.pieces if piece is not None]
        roots = [piece.root for piece in pieces]
        left = self.left_side(outcome, setting)
        shown = [write_latex(answer, root, setting) for root in roots]
        if not outcome.claim.whole:
            turned = [piece.is_turned(setting) for piece in pieces]
            shown = [rf"\left( {text} \right)^{{\top}}" if turn else text for text, turn in zip(shown, turned, strict=True)]
        expected = (self.suggestion(answer) or self.suggest(self.question, answer, asked, False)) if self.reveal else None
        return Verdict(
            kind,
            asked.name,
            outcome.holds_in,
            left + self.join(shown, r" \,\middle\vert\, ", r"\left( ", r" \right)"),
            (*answer.notes, *self.notes(outcome)),
            outcome.decided_by,
            outcome.error_bound,
            tuple(findings),
            expected,
            self.source.text,
            lambda: self.join([write_text(answer, root, setting) for root in roots], "  │  ", "( ", " )"),
        )

    def left_side(self, outcome: Outcome, setting: Setting) -> str:
        """The left side with its sign of equality, where the answer means something else without it."""
        piece, claim = outcome.claim.pieces[0], outcome.claim
        if not claim.whole or piece is None or not (piece.transposed or claim.given):
            return ""
        target = outcome.answer.statements[piece.statement].target
        assert target is not None
        if not piece.transposed and target.by == self.question.variables:
            return ""
        text = write_latex(outcome.answer, target.part, setting)
        return rf"\left( {text} \right)^{{\top}} = " if piece.transposed else f"{text} = "

    def join(self, texts: Sequence[str], bar: str, opening: str, closing: str) -> str:
        return texts[0] if len(texts) == 1 else opening + bar.join(texts) + closing

    def setting(self, outcome: Outcome) -> Setting:
        """The setting in which an answer is right, in the layout asked for if there."""
        asked = self.question.layout
        if asked.name in outcome.settings:
            return outcome.settings[asked.name]
        return next(iter(outcome.settings.values()), Setting(asked, False, outcome.choices))

    def notes(self, outcome: Outcome) -> list[str]:
        """Which of several meanings was taken."""
        notes: dict[str, None] = {}
        parts, atoms = outcome.answer.parts, outcome.answer.atoms
        for part in parts:
            if part.kind != "derivative" or len(part.args) < 2 or part.start < 0:
                continue
            assert isinstance(part.value, int)
            atom = atoms[part.value]
            chosen = outcome.choices.get(atom.symbol, 0)
            if not atom.left and (chosen or atom.meanings[0].startswith("the Jacobian of")):
                shown = self.source.text[part.start : part.end]
                notes.setdefault(f"{shown} is read as {atom.meanings[chosen % len(atom.meanings)]}")
        whole = {root for root in self.question.roots() if self.problem.parts[root].kind in ("sum", "product")}
        used = [index for index, part in enumerate(parts) if part.kind in ("known", "quotient") and part.value in whole]
        if used and not _reached(outcome).isdisjoint(used):
            notes.setdefault("the answer contains the derivative itself that was asked for")
        if outcome.answer.used:
            vocabulary = outcome.answer.vocabulary
            meant = "what that layer takes" if vocabulary.naming == "inputs" else "what that layer gives"
            names = ", ".join(sorted(outcome.answer.used)[:4])
            notes.setdefault(f"{names}: the index is that of a layer, the name stands for {meant}")
        return list(notes)

    # --- findings ---

    def diagnose(self, outcome: Outcome, answers: Sequence[Answer]) -> tuple[Outcome, Setting, list[Finding]]:
        """The reading under which the fewest edits make the answer right, and these edits."""
        if outcome.decided_by != "normal-form":
            edit = Edit("unknown", detail="this is not the derivative; it has too many terms to say more")
            setting = Setting(self.question.layout, False, outcome.choices)
            return outcome, setting, self.findings(outcome, [edit], setting.layout, setting)
        best: tuple[float, Outcome, Setting, _Comparison | None, list[Edit]] | None = None
        for answer in answers:
            claim = find_claim(answer, self.question)
            strange = sum(self.is_foreign(part) for part in answer.parts)
            for choices in itertools.islice(_choices(answer), MAX_DIAGNOSED):
                one = outcome._replace(answer=answer, claim=claim, choices=choices)
                for layout in (self.question.layout, *(layout for layout in LAYOUTS.values() if layout != self.question.layout)):
                    for setting in _settings(layout, answer, choices):
                        comparison, edits = self.edits(one, setting)
                        cost = sum(edit.cost for edit in edits) + 0.4 * strange
                        cost += 0.6 * (layout != self.question.layout) + 0.01 * setting.literal
                        if best is None or cost < best[0]:
                            best = cost, one, setting, comparison, edits
                if best is not None and best[0] < 1.15:
                    break
        assert best is not None
        _, chosen, setting, comparison, edits = best
        if comparison is not None:
            edits = comparison.refine(edits)
        return chosen, setting, self.findings(chosen, edits, setting.layout, setting)

    def is_foreign(self, part: Part) -> bool:
        """Whether a part is the derivative of a layer by what is none of its arguments, which a better naming may avoid."""
        return part.kind == "letter" and isinstance(part.value, int) and self.problem.alphabet.letters[part.value >> 1].kind == "foreign"

    def edits(self, outcome: Outcome, setting: Setting) -> tuple[_Comparison | None, list[Edit]]:
        """What makes an answer right under one reading."""
        answer, claim = outcome.answer, outcome.claim
        try:
            claimed_blocks(answer, claim, setting)
            given = claimed_blocks(answer, claim, setting, places=True)
        except MisfitError as error:
            part = answer.parts[error.part]
            span = (part.start, part.end) if part.start >= 0 else None
            return None, [Edit("misfit", span=span, detail=error.message, cost=5.0)]
        plain = _normal_blocks(self.question, answer, claim, setting)
        assert plain is not None
        expected, normal = self.question.expected(setting.layout), self.question.normal(setting.layout)
        comparison = _Comparison(self, outcome, setting, given, plain, expected, normal)
        return comparison, comparison.edits()

    def findings(self, outcome: Outcome, edits: Sequence[Edit], layout: Layout, setting: Setting) -> list[Finding]:
        """Edits as findings, with one right answer for all of them."""
        names = self.names(outcome, setting)
        suggestion = self.suggestion(outcome.answer)
        found: list[Finding] = []
        for edit in edits:
            diagnosis = name_edit(edit)
            edit = edit._replace(span=self.with_dress(self.with_sign(edit.span) if diagnosis.kind == "sign" else edit.span))
            finding = Finding(diagnosis.kind, self.place(edit), edit.span, diagnosis.say(edit, names), suggestion)
            if finding not in found:
                found.append(finding)
        if layout != self.question.layout and all(finding.kind != "other-layout" for finding in found):
            message = f"beside that, the answer is written in {layout.name} layout; {self.question.layout.name} layout was asked for"
            found.append(Finding("other-layout", "the whole answer", None, message, suggestion))
        return found

    def with_sign(self, span: Span | None) -> Span | None:
        """A span together with the sign that stands before it."""
        if span is None:
            return None
        before = self.source.text[: span[0]].rstrip()
        return (len(before) - 1, span[1]) if before.endswith(("+", "-", "−")) else span

    def with_dress(self, span: Span | None) -> Span | None:
        r"""A span together with the font or the ``\left`` that it begins with."""
        if span is None:
            return None
        text = self.source.text
        inside = text[slice(*span)]
        if inside.strip():
            span = span[0] + len(inside) - len(inside.lstrip()), span[1] - len(inside) + len(inside.rstrip())
        dress = _DRESS.search(text, max(0, span[0] - 20), span[0])
        start, end = (dress.start() if dress is not None and dress.end() == span[0] else span[0]), span[1]
        opened = text.count("{", start, end) - text.count("}", start, end)
        return start, end + (opened == 1 and text[end : end + 1] == "}")

    def suggestion(self, answer: Answer) -> str | None:
        """A right answer in the answer's notation, read back and found right before anybody sees it."""
        for points in (False, True):
            text = self.suggest(self.question, answer, self.question.layout, points)
            key = (self.question[1:], text)
            if key not in self.problem.suggestions:
                self.problem.suggestions[key] = text is not None and self.is_right_text(text, answer)
            if self.problem.suggestions[key]:
                return text
        return None

    def is_right_text(self, text: str, answer: Answer) -> bool:
        """Whether a text is read as a right answer."""
        source = Source(text, "suggestion")
        for naming in (answer.vocabulary.naming, *NAMINGS):
            try:
                again = read_answer(source, self.problem, _vocabulary(self.problem, naming))
                outcome = _compare(self.question, again, find_claim(again, self.question), {})
            except (ReadingError, LimitError):
                continue  # a suggestion that cannot be read back is none
            if self.question.layout.name in outcome.holds_in:
                return True
        return False

    def place(self, edit: Edit) -> str:
        """Where an edit is, in words."""
        several = len(self.question.variables) > 1
        block = ""
        if several and 0 <= edit.block < len(self.question.variables):
            block = f"block {edit.block + 1} ({self.variable(edit.block)})"
        if edit.span is None:
            return block or "the answer"
        text = " ".join(self.source.text[edit.span[0] : edit.span[1]].split())
        if not any(c.isalnum() for c in text.removeprefix(r"\cdot").removeprefix(r"\times")):
            words = [word for word in re.split(r"\s|\\cdot|\\times|[*@|(]", self.source.text[: edit.span[0]]) if word]
            text = f"after {words[-1][-30:]}" if words else ""  # a gap between factors
        shown = text if len(text) <= 40 else text[:37] + "…"
        return f"{block}: {shown}" if block else shown or "the answer"

    def variable(self, block: int) -> str:
        value = self.question.variables[block]
        return TextWriter().name(_vocabulary(self.problem, "outputs").labels.value(value))

    def names(self, outcome: Outcome, setting: Setting) -> Names:
        """How to speak of letters, in the notation of the answer."""
        speaker = _Speaker(self.problem, outcome.answer)
        turned = setting.layout.transposes(self.problem.shapes[self.question.of])
        return Names(
            lambda code: speaker.letter(code, setting),
            lambda word: speaker.path(adjoint_word(word) if turned else word),
            speaker.base,
            self.variable,
        )

    # --- whole derivations ---

    def fewest_steps(self, outcome: Outcome, setting: Setting) -> list[Finding]:
        """The steps that do not follow; with J literal or as the layout says, where the answer itself is the same in both."""
        found = self.steps(outcome, setting)
        other = setting._replace(literal=not setting.literal)
        if not found or outcome.decided_by == "prime-field":
            return found
        blocks, same = (_normal_blocks(self.question, outcome.answer, outcome.claim, each) for each in (setting, other))
        return min(found, self.steps(outcome, other), key=len) if blocks == same else found

    def steps(self, outcome: Outcome, setting: Setting) -> list[Finding]:
        """The steps of a derivation that do not follow from the one before."""
        answer = outcome.answer
        found: list[Finding] = []
        judged = {piece.statement for piece in outcome.claim.pieces if piece is not None}
        for number, statement in enumerate(answer.statements):
            roots = list(statement.links)
            first = 0
            target = statement.target
            asked = target is not None and number in judged and self.is_asked(target, outcome.claim)
            if target is not None and (not asked or len(roots) > 1):
                roots.insert(0, target.part)
                first = 1
            for k in range(1, len(roots)):
                transposed = k == 1 and first == 1 and target is not None and target.transposed
                if self.follows(answer, roots[k - 1], roots[k], setting, transposed, number in judged):
                    continue
                place = statement.places[k - first]
                line = f"line {place.line}"
                before = "the left side" if k == 1 and first else "the step before"
                message = f"this does not follow from {before}"
                found.append(Finding("does-not-follow", line, (place.start, place.end), message, None))
        return found

    def is_asked(self, target: Target, claim: Claim) -> bool:
        """Whether a left side names what was asked for and nothing else; then the verdict says whether it is equal to the rest."""
        if target.of != self.question.of:
            return False
        return set(target.by) <= set(self.question.variables) if not claim.whole else target.by == self.question.variables

    def follows(self, answer: Answer, one: int, other: int, setting: Setting, transposed: bool, is_claim: bool) -> bool:
        """Whether two sides of an equality are equal, so far as that can be told; ``is_claim`` says that they are what was asked for."""
        try:
            left, right = evaluate(answer, [one, other], setting)
        except MisfitError:
            return False
        except LimitError:
            return True  # too long to compare: the last expression is judged by itself
        return self.normal(left, is_claim) == self.normal(transpose_value(right) if transposed else right, is_claim)

    def normal(self, value: Value, is_claim: bool) -> tuple[int, list[Polynomial]]:
        """A value for comparison: a row and a column of the same blocks are the same; in a block that is a number, I is 1."""
        alphabet = self.problem.alphabet
        cells = value.cells if isinstance(value, Grid) else (value,)
        if is_claim and len(cells) == len(self.question.variables):
            cells = tuple(settle(cell, True, alphabet) if self.question.is_number(k) else cell for k, cell in enumerate(cells))
        columns = value.columns if isinstance(value, Grid) and value.columns > 1 and value.rows > 1 else 1
        return columns, [alphabet.normalise(cell) for cell in cells]


class _Comparison:
    """The blocks of an answer beside the right ones."""

    def __init__(
        self,
        judge: _Judge,
        outcome: Outcome,
        setting: Setting,
        given: Sequence[Polynomial | None],
        plain: Sequence[Polynomial | None],
        expected: Sequence[Polynomial],
        normal: Sequence[Polynomial],
    ) -> None:
        self.judge = judge
        self.outcome = outcome
        self.setting = setting
        self.given = given
        self.plain = plain
        self.expected = expected
        self.normal = normal

    def edits(self) -> list[Edit]:
        plain, normal = self.plain, self.normal
        if None in plain:
            edits = []
            for k, block in enumerate(plain):
                edits += [Edit("block left out", k)] if block is None else self.block(k, k)
            return edits
        if len(plain) == len(normal):
            wrong = [k for k in range(len(plain)) if plain[k] != normal[k]]
            permuted = self.permuted(wrong)
            if permuted is not None:
                return [permuted]
            mixed = self.mixed(wrong)
            if mixed is not None:
                return [mixed]
            elementwise = self.elementwise()
            if elementwise is not None:
                return [elementwise]
            return [edit for k in wrong for edit in self.block(k, k)]
        return self.align()

    def refine(self, edits: list[Edit]) -> list[Edit]:
        """Simpler explanations where there is more than one edit to a block: a ∂ for a d, one factor that is a sum of words itself."""
        if len(self.plain) != len(self.normal) or None in self.plain:
            return edits
        if len(edits) > 1 and all(edit.operation != "mixture" for edit in edits):
            total = self.totals()
            if total is not None:
                return [total]
        refined: list[Edit] = []
        for number in dict.fromkeys(edit.block for edit in edits):
            own = [edit for edit in edits if edit.block == number]
            plain = all(edit.operation == "product left out" for edit in own)
            costly = number >= 0 and not plain and sum(edit.cost for edit in own) >= 1.15
            repair = self.factor(number) if costly else None
            refined += own if repair is None else [repair]
        return refined

    def permuted(self, wrong: Sequence[int]) -> Edit | None:
        """All wrong blocks are right ones in other places."""
        if len(wrong) < 2:
            return None
        left = list(wrong)
        for k in wrong:
            place = next((j for j in left if self.plain[k] == self.normal[j]), None)
            if place is None:
                return None
            left.remove(place)
        variables = ", ".join(self.judge.variable(k) for k in range(len(self.normal)))
        spans = [span for k in wrong if (span := self.span(k)) is not None]
        whole = (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
        return Edit("order of blocks", -1, span=whole, detail=f"the variables are {variables}")

    def mixed(self, wrong: Sequence[int]) -> Edit | None:
        """All wrong blocks are right in another layout."""
        if not wrong or len(wrong) == len(self.plain):
            return None
        judge, outcome = self.judge, self.outcome
        for layout in LAYOUTS.values():
            if layout == self.setting.layout:
                continue
            other = _normal_blocks(judge.question, outcome.answer, outcome.claim, Setting(layout, False, outcome.choices))
            right = judge.question.normal(layout)
            if other is not None and all(other[k] == right[k] for k in wrong):
                blocks = ", ".join(judge.variable(k) for k in wrong)
                some = f"the block{'s' if len(wrong) > 1 else ''} for {blocks} {'are' if len(wrong) > 1 else 'is'}"
                return Edit("mixture", wrong[0], span=self.span(wrong[0]), detail=f"{some} in {layout.name} layout, the rest is not")
        return None

    def elementwise(self) -> Edit | None:
        """⊙ read as the matrix product makes the answer right."""
        answer = self.outcome.answer
        places = [part for part in answer.parts if part.kind == "hadamard"]
        if not places:
            return None
        setting = self.setting._replace(flat=True)
        if _normal_blocks(self.judge.question, answer, self.outcome.claim, setting) != list(self.normal):
            return None
        return Edit("elementwise", -1, span=(places[0].start, places[0].end))

    def totals(self) -> Edit | None:
        """One ∂ read as d makes the answer right, where it stands elsewhere too."""
        answer = self.outcome.answer
        for index, part in enumerate(answer.parts):
            if part.kind != "derivative" or len(part.args) < 2:
                continue
            assert isinstance(part.value, int)
            atom = answer.atoms[part.value]
            if atom.left or atom.sign not in ("∂", "J", "∇"):
                continue
            for choice in range(1, len(part.args)):
                choices = {**self.setting.choices, index: choice}
                blocks = _normal_blocks(self.judge.question, answer, self.outcome.claim, self.setting._replace(choices=choices))
                if blocks == list(self.normal):
                    text = self.judge.source.text[part.start : part.end]
                    return Edit("total", -1, span=(part.start, part.end), detail=f"{text} must be {atom.meanings[choice]} here")
        return None

    def factor(self, number: int) -> Edit | None:
        """One derivative of a block dropped, replaced by another one of the problem, or joined by one, if that makes the block right."""
        answer, problem = self.outcome.answer, self.judge.problem
        layout = self.setting.layout
        if self.outcome.decided_by != "normal-form":
            return None
        candidates: list[tuple[tuple[int, int], Polynomial]] = []
        for of, by, root in problem.derivatives():
            polynomial = problem.polynomial(root)
            turned = layout.transposes(problem.shapes[of])
            candidates.append(((of, by), transpose(polynomial) if turned else polynomial))
        below = self.below(number)
        values = dict(zip(below, evaluate(answer, below, self.setting), strict=True))
        found: list[Edit] = []
        tries = MAX_REPAIRS // len(answer.parts)
        for place in below:
            part, own = answer.parts[place], values[place]
            atom = part.kind == "derivative"
            if atom and self.fits(number, place, IDENTITY):
                found.append(self.name_repair(number, part, None))
            for pair, polynomial in candidates:
                tries -= 3
                if tries < 0 or isinstance(own, Grid):
                    break
                if atom and self.fits(number, place, polynomial):
                    found.append(self.name_repair(number, part, pair))
                if self.fits(number, place, multiply(polynomial, own)) or self.fits(number, place, multiply(own, polynomial)):
                    span = (part.start, part.end) if part.start >= 0 else self.span(number)
                    found.append(Edit("left out", number, factor=self.factor_text(pair), span=span))
        return min(found, key=lambda edit: ORDER[name_edit(edit).kind], default=None)

    def fits(self, number: int, place: int, polynomial: Polynomial) -> bool:
        """Whether a block is right with something put in the place of one of its factors."""
        setting = self.setting._replace(replaced={place: polynomial})
        try:
            blocks = _normal_blocks(self.judge.question, self.outcome.answer, self.outcome.claim, setting)
        except LimitError:
            return False  # a repair that is too long to look at is none
        return blocks is not None and number < len(blocks) and blocks[number] == self.normal[number]

    def factor_text(self, pair: tuple[int, int]) -> str:
        """The derivative of one value by another in the notation of the answer."""
        speaker = _Speaker(self.judge.problem, self.outcome.answer)
        of, by = (speaker.value(value) for value in pair)
        return f"∂{of}/∂{by}" if speaker.fractions else f"J_{by} {of}"

    def name_repair(self, number: int, part: Part, pair: tuple[int, int] | None) -> Edit:
        """The edit that a repaired factor is."""
        answer = self.outcome.answer
        span = (part.start, part.end) if part.start >= 0 else self.span(number)
        assert isinstance(part.value, int)
        atom = answer.atoms[part.value]
        if pair is None:
            shown = self.judge.source.text[part.start : part.end] if part.start >= 0 else ""
            twins = [other for other in answer.parts if other.kind == "derivative" and other is not part and other.start >= 0]
            near = any(self.is_beside(part, other) and self.symbol(other) == atom.symbol for other in twins)
            return Edit("repeated" if near else "put in", number, factor=shown, span=span)
        speaker = _Speaker(self.judge.problem, answer)
        bases = [speaker.labels.value(value).base for value in pair]
        typed = [atom.of.base if isinstance(atom.of, Spelling) else "", atom.by[0].base if atom.by else ""]
        layer = self.judge.problem.tape.step(pair[0])
        same = typed[1] == bases[1] and (typed[0] == bases[0] or (layer is not None and layer.name[:1] == typed[0]))
        return Edit("replace", number, factor=self.factor_text(pair), relation="index" if same else "", span=span)

    def symbol(self, part: Part) -> tuple[object, ...]:
        assert isinstance(part.value, int)
        return self.outcome.answer.atoms[part.value].symbol

    def is_beside(self, one: Part, other: Part) -> bool:
        """Whether two factors are neighbours in the text: nothing but a sign of multiplication between them."""
        first, second = sorted((one, other), key=lambda part: part.start)
        between = self.judge.source.text[first.end : second.start]
        return len(between) < 12 and not any(c in between for c in "+-=|&,;\n")

    def below(self, number: int) -> list[int]:
        """The parts that a block is made of, those that stand in the text; what a derivative means is not looked into."""
        answer, claim = self.outcome.answer, self.outcome.claim
        piece = claim.pieces[0 if claim.whole else number]
        if piece is None:
            return []
        root = piece.root
        if claim.whole and answer.parts[root].kind == "grid" and len(answer.parts[root].args) == len(self.given):
            root = answer.parts[root].args[number]
        found: dict[int, None] = {}
        stack = [root]
        while stack:
            index = stack.pop()
            if index not in found:
                found[index] = None
                part = answer.parts[index]
                stack.extend(part.args if part.kind != "derivative" else ())
        return list(found)

    def block(self, given: int, wanted: int) -> list[Edit]:
        """The edits of one block."""
        block = self.given[given]
        if block is None or self.plain[given] == self.normal[wanted]:
            return []
        names = self.judge.names(self.outcome, self.setting)
        number = self.judge.question.is_number(wanted)
        return explain_block(Block(self.outcome.answer, wanted, block, self.expected[wanted], self.span(given), number), names)

    def span(self, number: int) -> Span | None:
        """Where a block stands: its cell, or all that its letters stand in."""
        answer, claim = self.outcome.answer, self.outcome.claim
        if not claim.whole and number < len(claim.pieces):
            piece = claim.pieces[number]
            part = None if piece is None else answer.parts[piece.root]
        else:
            piece = claim.pieces[0]
            assert piece is not None
            part = answer.parts[piece.root]
            if part.kind == "grid" and len(part.args) == len(self.given):
                part = answer.parts[part.args[number]]
            elif len(self.given) > 1:
                block = self.given[number] or {}
                places = {place_of(code) for word in block for code in word}
                spans = [(answer.parts[p].start, answer.parts[p].end) for p in places if p >= 0 and answer.parts[p].start >= 0]
                return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
        return None if part is None or part.start < 0 else (part.start, part.end)

    def align(self) -> list[Edit]:
        """Blocks that are too many or too few: the cheapest way to match the rest in order."""
        rows, columns = len(self.plain), len(self.normal)
        pairs: dict[tuple[int, int], list[Edit]] = {}

        def match(i: int, j: int) -> list[Edit]:
            if (i, j) not in pairs:
                pairs[i, j] = self.block(i, j)
            return pairs[i, j]

        exact = rows * columns > 400
        table: list[list[tuple[float, int]]] = [[(float(j), 2) for j in range(columns + 1)]]
        for i in range(1, rows + 1):
            line: list[tuple[float, int]] = [(float(i), 1)]
            for j in range(1, columns + 1):
                same = self.plain[i - 1] == self.normal[j - 1]
                cost = 0.0 if same else 1.5 if exact else min(1.9, 0.4 + sum(edit.cost for edit in match(i - 1, j - 1)))
                line.append(min((table[i - 1][j - 1][0] + cost, 0), (table[i - 1][j][0] + 1, 1), (line[j - 1][0] + 1, 2)))
            table.append(line)
        edits: list[Edit] = []
        i, j = rows, columns
        while i or j:
            move = table[i][j][1]
            if move == 0 and i and j:
                i, j = i - 1, j - 1
                edits += reversed(match(i, j))
            elif (move == 1 and i) or not j:
                i -= 1
                edits.append(Edit("block put in", -1, span=self.span(i)))
            else:
                j -= 1
                edits.append(Edit("block left out", j))
        edits.reverse()
        return sorted(edits, key=lambda edit: edit.operation not in ("block left out", "block put in"))


class _Speaker:
    """Names letters and paths for a terminal, in the notation of an answer."""

    def __init__(self, problem: Problem, answer: Answer) -> None:
        self.problem = problem
        self.tape = problem.tape
        self.labels = answer.vocabulary.labels
        self.writer = TextWriter()
        self.typed = dict(answer.program.names.spellings)
        for atom in answer.atoms:
            for name in (*(atom.by or ()), *((atom.of,) if isinstance(atom.of, Spelling) else ())):
                self.typed.setdefault(name.key, name)
        signs = [atom.sign for atom in answer.atoms if not atom.left]
        self.fractions = any(sign in ("∂", "d") for sign in signs) and "J" not in signs

    def value(self, value: int) -> str:
        """A value by its name, or as its layer at its arguments."""
        made = self.problem.made.get(value)
        if made is not None:
            return f"{self.name(self.labels.name(made[0]))}(…)"
        return self.name(self.labels.value(value)) if value < len(self.tape.names) else "…"

    def name(self, name: Spelling) -> str:
        """A name as the answer has it."""
        return self.writer.name(self.typed.get(name.key, name))

    def letter(self, code: int, setting: Setting) -> str:
        """A letter in the notation of the answer, transposed where the layout does not say that already."""
        letter = self.problem.alphabet.letters[code >> 1]
        if letter.kind == "value":
            text, turned = self.value(letter.slot), False
        elif letter.kind in ("partial", "foreign"):
            text = self.derivative(letter)
            scalar = letter.rows == "1"
            turned = not setting.literal and (setting.layout.transposes_scalar if scalar else setting.layout.transposes_array)
        else:
            text, turned = {"ones": "1", "unit": "I"}.get(letter.kind, "⊙"), False
            code &= ~1
        single = letter.rows == letter.columns == "1"
        return f"({text})ᵀ" if bool(code & 1) is not turned and not single else text

    def derivative(self, letter: Letter) -> str:
        layer = self.name(self.labels.name(letter.name))
        applications = self.problem.applications[letter.name]
        points = {step: tuple(self.problem.canonical[source] for source in self.inputs(step)) for step in applications}
        step = next((step for step in applications if points[step] == letter.inputs), applications[0])
        by = self.value(letter.inputs[0]) if letter.kind == "foreign" else self.name(self.labels.slot(step, letter.slot))
        text = f"∂{layer}/∂{by}" if self.fractions else f"J_{by} {layer}"
        if len(set(points.values())) > 1 or letter.inputs not in points.values():
            if letter.kind == "foreign":
                return text
            return f"({text}) at ({', '.join(self.value(value) for value in letter.inputs)})"
        return text

    def inputs(self, step: int) -> tuple[int, ...]:
        return self.tape.steps[step - self.tape.leaves].inputs

    def base(self, letter: Letter) -> tuple[str, str]:
        """What of a letter is left when indices are taken away."""
        if letter.kind == "value":
            name = self.labels.value(letter.slot) if letter.slot < len(self.tape.names) else None
            return "", "" if name is None else name.base
        if letter.kind not in ("partial", "foreign"):
            return letter.kind, letter.name
        layer = self.labels.name(letter.name)
        if letter.kind == "foreign":
            return layer.base, self.labels.value(letter.inputs[0]).base if letter.inputs[0] < len(self.tape.names) else ""
        return layer.base, self.labels.slot(self.problem.applications[letter.name][0], letter.slot).base

    def path(self, word: Word) -> str:
        """The values that a product leads through, from the variable to the output."""
        values: list[str] = []
        for code in reversed(word):
            letter = self.problem.alphabet.letters[code >> 1]
            if letter.kind != "partial":
                continue
            source = self.value(letter.inputs[letter.slot])
            result = self.problem.apply(letter.name, letter.inputs)
            named = result < len(self.tape.names) and bool(self.tape.names[result])
            target = self.value(result) if named or self.tape.nested else self.name(self.labels.name(letter.name))
            values += [name for name in (source, target) if values[-1:] != [name]]
        return " → ".join(values) if values else "the variable itself (I)"
