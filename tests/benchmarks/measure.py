"""One measurement in this process, printed as a line of JSON: ``measure.py chain|loss|residual|join N [--shared] [--deepest]``.

``parse``, ``derive`` and ``print`` are seconds from text to LaTeX, modules imported beforehand; ``chars`` is the length of what came out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time

from jacobian_chain.interface import derive, parse

LAYERS = {"chain": "x{k} = L{k}(x{j}, θ{k})", "residual": "x{k} = x{j} + f{k}(x{j}, θ{k})"}


def composition(kind: str, count: int) -> str:
    """The text of ``count`` layers; ``loss`` is a chain with a scalar at its end."""
    equation = LAYERS["chain" if kind == "loss" else kind]
    lines = [equation.format(k=k, j=k - 1) for k in range(1, count + 1)]
    return "; ".join([*lines, f"L = ℓ(x{count})"] if kind == "loss" else lines)


def join_time(count: int) -> dict[str, float]:
    """Seconds of one ``"".join`` over the ready factors and separators of all blocks of a chain, the first in this process."""
    layers = [f"\\frac{{\\partial x_{{{k}}}}}{{\\partial x_{{{k - 1}}}}}" for k in range(count, 0, -1)]
    parameters = [f"\\frac{{\\partial x_{{{k}}}}}{{\\partial \\theta_{{{k}}}}}" for k in range(count, 0, -1)]
    pieces: list[str] = []
    for k, parameter in enumerate(parameters):
        for layer in layers[:k]:
            pieces += (layer, " ")
        pieces += (parameter, r" \,\big|\, ")
    start = time.perf_counter()
    joined = "".join(pieces)
    return {"print": time.perf_counter() - start, "chars": len(joined)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["chain", "loss", "residual", "join"])
    parser.add_argument("count", type=int)
    parser.add_argument("--shared", action="store_true", help="name every adjoint")
    parser.add_argument("--deepest", action="store_true", help="count the factors (I + …) of the deepest block too")
    options = parser.parse_args()
    if options.kind == "join":
        print(json.dumps(join_time(options.count)))
        return
    text = composition(options.kind, options.count)
    times = [time.perf_counter()]
    composed = parse(text)
    times.append(time.perf_counter())
    jacobian = derive(composed, wrt="θ")
    times.append(time.perf_counter())
    latex = jacobian.latex(notation="partial", shared=options.shared)
    times.append(time.perf_counter())
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    found = {**dict(zip(("parse", "derive", "print"), steps, strict=True)), "chars": len(latex)}
    if options.deepest:
        found["deepest"] = jacobian.blocks["θ1"].latex(notation="partial").count(r"\left( I +")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
