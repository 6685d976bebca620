r"""A person's text of an answer through concrete layers to formulas over the composition.

The text is read by the grammar of compositions; what is new here is what differentiates, ``\frac{\partial L}{\partial W}``, ``\nabla_W L``,
``dZ``, ``\bar v``, and what speaks of entries, ``\sum_i``, ``W_{ij}``, ``\delta_{ij}``. Names are the composition's own first, then those
that ``--where`` and the answer's earlier lines explain. Shapes decide nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, Source, UnsupportedError, list_names, suggest
from jacobian_chain.expressions import Derivative, Expressions, Solution, Statement, Target
from jacobian_chain.listing import Words, is_code, read_code
from jacobian_chain.names import ELEMENTWISE_NAMES, FUNCTION_KEYS, Names, read_key, superscript_at
from jacobian_chain.numeric import symbols_of
from jacobian_chain.select import WORDS
from jacobian_chain.survey import DIRECTIONS, ENTRYWISE
from jacobian_chain.syntax import (
    BOLD_ONE,
    Chain,
    Link,
    Node,
    Program,
    function_of,
    is_balanced,
    name_ones,
    read_chains,
    read_expression,
    substitute,
)
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import Spelling, Tokens, spell, split_names, tokenize
from jacobian_chain.wording import blank_left_side, find_formulas, split_superscripts, split_tokens

MACRON = "\N{COMBINING MACRON}"

SIGNS = {"∂": "∂", "d": "d", "∇": "∇", "J": "J", "D": "J"}
"""Letters that differentiate what follows them, where the composition has no such name."""

MAX_NODES = 20_000
"""Most nodes of an answer."""

MAX_STEPS = 100
"""Most values of an index over which names run, as in Σ_t with h^{(t)}."""

INDEX = re.compile(r"[a-zα-ωℓ]'?|[0-9]+")
"""One index of an entry."""

_UPRIGHT = re.compile(r"\\(?:mathrm|rm|text|mathsf|operatorname)\s*\{?\s*$")
"""What stands before a d that is no italic letter."""

OTHER_NAMES = {
    "trace": "tr", "determinant": "det", "norm": "norm", "relu": "relu", "softmax": "softmax", "sigmoid": "sigmoid", "sgn": "sign",
    "logistic": "sigmoid", "expit": "sigmoid", "rowsum": "rowsum", "colsum": "colsum", "columnsum": "colsum",
    "rowsums": "rowsum", "colsums": "colsum", "t": "transpose", "transpose": "transpose", "inv": "inverse", "inverse": "inverse",
    "outer": "outer", "dot": "dot", "crossprod": "crossprod", "tcrossprod": "outer", "avg": "mean", "average": "mean", "square": "square",
}  # fmt: skip
"""Further names of functions, in lower case, and what they mean in answers."""

_ONE_ARGUMENT = {"transpose": "transpose", "inverse": "inverse", "norm": "norm"}


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


class _Differential(NamedTuple):
    """∂ or d with what follows it: a node, or where it is one word with it a name; neither if nothing does."""

    sign: str
    node: int = -1
    name: Spelling | None = None


class _Operator(NamedTuple):
    r"""``\frac{\partial}{\partial x}``, which differentiates what follows."""

    below: _Differential


class _Big(NamedTuple):
    r"""``\sum_{i=1}^{n}``, which adds up what follows, or ``\prod``, which multiplies it."""

    letter: str
    low: str
    high: str
    multiplies: bool = False


class _Compare(NamedTuple):
    """Two sides of a relation."""

    sign: str
    left: int
    right: int


_Outcome = int | _Differential | _Operator | _Big | _Compare | ReadingError | None
_Operand = tuple[tuple[int, ...], bool, bool, tuple[str | int, ...]]
"""What is differentiated or differentiated by: values, whether on ``vec``, whether transposed, and the indices of one entry."""

_SPINE = frozenset({"product", "divide"})


def read_solution(source: Source, scope: Scope, where: Sequence[str] = (), narrow: bool = False) -> Solution:
    r"""An answer as formulas.

    Args:
        source: the text.
        scope: the composition's names.
        where: lines ``name = meaning`` for names that the composition does not have.
        narrow: whether a function without brackets takes the first factor behind it and not the whole product.

    Raises:
        ReadingError: a name that nobody knows, a form that cannot be read.
        LimitError: it is too long.

    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("z = W x + b; h = tanh(z); L = l(h); L: scalar")).tape
    >>> scope = Scope(tape, tape.index("L"), [tape.index("W")], lambda solution, root: None)
    >>> solution = read_solution(Source(r"(\frac{\partial L}{\partial h} \odot (1 - h^2)) x^T"), scope)
    >>> [atom.sign for atom in solution.atoms], solution.formulas.nodes[solution.statements[0].links[0]].kind
    (['∂'], 'product')
    """
    reader = _Reader(scope, narrow)
    for line in where:
        reader.read_where(line)
    return reader.read(source)


class _Reader:
    """Reads the lines of ``--where`` and the answer into one list of formulas."""

    def __init__(self, scope: Scope, narrow: bool = False) -> None:
        self.scope = scope
        self.narrow = narrow
        self.could_narrow = False
        self.tape = scope.tape
        self.formulas = Expressions()
        self.meanings: dict[str, int] = {}  # names that are explained, and their formulas
        self.aliases: dict[str, str] = {}  # names that are explained as a function or layer
        self.forms: list[tuple[Tokens, Spelling]] = []
        self.atoms: list[Derivative] = []
        self.notes: dict[str, None] = {}
        self.spellings: dict[int, Spelling] = {}
        self.called: dict[str, Spelling] = {}
        self.steps: dict[str, int] = {}  # what an index over names is at the moment
        self.recognised: set[str] = set()  # names that mean something though nobody explains them
        self.multiplying: set[str] = set()  # names that multiply what follows them in brackets
        self.in_where = False
        self.source = Source("")
        self.program = Program(tokenize(Source("")), (), [], Names())
        self.nodes: list[Node] = []
        self.outcomes: list[_Outcome] = []
        self.internal = bytearray()
        self.left = False

    # --- texts ---

    def read_where(self, line: str) -> None:
        """Bind the name left of the first '=' to what stands right of it."""
        source = Source(line, "--where")
        head, sign, body = line.partition("=")
        if not sign or not head.strip() or not body.strip():
            raise ReadingError("expected name = meaning", Place(source, 0, max(1, len(line))), "write delta_2 = dL/dz2, or h_t = h2")
        name = self.name_alias(head, source)
        function = self.lone_function(body)
        if function:
            self.aliases[name.key] = function
            self.called[function] = name
            return
        self.in_where = True
        shifted = Source(" " * (len(head) + 1) + body, "--where")
        program = read_expression(shifted, *self.known_names(), self.rewrite)
        (root,) = self.resolve(program, [Link(0, len(program.nodes) - 1, 0, len(program.tokens.kinds))])
        self.bind(name, root)
        self.in_where = False

    def name_alias(self, head: str, source: Source) -> Spelling:
        """The name that a line explains, which may look like anything."""
        form = name_ones(tokenize(Source(head, source.name)))
        if "name" not in form.kinds or not is_balanced(form.kinds):
            raise ReadingError("expected a name before '='", Place(source, 0, max(1, len(head))), "write delta_2 = dL/dz2, or h_t = h2")
        key = form.spelling(0).key if form.kinds == ["name"] else read_key(head, source.name)
        if form.kinds == ["name"]:
            return form.spelling(0)
        raised = superscript_at(form, 0, len(form.kinds)) if form.kinds[:2] == ["name", "^"] else None
        if raised is not None and raised.end == len(form.kinds):
            name = raised.raise_on(form.spelling(0))
        else:
            name = spell(key) if key is not None else Spelling(head.strip(), head.strip())
        self.forms.append((form, name))
        self.forms.sort(key=lambda alias: -len(alias[0].kinds))
        return name

    def lone_function(self, text: str) -> str:
        """The function that a text is the name of, empty if it is none."""
        key = read_key(text.strip())
        return "" if key is None or self.find_name(spell(key)) is not None else self.find_function(spell(key))

    def bind(self, name: Spelling, index: int) -> None:
        """Give a name the meaning of a node."""
        root = self.formula(index)
        expression = self.formulas.nodes[root]
        if name.key in self.scope.values and (expression.kind, expression.value) != ("value", self.scope.values[name.key]):
            place = Place(self.source, 0, 1)
            hint = "--where explains names that have no meaning yet"
            raise ReadingError(f"{name.key} is a name of the composition", place, hint)
        self.meanings[name.key] = root
        if expression.kind == "value":
            assert isinstance(expression.value, int)
            self.spellings.setdefault(expression.value, name)

    def known_names(self) -> tuple[set[str], set[str], set[str]]:
        """Values, layers and other names, as the grammar wants them: what is a value and a layer may be applied."""
        scope = self.scope
        layers = {*scope.layers, *scope.functions, *self.aliases}
        self.multiplying.update({*scope.values, *self.meanings, *scope.sizes, "I"}.difference(self.aliases))
        return self.multiplying, layers, self.recognised

    def rewrite(self, tokens: Tokens) -> Tokens:
        """Words taken apart into names, bold ones named."""
        tokens = split_superscripts(split_tokens(name_ones(tokens), self.is_known), self.has_meaning)
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
                is_entry = self.find_entry(form) is not None or (form.base in ("δ", "e") and _indices(form.suffix) != ())
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
            name = _resuffix(key) if key[:1] in ("∇", "∂") else spell(key)
        if name.base in ("∇", "∂", "J", "D") and name.suffix and not self.has_meaning(name.base):
            below = read_key(name.suffix)
            return below is None or self.find_name(_resuffix(below)) is not None or below in scope.groups
        return self.find_adjoint(name) is not None

    def read(self, source: Source) -> Solution:
        """The answer."""
        if is_code(source.text):
            return self.read_listing(source)
        text, notices = find_formulas(source.text, self.is_known)
        self.source = Source(text, source.name)
        program, chains = self.parse(notices)
        if len(program.nodes) > MAX_NODES:
            raise LimitError(f"the answer has {len(program.nodes):,} parts; the limit is {MAX_NODES:,}")
        for notice in (*notices, *program.notices):
            self.notes.setdefault(notice.message)
        present = program.names.spellings
        self.spellings = {value: name for value, name in self.spellings.items() if name.key in present}
        self.called = {function: name for function, name in self.called.items() if name.key in present}
        done = {k: self.read_chain(program, chains[k]) for k in self.order(program, chains)}
        return self.finish(source.text, tuple(done[k] for k in range(len(chains))))

    def parse(self, notices: list[Notice]) -> tuple[Program, tuple[Chain, ...]]:
        """The lines of the text; a left side that is no formula is a mere label."""
        while True:
            values, layers, known = self.known_names()
            try:
                return read_chains(self.source, values, layers, known, (), self.rewrite, len(self.scope.by) == 1)
            except ReadingError as error:
                rest = None if error.place is None else blank_left_side(self.source.text, error.place.start)
                if rest is None:
                    raise
                label = self.source.text[: error.place.start].rpartition("\n")[2] if error.place is not None else ""
                notices.append(Notice(f"the left side that begins with {label.strip()} is taken as a mere label"))
                self.source = Source(rest, self.source.name)

    def read_listing(self, source: Source) -> Solution:
        """An answer in Python."""
        self.source = source
        self.notes.setdefault("read as code: * and / go entry by entry, @ and dot are matrix products")
        found = read_code(source, self.formulas, Words(self.read_code_name, self.find_code_function, self.find_code_size))
        statements = []
        for name, root in found:
            target = self.lone_target(spell(*name.split("_", 1))) if name else None
            statements.append(Statement(target, name, (root,)))
        return self.finish(source.text, tuple(statements), frozenset({"numpy"}))

    def read_code_name(self, text: str, start: int, end: int) -> int:
        """A name in code."""
        tokens = self.rewrite(tokenize(Source(text)))
        if tokens.kinds != ["name"]:
            raise ReadingError(f"{text} is no name of the composition", Place(self.source, start, end))
        self.program = Program(Tokens(self.source, tokens.kinds, tokens.values, [start], [end]), (), [], Names())
        return self.read_name(Node("name", tokens.spelling(0).key, (), 0, 1))

    def find_code_function(self, text: str) -> tuple[str, int]:
        """The elementwise function that a name in code means, and which derivative of it: ``sigma_prime``, ``d_tanh``."""
        order = 0
        match = re.fullmatch(r"(?:d_)?(.+?)(?:_prime|_?deriv(?:ative)?|_grad|Prime|_d)?", text)
        if match is not None and match[1] != text:
            text, order = match[1], 1
        function = self.find_function(spell(text))
        if function in self.scope.functions or function in ENTRYWISE:
            return "log" if function == "ln" else function, order
        return "", 0

    def find_code_size(self, text: str, axis: int | None) -> str:
        """The size of an array in code: its rows, its columns or (with no axis) all its entries."""
        value = self.value_of(self.find_name(spell(text)))
        if value is None:
            return ""
        rows, columns = self.tape.shapes[value]
        return (rows if columns == "1" else f"{rows}*{columns}") if axis is None else (rows, columns)[axis]

    def order(self, program: Program, chains: Sequence[Chain]) -> list[int]:
        """The lines in an order in which names are explained before their use, as far as there is one."""
        heads = {program.tokens.spelling(chain.name).key: k for k, chain in enumerate(chains) if chain.name is not None}
        for key in (*self.scope.values, *self.meanings):
            heads.pop(key, None)
        order: dict[int, None] = {}
        stack = list(range(len(chains)))[::-1]
        opened: set[int] = set()
        while stack:
            k = stack[-1]
            links = chains[k].links[chains[k].name is not None :]
            used = {heads.get(program.nodes[n].value, k) for link in links for n in range(link.low, link.root + 1)}
            waiting = used - order.keys() - opened - {k}
            opened.add(k)
            if waiting:
                stack += sorted(waiting, reverse=True)
            else:
                stack.pop()
                order.setdefault(k)
        return list(order)

    def finish(self, text: str, statements: tuple[Statement, ...], readings: frozenset[str] = frozenset()) -> Solution:
        """What was read so far, as a solution."""
        notes = tuple(self.notes)
        atoms = tuple(self.atoms)
        return Solution(self.tape, self.formulas, atoms, statements, self.spellings, self.called, text, notes, readings, self.could_narrow)

    def read_chain(self, program: Program, chain: Chain) -> Statement:
        links = list(chain.links)
        target: Target | None = None
        name: Spelling | None = None
        if chain.name is not None:
            name = program.tokens.spelling(chain.name)
            target = self.lone_target(name)
            links = links[1:]
        elif len(links) > 1:
            target = self.read_target(program, links[0])
            links = links[1:]
        roots = [self.formula(index) for index in self.resolve(program, links)]
        if target is not None and target.indices and all(isinstance(index, str) for index in target.indices):
            roots = [self.as_components(root, target.indices) for root in roots]
        else:
            roots = [self.close(root) for root in roots]
        is_known = name is not None and (name.key in self.scope.values or name.key in self.meanings)
        if name is not None and not is_known:
            if target is None:
                self.meanings[name.key] = self.formulas.add("name", (roots[-1],), name)
            else:
                self.meanings[name.key] = self.formulas.add("name", (roots[-1],), name)
        elif name is not None and target is None:
            self.notes.setdefault(f"the left side {name.key} is taken as a mere label")
        return Statement(target, "" if name is None else name.key, tuple(roots))

    def as_components(self, root: int, indices: Sequence[str | int]) -> int:
        """The array whose entries a formula gives."""
        node = self.formulas.nodes[root]
        return self.formulas.add("components", (root,), tuple(indices), node.start, node.end)

    def close(self, root: int) -> int:
        """A formula that speaks of entries, without a left side that says which: the array of all of them."""
        free = self.free_indices(root)
        if not free:
            return root
        if len(free) > 2:
            node = self.formulas.nodes[root]
            place = Place(self.source, max(node.start, 0), max(node.end, 1))
            raise ReadingError(f"what do the indices {', '.join(free)} run over?", place, "write the left side with its indices")
        self.notes.setdefault(f"{' and '.join(free)} {'is' if len(free) == 1 else 'are'} read as the index of all entries")
        return self.as_components(root, tuple(free))

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

    # --- left sides ---

    def lone_target(self, name: Spelling) -> Target | None:
        """What a single name left of ``=`` is the derivative of: δ, dW, W̄."""
        root = self.meanings.get(name.key)
        if root is None and name.key not in self.scope.values:
            root = self.adjoint(name)
        if root is None:
            return None
        return self.target_of(root)

    def target_of(self, root: int) -> Target | None:
        """The derivative that a formula is, if it is one."""
        nodes = self.formulas.nodes
        transposed = False
        while nodes[root].kind in ("transpose", "name"):
            transposed ^= nodes[root].kind == "transpose"
            root = nodes[root].args[0]
        if nodes[root].kind == "entry":
            inner = self.target_of(nodes[root].args[0])
            indices = nodes[root].value
            assert isinstance(indices, tuple)
            return None if inner is None else inner._replace(indices=indices)
        if nodes[root].kind != "derivative":
            return None
        number = nodes[root].value
        assert isinstance(number, int)
        atom = self.atoms[number]
        return Target(atom.of, atom.by, transposed, atom.on_vec)

    def read_target(self, program: Program, link: Link) -> Target | None:
        """What a left side names; None, with a note, if it is nothing that can be read."""
        self.left = True
        try:
            (index,) = self.resolve(program, [link])
            target = self.target_of(self.formula(index))
        except ReadingError as error:
            target = None
            message = f": {error.message}"
        else:
            message = ""
        finally:
            self.left = False
        if target is None:
            shown = program.place(link)
            self.notes.setdefault(f"the left side {shown.source.text[shown.start : shown.end]} is taken as a mere label{message}")
        return target

    # --- nodes ---

    def resolve(self, program: Program, links: Sequence[Link]) -> list[int]:
        """The roots of some sides, every node below them understood as far as it can be by itself."""
        nodes = program.nodes
        if program is not self.program:
            self.program, self.nodes = program, nodes
            self.source = program.tokens.source
            self.outcomes = [None] * len(nodes)
            self.internal = bytearray(len(nodes))
            for node in nodes:
                if (node.kind in _SPINE and node.value != r"\frac") or node.kind in ("add", "subtract", "elementwise"):
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

    def build(self, index: int) -> _Outcome:
        node = self.nodes[index]
        if node.kind == "dots":
            hint = "write the terms out, or two terms around the dots that differ in their indices only"
            raise UnsupportedError("what do these dots stand for?", self.program.place(node), hint)
        return _BUILDERS[node.kind](self, index, node)

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
        if isinstance(outcome, _Differential) and outcome.sign == "d" and self.tape.shapes[self.scope.of].is_scalar:
            (value,), _, turned, indices = self.operand(outcome)  # dW as two words
            root = self.atom(Derivative("bar", self.scope.of, (value,), ("total",)), *self.span(node))
            root = self.add("transpose", (root,), node) if turned else root
            return self.add("entry", (root,), node, indices) if indices else root
        if isinstance(outcome, _Differential | _Operator):
            hint = r"write \frac{\partial y}{\partial x} or ∂y/∂x"
            raise ReadingError("a differential by itself is no derivative", self.program.place(node), hint)
        if isinstance(outcome, _Big):
            raise ReadingError("there is nothing to add up", self.program.place(node))
        if isinstance(outcome, _Compare):
            return self.indicate(outcome, node)
        if node.kind in ("name", "function"):
            return self.read_name(node)
        raise ReadingError("this is no formula", self.program.place(node))

    def spelling(self, node: Node) -> Spelling:
        token = self.program.tokens.values[node.start]
        if isinstance(token, Spelling) and token.key == node.value:
            return token
        return self.program.names.spellings.get(node.value) or spell(node.value)

    # --- names ---

    def build_name(self, _index: int, node: Node) -> _Outcome:
        name = self.spelling(node)
        if self.is_big(name) and (name.suffix or node.kind == "name"):
            return _big(name.suffix)._replace(multiplies=name.base in ("prod", "Π"))
        return None

    def is_big(self, name: Spelling) -> bool:
        """Whether a name is a sign of a sum or product over an index."""
        is_greek = name.base in ("Σ", "Π") and name.suffix != "" and not self.has_meaning(name.base)
        return (name.base in ("sum", "prod") or is_greek) and not self.has_meaning(name.key)

    def has_meaning(self, key: str) -> bool:
        return key in self.scope.values or key in self.meanings

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
            if re.search("[<>=]", size):
                return None
            return "ones", size if self.is_size(size) else ""
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
        if name.accent.endswith(MACRON):
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

    def adjoint(self, name: Spelling) -> int | None:
        """The derivative of the output by the value that a name such as dW or W̄ shows."""
        value = self.find_adjoint(name)
        if value is None or not self.tape.shapes[self.scope.of].is_scalar:
            return None
        of, by = self.tape.names[self.scope.of] or "the output", self.tape.names[value]
        self.notes.setdefault(f"{name.key} is read as the derivative of {of} by {by}")
        return self.atom(Derivative("bar", self.scope.of, (value,), ("total",)), -1, -1)

    def find_entry(self, name: Spelling) -> tuple[Spelling, tuple[str | int, ...]] | None:
        """The array and the indices that a name such as ``W_{ij}``, ``a^{(2)}_k`` or ``x_j^{(i)}`` shows, None if it is no entry."""
        stem = Spelling(name.base + name.accent, name.base, name.accent)
        lower = [group for group in name.suffix.split(",") if group]
        groups = [*lower, name.upper] if name.upper else lower
        for own, rest in [([name.upper], lower), *((groups[:k], groups[k:]) for k in range(len(groups) - 1, 0, -1))]:
            indices = _indices(",".join(rest))
            if not own[0] or not indices:
                continue
            for base in (name.base, name.base.upper()):  # the first may be the name's, as in a^{(2)}_k and y_{pred,i}
                numbered = Spelling(base + name.accent + ",".join(own), base, name.accent, ",".join(own))
                if self.is_array(numbered):
                    return numbered, indices
        if name.upper and not name.upper.isdecimal():
            groups = [groups[-1], *groups[:-1]]  # the number of a sample stands first
        indices = _indices(",".join(groups)) if groups else ()
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

    def entry(self, name: Spelling, node: Node) -> int | None:
        """An entry ``W_{ij}`` of an array that has a name, Kronecker's δ, or a unit column."""
        found = self.find_entry(name)
        if found is None:
            indices = _indices(name.suffix)
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
            return "sigmoid" if key == "σ" and "sigmoid" in scope.applied else key
        if key not in scope.values:
            return OTHER_NAMES.get(key.lower(), "") or (key.lower() if key.lower() in FUNCTION_KEYS else "")
        return ""

    # --- numbers, sums, signs ---

    def build_number(self, _index: int, node: Node) -> _Outcome:
        _, _, exponent = node.value.lower().partition("e")
        if len(node.value) > 40 or len(exponent) > 3:
            raise ReadingError("this number is too long", self.program.place(node), "up to 40 digits, and exponents up to 99")
        return self.add("number", (), node, Fraction(node.value))

    def build_negate(self, _index: int, node: Node) -> _Outcome:
        return self.add("negate", (self.formula(node.args[0]),), node)

    def build_sum(self, index: int, _node: Node) -> _Outcome:
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

    def build_power(self, _index: int, node: Node) -> _Outcome:
        base, above = (self.nodes[arg] for arg in node.args)
        outcome = self.outcomes[node.args[0]]
        if isinstance(outcome, _Big):
            return outcome._replace(high=self.typed(above).strip("{} "))
        if self.is_sign(base):
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

    def build_transpose(self, _index: int, node: Node) -> _Outcome:
        inner = self.nodes[node.args[0]]
        if inner.kind == "number" and inner.value == "1":
            return self.add("transpose", (self.add("ones", (), inner, ""),), node)
        root = self.formula(node.args[0])
        if node.value == "-":
            root = self.add("inverse", (root,), node)
        return self.add("transpose", (root,), node)

    def build_prime(self, index: int, node: Node) -> _Outcome:
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

    def build_norm(self, _index: int, node: Node) -> _Outcome:
        return self.add("norm", (self.formula(node.args[0]),), node, node.value)

    def build_bars(self, _index: int, node: Node) -> _Outcome:
        return self.add("bars", (self.formula(node.args[0]),), node)

    def build_index(self, _index: int, node: Node) -> _Outcome:
        inner = self.nodes[node.args[0]]
        if inner.kind == "number" and inner.value == "1" and self.is_size(node.value):
            return self.add("ones", (), node, node.value)
        if inner.kind == "number" and inner.value == "1" and re.search("[<>=]", node.value):
            return self.read_inline(node.value, node)
        indices = _indices(node.value)
        if not indices:
            raise ReadingError(f"expected indices, found {node.value!r}", self.program.place(node), "write (A x)_i or (A B)_{ij}")
        return self.add("entry", (self.formula(node.args[0]),), node, indices)

    def build_compare(self, _index: int, node: Node) -> _Outcome:
        return _Compare(node.value, node.args[0], node.args[1])

    def indicate(self, compare: _Compare, node: Node) -> int:
        """1 where a relation holds, else 0."""
        if compare.sign == "=":
            left, right = self.nodes[compare.left], self.nodes[compare.right]
            indices = _indices(f"{self.typed(left).strip()},{self.typed(right).strip()}")
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

    # --- blocks ---

    def build_row(self, _index: int, node: Node) -> _Outcome:
        if len(node.args) == 1:
            return self.formula(node.args[0])
        return self.add("beside", [self.formula(arg) for arg in node.args], node)

    def build_column(self, _index: int, node: Node) -> _Outcome:
        return self.add("below", [self.formula(arg) for arg in node.args], node)

    def build_tuple(self, _index: int, node: Node) -> _Outcome:
        if len(node.args) == 2 and self.typed(node).lstrip().startswith((r"\langle", "⟨", r"\left\langle")):
            left, right = (self.formula(arg) for arg in node.args)
            return self.add("product", (self.add("transpose", (left,), node), right), node, ("",))
        return self.build_row(_index, node)

    def build_at(self, _index: int, node: Node) -> _Outcome:
        inner = self.formula(node.args[0])
        self.notes.setdefault(f"the point {node.value} below the bar is that of the composition")
        return inner

    # --- calls ---

    def build_call(self, _index: int, node: Node) -> _Outcome:
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
        is_spine = argument.kind in _SPINE and argument.value != r"\frac" and not argument.bracketed
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

    def sign_call(self, sign: Node, arguments: Sequence[int], node: Node) -> _Outcome:
        """``∂(u ⊙ v)``, ``∇(x^T A x)``, ``J(f)``."""
        kind, by = self.read_sign(sign)
        if kind in ("∂", "d") and by is None:
            return _Differential(kind, arguments[0])
        if len(arguments) > 1:
            raise UnsupportedError("the derivative of several values at once cannot be read here", self.program.place(node))
        return self.differentiate(kind, arguments[0], by, node)

    def apply(self, name: Spelling, function: Node, arguments: Sequence[int], primes: int, node: Node) -> _Outcome:
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
        if name.key[:1] == BOLD_ONE and isinstance(outcome, _Compare):
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

    # --- products ---

    def build_elementwise(self, index: int, _node: Node) -> _Outcome:
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

    def build_spine(self, index: int, node: Node) -> _Outcome:
        """A product, with fractions and operators found in it."""
        if node.kind == "divide" and node.value == r"\frac":
            return self.build_fraction(node)
        return self.multiply(self.items_of(index), node)

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

    def multiply(self, items: Sequence[tuple[str, int]], node: Node) -> _Outcome:
        """The factors of a product, each with the sign before it."""
        units: list[tuple[str, _Outcome, int, int]] = []  # sign, outcome, first and last node
        i = 0
        while i < len(items):
            sign, index = items[i]
            outcome = self.outcomes[index]
            if isinstance(outcome, _Big):
                units.append((sign, self.add_up(outcome, items[i + 1 :], node), index, items[-1][1]))
                break
            before = units[-1] if units else None
            unit, stop = self.unit(items, i, before is not None and isinstance(before[1], _Differential))
            if before is not None and isinstance(before[1], _Differential) and sign == "/" and isinstance(unit, _Differential):
                span = Node("divide", "", (), self.nodes[before[2]].start, self.nodes[items[stop - 1][1]].end)
                outcome = self.fraction(before[1], unit, span)
                if isinstance(outcome, _Operator) and stop < len(items):
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

    def force(self, outcome: _Outcome, index: int) -> int:
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

    def is_size_node(self, index: int) -> bool:
        """Whether a node is made of sizes alone."""
        inside = [self.nodes[k] for k in range(self.low_of(index), index + 1)]
        return all(one.kind in ("name", "number", "product", "add") for one in inside) and all(
            one.value in self.scope.sizes for one in inside if one.kind == "name"
        )

    def is_indicator(self, index: int) -> bool:
        """Whether a node says where a relation holds, as behind a bold 1."""
        outcome = self.outcomes[index]
        return isinstance(outcome, _Compare) or (isinstance(outcome, int) and self.formulas.nodes[outcome].kind in ("indicator", "delta"))

    def is_ones(self, index: int) -> bool:
        node = self.nodes[index]
        return node.kind in ("name", "number") and node.value[:1] == BOLD_ONE

    def is_applied(self, before: tuple[str, _Outcome, int, int], index: int) -> bool:
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

    def unit(self, items: Sequence[tuple[str, int]], i: int, after: bool) -> tuple[_Outcome, int]:
        """The factor that begins at an item, and the item behind it; ``after`` says whether it stands after a differential."""
        index = items[i][1]
        node, outcome = self.nodes[index], self.outcomes[index]
        following = items[i + 1][1] if i + 1 < len(items) and items[i + 1][0] == "" else -1
        sign_node = self.nodes[node.args[0]] if node.kind == "transpose" and not node.bracketed else node
        if self.is_sign(sign_node) and not node.bracketed:
            sign, by = self.read_sign(sign_node)
            if by is None and sign in ("∂", "d") and (sign == "∂" or self.is_differential_sign(items, i, after)):
                return _Differential(sign, following), i + 1 + (following >= 0)
            if following >= 0 and (by is not None or sign == "∇"):
                span = Node("product", "", (), node.start, self.nodes[following].end)
                root = self.differentiate(sign, following, by, span)
                if node.kind == "transpose":
                    root = self.formulas.add("transpose", (root,), None, *self.span(span))
                return root, i + 2
            if by is not None and sign == "∇":
                return self.total(sign, self.scope.of, by, node), i + 1
        if isinstance(outcome, _Operator) and following >= 0:
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
        return word or isinstance(self.outcomes[index], _Differential)

    def differential_word(self, node: Node) -> _Differential | None:
        """``dL`` as one word: d of L."""
        name = self.spelling(node)
        if name.base[0] != "d" or len(name.base) < 2:
            return None
        rest = spell(name.base[1:], name.suffix or None, name.accent)
        return _Differential("d", -1, rest._replace(key=f"{rest.key}^{name.upper}", upper=name.upper) if name.upper else rest)

    def build_fraction(self, node: Node) -> _Outcome:
        above, below = (self.outcomes[arg] for arg in node.args)
        top, bottom = (self.nodes[arg] for arg in node.args)
        if all(self.begins_with_d(one) for one in (top, bottom)):  # even where a value is called d
            above, below = (_Differential("d", one.args[1]) for one in (top, bottom))
        if above is None and self.is_differential(node.args[0]):
            above = self.differential_word(top)
        if below is None and bottom.kind == "name" and (isinstance(above, _Differential) or not self.has_meaning(bottom.value)):
            below = self.differential_word(bottom)
        if isinstance(below, _Differential):
            if isinstance(above, _Differential):
                return self.fraction(above, below, node)
            if self.is_sign(top):
                return _Operator(below)
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

    def add_up(self, big: _Big, items: Sequence[tuple[str, int]], node: Node) -> int:
        """What a sum over an index adds up: an index of entries, or of names such as h^{(t)}."""
        if not items:
            raise ReadingError("there is nothing to add up", self.program.place(node))
        if not big.letter and not big.multiplies:
            rest = self.multiply([("", items[0][1]), *items[1:]], node)
            return self.add("call", (self.force(rest, items[0][1]),), node, ("sum", ""))
        names = self.stepping_names(big.letter, items)
        if names:
            return self.add_up_names(big, items, names, node)
        if big.multiplies:
            raise UnsupportedError("a product over an index cannot be read", self.program.place(node), "write its factors out")
        rest = self.multiply([("", items[0][1]), *items[1:]], node)
        body = self.force(rest, items[0][1])
        return self.add("indexed_sum", (body,), node, (big.letter, big.low, big.high))

    def stepping_names(self, index: str, items: Sequence[tuple[str, int]]) -> list[Spelling]:
        """Names under a sum that its index makes names of the composition: h^{(t-1)} where h1, h2, … are there."""
        found = []
        names: list[Spelling] = []
        for k in range(min(self.low_of(item) for _, item in items), max(item for _, item in items) + 1):
            node = self.nodes[k]
            if node.kind in ("name", "function"):
                name = self.spelling(node)
                below = [read_key(text) for text in split_names(self.below_text(node))] if self.is_sign(node) else []
                names += [name, *[_resuffix(key) for key in below if key is not None]]
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

    def add_up_names(self, big: _Big, items: Sequence[tuple[str, int]], names: Sequence[Spelling], node: Node) -> int:
        """A sum whose index is part of names, written out."""
        numbers = [k for k in range(MAX_STEPS) if all(self.steps_to(name, big.letter, k) is not None for name in names)]
        if big.low.isdecimal():
            numbers = [k for k in numbers if k >= int(big.low)]
        if big.high.isdecimal():
            numbers = [k for k in numbers if k <= int(big.high)]
        computed = [k for k in numbers if all((self.steps_to(name, big.letter, k) or 0) >= self.tape.leaves for name in names)]
        plain = [name for name in names if re.fullmatch(r"[a-z]", name.suffix + name.upper)]
        if not big.low and plain and all(self.steps_to(name, big.letter, k) is not None for name in plain for k in numbers):
            started = [k for k in numbers if any((self.steps_to(name, big.letter, k) or 0) >= self.tape.leaves for name in plain)]
            numbers = started or computed or numbers
        if not numbers:
            raise ReadingError(f"what does the index {big.letter} run over?", self.program.place(node))
        low = min(self.low_of(index) for _, index in items)
        roots = []
        for number in numbers:
            self.steps = {big.letter: number}
            try:
                self.build_all(low, max(index for _, index in items))
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

    def low_of(self, index: int) -> int:
        """The first node below a node."""
        low = index
        stack = [index]
        while stack:
            at = stack.pop()
            low = min(low, at)
            stack.extend(self.nodes[at].args)
        return low

    # --- derivatives ---

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
        found = self.find_name(_resuffix(key) if self.steps else spell(key))
        value = self.value_of(found)
        if value is None:
            raise self.unknown(spell(key), node)
        return (value,)

    def value_of(self, found: tuple[str, object] | None) -> int | None:
        """The value that a name is."""
        if found is None:
            return None
        kind, value = found
        if kind == "meaning":
            assert isinstance(value, int)
            kind, value = self.formulas.nodes[value].kind, self.formulas.nodes[value].value
        return value if kind == "value" and isinstance(value, int) else None

    def operate(self, operator: _Operator, operand: int, node: Node) -> int:
        r"""What ``\frac{\partial}{\partial x}`` makes of a node."""
        by, on_vec, _, indices = self.operand(operator.below)
        root = self.differentiate(operator.below.sign, operand, by, node, on_vec)
        return self.add("entry", (root,), node, indices) if indices else root

    def operand(self, differential: _Differential, above: bool = False) -> _Operand:
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
                values += self.operand(_Differential(differential.sign, arg))[0]
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

    def named_operand(self, name: Spelling, node: Node, on_vec: bool, turned: bool, above: bool) -> _Operand:
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

    def fraction(self, above: _Differential, below: _Differential, node: Node) -> _Outcome:
        """∂y over ∂x."""
        if above.node < 0 and above.name is None:
            return _Operator(below)
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
        of, vec_above, turned, indices = self.operand(_Differential(sign, operand), above=True)
        if len(of) > 1:
            raise UnsupportedError("the derivative of several values at once cannot be read here", self.program.place(node))
        root = self.total(sign, of[0], by or self.scope.by, node, on_vec or vec_above)
        if turned:
            root = self.formulas.add("transpose", (root,), None, *self.span(node))
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


def _continues(kind: str, first: Node) -> bool:
    """Whether a node's first operand is the same product or sum, which goes on."""
    if kind in _SPINE:
        return first.kind in _SPINE and first.value != r"\frac"
    if kind == "elementwise":
        return first.kind == "elementwise"
    return first.kind in ("add", "subtract")


def _indices(text: str) -> tuple[str | int, ...]:
    """The indices of an entry: letters and numbers; none where the text is something else.

    >>> _indices("ij"), _indices("1,2"), _indices("t-1"), _indices("relu")
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


def _big(below: str) -> _Big:
    """The index and limits below a sum sign."""
    match = re.fullmatch(r"([a-zα-ω]'?)(?:=(.+))?", below)
    return _Big(match[1], match[2] or "", "") if match else _Big("", "", "")


def _resuffix(key: str) -> Spelling:
    """A name from its key, with its index apart."""
    match = re.fullmatch(r"(.[\u0300-\u036f]*)(.*)", key, re.DOTALL)
    assert match is not None
    return Spelling(key, match[1][:1], match[1][1:], match[2])


_Builder = Callable[[_Reader, int, Node], _Outcome]
_BUILDERS: dict[str, _Builder] = {
    "name": _Reader.build_name,
    "function": _Reader.build_name,
    "number": _Reader.build_number,
    "call": _Reader.build_call,
    "product": _Reader.build_spine,
    "divide": _Reader.build_spine,
    "elementwise": _Reader.build_elementwise,
    "transpose": _Reader.build_transpose,
    "prime": _Reader.build_prime,
    "negate": _Reader.build_negate,
    "add": _Reader.build_sum,
    "subtract": _Reader.build_sum,
    "power": _Reader.build_power,
    "epower": _Reader.build_power,
    "norm": _Reader.build_norm,
    "absolute": _Reader.build_bars,
    "index": _Reader.build_index,
    "compare": _Reader.build_compare,
    "row": _Reader.build_row,
    "beside": _Reader.build_row,
    "column": _Reader.build_column,
    "stack": _Reader.build_column,
    "tuple": _Reader.build_tuple,
    "at": _Reader.build_at,
}
