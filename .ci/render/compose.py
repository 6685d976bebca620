r"""Writes what the renderers are tried on, with the package as installed: python compose.py FOLDER [SEED], in the root of the repository.

Fifty random compositions, half of layers without a definition, half concrete, in every layout and notation that does not refuse: one .tex
file of formulas each, second derivatives and graphs too, and one of their derivations step by step with what they cost; pages of some of
them as .html, .typ and .latex, beside each page what its layout trees hold as .json; worksheets, and a derivation of a hundred layers.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path.cwd()))  # the tests are there; the package is the installed one

from hypothesis import HealthCheck, Phase, given, seed, settings

from jacobian_chain import derive, parse
from jacobian_chain.article import Article, Display, Equation, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.articles import compose
from jacobian_chain.equations import Line, broken
from jacobian_chain.errors import ChainError
from jacobian_chain.exercises import Level
from jacobian_chain.formats import write_article
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.paper import collect_lines
from jacobian_chain.steps import TITLES
from jacobian_chain.tokens import SUBSCRIPTS, SUPERSCRIPTS
from jacobian_chain.typesetting import ACCENTS, SYMBOLS, Tree, read_latex, widths
from jacobian_chain.webpage import EMS
from jacobian_chain.worksheet import make_assignment, worksheet_article
from tests import articles, compositions, concrete

COMPOSITIONS = 25
LONGEST = 20_000
PAGES = 4
VARIANTS: tuple[dict[str, object], ...] = (
    {},
    *({"notation": notation} for notation in NOTATIONS),
    {"index": "super"},
    {"points": True},
    {"expand": True},
    {"shared": True},
    {"vec": True},
    {"index_notation": True},
)


Question = tuple[str, str, tuple[str, ...]]
"""A composition, its output, and what it is differentiated by."""


def draw_compositions(start: int) -> list[Question]:
    """Random compositions: layers without a definition first, then concrete ones."""
    found: list[Question] = []

    @seed(start)
    @settings(max_examples=4 * COMPOSITIONS, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(compositions.problems())
    def collect(problem: compositions.Problem) -> None:
        found.append((problem.text, problem.output, tuple(problem.wrt)))

    collect()
    cases = [concrete.make(start + k) for k in range(COMPOSITIONS)]
    drawn = list(dict.fromkeys(found))[-COMPOSITIONS:]  # the first ones are the smallest
    return [*drawn, *((case.text, case.output, case.variables) for case in cases)]


def formulas(question: Question) -> Iterator[tuple[str, str]]:
    """A composition in every layout and notation that does not refuse, each with what it is."""
    text, of, wrt = question
    for layout, variant in itertools.product(LAYOUTS, VARIANTS):
        try:
            latex = derive(text, wrt=wrt, of=of, layout=layout).latex(**variant)  # type: ignore[arg-type]
        except ChainError:
            continue
        if len(latex) <= LONGEST:
            yield f"{layout} layout {json.dumps(variant)}", latex
    composed = parse(text)
    with contextlib.suppress(ChainError):
        yield "second derivatives", composed.second(wrt[0], wrt[-1], of).latex()
    with contextlib.suppress(ChainError):
        yield "graph", composed.graph("cd", edges=True, paths=wrt[0])


def derivations(question: Question) -> Iterator[tuple[str, Article]]:
    """The steps of a composition of every kind in every layout, each in another notation, as far as it does not refuse."""
    text, of, wrt = question
    notations = itertools.cycle((None, *NOTATIONS))
    for kind, layout in itertools.product(TITLES, LAYOUTS):
        notation = next(notations)
        jacobian = derive(text, wrt=wrt, of=of, layout=layout)
        try:
            article = compose([jacobian], "latex", steps=kind, sizes=[], shapes=layout == "mixed", notation=notation)
        except ChainError:
            continue
        if len(write_article(article, "latex")) <= LONGEST:
            yield f"{kind}-{layout}", article


def count(article: Article) -> dict[str, int]:
    """What a page of an article must show: fractions, rows of grids, bars between blocks, lines of displays."""
    lines = [line for group in collect_lines(article.parts).values() for line in group]
    trees = [tree for line in lines for tree in (line.left, line.right)]
    for prose in [article.title, *(prose for part in article.parts for prose in proses(part)), *(line.reason for line in lines)]:
        trees += [read_latex(piece.text) for piece in prose if isinstance(piece, Math)]
    total = Counter[str]()
    for tree in trees:
        total.update(count_tree(tree))
    return {"fractions": total["fraction"], "rows": total["line"], "bars": total["bar"], "lines": count_lines(article, lines)}


def count_lines(article: Article, lines: list[Line]) -> int:
    """Lines of displays and of formulas that are nothing but equations below each other, broken where they are long."""
    formulas = [read_latex(part.text) for part in article.parts if isinstance(part, Formula)]
    alone = [tree for tree in formulas if tree.nodes[-1].text != "aligned" and widths(tree)[-1] <= EMS]
    return sum(len(broken(line, EMS)) for line in lines) - len(alone)


def count_tree(tree: Tree) -> Counter[str]:
    """The parts of a tree by their kinds, and its bars between blocks."""
    total = Counter(node.kind for node in tree.nodes)
    for node in tree.nodes:
        if node.kind == "fence":
            total["bar"] += len(node.args) - 1
        elif node.kind == "sized" and node.text.split(" ")[0][-1] not in "lr":
            total["bar"] += 1
    return total


def proses(part: Part) -> list[Prose]:
    """The prose of a part, without the reasons of its equations."""
    if isinstance(part, Heading | Paragraph):
        return [part.text]
    if isinstance(part, Table):
        return [part.caption, *part.header, *(cell for row in part.rows for cell in row)]
    assert isinstance(part, Display | Formula | Figure)
    return []


def write_pages(folder: Path, name: str, article: Article) -> None:
    """An article in every format that an engine lays out, and what it holds."""
    for form, ending in (("html", "html"), ("typst", "typ"), ("document", "latex")):
        (folder / f"{name}.{ending}").write_text(write_article(article, form) + "\n", encoding="utf-8")
    (folder / f"{name}-article.tex").write_text(write_article(article, "latex") + "\n", encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(count(article)), encoding="utf-8")


def backprop(layers: int) -> Article:
    """A long page."""
    text = "; ".join(f"x{k + 1} = f{k + 1}(x{k}, θ{k + 1})" for k in range(layers)) + f"; L = ℓ(x{layers})"
    return compose([derive(text, wrt="θ", layout="mixed")], "latex", steps="backprop")


def characters() -> Article:
    """Every sign that a formula may hold, and every kind of character in prose and pictures."""
    printable = "".join(map(chr, range(32, 127)))
    letters = "".join(chr(code) for code in range(0xA1, 0x180) if chr(code).isalpha())
    signs = "".join(symbol.character for symbol in SYMBOLS.values())
    text = f"{printable}{letters}{signs}{''.join(SUBSCRIPTS)}{''.join(SUPERSCRIPTS)}–—“”‘’…中ŷ√𝟏ŋ€x₁²₃′ᵀ"
    words = [text[k : k + 6] for k in range(0, len(text), 6)]
    prose: Prose = (" ".join(words),)
    formula = " ".join(f"a {latex} b" for latex in SYMBOLS)
    accents = " ".join(f"\\{accent}{{x}}" for accent in sorted(ACCENTS - {"overline", "underline"}))
    tree = "f = L₂\n├── x₂ │ θ²\n└── 中"
    table = Table(prose, (("words",), ("b",)), tuple(((word,), (Math("x"),)) for word in words))
    steps = Display((*(Equation("x", "y", (word,)) for word in words), Equation("", accents)))
    return Article(prose, (Heading(prose), Paragraph(prose), steps, Formula(formula), table, Figure(articles.PICTURE, tree)))


def main(folder: Path, start: int) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = draw_compositions(start)
    total = 0
    for k, question in enumerate(questions):
        text = question[0]
        found = {latex: told for told, latex in formulas(question)}
        total += len(found)
        assert found, f"nothing can be derived of {text}"
        head = "".join(f"% {line}\n" for line in text.split("\n"))
        pages = [f"% {told}\n{latex}\n" for latex, told in found.items()]
        (folder / f"composition-{k}.tex").write_text(head + "".join(pages), encoding="utf-8")
        if k % COMPOSITIONS < PAGES:
            parts = [part for latex, told in found.items() if told != "graph" for part in (Paragraph((told,)), Formula(latex))]
            write_pages(folder, f"composition-{k}", Article((text,), tuple(parts)))
        steps = dict(derivations(question))
        assert steps, f"no derivation of {text} can be told"
        (folder / f"composition-{k}-steps.tex").write_text(
            "".join(f"% {name}\n{write_article(article, 'latex')}\n" for name, article in steps.items()), encoding="utf-8"
        )
        if k % COMPOSITIONS < PAGES:
            name = sorted(steps)[k % len(steps)]
            write_pages(folder, f"composition-{k}-{name}", steps[name])
    write_pages(folder, "characters", characters())
    write_pages(folder, "sample", articles.sample())
    write_pages(folder, "backprop", backprop(100))
    levels = [Level(3, skip=True), Level(2, concrete=True)]
    write_pages(folder, "worksheet", worksheet_article([make_assignment(str(k), level, wrong=2) for k, level in enumerate(levels)]))
    assert len(questions) == 2 * COMPOSITIONS, "too few distinct compositions"
    sys.stdout.write(f"{len(questions)} compositions, {total} formulas\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
