"""One measurement in this process, printed as a line of JSON: ``measure.py chain|loss|residual|mlp|join N [--shared] [--deepest]``.

``parse``, ``derive`` and ``print`` are seconds from text to LaTeX, modules imported beforehand; ``chars`` is the length of what came out.
``measure.py class|right|wrong N`` grades N answers to three-layer problems, ``class`` to one problem, else to another text each:
``build`` is the time for all. ``measure.py answers-right|answers-wrong N`` grades the first N such answers of the collected ones, each to
its own composition. ``measure.py told|told-network N [--page]`` tells backpropagation through N layers from their text, as LaTeX or as a
web page. ``measure.py small N`` derives and prints the five gradients of a two-layer network N times; ``build`` is the time for one, from
its text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

from jacobian_chain.articles import compose
from jacobian_chain.formats import write_article
from jacobian_chain.interface import derive, parse

LAYERS = {"chain": "x{k} = L{k}(x{j}, θ{k})", "residual": "x{k} = x{j} + f{k}(x{j}, θ{k})"}


def composition(kind: str, count: int) -> str:
    """The text of ``count`` layers; ``loss`` is a chain with a scalar at its end."""
    equation = LAYERS["chain" if kind == "loss" else kind]
    lines = [equation.format(k=k, j=k - 1) for k in range(1, count + 1)]
    return "; ".join([*lines, f"L = ℓ(x{count})"] if kind == "loss" else lines)


def network(count: int) -> str:
    """The text of a network of ``count`` affine layers with tanh between them and half a squared error at its end."""
    lines = ["h0: 4"]
    for k in range(1, count + 1):
        lines.append(f"z{k} = W{k} h{k - 1} + b{k}")
        if k < count:
            lines.append(f"h{k} = tanh(z{k})")
    return "; ".join([*lines, f"L = 1/2 ||z{count} - y||^2"])


SMALL = "z1 = W1 x + b1; h = tanh(z1); ŷ = W2 h + b2; L = 1/2 ||ŷ - y||^2"


def small_time(count: int) -> dict[str, float]:
    """Seconds for the five gradients of a two-layer network, the first time apart."""
    derive(SMALL, wrt=["W1", "b1", "W2", "b2", "x"], layout="mixed").latex()
    start = time.perf_counter()
    for _ in range(count):
        latex = derive(SMALL, wrt=["W1", "b1", "W2", "b2", "x"], layout="mixed").latex()
    return {"build": (time.perf_counter() - start) / count, "chars": len(latex)}


def telling_time(kind: str, count: int, page: bool) -> dict[str, float]:
    """Seconds from a text to its derivation in the order of backpropagation, once before for everything that is loaded."""

    def tell(layers: int) -> str:
        text = network(layers) if kind == "told-network" else composition("loss", layers)
        jacobian = derive(text, wrt=["W", "b"] if kind == "told-network" else "θ", layout="mixed")
        return write_article(compose([jacobian], steps="backprop"), "html" if page else "latex")

    tell(3)
    start = time.perf_counter()
    written = tell(count)
    return {"build": time.perf_counter() - start, "chars": len(written)}


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


RIGHT = (
    r"J_\theta f=\left ( J_{x^3}L^3\cdot J_{x^2}L^2\cdot J_{\theta^1}L^1 \middle | J_{x^3}L^3 \cdot J_{\theta^2}L^2 "
    r"\middle | J_{\theta^3}L^3\right )"
)
MISTAKES = (
    (r"J_{x^2}L^2\cdot ", ""),
    (r"J_{\theta^1}L^1", r"J_{\theta^2}L^1"),
    (r"J_{x^3}L^3\cdot J_{x^2}L^2", r"J_{x^2}L^2\cdot J_{x^3}L^3"),
    (r"\middle | J_{\theta^3}L^3", ""),
    (r"J_{x^2}L^2", r"(J_{x^2}L^2)^T"),
    (r"J_{x^2}L^2", r"(J_{x^2}L^2)(x,\theta^2)"),
    (r"J_{\theta^3}", r"2J_{\theta^3}"),
)


def grade_time(kind: str, count: int) -> dict[str, float]:
    """Seconds to judge answers, and how many are right; a comment in each problem makes it a text of its own."""
    from jacobian_chain.interface import judge_record

    answers = [RIGHT.replace(*MISTAKES[k % len(MISTAKES)], 1) if kind == "wrong" else RIGHT for k in range(count)]
    records = [
        {"composition": f"L3(L2(L1(x,θ1),θ2),θ3) # {0 if kind == 'class' else k}", "answer": answer, "wrt": "θ", "layout": "numerator"}
        for k, answer in enumerate(answers)
    ]
    judge_record({**records[0], "composition": "L3(L2(L1(x,θ1),θ2),θ3)"})
    start = time.perf_counter()
    verdicts = [judge_record(record)["verdict"] for record in records]
    return {"build": time.perf_counter() - start, "right": verdicts.count("correct")}


def answers_time(kind: str, count: int) -> dict[str, float]:
    """Seconds to judge real answers through concrete layers, and how many are right."""
    from jacobian_chain.interface import judge_record

    text = (Path(__file__).parent.parent / "cases" / "answers.jsonl").read_text(encoding="utf-8")
    cases = [case for case in map(json.loads, text.splitlines()) if not case["hard"]]
    wanted = [case for case in cases if (case["verdict"] == "correct") == (kind == "answers-right")][: count + 1]
    judge_record(wanted.pop())
    start = time.perf_counter()
    verdicts = [judge_record(case)["verdict"] for case in wanted]
    return {"build": time.perf_counter() - start, "right": verdicts.count("correct")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "kind",
        choices="chain loss residual mlp small join told told-network class right wrong answers-right answers-wrong".split(),
    )
    parser.add_argument("count", type=int)
    parser.add_argument("--shared", action="store_true", help="name every adjoint")
    parser.add_argument("--deepest", action="store_true", help="count the factors (I + …) of the deepest block too")
    parser.add_argument("--page", action="store_true", help="write a web page rather than LaTeX")
    options = parser.parse_args()
    if options.kind.startswith("told"):
        print(json.dumps(telling_time(options.kind, options.count, options.page)))
        return
    if options.kind in ("join", "small"):
        print(json.dumps({"join": join_time, "small": small_time}[options.kind](options.count)))
        return
    if options.kind.startswith("answers"):
        print(json.dumps(answers_time(options.kind, options.count)))
        return
    if options.kind in ("class", "right", "wrong"):
        print(json.dumps(grade_time(options.kind, options.count)))
        return
    concrete = options.kind == "mlp"
    text = network(options.count) if concrete else composition(options.kind, options.count)
    if concrete:
        from jacobian_chain import concrete as _  # noqa: F401  (loaded when first used)
        from jacobian_chain import language as __  # noqa: F401
    times = [time.perf_counter()]
    composed = parse(text)
    times.append(time.perf_counter())
    jacobian = derive(composed, wrt=["W", "b"] if concrete else "θ", layout="mixed" if concrete else "numerator")
    times.append(time.perf_counter())
    latex = jacobian.latex(notation=None if concrete else "partial", shared=options.shared)
    times.append(time.perf_counter())
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    found = {**dict(zip(("parse", "derive", "print"), steps, strict=True)), "chars": len(latex)}
    if options.deepest:
        found["deepest"] = jacobian.blocks["θ1"].latex(notation="partial").count(r"\left( I +")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
