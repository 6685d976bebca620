"""Where the nodes of a graph stand and how its edges run: columns and rows, in no unit of length yet.

The longest chain is the spine in row 0; a computed value's column is the length of its own longest chain, so that all edges lead to
the right. Rows above (negative) are for side chains. A leaf stands in the row below what takes it first. An edge between neighbours
is drawn directly; any other has a lane: a row in which nothing else stands between its ends (the dummy nodes of Sugiyama, Tagawa &
Toda, 1981). Edges change rows only in the channel between two columns, or above and below a node where nothing else stands, so that
no edge crosses a node.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from jacobian_chain.graph import Edge, Graph


class Placement(NamedTuple):
    """A grid.

    Attributes:
        columns: of each node.
        rows: of each node; larger ones are lower.
        satellites: the leaves that stand below a computed node, beside each other in one row.
        lanes: the row in which an edge runs; an edge without one runs directly, from a satellite upward.
    """

    columns: Mapping[int, int]
    rows: Mapping[int, int]
    satellites: Mapping[int, tuple[int, ...]]
    lanes: Mapping[Edge, int]


def place(graph: Graph) -> Placement:
    """A place for each node and a lane for each edge that needs one.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.graph import graph_of
    >>> from jacobian_chain.reading import read_composition
    >>> graph = graph_of(read_composition(Source("h = f(x, θ); y = h + g(h)")).tape)
    >>> placement = place(graph)
    >>> [(graph.tape.names[node], placement.columns[node], placement.rows[node]) for node in graph.nodes]
    [('x', 0, 0), ('θ', 1, 1), ('h', 1, 0), ('', 2, 0), ('y', 3, 0)]
    >>> list(placement.lanes.values())
    [0, 0, 0, -1]
    """
    spine = _chain(graph, max(graph.outputs, key=lambda value: graph.depth[value]), frozenset())
    columns, hosts = _find_columns(graph, frozenset(spine))
    again = {edge.source for edge in graph.edges if hosts.get(edge.source, edge.target) != edge.target}
    satellites: dict[int, tuple[int, ...]] = {}
    for leaf in sorted(hosts, key=again.__contains__):  # what is used again stands on the right
        satellites[hosts[leaf]] = (*satellites.get(hosts[leaf], ()), leaf)
    grid = _Grid()
    rows = dict.fromkeys(spine, 0)
    for node in spine:
        grid.take_node(0, columns[node])
    placed = {*spine, *hosts}
    for node in sorted(graph.nodes, key=lambda node: -columns[node]):
        if node in placed:
            continue
        chain = _chain(graph, node, placed)
        placed.update(chain)
        between = _span(2 * columns[chain[-1]], 2 * columns[chain[0]])
        below = any(member in satellites for member in chain)
        row = -1 - below
        while not (grid.is_free(row, between) and (not below or grid.is_free(row + 1, between))):
            row -= 1
        for member in chain:
            rows[member] = row
            grid.take_node(row, columns[member])
            if member in satellites:
                grid.take_node(row + 1, columns[member])
    for host, leaves in satellites.items():
        rows.update(dict.fromkeys(leaves, rows[host] + 1))
        grid.take_node(rows[host] + 1, columns[host])
    enclosed = frozenset(leaf for leaves in satellites.values() for leaf in leaves[:-1])
    return Placement(columns, rows, satellites, _find_lanes(graph, columns, rows, hosts, enclosed, grid))


def _chain(graph: Graph, node: int, without: frozenset[int] | set[int]) -> list[int]:
    """The longest chain back from a node, to the first that is placed already."""
    chain = [node]
    while (edge := graph.main.get(chain[-1])) is not None and edge.source not in without:
        chain.append(edge.source)
    return chain


def _find_columns(graph: Graph, spine: frozenset[int]) -> tuple[dict[int, int], dict[int, int]]:
    """The column of each node, and for each satellite the node below which it stands."""
    columns = dict(graph.depth)
    takers: dict[int, list[int]] = {}
    for edge in graph.edges:
        if edge.source < graph.tape.leaves and edge.source not in spine:
            takers.setdefault(edge.source, []).append(edge.target)
    hosts: dict[int, int] = {}
    for leaf, targets in takers.items():
        first = min(columns[target] for target in targets)
        hosting = {target for target in targets if columns[target] == first}
        if len(hosting) == 1 and (len({*targets}) == 1 or hosting <= spine):
            hosts[leaf] = hosting.pop()
            columns[leaf] = first
        else:
            columns[leaf] = first - 1
    return columns, hosts


def _find_lanes(
    graph: Graph,
    columns: Mapping[int, int],
    rows: Mapping[int, int],
    satellites: Collection[int],
    enclosed: Collection[int],
    grid: _Grid,
) -> dict[Edge, int]:
    """A row for each edge but those of satellites and those between neighbouring columns, short edges nearest.

    Satellites that have others on their right are ``enclosed``: what leaves them leads down first.
    """
    lanes: dict[Edge, int] = {}
    direct: set[tuple[int, int]] = set()
    for edge in sorted(graph.edges, key=lambda edge: columns[edge.target] - columns[edge.source]):
        source, target, _ = edge
        start, end = columns[source], columns[target]
        if start == end:
            continue
        level = rows[source] == rows[target]
        near = end == start + 1 and not level
        shut = source in enclosed or (source, target) in direct
        if near and not shut:
            direct.add((source, target))
            continue
        for row in _candidates(rows[source], rows[target], near or source in enclosed):
            # from a satellite an edge gets to a lane below from beneath, which takes up its own column
            between = _span(2 * start + (source not in satellites or row <= rows[source]), 2 * end - 1)
            if grid.is_free(row, between):
                grid.take(row, between)
                lanes[edge] = row
                break
    return lanes


def _candidates(start: int, end: int, apart: bool) -> Iterator[int]:
    """Rows for an edge from one row to another: theirs unless it must be ``apart``, those between, then outward.

    Outward is down only for what comes from below the spine.
    """
    if not apart:
        yield start
        if end != start:
            yield end
    if start > 0:
        yield from itertools.count(max(start, end) + 1)
    yield from range(min(start, end) + 1, max(start, end))
    yield from itertools.count(min(start, end) - 1, -1)


def _span(start: int, end: int) -> int:
    """Bits of half columns, both ends included: 2 c is column c, 2 c + 1 the channel right of it."""
    return (1 << end + 1) - (1 << start)


class _Grid:
    """Which half columns of each row are taken."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}

    def is_free(self, row: int, span: int) -> bool:
        """Whether nothing stands in the span."""
        return not self._rows.get(row, 0) & span

    def take(self, row: int, span: int) -> None:
        """Keep the span for one thing."""
        self._rows[row] = self._rows.get(row, 0) | span

    def take_node(self, row: int, column: int) -> None:
        """Keep one column."""
        self.take(row, 1 << 2 * column)
