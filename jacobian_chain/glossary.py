"""What the names in an answer through concrete layers mean: the composition's own, those that are explained, and what looks like them.

``dW``, ``grad_W`` and ``W̄`` are the derivative by W where no such name is there; ``W_{ij}`` is an entry of W.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from jacobian_chain.expressions import Expressions, Solution
from jacobian_chain.names import ELEMENTWISE_NAMES, FUNCTION_KEYS, read_key, superscript_at
from jacobian_chain.numeric import symbols_of
from jacobian_chain.syntax import BOLD_ONE, name_ones, substitute
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import Spelling, Tokens, spell
from jacobian_chain.wording import join_brackets, split_superscripts, split_tokens

MACRON = "\N{COMBINING MACRON}"

SIGNS = {"∂": "∂", "d": "d", "∇": "∇", "J": "J", "D": "J"}
"""Letters that differentiate what follows them, where the composition has no such name."""

INDEX = re.compile(r"[a-zα-ωℓ]'?|[0-9]+")
"""One index of an entry."""

OTHER_NAMES = {
    "trace": "tr", "determinant": "det", "norm": "norm", "relu": "relu", "softmax": "softmax", "sigmoid": "sigmoid", "sgn": "sign",
    "logistic": "sigmoid", "expit": "sigmoid", "rowsum": "rowsum", "colsum": "colsum", "columnsum": "colsum",
    "rowsums": "rowsum", "colsums": "colsum", "t": "transpose", "transpose": "transpose", "inv": "inverse", "inverse": "inverse",
    "outer": "outer", "dot": "dot", "crossprod": "crossprod", "tcrossprod": "outer", "avg": "mean", "average": "mean", "square": "square",
}  # fmt: skip
"""Further names of functions, in lower case, and what they mean in answers."""


class Scope:
    """The names of a composition as answers use them, and what an answer is asked for.

    Attributes:
        tape: the composition.
        of: the value that is differentiated.
        by: what it is differentiated by.
        values: the value of each name.
        sizes: symbols in shapes.
        functions: elementwise functions that the composition applies or defines.
        layers: its opaque layers.
    """

    def __init__(self, tape: Tape, of: int, by: Sequence[int], match: Callable[[Solution, int], int | None]) -> None:
        self.tape = tape
        self.of = of
        self.by = tuple(by)
        self.match = match
        self.values = {name: value for value, name in enumerate(tape.names) if name}
        self.sizes = {symbol for shape in tape.shapes for size in shape for symbol in symbols_of(size)}
        self.applied: dict[str, list[int]] = {}  # arguments of each elementwise function
        self.layers: dict[str, list[int]] = {}  # the steps of each layer
        for value, step in enumerate(tape.steps, tape.leaves):
            if step.operation == "apply":
                self.applied.setdefault(step.name, []).append(step.inputs[0])
            elif step.operation == "layer":
                self.layers.setdefault(step.name, []).append(value)
        self.functions = {*self.applied, *dict(tape.functions)}
        self.groups = dict(tape.groups)
        self.calls = {(name, inputs): value for value, name, inputs in tape.calls}
        self.called: dict[str, list[int]] = {}
        for value, name, _ in tape.calls:
            self.called.setdefault(name, []).append(value)
        self._above: dict[int, frozenset[int]] = {}

    def is_ancestor(self, one: int, other: int) -> bool:
        """Whether ``other`` depends on ``one``, or is it."""
        known = self._above.get(other)
        if known is None:
            found = {other}
            for value in range(other, self.tape.leaves - 1, -1):
                if value in found:
                    found.update(self.tape.steps[value - self.tape.leaves].inputs)
            known = self._above[other] = frozenset(found)
        return one in known

    def is_direct(self, of: int, by: int) -> bool:
        """Whether ``by`` stands in the equation of ``of``."""
        tape = self.tape
        stack = list(tape.steps[of - tape.leaves].inputs) if of >= tape.leaves else []
        while stack:
            value = stack.pop()
            if value == by:
                return True
            if value >= tape.leaves and not tape.names[value]:
                stack.extend(tape.steps[value - tape.leaves].inputs)
        return False


LOGISTIC = frozenset({"exp", "log", "softplus"})
"""Functions of logistic losses: beside none but these, σ is the sigmoid."""


class Glossary:
    """Names of a composition and of one answer to it.

    Attributes:
        scope: the composition's names.
        formulas: where explained names have their meaning.
        meanings: names that are explained, and their formulas.
        aliases: names that are explained as a function or layer.
        forms: names that look like something else, as ``h^{(t)}``, and what they are called.
        steps: what an index over names is at the moment.
        recognised: names that mean something though nobody explains them.
        multiplying: names that multiply what follows them in brackets.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tape = scope.tape
        self.formulas = Expressions()
        self.meanings: dict[str, int] = {}
        self.aliases: dict[str, str] = {}
        self.forms: list[tuple[Tokens, Spelling]] = []
        self.steps: dict[str, int] = {}
        self.recognised: set[str] = set()
        self.multiplying: set[str] = set()

    def known_names(self) -> tuple[set[str], set[str], set[str]]:
        """Values, layers and other names, as the grammar wants them: what is a value and a layer may be applied."""
        scope = self.scope
        layers = {*scope.layers, *scope.functions, *self.aliases}
        self.multiplying.update({*scope.values, *self.meanings, *scope.sizes, "I"}.difference(self.aliases))
        return self.multiplying, layers, self.recognised

    def rewrite(self, tokens: Tokens) -> Tokens:
        """Words taken apart into names, bold ones named."""
        tokens = split_superscripts(split_tokens(name_ones(tokens), self.is_known), self.has_meaning)
        tokens = join_brackets(tokens, self.is_array, self.has_meaning)
        for pattern, alias in self.forms:
            tokens = substitute(tokens, pattern, alias)
        for i, kind in enumerate(tokens.kinds):
            if kind != "name":
                continue
            name = tokens.spelling(i)
            forms = [name]
            raised = superscript_at(tokens, i, len(tokens.kinds)) if tokens.kinds[i + 1 : i + 2] == ["^"] else None
            if raised is not None:
                forms.append(raised.raise_on(name))
            for form in forms:
                if self.is_known(form.key, form):
                    self.recognised.add(form.key)
                if form is not name and raised is not None and not raised.certain:
                    continue  # it may be a power
                is_entry = self.find_entry(form) is not None or (form.base in ("δ", "e") and indices_of(form.suffix) != ())
                is_factor = is_entry or self.is_big(form) or self.find_name(form) is not None or self.find_adjoint(form) is not None
                if is_factor and (form.suffix or not self.find_function(form)):
                    self.multiplying.add(form.key)
        return tokens

    def is_known(self, key: str, name: Spelling | None = None) -> bool:
        """Whether a name has a meaning."""
        scope = self.scope
        if key in scope.values or key in self.meanings or key in self.aliases or key in scope.layers or key in scope.functions:
            return True
        if key in scope.sizes or key in scope.groups or key in FUNCTION_KEYS or key in ("I", "π", "∂", "∇") or key[:1] == BOLD_ONE:
            return True
        if key in scope.called or (key.lower() in OTHER_NAMES and len(key) > 1):
            return True
        if name is None:
            name = resuffix(key) if key[:1] in ("∇", "∂") else spell(key)
        if name.base in ("∇", "∂", "J", "D") and name.suffix and not self.has_meaning(name.base):
            below = read_key(name.suffix)
            if below is None:
                return name.base in ("∇", "∂")
            return self.find_name(resuffix(below)) is not None or below in scope.groups
        return self.find_adjoint(name) is not None

    def is_big(self, name: Spelling) -> bool:
        """Whether a name is a sign of a sum or product over an index."""
        is_greek = name.base in ("Σ", "Π") and name.suffix != "" and not self.has_meaning(name.base)
        return (name.base in ("sum", "prod") or is_greek) and not self.has_meaning(name.key)

    def has_meaning(self, key: str) -> bool:
        return key in self.scope.values or key in self.meanings

    def find_name(self, name: Spelling) -> tuple[str, object] | None:
        """The kind and value of the formula that a name stands for, ``meaning`` for one that is explained."""
        scope, key = self.scope, self.stepped(name)
        if key in self.meanings:
            return "meaning", self.meanings[key]
        if key in scope.values:
            return "value", scope.values[key]
        if key == "I" or (name.base in ("I", "Id") and (not name.suffix or self.is_size(name.suffix))):
            return "identity", name.suffix if name.base in ("I", "Id") else ""
        if key[:1] == BOLD_ONE:
            size = key[2:]
            if not size or self.is_size(size):
                return "ones", size
            sides = re.split("[,×]|times", size)
            return ("filled", ("ones", *sides)) if len(sides) == 2 and all(map(self.is_size, sides)) else None
        if key in scope.sizes:
            return "size", key
        if key == "π":
            return "constant", "pi"
        return ("constant", "e") if key == "e" else None

    def stepped(self, name: Spelling) -> str:
        """The key of a name, with an index that runs over names put in."""
        if not self.steps or not name.suffix + name.upper:
            return name.key
        for suffix in (name.suffix, name.upper):
            match = re.fullmatch(r"([a-z])([+-][0-9]+)?", suffix)
            if match and match[1] in self.steps:
                number = self.steps[match[1]] + int(match[2] or 0)
                return name.key[: len(name.key) - len(suffix)] + str(number)
        return name.key

    def is_size(self, text: str) -> bool:
        return bool(text) and (text.isdecimal() or text in self.scope.sizes)

    def find_adjoint(self, name: Spelling) -> int | None:
        """The value v where a name looks like dv, grad_v or v̄, and no such name is there: the derivative by v is meant."""
        values = self.scope.values
        candidates = []
        if MACRON in name.accent:
            candidates.append(name.key.replace(MACRON, "", 1))
        if name.base == "grad" and name.suffix:
            candidates.append(name.suffix.replace(",", ""))
        candidates += [name.key[len(prefix) :] for prefix in ("delta", "grad", "d") if name.key.startswith(prefix)]
        for key in candidates:
            key = self.stepped(spell(key)) if self.steps else key
            if key in values:
                return values[key]
            root = self.meanings.get(key)
            if root is not None and self.formulas.nodes[root].kind == "value":
                value = self.formulas.nodes[root].value
                assert isinstance(value, int)
                return value
        return None

    def find_entry(self, name: Spelling) -> tuple[Spelling, tuple[str | int, ...]] | None:
        """The array and the indices that a name such as ``W_{ij}``, ``a^{(2)}_k`` or ``x_j^{(i)}`` shows, None if it is no entry."""
        stem = Spelling(name.base + name.accent, name.base, name.accent)
        lower = [group for group in name.suffix.split(",") if group]
        groups = [*lower, name.upper] if name.upper else lower
        for own, rest in [([name.upper], lower), *((groups[:k], groups[k:]) for k in range(len(groups) - 1, 0, -1))]:
            indices = indices_of(",".join(rest))
            if not own[0] or not indices:
                continue
            for base in (name.base, name.base.upper()):  # the first may be the name's, as in a^{(2)}_k and y_{pred,i}
                numbered = Spelling(base + name.accent + ",".join(own), base, name.accent, ",".join(own))
                if self.is_array(numbered):
                    return numbered, indices
        if name.upper and not name.upper.isdecimal():
            groups = [groups[-1], *groups[:-1]]  # the number of a sample stands first
        indices = indices_of(",".join(groups)) if groups else ()
        if not indices:
            return None
        if self.is_array(stem):
            value = self.value_of(self.find_name(stem))
            if len(indices) == 1 and value is not None and "1" not in self.tape.shapes[value] and re.fullmatch(r"[1-9]{2}", groups[0]):
                indices = (int(groups[0][0]), int(groups[0][1]))  # a_{12} of a matrix
            return stem, indices
        upper = Spelling(name.base.upper() + name.accent, name.base.upper(), name.accent)
        if len(name.base) == 1 and upper != stem and self.is_array(upper):
            digits = re.fullmatch(r"[1-9]{2}", groups[0])
            if digits or any(isinstance(index, str) for index in indices):
                return upper, (int(groups[0][0]), int(groups[0][1])) if digits else indices
        return None

    def is_array(self, name: Spelling) -> bool:
        """Whether a name is that of an array, or of a derivative by one."""
        found = self.find_name(name)
        return found[0] in ("value", "meaning") if found is not None else self.find_adjoint(name) is not None

    def find_function(self, name: Spelling) -> str:
        """The elementwise function, opaque layer or function of the language that a name means, empty if it means none."""
        scope, key = self.scope, name.key
        if key in self.aliases:
            return self.aliases[key]
        if key in scope.functions or key in scope.layers:
            return key
        if key in FUNCTION_KEYS and key not in scope.values:
            return FUNCTION_KEYS[key]
        if key in ELEMENTWISE_NAMES:
            is_sigmoid = "sigmoid" in scope.applied or set(scope.applied) <= LOGISTIC  # log(1 + exp(-z)) has the slope -σ(-z)
            return "sigmoid" if key == "σ" and is_sigmoid else key
        if key not in scope.values:
            return OTHER_NAMES.get(key.lower(), "") or (key.lower() if key.lower() in FUNCTION_KEYS else "")
        return ""

    def value_of(self, found: tuple[str, object] | None) -> int | None:
        """The value that a name is."""
        if found is None:
            return None
        kind, value = found
        if kind == "meaning":
            assert isinstance(value, int)
            kind, value = self.formulas.nodes[value].kind, self.formulas.nodes[value].value
        return value if kind == "value" and isinstance(value, int) else None

    def lone_function(self, text: str) -> str:
        """The function that a text is the name of, empty if it is none."""
        key = read_key(text.strip())
        return "" if key is None or self.find_name(spell(key)) is not None else self.find_function(spell(key))


def indices_of(text: str) -> tuple[str | int, ...]:
    """The indices of an entry: letters and numbers; none where the text is something else.

    >>> indices_of("ij"), indices_of("1,2"), indices_of("t-1"), indices_of("relu")
    (('i', 'j'), (1, 2), (), ())
    """
    parts = [part for part in text.split(",") if part]
    if len(parts) == 1 and not parts[0].isdecimal():
        parts = INDEX.findall(parts[0]) if len(parts[0].replace("'", "")) <= 2 and INDEX.fullmatch(parts[0][:1]) else []
        if "".join(parts) != text.replace(",", ""):
            return ()
    if not 1 <= len(parts) <= 2 or not all(INDEX.fullmatch(part) for part in parts):
        return ()
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def resuffix(key: str) -> Spelling:
    """A name from its key, with its index apart."""
    match = re.fullmatch(r"(.[\u0300-\u036f]*)(.*)", key, re.DOTALL)
    assert match is not None
    return Spelling(key, match[1][:1], match[1][1:], match[2])
