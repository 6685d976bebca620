"""Speed as ratios to something measured in the same run: ``python tests/benchmarks/run.py [--baseline-python PATH] [-v]``.

What is compared takes turns, each time in a fresh process, and modules are imported before the clock starts. Absolute times mean
nothing and are shown only to make the ratios plausible. Exit status 1 if a ratio is over its bound.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SCRIPT = Path(sys.executable).parent / "jacobian-chain"
COLD = [str(SCRIPT), "derive", "L3(L2(L1(x,θ1),θ2),θ3)"]
COLD_CHECK = [str(SCRIPT), "check", "L3(L2(L1(x,θ1),θ2),θ3)", "J_{x^3}L^3 J_{x^2}L^2 J_{θ^1}L^1", "--wrt", "θ1"]
NETWORK = "z1 = W1 x + b1; h = tanh(z1); L = 1/2 ||W2 h + b2 - y||^2"
COLD_ANSWER = [str(SCRIPT), "check", NETWORK, "((W_2^T (W_2 h + b_2 - y)) ⊙ (1 - h^2)) x^T", "--wrt", "W1"]
REQUIREMENTS = ("sympy==1.14.0", "casadi==3.8.2")

Result = dict[str, float]


class Row(NamedTuple):
    """One comparison: ours, the other's, and the bound on ours / other; ``unit`` says what the two numbers count."""

    what: str
    ours: float
    other: float
    bound: float
    unit: str = "s"

    @property
    def is_over(self) -> bool:
        return self.ours > self.bound * self.other


class Runner:
    """Starts processes and keeps the options."""

    def __init__(self, baseline_python: str, repeats: int, verbose: bool) -> None:
        self.baseline_python = baseline_python
        self.repeats = repeats
        self.verbose = verbose

    def ours(self, *words: object) -> Result:
        """Our measurement (see measure.py), with the ``total`` from text to LaTeX."""
        return self._start([sys.executable, str(HERE / "measure.py"), *map(str, words)])

    def baseline(self, script: str, *words: object) -> Result:
        """A baseline's measurement, with the ``total`` of all but its imports."""
        return self._start([self.baseline_python, str(HERE / "baselines" / script), *map(str, words)])

    def _start(self, command: list[str]) -> Result:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        result: Result = json.loads(done.stdout.splitlines()[-1])
        result["total"] = sum(result.get(step, 0.0) for step in ("build", "parse", "derive", "print"))
        if self.verbose:
            shown = "  ".join(f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items())
            print(f"    {' '.join([Path(command[1]).name, *command[2:]]):44} {shown}", flush=True)
        return result


def in_turn(repeats: int, *measurements: Callable[[], Result]) -> list[list[Result]]:
    """The results of each measurement; they take turns, so that what slows the machine down slows all of them down."""
    rounds = [[measure() for measure in measurements] for _ in range(repeats)]
    return [list(results) for results in zip(*rounds, strict=True)]


def median(results: Iterable[Result], key: str = "total") -> float:
    return statistics.median(result[key] for result in results)


def least(results: Iterable[Result], key: str = "total") -> float:
    return min(result[key] for result in results)


def chain(runner: Runner) -> list[Row]:
    """a: all blocks of a chain written out."""
    other, ours, joined = in_turn(
        runner.repeats,
        lambda: runner.baseline("sympy_chain.py", 1000, "join"),
        lambda: runner.ours("chain", 1000),
        lambda: runner.ours("join", 1000),
    )
    written: list[Result] = [{"total": result["derive"] + result["print"]} for result in ours]
    short = [runner.ours("chain", 100) for _ in range(runner.repeats)]
    matmul = runner.baseline("sympy_chain.py", 100, "matmul")
    return [
        Row("chain of 1000, text to LaTeX : SymPy factors joined", median(ours), median(other), 0.5),
        Row("chain of 1000, derived and written out : join of its factors", median(written), median(joined), 3),
        Row("chain of 100, text to LaTeX : SymPy MatMul and latex()", median(short), matmul["total"], 1 / 500),
    ]


def shared(runner: Runner) -> list[Row]:
    """b: shared adjoints."""
    other, ours = in_turn(
        runner.repeats, lambda: runner.baseline("casadi_rev1.py", 1000, "opaque"), lambda: runner.ours("loss", 1000, "--shared")
    )
    long = [runner.ours("loss", 100_000, "--shared") for _ in range(2)]
    return [
        Row("shared, 1000 layers and a loss : CasADi reverse sweep", median(ours), median(other), 0.5),
        Row("shared, per layer of 100000 : per layer of 1000", least(long) / 100_000, least(ours) / 1000, 1.5),
    ]


def residual(runner: Runner) -> list[Row]:
    """c: residual blocks."""
    short, long, plain, written = in_turn(
        runner.repeats,
        lambda: runner.ours("residual", 200, "--shared"),
        lambda: runner.ours("residual", 400, "--shared"),
        lambda: runner.ours("chain", 200),
        lambda: runner.ours("residual", 200, "--deepest"),
    )
    return [
        Row("residual shared, time per block of 400 : of 200", least(long) / 400, least(short) / 200, 1.3),
        Row("residual shared, characters for 400 : for 200", long[0]["chars"], short[0]["chars"], 2.1, "characters"),
        Row("residual 200 blocks written out : plain chain of 200", median(written), median(plain), 4),
        Row("factors (I + …) of the deepest block, too many", written[0]["deepest"], 199, 1, "factors"),
        Row("factors (I + …) of the deepest block, too few", 199, written[0]["deepest"], 1, "factors"),
    ]


def cold_start(runner: Runner) -> list[Row]:
    """d: a whole process of the command line."""
    # an installed package is compiled; one that is only linked to may not be
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(HERE.parent.parent / "jacobian_chain")], check=True)
    base, ours, checked = in_turn(
        max(15, runner.repeats),
        lambda: wall_time([sys.executable, "-c", "import click"]),
        lambda: wall_time([str(word) for word in COLD]),
        lambda: wall_time(COLD_CHECK),
    )
    needless = imported([sys.executable, "-X", "importtime", *COLD])
    for name in imported([sys.executable, "-X", "importtime", "-c", "import click"]):
        needless.pop(name, None)
    foreign = [(took, name) for name, took in needless.items() if not name.startswith("jacobian_chain")]
    shown = ", ".join(f"{name} {took / 1000:.1f}" for took, name in sorted(foreign, reverse=True)[:20])
    print(f"cold start, modules that click does not load, with their own milliseconds: {shown or 'none'}")
    return [
        Row("cold start of the command line : import click", median(ours), median(base), 2),
        Row("cold check of one answer : import click", median(checked), median(base), 2.5),
    ]


def grading(runner: Runner) -> list[Row]:
    """e: answers judged on one core, against the time to import SymPy, which a checker built on it would take first."""
    base, one, right, wrong = in_turn(
        runner.repeats,
        lambda: wall_time([runner.baseline_python, "-c", "import sympy"]),
        lambda: runner.ours("class", 1000),
        lambda: runner.ours("right", 1000),
        lambda: runner.ours("wrong", 100),
    )
    assert right[0]["right"] == 1000
    assert wrong[0]["right"] == 0
    return [
        Row("1000 right answers to one three-layer problem : one second", median(one), 1.0, 1),
        Row("1000 right answers, each to another text : one second", median(right), 1.0, 1),
        Row("100 wrong answers, explained : one second", median(wrong), 1.0, 1),
        Row("100 wrong answers, explained : import sympy", median(wrong), median(base), 3),
    ]


def concrete(runner: Runner) -> list[Row]:
    """f: gradients of networks of concrete layers."""
    other, ours = in_turn(
        max(7, runner.repeats), lambda: runner.baseline("casadi_rev1.py", 1000, "mlp"), lambda: runner.ours("mlp", 1000, "--shared")
    )
    long = [runner.ours("mlp", 8000, "--shared") for _ in range(2)]
    small = [runner.ours("small", 50) for _ in range(runner.repeats)]
    return [
        Row("shared gradients of a tanh network of 1000 : CasADi", median(ours), median(other), 1.0),
        Row("the same, per layer of 8000 : per layer of 1000", least(long) / 8000, least(ours) / 1000, 1.5),
        Row("five gradients of two layers, warm : 20 milliseconds", median(small), 0.02, 1),
    ]


def answers(runner: Runner) -> list[Row]:
    """g: real answers through concrete layers, each to its own composition."""
    base, cold, right, wrong = in_turn(
        max(7, runner.repeats),
        lambda: wall_time([runner.baseline_python, "-c", "import sympy"]),
        lambda: wall_time(COLD_ANSWER),
        lambda: runner.ours("answers-right", 200),
        lambda: runner.ours("answers-wrong", 100),
    )
    assert right[0]["right"] == 200
    assert wrong[0]["right"] == 0
    return [
        Row("200 right concrete answers : one second", median(right), 1.0, 1),
        Row("100 wrong concrete answers, explained : five seconds", median(wrong), 5.0, 1),
        Row("cold check of a concrete answer : import sympy", median(cold), median(base), 1.5),
    ]


def telling(runner: Runner) -> list[Row]:
    """h: derivations in the order of backpropagation, and their pages."""
    rows = []
    for kind, name in (("told", "a chain and a loss"), ("told-network", "a tanh network")):
        short, long, page = in_turn(
            runner.repeats,
            partial(runner.ours, kind, 100),
            partial(runner.ours, kind, 1000),
            partial(runner.ours, kind, 100, "--page"),
        )
        rows += [
            Row(f"{name} told, per layer of 1000 : per layer of 100", least(long) / 1000, least(short) / 100, 1.5),
            Row(f"{name} told, characters for 1000 : for 100", long[0]["chars"], short[0]["chars"], 11, "characters"),
            Row(f"{name}, page of 100 layers : one second", median(page), 1.0, 1),
            Row(f"{name}, page of 100 layers : a million characters", page[0]["chars"], 1_000_000, 1, "characters"),
        ]
    return rows


def wall_time(command: list[str]) -> Result:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"total": time.perf_counter() - start}


def imported(command: list[str]) -> dict[str, int]:
    """Modules that a process imports, with the microseconds that each takes by itself."""
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {name: int(took) for took, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", report)}


GROUPS = {"a": chain, "b": shared, "c": residual, "d": cold_start, "e": grading, "f": concrete, "g": answers, "h": telling}


def table(rows: Iterable[Row]) -> str:
    lines = [f"{'what : compared with':58} {'ours':>10} {'other':>10} {'ratio':>9} {'bound':>9}"]
    for row in rows:
        numbers = f"{row.ours:10.6g} {row.other:10.6g} {row.ours / row.other if row.other else float('inf'):9.4f} {row.bound:9.4g}"
        lines.append(f"{row.what:58} {numbers}  {'OVER' if row.is_over else 'ok'}{'' if row.unit == 's' else f'  ({row.unit})'}")
    return "\n".join(lines)


def make_baseline(folder: str) -> str:
    """The interpreter of a new environment with the baselines' packages."""
    venv.create(folder, with_pip=True)
    python = str(Path(folder, "bin", "python"))
    subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed as ratios; exit status 1 if one is over its bound.")
    parser.add_argument("--baseline-python", metavar="PATH", help=f"interpreter with {' and '.join(REQUIREMENTS)}; by default one is made")
    parser.add_argument("--only", choices=GROUPS, nargs="+", default=list(GROUPS), help="groups of rows (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of each comparison (default: 5)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every measurement, split into its steps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(options.baseline_python or make_baseline(folder), options.repeats, options.verbose)
        rows = [row for group in options.only for row in GROUPS[group](runner)]
    print(table(rows))
    return any(row.is_over for row in rows)


if __name__ == "__main__":
    sys.exit(main())
