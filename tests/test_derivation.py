"""The crown: what is printed equals SymPy's ``Matrix.jacobian`` of the explicit composition, in every layout."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sympy.matrices.exceptions import ShapeError

from jacobian_chain.derivation import Derivation, derive, expand_derivation, inline
from jacobian_chain.errors import OptionError, Source
from jacobian_chain.layout import LAYOUTS, orient
from jacobian_chain.maps import Arena, Map
from jacobian_chain.notation import NOTATIONS, Labels, Page
from jacobian_chain.reading import read_composition
from jacobian_chain.render import Composer, write_value
from jacobian_chain.tape import Tape
from jacobian_chain.writers import LatexWriter
from tests.compositions import Layer, Problem, problems
from tests.readback import read_block


class Numbers:
    """The numbers of a problem's values, steps and partial Jacobians at its point."""

    def __init__(self, problem: Problem, tape: Tape) -> None:
        self.problem, self.tape = problem, tape
        named = problem.point()
        self.values: list[list[Any]] = []
        for value, name in enumerate(tape.names):
            step = tape.step(value)
            if step is None:
                self.values.append(named[name])
                continue
            inputs = [self.values[source] for source in step.inputs]
            if step.operation == "layer":
                result = problem.layers[step.name].apply(inputs)
            elif step.operation == "scale":
                result = [inputs[0][0] * entry for entry in inputs[1]]
            else:
                numbers = [sympy.Rational(c.numerator, c.denominator) for c in step.coefficients]
                result = [sum(c * entry for c, entry in zip(numbers, column, strict=True)) for column in zip(*inputs, strict=True)]
            self.values.append(result)
            assert not name or named[name] == result, "the tape computes something else than the text says"

    def partial(self, node: Map) -> sympy.Matrix:
        step = self.tape.steps[node.of - self.tape.leaves]
        return self.problem.layers[step.name].jacobian([self.values[source] for source in step.inputs], node.by)


def evaluate_nodes(maps: tuple[Map, ...], numbers: Numbers, root: int, size: int) -> sympy.Matrix:
    """The matrix of a node by its table in :mod:`jacobian_chain.maps`."""
    node = maps[root]
    if node.kind == "identity":
        return sympy.eye(size)
    if node.kind in ("partial", "scale"):
        matrix = numbers.partial(node) if node.kind == "partial" else sympy.Matrix(numbers.values[node.of])
        return matrix.T if node.adjoint else matrix
    if node.kind == "multiple":
        return sympy.eye(size) * sympy.Rational(node.coefficient.numerator, node.coefficient.denominator)
    if node.kind == "times":
        return sympy.eye(size) * numbers.values[node.of][0]
    if node.kind == "sum":
        return sum((evaluate_nodes(maps, numbers, arg, size) for arg in node.args[1:]), evaluate_nodes(maps, numbers, node.args[0], size))
    assert node.kind == "product", node
    result = sympy.eye(size)
    for arg in reversed(node.args):
        result = evaluate_nodes(maps, numbers, arg, result.rows) * result
    return result


def prepare(problem: Problem) -> tuple[Tape, Derivation, Numbers]:
    tape = read_composition(Source(problem.text)).tape
    output = tape.index(problem.output)
    variables = [tape.index(name) for name in problem.wrt]
    assert output is not None
    derivation = derive(tape, output, [value for value in variables if value is not None])
    assert len(derivation.blocks) == len(problem.wrt)
    return tape, derivation, Numbers(problem, tape)


def check_nodes(problem: Problem, derivation: Derivation, numbers: Numbers, expected: dict[str, sympy.Matrix]) -> None:
    """The nodes of a derivation, and their expansion, are the Jacobian."""
    maps = inline(derivation)
    expanded = expand_derivation(derivation)
    for name, root, words in zip(problem.wrt, derivation.blocks, expanded.blocks, strict=True):
        if maps[root].kind == "zero":
            assert expected[name].is_zero_matrix
            continue
        assert evaluate_nodes(maps, numbers, root, problem.sizes[name]) == expected[name]
        assert evaluate_nodes(expanded.maps, numbers, words, problem.sizes[name]) == expected[name]


def check_print(page: Page, problem: Problem, numbers: Numbers, expected: dict[str, sympy.Matrix]) -> None:
    """What a page prints, read back and multiplied, is the Jacobian in the page's layout."""
    derivation, tape = page.derivation, page.tape
    writer = LatexWriter()
    maps = orient(derivation.maps, tape.shapes[derivation.output], page.layout)
    lines = derivation.lines or derivation.definitions
    composer = Composer(page, writer, maps, (*derivation.blocks, *(line.map for line in lines)))
    known: dict[str, Any] = {}
    for value, (name, entries) in enumerate(zip(tape.names, numbers.values, strict=True)):
        if name and len(entries) == 1:
            known[name] = entries[0]
        text = writer.name(page.labels.value(value)) if name else write_value(tape, value, writer, page.labels)
        column = sympy.Matrix(entries)
        for base in (text, f"({text})"):
            for form in (base, writer.vec(base), f"({writer.vec(base)})"):
                known[f"value:{form}"] = entries[0] if len(entries) == 1 else column
                known[f"value:{form}^{{\\top}}"] = entries[0] if len(entries) == 1 else column.T
    totals: dict[tuple[int, int], sympy.Matrix] = {}
    transposes = page.layout.transposes(tape.shapes[derivation.output])

    def lookup(node: Map) -> sympy.Matrix:
        return totals[node.of, node.by] if node.kind == "total" else numbers.partial(node)

    rows = len(numbers.values[derivation.output])

    def matrix_of(root: int, by: int) -> sympy.Matrix:
        size = len(numbers.values[by])
        text = composer.text(root, by)
        if text == "0":
            return sympy.zeros(*((size, rows) if transposes else (rows, size)))
        value = read_block(page, text, lookup, known, size)
        assert isinstance(value, sympy.MatrixBase) or value.has(sympy.Symbol("I_")) or size == 1, "a number stands for a matrix"
        return value if isinstance(value, sympy.MatrixBase) else sympy.eye(size) * value.subs(sympy.Symbol("I_"), 1)

    for line in lines:
        value = matrix_of(line.map, line.by)
        totals[line.of, line.by] = value.T if transposes else value
    for name, root, variable in zip(problem.wrt, derivation.blocks, derivation.variables, strict=True):
        left = page.read(composer.left_side((variable,), ""))
        number = len(numbers.values[variable]) == len(numbers.values[derivation.output]) == 1
        assert (left.kind, left.of, left.by) == ("total", derivation.output, variable)
        assert left.adjoint == (transposes and not number)
        if maps[root].kind == "zero":
            assert expected[name].is_zero_matrix
            assert composer.text(root, variable) == "0"
        else:
            assert matrix_of(root, variable) == (expected[name].T if transposes else expected[name]), composer.text(root, variable)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.sampled_from(sorted(NOTATIONS)), st.sampled_from(["inputs", "outputs"]), st.booleans(), st.booleans())
def test_equals_the_explicit_jacobian(problem: Problem, notation: str, naming: str, points: bool, shared: bool) -> None:
    tape, derivation, numbers = prepare(problem)
    expected = {name: problem.jacobian(name) for name in problem.wrt}
    check_nodes(problem, derivation, numbers, expected)
    if shared:
        derivation = derive(tape, derivation.output, derivation.variables, shared=True)
        check_nodes(problem, derivation, numbers, expected)
    for layout in LAYOUTS.values():
        labels = Labels(tape, derivation.output, naming)
        try:
            page = Page(derivation, layout, NOTATIONS[notation], labels, points)
        except OptionError as error:
            event(f"refused: {str(error)[:40]}")
            continue
        check_print(page, problem, numbers, expected)


def _reverse_products(arena: Arena, factors: Iterable[int], original: Any = Arena.product) -> int:
    return int(original(arena, list(factors)[::-1]))


def _transpose_only(maps: tuple[Map, ...]) -> tuple[Map, ...]:
    return tuple(node._replace(adjoint=not node.adjoint) if node.kind == "partial" else node for node in maps)


def _reverse_only(maps: tuple[Map, ...]) -> tuple[Map, ...]:
    return tuple(node._replace(args=node.args[::-1]) if node.kind == "product" else node for node in maps)


def _first_path(_arena: Arena, terms: Iterable[int], _scalar: bool) -> int:
    return next(iter(terms))


PLANTED: dict[str, tuple[str, Any]] = {
    "an adjoint that does not reverse": ("jacobian_chain.layout.adjoint", _transpose_only),
    "an adjoint that does not transpose": ("jacobian_chain.layout.adjoint", _reverse_only),
    "only the first path": ("jacobian_chain.maps.Arena.sum", _first_path),
    "factors in reverse": ("jacobian_chain.maps.Arena.product", _reverse_products),
}


def check_all(problem: Problem) -> None:
    tape, derivation, numbers = prepare(problem)
    expected = {name: problem.jacobian(name) for name in problem.wrt}
    check_nodes(problem, derivation, numbers, expected)
    page = Page(derivation, LAYOUTS["denominator"], NOTATIONS["partial"], Labels(tape, derivation.output, "outputs"), False)
    check_print(page, problem, numbers, expected)


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails when the adjoint, the order or the sum over paths is broken, square factors included."""
    monkeypatch.setattr(*PLANTED[bug])
    for problem in PROBLEMS[:-1]:
        with pytest.raises((AssertionError, ShapeError)):
            check_all(problem)
    with pytest.raises(AssertionError):
        check_all(PROBLEMS[-1])


def test_a_dropped_identity_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x: 3; t: 2; y: 3; y = 2 x - f1(x, t)"
    tree = ("sum", [(Fraction(2), ("name", "x")), (Fraction(-1), ("call", "f1", [("name", "x"), ("name", "t")]))])
    problem = Problem(text, {"f1": Layer((3, 2), 3, 4)}, {"x": 3, "t": 2}, ["x"], {"y": tree}, "y", {"x": 3, "t": 2, "y": 3})
    check_all(problem)
    write = Composer.write
    monkeypatch.setattr(Composer, "write", lambda self, root, by: [piece for piece in write(self, root, by) if piece != "I"])
    with pytest.raises(AssertionError):
        check_all(problem)


@pytest.mark.parametrize("position", range(3))
def test_the_problems_of_planted_bugs_are_right_without_bugs(position: int) -> None:
    check_all(PROBLEMS[position])


def _chain(sizes: tuple[int, int, int, int]) -> Problem:
    """x2 = f2(x1) + f3(x1, x), with x1 = f1(x): two paths, and products of rectangular factors."""
    x, t, one, two = sizes
    layers = {"f1": Layer((x, t), one, 3), "f2": Layer((one,), two, 5), "f3": Layer((one, x), two, 8)}
    first = ("call", "f1", [("name", "x"), ("name", "θ1")])
    second = ("sum", [(Fraction(1), ("call", "f2", [("name", "x1")])), (Fraction(1), ("call", "f3", [("name", "x1"), ("name", "x")]))])
    text = f"x: {x}; θ1: {t}; x1: {one}; x2: {two}; x1 = f1(x, θ1); x2 = f2(x1) + f3(x1, x)"
    return Problem(text, layers, {"x": x, "θ1": t}, ["x", "θ1"], {"x1": first, "x2": second}, "x2", {"x": x, "θ1": t, "x1": one, "x2": two})


PROBLEMS = [_chain((2, 3, 4, 3)), _chain((3, 2, 2, 4)), _chain((2, 2, 2, 2))]
