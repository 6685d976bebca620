"""A computation graph as SVG, written by hand: no script, no style sheet, no font of its own.

Nodes and captions are dark on white cards and edges grey, so that the picture reads on light and dark pages alike and nothing in it can
change the page around it. What is marked is thick as well as coloured.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

from jacobian_chain.errors import text_width
from jacobian_chain.graph import Captions, Edge, Graph
from jacobian_chain.placement import Placement, place
from jacobian_chain.tokens import Spelling
from jacobian_chain.writers import TextWriter

LOWER, RAISE, END = "\x0e", "\x0f", "\x10"
"""Around an index in a text that :class:`SvgWriter` has written."""

INK, LINE, MARK, CARD = "#1f2328", "#767676", "#d1450b", "#ffffff"
FONTS = "STIX Two Text, Cambria, Times New Roman, Liberation Serif, serif"
NODE_SIZE, LABEL_SIZE = 17.0, 14.0
NODE_HEIGHT, LABEL_HEIGHT = 30.0, 21.0
MARGIN = 8.0
HEAD = 8.0
"""Length of an arrow's head."""
STEPS = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
"""Where on an edge its caption may stand, best first."""


class SvgWriter(TextWriter):
    r"""Text whose indices are enclosed by signs, to be set small.

    >>> SvgWriter().name(Spelling("x2", "x", "", "2"))
    'x\x0e2\x10'
    """

    def _name(self, spelling: Spelling) -> str:
        text = spelling.base + spelling.accent
        if spelling.suffix:
            text += f"{RAISE if self.is_raised(spelling) else LOWER}{spelling.suffix}{END}"
        return text + (f"{RAISE}({spelling.upper}){END}" if spelling.upper else "")

    def below_operator(self, operator: str, index: str) -> str:
        """An operator with what it differentiates by."""
        return f"{operator}{LOWER}{index}{END}"


class Run(NamedTuple):
    """Characters of one size: ``scale`` against the text's, ``shift`` downward in its ems."""

    text: str
    scale: float
    shift: float


def set_type(text: str) -> list[Run]:
    """The runs of a text with its indices, of an index's indices too.

    >>> [run.text for run in set_type(SvgWriter().name(Spelling("x2", "x", "", "2")))]
    ['x', '2']
    """
    runs: list[Run] = []
    stack = [(1.0, 0.0)]
    for piece in re.split(f"([{LOWER}{RAISE}{END}])", text):
        scale, shift = stack[-1]
        if piece == LOWER:
            stack.append((scale * 0.74, shift + 0.24 * scale))
        elif piece == RAISE:
            stack.append((scale * 0.74, shift - 0.36 * scale))
        elif piece == END:
            stack.pop()
        elif piece:
            runs.append(Run(piece, scale, shift))
    return runs


def measure(runs: Iterable[Run], size: float) -> float:
    """The width of a text in a wide font, so that in others there is room."""
    return sum(run.scale * size * sum(_advance(c) for c in run.text) for run in runs)


def _advance(character: str) -> float:
    if character in "ijlt()|/,. 'I":
        return 0.4
    if character in "mwMW∇⊗⊙":
        return 0.95
    return (0.75 if character.isupper() else 0.6) * text_width(character)


class Box(NamedTuple):
    """A rectangle by its middle."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Box, gap: float = 2.0) -> bool:
        """Whether two rectangles are nearer than ``gap``."""
        near_x = abs(self.x - other.x) < (self.width + other.width) / 2 + gap
        return near_x and abs(self.y - other.y) < (self.height + other.height) / 2 + gap


class Point(NamedTuple):
    """A place in the picture."""

    x: float
    y: float


class Curve(NamedTuple):
    """An edge: Bézier curves one after the other, four points each, the last of one being the first of the next."""

    points: tuple[Point, ...]

    def pieces(self) -> list[tuple[Point, ...]]:
        """The four points of each Bézier curve."""
        return [self.points[k : k + 4] for k in range(0, len(self.points) - 1, 3)]

    def places(self, width: float) -> Iterator[Point]:
        """Where a caption may stand, best first: on a level piece that is long enough, else anywhere."""
        pieces = self.pieces()
        level = max(pieces, key=lambda piece: (piece[0].y == piece[3].y) * abs(piece[3].x - piece[0].x))
        if level[0].y == level[3].y and abs(level[3].x - level[0].x) >= width:
            yield from (_along(level, part) for part in STEPS)
        longest = max(pieces, key=lambda piece: _distance(piece[0], piece[3]))
        slanted = len(pieces) == 1 and longest[0].y != longest[3].y and longest[0].x != longest[3].x
        # arrows that come together are farther apart where they begin
        yield from (_along(longest, part) for part in (sorted(STEPS, key=lambda part: abs(part - 0.3)) if slanted else STEPS))

    def is_level(self) -> bool:
        """Whether it ends as high as it begins."""
        return self.points[0].y == self.points[-1].y

    def trace(self) -> Iterator[Point]:
        """Places along the way, at most some dozens."""
        for piece in self.pieces():
            count = min(24, 2 + int(_distance(piece[0], piece[3]) / 12))
            yield from (_along(piece, k / count) for k in range(count + 1))

    def path(self) -> str:
        """The ``d`` of a path that stops short of the arrow's head."""
        points = list(self.points)
        tip, before = points[-1], points[-2]
        points[-1] = _toward(tip, before, HEAD - 2)
        if _distance(points[-1], before) < _distance(tip, points[-1]):
            points[-2] = points[-1]
        pieces = [f"M{_pair(points[0])}"]
        for k in range(1, len(points), 3):
            straight = _is_straight(points[k - 1 : k + 3])
            pieces.append(f"L{_pair(points[k + 2])}" if straight else f"C{' '.join(_pair(point) for point in points[k : k + 3])}")
        return " ".join(pieces)

    def head(self) -> str:
        """The corners of the arrow's head."""
        tip, before = self.points[-1], self.points[-2]
        foot = _toward(tip, before, HEAD)
        across = Point((foot.y - tip.y) * 0.42, (tip.x - foot.x) * 0.42)
        return " ".join(map(_pair, (tip, Point(foot.x + across.x, foot.y + across.y), Point(foot.x - across.x, foot.y - across.y))))


def _along(piece: Iterable[Point], t: float) -> Point:
    """The place on a Bézier curve at its parameter t."""
    points = list(zip(((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3), piece, strict=True))
    return Point(sum(weight * point.x for weight, point in points), sum(weight * point.y for weight, point in points))


def _distance(one: Point, other: Point) -> float:
    return float(((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5)


def _toward(start: Point, end: Point, length: float) -> Point:
    part = length / (_distance(start, end) or 1.0)
    return Point(start.x + part * (end.x - start.x), start.y + part * (end.y - start.y))


def _is_straight(points: Iterable[Point]) -> bool:
    first, *_, last = points = list(points)
    return all(abs((point.x - first.x) * (last.y - first.y) - (point.y - first.y) * (last.x - first.x)) < 1e-6 for point in points)


def _line(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """All but the first of the four points of a straight piece."""
    return _toward(start, end, _distance(start, end) / 3), _toward(end, start, _distance(start, end) / 3), end


def _bend(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """All but the first of the four points of a curve that begins and ends level."""
    if start.y == end.y:
        return _line(start, end)
    middle = (start.x + end.x) / 2
    return Point(middle, start.y), Point(middle, end.y), end


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _pair(point: Point) -> str:
    return f"{_number(point.x)},{_number(point.y)}"


class Drawing(NamedTuple):
    """All places and curves of a picture."""

    nodes: Mapping[int, Box]
    curves: Mapping[Edge, Curve]
    labels: Mapping[Edge, Box]


def draw(graph: Graph, captions: Captions) -> Drawing:
    """The picture's geometry: columns as wide as what stands in them, channels as wide as the captions of the edges there."""
    placement = place(graph)
    sizes = {node: _node_size(graph, node, text) for node, text in captions.nodes.items()}
    widths = {edge: measure(set_type(text), LABEL_SIZE) + 8 for edge, text in captions.edges.items()}
    middles = _place_nodes(graph, placement, sizes, widths)
    heights = _place_rows(placement, bool(captions.edges))
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
    taken = _Taken(boxes.values(), curves)
    # first those that have one good place only
    labels = {edge: taken.put(edge, widths[edge]) for edge in sorted(widths, key=lambda edge: not curves[edge].is_level())}
    return Drawing(boxes, curves, labels)


def _node_size(graph: Graph, node: int, text: str) -> float:
    width = measure(set_type(text), NODE_SIZE)
    return max(width + (20 if node < graph.tape.leaves else 16), NODE_HEIGHT)


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
            return Curve((beside, *_thread((beside, Point(self.right[first], source.y), Point(self.left[last], target.y), before))))
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
            points = [beside, *_thread((beside, Point(self.right[first], source.y), onto))]
        if self._is_clear(lane, edge.target):
            end = Point(target.x - target.width / 4, target.y - target.height / 2)
            turned = [Point(2 * end.x - point.x, point.y) for point in (end, *self._turn(end, y))][::-1]
            points += [*_line(points[-1], turned[0]), *turned[1:]]
        else:
            off = Point(middle + 3 if near else self.right[last - 1], y)
            points += _thread((points[-1], off, Point(self.left[last], target.y), before))
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
        return (*(_line(start, corner) if corner != start else ()), *bend)


def _rise(source: Box, target: Box, aside: float) -> Curve:
    """From a satellite up to what takes it, the arrows of several coming together a little."""
    reach = target.width / 2 - 8
    apart = max(-9.0, min(9.0, aside))
    start = Point(source.x + apart, source.y - source.height / 2)
    end = Point(target.x + max(-reach, min(reach, (source.x - target.x) * 0.35 + apart)), target.y + target.height / 2)
    if not aside:
        return Curve((start, *_line(start, end)))
    out, third = (aside - apart) / 0.75, (start.y - end.y) / 3  # halfway it is three quarters out
    return Curve((start, Point(start.x + out, start.y - third), Point(end.x + out, end.y + third), end))


def _thread(stops: Iterable[Point]) -> Iterator[Point]:
    """The points of a curve through places, straight where two are level."""
    waiting = iter(stops)
    before = next(waiting)
    for stop in waiting:
        if stop != before:
            yield from _bend(before, stop)
            before = stop


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
        places = [Box(*point, width, LABEL_HEIGHT) for point in self.curves[edge].places(width)]
        free = [box for box in places if not self._meets_box(box)]
        found = next((box for box in free if not self._meets_edge(box, edge)), free[0] if free else places[0])
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


# --- writing ---


def write_svg(graph: Graph, captions: Captions) -> str:
    """The picture as one ``svg`` element that can stand in a file or in a page beside others."""
    drawing = draw(graph, captions)
    labels = drawing.labels
    boxes = [*drawing.nodes.values(), *labels.values(), *(Box(*point, 0, 0) for curve in drawing.curves.values() for point in curve.points)]
    left, right = min(box.x - box.width / 2 for box in boxes) - MARGIN, max(box.x + box.width / 2 for box in boxes) + MARGIN
    top, bottom = min(box.y - box.height / 2 for box in boxes) - MARGIN, max(box.y + box.height / 2 for box in boxes) + MARGIN
    title = f"Computation graph of {', '.join(_plain(captions.nodes[value]) for value in graph.outputs)}"
    body = [f"<title>{escape(title)}</title>", f"<desc>{escape(_describe(graph, captions))}</desc>"]
    # marked edges last, so that nothing crosses over them; labels over all edges
    body += [_write_edge(edge, graph, drawing.curves[edge]) for edge in sorted(graph.edges, key=graph.is_marked)]
    body += [_write_node(node, graph, drawing.nodes[node], captions.nodes[node]) for node in graph.nodes]
    body += [_write_label(edge, graph, box, captions.edges[edge]) for edge, box in labels.items()]
    picture = "\n".join(body)
    name = f"graph-{zlib.crc32(picture.encode()):08x}"  # the same only for the same picture
    picture = picture.replace("<title>", f'<title id="{name}-title">', 1).replace("<desc>", f'<desc id="{name}-desc">', 1)
    width, height = right - left, bottom - top
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-title {name}-desc"'
        f' viewBox="{_number(left)} {_number(top)} {_number(width)} {_number(height)}"'
        f' width="{_number(width)}" height="{_number(height)}" font-family="{FONTS}" text-anchor="middle">\n{picture}\n</svg>'
    )


def _plain(text: str) -> str:
    """A text read aloud: its indices on the line."""
    return text.translate({ord(LOWER): None, ord(RAISE): None, ord(END): None})


def _describe(graph: Graph, captions: Captions) -> str:
    """The graph in words."""
    names = {node: _plain(text) for node, text in captions.nodes.items()}
    sentences = []
    for target, edges in graph.incoming().items():
        parts = []
        for edge in edges:
            label = captions.edges.get(edge)
            parts.append(names[edge.source] + (f" (derivative {_plain(label)})" if label is not None else ""))
        sentences.append(f"{names[target]} is computed from {', '.join(parts)}." if parts else f"{names[target]} is constant.")
    if graph.marked:
        sentences.append(f"Marked: {', '.join(names[node] for node in graph.nodes if node in graph.marked)}.")
    return " ".join(sentences)


def _write_edge(edge: Edge, graph: Graph, curve: Curve) -> str:
    marked = graph.is_marked(edge)
    colour, width = (MARK, "2.8") if marked else (LINE, "1.4")
    data = f'data-edge="{edge.source} {edge.target} {edge.slot}"' + (' data-marked="true"' if marked else "")
    return (
        f'<g {data}><path d="{curve.path()}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        f'<polygon points="{curve.head()}" fill="{colour}"/></g>'
    )


def _write_node(node: int, graph: Graph, box: Box, text: str) -> str:
    marked = node in graph.marked
    colour, width = (MARK, "2.8") if marked else (LINE, "1.4")
    leaf = node < graph.tape.leaves
    rounding = NODE_HEIGHT / 2 if leaf or text in "+·" else 4
    corner = Point(box.x - box.width / 2, box.y - box.height / 2)
    data = f'data-node="{node}"' + (' data-marked="true"' if marked else "")
    return (
        f'<g {data}><rect x="{_number(corner.x)}" y="{_number(corner.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
        f' rx="{_number(rounding)}" fill="{CARD}" stroke="{colour}" stroke-width="{width}"/>{_write_text(text, box, NODE_SIZE)}</g>'
    )


def _write_label(edge: Edge, graph: Graph, box: Box, text: str) -> str:
    corner = Point(box.x - box.width / 2, box.y - box.height / 2)
    weight = ' font-weight="bold"' if graph.is_marked(edge) else ""
    return (
        f'<g data-label="{edge.source} {edge.target} {edge.slot}"{weight}>'
        f'<rect x="{_number(corner.x)}" y="{_number(corner.y)}" width="{_number(box.width)}" height="{_number(box.height)}" rx="3"'
        f' fill="{CARD}"/>{_write_text(text, box, LABEL_SIZE)}</g>'
    )


def _write_text(text: str, box: Box, size: float) -> str:
    """A text in the middle of a rectangle; letters by themselves slant, as formulas have them."""
    spans = []
    at = 0.0
    for run in set_type(text):
        for part in re.split(r"((?<![^\W_])[^\W\d_](?![^\W_]))", run.text):
            if not part:
                continue
            style = ' font-style="italic"' if len(part) == 1 and part.isalpha() and part not in "ᵀ" else ""
            moved = f' dy="{_number((run.shift - at) * size)}"' if run.shift != at else ""
            small = f' font-size="{_number(run.scale * size)}"' if run.scale != 1 else ""
            at = run.shift
            spans.append(f"<tspan{moved}{small}{style}>{escape(part)}</tspan>" if moved or small or style else escape(part))
    y = box.y + size * 0.3
    return f'<text x="{_number(box.x)}" y="{_number(y)}" font-size="{_number(size)}" fill="{INK}">{"".join(spans)}</text>'
