r"""Characters to tokens with spans, and the one table of spellings.

``θ1 theta1 th1 θ_1 θ₁ \theta_1 \theta_{1} \boldsymbol{\theta}_1`` all give one *key*, ``θ1``; a key is what the rest of
the program calls a name. How it was typed is kept beside it, for printing. Superscripts stay apart (``θ ^ 1``), because only
the whole text can say whether they are indices or powers; :mod:`jacobian_chain.syntax` decides.

Superscript digits are read before any Unicode normalisation, which would make θ¹ and θ₁ the same thing.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from jacobian_chain.errors import LimitError, Place, ReadingError, Source, suggest

MAX_CHARACTERS = 50_000_000
"""Longest text that is read."""

MAX_NAME = 200
"""Longest name."""

GREEK = {
    **dict(
        zip(
            (
                "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon "
                "phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
            ).split(),
            "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ",
            strict=True,
        )
    ),
}
"""Spelled-out Greek letters. ``th`` and the ``var`` forms are read too, see ``LETTERS``."""

LETTERS = {
    **GREEK,
    "th": "θ",
    "varepsilon": "ε",
    "vartheta": "θ",
    "varphi": "φ",
    "varrho": "ρ",
    "varsigma": "σ",
    "varpi": "π",
    "varkappa": "κ",
    "ell": "ℓ",
    "partial": "∂",
    "nabla": "∇",
    "R": "R",
}
"""Words that stand for one letter."""

VARIANTS = str.maketrans("ϵϑϕϱςϖϰµℝ", "εθφρσπκμR")
"""Letters that are another one's variant."""

ACCENTS = {
    "hat": "\N{COMBINING CIRCUMFLEX ACCENT}",
    "widehat": "\N{COMBINING CIRCUMFLEX ACCENT}",
    "bar": "\N{COMBINING MACRON}",
    "overline": "\N{COMBINING MACRON}",
    "tilde": "\N{COMBINING TILDE}",
    "widetilde": "\N{COMBINING TILDE}",
    "dot": "\N{COMBINING DOT ABOVE}",
    "ddot": "\N{COMBINING DIAERESIS}",
    "acute": "\N{COMBINING ACUTE ACCENT}",
    "grave": "\N{COMBINING GRAVE ACCENT}",
    "check": "\N{COMBINING CARON}",
    "breve": "\N{COMBINING BREVE}",
    "mathring": "\N{COMBINING RING ABOVE}",
}
"""Accents, as commands (``\\hat y``), as endings (``yhat``, ``y_hat``) and as Unicode marks (``ŷ``)."""

SYMBOLS = {
    "cdot": "·",
    "times": "×",
    "ast": "*",
    "odot": "⊙",
    "circ": "∘",
    "otimes": "⊗",
    "oslash": "⊘",
    "top": "⊤",
    "intercal": "⊤",
    "T": "⊤",
    "trans": "⊤",
    "transp": "⊤",
    "frac": "frac",
    "dfrac": "frac",
    "tfrac": "frac",
    "lVert": "||",
    "rVert": "||",
    "Vert": "||",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "mid": "|",
    "in": "in",
    "colon": ":",
    "coloneqq": "=",
    "triangleq": "=",
    "doteq": "=",
    "equiv": "=",
    "cdots": "dots",
    "ldots": "dots",
    "dots": "dots",
    "vdots": "dots",
    "prime": "'",
    "implies": "\n",
    "Rightarrow": "\n",
    "Longrightarrow": "\n",
    "iff": "\n",
    "lbrack": "[",
    "rbrack": "]",
    "langle": "(",
    "rangle": ")",
    "lt": "<",
    "gt": ">",
}
"""LaTeX commands that are a symbol."""

CHARACTERS = {
    "⋅": "·",
    "∙": "·",
    "•": "·",
    "−": "-",
    "–": "-",
    "⋆": "*",
    "∗": "*",
    "◦": "∘",
    "○": "∘",
    "∥": "||",
    "‖": "||",
    "∣": "|",
    "│": "|",
    "∈": "in",
    "′": "'",
    "’": "'",
    "≔": "=",
    "ᵀ": "ᵀ",
    "⊺": "⊤",
    "…": "dots",
    "⋯": "dots",
    "⇒": "\n",
    "÷": "/",
    "⟨": "(",
    "⟩": ")",
    "∕": "/",
}
"""Unicode characters that are another spelling of a symbol."""

FONTS = frozenset(
    (
        "mathbf boldsymbol bm mathrm mathsf mathit mathcal mathbb mathfrak mathscr mathtt text textbf textit "
        "textrm texttt boxed underline operatorname operatorname* vec mathnormal symbf symup pmb bf rm mathds mathbbm bbm"
    ).split()
)
"""Commands that change a letter's dress and not its meaning."""

IGNORED = frozenset(
    (
        "left right bigl bigr Bigl Bigr biggl biggr Biggl Biggr big Big bigg Bigg middle bigm quad qquad "
        "displaystyle textstyle limits nolimits thinspace negthinspace enspace hline nonumber notag blacksquare qed Box hfill"
    ).split()
)
"""Commands that only space and size."""

GRIDS = frozenset(["matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "smallmatrix", "array"])
"""Environments that hold rows and columns of blocks."""

ALIGNMENTS = frozenset(
    (
        "align align* aligned equation equation* gather gather* gathered split alignat alignat* alignedat cases "
        "multline multline* eqnarray eqnarray*"
    ).split()
)
"""Environments that only arrange lines."""

FUNCTION_COMMANDS = frozenset(
    ("exp log ln sqrt sin cos tan sinh cosh tanh det max min arg Pr sum prod tr diag sigmoid relu softmax").split()
)
"""Commands that spell a function or operator."""

SUPERSCRIPTS = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾", "0123456789+-()", strict=True)), "ⁿ": "n", "ⁱ": "i", "ᵗ": "t", "ˡ": "l", "ᵏ": "k"}
SUBSCRIPTS = {
    **dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()", strict=True)),
    **dict(zip("ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "aehijklmnoprstuvx", strict=True)),
}

_LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\u211d\U0001d400-\U0001d6a3\U0001d7cc-\U0001d7ff"
_GREEK = r"\u0370-\u03ff\u2113\u2202\u2207\U0001d6a8-\U0001d7cb"
_LETTER = _LATIN + _GREEK
_MARK = r"\u0300-\u036f"
# a Greek letter is a name of its own, but for the Δ of Δx
_WORD = rf"(?:Δ?[{_LATIN}][{_LATIN}{_MARK}0-9]*|[{_GREEK}][{_MARK}0-9]*)"
_SUPER = "".join(SUPERSCRIPTS)
_SUB = "".join(SUBSCRIPTS)

_TOKEN = re.compile(
    rf"""(?:
      (?P<space> (?: [ \t\r\f\v\u00a0\u2000-\u200b\u2009\u202f] | \\[,;:!\ ] | ~ | \$ | \\[\[\]()] )+ )
    | (?P<comment> (?! %\*% ) [#%][^\n]* )
    | (?P<word> {_WORD} ) (?: _ (?: \{{ (?P<braced> [^{{}}]* ) \}} | (?P<sub> [0-9]+ | {_WORD} ) ) )?
    | (?P<symbol> \.\.\. | %\*% | \*\* | := | <- | \.\* | \./ | \.\^ | \.T\b | \|\| | [-+*/@^'=,;:|&(){{}}\n\[\]] )
    | (?P<stop> \. (?= \s | \\ | \$ | $ ) )
    | (?P<number> (?: [0-9]+ (?: \.[0-9]+ )? | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? )
    | (?P<unisub> [{_SUB}]+ )
    | (?P<unisuper> ⁻ᵀ | [{_SUPER}]+ )
    | (?P<under> _ )
    | (?P<command> \\operatorname\* | \\[A-Za-z]+ )
    | (?P<escape> \\\\ (?: \[ -? [0-9.]+ [ ]* (?: pt | em | ex | cm | mm ) \] )? | \\. | \\ )
    | (?P<other> . )
    ) [ ]*  # blanks behind a token are no match of their own
    """,
    re.VERBOSE | re.DOTALL,
)
_INDEX = re.compile(rf"\\(?P<command>[A-Za-z]+)|(?P<word>[{_LETTER}]+)|(?P<drop>[\s{{}}_^$]|\\.)|(?P<other>.)", re.DOTALL)
_ENDING = re.compile(r"(?P<head>.+?)(?P<accent>hat|bar|tilde|dot)")
_MARKS = frozenset(ACCENTS.values())


class Spelling(NamedTuple):
    """How a name was typed: ``key`` is its identity; base, accent and ``suffix`` (its index, ``raised`` or lowered) are for printing."""

    key: str
    base: str
    accent: str = ""
    suffix: str = ""
    raised: bool = False
    upper: str = ""

    def with_superscript(self, index: str) -> Spelling:
        """The name that a superscript index makes of this one; beside a subscript it is kept apart."""
        if self.suffix:
            return self._replace(key=f"{self.key}^{index}", upper=index)
        return self._replace(key=self.key + index, suffix=index, raised=True)

    def with_subscript(self, index: str) -> Spelling:
        """The name that a further subscript makes of this one; the name of an accent is one (``y_hat``)."""
        if index in ACCENTS and not self.suffix:
            return self._replace(key=self.key + ACCENTS[index], accent=self.accent + ACCENTS[index])
        if self.suffix:
            return self._replace(key=f"{self.key},{index}", suffix=f"{self.suffix},{index}")
        return self._replace(key=self.key + index, suffix=index)


class Tokens(NamedTuple):
    """Parallel lists, one entry a token. A kind is ``name``, ``number``, ``index``, or the symbol itself."""

    source: Source
    kinds: list[str]
    values: list[Spelling | str]
    starts: list[int]
    ends: list[int]

    def place(self, i: int, last: int | None = None) -> Place:
        """The span of token ``i``, or of the tokens ``i`` to ``last``; past the end, the end of the text."""
        if i >= len(self.kinds):
            end = len(self.source.text.rstrip())
            return Place(self.source, end, end)
        return Place(self.source, self.starts[i], self.ends[i if last is None else last])

    def spelling(self, i: int) -> Spelling:
        """The name that token ``i`` is."""
        value = self.values[i]
        assert isinstance(value, Spelling)
        return value


@lru_cache(maxsize=1024)
def canonical_index(text: str) -> str:
    r"""The text of an index without fonts, blanks, braces and enclosing brackets.

    >>> canonical_index(r"\mathrm{relu}"), canonical_index("{(1)}"), canonical_index("t - 1"), canonical_index("x^3")
    ('relu', '1', 't-1', 'x3')
    """
    if text.isascii() and text.isalnum():
        return LETTERS.get(text, text)
    parts: list[str] = []
    accent = ""
    for match in _INDEX.finditer("".join(SUPERSCRIPTS.get(c, SUBSCRIPTS.get(c, c)) for c in text)):
        group = match.lastgroup
        if group == "command":
            word = match["command"]
            if word in ACCENTS:
                accent += ACCENTS[word]
            elif word not in FONTS and word not in IGNORED:
                parts.append(LETTERS.get(word, word) + accent)
                accent = ""
        elif group == "word":
            word = unicodedata.normalize("NFD", match["word"]).translate(VARIANTS)
            parts.append(LETTERS.get(word, word) + accent)
            accent = ""
        elif group == "other":
            parts.append(CHARACTERS.get(match["other"], match["other"]))
    joined = "".join(parts)
    inner = joined[1:-1]
    enclosed = joined[:1] + joined[-1:] in ("()", "[]") and not any(c in "()[]" for c in inner)
    return inner if enclosed and inner else joined


@lru_cache(maxsize=4096)
def spell(word: str, index: str | None = None, accent: str = "") -> Spelling:
    r"""The spelling of a word with an index that was typed under it.

    >>> spell("theta1").key, spell("θ", "1").key, spell("W", "hh").key, spell("yhat").key == spell("ŷ").key
    ('θ1', 'θ1', 'Whh', True)
    """
    if not word.isascii():
        word = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", word) if word > "\uffff" else word).translate(VARIANTS)
        marks = "".join(c for c in word if unicodedata.combining(c))
        letters = "".join(c for c in word if not unicodedata.combining(c))
        if marks and len(letters.rstrip("0123456789")) == 1 and all(mark in _MARKS for mark in marks):
            accent, word = marks + accent, letters
    head = word.rstrip("0123456789")
    digits = word[len(head) :]
    base = LETTERS.get(head, head)
    if base == head and len(head) > 1:
        ending = _ENDING.fullmatch(head)
        if ending and (len(ending["head"]) == 1 or ending["head"] in LETTERS):
            base, accent = LETTERS.get(ending["head"], ending["head"]), ACCENTS[ending["accent"]] + accent
    name = Spelling(base + accent + digits, base, accent, digits)
    return name if index is None else name.with_subscript(index)


def tokenize(source: Source) -> Tokens:
    r"""Tokens of a text; blanks, comments, fonts and sizes are gone.

    Raises:
        ReadingError: a character or command that the language does not have.
        LimitError: the text is longer than ``MAX_CHARACTERS``.

    >>> tokens = tokenize(Source(r"\boldsymbol{\theta}_1 + 2 x₃"))
    >>> tokens.kinds
    ['name', '+', 'number', 'name']
    >>> [tokens.spelling(i).key for i in (0, 3)]
    ['θ1', 'x3']
    """
    if len(source.text) > MAX_CHARACTERS:
        raise LimitError(f"the text has {len(source.text):,} characters; the limit is {MAX_CHARACTERS:,}")
    return _Lexer(source).run()


_COUNTED, _DRESS = -1, -2
"""Kinds of open braces: one that is a token, and a font's, which is none. An accent's is the number of its first token."""


class _Lexer:
    """Goes over a text once; what stands on a name that is still to come waits in ``accent`` and ``veil``."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens = Tokens(source, [], [], [], [])
        self.position = 0  # behind the match and its blanks
        self.braces: list[int] = []
        self.veil = _COUNTED  # what the next brace is
        self.accent = ""  # to be put on the next name

    def run(self) -> Tokens:
        text, length, match_at = self.source.text, len(self.source.text), _TOKEN.match
        kinds, values, starts, ends = self.tokens.kinds, self.tokens.values, self.tokens.starts, self.tokens.ends
        spelled: dict[str, Spelling] = {}
        readers = {
            "symbol": self.symbol,
            "number": self.number,
            "unisub": self.subscript,
            "under": self.subscript,
            "unisuper": self.superscript,
            "command": self.command,
            "escape": self.character,
            "other": self.character,
        }
        position = 0
        while position < length:
            match = match_at(text, position)
            assert match is not None
            group = match.lastgroup
            assert group is not None
            start, position, end = position, match.end(), match.end(group)
            if group == "word" or group == "sub" or group == "braced":
                end += group == "braced"
                typed = text[start:end]
                name = spelled.get(typed)
                if name is None or self.accent:
                    if end - start > MAX_NAME:
                        message = f"this name has {end - start:,} characters; the limit is {MAX_NAME}"
                        raise LimitError(message, Place(self.source, start, end))
                    name = spell(match["word"], None if group == "word" else canonical_index(match[group]), self.accent)
                    if not self.accent:
                        spelled[typed] = name
                    self.accent = ""
                self.veil = _COUNTED
                kinds.append("name")
                values.append(name)
                starts.append(start)
                ends.append(end)
            elif group == "symbol" and not self.accent and match[group] in _OPERATORS:
                self.veil = _COUNTED
                kind = match[group]
                kinds.append(kind)
                values.append(kind)
                starts.append(start)
                ends.append(end)
            elif group not in _SKIPPED:
                self.position = position
                readers[group](match[group], start, end)
                position = self.position
        return self.tokens

    def add(self, kind: str, value: Spelling | str, start: int, end: int) -> None:
        """Append a token; only a name can bear a waiting accent."""
        if kind == "name":
            self.accent = ""
        elif self.accent and kind != "{":
            raise ReadingError("an accent stands on one name", Place(self.source, start, end), r"write \hat{x}, or a name such as xhat")
        self.veil = _COUNTED
        self.tokens.kinds.append(kind)
        self.tokens.values.append(value)
        self.tokens.starts.append(start)
        self.tokens.ends.append(end)

    def symbol(self, text: str, start: int, end: int) -> None:
        kind = _SYNONYMS.get(text, text)
        if kind == "{":
            self.braces.append(self.veil)
            if self.veil != _COUNTED:
                self.veil = _COUNTED
                return
        elif kind == "}" and self.braces:
            inside = self.braces.pop()
            if inside >= 0 and self.tokens.kinds[inside:] != ["name"]:
                hint = r"write \hat{x} + \hat{y}, or a name such as xhat"
                raise ReadingError("an accent stands on one name", Place(self.source, start, end), hint)
            if inside != _COUNTED:
                return
        self.add(kind, text, start, end)

    def number(self, text: str, start: int, end: int) -> None:
        self.add("number", text, start, end)

    def subscript(self, text: str, start: int, end: int) -> None:
        """A subscript that stands by itself: in Unicode, behind a font's brace or a superscript."""
        kinds, values, starts, ends = self.tokens.kinds, self.tokens.values, self.tokens.starts, self.tokens.ends
        if text == "_":
            end, index = _subscript(self.tokens, start)
            self.position = end
        else:
            index = "".join(SUBSCRIPTS[c] for c in text)
        if kinds[-3:] == ["{", "name", "}"]:
            for column in (kinds, values, starts, ends):
                del column[-3], column[-1]
        if kinds and kinds[-1] == "name":
            values[-1], ends[-1] = self.tokens.spelling(-1).with_subscript(index), end
        else:
            self.add("index", index, start, end)

    def superscript(self, text: str, start: int, end: int) -> None:
        """A superscript in Unicode: the tokens of ``^{…}``."""
        raised = "".join(SUPERSCRIPTS.get(c, "⊤") for c in text)
        for part in ("^", "{", *re.findall(r"[0-9]+|.", raised), "}"):
            kind = "number" if part.isdecimal() else "name" if part.isalpha() else part
            self.add(kind, spell(part) if kind == "name" else part, start, end)

    def command(self, text: str, start: int, end: int) -> None:
        word = text[1:]
        if word in FONTS or word.rstrip("*") in FONTS:
            self.veil = _DRESS if self.veil == _COUNTED else self.veil
        elif word in ACCENTS:
            self.accent, self.veil = self.accent + ACCENTS[word], len(self.tokens.kinds)
        elif word in ("begin", "end"):
            self.position, kind = _environment(self.tokens, start, self.position, word)
            if kind:
                self.add(kind, "matrix", start, self.position)
        elif word in LETTERS or word in FUNCTION_COMMANDS:
            word, end = _command_name(self.source.text, word, end)
            self.position = max(self.position, end)
            self.add("name", spell(word, None, self.accent), start, end)
        elif word in SYMBOLS:
            self.add(SYMBOLS[word], text, start, end)
        elif word in IGNORED:
            if word in ("left", "right"):
                self.skip(_DELIMITER)
        elif word in ("label", "tag", "tag*"):
            self.skip(_GROUP)
        elif word in ("lbrace", "rbrace"):
            self.add("(" if word == "lbrace" else ")", text, start, end)
        else:
            hint = suggest(word, [*LETTERS, *SYMBOLS, *FUNCTION_COMMANDS, *ACCENTS, *FONTS])
            raise ReadingError(f"unknown command {text}", Place(self.source, start, end), hint)

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Pass over what follows, if it has a form."""
        match = pattern.match(self.source.text, self.position)
        if match is not None:
            self.position = match.end()

    def character(self, text: str, start: int, end: int) -> None:
        if text[:2] in _ESCAPES:
            self.add(_ESCAPES[text[:2]], text, start, end)
        elif text in CHARACTERS:
            self.add(CHARACTERS[text], text, start, end)
        elif len(text) == 1 and unicodedata.category(text) == "No" and unicodedata.numeric(text, 0) > 0:  # ½
            number = Fraction(unicodedata.numeric(text)).limit_denominator(100)
            for part in ("(", str(number.numerator), "/", str(number.denominator), ")"):
                self.add("number" if part.isdecimal() else part, part, start, end)
        elif text in _OPERATOR_NAMES:
            self.add("name", spell(_OPERATOR_NAMES[text]), start, end)
        elif text in _SIGNS:
            self.add(text, text, start, end)
        else:
            shown = text if text.isprintable() else f"U+{ord(text[-1]):04X}"
            what = "control character" if unicodedata.category(text[-1]) in ("Cc", "Cf", "Cs") else "unexpected character"
            raise ReadingError(f"{what} {shown}", Place(self.source, start, end), _CHARACTER_HINTS.get(text))


def split_names(text: str) -> list[str]:
    """The names of a list such as ``θ1, W_{1,2}``: cut at the commas outside of braces."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "{([") - (c in "})]")
        if c == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


_OPERATOR_NAMES = {"∑": "sum", "∏": "prod", "√": "sqrt"}
_SKIPPED = frozenset({"space", "comment", "stop"})
_SIGNS = frozenset("·×⊙∘⊗⊘⊤<>")
_OPERATORS = frozenset("= + - * / ( ) , ;".split())
_SYNONYMS = {":=": "=", "<-": "=", "%*%": "@", "**": "^", ".T": "ᵀ", "...": "dots"}
_DELIMITER = re.compile(r"\s*(?:\.|\\\{\s*(?=\\begin))")
_GROUP = re.compile(r"\s*\{[^{}]*\}")
_ESCAPES = {"\\\\": "\\\\", "\\|": "||", "\\{": "(", "\\}": ")", "\\&": "&"}
_CHARACTER_HINTS = {
    '"': "names are written without quotation marks",
    "?": "an unknown layer is just a name, such as L1",
    "\ufffd": "the text was not valid UTF-8",
    "!": "factorials are not part of the language",
}


def _subscript(tokens: Tokens, start: int) -> tuple[int, str]:
    """Position after the subscript that begins with the underscore at ``start``, and its text."""
    text = tokens.source.text
    i = start + 1
    while i < len(text) and text[i] == " ":
        i += 1
    if i < len(text) and text[i] == "{":
        depth = 0
        for j in range(i, len(text)):
            depth += (text[j] == "{") - (text[j] == "}")
            if depth == 0:
                return j + 1, canonical_index(text[i + 1 : j])
        raise ReadingError("this brace is never closed", Place(tokens.source, i, i + 1), "expected '}'")
    match = re.compile(rf"\\[A-Za-z]+|[0-9]+|[{_LETTER}][{_LETTER}0-9]*|\*").match(text, i)
    if match is None and start and text[start - 1].isalnum():
        return start + 1, "_"  # Python's way out of a name that is taken
    if match is None:
        raise ReadingError("expected an index after '_'", Place(tokens.source, start, start + 1), "write x_1 or x_{t-1}")
    word = match[0]
    if word[1:] in FONTS:
        finish = text.find("}", match.end())
        if finish > 0:
            return finish + 1, canonical_index(text[i : finish + 1])
    return match.end(), canonical_index(word)


def _command_name(text: str, word: str, position: int) -> tuple[str, int]:
    r"""A letter command with the digits that stand directly behind it: ``\theta1`` is θ1."""
    end = position
    while end < len(text) and text[end].isdecimal():
        end += 1
    return LETTERS.get(word, word) + text[position:end], end


def _environment(tokens: Tokens, start: int, position: int, word: str) -> tuple[int, str]:
    r"""Position after ``\begin{name}`` or ``\end{name}``, and the bracket it stands for, empty for mere alignment."""
    text = tokens.source.text
    finish = text.find("}", position)
    name = text[position + 1 : finish].strip() if finish > 0 and text[position : position + 1] == "{" else ""
    if name in ALIGNMENTS:
        if name.startswith("alignat"):
            finish = max(finish, text.find("}", finish + 1))
        return finish + 1, ""
    if name in GRIDS:
        if name == "array" and word == "begin" and text[finish + 1 : finish + 2] == "{":
            finish = max(finish, text.find("}", finish + 1))
        return finish + 1, f"{word}-grid"
    raise ReadingError(
        f"unknown environment {name or text[position : position + 20]!r}",
        Place(tokens.source, start, finish + 1 if finish > 0 else position),
        suggest(name, [*GRIDS, *ALIGNMENTS]),
    )
