"""Rectangles and curves in a plane whose y grows downward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

HEAD = 8.0
"""Length of an arrow's head."""

STEPS = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
"""Where on an edge its caption may stand, best first."""


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


def format_number(value: float) -> str:
    """A length, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _pair(point: Point) -> str:
    return f"{format_number(point.x)},{format_number(point.y)}"


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


def _along(piece: Sequence[Point], t: float) -> Point:
    """The place on a Bézier curve at its parameter t."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = piece
    s = 1 - t
    a, b, c, d = s * s * s, 3 * t * s * s, 3 * t * t * s, t * t * t
    return Point(a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy)


def _distance(one: Point, other: Point) -> float:
    return float(((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5)


def _toward(start: Point, end: Point, length: float) -> Point:
    part = length / (_distance(start, end) or 1.0)
    return Point(start.x + part * (end.x - start.x), start.y + part * (end.y - start.y))


def _is_straight(points: Iterable[Point]) -> bool:
    first, *_, last = points = list(points)
    return all(abs((point.x - first.x) * (last.y - first.y) - (point.y - first.y) * (last.x - first.x)) < 1e-6 for point in points)


def line(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """All but the first of the four points of a straight piece."""
    return _toward(start, end, _distance(start, end) / 3), _toward(end, start, _distance(start, end) / 3), end


def _bend(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """All but the first of the four points of a curve that begins and ends level."""
    if start.y == end.y:
        return line(start, end)
    middle = (start.x + end.x) / 2
    return Point(middle, start.y), Point(middle, end.y), end


def thread(stops: Iterable[Point]) -> Iterator[Point]:
    """The points of a curve through places, straight where two are level."""
    waiting = iter(stops)
    before = next(waiting)
    for stop in waiting:
        if stop != before:
            yield from _bend(before, stop)
            before = stop
