"""Formulas as layout trees: everything that the program prints is read, nothing is lost, and MathML has the parts that the LaTeX has."""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jacobian_chain.equations import break_row, part_of, unfold
from jacobian_chain.mathml import write_mathml
from jacobian_chain.tokens import GREEK
from jacobian_chain.typesetting import SYMBOLS, TypesettingError, read_latex, widths, write_latex, write_line
from jacobian_chain.typst import write_typst
from tests.articles import golden_formulas

FORMULAS = golden_formulas()


def squeeze(latex: str) -> str:
    """LaTeX without white space, all scripts in braces."""
    return re.sub(r"\s+", "", re.sub(r"([_^])\s*([^{\s\\])", r"\1{\2}", latex))


def test_all_golden_formulas_are_there() -> None:
    assert len(FORMULAS) > 480


def test_every_golden_formula_is_read_and_written_back() -> None:
    for place, latex in FORMULAS:
        assert squeeze(write_latex(read_latex(latex))) == squeeze(latex), place


GREEK_LETTERS = {
    f"\\{word.capitalize() if size == 'CAPITAL' else word}": letter
    for word in "alpha beta gamma delta epsilon zeta eta theta iota kappa lamda mu nu xi pi rho sigma tau upsilon phi chi psi omega".split()
    for size in ("SMALL", "CAPITAL")
    for letter in [unicodedata.lookup(f"GREEK {size} LETTER {word.upper()}")]
}
OTHER_LETTERS = {r"\partial": "∂", r"\nabla": "∇", r"\top": "⊤", r"\ell": "ℓ", r"\lambda": "λ", r"\Lambda": "Λ"}
WORDS = re.compile(
    r"\\(?:begin|end)\{\w+\}(?:\{[lcr|]+\})?|\\text\{(?:[^{}\\]|\\.)*\}|\\\\\[[^\]]*\]|\\operatorname\{(\w+)\}|\\mathrm\{(\w+)\}|\\mathbf\{(1)\}|(\\[A-Za-z]+)|([A-Za-z]|[0-9]+(?:\.[0-9]+)?)"
)
FUNCTIONS = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "det")


def letters_of(latex: str) -> list[str]:
    """Names and numbers in order of reading, found without the reader."""
    found = []
    for name, upright, bold, command, plain in WORDS.findall(latex):
        if command in GREEK_LETTERS or command in OTHER_LETTERS:
            found.append(GREEK_LETTERS.get(command) or OTHER_LETTERS[command])
        elif command and command[1:] in FUNCTIONS:
            found.append(command[1:])
        elif bold:
            found.append("𝟏")
        elif name or upright or plain:
            found.append(name or upright or plain)
    return found


def count_rows(latex: str) -> int:
    return latex.count(r"\\") + latex.count(r"\begin")


def test_mathml_has_the_parts_of_the_latex() -> None:
    """Counted in the LaTeX by regular expressions, in the MathML by its elements."""
    for place, latex in FORMULAS:
        root = ElementTree.fromstring(write_mathml(read_latex(latex), display=True))
        count = {name: len(list(root.iter(name))) for name in ("mfrac", "msqrt", "mtable", "mtr", "mtd", "mover")}
        assert count["mfrac"] == latex.count(r"\frac"), place
        assert count["msqrt"] == latex.count(r"\sqrt"), place
        assert count["mtable"] == latex.count(r"\begin"), place
        assert count["mtr"] == count_rows(latex), place
        assert count["mtd"] == count_rows(latex) + latex.count("&"), place
        accents = [mover for mover in root.iter("mover") if mover.get("accent")]
        assert len(accents) == len(re.findall(r"\\(?:hat|bar|tilde|dot|ddot)\{", latex)), place
        bars = [mo for mo in root.iter("mo") if mo.text == "|" and mo.get("form") == "infix"]
        assert len(bars) == len(re.findall(r"\\middle\\vert|\\big\|", latex)), place
        grown = [mo for mo in root.iter("mo") if mo.get("fence") and mo.get("form") == "prefix"]
        assert len(grown) == latex.count(r"\left") + latex.count(r"\begin{pmatrix}"), place
        if not re.search(r"\\mathrm\{[^}]*[^\w}]", latex):
            found = [element.text for element in root.iter() if element.tag in ("mi", "mn")]
            assert sorted(map(str, found)) == sorted(letters_of(latex)), place
            if not re.search(r"\^\{[^{}]*\}_|\^\{\([^()]*\)\}_", latex):
                assert found == letters_of(latex), place


REFUSED = [
    r"\foo", r"\frac{x}", "x^a^b", "x_a_b", "{x", "x}", r"\left( x", r"\right) x", r"\begin{aligned} x \end{pmatrix}", "a & b", r"a \\ b",
    r"\begin{tabular} x \end{tabular}", "θ", r"\left x \right)", r"\left( a \middle\theta b \right)", "x_", r"\dv{f}{x}", r"\hline x",
    r"\begin{array} x \end{array}", r"\bigl x", r"\frac\displaystyle x", r"\bm{x}", r"\sqrt[3]{x}" + "{", r"\operatorname{a", "x_^2", "^_2",
    r"\begin{aligned} x", r"\end{aligned}", r"\left( \frac{a \right)}{b}", "`", r"\color{red}",
]  # fmt: skip


@pytest.mark.parametrize("latex", REFUSED)
def test_what_is_unknown_or_open_is_refused(latex: str) -> None:
    with pytest.raises(TypesettingError):
        read_latex(latex)


def test_every_sign_is_written_in_every_language() -> None:
    for latex, symbol in SYMBOLS.items():
        tree = read_latex(f"a {latex} b")
        assert squeeze(write_latex(tree)) == squeeze(f"a {latex} b")
        assert symbol.character in "".join(ElementTree.fromstring(write_mathml(tree)).itertext())
        assert symbol.character in write_typst(tree)
        assert symbol.character in write_line(tree)
    assert all(f"\\{word}" in SYMBOLS for word in GREEK if word != "omicron")


# --- random formulas ---

NAMES = st.sampled_from(["x", "W", r"\theta", r"\mathrm{hprev}", r"\mathrm{d}", r"\hat{y}", r"\ell", r"\mathbf{1}", "12", "0.5", r"\nabla"])
SIGNS = st.sampled_from([r"\cdot", "+", "-", r"\odot", r"\otimes", "=", r"\,", ","])


def around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}"),
        pairs.map(lambda p: rf"\left( {p[0]} \,\middle\vert\, {p[1]} \right)"),
        pairs.map(lambda p: rf"({p[0]})_{{{p[1]}}}^{{\top}}"),
        pairs.map(lambda p: rf"{{{p[0]}}}^{{{p[1]}}}"),
        pairs.map(lambda p: rf"\begin{{pmatrix}} {p[0]} & 0 \\[1ex] \displaystyle {p[1]} & I \end{{pmatrix}}"),
        pairs.map(lambda p: rf"\begin{{array}}{{c|cc}} {p[0]} & 1 & 2 \\ \hline {p[1]} \end{{array}}"),
        pairs.map(lambda p: rf"\begin{{aligned}} {p[0]} &= {p[1]} && \text{{by a\_b}} \\ & x \end{{aligned}}"),
        pairs.map(lambda p: rf"\underbrace{{{p[0]}}}_{{{p[1]}}}"),
        inner.map(lambda p: rf"\operatorname{{diag}}({p})"),
        inner.map(lambda p: rf"f'_{{1}}({p})"),
        inner.map(lambda p: rf"\sqrt{{{p}}}"),
        inner.map(lambda p: rf"\left\lVert {p} \right\rVert^{{2}}"),
        inner.map(lambda p: rf"\bigl( {p} \,\big|\, x \bigr)"),
        st.tuples(inner, SIGNS, inner).map(" ".join),
        st.lists(inner, min_size=2, max_size=4).map(" ".join),
    )


LATEX = st.recursive(NAMES, around, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(LATEX)
def test_random_formulas_come_back(latex: str) -> None:
    tree = read_latex(latex)
    written = write_latex(tree)
    assert squeeze(written) == squeeze(latex)
    assert read_latex(written) == tree
    root = ElementTree.fromstring(write_mathml(tree))
    assert len(list(root.iter("mfrac"))) == latex.count(r"\frac")
    assert len(list(root.iter("mtr"))) == count_rows(latex)
    for scripts, wanted in {"msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "munderover": 3, "mfrac": 2, "mover": 2}.items():
        assert all(len(element) == wanted for element in root.iter(scripts))
    typst = write_typst(tree)
    assert typst.count("frac(") == latex.count(r"\frac")
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\\.', "", typst, flags=re.DOTALL)
    assert bare.count("(") == bare.count(")")
    assert min(widths(tree), default=0) >= 0


@settings(max_examples=100, deadline=None)
@given(LATEX, st.floats(0, 40))
def test_broken_rows_lose_nothing(latex: str, limit: float) -> None:
    tree = read_latex(latex)
    assert squeeze("".join(chunk.text for chunk in break_row(tree, limit))) == squeeze(latex)


def test_parts_are_cut_out_whole() -> None:
    tree = read_latex(r"\begin{aligned} & x_{1} = \frac{a}{b} \\ & y' = \left( c \middle\vert d \right)^{2} \end{aligned}")
    lines = unfold(tree)
    assert lines is not None
    assert [squeeze(write_latex(line.right)) for line in lines] == ["x_{1}=\\frac{a}{b}", "y'=\\left(c\\middle\\vertd\\right)^{2}"]
    assert part_of(tree, len(tree.nodes) - 1) == tree


def test_neither_depth_nor_length_costs_more_than_their_size() -> None:
    """Ten times the size takes at most thirty times the time; ten thousand brackets within each other do not recurse."""

    def spent(size: int) -> float:
        deep = r"\left( x + " * size + "y" + r" \right)" * size
        long = r" \cdot ".join([r"\frac{\partial x_{2}}{\partial x_{1}}"] * size)
        start = perf_counter()
        for latex in (deep, long):
            tree = read_latex(latex)
            for text in (write_latex(tree), write_mathml(tree), write_typst(tree)):
                assert len(text) > len(latex) / 2
            widths(tree)
            break_row(tree, 40)
        return perf_counter() - start

    spent(100)
    assert spent(10_000) < 30 * max(spent(1_000), 0.02)
