"""Array expressions over a tape: its values, and what can be made of them.

Expressions are steps like those of a tape, numbered on from its values, equal ones once. A gradient is such an expression, and can
be differentiated again. Values that bear a name are never looked into; what has none is, and the constructors simplify what people
expect to be simplified, and no more: I, 0 and 1, double transposes, numbers and scalars in front, A A⁻¹, diag(a) v = a ⊙ v,
(A ⊗ B)(C ⊗ D) = AC ⊗ BD, vec(a bᵀ) = b ⊗ a, u ⊙ u⁻¹ = 1, and the facts that are declared (A = Aᵀ, 1ᵀy = 1).

Beyond the operations of :class:`jacobian_chain.tape.Step` there are

``leaf``        a leaf of the tape, by ``name``; ``symbol`` a further variable, such as a direction
``adjoint``     the derivative of value ``coefficients[0]`` by value ``coefficients[1]``, as a name
``partial``     the Jacobian of the layer ``name`` at the inputs in slot ``coefficients[0]``, on ``vec``
``gradient``    the same of a layer that gives a scalar, in the shape of that input
``curvature``   Σ λ_k ∂²g_k / ∂u_i ∂u_j of the layer g = ``name`` at the inputs (λ, u, …), with (i, j) the ``coefficients``, on ``vec``
``commutation`` K with K vec A = vec Aᵀ for A of m x n, ``name`` "m,n"
``embedding``   the matrix E with E v = vec diag(v), ``name`` the size of v
``indicator``   1 where an entry of u is positive, else 0

Identities: Petersen & Pedersen, The Matrix Cookbook (2012), sections 1 and 10.2; Magnus & Neudecker, Matrix Differential Calculus,
chapters 1 to 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction

from jacobian_chain.tape import SCALAR, Shape, Step, Tape

ONE = Fraction(1)
TWO = Fraction(2)
ZERO = Fraction(0)

FEW = 8
"""Most terms that are multiplied out, or looked at one by one, to make an expression shorter."""

_CLOSED = Step("leaf", "", ())
"""What a value with a name looks like to those who simplify."""

_SHAPED = frozenset({"ones", "zeros", "identity", "unit", "reshape"})
"""Operations that have their shape of the value alone."""

_JOINED_LEFT = frozenset({"inverse", "transpose", "diag", "ones", "kron", "commutation"})
_JOINED_RIGHT = frozenset({"inverse", "ones"})
"""Operations of a factor that may be simpler together with what stands right of it, or left of it."""


_ENTRYWISE = frozenset({"number", "hadamard", "power", "apply", "indicator"})
"""Operations beside which a number is plainly added to every entry."""


class Arrays:
    """Expressions over a tape. Nodes below ``len(tape.names)`` are its values; ``steps`` and ``shapes`` go on behind them.

    Args:
        tape: the composition.
        free: values whose facts must not be used, because what comes out is differentiated by them again.

    Attributes:
        tape: the composition.
        steps: what each node is, inputs before what is made of them.
        shapes: their shapes.
        used: the facts that were used, as in ``tape.facts``.

    >>> from jacobian_chain.errors import Source
    >>> from jacobian_chain.reading import read_composition
    >>> tape = read_composition(Source("y = f(A, x); A: m x n; x: n")).tape
    >>> arrays = Arrays(tape)
    >>> A, x = tape.index("A"), tape.index("x")
    >>> arrays.transpose(arrays.transpose(A)) == A, str(arrays.shapes[arrays.product((A, x))])
    (True, 'm')
    """

    def __init__(self, tape: Tape, free: Collection[int] = ()) -> None:
        self.tape = tape
        self.steps: list[Step] = [Step("leaf", name, ()) for name in tape.names[: tape.leaves]]
        self.steps += tape.steps
        self.shapes: list[Shape] = list(tape.shapes)
        self._seen = [_CLOSED if name else step for name, step in zip(tape.names, self.steps, strict=True)]
        self._index: dict[tuple[object, ...], int] = {}
        for node, (step, shape) in enumerate(zip(tape.steps, tape.shapes[tape.leaves :], strict=True), tape.leaves):
            self._index.setdefault(_key(step.operation, shape, step.inputs, step.name, step.coefficients), node)
        self.used: dict[tuple[int, str], None] = {}
        self._facts = frozenset(fact for fact in tape.facts if fact[0] not in free)
        self._transposes: dict[int, int] = {}
        self._numbers: dict[Fraction | int, int] = {}

    # --- nodes ---

    def add(
        self, operation: str, shape: Shape, inputs: tuple[int, ...] = (), name: str = "", coefficients: tuple[Fraction, ...] = ()
    ) -> int:
        """The node of a step, new or known; nothing is simplified."""
        key = _key(operation, shape, inputs, name, coefficients)
        node = self._index.get(key)
        if node is None:
            node = self._index[key] = len(self.steps)
            step = Step(operation, name, inputs, coefficients)
            self.steps.append(step)
            self._seen.append(step)
            self.shapes.append(shape)
        return node

    def view(self, node: int) -> Step:
        """What a node is made of, as far as one may look: a value with a name is a leaf."""
        return self._seen[node]

    def reachable(self, roots: Iterable[int]) -> list[int]:
        """The nodes that expressions are made of as far as one may look, in order."""
        found: set[int] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(self._seen[node].inputs)
        return sorted(found)

    def is_scalar(self, node: int) -> bool:
        """Whether a node has a single entry."""
        return self.shapes[node] == SCALAR

    def knows(self, node: int, fact: str) -> bool:
        """Whether a fact is declared of a node; if so it counts as used."""
        found = (node, fact) in self._facts
        if found:
            self.used[node, fact] = None
        return found

    # --- constants ---

    def number(self, value: Fraction | int) -> int:
        """A number."""
        node = self._numbers.get(value)
        if node is None:
            node = self._numbers[value] = self.add("number", SCALAR, (), "", (Fraction(value),))
        return node

    def ones(self, shape: Shape) -> int:
        """The array whose entries are 1."""
        return self.number(1) if shape.is_scalar else self.add("ones", shape)

    def zeros(self, shape: Shape) -> int:
        """The array whose entries are 0."""
        return self.number(0) if shape.is_scalar else self.add("zeros", shape)

    def identity(self, size: str) -> int:
        """The identity matrix."""
        return self.number(1) if size == "1" else self.add("identity", Shape(size, size))

    def dimension(self, size: str) -> int:
        """A size as a scalar."""
        return self.number(int(size)) if size.isdecimal() else self.add("dimension", SCALAR, (), size)

    def is_zero(self, node: int) -> bool:
        """Whether a node is known to be 0."""
        step = self._seen[node]
        return step.operation == "zeros" or (step.operation == "number" and not step.coefficients[0])

    def is_one(self, node: int) -> bool:
        """Whether every entry of a node is known to be 1."""
        step = self._seen[node]
        return step.operation == "ones" or (step.operation == "number" and step.coefficients[0] == 1)

    def adjoint(self, of: int, by: int) -> int:
        """The derivative of a scalar value by another as a name, in the shape of the latter."""
        return self.add("adjoint", self.shapes[by], (), "", (Fraction(of), Fraction(by)))

    # --- linear combinations ---

    def split(self, node: int) -> tuple[Fraction, int]:
        """A node as a number times another."""
        step = self._seen[node]
        if step.operation == "sum" and len(step.inputs) == 1:
            return step.coefficients[0], step.inputs[0]
        if step.operation == "number":
            return step.coefficients[0], self.number(1)
        return ONE, node

    def multiple(self, coefficient: Fraction, node: int) -> int:
        """A number times a node."""
        if coefficient is ONE or coefficient == 1:
            return node
        if not coefficient:
            return self.zeros(self.shapes[node])
        own, core = self.split(node)
        coefficient *= own
        step = self._seen[core]
        if step.operation == "number":
            return self.number(coefficient)
        if coefficient == -1 and step.operation == "sum" and 2 * sum(own < 0 for own in step.coefficients) >= len(step.inputs) > 1:
            return self.sum([(coefficient, core)], self.shapes[core])  # y - p, not -(p - y)
        return core if coefficient == 1 else self.add("sum", self.shapes[node], (core,), "", (coefficient,))

    def sum(self, terms: Iterable[tuple[Fraction, int]], shape: Shape) -> int:
        """Σ c u; numbers are added to every entry, sums without a name are laid flat, equal terms gathered."""
        gathered: dict[int, Fraction] = {}
        one = self.number(1)
        stack = list(terms)[::-1]
        while stack:
            coefficient, node = stack.pop()
            step = self._seen[node]
            operation = step.operation
            if operation == "sum":
                inner = zip(step.coefficients, step.inputs, strict=True)
                stack.extend([(own if coefficient is ONE else coefficient * own, source) for own, source in inner][::-1])
                continue
            if operation == "ones":
                node = one
            elif operation == "number":
                own = step.coefficients[0]
                coefficient, node = own if coefficient is ONE else coefficient * own, one
            elif operation == "zeros":
                continue
            known = gathered.get(node)
            gathered[node] = coefficient if known is None else known + coefficient
        kept = {node: coefficient for node, coefficient in gathered.items() if coefficient}
        if not kept:
            return self.zeros(shape)
        if next(iter(kept.values())).numerator < 0:  # p - y, not -y + p
            kept = dict(sorted(kept.items(), key=lambda term: term[1] < 0))
        if len(kept) == 1:
            ((node, coefficient),) = kept.items()
            return self.multiple(coefficient, self.ones(shape) if node == one else node)
        if one in kept and shape.rows == shape.columns != "1" and any(self._seen[node].operation not in _ENTRYWISE for node in kept):
            ones = self.ones(shape)  # beside a square matrix a number is taken for a multiple of I
            kept = {ones if node == one else node: coefficient for node, coefficient in kept.items()}
        elif kept.get(one, ONE) != 1:
            number = self.number(kept[one])
            kept = {number if node == one else node: ONE if node == one else coefficient for node, coefficient in kept.items()}
        return self.add("sum", shape, tuple(kept), "", tuple(kept.values()))

    def gather(self, terms: Sequence[tuple[Fraction, int]], shape: Shape) -> int:
        """Σ c u, with the factors that all terms begin or end with in front or behind, and entrywise ones that all have outside.

        s u + s v = s (u + v), A x + B x = (A + B) x, and δ ⊙ u - δ ⊙ v = δ ⊙ (u - v).
        """
        words: list[tuple[Fraction, tuple[int, ...]]] = []
        operations = set()
        for coefficient, node in terms:
            own, core = self.split(node)
            step = self._seen[core]
            operations.add(step.operation)
            words.append((coefficient * own, step.inputs))
        if len(terms) > 1 and operations == {"scale"} and shape != SCALAR and len({inputs[0] for _, inputs in words}) == 1:
            inside = self.gather([(coefficient, inputs[1]) for coefficient, inputs in words], shape)
            return self.scale(words[0][1][0], inside)
        if len(terms) > 1 and operations == {"product"}:
            return self._gather_products(words, terms, shape)
        if len(terms) > 1 and operations == {"hadamard"}:
            common = [factor for factor in words[0][1] if all(factor in factors for _, factors in words)]
            if common:
                rests = [
                    (coefficient, self.hadamard([factor for factor in factors if factor not in common]))
                    if len(factors) > len(common)
                    else (coefficient, self.ones(shape))
                    for coefficient, factors in words
                ]
                return self.hadamard((*common, self.sum(rests, shape)))
        return self.sum(terms, shape)

    def _gather_products(
        self, words: Sequence[tuple[Fraction, tuple[int, ...]]], terms: Sequence[tuple[Fraction, int]], shape: Shape
    ) -> int:
        shortest = min(len(factors) for _, factors in words)
        first = words[0][1]
        head = 0
        while head < shortest - 1 and all(factors[head] == first[head] for _, factors in words):
            head += 1
        tail = 0
        while head + tail < shortest - 1 and all(factors[-1 - tail] == first[-1 - tail] for _, factors in words):
            tail += 1
        if not head and not tail:
            return self.sum(terms, shape)
        middles = [(coefficient, self.product(factors[head : len(factors) - tail])) for coefficient, factors in words]
        inside = self.sum(middles, self.shapes[middles[0][1]])
        return self.product((*first[:head], inside, *first[len(first) - tail :]))

    # --- products ---

    def monomial(self, node: int) -> tuple[Fraction, dict[int, Fraction]]:
        """A scalar as a number times powers of scalars."""
        number, powers = ONE, dict[int, Fraction]()
        stack = [(node, ONE)]
        while stack:
            top, exponent = stack.pop()
            step = self._seen[top]
            if step.operation == "scale":
                stack.extend([(source, exponent) for source in reversed(step.inputs)])
            elif step.operation == "sum" and len(step.inputs) == 1 and exponent.denominator == 1:
                number *= step.coefficients[0] ** int(exponent)
                stack.append((step.inputs[0], exponent))
            elif step.operation == "number" and exponent.denominator == 1:
                number *= step.coefficients[0] ** int(exponent)
            elif step.operation == "power" and exponent.denominator == 1:
                stack.append((step.inputs[0], exponent * step.coefficients[0]))
            else:
                _raise(powers, top, exponent)
        return number, powers

    def from_monomial(self, number: Fraction, powers: dict[int, Fraction]) -> int:
        """The scalar that is a number times powers of scalars."""
        if not number:
            return self.number(0)
        self._cancel_signs(powers)
        shorter = self._multiply_out(powers, SCALAR)
        if shorter is not None:
            return self.multiple(number, shorter)
        result = -1
        for base, exponent in powers.items():
            if exponent:
                factor = base if exponent == 1 else self.add("power", SCALAR, (base,), "", (exponent,))
                result = factor if result < 0 else self.add("scale", SCALAR, (result, factor))
        return self.number(number) if result < 0 else self.multiple(number, result)

    def _cancel_signs(self, powers: dict[int, Fraction]) -> None:
        """sign(u) / |u| = 1 / u, of entries or scalars."""
        for node, exponent in list(powers.items()):
            step = self._seen[node]
            if step.operation == "apply" and step.name == "sign" and not step.coefficients and exponent == 1:
                size = self._index.get(("apply", step.inputs, "abs"))
                if size is not None and powers.get(size) == -1:
                    del powers[node], powers[size]
                    base = step.inputs[0]
                    powers[base] = powers.get(base, ZERO) - 1

    def _multiply_out(self, powers: dict[int, Fraction], shape: Shape) -> int | None:
        """The product a (u / a + v / a + …) with every denominator cancelled, None where that is not possible.

        What comes out is multiplied out further if that makes it shorter: y (1 - a) - (1 - y) a = y - a.
        """
        for node, exponent in powers.items():
            step = self._seen[node]
            if step.operation != "sum" or exponent != 1 or not 1 < len(step.inputs) <= FEW:
                continue
            if any(self._seen[source].operation == "number" for source in step.inputs):  # it has no denominator
                continue
            terms: list[tuple[Fraction, dict[int, Fraction]]] = []
            for coefficient, source in zip(step.coefficients, step.inputs, strict=True):
                number, own = self._factors(source)
                below = [base for base, power in own.items() if power < 0]
                joined = {base: power for base, power in powers.items() if base != node}
                if not below or any(joined.get(base, ZERO) < -own[base] for base in below):
                    terms = []
                    break
                for base, power in own.items():
                    _raise(joined, base, power)
                terms.append((coefficient * number, {base: power for base, power in joined.items() if power}))
            if terms:
                return self._shortest(terms, shape)
        return None

    def _factors(self, node: int) -> tuple[Fraction, dict[int, Fraction]]:
        """A scalar, or an array entry by entry, as a number times powers."""
        if self.is_scalar(node):
            return self.monomial(node)
        coefficient, core = self.split(node)
        return coefficient, self._powers(core)

    def _shortest(self, terms: list[tuple[Fraction, dict[int, Fraction]]], shape: Shape) -> int:
        """The sum of products of powers, as it stands or with sums multiplied out, whichever has fewer factors."""
        expanded: dict[tuple[tuple[int, Fraction], ...], Fraction] = {}
        waiting = list(terms)
        count = 0
        while waiting and count <= FEW * FEW:
            count += 1
            number, powers = waiting.pop(0)
            inner = next((base for base, power in powers.items() if power == 1 and self._seen[base].operation == "sum"), None)
            if inner is None:
                key = tuple(sorted(powers.items()))
                expanded[key] = expanded.get(key, ZERO) + number
                continue
            step = self._seen[inner]
            for coefficient, source in zip(step.coefficients, step.inputs, strict=True):
                own, factors = self._factors(source)
                joined = {base: power for base, power in powers.items() if base != inner}
                for base, power in factors.items():
                    _raise(joined, base, power)
                waiting.append((number * coefficient * own, {base: power for base, power in joined.items() if power}))
        kept = [(number, dict(key)) for key, number in expanded.items() if number]
        shorter = not waiting and sum(len(powers) + 1 for _, powers in kept) < sum(len(powers) + 1 for _, powers in terms)
        return self.sum([(number, self._from_powers(powers, shape)) for number, powers in (kept if shorter else terms)], shape)

    def _from_powers(self, powers: dict[int, Fraction], shape: Shape) -> int:
        if shape == SCALAR:
            return self.from_monomial(ONE, powers)
        return self.hadamard([self.power(base, power) for base, power in powers.items()]) if powers else self.ones(shape)

    def scale(self, scalar: int, node: int) -> int:
        """The scalar times a node, numbers and scalars gathered in front."""
        if self.is_scalar(node):
            number, powers = self.monomial(scalar)
            other, more = self.monomial(node)
            for base, exponent in more.items():
                _raise(powers, base, exponent)
            return self.from_monomial(number * other, powers)
        number, scalar = self.split(scalar)
        own, node = self.split(node)
        number *= own
        step = self._seen[node]
        if step.operation == "scale":
            return self.multiple(number, self.scale(self.scale(scalar, step.inputs[0]), step.inputs[1]))
        if not number or self.is_zero(node):
            return self.zeros(self.shapes[node])
        if self.is_one(scalar):
            return self.multiple(number, node)
        inner, core = self.split(scalar)
        return self.multiple(number * inner, self.add("scale", self.shapes[node], (core, node)))

    def product(self, factors: Iterable[int]) -> int:
        """The matrix product; a 1 x 1 factor multiplies as a scalar."""
        factors = tuple(factors)
        if len(factors) == 1:
            return factors[0]
        number, scalars = ONE, list[int]()
        kept: list[int] = []
        rows = columns = ""
        stack = list(factors)[::-1]
        while stack:
            node = stack.pop()
            shape = self.shapes[node]
            if shape == SCALAR:
                scalars.append(node)
                continue
            rows, columns = rows or shape.rows, shape.columns
            step = self._seen[node]
            if step.operation == "leaf":
                kept.append(node)
                continue
            while step.operation == "sum" and len(step.inputs) == 1:
                number *= step.coefficients[0]
                node = step.inputs[0]
                step = self._seen[node]
            if step.operation == "scale":
                scalars.append(step.inputs[0])
                stack.append(step.inputs[1])
            elif step.operation == "product":
                stack.extend(reversed(step.inputs))
            elif step.operation == "zeros":
                number = ZERO
                kept.append(node)
            elif step.operation != "identity":
                kept.append(node)
        if not rows:
            result = self.number(1)
        elif not number:
            return self.zeros(Shape(rows, columns))
        else:
            result = self._chain(kept, rows, columns)
        for scalar in reversed(scalars):
            result = self.scale(scalar, result)
        return self.multiple(number, result)

    def _chain(self, factors: list[int], rows: str, columns: str) -> int:
        """The product of factors none of which is a scalar, an identity or a number times something."""
        kept: list[int] = []
        outside: list[int] = []  # scalars that come out
        changed = False
        for factor in factors:
            node = factor
            while kept:
                if self._seen[kept[-1]].operation not in _JOINED_LEFT and self._seen[node].operation not in _JOINED_RIGHT:
                    break
                joined = self._join(kept[-1], node)
                if joined is None:
                    break
                changed = True
                kept.pop()
                if self.is_scalar(joined):
                    outside.append(joined)
                    node = -1
                    break
                node = joined
                if self._seen[node].operation == "identity":
                    node = -1
                    break
            if node >= 0:
                kept.append(node)
        if not kept:
            result = self.identity(rows)
        elif len(kept) == 1:
            result = kept[0]
        else:
            result = self.add("product", Shape(rows, columns), tuple(kept))
        if changed and self._is_compound(result):  # a rule gave a number, a scalar or a product: once more
            result = self.product(self._seen[result].inputs)
        for scalar in outside:
            result = self.scale(scalar, result)
        return result

    def _is_compound(self, node: int) -> bool:
        step = self._seen[node]
        if step.operation != "product":
            return False
        return any(
            self._seen[source].operation in ("scale", "product", "zeros") or self.split(source)[0] != 1 or self.is_scalar(source)
            for source in step.inputs
        )

    def _join(self, left: int, right: int) -> int | None:
        """The product of two neighbours where it is simpler than they are, else None."""
        one, other = self._seen[left], self._seen[right]
        if one.operation == "inverse" and one.inputs[0] == right:
            return self.identity(self.shapes[left].rows)
        if other.operation == "inverse" and other.inputs[0] == left:
            return self.identity(self.shapes[left].rows)
        if one.operation == "transpose" and other.operation == "transpose":
            return self._join_transposed(one.inputs[0], other.inputs[0])
        if one.operation == "diag":
            if self.shapes[right].columns == "1":
                return self.hadamard((one.inputs[0], right))
            if other.operation == "diag":
                return self.diag(self.hadamard((one.inputs[0], other.inputs[0])))
        if one.operation == "ones" and other.operation == "ones":
            ones = self.ones(Shape(self.shapes[left].rows, self.shapes[right].columns))
            return self.scale(self.dimension(self.shapes[right].rows), ones)
        if one.operation == "ones" and one_row(self.shapes[left]):
            if other.operation == "diag":
                return self.transpose(other.inputs[0])
            if self.shapes[right].columns == "1" and self.knows(right, "label"):
                return self.number(1)
            if self.knows(right, "label-columns"):
                return self.ones(Shape("1", self.shapes[right].columns))
        if other.operation == "ones" and self.shapes[right].columns == "1":
            if one_row(self.shapes[left]) and self.knows(left, "label"):
                return self.number(1)
            if self.knows(left, "label-rows"):
                return self.ones(Shape(self.shapes[left].rows, "1"))
        if one.operation == "kron" and other.operation == "kron":
            (a, b), (c, d) = one.inputs, other.inputs
            if self.shapes[a].columns == self.shapes[c].rows and self.shapes[b].columns == self.shapes[d].rows:
                return self.kron(self.product((a, c)), self.product((b, d)))
        if one.operation == "commutation" and other.operation == "commutation" and one.name.split(",")[::-1] == other.name.split(","):
            return self.identity(self.shapes[left].rows)
        if one.operation == "commutation" and other.operation == "vec":
            return self.vec(self.transpose(other.inputs[0]))
        if one.operation == "commutation" and other.operation == "kron" and self.shapes[right].columns == "1":
            return self.kron(other.inputs[1], other.inputs[0])
        if one.operation == "transpose" and one_row(self.shapes[left]) and self.shapes[right].columns == "1":
            return self._cancel_inner(one.inputs[0], right)
        return None

    def _join_transposed(self, left: int, right: int) -> int | None:
        """Aᵀ Bᵀ where one is the inverse of the other."""
        one, other = self._seen[left], self._seen[right]
        if (one.operation == "inverse" and one.inputs[0] == right) or (other.operation == "inverse" and other.inputs[0] == left):
            return self.identity(self.shapes[left].rows)
        return None

    def _cancel_inner(self, left: int, right: int) -> int | None:
        """Aᵀ (b ⊙ a⁻¹) = 1ᵀ b, for columns."""
        powers = self._powers(right)
        if powers.get(left) != -1:
            return None
        rest = self.hadamard((left, right))
        return self.product((self.ones(Shape("1", self.shapes[left].rows)), rest))

    # --- entry by entry ---

    def _powers(self, node: int) -> dict[int, Fraction]:
        """The factors of an entrywise product with their exponents."""
        found: dict[int, Fraction] = {}
        step = self._seen[node]
        for factor in step.inputs if step.operation == "hadamard" else (node,):
            inner = self._seen[factor]
            if inner.operation == "power":
                base, exponent = inner.inputs[0], inner.coefficients[0]
            else:
                base, exponent = factor, ONE
            _raise(found, base, exponent)
        return found

    def hadamard(self, factors: Iterable[int]) -> int:
        """The entrywise product; numbers and scalars come to the front, equal factors become powers."""
        number, scalars = ONE, list[int]()
        powers: dict[int, Fraction] = {}
        shape = SCALAR
        stack = list(factors)[::-1]
        while stack:
            node = stack.pop()
            if self.shapes[node] == SCALAR:
                scalars.append(node)
                continue
            shape = self.shapes[node]
            step = self._seen[node]
            operation = step.operation
            if operation == "sum" and len(step.inputs) == 1:
                number *= step.coefficients[0]
                stack.append(step.inputs[0])
            elif operation == "hadamard":
                stack.extend(reversed(step.inputs))
            elif operation == "scale":
                scalars.append(step.inputs[0])
                stack.append(step.inputs[1])
            elif operation == "zeros":
                number = ZERO
            elif operation == "power":
                _raise(powers, step.inputs[0], step.coefficients[0])
            elif operation != "ones":
                _raise(powers, node, ONE)
        if shape == SCALAR:
            result = self.number(1)
        elif not number:
            return self.zeros(shape)
        else:
            self._cancel_signs(powers)
            shorter = self._multiply_out(powers, shape)
            if shorter is not None:
                for scalar in reversed(scalars):
                    shorter = self.scale(scalar, shorter)
                return self.multiple(number, shorter)
            kept = [base if exponent is ONE else self.power(base, exponent) for base, exponent in powers.items() if exponent]
            result = self._entrywise(kept, shape)
        for scalar in reversed(scalars):
            result = self.scale(scalar, result)
        return self.multiple(number, result)

    def _entrywise(self, kept: list[int], shape: Shape) -> int:
        if not kept:
            return self.ones(shape)
        if len(kept) == 1:
            return kept[0]
        for k, node in enumerate(kept):
            if self._seen[node].operation == "identity":  # I ⊙ A keeps the diagonal
                rest = self.hadamard([*kept[:k], *kept[k + 1 :]])
                return self.diag(self.diagonal(rest))
        return self.add("hadamard", shape, tuple(kept))

    def power(self, node: int, exponent: Fraction) -> int:
        """Every entry to a power."""
        if exponent == 1:
            return node
        if not exponent:
            return self.ones(self.shapes[node])
        step = self._seen[node]
        whole = exponent.denominator == 1
        if step.operation == "ones" or (step.operation == "number" and step.coefficients[0] == 1):
            return node
        if step.operation == "number" and whole and (step.coefficients[0] or exponent > 0):
            return self.number(step.coefficients[0] ** int(exponent))
        if step.operation == "power" and whole:
            return self.power(step.inputs[0], exponent * step.coefficients[0])
        if self.is_scalar(node) and step.operation in ("scale", "sum") and whole:
            number, powers = self.monomial(node)
            return self.from_monomial(number ** int(exponent), {base: own * exponent for base, own in powers.items()})
        if step.operation == "sum" and len(step.inputs) == 1 and whole:
            return self.multiple(step.coefficients[0] ** int(exponent), self.power(step.inputs[0], exponent))
        if step.operation == "hadamard" and whole:
            return self.hadamard([self.power(factor, exponent) for factor in step.inputs])
        return self.add("power", self.shapes[node], (node,), "", (exponent,))

    def apply(self, name: str, node: int, order: int = 0) -> int:
        """An elementwise function or its derivative of an order."""
        return self.add("apply", self.shapes[node], (node,), name, (Fraction(order),) if order else ())

    def indicator(self, node: int) -> int:
        """1 where an entry is positive."""
        return self.add("indicator", self.shapes[node], (node,), ">")

    # --- matrices ---

    def transpose(self, node: int) -> int:
        """The transpose."""
        known = self._transposes.get(node)
        if known is None:
            known = self._transposes[node] = self._transpose(node)
            self._transposes.setdefault(known, node)
        return known

    def _transpose(self, node: int) -> int:
        shape = self.shapes[node]
        if shape == SCALAR:
            return node
        step = self._seen[node]
        turned = Shape(shape.columns, shape.rows)
        operation = step.operation
        if operation == "transpose":
            return step.inputs[0]
        if operation in ("identity", "diag") or self.knows(node, "symmetric"):
            return node
        if operation == "inverse" and self.knows(step.inputs[0], "symmetric"):
            return node
        if operation in ("ones", "zeros"):
            return self.add(operation, turned)
        if operation == "sum" and len(step.inputs) == 1:
            return self.multiple(step.coefficients[0], self.transpose(step.inputs[0]))
        if operation == "sum" and len(step.inputs) <= FEW:
            terms = [self._seen[term] for term in step.inputs]
            turns = sum(term.operation == "transpose" for term in terms)
            if shape.rows == shape.columns or 2 * turns >= len(terms):
                swapped = [(coefficient, self.transpose(term)) for coefficient, term in zip(step.coefficients, step.inputs, strict=True)]
                if set(swapped) == set(zip(step.coefficients, step.inputs, strict=True)):
                    return node
                if 2 * turns >= len(terms):
                    return self.sum(swapped, turned)
        if operation == "scale":
            return self.scale(step.inputs[0], self.transpose(step.inputs[1]))
        if operation == "product":
            return self.product([self.transpose(factor) for factor in reversed(step.inputs)])
        if operation == "hadamard" and all(self._seen[factor].operation == "transpose" for factor in step.inputs):
            return self.hadamard([self.transpose(factor) for factor in step.inputs])
        if operation == "kron":
            return self.kron(*[self.transpose(factor) for factor in step.inputs])
        if operation in ("beside", "below"):
            parts = tuple([self.transpose(factor) for factor in step.inputs])
            return self.add("below" if operation == "beside" else "beside", turned, parts)
        if operation == "commutation":
            return self.add("commutation", turned, (), ",".join(step.name.split(",")[::-1]))
        if operation == "gradient" and shape.columns == "1":
            return self.add("partial", turned, step.inputs, step.name, step.coefficients)
        if operation == "partial" and shape.rows == "1":
            return self.add("gradient", turned, step.inputs, step.name, step.coefficients)
        if operation == "curvature":
            return self.add("curvature", turned, step.inputs, step.name, step.coefficients[::-1])
        return self.add("transpose", turned, (node,))

    def inverse(self, node: int) -> int:
        """The inverse of a square matrix."""
        step = self._seen[node]
        if self.is_scalar(node):
            return self.power(node, -ONE)
        if step.operation in ("inverse", "identity"):
            return step.inputs[0] if step.inputs else node
        if step.operation == "transpose":
            return self.transpose(self.inverse(step.inputs[0]))
        if step.operation == "sum" and len(step.inputs) == 1:
            return self.multiple(1 / step.coefficients[0], self.inverse(step.inputs[0]))
        return self.add("inverse", self.shapes[node], (node,))

    def trace(self, node: int) -> int:
        """The trace."""
        if self.is_scalar(node):
            return node
        coefficient, core = self.split(node)
        step = self._seen[core]
        if step.operation == "identity":
            return self.multiple(coefficient, self.dimension(self.shapes[core].rows))
        if step.operation == "scale":
            return self.multiple(coefficient, self.scale(step.inputs[0], self.trace(step.inputs[1])))
        if step.operation == "zeros":
            return self.number(0)
        return self.multiple(coefficient, self.add("trace", SCALAR, (core,)))

    def inner(self, one: int, other: int) -> int:
        """⟨A, B⟩ = tr(Aᵀ B)."""
        shape = self.shapes[one]
        if shape == SCALAR:
            return self.scale(one, other)
        if shape.columns == "1":
            return self.product((self.transpose(one), other))
        if shape.rows == "1":
            return self.product((one, self.transpose(other)))
        for a, b in ((one, other), (other, one)):
            if self._seen[a].operation == "ones":
                return self.product((self.ones(Shape("1", shape.rows)), b, self.ones(Shape(shape.columns, "1"))))
        return self.trace(self.product((self.transpose(one), other)))

    def diag(self, node: int) -> int:
        """The diagonal matrix of a column."""
        size = self.shapes[node].rows
        coefficient, core = self.split(node)
        step = self._seen[core]
        if size == "1":
            return node
        if step.operation == "ones":
            result = self.identity(size)
        elif step.operation == "zeros":
            result = self.zeros(Shape(size, size))
        elif step.operation == "scale":
            result = self.scale(step.inputs[0], self.diag(step.inputs[1]))
        elif step.operation == "diagonal" and self._seen[step.inputs[0]].operation == "diag":
            result = step.inputs[0]
        else:
            result = self.add("diag", Shape(size, size), (core,))
        return self.multiple(coefficient, result)

    def diagonal(self, node: int) -> int:
        """The diagonal of a square matrix as a column."""
        coefficient, core = self.split(node)
        step = self._seen[core]
        if self.is_scalar(node):
            return node
        column = Shape(self.shapes[core].rows, "1")
        if step.operation == "diag":
            result = step.inputs[0]
        elif step.operation == "identity" or step.operation == "ones":
            result = self.ones(column)
        elif step.operation == "zeros":
            result = self.zeros(column)
        elif step.operation == "scale":
            result = self.scale(step.inputs[0], self.diagonal(step.inputs[1]))
        elif step.operation == "product" and len(step.inputs) == 2 and self.shapes[step.inputs[0]].columns == "1":
            result = self.hadamard((step.inputs[0], self.transpose(step.inputs[1])))
        else:
            result = self.add("diagonal", column, (core,))
        return self.multiple(coefficient, result)

    def kron(self, one: int, other: int) -> int:
        """The Kronecker product."""
        if self.is_scalar(one):
            return self.scale(one, other)
        if self.is_scalar(other):
            return self.scale(other, one)
        first, one = self.split(one)
        second, other = self.split(other)
        a, b = self._seen[one], self._seen[other]
        if a.operation == "scale":
            return self.multiple(first * second, self.scale(a.inputs[0], self.kron(a.inputs[1], other)))
        if b.operation == "scale":
            return self.multiple(first * second, self.scale(b.inputs[0], self.kron(one, b.inputs[1])))
        (m, n), (p, q) = self.shapes[one], self.shapes[other]
        shape = Shape(size_product(m, p), size_product(n, q))
        if "zeros" in (a.operation, b.operation):
            return self.zeros(shape)
        if a.operation == b.operation == "identity":
            result = self.identity(shape.rows)
        elif a.operation == b.operation == "ones":
            result = self.ones(shape)
        else:
            result = self.add("kron", shape, (one, other))
        return self.multiple(first * second, result)

    def vec(self, node: int) -> int:
        """The columns of a matrix below each other."""
        shape = self.shapes[node]
        if shape.columns == "1":
            return node
        if shape.rows == "1":
            return self.transpose(node)
        coefficient, core = self.split(node)
        step = self._seen[core]
        column = Shape(size_product(shape.rows, shape.columns), "1")
        if step.operation == "reshape":
            result = step.inputs[0]
        elif step.operation in ("ones", "zeros"):
            result = self.add(step.operation, column)
        elif step.operation == "scale":
            result = self.scale(step.inputs[0], self.vec(step.inputs[1]))
        elif step.operation == "product" and self._outer_cut(step.inputs):
            cut = self._outer_cut(step.inputs)
            left, right = self.product(step.inputs[:cut]), self.product(step.inputs[cut:])
            result = self.kron(self.transpose(right), left)
        else:
            result = self.add("vec", column, (core,))
        return self.multiple(coefficient, result)

    def _outer_cut(self, factors: Sequence[int]) -> int:
        """Where a product parts into a column and a row, 0 if nowhere."""
        return next((k for k in range(1, len(factors)) if self.shapes[factors[k]].rows == "1"), 0)

    def reshape(self, node: int, shape: Shape) -> int:
        """The matrix of a shape whose ``vec`` a column is."""
        if shape == self.shapes[node]:
            return node
        if shape.columns == "1":
            return node
        if shape.rows == "1":
            return self.transpose(node)
        coefficient, core = self.split(node)
        step = self._seen[core]
        if step.operation == "vec" and self.shapes[step.inputs[0]] == shape:
            result = step.inputs[0]
        elif step.operation in ("ones", "zeros"):
            result = self.add(step.operation, shape)
        elif step.operation == "scale":
            result = self.scale(step.inputs[0], self.reshape(step.inputs[1], shape))
        elif step.operation == "kron" and (self.shapes[step.inputs[1]].rows, self.shapes[step.inputs[0]].rows) == shape:
            result = self.product((step.inputs[1], self.transpose(step.inputs[0])))
        else:
            result = self.add("reshape", shape, (core,))
        return self.multiple(coefficient, result)

    def beside(self, parts: Sequence[int]) -> int:
        """Blocks in one row."""
        return self._blocks("beside", parts)

    def below(self, parts: Sequence[int]) -> int:
        """Blocks in one column."""
        return self._blocks("below", parts)

    def _blocks(self, operation: str, parts: Sequence[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        shapes = [self.shapes[part] for part in parts]
        if operation == "beside":
            shape = Shape(shapes[0].rows, size_sum([each.columns for each in shapes]))
        else:
            shape = Shape(size_sum([each.rows for each in shapes]), shapes[0].columns)
        if all(self._seen[part].operation == "zeros" for part in parts):
            return self.zeros(shape)
        return self.add(operation, shape, tuple(parts))

    def commutation(self, rows: str, columns: str) -> int:
        """K with K vec A = vec Aᵀ for A of rows x columns."""
        size = size_product(rows, columns)
        if rows == "1" or columns == "1":
            return self.identity(size)
        return self.add("commutation", Shape(size, size), (), f"{rows},{columns}")

    def embedding(self, size: str) -> int:
        """E with E v = vec diag(v)."""
        return self.number(1) if size == "1" else self.add("embedding", Shape(size_product(size, size), size), (), size)


def _key(operation: str, shape: Shape, inputs: tuple[int, ...], name: str, coefficients: tuple[Fraction, ...]) -> tuple[object, ...]:
    """What equal steps have in common; hashing a fraction is slow."""
    if coefficients:
        numbers = [number for coefficient in coefficients for number in coefficient.as_integer_ratio()]
        return (operation, inputs, name, shape, *numbers) if operation in _SHAPED else (operation, inputs, name, *numbers)
    return (operation, inputs, name, shape) if operation in _SHAPED else (operation, inputs, name)


def _raise(powers: dict[int, Fraction], base: int, exponent: Fraction) -> None:
    """Multiply a product of powers by one more."""
    known = powers.get(base)
    powers[base] = exponent if known is None else known + exponent


def one_row(shape: Shape) -> bool:
    """Whether a shape is a row of several entries."""
    return shape.rows == "1" and shape.columns != "1"


def size_product(one: str, other: str) -> str:
    """The product of two sizes, as text.

    >>> size_product("m", "n"), size_product("2", "3"), size_product("1", "m+n"), size_product("k", "m+n")
    ('m*n', '6', 'm+n', 'k*(m+n)')
    """
    if one == "1" or other == "1":
        return other if one == "1" else one
    if one.isdecimal() and other.isdecimal():
        return str(int(one) * int(other))
    return "*".join(f"({size})" if "+" in size else size for size in (one, other))


def size_sum(sizes: Iterable[str]) -> str:
    """The sum of sizes, as text.

    >>> size_sum(["m", "2", "n", "3"])
    'm+n+5'
    """
    number = 0
    parts = []
    for size in sizes:
        if size.isdecimal():
            number += int(size)
        else:
            parts.append(size)
    return "+".join([*parts, str(number)] if number or not parts else parts)
