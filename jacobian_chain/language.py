"""Reading of concrete layers: what each node of an expression stands for, with definitions written out.

Ranks of leaves follow from their names where they are not declared, and sizes are united step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from jacobian_chain.assembly import Reading
from jacobian_chain.combination import ONE, Combination, Operand, as_combination, single_value, step_of
from jacobian_chain.errors import Notice, ReadingError, UnsupportedError
from jacobian_chain.functions import FUNCTIONS
from jacobian_chain.matrices import MINUS, Frame, Group, Logarithm, Matrices, Ones, Part
from jacobian_chain.names import ELEMENTWISE_NAMES
from jacobian_chain.sizes import LOOSE, LOSS, UPPER, USED
from jacobian_chain.statements import CONSTANTS, Statements
from jacobian_chain.survey import ENTRYWISE, Survey, is_loss, is_upper, scalar_leaves
from jacobian_chain.syntax import BOLD_ONE, Declaration, Equation, Node, function_of
from jacobian_chain.tape import SCALAR, Step, Tape

_FOREIGN = {"tuple": "a list of values here", "dots": "dots", "at": "an evaluation bar"}
_POSITIVE = frozenset({"log", "sqrt"})
_ENTRYWISE_KINDS = frozenset("name function number call add subtract negate product divide elementwise power epower absolute prime".split())


class Language(Matrices):
    """Reads expressions node by node; products, sums and functions are finished as their shapes decide."""

    def __init__(self, statements: Statements, survey: Survey) -> None:
        super().__init__(statements, survey)
        self.groups: dict[str, tuple[int, ...]] = {}
        self.slopes: dict[str, Tape | None] = {}  # of definitions that are elementwise functions

    def read(self) -> Reading:
        """The tape.

        Raises:
            ReadingError: a name is unknown, shapes do not fit.
            UnsupportedError: the text says something that cannot be derived.
        """
        statements = self.statements
        outside = statements.builtin_values(self.survey.sizes)
        self.collect_leaves(self.survey.hidden, outside)
        order = [name for name in statements.order if name in statements.equations]
        self.shape_leaves(order)
        groups = self.collect_groups()
        self.groups = dict(groups)
        for name in order:
            self.define(name, statements.equations[name])
        self.prune()
        facts = self.find_facts()
        shapes, declared = self.finish()
        tape = Tape(
            len(self.leaves),
            tuple(self.names),
            tuple(self.steps),
            shapes,
            groups,
            declared,
            statements.is_nested,
            self.spellings,
            facts,
            tuple((key, tape) for key, tape in self.slopes.items() if tape is not None),
            tuple(self.calls),
        )
        return Reading(tape, tuple(self.notices))

    def shape_leaves(self, order: Sequence[str]) -> None:
        """Ranks and sizes of the leaves: declared, or by their names and the norms that they multiply."""
        scalars = scalar_leaves(self.statements, self.survey, order)
        sizes = self.sizes
        for value, name in enumerate(self.leaves):
            shape = self.declared.get(name)
            if shape is not None:
                row, column = sizes.named(shape.rows), sizes.named(shape.columns)
            elif name in scalars:
                row = column = sizes.one
            elif is_upper(self.statements, name):
                row, column = sizes.open(), sizes.open()
            else:
                row, column = sizes.open(), sizes.one
                self.assumed.add(value)
            self.rows.append(row)
            self.columns.append(column)

    def define(self, name: str, equation: Equation) -> None:
        """Append the steps of one equation; the last bears its name."""
        node = self.nodes[equation.root]
        result = self.evaluate(equation)
        value = single_value(result)
        if value is None or value < len(self.leaves) or self.names[value]:
            one = self.sizes.one
            shape = self.shape_of(as_combination(result).like) if isinstance(result, (int, Combination)) else (one, one)
            value = self.append(step_of(result), *shape, node)
        self.names[value] = name
        self.values[name] = value
        if self.is_loose(value) and is_upper(self.statements, name):
            self.sizes.mark(self.columns[value], UPPER)
        if name in self.declared:
            self.check_declared(name, value, node)

    def check_declared(self, name: str, value: int, node: Node) -> None:
        """Give a value the shape that is declared of a name."""
        shape = self.declared[name]
        rows, columns = self.sizes.named(shape.rows), self.sizes.named(shape.columns)
        said = f"{name} is declared {'a scalar' if shape.is_scalar else shape}"
        found = f"{self.shown(node)} {self.size_words(value)}"
        if not (self.sizes.unify(self.rows[value], rows) and self.sizes.unify(self.columns[value], columns)):
            raise ReadingError(f"{said}, but {found}{self.reasons((self.shown(node), value))}", self.place(node))

    def evaluate(self, equation: Equation) -> Operand:
        """What the right side of an equation stands for; definitions that it uses are written out, in frames of their own."""
        nodes, hidden, readers = self.nodes, self.survey.hidden, _READERS
        frames = [Frame(equation, {}, None, nodes[equation.root])]
        while True:
            frame = frames[-1]
            self.enter(frame)
            results, end = frame.results, frame.equation.root
            for k in range(frame.low + len(results), end + 1):
                part = None if k in hidden else readers[nodes[k].kind](self, k)
                if isinstance(part, Frame):
                    frames.append(part)
                    break
                results.append(part)
            else:
                frames.pop()
                root = nodes[end]
                result = self.operand(results[-1], root)
                if not frames:
                    return result
                assert frame.use is not None
                before = len(self.names)
                value = self.value_of(result, root)
                name, inputs = frame.use
                if name in self.declared:
                    self.check_declared(name, value, root)
                if value not in inputs and (value >= before or not self.names[value]):
                    self.calls.append((value, name, inputs))
                outer = frames[-1]
                self.enter(outer)
                self.known[name, inputs] = value
                outer.results.append(self.finish_call(value, frame.node))

    def enter(self, frame: Frame) -> None:
        """Go on with a frame."""
        self.frame, self.known = frame, frame.known

    # --- readers of one node: what it stands for, or the frame of the definition that it uses ---

    def read_foreign(self, k: int) -> Part:
        """What has no meaning in a composition."""
        node = self.nodes[k]
        raise UnsupportedError(f"{_FOREIGN[node.kind]} cannot stand in a composition", self.place(node))

    def read_name(self, k: int) -> Part:
        """A value; else a group, a size, a constant, the identity or a column of ones."""
        key = self.nodes[k].value
        value = self.frame.parameters.get(key)
        if value is None:
            value = self.values.get(key)
        if value is not None:
            return value
        node = self.nodes[k]
        if key in self.groups:
            return Group(self.groups[key])
        if key not in self.survey.taken:
            if key in self.survey.sizes:
                return self.dimension(self.sizes.named(key), node)
            if key in CONSTANTS:
                return self.constant(key, node)
            if key == "I":
                size = self.sizes.open()
                return self.put(Step("identity", "", ()), size, size, node)
            if key[:1] == BOLD_ONE:
                return Ones(key[2:])
        raise self.unknown_name(node)

    def constant(self, key: str, node: Node) -> int:
        """π or e."""
        if key not in self.flagged:
            self.flagged.add(key)
            shown = "2.718…" if key == "e" else "3.141…"
            self.notices.append(Notice(f"{key} is the number {shown}; declare it, as in {key}: n, to read a name", self.place(node)))
        return self.put(Step("constant", key, ()), self.sizes.one, self.sizes.one, node)

    def read_function(self, k: int) -> Part:
        """A function, which is no value; see read_call."""
        assert self.nodes[k].kind == "function"
        return None

    def read_numeral(self, k: int) -> Part:
        return self.read_number(self.nodes[k])

    def read_sum(self, k: int) -> Part:
        node = self.nodes[k]
        left, right = node.args
        return self.add(node, self.argument(left), self.argument(right), node.kind == "subtract")

    def read_negative(self, k: int) -> Part:
        node = self.nodes[k]
        return self.scaled(MINUS, self.argument(node.args[0]), node)

    def read_product(self, k: int) -> Part:
        node = self.nodes[k]
        return self.chain("product", node, node.kind == "divide")

    def read_entries(self, k: int) -> Part:
        node = self.nodes[k]
        if node.value == "⊗":
            left, right = (self.argument(arg) for arg in node.args)
            return self.kron(node, left, right)
        return self.chain("elementwise", node, node.value in ("./", "⊘"))

    def read_power(self, k: int) -> Part:
        nodes = self.nodes
        node = nodes[k]
        if nodes[function_of(nodes, k)].kind == "function" and self.part(node.args[0]) is None:
            return None  # of a function, see read_call
        base_node = nodes[node.args[0]]
        if node.args[0] in self.survey.hidden:
            return self.apply("exp", self.value_of(self.argument(node.args[1]), nodes[node.args[1]]), node)
        exponent = self.argument(node.args[1])
        base = self.argument(node.args[0])
        if node.args[0] in self.survey.squared:
            return base  # the norm is read as its square
        if not isinstance(exponent, Fraction):
            hint = None
            if base_node.kind == "name" and nodes[node.args[1]].kind == "name":
                key, index = base_node.value, nodes[node.args[1]].value
                hint = None if self.statements.builtin(index) else f"for an index write {key}_{{{index}}} or {key}^{{({index})}}"
            elif isinstance(base, Fraction):
                hint = f"write exp(log({base}) {self.shown(nodes[node.args[1]])})"
            raise ReadingError(f"an exponent is a number, and {self.shown(nodes[node.args[1]])} is none", self.place(node), hint)
        return self.raise_to(base, exponent, node, node.kind == "epower")

    def read_transpose(self, k: int) -> Part:
        node = self.nodes[k]
        part = self.part(node.args[0])
        inner = self.nodes[node.args[0]]
        if isinstance(part, Ones) or (inner.kind == "number" and part == 1 and not node.value):
            size = part.size if isinstance(part, Ones) else ""
            return self.ones(self.sizes.one, self.sizes.named(size) if size else self.sizes.open(), node)
        if part is None and node.kind == "prime":
            return None  # the derivative of a function, see read_call
        operand = self.operand(part, inner)
        if isinstance(operand, Fraction):
            return 1 / operand if node.value and operand else operand
        if node.value:
            operand = self.raise_to(operand, Fraction(-1), node, False)
            assert not isinstance(operand, Fraction)
        number, value = self.split(operand, node)
        return self.times(number, self.transpose(value, node), node)

    def read_norm(self, k: int) -> Part:
        node = self.nodes[k]
        inner = self.nodes[node.args[0]]
        operand = self.argument(node.args[0])
        is_square = k in self.survey.squared
        if isinstance(operand, Fraction):
            return operand * operand if is_square else abs(operand)
        value = self.decide(self.value_of(operand, inner))
        order, one = node.value, self.sizes.one
        text = self.shown(inner)
        if order == "1":
            if self.is_matrix(value):
                hint = f"write sum(abs({text})) for the sum of all absolute values"
                raise ReadingError(
                    f"the 1-norm of a matrix is not part of the language, and {text} {self.size_words(value)}", self.place(node), hint
                )
            if self.is_scalar(value):
                norm = self.apply("abs", value, node)
            else:
                norm = self.put(Step("norm1", "", (self.transpose(value, node) if self.is_row(value) else value,)), one, one, node)
            return self.power_of(norm, Fraction(2), node) if is_square else norm
        if order not in ("", "2", "F", "2,2", "fro"):
            raise ReadingError(
                f"the norm with the index {order} is not part of the language", self.place(node), "there are ||v||, ||v||_1 and ||M||_F"
            )
        if order == "2" and self.is_matrix(value):
            hint = f"write ||{text}||_F for the Frobenius norm"
            raise ReadingError(
                f"the 2-norm of a matrix is not part of the language, and {text} {self.size_words(value)}", self.place(node), hint
            )
        if self.is_scalar(value):
            return self.power_of(value, Fraction(2), node) if is_square else self.apply("abs", value, node)
        square = self.put(Step("sqnorm", "", (value,)), one, one, node)
        return square if is_square else self.power_of(square, Fraction(1, 2), node)

    def read_absolute(self, k: int) -> Part:
        node = self.nodes[k]
        part = self.part(node.args[0])
        if isinstance(part, Logarithm):
            return part
        operand = self.operand(part, node)
        if isinstance(operand, Fraction):
            return abs(operand)
        value = self.decide(self.value_of(operand, node))
        inner = self.nodes[node.args[0]]
        text = self.shown(inner)
        if node.value:
            raise ReadingError("an index stands on a norm", self.place(node), f"write ||{text}||_{node.value}")
        if self.is_scalar(value):
            return self.apply("abs", value, node)
        if self.is_matrix(value):
            self.need_square("determinant", value, node, text)
            return self.determinant(k, value, node)
        self.notices.append(Notice(f"|{text}| is read as the norm of a vector", self.place(node)))
        return self.power_of(self.put(Step("sqnorm", "", (value,)), self.sizes.one, self.sizes.one, node), Fraction(1, 2), node)

    def read_beside(self, k: int) -> Part:
        node = self.nodes[k]
        cells = [self.argument(arg) for arg in node.args]
        return cells[0] if len(cells) == 1 else self.blocks(cells, node, "beside", k in self.survey.gridded)

    def read_below(self, k: int) -> Part:
        node = self.nodes[k]
        cells = [self.argument(arg) for arg in node.args]
        return cells[0] if len(cells) == 1 else self.blocks(cells, node, "below", False)

    def read_call(self, k: int) -> Part | Frame:
        nodes = self.nodes
        node = nodes[k]
        function = nodes[function_of(nodes, node.args[0])]
        primes = 0
        exponents: list[Part] = []
        at = node.args[0]
        while nodes[at].kind != "function":
            if nodes[at].kind == "prime":
                primes += 1
            elif nodes[at].kind in ("power", "epower") and isinstance(self.part(nodes[at].args[1]), Fraction):
                exponents.append(self.part(nodes[at].args[1]))
            else:
                raise ReadingError(f"{self.shown(nodes[at])} is no function", self.place(nodes[at]))
            at = nodes[at].args[0]
        key = function.value
        if exponents and (len(exponents) > 1 or not isinstance(exponents[0], Fraction) or exponents[0] < 0):
            hint = f"write ({key}(x))^{exponents[0]} for a power of the value"
            raise ReadingError(f"{self.shown(nodes[node.args[0]])} could be an inverse function or a power", self.place(node), hint)
        is_defined = key in self.statements.definitions
        if is_defined and self.slope_of(key) is None:
            if primes:
                raise UnsupportedError(f"the derivative of the layer {key} cannot stand in a composition", self.place(node))
            return self.expand(node, key)
        result = self.call_builtin(k, node, function, primes)
        if is_defined and key in self.declared:
            self.check_declared(key, self.value_of(self.operand(result, node), node), node)
        return self.finish_call(result, node)

    def finish_call(self, result: Part, node: Node) -> Part:
        """The power that stands on the function's name, taken of what it gives."""
        nodes = self.nodes
        at = node.args[0]
        while nodes[at].kind == "prime":
            at = nodes[at].args[0]
        if nodes[at].kind == "function":
            return result
        exponent = self.part(nodes[at].args[1])
        assert isinstance(exponent, Fraction)
        return self.raise_to(self.operand(result, node), exponent, Node("call", "", (), node.start, node.end), True)

    def call_builtin(self, k: int, node: Node, function: Node, primes: int) -> Part:
        """What an elementwise function, a function of the language or an unspecified layer gives."""
        key, definitions = function.value, self.statements.definitions
        name = self.statements.builtin(key)
        count = len(node.args) - 1
        if not name and key not in definitions and self.statements.is_constant(node):
            return self.identity_or_unit(node, key)
        if not count:
            raise ReadingError(f"{key} has no arguments", self.place(node), f"write {key}(x)")
        is_declared = key in definitions or key in self.statements.elementwise
        if is_declared or (key in ELEMENTWISE_NAMES and count == 1) or name in ENTRYWISE:
            if name == "max":
                return self.maximum(node, primes)
            if count != 1:
                raise ReadingError(f"{name or key} takes one argument, and {count} are given", self.place(node), f"write {name or key}(x)")
            return self.entrywise(node, "sigmoid" if key == self.survey.sigmoid else name or key, primes)
        if name:
            if primes:
                hint = "only elementwise functions have a derivative written with a prime"
                raise ReadingError(f"{name}' is not part of the language", self.place(node), hint)
            known = FUNCTIONS.get(name)
            if known is None:
                hint = "call it by a name of your own to treat it as a layer"
                raise ReadingError(f"{name} is not part of the language", self.place(node), hint)
            if count not in known.arities:
                raise self.wrong_count(name, " or ".join(map(str, known.arities)), count, node, f"write {known.usage}")
            return known.read(self, k)
        if primes:
            hint = f"declare {key}: elementwise if it is one"
            raise UnsupportedError(f"the derivative of the layer {key} cannot stand in a composition", self.place(node), hint)
        return self.apply_layer(node, function)

    def wrong_count(self, name: str, wanted: str, count: int, node: Node, hint: str) -> ReadingError:
        """The error for a function with too many or too few arguments."""
        given = "1 is given" if count == 1 else f"{count} are given"
        return ReadingError(f"{name} takes {wanted} argument{'s' if wanted != '1' else ''}, and {given}", self.place(node), hint)

    def apply_layer(self, node: Node, function: Node) -> int:
        """What an unspecified layer gives: a value of open shape."""
        key = function.value
        self.notice_slip(node, function)
        inputs = tuple([self.value_of(self.argument(k), self.nodes[k]) for k in node.args[1:]])
        for value in inputs:
            if self.is_loose(value):
                self.sizes.mark(self.columns[value], USED)
        step = Step("layer", key, inputs)
        known = self.known.get(step)
        if known is not None:
            return known
        return self.put(step, self.sizes.open(LOOSE), self.sizes.open(LOOSE | (LOSS if is_loss(self.statements, key) else 0)), node)

    def entrywise(self, node: Node, name: str, primes: int) -> Part:
        """An elementwise function; logarithms of determinants are one operation."""
        part = self.part(node.args[1])
        inner = self.nodes[node.args[1]]
        if name == "abs" and isinstance(part, Logarithm):
            return part
        operand = part.value if isinstance(part, Logarithm) else self.operand(part, inner)
        name = "log" if name == "ln" else name
        if isinstance(part, Logarithm) and not primes:
            return operand
        if isinstance(operand, Fraction):
            if name in _POSITIVE and (operand < 0 or (name == "log" and operand == 0)):
                raise ReadingError(f"{name} of {operand} is no real number", self.place(node))
            if name == "sqrt" and not primes and operand in (0, 1):
                return operand
        value = self.value_of(operand, inner)
        if name == "sqrt":
            exponent, factor = Fraction(1, 2), ONE
            for _ in range(primes):
                factor, exponent = self.bounded(factor * exponent, node), exponent - 1
            return self.times(factor, self.power_of(value, exponent, node), node)
        return self.apply(name, value, node, primes)

    def maximum(self, node: Node, primes: int) -> int:
        """max(0, z)."""
        arguments = [self.argument(k) for k in node.args[1:]]
        zeros = [k for k, argument in enumerate(arguments) if isinstance(argument, Fraction) and argument == 0]
        if len(arguments) != 2 or not zeros or primes:
            raise ReadingError("max is read as max(0, z) only", self.place(node), "write max(0, z) or relu(z)")
        at = 1 - zeros[0]
        return self.apply("relu", self.value_of(arguments[at], self.nodes[node.args[1 + at]]), node)

    def identity_or_unit(self, node: Node, key: str) -> int:
        """``I(n)`` and ``e(i, n)``."""
        nodes = self.nodes
        size = self.size(node.args[-1])
        if key == "I":
            return self.put(Step("identity", "", ()), size, size, node)
        index = Fraction(nodes[node.args[1]].value)
        text = self.sizes.text(size)
        if index.denominator != 1 or index < 1 or (text.isdecimal() and index > int(text)):
            raise ReadingError(f"e({nodes[node.args[1]].value},{text}) is no unit vector", self.place(node), "the index counts from one")
        return self.put(Step("unit", "", (), (index,)), size, self.sizes.one, node)

    def expand(self, node: Node, key: str) -> Part | Frame:
        """The body of a definition at values, in a frame of its own."""
        nodes = self.nodes
        definition = self.statements.definitions[key]
        parameters = self.statements.parameters_of(definition)
        inputs: list[int] = []
        has_group = False
        for k in node.args[1:]:
            part = self.part(k)
            if isinstance(part, Group):
                inputs += part.members
                has_group = True
            else:
                inputs.append(self.value_of(self.operand(part, nodes[k]), nodes[k]))
        if len(inputs) != len(parameters):
            hint = f"it is defined as {key}({', '.join(parameters)})"
            if has_group:
                hint += "; a group stands for its members, one by one"
            raise self.wrong_count(key, str(len(parameters)), len(inputs), node, hint)
        known = self.known.get((key, tuple(inputs)))
        if known is not None:
            return self.finish_call(known, node)
        return Frame(definition, dict(zip(parameters, inputs, strict=True)), (key, tuple(inputs)), node)

    def slope_of(self, key: str) -> Tape | None:
        """The scalar tape of a definition that is an elementwise function, None of one that is none."""
        known = self.slopes.get(key, ...)
        if known is not ...:
            assert known is None or isinstance(known, Tape)
            return known
        waiting = [key]  # definitions that a definition uses come before it
        nodes = self.nodes
        while waiting:
            top = waiting[-1]
            definition = self.statements.definitions[top]
            missing = [
                node.value
                for node in nodes[definition.low : definition.root + 1]
                if node.kind == "function" and node.value in self.statements.definitions and node.value not in self.slopes
            ]
            if missing and top not in missing:
                waiting += dict.fromkeys(missing)
                continue
            waiting.pop()
            self.slopes[top] = self.scalar_tape(definition) if self.is_entrywise(definition) else None
        return self.slopes[key]

    def is_entrywise(self, definition: Equation) -> bool:
        """Whether a definition makes a number of one number: numbers, constants, elementwise functions, and + - * / ^."""
        nodes = self.nodes
        parameters = self.statements.parameters_of(definition)
        if len(parameters) != 1:
            return False
        used = False
        for k in range(definition.low, definition.root + 1):
            node = nodes[k]
            if node.kind == "name":
                used = used or node.value == parameters[0]
                if node.value != parameters[0] and not (node.value in CONSTANTS and node.value not in self.survey.taken):
                    return False
            elif node.kind == "function":
                key = node.value
                known = self.slopes.get(key) is not None if key in self.statements.definitions else key in self.statements.elementwise
                if not known and key not in ELEMENTWISE_NAMES and self.statements.builtin(key) not in ENTRYWISE:
                    return False
            elif node.kind not in _ENTRYWISE_KINDS or node.value == "⊗":
                return False
        return used

    def scalar_tape(self, definition: Equation) -> Tape:
        """The body of an elementwise function, at a scalar."""
        (parameter,) = self.statements.parameters_of(definition)
        builder = Language(self.statements, self.survey._replace(taken=frozenset({parameter})))
        builder.slopes, builder.flagged = self.slopes, self.flagged
        builder.declared = {}  # of shapes
        builder.leaves, builder.names, builder.values = [parameter], [parameter], {parameter: 0}
        builder.rows, builder.columns = [builder.sizes.one], [builder.sizes.one]
        result = builder.evaluate(definition)
        node = self.nodes[definition.root]
        value = builder.value_of(result, node)
        if value != len(builder.names) - 1 or value == 0:
            builder.known.clear()
            value = builder.put(Step("sum", "", (value,), (ONE,)), builder.sizes.one, builder.sizes.one, node)
        builder.names[value] = parameter * 2  # no step that it is made of is left out
        builder.prune()
        builder.names[-1] = ""
        size = len(builder.names)
        return Tape(1, tuple(builder.names), tuple(builder.steps), (SCALAR,) * size, declared=(True,) * size)

    def find_facts(self) -> tuple[tuple[int, str], ...]:
        """What is declared of values, and the labels that stand in cross-entropies."""
        facts = dict.fromkeys(self.declared_facts())
        for value, fact in facts:
            if fact == "symmetric" and not self.sizes.unify(self.rows[value], self.columns[value]):
                statement = next(
                    s
                    for s in self.program.statements
                    if isinstance(s, Declaration) and self.names[value] in map(self.statements.key, s.names)
                )
                message = f"{self.names[value]} {self.size_words(value)}, and a symmetric matrix is square"
                raise ReadingError(message, self.program.place(statement))
        for value, fact in self.labels:
            if (value, "free") not in facts:
                facts.setdefault((value, fact))
        return tuple(sorted(facts))


_Reader = Callable[[Language, int], Part | Frame]
_READERS: dict[str, _Reader] = {
    "name": Language.read_name,
    "function": Language.read_function,
    "number": Language.read_numeral,
    "add": Language.read_sum,
    "subtract": Language.read_sum,
    "negate": Language.read_negative,
    "product": Language.read_product,
    "divide": Language.read_product,
    "elementwise": Language.read_entries,
    "power": Language.read_power,
    "epower": Language.read_power,
    "transpose": Language.read_transpose,
    "prime": Language.read_transpose,
    "norm": Language.read_norm,
    "absolute": Language.read_absolute,
    "beside": Language.read_beside,
    "row": Language.read_beside,
    "stack": Language.read_below,
    "column": Language.read_below,
    "call": Language.read_call,
    **dict.fromkeys(_FOREIGN, Language.read_foreign),
}
"""The reader of each kind of node."""
