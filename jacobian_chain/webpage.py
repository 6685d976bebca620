"""Articles as one self-contained web page: MathML, one short style sheet, no script, nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jacobian_chain.article import Article, Display, Figure, Formula, Heading, Math, Paragraph, Part, Prose, Table
from jacobian_chain.equations import Line, broken, read_lines, unfold
from jacobian_chain.mathml import STYLE, escape, write_mathml
from jacobian_chain.typesetting import Node, read_latex, widths, write_line

EMS = 52.0
"""Longer rows are broken where they may be; so many em fit on a sheet of paper."""

_STYLE = """\
:root{color-scheme:light dark;--ink:#1b1b1f;--page:#fff;--soft:#5a5a66;--rule:#c9c9d2}
@media(prefers-color-scheme:dark){:root{--ink:#e7e7ea;--page:#17181c;--soft:#a9abb6;--rule:#464853}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:1.06rem/1.6 Georgia,"Times New Roman",serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.3}h2{font-size:1.25rem;margin:2.2rem 0 .6rem}
h1,h2,p,figcaption{max-width:42rem;overflow-wrap:break-word}
p math,h1 math,h2 math,figcaption math{max-width:100%}
.wide{overflow-x:auto;overflow-y:hidden;margin:1rem 0;padding:.2rem 0}
.wide:focus-visible{outline:2px solid;outline-offset:2px}
.lines{display:grid;grid-template-columns:auto auto minmax(9rem,1fr);align-items:baseline;width:max-content;min-width:100%;row-gap:.7rem}
.lines>div{display:contents}
.lines>div>:first-child{grid-column:1}.lines .left{justify-self:end}
.lines .why{grid-column:3;padding-left:2rem;max-width:26rem;color:var(--soft);font-size:.95rem;line-height:1.35}
.formula{width:max-content}
math[display=block]{text-align:left;margin:0}
table{border-collapse:collapse;margin:.3rem 0}
caption{text-align:left;color:var(--soft);padding-bottom:.4rem}
th,td{padding:.25rem .9rem .25rem 0;text-align:right;font-variant-numeric:tabular-nums;font-weight:normal;
border-bottom:1px solid var(--rule)}
th:first-child{text-align:left}thead th{font-weight:bold;vertical-align:bottom}
figure{margin:1.5rem 0}figcaption{color:var(--soft);font-size:.95rem}
figure svg{display:block;max-width:none;height:auto}
figure pre{overflow-x:auto}
@media(max-width:40rem){main{padding:1rem .9rem 3rem}.lines .why{grid-column:1/-1;padding:0 0 .4rem 1rem;max-width:85vw}}
@media print{html{font-size:11px}:root{--ink:#000;--page:#fff;--soft:#333;--rule:#999}main{max-width:none;padding:0}
.wide{overflow:visible}h1,h2,caption{break-after:avoid}.lines>div>*,.formula,figure,tr{break-inside:avoid}}
"""


def _prose(prose: Prose) -> str:
    return "".join(_inline(part.text) if isinstance(part, Math) else escape(part) for part in prose)


def _inline(latex: str) -> str:
    """A formula among words; fractions are set as large as in displays, or nobody could read them."""
    tree = read_latex(latex)
    return write_mathml(tree, big=any(node.kind == "fraction" for node in tree.nodes))


def _plain(prose: Prose) -> str:
    return "".join(write_line(read_latex(part.text)) if isinstance(part, Math) else part for part in prose)


def _scrolling(inside: str) -> str:
    """A box that scrolls by itself where it is wider than the page, by keys too."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="formula">{inside}</div>'


def _lines(lines: Sequence[Line]) -> str:
    rows = []
    for line in lines:
        left = "<span></span>" if line.left.nodes == (Node("row"),) else f'<span class="left">{write_mathml(line.left, big=True)}</span>'
        why = f'<span class="why">{_prose(line.reason)}</span>' if line.reason else ""
        for right in broken(line, EMS):
            rows.append(f"<div>{left}<span>{write_mathml(read_latex(right), big=True, goes_on=True)}</span>{why}</div>")
            left, why = "<span></span>", ""
    body = "\n".join(rows)
    return _scrolling(f'<div class="lines">\n{body}\n</div>')


def _formula(formula: Formula) -> str:
    tree = read_latex(formula.text)
    lines = unfold(tree) or ([Line(read_latex(""), tree, ())] if widths(tree)[-1] > EMS else [])
    return _lines(lines) if lines else _scrolling(f'<div class="formula">{write_mathml(tree, display=True)}</div>')


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_prose(cell)}</th>' for cell in table.header)
    rows = []
    for first, *others in table.rows:
        cells = "".join(f"<td>{_prose(cell)}</td>" for cell in others)
        rows.append(f'<tr><th scope="row">{_prose(first)}</th>{cells}</tr>')
    body = "\n".join(rows)
    caption = f"<caption>{_prose(table.caption)}</caption>" if table.caption else ""
    return _scrolling(f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>")


def _figure(figure: Figure, number: int) -> str:
    """A picture; its identifiers are made those of this figure alone, and its text is read in its place."""
    svg = re.sub(r"^\s*<\?xml.*?\?>\s*|<!DOCTYPE[^>]*>\s*", "", figure.svg, flags=re.DOTALL)
    for name in dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg)):
        own = f"figure{number}-{name}"
        for before, after in (('id="', '"'), ("url(#", ")"), ('href="#', '"')):
            svg = svg.replace(before + name + after, before + own + after)
    if "aria-hidden" not in svg.partition(">")[0]:
        svg = svg.replace("<svg", '<svg aria-hidden="true"', 1)
    text = figure.alternative
    caption = f"<pre>{escape(text)}</pre>" if "\n" in text.strip() else escape(text.strip())
    return f"<figure>{_scrolling(svg)}<figcaption>{caption}</figcaption></figure>"


def _part(part: Part, number: int) -> str:
    if isinstance(part, Heading):
        return f"<h2>{_prose(part.text)}</h2>"
    if isinstance(part, Paragraph):
        return f"<p>{_prose(part.text)}</p>"
    if isinstance(part, Display):
        return _lines(read_lines(part))
    if isinstance(part, Formula):
        return _formula(part)
    return _table(part) if isinstance(part, Table) else _figure(part, number)


def write_html(article: Article) -> str:
    r"""An article as a web page.

    >>> from jacobian_chain.article import Equation
    >>> page = write_html(Article(("The slope of ", Math(r"\sigma")), (Display((Equation("a", r"\frac{b}{c}"),)),)))
    >>> "<title>The slope of σ</title>" in page, page.count("<mfrac>")
    (True, 1)
    """
    parts = "\n".join(_part(part, number) for number, part in enumerate(article.parts, 1))
    title = escape(" ".join(_plain(article.title).split())) or "Derivation"
    heading = f"<h1>{_prose(article.title)}</h1>" if article.title else f"<h1>{title}</h1>"
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{_STYLE}{STYLE}</style>
</head>
<body>
<main>
{heading}
{parts}
</main>
</body>
</html>"""
