"""Notations: ``read(write(f)) == f`` for every factor, in every layout, naming and index position."""

from __future__ import annotations

import pytest

from jacobian_chain.derivation import derive
from jacobian_chain.errors import OptionError, ReadingError, Source
from jacobian_chain.layout import LAYOUTS
from jacobian_chain.maps import Map
from jacobian_chain.notation import NOTATIONS, Labels, Page
from jacobian_chain.reading import read_composition
from jacobian_chain.writers import LatexWriter, TextWriter, Writer

TEXTS = [
    "L3(L2(L1(x,θ^1),θ^2),θ^3)",
    "x1 = f1(x, θ1); x2 = x1 + f2(x1, x, θ2); L = ℓ(x2, W); W: m x n; t: scalar; x: 4",
    "g(f(a_{t-1}), f(\\hat b), W_{hh}^{(2)})",
    "h1 = f(h0, W_{1,2}); h2 = f(h1, W_{1,2}); C = cost(h2)",
    "u = u(a, b); v = F(u, a); y = g(v, u)",
    "Y = F(X); s = ℓ(Y); Z = G(s, λ); λ: scalar; L = loss(Z)",
]


def pages(text: str, points: bool) -> list[tuple[Page, LatexWriter]]:
    tape = read_composition(Source(text)).tape
    output = len(tape.names) - 1
    found = []
    for shared in (False, True):
        derivation = derive(tape, output, range(tape.leaves), shared=shared)
        for notation in NOTATIONS.values():
            for layout in LAYOUTS.values():
                for naming in ("inputs", "outputs"):
                    for index in ("as-typed", "sub", "super"):
                        try:
                            page = Page(derivation, layout, notation, Labels(tape, output, naming), points)
                        except OptionError:
                            assert notation.scalar_only
                            continue
                        found.append((page, LatexWriter(index)))
    return found


@pytest.mark.parametrize("points", [False, True], ids=["plain", "points"])
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_back(text: str, points: bool) -> None:
    seen = set()
    for page, writer in pages(text, points):
        trivial = {(line.of, line.by) for line in page.derivation.definitions if page.is_trivial(line.of, line.by, line.map)}
        for node in page.derivation.maps:
            if node.kind not in ("partial", "total"):
                continue
            for adjoint in (False, True):
                of, by = page.shapes(node)
                if (adjoint and of.is_scalar and by.is_scalar) or (node.kind == "total" and (node.of, node.by) in trivial):
                    continue  # nothing to tell apart: a number, or the name of the very factor that looks the same
                wanted = node._replace(adjoint=adjoint)
                symbol = page.symbol(wanted)
                written = writer.symbol(symbol)
                if page.is_transposed(symbol, wanted):
                    written = writer.transposed(written, symbol)
                read = page.read(written)
                meaning = page.derivation.tape.steps[read.of - page.tape.leaves]
                expected = page.derivation.tape.steps[node.of - page.tape.leaves]
                same = (meaning, read.by, read.adjoint, read.kind) == (expected, node.by, adjoint, node.kind)
                assert read == wanted or same, (page.notation.name, page.layout.name, written)
                seen.add(symbol.kind)
    assert {"J", "∂", "d", "slot"} <= seen


def test_nonsense_is_not_read() -> None:
    page, _ = pages(TEXTS[0], False)[0]
    for text in (r"J_{x^{4}} L^{3}", r"\frac{\partial q}{\partial x}", "x", r"J_{x} \theta^{1}"):
        with pytest.raises(ReadingError, match="is no factor of this derivation"):
            page.read(text)


@pytest.mark.parametrize("writer", [LatexWriter(), TextWriter(), TextWriter(ascii=True)], ids=["latex", "unicode", "ascii"])
def test_distinct_names_are_written_distinctly(writer: Writer) -> None:
    text = "f(x, x_1, x_{12}, x_{1,2}, \\hat x, \\bar x, xhat_1, W_{hh}, W_2^{(1)}, W_{21}, é, è, ö, θ, Θ, ℓ, l, loss, δ_{t-1}, δ_t)"
    tape = read_composition(Source(text)).tape
    labels = Labels(tape, len(tape.names) - 1, "outputs")
    written = [writer.name(labels.value(value)) for value in range(tape.leaves)]
    assert len(set(written)) == tape.leaves == 20, written


def test_fresh_names_meet_no_other() -> None:
    tape = read_composition(Source("L3(L2(L1(x, x2), x3), x_2)")).tape
    labels = Labels(tape, len(tape.names) - 1, "inputs")
    names = {labels.slot(value, 0).key for value in range(tape.leaves + 1, len(tape.names))}
    assert len(names) == 2
    assert names.isdisjoint(tape.names)


def test_a_wrong_orientation_is_seen() -> None:
    page, writer = next((page, writer) for page, writer in pages(TEXTS[1], False) if page.layout.name == "denominator")
    node = Map("partial", page.tape.leaves, 1)
    symbol = page.symbol(node)
    assert page.read(writer.symbol(symbol)) != page.read(writer.transposed(writer.symbol(symbol), symbol))
