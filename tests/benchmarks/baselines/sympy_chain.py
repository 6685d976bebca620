"""SymPy hand pipeline for T1/T2: abstract chain L_n(...L_1(x,th_1)...,th_n), full block-row Jacobian J_theta.
usage: sympy_chain.py N [mode] [loss]
 mode = matmul  : one flat MatMul(*factors) per block (what a competent user writes)   [default]
        mul     : operator * accumulated right to left with a running suffix product (what most users write)
        first   : only the deepest block dL_n/dth_1
        shared  : O(n) equation list  G_k = G_{k+1} J_k ;  block_k = G_k B_k   (named intermediates)
        join    : like matmul, but printed by joining cached latex() of each factor (works round SymPy's quadratic MatMul printer)
        scalar  : sympy.diff of nested undefined scalar Functions, wrt theta_1 (the StackOverflow recipe)
 loss  = 'loss' puts a row vector dl/dx_n in front (T2, numerator layout) ; 'lossT' prints the transposes (denominator)
"""

import sys

from _common import *

tm = T()
import sympy as sp
from sympy import BlockMatrix, Function, MatMul, MatrixSymbol, Symbol, latex, symbols

tm.lap("import")
n = int(sys.argv[1])
mode = sys.argv[2] if len(sys.argv) > 2 else "matmul"
loss = sys.argv[3] if len(sys.argv) > 3 else ""
sys.setrecursionlimit(10**6)
if mode == "scalar":
    x = Symbol("x")
    th = symbols("theta1:%d" % (n + 1))
    f = x
    for k in range(n):
        f = Function("L%d" % (k + 1))(f, th[k])
    g = f.diff(th[0])
    tm.lap("derive")
    s = latex(g)
    tm.lap("print")
    dump(s)
    tm.done(s)
    sys.exit()
d = [Symbol("d_%d" % k, integer=True, positive=True) for k in range(n + 1)]
p = [None] + [Symbol("p_%d" % k, integer=True, positive=True) for k in range(1, n + 1)]
A = [None] + [MatrixSymbol(r"\frac{\partial L_{%d}}{\partial x_{%d}}" % (k, k - 1), d[k], d[k - 1]) for k in range(1, n + 1)]
B = [None] + [MatrixSymbol(r"\frac{\partial L_{%d}}{\partial \theta_{%d}}" % (k, k), d[k], p[k]) for k in range(1, n + 1)]
head = [MatrixSymbol(r"\frac{\partial \ell}{\partial x_{%d}}" % n, 1, d[n])] if loss else []


def fac(k):
    return head + [A[j] for j in range(n, k, -1)] + [B[k]]


if mode == "matmul":
    blocks = [MatMul(*fac(k)) if len(fac(k)) > 1 else fac(k)[0] for k in range(1, n + 1)]
elif mode == "mul":
    blocks = [None] * n
    G = head[0] if head else None
    for k in range(n, 0, -1):
        blocks[k - 1] = B[k] if G is None else G * B[k]
        G = A[k] if G is None else G * A[k]
elif mode == "join":
    pass
elif mode == "first":
    blocks = [MatMul(*fac(1))]
elif mode == "shared":
    out = []
    G = [None] * (n + 2)
    for k in range(n, 0, -1):
        G[k] = MatrixSymbol("G_{%d}" % k, 1 if loss else d[n], d[k])
    out.append((G[n], head[0] if head else sp.Identity(d[n])))
    for k in range(n - 1, 0, -1):
        out.append((G[k], MatMul(G[k + 1], A[k + 1])))
    for k in range(1, n + 1):
        out.append((MatrixSymbol(r"J_{\theta_{%d}}" % k, 1 if loss else d[n], p[k]), MatMul(G[k], B[k])))
    tm.lap("derive")
    s = "\n".join(latex(a) + " = " + latex(b) for a, b in out)
    tm.lap("print")
    dump(s)
    tm.done(s)
    sys.exit()
if mode == "join":
    blocks = [MatMul(*fac(k)) if len(fac(k)) > 1 else fac(k)[0] for k in range(1, n + 1)]
    tm.lap("derive")
    lx = {}

    def L(a):
        r = lx.get(a)
        if r is None:
            r = lx[a] = latex(a)
        return r

    s = (
        r"\left[\begin{matrix}"
        + " & ".join(" ".join(L(a) for a in (b.args if b.is_MatMul else (b,))) for b in blocks)
        + r"\end{matrix}\right]"
    )
    tm.lap("print")
    dump(s)
    tm.done(s)
    sys.exit()
if loss == "lossT":
    blocks = [b.T.doit() for b in blocks]
J = BlockMatrix([blocks]) if loss != "lossT" else BlockMatrix([[b] for b in blocks])
tm.lap("derive")
s = latex(J)
tm.lap("print")
dump(s)
tm.done(s)
