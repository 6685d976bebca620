"""A computation graph as SVG, written by hand: no script, no style sheet, no font of its own.

Nodes and captions are dark on white cards and edges grey, so that the picture reads on light and dark pages alike and nothing in it can
change the page around it. What is marked is thick as well as coloured.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

from jacobian_chain.curves import Box, Curve, format_number
from jacobian_chain.drawing import NODE_HEIGHT, draw
from jacobian_chain.errors import text_width
from jacobian_chain.graph import OPERATORS, Captions, Edge, Graph
from jacobian_chain.tokens import Spelling
from jacobian_chain.writers import TextWriter

LOWER, RAISE, END = "\x0e", "\x0f", "\x10"
"""Around an index in a text that :class:`SvgWriter` has written."""

INK, LINE, MARK, CARD = "#1f2328", "#767676", "#d1450b", "#ffffff"
FONTS = "STIX Two Text, Cambria, Times New Roman, Liberation Serif, serif"
NODE_SIZE, LABEL_SIZE = 17.0, 14.0
MARGIN = 8.0


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


def _node_width(graph: Graph, node: int, text: str) -> float:
    return max(measure(set_type(text), NODE_SIZE) + (20 if node < graph.tape.leaves else 16), NODE_HEIGHT)


def write_svg(graph: Graph, captions: Captions) -> str:
    """The picture as one ``svg`` element that can stand in a file or in a page beside others."""
    sizes = {node: _node_width(graph, node, text) for node, text in captions.nodes.items()}
    drawing = draw(graph, sizes, {edge: measure(set_type(text), LABEL_SIZE) + 8 for edge, text in captions.edges.items()})
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
        f' viewBox="{format_number(left)} {format_number(top)} {format_number(width)} {format_number(height)}"'
        f' width="{format_number(width)}" height="{format_number(height)}" font-family="{FONTS}" text-anchor="middle">\n{picture}\n</svg>'
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
    rounding = format_number(NODE_HEIGHT / 2 if node < graph.tape.leaves or text in OPERATORS else 4)
    data = f'data-node="{node}"' + (' data-marked="true"' if marked else "")
    card = f'<rect {_frame(box)} rx="{rounding}" fill="{CARD}" stroke="{colour}" stroke-width="{width}"/>'
    return f"<g {data}>{card}{_write_text(text, box, NODE_SIZE)}</g>"


def _write_label(edge: Edge, graph: Graph, box: Box, text: str) -> str:
    data = f'data-label="{edge.source} {edge.target} {edge.slot}"' + (' font-weight="bold"' if graph.is_marked(edge) else "")
    return f'<g {data}><rect {_frame(box)} rx="3" fill="{CARD}"/>{_write_text(text, box, LABEL_SIZE)}</g>'


def _frame(box: Box) -> str:
    """The attributes that say where a rectangle is."""
    places = {"x": box.x - box.width / 2, "y": box.y - box.height / 2, "width": box.width, "height": box.height}
    return " ".join(f'{name}="{format_number(value)}"' for name, value in places.items())


def _write_text(text: str, box: Box, size: float) -> str:
    """A text in the middle of a rectangle; letters by themselves slant, as formulas have them."""
    spans = []
    at = 0.0
    for run in set_type(text):
        for part in re.split(r"((?<![^\W_])[^\W\d_](?![^\W_]))", run.text):
            if not part:
                continue
            style = ' font-style="italic"' if len(part) == 1 and part.isalpha() and part not in "ᵀ" else ""
            moved = f' dy="{format_number((run.shift - at) * size)}"' if run.shift != at else ""
            small = f' font-size="{format_number(run.scale * size)}"' if run.scale != 1 else ""
            at = run.shift
            spans.append(f"<tspan{moved}{small}{style}>{escape(part)}</tspan>" if moved or small or style else escape(part))
    y = box.y + size * 0.3
    return f'<text x="{format_number(box.x)}" y="{format_number(y)}" font-size="{format_number(size)}" fill="{INK}">{"".join(spans)}</text>'
