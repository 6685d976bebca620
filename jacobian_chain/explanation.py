"""Why an answer through concrete layers is wrong: one record for each mistake that was made, the best explanation first.

An explanation is found from both ends: edits are tried until the answer is right, detours until the derivation gives what the answer
gives. Both are judged at random points of a finite field, in two sets of sizes, and up to a factor: a wrong sign or number besides costs
no further search. Where one change is not enough, an edit and a detour that meet, two edits in different terms, and at last pairs of
edits are tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.appraisal import UNKNOWN, MisfitError, describe
from jacobian_chain.dense import Dense, Numbers
from jacobian_chain.errors import LimitError
from jacobian_chain.mistakes import MISTAKES, Detour, Edit, Way, regroup
from jacobian_chain.tape import SCALAR
from jacobian_chain.trials import MOST_VALUES, Ratios, Trial, View, difference, proportion

BUDGET = 2_000
"""Most formulas that are tried for one answer."""

MOST_PAIRS = 600
"""Most pairs of edits that are tried."""

MOST_LIGHT = 120
"""Most edits that are paired."""

MOST_SUMS = 8
"""Most arrays whose sums may be missing as factors."""

LARGEST_WHOLE = 1000
"""Largest number that may be missing or too much by itself."""

LARGEST_RATIO = 24
"""Largest numerator and denominator of a number that may be missing."""


class Slip(NamedTuple):
    """One mistake: its kind, where it stands, what to say, and the root of the answer without any mistake, where one was found."""

    kind: str
    span: tuple[int, int] | None
    where: str
    message: str
    root: int | None


_RANK = {mistake.kind: rank for rank, mistake in enumerate(MISTAKES)}

_LIGHT = frozenset(
    "missing-sum activation-for-derivative missing-activation-derivative hadamard-vs-product transpose factor-order "
    "evaluation-point wrong-index extra-factor sign".split()
)
"""What is tried in pairs."""


# --- numbers that are missing ---


class Factor(NamedTuple):
    """What a formula has to be multiplied by, as a formula, and the mistakes that this is."""

    node: int
    kinds: tuple[str, ...]
    say: str


@lru_cache(maxsize=4)
def _ratios(numbers: Numbers) -> dict[Any, Fraction]:
    """The fractions with small numerators and denominators, by what they are among some numbers."""
    counts = range(1, LARGEST_RATIO + 1)
    fractions = {Fraction(sign * a, b) for a in counts for b in counts for sign in (-1, 1)}
    fractions |= {Fraction(sign * n) ** power for n in range(1, LARGEST_WHOLE + 1) for sign in (-1, 1) for power in (-1, 1)}
    return {numbers.from_fraction(fraction): fraction for fraction in sorted(fractions)}


class _Factors:
    """Numbers by which an answer may be wrong: fractions, sizes and their roots, scalars of the problem."""

    EXPONENTS = (Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-1, 2), Fraction(2), Fraction(-2))

    def __init__(self, view: View) -> None:
        self.view = view
        self._known: dict[Ratios, Factor | None] = {}
        self._powers: list[tuple[int, str, Ratios]] | None = None

    def find(self, ratios: Ratios) -> Factor | None:
        """The factor that has these values in the worlds, None where it is none of the kind."""
        if ratios not in self._known:
            self._known[ratios] = self._find(ratios)
        return self._known[ratios]

    def _find(self, ratios: Ratios) -> Factor | None:
        fraction = self._fraction(ratios)
        if fraction is not None:
            return self._constant(self._number(fraction), fraction)
        for node, kind, values in self.powers():
            rest = self._fraction(tuple([ratio / value for ratio, value in zip(ratios, values, strict=True)]))
            if rest is None:
                continue
            if rest == 1:
                return Factor(node, (kind,), f"the factor {self.view.text(node)} is missing")
            whole = self.view.product(self._number(rest), node)
            kinds = (kind,) if kind == "constant-factor" else (kind, "sign" if rest == -1 else "constant-factor")
            return Factor(whole, kinds, f"the factor {self.view.text(whole)} is missing")
        return None

    def _fraction(self, ratios: Ratios) -> Fraction | None:
        found = {_ratios(world.numbers).get(ratio) for ratio, world in zip(ratios, self.view.trial.worlds, strict=True)}
        return found.pop() if len(found) == 1 else None

    def _number(self, fraction: Fraction) -> int:
        return self.view.add("number", (), fraction)

    def _constant(self, node: int, fraction: Fraction) -> Factor:
        if fraction == 1:  # the field knows roots up to their sign, real points tell them apart
            return Factor(node, ("sign",), "a root loses the sign: this is right only where what it is taken of has one sign")
        if fraction == -1:
            return Factor(node, ("sign",), "the sign is wrong")
        kinds = ("sign", "constant-factor") if fraction < 0 else ("constant-factor",)
        return Factor(node, kinds, f"the number before it is wrong: the factor {fraction} is missing")

    def powers(self) -> list[tuple[int, str, Ratios]]:
        """Powers of sizes and of scalars, with their values."""
        if self._powers is None:
            view, tape = self.view, self.view.trial.solution.tape
            sizes = {size for shape in tape.shapes for size in shape if not size.isdecimal()}
            nodes = [view.add("size", (), size) for size in sorted(sizes)]
            nodes += [view.product(*pair) for pair in itertools.combinations(nodes[:4], 2)]
            bases = [(node, "constant-factor") for node in nodes]
            bases += [(node, "missing-factor") for node in view.material() if view.shape(node) == (1, 1)]
            inside = [value for value in view.trial.inside if not tape.names[value] and value != view.trial.by]
            further = [view.value(value) for value in inside if tape.shapes[value] == SCALAR][:MOST_VALUES]
            further += view.slopes() + [place for place in view.places if place not in view.linear or place != view.trial.root]
            arrays = [place for place in view.places if view.is_array(place)][:MOST_SUMS]
            further += [view.add("call", (place,), (name, "")) for name in ("sum", "sqnorm") for place in arrays]
            bases += [(node, "missing-factor") for node in further if view.shape(node) == (1, 1)]
            self._powers = []
            seen = set()
            for base, kind in bases:
                if view.keys[base] in seen or view.nodes[view.core(base)].kind == "number":
                    continue
                seen.add(view.keys[base])
                for exponent in self.EXPONENTS[: 6 if kind == "constant-factor" else 2]:
                    self._add(base, kind, exponent)
        return self._powers

    def _add(self, base: int, kind: str, exponent: Fraction) -> None:
        assert self._powers is not None
        view = self.view
        one = self._number(Fraction(1))
        node = base if abs(exponent) == 1 else view.add("power", (base,), (abs(exponent), False))
        if exponent < 0:
            node = view.add("fraction", (one, node))
        values = []
        for world in range(len(view.trial.worlds)):
            value = view.trial.inner(node, world)
            if value is None or not value[0][0]:
                return
            values.append(value[0][0])
        self._powers.append((node, kind, tuple(values)))


# --- the search ---


class _Found(NamedTuple):
    """An explanation: edits and a detour that meet, and a factor; the root where everything is mended."""

    edits: tuple[Edit, ...]
    detour: Detour | None = None
    factor: Factor | None = None
    root: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        kinds = [kind for edit in self.edits for kind in (edit.kind, edit.besides) if kind]
        if self.detour is not None:
            kinds.append(self.detour.kind)
        if self.factor is not None:
            kinds.extend(self.factor.kinds)
        return tuple(sorted(kinds, key=_RANK.__getitem__))

    @property
    def order(self) -> tuple[int, tuple[int, ...]]:
        """Fewer changes first, then by the table."""
        count = sum(edit.cost for edit in self.edits) + (self.detour is not None) + (0 if self.factor is None else len(self.factor.kinds))
        return count, tuple([_RANK[kind] for kind in self.kinds])


class _Search:
    def __init__(self, trial: Trial, budget: int) -> None:
        self.trial = trial
        self.left = budget
        self.view = View(trial)
        self.way = Way(trial)
        self.factors = _Factors(self.view)
        self.answer = [trial.value(trial.root, world) for world in range(len(trial.worlds))]
        self.near: list[_Found] = []
        self.edited: list[tuple[Edit, int, Dense]] = []
        self.light: list[tuple[Edit, bool]] = []  # with whether the shapes fit afterwards
        self.detours: list[tuple[Detour, Dense]] = []
        self._seen: set[int] = set()

    def run(self) -> _Found | None:
        """The best explanation, None if there is none within the budget."""
        found = self._one_change() or min(self._two_changes(), key=lambda found: found.order, default=None)
        return found or self._pairs()

    def _one_change(self) -> _Found | None:
        scalings = list(self._scalings())
        whole = next((scaling for scaling in scalings if scaling.edits[0].changes[0][0] == self.trial.root), None)
        if whole is not None and whole.kinds == ("constant-factor",):
            return whole  # half of a sum of two equal paths is a number that is wrong
        for mistake in MISTAKES:
            for edit in mistake.edits(self.view) if mistake.edits is not None else ():
                if self.left <= 0:
                    break
                found = self._try(edit)
                if found is not None:
                    return found
            for scaling in scalings:
                if scaling.kinds == (mistake.kind,):
                    return scaling
            for detour in mistake.detours(self.way) if mistake.detours is not None else ():
                found = self._follow(detour)
                if found is not None:
                    return found
        self.near.extend(scalings)
        return None

    def _mended(self, edit: Edit, *further: Edit) -> int:
        """The formula after edits, of which the further ones may change what the first has put there."""
        root = self.view.replace(edit.changes)
        for old, new in itertools.chain.from_iterable([other.changes for other in further]):
            root = self.trial.formulas.replace(root, old, new)
        return root

    def _try(self, edit: Edit) -> _Found | None:
        """The explanation by one edit if that is all; what else it comes to is kept."""
        if self.left <= 0:
            return None
        root = self._mended(edit)
        key = self.trial.formulas.keys[root]
        if key in self._seen:
            return None
        self._seen.add(key)
        self.left -= 1
        value = self.trial.value(root)
        expected = self.trial.expected()
        fits = value is not None and dense.size(value) == dense.size(expected)
        if edit.kind in _LIGHT and edit.cost == 1:
            self.light.append((edit, fits))
        if value is None or not fits:
            return None
        self.edited.append((edit, root, value))
        if proportion(expected, value) is None:
            return None
        found = self._judge((edit,), root)
        if found is not None and found.factor is None and edit.cost == 1:
            return found
        if found is not None:
            self.near.append(found)
        return None

    def _judge(self, edits: tuple[Edit, ...], root: int) -> _Found | None:
        """The explanation by edits that lead to this formula, right but for a factor."""
        ratios = self.trial.ratios(root)
        if ratios is None:
            return None
        if all(ratio == 1 for ratio in ratios):
            return _Found(edits, None, None, root)
        factor = self.factors.find(ratios)
        if factor is None:
            return None
        return _Found(edits, None, factor, self._times(factor, root))

    def _times(self, factor: Factor, node: int) -> int:
        at = self.trial.formulas.nodes[factor.node]
        if at.kind == "number" and at.value == -1:
            return self.trial.formulas.add("negate", (node,))
        return self.view.product(factor.node, node)

    def _scalings(self) -> Iterator[_Found]:
        """A term of a sum, or the whole, with another factor: the value is affine in it."""
        view, trial = self.view, self.trial
        if any(value is None for value in self.answer):
            return
        terms = [arg for place in view.places if place in view.linear and view.nodes[place].kind == "sum" for arg in view.nodes[place].args]
        for place in dict.fromkeys([trial.root, *terms]):
            ratios: list[Any] = []
            none = trial.formulas.replace(trial.root, place, view.product(view.add("number", (), Fraction(0)), place))
            for world, answer in enumerate(self.answer):
                rest = trial.value(none, world) if place != trial.root else None
                expected = trial.expected(world)
                assert answer is not None
                if dense.size(answer) != dense.size(expected) or (rest is None and place != trial.root):
                    break
                if rest is not None:
                    expected, answer = difference(expected, rest), difference(answer, rest)
                ratio = proportion(expected, answer)
                if ratio is None:
                    break
                ratios.append(ratio)
            if len(ratios) < len(trial.worlds):
                continue
            factor = self.factors.find(tuple(ratios))
            if factor is None:
                continue
            new = self._times(factor, place)
            at = () if place == trial.root else (place,)
            say = f"in {{}}: {factor.say}" if at else factor.say
            edit = Edit(factor.kinds[0], ((place, new),), say, at, len(factor.kinds), *factor.kinds[1:])
            yield _Found((edit,), None, None, self._mended(edit))

    def _follow(self, detour: Detour) -> _Found | None:
        """The explanation by a detour if that is all."""
        value = self.way.block(detour, 0)
        if value is None:
            return None
        self.detours.append((detour, value))
        if self.answer[0] is None or proportion(self.answer[0], value) is None:
            return None
        found = self._meet((), detour, self.trial.root)
        if found is None or found.factor is None:
            return found
        self.near.append(found)
        return None

    def _meet(self, edits: tuple[Edit, ...], detour: Detour, root: int) -> _Found | None:
        """The explanation by edits after which the answer is what the detour gives."""
        ratios = []
        for world in range(len(self.trial.worlds)):
            value, other = self.way.block(detour, world), self.trial.value(root, world)
            ratio = None if value is None or other is None else proportion(value, other)
            if ratio is None:
                return None
            ratios.append(ratio)
        if all(ratio == 1 for ratio in ratios):
            return _Found(edits, detour)
        factor = self.factors.find(tuple(ratios))
        if factor is None or (edits and "missing-factor" in factor.kinds):
            return None  # three changes, of which one may be anything, explain nothing
        return _Found(edits, detour, factor)

    def _two_changes(self) -> Iterator[_Found]:
        yield from self.near
        met: dict[tuple[Any, ...], tuple[Edit, int]] = {}
        for edit, root, value in self.edited:
            line = _line(value)
            if line is not None and edit.changes[0][0] != self.trial.root:
                met.setdefault(line, (edit, root))
        for detour, value in self.detours:
            line = _line(value)
            if line in met:
                edit, root = met[line]
                found = self._meet((edit,), detour, root)
                if found is not None:
                    yield found
        yield from self._apart()
        for edit in regroup(self.view, 3 if max((len(product.factors) for product in self.view.products), default=0) < 5 else 2):
            if edit.cost > 1:
                self._seen.discard(self.trial.formulas.keys[self._mended(edit)])
                self._try(edit)
        yield from self.near

    def _apart(self) -> Iterator[_Found]:
        """Two edits in different terms, whose differences add."""
        answer, expected = self.answer[0], self.trial.expected()
        if answer is None or dense.size(answer) != dense.size(expected):
            return
        known: dict[tuple[Any, ...], Edit] = {}
        for edit, _, value in self.edited:
            known.setdefault(tuple(dense.entries(value)), edit)
        for edit, _, value in self.edited:
            other = known.get(tuple(dense.entries(difference(expected, difference(value, answer)))))
            if other is not None and other is not edit:
                found = self._judge((other, edit), self._mended(edit, other))
                if found is not None:
                    yield found

    def _pairs(self) -> _Found | None:
        formulas = self.trial.formulas
        self.light = sorted(self.light, key=lambda light: not light[1])[:MOST_LIGHT]
        edits = [edit for edit, _ in self.light]
        parts = [set(formulas.below(edit.changes[0][0])) for edit in edits]
        kept = [set(formulas.below(edit.changes[0][1])) for edit in edits]
        wanted = 1 if self.answer[0] is None else 2  # how many of two edits leave shapes that fit

        def order(pair: tuple[int, int]) -> tuple[int, int]:
            return abs(sum(self.light[k][1] for k in pair) - wanted), sum(_RANK[edits[k].kind] for k in pair)

        pairs = sorted(itertools.combinations(range(len(edits)), 2), key=order)
        self.left = min(self.left, MOST_PAIRS)
        for outer, inner in pairs:
            if self.left <= 0:
                break
            if edits[outer].changes[0][0] in parts[inner]:
                outer, inner = inner, outer
            place = edits[inner].changes[0][0]
            if place in parts[outer] and place not in kept[outer]:
                continue
            one, other = edits[outer], edits[inner]
            self.left -= 1
            root = self._mended(one, other)
            value = self.trial.value(root)
            if value is not None and proportion(self.trial.expected(), value) is not None:
                found = self._judge((one, other), root)
                if found is not None:
                    return found
        return None

    def slips(self, found: _Found) -> list[Slip]:
        """An explanation, mistake by mistake."""
        slips = []
        for edit in found.edits:
            kinds = [kind for kind in (edit.kind, edit.besides) if kind]
            slips += [self._slip(kind, edit.changes[0][0], edit.say, edit.about, found.root) for kind in kinds]
        if found.detour is not None:
            slips.append(self._slip(found.detour.kind, self.trial.root, found.detour.say, found.detour.about, found.root))
        for kind in found.factor.kinds if found.factor is not None else ():
            assert found.factor is not None
            slips.append(self._slip(kind, self.trial.root, found.factor.say, (), found.root))
        return sorted(slips, key=lambda slip: _RANK[slip.kind])

    def _slip(self, kind: str, place: int, say: str, about: Sequence[int] = (), root: int | None = None) -> Slip:
        node = self.trial.formulas.nodes[place]
        span = (node.start, node.end) if 0 <= node.start < node.end else None
        return Slip(kind, span, self.trial.text(place) if span is not None else "", _fill(say, map(self.trial.text, about)), root)

    def remainder(self) -> Slip:
        """What can be said where nothing specific was found."""
        trial = self.trial
        try:
            value = trial.appraiser().value(trial.root, dense.size(trial.expected()))
        except MisfitError as misfit:
            message = describe(misfit, trial.solution, trial.worlds[0])
            return self._slip(self._kind(misfit), misfit.node, message)
        except (ArithmeticError, LimitError):
            return self._slip("other", trial.root, "this is not the derivative")
        found, wanted = dense.size(value), dense.size(trial.expected())
        if found != wanted:
            words = trial.worlds[0].words
            sizes = [f"{words(rows)} x {words(columns)}" for rows, columns in (found, wanted)]
            return self._slip("shape", trial.root, f"this is {sizes[0]}, the derivative is {sizes[1]}")
        return self._slip("other", trial.root, "this is not the derivative")

    def _kind(self, misfit: MisfitError) -> str:
        kind = self.trial.formulas.nodes[misfit.node].kind
        if UNKNOWN in (misfit.left, misfit.right):
            return "shape"
        if kind == "sum" and misfit.left == misfit.right[::-1]:
            return "mixed-layout"
        if kind in ("product", "elementwise") and misfit.left == misfit.right:
            return "hadamard-vs-product"
        return "shape"


def _fill(say: str, texts: Iterable[str]) -> str:
    """A sentence with texts, which may have braces of their own, in its gaps."""
    pieces = []
    for text in texts:
        before, _, say = say.partition("{}")
        pieces += [before, text]
    return "".join(pieces) + say


def _line(value: Dense) -> tuple[Any, ...] | None:
    """What multiples of an array have in common; None for zero."""
    entries = dense.entries(value)
    top = next((entry for entry in entries if entry), None)
    return None if top is None else tuple([entry / top for entry in entries])


def explain(trial: Trial, budget: int = BUDGET) -> list[Slip]:
    """Why an answer is wrong, the best explanation first; several mistakes are several slips. Never empty.

    Args:
        trial: a block of the answer, and the derivative that it should be.
        budget: most formulas that are tried.
    """
    search = _Search(trial, budget)
    found = search.run()
    return [search.remainder()] if found is None else search.slips(found)
