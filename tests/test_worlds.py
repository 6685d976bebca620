"""Worlds: totals against differences in floats, against derivations exactly among residues; what is held, cut and direct."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from jacobian_chain import dense
from jacobian_chain.arrays import Arrays
from jacobian_chain.blocks import derive_concrete
from jacobian_chain.dense import FLOATS, Dense, Numbers, precise
from jacobian_chain.elementary import Word
from jacobian_chain.errors import ChainError, Source, UnsupportedError
from jacobian_chain.layout import NUMERATOR
from jacobian_chain.numeric import evaluate
from jacobian_chain.operations import OPERATIONS, differential
from jacobian_chain.reading import read_composition
from jacobian_chain.residues import RESIDUES, Residue, has_root
from jacobian_chain.tape import Tape
from jacobian_chain.verification import THRESHOLD, Point, compare, numerical_jacobian
from jacobian_chain.worlds import World, draw, rules_of

CASES = Path(__file__).parent / "cases" / "compositions.jsonl"
PUBLIC = list(dict.fromkeys(json.loads(line)["composition"] for line in CASES.read_text(encoding="utf-8").splitlines()))
EXAMPLES = [record.example for record in OPERATIONS.values() if record.example]
MORE = [
    "X: m x n; W: k x n; b: k; y: m x k; z = X W^T + ones(m) b^T; p = softmax_rows(z); L = -1/m sum(y .* log(p))",
    "x: n; z: n; L = logsumexp(x + z)^2 sum(x)",
    "x: n; y: n; L = ||x - y|| (x^T y)",
    "A: n x n symmetric; x: n; f = x^T A x / (x^T x)",
    "x: n; g(t) = t^2 tanh(t); f = g(g(x))",
    "x: n; s: scalar; f = layernorm(σ(s x) + x)",
    "s: scalar; t: scalar; f = s t + sin(s t) gelu(s)",
    "x: n; u = f(x); v = g(u, x) + u; L = l(v, x)",
    "X: m x n; f = [X, X .* X; X, ones(m, n)]",
    "A: m x n; f = logdet(A A^T)",
]


def read(text: str) -> Tape:
    return read_composition(Source(text)).tape


def value(tape: Tape, name: str) -> int:
    found = tape.index(name)
    assert found is not None
    return found


def agree(numbers: Numbers, one: Dense, other: Dense) -> bool:
    return one == other if numbers is RESIDUES else compare(one, other) < 1e-12


def at(world: World, held: frozenset[int] = frozenset()) -> Point:
    fixed = [*range(world.tape.leaves), *held]
    return Point(world.sizes, {value: world.values[value] for value in fixed})


def pairs(tape: Tape) -> list[tuple[int, int]]:
    """The outputs by every leaf and every value with a name."""
    names = [value for value, name in enumerate(tape.names) if name]
    return [(of, by) for of in tape.outputs() for by in names if by <= of]


# --- totals ---


@pytest.mark.parametrize("text", [*PUBLIC[::2], *EXAMPLES, *MORE])
def test_totals_are_what_differences_give(text: str) -> None:
    world = draw(read(text), 1, FLOATS)
    for of, by in pairs(world.tape):
        numerical = numerical_jacobian(world.tape, of, by, at(world), world.opaque)
        assert compare(world.total(of, by), numerical) < THRESHOLD, (of, by)


@pytest.mark.parametrize("text", [*PUBLIC[::8], *MORE[:4]])
def test_totals_in_many_digits(text: str) -> None:
    world = draw(read(text), 0, precise(50))
    for of, by in pairs(world.tape)[:4]:
        numerical = numerical_jacobian(world.tape, of, by, at(world), world.opaque, 50)
        assert compare(world.total(of, by), numerical) < 1e-25, (of, by)


@pytest.mark.parametrize("text", [*PUBLIC, *EXAMPLES, *MORE])
def test_totals_are_what_derivations_give(text: str) -> None:
    tape = read(text)
    for seed in range(2):
        world = draw(tape, seed)
        for of, by in pairs(tape):
            derivation = derive_concrete(tape, of, [by], NUMERATOR, vec=True)
            arrays, node = derivation.arrays, derivation.blocks[0].node
            known = dict(enumerate(world.values))
            found = evaluate(arrays.steps, arrays.shapes, known, world.sizes, RESIDUES, world.opaque, [node], functions=tape.functions)
            assert world.total(of, by) == found[node], tape.names[by]


@pytest.mark.parametrize("numbers", [RESIDUES, FLOATS], ids=lambda numbers: numbers.name)
def test_totals_follow_from_local_jacobians(numbers: Numbers) -> None:
    world = draw(read("z = W x; a = tanh(z); L = ||a - x||^2; W: n x n"), 0, numbers)
    tape = world.tape
    w, x, z, a, loss = (value(tape, name) for name in ("W", "x", "z", "a", "L"))
    difference = next(index for index, step in enumerate(tape.steps, tape.leaves) if step.operation == "sum")
    outer = world.local(loss, 0)
    inner = dense.product(dense.product(outer, world.local(difference, 0)), world.local(a, 0))
    slots = {source: slot for slot, source in enumerate(tape.steps[z - tape.leaves].inputs)}
    by_w = dense.product(inner, world.local(z, slots[w]))
    by_x = dense.add(dense.product(inner, world.local(z, slots[x])), dense.product(outer, world.local(difference, 1)))
    for by, expected in ((w, by_w), (x, by_x), (z, inner)):
        assert agree(numbers, world.total(loss, by), expected)
    assert agree(numbers, dense.product(world.total(loss, z), world.total(z, w)), by_w)


def test_a_value_by_itself_and_by_what_it_does_not_use() -> None:
    world = draw(read("y = A x; w = ||x||^2; A: m x n; x: n"), 0)
    tape = world.tape
    y, x, w = value(tape, "y"), value(tape, "x"), value(tape, "w")
    assert world.total(y, y) == dense.identity(world.size("m"), RESIDUES)
    for of, by in ((w, y), (x, y), (w, value(tape, "A"))):
        rows, columns = (world.shape(each)[0] * world.shape(each)[1] for each in (of, by))
        assert world.total(of, by) == dense.filled((rows, columns), Residue(0))


def test_a_number_is_added_to_every_entry() -> None:
    world = draw(read("c = 2; y = 3 x - 5 c; x: n"), 0)
    assert world.total(value(world.tape, "y"), value(world.tape, "c")) == dense.filled((world.size("n"), 1), Residue(-5))


# --- held, cut, direct ---

SKIP = "c = tanh(b); a = o .* tanh(c); L = l(a, c); b: n; o: n"


@pytest.mark.parametrize("numbers", [RESIDUES, FLOATS], ids=lambda numbers: numbers.name)
def test_direct_and_total(numbers: Numbers) -> None:
    world = draw(read(SKIP), 0, numbers)
    tape = world.tape
    a, b, c, o, loss = (value(tape, name) for name in ("a", "b", "c", "o", "L"))
    assert [world.is_direct(*pair) for pair in ((loss, c), (loss, a), (loss, b), (loss, o), (a, c), (a, b), (a, o), (c, b))] == [
        True, True, False, False, True, False, True, True,
    ]  # fmt: skip
    last = world.tape.steps[loss - tape.leaves]
    direct = world.direct(loss, c)
    assert direct == world.local(loss, last.inputs.index(c))
    assert direct == world.partial("l", [world.values[a], world.values[c]], (1, 1), 1)
    through = dense.product(world.direct(loss, a), world.direct(a, c))
    expected = dense.add(direct, through)
    assert agree(numbers, world.total(loss, c), expected)
    assert world.total(loss, c, frozenset([a])) == direct
    assert world.total(loss, c, changed={(loss, last.inputs.index(a)): None}) == direct
    assert world.total(loss, o, frozenset([a])) == dense.filled((1, world.size("n")), numbers.from_fraction(Fraction(0)))
    assert world.total(loss, b, changed={(c, 0): None}) == world.total(loss, o, frozenset([a]))
    assert world.layer("l", [world.values[a], world.values[c]], (1, 1)) == world.values[loss]


@pytest.mark.parametrize("text", [SKIP, *MORE])
def test_held_values_do_not_change(text: str) -> None:
    world = draw(read(text), 2, FLOATS)
    tape = world.tape
    for of, by in pairs(tape):
        held = frozenset(index for index in range(tape.leaves, of, 2) if index != by)
        numerical = numerical_jacobian(tape, of, by, at(world, held), world.opaque)
        assert compare(world.total(of, by, held), numerical) < THRESHOLD


def test_changed_jacobians() -> None:
    """A slope left out, a softmax taken as diagonal, a Jacobian transposed by mistake."""
    world = draw(read("z = W x; p = softmax(z); L = CE(p, y); W: n x n; y: n label"), 0)
    tape = world.tape
    w, z, p, loss = (value(tape, name) for name in ("W", "z", "p", "L"))
    diagonal = dense.diag(dense.diagonal(world.local(p, 0)))
    expected = dense.product(dense.product(world.total(loss, p), diagonal), world.total(z, w))
    assert world.total(loss, w, changed={(p, 0): diagonal}) == expected != world.total(loss, w)
    assert world.total(loss, w, changed={(p, 0): world.local(p, 0)}) == world.total(loss, w)
    assert world.total(loss, w, changed={}) == world.total(loss, w)
    with pytest.raises(ValueError, match="changed"):
        world.total(loss, w, changed={(p, 0): [[Residue(1)]]})


@pytest.mark.parametrize("numbers", [RESIDUES, FLOATS, precise(30)], ids=lambda numbers: numbers.name)
def test_entries_are_of_one_kind(numbers: Numbers) -> None:
    world = draw(read("y = x + A x; f = [y; diag(x) x]; A: n x n; x: n"), 0, numbers)
    kind = type(numbers.from_fraction(Fraction(1)))
    for of, by in pairs(world.tape):
        assert {type(entry) for row in world.total(of, by) for entry in row} == {kind}


def test_what_is_given_out_may_be_changed() -> None:
    world = draw(read("L = x^T x; x: n"), 0)
    before = world.total(1, 0)
    world.total(1, 0)[0][0] += 1
    world.local(1, 0)[0][0] += 1
    assert world.total(1, 0) == before


# --- drawing ---


@pytest.mark.parametrize("numbers", [RESIDUES, FLOATS, precise(30)], ids=lambda numbers: numbers.name)
def test_worlds_are_the_same_for_one_seed(numbers: Numbers) -> None:
    tape = read("L = l(relu(W x)); W: m x n; x: n")
    first, again, other = (draw(tape, seed, numbers) for seed in (3, 3, 4))
    assert (first.sizes, first.values) == (again.sizes, again.values)
    assert first.values[0] != other.values[0]


def test_sizes_differ_from_each_other_and_from_the_text() -> None:
    tape = read("f = A B C d; A: 3 x m; B: m x n; C: n x k; d: k")
    seen: dict[str, set[int]] = {}
    for seed in range(3):
        world = draw(tape, seed)
        assert len(set(world.sizes.values()) | {3}) == 4
        for symbol, number in world.sizes.items():
            seen.setdefault(symbol, set()).add(number)
            assert world.words(number) == symbol == world.words(world.size(symbol))
        assert world.words(3) == "3"
        assert world.words(1000) == "1000"
        assert world.size("m*n") == world.sizes["m"] * world.sizes["n"]
        assert world.shape(value(tape, "A")) == (3, world.sizes["m"])
    assert all(len(numbers) == 3 for numbers in seen.values())
    many = read("; ".join(f"x{k} = W{k} x{k - 1}; W{k}: n{k} x n{k - 1}" for k in range(1, 20)))
    assert max(draw(many, 0).sizes.values()) < 12


def test_sizes_of_one_symbol_differ_between_seeds() -> None:
    tape = read("f = x^T A x; A: n x n")
    assert draw(tape, 0).sizes != draw(tape, 1).sizes


def test_least_sizes() -> None:
    tape = read("f = e(4, n)^T x + sum(layernorm(z)); x: n; z: m")
    for seed in range(5):
        sizes = draw(tape, seed).sizes
        assert sizes["n"] >= 4
        assert sizes["m"] >= 3


def test_products_of_sizes_have_words() -> None:
    world = draw(read("y = A x + b; A: m x n; x: n; b: m"), 0)
    assert world.words(6) in ("m*n", "n*m")
    assert world.words(4) == "m*m"


def test_facts_hold() -> None:
    tape = read("f = x^T A x + CE(softmax(x), y) + CE(softmax_rows(B), Y); A: n x n symmetric; B: m x n; Y: m x n; y: n")
    world = draw(tape, 0)
    matrix, label, labels = (world.values[value(tape, name)] for name in ("A", "y", "Y"))
    assert dense.transpose(matrix) == matrix
    assert sum(dense.entries(label), Residue(0)) == 1
    assert [sum(row, Residue(0)) for row in labels] == [1] * len(labels)
    columns = read("f = CE(softmax_columns(B), Y); B: m x n; Y: m x n")
    assert all(sum(column, Residue(0)) == 1 for column in zip(*draw(columns, 0).values[value(columns, "Y")], strict=True))


def test_roots_are_drawn_until_they_exist() -> None:
    for seed in range(4):
        world = draw(read("f = ||x|| ||y|| / sqrt(p) + sum(layernorm(z)); x: p; y: n; z: m"), seed)
        assert has_root(world.sizes["p"])
    with pytest.raises(ChainError, match="no point was found in the field"):
        draw(read("f = sqrt(3) x"), 0)


def test_functions_at_any_place() -> None:
    world = draw(read("g(t) = t^3; y = g(σ(x)); x: n"), 0)
    place: Dense = [[Residue(7), Residue(8)]]
    assert world.apply("g", place, 2) == [[42, 48]]
    assert world.apply("tanh", place, 1) == [[RESIDUES.apply("tanh", entry, 1) for entry in place[0]]]
    name = next(step.name for step in world.tape.steps if step.operation == "apply" and step.name != "g")
    values = [world.apply(name, place, order)[0][0] for order in range(3)]
    assert len({entry.value for entry in values}) == 3


def test_a_step_without_a_differential_is_no_hindrance_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arrays: Arrays, node: int, slot: int) -> list[Word]:
        if arrays.steps[node].operation == "trace":
            raise UnsupportedError("no")
        return differential(arrays, node, slot)

    monkeypatch.setattr("jacobian_chain.worlds.differential", refuse)
    rules_of.cache_clear()
    world = draw(read("f = tr(A) + x^T x; A: n x n; x: n"), 0)
    rules_of.cache_clear()
    f, a, x = (value(world.tape, name) for name in ("f", "A", "x"))
    assert all(world.total(f, x)[0])
    with pytest.raises(UnsupportedError):
        world.total(f, a)


def test_wrong_gradients_differ_in_every_draw() -> None:
    """A small network with relu: its slope left out, taken for the value, taken elsewhere, of another sign, twice."""
    tape = read("z1 = W1 x; a1 = relu(z1); z2 = W2 a1; L = 1/2 ||z2 - y||^2; W1: h x n; x: n; W2: m x h; y: m")
    for seed in range(50):
        world = draw(tape, seed)
        x, w2, z1, a1, z2, y = (world.values[value(tape, name)] for name in ("x", "W2", "z1", "a1", "z2", "y"))
        slope = world.apply("relu", z1, 1)
        adjoint = dense.product(dense.transpose(w2), dense.add(z2, dense.scale(-1, y)))
        shape = world.shape(value(tape, "W1"))
        gradient = dense.from_entries(world.total(value(tape, "L"), value(tape, "W1"))[0], shape)
        right = dense.hadamard(adjoint, slope)
        assert gradient == dense.product(right, dense.transpose(x))
        elsewhere = dense.hadamard(adjoint, world.apply("step", a1))
        for wrong in (adjoint, dense.hadamard(adjoint, a1), elsewhere, dense.scale(-1, right), dense.hadamard(right, slope)):
            assert gradient != dense.product(wrong, dense.transpose(x))
