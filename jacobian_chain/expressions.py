"""A person's formula through concrete layers as it stands on the page: sums, products and functions in the order typed.

Nothing is decided here that needs shapes: whether ``*`` multiplies matrices or entries, how large an I is, in which layout a derivative
stands. That is found where a formula is evaluated (:mod:`jacobian_chain.appraisal`), in each layout by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jacobian_chain.layout import Layout
from jacobian_chain.tape import Tape
from jacobian_chain.tokens import Spelling


class Expression(NamedTuple):
    r"""One node of a formula; ``args`` are numbers of earlier nodes.

    ==================  =====================================================================================================
    ``kind``            means
    ==================  =====================================================================================================
    ``value``           the value ``value`` of the composition (a number of its tape)
    ``number``          the fraction ``value``
    ``constant``        ``pi`` or ``e``
    ``size``            the size ``value``, as text, as a number
    ``identity``        I, of the size ``value`` as text; of any size where that is empty
    ``ones``            a column of ones, of the size ``value`` as text; of any size where that is empty
    ``filled``          ones or zeros: ``value`` is (``ones`` | ``zeros``, rows, columns), sizes as text
    ``unit``            the column e_i: ``value`` is (i, size); i is a number or the name of an index, the size text or empty
    ``derivative``      the atom ``value`` of the solution
    ``layer``           the opaque layer ``value`` at ``args``
    ``layer_jacobian``  its derivative: ``value`` is (layer, slot, sign), the sign as of an atom
    ``sum``             of ``args``; ``value`` has 1 or -1 for each
    ``negate``          -
    ``product``         of ``args``; ``value`` has the sign before each but the first: ``""`` (nothing), ``·``, ``×``, ``*``, ``@``, ``/``
    ``elementwise``     the same with ``⊙``, ``∘``, ``.*``, ``./``, ``⊘``, ``⊗``
    ``fraction``        ``args[0]`` over ``args[1]``
    ``transpose``       ``value`` is ``'`` where it is written as a prime
    ``inverse``
    ``power``           ``value`` is (exponent, whether it is written as one of the entries, ``.^``)
    ``apply``           an elementwise function: ``value`` is (name, which derivative of it)
    ``call``            a function of arrays: ``value`` is (name, ``rows`` | ``columns`` | ``""``)
    ``norm``            ``value`` is its order as typed
    ``bars``            |a|: an absolute value, a norm or a determinant
    ``indicator``       1 where ``args[0]`` is above zero, else 0
    ``beside``          blocks in one row;  ``below`` in one column
    ``entry``           the entry of ``args[0]`` at the indices ``value``: numbers, counted from one, or names of indices
    ``indexed_sum``     of ``args[0]`` over the index ``value[0]``, from ``value[1]`` to ``value[2]`` (numbers, sizes as text, or empty)
    ``delta``           Kronecker's: 1 where the two indices ``value`` are equal
    ``components``      the array whose entries are ``args[0]``, with the indices ``value``: rows, columns
    ``name``            ``args[0]``, which the answer calls ``value`` (a spelling)
    ==================  =====================================================================================================

    ``start`` and ``end`` are where it stands in the answer as typed, -1 for what stands elsewhere.
    """

    kind: str
    args: tuple[int, ...] = ()
    value: object = None
    start: int = -1
    end: int = -1


class Expressions:
    """Nodes of formulas, to which more are added; equal formulas have one key wherever they stand.

    >>> formulas = Expressions()
    >>> x, y = formulas.add("value", value=0), formulas.add("value", value=0, start=4, end=5)
    >>> x == y, formulas.keys[x] == formulas.keys[y]
    (False, True)
    """

    def __init__(self) -> None:
        self.nodes: list[Expression] = []
        self.keys: list[int] = []
        self._known: dict[tuple[object, ...], int] = {}

    def add(self, kind: str, args: Sequence[int] = (), value: object = None, start: int = -1, end: int = -1) -> int:
        """A new node; its number."""
        node = Expression(kind, tuple(args), value, start, end)
        self.nodes.append(node)
        if kind == "name":  # a name for something is that thing
            self.keys.append(self.keys[args[0]])
        else:
            self.keys.append(self._known.setdefault((kind, value, *[self.keys[arg] for arg in args]), len(self._known)))
        return len(self.nodes) - 1

    def below(self, root: int) -> list[int]:
        """All nodes that a node is made of, itself last, each once and after its arguments."""
        found: dict[int, None] = {}
        stack = [(root, False)]
        while stack:
            at, seen = stack.pop()
            if seen:
                found[at] = None
            elif at not in found:
                stack.append((at, True))
                stack.extend((arg, False) for arg in reversed(self.nodes[at].args))
        return list(found)

    def replace(self, root: int, old: int, new: int) -> int:
        """The formula with one node replaced by another, wherever it stands (in a definition for all uses).

        >>> formulas = Expressions()
        >>> x, y = formulas.add("value", value=0), formulas.add("value", value=1)
        >>> turned = formulas.add("transpose", (x,))
        >>> formulas.nodes[formulas.replace(turned, x, y)].args == (y,)
        True
        """
        changed = {old: new}
        for at in self.below(root):
            node = self.nodes[at]
            if at != old and any(arg in changed for arg in node.args):
                changed[at] = self.add(node.kind, [changed.get(arg, arg) for arg in node.args], node.value, node.start, node.end)
        return changed.get(root, root)


class Derivative(NamedTuple):
    """A derivative that stands in an answer: an atom.

    Attributes:
        sign: how it is written: ``∂``, ``d``, ``∇``, ``J``, ``'``, or ``bar`` for names such as dW and W̄ that mean the derivative.
        of: the value that is differentiated.
        by: the values it is differentiated by; several make one block each.
        meanings: what it can mean, the likeliest first: ``partial`` (only what the equation of ``of`` shows), ``total``.
        turned: whether it is the gradient, in the shape of its variable, in every layout (True, as ∇), or as the layout says (None).
        on_vec: whether matrices are taken on ``vec``, as in ∂vec(Y)/∂vec(X).
    """

    sign: str
    of: int
    by: tuple[int, ...]
    meanings: tuple[str, ...]
    turned: bool | None = None
    on_vec: bool = False


class Target(NamedTuple):
    """What a left side names: d ``of`` / d ``by``, perhaps transposed; with ``indices``, entries of it (rows first, then columns)."""

    of: int
    by: tuple[int, ...]
    transposed: bool = False
    on_vec: bool = False
    indices: tuple[str | int, ...] = ()


class Statement(NamedTuple):
    """One chain of equalities: its sides from left to right, without the left side that only names.

    ``target`` is what the left side names, ``name`` what it calls the rest; ``links`` are the roots of the sides.
    """

    target: Target | None
    name: str
    links: tuple[int, ...]


class Solution(NamedTuple):
    """An answer that was read.

    Attributes:
        tape: the composition.
        formulas: all formulas of the answer.
        atoms: the derivatives in it, each once.
        statements: its lines.
        spellings: how values (by their number) are called in the answer, where that is not their own name.
        functions: how elementwise functions and layers (by their own names) are called in the answer, where it differs.
        text: the answer as typed.
        notes: choices made in reading.
        readings: readings of signs that the form of the text decides, see :class:`Setting`.
        has_wide_functions: whether a function without brackets takes a product, so that it could take the first factor only.
    """

    tape: Tape
    formulas: Expressions
    atoms: tuple[Derivative, ...]
    statements: tuple[Statement, ...]
    spellings: Mapping[int, Spelling]
    functions: Mapping[str, Spelling]
    text: str
    notes: tuple[str, ...]
    readings: frozenset[str] = frozenset()
    has_wide_functions: bool = False


class Setting(NamedTuple):
    """One way to read a solution.

    Attributes:
        layout: what derivatives mean.
        literal: whether J is the Jacobian in numerator layout whatever the layout.
        total: atoms whose second meaning is taken.
        readings: choices among readings that the shapes leave open, such as ``* entrywise``, ``⊗ outer``.
    """

    layout: Layout
    literal: bool = False
    total: frozenset[int] = frozenset()
    readings: frozenset[str] = frozenset()
