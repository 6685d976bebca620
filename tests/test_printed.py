"""What is printed, read back as a reader would and computed with: every block equals the derivative of the composition.

The reader here shares the grammar of expressions with the package, and nothing else: sizes of I and 1 are what their neighbours ask for,
a symbol such as J_{h} g is the Jacobian of a layer at the one place where it is applied to h, and a line ``δ = …`` says what δ is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from jacobian_chain import dense as d
from jacobian_chain import derive, parse
from jacobian_chain.dense import FLOATS, Dense
from jacobian_chain.errors import OptionError, Source
from jacobian_chain.jacobian import Jacobian, Sheet
from jacobian_chain.names import FUNCTIONS, read_key
from jacobian_chain.numeric import Opaque, evaluate, evaluate_tape
from jacobian_chain.syntax import Node, Program, read_expression
from jacobian_chain.tape import Shape, Step, Tape
from jacobian_chain.tokens import spell
from jacobian_chain.verification import Point, arrange, compare, numerical_jacobian, sample
from jacobian_chain.witness import numerical_hessian
from jacobian_chain.writers import LatexWriter, TextWriter, Writer
from tests.concrete import make
from tests.test_concrete import SECOND
from tests.test_goldens import CONCRETE

TOLERANCE = 1e-6
DIGITS = 30
TRIES = 2000
"""How many ways are tried to fill in sizes that are open."""
LAYOUTS = ("numerator", "denominator", "mixed")
FRESH = "Zz"
"""What placeholders are called."""


class UnreadableError(AssertionError):
    """A reader cannot tell what is meant."""


class UndecidedError(Exception):
    """The neighbours of I or 1 leave its size open."""


# --- a page as lines ---


def equations(page: str) -> list[tuple[str, str]]:
    """Left and right side of every line."""
    return list(_equations(page)) if "\\" in page else list(_plain_equations(page))


def _equations(page: str) -> Iterator[tuple[str, str]]:
    page = page.strip().removeprefix("&").strip()
    inner = _inside(page, r"\begin{aligned}", r"\end{aligned}")
    if inner is not None and (parts := split(inner, r"\\")):
        rows = [row.replace("& ", "", 1) if row.strip().startswith("& ") else row for row in parts]
        if all(len(split(row.replace("&=", "="), "=")) > 1 or r"\begin{aligned}" in row for row in rows):
            for row in rows:
                yield from _equations(row.replace("&= ", "= ", 1))
            return
        page = inner
    left, right = split(page, "=")
    yield left.strip(), right.strip()


def _plain_equations(page: str) -> Iterator[tuple[str, str]]:
    groups: list[list[str]] = []
    for line in page.split("\n"):
        if line.startswith(" "):
            groups[-1].append(line.strip())
        else:
            groups.append([line])
    for first, *more in groups:
        left, _, right = first.partition(" = ")
        yield left, ("\0" if right[0] in "⎜|" else "  ").join([right, *more])


def _inside(text: str, opening: str, closing: str) -> str | None:
    """What stands in a pair of brackets that is the whole text."""
    text = text.strip()
    if not text.startswith(opening) or not text.endswith(closing):
        return None
    inner = text[len(opening) : -len(closing)]
    depth = 0
    for k, piece in _depths(inner):
        if k < 0:
            return None
        depth = k
        del piece
    return inner if depth == 0 else None


BRACKETS = re.compile(
    r"\\begin\{\w+\}|\\end\{\w+\}|\\left\\lVert|\\right\\rVert|\\left[(\[]|\\right[)\]]|\\big[lr][()]|[({\[]|[)}\]]|\\.|[^\\({\[)}\]]+"
)


def _depths(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of a text, each with the depth of brackets behind it."""
    depth = 0
    for piece in BRACKETS.findall(text):
        if piece.startswith((r"\begin", r"\left", r"\bigl")) or piece in "({[":
            depth += 1
        elif piece.startswith((r"\end", r"\right", r"\bigr")) or piece in ")}]":
            depth -= 1
        yield depth, piece


def split(text: str, separator: str) -> list[str]:
    """Parts of a text at a separator outside of brackets."""
    parts, position, depth, start = [], 0, 0, 0
    while position < len(text):
        if depth == 0 and text.startswith(separator, position):
            parts.append(text[start:position])
            position += len(separator)
            start = position
            continue
        match = BRACKETS.match(text, position)
        assert match, text
        piece = match.group()
        if piece.startswith((r"\begin", r"\left", r"\bigl")) or piece in "({[":
            depth += 1
        elif piece.startswith((r"\end", r"\right", r"\bigr")) or piece in ")}]":
            depth -= 1
        position += 1 if depth == 0 and not piece.startswith("\\") and piece not in "({[)}]" else len(piece)
    return [*parts, text[start:]]


def cells(right: str, count: int) -> list[str]:
    """The blocks of a row or a column."""
    right = right.strip()
    inner = _inside(right, r"\begin{pmatrix}", r"\end{pmatrix}")
    if inner is not None:
        rows = [re.sub(r"^\[\dex\]", "", row).strip().removeprefix(r"\displaystyle") for row in split(inner, r"\\")]
    elif right.startswith(r"\bigl("):
        inner = re.sub(r"\\\\\n& |^\s*& ", " ", right.removeprefix(r"\bigl(").removesuffix(r"\bigr)"))
        rows = split(inner, r"\,\big|")
        rows = [row.removeprefix(r"\,") for row in rows]
    elif r"\middle\vert" in right:
        rows = split(right.removeprefix(r"\left(").removesuffix(r"\right)"), r"\,\middle\vert\,")
    elif right[0] in "⎜|":
        rows = [row.strip()[1:-1].strip() for row in right.split("\0")]
    else:
        rows = re.split(r"  [│|] +", right.removeprefix("( ").removesuffix(" )"))
    assert len(rows) == count, (right, count)
    return [row.strip() for row in rows]


# --- left sides and symbols ---


class Left(NamedTuple):
    """What a left side names: kind ∂ d J ∇ ∂² H or a name; values by their keys."""

    kind: str
    of: str
    by: tuple[str, ...]
    vec: bool
    transposed: bool
    core: str


def read_left(text: str) -> Left:
    core, transposed = text.strip(), False
    for opening, closing in ((r"\left(", r"\right)^{\top}"), ("(", r")^{\top}"), ("(", ")ᵀ"), ("(", ")^T")):
        inner = _inside(core, opening, closing)
        if inner is not None:
            core, transposed = inner.strip(), True
            break
    for kind, latex, plain in (("∂", r"\\partial ", "(?:∂|partial )"), ("d", r"\\mathrm\{d\} ", "d")):
        match = re.fullmatch(rf"\\frac\{{{latex}(.*)\}}\{{{latex}(.*)\}}", core) or re.fullmatch(rf"{plain}(.*)/{plain}(.*)", core)
        if match:
            of, by = match.groups()
            return Left(kind, _key(of), _keys(by), "vec" in core, transposed, core)
    match = re.fullmatch(r"(J|\\nabla|∇|nabla)_(\{.*\}|[^ {]*) ([^ ].*)", core)
    if match:
        head, by, of = match.groups()
        by = by[1:-1] if by.startswith("{") else by
        return Left("J" if head == "J" else "∇", _key(of), _keys(by), "vec" in core, transposed, core)
    if re.match(r"\\partial_|∂[₀-₉]|partial_|\(J|\(\\partial_|\(∂[₀-₉]|\(partial_|.*\)\([^()]*\)$|\\frac.*\)$", core):
        return Left("?", core, (), False, transposed, core)  # with a point, or by a slot: nothing but its own name
    return Left("", _key(core), (), False, transposed, core)


def _bare(text: str) -> str:
    match = re.fullmatch(r"(?:\\operatorname\{vec\}|vec)\((.*)\)", text.strip())
    return match.group(1) if match else text.strip()


def _key(text: str) -> str:
    text = _bare(text)
    key = read_key(text) or read_key(text.strip("()"))
    assert key is not None, text
    return key


def _keys(text: str) -> tuple[str, ...]:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    return tuple(_key(part) for part in split(text, ","))


# --- the reader ---


class Unknown:
    """A size that the neighbours decide."""

    def __init__(self) -> None:
        self.same: int | Unknown | None = None


Size = int | Unknown


def resolved(size: Size) -> Size:
    while isinstance(size, Unknown) and size.same is not None:
        size = size.same
    return size


class Sizes:
    """Equations between sizes, solved as far as they can be."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Size, tuple[Size, ...]]] = []

    def equal(self, one: Size, other: Size) -> None:
        one, other = resolved(one), resolved(other)
        if one is other or one == other:
            return
        if isinstance(one, Unknown):
            one.same = other
        elif isinstance(other, Unknown):
            other.same = one
        else:
            raise UnreadableError(f"sizes {one} and {other}")

    def combined(self, kind: str, parts: tuple[Size, ...]) -> Size:
        whole = Unknown()
        self.waiting.append((kind, whole, parts))
        self.solve()
        return resolved(whole)

    def solve(self) -> None:
        changed = True
        while changed:
            changed = False
            for item in list(self.waiting):
                kind, whole, parts = item
                known = [part for part in map(resolved, parts) if isinstance(part, int)]
                total = sum(known) if kind == "sum" else reduce(lambda a, b: a * b, known, 1)
                missing = [part for part in map(resolved, parts) if isinstance(part, Unknown)]
                goal = resolved(whole)
                if not missing:
                    self.equal(goal, total)
                elif len(missing) == 1 and isinstance(goal, int):
                    rest = goal - total if kind == "sum" else goal // total
                    if rest < 1 or (kind == "product" and rest * total != goal):
                        raise UnreadableError(f"no size makes {goal} of {parts}")
                    self.equal(missing[0], rest)
                else:
                    continue
                self.waiting.remove(item)
                changed = True


Pair = tuple[Size, Size]


def is_scalar(shape: Pair) -> bool:
    return resolved(shape[0]) == 1 and resolved(shape[1]) == 1


class World:
    """The numbers behind the names of a page.

    Args:
        tape: the composition.
        point: values of the leaves, and sizes.
        opaque: what layers without a definition are.
        layout: in which fractions are written.
    """

    def __init__(self, tape: Tape, point: Point, opaque: Opaque, layout: str) -> None:
        self.tape, self.point, self.opaque, self.layout = tape, point, opaque, layout
        self.all = evaluate_tape(tape, point.leaves, point.sizes, FLOATS, opaque)
        self.values: dict[str, Dense] = {name: value for name, value in zip(tape.names, self.all, strict=True) if name}
        self.dimensions: dict[str, int] = {}
        for symbol, size in point.sizes.items():
            key = read_key(symbol)
            if key is not None and key not in self.values:
                self.dimensions[key] = size
        self.fresh: dict[str, Dense] = {}
        self.guesses: list[str] = []
        self.written: dict[str, str] = {}  # what a line defines whose sizes are open: it is written out where it is used
        self.symbols: dict[str, Dense] = {}
        self.candidates = sorted({size for value in self.all for size in d.size(value)} | {1}, reverse=True)

    # text to text with placeholders

    def placeholder(self, value: Dense) -> str:
        name = f"{FRESH}{len(self.fresh) + 1}"
        self.fresh[name] = value
        return f" {name} "

    def value(self, text: str, expected: tuple[int, int] | None = None, wanted: Dense | None = None) -> Dense:
        """What an expression is; where sizes of I and 1 are left open, those are taken with which it is what is wanted."""
        text = unicodedata.normalize("NFC", text).strip()
        text = self.fill(text)
        if expected is not None and text in ("0", "-0"):
            return d.filled(expected, 0.0)
        known = {*self.values, *self.fresh, *self.dimensions, "π", f"{FRESH}0"}
        layers = (
            self.tape.layers() | {name for name, _ in self.tape.functions} | self.elementwise() | {name for _, name, _ in self.tape.calls}
        )
        program = read_expression(Source(text), known - layers | (known & set(self.values)), layers)
        found = self.solutions(program, text, expected)
        if len(found) > 1:
            if wanted is None:
                raise UndecidedError
            self.guesses.append(text)
        if wanted is None:
            return found[0]
        return next((value for value in found if compare(wanted, value) < TOLERANCE), found[0])

    def solutions(self, program: Program, text: str, expected: tuple[int, int] | None) -> list[Dense]:
        """What an expression can be: several things where its sizes are open and matter."""
        guesses: list[tuple[int, ...]] = [()]
        found: list[Dense] = []
        problem: UnreadableError | None = None
        for _ in range(TRIES):
            if not guesses:
                break
            guess = guesses.pop()
            try:
                value = Computation(self, program, text).run(expected, guess)
            except UndecidedError:
                guesses += [(*guess, size) for size in self.candidates]
            except UnreadableError as error:
                problem = problem or error
            else:
                if not any(same(value, other) for other in found):
                    found.append(value)
        if not found:
            raise problem or UnreadableError(text)
        return found

    def elementwise(self) -> set[str]:
        return {step.name for step in self.tape.steps if step.operation == "apply" and step.name not in FUNCTIONS}

    def fill(self, text: str) -> str:
        """The text with placeholders for indicators, derivatives of layers, commutations."""
        text = self._fill_brackets(text, r"1[", "]", self._indicator)
        text = re.sub(r"\\nabla\^\{2\}", "∇²", text).replace("nabla^2", "∇²")
        text = self._fill_curvature(text)
        text = self._fill_symbols(text)
        return self._fill_sizes(text)

    def _fill_brackets(self, text: str, opening: str, closing: str, function: Callable[[str], Dense]) -> str:
        while opening in text:
            start = text.rindex(opening)  # the innermost first
            depth, end = 0, start + len(opening)
            while depth or not text.startswith(closing, end):
                depth += (text[end] in "[({") - (text[end] in "])}")
                end += 1
            text = text[:start] + self.placeholder(function(text[start + len(opening) : end])) + text[end + len(closing) :]
        return text

    def _indicator(self, inner: str) -> Dense:
        assert inner.endswith(" > 0"), inner
        return d.each(lambda entry: 1.0 if entry > 0 else 0.0, self.value(inner.removesuffix(" > 0")))

    def _layer_names(self) -> dict[str, str]:
        """How layers are written, longest first."""
        found: dict[str, str] = {}
        for key in self.tape.layers():
            for writer in WRITERS:
                found[unicodedata.normalize("NFC", writer.name(self.tape.spellings.get(key) or spell(key)))] = key
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def _fill_curvature(self, text: str) -> str:
        names = self._layer_names()
        while "∇²" in text:
            start = text.rindex("∇²")
            match = re.match(r"∇²_\{((?:[^{}]|\{[^{}]*\})*)\} ", text[start:])
            assert match, text
            slots = _keys(match.group(1))
            rest = text[start + match.end() :]
            opening = next((sign for sign in (r"\langle ", "⟨", "<") if rest.startswith(sign)), "")
            if opening:
                closing = {"⟨": "⟩", "<": ">"}.get(opening, r" \rangle")
                weights, layer = rest[len(opening) : rest.index(closing)].rsplit(", ", 1)
                end = rest.index(closing) + len(closing)
                factor = self.value(weights)
            else:
                layer = next(name for name in names if rest.startswith(name) and not _goes_on(rest, len(name)))
                end, factor = len(layer), [[1.0]]
            inputs, first, second = self.twice(names[layer], slots[0], slots[1])
            found = self.opaque.curvature(names[layer], factor, inputs, (first, second), FLOATS)
            text = text[:start] + self.placeholder(found) + rest[end:]
        return text

    def _fill_symbols(self, text: str) -> str:
        """J_{h} g, ∇_{y} l, (J g)(x), ∂_1 f, \\frac{∂ y}{∂ h}, each perhaps with a point."""
        layers = "|".join(map(re.escape, self._layer_names())) or "(?!)"
        end = r"(?![A-Za-z0-9_₀-₉'̂])"
        index = r"(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^ {(]+)"
        point = r"(?:\((?P<point>[^()]*)\))"
        operator = rf"(?P<head>J|\\nabla|∇|nabla)(?:_(?P<by>{index}))? (?P<of>{layers}){end}"
        slot = rf"(?:\\partial_\{{(?P<latexslot>\d)\}}|∂(?P<slot>[₀-₉])|partial_(?P<asciislot>\d)) (?P<of>{layers}){end}"
        for pattern in (operator, slot):
            for whole in (rf"\({pattern}\){point}", pattern):
                text = re.sub(whole, self._operator, text)
        name = r"(?:[^{}/]|\{(?:[^{}]|\{[^{}]*\})*\})*?"
        fraction = rf"\\frac\{{\\partial (?P<of>{name})\}}\{{\\partial (?P<by>{name})\}}(?:\((?P<point>[^()]*)\))?"
        text = re.sub(fraction, self._fraction, text)
        word = r"(?:vec\([^ ()]+\)|[^ ()/]+?)"
        stop = r"(?=[ )]|$)"
        text = re.sub(rf"\((?:∂|partial )(?P<of>{word})/(?:∂|partial )(?P<by>{word})\)\((?P<point>[^()]*)\)", self._fraction, text)
        return re.sub(rf"(?:∂|partial )(?P<of>{word})/(?:∂|partial )(?P<by>{word}){stop}", self._fraction, text)

    def _operator(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        layer = self._layer_names()[groups["of"]]
        points = None if groups.get("point") is None else _keys(groups["point"])
        number = groups.get("latexslot") or groups.get("asciislot")
        if groups.get("slot"):
            number = str("₀₁₂₃₄₅₆₇₈₉".index(groups["slot"]))
        by = groups.get("by")
        if by is not None:
            by = _key(by[1:-1] if by.startswith("{") else by)
        inputs, slot = self.application(layer, by, points, int(number) - 1 if number else None)
        jacobian = self.jacobian(layer, inputs, slot)
        if groups.get("head") in (None, "J"):
            return self.placeholder(jacobian)
        return self.placeholder(arrange(jacobian, (1, 1), d.size(inputs[slot]), "mixed", "vec" in match.group()))

    def jacobian(self, layer: str, inputs: list[Dense], slot: int) -> Dense:
        rows, columns = self.shape_of_layer(layer, inputs)
        return self.opaque.jacobian(layer, inputs, rows * columns, slot, FLOATS)

    def application(self, layer: str, by: str | None, point: tuple[str, ...] | None, slot: int | None = None) -> tuple[list[Dense], int]:
        """The inputs of a layer and the slot that a symbol means: there must be one only."""
        found: list[tuple[list[Dense], int]] = []
        if point is not None:
            inputs = [self.named(name) for name in point]
            slots = [k for k, name in enumerate(point) if (by is None or name == by) and slot in (None, k)]
            found = [(inputs, k) for k in slots]
        else:
            for step in self.tape.steps:
                if step.operation == "layer" and step.name == layer:
                    inputs = [self.all[source] for source in step.inputs]
                    for k, value in enumerate(inputs):
                        if slot not in (None, k) or (by is not None and not same(value, self.named(by))):
                            continue
                        if not any(k == other and all(map(same, inputs, others)) for others, other in found):
                            found.append((inputs, k))
        if len(found) != 1:
            raise UnreadableError(f"{len(found)} readings of the derivative of {layer} by {by or slot} at {point}")
        return found[0]

    def twice(self, layer: str, one: str, other: str) -> tuple[list[Dense], int, int]:
        """The inputs of a layer and the slots of a second derivative: there must be one reading only."""
        found: list[tuple[list[Dense], int, int]] = []
        for step in self.tape.steps:
            if step.operation == "layer" and step.name == layer:
                inputs = [self.all[source] for source in step.inputs]
                slots = [[k for k, value in enumerate(inputs) if same(value, self.named(name))] for name in (one, other)]
                new = [(inputs, i, j) for i in slots[0] for j in slots[1]]
                found += [each for each in new if not any(each[1:] == old[1:] and all(map(same, each[0], old[0])) for old in found)]
        if len(found) != 1:
            raise UnreadableError(f"{len(found)} readings of the second derivative of {layer} by {one} and {other}")
        return found[0]

    def named(self, key: str) -> Dense:
        value = self.values.get(key)
        if value is None:
            raise UnreadableError(f"who is {key}?")
        return value

    def _fraction(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        of, by, vec = _key(groups["of"]), _key(groups["by"]), "vec" in match.group()
        points = None if groups.get("point") is None else _keys(groups["point"])
        index = self.tape.index(of)
        if index is None or points is not None:
            layer = of
            if index is not None:
                step = self.tape.step(index)
                assert step is not None
                layer = step.name
            inputs, slot = self.application(layer, by, points)
            jacobian, shapes = self.jacobian(layer, inputs, slot), (self.shape_of_layer(layer, inputs), d.size(inputs[slot]))
        else:
            value = self.tape.index(by)
            if value is None:
                step = self.tape.step(index)
                assert step is not None
                assert step.operation == "layer", match.group()
                inputs, slot = self.application(step.name, by, None)
                jacobian, shapes = self.jacobian(step.name, inputs, slot), (d.size(self.all[index]), d.size(inputs[slot]))
            else:
                jacobian, shapes = self.derivative(index, value, partial=True), (d.size(self.all[index]), d.size(self.all[value]))
        return self.placeholder(arrange(jacobian, *shapes, self.layout, vec))

    def shape_of_layer(self, layer: str, inputs: Sequence[Dense] | None = None) -> tuple[int, int]:
        sizes = None if inputs is None else [d.size(value) for value in inputs]
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            applied = inputs is not None and step.operation == "layer" and step.name == layer and len(step.inputs) == len(inputs)
            if applied and all(map(same, [self.all[source] for source in step.inputs], inputs or ())):
                return d.size(self.all[value])
        for value, step in enumerate(self.tape.steps, self.tape.leaves):
            if step.operation == "layer" and step.name == layer and sizes in (None, [d.size(self.all[each]) for each in step.inputs]):
                return d.size(self.all[value])
        raise UnreadableError(layer)

    def derivative(self, of: int, by: int, partial: bool = False, deep: bool = False) -> Dense:
        """By differences; ``partial`` holds all other values with a name, ``deep`` what layers give, too."""
        called = {value for value, _, _ in self.tape.calls}
        held = dict(self.point.leaves)
        for value, name in enumerate(self.tape.names):
            step = self.tape.step(value)
            given = name or (deep and step is not None and (step.operation == "layer" or value in called))
            if step is not None and ((partial and given and value != of) or value == by):
                held[value] = [[Fraction(entry) for entry in row] for row in self.all[value]]
        return numerical_jacobian(self.tape, of, by, Point(self.point.sizes, held), self.opaque, DIGITS)

    def size(self, text: str) -> int:
        """The number that a printed size is."""
        total = 0
        for term in text.split("+"):
            factors = [self.dimensions.get(read_key(part) or "", 0) or int(part) for part in term.split()]
            total += reduce(lambda a, b: a * b, factors, 1)
        return total

    def _fill_sizes(self, text: str) -> str:
        """K_{m,n} and E_{n}, unless these are names of the composition."""

        def commutation(match: re.Match[str]) -> str:
            sizes = [self.size(part) for part in split(match.group(1), ",")]
            return self.placeholder(d.commutation(sizes[0], sizes[1], FLOATS))

        def embedding(match: re.Match[str]) -> str:
            return self.placeholder(d.embedding(self.size(match.group(1) or match.group(2)), FLOATS))

        text = re.sub(r"(?<![A-Za-z\\])K_\{((?:[^{}]|\{[^{}]*\})*,(?:[^{}]|\{[^{}]*\})*)\}", commutation, text)
        if not any(re.fullmatch(r"E\d*", name) for name in self.values):
            text = re.sub(r"(?<![A-Za-z\\])E_(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\w))", embedding, text)
        text = re.sub(r"(\^\{?\d\}?|[²³]) (?=\(|\\left\()", r"\1 * ", text)  # a power, not a function with an index
        return re.sub(r"\\mathbf\{1\}|𝟏", f" {FRESH}0 ", text)


WRITERS: tuple[Writer, ...] = (LatexWriter(), TextWriter(), TextWriter(ascii=True))


def _goes_on(text: str, position: int) -> bool:
    return text[position : position + 1] not in ("", " ", ")", ",", "}", "\\")


def same(one: Dense, other: Dense) -> bool:
    return d.size(one) == d.size(other) and compare(one, other) < 1e-12


Value = Callable[[], Dense]

FUNCTION_OF_KEY = {"leakyrelu": "leaky_relu"}
"""Functions whose key is not what they are called."""


class Computation:
    """One expression: shapes first, then numbers."""

    def __init__(self, world: World, program: Program, text: str) -> None:
        self.world, self.program, self.text = world, program, text
        self.sizes = Sizes()
        self.shapes: list[Pair | None] = [None] * len(program.nodes)
        self.results: list[Value | None] = [None] * len(program.nodes)
        self.unknown: list[Unknown] = []

    def run(self, expected: tuple[int, int] | None, guess: tuple[int, ...]) -> Dense:
        for index, node in enumerate(self.program.nodes):
            self.visit(index, node)
        root = len(self.program.nodes) - 1
        shape = self.shape(root)
        if expected is not None:
            self.sizes.equal(shape[0], expected[0])
            self.sizes.equal(shape[1], expected[1])
        self.sizes.solve()
        guesses = iter(guess)
        for unknown in self.unknown:
            if isinstance(resolved(unknown), Unknown):
                size = next(guesses, 0)
                if not size:
                    raise UndecidedError
                self.sizes.equal(unknown, size)
                self.sizes.solve()
        return self.number(root)

    def shape(self, index: int) -> Pair:
        shape = self.shapes[index]
        if shape is None:
            raise UnreadableError(f"{self.program.nodes[index]} is no array in {self.text}")
        return shape

    def known(self, size: Size) -> int:
        size = resolved(size)
        assert isinstance(size, int), self.text
        return size

    def number(self, index: int) -> Dense:
        result = self.results[index]
        assert result is not None, (self.program.nodes[index], self.text)
        return result()

    def new(self) -> Unknown:
        self.unknown.append(Unknown())
        return self.unknown[-1]

    def put(self, index: int, shape: Pair, run: Value) -> None:
        cache: list[Dense] = []

        def once() -> Dense:
            if not cache:
                value = run()
                if d.size(value) != (self.known(shape[0]), self.known(shape[1])):
                    raise UnreadableError(f"{self.program.nodes[index]} has another shape than thought in {self.text}")
                cache.append(value)
            return cache[0]

        self.shapes[index], self.results[index] = shape, once

    def match(self, one: Pair, other: Pair) -> None:
        self.sizes.equal(one[0], other[0])
        self.sizes.equal(one[1], other[1])

    def is_constant(self, index: int) -> bool:
        """Whether there is no name but π and e in it: a plain number."""
        stack = [index]
        while stack:
            node = self.program.nodes[stack.pop()]
            if node.kind == "name" and node.value not in ("π", "e"):
                return False
            stack.extend(node.args)
        return True

    def has_identity(self, index: int) -> bool:
        """Whether I is a term of a sum."""
        stack = [index]
        while stack:
            node = self.program.nodes[stack.pop()]
            if node.kind == "name" and node.value in ("I", "Id") and node.value not in self.world.values:
                return True
            if node.kind in ("add", "subtract", "negate"):
                stack.extend(node.args)
        return False

    def visit(self, index: int, node: Node) -> None:
        method = getattr(self, f"visit_{node.kind}", None)
        if method is None:
            raise UnreadableError(f"{node} in {self.text}")
        method(index, node)

    def visit_number(self, index: int, node: Node) -> None:
        number = float(Fraction(node.value))
        self.put(index, (1, 1), lambda: [[number]])

    def visit_name(self, index: int, node: Node) -> None:
        world, key = self.world, node.value
        if key in world.fresh or key in world.values:
            value = world.fresh[key] if key in world.fresh else world.values[key]
            self.put(index, d.size(value), lambda: value)
        elif key in world.dimensions:
            self.put(index, (1, 1), lambda: [[float(world.dimensions[key])]])
        elif key in ("I", "Id"):
            size = self.new()
            self.put(index, (size, size), lambda: d.identity(self.known(size), FLOATS))
        elif key == f"{FRESH}0":
            size = self.new()
            self.put(index, (size, 1), lambda: d.filled((self.known(size), 1), 1.0))
        elif key in ("π", "e"):
            self.put(index, (1, 1), lambda: [[FLOATS.constant("pi" if key == "π" else "e")]])
        elif re.fullmatch(r"e\d+", key):
            size, place = self.new(), int(key[1:])
            self.put(index, (size, 1), lambda: [[float(k == place)] for k in range(1, self.known(size) + 1)])
        elif key in ("rows", "columns"):
            return
        else:
            raise UnreadableError(f"who is {key} in {self.text}?")

    def visit_function(self, index: int, node: Node) -> None:
        del index, node

    def visit_prime(self, index: int, node: Node) -> None:
        inner = self.program.nodes[node.args[0]]
        if inner.kind not in ("function", "prime"):
            raise UnreadableError(f"a prime in {self.text}")
        del index

    def visit_add(self, index: int, node: Node) -> None:
        self.sum(index, node, 1)

    def visit_subtract(self, index: int, node: Node) -> None:
        self.sum(index, node, -1)

    def sum(self, index: int, node: Node, sign: int) -> None:
        one, other = node.args
        shapes = [self.shape(one), self.shape(other)]
        shape = shapes[0]
        if is_scalar(shapes[0]) != is_scalar(shapes[1]):
            spread = one if is_scalar(shapes[0]) else other
            if not self.is_constant(spread):
                raise UnreadableError(f"a scalar that is no number is added to an array in {self.text}")
            array = other if spread == one else one
            if self.has_identity(array):
                raise UnreadableError(f"a number beside I in {self.text}")
            shape = self.shape(array)
        else:
            self.match(*shapes)

        def run() -> Dense:
            sides = [
                d.filled((self.known(shape[0]), self.known(shape[1])), self.number(k)[0][0]) if is_scalar(self.shape(k)) else self.number(k)
                for k in (one, other)
            ]
            return d.add(sides[0], d.scale(sign, sides[1]))

        self.put(index, shape, run)

    def visit_negate(self, index: int, node: Node) -> None:
        (one,) = node.args
        self.put(index, self.shape(one), lambda: d.scale(-1, self.number(one)))

    def visit_product(self, index: int, node: Node) -> None:
        one, other = node.args
        left, right = self.shape(one), self.shape(other)
        if is_scalar(left):
            self.put(index, right, lambda: d.scale(self.number(one)[0][0], self.number(other)))
        elif is_scalar(right):
            self.put(index, left, lambda: d.scale(self.number(other)[0][0], self.number(one)))
        else:
            self.sizes.equal(left[1], right[0])
            self.sizes.solve()
            self.put(index, (left[0], right[1]), lambda: d.product(self.number(one), self.number(other)))

    def visit_divide(self, index: int, node: Node) -> None:
        one, other = node.args
        if not is_scalar(self.shape(other)):
            raise UnreadableError(f"division by an array in {self.text}")
        self.put(index, self.shape(one), lambda: d.scale(1 / self.number(other)[0][0], self.number(one)))

    def visit_elementwise(self, index: int, node: Node) -> None:
        one, other = node.args
        left, right = self.shape(one), self.shape(other)
        if node.value in ("⊗", r"\otimes"):
            shape = tuple(self.sizes.combined("product", pair) for pair in zip(left, right, strict=True))
            self.put(index, (shape[0], shape[1]), lambda: d.kron(self.number(one), self.number(other)))
            return
        divides = node.value in ("./", "⊘", r"\oslash")
        if divides and is_scalar(left) and self.is_constant(one):
            self.put(index, right, lambda: d.each(lambda entry: self.number(one)[0][0] / entry, self.number(other)))
            return
        self.match(left, right)
        self.sizes.solve()
        if divides:
            self.put(index, left, lambda: d.hadamard(self.number(one), d.each(lambda entry: 1 / entry, self.number(other))))
        else:
            assert node.value in ("⊙", r"\odot", ".*", "∘"), node
            self.put(index, left, lambda: d.hadamard(self.number(one), self.number(other)))

    def exponent(self, index: int) -> Fraction:
        node = self.program.nodes[index]
        if node.kind == "number":
            return Fraction(node.value)
        if node.kind == "negate":
            return -self.exponent(node.args[0])
        if node.kind == "divide":
            return self.exponent(node.args[0]) / self.exponent(node.args[1])
        raise UnreadableError(f"an exponent in {self.text}")

    def visit_power(self, index: int, node: Node) -> None:
        base = self.program.nodes[node.args[0]]
        if base.kind in ("function", "prime"):
            return
        one, exponent = node.args[0], self.exponent(node.args[1])
        shape = self.shape(one)
        if is_scalar(shape):
            self.put(index, shape, lambda: [[self.number(one)[0][0] ** float(exponent)]])
            return
        self.sizes.equal(*shape)
        if exponent == -1:
            self.put(index, shape, lambda: d.inverse(self.number(one), FLOATS))
        elif exponent.denominator == 1 and exponent > 0:
            self.put(index, shape, lambda: reduce(d.product, [self.number(one)] * int(exponent)))
        else:
            raise UnreadableError(f"the power of a matrix in {self.text}")

    def visit_epower(self, index: int, node: Node) -> None:
        one, exponent = node.args[0], self.exponent(node.args[1])
        self.put(index, self.shape(one), lambda: d.each(lambda entry: entry ** float(exponent), self.number(one)))

    def visit_transpose(self, index: int, node: Node) -> None:
        (one,) = node.args
        rows, columns = self.shape(one)
        if node.value == "-":
            self.sizes.equal(rows, columns)
            self.put(index, (rows, columns), lambda: d.transpose(d.inverse(self.number(one), FLOATS)))
        else:
            self.put(index, (columns, rows), lambda: d.transpose(self.number(one)))

    def visit_norm(self, index: int, node: Node) -> None:
        (one,) = node.args

        def run() -> Dense:
            entries = d.entries(self.number(one))
            if node.value == "1":
                return [[sum(map(abs, entries))]]
            assert node.value in ("", "2", "F"), node
            return [[sum(entry * entry for entry in entries) ** 0.5]]

        self.shape(one)
        self.put(index, (1, 1), run)

    def blocks(self, index: int, args: Sequence[int], down: bool) -> None:
        free = [self.program.nodes[arg].kind == "number" and self.program.nodes[arg].value == "0" for arg in args]
        for arg, zero in zip(args, free, strict=True):
            if zero:
                shape = (self.new(), self.new())
                self.put(arg, shape, lambda shape=shape: d.filled((self.known(shape[0]), self.known(shape[1])), 0.0))  # type: ignore[misc]
        shapes = [self.shape(arg) for arg in args]
        for one, other in pairwise(shapes):
            self.sizes.equal(one[down], other[down])
        total = self.sizes.combined("sum", tuple(shape[not down] for shape in shapes))
        whole = (total, shapes[0][1]) if down else (shapes[0][0], total)
        self.put(index, whole, lambda: (d.below if down else d.beside)(*[self.number(arg) for arg in args]))

    def visit_row(self, index: int, node: Node) -> None:
        self.blocks(index, node.args, False)

    def visit_column(self, index: int, node: Node) -> None:
        self.blocks(index, node.args, True)

    visit_beside, visit_stack = visit_row, visit_column

    def call_definition(self, index: int, args: Sequence[int], calls: Sequence[tuple[int, Sequence[int]]]) -> None:
        """A use of a layer with a definition: the value that the composition has there."""
        world = self.world
        shapes = [(self.known(rows), self.known(columns)) for rows, columns in map(self.shape, args)]
        fitting = [(value, inputs) for value, inputs in calls if [d.size(world.all[each]) for each in inputs] == shapes]

        def run() -> Dense:
            for value, inputs in fitting:
                if all(same(world.all[each], self.number(arg)) for each, arg in zip(inputs, args, strict=True)):
                    return world.all[value]
            raise UnreadableError(f"a layer that is applied elsewhere in {self.text}")

        self.put(index, d.size(world.all[fitting[0][0]]), run)

    def visit_call(self, index: int, node: Node) -> None:
        function = self.program.nodes[node.args[0]]
        exponent = Fraction(1)
        if function.kind == "power":
            exponent = self.exponent(function.args[1])
            function = self.program.nodes[function.args[0]]
        primes = 0
        while function.kind == "prime":
            primes, function = primes + 1, self.program.nodes[function.args[0]]
        name, args = FUNCTION_OF_KEY.get(function.value, function.value), node.args[1:]
        if name in self.world.tape.layers():
            inputs = [self.number(arg) for arg in args]
            shape = self.world.shape_of_layer(name, inputs)
            self.put(index, shape, lambda: self.world.opaque.value(name, inputs, shape, FLOATS))
            return
        calls = [(value, inputs) for value, called, inputs in self.world.tape.calls if called == name]
        if calls:
            self.call_definition(index, args, calls)
            return
        if name in ("ones", "zeros"):
            shape = (int(self.number(args[0])[0][0]), int(self.number(args[1])[0][0]) if len(args) > 1 else 1)
            self.put(index, shape, lambda: d.filled(shape, float(name == "ones")))
            return
        if name in ("I", "Id"):
            size = int(self.number(args[0])[0][0])
            self.put(index, (size, size), lambda: d.identity(size, FLOATS))
            return
        if name == "reshape":
            shape = (int(self.number(args[1])[0][0]), int(self.number(args[2])[0][0]))
            self.put(index, shape, lambda: d.reshape(self.number(args[0]), shape))
            return
        shapes = [self.shape(arg) for arg in args]
        known = [resolved(size) for size in shapes[0]]
        operation, result, word = name, (1, 1), ""
        if name == "diag":
            is_column = known[1] == 1
            operation, result = ("diag", (shapes[0][0], shapes[0][0])) if is_column else ("diagonal", (shapes[0][0], 1))  # type: ignore[assignment]
            if not is_column:
                self.sizes.equal(*shapes[0])
        elif name == "vec":
            result = (self.sizes.combined("product", shapes[0]), 1)  # type: ignore[assignment]
        elif name == "kron":
            result = tuple(self.sizes.combined("product", pair) for pair in zip(*shapes, strict=True))  # type: ignore[assignment]
        elif name in ("det", "tr", "logdet", "logsumexp", "CE"):
            operation = {"tr": "trace"}.get(name, name)
        elif name.startswith("softmax"):
            operation, word, result = "softmax", name.removeprefix("softmax") or "columns", shapes[0]  # type: ignore[assignment]
            if name == "softmax" and known[1] != 1:
                raise UnreadableError(f"softmax of a matrix in {self.text}")
        elif name == "layernorm":
            result = shapes[0]  # type: ignore[assignment]
        elif name == "sqrt":
            operation, result = "power", shapes[0]  # type: ignore[assignment]
        else:
            operation, word, result = "apply", name, shapes[0]  # type: ignore[assignment]

        def run() -> Dense:
            inputs = [self.number(arg) for arg in args]
            coefficients = (Fraction(primes),) if primes else (Fraction(1, 2),) if name == "sqrt" else ()
            steps = [Step("leaf", str(k), ()) for k in range(len(inputs))]
            steps.append(Step(operation, word, tuple(range(len(inputs))), coefficients))
            texts = [Shape(*map(str, d.size(value))) for value in inputs] + [Shape(str(self.known(result[0])), str(self.known(result[1])))]
            last = len(inputs)
            world = self.world
            value = evaluate(steps, texts, dict(enumerate(inputs)), {}, FLOATS, world.opaque, [last], world.tape.functions)[last]
            return value if exponent == 1 else d.each(lambda entry: entry ** float(exponent), value)

        self.put(index, (result[0], result[1]), run)


# --- a page against the world ---


def check_page(
    world: World,
    page: str,
    output: int,
    variables: Sequence[int],
    expected: Mapping[int, Dense],
    label: str = "",
    legend: Iterable[str] = (),
) -> None:
    """Every line of a page says what is true; there is one for each variable."""
    tape = world.tape
    lines = [(unicodedata.normalize("NFC", left), unicodedata.normalize("NFC", right)) for left, right in equations(page)]
    shape_of = d.size(world.all[output])
    blocks: list[tuple[int, str, str, bool, Left]] = []
    claims: list[tuple[Left, str]] = []
    for text in legend:
        left, _, right = text.partition(" = ")
        if right and read_key(left) is not None and read_key(left) not in world.values:
            claims.append((read_left(left), right))
    cores: dict[str, int] = {}
    pending = set(variables)
    for left, right in lines:
        slope = re.fullmatch(r"([^(]+?)('+)\((.*)\)", left)
        if slope:
            _check_slope(world, slope, right)
            continue
        read = read_left(left)
        if read.kind:
            assert read.core not in cores, f"{left} stands twice in\n{page}"
            cores[read.core] = len(cores)
        group = dict(tape.groups).get(read.by[0]) if read.by else None
        joined = len(read.by) > 1 or (read.by == (label,) and tape.index(label) is None) or group is not None
        if read.kind and joined:
            assert tape.index(read.of) == output, left
            if len(read.by) > 1:
                assert [tape.index(name) for name in read.by] == list(variables), left
            for variable, cell in zip(variables, cells(right, len(variables)), strict=True):
                blocks.append((variable, left, cell, True, read))
            pending.clear()
            continue
        by = tape.index(read.by[0]) if read.by else None
        if read.kind and by is not None and tape.index(read.of) == output and by in pending:
            pending.remove(by)
            blocks.append((by, left, right, False, read))
            claims.append((read, right))
        elif read.kind and right:
            claims.append((read, right))
        else:
            assert tape.index(read.of) is None, f"{left} has a value already in\n{page}"
            assert all(read.of != other.of for other, _ in claims if not other.kind), f"{left} is defined twice in\n{page}"
            claims.append((read, right))
    assert not pending, f"no line for {[tape.names[value] for value in pending]} in\n{page}"
    _settle(world, claims, output, expected, page)
    for variable, left, cell, joined, read in blocks:
        shape_by = d.size(world.all[variable])
        wanted = _meaning(world, read, expected[variable], shape_of, shape_by, joined)
        found = world.value(_replaced(world, cell, read.core if not joined else ""), d.size(wanted), wanted)
        _agree(wanted, found, left, page)


def _check_slope(world: World, match: re.Match[str], right: str) -> None:
    """The derivative of a function that the composition defines, g'(t) = …."""
    name, argument, order = _key(match.group(1)), _key(match.group(3)), len(match.group(2))
    for at in (-0.7, 0.3):
        steps, shapes = [Step("leaf", "t", ()), Step("apply", name, (0,), (Fraction(order),))], [Shape("1", "1")] * 2
        wanted = evaluate(steps, shapes, {0: [[at]]}, {}, FLOATS, world.opaque, [1], world.tape.functions)[1]
        hidden = world.values.get(argument)
        world.values[argument] = [[at]]
        found = world.value(right)
        del world.values[argument]
        if hidden is not None:
            world.values[argument] = hidden
        _agree(wanted, found, match.group(), right)


def _meaning(world: World, left: Left, jacobian: Dense, of: tuple[int, int], by: tuple[int, int], joined: bool) -> Dense:
    """What a left side is, by the table of layouts."""
    if left.kind == "J":
        wanted = jacobian
    elif left.kind == "∇":
        wanted = arrange(jacobian, of, by, "mixed", joined or left.vec)
    else:
        wanted = arrange(jacobian, of, by, world.layout, joined or left.vec)
    return d.transpose(wanted) if left.transposed else wanted


def _settle(world: World, claims: list[tuple[Left, str]], output: int, expected: Mapping[int, Dense], page: str) -> None:
    """Compute what the lines define, in any order in which they can be, and compare what is a derivative with the true one."""
    open_claims = list(claims)
    cores = sorted((left.core for left, _ in claims if left.kind), key=len, reverse=True)
    names = {left.of for left, _ in claims if not left.kind}
    while open_claims:
        failed: list[tuple[Left, str]] = []
        for left, right in open_claims:
            needs = [
                core
                for core in cores
                if core != left.core and _occurs(core, right) and core not in world.symbols and core not in world.written
            ]
            if needs or any(_mentions(right, name) for name in names - {left.of if not left.kind else ""} if name not in world.values):
                failed.append((left, right))
                continue
            text = _replaced(world, right, left.core)
            if not left.kind:
                try:
                    world.values[left.of] = world.value(text)
                except UndecidedError:
                    world.written[left.core] = text
                    names.discard(left.of)
                continue
            of, by = world.tape.index(left.of), (world.tape.index(left.by[0]) if len(left.by) == 1 else None)
            wanted = _true_derivative(world, left, of, by, output, expected)
            if wanted is None:
                try:
                    found = world.value(text)
                except UndecidedError:
                    world.written[left.core] = text
                    assert not left.transposed, page
                    continue
            else:
                found = None
                errors = []
                for candidate in wanted:
                    try:
                        found = world.value(text, d.size(candidate), candidate)
                        _agree(candidate, found, left.core, page)
                        break
                    except AssertionError as error:
                        errors.append(error)
                else:
                    raise errors[0]
            assert found is not None
            world.symbols[left.core] = d.transpose(found) if left.transposed else found
        assert len(failed) < len(open_claims), f"lines that explain each other, {[left.core for left, _ in failed]}, in\n{page}"
        open_claims = failed


def _mentions(text: str, name: str) -> bool:
    return any(read_key(form) == name and _place(form, text, "\\") >= 0 for form in _forms(name))


def _forms(name: str) -> set[str]:
    spelling = spell(name)
    return {unicodedata.normalize("NFC", writer.name(spelling)) for writer in WRITERS}


def _true_derivative(
    world: World, left: Left, of: int | None, by: int | None, output: int, expected: Mapping[int, Dense]
) -> list[Dense] | None:
    """What a symbol can mean: the total derivative, or that of one equation."""
    if of is None or by is None:
        return None
    shapes = d.size(world.all[of]), d.size(world.all[by])
    found = []
    if of == output and by in expected:
        found.append(_meaning(world, left, expected[by], *shapes, False))
    found.append(_meaning(world, left, world.derivative(of, by), *shapes, False))
    if left.kind != "d":
        found += [_meaning(world, left, world.derivative(of, by, True, deep), *shapes, False) for deep in (False, True)]
    if left.kind == "J" and shapes[0] == (1, 1):  # alone it may have the shape of the table, in a product it is a row
        tables = [arrange(world.derivative(of, by, partial=k), *shapes, "numerator") for k in (False, True)]
        found += [d.transpose(table) if left.transposed else table for table in tables]
    return found


END = re.compile(r"[A-Za-z0-9_'₀-₉̂]")


def _occurs(core: str, text: str) -> bool:
    return _place(core, text) >= 0


def _place(core: str, text: str, taken: str = "\\_") -> int:
    start = 0
    while True:
        at = text.find(core, start)
        if at < 0:
            return at
        before, behind = text[at - 1 : at], text[at + len(core) : at + len(core) + 1]
        if not END.fullmatch(behind) and not (before.isalpha() and core[0].isalpha()) and not (before and before in taken):
            return at
        start = at + 1


def _replaced(world: World, text: str, own: str) -> str:
    """The text with placeholders for derivatives that other lines give."""
    for core in sorted({*world.symbols, *world.written} - {own}, key=len, reverse=True):
        at = _place(core, text)
        while at >= 0:
            inner = world.placeholder(world.symbols[core]) if core in world.symbols else f" ({world.written[core]}) "
            text = text[:at] + inner + text[at + len(core) :]
            at = _place(core, text)
    return text


def _agree(wanted: Dense, found: Dense, left: str, page: str) -> None:
    assert d.size(wanted) == d.size(found), f"{left} is {d.size(wanted)}, not {d.size(found)} in\n{page}"
    error = compare([[float(entry) for entry in row] for row in wanted], found)
    assert error < TOLERANCE, f"{left} is wrong by {error:.1e} in\n{page}"


# --- compositions ---

FORMS: tuple[tuple[str, bool], ...] = (("latex", False), ("unicode", False), ("unicode", True))
CASES = 30
CHUNK = 10
SPELLED: tuple[dict[str, Any], ...] = ({}, {"vec": True}, {"shared": True})
FACTORED: tuple[dict[str, Any], ...] = ({"notation": "partial"}, {"notation": "jacobian"}, {"notation": "total"}, {"notation": "nabla"})
MOST_GUESSES = 0.15
"""On how many pages the size of an I or 1 may be open where it matters: the reader then takes the one that is right."""


def written(jacobian: Jacobian, form: str, ascii: bool, options: dict[str, Any]) -> Sheet | None:
    """A page, None where the options are not for this Jacobian."""
    try:
        return jacobian.sheet(form, ascii, **options)
    except OptionError:
        return None


@pytest.mark.parametrize("start", range(0, CASES, CHUNK))
def test_random_pages_read_back(start: int) -> None:
    pages = guesses = 0
    for seed in range(start, start + CHUNK):
        case = make(seed)
        tape = parse(case.text).tape
        output = tape.index(case.output)
        assert output is not None
        variables = [value for name in case.variables if (value := tape.index(name)) is not None]
        leaves = {value: case.point[name] for value, name in enumerate(tape.names[: tape.leaves])}
        jacobian = case.jacobian(case.point)
        expected = {v: [[float(e) for e in row] for row in jacobian[n]] for v, n in zip(variables, case.variables, strict=True)}
        for k, options in enumerate((*SPELLED, *FACTORED)):
            layout, (form, ascii) = LAYOUTS[(seed + k) % 3], FORMS[(seed // 3 + k) % 3]
            sheet = written(derive(case.text, wrt=case.variables, of=case.output, layout=layout), form, ascii, options)
            if sheet is not None:
                world = World(tape, Point({}, leaves), Opaque(), layout)
                check_page(world, sheet.text, output, variables, expected, legend=sheet.legend)
                pages += 1
                guesses += bool(world.guesses)
    assert guesses <= MOST_GUESSES * pages


MIXED = [
    "h = tanh(W x); y = g(h, t); L = l(y)",
    "h = tanh(W x); y = g(h, t); L = ||y - h||^2 + l(h)",
    "h1 = f(x, W); h2 = f(h1, W); L = l(h2) + ||h1||^2; x: n; h1: n; h2: n",
    "h1 = tanh(f(x, W)); h2 = tanh(f(h1, W)); L = ||h2||^2; x: n; h1: n; h2: n",
    "L = l(u, v); u = f(x); v = f(w); w = tanh(x); x: n; u: m; v: m",
    "y = f(x, x); L = ||A y||^2",
    "y = f(x, z, x); z = tanh(A x); L = l(y)",
    "H = g(X, W); L = l(H .* H); X: m x n; H: p x q",
    "H = g(X); Y = A H B; L = l(Y); X: m x n; H: p x q",
    "H = tanh(g(X)^T B); X: m x n; L = l(H) + tr(H^T H)",
    "x1 = x + f(u1); x2 = x1 + f(u2); u1 = W x; u2 = W x1; L = l(x2); x1: n; x2: n",
    "u = W x + b; y = g(u) .* f(u); L = sum(y)",
    "y = g(tanh(W*x), s); s: scalar; L = s l(y)",
    "y = A u + f(x); u = g(z); z = B x",
    "y = s f(x); s: scalar",
    "Y = X g(x)^T + s X; s: scalar; X: m x 1",
    "h1 = f(x); h2 = f(h1); x: n; h1: n; h2: n; y = W f(h2)",
    "h = σ(W x); y = g(h, θ); L = l(y)",
    "r = g(x); r: 1 x n; L = r A r^T",
    "L1 = l(x); L2 = l(y); L = L1 L2 + l(x .* y)",
    "y = g(x1, x2); z = g(x2, x1); L = y^T z",
    "z1 = W1 x + b1; h = φ(z1); ŷ = g(W2*h + b2); L = l(ŷ, y)",
    "L = l(x)^2 + exp(l(y)) ; x: n; y: n",
    "g(t) = t/(1 + e^{-t}); L = l(gelu(g(W x)) ./ softplus(x)); W: n x n",
    "s: scalar; x: 3; K: 2 x 3; E: 3; y = s K x - s^2 K (E .* x)",
    "T: scalar; L = T x^T A x; A: n x n",
    "L = l(f(x), f(tanh(x))); x: n",
    "y = f(x) + tanh(f(x .* x))",
    "y = A g(B*x) + f(x)",
    "x1 = x + f(W*x); x2 = x1 + f(W*x1); L = l(x2)",
    "f(v, W, b) = tanh(W v + b); h = f(k, G, u); z = f(h, S, g) - y; L = ||z||^2",
    "L = d^T N^-1 b + logdet(N)",
    "y = layernorm(W x); W: 3 x 2",
    "V: 2 x 2; h = V ones(2); L = 1/2 ||cosh(h) - c||^2",
]
OPEN = ("softmax_rows", "kron", "[[")
"""What is in a text whose pages have an I or 1 of open size that matters: K ⊗ I, (1 1ᵀ ⊗ I), (I 0)."""

MANY_TEXTS = [*MIXED, *CONCRETE.values()]


@pytest.mark.parametrize("text", MANY_TEXTS, ids=lambda text: text[:40])
def test_pages_of_layers_with_and_without_a_definition_read_back(text: str) -> None:
    tape, opaque = parse(text).tape, Opaque(3)
    point = sample(tape, 3, opaque)
    whole = derive(text, wrt="all")
    output, variables = whole.output, whole.selection.variables
    expected: dict[int, Dense] = {}
    for variable in variables:
        found = numerical_jacobian(tape, output, variable, point, opaque, DIGITS)
        expected[variable] = [[float(entry) for entry in row] for row in found]
    number = MANY_TEXTS.index(text)
    pages = guesses = 0
    for turn, layout in enumerate(LAYOUTS):
        for k, options in enumerate((*SPELLED, *FACTORED)):
            if (number + turn + k) % 3 == 0:
                continue  # there are enough of all kinds
            form, ascii = FORMS[(number // 3 + turn + 2 * k) % 3]
            sheet = written(derive(text, wrt="all", layout=layout), form, ascii, options)
            if sheet is not None:
                world = World(tape, point, opaque, layout)
                check_page(world, sheet.text, output, variables, expected, whole.selection.label, sheet.legend)
                pages += 1
                guesses += bool(world.guesses)
    assert pages > 3
    assert not guesses or any(word in text for word in OPEN)


SECOND_OF_LAYERS = [
    ("h = σ(W x); y = g(h, θ); L = l(y)", "x", "x"),
    ("h = σ(W x); y = g(h, θ); L = l(y)", "x", "W"),
    ("h = σ(W x); y = g(h, θ); L = l(y)", "W", "W"),
    ("h = σ(W x); y = g(h, θ); L = l(y)", "θ", "h"),
    ("y = f(x, z); z = tanh(x); L = l(y)", "x", "x"),
    ("h1 = f(x, W); h2 = f(h1, W); x: n; h1: n; h2: n; L = l(h2)", "W", "x"),
]


@pytest.mark.parametrize(("text", "one", "other"), [*[case[:3] for case in SECOND], *SECOND_OF_LAYERS])
def test_second_derivatives_read_back(text: str, one: str, other: str) -> None:
    composition, opaque = parse(text), Opaque(2)
    tape = composition.tape
    point = sample(tape, 2, opaque)
    values = [tape.index(name) for name in (one, other)]
    assert values[0] is not None
    assert values[1] is not None
    hessian = numerical_hessian(tape, tape.outputs()[0], values[0], values[1], point, opaque)
    wanted = [[float(entry) for entry in row] for row in hessian]
    for form, ascii in FORMS:
        world = World(tape, point, opaque, "mixed")
        check_second(world, composition.second(one, other).sheet(form, ascii).text, wanted)
        if one == other:
            world = World(tape, point, opaque, "mixed")
            rows, columns = d.size(world.all[values[0]])
            direction = [[0.3 + 0.17 * i - 0.4 * j for j in range(columns)] for i in range(rows)]
            world.values["v9"] = direction
            along = d.product(wanted, [[entry] for entry in d.entries(direction)])
            expected = d.from_entries(d.entries(along), (rows, columns))
            check_second(world, composition.hessian_along("v9", one).sheet(form, ascii).text, expected)


def check_second(world: World, page: str, wanted: Dense) -> None:
    """The first line is what is wanted, the others say what its names stand for."""
    (left, right), *more = equations(unicodedata.normalize("NFC", page))
    _settle(world, [(read_left(name), text) for name, text in more], -1, {}, page)
    _agree(wanted, world.value(_replaced(world, right, ""), d.size(wanted), wanted), left, page)


def test_a_planted_slip_is_found() -> None:
    text = "z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h - y||^2; W1: 2 x 3; W2: 4 x 2"
    tape = parse(text).tape
    point = sample(tape)
    jacobian = derive(text, wrt=["W1", "b1"], layout="mixed")
    variables = jacobian.selection.variables
    expected = {value: numerical_jacobian(tape, jacobian.output, value, point) for value in variables}
    page = jacobian.latex()
    check_page(World(tape, point, Opaque(), "mixed"), page, jacobian.output, variables, expected)
    slips = [("W_{2}^{\\top}", "W_{2}"), ("x^{\\top}", "x"), ("1 - h", "1 + h"), (" \\odot (1", " (1"), ("\\partial b_{1}", "\\partial x")]
    for right, wrong in slips:
        assert right in page
        with pytest.raises(AssertionError):
            check_page(World(tape, point, Opaque(), "mixed"), page.replace(right, wrong), jacobian.output, variables, expected)
