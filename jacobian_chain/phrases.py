r"""Formulas from the nodes of an answer's text: names, numbers, sums, entries, and derivatives in all their spellings.

A node becomes a formula by itself, or waits for what stands around it: ∂ for what it differentiates, Σ for what it adds up.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import Place, ReadingError, Source, UnsupportedError, list_names, suggest
from jacobian_chain.expressions import Derivative, Solution, Statement
from jacobian_chain.glossary import SIGNS, Glossary, Scope, indices_of, resuffix
from jacobian_chain.names import Names, read_key
from jacobian_chain.select import WORDS
from jacobian_chain.syntax import BOLD_ONE, Link, Node, Program, read_expression
from jacobian_chain.tokens import Spelling, spell, split_names, tokenize


class Differential(NamedTuple):
    """∂ or d with what follows it: a node, or where it is one word with it a name; neither if nothing does."""

    sign: str
    node: int = -1
    name: Spelling | None = None


class Operator(NamedTuple):
    r"""``\frac{\partial}{\partial x}``, which differentiates what follows."""

    below: Differential


class Big(NamedTuple):
    r"""``\sum_{i=1}^{n}``, which adds up what follows, or ``\prod``, which multiplies it."""

    letter: str
    low: str
    high: str
    multiplies: bool = False


class Compare(NamedTuple):
    """Two sides of a relation."""

    sign: str
    left: int
    right: int


Outcome = int | Differential | Operator | Big | Compare | ReadingError | None
"""What a node is: a formula, one of the above, an error that counts only if the node is used, or None for a name."""

Operand = tuple[tuple[int, ...], bool, bool, tuple[str | int, ...]]
"""What is differentiated or differentiated by: values, whether on ``vec``, whether transposed, and the indices of one entry."""

SPINE = frozenset({"product", "divide"})


class Phrases(Glossary, ABC):
    """Turns the nodes of one text after another into formulas."""

    def __init__(self, scope: Scope, narrow: bool = False) -> None:
        super().__init__(scope)
        self.narrow = narrow
        self.could_narrow = False
        self.atoms: list[Derivative] = []
        self.notes: dict[str, None] = {}
        self.in_where = False
        self.left = False
        self.source = Source("")
        self.program = Program(tokenize(Source("")), (), [], Names())
        self.nodes: list[Node] = []
        self.outcomes: list[Outcome] = []
        self.internal = bytearray()
        self.spellings: dict[int, Spelling] = {}  # how values are called in the text
        self.called: dict[str, Spelling] = {}  # and functions

    def finish(self, text: str, statements: tuple[Statement, ...], readings: frozenset[str] = frozenset()) -> Solution:
        """What was read so far, as a solution."""
        notes = tuple(self.notes)
        atoms = tuple(self.atoms)
        return Solution(self.tape, self.formulas, atoms, statements, self.spellings, self.called, text, notes, readings, self.could_narrow)

    def resolve(self, program: Program, links: Sequence[Link]) -> list[int]:
        """The roots of some sides, every node below them understood as far as it can be by itself."""
        nodes = program.nodes
        if program is not self.program:
            self.program, self.nodes = program, nodes
            self.source = program.tokens.source
            self.outcomes = [None] * len(nodes)
            self.internal = bytearray(len(nodes))
            for node in nodes:
                if (node.kind in SPINE and node.value != r"\frac") or node.kind in ("add", "subtract", "elementwise"):
                    first = nodes[node.args[0]]
                    if not first.bracketed and _continues(node.kind, first):
                        self.internal[node.args[0]] = 1
        for link in links:
            self.build_all(link.low, link.root)
        return [link.root for link in links]

    def build_all(self, low: int, root: int) -> None:
        for index in range(low, root + 1):
            if not self.internal[index]:
                try:
                    self.outcomes[index] = self.build(index)
                except ReadingError as error:
                    self.outcomes[index] = error  # it may be part of something that is understood as a whole

    @abstractmethod
    def build(self, index: int) -> Outcome:
        """What a node is by itself."""

    def add(self, kind: str, args: Sequence[int], node: Node, value: object = None) -> int:
        """A formula that stands where a node does."""
        start, end = self.span(node)
        return self.formulas.add(kind, args, value, start, end)

    def span(self, node: Node) -> tuple[int, int]:
        """Where a node stands in the answer's text, -1 for a line of ``--where``."""
        if self.in_where:
            return -1, -1
        tokens = self.program.tokens
        return tokens.starts[node.start], tokens.ends[node.end - 1]

    def typed(self, node: Node) -> str:
        """The text of a node."""
        tokens = self.program.tokens
        return tokens.source.text[tokens.starts[node.start] : tokens.ends[node.end - 1]]

    def formula(self, index: int) -> int:
        """A node as a formula."""
        outcome, node = self.outcomes[index], self.nodes[index]
        if isinstance(outcome, int):
            return outcome
        if isinstance(outcome, ReadingError):
            raise outcome
        if isinstance(outcome, Differential) and outcome.sign == "d" and self.tape.shapes[self.scope.of].is_scalar:
            (value,), _, turned, indices = self.operand(outcome)  # dW as two words
            root = self.atom(Derivative("bar", self.scope.of, (value,), ("total",)), *self.span(node))
            root = self.add("transpose", (root,), node) if turned else root
            return self.add("entry", (root,), node, indices) if indices else root
        if isinstance(outcome, Differential | Operator):
            hint = r"write \frac{\partial y}{\partial x} or ∂y/∂x"
            raise ReadingError("a differential by itself is no derivative", self.program.place(node), hint)
        if isinstance(outcome, Big):
            raise ReadingError("there is nothing to add up", self.program.place(node))
        if isinstance(outcome, Compare):
            return self.indicate(outcome, node)
        if node.kind in ("name", "function"):
            return self.read_name(node)
        raise ReadingError("this is no formula", self.program.place(node))

    def spelling(self, node: Node) -> Spelling:
        token = self.program.tokens.values[node.start]
        if isinstance(token, Spelling) and token.key == node.value:
            return token
        return self.program.names.spellings.get(node.value) or spell(node.value)

    def build_name(self, _index: int, node: Node) -> Outcome:
        name = self.spelling(node)
        if self.is_big(name) and (name.suffix or node.kind == "name"):
            big = self.limits(name.suffix, node)._replace(multiplies=name.base in ("prod", "Π"))
            return big._replace(high=name.upper) if name.upper else big
        return None

    def limits(self, below: str, node: Node) -> Big:
        """The index and where it begins, from what stands below a sum sign."""
        match = re.fullmatch(r"([a-zα-ωℓ]'?)(?:=(.+))?", below)
        both = re.fullmatch(r"([a-z]'?),?([a-z]'?)", below)
        if both is not None and both[1] != both[2]:
            return Big(f"{both[1]},{both[2]}", "", "")
        if below and match is None:
            message = f"what does the sum over {below} run over?"
            raise ReadingError(message, self.program.place(node), r"write \sum_{i=1}^{n} with one index, or two sums for two indices")
        return Big(match[1], match[2] or "", "") if match else Big("", "", "")

    def read_name(self, node: Node) -> int:
        """A name that stands by itself."""
        name = self.spelling(node)
        found = self.find_name(name)
        if found is not None:
            kind, value = found
            if kind == "meaning":
                assert isinstance(value, int)
                expression = self.formulas.nodes[value]
                if expression.kind in ("value", "number"):
                    return self.add(expression.kind, (), node, expression.value)
                if expression.kind == "name":
                    return self.add("name", expression.args, node, name)
                return self.add("name", (value,), node, name)
            return self.add(kind, (), node, value)
        adjoint = self.adjoint(name)
        if adjoint is not None:
            return self.add("name", (adjoint,), node, name)
        entry = self.entry(name, node)
        if entry is not None:
            return entry
        if name.key[:1] == BOLD_ONE and re.search("[<>=]", name.key):
            return self.read_inline(name.key[2:], node)
        if self.is_sign(node):
            raise ReadingError("there is nothing to differentiate", self.program.place(node))
        raise self.unknown(name, node)

    def read_inline(self, text: str, node: Node) -> int:
        """A formula that stands in an index, such as the relation below a bold 1."""
        saved = self.program, self.nodes, self.outcomes, self.internal, self.source, self.in_where
        source, self.in_where = Source(f"({text})", self.source.name), True
        try:
            program = read_expression(source, *self.known_names(), self.rewrite)
            (root,) = self.resolve(program, [Link(0, len(program.nodes) - 1, 0, len(program.tokens.kinds))])
            found = self.formula(root)
        finally:
            self.program, self.nodes, self.outcomes, self.internal, self.source, self.in_where = saved
        inner = self.formulas.nodes[found]
        return self.add(inner.kind, inner.args, node, inner.value)

    def adjoint(self, name: Spelling) -> int | None:
        """The derivative of the output by the value that a name such as dW or W̄ shows."""
        value = self.find_adjoint(name)
        if value is None or not self.tape.shapes[self.scope.of].is_scalar:
            return None
        of, by = self.tape.names[self.scope.of] or "the output", self.tape.names[value]
        self.notes.setdefault(f"{name.key} is read as the derivative of {of} by {by}")
        return self.atom(Derivative("bar", self.scope.of, (value,), ("total",)), -1, -1)

    def entry(self, name: Spelling, node: Node) -> int | None:
        """An entry ``W_{ij}`` of an array that has a name, Kronecker's δ, or a unit column."""
        found = self.find_entry(name)
        if found is None:
            indices = indices_of(name.suffix)
            if name.base == "δ" and len(indices) == 2:
                return self.add("delta", (), node, indices)
            return self.add("unit", (), node, (indices[0], "")) if name.base == "e" and len(indices) == 1 else None
        array, indices = found
        named = self.find_name(array)
        if named is None:
            adjoint = self.adjoint(array)
            return None if adjoint is None else self.add("entry", (adjoint,), node, indices)
        kind, value = named
        assert isinstance(value, int)
        if array.base != name.base:
            self.notes.setdefault(f"{name.base} with an index is read as part of {array.key}")
        inner = value if kind == "meaning" else self.add("value", (), node, value)
        return self.add("entry", (inner,), node, indices)

    def unknown(self, name: Spelling, node: Node) -> ReadingError:
        """The error for a name that the composition does not have."""
        known = [*self.scope.values, *self.scope.layers, *self.meanings, *self.aliases]
        near = suggest(name.key, known) or suggest(name.key.translate(WORDS), [key.translate(WORDS) for key in known])
        explain = f"or explain it with --where '{name.key} = …'"
        hint = f"{near or f'its names are {list_names(known)}'}; {explain}"
        return ReadingError(f"the composition has no name {name.key}", self.program.place(node), hint)

    def is_sign(self, node: Node) -> bool:
        """Whether a node is a sign that differentiates what follows."""
        if node.kind not in ("name", "function"):
            return False
        name = self.spelling(node)
        if name.suffix and self.is_size(name.key):
            return False
        return name.base in SIGNS and not name.accent and not self.has_meaning(name.key) and name.key not in self.scope.layers

    def build_number(self, _index: int, node: Node) -> Outcome:
        _, _, exponent = node.value.lower().partition("e")
        if len(node.value) > 40 or len(exponent) > 3:
            raise ReadingError("this number is too long", self.program.place(node), "up to 40 digits, and exponents up to 99")
        return self.add("number", (), node, Fraction(node.value))

    def build_negate(self, _index: int, node: Node) -> Outcome:
        return self.add("negate", (self.formula(node.args[0]),), node)

    def build_sum(self, index: int, _node: Node) -> Outcome:
        terms: list[tuple[int, int]] = []
        at = index
        while True:
            current = self.nodes[at]
            terms.append((current.args[1], -1 if current.kind == "subtract" else 1))
            if not self.internal[current.args[0]]:
                terms.append((current.args[0], 1))
                break
            at = current.args[0]
        terms.reverse()
        return self.add("sum", [self.formula(term) for term, _ in terms], self.nodes[index], tuple(sign for _, sign in terms))

    def exponent(self, index: int) -> Fraction | None:
        """The number that an exponent is."""
        sign = 1
        node = self.nodes[index]
        while node.kind == "negate":
            sign, node = -sign, self.nodes[node.args[0]]
        if node.kind == "number":
            return sign * Fraction(node.value)
        if node.kind == "divide" and all(self.nodes[arg].kind == "number" for arg in node.args):
            above, below = (Fraction(self.nodes[arg].value) for arg in node.args)
            return sign * above / below if below else None
        return None

    def build_index(self, _index: int, node: Node) -> Outcome:
        inner = self.nodes[node.args[0]]
        if inner.kind == "number" and inner.value == "1" and self.is_size(node.value):
            return self.add("ones", (), node, node.value)
        if inner.kind == "number" and inner.value == "1" and re.search("[<>=]", node.value):
            return self.read_inline(node.value, node)
        indices = indices_of(node.value)
        if not indices:
            raise ReadingError(f"expected indices, found {node.value!r}", self.program.place(node), "write (A x)_i or (A B)_{ij}")
        return self.add("entry", (self.formula(node.args[0]),), node, indices)

    def build_compare(self, _index: int, node: Node) -> Outcome:
        return Compare(node.value, node.args[0], node.args[1])

    def indicate(self, compare: Compare, node: Node) -> int:
        """1 where a relation holds, else 0."""
        if compare.sign == "=":
            left, right = self.nodes[compare.left], self.nodes[compare.right]
            indices = indices_of(f"{self.typed(left).strip()},{self.typed(right).strip()}")
            if not indices:
                raise ReadingError("expected two indices, as in 1[i = j]", self.program.place(node))
            return self.add("delta", (), node, indices)
        low, high = (self.formula(side) for side in (compare.left, compare.right))
        if compare.sign == ">":
            low, high = high, low
        nodes = self.formulas.nodes
        if nodes[low].kind == "number" and not nodes[low].value:
            return self.add("indicator", (high,), node)
        return self.add("indicator", (self.add("sum", (high, low), node, (1, -1)),), node)

    def build_row(self, _index: int, node: Node) -> Outcome:
        if len(node.args) == 1:
            return self.formula(node.args[0])
        return self.add("beside", [self.formula(arg) for arg in node.args], node)

    def build_column(self, _index: int, node: Node) -> Outcome:
        return self.add("below", [self.formula(arg) for arg in node.args], node)

    def build_tuple(self, _index: int, node: Node) -> Outcome:
        if len(node.args) == 2 and self.typed(node).lstrip().startswith((r"\langle", "⟨", r"\left\langle")):
            left, right = (self.formula(arg) for arg in node.args)
            return self.add("product", (self.add("transpose", (left,), node), right), node, ("",))
        return self.build_row(_index, node)

    def build_at(self, _index: int, node: Node) -> Outcome:
        inner = self.formula(node.args[0])
        self.notes.setdefault(f"the point {node.value} below the bar is that of the composition")
        return inner

    def build_norm(self, _index: int, node: Node) -> Outcome:
        return self.add("norm", (self.formula(node.args[0]),), node, node.value)

    def build_bars(self, _index: int, node: Node) -> Outcome:
        return self.add("bars", (self.formula(node.args[0]),), node)

    def low_of(self, index: int) -> int:
        """The first node below a node."""
        low = index
        stack = [index]
        while stack:
            at = stack.pop()
            low = min(low, at)
            stack.extend(self.nodes[at].args)
        return low

    def read_sign(self, node: Node) -> tuple[str, tuple[int, ...] | None]:
        """A sign and the values below it, None where none are."""
        name = self.spelling(node)
        sign = SIGNS[name.base]
        below = name.suffix + ("," + name.upper if name.upper else "")
        if not below:
            return sign, None
        if name.raised and below.isdecimal():
            raise UnsupportedError("second derivatives are not read in an answer", self.program.place(node))
        values: list[int] = []
        for text in split_names(self.below_text(node) or below):
            values += self.values_named(text, node)
        return sign, tuple(values)

    def below_text(self, node: Node) -> str:
        """What was typed below a sign."""
        text = self.program.tokens.source.text[self.program.tokens.starts[node.start] : self.program.tokens.ends[node.start]]
        below = text.partition("_")[2].strip()
        if below.startswith("{") and below.endswith("}"):
            below = below[1:-1]
        below = below.replace(r"\operatorname{vec}", "").strip()
        return below[1:-1] if below.startswith("(") and below.endswith(")") else below

    def values_named(self, text: str, node: Node) -> tuple[int, ...]:
        """The values that a text names: one, or the members of a group."""
        key = read_key(text)
        for form, name in self.forms:
            written = tokenize(Source(text))
            if key is None and [value if isinstance(value, str) else value.key for value in written.values] == [
                value if isinstance(value, str) else value.key for value in form.values
            ]:
                key = name.key
        if key is None:
            raise ReadingError(f"expected the name of a variable, found {text!r}", self.program.place(node))
        if key in self.scope.groups:
            return self.scope.groups[key]
        found = self.find_name(resuffix(key) if self.steps else spell(key))
        value = self.value_of(found)
        if value is None:
            raise self.unknown(spell(key), node)
        return (value,)

    def operand(self, differential: Differential, above: bool = False) -> Operand:
        """What stands behind ∂: values, whether on ``vec``, whether transposed, and the indices of one entry."""
        if differential.name is not None:
            return self.named_operand(differential.name, Node("name", "", (), 0, 1), False, False, above)
        index, on_vec, turned = differential.node, False, False
        if index < 0:
            raise ReadingError("there is nothing behind the differential", Place(self.source, 0, 1), r"write \frac{\partial y}{\partial x}")
        node = self.nodes[index]
        while True:
            if node.kind in ("transpose", "prime") and not node.bracketed and not node.value:
                turned = not turned
            elif not (node.kind == "call" and self.nodes[node.args[0]].value == "vec" and len(node.args) == 2):
                break
            else:
                on_vec = True
            index = node.args[-1]
            node = self.nodes[index]
        if node.kind == "tuple":
            values: list[int] = []
            for arg in node.args:
                values += self.operand(Differential(differential.sign, arg))[0]
            return tuple(values), on_vec, turned, ()
        if node.kind in ("name", "function"):
            return self.named_operand(self.spelling(node), node, on_vec, turned, above)
        root = self.formula(index)
        expression = self.formulas.nodes[root]
        if expression.kind == "value" and isinstance(expression.value, int):
            return (expression.value,), on_vec, turned, ()
        if expression.kind == "entry":
            inner = self.formulas.nodes[expression.args[0]]
            if inner.kind == "value" and isinstance(inner.value, int) and isinstance(expression.value, tuple):
                return (inner.value,), on_vec, turned, expression.value
        match = self.scope.match(self.finish(self.source.text, ()), root)
        if match is None:
            message = f"{self.typed(node)} is no value of the composition"
            raise UnsupportedError(message, self.program.place(node), "a derivative is read of what the composition names or computes")
        return (match,), on_vec, turned, ()

    def named_operand(self, name: Spelling, node: Node, on_vec: bool, turned: bool, above: bool) -> Operand:
        """The same where it is a name."""
        if name.key in self.scope.groups:
            return self.scope.groups[name.key], on_vec, turned, ()
        value = self.value_of(self.find_name(name))
        if value is None and name.key in {**self.scope.layers, **self.scope.called}:
            steps = self.scope.layers.get(name.key) or self.scope.called[name.key]
            value = steps[0] if len(steps) == 1 else None
        if value is not None:
            return (value,), on_vec, turned, ()
        entry = self.find_entry(name)
        base = None if entry is None else self.value_of(self.find_name(entry[0]))
        if entry is not None and base is not None:
            return (base,), on_vec, turned, entry[1]
        value = self.label_value(name) if above else None
        if value is None:
            raise self.unknown(name, node)
        return (value,), on_vec, turned, ()

    def label_value(self, name: Spelling) -> int | None:
        """The output, where a derivative is of a letter that people call a loss and the composition has no such name."""
        if not self.tape.shapes[self.scope.of].is_scalar:
            return None
        if name.base not in ("L", "ℓ", "l", "J", "C", "E", "loss", "cost", "Loss", "f", "F", "err", "error", "S", "Q", "R"):
            return None
        shown = self.tape.names[self.scope.of] or "the output"
        self.notes.setdefault(f"{name.key} is read as {shown}")
        return self.scope.of

    def fraction(self, above: Differential, below: Differential, node: Node) -> Outcome:
        """∂y over ∂x."""
        if above.node < 0 and above.name is None:
            return Operator(below)
        by, vec_below, turned_below, indices_below = self.operand(below)
        of, vec_above, turned_above, indices_above = self.operand(above, above=True)
        if len(of) > 1:
            raise UnsupportedError("the derivative of several values at once cannot be read here", self.program.place(node))
        turned = False if turned_below and not turned_above else True if turned_above and not turned_below else None
        root = self.total(below.sign, of[0], by, node, vec_below or vec_above, turned)
        indices = indices_above + indices_below
        return self.add("entry", (root,), node, indices) if indices else root

    def differentiate(self, sign: str, operand: int, by: tuple[int, ...] | None, node: Node, on_vec: bool = False) -> int:
        """The derivative of what a node stands for; by the variables of the question where none are named."""
        of, vec_above, turned, indices = self.operand(Differential(sign, operand), above=True)
        if len(of) > 1:
            raise UnsupportedError("the derivative of several values at once cannot be read here", self.program.place(node))
        root = self.total(sign, of[0], by or self.scope.by, node, on_vec or vec_above)
        if turned:
            root = self.formulas.add("transpose", (root,), None, *self.span(node))
        return self.add("entry", (root,), node, indices) if indices else root

    def operate(self, operator: Operator, operand: int, node: Node) -> int:
        r"""What ``\frac{\partial}{\partial x}`` makes of a node."""
        by, on_vec, _, indices = self.operand(operator.below)
        root = self.differentiate(operator.below.sign, operand, by, node, on_vec)
        return self.add("entry", (root,), node, indices) if indices else root

    def total(self, sign: str, of: int, by: tuple[int, ...], node: Node, on_vec: bool = False, turned: bool | None = None) -> int:
        """The atom of a derivative, with what it can mean."""
        direct = any(self.scope.is_direct(of, one) for one in by)
        meanings: tuple[str, ...] = ("total",)
        if direct and sign != "d" and not self.left:
            meanings = ("total", "partial") if sign == "∇" else ("partial", "total")
            meanings = meanings[:1] if self.in_where else meanings
        if sign == "∇" and turned is None:
            turned = True
        return self.atom(Derivative(sign, of, by, meanings, turned, on_vec), *self.span(node))

    def atom(self, atom: Derivative, start: int, end: int) -> int:
        """The formula of an atom; equal atoms are one."""
        if atom not in self.atoms:
            self.atoms.append(atom)
        return self.formulas.add("derivative", (), self.atoms.index(atom), start, end)

    def as_components(self, root: int, indices: Sequence[str | int]) -> int:
        """The array whose entries a formula gives."""
        node = self.formulas.nodes[root]
        return self.formulas.add("components", (root,), tuple(indices), node.start, node.end)

    def free_indices(self, root: int) -> list[str]:
        """Names of indices in a formula that no sum binds, in order."""
        free: dict[int, dict[str, None]] = {}
        for at in self.formulas.below(root):
            node = self.formulas.nodes[at]
            found: dict[str, None] = {}
            for arg in node.args:
                found.update(free[arg])
            if node.kind in ("entry", "delta"):
                assert isinstance(node.value, tuple)
                found.update({index: None for index in node.value if isinstance(index, str)})
            elif node.kind == "unit":
                assert isinstance(node.value, tuple)
                if isinstance(node.value[0], str):
                    found[node.value[0]] = None
            elif node.kind == "indexed_sum":
                assert isinstance(node.value, tuple)
                found.pop(node.value[0], None)
            elif node.kind == "components":
                found = {}
            free[at] = found
        return list(free[root])


def _continues(kind: str, first: Node) -> bool:
    """Whether a node's first operand is the same product or sum, which goes on."""
    if kind in SPINE:
        return first.kind in SPINE and first.value != r"\frac"
    if kind == "elementwise":
        return first.kind == "elementwise"
    return first.kind in ("add", "subtract")
