"""Why an answer is wrong: one record for each mistake that people make, the best explanation first.

The difference between an answer and the right blocks is first told as *edits*, the fewest that turn one into the other: a factor replaced,
put in, left out, transposed, moved; a product of the sum missing or too many; a number changed; blocks out of order. Each edit is then
named by the first record of the table that fits. A record carries an example, which is its test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.answer import Answer
from jacobian_chain.evaluate import bare, place_of
from jacobian_chain.layout import adjoint_word
from jacobian_chain.verdict import Span
from jacobian_chain.words import Letter, Number, Polynomial, Word

MAX_PAIRS = 2_000
"""Most pairs of wrong and missing products that are compared."""

MAX_ALIGNED = 40_000
"""Most pairs of factors in two products that are aligned one by one."""

MOST_PATHS = 3
"""How many missing or superfluous products are named one by one."""

_NUMBER = "a number stands where an array is needed, and would be added to every entry; for the identity write I"


class Edit(NamedTuple):
    """One change that makes an answer, or a part of it, right.

    Attributes:
        operation: one of those that the records of ``DIAGNOSES`` ask for.
        block: the number of the block.
        factor: the factor in question, as it should be or (where it does not belong) as it is.
        relation: of a factor and what it should be: ``point`` (the same at another point), ``index`` (another index), or nothing.
        span: where it stands.
        words: products that are concerned.
        numbers: what stands there and what should.
        detail: what to say, where the record has no words of its own.
        cost: how far-fetched it is.
    """

    operation: str
    block: int = -1
    factor: str = ""
    relation: str = ""
    span: Span | None = None
    words: tuple[Word, ...] = ()
    numbers: tuple[Number, Number] = (1, 1)
    detail: str = ""
    cost: float = 1.0


class Names(NamedTuple):
    """How to speak of letters.

    ``letter`` writes one, ``path`` the values that a product leads through; ``base`` is a letter without indices, ``variable`` the
    name of a block.
    """

    letter: Callable[[int], str]
    path: Callable[[Word], str]
    base: Callable[[Letter], tuple[str, str]]
    variable: Callable[[int], str]


class Example(NamedTuple):
    """A wrong answer in which a mistake is made."""

    composition: str
    answer: str
    wrt: str
    layout: str = "numerator"


class Diagnosis(NamedTuple):
    """One mistake: its slug, what makes the answer right, which edits are it, what to say, and an example."""

    kind: str
    remedy: str
    operation: str
    fits: Callable[[Edit], bool]
    say: Callable[[Edit, Names], str]
    example: Example


def _always(_edit: Edit) -> bool:
    return True


def _paths(edit: Edit, names: Names) -> str:
    shown = [names.path(word) for word in edit.words[:MOST_PATHS]]
    more = len(edit.words) - len(shown)
    return "; ".join(shown) + (f" and {more:,} more" if more > 0 else "")


_CHAIN = "L3(L2(L1(x,θ1),θ2),θ3)"
_SKIP = "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = l(x2)"

DIAGNOSES = (
    Diagnosis(
        "other-layout",
        "it is read in another layout, whole",
        "layout",
        _always,
        lambda edit, _: edit.detail,
        Example(_CHAIN, r"J_{\theta^1}L^1 J_{x^2}L^2 J_{x^3}L^3 | J_{\theta^2}L^2 J_{x^3}L^3 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "mixed-layout",
        "some factors or blocks are read in another layout",
        "mixture",
        _always,
        lambda edit, _: edit.detail,
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1 | J_{\theta^2}L^2 J_{x^3}L^3 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "block-order",
        "whole blocks are permuted",
        "order of blocks",
        _always,
        lambda edit, _: f"the blocks stand in another order than the variables: {edit.detail}",
        Example(_CHAIN, r"J_{x^3}L^3 J_{\theta^2}L^2 | J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "missing-block",
        "a block is added",
        "block left out",
        _always,
        lambda edit, names: f"the block for {names.variable(edit.block)} is missing",
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "extra-block",
        "a block is dropped",
        "block put in",
        _always,
        lambda _edit, _names: "this block belongs to no variable that was asked for",
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{x^3}L^3 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "missing-path",
        "a term of the chain rule's sum is added",
        "product left out",
        _always,
        lambda edit, names: f"a path is missing: {_paths(edit, names)}",
        Example(_SKIP, r"J_{x_2} l \cdot J_{x_1} f_2 \cdot J_{\theta_1} f_1", "θ1"),
    ),
    Diagnosis(
        "extra-path",
        "a term of the chain rule's sum is dropped",
        "product put in",
        _always,
        lambda edit, names: f"there is no such path, or it is counted already: {_paths(edit, names)}",
        Example("x1 = f1(x, θ1); x2 = f2(x1, θ2); L = l(x2)", r"J_{x_2} l (I + J_{x_1} f_2) J_{\theta_1} f_1", "θ1"),
    ),
    Diagnosis(
        "hadamard-vs-product",
        "an elementwise product becomes a matrix product",
        "elementwise",
        _always,
        lambda _edit, _names: "⊙ multiplies entry by entry; the chain rule multiplies matrices",
        Example("x: n; y: n; z: n; y = f(x); z = g(y)", r"\frac{\partial z}{\partial y} \odot \frac{\partial y}{\partial x}", "x"),
    ),
    Diagnosis(
        "transpose",
        "one transpose is added or removed",
        "transpose",
        _always,
        lambda edit, _: edit.detail or f"{edit.factor} is needed here, not its transpose",
        Example(_CHAIN, r"J_{x^3}L^3 (J_{x^2}L^2)^T J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "factor-order",
        "factors are permuted",
        "order",
        _always,
        lambda _edit, _names: "the factors stand in the wrong order: each takes what the one right of it gives",
        Example(_CHAIN, r"J_{x^2}L^2 J_{x^3}L^3 J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "evaluation-point",
        "a factor is evaluated elsewhere",
        "replace",
        lambda edit: edit.relation == "point",
        lambda edit, _: f"the point is wrong: {edit.factor} is needed",
        Example("u = h(x); y = g(u)", r"\frac{\partial g}{\partial u}(x) \frac{\partial h}{\partial x}(x)", "x"),
    ),
    Diagnosis(
        "wrong-index",
        "a name is replaced by its neighbour in index",
        "replace",
        lambda edit: edit.relation == "index",
        lambda edit, _: f"an index is wrong: {edit.factor} is needed",
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{\theta^2}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "repeated-factor",
        "one of two equal neighbours is dropped",
        "repeated",
        _always,
        lambda edit, _: f"{edit.factor} stands here twice",
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{x^2}L^2 J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "extra-factor",
        "one factor is dropped",
        "put in",
        _always,
        lambda edit, _: f"{edit.factor} does not belong here",
        Example(_CHAIN, r"J_{x^3}L^3 J_{x^2}L^2 J_{\theta^1}L^1 | J_{x^3}L^3 J_{x^2}L^2 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "missing-factor",
        "one factor is put in",
        "left out",
        _always,
        lambda edit, _: f"a factor is missing: {edit.factor}",
        Example(_CHAIN, r"J_{x^3}L^3 J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "sign",
        "a sign is flipped",
        "number",
        lambda edit: edit.numbers[0] == -edit.numbers[1],
        lambda _edit, _names: "the sign is wrong",
        Example(_SKIP, r"J_{x_2} l (I - J_{x_1} f_2) J_{\theta_1} f_1", "θ1"),
    ),
    Diagnosis(
        "constant-factor",
        "a number is put right",
        "number",
        _always,
        lambda edit, _: f"the number {edit.numbers[0]} should be {edit.numbers[1]}",
        Example(_SKIP, r"2 J_{x_2} l (I + J_{x_1} f_2) J_{\theta_1} f_1", "θ1"),
    ),
    Diagnosis(
        "wrong-factor",
        "one factor is replaced by another of the problem",
        "replace",
        _always,
        lambda edit, _: f"this is not the right factor: {edit.factor} is needed",
        Example(_CHAIN, r"J_{x^3}L^3 J_{\theta^2}L^2 J_{\theta^1}L^1 | J_{x^3}L^3 J_{\theta^2}L^2 | J_{\theta^3}L^3", "θ"),
    ),
    Diagnosis(
        "partial-for-total",
        "a ∂ is read as d where a skip makes them differ",
        "total",
        _always,
        lambda edit, _: edit.detail,
        Example(
            "u = g(x); s = r(x); v = h(u, s, x); w = q(v); y = p(v, w)",
            r"\frac{\partial y}{\partial v}\frac{\partial v}{\partial x} + \frac{\partial y}{\partial w}\frac{\partial w}{\partial v}"
            r"\left(\frac{\partial v}{\partial x} + \frac{\partial v}{\partial u}\frac{\partial u}{\partial x}"
            r" + \frac{\partial v}{\partial s}\frac{\partial s}{\partial x}\right)",
            "x",
        ),
    ),
    Diagnosis(
        "does-not-follow",
        "the step before is right, or this one is",
        "step",
        _always,
        lambda edit, _: edit.detail,
        Example(_CHAIN, r"J_{\theta^3} f = J_{x^3} L^3 = J_{\theta^3} L^3", "θ3"),
    ),
    Diagnosis(
        "shape",
        "the shapes fit",
        "misfit",
        _always,
        lambda edit, _: edit.detail,
        Example("y = f(x); z = g(y); u = h(z); v = k(u)", r"\frac{\partial y}{\partial x}\frac{\partial y}{\partial x}", "x"),
    ),
    Diagnosis(
        "other",
        "nothing above",
        "unknown",
        _always,
        lambda edit, _: edit.detail or "this is not the derivative, and no single mistake explains it",
        Example("y = f(x); z = g(y)", "1 + 2", "x"),
    ),
)
"""The mistakes in the order in which they are preferred."""

ORDER = {diagnosis.kind: position for position, diagnosis in enumerate(DIAGNOSES)}


def name_edit(edit: Edit) -> Diagnosis:
    """The first record that an edit fits."""
    return next(diagnosis for diagnosis in DIAGNOSES if diagnosis.operation == edit.operation and diagnosis.fits(edit))


# --- one block ---


class Block(NamedTuple):
    """A block of an answer that is not right.

    ``given`` are its words, each letter with the part that it stands in; ``wanted`` the right words; ``span`` where it stands; ``single``
    says that it has a single entry.
    """

    answer: Answer
    number: int
    given: Polynomial
    wanted: Polynomial
    span: Span | None
    single: bool


def explain_block(block: Block, names: Names) -> list[Edit]:
    """The fewest edits that make a block right."""
    return _BlockReader(block, names).explain()


class _Term(NamedTuple):
    """One product of an answer: its letters, the parts in which they stand, its number."""

    letters: Word
    places: tuple[int, ...]
    number: Number


class _BlockReader:
    def __init__(self, block: Block, names: Names) -> None:
        self.block = block
        self.names = names
        self.alphabet = block.answer.problem.alphabet
        self.given: dict[Word, list[_Term]] = {}
        for word, number in block.given.items():
            letters = [code for code in word if bare(code) > 1] or ([] if block.single else list(word[:1]))
            term = self.front(_Term(tuple([bare(code) for code in letters]), tuple([place_of(code) for code in letters]), number))
            self.given.setdefault(self.key(term.letters), []).append(term)
        self.wanted: dict[Word, tuple[Word, Number]] = {}
        for word, number in block.wanted.items():
            key = self.key(word)
            before = self.wanted.get(key)
            self.wanted[key] = (self.front(_Term(word, (-1,) * len(word), 1)).letters, number if before is None else before[1] + number)

    def key(self, word: Word) -> Word:
        """The normal form of one word."""
        return next(iter(self.alphabet.normalise({word: 1})))

    def front(self, term: _Term) -> _Term:
        """Single numbers first, in a fixed order: where they stand says nothing."""
        order = sorted(
            range(len(term.letters)),
            key=lambda k: (0, term.letters[k] & ~1) if self.alphabet.shape(term.letters[k]) == ("1", "1") else (1, 0),
        )
        letters = tuple([term.letters[k] & ~1 if self.alphabet.shape(term.letters[k]) == ("1", "1") else term.letters[k] for k in order])
        return _Term(letters, tuple([term.places[k] for k in order]), term.number)

    def explain(self) -> list[Edit]:
        sums = {key: sum(term.number for term in terms) for key, terms in self.given.items()}
        missing = [key for key in self.wanted if key not in self.given]
        extra = [terms[0]._replace(number=sums[key]) for key, terms in self.given.items() if key not in self.wanted and sums[key]]
        extra += self.repeated(sums)
        edits = self.numbers(sums)
        if not missing and not extra:
            return edits
        if len(missing) * len(extra) > MAX_PAIRS:
            return [*edits, self.edit("unknown", detail=f"{len(extra)} products are wrong and {len(missing)} are missing", cost=9.0)]
        return [*edits, *self.pair(extra, missing)]

    def repeated(self, sums: dict[Word, Number]) -> list[_Term]:
        """Products that stand there beside their right twin; taken out of the sums."""
        found = []
        for key, (_, number) in self.wanted.items():
            terms = self.given.get(key, ())
            if len(terms) > 1 and sums[key] != number:
                twin = next((term for term in reversed(terms) if sums[key] - term.number == number), None)
                if twin is not None:
                    found.append(twin)
                    sums[key] = number
        return found

    def edit(self, operation: str, places: Iterable[int] = (), **fields: object) -> Edit:
        """An edit at some parts, or at the whole block."""
        return Edit(operation, self.block.number, span=self.span(places) or self.block.span)._replace(**fields)  # type: ignore[arg-type]

    def span(self, places: Iterable[int]) -> Span | None:
        """From the first to the last of some parts."""
        parts = self.block.answer.parts
        spans = [(parts[place].start, parts[place].end) for place in places if place >= 0 and parts[place].start >= 0]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None

    # --- numbers ---

    def numbers(self, sums: dict[Word, Number]) -> list[Edit]:
        """Products that are there with another number than they should have."""
        wrong: dict[tuple[Number, Number], list[Word]] = {}
        edits = []
        right: list[Word] = []
        for key, (_, number) in self.wanted.items():
            if key not in sums:
                continue
            if sums[key] == number:
                right.append(key)
                continue
            ratio = Fraction(sums[key]) / Fraction(number)
            numbers = (sums[key], number) if abs(ratio) != 1 else (-1, 1)
            wrong.setdefault(numbers, []).append(key)
        for numbers, keys in wrong.items():
            places = self.common(keys, right)
            edits.append(self.edit("number", places, numbers=numbers))
        return edits

    def common(self, keys: Sequence[Word], others: Sequence[Word]) -> tuple[int, ...]:
        """The parts that all products of some keys have and those of others have not; else all parts of a lone product."""
        shared: set[int] | None = None
        for key in keys:
            for term in self.given[key]:
                shared = set(term.places) if shared is None else shared & set(term.places)
        apart = (shared or set()).difference(*(term.places for key in others for term in self.given[key]))
        if not apart and len(keys) == 1:
            return self.given[keys[0]][0].places
        return tuple(apart)

    # --- products ---

    def pair(self, extra: Sequence[_Term], missing: Sequence[Word]) -> list[Edit]:
        """Match wrong products with those that they should have been, and tell the difference; the rest is missing or too many."""
        candidates: dict[tuple[int, Word], list[Edit]] = {}
        votes: Counter[tuple[object, ...]] = Counter()
        for one, term in enumerate(extra):
            for other in missing:
                wanted, number = self.wanted[other]
                edits = self.align(term, wanted)
                if len(edits) <= max(1, (len(wanted) + 1) / 2) and sum(edit.cost for edit in edits) < 2.6:
                    if term.number != number:
                        edits = [*edits, self.number_edit(term, number)]
                    candidates[one, other] = edits
                    votes.update({_signature(edit) for edit in edits})

        def weigh(pair: tuple[int, Word]) -> tuple[float, float, float]:
            edits = candidates[pair]
            cost = sum(edit.cost for edit in edits)
            return (round(cost), -min((votes[_signature(edit)] for edit in edits), default=0), cost)

        chosen: list[Edit] = []
        taken: set[Word] = set()
        left: set[int] = set()
        for one, other in sorted(candidates, key=weigh):
            if one not in left and other not in taken:
                left.add(one)
                taken.add(other)
                chosen += candidates[one, other]
        if any(edit.operation == "order" for edit in chosen):
            chosen = [edit for edit in chosen if edit.operation != "mixture"]  # two factors swapped look like another layout
        result: dict[tuple[object, ...], Edit] = {}
        for edit in chosen:
            result.setdefault((*_signature(edit), edit.span), edit)
        edits = list(result.values())
        lost = [self.wanted[key][0] for key in missing if key not in taken]
        over = [term for one, term in enumerate(extra) if one not in left]
        if lost and over and not taken:
            return [self.misfit(over) or self.edit("unknown", cost=4.0)]
        edits += self.unmatched("product left out", lost, [()] * len(lost))
        edits += self.unmatched("product put in", [term.letters for term in over], [term.places for term in over])
        return edits

    def unmatched(self, operation: str, words: Sequence[Word], places: Sequence[tuple[int, ...]]) -> list[Edit]:
        """Products without a partner, one by one if they are few."""
        if len(words) > MOST_PATHS:
            return [self.edit(operation, [place for some in places for place in some], words=tuple(words))]
        return [self.edit(operation, where, words=(word,)) for word, where in zip(words, places, strict=True)]

    def number_edit(self, term: _Term, wanted: Number) -> Edit:
        """The change of number between a product and what it should be."""
        numbers = (term.number, wanted) if abs(Fraction(term.number) / Fraction(wanted)) != 1 else (-1, 1)
        return self.edit("number", term.places, numbers=numbers)

    def misfit(self, terms: Sequence[_Term]) -> Edit | None:
        """The first product in which the shapes do not fit."""
        for term in terms:
            position = self.alphabet.misfit(term.letters)
            if position is not None:
                before, here = term.letters[position - 1], term.letters[position]
                sizes = [" x ".join(self.alphabet.shape(code)) for code in (before, here)]
                detail = f"the shapes do not fit: {sizes[0]} times {sizes[1]}"
                return self.edit("misfit", term.places[position - 1 : position + 1], detail=detail, cost=4.0)
        return None

    def align(self, term: _Term, wanted: Word) -> list[Edit]:
        """The fewest edits that turn one product into another."""
        given, places = term.letters, term.places
        if Counter(code >> 1 for code in given) == Counter(code >> 1 for code in wanted):
            return self.rearrange(given, places, wanted)
        head = 0
        while head < min(len(given), len(wanted)) and given[head] == wanted[head]:
            head += 1
        tail = 0
        while tail < min(len(given), len(wanted)) - head and given[-1 - tail] == wanted[-1 - tail]:
            tail += 1
        middle, target = given[head : len(given) - tail], wanted[head : len(wanted) - tail]
        if len(middle) * len(target) > MAX_ALIGNED:
            return [self.edit("unknown", places, cost=9.0)]
        edits: list[Edit] = []
        for position, new in _alignment(middle, target, self.likeness):
            at = head + position
            if new is None:
                edits.append(self.deletion(given, places, at))
            elif new < 0:
                edits.append(self.insertion(places, at, wanted, head - 1 - new))
            elif given[at] ^ 1 == new:
                edits.append(self.turn(places[at], new))
            else:
                if new < 2 and self.alphabet.letters[given[at] >> 1].kind == "ones":
                    edits.append(self.edit("misfit", [places[at]], detail=_NUMBER))
                    continue
                relation, cost = self.relation(given[at], new), self.likeness(given[at], new)
                edits.append(self.edit("replace", [places[at]], factor=self.names.letter(new), relation=relation, cost=cost))
        return self.gather_moves(edits, places)

    def likeness(self, found: int, wanted: int) -> float:
        """How far apart two letters are: less where a slip of the pen makes one of the other."""
        return 1.0 if found ^ 1 == wanted or self.relation(found, wanted) else 1.1

    def relation(self, found: int, wanted: int) -> str:
        """Whether two letters differ in the point or in indices only."""
        one, other = self.alphabet.letters[found >> 1], self.alphabet.letters[wanted >> 1]
        if one.kind == other.kind == "partial" and one[1:3] == other[1:3]:
            return "point"
        return "index" if self.names.base(one) == self.names.base(other) else ""

    def deletion(self, given: Word, places: tuple[int, ...], at: int) -> Edit:
        twin = (at and given[at - 1] == given[at]) or given[at + 1 : at + 2] == (given[at],)
        letter = self.alphabet.letters[given[at] >> 1]
        if letter.kind == "unit":
            return self.edit("misfit", [places[at]], detail="the identity I stands where it does not belong")
        if letter.kind == "ones":
            return self.edit("misfit", [places[at]], detail=_NUMBER)
        factor = self.names.letter(given[at])
        return self.edit("repeated" if twin else "put in", [places[at]], factor=factor, words=((given[at],),), cost=1.0 if twin else 1.05)

    def insertion(self, places: tuple[int, ...], at: int, wanted: Word, index: int) -> Edit:
        """A factor that is missing: the place is the gap between its neighbours."""
        if wanted[index] < 2:
            return self.edit("misfit", detail=_NUMBER)
        parts = self.block.answer.parts
        before = parts[places[at - 1]].end if at else -1
        behind = parts[places[at]].start if at < len(places) else -1
        if 0 <= before < behind:
            span: Span | None = (before, behind)
        else:
            span = self.span(places[max(0, at - 1) : at + 1])
        edit = self.edit("left out", factor=self.names.letter(wanted[index]), words=((wanted[index],),), cost=1.05)
        return edit if span is None else edit._replace(span=span)

    def turn(self, place: int, wanted: int) -> Edit:
        return self.edit("transpose", [place], factor=self.names.letter(wanted))

    def is_literal(self, place: int) -> bool:
        """Whether what stands there means the same in every layout, so that a transpose on it is no matter of layout."""
        part = self.block.answer.parts[place] if place >= 0 else None
        if part is None or part.kind != "derivative":
            return True
        assert isinstance(part.value, int)
        return self.block.answer.atoms[part.value].sign not in ("∂", "d")

    def gather_moves(self, edits: list[Edit], places: tuple[int, ...]) -> list[Edit]:
        """A factor that is left out here and put in there was moved."""
        for gone in edits:
            for come in edits:
                if gone.operation in ("put in", "repeated") and come.operation == "left out" and gone.words == come.words:
                    rest = [edit for edit in edits if edit is not gone and edit is not come]
                    return [self.edit("order", places, cost=1.2), *rest]
        return edits

    def rearrange(self, given: Word, places: tuple[int, ...], wanted: Word) -> list[Edit]:
        """The edits between products of the same letters: order and transposes."""
        order, target = [code >> 1 for code in given], [code >> 1 for code in wanted]
        turned = [k for k in range(len(given)) if given[k] != wanted[k]]
        if order == target:
            if len(turned) > 1 and not any(self.is_literal(places[k]) for k in turned):
                return [self.mixture([places[k] for k in turned])]
            return [self.turn(places[k], wanted[k]) for k in turned]
        if order == target[::-1]:
            reverse = adjoint_word(wanted)
            odd = [k for k in range(len(given)) if given[k] != reverse[k]]
            if not odd:
                return [self.edit("transpose", places, detail="this is the transpose of what it should be", cost=1.2)]
            if len(odd) == len(given) and (len(given) == 2 or any(self.is_literal(place) for place in places)):
                return [self.edit("order", places, cost=1.1)]
            if len(odd) == len(given) or not any(self.is_literal(place) for place in places):
                return [self.mixture(places if len(odd) == len(given) else [places[k] for k in odd])]
            detail = "in this order every factor must be transposed, and the whole is then the transpose of what was asked for"
            return [self.edit("transpose", [places[k] for k in odd], detail=detail, cost=1.15)]
        low = next(k for k in range(len(given)) if order[k] != target[k])
        high = next(k for k in range(len(given), 0, -1) if order[k - 1] != target[k - 1])
        edits = [self.edit("order", places[low:high], cost=1.1)]
        wanted_count = Counter(wanted)
        for code, place in zip(given, places, strict=True):
            if wanted_count[code] > 0:
                wanted_count[code] -= 1
            else:
                edits.append(self.turn(place, code ^ 1))
        return edits

    def mixture(self, places: Sequence[int]) -> Edit:
        """Factors that are written in another layout than the rest."""
        parts, text = self.block.answer.parts, self.block.answer.program.tokens.source.text
        shown = [text[parts[place].start : parts[place].end] for place in places if place >= 0 and parts[place].start >= 0]
        some = ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
        return self.edit("mixture", places, detail=f"the layouts are mixed: {some} in another one than the rest", cost=1.0)


def _signature(edit: Edit) -> tuple[object, ...]:
    """What edits of different products that are one mistake have in common."""
    if edit.operation == "left out":
        return (edit.operation, edit.factor)
    return (edit.operation, edit.factor, edit.span, edit.numbers)


def _alignment(given: Word, wanted: Word, likeness: Callable[[int, int], float]) -> list[tuple[int, int | None]]:
    """The cheapest way from one word to another (Wagner & Fischer, 1974), as changes at positions of ``given``.

    A change is a letter to be replaced by, None for a letter to be left out, and ``-1 - k`` for the letter ``wanted[k]`` put in before.
    """
    rows, columns = len(given), len(wanted)
    gap = 1.05
    table = [[gap * k for k in range(columns + 1)]]
    for i in range(1, rows + 1):
        line = [gap * i]
        for j in range(1, columns + 1):
            same = 0.0 if given[i - 1] == wanted[j - 1] else likeness(given[i - 1], wanted[j - 1])
            line.append(min(table[i - 1][j - 1] + same, table[i - 1][j] + gap, line[j - 1] + gap))
        table.append(line)
    changes: list[tuple[int, int | None]] = []
    i, j = rows, columns
    while i or j:
        here = table[i][j]
        if i and j:
            same = 0.0 if given[i - 1] == wanted[j - 1] else likeness(given[i - 1], wanted[j - 1])
            if abs(here - table[i - 1][j - 1] - same) < 1e-9:
                i, j = i - 1, j - 1
                if same:
                    changes.append((i, wanted[j]))
                continue
        if i and abs(here - table[i - 1][j] - gap) < 1e-9:
            i -= 1
            changes.append((i, None))
        else:
            j -= 1
            changes.append((i, -1 - j))
    changes.reverse()
    return changes
