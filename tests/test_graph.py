"""Computation graphs: every picture shows every edge once, marks exactly the paths, and overlaps nothing."""

from __future__ import annotations

import pickle
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from jacobian_chain import derive, parse
from jacobian_chain.cli import PICTURES, cli
from jacobian_chain.errors import OptionError, ReadingError
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.pictures import FORMATS
from jacobian_chain.tape import Tape
from tests.compositions import Problem, problems
from tests.test_goldens import check_balance

LOSS = "x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = f3(x2, θ3); L = ℓ(x3)"
GRAPHS = {
    "chain": (LOSS, "θ1"),
    "nested": ("L3(L2(L1(x,θ^1),θ^2),θ^3)", "θ2"),
    "residual": ("x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2)/2; x3 = x2 - f3(x2, x, θ3); L = ℓ(x3)", "θ1"),
    "network": ("z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2", "W1"),
    "attention": (
        "X: n x d; Q = X W_Q; K = X W_K; V = X W_V; S = Q K^T/sqrt(d); A = softmax_rows(S); O = A V; L = l(O)",
        "W_K",
    ),
    "recurrent": ("h1 = tanh(W h0 + U x1); h2 = tanh(W h1 + U x2); h3 = tanh(W h2 + U x3); L = l(h3)", "W"),
    "dense": ("x1 = f1(x0, θ1); x2 = f2(x0, x1, θ2); x3 = f3(x0, x1, x2, θ3); x4 = f4(x0, x1, x2, x3, θ4); L = l(x4)", "θ2"),
    "names": (r"\hat{y}_{t+1} = F(W_{hh}, h_{t-1}, loss_2, W_{in}^{(2)}, δ); J = C(\hat y_{t+1})", "loss_2"),
    "unnamed": ("y = λ g(x + f(x, θ)) - l(x) + l(h) + λ (x - 2 m(x)); h = k(x); z = q(y, c + d(c)); λ: scalar", "θ"),
    "outputs": ("h = f(x, θ); y = g(h, a); z = k(h, b)", "θ"),
}
ENDINGS = {"tree": "txt", "svg": "svg", "cd": "tex", "tikzcd": "tikz", "mermaid": "mmd", "dot": "dot"}
CHAINS = ("chain", "nested")
DRAWABLE = [(name, form) for name in GRAPHS for form in FORMATS if form != "cd" or name in CHAINS]


@pytest.fixture
def picture(snapshot: SnapshotAssertion, request: pytest.FixtureRequest) -> SnapshotAssertion:
    ending = ENDINGS[request.node.callspec.params["form"]]

    class File(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = ending

    return snapshot.use_extension(File)


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "marked"])
@pytest.mark.parametrize(("name", "form"), DRAWABLE, ids=lambda text: text)
def test_pictures(name: str, form: str, marked: bool, picture: SnapshotAssertion) -> None:
    text, start = GRAPHS[name]
    drawn = parse(text).graph(form, edges=marked, paths=start if marked else ())
    if form in ("cd", "tikzcd"):
        check_balance(re.sub(r"@([>AV])(.*?)\1\1(?= )", r"{\2}", drawn) if form == "cd" else drawn)
    assert f"{drawn}\n" == picture


def test_the_seed_picture() -> None:
    seed = r"\begin{CD} x @>>> x_1 @>>> x_2 @>>> x_3 @>>> L\\ @. @AAA @AAA @AAA\\ @. \theta_1 @. \theta_2 @. \theta_3 \end{CD}"
    drawn = parse(LOSS).graph("cd")
    assert "".join(re.sub(r"_\{(\d)\}", r"_\1", drawn).split()) == "".join(seed.split())


# --- readers: what a picture says, as pairs of captions ---


class Read:
    """Nodes and edges of a picture, each with whether it is marked."""

    def __init__(self) -> None:
        self.nodes: Counter[tuple[str, bool]] = Counter()
        self.edges: Counter[tuple[str, str, bool]] = Counter()


def read_svg(text: str) -> Read:
    read = Read()
    names = {}
    for group in ET.fromstring(text):
        marked = group.get("data-marked") == "true"
        if "data-node" in group.attrib:
            caption = "".join(group.itertext())
            names[group.get("data-node")] = caption
            read.nodes[caption, marked] += 1
    for group in ET.fromstring(text):
        if "data-edge" in group.attrib:
            source, target, _ = group.attrib["data-edge"].split()
            read.edges[names[source], names[target], group.get("data-marked") == "true"] += 1
    return read


def read_mermaid(text: str) -> Read:
    read = Read()
    first, *lines = text.split("\n")
    assert first == "flowchart LR"
    thick: set[str] = set()
    for line in lines:
        if line.startswith("  class "):
            thick.update(line.split()[1].split(","))
    names = {}
    for line in lines:
        if node := re.fullmatch(r'  (v\d+)(?:\(\["(.*)"\]\)|\(\("(.*)"\)\)|\["(.*)"\])', line):
            caption = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), next(filter(None, node.groups()[1:])))
            names[node[1]] = caption
            read.nodes[caption, node[1] in thick] += 1
        elif edge := re.fullmatch(r'  (v\d+) (?:(?:--|==) "[^"]*" )?(-->|==>) (v\d+)', line):
            read.edges[names[edge[1]], names[edge[3]], edge[2] == "==>"] += 1
        else:
            assert line.startswith(("  class ", "  classDef "))
    return read


def read_dot(text: str) -> Read:
    read = Read()
    names = {}
    for line in text.split("\n"):
        if node := re.fullmatch(r'  (v\d+) \[label="(.*?)"(.*)\];', line):
            names[node[1]] = node[2]
            read.nodes[node[2], "bold" in node[3]] += 1
        elif edge := re.fullmatch(r"  (v\d+) -> (v\d+)(?: \[(.*)\])?;", line):
            read.edges[names[edge[1]], names[edge[2]], "style=bold, penwidth=3" in (edge[3] or "")] += 1
        else:
            assert re.fullmatch(r"digraph \{|  rankdir=LR;|  node \[.*\];|  \{ rank=same;( v\d+;)+ \}|\}", line), line
    return read


def read_tikzcd(text: str) -> Read:
    read = Read()
    rows = text.replace("[sep=large]", "", 1).removeprefix("\\begin{tikzcd}\n").removesuffix("\n\\end{tikzcd}").split(" \\\\\n")
    names: dict[tuple[int, int], str] = {}
    arrows = []
    for i, row in enumerate(rows):
        for j, cell in enumerate(row.split(" & ")):
            caption, *options = cell.split(r" \arrow[")
            frame = caption.strip().startswith("|[draw, very thick]| ")
            names[i, j] = caption.strip().removeprefix("|[draw, very thick]| ")
            if names[i, j]:
                read.nodes[names[i, j], frame] += 1
            arrows += [((i, j), option) for option in options]
    for (i, j), option in arrows:
        steps = Counter(option.split(",")[0].strip("]"))
        assert set(steps) <= set("udrl")
        end = i + steps["d"] - steps["u"], j + steps["r"] - steps["l"]
        read.edges[names[i, j], names[end], "very thick, red]" in option] += 1
    return read


def read_cd(text: str) -> Read:
    read = Read()
    lines = text.removeprefix("\\begin{CD}\n").removesuffix("\n\\end{CD}").split(" \\\\\n")
    at = next(k for k, line in enumerate(lines) if "@>" in line)
    main = re.split(r" @>.*?>> ", lines[at])
    for source, target in pairwise(main):
        read.edges[source, target, False] += 1
    sides = [(lines[at + 2], lines[at + 1], "A")] if len(lines) > at + 1 else []
    sides += [(lines[0], lines[1], "V")] if at else []
    nodes = list(main)
    for objects, arrows, sign in sides:
        leaves = [leaf.strip() for leaf in re.split(r"@\.", objects)]
        marks = [mark != "@." for mark in re.findall(rf"@\.|@{sign}.*?{sign}{sign}(?= |$)", arrows)]
        for column, (leaf, mark) in enumerate(zip(leaves, marks, strict=True)):
            assert bool(leaf) is mark
            if leaf:
                nodes.append(leaf)
                read.edges[leaf, main[column], False] += 1
    read.nodes.update((node.removeprefix(r"\boxed{").removesuffix("}") if "boxed" in node else node, "boxed" in node) for node in nodes)
    return read


def read_tree(text: str) -> Read:
    read = Read()
    for tree in text.split("\n\n"):
        above: list[str] = []  # the last node at each indentation
        drop: bool | None = None  # whether the line just above is one down, and heavy
        for line in tree.split("\n"):
            depth = 0
            while re.match("[│┃ ]  ", line):
                depth, line = depth + 1, line[3:]
            if line in ("│", "┃"):
                drop = line == "┃"
                continue
            branch = line[1:3] in ("─ ", "━ ") and line[0] in "├┠└┝┣┗"
            if branch:
                assert (line[1] == "━") is (line[0] in "┝┣┗")
            caption, star, again = name_of(line[3:] if branch else line)
            del above[depth + 1 :]
            if branch:
                read.edges[caption, above[depth], line[1] == "━"] += 1
                above.append(caption)
            elif drop is not None:
                read.edges[caption, above[depth], drop] += 1
                above[depth] = caption
            else:
                assert not above
                above = [caption]
            drop = None
            if not again:
                read.nodes[caption, star] += 1
    return read


def name_of(text: str) -> tuple[str, bool, bool]:
    text = text.split("  ")[0]
    star = text.endswith(" *")
    text = text.removesuffix(" *")
    return text.removesuffix(" …"), star, text.endswith(" …")


READERS: dict[str, Callable[[str], Read]] = {
    "svg": read_svg,
    "mermaid": read_mermaid,
    "dot": read_dot,
    "tikzcd": read_tikzcd,
    "tree": read_tree,
}


def expected_edges(tape: Tape, output: int | None = None) -> list[tuple[int, int, int]]:
    """Each slot of each step that the outputs depend on, but for unnamed numbers: by depth-first search."""
    outputs = (
        [output] if output is not None else [v for v in range(tape.leaves, len(tape.names)) if not any(v in s.inputs for s in tape.steps)]
    )
    seen, stack, found = set(outputs), outputs, []
    while stack:
        value = stack.pop()
        if value < tape.leaves:
            continue
        for slot, source in enumerate(tape.steps[value - tape.leaves].inputs):
            if source >= tape.leaves and tape.steps[source - tape.leaves].operation == "number" and not tape.names[source]:
                continue
            found.append((source, value, slot))
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return sorted(found)


def walk(edges: list[tuple[int, int, int]], start: int, ends: set[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Every path from a value to an output, one after the other."""
    if start in ends:
        yield []
    for edge in edges:
        if edge[0] == start:
            for rest in walk(edges, edge[1], ends):
                yield [edge, *rest]


def drawn_edges(svg: str, attribute: str = "data-edge") -> list[tuple[int, ...]]:
    return sorted(tuple(map(int, group.attrib[attribute].split())) for group in ET.fromstring(svg) if attribute in group.attrib)


@settings(max_examples=120, deadline=None)
@given(problems())
def test_every_edge_is_drawn_once(problem: Problem) -> None:
    composition = parse(problem.text)
    edges = expected_edges(composition.tape)
    svg = composition.graph("svg")
    assert drawn_edges(svg) == edges
    # what a node is called differs between languages; leaves and arrows do not
    for form, read in READERS.items():
        found = read(composition.graph(form))
        assert found.edges.total() == len(edges), form
        assert simplified(found, form) == simplified(read_svg(svg), form), form


SMALL = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₐ", "0123456789a")


def simplified(read: Read, form: str) -> tuple[Counter[tuple[str, str, bool]], Counter[tuple[str, bool]]]:
    """Captions without the writing of indices."""

    def simple(caption: str) -> str:
        caption = caption.replace(r"\theta", "θ").replace(r"\lambda", "λ").replace(r"\cdot", "·")
        return re.sub(r"[_{}]", "", caption).translate(SMALL)

    edges = Counter([(simple(a), simple(b), marked) for a, b, marked in read.edges.elements()])
    nodes = Counter([(simple(name), marked) for name, marked in read.nodes.elements()])
    return edges, Counter({*nodes}) if form == "tree" else nodes  # a tree names a leaf wherever it is used


@settings(max_examples=80, deadline=None)
@given(problems())
def test_marked_are_exactly_the_paths(problem: Problem) -> None:
    composition = parse(problem.text)
    tape = composition.tape
    edges = expected_edges(tape)
    outputs = {value for value in range(tape.leaves, len(tape.names)) if not any(value == edge[0] for edge in edges)}
    for name in problem.leaves:
        start = tape.index(name)
        assert start is not None
        paths = list(walk(edges, start, outputs))
        if not paths:
            with pytest.raises(OptionError, match="no path leads"):
                composition.graph("svg", paths=name)
            continue
        on_path = {edge for path in paths for edge in path}
        svg = composition.graph("svg", paths=name)
        marked = [group for group in ET.fromstring(svg) if group.get("data-marked")]
        assert {tuple(map(int, group.attrib["data-edge"].split())) for group in marked if "data-edge" in group.attrib} == on_path
        nodes = {int(group.attrib["data-node"]) for group in marked if "data-node" in group.attrib}
        assert nodes == {start} | {edge[1] for edge in on_path}
        # thick as well as coloured
        widths = {
            bool(group.get("data-marked")): group[0].get("stroke-width") for group in ET.fromstring(svg) if "data-edge" in group.attrib
        }
        assert widths[True] == "2.8"
        assert widths.get(False, "1.4") == "1.4"
        for form, read in READERS.items():
            if form != "svg":
                assert simplified(read(composition.graph(form, paths=name)), form) == simplified(read_svg(svg), form), form


# --- nothing overlaps ---

Box = tuple[float, float, float, float]


def box_of(group: ET.Element) -> Box:
    """Left, top, right, bottom of the rectangle in a group."""
    rectangle = next(child for child in group if child.tag.endswith("rect"))
    x, y, width, height = (float(rectangle.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def trace(path: str) -> list[tuple[float, float]]:
    """Many places on a path of lines and Bézier curves."""
    tokens = re.findall(r"[MLC]|-?[\d.]+", path)
    places: list[tuple[float, float]] = []
    while tokens:
        command = tokens.pop(0)
        assert command in "MLC"
        count = {"M": 1, "L": 1, "C": 3}[command]
        points = [(float(tokens.pop(0)), float(tokens.pop(0))) for _ in range(count)]
        if command == "M":
            places += points
            continue
        start, end = places[-1], points[-1]
        one, other = points[:2] if command == "C" else (start, end)
        for k in range(1, 41):
            t = k / 40
            weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            corners = list(zip(weights, (start, one, other, end), strict=True))
            places.append((sum(weight * x for weight, (x, _) in corners), sum(weight * y for weight, (_, y) in corners)))
    return places


def check_geometry(svg: str) -> dict[str, bool]:
    """Whether each caption stands on its edge; that nothing overlaps is asserted."""
    root = ET.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    nodes = {int(group.attrib["data-node"]): box_of(group) for group in root if "data-node" in group.attrib}
    labels = {group.attrib["data-label"]: box_of(group) for group in root if "data-label" in group.attrib}
    edges = {group.attrib["data-edge"]: group for group in root if "data-edge" in group.attrib}
    boxes = [*nodes.values(), *labels.values()]
    for one, other in combinations(boxes, 2):
        assert not meet(one, other)
    for box in boxes:
        assert left <= box[0]
        assert top <= box[1]
        assert box[2] <= left + width
        assert box[3] <= top + height
    assert not labels or set(labels) == set(edges)
    courses = {}
    for key, group in edges.items():
        source, target, _ = map(int, key.split())
        places = trace(group[0].attrib["d"])
        assert all(left <= x <= left + width and top <= y <= top + height for x, y in places)
        assert touches(nodes[source], *places[0], 1.0)
        tip = tuple(map(float, group[1].attrib["points"].split()[0].split(",")))
        assert touches(nodes[target], tip[0], tip[1], 1.0)
        for node, box in nodes.items():
            if node not in (source, target):
                assert not any(touches(box, x, y, -1.0) for x, y in places), (key, node)
        courses[key] = places
    for (one_key, one_course), (other_key, other_course) in combinations(courses.items(), 2):
        assert one_course != other_course, (one_key, other_key)
    return {key: any(touches(box, x, y, 0.0) for x, y in courses[key]) for key, box in labels.items()}


def touches(box: Box, x: float, y: float, by: float) -> bool:
    return box[0] - by <= x <= box[2] + by and box[1] - by <= y <= box[3] + by


@settings(max_examples=120, deadline=None)
@given(problems())
def test_nothing_overlaps(problem: Problem) -> None:
    composition = parse(problem.text)
    check_geometry(composition.graph("svg"))
    check_geometry(composition.graph("svg", edges=True, notation="slots"))
    check_geometry(composition.graph("svg", edges=True, notation="slots", paths="all", layout="denominator"))


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("edges", [False, True])
def test_nothing_overlaps_in_the_goldens(name: str, edges: bool) -> None:
    captions = check_geometry(parse(GRAPHS[name][0]).graph("svg", edges=edges))
    assert all(captions.values())


# --- what stands on the edges ---


def captions_of(svg: str) -> dict[tuple[int, ...], str]:
    groups = [group for group in ET.fromstring(svg) if "data-label" in group.attrib]
    return {tuple(map(int, group.attrib["data-label"].split())): "".join(group.itertext()) for group in groups}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_derivatives_on_a_path_are_the_factors_of_the_block(notation: str, layout: str) -> None:
    """A chain's block is the product of what stands on its edges, as the derivation writes it."""
    composition = parse("x1 = f1(x, θ1); x2 = f2(x1, θ2); x3 = 3 f3(x2); L = ℓ(x3, y)")
    picture = composition.graph("dot", edges=True, paths="θ1", notation=notation, layout=layout, index="super")
    captions = {edge[1]: edge[3] for edge in re.findall(r"v(\d+) -> (v(\d+)) \[label=\"(.*?)\", style=bold", picture)}
    assert len(captions) == 5
    factors = [caption for caption in captions.values() if caption != "3 I"]
    jacobian = derive(composition, wrt="θ1", layout=layout)
    block = jacobian.unicode(notation=notation, index="super").partition(" = ")[2]
    transposed = layout != "numerator"
    assert block == "3 " + " · ".join(factors if transposed else factors[::-1])


def test_sums_and_multiples_have_their_factors_on_the_edges() -> None:
    read = parse("y = x - 2 f(x)/3 + λ g(x); z = 2 s; u = v - w; λ: scalar; s: scalar; v: 3").graph("dot", edges=True, ascii=False)
    captions = re.findall(r'label="([^"]*)"\];', read)
    assert Counter(captions)["I"] == 3
    assert Counter(captions)["-2/3 I"] == 1
    assert Counter(captions)["-I"] == 1
    assert Counter(captions)["2"] == 1
    assert Counter(captions)["λ · I"] == 1
    assert Counter(captions)["g(x)"] == 1


def test_captions_say_apart_what_is_applied_twice() -> None:
    composition = parse("h1 = f(h0, W); h2 = f(h1, W); L = l(h2)")
    assert [*captions_of(composition.graph("svg", edges=True, notation="jacobian")).values()].count("(JW f)(h1, W)") == 1
    picture = composition.graph("tree", edges=True, notation="jacobian")
    assert "(J_W f)(h₀, W)" in picture
    assert picture.notices == ("f is applied more than once: evaluation points tell its derivatives apart",)
    with pytest.raises(OptionError, match="cannot tell the slots 1 and 2 of f apart"):
        parse("f(x, x)").graph("svg", edges=True)
    assert "∂₁ f" in parse("f(x, x)").graph("tree", edges=True, notation="slots")
    assert parse("f(x, x)").graph("tree").split("\n") == ["y", "├─ x", "│", "x"]


def test_names_of_unnamed_values() -> None:
    tree = parse("y = x + f(x, θ)").graph("tree")
    assert read_tree(tree).edges == Counter([("x", "y", False), ("f", "y", False), ("x", "f", False), ("θ", "f", False)])
    twice = parse("y = f(x) - 2 f(z)").graph("mermaid")
    assert '["f(x)"]' in twice
    assert '["f(z)"]' in twice
    taken = read_dot(parse("y = g(f(x, a), b)").graph("dot", edges=True))
    assert ("x₁", False) in taken.nodes  # what derivations call it


def test_of_draws_a_part_and_names_are_found() -> None:
    composition = parse("W = (W1, W2); h = f(x, W1); y = g(h, W2); z = k(h, c)")
    assert drawn_edges(composition.graph(of="y")) == expected_edges(composition.tape, composition.tape.index("y"))
    marked = read_svg(composition.graph(of="y", paths="W"))
    assert {name for name, star in marked.nodes if star} == {"W1", "W2", "h", "y"}
    assert composition.graph(of="y", paths=["W1", "W_2"]) == composition.graph(of="y", paths="W")
    with pytest.raises(ReadingError, match=r"--paths:1:1(.|\n)*did you mean W or W1 or W2") as caught:
        composition.graph(paths="W3")
    assert caught.value.status == 3
    with pytest.raises(OptionError, match="no path leads from c to y"):
        composition.graph(of="y", paths="c")
    with pytest.raises(OptionError, match="--paths needs a name"):
        composition.graph(paths="")
    with pytest.raises(OptionError, match="--layout is about the derivatives"):
        composition.graph(layout="numerator")
    with pytest.raises(OptionError, match="--notation is about the derivatives"):
        composition.graph(notation="slots")
    with pytest.raises(OptionError, match="did you mean svg"):
        composition.graph("svgg")


def test_nodes_of_concrete_layers_are_named_values() -> None:
    network = read_dot(parse(GRAPHS["network"][0]).graph("dot"))
    assert {name for name, _ in network.nodes} == {"W₁", "x", "b₁", "z₁", "h", "W₂", "b₂", "y\u0302", "y", "L"}
    assert network.edges.total() == 9
    mixed = parse("h = σ(W x); y = g(h, θ) + h; L = l(y)").graph("tree", paths="θ")
    assert {name for name, star in read_tree(mixed).nodes if star} == {"θ", "g", "y", "L"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x2 = x1 + f(x1, θ)", "arrows between neighbours alone, not the one from x1 to x2"),
        ("h = f(h0, W); k = f(h, W)", "not the one from W to k"),
        ("y = f(x, x, θ)", "y takes x twice"),
        ("y = f(x, θ, θ)", "y takes θ twice"),
        ("y = f(x, θ1, θ2, θ3)", "room for two inputs beside a layer; y takes θ1, θ2, θ3"),
        ("y = f(g(x), h(z))", "AMScd draws"),
        ("y = f(x); z = g(w)", "AMScd draws one chain"),
    ],
)
def test_what_amscd_cannot_draw(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        parse(text).graph("cd")
    assert "tikzcd" in str(caught.value)


@pytest.mark.parametrize("beside", [0, 1, 2])
@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("edges", [False, True])
def test_chains_in_amscd(layers: int, beside: int, edges: bool) -> None:
    parameters = ["".join(f", {letter}{k}" for letter in "θb"[:beside] if (k + ord(letter)) % 3) for k in range(1, layers + 1)]
    text = "; ".join(f"x{k} = f{k}(x{k - 1}{parameters[k - 1]})" for k in range(1, layers + 1))
    composition = parse(text)
    read = read_cd(composition.graph("cd", edges=edges, paths="x0"))
    names = composition.tape.names
    expected = [(names[source], names[target]) for source, target, _ in expected_edges(composition.tape)]
    assert Counter(
        (re.sub(r"[{}_]|\\boxed", "", a).replace(r"\theta", "θ"), re.sub(r"[{}_]|\\boxed", "", b)) for a, b, _ in read.edges
    ) == Counter(expected)
    assert sum(mark for _, mark in read.nodes) == layers + 1


# --- where pictures go ---


def test_two_pictures_in_one_page_share_no_id() -> None:
    pictures = [parse(text).graph(edges=True, paths=start, notation="slots") for text, start in GRAPHS.values()]
    names = [re.findall(r'\bid="([^"]+)"', picture) for picture in pictures]
    assert all(len(found) == 2 for found in names)
    assert len({name for found in names for name in found}) == 2 * len(pictures)
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]]
        assert [child.tag.rpartition("}")[2] for child in root[:2]] == ["title", "desc"]
        assert not re.search(r"script|\sstyle=|<style|href|url\(|http(?!://www.w3.org/2000/svg\")", picture)


def test_notebooks_show_pictures() -> None:
    composition = parse(LOSS)
    kinds = {form: composition.graph(form)._repr_mimebundle_() for form in FORMATS}
    assert kinds["svg"]["image/svg+xml"] == kinds["svg"]["text/plain"] == composition.graph()
    assert kinds["mermaid"]["text/vnd.mermaid"].startswith("flowchart")
    assert kinds["cd"]["text/latex"].startswith(r"$$\begin{CD}")
    assert [*kinds["tree"]] == [*kinds["dot"]] == [*kinds["tikzcd"]] == ["text/plain"]
    copy = pickle.loads(pickle.dumps(composition.graph("cd")))
    assert copy._repr_mimebundle_() == kinds["cd"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments)


def test_command_line(tmp_path: Path) -> None:
    assert set(PICTURES) == set(FORMATS)
    composition = parse(GRAPHS["residual"][0])
    done = run("graph", GRAPHS["residual"][0], "--edges", "--paths", "θ1", "--paths", "θ2")
    assert done.exit_code == 0
    assert done.stdout == composition.graph("tree", edges=True, paths=["θ1", "θ2"]) + "\n"
    for form in FORMATS:
        done = run("graph", LOSS, "--format", form, "--ascii", "--edges", "--paths", "θ1", "-o", str(tmp_path / form))
        assert done.exit_code == 0
        assert done.stdout == ""
        text = (tmp_path / form).read_text(encoding="utf-8")
        assert text.isascii()
        assert text == parse(LOSS).graph(form, edges=True, paths="θ1", ascii=True) + "\n"
    branches = ("graph", "y = f(g(h(x, c), d), k(x))", "--paths", "x", "--ascii")
    assert "\n#  #\n" in run(*branches).stdout
    assert run(*branches, "--color", "always").stdout == run(*branches).stdout
    assert run("graph", LOSS, "--paths", "θ9").exception.status == 3
    assert run("graph", "f(x, x)", "--edges").exception.status == 2
    assert run("graph", GRAPHS["residual"][0], "--format", "cd").exception.status == 2


@pytest.mark.parametrize("form", FORMATS)
def test_size_is_linear(form: str) -> None:
    """A thousand layers, with skips where the format has them: ten times the text of a hundred, nearly."""

    def draw(count: int) -> int:
        skip = "" if form == "cd" else "x{0} + "
        text = "; ".join(f"x{k + 1} = {skip.format(k)}f{k + 1}(x{k}, θ{k + 1})" for k in range(count))
        return len(parse(text).graph(form, edges=True, paths="θ1"))

    assert draw(1000) < 13 * draw(100)


def test_trees_of_branches_stay_small() -> None:
    """Neither side branches within side branches nor many uses of one value are written out again and again."""
    comb = "; ".join(f"x{k + 1} = f{k + 1}(g{k + 1}(a{k}, b{k}), x{k}, x{max(k - 5, 0)})" for k in range(300))
    assert len(parse(comb).graph("tree")) < 20_000
    fan = "; ".join(["h = g(f(x))", *(f"x{k} = k{k}(h)" for k in range(200)), "y = l(" + ", ".join(f"x{k}" for k in range(200)) + ")"])
    tree = parse(fan).graph("tree")
    assert len(re.findall(r"\bh\b", tree)) == 200
    assert len(re.findall(r"\bf\b|x₂\b", tree)) <= 3
