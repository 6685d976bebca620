"""Sizes of rows and columns: symbols, numbers, products and sums of them, and which of them are found equal."""

from __future__ import annotations

from jacobian_chain.errors import LimitError
from jacobian_chain.shapes import fresh_symbol

MAX_TERMS = 1000
"""Most terms of a size that is a sum."""

LOOSE, UPPER, LOSS, USED = 1, 2, 4, 8
"""Flags of a class of sizes: its rank is open; and what decides it then: an upper-case name, a loss, an input of a layer."""

Cause = tuple[int, int]
"""The tokens of the operation that made two sizes equal."""

Terms = dict[tuple[int, ...], int]
"""A size as a polynomial: monomials of sizes with their coefficients."""


class Sizes:
    """Sizes that are found equal while a text is read: open ones, symbols and numbers, and products and sums of them.

    Two different symbols or numbers are never equal. Every size is a number that stands for it; ``unify`` says whether two can be one.

    >>> sizes = Sizes()
    >>> n, x = sizes.named("n"), sizes.open()
    >>> sizes.unify(x, n), sizes.text(x), sizes.unify(x, sizes.named("m"))
    (True, 'n', False)
    >>> sizes.text(sizes.product(x, sizes.add(n, sizes.named("2"))))
    'n*(n+2)'
    """

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.weight: list[int] = []
        self.flags: list[int] = []
        self.symbol: list[str] = []
        self.terms: dict[int, Terms] = {}  # of composed sizes
        self.parts: dict[int, tuple[str, tuple[int, ...]]] = {}  # the sign and the sizes that those were made of
        self.causes: dict[int, Cause | None] = {}
        self.known: dict[str, int] = {}
        self.pending: list[tuple[int, int, Cause | None]] = []
        self.one = self.named("1")

    def open(self, flags: int = 0) -> int:
        """A size that nothing is known of yet."""
        size = len(self.parent)
        self.parent.append(size)
        self.weight.append(1)
        self.flags.append(flags)
        self.symbol.append("")
        return size

    @property
    def count(self) -> int:
        """How many sizes there are."""
        return len(self.parent)

    def named(self, text: str) -> int:
        """The size that a symbol or number is."""
        size = self.known.get(text)
        if size is None:
            size = self.known[text] = self.open()
            self.symbol[size] = text
        return size

    def product(self, *sizes: int) -> int:
        """The product of sizes."""
        result: Terms = {(): 1}
        for size in sizes:
            result = _multiply(result, self.polynomial(size))
        return self._of(result, "*", sizes)

    def add(self, *sizes: int) -> int:
        """The sum of sizes."""
        result: Terms = {}
        for size in sizes:
            for monomial, count in self.polynomial(size).items():
                result[monomial] = result.get(monomial, 0) + count
        return self._of(result, "+", sizes)

    def _of(self, terms: Terms, sign: str, parts: tuple[int, ...]) -> int:
        """The size that a polynomial is, made of parts."""
        if len(terms) > MAX_TERMS:
            raise LimitError(f"a size here is a sum of more than {MAX_TERMS} terms")
        if terms.keys() == {()}:
            return self.named(str(terms[()]))
        ((monomial, count),) = terms.items() if len(terms) == 1 else (((), 0),)
        if count == 1 and len(monomial) == 1:
            return monomial[0]
        size = self.open()
        self.terms[size], self.parts[size] = terms, (sign, parts)
        return size

    def find(self, size: int) -> int:
        """What stands for all that is equal to a size."""
        while self.parent[size] != size:
            size = self.parent[size]
        return size

    def polynomial(self, size: int) -> Terms:
        """A size in terms of symbols and open sizes."""
        terms: Terms = {(self.find(size),): 1}
        while True:
            inner = next((k for monomial in terms for k in monomial if not self._is_atom(k)), None)
            if inner is None:
                return terms
            root = self.find(inner)
            known = self.terms.get(root) or ({(): int(self.symbol[root])} if self.symbol[root].isdecimal() else {(root,): 1})
            result: Terms = {}
            for monomial, count in terms.items():
                if inner not in monomial:
                    result[monomial] = result.get(monomial, 0) + count
                    continue
                at = monomial.index(inner)
                rest: Terms = {monomial[:at] + monomial[at + 1 :]: count}
                for other, times in _multiply(rest, known).items():
                    result[other] = result.get(other, 0) + times
            terms = result

    def _is_atom(self, size: int) -> bool:
        """Whether a size can stand in a polynomial: a symbol, or an open size."""
        return self.parent[size] == size and size not in self.terms and not self.symbol[size].isdecimal()

    def is_one(self, size: int) -> bool:
        """Whether a size is known to be 1."""
        return size == self.one or self.find(size) == self.one

    def is_known(self, size: int) -> bool:
        """Whether a size is a symbol, a number, or made of such."""
        root = self.find(size)
        if self.symbol[root]:
            return True
        return root in self.terms and all(self.symbol[k] for monomial in self.polynomial(root) for k in monomial)

    def is_loose(self, size: int) -> bool:
        """Whether a size is of an open rank, and nothing fixed it."""
        root = self.find(size)
        return bool(self.flags[root] & LOOSE) and not self.is_known(root)

    def has(self, size: int, flag: int) -> bool:
        """Whether a flag is set."""
        return bool(self.flags[self.find(size)] & flag)

    def mark(self, size: int, flag: int) -> None:
        """Set a flag."""
        self.flags[self.find(size)] |= flag

    def settle(self, size: int) -> None:
        """Say that a size is not of an open rank any more."""
        self.flags[self.find(size)] &= ~LOOSE

    def unify(self, one: int, other: int, cause: Cause | None = None) -> bool:
        """Make two sizes equal; whether they can be."""
        first, second = self.find(one), self.find(other)
        if first == second:
            return True
        if first in self.terms or second in self.terms:
            if second not in self.terms and not self.symbol[second]:
                first, second = second, first
            if first not in self.terms and not self.symbol[first] and all(first not in m for m in self.polynomial(second)):
                self._link(first, second, cause)
                return True
            return self._solve(first, second, cause)
        if self.symbol[first] and self.symbol[second]:
            return False
        if self.symbol[first] or (not self.symbol[second] and self.weight[first] > self.weight[second]):
            first, second = second, first
        self._link(first, second, cause)
        return True

    def _link(self, child: int, parent: int, cause: Cause | None) -> None:
        if self.symbol[parent] or parent in self.terms:
            self.causes[child] = cause
        self.parent[child] = parent
        self.weight[parent] += self.weight[child]
        both = self.flags[child] & self.flags[parent] & LOOSE
        self.flags[parent] = ((self.flags[child] | self.flags[parent]) & ~LOOSE) | both

    def _solve(self, first: int, second: int, cause: Cause | None) -> bool:
        """Equality of sizes of which one is composed: solved for an open size where that is plain, else kept for later."""
        left, right = self.polynomial(first), self.polynomial(second)
        rest = {m: left.get(m, 0) - right.get(m, 0) for m in {**left, **right}}
        rest = {m: count for m, count in rest.items() if count}
        if not rest:
            first, second = (second, first) if self.symbol[first] else (first, second)
            self._link(first, second, cause)
            return True
        unknown = {k for m in rest for k in m if not self.symbol[k]}
        if not unknown or len({count > 0 for count in rest.values()}) == 1:  # sizes are positive
            return False
        for monomial, count in rest.items():
            if len(monomial) != 1 or monomial[0] not in unknown or sum(monomial[0] in m for m in rest) > 1:
                continue
            solution = {m: -times // count for m, times in rest.items() if m != monomial}
            if all(times > 0 and rest[m] == -times * count for m, times in solution.items()) and solution:
                return self.unify(monomial[0], self._sum_of(solution), cause) and self.unify(first, second, cause)
        self.pending.append((first, second, cause))
        return True

    def _sum_of(self, terms: Terms) -> int:
        """The size that a polynomial with positive coefficients is."""
        return self.add(*(self.product(*([self.named(str(count))] if count > 1 or not m else []), *m) for m, count in terms.items()))

    def cause(self, size: int) -> Cause | None:
        """The operation because of which an undeclared size is what it is."""
        while True:
            found, above = self.causes.get(size), self.parent[size]
            if found is not None or above == size:
                return found
            size = above

    def text(self, size: int) -> str:
        """A size as text; an open one is a question mark."""
        root = self.find(size)
        if root not in self.terms:
            return self.symbol[root] or "?"
        texts: dict[int, str] = {}
        stack = [root]
        while stack:
            root = stack[-1]
            if root not in self.terms:
                texts[root] = self.symbol[root] or "?"
            else:
                sign, parts = self.parts[root]
                roots = [self.find(part) for part in parts]
                missing = [part for part in roots if part not in texts]
                if missing:
                    stack += missing
                    continue
                texts[root] = _write_size(sign, [texts[part] for part in roots])
            stack.pop()
        return texts[self.find(size)]

    def assume(self, size: int, letter: str, name: str, taken: dict[str, int]) -> None:
        """Give an open size a symbol that is not taken; of one that is composed, the open ones in it."""
        stack = [size]
        while stack:
            root = self.find(stack.pop())
            if root in self.terms:
                stack.extend(self.parts[root][1])
            elif not self.symbol[root]:
                self.symbol[root] = fresh_symbol(letter, name, taken)

    def unsolved(self) -> tuple[int, int, Cause | None] | None:
        """The first two sizes that should be equal and are not, now that none is open."""
        pending, self.pending = self.pending, []
        return next((entry for entry in pending if self.text(entry[0]) != self.text(entry[1]) and not self.unify(*entry)), None)


def _multiply(one: Terms, other: Terms) -> Terms:
    """The product of two polynomials."""
    if len(one) * len(other) > MAX_TERMS:
        raise LimitError(f"a size here is a sum of more than {MAX_TERMS} terms")
    result: Terms = {}
    for left, count in one.items():
        for right, times in other.items():
            monomial = tuple(sorted(left + right))
            result[monomial] = result.get(monomial, 0) + count * times
    return result


def _write_size(sign: str, sizes: list[str]) -> str:
    """The product or sum of sizes as text, numbers in it worked out.

    >>> _write_size("*", ["k", "m+n"]), _write_size("*", ["2", "3"]), _write_size("+", ["m", "2", "n", "3"])
    ('k*(m+n)', '6', 'm+n+5')
    """
    if sign == "+":
        number = sum(int(size) for size in sizes if size.isdecimal())
        parts = [size for size in sizes if not size.isdecimal()]
        return "+".join([*parts, str(number)] if number or not parts else parts)
    text = "1"
    for size in sizes:
        if text == "1" or size == "1":
            text = size if text == "1" else text
        elif text.isdecimal() and size.isdecimal():
            text = str(int(text) * int(size))
        else:
            text = "*".join(f"({factor})" if "+" in factor else factor for factor in (text, size))
    return text
