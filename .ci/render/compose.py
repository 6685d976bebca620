r"""Writes what the renderers are tried on, with the package as installed: python compose.py FOLDER [SEED], in the root of the repository.

Fifty random compositions, half of layers without a definition, half concrete, in every layout and notation that does not refuse: one .tex
file of formulas each, and pages of some of them as .html, .typ and .latex, beside each page what its layout trees hold as .json.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path.cwd()))  # the tests are there; the package is the installed one

from hypothesis import HealthCheck, Phase, given, seed, settings

from jacobian_chain import derive
from jacobian_chain.article import Article, Display, Equation, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.equations import Line, broken
from jacobian_chain.errors import ChainError
from jacobian_chain.formats import write_article
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.notation import NOTATIONS
from jacobian_chain.paper import collect_lines
from jacobian_chain.tokens import SUBSCRIPTS, SUPERSCRIPTS
from jacobian_chain.typesetting import ACCENTS, SYMBOLS, Tree, read_latex, widths
from jacobian_chain.webpage import EMS
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
    latex = derive(text, wrt="all", layout="mixed").latex(shared=True)
    return Article(("Backpropagation through ", Math(str(layers)), " layers"), (Heading(("Backward",)), Formula(latex)))


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
            parts = [part for latex, told in found.items() for part in (Paragraph((told,)), Formula(latex))]
            write_pages(folder, f"composition-{k}", Article((text,), tuple(parts)))
    write_pages(folder, "characters", characters())
    write_pages(folder, "sample", articles.sample())
    write_pages(folder, "backprop", backprop(100))
    assert len(questions) == 2 * COMPOSITIONS, "too few distinct compositions"
    sys.stdout.write(f"{len(questions)} compositions, {total} formulas\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
