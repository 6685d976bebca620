"""The operations of concrete layers: one record each, with its differential as words of elementary maps.

``differential(at)`` gives d of the step's value by one of its inputs. Reading it as an adjoint, as a matrix or applied to a
direction is the business of :mod:`jacobian_chain.elementary`; no gradient is written down here or anywhere.

Elementwise functions have one record each too, with their slope.

Sources are those of :data:`SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.arrays import ONE, TWO, Arrays, size_product
from jacobian_chain.elementary import Elementary, Word
from jacobian_chain.errors import UnsupportedError
from jacobian_chain.tape import SCALAR, Shape, Step

HALF = Fraction(1, 2)
MINUS_ONE = -ONE

_SAME = [Word(())]
"""The differential of what is passed on."""


class At(NamedTuple):
    """Where a differential is taken: the value ``node`` that ``step`` computes, by its input ``slot``."""

    arrays: Arrays
    node: int
    step: Step
    slot: int

    @property
    def input(self) -> int:
        """The input that changes."""
        return self.step.inputs[self.slot]

    @property
    def domain(self) -> Shape:
        """Its shape."""
        return self.arrays.shapes[self.step.inputs[self.slot]]

    @property
    def codomain(self) -> Shape:
        """The shape of the value."""
        return self.arrays.shapes[self.node]

    def word(self, kind: str, node: int = -1) -> list[Word]:
        """One elementary map from the input to the value."""
        return [Word((Elementary(kind, self.domain, self.codomain, node),))]

    def entrywise(self, slope: int) -> list[Word]:
        """``slope`` ⊙ dX."""
        if self.domain == SCALAR:
            return self.word("times", slope)
        if self.arrays.is_one(slope):
            return _SAME
        return self.word("hadamard", slope)

    def between(self, left: int | None, right: int | None) -> list[Word]:
        """A dX B; a side that is None is not there."""
        shapes = self.arrays.shapes
        middle = domain = self.domain
        maps: tuple[Elementary, ...] = ()
        if right is not None:
            middle = Shape(domain.rows, shapes[right].columns)
            maps = (Elementary("right", domain, middle, right),)
        if left is not None:
            maps = (Elementary("left", middle, Shape(shapes[left].rows, middle.columns), left), *maps)
        return [Word(maps)]

    def inner(self, node: int) -> list[Word]:
        """tr(Aᵀ dX)."""
        return self.word("times" if self.domain == SCALAR else "inner", node)

    def jacobian(self, node: int) -> list[Word]:
        """J vec dX."""
        return self.word("jacobian", node)


class Operation(NamedTuple):
    """One operation.

    Attributes:
        name: as in :class:`jacobian_chain.tape.Step`.
        differential: the words of d value by d input.
        typed: how it is typed, with the inputs u, v, A, B.
        formula: its differential, as text.
        domain: where it is defined and differentiable; empty for everywhere.
        rule: the name of its rule of differentiation, for people.
        example: an equation whose last operation it is, with every shape declared, for tests.
        source: where the formula can be looked up.
    """

    name: str
    differential: Callable[[At], list[Word]]
    typed: str
    formula: str
    example: str
    source: str
    domain: str = ""
    rule: str = ""


def _sum(at: At) -> list[Word]:
    coefficient = at.step.coefficients[at.slot]
    return _SAME if coefficient == 1 else [Word((), coefficient)]


def _scale(at: At) -> list[Word]:
    other = at.step.inputs[1 - at.slot]
    if at.slot == 1 or at.codomain == SCALAR:
        return at.word("times", other)
    return at.word("spread", other)


def _product(at: At) -> list[Word]:
    arrays, inputs, k = at.arrays, at.step.inputs, at.slot
    left = arrays.product(inputs[:k]) if k else None
    right = arrays.product(inputs[k + 1 :]) if k + 1 < len(inputs) else None
    if at.domain == SCALAR:  # a 1 x 1 factor between a column and a row
        both = arrays.product([side for side in (left, right) if side is not None])
        return at.word("spread" if at.codomain != SCALAR else "times", both)
    return at.between(left, right)


def _hadamard(at: At) -> list[Word]:
    others = [source for slot, source in enumerate(at.step.inputs) if slot != at.slot]
    return at.entrywise(at.arrays.hadamard(others))


def _power(at: At) -> list[Word]:
    """The slope q u^(q-1); of a root in terms of its value, 1 / (2 √u)."""
    arrays, exponent = at.arrays, at.step.coefficients[0]
    slope = arrays.power(at.node, -ONE) if exponent == HALF else arrays.power(at.input, exponent - 1)
    return at.entrywise(arrays.multiple(exponent, slope))


def _apply(at: At) -> list[Word]:
    order = int(at.step.coefficients[0]) if at.step.coefficients else 0
    record = ELEMENTWISE.get(at.step.name)
    if record is None or order:
        return at.entrywise(at.arrays.apply(at.step.name, at.input, order + 1))
    return at.entrywise(record.slope(at.arrays, at.input, at.node))


def _inverse(at: At) -> list[Word]:
    return [word._replace(coefficient=-ONE) for word in at.between(at.node, at.node)]


def _det(at: At) -> list[Word]:
    arrays = at.arrays
    return at.inner(arrays.scale(at.node, arrays.transpose(arrays.inverse(at.input))))


def _sqnorm(at: At) -> list[Word]:
    return at.inner(at.arrays.multiple(TWO, at.input))


def _logsumexp(at: At) -> list[Word]:
    """The softmax of all entries: exp(U - f 1) of a matrix."""
    arrays = at.arrays
    if "1" in at.domain:
        return at.inner(arrays.add("softmax", at.domain, (at.input,), "columns" if at.domain.columns == "1" else "rows"))
    shifted = arrays.sum([(ONE, at.input), (-ONE, arrays.scale(at.node, arrays.ones(at.domain)))], at.domain)
    return at.inner(arrays.apply("exp", shifted))


def _softmax(at: At) -> list[Word]:
    """Along one entry the softmax is 1, and its differential 0."""
    along = at.domain.columns if at.step.name == "rows" else at.domain.rows
    return at.word("softmax", at.node) if along != "1" else []


def _cross_entropy(at: At) -> list[Word]:
    arrays = at.arrays
    p, y = at.step.inputs
    if at.slot == 0:
        return at.inner(arrays.multiple(-ONE, arrays.hadamard((y, arrays.power(p, -ONE)))))
    return at.inner(arrays.multiple(-ONE, arrays.apply("log", p)))


def _layernorm(at: At) -> list[Word]:
    """(I - 1 1ᵀ / n - y yᵀ / n) / s, with y the value and s the deviation."""
    arrays, size = at.arrays, at.domain.rows
    share = arrays.power(arrays.dimension(size), -ONE)
    one = arrays.ones(at.domain)
    row = arrays.transpose(one)
    mean = arrays.scale(share, arrays.product((row, at.input)))
    centered = arrays.sum([(ONE, at.input), (-ONE, arrays.scale(mean, one))], at.domain)
    deviation = arrays.power(arrays.scale(share, arrays.add("sqnorm", SCALAR, (centered,))), HALF)
    square = Shape(size, size)
    terms = [
        (ONE, arrays.identity(size)),
        (-ONE, arrays.scale(share, arrays.product((one, row)))),
        (-ONE, arrays.scale(share, arrays.product((at.node, arrays.transpose(at.node))))),
    ]
    return at.between(arrays.scale(arrays.power(deviation, -ONE), arrays.sum(terms, square)), None)


def _kron(at: At) -> list[Word]:
    """DA ⊗ B and A ⊗ dB, as products where the fixed factor is a column or row, else as an entrywise product of A ⊗ B's blocks."""
    arrays, slot = at.arrays, at.slot
    fixed = at.step.inputs[1 - slot]
    (m, n), (p, q) = at.domain, arrays.shapes[fixed]
    rows, columns = arrays.identity(m), arrays.identity(n)
    if q == "1":
        return at.between(arrays.kron(rows, fixed) if slot == 0 else arrays.kron(fixed, rows), None)
    if p == "1":
        return at.between(None, arrays.kron(columns, fixed) if slot == 0 else arrays.kron(fixed, columns))
    ones, down, across = arrays.ones(at.domain), arrays.ones(Shape(p, "1")), arrays.ones(Shape("1", q))
    if slot == 0:
        tiled, left, right = arrays.kron(ones, fixed), arrays.kron(rows, down), arrays.kron(columns, across)
    else:
        tiled, left, right = arrays.kron(fixed, ones), arrays.kron(down, rows), arrays.kron(across, columns)
    (spread,) = at.between(left, right)
    return [Word((Elementary("hadamard", at.codomain, at.codomain, tiled), *spread.maps))]


def _block(at: At) -> list[Word]:
    """The increment times the row (0 … I … 0), or the column."""
    arrays, beside = at.arrays, at.step.operation == "beside"
    shapes = [arrays.shapes[source] for source in at.step.inputs]
    own = at.domain.columns if beside else at.domain.rows
    parts = []
    for slot, shape in enumerate(shapes):
        size = shape.columns if beside else shape.rows
        between = Shape(own, size) if beside else Shape(size, own)
        parts.append(_unit(arrays, own) if slot == at.slot else arrays.add("zeros", between))
    if beside:
        return at.between(None, arrays.beside(parts))
    return at.between(arrays.below(parts), None)


def _unit(arrays: Arrays, size: str) -> int:
    """I as a block: 1 by 1 it is the number 1."""
    return arrays.identity(size)


def _layer(at: At) -> list[Word]:
    arrays, step = at.arrays, at.step
    slot = (Fraction(at.slot),)
    if at.codomain == SCALAR:
        return at.inner(arrays.add("gradient", at.domain, step.inputs, step.name, slot))
    rows, columns = (size_product(*shape) for shape in (at.codomain, at.domain))
    return at.jacobian(arrays.add("partial", Shape(rows, columns), step.inputs, step.name, slot))


def _gradient(at: At) -> list[Word]:
    """The second derivatives of a layer that gives a scalar."""
    arrays, step = at.arrays, at.step
    return curve(at, arrays.number(1), step.inputs, at.slot)


def curve(at: At, adjoint: int, inputs: tuple[int, ...], slot: int) -> list[Word]:
    """Σ λ_k ∂²g_k / ∂u_i ∂u_j as a map from the input ``slot`` to slot i, which ``at.step`` names."""
    arrays, own = at.arrays, int(at.step.coefficients[0])
    by, of = arrays.shapes[inputs[slot]], arrays.shapes[inputs[own]]
    shape = Shape(size_product(*of), size_product(*by))
    node = arrays.add("curvature", shape, (adjoint, *inputs), at.step.name, (Fraction(own), Fraction(slot)))
    if by == SCALAR:
        kind = "times" if of == SCALAR else "spread"
        return [Word((Elementary(kind, by, of, arrays.reshape(node, of)),))]
    if of == SCALAR:
        return [Word((Elementary("inner", by, of, arrays.reshape(arrays.transpose(node), by)),))]
    return [Word((Elementary("jacobian", by, of, node),))]


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("sum", _sum, "A + B, 2 A - B", "dA + dB, 2 dA - dB", "A: 2 x 3; B: 3 x 2; f = 2 A - B^T", "MC (35)", rule="the sum rule"),
        Operation("scale", _scale, "s A", "ds A + s dA", "s: scalar; A: 3 x 2; f = s A^T", "MC (34)", rule="the rule for a scalar factor"),
        Operation(
            "product",
            _product,
            "A X B",
            "dA X B + A dX B + A X dB",
            "A: 2 x 3; X: 3 x 4; B: 4 x 2; f = A X B",
            "MC (37)",
            rule="the rule for a matrix product",
        ),
        Operation(
            "hadamard",
            _hadamard,
            "A .* B",
            "dA ⊙ B + A ⊙ dB",
            "A: 2 x 3; B: 2 x 3; f = A .* B",
            "MC (38)",
            rule="the rule for an entrywise product",
        ),
        Operation(
            "power",
            _power,
            "A.^3, s^3, sqrt(s)",
            "3 A^⊙2 ⊙ dA",
            "A: 2 x 3; f = A.^3",
            "MN 8",
            "positive entries, or whole exponents and entries ≠ 0",
            rule="the power rule, entry by entry",
        ),
        Operation(
            "apply",
            _apply,
            "tanh(A), σ(A)",
            "σ'(A) ⊙ dA",
            "A: 2 x 3; f = σ(A)",
            "MN 8",
            rule="the chain rule for a function of every entry",
        ),
        Operation(
            "transpose", lambda at: at.word("transposition"), "A^T", "dAᵀ", "A: 2 x 3; f = A^T", "MC (44)", rule="the rule for a transpose"
        ),
        Operation("inverse", _inverse, "A^-1", "-A⁻¹ dA A⁻¹", "A: 3 x 3; f = A^-1", "MC (40)", "det A ≠ 0", rule="the rule for an inverse"),
        Operation(
            "trace",
            lambda at: at.inner(at.arrays.identity(at.domain.rows)),
            "tr(A)",
            "tr(dA)",
            "A: 3 x 3; f = tr(A)",
            "MC (36)",
            rule="the rule for a trace",
        ),
        Operation(
            "det", _det, "det(A)", "det(A) tr(A⁻¹ dA)", "A: 3 x 3; f = det(A)", "MC (42)", "det A ≠ 0", rule="the rule for a determinant"
        ),
        Operation(
            "logdet",
            lambda at: at.inner(at.arrays.transpose(at.arrays.inverse(at.input))),
            "logdet(A), log det A",
            "tr(A⁻¹ dA)",
            "A: 3 x 3; f = logdet(A)",
            "MC (43)",
            "det A ≠ 0; log of its absolute value",
            rule="the rule for the logarithm of a determinant",
        ),
        Operation(
            "sqnorm",
            _sqnorm,
            "||A||^2, ||A||_F^2",
            "2 tr(Aᵀ dA)",
            "A: 2 x 3; f = ||A||_F^2",
            "MC (132)",
            rule="the rule for a squared norm",
        ),
        Operation(
            "norm1",
            lambda at: at.inner(at.arrays.apply("sign", at.input)),
            "||v||_1",
            "sign(v)ᵀ dv",
            "v: 3; f = ||v||_1",
            "MN 8",
            "entries ≠ 0",
            rule="the rule for a 1-norm",
        ),
        Operation(
            "logsumexp",
            _logsumexp,
            "logsumexp(v)",
            "softmax(v)ᵀ dv",
            "v: 3; f = logsumexp(v)",
            "DLB 6.2.2",
            rule="the rule for log-sum-exp, whose gradient is the softmax",
        ),
        Operation(
            "softmax",
            _softmax,
            "softmax(v), softmax_rows(A), softmax_columns(A)",
            "(diag(p) - p pᵀ) dv with p the value, for each row or column",
            "A: 2 x 3; f = softmax_rows(A)",
            "DLB 6.2.2",
            rule="the rule for a softmax",
        ),
        Operation(
            "CE",
            _cross_entropy,
            "CE(p, y)",
            "-(y ⊘ p)ᵀ dp - log(p)ᵀ dy",
            "z: 3; y: 3 free; p = softmax(z); f = CE(p, y)",
            "DLB 6.2.2",
            "positive p",
            rule="the rule for a cross-entropy",
        ),
        Operation(
            "layernorm",
            _layernorm,
            "layernorm(v)",
            "(I - 1 1ᵀ/n - y yᵀ/n) dv / s with y the value, s the deviation",
            "v: 3; f = layernorm(v)",
            "Ba, Kiros & Hinton, Layer Normalization (2016)",
            "entries not all equal",
            rule="the rule for a layer normalisation",
        ),
        Operation(
            "diag", lambda at: at.word("diag"), "diag(v)", "diag(dv)", "v: 3; f = diag(v)", "MN 2", rule="the rule for a diagonal matrix"
        ),
        Operation(
            "diagonal",
            lambda at: at.word("diagonal"),
            "diag(A)",
            "diag(dA)",
            "A: 3 x 3; f = diag(A)",
            "MN 2",
            rule="the rule for a diagonal",
        ),
        Operation("vec", lambda at: at.word("reshape"), "vec(A)", "vec(dA)", "A: 2 x 3; f = vec(A)", "MN 2", rule="the rule for vec"),
        Operation(
            "reshape", lambda at: at.word("reshape"), "the inverse of vec", "the inverse of vec of dv", "", "MN 2", rule="the rule for vec"
        ),
        Operation(
            "kron",
            _kron,
            "kron(A, B), A ⊗ B",
            "dA ⊗ B + A ⊗ dB",
            "A: 2 x 3; B: 3 x 2; f = kron(A, B)",
            "MC (39)",
            rule="the rule for a Kronecker product",
        ),
        Operation("beside", _block, "[A, B]", "[dA, dB]", "A: 2 x 3; B: 2 x 4; f = [A, B]", "MN 1", rule="the rule for blocks"),
        Operation("below", _block, "[A; B]", "[dA; dB]", "A: 2 x 3; B: 4 x 3; f = [A; B]", "MN 1", rule="the rule for blocks"),
        Operation(
            "layer",
            _layer,
            "g(A, v), any other name",
            "J_A g dA + J_v g dv",
            "A: 2 x 3; v: 4; y: 5; y = g(A^T, v)",
            "MN 5",
            rule="the chain rule for an unspecified layer",
        ),
        Operation("gradient", _gradient, "the gradient of a layer", "∇²g dA", "", "MN 6"),
        Operation("indicator", lambda at: at.entrywise(at.arrays.zeros(at.domain)), "1[A > 0]", "0", "", "", "entries ≠ 0"),
    )
}
"""The operations by name; numbers and other constants have no differential."""


class Elementwise(NamedTuple):
    """An elementwise function; ``slope`` makes its derivative at the argument z, with the value a at hand.

    ``formula`` is the slope as text, ``kinks`` the arguments where there is none, with ``convention`` the value used there.
    ``definition`` is what a function that is no primitive of mathematics means, as text of the language in t.
    """

    name: str
    slope: Callable[[Arrays, int, int], int]
    formula: str
    definition: str = ""
    domain: str = ""
    kinks: tuple[int, ...] = ()
    convention: str = ""


def _combination(arrays: Arrays, terms: Sequence[tuple[Fraction | int, int]], like: int) -> int:
    return arrays.sum([(Fraction(number), node) for number, node in terms], arrays.shapes[like])


def _one_minus(arrays: Arrays, node: int) -> int:
    return arrays.sum([(ONE, arrays.number(1)), (MINUS_ONE, node)], arrays.shapes[node])


def _times(arrays: Arrays, *factors: int) -> int:
    if arrays.is_scalar(factors[0]):
        result = factors[0]
        for factor in factors[1:]:
            result = arrays.scale(result, factor)
        return result
    return arrays.hadamard(factors)


def _square(arrays: Arrays, node: int) -> int:
    return arrays.power(node, TWO)


def _elu(arrays: Arrays, z: int, a: int) -> int:
    positive = arrays.indicator(z)
    return _combination(arrays, ((1, positive), (1, _times(arrays, _one_minus(arrays, positive), arrays.apply("exp", z)))), z)


def _silu(arrays: Arrays, z: int, a: int) -> int:
    gate = arrays.apply("sigmoid", z)
    return _combination(arrays, ((1, gate), (1, _times(arrays, z, gate, _one_minus(arrays, gate)))), z)


def _gelu(arrays: Arrays, z: int, a: int) -> int:
    root = arrays.power(arrays.number(2), -HALF)
    share = arrays.apply("erf", arrays.scale(root, z))
    density = _gauss(arrays, z, Fraction(-1, 2))
    norm = arrays.power(arrays.multiple(Fraction(2), arrays.add("constant", SCALAR, (), "π")), -HALF)
    cumulative = _combination(arrays, ((HALF, arrays.number(1)), (HALF, share)), z)
    return _combination(arrays, ((1, cumulative), (1, arrays.scale(norm, _times(arrays, z, density)))), z)


def _gauss(arrays: Arrays, z: int, factor: Fraction) -> int:
    """exp(factor z²)."""
    return arrays.apply("exp", arrays.multiple(factor, _square(arrays, z)))


def _erf(arrays: Arrays, z: int, a: int) -> int:
    norm = arrays.power(arrays.add("constant", SCALAR, (), "π"), -HALF)
    return arrays.multiple(Fraction(2), arrays.scale(norm, _gauss(arrays, z, -ONE)))


ELEMENTWISE = {
    function.name: function
    for function in (
        Elementwise("exp", lambda f, z, a: a, "exp(z)"),
        Elementwise("log", lambda f, z, a: f.power(z, -ONE), "1/z", domain="z > 0"),
        Elementwise("sin", lambda f, z, a: f.apply("cos", z), "cos(z)"),
        Elementwise("cos", lambda f, z, a: f.multiple(-ONE, f.apply("sin", z)), "-sin(z)"),
        Elementwise("tan", lambda f, z, a: _combination(f, ((1, f.number(1)), (1, _square(f, a))), z), "1 + tan²(z)", domain="cos z ≠ 0"),
        Elementwise("sinh", lambda f, z, a: f.apply("cosh", z), "cosh(z)"),
        Elementwise("cosh", lambda f, z, a: f.apply("sinh", z), "sinh(z)"),
        Elementwise("tanh", lambda f, z, a: _one_minus(f, _square(f, a)), "1 - tanh²(z)"),
        Elementwise("sigmoid", lambda f, z, a: _times(f, a, _one_minus(f, a)), "σ(z) (1 - σ(z))", "1/(1 + exp(-t))"),
        Elementwise("relu", lambda f, z, a: f.indicator(z), "1[z > 0]", "max(0, t)", kinks=(0,), convention="0"),
        Elementwise(
            "leaky_relu",
            lambda f, z, a: _combination(f, ((Fraction(1, 100), f.number(1)), (Fraction(99, 100), f.indicator(z))), z),
            "0.01 + 0.99 1[z > 0]",
            "0.01 t + 0.99 max(0, t)",
            kinks=(0,),
            convention="0.01",
        ),
        Elementwise("elu", _elu, "1[z > 0] + (1 - 1[z > 0]) exp(z)", "t where t > 0, else exp(t) - 1"),
        Elementwise("softplus", lambda f, z, a: f.apply("sigmoid", z), "σ(z)", "log(1 + exp(t))"),
        Elementwise("silu", _silu, "σ(z) + z σ(z) (1 - σ(z))", "t/(1 + exp(-t))"),
        Elementwise("gelu", _gelu, "(1 + erf(z/√2))/2 + z exp(-z²/2)/√(2π)", "t (1 + erf(t/sqrt(2)))/2"),
        Elementwise("abs", lambda f, z, a: f.apply("sign", z), "sign(z)", kinks=(0,), convention="0"),
        Elementwise("sign", lambda f, z, a: f.zeros(f.shapes[z]), "0", kinks=(0,), convention="0"),
        Elementwise("erf", _erf, "2 exp(-z²)/√π"),
    )
}
"""The elementwise functions by name. Any other name is unspecified: its slope is σ'(z)."""


def differential(arrays: Arrays, node: int, slot: int) -> list[Word]:
    """The words of d node by its input ``slot``.

    Raises:
        UnsupportedError: third derivatives of a layer.
    """
    step = arrays.steps[node]
    record = OPERATIONS.get(step.operation)
    if record is None:
        raise UnsupportedError(f"not supported: the derivative of {step.name or step.operation} once more")
    return record.differential(At(arrays, node, step, slot))


SOURCES = (
    ("MC", "Petersen & Pedersen, The Matrix Cookbook (2012), by equation"),
    ("MN", "Magnus & Neudecker, Matrix Differential Calculus (3rd ed., 2019), by chapter"),
    ("DLB", "Goodfellow, Bengio & Courville, Deep Learning (2016), by section"),
)
"""What the sources of the records stand for."""


def describe_operations() -> list[tuple[str, list[tuple[str, ...]]]]:
    """The records as tables for people: a title, and rows of a name and facts.

    >>> [title for title, _ in describe_operations()]
    ['Operations', 'Elementwise functions', 'Sources']
    """
    operations: list[tuple[str, ...]] = []
    for record in OPERATIONS.values():
        if record.example:
            domain = f"; where {record.domain}" if record.domain else ""
            operations.append((record.name, record.typed, f"d = {record.formula}{domain}  [{record.source}]"))
    functions: list[tuple[str, ...]] = []
    for function in ELEMENTWISE.values():
        kinks = "".join(f"; at {kink} the slope is taken as {function.convention}" for kink in function.kinks)
        domain = f"; where {function.domain}" if function.domain else ""
        functions.append(
            (function.name, function.definition and f"value {function.definition}", f"slope {function.formula}{domain}{kinks}")
        )
    functions.append(("σ, φ, declared", "slope σ'(z)"))
    return [("Operations", operations), ("Elementwise functions", functions), ("Sources", list(SOURCES))]
