"""Read a printed derivation and compute with it: the LaTeX is parsed, its factors are looked up, its products multiplied.

A page that prints a wrong order, transpose, sign or bracket gives a wrong matrix here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import sympy

from jacobian_chain.errors import ReadingError, Source
from jacobian_chain.maps import Map
from jacobian_chain.notation import Page
from jacobian_chain.syntax import Node, Program, read_expression

Lookup = Callable[[Map], sympy.Matrix]


def read_block(page: Page, latex: str, lookup: Lookup, scalars: dict[str, sympy.Expr], size: int) -> sympy.Matrix:
    """The matrix that a printed block means; ``lookup`` gives the matrix of a factor, ``size`` that of a lone I."""
    program = read_expression(Source(latex), {*(name for name in page.tape.names if name), "I"}, page.tape.layers())
    return _Reader(page, program, latex, lookup, scalars, size).value(len(program.nodes) - 1)


class _Reader:
    def __init__(self, page: Page, program: Program, latex: str, lookup: Lookup, scalars: dict[str, sympy.Expr], size: int) -> None:
        self.page, self.program, self.latex = page, program, latex
        self.lookup, self.scalars, self.size = lookup, scalars, size

    def value(self, index: int) -> sympy.Matrix | sympy.Expr:
        node = self.program.nodes[index]
        if node.kind == "product":
            return self.product(self.flat(index))
        if node.kind in ("add", "subtract"):
            left, right = (self.value(arg) for arg in node.args)
            left, right = self.sized(left, right), self.sized(right, left)
            return left + right if node.kind == "add" else left - right
        if node.kind == "negate":
            return -self.value(node.args[0])
        if node.kind == "number":
            return sympy.Rational(node.value)
        if node.kind == "name" and node.value == "I":
            return sympy.eye(self.size) if len(self.program.nodes) == 1 else sympy.Symbol("I_", commutative=True)
        if node.kind == "name" and node.value in self.scalars:
            return self.scalars[node.value]
        if node.kind == "transpose":
            inner = self.program.nodes[node.args[0]]
            if self.is_unit(node.args[0]):
                return self.factor([index])
            value = self.value(node.args[0])
            assert not inner.value
            return value.T if isinstance(value, sympy.MatrixBase) else value
        if node.kind == "divide" and self.program.nodes[node.args[0]].kind == "number":
            return self.value(node.args[0]) / self.value(node.args[1])
        return self.factor([index])

    def sized(self, value: sympy.Matrix | sympy.Expr, other: sympy.Matrix | sympy.Expr) -> sympy.Matrix | sympy.Expr:
        """A multiple of I beside a matrix gets that matrix's size."""
        unit = sympy.Symbol("I_", commutative=True)
        if not isinstance(value, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase):
            assert value.has(unit) or other.shape == (1, 1), "a number stands beside a matrix"
            return sympy.eye(other.rows) * value.subs(unit, 1)
        return value

    def product(self, units: list[list[int]]) -> sympy.Matrix | sympy.Expr:
        result: sympy.Matrix | sympy.Expr = sympy.Integer(1)
        for unit in units:
            value = self.factor(unit) if len(unit) > 1 else self.value(unit[0])
            result = result * value
        return result

    def flat(self, index: int) -> list[list[int]]:
        """The factors of a product, an operator together with its operand and point."""
        items: list[int] = []
        stack = [index]
        while stack:
            at = stack.pop()
            node = self.program.nodes[at]
            if node.kind == "product" and (at == index or not self.is_bracketed(node)):
                stack.extend(reversed(node.args))
            else:
                items.append(at)
        units: list[list[int]] = []
        for item in items:
            node = self.program.nodes[item]
            before = self.program.nodes[units[-1][-1]] if units else None
            operand = before is not None and len(units[-1]) == 1 and self.is_operator(before)
            if operand or (units and self.is_point(node) and self.takes_point(units[-1][-1])):
                units[-1].append(item)
            else:
                units.append([item])
        return units

    def is_unit(self, index: int) -> bool:
        """Whether a bracketed product is one factor: an operator, its operand, perhaps a point."""
        node = self.program.nodes[index]
        return node.kind == "divide" or (node.kind == "product" and len(self.flat(index)) == 1)

    def is_operator(self, node: Node) -> bool:
        return node.kind == "name" and re.match(r"J|∇|∂\d", node.value) is not None

    def is_point(self, node: Node) -> bool:
        if node.kind == "tuple":
            return True
        return node.kind == "name" and self.is_bracketed(node)

    def takes_point(self, index: int) -> bool:
        """Whether brackets that follow hold an evaluation point: after (J f) and after a fraction."""
        node = self.program.nodes[index]
        return node.kind == "divide" or (self.is_bracketed(node) and node.kind == "product" and self.is_unit(index))

    def is_bracketed(self, node: Node) -> bool:
        kinds = self.program.tokens.kinds
        if kinds[node.start] != "(" or kinds[node.end - 1] != ")":
            return False
        depth = 0
        for k in range(node.start, node.end):
            depth += (kinds[k] == "(") - (kinds[k] == ")")
            if depth == 0:
                return k == node.end - 1
        return False

    def factor(self, unit: list[int]) -> sympy.Matrix | sympy.Expr:
        tokens = self.program.tokens
        first, last = self.program.nodes[unit[0]], self.program.nodes[unit[-1]]
        start = tokens.starts[first.start]
        font = "\\operatorname{"  # the braces of a font are no tokens
        if self.latex[:start].endswith(font):
            start -= len(font)
        text = self.latex[start : tokens.ends[last.end - 1]]
        try:
            node = self.page.read(text)
        except ReadingError as error:
            value = self.scalars.get(f"value:{text}")
            if value is None:
                raise AssertionError(f"cannot read {text!r} in {self.latex!r}: {error}") from error
            return value
        matrix = self.lookup(node)
        return matrix.T if node.adjoint else matrix
