r"""What of a person's text is formula, and which of its run-together letters are which names.

People paste a formula with the words around it, write ``PTKV`` for a product of four matrices, ``A^TAx`` as TeX reads it, and
``|v||w|`` for two norms. This is put right here, on the text and its tokens, by the names that the problem has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from jacobian_chain.errors import Notice, Place, ReadingError, Source
from jacobian_chain.names import CLOSING, OPENING, read_key
from jacobian_chain.syntax import copy_tokens
from jacobian_chain.tokens import Spelling, Tokens, spell, tokenize

LONGEST_WORD = 48
"""Longest run-together word that is taken apart."""

NEAR = 4
"""How many words beside a formula may not change it."""

Known = Callable[[str], bool]
"""Whether a key is a name of the problem, or of the answer."""

_MATH = re.compile(r"```[a-z]*\n(.*?)```|\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\$(.+?)\$|`([^`\n]+)`", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mbox|textrm|intertext|mathrm)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"(?<![\w\\{_^.])[A-Za-z]{2,}(?:[ ,]+(?:a|[A-Za-z]{2,}))*(?![\w^_(\[{'.])")
_COLON = re.compile(r"[ ]*:(?!=)")
_ASIDE = re.compile(r"\((?:[A-Za-z]+[ ,;:.'-]*){2,}\)")
_SPACE = re.compile(r"(?:\\in|∈)\s*\\?(?:mathbb|mathbf|Bbb)?\s*\{?\s*[Rℝ]\s*\}?\s*(?:\^\s*(?:\{[^{}]*\}|[\w×]+))?")
_PUNCTUATION = re.compile(r"[ ]*[:.,;]?(?![:.,;=])")
_LONE = frozenset(
    "so hence thus therefore then where with and is are we get have obtain which gives yields answer solution gradient derivative "
    "since because by using let now here finally final result the for as if otherwise".split()
)
"""Words that stand between formulas, and are no names."""


def find_formulas(text: str, is_known: Known) -> tuple[str, list[Notice]]:
    r"""The text with everything that is prose blanked out, every character in its place; what stands between two formulas parts them.

    >>> find_formulas(r"So the gradient is $A^T x$, hence $b$.", lambda key: False)[0].split()
    ['A^T', 'x', 'b']
    >>> find_formulas("dW = δ x^T where δ = yhat - y", lambda key: False)[0].split(chr(10))
    ['dW = δ x^T ', '     δ = yhat - y']
    """
    root = _ROOT.search(text)
    if root is not None:
        raise _refusal(text, root.start(), root.end(), "roots with a number are not read", "write \\sqrt{x} or (x)^{1/3}")
    text = _RELATION.sub(lambda match: (">" if match[0].strip("\\")[0] in "g≥" else "<").ljust(len(match[0])), text)
    text = _EXPLAINED.sub(lambda match: f"{match[1]}\n{match[2]}" if _is_explained(match[1]) else match[0], text)
    matches = list(_MATH.finditer(text))
    outside = _MATH.sub(" ", text) if matches else ""
    if matches and re.search(r"[A-Za-z]{2,}|[0-9]", outside):
        _refuse_meaning_outside(text, matches)
        kept = [" "] * len(text)
        for match in matches:
            group = next(k for k in range(1, 7) if match[k] is not None)
            low, high = match.span(group)
            kept[low:high] = text[low:high]
            if match.start():
                kept[match.start()] = "\n"
        text = "".join(kept)
    text = _SPACE.sub(lambda match: " " * len(match[0]), _strip_labels(text))
    changed = list(text)
    left_out: list[str] = []

    def blank(start: int, end: int) -> None:
        near = list(re.finditer(r"[A-Za-z]+", text[start:end]))
        before, after = text[:start].rpartition("\n")[2], text[end:].partition("\n")[0]
        beside = [*(near[:NEAR] if before.strip(" $.,;:") else ()), *(near[-NEAR:] if after.strip(" $.,;:") else ())]
        for word in beside:
            if _MEANING.fullmatch(word[0]):
                message = f"{word[0]!r} is a word that changes the formula"
                raise _refusal(text, start + word.start(), start + word.end(), message, "write it as a formula")
        left_out.append(text[start:end].strip())
        changed[start:end] = ["\n", *" " * (end - start - 1)]

    for match in _TEXT.finditer(text):
        words = match[1].split()
        if all(word.isdecimal() or is_known(_key(word)) for word in words):
            continue
        if len(words) > 1 or (words and words[0].lower().strip(",.:;") in _LONE):
            blank(*match.span())
    for match in _ASIDE.finditer(text):
        words = re.findall(r"[A-Za-z]+", match[0])
        if any(word.lower() in _LONE for word in words) and not any(is_known(_key(word)) for word in words):
            blank(*match.span())
    for match in _WORDS.finditer(text):
        words = re.findall(r"[A-Za-z]+", match[0])
        colon = len(words) > 2 and _COLON.match(text, match.end()) is not None
        if (any(is_known(_key(word)) for word in words) and not colon) or "\n" in changed[match.start() : match.end()]:
            continue
        if len(words) == 1 and len(words[0]) < 4 and words[0].lower() in _LONE and split_word(words[0], is_known):
            product = " ".join(words[0])
            message = f"is {words[0]!r} a word, or the product {product}?"
            raise _refusal(text, *match.span(), message, f"leave the word out, or write {product}")
        if words[0].lower() in _LONE or (len(words) > 1 and any(word.lower() in _LONE for word in words)):
            behind = _PUNCTUATION.match(text, match.end())
            blank(match.start(), match.end() if behind is None else behind.end())
    notices = [Notice(f"left out as words: {'; '.join(left_out[:3])}{' …' if len(left_out) > 3 else ''}")] if left_out else []
    return "".join(changed).replace("\n\n", "\n ") if left_out else "".join(changed), notices


def _refusal(text: str, start: int, end: int, message: str, hint: str) -> ReadingError:
    return ReadingError(message, Place(Source(text, "answer"), start, end), hint)


def _is_explained(formula: str) -> bool:
    """Whether this is a whole formula, so that a comma and ``D =`` behind it begin another one."""
    closed = all(formula.count(low) == formula.count(high) for low, high in ("()", "[]", "{}"))
    return closed and re.search(r"[\w)}\]][ ]+[\w(\\]|[-+*/^(]", formula.strip()) is not None and "\\begin" not in formula


def _refuse_meaning_outside(text: str, matches: Sequence[re.Match[str]]) -> None:
    """Refuse words, signs and numbers beside a formula in dollars that would change it."""
    low = 0
    for match in matches:
        for found in (_BEFORE.search(text, low, match.start()), _AFTER.match(text, low) if low else None):
            if found is not None and found.end() <= match.start():
                message = f"{found[0].strip()!r} stands outside of the formula and would change it"
                raise _refusal(text, *found.span(), message, "write all of the formula between the dollars")
        low = match.end()
    found = _AFTER.match(text, low)
    if found is not None:
        message = f"{found[0].strip()!r} stands outside of the formula and would change it"
        raise _refusal(text, *found.span(), message, "write all of the formula between the dollars")


_ROOT = re.compile(r"\\sqrt\s*\[")
_RELATION = re.compile(r"\\(?:geqslant|leqslant|geq?|leq?)(?![A-Za-z])|[≥≤⩾⩽]")
_EXPLAINED = re.compile(r"^([^=\n$]*[^=\n$,]),([ ]*\\?[A-Za-zα-ωΑ-Ω][\w{}]*[ ]*:?=(?!=))", re.MULTILINE)
_MEANING = re.compile(
    r"\b(?:minus|plus|times|twice|thrice|double|doubled|half|halved|negative|negated|not|or|transposed?|inverse|divided|multiplied|squared"
    r"|two|three)\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"(?:\b(?:minus|plus|times|twice|thrice|double|half|negative|not|or|transpose|inverse|by|over)\b(?:\s+(?:of|the|a))*"
    r"|(?<=[A-Za-z:,.=])[ ]?[-−*/]|\b(?<!step )(?<!part )(?<!line )(?<!layer )(?<!question )(?<!exercise )(?<![.,(])[0-9]+)[ ]*\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(r"[\^'_/*]|[ ]*[+*/−][ ]*\w|[ ]+(?:times|minus|plus|or|transposed|over|divided|squared|inverse)\b", re.IGNORECASE)

_BRACE = re.compile(
    r"\\(underbrace|overbrace|underset|overset|color|textcolor)\s*(?=\{)|\\(?:mkern|hskip|kern)\s*-?[0-9.]+\s*(?:mu|em|pt|ex)"
)


_BARE_SIGN = re.compile(r"\s*\{\s*=\s*\}")


def _strip_labels(text: str) -> str:
    r"""The text without what only decorates a formula: ``\underbrace{…}_{…}`` and kerns, every other character in its place."""
    found = list(_BRACE.finditer(text))
    if not found:
        return text
    changed = list(text)
    for match in found:
        changed[match.start() : match.end()] = " " * (match.end() - match.start())
        command = match[1] or ""
        end = match.end()
        if command.endswith(("set", "color")):  # the first group is the label
            stop = _group_end(text, end)
            changed[end:stop] = " " * (stop - end)
            bare = _BARE_SIGN.match(text, stop)
            if bare is not None:
                changed[bare.start() : bare.end()] = bare[0].replace("{", " ").replace("}", " ")
        elif command:
            stop = _group_end(text, end)
            label = re.compile(r"\s*_\s*" if command == "underbrace" else r"\s*\^\s*").match(text, stop)
            if label is not None and text[label.end() : label.end() + 1] == "{":
                behind = _group_end(text, label.end())
                changed[stop:behind] = " " * (behind - stop)
    return "".join(changed)


def _group_end(text: str, start: int) -> int:
    """The end of the braces that open at ``start``, or ``start`` if they never close."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if not depth:
            return i + 1
    return start


def _key(word: str) -> str:
    return spell(word).key


def blank_left_side(text: str, start: int) -> str | None:
    """The text without what stands left of the first ``=`` of a line, where that is behind ``start``, a place in it; else None."""
    low = text.rfind("\n", 0, start) + 1
    mark = text.find("=", start)
    finish = text.find("\n", start)
    if mark < 0 or text[mark - 1] in "!≠<>" or (0 <= finish < mark) or not text[low:mark].strip():
        return None
    return text[:low] + " " * (mark + 1 - low) + text[mark + 1 :]


def split_tokens(tokens: Tokens, is_known: Known) -> Tokens:
    r"""Tokens in which words that are no names are taken apart into the names they are made of, the fewest and the longest first.

    In ``A^TAx`` the superscript is T alone, and in ``|v||w|`` the two bars in the middle are two single ones.
    """
    tokens = _brace_fractions(tokens)
    result = Tokens(tokens.source, [], [], [], [])
    kinds, text = tokens.kinds, tokens.source.text
    open_bars: list[list[bool]] = [[]]  # for each open bracket the single bars that are open in it
    for i, kind in enumerate(kinds):
        if kind in OPENING:
            open_bars.append([])
        elif kind in CLOSING and len(open_bars) > 1:
            open_bars.pop()
        bars = open_bars[-1]
        if kind == "|" and bars:
            bars.pop()
        elif kind == "|":
            bars.append(True)
        elif kind == "||" and bars and text[tokens.starts[i] : tokens.ends[i]] == "||":
            for start in (tokens.starts[i], tokens.starts[i] + 1):  # one closes, the next opens
                _append(result, "|", start, start + 1)
            continue
        if kind != "name":
            copy_tokens(tokens, i, i + 1, result)
            continue
        start, end = tokens.starts[i], tokens.ends[i]
        typed = text[start:end]
        raised = i > 0 and kinds[i - 1] == "^"
        if raised and len(typed) > 1 and typed[0] == "T" and not is_known(tokens.spelling(i).key):
            _append_name(result, text, start, start + 1)
            start, typed = start + 1, typed[1:]
            for low, high in split_word(typed, is_known) or [(0, len(typed))]:
                _append_name(result, text, start + low, start + high)
            continue
        pieces = None if is_known(tokens.spelling(i).key) else split_word(typed, is_known)
        if pieces is None:
            copy_tokens(tokens, i, i + 1, result)
        else:
            for low, high in pieces:
                _append_name(result, text, start + low, start + high)
    return result


def _brace_fractions(tokens: Tokens) -> Tokens:
    r"""Tokens with braces around what ``\frac1d`` leaves bare: TeX takes one digit or letter."""
    kinds = tokens.kinds
    if not any(kind == "frac" and kinds[i + 1 : i + 2] != ["{"] for i, kind in enumerate(kinds)):
        return tokens
    result = Tokens(tokens.source, [], [], [], [])
    wanted: list[int] = []  # for each brace depth, how many arguments of a fraction are still to come
    pending = 0
    for i, kind in enumerate(kinds):
        start, end = tokens.starts[i], tokens.ends[i]
        if kind == "frac":
            copy_tokens(tokens, i, i + 1, result)
            pending += 2
        elif pending and kind == "{":
            wanted.append(pending - 1)
            pending = 0
            copy_tokens(tokens, i, i + 1, result)
        elif pending and kind in ("number", "name"):
            typed = tokens.source.text[start:end]
            pieces = list(typed) if re.fullmatch(r"[0-9]+|[A-Za-z][A-Za-z0-9]*", typed) else [typed]
            place = start
            for piece in pieces[:pending]:
                _append(result, "{", place, place)
                _append_name(result, tokens.source.text, place, place + len(piece))
                place += len(piece)
                _append(result, "}", place, place)
                pending -= 1
            if place < end:
                _append_name(result, tokens.source.text, place, end)
        else:
            if kind == "{":
                wanted.append(0)
            elif kind == "}" and wanted:
                pending = wanted.pop()
            copy_tokens(tokens, i, i + 1, result)
    return result


def _append(tokens: Tokens, kind: str, start: int, end: int) -> None:
    tokens.kinds.append(kind)
    tokens.values.append(kind)
    tokens.starts.append(start)
    tokens.ends.append(end)


def _append_name(tokens: Tokens, text: str, start: int, end: int) -> None:
    name = tokenize(tokens.source._replace(text=text[start:end]))
    tokens.kinds.append(name.kinds[0])
    tokens.values.append(name.values[0])
    tokens.starts.append(start)
    tokens.ends.append(end)


def split_superscripts(tokens: Tokens, is_value: Known) -> Tokens:
    r"""Tokens in which ``h^{(t-1)\top}`` and ``a^{(1)2}`` have two superscripts, ``f^\prime`` is primed, ``A^{ij}`` an entry of A."""
    kinds = tokens.kinds
    if "^" not in kinds:
        return tokens
    result = Tokens(tokens.source, [], [], [], [])
    i = 0
    while i < len(kinds):
        stop = _closing(kinds, i + 1) if kinds[i] == "^" and kinds[i + 1 : i + 2] == ["{"] else 0
        inside = kinds[i + 2 : stop]
        last = stop - 1
        base = result.values[-1] if result.kinds[-1:] == ["name"] else ""
        if stop and not isinstance(base, str) and base.key == "e" and not is_value("e") and not _is_plain_index(inside):
            result.values[-1] = spell("exp")
            _append(result, "(", tokens.starts[i + 1], tokens.ends[i + 1])
            copy_tokens(tokens, i + 2, stop, result)
            _append(result, ")", tokens.starts[stop], tokens.ends[stop])
            i = stop + 1
            continue
        primes_end = i + 2 if kinds[i + 1 : i + 2] == ["'"] else stop + 1 if stop and inside and set(inside) == {"'"} else 0
        if kinds[i] == "^" and primes_end:  # f^{\\prime}
            for j in range(i + 1, primes_end):
                if kinds[j] == "'":
                    copy_tokens(tokens, j, j + 1, result)
            i = primes_end
            continue
        is_transpose = stop and (kinds[last] == "⊤" or (kinds[last] == "name" and tokens.spelling(last).key == "T"))
        is_power = stop and kinds[last] == "number" and kinds[last - 1] in (")", "]")
        if (is_transpose or is_power) and len(inside) > 1 and kinds[last - 1] != "-":
            copy_tokens(tokens, i, last, result)
            _append(result, "}", tokens.ends[last - 1], tokens.ends[last - 1])
            copy_tokens(tokens, i, i + 2, result)
            copy_tokens(tokens, last, stop + 1, result)
            i = stop + 1
            continue
        name = result.values[-1] if result.kinds[-1:] == ["name"] else ""
        number = i + 1 if kinds[i + 1 : i + 2] == ["number"] else i + 2 if inside == ["number"] else 0
        behind = (number if number == i + 1 else stop) + 1
        if kinds[i] == "^" and number and not isinstance(name, str) and not name.suffix and kinds[behind : behind + 1] == ["index"]:
            numbered = name.with_superscript(str(tokens.values[number]))
            if is_value(numbered.key) or is_value(numbered.key.upper()):  # a^{2}_k is an entry of a2
                result.values[-1] = numbered.with_subscript(str(tokens.values[behind]))
                result.ends[-1] = tokens.ends[behind]
                i = behind + 1
                continue
        primes = inside[1:]
        if stop and inside[:1] == ["name"] and all(kind == "'" for kind in primes) and not isinstance(name, str) and is_value(name.key):
            index = tokens.spelling(i + 2).key
            if re.fullmatch(r"[i-np-s]{2}", index):
                result.values[-1], result.ends[-1] = name.with_superscript(index + "'" * len(primes)), tokens.ends[stop]
                i = stop + 1
                continue
        copy_tokens(tokens, i, i + 1, result)
        i += 1
    return result


def join_brackets(tokens: Tokens, is_array: Callable[[Spelling], bool], is_value: Known) -> Tokens:
    """Tokens in which ``x[k]`` and ``W[i,j]`` of arrays are names with indices, where the brackets follow the name directly."""
    kinds = tokens.kinds
    if "[" not in kinds:
        return tokens
    result = Tokens(tokens.source, [], [], [], [])
    i = 0
    while i < len(kinds):
        copy_tokens(tokens, i, i + 1, result)
        i += 1
        name = result.values[-1]
        if kinds[i : i + 1] != ["["] or isinstance(name, str) or tokens.starts[i] != tokens.ends[i - 1]:
            continue
        stop = _closing(kinds, i)
        inside = range(i + 1, stop)
        keys = [str(getattr(tokens.values[j], "key", tokens.values[j])) for j in inside]
        separated = all((kinds[j] == ",") == bool(k % 2) for k, j in enumerate(inside))
        if len(inside) in (1, 3) and separated and is_array(name) and all(_INDEX.fullmatch(key) and not is_value(key) for key in keys[::2]):
            result.values[-1], result.ends[-1] = name.with_subscript("".join(keys)), tokens.ends[stop]
            i = stop + 1
    return result


_INDEX = re.compile(r"[i-np-t]|[0-9]+")


def _is_plain_index(inside: list[str]) -> bool:
    """Whether a superscript is an index in brackets, or a transpose."""
    return inside[:1] in (["("], ["["], ["⊤"])


def _closing(kinds: list[str], start: int) -> int:
    """Where the bracket that opens at ``start`` closes, 0 if nowhere."""
    depth = 0
    for i in range(start, len(kinds)):
        depth += (kinds[i] in OPENING) - (kinds[i] in CLOSING)
        if not depth:
            return i
    return 0


_UNIT = re.compile(r"(?:\\[A-Za-z]+|[^\W\d_])\d*(?:_(?:\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z0-9]))?")


def _is_closed(piece: str) -> bool:
    """Whether the braces of a piece are closed in it."""
    depth = 0
    for character in piece:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def split_word(typed: str, is_known: Known) -> list[tuple[int, int]] | None:
    r"""Where the names stand of which a word is made, None if it is not made of names alone.

    >>> split_word("PTKV", set("PTKV").__contains__)
    [(0, 1), (1, 2), (2, 3), (3, 4)]
    >>> split_word("w_La_{L-1}", {"wL", "aL-1"}.__contains__)
    [(0, 3), (3, 10)]
    """
    if not 1 < len(typed) <= LONGEST_WORD:
        return None
    units = [match.span() for match in _UNIT.finditer(typed)]
    places = sorted({0, len(typed), *[place for span in units for place in span]})
    best: dict[int, tuple[int, int]] = {0: (0, 0)}  # position: how many names lead here, and where the last begins
    for end in places[1:]:
        for start in places:
            if start >= end or start not in best or (start, end) == (0, len(typed)) or typed[start] in "_{}" or typed[end - 1] == "_":
                continue
            key = read_key(typed[start:end]) if _is_closed(typed[start:end]) else None
            count = best[start][0] + 1
            if key is not None and is_known(key) and (end not in best or count < best[end][0]):
                best[end] = count, start
    if len(typed) not in best:
        return None
    pieces: list[tuple[int, int]] = []
    end = len(typed)
    while end:
        start = best[end][1]
        pieces.append((start, end))
        end = start
    return pieces[::-1]
