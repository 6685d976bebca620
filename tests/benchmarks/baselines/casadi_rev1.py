"""CasADi, ONE shared reverse sweep, printed as a straight-line program (the fairest CasADi baseline).
usage: casadi_rev1.py N [opaque|mlp] [d=4].  F=Function([x,theta..],[loss]); F.reverse(1); print instructions (disp more=True)."""

import sys

from _common import *

tm = T()
import casadi as ca

tm.lap("import")
n = int(sys.argv[1])
mode = sys.argv[2] if len(sys.argv) > 2 else "opaque"
d = int(sys.argv[3]) if len(sys.argv) > 3 else 4
x = ca.MX.sym("x", d)
P = []
a = x
if mode == "opaque":
    X = ca.MX.sym("X", d)
    TH = ca.MX.sym("T", d)
    for k in range(1, n + 1):
        Lk = ca.Function("L%d" % k, [X, TH], [ca.tanh(X * TH)], {"never_inline": True})
        t = ca.MX.sym("theta%d" % k, d)
        P.append(t)
        a = Lk(a, t)
    L = ca.Function("ell", [X], [ca.sumsqr(X)], {"never_inline": True})(a)
else:
    y = ca.MX.sym("y", d)
    for k in range(1, n + 1):
        W = ca.MX.sym("W%d" % k, d, d)
        b = ca.MX.sym("b%d" % k, d)
        P += [W, b]
        z = W @ a + b
        a = ca.tanh(z) if k < n else z
    L = 0.5 * ca.sumsqr(a - y)
    P.append(y)
F = ca.Function("F", [x] + P, [L])
tm.lap("build")
R = F.reverse(1)
tm.lap("derive")
s = R.str(True)
tm.lap("print")
dump(s)
tm.done(s, n_instr=R.n_instructions())
