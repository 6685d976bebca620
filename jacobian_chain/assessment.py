"""The verdict on an answer through concrete layers: right, right in another layout, or wrong, where and why.

Both sides are evaluated at random points of a prime field, in two worlds of different sizes (:mod:`jacobian_chain.worlds`): equal there
means equal, but for a chance that the verdict states. What the field calls different and functions could still make equal, such as
tanh z = 2 σ(2 z) - 1, is compared at real points, in floats first and then in many digits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from operator import eq
from typing import NamedTuple

from jacobian_chain import dense
from jacobian_chain.appraisal import Appraiser, MisfitError
from jacobian_chain.dense import ELEMENTWISE, FLOATS, Dense, DomainError, precise
from jacobian_chain.errors import ChainError, LimitError, Place, ReadingError, Source
from jacobian_chain.explanation import explain
from jacobian_chain.expressions import Expression, Setting, Solution, Statement
from jacobian_chain.glossary import Scope
from jacobian_chain.layout import LAYOUTS, MIXED, Layout
from jacobian_chain.residues import PRIME
from jacobian_chain.solution import read_solution
from jacobian_chain.tape import Tape
from jacobian_chain.transcription import write_latex, write_text
from jacobian_chain.trials import Trial, parts_of
from jacobian_chain.verdict import Finding, Span, Verdict
from jacobian_chain.verification import arrange
from jacobian_chain.worlds import World, draw, shrink

MAX_CHARACTERS = 200_000
"""Longest answer that is read."""

MAX_READINGS = 32
"""Most ways to read an answer that are tried."""

WORLDS = 2
"""In how many worlds two sides have to agree."""

TRIES = 16
"""How many worlds are drawn to find those where an answer is defined."""

MAX_EXPLAINED, MAX_REPEATED = 800, 20_000
"""Most parts of an answer in which mistakes are looked for, and most multiplications that it takes: it is evaluated many times."""

POINTS = 12
"""At how many real points two sides have to agree where the field calls them different; kinks need points on both sides."""

KINKED_POINTS = 96
"""The same where there are kinks: sign(k - u) and sign(k - 3/2 u) are mostly equal."""

SCALES = (Fraction(1), Fraction(1), Fraction(20), Fraction(1), Fraction(1, 64), Fraction(1), Fraction(1), Fraction(1))
"""Times which points are taken, one after the other: beyond kinks that others do not reach, and close to those at zero."""

DIGITS = 50
CLOSE, CLOSER = 1e-9, 1e-40
"""Largest relative errors of floats, and of so many digits."""

RATIONAL = frozenset(
    "sum scale number dimension ones zeros identity unit product hadamard power transpose inverse trace det sqnorm diag diagonal vec "
    "reshape kron beside below layer".split()
)
"""Operations without a model that says less than the function: of these the field knows all."""


class Exercise:
    """A composition that answers are checked against, with what is computed for all of them."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.small = shrink(tape)
        self._worlds: dict[int, World | None] = {}
        self._points: dict[tuple[int, bool], World | None] = {}
        self.expected: dict[tuple[int, int, str, tuple[str, ...]], str | None] = {}  # right blocks that were written and read back
        self.has_roots = any(
            step.operation == "layernorm" or (step.operation == "power" and step.coefficients[0].denominator > 1) for step in tape.steps
        )
        self.has_kinks = any(step.operation == "norm1" or is_kinked(step.name) for step in tape.steps)
        self.has_models = self.has_roots or any(step.operation not in RATIONAL for step in tape.steps)

    def world(self, seed: int) -> World | None:
        """A point of the field, None if the composition is not defined there."""
        if seed not in self._worlds:
            try:
                self._worlds[seed] = draw(self.small, seed)
            except ChainError:
                self._worlds[seed] = None
        return self._worlds[seed]

    def point(self, seed: int, in_digits: bool) -> World | None:
        """A real point, None if none is found."""
        if (seed, in_digits) not in self._points:
            try:
                self._points[seed, in_digits] = draw(self.small, seed, precise(DIGITS) if in_digits else FLOATS, SCALES[seed % len(SCALES)])
            except (ChainError, ArithmeticError):
                self._points[seed, in_digits] = None
        return self._points[seed, in_digits]

    def scope(self, of: int, by: Sequence[int]) -> Scope:
        """The names that answers to one question use."""
        return Scope(self.small, of, by, lambda solution, root: self.find_value(solution, root, of))

    def find_value(self, solution: Solution, root: int, of: int) -> int | None:
        """The value of the composition that a formula is, the value ``of`` before all others."""
        world = self.world(0)
        if world is None:
            return None
        try:
            found = Appraiser(solution, world, Setting(MIXED, readings=solution.readings)).value(root)
        except (MisfitError, ArithmeticError, LimitError):
            return None
        order = [of, *(value for value in range(len(self.tape.names)) if self.tape.names[value]), *range(len(self.tape.names))]
        return next((value for value in order if world.values[value] == found), None)


class Inquiry(NamedTuple):
    """What is asked: d ``of`` / d ``variables`` in a layout; where nobody chose the variables, the answer's left sides do."""

    exercise: Exercise
    of: int
    variables: tuple[int, ...]
    layout: Layout
    is_chosen: bool = True

    def held(self, variable: int) -> frozenset[int]:
        """The other variables that are computed: they do not change with this one."""
        return frozenset(value for value in self.variables if value >= self.exercise.tape.leaves) - {variable}


class Piece(NamedTuple):
    """What an answer gives for one variable: the formula, whether its left side is a transpose, and which entry it is of, if of one."""

    root: int
    statement: int
    transposed: bool = False
    on_vec: bool = False
    entry: tuple[int, ...] = ()


class Outcome(NamedTuple):
    """How one reading of an answer compares: the setting for each layout in which it is right, and whether that rests on numbers."""

    setting: Setting
    settings: dict[str, Setting]
    numeric: bool


Expected = Callable[[Inquiry, int], str | None]
"""What writes the right block of one variable as LaTeX."""


def assess(
    inquiry: Inquiry, source: Source, where: Sequence[str] = (), write_expected: Expected | None = None, reveal: bool = False
) -> Verdict:
    """The verdict on an answer.

    Args:
        inquiry: what was asked.
        source: the answer's text.
        where: lines that explain names.
        write_expected: writes the right answer.
        reveal: whether the verdict shows it.

    Raises:
        ReadingError: the answer cannot be read.
        LimitError: it is too long.
    """
    if len(source.text) > MAX_CHARACTERS:
        raise LimitError(f"the answer has {len(source.text):,} characters; the limit is {MAX_CHARACTERS:,}")
    scope = inquiry.exercise.scope(inquiry.of, inquiry.variables)
    solution = read_solution(source, scope, where)
    assessment = _Assessment(inquiry, source, where, solution, write_expected)
    assessment.refuse_question()
    verdict = assessment.verdict(reveal)
    if verdict.verdict == "correct" or not solution.has_wide_functions:
        return verdict
    narrow = _Assessment(inquiry, source, where, read_solution(source, scope, where, narrow=True), write_expected)
    narrow.notes.setdefault("functions without brackets take the first factor behind them")
    other = narrow.verdict(reveal)
    unexplained = bool(verdict.findings) and verdict.findings[0].kind in ("shape", "other")
    return other if other.verdict == "correct" or unexplained else verdict


class _Assessment:
    """One answer under way."""

    def __init__(
        self, inquiry: Inquiry, source: Source, where: Sequence[str], solution: Solution, write_expected: Expected | None = None
    ) -> None:
        targets = [statement.target for statement in solution.statements]
        named = [value for target in targets if target is not None and target.of == inquiry.of for value in target.by]
        if named and not inquiry.is_chosen:
            inquiry = inquiry._replace(variables=tuple(dict.fromkeys(named)))
        self.inquiry = inquiry
        self.exercise = inquiry.exercise
        self.source = source
        self.where = where
        self.solution = solution
        self.write_expected = write_expected
        self.notes: dict[str, None] = dict.fromkeys(solution.notes)
        self.pieces = find_pieces(solution, inquiry, self.notes)
        self.appraisers: dict[tuple[object, ...], Appraiser] = {}
        self.ambiguous: set[str] = set()
        self.unsure = False
        self.doubt = "no point was found where both sides are defined"
        self.has_atoms = bool(solution.atoms) or any(node.kind == "layer_jacobian" for node in solution.formulas.nodes)
        nodes = solution.formulas.nodes
        self.has_roots = self.exercise.has_roots or any(map(takes_root, nodes))
        self.has_kinks = self.exercise.has_kinks or any(map(has_kink, nodes))
        self.has_models = self.exercise.has_models or any(node.kind in ("apply", "call", "norm", "bars", "power") for node in nodes)

    def refuse_question(self) -> None:
        """Refuse an answer that is the derivative asked for, and not what it is: but of an opaque layer there is nothing more to say."""
        nodes = self.solution.formulas.nodes
        step = self.solution.tape.step(self.inquiry.of)
        for piece, variable in zip(self.pieces, self.inquiry.variables, strict=True):
            if piece is None or (step is not None and step.operation == "layer" and variable in step.inputs):
                continue
            root = piece.root
            while nodes[root].kind in ("transpose", "name"):
                root = nodes[root].args[0]
            atom = self.solution.atoms[int(str(nodes[root].value))] if nodes[root].kind == "derivative" else None
            if atom is not None and atom.of == self.inquiry.of and variable in atom.by:
                start, end = self.span(piece) or (0, len(self.source.text))
                place = Place(self.source, start, end)
                raise ReadingError("this only repeats the question", place, "write what the derivative is equal to")

    # --- the verdict ---

    def verdict(self, reveal: bool) -> Verdict:
        """What is to be said of the answer."""
        asked = self.inquiry.layout.name
        outcome = self.judge()
        setting = outcome.settings.get(asked) or next(iter(outcome.settings.values()), outcome.setting)
        undecided = not outcome.settings and self.unsure
        findings: list[Finding] = []
        if asked in outcome.settings:
            verdict = "correct"
        elif outcome.settings:
            verdict = "correct-other-layout"
            holding = " and ".join(outcome.settings)
            message = f"this is right in {holding} layout; {asked} layout has the transpose"
            findings.append(Finding("other-layout", "the whole answer", None, message, self.expected()))
        elif undecided:
            verdict = "undecided"
            self.notes.setdefault(self.doubt)
        else:
            verdict = "wrong"
            findings += self.diagnose(setting)
        findings += self.check_steps(setting)
        operators = self.tell(setting)
        roots = [piece.root for piece in self.pieces if piece is not None]
        shown = roots if roots else [self.solution.statements[-1].links[-1]]
        read_as = r" \quad ".join(write_latex(self.solution, root, setting, operators) for root in shown)
        return Verdict(
            verdict,
            asked,
            tuple(outcome.settings),
            read_as,
            tuple(self.notes),
            "numeric" if outcome.numeric or undecided else "prime-field",
            None if outcome.numeric or not outcome.settings else self.error_bound(),
            tuple(findings),
            self.expected() if reveal else None,
            self.source.text,
            lambda: "   ".join(write_text(self.solution, root, setting, operators) for root in shown),
        )

    def tell(self, setting: Setting) -> dict[tuple[int, int], str]:
        """How signs were read, with the choices worth telling among the notes."""
        operators: dict[tuple[int, int], str] = {}
        for key, appraiser in self.appraisers.items():
            if key[1:] == _identity(setting, self.has_atoms):
                operators.update(appraiser.operators)
                self.notes.update(appraiser.notes)
        for number in sorted(setting.total):
            atom = self.solution.atoms[number]
            of, by = (self.solution.tape.names[value] for value in (atom.of, atom.by[0]))
            self.notes.setdefault(f"the derivative of {of} by {by} is read as {atom.meanings[1]}")
        if any(fact.startswith("label") for _, fact in self.solution.tape.facts):
            labels = [self.solution.tape.names[value] for value, fact in self.solution.tape.facts if fact.startswith("label")]
            self.notes.setdefault(f"{', '.join(labels)} {'is a label' if len(labels) == 1 else 'are labels'}: the entries sum to one")
        return operators

    def error_bound(self) -> float:
        """How likely two different sides agree in all worlds (Schwartz, Zippel): formal degree over the size of the field, each time."""
        tape = self.solution.tape
        degrees: list[int] = [1] * tape.leaves
        for step in tape.steps:
            inner = [degrees[source] for source in step.inputs]
            grows = {"product": sum(inner), "hadamard": sum(inner), "scale": sum(inner), "layer": 3 * sum(inner)}
            degrees.append(min(1 << 40, grows.get(step.operation, 2 * max(inner, default=1) + 1)))
        degree = min(1 << 50, 16 * (max(degrees) + 1) * (len(self.solution.formulas.nodes) + 1))
        return float((degree / PRIME) ** WORLDS)

    # --- readings ---

    def judge(self) -> Outcome:
        """The best of all readings: one that is right in the layout asked for, else in any."""
        self.unsure = False
        best: Outcome | None = None
        tried: set[Setting] = set()
        readings: list[frozenset[str]] = [self.solution.readings]
        for numeric in (False, True):
            if numeric and not self.has_models:
                break
            for chosen in readings:  # grows while it is gone through
                for total in self.totals():
                    settings = self.compare(chosen, total, numeric)
                    outcome = Outcome(Setting(self.inquiry.layout, False, total, chosen), settings, numeric and bool(settings))
                    if self.inquiry.layout.name in settings:
                        return outcome
                    if best is None or (settings and not best.settings):
                        best = outcome
                    tried.add(outcome.setting)
                    if len(tried) >= MAX_READINGS:
                        break
                if len(readings) < 2 and self.ambiguous:
                    found = sorted(self.ambiguous)[:4]
                    readings += [readings[0].union(some) for k in range(1, len(found) + 1) for some in itertools.combinations(found, k)]
            if best is not None and best.settings:
                break
        assert best is not None
        return best

    def totals(self) -> Iterator[frozenset[int]]:
        """Which atoms take their second meaning: none, each by itself, all."""
        double = [k for k, atom in enumerate(self.solution.atoms) if len(atom.meanings) > 1 and self.differs(k)]
        if len(double) <= 3:
            for k in range(len(double) + 1):
                yield from map(frozenset, itertools.combinations(double, k))
            return
        yield frozenset()
        yield frozenset(double)
        for one in double[:8]:
            yield frozenset({one})

    def differs(self, number: int) -> bool:
        """Whether the two meanings of an atom are two values."""
        atom = self.solution.atoms[number]
        world = self.exercise.world(0)
        return world is None or any(world.total(atom.of, by) != world.direct(atom.of, by) for by in atom.by)

    def compare(self, readings: frozenset[str], total: frozenset[int], numeric: bool) -> dict[str, Setting]:
        """The layouts in which the answer is right under one reading."""
        found: dict[str, Setting] = {}
        literals = (False, True) if any(atom.sign == "J" for atom in self.solution.atoms) else (False,)
        for layout in LAYOUTS.values():
            for literal in literals:
                setting = Setting(layout, literal, total, readings)
                if self.holds(setting, numeric):
                    found[layout.name] = setting
                    break
        return found

    def holds(self, setting: Setting, numeric: bool) -> bool:
        """Whether every block is right in one setting."""
        if any(piece is None for piece in self.pieces):
            return False
        return all(
            (self.agree_numerically if numeric else self.agree)(setting, piece, variable)
            for piece, variable in zip(self.pieces, self.inquiry.variables, strict=True)
            if piece is not None
        )

    # --- comparing ---

    def agree(self, setting: Setting, piece: Piece, variable: int) -> bool:
        """Whether a block is right in the field."""
        agreed = 0
        for seed in range(TRIES):
            world = self.exercise.world(seed)
            if world is None:
                continue
            try:
                if not self.is_equal(("field", seed), world, setting, piece, variable, eq):
                    return False
            except ArithmeticError:
                continue
            agreed += 1
            if agreed == WORLDS:
                return not self.has_roots or self.has_signs(setting, piece, variable)
        self.unsure = True
        return False

    def has_signs(self, setting: Setting, piece: Piece, variable: int) -> bool:
        """Whether a block that is right in the field is so at real points: a root in the field is either of two."""
        for seed in range(POINTS):
            for in_digits in (False, True):
                world = self.exercise.point(seed, in_digits)
                close = partial(is_close, limit=CLOSER if in_digits else CLOSE)
                try:
                    if world is None or self.is_equal((in_digits, seed), world, setting, piece, variable, close):
                        break
                except ArithmeticError:
                    break
            else:
                return False
        return True

    def agree_numerically(self, setting: Setting, piece: Piece, variable: int) -> bool:
        """Whether a block is right at real points, in floats and then in many digits."""
        seen: dict[int, set[bool]] = {}
        for in_digits in (False, True):
            agreed = 0
            for seed in range(KINKED_POINTS if self.has_kinks else POINTS):
                world = self.exercise.point(seed, in_digits)
                if world is None:
                    continue
                close = partial(is_close, limit=CLOSER if in_digits else CLOSE)
                try:
                    if not self.is_equal((in_digits, seed), world, setting, piece, variable, close):
                        self.unsure = False
                        return False
                except ArithmeticError:
                    continue
                agreed += any(map(any, world.total(self.inquiry.of, variable, self.inquiry.held(variable))))  # zeros say nothing
                for kink, sides in world.sides_of_kinks(self.inquiry.of).items():
                    seen.setdefault(kink, set()).update(sides)
                if in_digits and agreed == WORLDS:
                    break
            if not agreed or any(len(sides) < 2 for sides in seen.values()):
                self.unsure = True
                self.doubt = (
                    "no real point was found to compare at" if not agreed else "equal where it was tried, on one side of a kink only"
                )
                return False
        self.unsure = False
        return True

    def is_equal(
        self,
        place: tuple[object, object],
        world: World,
        setting: Setting,
        piece: Piece,
        variable: int,
        equal: Callable[[Dense, Dense], bool],
    ) -> bool:
        """Whether a block has the right value in one world; on ``vec`` too where the answer is."""
        jacobian = world.total(self.inquiry.of, variable, self.inquiry.held(variable))
        of, by = world.shape(self.inquiry.of), world.shape(variable)
        key = (place, *_identity(setting, self.has_atoms))
        appraiser = self.appraisers.get(key)
        if appraiser is None:
            appraiser = self.appraisers[key] = Appraiser(self.solution, world, setting)
        forms: list[Dense] = []
        flat = of == (1, 1) and 1 in by  # on vec a column or row is what it is
        for on_vec in (piece.on_vec,) if flat else (piece.on_vec, True):
            block = arrange(jacobian, of, by, setting.layout.name, on_vec)
            block = dense.transpose(block) if piece.transposed else block
            if piece.entry:
                block = _entry(arrange(jacobian, of, by, "mixed", False), piece.entry)
            if block not in forms:
                forms.append(block)
        for block in forms:
            try:
                value = appraiser.value(piece.root, dense.size(block))
            except MisfitError:
                continue
            finally:
                self.ambiguous |= appraiser.ambiguous
            if "numpy" in setting.readings and dense.size(value) == dense.size(block)[::-1] and len(value) == 1:
                value = dense.transpose(value)  # an array of one axis is neither row nor column
            if dense.size(value) == dense.size(block):
                return equal(block, value)
        return False

    # --- why ---

    def worlds(self) -> list[World]:
        """The worlds in which mistakes are looked for."""
        found = [world for seed in range(TRIES) if (world := self.exercise.world(seed)) is not None]
        return found[:WORLDS]

    def diagnose(self, setting: Setting) -> list[Finding]:
        """Why an answer is wrong, block by block."""
        names, variables = self.solution.tape.names, self.inquiry.variables
        findings: list[Finding] = []
        right: dict[int, list[str]] = {}
        for k, (piece, variable) in enumerate(zip(self.pieces, variables, strict=True)):
            if piece is None:
                message = f"the block of {names[variable]} is missing"
                findings.append(Finding("missing-block", f"block {k + 1}", None, message, self.expected()))
                continue
            single = [layout for layout in LAYOUTS.values() if self.agree(setting._replace(layout=layout), piece, variable)]
            right[k] = [layout.name for layout in single]
        if len(variables) > 1 and len(right) == len(variables):
            if all(right.values()):
                for k, layouts in right.items():
                    if self.inquiry.layout.name not in layouts:
                        message = f"the block of {names[variables[k]]} is in {' and '.join(layouts)} layout"
                        findings.append(Finding("mixed-layout", f"block {k + 1}", self.span(self.pieces[k]), message, self.expected()))
                return findings
            order = self.find_order(setting)
            if order is not None:
                blocks = ", ".join(names[variables[k]] for k in order)
                message = f"the blocks stand in another order: {blocks}"
                return [Finding("block-order", "the whole answer", None, message, self.expected())]
        for k, piece in enumerate(self.pieces):
            if piece is not None and self.inquiry.layout.name not in right.get(k, []):
                findings += self.explain_block(setting, piece, variables[k])
        return findings

    def find_order(self, setting: Setting) -> tuple[int, ...] | None:
        """The blocks that the pieces are, where they are all right in another order."""
        count = len(self.pieces)
        if count > 5:
            return None
        for order in itertools.permutations(range(count)):
            if all(
                piece is not None and self.agree(setting, piece, self.inquiry.variables[k])
                for piece, k in zip(self.pieces, order, strict=True)
            ):
                return order
        return None

    def explain_block(self, setting: Setting, piece: Piece, variable: int) -> list[Finding]:
        """Why one block is wrong."""
        part = (lambda block: _entry(block, piece.entry)) if piece.entry else dense.transpose if piece.transposed else None
        worlds = self.worlds()
        if len(worlds) < WORLDS:
            return [Finding("other", "the whole answer", None, "this is not equal to the right answer", self.expected())]
        on_vec = piece.on_vec or self.is_on_vec(setting, piece, variable)
        if len(self.solution.formulas.nodes) > MAX_EXPLAINED or any(
            appraiser.work > MAX_REPEATED for appraiser in self.appraisers.values()
        ):
            message = "this is not equal to the right answer; it is too large to be explained"
            return [Finding("other", "the whole answer", None, message, self.expected())]
        trial = Trial(self.solution, piece.root, setting, self.inquiry.of, variable, on_vec, worlds, part)
        findings = []
        for slip in explain(trial):
            suggestion = None
            if slip.root is not None:
                suggestion = self.suggest(trial, slip.root, setting)
            findings.append(Finding(slip.kind, slip.where, slip.span, slip.message, suggestion or self.expected()))
        return findings

    def is_on_vec(self, setting: Setting, piece: Piece, variable: int) -> bool:
        """Whether a block has the shape that the right one has on ``vec``, and not the plain one."""
        world = self.worlds()[0]
        of, by = world.shape(self.inquiry.of), world.shape(variable)
        jacobian = world.total(self.inquiry.of, variable)
        plain, flat = (dense.size(arrange(jacobian, of, by, setting.layout.name, on_vec)) for on_vec in (False, True))
        try:
            shape = dense.size(Appraiser(self.solution, world, setting).value(piece.root))
        except (MisfitError, ArithmeticError):
            return False
        return shape == flat != plain

    def suggest(self, trial: Trial, root: int, setting: Setting) -> str | None:
        """A repaired answer as LaTeX, None if it does not read back as right."""
        operators: dict[tuple[int, int], str] = {}
        try:
            appraiser = Appraiser(trial.solution, trial.worlds[0], setting)
            appraiser.value(root, dense.size(trial.expected()))
            operators = appraiser.operators
        except (MisfitError, ArithmeticError):
            return None
        text = write_latex(trial.solution, root, setting, operators)
        return text if self.is_right(text, trial.by, setting) else None

    def is_right(self, text: str, variable: int, setting: Setting) -> bool:
        """Whether a text is a right answer for one variable."""
        inquiry = Inquiry(self.exercise, self.inquiry.of, (variable,), setting.layout)
        try:
            solution = read_solution(Source(text, "suggestion"), self.exercise.scope(inquiry.of, (variable,)), self.where)
            checked = _Assessment(inquiry, Source(text, "suggestion"), self.where, solution)
            return inquiry.layout.name in checked.judge().settings
        except ChainError:
            return False

    def expected(self) -> str | None:
        """The right answer as LaTeX, if every block reads back as right."""
        if self.write_expected is None:
            return None
        blocks = []
        for k, variable in enumerate(self.inquiry.variables):
            key = (self.inquiry.of, variable, self.inquiry.layout.name, tuple(self.where))
            if key not in self.exercise.expected:
                block = self.write_expected(self.inquiry, k)
                right = block is not None and self.is_right(block, variable, Setting(self.inquiry.layout))
                self.exercise.expected[key] = block if right else None
            blocks.append(self.exercise.expected[key])
        written = [block for block in blocks if block is not None]
        return r" \quad ".join(written) if len(written) == len(blocks) else None

    def span(self, piece: Piece | None) -> Span | None:
        """Where a block stands."""
        node = None if piece is None else self.solution.formulas.nodes[piece.root]
        return None if node is None or node.start < 0 else (node.start, node.end)

    def check_steps(self, setting: Setting) -> list[Finding]:
        """The steps of a derivation that do not follow from the one before, and left sides that are not equal to the rest."""
        findings: list[Finding] = []
        nodes = self.solution.formulas.nodes
        judged = {piece.statement for piece in self.pieces if piece is not None}
        for number, statement in enumerate(self.solution.statements):
            for one, other in itertools.pairwise(statement.links):
                if self.are_equal(one, other, setting) is False:
                    start, end = nodes[other].start, nodes[other].end
                    line = self.source.text.count("\n", 0, max(start, 0)) + 1
                    message = "this does not follow from the step before"
                    findings.append(Finding("does-not-follow", f"line {line}", (start, end) if start >= 0 else None, message, None))
            if number not in judged and self.is_claim(statement) and not self.is_true(statement, setting):
                node = nodes[statement.links[0]]
                line = self.source.text.count("\n", 0, max(node.start, 0)) + 1
                message = "this is not what the left side names"
                findings.append(Finding("does-not-follow", f"line {line}", (node.start, node.end), message, None))
        return findings

    def is_claim(self, statement: Statement) -> bool:
        target = statement.target
        return target is not None and len(target.by) == 1 and not any(isinstance(index, int) for index in target.indices)

    def is_true(self, statement: Statement, setting: Setting) -> bool:
        """Whether a line says the truth about the derivative that it names, in the layout or with the other meaning of ∂."""
        target = statement.target
        assert target is not None
        inquiry = Inquiry(self.exercise, target.of, target.by, self.inquiry.layout)
        other = _Assessment(inquiry, self.source, self.where, self.solution)
        other.pieces = (Piece(statement.links[0], 0, target.transposed, target.on_vec),)
        other.unsure = False
        return bool(other.compare(setting.readings, setting.total, False)) or other.unsure

    def are_equal(self, one: int, other: int, setting: Setting) -> bool | None:
        """Whether two formulas are equal, None if that cannot be told."""
        for world in self.worlds():
            appraiser = Appraiser(self.solution, world, setting)
            try:
                left = appraiser.value(one)
                if appraiser.value(other, dense.size(left)) != left:
                    return None if self.has_models and self.are_close(one, other, setting) else False
            except MisfitError:
                return False
            except ArithmeticError:
                return None
        return True

    def are_close(self, one: int, other: int, setting: Setting) -> bool:
        """Whether two formulas are equal at a real point."""
        world = self.exercise.point(0, False)
        if world is None:
            return True
        appraiser = Appraiser(self.solution, world, setting)
        try:
            left = appraiser.value(one)
            return is_close(left, appraiser.value(other, dense.size(left)), CLOSE)
        except (MisfitError, ArithmeticError):
            return True


def is_kinked(function: str) -> bool:
    """Whether an elementwise function is not smooth."""
    return function in ELEMENTWISE and ELEMENTWISE[function].kink


def has_kink(node: Expression) -> bool:
    """Whether a part of an answer jumps or has a kink."""
    return node.kind in ("bars", "indicator") or (node.kind == "apply" and is_kinked(str(parts_of(node)[0])))


def takes_root(node: Expression) -> bool:
    """Whether a part of an answer takes a root."""
    if node.kind == "power":
        assert isinstance(node.value, tuple)
        return bool(node.value[0].denominator > 1)
    return node.kind in ("norm", "bars")


def _identity(setting: Setting, has_atoms: bool) -> tuple[object, ...]:
    """What of a setting the value of a formula depends on."""
    return (setting.layout.name if has_atoms else "", setting.literal, setting.total, setting.readings)


def _entry(block: Dense, entry: Sequence[int]) -> Dense:
    """One entry of a block, counted from one."""
    i, j = (*entry, 1)[:2]
    if len(block) == 1 and len(entry) == 1:
        i, j = 1, entry[0]
    if not (1 <= i <= len(block) and 1 <= j <= len(block[0])):
        raise DomainError("there is no such entry")
    return [[block[i - 1][j - 1]]]


def is_close(a: Dense, b: Dense, limit: float) -> bool:
    """Whether two arrays of one shape differ by less than ``limit`` times the largest entry of the first, if that is no mere rounding."""
    if dense.size(a) != dense.size(b):
        return False
    top = max(abs(entry) for row in a for entry in row)
    pairs = zip(itertools.chain(*a), itertools.chain(*b), strict=True)
    return all(abs(one - other) <= limit * (top if top > limit else 1) for one, other in pairs)


def find_pieces(solution: Solution, inquiry: Inquiry, notes: dict[str, None]) -> tuple[Piece | None, ...]:
    """The formulas that answer the question, one for each variable, None where there is none.

    Lines whose left sides name the derivatives that are asked for; else the blocks of the last line, or as many bare lines as there are
    variables; else the last line that says more than what a name means.
    """
    tape, statements, variables = solution.tape, solution.statements, inquiry.variables
    named: dict[int, Piece] = {}
    for k, statement in enumerate(statements):
        target = statement.target
        if target is None or target.of != inquiry.of:
            continue
        entry = tuple(index for index in target.indices if isinstance(index, int))
        if len(target.by) == 1 and target.by[0] in variables:
            if entry:
                notes.setdefault("the answer gives one entry only")
            named[target.by[0]] = Piece(statement.links[-1], k, target.transposed, target.on_vec, entry)
        elif set(variables) <= set(target.by):
            cells = _cells(solution, statement.links[-1], len(target.by))
            if cells is not None:
                named.update({value: Piece(cells[target.by.index(value)], k, target.transposed) for value in variables})
    if named:
        return tuple(named.get(variable) for variable in variables)
    used = {solution.formulas.nodes[at].value for at in range(len(solution.formulas.nodes)) if solution.formulas.nodes[at].kind == "name"}
    names = {spelling.key for spelling in used if hasattr(spelling, "key")}
    final = [k for k, statement in enumerate(statements) if not statement.name]
    final = final or [k for k, statement in enumerate(statements) if statement.name not in names] or [len(statements) - 1]
    bare = [k for k in final if statements[k].target is None]
    if len(variables) > 1:
        cells = _cells(solution, statements[final[-1]].links[-1], len(variables))
        if cells is not None:
            return tuple(Piece(cell, final[-1]) for cell in cells)
        if len(bare) == len(variables):
            return tuple(Piece(statements[k].links[-1], k) for k in bare)
    last = (bare or final)[-1]
    target = statements[last].target
    if target is not None:
        of, by = tape.names[target.of], ", ".join(tape.names[value] for value in target.by)
        wanted = ", ".join(tape.names[value] for value in variables)
        notes.setdefault(f"the left side names the derivative of {of} by {by}; asked is that of {tape.names[inquiry.of]} by {wanted}")
    piece = Piece(statements[last].links[-1], last)
    return (piece, *(None for _ in variables[1:]))


def _cells(solution: Solution, root: int, count: int) -> tuple[int, ...] | None:
    """The blocks of a row or column, None if there are not so many."""
    nodes = solution.formulas.nodes
    while nodes[root].kind == "name":
        root = nodes[root].args[0]
    return nodes[root].args if nodes[root].kind in ("beside", "below") and len(nodes[root].args) == count else None
