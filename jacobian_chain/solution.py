r"""A person's text of an answer through concrete layers to formulas over the composition.

The text is read by the grammar of compositions; what is new here is what differentiates, ``\frac{\partial L}{\partial W}``, ``\nabla_W L``,
``dZ``, ``\bar v``, and what speaks of entries, ``\sum_i``, ``W_{ij}``, ``\delta_{ij}``. Names are the composition's own first, then those
that ``--where`` and the answer's lines explain. Shapes decide nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, Source, UnsupportedError
from jacobian_chain.expressions import Solution, Statement, Target
from jacobian_chain.glossary import Scope, indices_of
from jacobian_chain.listing import Words, is_code, read_code
from jacobian_chain.names import Names, read_key, superscript_at
from jacobian_chain.phrases import Outcome
from jacobian_chain.products import Products
from jacobian_chain.survey import ENTRYWISE
from jacobian_chain.syntax import Chain, Link, Node, Program, is_balanced, name_ones, read_chains, read_expression
from jacobian_chain.tokens import Spelling, Tokens, spell, tokenize
from jacobian_chain.wording import blank_left_side, find_formulas

MAX_NODES = 20_000
"""Most nodes of an answer."""


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


class _Reader(Products):
    """Reads the lines of ``--where`` and the answer into one list of formulas."""

    def __init__(self, scope: Scope, narrow: bool) -> None:
        super().__init__(scope, narrow)
        self.multiples: dict[int, ReadingError] = {}  # left sides such as 2 dL/dW, which the last line cannot have

    def read_where(self, line: str) -> None:
        """Bind the name left of the first '=' to what stands right of it."""
        source = Source(line, "--where")
        head, sign, body = line.partition("=")
        if not sign or not head.strip() or not body.strip():
            raise ReadingError("expected name = meaning", Place(source, 0, max(1, len(line))), "write delta_2 = dL/dz2, or h_t = h2")
        head = head.rstrip().removesuffix(":")
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
        multiple = self.multiples.get(chains[-1].links[0].root)
        if multiple is not None:
            raise multiple
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

    def read_chain(self, program: Program, chain: Chain) -> Statement:
        """One line, with what its left side names."""
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
            self.explain(name, roots[-1])
        elif name is not None and target is None:
            self.notes.setdefault(f"the left side {name.key} is taken as a mere label")
        return Statement(target, "" if name is None else name.key, tuple(roots))

    def explain(self, name: Spelling, root: int) -> None:
        """Give a name what a line says of it; ``δ_i = …`` says what δ is."""
        inner = self.formulas.nodes[root]
        if inner.kind == "components" and indices_of(name.suffix) == inner.value:
            name = Spelling(name.base + name.accent, name.base, name.accent)
        self.meanings.setdefault(name.key, self.formulas.add("name", (root,), name))

    def close(self, root: int) -> int:
        """A formula that speaks of entries, without a left side that says which: the array of all of them."""
        free = self.free_indices(root)
        if not free:
            return root
        if set(free) <= set("ijkl"):
            free.sort()  # the first is that of rows, wherever it stands
        if len(free) > 2:
            node = self.formulas.nodes[root]
            place = Place(self.source, max(node.start, 0), max(node.end, 1))
            raise ReadingError(f"what do the indices {', '.join(free)} run over?", place, "write the left side with its indices")
        self.notes.setdefault(f"{' and '.join(free)} {'is' if len(free) == 1 else 'are'} read as the index of all entries")
        return self.as_components(root, tuple(free))

    def build(self, index: int) -> Outcome:
        """What a node is by itself."""
        node = self.nodes[index]
        if node.kind == "dots":
            hint = "write the terms out, or two terms around the dots that differ in their indices only"
            raise UnsupportedError("what do these dots stand for?", self.program.place(node), hint)
        return _BUILDERS[node.kind](self, index, node)

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

    def is_multiple(self, root: int) -> bool:
        """Whether a formula is the derivative that is asked for, with a sign or number before it."""
        nodes = self.formulas.nodes
        derivatives = 0
        stack = [root]
        while stack:
            node = nodes[stack.pop()]
            if node.kind == "derivative":
                atom = self.atoms[int(str(node.value))]
                derivatives += atom.of == self.scope.of and bool(set(atom.by) & set(self.scope.by))
            elif node.kind not in ("negate", "product", "fraction", "number"):
                return False
            stack.extend(node.args)
        return derivatives == 1

    def read_target(self, program: Program, link: Link) -> Target | None:
        """What a left side names; None, with a note, if it is nothing that can be read."""
        self.left = True
        root = -1
        try:
            (index,) = self.resolve(program, [link])
            root = self.formula(index)
            target = self.target_of(root)
        except ReadingError as error:
            target = None
            message = f": {error.message}"
        else:
            message = ""
        finally:
            self.left = False
        if target is None and root >= 0 and self.is_multiple(root):
            hint = "write dL/dW = … with nothing else on its left"
            message = "the left side is a multiple of the derivative that is asked for"
            self.multiples[link.root] = ReadingError(message, program.place(link), hint)
        if target is None:
            shown = program.place(link)
            self.notes.setdefault(f"the left side {shown.source.text[shown.start : shown.end]} is taken as a mere label{message}")
        return target


_BUILDERS: dict[str, Callable[[_Reader, int, Node], Outcome]] = {
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
