"""Words: sums of products of letters, in a normal form in which equal means equal.

A letter is one matrix of the problem, such as the Jacobian of a layer in one slot at one point. Letters do not commute, so a sum of
products has exactly one normal form, a map from word to coefficient, up to one thing: what is a single number commutes with everything
and is its own transpose. :meth:`Alphabet.normalise` brings such numbers to the front.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import LimitError
from jacobian_chain.layout import adjoint_word

MAX_WORDS = 4096
"""Most words of one sum; beyond it sums are compared by their values at random places."""

MAX_LETTERS = 200_000
"""Most letters of one sum."""

Number = int | Fraction
Word = tuple[int, ...]
Polynomial = dict[Word, Number]
"""Coefficients by word. The empty word is the identity; no coefficient is zero."""

ZERO: Polynomial = {}
IDENTITY: Polynomial = {(): 1}

UNIT = 0
"""The letter I. The empty word is a number, which in a sum with an array is added to every entry; I is not."""

MAX_BITS = 4096
"""Most binary digits of a coefficient."""

MAX_WORD = 20_000
"""Most letters of one word."""

_AFTER_NUMBER, _AFTER_NUMBERS, _BETWEEN = -1, -2, -3
"""Separators in a normalised word, which are no letters."""


class Letter(NamedTuple):
    """One matrix.

    ``kind`` is ``partial`` (the Jacobian of layer ``name`` in ``slot`` at the values ``inputs``), ``foreign`` (the derivative of layer
    ``name`` by the value ``inputs[0]``, which is none of its arguments), ``value`` (the value ``slot`` as a column), ``hadamard`` (an
    elementwise product, ``name`` what stands in it), ``ones`` or ``unit``, the identity of any size.
    """

    kind: str
    name: str
    slot: int
    inputs: tuple[int, ...]
    rows: str
    columns: str


class Alphabet:
    """The letters of one problem by number: ``2 k`` is the k-th one, ``2 k + 1`` its transpose."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self._index: dict[Letter, int] = {}
        self._thin: set[int] = {UNIT, UNIT + 1}  # letters with a single row or column, and I
        self.code(Letter("unit", "I", 0, (), "", ""))

    def code(self, letter: Letter) -> int:
        """The number of a letter, new or known."""
        code = self._index.get(letter)
        if code is None:
            code = self._index[letter] = 2 * len(self.letters)
            self.letters.append(letter)
            if letter.rows == "1" or letter.columns == "1":
                self._thin.update((code, code + 1))
        return code

    def shape(self, code: int) -> tuple[str, str]:
        """Rows and columns of a letter or its transpose."""
        letter = self.letters[code >> 1]
        return (letter.columns, letter.rows) if code & 1 else (letter.rows, letter.columns)

    def word_shape(self, word: Word) -> tuple[str, str] | None:
        """Rows and columns of a product, None for the identity."""
        shapes = [shape for code in word if code > 1 and (shape := self.shape(code)) != ("1", "1")]
        if not shapes:
            return ("1", "1") if any(code > 1 for code in word) else None
        return shapes[0][0], shapes[-1][1]

    def is_multiple(self, word: Word) -> bool:
        """Whether a product is made of single numbers and I only."""
        return all(code < 2 or self.shape(code) == ("1", "1") for code in word)

    def misfit(self, word: Word) -> int | None:
        """The position of the first letter that does not fit the one before it, None where all fit."""
        before = None
        for position, code in enumerate(word):
            rows, columns = self.shape(code)
            if code < 2 or (rows, columns) == ("1", "1"):
                continue
            if before is not None and before != rows:
                return position
            before = columns
        return None

    def normalise(self, polynomial: Polynomial) -> Polynomial:
        """The normal form: two sums of products are equal if these are.

        >>> alphabet = Alphabet()
        >>> row = alphabet.code(Letter("partial", "f", 0, (0,), "1", "n"))
        >>> column = alphabet.code(Letter("partial", "g", 0, (1,), "n", "1"))
        >>> alphabet.normalise({(row, column): 1}) == alphabet.normalise({(column + 1, row + 1): 1})
        True
        """
        thin = self._thin
        if all(thin.isdisjoint(word) for word in polynomial):
            return polynomial
        result: Polynomial = {}
        for word, coefficient in polynomial.items():
            add_word(result, word if thin.isdisjoint(word) else self._normalise(word), coefficient)
        return result

    def _normalise(self, word: Word) -> Word:
        numbers: list[Word] = []
        stack: list[Word] = []  # the factors that are not single numbers
        segment: list[int] = []
        letters = [code for code in word if code > 1]
        if not letters:
            return (UNIT,)
        unit = len(letters) < len(word)
        for code in (*letters, None):
            rows, columns = ("1", "1") if code is None else self.shape(code)
            if code is not None and rows == columns == "1":
                numbers.append((code & ~1,))
                continue
            if segment and (code is None or rows == "1" or self.shape(segment[-1])[1] == "1"):
                self._push(tuple(segment), stack, numbers)
                segment = []
            if code is not None:
                segment.append(code)
        if not numbers and len(stack) == 1:
            return stack[0]
        if unit and self.is_multiple(word):
            stack.append((UNIT,))
        front = tuple(code for number in sorted(numbers) for code in (*number, _AFTER_NUMBER))
        behind = tuple(code for factor in stack for code in (*factor, _BETWEEN))
        return (*front, _AFTER_NUMBERS, *behind)

    def _push(self, segment: Word, stack: list[Word], numbers: list[Word]) -> None:
        """Put a factor behind others, joined to the one before where no single number stands between them."""
        while True:
            rows, columns = self.shape(segment[0])[0], self.shape(segment[-1])[1]
            if rows == columns == "1":
                numbers.append(min(segment, adjoint_word(segment)))
                return
            if not stack or rows == "1" or self.shape(stack[-1][-1])[1] == "1":
                stack.append(segment)
                return
            segment = stack.pop() + segment


def add_word(polynomial: Polynomial, word: Word, coefficient: Number) -> None:
    """Add a multiple of a word to a sum, in place."""
    total = polynomial.get(word, 0) + coefficient
    if total:
        polynomial[word] = total
    else:
        polynomial.pop(word, None)


def add(terms: Iterable[Polynomial]) -> Polynomial:
    """The sum of sums.

    Raises:
        LimitError: it has more than ``MAX_WORDS`` words.
    """
    result: Polynomial = {}
    for term in terms:
        if not result:
            result = dict(term)
            continue
        for word, coefficient in term.items():
            add_word(result, word, coefficient)
    return _limited(result, len(result))


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product of sums, distributed.

    Raises:
        LimitError: it has more than ``MAX_WORDS`` words or ``MAX_LETTERS`` letters.

    >>> multiply({(0,): 2}, {(): 1, (2,): -1})
    {(0,): 2, (0, 2): -2}
    """
    _limited(left, len(left) * len(right))
    if len(left) == len(right) == 1:
        ((one, coefficient),) = left.items()
        ((other, factor),) = right.items()
        if len(one) + len(other) > MAX_WORD:
            raise LimitError(f"a product has more than {MAX_WORD:,} factors")
        return {one + other: _bounded(coefficient * factor)}
    result: Polynomial = {}
    for one, coefficient in left.items():
        for other, factor in right.items():
            add_word(result, one + other, _bounded(coefficient * factor))
    if len(result) > 64 and sum(map(len, result)) > MAX_LETTERS:
        raise LimitError(f"the sum has more than {MAX_LETTERS:,} factors")
    return result


def scale(polynomial: Polynomial, number: Number) -> Polynomial:
    """A multiple of a sum."""
    return {word: _bounded(coefficient * number) for word, coefficient in polynomial.items()} if number else {}


def _bounded(number: Number) -> Number:
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
        raise LimitError(f"a number has more than {MAX_BITS:,} binary digits")
    return number


def settle(polynomial: Polynomial, scalar: bool, alphabet: Alphabet) -> Polynomial:
    """A block in which multiples of the identity are written as its shape has it: as numbers for a single entry, else with I."""
    plain = [word for word in polynomial if alphabet.is_multiple(word) and (UNIT in word or UNIT + 1 in word) is scalar]
    if not plain:
        return polynomial
    result = {word: number for word, number in polynomial.items() if word not in plain}
    for word in plain:
        add_word(result, tuple([code for code in word if code > 1]) if scalar else (UNIT, *word), polynomial[word])
    return result


def transpose(polynomial: Polynomial) -> Polynomial:
    """The transpose of a sum."""
    return {adjoint_word(word): coefficient for word, coefficient in polynomial.items()}


def _limited(polynomial: Polynomial, words: int) -> Polynomial:
    if words > MAX_WORDS:
        raise LimitError(f"the sum has more than {MAX_WORDS:,} products")
    return polynomial
