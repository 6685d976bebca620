"""An answer that is Python over arrays, as formulas: ``np.dot(dZ, A.T) / m``, ``dZ.sum(axis=1, keepdims=True)``.

Python's own grammar reads it; nothing of it is ever run. ``*`` and ``/`` go entry by entry with the broadcasting of NumPy.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from jacobian_chain.errors import LimitError, Place, ReadingError, Source, suggest
from jacobian_chain.expressions import Expressions

MAX_DIGITS = 40
"""Most characters of a number."""

MAX_CODE = 5_000
"""Longest line of code that is read."""

_CODE = re.compile(
    r"\b(?:np|numpy|jnp|torch|tf)\s*\.|\blen\(|\.shape\[|\.(?:dot|sum|mean|matmul|transpose|reshape|mm|t)\s*\(|\baxis\s*=|\bkeepdims\b"
)
_FOREIGN = re.compile(r"\\|\^|[⊙∘∂∇ᵀσ]")

MODULES = frozenset({"np", "numpy", "jnp", "torch", "tf", "F", "math", "nn"})

PRODUCTS = frozenset({"dot", "matmul", "mm", "bmm"})
ENTRYWISE = {
    "exp": "exp", "log": "log", "tanh": "tanh", "sinh": "sinh", "cosh": "cosh", "sin": "sin", "cos": "cos", "abs": "abs", "sign": "sign",
    "sigmoid": "sigmoid", "expit": "sigmoid", "relu": "relu", "erf": "erf", "softplus": "softplus", "gelu": "gelu", "silu": "silu",
}  # fmt: skip
"""Functions of arrays by their names in code, and here."""

REDUCTIONS = frozenset({"sum", "mean"})


class Words(NamedTuple):
    """What the names in code mean: the formula of one that stands somewhere; an elementwise function and which derivative; a size."""

    find: Callable[[str, int, int], int]
    function: Callable[[str], tuple[str, int]]
    size: Callable[[str, int | None], str]


def is_code(text: str) -> bool:
    """Whether a text looks like a line of code rather than a formula.

    >>> is_code("np.dot(dZ, A.T) / m"), is_code("x^T.T"), is_code("A.T * B")
    (True, False, False)
    """
    return _CODE.search(text) is not None and _FOREIGN.search(text) is None


def read_code(source: Source, formulas: Expressions, words: Words) -> list[tuple[str, int]]:
    """The statements of a text of code: the name that each binds, empty for none, and its formula.

    Args:
        source: the text.
        formulas: what they are added to.
        words: what its names mean.

    Raises:
        ReadingError: it is no such code.
    """
    if len(source.text) > MAX_CODE:
        raise LimitError(f"code of {len(source.text):,} characters is not read; the limit is {MAX_CODE:,}")
    text = "\n".join(line.strip() for line in source.text.strip().splitlines())
    text = re.sub(r"\blambda\b", _LAMBDA, text)  # a word of Python's own
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "msg", "it cannot be parsed")
        raise ReadingError(f"this looks like code, and {line}", Place(source, 0, len(source.text)), "write one expression a line") from None
    offset = len(source.text) - len(source.text.lstrip())
    return _Reader(source, text, offset, formulas, words).read(tree)


class _Reader:
    """Formulas of the nodes of a syntax tree, children first."""

    def __init__(self, source: Source, text: str, offset: int, formulas: Expressions, words: Words) -> None:
        self.source = source
        self.starts = [offset]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.lines = text.splitlines()
        self.formulas = formulas
        self.words = words
        self.bound: dict[str, int] = {}

    def read(self, tree: ast.Module) -> list[tuple[str, int]]:
        """All statements."""
        found: list[tuple[str, int]] = []
        for statement in tree.body:
            if isinstance(statement, ast.Expr):
                found.append(("", self.formula(statement.value)))
                continue
            name = self.bound_name(statement)
            if not name or not isinstance(statement, ast.Assign | ast.AugAssign):
                raise ReadingError("expected an expression, or name = expression", self.place(statement))
            root = self.formula(statement.value)
            if isinstance(statement, ast.AugAssign) and name in self.bound:
                start, end = self.span(statement)
                root = self.formulas.add("sum", (self.bound[name], root), (1, 1), start, end)
                found = [(other, bound) for other, bound in found if other != name]  # a sum under way claims nothing
            self.bound[name] = root
            found.append((name, root))
        if not found:
            raise ReadingError("the answer is empty", Place(self.source, 0, 0))
        return found

    def bound_name(self, statement: ast.stmt) -> str:
        """The name that a statement binds or adds to, empty if it does not."""
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            return self.name(statement.targets[0])
        is_sum = isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add)
        return self.name(statement.target) if isinstance(statement, ast.AugAssign) and is_sum else ""

    def name(self, node: ast.expr) -> str:
        """The name that a node is, perhaps of something in ``self``; else empty."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return node.attr
        return node.id if isinstance(node, ast.Name) else ""

    def place(self, node: ast.AST) -> Place:
        start, end = self.span(node)
        return Place(self.source, start, end)

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node stands, in code points."""
        row, last = getattr(node, "lineno", 1) - 1, getattr(node, "end_lineno", 1) - 1
        low = len(self.lines[row].encode()[: getattr(node, "col_offset", 0)].decode())
        high = len(self.lines[last].encode()[: getattr(node, "end_col_offset", 0)].decode())
        return self.starts[row] + low, self.starts[last] + high

    def formula(self, root: ast.expr) -> int:
        """A node as a formula."""
        done: dict[int, int] = {}
        stack: list[tuple[ast.expr, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            operands = self.operands(node)
            if ready:
                done[id(node)] = self.build(node, [done[id(operand)] for operand in operands])
            else:
                stack.append((node, True))
                stack += [(operand, False) for operand in reversed(operands)]
        return done[id(root)]

    def operands(self, node: ast.expr) -> list[ast.expr]:
        """The arrays that a node is made of."""
        if isinstance(node, ast.BinOp):
            return [node.left, node.right] if not isinstance(node.op, ast.Pow) else [node.left]
        if isinstance(node, ast.UnaryOp):
            return [node.operand]
        if isinstance(node, ast.Attribute):
            return [node.value] if not self.name(node) and node.attr in ("T", "mT") else []
        if isinstance(node, ast.Compare):
            return [node.left, *node.comparators]
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id == "len":
                return []
            if isinstance(function, ast.Attribute) and not self.is_module(function.value):
                arrays = [function.value]
                return arrays + (list(node.args) if function.attr in PRODUCTS else [])
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            return list(node.args[: 2 if name in PRODUCTS or name in _BINARY or name in ("outer", "kron") else 1])
        return []

    def is_module(self, node: ast.expr) -> bool:
        """Whether a node is the name of a library."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in MODULES

    def add(self, kind: str, args: Sequence[int], node: ast.expr, value: object = None) -> int:
        return self.formulas.add(kind, args, value, *self.span(node))

    def build(self, node: ast.expr, args: list[int]) -> int:
        """The formula of a node from those of its operands."""
        name = self.name(node)
        if name:
            return self.bound[name] if name in self.bound else self.words.find(name.replace(_LAMBDA, "lambda"), *self.span(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return self.add("number", (), node, self.number(node))
        if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            return self.add("transpose", args, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.add("negate", args, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
            return args[0]
        if isinstance(node, ast.BinOp):
            return self.binary(node, args)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self.compare(node, args)
        size = "" if isinstance(node, ast.Call) else self.size(node)
        if size:
            return self.add("size", (), node, size)
        if isinstance(node, ast.Call):
            return self.call(node, args)
        raise ReadingError(
            "this code is not read as a formula", self.place(node), "use arrays, + - * / @ **, .T, np.dot, np.sum and functions"
        )

    def size(self, node: ast.expr) -> str:
        """The size that ``len(x)``, ``x.size`` or ``x.shape[0]`` is, empty for anything else."""
        array: ast.expr = node
        axis: int | None = 0
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len" and len(node.args) == 1:
            array = node.args[0]
        elif isinstance(node, ast.Attribute) and node.attr == "size":
            array, axis = node.value, None
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            array, axis = node.value.value, int(self.number(node.slice))
        return self.words.size(self.name(array), axis) if array is not node and axis in (None, 0, 1, -1) else ""

    def binary(self, node: ast.BinOp, args: list[int]) -> int:
        if isinstance(node.op, ast.Add | ast.Sub):
            return self.add("sum", args, node, (1, -1 if isinstance(node.op, ast.Sub) else 1))
        if isinstance(node.op, ast.Pow):
            return self.add("power", args, node, (self.number(node.right), True))
        signs = {ast.Mult: "*", ast.Div: "/", ast.MatMult: "@"}
        sign = signs.get(type(node.op))
        if sign is None:
            raise ReadingError("this operator is not read", self.place(node))
        return self.add("product", args, node, (sign,))

    def number(self, node: ast.expr) -> Fraction:
        """A number that is written out."""
        sign: int | Fraction = 1
        while isinstance(node, ast.UnaryOp | ast.BinOp):
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                sign, node = -sign, node.operand
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant) and node.right.value:
                sign, node = sign / self.number(node.right), node.left
            else:
                break
        if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float) or isinstance(node.value, bool):
            raise ReadingError("expected a number", self.place(node))
        if abs(node.value) == float("inf") or len(repr(node.value)) > MAX_DIGITS:
            raise ReadingError("this number is too long", self.place(node), f"up to {MAX_DIGITS} digits")
        return sign * Fraction(repr(node.value))

    def compare(self, node: ast.Compare, args: list[int]) -> int:
        """``z > 0`` as an array of ones and zeros."""
        low, high = args if isinstance(node.ops[0], ast.Lt | ast.LtE) else args[::-1]
        if not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise ReadingError("this comparison is not read", self.place(node))
        lower = self.formulas.nodes[low]
        if lower.kind == "number" and not lower.value:
            return self.add("indicator", (high,), node)
        return self.add("indicator", (self.add("sum", (high, low), node, (1, -1)),), node)

    def call(self, node: ast.Call, args: list[int]) -> int:
        """A function or method."""
        function = node.func
        is_method = isinstance(function, ast.Attribute) and not self.is_module(function.value)
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        size = self.size(node)
        if size:
            return self.add("size", (), node, size)
        if not args:
            raise ReadingError(f"{name} has no arguments that can be read", self.place(node))
        extra = node.args[_most_arguments(name) - is_method :]
        if extra:
            raise ReadingError(f"{name} is not read with so many arguments", self.place(extra[0]))
        if name in ("power", "pow") and len(node.args) == 2 - is_method:
            return self.add("power", args, node, (self.number(node.args[-1]), True))
        if name in PRODUCTS and len(args) == 2:
            return self.add("product", args, node, ("@",))
        if name in _BINARY and len(args) == 2:
            return self.add("product", args, node, (_BINARY[name],))
        if name == "outer" and len(args) == 2:
            return self.add("product", (args[0], self.add("transpose", (args[1],), node)), node, ("@",))
        if name == "kron" and len(args) == 2:
            return self.add("call", args, node, ("kron", ""))
        if name in REDUCTIONS:
            return self.add("call", args, node, (name, self.direction(node, is_method)))
        if name in ENTRYWISE:
            return self.add("apply", args, node, (ENTRYWISE[name], 0))
        if name in ("square", "sqrt"):
            return self.add("power", args, node, (Fraction(2) if name == "square" else Fraction(1, 2), True))
        if name in ("transpose", "t"):
            return self.add("transpose", args, node)
        if name == "inv":
            return self.add("inverse", args, node)
        if name in ("maximum", "max") and len(node.args) == 2 and isinstance(node.args[0], ast.Constant) and not node.args[0].value:
            return self.add("apply", (self.formula(node.args[1]),), node, ("relu", 0))
        if name in ("diag", "trace", "det"):
            return self.add("call", args, node, ({"trace": "tr"}.get(name, name), ""))
        if name == "norm":
            return self.add("norm", args, node, "")
        if name in ("asarray", "array", "float64", "astype", "reshape", "copy"):
            return args[0]
        meant, order = self.words.function(name) if len(args) == 1 else ("", 0)
        if meant:
            return self.add("apply", args, node, (meant, order))
        known = [*ENTRYWISE, *PRODUCTS, *REDUCTIONS, *_BINARY, "outer", "square", "sqrt", "transpose", "diag", "maximum"]
        raise ReadingError(f"the function {name} is not read", self.place(function), suggest(name, known))

    def direction(self, node: ast.Call, is_method: bool) -> str:
        """Along which axis a reduction goes: 0 adds up each column, 1 each row."""
        given = [keyword.value for keyword in node.keywords if keyword.arg in ("axis", "dim")]
        given += node.args[0 if is_method else 1 :][:1]
        if not given:
            return ""
        axis = self.number(given[0])
        if axis not in (0, 1, -1, -2):
            raise ReadingError("expected the axis 0 or 1", self.place(given[0]))
        return "columns" if axis in (0, -2) else "rows"


def _most_arguments(name: str) -> int:
    """How many arguments by position a function is read with, the array of a method among them."""
    if name in ("asarray", "array", "astype", "reshape", "transpose", "inv", "diag", "permute"):
        return MAX_DIGITS  # what follows the array only says how it is kept
    return 2 if name in (*PRODUCTS, *REDUCTIONS, *_BINARY, "outer", "kron", "maximum", "max", "power", "pow") else 1


_LAMBDA = "lambd_"
_BINARY = {"multiply": "*", "divide": "/", "mul": "*"}
