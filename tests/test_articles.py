"""Whole articles as the command line and notebooks give them: every format, every option that goes with another, every refusal."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jacobian_chain import derive, parse
from jacobian_chain.article import Display, Figure, Formula, Heading, Paragraph, Table, flatten
from jacobian_chain.articles import compose
from jacobian_chain.formats import FORMATS, write_article
from jacobian_chain.steps import TITLES

NETWORK = "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2"
RESIDUAL = "x1 = f1(x, θ1); x2 = x1 + f2(x1, θ2); L = ℓ(x2)"
PAGES = ("html", "typst", "markdown", "document")


def run(*words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "jacobian_chain", *words]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("form", [*PAGES, "latex", "unicode"])
@pytest.mark.parametrize("kind", TITLES)
def test_steps_in_every_format(kind: str, form: str) -> None:
    status, out, err = run("derive", RESIDUAL, "--steps", kind, "--cost", "--format", form)
    assert (status, err) == (0, "")
    language = "unicode" if form == "unicode" else "latex"
    article = compose([derive(RESIDUAL)], language, steps=kind, sizes=[], brief=form not in PAGES, pictured=form == "html")
    assert out == write_article(article, form) + "\n"


def test_pages_say_what_they_are() -> None:
    _, page, _ = run("derive", NETWORK, "--layout", "both", "--shapes", "--format", "html")
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())
    assert re.findall(r"<(h[1-6])\b", page) == ["h1", "h2", "h2"]
    for words in ("The Jacobian of", "Numerator layout", "Denominator layout", "rows belong to the output", "assumed"):
        assert words in text


@pytest.mark.parametrize("form", PAGES)
def test_notices_are_on_the_page(form: str) -> None:
    for steps in ([], ["--steps", "backprop"], ["--steps", "blocks"], ["--steps", "recursive"]):
        _, out, _ = run("derive", "h = relu(W x); L = a^T h", "--layout", "mixed", "--format", form, *steps)
        assert "has no derivative at 0" in re.sub(r"\s+", " ", out)
        _, out, _ = run("derive", "p = softmax(W x); L = CE(p, y)", "--wrt", "W", "--layout", "mixed", "--format", form, *steps)
        assert re.search("entries of .* sum to 1", re.sub(r"\s+", " ", out))


def test_parts_of_an_article() -> None:
    pages = [derive(NETWORK, layout=layout) for layout in ("numerator", "mixed")]
    article = compose(pages, shapes=True, sizes=[("x", 7)])
    kinds = [type(part) for part in article.parts]
    assert kinds[:3] == [Paragraph, Display, Table]
    headings = [flatten(part.text) for part in article.parts if isinstance(part, Heading)]
    assert headings == ["Numerator layout", "Mixed layout", "What it costs"]
    assert sum(kind is Formula for kind in kinds) == 2
    assert flatten(article.title) == r"The Jacobian of L by W_{1}, b_{1}, W_{2}, b_{2}"


def test_pages_show_the_graph() -> None:
    figures = [part for part in compose([derive(RESIDUAL)], pictured=True).parts if isinstance(part, Figure)]
    assert len(figures) == 1
    assert figures[0].svg.startswith("<svg")
    assert "<desc" in figures[0].svg
    long = "; ".join(f"x{k} = f{k}(x{k - 1}, θ{k})" for k in range(1, 20))
    assert not any(isinstance(part, Figure) for part in compose([derive(long)], pictured=True).parts)


def test_what_was_used_is_explained() -> None:
    article = compose([derive("L = CE(softmax(W x), y)", wrt="W", layout="mixed")])
    assert "Here the entries of y sum to 1." in [flatten(part.text) for part in article.parts if isinstance(part, Paragraph)]
    article = compose([derive("L2(L1(x, a), b)", wrt="a")])
    assert "Here x_{2} = L_{1}(x, a)." in [flatten(part.text) for part in article.parts if isinstance(part, Paragraph)]


@pytest.mark.parametrize("form", PAGES)
def test_second_derivatives_are_pages(form: str) -> None:
    status, out, _ = run("derive", "y = g1(x, a); L = l(y)", "--second", "x,a", "--format", form)
    assert status == 0
    assert "bilinear" in out
    assert "The same in every layout" in out
    status, out, _ = run("derive", "f = exp(a^T x)", "--wrt", "x", "--hvp", "v", "--format", form)
    assert status == 0
    assert "In the shape of the variable" in out


REFUSED = [
    (["--steps", "blocks", "--format", "json"], "--steps has no effect on the format json"),
    (["--cost", "--format", "sympy"], "--cost has no effect on the format sympy"),
    (["--size", "x=3"], "--size is for --cost"),
    (["--cost", "--size", "x=-1"], "positive whole number"),
    (["--cost", "--size", "xx=3"], "xx"),
    (["--cost", "--size", "x"], "needs a name and a number"),
    (["--steps", "blocks", "--shared"], "--shared has no effect on steps"),
    (["--steps", "blocks", "--expand"], "--expand has no effect on steps"),
    (["--steps", "blocks", "--vec"], "--vec has no effect on steps"),
    (["--steps", "blocks", "--index-notation"], "--index-notation has no effect on steps"),
    (["--second", "x,x", "--steps", "blocks"], "--steps has no effect on second derivatives"),
    (["--second", "x,x", "--cost"], "--cost has no effect on second derivatives"),
    (["--steps", "backwards"], "recursive"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_what_has_no_effect_is_refused(options: list[str], message: str) -> None:
    status, out, err = run("derive", NETWORK, *options)
    assert (status, out) == (2, "")
    assert message in err


def test_files_are_written(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert run("derive", RESIDUAL, "--format", "html", "-o", str(path)) == (0, "", "")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    status, _, err = run("derive", RESIDUAL, "--format", "html", "-o", str(tmp_path))
    assert status == 2
    assert "directory" in err


@pytest.mark.parametrize("form", [*PAGES, "latex", "unicode"])
def test_ascii_is_ascii(form: str) -> None:
    status, out, _ = run("--ascii", "derive", NETWORK, "--steps", "backprop", "--format", form)
    assert status == 0
    assert out.isascii()


# --- notebooks ---


def test_handouts_show_themselves() -> None:
    handout = derive(NETWORK, layout="mixed").steps("backprop")
    markdown = handout._repr_markdown_()
    assert markdown.startswith("# The Jacobian of $L$ by $W_{1}, b_{1}, W_{2}, b_{2}$")
    assert markdown.count("$$") % 2 == 0
    assert "```" not in markdown
    assert str(handout) == handout.write("unicode")
    assert handout.latex() == handout.write("latex")
    assert handout.html() == handout.write("html")
    for form in FORMATS:
        assert handout.write(form)


def test_costs_show_themselves() -> None:
    cost = derive(RESIDUAL).cost({"x1": 30})
    assert "| way |" in cost._repr_markdown_()
    assert "backpropagation, each adjoint once" in str(cost)


def test_a_page_of_a_hundred_layers_is_small() -> None:
    text = "; ".join(f"z{k} = W{k} h{k - 1} + b{k}; h{k} = tanh(z{k})" for k in range(1, 101)) + "; L = 1/2 ||h100 - y||^2"
    page = write_article(compose([derive(parse(text), layout="mixed")], steps="backprop"), "html")
    assert len(page.encode()) < 1_000_000


def test_names_in_notices_keep_their_case() -> None:
    """A sentence that begins with a name must not make another name of it."""
    article = compose([derive("h = f(x); y = g(z)", wrt=["x", "z"], of="h")])
    told = [flatten(part.text) for part in article.parts if isinstance(part, Paragraph)]
    assert "Note: h does not depend on z: its block is 0." in told
