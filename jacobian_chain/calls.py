"""Functions in an answer: of entries, of arrays, opaque layers, and names that stand before brackets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from jacobian_chain.errors import ReadingError, UnsupportedError
from jacobian_chain.expressions import Derivative
from jacobian_chain.names import ELEMENTWISE_NAMES
from jacobian_chain.numeric import symbols_of
from jacobian_chain.phrases import SPINE, Big, Compare, Differential, Outcome, Phrases
from jacobian_chain.survey import DIRECTIONS, ENTRYWISE
from jacobian_chain.syntax import BOLD_ONE, Node, function_of
from jacobian_chain.tokens import Spelling

_ONE_ARGUMENT = {"transpose": "transpose", "inverse": "inverse", "norm": "norm"}


class Calls(Phrases):
    """Reads what is applied, and what stands on it: primes, powers, transposes."""

    def build_power(self, _index: int, node: Node) -> Outcome:
        base, above = (self.nodes[arg] for arg in node.args)
        outcome = self.outcomes[node.args[0]]
        if isinstance(outcome, Big):
            return outcome._replace(high=self.typed(above).strip("{} "))
        if self.is_sign(base) and not base.bracketed and not self.is_size(base.value):
            raise UnsupportedError("second derivatives are not read in an answer", self.program.place(node))
        exponent = self.exponent(node.args[1])
        if base.kind in ("function", "prime") and self.nodes[function_of(self.nodes, node.args[0])].kind == "function":
            return None  # of a function, as in tanh²(z)
        if base.kind == "name" and base.value == "e" and not self.has_meaning("e"):
            return self.add("apply", (self.formula(node.args[1]),), node, ("exp", 0))
        if exponent is None:
            raise ReadingError("this exponent is not a number", self.program.place(above), "write x^2, A^-1 or A^T")
        inner = self.formula(node.args[0])
        if node.kind == "power" and exponent == -1:
            return self.add("inverse", (inner,), node)
        if node.kind == "power" and exponent == 2 and base.kind == "norm" and base.value in ("", "2", "F"):
            return self.add("call", self.formulas.nodes[inner].args, node, ("sqnorm", ""))
        return self.add("power", (inner,), node, (exponent, node.kind == "epower"))

    def build_transpose(self, _index: int, node: Node) -> Outcome:
        inner = self.nodes[node.args[0]]
        if inner.kind == "number" and inner.value == "1":
            return self.add("transpose", (self.add("ones", (), inner, ""),), node)
        root = self.formula(node.args[0])
        if node.value == "-":
            root = self.add("inverse", (root,), node)
        return self.add("transpose", (root,), node)

    def build_prime(self, index: int, node: Node) -> Outcome:
        inner = self.nodes[node.args[0]]
        function = self.nodes[function_of(self.nodes, index)]
        if function.kind == "function":
            return None  # what stands behind it is its argument
        if inner.kind == "name":
            name = self.spelling(inner)
            if self.find_name(name) is None and self.find_function(name):
                return self.bare_slope(name, 1, node)
        return self.add("transpose", (self.formula(node.args[0]),), node, "'")

    def bare_slope(self, name: Spelling, order: int, node: Node) -> int:
        """σ' without an argument: at the only one that the composition applies it to."""
        function = self.find_function(name)
        arguments = set(self.scope.applied.get(function, ()))
        if len(arguments) != 1:
            hint = f"write {name.key}'(z) with its argument"
            raise ReadingError(f"{name.key}' has no argument", self.program.place(node), hint)
        (argument,) = arguments
        self.notes.setdefault(f"{name.key}' is read at {self.tape.names[argument] or 'its only argument'}")
        return self.add("apply", (self.formulas.add("value", (), argument),), node, (function, order))

    def build_call(self, _index: int, node: Node) -> Outcome:
        nodes = self.nodes
        at, primes, exponents = node.args[0], 0, []
        while nodes[at].kind in ("prime", "power", "epower"):
            if nodes[at].kind == "prime":
                primes += 1
            else:
                exponents.append(self.exponent(nodes[at].args[1]))
            at = nodes[at].args[0]
        function = nodes[at]
        if function.kind not in ("function", "name"):
            raise ReadingError(f"{self.typed(function)} is no function", self.program.place(node))
        arguments = node.args[1:]
        name = self.spelling(function)
        if not arguments:
            raise ReadingError("there is nothing in these brackets", self.program.place(node))
        if self.is_sign(function) and not exponents:
            return self.sign_call(function, arguments, node)
        factors = self.factors_behind(node, arguments)
        if factors and self.narrow:
            arguments = (factors[0][1],)
        root = self.apply(name, function, arguments, primes, node)
        if len(exponents) > 1 or None in exponents:
            raise ReadingError(f"{self.typed(nodes[node.args[0]])} is no function", self.program.place(node))
        if not isinstance(root, int):
            return root
        if not exponents:
            return self.with_factors(root, factors, node)
        exponent = exponents[0]
        assert exponent is not None
        if exponent < 0:
            hint = f"write {name.key}(x)^{exponent} for a power of the value"
            raise ReadingError(f"{self.typed(nodes[node.args[0]])} could be an inverse function or a power", self.program.place(node), hint)
        return self.with_factors(self.add("power", (root,), node, (exponent, True)), factors, node)

    def factors_behind(self, node: Node, arguments: Sequence[int]) -> list[tuple[str, int]]:
        """The factors of the product that a function without brackets takes, each with the sign before it; none of any other."""
        argument = self.nodes[arguments[0]]
        first = self.nodes[node.args[0]]
        typed = self.program.tokens.kinds[first.end : argument.start] if first.end <= argument.start else []
        is_spine = argument.kind in SPINE and argument.value != r"\frac" and not argument.bracketed
        if len(arguments) > 1 or not is_spine or typed:
            return []
        self.could_narrow = True
        return self.items_of(arguments[0])

    def with_factors(self, root: int, factors: Sequence[tuple[str, int]], node: Node) -> int:
        """A formula times the factors that a function leaves over."""
        if not self.narrow or len(factors) < 2:
            return root
        rest = [self.formula(item) for _, item in factors[1:]]
        return self.add("product", (root, *rest), node, tuple(sign for sign, _ in factors[1:]))

    def sign_call(self, sign: Node, arguments: Sequence[int], node: Node) -> Outcome:
        """``∂(u ⊙ v)``, ``∇(x^T A x)``, ``J(f)``."""
        kind, by = self.read_sign(sign)
        if kind in ("∂", "d") and by is None:
            return Differential(kind, arguments[0])
        if len(arguments) > 1:
            raise UnsupportedError("the derivative of several values at once cannot be read here", self.program.place(node))
        return self.differentiate(kind, arguments[0], by, node)

    def apply(self, name: Spelling, function: Node, arguments: Sequence[int], primes: int, node: Node) -> Outcome:
        """What a name makes of what stands in its brackets."""
        scope, key, count = self.scope, name.key, len(arguments)
        meaning = self.find_function(name)
        if meaning in scope.layers and (key not in scope.values or count > 1):
            return self.layer(meaning, arguments, primes, node)
        if (meaning, primes) == ("max", 0) and count == 2:
            return self.maximum(arguments, node)
        if meaning and (meaning in scope.functions or meaning in ENTRYWISE or meaning in ELEMENTWISE_NAMES) and count == 1:
            return self.entrywise(meaning, primes, arguments[0], node)
        if key in scope.called and not primes:
            found = self.called_value(key, arguments)
            if found is not None:
                return self.add("value", (), node, found)
        if meaning and not primes:
            return self.function(meaning, arguments, node)
        value = self.find_name(name)
        if value is not None and value[0] in ("value", "meaning"):
            return self.behind_value(value, function, arguments, node)
        if name.base in ("I", "e", "ones", "zeros") or key[:1] == BOLD_ONE:
            return self.constant(name, arguments, node)
        if count == 1:
            guessed = self.guess_function(name, arguments[0], primes)
            if guessed:
                return self.entrywise(guessed, primes, arguments[0], node)
        raise self.unknown(name, function)

    def behind_value(self, value: tuple[str, object], function: Node, arguments: Sequence[int], node: Node) -> int:
        """``y(x, w)``: the value where all arguments are what it depends on, else a product."""
        inner = self.read_name(function)
        if value[0] == "value" and self.are_arguments(arguments, value[1]):
            return inner
        if len(arguments) > 1:
            hint = "an operator or a bracket is missing?"
            raise ReadingError(f"{self.typed(function)} is a value, and these are not what it depends on", self.program.place(node), hint)
        return self.add("product", (inner, self.formula(arguments[0])), node, ("",))

    def are_arguments(self, arguments: Sequence[int], value: object) -> bool:
        """Whether all nodes are values that a value depends on."""
        assert isinstance(value, int)
        for index in arguments:
            try:
                root = self.formulas.nodes[self.formula(index)]
            except ReadingError:
                return False
            if (
                root.kind != "value"
                or not isinstance(root.value, int)
                or root.value == value
                or not self.scope.is_ancestor(root.value, value)
            ):
                return False
        return value >= self.tape.leaves

    def guess_function(self, name: Spelling, argument: int, primes: int) -> str:
        """The elementwise function that the composition applies to an argument, where a name that nobody explains is applied to it."""
        root = self.formulas.nodes[self.formula(argument)]
        found = {
            step.name for step in self.tape.steps if step.operation == "apply" and root.kind == "value" and step.inputs == (root.value,)
        }
        if len(found) != 1 or (not primes and name.key not in ("f", "g", "φ", "ϕ", "ψ", "h", "a", "σ")):
            return ""
        (function,) = found
        self.notes.setdefault(f"{name.key} is read as {function}, which the composition applies here")
        self.called.setdefault(function, name)
        return function

    def entrywise(self, function: str, primes: int, argument: int, node: Node) -> int:
        """An elementwise function or its derivative."""
        inner = self.formula(argument)
        if function == "ln":
            function = "log"
        if function == "sqrt" and not primes:
            return self.add("power", (inner,), node, (Fraction(1, 2), True))
        if function == "sqrt":
            root = self.add("power", (inner,), node, (Fraction(-1, 2), True))
            return self.add("product", (self.formulas.add("number", (), Fraction(1, 2)), root), node, ("",))
        return self.add("apply", (inner,), node, (function, primes))

    def maximum(self, arguments: Sequence[int], node: Node) -> int:
        """max(0, z)."""
        roots = [self.formula(arg) for arg in arguments]
        zeros = [k for k, root in enumerate(roots) if self.formulas.nodes[root].kind == "number" and not self.formulas.nodes[root].value]
        if len(zeros) != 1:
            raise ReadingError("max is read as max(0, z) only", self.program.place(node), "write max(0, z) or relu(z)")
        return self.add("apply", (roots[1 - zeros[0]],), node, ("relu", 0))

    def layer(self, layer: str, arguments: Sequence[int], primes: int, node: Node) -> int:
        """An opaque layer at values, or with a prime its Jacobian there."""
        inputs = [self.formula(arg) for arg in arguments]
        step = self.tape.steps[self.scope.layers[layer][0] - self.tape.leaves]
        if len(inputs) != len(step.inputs):
            message = f"{layer} takes {len(step.inputs)} argument{'s' if len(step.inputs) > 1 else ''}, not {len(inputs)}"
            raise ReadingError(message, self.program.place(node))
        found = self.layer_value(layer, inputs)
        if primes > 1 or (primes and len(inputs) > 1):
            raise UnsupportedError("second derivatives of layers cannot be read", self.program.place(node))
        if found is not None and not primes:
            return self.add("value", (), node, found)
        if not primes:
            return self.add("layer", inputs, node, layer)
        if found is not None:
            by = self.tape.steps[found - self.tape.leaves].inputs[0]
            return self.atom(Derivative("'", found, (by,), ("partial",)), *self.span(node))
        return self.add("layer_jacobian", inputs, node, (layer, 0, "'"))

    def layer_value(self, layer: str, inputs: Sequence[int]) -> int | None:
        """The value of the composition that a layer at formulas is."""
        values = tuple(self.formulas.nodes[root].value if self.formulas.nodes[root].kind == "value" else -1 for root in inputs)
        return next((value for value in self.scope.layers[layer] if self.tape.steps[value - self.tape.leaves].inputs == values), None)

    def called_value(self, key: str, arguments: Sequence[int]) -> int | None:
        """What a layer that the text defines gives at values."""
        values: list[int] = []
        for index in arguments:
            node = self.nodes[index]
            if node.kind == "name" and node.value in self.scope.groups:
                values += self.scope.groups[node.value]
                continue
            root = self.formulas.nodes[self.formula(index)]
            if root.kind != "value" or not isinstance(root.value, int):
                return None
            values.append(root.value)
        return self.scope.calls.get((key, tuple(values)))

    def function(self, meaning: str, arguments: Sequence[int], node: Node) -> int:
        """A function of arrays."""
        if meaning in ("ones", "zeros"):
            sizes = [self.size_text(arg) for arg in arguments]
            return self.add("filled", (), node, (meaning, sizes[0], sizes[1] if len(sizes) > 1 else "1"))
        direction = ""
        if meaning in ("sum", "mean") and len(arguments) == 2:
            direction = DIRECTIONS.get(self.nodes[arguments[1]].value, "")
            if not direction:
                raise ReadingError("expected rows or columns", self.program.place(self.nodes[arguments[1]]), "write sum(X, rows)")
            arguments = arguments[:1]
        if meaning == "diag" and len(arguments) > 1:
            return self.add("call", (self.series(arguments, node),), node, ("diag", ""))
        roots = [self.formula(arg) for arg in arguments]
        if meaning == "sum" and self.free_indices(roots[0]) and self.typed(node).startswith(("\\sum", "∑", "Σ")):
            raise ReadingError("over which index does this sum run?", self.program.place(node), r"write \sum_i or \sum_{i=1}^{n}")
        wanted = 2 if meaning in ("kron", "CE", "outer", "dot", "crossprod") else 1
        if len(roots) != wanted:
            given = f"{len(roots)} {'is' if len(roots) == 1 else 'are'} given"
            raise ReadingError(f"{meaning} takes {wanted} argument{'s' if wanted > 1 else ''}, and {given}", self.program.place(node))
        if meaning in _ONE_ARGUMENT:
            return self.add(_ONE_ARGUMENT[meaning], roots, node, "" if meaning == "norm" else None)
        if meaning == "square":
            return self.add("power", roots, node, (Fraction(2), True))
        if meaning == "outer":
            return self.add("product", (roots[0], self.add("transpose", (roots[1],), node)), node, ("",))
        if meaning == "crossprod":
            return self.add("product", (self.add("transpose", (roots[0],), node), roots[1]), node, ("@",))
        if meaning == "dot":
            return self.add("product", roots, node, ("@",))
        if meaning in ("rowsum", "colsum"):
            return self.add("call", roots, node, ("sum", "rows" if meaning == "rowsum" else "columns"))
        base, _, rest = meaning.partition("_")
        if base == "softmax":
            return self.add("call", roots, node, (base, rest))
        return self.add("call", roots, node, (meaning, direction))

    def series(self, arguments: Sequence[int], node: Node) -> int:
        """The column whose entries are listed with dots, as in ``diag(f(z_1), …, f(z_n))`` or ``diag(…, x_i, …)``."""
        roots = [self.formula(arg) for arg in arguments if self.nodes[arg].kind != "dots"]
        if len(roots) == len(arguments):
            return self.add("below", roots, node)
        last = roots[-1]
        indices = self.free_indices(last)
        if len(indices) != 1:
            raise UnsupportedError("what do these dots stand for?", self.program.place(node), "write one entry with an index, as x_i")
        if len(roots) > 1 and self.formulas.keys[self.put_index(last, indices[0], 1)] != self.formulas.keys[roots[0]]:
            raise UnsupportedError("the entries around the dots are of two forms", self.program.place(node))
        self.notes.setdefault(f"the dots are read as all entries, {indices[0]} being their index")
        return self.as_components(last, indices)

    def put_index(self, root: int, index: str, number: int) -> int:
        """A formula with a number in the place of an index."""
        for at in self.formulas.below(root):
            node = self.formulas.nodes[at]
            if node.kind == "entry" and isinstance(node.value, tuple) and index in node.value:
                indices = tuple(number if one == index else one for one in node.value)
                root = self.formulas.replace(root, at, self.formulas.add("entry", node.args, indices, node.start, node.end))
        return root

    def constant(self, name: Spelling, arguments: Sequence[int], node: Node) -> int:
        """``I(n)``, ``e(i, n)``, a bold 1 with what stands in its brackets."""
        if name.base == "I" and len(arguments) == 1 and self.is_size_node(arguments[0]):
            return self.add("identity", (), node, self.size_text(arguments[0]))
        if name.base == "e" and len(arguments) == 2:
            index = self.typed(self.nodes[arguments[0]])
            return self.add("unit", (), node, (int(index) if index.isdecimal() else index, self.size_text(arguments[1])))
        outcome = self.outcomes[arguments[0]]
        if name.key[:1] == BOLD_ONE and isinstance(outcome, Compare):
            return self.indicate(outcome, node)
        if (name.key[:1] == BOLD_ONE or name.key == "I") and len(arguments) == 1:
            return self.add("product", (self.read_name(self.nodes[node.args[0]]), self.formula(arguments[0])), node, ("",))
        raise self.unknown(name, node)

    def size_text(self, index: int) -> str:
        """A size in brackets, as text."""
        node = self.nodes[index]
        text = self.typed(node).replace(" ", "").strip("()")
        if not all(symbol in self.scope.sizes for symbol in symbols_of(text)):
            raise ReadingError(f"{text} is no size of the composition", self.program.place(node))
        return text

    def items_of(self, index: int) -> list[tuple[str, int]]:
        """The factors of a product, each with the sign before it."""
        items: list[tuple[str, int]] = []
        at = index
        while True:
            current = self.nodes[at]
            items.append(("/" if current.kind == "divide" else current.value, current.args[1]))
            if not self.internal[current.args[0]]:
                items.append(("", current.args[0]))
                break
            at = current.args[0]
        return items[::-1]

    def is_size_node(self, index: int) -> bool:
        """Whether a node is made of sizes alone."""
        inside = [self.nodes[k] for k in range(self.low_of(index), index + 1)]
        return all(one.kind in ("name", "number", "product", "add") for one in inside) and all(
            one.value in self.scope.sizes for one in inside if one.kind == "name"
        )
