"""The lengths of a picture: where on a plane the nodes of a placed graph stand, how its edges run and where captions are free to stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from jacobian_chain.curves import Box, Curve, Point, line, thread
from jacobian_chain.graph import Edge, Graph
from jacobian_chain.placement import Placement, place

NODE_HEIGHT, LABEL_HEIGHT = 30.0, 21.0


class Drawing(NamedTuple):
    """All places and curves of a picture."""

    nodes: Mapping[int, Box]
    curves: Mapping[Edge, Curve]
    labels: Mapping[Edge, Box]


def draw(graph: Graph, sizes: Mapping[int, float], widths: Mapping[Edge, float]) -> Drawing:
    """A picture's geometry: columns as wide as what stands in them, channels as wide as the captions of the edges there.

    Args:
        graph: what is drawn.
        sizes: the width of each node.
        widths: the width of each edge's caption; empty where there are none.
    """
    placement = place(graph)
    middles = _place_nodes(graph, placement, sizes, widths)
    heights = _place_rows(placement, bool(widths))
    boxes = {node: Box(middles[node], heights[placement.rows[node]], sizes[node], NODE_HEIGHT) for node in graph.nodes}
    roads = _Roads(placement, boxes, heights)
    twins: dict[tuple[int, int], list[Edge]] = {}
    for edge in graph.edges:
        twins.setdefault(edge[:2], []).append(edge)
    curves = {}
    for edge in graph.edges:
        same = twins[edge[:2]]
        apart = max(widths.get(twin, 22.0) for twin in same) + 8
        curves[edge] = roads.run(edge, apart * (same.index(edge) - (len(same) - 1) / 2))
    taken = _Taken(boxes.values(), curves if widths else {})
    # first those that have one good place only
    labels = {edge: taken.put(edge, widths[edge]) for edge in sorted(widths, key=lambda edge: not curves[edge].is_level())}
    return Drawing(boxes, curves, labels)


def _place_nodes(graph: Graph, placement: Placement, sizes: Mapping[int, float], widths: Mapping[Edge, float]) -> dict[int, float]:
    """The middle of each node, from left to right."""
    count = 1 + max(placement.columns.values())
    needs = [0.0] * count
    gaps = [44.0] * count
    crossing = [0] * count  # captioned edges that change rows in a channel
    room: dict[int, float] = {}  # of each satellite, with the caption of its edge
    for edge in graph.edges:
        start, end = placement.columns[edge.source], placement.columns[edge.target]
        width = widths.get(edge, 0.0)
        if start == end:
            crowded = len(placement.satellites[edge.target]) > 1  # arrows come together
            room[edge.source] = max(room.get(edge.source, 0.0) + width + 8, sizes[edge.source], width * (1.5 if crowded else 1))
        elif end == start + 1 and width:
            gaps[start] = max(gaps[start], width + 34)
            crossing[start] += placement.rows[edge.source] != placement.rows[edge.target] or placement.lanes.get(edge) is None
    for node, column in placement.columns.items():
        if node not in room:
            needs[column] = max(needs[column], sizes[node])
    for host, leaves in placement.satellites.items():
        column = placement.columns[host]
        needs[column] = max(needs[column], sum(room[leaf] for leaf in leaves) + 10 * (len(leaves) - 1))
    for edge, width in widths.items():  # a lane over few narrow columns
        start, end = placement.columns[edge.source], placement.columns[edge.target]
        if end == start + 2:
            needs[start + 1] = max(needs[start + 1], width)
    middles = []
    x = 0.0
    for need, gap, curves in zip(needs, gaps, crossing, strict=True):
        middles.append(x + need / 2)
        x += need + gap + 16 * max(0, min(curves, 12) - 1)
    found = {node: middles[column] for node, column in placement.columns.items()}
    for host, leaves in placement.satellites.items():
        at = found[host] - (sum(room[leaf] for leaf in leaves) + 10 * (len(leaves) - 1)) / 2
        for leaf in leaves:
            found[leaf] = at + room[leaf] / 2
            at += room[leaf] + 10
    return found


def _place_rows(placement: Placement, has_labels: bool) -> dict[int, float]:
    """The middle of each row, from top to bottom; rows of lanes alone are low."""
    occupied = {*placement.rows.values()}
    below = {placement.rows[host] + 1 for host in placement.satellites}
    found: dict[int, float] = {}
    y, before = 0.0, 0.0
    for row in sorted(occupied | {*placement.lanes.values()}):
        half = NODE_HEIGHT / 2 if row in occupied else LABEL_HEIGHT / 2 if has_labels else 4.0
        if found:
            y += before + half + ((48 if has_labels else 30) if row in below else 22 if has_labels else 14)
        found[row] = y
        before = half
    return found


class _Roads:
    """How edges run between nodes that have their places."""

    TURN = 16.0
    """The radius with which a skip turns into its lane."""

    def __init__(self, placement: Placement, boxes: Mapping[int, Box], heights: Mapping[int, float]) -> None:
        self.placement = placement
        self.boxes = boxes
        self.heights = heights
        self.occupied = {(placement.rows[node], column) for node, column in placement.columns.items()}
        self.left: dict[int, float] = {}  # of what stands in each column
        self.right: dict[int, float] = {}
        for node, column in placement.columns.items():
            box = boxes[node]
            self.left[column] = min(self.left.get(column, box.x), box.x - box.width / 2)
            self.right[column] = max(self.right.get(column, box.x), box.x + box.width / 2)

    def run(self, edge: Edge, aside: float = 0.0) -> Curve:
        """The curve of an edge; from a satellite it bows ``aside`` to the right."""
        source, target = self.boxes[edge.source], self.boxes[edge.target]
        first, last = self.placement.columns[edge.source], self.placement.columns[edge.target]
        if first == last:
            return _rise(source, target, aside)
        lane = self.placement.lanes.get(edge)
        beside = Point(source.x + source.width / 2, source.y)
        before = Point(target.x - target.width / 2, target.y)
        if lane is None or source.y == target.y == self.heights[lane]:
            return Curve((beside, *thread((beside, Point(self.right[first], source.y), Point(self.left[last], target.y), before))))
        y = self.heights[lane]
        middle = (self.right[first] + self.left[last]) / 2
        near = last == first + 1
        if self._is_clear(lane, edge.source):
            start = Point(source.x + source.width / 4, source.y - source.height / 2)
            points = [start, *self._turn(start, y)]
        elif lane > self.placement.rows[edge.source] and (self.placement.rows[edge.source] - 1, first) in self.occupied:
            start = Point(source.x, source.y + source.height / 2)  # a satellite
            points = [start, *self._turn(start, y)]
        else:
            onto = Point(middle - 3 if near else self.left[first + 1], y)
            points = [beside, *thread((beside, Point(self.right[first], source.y), onto))]
        if self._is_clear(lane, edge.target):
            end = Point(target.x - target.width / 4, target.y - target.height / 2)
            turned = [Point(2 * end.x - point.x, point.y) for point in (end, *self._turn(end, y))][::-1]
            points += [*line(points[-1], turned[0]), *turned[1:]]
        else:
            off = Point(middle + 3 if near else self.right[last - 1], y)
            points += thread((points[-1], off, Point(self.left[last], target.y), before))
        return Curve(tuple(points))

    def _is_clear(self, lane: int, node: int) -> bool:
        """Whether a lane is above a node and nothing stands between the two."""
        row, column = self.placement.rows[node], self.placement.columns[node]
        return lane < row and all((between, column) not in self.occupied for between in range(lane, row))

    def _turn(self, start: Point, y: float) -> tuple[Point, ...]:
        """From a node up or down, then to the right at the height ``y``: all but the first of the points."""
        way = 1 if y > start.y else -1
        radius = min(self.TURN, abs(y - start.y))
        corner = Point(start.x, y - way * radius)
        bend = (Point(start.x, y - way * radius * 0.45), Point(start.x + radius * 0.55, y), Point(start.x + radius, y))
        return (*(line(start, corner) if corner != start else ()), *bend)


def _rise(source: Box, target: Box, aside: float) -> Curve:
    """From a satellite up to what takes it, the arrows of several coming together a little."""
    reach = target.width / 2 - 8
    apart = max(-9.0, min(9.0, aside))
    start = Point(source.x + apart, source.y - source.height / 2)
    end = Point(target.x + max(-reach, min(reach, (source.x - target.x) * 0.35 + apart)), target.y + target.height / 2)
    if not aside:
        return Curve((start, *line(start, end)))
    out, third = (aside - apart) / 0.75, (start.y - end.y) / 3  # halfway it is three quarters out
    return Curve((start, Point(start.x + out, start.y - third), Point(end.x + out, end.y + third), end))


class _Taken:
    """Where nodes, captions and edges are, by the squares of a coarse grid."""

    SQUARE = 120.0

    def __init__(self, boxes: Iterable[Box], curves: Mapping[Edge, Curve]) -> None:
        self.curves = curves
        self._boxes: dict[tuple[int, int], list[Box]] = {}
        self._traces: dict[tuple[int, int], list[tuple[Point, Edge]]] = {}
        for box in boxes:
            self._add(box)
        for edge, curve in curves.items():
            for point in curve.trace():
                square = int(point.x // self.SQUARE), int(point.y // self.SQUARE)
                self._traces.setdefault(square, []).append((point, edge))

    def put(self, edge: Edge, width: float) -> Box:
        """A place for an edge's caption where no other edge passes; else a free one; else as near above as there is one."""
        found: Box | None = None
        for point in self.curves[edge].places(width):
            box = Box(*point, width, LABEL_HEIGHT)
            if not self._meets_box(box):
                found = found or box
                if not self._meets_edge(box, edge):
                    found = box
                    break
        if found is None:
            found = Box(*next(self.curves[edge].places(width)), width, LABEL_HEIGHT)
            while self._meets_box(found):
                found = found._replace(y=found.y - 4)
        self._add(found)
        return found

    def _touched(self, box: Box, gap: float = 4.0) -> Iterator[tuple[int, int]]:
        side, across, along = self.SQUARE, box.width / 2 + gap, box.height / 2 + gap
        for i in range(int((box.x - across) // side), int((box.x + across) // side) + 1):
            for j in range(int((box.y - along) // side), int((box.y + along) // side) + 1):
                yield i, j

    def _meets_box(self, box: Box) -> bool:
        return any(box.meets(other) for square in self._touched(box) for other in self._boxes.get(square, ()))

    def _meets_edge(self, box: Box, edge: Edge) -> bool:
        passing = (entry for square in self._touched(box) for entry in self._traces.get(square, ()))
        return any(other != edge and box.meets(Box(*point, 0, 0)) for point, other in passing)

    def _add(self, box: Box) -> None:
        for square in self._touched(box):
            self._boxes.setdefault(square, []).append(box)
