"""The computation graph of a composition: which values it has, which are computed from which, and what these are called.

Nodes are the values that the output depends on, but for unnamed constants. Each slot of a step is an edge of its own, so that f(x, x) has
two. Concrete layers are seen as layers (:mod:`jacobian_chain.abstraction`): what is a node is what has a name or goes through a layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from jacobian_chain.abstraction import abstract
from jacobian_chain.derivation import Derivation, differentiate_step
from jacobian_chain.errors import OptionError
from jacobian_chain.layout import Layout, orient
from jacobian_chain.maps import Arena, Map
from jacobian_chain.notation import Labels, Notation, Page
from jacobian_chain.render import Composer
from jacobian_chain.select import find_output, select
from jacobian_chain.tape import Tape
from jacobian_chain.writers import TextWriter, Writer

OPERATORS = frozenset("+·*")
"""What nodes are called that are an operation alone."""


class Edge(NamedTuple):
    """That ``target`` is computed from ``source``, which stands in argument ``slot`` of its step."""

    source: int
    target: int
    slot: int


class Graph(NamedTuple):
    """The graph of a tape.

    Attributes:
        tape: a composition of layers, whose values the nodes are.
        nodes: in the order of the tape.
        edges: in the order of their targets and slots.
        outputs: the nodes that the graph is about.
        parameters: the leaves that are learned rather than fed, as far as their names say; all leaves where they do not.
        main: for each computed node the edge on which its longest chain of layers comes in.
        depth: for each node the length of that chain.
        marked: the nodes on the paths that were asked for.
    """

    tape: Tape
    nodes: tuple[int, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...]
    parameters: frozenset[int]
    main: Mapping[int, Edge]
    depth: Mapping[int, int]
    marked: frozenset[int] = frozenset()

    def is_marked(self, edge: Edge) -> bool:
        """Whether an edge is on one of the paths: both of its ends are."""
        return edge.source in self.marked and edge.target in self.marked

    def incoming(self) -> dict[int, list[Edge]]:
        """The edges into each computed node, by slot."""
        found: dict[int, list[Edge]] = {node: [] for node in self.nodes if node >= self.tape.leaves}
        for edge in self.edges:
            found[edge.target].append(edge)
        return found


def graph_of(tape: Tape, of: str | None = None, paths: Iterable[str] = ()) -> Graph:
    """The graph of a composition, or of its part that one value depends on.

    Args:
        tape: the composition.
        of: the value; by default all that nothing uses.
        paths: names of values, as for ``--wrt``: what lies on a path from one of them to an output is marked.

    Raises:
        ReadingError: a name is not there.
        OptionError: there is no path from any of the values.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> graph = graph_of(read_composition(Source("h = tanh(W x + b); y = h + g(h, h)")).tape)
    >>> [[graph.tape.names[edge.source], graph.tape.names[edge.target], edge.slot] for edge in graph.edges]
    [['W', 'h', 0], ['x', 'h', 1], ['b', 'h', 2], ['h', '', 0], ['h', '', 1], ['h', 'y', 0], ['', 'y', 1]]
    """
    outputs: Sequence[int] = (find_output(tape, of),) if of is not None else tape.outputs()
    starts: Sequence[int] = ()
    names = tuple(paths)
    if names:
        starts = select(tape, names, "--paths").variables
    parameters: Collection[int] = select(tape).variables if tape.leaves else ()
    if not tape.is_abstract:
        abstraction = abstract(tape)
        number = {value: k for k, value in enumerate(abstraction.values)}
        outputs, starts, parameters = ([number[value] for value in values] for values in (outputs, starts, parameters))
        tape = abstraction.tape
    needed = bytearray(len(tape.names))
    for value in outputs:
        needed[value] = 1
    for value in range(len(tape.names) - 1, tape.leaves - 1, -1):
        if needed[value]:
            for source in tape.steps[value - tape.leaves].inputs:
                needed[source] = 1
    nodes = [value for value, wanted in enumerate(needed) if wanted and not _is_constant(tape, value)]
    kept = frozenset(nodes)
    edges = [
        Edge(source, value, slot)
        for value in nodes
        if value >= tape.leaves
        for slot, source in enumerate(tape.steps[value - tape.leaves].inputs)
        if source in kept
    ]
    leaves = frozenset(parameters)
    depth, main = _find_chains(nodes, edges, leaves)
    marked = _reached(edges, kept.intersection(starts))
    if names and not marked:
        shown = ", ".join(tape.names[value] for value in outputs)
        raise OptionError(f"no path leads from {', '.join(names)} to {shown}", hint="name a value that it depends on")
    return Graph(tape, tuple(nodes), tuple(edges), tuple(outputs), leaves, main, depth, marked)


def _is_constant(tape: Tape, value: int) -> bool:
    step = tape.step(value)
    return step is not None and not step.inputs and not tape.names[value]


def _find_chains(nodes: Iterable[int], edges: Iterable[Edge], parameters: Collection[int]) -> tuple[dict[int, int], dict[int, Edge]]:
    """For each node the length of its longest chain, and the edge on which that comes in: of equal ones the first that no parameter is."""
    depth = dict.fromkeys(nodes, 0)
    main: dict[int, Edge] = {}
    for edge in edges:  # a node's edges come before those that leave it
        source, target, _ = edge
        known = main.get(target)
        rank = (depth[source], source not in parameters)
        if known is None or rank > (depth[known.source], known.source not in parameters):
            main[target] = edge
            depth[target] = depth[source] + 1
    return depth, main


def _reached(edges: Iterable[Edge], starts: Iterable[int]) -> frozenset[int]:
    """The nodes on paths from one of the starts to an output: every node leads to one, or it would not be in the graph."""
    found = set(starts)
    for edge in edges:
        if edge.source in found:
            found.add(edge.target)
    return frozenset(found)


class Captions(NamedTuple):
    """What nodes and edges are called in an output language; edges have no captions unless their derivatives were asked for.

    ``ascii`` says that nothing outside of ASCII is wanted around them either.
    """

    nodes: Mapping[int, str]
    edges: Mapping[Edge, str]
    notices: tuple[str, ...] = ()
    ascii: bool = False


def caption(graph: Graph, writer: Writer, notation: Notation, layout: Layout, naming: str, derivatives: bool) -> Captions:
    """The names of the nodes and, with ``derivatives``, on each edge the derivative of its step in its slot, as a derivation writes it.

    The edge of a sum bears I, or the multiple of it that the sum takes. Values without a name are called as derivations call them, but a
    layer that only sums take by the layer, with its arguments where that is not enough, a sum + and a multiple · where no factor
    refers to them.

    Raises:
        OptionError: the notation cannot write these derivatives.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.layout import NUMERATOR
    >>> from jacobian_chain.notation import NOTATIONS
    >>> from jacobian_chain.reading import read_composition
    >>> from jacobian_chain.writers import TextWriter
    >>> graph = graph_of(read_composition(Source("y = x - 2 f(x)")).tape)
    >>> captions = caption(graph, TextWriter(), NOTATIONS["partial"], NUMERATOR, "outputs", True)
    >>> list(captions.nodes.values()), list(captions.edges.values())
    (['x', 'f', 'y'], ['∂f/∂x', 'I', '-2 I'])
    """
    tape = graph.tape
    arena = Arena()
    roots = [differentiate_step(arena, tape, edge.target, edge.slot) if derivatives else 0 for edge in graph.edges]
    shapes = [tape.shapes[value] for value in graph.outputs]
    output = next((value for value, shape in zip(graph.outputs, shapes, strict=True) if not shape.is_scalar), graph.outputs[-1])
    labels = Labels(tape, output, naming)
    page = Page(Derivation(tape, output, (), "", tuple(arena.maps), ()), layout, notation, labels, False)
    edges: dict[Edge, str] = {}
    if derivatives:
        composer = Composer(page, writer, orient(tuple(arena.maps), tape.shapes[output], layout), roots)
        edges = {edge: composer.text(root, edge.source) for edge, root in zip(graph.edges, roots, strict=True)}
    ascii = isinstance(writer, TextWriter) and writer.ascii
    return Captions(_name_nodes(graph, page, writer), edges, tuple(page.notices), ascii)


def _name_nodes(graph: Graph, page: Page, writer: Writer) -> dict[int, str]:
    """What each node is called."""
    tape, labels = graph.tape, page.labels
    operators = {"sum": "+", "scale": writer.signs.dot.strip()}
    taken = {edge.source for edge in graph.edges if tape.steps[edge.target - tape.leaves].operation == "layer"}
    names: dict[int, str] = {}
    layers: dict[int, str] = {}
    for node in graph.nodes:
        step = tape.step(node)
        if tape.names[node] or step is None:
            names[node] = writer.name(labels.value(node))
        elif node in taken or node in graph.outputs:
            names[node] = writer.name(page.variable(node))
        elif step.operation == "layer":
            # the factor's own symbol says whether the layer or a made-up name stands on top of it
            layers[node] = writer.name(page.symbol(Map("partial", node)).of)
        else:
            names[node] = operators[step.operation]
    bearers = Counter((*names.values(), *layers.values()))
    for node, name in layers.items():
        arguments = ", ".join(map(writer.name, labels.point(node)))
        names[node] = name if bearers[name] == 1 else f"{name}({arguments})"
    return {node: names[node] for node in graph.nodes}
