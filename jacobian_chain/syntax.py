"""Tokens to a small neutral tree, shared by compositions and answers.

The tree is flat: nodes stand in one list, children before parents, so that every pass over it is a loop. Parsing uses an
explicit stack of operators and brackets; nothing here recurses, and the time is linear in the length of the text.

Precedence, tightest first: postfix (``^T``, ``^-1``, ``^k``, ``'``), a function without brackets (``tanh W x``), product
(``* @ · ×``, juxtaposition, ``/``), elementwise (``⊙ ∘ .* ./ ⊘ ⊗``), sum.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from jacobian_chain.errors import LimitError, Notice, Place, ReadingError, Source, suggest
from jacobian_chain.names import CLOSING, FUNCTION_KEYS, OPENING, Names, Segment, is_function, outline, resolve, superscript_at
from jacobian_chain.tokens import SUPERSCRIPTS, Spelling, Tokens, spell, tokenize

MAX_TOKENS = 5_000_000
"""Most words and symbols that are read."""


class Node(NamedTuple):
    r"""One node. ``args`` are indices of earlier nodes, ``start`` and ``end`` are tokens (half-open).

    Kinds: ``name number function call tuple row column beside stack add subtract negate product divide elementwise power
    epower transpose prime norm absolute dots at index compare``. ``value`` is the key, the number, the sign as typed or the
    norm's order; the first argument of a ``call`` is its function. ``row`` and ``column`` are blocks between bars, ``&`` and ``\\``;
    ``beside`` and ``stack`` are ``[A, B]`` and ``[A; B]``. ``at`` is ``…|_{x}``, its value what stands below the bar. Answers only
    have ``index``, ``(…)_{ij}`` with its value, and ``compare``, two sides of ``=``, ``<`` or ``>`` in brackets.
    ``bracketed`` says that brackets or braces stand around the node.
    """

    kind: str
    value: str
    args: tuple[int, ...]
    start: int
    end: int
    bracketed: bool = False


def function_of(nodes: Sequence[Node], k: int) -> int:
    """The node under primes and powers, such as the function of ``tanh'^2``."""
    while nodes[k].kind in ("prime", "power", "epower"):
        k = nodes[k].args[0]
    return k


class Declaration(NamedTuple):
    """``W, U: m x n symmetric``: token of each name, dimensions as typed (None where only facts are given), facts."""

    names: tuple[int, ...]
    dimensions: tuple[str, str] | None
    facts: tuple[str, ...]
    start: int
    end: int


class Equation(NamedTuple):
    """``name = expression``, ``name(parameters) = expression`` or, with ``name`` None, an expression by itself.

    ``low`` is the first node of the expression and ``root`` the last.
    """

    name: int | None
    parameters: tuple[int, ...] | None
    low: int
    root: int
    start: int
    end: int


class Link(NamedTuple):
    """One side of an equality: the nodes ``low`` to ``root``, the tokens ``start`` to ``end``."""

    low: int
    root: int
    start: int
    end: int


class Chain(NamedTuple):
    """``A = B = C``, or an expression by itself. ``name`` is the token of a lone name that stands left of the first ``=``."""

    name: int | None
    links: tuple[Link, ...]


class Program(NamedTuple):
    """A text that was read: tokens with their names resolved, statements, the nodes of all expressions."""

    tokens: Tokens
    statements: tuple[Declaration | Equation, ...]
    nodes: list[Node]
    names: Names

    @property
    def notices(self) -> list[Notice]:
        """Choices that were made in reading."""
        return self.names.notices

    def place(self, node: Node | Declaration | Equation | Link) -> Place:
        """Where a node stands in the text."""
        return self.tokens.place(node.start, max(node.start, node.end - 1))


def read_program(source: Source) -> Program:
    """A composition's text as statements.

    Raises:
        ReadingError: with the place and a guess.
        LimitError: too many tokens.

    >>> program = read_program(Source("y = f(x, W1); W1: m x n"))
    >>> [type(statement).__name__ for statement in program.statements]
    ['Equation', 'Declaration']
    >>> [node.kind for node in program.nodes]
    ['function', 'name', 'name', 'call']
    """
    tokens = name_ones(_tokenize(source))
    ranges = _split(tokens)
    if not ranges:
        raise ReadingError("the text is empty", Place(source, 0, 0), "type a composition such as L2(L1(x, θ1), θ2)")
    names = Names()
    tokens, segments = resolve(tokens, ranges, names)
    parser = _Parser(tokens, names)
    statements = tuple(_read_statement(parser, segment) for segment in segments)
    return Program(tokens, statements, parser.nodes, names)


BOLD_ONE = "1"
"""Key of a bold 1, a column of ones; with the size that is written below it, after an underscore."""

_BOLD_ONE = re.compile(r"\\(?:mathbf|mathbb|boldsymbol|bm|pmb|symbf|vec|mathds|mathbbm)\s*(?:\{\s*)?1(?![0-9.])")


def name_ones(tokens: Tokens) -> Tokens:
    """Tokens in which every bold 1 is a name, with the index below it."""
    ends = {match.end() for match in _BOLD_ONE.finditer(tokens.source.text)}
    if not ends and "𝟏" not in tokens.source.text:
        return tokens
    result = Tokens(tokens.source, [], [], [], [])
    for i, kind in enumerate(tokens.kinds):
        is_one = tokens.ends[i] in ends or (kind == "name" and tokens.spelling(i).key == BOLD_ONE)
        below = result.values[-1] if result.kinds else ""
        if kind == "index" and isinstance(below, Spelling) and below.key == BOLD_ONE:
            result.values[-1], result.ends[-1] = Spelling(f"{BOLD_ONE}_{_text(tokens, i)}", "1", "", _text(tokens, i)), tokens.ends[i]
            continue
        copy_tokens(tokens, i, i + 1, result)
        if is_one:
            result.kinds[-1], result.values[-1] = "name", Spelling(BOLD_ONE, "1")
    return result


Rewrite = Callable[[Tokens], Tokens]
"""What those who know the problem change in the tokens before they are parsed."""


def read_expression(
    source: Source,
    values: Collection[str] = (),
    layers: Collection[str] = (),
    known: Collection[str] = (),
    rewrite: Rewrite | None = None,
) -> Program:
    """One expression; the last node is its root.

    Args:
        source: the text.
        values: keys of names that are values of the problem, which multiply what follows them in brackets.
        layers: keys of names that are layers.
        known: keys of other names that the problem has.
        rewrite: applied to the tokens.

    >>> program = read_expression(Source(r"J_{x_3} L_3"))
    >>> [(node.kind, node.value) for node in program.nodes]
    [('name', 'Jx3'), ('name', 'L3'), ('product', '')]
    """
    tokens = _tokenize(source)
    if rewrite is not None:
        tokens = rewrite(tokens)
    _split(tokens)  # refuses brackets that do not fit
    names = Names(values, layers, known)
    tokens, segments = resolve(tokens, [(0, len(tokens.kinds))], names)
    parser = _Parser(tokens, names, in_answer=True, bars=rewrite is not None)
    segment = segments[0]
    root = parser.expression(segment.start, segment.end)
    equation = Equation(None, None, 0, root, segment.start, segment.end)
    return Program(tokens, (equation,), parser.nodes, names)


def read_chains(
    source: Source,
    values: Collection[str] = (),
    layers: Collection[str] = (),
    known: Collection[str] = (),
    aliases: Sequence[tuple[Tokens, Spelling]] = (),
    rewrite: Rewrite | None = None,
    bars: bool = False,
) -> tuple[Program, tuple[Chain, ...]]:
    r"""Lines of chained equalities, as a hand-derived answer has them; each side may be a row of blocks.

    Args:
        source: the text.
        values: keys of names that are values of the problem.
        layers: keys of names that are layers.
        known: keys of other names that the problem has, those of operators included.
        aliases: what stands for a name, however it looks, and that name.
        rewrite: applied to the tokens.
        bars: whether a single bar is that of an absolute value, even where it could part blocks.

    Raises:
        ReadingError: with the place and a guess.

    >>> program, chains = read_chains(Source(r"y = A B \\ = C | D"))
    >>> [(link.start, link.end) for link in chains[0].links]
    [(0, 1), (2, 4), (6, 9)]
    """
    names_of_problem = {*values, *layers, *known}
    tokens = _join_raised(_part_differential(_drop_alignment(_tokenize(source)), names_of_problem), names_of_problem)
    for form, name in aliases:
        tokens = substitute(tokens, form, name)
    if rewrite is not None:
        tokens = rewrite(tokens)
    notices: list[Notice] = []
    if "dots" in tokens.kinds:
        tokens = _expand_dots(tokens, notices)
    ranges = _split(tokens)
    if not ranges:
        raise ReadingError("the answer is empty", Place(source, 0, 0), r"type a formula such as J_{x_2} L_2 \cdot J_{x_1} L_1")
    ranges = [part for start, end in ranges for part in _split_at_commas(tokens.kinds, start, end)]
    names = Names(values, layers, known)
    names.notices += notices
    tokens, segments = resolve(tokens, ranges, names, _outline_chain)
    parser = _Parser(tokens, names, in_answer=True, bars=bars)
    chains = tuple(_read_chain(parser, segment) for segment in segments)
    return Program(tokens, (), parser.nodes, names), chains


_OPERATORS = frozenset("JD∇")
"""Letters that differentiate what follows them by their index."""


def _join_raised(tokens: Tokens, names: Collection[str]) -> Tokens:
    """Tokens in which raised digits behind an operator's index belong to the index: ``J_x³ L`` has the index x³, as a terminal shows it."""
    kinds, values, text = tokens.kinds, tokens.values, tokens.source.text
    result = Tokens(tokens.source, [], [], [], [])
    done = 0
    for i, kind in enumerate(kinds):
        if kind != "name" or kinds[i + 1 : i + 5] != ["^", "{", "number", "}"] or text[tokens.starts[i + 1]] not in SUPERSCRIPTS:
            continue
        operator, digits = values[i], values[i + 3]
        if not isinstance(operator, Spelling) or operator.base not in _OPERATORS or not operator.suffix or operator.key in names:
            continue
        copy_tokens(tokens, done, i, result)
        suffix = f"{operator.suffix}{digits}"
        result.kinds.append("name")
        result.values.append(operator._replace(key=operator.base + suffix, suffix=suffix))
        result.starts.append(tokens.starts[i])
        result.ends.append(tokens.ends[i + 4])
        done = i + 5
    if not done:
        return tokens
    copy_tokens(tokens, done, len(kinds), result)
    return result


def _part_differential(tokens: Tokens, names: Collection[str]) -> Tokens:
    """Tokens in which ``dvec(W)`` is the differential of vec(W)."""
    kinds, starts = tokens.kinds, tokens.starts
    words = [i for i, kind in enumerate(kinds) if kind == "name" and tokens.source.text[starts[i] : tokens.ends[i]] == "dvec"]
    words = [i for i in words if kinds[i + 1 : i + 2] in (["("], ["name"]) and "dvec" not in names]
    result = Tokens(tokens.source, [], [], [], [])
    done = 0
    for i in words:
        copy_tokens(tokens, done, i, result)
        result.kinds.extend(("name", "name"))
        result.values.extend((spell("d"), spell("vec")))
        result.starts.extend((starts[i], starts[i] + 1))
        result.ends.extend((starts[i] + 1, tokens.ends[i]))
        done = i + 1
    copy_tokens(tokens, done, len(kinds), result)
    return result if words else tokens


def _drop_alignment(tokens: Tokens) -> Tokens:
    r"""Tokens without the marks that only align a long row: ``&`` behind a bracket, ``\\ &`` behind a bar inside of brackets."""
    kinds = tokens.kinds
    if "&" not in kinds or "(" not in kinds:
        return tokens
    result = Tokens(tokens.source, [], [], [], [])
    done, depth, i = 0, 0, 0
    while i < len(kinds):
        depth += (kinds[i] in OPENING) - (kinds[i] in CLOSING)
        last = i + 1
        if kinds[i] == "(" or (kinds[i] == "|" and depth):
            while last < len(kinds) and kinds[last] in _BLANK and (kinds[i] == "|" or kinds[last] != "\\\\"):
                last += 1
        if "&" in kinds[i + 1 : last]:
            copy_tokens(tokens, done, i + 1, result)
            done = last
        i = last
    copy_tokens(tokens, done, len(kinds), result)
    return result


def _split_at_commas(kinds: Sequence[str], start: int, end: int) -> list[tuple[int, int]]:
    """The equalities of one line: a comma between two signs of equality parts them where none other stands between it and the next."""
    marks: list[int] = []
    depth = 0
    for i in range(start, end):
        depth += (kinds[i] in OPENING) - (kinds[i] in CLOSING)
        if depth == 0 and kinds[i] in ("=", ","):
            marks.append(i)
    cuts = [
        one
        for k, (one, other) in enumerate(itertools.pairwise(marks))
        if kinds[one] == "," and kinds[other] == "=" and any(kinds[mark] == "=" for mark in marks[:k])
    ]
    edges = [start - 1, *cuts, end]
    return [(low + 1, high) for low, high in itertools.pairwise(edges) if low + 1 < high]


def _outline_chain(tokens: Tokens, start: int, end: int) -> Segment:
    """The segment of a chain: only a lone name left of the first '=' is one that the line can define."""
    segment = outline(tokens, start, end)
    if segment.mark > start and tokens.kinds[segment.mark] == "=" and tokens.kinds[start] == "name":
        mark = segment.mark - (tokens.kinds[segment.mark - 1] == "&")
        found = superscript_at(tokens, start, mark)
        if mark == start + 1 or (found is not None and tokens.kinds[start + 1] == "^" and found.end == mark):
            return segment
    return Segment(start, end, start - 1, frozenset())


def _read_chain(parser: _Parser, segment: Segment) -> Chain:
    """The links of one line or several that go on with '='."""
    tokens, kinds = parser.tokens, parser.tokens.kinds
    cuts, depth = [segment.start - 1], 0
    for i in range(segment.start, segment.end):
        depth += (kinds[i] in OPENING) - (kinds[i] in CLOSING)
        if kinds[i] == "=" and depth == 0:
            cuts.append(i)
    cuts.append(segment.end)
    links = []
    for k, (before, end) in enumerate(itertools.pairwise(cuts)):
        start = before + 1
        while start < end and kinds[start] in _BLANK:
            start += 1
        while end > start and (kinds[end - 1] in _BLANK or kinds[end - 1] == ","):
            end -= 1
        if start == end:
            if k == 0 and len(cuts) > 2:
                continue  # the line goes on from the one before it
            raise ReadingError("expected an expression after '='", tokens.place(before))
        low = len(parser.nodes)
        links.append(Link(low, parser.expression(start, end, blocks=True), start, end))
    is_lone = [kind for kind in kinds[segment.start : segment.mark] if kind not in _BLANK] == ["name"]
    name = segment.start if is_lone and len(links) > 1 else None
    return Chain(name, tuple(links))


def substitute(tokens: Tokens, form: Tokens, name: Spelling) -> Tokens:
    """Tokens in which every place that reads like ``form``, braces apart, is one name."""
    wanted = [(kind, _text(form, i)) for i, kind in enumerate(form.kinds) if kind not in "{}"]
    places = [i for i, kind in enumerate(tokens.kinds) if kind not in "{}"]
    present = [(tokens.kinds[i], _text(tokens, i)) for i in places]
    result = Tokens(tokens.source, [], [], [], [])
    done, k = 0, 0  # tokens that are copied or replaced already, position in ``places``
    while k + len(wanted) <= len(places):
        first, last = places[k], places[k + len(wanted) - 1]
        if present[k] != wanted[0] or present[k : k + len(wanted)] != wanted:
            k += 1
            continue
        inside = tokens.kinds[first : last + 1]
        stop = last + 1
        for _ in range(inside.count("{") - inside.count("}")):
            stop += tokens.kinds[stop : stop + 1] == ["}"]
        copy_tokens(tokens, done, first, result)
        result.kinds.append("name")
        result.values.append(name)
        result.starts.append(tokens.starts[first])
        result.ends.append(tokens.ends[stop - 1])
        done, k = stop, k + len(wanted)
    copy_tokens(tokens, done, len(tokens.kinds), result)
    return result


MAX_DOTS = 10_000
"""Most terms that dots stand for."""

_JOINTS = frozenset("· × * @ + | , &".split())
_DIGITS = re.compile(r"[0-9]+")


def _expand_dots(tokens: Tokens, notices: list[Notice]) -> Tokens:
    """Tokens in which dots between two terms that differ in indices only give way to the terms between them.

    All indices that differ must do so by the same number, up or down, and a further term before the first must be one step off; dots
    that are not so regular stay.
    """
    result = Tokens(tokens.source, [], [], [], [])
    done = 0
    for at, kind in enumerate(tokens.kinds):
        if kind != "dots" or at < done:
            continue
        joint = at > 0 and tokens.kinds[at - 1] in _JOINTS
        same = tokens.kinds[at + 1 : at + 2] == [tokens.kinds[at - 1]] if joint else True
        low, high = at - joint, at + 1 + (tokens.kinds[at + 1 : at + 2] != [] and tokens.kinds[at + 1] in _JOINTS)
        pattern = _pattern(tokens, low, high) if same or tokens.kinds[high - 1] not in ("+", "|", ",", "&") else None
        if pattern is None:
            continue
        length, first, steps = pattern
        count = max(abs(step) for step in steps)
        copy_tokens(tokens, done, low, result)
        for k in range(1, count):
            if joint:
                copy_tokens(tokens, low, low + 1, result)
            index = iter([one + k * (step > 0) - k * (step < 0) for one, step in zip(first, steps, strict=True)])
            for i in range(low - length, low):
                result.kinds.append(tokens.kinds[i])
                result.values.append(_renumber(tokens.values[i], index))
                result.starts.append(tokens.starts[at])
                result.ends.append(tokens.ends[at])
        done = at + 1
        place = tokens.place(at)
        notices.append(Notice(f"the dots are read as {count - 1} further term{'s' if count != 2 else ''}", place))
    copy_tokens(tokens, done, len(tokens.kinds), result)
    return result


def _pattern(tokens: Tokens, low: int, high: int) -> tuple[int, list[int], list[int]] | None:
    """The length of the terms before ``low`` and behind ``high``, the numbers in the first, and how far those of the other are."""
    for length in range(1, min(low, len(tokens.kinds) - high) + 1):
        left, right = range(low - length, low), range(high, high + length)
        if tokens.kinds[left[0]] in ("dots", "=", "\n") or tokens.kinds[right[-1]] in ("dots", "=", "\n"):
            return None
        kinds = tokens.kinds
        if kinds[left[0] : low] != kinds[high : right[-1] + 1] or not is_balanced(kinds[left[0] : low]) or kinds[left[0]] in _JOINTS:
            continue
        if kinds[left[0] - 1 : left[0]] == ["/"] or kinds[right[-1] + 1 : right[-1] + 2] == ["/"]:
            continue  # half of a fraction
        (shape, first), (other_shape, last) = _form(tokens, left), _form(tokens, right)
        steps = [other - one for one, other in zip(first, last, strict=False)]
        sizes = {abs(step) for step in steps if step}
        if shape != other_shape or len(sizes) != 1 or max(sizes) > MAX_DOTS:
            continue
        end = left[0] - (kinds[left[0] - 1] in _JOINTS)
        if end >= length and kinds[end - length : end] == kinds[left[0] : low]:
            earlier_shape, earlier = _form(tokens, range(end - length, end))
            units = [(step > 0) - (step < 0) for step in steps]
            if earlier_shape == shape and [one - unit for one, unit in zip(first, units, strict=True)] != earlier:
                return None
        return length, first, steps
    return None


def _form(tokens: Tokens, side: range) -> tuple[list[str], list[int]]:
    """The tokens of a term with all numbers taken out, and these numbers."""
    texts = [_text(tokens, i) for i in side]
    return [_DIGITS.sub("#", text) for text in texts], [int(digits[:9]) for text in texts for digits in _DIGITS.findall(text)]


def is_balanced(kinds: Sequence[str]) -> bool:
    """Whether every bracket is closed, and none before it is opened."""
    depth = 0
    for kind in kinds:
        depth += (kind in OPENING) - (kind in CLOSING)
        if depth < 0:
            return False
    return depth == 0


def _renumber(value: Spelling | str, numbers: Iterator[int]) -> Spelling | str:
    """A token's value with the numbers in it replaced by others."""
    if not isinstance(value, Spelling):
        return _DIGITS.sub(lambda _: str(next(numbers)), value)
    found = [str(next(numbers)) for _ in _DIGITS.findall(value.key)]
    key, suffix, upper = (iter(found), iter(found), iter(found[len(_DIGITS.findall(value.suffix)) :]))
    return value._replace(
        key=_DIGITS.sub(lambda _: next(key), value.key),
        suffix=_DIGITS.sub(lambda digits: next(suffix, digits[0]), value.suffix),
        upper=_DIGITS.sub(lambda digits: next(upper, digits[0]), value.upper),
    )


def copy_tokens(tokens: Tokens, start: int, end: int, target: Tokens) -> None:
    """Append the tokens ``start`` to ``end`` to others."""
    target.kinds.extend(tokens.kinds[start:end])
    target.values.extend(tokens.values[start:end])
    target.starts.extend(tokens.starts[start:end])
    target.ends.extend(tokens.ends[start:end])


def _tokenize(source: Source) -> Tokens:
    tokens = tokenize(source)
    if len(tokens.kinds) > MAX_TOKENS:
        raise LimitError(f"the text has {len(tokens.kinds):,} words and symbols; the limit is {MAX_TOKENS:,}")
    return tokens


# --- statements -------------------------------------------------------------------------------------------------------

_CONTINUES = frozenset(("+ - * @ · × / ⊙ ∘ .* ./ ⊘ ⊗ = ^ .^ in").split())
_SHOWN = {"begin-grid": r"\begin{…}", "end-grid": r"\end{…}"}
_BLANK = frozenset({"\n", "\\\\", "&"})
_ENDS = frozenset({";", "\\\\", "\n"})


def _split(tokens: Tokens) -> list[tuple[int, int]]:
    r"""Token ranges of the statements: separated by ';', a newline or ``\\`` outside of all brackets."""
    kinds = tokens.kinds
    ranges: list[tuple[int, int]] = []
    open_: list[int] = []
    start = 0
    for i, kind in enumerate(kinds):
        if kind in OPENING:
            open_.append(i)
        elif kind in CLOSING:
            if not open_ or kinds[open_[-1]] != CLOSING[kind]:
                _refuse_bracket(tokens, i, open_)
            open_.pop()
        elif kind in _ENDS and not open_:
            if kind != ";" and i > start and _continues(kinds, start, i):
                continue
            ranges.append((start, i))
            start = i + 1
    if open_:
        _refuse_bracket(tokens, len(kinds), open_)
    ranges.append((start, len(kinds)))
    trimmed = []
    for start, end in ranges:
        while start < end and kinds[start] in ("\n", "&"):
            start += 1
        while end > start and kinds[end - 1] in ("\n", ",", "&"):
            end -= 1
        if start < end:
            trimmed.append((start, end))
    return trimmed


def _continues(kinds: list[str], start: int, end: int) -> bool:
    """Whether a statement goes on behind the line's end: the line ends with an operator, or the next begins with one."""
    before, after = end - 1, end + 1
    while before > start and kinds[before] in _BLANK:
        before -= 1
    if kinds[before] in _CONTINUES:
        return True
    while after < len(kinds) and kinds[after] in _BLANK:
        after += 1
    return after < len(kinds) and kinds[after] in _CONTINUES


def _refuse_bracket(tokens: Tokens, i: int, open_: list[int]) -> None:
    """Raise the error for a bracket that does not fit; ``i`` past the end for one that stays open."""
    kinds = tokens.kinds
    if i == len(kinds):
        kind = kinds[open_[-1]]
        closing = _SHOWN.get(OPENING[kind], OPENING[kind])
        hint = f"expected {closing!r} before the end of the text"
        raise ReadingError(f"this {_SHOWN.get(kind, kind)!r} is never closed", tokens.place(open_[-1]), hint)
    shown = _SHOWN.get(kinds[i], kinds[i])
    if not open_:
        raise ReadingError(f"this {shown!r} closes nothing", tokens.place(i), "one closing bracket too many?")
    wanted = OPENING[kinds[open_[-1]]]
    opened = tokens.place(open_[-1])
    raise ReadingError(
        f"found {shown!r} where {_SHOWN.get(wanted, wanted)!r} was expected",
        tokens.place(i),
        f"the bracket that is open here was opened at line {opened.line}, column {opened.column}",
    )


def _read_statement(parser: _Parser, segment: Segment) -> Declaration | Equation:
    tokens = parser.tokens
    start, end, mark = segment.start, segment.end, segment.mark
    if segment.is_declaration(tokens):
        return _read_declaration(tokens, segment)
    name, parameters = (None, None) if mark < start else _read_left_side(tokens, start, mark)
    if mark + 1 == end:
        raise ReadingError("expected an expression after '='", tokens.place(end))
    low = len(parser.nodes)
    root = parser.expression(mark + 1, end, None if name is None else tokens.spelling(name).key)
    return Equation(name, parameters, low, root, start, end)


def _read_left_side(tokens: Tokens, start: int, end: int) -> tuple[int, tuple[int, ...] | None]:
    kinds = tokens.kinds
    while end > start and kinds[end - 1] in ("&", "\n"):
        end -= 1
    if start == end:
        raise ReadingError("expected a name before '='", tokens.place(start))
    if kinds[start] == "name" and start + 1 == end:
        return start, None
    if kinds[start] == "name" and kinds[start + 1] == "(" and kinds[end - 1] == ")":
        inner = range(start + 2, end - 1)
        if len(inner) % 2 and all(kinds[i] == ("name", ",")[k % 2] for k, i in enumerate(inner)):
            return start, tuple(inner[::2])
    raise ReadingError(
        "the left side of an equation is one name, or a name with its arguments",
        tokens.place(start, end - 1),
        "write y = … or f(x, θ) = …",
    )


FACTS = frozenset({"symmetric", "label", "free", "elementwise"})
"""What a declaration can say of a name beside its shape."""


def _read_declaration(tokens: Tokens, segment: Segment) -> Declaration:
    kinds = tokens.kinds
    start, mark, end = segment.start, segment.mark, segment.end
    for k, i in enumerate(range(start, mark)):
        if kinds[i] != ("name", ",")[k % 2]:
            raise ReadingError("a declaration begins with names", tokens.place(i), "write W: m x n, or W, U: m x n")
    if (mark - start) % 2 == 0:
        raise ReadingError(f"expected a name before {_text(tokens, mark)!r}", tokens.place(mark))
    words = [_text(tokens, i) if kinds[i] in ("name", "number") else kinds[i] for i in range(mark + 1, end) if kinds[i] not in _LOOSE]
    space = words[:1] == ["R"] and (kinds[mark] != ":" or kinds[mark + 2 : mark + 3] == ["^"])
    if space:
        words = words[1:] or ["scalar"]
    facts = tuple(word for word in words if word in FACTS)
    shape = [word for word in words if word not in FACTS]
    run_together = re.fullmatch(r"([A-Za-z][0-9]*|[0-9]+)x([A-Za-z][0-9]*|[0-9]+)", "".join(shape)) if len(shape) < 3 else None
    if run_together:
        shape = [run_together[1], "x", run_together[2]]
    dimensions: tuple[str, str] | None = None
    shape = [word.lstrip("0") if word.isdecimal() else word for word in shape]
    if shape == ["scalar"]:
        dimensions = ("1", "1")
    elif len(shape) == 1 and _is_dimension(shape[0]):
        dimensions = (shape[0], "1")
    elif len(shape) == 3 and shape[1] in ("x", "×", "*", "by") and _is_dimension(shape[0]) and _is_dimension(shape[2]):
        dimensions = (shape[0], shape[2])
    elif shape or not facts:
        place = tokens.place(mark + 1, end - 1) if mark + 1 < end else tokens.place(end)
        hint = suggest(shape[-1], [*FACTS, "scalar"]) if shape else None
        raise ReadingError("this is not a shape", place, hint or "write x: n, W: m x n, t: scalar, or y in R^m")
    return Declaration(tuple(range(start, mark, 2)), dimensions, facts, start, end)


_LOOSE = frozenset("{ } ( ) ^".split()) | {"\n"}


def _is_dimension(word: str) -> bool:
    """Whether a word can be a size: a positive number of some digits, or a name."""
    return len(word) < 10 if word.isdecimal() else word[:1].isalpha()


def _text(tokens: Tokens, i: int) -> str:
    """Token ``i`` for a message: a name's key, else as typed."""
    value = tokens.values[i]
    return value.key if isinstance(value, Spelling) else value


# --- expressions ------------------------------------------------------------------------------------------------------

_RELATION, _SUM, _MINUS, _ELEMENTWISE, _FUNCTION, _PRODUCT = 5, 10, 15, 20, 28, 30
_RELATIONS = frozenset("=<>")
_BINARY = {
    "+": (_SUM, "add"),
    "-": (_SUM, "subtract"),
    ".*": (_ELEMENTWISE, "elementwise"),
    "⊙": (_ELEMENTWISE, "elementwise"),
    "∘": (_ELEMENTWISE, "elementwise"),
    "./": (_ELEMENTWISE, "elementwise"),
    "⊘": (_ELEMENTWISE, "elementwise"),
    "⊗": (_ELEMENTWISE, "elementwise"),
    "*": (_PRODUCT, "product"),
    "@": (_PRODUCT, "product"),
    "·": (_PRODUCT, "product"),
    "×": (_PRODUCT, "product"),
    "/": (_PRODUCT, "divide"),
}
_BRACKETS = {"(": "group", "{": "group", "[": "matrix", "begin-grid": "grid"}
_SEPARATORS = {
    "group": frozenset({",", "|", "&", ";", "\\\\"}),
    "matrix": frozenset({",", "|", "&", ";", "\\\\"}),
    "grid": frozenset({"|", "&", "\\\\"}),
    "call": frozenset({","}),
    "blocks": frozenset({",", "|", "&"}),
}


class _Pending(NamedTuple):
    """An operator, bracket (``power`` 0) or cut between cells (``power`` 0) that waits; ``base`` operands lie below it."""

    power: int
    kind: str
    value: str
    token: int
    base: int


class _Parser:
    """Operator precedence with explicit stacks, over one token list and into one node list."""

    def __init__(self, tokens: Tokens, names: Names, in_answer: bool = False, bars: bool = False) -> None:
        self.tokens = tokens
        self.names = names
        self.in_answer = in_answer
        self.bars = bars
        self.nodes: list[Node] = []
        self.operands: list[int] = []
        self.stack: list[_Pending] = []
        self.brackets: list[int] = []  # positions on the stack
        self.defining: str | None = None
        self.in_blocks = False
        self.with_comma = _brackets_with_comma(tokens)

    def expression(self, start: int, end: int, defining: str | None = None, blocks: bool = False) -> int:
        """Parse the tokens ``start`` to ``end``, the right side of ``defining``, perhaps blocks without brackets; the index of the root."""
        self.defining = defining
        self.operands, self.stack, self.brackets = [], [], []
        self.in_blocks = blocks
        if blocks:
            self.open("blocks", start)
        outside = len(self.brackets)
        kinds = self.tokens.kinds
        wants_operand = True
        i = start
        while i < end:
            if kinds[i] == "\n" or (kinds[i] in _BLANK and len(self.brackets) == outside and not self.separates(i, end, wants_operand)):
                i += 1
            elif wants_operand:
                i, wants_operand = self.operand(i, end)
            else:
                i, wants_operand = self.operator(i, end)
        if wants_operand:
            raise self.missing_operand(end)
        self.reduce(1)
        if blocks and len(self.brackets) == 1:
            cuts = self.pop_cuts()
            opening = self.stack.pop()
            if cuts:
                self.join_cells("group", cuts, opening, end)
        if self.stack:
            pending = self.stack[-1]
            raise ReadingError(f"this {pending.value!r} is never closed", self.tokens.place(pending.token))
        return self.operands.pop()

    def separates(self, i: int, end: int, wants_operand: bool) -> bool:
        """Whether the '&' at ``i`` stands between blocks rather than marks where lines are aligned."""
        kinds = self.tokens.kinds
        if kinds[i] != "&" or wants_operand or self.innermost() != "blocks":
            return False
        following = next((kind for kind in kinds[i + 1 : end] if kind not in _BLANK), "=")
        return following not in _CONTINUES

    def operand(self, i: int, end: int) -> tuple[int, bool]:
        """Read a token where an operand may begin: the next token, and whether an operand is still wanted."""
        kinds = self.tokens.kinds
        kind = kinds[i]
        following = kinds[i + 1] if i + 1 < end else ""
        if kind == "name":
            name = self.tokens.spelling(i)
            key = name.key
            value = key in self.names.values
            if following == "(" and (not value or key == self.defining or i + 1 in self.with_comma):
                self.push("function", key, (), i, i + 1)
                self.open("call", i + 1)
                return i + 2, True
            if not value and is_function(name):
                self.push("function", key, (), i, i + 1)
                if following == "{":
                    self.open("call", i + 1)
                    return i + 2, True
                if following not in ("'", "^"):
                    self.stack.append(_Pending(_FUNCTION, "apply", key, i, len(self.operands)))
                    return i + 1, True
                return i + 1, False
            self.push("function" if not value and following == "'" else "name", key, (), i, i + 1)
            return i + 1, False
        if kind == "number":
            self.push("number", str(self.tokens.values[i]), (), i, i + 1)
            return i + 1, False
        if kind in _BRACKETS:
            self.open(_BRACKETS[kind], i)
            return i + 1, True
        if kind == "||" or kind == "|":
            self.open("norm" if kind == "||" else "absolute", i)
            return i + 1, True
        if kind == "-":
            self.stack.append(_Pending(_MINUS, "negate", "-", i, len(self.operands)))
            return i + 1, True
        if kind == "+":
            return i + 1, True
        if kind == "frac":
            return self.fraction(i, end)
        if kind == "dots":
            self.push("dots", "", (), i, i + 1)
            return i + 1, False
        if kind == ")" and self.stack and self.stack[-1].kind == "call" and self.stack[-1].base == len(self.operands):
            return self.close(i, end)
        raise self.missing_operand(i)

    def fraction(self, i: int, end: int) -> tuple[int, bool]:
        r"""``\frac{a}{b}`` and ``\frac12``."""
        kinds = self.tokens.kinds
        if i + 1 < end and kinds[i + 1] == "{":
            self.stack.append(_Pending(0, "divide", r"\frac", i, len(self.operands)))
            self.open("numerator", i + 1)
            return i + 2, True
        digits = self.tokens.values[i + 1] if i + 1 < end and kinds[i + 1] == "number" else ""
        if isinstance(digits, str) and len(digits) == 2 and digits.isdecimal():
            self.push("number", digits[0], (), i + 1, i + 2)
            self.push("number", digits[1], (), i + 1, i + 2)
            self.join("divide", r"\frac", 2, i, i + 2)
            return i + 2, False
        raise ReadingError(r"expected {…}{…} after \frac", self.tokens.place(i + 1), r"write \frac{a}{b}")

    def operator(self, i: int, end: int) -> tuple[int, bool]:
        """Read a token where an operand has just ended: the next token, and whether an operand is wanted."""
        kind = self.tokens.kinds[i]
        if kind in _BINARY:
            power, node = _BINARY[kind]
            self.reduce(power, closes_function=kind == "/")
            self.stack.append(_Pending(power, node, kind, i, len(self.operands)))
            return i + 1, True
        if kind in CLOSING:
            return self.close(i, end)
        if kind == "^" or kind == ".^":
            return self.exponent(i, end)
        if kind == "'" or kind == "ᵀ":
            self.join("prime" if kind == "'" else "transpose", "", 1, self.nodes[self.operands[-1]].start, i + 1)
            return i + 1, False
        if kind == "index" and self.in_answer:
            self.join("index", _text(self.tokens, i), 1, self.nodes[self.operands[-1]].start, i + 1)
            return i + 1, False
        bracket = self.innermost()
        if kind in _RELATIONS and self.in_answer and bracket in ("group", "matrix", "call"):
            self.reduce(_RELATION)
            self.stack.append(_Pending(_RELATION, "compare", kind, i, len(self.operands)))
            return i + 1, True
        if (kind == "||" and bracket == "norm") or (kind == "|" and bracket == "absolute"):
            return self.close_bars(i, end), False
        if kind == "|" and i + 1 < end and self.tokens.kinds[i + 1] == "index":
            self.join("at", _text(self.tokens, i + 1), 1, self.nodes[self.operands[-1]].start, i + 2)
            return i + 2, False
        parts = kind in _SEPARATORS.get(bracket, ()) and not (kind == "|" and self.bars)
        if parts or (kind in ("|", "&") and bracket == "call" and self.in_blocks):
            self.reduce(1)
            self.stack.append(_Pending(0, "cut", kind, i, len(self.operands)))
            return i + 1, True
        is_bar = (kind == "||" and bracket != "norm") or (kind == "|" and self.in_answer)
        if kind in ("name", "number", "(", "[", "{", "frac", "begin-grid", "dots") or is_bar:
            if self.is_function(self.operands[-1]):
                if kind == "(":
                    self.open("call", i)
                    return i + 1, True
                self.stack.append(_Pending(_FUNCTION, "apply", "", i, len(self.operands)))
            else:
                self.juxtapose(i)
            return i, True
        if kind in ("<", ">"):
            raise ReadingError(f"unexpected {kind!r}", self.tokens.place(i), "comparisons are not part of the language")
        if kind == "=":
            raise ReadingError("a second '=' in one statement", self.tokens.place(i), "separate equations by ';' or a new line")
        hint = "expected an operator or the end of the text"
        if bracket:
            hint = "expected an operator, a comma or a closing bracket"
        if bracket == "blocks":
            hint = "expected an operator, a bar between blocks or the end of the text"
        if bracket == "call" and kind in (";", "|", "||"):
            hint = "arguments are separated by commas"
        raise ReadingError(f"unexpected {_text(self.tokens, i)!r}", self.tokens.place(i), hint)

    def juxtapose(self, i: int) -> None:
        """Put a product without a sign on the stack, before token ``i``."""
        tokens = self.tokens
        before = self.nodes[self.operands[-1]]
        function_ahead = False
        is_ones = self.in_answer and tokens.values[i] == "1"  # as in b 1ᵀ, 2 1[z > 0]
        is_ones = is_ones and (before.kind == "name" or tokens.kinds[i + 1 : i + 2] in (["["], ["index"]))
        if tokens.kinds[i] == "number" and before.kind in ("name", "number") and not (is_ones or self.is_row_of_ones(i)):
            hint = f"a number stands before what it multiplies; an index is written {before.value}_{_text(tokens, i)}"
            if before.kind == "number":
                hint = f"write {before.value}*{_text(tokens, i)} for a product"
            raise ReadingError(f"unexpected number {_text(tokens, i)}", tokens.place(i), hint)
        if tokens.kinds[i] == "name":
            key = tokens.spelling(i).key
            function_ahead = is_function(tokens.spelling(i)) and key not in self.names.values
            split = tokens.starts[i] == tokens.starts[i - 1]  # one word, read as a product
            if before.kind == "name" and not function_ahead and not split and self.innermost() == "call":
                function = self.nodes[function_of(self.nodes, self.operands[self.stack[self.brackets[-1]].base - 1])]
                known = function.value in FUNCTION_KEYS or function.value in self.names.functions
                if not known and self.names.declared.isdisjoint((before.value, key)):
                    hint = f"missing comma? write {before.value}, {key} for two arguments, {before.value}*{key} for a product"
                    raise ReadingError(f"{before.value} and {key} stand side by side", tokens.place(i), hint)
        self.reduce(_PRODUCT, closes_function=function_ahead)
        self.stack.append(_Pending(_PRODUCT, "product", "", i, len(self.operands)))

    def is_row_of_ones(self, i: int) -> bool:
        """Whether the number at ``i`` is the 1 of ``1^T``."""
        kinds = self.tokens.kinds
        after = [j for j in range(i + 1, min(i + 4, len(kinds))) if kinds[j] != "{"]
        if self.tokens.values[i] != "1" or not after:
            return False
        raised = kinds[after[0]] == "^" and len(after) > 1 and (kinds[after[1]] == "⊤" or _text(self.tokens, after[1]) == "T")
        return kinds[after[0]] == "ᵀ" or raised

    def exponent(self, i: int, end: int) -> tuple[int, bool]:
        """Read what follows the '^' at ``i``."""
        tokens, kinds = self.tokens, self.tokens.kinds
        node = "power" if kinds[i] == "^" else "epower"
        start = self.nodes[self.operands[-1]].start
        j = i + 1
        braced = j < end and kinds[j] == "{"
        j += braced
        if braced and j < end and kinds[j] in ("⊙", "∘"):
            node, j = "epower", j + 1
        negative = j < end and kinds[j] == "-"
        j += negative
        stop = j + 1 + braced
        if stop <= end and (not braced or kinds[stop - 1] == "}"):
            text = _text(tokens, j)
            if kinds[j] == "⊤" or (kinds[j] == "name" and text == "T"):
                self.join("transpose", "-" if negative else "", 1, start, stop)
                return stop, False
            if kinds[j] == "'" or (kinds[j] == "*" and braced):
                self.join("prime", "", 1, start, stop)
                return stop, False
            if kinds[j] == "number" or kinds[j] == "name":
                self.push(kinds[j], text, (), j, j + 1)
                if negative:
                    self.join("negate", "", 1, j - 1, j + 1)
                self.join(node, "", 2, start, stop)
                return self.order_behind_square(stop, end), False
        if i + 1 < end and kinds[i + 1] in ("{", "("):
            self.stack.append(_Pending(0, node, "^", i, len(self.operands)))
            self.open("exponent", i + 1)
            return (j - negative if braced else i + 2), True
        raise ReadingError("expected an exponent after '^'", tokens.place(i + 1), "write A^T, A^-1 or x^2")

    def order_behind_square(self, i: int, end: int) -> int:
        """The token after a power; the index of a norm may stand behind its exponent, as in ``||v||^2_2``."""
        base = self.nodes[self.operands[-1]].args[0]
        kind, value, args, start, stop, bracketed = self.nodes[base]
        if i < end and self.tokens.kinds[i] == "index" and kind == "norm" and not value:
            self.nodes[base] = Node(kind, _text(self.tokens, i), args, start, stop, bracketed)
            return i + 1
        return i

    def push(self, kind: str, value: str, args: tuple[int, ...], start: int, end: int) -> None:
        """Make a node, the topmost operand."""
        self.operands.append(len(self.nodes))
        self.nodes.append(Node(kind, value, args, start, end))

    def join(self, kind: str, value: str, count: int, start: int, end: int) -> None:
        """Replace the ``count`` topmost operands by one node over them."""
        cut = len(self.operands) - count
        args = tuple(self.operands[cut:])
        del self.operands[cut:]
        self.push(kind, value, args, start, end)

    def open(self, kind: str, token: int) -> None:
        """Open a bracket."""
        self.brackets.append(len(self.stack))
        self.stack.append(_Pending(0, kind, _text(self.tokens, token), token, len(self.operands)))

    def innermost(self) -> str:
        """Kind of the innermost open bracket, empty outside of all."""
        return self.stack[self.brackets[-1]].kind if self.brackets else ""

    def reduce(self, power: int, closes_function: bool = False) -> None:
        """Apply the waiting operators that bind at least as tightly as ``power``."""
        stack, nodes, operands = self.stack, self.nodes, self.operands
        while stack:
            top = stack[-1]
            if top.power == 0 or (top.power < power and not (closes_function and top.kind == "apply")):
                return
            stack.pop()
            end = nodes[operands[-1]].end
            if top.kind == "negate":
                self.join("negate", "", 1, top.token, end)
            else:
                kind = "call" if top.kind == "apply" else top.kind
                self.join(kind, "" if kind == "call" else top.value, 2, nodes[operands[-2]].start, end)

    def close(self, i: int, end: int) -> tuple[int, bool]:
        """A closing bracket: make the node of what it closes."""
        self.reduce(1)
        cuts = self.pop_cuts()
        opening = self.stack.pop()
        self.brackets.pop()
        kind, stop = opening.kind, i + 1
        if kind in ("norm", "absolute"):
            raise ReadingError(f"this {opening.value!r} is never closed", self.tokens.place(opening.token))
        if kind == "call" and any(cut.value != "," for cut in cuts):
            self.join_cells("group", cuts, opening, stop)
            self.join("call", "", 2, self.nodes[self.operands[-2]].start, stop)
        elif kind == "call":
            start = self.nodes[self.operands[opening.base - 1]].start
            self.join("call", "", len(self.operands) - opening.base + 1, start, stop)
        elif kind == "numerator":
            if stop >= end or self.tokens.kinds[stop] != "{":
                raise ReadingError(r"expected the second {…} of \frac", self.tokens.place(stop), r"write \frac{a}{b}")
            self.open("denominator", stop)
            return stop + 1, True
        elif kind == "denominator" or kind == "exponent":
            waiting = self.stack.pop()
            start = waiting.token if kind == "denominator" else self.nodes[self.operands[-2]].start
            self.join(waiting.kind, waiting.value, 2, start, stop)
        elif kind == "group" and not cuts:
            kind, value, args, _, _, _ = self.nodes[self.operands[-1]]
            self.nodes[self.operands[-1]] = Node(kind, value, args, opening.token, stop, True)
        else:
            self.join_cells(kind, cuts, opening, stop)
        return stop, False

    def pop_cuts(self) -> list[_Pending]:
        """Take the cuts between the cells of the innermost bracket off the stack."""
        cuts: list[_Pending] = []
        while self.stack and self.stack[-1].kind == "cut":
            cuts.append(self.stack.pop())
        cuts.reverse()
        return cuts

    def join_cells(self, kind: str, cuts: list[_Pending], opening: _Pending, stop: int) -> None:
        """Cells of a bracket to rows, and rows to a column."""
        separators = {cut.value for cut in cuts}
        beside, below = ("beside", "stack") if kind == "matrix" else ("row", "column")
        if kind == "group" and separators == {","}:
            beside = "tuple"
        cells = self.operands[opening.base :]
        breaks = [cut.base - opening.base for cut in cuts if cut.value in (";", "\\\\")]
        if not breaks:
            self.join(beside, "", len(cells), opening.token, stop)
            return
        del self.operands[opening.base :]
        for low, high in zip([0, *breaks], [*breaks, len(cells)], strict=True):
            row = cells[low:high]
            self.operands.extend(row)
            if len(row) > 1:
                self.join(beside, "", len(row), self.nodes[row[0]].start, self.nodes[row[-1]].end)
        self.join(below, "", len(breaks) + 1, opening.token, stop)

    def close_bars(self, i: int, end: int) -> int:
        """The second bar of a norm or absolute value, with the order of the norm below it; the next token."""
        self.reduce(1)
        opening = self.stack.pop()
        self.brackets.pop()
        order, stop = "", i + 1
        if stop < end and self.tokens.kinds[stop] == "index":
            order, stop = _text(self.tokens, stop), stop + 1
        self.join(opening.kind, order, 1, opening.token, stop)
        return stop

    def is_function(self, node: int) -> bool:
        """Whether a node is a function, perhaps with primes or a power on it."""
        return self.nodes[function_of(self.nodes, node)].kind == "function"

    def missing_operand(self, i: int) -> ReadingError:
        """The error for a missing operand before token ``i``."""
        tokens = self.tokens
        found = f", found {_text(tokens, i)!r}" if i < len(tokens.kinds) and tokens.kinds[i] != "\n" else ""
        if not self.stack or self.stack[-1].kind == "blocks":
            return ReadingError(f"expected an expression{found}", tokens.place(i))
        top = self.stack[-1]
        after = top.value or _text(tokens, top.token)
        if after in OPENING:
            return ReadingError(f"expected something inside the brackets{found}", tokens.place(i))
        hint = "one comma too many?" if after == "," else f"is something missing after {after!r}?"
        return ReadingError(f"expected an expression after {after!r}{found}", tokens.place(i), hint)


def _brackets_with_comma(tokens: Tokens) -> set[int]:
    """The open brackets that hold a comma of their own."""
    found: set[int] = set()
    open_: list[int] = []
    for i, kind in enumerate(tokens.kinds):
        if kind in OPENING:
            open_.append(i)
        elif kind in CLOSING:
            if open_:
                open_.pop()
        elif kind == "," and open_:
            found.add(open_[-1])
    return found
