"""The mistakes that people make in a derivative, each with what would mend or make it.

*Edits* change an answer as people would mend it, *detours* make a mistake in the right derivation, in numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from jacobian_chain import dense
from jacobian_chain.dense import Dense
from jacobian_chain.names import stem
from jacobian_chain.tape import SCALAR, Step
from jacobian_chain.trials import MOST_VALUES, POINTS, Product, Trial, View, difference, is_activation, number_of, parts_of
from jacobian_chain.worlds import Edge

LONGEST = 7
"""Most factors of a product that are bracketed anew; one less is reordered."""

MOST_BRACKETINGS = 16
"""Most values of one part of a product that are kept."""

MOST_EXCHANGED = 5
"""Most nodes of a factor that is exchanged for another."""

MOST_EDGES = 80
"""Most edges of the composition at which a mistake is made."""

MOST_BRANCHING = 8
"""Most edges of which pairs are cut."""

MOST_NAMED = 2
"""Most missing edges that are named."""

NUMBERS = frozenset({"number", "size", "constant", "fraction", "negate", "power", "product", "inverse", "sum"})
MATRIX_SIGNS = frozenset({"", "@"})
OPEN_SIGNS = frozenset({"·", "×", "*", "∘", "."})
"""Signs that may join matrices or entries."""


class Edit(NamedTuple):
    """A change of a formula: nodes and what replaces them.

    ``kind`` is the mistake that it mends; ``say`` the message, with the nodes ``about`` in its gaps; ``cost`` how many changes it counts
    as; ``besides`` a further mistake that it mends.
    """

    kind: str
    changes: tuple[tuple[int, int], ...]
    say: str
    about: tuple[int, ...] = ()
    cost: int = 1
    besides: str = ""


class Detour(NamedTuple):
    """A mistake in the derivation, in the Jacobians of the steps that ``edges`` lead to.

    ``change`` is ``cut``, ``identity``, ``transpose``, ``diagonal`` or ``no diagonal`` (only this part is kept), ``entries`` (of ``node``,
    on a diagonal), ``all but entries`` (these are taken away).
    """

    kind: str
    edges: tuple[Edge, ...]
    change: str
    say: str
    about: tuple[int, ...] = ()
    node: int = -1


# --- edits ---


def _read_otherwise(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node, core = view.nodes[place], view.nodes[view.core(place)]
        if node.kind == "sum":
            shapes = [view.shape(arg) for arg in node.args]
            if any(a and b and a == b[::-1] != b for a, b in itertools.combinations(shapes, 2)):
                for arg in node.args:
                    yield Edit("mixed-layout", ((arg, view.transposed(arg)),), "{} is in another layout", (arg,))
        elif core.kind == "derivative" and view.is_array(place):
            atom = atoms[number_of(core)]
            tape = view.trial.solution.tape
            if tape.shapes[atom.of] != SCALAR and any(tape.shapes[value] != SCALAR for value in atom.by):
                yield Edit("mixed-layout", ((place, view.add("transpose", (place,))),), "{} is in another layout than the rest", (place,))


def _add_paths(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind in ("product", "elementwise") and place in view.linear and len(node.args) == 2:
            shape = view.shape(node.args[0])
            if shape is not None and shape == view.shape(node.args[1]) and shape != (1, 1):
                yield Edit(
                    "missing-path", ((place, view.add("sum", node.args, (1, 1))),), "{}: contributions of two paths are added", (place,)
                )


def _drop_paths(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        kinds = [view.nodes[view.core(arg)].kind for arg in node.args]
        if node.kind != "sum" or place not in view.linear or "number" in kinds:
            continue
        for k, arg in enumerate(node.args):
            if set(kinds[:k] + kinds[k + 1 :]) <= {"value", "identity", "ones"}:
                continue  # a residual, or the value that would be left is no path
            signs = parts_of(node)
            left = view.add("sum", node.args[:k] + node.args[k + 1 :], signs[:k] + signs[k + 1 :])
            yield Edit("extra-path", ((place, left),), "the term {} is too much", (arg,))


def _add_sums(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind in ("product", "elementwise"):
            yield from _close_dot(view, place)
        shape = view.shape(place)
        if shape is None or shape == (1, 1) or place not in view.linear:
            continue
        ones = view.add("ones", (), "")
        sums = [view.add("call", (place,), ("sum", ""))]
        if shape[1] > 1:
            sums.insert(0, view.product(place, ones))
        if shape[0] > 1:
            sums.append(view.product(view.transposed(ones), place))
        for new in sums:
            yield Edit("missing-sum", ((place, new),), "a sum over the entries of {} is missing", (place,))


def _close_dot(view: View, place: int) -> Iterator[Edit]:
    """x_1 y_1 becomes xᵀ y."""
    node = view.nodes[place]
    entries = [arg for arg in node.args if view.nodes[arg].kind == "entry"]
    for one, other in itertools.combinations(entries, 2):
        a, b = view.nodes[one], view.nodes[other]
        if a.value != b.value or not isinstance(a.value, tuple) or len(a.value) != 1:
            continue
        dot = view.product(view.transposed(a.args[0]), b.args[0])
        left = [arg for arg in node.args if arg not in (one, other)]
        yield Edit("missing-sum", ((place, view.product(dot, *left)),), "{} {} has to be summed over all entries", (one, other))


def _differentiate_functions(view: View) -> Iterator[Edit]:
    tape = view.trial.solution.tape
    for place in view.places:
        node = view.nodes[view.core(place)]
        new = -1
        if node.kind == "value":
            step = tape.step(number_of(node))
            if step is not None and step.operation == "apply" and not step.coefficients:
                new = view.add("apply", (view.value(step.inputs[0]),), (step.name, 1))
        elif node.kind == "apply" and isinstance(node.value, tuple):
            function, order = node.value
            new = view.add("apply", node.args, (function, order + 1))
            if order:
                other = view.add("apply", node.args, (function, order - 1))
                yield Edit("activation-for-derivative", ((place, other),), "{} should not be differentiated: {}", (place, other))
        if new >= 0:
            yield Edit("activation-for-derivative", ((place, new),), "{} should be the derivative {}", (place, new))


def _insert_slopes(view: View) -> Iterator[Edit]:
    slopes = [(slope, view.shape(slope)) for slope in view.slopes()]
    for place in view.places:
        shape = view.shape(place)
        if shape is None or place not in view.linear:
            continue
        for slope, its in slopes:
            if its is None:
                continue
            news = []
            if its == (1, 1):
                news.append(view.product(place, slope))
            elif its == shape:
                news.append(view.entrywise(place, slope))
            elif its[::-1] == shape:
                news.append(view.entrywise(place, view.transposed(slope)))
            if 1 in its and its != (1, 1):
                if shape[0] == max(its) and shape[1] > 1:
                    news.append(view.product(view.diag(slope), place))
                if shape[1] == max(its) and shape[0] > 1:
                    news.append(view.product(place, view.diag(slope)))
            for new in news:
                yield Edit("missing-activation-derivative", ((place, new),), "{} is missing", (slope,))


class _Part(NamedTuple):
    """A way to put a part of a product together: what it costs, how many operators and transposes are changed."""

    cost: int
    node: int
    operators: int
    transposes: int
    diags: int = 0


def regroup(view: View, most: int) -> Iterator[Edit]:
    """All ways to bracket a product anew, with · or ⊙ at each place and factors transposed, with few changes."""
    for product in view.products:
        if not 2 <= len(product.factors) <= LONGEST:
            continue
        whole = _Bracketings(view, product, most).parts()
        for part in sorted(whole, key=lambda part: part.cost):
            kind = "transpose" if part.transposes and not part.operators else "hadamard-vs-product"
            say = "a transpose is wrong: {}" if part.transposes and not part.operators else "brackets are missing: {}"
            if part.operators:
                say = "a matrix product stands for an elementwise one, or the reverse: {}"
            besides = "transpose" if part.operators and part.transposes else ""
            yield Edit(kind, ((product.node, part.node),), say, (part.node,), max(part.cost, 1), besides)


class _Bracketings:
    """The values of all parts of a product, shorter ones first, each made in the cheapest way."""

    def __init__(self, view: View, product: Product, most: int) -> None:
        self.view, self.product, self.most = view, product, most

    def parts(self) -> list[_Part]:
        """All ways to put the whole together."""
        count = len(self.product.factors)
        found: dict[Edge, list[_Part]] = {(k, k): self._single(factor) for k, factor in enumerate(self.product.factors)}
        for width in range(1, count):
            for first in range(count - width):
                parts: dict[tuple[Any, ...], _Part] = {}
                for middle in range(first, first + width):
                    for left in found[first, middle]:
                        for right in found[middle + 1, first + width]:
                            if left.cost + right.cost <= self.most:
                                self._join(left, right, self.product.signs[middle], parts)
                best = sorted(parts.values(), key=lambda part: part.cost)
                found[first, first + width] = best if width == count - 1 else best[:MOST_BRACKETINGS]
        return found[0, count - 1]

    def _single(self, factor: int) -> list[_Part]:
        view = self.view
        found = [_Part(0, factor, 0, 0)]
        core = view.nodes[view.core(factor)]
        if view.is_array(factor) and self.most:
            found.append(_Part(1, view.transposed(factor), 0, 1))
        if view.is_diag(view.core(factor)) and self.most:
            found.append(_Part(1, core.args[0], 1, 0))
            found.append(_Part(1, view.transposed(core.args[0]), 1, 0))
        return found

    def _join(self, left: _Part, right: _Part, sign: str, parts: dict[tuple[Any, ...], _Part]) -> None:
        view = self.view
        a, b = view.shape(left.node), view.shape(right.node)
        if a is None or b is None:
            return
        is_open = sign in OPEN_SIGNS
        joins: list[tuple[int, int]] = []
        diags = left.diags + right.diags
        if a == (1, 1) or b == (1, 1):
            joins.append((0, view.product(left.node, right.node)))
        else:
            if a[1] == b[0]:
                joins.append((int(not is_open and sign not in MATRIX_SIGNS), view.product(left.node, right.node)))
            if a == b:
                joins.append((int(not is_open and sign in MATRIX_SIGNS), view.entrywise(left.node, right.node)))
            if a[1] == 1 and a[0] == b[0] and b[1] > 1:
                joins.append((1, view.product(view.diag(left.node), right.node)))
            if b[1] == 1 and a[1] == b[0] and a[0] > 1:
                joins.append((1, view.product(left.node, view.diag(right.node))))
        for cost, node in joins:
            total = left.cost + right.cost + cost
            if total > self.most:
                continue
            value = view.trial.inner(node)
            if value is None:
                continue
            key = (len(value), *itertools.chain.from_iterable(value))
            more = view.nodes[node].kind == "product" and any(view.is_diag(arg) for arg in view.nodes[node].args)
            part = _Part(total, node, left.operators + right.operators + cost, left.transposes + right.transposes, diags + more)
            if key not in parts or (parts[key].cost, parts[key].diags) > (part.cost, part.diags):
                parts[key] = part


def _change_operators(view: View) -> Iterator[Edit]:
    for edit in regroup(view, 1):
        if edit.kind == "hadamard-vs-product":
            yield edit
    for place in view.places:
        node = view.nodes[place]
        if view.is_diag(place):
            yield Edit("hadamard-vs-product", ((place, node.args[0]),), "{} should not be a diagonal matrix", (place,))
        elif node.kind != "number" and 1 in (view.shape(place) or ()) and view.is_array(place):
            yield Edit("hadamard-vs-product", ((place, view.diag(place)),), "{} should be a diagonal matrix", (place,))


def _transpose(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "entry" and len(parts_of(node)) > 1:
            new = view.add("entry", node.args, parts_of(node)[::-1])
            yield Edit("transpose", ((place, new),), "{} should be {}", (place, new))
    for place in view.places[::-1]:
        if not view.is_array(place) or any(view.nodes[parent].kind == "transpose" for parent in view.parents.get(place, ())):
            continue
        yield from _replace(view, place, view.transposed(place), "transpose")
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "product" and len(node.args) > 2 and set(view.signs(place)) <= MATRIX_SIGNS:
            for first, behind in itertools.combinations(range(len(node.args) + 1), 2):
                if 1 < behind - first < len(node.args):
                    part = view.product(*node.args[first:behind])
                    factors = [*node.args[:first], view.transposed(part), *node.args[behind:]]
                    yield Edit("transpose", ((place, view.product(*factors)),), "{} should be transposed", (part,))
    for edit in regroup(view, 1):
        if edit.kind == "transpose":
            yield edit


def _reorder(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "elementwise" and len(node.args) == 2 and view.signs(place) == ("⊗",):
            new = view.add("elementwise", node.args[::-1], node.value)
            yield Edit("factor-order", ((place, new),), "the factors stand in another order: {}", (new,))
    for product in view.matrix_products:
        factors = product.factors
        if not 2 <= len(factors) < LONGEST or not set(product.signs) <= MATRIX_SIGNS | OPEN_SIGNS:
            continue
        shapes = {factor: view.shape(factor) for factor in factors}
        arrays = [factor for factor in factors if shapes[factor] not in (None, (1, 1))]
        numbers = [factor for factor in factors if factor not in arrays]
        for order in itertools.permutations(arrays):
            if list(order) == arrays or not all(map(_fit, map(shapes.get, order), map(shapes.get, order[1:]))):
                continue
            new = view.product(*numbers, *order)
            yield Edit("factor-order", ((product.node, new),), "the factors stand in another order: {}", (new,))


def _move_points(view: View) -> Iterator[Edit]:
    tape = view.trial.solution.tape
    users: dict[int, list[int]] = {}
    for value, step in enumerate(tape.steps, tape.leaves):
        if step.operation == "apply":
            users.setdefault(step.inputs[0], []).append(value)
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "apply" and view.nodes[view.core(node.args[0])].kind != "value":
            name = parts_of(node)[0]
            inputs = [step.inputs[0] for step in tape.steps if step.operation == "apply" and step.name == name]
            yield from _exchange(view, node.args[0], dict.fromkeys(inputs), "evaluation-point")
        if node.kind != "value":
            continue
        value = number_of(node)
        maker = tape.step(value)
        others = [*users.get(value, ())]
        if maker is not None and maker.operation == "apply":
            others.append(maker.inputs[0])
        if view.is_point(place):
            others += [other for other in _alike(view, value) if other not in others]
        yield from _exchange(view, place, others, "evaluation-point")


def _fit(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    """Whether two matrices can be multiplied."""
    return one is not None and other is not None and one[1] == other[0]


def _exchange(view: View, place: int, values: Iterable[int], kind: str) -> Iterator[Edit]:
    """Another value, in one place or in all."""
    for other in values:
        yield from _replace(view, place, view.value(other), kind)


def _replace(view: View, place: int, new: int, kind: str) -> Iterator[Edit]:
    """Another formula, in one place or in all."""
    yield Edit(kind, ((place, new),), "{} should be {}", (place, new))
    changes = view.everywhere(place, new)
    if len(changes) > 1 and view.is_first(place):
        yield Edit(kind, changes, "{} should be {}", (place, new))


def _alike(view: View, value: int) -> list[int]:
    """Named values of the same shape."""
    tape = view.trial.solution.tape
    shape = tape.shapes[value]
    return [other for other, name in enumerate(tape.names) if name and other != value and tape.shapes[other] == shape][:MOST_VALUES]


def _change_indices(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "value":
            yield from _exchange(view, place, _neighbours(view, number_of(node)), "wrong-index")
        elif node.kind == "derivative":
            atom = atoms[number_of(node)]
            for k, other in enumerate(atoms):
                if k == node.value or len(other.by) != len(atom.by) or (other.of, other.by) == (atom.of, atom.by):
                    continue
                pairs = [(atom.of, other.of), *zip(atom.by, other.by, strict=True)]
                if all(a == b or b in _neighbours(view, a) for a, b in pairs):
                    new = view.add("derivative", (), k)
                    yield Edit("wrong-index", ((place, new),), "{} should be {}", (place, new))
    yield from _change_entries(view)
    together: dict[object, list[int]] = {}  # the terms of a sum that was written with an index, and all names with one letter
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind == "value":
            together.setdefault((node.start, node.end), []).append(place)
            if len(_in_order(view, number_of(node))[0]) > 1:
                together.setdefault("all", []).append(place)
            for name in {stem(spelling) for spelling in view.trial.spellings(number_of(node))}:
                together.setdefault(name, []).append(place)
    for copies in together.values():
        ordered = [(place, _in_order(view, number_of(view.nodes[view.core(place)]))) for place in copies]
        for shift in (-1, 1):
            changes = []
            for place, (values, at) in ordered:
                if 0 <= at + shift < len(values):
                    changes.append((place, view.value(values[at + shift])))
            if len(changes) == len(copies) > 1:
                yield Edit("wrong-index", tuple(changes), "{} has a wrong index", (copies[0],))


def _change_entries(view: View) -> Iterator[Edit]:
    """Another index of an entry, among those that the formula has."""
    entries = [place for place in view.places if view.nodes[place].kind == "entry"]
    names = dict.fromkeys(index for place in entries for index in parts_of(view.nodes[place]))
    for place in entries:
        node = view.nodes[place]
        indices = parts_of(node)
        for k, name in itertools.product(range(len(indices)), names):
            if name != indices[k]:
                new = view.add("entry", node.args, (*indices[:k], name, *indices[k + 1 :]))
                yield Edit("wrong-index", ((place, new),), "an index of {} should be {}", (place, new))


def _in_order(view: View, value: int) -> tuple[list[int], int]:
    """The values that bear the same letter, by their numbers, and where this one is among them."""
    numbered = {
        int(spelling.suffix): other
        for other in [value, *_neighbours(view, value)]
        for spelling in view.trial.spellings(other)
        if spelling.suffix.isdecimal() and len(spelling.suffix) < 9
    }
    values = [numbered[number] for number in sorted(numbered)]
    return values, values.index(value) if value in values else -9


def _neighbours(view: View, value: int) -> list[int]:
    """Named values whose names differ in the index only."""
    tape, trial = view.trial.solution.tape, view.trial
    stems = {stem(spelling) for spelling in trial.spellings(value)}
    return [
        other
        for other, name in enumerate(tape.names)
        if name and other != value and any(stem(spelling) in stems for spelling in trial.spellings(other))
    ][:MOST_VALUES]


def _drop_twins(view: View) -> Iterator[Edit]:
    for place, k, new in _without_factors(view):
        factors = view.nodes[place].args
        keys = {view.keys[factors[k]], view.keys[view.core(view.transposed(factors[k]))]}
        if any(view.keys[factors[j]] in keys for j in (k - 1, k + 1) if 0 <= j < len(factors)):
            yield Edit("repeated-factor", ((place, new),), "the factor {} stands there twice", (factors[k],))
    yield from _change_powers(view, -1, "repeated-factor")


def _change_powers(view: View, by: int, kind: str) -> Iterator[Edit]:
    """One factor more or less in a power."""
    for place in view.places:
        node = view.nodes[place]
        new = -1
        if node.kind == "power" and isinstance(node.value, tuple) and node.value[0].denominator == 1 and node.value[0] > 1:
            new = view.add("power", node.args, (node.value[0] + by, node.value[1]))
        elif by < 0 and node.kind == "call" and node.value == ("sqnorm", ""):
            new = view.add("norm", node.args, "")
        elif by > 0 and node.kind == "norm":
            new = view.add("call", node.args, ("sqnorm", ""))
        elif by > 0 and node.kind in ("value", "name", "apply") and view.is_beside_number(place):
            new = view.entrywise(place, place)
        if new >= 0:
            yield Edit(kind, ((place, new),), "{} should be {}", (place, new))


def _drop_factors(view: View) -> Iterator[Edit]:
    yield from _drop_slopes(view)
    for place, k, new in _without_factors(view):
        factor = view.nodes[place].args[k]
        kind = "constant-factor" if all(view.nodes[at].kind in NUMBERS for at in view.trial.formulas.below(factor)) else "extra-factor"
        yield Edit(kind, ((place, new),), "the factor {} is too much", (factor,))
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "fraction" and view.nodes[view.core(node.args[1])].kind not in ("number", "size"):
            yield Edit("extra-factor", ((place, node.args[0]),), "the denominator of {} is too much", (place,))


def _drop_slopes(view: View) -> Iterator[Edit]:
    """Factors side by side that make up the derivative of a function, as y ⊙ (1 - y) does."""
    slopes = [view.trial.inner(slope) for slope in view.slopes()]
    for place in view.places:
        node = view.nodes[place]
        if node.kind not in ("product", "elementwise") or len(node.args) < 3:
            continue
        for k, sign in enumerate(view.signs(place)):
            pair = view.add(node.kind, node.args[k : k + 2], (sign,))
            value = view.trial.inner(pair)
            if value is not None and value in slopes:
                yield Edit("extra-factor", ((place, _without(view, place, k, 2)),), "the factor {} is too much", (pair,))


def _without(view: View, place: int, first: int, count: int) -> int:
    """A product without some of its factors."""
    node, signs = view.nodes[place], view.signs(place)
    args = node.args[:first] + node.args[first + count :]
    rest = signs[: first - 1] + signs[first - 1 + count :] if first else signs[count:]
    return args[0] if len(args) == 1 else view.add(node.kind, args, rest)


def _without_factors(view: View) -> Iterator[tuple[int, int, int]]:
    """Products, the place of a factor in each, and the product without it."""
    for place in view.places:
        node = view.nodes[place]
        if node.kind not in ("product", "elementwise"):
            continue
        signs = view.signs(place)
        for k, factor in enumerate(node.args):
            if view.nodes[view.core(factor)].kind in ("number", "size"):
                continue  # that would be a constant
            if k or signs[:1] not in (("/",), ("./",), ("⊘",)):
                yield place, k, _without(view, place, k, 1)


def _insert_factors(view: View) -> Iterator[Edit]:
    yield from _change_powers(view, 1, "missing-factor")
    material = [(node, shape) for node, shape in view.factors() if shape != (1, 1)]
    inner = {arg for place in view.places if view.nodes[place].kind == "product" for arg in view.nodes[place].args}
    wanted = dense.size(view.trial.expected())
    for place in view.places:
        if place not in view.linear or place in inner:
            continue
        node = view.nodes[place]
        factors = node.args if node.kind == "product" and set(view.signs(place)) <= MATRIX_SIGNS else (place,)
        shapes = [view.shape(factor) for factor in factors]
        if None in shapes:
            continue
        for gap in range(len(factors) + 1):
            before = next((shape for shape in shapes[gap - 1 :: -1] if shape != (1, 1)), None) if gap else None
            after = next((shape for shape in shapes[gap:] if shape != (1, 1)), None)
            for factor, shape in material:
                if (before and before[1] != shape[0]) or (after and after[0] != shape[1]):
                    continue
                if place == view.trial.root and ((not before and shape[0] != wanted[0]) or (not after and shape[1] != wanted[1])):
                    continue
                new = view.product(*factors[:gap], factor, *factors[gap:])
                yield Edit("missing-factor", ((place, new),), "the factor {} is missing", (factor,))
        whole = view.shape(place)
        for factor, shape in material:
            if shape == whole:
                new = view.entrywise(place, factor)
                yield Edit("missing-factor", ((place, new),), "the factor {} is missing", (factor,))


def _flip_signs(view: View) -> Iterator[Edit]:
    for place in view.places:
        node = view.nodes[place]
        if node.kind == "sum":
            signs = parts_of(node)
            for k, arg in enumerate(node.args):
                flipped = (*signs[:k], -signs[k], *signs[k + 1 :])
                yield Edit("sign", ((place, view.add("sum", node.args, flipped)),), "the sign of {} is wrong", (arg,))
        elif node.kind == "bars" or (node.kind == "apply" and node.value == ("abs", 0)):
            yield Edit("sign", ((place, node.args[0]),), "the absolute value {} loses the sign", (place,))
        elif node.kind == "negate":
            yield Edit("sign", ((place, node.args[0]),), "the sign of {} is wrong", (place,))
        elif node.kind in POINTS:
            for arg in node.args:
                yield Edit("sign", ((arg, view.add("negate", (arg,))),), "the sign of {} is wrong", (arg,))


def _exchange_factors(view: View) -> Iterator[Edit]:
    material = view.factors()
    whole = view.trial.inner(view.trial.root)
    stands = view.trial.value(view.trial.root) is not None  # with what it may leave open, such as the size of 1
    fits = stands and whole is not None and dense.size(whole) == dense.size(view.trial.expected())
    factors = {arg for place in view.places if view.nodes[place].kind in ("product", "elementwise") for arg in view.nodes[place].args}
    for place in view.places:
        kind = view.nodes[view.core(place)].kind
        if kind not in ("value", "derivative", "apply", "transpose", "entry") and (place not in factors or kind == "number"):
            continue
        if view.nodes[place].kind != "name" and len(view.trial.formulas.below(place)) > MOST_EXCHANGED:
            continue  # a derivative in place of a large part would explain anything
        shape = view.shape(place)
        for new, its in material:
            if view.keys[new] == view.keys[place] or view.are_one_derivative(new, place) or (fits and shape is not None and its != shape):
                continue
            yield Edit("wrong-factor", ((place, new),), "{} should be {}", (place, new))


def _read_as_total(view: View) -> Iterator[Edit]:
    atoms = view.trial.solution.atoms
    for place in view.places:
        node = view.nodes[view.core(place)]
        if node.kind != "derivative":
            continue
        atom = atoms[number_of(node)]
        for k, other in enumerate(atoms):
            if k != node.value and (other.of, other.by) == (atom.of, atom.by) and other.meanings[0] != atom.meanings[0]:
                new = view.add("derivative", (), k)
                yield Edit("partial-for-total", view.everywhere(place, new), f"{{}} has to be the {other.meanings[0]} derivative", (place,))


# --- detours ---


class Way:
    """The steps between the variable and the output, with their edges: a step and one of its slots each."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.tape = trial.solution.tape
        inside = set(trial.inside)
        self.edges: list[Edge] = []
        self.leaving: dict[int, list[Edge]] = {}
        self.entering: dict[int, list[Edge]] = {}
        for value in trial.inside:
            step = self.tape.step(value)
            if step is None or value == trial.by:
                continue
            for slot, source in enumerate(step.inputs):
                if source in inside:
                    self.edges.append((value, slot))
                    self.leaving.setdefault(source, []).append((value, slot))
                    self.entering.setdefault(value, []).append((value, slot))
        self.edges = self.edges[-MOST_EDGES:]

    def step(self, edge: Edge) -> Step:
        """The step that an edge leads to."""
        return self.tape.steps[edge[0] - self.tape.leaves]

    def source(self, edge: Edge) -> int:
        """The value that an edge comes from."""
        return self.step(edge).inputs[edge[1]]

    def value(self, value: int) -> int:
        """A value as a formula."""
        return self.trial.formulas.add("value", (), value)

    def slope(self, edge: Edge, argument: int) -> int:
        """The derivative of the function of an edge, as a formula."""
        return self.trial.formulas.add("apply", (self.value(argument),), (self.step(edge).name, 1))

    def functions(self) -> Iterator[tuple[Edge, int]]:
        """The edges through activations, with their slopes as formulas."""
        for edge in self.edges:
            if is_activation(self.step(edge)):
                yield edge, self.slope(edge, self.source(edge))

    def block(self, detour: Detour, world: int) -> Dense | None:
        """What the derivation with a mistake comes to, None if that is right."""
        at = self.trial.worlds[world]
        try:
            changed = {edge: self._jacobian(detour, edge, world) for edge in detour.edges}
            jacobian = at.total(self.trial.of, self.trial.by, changed=changed)
        except ArithmeticError:
            return None
        value = self.trial.arranged(jacobian, world)
        return None if value == self.trial.expected(world) else value

    def _jacobian(self, detour: Detour, edge: Edge, world: int) -> Dense | None:
        """What takes the place of the Jacobian of a step."""
        at = self.trial.worlds[world]
        if detour.change == "cut":
            return None
        local = at.local(*edge)
        if detour.change == "identity":
            return dense.identity(len(local), at.numbers)
        if detour.change == "transpose":
            return dense.transpose(local)
        off = [[entry - entry if i == j else entry for j, entry in enumerate(row)] for i, row in enumerate(local)]
        if detour.change == "no diagonal":
            return off
        if detour.change == "diagonal":
            return difference(local, off)
        value = self.trial.inner(detour.node, world)
        if value is None:
            raise dense.DomainError("it has no value")
        diagonal = dense.diag([[entry] for entry in dense.entries(value)])
        return diagonal if detour.change == "entries" else difference(local, diagonal)


def _cut(way: Way) -> Iterator[Detour]:
    branching = [edge for edge in way.edges if len(way.entering[edge[0]]) > 1 or len(way.leaving[way.source(edge)]) > 1]
    cuts: list[tuple[Edge, ...]] = [(edge,) for edge in branching]
    cuts += [tuple(edge for edge in edges if edge != kept) for edges in way.leaving.values() if len(edges) > 2 for kept in edges]
    if len(branching) <= MOST_BRANCHING:
        cuts += list(itertools.combinations(branching, 2))
    for edges in cuts:
        ends = tuple([way.value(end) for edge in edges[:MOST_NAMED] for end in (way.source(edge), edge[0])])
        paths = " and ".join(["from {} to {}"] * (len(ends) // 2))
        yield Detour("missing-path", edges, "cut", f"the path {paths} is missing", ends)


def _simplify_softmax(way: Way) -> Iterator[Detour]:
    say = "the softmax's Jacobian is diag(p) - p pᵀ with p = {}: {}"
    for edge in way.edges:
        if way.step(edge).operation == "softmax":
            p = way.value(edge[0])
            for change, missing in _SOFTMAX_PARTS.items():
                yield Detour("softmax-diagonal", (edge,), change, say.format("{}", missing), (p,), p)


_SOFTMAX_PARTS = {
    "diagonal": "what is off the diagonal is missing",
    "entries": "the term p pᵀ, a sum over all entries, is missing",
    "all but entries": "the term diag(p) is missing",
    "no diagonal": "the diagonal is missing",
}


def _forget_slopes(way: Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        yield Detour("missing-activation-derivative", (edge,), "identity", "{} is missing", (slope,))


def _forget_functions(way: Way) -> Iterator[Detour]:
    for edge in way.edges:
        if way.step(edge).operation == "apply" and not is_activation(way.step(edge)):
            slope = way.slope(edge, way.source(edge))
            yield Detour("missing-factor", (edge,), "identity", "{} is missing", (slope,))


def _leave_functions(way: Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        value = way.value(edge[0])
        yield Detour("activation-for-derivative", (edge,), "entries", "{} stands for the derivative {}", (value, slope), value)


def _slopes_elsewhere(way: Way) -> Iterator[Detour]:
    for edge, slope in way.functions():
        other = way.slope(edge, edge[0])
        yield Detour("evaluation-point", (edge,), "entries", "{} stands for {}", (other, slope), other)


def _slopes_of_others(way: Way) -> Iterator[Detour]:
    """The slopes a (1 - a) and 1 - a² at a function that is neither sigmoid nor tanh."""
    add = way.trial.formulas.add
    for edge, slope in way.functions():
        value, one = way.value(edge[0]), add("number", (), Fraction(1))
        square = add("elementwise", (value, value), ("⊙",))
        others = {"sigmoid": add("sum", (value, square), (1, -1)), "tanh": add("sum", (one, square), (1, -1))}
        for name, other in others.items():
            if name != way.step(edge).name:
                yield Detour("wrong-factor", (edge,), "entries", f"{{}}, the derivative of {name}, stands for {{}}", (other, slope), other)


def _transpose_factors(way: Way) -> Iterator[Detour]:
    for edge in way.edges:
        shape = way.tape.shapes[edge[0]]
        if way.step(edge).operation == "product" and shape == way.tape.shapes[way.source(edge)] and not shape.is_matrix:
            ends = (way.value(way.source(edge)), way.value(edge[0]))
            yield Detour("transpose", (edge,), "transpose", "the Jacobian from {} to {} is transposed", ends)


# --- the table ---


class Example(NamedTuple):
    """A wrong answer in which a mistake is made."""

    composition: str
    wrt: str
    answer: str
    layout: str = "mixed"


class Mistake(NamedTuple):
    """One mistake: its slug, what makes the answer right, the edits that do, the detours that make it, and an example."""

    kind: str
    description: str
    example: Example
    edits: Callable[[View], Iterator[Edit]] | None = None
    detours: Callable[[Way], Iterator[Detour]] | None = None


_LAYER = "W1: m x n; W2: k x m; x: n; b: m; y: k; z1 = W1 x + b; a1 = tanh(z1); z2 = W2 a1; L = 1/2 ||z2 - y||^2"
_LOSS = "W: m x n; V: m x n; x: n; b: m; z = W x + b; a = g(z); g: elementwise; L = l(a)"
_CELL = "o: n; c: n; L: scalar; a = o .* tanh(c); L = l(a, c)"
_BATCH = "W: m x n; X: n x N; b: m; Z = W X + b*ones(1,N); A = tanh(Z); L = l(A); L: scalar"
_SKIPS = "A: m x n; x: n; L: scalar; c = A x; a1 = tanh(c); a2 = sin(c); a3 = exp(c); L = l(c, a1, a2, a3) + r(c)"
_SOFTMAX = "z: n; p = softmax(z); L = l(p); L: scalar"

MISTAKES = (
    Mistake(
        "mixed-layout",
        "some factors or blocks are read in another layout",
        Example("x: n; A: n x n; f = x^T A x", "x", "x^T A + A x"),
        _read_otherwise,
    ),
    Mistake(
        "missing-path",
        "a term of the chain rule's sum is added",
        Example(_CELL, "c", r"\frac{\partial L}{\partial a} \odot o \odot (1 - \tanh(c)^2)"),
        _add_paths,
        _cut,
    ),
    Mistake(
        "extra-path", "a term of the chain rule's sum is dropped", Example(_LAYER, "W2", r"(z_2 - y) a_1^T + (z_2 - y) b^T"), _drop_paths
    ),
    Mistake(
        "missing-sum",
        "a sum over samples, components or uses is restored",
        Example(_BATCH, "b", r"\frac{\partial L}{\partial A} \odot (1 - A \odot A)"),
        _add_sums,
    ),
    Mistake(
        "softmax-diagonal",
        "the softmax Jacobian's off-diagonal or row-sum term is restored",
        Example(_SOFTMAX, "z", r"p \odot (1 - p) \odot \frac{\partial L}{\partial p}"),
        None,
        _simplify_softmax,
    ),
    Mistake(
        "activation-for-derivative",
        "an activation is replaced by its derivative",
        Example(_LOSS, "b", r"\frac{\partial L}{\partial a} \odot g(z)"),
        _differentiate_functions,
        _leave_functions,
    ),
    Mistake(
        "missing-activation-derivative",
        "an activation's derivative is inserted",
        Example(_LAYER, "W1", r"W_2^T (z_2 - y) x^T"),
        _insert_slopes,
        _forget_slopes,
    ),
    Mistake(
        "hadamard-vs-product",
        "one elementwise product or diag becomes a matrix product, or the reverse",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) (1 - a_1 \odot a_1)"),
        _change_operators,
    ),
    Mistake(
        "transpose",
        "one transpose is added or removed",
        Example(_LAYER, "W1", r"(W_2 (z_2 - y) \odot (1 - a_1 \odot a_1)) x^T"),
        _transpose,
        _transpose_factors,
    ),
    Mistake(
        "factor-order",
        "factors are permuted",
        Example("A: n x n; B: n x n; x: n; y: n; y = A B x; L = l(y); L: scalar", "x", r"A^T B^T \frac{\partial L}{\partial y}"),
        _reorder,
    ),
    Mistake(
        "evaluation-point",
        "a factor is evaluated elsewhere",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) \odot (1 - z_1 \odot z_1)"),
        _move_points,
        _slopes_elsewhere,
    ),
    Mistake(
        "wrong-index",
        "a name is replaced by its neighbour in index",
        Example(_LAYER, "W1", r"(W_1^T (z_2 - y) \odot (1 - a_1 \odot a_1)) x^T"),
        _change_indices,
    ),
    Mistake(
        "repeated-factor",
        "a factor is dropped whose twin stands beside it",
        Example(_LAYER, "b", r"W_2^T (z_2 - y) \odot (1 - a_1 \odot a_1) \odot (1 - a_1 \odot a_1)"),
        _drop_twins,
    ),
    Mistake("extra-factor", "a factor is dropped", Example(_LOSS, "b", r"(\frac{\partial L}{\partial a} \odot g'(z)) x^T"), _drop_factors),
    Mistake(
        "missing-factor",
        "a factor is inserted",
        Example(_LOSS, "W", r"\frac{\partial L}{\partial a} \odot g'(z)"),
        _insert_factors,
        _forget_functions,
    ),
    Mistake("sign", "a sign is flipped", Example(_LAYER, "b", r"W_2^T (y - z_2) \odot (1 - a_1 \odot a_1)"), _flip_signs),
    Mistake("constant-factor", "a number is put right", Example(_LAYER, "b", r"2 W_2^T (z_2 - y) \odot (1 - a_1 \odot a_1)")),
    Mistake(
        "wrong-factor",
        "one factor is replaced by another of the problem",
        Example(_LAYER, "b", r"W_2^T y \odot (1 - a_1 \odot a_1)"),
        _exchange_factors,
        _slopes_of_others,
    ),
    Mistake(
        "partial-for-total",
        "a partial derivative is read as a total one where a skip makes them differ",
        Example(_SKIPS, "x", r"A^T \frac{\partial L}{\partial c}"),
        _read_as_total,
    ),
    Mistake("shape", "nothing specific was found and the shapes do not fit", Example(_LAYER, "W1", r"x W_1 y^T W_1")),
    Mistake("other", "nothing else fits", Example(_LAYER, "W1", r"b b^T W_1")),
)
"""The mistakes of one block, in the order of preference; what concerns whole blocks comes before them."""
