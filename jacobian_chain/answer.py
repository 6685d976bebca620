r"""A person's text of an answer to an expression in the letters of the problem.

The text is read by the grammar of compositions; what is new here is what differentiates: ``J_{x} f``, ``\frac{\partial y}{\partial x}``,
``\nabla_x L``, ``D f``, ``f'(x)``, ``\partial_1 f``. Each becomes an *atom*, which keeps all that it can mean:

* a layer's name after the sign means the layer, and the names below are its arguments;
* ∂y/∂x is the partial derivative where x stands in the equation of y, else the total one; d and left sides are total;
* ``J L(g(x), θ)`` is the Jacobian of L at a point or that of the composite.

Which of the meanings is taken, and in which layout, is decided by those who compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import Place, ReadingError, Source, UnsupportedError, list_names, suggest
from jacobian_chain.names import FUNCTION_KEYS, Names, read_key
from jacobian_chain.problem import Part, Problem
from jacobian_chain.select import WORDS
from jacobian_chain.syntax import Chain, Link, Node, Program, is_balanced, read_chains, read_expression
from jacobian_chain.tokens import Spelling, Tokens, spell, split_names, tokenize
from jacobian_chain.vocabulary import OPERATORS, Meaning, Vocabulary

MAX_POWER = 64
"""Largest exponent of a square matrix."""


MAX_COMPOSED = 1000
"""Most functions that are joined by ∘."""


class Atom(NamedTuple):
    """One derivative in an answer.

    Attributes:
        sign: how it is written: ``J``, ``∂``, ``d``, ``∇``, ``slot`` or ``'``.
        of: the name, the value (as written out) or the values that it is the derivative of.
        by: the names below, None where there are none.
        slot: the number of the argument, 0 where it is not given by number.
        at: the values at which it is taken, None where the text does not say.
        scalar: whether what is differentiated is a scalar.
        turned: whether it is the adjoint in every layout (∇), in none (∂y/∂xᵀ), or as the layout says (None).
        meanings: for each root among the atom's parts what it means, in words; empty where there is one only.
        left: whether it stands left of the first ``=``.
    """

    sign: str
    of: Spelling | int | tuple[int, ...]
    by: tuple[Spelling, ...] | None
    slot: int
    at: tuple[int, ...] | None
    scalar: bool
    turned: bool | None
    meanings: tuple[str, ...]
    left: bool

    @property
    def symbol(self) -> tuple[object, ...]:
        """What it looks like: equal symbols in one answer mean the same."""
        of = self.of.key if isinstance(self.of, Spelling) else self.of
        return (self.sign, of, None if self.by is None else tuple([name.key for name in self.by]), self.slot, self.at)


class Target(NamedTuple):
    """What a left side names: d ``of`` / d ``by``, perhaps transposed; ``part`` is that derivative."""

    of: int
    by: tuple[int, ...]
    transposed: bool
    part: int


class Statement(NamedTuple):
    """One chain of equalities: its sides from left to right, without the left side that only names.

    ``target`` is what the left side names; ``name`` what it calls the rest; ``links`` are the roots of the sides, and ``places``
    where they stand. ``label`` has the names in a left side that could not be read, and where it stands.
    """

    target: Target | None
    name: str
    links: tuple[int, ...]
    places: tuple[Place, ...]
    label: tuple[tuple[str, ...], Place] | None = None


class Answer(NamedTuple):
    """An answer that was read under one naming."""

    problem: Problem
    vocabulary: Vocabulary
    program: Program
    parts: list[Part]
    atoms: list[Atom]
    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    used: frozenset[str]


class _Value(NamedTuple):
    """A value as written: ``layer`` applied to ``arguments``, or anything else (``layer`` empty)."""

    value: int
    layer: str = ""
    arguments: tuple[int, ...] = ()


class _Differential(NamedTuple):
    """∂ or d with what follows it, -1 where nothing does."""

    sign: str
    node: int


class _Operator(NamedTuple):
    r"""``\frac{\partial}{\partial x}``, which differentiates what follows."""

    sign: str
    by: int


class _Functions(NamedTuple):
    """f ∘ g."""

    layers: tuple[str, ...]


_Outcome = int | _Value | _Differential | _Operator | _Functions | ReadingError | None
"""What a node is: a part, one of the above, an error that counts only if the node is used, or None for a name."""

_SPINE = frozenset({"product", "divide"})


def read_answer(source: Source, problem: Problem, vocabulary: Vocabulary, where: Sequence[str] = ()) -> Answer:
    r"""An answer under one naming of the values without a name.

    Args:
        source: the text.
        problem: what it is an answer to.
        vocabulary: the problem's names.
        where: lines ``name = meaning`` for names that the problem does not have.

    Raises:
        ReadingError: a name that nobody knows, a form that cannot be read.

    >>> from jacobian_chain.reading import read_composition
    >>> problem = Problem(read_composition(Source("L2(L1(x, θ1), θ2)")).tape)
    >>> answer = read_answer(Source(r"J_{x^2}L^2 \cdot J_{\theta^1}L^1"), problem, Vocabulary(problem, "inputs"))
    >>> [(atom.sign, atom.of.key, atom.by[0].key) for atom in answer.atoms]
    [('J', 'L2', 'x2'), ('J', 'L1', 'θ1')]
    """
    reader = _Reader(problem, vocabulary)
    for line in where:
        reader.read_where(line)
    return reader.read(source)


_NOTHING = Program(tokenize(Source("")), (), [], Names())
"""What was read before anything was."""


class _Reader:
    """Reads the lines of ``--where`` and the answer into one list of parts."""

    def __init__(self, problem: Problem, vocabulary: Vocabulary) -> None:
        self.problem = problem
        self.tape = problem.tape
        self.vocabulary = vocabulary
        self.meanings: dict[str, Meaning] = {}
        self.aliases: list[tuple[Tokens, Spelling]] = []
        self.parts: list[Part] = []
        self.atoms: list[Atom] = []
        self.notes: dict[str, None] = {}
        self.used: set[str] = set()
        self.left = False
        self.in_where = False
        self.behind: int | None = None  # the factor in brackets behind the one that was read last
        self.program: Program = _NOTHING
        self.nodes: list[Node] = []
        self.outcomes: list[_Outcome] = []
        self.internal = bytearray()

    # --- texts ---

    def read_where(self, line: str) -> None:
        """Bind the name left of the first '=' to what stands right of it."""
        source = Source(line, "--where")
        head, sign, body = line.partition("=")
        if not sign or not head.strip() or not body.strip():
            raise ReadingError("expected name = meaning", Place(source, 0, max(1, len(line))), "write delta_2 = dL/dz2, or h_t = h2")
        name = self.name_alias(head, source)
        shifted = Source(" " * (len(head) + 1) + body, "--where")
        self.in_where = True
        program = read_expression(shifted, *self.known_names())
        root = self.resolve(program, [Link(0, len(program.nodes) - 1, 0, len(program.tokens.kinds))])[0]
        self.meanings[name.key] = self.as_meaning(root)
        self.in_where = False

    def name_alias(self, head: str, source: Source) -> Spelling:
        """The name that a line explains, which may look like anything."""
        form = tokenize(Source(head, source.name))
        if "name" not in form.kinds or not is_balanced(form.kinds):
            raise ReadingError("expected a name before '='", Place(source, 0, max(1, len(head))), "write delta_2 = dL/dz2, or h_t = h2")
        key = form.spelling(0).key if form.kinds == ["name"] else read_key(head, source.name)
        if key is not None and (key in self.tape.names or key in self.vocabulary.layers or key in ("I", "Id")):
            hint = "--where explains names that have no meaning yet"
            raise ReadingError(f"{key} is a name of the composition, or the identity", Place(source, 0, max(1, len(head))), hint)
        if form.kinds == ["name"]:
            return form.spelling(0)
        name = spell(key) if key is not None else Spelling(head.strip(), head.strip())
        self.aliases.append((form, name))
        self.aliases.sort(key=lambda alias: -len(alias[0].kinds))
        return name

    def known_names(self) -> tuple[list[str], frozenset[str], list[str]]:
        """Values, layers and other names, as the grammar wants them: what is a value and a layer may be applied."""
        layers = self.vocabulary.layers | {key for key, meaning in self.meanings.items() if meaning.kind == "layer"}
        values = [*self.vocabulary.values, *(key for key, meaning in self.meanings.items() if meaning.kind != "layer")]
        others = [*OPERATORS, *self.vocabulary.groups, *self.tape.spellings, *self.meanings]
        return [name for name in (*values, "I", "Id") if name not in layers], layers, others

    def read(self, source: Source) -> Answer:
        values, layers, others = self.known_names()
        program, chains = read_chains(source, values, layers, others, self.aliases)
        for notice in program.notices:
            self.notes.setdefault(notice.message)
        statements = tuple([self.read_chain(program, chain) for chain in chains])
        notes = tuple(self.notes)
        return Answer(self.problem, self.vocabulary, program, self.parts, self.atoms, statements, notes, frozenset(self.used))

    def read_chain(self, program: Program, chain: Chain) -> Statement:
        links = list(chain.links)
        target: Target | None = None
        label: tuple[tuple[str, ...], Place] | None = None
        name = ""
        if chain.name is not None:
            spelling = program.tokens.spelling(chain.name)
            target = self.lone_target(spelling)
            name = spelling.key
            links = links[1:]
        elif len(links) > 1:
            target = self.read_target(program, links[0])
            label = None if target is not None else (_names_in(program, links[0]), program.place(links[0]))
            links = links[1:]
        roots = [self.as_part(index) for index in self.resolve(program, links)]
        places = tuple(program.place(link) for link in links)
        known = name in self.vocabulary.values or name in self.vocabulary.layers
        if known and target is None:
            self.notes.setdefault(f"the left side {name} is taken as a mere label")
        if name and not known and target is None:
            self.meanings[name] = Meaning("part", roots[-1])
        return Statement(target, name, tuple(roots), places, label)

    def lone_target(self, name: Spelling) -> Target | None:
        """What a single name left of ``=`` is the derivative of, as in ``Jf``: by all variables."""
        if len(name.base) < 2 or name.key in self.meanings or name.key in self.vocabulary.values:
            return None
        head, of = name.key[0], spell(name.key[1:])
        value = self.vocabulary.find(of)
        if head not in ("J", "D") or value is None or value < self.tape.leaves:
            return None
        by = tuple(self.problem.leaves_of([value]))
        roots = [self.add(self.known(value, one, self.problem.total(value, one))) for one in by]
        root = roots[0] if len(roots) == 1 else self.add(Part("grid", tuple(roots), (len(roots),)))
        atom = Atom("J", of, None, 0, None, self.problem.shapes[value].is_scalar, None, (), True)
        return Target(value, by, False, self.add_atom(atom, (root,), (-1, -1)))

    def known(self, of: int, by: int, root: int) -> Part:
        """A derivative of the problem as a part of the answer."""
        number = self.problem.shapes[of].is_scalar and self.problem.shapes[by].is_scalar
        return Part("quotient" if number else "known", (), root)

    def read_target(self, program: Program, link: Link) -> Target | None:
        """What a left side names; None, with a note, if it is nothing that can be read."""
        self.left = True
        count = len(self.parts)
        try:
            (index,) = self.resolve(program, [link])
            part = self.as_part(index)
        except ReadingError as error:
            shown = program.place(link)
            self.notes.setdefault(f"the left side {shown.source.text[shown.start : shown.end]} is taken as a mere label: {error.message}")
            return None
        finally:
            self.left = False
        transposed = False
        while self.parts[part].kind == "transpose":
            part, transposed = self.parts[part].args[0], not transposed
        if self.parts[part].kind != "derivative" or part < count:
            return Target(-1, (), False, part)
        atom = self.atoms[_integer(self.parts[part].value)]
        of, by = self.target_values(atom)
        return Target(of, by, transposed, part) if of >= 0 else Target(-1, (), False, part)

    def target_values(self, atom: Atom) -> tuple[int, tuple[int, ...]]:
        """The values that an atom on a left side speaks of, -1 where it is a layer's own derivative."""
        value = self.vocabulary.find(atom.of) if isinstance(atom.of, Spelling) else atom.of
        if not isinstance(value, int) or value >= len(self.tape.names):
            return -1, ()
        if atom.by is None:
            return value, tuple(self.problem.leaves_of([value]))
        by: list[int] = []
        for name in atom.by:
            found = self.find_value(name)
            by += [found] if found is not None else self.vocabulary.members(name.key)
        return value, tuple(by)

    # --- nodes ---

    def resolve(self, program: Program, links: Sequence[Link]) -> list[int]:
        """The roots of some sides, every node below them understood as far as it can be by itself."""
        nodes = program.nodes
        if program is not self.program:
            self.program, self.nodes = program, nodes
            self.outcomes = [None] * len(nodes)
            self.internal = bytearray(len(nodes))
            for node in nodes:
                if (node.kind in _SPINE and node.value != r"\frac") or node.kind in ("add", "subtract"):
                    first = nodes[node.args[0]]
                    if not first.bracketed and _continues(node.kind, first):
                        self.internal[node.args[0]] = 1
        for link in links:
            for index in range(link.low, link.root + 1):
                if not self.internal[index]:
                    try:
                        self.outcomes[index] = self.build(index)
                    except UnsupportedError:
                        raise
                    except ReadingError as error:
                        self.outcomes[index] = error  # it may be part of something that is understood as a whole
        return [link.root for link in links]

    def build(self, index: int) -> _Outcome:
        node = self.nodes[index]
        if node.kind == "dots":
            hint = "write the terms out, or two terms around the dots that differ in their indices only"
            raise UnsupportedError("what do these dots stand for?", self.program.place(node), hint)
        builder = _BUILDERS.get(node.kind)
        if builder is None:
            shown = _UNREADABLE.get(node.kind, f"a {node.kind}")
            raise UnsupportedError(f"not supported yet in an answer: {shown}", self.program.place(node))
        return builder(self, index, node)

    def add(self, part: Part) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def span(self, node: Node) -> tuple[int, int]:
        """Where a node stands in the answer's text, -1 for a line of ``--where``."""
        if self.in_where:
            return -1, -1
        tokens = self.program.tokens
        return tokens.starts[node.start], tokens.ends[node.end - 1]

    def part(self, kind: str, args: Sequence[int], node: Node, value: object = 0) -> int:
        start, end = self.span(node)
        return self.add(Part(kind, tuple(args), value, start, end))

    def as_part(self, index: int) -> int:
        """A node as a linear map."""
        outcome, node = self.outcomes[index], self.nodes[index]
        if isinstance(outcome, int):
            return outcome
        if isinstance(outcome, ReadingError):
            raise outcome
        if isinstance(outcome, _Value):
            return self.value_part(outcome.value, node)
        if isinstance(outcome, _Differential | _Operator):
            hint = r"write \frac{\partial y}{\partial x} or ∂y/∂x"
            raise ReadingError("a differential by itself is no derivative", self.program.place(node), hint)
        if isinstance(outcome, _Functions):
            raise ReadingError("a function by itself is no derivative", self.program.place(node), "write J_{x} f or f'(x)")
        if node.kind == "tuple":
            return self.part("grid", [self.as_part(arg) for arg in node.args], node, (len(node.args),))
        if node.kind == "prime":
            return self.part("transpose", (self.as_part(node.args[0]),), node)
        if node.kind not in ("name", "function"):
            raise ReadingError("expected a derivative", self.program.place(node))
        return self.name_part(self.spelling(node), node)

    def spelling(self, node: Node) -> Spelling:
        token = self.program.tokens.values[node.start]
        return token if isinstance(token, Spelling) and token.key == node.value else spell(node.value)

    def name_part(self, name: Spelling, node: Node) -> int:
        """A name that stands by itself: a definition, a value, I."""
        meaning = self.meanings.get(name.key)
        if meaning is not None:
            if meaning.kind == "part":
                return self.part("name", [_integer(meaning.of)], node, name)
            if meaning.kind == "value":
                return self.value_part(_integer(meaning.of), node)
        value = self.find_value(name)
        if value is not None:
            return self.value_part(value, node)
        parts = self.run_together(name)
        if parts is not None:
            sign = "J" if name.base == "D" else name.base
            return self.differentiate(sign, ("name", parts[1]), (parts[0],), 0, None, node, node)
        if name.base in ("I", "Id") and name.key not in self.vocabulary.layers:
            return self.part("identity", (), node)
        if name.key in self.vocabulary.layers or meaning is not None:
            raise ReadingError(
                f"{name.key} is a layer, not a derivative", self.program.place(node), f"write J_x {name.key} or {name.key}'(x)"
            )
        if self.is_operator(node):
            hint = f"write {_shown_operator(node, self.program)} f for the derivative of f"
            raise ReadingError("there is nothing to differentiate", self.program.place(node), hint)
        raise self.unknown(name, node)

    def value_part(self, value: int, node: Node) -> int:
        """The value itself as a factor."""
        if value < len(self.problem.canonical):
            root = self.add(Part("quotient", (), self.problem.value_root(value)))
            return self.part("value", (root,), node, value)
        return self.part("letter", (), node, self.problem.value(value))

    def find_value(self, name: Spelling) -> int | None:
        meaning = self.meanings.get(name.key)
        if meaning is not None:
            return _integer(meaning.of) if meaning.kind == "value" else None
        value = self.vocabulary.find(name)
        if value is not None and name.key not in self.tape.names:
            self.used.add(name.key)
        return value

    def find_variable(self, name: Spelling) -> int | None:
        """The value that a derivative is taken by; the name of a layer that is applied once stands for what it gives."""
        value = self.find_value(name)
        steps = self.problem.applications.get(name.key, ()) if value is None else ()
        return steps[0] if len(steps) == 1 else value

    def find_layer(self, name: Spelling) -> str | None:
        meaning = self.meanings.get(name.key)
        if meaning is not None:
            return str(meaning.of) if meaning.kind == "layer" else None
        return name.key if name.key in self.vocabulary.layers else None

    def is_operator(self, node: Node) -> bool:
        """Whether a node is a sign that differentiates what follows."""
        if node.kind != "name" and node.kind != "function":
            return False
        name = self.spelling(node)
        if name.base not in OPERATORS or name.key in self.meanings or name.accent:
            return False
        return self.vocabulary.values.get(name.key) is None and name.key not in self.vocabulary.layers

    def unknown(self, name: Spelling, node: Node) -> ReadingError:
        """The error for a name that the problem does not have."""
        known = [*self.vocabulary.values, *self.vocabulary.layers, *self.vocabulary.groups, *self.meanings]
        near = suggest(name.key, known) or suggest(name.key.translate(WORDS), [key.translate(WORDS) for key in known])
        explain = f"or explain it with --where '{name.key} = …'"
        hint = f"{near or f'its names are {list_names(known)}'}; {explain}"
        return ReadingError(f"the problem has no name {name.key}", self.program.place(node), hint)

    # --- kinds of nodes ---

    def build_name(self, _index: int, _node: Node) -> _Outcome:
        return None

    def build_number(self, _index: int, node: Node) -> _Outcome:
        _, _, exponent = node.value.lower().partition("e")
        if len(node.value) > 40 or len(exponent) > 3:
            raise ReadingError("this number is too long", self.program.place(node), "up to 40 digits, and exponents up to 99")
        number = Fraction(node.value)
        if not number:
            return self.part("zero", (), node)
        return self.part("number", (), node, number.numerator if number.denominator == 1 else number)

    def build_call(self, index: int, node: Node) -> _Outcome:
        function = self.nodes[node.args[0]]
        arguments = node.args[1:]
        primes = 0
        while function.kind == "prime":
            function, primes = self.nodes[function.args[0]], primes + 1
        if function.kind not in ("function", "name"):
            raise UnsupportedError("not supported yet in an answer: a power of a function", self.program.place(node))
        self.refuse_big_operator(function)
        name = self.spelling(function)
        if not arguments:
            raise ReadingError("there is nothing in these brackets", self.program.place(node))
        if primes > 1:
            raise UnsupportedError("not supported yet in an answer: second derivatives", self.program.place(node))
        if primes:
            point = tuple(self.as_value(arg) for arg in arguments)
            return self.differentiate("'", self.name_operand(name, function), None, 0, point, node, node)
        if self.is_operator(function):
            sign, by, slot, at = self.read_operator(function)
            if sign in ("∂", "d") and by is None:
                return _Differential(sign, index)
            if len(arguments) > 1:
                return self.differentiate(sign, tuple(self.as_value(arg) for arg in arguments), by, slot, at, node, node)
            return self.differentiate(sign, self.operand(arguments[0])[0], by, slot, at, node, node)
        layer = self.find_layer(name)
        if layer is not None:
            inputs = tuple(self.as_value(arg) for arg in arguments)
            arity = len(self.tape.steps[self.problem.applications[layer][0] - self.tape.leaves].inputs)
            if len(inputs) != arity:
                message = f"{name.key} takes {arity} argument{'s' if arity > 1 else ''}, not {len(inputs)}"
                raise ReadingError(message, self.program.place(node))
            return _Value(self.problem.apply(layer, inputs), layer, inputs)
        value = self.find_value(name)
        if value is not None and self.are_arguments(arguments, value):
            return _Value(value)
        if name.key in FUNCTION_KEYS:
            if FUNCTION_KEYS[name.key] == "vec" and len(arguments) == 1:
                return self.outcomes[arguments[0]]
            raise UnsupportedError(f"not supported yet in an answer: {FUNCTION_KEYS[name.key]}", self.program.place(function))
        if value is not None:
            inner = [self.as_part(arg) for arg in arguments]
            if len(inner) == 1:
                return self.part("product", (self.value_part(value, function), inner[0]), node)
        raise self.unknown(name, function)

    def refuse_big_operator(self, node: Node) -> None:
        """Raise the error for a sum or product over an index."""
        if node.kind in ("name", "function") and self.spelling(node).base in ("sum", "prod") and node.value not in self.vocabulary.values:
            hint = "write its terms out"
            raise UnsupportedError("not supported yet in an answer: a sum or product over an index", self.program.place(node), hint)

    def are_arguments(self, nodes: Sequence[int], value: int) -> bool:
        """Whether all nodes are values that a value depends on: y(x) is then y, not a product."""
        try:
            inputs = [self.as_value(node) for node in nodes]
        except ReadingError:
            return False
        return value >= self.tape.leaves and all(self.problem.is_ancestor(one, value) for one in inputs)

    def as_value(self, index: int) -> int:
        """A node as a value of the problem or one made of its layers."""
        outcome, node = self.outcomes[index], self.nodes[index]
        if isinstance(outcome, _Value):
            value = outcome.value
        elif isinstance(outcome, ReadingError):
            raise outcome
        elif node.kind in ("name", "function"):
            name = self.spelling(node)
            found = self.find_value(name)
            if found is None:
                raise self.unknown(name, node)
            value = found
        elif node.kind in ("add", "subtract") and node.args:
            value = self.problem.combine(self.combination(index))
        else:
            raise ReadingError("expected a value, such as x or f(x)", self.program.place(node))
        return self.problem.canonical[value] if value < len(self.problem.canonical) else value

    def combination(self, index: int) -> dict[int, int | Fraction]:
        """A sum of values as coefficients."""
        terms: dict[int, int | Fraction] = {}
        stack: list[tuple[int, int]] = [(index, 1)]
        while stack:
            at, sign = stack.pop()
            node = self.nodes[at]
            if node.kind in ("add", "subtract"):
                stack.append((node.args[1], sign if node.kind == "add" else -sign))
                stack.append((node.args[0], sign))
            else:
                value = self.as_value(at)
                terms[value] = terms.get(value, 0) + sign
        return terms

    def build_transpose(self, _index: int, node: Node) -> _Outcome:
        if node.value == "-":
            raise UnsupportedError("not supported yet in an answer: an inverse", self.program.place(node))
        return self.part("transpose", (self.as_part(node.args[0]),), node)

    def build_prime(self, _index: int, node: Node) -> _Outcome:
        inner = self.nodes[node.args[0]]
        if inner.kind in ("name", "function"):
            name = self.spelling(inner)
            if name.key not in self.meanings and (self.find_layer(name) or inner.kind == "function"):
                return self.differentiate("'", self.name_operand(name, inner), None, 0, None, node, node)
            return None  # f'(x) of a value, or a transpose: what stands behind it says which
        return self.part("transpose", (self.as_part(node.args[0]),), node)

    def build_negate(self, _index: int, node: Node) -> _Outcome:
        return self.part("negate", (self.as_part(node.args[0]),), node)

    def build_sum(self, index: int, node: Node) -> _Outcome:
        terms: list[tuple[int, bool]] = []
        at = index
        while True:
            current = self.nodes[at]
            terms.append((current.args[1], current.kind == "subtract"))
            if not self.internal[current.args[0]]:
                terms.append((current.args[0], False))
                break
            at = current.args[0]
        terms.reverse()
        args = []
        for term, negative in terms:
            part = self.as_part(term)
            args.append(self.part("negate", (part,), self.nodes[term]) if negative else part)
        return self.part("sum", args, node)

    def build_row(self, _index: int, node: Node) -> _Outcome:
        if len(node.args) == 1:
            return self.outcomes[node.args[0]] if self.outcomes[node.args[0]] is not None else self.as_part(node.args[0])
        return self.part("grid", [self.as_part(arg) for arg in node.args], node, (len(node.args),))

    def build_column(self, _index: int, node: Node) -> _Outcome:
        cells: list[int] = []
        lengths: list[int] = []
        for arg in node.args:
            row = self.nodes[arg]
            row_nodes = row.args if row.kind in ("row", "beside") and not row.bracketed and len(row.args) > 1 else (arg,)
            cells += [self.as_part(cell) for cell in row_nodes]
            lengths.append(len(row_nodes))
        return self.part("grid", cells, node, tuple(lengths))

    def build_tuple(self, _index: int, node: Node) -> _Outcome:
        if any(isinstance(self.outcomes[arg], int) and self.nodes[arg].kind != "number" for arg in node.args):
            return self.part("grid", [self.as_part(arg) for arg in node.args], node, (len(node.args),))
        return None

    def build_power(self, _index: int, node: Node) -> _Outcome:
        exponent = self.nodes[node.args[1]]
        if exponent.kind != "number" or not exponent.value.isdecimal() or not 0 < int(exponent.value[:9]) <= MAX_POWER:
            raise UnsupportedError("not supported yet in an answer: this power", self.program.place(node))
        return self.part("product", [self.as_part(node.args[0])] * int(exponent.value), node)

    def build_elementwise(self, _index: int, node: Node) -> _Outcome:
        if node.value == "∘":
            left, right = (self.as_functions(arg) for arg in node.args)
            if left is not None and right is not None:
                if len(left) + len(right) > MAX_COMPOSED:
                    raise ReadingError(f"more than {MAX_COMPOSED} functions are joined by ∘", self.program.place(node))
                return _Functions(left + right)
            inner = self.outcomes[node.args[1]]
            if left is not None and isinstance(inner, _Value):
                return self.compose(left, inner.value, node)
            if left is not None:
                raise ReadingError("expected a function behind ∘", self.program.place(self.nodes[node.args[1]]))
            self.notes.setdefault("∘ is read as the product of linear maps")
            return self.part("product", [self.as_part(arg) for arg in node.args], node)
        if node.value not in ("⊙", ".*"):
            raise UnsupportedError(f"not supported yet in an answer: {node.value}", self.program.place(node))
        return self.part("hadamard", [self.as_part(arg) for arg in node.args], node)

    def as_functions(self, index: int) -> tuple[str, ...] | None:
        """The layers that a node is the composition of, None if it is none."""
        outcome, node = self.outcomes[index], self.nodes[index]
        if isinstance(outcome, _Functions):
            return outcome.layers
        if node.kind in ("name", "function"):
            layer = self.find_layer(self.spelling(node))
            return None if layer is None else (layer,)
        return None

    def compose(self, layers: tuple[str, ...], value: int, node: Node) -> _Value:
        """The value of composed layers, each of one argument."""
        inputs: tuple[int, ...] = ()
        for layer in reversed(layers):
            if len(self.tape.steps[self.problem.applications[layer][0] - self.tape.leaves].inputs) != 1:
                hint = f"write {layer}(…) with its arguments"
                raise ReadingError(f"{layer} takes several arguments and cannot be joined by ∘", self.program.place(node), hint)
            inputs = (value,)
            value = self.problem.apply(layer, inputs)
        return _Value(value, layers[0], inputs)

    def build_at(self, _index: int, node: Node) -> _Outcome:
        inner = self.outcomes[node.args[0]]
        if not isinstance(inner, int) or self.parts[inner].kind != "derivative":
            if self.nodes[node.args[0]].kind in ("name", "function"):
                return None  # the point of an operator's operand
            raise ReadingError("expected a derivative before the evaluation bar", self.program.place(node))
        return self.move(inner, self.point_below(node), node)

    def point_below(self, node: Node) -> tuple[int, ...]:
        """The values below an evaluation bar: (x, θ), or x = x_0."""
        values = []
        inner = node.value[1:-1] if node.value[:1] + node.value[-1:] == "()" else node.value
        for text in split_names(inner):
            written = text.rpartition("=")[2].strip()
            key = read_key(written)
            found = self.value_of(written, node) if key is None else self.find_value(spell(key))
            if found is None:
                raise ReadingError(f"expected values below the bar, found {text!r}", self.program.place(node))
            values.append(self.problem.canonical[found] if found < len(self.problem.canonical) else found)
        return tuple(values)

    def move(self, part: int, at: tuple[int, ...], node: Node) -> int:
        """An atom taken at a point that stands behind it."""
        atom = self.atoms[_integer(self.parts[part].value)]
        of: _Operand
        of = ("name", atom.of) if isinstance(atom.of, Spelling) else _Value(atom.of) if isinstance(atom.of, int) else atom.of
        return self.differentiate(atom.sign, of, atom.by, atom.slot, at, node, node)

    # --- products ---

    def build_spine(self, index: int, node: Node) -> _Outcome:
        """A product, with fractions and operators found in it."""
        if node.kind == "divide" and node.value == r"\frac":
            return self.build_fraction(node)
        items: list[tuple[str, int]] = []
        at = index
        while True:
            current = self.nodes[at]
            items.append(("/" if current.kind == "divide" else current.value or "juxtaposed", current.args[1]))
            if not self.internal[current.args[0]]:
                items.append(("first", current.args[0]))
                break
            at = current.args[0]
        items.reverse()
        for _, item in items:
            self.refuse_big_operator(self.nodes[item])
        units: list[tuple[str, _Outcome, int, int]] = []
        i = 0
        while i < len(items):
            unit, stop = self.unit(items, i)
            behind, self.behind = self.behind, None
            last = self.nodes[items[stop - 1][1]]
            before = units[-1] if units else None
            if before is not None and items[i][0] == "juxtaposed" and stop == i + 1:
                moved = self.apply_brackets(before[1], before[3], items[i][1])
                if moved is not None:
                    units[-1] = (before[0], moved, before[2], items[i][1])
                    i = stop
                    continue
            if before is not None and isinstance(before[1], _Differential) and isinstance(unit, _Differential) and items[i][0] == "/":
                fraction = self.fraction(before[1], unit, Node("divide", "", (), self.nodes[before[2]].start, last.end))
                if isinstance(fraction, _Operator) and stop < len(items):
                    operand, _ = self.operand(items[stop][1])
                    span = Node("divide", "", (), self.nodes[before[2]].start, self.nodes[items[stop][1]].end)
                    fraction = self.differentiate(fraction.sign, operand, self.variables(fraction.by), 0, None, span, span)
                    stop += 1
                units[-1] = (before[0], fraction, before[2], items[stop - 1][1])
            else:
                units.append((items[i][0], unit, items[i][1], items[stop - 1][1]))
            if behind is not None:
                units.append(("juxtaposed", behind, items[stop - 1][1], items[stop - 1][1]))
            i = stop
        if len(units) == 1:
            outcome = units[0][1]
            if isinstance(outcome, int):
                start, end = self.span(node)
                self.parts[outcome] = self.parts[outcome]._replace(start=start, end=end)
            return outcome
        args: list[int] = []
        for sign, outcome, first_node, _ in units:
            part = outcome if isinstance(outcome, int) else self.force(outcome, first_node)
            if sign == "/":
                part = self.invert(part, first_node)
            args.append(part)
        return self.part("product", args, node)

    def force(self, outcome: _Outcome, index: int) -> int:
        """A unit of a product as a part."""
        if outcome is None:
            return self.as_part(index)
        saved = self.outcomes[index]
        self.outcomes[index] = outcome
        try:
            return self.as_part(index)
        finally:
            self.outcomes[index] = saved

    def invert(self, part: int, index: int) -> int:
        """One over a number."""
        number = self.as_number(part)
        if number is None:
            hint = "only numbers can be divided by; for a derivative write ∂y/∂x"
            raise ReadingError("division by something that is not a number", self.program.place(self.nodes[index]), hint)
        if not number:
            raise ReadingError("division by zero", self.program.place(self.nodes[index]))
        return self.part("number", (), self.nodes[index], Fraction(1) / number)

    def as_number(self, root: int) -> Fraction | None:
        """The number that a part is, None if it is none: numbers, their products, signs, names for them."""
        result = Fraction(1)
        stack = [root]
        while stack:
            part = self.parts[stack.pop()]
            if part.kind == "number" and isinstance(part.value, int | Fraction):
                result *= part.value
            elif part.kind == "zero":
                result *= 0
            elif part.kind in ("name", "negate", "product"):
                result = -result if part.kind == "negate" else result
                stack.extend(part.args)
            else:
                return None
            if max(result.numerator.bit_length(), result.denominator.bit_length()) > 4096:
                return None
        return result

    def unit(self, items: Sequence[tuple[str, int]], i: int) -> tuple[_Outcome, int]:
        """The factor that begins at an item, and the item behind it."""
        index = items[i][1]
        node = self.nodes[index]
        transposed = False
        sign_node = node
        if node.kind == "transpose" and not node.bracketed and self.is_operator(self.nodes[node.args[0]]):
            sign_node, transposed = self.nodes[node.args[0]], True
        if self.is_operator(sign_node) and not node.bracketed:
            following = i + 1 < len(items) and items[i + 1][0] == "juxtaposed"
            if self.run_together(self.spelling(sign_node)) is not None:
                return self.as_part(index), i + 1
            sign, by, slot, at = self.read_operator(sign_node)
            if by is None and not slot and sign in ("∂", "d"):
                return _Differential(sign, items[i + 1][1] if following else -1), i + 1 + following
            if not following:
                hint = f"write {_shown_operator(sign_node, self.program)} f for the derivative of f"
                raise ReadingError("there is nothing to differentiate", self.program.place(sign_node), hint)
            behind = self.nodes[items[i + 1][1]]
            factor = self.bracketed_factor(items[i + 1][1])
            if factor is not None:
                name, whole = self.nodes[factor.args[0]], behind
                span = Node("product", "", (), node.start, name.end)
                part = self.differentiate(sign, self.name_operand(self.spelling(name), name), by, slot, at, span, sign_node)
                other = self.as_part(factor.args[1])
                while behind.kind == "transpose":
                    other = self.part("transpose", (other,), whole)
                    behind = self.nodes[behind.args[0]]
                self.behind = other
                return part, i + 2
            operand, turned = self.operand(items[i + 1][1])
            if behind.kind == "at":
                at = self.point_below(behind)
            span = Node("product", "", (), node.start, behind.end)
            part = self.differentiate(sign, operand, by, slot, at, span, sign_node)
            if turned is not transposed:
                start, end = self.span(span)
                part = self.add(Part("transpose", (part,), 0, start, end))
            return part, i + 2
        outcome = self.outcomes[index]
        if isinstance(outcome, _Operator) and i + 1 < len(items) and items[i + 1][0] == "juxtaposed":
            operand, _ = self.operand(items[i + 1][1])
            span = Node("divide", "", (), node.start, self.nodes[items[i + 1][1]].end)
            return self.differentiate(outcome.sign, operand, self.variables(outcome.by), 0, None, span, span), i + 2
        return outcome, i + 1

    def bracketed_factor(self, index: int) -> Node | None:
        """A layer's name and brackets behind it that hold no argument but a further factor, as in ``J_x f (I + J_y g)``."""
        node = self.nodes[index]
        while node.kind == "transpose" and not node.bracketed:
            index = node.args[0]
            node = self.nodes[index]
        if node.kind != "call" or len(node.args) != 2 or not isinstance(self.outcomes[index], ReadingError):
            return None
        function, inner = self.nodes[node.args[0]], self.outcomes[node.args[1]]
        plain = function.kind == "function" and self.find_layer(self.spelling(function)) is not None
        name = self.nodes[node.args[1]]
        unit = name.kind == "name" and name.value.startswith("I")
        return node if plain and (isinstance(inner, int) or unit) else None

    def apply_brackets(self, before: _Outcome, before_node: int, index: int) -> _Outcome:
        """What a factor and the brackets behind it make together: y(x) is a value, (J f)(x) a derivative at a point."""
        node = self.nodes[index]
        if not (node.bracketed or node.kind == "tuple"):
            return None
        nodes = node.args if node.kind == "tuple" else (index,)
        if isinstance(before, int):
            part = self.parts[before]
            if part.kind != "derivative":
                return None
            atom = self.atoms[_integer(part.value)]
            try:
                at = tuple(self.as_value(arg) for arg in nodes)
            except ReadingError:
                return None
            scalar = len(at) == 1 and self.problem.shapes[at[0]].is_scalar
            if atom.at is not None or (scalar and not self.fits(atom, at)):
                return None
            return self.move(before, at, Node("at", "", (), self._token_at(part.start), node.end))
        origin = self.nodes[before_node]
        if before is None and origin.kind == "prime" and self.nodes[origin.args[0]].kind == "name":
            name = self.spelling(self.nodes[origin.args[0]])
            value = self.find_value(name)
            if value is not None and value >= self.tape.leaves:
                at = tuple(self.as_value(arg) for arg in nodes)
                return self.differentiate("'", ("name", name), None, 0, at, Node("at", "", (), origin.start, node.end), origin)
        if before is None and origin.kind == "name" and not self.is_operator(origin):
            value = self.find_value(self.spelling(origin))
            if value is not None and self.are_arguments(nodes, value):
                return _Value(value)
        return None

    def fits(self, atom: Atom, at: tuple[int, ...]) -> bool:
        """Whether a single number in brackets can be the argument of what an atom differentiates."""
        layer = self.find_layer(atom.of) if isinstance(atom.of, Spelling) else None
        if layer is None:
            return False
        step = self.tape.steps[self.problem.applications[layer][0] - self.tape.leaves]
        return len(step.inputs) == 1 and self.tape.shapes[step.inputs[0]].is_scalar and len(at) == 1

    def _token_at(self, start: int) -> int:
        """The token that begins at a character."""
        import bisect

        return max(0, bisect.bisect_right(self.program.tokens.starts, start) - 1)

    def build_fraction(self, node: Node) -> _Outcome:
        above, below = (self.outcomes[arg] for arg in node.args)
        if isinstance(below, _Differential):
            numerator = self.nodes[node.args[0]]
            if isinstance(above, _Differential):
                return self.fraction(above, below, node)
            if numerator.kind == "name" and self.is_operator(numerator):
                return _Operator(below.sign, below.node)
            raise ReadingError(
                f"expected {below.sign} above the line too", self.program.place(node), r"write \frac{\partial y}{\partial x}"
            )
        top, bottom = (self.as_part(arg) for arg in node.args)
        inverse = self.invert(bottom, node.args[1])
        number, factor = self.parts[top].value, self.parts[inverse].value
        if self.parts[top].kind == "number" and isinstance(number, int | Fraction) and isinstance(factor, Fraction):
            return self.part("number", (), node, number * factor)
        return self.part("product", (top, inverse), node)

    def fraction(self, above: _Differential, below: _Differential, node: Node) -> _Outcome:
        """∂y over ∂x."""
        if below.node < 0:
            raise ReadingError("expected what it is differentiated by", self.program.place(node), r"write \frac{\partial y}{\partial x}")
        if above.node < 0:
            return _Operator(below.sign, below.node)
        operand, turned_of = self.operand(above.node)
        inner, turned_by = below.node, False
        while self.nodes[inner].kind == "transpose":
            inner, turned_by = self.nodes[inner].args[0], not turned_by
        turned = False if turned_by else True if turned_of else None
        return self.differentiate(below.sign, operand, self.variables(inner), 0, None, node, node, turned)

    # --- derivatives ---

    def read_operator(self, node: Node) -> tuple[str, tuple[Spelling, ...] | None, int, tuple[int, ...] | None]:
        """The sign of an operator, the names below it, the number of the argument, or the point that stands below (``D_{g(a)} f``)."""
        name = self.spelling(node)
        sign = "J" if name.base == "D" else "∂" if name.base == "d" and name.suffix else name.base
        if not name.suffix:
            return sign, None, 0, None
        if name.suffix.isdecimal() and (sign == "∂" or name.base == "D") and len(name.suffix) < 9:
            if not int(name.suffix):
                raise ReadingError("arguments are counted from 1", self.program.place(node))
            return "slot", None, int(name.suffix), None
        names = []
        for text in split_names(_index_text(node, self.program)):
            key = read_key(text)
            if key is None:
                return sign, None, 0, (self.value_of(text, node),)
            known = self.vocabulary.labels.name(key)
            names.append(known._replace(raised="^" in text) if known.suffix and not known.upper else known)
        return sign, tuple(names), 0, None

    def value_of(self, text: str, node: Node) -> int:
        """A value that stands in an index."""
        inner = _Reader(self.problem, self.vocabulary)
        inner.meanings, inner.used, inner.in_where = self.meanings, self.used, True
        try:
            program = read_expression(Source(text, "index"), *self.known_names())
            return inner.as_value(inner.resolve(program, [Link(0, len(program.nodes) - 1, 0, len(program.tokens.kinds))])[0])
        except ReadingError as error:
            raise ReadingError(
                f"expected names or a value below the sign, found {text!r}: {error.message}", self.program.place(node)
            ) from None

    def run_together(self, name: Spelling) -> tuple[Spelling, Spelling] | None:
        """What an operator's index and the function behind it are where they stand as one word: ``D_ag`` is D_a g."""
        if name.base not in OPERATORS or self.find_value(spell(name.suffix or "1")) is not None or self.vocabulary.members(name.suffix):
            return None
        for cut in range(1, min(len(name.suffix), 12)):
            below, function = spell(name.suffix[:cut]), spell(name.suffix[cut:])
            if self.find_value(below) is not None and self.find_layer(function) is not None:
                return below, function
        return None

    def variables(self, index: int) -> tuple[Spelling, ...]:
        """The names that a denominator shows."""
        node = self.nodes[index]
        if node.kind == "call" and self.nodes[node.args[0]].value == "vec":
            node = self.nodes[node.args[1]]
        nodes = [self.nodes[arg] for arg in self.members(node)] or [node]
        if not all(one.kind in ("name", "function") for one in nodes):
            raise ReadingError("expected the name of a variable", self.program.place(node))
        return tuple(self.spelling(one) for one in nodes)

    def members(self, node: Node) -> tuple[int, ...]:
        """The values of a list such as ``(x, θ)``, also where a differential stands in front of it; empty for what is none."""
        if node.kind == "call" and self.is_operator(self.nodes[node.args[0]]):
            return node.args[1:]
        return node.args if node.kind in ("tuple", "beside") else ()

    def operand(self, index: int) -> tuple[_Operand, bool]:
        """What is differentiated, and whether a transpose stands on it."""
        turned = False
        node = self.nodes[index]
        while node.kind in ("transpose", "at") and not node.bracketed:
            turned ^= node.kind == "transpose"
            index = node.args[0]
            node = self.nodes[index]
        if node.kind == "call" and self.nodes[node.args[0]].value == "vec" and len(node.args) == 2:
            index = node.args[1]
            node = self.nodes[index]
        outcome = self.outcomes[index]
        if isinstance(outcome, _Functions):
            return outcome, turned
        if isinstance(outcome, _Value):
            return outcome, turned
        if node.kind in ("name", "function"):
            return self.name_operand(self.spelling(node), node), turned
        members = self.members(node)
        if members:
            return tuple(self.as_value(arg) for arg in members), turned
        if node.kind in ("add", "subtract"):
            return _Value(self.as_value(index)), turned
        if isinstance(outcome, ReadingError):
            raise outcome
        if isinstance(outcome, int):
            raise UnsupportedError("not supported yet in an answer: second derivatives", self.program.place(node))
        raise ReadingError("expected what is differentiated: a value or a layer", self.program.place(node))

    def name_operand(self, name: Spelling, node: Node) -> _Operand:
        if self.find_layer(name) is None and self.find_value(name) is None:
            raise self.unknown(name, node)
        return ("name", name)

    def differentiate(
        self,
        sign: str,
        operand: _Operand,
        by: tuple[Spelling, ...] | None,
        slot: int,
        at: tuple[int, ...] | None,
        span: Node,
        place: Node,
        turned: bool | None = None,
    ) -> int:
        """The atom of a derivative, with all that it can mean."""
        finder = _Meanings(self, sign, by, slot, at, self.program.place(place))
        of: Spelling | int | tuple[int, ...]
        if isinstance(operand, _Functions):
            operand = self.composite(operand, at, place)
            finder.at = None
        if isinstance(operand, _Value):
            finder.of_value(operand)
            of, scalar = operand.value, self.problem.shapes[operand.value].is_scalar
        elif operand and isinstance(operand[0], int):
            values = tuple(value for value in operand if isinstance(value, int))
            finder.of_values(values)
            of, scalar = values, False
        else:
            name = operand[1]
            assert isinstance(name, Spelling)
            layer, value = self.find_layer(name), self.find_value(name)
            finder.of_name(layer, value)
            of = name
            scalar = self.problem.shapes[value if value is not None else self.problem.applications[layer or ""][0]].is_scalar
        roots, meanings = finder.roots, tuple(finder.meanings)
        if sign == "∇":
            turned = True
        atom = Atom(sign, of, by, slot, at, scalar, turned, meanings if len(roots) > 1 else (), self.left)
        return self.add_atom(atom, tuple(roots), self.span(span))

    def add_atom(self, atom: Atom, roots: tuple[int, ...], span: tuple[int, int]) -> int:
        self.atoms.append(atom)
        return self.add(Part("derivative", roots, len(self.atoms) - 1, *span))

    def composite(self, functions: _Functions, at: tuple[int, ...] | None, node: Node) -> _Value:
        """The value of f ∘ g, at what the problem applies g to unless the text says at what."""
        if at is not None and len(at) == 1:
            return self.compose(functions.layers, at[0], node)
        steps = self.problem.applications[functions.layers[-1]]
        inputs = self.tape.steps[steps[0] - self.tape.leaves].inputs
        if len(inputs) != 1:
            raise ReadingError("a composition of layers with several arguments needs a point", self.program.place(node), "write f(g(x, θ))")
        return self.compose(functions.layers, self.problem.canonical[inputs[0]], node)

    def as_meaning(self, index: int) -> Meaning:
        """What the right side of a line of ``--where`` makes of a name."""
        node = self.nodes[index]
        if node.kind in ("name", "function"):
            name = self.spelling(node)
            layer = self.find_layer(name)
            if layer is not None and self.find_value(name) is None:
                return Meaning("layer", layer)
        try:
            return Meaning("value", self.as_value(index))
        except ReadingError:
            return Meaning("part", self.as_part(index))


_Operand = tuple[str, Spelling] | _Value | _Functions | tuple[int, ...]
"""What is differentiated: a name, a value as written, composed layers, or several values at once."""


class _Meanings:
    """All that one derivative can mean: roots among the answer's parts, the likeliest first, each with a word on it."""

    def __init__(
        self, reader: _Reader, sign: str, by: tuple[Spelling, ...] | None, slot: int, at: tuple[int, ...] | None, place: Place
    ) -> None:
        self.reader = reader
        self.problem = reader.problem
        self.tape = reader.tape
        self.sign = sign
        self.by = by
        self.slot = slot
        self.at = at
        self.place = place
        self.roots: list[int] = []
        self.meanings: list[str] = []
        self._seen: set[tuple[object, ...]] = set()

    def offer(self, cells: Sequence[Part], meaning: str) -> None:
        """A meaning: one part, or a row of them."""
        key = tuple((part.kind, part.value) for part in cells)
        if key in self._seen:
            return
        self._seen.add(key)
        roots = [self.reader.add(part) for part in cells]
        self.roots.append(roots[0] if len(roots) == 1 else self.reader.add(Part("grid", tuple(roots), (len(roots),))))
        self.meanings.append(meaning)

    def of_name(self, layer: str | None, value: int | None) -> None:
        """The derivative of a name, which may be that of a layer, of a value, or of both."""
        if layer is not None and value is None and self.sign == "d" and self.by is not None:
            steps = self.problem.applications[layer]
            value = steps[0] if len(steps) == 1 else None  # d is total, of what the layer gives
        wants_layer = layer is not None and not self.reader.left and (self.sign != "d" or value is None)
        errors: list[ReadingError] = []
        attempts: list[Callable[[], None]] = []
        if wants_layer and layer is not None:
            attempts.append(lambda: self.of_layer(layer, strict=value is not None))
        if value is not None:
            attempts.append(lambda: self.of_tape_value(value))
        if layer is not None and not wants_layer and value is None:
            attempts.append(lambda: self.of_layer(layer, strict=False))
        for attempt in attempts:
            try:
                attempt()
            except ReadingError as error:
                errors.append(error)
        if not self.roots:
            raise errors[0]

    # --- layers ---

    def of_layer(self, layer: str, strict: bool) -> None:
        """The Jacobian of a layer; with ``strict`` what is none of its arguments is an error, else a factor that stands for nothing."""
        steps = self.problem.applications[layer]
        distinct = {tuple(self.problem.canonical[source] for source in self.inputs(step)): step for step in reversed(steps)}
        for point, step in reversed(distinct.items()):
            inputs = point
            if self.at is not None:
                arity = len(point)
                if len(self.at) != arity:
                    raise ReadingError(f"{layer} takes {arity} argument{'s' if arity > 1 else ''}, not {len(self.at)}", self.place)
                inputs = self.at
            cells = self.slots_of(layer, step, inputs, strict)
            meaning = f"{layer} at {self.show_point(inputs)}" if len(distinct) > 1 else f"the layer {layer}"
            self.offer(cells, meaning)

    def slots_of(self, layer: str, step: int, inputs: tuple[int, ...], strict: bool) -> list[Part]:
        """One part for each argument that is asked for."""
        if self.slot:
            if self.slot > len(inputs):
                raise ReadingError(f"{layer} has {len(inputs)} arguments", self.place)
            return [self.letter(layer, self.slot - 1, inputs)]
        if self.by is None:
            return [self.letter(layer, slot, inputs) for slot in range(len(inputs))]
        names = self.reader.vocabulary.slots[step]
        cells = []
        for name in self.by:
            matching = [slot for slot, known in enumerate(names) if name.key in known]
            if matching and name.key not in self.tape.names:
                self.reader.used.add(name.key)
            wanted = None if matching else self.reader.find_variable(name)
            if wanted is not None:
                canonical = self.problem.canonical[wanted] if wanted < len(self.problem.canonical) else wanted
                at_point = [slot for slot, source in enumerate(inputs) if source == canonical]
                on_tape = [slot for slot, source in enumerate(self.inputs(step)) if self.problem.canonical[source] == canonical]
                matching = on_tape or at_point
            if not matching:
                members = self.reader.vocabulary.members(name.key)
                matching = [slot for slot, source in enumerate(self.inputs(step)) if source in members]
                if len(matching) > 1:
                    cells += [self.letter(layer, slot, inputs) for slot in matching]
                    continue
            if len(matching) > 1:
                parts = [self.reader.add(self.letter(layer, slot, inputs)) for slot in matching]
                cells.append(Part("sum", tuple(parts), tuple(matching)))
                self.reader.notes.setdefault(f"{layer} takes {name.key} more than once: its derivative is the sum over these arguments")
            elif matching:
                cells.append(self.letter(layer, matching[0], inputs))
            elif wanted is None or strict:
                if wanted is None:
                    raise self.reader.unknown(name, self.node())
                raise ReadingError(f"{name.key} is no argument of {layer}", self.place)
            else:
                cells.append(Part("letter", (), self.problem.foreign(layer, wanted)))
        return cells

    def letter(self, layer: str, slot: int, inputs: tuple[int, ...]) -> Part:
        return Part("letter", (), self.problem.partial(layer, slot, inputs))

    def inputs(self, step: int) -> tuple[int, ...]:
        return self.tape.steps[step - self.tape.leaves].inputs

    # --- values ---

    def of_tape_value(self, value: int) -> None:
        """The derivative of a value: by one of its equation's own inputs the partial, else the total one."""
        tape = self.tape
        if value >= len(tape.names):
            raise ReadingError("this value is not one of the composition", self.place)
        step = tape.step(value)
        if self.slot:
            raise ReadingError("the number of an argument needs a layer", self.place, "write ∂_1 f for a layer f")
        if self.at is not None and step is not None and step.operation == "layer" and len(self.at) == len(step.inputs):
            point = tuple(self.problem.canonical[source] for source in step.inputs)
            if self.at != point and not (self.reader.left or self.sign == "d") and not set(self.at) <= set(self.problem.leaves_of([value])):
                self.offer(self.slots_of(step.name, value, self.at, True), "the layer at the point")
                return
            if self.at != point and self.by is not None and not self.reader.left:
                self.offer(self.slots_of(step.name, value, self.at, True), "the layer at the point")
                return
        if self.by is None:
            if self.at is not None and len(self.at) == 1 and self.sign == "'":
                self.offer([self.total(value, self.at[0])], "the total derivative")
                return
            leaves = self.problem.leaves_of([value])
            self.offer([self.total(value, leaf) for leaf in leaves], "by all variables")
            return
        variables = self.variables(self.by)
        canonical = [self.problem.canonical[one] if one < len(self.problem.canonical) else one for one in variables]
        total = self.totals(value, canonical)
        direct = [
            self.reader.known(value, one, self.problem.direct(value, one)) if self.problem.is_direct(value, one) else self.total(value, one)
            for one in canonical
        ]
        if self.sign != "d" and self.sign != "∇" and not self.reader.left:
            self.offer(direct, "the partial derivative")
        self.offer(total, "the total derivative")
        if self.sign == "∇" and not self.reader.left:
            self.offer(direct, "the partial derivative")

    def variables(self, names: Sequence[Spelling]) -> list[int]:
        """The values that names stand for, a group's or a prefix's one by one."""
        variables: list[int] = []
        for name in names:
            found = self.reader.find_variable(name)
            members = (found,) if found is not None else self.reader.vocabulary.members(name.key)
            if not members:
                raise self.reader.unknown(name, self.node())
            variables += members
        return variables

    def of_value(self, written: _Value) -> None:
        """The derivative of a value that is written out: of the layer at that point, or of the whole composite."""
        value = written.value
        on_tape = value < len(self.tape.names)
        composite = on_tape and not self.slot
        if written.layer and not (self.reader.left and composite):
            self.at = written.arguments
            try:
                step = self.problem.applications[written.layer][0]
                cells = self.slots_of(written.layer, step, written.arguments, strict=composite)
                self.offer(cells, f"the Jacobian of {written.layer} at a point")
            except ReadingError:
                if not composite:
                    raise
        if composite:
            self.at = None
            count = len(self.roots)
            try:
                self.of_tape_value(value)
            except ReadingError:
                if not count:
                    raise
            self.meanings[count:] = ["the Jacobian of the composite"] * (len(self.meanings) - count)
        if not self.roots:
            raise ReadingError("this is not a value of the composition", self.place)

    def of_values(self, values: tuple[int, ...]) -> None:
        """The Jacobian of several values below each other, by all that they depend on or by the names below."""
        if any(value >= len(self.tape.names) for value in values):
            raise ReadingError("these are not values of the composition", self.place)
        variables = self.problem.leaves_of(values) if self.by is None else self.variables(self.by)
        cells = [self.reader.add(part) for value in values for part in self.totals(value, variables)]
        self.roots.append(self.reader.add(Part("grid", tuple(cells), (len(variables),) * len(values))))
        self.meanings.append("the Jacobian of the composite")

    def totals(self, of: int, by: Sequence[int]) -> list[Part]:
        """The derivatives by several values together: those that are computed are held free."""
        held = frozenset(one for one in by if one >= self.tape.leaves) if len(by) > 1 else frozenset()
        if of in held:
            return [Part("identity" if one == of else "zero", ()) for one in by]
        return [self.reader.known(of, one, self.problem.total(of, one, held - {one})) for one in by]

    def total(self, of: int, by: int) -> Part:
        return self.reader.known(of, by, self.problem.total(of, by))

    def node(self) -> Node:
        """A node where an error stands."""
        tokens = self.reader.program.tokens
        first = next((i for i, start in enumerate(tokens.starts) if start >= self.place.start), len(tokens.starts) - 1)
        return Node("name", "", (), first, first + 1)

    def show_point(self, inputs: Sequence[int]) -> str:
        labels = self.reader.vocabulary.labels
        return f"({', '.join(labels.value(value).key if value < len(self.tape.names) else '…' for value in inputs)})"


def _integer(value: object) -> int:
    assert isinstance(value, int)
    return value


def _continues(kind: str, first: Node) -> bool:
    """Whether a node's first operand is the same product or sum, which goes on."""
    if kind in _SPINE:
        return first.kind in _SPINE and first.value != r"\frac"
    return first.kind in ("add", "subtract")


def _names_in(program: Program, link: Link) -> tuple[str, ...]:
    """The names in a side of an equality."""
    tokens = program.tokens
    return tuple(tokens.spelling(i).key for i in range(link.start, link.end) if tokens.kinds[i] == "name")


_VEC = re.compile(r"\\(?:operatorname|mathrm|text)\{vec\}|vec(?=[\s(])")
"""The columns of a matrix below each other, in an index."""


def _index_text(node: Node, program: Program) -> str:
    """What was typed below an operator."""
    tokens = program.tokens
    text = tokens.source.text[tokens.starts[node.start] : tokens.ends[node.start]]
    below = text.partition("_")[2].strip()
    if not below:
        return program.tokens.spelling(node.start).suffix
    if below.startswith("{"):
        below = below[1:-1]
    if below.startswith("(") and below.endswith(")"):
        return below[1:-1]
    vec = _VEC.match(below)
    return below[vec.end() :].strip().removeprefix("(").removesuffix(")").strip() if vec else below


def _shown_operator(node: Node, program: Program) -> str:
    place = program.place(node)
    return place.source.text[place.start : place.end]


_Builder = Callable[[_Reader, int, Node], _Outcome]
_BUILDERS: dict[str, _Builder] = {
    "name": _Reader.build_name,
    "function": _Reader.build_name,
    "number": _Reader.build_number,
    "call": _Reader.build_call,
    "product": _Reader.build_spine,
    "divide": _Reader.build_spine,
    "transpose": _Reader.build_transpose,
    "prime": _Reader.build_prime,
    "negate": _Reader.build_negate,
    "add": _Reader.build_sum,
    "subtract": _Reader.build_sum,
    "row": _Reader.build_row,
    "beside": _Reader.build_row,
    "column": _Reader.build_column,
    "stack": _Reader.build_column,
    "tuple": _Reader.build_tuple,
    "power": _Reader.build_power,
    "elementwise": _Reader.build_elementwise,
    "at": _Reader.build_at,
}
_UNREADABLE = {
    "epower": "an elementwise power",
    "norm": "a norm",
    "absolute": "an absolute value",
}
