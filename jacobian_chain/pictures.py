r"""Computation graphs in picture languages: one small writer each, in the table ``FORMATS``.

===========  ========================================================================================
``tree``     box drawing for a terminal: the spine straight down, what branches off indented
``svg``      a picture by itself (:mod:`jacobian_chain.svg`)
``cd``       AMScd: chains, for KaTeX, MathJax and TeX
``tikzcd``   TikZ-CD, for TeX
``mermaid``  for GitHub, GitLab and JupyterLab
``dot``      for Graphviz
===========  ========================================================================================
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jacobian_chain.errors import OptionError
from jacobian_chain.graph import OPERATORS, Captions, Edge, Graph, caption
from jacobian_chain.layout import Layout
from jacobian_chain.notation import Notation
from jacobian_chain.placement import Placement, place
from jacobian_chain.svg import SvgWriter, write_svg
from jacobian_chain.writers import LatexWriter, TextWriter, Writer


class Picture(str):
    """A picture as text, which notebooks show as a picture.

    Attributes:
        kind: the format it is in.
        notices: facts worth knowing about its captions.
    """

    kind: str
    notices: tuple[str, ...]

    def __new__(cls, text: str, kind: str = "tree", notices: tuple[str, ...] = ()) -> Picture:
        """The text with what it is."""
        picture = super().__new__(cls, text)
        picture.kind = kind
        picture.notices = notices
        return picture

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook is given; a tree and what only a file is good for are plain text."""
        kind = FORMATS[self.kind].mime
        return {"text/plain": str(self), **({kind: f"$${self}$$" if kind == "text/latex" else str(self)} if kind else {})}


# --- the terminal ---


class _Strokes(NamedTuple):
    """What a tree is drawn with, each light and heavy; a branch by whether the line that it leaves is heavy, too."""

    down: tuple[str, str]
    branch: tuple[tuple[str, str], tuple[str, str]]
    last: tuple[str, str]
    again: str


_UNICODE = _Strokes(("│", "┃"), (("├─ ", "┝━ "), ("┠─ ", "┣━ ")), ("└─ ", "┗━ "), "…")
_ASCII = _Strokes(("|", "#"), (("+- ", "+= "), ("#- ", "#= ")), ("`- ", "`= "), "...")


def write_tree(graph: Graph, captions: Captions) -> str:
    """A tree with the output as its root: the longest chain goes straight down, all other inputs branch off.

    Behind a value stands the derivative of what is above by it. A computed value that is used more than once is written out once and
    referred to with … elsewhere. What is marked has a star, and the lines to it are heavy.
    """
    return "\n".join(_tree_lines(graph, captions, _ASCII if captions.ascii else _UNICODE))


def _tree_lines(graph: Graph, captions: Captions, strokes: _Strokes) -> Iterator[str]:
    incoming = graph.incoming()
    begun: set[int] = set()  # values that are written out, or will be straight below one that is

    def name(node: int, again: bool = False) -> str:
        return " ".join((captions.nodes[node], *([strokes.again] if again else ()), *("*" if node in graph.marked else ())))

    def derivative(edge: Edge) -> str:
        return f"  {captions.edges[edge]}" if edge in captions.edges else ""

    # a line, or a branch: what comes in on an edge, the indent of its node, what follows that, whether the line ends here
    stack: list[str | tuple[Edge, str, int, bool]] = []

    def begin(first: int, lead: str, indent: str, label: str) -> None:
        """Put the chain back from a node on the stack."""
        chain = [first]
        begun.add(first)
        while (main := graph.main.get(chain[-1])) is not None and main.source not in begun:
            chain.append(main.source)
            begun.update(chain[-1:] if main.source >= graph.tape.leaves else ())
        found: list[str | tuple[Edge, str, int, bool]] = [f"{lead}{name(first)}{label}"]
        for position, node in enumerate(chain):
            goes_on = position + 1 < len(chain)
            main = graph.main[node] if goes_on else None
            heavy = main is not None and graph.is_marked(main)
            branches = [edge for edge in incoming.get(node, ()) if edge is not main]
            for k, edge in enumerate(branches, 1):
                found.append((edge, indent, heavy, not goes_on and k == len(branches)))
            if main is not None:
                found.append(f"{indent}{strokes.down[heavy]}")
                found.append(f"{indent}{name(main.source)}{derivative(main)}")
        stack.extend(reversed(found))

    for number, root in enumerate(graph.outputs):
        if number:
            yield ""
        begin(root, "", "", "")
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                yield item
                continue
            edge, indent, heavy, ends = item
            lead = indent + (strokes.last[graph.is_marked(edge)] if ends else strokes.branch[heavy][graph.is_marked(edge)])
            label = derivative(edge)
            if edge.source in begun or edge.source < graph.tape.leaves:
                yield f"{lead}{name(edge.source, edge.source in begun)}{label}"
            else:
                begin(edge.source, lead, f"{indent}{' ' if ends else strokes.down[heavy]}  ", label)


# --- TeX ---


def write_cd(graph: Graph, captions: Captions) -> str:
    r"""An AMScd diagram of a chain, the parameters below their layers, or above where there are two; what is marked is boxed.

    Raises:
        OptionError: something is no neighbour of what it is computed from: AMScd has no other arrows.
    """
    placement = place(graph)
    _refuse_what_is_no_chain(graph, captions, placement)
    spine = sorted((node for node in graph.nodes if placement.rows[node] == 0), key=lambda node: placement.columns[node])
    edges = {(edge.source, edge.target): edge for edge in graph.edges}

    def node(value: int) -> str:
        return f"\\boxed{{{captions.nodes[value]}}}" if value in graph.marked else captions.nodes[value]

    def label(source: int, target: int) -> str:
        text = captions.edges.get(edges[source, target])
        return "" if text is None else f"{{{text}}}"

    main = node(spine[0])
    for before, value in itertools.pairwise(spine):
        main += f" @>{label(before, value)}>> {node(value)}"
    sides = [[placement.satellites.get(value, ())[k : k + 1] for value in spine] for k in (0, 1)]
    objects = [" @. ".join(node(leaf[0]) if leaf else "" for leaf in side).rstrip(" @.") for side in sides]
    arrows = []
    for side, sign in zip(sides, "AV", strict=True):
        texts = [f"@{sign}{label(leaf[0], value)}{sign}{sign}" if leaf else "@." for leaf, value in zip(side, spine, strict=True)]
        arrows.append(" ".join(texts).rstrip(" @."))
    lines = [f"{main}"]
    if arrows[0]:
        lines += [arrows[0], objects[0].strip()]
    if arrows[1]:
        lines = [objects[1].strip(), arrows[1], *lines]
    body = " \\\\\n".join(lines)
    return f"\\begin{{CD}}\n{body}\n\\end{{CD}}"


def _refuse_what_is_no_chain(graph: Graph, captions: Captions, placement: Placement) -> None:
    """Say what AMScd cannot draw."""

    def name(value: int) -> str:
        return graph.tape.names[value] or captions.nodes[value]

    hint = "choose the format tikzcd"
    direct: set[tuple[int, int]] = set()
    for edge in graph.edges:
        source, target = (name(value) for value in edge[:2])
        first, last = placement.columns[edge.source], placement.columns[edge.target]
        level = placement.rows[edge.source] == placement.rows[edge.target] == 0
        if edge[:2] in direct:
            raise OptionError(f"AMScd draws one arrow between neighbours, and {target} takes {source} twice", hint=hint)
        if first != last and not (last == first + 1 and level):
            raise OptionError(f"AMScd draws arrows between neighbours alone, not the one from {source} to {target}", hint=hint)
        direct.add(edge[:2])
    for host, leaves in placement.satellites.items():
        if placement.rows[host]:
            raise OptionError(f"AMScd draws one chain, and {name(host)} is not in it", hint=hint)
        if len(leaves) > 2:
            names = ", ".join(map(name, leaves))
            raise OptionError(f"AMScd has room for two inputs beside a layer; {name(host)} takes {names}", hint=hint)
    for node in graph.nodes:
        if node not in placement.satellites and placement.rows[node] < 0:
            raise OptionError(f"AMScd draws one chain, and {name(node)} is not in it", hint=hint)


def write_tikzcd(graph: Graph, captions: Captions) -> str:
    """A TikZ-CD diagram: skips are bent, what is marked is framed and its arrows are thick and red."""
    placement = place(graph)
    cells = _find_cells(graph, placement)
    at = {place_: node for node, place_ in cells.items()}
    leaving: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        leaving.setdefault(edge.source, []).append(edge)
    rows = sorted({row for row, _ in at})
    width = {row: max(column for line, column in at if line == row) + 1 for row in rows}
    drawn: set[tuple[int, int]] = set()
    lines = []
    for row in rows:
        texts = []
        for column in range(width[row]):
            node = at.get((row, column))
            if node is None:
                texts.append("")
                continue
            parts = [f"{'|[draw, very thick]| ' if node in graph.marked else ''}{captions.nodes[node]}"]
            for edge in leaving.get(node, ()):
                parts.append(_tikz_arrow(edge, graph, captions, placement, cells, edge[:2] in drawn))
                drawn.add(edge[:2])
            texts.append(" ".join(parts))
        lines.append(" & ".join(texts))
    body = " \\\\\n".join(lines)
    room = "[sep=large]" if captions.edges else ""
    return f"\\begin{{tikzcd}}{room}\n{body}\n\\end{{tikzcd}}"


def _find_cells(graph: Graph, placement: Placement) -> dict[int, tuple[int, int]]:
    """Row and column of each node in a matrix: one column for each of the satellites that stand beside each other."""
    numbers = {row: k for k, row in enumerate(sorted({*placement.rows.values()}))}
    widths = [1] * (1 + max(placement.columns.values()))
    for host, leaves in placement.satellites.items():
        column = placement.columns[host]
        widths[column] = max(widths[column], len(leaves))
    starts = [0]
    for wide in widths:
        starts.append(starts[-1] + wide)
    cells: dict[int, tuple[int, int]] = {}
    for node in graph.nodes:
        column = placement.columns[node]
        cells[node] = numbers[placement.rows[node]], starts[column] + (widths[column] - 1) // 2
    for host, leaves in placement.satellites.items():
        column = placement.columns[host]
        first = starts[column] + (widths[column] - len(leaves)) // 2
        cells.update((leaf, (numbers[placement.rows[leaf]], first + k)) for k, leaf in enumerate(leaves))
    return cells


def _tikz_arrow(edge: Edge, graph: Graph, captions: Captions, placement: Placement, cells: dict[int, tuple[int, int]], again: bool) -> str:
    (row, column), (row_to, column_to) = cells[edge.source], cells[edge.target]
    options = [("d" * (row_to - row) or "u" * (row - row_to)) + ("r" * (column_to - column) or "l" * (column - column_to))]
    label = captions.edges.get(edge)
    if label is not None:
        options.append(f'"{{{label}}}"' if "," in label else f'"{label}"')
    lane = placement.lanes.get(edge)
    between = sorted((placement.rows[edge.source], placement.rows[edge.target]))
    if lane is not None and between != [lane, lane] and not between[0] < lane < between[1]:
        options.append("bend left" if lane <= between[0] else "bend right")
    elif again:
        options.append("bend right")
    if graph.is_marked(edge):
        options += ["very thick", "red"]
    return f"\\arrow[{', '.join(options)}]"


# --- Mermaid and Graphviz ---


def write_mermaid(graph: Graph, captions: Captions) -> str:
    """A Mermaid flowchart; leaves are round, what is marked is thick."""
    lines = ["flowchart LR"]
    for node in graph.nodes:
        open_, close = ("([", "])") if node < graph.tape.leaves else ("((", "))") if captions.nodes[node] in OPERATORS else ("[", "]")
        lines.append(f"  v{node}{open_}{_mermaid_text(captions.nodes[node])}{close}")
    for edge in graph.edges:
        label = captions.edges.get(edge)
        line, arrow = ("==", "==>") if graph.is_marked(edge) else ("--", "-->")
        lines.append(f"  v{edge.source} {arrow if label is None else f'{line} {_mermaid_text(label)} {arrow}'} v{edge.target}")
    if graph.marked:
        lines.append("  classDef marked stroke-width:4px")
        lines.append(f"  class {','.join(f'v{node}' for node in graph.nodes if node in graph.marked)} marked")
    return "\n".join(lines)


def _mermaid_text(text: str) -> str:
    """A text in quotes; what Mermaid would take for markup as numbers of characters."""
    return '"' + "".join(f"#{ord(c)};" if c in _MERMAID_SIGNS else c for c in text) + '"'


_MERMAID_SIGNS = frozenset('"#&;<>+*`\\_')


def write_dot(graph: Graph, captions: Captions) -> str:
    """A Graphviz digraph from left to right; parameters stand at the layer that takes them first, what is marked is bold."""
    lines = ["digraph {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for node in graph.nodes:
        shape = ", shape=circle" if captions.nodes[node] in OPERATORS else ", shape=ellipse" if node < graph.tape.leaves else ""
        lines.append(f"  v{node} [label={_dot_text(captions.nodes[node])}{shape}{', style=bold' if node in graph.marked else ''}];")
    for edge in graph.edges:
        label = captions.edges.get(edge)
        options = [] if label is None else [f"label={_dot_text(label)}"]
        options += ["style=bold", "penwidth=3"] if graph.is_marked(edge) else []
        lines.append(f"  v{edge.source} -> v{edge.target}" + (f" [{', '.join(options)}];" if options else ";"))
    for host, leaves in place(graph).satellites.items():
        lines.append(f"  {{ rank=same; {' '.join(f'v{node};' for node in (host, *leaves))} }}")
    return "\n".join([*lines, "}"])


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Format(NamedTuple):
    """One picture language.

    Attributes:
        name: as on the command line.
        write: the writer.
        language: of its captions.
        mime: what notebooks show it as; empty where they cannot.
        description: one line.
    """

    name: str
    write: Callable[[Graph, Captions], str]
    language: type[Writer]
    mime: str
    description: str


FORMATS = {
    record.name: record
    for record in (
        Format("tree", write_tree, TextWriter, "", "box drawing for a terminal"),
        Format("svg", write_svg, SvgWriter, "image/svg+xml", "a picture by itself"),
        Format("cd", write_cd, LatexWriter, "text/latex", "AMScd, for chains in KaTeX, MathJax and TeX"),
        Format("tikzcd", write_tikzcd, LatexWriter, "", "TikZ-CD, for TeX"),
        Format("mermaid", write_mermaid, TextWriter, "text/vnd.mermaid", "Mermaid, for GitHub, GitLab and JupyterLab"),
        Format("dot", write_dot, TextWriter, "", "Graphviz"),
    )
}
"""The picture languages by name."""


def draw_picture(
    graph: Graph, form: Format, notation: Notation, layout: Layout, naming: str, index: str, edges: bool, ascii: bool
) -> Picture:
    """The picture of a graph, with the derivatives on its ``edges`` if they are asked for.

    With ``ascii`` nothing outside of ASCII is written; an SVG looks the same.

    Raises:
        OptionError: the language cannot draw this graph, or the notation cannot write its derivatives.
    """
    if form.language is TextWriter:
        writer: Writer = TextWriter(index, ascii=ascii)
    else:
        writer = form.language(index)
    captions = caption(graph, writer, notation, layout, naming, edges)
    text = form.write(graph, captions)
    return Picture(
        text.encode("ascii", "xmlcharrefreplace").decode() if ascii and form.name == "svg" else text, form.name, captions.notices
    )
