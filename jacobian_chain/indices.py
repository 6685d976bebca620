r"""Derivatives by components: ``\frac{\partial a_{i}}{\partial W_{jk}} = (1 - a_{i}^{2}) \, \delta_{ij} \, x_{k}``.

Every elementary map is read by components, as a kernel K with (K dX)_ij = Σ K_ij,kl dX_kl, and a product of maps contracts. There is
no layout and no ``vec``: a derivative has the indices of what is differentiated, then those of the variable.

================= =====================================
kind of map       kernel K_ij,kl
================= =====================================
``left`` A        A_ik δ_jl
``right`` B       δ_ik B_lj
``hadamard`` M    M_ij δ_ik δ_jl
``times`` s       s δ_ik δ_jl
``transposition`` δ_il δ_jk
``inner`` A       A_kl
``spread`` A      A_ij
``reshape``       δ of the places on ``vec``
``diag``          δ_ij δ_ik
``diagonal``      δ_ik δ_il
``softmax`` P     P_ij (δ_ik - P_kj) δ_jl, of columns
``jacobian`` J    ∂g_ij / ∂h_kl
================= =====================================

An expression is a sum of terms; a term is a number times factors, summed over its bound indices; a factor is an entry of an array, a
Kronecker δ, an entry of a layer's Jacobian, or a function or a power of an expression. Indices are numbers until they are written.

Source: Magnus & Neudecker, Matrix Differential Calculus, chapters 2 and 9.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.arrays import ONE, Arrays, size_product
from jacobian_chain.blocks import Block, ConcreteDerivation
from jacobian_chain.calculus import edges
from jacobian_chain.elementary import Elementary, Word
from jacobian_chain.errors import LimitError
from jacobian_chain.exposition import LONG, Line, Page
from jacobian_chain.formula import Formula
from jacobian_chain.layout import MIXED
from jacobian_chain.notation import Labels, Symbol
from jacobian_chain.tape import SCALAR, Shape, Step, Tape
from jacobian_chain.tokens import SUBSCRIPTS, SUPERSCRIPTS, Spelling
from jacobian_chain.writers import LatexWriter, Writer, to_ascii

MOST_FACTORS = 300
"""Most factors that one derivative by components may have."""

MOST_NESTED = 8
"""How many operations deep a value without a name is written by components; what is inside of that is an entry in brackets."""

MOST_TRIES = 24
"""Most ways of naming the bound indices of one term after those of another that are tried, to find common factors."""

LETTERS = "ijklmnprstuvaqbcdfgh"
"""The letters of indices, in this order; those that the problem uses are left out."""

FEW_ABOVE = 2
"""Most factors with indices that stand above a fraction line rather than behind the fraction."""

HALF = Fraction(1, 2)


# --- records ----------------------------------------------------------------------------------------------------------


class Index(NamedTuple):
    """An index that runs from 1 to ``size``.

    A positive ``number`` is a variable, a negative one stands for the place -number. With ``parts`` (i, j) it is the place on ``vec``
    of the entry i, j of a matrix: i + m (j - 1), with m the size of i.
    """

    size: str
    number: int
    parts: tuple[Index, ...] = ()


FIRST = Index("1", -1)
"""The only row of a row, the only column of a column."""


class Factor(NamedTuple):
    """A factor to the power ``exponent``.

    ``entry``    of the array ``node``, in the row and the column that ``indices`` say
    ``delta``    1 where both indices agree, else 0
    ``partial``  of the Jacobian ``node`` of a layer: row and column of its value, row and column of its input
    ``apply``    the function or indicator that ``node`` is, of ``inner``
    ``group``    ``inner`` in brackets
    """

    kind: str
    node: int = -1
    indices: tuple[Index, ...] = ()
    inner: tuple[Term, ...] = ()
    exponent: Fraction = ONE


class Term(NamedTuple):
    """A number times factors, summed over the indices ``bound``."""

    coefficient: Fraction
    factors: tuple[Factor, ...] = ()
    bound: tuple[Index, ...] = ()


Expression = tuple[Term, ...]
"""A sum of terms; no terms are 0."""

Place = tuple[Index, Index]
"""The row and the column of an entry."""


class ComponentDerivative(NamedTuple):
    """The derivative of the entry ``at`` of the value ``of`` by the entry ``where`` of the value ``by``."""

    of: int
    by: int
    at: Place
    where: Place
    value: Expression


class ComponentDerivation(NamedTuple):
    """Derivatives by components, and the arrays whose entries stand in them."""

    arrays: Arrays
    derivatives: tuple[ComponentDerivative, ...]


class ComponentLines(NamedTuple):
    """Derivatives by components on paper.

    Attributes:
        lines: the left and the right side of each.
        definitions: the same of values that got a name, not by components.
        used: the facts that were used, as in ``tape.facts``.
    """

    lines: list[Line]
    definitions: list[Line]
    used: list[tuple[int, str]]


def is_variable(index: Index) -> bool:
    """Whether an index runs, rather than being one place or made of others."""
    return index.number > 0


def delta(one: Index, other: Index) -> Factor:
    """Kronecker's δ."""
    return Factor("delta", -1, (one, other))


def place_on_vec(place: Place) -> Index:
    """The place on ``vec`` of an entry."""
    row, column = place
    if row.size == "1":
        return column
    return row if column.size == "1" else Index(size_product(row.size, column.size), 0, place)


def variables_of(factor: Factor) -> dict[int, Index]:
    """The variables that a factor depends on, by number, in the order in which they stand."""
    found: dict[int, Index] = {}
    stack = list(reversed(factor.indices))
    while stack:
        index = stack.pop()
        stack.extend(reversed(index.parts))
        if is_variable(index):
            found[index.number] = index
    for term in factor.inner:
        bound = {index.number for index in term.bound}
        for each in term.factors:
            found |= {number: index for number, index in variables_of(each).items() if number not in bound}
    return found


def replace_indices(factor: Factor, by: Mapping[int, Index]) -> Factor:
    """A factor with other indices for some of its variables."""
    if not factor.inner:
        indices = tuple([_replace_index(index, by) for index in factor.indices])
        return factor if indices == factor.indices else factor._replace(indices=indices)
    inner = tuple([term._replace(factors=tuple([replace_indices(each, by) for each in term.factors])) for term in factor.inner])
    return factor._replace(inner=inner)


def _replace_index(index: Index, by: Mapping[int, Index]) -> Index:
    if index.parts:
        return index._replace(parts=tuple([_replace_index(part, by) for part in index.parts]))
    return by.get(index.number, index)


def count_factors(expression: Expression) -> int:
    """How many factors stand in an expression."""
    return sum(1 + count_factors(factor.inner) for term in expression for factor in term.factors)


def as_term(expression: Expression) -> Term:
    """An expression as one term: itself, or in brackets."""
    return expression[0] if len(expression) == 1 else Term(ONE, (Factor("group", inner=expression),))


def multiply(terms: Sequence[Term], over: Iterable[Index] = ()) -> Term:
    """The product of terms, summed over further indices."""
    coefficient = ONE
    for term in terms:
        coefficient *= term.coefficient
    bound = tuple([index for term in terms for index in term.bound])
    return Term(coefficient, tuple([factor for term in terms for factor in term.factors]), bound + tuple(filter(is_variable, over)))


def raise_to(expression: Expression, exponent: Fraction) -> Term:
    """A power of an expression."""
    term = as_term(expression)
    if exponent == 1 or (not expression and exponent > 0):
        return term
    has_delta = any(factor.kind == "delta" for factor in term.factors)
    if not term.bound and not has_delta and term.coefficient:
        is_base = term.coefficient == 1 and len(term.factors) == 1 and term.factors[0].exponent == 1
        if exponent.denominator == 1 or is_base:
            factors = tuple([factor._replace(exponent=factor.exponent * exponent) for factor in term.factors])
            return Term(term.coefficient ** int(exponent) if term.coefficient != 1 else ONE, factors)
    return Term(ONE, (Factor("group", inner=expression, exponent=exponent),))


def _key(term: Term, first: int = 0) -> tuple[object, ...]:
    """What equal terms have in common, whatever the numbers of their bound indices and the order of their factors."""
    bound = {index.number for index in term.bound}
    names: dict[int, Index] = {}
    for factor in term.factors:
        for number, index in variables_of(factor).items():
            if number in bound and number not in names:
                names[number] = Index(index.size, -1_000_000 - first - len(names))
    first += len(names)
    return (frozenset([_factor_key(replace_indices(factor, names), first) for factor in term.factors]), len(term.bound))


def _factor_key(factor: Factor, first: int) -> tuple[object, ...]:
    inner = frozenset([(term.coefficient, _key(term, first)) for term in factor.inner])
    return (factor.kind, factor.node, factor.indices, factor.exponent, inner)


class Algebra:
    """Expressions over the arrays of a tape: entries of arrays, kernels of maps, and what makes them simple.

    A δ with a bound index goes into what it stands beside, also where that takes a sum apart; the sum of a label is 1; equal factors
    become powers and equal terms one term.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._numbers = itertools.count(1)
        self._functions: dict[tuple[object, ...], int] = {}

    # --- indices ---

    def index(self, size: str) -> Index:
        """A new index."""
        return FIRST if size == "1" else Index(size, next(self._numbers))

    def place(self, shape: Shape) -> Place:
        """A new row and column."""
        return self.index(shape.rows), self.index(shape.columns)

    def _rename_bound(self, term: Term) -> Term:
        new = {index.number: self.index(index.size) for index in term.bound}
        return Term(term.coefficient, tuple([replace_indices(factor, new) for factor in term.factors]), tuple(new.values()))

    def _replace(self, factor: Factor, by: Mapping[int, Index]) -> Factor:
        """A factor with other indices; a δ inside of it may have become 1."""
        found = replace_indices(factor, by)
        if any(each.kind == "delta" for term in found.inner for each in term.factors):
            found = found._replace(inner=self.combine(found.inner))
        return found

    # --- simplifying ---

    def combine(self, terms: Iterable[Term]) -> Expression:
        """The sum of terms, simplified, equal ones gathered, those with a minus sign behind if the first has one."""
        simple = [each for term in terms for each in self.simplify(term)]
        if len(simple) < 2:
            return tuple(simple)
        found: dict[tuple[object, ...], Term] = {}
        for each in simple:
            key = _key(each)
            known = found.get(key)
            found[key] = each if known is None else known._replace(coefficient=known.coefficient + each.coefficient)
        kept = [term for term in found.values() if term.coefficient]
        if kept and kept[0].coefficient < 0:
            kept.sort(key=lambda term: term.coefficient < 0)
        return tuple(kept)

    def simplify(self, term: Term) -> list[Term]:
        """A term as a sum of simple ones."""
        found = []
        stack = [term]
        while stack:
            top = stack.pop()
            if not top.coefficient:
                continue
            for rule in (self._use_delta, self._open_group, self._carry_out_sum):
                parts = rule(top)
                if parts is not None:
                    stack.extend(reversed(parts))
                    break
            else:
                found.append(self._settle(top))
        return found

    def _use_delta(self, term: Term) -> list[Term] | None:
        """Use one δ, or an entry of a vec; None if there is none to use."""
        bound = {index.number for index in term.bound}
        for k, factor in enumerate(term.factors):
            before, after = term.factors[:k], term.factors[k + 1 :]
            if factor.kind == "entry" and factor.indices[0].parts:
                entry = self._off_vec(factor)
                if entry is not None:
                    return [multiply((Term(term.coefficient, before), entry, Term(ONE, after, term.bound)))]
            if factor.kind != "delta":
                continue
            one, other = factor.indices
            if one == other:
                return [term._replace(factors=before + after)]
            if one.number < 0 and other.number < 0:
                return []
            if one.parts and other.parts and one.parts[0].size == other.parts[0].size:
                split = tuple([delta(*pair) for pair in zip(one.parts, other.parts, strict=True)])
                return [term._replace(factors=before + split + after)]
            for index, image in ((one, other), (other, one)):
                if index.number in bound and index.number not in variables_of(delta(image, image)):
                    factors = tuple([self._replace(each, {index.number: image}) for each in before + after])
                    return [Term(term.coefficient, factors, tuple([each for each in term.bound if each != index]))]
            if is_variable(one) and is_variable(other):
                first, second = sorted((one, other), key=lambda index: index.number)
                if any(second.number in variables_of(each) for each in before + after):
                    by = {second.number: first}
                    changed = (*[self._replace(each, by) for each in before], factor, *[self._replace(each, by) for each in after])
                    return [term._replace(factors=changed)]
        return None

    def _off_vec(self, factor: Factor) -> Term | None:
        """An entry of vec A at the place of (i, j) is A_ij."""
        step = self.arrays.view(factor.node)
        row, column = factor.indices[0].parts
        if step.operation != "vec" or row.size != self.arrays.shapes[step.inputs[0]].rows:
            return None
        return raise_to(self.entry(step.inputs[0], (row, column), MOST_NESTED), factor.exponent)

    def _open_group(self, term: Term) -> list[Term] | None:
        """Take brackets apart that hold one term or none, or a δ with a bound index."""
        bound = {index.number for index in term.bound}
        for k, factor in enumerate(term.factors):
            if factor.kind != "group" or factor.exponent != 1:
                continue
            deltas = [each for inner in factor.inner for each in inner.factors if each.kind == "delta"]
            if len(factor.inner) > 1 and not any(number in bound for each in deltas for number in variables_of(each)):
                continue
            around = Term(term.coefficient, term.factors[:k]), Term(ONE, term.factors[k + 1 :], term.bound)
            return [multiply((around[0], self._rename_bound(inner), around[1])) for inner in factor.inner]
        return None

    def _carry_out_sum(self, term: Term) -> list[Term] | None:
        """Carry out one sum whose value is known: of 1, of the entries of a label or of a softmax."""
        users: dict[int, list[int]] = {index.number: [] for index in term.bound}
        for k, factor in enumerate(term.factors):
            for number in variables_of(factor):
                if number in users:
                    users[number].append(k)
        for index in term.bound:
            places = users[index.number]
            rest = term._replace(bound=tuple([each for each in term.bound if each != index]))
            if not places:
                return [multiply((as_term(self.entry(self.arrays.dimension(index.size), (FIRST, FIRST))), rest))]
            if len(places) == 1 and self._sums_to_one(term.factors[places[0]], index):
                return [rest._replace(factors=term.factors[: places[0]] + term.factors[places[0] + 1 :])]
        return None

    def _sums_to_one(self, factor: Factor, index: Index) -> bool:
        if factor.kind != "entry" or factor.exponent != 1 or index not in factor.indices or factor.indices == (index, index):
            return False
        along = "columns" if factor.indices[0] == index else "rows"
        step = self.arrays.steps[factor.node]
        if step.operation == "softmax":
            return step.name == along
        return self.arrays.knows(factor.node, "label" if FIRST in factor.indices else f"label-{along}")

    def _settle(self, term: Term) -> Term:
        """Symmetric matrices with the earlier index first, equal factors as powers."""
        bound = {index.number for index in term.bound}
        coefficient = term.coefficient
        powers: dict[Factor, Fraction] = {}
        for factor in term.factors:
            base = factor._replace(exponent=ONE)
            if factor.kind == "entry" and self._is_reversed(factor, bound) and self._is_symmetric(factor.node):
                base = base._replace(indices=factor.indices[::-1])
            size = abs(factor.inner[0].coefficient) if factor.kind == "group" and factor.exponent == 1 else ONE
            if size != 1 and all(abs(each.coefficient) == size for each in factor.inner):  # 2 (p - y), not (2 p - 2 y)
                coefficient *= size
                base = base._replace(inner=tuple([each._replace(coefficient=each.coefficient / size) for each in factor.inner]))
            powers[base] = powers.get(base, Fraction(0)) + factor.exponent
        kept = [base if base.kind == "delta" else base._replace(exponent=power) for base, power in powers.items() if power]
        for delta_ in [factor for factor in kept if factor.kind == "delta"]:  # v_i δ_ij, not δ_ij v_i
            own = variables_of(delta_)
            place = kept.index(delta_)
            moved = [each for each in kept[place + 1 :] if each.kind != "delta" and variables_of(each).keys() <= own.keys()]
            kept[place:] = [*moved, delta_, *[each for each in kept[place + 1 :] if each not in moved]]
        return Term(coefficient, tuple(kept), term.bound)

    def _is_symmetric(self, node: int) -> bool:
        """Whether a matrix is symmetric by a fact, or as it is put together."""
        closed = self.arrays.view(node).operation not in ("sum", "product")
        return self.arrays.knows(node, "symmetric") if closed else self.arrays.transpose(node) == node

    def _is_reversed(self, factor: Factor, bound: Collection[int]) -> bool:
        row, column = factor.indices
        return is_variable(row) and is_variable(column) and (column.number in bound, column.number) < (row.number in bound, row.number)

    # --- entries of arrays ---

    def entry(self, node: int, place: Place, depth: int = 0) -> Expression:
        """The entry of an array, by the entries of what it is made of as far as that reads well.

        A value with a name is not looked into, nor a long one; a sum with matrix products in it keeps together, and so does a matrix
        product inside of a function.
        """
        step = self.arrays.view(node)
        if step.operation != "leaf":  # of equal ones the first, which may have a name
            node = self.arrays.add(step.operation, self.arrays.shapes[node], step.inputs, step.name, step.coefficients)
            step = self.arrays.view(node)
        kind = step.operation
        whole = (Term(ONE, (Factor("entry", node, place),)),)
        if depth > MOST_NESTED or (node < len(self.arrays.tape.names) and self._is_long(node)):
            return whole
        if kind == "number":
            return self.combine((Term(step.coefficients[0]),))
        if kind == "ones":
            return (Term(ONE),)
        if kind == "zeros":
            return ()
        if kind == "identity":
            return self.combine((Term(ONE, (delta(*place),)),))
        if kind == "unit":
            return self.combine((Term(ONE, (delta(place[0], Index(place[0].size, -int(step.coefficients[0]))),)),))
        if kind == "transpose":
            return self.entry(step.inputs[0], place[::-1], depth)
        if kind == "diag":
            return self.combine(
                (multiply((Term(ONE, (delta(*place),)), as_term(self.entry(step.inputs[0], (place[0], FIRST), depth + 1)))),)
            )
        if kind == "diagonal":
            return self.entry(step.inputs[0], (place[0], place[0]), depth + 1)
        if kind == "reshape":
            return self.entry(step.inputs[0], (place_on_vec(place), FIRST), depth + 1)
        if kind == "sum":
            if any(self._contracts(source) for source in step.inputs):
                return whole if len(step.inputs) > 1 or depth else self._sum(step, place, depth)
            return self._sum(step, place, depth + 1)
        if kind == "scale":
            scalar, source = step.inputs
            return self._product_of(self.entry(scalar, (FIRST, FIRST), depth + 1), self.entry(source, place, depth))
        if kind == "hadamard":
            return self._product_of(*[self.entry(source, place, depth + 1) for source in step.inputs])
        if kind == "product":
            return self._matrix_product(step, place, depth) if not depth or not self._contracts(node) else whole
        if kind == "power":
            return self.combine((raise_to(self.entry(step.inputs[0], place, depth + 1), step.coefficients[0]),))
        if kind in ("apply", "indicator"):
            inner = self.entry(step.inputs[0], place, depth + 1)
            function = self._functions.setdefault((kind, step.name, step.coefficients), node)
            return (Term(ONE, (Factor("apply", function, inner=inner),)),)
        return whole

    def _sum(self, step: Step, place: Place, depth: int) -> Expression:
        terms = []
        for coefficient, source in zip(step.coefficients, step.inputs, strict=True):
            at = (FIRST, FIRST) if self.arrays.is_scalar(source) else place
            terms += [term._replace(coefficient=coefficient * term.coefficient) for term in self.entry(source, at, depth)]
        return self.combine(terms)

    def _product_of(self, *factors: Expression) -> Expression:
        return self.combine((multiply([as_term(factor) for factor in factors]),))

    def _matrix_product(self, step: Step, place: Place, depth: int) -> Expression:
        shapes = self.arrays.shapes
        between = [self.index(shapes[source].columns) for source in step.inputs[:-1]]
        rows, columns = [place[0], *between], [*between, place[1]]
        factors = [
            as_term(self.entry(source, at, depth + 1)) for source, at in zip(step.inputs, zip(rows, columns, strict=True), strict=True)
        ]
        return self.combine((multiply(factors, between),))

    def _contracts(self, node: int) -> bool:
        """Whether a sum over an index is needed to write an entry of a value without a name."""
        step = self.arrays.view(node)
        if step.operation in ("sum", "scale", "hadamard", "transpose"):
            return any(self._contracts_below(source) for source in step.inputs)
        return self._contracts_below(node)

    def _contracts_below(self, node: int) -> bool:
        step = self.arrays.view(node)
        return step.operation == "product" and any(self.arrays.shapes[source].columns != "1" for source in step.inputs[:-1])

    def _is_long(self, node: int) -> bool:
        """Whether a value has so many parts that it gets a name of its own where it stands in others."""
        count = 0
        stack = [node]
        while stack and count <= 2 * LONG:
            inputs = self.arrays.view(stack.pop()).inputs
            count += 1
            stack.extend(inputs)
        return count > 2 * LONG

    # --- kernels ---

    def kernel(self, map_: Elementary, out: Place, into: Place) -> Term:
        """The component of a map that takes the entry ``into`` of its domain to the entry ``out`` of its codomain."""
        (i, j), (k, l) = out, into  # noqa: E741 - as in the table
        kind, node = map_.kind, map_.node
        same_row, same_column = Term(ONE, (delta(i, k),)), Term(ONE, (delta(j, l),))
        if kind == "left":
            return multiply((as_term(self.entry(node, (i, k))), same_column))
        if kind == "right":
            return multiply((same_row, as_term(self.entry(node, (l, j)))))
        if kind == "hadamard":
            return multiply((as_term(self.entry(node, out)), same_row, same_column))
        if kind == "times":
            return multiply((as_term(self.entry(node, (FIRST, FIRST))), same_row, same_column))
        if kind == "transposition":
            return Term(ONE, (delta(i, l), delta(j, k)))
        if kind in ("inner", "spread"):
            return as_term(self.entry(node, into if kind == "inner" else out))
        if kind == "diag":
            return Term(ONE, (delta(i, j), delta(i, k)))
        if kind == "diagonal":
            return Term(ONE, (delta(i, k), delta(i, l)))
        if kind == "softmax":
            value, other = as_term(self.entry(node, out)), as_term(self.entry(node, into))
            along, across = (same_column, same_row) if self.arrays.steps[node].name == "rows" else (same_row, same_column)
            return multiply((value, as_term((along, other._replace(coefficient=-other.coefficient))), across))
        if kind == "reshape":
            return Term(ONE, (delta(place_on_vec(out), place_on_vec(into)),))
        assert kind == "jacobian", f"a kind of map without a kernel: {kind}"
        return Term(ONE, (Factor("partial", node, (*out, *into)),))

    def contract(self, expression: Expression, place: Place, kernel: Term) -> Expression:
        """Σ over ``place`` of an expression times a kernel."""
        return self.combine([multiply((term, self._rename_bound(kernel)), place) for term in expression])

    def through(self, expression: Expression, place: Place, word: Word, into: Place) -> Expression:
        """An expression, which depends on ``place``, times the components of a word, whose domain has the indices ``into``."""
        for k, map_ in enumerate(word.maps, 1):
            target = into if k == len(word.maps) else self.place(map_.domain)
            expression = self.contract(expression, place, self.kernel(map_, place, target))
            place = target
        if not word.maps:
            by = {one.number: other for one, other in zip(place, into, strict=True) if is_variable(one)}
            expression = self.combine(
                [term._replace(factors=tuple([self._replace(each, by) for each in term.factors])) for term in expression]
            )
        return tuple([term._replace(coefficient=word.coefficient * term.coefficient) for term in expression])

    # --- how a result is put ---

    def arrange(self, expression: Expression) -> Expression:
        """A result as people put it: common factors in front, no brackets around all of it, no minus sign where p - y can be y - p."""
        expression = self.combine([each for term in expression for each in self._unwrap(term)])
        if len(expression) < 2:
            return expression
        expression = self.combine([each for term in self._factor_out(expression) for each in self._unwrap(term)])
        size = abs(expression[0].coefficient)
        if len(expression) < 2 or size == 1 or any(abs(term.coefficient) != size for term in expression):
            return expression
        inner = tuple([term._replace(coefficient=term.coefficient / size) for term in expression])
        return (Term(size, (Factor("group", inner=inner),)),)

    def _unwrap(self, term: Term) -> list[Term]:
        """A term that is a number times a sum in brackets as that sum; a minus sign goes into the brackets of a difference."""
        groups = [k for k, factor in enumerate(term.factors) if factor.kind == "group" and factor.exponent == 1]
        if len(term.factors) == 1 and groups and not term.bound and abs(term.coefficient) == 1:
            inner = [self._rename_bound(each) for each in term.factors[0].inner]
            return [each._replace(coefficient=term.coefficient * each.coefficient) for each in inner]
        for k in groups:
            inside = term.factors[k].inner
            if term.coefficient < 0 and any(each.coefficient < 0 for each in inside) and all(each.factors for each in inside):
                turned = self.combine([each._replace(coefficient=-each.coefficient) for each in inside])
                factors = (*term.factors[:k], term.factors[k]._replace(inner=turned), *term.factors[k + 1 :])
                return [term._replace(coefficient=-term.coefficient, factors=factors)]
        return [term]

    def _factor_out(self, expression: Expression) -> Expression:
        """Σ_j A_ij x_j + Σ_j A_ji x_j = Σ_j (A_ij + A_ji) x_j, and a_i b_j + a_i c_j = a_i (b_j + c_j)."""
        least = min(expression, key=lambda term: len(term.bound))
        bound = least.bound
        terms = [self._align(self._rename_bound(term), least) for term in expression]
        inside = {index.number for _, _, own in terms for index in own}
        first, _, _ = terms[0]
        common = [
            factor
            for factor in first
            if all(factor in factors for factors, _, _ in terms[1:]) and not any(number in inside for number in variables_of(factor))
        ]
        if not common:
            return expression
        sizes_agree = len({abs(term.coefficient) for term in expression}) == 1
        number = abs(least.coefficient) if sizes_agree else ONE
        rests = [
            Term(coefficient / number, tuple([each for each in factors if each not in common]), own) for factors, coefficient, own in terms
        ]
        if len({tuple([(factor.kind, factor.node) for factor in rest.factors]) for rest in rests}) == 1:  # A_ij + A_ji, not A_ji + A_ij
            rests.sort(key=lambda rest: [(index in bound, index.number) for factor in rest.factors for index in factor.indices])
        group = Factor("group", inner=self.combine([each for rest in rests for each in self._unwrap(rest)]))
        place = next((k for k, factor in enumerate(first) if factor not in common), len(common))
        if bound and all(index in bound for factor in common for index in variables_of(factor).values()):
            place = 0
        return (Term(number, (*common[:place], group, *common[place:]), bound),)

    def _align(self, term: Term, least: Term) -> tuple[list[Factor], Fraction, tuple[Index, ...]]:
        """A term with bound indices of another that has no more of them, so that many factors are alike: factors, number, what is left."""
        best: tuple[int, list[Factor], tuple[Index, ...]] = (-1, [], ())
        for chosen in itertools.islice(itertools.permutations(term.bound, len(least.bound)), MOST_TRIES):
            if any(one.size != other.size for one, other in zip(chosen, least.bound, strict=True)):
                continue
            by = {one.number: other for one, other in zip(chosen, least.bound, strict=True)}
            factors = [replace_indices(factor, by) for factor in term.factors]
            alike = sum(factor in least.factors for factor in factors)
            if alike > best[0]:
                best = (alike, factors, tuple([index for index in term.bound if index not in chosen]))
        return best[1], term.coefficient, best[2]


def derive_components(tape: Tape, output: int, variables: Sequence[int]) -> ComponentDerivation:
    """The derivative of every entry of a value by every entry of each variable; a variable that is computed is held free.

    Args:
        tape: the composition.
        output: the value to differentiate.
        variables: values to differentiate by.

    Raises:
        LimitError: a derivative has more than ``MOST_FACTORS`` factors.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = A x; A: m x n")).tape
    >>> (found,) = derive_components(tape, tape.index("y"), [tape.index("x")]).derivatives
    >>> [factor.indices == (found.at[0], found.where[0]) for factor in found.value[0].factors]
    [True]
    """
    arrays = Arrays(tape)
    algebra = Algebra(arrays)
    shapes, held = tape.shapes, frozenset(variables)
    at = algebra.place(shapes[output])
    below = bytearray(len(tape.names))
    for value in variables:
        below[value] = 1
    for value in range(tape.leaves, output + 1):
        if not below[value]:
            below[value] = any(below[source] for source in arrays.steps[value].inputs)
    places = {value: algebra.place(shapes[value]) for value in sorted({*held, output})}
    own = places[output]
    found: dict[int, Expression] = {output: algebra.combine((Term(ONE, (delta(at[0], own[0]), delta(at[1], own[1]))),))}
    for value in range(output, tape.leaves - 1, -1):
        if value not in found or (value in held and value != output):
            continue
        derivative = found[value] if value in held else found.pop(value)
        if len(derivative) > 1:
            derivative = (as_term(algebra.arrange(derivative)),)
        for source, words in edges(arrays, value):
            if not below[source]:
                continue
            into = places.setdefault(source, algebra.place(shapes[source]))
            terms = [term for word in words for term in algebra.through(derivative, places[value], word, into)]
            found[source] = algebra.combine((*found.get(source, ()), *terms))
            if count_factors(found[source]) > MOST_FACTORS:
                raise LimitError(
                    f"by components, the derivative of {tape.names[output]} would have more than {MOST_FACTORS:,} factors",
                    hint="derive by an intermediate value, or without index notation",
                )
    derivatives = [ComponentDerivative(output, value, at, places[value], algebra.arrange(found.get(value, ()))) for value in variables]
    return ComponentDerivation(arrays, tuple(derivatives))


# --- writing ----------------------------------------------------------------------------------------------------------


def write_components(tape: Tape, output: int, variables: Sequence[int], writer: Writer, labels: Labels) -> ComponentLines:
    r"""Derivatives by components, one line for each variable, and below them what got a name.

    Raises:
        LimitError: a derivative is too long.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("a = tanh(W x + b)")).tape
    >>> a, W = tape.index("a"), tape.index("W")
    >>> found = write_components(tape, a, [W], LatexWriter(), Labels(tape, a, "outputs"))
    >>> print(*found.lines[0], sep=" = ")
    \frac{\partial a_{i}}{\partial W_{jk}} = (1 - a_{i}^{2}) \, \delta_{ij} \, x_{k}
    """
    derivation = derive_components(tape, output, variables)
    sheet = _Sheet(derivation, writer, labels)
    return ComponentLines([sheet.line(each) for each in derivation.derivatives], sheet.page.definitions(), list(derivation.arrays.used))


def _roots(expression: Expression) -> list[int]:
    """The arrays whose entries stand in an expression, as often as they do."""
    found = []
    stack = [expression]
    while stack:
        for term in stack.pop():
            for factor in term.factors:
                if factor.inner:
                    stack.append(factor.inner)
                elif factor.node >= 0:
                    found.append(factor.node)
    return found


class _Sheet:
    """Writes the derivatives of one derivation in one language."""

    def __init__(self, derivation: ComponentDerivation, writer: Writer, labels: Labels) -> None:
        self.derivation = derivation
        self.arrays = derivation.arrays
        self.writer = writer
        self.labels = labels
        self.latex = isinstance(writer, LatexWriter)
        self.ascii = not isinstance(writer, LatexWriter) and writer.ascii
        roots = tuple([node for each in derivation.derivatives for node in _roots(each.value)])
        blocks = []
        if roots:
            # one expression that holds them all, so that what stands in several of them gets a name
            node = self.arrays.add("below", Shape("", "1"), roots)
            first = derivation.derivatives[0]
            blocks = [Block(first.of, first.by, node, SCALAR, False)]
        self.page = Page(ConcreteDerivation(self.arrays, 0, MIXED, tuple(blocks), (), False), writer, labels)
        spellings = [*self.page.invented.values(), *map(labels.name, _names(self.arrays.tape))]
        self._has_delta = any(spelling.base == "δ" for spelling in spellings)
        taken = {text for spelling in spellings for text in (spelling.key, spelling.base, *spelling.suffix)}
        numbered = (f"{letter}{k}" for k in range(1, MOST_FACTORS) for letter in LETTERS)
        self._letters = [letter for letter in itertools.chain(LETTERS, numbered) if letter not in taken]

    def line(self, derivative: ComponentDerivative) -> Line:
        """One line."""
        letters: dict[int, str] = {}
        for index in (*derivative.at, *derivative.where):
            self._assign(index, letters)
        signs = self.writer.signs
        partial = signs.upright if self._looks_local(derivative) else signs.partial
        above = self._indexed(self.labels.value(derivative.of), derivative.at, letters)
        under = self._indexed(self.labels.value(derivative.by), derivative.where, letters)
        return Line(self.writer.fraction(partial + above, partial + under), self._sum(derivative.value, letters))

    def _looks_local(self, derivative: ComponentDerivative) -> bool:
        """Whether the left side would look like the derivative of a layer of that name in one slot, which stands on the right."""
        name = self.labels.value(derivative.of)
        steps = [self.arrays.steps[node] for node in _roots(derivative.value)]
        local = [step for step in steps if step.operation in ("partial", "gradient") and self.labels.name(step.name) == name]
        return any(step.inputs[int(step.coefficients[0])] == derivative.by for step in local)

    # --- indices ---

    def _assign(self, index: Index, letters: dict[int, str]) -> None:
        if is_variable(index) and index.number not in letters:
            used = set(letters.values())
            letters[index.number] = next(letter for letter in self._letters if letter not in used)

    def _index(self, index: Index, letters: Mapping[int, str]) -> str:
        if index.parts:
            (row, column), size = (self._index(part, letters) for part in index.parts), index.parts[0].size
            rows = str(self.page.formula.dimension(size).text)
            return f"{row} + {f'({rows})' if ' ' in rows else rows} ({column} - 1)"
        if index.number < 0:
            return str(-index.number)
        letter = letters[index.number]
        return letter if len(letter) == 1 or not self.latex else f"{letter[0]}_{{{letter[1:]}}}"

    def _list(self, indices: Iterable[Index], letters: Mapping[int, str]) -> str:
        """Several indices: letters beside each other, with commas where there is more than letters."""
        kept = [index for index in indices if index != FIRST]
        texts = [self._index(index, letters) for index in kept]
        if all(len(text) == 1 for text in texts):
            return "".join(texts)
        return (", " if any(index.parts for index in kept) else ",").join(texts)

    def _below(self, index: str) -> str:
        """A text as an index."""
        if not index or self.latex:
            return index and f"_{{{index}}}"
        small = "".join(_SUBSCRIPT.get(letter, "\0") for letter in index)
        if not self.ascii and "\0" not in small:
            return small
        return f"_{index}" if index.isalnum() else f"_{{{index}}}"

    def _indexed(self, name: Spelling, indices: Iterable[Index], letters: Mapping[int, str]) -> str:
        """A name with indices behind the index that it has already."""
        index = self._list(indices, letters)
        writer = self.writer
        full = writer.name(name)
        if not index:
            return full
        text = writer.name(name._replace(upper=""))
        upper = full[len(text) :]
        if not name.suffix or (writer.is_raised(name) and not self.ascii):
            return f"{text}{self._below(index)}{upper}"
        base = writer.name(name._replace(suffix="", upper=""))
        own = text[len(base) + 2 : -1] if self.latex else to_ascii(name.suffix) if self.ascii else name.suffix
        return f"{base}{self._below(f'{own},{index}')}{upper}"

    # --- sums ---

    def _sum(self, expression: Expression, letters: Mapping[int, str]) -> str:
        if not expression:
            return "0"
        pieces = []
        for k, term in enumerate(expression):
            sign = "-" if term.coefficient < 0 else "+" if k else ""
            pieces.append(f" {sign} " if k else sign)
            pieces.append(self._term(term, letters, len(expression) == 1 and term.coefficient > 0))
        return "".join(pieces)

    def _term(self, term: Term, outside: Mapping[int, str], alone: bool) -> str:
        """A term without its sign, ``alone`` if it is all there is: numbers and scalars, then the sum sign, then what has indices."""
        letters = dict(outside)
        scalars = [factor for factor in term.factors if factor.kind != "delta" and not variables_of(factor)]
        indexed = [factor for factor in term.factors if factor not in scalars]
        bound = {index.number: index for index in term.bound}
        order = [index for factor in indexed for number, index in variables_of(factor).items() if number in bound]
        for index in order:
            self._assign(index, letters)
        size = abs(term.coefficient)
        room = _PRODUCT if len(term.factors) > 1 or size != 1 else _ALONE if alone else _TERM
        is_quotient = scalars and all(factor.exponent < 0 for factor in scalars) and size.numerator == 1 and not bound
        if is_quotient and len(indexed) <= FEW_ABOVE and all(map(self._is_plain, indexed)):
            scalars, indexed = [*indexed, *scalars], []  # x_i / s, not 1/s x_i
        pieces = self._front(size, scalars, letters, room)
        if bound:
            first = next(k for k, factor in enumerate(indexed) if any(number in bound for number in variables_of(factor)))
            before, indexed = indexed[:first], indexed[first:]
            pieces += self._chain(before, letters, room)
            sign = r"\sum" if self.latex else "sum" if self.ascii else "Σ"
            listed = [self._index(index, letters) for index in dict.fromkeys(order)]
            pieces.append(f"{sign}{self._below(', '.join(listed) if self.latex else ','.join(listed))}")
        pieces += self._chain(indexed, letters, room)
        return self._join(pieces) if pieces else "1"

    def _is_plain(self, factor: Factor) -> bool:
        """Whether a factor stands above a fraction line."""
        is_entry = factor.kind == "entry" and self.arrays.steps[factor.node].operation != "gradient"
        return factor.exponent > 0 and (is_entry or factor.kind == "apply")

    def _join(self, pieces: Sequence[str]) -> str:
        """Factors beside each other, a δ apart."""
        text, sign = pieces[0], "[" if self._has_delta else r"\delta_"
        for before, piece in itertools.pairwise(pieces):
            apart = self.latex and any(text.startswith(sign) for text in (before, piece)) and not before.startswith(r"\sum")
            text += rf" \, {piece}" if apart else f" {piece}"
        return text

    def _front(self, size: Fraction, scalars: Sequence[Factor], letters: Mapping[int, str], room: int) -> list[str]:
        """A number and scalars, or one fraction of them."""
        above = [factor for factor in scalars if factor.exponent > 0]
        below = [factor for factor in scalars if factor.exponent < 0]
        if not above and not below:
            return [] if size == 1 else [self.writer.number(size)]
        fills = self.latex and len(above) == 1 and size.numerator == 1 and (below or size.denominator != 1)
        over = [self._power(factor, factor.exponent, letters, _ALONE if fills else room) for factor in above]
        if size.numerator != 1:
            over.insert(0, str(size.numerator))
        inside = _ALONE if self.latex and len(below) == 1 and size.denominator == 1 else _PRODUCT
        under = [self._power(factor, -factor.exponent, letters, inside) for factor in below]
        if size.denominator != 1:
            under.insert(0, str(size.denominator))
        return [self._fraction(over, under)]

    def _chain(self, factors: Sequence[Factor], letters: Mapping[int, str], room: int) -> list[str]:
        """Factors with indices; one to a negative power stands below the one before it."""
        pieces: list[tuple[list[str], list[str], bool]] = []
        inside = _ALONE if self.latex and sum(factor.exponent < 0 for factor in factors) == 1 else _PRODUCT
        for factor in factors:
            if factor.exponent > 0 and pieces and not pieces[-1][0] and self._is_plain(factor):
                pieces[-1][0].append(self._power(factor, factor.exponent, letters, room))
                continue
            if factor.exponent > 0:
                pieces.append(([self._power(factor, factor.exponent, letters, room)], [], factor.kind == "delta"))
                continue
            if not pieces or pieces[-1][2]:
                pieces.append(([], [], False))
            pieces[-1][1].append(self._power(factor, -factor.exponent, letters, inside))
        return [self._fraction(over, under) for over, under, _ in pieces]

    def _fraction(self, over: Sequence[str], under: Sequence[str]) -> str:
        above = self._join(over) if over else "1"
        if not under:
            return above
        below = self._join(under)
        if self.latex:
            return self.writer.fraction(above, below)
        return f"{above}/{below}" if len(under) == 1 else f"{above}/({below})"

    # --- factors ---

    def _bracket(self, text: str) -> str:
        grows = self.latex and any(part in text for part in ("(", r"\frac", r"\sum"))
        return rf"\left( {text} \right)" if grows else f"({text})"

    def _power(self, factor: Factor, exponent: Fraction, letters: Mapping[int, str], room: int) -> str:
        """A factor to a positive power."""
        step = self.arrays.steps[factor.node]
        if factor.kind == "entry" and step.operation == "sqnorm" and exponent != 1 and self._name(factor.node) is None:
            text = self.page.formula.factor(self.arrays.power(factor.node, HALF))
            exponent *= 2
            if exponent == 1:
                return text
            return self._raise(text, exponent)
        if exponent == HALF:
            text = self._factor(factor, letters, _ALONE)
            return rf"\sqrt{{{text}}}" if self.latex else f"sqrt({text})"
        text = self._factor(factor, letters, room if exponent == 1 else _PRODUCT)
        return text if exponent == 1 else self._raise(text, exponent)

    def _raise(self, text: str, exponent: Fraction) -> str:
        if "^" in text or text[-1:] in _RAISED or text.startswith(r"\frac"):
            text = self._bracket(text)
        if self.latex:
            return f"{text}^{{{exponent}}}"
        if exponent.denominator != 1:
            return f"{text}^({exponent})"
        return f"{text}^{exponent}" if self.ascii else text + "".join(_SUPERSCRIPT[digit] for digit in str(exponent))

    def _factor(self, factor: Factor, letters: Mapping[int, str], room: int) -> str:
        if factor.kind == "group":
            inner = self._sum(factor.inner, letters)
            return inner if room == _ALONE else self._bracket(inner)
        if factor.kind == "delta":
            return self._delta(factor, letters)
        if factor.kind == "apply":
            return self._apply(factor, letters)
        step = self.arrays.steps[factor.node]
        if factor.kind == "entry" and step.operation == "gradient":
            return self._derivative(factor.node, (), factor.indices, letters, room)
        if factor.kind == "partial":
            return self._derivative(factor.node, factor.indices[:2], factor.indices[2:], letters, room)
        return self._entry(factor.node, factor.indices, letters, room)

    def _delta(self, factor: Factor, letters: Mapping[int, str]) -> str:
        one, other = factor.indices
        if self._has_delta:
            return f"[{self._index(one, letters)} = {self._index(other, letters)}]"
        sign = r"\delta" if self.latex else "delta" if self.ascii else "δ"
        return sign + self._below(self._list((one, other), letters))

    def _entry(self, node: int, place: Iterable[Index], letters: Mapping[int, str], room: int) -> str:
        name = self._name(node)
        if name is not None:
            return self._indexed(name, place, letters)
        if room == _ALONE and self.arrays.is_scalar(node):
            return self.page.formula.text(node)
        text = self.page.formula.factor(node)
        index = self._list(place, letters)
        if index and self.arrays.steps[node].operation not in _CALLS and not text.endswith((")", "]")):
            text = self._bracket(text)
        return text + self._below(index)

    def _name(self, node: int) -> Spelling | None:
        invented = self.page.invented.get(node)
        if invented is None and node < len(self.arrays.tape.names) and self.arrays.tape.names[node]:
            return self.labels.value(node)
        return invented

    def _apply(self, factor: Factor, letters: Mapping[int, str]) -> str:
        """A function of an expression: written as a formula is, of an argument with that text for a name."""
        step = self.arrays.steps[factor.node]
        argument = self._sum(factor.inner, letters)
        formula = Formula(
            (Step("leaf", "", ()), step._replace(inputs=(0,))),
            (SCALAR, SCALAR),
            self.writer,
            lambda node: None if node else argument,
            spelling=self.labels.name,
        )
        return formula.text(1)

    def _derivative(self, node: int, out: Iterable[Index], into: Iterable[Index], letters: Mapping[int, str], room: int) -> str:
        """∂g_i/∂h_j; where that would be two things, an entry of the Jacobian with its point or slot."""
        step = self.arrays.steps[node]
        layer = self.labels.name(step.name)
        by = self._name(step.inputs[int(step.coefficients[0])])
        assert by is not None, "the arguments of a layer have names where its derivative stands"
        plain = Symbol("J" if step.operation == "partial" else "∇", layer, (by,))
        jacobian = self.page.formula.symbol_of(step)
        if jacobian != self.writer.symbol(plain):
            return jacobian + self._below(",".join(filter(None, (self._list(out, letters), self._list(into, letters)))))
        partial = self.writer.signs.partial
        text = self.writer.fraction(partial + self._indexed(layer, out, letters), partial + self._indexed(by, into, letters))
        return text if self.latex or room != _PRODUCT else f"({text})"


_PRODUCT, _TERM, _ALONE = range(3)  # what stands around a factor: others, terms of a sum, or nothing
_SUBSCRIPT = {plain: lowered for lowered, plain in SUBSCRIPTS.items()}
_SUPERSCRIPT = {plain: raised for raised, plain in SUPERSCRIPTS.items()}
_RAISED = frozenset(SUPERSCRIPTS)
_CALLS = frozenset("softmax layer layernorm apply diag diagonal vec reshape beside below".split())
"""Operations whose text keeps together when an index stands behind it."""


def _names(tape: Tape) -> list[str]:
    """All names of a problem, also those of sizes."""
    sizes = {symbol for shape in tape.shapes for size in shape for symbol in re.findall(r"[^\s\d()+*][^\s()+*]*", size)}
    groups = [name for name, _ in tape.groups]
    functions = [step.name for step in tape.steps if step.operation in ("layer", "apply")]
    return list(dict.fromkeys([*filter(None, tape.names), *tape.spellings, *groups, *filter(None, functions), *sorted(sizes)]))
