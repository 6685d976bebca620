"""Articles in all formats: goldens, and what every reader of a format relies on."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from jacobian_chain import derive
from jacobian_chain.article import Article, Display, Equation, Formula, Heading, Math, Paragraph, Table
from jacobian_chain.equations import break_row
from jacobian_chain.errors import text_width
from jacobian_chain.formats import FORMATS, write_article
from jacobian_chain.paper import choose_paper, collect_lines
from jacobian_chain.typesetting import read_latex
from tests.articles import LONG, PICTURE, SPECIAL, formulas_of, sample
from tests.test_goldens import check_balance

ENDINGS = {"document": "latex"}
"""Goldens ending in tex hold formulas for inside of a display; a document is none."""


@pytest.mark.parametrize("ascii", [False, True], ids=["letters", "ascii"])
@pytest.mark.parametrize("form", FORMATS)
def test_goldens(form: str, ascii: bool, snapshot: SnapshotAssertion) -> None:
    class Text(SingleFileSnapshotExtension):
        _write_mode = WriteMode.TEXT
        file_extension = ENDINGS.get(form, FORMATS[form].ending.removeprefix("."))

    text = write_article(sample(FORMATS[form].language), form, ascii)
    assert not ascii or text.isascii()
    assert f"{text}\n" == snapshot.use_extension(Text)


def test_formulas_have_to_be_in_the_language_of_the_format() -> None:
    with pytest.raises(ValueError, match="unicode is written from text"):
        write_article(sample(), "unicode")
    with pytest.raises(ValueError, match="html is written from latex"):
        write_article(sample("text"), "html")


@pytest.mark.parametrize("form", FORMATS)
def test_an_article_may_be_empty(form: str) -> None:
    text = write_article(Article((), (), FORMATS[form].language), form)
    assert "None" not in text


# --- LaTeX ---


def test_latex_is_ascii_and_balanced_outside_of_comments() -> None:
    formulas = formulas_of(write_article(sample(), "latex"))
    assert len(formulas) == 10
    for formula in formulas:
        check_balance(formula)
        assert formula.isascii()


def test_comments_part_formulas_that_follow_each_other() -> None:
    article = Article((), (Formula("x"), Formula("y"), Paragraph(("so",)), Formula("z")))
    assert write_article(article, "latex") == "x\n%\ny\n% so\nz"


@pytest.mark.parametrize("form", FORMATS)
def test_prose_stays_in_its_line(form: str) -> None:
    """Line breaks would end headings, comments and cells, and indents make code."""
    language = FORMATS[form].language
    prose = ("    a\n\n# b", Math("x\n y"), " \n- c ")
    steps = Display((Equation("y", "x", prose),))
    article = Article(prose, (Heading(prose), Paragraph(prose), steps, Table(prose, (prose, prose), ((prose, prose),))), language)
    tidy = ("a # b", Math("x y"), " - c")
    steps = Display((Equation("y", "x", tidy),))
    same = Article(tidy, (Heading(tidy), Paragraph(tidy), steps, Table(tidy, (tidy, tidy), ((tidy, tidy),))), language)
    assert write_article(article, form) == write_article(same, form)


# --- web pages ---


class Page(HTMLParser):
    """Elements of a page; raises where they are not nested."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, name: str) -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
        return [element for element in self.elements if element[0] == name]


@pytest.mark.parametrize("ascii", [False, True])
def test_the_page_is_well_formed_and_self_contained(ascii: bool) -> None:
    text = write_article(sample(), "html", ascii)
    page = Page(text)
    assert text.startswith("<!doctype html>\n<html lang=")
    for name in ("html", "head", "title", "main", "h1", "style"):
        assert len(page.named(name)) == 1
    assert "<script" not in text
    assert "<link" not in text
    assert "@import" not in text
    assert set(re.findall(r'https?://[^"\s]*', text)) <= {"http://www.w3.org/2000/svg"}
    assert not [a for _, attributes, _ in page.elements for a in attributes if a.startswith("on") or a == "src"]
    identifiers = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers)) == 2  # the tips of two equal pictures
    assert all(f"url(#{identifier})" in text for identifier in identifiers)
    body = text[text.index("<main>") : text.index("</main>") + 7]
    ElementTree.fromstring(body)  # XML too


def test_the_page_is_for_screen_readers_and_keyboards_too() -> None:
    page = Page(write_article(sample(), "html"))
    levels = [int(name[1]) for name, _, _ in page.elements if re.fullmatch(r"h\d", name)]
    assert levels == [1, 2, 2]
    assert [attributes.get("scope") for _, attributes, _ in page.named("th")] == ["col"] * 3 + ["row"] * 2
    assert len(page.named("caption")) == 1
    assert len(page.named("figcaption")) == len(page.named("figure")) == 2
    assert all(attributes.get("aria-hidden") == "true" for _, attributes, _ in page.named("svg"))
    boxes = [attributes for _, attributes, _ in page.named("div") if attributes.get("class") == "wide"]
    assert boxes
    assert all(attributes["tabindex"] == "0" for attributes in boxes)
    for name in ("table", "svg"):
        assert all("div" in parents for _, _, parents in page.named(name))


def test_prose_is_no_markup() -> None:
    page = Page(write_article(Article((SPECIAL,), (Paragraph((SPECIAL,)), Heading((SPECIAL,)))), "html"))
    text = "".join(page.text)
    assert text.count(SPECIAL) == 4  # title, heading, paragraph, heading
    assert "<code>" not in text


def backprop(layers: int) -> Article:
    """A long derivation: what each layer computes, and the adjoints from the last to the first."""
    equations = "; ".join(f"x{k + 1} = f{k + 1}(x{k}, θ{k + 1})" for k in range(layers)) + f"; L = ℓ(x{layers})"
    latex = derive(equations, wrt="all", layout="mixed").latex(shared=True)
    forward = Display(tuple(Equation(f"x_{{{k + 1}}}", f"f_{{{k + 1}}}(x_{{{k}}}, \\theta_{{{k + 1}}})", ("kept",)) for k in range(layers)))
    return Article(("Backpropagation",), (Heading(("Forward",)), forward, Heading(("Backward",)), Formula(latex)))


def test_the_page_of_a_hundred_layers_stays_small() -> None:
    size = len(write_article(backprop(100), "html").encode())
    assert 20_000 < size < 1_000_000


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if form.language == "latex"])
def test_long_articles_take_linear_time(form: str) -> None:
    from time import perf_counter

    def spent(layers: int) -> float:
        article = backprop(layers)
        start = perf_counter()
        text = write_article(article, form)
        assert f"_{{{layers}}}" in text or form in ("html", "typst")
        return perf_counter() - start

    spent(10)
    assert spent(1_000) < 30 * max(spent(100), 0.01)


# --- documents ---


def test_the_paper_is_as_wide_as_it_has_to_be() -> None:
    def width(latex: str) -> float:
        lines = collect_lines((Formula(latex),)).values()
        return choose_paper(line for group in lines for line in group).width

    assert width("x = y") == 21.0
    assert width("x = " + r" \cdot ".join(["W"] * 50)) == 29.7  # too wide for one line of the upright paper
    assert width("x = " + r" \cdot ".join(["W"] * 500)) == 29.7  # broken
    assert width("x = " + " ".join([r"\frac{W}{x}"] * 500)) == 29.7  # broken between factors
    assert 30 < width("x = " + " ".join(["W"] * 100)) < 40  # has no place to be broken
    assert width("x = " + " ".join(["W"] * 5000)) == 500.0  # the most that TeX can set


def test_long_rows_are_broken_in_documents() -> None:
    row = r" \cdot ".join(f"W_{{{k}}}" for k in range(100))
    for form in ("document", "typst"):
        text = write_article(Article((), (Display((Equation("y", row),)),)), form)
        assert text.count("quad") >= 2
        found = [int(k) for k in re.findall(r"W_\{(\d+)\}|attach\(W , b: (\d+)", text) for k in k if k]
        assert found == list(range(100))


def test_characters_that_latex_does_not_know_are_declared() -> None:
    text = write_article(Article(("中",), (Formula(r"\text{中}"), Paragraph(("θ → é “x” √",)))), "document")
    assert r"\DeclareUnicodeCharacter{4E2D}{\texttt{u4e2d}}" in text
    assert r"\DeclareUnicodeCharacter{221A}" in text
    body = text[text.index(r"\begin{document}") :]
    assert r"$\theta$" in body
    assert "θ" not in text
    assert "→" not in text
    assert text.count("Declare") == 2


def test_long_headers_of_columns_are_broken_in_documents() -> None:
    table = Table((), (("way",), ("numbers that are held at once",), (Math("x"), " long enough to be broken")), ((("a",), ("1",), ("2",)),))
    text = write_article(Article((), (table,)), "document")
    assert r"way & \shortstack[r]{numbers that are \\ held at once} & $x$ long enough to be broken \\" in text


def test_fractions_among_words_are_legible_on_pages() -> None:
    text = write_article(Article((), (Paragraph(("as ", Math(r"\frac{a}{b}"), " or ", Math("x"))),)), "html")
    assert '<math displaystyle="true"><mfrac>' in text
    assert "<math><mi>x</mi></math>" in text


# --- Markdown ---


def test_markdown_holds_nothing_that_github_refuses() -> None:
    text = write_article(sample(), "markdown")
    assert r"\operatorname" not in text
    assert text.count("```") % 2 == 0
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "<svg" not in text


def test_prose_that_looks_like_marks_is_escaped_in_markdown() -> None:
    article = Article((), tuple(Paragraph((words,)) for words in ("1. first", "- item", "# title", "a_b_c *d*", "+ x")))
    text = write_article(article, "markdown")
    assert text.split("\n\n") == ["1\\. first", "\\- item", "\\# title", r"a\_b\_c \*d\*", "\\+ x"]


# --- text ---


def test_text_is_aligned_and_wrapped() -> None:
    text = write_article(sample("text"), "unicode")
    lines = text.split("\n")
    assert max(map(text_width, lines)) <= 100
    first = next(k for k, line in enumerate(lines) if line.startswith("J_xθ f = "))
    sign = lines[first].index("=")
    assert [line[sign] for line in lines[first : first + 3]] == ["=", "=", "="]
    assert lines[first].index("by the") == lines[first + 1].index("multiplied")
    assert lines[first + 3].strip() == "b )"
    assert text_width(lines[first + 3].split("b")[0]) == sign + 4
    assert "x_{k - 1}" in text
    head = next(k for k, line in enumerate(lines) if line.startswith("scheme"))
    assert len({text_width(line) for line in lines[head : head + 4]}) == 1


def test_tables_may_have_rows_only_or_none() -> None:
    for form, entry in FORMATS.items():
        table = Table((), (("a",), ("b",)), ())
        assert "b" in write_article(Article((), (table,), entry.language), form)


def test_pictures_are_shown_or_told() -> None:
    shown = {form: PICTURE[:4] in write_article(sample(entry.language), form) for form, entry in FORMATS.items()}
    assert {form for form, has_picture in shown.items() if has_picture} == {"html", "typst"}
    assert "x → y" in write_article(sample("text"), "unicode")


def test_rows_are_broken_behind_bars_and_not_within_blocks() -> None:
    row = r" \,\big|\, ".join([r"a \cdot b + c"] * 6)
    chunks = [chunk.text.replace(" ", "") for chunk in break_row(read_latex(row), 10)]
    assert len(chunks) > 2
    assert all(chunk.startswith(r"a\cdotb+c") for chunk in chunks)
    assert all(chunk.endswith(r"\big|\,") for chunk in chunks[:-1])


def test_rows_are_broken_between_terms_before_factors() -> None:
    row = r"a \cdot b + (c + d)^{2} \otimes e - f \odot g"
    chunks = [chunk.text.replace(" ", "") for chunk in break_row(read_latex(row), 8)]
    assert chunks == [r"a\cdotb", r"+(c+d)^{2}\otimese", r"-f\odotg"]
    chunks = [chunk.text.replace(" ", "") for chunk in break_row(read_latex(row), 5)]
    assert chunks == [r"a\cdotb", "+(c+d)^{2}", r"\otimese", r"-f\odotg"]


def test_long_rows_are_broken_on_pages() -> None:
    row = r" \cdot ".join(f"W_{{{k}}}" for k in range(100))
    for part in (Display((Equation("y", row, ("so",)),)), Formula(f"y = {row}")):
        text = write_article(Article((), (part,)), "html")
        assert text.count("<div><span") >= 3
        assert re.findall(r"<mi>W</mi><mn>(\d+)", text) == [str(k) for k in range(100)]
        assert text.count('class="why"') == isinstance(part, Display)


def test_blocks_of_a_row_are_broken_behind_their_bars() -> None:
    latex = derive(LONG, wrt="all", layout="numerator").latex()
    text = write_article(Article((), (Formula(latex),)), "document")
    rows = [line for line in text.split("\n") if r"\big" in line]
    assert len(rows) >= 2
    assert all(re.search(r"\\big\| *(\\, *)?\\\\$", row) for row in rows[:-1])
