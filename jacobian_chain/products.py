r"""Products in an answer: fractions and operators found among their factors, sums over an index in front of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jacobian_chain.calls import Calls
from jacobian_chain.errors import LimitError, ReadingError, UnsupportedError
from jacobian_chain.glossary import resuffix
from jacobian_chain.names import read_key
from jacobian_chain.phrases import Big, Compare, Differential, Operator, Outcome
from jacobian_chain.syntax import BOLD_ONE, Node
from jacobian_chain.tokens import Spelling, spell, split_names

MAX_SUMS = 8
"""Most sums over an index in one product."""

MAX_STEPS = 100
"""Most values of an index over which names run, as in Σ_t with h^{(t)}."""

_UPRIGHT = re.compile(r"\\(?:mathrm|rm|text|mathsf|operatorname)\s*\{?\s*$")
"""What stands before a d that is no italic letter."""


class Products(Calls):
    """Reads products factor by factor."""

    def build_elementwise(self, index: int, _node: Node) -> Outcome:
        items: list[tuple[str, int]] = []
        at = index
        while True:
            current = self.nodes[at]
            items.append((current.value, current.args[1]))
            if not self.internal[current.args[0]]:
                items.append(("", current.args[0]))
                break
            at = current.args[0]
        items.reverse()
        roots = [self.formula(item) for _, item in items]
        node = self.nodes[index]
        signs = tuple(sign for sign, _ in items[1:])
        first = self.formulas.nodes[roots[0]]
        if first.kind == "indexed_sum" and not self.nodes[items[0][1]].bracketed:  # what follows ⊙ is under the sum too
            body = self.add("elementwise", (first.args[0], *roots[1:]), node, signs)
            return self.add("indexed_sum", (body,), node, first.value)
        return self.add("elementwise", roots, node, signs)

    def build_spine(self, index: int, node: Node) -> Outcome:
        """A product, with fractions and operators found in it."""
        if node.kind == "divide" and node.value == r"\frac":
            return self.build_fraction(node)
        return self.multiply(self.items_of(index), node)

    def multiply(self, items: Sequence[tuple[str, int]], node: Node) -> Outcome:
        """The factors of a product, each with the sign before it."""
        units: list[tuple[str, Outcome, int, int]] = []  # sign, outcome, first and last node
        i = 0
        while i < len(items):
            sign, index = items[i]
            outcome = self.outcomes[index]
            if isinstance(outcome, Big):
                units.append((sign, self.add_up(outcome, items[i + 1 :], node), index, items[-1][1]))
                break
            before = units[-1] if units else None
            unit, stop = self.unit(items, i, before is not None and isinstance(before[1], Differential))
            if before is not None and isinstance(before[1], Differential) and sign == "/" and isinstance(unit, Differential):
                span = Node("divide", "", (), self.nodes[before[2]].start, self.nodes[items[stop - 1][1]].end)
                outcome = self.fraction(before[1], unit, span)
                if isinstance(outcome, Operator) and stop < len(items):
                    outcome = self.operate(outcome, items[stop][1], span)
                    stop += 1
                units[-1] = (before[0], outcome, before[2], items[stop - 1][1])
            elif before is not None and sign == "" and self.is_sized_identity(before[2], index):
                units[-1] = (before[0], self.add("identity", (), self.nodes[index], self.size_text(index)), before[2], index)
            elif before is not None and sign == "" and stop == i + 1 and self.is_applied(before, index):
                units[-1] = (before[0], before[1], before[2], index)
            elif before is not None and sign == "" and self.is_ones(before[2]) and self.is_indicator(index):
                units[-1] = (before[0], self.formula(index), before[2], index)
            else:
                units.append((sign, unit, index, items[stop - 1][1]))
            i = stop
        if len(units) == 1:
            outcome = units[0][1]
            return self.formula(units[0][2]) if outcome is None else outcome
        roots = [self.force(outcome, index) for _, outcome, index, _ in units]
        return self.add("product", roots, node, tuple(sign for sign, *_ in units[1:]))

    def force(self, outcome: Outcome, index: int) -> int:
        """A unit of a product as a formula."""
        if isinstance(outcome, int):
            return outcome
        saved, self.outcomes[index] = self.outcomes[index], outcome
        try:
            return self.formula(index)
        finally:
            self.outcomes[index] = saved

    def is_sized_identity(self, before: int, index: int) -> bool:
        """Whether a node is the size in brackets behind an I."""
        name, node = self.nodes[before], self.nodes[index]
        is_identity = name.kind == "name" and name.value == "I" and not self.has_meaning("I")
        return is_identity and node.bracketed and self.is_size_node(index)

    def is_indicator(self, index: int) -> bool:
        """Whether a node says where a relation holds, as behind a bold 1."""
        outcome = self.outcomes[index]
        return isinstance(outcome, Compare) or (isinstance(outcome, int) and self.formulas.nodes[outcome].kind in ("indicator", "delta"))

    def is_ones(self, index: int) -> bool:
        node = self.nodes[index]
        return node.kind in ("name", "number") and node.value.partition("_")[0] == BOLD_ONE

    def is_applied(self, before: tuple[str, Outcome, int, int], index: int) -> bool:
        """Whether brackets behind a value hold its arguments, as in ``y(x)``."""
        name, node = self.nodes[before[3]], self.nodes[index]
        is_list = node.kind == "tuple" or (node.kind == "beside" and len(node.args) == 1)
        if before[2] != before[3] or name.kind != "name" or not (node.bracketed or is_list):
            return False
        value = self.find_name(self.spelling(name))
        if value is None or value[0] not in ("value", "meaning"):
            return False
        number = value[1]
        if value[0] == "meaning":
            assert isinstance(number, int)
            expression = self.formulas.nodes[number]
            if expression.kind != "value":
                return False
            number = expression.value
        return self.are_arguments(node.args if is_list else (index,), number)

    def unit(self, items: Sequence[tuple[str, int]], i: int, after: bool) -> tuple[Outcome, int]:
        """The factor that begins at an item, and the item behind it; ``after`` says whether it stands after a differential."""
        index = items[i][1]
        node, outcome = self.nodes[index], self.outcomes[index]
        following = items[i + 1][1] if i + 1 < len(items) and items[i + 1][0] == "" else -1
        sign_node = self.nodes[node.args[0]] if node.kind == "transpose" and not node.bracketed else node
        if self.is_sign(sign_node) and not node.bracketed:
            sign, by = self.read_sign(sign_node)
            if by is None and sign in ("∂", "d") and (sign == "∂" or self.is_differential_sign(items, i, after)):
                return Differential(sign, following), i + 1 + (following >= 0)
            if following >= 0 and (by is not None or sign == "∇"):
                span = Node("product", "", (), node.start, self.nodes[following].end)
                root = self.differentiate(sign, following, by, span)
                if node.kind == "transpose":
                    root = self.formulas.add("transpose", (root,), None, *self.span(span))
                return root, i + 2
            if by is not None and sign == "∇":
                return self.total(sign, self.scope.of, by, node), i + 1
        if isinstance(outcome, Operator) and following >= 0:
            span = Node("divide", "", (), node.start, self.nodes[following].end)
            return self.operate(outcome, following, span), i + 2
        if node.kind == "name" and outcome is None:
            word = self.differential_word(node)
            above = items[i][0] == "/" and after
            below = i + 1 < len(items) and items[i + 1][0] == "/" and not self.has_meaning(node.value)
            if word is not None and (above or below):
                return word, i + 1
        return outcome, i + 1

    def is_differential_sign(self, items: Sequence[tuple[str, int]], i: int, after: bool) -> bool:
        """Whether a d differentiates what follows it: always, but where a size bears that name only in a fraction of two of them."""
        if not self.is_size(self.nodes[items[i][1]].value):
            return True
        if i + 1 >= len(items) or items[i + 1][0]:
            return False
        operand = self.nodes[items[i + 1][1]]
        before = self.program.tokens.source.text[: self.program.tokens.starts[self.nodes[items[i][1]].start]]
        if _UPRIGHT.search(before):
            return True
        named = operand.kind == "name" and self.value_of(self.find_name(self.spelling(operand))) is not None
        alone = len(items) == 2 or (i + 2 < len(items) and items[i + 2][0] == "/")
        return named and (alone or (items[i][0] == "/" and after))

    def is_differential(self, index: int) -> bool:
        """Whether a node can stand above the line of a derivative: d or ∂ of what follows it, or one word with it."""
        node = self.nodes[index]
        word = node.kind == "name" and not self.has_meaning(node.value) and self.differential_word(node) is not None
        return word or isinstance(self.outcomes[index], Differential)

    def differential_word(self, node: Node) -> Differential | None:
        """``dL`` as one word: d of L."""
        name = self.spelling(node)
        if name.base[0] != "d" or len(name.base) < 2:
            return None
        rest = spell(name.base[1:], name.suffix or None, name.accent)
        return Differential("d", -1, rest._replace(key=f"{rest.key}^{name.upper}", upper=name.upper) if name.upper else rest)

    def build_fraction(self, node: Node) -> Outcome:
        above, below = (self.outcomes[arg] for arg in node.args)
        top, bottom = (self.nodes[arg] for arg in node.args)
        if all(self.begins_with_d(one) for one in (top, bottom)):  # even where a value is called d
            above, below = (Differential("d", one.args[1]) for one in (top, bottom))
        if above is None and self.is_differential(node.args[0]):
            above = self.differential_word(top)
        if below is None and bottom.kind == "name" and (isinstance(above, Differential) or not self.has_meaning(bottom.value)):
            below = self.differential_word(bottom)
        if isinstance(below, Differential):
            if isinstance(above, Differential):
                return self.fraction(above, below, node)
            if self.is_sign(top):
                return Operator(below)
            if isinstance(above, ReadingError):
                raise above
            if below.node >= 0 or below.sign == "∂":
                message = f"expected {below.sign} above the line too"
                raise ReadingError(message, self.program.place(node), r"write \frac{\partial y}{\partial x}")
        return self.add("fraction", (self.formula(node.args[0]), self.formula(node.args[1])), node)

    def begins_with_d(self, node: Node) -> bool:
        """Whether a node is d and one factor side by side."""
        first = self.nodes[node.args[0]] if node.kind == "product" and not node.value else node
        return first is not node and first.kind == "name" and first.value == "d"

    def add_up(self, big: Big, items: Sequence[tuple[str, int]], node: Node) -> int:
        """What a sum over an index adds up: an index of entries, or of names such as h^{(t)}."""
        if not items:
            raise ReadingError("there is nothing to add up", self.program.place(node))
        if sum(isinstance(self.outcomes[item], Big) for _, item in items) > MAX_SUMS:
            raise LimitError(f"more than {MAX_SUMS} sums in each other are not read")
        if not big.letter and not big.multiplies:
            rest = self.multiply([("", items[0][1]), *items[1:]], node)
            body = self.force(rest, items[0][1])
            free = self.free_indices(body)
            if free or big.high:
                raise ReadingError("over which index does this sum run?", self.program.place(node), r"write \sum_i or \sum_{i=1}^{n}")
            return self.add("call", (body,), node, ("sum", ""))
        names = self.stepping_names(big.letter, items)
        if names:
            return self.add_up_names(big, items, names, node)
        if big.multiplies:
            raise UnsupportedError("a product over an index cannot be read", self.program.place(node), "write its factors out")
        rest = self.multiply([("", items[0][1]), *items[1:]], node)
        body = self.force(rest, items[0][1])
        for text in (big.low, big.high):
            self.check_limit(text, body, node)
        for letter in big.letter.split(",")[::-1]:
            body = self.add("indexed_sum", (body,), node, (letter, big.low, big.high))
        return body

    def check_limit(self, text: str, body: int, node: Node) -> None:
        """Refuse a limit of a sum that is no number, size or letter for one, with a number added."""
        match = re.fullmatch(r"(.*?)(?:[+-][0-9]{1,6})?", text.replace(" ", ""))
        start = "" if match is None else match[1]
        form = re.fullmatch(r"[A-Za-z](?:_\{?\w+\}?)?", start)
        is_letter = form is not None and start not in self.free_indices(body) and not self.find_name(spell(start))
        if text and not start.isdecimal() and start not in self.scope.sizes and not is_letter:
            hint = "write a number or a size of the composition"
            raise ReadingError(f"a sum cannot begin or end at {text}", self.program.place(node), hint)

    def stepping_names(self, index: str, items: Sequence[tuple[str, int]]) -> list[Spelling]:
        """Names under a sum that its index makes names of the composition: h^{(t-1)} where h1, h2, … are there."""
        found = []
        names: list[Spelling] = []
        for k in range(min(self.low_of(item) for _, item in items), max(item for _, item in items) + 1):
            node = self.nodes[k]
            if node.kind in ("name", "function"):
                name = self.spelling(node)
                below = [read_key(text) for text in split_names(self.below_text(node))] if self.is_sign(node) else []
                names += [name, *[resuffix(key) for key in below if key is not None]]
        for name in names:
            self.steps = {index: 0}
            is_stepped = self.stepped(name) != name.key
            self.steps = {}
            if is_stepped and self.find_name(name) is None and any(self.steps_to(name, index, k) for k in range(MAX_STEPS)):
                found.append(name)
        return found

    def steps_to(self, name: Spelling, index: str, number: int) -> int | None:
        """The value that a name is where the index is a number."""
        self.steps = {index: number}
        key = self.stepped(name)
        self.steps = {}
        if key in self.scope.values:
            return self.scope.values[key]
        root = self.meanings.get(key)
        return None if root is None else self.formulas.nodes[root].args[0] if self.formulas.nodes[root].args else root

    def limit(self, text: str, default: int, last: int, node: Node) -> int:
        """A limit of a sum over names: a number, or a letter such as T, which stands for the last one, with a number added."""
        if not text:
            return default
        match = re.fullmatch(r"([0-9]{1,6}|[A-Za-z]|)(?:([+-])([0-9]{1,6}))?", text.replace(" ", ""))
        if match is None:
            raise ReadingError(f"a sum cannot begin or end at {text}", self.program.place(node), "write numbers, as in \\sum_{t=1}^{2}")
        start = int(match[1]) if match[1].isdecimal() else last
        return start + (int(f"{match[2]}{match[3]}") if match[2] else 0)

    def add_up_names(self, big: Big, items: Sequence[tuple[str, int]], names: Sequence[Spelling], node: Node) -> int:
        """A sum whose index is part of names, written out."""
        numbers = [k for k in range(MAX_STEPS) if all(self.steps_to(name, big.letter, k) is not None for name in names)]
        if numbers:
            low, high = self.limit(big.low, numbers[0], numbers[-1], node), self.limit(big.high, numbers[-1], numbers[-1], node)
            numbers = [k for k in numbers if low <= k <= high]
        computed = [k for k in numbers if all((self.steps_to(name, big.letter, k) or 0) >= self.tape.leaves for name in names)]
        plain = [name for name in names if re.fullmatch(r"[a-z]", name.suffix + name.upper)]
        if not big.low and plain and all(self.steps_to(name, big.letter, k) is not None for name in plain for k in numbers):
            started = [k for k in numbers if any((self.steps_to(name, big.letter, k) or 0) >= self.tape.leaves for name in plain)]
            numbers = started or computed or numbers
        if not numbers:
            raise ReadingError(f"what does the index {big.letter} run over?", self.program.place(node))
        first = min(self.low_of(index) for _, index in items)
        roots = []
        for number in numbers:
            self.steps = {big.letter: number}
            try:
                self.build_all(first, max(index for _, index in items))
                rest = self.multiply([("", items[0][1]), *items[1:]], node)
                roots.append(self.force(rest, items[0][1]))
            finally:
                self.steps = {}
        shown = ", ".join(map(str, numbers))
        what = "product" if big.multiplies else "sum"
        self.notes.setdefault(f"the {what} over {big.letter} is read as {big.letter} = {shown}")
        if big.multiplies:
            return self.add("product", roots, node, ("",) * (len(roots) - 1)) if len(roots) > 1 else roots[0]
        return self.add("sum", roots, node, (1,) * len(roots))
