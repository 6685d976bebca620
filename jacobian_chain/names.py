"""What the whole text says of its names: which superscripts are indices, which words are products, which names are values.

A superscript can be an index or a power, and ``Wx`` a name or a product; only the text as a whole can tell. This pass goes
over the tokens before they are parsed and leaves no such question open.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from jacobian_chain.errors import Notice, ReadingError, Source
from jacobian_chain.tokens import Spelling, Tokens, spell, tokenize

FUNCTIONS = frozenset(
    (
        "exp log ln sqrt sin cos tan sinh cosh tanh sigmoid relu leaky_relu elu softplus silu gelu abs sign erf "
        "max min softmax logsoftmax softmax_rows softmax_columns layernorm sum mean tr det logdet logsumexp CE "
        "diag vec kron ones zeros"
    ).split()
)
"""Names of the concrete language's functions."""

FUNCTION_KEYS = {spell(*name.split("_", 1)).key: name for name in FUNCTIONS}
"""Key of a function's name, as the tokens spell it, to its name."""

ELEMENTWISE_NAMES = frozenset("σφ")
"""Functions that are applied to every entry without being declared so."""

OPENING = {"(": ")", "[": "]", "{": "}", "begin-grid": "end-grid"}
CLOSING = {close: open_ for open_, close in OPENING.items()}


LONGEST_PRODUCT = 12
"""Longest run-together word that is tried as a product."""


class Segment(NamedTuple):
    """One statement's tokens. ``mark`` is its ``=`` or ``:`` (``start - 1`` without one), ``head`` the names left of it."""

    start: int
    end: int
    mark: int
    head: frozenset[int]

    def is_declaration(self, tokens: Tokens) -> bool:
        """Whether the statement declares shapes rather than defines a value."""
        return self.mark >= self.start and tokens.kinds[self.mark] != "="


class Names:
    """Keys of the names that are values, that the text declares or defines, and how each name was first typed.

    ``layers`` are names that are known not to be values, even where they stand without brackets, as in ``J_x f``.
    ``given`` are all names that the problem has: a superscript that makes one of them is an index, whatever else it could be.
    """

    def __init__(self, values: Collection[str] = (), layers: Collection[str] = (), known: Collection[str] = ()) -> None:
        self.values = set(values)
        self.layers = frozenset(layers).difference(values)
        self.declared = {*values, *layers, *known}
        self.given = frozenset(self.declared)
        self.functions = set(ELEMENTWISE_NAMES)  # those that the text defines or declares elementwise
        self.applied: set[str] = set()  # names with brackets behind them, but for left sides
        self.spellings: dict[str, Spelling] = {}
        self.notices: list[Notice] = []


class Superscript(NamedTuple):
    """A superscript in the form of an index; ``certain`` where it cannot be a power (brackets); ``below`` a subscript behind it."""

    base: int
    suffix: str
    below: str
    end: int
    certain: bool

    def raise_on(self, name: Spelling) -> Spelling:
        """The name that it makes of a name."""
        return (name.with_subscript(self.below) if self.below else name).with_superscript(self.suffix)


def is_function(name: Spelling) -> bool:
    """Whether a name is spelled like a function of the language; ``t_r`` is not the trace.

    >>> is_function(spell("tr")), is_function(spell("t", "r")), is_function(spell("softmax", "rows"))
    (True, False, True)
    """
    return name.key in FUNCTION_KEYS and not (len(name.base) == 1 and name.suffix)


@lru_cache(maxsize=4096)
def read_key(text: str, name: str = "name") -> str | None:
    r"""The key of a text that is one name, None if it is none; a superscript is an index here.

    >>> read_key(r"\theta^{1}"), read_key("W_{1,2}"), read_key("x + y")
    ('θ1', 'W1,2', None)
    """
    tokens = tokenize(Source(text, name))
    count = len(tokens.kinds)
    if tokens.kinds == ["name"]:
        return tokens.spelling(0).key
    if tokens.kinds[:2] == ["name", "^"]:
        found = superscript_at(tokens, 0, count)
        if found is not None and found.end == count:
            return found.raise_on(tokens.spelling(0)).key
    return None


def outline(tokens: Tokens, start: int, end: int) -> Segment:
    """Find the mark of a statement and the names left of it."""
    kinds = tokens.kinds
    if kinds[start] == "name" and kinds[start + 1 : start + 2] == ["="]:
        return Segment(start, end, start + 1, frozenset((start,)))
    depth, mark = 0, start - 1
    for i in range(start, end):
        kind = kinds[i]
        if kind == "=" or kind == ":" or kind == "in" or (kind == "name" and is_membership(tokens, i, end)):
            if depth == 0:
                mark = i
                break
        elif kind in OPENING:
            depth += 1
        elif kind in CLOSING:
            depth -= 1
    head, braces = set(), 0
    for j in range(start, mark):
        braces += (kinds[j] == "{") - (kinds[j] == "}")
        if kinds[j] == "name" and braces == 0 and (j == start or kinds[j - 1] != "^"):
            head.add(j)
    return Segment(start, end, mark, frozenset(head))


def is_membership(tokens: Tokens, i: int, end: int) -> bool:
    """Whether the name at ``i`` is the word in of ``y in R^m``."""
    if tokens.spelling(i).key != "in" or i + 1 >= end or tokens.kinds[i + 1] != "name":
        return False
    return tokens.spelling(i + 1).key == "R"


Outline = Callable[[Tokens, int, int], Segment]
"""What makes a segment of the tokens of a statement."""


def resolve(tokens: Tokens, ranges: Iterable[tuple[int, int]], names: Names, outline: Outline = outline) -> tuple[Tokens, list[Segment]]:
    """Tokens and statements with superscript indices joined to their names and run-together words split.

    Raises:
        ReadingError: a superscript has two readings that matter.
    """
    segments = [outline(tokens, start, end) for start, end in ranges]
    joined = _find_indices(tokens, segments, names)
    if joined:
        tokens, segments = _replace(tokens, segments, {i: ((_raise(tokens, s),), s.end) for i, s in joined.items()}, outline)
    splits = _find_products(tokens, segments, names)
    if splits:
        tokens, segments = _replace(tokens, segments, {i: (parts, i + 1) for i, parts in splits.items()}, outline)
    _find_values(tokens, segments, names)
    return tokens, segments


def superscript_at(tokens: Tokens, i: int, end: int) -> Superscript | None:
    """The superscript on the name ``i``, if it has the form of an index."""
    kinds, j = tokens.kinds, i + 2
    brackets: list[str] = []
    while j < end and kinds[j] in ("{", "(", "["):
        brackets.append(kinds[j])
        j += 1
    parts: list[str] = []
    while j < end and kinds[j] in ("number", "name", "+", "-", ",") and (brackets or not parts):
        value = tokens.values[j]
        parts.append(value.key if isinstance(value, Spelling) else value)
        j += 1
    if not parts or parts[0] in ("-", "+", ",", "T") or (brackets == ["("] and len(parts) > 1):
        return None
    for bracket in reversed(brackets):
        if j >= end or kinds[j] != OPENING[bracket]:
            return None
        j += 1
    below = ""
    if j < end and kinds[j] == "index":
        below, j = str(tokens.values[j]), j + 1
    return Superscript(i, "".join(parts), below, j, "[" in brackets or brackets == ["{", "("])


def _raise(tokens: Tokens, found: Superscript) -> Spelling:
    return found.raise_on(tokens.spelling(found.base))


def _find_indices(tokens: Tokens, segments: list[Segment], names: Names) -> dict[int, Superscript]:
    """The superscripts that are indices, by the token of their name.

    One is an index in brackets or on a left side, on a layer that is applied, where the name that it makes is declared or
    stands elsewhere, as ``^0`` or ``^1`` (which nobody writes as a power) or beside such a sibling, on a name that has one
    on a left side, and where a layer or a left side bears the same one. With the name without superscript in use too,
    both readings are possible: the text is refused.
    """
    kinds, values = tokens.kinds, tokens.values
    joined: dict[int, Superscript] = {}
    if ("name", "^") not in itertools.pairwise(kinds):
        for segment in segments:
            if not (segment.is_declaration(tokens) and _declares_elementwise(tokens, segment)):
                names.declared.update(tokens.spelling(i).key for i in segment.head)
        return joined
    pending: list[tuple[Superscript, bool]] = []
    plain: set[str] = set()  # keys that stand somewhere without superscript, layers included
    bare: set[str] = set()  # those of them that are values used as such
    for segment in segments:
        declaration = segment.is_declaration(tokens)
        elementwise = declaration and _declares_elementwise(tokens, segment)
        behind = segment.start  # the end of the last superscript: what stands in it is no use of a name
        for i in range(segment.start, segment.mark if declaration else segment.end):
            name = values[i]
            if not isinstance(name, Spelling) or i < behind:
                continue
            after = kinds[i + 1] if i + 1 < segment.end else ""
            if after == "^":
                found = superscript_at(tokens, i, segment.end)
                if found is not None:
                    behind = found.end
                    if found.certain or i in segment.head:
                        joined[i] = found
                    else:
                        pending.append((found, found.end < segment.end and kinds[found.end] == "("))
                    continue
            plain.add(name.key)
            if (declaration and not elementwise) or (i > segment.mark and after != "(" and not is_function(name)):
                bare.add(name.key)
            if i in segment.head and not elementwise:
                names.declared.add(name.key)
    certain = {_raise(tokens, found).key for found in joined.values()}
    names.declared |= certain
    if pending:
        _judge(tokens, pending, joined, plain, bare, certain, names)
    return joined


def _judge(
    tokens: Tokens,
    pending: list[tuple[Superscript, bool]],
    joined: dict[int, Superscript],
    plain: set[str],
    bare: set[str],
    certain: set[str],
    names: Names,
) -> None:
    """Decide the superscripts that are not certain, each with whether brackets follow it."""
    named = plain | names.declared
    raised = {tokens.spelling(found.base).key for found in joined.values()}
    shared = {found.suffix for found in joined.values()}
    families: set[str] = set()
    for found, applied in pending:
        name = tokens.spelling(found.base)
        if applied and name.key not in bare and name.key not in names.values and not is_function(name):
            if name.key in plain and found.suffix not in ("0", "1") and _raise(tokens, found).key not in named:
                raise _two_readings(tokens, found, f"{name.key} applied {found.suffix} times")
            joined[found.base] = found
            shared.add(found.suffix)
            named.add(_raise(tokens, found).key)
        if found.suffix in ("0", "1"):
            families.add(name.key)
    for found, _ in pending:
        name, key = tokens.spelling(found.base), _raise(tokens, found).key
        if found.base in joined or is_function(name):
            continue
        if key in names.given or (len(name.base) > 1 and key[:1] in names.given and key[1:] in names.given):  # the latter is JL^3
            joined[found.base] = found
            continue
        sibling = found.suffix.isdecimal() and (name.key in families or not named.isdisjoint((name.key + "0", name.key + "1")))
        if found.suffix in ("0", "1") or key in certain:
            joined[found.base] = found
        elif name.key in bare and (key in named or sibling):
            raise _two_readings(tokens, found, f"{name.key} to the power {found.suffix}")
        elif names.given and name.key in names.declared and key not in named:
            continue  # the power of a value, in an answer
        elif name.key not in bare and (key in named or sibling or name.key in raised or (found.suffix in shared and name.key != "e")):
            joined[found.base] = found


def _two_readings(tokens: Tokens, found: Superscript, other: str) -> ReadingError:
    """The error for a superscript that can be an index and something else."""
    key = tokens.spelling(found.base).key
    shown = tokens.source.text[tokens.starts[found.base] : tokens.ends[found.end - 1]]
    hint = f"write {key}_{found.suffix} for the name and ({key})^{found.suffix} for the power"
    return ReadingError(
        f"{shown} has two readings here: the name {key}{found.suffix}, or {other}", tokens.place(found.base, found.end - 1), hint
    )


def _declares_elementwise(tokens: Tokens, segment: Segment) -> bool:
    """Whether a declaration is of elementwise functions, which are no values."""
    kinds = tokens.kinds
    return any(kinds[i] == "name" and tokens.spelling(i).key == "elementwise" for i in range(segment.mark + 1, segment.end))


def _find_products(tokens: Tokens, segments: list[Segment], names: Names) -> dict[int, tuple[Spelling, ...]]:
    """Words such as ``Wx`` that must be a product: both parts are names of the problem and the word itself is not."""
    kinds, values = tokens.kinds, tokens.values
    words: dict[str, list[int]] = {}
    alone = set(names.declared)
    for segment in segments:
        if segment.is_declaration(tokens):
            continue
        for i in range(segment.mark + 1, segment.end):
            name = values[i]
            if isinstance(name, Spelling):
                if i + 1 < segment.end and kinds[i + 1] == "(" and not {name.key[:1], name.key[1:]} <= names.given:
                    continue  # applied, but for the L of JL(x)
                if len(name.base) == 1:
                    alone.add(name.key)
                elif name.key not in names.declared and not is_function(name):
                    words.setdefault(name.key, []).append(i)
    splits: dict[int, tuple[Spelling, ...]] = {}
    for places in words.values():
        name = tokens.spelling(places[0])
        word = name.base + name.accent + name.suffix
        if len(word) > LONGEST_PRODUCT:
            continue
        for cut in range(1, len(word)):
            if word[cut].isalpha() and {spell(word[:cut]).key, spell(word[cut:]).key} <= alone:
                splits.update(dict.fromkeys(places, (spell(word[:cut]), spell(word[cut:]))))
                if names.declared.isdisjoint((spell(word[:cut]).key, spell(word[cut:]).key)):
                    notice = f"{word} is read as the product of {word[:cut]} and {word[cut:]}; declare {word} to read one name"
                    names.notices.append(Notice(notice, tokens.place(places[0])))
                break
        else:
            if len(word) == 2 and (word[0] in alone or word[1] in alone):
                notice = f"{word} is read as one name; write {word[0]} {word[1]} for a product"
                names.notices.append(Notice(notice, tokens.place(places[0])))
    return splits


def _find_values(tokens: Tokens, segments: list[Segment], names: Names) -> None:
    """Fill in which names are values, and how each name was typed; a spelling that shows its index is preferred."""
    kinds, values, spellings, applied = tokens.kinds, names.values, names.spellings, names.applied
    declared: list[str] = []
    headed: set[str] = set()
    primed: list[str] = []
    for segment in segments:
        declaration = segment.is_declaration(tokens)
        elementwise = declaration and _declares_elementwise(tokens, segment)
        for i in range(segment.start, segment.mark if declaration else segment.end):
            name = tokens.values[i]
            if not isinstance(name, Spelling):
                continue
            key = name.key
            known = spellings.get(key)
            if known is None or (name.suffix and not known.suffix):
                spellings[key] = name
            after = kinds[i + 1] if i + 1 < segment.end else ""
            if i in segment.head:
                if elementwise:
                    names.functions.add(key)
                elif declaration:
                    declared.append(key)
                elif after == "(" and i == segment.start:
                    headed.add(key)
                elif after != "(":
                    values.add(key)
            elif after == "(" and (key == "π" or key[:1].isdecimal()):
                values.add(key)  # a constant multiplies what follows it, and so does a bold one
            elif after == "(":
                applied.add(key)
            elif after == "'":
                primed.append(key)
                if i + 2 < segment.end and kinds[i + 2] in ("(", "'"):
                    applied.add(key)
            elif not is_function(name) and key not in names.layers:
                values.add(key)
    names.functions |= headed
    values.update(key for key in primed if key not in applied and key not in FUNCTION_KEYS)
    values.update(key for key in declared if key not in headed or key not in applied)  # else the shape of what a layer gives


def _replace(
    tokens: Tokens, segments: list[Segment], replacements: dict[int, tuple[tuple[Spelling, ...], int]], outline: Outline
) -> tuple[Tokens, list[Segment]]:
    """Tokens in which each replaced name token, with what follows up to an end, gives way to other names."""
    result = Tokens(tokens.source, [], [], [], [])
    fresh = []
    for segment in segments:
        begin, i = len(result.kinds), segment.start
        while i < segment.end:
            names, stop = replacements.get(i, (None, i + 1))
            for value in (tokens.values[i],) if names is None else names:
                result.kinds.append(tokens.kinds[i])
                result.values.append(value)
                result.starts.append(tokens.starts[i])
                result.ends.append(tokens.ends[stop - 1])
            i = stop
        fresh.append(outline(result, begin, len(result.kinds)))
    return result, fresh


# --- families of names ---


def is_near(one: str, other: str) -> bool:
    """Whether two words differ by one letter added, dropped or changed, or two neighbours swapped.

    >>> is_near("sofmax", "softmax"), is_near("tahn", "tanh"), is_near("theta", "tanh")
    (True, True, False)
    """
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def base_of(key: str, spellings: Mapping[str, Spelling]) -> str:
    """The letter or word of a name, without its index and accent."""
    known = spellings.get(key)
    return known.base if known is not None else key


def family(key: str, names: Iterable[str], spellings: Mapping[str, Spelling]) -> list[str]:
    """The names that are ``key`` with an index, in index order.

    >>> spellings = {name: Spelling(name, name[0], "", name[1:]) for name in ("W10", "W2", "b1")}
    >>> family("W", spellings, spellings)
    ['W2', 'W10']
    """
    found = []
    for name in names:
        spelling = spellings.get(name)
        if spelling is not None and spelling.suffix and stem(spelling) == key:
            found.append((_natural(spelling.suffix + spelling.upper), name))
    return [name for _, name in sorted(found)]


def stem(spelling: Spelling) -> str:
    """A name without its index."""
    return spelling.base + spelling.accent


_STEP = re.compile(r"(?P<stem>.*?[^+-])(?P<step>[+-][0-9]{1,9})", re.DOTALL)
_PART = re.compile(r"[0-9]+|.", re.DOTALL)


def _natural(index: str) -> tuple[list[tuple[int, int, str]], int]:
    """A key that sorts 2 before 10, numbers before letters, and t-1 before t before t+1."""
    step = _STEP.fullmatch(index)
    stem = index if step is None else step["stem"]
    parts = [(0, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (1, 0, part) for part in _PART.findall(stem)]
    return parts, 0 if step is None else int(step["step"])
