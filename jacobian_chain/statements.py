"""The statements of a composition, sorted: declarations, equations, groups, definitions; what uses what, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property

from jacobian_chain.errors import ReadingError
from jacobian_chain.names import FUNCTION_KEYS
from jacobian_chain.syntax import BOLD_ONE, Declaration, Equation, Node, Program, function_of
from jacobian_chain.tape import Shape

OUTPUT_NAMES = ("f", "y", "z", "g", "h")
"""What the value of a bare expression is called: the first that the text does not use."""

CONSTANTS = frozenset("πe")
"""Names of numbers, where nothing else bears them."""


class Statements:
    """What a text says of its names; no name is bound twice.

    Attributes:
        declared: shapes by name.
        elementwise: functions that are declared elementwise.
        facts: (name, ``symmetric`` | ``label`` | ``free``), in order.
        equations: the equation of each value.
        headers: the arguments written behind an equation's name.
        groups: the equations that name a list of leaves.
        definitions: the equation of each layer that the text both defines and applies.
        bare: the name given to an expression that has none.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.syntax import read_program
    >>> found = Statements(read_program(Source("y = g(x, W); x = h(u); g(v, A) = A v; u: n")))
    >>> found.order, list(found.definitions), found.declared
    (['g(', 'x', 'y'], ['g'], {'u': Shape(rows='n', columns='1')})
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes = program.nodes
        self.declared: dict[str, Shape] = {}
        self.elementwise: set[str] = set()
        self.facts: dict[tuple[str, str], None] = {}
        self.equations: dict[str, Equation] = {}
        self.headers: dict[str, tuple[str, ...]] = {}
        self.groups: dict[str, Equation] = {}
        self.definitions: dict[str, Equation] = {}
        self.bare: str | None = None
        self._sort()

    def _sort(self) -> None:
        program = self.program
        unnamed: list[Equation] = []
        for statement in program.statements:
            if isinstance(statement, Declaration):
                self._declare(statement)
            elif statement.name is None:
                unnamed.append(statement)
            else:
                self._bind(self.key(statement.name), statement, statement.name)
        if len(unnamed) > 1:
            raise ReadingError("two expressions without a name", program.place(unnamed[1]), "give each a name: y1 = …; y2 = …")
        if unnamed:
            taken = {*program.names.spellings, *self.declared}
            self.bare = next(name for name in (*OUTPUT_NAMES, *(f"f{k}" for k in range(len(taken) + 1))) if name not in taken)
            self.equations[self.bare] = unnamed[0]
        if not self.equations:
            statement = program.statements[-1]
            raise ReadingError("there is nothing to derive", program.place(statement), "add an expression such as y = f(x, θ)")

    def _declare(self, statement: Declaration) -> None:
        for i in statement.names:
            key = self.key(i)
            if "elementwise" in statement.facts:
                self.elementwise.add(key)
            self.facts.update({(key, fact): None for fact in statement.facts if fact in ("symmetric", "label", "free")})
            if statement.dimensions is None:
                continue
            shape = Shape(*statement.dimensions)
            if self.declared.get(key, shape) != shape:
                hint = f"it was declared {self.declared[key]} before"
                raise ReadingError(f"{key} is declared twice, with two shapes", self.program.tokens.place(i), hint)
            self.declared[key] = shape

    def _bind(self, key: str, statement: Equation, token: int) -> None:
        """Sort an equation whose name stands at a token."""
        place, names = self.program.tokens.place, self.program.names
        is_applied = statement.parameters is not None and (key in names.applied or key in self._applied)
        is_definition = is_applied and key not in names.values
        previous = self.definitions.get(key) if is_definition else self.equations.get(key) or self.groups.get(key)
        if previous is not None and previous.name is not None:
            first = place(previous.name)
            hint = f"it is already defined at line {first.line}, column {first.column}; every name has one definition"
            raise ReadingError(f"{key} is defined twice", place(token), hint)
        if is_definition:
            self.definitions[key] = statement
            return
        if is_applied:
            hint = f"{key} is applied in one place and stands alone in another; give the layer or the value another name"
            raise ReadingError(f"{key} is both a layer with a definition and a value", place(token), hint)
        if statement.parameters is not None:
            self.headers[key] = self.parameters_of(statement)
        if self.nodes[statement.root].kind == "tuple":
            self.groups[key] = statement
        else:
            self.equations[key] = statement

    @cached_property
    def _applied(self) -> set[str]:
        """Functions that are applied, with brackets or without."""
        return {self.nodes[function_of(self.nodes, node.args[0])].value for node in self.nodes if node.kind == "call"}

    def key(self, token: int) -> str:
        """The name that a token is."""
        return self.program.tokens.spelling(token).key

    def parameters_of(self, equation: Equation) -> tuple[str, ...]:
        """The arguments that are written behind an equation's name."""
        return tuple([self.key(i) for i in equation.parameters or ()])

    def builtin(self, key: str) -> str:
        """The language's function that a key means, empty if it means none."""
        return "" if key in self.definitions or key in self.elementwise else FUNCTION_KEYS.get(key, "")

    def is_constant(self, node: Node) -> bool:
        """Whether a call is ``I(n)`` or ``e(i, n)``, with a size that is no value."""
        function, *arguments = [self.nodes[k] for k in node.args]
        if function.kind != "function" or any(argument.kind == "name" and argument.value in self.taken for argument in arguments):
            return False
        if function.value == "I":
            return len(arguments) == 1 and arguments[0].kind in ("number", "name")
        is_unit = function.value == "e" and len(arguments) == 2 and arguments[0].kind == "number"
        return is_unit and arguments[1].kind in ("number", "name")

    @property
    def is_nested(self) -> bool:
        """Whether the text is one expression rather than equations."""
        return len(self.equations) == 1 and not self.groups and (self.bare is not None or bool(self.headers))

    @cached_property
    def taken(self) -> frozenset[str]:
        """Names that the text declares, defines, or has as arguments or members of groups."""
        taken = {*self.declared, *self.equations, *self.groups}
        for parameters in self.headers.values():
            taken.update(parameters)
        for equation in self.groups.values():
            taken.update(self.nodes[k].value for k in self.nodes[equation.root].args)
        return frozenset(taken)

    @cached_property
    def sizes(self) -> frozenset[str]:
        """Names of sizes in the declarations."""
        return frozenset(size for shape in self.declared.values() for size in shape if not size.isdecimal())

    def builtin_values(self, sizes: Collection[str] = ()) -> set[str]:
        """Names that are a constant, the identity, a column of ones or one of the sizes, as nothing else bears them."""
        ones = [key for key in self.program.names.values if key[:1] == BOLD_ONE]
        return {*CONSTANTS, "I", *self.sizes, *sizes, *ones} - self.taken

    @cached_property
    def names_in(self) -> dict[str, list[str]]:
        """The names in each equation and definition, in order."""
        nodes = self.nodes
        every = [*self.equations.items(), *((f"{name}(", equation) for name, equation in self.definitions.items())]
        return {name: [node.value for node in nodes[low : root + 1] if node.kind == "name"] for name, (_, _, low, root, _, _) in every}

    def used_names(self, names: Iterable[str], hidden: frozenset[int] = frozenset()) -> list[str]:
        """The names in the equations and definitions of these names, in order, but for hidden nodes and for a definition's arguments."""
        used: list[str] = []
        for name in names:
            found = self.names_in[name]
            equation = self.equation_of(name)
            places = range(equation.low, equation.root + 1)
            if hidden and not hidden.isdisjoint(places):
                found = [self.nodes[k].value for k in places if self.nodes[k].kind == "name" and k not in hidden]
            own = self.parameters_of(equation) if name[-1] == "(" else ()
            used += [key for key in found if key not in own] if own else found
        return used

    # --- order ---

    def equation_of(self, name: str) -> Equation:
        """The equation of a name; that of a definition bears a bracket, as functions are apart from values."""
        return self.definitions[name[:-1]] if name[-1] == "(" else self.equations[name]

    @cached_property
    def order(self) -> list[str]:
        """Names of the equations and definitions, each after those that it uses.

        Raises:
            ReadingError: a name depends on itself.
        """
        uses = self.uses()
        done: dict[str, bool] = {}  # False while its uses are being ordered
        order: list[str] = []
        for name in uses:
            stack = [name]
            while stack:
                top = stack[-1]
                if done.get(top) is None:
                    done[top] = False
                    for used in reversed(uses[top]):
                        if done.get(used) is None:
                            stack.append(used)
                        elif done[used] is False:
                            self._refuse_cycle(used, uses)
                else:
                    stack.pop()
                    if done[top] is False:
                        done[top] = True
                        order.append(top)
        return order

    def uses(self) -> dict[str, list[str]]:
        """The equations and definitions that each of them uses."""
        equations, definitions = self.equations, self.definitions
        if not definitions:
            return {name: [key for key in used if key in equations] for name, used in self.names_in.items()}
        uses: dict[str, list[str]] = {}
        for name in self.names_in:
            equation = self.equation_of(name)
            own = self.parameters_of(equation) if name[-1] == "(" else ()
            found: list[str] = []
            for node in self.nodes[equation.low : equation.root + 1]:
                if node.kind == "name" and node.value in equations and node.value not in own:
                    found.append(node.value)
                elif node.kind == "function" and node.value in definitions:
                    found.append(f"{node.value}(")
            uses[name] = found
        return uses

    def _refuse_cycle(self, name: str, uses: dict[str, list[str]]) -> None:
        """Raise the error for a name that depends on itself, with the cycle written out."""
        before: dict[str, str] = {}
        queue = [name]
        for current in queue:
            for used in uses[current]:
                if used not in before:
                    before[used] = current
                    queue.append(used)
        cycle = [name, before[name]]
        while cycle[-1] != name:
            cycle.append(before[cycle[-1]])
        cycle.reverse()
        cycle = [step.rstrip("(") for step in cycle]
        shown = cycle if len(cycle) < 12 else [*cycle[:6], "…", *cycle[-3:]]
        hint = "equations may stand in any order, but not use each other in a circle"
        if len(cycle) == 2:
            hint = f"name the new value differently, such as {name}_2"
        key = name.rstrip("(")
        if name != key:
            hint = "a definition may use others, but not itself"
        raise ReadingError(f"{key} depends on itself: {' ← '.join(shown)}", self.program.place(self.equation_of(name)), hint)
