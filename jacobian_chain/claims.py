"""What an answer claims: which of its lines answer the question, block by block, and what the right blocks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from jacobian_chain.answer import Answer, Statement, Target
from jacobian_chain.errors import ReadingError
from jacobian_chain.evaluate import MisfitError, Setting, blocks_of, evaluate
from jacobian_chain.layout import Layout
from jacobian_chain.problem import Problem
from jacobian_chain.words import Polynomial, settle, transpose

_B = TypeVar("_B")


class Question(NamedTuple):
    """d ``of`` / d ``variables``, one block each, in a layout; ``label`` stands for all variables together."""

    problem: Problem
    of: int
    variables: tuple[int, ...]
    label: str
    layout: Layout

    def expected(self, layout: Layout) -> list[Polynomial]:
        """The right blocks.

        Raises:
            LimitError: they have too many words.
        """
        return self._blocks(layout)[0]

    def normal(self, layout: Layout) -> list[Polynomial]:
        """The normal forms of the right blocks."""
        return self._blocks(layout)[1]

    def _blocks(self, layout: Layout) -> tuple[list[Polynomial], list[Polynomial]]:
        key = (self.of, self.variables, layout.transposes(self.problem.shapes[self.of]))
        known = self.problem.blocks.get(key)
        if known is None:
            blocks = [self.problem.polynomial(root) for root in self.roots()]
            if key[2]:
                blocks = [transpose(block) for block in blocks]
            blocks = [settle(block, self.is_number(k), self.problem.alphabet) for k, block in enumerate(blocks)]
            known = self.problem.blocks[key] = blocks, [self.problem.alphabet.normalise(block) for block in blocks]
        return known

    def is_number(self, block: int) -> bool:
        """Whether a block has a single entry; one that is too many is none."""
        shapes = self.problem.shapes
        return block < len(self.variables) and shapes[self.of].is_scalar and shapes[self.variables[block]].is_scalar

    def roots(self) -> list[int]:
        """The right blocks as parts of the problem, in numerator layout."""
        held = frozenset(value for value in self.variables if value >= self.problem.tape.leaves)
        return [self.problem.total(self.of, variable, held - {variable}) for variable in self.variables]


class Piece(NamedTuple):
    """Part of a claim: the right side ``root`` of a statement, whether its left side is a transpose, of a scalar's derivative, of ∇."""

    root: int
    transposed: bool
    statement: int
    scalar: bool = False
    gradient: bool = False

    def is_turned(self, setting: Setting) -> bool:
        """Whether the right side is the transpose of what is claimed: not where a literal Jᵀ, or ∇ᵀ, is what the layout asks for."""
        layout = setting.layout
        transposes = layout.transposes_scalar if self.scalar else layout.transposes_array
        return self.transposed and not (not transposes if self.gradient else setting.literal and transposes)


class Claim(NamedTuple):
    """What an answer gives: all blocks in one piece, or one piece for each variable, None where there is none.

    ``kept`` are the blocks of the one piece that speak of the question's variables, None for all of them; ``given`` is how many blocks
    its left side names.
    """

    whole: bool
    pieces: tuple[Piece | None, ...]
    kept: tuple[int, ...] | None = None
    given: int = 0

    def keep(self, blocks: Sequence[_B]) -> Sequence[_B]:
        """The blocks of one piece that speak of the question's variables; all of them where their number is not what was named."""
        if self.kept is None or len(blocks) != self.given:
            return blocks
        return [blocks[k] for k in self.kept]


def find_claim(answer: Answer, question: Question) -> Claim:
    """The lines that answer the question.

    The last line, if its left side names all variables (or more: then the others are left out) or nothing; else the lines whose
    left sides name them one by one; else as many bare lines as there are variables; else the last line.
    """
    statements = answer.statements
    last = len(statements) - 1
    final = statements[last]
    target = final.target
    scalar = question.problem.shapes[question.of].is_scalar
    if target is not None and target.of == question.of and set(question.variables) <= set(target.by):
        same = target.by == question.variables
        kept = None if same else tuple(target.by.index(variable) for variable in question.variables)
        return Claim(True, (Piece(final.links[-1], target.transposed, last, scalar, _is_gradient(answer, target)),), kept, len(target.by))
    if target is not None:
        pieces: dict[int, Piece] = {}
        for k, statement in enumerate(statements):
            named = statement.target
            if named is not None and named.of == question.of and len(named.by) == 1 and named.by[0] in question.variables:
                pieces[named.by[0]] = Piece(statement.links[-1], named.transposed, k, scalar, _is_gradient(answer, named))
        if pieces:
            return Claim(False, tuple(pieces.get(variable) for variable in question.variables))
    bare = [k for k, statement in enumerate(statements) if _is_bare(statement)]
    if len(bare) == len(statements) == len(question.variables) > 1:
        _refuse_other_labels(question, statements)
        return Claim(False, tuple(Piece(statements[k].links[0], False, k) for k in bare))
    return Claim(True, (Piece(final.links[-1], False, last),))


def _refuse_other_labels(question: Question, statements: Sequence[Statement]) -> None:
    """Refuse lines in the order of the variables of which one is labelled, in words that could not be read, with another variable."""
    names = [question.problem.tape.names[variable] for variable in question.variables]
    for statement, own in zip(statements, names, strict=True):
        if statement.label is not None:
            inside, place = statement.label
            mentioned = {name for name in names for key in inside if key.endswith(name)}
            if mentioned and own not in mentioned:
                message = f"this left side could not be read, and names {min(mentioned)} where the block of {own} is expected"
                raise ReadingError(message, place, f"write ∂{question.problem.tape.names[question.of]}/∂{min(mentioned)}")


def _is_gradient(answer: Answer, target: Target) -> bool:
    """Whether a left side is written with ∇, which has the shape of its variable in every layout."""
    part = answer.parts[target.part]
    return part.kind == "derivative" and isinstance(part.value, int) and answer.atoms[part.value].sign == "∇"


def _is_bare(statement: Statement) -> bool:
    return statement.target is None and not statement.name and len(statement.links) == 1


def claimed_blocks(answer: Answer, claim: Claim, setting: Setting, places: bool = False) -> list[Polynomial | None]:
    """The blocks that an answer gives under one reading, None for those that it does not give.

    Raises:
        MisfitError: blocks do not fit together.
        LimitError: there are too many words.
    """
    given = [piece for piece in claim.pieces if piece is not None]
    values = dict(zip((piece.root for piece in given), evaluate(answer, [piece.root for piece in given], setting, places), strict=True))
    result: list[Polynomial | None] = []
    for piece in claim.pieces:
        if piece is None:
            result.append(None)
            continue
        blocks = blocks_of(values[piece.root], piece.root)
        if piece.is_turned(setting):
            blocks = [transpose(block) for block in blocks]
        if not claim.whole and len(blocks) != 1:
            raise MisfitError(f"the left side names one block, and {len(blocks)} are given", piece.root)
        result += claim.keep(blocks)
    return result
